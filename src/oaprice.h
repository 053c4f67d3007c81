/* What a model call costs, from its tokens and a row of prices. Pure. Private to openai.c; which prices hold is the
 * caller's to know (scripts/agent/prices.lua). */
#ifndef AH_OAPRICE_H
#define AH_OAPRICE_H

#include "buf.h"
#include "json.h"

/* `price` is an object of US dollars per million tokens: input, output, and where they differ cached_input,
 * reasoning_output, audio_input, audio_output. `usage` is LangSmith's usage_metadata. Appends `usage` with
 * input_cost, output_cost and total_cost to `to` and answers the total; < 0, and nothing appended, when it cannot be
 * known: a price is missing, or the tokens are of a tier with prices of its own. */
double ah_oaprice_put(struct ah_json price, struct ah_json usage, struct ah_buf *to);
/* The same where somebody else knows the total: a gateway. */
int ah_oaprice_put_total(double total, struct ah_json usage, struct ah_buf *to);

#endif
