/* Signatures of Scalekit's webhooks. Pure but for the set of hashes it calls. */
#ifndef AH_SKHOOK_H
#define AH_SKHOOK_H

#include "err.h"

#define AH_SKHOOK_TOLERANCE_S 300

struct ah_skhook {
    const char *id, *timestamp, *signatures; /* headers webhook-id, webhook-timestamp, webhook-signature */
    const char *body;                        /* as it came, not decoded */
    size_t body_n;
};

/* 0: somebody who knows the secret ("whsec_...") sent this, at most tolerance_s away from now_s. -1:
 * AH_AUTH says what does not fit, AH_CONFIG that the secret is none. */
int ah_skhook_verify(const char *secret, const struct ah_skhook *hook, int64_t now_s, int64_t tolerance_s,
                     struct ah_error *err);

#endif
