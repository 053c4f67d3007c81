/* Lua module host.scalekit. */
#ifndef AH_LUA_SCALEKIT_H
#define AH_LUA_SCALEKIT_H

#include "luax.h"

int luaopen_host_scalekit(lua_State *L);
/* The service of this state; raises where there is none. */
struct ah_scalekit *ah_lua_scalekit_service(lua_State *L);
/* For whom, when a call does not say: --user, else what the run says, else AGENTHOST_USER, else NULL. */
const char *ah_lua_scalekit_identifier(lua_State *L);

#endif
