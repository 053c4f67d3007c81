/* Lua module host.http. */
#ifndef AH_LUA_HTTP_H
#define AH_LUA_HTTP_H

#include <lua.h>

int luaopen_host_http(lua_State *L);

#endif
