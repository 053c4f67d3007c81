/* The part of host.langsmith that reads lists and writes feedback. */
#ifndef AH_LUA_LSREAD_H
#define AH_LUA_LSREAD_H

#include <lua.h>

/* Adds its functions to the module on top of the stack. */
void ah_lua_lsread_add(lua_State *L);

#endif
