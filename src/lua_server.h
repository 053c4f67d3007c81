/* Lua module host.server. */
#ifndef AH_LUA_SERVER_H
#define AH_LUA_SERVER_H

#include <lua.h>

int luaopen_host_server(lua_State *L);

#endif
