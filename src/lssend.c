/* The sender of spans. Called by langsmith.c and, through timers and commits, by the loop.
 *
 * One pump does all: it takes the lease of a destination, sends again what may not have arrived, makes
 * new batches, and gives the lease back when nothing is left. What is decided is queued in the journal
 * in the same ready phase as the request, and the loop writes it before the request leaves. Must never
 * merge a create that was sent, never change a batch whose outcome is not known, and never give up on
 * trouble that time heals.
 *
 * In order: small things, destinations, bodies, requests, verdicts, new batches, the pump, flushes. */
#include "lssend.h"

#include "clock.h"
#include "config.h"
#include "fault.h"
#include "limits.h"
#include "log.h"
#include "lsinfo.h"
#include "lspack.h"
#include "lswire.h"
#include "secret.h"
#include "store.h"
#include "trace.h"
#include "tracing.h"
#include "url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GATHER_MS 250           /* after the first event; a flush waits for nothing */
#define GATHER_EVENTS_COUNT 300 /* or this many events: about 100 spans */
#define IN_FLIGHT_COUNT 2       /* uploads, and open batches of one destination */
#define PAGE_EVENTS_COUNT 2000
#define PAGE_BYTES ((size_t)4 << 20)
#define OPEN_COUNT 4096 /* spans watched for an early create; others wait for their end */
#define EVENT_BYTES ((size_t)600 << 20)
#define WORDS_BYTES 400

#define FIRST_WAIT_MS 500
#define LONGEST_WAIT_MS 60000
#define RATE_WAIT_MS 10000
#define USAGE_WAIT_MS 300000
#define KEY_WAIT_MS 600000
#define LEASE_WAIT_MS 100
#define TROUBLE_WAIT_MS 1000 /* of our own: memory, journal */
#define SAY_AFTER_COUNT 3    /* failures in a row */
#define INFO_MS 10000
#define WHOLE_BYTES                                                                                          \
    ((size_t)100 << 20) /* a larger run is cut without being asked to: one part may hold 200 MB */
#define CUT_LEVELS_COUNT 6

/* Spans by the number of their start event, ascending. */
struct row {
    int64_t seq, run, span, seen_us;
    bool refused; /* of `created`: the create did not arrive; the end goes as a whole */
};
struct rows {
    struct row *list;
    size_t n, cap;
};

struct batch {
    struct batch *next;
    struct dest *dest;
    int64_t id, created;
    int attempts;
    struct ah_store_item *items;
    size_t count;
    bool maybe; /* an earlier request may have been taken: 409 then means delivered */
    bool plain; /* not packed, to see whether that is what is refused */
    bool packed;
    size_t bytes; /* of the last request, unpacked */
    char type[80];
    struct ah_lspack *job; /* either of these: it is in flight */
    struct ah_http_op *op;
};

struct dest {
    struct dest *next;
    struct ah_lssend *sender;
    int64_t n, position;               /* as far as was read */
    char *name, *endpoint, *workspace; /* name: of the journal; see tracing.h */
    char *key, *project;               /* project: of a copy; NULL = the run's own */
    bool remap;                        /* a copy beside a primary */
    bool emulated, matched;            /* matched: this process may send it */
    bool leased, dirty;                /* dirty: there may be something to read */
    bool asked;                        /* next_us is what the server asked for */
    bool retry;                        /* there may be RETRY exceptions */
    struct ah_lsinfo info;             /* what it may be sent at once, and how */
    bool worked, asked_info;           /* it took an upload: before that nothing is asked */
    size_t usual_bytes;                /* of a batch: room for the next */
    struct ah_http_op *asking;
    struct batch *batches;
    int in_flight, failures;
    int64_t next_us;         /* monotonic; not before */
    struct ah_error refused; /* of the key: nothing is sent for long */
    char trouble[WORDS_BYTES];
    struct rows open, created;
};

struct flush {
    struct ah_op op; /* first */
    struct flush *next;
    struct ah_lssend *sender;
    struct ah_timer timer;
    int64_t deadline_us;
};

struct ah_lssend {
    struct ah_core *core;
    struct ah_tracing_rules rules; /* of this turn */
    struct ah_ready pump;
    struct ah_timer gather, later;
    int64_t seen_seq, gather_seq;
    int64_t gather_ms, early_ms;
    uint64_t pushed;
    bool gathering, forced; /* forced: also when tracing is switched off */
    int in_flight;
    struct dest *dests;
    struct flush *flushes;
};

static void on_answer(struct ah_op *op, void *arg);

/* --- rows ----------------------------------------------------------------------------------------- */

static size_t home_of(const struct rows *r, int64_t seq)
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

static struct row *find_row(const struct rows *r, int64_t seq)
{
    size_t i = home_of(r, seq);
    return i < r->n && r->list[i].seq == seq ? &r->list[i] : NULL;
}

static struct row *add_row(struct rows *r, const struct row *row)
{
    struct row *known = find_row(r, row->seq);
    if (known)
        return known;
    if (r->n == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 64;
        struct row *list = realloc(r->list, cap * sizeof *list);
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

static void remove_row(struct rows *r, int64_t seq)
{
    struct row *row = find_row(r, seq);
    if (!row)
        return;
    size_t i = (size_t)(row - r->list);
    memmove(row, row + 1, (r->n - i - 1) * sizeof *row);
    r->n--;
}

static void drop_rows(struct rows *r)
{
    free(r->list);
    *r = (struct rows){0};
}

/* --- time ----------------------------------------------------------------------------------------- */

static void kick(struct ah_lssend *s)
{
    ah_loop_ready(s->core->loop, &s->pump);
}

static void on_later(struct ah_timer *t)
{
    kick(t->arg);
}

static void on_gathered(struct ah_timer *t)
{
    struct ah_lssend *s = t->arg;
    uint64_t pushed = ah_store_stats(s->core->store)->pushed;
    s->gathering = false;
    for (struct dest *d = s->dests; d; d = d->next) {
        d->dirty = true;
        d->retry |= pushed != s->pushed; /* runs whose sending was decided at their end */
    }
    s->pushed = pushed;
    kick(s);
}

static void delay(struct dest *d, int64_t ms)
{
    d->next_us = ah_clock_mono_us() + ms * 1000;
}

/* Of the wall, without moving a fixed clock: what we do must not change what a script sees. */
static int64_t read_wall(struct ah_lssend *s)
{
    struct ah_clock copy = *ah_loop_clock(s->core->loop);
    return ah_clock_wall_us(&copy);
}

/* --- batches and destinations ----------------------------------------------------------------------- */

static struct batch *new_batch(struct dest *d, int64_t id, const struct ah_store_item *items, size_t count)
{
    struct batch *b = calloc(1, sizeof *b);
    struct ah_store_item *copy = malloc((count ? count : 1) * sizeof *copy);
    if (!b || !copy) {
        free(b);
        free(copy);
        return NULL;
    }
    memcpy(copy, items, count * sizeof *copy);
    *b = (struct batch){.dest = d, .id = id, .items = copy, .count = count};
    b->created = read_wall(d->sender);
    return b;
}

static void free_batch(struct batch *b)
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

static void append_batch(struct dest *d, struct batch *b)
{
    struct batch **at = &d->batches;
    while (*at)
        at = &(*at)->next;
    *at = b;
}

static void remove_batch(struct batch *b)
{
    struct batch **at = &b->dest->batches;
    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
    free_batch(b);
}

static int save_batch(const struct batch *b)
{
    struct ah_store_batch row = {.id = b->id,
                                 .dest = b->dest->n,
                                 .attempts = b->attempts,
                                 .created = b->created,
                                 .items = b->items,
                                 .count = b->count};
    return ah_store_batch_save(b->dest->sender->core->store, &row);
}

static void forget_batches(struct dest *d)
{
    while (d->batches) {
        struct batch *b = d->batches;
        d->batches = b->next;
        free_batch(b);
    }
}

/* What was not decided stays in the journal, for whoever has the lease next. */
static void release(struct dest *d)
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

static void stop_asking(struct dest *d)
{
    if (!d->asking)
        return;
    ah_op_wait(&d->asking->op, NULL, NULL);
    ah_op_unref(&d->asking->op);
    d->asking = NULL;
}

static void free_dest(struct dest *d)
{
    release(d);
    stop_asking(d);
    drop_rows(&d->open);
    drop_rows(&d->created);
    ah_err_drop(&d->refused);
    free(d->name);
    free(d->endpoint);
    free(d->workspace);
    set_secret(&d->key, NULL);
    free(d->project);
    free(d);
}

static struct dest *find_dest(struct ah_lssend *s, int64_t n)
{
    struct dest *d = s->dests;
    while (d && d->n != n)
        d = d->next;
    return d;
}

static struct dest *add_dest(struct ah_lssend *s, const struct ah_store_dest *row)
{
    struct dest *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    *d = (struct dest){.sender = s, .n = row->dest, .emulated = row->emulated, .dirty = true, .retry = true};
    d->position = -1;
    ah_lsinfo_default(&d->info);
    d->name = strdup(row->endpoint);
    d->endpoint = strndup(row->endpoint, strcspn(row->endpoint, "#"));
    d->workspace = strdup(row->workspace);
    if (!d->name || !d->endpoint || !d->workspace) {
        free_dest(d);
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
    struct dest *d = find_dest(m->s, row->dest);
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
static void match_dests(struct ah_lssend *s)
{
    struct matching m = {.s = s};
    m.count = ah_tracing_targets(s->core->tracing, !s->forced, m.list);
    for (struct dest *d = s->dests; d; d = d->next)
        d->matched = false;
    if (m.count)
        ah_store_dests(s->core->store, match_dest, &m, NULL);
}

/* --- the lease --------------------------------------------------------------------------------------- */

static int load_position(void *arg, const struct ah_store_dest *row)
{
    struct dest *d = arg;
    if (row->dest != d->n)
        return 0;
    if (row->position != d->position)
        d->open.n = 0; /* somebody else read on: the ends may be sent already */
    d->position = row->position;
    return 1;
}

static int load_batch(void *arg, const struct ah_store_batch *row)
{
    struct dest *d = arg;
    struct batch *b = new_batch(d, row->id, row->items, row->count);
    if (!b)
        return 1;
    b->attempts = row->attempts;
    b->created = row->created;
    b->maybe = row->attempts > 0;
    append_batch(d, b);
    return 0;
}

static int load_exception(void *arg, const struct ah_store_except *e)
{
    struct dest *d = arg;
    bool refused = e->state == AH_EXCEPT_PARKED && e->item.end_seq == 0;
    struct row row = {.seq = e->item.start_seq, .run = e->item.run, .span = e->item.span, .refused = refused};
    if (e->state == AH_EXCEPT_RETRY)
        d->retry = true;
    else if (refused || e->state == AH_EXCEPT_CREATED)
        return add_row(&d->created, &row) ? 0 : 1;
    return 0;
}

/* One sender among processes. False: not now. */
static bool take_lease(struct dest *d)
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
        release(d);
        return false;
    }
    return true;
}

/* --- bodies of runs ------------------------------------------------------------------------------------ */

static int copy_event(void *arg, const struct ah_store_event *ev)
{
    return ah_buf_add(arg, ev->body, ev->n);
}

/* An event's text. 1: it is gone from the journal. */
static int load_event(struct dest *d, int64_t seq, struct ah_buf *to)
{
    struct ah_error err = {0};
    ah_buf_clear(to);
    if (ah_store_event_at(d->sender->core->store, seq, copy_event, to, &err) == 0)
        return to->failed ? -1 : 0;
    int result = err.kind == AH_NOT_FOUND ? 1 : -1;
    ah_err_drop(&err);
    return result;
}

static void park(struct dest *d, const struct ah_store_item *item, const char *reason)
{
    struct ah_lssend *s = d->sender;
    char words[WORDS_BYTES];
    snprintf(words, sizeof words, "%s", reason);
    if (s->core->secrets)
        ah_secret_mask_str(s->core->secrets, words, sizeof words);
    struct ah_store_except e = {.item = *item, .state = AH_EXCEPT_PARKED, .reason = words};
    ah_store_set_exception(s->core->store, d->n, &e);
    struct row row = {.seq = item->start_seq, .run = item->run, .span = item->span};
    struct row *known = item->end_seq ? NULL : add_row(&d->created, &row);
    if (known)
        known->refused = true;
    ah_log_once(s->core->log, AH_ONCE_TRACE_REFUSED, AH_LOG_WARN,
                "LangSmith does not take a span (%s): it stays in the journal, the others are sent; "
                "`agenthost trace ls` shows it as parked",
                words);
}

/* How large a run may be at each level of cutting. 0: as large as it is. */
static size_t room_of(int cut)
{
    static const size_t rooms[CUT_LEVELS_COUNT + 1] = {0,         16 << 20, 4 << 20, 1 << 20,
                                                       256 << 10, 64 << 10, 16 << 10};
    return rooms[cut < 0 || cut > CUT_LEVELS_COUNT ? CUT_LEVELS_COUNT : cut];
}

/* Adds a run to a body. 0: added; 1: it does not fit any more; 2: parked, it would be refused. */
static int add_run(struct dest *d, struct ah_lswire_body *body, const struct ah_store_item *item,
                   const char *start, size_t start_n, const char *end, size_t end_n, const char *project,
                   size_t max)
{
    struct ah_lswire_run run;
    struct ah_error err = {0};
    if (ah_lswire_read(&run, start, start_n, end, end_n, &err) != 0) {
        park(d, item, err.message);
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
        ah_lswire_cut(&run, item->cut ? room_of(item->cut) : WHOLE_BYTES);
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

static void load_project(struct dest *d, struct project *p, int64_t run)
{
    if (p->run == run)
        return;
    p->run = run;
    p->name[0] = '\0';
    ah_store_run_at(d->sender->core->store, run, copy_project, p, NULL);
}

/* What did not fit into a batch that was never sent becomes the next one. */
static int put_off(struct batch *b, size_t from)
{
    struct ah_store *store = b->dest->sender->core->store;
    struct batch *rest = new_batch(b->dest, ah_store_new_key(store), b->items + from, b->count - from);
    if (!rest || save_batch(rest) != 0) {
        free_batch(rest);
        return -1;
    }
    rest->next = b->next;
    b->next = rest;
    b->count = from;
    return 0;
}

/* The body of a batch from its items, always the same bytes. Items whose events are gone, and those that
 * would be refused, are taken out of it. -1: not now. */
static int load_body(struct batch *b, struct ah_lswire_body *body)
{
    struct dest *d = b->dest;
    struct project project = {0};
    struct ah_buf start, end;
    size_t kept = 0;
    int r = 0;
    ah_buf_init(&start, EVENT_BYTES);
    ah_buf_init(&end, EVENT_BYTES);
    for (size_t i = 0; i < b->count && r >= 0; i++) {
        const struct ah_store_item item = b->items[i];
        r = load_event(d, item.start_seq, &start);
        if (r == 0 && item.end_seq)
            r = load_event(d, item.end_seq, &end);
        if (r != 0)
            continue;
        load_project(d, &project, item.run);
        r = add_run(d, body, &item, start.p, start.n, item.end_seq ? end.p : NULL, item.end_seq ? end.n : 0,
                    project.name, body->runs && !b->attempts ? d->info.bytes_max : 0);
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

/* --- requests ------------------------------------------------------------------------------------------- */

size_t ah_lssend_headers(const char *key, const char *workspace, const char *content_type,
                         struct ah_http_header out[AH_LSSEND_HEADERS])
{
    size_t n = 0;
    if (key)
        out[n++] = (struct ah_http_header){"x-api-key", key};
    if (workspace && *workspace)
        out[n++] = (struct ah_http_header){"X-Tenant-Id", workspace};
    out[n++] = (struct ah_http_header){"Accept", "application/json"};
    if (content_type)
        out[n++] = (struct ah_http_header){"Content-Type", content_type};
    return n;
}

static void refuse_dest(struct dest *d, struct ah_error *why)
{
    ah_err_move(&d->refused, why);
    delay(d, KEY_WAIT_MS);
}

static void post_batch(struct batch *b, const struct ah_buf *body, enum ah_lspack_coding coding)
{
    struct dest *d = b->dest;
    struct ah_lssend *s = d->sender;
    struct ah_http_header headers[AH_LSSEND_HEADERS + 2];
    struct ah_error err = {0};
    struct ah_buf url;
    char raw_n[24];
    bool multipart = strcmp(b->type, "application/json") != 0;
    size_t count = ah_lssend_headers(d->key, d->workspace, b->type, headers);
    if (coding != AH_LSPACK_NONE) {
        snprintf(raw_n, sizeof raw_n, "%zu", b->bytes);
        headers[count++] = (struct ah_http_header){"Content-Encoding", ah_lspack_name(coding)};
        headers[count++] = (struct ah_http_header){"X-Pre-Compressed-Size", raw_n};
    }
    b->packed = coding != AH_LSPACK_NONE;
    ah_buf_init(&url, AH_HTTP_HEADER_BYTES);
    ah_url_join(d->endpoint, multipart ? "runs/multipart" : "runs/batch", &url);
    struct ah_http_req req = {
        .method = "POST",
        .url = ah_buf_str(&url),
        .headers = headers,
        .header_count = count,
        .body = body->p,
        .body_n = body->n,
        .has_body = true,
        .idempotent = true,   /* the service knows runs by their ids ... */
        .retry = {.max = -1}, /* ... but when to send again is decided here */
    };
    b->op = ah_http_send(s->core->http, &req, &err);
    if (b->op) {
        d->in_flight++;
        s->in_flight++;
        ah_op_wait(&b->op->op, on_answer, b);
    } else if (err.kind == AH_MEMORY) {
        delay(d, TROUBLE_WAIT_MS);
    } else {
        ah_log_once(s->core->log, AH_ONCE_TRACE_AUTH, AH_LOG_WARN, "traces cannot be sent: %s", err.message);
        refuse_dest(d, &err);
    }
    ah_err_drop(&err);
    ah_buf_drop(&url);
}

static void on_packed(void *arg, struct ah_buf *body, enum ah_lspack_coding coding, size_t raw_n)
{
    struct batch *b = arg;
    (void)raw_n;
    b->job = NULL;
    b->dest->in_flight--;
    b->dest->sender->in_flight--;
    post_batch(b, body, coding);
    kick(b->dest->sender);
}

/* Queues the request of a batch, packed first where the service offers that. The attempt is written down before
 * anything leaves. */
static void send_batch(struct batch *b, struct ah_lswire_body *body)
{
    struct dest *d = b->dest;
    struct ah_lssend *s = d->sender;
    snprintf(b->type, sizeof b->type, "application/json");
    if (body->boundary[0])
        snprintf(b->type, sizeof b->type, "multipart/form-data; boundary=%s", body->boundary);
    b->attempts++;
    if (ah_lswire_finish(body) != 0 || save_batch(b) != 0) {
        b->attempts--;
        delay(d, TROUBLE_WAIT_MS);
        return;
    }
    b->bytes = body->to.n;
    if (d->info.coding != AH_LSPACK_NONE && body->boundary[0] && !b->plain && b->bytes >= AH_LSPACK_MIN_BYTES)
        b->job = ah_lspack_start(s->core->loop, d->info.coding, &body->to, on_packed, b);
    if (b->job) {
        d->in_flight++;
        s->in_flight++;
    } else {
        post_batch(b, &body->to, AH_LSPACK_NONE);
    }
}

/* Sends a batch from its items: one of an earlier attempt, of another process, or a half. */
static void resend_batch(struct batch *b)
{
    struct ah_lswire_body body;
    ah_lswire_begin(&body, b->id, b->dest->info.multipart);
    if (load_body(b, &body) != 0) {
        delay(b->dest, TROUBLE_WAIT_MS);
    } else if (b->count == 0) {
        ah_store_batch_drop(b->dest->sender->core->store, b->id);
        remove_batch(b);
    } else {
        send_batch(b, &body);
    }
    ah_lswire_drop(&body);
}

/* --- what the service says of itself ------------------------------------------------------------------------ */

static void on_info(struct ah_op *op, void *arg)
{
    struct dest *d = arg;
    struct ah_http_op *h = (struct ah_http_op *)op;
    if (op->err.kind == AH_NONE)
        ah_lsinfo_read(&d->info, h->res.body.p, h->res.body.n);
    d->asking = NULL; /* no answer: what it documents will do */
    ah_op_unref(op);
}

/* Beside the second upload, once; nothing waits for the answer. */
static void ask_info(struct dest *d)
{
    struct ah_http_header headers[AH_LSSEND_HEADERS];
    struct ah_buf url;
    d->asked_info = true;
    ah_buf_init(&url, AH_HTTP_HEADER_BYTES);
    ah_url_join(d->endpoint, "info", &url);
    struct ah_http_req req = {
        .url = ah_buf_str(&url),
        .headers = headers,
        .header_count = ah_lssend_headers(d->key, d->workspace, NULL, headers),
        .total_ms = INFO_MS,
        .retry = {.max = -1},
    };
    d->asking = ah_http_send(d->sender->core->http, &req, NULL);
    if (d->asking)
        ah_op_wait(&d->asking->op, on_info, d);
    ah_buf_drop(&url);
}

/* --- verdicts -------------------------------------------------------------------------------------------- */

enum verdict { DELIVERED, SPLIT, AGAIN, KEY_REFUSED, OTHER_FORM, SMALLER };

/* LangSmith answers 202 with a JSON object. A page that answers 200 to everything is not LangSmith, and
 * has nothing. */
static bool is_ingested(const struct ah_http_res *res)
{
    struct ah_json answer;
    const char *p = ah_buf_str(&res->body);
    if (strspn(p, " \t\r\n") == res->body.n)
        return res->status != 200;
    return ah_json_check(p, res->body.n, 0, &answer, NULL) == 0 && answer.type == AH_JSON_OBJECT &&
           !ah_json_truthy(ah_json_get(answer, "error"));
}

static enum verdict judge(const struct batch *b, const struct ah_http_op *h, const char *words)
{
    int status = h->op.err.kind == AH_NONE ? 200 : h->op.err.status;
    switch (status) {
    case 200:
        return is_ingested(&h->res) ? DELIVERED : AGAIN;
    case 401:
    case 403:
        return KEY_REFUSED;
    case 404:
    case 405:
        return !b->dest->info.multipart ? AGAIN : OTHER_FORM;
    case 409:
        return b->maybe || b->count == 1 ? DELIVERED : SPLIT;
    case 415:
        return b->packed ? OTHER_FORM : SPLIT;
    case 413:
        return b->count > 1 ? SPLIT : SMALLER;
    case 400:
    case 422:
        if (strstr(words, "NextPart: EOF")) /* a body that was cut on its way is nobody's fault */
            return AGAIN;
        if (b->count > 1)
            return SPLIT;
        return strstr(words, "exceeds maximum allowed size") ? SMALLER : b->packed ? OTHER_FORM : SPLIT;
    default:
        return AGAIN;
    }
}

static void deliver(struct batch *b)
{
    struct dest *d = b->dest;
    if (b->plain)
        d->info.coding = AH_LSPACK_NONE; /* it was the packing that it refused */
    d->worked = true;
    ah_store_batch_drop(d->sender->core->store, b->id);
    d->failures = 0;
    d->next_us = 0;
    d->asked = false;
    d->trouble[0] = '\0';
    remove_batch(b);
}

/* Halves take the place of the whole, in one transaction; a single one is the culprit. */
static void split_batch(struct batch *b, const char *words)
{
    struct dest *d = b->dest;
    struct ah_store *store = d->sender->core->store;
    size_t half = b->count / 2;
    if (b->count == 1) {
        park(d, &b->items[0], words);
        ah_store_batch_drop(store, b->id);
        remove_batch(b);
        return;
    }
    struct batch *one = new_batch(d, ah_store_new_key(store), b->items, half);
    struct batch *two = new_batch(d, ah_store_new_key(store), b->items + half, b->count - half);
    if (!one || !two || save_batch(one) != 0 || save_batch(two) != 0) {
        free_batch(one);
        free_batch(two);
        delay(d, TROUBLE_WAIT_MS);
        return;
    }
    ah_store_batch_drop(store, b->id);
    one->next = two;
    two->next = d->batches; /* first, so that few are open while the culprit is looked for */
    d->batches = one;
    remove_batch(b);
}

/* A run that is too large, alone: once more with its largest values cut. It is another batch: the one that was sent
 * is decided. */
static void shrink_batch(struct batch *b, const char *words)
{
    struct dest *d = b->dest;
    struct ah_store *store = d->sender->core->store;
    struct ah_store_item item = b->items[0];
    do
        item.cut++;
    while (item.cut <= CUT_LEVELS_COUNT && room_of(item.cut) >= b->bytes);
    struct batch *less = item.cut > CUT_LEVELS_COUNT ? NULL : new_batch(d, ah_store_new_key(store), &item, 1);
    if (!less || save_batch(less) != 0) {
        free_batch(less);
        split_batch(b, words); /* parks it */
        return;
    }
    ah_store_batch_drop(store, b->id);
    less->next = d->batches;
    d->batches = less;
    remove_batch(b);
}

/* The service has no such address, or cannot unpack: the same runs at once in the other form. */
static void note_form(struct batch *b, int status)
{
    if (status == 404 || status == 405)
        b->dest->info.multipart = false;
    else if (status == 415)
        b->dest->info.coding = AH_LSPACK_NONE;
    else
        b->plain = true;
}

/* 429 without Retry-After: 10 s; a plan that is used up: minutes; else ever longer. Without chance, so
 * that what scripts draw does not depend on the network: batches differ enough. */
static int64_t choose_wait(const struct dest *d, const struct batch *b, const struct ah_error *err,
                           const char *words)
{
    if (err->retry_after_ms > 0)
        return err->retry_after_ms;
    if (err->status == 429)
        return strstr(words, "usage limit") ? USAGE_WAIT_MS : RATE_WAIT_MS;
    int64_t ms = LONGEST_WAIT_MS;
    if (d->failures < 8)
        ms = (int64_t)FIRST_WAIT_MS << (d->failures - 1);
    ms = ms < LONGEST_WAIT_MS ? ms : LONGEST_WAIT_MS;
    return ms - ms / 4 * (b->id & 7) / 8;
}

static void keep_batch(struct batch *b, const struct ah_http_op *h, const char *words)
{
    struct dest *d = b->dest;
    const struct ah_error *err = &h->op.err;
    bool taken = err->status ? err->status >= 500 || err->status == 408 || err->status == 425
                             : h->res.first_byte_sent || h->res.answer_began;
    b->maybe |= taken;
    if (!b->maybe) {
        b->attempts--; /* nobody can have it: a 409 to the next one would mean something else */
        save_batch(b);
    }
    d->failures++;
    d->asked = err->retry_after_ms > 0 || err->status == 429;
    delay(d, choose_wait(d, b, err, words));
    const char *what =
        err->kind == AH_NONE ? "its answer is not LangSmith's; is LANGSMITH_ENDPOINT right?" : err->message;
    snprintf(d->trouble, sizeof d->trouble, "%.240s%s%.150s", what, *words ? ": " : "", words);
    if (d->failures == SAY_AFTER_COUNT)
        ah_log_once(d->sender->core->log, AH_ONCE_TRACE_DOWN, AH_LOG_WARN,
                    "traces cannot be sent to %s now (%s); they wait in the journal and are tried again",
                    d->endpoint, d->trouble);
}

static void note_key(struct dest *d, int status, const char *words)
{
    struct ah_error err = {0};
    bool workspace = strstr(words, "org_scoped_key_requires_workspace") != NULL;
    ah_err_set(&err, AH_AUTH, "LangSmith at %.300s does not accept the key (%d %.150s): %s", d->endpoint,
               status, words,
               workspace ? "the key belongs to an organization, set LANGSMITH_WORKSPACE_ID"
                         : "check LANGSMITH_API_KEY, and that LANGSMITH_ENDPOINT is of the same region");
    err.status = status;
    ah_log_once(d->sender->core->log, AH_ONCE_TRACE_AUTH, AH_LOG_WARN,
                "%s. The traces stay in the journal and are sent when it does", err.message);
    refuse_dest(d, &err);
}

static void on_answer(struct ah_op *op, void *arg)
{
    struct batch *b = arg;
    struct dest *d = b->dest;
    struct ah_lssend *s = d->sender;
    struct ah_http_op *h = (struct ah_http_op *)op;
    char words[WORDS_BYTES];
    ah_lswire_words(h->res.body.p, h->res.body.n, words, sizeof words);
    b->op = NULL;
    d->in_flight--;
    s->in_flight--;
    ah_fault_at("verdict");
    switch (judge(b, h, words)) {
    case DELIVERED:
        deliver(b);
        break;
    case SPLIT:
        split_batch(b, *words ? words : op->err.message);
        break;
    case SMALLER:
        shrink_batch(b, *words ? words : op->err.message);
        break;
    case AGAIN:
        keep_batch(b, h, words);
        break;
    case KEY_REFUSED:
        note_key(d, op->err.status, words);
        break;
    case OTHER_FORM:
        note_form(b, op->err.status); /* and at once again */
        break;
    }
    ah_op_unref(op);
    kick(s);
}

/* --- new batches ------------------------------------------------------------------------------------------- */

/* What is read in one go: the starts whose ends may follow, and the batch that grows. */
struct page {
    struct dest *dest;
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
    int r = load_event(p->dest, seq, &p->other);
    p->failed |= r < 0;
    *n = p->other.n;
    return r == 0 ? p->other.p : NULL;
}

static int take_end(struct page *p, const struct ah_store_event *ev)
{
    struct dest *d = p->dest;
    size_t n;
    const char *start = p->count < d->info.runs_max ? find_start(p, ev->start_seq, &n) : NULL;
    if (p->count >= d->info.runs_max || p->failed)
        return 1;
    remove_row(&d->open, ev->start_seq);
    if (!start)
        return 0;
    const struct row *created = find_row(&d->created, ev->start_seq);
    struct ah_store_item item = {.run = ev->run,
                                 .span = ev->span,
                                 .start_seq = ev->start_seq,
                                 .end_seq = ev->seq,
                                 .patch = created && !created->refused};
    int r =
        add_run(d, &p->body, &item, start, n, ev->body, ev->n, ev->project, p->count ? d->info.bytes_max : 0);
    if (r == 0)
        p->items[p->count++] = item;
    p->failed |= r < 0;
    return r == 0 || r == 2 ? 0 : 1;
}

static int on_event(void *arg, const struct ah_store_event *ev)
{
    struct page *p = arg;
    struct rows *open = &p->dest->open;
    if (ev->kind == AH_EV_SPAN_END)
        return take_end(p, ev);
    struct row row = {.seq = ev->seq, .run = ev->run, .span = ev->span, .seen_us = ah_clock_mono_us()};
    if (open->n < OPEN_COUNT)
        add_row(open, &row);
    p->failed |= add_start(p, ev) != 0;
    return p->failed;
}

/* Creates are remembered before they leave; whatever else stood in an exception is in the batch now. */
static void note_items(struct dest *d, const struct ah_store_item *items, size_t count, bool were_noted)
{
    struct ah_store *store = d->sender->core->store;
    for (size_t i = 0; i < count; i++) {
        const struct ah_store_item *item = &items[i];
        struct row row = {.seq = item->start_seq, .run = item->run, .span = item->span};
        if (!item->end_seq) {
            struct ah_store_except e = {.item = *item, .state = AH_EXCEPT_CREATED, .reason = ""};
            ah_store_set_exception(store, d->n, &e);
            add_row(&d->created, &row);
            remove_row(&d->open, item->start_seq);
        } else if (were_noted || find_row(&d->created, item->start_seq)) {
            ah_store_clear_exception(store, d->n, item->run, item->span);
            remove_row(&d->created, item->start_seq);
        }
    }
}

/* Reads on in the journal. 1: a batch was sent; 2: there is more to read; 0: nothing is left; -1: not now. */
static int read_batch(struct dest *d)
{
    struct ah_store *store = d->sender->core->store;
    struct page p = {.dest = d};
    int64_t scanned = d->position, id = ah_store_new_key(store);
    bool more = false;
    ah_lswire_begin(&p.body, id, d->info.multipart);
    ah_buf_reserve(&p.body.to, d->usual_bytes);
    ah_buf_init(&p.texts, EVENT_BYTES);
    ah_buf_init(&p.other, EVENT_BYTES);
    int r = ah_store_read(store, d->n, d->position, PAGE_EVENTS_COUNT, PAGE_BYTES, on_event, &p, &scanned,
                          &more, NULL);
    struct batch *b = r == 0 && !p.failed && p.count ? new_batch(d, id, p.items, p.count) : NULL;
    if (r != 0 || p.failed || (p.count && !b)) {
        delay(d, TROUBLE_WAIT_MS);
        r = -1;
    } else {
        if (b) {
            append_batch(d, b);
            save_batch(b);
            note_items(d, b->items, b->count, false);
        }
        if (scanned > d->position)
            ah_store_advance(store, d->n, scanned);
        d->position = scanned;
        if (b) {
            d->usual_bytes = p.body.to.n + p.body.to.n / 8;
            send_batch(b, &p.body);
        }
        r = b ? 1 : more ? 2 : 0;
    }
    ah_lswire_drop(&p.body);
    ah_buf_drop(&p.texts);
    ah_buf_drop(&p.other);
    free(p.starts);
    return r;
}

/* A batch of named spans. 1: sent, or parked altogether. */
static int send_items(struct dest *d, const struct ah_store_item *items, size_t count, bool were_noted)
{
    struct batch *b = new_batch(d, ah_store_new_key(d->sender->core->store), items, count);
    if (!b || save_batch(b) != 0) {
        free_batch(b);
        delay(d, TROUBLE_WAIT_MS);
        return -1;
    }
    append_batch(d, b);
    note_items(d, items, count, were_noted);
    resend_batch(b);
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
static int push_batch(struct dest *d)
{
    struct retries r = {.count = 0};
    struct ah_store *store = d->sender->core->store;
    /* What an earlier batch took is cleared by a queued write: look only at what is written. */
    if (ah_store_flush(store) != AH_STORE_OK ||
        ah_store_exceptions(store, d->n, AH_EXCEPT_RETRY, read_wall(d->sender), (int)d->info.runs_max,
                            take_retry, &r, NULL) != 0) {
        delay(d, TROUBLE_WAIT_MS);
        return -1;
    }
    d->retry = r.count > 0;
    return r.count ? send_items(d, r.items, r.count, true) : 0;
}

/* Creates of spans that are open for long. 0: none. */
static int early_batch(struct dest *d)
{
    struct retries r = {.count = 0};
    int64_t before = ah_clock_mono_us() - d->sender->early_ms * 1000;
    for (size_t i = 0; i < d->open.n && r.count < d->info.runs_max;) {
        const struct row row = d->open.list[i];
        if (row.seen_us <= before && !ah_store_goes_to(d->sender->core->store, row.run, d->n)) {
            remove_row(&d->open, row.seq); /* taken back since it was read: an anonymizer, keep_local */
            continue;
        }
        if (row.seen_us <= before)
            r.items[r.count++] =
                (struct ah_store_item){.run = row.run, .span = row.span, .start_seq = row.seq};
        i++;
    }
    return r.count ? send_items(d, r.items, r.count, false) : 0;
}

/* --- the pump ------------------------------------------------------------------------------------------------ */

/* The oldest that is not in flight; *open: how many there are. */
static struct batch *find_idle(const struct dest *d, int *open)
{
    struct batch *idle = NULL;
    *open = 0;
    for (struct batch *b = d->batches; b; b = b->next, ++*open)
        if (!b->op && !b->job && !idle)
            idle = b;
    return idle;
}

static bool early_due(const struct dest *d)
{
    return d->open.n && d->open.list[0].seen_us + d->sender->early_ms * 1000 <= ah_clock_mono_us();
}

/* Makes the next batch, ends first: a create of what is about to be patched would be waste. 1: sent; 2:
 * read on later; 0: nothing; -1: not now. */
static int next_batch(struct dest *d)
{
    if (d->worked && !d->asked_info && d->dirty)
        ask_info(d);
    int r = d->dirty ? read_batch(d) : 0;
    if (r == 0)
        d->dirty = false;
    if (r == 0 && d->retry)
        r = push_batch(d);
    if (r == 0 && early_due(d))
        r = early_batch(d);
    return r;
}

static void pump_dest(struct dest *d)
{
    struct ah_lssend *s = d->sender;
    int open;
    if (d->refused.kind != AH_NONE && d->leased && d->in_flight == 0)
        release(d); /* another process may have a key that is good */
    if (ah_clock_mono_us() < d->next_us)
        return;
    if (d->refused.kind != AH_NONE) {
        ah_err_drop(&d->refused);
        d->dirty = true;
    }
    if (!d->leased && !d->dirty && !early_due(d))
        return;
    if (!d->leased && !take_lease(d)) {
        delay(d, s->flushes ? LEASE_WAIT_MS : TROUBLE_WAIT_MS);
        return;
    }
    while (s->in_flight < IN_FLIGHT_COUNT && d->next_us <= ah_clock_mono_us()) {
        struct batch *b = find_idle(d, &open);
        int r = 1;
        if (b)
            resend_batch(b);
        else if (open >= IN_FLIGHT_COUNT)
            break;
        else
            r = next_batch(d);
        if (r == 2)
            kick(s); /* 20,000 rows of others' events are enough for one turn */
        if (r != 1)
            break;
    }
    if (d->leased && !d->batches && !d->dirty && !d->retry)
        release(d);
}

static bool is_waiting(const struct dest *d)
{
    return d->matched && d->refused.kind == AH_NONE && (d->dirty || d->retry || d->batches);
}

static void end_flush(struct flush *f, struct ah_error *err)
{
    struct flush **at = &f->sender->flushes;
    while (*at && *at != f)
        at = &(*at)->next;
    if (*at)
        *at = f->next;
    ah_timer_stop(&f->timer);
    ah_op_finish(&f->op, err);
}

static void end_late(struct flush *f)
{
    struct ah_error err = {0};
    const char *why = "";
    for (struct dest *d = f->sender->dests; d; d = d->next)
        if (is_waiting(d) && d->trouble[0])
            why = d->trouble;
    ah_err_set(&err, AH_TIMEOUT, "not all traces arrived in time%s%.500s%s; they stay in the journal",
               *why ? " (" : "", why, *why ? ")" : "");
    end_flush(f, &err);
}

/* Done; or without hope before its time is over. */
static void check_flush(struct flush *f)
{
    bool waiting = false, hope = false;
    struct ah_error err = {0};
    for (struct dest *d = f->sender->dests; d; d = d->next) {
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
    for (struct dest *d = s->dests; d; d = d->next) {
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
    match_dests(s);
    for (struct dest *d = s->dests; d; d = d->next) {
        if (d->matched)
            pump_dest(d);
        else if (d->leased && d->in_flight == 0)
            release(d);
    }
    for (struct flush *f = s->flushes, *next; f; f = next) {
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

/* --- outside --------------------------------------------------------------------------------------------------- */

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
        struct dest *d = s->dests;
        s->dests = d->next;
        free_dest(d);
    }
    free(s);
}

static void cancel_flush(struct ah_op *op)
{
    end_flush((struct flush *)op, NULL);
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
    for (struct dest *d = s->dests; d; d = d->next) {
        d->dirty = true;
        if (d->refused.kind != AH_NONE && refused_too) {
            ah_err_drop(&d->refused);
            d->asked = false;
        }
        if (!d->asked && d->refused.kind == AH_NONE)
            d->next_us = 0;
    }
    kick(s);
}

struct ah_op *ah_lssend_flush(struct ah_lssend *s, int64_t timeout_ms)
{
    struct flush *f = calloc(1, sizeof *f);
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
    match_dests(s);
    for (struct dest *d = s->dests; d; d = d->next)
        if (d->matched && ah_store_waiting(s->core->store, d->n, &w, NULL) == 0)
            sum += w.spans;
    return sum;
}

void ah_lssend_wake(struct ah_lssend *s)
{
    s->forced = true;
    for (struct dest *d = s->dests; d; d = d->next)
        d->retry = true;
    wake_dests(s, true);
}

void ah_lssend_set_pace(struct ah_lssend *s, int64_t gather_ms, int64_t early_ms)
{
    s->gather_ms = gather_ms;
    s->early_ms = early_ms;
}
