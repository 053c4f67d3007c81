/* Bodies of requests, from the events of the journal. Called by lssend*.c. Must make the same bytes of the same items
 * each time, and must never take anything out of a batch that was sent but what the journal has lost. */
#include "log.h"
#include "lssend_batch.h"
#include "secret.h"

#include <stdio.h>
#include <string.h>

#define WHOLE_BYTES                                                                                          \
    ((size_t)100 << 20) /* a larger run is cut without being asked to: one part may hold 200 MB */

static int copy_event(void *arg, const struct ah_store_event *ev)
{
    return ah_buf_add(arg, ev->body, ev->n);
}

int ah_lssend_load_event(struct ah_lssend_dest *d, int64_t seq, struct ah_buf *to)
{
    struct ah_error err = {0};
    ah_buf_clear(to);
    if (ah_store_event_at(d->sender->core->store, seq, copy_event, to, &err) == 0)
        return to->failed ? -1 : 0;
    int result = err.kind == AH_NOT_FOUND ? 1 : -1;
    ah_err_drop(&err);
    return result;
}

void ah_lssend_park(struct ah_lssend_dest *d, const struct ah_store_item *item, const char *reason)
{
    struct ah_lssend *s = d->sender;
    char words[AH_LSSEND_WORDS_BYTES];
    snprintf(words, sizeof words, "%s", reason);
    if (s->core->secrets)
        ah_secret_mask_str(s->core->secrets, words, sizeof words);
    struct ah_store_except e = {.item = *item, .state = AH_EXCEPT_PARKED, .reason = words};
    ah_store_set_exception(s->core->store, d->n, &e);
    struct ah_lssend_row row = {.seq = item->start_seq, .run = item->run, .span = item->span};
    struct ah_lssend_row *known = item->end_seq ? NULL : ah_lssend_add_row(&d->created, &row);
    if (known)
        known->refused = true;
    ah_log_once(s->core->log, AH_ONCE_TRACE_REFUSED, AH_LOG_WARN,
                "LangSmith does not take a span (%s): it stays in the journal, the others are sent; "
                "`agenthost trace ls` shows it as parked",
                words);
}

size_t ah_lssend_room_of(int cut)
{
    static const size_t rooms[AH_LSSEND_CUT_LEVELS + 1] = {0,         16 << 20, 4 << 20, 1 << 20,
                                                           256 << 10, 64 << 10, 16 << 10};
    return rooms[cut < 0 || cut > AH_LSSEND_CUT_LEVELS ? AH_LSSEND_CUT_LEVELS : cut];
}

int ah_lssend_add_run(struct ah_lssend_dest *d, struct ah_lswire_body *body, const struct ah_store_item *item,
                      const char *start, size_t start_n, const char *end, size_t end_n, const char *project,
                      size_t max)
{
    struct ah_lswire_run run;
    struct ah_error err = {0};
    if (ah_lswire_read(&run, start, start_n, end, end_n, &err) != 0) {
        ah_lssend_park(d, item, err.message);
        ah_err_drop(&err);
        return 2;
    }
    const char *own = *project ? project : "default";
    run.project = d->project ? d->project : own;
    run.patch = item->patch;
    if (d->remap || strcmp(run.project, own) != 0)
        ah_lswire_remap(&run, run.project);
    run.rules = d->sender->rules;
    if (item->cut || start_n + end_n > WHOLE_BYTES)
        ah_lswire_cut(&run, item->cut ? ah_lssend_room_of(item->cut) : WHOLE_BYTES);
    if (!d->info.multipart && run.field[AH_LSWIRE_ATTACHMENTS].type != AH_JSON_NONE)
        ah_log_once(
            d->sender->core->log, AH_ONCE_TRACE_FILES, AH_LOG_WARN,
            "LangSmith at %.300s takes no /runs/multipart: files that are attached to spans stay in the "
            "journal, the spans are sent without them",
            d->endpoint);
    return ah_lswire_add(body, &run, max);
}

/* The project of a run, kept for the next item. */
struct project {
    int64_t run;
    char name[512];
};

static int copy_project(void *arg, const struct ah_store_run *run)
{
    struct project *p = arg;
    snprintf(p->name, sizeof p->name, "%s", run->project);
    return 0;
}

static void load_project(struct ah_lssend_dest *d, struct project *p, int64_t run)
{
    if (p->run == run)
        return;
    p->run = run;
    p->name[0] = '\0';
    ah_store_run_at(d->sender->core->store, run, copy_project, p, NULL);
}

/* What did not fit into a batch that was never sent becomes the next one. */
static int put_off(struct ah_lssend_batch *b, size_t from)
{
    struct ah_lssend_batch *rest = ah_lssend_make_batch(b->dest, b->items + from, b->count - from);
    if (!rest)
        return -1;
    rest->next = b->next;
    b->next = rest;
    b->count = from;
    return 0;
}

int ah_lssend_load_body(struct ah_lssend_batch *b, struct ah_lswire_body *body)
{
    struct ah_lssend_dest *d = b->dest;
    struct project project = {0};
    struct ah_buf start, end;
    size_t kept = 0;
    int r = 0;
    ah_buf_init(&start, AH_LSSEND_EVENT_BYTES);
    ah_buf_init(&end, AH_LSSEND_EVENT_BYTES);
    for (size_t i = 0; i < b->count && r >= 0; i++) {
        const struct ah_store_item item = b->items[i];
        r = ah_lssend_load_event(d, item.start_seq, &start);
        if (r == 0 && item.end_seq)
            r = ah_lssend_load_event(d, item.end_seq, &end);
        if (r != 0)
            continue;
        load_project(d, &project, item.run);
        r = ah_lssend_add_run(d, body, &item, start.p, start.n, item.end_seq ? end.p : NULL,
                              item.end_seq ? end.n : 0, project.name,
                              body->runs && !b->attempts ? d->info.bytes_max : 0);
        if (r == 0)
            b->items[kept++] = item;
        else if (r == 1)
            r = put_off(b, i);
    }
    if (r >= 0)
        b->count = kept;
    ah_buf_drop(&start);
    ah_buf_drop(&end);
    return r < 0 ? -1 : 0;
}
