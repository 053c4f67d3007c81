/* The set of texts that must never be written anywhere, and the masking of them.
 *
 * A secret is registered once with a name; its JSON-escaped, URL-encoded and Basic forms are
 * registered with it. Scripts hold names only. One set per host. */
#ifndef AH_SECRET_H
#define AH_SECRET_H

#include <stdbool.h>
#include <stddef.h>

struct ah_buf;
struct ah_secrets; /* opaque */

struct ah_secrets *ah_secret_new(void);    /* NULL: out of memory */
void ah_secret_free(struct ah_secrets *s); /* wipes the values */

/* Copies the value. Values shorter than AH_SECRET_MIN_BYTES are kept (ah_secret_get finds them)
 * but not masked. The same name again replaces what ah_secret_get answers; the old text stays
 * masked. 0, or -1 without memory. */
int ah_secret_add(struct ah_secrets *s, const char *name, const char *value, size_t n);
/* Masks the text under that name, but ah_secret_get does not answer it: for values that are known and
 * not in force (a .env that the environment overrides, real keys while emulating). */
int ah_secret_hide(struct ah_secrets *s, const char *name, const char *value, size_t n);
/* ah_secret_get no longer answers the name; its texts stay masked. */
void ah_secret_forget(struct ah_secrets *s, const char *name);
/* The value behind a handle, NUL-terminated, valid until the set is freed; NULL: no such name. */
const char *ah_secret_get(const struct ah_secrets *s, const char *name, size_t *n);
/* Whether a variable's name marks its value as secret: *_KEY *_SECRET *_TOKEN *_PASSWORD. */
bool ah_secret_is_name(const char *variable);

/* Whether p[0..n) holds a registered text. Cheap when it does not: one table look-up a byte. */
bool ah_secret_found(const struct ah_secrets *s, const char *p, size_t n);
/* Appends p[0..n) to `to` with every registered text replaced by "[secret:NAME]". `s` may be NULL. */
int ah_secret_mask(const struct ah_secrets *s, const char *p, size_t n, struct ah_buf *to);
/* The length of the longest registered text in any of its forms; 0: none. Who masks a text that
 * comes in pieces holds back this much, or exactly the tail that may still become one: */
size_t ah_secret_longest(const struct ah_secrets *s);
/* How many bytes at the end of p[0..n) are the beginning of a registered text, be it one byte. */
size_t ah_secret_tail(const struct ah_secrets *s, const char *p, size_t n);
/* ah_secret_mask in place for a NUL-terminated text in memory of `size` bytes; a longer result is cut. */
void ah_secret_mask_str(const struct ah_secrets *s, char *text, size_t size);

#endif
