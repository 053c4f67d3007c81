/* JSON Schemas as OpenAI's strict mode takes them. Pure. Called by lua_schema.c and lua_openai.c. */
#ifndef AH_STRICT_H
#define AH_STRICT_H

#include "buf.h"
#include "err.h"
#include "json.h"

/* Writes the schema so that the service accepts it with strict = true: an object at the top, nothing but the
 * properties named, all of them required and the optional ones nullable; what strict mode does not know (default,
 * minLength ...) is told in the description. What is strict already comes out the same. -1: AH_INVALID names the
 * place and what to write instead. */
int ah_strict_write(struct ah_json schema, struct ah_buf *to, struct ah_error *err);

#endif
