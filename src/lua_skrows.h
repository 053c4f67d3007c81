/* The functions of host.scalekit that are one call each: made from the table of calls. */
#ifndef AH_LUA_SKROWS_H
#define AH_LUA_SKROWS_H

#include "json.h"
#include "luax.h"

/* Adds a function for every row that has none of its own, and the iterators, to the table on top. */
void ah_lua_skrows_add(lua_State *L);
/* Pushes a copy of the value at idx, in which handles of secrets are what they stand for: to be encoded, and
 * never to be seen by a script. -1: err. */
int ah_lua_skrows_copy(lua_State *L, int idx, struct ah_error *err);
/* Pushes an answer about accounts: names of secrets become handles. */
void ah_lua_skrows_push(lua_State *L, struct ah_json v);

#endif
