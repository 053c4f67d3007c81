/* The secrets of connected accounts: into the set of secrets, and out of every answer.
 *
 * What Scalekit answers about an account's authorization never reaches a caller: each value is registered
 * under a name, and the answer holds that name as "[secret:NAME]". Called by skcall.c. */
#ifndef AH_SKSECRET_H
#define AH_SKSECRET_H

#include "buf.h"
#include "err.h"
#include "json.h"
#include "secret.h"
#include "skwire.h"

/* Arguments that carry an account's authorization: their values are masked from here on. -1: no memory. */
int ah_sksecret_hide(struct ah_secrets *s, struct ah_json args);
/* Whether an answer holds any; then `out` gets the same JSON with names instead of values. -1: no memory. */
int ah_sksecret_take(struct ah_secrets *s, const struct ah_skwire_row *row, struct ah_json answer,
                     struct ah_buf *out, bool *found, struct ah_error *err);
/* Whether a member of authorization_details holds a secret: all but a few that are known to be public. */
bool ah_sksecret_is_public(const char *member);

#endif
