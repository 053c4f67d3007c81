/* The library as another program uses it: include/agenthost and nothing else of ours. Options that are wrong, runs from
 * buffers and files, stepping, stopping, freeing in the middle, and primitives. */
#include <agenthost/ext.h>

#include <dirent.h>
#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MEMORY (AH_HOST_MEMORY | AH_HOST_NO_JOURNAL | AH_HOST_NO_DOTENV)

static char folder[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/agenthost-test-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    setenv("AGENTHOST_HOME", folder, 1);
    unsetenv("AGENTHOST_USER");
    return 0;
}

static int tear_down(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

/* What was said through the callbacks. */
struct said {
    struct ah_host *h;
    char log[4096], out[4096], err[4096];
    const struct ah_host_run_opts *again; /* misuse: run from inside */
    int inside;
    bool own_locale;
};

static void append(char *to, const char *text, size_t n)
{
    size_t at = strlen(to);
    snprintf(to + at, 4096 - at, "%.*s", (int)n, text);
}

static void on_log(void *arg, int level, const char *line, size_t n)
{
    char head[8];
    struct said *s = arg;
    snprintf(head, sizeof head, "%d:", level);
    append(s->log, head, strlen(head));
    append(s->log, line, n);
    append(s->log, "\n", 1);
}

static void on_output(void *arg, int stream, const char *text, size_t n)
{
    struct said *s = arg;
    append(stream == 1 ? s->out : s->err, text, n);
    s->own_locale = uselocale((locale_t)0) != LC_GLOBAL_LOCALE;
    if (s->again)
        s->inside = ah_host_start(s->h, s->again) + ah_host_step(s->h, 0);
}

static struct ah_host *open_host(unsigned flags, struct said *said)
{
    struct ah_host_error error;
    struct ah_host_opts opts = {.size = sizeof opts, .flags = flags, .verbosity = -1};
    if (said) {
        opts.arg = said;
        opts.on_log = on_log;
        opts.on_output = on_output;
        opts.verbosity = 1;
    }
    struct ah_host *h = ah_host_new(&opts, &error);
    if (!h)
        fail_msg("no host: %s: %s", error.kind, error.message);
    if (said)
        said->h = h;
    return h;
}

static struct ah_host_run_opts from_text(const char *text)
{
    return (struct ah_host_run_opts){.size = sizeof(struct ah_host_run_opts),
                                     .path = "lib/buffer.lua",
                                     .source = text,
                                     .source_n = strlen(text)};
}

static const struct ah_host_result *run(struct ah_host *h, const char *text)
{
    struct ah_host_run_opts opts = from_text(text);
    return ah_host_run(h, &opts);
}

static void expect(struct ah_host *h, const char *text, const char *kind, const char *answer)
{
    const struct ah_host_result *r = run(h, text);
    if (strcmp(r->error.kind, kind) != 0 || (answer && (!r->answer || strcmp(r->answer, answer) != 0)))
        fail_msg("%s: kind '%s' (%s), answer %s", text, r->error.kind, r->error.message,
                 r->answer ? r->answer : "(none)");
}

/* --- options ------------------------------------------------------------------------------------------------------ */

static void test_bad_options(void **state)
{
    (void)state;
    struct ah_host_error error;
    assert_null(ah_host_new(NULL, &error));
    assert_string_equal(error.kind, "config");
    struct ah_host_opts opts = {.flags = MEMORY};
    assert_null(ah_host_new(&opts, &error));
    assert_non_null(strstr(error.message, "size"));
    assert_null(ah_host_new(&opts, NULL));
    opts.size = sizeof opts;
    opts.flags |= 1u << 20;
    assert_null(ah_host_new(&opts, &error));
    assert_non_null(strstr(error.message, "0x100000"));
    opts.flags = AH_HOST_NO_ENVIRONMENT | AH_HOST_NO_DOTENV;
    assert_null(ah_host_new(&opts, &error));
    assert_non_null(strstr(error.message, "journal_dir"));

    /* a newer caller: what it knows more must be zero */
    struct {
        struct ah_host_opts opts;
        const char *newer;
    } later = {.opts = {.size = sizeof later, .flags = MEMORY}};
    struct ah_host *h = ah_host_new(&later.opts, &error);
    assert_non_null(h);
    later.newer = "set";
    assert_null(ah_host_new(&later.opts, &error));
    assert_non_null(strstr(error.message, "does not know"));

    struct ah_host_run_opts bad = from_text("return 'x'");
    bad.size = 3;
    assert_string_equal(ah_host_run(h, &bad)->error.kind, "config");
    assert_int_equal(ah_host_start(h, NULL), -1);
    assert_string_equal(ah_host_result(h)->error.kind, "config");
    bad.size = sizeof bad;
    bad.flags = 1u << 30;
    assert_string_equal(ah_host_run(h, &bad)->error.kind, "config");
    bad.flags = 0;
    bad.path = NULL;
    assert_string_equal(ah_host_run(h, &bad)->error.kind, "config");
    assert_string_equal(ah_host_result(h)->run_id, "");
    assert_int_not_equal(ah_host_result(h)->exit_code, 0);
    expect(h, "return 'goes on'", "", "goes on");
    ah_host_free(h);
}

/* --- runs ---------------------------------------------------------------------------------------------------------- */

static void test_run(void **state)
{
    (void)state;
    struct said said = {0};
    struct ah_host *h = open_host(MEMORY, &said);
    assert_string_equal(ah_host_result(h)->run_id, "");
    const char *args[] = {"one", "two", NULL};
    const struct ah_host_pair options[] = {{"model", "m"}, {NULL, NULL}};
    struct ah_host_run_opts opts =
        from_text("#!/usr/bin/env agenthost\n"
                  "local s = require 'host.script'\n"
                  "print('printed', 1, nil) io.write('written ', 2, '\\n') io.stdout:write('direct\\n')\n"
                  "io.stderr:write('error\\n') require('host').log('warn', 'a line')\n"
                  "return {answer = table.concat({s.args()[2], s.name(), s.folder(), s.identifier(), "
                  "s.option 'model', s.option 'user', tostring((s.option 'none'))}, ' '), more = {1.5}}");
    opts.args = args;
    opts.options = options;
    opts.identifier = "user_7";
    opts.flags = AH_HOST_RUN_JSON;
    opts.metadata = "{\"k\":1}";
    const struct ah_host_result *r = ah_host_run(h, &opts);
    assert_string_equal(r->error.message, "");
    assert_string_equal(r->answer, "two buffer lib user_7 m user_7 nil");
    assert_non_null(strstr(r->json, "\"more\":[1.5]"));
    assert_int_equal(strlen(r->run_id), 36);
    assert_string_equal(said.out, "printed\t1\tnil\nwritten 2\ndirect\n");
    assert_string_equal(said.err, "error\n");
    assert_non_null(strstr(said.log, "1:a line\n"));
    assert_true(said.own_locale);
    assert_true(uselocale((locale_t)0) == LC_GLOBAL_LOCALE);

    r = run(h, "local x = 1\nerror 'wrong'");
    assert_string_equal(r->error.kind, "script");
    assert_non_null(strstr(r->error.message, "lib/buffer.lua:2:"));
    assert_null(r->answer);
    r = run(h, "os.exit(9)");
    assert_true(r->exited && r->exit_code == 9 && !r->error.kind[0]);
    struct ah_host_run_opts file = {.size = sizeof file, .path = "/no/such/file.lua"};
    r = ah_host_run(h, &file);
    assert_string_equal(r->error.kind, "config");
    assert_string_equal(r->run_id, "");

    /* from inside a callback nothing can be run */
    opts = from_text("return 'inner'");
    said.again = &opts;
    said.inside = 1;
    expect(h, "print 'x' return 'outer'", "", "outer");
    assert_int_equal(said.inside, -1);
    said.again = NULL;
    ah_host_free(h);
}

static const char busy[] =
    "local task, http = require 'host.task', require 'host.http'\n"
    "local s = require 'host.server'.listen{handler=function() task.sleep(0.002) return 200, {}, "
    "'ok' end}\n"
    "local n = 0\n"
    "for i = 1, 3 do task.sleep(0.005) n = n + #http.get('http://127.0.0.1:' .. s:port()).body "
    "end\n"
    "s:close() return tostring(n)";

/* From poll() alone: nothing is missed, and nothing spins. */
static void test_step(void **state)
{
    (void)state;
    struct ah_host *h = open_host(MEMORY, NULL);
    struct ah_host_run_opts opts = from_text(busy);
    assert_int_equal(ah_host_step(h, 0), 0);
    for (int i = 0; i < 3; i++) {
        int steps = 0;
        assert_int_equal(ah_host_start(h, &opts), 0);
        assert_int_equal(ah_host_start(h, &opts), -1); /* one at a time; it is not disturbed */
        while (ah_host_step(h, 0)) {
            struct pollfd fd = {.fd = ah_host_fd(h), .events = POLLIN};
            assert_true(poll(&fd, 1, ah_host_timeout(h)) >= 0);
            assert_true(++steps < 1000);
        }
        assert_string_equal(ah_host_result(h)->error.message, "");
        assert_string_equal(ah_host_result(h)->answer, "6");
    }
    assert_int_equal(ah_host_start(h, &opts), 0);
    while (ah_host_step(h, -1))
        ;
    assert_string_equal(ah_host_result(h)->answer, "6");
    ah_host_free(h);
}

static void test_freed_in_the_middle(void **state)
{
    (void)state;
    for (int n = 0; n < 30; n++) {
        struct ah_host *h = open_host(n % 5 == 0 ? MEMORY | AH_HOST_EMULATE : MEMORY, NULL);
        struct ah_host_run_opts opts = from_text(busy);
        assert_int_equal(ah_host_start(h, &opts), 0);
        for (int i = 0; i < n && ah_host_step(h, 2); i++)
            ;
        ah_host_free(h);
    }
}

static void *stop_soon(void *arg)
{
    usleep(20000);
    ah_host_stop(arg);
    return NULL;
}

static void test_stop_from_a_thread(void **state)
{
    static const char *const scripts[] = {"while true do end", "require 'host.task'.sleep(1000)",
                                          "while true do pcall(function() while true do end end) end"};
    (void)state;
    struct ah_host *h = open_host(MEMORY, NULL);
    for (size_t i = 0; i < 3; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, stop_soon, h), 0);
        expect(h, scripts[i], "cancelled", NULL);
        pthread_join(thread, NULL);
        expect(h, "return 'again'", "", "again");
    }
    ah_host_free(h);
}

static int count_files(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void test_hundred(void **state)
{
    (void)state;
    int before = 0;
    for (int i = 0; i < 100; i++) {
        struct ah_host *h = open_host(i % 2 ? MEMORY : AH_HOST_NO_DOTENV, NULL);
        expect(h, "return 'x'", "", "x");
        ah_host_free(h);
        if (i == 2)
            before = count_files();
    }
    assert_int_equal(count_files(), before);
}

static void test_two_environments(void **state)
{
    (void)state;
    static const char ask[] =
        "local h = require 'host'\n"
        "return table.concat({tostring(h.config 'AH_TEST_NAME'), tostring(os.getenv 'AH_TEST_ENV'),"
        " tostring(pcall(h.config, 'AH_TEST_API_KEY'))}, ' ')";
    char dirs[2][80];
    struct ah_host *h[2];
    setenv("AH_TEST_ENV", "process", 1);
    for (int i = 0; i < 2; i++) {
        const struct ah_host_pair settings[] = {
            {"AH_TEST_NAME", i ? "second" : "first"},
            {"AH_TEST_API_KEY", i ? "key-of-the-second" : "key-of-the-first"},
            {NULL, NULL}};
        snprintf(dirs[i], sizeof dirs[i], "%s/journal%d", folder, i);
        struct ah_host_opts opts = {.size = sizeof opts,
                                    .flags = AH_HOST_NO_DOTENV | (i ? AH_HOST_NO_ENVIRONMENT : 0u),
                                    .journal_dir = dirs[i],
                                    .verbosity = -1,
                                    .settings = settings};
        h[i] = ah_host_new(&opts, NULL);
        assert_non_null(h[i]);
    }
    for (int i = 0; i < 4; i++)
        expect(h[i % 2], ask, "", i % 2 ? "second nil false" : "first process false");
    expect(h[0], "return 'key-of-the-first key-of-the-second'", "", NULL); /* each masks its own */
    assert_null(strstr(ah_host_result(h[0])->answer, "key-of-the-first"));
    assert_non_null(strstr(ah_host_result(h[0])->answer, "key-of-the-second"));
    for (int i = 0; i < 2; i++) {
        ah_host_free(h[i]);
        strcat(dirs[i], "/journal.db");
        assert_int_equal(access(dirs[i], R_OK), 0);
    }
    unsetenv("AH_TEST_ENV");
}

/* A reader of our output goes: an error of write, not a signal; and nothing of the process is changed. */
static void test_signals(void **state)
{
    (void)state;
    int ends[2], saved = dup(1);
    struct sigaction before, after;
    sigset_t mask_before, mask_after;
    assert_int_equal(pipe(ends), 0);
    sigaction(SIGPIPE, NULL, &before);
    pthread_sigmask(SIG_SETMASK, NULL, &mask_before);
    assert_true(before.sa_handler == SIG_DFL);
    struct ah_host *h = open_host(MEMORY, NULL);
    fflush(stdout);
    dup2(ends[1], 1);
    close(ends[1]);
    close(ends[0]);
    const struct ah_host_result *r =
        run(h, "local ok, why, code = io.stdout:write(('x'):rep(100000)) return tostring(ok) .. code");
    dup2(saved, 1);
    close(saved);
    char expected[32];
    snprintf(expected, sizeof expected, "nil%d", EPIPE);
    assert_string_equal(r->answer, expected);
    ah_host_free(h);
    sigaction(SIGPIPE, NULL, &after);
    pthread_sigmask(SIG_SETMASK, NULL, &mask_after);
    assert_true(after.sa_handler == SIG_DFL);
    assert_int_equal(sigismember(&mask_before, SIGPIPE), sigismember(&mask_after, SIGPIPE));
    clearerr(stdout);
}

/* A process with a decimal comma. Where localedef has no data, there is nothing to try. */
static void test_locale(void **state)
{
    char command[256];
    (void)state;
    snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >%s/localedef.log 2>&1",
             folder, folder);
    setenv("LOCPATH", folder, 1);
    if (system(command) != 0 || !setlocale(LC_ALL, "de_DE.UTF-8")) {
        print_message("           no locale with a decimal comma can be made here\n");
        unsetenv("LOCPATH");
        return;
    }
    struct ah_host *h = open_host(MEMORY, NULL);
    expect(h, "return tostring(1.5) .. require 'host.json'.encode{tonumber '2.5'} .. ('%.1f'):format(0.5)",
           "", "1.5[2.5]0.5");
    ah_host_free(h);
    snprintf(command, sizeof command, "%.1f", 1.5);
    assert_string_equal(command, "1,5");
    setlocale(LC_ALL, "C");
    unsetenv("LOCPATH");
}

/* --- primitives ------------------------------------------------------------------------------------------------------ */

enum how { AT_ONCE, BY_THREAD, NEVER, BAD_JSON, BYTES, FAILS, OTHER_KIND, NOTHING, LIST_TEXT, STRING };

struct data {
    char word[16];
    char *heap; /* release gives it back */
};

static struct {
    atomic_int started, cancelled, released;
    struct ah_ext_op *kept;
    char path[96]; /* of the journal that start looks into */
    int intents;
} seen;

static void check_word(lua_State *L, struct ah_ext_op *op)
{
    struct data *d = ah_ext_data(op);
    snprintf(d->word, sizeof d->word, "%s", luaL_checkstring(L, 1));
    luaL_argcheck(L, lua_gettop(L) <= 2, 3, "no more than two");
    d->heap = strdup(d->word);
    luaL_argcheck(L, strcmp(d->word, "bad") != 0, 1, "not this word");
}

static void *finish_later(void *arg)
{
    struct data *d = ah_ext_data(arg);
    char json[64];
    usleep(3000);
    ah_ext_finish(arg, json, (size_t)snprintf(json, sizeof json, "{\"word\":\"%s\"}", d->word));
    return NULL;
}

static int count_intents(void)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    int n = -1;
    if (sqlite3_open_v2(seen.path, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, "select count(*) from effect", -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW)
        n = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return n;
}

static void start(struct ah_ext_op *op)
{
    pthread_t thread;
    seen.started++;
    if (seen.path[0])
        seen.intents = count_intents();
    switch (*(const enum how *)ah_ext_arg(op)) {
    case AT_ONCE:
        ah_ext_finish(op, "[1,2]", 5);
        break;
    case BY_THREAD:
        assert_int_equal(pthread_create(&thread, NULL, finish_later, op), 0);
        pthread_detach(thread);
        break;
    case NEVER:
        seen.kept = op;
        break;
    case BAD_JSON:
        ah_ext_finish(op, "{oops", 5);
        break;
    case BYTES:
        ah_ext_finish_text(op, "a\0b", 3);
        break;
    case LIST_TEXT:
        ah_ext_finish_text(op, "[1]", 3);
        break;
    case STRING:
        ah_ext_finish(op, "\"5\"", 3);
        break;
    case FAILS:
        ah_ext_fail(op, "rate_limit", "too many");
        break;
    case OTHER_KIND:
        ah_ext_fail(op, "made_up", NULL);
        break;
    case NOTHING:
        ah_ext_finish(op, NULL, 0);
        break;
    }
}

static void cancel(struct ah_ext_op *op)
{
    assert_ptr_equal(op, seen.kept);
    seen.cancelled++;
}

static void release(void *data)
{
    free(((struct data *)data)->heap);
    seen.released++;
}

static void add(struct ah_host *h, const char *name, enum ah_ext_effect effect, enum how how)
{
    static const enum how hows[] = {AT_ONCE, BY_THREAD,  NEVER,   BAD_JSON,  BYTES,
                                    FAILS,   OTHER_KIND, NOTHING, LIST_TEXT, STRING};
    struct ah_host_error error = {{0}, {0}};
    char text[16]; /* names are copied */
    snprintf(text, sizeof text, "%s", name);
    struct ah_ext_primitive p = {.size = sizeof p,
                                 .name = text,
                                 .effect = effect,
                                 .data_size = sizeof(struct data),
                                 .arg = (void *)(uintptr_t)&hows[how],
                                 .check = check_word,
                                 .start = start,
                                 .cancel = cancel,
                                 .release = release};
    if (ah_ext_add_primitive(h, "mine", &p, &error) != 0)
        fail_msg("%s", error.message);
    memset(text, 'x', sizeof text - 1);
}

static int l_twice(lua_State *L)
{
    lua_pushinteger(L, 2 * luaL_checkinteger(L, 1));
    return 1;
}

static void test_bad_additions(void **state)
{
    (void)state;
    struct ah_host *h = open_host(MEMORY, NULL);
    struct ah_host_error error;
    static const luaL_Reg bad[] = {{"no good", l_twice}, {NULL, NULL}},
                          good[] = {{"twice", l_twice}, {NULL, NULL}};
    assert_int_equal(ah_ext_add_functions(h, "mine", bad, &error), -1);
    assert_string_equal(error.kind, "config");
    assert_int_equal(ah_ext_add_functions(h, "a.b", good, NULL), -1);
    assert_int_equal(ah_ext_add_functions(h, NULL, good, NULL), -1);
    assert_int_equal(ah_ext_add_primitive(h, "mine", NULL, &error), -1);
    struct ah_ext_primitive p = {.name = "x", .start = start};
    assert_int_equal(ah_ext_add_primitive(h, "mine", &p, &error), -1);
    assert_non_null(strstr(error.message, "size"));
    p.size = sizeof p;
    p.start = NULL;
    assert_int_equal(ah_ext_add_primitive(h, "mine", &p, &error), -1);
    p.start = start;
    p.effect = (enum ah_ext_effect)7;
    assert_int_equal(ah_ext_add_primitive(h, "mine", &p, &error), -1);
    expect(h, "require 'host.ext.mine'", "script", NULL);
    assert_int_equal(ah_ext_add_functions(h, "mine", good, &error), 0);
    assert_string_equal(error.kind, "");
    expect(h, "return tostring(require 'host.ext.mine'.twice(21))", "", "42");
    add(h, "later", AH_EXT_READ, AT_ONCE); /* a module that scripts have seen already */
    expect(h, "return tostring(#require 'host.ext.mine'.later 'w')", "", "2");
    expect(h, "require 'host.ext.mine'.twice = 1", "script", NULL);
    ah_host_free(h);
}

static void test_primitives(void **state)
{
    (void)state;
    memset(&seen, 0, sizeof seen);
    struct ah_host *h = open_host(MEMORY, NULL);
    static const char *const names[] = {"once",  "thread", "never", "bad",
                                        "bytes", "fails",  "other", "nothing"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        add(h, names[i], AH_EXT_READ, (enum how)i);
    expect(h, "return tostring(require 'host.ext.mine'.once('w')[2])", "", "2");
    expect(h, "return require 'host.ext.mine'.thread('w', {1}).word", "", "w");
    expect(h, "return tostring(require 'host.ext.mine'.bytes 'w' == 'a\\0b')", "", "true");
    expect(h, "return tostring(require 'host.ext.mine'.nothing 'w')", "", "nil");
    expect(h, "local v, e = require 'host.ext.mine'.bad 'w' return tostring(v) .. e.kind", "", "nilprotocol");
    expect(h, "local v, e = require 'host.ext.mine'.fails 'w' return e.kind .. e.message", "",
           "rate_limittoo many");
    expect(h, "local v, e = require 'host.ext.mine'.other 'w' return e.kind", "", "tool_error");
    int started = seen.started;
    expect(h, "require 'host.ext.mine'.once()", "script", NULL);
    expect(h, "require 'host.ext.mine'.once 'bad'", "script", NULL);
    expect(h, "require 'host.ext.mine'.once(1, 2, 3)", "script", NULL);
    expect(h, "require 'host.ext.mine'.once('w', print)", "script", NULL);
    expect(h, "return (('x'):gsub('x', require 'host.ext.mine'.once))", "script", NULL);
    assert_int_equal(seen.started, started);
    expect(h,
           "local task, mine = require 'host.task', require 'host.ext.mine'\n"
           "local l = {} for i = 1, 50 do l[i] = function() return mine.thread('w' .. i).word end end\n"
           "local r = task.all(l) return r[1] .. r[50]",
           "", "w1w50");
    /* nobody waits any more; the end comes later, or after the host */
    expect(h,
           "local ok, err = pcall(require 'host.task'.timeout, 0.01, require 'host.ext.mine'.never, 'w') "
           "return 'left'",
           "", "left");
    assert_int_equal(seen.cancelled, 1);
    ah_ext_finish(seen.kept, "1", 1);
    struct ah_host_run_opts opts = from_text("require 'host.ext.mine'.never 'w'");
    assert_int_equal(ah_host_start(h, &opts), 0);
    for (int i = 0; i < 5; i++)
        ah_host_step(h, 1);
    started = seen.started;
    int released = seen.released;
    ah_host_free(h);
    assert_int_equal(seen.cancelled, 2);
    ah_ext_finish(seen.kept, "1", 1);
    assert_int_equal(seen.released, released + 1);
}

/* Intent on disk before start; an unsafe one needs a journal, and is unknown when it is left. */
static void test_effects(void **state)
{
    (void)state;
    memset(&seen, 0, sizeof seen);
    struct ah_host *h = open_host(AH_HOST_MEMORY | AH_HOST_NO_DOTENV, NULL);
    add(h, "unsafe", AH_EXT_UNSAFE, AT_ONCE);
    expect(h, "local v, e = require 'host.ext.mine'.unsafe 'w' return e.kind", "", "journal");
    assert_int_equal(seen.started, 0);
    ah_host_free(h);

    char dir[80];
    snprintf(dir, sizeof dir, "%s/effects", folder);
    snprintf(seen.path, sizeof seen.path, "%s/journal.db", dir);
    struct ah_host_opts opts = {
        .size = sizeof opts, .flags = AH_HOST_NO_DOTENV, .journal_dir = dir, .verbosity = -1};
    h = ah_host_new(&opts, NULL);
    assert_non_null(h);
    add(h, "unsafe", AH_EXT_UNSAFE, AT_ONCE);
    add(h, "never", AH_EXT_UNSAFE, NEVER);
    expect(h, "return tostring(#require 'host.ext.mine'.unsafe 'w')", "", "2");
    assert_int_equal(seen.intents, 1);
    expect(h, "pcall(require 'host.task'.timeout, 0.01, require 'host.ext.mine'.never, 'w') return 'left'",
           "", "left");
    assert_int_equal(seen.intents, 2);
    ah_ext_finish(seen.kept, NULL, 0);
    ah_host_free(h);
    sqlite3 *db;
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_open_v2(seen.path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "select error from effect order by n, run", -1, &s, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(s, 0), 0);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    assert_int_not_equal(sqlite3_column_int(s, 0), 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
}

#define EACH                                                                                                 \
    "local m, out = require 'host.ext.mine', {}\n"                                                           \
    "for i, f in ipairs {'list', 'string', 'bytes', 'nothing', 'once'} do\n"                                 \
    "  local v = m[f] 'w'\n"                                                                                 \
    "  out[i] = type(v) .. (type(v) == 'table' and #v or v and #tostring(v) or '')\n"                        \
    "end\n"                                                                                                  \
    "m.last 'w'\n"                                                                                           \
    "return table.concat(out, ' ')"

#define KEEP_INTENTS                                                                                         \
    "update event set body = json_object('notes', (select json_group_array(json(value)) from "               \
    "json_each(event.body, '$.notes') where json_extract(value, '$[0]') = 'i')) where kind = 6"

static struct ah_host *open_journal(const char *dir, enum how last)
{
    struct ah_host_opts opts = {
        .size = sizeof opts, .flags = AH_HOST_NO_DOTENV, .journal_dir = dir, .verbosity = -1};
    struct ah_host *h = ah_host_new(&opts, NULL);
    assert_non_null(h);
    add(h, "list", AH_EXT_UNSAFE, LIST_TEXT);
    add(h, "string", AH_EXT_UNSAFE, STRING);
    add(h, "bytes", AH_EXT_UNSAFE, BYTES);
    add(h, "nothing", AH_EXT_UNSAFE, NOTHING);
    add(h, "once", AH_EXT_UNSAFE, AT_ONCE);
    add(h, "last", AH_EXT_READ, last);
    return h;
}

/* A run that was cut after its calls were answered, and before its script's notes were written: the answers are what
 * they were, and nothing is done twice. */
static void test_answers_again(void **state)
{
    (void)state;
    memset(&seen, 0, sizeof seen);
    char dir[80], path[96];
    snprintf(dir, sizeof dir, "%s/again", folder);
    snprintf(path, sizeof path, "%s/journal.db", dir);
    struct ah_host *h = open_journal(dir, NEVER);
    struct ah_host_run_opts opts = from_text(EACH);
    assert_int_equal(ah_host_start(h, &opts), 0);
    for (int i = 0; i < 200 && !seen.kept; i++)
        ah_host_step(h, 10);
    assert_non_null(seen.kept);
    ah_host_stop(h);
    while (ah_host_step(h, 10))
        ;
    int64_t key = ah_host_result(h)->run_key;
    ah_ext_finish(seen.kept, NULL, 0);
    ah_host_free(h);

    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, KEEP_INTENTS, NULL, NULL, NULL), SQLITE_OK);
    assert_true(sqlite3_changes(db) > 0);
    sqlite3_close(db);

    int started = seen.started;
    h = open_journal(dir, AT_ONCE);
    opts.resumes = key;
    const struct ah_host_result *r = ah_host_run(h, &opts);
    if (!r->answer)
        fail_msg("%s: %s", r->error.kind, r->error.message);
    assert_string_equal(r->answer, "string3 string1 string3 nil table2");
    assert_int_equal(seen.started, started + 1);
    ah_host_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_run),
        cmocka_unit_test(test_step),
        cmocka_unit_test(test_freed_in_the_middle),
        cmocka_unit_test(test_stop_from_a_thread),
        cmocka_unit_test(test_hundred),
        cmocka_unit_test(test_two_environments),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_locale),
        cmocka_unit_test(test_bad_additions),
        cmocka_unit_test(test_primitives),
        cmocka_unit_test(test_effects),
        cmocka_unit_test(test_answers_again),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
