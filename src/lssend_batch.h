/* What the sender's files share: the sender, destinations, batches, and how they are handed on. Private to lssend*.c:
 * everybody else sees lssend.h. */
#ifndef AH_LSSEND_BATCH_H
#define AH_LSSEND_BATCH_H

#include "core.h"
#include "err.h"
#include "http.h"
#include "loop.h"
#include "lsinfo.h"
#include "lspack.h"
#include "lswire.h"
#include "op.h"
#include "store.h"
#include "tracing.h"

#define AH_LSSEND_EVENT_BYTES ((size_t)600 << 20)
#define AH_LSSEND_WORDS_BYTES 400
#define AH_LSSEND_TROUBLE_MS 1000 /* of our own: memory, journal */
#define AH_LSSEND_CUT_LEVELS 6

/* Spans by the number of their start event, ascending. */
struct ah_lssend_row {
    int64_t seq, run, span, seen_us;
    bool refused; /* of `created`: the create did not arrive; the end goes as a whole */
};
struct ah_lssend_rows {
    struct ah_lssend_row *list;
    size_t n, cap;
};

struct ah_lssend_batch {
    struct ah_lssend_batch *next;
    struct ah_lssend_dest *dest;
    int64_t id, created;
    int attempts;
    struct ah_store_item *items;
    size_t count;
    bool maybe; /* an earlier request may have been taken: 409 then means delivered */
    bool plain; /* not packed, to see whether that is what is refused */
    bool packed;
    size_t bytes; /* of the last request, unpacked */
    char type[80];
    struct ah_lspack *job; /* either of these: it is in flight */
    struct ah_http_op *op;
};

struct ah_lssend_dest {
    struct ah_lssend_dest *next;
    struct ah_lssend *sender;
    int64_t n, position;               /* as far as was read */
    char *name, *endpoint, *workspace; /* name: of the journal; see tracing.h */
    char *key, *project;               /* project: of a copy; NULL = the run's own */
    bool remap;                        /* a copy beside a primary */
    bool emulated, matched;            /* matched: this process may send it */
    bool leased, dirty;                /* dirty: there may be something to read */
    bool asked;                        /* next_us is what the server asked for */
    bool retry;                        /* there may be RETRY exceptions */
    struct ah_lsinfo info;             /* what it may be sent at once, and how */
    bool worked, asked_info;           /* it took an upload: before that nothing is asked */
    size_t usual_bytes;                /* of a batch: room for the next */
    struct ah_http_op *asking;
    struct ah_lssend_batch *batches;
    int in_flight, failures;
    int64_t next_us;         /* monotonic; not before */
    struct ah_error refused; /* of the key: nothing is sent for long */
    char trouble[AH_LSSEND_WORDS_BYTES];
    struct ah_lssend_rows open, created;
};

struct ah_lssend {
    struct ah_core *core;
    struct ah_tracing_rules rules; /* of this turn */
    struct ah_ready pump;
    struct ah_timer gather, later;
    int64_t seen_seq, gather_seq;
    int64_t gather_ms, early_ms;
    uint64_t pushed;
    bool gathering, forced; /* forced: also when tracing is switched off */
    int in_flight;
    struct ah_lssend_dest *dests;
    struct ah_lssend_flush *flushes;
};

/* --- lssend.c */
void ah_lssend_kick(struct ah_lssend *s); /* the pump runs in this turn, or the next */

/* --- lssend_batch.c */
struct ah_lssend_row *ah_lssend_find_row(const struct ah_lssend_rows *r, int64_t seq);
/* The row there is now: a known one stays. NULL: no memory. */
struct ah_lssend_row *ah_lssend_add_row(struct ah_lssend_rows *r, const struct ah_lssend_row *row);
void ah_lssend_remove_row(struct ah_lssend_rows *r, int64_t seq);
void ah_lssend_drop_rows(struct ah_lssend_rows *r);
int64_t ah_lssend_wall(struct ah_lssend *s);
/* Copies the items. The caller links it. NULL: no memory. */
struct ah_lssend_batch *ah_lssend_new_batch(struct ah_lssend_dest *d, int64_t id,
                                            const struct ah_store_item *items, size_t count);
/* The same with an id of its own, and saved. */
struct ah_lssend_batch *ah_lssend_make_batch(struct ah_lssend_dest *d, const struct ah_store_item *items,
                                             size_t count);
int ah_lssend_save_batch(const struct ah_lssend_batch *b);
void ah_lssend_append_batch(struct ah_lssend_dest *d, struct ah_lssend_batch *b);
void ah_lssend_close_batch(struct ah_lssend_batch *b); /* its outcome is known: gone, from the journal, too */
void ah_lssend_free_batch(struct ah_lssend_batch *b);  /* from memory only */

/* --- lssend_dest.c */
void ah_lssend_match_dests(struct ah_lssend *s);
void ah_lssend_delay(struct ah_lssend_dest *d, int64_t ms);
void ah_lssend_refuse_dest(struct ah_lssend_dest *d, struct ah_error *why); /* moves `why` */
bool ah_lssend_take_lease(struct ah_lssend_dest *d);                        /* false: not now */
void ah_lssend_release(struct ah_lssend_dest *d);
void ah_lssend_free_dest(struct ah_lssend_dest *d);

/* --- lssend_body.c */
/* An event's text. 1: it is gone from the journal; -1: not now. */
int ah_lssend_load_event(struct ah_lssend_dest *d, int64_t seq, struct ah_buf *to);
/* How large a run may be at each level of cutting. 0: as large as it is. */
size_t ah_lssend_room_of(int cut);
void ah_lssend_park(struct ah_lssend_dest *d, const struct ah_store_item *item, const char *reason);
/* Adds a run to a body. 0: added; 1: it does not fit any more; 2: parked, it would be refused. */
int ah_lssend_add_run(struct ah_lssend_dest *d, struct ah_lswire_body *body, const struct ah_store_item *item,
                      const char *start, size_t start_n, const char *end, size_t end_n, const char *project,
                      size_t max);
/* The body of a batch from its items, always the same bytes. Items whose events are gone, and those that
 * would be refused, are taken out of it. -1: not now. */
int ah_lssend_load_body(struct ah_lssend_batch *b, struct ah_lswire_body *body);

/* --- lssend_post.c */
/* Saves the batch, and queues its request: packed first where the service offers that. -1: it is not saved; 0: it is,
 * and when nothing could be queued the pump tries again. */
int ah_lssend_send_batch(struct ah_lssend_batch *b, struct ah_lswire_body *body);
/* Sends a batch from its items: one of an earlier attempt, of another process, or a half. */
void ah_lssend_resend_batch(struct ah_lssend_batch *b);
/* Beside the second upload, once; nothing waits for the answer. */
void ah_lssend_ask_info(struct ah_lssend_dest *d);

/* --- lssend_verdict.c */
void ah_lssend_take_answer(struct ah_op *op, void *batch);

/* --- lssend_read.c */
bool ah_lssend_early_is_due(const struct ah_lssend_dest *d);
/* Makes the next batch, ends first: a create of what is about to be patched would be waste. 1: sent; 2:
 * read on later; 0: nothing; -1: not now. */
int ah_lssend_next_batch(struct ah_lssend_dest *d);

#endif
