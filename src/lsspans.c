/* Reads the events of a run and puts each span's two together. Called by cmd_*.c. */
#include "lsspans.h"

#include <stdlib.h>
#include <string.h>

/* The texts of a run's spans, in order of their starts. */
struct span {
    int64_t start_seq;
    char *start, *end;
    size_t start_n, end_n;
};
struct spans {
    struct span *list;
    size_t n, cap;
    bool failed, clean; /* clean: an anonymizer says what may be seen */
};

static char *copy_text(const char *p, size_t n)
{
    char *copy = malloc(n + 1);
    if (copy) {
        memcpy(copy, p, n);
        copy[n] = '\0';
    }
    return copy;
}

static struct span *find_span(struct spans *s, int64_t seq)
{
    size_t low = 0, high = s->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (s->list[mid].start_seq < seq)
            low = mid + 1;
        else
            high = mid;
    }
    return low < s->n && s->list[low].start_seq == seq ? &s->list[low] : NULL;
}

static int keep_event(void *arg, const struct ah_store_event *ev)
{
    struct spans *s = arg;
    struct ah_json late;
    if (ev->kind == AH_EV_LATE && ah_json_check(ev->body, ev->n, 0, &late, NULL) == 0)
        s->clean = ah_json_truthy(ah_json_get(late, "clean"));
    if (ev->kind == AH_EV_SPAN_END) {
        struct span *span = find_span(s, ev->start_seq);
        if (!span)
            return 0;
        span->end = copy_text(ev->body, ev->n);
        span->end_n = ev->n;
        s->failed = !span->end;
        return s->failed;
    }
    if (ev->kind != AH_EV_SPAN_START)
        return 0;
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 64;
        struct span *list = realloc(s->list, cap * sizeof *list);
        s->failed = !list;
        if (!list)
            return 1;
        s->list = list;
        s->cap = cap;
    }
    char *text = copy_text(ev->body, ev->n);
    s->failed = !text;
    if (!text)
        return 1;
    s->list[s->n++] = (struct span){.start_seq = ev->seq, .start = text, .start_n = ev->n};
    return 0;
}

static void drop_spans(struct spans *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->list[i].start);
        free(s->list[i].end);
    }
    free(s->list);
}

int ah_lsspans_each(struct ah_store *s, int64_t run, const char *project,
                    int (*fn)(void *arg, struct ah_lswire_run *run), void *arg, struct ah_error *err)
{
    struct spans list = {0};
    int rc = ah_store_run_events(s, run, keep_event, &list, err);
    bool stop = rc != 0;
    if (list.failed)
        rc = ah_err_set(err, AH_MEMORY, "no memory to read the run");
    for (size_t i = 0; rc == 0 && !stop && i < list.n; i++) {
        const struct span *span = &list.list[i];
        struct ah_lswire_run wire;
        if (ah_lswire_read(&wire, span->start, span->start_n, span->end, span->end_n, NULL) != 0)
            continue;
        if (list.clean)
            ah_lswire_withhold(&wire);
        wire.project = project;
        stop = fn(arg, &wire) != 0;
    }
    drop_spans(&list);
    return rc;
}
