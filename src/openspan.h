/* Open spans and where they started: an end event then names its start, and no reader has to search.
 * A hash table by run and span. Used by the store's files only; knows no SQL. */
#ifndef AH_OPENSPAN_H
#define AH_OPENSPAN_H

#include <stddef.h>
#include <stdint.h>

struct ah_openspan {
    int64_t run, span, seq; /* seq 0: free */
    int64_t at;
};
struct ah_openspans {
    struct ah_openspan *slots;
    size_t count, cap; /* cap: 0 or a power of two */
};

int ah_openspan_add(struct ah_openspans *o, int64_t run, int64_t span, int64_t seq,
                    int64_t at);                                                  /* -1: no memory */
int64_t ah_openspan_seq(const struct ah_openspans *o, int64_t run, int64_t span); /* 0: not open */
void ah_openspan_remove(struct ah_openspans *o, int64_t run, int64_t span);

#endif
