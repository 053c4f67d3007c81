/* The journal in SQLite. Called by trace.c (writes), langsmith.c (sends), tree.c and cmd_trace.c (read).
 *
 * Must never wait for a lock while the loop runs, never hold a transaction open across a return (but
 * for callbacks of reads), and never lose what is queued because the file is busy or broken: then the
 * same schema lives in memory. A second connection, in a thread, does nothing but checkpoints.
 *
 * In order: schema, statements, opening, the commit, memory instead of a file, writing, reading, sending,
 * recovery, gc. */
#include "store.h"

#include "clock.h"
#include "limits.h"
#include "live.h"
#include "log.h"
#include "loop.h"
#include "queue.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define OPEN_WAIT_MS 2000           /* for a lock, when opening and closing */
#define RETRY_MS 2                  /* the loop's next try after BUSY */
#define GIVE_UP_US (30 * 1000000LL) /* locked that long is locked for good */
#define PAGE_BYTES 16384
#define CHECKPOINT_PAGES 128 /* of the WAL: then the thread is woken */
#define RESTART_PAGES 1024   /* then writers are held up for the last of it, so that the WAL begins anew */
#define BODY_BYTES ((size_t)512 << 20)    /* of one expanded event */
#define SCAN_ROWS 20000                   /* of one ah_store_read */
#define GC_ROWS 4096                      /* a transaction of gc */
#define GC_BLOB_AGE_US (3600 * 1000000LL) /* younger texts may still be known to a queue (queue.c: 10 min) */
#define RUN_CACHE 256                     /* runs whose destination is remembered; a power of two */

/* --- schema ---------------------------------------------------------------------------------------- */

/* migrations[v] leads from version v to v + 1. Never changed once released, only added to. */
static const char *const migrations[AH_STORE_VERSION] = {
    "CREATE TABLE event(seq INTEGER PRIMARY KEY, run INTEGER NOT NULL, span INTEGER NOT NULL,"
    " kind INTEGER NOT NULL, at INTEGER NOT NULL, body TEXT NOT NULL, refs BLOB);"
    "CREATE TABLE blob(n INTEGER PRIMARY KEY, sha256 BLOB NOT NULL, bytes TEXT NOT NULL);"
    "CREATE TABLE run(key INTEGER PRIMARY KEY, id TEXT NOT NULL, name TEXT NOT NULL, script TEXT NOT NULL,"
    " identifier TEXT NOT NULL, project TEXT NOT NULL, owner TEXT NOT NULL, dest INTEGER NOT NULL,"
    " pushed INTEGER NOT NULL DEFAULT 0, emulated INTEGER NOT NULL, state INTEGER NOT NULL,"
    " traced INTEGER NOT NULL, started INTEGER NOT NULL, ended INTEGER NOT NULL DEFAULT 0,"
    " first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '',"
    " input_tokens INTEGER NOT NULL DEFAULT 0, output_tokens INTEGER NOT NULL DEFAULT 0,"
    " model_calls INTEGER NOT NULL DEFAULT 0, tool_calls INTEGER NOT NULL DEFAULT 0,"
    " errors INTEGER NOT NULL DEFAULT 0, spans INTEGER NOT NULL DEFAULT 0, cost REAL);"
    "CREATE UNIQUE INDEX run_id ON run(id);"
    "CREATE INDEX run_open ON run(owner) WHERE state = 0;"
    "CREATE TABLE effect(run INTEGER NOT NULL, n INTEGER NOT NULL, span INTEGER NOT NULL,"
    " class INTEGER NOT NULL, kind TEXT NOT NULL, what TEXT NOT NULL, args_sha256 BLOB NOT NULL,"
    " begin_seq INTEGER NOT NULL, end_seq INTEGER NOT NULL DEFAULT 0, issued INTEGER NOT NULL DEFAULT 0,"
    " completed INTEGER NOT NULL DEFAULT 0, status INTEGER NOT NULL DEFAULT 0,"
    " error INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(run, n)) WITHOUT ROWID;"
    "CREATE TABLE dest(n INTEGER PRIMARY KEY, endpoint TEXT NOT NULL, workspace TEXT NOT NULL,"
    " emulator TEXT NOT NULL, position INTEGER NOT NULL, lease TEXT NOT NULL DEFAULT '',"
    " UNIQUE(endpoint, workspace, emulator));"
    "CREATE TABLE batch(id INTEGER PRIMARY KEY, dest INTEGER NOT NULL, attempts INTEGER NOT NULL,"
    " created INTEGER NOT NULL, items BLOB NOT NULL);"
    "CREATE TABLE exception(dest INTEGER NOT NULL, run INTEGER NOT NULL, span INTEGER NOT NULL,"
    " state INTEGER NOT NULL, start_seq INTEGER NOT NULL, end_seq INTEGER NOT NULL,"
    " patch INTEGER NOT NULL, due INTEGER NOT NULL, reason TEXT NOT NULL,"
    " PRIMARY KEY(dest, run, span)) WITHOUT ROWID;"
    "CREATE INDEX exception_due ON exception(dest, state, due);",
};

/* --- the store ------------------------------------------------------------------------------------- */

enum statement {
    S_BEGIN,
    S_COMMIT,
    S_ROLLBACK,
    S_MAX_SEQ,
    S_MAX_BLOB,
    S_BLOB_IN,
    S_BLOB,
    S_EVENT_IN,
    S_EVENT,
    S_RUN_IN,
    S_RUN_END,
    S_RUN_LOCAL,
    S_RUN_WHERE,
    S_EFFECT_IN,
    S_EFFECT_END,
    S_DEST_FIND,
    S_DEST_IN,
    S_ADVANCE,
    S_BATCH_IN,
    S_BATCH_OUT,
    S_EXCEPT_IN,
    S_EXCEPT_OUT,
    S_EXCEPT,
    S_SCAN,
    S_LEASE,
    S_LEASE_SET,
    S_LEASE_OUT,
    S_COUNT
};

static const char *const sql[S_COUNT] = {
    [S_BEGIN] = "BEGIN IMMEDIATE",
    [S_COMMIT] = "COMMIT",
    [S_ROLLBACK] = "ROLLBACK",
    [S_MAX_SEQ] = "SELECT max(seq) FROM event",
    [S_MAX_BLOB] = "SELECT max(n) FROM blob",
    [S_BLOB_IN] = "INSERT INTO blob(n, sha256, bytes) VALUES(?1, ?2, ?3)",
    [S_BLOB] = "SELECT bytes FROM blob WHERE n = ?1",
    [S_EVENT_IN] =
        "INSERT INTO event(seq, run, span, kind, at, body, refs) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [S_EVENT] = "SELECT seq, run, span, kind, at, body, refs FROM event WHERE seq = ?1",
    [S_RUN_IN] =
        "INSERT OR IGNORE INTO run(key, started, traced, emulated, dest, first_seq, id, name, script,"
        " identifier, project, owner, state)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 0)",
    [S_RUN_END] = "UPDATE run SET ended = ?2, state = ?3, input_tokens = ?4, output_tokens = ?5,"
                  " model_calls = ?6, tool_calls = ?7, errors = ?8, spans = ?9, last_seq = ?10,"
                  " cost = CASE WHEN ?11 < 0 THEN NULL ELSE ?11 END, name = ?12, identifier = ?13,"
                  " error = ?14 WHERE key = ?1 AND state = 0",
    [S_RUN_LOCAL] = "UPDATE run SET dest = 0 WHERE key = ?1",
    [S_RUN_WHERE] = "SELECT dest, pushed, project FROM run WHERE key = ?1",
    [S_EFFECT_IN] = "INSERT OR REPLACE INTO effect(run, n, span, class, begin_seq, args_sha256, kind, what)"
                    " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [S_EFFECT_END] = "UPDATE effect SET issued = ?3, completed = ?4, status = ?5, error = ?6, end_seq = ?7"
                     " WHERE run = ?1 AND n = ?2",
    [S_DEST_FIND] = "SELECT n FROM dest WHERE endpoint = ?1 AND workspace = ?2 AND emulator = ?3",
    [S_DEST_IN] = "INSERT INTO dest(endpoint, workspace, emulator, position) VALUES(?1, ?2, ?3, ?4)",
    [S_ADVANCE] = "UPDATE dest SET position = max(position, ?2) WHERE n = ?1",
    [S_BATCH_IN] =
        "INSERT OR REPLACE INTO batch(id, dest, attempts, created, items) VALUES(?1, ?2, ?3, ?4, ?5)",
    [S_BATCH_OUT] = "DELETE FROM batch WHERE id = ?1",
    [S_EXCEPT_IN] = "INSERT OR REPLACE INTO exception(dest, run, span, state, start_seq, end_seq, patch, due,"
                    " reason) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [S_EXCEPT_OUT] = "DELETE FROM exception WHERE dest = ?1 AND run = ?2 AND span = ?3",
    [S_EXCEPT] = "SELECT state FROM exception WHERE dest = ?1 AND run = ?2 AND span = ?3",
    [S_SCAN] = "SELECT seq, run, span, kind, at, body, refs FROM event WHERE seq > ?1 ORDER BY seq",
    [S_LEASE] = "SELECT lease FROM dest WHERE n = ?1",
    [S_LEASE_SET] = "UPDATE dest SET lease = ?2 WHERE n = ?1",
    [S_LEASE_OUT] = "UPDATE dest SET lease = '' WHERE n = ?1 AND lease = ?2",
};

/* What is in the queue. */
enum queued_type {
    Q_EVENT,
    Q_RUN_BEGIN,
    Q_RUN_END,
    Q_RUN_LOCAL,
    Q_EFFECT_BEGIN,
    Q_EFFECT_END,
    Q_ADVANCE,
    Q_BATCH_IN,
    Q_BATCH_OUT,
    Q_EXCEPT_IN,
    Q_EXCEPT_OUT,
    Q_LEASE_OUT
};

/* Open spans and where they started: an end event then names its start, and no reader has to search. */
struct open_span {
    int64_t run, span, seq; /* seq 0: free */
    int64_t at;
};
struct open_spans {
    struct open_span *slots;
    size_t count, cap; /* cap: 0 or a power of two */
};

struct run_where {
    int64_t key, dest;
    char *project;
};

struct checkpointer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool running, asked, restart, stop; /* running: of the owner; the others under the lock */
    int at_pages, last_pages;           /* of the owner */
};

struct ah_store {
    sqlite3 *db;
    sqlite3_stmt *st[S_COUNT];
    struct ah_queue q;
    struct ah_loop *loop;
    struct ah_log *log;
    struct ah_store_opts opts;
    struct ah_live live;
    struct ah_ids ids;
    struct ah_clock clock;
    struct open_spans open;
    struct ah_buf refs; /* scratch of the commit */
    struct run_where cache[RUN_CACHE];
    struct checkpointer ck;
    struct ah_store_stats stats;
    void (*on_commit)(void *arg, int64_t seq);
    void *on_commit_arg;
    bool memory, safe_next, leases;
    int reading; /* callbacks of reads are running: no flush from inside them */
    int wal_pages;
    int64_t queued_us; /* when the oldest event was queued */
    int64_t busy_us;   /* since when the file is locked; 0: it is not */
    int64_t last_key, last_seq, last_blob;
    char path[4200], trouble[600];
};

/* --- statements ------------------------------------------------------------------------------------ */

static bool is_busy(int rc)
{
    return (rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED;
}

/* A cached statement, or a fresh one while the cached one is in use further up. */
static sqlite3_stmt *take(struct ah_store *s, enum statement id)
{
    sqlite3_stmt *st = s->st[id];
    if (st && !sqlite3_stmt_busy(st))
        return st;
    sqlite3_stmt *fresh = NULL;
    sqlite3_prepare_v3(s->db, sql[id], -1, st ? 0 : SQLITE_PREPARE_PERSISTENT, &fresh, NULL);
    if (!st)
        s->st[id] = fresh;
    return fresh;
}

static void give(struct ah_store *s, enum statement id, sqlite3_stmt *st)
{
    if (st && st != s->st[id]) {
        sqlite3_finalize(st);
    } else if (st) {
        sqlite3_reset(st);
        sqlite3_clear_bindings(st);
    }
}

/* Binds by letters: i int64_t, t text (NULL is ""), b bytes and length, x text and length, d double. */
static void bind_args(sqlite3_stmt *st, const char *letters, va_list args)
{
    for (int k = 1; *letters; letters++, k++) {
        const char *p;
        size_t n;
        switch (*letters) {
        case 'i':
            sqlite3_bind_int64(st, k, va_arg(args, int64_t));
            break;
        case 'd':
            sqlite3_bind_double(st, k, va_arg(args, double));
            break;
        case 't':
            p = va_arg(args, const char *);
            sqlite3_bind_text(st, k, p ? p : "", -1, SQLITE_STATIC);
            break;
        case 'b':
        case 'x':
            p = va_arg(args, const char *);
            n = va_arg(args, size_t);
            if (*letters == 'x')
                sqlite3_bind_text64(st, k, p ? p : "", n, SQLITE_STATIC, SQLITE_UTF8);
            else
                sqlite3_bind_blob64(st, k, p ? p : "", n, SQLITE_STATIC);
            break;
        }
    }
}

/* Runs a statement that answers nothing. SQLite's code; SQLITE_OK when done. */
static int do_sql(struct ah_store *s, enum statement id, const char *letters, ...)
{
    sqlite3_stmt *st = take(s, id);
    if (!st)
        return sqlite3_extended_errcode(s->db);
    va_list args;
    va_start(args, letters);
    bind_args(st, letters, args);
    va_end(args);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW || rc == SQLITE_DONE)
        rc = SQLITE_OK;
    give(s, id, st);
    return rc;
}

/* The one integer that a statement answers; `otherwise` when there is no row. */
static int get_int(struct ah_store *s, int64_t *out, int64_t otherwise, enum statement id,
                   const char *letters, ...)
{
    *out = otherwise;
    sqlite3_stmt *st = take(s, id);
    if (!st)
        return sqlite3_extended_errcode(s->db);
    va_list args;
    va_start(args, letters);
    bind_args(st, letters, args);
    va_end(args);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        *out = sqlite3_column_int64(st, 0);
    if (rc == SQLITE_ROW || rc == SQLITE_DONE)
        rc = SQLITE_OK;
    give(s, id, st);
    return rc;
}

/* A statement that is used rarely. */
static sqlite3_stmt *prepare(struct ah_store *s, const char *text, const char *letters, ...)
{
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(s->db, text, -1, &st, NULL) != SQLITE_OK)
        return NULL;
    va_list args;
    va_start(args, letters);
    bind_args(st, letters, args);
    va_end(args);
    return st;
}

static int run_once(struct ah_store *s, sqlite3_stmt *st)
{
    int rc = st ? sqlite3_step(st) : sqlite3_extended_errcode(s->db);
    sqlite3_finalize(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int fail_read(struct ah_store *s, struct ah_error *err, int rc)
{
    ah_err_set(err, AH_JOURNAL, "the journal %s cannot be read: %s", s->memory ? "in memory" : s->path,
               rc ? sqlite3_errstr(rc) : sqlite3_errmsg(s->db));
    if (err)
        err->retryable = is_busy(rc);
    return -1;
}

static int begin_write(struct ah_store *s)
{
    return do_sql(s, S_BEGIN, "");
}

static int end_write(struct ah_store *s, int rc)
{
    if (rc == SQLITE_OK)
        rc = do_sql(s, S_COMMIT, "");
    if (rc != SQLITE_OK && !sqlite3_get_autocommit(s->db))
        do_sql(s, S_ROLLBACK, "");
    return rc;
}

/* --- numbers in few bytes -------------------------------------------------------------------------- */

static void put_number(struct ah_buf *b, int64_t v)
{
    uint64_t u = (uint64_t)v;
    do {
        ah_buf_addc(b, (char)((u & 0x7f) | (u > 0x7f ? 0x80 : 0)));
        u >>= 7;
    } while (u);
}

static int64_t get_number(const unsigned char **p, const unsigned char *end)
{
    uint64_t u = 0;
    for (int shift = 0; *p < end && shift < 64; shift += 7) {
        unsigned char c = *(*p)++;
        u |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80))
            break;
    }
    return (int64_t)u;
}

/* --- open spans ------------------------------------------------------------------------------------ */

static size_t span_home(const struct open_spans *o, int64_t run, int64_t span)
{
    uint64_t h = ((uint64_t)run + (uint64_t)span * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
    return (size_t)(h >> 32) & (o->cap - 1);
}

static struct open_span *find_span(const struct open_spans *o, int64_t run, int64_t span)
{
    if (!o->cap)
        return NULL;
    size_t i = span_home(o, run, span);
    while (o->slots[i].seq && (o->slots[i].run != run || o->slots[i].span != span))
        i = (i + 1) & (o->cap - 1);
    return &o->slots[i];
}

static int grow_spans(struct open_spans *o)
{
    struct open_spans more = {.cap = o->cap ? o->cap * 2 : 256, .count = o->count};
    more.slots = calloc(more.cap, sizeof *more.slots);
    if (!more.slots)
        return -1;
    for (size_t i = 0; i < o->cap; i++)
        if (o->slots[i].seq)
            *find_span(&more, o->slots[i].run, o->slots[i].span) = o->slots[i];
    free(o->slots);
    *o = more;
    return 0;
}

static int add_span(struct open_spans *o, int64_t run, int64_t span, int64_t seq, int64_t at)
{
    if (o->count * 2 >= o->cap && grow_spans(o) != 0)
        return -1;
    struct open_span *slot = find_span(o, run, span);
    o->count += slot->seq == 0;
    *slot = (struct open_span){run, span, seq, at};
    return 0;
}

static int64_t span_seq(const struct open_spans *o, int64_t run, int64_t span)
{
    struct open_span *slot = find_span(o, run, span);
    return slot ? slot->seq : 0;
}

static void remove_span(struct open_spans *o, int64_t run, int64_t span)
{
    struct open_span *slot = find_span(o, run, span);
    if (!slot || !slot->seq)
        return;
    o->count--;
    size_t hole = (size_t)(slot - o->slots);
    for (size_t i = (hole + 1) & (o->cap - 1); o->slots[i].seq; i = (i + 1) & (o->cap - 1)) {
        size_t home = span_home(o, o->slots[i].run, o->slots[i].span);
        if (((i - home) & (o->cap - 1)) >= ((i - hole) & (o->cap - 1))) {
            o->slots[hole] = o->slots[i];
            hole = i;
        }
    }
    o->slots[hole].seq = 0;
}

/* --- the checkpoint thread --------------------------------------------------------------------------- */

/* WAL pages are moved into the file here, with a connection of its own, so that no fsync is on the
 * loop. The connection must have read once before it can checkpoint. */
static void checkpoint(sqlite3 *db, bool restart)
{
    int log = 0, moved = 0;
    sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, &log, &moved);
    if (restart)
        sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_RESTART, &log, &moved);
}

static void *run_checkpoints(void *arg)
{
    struct ah_store *s = arg;
    struct checkpointer *ck = &s->ck;
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(s->path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK) {
        sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        sqlite3_busy_timeout(db, 50);
        sqlite3_exec(db, "PRAGMA wal_autocheckpoint = 0; SELECT count(*) FROM sqlite_master", NULL, NULL,
                     NULL);
    }
    pthread_mutex_lock(&ck->lock);
    for (;;) {
        while (!ck->asked && !ck->stop)
            pthread_cond_wait(&ck->wake, &ck->lock);
        if (!ck->asked)
            break;
        bool restart = ck->restart;
        ck->asked = ck->restart = false;
        pthread_mutex_unlock(&ck->lock);
        if (db)
            checkpoint(db, restart);
        pthread_mutex_lock(&ck->lock);
    }
    pthread_mutex_unlock(&ck->lock);
    sqlite3_close(db);
    return NULL;
}

static int start_checkpointer(struct ah_store *s)
{
    struct checkpointer *ck = &s->ck;
    sigset_t all, before;
    pthread_mutex_init(&ck->lock, NULL);
    pthread_cond_init(&ck->wake, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals belong to the loop's thread */
    ck->running = pthread_create(&ck->thread, NULL, run_checkpoints, s) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ck->running ? 0 : -1;
}

static void ask_checkpoint(struct ah_store *s)
{
    struct checkpointer *ck = &s->ck;
    if (s->wal_pages < ck->last_pages)
        ck->at_pages = 0; /* the WAL began anew */
    ck->last_pages = s->wal_pages;
    if (s->memory || s->wal_pages < CHECKPOINT_PAGES || s->wal_pages < ck->at_pages)
        return;
    ck->at_pages = s->wal_pages + CHECKPOINT_PAGES;
    if (!ck->running && start_checkpointer(s) != 0)
        return;
    pthread_mutex_lock(&ck->lock);
    ck->asked = true;
    ck->restart = s->wal_pages >= RESTART_PAGES;
    pthread_cond_signal(&ck->wake);
    pthread_mutex_unlock(&ck->lock);
}

static void stop_checkpointer(struct ah_store *s)
{
    struct checkpointer *ck = &s->ck;
    if (!ck->running)
        return;
    pthread_mutex_lock(&ck->lock);
    ck->stop = true;
    pthread_cond_signal(&ck->wake);
    pthread_mutex_unlock(&ck->lock);
    pthread_join(ck->thread, NULL);
    pthread_mutex_destroy(&ck->lock);
    pthread_cond_destroy(&ck->wake);
    *ck = (struct checkpointer){0};
}

static int on_wal(void *arg, sqlite3 *db, const char *name, int pages)
{
    (void)db;
    (void)name;
    ((struct ah_store *)arg)->wal_pages = pages;
    return SQLITE_OK;
}

/* --- opening --------------------------------------------------------------------------------------- */

int ah_store_default_dir(char *out, size_t size, struct ah_error *err)
{
    const char *own = getenv("AGENTHOST_HOME"), *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n;
    if (own && *own)
        n = snprintf(out, size, "%s", own);
    else if (state && *state == '/') /* the XDG rule: relative paths are ignored */
        n = snprintf(out, size, "%s/agenthost", state);
    else if (home && *home)
        n = snprintf(out, size, "%s/.local/state/agenthost", home);
    else
        return ah_err_set(err, AH_CONFIG, "no place for the journal: set AGENTHOST_HOME to a folder");
    if (n < 0 || (size_t)n >= size)
        return ah_err_set(err, AH_CONFIG,
                          "the folder of the journal has too long a name: set AGENTHOST_HOME");
    return 0;
}

/* Every missing folder of the path, for its owner only, whatever the umask. */
static int make_folders(const char *path)
{
    char part[4096];
    int n = snprintf(part, sizeof part, "%s", path);
    if (n < 1 || (size_t)n >= sizeof part) {
        errno = ENAMETOOLONG;
        return -1;
    }
    for (char *at = part + 1;; at++) {
        if (*at != '/' && *at != '\0')
            continue;
        char c = *at;
        *at = '\0';
        if (mkdir(part, 0700) == 0)
            (void)!chmod(part, 0700);
        else if (errno != EEXIST && (c == '\0' || (errno != EACCES && errno != EROFS && errno != EPERM)))
            return -1;
        *at = c;
        if (c == '\0')
            break;
    }
    struct stat st;
    if (stat(part, &st) != 0)
        return -1;
    if (S_ISDIR(st.st_mode))
        return 0;
    errno = ENOTDIR;
    return -1;
}

/* The file exists and is 0600 before SQLite sees it; WAL and shared memory take its mode. */
static int make_file(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        if (errno != EEXIST)
            return -1;
        (void)!chmod(path, 0600);
        return 0;
    }
    (void)!fchmod(fd, 0600);
    close(fd);
    return 0;
}

static int ask_int(sqlite3 *db, const char *text, int64_t *out)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, text, -1, &st, NULL);
    if (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        *out = sqlite3_column_int64(st, 0);
        rc = SQLITE_OK;
    }
    sqlite3_finalize(st);
    return rc;
}

/* Brings the schema to AH_STORE_VERSION. Another process may do the same at the same time. */
static int migrate(sqlite3 *db, char *why, size_t size)
{
    int64_t version = 0, tables = 0;
    int rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = ask_int(db, "PRAGMA user_version", &version);
    if (rc == SQLITE_OK)
        rc = ask_int(db, "SELECT count(*) FROM sqlite_master", &tables);
    if (rc == SQLITE_OK && version == 0 && tables > 0) {
        snprintf(why, size, "it is another program's database");
        rc = SQLITE_MISMATCH;
    }
    for (; rc == SQLITE_OK && version < AH_STORE_VERSION; version++)
        rc = sqlite3_exec(db, migrations[version], NULL, NULL, NULL);
    char text[64];
    snprintf(text, sizeof text, "PRAGMA user_version = %d", AH_STORE_VERSION);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, text, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    if (rc != SQLITE_OK && !sqlite3_get_autocommit(db))
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

static int set_up(sqlite3 *db, int64_t max_pages, char *why, size_t size)
{
    char text[160];
    int64_t version = 0;
    snprintf(text, sizeof text, "PRAGMA page_size = %d; PRAGMA temp_store = MEMORY", PAGE_BYTES);
    int rc = sqlite3_exec(db, text, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = ask_int(db, "PRAGMA user_version", &version);
    if (rc == SQLITE_OK && version > AH_STORE_VERSION) {
        snprintf(why, size,
                 "it was written by a newer agenthost (journal version %lld, this one knows %d): update "
                 "agenthost, or set AGENTHOST_HOME to another folder",
                 (long long)version, AH_STORE_VERSION);
        return SQLITE_MISMATCH;
    }
    if (rc == SQLITE_OK && max_pages > 0) {
        snprintf(text, sizeof text, "PRAGMA max_page_count = %lld", (long long)max_pages);
        rc = sqlite3_exec(db, text, NULL, NULL, NULL);
    }
    return rc;
}

static int use_wal(sqlite3 *db)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, "PRAGMA journal_mode = WAL", -1, &st, NULL);
    if (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        const unsigned char *mode = sqlite3_column_text(st, 0);
        rc = mode && strcmp((const char *)mode, "wal") == 0 ? SQLITE_OK : SQLITE_CANTOPEN;
    }
    sqlite3_finalize(st);
    return rc;
}

static int open_db(struct ah_store *s, char *why, size_t size)
{
    int rc = sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_busy_timeout(s->db, OPEN_WAIT_MS);
    if (sqlite3_db_readonly(s->db, "main") == 1)
        return SQLITE_READONLY;
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    rc = set_up(s->db, s->opts.max_pages, why, size);
    int64_t until = ah_clock_mono_us() + OPEN_WAIT_MS * 1000;
    while (rc == SQLITE_OK && is_busy(rc = use_wal(s->db)) && ah_clock_mono_us() < until) {
        usleep(2000); /* two processes make the same new file: here no busy handler is asked */
        rc = SQLITE_OK;
    }
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(s->db, "PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = NORMAL", NULL, NULL,
                          NULL);
    if (rc == SQLITE_OK)
        rc = migrate(s->db, why, size);
    if (rc == SQLITE_OK) {
        sqlite3_wal_hook(s->db, on_wal, s);
        sqlite3_busy_timeout(s->db, 0);
    }
    return rc;
}

static void close_db(struct ah_store *s)
{
    for (int i = 0; i < S_COUNT; i++) {
        sqlite3_finalize(s->st[i]);
        s->st[i] = NULL;
    }
    sqlite3_close_v2(s->db);
    s->db = NULL;
}

/* What SQLite's code means to a person. */
static const char *say_code(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return "another program keeps it locked: end that program, or set AGENTHOST_HOME to another folder";
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return "it is read-only: change its rights, or set AGENTHOST_HOME to another folder";
    case SQLITE_FULL:
        return "the disk is full: make room, or set AGENTHOST_HOME to another folder";
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return "it is damaged: move it away to begin a new one";
    case SQLITE_CANTOPEN:
        return "it cannot be opened there: set AGENTHOST_HOME to a folder of yours";
    default:
        return sqlite3_errstr(rc);
    }
}

static int open_file(struct ah_store *s, char *why, size_t size)
{
    char dir[4096], id[AH_UUID_BYTES];
    struct ah_error err = {0};
    if (s->opts.dir)
        snprintf(dir, sizeof dir, "%s", s->opts.dir);
    else if (ah_store_default_dir(dir, sizeof dir, &err) != 0) {
        snprintf(why, size, "%.200s", err.message);
        return -1;
    }
    snprintf(s->path, sizeof s->path, "%s/journal.db", dir);
    if (make_folders(dir) != 0 || make_file(s->path) != 0) {
        snprintf(why, size, "%s", strerror(errno));
        return -1;
    }
    snprintf(id, sizeof id, "%s", s->live.id);
    if (ah_live_open(&s->live, dir, id, &err) != 0) {
        snprintf(why, size, "%.200s", err.message);
        snprintf(s->live.id, sizeof s->live.id, "%s", id);
        return -1;
    }
    int rc = open_db(s, why, size);
    if (rc != SQLITE_OK) {
        if (!*why)
            snprintf(why, size, "%s", say_code(rc));
        close_db(s);
        ah_live_close(&s->live);
        snprintf(s->live.id, sizeof s->live.id, "%s", id);
        return -1;
    }
    return 0;
}

static int open_memory(struct ah_store *s, struct ah_error *err)
{
    char why[200] = "";
    size_t bytes = s->opts.memory_bytes ? s->opts.memory_bytes : AH_JOURNAL_MEMORY_BYTES;
    int rc = sqlite3_open_v2(":memory:", &s->db,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK)
        rc = set_up(s->db, (int64_t)(bytes / PAGE_BYTES), why, sizeof why);
    if (rc == SQLITE_OK)
        rc = migrate(s->db, why, sizeof why);
    s->memory = true;
    if (rc == SQLITE_OK)
        return 0;
    close_db(s);
    return ah_err_set(err, AH_MEMORY, "no memory for a journal: %s", sqlite3_errstr(rc));
}

static void announce_trouble(struct ah_store *s, const char *why)
{
    snprintf(s->trouble, sizeof s->trouble, "the journal %.300s cannot be used: %.200s", s->path, why);
    if (!s->opts.quiet && s->log)
        ah_log_once(s->log, AH_ONCE_JOURNAL, AH_LOG_WARN,
                    "%s. Traces are kept in memory and end with this process%s", s->trouble,
                    s->opts.allow_no_journal ? "" : "; unsafe calls are refused (--no-journal allows them)");
}

static bool commit_turn(void *arg)
{
    return ah_store_flush(arg) == AH_STORE_OK;
}

static struct ah_store *give_up(struct ah_store *s)
{
    s->loop = NULL;
    ah_store_close(s);
    return NULL;
}

struct ah_store *ah_store_open(const struct ah_store_opts *opts, struct ah_loop *loop, struct ah_log *log,
                               struct ah_error *err)
{
    struct ah_store *s = calloc(1, sizeof *s);
    if (!s || ah_queue_init(&s->q) != 0) {
        free(s);
        ah_err_set(err, AH_MEMORY, "no memory for the journal");
        return NULL;
    }
    s->opts = *opts;
    s->log = log;
    ah_buf_init(&s->refs, BODY_BYTES);
    ah_ids_uuid7(&s->ids, ah_clock_wall_us(&s->clock), s->live.id);
    char why[400] = "";
    if (opts->memory) {
        if (open_memory(s, err) != 0)
            return give_up(s);
    } else if (open_file(s, why, sizeof why) != 0) {
        if (opts->need_file) {
            ah_err_set(err, AH_JOURNAL, "the journal %.300s cannot be used: %.300s", s->path, why);
            return give_up(s);
        }
        announce_trouble(s, why);
        if (open_memory(s, err) != 0)
            return give_up(s);
    } else {
        ah_store_recover(s, NULL, NULL); /* a busy file: the next process does it */
    }
    s->opts.dir = NULL; /* the caller's memory */
    s->loop = loop;
    if (loop)
        ah_loop_set_commit(loop, commit_turn, s, RETRY_MS);
    return s;
}

void ah_store_close(struct ah_store *s)
{
    if (!s)
        return;
    if (s->loop)
        ah_loop_set_commit(s->loop, NULL, NULL, RETRY_MS);
    s->on_commit = NULL;
    if (s->db) {
        ah_store_flush_wait(s, OPEN_WAIT_MS);
        stop_checkpointer(s);
        if (s->leases)
            run_once(s, prepare(s, "UPDATE dest SET lease = '' WHERE lease = ?1", "t", s->live.id));
        close_db(s);
    }
    ah_live_close(&s->live);
    ah_queue_drop(&s->q);
    ah_buf_drop(&s->refs);
    free(s->open.slots);
    for (int i = 0; i < RUN_CACHE; i++)
        free(s->cache[i].project);
    free(s);
}

bool ah_store_durable(const struct ah_store *s)
{
    return !s->memory;
}

bool ah_store_allows_unsafe(const struct ah_store *s)
{
    return !s->memory || s->opts.allow_no_journal;
}

const char *ah_store_trouble(const struct ah_store *s)
{
    return s->trouble;
}

const char *ah_store_path(const struct ah_store *s)
{
    return s->memory ? "" : s->path;
}

const char *ah_store_live_id(const struct ah_store *s)
{
    return s->live.id;
}

const struct ah_store_stats *ah_store_stats(const struct ah_store *s)
{
    return &s->stats;
}

/* --- the commit -------------------------------------------------------------------------------------- */

static int write_blobs(struct ah_store *s)
{
    int rc = get_int(s, &s->last_blob, 0, S_MAX_BLOB, "");
    for (size_t i = 0; rc == SQLITE_OK && i < s->q.blobs_count; i++) {
        struct ah_queued_blob *b = &s->q.blobs[i];
        b->row = ++s->last_blob;
        rc = do_sql(s, S_BLOB_IN, "ibx", b->row, (const char *)b->sha256, sizeof b->sha256,
                    s->q.texts.p + b->at, b->n);
    }
    return rc;
}

/* refs of a row: of an end first its start's seq, then the texts' numbers. */
static void write_refs(struct ah_store *s, const struct ah_queued *op, int64_t start)
{
    ah_buf_clear(&s->refs);
    if (op->i[2] == AH_EV_SPAN_END)
        put_number(&s->refs, start);
    for (size_t k = 0; k < op->refs_count; k++) {
        int64_t ref = s->q.refs[op->refs + k];
        put_number(&s->refs, ref > 0 ? ref : s->q.blobs[-1 - ref].row);
    }
}

static int write_event(struct ah_store *s, const struct ah_queued *op)
{
    int64_t seq = ++s->last_seq, start = 0;
    if (op->i[2] == AH_EV_SPAN_START && add_span(&s->open, op->i[0], op->i[1], seq, op->i[3]) != 0)
        return SQLITE_NOMEM;
    if (op->i[2] == AH_EV_SPAN_END)
        start = span_seq(&s->open, op->i[0], op->i[1]);
    write_refs(s, op, start);
    if (s->refs.failed)
        return SQLITE_NOMEM;
    return do_sql(s, S_EVENT_IN, "iiiiixb", seq, op->i[0], op->i[1], op->i[2], op->i[3],
                  s->q.bytes.p + op->at, op->n, s->refs.p, s->refs.n);
}

static struct run_where *where_slot(struct ah_store *s, int64_t key)
{
    return &s->cache[((uint64_t)key * 0x9e3779b97f4a7c15u) >> 56];
}

/* The row of a destination, made when it is new: it begins at the newest event. */
static int need_dest(struct ah_store *s, const char *endpoint, const char *workspace, bool emulated,
                     int64_t *dest)
{
    const char *emulator = emulated ? s->live.id : "";
    *dest = 0;
    if (!*endpoint)
        return SQLITE_OK;
    int rc = get_int(s, dest, 0, S_DEST_FIND, "ttt", endpoint, workspace, emulator);
    if (rc != SQLITE_OK || *dest)
        return rc;
    rc = do_sql(s, S_DEST_IN, "ttti", endpoint, workspace, emulator, s->last_seq);
    *dest = sqlite3_last_insert_rowid(s->db);
    return rc;
}

static int write_run(struct ah_store *s, const struct ah_queued *op)
{
    const char *text[7];
    for (int i = 0; i < 7; i++)
        text[i] = ah_queue_text(&s->q, op, i);
    int64_t dest;
    int rc = need_dest(s, text[5], text[6], op->i[3] != 0, &dest);
    if (rc != SQLITE_OK)
        return rc;
    return do_sql(s, S_RUN_IN, "iiiiiitttttt", op->i[0], op->i[1], op->i[2], op->i[3], dest, s->last_seq + 1,
                  text[0], text[1], text[2], text[3], text[4], s->live.id);
}

static int write_op(struct ah_store *s, const struct ah_queued *op)
{
    const int64_t *i = op->i;
    switch ((enum queued_type)op->type) {
    case Q_EVENT:
        return write_event(s, op);
    case Q_RUN_BEGIN:
        return write_run(s, op);
    case Q_RUN_END:
        return do_sql(s, S_RUN_END, "iiiiiiiiiidttt", i[0], i[1], i[2], i[3], i[4], i[5], i[6], i[7], i[8],
                      s->last_seq, op->d, ah_queue_text(&s->q, op, 0), ah_queue_text(&s->q, op, 1),
                      ah_queue_text(&s->q, op, 2));
    case Q_RUN_LOCAL:
        where_slot(s, i[0])->key = 0;
        return do_sql(s, S_RUN_LOCAL, "i", i[0]);
    case Q_EFFECT_BEGIN:
        return do_sql(s, S_EFFECT_IN, "iiiiibtt", i[0], i[1], i[2], i[3], s->last_seq + 1,
                      (const char *)&i[4], (size_t)32, ah_queue_text(&s->q, op, 0),
                      ah_queue_text(&s->q, op, 1));
    case Q_EFFECT_END:
        return do_sql(s, S_EFFECT_END, "iiiiiii", i[0], i[1], i[2], i[3], i[4], i[5], s->last_seq + 1);
    case Q_ADVANCE:
        return do_sql(s, S_ADVANCE, "ii", i[0], i[1]);
    case Q_BATCH_IN:
        return do_sql(s, S_BATCH_IN, "iiiib", i[0], i[1], i[2], i[3], s->q.bytes.p + op->at, op->n);
    case Q_BATCH_OUT:
        return do_sql(s, S_BATCH_OUT, "i", i[0]);
    case Q_EXCEPT_IN:
        return do_sql(s, S_EXCEPT_IN, "iiiiiiiit", i[0], i[1], i[2], i[3], i[4], i[5], i[6], i[7],
                      ah_queue_text(&s->q, op, 0));
    case Q_EXCEPT_OUT:
        return do_sql(s, S_EXCEPT_OUT, "iii", i[0], i[1], i[2]);
    case Q_LEASE_OUT:
        return do_sql(s, S_LEASE_OUT, "it", i[0], s->live.id);
    }
    return SQLITE_OK;
}

static void set_sync(struct ah_store *s, bool full)
{
    if (!s->memory)
        sqlite3_exec(s->db, full ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", NULL, NULL,
                     NULL);
}

static int write_queue(struct ah_store *s)
{
    bool full = s->safe_next;
    if (full)
        set_sync(s, true);
    int rc = begin_write(s);
    if (rc == SQLITE_OK) {
        rc = get_int(s, &s->last_seq, 0, S_MAX_SEQ, "");
        if (rc == SQLITE_OK && s->q.blobs_count)
            rc = write_blobs(s);
        for (size_t i = 0; rc == SQLITE_OK && i < s->q.count; i++)
            rc = write_op(s, &s->q.ops[i]);
        rc = end_write(s, rc);
    }
    if (full)
        set_sync(s, false);
    return rc;
}

/* All is written: forget it, and tell. */
static void finish_commit(struct ah_store *s)
{
    for (size_t i = 0; i < s->q.count; i++) {
        const struct ah_queued *op = &s->q.ops[i];
        if (op->type == Q_EVENT && op->i[2] == AH_EV_SPAN_END)
            remove_span(&s->open, op->i[0], op->i[1]);
    }
    s->stats.commits++;
    s->stats.full_commits += s->safe_next && !s->memory;
    s->stats.events += s->q.events;
    s->stats.blobs += s->q.blobs_count;
    s->stats.blobs_known = s->q.blobs_known;
    s->stats.queued = 0;
    s->safe_next = false;
    s->busy_us = 0;
    ah_queue_written(&s->q, true);
    ask_checkpoint(s);
    if (s->on_commit)
        s->on_commit(s->on_commit_arg, s->last_seq);
}

static int go_memory(struct ah_store *s, int rc);
static bool make_room(struct ah_store *s);

static void drop_queue(struct ah_store *s)
{
    s->stats.dropped += s->q.events;
    s->stats.queued = 0;
    ah_queue_written(&s->q, false);
}

enum ah_store_result ah_store_flush(struct ah_store *s)
{
    if (s->q.count == 0)
        return AH_STORE_OK;
    if (s->reading || s->q.now)
        return AH_STORE_BUSY;
    for (int tries = 0; tries < 4; tries++) {
        int rc = write_queue(s);
        if (rc == SQLITE_OK) {
            finish_commit(s);
            return AH_STORE_OK;
        }
        int64_t now = ah_clock_mono_us();
        if (is_busy(rc) || (rc & 0xff) == SQLITE_NOMEM) {
            s->stats.busy++;
            s->busy_us = s->busy_us ? s->busy_us : now;
            if (now - s->busy_us < GIVE_UP_US)
                return AH_STORE_BUSY;
        }
        if (!s->memory ? go_memory(s, rc) != 0 : !make_room(s))
            break;
    }
    drop_queue(s);
    return AH_STORE_OK;
}

enum ah_store_result ah_store_flush_wait(struct ah_store *s, int64_t ms)
{
    int64_t until = ah_clock_mono_us() + ms * 1000;
    enum ah_store_result r;
    while ((r = ah_store_flush(s)) == AH_STORE_BUSY && !s->reading && ah_clock_mono_us() < until)
        usleep(RETRY_MS * 1000);
    return r;
}

void ah_store_on_commit(struct ah_store *s, void (*fn)(void *arg, int64_t seq), void *arg)
{
    s->on_commit = fn;
    s->on_commit_arg = arg;
}

/* --- memory instead of a file -------------------------------------------------------------------------- */

static int expand(struct ah_store *s, const char *body, size_t n, const unsigned char *refs, size_t refs_n,
                  struct ah_buf *to);

/* Texts that the queue names and only the old file has. Lost ones read as null. */
static int carry_texts(struct ah_store *s, struct ah_store *from)
{
    for (size_t i = 0; i < s->q.refs_count; i++) {
        if (s->q.refs[i] < 0)
            continue;
        sqlite3_stmt *st = from->db ? take(from, S_BLOB) : NULL;
        const char *text = "null";
        size_t n = 4;
        if (st) {
            sqlite3_bind_int64(st, 1, s->q.refs[i]);
            if (sqlite3_step(st) == SQLITE_ROW) {
                text = sqlite3_column_blob(st, 0);
                n = (size_t)sqlite3_column_bytes(st, 0);
            }
        }
        int rc = get_int(s, &s->last_blob, 0, S_MAX_BLOB, "");
        if (rc == SQLITE_OK)
            rc = do_sql(s, S_BLOB_IN, "ibx", ++s->last_blob, "", (size_t)0, text, n);
        if (st)
            give(from, S_BLOB, st);
        if (rc != SQLITE_OK)
            return -1;
        s->q.refs[i] = s->last_blob;
    }
    return 0;
}

static void carry_rows(struct ah_store *s, struct ah_store *from, const char *read, const char *write)
{
    sqlite3_stmt *in = prepare(from, read, "t", s->live.id), *out = prepare(s, write, "");
    while (in && out && sqlite3_step(in) == SQLITE_ROW) {
        for (int c = 0; c < sqlite3_column_count(in); c++)
            sqlite3_bind_value(out, c + 1, sqlite3_column_value(in, c));
        sqlite3_step(out);
        sqlite3_reset(out);
    }
    sqlite3_finalize(in);
    sqlite3_finalize(out);
}

/* Starts of spans that are open now: their ends come to the new journal. */
static void carry_starts(struct ah_store *s, struct ah_store *from)
{
    struct ah_buf body;
    ah_buf_init(&body, BODY_BYTES);
    for (size_t i = 0; i < s->open.cap; i++) {
        sqlite3_stmt *st = s->open.slots[i].seq ? take(from, S_EVENT) : NULL;
        if (!st)
            continue;
        sqlite3_bind_int64(st, 1, s->open.slots[i].seq);
        if (sqlite3_step(st) == SQLITE_ROW) {
            ah_buf_clear(&body);
            expand(from, sqlite3_column_blob(st, 5), (size_t)sqlite3_column_bytes(st, 5),
                   sqlite3_column_blob(st, 6), (size_t)sqlite3_column_bytes(st, 6), &body);
            do_sql(s, S_EVENT_IN, "iiiiixb", sqlite3_column_int64(st, 0), sqlite3_column_int64(st, 1),
                   sqlite3_column_int64(st, 2), sqlite3_column_int64(st, 3), sqlite3_column_int64(st, 4),
                   ah_buf_str(&body), body.n, "", (size_t)0);
        }
        give(from, S_EVENT, st);
    }
    ah_buf_drop(&body);
}

#define RUN_ALL                                                                                              \
    "key, id, name, script, identifier, project, owner, dest, pushed, emulated, state, traced, started,"     \
    " first_seq"

static int64_t newest_seq(struct ah_store *s)
{
    int64_t seq = 0;
    get_int(s, &seq, 0, S_MAX_SEQ, "");
    return seq;
}

/* The file is given up; what is open now and what is queued goes on in memory. What the file holds
 * stays there for the next process. */
static int go_memory(struct ah_store *s, int rc)
{
    struct ah_store *from = calloc(1, sizeof *from);
    if (!from)
        return -1;
    stop_checkpointer(s);
    from->db = s->db;
    memcpy(from->st, s->st, sizeof s->st);
    memset(s->st, 0, sizeof s->st);
    s->db = NULL;
    announce_trouble(s, say_code(rc));
    s->busy_us = 0;
    int result = open_memory(s, NULL);
    if (result == 0) {
        sqlite3_exec(s->db, "BEGIN", NULL, NULL, NULL);
        carry_starts(s, from);
        carry_rows(s, from, "SELECT " RUN_ALL " FROM run WHERE state = 0 AND owner = ?1",
                   "INSERT INTO run(" RUN_ALL
                   ") VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)");
        carry_rows(s, from, "SELECT n, endpoint, workspace, emulator, position FROM dest WHERE ?1 <> ''",
                   "INSERT INTO dest(n, endpoint, workspace, emulator, position) VALUES(?1, ?2, ?3, ?4, ?5)");
        carry_rows(
            s, from,
            "SELECT e.* FROM exception e JOIN run r ON r.key = e.run WHERE r.state = 0 AND r.owner = ?1",
            "INSERT INTO exception VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
        /* A position is a seq of the file; here the next event follows what was carried over. */
        run_once(s, prepare(s, "UPDATE dest SET position = ?1", "i", newest_seq(s)));
        result = carry_texts(s, from);
        sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL);
    }
    if (result == 0) {
        ah_queue_forget(&s->q);
        close_db(from);
    } else {
        close_db(s);
        s->db = from->db;
        memcpy(s->st, from->st, sizeof s->st);
        s->memory = false;
    }
    free(from);
    return result;
}

static int64_t used_bytes(struct ah_store *s)
{
    int64_t pages = 0, spare = 0, size = 0;
    ask_int(s->db, "PRAGMA page_count", &pages);
    ask_int(s->db, "PRAGMA freelist_count", &spare);
    ask_int(s->db, "PRAGMA page_size", &size);
    return (pages - spare) * size;
}

/* The memory is full: the oldest ended runs go, sent or not. */
static bool make_room(struct ah_store *s)
{
    struct ah_store_gc_result r = {0};
    struct ah_store_gc gc = {.max_bytes = used_bytes(s) / 2, .undelivered = true};
    return ah_store_gc(s, &gc, &r, NULL) == 0 && r.events > 0;
}

/* --- writing ------------------------------------------------------------------------------------------- */

int64_t ah_store_new_key(struct ah_store *s)
{
    int64_t key = (ah_clock_wall_us(&s->clock) << 11) | (int64_t)(ah_ids_u64(&s->ids) & 2047);
    if (key <= s->last_key)
        key = s->last_key + 1 + (int64_t)(ah_ids_u64(&s->ids) & 255);
    s->last_key = key;
    return key;
}

static int queued(struct ah_store *s, const struct ah_queued *op)
{
    s->stats.queued = s->q.count;
    return op ? 0 : -1;
}

int ah_store_run_begin(struct ah_store *s, const struct ah_store_run_start *r)
{
    const char *text[7] = {r->id,      r->name,           r->script,         r->identifier,
                           r->project, r->where.endpoint, r->where.workspace};
    struct ah_queued *op = ah_queue_add(&s->q, Q_RUN_BEGIN, 7, text);
    if (op) {
        op->i[0] = r->key;
        op->i[1] = r->at;
        op->i[2] = r->traced;
        op->i[3] = r->where.emulated;
    }
    return queued(s, op);
}

int ah_store_run_end(struct ah_store *s, int64_t key, int64_t at, const char *name, const char *identifier,
                     const char *error, const struct ah_store_totals *t)
{
    const char *text[3] = {name, identifier, error};
    struct ah_queued *op = ah_queue_add(&s->q, Q_RUN_END, 3, text);
    if (op) {
        int64_t i[] = {key,
                       at,
                       error ? AH_RUN_FAILED : AH_RUN_DONE,
                       t->input_tokens,
                       t->output_tokens,
                       t->model_calls,
                       t->tool_calls,
                       t->errors,
                       t->spans};
        memcpy(op->i, i, sizeof i);
        op->d = t->cost_known ? t->cost : -1;
    }
    return queued(s, op);
}

int ah_store_run_local(struct ah_store *s, int64_t key)
{
    struct ah_queued *op = ah_queue_add(&s->q, Q_RUN_LOCAL, 0, NULL);
    if (op)
        op->i[0] = key;
    return queued(s, op);
}

void ah_store_begin(struct ah_store *s, int64_t run, int64_t span, enum ah_event_kind kind, int64_t at)
{
    if (s->q.events == 0)
        s->queued_us = ah_clock_mono_us();
    struct ah_queued *op = ah_queue_begin(&s->q, Q_EVENT);
    if (!op)
        return;
    op->i[0] = run;
    op->i[1] = span;
    op->i[2] = kind;
    op->i[3] = at;
}

void ah_store_put(struct ah_store *s, const char *p, size_t n)
{
    ah_queue_put(&s->q, p, n);
}

void ah_store_puts(struct ah_store *s, const char *text)
{
    ah_queue_put(&s->q, text, strlen(text));
}

void ah_store_put_str(struct ah_store *s, const char *p, size_t n)
{
    ah_queue_put_str(&s->q, p, n);
}

void ah_store_put_json(struct ah_store *s, const char *p, size_t n)
{
    ah_queue_put_text(&s->q, p, n, AH_BLOB_MIN_BYTES);
}

void ah_store_put_object(struct ah_store *s, const char *p, size_t n)
{
    ah_queue_put_object(&s->q, p, n);
}

int ah_store_end(struct ah_store *s)
{
    int result = ah_queue_end(&s->q);
    s->stats.queued = s->q.count;
    if (result != 0)
        s->stats.dropped++;
    int64_t now = ah_clock_mono_us();
    bool due = s->q.events >= AH_JOURNAL_EVENTS_COUNT || now - s->queued_us >= AH_JOURNAL_AGE_MS * 1000;
    /* While the file is locked the loop's commit tries again; not every event does. */
    if (due && !s->reading && (!s->busy_us || now - s->queued_us >= RETRY_MS * 1000)) {
        if (ah_store_flush(s) == AH_STORE_BUSY)
            s->queued_us = now;
    }
    return result;
}

void ah_store_make_safe(struct ah_store *s)
{
    s->safe_next = true;
}

int ah_store_effect_begin(struct ah_store *s, const struct ah_store_effect *e)
{
    const char *text[2] = {e->kind, e->what};
    struct ah_queued *op = ah_queue_add(&s->q, Q_EFFECT_BEGIN, 2, text);
    if (op) {
        int64_t i[] = {e->run, e->n, e->span, e->cls};
        memcpy(op->i, i, sizeof i);
        memcpy(&op->i[4], e->args_sha256, sizeof e->args_sha256);
    }
    return queued(s, op);
}

int ah_store_effect_end(struct ah_store *s, const struct ah_store_effect *e)
{
    struct ah_queued *op = ah_queue_add(&s->q, Q_EFFECT_END, 0, NULL);
    if (op) {
        int64_t i[] = {e->run, e->n, (int64_t)e->issued, (int64_t)e->completed, e->status, e->error};
        memcpy(op->i, i, sizeof i);
    }
    return queued(s, op);
}

/* --- reading --------------------------------------------------------------------------------------------- */

static const char *text_of(sqlite3_stmt *st, int column)
{
    const unsigned char *p = sqlite3_column_text(st, column);
    return p ? (const char *)p : "";
}

static int add_blob(struct ah_store *s, int64_t n, struct ah_buf *to)
{
    sqlite3_stmt *st = take(s, S_BLOB);
    if (!st)
        return -1;
    sqlite3_bind_int64(st, 1, n);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        ah_buf_add(to, sqlite3_column_blob(st, 0), (size_t)sqlite3_column_bytes(st, 0));
    else
        ah_buf_adds(to, "null"); /* lost with a damaged page: the rest is still worth reading */
    give(s, S_BLOB, st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : -1;
}

/* A body with its texts in place. */
static int expand(struct ah_store *s, const char *body, size_t n, const unsigned char *refs, size_t refs_n,
                  struct ah_buf *to)
{
    const unsigned char *end = refs ? refs + refs_n : NULL;
    int result = 0;
    while (n > 0) {
        const char *mark = memchr(body, AH_QUEUE_MARK, n);
        size_t before = mark ? (size_t)(mark - body) : n;
        ah_buf_add(to, body, before);
        if (!mark)
            break;
        if (add_blob(s, refs < end ? get_number(&refs, end) : 0, to) != 0)
            result = -1;
        body += before + 1;
        n -= before + 1;
    }
    return to->failed ? -1 : result;
}

/* Columns: seq, run, span, kind, at, body, refs. */
static int read_event(struct ah_store *s, sqlite3_stmt *st, struct ah_buf *body, struct ah_store_event *ev)
{
    *ev = (struct ah_store_event){.seq = sqlite3_column_int64(st, 0),
                                  .run = sqlite3_column_int64(st, 1),
                                  .span = sqlite3_column_int64(st, 2),
                                  .kind = (enum ah_event_kind)sqlite3_column_int(st, 3),
                                  .at = sqlite3_column_int64(st, 4),
                                  .project = ""};
    const unsigned char *refs = sqlite3_column_blob(st, 6);
    const unsigned char *end = refs ? refs + sqlite3_column_bytes(st, 6) : NULL;
    if (ev->kind == AH_EV_SPAN_END && refs)
        ev->start_seq = get_number(&refs, end);
    ah_buf_clear(body);
    const char *p = sqlite3_column_blob(st, 5);
    if (expand(s, p, (size_t)sqlite3_column_bytes(st, 5), refs, (size_t)(end - refs), body) != 0)
        return -1;
    ev->body = ah_buf_str(body);
    ev->n = body->n;
    return 0;
}

#define RUN_COLUMNS                                                                                          \
    "key, started, ended, first_seq, last_seq, id, name, script, identifier, project, error, state, traced," \
    " emulated, dest, input_tokens, output_tokens, model_calls, tool_calls, errors, spans, cost"

static void read_run(sqlite3_stmt *st, struct ah_store_run *r)
{
    *r = (struct ah_store_run){.key = sqlite3_column_int64(st, 0),
                               .started = sqlite3_column_int64(st, 1),
                               .ended = sqlite3_column_int64(st, 2),
                               .first_seq = sqlite3_column_int64(st, 3),
                               .last_seq = sqlite3_column_int64(st, 4),
                               .name = text_of(st, 6),
                               .script = text_of(st, 7),
                               .identifier = text_of(st, 8),
                               .project = text_of(st, 9),
                               .error = text_of(st, 10),
                               .state = (enum ah_store_run_state)sqlite3_column_int(st, 11),
                               .traced = sqlite3_column_int(st, 12) != 0,
                               .emulated = sqlite3_column_int(st, 13) != 0,
                               .dest = sqlite3_column_int64(st, 14)};
    snprintf(r->id, sizeof r->id, "%s", text_of(st, 5));
    r->totals = (struct ah_store_totals){.input_tokens = sqlite3_column_int64(st, 15),
                                         .output_tokens = sqlite3_column_int64(st, 16),
                                         .model_calls = sqlite3_column_int64(st, 17),
                                         .tool_calls = sqlite3_column_int64(st, 18),
                                         .errors = sqlite3_column_int64(st, 19),
                                         .spans = sqlite3_column_int64(st, 20),
                                         .cost = sqlite3_column_double(st, 21),
                                         .cost_known = sqlite3_column_type(st, 21) != SQLITE_NULL};
}

#define RUN_FN int (*fn)(void *, const struct ah_store_run *)

/* Steps through a statement of RUN_COLUMNS and finalizes it. */
static int each_run(struct ah_store *s, sqlite3_stmt *st, RUN_FN, void *arg, struct ah_error *err)
{
    int rc = st ? SQLITE_ROW : sqlite3_extended_errcode(s->db);
    s->reading++;
    while (rc == SQLITE_ROW && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct ah_store_run r;
        read_run(st, &r);
        if (fn(arg, &r) != 0)
            rc = SQLITE_DONE;
    }
    s->reading--;
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? 0 : fail_read(s, err, rc);
}

int ah_store_runs(struct ah_store *s, const struct ah_store_filter *filter, RUN_FN, void *arg,
                  struct ah_error *err)
{
    static const struct ah_store_filter all = {0};
    const struct ah_store_filter *f = filter ? filter : &all;
    sqlite3_stmt *st = prepare(
        s,
        "SELECT " RUN_COLUMNS " FROM run WHERE (?1 = 0 OR started >= ?1) AND (?2 = 0 OR started <= ?2)"
        " AND (?3 = 0 OR state >= 2) AND (?4 = '' OR name = ?4) AND (?5 = '' OR project = ?5)"
        " AND (?6 = '' OR identifier = ?6) ORDER BY key DESC LIMIT ?7",
        "iiittti", f->since, f->until, (int64_t)f->failed, f->name, f->project, f->identifier,
        (int64_t)(f->limit > 0 ? f->limit : 50));
    return each_run(s, st, fn, arg, err);
}

struct finding {
    RUN_FN;
    void *arg;
    int count;
};

static int count_run(void *arg, const struct ah_store_run *run)
{
    (void)run;
    ((struct finding *)arg)->count++;
    return 0;
}

#define RUN_FIND                                                                                             \
    " FROM run WHERE CASE WHEN ?1 = 'last' THEN key = (SELECT max(key) FROM run)"                            \
    " ELSE id = ?1 OR (length(?1) >= 4 AND (substr(id, 1, length(?1)) = ?1 OR substr(id, -length(?1)) = "    \
    "?1))"                                                                                                   \
    " END LIMIT 2"

int ah_store_run_find(struct ah_store *s, const char *id, RUN_FN, void *arg, struct ah_error *err)
{
    char low[AH_UUID_BYTES + 1] = "";
    for (size_t i = 0; i < AH_UUID_BYTES && id[i]; i++)
        low[i] = id[i] >= 'A' && id[i] <= 'F' ? (char)(id[i] + 32) : id[i];
    struct finding f = {fn, arg, 0};
    if (each_run(s, prepare(s, "SELECT " RUN_COLUMNS RUN_FIND, "t", low), count_run, &f, err) != 0)
        return -1;
    if (f.count == 0)
        return ah_err_set(err, AH_NOT_FOUND, "no run '%.40s' in the journal: 'agenthost trace ls' lists them",
                          id);
    if (f.count > 1)
        return ah_err_set(err, AH_INVALID, "more than one run fits '%.40s': give more of its id", id);
    return each_run(s, prepare(s, "SELECT " RUN_COLUMNS RUN_FIND, "t", low), fn, arg, err);
}

int ah_store_run_at(struct ah_store *s, int64_t key, RUN_FN, void *arg, struct ah_error *err)
{
    return each_run(s, prepare(s, "SELECT " RUN_COLUMNS " FROM run WHERE key = ?1", "i", key), fn, arg, err);
}

#define EVENT_FN int (*fn)(void *, const struct ah_store_event *)

static int each_event(struct ah_store *s, sqlite3_stmt *st, EVENT_FN, void *arg, int *count,
                      struct ah_error *err)
{
    struct ah_buf body;
    ah_buf_init(&body, BODY_BYTES);
    int rc = st ? SQLITE_ROW : sqlite3_extended_errcode(s->db);
    s->reading++;
    while (rc == SQLITE_ROW && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct ah_store_event ev;
        if (read_event(s, st, &body, &ev) != 0)
            rc = body.failed ? SQLITE_NOMEM : SQLITE_CORRUPT;
        else if ((*count)++, fn(arg, &ev) != 0)
            rc = SQLITE_DONE;
    }
    s->reading--;
    ah_buf_drop(&body);
    return rc == SQLITE_DONE ? 0 : fail_read(s, err, rc);
}

int ah_store_run_events(struct ah_store *s, int64_t key, EVENT_FN, void *arg, struct ah_error *err)
{
    int count = 0;
    sqlite3_stmt *st =
        prepare(s,
                "SELECT e.seq, e.run, e.span, e.kind, e.at, e.body, e.refs FROM run r JOIN event e"
                " ON e.seq >= r.first_seq AND (r.last_seq = 0 OR e.seq <= r.last_seq)"
                " AND e.run = r.key WHERE r.key = ?1 ORDER BY e.seq",
                "i", key);
    int result = each_event(s, st, fn, arg, &count, err);
    sqlite3_finalize(st);
    return result;
}

int ah_store_event_at(struct ah_store *s, int64_t seq, EVENT_FN, void *arg, struct ah_error *err)
{
    int count = 0;
    sqlite3_stmt *st = take(s, S_EVENT);
    if (st)
        sqlite3_bind_int64(st, 1, seq);
    int result = each_event(s, st, fn, arg, &count, err);
    give(s, S_EVENT, st);
    if (result == 0 && count == 0)
        return ah_err_set(err, AH_NOT_FOUND, "event %lld is not in the journal any more", (long long)seq);
    return result;
}

int ah_store_effects(struct ah_store *s, int64_t run, int (*fn)(void *arg, const struct ah_store_effect *e),
                     void *arg, struct ah_error *err)
{
    sqlite3_stmt *st =
        prepare(s,
                "SELECT run, n, span, class, kind, what, args_sha256, begin_seq, end_seq, issued,"
                " completed, status, error FROM effect WHERE run = ?1 ORDER BY n",
                "i", run);
    int rc = st ? SQLITE_ROW : sqlite3_extended_errcode(s->db);
    s->reading++;
    while (rc == SQLITE_ROW && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct ah_store_effect e = {.run = sqlite3_column_int64(st, 0),
                                    .n = sqlite3_column_int64(st, 1),
                                    .span = sqlite3_column_int64(st, 2),
                                    .cls = sqlite3_column_int(st, 3),
                                    .begin_seq = sqlite3_column_int64(st, 7),
                                    .end_seq = sqlite3_column_int64(st, 8),
                                    .issued = (uint64_t)sqlite3_column_int64(st, 9),
                                    .completed = (uint64_t)sqlite3_column_int64(st, 10),
                                    .status = sqlite3_column_int(st, 11),
                                    .error = sqlite3_column_int(st, 12)};
        snprintf(e.kind, sizeof e.kind, "%s", text_of(st, 4));
        snprintf(e.what, sizeof e.what, "%s", text_of(st, 5));
        if (sqlite3_column_bytes(st, 6) == (int)sizeof e.args_sha256)
            memcpy(e.args_sha256, sqlite3_column_blob(st, 6), sizeof e.args_sha256);
        if (fn(arg, &e) != 0)
            rc = SQLITE_DONE;
    }
    s->reading--;
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? 0 : fail_read(s, err, rc);
}

/* --- sending --------------------------------------------------------------------------------------------- */

int ah_store_dests(struct ah_store *s, int (*fn)(void *arg, const struct ah_store_dest *d), void *arg,
                   struct ah_error *err)
{
    sqlite3_stmt *st = prepare(s,
                               "SELECT n, endpoint, workspace, emulator, position, lease FROM dest"
                               " WHERE emulator IN ('', ?1) ORDER BY n",
                               "t", s->live.id);
    int rc = st ? SQLITE_ROW : sqlite3_extended_errcode(s->db);
    s->reading++;
    while (rc == SQLITE_ROW && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct ah_store_dest d = {.dest = sqlite3_column_int64(st, 0),
                                  .endpoint = text_of(st, 1),
                                  .workspace = text_of(st, 2),
                                  .emulated = *text_of(st, 3) != '\0',
                                  .position = sqlite3_column_int64(st, 4),
                                  .mine = strcmp(text_of(st, 5), s->live.id) == 0};
        if (fn(arg, &d) != 0)
            rc = SQLITE_DONE;
    }
    s->reading--;
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? 0 : fail_read(s, err, rc);
}

int64_t ah_store_dest_find(struct ah_store *s, const struct ah_store_where *where)
{
    int64_t dest;
    get_int(s, &dest, 0, S_DEST_FIND, "ttt", where->endpoint, where->workspace,
            where->emulated ? s->live.id : "");
    return dest;
}

/* Whether the holder of a lease is gone. Inside a write transaction. */
static bool lease_is_free(struct ah_store *s, const char *owner)
{
    if (!*owner || strcmp(owner, s->live.id) == 0 || s->memory)
        return true;
    int fd = ah_live_seize(&s->live, owner);
    if (fd < 0)
        return false;
    ah_live_bury(&s->live, owner, fd);
    return true;
}

int ah_store_lease(struct ah_store *s, int64_t dest, bool *got, struct ah_error *err)
{
    char owner[AH_UUID_BYTES] = "";
    *got = false;
    int rc = begin_write(s);
    if (is_busy(rc))
        return 0;
    sqlite3_stmt *st = rc == SQLITE_OK ? take(s, S_LEASE) : NULL;
    if (st) {
        sqlite3_bind_int64(st, 1, dest);
        if (sqlite3_step(st) == SQLITE_ROW) {
            snprintf(owner, sizeof owner, "%s", text_of(st, 0));
            give(s, S_LEASE, st);
            *got = lease_is_free(s, owner);
        } else {
            give(s, S_LEASE, st);
        }
    }
    if (*got)
        rc = do_sql(s, S_LEASE_SET, "it", dest, s->live.id);
    rc = end_write(s, rc);
    if (rc != SQLITE_OK)
        *got = false;
    s->leases |= *got;
    return rc == SQLITE_OK || is_busy(rc) ? 0 : fail_read(s, err, rc);
}

static int queue_ints(struct ah_store *s, enum queued_type type, int64_t a, int64_t b, int64_t c)
{
    struct ah_queued *op = ah_queue_add(&s->q, (int)type, 0, NULL);
    if (op) {
        op->i[0] = a;
        op->i[1] = b;
        op->i[2] = c;
    }
    return queued(s, op);
}

int ah_store_lease_drop(struct ah_store *s, int64_t dest)
{
    return queue_ints(s, Q_LEASE_OUT, dest, 0, 0);
}

int ah_store_advance(struct ah_store *s, int64_t dest, int64_t position)
{
    return queue_ints(s, Q_ADVANCE, dest, position, 0);
}

/* Where a run's spans go, remembered: a scan asks for every row. Pushed runs go by exceptions only. */
static const struct run_where *where_of(struct ah_store *s, int64_t key)
{
    struct run_where *w = where_slot(s, key);
    if (w->key == key)
        return w;
    sqlite3_stmt *st = take(s, S_RUN_WHERE);
    if (!st)
        return NULL;
    sqlite3_bind_int64(st, 1, key);
    free(w->project);
    *w = (struct run_where){0};
    if (sqlite3_step(st) == SQLITE_ROW) {
        w->key = key;
        w->dest = sqlite3_column_int(st, 1) ? 0 : sqlite3_column_int64(st, 0);
        w->project = strdup(text_of(st, 2));
    }
    give(s, S_RUN_WHERE, st);
    return w;
}

int ah_store_read(struct ah_store *s, int64_t dest, int64_t after, int max_events, size_t max_bytes, EVENT_FN,
                  void *arg, int64_t *scanned, bool *more, struct ah_error *err)
{
    struct ah_buf body;
    ah_buf_init(&body, BODY_BYTES);
    int events = 0, rows = 0;
    size_t bytes = 0;
    *scanned = after;
    *more = false;
    sqlite3_stmt *st = take(s, S_SCAN);
    int rc = st ? SQLITE_ROW : sqlite3_extended_errcode(s->db);
    if (st)
        sqlite3_bind_int64(st, 1, after);
    s->reading++;
    while (rc == SQLITE_ROW && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        if (events >= max_events || bytes >= max_bytes || rows++ >= SCAN_ROWS) {
            *more = true;
            rc = SQLITE_DONE;
            break;
        }
        int kind = sqlite3_column_int(st, 3);
        const struct run_where *w = where_of(s, sqlite3_column_int64(st, 1));
        if ((kind == AH_EV_SPAN_START || kind == AH_EV_SPAN_END) && w && w->dest == dest) {
            struct ah_store_event ev;
            if (read_event(s, st, &body, &ev) != 0) {
                rc = body.failed ? SQLITE_NOMEM : SQLITE_CORRUPT;
                break;
            }
            ev.project = w->project ? w->project : "";
            events++;
            bytes += ev.n;
            if (fn(arg, &ev) != 0) {
                *more = true;
                rc = SQLITE_DONE;
                break;
            }
        }
        *scanned = sqlite3_column_int64(st, 0);
    }
    s->reading--;
    give(s, S_SCAN, st);
    ah_buf_drop(&body);
    return rc == SQLITE_DONE ? 0 : fail_read(s, err, rc);
}

static void put_items(struct ah_buf *to, const struct ah_store_item *items, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        put_number(to, items[k].run);
        put_number(to, items[k].span);
        put_number(to, items[k].start_seq);
        put_number(to, items[k].end_seq);
        put_number(to, items[k].patch);
    }
}

/* malloc'd; at most n / 5 items. */
static struct ah_store_item *get_items(const unsigned char *p, size_t n, size_t *count)
{
    const unsigned char *end = p + n;
    struct ah_store_item *items = calloc(n / 5 + 1, sizeof *items);
    for (*count = 0; items && p < end && *count < n / 5; ++*count) {
        struct ah_store_item *item = &items[*count];
        item->run = get_number(&p, end);
        item->span = get_number(&p, end);
        item->start_seq = get_number(&p, end);
        item->end_seq = get_number(&p, end);
        item->patch = get_number(&p, end) != 0;
    }
    return items;
}

int ah_store_batch_save(struct ah_store *s, const struct ah_store_batch *b)
{
    struct ah_buf items;
    ah_buf_init(&items, BODY_BYTES);
    put_items(&items, b->items, b->count);
    struct ah_queued *op = items.failed ? NULL : ah_queue_add_bytes(&s->q, Q_BATCH_IN, items.p, items.n);
    ah_buf_drop(&items);
    if (op) {
        int64_t i[] = {b->id, b->dest, b->attempts, b->created};
        memcpy(op->i, i, sizeof i);
    }
    return queued(s, op);
}

int ah_store_batch_drop(struct ah_store *s, int64_t id)
{
    return queue_ints(s, Q_BATCH_OUT, id, 0, 0);
}

int ah_store_batches(struct ah_store *s, int64_t dest, int (*fn)(void *arg, const struct ah_store_batch *b),
                     void *arg, struct ah_error *err)
{
    sqlite3_stmt *st = prepare(
        s, "SELECT id, dest, attempts, created, items FROM batch WHERE dest = ?1 ORDER BY id", "i", dest);
    int rc = st ? SQLITE_ROW : sqlite3_extended_errcode(s->db);
    s->reading++;
    while (rc == SQLITE_ROW && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct ah_store_batch b = {.id = sqlite3_column_int64(st, 0),
                                   .dest = sqlite3_column_int64(st, 1),
                                   .attempts = sqlite3_column_int(st, 2),
                                   .created = sqlite3_column_int64(st, 3)};
        b.items = get_items(sqlite3_column_blob(st, 4), (size_t)sqlite3_column_bytes(st, 4), &b.count);
        if (!b.items)
            rc = SQLITE_NOMEM;
        else if (fn(arg, &b) != 0)
            rc = SQLITE_DONE;
        free(b.items);
    }
    s->reading--;
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? 0 : fail_read(s, err, rc);
}

int ah_store_set_exception(struct ah_store *s, int64_t dest, const struct ah_store_except *e)
{
    struct ah_queued *op = ah_queue_add(&s->q, Q_EXCEPT_IN, 1, &e->reason);
    if (op) {
        int64_t i[] = {dest,          e->item.run, e->item.span, e->state, e->item.start_seq, e->item.end_seq,
                       e->item.patch, e->due};
        memcpy(op->i, i, sizeof i);
    }
    return queued(s, op);
}

int ah_store_clear_exception(struct ah_store *s, int64_t dest, int64_t run, int64_t span)
{
    return queue_ints(s, Q_EXCEPT_OUT, dest, run, span);
}

int ah_store_exceptions(struct ah_store *s, int64_t dest, enum ah_except_state state, int64_t due, int limit,
                        int (*fn)(void *arg, const struct ah_store_except *e), void *arg,
                        struct ah_error *err)
{
    sqlite3_stmt *st =
        prepare(s,
                "SELECT run, span, start_seq, end_seq, patch, state, due, reason FROM exception"
                " WHERE dest = ?1 AND (?2 = 0 OR state = ?2) AND (?3 = 0 OR state <> 2 OR due <= ?3)"
                " ORDER BY start_seq LIMIT ?4",
                "iiii", dest, (int64_t)state, due, (int64_t)(limit > 0 ? limit : -1));
    int rc = st ? SQLITE_ROW : sqlite3_extended_errcode(s->db);
    s->reading++;
    while (rc == SQLITE_ROW && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct ah_store_except e = {.item = {.run = sqlite3_column_int64(st, 0),
                                             .span = sqlite3_column_int64(st, 1),
                                             .start_seq = sqlite3_column_int64(st, 2),
                                             .end_seq = sqlite3_column_int64(st, 3),
                                             .patch = sqlite3_column_int(st, 4) != 0},
                                    .state = (enum ah_except_state)sqlite3_column_int(st, 5),
                                    .due = sqlite3_column_int64(st, 6),
                                    .reason = text_of(st, 7)};
        if (fn(arg, &e) != 0)
            rc = SQLITE_DONE;
    }
    s->reading--;
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? 0 : fail_read(s, err, rc);
}

enum ah_except_state ah_store_exception_of(struct ah_store *s, int64_t dest, int64_t run, int64_t span)
{
    int64_t state;
    get_int(s, &state, 0, S_EXCEPT, "iii", dest, run, span);
    return (enum ah_except_state)state;
}

static int count_items(void *arg, const struct ah_store_batch *b)
{
    *(int64_t *)arg += (int64_t)b->count;
    return 0;
}

static int count_rows(struct ah_store *s, int64_t *out, const char *text, int64_t dest)
{
    sqlite3_stmt *st = prepare(s, text, "i", dest);
    int rc = st ? sqlite3_step(st) : sqlite3_extended_errcode(s->db);
    if (rc == SQLITE_ROW)
        *out += sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return rc == SQLITE_ROW ? 0 : rc;
}

int ah_store_waiting(struct ah_store *s, int64_t dest, struct ah_store_waiting *out, struct ah_error *err)
{
    *out = (struct ah_store_waiting){0};
    int rc = count_rows(
        s, &out->spans,
        "SELECT count(*) FROM event e JOIN run r ON r.key = e.run WHERE e.seq >"
        " (SELECT position FROM dest WHERE n = ?1) AND e.kind = 2 AND r.dest = ?1 AND r.pushed = 0",
        dest);
    if (!rc)
        rc = count_rows(s, &out->spans, "SELECT count(*) FROM exception WHERE dest = ?1 AND state = 2", dest);
    if (!rc)
        rc =
            count_rows(s, &out->parked, "SELECT count(*) FROM exception WHERE dest = ?1 AND state = 3", dest);
    return rc ? fail_read(s, err, rc) : ah_store_batches(s, dest, count_items, &out->spans, err);
}

struct search {
    int64_t run;
    bool found;
};

static int search_batch(void *arg, const struct ah_store_batch *b)
{
    struct search *x = arg;
    for (size_t k = 0; k < b->count; k++)
        x->found |= b->items[k].run == x->run;
    return x->found;
}

enum ah_delivery ah_store_delivery(struct ah_store *s, const struct ah_store_run *run)
{
    int64_t parked = 0, others = 0, position = 0, pushed = 0;
    if (!run->dest || !run->traced)
        return AH_SENT_LOCAL;
    sqlite3_stmt *st = prepare(s,
                               "SELECT position, (SELECT pushed FROM run WHERE key = ?2),"
                               " (SELECT count(*) FROM exception WHERE dest = ?1 AND run = ?2 AND state = 3),"
                               " (SELECT count(*) FROM exception WHERE dest = ?1 AND run = ?2 AND state < 3)"
                               " FROM dest WHERE n = ?1",
                               "ii", run->dest, run->key);
    if (st && sqlite3_step(st) == SQLITE_ROW) {
        position = sqlite3_column_int64(st, 0);
        pushed = sqlite3_column_int64(st, 1);
        parked = sqlite3_column_int64(st, 2);
        others = sqlite3_column_int64(st, 3);
    }
    sqlite3_finalize(st);
    struct search x = {run->key, false};
    if (!others && (run->state != AH_RUN_OPEN))
        ah_store_batches(s, run->dest, search_batch, &x, NULL);
    if (run->state == AH_RUN_OPEN || others || x.found || (!pushed && position < run->last_seq))
        return AH_SENT_WAITING;
    return parked ? AH_SENT_PARKED : AH_SENT_ALL;
}

struct pushing {
    struct ah_store *s;
    int64_t dest;
    int rc;
};

static int push_event(void *arg, const struct ah_store_event *ev)
{
    struct pushing *p = arg;
    if (ev->kind == AH_EV_SPAN_END && p->rc == SQLITE_OK)
        p->rc = do_sql(p->s, S_EXCEPT_IN, "iiiiiiiit", p->dest, ev->run, ev->span, (int64_t)AH_EXCEPT_RETRY,
                       ev->start_seq, ev->seq, (int64_t)0, (int64_t)0, "");
    return p->rc != SQLITE_OK;
}

/* A run that never had a destination gets one; one that has keeps it and its refused spans go again. */
static int push_spans(struct ah_store *s, int64_t run, int64_t had, const struct ah_store_where *where,
                      const char *project)
{
    if (had)
        return run_once(
            s,
            prepare(s, "UPDATE exception SET state = 2, due = 0 WHERE dest = ?1 AND run = ?2 AND state = 3",
                    "ii", had, run));
    struct pushing p = {s, 0, SQLITE_OK};
    int rc = get_int(s, &s->last_seq, 0, S_MAX_SEQ, "");
    if (rc == SQLITE_OK)
        rc =
            need_dest(s, where->endpoint, where->workspace ? where->workspace : "", where->emulated, &p.dest);
    if (rc == SQLITE_OK && ah_store_run_events(s, run, push_event, &p, NULL) != 0)
        rc = SQLITE_ERROR;
    if (rc == SQLITE_OK)
        rc = p.rc;
    if (rc == SQLITE_OK)
        rc = run_once(s, prepare(s,
                                 "UPDATE run SET dest = ?2, pushed = 1,"
                                 " project = CASE WHEN ?3 = '' THEN project ELSE ?3 END WHERE key = ?1",
                                 "iit", run, p.dest, project));
    return rc;
}

int ah_store_push(struct ah_store *s, int64_t run, const struct ah_store_where *where, const char *project,
                  struct ah_error *err)
{
    int64_t state = -1, emulated = 0, had = 0;
    sqlite3_stmt *st = prepare(s, "SELECT state, emulated, dest FROM run WHERE key = ?1", "i", run);
    if (st && sqlite3_step(st) == SQLITE_ROW) {
        state = sqlite3_column_int64(st, 0);
        emulated = sqlite3_column_int64(st, 1);
        had = sqlite3_column_int64(st, 2);
    }
    sqlite3_finalize(st);
    if (state < 0)
        return ah_err_set(err, AH_NOT_FOUND, "no such run in the journal: 'agenthost trace ls' lists them");
    if (state == AH_RUN_OPEN)
        return ah_err_set(err, AH_INVALID, "this run has not ended yet: push it afterwards");
    if (emulated && !where->emulated)
        return ah_err_set(err, AH_INVALID, "this run was emulated: it goes to its emulator and nowhere else");
    if (!had && (!where->endpoint || !*where->endpoint))
        return ah_err_set(err, AH_CONFIG, "no LangSmith to push to: set LANGSMITH_API_KEY");
    sqlite3_busy_timeout(s->db, OPEN_WAIT_MS); /* a person waits for this, not a script */
    int rc = begin_write(s);
    if (rc == SQLITE_OK)
        rc = end_write(s, push_spans(s, run, had, where, project));
    sqlite3_busy_timeout(s->db, 0);
    where_slot(s, run)->key = 0;
    if (rc != SQLITE_OK)
        return fail_read(s, err, rc);
    if (s->on_commit)
        s->on_commit(s->on_commit_arg, s->last_seq);
    return 0;
}

/* --- recovery -------------------------------------------------------------------------------------------- */

/* The open runs of one dead process, and what is open in them. */
struct crashed {
    int64_t *keys, *last_at; /* sorted by key */
    size_t count, cap;
    int64_t first_seq;
    struct open_spans open;
};

static size_t find_key(const struct crashed *c, int64_t key)
{
    size_t lo = 0, hi = c->count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (c->keys[mid] < key)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < c->count && c->keys[lo] == key ? lo : c->count;
}

static int add_key(struct crashed *c, int64_t key, int64_t started)
{
    if (c->count == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 64;
        int64_t *keys = realloc(c->keys, cap * sizeof *keys);
        if (keys)
            c->keys = keys;
        int64_t *at = keys ? realloc(c->last_at, cap * sizeof *at) : NULL;
        if (!at)
            return SQLITE_NOMEM;
        c->last_at = at;
        c->cap = cap;
    }
    c->keys[c->count] = key;
    c->last_at[c->count++] = started;
    return SQLITE_OK;
}

static int collect_runs(struct ah_store *s, const char *owner, struct crashed *c)
{
    sqlite3_stmt *st = prepare(
        s, "SELECT key, started, first_seq FROM run WHERE owner = ?1 AND state = 0 ORDER BY key", "t", owner);
    int rc = st ? SQLITE_OK : sqlite3_extended_errcode(s->db);
    while (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        int64_t first = sqlite3_column_int64(st, 2);
        if (!c->count || first < c->first_seq)
            c->first_seq = first;
        rc = add_key(c, sqlite3_column_int64(st, 0), sqlite3_column_int64(st, 1));
    }
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* One pass over the events since the first of these runs began. */
static int collect_spans(struct ah_store *s, struct crashed *c)
{
    sqlite3_stmt *st = prepare(s, "SELECT seq, run, span, kind, at FROM event WHERE seq >= ?1 ORDER BY seq",
                               "i", c->first_seq);
    int rc = st ? SQLITE_OK : sqlite3_extended_errcode(s->db);
    while (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        int64_t seq = sqlite3_column_int64(st, 0), run = sqlite3_column_int64(st, 1);
        int64_t span = sqlite3_column_int64(st, 2), at = sqlite3_column_int64(st, 4);
        int kind = sqlite3_column_int(st, 3);
        size_t k = find_key(c, run);
        rc = SQLITE_OK;
        if (k == c->count)
            continue;
        if (at > c->last_at[k])
            c->last_at[k] = at;
        if (kind == AH_EV_SPAN_START && add_span(&c->open, run, span, seq, at) != 0)
            rc = SQLITE_NOMEM;
        else if (kind == AH_EV_SPAN_END)
            remove_span(&c->open, run, span);
    }
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Children before parents: they started later. */
static int later_first(const void *a, const void *b)
{
    int64_t x = ((const struct open_span *)a)->seq, y = ((const struct open_span *)b)->seq;
    return x < y ? 1 : x > y ? -1 : 0;
}

static int end_spans(struct ah_store *s, struct crashed *c)
{
    int rc = get_int(s, &s->last_seq, 0, S_MAX_SEQ, "");
    if (c->open.cap)
        qsort(c->open.slots, c->open.cap, sizeof *c->open.slots, later_first);
    for (size_t i = 0; rc == SQLITE_OK && i < c->open.cap && c->open.slots[i].seq; i++) {
        const struct open_span *o = &c->open.slots[i];
        int64_t at = c->last_at[find_key(c, o->run)];
        char iso[AH_CLOCK_ISO_BYTES], body[200];
        ah_clock_iso(at, iso);
        int n = snprintf(body, sizeof body,
                         "{\"end_time\":\"%s\",\"error\":\"Crashed: the process ended before this did\","
                         "\"crashed\":true}",
                         iso);
        ah_buf_clear(&s->refs);
        put_number(&s->refs, o->seq);
        rc = do_sql(s, S_EVENT_IN, "iiiiixb", ++s->last_seq, o->run, o->span, (int64_t)AH_EV_SPAN_END, at,
                    body, (size_t)n, s->refs.p, s->refs.n);
    }
    for (size_t k = 0; rc == SQLITE_OK && k < c->count; k++)
        rc = run_once(
            s, prepare(s,
                       "UPDATE run SET state = 3, ended = ?2, last_seq = ?3,"
                       " error = 'Crashed: the process ended before this did' WHERE key = ?1 AND state = 0",
                       "iii", c->keys[k], c->last_at[k], s->last_seq));
    return rc;
}

/* In one transaction, so that two who find the same dead process end its runs once. */
static int end_crashed(struct ah_store *s, const char *owner, int *runs)
{
    struct crashed c = {0};
    int rc = begin_write(s);
    if (rc == SQLITE_OK) {
        rc = collect_runs(s, owner, &c);
        if (rc == SQLITE_OK && c.count)
            rc = collect_spans(s, &c);
        if (rc == SQLITE_OK && c.count)
            rc = end_spans(s, &c);
        rc = end_write(s, rc);
    }
    if (rc == SQLITE_OK)
        *runs += (int)c.count;
    free(c.keys);
    free(c.last_at);
    free(c.open.slots);
    return rc;
}

/* Owners of open runs, this process apart: at most `max`. */
static int list_owners(struct ah_store *s, char (*owners)[AH_UUID_BYTES], int max)
{
    int count = 0;
    sqlite3_stmt *st =
        prepare(s, "SELECT DISTINCT owner FROM run WHERE state = 0 AND owner <> ?1", "t", s->live.id);
    while (st && count < max && sqlite3_step(st) == SQLITE_ROW)
        snprintf(owners[count++], AH_UUID_BYTES, "%s", text_of(st, 0));
    sqlite3_finalize(st);
    return count;
}

int ah_store_recover(struct ah_store *s, int *runs, struct ah_error *err)
{
    enum { MAX_OWNERS = 256 };
    int ended = 0, rc = SQLITE_OK;
    char(*owners)[AH_UUID_BYTES] = s->memory ? NULL : calloc(MAX_OWNERS, sizeof *owners);
    int count = owners ? list_owners(s, owners, MAX_OWNERS) : 0;
    for (int i = 0; i < count && rc == SQLITE_OK; i++) {
        int fd = ah_live_seize(&s->live, owners[i]);
        if (fd < 0)
            continue;
        rc = end_crashed(s, owners[i], &ended);
        if (rc == SQLITE_OK)
            ah_live_bury(&s->live, owners[i], fd);
        else
            close(fd);
    }
    free(owners);
    if (runs)
        *runs = ended;
    return rc == SQLITE_OK ? 0 : fail_read(s, err, rc);
}

/* --- gc -------------------------------------------------------------------------------------------------- */

struct gc_pick {
    struct ah_store *s;
    const struct ah_store_gc *gc;
    int64_t over; /* bytes that must still go for the sake of max_bytes */
    int64_t per_event;
    int64_t runs;
    int rc;
};

/* An emulated run of a process that is gone can reach nobody: it counts as local. */
static bool may_collect(const struct gc_pick *p, const struct ah_store_run *run)
{
    if (run->state == AH_RUN_OPEN)
        return false;
    if (p->gc->undelivered || run->emulated)
        return true;
    enum ah_delivery d = ah_store_delivery(p->s, run);
    return d == AH_SENT_LOCAL || d == AH_SENT_ALL;
}

static int pick_run(void *arg, const struct ah_store_run *run)
{
    struct gc_pick *p = arg;
    bool old = p->gc->older_than > 0 && run->ended < p->gc->older_than;
    if ((!old && p->over <= 0) || !may_collect(p, run))
        return 0;
    p->over -= (run->last_seq - run->first_seq + 1) * p->per_event;
    p->rc = run_once(p->s, prepare(p->s, "INSERT OR IGNORE INTO temp.gone VALUES(?1)", "i", run->key));
    p->runs++;
    return p->rc != SQLITE_OK;
}

/* In slices, so that writers of other processes wait for milliseconds only. The newest row always
 * stays: seqs and blob numbers must never be given twice. */
static int delete_sliced(struct ah_store *s, const char *text, int64_t from, int64_t to, int64_t *deleted)
{
    int rc = SQLITE_OK;
    for (int64_t lo = from; rc == SQLITE_OK && lo < to; lo += GC_ROWS) {
        rc = begin_write(s);
        int64_t hi = lo + GC_ROWS < to ? lo + GC_ROWS : to;
        if (rc == SQLITE_OK) {
            rc = run_once(s, prepare(s, text, "ii", lo, hi));
            int64_t n = sqlite3_changes64(s->db);
            rc = end_write(s, rc);
            *deleted += rc == SQLITE_OK ? n : 0;
        }
    }
    return rc;
}

static int range_of(struct ah_store *s, const char *text, int64_t *lo, int64_t *hi)
{
    *lo = *hi = 0;
    sqlite3_stmt *st = prepare(s, text, "");
    int rc = st ? sqlite3_step(st) : SQLITE_ERROR;
    if (rc == SQLITE_ROW) {
        *lo = sqlite3_column_int64(st, 0);
        *hi = sqlite3_column_int64(st, 1);
    }
    sqlite3_finalize(st);
    return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

/* Fills temp.used with every text that an event names. *horizon: the newest text that only old events
 * could have brought; later ones may be known to some process's queue. */
static int mark_blobs(struct ah_store *s, int64_t *horizon)
{
    int64_t young = ah_clock_wall_us(&s->clock) - GC_BLOB_AGE_US;
    sqlite3_stmt *st = prepare(s, "SELECT kind, at, refs FROM event WHERE length(refs) > 0", "");
    sqlite3_stmt *in = prepare(s, "INSERT OR IGNORE INTO temp.used VALUES(?1)", "");
    int rc = st && in ? SQLITE_ROW : sqlite3_extended_errcode(s->db);
    *horizon = 0;
    while (rc == SQLITE_ROW && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        const unsigned char *p = sqlite3_column_blob(st, 2), *end = p + sqlite3_column_bytes(st, 2);
        if (sqlite3_column_int(st, 0) == AH_EV_SPAN_END)
            get_number(&p, end);
        while (p < end) {
            int64_t n = get_number(&p, end);
            if (sqlite3_column_int64(st, 1) < young && n > *horizon)
                *horizon = n;
            sqlite3_bind_int64(in, 1, n);
            sqlite3_step(in);
            sqlite3_reset(in);
        }
    }
    for (size_t i = 0; in && i < s->q.refs_count; i++) { /* what waits names texts as well */
        if (s->q.refs[i] < 0)
            continue;
        sqlite3_bind_int64(in, 1, s->q.refs[i]);
        sqlite3_step(in);
        sqlite3_reset(in);
    }
    sqlite3_finalize(st);
    sqlite3_finalize(in);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int collect_blobs(struct ah_store *s, int64_t horizon, int64_t *deleted)
{
    int64_t lo = 0, hi = 0, unused;
    int rc = mark_blobs(s, &unused);
    if (rc == SQLITE_OK)
        rc = range_of(s, "SELECT min(n), max(n) FROM blob", &lo, &hi);
    if (rc == SQLITE_OK && horizon < hi)
        hi = horizon + 1;
    if (rc == SQLITE_OK)
        rc = delete_sliced(s,
                           "DELETE FROM blob WHERE n >= ?1 AND n < ?2 AND n NOT IN (SELECT n FROM temp.used)",
                           lo, hi, deleted);
    return rc;
}

static int collect_all(struct ah_store *s, const struct ah_store_gc *gc, struct ah_store_gc_result *out)
{
    int64_t lo, hi, horizon = 0, none = 0, used = used_bytes(s);
    int rc = range_of(s, "SELECT min(seq), max(seq) FROM event", &lo, &hi);
    struct gc_pick p = {.s = s, .gc = gc, .per_event = hi > lo ? used / (hi - lo + 1) : used};
    p.over = gc->max_bytes > 0 ? used - gc->max_bytes : 0;
    if (rc == SQLITE_OK)
        rc = mark_blobs(s, &horizon); /* before the old events go: they say how old a text is */
    if (rc == SQLITE_OK &&
        each_run(s, prepare(s, "SELECT " RUN_COLUMNS " FROM run ORDER BY key", ""), pick_run, &p, NULL) != 0)
        rc = SQLITE_ERROR;
    rc = rc == SQLITE_OK ? p.rc : rc;
    if (rc == SQLITE_OK && p.runs)
        rc = delete_sliced(
            s, "DELETE FROM event WHERE seq >= ?1 AND seq < ?2 AND run IN (SELECT key FROM temp.gone)", lo,
            hi, &out->events);
    /* In memory there is no other process, and room is needed now. */
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(s->db, "DELETE FROM temp.used", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = collect_blobs(s, s->memory ? INT64_MAX - 1 : horizon, &out->blobs);
    if (rc == SQLITE_OK)
        rc = delete_sliced(s, "DELETE FROM effect WHERE run IN (SELECT key FROM temp.gone) AND ?1 < ?2", 0, 1,
                           &none);
    if (rc == SQLITE_OK)
        rc = delete_sliced(s, "DELETE FROM exception WHERE run IN (SELECT key FROM temp.gone) AND ?1 < ?2", 0,
                           1, &none);
    if (rc == SQLITE_OK)
        rc = delete_sliced(s, "DELETE FROM run WHERE key IN (SELECT key FROM temp.gone) AND ?1 < ?2", 0, 1,
                           &out->runs);
    return rc;
}

int ah_store_gc(struct ah_store *s, const struct ah_store_gc *gc, struct ah_store_gc_result *out,
                struct ah_error *err)
{
    struct ah_store_gc_result none = {0};
    out = out ? out : &none;
    *out = none;
    int rc = sqlite3_exec(s->db,
                          "CREATE TEMP TABLE IF NOT EXISTS gone(key INTEGER PRIMARY KEY);"
                          "CREATE TEMP TABLE IF NOT EXISTS used(n INTEGER PRIMARY KEY);"
                          "DELETE FROM temp.gone; DELETE FROM temp.used",
                          NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = collect_all(s, gc, out);
    sqlite3_exec(s->db, "DROP TABLE IF EXISTS temp.gone; DROP TABLE IF EXISTS temp.used", NULL, NULL, NULL);
    if (s->memory)
        ah_queue_forget(&s->q);
    return rc == SQLITE_OK ? 0 : fail_read(s, err, rc);
}
