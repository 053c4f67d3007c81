/* The header "baggage" as LangSmith's SDKs write it (spec/langsmith-api.md 5.6): metadata, tags and project of a
 * run, for a process that goes on with its trace. Pure. Called by lua_trace.c. */
#ifndef AH_BAGGAGE_H
#define AH_BAGGAGE_H

#include "json.h"

#include <stddef.h>

struct ah_buf;

/* Appends the header's value; "" when there is nothing to say. `metadata` is an object, `tags` an array of strings;
 * either may be absent. -1: `to` is full. */
int ah_baggage_write(struct ah_json metadata, struct ah_json tags, const char *project, struct ah_buf *to);
/* Reads a header's value: metadata becomes JSON object text, tags JSON array text, project plain text; each stays
 * empty when it is not there. Lenient: what is no such item, or a broken one, is passed over. */
void ah_baggage_read(const char *p, size_t n, struct ah_buf *metadata, struct ah_buf *tags,
                     struct ah_buf *project);

#endif
