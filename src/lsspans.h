/* The spans of one run of the journal as LangSmith's run objects: for who shows, compares or exports them. Called by
 * cmd_*.c. Changes nothing. */
#ifndef AH_LSSPANS_H
#define AH_LSSPANS_H

#include "lswire.h"
#include "store.h"

/* Calls fn for each span in order of start; what it is given is borrowed and all rules are off. Non-zero ends it. A span
 * whose text is damaged is passed over. -1: AH_JOURNAL, AH_MEMORY. */
int ah_lsspans_each(struct ah_store *s, int64_t run, const char *project,
                    int (*fn)(void *arg, struct ah_lswire_run *run), void *arg, struct ah_error *err);

#endif
