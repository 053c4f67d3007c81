/* Bodies that came packed with zstd or gzip (Content-Encoding). Pure. For the emulator. */
#ifndef AH_UNPACK_H
#define AH_UNPACK_H

#include <stdbool.h>
#include <stddef.h>

struct ah_buf;
struct ah_error;

bool ah_unpack_knows(const char *coding); /* "zstd" or "gzip" */
/* Appends what was packed; frames and members that follow one another count as one. -1: AH_LIMIT when it is more than
 * the buffer takes, AH_TRUNCATED when it stops early, AH_PROTOCOL when it is damaged or the coding is not known. */
int ah_unpack_body(const char *coding, const char *p, size_t n, struct ah_buf *to, struct ah_error *err);

#endif
