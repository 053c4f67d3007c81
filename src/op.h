/* One thing that somebody waits for: a transfer, a timer, a whole call of a service.
 *
 * An op is embedded as the first member of a larger struct, belongs to its references, and ends
 * exactly once, by ah_op_finish. Whoever waits is told from the loop's ready phase, never from
 * inside a library's callback; so the waiter may start, cancel or drop ops freely. Owner thread
 * only. Knows no Lua. */
#ifndef AH_OP_H
#define AH_OP_H

#include "err.h"
#include "loop.h"

struct ah_op;

struct ah_op_class {
    const char *name;                 /* for messages: "http request" */
    void (*cancel)(struct ah_op *op); /* stop the work; must lead to ah_op_finish, now or later */
    void (*free)(struct ah_op *op);   /* last reference gone: release everything but op->err */
};

struct ah_op {
    const struct ah_op_class *cls;
    struct ah_loop *loop;
    int refs;
    bool done;
    bool inner;      /* tasks of this host end it: no part of the world decides when */
    bool cancelled;  /* ah_op_cancel was called; err is then AH_CANCELLED when it ends */
    uint64_t issued; /* order of start and of completion in this loop: replay stands on them */
    uint64_t completed;
    struct ah_error err; /* kind AH_NONE: it succeeded. Valid once done */
    struct ah_ready ready;
    void (*on_done)(struct ah_op *op, void *arg); /* the one waiter */
    void *arg;
};

/* One reference, held by the caller. */
void ah_op_init(struct ah_op *op, const struct ah_op_class *cls, struct ah_loop *loop);
struct ah_op *ah_op_ref(struct ah_op *op);
void ah_op_unref(
    struct ah_op *op); /* NULL is fine. The last one frees; an unfinished op is cancelled first */
/* Ends the op; a second call is ignored. `err` (may be NULL: success) is moved in. */
void ah_op_finish(struct ah_op *op, struct ah_error *err);
/* Asks it to stop: err becomes AH_CANCELLED, the waiter is still told. Nothing if done. */
void ah_op_cancel(struct ah_op *op);
/* Sets the waiter; a finished op tells it in the next ready phase. NULL takes the waiter away. */
void ah_op_wait(struct ah_op *op, void (*on_done)(struct ah_op *, void *), void *arg);

/* A timer as an op: done after `ms`, AH_CANCELLED when cancelled. NULL: out of memory. */
struct ah_op *ah_op_sleep(struct ah_loop *loop, int64_t ms);
/* An op that ends when somebody calls ah_op_finish: a latch between C parts. */
struct ah_op *ah_op_latch(struct ah_loop *loop);

#endif
