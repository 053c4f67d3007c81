/* JSON Schema, as far as models and tools use it: values checked, schemas made strict. Pure.
 *
 * What is known: type, properties, required, additionalProperties, items, enum, const, anyOf, oneOf, allOf,
 * not, $ref within the schema, nullable, and the bounds of numbers, texts, lists and objects. Everything else
 * (pattern, format, descriptions) passes. Called by lua_schema.c and lua_openai.c. */
#ifndef AH_SCHEMA_H
#define AH_SCHEMA_H

#include "buf.h"
#include "json.h"

#define AH_SCHEMA_FAULTS_COUNT 8

/* How many things are wrong with `value`, at most AH_SCHEMA_FAULTS_COUNT; each a line of `faults` (may be NULL):
 * "'items[2].price' must be of type number". An empty object passes for an empty array: Lua's {} may be either. */
size_t ah_schema_check(struct ah_json schema, struct ah_json value, struct ah_buf *faults);

/* What a $ref within the schema means: "#", "#/$defs/x"; absent when it leads nowhere, or elsewhere. */
struct ah_json ah_schema_find(struct ah_json root, struct ah_json ref);

/* An answer to the strict form of `schema` (strict.h) as one to itself: nulls of optional properties are left out. -1: `to` is
 * full. */
int ah_schema_prune(struct ah_json schema, struct ah_json value, struct ah_buf *to);

#endif
