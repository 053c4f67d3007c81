/* luajson.c and host.json from C: what happens when memory runs out at any point, when finalizers
 * change what is being written, and what is left on the stack. The rows of docs/json.md are
 * tests/lua/json_test.lua. */
#include "buf.h"
#include "err.h"
#include "lua_json.h"
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

#include <cmocka.h>

struct memory {
    long left; /* allocations that still succeed; -1 = all */
    size_t used;
};

static void *on_alloc(void *arg, void *p, size_t old, size_t size)
{
    struct memory *m = arg;
    if (size == 0) {
        m->used -= p ? old : 0;
        free(p);
        return NULL;
    }
    if (!p || size > old) {
        if (m->left == 0)
            return NULL;
        if (m->left > 0)
            m->left--;
    }
    void *q = realloc(p, size);
    if (q)
        m->used += size - (p ? old : 0);
    return q;
}

static lua_State *open_state(struct memory *m)
{
    m->left = -1;
    m->used = 0;
    lua_State *L = lua_newstate(on_alloc, m);
    assert_non_null(L);
    *(void **)lua_getextraspace(L) = NULL;
    luaL_openlibs(L);
    ah_luajson_open(L);
    luaL_requiref(L, "host.json", luaopen_host_json, 0);
    lua_setglobal(L, "json");
    return L;
}

static void run(lua_State *L, const char *code)
{
    if (luaL_dostring(L, code) != LUA_OK)
        fail_msg("%s", lua_tostring(L, -1));
}

/* Encodes the value on top of the stack and pops it. The text is valid until the next call. */
static const char *encode(lua_State *L, struct ah_buf *b, const struct ah_secrets *mask)
{
    struct ah_error err = {0};
    int top = lua_gettop(L);
    ah_buf_clear(b);
    if (ah_luajson_encode(L, -1, b, mask, &err) != 0)
        fail_msg("%s", err.message);
    assert_int_equal(lua_gettop(L), top);
    lua_pop(L, 1);
    return b->p;
}

static void values_go_both_ways(void **state)
{
    (void)state;
    struct memory m;
    lua_State *L = open_state(&m);
    struct ah_buf b, text;
    ah_buf_init(&b, 1 << 20);
    ah_buf_init(&text, 1 << 20);
    /* Around the sizes where tables and batches change their way. */
    static const int sizes[] = {0, 1, 31, 32, 33, 63, 64, 65, 200, 1000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        ah_buf_clear(&text);
        ah_buf_adds(&text, "{\"list\":[");
        for (int k = 0; k < sizes[i]; k++)
            ah_buf_addf(&text, "%s%d", k ? "," : "", k);
        ah_buf_adds(&text, "],\"map\":{");
        for (int k = 0; k < sizes[i]; k++)
            ah_buf_addf(&text, "%s\"k%04d\":[{\"a\":%d.5}]", k ? "," : "", k, k);
        ah_buf_adds(&text, "}}");
        struct ah_json v;
        assert_int_equal(ah_json_check(text.p, text.n, 0, &v, NULL), 0);
        int top = lua_gettop(L);
        ah_luajson_push(L, v);
        assert_int_equal(lua_gettop(L), top + 1);
        assert_string_equal(encode(L, &b, NULL), text.p);
        /* A part of a text, not all of it. */
        ah_luajson_push(L, ah_json_get(v, "list"));
        assert_true(ah_luajson_is_array(L, -1));
        assert_int_equal(lua_rawlen(L, -1), sizes[i]);
        lua_pop(L, 1);
    }
    ah_luajson_push(L, (struct ah_json){0});
    assert_true(lua_isnil(L, -1));
    lua_pop(L, 1);
    ah_buf_drop(&b);
    ah_buf_drop(&text);
    lua_close(L);
    assert_int_equal(m.used, 0);
}

static void secrets_are_masked(void **state)
{
    (void)state;
    struct memory m;
    lua_State *L = open_state(&m);
    struct ah_secrets *s = ah_secret_new();
    struct ah_buf b;
    assert_non_null(s);
    ah_buf_init(&b, 1 << 16);
    assert_int_equal(ah_secret_add(s, "A_KEY", "sk-\"quoted\"-1", 13), 0);
    run(L, "v = {['x sk-\"quoted\"-1'] = 'key: sk-\"quoted\"-1\\n', n = {1, 'a'}}");
    lua_getglobal(L, "v");
    assert_string_equal(encode(L, &b, s),
                        "{\"n\":[1,\"a\"],\"x [secret:A_KEY]\":\"key: [secret:A_KEY]\\n\"}");
    ah_buf_drop(&b);
    ah_secret_free(s);
    lua_close(L);
}

static void failure_leaves_what_was_there(void **state)
{
    (void)state;
    struct memory m;
    lua_State *L = open_state(&m);
    struct ah_buf b;
    struct ah_error err = {0};
    ah_buf_init(&b, 64);
    ah_buf_adds(&b, "before");
    run(L, "v = {a = {1, 2, {b = print}}}");
    lua_getglobal(L, "v");
    int top = lua_gettop(L);
    assert_int_equal(ah_luajson_encode(L, -1, &b, NULL, &err), -1);
    assert_int_equal(err.kind, AH_INVALID);
    assert_string_equal(err.message,
                        "value.a[3].b: a function cannot become JSON; leave it out or turn it into a string");
    assert_string_equal(b.p, "before");
    assert_int_equal(lua_gettop(L), top);
    lua_settop(L, 0);
    lua_pushstring(L, "0123456789012345678901234567890123456789012345678901234567890123456789");
    assert_int_equal(ah_luajson_encode(L, -1, &b, NULL, &err), -1);
    assert_int_equal(err.kind, AH_LIMIT);
    assert_string_equal(b.p, "before");
    ah_buf_drop(&b);
    lua_close(L);
}

/* What a finalizer does runs inside of the writer's own allocations. */
static void finalizers_may_change_the_value(void **state)
{
    (void)state;
    struct memory m;
    lua_State *L = open_state(&m);
    run(L, "local calls = 0\n"
           "for round = 1, 300 do\n"
           "  local v = {list = {}, inner = {}}\n"
           "  for i = 1, 40 do v['k' .. i .. round] = {i}; v.inner['i' .. i .. round] = {x = i}; v.list[i] = "
           "{} end\n"
           "  local function strike()\n"
           "    calls = calls + 1\n"
           "    for k in pairs(v) do if k ~= 'inner' then v[k] = nil end end\n"
           "    for k in pairs(v.inner) do v.inner[k] = nil end\n"
           "    if round % 3 == 0 then v.inner[1] = 1 end\n"
           "    for i = 1, 100 do v['n' .. i .. calls] = i end\n"
           "  end\n"
           "  collectgarbage() collectgarbage('stop')\n"
           "  setmetatable({}, {__gc = strike})\n"
           "  collectgarbage('generational') collectgarbage('restart') collectgarbage('step', round % 7)\n"
           "  collectgarbage('incremental', 50, 1000, round % 12)\n"
           "  local ok, s, err = pcall(json.encode, v)\n"
           "  assert(ok, s)\n"
           "  assert((s and json.decode(s)) or err.kind == 'invalid')\n"
           "end\n"
           "assert(calls > 0)");
    lua_close(L);
    assert_int_equal(m.used, 0);
}

/* Every allocation that the Lua side makes fails once. The buffers are guarded: the sanitizer would see
 * what is lost. */
static void no_memory_at_any_point(void **state)
{
    (void)state;
    struct memory m;
    lua_State *L = open_state(&m);
    run(L,
        "local t = {'{\"esc\\\\n\":['} for i = 1, 70 do t[#t + 1] = '{\"k\":\"v\\\\u00e4' .. i .. '\"},' "
        "end\n"
        "t[#t + 1] = 'null],\"map\":{' for i = 1, 70 do t[#t + 1] = '\"k' .. i .. '\":' .. i .. '.5,' end\n"
        "t[#t + 1] = '\"z\":1}}' text = table.concat(t)\n"
        "function both() local v = json.decode(text) return json.encode(v) end\n"
        "function bad() local s, err = json.encode({a = print}) return err end\n"
        "function broken() local v, err = json.decode('[1,') return err end\n"
        "function mark() return json.array(), json.array({1}) end\n");
    static const char *const names[] = {"both", "bad", "broken", "mark"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        long count = 0;
        for (int status = LUA_ERRMEM; status != LUA_OK; count++) {
            lua_settop(L, 0);
            lua_gc(L, LUA_GCCOLLECT);
            lua_getglobal(L, names[i]);
            m.left = count;
            status = lua_pcall(L, 0, 1, 0);
            m.left = -1;
            if (status != LUA_OK && status != LUA_ERRMEM)
                fail_msg("%s %ld: %s", names[i], count, lua_tostring(L, -1));
            if (status == LUA_OK)
                assert_true(lua_toboolean(L, -1));
        }
        assert_true(count > 1);
    }
    lua_close(L);
    assert_int_equal(m.used, 0);
}

static void deepest_value_in_a_coroutine(void **state)
{
    (void)state;
    struct memory m;
    lua_State *L = open_state(&m);
    run(L,
        "local function deep(n, wide)\n"
        "  local v = {}\n"
        "  for i = 2, n do\n"
        "    local up = {a = v}\n"
        "    for k = 1, wide do up['k' .. k] = k end\n"
        "    v = up\n"
        "  end\n"
        "  return v\n"
        "end\n"
        "for _, wide in ipairs{0, 31, 60} do\n"
        "  coroutine.wrap(function()\n"
        "    local s = assert(json.encode(deep(128, wide)))\n"
        "    assert(json.encode(json.decode(s)) == s)\n"
        "    local none, err = json.encode(deep(129, wide))\n"
        "    assert(none == nil and tostring(err):find('deeper than 128 levels', 1, true), tostring(err))\n"
        "  end)()\n"
        "end\n"
        "local cycle = {} cycle.cycle = cycle\n"
        "local none, err = json.encode(cycle)\n"
        "assert(none == nil and err.kind == 'invalid' and #err.message < 400)");
    lua_close(L);
}

/* Notes: what is an object in JSON, what is not, and what does not fit on the stack at once; all of it comes back. */
static void notes_come_back(void **state)
{
    (void)state;
    static const struct {
        const char *value, *text;
    } rows[] = {
        {"{b = 1, a = {x = {}}, ['a b'] = 'c'}", "[{\"a\":{\"x\":{}},\"a b\":\"c\",\"b\":1}]"},
        {"{['$nil'] = 1}", "[{\"$map\":[\"$nil\",1]}]"},
        {"{['a\\0b'] = 1}", "[{\"$map\":[\"a\\u0000b\",1]}]"},
        {"{['\\xff'] = 1}", "[{\"$map\":[{\"$bytes\":\"\xc3\xbf\"},1]}]"},
        {"{[''] = 1}", "[{\"\":1}]"},
        {"{1, 2}", "[{\"$list\":[1,2]}]"},
        {"json.array {1, {}}", "[[1,{}]]"},
        {"{1, a = 2}", NULL},
        {"{a = 2, [7] = true}", NULL},
        {"many(32)", NULL},
        {"many(33)", NULL},
        {"{inner = many(40), x = {many(3)}}", NULL},
    };
    struct memory m;
    lua_State *L = open_state(&m);
    run(L, "function many(n) local t = {} for i = 1, n do t['k' .. i] = i end return t end\n"
           "function same(a, b)\n"
           "  if type(a) ~= 'table' or type(b) ~= 'table' then return a == b end\n"
           "  for k, v in pairs(a) do if not same(v, b[k]) then return false end end\n"
           "  for k in pairs(b) do if a[k] == nil then return false end end\n"
           "  return getmetatable(a) == getmetatable(b)\n"
           "end");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ah_buf b;
        struct ah_json v;
        char code[128];
        lua_settop(L, 0);
        ah_buf_init(&b, 65536);
        lua_getglobal(L, "same");
        snprintf(code, sizeof code, "return %s", rows[i].value);
        run(L, code);
        assert_int_equal(ah_luanotes_put(L, 2, 2, &b), 0);
        assert_int_equal(lua_gettop(L), 2);
        if (rows[i].text)
            assert_string_equal(b.p, rows[i].text);
        assert_int_equal(ah_json_check(b.p, b.n, 0, &v, NULL), 0);
        assert_int_equal(ah_luanotes_push(L, v), 1);
        lua_call(L, 2, 1);
        if (!lua_toboolean(L, -1))
            fail_msg("%s did not come back from %s", rows[i].value, b.p);
        ah_buf_drop(&b);
    }
    lua_close(L);
    assert_int_equal(m.used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_go_both_ways),
        cmocka_unit_test(secrets_are_masked),
        cmocka_unit_test(failure_leaves_what_was_there),
        cmocka_unit_test(finalizers_may_change_the_value),
        cmocka_unit_test(notes_come_back),
        cmocka_unit_test(no_memory_at_any_point),
        cmocka_unit_test(deepest_value_in_a_coroutine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
