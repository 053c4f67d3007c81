/* The calls of host.openai that bring no message: embeddings, moderations, models. Called by lua_openai.c,
 * which also uses what they share with messages. */
#ifndef AH_LUA_OAPLAIN_H
#define AH_LUA_OAPLAIN_H

#include "luax.h"
#include "openai.h"

void ah_lua_oaplain_open(lua_State *L); /* once per state */
int ah_lua_oaplain_embeddings(lua_State *L);
int ah_lua_oaplain_moderations(lua_State *L);
int ah_lua_oaplain_models(lua_State *L);

/* What is known of the call itself (attempts, waited, request_id, headers), into the table on top. */
void ah_lua_oaplain_set_call(lua_State *L, const struct ah_openai_op *op);
/* usage_metadata and cost, where they are known, into the table on top. */
void ah_lua_oaplain_set_usage(lua_State *L, const struct ah_openai_op *op);

#endif
