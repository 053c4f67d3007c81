/* Options that all calls of host.openai share: base_url, api_key, timeout, retry, name, price, provider. Called by
 * lua_openai.c and lua_oaplain.c. */
#ifndef AH_LUA_OAOPTS_H
#define AH_LUA_OAOPTS_H

#include "luahttp.h"
#include "luax.h"
#include "openai.h"

/* NULL: not given. All-zero is fine. */
struct ah_lua_oaopts {
    char *base_url, *api_key, *name;
    char *provider; /* JSON, checked */
    char *price;    /* JSON object of ah_oaprice_put, or NULL */
    struct ah_luahttp_limits limits;
};

/* Their names, sorted, without a NULL at the end. */
#define AH_LUA_OAOPTS_NAMES "api_key", "base_url", "name", "price", "provider", "retry", "timeout"

/* Reads those of the table at idx over what *to holds; *to is in nobody's hands but an object's that drops
 * it: this raises. */
void ah_lua_oaopts_read(lua_State *L, int idx, struct ah_lua_oaopts *to);
/* Only those that one call may have: all but base_url and api_key. */
void ah_lua_oaopts_read_call(lua_State *L, int idx, struct ah_lua_oaopts *to);
void ah_lua_oaopts_copy(lua_State *L, struct ah_lua_oaopts *to, const struct ah_lua_oaopts *from);
void ah_lua_oaopts_drop(struct ah_lua_oaopts *o);
/* Raises kind config when base URL or key are missing. */
void ah_lua_oaopts_check(lua_State *L, const struct ah_lua_oaopts *o);
/* Into a request, with the run and span of the task. */
void ah_lua_oaopts_put(lua_State *L, const struct ah_lua_oaopts *o, struct ah_openai_req *req);

/* Replaces *slot by a copy of s (NULL: nothing). Raises for memory. */
void ah_lua_oaopts_text(lua_State *L, char **slot, const char *s);

#endif
