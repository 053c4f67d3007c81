/* Tasks seen from C: what a cancel, a failure or a full collection leaves in flight, alive or anchored: nothing.
 * Where waits work is in tests/lua/task_test.lua. */
#include "rig.h"

#include "server.h"
#include "tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static struct rig r;
static struct ah_server *server;
static struct ah_exchange *held[64];
static int held_n;

/* The far end keeps every request. */
static void on_request(void *arg, struct ah_exchange *x, const struct ah_server_req *req)
{
    (void)arg;
    if (strncmp(req->path, "/stream", 7) == 0) {
        ah_exchange_begin(x, 200, "", NULL, NULL);
        ah_exchange_write(x, "data: 1\n\n", 9);
    } else if (strcmp(req->path, "/ok") == 0) {
        ah_exchange_reply(x, 200, "", "ok", 2);
        ah_exchange_unref(x);
        return;
    }
    if (held_n < 64)
        held[held_n++] = x;
}

static int set_up(void **state)
{
    struct ah_error err = {0};
    struct ah_server_opts opts = {.on_request = on_request};
    (void)state;
    rig_open_core(&r);
    server = ah_server_open(r.core.loop, &opts, &err);
    ah_server_background(server, true);
    held_n = 0;
    if (!server || rig_open_lua(&r, rig_alloc, NULL) != 0)
        return -1;
    lua_pushfstring(r.lua.L, "http://127.0.0.1:%d", ah_server_port(server));
    lua_setglobal(r.lua.L, "base");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    int left = rig_close_lua(&r);
    while (held_n > 0)
        ah_exchange_unref(held[--held_n]);
    ah_server_close(server);
    ah_loop_turn(r.core.loop, 0);
    rig_close_core(&r);
    return left;
}

static struct ah_task *start(const char *code)
{
    struct ah_task *t = rig_start(&r, code, NULL);
    if (!t)
        fail_msg("%s", lua_tostring(r.lua.L, -1));
    return t;
}

static void expect_nothing_left(void)
{
    assert_int_equal(ah_http_in_flight(r.core.http), 0);
    assert_int_equal(ah_tasks_alive(r.lua.tasks), 0);
    assert_int_equal(lua_gettop(r.lua.L), 0);
}

/* --- cancel ---------------------------------------------------------------------------------------------------------- */

static const char *const waits[] = {
    "http.get(base .. '/hold')",
    "http.post(base .. '/hold', {body='x'})",
    "http.get(base .. '/hold', {stream=true})",
    "for c in http.get(base .. '/stream', {stream=true}):chunks() do end",
    "for e in http.get(base .. '/stream', {stream=true}):events() do end",
    "pcall(http.get, base .. '/hold')",
    "coroutine.wrap(function() http.get(base .. '/hold') end)()",
    "for v in coroutine.wrap(function() for w in coroutine.wrap(function() http.get(base .. '/hold') end) do "
    "end end) do end",
    "coroutine.resume(coroutine.create(function() http.get(base .. '/hold') end))",
    "task.all{function() http.get(base .. '/hold') end, function() task.sleep(100) end, "
    "function() http.get(base .. '/stream', {stream=true}) task.sleep(100) end}",
    "task.race{function() http.get(base .. '/hold') end, function() task.sleep(100) end}",
    "task.timeout(100, http.get, base .. '/hold')",
    "local t <close> = task.spawn(http.get, base .. '/hold') task.sleep(100)",
    "setmetatable({}, {__index=function() return http.get(base .. '/hold') end}).x = nil; "
    "local _ = setmetatable({}, {__index=function() return http.get(base .. '/hold') end}).x",
};

/* With the collector stopped: what is left after the cancel was left by us. A stream that a task merely holds
 * belongs to the script until it closes it, so the one row that sleeps with one is let go by the collector. */
static void test_cancel(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        lua_gc(r.lua.L, LUA_GCSTOP, 0);
        int before = held_n;
        struct ah_task *t = start(waits[i]);
        for (int k = 0; k < 2000 && held_n == before; k++)
            ah_loop_turn(r.core.loop, 5);
        for (int k = 0; k < 5; k++)
            ah_loop_turn(r.core.loop, 1);
        assert_false(ah_task_done(t));
        assert_true(ah_http_in_flight(r.core.http) > 0);
        ah_task_cancel(t);
        assert_true(ah_task_done(t));
        assert_int_equal(ah_task_end_op(t)->err.kind, AH_CANCELLED);
        if (strstr(waits[i], "stream=true}) task.sleep"))
            lua_gc(r.lua.L, LUA_GCCOLLECT, 0);
        if (ah_http_in_flight(r.core.http) != 0 || ah_tasks_alive(r.lua.tasks) != 0)
            fail_msg("left behind by: %s", waits[i]);
        ah_task_unref(t);
        lua_gc(r.lua.L, LUA_GCRESTART, 0);
        lua_gc(r.lua.L, LUA_GCCOLLECT, 0);
        ah_loop_turn(r.core.loop, 0);
        expect_nothing_left();
        assert_int_equal(ah_tasks_refs(r.lua.tasks), 0);
    }
}

/* The same at every turn of the way. */
static void test_cancel_at_every_step(void **state)
{
    (void)state;
    static const char code[] =
        "for i = 1, 2 do assert(http.get(base .. '/ok').body == 'ok') end\n"
        "for v in coroutine.wrap(function() http.get(base .. '/ok') coroutine.yield(1) task.sleep(0.001) "
        "end) do end\n"
        "task.all{function() http.get(base .. '/ok') end, function() coroutine.yield() end}\n"
        "task.timeout(0.001, task.sleep, 100)";
    bool over = false;
    for (int n = 0; !over; n++) {
        struct ah_task *t = start(code);
        for (int i = 0; i < n && !ah_task_done(t); i++)
            ah_loop_turn(r.core.loop, 10);
        over = ah_task_done(t);
        if (over && ah_task_end_op(t)->err.kind != AH_NONE)
            fail_msg("%s", ah_task_end_op(t)->err.message);
        ah_task_cancel(t);
        assert_true(ah_task_done(t));
        ah_task_unref(t);
        expect_nothing_left();
        assert_true(n < 10000);
    }
}

/* A span that is open when its task is cancelled ends, and says why. */
static void test_open_spans(void **state)
{
    (void)state;
    struct ah_run_opts opts = {.name = "spans", .traced = true};
    struct ah_run *run = ah_run_start(r.core.trace, &opts, NULL);
    struct ah_task *t = rig_start(
        &r, "trace.span('outer', {}, function() trace.span('inner', {}, function() task.sleep(100) end) end)",
        run);
    assert_non_null(t);
    for (int i = 0; i < 3; i++)
        ah_loop_turn(r.core.loop, 0);
    lua_gc(r.lua.L, LUA_GCSTOP, 0);
    ah_task_cancel(t);
    ah_task_unref(t);
    int64_t key = ah_run_key(run);
    ah_run_end(run, NULL, 0, NULL);
    ah_store_flush(r.core.store);
    struct ah_buf text;
    ah_buf_init(&text, 1 << 20);
    struct ah_error err = {0};
    FILE *to = tmpfile();
    assert_int_equal(ah_tree_print(r.core.store, key, NULL, to, &err), 0);
    rewind(to);
    char line[512];
    int cancelled = 0;
    while (fgets(line, sizeof line, to))
        cancelled += (strstr(line, "outer") || strstr(line, "inner")) && strcasestr(line, "cancelled");
    fclose(to);
    ah_buf_drop(&text);
    assert_int_equal(cancelled, 2);
}

/* --- orphans ----------------------------------------------------------------------------------------------------------- */

static void test_collected(void **state)
{
    (void)state;
    lua_pushboolean(r.lua.L, 0);
    lua_setglobal(r.lua.L, "got");
    struct ah_task *t = start("task.spawn(function() got = http.get(base .. '/ok').body end)");
    ah_task_unref(t); /* nobody holds either of them */
    for (int i = 0; i < 1000 && ah_tasks_alive(r.lua.tasks) > 0; i++) {
        lua_gc(r.lua.L, LUA_GCCOLLECT, 0);
        ah_loop_turn(r.core.loop, 5);
    }
    lua_getglobal(r.lua.L, "got");
    assert_string_equal(lua_tostring(r.lua.L, -1), "ok");
    lua_pop(r.lua.L, 1);
    expect_nothing_left();
    assert_int_equal(ah_tasks_refs(r.lua.tasks), 0);
}

/* A stream that nobody can reach any more is cancelled by the collector. */
static void test_orphan_stream(void **state)
{
    (void)state;
    struct ah_task *t =
        start("local res = http.get(base .. '/stream', {stream=true}) assert(res.status == 200)");
    assert_true(rig_turn(&r, t, 1000));
    ah_task_unref(t);
    lua_gc(r.lua.L, LUA_GCCOLLECT, 0);
    lua_gc(r.lua.L, LUA_GCCOLLECT, 0);
    ah_loop_turn(r.core.loop, 0);
    expect_nothing_left();
}

/* A coroutine that waits is cancelled with its task, and is then as dead to others as any. */
static void test_abandoned_coroutine(void **state)
{
    (void)state;
    struct ah_task *t =
        start("co = coroutine.create(function() http.get(base .. '/hold') end) coroutine.resume(co)");
    for (int k = 0; k < 2000 && held_n == 0; k++)
        ah_loop_turn(r.core.loop, 5);
    ah_task_cancel(t);
    ah_task_unref(t);
    expect_nothing_left();
    t = start("assert(coroutine.status(co) == 'dead') assert(not coroutine.resume(co)) "
              "assert(coroutine.close(co))");
    assert_true(rig_turn(&r, t, 10));
    assert_int_equal(ah_task_end_op(t)->err.kind, AH_NONE);
    ah_task_unref(t);
}

/* --- the C side ---------------------------------------------------------------------------------------------------------- */

static int joined;

static void on_joined(struct ah_op *op, void *arg)
{
    (void)op, (void)arg;
    joined++;
}

static void test_joins(void **state)
{
    (void)state;
    struct ah_task *t = start("task.sleep(0.001) return 1, nil, 3");
    struct ah_op *a = ah_task_join(t), *b = ah_task_join(t), *c = ah_task_join(t);
    joined = 0;
    ah_op_wait(a, on_joined, NULL);
    ah_op_wait(b, on_joined, NULL);
    ah_op_cancel(b); /* only its waiting */
    ah_op_unref(c);
    assert_false(ah_task_done(t));
    assert_true(rig_turn(&r, t, 1000));
    ah_loop_turn(r.core.loop, 0);
    assert_int_equal(joined, 2);
    assert_int_equal(a->err.kind, AH_NONE);
    assert_int_equal(b->err.kind, AH_CANCELLED);
    struct ah_op *late = ah_task_join(t);
    assert_true(late->done);
    bool failed;
    assert_int_equal(ah_task_results(r.lua.L, t, &failed), 3);
    assert_false(failed);
    assert_int_equal(ah_task_results(r.lua.L, t, &failed), 3); /* they stay */
    lua_settop(r.lua.L, 0);
    ah_op_unref(a);
    ah_op_unref(b);
    ah_op_unref(late);
    ah_task_unref(t);
    assert_int_equal(ah_tasks_refs(r.lua.tasks), 0);
}

static int wait_in_c(lua_State *L)
{
    ah_task_check(L, "test.wait");
    return 0;
}

static void test_outside(void **state)
{
    (void)state;
    lua_State *L = r.lua.L;
    lua_pushcfunction(L, wait_in_c);
    assert_int_not_equal(lua_pcall(L, 0, 0, 0), LUA_OK);
    assert_non_null(strstr(lua_tostring(L, -1), "test.wait: it must run inside a task"));
    lua_settop(L, 0);
    assert_null(ah_task_current(L));
    assert_null(ah_task_run(L));
    assert_null(ah_task_span(L));
    assert_null(ah_task_swap_span(L, NULL));
}

static void test_failure_texts(void **state)
{
    (void)state;
    static const struct {
        const char *code;
        enum ah_kind kind;
        const char *text;
    } rows[] = {
        {"error 'plain'", AH_SCRIPT, "plain"},
        {"local function f() error 'deep' end f()", AH_SCRIPT, "stack traceback"},
        {"error({kind='needs_auth', message='open it', link='https://l'})", AH_NEEDS_AUTH, "https://l"},
        {"error({kind='no such kind', message='m'})", AH_SCRIPT, "m"},
        {"error(nil)", AH_SCRIPT, "raised a nil"},
        {"error({code=3})", AH_SCRIPT, "raised a table"},
        {"error(setmetatable({}, {__tostring=function() error 'x' end}))", AH_SCRIPT, "could not be read"},
        {"error(setmetatable({}, {__tostring=function() return {} end}))", AH_SCRIPT, "could not be read"},
        {"task.sleep(0) error(('x'):rep(5000))", AH_SCRIPT, "xxx"},
        {"local function f() return f() + 1 end f()", AH_SCRIPT, "stack overflow"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ah_task *t = start(rows[i].code);
        assert_true(rig_turn(&r, t, 1000));
        struct ah_error *err = &ah_task_end_op(t)->err;
        if (err->kind != rows[i].kind || !strstr(err->message, rows[i].text))
            fail_msg("%s: %s: %s", rows[i].code, ah_err_kind_name(err->kind), err->message);
        ah_task_unref(t);
        expect_nothing_left();
    }
}

static void test_cancel_sets(void **state)
{
    (void)state;
    struct ah_run_opts opts = {.name = "set", .traced = false};
    struct ah_run *run = ah_run_start(r.core.trace, &opts, NULL);
    struct ah_task *with_run = rig_start(&r, "task.spawn(task.sleep, 100) task.sleep(100)", run);
    struct ah_task *without = start("task.sleep(100)");
    for (int i = 0; i < 3; i++)
        ah_loop_turn(r.core.loop, 0);
    assert_int_equal(ah_tasks_alive(r.lua.tasks), 3);
    ah_tasks_cancel_runs(r.lua.tasks);
    assert_int_equal(ah_tasks_alive(r.lua.tasks), 1);
    assert_true(ah_task_done(with_run));
    assert_false(ah_task_done(without));
    ah_tasks_cancel_all(r.lua.tasks);
    assert_true(ah_task_done(without));
    ah_task_unref(with_run);
    ah_task_unref(without);
    ah_run_end(run, NULL, 0, NULL);
    lua_gc(r.lua.L, LUA_GCCOLLECT, 0); /* the spawned one's object */
    assert_int_equal(ah_tasks_refs(r.lua.tasks), 0);
}

#define UNIT(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_cancel),        UNIT(test_cancel_at_every_step),
        UNIT(test_open_spans),    UNIT(test_collected),
        UNIT(test_orphan_stream), UNIT(test_abandoned_coroutine),
        UNIT(test_joins),         UNIT(test_outside),
        UNIT(test_failure_texts), UNIT(test_cancel_sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
