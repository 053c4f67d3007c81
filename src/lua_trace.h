/* Lua module host.trace. */
#ifndef AH_LUA_TRACE_H
#define AH_LUA_TRACE_H

#include <lua.h>

int luaopen_host_trace(lua_State *L);

#endif
