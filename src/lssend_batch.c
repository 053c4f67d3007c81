/* Batches of runs and the spans that a destination watches, in memory. Called by lssend*.c. Must never free a batch
 * whose request still knows it, nor let one go from memory alone: the journal has it until its outcome is known. */
#include "lssend_batch.h"

#include "clock.h"
#include "loop.h"

#include <stdlib.h>
#include <string.h>

/* --- rows ---------------------------------------------------------------------------------------- */

static size_t home_of(const struct ah_lssend_rows *r, int64_t seq)
{
    size_t low = 0, high = r->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (r->list[mid].seq < seq)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct ah_lssend_row *ah_lssend_find_row(const struct ah_lssend_rows *r, int64_t seq)
{
    size_t i = home_of(r, seq);
    return i < r->n && r->list[i].seq == seq ? &r->list[i] : NULL;
}

struct ah_lssend_row *ah_lssend_add_row(struct ah_lssend_rows *r, const struct ah_lssend_row *row)
{
    struct ah_lssend_row *known = ah_lssend_find_row(r, row->seq);
    if (known)
        return known;
    if (r->n == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 64;
        struct ah_lssend_row *list = realloc(r->list, cap * sizeof *list);
        if (!list)
            return NULL;
        r->list = list;
        r->cap = cap;
    }
    size_t i = home_of(r, row->seq);
    memmove(&r->list[i + 1], &r->list[i], (r->n - i) * sizeof *row);
    r->list[i] = *row;
    r->n++;
    return &r->list[i];
}

void ah_lssend_remove_row(struct ah_lssend_rows *r, int64_t seq)
{
    struct ah_lssend_row *row = ah_lssend_find_row(r, seq);
    if (!row)
        return;
    size_t i = (size_t)(row - r->list);
    memmove(row, row + 1, (r->n - i - 1) * sizeof *row);
    r->n--;
}

void ah_lssend_drop_rows(struct ah_lssend_rows *r)
{
    free(r->list);
    *r = (struct ah_lssend_rows){0};
}

/* --- batches ------------------------------------------------------------------------------------- */

/* Of the wall, without moving a fixed clock: what we do must not change what a script sees. */
int64_t ah_lssend_wall(struct ah_lssend *s)
{
    struct ah_clock copy = *ah_loop_clock(s->core->loop);
    return ah_clock_wall_us(&copy);
}

struct ah_lssend_batch *ah_lssend_new_batch(struct ah_lssend_dest *d, int64_t id,
                                            const struct ah_store_item *items, size_t count)
{
    struct ah_lssend_batch *b = calloc(1, sizeof *b);
    struct ah_store_item *copy = malloc((count ? count : 1) * sizeof *copy);
    if (!b || !copy) {
        free(b);
        free(copy);
        return NULL;
    }
    memcpy(copy, items, count * sizeof *copy);
    *b = (struct ah_lssend_batch){.dest = d, .id = id, .items = copy, .count = count};
    b->created = ah_lssend_wall(d->sender);
    return b;
}

void ah_lssend_free_batch(struct ah_lssend_batch *b)
{
    if (!b)
        return;
    ah_lspack_forget(b->job);
    if (b->op) {
        ah_op_wait(&b->op->op, NULL, NULL);
        ah_op_unref(&b->op->op);
    }
    if (b->op || b->job) {
        b->dest->in_flight--;
        b->dest->sender->in_flight--;
    }
    free(b->items);
    free(b);
}

struct ah_lssend_batch *ah_lssend_make_batch(struct ah_lssend_dest *d, const struct ah_store_item *items,
                                             size_t count)
{
    struct ah_lssend_batch *b =
        ah_lssend_new_batch(d, ah_store_new_key(d->sender->core->store), items, count);
    if (!b || ah_lssend_save_batch(b) == 0)
        return b;
    ah_lssend_free_batch(b);
    return NULL;
}

void ah_lssend_append_batch(struct ah_lssend_dest *d, struct ah_lssend_batch *b)
{
    struct ah_lssend_batch **at = &d->batches;
    while (*at)
        at = &(*at)->next;
    *at = b;
}

void ah_lssend_close_batch(struct ah_lssend_batch *b)
{
    struct ah_lssend_batch **at = &b->dest->batches;
    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
    ah_store_batch_drop(b->dest->sender->core->store, b->id);
    ah_lssend_free_batch(b);
}

int ah_lssend_save_batch(const struct ah_lssend_batch *b)
{
    struct ah_store_batch row = {.id = b->id,
                                 .dest = b->dest->n,
                                 .attempts = b->attempts,
                                 .created = b->created,
                                 .items = b->items,
                                 .count = b->count};
    return ah_store_batch_save(b->dest->sender->core->store, &row);
}
