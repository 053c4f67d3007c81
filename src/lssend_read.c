/* New batches: out of the events behind a destination's position, out of what was pushed, and of spans that are open
 * for long. Called by the pump. Must never merge a create that was sent, and never advance past what is in no batch. */
#include "clock.h"
#include "lssend_batch.h"

#include <stdlib.h>

#define PAGE_EVENTS_COUNT 2000
#define PAGE_BYTES ((size_t)4 << 20)
#define OPEN_COUNT 4096 /* spans watched for an early create; others wait for their end */

/* What is read in one go: the starts whose ends may follow, and the batch that grows. */
struct page {
    struct ah_lssend_dest *dest;
    struct ah_lswire_body body;
    struct ah_store_item items[AH_LSWIRE_RUNS_MAX];
    size_t count;
    struct start {
        int64_t seq;
        size_t at, n;
    } * starts;
    size_t start_count, start_cap;
    struct ah_buf texts, other;
    bool failed;
};

static int add_start(struct page *p, const struct ah_store_event *ev)
{
    if (p->start_count == p->start_cap) {
        size_t cap = p->start_cap ? p->start_cap * 2 : 64;
        struct start *starts = realloc(p->starts, cap * sizeof *starts);
        if (!starts)
            return -1;
        p->starts = starts;
        p->start_cap = cap;
    }
    p->starts[p->start_count++] = (struct start){ev->seq, p->texts.n, ev->n};
    return ah_buf_add(&p->texts, ev->body, ev->n);
}

/* The text of a start: of this page, or from the journal. NULL: it is gone, or *failed. */
static const char *find_start(struct page *p, int64_t seq, size_t *n)
{
    size_t low = 0, high = p->start_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (p->starts[mid].seq < seq)
            low = mid + 1;
        else
            high = mid;
    }
    if (low < p->start_count && p->starts[low].seq == seq) {
        *n = p->starts[low].n;
        return p->texts.p + p->starts[low].at;
    }
    int r = ah_lssend_load_event(p->dest, seq, &p->other);
    p->failed |= r < 0;
    *n = p->other.n;
    return r == 0 ? p->other.p : NULL;
}

static int take_end(struct page *p, const struct ah_store_event *ev)
{
    struct ah_lssend_dest *d = p->dest;
    size_t n;
    const char *start = p->count < d->info.runs_max ? find_start(p, ev->start_seq, &n) : NULL;
    if (p->count >= d->info.runs_max || p->failed)
        return 1;
    ah_lssend_remove_row(&d->open, ev->start_seq);
    if (!start)
        return 0;
    const struct ah_lssend_row *created = ah_lssend_find_row(&d->created, ev->start_seq);
    struct ah_store_item item = {.run = ev->run,
                                 .span = ev->span,
                                 .start_seq = ev->start_seq,
                                 .end_seq = ev->seq,
                                 .patch = created && !created->refused};
    int r = ah_lssend_add_run(d, &p->body, &item, start, n, ev->body, ev->n, ev->project,
                              p->count ? d->info.bytes_max : 0);
    if (r == 0)
        p->items[p->count++] = item;
    p->failed |= r < 0;
    return r == 0 || r == 2 ? 0 : 1;
}

static int on_event(void *arg, const struct ah_store_event *ev)
{
    struct page *p = arg;
    struct ah_lssend_rows *open = &p->dest->open;
    if (ev->kind == AH_EV_SPAN_END)
        return take_end(p, ev);
    struct ah_lssend_row row = {
        .seq = ev->seq, .run = ev->run, .span = ev->span, .seen_us = ah_clock_mono_us()};
    if (open->n < OPEN_COUNT)
        ah_lssend_add_row(open, &row);
    p->failed |= add_start(p, ev) != 0;
    return p->failed;
}

/* Creates are remembered before they leave; whatever else stood in an exception is in the batch now. */
static void note_items(struct ah_lssend_dest *d, const struct ah_store_item *items, size_t count,
                       bool were_noted)
{
    struct ah_store *store = d->sender->core->store;
    for (size_t i = 0; i < count; i++) {
        const struct ah_store_item *item = &items[i];
        struct ah_lssend_row row = {.seq = item->start_seq, .run = item->run, .span = item->span};
        if (!item->end_seq) {
            struct ah_store_except e = {.item = *item, .state = AH_EXCEPT_CREATED, .reason = ""};
            ah_store_set_exception(store, d->n, &e);
            ah_lssend_add_row(&d->created, &row);
            ah_lssend_remove_row(&d->open, item->start_seq);
        } else if (were_noted || ah_lssend_find_row(&d->created, item->start_seq)) {
            ah_store_clear_exception(store, d->n, item->run, item->span);
            ah_lssend_remove_row(&d->created, item->start_seq);
        }
    }
}

/* Reads on in the journal. 1: a batch was sent; 2: there is more to read; 0: nothing is left; -1: not now. */
static int read_batch(struct ah_lssend_dest *d)
{
    struct ah_store *store = d->sender->core->store;
    struct page p = {.dest = d};
    int64_t scanned = d->position, id = ah_store_new_key(store);
    bool more = false;
    ah_lswire_begin(&p.body, id, d->info.multipart);
    ah_buf_reserve(&p.body.to, d->usual_bytes);
    ah_buf_init(&p.texts, AH_LSSEND_EVENT_BYTES);
    ah_buf_init(&p.other, AH_LSSEND_EVENT_BYTES);
    int r = ah_store_read(store, d->n, d->position, PAGE_EVENTS_COUNT, PAGE_BYTES, on_event, &p, &scanned,
                          &more, NULL);
    struct ah_lssend_batch *b =
        r == 0 && !p.failed && p.count ? ah_lssend_new_batch(d, id, p.items, p.count) : NULL;
    if (r != 0 || p.failed || (p.count && !b)) {
        ah_lssend_delay(d, AH_LSSEND_TROUBLE_MS);
        r = -1;
    } else {
        int saved = 0;
        if (b) {
            ah_lssend_append_batch(d, b);
            note_items(d, b->items, b->count, false);
            d->usual_bytes = p.body.to.n + p.body.to.n / 8;
            saved = ah_lssend_send_batch(b, &p.body);
        }
        if (scanned > d->position && saved == 0)
            ah_store_advance(store, d->n, scanned);
        d->position = scanned;
        r = b ? 1 : more ? 2 : 0;
    }
    ah_lswire_drop(&p.body);
    ah_buf_drop(&p.texts);
    ah_buf_drop(&p.other);
    free(p.starts);
    return r;
}

/* --- what is named ------------------------------------------------------------------------------- */

/* A batch of named spans. 1: sent, or parked altogether. */
static int send_items(struct ah_lssend_dest *d, const struct ah_store_item *items, size_t count,
                      bool were_noted)
{
    struct ah_lssend_batch *b = ah_lssend_make_batch(d, items, count);
    if (!b) {
        ah_lssend_delay(d, AH_LSSEND_TROUBLE_MS);
        return -1;
    }
    ah_lssend_append_batch(d, b);
    note_items(d, items, count, were_noted);
    ah_lssend_resend_batch(b);
    return 1;
}

struct retries {
    struct ah_store_item items[AH_LSWIRE_RUNS_MAX];
    size_t count;
};

static int take_retry(void *arg, const struct ah_store_except *e)
{
    struct retries *r = arg;
    r->items[r->count++] = e->item;
    return r->count == AH_LSWIRE_RUNS_MAX;
}

/* What was pushed. 0: nothing. */
static int push_batch(struct ah_lssend_dest *d)
{
    struct retries r = {.count = 0};
    struct ah_store *store = d->sender->core->store;
    /* What an earlier batch took is cleared by a queued write: look only at what is written. */
    if (ah_store_flush(store) != AH_STORE_OK ||
        ah_store_exceptions(store, d->n, AH_EXCEPT_RETRY, ah_lssend_wall(d->sender), (int)d->info.runs_max,
                            take_retry, &r, NULL) != 0) {
        ah_lssend_delay(d, AH_LSSEND_TROUBLE_MS);
        return -1;
    }
    d->retry = r.count > 0;
    return r.count ? send_items(d, r.items, r.count, true) : 0;
}

/* Creates of spans that are open for long. 0: none. */
static int early_batch(struct ah_lssend_dest *d)
{
    struct retries r = {.count = 0};
    int64_t before = ah_clock_mono_us() - d->sender->early_ms * 1000;
    for (size_t i = 0; i < d->open.n && r.count < d->info.runs_max;) {
        const struct ah_lssend_row row = d->open.list[i];
        if (row.seen_us <= before && !ah_store_goes_to(d->sender->core->store, row.run, d->n)) {
            ah_lssend_remove_row(&d->open,
                                 row.seq); /* taken back since it was read: an anonymizer, keep_local */
            continue;
        }
        if (row.seen_us <= before)
            r.items[r.count++] =
                (struct ah_store_item){.run = row.run, .span = row.span, .start_seq = row.seq};
        i++;
    }
    return r.count ? send_items(d, r.items, r.count, false) : 0;
}

bool ah_lssend_early_is_due(const struct ah_lssend_dest *d)
{
    return d->open.n && d->open.list[0].seen_us + d->sender->early_ms * 1000 <= ah_clock_mono_us();
}

/* --- the next ------------------------------------------------------------------------------------ */

int ah_lssend_next_batch(struct ah_lssend_dest *d)
{
    if (d->worked && !d->asked_info && d->dirty)
        ah_lssend_ask_info(d);
    int r = d->dirty ? read_batch(d) : 0;
    if (r == 0)
        d->dirty = false;
    if (r == 0 && d->retry)
        r = push_batch(d);
    if (r == 0 && ah_lssend_early_is_due(d))
        r = early_batch(d);
    return r;
}
