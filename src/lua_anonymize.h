/* trace.anonymizer: a Lua function that says what may be seen of a run's texts. For lua_trace.c. */
#ifndef AH_LUA_ANONYMIZE_H
#define AH_LUA_ANONYMIZE_H

#include <lua.h>

struct ah_run;

/* Sets the function at idx for the run; raises without memory, and when something of the run may have been sent already. */
void ah_lua_anonymize_set(lua_State *L, int idx, struct ah_run *run);

#endif
