/* JSON values made small enough to be sent: long texts, long lists and whole parts are cut, and a marker says so with
 * the length and the SHA-256 of what was cut. The full text stays in the journal. Pure; the same value and room always
 * give the same bytes. Called by lswire.c. */
#ifndef AH_LSCUT_H
#define AH_LSCUT_H

#include "buf.h"
#include "json.h"

#define AH_LSCUT_MIN_BYTES 256 /* a value is never cut to less: the marker needs room */

/* Appends `v`, an object still an object and a list still a list, in about `room` bytes. -1: no memory. */
int ah_lscut_value(struct ah_buf *to, struct ah_json v, size_t room);
/* Appends the first characters of a decoded text and the marker, quoted: at most `characters` in all. */
int ah_lscut_text(struct ah_buf *to, const char *text, size_t n, size_t characters);
/* A size that, as the greatest of `n` sizes, makes their sum at most `room`: what is smaller stays whole. */
size_t ah_lscut_share(const size_t *sizes, size_t n, size_t room);

#endif
