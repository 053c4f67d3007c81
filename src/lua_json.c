/* Module host.json: JSON for scripts, in the one meaning of docs/json.md. Required by scripts and by
 * agent.*. Must never mask: a script sees what it made; what is written elsewhere is masked there. */
#include "lua_json.h"

#include "luajson.h"

#define ENCODE_BYTES ((size_t)256 << 20)

static int l_decode(lua_State *L)
{
    static const char *const names[] = {"raw_controls", "unique_keys", NULL};
    size_t n;
    const char *p = luaL_checklstring(L, 1, &n);
    int flags = 0;
    if (!lua_isnoneornil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        ah_luax_fields(L, 2, "json.decode", names);
        if (ah_luax_bool(L, 2, "unique_keys", false))
            flags |= AH_JSON_UNIQUE_KEYS;
        if (ah_luax_bool(L, 2, "raw_controls", false))
            flags |= AH_JSON_RAW_CONTROLS;
    }
    struct ah_json v;
    struct ah_error err = {0};
    if (ah_json_check(p, n, flags, &v, &err) != 0)
        return ah_luax_fail(L, &err);
    ah_luajson_push(L, v); /* the text stays alive: it is argument 1 */
    return 1;
}

static int l_encode(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    struct ah_error err = {0};
    struct ah_buf *b = ah_luax_guard_buf(L, ENCODE_BYTES);
    if (ah_luajson_encode(L, 1, b, NULL, &err) != 0)
        return ah_luax_fail(L, &err);
    lua_pushlstring(L, b->p, b->n);
    return 1;
}

static int l_array(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argcheck(L, !lua_getmetatable(L, 1) || ah_luajson_is_array(L, 1), 1,
                  "table has a metatable already; copy its items into a new one");
    ah_luajson_mark_array(L, 1);
    lua_pushvalue(L, 1);
    return 1;
}

static int l_is_array(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, ah_luajson_is_array(L, 1));
    return 1;
}

static int l_is_null(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, ah_luajson_is_null(L, 1));
    return 1;
}

static const luaL_Reg functions[] = {
    {"array", l_array},       {"array_mt", NULL},     {"decode", l_decode}, {"encode", l_encode},
    {"is_array", l_is_array}, {"is_null", l_is_null}, {"null", NULL},       {NULL, NULL},
};

int luaopen_host_json(lua_State *L)
{
    luaL_newlib(L, functions);
    ah_luajson_push_null(L);
    lua_setfield(L, -2, "null");
    ah_luajson_push_array_mt(L);
    lua_setfield(L, -2, "array_mt");
    return 1;
}
