/* host.scalekit, the part that is one call each: a function for every row of the table, and an iterator for
 * every list. Called by scripts; added to the module by lua_scalekit.c. Knows no call by name. Secrets go in
 * as handles and come out as handles. */
#include "lua_skrows.h"

#include "lua_scalekit.h"
#include "luajson.h"
#include "luareplay.h"
#include "luasecret.h"
#include "scalekit.h"
#include "skrows.h"
#include "sksecret.h"
#include "task.h"

#include <string.h>

#define PAGE_SIZE 100 /* where the service names no maximum */
#define DEPTH_MAX 64
#define MARK "[secret:"

/* upvalues of a row's function */
enum { ROW = 1, NAMES = 2, TITLE = 3 };
/* upvalues of an iterator */
enum { ARGS = 2, ITEMS = 3, INDEX = 4, TOKEN = 5, SEEN = 6, PAGE = 7 };

static const struct ah_skwire_row *row_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(ROW));
}

/* --- arguments ------------------------------------------------------------------------------------ */

/* Pushes a copy of the value at idx, in which handles are what they stand for. -1: err, nothing pushed. */
static int push_copy(lua_State *L, int idx, int depth, struct ah_error *err)
{
    idx = lua_absindex(L, idx);
    luaL_checkstack(L, 8, "arguments");
    if (depth > DEPTH_MAX)
        luaL_error(L, "arguments are nested too deeply");
    if (ah_luasecret_is(L, idx)) {
        struct ah_buf *text = ah_luax_guard_buf(L, AH_SKWIRE_BODY_BYTES);
        int guard = lua_gettop(L);
        if (ah_luasecret_expand(L, idx, text, err) != 0)
            return -1;
        lua_pushlstring(L, ah_buf_str(text), text->n);
        lua_copy(L, -1, idx); /* below the guard */
        lua_closeslot(L, guard);
        lua_settop(L, guard - 1);
        lua_pushvalue(L, idx);
        return 0;
    }
    if (!lua_istable(L, idx)) {
        lua_pushvalue(L, idx);
        return 0;
    }
    lua_newtable(L);
    int copy = lua_gettop(L);
    if (ah_luajson_is_array(L, idx))
        ah_luajson_mark_array(L, copy);
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2); /* key key value */
        if (push_copy(L, -1, depth + 1, err) != 0)
            return -1;
        lua_remove(L, -2);
        lua_rawset(L, copy);
    }
    return 0;
}

int ah_lua_skrows_copy(lua_State *L, int idx, struct ah_error *err)
{
    return push_copy(L, idx, 0, err);
}

static bool has_field(lua_State *L, int idx, const char *name)
{
    lua_pushstring(L, name);
    bool there = lua_rawget(L, idx) != LUA_TNIL;
    lua_pop(L, 1);
    return there;
}

/* The run's identifier, where the call is about one user and neither it nor an id is given. */
static void add_own(lua_State *L, int idx, const struct ah_skwire_row *row)
{
    for (const struct ah_skwire_field *f = row->fields; f->name; f++) {
        const char *who = f->own ? ah_lua_scalekit_identifier(L) : NULL;
        if (!who || has_field(L, idx, f->name) || has_field(L, idx, "id"))
            continue;
        lua_pushstring(L, who);
        lua_setfield(L, idx, f->name);
    }
}

/* As many on a page as can be had: a list that is cut at ten by default misleads. */
static void add_page_size(lua_State *L, int idx, const struct ah_skwire_row *row)
{
    for (const struct ah_skwire_field *f = row->fields; row->items && f->name; f++)
        if (strcmp(f->name, "page_size") == 0 && !has_field(L, idx, f->name)) {
            lua_pushinteger(L, f->max ? (lua_Integer)f->max : PAGE_SIZE);
            lua_setfield(L, idx, f->name);
        }
}

/* Pushes a guarded buffer with the arguments of the table at 1 as JSON. NULL: err. */
static struct ah_buf *read_args(lua_State *L, const struct ah_skwire_row *row, struct ah_error *err)
{
    lua_settop(L, 1);
    if (row->items && lua_isnil(L, 1)) { /* a list, and nothing is wished for: all of it */
        lua_newtable(L);
        lua_replace(L, 1);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    ah_luax_fields(L, 1, lua_tostring(L, lua_upvalueindex(TITLE)),
                   lua_touserdata(L, lua_upvalueindex(NAMES)));
    if (push_copy(L, 1, 0, err) != 0)
        return NULL;
    add_own(L, 2, row);
    add_page_size(L, 2, row);
    struct ah_buf *args = ah_luax_guard_buf(L, AH_SKWIRE_BODY_BYTES);
    if (ah_luajson_encode(L, 2, args, NULL, err) != 0)
        return NULL;
    if (args->n == 2 && args->p[0] == '[') /* an empty table */
        memcpy(args->p, "{}", 2);
    return args;
}

/* --- answers -------------------------------------------------------------------------------------- */

/* "[secret:NAME]" on top becomes the handle of NAME; anything else stays. */
static void name_secret(lua_State *L)
{
    size_t n, mark = sizeof MARK - 1;
    const char *s = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : NULL;
    if (!s || n <= mark + 1 || memcmp(s, MARK, mark) != 0 || s[n - 1] != ']')
        return;
    lua_pushlstring(L, s + mark, n - mark - 1);
    ah_luasecret_push(L, lua_tostring(L, -1));
    lua_replace(L, -3);
    lua_pop(L, 1);
}

/* The table on top; inside: it belongs to authorization_details. Only there do texts stand for secrets. */
static void name_secrets(lua_State *L, const char *token, bool inside)
{
    int at = lua_gettop(L);
    luaL_checkstack(L, 6, "answer");
    lua_pushnil(L);
    while (lua_next(L, at)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        bool here = inside || strcmp(key, "authorization_details") == 0;
        if (inside && ah_sksecret_is_public(key)) {
            lua_pop(L, 1);
            continue;
        }
        if (lua_istable(L, -1))
            name_secrets(L, token, here);
        else if (inside || (token && strcmp(key, token) == 0))
            name_secret(L);
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, at); /* an existing field: lua_next allows it */
    }
}

static void push_answer(lua_State *L, const struct ah_skwire_row *row, struct ah_json answer)
{
    struct ah_json v = row->gives ? ah_json_get(answer, row->gives) : answer;
    if (v.type == AH_JSON_NONE || v.type == AH_JSON_NULL)
        lua_newtable(L); /* a default value may be left out */
    else
        ah_luajson_push(L, v);
    if (lua_istable(L, -1))
        name_secrets(L, row->secret, false);
}

void ah_lua_skrows_push(lua_State *L, struct ah_json v)
{
    ah_luajson_push(L, v);
    if (lua_istable(L, -1))
        name_secrets(L, NULL, false);
}

static int k_row(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct ah_scalekit_op *op = (struct ah_scalekit_op *)ah_task_op(L, (int)idx);
    struct ah_error err = {0};
    if (!op->op.done)
        return ah_task_await(L, (int)idx, k_row);
    if (op->op.err.kind != AH_NONE) {
        ah_err_copy(&err, &op->op.err);
        return ah_luax_fail(L, &err);
    }
    push_answer(L, row_of(L), op->answer);
    return 1;
}

static struct ah_scalekit_op *start_call(lua_State *L, const struct ah_skwire_row *row, const char *args,
                                         size_t n, struct ah_error *err)
{
    struct ah_scalekit_who who = {
        .run = ah_task_run(L), .span = ah_task_span(L), .call = ah_luareplay_number(L)};
    return ah_scalekit_call(ah_lua_scalekit_service(L), &who, row->name, args, n, false, err);
}

static int l_row(lua_State *L)
{
    const struct ah_skwire_row *row = row_of(L);
    struct ah_error err = {0};
    ah_task_check(L, lua_tostring(L, lua_upvalueindex(TITLE)));
    struct ah_buf *args = read_args(L, row, &err);
    struct ah_scalekit_op *op = args ? start_call(L, row, args->p, args->n, &err) : NULL;
    if (!op)
        return ah_luax_fail(L, &err);
    return k_row(L, LUA_OK, ah_task_push_op(L, &op->op));
}

/* --- lists, page by page ---------------------------------------------------------------------------- */

/* An iterator has no other way to say what went wrong. */
static int raise(lua_State *L, struct ah_error *err)
{
    ah_luax_push_error(L, err);
    return lua_error(L);
}

/* The arguments at 1 with the token of the next page at 2. */
static struct ah_scalekit_op *ask_page(lua_State *L, struct ah_error *err)
{
    size_t n, token_n;
    const char *args = luaL_checklstring(L, 1, &n);
    const char *token = lua_tolstring(L, 2, &token_n);
    if (!token)
        return start_call(L, row_of(L), args, n, err);
    struct ah_buf *b = ah_luax_guard_buf(L, AH_SKWIRE_BODY_BYTES);
    ah_buf_add(b, args, n - 1);
    ah_buf_adds(b, n > 2 ? ",\"page_token\":" : "\"page_token\":");
    ah_json_quote(b, token, token_n);
    ah_buf_addc(b, '}');
    return start_call(L, row_of(L), ah_buf_str(b), b->n, err);
}

static int k_page(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct ah_scalekit_op *op = (struct ah_scalekit_op *)ah_task_op(L, (int)idx);
    struct ah_error err = {0};
    if (!op->op.done)
        return ah_task_await(L, (int)idx, k_page);
    if (op->op.err.kind != AH_NONE) {
        ah_err_copy(&err, &op->op.err);
        return ah_luax_fail(L, &err);
    }
    struct ah_json items = ah_json_get(op->answer, row_of(L)->items);
    struct ah_json token = ah_json_get(op->answer, "next_page_token");
    if (items.type == AH_JSON_ARRAY)
        ah_luajson_push(L, items);
    else
        lua_newtable(L);
    if (token.type == AH_JSON_STRING && token.n > 2)
        ah_luajson_push(L, token);
    else
        lua_pushboolean(L, false); /* this was the last */
    return 2;
}

/* (arguments, token or nil): the items and the next token. This is what a run notes of a list: a resumed one walks
 * over the same pages, and asks for the page behind them. */
static int l_page(lua_State *L)
{
    struct ah_error err = {0};
    struct ah_scalekit_op *op = ask_page(L, &err);
    if (!op)
        return ah_luax_fail(L, &err);
    return k_page(L, LUA_OK, ah_task_push_op(L, &op->op));
}

/* What l_page gave: items and token, or nil and an error. */
static void take_page(lua_State *L)
{
    const struct ah_skwire_row *row = row_of(L);
    struct ah_error err = {0};
    if (lua_isnil(L, 1))
        lua_error(L);
    lua_pushvalue(L, 1);
    lua_replace(L, lua_upvalueindex(ITEMS));
    lua_pushinteger(L, 0);
    lua_replace(L, lua_upvalueindex(INDEX));
    lua_pushvalue(L, 2);
    lua_replace(L, lua_upvalueindex(TOKEN));
    if (lua_rawget(L, lua_upvalueindex(SEEN)) != LUA_TNIL) {
        ah_err_set(&err, AH_PROTOCOL,
                   "cannot %s: Scalekit gave the same page token twice, so the list would never end",
                   row->does);
        raise(L, &err);
    }
    if (lua_type(L, lua_upvalueindex(TOKEN)) == LUA_TSTRING) {
        lua_pushvalue(L, lua_upvalueindex(TOKEN));
        lua_pushboolean(L, true);
        lua_rawset(L, lua_upvalueindex(SEEN));
    }
    lua_settop(L, 0);
}

static int k_next(lua_State *L, int status, lua_KContext ctx);

/* The next item, or a wait for the next page. */
static int step(lua_State *L)
{
    for (;;) {
        lua_Integer at = lua_tointeger(L, lua_upvalueindex(INDEX)) + 1;
        if (lua_rawgeti(L, lua_upvalueindex(ITEMS), at) != LUA_TNIL) {
            lua_pushinteger(L, at);
            lua_replace(L, lua_upvalueindex(INDEX));
            return 1;
        }
        if (lua_type(L, lua_upvalueindex(TOKEN)) == LUA_TBOOLEAN)
            return 1; /* nil */
        lua_settop(L, 0);
        lua_pushvalue(L, lua_upvalueindex(PAGE));
        lua_pushvalue(L, lua_upvalueindex(ARGS));
        lua_pushvalue(L, lua_upvalueindex(TOKEN));
        lua_callk(L, 2, 2, 0, k_next);
        take_page(L);
    }
}

static int k_next(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    take_page(L);
    return step(L);
}

static int l_next(lua_State *L)
{
    ah_task_check(L, row_of(L)->iterates);
    lua_settop(L, 0);
    return step(L);
}

static int l_iterate(lua_State *L)
{
    const struct ah_skwire_row *row = row_of(L);
    struct ah_error err = {0};
    struct ah_buf *args = read_args(L, row, &err);
    if (!args)
        return raise(L, &err);
    lua_pushvalue(L, lua_upvalueindex(ROW));
    lua_pushlstring(L, args->p, args->n);
    lua_newtable(L);
    lua_pushinteger(L, 0);
    lua_pushnil(L);
    lua_newtable(L);
    lua_pushvalue(L, lua_upvalueindex(ROW));
    lua_pushcclosure(L, l_page, ROW);
    ah_luareplay_call(L, row->iterates);
    lua_pushcclosure(L, l_next, PAGE);
    return 1;
}

/* --- the functions ------------------------------------------------------------------------------------ */

/* The names of a row's arguments, as ah_luax_fields wants them. */
static void push_names(lua_State *L, const struct ah_skwire_row *row)
{
    size_t n = 0;
    while (row->fields[n].name)
        n++;
    const char **names = lua_newuserdatauv(L, (n + 1) * sizeof *names, 0);
    for (size_t i = 0; i <= n; i++)
        names[i] = row->fields[i].name;
}

static void add_function(lua_State *L, const struct ah_skwire_row *row, const char *name, lua_CFunction f)
{
    union {
        const struct ah_skwire_row *row;
        void *p;
    } light = {row}; /* a light userdata is no pointer to const */
    lua_pushlightuserdata(L, light.p);
    push_names(L, row);
    lua_pushfstring(L, "scalekit.%s", name);
    lua_pushcclosure(L, f, TITLE);
    if (f == l_row) {
        lua_pushfstring(L, "scalekit.%s", name);
        lua_insert(L, -2);
        ah_luareplay_call(L, lua_tostring(L, -2));
        lua_remove(L, -2);
    }
    lua_setfield(L, -2, name);
}

void ah_lua_skrows_add(lua_State *L)
{
    for (const struct ah_skwire_row *row = ah_skrows_all(); row->name; row++) {
        if (!row->special)
            add_function(L, row, row->name, l_row);
        if (row->iterates)
            add_function(L, row, row->iterates, l_iterate);
    }
}
