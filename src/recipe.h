/* How a run was begun: what the journal keeps of it, so that it can be begun again. Written by runner.c, read by the
 * command resume. What the script saw after that is in its notes (replay.h). */
#ifndef AH_RECIPE_H
#define AH_RECIPE_H

#include "buf.h"
#include "core.h"
#include "err.h"
#include "json.h"

struct ah_recipe {
    char *text;             /* malloc'd: the ranges below point into it */
    struct ah_json args;    /* array of strings */
    struct ah_json command; /* an object: whatever the caller of the run gave (its options) */
    char script[4096], sha256[72], user[128];
    int64_t seed, resumes, base;
    int port; /* of the emulator, 0 = none */
};

/* The recipe of a run. -1: err (AH_NOT_FOUND: the run has none). */
int ah_recipe_read(struct ah_core *core, int64_t run, struct ah_recipe *out, struct ah_error *err);
void ah_recipe_drop(struct ah_recipe *r);
/* As JSON, secrets masked. `args` ends with NULL; `command` is JSON object text or NULL. The rest as in `r`. */
void ah_recipe_write(struct ah_core *core, const struct ah_recipe *r, const char *const *args,
                     const char *command, struct ah_buf *to);

#endif
