/* host.trace: what its spans look like in the journal after results, errors, waits and cancels. */
#include "json.h"
#include "log.h"
#include "loop.h"
#include "lua_task.h"
#include "lua_trace.h"
#include "luajson.h"
#include "secret.h"
#include "store.h"
#include "task.h"
#include "trace.h"

#include <lualib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct ah_log quiet = {.level = AH_LOG_ERROR};
static struct ah_core core;
static struct ah_lua lua;

static int set_up(void **state)
{
    struct ah_error err = {0};
    (void)state;
    core = (struct ah_core){.log = &quiet};
    core.loop = ah_loop_new(&err);
    core.secrets = ah_secret_new();
    core.store = ah_store_open(&(struct ah_store_opts){.memory = true}, core.loop, &quiet, &err);
    core.trace = ah_trace_new(&core, &err);
    lua_State *L = luaL_newstate();
    lua = (struct ah_lua){.core = &core, .L = L};
    *(struct ah_lua **)lua_getextraspace(L) = &lua;
    luaL_openlibs(L);
    ah_luajson_open(L);
    assert_int_equal(ah_tasks_open(L, &lua), 0);
    luaL_requiref(L, "host.task", luaopen_host_task, 0);
    lua_setglobal(L, "task");
    luaL_requiref(L, "host.trace", luaopen_host_trace, 0);
    lua_setglobal(L, "trace");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ah_tasks_cancel_all(lua.tasks);
    lua_close(lua.L);
    lua.L = NULL;
    ah_tasks_free(lua.tasks);
    ah_trace_free(core.trace);
    ah_store_close(core.store);
    ah_secret_free(core.secrets);
    ah_loop_free(core.loop);
    return 0;
}

/* "name < parent: inputs -> outputs !error\n" for each span in order of its end. */
struct lines {
    struct ah_buf text;
    char starts[64][1500];
};

static int add_line(void *arg, const struct ah_store_event *ev)
{
    struct lines *x = arg;
    struct ah_json body;
    char name[100], error[200];
    assert_int_equal(ah_json_check(ev->body, ev->n, 0, &body, NULL), 0);
    assert_true(ev->span < 64);
    if (ev->kind == AH_EV_SPAN_START) {
        struct ah_json inputs = ah_json_get(body, "inputs");
        ah_json_copy(ah_json_get(body, "name"), name, sizeof name);
        snprintf(x->starts[ev->span], sizeof x->starts[0], "%s:%s %.*s", name, "", (int)inputs.n, inputs.p);
        return 0;
    }
    struct ah_json outputs = ah_json_get(body, "outputs");
    ah_json_copy(ah_json_get(body, "error"), error, sizeof error);
    ah_buf_addf(&x->text, "%s ->%s%.*s", x->starts[ev->span], outputs.n ? " " : "", (int)outputs.n,
                outputs.n ? outputs.p : "");
    ah_buf_addf(&x->text, "%s%s\n", *error ? " !" : "", error);
    return 0;
}

static int take_run(void *arg, const struct ah_store_run *run)
{
    ((int64_t *)arg)[1] = ((int64_t *)arg)[0];
    ((int64_t *)arg)[0] = run->key;
    return 0;
}

/* Runs the chunk as a task of a run; compares the spans of the run (or of the one it made). */
static void check(const char *chunk, bool inner, const char *wanted)
{
    lua_State *L = lua.L;
    struct ah_run_opts o = {.name = "root", .traced = true};
    struct ah_run *run = ah_run_start(core.trace, &o, NULL);
    if (luaL_loadstring(L, chunk) != LUA_OK)
        fail_msg("%s", lua_tostring(L, -1));
    struct ah_task *t = ah_task_spawn(L, 0, run, NULL);
    while (!ah_task_done(t))
        ah_loop_turn(core.loop, -1);
    bool failed;
    ah_task_results(L, t, &failed);
    if (failed)
        fail_msg("%s", lua_tostring(L, -1));
    lua_settop(L, 0);
    ah_task_unref(t);
    ah_loop_turn(core.loop, 0);
    ah_run_end(run, NULL, 0, NULL);
    assert_int_equal(ah_store_flush(core.store), AH_STORE_OK);
    int64_t keys[2] = {0};
    ah_store_runs(core.store, NULL, take_run, keys, NULL);
    struct lines *x = calloc(1, sizeof *x);
    ah_buf_init(&x->text, 1 << 20);
    assert_int_equal(ah_store_run_events(core.store, keys[inner], add_line, x, NULL), 0);
    assert_string_equal(ah_buf_str(&x->text), wanted);
    ah_buf_drop(&x->text);
    free(x);
}

static void results_become_outputs(void **state)
{
    (void)state;
    check("trace.span('a', nil, function(q) return 5 end, {q=1})"
          "trace.span('b', {inputs={z=true}}, function() return {k='v'} end, 9)"
          "trace.span('c', function(...) return 1, 'two' end, 1, 'x')"
          "trace.span('d', function() end)"
          "trace.span('e', function() return {1,2} end)",
          false,
          "a: {\"q\":1} -> {\"output\":5}\nb: {\"z\":true} -> {\"k\":\"v\"}\n"
          "c: {\"args\":[1,\"x\"]} -> {\"output\":[1,\"two\"]}\nd: {} ->\ne: {} -> {\"output\":[1,2]}\n"
          "root: {} ->\n");
}

static void errors_and_failures(void **state)
{
    (void)state;
    check("local ok, e = pcall(trace.span, 'a', nil, function() error('boom', 0) end) assert(not ok and e == "
          "'boom')"
          "assert(trace.current().name == 'root')"
          "trace.span('b', nil, function() return nil, {kind='http', message='no'} end)",
          false, "a: {} -> !boom\nb: {} -> !no\nroot: {} ->\n");
}

static void names_and_nesting(void **state)
{
    (void)state;
    check("local inner = trace.traceable(function() return trace.current().name end)"
          "local named = trace.traceable(function() task.sleep(0.001) return inner() end, {name='outer'})"
          "assert(named() == 'inner') assert(trace.current().id == trace.current().trace_id)",
          false, "inner: {} -> {\"output\":\"inner\"}\nouter: {} -> {\"output\":\"inner\"}\nroot: {} ->\n");
}

static void cancel_ends_the_span(void **state)
{
    (void)state;
    check("local w = task.spawn(function() trace.span('slow', nil, task.sleep, 60) end)"
          "task.sleep(0.001) w:cancel() assert(trace.current().name == 'root')",
          false, "slow: {\"args\":[60]} -> !Cancelled\nroot: {} ->\n");
}

static void odd_values(void **state)
{
    (void)state;
    check("local c = {} c.c = 1/0 "
          "trace.span('a', nil, function() return c end, setmetatable({print}, {__tostring=function() return "
          "'T' "
          "end}), 'x')",
          false, "a: {\"args\":[\"T\",\"x\"]} -> {\"c\":\"inf\"}\nroot: {} ->\n");
}

static void a_run_of_its_own(void **state)
{
    (void)state;
    check("trace.run({name='own', identifier='u1', inputs={i=1}, tags={'t'}}, function(a)"
          " task.sleep(0.001) trace.span('s', function() end) assert(trace.current().name == 'own') return a "
          "end, 3)"
          "assert(trace.current().name == 'root')",
          true, "s: {} ->\nown: {\"i\":1} -> {\"output\":3}\n");
}

static void around_a_run_of_its_own(void **state)
{
    (void)state;
    check("assert(not pcall(trace.run, {name='own'}, error, 'x')) trace.span('after', function() end)", false,
          "after: {} ->\nroot: {} ->\n");
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(results_become_outputs),  TEST(errors_and_failures), TEST(names_and_nesting),
        TEST(cancel_ends_the_span),    TEST(odd_values),          TEST(a_run_of_its_own),
        TEST(around_a_run_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
