/* Completion scripts for shells, from the tables of options.h. Pure. */
#ifndef AH_COMPLETION_H
#define AH_COMPLETION_H

#include "options.h"

#define AH_COMPLETION_BYTES ((size_t)1 << 20)

/* "bash", "zsh" or "fish". -1: AH_CONFIG, no such shell. out->failed when it is full. */
int ah_completion_write(const struct ah_command *root, const char *shell, struct ah_buf *out,
                        struct ah_error *err);

#endif
