/* host.session: conversations in the journal. Opened by host.c. */
#ifndef AH_LUA_SESSION_H
#define AH_LUA_SESSION_H

#include <lua.h>

int luaopen_host_session(lua_State *L);

#endif
