/* Lua module host.openai. */
#ifndef AH_LUA_OPENAI_H
#define AH_LUA_OPENAI_H

#include <lua.h>

int luaopen_host_openai(lua_State *L);

#endif
