/* "Did you mean": the nearest of some names. Pure. */
#ifndef AH_NEAR_H
#define AH_NEAR_H

#include <stddef.h>

/* Edits (insert, delete, replace, swap of neighbours; case costs half, in half steps: 2 = one edit). */
size_t ah_near_distance(const char *a, const char *b);
/* Those of `names` (NULL-terminated) that are near enough to be worth saying, nearest first, into out; how many. */
#define AH_NEAR_MAX 8
size_t ah_near_several(const char *word, const char *const *names, const char **out, size_t max);
/* The nearest of them, or NULL. */
const char *ah_near_best(const char *word, const char *const *names);

#endif
