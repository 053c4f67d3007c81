/* A member of a table that stays JSON text until somebody looks: what services send much of, scripts pass on, and
 * few read (the schemas of tools). Called by lua_scalekit.c, which makes such tables, and by whoever writes them. */
#ifndef AH_LUATEXT_H
#define AH_LUATEXT_H

#include "json.h"
#include "luax.h"

/* Class `mt` of tables: t[member] is decoded when it is first looked at, and t[member .. "_json"] holds its text until
 * then. Looking, assigning and pairs() make t an ordinary table. */
void ah_luatext_class(lua_State *L, const char *mt, const char *member);
/* Pushes a JSON text, copied: an object that scripts cannot make, so it is JSON wherever it turns up. */
void ah_luatext_push(lua_State *L, struct ah_json v);
/* Whether a value may stay a text: it says the same to everybody who reads JSON. */
bool ah_luatext_fits(struct ah_json v);
/* The text at idx; AH_JSON_NONE: something else is there. Borrowed from the object. */
struct ah_json ah_luatext_at(lua_State *L, int idx);
/* The same of the member `text` (named in full, "x_json") of the table at idx, which is pushed; nil when there is none. */
struct ah_json ah_luatext_member(lua_State *L, int idx, const char *text);
/* How long the key of a text is without its "_json". */
size_t ah_luatext_name(const char *key, size_t n);

#endif
