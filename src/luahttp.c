/* Limits of requests as scripts write them. Called by lua_http.c and lua_openai.c. */
#include "luahttp.h"

#include "limits.h"

#define REPEATS_MAX 100

static void read_timeout(lua_State *L, int idx, struct ah_luahttp_limits *to)
{
    static const char *const names[] = {"connect", "first_byte", "idle", "total", NULL};
    int type = lua_getfield(L, idx, "timeout"), at = lua_gettop(L);
    if (type == LUA_TTABLE) {
        ah_luax_fields(L, at, "timeout", names);
        to->connect_ms = ah_luax_ms(L, at, "connect", to->connect_ms);
        to->first_byte_ms = ah_luax_ms(L, at, "first_byte", to->first_byte_ms);
        to->idle_ms = ah_luax_ms(L, at, "idle", to->idle_ms);
        to->total_ms = ah_luax_ms(L, at, "total", to->total_ms);
    } else if (type == LUA_TNUMBER) {
        to->total_ms = ah_luax_ms(L, idx, "timeout", 0);
    } else if (type != LUA_TNIL) {
        luaL_error(L, "bad field 'timeout' (seconds or a table expected, got %s)", luaL_typename(L, at));
    }
    lua_pop(L, 1);
}

static void read_retry(lua_State *L, int idx, struct ah_luahttp_limits *to)
{
    static const char *const names[] = {"base", "cap", "max", NULL};
    int type = lua_getfield(L, idx, "retry"), at = lua_gettop(L);
    if (type == LUA_TTABLE) {
        ah_luax_fields(L, at, "retry", names);
        int64_t max = ah_luax_int(L, at, "max", AH_RETRY_MAX);
        if (max < 0 || max > REPEATS_MAX)
            luaL_error(L, "bad field 'max' of retry (0 to %d expected)", REPEATS_MAX);
        to->retry.max = max == 0 ? -1 : (int)max;
        to->retry.base_ms = ah_luax_ms(L, at, "base", 0);
        to->retry.cap_ms = ah_luax_ms(L, at, "cap", 0);
    } else if (type == LUA_TBOOLEAN && !lua_toboolean(L, at)) {
        to->retry = (struct ah_http_retry){.max = -1};
    } else if (type != LUA_TNIL) {
        luaL_error(L, "bad field 'retry' (false or a table expected, got %s)", luaL_typename(L, at));
    }
    lua_pop(L, 1);
}

void ah_luahttp_limits(lua_State *L, int idx, struct ah_luahttp_limits *to)
{
    read_timeout(L, idx, to);
    read_retry(L, idx, to);
}
