/* host.run: where a run waits for a person. Opened by host.c. */
#ifndef AH_LUA_RUN_H
#define AH_LUA_RUN_H

#include <lua.h>

int luaopen_host_run(lua_State *L);

#endif
