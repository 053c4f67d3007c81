/* Secrets as scripts hold them: handles that name a secret, never its value. Concatenation keeps the
 * handle ("Bearer " .. host.secret "MY_TOKEN"); only bindings that send can look inside. */
#ifndef AH_LUASECRET_H
#define AH_LUASECRET_H

#include "luax.h"

void ah_luasecret_open(lua_State *L); /* once per state */
/* Pushes a handle for a name. Whether such a secret exists shows when it is sent. */
void ah_luasecret_push(lua_State *L, const char *name);
bool ah_luasecret_is(lua_State *L, int idx);
/* The text at idx (a string, a number, or a handle with its values filled in) appended to `to`. -1: err
 * is AH_CONFIG and names the secret that is not set. Raises for other types. */
int ah_luasecret_expand(lua_State *L, int idx, struct ah_buf *to, struct ah_error *err);

#endif
