/* Lua values as JSON that loses nothing: what scripts are given is noted in the journal and given again when a
 * run is resumed. Other than luajson.h, which speaks to services: bytes that are no UTF-8, lists without the
 * array mark, objects of the host's classes and nil all come back as they were. Called by luareplay.c. */
#ifndef AH_LUANOTES_H
#define AH_LUANOTES_H

#include "json.h"
#include "luax.h"

/* Appends a JSON array of the values at first..last. What cannot be noted (functions, other objects) comes back
 * as nil. May raise for memory only: `to` must be guarded. -1: too deep or too long. */
int ah_luanotes_put(lua_State *L, int first, int last, struct ah_buf *to);
/* Pushes the elements of such an array; returns how many. */
int ah_luanotes_push(lua_State *L, struct ah_json list);
/* How an object (a userdata) of class `mt` is made when it is pushed: a function without arguments. */
void ah_luanotes_class(lua_State *L, const char *mt, lua_CFunction make);

#endif
