/* host.schema: values checked against JSON Schemas, schemas made strict. Called by scripts/agent, and by
 * lua_openai.c for answers. No policy: what a fault means is the script's business. */
#include "lua_schema.h"

#include "luajson.h"
#include "luatext.h"
#include "schema.h"
#include "strict.h"

#define TEXT_BYTES ((size_t)32 << 20)
#define FAULTS_BYTES ((size_t)8192)

/* The value at idx as JSON, in a guard that is pushed. Misuse raises. */
static struct ah_json read_value(lua_State *L, int idx, const char *what)
{
    struct ah_error err = {0};
    struct ah_json v;
    struct ah_buf *b = ah_luax_guard_buf(L, TEXT_BYTES);
    if (ah_luajson_encode(L, idx, b, NULL, &err) != 0)
        luaL_error(L, "bad %s (%s)", what, err.message);
    if (ah_json_check(ah_buf_str(b), b->n, 0, &v, &err) != 0)
        luaL_error(L, "bad %s (%s)", what, err.message);
    return v;
}

/* true, or nil and the faults. */
static int push_verdict(lua_State *L, struct ah_json schema, struct ah_json value)
{
    struct ah_buf *faults = ah_luax_guard_buf(L, FAULTS_BYTES);
    if (ah_schema_check(schema, value, faults) == 0) {
        lua_pushboolean(L, true);
        return 1;
    }
    lua_pushnil(L);
    lua_pushlstring(L, ah_buf_str(faults), faults->n);
    return 2;
}

static int l_check(lua_State *L)
{
    struct ah_json schema = ah_luatext_at(L, 1);
    if (schema.type == AH_JSON_NONE)
        luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checkany(L, 2);
    lua_settop(L, 2);
    if (schema.type == AH_JSON_NONE)
        schema = read_value(L, 1, "schema");
    struct ah_json value = read_value(L, 2, "value");
    return push_verdict(L, schema, value);
}

static int l_strict(lua_State *L)
{
    struct ah_error err = {0};
    struct ah_json v;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    struct ah_json schema = read_value(L, 1, "schema");
    struct ah_buf *to = ah_luax_guard_buf(L, TEXT_BYTES);
    if (ah_strict_write(schema, to, &err) != 0 || ah_json_check(ah_buf_str(to), to->n, 0, &v, &err) != 0)
        return ah_luax_fail(L, &err);
    ah_luajson_push(L, v);
    return 1;
}

void ah_lua_schema_read(lua_State *L, struct ah_json schema, const struct ah_buf *text)
{
    struct ah_error err = {0};
    struct ah_json given, value;
    int top = lua_gettop(L);
    struct ah_buf *pruned = ah_luax_guard_buf(L, TEXT_BYTES), *faults = ah_luax_guard_buf(L, FAULTS_BYTES);
    if (ah_json_check(ah_buf_str(text), text->n, AH_JSON_RAW_CONTROLS, &given, &err) != 0)
        ah_buf_addf(faults, "the answer is no JSON: %s", err.message);
    else if (ah_schema_prune(schema, given, pruned) != 0 ||
             ah_json_check(ah_buf_str(pruned), pruned->n, 0, &value, &err) != 0)
        ah_buf_addf(faults, "the answer is too large");
    else
        ah_schema_check(schema, value, faults);
    ah_err_drop(&err);
    if (faults->n) {
        lua_pushnil(L);
        lua_pushlstring(L, faults->p, faults->n);
    } else {
        ah_luajson_push(L, value);
        lua_pushnil(L);
    }
    lua_closeslot(L, top + 2);
    lua_closeslot(L, top + 1);
    lua_replace(L, top + 2);
    lua_replace(L, top + 1);
}

static int l_read(lua_State *L)
{
    size_t n;
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *text = luaL_checklstring(L, 2, &n);
    lua_settop(L, 2);
    struct ah_json schema = read_value(L, 1, "schema");
    struct ah_buf *copy = ah_luax_guard_buf(L, TEXT_BYTES);
    if (ah_buf_add(copy, text, n) != 0)
        return luaL_error(L, "the text is larger than %d bytes", (int)TEXT_BYTES);
    ah_lua_schema_read(L, schema, copy);
    return 2;
}

static const luaL_Reg functions[] = {
    {"check", l_check},
    {"read", l_read},
    {"strict", l_strict},
    {NULL, NULL},
};

int luaopen_host_schema(lua_State *L)
{
    luaL_newlib(L, functions);
    return 1;
}
