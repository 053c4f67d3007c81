/* Lua module host.langsmith. */
#ifndef AH_LUA_LANGSMITH_H
#define AH_LUA_LANGSMITH_H

#include <lua.h>

/* langsmith.flush, which is trace.flush, too. */
int ah_lua_langsmith_flush(lua_State *L);
int luaopen_host_langsmith(lua_State *L);

#endif
