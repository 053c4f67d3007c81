/* A whole host, closed at every step of a conversation: nothing may be left, whatever it was doing. The far end
 * is the emulator in the same host. */
#include "host.h"

#include "http.h"
#include "loop.h"
#include "op.h"
#include "sandbox.h"
#include "store.h"
#include "task.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

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

static void write_script(char *path, size_t size, const char *name, const char *text)
{
    snprintf(path, size, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static struct ah_host *open_host(bool emulate, bool memory)
{
    struct ah_host_error error;
    struct ah_host_opts opts = {.size = sizeof opts,
                                .flags = (emulate ? AH_HOST_EMULATE : 0u) |
                                         (memory ? AH_HOST_MEMORY | AH_HOST_NO_JOURNAL : 0u),
                                .verbosity = -1,
                                .env_file = "/dev/null"};
    struct ah_host *h = ah_host_new(&opts, &error);
    if (!h)
        fail_msg("no host: %s", error.message);
    return h;
}

/* --- what a resumed run is given again --------------------------------------------------------------------------- */

/* Functions of host.* that are not noted (luareplay.h), because they say the same in every process, only tell the host
 * something, or are made of noted ones. A new function is noted, or comes here for a reason. */
static const char not_noted[] =
    " host.base64 host.emulated host.json.array host.json.decode host.json.encode host.json.is_array "
    " host.json.is_null host.langsmith.datasets host.langsmith.examples host.langsmith.projects "
    " host.langsmith.runs host.log host.mcp.client host.open_link host.openai.chat_model host.random "
    " host.run.approval host.run.ending host.run.is_replaying host.run.park host.scalekit.accounts "
    " host.scalekit.available_tools host.scalekit.connections host.scalekit.events "
    " host.scalekit.mcp_configs host.scalekit.mcp_instances host.scalekit.providers "
    " host.scalekit.scoped_tools host.scalekit.search_accounts host.scalekit.tool_calls "
    " host.scalekit.tools host.scalekit.verify_webhook host.scalekit.wait_until_active "
    " host.schema.check host.schema.read host.schema.strict host.script.args host.script.folder "
    " host.script.identifier host.script.load host.script.name host.script.option host.script.path "
    " host.secret host.server.decode_url host.server.listen host.server.parse_form "
    " host.server.parse_multipart host.server.unpack_body host.session.close host.sha256 "
    " host.sorted_pairs host.task.all host.task.event host.task.race host.task.spawn "
    " host.task.timeout host.trace.anonymizer host.trace.attach host.trace.event "
    " host.trace.keep_local host.trace.metadata host.trace.name host.trace.run host.trace.set "
    " host.trace.span host.trace.tags host.trace.traceable host.unbase64 ";

/* Is the function on top one of luareplay.c: over another one, with its name? */
static bool is_noted(lua_State *L)
{
    const char *name = lua_getupvalue(L, -1, 2);
    bool noted = name && lua_type(L, -1) == LUA_TSTRING && strpbrk(lua_tostring(L, -1), ".:");
    lua_pop(L, name ? 1 : 0);
    return noted;
}

/* The module's own table behind the view that scripts have. */
static void push_module(lua_State *L, const char *name)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "agenthost.env");
    lua_getfield(L, -1, "require");
    lua_remove(L, -2);
    lua_pushstring(L, name);
    lua_call(L, 1, 1);
    if (luaL_getmetafield(L, -1, "__index") == LUA_TTABLE)
        lua_remove(L, -2);
}

static int list_functions(lua_State *L)
{
    static const char *const modules[] = {"host",        "host.http",   "host.json",   "host.langsmith",
                                          "host.mcp",    "host.openai", "host.run",    "host.scalekit",
                                          "host.schema", "host.script", "host.server", "host.session",
                                          "host.task",   "host.trace",  NULL};
    char title[100], *wrong = lua_touserdata(L, 1);
    ah_sandbox_new_env(L);
    for (const char *const *m = modules; *m; m++) {
        push_module(L, *m);
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            if (lua_type(L, -1) != LUA_TFUNCTION)
                continue;
            snprintf(title, sizeof title, " %s.%s ", *m, lua_tostring(L, -2));
            if (is_noted(L) == (strstr(not_noted, title) != NULL))
                strncat(wrong, title + 1, 4000 - strlen(wrong));
        }
        lua_pop(L, 1);
    }
    return 0;
}

static void test_noted(void **state)
{
    (void)state;
    char wrong[4100] = "";
    struct ah_host *h = open_host(false, true);
    lua_State *L = ah_host_lua(h)->L;
    lua_pushcfunction(L, list_functions);
    lua_pushlightuserdata(L, wrong);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        fail_msg("%s", lua_tostring(L, -1));
    if (*wrong) {
        puts(wrong);
        fail_msg("noted and in the list, or neither");
    }
    ah_host_free(h);
}

/* --- one host ------------------------------------------------------------------------------------------------------ */

static const struct ah_host_result *run(struct ah_host *h, const char *code)
{
    char path[128];
    write_script(path, sizeof path, "script.lua", code);
    return ah_host_run(h, &(struct ah_host_run_opts){.size = sizeof(struct ah_host_run_opts), .path = path});
}

static void test_results(void **state)
{
    (void)state;
    static const struct {
        const char *code;
        const char *kind;
        int exit_code;
        const char *answer;
    } rows[] = {
        {"return 'text'", "", 0, "text"},
        {"return {answer='a'}", "", 0, "a"},
        {"return", "", 0, NULL},
        {"return nil, {kind='needs_auth', message='m'}", "needs_auth", 11, NULL},
        {"error 'x'", "script", 1, NULL},
        {"error{kind='outcome_unknown', message='m'}", "outcome_unknown", 16, NULL},
        {"error(setmetatable({}, {__tostring=function() error 'in tostring' end}))", "script", 1, NULL},
        {"error(nil)", "script", 1, NULL},
        {"x = ", "script", 1, NULL},
        {"os.exit(7)", "", 7, NULL},
        {"os.exit(false)", "", 1, NULL},
        {"pcall(os.exit, 9) return 'not reached'", "", 9, NULL},
        {"require 'host.task'.spawn(os.exit, 8) require 'host.task'.sleep(100)", "", 8, NULL},
        {"(('x'):gsub('x', function() os.exit(6) end))", "script", 1, NULL},
        {"pcall(string.gsub, 'x', 'x', function() os.exit(6) end) require 'host.task'.sleep(100)", "", 6,
         NULL},
        {"return ('x'):rep(1 << 40)", "script", 1, NULL},
        {"local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end", "script", 1, NULL},
        {"while true do end", "script", 1, NULL},
        {"return {run=function(self, input) return {answer='ran ' .. tostring(input)} end}", "", 0,
         "ran nil"},
        {"require 'host.task'.spawn(function() require 'host.task'.sleep(100) end) return 'left'", "", 0,
         "left"},
    };
    struct ah_host_opts opts = {.size = sizeof opts,
                                .flags = AH_HOST_MEMORY | AH_HOST_NO_JOURNAL,
                                .verbosity = -1,
                                .env_file = "/dev/null",
                                .memory_bytes = 32 << 20,
                                .instructions = 20000000};
    struct ah_host *h = ah_host_new(&opts, NULL);
    assert_non_null(h);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct ah_host_result *result = run(h, rows[i].code);
        if (strcmp(result->error.kind, rows[i].kind) != 0 || result->exit_code != rows[i].exit_code)
            fail_msg("%s: kind %s, exit code %d: %s", rows[i].code, result->error.kind, result->exit_code,
                     result->error.message);
        if (rows[i].answer)
            assert_string_equal(result->answer, rows[i].answer);
        else
            assert_null(result->answer);
        assert_int_equal(ah_tasks_alive(ah_host_lua(h)->tasks), 0);
    }
    ah_host_free(h);
}

static void test_call(void **state)
{
    (void)state;
    struct ah_host *h = open_host(false, true);
    struct ah_error err = {0};
    char *json = ah_host_call(h, "agent.near", "no_such_function", "{}", &err);
    assert_null(json);
    assert_int_not_equal(err.kind, AH_NONE);
    ah_err_drop(&err);
    json = ah_host_call(h, "no.such.module", "f", "{}", &err);
    assert_null(json);
    assert_non_null(strstr(err.message, "no.such.module"));
    ah_err_drop(&err);
    ah_host_free(h);
}

static void test_stop(void **state)
{
    (void)state;
    struct ah_host *h = open_host(false, true);
    ah_host_stop(h); /* nothing runs: it is for the next run */
    const struct ah_host_result *result = run(h, "while true do end");
    assert_string_equal(result->error.kind, "cancelled");
    assert_int_equal(result->exit_code, 130);
    result = run(h, "return 'goes on'");
    assert_string_equal(result->answer, "goes on");
    ah_host_stop(h);
    result = run(h, "require 'host.task'.sleep(100)");
    assert_string_equal(result->error.kind, "cancelled");
    ah_host_free(h);
    ah_host_free(NULL);
}

/* A host that cannot be made leaves nothing behind either. */
static void test_refused(void **state)
{
    (void)state;
    struct ah_host_error error;
    struct ah_host_opts opts = {
        .size = sizeof opts, .flags = AH_HOST_MEMORY, .env_file = "/no/such/.env", .verbosity = -1};
    assert_null(ah_host_new(&opts, &error));
    assert_string_equal(error.kind, "config");
    opts.env_file = "/dev/null";
    opts.memory_bytes = 1000;
    assert_null(ah_host_new(&opts, &error));
    assert_string_equal(error.kind, "memory");
    for (size_t kb = 16; kb < 1000; kb += 16) { /* somewhere in the middle */
        opts.memory_bytes = kb << 10;
        ah_host_free(ah_host_new(&opts, &error));
    }
    opts = (struct ah_host_opts){.size = sizeof opts,
                                 .flags = AH_HOST_NEED_JOURNAL,
                                 .env_file = "/dev/null",
                                 .verbosity = -1,
                                 .journal_dir = "/proc/no/such/place"};
    assert_null(ah_host_new(&opts, &error));
}

/* --- closed at every step ---------------------------------------------------------------------------------------------- */

enum collector { NORMAL, GENERATIONAL, STOPPED };

/* A script in steps: run as ah_host_run does, but turn by turn. */
struct job {
    struct ah_task *task;
    const char *code;
    struct ah_run *run;
};

static int spawn_code(lua_State *L)
{
    struct job *j = lua_touserdata(L, 1);
    if (luaL_loadstring(L, j->code) != LUA_OK)
        return lua_error(L);
    lua_getfield(L, LUA_REGISTRYINDEX, "agenthost.env");
    lua_setupvalue(L, -2, 1);
    j->task = ah_task_spawn(L, 0, j->run, ah_run_root(j->run));
    return 0;
}

static int new_env(lua_State *L)
{
    ah_sandbox_new_env(L);
    return 0;
}

static void start(struct ah_host *h, struct job *j, const char *code)
{
    struct ah_run_opts opts = {.name = "step", .identifier = "user_123", .traced = true};
    lua_State *L = ah_host_lua(h)->L;
    *j = (struct job){.code = code, .run = ah_run_start(ah_host_core(h)->trace, &opts, NULL)};
    assert_non_null(j->run);
    lua_pushcfunction(L, new_env);
    assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_OK);
    lua_pushcfunction(L, spawn_code);
    lua_pushlightuserdata(L, j);
    assert_int_equal(lua_pcall(L, 1, 0, 0), LUA_OK);
}

static bool step(struct ah_host *h, struct job *j)
{
    if (ah_task_done(j->task))
        return false;
    ah_loop_turn(ah_host_core(h)->loop, 100);
    return true;
}

/* What ah_host_run does at its end; tasks first, as there. */
static void finish(struct ah_host *h, struct job *j)
{
    ah_tasks_cancel_runs(ah_host_lua(h)->tasks);
    ah_task_unref(j->task);
    ah_run_end(j->run, NULL, 0, NULL);
    (void)h;
}

static const char digest[] = "local agent = assert(dofile 'examples/gmail_digest.lua')\n"
                             "local r = assert(agent:run()) assert(#r.answer > 0) return r.answer";

static const char all_at_once[] =
    "local task, http, trace, server = require 'host.task', require 'host.http', require 'host.trace', "
    "require 'host.server'\n"
    "local s = assert(server.listen{handler=function(req)\n"
    "  if req.path == '/stream' then local o = req:stream(200, {}) for i = 1, 5 do o:write('x') "
    "task.sleep(0.001) end\n"
    "  else task.sleep(0.002) return 200, {}, 'ok' end end})\n"
    "local base = 'http://127.0.0.1:' .. s:port()\n"
    "local function stream() for c in http.get(base .. '/stream', {stream=true}):chunks() do "
    "coroutine.yield() end end\n"
    "task.all{\n"
    "  function() for i = 1, 3 do assert(http.post(base, {body='x'})) end end,\n"
    "  stream, function() coroutine.wrap(stream)() task.sleep(0.001) end,\n"
    "  function() trace.span('s', {}, function() return task.timeout(0.003, task.sleep, 10) end) end,\n"
    "  function() return task.race{function() task.sleep(0.002) end, stream} end,\n"
    "  function() local t <close> = task.spawn(stream) task.sleep(0.001) end,\n"
    "}\n"
    "s:close()";

static long close_at_every_step(const char *code, bool emulate, enum collector mode)
{
    for (long n = 0;; n++) {
        struct ah_host *h = open_host(emulate, true);
        lua_State *L = ah_host_lua(h)->L;
        if (mode == GENERATIONAL)
            lua_gc(L, LUA_GCGEN, 0, 0);
        else if (mode == STOPPED)
            lua_gc(L, LUA_GCSTOP, 0);
        struct job j;
        start(h, &j, code);
        bool over = false;
        for (long i = 0; i < n && !over; i++)
            over = !step(h, &j);
        if (over) {
            struct ah_op *end = ah_task_end_op(j.task);
            if (end->err.kind != AH_NONE)
                fail_msg("the script failed: %s", end->err.message);
        }
        if (!over && n % 3 == 1) {
            /* hard: the host goes while everything is under way; the run's reference is the test's */
            struct ah_run *run = ah_run_ref(j.run);
            ah_task_unref(j.task);
            ah_tasks_cancel_all(ah_host_lua(h)->tasks);
            ah_run_end(j.run, NULL, 0, NULL);
            ah_run_unref(run);
        } else {
            finish(h, &j);
        }
        ah_host_free(h); /* it asserts that Lua gave all its memory back; ASan sees the rest */
        if (over)
            return n;
    }
}

static void test_close_conversation(void **state)
{
    (void)state;
    long n = close_at_every_step(digest, true, NORMAL);
    print_message("           the digest: closed at each of %ld turns\n", n);
    assert_true(n > 10);
    close_at_every_step(digest, true, GENERATIONAL);
    close_at_every_step(digest, true, STOPPED);
}

static void test_close_everything(void **state)
{
    (void)state;
    for (enum collector mode = NORMAL; mode <= STOPPED; mode++) {
        long n = close_at_every_step(all_at_once, false, mode);
        assert_true(n > 5);
    }
}

/* --- two hosts ------------------------------------------------------------------------------------------------------------ */

static void test_two_hosts(void **state)
{
    (void)state;
    for (int order = 0; order < 2; order++) {
        struct ah_host *h[2] = {open_host(true, true), open_host(true, false)};
        struct job j[2];
        for (int i = 0; i < 2; i++)
            start(h[i], &j[i], digest);
        bool more = true;
        for (int turns = 0; more; turns++) {
            assert_true(turns < 100000);
            more = false;
            for (int i = 0; i < 2; i++)
                if (!ah_task_done(j[i].task)) {
                    ah_loop_turn(ah_host_core(h[i])->loop, 1);
                    more = true;
                }
        }
        for (int i = 0; i < 2; i++) {
            int at = order ? 1 - i : i;
            assert_int_equal(ah_task_end_op(j[at].task)->err.kind, AH_NONE);
            finish(h[at], &j[at]);
            ah_host_free(h[at]);
        }
    }
    /* one is closed in the middle: the other does not notice */
    struct ah_host *a = open_host(true, true), *b = open_host(true, true);
    struct job ja, jb;
    start(a, &ja, digest);
    start(b, &jb, digest);
    for (int i = 0; i < 12; i++) {
        step(a, &ja);
        step(b, &jb);
    }
    finish(a, &ja);
    ah_host_free(a);
    while (step(b, &jb))
        ;
    assert_int_equal(ah_task_end_op(jb.task)->err.kind, AH_NONE);
    finish(b, &jb);
    ah_host_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_noted),
        cmocka_unit_test(test_results),
        cmocka_unit_test(test_call),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_close_everything),
        cmocka_unit_test(test_close_conversation),
        cmocka_unit_test(test_two_hosts),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
