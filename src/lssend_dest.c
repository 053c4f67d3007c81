/* Where spans go: the destinations that this process may send to, and the lease of each, so that one process at a time
 * does. Called by lssend*.c. Must never send, and never keep a lease with nothing to do. */
#include "clock.h"
#include "fault.h"
#include "lssend_batch.h"

#include <stdlib.h>
#include <string.h>

#define KEY_WAIT_MS 600000

void ah_lssend_delay(struct ah_lssend_dest *d, int64_t ms)
{
    d->next_us = ah_clock_mono_us() + ms * 1000;
}

void ah_lssend_refuse_dest(struct ah_lssend_dest *d, struct ah_error *why)
{
    ah_err_move(&d->refused, why);
    ah_lssend_delay(d, KEY_WAIT_MS);
}

static void forget_batches(struct ah_lssend_dest *d)
{
    while (d->batches) {
        struct ah_lssend_batch *b = d->batches;
        d->batches = b->next;
        ah_lssend_free_batch(b);
    }
}

/* What was not decided stays in the journal, for whoever has the lease next. */
void ah_lssend_release(struct ah_lssend_dest *d)
{
    forget_batches(d);
    if (d->leased)
        ah_store_lease_drop(d->sender->core->store, d->n);
    d->leased = false;
}

static void set_secret(char **slot, const char *text)
{
    if (*slot && text && strcmp(*slot, text) == 0)
        return;
    if (*slot)
        explicit_bzero(*slot, strlen(*slot));
    free(*slot);
    *slot = text ? strdup(text) : NULL;
}

static void stop_asking(struct ah_lssend_dest *d)
{
    if (!d->asking)
        return;
    ah_op_wait(&d->asking->op, NULL, NULL);
    ah_op_unref(&d->asking->op);
    d->asking = NULL;
}

void ah_lssend_free_dest(struct ah_lssend_dest *d)
{
    ah_lssend_release(d);
    stop_asking(d);
    ah_lssend_drop_rows(&d->open);
    ah_lssend_drop_rows(&d->created);
    ah_err_drop(&d->refused);
    free(d->name);
    free(d->endpoint);
    free(d->workspace);
    set_secret(&d->key, NULL);
    free(d->project);
    free(d);
}

static struct ah_lssend_dest *find_dest(struct ah_lssend *s, int64_t n)
{
    struct ah_lssend_dest *d = s->dests;
    while (d && d->n != n)
        d = d->next;
    return d;
}

static struct ah_lssend_dest *add_dest(struct ah_lssend *s, const struct ah_store_dest *row)
{
    struct ah_lssend_dest *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    *d = (struct ah_lssend_dest){
        .sender = s, .n = row->dest, .emulated = row->emulated, .dirty = true, .retry = true};
    d->position = -1;
    ah_lsinfo_default(&d->info);
    d->name = strdup(row->endpoint);
    d->endpoint = strndup(row->endpoint, strcspn(row->endpoint, "#"));
    d->workspace = strdup(row->workspace);
    if (!d->name || !d->endpoint || !d->workspace) {
        ah_lssend_free_dest(d);
        return NULL;
    }
    d->next = s->dests;
    s->dests = d;
    return d;
}

struct matching {
    struct ah_lssend *s;
    struct ah_tracing_where list[AH_TRACING_TARGETS_COUNT];
    size_t count;
};

static int match_dest(void *arg, const struct ah_store_dest *row)
{
    struct matching *m = arg;
    const struct ah_tracing_where *where = m->list, *end = m->list + m->count;
    while (where < end && (row->emulated != where->emulated || strcmp(row->endpoint, where->dest) != 0))
        where++;
    if (where == end)
        return 0;
    struct ah_lssend_dest *d = find_dest(m->s, row->dest);
    if (!d)
        d = add_dest(m->s, row);
    if (!d)
        return 0;
    d->matched = true;
    d->remap = where->remap;
    set_secret(&d->key, where->key);
    set_secret(&d->project, where->copy && *where->project ? where->project : NULL);
    return 0;
}

/* Which destinations this process may send: those of its own settings, and only while it has a key. */
void ah_lssend_match_dests(struct ah_lssend *s)
{
    struct matching m = {.s = s};
    m.count = ah_tracing_targets(s->core->tracing, !s->forced, m.list);
    for (struct ah_lssend_dest *d = s->dests; d; d = d->next)
        d->matched = false;
    if (m.count)
        ah_store_dests(s->core->store, match_dest, &m, NULL);
}

/* --- the lease ----------------------------------------------------------------------------------- */

static int load_position(void *arg, const struct ah_store_dest *row)
{
    struct ah_lssend_dest *d = arg;
    if (row->dest != d->n)
        return 0;
    if (row->position != d->position)
        d->open.n = 0; /* somebody else read on: the ends may be sent already */
    d->position = row->position;
    return 1;
}

static int load_batch(void *arg, const struct ah_store_batch *row)
{
    struct ah_lssend_dest *d = arg;
    struct ah_lssend_batch *b = ah_lssend_new_batch(d, row->id, row->items, row->count);
    if (!b)
        return 1;
    b->attempts = row->attempts;
    b->created = row->created;
    b->maybe = row->attempts > 0;
    ah_lssend_append_batch(d, b);
    return 0;
}

static int load_exception(void *arg, const struct ah_store_except *e)
{
    struct ah_lssend_dest *d = arg;
    bool refused = e->state == AH_EXCEPT_PARKED && e->item.end_seq == 0;
    struct ah_lssend_row row = {
        .seq = e->item.start_seq, .run = e->item.run, .span = e->item.span, .refused = refused};
    if (e->state == AH_EXCEPT_RETRY)
        d->retry = true;
    else if (refused || e->state == AH_EXCEPT_CREATED)
        return ah_lssend_add_row(&d->created, &row) ? 0 : 1;
    return 0;
}

/* One sender among processes. False: not now. */
bool ah_lssend_take_lease(struct ah_lssend_dest *d)
{
    struct ah_store *store = d->sender->core->store;
    bool got = false;
    /* Our own "lease out" may still be queued: it must not take away what we get now. */
    if (ah_store_flush(store) != AH_STORE_OK || ah_store_lease(store, d->n, &got, NULL) != 0 || !got)
        return false;
    ah_fault_at("lease");
    d->leased = true;
    d->retry = false;
    d->created.n = 0;
    if (ah_store_dests(store, load_position, d, NULL) != 0 ||
        ah_store_batches(store, d->n, load_batch, d, NULL) != 0 ||
        ah_store_exceptions(store, d->n, 0, 0, 0, load_exception, d, NULL) != 0) {
        ah_lssend_release(d);
        return false;
    }
    return true;
}
