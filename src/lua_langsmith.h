/* Lua module host.langsmith. */
#ifndef AH_LUA_LANGSMITH_H
#define AH_LUA_LANGSMITH_H

#include <lua.h>

int luaopen_host_langsmith(lua_State *L);

#endif
