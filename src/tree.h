/* The tree of a run, for people: names, time, tokens, money where known, errors. Printed at the end of
 * `agenthost run` and by `trace show`. Reads the journal, writes to a FILE, nothing else. */
#ifndef AH_TREE_H
#define AH_TREE_H

#include "err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct ah_store;

struct ah_tree_opts {
    bool color;
    bool ascii;       /* |- and `- instead of lines, where the terminal is not UTF-8 */
    int max_spans;    /* 0 = 200; the rest is counted */
    bool hide_tokens; /* what looks like a credential (shapes.h) is masked */
};

/* `run` is the run's key in the journal; its events must be committed. `opts` may be NULL. A run without
 * spans prints one line that says so. -1: AH_NOT_FOUND, AH_JOURNAL, AH_MEMORY. */
int ah_tree_print(struct ah_store *s, int64_t run, const struct ah_tree_opts *opts, FILE *to,
                  struct ah_error *err);

#define AH_TREE_MONEY_BYTES 40
void ah_tree_money(double usd,
                   char out[AH_TREE_MONEY_BYTES]); /* what is not nothing does not read as nothing */

#endif
