/* Lua values as JSON, whatever they are. Called by lua_trace.c. Must end for every value, also one that holds itself
 * many times, and must never make a script fail because it is traced. */
#include "lualossy.h"

#include "hash.h"
#include "json.h"
#include "lscut.h"
#include "luajson.h"

#include <stdio.h>

#define SHOWN_LEVELS                                                                                         \
    100 /* as JSON; the span's own members are around them, and AH_JSON_DEPTH is all there may be */
#define TEXT_LEVELS 1000 /* with those inside the text; each takes some of the C stack */
#define CUT_CHARACTERS 1000

/* The tables that a value is in. */
struct level {
    const struct level *above;
    const void *table;
    int n;
};

struct walk {
    struct ah_buf *to;
    size_t longest;
};

static int l_text_of(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    return 1;
}

/* tostring, or the type's name when that fails. */
static void put_text_of(lua_State *L, int idx, struct ah_buf *to)
{
    size_t n;
    lua_pushcfunction(L, l_text_of);
    lua_pushvalue(L, idx);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK || lua_type(L, -1) != LUA_TSTRING) {
        lua_pop(L, 1);
        lua_pushstring(L, luaL_typename(L, idx));
    }
    const char *p = lua_tolstring(L, -1, &n);
    ah_json_quote(to, p, n);
    lua_pop(L, 1);
}

static void put_any(lua_State *L, int idx, const struct walk *w, const struct level *above);

/* Whether all keys are 1 to `length`; holes are null then. */
static bool is_list(lua_State *L, int idx, lua_Integer length)
{
    if (ah_luajson_is_array(L, idx))
        return true;
    if (length == 0)
        return false;
    bool list = true;
    lua_pushnil(L);
    while (list && lua_next(L, idx)) {
        lua_Integer i = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
        list = i >= 1 && i <= length;
        lua_pop(L, list ? 1 : 2);
    }
    return list;
}

static void put_members(lua_State *L, int idx, const struct walk *w, const struct level *own)
{
    char before = '{';
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        int top = lua_gettop(L);
        ah_buf_addc(w->to, before);
        before = ',';
        put_text_of(L, top - 1, w->to);
        ah_buf_addc(w->to, ':');
        put_any(L, top, w, own);
        lua_pop(L, 1);
        if (w->to->failed) {
            lua_pop(L, 1);
            return;
        }
    }
    ah_buf_adds(w->to, before == '{' ? "{}" : "}");
}

static void put_table(lua_State *L, int idx, const struct walk *w, const struct level *own)
{
    lua_Integer length = (lua_Integer)lua_rawlen(L, idx);
    if (!is_list(L, idx, length)) {
        put_members(L, idx, w, own);
        return;
    }
    ah_buf_addc(w->to, '[');
    for (lua_Integer i = 1; i <= length && !w->to->failed; i++) {
        ah_buf_adds(w->to, i > 1 ? "," : "");
        lua_rawgeti(L, idx, i);
        put_any(L, lua_gettop(L), w, own);
        lua_pop(L, 1);
    }
    ah_buf_addc(w->to, ']');
}

/* What is too deep for JSON: its JSON as a text, so that nothing of it is lost. */
static void put_deep(lua_State *L, int idx, const struct walk *w, const struct level *own)
{
    struct ah_buf text, *to = w->to;
    char hex[AH_HASH_HEX_BYTES] = "";
    size_t start = to->n;
    put_table(L, idx, w, own);
    if (to->failed)
        return;
    ah_hash_sha256_hex(to->p + start, to->n - start, hex);
    ah_buf_init(&text, to->max); /* nothing here can raise */
    ah_buf_addf(&text, "[deeper than %d levels: %zu bytes, sha256 %s] ", SHOWN_LEVELS, to->n - start, hex);
    ah_buf_add(&text, to->p + start, to->n - start);
    to->n = start;
    if (text.failed)
        to->failed = true;
    else
        ah_json_quote(to, text.p, text.n);
    ah_buf_drop(&text);
}

static void put_note(struct ah_buf *to, const char *format, int levels)
{
    ah_buf_addc(to, '"');
    ah_buf_addf(to, format, levels);
    ah_buf_addc(to, '"');
}

static void put_inner(lua_State *L, int idx, const struct walk *w, const struct level *above)
{
    struct level own = {.above = above, .table = lua_topointer(L, idx), .n = above ? above->n + 1 : 1};
    for (const struct level *l = above; l; l = l->above)
        if (l->table == own.table) {
            put_note(w->to, "[the table that holds this one, %d up]", own.n - l->n);
            return;
        }
    if (luaL_getmetafield(L, idx, "__tostring") != LUA_TNIL) {
        lua_pop(L, 1);
        put_text_of(L, idx, w->to);
    } else if (own.n > TEXT_LEVELS) {
        put_note(w->to, "[deeper than %d levels: not traced]", TEXT_LEVELS);
    } else if (own.n == SHOWN_LEVELS + 1) {
        put_deep(L, idx, w, &own);
    } else {
        put_table(L, idx, w, &own);
    }
}

static void put_any(lua_State *L, int idx, const struct walk *w, const struct level *above)
{
    struct ah_error err = {0};
    struct ah_buf *to = w->to;
    size_t before = to->n;
    if (to->failed)
        return;
    luaL_checkstack(L, 8, "a value is nested too deeply to be traced");
    if (lua_isnil(L, idx) || ah_luajson_is_null(L, idx)) {
        ah_buf_adds(to, "null");
    } else if (lua_type(L, idx) == LUA_TTABLE) {
        put_inner(L, idx, w, above);
    } else if (lua_type(L, idx) == LUA_TSTRING && lua_rawlen(L, idx) > w->longest) {
        ah_lscut_text(to, lua_tostring(L, idx), lua_rawlen(L, idx), CUT_CHARACTERS);
    } else if (ah_luajson_encode(L, idx, to, NULL, &err) != 0) {
        ah_err_drop(&err);
        to->n = before;
        put_text_of(L, idx, to);
    }
}

void ah_lualossy_put(lua_State *L, int idx, struct ah_buf *to, size_t longest)
{
    struct ah_error err = {0};
    struct walk w = {.to = to, .longest = longest};
    size_t before = to->n;
    if (longest == AH_LUALOSSY_WHOLE) {
        if (ah_luajson_encode_within(L, idx, to, NULL, SHOWN_LEVELS, &err) == 0)
            return;
        ah_err_drop(&err);
        to->n = before;
    }
    put_any(L, lua_absindex(L, idx), &w, NULL);
}
