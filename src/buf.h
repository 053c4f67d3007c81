/* A growing run of bytes with a maximum that is given when it is made.
 *
 * Appending past the maximum, or without memory, fails and stays failed: callers may append many
 * pieces and look once at the end (ah_buf_failed). The bytes are always followed by a NUL that is
 * not counted. All-zero is an empty buffer that takes nothing (max 0). Not for use by two threads. */
#ifndef AH_BUF_H
#define AH_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct ah_buf {
    char *p; /* NULL until the first append */
    size_t n, cap, max;
    bool failed;
};

void ah_buf_init(struct ah_buf *b, size_t max);
void ah_buf_drop(struct ah_buf *b);  /* frees, back to all-zero */
void ah_buf_clear(struct ah_buf *b); /* keeps memory and maximum, forgets bytes and failure */

/* Room for `n` more bytes after b->n; NULL if refused. The caller writes and adds to b->n. */
char *ah_buf_reserve(struct ah_buf *b, size_t n);
int ah_buf_add(struct ah_buf *b, const void *p, size_t n);
int ah_buf_addc(struct ah_buf *b, char c);
int ah_buf_adds(struct ah_buf *b, const char *s);
int ah_buf_addf(struct ah_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int ah_buf_vaddf(struct ah_buf *b, const char *fmt, va_list args);
void ah_buf_consume(struct ah_buf *b, size_t n); /* drops the first n bytes */

/* Moves the bytes out (NUL-terminated, malloc'd; "" if empty); NULL if the buffer failed. The
 * buffer is left empty with its maximum. */
char *ah_buf_take(struct ah_buf *b, size_t *n);
const char *ah_buf_str(const struct ah_buf *b); /* never NULL */

#endif
