/* Spans of model calls, in the shape of LangSmith's wrap_openai. Private to openai.c; sends nothing, knows
 * no Lua. */
#ifndef AH_OASPAN_H
#define AH_OASPAN_H

#include "http.h"
#include "json.h"
#include "openai.h"
#include "trace.h"

/* A span of the request `sent`; `name` when req gives none. NULL: the run is not traced. */
struct ah_span *ah_oaspan_start(const struct ah_openai_req *req, enum ah_span_type type, const char *name,
                                struct ah_json sent);
/* What a gateway says of a call (headers x-litellm-*), as one JSON object; how many, 0: nothing is written. */
int ah_oaspan_gateway(const struct ah_http_res *res, struct ah_buf *to);
/* The same becomes metadata. */
void ah_oaspan_headers(struct ah_span *span, const struct ah_buf *gateway);
/* An answer without its usage, which goes beside it. -1: `to` is full. */
int ah_oaspan_without_usage(struct ah_json body, struct ah_buf *to);
/* How many vectors came: themselves they would fill every trace. -1: `to` is full. */
int ah_oaspan_embeddings(struct ah_json body, struct ah_buf *to);

#endif
