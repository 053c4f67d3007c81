/* "Did you mean": the nearest of some names. Pure. */
#ifndef AH_NEAR_H
#define AH_NEAR_H

#include <stddef.h>

/* Edits (insert, delete, replace, swap of neighbours; case costs half, in half steps: 2 = one edit). */
size_t ah_near_distance(const char *a, const char *b);
/* The nearest of `names` (NULL-terminated) if it is near enough to be worth saying, else NULL. */
const char *ah_near_best(const char *word, const char *const *names);

#endif
