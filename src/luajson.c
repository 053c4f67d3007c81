/* Between Lua values and JSON: tables from ranges, and text from tables in one pass.
 *
 * Called by luax and every binding that moves data. Access is raw: no metamethod runs, but a script's
 * finalizers may run wherever Lua allocates, and change the very table that is being written. So small
 * tables are written without any allocation by Lua, and what large ones need is anchored on the stack. */
#include "luajson.h"

#include "luatext.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_COUNT 32      /* members held on the Lua stack before the table is made */
#define SMALL_KEYS_COUNT 32 /* keys sorted on the C stack, with their values on Lua's */
#define STACK_SLOTS 8       /* what one level uses beside its members */
#define PATH_BYTES 256      /* of an error's path; longer ones are cut */

static const char array_key; /* registry */

void ah_luajson_open(lua_State *L)
{
    luaL_checkstack(L, 3, "json");
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "json.array");
    lua_setfield(L, -2, "__name");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &array_key);
}

void ah_luajson_push_null(lua_State *L)
{
    lua_pushlightuserdata(L, NULL);
}

bool ah_luajson_is_null(lua_State *L, int idx)
{
    return lua_islightuserdata(L, idx) && lua_touserdata(L, idx) == NULL;
}

void ah_luajson_push_array_mt(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key);
}

void ah_luajson_mark_array(lua_State *L, int idx)
{
    idx = lua_absindex(L, idx);
    ah_luajson_push_array_mt(L);
    lua_setmetatable(L, idx);
}

bool ah_luajson_is_array(lua_State *L, int idx)
{
    if (!lua_istable(L, idx) || !lua_getmetatable(L, idx))
        return false;
    ah_luajson_push_array_mt(L);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

/* --- to Lua ------------------------------------------------------------------------------------- */

struct reader {
    lua_State *L;
    const char *at, *end;
    int array_mt; /* stack index */
};

static void push_token(struct reader *r, struct ah_json v);

static void push_string(lua_State *L, struct ah_json v)
{
    if (ah_json_is_plain(v)) {
        lua_pushlstring(L, v.p + 1, v.n - 2);
        return;
    }
    const char *at = v.p + 1, *end = v.p + v.n - 1;
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (;;) {
        char *to = luaL_prepbuffer(&b);
        size_t n = ah_json_decode(&at, end, to, LUAL_BUFFERSIZE);
        if (n == 0)
            break;
        luaL_addsize(&b, n);
    }
    luaL_pushresult(&b);
}

static void push_number(lua_State *L, struct ah_json v)
{
    int64_t whole;
    double number = 0;
    if (ah_json_int(v, &whole)) {
        lua_pushinteger(L, whole);
    } else {
        ah_json_num(v, &number);
        lua_pushnumber(L, number);
    }
}

/* Moves `n` values from the top of the stack into the array at `table`, behind `done` others. */
static void store_elements(lua_State *L, int table, size_t done, size_t n)
{
    for (size_t i = done + n; i > done; i--)
        lua_rawseti(L, table, (lua_Integer)i);
}

static void push_array(struct reader *r)
{
    lua_State *L = r->L;
    luaL_checkstack(L, BATCH_COUNT + STACK_SLOTS, "JSON is nested too deeply");
    lua_pushnil(L); /* the table's place */
    int table = lua_gettop(L);
    size_t done = 0, n = 0;
    for (struct ah_json v; (v = ah_json_token(&r->at, r->end)).type != AH_JSON_NONE;) {
        if (n == BATCH_COUNT) {
            if (done == 0) {
                lua_createtable(L, 2 * BATCH_COUNT, 0);
                lua_replace(L, table);
            }
            store_elements(L, table, done, n);
            done += n;
            n = 0;
        }
        push_token(r, v);
        n++;
    }
    if (done == 0) {
        lua_createtable(L, (int)n, 0);
        lua_replace(L, table);
    }
    store_elements(L, table, done, n);
    lua_pushvalue(L, r->array_mt);
    lua_setmetatable(L, table);
}

/* Stores in the order of the text, so that the last of equal keys wins. */
static void store_members(lua_State *L, int table, int n)
{
    for (int i = 1; i <= 2 * n; i += 2) {
        lua_pushvalue(L, table + i);
        lua_pushvalue(L, table + i + 1);
        lua_rawset(L, table);
    }
    lua_settop(L, table);
}

static void push_object(struct reader *r)
{
    lua_State *L = r->L;
    luaL_checkstack(L, 2 * BATCH_COUNT + STACK_SLOTS, "JSON is nested too deeply");
    lua_pushnil(L); /* the table's place */
    int table = lua_gettop(L), n = 0;
    bool made = false;
    for (struct ah_json key; (key = ah_json_token(&r->at, r->end)).type != AH_JSON_NONE; n++) {
        if (n == BATCH_COUNT) {
            if (!made) {
                lua_createtable(L, 0, 2 * BATCH_COUNT);
                lua_replace(L, table);
                made = true;
            }
            store_members(L, table, n);
            n = 0;
        }
        push_string(L, key);
        push_token(r, ah_json_token(&r->at, r->end));
    }
    if (!made) {
        lua_createtable(L, 0, n);
        lua_replace(L, table);
    }
    store_members(L, table, n);
}

/* Containers are read to their end; recursion is bounded by what ah_json_check accepts. */
static void push_token(struct reader *r, struct ah_json v)
{
    lua_State *L = r->L;
    switch (v.type) {
    case AH_JSON_NULL:
        ah_luajson_push_null(L);
        break;
    case AH_JSON_FALSE:
    case AH_JSON_TRUE:
        lua_pushboolean(L, v.type == AH_JSON_TRUE);
        break;
    case AH_JSON_NUMBER:
        push_number(L, v);
        break;
    case AH_JSON_STRING:
        push_string(L, v);
        break;
    case AH_JSON_ARRAY:
        push_array(r);
        break;
    case AH_JSON_OBJECT:
        push_object(r);
        break;
    case AH_JSON_NONE:
        lua_pushnil(L);
    }
}

void ah_luajson_push(lua_State *L, struct ah_json v)
{
    luaL_checkstack(L, STACK_SLOTS, "JSON");
    if (v.type != AH_JSON_ARRAY && v.type != AH_JSON_OBJECT) {
        push_token(&(struct reader){.L = L}, v);
        return;
    }
    ah_luajson_push_array_mt(L);
    struct reader r = {.L = L, .at = v.p, .end = v.p + v.n, .array_mt = lua_gettop(L)};
    push_token(&r, ah_json_token(&r.at, r.end));
    lua_replace(L, r.array_mt);
}

/* --- from Lua ----------------------------------------------------------------------------------- */

/* Where in the value the writer is: a chain on the C stack, read only for an error's path. */
struct place {
    const struct place *up;
    const char *key; /* NULL: an element */
    size_t n;
    lua_Integer index;
};

struct encoder {
    lua_State *L;
    struct ah_json_writer w;
    struct ah_error *err;
    const void *array_mt;
    unsigned levels;
};

static int encode_value(struct encoder *e, int idx, const struct place *at);

static bool is_name(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool letter = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') || s[i] == '_';
        if (!letter && !(i > 0 && s[i] >= '0' && s[i] <= '9'))
            return false;
    }
    return n > 0;
}

static void add_place(struct ah_buf *path, const struct place *at)
{
    if (!at) {
        ah_buf_adds(path, "value");
        return;
    }
    add_place(path, at->up);
    if (!at->key) {
        ah_buf_addf(path, "[%lld]", (long long)at->index);
    } else if (is_name(at->key, at->n)) {
        ah_buf_addc(path, '.');
        ah_buf_add(path, at->key, at->n);
    } else {
        ah_buf_addc(path, '[');
        ah_json_quote(path, at->key, at->n);
        ah_buf_addc(path, ']');
    }
}

/* The path's beginning is kept when it is long: a cycle repeats its end. */
static int fail(struct encoder *e, const struct place *at, enum ah_kind kind, const char *reason)
{
    struct ah_buf path;
    ah_buf_init(&path, PATH_BYTES);
    add_place(&path, at);
    ah_err_set(e->err, kind, "%s%s: %s", path.n ? path.p : "value", path.failed ? "..." : "", reason);
    ah_buf_drop(&path);
    return -1;
}

static int fail_type(struct encoder *e, const struct place *at, const char *type)
{
    char reason[128];
    snprintf(reason, sizeof reason, "a %s cannot become JSON; leave it out or turn it into a string", type);
    return fail(e, at, AH_INVALID, reason);
}

static int check_seen(struct encoder *e, const struct place *at, unsigned refused)
{
    if (!(e->w.seen & refused))
        return 0;
    if (e->w.seen & AH_JSON_SAW_BAD_UTF8)
        return fail(e, at, AH_INVALID,
                    "text that is not UTF-8 cannot become JSON; encode bytes, as base64 for example");
    return fail(e, at, AH_INVALID, "a key must not hold NUL");
}

static int write_key(struct encoder *e, const struct place *at)
{
    e->w.seen = 0;
    ah_json_keyn(&e->w, at->key, at->n);
    return check_seen(e, at, AH_JSON_SAW_BAD_UTF8 | AH_JSON_SAW_NUL);
}

static bool is_marked(struct encoder *e, int idx)
{
    if (!lua_getmetatable(e->L, idx))
        return false;
    bool marked = lua_topointer(e->L, -1) == e->array_mt;
    lua_pop(e->L, 1);
    return marked;
}

static int check_list_key(struct encoder *e, const struct place *at, lua_Integer length)
{
    lua_State *L = e->L;
    if (lua_type(L, -1) == LUA_TSTRING)
        return fail(e, at, AH_INVALID,
                    "a table with both list items and named fields cannot become JSON; use one kind");
    if (!lua_isinteger(L, -1))
        return fail(e, at, AH_INVALID,
                    "a key that is neither a string nor a list position cannot become JSON");
    lua_Integer i = lua_tointeger(L, -1);
    if (i < 1 || i > length)
        return fail(e, at, AH_INVALID,
                    "a list with holes (or not from 1) cannot become JSON; fill them with json.null, or use "
                    "string keys");
    return 0;
}

/* A border is only one of several when there are holes, so every key is looked at. */
static int check_list(struct encoder *e, int idx, const struct place *at, lua_Integer length)
{
    lua_State *L = e->L;
    lua_Integer count = 0;
    for (lua_pushnil(L); lua_next(L, idx); count++) {
        lua_pop(L, 1);
        if (check_list_key(e, at, length) != 0) {
            lua_pop(L, 1);
            return -1;
        }
    }
    if (count != length)
        return fail(e, at, AH_INVALID, "a list with holes cannot become JSON; fill them with json.null");
    return 0;
}

static int encode_list(struct encoder *e, int idx, const struct place *at)
{
    lua_Integer length = (lua_Integer)lua_rawlen(e->L, idx);
    if (check_list(e, idx, at, length) != 0)
        return -1;
    ah_json_array(&e->w);
    for (struct place here = {.up = at, .index = 1}; here.index <= length; here.index++) {
        lua_rawgeti(e->L, idx, here.index);
        if (encode_value(e, lua_gettop(e->L), &here) != 0)
            return -1;
        lua_pop(e->L, 1);
    }
    ah_json_end_array(&e->w);
    return 0;
}

static int compare_members(const void *a, const void *b)
{
    const struct ah_luajson_member *x = a, *y = b;
    int order = memcmp(x->key, y->key, x->n < y->n ? x->n : y->n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

static void sort_few(struct ah_luajson_member *m, int n)
{
    for (int i = 1; i < n; i++) {
        struct ah_luajson_member moved = m[i];
        int k = i;
        for (; k > 0 && compare_members(&m[k - 1], &moved) > 0; k--)
            m[k] = m[k - 1];
        m[k] = moved;
    }
}

int ah_luajson_members(lua_State *L, int idx, struct ah_luajson_member *to, int max)
{
    int n = 0;
    for (lua_pushnil(L); lua_next(L, idx); n++) {
        if (lua_type(L, -2) != LUA_TSTRING)
            return AH_LUAJSON_OTHER_KEYS;
        if (n == max)
            return AH_LUAJSON_TOO_MANY;
        to[n].key = lua_tolstring(L, -2, &to[n].n);
        to[n].slot = lua_gettop(L);
        lua_pushvalue(L, -2);
    }
    sort_few(to, n);
    return n;
}

static int encode_small(struct encoder *e, const struct place *at, const struct ah_luajson_member *members,
                        int n)
{
    ah_json_object(&e->w);
    for (int i = 0; i < n; i++) {
        struct place here = {.up = at, .key = members[i].key, .n = members[i].n};
        if (lua_type(e->L, members[i].slot) == LUA_TUSERDATA)
            here.n = ah_luatext_name(here.key, here.n);
        if (write_key(e, &here) != 0 || encode_value(e, members[i].slot, &here) != 0)
            return -1;
    }
    ah_json_end_object(&e->w);
    return 0;
}

/* Pushes a list of the string keys at `keys` and the room to sort them; returns how many there are. Slots are
 * those of the keys in the list. */
static int collect_members(lua_State *L, int idx, struct ah_luajson_member **out)
{
    int room = 0, n = 0;
    for (lua_pushnil(L); lua_next(L, idx); room++)
        lua_pop(L, 1);
    lua_createtable(L, room, 0);
    *out = lua_newuserdatauv(L, (size_t)room * sizeof **out, 0);
    int keys = lua_gettop(L) - 1;
    for (lua_pushnil(L); lua_next(L, idx);) { /* finalizers may have run above: only now it counts */
        lua_pop(L, 1);
        if (n == room || lua_type(L, -1) != LUA_TSTRING) {
            lua_pop(L, 1);
            return -1;
        }
        struct ah_luajson_member *m = &(*out)[n++];
        m->key = lua_tolstring(L, -1, &m->n);
        m->slot = n;
        lua_pushvalue(L, -1);
        lua_rawseti(L, keys, n);
    }
    return n;
}

static int encode_large(struct encoder *e, int idx, const struct place *at)
{
    lua_State *L = e->L;
    struct ah_luajson_member *members;
    int keys = lua_gettop(L) + 1;
    int n = collect_members(L, idx, &members);
    if (n < 0)
        return fail(e, at, AH_INVALID,
                    "a table with keys that are not strings cannot become JSON; use one kind of key");
    qsort(members, (size_t)n, sizeof *members, compare_members);
    ah_json_object(&e->w);
    for (int i = 0; i < n; i++) {
        struct place here = {.up = at, .key = members[i].key, .n = members[i].n};
        lua_rawgeti(L, keys, members[i].slot);
        if (lua_rawget(L, idx) != LUA_TNIL && /* nil: a finalizer took it away meanwhile */
            (write_key(e, &here) != 0 || encode_value(e, lua_gettop(L), &here) != 0))
            return -1;
        lua_pop(L, 1);
    }
    ah_json_end_object(&e->w);
    return 0;
}

/* Takes up to SMALL_KEYS_COUNT members apart on the stack; a first key that is no string makes it a
 * list, or an error of one. */
static int encode_table(struct encoder *e, int idx, const struct place *at)
{
    lua_State *L = e->L;
    struct ah_luajson_member members[SMALL_KEYS_COUNT];
    int top = lua_gettop(L);
    if (e->w.depth >= e->levels) {
        char reason[96];
        snprintf(reason, sizeof reason, "nested deeper than %u levels; does a table contain itself?",
                 e->levels);
        return fail(e, at, AH_INVALID, reason);
    }
    if (!lua_checkstack(L, 2 * SMALL_KEYS_COUNT + STACK_SLOTS))
        return fail(e, at, AH_MEMORY, "no memory to write this value");
    if (is_marked(e, idx))
        return encode_list(e, idx, at);
    int n = ah_luajson_members(L, idx, members, SMALL_KEYS_COUNT);
    if (n >= 0)
        return encode_small(e, at, members, n);
    lua_settop(L, top);
    return n == AH_LUAJSON_OTHER_KEYS ? encode_list(e, idx, at) : encode_large(e, idx, at);
}

static int encode_number(struct encoder *e, int idx, const struct place *at)
{
    if (lua_isinteger(e->L, idx)) {
        ah_json_put_int(&e->w, lua_tointeger(e->L, idx));
        return 0;
    }
    double v = lua_tonumber(e->L, idx);
    if (!isfinite(v))
        return fail(e, at, AH_INVALID, "NaN and infinity are not JSON; use json.null, or a string");
    ah_json_put_num(&e->w, v);
    return 0;
}

static int encode_string(struct encoder *e, int idx, const struct place *at)
{
    size_t n;
    const char *s = lua_tolstring(e->L, idx, &n);
    ah_json_put_strn(&e->w, s, n);
    return check_seen(e, at, AH_JSON_SAW_BAD_UTF8);
}

static bool encode_text(struct encoder *e, int idx)
{
    struct ah_json v = ah_luatext_at(e->L, idx);
    if (v.type != AH_JSON_NONE)
        ah_json_put(&e->w, v);
    return v.type != AH_JSON_NONE;
}

static int encode_value(struct encoder *e, int idx, const struct place *at)
{
    lua_State *L = e->L;
    int top = lua_gettop(L), rc = 0;
    switch (lua_type(L, idx)) {
    case LUA_TNIL:
        ah_json_put_null(&e->w);
        return 0;
    case LUA_TBOOLEAN:
        ah_json_put_bool(&e->w, lua_toboolean(L, idx));
        return 0;
    case LUA_TNUMBER:
        return encode_number(e, idx, at);
    case LUA_TSTRING:
        return encode_string(e, idx, at);
    case LUA_TTABLE:
        rc = encode_table(e, idx, at);
        lua_settop(L, top);
        return rc;
    case LUA_TLIGHTUSERDATA:
        if (ah_luajson_is_null(L, idx)) {
            ah_json_put_null(&e->w);
            return 0;
        }
        return fail_type(e, at, "pointer");
    case LUA_TUSERDATA:
        if (encode_text(e, idx))
            return 0;
        /* fall through */
    default:
        return fail_type(e, at, luaL_typename(L, idx));
    }
}

int ah_luajson_encode(lua_State *L, int idx, struct ah_buf *to, const struct ah_secrets *mask,
                      struct ah_error *err)
{
    return ah_luajson_encode_within(L, idx, to, mask, AH_JSON_DEPTH, err);
}

int ah_luajson_encode_within(lua_State *L, int idx, struct ah_buf *to, const struct ah_secrets *mask,
                             unsigned levels, struct ah_error *err)
{
    struct encoder e = {.L = L, .levels = levels, .err = err};
    size_t start = to->n;
    luaL_checkstack(L, STACK_SLOTS, "JSON");
    idx = lua_absindex(L, idx);
    ah_luajson_push_array_mt(L);
    e.array_mt = lua_topointer(L, -1);
    lua_pop(L, 1);
    ah_json_begin(&e.w, to, mask);
    int rc = encode_value(&e, idx, NULL);
    if (rc == 0 && to->failed)
        rc = ah_err_set(err, AH_LIMIT,
                        "the value is too large: its JSON text does not fit in %zu bytes, or memory is out",
                        to->max);
    if (rc != 0 && to->p) { /* nothing half-written stays behind */
        to->n = start;
        to->p[start] = '\0';
    }
    return rc;
}
