/* How far two names are apart, and which name was probably meant.
 *
 * Called wherever an unknown name is refused: options, commands, variables, connections, fields.
 * Must never allocate: it runs while an error is being described. */
#include "near.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define NAME_MAX_BYTES 64 /* longer names are compared by their first bytes */
#define EDIT 2            /* in half steps */
#define CASE 1
#define PREFIX_MIN 3

static size_t replace_cost(char a, char b)
{
    if (a == b)
        return 0;
    return tolower((unsigned char)a) == tolower((unsigned char)b) ? CASE : EDIT;
}

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;
    return m < c ? m : c;
}

/* Three rows of the usual matrix: the swap of neighbours looks two rows back. */
size_t ah_near_distance(const char *a, const char *b)
{
    size_t rows[3][NAME_MAX_BYTES + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    size_t na = strlen(a), nb = strlen(b);
    if (strcmp(a, b) == 0)
        return 0;
    size_t beyond =
        (na > NAME_MAX_BYTES ? na - NAME_MAX_BYTES : 0) + (nb > NAME_MAX_BYTES ? nb - NAME_MAX_BYTES : 0);
    na = na > NAME_MAX_BYTES ? NAME_MAX_BYTES : na;
    nb = nb > NAME_MAX_BYTES ? NAME_MAX_BYTES : nb;
    for (size_t j = 0; j <= nb; j++)
        above[j] = before[j] = j * EDIT;
    for (size_t i = 1; i <= na; i++) {
        row[0] = i * EDIT;
        for (size_t j = 1; j <= nb; j++) {
            row[j] =
                min3(above[j] + EDIT, row[j - 1] + EDIT, above[j - 1] + replace_cost(a[i - 1], b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] != a[i - 2] && replace_cost(a[i - 1], b[j - 2]) <= CASE &&
                replace_cost(a[i - 2], b[j - 1]) <= CASE) {
                size_t swapped = before[j - 2] + EDIT + replace_cost(a[i - 1], b[j - 2]) +
                                 replace_cost(a[i - 2], b[j - 1]);
                if (swapped < row[j])
                    row[j] = swapped;
            }
        }
        size_t *spare = before;
        before = above;
        above = row;
        row = spare;
    }
    return above[nb] + beyond * EDIT;
}

/* A name that differs in case only is as near as can be; one that goes on where the other ends (gmail,
 * gmail-b1fqL2Dr) is an edit away. */
static size_t score_of(const char *word, size_t n, const char *name)
{
    size_t d = ah_near_distance(word, name), name_n = strlen(name), shorter = n < name_n ? n : name_n;
    if (strcasecmp(word, name) == 0)
        return d < CASE ? d : CASE;
    if (shorter >= PREFIX_MIN && strncasecmp(word, name, shorter) == 0)
        return d < EDIT ? d : EDIT;
    return d;
}

/* Near enough: about one edit in three letters, and never all of a word. */
size_t ah_near_several(const char *word, const char *const *names, const char **out, size_t max)
{
    size_t score[AH_NEAR_MAX + 1], n = 0, word_n = strlen(word);
    size_t limit = word_n < 3 ? EDIT : (word_n + 2) / 3 * EDIT;
    max = max < AH_NEAR_MAX ? max : AH_NEAR_MAX;
    for (; *names; names++) {
        size_t d = score_of(word, word_n, *names);
        if (d > limit || d >= word_n * EDIT)
            continue;
        size_t at = n < max ? n++ : max;
        for (; at > 0 && score[at - 1] > d; at--) {
            score[at] = score[at - 1];
            if (at < max)
                out[at] = out[at - 1];
        }
        score[at] = d;
        if (at < max)
            out[at] = *names;
    }
    return n;
}

const char *ah_near_best(const char *word, const char *const *names)
{
    const char *found[1];
    return ah_near_several(word, names, found, 1) ? found[0] : NULL;
}
