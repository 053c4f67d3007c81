/* Any bytes, fed whole, byte by byte, and in pieces that the input chooses, give the same events, the
 * same end and the same fields. The first byte of the input seeds the pieces. */
#include "err.h"
#include "sse.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EVENTS_MAX_BYTES ((size_t)64 << 20)

struct result {
    struct ah_buf events;
    enum ah_kind kind;
    int64_t retry_ms;
    uint64_t comments;
    char *id;
};

static int on_event(void *arg, const struct ah_sse_event *ev)
{
    struct result *r = arg;
    if (ev->data[ev->n] != '\0' || !ev->name[0])
        abort();
    ah_buf_addf(&r->events, "%s|%zu|", ev->name, ev->n);
    ah_buf_add(&r->events, ev->data, ev->n);
    return ev->n == 4 && memcmp(ev->data, "STOP", 4) == 0;
}

static bool is_complete(const char *data, size_t n)
{
    return n > 0 && data[n - 1] == '}';
}

static void run(const char *p, size_t n, uint32_t seed, size_t most, struct result *r)
{
    struct ah_sse s;
    struct ah_error err = {0};
    *r = (struct result){0};
    ah_buf_init(&r->events, EVENTS_MAX_BYTES);
    ah_sse_init(&s, on_event, r);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0;) {
        seed = seed * 1664525u + 1013904223u;
        size_t piece = most ? 1 + (seed >> 8) % most : n; /* 0: all at once */
        if (piece > n - i)
            piece = n - i;
        char *copy = malloc(piece); /* so that reading past a piece is seen */
        if (!copy)
            abort();
        memcpy(copy, p + i, piece);
        rc = ah_sse_feed(&s, copy, piece, &err);
        free(copy);
        i += piece;
    }
    if (rc == 0)
        rc = ah_sse_end(&s, is_complete, &err);
    if ((rc == 0) != (err.kind == AH_NONE))
        abort();
    r->kind = err.kind;
    r->retry_ms = s.retry_ms;
    r->comments = s.comments;
    r->id = s.id ? strdup(s.id) : NULL;
    ah_err_drop(&err);
    ah_sse_drop(&s);
}

static void compare(const struct result *a, const struct result *b)
{
    if (a->kind != b->kind || a->retry_ms != b->retry_ms || a->comments != b->comments)
        abort();
    if (!a->id != !b->id || (a->id && strcmp(a->id, b->id) != 0))
        abort();
    if (a->events.n != b->events.n || (a->events.n && memcmp(a->events.p, b->events.p, a->events.n) != 0))
        abort();
}

static void drop(struct result *r)
{
    ah_buf_drop(&r->events);
    free(r->id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const char *p = (const char *)data + 1;
    struct result whole, bytes, pieces;
    run(p, size - 1, 0, 0, &whole);
    run(p, size - 1, 0, 1, &bytes);
    run(p, size - 1, data[0], 1 + data[0] % 40u, &pieces);
    compare(&whole, &bytes);
    compare(&whole, &pieces);
    drop(&whole);
    drop(&bytes);
    drop(&pieces);
    return 0;
}
