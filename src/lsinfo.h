/* What a LangSmith says of itself (GET /info, spec/langsmith-api.md 3.2): how much one request may hold, and how it may
 * be packed. Pure. Called by lssend_post.c. All-zero is not asked yet: ah_lsinfo_default. */
#ifndef AH_LSINFO_H
#define AH_LSINFO_H

#include "lspack.h"

#include <stdbool.h>
#include <stddef.h>

struct ah_lsinfo {
    size_t runs_max, bytes_max; /* of one request */
    bool multipart;
    enum ah_lspack_coding coding;
};

void ah_lsinfo_default(struct ah_lsinfo *info); /* what the service documents */
/* Overlays what an answer says. Numbers out of reason are brought into it. -1: no such answer. */
int ah_lsinfo_read(struct ah_lsinfo *info, const char *body, size_t n);

#endif
