/* The functions of host.scalekit that are one call each: made from the table of calls. */
#ifndef AH_LUA_SKROWS_H
#define AH_LUA_SKROWS_H

#include "luax.h"

/* Adds a function for every row that has none of its own, and the iterators, to the table on top. */
void ah_lua_skrows_add(lua_State *L);

#endif
