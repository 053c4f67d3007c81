/* Ops: reference counts, the one end, the one waiter. Called by everything that waits. */
#include "op.h"

#include <stdlib.h>
#include <string.h>

static void tell_waiter(struct ah_ready *r)
{
    struct ah_op *op = (struct ah_op *)((char *)r - offsetof(struct ah_op, ready));
    void (*on_done)(struct ah_op *, void *) = op->on_done;
    op->on_done = NULL;
    if (on_done)
        on_done(op, op->arg);
    ah_op_unref(op); /* the queue's reference */
}

void ah_op_init(struct ah_op *op, const struct ah_op_class *cls, struct ah_loop *loop)
{
    *op = (struct ah_op){.cls = cls, .loop = loop, .refs = 1, .issued = ah_loop_number(loop)};
    op->ready.run = tell_waiter;
}

struct ah_op *ah_op_ref(struct ah_op *op)
{
    op->refs++;
    return op;
}

void ah_op_unref(struct ah_op *op)
{
    if (!op)
        return;
    if (op->refs == 1 && !op->done) {
        op->on_done = NULL;
        ah_op_cancel(op); /* may finish at once, or keep its own reference until it has */
    }
    if (--op->refs > 0)
        return;
    ah_err_drop(&op->err);
    op->cls->free(op);
}

static void queue_waiter(struct ah_op *op)
{
    if (op->on_done && !op->ready.queued) {
        ah_op_ref(op);
        ah_loop_ready(op->loop, &op->ready);
    }
}

void ah_op_finish(struct ah_op *op, struct ah_error *err)
{
    if (op->done) {
        ah_err_drop(err);
        return;
    }
    op->done = true;
    op->completed = ah_loop_number(op->loop);
    if (op->cancelled && !(err && err->kind == AH_OUTCOME_UNKNOWN)) {
        ah_err_set(&op->err, AH_CANCELLED, "%s was cancelled", op->cls->name);
        ah_err_drop(err);
    } else if (err) {
        ah_err_move(&op->err, err);
    }
    queue_waiter(op);
}

void ah_op_cancel(struct ah_op *op)
{
    if (op->done || op->cancelled)
        return;
    op->cancelled = true;
    ah_op_ref(op); /* cancel may drop what holds the op */
    op->cls->cancel(op);
    ah_op_unref(op);
}

void ah_op_wait(struct ah_op *op, void (*on_done)(struct ah_op *, void *), void *arg)
{
    op->on_done = on_done;
    op->arg = arg;
    if (!on_done && op->ready.queued) {
        ah_loop_unready(op->loop, &op->ready);
        ah_op_unref(op);
    } else if (op->done) {
        queue_waiter(op);
    }
}

/* --- the two simple kinds ----------------------------------------------------------------------- */

struct sleep_op {
    struct ah_op op;
    struct ah_timer timer;
};

static void cancel_sleep(struct ah_op *op)
{
    ah_timer_stop(&((struct sleep_op *)op)->timer);
    ah_op_finish(op, NULL);
}

static void free_sleep(struct ah_op *op)
{
    ah_timer_stop(&((struct sleep_op *)op)->timer);
    free(op);
}

static const struct ah_op_class sleep_class = {"sleep", cancel_sleep, free_sleep};

static void fire_sleep(struct ah_timer *t)
{
    struct sleep_op *s = t->arg;
    ah_timer_stop(&s->timer);
    ah_op_finish(&s->op, NULL);
}

struct ah_op *ah_op_sleep(struct ah_loop *loop, int64_t ms)
{
    struct sleep_op *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    ah_op_init(&s->op, &sleep_class, loop);
    if (ah_timer_start(loop, &s->timer, ms, fire_sleep, s) != 0) {
        free(s);
        return NULL;
    }
    return &s->op;
}

static void cancel_latch(struct ah_op *op)
{
    ah_op_finish(op, NULL);
}

static void free_latch(struct ah_op *op)
{
    free(op);
}

static const struct ah_op_class latch_class = {"wait", cancel_latch, free_latch};

struct ah_op *ah_op_latch(struct ah_loop *loop)
{
    struct ah_op *op = calloc(1, sizeof *op);
    if (op)
        ah_op_init(op, &latch_class, loop);
    return op;
}
