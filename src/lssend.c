/* The sender of spans: its pump, and those who wait for it. Called by langsmith.c and, through timers and commits, by
 * the loop. The other halves are lssend_dest.c (destinations and their leases), lssend_read.c (new batches, out of the
 * journal), lssend_batch.c, lssend_body.c, lssend_post.c (requests) and lssend_verdict.c (their answers); what they
 * share is in lssend_batch.h.
 *
 * One pump does all: it takes the lease of a destination, sends again what may not have arrived, makes
 * new batches, and gives the lease back when nothing is left. What is decided is queued in the journal
 * in the same ready phase as the request, and the loop writes it before the request leaves. Must never
 * merge a create that was sent, never change a batch whose outcome is not known, and never give up on
 * trouble that time heals. */
#include "lssend.h"

#include "clock.h"
#include "limits.h"
#include "lssend_batch.h"

#include <stdio.h>
#include <stdlib.h>

#define GATHER_MS 250           /* after the first event; a flush waits for nothing */
#define GATHER_EVENTS_COUNT 300 /* or this many events: about 100 spans */
#define IN_FLIGHT_COUNT 2       /* uploads, and open batches of one destination */
#define LEASE_WAIT_MS 100

struct ah_lssend_flush {
    struct ah_op op; /* first */
    struct ah_lssend_flush *next;
    struct ah_lssend *sender;
    struct ah_timer timer;
    int64_t deadline_us;
};

/* --- small things -------------------------------------------------------------------------------- */

void ah_lssend_kick(struct ah_lssend *s)
{
    ah_loop_ready(s->core->loop, &s->pump);
}

static void on_later(struct ah_timer *t)
{
    ah_lssend_kick(t->arg);
}

static void on_gathered(struct ah_timer *t)
{
    struct ah_lssend *s = t->arg;
    uint64_t pushed = ah_store_stats(s->core->store)->pushed;
    s->gathering = false;
    for (struct ah_lssend_dest *d = s->dests; d; d = d->next) {
        d->dirty = true;
        d->retry |= pushed != s->pushed; /* runs whose sending was decided at their end */
    }
    s->pushed = pushed;
    ah_lssend_kick(s);
}

/* --- the pump ------------------------------------------------------------------------------------ */

/* The oldest that is not in flight; *open: how many there are. */
static struct ah_lssend_batch *find_idle(const struct ah_lssend_dest *d, int *open)
{
    struct ah_lssend_batch *idle = NULL;
    *open = 0;
    for (struct ah_lssend_batch *b = d->batches; b; b = b->next, ++*open)
        if (!b->op && !b->job && !idle)
            idle = b;
    return idle;
}

static void pump_dest(struct ah_lssend_dest *d)
{
    struct ah_lssend *s = d->sender;
    int open;
    if (d->refused.kind != AH_NONE && d->leased && d->in_flight == 0)
        ah_lssend_release(d); /* another process may have a key that is good */
    if (ah_clock_mono_us() < d->next_us)
        return;
    if (d->refused.kind != AH_NONE) {
        ah_err_drop(&d->refused);
        d->dirty = true;
    }
    if (!d->leased && !d->dirty && !ah_lssend_early_is_due(d))
        return;
    if (!d->leased && !ah_lssend_take_lease(d)) {
        ah_lssend_delay(d, s->flushes ? LEASE_WAIT_MS : AH_LSSEND_TROUBLE_MS);
        return;
    }
    while (s->in_flight < IN_FLIGHT_COUNT && d->next_us <= ah_clock_mono_us()) {
        struct ah_lssend_batch *b = find_idle(d, &open);
        int r = 1;
        if (b)
            ah_lssend_resend_batch(b);
        else if (open >= IN_FLIGHT_COUNT)
            break;
        else
            r = ah_lssend_next_batch(d);
        if (r == 2)
            ah_lssend_kick(s); /* 20,000 rows of others' events are enough for one turn */
        if (r != 1)
            break;
    }
    if (d->leased && !d->batches && !d->dirty && !d->retry)
        ah_lssend_release(d);
}

static bool is_waiting(const struct ah_lssend_dest *d)
{
    return d->matched && d->refused.kind == AH_NONE && (d->dirty || d->retry || d->batches);
}

static void end_flush(struct ah_lssend_flush *f, struct ah_error *err)
{
    struct ah_lssend_flush **at = &f->sender->flushes;
    while (*at && *at != f)
        at = &(*at)->next;
    if (*at)
        *at = f->next;
    ah_timer_stop(&f->timer);
    ah_op_finish(&f->op, err);
}

static void end_late(struct ah_lssend_flush *f)
{
    struct ah_error err = {0};
    const char *why = "";
    for (struct ah_lssend_dest *d = f->sender->dests; d; d = d->next)
        if (is_waiting(d) && d->trouble[0])
            why = d->trouble;
    ah_err_set(&err, AH_TIMEOUT, "not all traces arrived in time%s%.500s%s; they stay in the journal",
               *why ? " (" : "", why, *why ? ")" : "");
    end_flush(f, &err);
}

/* Done; or without hope before its time is over. */
static void check_flush(struct ah_lssend_flush *f)
{
    bool waiting = false, hope = false;
    struct ah_error err = {0};
    for (struct ah_lssend_dest *d = f->sender->dests; d; d = d->next) {
        if (d->matched && d->refused.kind != AH_NONE)
            ah_err_copy(&err, &d->refused);
        if (!is_waiting(d))
            continue;
        waiting = true;
        hope |= d->in_flight > 0 || d->next_us < f->deadline_us;
    }
    if (!waiting)
        end_flush(f, &err);
    else if (!hope)
        end_late(f);
    ah_err_drop(&err);
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a == 0 || b < a ? b : a;
}

static void arm_later(struct ah_lssend *s)
{
    int64_t at = 0, now = ah_clock_mono_us();
    for (struct ah_lssend_dest *d = s->dests; d; d = d->next) {
        if (!d->matched)
            continue;
        bool idle = d->in_flight == 0 && s->in_flight < IN_FLIGHT_COUNT;
        if (idle && (is_waiting(d) || d->refused.kind != AH_NONE) && d->next_us > now)
            at = sooner(at, d->next_us);
        if (d->open.n && d->refused.kind == AH_NONE) {
            int64_t early = d->open.list[0].seen_us + s->early_ms * 1000;
            at = sooner(at, early > d->next_us ? early : d->next_us);
        }
    }
    ah_timer_stop(&s->later);
    if (!at)
        return;
    ah_timer_start(s->core->loop, &s->later, at > now ? (at - now) / 1000 + 1 : 1, on_later, s);
    ah_timer_background(&s->later, true);
}

static void run_pump(struct ah_ready *r)
{
    struct ah_lssend *s = (struct ah_lssend *)((char *)r - offsetof(struct ah_lssend, pump));
    /* Whoever flushes means what was said before, also when another process kept us from writing it. */
    if (s->flushes && ah_store_flush(s->core->store) != AH_STORE_OK) {
        ah_timer_start(s->core->loop, &s->later, LEASE_WAIT_MS / 10, on_later, s);
        return;
    }
    ah_tracing_rules(s->core->tracing, &s->rules);
    ah_lssend_match_dests(s);
    for (struct ah_lssend_dest *d = s->dests; d; d = d->next) {
        if (d->matched)
            pump_dest(d);
        else if (d->leased && d->in_flight == 0)
            ah_lssend_release(d);
    }
    for (struct ah_lssend_flush *f = s->flushes, *next; f; f = next) {
        next = f->next;
        check_flush(f);
    }
    arm_later(s);
}

/* From inside a commit: only marks and queues. */
static void on_commit(void *arg, int64_t seq)
{
    struct ah_lssend *s = arg;
    if (seq <= s->seen_seq) /* our own notes */
        return;
    s->seen_seq = seq;
    if (!s->gathering) {
        s->gathering = true;
        s->gather_seq = seq;
        ah_timer_start(s->core->loop, &s->gather, s->gather_ms, on_gathered, s);
        ah_timer_background(&s->gather, true);
    }
    if (!s->flushes && seq - s->gather_seq < GATHER_EVENTS_COUNT)
        return;
    ah_timer_stop(&s->gather);
    on_gathered(&s->gather);
}

/* --- outside ------------------------------------------------------------------------------------- */

struct ah_lssend *ah_lssend_new(struct ah_core *core, struct ah_error *err)
{
    struct ah_lssend *s = calloc(1, sizeof *s);
    if (!s) {
        ah_err_set(err, AH_MEMORY, "out of memory");
        return NULL;
    }
    s->core = core;
    s->gather_ms = GATHER_MS;
    s->early_ms = AH_TRACE_EARLY_MS;
    s->pump.run = run_pump;
    s->gather.arg = s;
    ah_store_on_commit(core->store, on_commit, s);
    /* What an earlier process left. */
    ah_timer_start(core->loop, &s->later, GATHER_MS, on_later, s);
    ah_timer_background(&s->later, true);
    return s;
}

void ah_lssend_free(struct ah_lssend *s)
{
    if (!s)
        return;
    ah_store_on_commit(s->core->store, NULL, NULL);
    ah_loop_unready(s->core->loop, &s->pump);
    ah_timer_stop(&s->gather);
    ah_timer_stop(&s->later);
    while (s->flushes)
        ah_op_cancel(&s->flushes->op);
    while (s->dests) {
        struct ah_lssend_dest *d = s->dests;
        s->dests = d->next;
        ah_lssend_free_dest(d);
    }
    free(s);
}

static void cancel_flush(struct ah_op *op)
{
    end_flush((struct ah_lssend_flush *)op, NULL);
}

static void free_flush(struct ah_op *op)
{
    free(op);
}

static void on_deadline(struct ah_timer *t)
{
    end_late(t->arg);
}

static const struct ah_op_class flush_class = {"flush of traces", cancel_flush, free_flush};

/* Trouble that the server did not time is tried once more, now. */
static void wake_dests(struct ah_lssend *s, bool refused_too)
{
    for (struct ah_lssend_dest *d = s->dests; d; d = d->next) {
        d->dirty = true;
        if (d->refused.kind != AH_NONE && refused_too) {
            ah_err_drop(&d->refused);
            d->asked = false;
        }
        if (!d->asked && d->refused.kind == AH_NONE)
            d->next_us = 0;
    }
    ah_lssend_kick(s);
}

struct ah_op *ah_lssend_flush(struct ah_lssend *s, int64_t timeout_ms)
{
    struct ah_lssend_flush *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    ah_op_init(&f->op, &flush_class, s->core->loop);
    f->sender = s;
    f->deadline_us = ah_clock_mono_us() + (timeout_ms > 0 ? timeout_ms : 0) * 1000;
    if (ah_timer_start(s->core->loop, &f->timer, timeout_ms > 0 ? timeout_ms : 0, on_deadline, f) != 0) {
        free(f);
        return NULL;
    }
    ah_store_flush(s->core->store); /* what was just said can be read then */
    f->next = s->flushes;
    s->flushes = f;
    wake_dests(s, false);
    return &f->op;
}

int64_t ah_lssend_waiting(struct ah_lssend *s)
{
    int64_t sum = 0;
    struct ah_store_waiting w;
    ah_store_flush_wait(s->core->store, LEASE_WAIT_MS);
    ah_lssend_match_dests(s);
    for (struct ah_lssend_dest *d = s->dests; d; d = d->next)
        if (d->matched && ah_store_waiting(s->core->store, d->n, &w, NULL) == 0)
            sum += w.spans;
    return sum;
}

void ah_lssend_wake(struct ah_lssend *s)
{
    s->forced = true;
    for (struct ah_lssend_dest *d = s->dests; d; d = d->next)
        d->retry = true;
    wake_dests(s, true);
}

void ah_lssend_set_pace(struct ah_lssend *s, int64_t gather_ms, int64_t early_ms)
{
    s->gather_ms = gather_ms;
    s->early_ms = early_ms;
}
