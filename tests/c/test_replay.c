/* Notes of a run, read back: the same list does the same, anything else is a divergence, and bytes of another hand in the
 * journal are never more than that. Also luanotes.c: values go there and back. */
#include "replay.h"

#include "buf.h"
#include "log.h"
#include "loop.h"
#include "luajson.h"
#include "luanotes.h"
#include "secret.h"

#include <lauxlib.h>
#include <lualib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];
static struct ah_log quiet = {.level = AH_LOG_ERROR};
static struct ah_core core;

static int set_up(void **state)
{
    struct ah_error err = {0};
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/ah-replay-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    core = (struct ah_core){.log = &quiet, .loop = ah_loop_new(&err), .secrets = ah_secret_new()};
    core.store = ah_store_open(&(struct ah_store_opts){.dir = dir}, core.loop, &quiet, &err);
    return core.store && ah_store_durable(core.store) ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[100];
    (void)state;
    ah_store_close(core.store);
    ah_loop_free(core.loop);
    ah_secret_free(core.secrets);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

static int64_t new_run(void)
{
    char id[AH_UUID_BYTES];
    ah_ids_uuid7(ah_loop_ids(core.loop), 1, id);
    struct ah_store_run_start run = {
        .key = ah_store_new_key(core.store), .id = id, .name = "n", .project = "p", .at = 1};
    assert_int_equal(ah_store_run_begin(core.store, &run), 0);
    return run.key;
}

/* A run whose notes are this text (the inside of the list), as they are. */
static int64_t write_run(const char *recipe, const char *notes)
{
    int64_t key = new_run();
    ah_store_begin(core.store, key, 0, AH_EV_RECIPE, 1);
    ah_store_puts(core.store, recipe);
    ah_store_end(core.store);
    ah_store_begin(core.store, key, 0, AH_EV_NOTES, 2);
    ah_store_puts(core.store, "{\"notes\":[");
    ah_store_puts(core.store, notes);
    ah_store_puts(core.store, "]}");
    ah_store_end(core.store);
    assert_int_equal(ah_store_flush(core.store), AH_STORE_OK);
    return key;
}

static struct ah_replay *load(int64_t run)
{
    struct ah_error err = {0};
    struct ah_replay *r = ah_replay_new(&core, &err);
    assert_non_null(r);
    if (ah_replay_load(r, run, &err) != 0)
        fail_msg("%s", err.message);
    return r;
}

static struct ah_replay *past(const char *notes)
{
    struct ah_replay *r = load(write_run("{}", notes));
    ah_replay_begin(r, new_run(), 1, "{}", 2);
    return r;
}

static void want_text(struct ah_json v, const char *text)
{
    assert_int_equal(v.n, strlen(text));
    assert_memory_equal(v.p, text, v.n);
}

static struct ah_call *call(struct ah_replay *r, const char *name, const char *args, struct ah_error *err)
{
    return ah_replay_call(r, name, args, strlen(args), err);
}

/* --- going on --------------------------------------------------------------------------------------------- */

static void the_same_again(void **state)
{
    (void)state;
    struct ah_json v;
    struct ah_error err = {0};
    struct ah_replay *r =
        past("[\"v\",\"host.time\",[5]],[\"c\",1,\"http.get\",{\"1\":\"u\"}],[\"R\",1,[true,[1]]],"
             "[\"c\",2,\"task.sleep\",{}],[\"r\",2,[true,[]]]");
    assert_int_equal(ah_replay_length(r), 5);
    assert_int_equal(ah_replay_value(r, "host.time", &v), 1);
    want_text(v, "[5]");
    struct ah_call *one = call(r, "http.get", "{\"1\":\"u\"}", &err);
    assert_non_null(one);
    want_text(ah_call_result(one), "[true,[1]]");
    ah_call_drop(one);
    struct ah_call *two = call(r, "task.sleep", "{}", &err);
    assert_true(two && ah_call_is_waiting(two));
    assert_int_equal(ah_replay_check_end(r, NULL), -1); /* not yet: its answer is left */
    ah_call_drop(two);
    ah_replay_free(r);
}

static void want_difference(const char *notes, const char *says,
                            void (*act)(struct ah_replay *r, struct ah_error *err))
{
    struct ah_error err = {0};
    const struct ah_error *why;
    struct ah_replay *r = past(notes);
    act(r, &err);
    assert_true(ah_replay_stopped(r, &why));
    assert_int_equal(why->kind, AH_DIVERGED);
    if (!strstr(why->message, says))
        fail_msg("not in it: %s: %s", says, why->message);
    assert_null(call(r, "http.get", "{}", &err)); /* and nothing after it */
    ah_err_drop(&err);
    ah_replay_free(r);
}

static void read_time(struct ah_replay *r, struct ah_error *err)
{
    struct ah_json v;
    (void)err;
    assert_int_equal(ah_replay_value(r, "host.time", &v), -1);
}

static void get(struct ah_replay *r, struct ah_error *err)
{
    assert_null(call(r, "http.get", "{\"1\":{\"url\":[\"a\",\"c\"]}}", err));
    assert_int_equal(err->kind, AH_DIVERGED);
}

static void end(struct ah_replay *r, struct ah_error *err)
{
    assert_int_equal(ah_replay_check_end(r, err), -1);
}

static void the_first_difference_is_said(void **state)
{
    (void)state;
    want_difference("[\"v\",\"host.uuid\",[1]]", "it read host.uuid, and now it reads host.time", read_time);
    want_difference("[\"c\",1,\"http.post\",{}]", "call 1 was http.post, and now call 1 is http.get", get);
    want_difference("[\"c\",1,\"http.get\",{\"1\":{\"url\":[\"a\",\"b\"]}}]",
                    "1.url[2] was \"b\", and now is \"c\"", get);
    want_difference("[\"c\",1,\"http.get\",{\"1\":{\"url\":[\"a\"]}}]",
                    "1.url[2] was nothing, and now is \"c\"", get);
    want_difference("[\"c\",2,\"http.get\",{}]", "call 2 was http.get", get);
    want_difference("[\"v\",\"host.uuid\",[1]]", "the script has ended", end);
}

/* The journal is a file: whatever stands in it, a run that is resumed over it stops, or goes on. */
static void notes_of_another_hand(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "7",
        "null",
        "[]",
        "[[]]",
        "[7]",
        "[\"\"]",
        "[\"v\"]",
        "[\"v\",7]",
        "[\"v\",\"host.time\"]",
        "[\"v\",\"host.time\",{}]",
        "{\"v\":1}",
        "[\"c\"]",
        "[\"c\",1]",
        "[\"c\",1,\"http.get\"]",
        "[\"c\",\"1\",\"http.get\",{}]",
        "[\"c\",1,\"http.get\",7]",
        "[\"c\",1e99,\"http.get\",{}]",
        "[\"c\",9223372036854775807,\"http.get\",{}],[\"i\",9223372036854775807,-1,-1]",
        "[\"c\",1,\"http.get\",{}],[\"R\",1]",
        "[\"c\",1,\"http.get\",{}],[\"R\",1,7],[\"r\",1,[true]]",
        "[\"c\",1,\"http.get\",{}],[\"r\",7,[true,[]]]",
        "[\"r\",1,[true,[]]]",
        "[\"R\",1,[true,[]]]",
        "[\"s\"],[\"s\",1],[\"e\",2],[\"s\",-1]",
        "[\"s\",1],[\"c\",1,\"http.get\",{}]",
        "[\"i\"],[\"i\",1],[\"i\",1,\"x\",{}]",
        "[\"\\u0063\",1,\"http.get\",{}]",
        "[\"cc\",1,\"http.get\",{}]",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ah_error err = {0};
        struct ah_store_effect effect;
        struct ah_json v;
        struct ah_replay *r = past(rows[i]);
        unsigned char sha256[32] = {0};
        ah_replay_value(r, "host.time", &v);
        struct ah_call *c = call(r, "http.get", "{}", &err);
        for (int turn = 0; turn < 5; turn++)
            ah_loop_turn(core.loop, 0);
        if (c && ah_call_result(c).type != AH_JSON_NONE)
            ah_json_count(ah_json_at(ah_call_result(c), 1));
        ah_replay_fate(r, 1, "http", "GET", sha256, &effect);
        ah_replay_worked(r, "run.clock");
        ah_call_drop(c);
        ah_err_drop(&err);
        if (ah_replay_check_end(r, &err) != 0)
            assert_int_equal(err.kind, AH_DIVERGED);
        ah_err_drop(&err);
        ah_replay_free(r);
    }
    /* No JSON at all, and none of ours. */
    static const char *const bodies[] = {
        "", "{", "[]", "7", "{\"notes\":7}", "{\"notes\":[}", "{\"base\":-7,\"resumes\":\"x\"}"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        int64_t key = new_run();
        for (int kind = AH_EV_RECIPE; kind <= AH_EV_NOTES; kind++) {
            ah_store_begin(core.store, key, 0, (enum ah_event_kind)kind, 1);
            ah_store_puts(core.store, bodies[i]);
            ah_store_end(core.store);
        }
        struct ah_replay *r = load(key);
        assert_int_equal(ah_replay_length(r), 0);
        ah_replay_free(r);
    }
}

/* --- streams ------------------------------------------------------------------------------------------------ */

static size_t kept(const char *notes)
{
    struct ah_replay *r = load(write_run("{}", notes));
    size_t n = ah_replay_length(r);
    ah_replay_free(r);
    return n;
}

#define BEGUN(n) "[\"c\"," #n ",\"stream\",{}],[\"R\"," #n ",[true,[]]],[\"s\"," #n "]"

static void a_stream_that_was_cut_begins_anew(void **state)
{
    (void)state;
    assert_int_equal(kept(BEGUN(1) ",[\"e\",1]"), 2);
    assert_int_equal(kept(BEGUN(1)), 0);
    assert_int_equal(kept("[\"v\",\"host.time\",[1]]," BEGUN(1) ",[\"v\",\"host.time\",[2]]"), 1);
    /* Something unsafe left since: it stays, and ends as cut. */
    assert_int_equal(kept(BEGUN(1) ",[\"i\",1,1,1]"), 2);
    assert_int_equal(kept(BEGUN(1) ",[\"i\",1,1,1]," BEGUN(2)), 2);
    /* Two side by side: the end of the one is void when it stands behind the beginning of the other. */
    assert_int_equal(kept(BEGUN(1) "," BEGUN(2) ",[\"e\",1]"), 0);
    assert_int_equal(kept(BEGUN(1) ",[\"e\",1]," BEGUN(2)), 2);
    assert_int_equal(kept(BEGUN(1) "," BEGUN(2) ",[\"e\",2]"), 0);
}

/* What a run noted behind the place where its parent's notes were cut takes their place. */
static void a_chain_of_runs(void **state)
{
    (void)state;
    char recipe[100];
    int64_t first = write_run("{}", "[\"v\",\"a\",[1]]," BEGUN(1) ",[\"v\",\"b\",[2]]");
    snprintf(recipe, sizeof recipe, "{\"resumes\":%lld,\"base\":1}", (long long)first);
    struct ah_replay *r = load(write_run(recipe, BEGUN(1) ",[\"e\",1],[\"v\",\"c\",[3]]"));
    struct ah_json v;
    struct ah_error err = {0};
    assert_int_equal(ah_replay_length(r), 4);
    ah_replay_begin(r, new_run(), 1, "{}", 2);
    assert_int_equal(ah_replay_value(r, "a", &v), 1);
    struct ah_call *c = call(r, "stream", "{}", &err);
    assert_non_null(c);
    ah_call_drop(c);
    assert_int_equal(ah_replay_value(r, "c", &v), 1);
    assert_int_equal(ah_replay_check_end(r, &err), 0);
    ah_replay_free(r);
}

/* --- secrets -------------------------------------------------------------------------------------------------- */

static void secrets_are_masked_and_match(void **state)
{
    (void)state;
    struct ah_error err = {0};
    static const char args[] = "{\"1\":\"a token-98765432 b\",\"2\":98765432100}";
    assert_int_equal(ah_secret_add(core.secrets, "A_TOKEN", "token-98765432", 14), 0);
    assert_int_equal(ah_secret_add(core.secrets, "N_TOKEN", "98765432100", 11), 0);
    struct ah_replay *r = ah_replay_new(&core, &err);
    int64_t run = new_run();
    ah_replay_begin(r, run, 1, "{}", 2);
    struct ah_call *c = call(r, "http.get", args, &err);
    ah_call_end(c, "[true,[\"token-98765432\"]]", 25, true);
    ah_call_drop(c);
    ah_replay_free(r);
    assert_int_equal(ah_store_flush(core.store), AH_STORE_OK);
    r = load(run);
    ah_replay_begin(r, new_run(), 1, "{}", 2);
    c = call(r, "http.get", args, &err);
    assert_non_null(c);
    want_text(ah_call_result(c), "[true,[\"[secret:A_TOKEN]\"]]");
    ah_call_drop(c);
    ah_replay_free(r);
}

/* --- luanotes ------------------------------------------------------------------------------------------------- */

static lua_State *open_state(void)
{
    lua_State *L = luaL_newstate();
    assert_non_null(L);
    *(void **)lua_getextraspace(L) = NULL;
    luaL_openlibs(L);
    ah_luajson_open(L);
    return L;
}

/* Values of `code` (a return), noted; then the same again from the notes. */
static void want_same(lua_State *L, const char *code, const char *same)
{
    struct ah_buf b;
    struct ah_json v;
    ah_buf_init(&b, 1 << 20);
    lua_settop(L, 0);
    if (luaL_dostring(L, code) != LUA_OK)
        fail_msg("%s", lua_tostring(L, -1));
    int n = lua_gettop(L);
    assert_int_equal(ah_luanotes_put(L, 1, n, &b), 0);
    lua_settop(L, 0);
    assert_int_equal(ah_json_check(b.p, b.n, 0, &v, NULL), 0);
    assert_int_equal(ah_luanotes_push(L, v), n);
    assert_int_equal(lua_gettop(L), n);
    if (luaL_loadstring(L, same) != LUA_OK)
        fail_msg("%s", lua_tostring(L, -1));
    lua_insert(L, 1);
    if (lua_pcall(L, n, 1, 0) != LUA_OK || !lua_toboolean(L, -1))
        fail_msg("%s became %s: %s", code, b.p, lua_tostring(L, -1));
    ah_buf_drop(&b);
}

static void values_go_there_and_back(void **state)
{
    (void)state;
    static const struct {
        const char *code, *same;
    } rows[] = {
        {"return", "return select('#', ...) == 0"},
        {"return nil, false, nil", "return select('#', ...) == 3 and select(2, ...) == false"},
        {"return 1, 1.0, -0.0, math.mininteger, 2^53",
         "local a, b, c, d, e = ... return math.type(a) == 'integer' and math.type(b) == 'float' and 1 / c < "
         "0 and"
         " d == math.mininteger and e == 2^53"},
        {"return 0/0, 1/0, -1/0", "local a, b, c = ... return a ~= a and b == 1/0 and c == -1/0"},
        {"return 'a\\0b\\200\\255', '', '\\u{FFFD}', '$nil'",
         "local a, b, c, d = ... return a == 'a\\0b\\200\\255' and b == '' and c == '\\u{FFFD}' and d == "
         "'$nil'"},
        {"return { 1, 2, { x = {} } }", "local t = ... return #t == 3 and next(t[3].x) == nil"},
        {"return { ['$list'] = { 1 }, a = 1 }", "local t = ... return t['$list'][1] == 1 and t.a == 1"},
        {"return { ['$nil'] = 1 }", "return (...)['$nil'] == 1"},
        {"return { [1.5] = 'x', [true] = 'y', [-1] = 'z', k = { [3] = 1 } }",
         "local t = ... return t[1.5] == 'x' and t[true] == 'y' and t[-1] == 'z' and t.k[3] == 1 and t.k[1] "
         "== nil"},
        {"return { ['\\200'] = 1, ['a\\0'] = 2, [''] = 3 }",
         "local t = ... return t['\\200'] == 1 and t['a\\0'] == 2 and t[''] == 3"},
        {"local t = {} for i = 1, 100 do t['k' .. i] = i end return t",
         "local n = 0 for k, v in pairs(...) do assert(k == 'k' .. v) n = n + 1 end return n == 100"},
        {"return setmetatable({ message = 'm' }, debug.getregistry()['ah.error'])",
         "return tostring(...) == 'm'"},
        {"return print, io.stdout, coroutine.create(print)", "return select('#', ...) == 3 and (...) == nil"},
        {"return setmetatable({ a = 1 }, { __index = error, __pairs = error })",
         "return rawget(..., 'a') == 1"},
    };
    lua_State *L = open_state();
    ah_luax_error_class(L);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        want_same(L, rows[i].code, rows[i].same);
    struct ah_buf b;
    ah_buf_init(&b, 1 << 20); /* a table in itself has no end */
    assert_int_equal(luaL_dostring(L, "local t = {} t.t = t return t"), LUA_OK);
    assert_int_equal(ah_luanotes_put(L, lua_gettop(L), lua_gettop(L), &b), -1);
    ah_buf_drop(&b);
    ah_buf_init(&b, 100);
    lua_pushstring(
        L, "more than one hundred bytes: ...................................................................."
           "......................");
    assert_int_equal(ah_luanotes_put(L, lua_gettop(L), lua_gettop(L), &b), -1);
    ah_buf_drop(&b);
    lua_close(L);
}

static int push_all(lua_State *L)
{
    lua_pushinteger(L, ah_luanotes_push(L, *(const struct ah_json *)lua_touserdata(L, 1)));
    return 1;
}

static void values_of_another_hand(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "7",
        "{}",
        "[]",
        "[{\"$\":1}]",
        "[{\"$x\":1}]",
        "[{\"$nil\":{\"$nil\":1}}]",
        "[{\"$num\":7}]",
        "[{\"$bytes\":7}]",
        "[{\"$bytes\":\"\\u00e4\\u20ac\\ud83d\\ude00\"}]",
        "[{\"$list\":7},{\"$list\":{\"a\":1}},{\"$list\":[{\"$nil\":1},2]}]",
        "[{\"$map\":7},{\"$map\":[1]},{\"$map\":[null,1,{\"$nil\":1},2,{\"$list\":[]},3]}]",
        "[{\"$map\":[{\"$num\":\"nan\"},1]}]",
        "[{\"$is\":7},{\"$is\":\"_LOADED\",\"of\":{}},{\"$is\":\"ah.error\",\"of\":7},{\"$is\":\"none\","
        "\"json\":{}}]",
        "[{\"$object\":7},{\"$object\":\"ah.json.null\"},{\"$object\":\"FILE*\"}]",
        "[{\"a\":{\"$nil\":1},\"a\":2,\"a\":{\"$nil\":1}}]",
    };
    lua_State *L = open_state();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ah_json v;
        assert_int_equal(ah_json_check(rows[i], strlen(rows[i]), 0, &v, NULL), 0);
        lua_pushcfunction(L, push_all);
        lua_pushlightuserdata(L, &v);
        if (lua_pcall(L, 1, 1, 0) != LUA_OK)
            assert_non_null(lua_tostring(L, -1)); /* an error of Lua's, no more */
        lua_settop(L, 0);
    }
    lua_close(L);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_same_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_first_difference_is_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(notes_of_another_hand, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stream_that_was_cut_begins_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_chain_of_runs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(secrets_are_masked_and_match, set_up, tear_down),
        cmocka_unit_test(values_go_there_and_back),
        cmocka_unit_test(values_of_another_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
