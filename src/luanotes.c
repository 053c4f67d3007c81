/* Lua values to JSON and back, without loss. Called by luareplay.c.
 *
 * JSON's own values are themselves; an array is a table with the array mark. All else is an object of one
 * member (two for a class) whose name begins with $:
 *   {"$nil":1} {"$num":"nan"} {"$bytes":"…a character a byte…"} {"$json":value} (an object of luatext.h)
 *   {"$list":[…]} (no array mark) {"$map":[key,value,…]} {"$is":class,"of":table} {"$object":class}
 * Raw access only. */
#include "luanotes.h"

#include "luajson.h"
#include "luatext.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAKERS_KEY "agenthost.makers" /* class -> function that makes an object */
#define DEPTH 100
#define SMALL_KEYS_COUNT 32 /* members whose values are on Lua's stack together */

/* Tables of the host with methods; a class not listed comes back as a plain table. */
static const char *const table_classes[] = {"ah.error",
                                            "host.http.response",
                                            "host.http.response.stream",
                                            "host.scalekit.result",
                                            "host.scalekit.tool",
                                            NULL};

/* --- to JSON ------------------------------------------------------------------------------------------ */

static void put_value(lua_State *L, int idx, struct ah_json_writer *w);

static void put_tagged_str(struct ah_json_writer *w, const char *tag, const char *text)
{
    ah_json_object(w);
    ah_json_key(w, tag);
    ah_json_put_str(w, text);
    ah_json_end_object(w);
}

/* A character for each byte: U+0000 to U+00FF. */
static void put_bytes(struct ah_json_writer *w, const unsigned char *s, size_t n)
{
    struct ah_buf text;
    ah_buf_init(&text, 2 * n + 1);
    for (size_t i = 0; i < n; i++) {
        if (s[i] >= 0x80)
            ah_buf_addc(&text, (char)(0xc0 | s[i] >> 6));
        ah_buf_addc(&text, (char)(s[i] >= 0x80 ? 0x80 | (s[i] & 0x3f) : s[i]));
    }
    ah_json_object(w);
    ah_json_key(w, "$bytes");
    ah_json_put_strn(w, ah_buf_str(&text), text.n);
    ah_json_end_object(w);
    w->to->failed |= text.failed;
    ah_buf_drop(&text);
}

static void put_string(lua_State *L, int idx, struct ah_json_writer *w)
{
    size_t n;
    const char *s = lua_tolstring(L, idx, &n);
    if (ah_json_is_utf8(s, n))
        ah_json_put_strn(w, s, n);
    else
        put_bytes(w, (const unsigned char *)s, n);
}

static void put_number(lua_State *L, int idx, struct ah_json_writer *w)
{
    lua_Number v = lua_tonumber(L, idx);
    if (lua_isinteger(L, idx))
        ah_json_put_int(w, lua_tointeger(L, idx));
    else if (isfinite(v))
        ah_json_put_num(w, v);
    else
        put_tagged_str(w, "$num", isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
}

static void put_elements(lua_State *L, int idx, struct ah_json_writer *w)
{
    lua_Integer n = (lua_Integer)lua_rawlen(L, idx);
    ah_json_array(w);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, idx, i);
        put_value(L, lua_gettop(L), w);
        lua_pop(L, 1);
    }
    ah_json_end_array(w);
}

/* Whether a key is its own text in JSON. */
static bool fits(const char *key, size_t n)
{
    return n == 0 || (key[0] != '$' && !memchr(key, '\0', n) && ah_json_is_utf8(key, n));
}

/* An object of few members, as most are, in one walk. false: it is another kind of table. */
static bool put_small(lua_State *L, int idx, struct ah_json_writer *w)
{
    struct ah_luajson_member members[SMALL_KEYS_COUNT];
    int top = lua_gettop(L);
    if (!lua_checkstack(L, 2 * SMALL_KEYS_COUNT + 8))
        return false;
    int n = ah_luajson_members(L, idx, members, SMALL_KEYS_COUNT);
    bool small = n >= 0;
    for (int i = 0; i < n; i++)
        small = small && fits(members[i].key, members[i].n);
    if (small) {
        ah_json_object(w);
        for (int i = 0; i < n; i++) {
            ah_json_keyn(w, members[i].key, members[i].n);
            put_value(L, members[i].slot, w);
        }
        ah_json_end_object(w);
    }
    lua_settop(L, top);
    return small;
}

enum shape { SHAPE_OBJECT, SHAPE_LIST, SHAPE_MAP };

static enum shape shape_of(lua_State *L, int idx)
{
    size_t n = lua_rawlen(L, idx), others = 0, numbers = 0;
    bool odd = false;
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        lua_pop(L, 1);
        size_t bytes;
        const char *key = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &bytes) : NULL;
        if (key) {
            others++;
            odd |= !fits(key, bytes);
        } else {
            numbers++;
            lua_Integer i = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
            odd |= i < 1 || (size_t)i > n;
        }
    }
    if (odd || (numbers && others) || (numbers && numbers != n))
        return SHAPE_MAP;
    return numbers ? SHAPE_LIST : SHAPE_OBJECT;
}

static int before(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted, so that the same table is the same text in every process. */
static void put_members(lua_State *L, int idx, struct ah_json_writer *w)
{
    size_t n = 0, cap = 16;
    const char **keys = lua_newuserdatauv(L, cap * sizeof *keys, 0);
    int at = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        lua_pop(L, 1);
        if (n == cap) {
            const char **more = lua_newuserdatauv(L, 2 * cap * sizeof *keys, 0);
            memcpy(more, keys, n * sizeof *keys);
            keys = more;
            cap *= 2;
            lua_replace(L, at);
        }
        keys[n++] = lua_tostring(L, -1); /* the table holds it */
    }
    qsort(keys, n, sizeof *keys, before);
    ah_json_object(w);
    for (size_t i = 0; i < n; i++) {
        ah_json_key(w, keys[i]);
        lua_pushstring(L, keys[i]);
        lua_rawget(L, idx);
        put_value(L, lua_gettop(L), w);
        lua_pop(L, 1);
    }
    ah_json_end_object(w);
    lua_pop(L, 1);
}

static void put_pairs(lua_State *L, int idx, struct ah_json_writer *w)
{
    ah_json_object(w);
    ah_json_key(w, "$map");
    ah_json_array(w);
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        int value = lua_gettop(L);
        put_value(L, value - 1, w);
        put_value(L, value, w);
        lua_pop(L, 1);
    }
    ah_json_end_array(w);
    ah_json_end_object(w);
}

static void put_plain(lua_State *L, int idx, struct ah_json_writer *w)
{
    if (put_small(L, idx, w))
        return;
    switch (shape_of(L, idx)) {
    case SHAPE_OBJECT:
        put_members(L, idx, w);
        break;
    case SHAPE_LIST:
        ah_json_object(w);
        ah_json_key(w, "$list");
        put_elements(L, idx, w);
        ah_json_end_object(w);
        break;
    case SHAPE_MAP:
        put_pairs(L, idx, w);
        break;
    }
}

static const char *class_of(lua_State *L, int idx)
{
    const char *found = NULL;
    if (!lua_getmetatable(L, idx))
        return NULL;
    for (const char *const *name = table_classes; *name && !found; name++) {
        lua_getfield(L, LUA_REGISTRYINDEX, *name);
        if (lua_rawequal(L, -1, -2))
            found = *name;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return found;
}

/* A tool's answer stays the bytes that came: the journal has them already, and keeps them once. */
static bool put_answer(lua_State *L, int idx, struct ah_json_writer *w)
{
    size_t n;
    struct ah_json v;
    lua_pushliteral(L, "json");
    lua_rawget(L, idx);
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : NULL;
    bool is_json = text && ah_json_check(text, n, 0, &v, NULL) == 0 && v.n == n;
    if (is_json) {
        ah_json_object(w);
        ah_json_key(w, "$is");
        ah_json_put_str(w, "host.scalekit.result");
        ah_json_key(w, "id");
        lua_pushliteral(L, "execution_id");
        lua_rawget(L, idx);
        put_value(L, lua_gettop(L), w);
        lua_pop(L, 1);
        ah_json_key(w, "json");
        ah_json_put(w, v);
        ah_json_end_object(w);
    }
    lua_pop(L, 1);
    return is_json;
}

static void put_table(lua_State *L, int idx, struct ah_json_writer *w)
{
    if (w->depth > DEPTH || !lua_checkstack(L, 16)) {
        ah_json_put_null(w);
        w->to->failed = true;
        return;
    }
    const char *class = class_of(L, idx);
    if (!class && ah_luajson_is_array(L, idx)) {
        put_elements(L, idx, w);
    } else if (!class) {
        put_plain(L, idx, w);
    } else if (strcmp(class, "host.scalekit.result") != 0 || !put_answer(L, idx, w)) {
        ah_json_object(w);
        ah_json_key(w, "$is");
        ah_json_put_str(w, class);
        ah_json_key(w, "of");
        put_plain(L, idx, w);
        ah_json_end_object(w);
    }
}

static void put_object(lua_State *L, int idx, struct ah_json_writer *w)
{
    int type = luaL_getmetafield(L, idx, "__name");
    put_tagged_str(w, "$object", type == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, idx));
    if (type != LUA_TNIL)
        lua_pop(L, 1);
}

static bool put_text(lua_State *L, int idx, struct ah_json_writer *w)
{
    struct ah_json v = ah_luatext_at(L, idx);
    if (v.type == AH_JSON_NONE)
        return false;
    ah_json_object(w);
    ah_json_key(w, "$json");
    ah_json_put(w, v);
    ah_json_end_object(w);
    return true;
}

static void put_value(lua_State *L, int idx, struct ah_json_writer *w)
{
    switch (lua_type(L, idx)) {
    case LUA_TNIL:
        ah_json_object(w);
        ah_json_key(w, "$nil");
        ah_json_put_int(w, 1);
        ah_json_end_object(w);
        break;
    case LUA_TBOOLEAN:
        ah_json_put_bool(w, lua_toboolean(L, idx));
        break;
    case LUA_TNUMBER:
        put_number(L, idx, w);
        break;
    case LUA_TSTRING:
        put_string(L, idx, w);
        break;
    case LUA_TTABLE:
        put_table(L, idx, w);
        break;
    default:
        if (ah_luajson_is_null(L, idx))
            ah_json_put_null(w);
        else if (!put_text(L, idx, w))
            put_object(L, idx, w);
    }
}

int ah_luanotes_put(lua_State *L, int first, int last, struct ah_buf *to)
{
    struct ah_json_writer w;
    luaL_checkstack(L, 16, "notes");
    ah_json_begin(&w, to, NULL);
    ah_json_array(&w);
    for (int i = first; i <= last; i++)
        put_value(L, i, &w);
    ah_json_end_array(&w);
    return to->failed ? -1 : 0;
}

/* --- from JSON ------------------------------------------------------------------------------------------ */

static void push_value(lua_State *L, struct ah_json v);

static void push_text(lua_State *L, struct ah_json v)
{
    if (v.type == AH_JSON_STRING)
        ah_luajson_push(L, v);
    else
        lua_pushliteral(L, "");
}

static void push_bytes(lua_State *L, struct ah_json v)
{
    size_t n;
    push_text(L, v);
    const char *s = lua_tolstring(L, -1, &n);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x80 && i + 1 < n)
            c = (unsigned char)(c << 6 | ((unsigned char)s[++i] & 0x3f));
        luaL_addchar(&b, (char)c);
    }
    luaL_pushresult(&b);
    lua_remove(L, -2);
}

static void push_elements(lua_State *L, struct ah_json v)
{
    lua_Integer i = 0;
    lua_newtable(L);
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);) {
        push_value(L, it.value);
        lua_rawseti(L, -2, ++i);
    }
}

static void push_pairs(lua_State *L, struct ah_json v)
{
    lua_newtable(L);
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);) {
        push_value(L, it.value);
        if (!ah_json_next(&it)) {
            lua_pop(L, 1);
            break;
        }
        push_value(L, it.value);
        if (lua_isnil(L, -2))
            lua_pop(L, 2);
        else
            lua_rawset(L, -3);
    }
}

static void push_number(lua_State *L, struct ah_json v)
{
    lua_pushnumber(L, ah_json_is(v, "nan")   ? (lua_Number)NAN
                      : ah_json_is(v, "inf") ? (lua_Number)INFINITY
                                             : -(lua_Number)INFINITY);
}

static void push_answer(lua_State *L, struct ah_json v, struct ah_json text)
{
    lua_createtable(L, 0, 3);
    push_value(L, ah_json_get(v, "id"));
    lua_setfield(L, -2, "execution_id");
    lua_pushlstring(L, text.p, text.n);
    lua_setfield(L, -2, "json");
}

static void push_classed(lua_State *L, struct ah_json v, struct ah_json class)
{
    struct ah_json text = ah_json_get(v, "json");
    if (text.type != AH_JSON_NONE)
        push_answer(L, v, text);
    else
        push_value(L, ah_json_get(v, "of"));
    if (!lua_istable(L, -1))
        return;
    ah_luax_error_class(L); /* the first error of a resumed run may be one of its past */
    lua_pop(L, 1);
    const char *const *name = table_classes;
    while (*name && !ah_json_is(class, *name))
        name++;
    lua_pushstring(L, *name ? *name : ""); /* a file says it: none but these */
    lua_rawget(L, LUA_REGISTRYINDEX);
    if (lua_istable(L, -1))
        lua_setmetatable(L, -2);
    else
        lua_pop(L, 1);
}

static void push_made(lua_State *L, struct ah_json class)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, MAKERS_KEY);
    push_text(L, class);
    lua_rawget(L, -2);
    lua_remove(L, -2);
    if (lua_isfunction(L, -1))
        lua_call(L, 0, 1);
}

static bool push_tagged(lua_State *L, struct ah_json key, struct ah_json value, struct ah_json whole)
{
    if (key.n < 3 || key.p[1] != '$')
        return false;
    if (ah_json_is(key, "$list"))
        push_elements(L, value);
    else if (ah_json_is(key, "$map"))
        push_pairs(L, value);
    else if (ah_json_is(key, "$bytes"))
        push_bytes(L, value);
    else if (ah_json_is(key, "$num"))
        push_number(L, value);
    else if (ah_json_is(key, "$json"))
        ah_luatext_push(L, value);
    else if (ah_json_is(key, "$is"))
        push_classed(L, whole, value);
    else if (ah_json_is(key, "$object"))
        push_made(L, value);
    else
        lua_pushnil(L);
    return true;
}

static void push_object(lua_State *L, struct ah_json v)
{
    struct ah_json_iter it = ah_json_iter(v);
    bool more = ah_json_next(&it);
    if (more && push_tagged(L, it.key, it.value, v))
        return;
    lua_newtable(L);
    for (; more; more = ah_json_next(&it)) {
        ah_luajson_push(L, it.key);
        push_value(L, it.value);
        if (lua_isnil(L, -1))
            lua_pop(L, 2);
        else
            lua_rawset(L, -3);
    }
}

static void push_value(lua_State *L, struct ah_json v)
{
    luaL_checkstack(L, 8, "notes");
    if (v.type == AH_JSON_ARRAY) {
        push_elements(L, v);
        ah_luajson_mark_array(L, -1);
    } else if (v.type == AH_JSON_OBJECT) {
        push_object(L, v);
    } else {
        ah_luajson_push(L, v);
    }
}

int ah_luanotes_push(lua_State *L, struct ah_json list)
{
    int n = 0;
    for (struct ah_json_iter it = ah_json_iter(list); ah_json_next(&it); n++) {
        luaL_checkstack(L, 8, "notes");
        push_value(L, it.value);
    }
    return n;
}

void ah_luanotes_class(lua_State *L, const char *mt, lua_CFunction make)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, MAKERS_KEY);
    lua_pushcfunction(L, make);
    lua_setfield(L, -2, mt);
    lua_pop(L, 1);
}
