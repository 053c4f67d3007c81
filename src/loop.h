/* The one loop (libuv underneath, seen only by loop.c).
 *
 * A turn is: run what is ready -> commit the journal -> start what is queued -> poll. The order is
 * the write barrier: nothing that was queued leaves the process before the journal has it. Owner
 * thread only, except ah_loop_post and ah_loop_wake. No Lua. */
#ifndef AH_LOOP_H
#define AH_LOOP_H

#include "clock.h"
#include "err.h"
#include "ids.h"

struct ah_loop; /* opaque */

struct ah_loop *ah_loop_new(struct ah_error *err);
void ah_loop_free(struct ah_loop *loop); /* everything that used it must be closed before */

/* One turn. Waits at most timeout_ms for something to happen (-1: as long as it takes, 0: does not
 * wait). Returns whether anything is left that can ever make progress. */
bool ah_loop_turn(struct ah_loop *loop, int timeout_ms);
/* From inside a turn: it does not wait in its poll. For whoever turns the loop until something is done,
 * and was told so in the ready phase. */
void ah_loop_hurry(struct ah_loop *loop);
/* For hosts that are driven from elsewhere: an fd that becomes readable when a turn has work, and in how many ms
 * one must be made all the same (0: now, -1: never). */
int ah_loop_fd(struct ah_loop *loop);
int ah_loop_timeout(struct ah_loop *loop);
/* From any thread or signal handler: a turn that waits comes back. */
void ah_loop_wake(struct ah_loop *loop);

/* --- phase 1: ready ---------------------------------------------------------------------- */
/* Embedded in what is to be run. Queued at most once at a time; may be re-queued from run. */
struct ah_ready {
    void (*run)(struct ah_ready *r);
    struct ah_ready *next, *prev;
    bool queued;
};
void ah_loop_ready(struct ah_loop *loop, struct ah_ready *r);
void ah_loop_unready(struct ah_loop *loop, struct ah_ready *r); /* takes it out if queued */
/* The same, but one at a time and only once nothing else is ready: one thing that came from outside has
 * had all its consequences before the next. Resume stands on this order. */
void ah_loop_after(struct ah_loop *loop, struct ah_ready *r);

/* --- phase 2: commit --------------------------------------------------------------------- */
/* Called once a turn, after the ready phase. True: all is on disk (or nothing was queued). False:
 * not now; queued starts are held back, and for 2 s what is ready too, and the turn ends within retry_ms. */
void ah_loop_set_commit(struct ah_loop *loop, bool (*commit)(void *arg), void *arg, int retry_ms);

/* --- phase 3: start ---------------------------------------------------------------------- */
/* Same shape as ready; run after a successful commit of the same turn. */
void ah_loop_start(struct ah_loop *loop, struct ah_ready *r);
void ah_loop_unstart(struct ah_loop *loop, struct ah_ready *r);

/* --- phase 4: what can happen while polling ------------------------------------------------ */
struct ah_timer {
    void *impl; /* NULL: never started */
    void (*fire)(struct ah_timer *t);
    void *arg;
};
/* (Re)starts it: fires once after ms. Callbacks run while polling: queue, do not work. 0, -1 ENOMEM */
int ah_timer_start(struct ah_loop *loop, struct ah_timer *t, int64_t ms, void (*fire)(struct ah_timer *),
                   void *arg);
void ah_timer_stop(struct ah_timer *t); /* all-zero is fine; memory of *t is free afterwards */
/* A background timer does not keep ah_loop_turn's answer true. */
void ah_timer_background(struct ah_timer *t, bool background);

enum { AH_WATCH_READ = 1, AH_WATCH_WRITE = 2, AH_WATCH_ERROR = 4 };
struct ah_watch {
    void *impl;
    void (*on_ready)(struct ah_watch *w, int events);
    void *arg;
};
int ah_watch_start(struct ah_loop *loop, struct ah_watch *w, int fd, int events,
                   void (*on_ready)(struct ah_watch *, int), void *arg);
void ah_watch_stop(struct ah_watch *w); /* before the fd is closed */
void ah_watch_background(struct ah_watch *w, bool background);

/* From any thread: runs fn(arg) on the owner thread in a later ready phase. -1: no memory. */
int ah_loop_post(struct ah_loop *loop, void (*fn)(void *arg), void *arg);
/* The same without memory of its own: *p (fn and arg set) must stay until fn is called, which may free it. */
struct ah_post {
    void (*fn)(void *arg);
    void *arg;
    struct ah_post *next;
    bool heap; /* of ah_loop_post */
};
void ah_loop_post_own(struct ah_loop *loop, struct ah_post *p);
/* Runs work(arg) on another thread, then done(arg) in the ready phase of the owner. Counts as
 * something that is left to do. -1: no memory. */
int ah_loop_work(struct ah_loop *loop, void (*work)(void *arg), void (*done)(void *arg), void *arg);

uint64_t ah_loop_number(struct ah_loop *loop);        /* 1, 2, 3 ...: for op.issued and op.completed */
struct ah_clock *ah_loop_clock(struct ah_loop *loop); /* one clock and one source of chance a host */
struct ah_ids *ah_loop_ids(struct ah_loop *loop);

#endif
