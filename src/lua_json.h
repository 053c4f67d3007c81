/* The Lua module host.json. */
#ifndef AH_LUA_JSON_H
#define AH_LUA_JSON_H

#include <lua.h>

/* Needs ah_luajson_open before, once in this state. */
int luaopen_host_json(lua_State *L);

#endif
