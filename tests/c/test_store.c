/* The journal: what it keeps when processes are killed, files locked, disks full, and what a sender and
 * a reader get out of it. */
#include "clock.h"
#include "limits.h"
#include "log.h"
#include "loop.h"
#include "store.h"
#include "store_sql.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[256];
static char said[4096];

static void hear(void *arg, enum ah_log_level level, const char *line, size_t n)
{
    (void)arg;
    (void)level;
    size_t at = strlen(said);
    snprintf(said + at, sizeof said - at, "%.*s", (int)n, line);
}

static struct ah_log quiet = {.level = AH_LOG_DEBUG, .sink = hear};

static int new_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/ah-store-XXXXXX");
    said[0] = '\0';
    memset(quiet.once, 0, sizeof quiet.once);
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    char command[600];
    umount(dir); /* if a test that mounted there failed */
    snprintf(command, sizeof command, "chmod -R u+rwx %s; rm -rf %s", dir, dir);
    return system(command);
}

static const char *db_path(void)
{
    static char path[300];
    snprintf(path, sizeof path, "%s/journal.db", dir);
    return path;
}

static struct ah_store *open_with(struct ah_store_opts opts)
{
    struct ah_error err = {0};
    opts.dir = opts.dir ? opts.dir : dir;
    struct ah_store *s = ah_store_open(&opts, NULL, &quiet, &err);
    if (!s && !opts.need_file)
        fail_msg("%s", err.message);
    ah_err_drop(&err);
    return s;
}

static struct ah_store *open_store(void)
{
    return open_with((struct ah_store_opts){0});
}

static int serial;

static int64_t begin_run(struct ah_store *s, const char *name, const char *endpoint)
{
    static struct ah_ids ids;
    char id[AH_UUID_BYTES];
    struct ah_clock clock = {0};
    ah_ids_uuid7(&ids, ah_clock_wall_us(&clock), id);
    struct ah_store_run_start r = {.key = ah_store_new_key(s),
                                   .id = id,
                                   .name = name,
                                   .project = "p",
                                   .at = 1000000 + serial++,
                                   .traced = true,
                                   .where = {endpoint, "", false}};
    assert_int_equal(ah_store_run_begin(s, &r), 0);
    return r.key;
}

static void put_event(struct ah_store *s, int64_t run, int64_t span, enum ah_event_kind kind,
                      const char *text)
{
    ah_store_begin(s, run, span, kind, 2000000 + serial++);
    ah_store_puts(s, "{\"x\":");
    ah_store_put_json(s, text, strlen(text));
    ah_store_puts(s, "}");
    assert_int_equal(ah_store_end(s), 0);
}

static void end_run(struct ah_store *s, int64_t run, const char *error)
{
    struct ah_store_totals t = {.spans = 1, .cost = 0.5, .cost_known = true};
    assert_int_equal(ah_store_run_end(s, run, 3000000 + serial++, "n", "u", error, false, &t), 0);
}

struct seen {
    int count, ends;
    int64_t last, starts[64];
    char body[4096];
};

static int see(void *arg, const struct ah_store_event *ev)
{
    struct seen *x = arg;
    assert_true(ev->seq > x->last);
    assert_int_equal(strlen(ev->body), ev->n);
    x->last = ev->seq;
    x->count++;
    if (ev->kind == AH_EV_SPAN_END) {
        if (x->ends < 64)
            x->starts[x->ends] = ev->start_seq;
        x->ends++;
    }
    snprintf(x->body, sizeof x->body, "%s", ev->body);
    return 0;
}

static struct seen events_of(struct ah_store *s, int64_t run)
{
    struct seen x = {0};
    assert_int_equal(ah_store_run_events(s, run, see, &x, NULL), 0);
    return x;
}

static int copy_run(void *arg, const struct ah_store_run *r)
{
    struct ah_store_run *to = arg;
    *to = *r;
    to->name = to->script = to->identifier = to->project = "";
    to->error = *r->error ? "yes" : "";
    return 0;
}

/* --- the file --------------------------------------------------------------------------------- */

static void writes_and_reads(void **state)
{
    (void)state;
    struct ah_store *s = open_store();
    assert_true(ah_store_durable(s));
    char long_text[2000];
    memset(long_text, 'a', sizeof long_text);
    long_text[0] = long_text[1998] = '"';
    long_text[1999] = '\0';
    long_text[5] = '\001'; /* a raw control character must not look like our mark */
    int64_t run = begin_run(s, "one", "");
    put_event(s, run, 1, AH_EV_SPAN_START, "\"a\001b\"");
    put_event(s, run, 1, AH_EV_SPAN_END, long_text);
    end_run(s, run, NULL);
    assert_int_equal(ah_store_flush(s), AH_STORE_OK);
    struct seen x = events_of(s, run);
    assert_int_equal(x.count, 2);
    assert_int_equal(x.ends, 1);
    assert_true(x.starts[0] > 0);
    assert_int_equal(strlen(x.body), strlen("{\"x\":}") + 1999);
    ah_store_close(s);

    s = open_store(); /* by the next process as well */
    struct ah_store_run r = {0};
    assert_int_equal(ah_store_run_find(s, "last", copy_run, &r, NULL), 0);
    assert_int_equal(r.key, run);
    assert_int_equal(r.state, AH_RUN_DONE);
    assert_true(r.totals.cost_known && r.totals.cost == 0.5);
    assert_int_equal(events_of(s, run).count, 2);
    ah_store_close(s);
}

static mode_t mode_of(const char *name)
{
    char path[600];
    struct stat st;
    snprintf(path, sizeof path, "%s/sub/dir/%s", dir, name);
    return stat(path, &st) == 0 ? st.st_mode & 0777 : 0;
}

static void is_private(void **state)
{
    (void)state;
    char sub[400];
    mode_t old = umask(0);
    snprintf(sub, sizeof sub, "%s/sub/dir", dir);
    struct ah_store *s = open_with((struct ah_store_opts){.dir = sub});
    begin_run(s, "x", "");
    ah_store_flush(s);
    umask(old);
    assert_int_equal(mode_of(""), 0700);
    assert_int_equal(mode_of("live"), 0700);
    assert_int_equal(mode_of("journal.db"), 0600);
    assert_int_equal(mode_of("journal.db-wal"), 0600);
    assert_int_equal(mode_of("journal.db-shm"), 0600);
    char live[100];
    snprintf(live, sizeof live, "live/%s", ah_store_live_id(s));
    assert_int_equal(mode_of(live), 0600);
    ah_store_close(s);
    assert_int_equal(mode_of(live), 0); /* nothing is left behind */
}

static void umask_does_not_close_it(void **state)
{
    (void)state;
    mode_t old = umask(0777);
    char sub[400];
    snprintf(sub, sizeof sub, "%s/sub/dir", dir);
    struct ah_store *s = open_with((struct ah_store_opts){.dir = sub});
    umask(old);
    assert_true(ah_store_durable(s));
    ah_store_close(s);
}

/* Turn k sends k messages: the journal must hold each once. */
static void conversation_costs_its_messages(void **state)
{
    (void)state;
    enum { TURNS = 40 };
    struct ah_store *s = open_store();
    struct ah_buf b;
    ah_buf_init(&b, 10 << 20);
    int64_t run = begin_run(s, "chat", "");
    for (int turn = 1; turn <= TURNS; turn++) {
        ah_buf_clear(&b);
        ah_buf_adds(&b, "{\"messages\":[");
        for (int m = 0; m < turn; m++)
            ah_buf_addf(&b, "%s{\"role\":\"user\",\"content\":\"message %d %0700d\"}", m ? "," : "", m, m);
        ah_buf_addf(&b, "],\"model\":\"m\",\"tools\":[\"%0600d\"]}", 7);
        ah_store_begin(s, run, turn, AH_EV_SPAN_START, turn);
        ah_store_put_object(s, b.p, b.n);
        ah_store_end(s);
        ah_store_flush(s);
    }
    const struct ah_store_stats *st = ah_store_stats(s);
    assert_int_equal(st->blobs, TURNS + 1); /* and the tools once */
    struct seen x = events_of(s, run);
    assert_int_equal(x.count, TURNS);
    assert_int_equal(strncmp(x.body, b.p, sizeof x.body - 1), 0);
    ah_buf_drop(&b);
    ah_store_close(s);
}

/* The 5 ms of the contract: what is older is written when the next event comes, without a wait of the script. */
static void commits_by_age(void **state)
{
    (void)state;
    struct ah_store *s = open_store();
    int64_t run = begin_run(s, "x", "");
    ah_store_flush(s);
    put_event(s, run, 1, AH_EV_SPAN_START, "1");
    usleep(AH_JOURNAL_AGE_MS * 1000 + 1000);
    put_event(s, run, 2, AH_EV_SPAN_START, "1");
    assert_int_equal(ah_store_stats(s)->queued, 0);
    assert_int_equal(events_of(s, run).count, 2);
    ah_store_close(s);
}

/* The body that an event of written_in_groups has: its own text, and one that all share. */
static void make_body(int i, char *own, size_t size)
{
    snprintf(own, size, "{\"i\":%d,\"own\":\"%0600d\",\"all\":\"%0700d\"}", i, i, 7);
}

static int see_group(void *arg, const struct ah_store_event *ev)
{
    char body[2000];
    int *i = arg;
    make_body(*i, body, sizeof body);
    assert_string_equal(ev->body, body);
    assert_int_equal(ev->kind, *i % 2 ? AH_EV_SPAN_END : AH_EV_SPAN_START);
    assert_int_equal(ev->start_seq, *i % 2 ? ev->seq - 1 : 0);
    assert_int_equal(ev->span, *i / 2 + 1);
    ++*i;
    return 0;
}

/* One commit: whole groups of rows, a rest, and something else between them. */
static void writes_in_groups(void **state)
{
    (void)state;
    enum { EVENTS = 3 * AH_SQL_GROUP_COUNT + 4 };
    struct ah_store *s = open_store();
    char body[2000];
    int64_t run = begin_run(s, "x", "");
    for (int i = 0; i < EVENTS; i++) {
        make_body(i, body, sizeof body);
        ah_store_begin(s, run, i / 2 + 1, i % 2 ? AH_EV_SPAN_END : AH_EV_SPAN_START, i);
        ah_store_put_object(s, body, strlen(body));
        assert_int_equal(ah_store_end(s), 0);
        if (i == 2 * AH_SQL_GROUP_COUNT + 2)
            ah_store_run_local(s, run);
    }
    ah_store_flush(s);
    int seen = 0;
    assert_int_equal(ah_store_stats(s)->blobs, EVENTS + 1);
    assert_int_equal(ah_store_run_events(s, run, see_group, &seen, NULL), 0);
    assert_int_equal(seen, EVENTS);
    ah_store_close(s);
}

static void commits_by_count(void **state)
{
    (void)state;
    struct ah_store *s = open_store();
    int64_t run = begin_run(s, "x", "");
    for (int i = 0; i < AH_JOURNAL_EVENTS_COUNT; i++)
        put_event(s, run, i + 1, AH_EV_SPAN_START, "1");
    assert_true(ah_store_stats(s)->queued < AH_JOURNAL_EVENTS_COUNT);
    assert_true(events_of(s, run).count > 0);
    ah_store_make_safe(s);
    put_event(s, run, 100, AH_EV_SPAN_START, "1");
    ah_store_flush(s);
    assert_int_equal(ah_store_stats(s)->full_commits, 1);
    ah_store_close(s);
}

/* --- killed ------------------------------------------------------------------------------------- */

/* Writes spans for ever; after each turn of the loop tells how many had ended before it. */
static void write_until_killed(int out)
{
    struct ah_error err = {0};
    struct ah_loop *loop = ah_loop_new(&err);
    struct ah_store_opts opts = {.dir = dir};
    struct ah_store *s = ah_store_open(&opts, loop, &quiet, &err);
    int64_t run = begin_run(s, "victim", "");
    put_event(s, run, 1, AH_EV_SPAN_START, "0");
    for (int32_t n = 2;; n++) {
        put_event(s, run, n, AH_EV_SPAN_START, "1");
        put_event(s, run, n, AH_EV_SPAN_END, "2");
        if (n % 7 == 0) {
            ah_loop_turn(loop, 0);
            if (write(out, &n, sizeof n) != sizeof n)
                _exit(1);
        }
    }
}

static void survives_sigkill(void **state)
{
    (void)state;
    struct ah_ids ids = {0};
    for (int round = 0; round < 12; round++) {
        int fd[2];
        assert_int_equal(pipe(fd), 0);
        pid_t pid = fork();
        if (pid == 0)
            write_until_killed(fd[1]);
        close(fd[1]);
        int32_t told = 0, n, until = (int32_t)(ah_ids_u64(&ids) % 400);
        while (read(fd[0], &n, sizeof n) == sizeof n && (told = n) < until)
            ;
        kill(pid, SIGKILL);
        while (read(fd[0], &n, sizeof n) == sizeof n) /* what it told before it died counts too */
            told = n;
        close(fd[0]);
        waitpid(pid, NULL, 0);

        struct ah_store *s = open_store();
        assert_true(ah_store_durable(s));
        struct ah_store_run r = {0};
        assert_int_equal(ah_store_run_find(s, "last", copy_run, &r, NULL), 0);
        assert_int_equal(r.state, AH_RUN_CRASHED);
        struct seen x = events_of(s, r.key);
        assert_true(x.ends >= told - 1 + 1); /* spans 2..told, and the root by recovery */
        assert_int_equal(x.count % 2, 0);    /* every start has its end */
        ah_store_close(s);
    }
}

/* --- crashed runs ----------------------------------------------------------------------------------- */

static void crash_with_open_spans(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct ah_store *s = open_store();
        int64_t run = begin_run(s, "crash", "");
        put_event(s, run, 1, AH_EV_SPAN_START, "1");
        put_event(s, run, 2, AH_EV_SPAN_START, "1");
        put_event(s, run, 3, AH_EV_SPAN_START, "1");
        put_event(s, run, 2, AH_EV_SPAN_END, "1");
        ah_store_flush(s);
        kill(getpid(), SIGKILL);
    }
    waitpid(pid, NULL, 0);
}

static void ends_crashed_runs_once(void **state)
{
    (void)state;
    struct ah_store *live = open_store(); /* its own run must not be touched */
    int64_t mine = begin_run(live, "mine", "");
    put_event(live, mine, 1, AH_EV_SPAN_START, "1");
    ah_store_flush(live);
    char last[AH_CLOCK_ISO_BYTES];
    int64_t last_at = 2000000 + serial + 4; /* the child's begin_run, then its four events */
    ah_clock_iso(last_at, last);
    crash_with_open_spans();
    for (int i = 0; i < 4; i++) { /* four processes find it at once */
        if (fork() == 0) {
            ah_store_close(open_store());
            _exit(0);
        }
    }
    for (int i = 0; i < 4; i++)
        wait(NULL);
    ah_store_recover(live, NULL, NULL);
    struct ah_store_run r = {0};
    assert_int_equal(ah_store_run_find(live, "last", copy_run, &r, NULL), 0);
    assert_int_equal(r.state, AH_RUN_CRASHED);
    assert_int_equal(r.ended, last_at);
    struct seen x = events_of(live, r.key);
    assert_non_null(strstr(x.body, last));
    assert_int_equal(x.count, 6);
    assert_int_equal(x.ends, 3);
    assert_non_null(strstr(x.body, "\"crashed\":true"));
    assert_int_equal(x.starts[2], r.first_seq); /* the root ends last */
    assert_int_equal(events_of(live, mine).count, 1);
    ah_store_close(live);
}

/* --- others at the same file ------------------------------------------------------------------------- */

static void keeps_queue_while_busy(void **state)
{
    (void)state;
    struct ah_store *s = open_store();
    sqlite3 *other;
    assert_int_equal(sqlite3_open(db_path(), &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    int64_t run = begin_run(s, "x", "");
    for (int i = 0; i < 3 * AH_JOURNAL_EVENTS_COUNT; i++)
        put_event(s, run, i + 1, AH_EV_SPAN_START, "1");
    assert_int_equal(ah_store_flush(s), AH_STORE_BUSY);
    assert_true(ah_store_stats(s)->queued > 3 * AH_JOURNAL_EVENTS_COUNT);
    bool got = true;
    assert_int_equal(ah_store_lease(s, 1, &got, NULL), 0);
    assert_false(got);
    sqlite3_exec(other, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(other);
    assert_int_equal(ah_store_flush(s), AH_STORE_OK);
    assert_int_equal(events_of(s, run).count, 3 * AH_JOURNAL_EVENTS_COUNT);
    assert_true(ah_store_durable(s));
    assert_string_equal(said, "");
    ah_store_close(s);
}

static bool started;

static void start(struct ah_ready *r)
{
    (void)r;
    started = true;
}

/* The barrier: nothing starts while the journal is busy. */
static void holds_starts_while_busy(void **state)
{
    (void)state;
    struct ah_error err = {0};
    struct ah_loop *loop = ah_loop_new(&err);
    struct ah_store_opts opts = {.dir = dir};
    struct ah_store *s = ah_store_open(&opts, loop, &quiet, &err);
    sqlite3 *other;
    sqlite3_open(db_path(), &other);
    sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    struct ah_ready r = {.run = start};
    started = false;
    begin_run(s, "x", "");
    ah_loop_start(loop, &r);
    for (int i = 0; i < 5; i++)
        ah_loop_turn(loop, 0);
    assert_false(started);
    sqlite3_exec(other, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(other);
    ah_loop_turn(loop, 0);
    assert_true(started);
    ah_store_close(s);
    ah_loop_free(loop);
}

static void two_processes_share(void **state)
{
    (void)state;
    enum { RUNS = 20, SPANS = 30 };
    for (int p = 0; p < 2; p++) {
        if (fork() == 0) {
            struct ah_store *s = open_store();
            for (int i = 0; i < RUNS; i++) {
                int64_t run = begin_run(s, "shared", "https://x");
                for (int k = 1; k <= SPANS; k++) {
                    put_event(s, run, k, AH_EV_SPAN_START, "1");
                    put_event(s, run, k, AH_EV_SPAN_END, "2");
                }
                end_run(s, run, NULL);
                ah_store_flush_wait(s, 2000);
            }
            bool durable = ah_store_durable(s);
            ah_store_close(s);
            _exit(durable ? 0 : 1);
        }
    }
    for (int p = 0; p < 2; p++) {
        int status;
        wait(&status);
        assert_int_equal(status, 0);
    }
    struct ah_store *s = open_store();
    struct seen x = {0};
    int64_t scanned, at = 0;
    bool more = true;
    int64_t dest = ah_store_dest_find(s, &(struct ah_store_where){"https://x", "", false});
    assert_true(dest > 0);
    while (more) {
        assert_int_equal(ah_store_read(s, dest, at, 100, 1 << 20, see, &x, &scanned, &more, NULL), 0);
        assert_true(scanned > at || !more);
        at = scanned;
    }
    assert_int_equal(x.count, 2 * RUNS * SPANS * 2);
    ah_store_close(s);
}

/* --- files that cannot be used ------------------------------------------------------------------------ */

static void check_memory(struct ah_store *s, const char *word)
{
    assert_false(ah_store_durable(s));
    assert_false(ah_store_allows_unsafe(s));
    if (!strstr(ah_store_trouble(s), word))
        fail_msg("'%s' not in: %s", word, ah_store_trouble(s));
    assert_non_null(strstr(said, word));
    int64_t run = begin_run(s, "m", "");
    put_event(s, run, 1, AH_EV_SPAN_START, "1");
    assert_int_equal(ah_store_flush(s), AH_STORE_OK);
    assert_int_equal(events_of(s, run).count, 1);
    ah_store_close(s);
}

static void write_file(const char *text, size_t n)
{
    FILE *f = fopen(db_path(), "w");
    assert_non_null(f);
    fwrite(text, 1, n, f);
    fclose(f);
}

static void damaged_file(void **state)
{
    (void)state;
    char junk[40000];
    memset(junk, 'j', sizeof junk);
    write_file(junk, sizeof junk);
    struct ah_error err = {0};
    struct ah_store_opts opts = {.dir = dir, .need_file = true};
    assert_null(ah_store_open(&opts, NULL, &quiet, &err));
    assert_int_equal(err.kind, AH_JOURNAL);
    assert_non_null(strstr(err.message, "damaged"));
    check_memory(open_store(), "damaged");
    struct stat st; /* it is left as it was */
    assert_int_equal(stat(db_path(), &st), 0);
    assert_int_equal(st.st_size, sizeof junk);
}

/* Pages torn later are found while running. */
static void damaged_in_the_middle(void **state)
{
    (void)state;
    struct ah_store *s = open_store();
    int64_t run = begin_run(s, "x", "");
    for (int i = 0; i < 500; i++)
        put_event(s, run, i + 1, AH_EV_SPAN_START, "1");
    ah_store_close(s);
    sqlite3 *db;
    sqlite3_open(db_path(), &db);
    sqlite3_exec(db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL);
    sqlite3_close(db);
    int fd = open(db_path(), O_RDWR);
    char junk[16384];
    memset(junk, 0xee, sizeof junk);
    for (off_t at = 16384; at < lseek(fd, 0, SEEK_END); at += 16384)
        assert_int_equal(pwrite(fd, junk, sizeof junk, at), sizeof junk);
    close(fd);
    s = open_store();
    run = begin_run(s, "y", "");
    put_event(s, run, 1, AH_EV_SPAN_START, "1");
    assert_int_equal(ah_store_flush(s), AH_STORE_OK);
    assert_false(ah_store_durable(s));
    assert_int_equal(events_of(s, run).count, 1);
    ah_store_close(s);
}

struct batches {
    int count;
    struct ah_store_item item;
};

static int see_batch(void *arg, const struct ah_store_batch *b)
{
    struct batches *x = arg;
    x->count++;
    x->item = b->items[b->count - 1];
    return 0;
}

static void newer_version(void **state)
{
    (void)state;
    ah_store_close(open_store());
    sqlite3 *db;
    sqlite3_open(db_path(), &db);
    sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL);
    sqlite3_close(db);
    check_memory(open_store(), "newer agenthost");
}

static int keep_runs(void *arg, const struct ah_store_run *r)
{
    struct ah_store_run *to = arg;
    to[r->state == AH_RUN_DONE ? 0 : 1] = *r;
    return 0;
}

/* A file of version 1, as it was written: all that is in it can be read, and what was going on is ended. */
static void older_version(void **state)
{
    (void)state;
    struct ah_store_run runs[2] = {{0}, {0}};
    struct batches batches = {0};
    char *text = malloc(65536);
    FILE *f = fopen("tests/fixtures/journal/version1.sql", "r");
    assert_non_null(f);
    text[fread(text, 1, 65535, f)] = '\0';
    fclose(f);
    sqlite3 *db;
    sqlite3_open(db_path(), &db);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    free(text);
    for (int times = 0; times < 2; times++) { /* the second time nothing is left to do */
        struct ah_store *s = open_store();
        assert_true(ah_store_durable(s));
        assert_int_equal(ah_store_runs(s, NULL, keep_runs, runs, NULL), 0);
        assert_int_equal(runs[1].state, AH_RUN_CRASHED);
        assert_int_equal(events_of(s, runs[0].key).count, 6);
        struct seen x = events_of(s, runs[1].key);
        assert_int_equal(x.count, 6); /* its two open spans are ended */
        assert_int_equal(x.ends, 3);
        memset(&batches, 0, sizeof batches);
        assert_int_equal(ah_store_batches(s, runs[1].dest, see_batch, &batches, NULL), 0);
        assert_int_equal(batches.count, 1);
        assert_false(batches.item.patch || batches.item.cut);
        assert_string_equal(ah_store_trouble(s), "");
        ah_store_close(s);
    }
    sqlite3_open(db_path(), &db);
    sqlite3_stmt *st;
    sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &st, NULL);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(st, 0), AH_STORE_VERSION);
    sqlite3_finalize(st);
    sqlite3_close(db);
}

static void foreign_database(void **state)
{
    (void)state;
    sqlite3 *db;
    sqlite3_open(db_path(), &db);
    sqlite3_exec(db, "CREATE TABLE t(x)", NULL, NULL, NULL);
    sqlite3_close(db);
    check_memory(open_store(), "another program");
}

static void locked_for_good(void **state)
{
    (void)state;
    sqlite3 *db;
    sqlite3_open(db_path(), &db);
    sqlite3_exec(db, "PRAGMA locking_mode = EXCLUSIVE; CREATE TABLE t(x); BEGIN EXCLUSIVE", NULL, NULL, NULL);
    check_memory(open_store(), "locked");
    sqlite3_close(db);
}

static void in_a_file_not_a_folder(void **state)
{
    (void)state;
    char path[400];
    snprintf(path, sizeof path, "%s/file/sub", dir);
    FILE *f = fopen(strcat(strcpy(path, dir), "/file"), "w");
    fclose(f);
    check_memory(open_with((struct ah_store_opts){.dir = path}), "Not a directory");
}

/* As another user: root may write anywhere. */
static void read_only_folder(void **state)
{
    (void)state;
    ah_store_close(open_store());
    chmod(dir, 0555);
    chmod(db_path(), 0444);
    pid_t pid = fork();
    if (pid == 0) {
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(2);
        struct ah_store *s = open_store();
        bool good = !ah_store_durable(s) && !ah_store_allows_unsafe(s) && *said;
        ah_store_close(s);
        _exit(good ? 0 : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    chmod(dir, 0755);
    assert_int_equal(status, 0);
}

/* Writes until the file takes no more; nothing of what was queued is lost. */
static void fill(struct ah_store *s)
{
    char text[5000];
    memset(text, 'z', sizeof text);
    text[0] = text[sizeof text - 2] = '"';
    text[sizeof text - 1] = '\0';
    int64_t run = begin_run(s, "full", "");
    put_event(s, run, 1, AH_EV_SPAN_START, "\"root\"");
    ah_store_flush(s);
    int n = 2;
    for (; ah_store_durable(s) && n < 5000; n++) {
        snprintf(text + 1, 20, "%018d", n);
        text[19] = 'z';
        put_event(s, run, n, AH_EV_SPAN_START, text);
        put_event(s, run, n, AH_EV_SPAN_END, text);
    }
    assert_false(ah_store_durable(s));
    ah_store_flush(s);
    int before = events_of(s, run).count; /* the open root was carried over, and the queue */
    assert_true(before >= 2);
    put_event(s, run, 1, AH_EV_SPAN_END, "1");
    end_run(s, run, NULL);
    assert_int_equal(ah_store_flush(s), AH_STORE_OK);
    struct seen x = events_of(s, run);
    assert_int_equal(x.count, before + 1);
    assert_true(x.starts[x.ends < 64 ? x.ends - 1 : 63] > 0);
    assert_int_equal(ah_store_stats(s)->dropped, 0);
    struct ah_store_run r = {0};
    assert_int_equal(ah_store_run_find(s, "last", copy_run, &r, NULL), 0);
    assert_int_equal(r.state, AH_RUN_DONE);
}

static void full_by_pages(void **state)
{
    (void)state;
    struct ah_store *s = open_with((struct ah_store_opts){.max_pages = 40});
    fill(s);
    assert_non_null(strstr(said, "full"));
    ah_store_close(s);
    s = open_store(); /* the file is whole, and what it has is recovered */
    assert_true(ah_store_durable(s));
    struct ah_store_run r = {0};
    assert_int_equal(ah_store_run_find(s, "last", copy_run, &r, NULL), 0);
    assert_int_equal(r.state, AH_RUN_CRASHED);
    ah_store_close(s);
}

static void full_by_file_size(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGXFSZ, SIG_IGN);
        struct rlimit limit = {2 << 20, 2 << 20};
        setrlimit(RLIMIT_FSIZE, &limit);
        struct ah_store *s = open_store();
        fill(s);
        ah_store_close(s);
        exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

static void full_tmpfs(void **state)
{
    (void)state;
    if (mount("tmpfs", dir, "tmpfs", 0, "size=2m") != 0) {
        print_message("no right to mount a tmpfs: skipped\n");
        skip();
    }
    struct ah_store *s = open_store();
    fill(s);
    ah_store_close(s);
    umount(dir);
}

static void memory_makes_room(void **state)
{
    (void)state;
    struct ah_store *s =
        open_with((struct ah_store_opts){.memory = true, .memory_bytes = 2 << 20, .allow_no_journal = true});
    assert_true(ah_store_allows_unsafe(s));
    assert_string_equal(ah_store_trouble(s), "");
    char text[3000];
    int64_t run = 0;
    for (int n = 0; n < 4000; n++) {
        snprintf(text, sizeof text, "\"%02900d\"", n);
        run = begin_run(s, "m", "");
        put_event(s, run, 1, AH_EV_SPAN_START, text);
        put_event(s, run, 1, AH_EV_SPAN_END, text);
        end_run(s, run, NULL);
    }
    assert_int_equal(ah_store_flush(s), AH_STORE_OK);
    struct seen x = events_of(s, run);
    assert_int_equal(x.count, 2);
    assert_non_null(strstr(x.body, "003999"));
    assert_int_equal(ah_store_stats(s)->dropped, 0);
    ah_store_close(s);
    assert_string_equal(said, "");
}

/* --- sending ------------------------------------------------------------------------------------------ */

static int see_except(void *arg, const struct ah_store_except *e)
{
    *(struct ah_store_except *)arg = *e;
    return 0;
}

static int see_dest(void *arg, const struct ah_store_dest *d)
{
    *(int *)arg += 1;
    assert_string_equal(d->endpoint, "https://a");
    return 0;
}

static void sender_life(void **state)
{
    (void)state;
    struct ah_store *s = open_store(), *t = open_store(); /* two processes, as far as locks go */
    int64_t run = begin_run(s, "x", "https://a"), other = begin_run(s, "y", "");
    put_event(s, run, 1, AH_EV_SPAN_START, "1");
    put_event(s, other, 1, AH_EV_SPAN_START, "1");
    put_event(s, run, 1, AH_EV_SPAN_END, "2");
    end_run(s, run, NULL);
    ah_store_flush(s);
    int dests = 0;
    assert_int_equal(ah_store_dests(t, see_dest, &dests, NULL), 0);
    assert_int_equal(dests, 1);
    int64_t dest = ah_store_dest_find(t, &(struct ah_store_where){"https://a", NULL, false});
    bool got;
    assert_int_equal(ah_store_lease(s, dest, &got, NULL), 0);
    assert_true(got);
    assert_int_equal(ah_store_lease(t, dest, &got, NULL), 0);
    assert_false(got); /* its owner lives */

    struct seen x = {0};
    int64_t scanned;
    bool more;
    assert_int_equal(ah_store_read(s, dest, 0, 100, 1 << 20, see, &x, &scanned, &more, NULL), 0);
    assert_int_equal(x.count, 2);
    assert_false(more);
    struct ah_store_waiting w;
    assert_int_equal(ah_store_waiting(s, dest, &w, NULL), 0);
    assert_int_equal(w.spans, 1);
    struct ah_store_run r = {0};
    ah_store_run_find(s, "last", copy_run, &r, NULL);

    struct ah_store_item item; /* with its padding: compared as bytes */
    memset(&item, 0, sizeof item);
    item.run = run;
    item.span = 1;
    item.start_seq = x.starts[0];
    item.end_seq = x.last;
    struct ah_store_batch b = {
        .id = ah_store_new_key(s), .dest = dest, .attempts = 1, .items = &item, .count = 1};
    ah_store_batch_save(s, &b);
    ah_store_advance(s, dest, scanned);
    ah_store_advance(s, dest, 1); /* never backwards */
    ah_store_flush(s);
    struct batches bs = {0};
    assert_int_equal(ah_store_batches(t, dest, see_batch, &bs, NULL), 0);
    assert_int_equal(bs.count, 1);
    assert_memory_equal(&bs.item, &item, sizeof item);
    assert_int_equal(ah_store_waiting(t, dest, &w, NULL), 0);
    assert_int_equal(w.spans, 1);

    struct ah_store_except e = {.item = item, .state = AH_EXCEPT_PARKED, .reason = "400 bad"};
    ah_store_batch_drop(s, b.id);
    ah_store_set_exception(s, dest, &e);
    ah_store_flush(s);
    struct ah_store_except seen_e = {0};
    assert_int_equal(ah_store_exceptions(t, dest, AH_EXCEPT_PARKED, 0, 0, see_except, &seen_e, NULL), 0);
    assert_memory_equal(&seen_e.item, &item, sizeof item);
    assert_int_equal(ah_store_exception_of(t, dest, run, 1), AH_EXCEPT_PARKED);
    assert_int_equal(ah_store_waiting(t, dest, &w, NULL), 0);
    assert_int_equal(w.spans, 0);
    assert_int_equal(w.parked, 1);
    ah_store_close(s); /* the lease is free */
    assert_int_equal(ah_store_lease(t, dest, &got, NULL), 0);
    assert_true(got);
    ah_store_clear_exception(t, dest, run, 1);
    ah_store_flush(t);
    assert_int_equal(ah_store_exception_of(t, dest, run, 1), 0);
    ah_store_close(t);
}

static void lease_of_a_killed_process(void **state)
{
    (void)state;
    struct ah_store *s = open_store();
    begin_run(s, "x", "https://a");
    ah_store_flush(s);
    pid_t pid = fork();
    if (pid == 0) {
        struct ah_store *t = open_store();
        bool got;
        ah_store_lease(t, 1, &got, NULL);
        kill(getpid(), got ? SIGKILL : SIGTERM);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(WTERMSIG(status), SIGKILL);
    bool got = false;
    assert_int_equal(ah_store_lease(s, 1, &got, NULL), 0);
    assert_true(got);
    ah_store_close(s);
}

static void emulated_stay_home(void **state)
{
    (void)state;
    struct ah_store *s = open_store(), *t = open_store();
    struct ah_store_run_start r = {.key = ah_store_new_key(s),
                                   .id = "01a202b2-c500-7a1b-8a1b-2c3d4e5f6071",
                                   .at = 1,
                                   .traced = true,
                                   .where = {"http://127.0.0.1:1", "", true}};
    ah_store_run_begin(s, &r);
    end_run(s, r.key, NULL);
    ah_store_flush(s);
    int64_t dest = ah_store_dest_find(s, &r.where);
    assert_true(dest > 0);
    assert_int_equal(ah_store_dest_find(t, &r.where), 0);
    int dests = 0;
    assert_int_equal(ah_store_dests(t, see_dest, &dests, NULL), 0);
    assert_int_equal(dests, 0);
    struct ah_error err = {0};
    assert_int_equal(ah_store_push(t, r.key, &(struct ah_store_where){"https://a", "", false}, "p", &err),
                     -1);
    assert_int_equal(err.kind, AH_INVALID);
    ah_store_close(s);
    ah_store_close(t);
}

static void push_local_run(void **state)
{
    (void)state;
    struct ah_store *s = open_store();
    int64_t run = begin_run(s, "x", "");
    put_event(s, run, 1, AH_EV_SPAN_START, "1");
    put_event(s, run, 1, AH_EV_SPAN_END, "1");
    ah_store_flush(s);
    struct ah_store_where where = {"https://a", "", false};
    assert_int_equal(ah_store_push(s, run, &where, "p2", NULL), -1); /* still open */
    end_run(s, run, NULL);
    ah_store_flush(s);
    struct ah_store_run r = {0};
    ah_store_run_find(s, "last", copy_run, &r, NULL);
    assert_int_equal(ah_store_delivery(s, &r), AH_SENT_LOCAL);
    assert_int_equal(ah_store_push(s, run, &where, "p2", NULL), 0);
    int64_t dest = ah_store_dest_find(s, &where), scanned;
    struct ah_store_except e = {0};
    assert_int_equal(ah_store_exceptions(s, dest, AH_EXCEPT_RETRY, 5, 0, see_except, &e, NULL), 0);
    assert_int_equal(e.item.run, run);
    assert_true(e.item.start_seq > 0 && e.item.end_seq > e.item.start_seq);
    struct seen x = {0};
    bool more; /* by exceptions only, never twice */
    assert_int_equal(ah_store_read(s, dest, 0, 10, 100, see, &x, &scanned, &more, NULL), 0);
    assert_int_equal(x.count, 0);
    ah_store_run_find(s, "last", copy_run, &r, NULL);
    assert_int_equal(ah_store_delivery(s, &r), AH_SENT_WAITING);
    ah_store_clear_exception(s, dest, run, 1);
    ah_store_flush(s);
    assert_int_equal(ah_store_delivery(s, &r), AH_SENT_ALL);
    ah_store_close(s);
}

/* --- housekeeping --------------------------------------------------------------------------------------- */

static void gc_keeps_what_waits(void **state)
{
    (void)state;
    struct ah_store *s = open_store();
    char text[800];
    snprintf(text, sizeof text, "\"%0700d\"", 1);
    int64_t local = begin_run(s, "local", "");
    put_event(s, local, 1, AH_EV_SPAN_START, text);
    end_run(s, local, NULL);
    int64_t waits = begin_run(s, "waits", "https://a");
    snprintf(text, sizeof text, "\"%0700d\"", 2);
    put_event(s, waits, 1, AH_EV_SPAN_START, text);
    put_event(s, waits, 1, AH_EV_SPAN_END, text);
    end_run(s, waits, NULL);
    int64_t open = begin_run(s, "open", "");
    put_event(s, open, 1, AH_EV_SPAN_START, "1");
    ah_store_flush(s);
    struct ah_store_gc gc = {.older_than = INT64_MAX};
    struct ah_store_gc_result out;
    assert_int_equal(ah_store_gc(s, &gc, &out, NULL), 0);
    assert_int_equal(out.runs, 1);
    assert_int_equal(out.events, 1);
    assert_int_equal(out.blobs, 1); /* its text; the other one is named */
    struct seen x = events_of(s, waits);
    assert_int_equal(x.count, 2);
    assert_non_null(strstr(x.body, "0002"));
    assert_int_equal(events_of(s, open).count, 1);
    gc.undelivered = true;
    assert_int_equal(ah_store_gc(s, &gc, &out, NULL), 0);
    assert_int_equal(out.runs, 1);
    put_event(s, open, 2, AH_EV_SPAN_START, "1"); /* numbers go on */
    ah_store_flush(s);
    assert_true(events_of(s, open).last > x.last);
    ah_store_close(s);
}

static int count_run(void *arg, const struct ah_store_run *r)
{
    (void)r;
    ++*(int *)arg;
    return 0;
}

static void finds_runs(void **state)
{
    (void)state;
    struct ah_store *s = open_store();
    struct ah_error err = {0};
    assert_int_equal(ah_store_run_find(s, "last", copy_run, &(struct ah_store_run){0}, &err), -1);
    assert_int_equal(err.kind, AH_NOT_FOUND);
    for (int i = 0; i < 5; i++)
        end_run(s, begin_run(s, i == 3 ? "special" : "x", ""), i == 4 ? "bad" : NULL);
    ah_store_flush(s);
    struct ah_store_run r = {0}, q = {0};
    assert_int_equal(ah_store_run_find(s, "last", copy_run, &r, NULL), 0);
    assert_int_equal(ah_store_run_find(s, r.id, copy_run, &q, NULL), 0);
    assert_int_equal(q.key, r.key);
    assert_int_equal(ah_store_run_find(s, r.id + 24, copy_run, &q, NULL), 0);
    assert_int_equal(q.key, r.key);
    char shared[9];
    snprintf(shared, sizeof shared, "%.6s", r.id);
    assert_int_equal(ah_store_run_find(s, shared, copy_run, &q, &err), -1);
    assert_int_equal(err.kind, AH_INVALID);
    assert_int_equal(ah_store_run_find(s, "%", copy_run, &q, &err), -1);
    assert_int_equal(err.kind, AH_NOT_FOUND);
    int n = 0;
    assert_int_equal(ah_store_runs(s, NULL, count_run, &n, NULL), 0);
    assert_int_equal(n, 5);
    n = 0;
    assert_int_equal(ah_store_runs(s, &(struct ah_store_filter){.failed = true}, count_run, &n, NULL), 0);
    assert_int_equal(n, 1);
    n = 0;
    assert_int_equal(
        ah_store_runs(s, &(struct ah_store_filter){.limit = 2, .identifier = "u"}, count_run, &n, NULL), 0);
    assert_int_equal(n, 2);
    ah_store_close(s);
}

static void checkpoints_off_the_loop(void **state)
{
    (void)state;
    struct ah_store *s = open_store();
    char text[16000];
    int64_t run = begin_run(s, "x", "");
    for (int i = 0; i < 2000; i++) {
        snprintf(text, sizeof text, "\"%015900d\"", i);
        put_event(s, run, i + 1, AH_EV_SPAN_START, text);
    }
    ah_store_close(s);
    struct stat st;
    assert_int_equal(stat(db_path(), &st), 0);
    assert_true(st.st_size > 1 << 20); /* the thread moved pages out of the WAL */
    s = open_store();
    assert_int_equal(events_of(s, run).count, 2000 + 2000); /* and the ends by recovery */
    ah_store_close(s);
}

/* --- approvals */

static int take_state(void *arg, const struct ah_store_approval *a)
{
    int *state = arg;
    *state = (int)a->state + (ah_store_approval_holds(a, "aa") ? 100 : 0);
    return 0;
}

static int approval_state(struct ah_store *s, int64_t run, int64_t seq)
{
    int state = -1;
    assert_int_equal(ah_store_approvals(s, run, seq, 0, take_state, &state, NULL), 0);
    return state;
}

static bool decide(struct ah_store *s, int64_t run, int64_t seq, enum ah_approval_state state)
{
    bool changed;
    assert_int_equal(ah_store_decide(s, run, seq, state, "because", &changed, NULL), 0);
    return changed;
}

static void one_answer_a_question(void **state)
{
    (void)state;
    struct ah_store *s = open_store(), *other = open_store();
    int64_t run = begin_run(s, "asks", NULL);
    struct ah_store_approval a = {.run = run, .seq = 7, .asked = 1, .sha256 = "aa", .question = "{}"};
    assert_int_equal(ah_store_ask(s, &a, NULL), 0);
    a.seq = 8;
    assert_int_equal(ah_store_ask(s, &a, NULL), 0);
    assert_int_equal(approval_state(other, run, 7), AH_APPROVAL_OPEN);
    assert_true(decide(other, run, 7, AH_APPROVAL_NO)); /* the first one wins */
    assert_false(decide(s, run, 7, AH_APPROVAL_CLOSED));
    assert_int_equal(approval_state(s, run, 7), 100 + AH_APPROVAL_NO);
    assert_true(decide(s, run, 8, AH_APPROVAL_CLOSED)); /* and what is closed is no decision */
    assert_false(decide(other, run, 8, AH_APPROVAL_YES));
    assert_int_equal(approval_state(other, run, 8), AH_APPROVAL_CLOSED);
    assert_int_equal(approval_state(s, run, 9), -1);
    assert_int_equal(approval_state(s, run + 1, 7), -1);
    a.seq = 7; /* the same question keeps its answer, another one begins anew */
    assert_int_equal(ah_store_ask(s, &a, NULL), 0);
    assert_int_equal(approval_state(s, run, 7), 100 + AH_APPROVAL_NO);
    a.sha256 = "bb";
    assert_int_equal(ah_store_ask(s, &a, NULL), 0);
    assert_int_equal(approval_state(s, run, 7), AH_APPROVAL_OPEN);
    ah_store_close(other);
    ah_store_close(s);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, new_dir, remove_dir)
    const struct CMUnitTest tests[] = {
        TEST(writes_and_reads),
        TEST(is_private),
        TEST(umask_does_not_close_it),
        TEST(conversation_costs_its_messages),
        TEST(commits_by_age),
        TEST(writes_in_groups),
        TEST(commits_by_count),
        TEST(survives_sigkill),
        TEST(ends_crashed_runs_once),
        TEST(keeps_queue_while_busy),
        TEST(holds_starts_while_busy),
        TEST(two_processes_share),
        TEST(damaged_file),
        TEST(damaged_in_the_middle),
        TEST(newer_version),
        TEST(older_version),
        TEST(foreign_database),
        TEST(locked_for_good),
        TEST(in_a_file_not_a_folder),
        TEST(read_only_folder),
        TEST(full_by_pages),
        TEST(full_by_file_size),
        TEST(full_tmpfs),
        TEST(memory_makes_room),
        TEST(sender_life),
        TEST(lease_of_a_killed_process),
        TEST(emulated_stay_home),
        TEST(push_local_run),
        TEST(gc_keeps_what_waits),
        TEST(finds_runs),
        TEST(one_answer_a_question),
        TEST(checkpoints_off_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
