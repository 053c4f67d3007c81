/* Lua module host.task. */
#ifndef AH_LUA_TASK_H
#define AH_LUA_TASK_H

#include <lua.h>

int luaopen_host_task(lua_State *L);

#endif
