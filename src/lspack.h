/* A request's body, packed on another thread: the loop never waits for it. Called by lssend_post.c. */
#ifndef AH_LSPACK_H
#define AH_LSPACK_H

#include "buf.h"

#include <stdint.h>

#define AH_LSPACK_MIN_BYTES 2048 /* less is not worth it */

enum ah_lspack_coding { AH_LSPACK_NONE, AH_LSPACK_ZSTD, AH_LSPACK_GZIP };

struct ah_loop;
struct ah_lspack; /* opaque */

const char *ah_lspack_name(enum ah_lspack_coding coding); /* of Content-Encoding */

/* Takes the body's memory. done(arg, body, coding) is called once, in a ready phase: with the packed body, or, where
 * that would not help or there is no memory, with the body as it was and AH_LSPACK_NONE; the buffer is borrowed.
 * `raw_n` is its length before. NULL: no memory, the body is untouched. */
struct ah_lspack *ah_lspack_start(struct ah_loop *loop, enum ah_lspack_coding coding, struct ah_buf *body,
                                  void (*done)(void *arg, struct ah_buf *body, enum ah_lspack_coding coding,
                                               size_t raw_n),
                                  void *arg);
void ah_lspack_forget(struct ah_lspack *p); /* done will not be called */

#endif
