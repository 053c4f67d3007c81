/* Texts that look like credentials: keys by their prefix, bearer tokens, private keys, passwords in URLs and
 * behind names. Nobody registered them (that is secret.h): they came with a mail or a tool's answer. */
#ifndef AH_SHAPES_H
#define AH_SHAPES_H

#include <stdbool.h>
#include <stddef.h>

struct ah_buf;

/* Whether p[0..n), plain text or JSON text, holds such a text. */
bool ah_shapes_found(const char *p, size_t n);
/* Appends p[0..n) with each of them replaced by "[redacted:KIND]"; JSON stays JSON. -1: `to` is full. */
int ah_shapes_mask(const char *p, size_t n, struct ah_buf *to);

#endif
