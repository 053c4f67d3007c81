/* Lua module host.scalekit. */
#ifndef AH_LUA_SCALEKIT_H
#define AH_LUA_SCALEKIT_H

#include <lua.h>

int luaopen_host_scalekit(lua_State *L);

#endif
