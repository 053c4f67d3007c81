/* Lua module host.schema. */
#ifndef AH_LUA_SCHEMA_H
#define AH_LUA_SCHEMA_H

#include "buf.h"
#include "json.h"

#include <lua.h>

int luaopen_host_schema(lua_State *L);
/* A model's text as a value of the schema: pushes the value, or nil and what is wrong, for the model to read.
 * Two values in any case. Nulls of optional properties are left out. */
void ah_lua_schema_read(lua_State *L, struct ah_json schema, const struct ah_buf *text);

#endif
