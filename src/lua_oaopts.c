/* Options that all calls of host.openai share. Called by lua_openai.c and lua_oaplain.c; raises for misuse, and
 * must not keep a key where a script could read it. See lua_oaopts.h. */
#include "lua_oaopts.h"

#include "luajson.h"
#include "luasecret.h"
#include "provider.h"
#include "secret.h"
#include "task.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES ((size_t)16384) /* of a URL, a key, a name */

static int raise(lua_State *L, struct ah_error *err)
{
    ah_luax_push_error(L, err);
    return lua_error(L);
}

void ah_lua_oaopts_text(lua_State *L, char **slot, const char *s)
{
    char *copy = s ? strdup(s) : NULL;
    if (s && !copy)
        luaL_error(L, "out of memory");
    free(*slot);
    *slot = copy;
}

/* A key given as text is a secret from here on. */
static void read_key(lua_State *L, int idx, struct ah_lua_oaopts *m)
{
    struct ah_error err = {0};
    int top = lua_gettop(L);
    if (lua_getfield(L, idx, "api_key") != LUA_TNIL) {
        struct ah_buf *key = ah_luax_guard_buf(L, TEXT_BYTES);
        if (ah_luasecret_expand(L, top + 1, key, &err) != 0)
            raise(L, &err);
        if (memchr(ah_buf_str(key), '\0', key->n))
            luaL_error(L, "bad field 'api_key' (it holds a NUL)");
        if (lua_type(L, top + 1) == LUA_TSTRING)
            ah_secret_add(ah_lua_of(L)->core->secrets, "api_key", ah_buf_str(key), key->n);
        ah_lua_oaopts_text(L, &m->api_key, ah_buf_str(key));
        if (key->p)
            explicit_bzero(key->p, key->n);
        lua_closeslot(L, top + 2);
    }
    lua_settop(L, top);
}

/* Checked here, so that a misspelt switch is told where it was written. */
static void read_provider(lua_State *L, int idx, struct ah_lua_oaopts *m)
{
    struct ah_error err = {0};
    struct ah_json v;
    int top = lua_gettop(L);
    if (lua_getfield(L, idx, "provider") != LUA_TNIL) {
        struct ah_provider scratch = *ah_provider_named("other");
        struct ah_buf *json = ah_luax_guard_buf(L, TEXT_BYTES);
        if (ah_luajson_encode(L, top + 1, json, NULL, &err) != 0 ||
            ah_json_check(ah_buf_str(json), json->n, 0, &v, &err) != 0 ||
            ah_provider_set(&scratch, v, &err) != 0)
            luaL_error(L, "bad field 'provider' (%s)", err.message);
        ah_lua_oaopts_text(L, &m->provider, ah_buf_str(json));
        lua_closeslot(L, top + 2);
    }
    lua_settop(L, top);
}

void ah_lua_oaopts_read_call(lua_State *L, int idx, struct ah_lua_oaopts *to)
{
    int top = lua_gettop(L);
    ah_luahttp_limits(L, idx, &to->limits);
    read_provider(L, idx, to);
    const char *name = ah_luax_str(L, idx, "name", NULL);
    if (name)
        ah_lua_oaopts_text(L, &to->name, name);
    lua_settop(L, top);
}

/* (model) -> its row in agent.prices, or nil */
static int l_price_of(lua_State *L)
{
    ah_lua_of(L)->require(L, "agent.prices");
    lua_getfield(L, -1, "of");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

/* What tokens cost: as given, false for unknown; else as the file agent/prices.lua says, if there is one. */
static void read_price(lua_State *L, int idx, struct ah_lua_oaopts *to)
{
    struct ah_error err = {0};
    int top = lua_gettop(L);
    int type = lua_getfield(L, idx, "price");
    if (type == LUA_TNIL && ah_lua_of(L)->require && lua_getfield(L, idx, "model") == LUA_TSTRING) {
        lua_pushcfunction(L, l_price_of);
        lua_insert(L, -2);
        if (lua_pcall(L, 1, 1, 0) != LUA_OK)
            lua_settop(L, top); /* a script without that file, or one of its own */
    } else if (type != LUA_TNIL && type != LUA_TTABLE && (type != LUA_TBOOLEAN || lua_toboolean(L, -1))) {
        luaL_error(L, "bad field 'price' (table or false expected, got %s)", luaL_typename(L, -1));
    }
    if (lua_gettop(L) > top && lua_type(L, -1) == LUA_TTABLE) {
        int row = lua_gettop(L);
        struct ah_buf *json = ah_luax_guard_buf(L, TEXT_BYTES);
        if (ah_luajson_encode(L, row, json, NULL, &err) != 0)
            luaL_error(L, "bad field 'price' (%s)", err.message);
        ah_lua_oaopts_text(L, &to->price, ah_buf_str(json));
    }
    lua_settop(L, top);
}

void ah_lua_oaopts_read(lua_State *L, int idx, struct ah_lua_oaopts *to)
{
    int top = lua_gettop(L);
    const char *base = ah_luax_str(L, idx, "base_url", NULL);
    ah_lua_oaopts_text(L, &to->base_url, base && base[0] ? base : NULL);
    lua_settop(L, top);
    read_key(L, idx, to);
    read_price(L, idx, to);
    ah_lua_oaopts_read_call(L, idx, to);
}

void ah_lua_oaopts_copy(lua_State *L, struct ah_lua_oaopts *to, const struct ah_lua_oaopts *from)
{
    ah_lua_oaopts_text(L, &to->base_url, from->base_url);
    ah_lua_oaopts_text(L, &to->api_key, from->api_key);
    ah_lua_oaopts_text(L, &to->name, from->name);
    ah_lua_oaopts_text(L, &to->provider, from->provider);
    ah_lua_oaopts_text(L, &to->price, from->price);
    to->limits = from->limits;
}

void ah_lua_oaopts_drop(struct ah_lua_oaopts *o)
{
    if (o->api_key)
        explicit_bzero(o->api_key, strlen(o->api_key));
    free(o->base_url);
    free(o->api_key);
    free(o->name);
    free(o->provider);
    free(o->price);
    memset(o, 0, sizeof *o);
}

void ah_lua_oaopts_check(lua_State *L, const struct ah_lua_oaopts *o)
{
    struct ah_error err = {0};
    if (ah_openai_check(ah_lua_of(L)->openai, o->base_url, o->api_key, &err) != 0)
        raise(L, &err);
}

void ah_lua_oaopts_put(lua_State *L, const struct ah_lua_oaopts *o, struct ah_openai_req *req)
{
    req->base_url = o->base_url;
    req->api_key = o->api_key;
    req->provider = o->provider;
    req->price = o->price;
    req->name = o->name;
    req->connect_ms = o->limits.connect_ms;
    req->first_byte_ms = o->limits.first_byte_ms;
    req->idle_ms = o->limits.idle_ms;
    req->total_ms = o->limits.total_ms;
    req->retry = o->limits.retry;
    req->run = ah_task_run(L);
    req->parent = ah_task_span(L);
}
