/* Requests as scripts write them, and answers as they read them. Called by lua_http.c, lua_scalekit.c and
 * lua_openai.c. Must never let a secret into anything but what is sent. */
#include "luahttp.h"

#include "limits.h"
#include "luajson.h"
#include "luasecret.h"
#include "url.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define RESPONSE_MT "host.http.response"

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

/* --- requests ------------------------------------------------------------------------------------- */

void ah_luahttp_free_draft(void *p)
{
    struct ah_luahttp_draft *d = p;
    ah_buf_drop(&d->url);
    ah_buf_drop(&d->body);
    ah_buf_drop(&d->text);
    free(d);
}

void **ah_luahttp_push_draft(lua_State *L)
{
    void **slot = ah_luax_guard(L, ah_luahttp_free_draft);
    struct ah_luahttp_draft *d = calloc(1, sizeof *d);
    if (!d)
        luaL_error(L, "out of memory");
    ah_buf_init(&d->url, AH_LUAHTTP_URL_BYTES);
    ah_buf_init(&d->body, AH_SERVER_BODY_BYTES);
    ah_buf_init(&d->text, 4 * AH_HTTP_HEADER_BYTES);
    *slot = d;
    return slot;
}

/* The value on top of the stack. */
static int add_header(lua_State *L, struct ah_luahttp_draft *d, const char *name, struct ah_error *err)
{
    if (d->header_count >= AH_LUAHTTP_HEADERS_MAX)
        return ah_err_set(err, AH_LIMIT, "more than %d request headers", AH_LUAHTTP_HEADERS_MAX);
    d->offsets[2 * d->header_count] = d->text.n;
    ah_buf_add(&d->text, name, strlen(name) + 1);
    d->offsets[2 * d->header_count + 1] = d->text.n;
    d->secret |= ah_luasecret_is(L, lua_gettop(L));
    if (ah_luasecret_expand(L, lua_gettop(L), &d->text, err) != 0)
        return -1;
    ah_buf_addc(&d->text, '\0');
    d->header_count++;
    if (strcasecmp(name, "content-type") == 0)
        d->typed = true;
    return d->text.failed ? ah_err_set(err, AH_LIMIT, "the request's headers are too large") : 0;
}

int ah_luahttp_read_headers(lua_State *L, int idx, struct ah_luahttp_draft *d, struct ah_error *err)
{
    if (lua_getfield(L, idx, "headers") == LUA_TNIL) {
        lua_pop(L, 1);
        return 0;
    }
    luaL_checktype(L, -1, LUA_TTABLE);
    int at = lua_gettop(L), rc = 0;
    lua_pushnil(L);
    while (rc == 0 && lua_next(L, at)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "header names must be strings");
        const char *name = lua_tostring(L, -2);
        if (lua_istable(L, -1)) {
            size_t n = lua_rawlen(L, -1);
            for (size_t i = 1; i <= n && rc == 0; i++) {
                lua_rawgeti(L, -1, (lua_Integer)i);
                rc = add_header(L, d, name, err);
                lua_pop(L, 1);
            }
        } else {
            rc = add_header(L, d, name, err);
        }
        lua_pop(L, 1);
    }
    lua_settop(L, at - 1);
    return rc;
}

/* Pushes an array of the keys of the table at idx, sorted: what we send does not depend on hash order. */
static lua_Integer push_sorted_keys(lua_State *L, int idx)
{
    lua_Integer count = 0;
    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "names in query and form must be strings");
        lua_pushvalue(L, -1);
        lua_rawseti(L, -3, ++count);
    }
    lua_getglobal(L, "table");
    lua_getfield(L, -1, "sort");
    lua_pushvalue(L, -3);
    lua_call(L, 1, 0);
    lua_pop(L, 1);
    return count;
}

/* One k=v; the value is on top of the stack and stays there. */
static int add_pair(lua_State *L, struct ah_luahttp_draft *d, bool form, const char *key,
                    struct ah_buf *value, struct ah_error *err)
{
    if (lua_isboolean(L, -1)) {
        lua_pushstring(L, lua_toboolean(L, -1) ? "true" : "false");
        lua_replace(L, -2);
    }
    d->secret |= ah_luasecret_is(L, lua_gettop(L));
    ah_buf_clear(value);
    if (ah_luasecret_expand(L, lua_gettop(L), value, err) != 0)
        return -1;
    if (!form)
        return ah_url_add_query(&d->url, key, ah_buf_str(value), value->n);
    if (d->body.n)
        ah_buf_addc(&d->body, '&');
    ah_url_encode(key, strlen(key), &d->body);
    ah_buf_addc(&d->body, '=');
    return ah_url_encode(ah_buf_str(value), value->n, &d->body);
}

/* Appends the pairs of the table on top to the URL or to a form body; a list gives one pair for each
 * element. Pops the table. */
static int add_pairs(lua_State *L, struct ah_luahttp_draft *d, bool form, struct ah_error *err)
{
    int at = lua_gettop(L), rc = 0;
    lua_Integer count = push_sorted_keys(L, at);
    struct ah_buf *value = ah_luax_guard_buf(L, AH_LUAHTTP_URL_BYTES);
    int top = lua_gettop(L);
    for (lua_Integer i = 1; i <= count && rc == 0; i++) {
        lua_rawgeti(L, at + 1, i);
        const char *key = lua_tostring(L, -1);
        lua_pushvalue(L, -1);
        if (lua_rawget(L, at) == LUA_TTABLE) {
            lua_Integer many = (lua_Integer)lua_rawlen(L, -1);
            for (lua_Integer k = 1; k <= many && rc == 0; k++) {
                lua_rawgeti(L, -1, k);
                rc = add_pair(L, d, form, key, value, err);
                lua_pop(L, 1);
            }
        } else {
            rc = add_pair(L, d, form, key, value, err);
        }
        lua_settop(L, top);
    }
    lua_settop(L, at - 1);
    return rc;
}

static int set_type(lua_State *L, struct ah_luahttp_draft *d, const char *type, struct ah_error *err)
{
    if (d->typed)
        return 0;
    lua_pushstring(L, type);
    int rc = add_header(L, d, "Content-Type", err);
    lua_pop(L, 1);
    return rc;
}

int ah_luahttp_read_query(lua_State *L, int idx, struct ah_luahttp_draft *d, struct ah_error *err)
{
    if (lua_getfield(L, idx, "query") == LUA_TNIL) {
        lua_pop(L, 1);
        return 0;
    }
    luaL_checktype(L, -1, LUA_TTABLE);
    return add_pairs(L, d, false, err);
}

int ah_luahttp_read_body(lua_State *L, int idx, struct ah_luahttp_draft *d, struct ah_error *err)
{
    int given = 0, rc = 0;
    if (lua_getfield(L, idx, "body") != LUA_TNIL) {
        size_t n;
        const char *s = luaL_checklstring(L, -1, &n);
        ah_buf_add(&d->body, s, n);
        given++;
    }
    if (lua_getfield(L, idx, "json") != LUA_TNIL) {
        if (ah_luajson_encode(L, -1, &d->body, NULL, err) != 0)
            return -1;
        rc = set_type(L, d, "application/json", err);
        given++;
    }
    if (rc == 0 && lua_getfield(L, idx, "form") != LUA_TNIL) {
        luaL_checktype(L, -1, LUA_TTABLE);
        rc = add_pairs(L, d, true, err);
        lua_pushnil(L); /* add_pairs popped the table */
        if (rc == 0)
            rc = set_type(L, d, "application/x-www-form-urlencoded", err);
        given++;
    }
    if (given > 1)
        luaL_error(L, "give one of body, json and form");
    d->has_body = given > 0;
    if (rc == 0 && d->body.failed)
        rc = ah_err_set(err, AH_LIMIT, "the request's body is too large");
    return rc;
}

int ah_luahttp_end_draft(struct ah_luahttp_draft *d, struct ah_error *err)
{
    if (d->url.failed)
        return ah_err_set(err, AH_LIMIT, "the URL is too long");
    for (size_t i = 0; i < d->header_count; i++)
        d->headers[i] =
            (struct ah_http_header){d->text.p + d->offsets[2 * i], d->text.p + d->offsets[2 * i + 1]};
    return 0;
}

/* --- answers -------------------------------------------------------------------------------------- */

void ah_luahttp_push_headers(lua_State *L, const struct ah_http_res *res)
{
    lua_newtable(L);
    for (const char *line = ah_buf_str(&res->headers); *line;) {
        const char *end = strchr(line, '\n'), *colon = strchr(line, ':');
        size_t n = end ? (size_t)(end - line) : strlen(line);
        if (colon && (size_t)(colon - line) + 2 <= n) {
            lua_pushlstring(L, line, (size_t)(colon - line));
            lua_pushvalue(L, -1);
            bool again = lua_rawget(L, -3) == LUA_TSTRING;
            if (again)
                lua_pushliteral(L, ", ");
            else
                lua_pop(L, 1);
            lua_pushlstring(L, colon + 2, n - (size_t)(colon - line) - 2);
            if (again)
                lua_concat(L, 3);
            lua_rawset(L, -3);
        }
        line += n + (end != NULL);
    }
}

void ah_luahttp_set_answer(lua_State *L, const struct ah_http_res *res)
{
    char id[128];
    lua_pushinteger(L, res->status);
    lua_setfield(L, -2, "status");
    ah_luahttp_push_headers(L, res);
    lua_setfield(L, -2, "headers");
    lua_pushinteger(L, res->attempts);
    lua_setfield(L, -2, "attempts");
    lua_pushnumber(L, (double)res->waited_ms / 1000);
    lua_setfield(L, -2, "waited");
    if (ah_http_request_id(res, id, sizeof id)[0]) {
        lua_pushstring(L, id);
        lua_setfield(L, -2, "request_id");
    }
}

static int l_response_json(lua_State *L)
{
    size_t n;
    struct ah_json v;
    struct ah_error err = {0};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "body");
    const char *s = luaL_checklstring(L, -1, &n);
    if (ah_json_check(s, n, 0, &v, &err) != 0)
        return ah_luax_fail(L, &err);
    ah_luajson_push(L, v);
    return 1;
}

static const luaL_Reg response_methods[] = {
    {"json", l_response_json},
    {NULL, NULL},
};

void ah_luahttp_open(lua_State *L)
{
    ah_luax_class(L, RESPONSE_MT, response_methods, NULL);
}

void ah_luahttp_push_answer(lua_State *L, const struct ah_http_res *res)
{
    lua_newtable(L);
    ah_luahttp_set_answer(L, res);
    lua_pushlstring(L, ah_buf_str(&res->body), res->body.n);
    lua_setfield(L, -2, "body");
    luaL_setmetatable(L, RESPONSE_MT);
}
