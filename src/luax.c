/* Lua mechanics shared by all bindings: objects that are valid before anything can fail, guards,
 * error tables, option tables. Called by layers 4 to 6. Must not wait and must not know a service. */
#include "luax.h"

#include "luajson.h"
#include "near.h"
#include "secret.h"

#include <lualib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BUF_MT "ah.buf"
#define GUARD_MT "ah.guard"
#define ERROR_MT "ah.error"
#define FIELDS_MAX 64

/* --- objects ------------------------------------------------------------------------------------ */

void *ah_luax_new(lua_State *L, size_t size, int uservalues, const char *mt)
{
    void *p = lua_newuserdatauv(L, size, uservalues);
    memset(p, 0, size);
    luaL_setmetatable(L, mt);
    return p;
}

/* The metatable goes into the registry last: one that memory left half-made must never be found there. */
void ah_luax_class(lua_State *L, const char *mt, const luaL_Reg *methods, lua_CFunction release)
{
    if (luaL_getmetatable(L, mt) == LUA_TNIL) {
        lua_createtable(L, 0, 5);
        lua_pushstring(L, mt);
        lua_setfield(L, -2, "__name");
        if (release) {
            lua_pushcfunction(L, release);
            lua_setfield(L, -2, "__gc");
            lua_pushcfunction(L, release);
            lua_setfield(L, -2, "__close");
        }
        lua_newtable(L);
        if (methods)
            luaL_setfuncs(L, methods, 0);
        lua_setfield(L, -2, "__index");
        lua_pushliteral(L, "locked"); /* getmetatable of scripts answers this */
        lua_setfield(L, -2, "__metatable");
        lua_setfield(L, LUA_REGISTRYINDEX, mt);
    }
    lua_pop(L, 1);
}

static int m_buf_release(lua_State *L)
{
    ah_buf_drop(luaL_checkudata(L, 1, BUF_MT));
    return 0;
}

struct ah_buf *ah_luax_guard_buf(lua_State *L, size_t max)
{
    ah_luax_class(L, BUF_MT, NULL, m_buf_release);
    struct ah_buf *b = ah_luax_new(L, sizeof *b, 0, BUF_MT);
    ah_buf_init(b, max);
    lua_toclose(L, -1);
    return b;
}

struct guard {
    void *slot;
    void (*release)(void *);
};

static int m_guard_release(lua_State *L)
{
    struct guard *g = luaL_checkudata(L, 1, GUARD_MT);
    void *p = g->slot;
    g->slot = NULL;
    if (p)
        g->release(p);
    return 0;
}

static int new_guard(lua_State *L)
{
    ah_luax_class(L, GUARD_MT, NULL, m_guard_release);
    ah_luax_new(L, sizeof(struct guard), 0, GUARD_MT);
    return 1;
}

void **ah_luax_guard(lua_State *L, void (*release)(void *))
{
    new_guard(L);
    struct guard *g = lua_touserdata(L, -1);
    g->release = release;
    lua_toclose(L, -1);
    return &g->slot;
}

/* The same for what is on the heap already: it is released also when there is no memory for the guard. */
static void guard_now(lua_State *L, void (*release)(void *), void *p)
{
    lua_pushcfunction(L, new_guard);
    if (lua_pcall(L, 0, 1, 0) != LUA_OK) {
        release(p);
        lua_error(L);
    }
    *(struct guard *)lua_touserdata(L, -1) = (struct guard){.slot = p, .release = release};
    lua_toclose(L, -1);
}

/* --- errors ------------------------------------------------------------------------------------- */

static int m_error_tostring(lua_State *L)
{
    lua_getfield(L, 1, "message");
    if (!lua_isstring(L, -1))
        lua_pushliteral(L, "error without a message");
    return 1;
}

static int m_error_concat(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    luaL_tolstring(L, 2, NULL);
    lua_concat(L, 2);
    return 1;
}

static const luaL_Reg error_meta[] = {
    {"__concat", m_error_concat},
    {"__tostring", m_error_tostring},
    {NULL, NULL},
};

static void push_detail(lua_State *L, const char *detail)
{
    struct ah_json object;
    if (!detail || ah_json_check(detail, strlen(detail), 0, &object, NULL) != 0)
        return;
    for (struct ah_json_iter it = ah_json_iter(object); ah_json_next(&it);) {
        ah_luajson_push(L, it.key);
        ah_luajson_push(L, it.value);
        lua_rawset(L, -3);
    }
}

static void set_int(lua_State *L, const char *name, int64_t v)
{
    lua_pushinteger(L, v);
    lua_setfield(L, -2, name);
}

static void set_str(lua_State *L, const char *name, const char *v)
{
    if (v[0]) {
        lua_pushstring(L, v);
        lua_setfield(L, -2, name);
    }
}

void ah_luax_error_class(lua_State *L)
{
    if (luaL_getmetatable(L, ERROR_MT) != LUA_TNIL)
        return;
    lua_pop(L, 1);
    luaL_newlib(L, error_meta);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, ERROR_MT);
}

void ah_luax_push_error(lua_State *L, struct ah_error *err)
{
    struct ah_lua *lua = ah_lua_of(L);
    if (lua && lua->core)
        ah_secret_mask_str(lua->core->secrets, err->message, sizeof err->message);
    char *detail = err->detail;
    err->detail = NULL;
    guard_now(L, free, detail); /* a raise leaves this frame: what is on the heap is owned by L */
    int guard_at = lua_gettop(L);
    lua_newtable(L);
    ah_luax_error_class(L);
    lua_setmetatable(L, -2);
    push_detail(L, detail);
    set_str(L, "kind", ah_err_kind_name(err->kind));
    set_str(L, "message", err->message);
    set_str(L, "code", err->code);
    set_str(L, "request_id", err->request_id);
    if (err->status)
        set_int(L, "status", err->status);
    if (err->attempts)
        set_int(L, "attempts", err->attempts);
    if (err->waited_ms) {
        lua_pushnumber(L, (double)err->waited_ms / 1000);
        lua_setfield(L, -2, "waited");
    }
    if (err->retry_after_ms) {
        lua_pushnumber(L, (double)err->retry_after_ms / 1000);
        lua_setfield(L, -2, "retry_after");
    }
    lua_pushboolean(L, err->retryable);
    lua_setfield(L, -2, "retryable");
    lua_closeslot(L, guard_at);
    lua_replace(L, guard_at);
    ah_err_drop(err);
}

int ah_luax_fail(lua_State *L, struct ah_error *err)
{
    lua_pushnil(L);
    ah_luax_push_error(L, err);
    return 2;
}

static void copy_field(lua_State *L, int idx, const char *name, char *out, size_t size)
{
    lua_pushstring(L, name);
    if (lua_rawget(L, idx) == LUA_TSTRING) {
        const char *s = lua_tostring(L, -1);
        size_t n = strlen(s);
        if (n >= size)
            n = size - 1;
        memcpy(out, s, n);
        out[n] = '\0';
    }
    lua_pop(L, 1);
}

static int64_t int_field(lua_State *L, int idx, const char *name)
{
    lua_pushstring(L, name);
    lua_rawget(L, idx);
    int64_t v = lua_tointeger(L, -1);
    lua_pop(L, 1);
    return v;
}

/* Runs protected. Stack: 1 the value, 2 struct ah_error *. */
static int read_error(lua_State *L)
{
    struct ah_error *err = lua_touserdata(L, 2);
    if (lua_istable(L, 1)) {
        char kind[32] = "", message[sizeof err->message] = "";
        copy_field(L, 1, "kind", kind, sizeof kind);
        copy_field(L, 1, "message", message, sizeof message);
        enum ah_kind k = ah_err_kind_of(kind);
        if (k != AH_NONE) {
            ah_err_set(err, k, "%s", message);
            copy_field(L, 1, "code", err->code, sizeof err->code);
            copy_field(L, 1, "request_id", err->request_id, sizeof err->request_id);
            err->status = (int)int_field(L, 1, "status");
            char link[2048] = "";
            copy_field(L, 1, "link", link, sizeof link);
            if (link[0] && !strstr(err->message, link)) {
                size_t n = strlen(err->message);
                snprintf(err->message + n, sizeof err->message - n, ": %s", link);
            }
            return 0;
        }
        if (message[0] && luaL_getmetafield(L, 1, "__tostring") == LUA_TNIL) {
            ah_err_set(err, AH_SCRIPT, "%s", message); /* else it would read "table: 0x..." */
            return 0;
        }
    }
    int type = lua_type(L, 1);
    if (type != LUA_TSTRING && type != LUA_TNUMBER && luaL_getmetafield(L, 1, "__tostring") == LUA_TNIL)
        ah_err_set(err, AH_SCRIPT, "the script raised a %s; raise a text, or a table with a field message",
                   luaL_typename(L, 1)); /* its address would say nothing */
    else
        ah_err_set(err, AH_SCRIPT, "%s", luaL_tolstring(L, 1, NULL));
    return 0;
}

void ah_luax_to_error(lua_State *L, int idx, struct ah_error *err)
{
    idx = lua_absindex(L, idx);
    if (!lua_checkstack(L, 4)) {
        ah_err_set(err, AH_MEMORY, "out of memory");
        return;
    }
    lua_pushcfunction(L, read_error);
    lua_pushvalue(L, idx);
    lua_pushlightuserdata(L, err);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        lua_pop(L, 1);
        ah_err_set(err, AH_SCRIPT, "the script failed, and its error value could not be read");
    }
}

/* --- options tables ----------------------------------------------------------------------------- */

static _Noreturn void bad_field(lua_State *L, const char *field, const char *wanted)
{
    luaL_error(L, "bad field '%s' (%s expected, got %s)", field, wanted, luaL_typename(L, -1));
    abort(); /* not reached: luaL_error does not return */
}

const char *ah_luax_str(lua_State *L, int idx, const char *field, const char *otherwise)
{
    int type = lua_getfield(L, idx, field);
    if (type == LUA_TNIL)
        return otherwise;
    if (type != LUA_TSTRING)
        bad_field(L, field, "string");
    return lua_tostring(L, -1);
}

const char *ah_luax_need_str(lua_State *L, int idx, const char *field)
{
    const char *s = ah_luax_str(L, idx, field, NULL);
    if (!s)
        bad_field(L, field, "string");
    return s;
}

int64_t ah_luax_int(lua_State *L, int idx, const char *field, int64_t otherwise)
{
    int64_t v = otherwise;
    if (lua_getfield(L, idx, field) != LUA_TNIL) {
        int ok;
        v = lua_tointegerx(L, -1, &ok);
        if (!ok || lua_type(L, -1) != LUA_TNUMBER)
            bad_field(L, field, "integer");
    }
    lua_pop(L, 1);
    return v;
}

double ah_luax_num(lua_State *L, int idx, const char *field, double otherwise)
{
    double v = otherwise;
    if (lua_getfield(L, idx, field) != LUA_TNIL) {
        if (lua_type(L, -1) != LUA_TNUMBER)
            bad_field(L, field, "number");
        v = lua_tonumber(L, -1);
    }
    lua_pop(L, 1);
    return v;
}

bool ah_luax_bool(lua_State *L, int idx, const char *field, bool otherwise)
{
    bool v = otherwise;
    if (lua_getfield(L, idx, field) != LUA_TNIL) {
        if (!lua_isboolean(L, -1))
            bad_field(L, field, "boolean");
        v = lua_toboolean(L, -1);
    }
    lua_pop(L, 1);
    return v;
}

int64_t ah_luax_ms(lua_State *L, int idx, const char *field, int64_t otherwise_ms)
{
    if (lua_getfield(L, idx, field) == LUA_TNIL) {
        lua_pop(L, 1);
        return otherwise_ms;
    }
    lua_pop(L, 1);
    double seconds = ah_luax_num(L, idx, field, 0);
    if (!(seconds > 0 && seconds <= 1e9))
        luaL_error(L, "bad field '%s' (seconds above 0 expected)", field);
    double ms = ceil(seconds * 1000);
    return (int64_t)ms;
}

void ah_luax_fields(lua_State *L, int idx, const char *what, const char *const *names)
{
    idx = lua_absindex(L, idx);
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            continue;
        const char *key = lua_tostring(L, -1);
        bool known = false;
        for (size_t i = 0; names[i] && !known; i++)
            known = strcmp(names[i], key) == 0;
        if (known)
            continue;
        const char *near = ah_near_best(key, names);
        if (near)
            luaL_error(L, "unknown field '%s' in %s (did you mean '%s'?)", key, what, near);
        luaL_error(L, "unknown field '%s' in %s", key, what);
    }
}
