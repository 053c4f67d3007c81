/* The table of open spans: linear probing, so that a removal closes the hole behind it. Called by store.c at every
 * commit and by store_recover.c for what a crashed process left. It must never hold a span after its end. */
#include "openspan.h"

#include <stdlib.h>

static size_t span_home(const struct ah_openspans *o, int64_t run, int64_t span)
{
    uint64_t h = ((uint64_t)run + (uint64_t)span * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
    return (size_t)(h >> 32) & (o->cap - 1);
}

static struct ah_openspan *find_span(const struct ah_openspans *o, int64_t run, int64_t span)
{
    if (!o->cap)
        return NULL;
    size_t i = span_home(o, run, span);
    while (o->slots[i].seq && (o->slots[i].run != run || o->slots[i].span != span))
        i = (i + 1) & (o->cap - 1);
    return &o->slots[i];
}

static int grow_spans(struct ah_openspans *o)
{
    struct ah_openspans more = {.cap = o->cap ? o->cap * 2 : 256, .count = o->count};
    more.slots = calloc(more.cap, sizeof *more.slots);
    if (!more.slots)
        return -1;
    for (size_t i = 0; i < o->cap; i++)
        if (o->slots[i].seq)
            *find_span(&more, o->slots[i].run, o->slots[i].span) = o->slots[i];
    free(o->slots);
    *o = more;
    return 0;
}

int ah_openspan_add(struct ah_openspans *o, int64_t run, int64_t span, int64_t seq, int64_t at)
{
    if (o->count * 2 >= o->cap && grow_spans(o) != 0)
        return -1;
    struct ah_openspan *slot = find_span(o, run, span);
    o->count += slot->seq == 0;
    *slot = (struct ah_openspan){run, span, seq, at};
    return 0;
}

int64_t ah_openspan_seq(const struct ah_openspans *o, int64_t run, int64_t span)
{
    struct ah_openspan *slot = find_span(o, run, span);
    return slot ? slot->seq : 0;
}

void ah_openspan_remove(struct ah_openspans *o, int64_t run, int64_t span)
{
    struct ah_openspan *slot = find_span(o, run, span);
    if (!slot || !slot->seq)
        return;
    o->count--;
    size_t hole = (size_t)(slot - o->slots);
    for (size_t i = (hole + 1) & (o->cap - 1); o->slots[i].seq; i = (i + 1) & (o->cap - 1)) {
        size_t home = span_home(o, o->slots[i].run, o->slots[i].span);
        if (((i - home) & (o->cap - 1)) >= ((i - hole) & (o->cap - 1))) {
            o->slots[hole] = o->slots[i];
            hole = i;
        }
    }
    o->slots[hole].seq = 0;
}
