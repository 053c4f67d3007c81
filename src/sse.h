/* Server-sent events: bytes in, events out. Pure.
 *
 * Reads as the HTML standard says: UTF-8, lines end in CR, LF or CRLF (a CRLF may be split over two
 * feeds), a leading byte-order mark and comments are ignored, several data lines join with LF, a
 * blank line dispatches. At the end of input an unfinished event is delivered by ah_sse_end if
 * the caller's test says that its data is complete. Time is linear in the bytes fed. */
#ifndef AH_SSE_H
#define AH_SSE_H

#include "buf.h"

#include <stdbool.h>
#include <stdint.h>

struct ah_error;

struct ah_sse_event {
    const char *name; /* "message" when the event has no name; NUL-terminated */
    const char *data; /* NUL-terminated as well, may hold NUL inside */
    size_t n;
};

struct ah_sse {
    struct ah_buf line, data, name;
    char *id;         /* last event id, NULL = none */
    int64_t retry_ms; /* -1 = none given */
    bool has_data, last_cr, past_bom;
    uint64_t comments; /* comment lines seen: they keep a connection alive */
    /* Called for each event, from inside ah_sse_feed. Non-zero stops the feed (AH_CANCELLED). */
    int (*on_event)(void *arg, const struct ah_sse_event *ev);
    void *arg;
};

/* Limits: AH_SSE_LINE_BYTES a line, AH_SSE_EVENT_BYTES an event. */
void ah_sse_init(struct ah_sse *s, int (*on_event)(void *, const struct ah_sse_event *), void *arg);
void ah_sse_drop(struct ah_sse *s);
/* -1: a limit (AH_LIMIT), no memory, or the callback stopped it (AH_CANCELLED); feed no more then. */
int ah_sse_feed(struct ah_sse *s, const char *p, size_t n, struct ah_error *err);
/* The input is over. 0: nothing was pending, or it was delivered because `complete` (NULL: accepts
 * nothing) accepted its data. -1: AH_TRUNCATED, an event was cut; AH_CANCELLED as above. */
int ah_sse_end(struct ah_sse *s, bool (*complete)(const char *data, size_t n), struct ah_error *err);

#endif
