/* Lua module host.mcp. */
#ifndef AH_LUA_MCP_H
#define AH_LUA_MCP_H

#include <lua.h>

int luaopen_host_mcp(lua_State *L);

#endif
