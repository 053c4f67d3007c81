/* Handles of secrets. A handle is a userdata whose user value is a template: text in which a secret is
 * \1NAME\2. Called by lua_host.c (which makes them) and by bindings that send. Must never give a value
 * to Lua. */
#include "luasecret.h"

#include "config.h"
#include "secret.h"

#include <string.h>

#define SECRET_MT "host.secret"

bool ah_luasecret_is(lua_State *L, int idx)
{
    return luaL_testudata(L, idx, SECRET_MT) != NULL;
}

/* Pushes the template of a handle, or the text of a string or number (control bytes refused). */
static const char *push_template(lua_State *L, int idx, size_t *n)
{
    if (ah_luasecret_is(L, idx)) {
        lua_getiuservalue(L, idx, 1);
        return lua_tolstring(L, -1, n);
    }
    luaL_argexpected(L, lua_type(L, idx) == LUA_TSTRING || lua_type(L, idx) == LUA_TNUMBER, idx,
                     "string or secret");
    lua_pushvalue(L, idx);
    const char *s = lua_tolstring(L, -1, n);
    luaL_argcheck(L, !memchr(s, '\1', *n) && !memchr(s, '\2', *n), idx, "text holds control bytes");
    return s;
}

static void push_handle(lua_State *L) /* takes the template on top */
{
    lua_newuserdatauv(L, 0, 1);
    luaL_setmetatable(L, SECRET_MT);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, 1);
}

void ah_luasecret_push(lua_State *L, const char *name)
{
    lua_pushfstring(L, "\1%s\2", name);
    push_handle(L);
}

static int m_secret_concat(lua_State *L)
{
    size_t n;
    push_template(L, 1, &n);
    push_template(L, 2, &n);
    lua_concat(L, 2);
    push_handle(L);
    return 1;
}

static int m_secret_tostring(lua_State *L)
{
    size_t n;
    const char *s = push_template(L, 1, &n);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '\1')
            luaL_addstring(&b, "[secret:");
        else
            luaL_addchar(&b, s[i] == '\2' ? ']' : s[i]);
    }
    luaL_pushresult(&b);
    return 1;
}

int ah_luasecret_expand(lua_State *L, int idx, struct ah_buf *to, struct ah_error *err)
{
    size_t n;
    struct ah_core *core = ah_lua_of(L)->core;
    const char *s = push_template(L, idx, &n), *end = s + n;
    int rc = 0;
    while (s < end && rc == 0) {
        const char *open = memchr(s, '\1', (size_t)(end - s));
        ah_buf_add(to, s, (size_t)((open ? open : end) - s));
        if (!open)
            break;
        const char *close = memchr(open, '\2', (size_t)(end - open));
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)(close - open - 1), open + 1);
        size_t value_n;
        const char *value = ah_secret_get(core->secrets, name, &value_n);
        if (!value) {
            value = ah_config_get(core->config, name);
            value_n = value ? strlen(value) : 0;
        }
        if (value)
            ah_buf_add(to, value, value_n);
        else
            rc = ah_config_missing(core->config, name, err);
        s = close + 1;
    }
    lua_pop(L, 1);
    if (rc == 0 && to->failed)
        rc = ah_err_set(err, AH_LIMIT, "a value with a secret in it is too long");
    return rc;
}

static const luaL_Reg secret_meta[] = {
    {"__concat", m_secret_concat},
    {"__tostring", m_secret_tostring},
    {NULL, NULL},
};

void ah_luasecret_open(lua_State *L)
{
    luaL_newmetatable(L, SECRET_MT);
    luaL_setfuncs(L, secret_meta, 0);
    lua_pushliteral(L, "locked");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
