/* multipart/form-data, both ways. Pure. Writing is for LangSmith ingestion (every part carries
 * Content-Type and Content-Length); reading is for the emulator. */
#ifndef AH_MULTIPART_H
#define AH_MULTIPART_H

#include <stddef.h>

struct ah_buf;
struct ah_error;

/* Appends one part: boundary line, headers, payload, CRLF. `name` must hold no quote, backslash, CR or
 * LF (-1). `type` NULL = application/json. The payload must not hold the boundary (callers make it
 * from random bytes). */
int ah_multipart_add(struct ah_buf *to, const char *boundary, const char *name, const char *type,
                     const char *p, size_t n);
int ah_multipart_end(struct ah_buf *to, const char *boundary);
/* The boundary parameter of a Content-Type value, unquoted, into out. -1: none. */
int ah_multipart_boundary(const char *content_type, char *out, size_t size);

struct ah_multipart_part {
    const char *name;     /* decoded, NUL-terminated; "" if not given; valid in the callback only */
    const char *type;     /* the whole Content-Type (with its parameters), or "" */
    const char *filename; /* or NULL */
    long long length;     /* by Content-Length or a length= parameter; -1: not given */
    int encoded;          /* the part carries a Content-Encoding (LangSmith refuses that) */
    const char *p;        /* payload */
    size_t n;
};
/* Calls on_part for each part of a whole body; non-zero stops with -1 and AH_CANCELLED.
 * -1 and AH_PROTOCOL: "multipart: NextPart: EOF" for a cut body, as Go's reader says, and other
 * sentences for other faults. */
int ah_multipart_read(const char *body, size_t n, const char *boundary,
                      int (*on_part)(void *arg, const struct ah_multipart_part *part), void *arg,
                      struct ah_error *err);

#endif
