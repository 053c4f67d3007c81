/* Lua modules host and host.script. */
#ifndef AH_LUA_HOST_H
#define AH_LUA_HOST_H

#include <lua.h>

int luaopen_host(lua_State *L);
/* Whom the run acts for; NULL: nobody has said. The flag wins over what the script says, and that over
 * AGENTHOST_USER. */
const char *ah_lua_host_identifier(lua_State *L);
int luaopen_host_script(lua_State *L);

#endif
