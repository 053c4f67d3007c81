/* The environment of scripts: frozen globals, one _ENV for each script, `require` with our search order,
 * and nothing that reaches past the host. Layer 6. */
#ifndef AH_SANDBOX_H
#define AH_SANDBOX_H

#include <lua.h>
#include <stdio.h>

struct ah_module {
    const char *name;
    lua_CFunction open;
};

/* Opens Lua's libraries without what scripts must not have, and registers the C modules (a list that
 * ends with a NULL name) for require. Raises, as all of these. */
void ah_sandbox_open(lua_State *L, const struct ah_module *modules);
/* One more C module: pops its opener from the stack. */
void ah_sandbox_add(lua_State *L, const char *name);
/* What scripts print goes to these streams instead of the process's; before ah_sandbox_freeze. */
void ah_sandbox_redirect(lua_State *L, FILE *out, FILE *err);
/* After task.c has put its coroutine functions in place: replaces what must go through the host, and
 * makes all globals read-only. */
void ah_sandbox_freeze(lua_State *L);
/* A new environment for a script (and the modules of its folder), pushed and kept as the current one. */
void ah_sandbox_new_env(lua_State *L);
/* Sets the function on top of the stack to run in the current environment. */
void ah_sandbox_adopt(lua_State *L);
/* Pushes what `require(name)` answers in the current environment. */
void ah_sandbox_require(lua_State *L, const char *name);

#endif
