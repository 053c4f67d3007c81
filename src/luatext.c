/* Members of tables that stay JSON text until somebody looks. Called by lua_scalekit.c, luajson.c, luanotes.c,
 * lua_openai.c and lua_schema.c. Must never let a script make or change such a text: it is taken for JSON unread. */
#include "luatext.h"

#include "luajson.h"

#include <string.h>

#define TEXT_MT "ah.json.text"
#define SUFFIX "_json"

enum { MEMBER = 1, TEXT = 2 }; /* upvalues of a class's metamethods: the two names */

struct text {
    struct ah_json v;
    char bytes[];
};

bool ah_luatext_fits(struct ah_json v)
{
    return v.type == AH_JSON_OBJECT && ah_json_is_utf8(v.p, v.n) && !memmem(v.p, v.n, "\\u", 2);
}

void ah_luatext_push(lua_State *L, struct ah_json v)
{
    struct text *t = lua_newuserdatauv(L, sizeof *t + v.n, 0);
    memcpy(t->bytes, v.p, v.n);
    t->v = (struct ah_json){.p = t->bytes, .n = v.n, .type = v.type};
    luaL_setmetatable(L, TEXT_MT);
}

struct ah_json ah_luatext_at(lua_State *L, int idx)
{
    const struct text *t = lua_type(L, idx) == LUA_TUSERDATA ? luaL_testudata(L, idx, TEXT_MT) : NULL;
    return t ? t->v : (struct ah_json){0};
}

struct ah_json ah_luatext_member(lua_State *L, int idx, const char *text)
{
    idx = lua_absindex(L, idx);
    lua_pushstring(L, text);
    lua_rawget(L, idx);
    return ah_luatext_at(L, -1);
}

size_t ah_luatext_name(const char *key, size_t n)
{
    size_t tail = sizeof SUFFIX - 1;
    return n > tail && memcmp(key + n - tail, SUFFIX, tail) == 0 ? n - tail : n;
}

static void set_raw(lua_State *L, int name)
{
    lua_pushvalue(L, lua_upvalueindex(name));
    lua_insert(L, -2);
    lua_rawset(L, 1);
}

/* The table at 1 becomes an ordinary one. */
static void decode(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(TEXT));
    lua_rawget(L, 1);
    struct ah_json v = ah_luatext_at(L, -1);
    if (v.type != AH_JSON_NONE) {
        ah_luajson_push(L, v);
        set_raw(L, MEMBER);
        lua_pushnil(L);
        set_raw(L, TEXT);
    }
    lua_pop(L, 1);
    lua_pushnil(L);
    lua_setmetatable(L, 1);
}

static int m_lazy_index(lua_State *L)
{
    if (!lua_rawequal(L, 2, lua_upvalueindex(MEMBER)))
        return 0;
    decode(L);
    lua_rawget(L, 1);
    return 1;
}

static int m_lazy_newindex(lua_State *L)
{
    if (lua_rawequal(L, 2, lua_upvalueindex(MEMBER)))
        decode(L);
    lua_settop(L, 3);
    lua_rawset(L, 1);
    return 0;
}

static int l_next(lua_State *L)
{
    lua_settop(L, 2);
    return lua_next(L, 1) ? 2 : 0;
}

static int m_lazy_pairs(lua_State *L)
{
    decode(L);
    lua_pushcfunction(L, l_next);
    lua_pushvalue(L, 1);
    return 2;
}

static void set_method(lua_State *L, const char *event, lua_CFunction f, const char *member)
{
    lua_pushstring(L, member);
    lua_pushfstring(L, "%s" SUFFIX, member);
    lua_pushcclosure(L, f, 2);
    lua_setfield(L, -2, event);
}

void ah_luatext_class(lua_State *L, const char *mt, const char *member)
{
    luaL_newmetatable(L, TEXT_MT);
    lua_pop(L, 1);
    luaL_newmetatable(L, mt);
    set_method(L, "__index", m_lazy_index, member);
    set_method(L, "__newindex", m_lazy_newindex, member);
    set_method(L, "__pairs", m_lazy_pairs, member);
    lua_pushliteral(L, "locked"); /* it is shared by all scripts */
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
