/* What waits to be written into the journal: events and small changes, in order, in a few growing
 * blocks of memory, and the texts that are stored once. Used by store.c only; knows no SQL.
 *
 * A text of some length is hashed; a map of recent hashes tells whether the journal has it already.
 * In the body it is replaced by one placeholder byte, which JSON cannot contain, and a reference. */
#ifndef AH_QUEUE_H
#define AH_QUEUE_H

#include "buf.h"

#include <stdint.h>

#define AH_QUEUE_MARK '\001'
#define AH_QUEUE_INTS 16
#define AH_QUEUE_TEXTS 8

/* One change. What the numbers and texts mean is store.c's. */
struct ah_queued {
    int type;
    int64_t i[AH_QUEUE_INTS];
    double d;
    int texts;         /* NUL-terminated, one after another, at `at`; or one body of n bytes */
    size_t at, n;      /* in bytes */
    size_t refs;       /* first in refs */
    size_t refs_count; /* > 0: n of a blob in the journal; < 0: -1 - index of a pending one */
};

/* Names a text in this process. */
struct ah_sip {
    uint64_t half[2];
};

struct ah_queued_blob {
    struct ah_sip hash;
    size_t at, n;
    int64_t row; /* given when it was written */
};

struct ah_known {
    struct ah_sip hash;
    int64_t row; /* 0: none; < 0: pending; > 0: in the journal */
    int64_t at;  /* monotonic microseconds */
};

struct ah_queue {
    struct ah_buf bytes, texts; /* bodies and names; blobs */
    struct ah_queued *ops;
    size_t count, cap;
    int64_t *refs;
    size_t refs_count, refs_cap;
    struct ah_queued_blob *blobs;
    size_t blobs_count, blobs_cap;
    struct ah_known *known;
    uint64_t key[2];       /* of the hash */
    struct ah_queued *now; /* between begin and end of a body */
    bool failed;           /* of the body that is being built */
    size_t events;
    uint64_t blobs_known; /* texts that were not stored again */
};

int ah_queue_init(struct ah_queue *q); /* -1: no memory */
void ah_queue_drop(struct ah_queue *q);
/* Empties the queue; `kept` false: it was not written but given up. */
void ah_queue_written(struct ah_queue *q, bool kept);

/* Texts written so far are another journal's: they will be stored again. */
void ah_queue_forget(struct ah_queue *q);

/* A change with its texts (NULL is ""). NULL: no memory. Valid until the next call. */
struct ah_queued *ah_queue_add(struct ah_queue *q, int type, int texts, const char *const *text);
/* The same with bytes. */
struct ah_queued *ah_queue_add_bytes(struct ah_queue *q, int type, const void *p, size_t n);

/* A change with a body. Begin, puts, end. */
struct ah_queued *ah_queue_begin(struct ah_queue *q, int type);
void ah_queue_put(struct ah_queue *q, const char *p, size_t n);
/* Room for n bytes that hold no control character, and how many of them were written. NULL: no memory. */
char *ah_queue_room(struct ah_queue *q, size_t n);
void ah_queue_used(struct ah_queue *q, size_t n);
void ah_queue_put_str(struct ah_queue *q, const char *p, size_t n);
void ah_queue_put_text(struct ah_queue *q, const char *p, size_t n, size_t min);
void ah_queue_put_object(struct ah_queue *q, const char *p, size_t n);
int ah_queue_end(struct ah_queue *q); /* -1: no memory; the change is gone */

const char *ah_queue_text(const struct ah_queue *q, const struct ah_queued *op, int index);

#endif
