/* Notes of a run: kept in memory until the journal is written, read back when the run is done again. Called by
 * luareplay.c, trace_effect.c and host.c.
 *
 * One note is a JSON array:
 *   ["v",name,[values]]           a value that the script read
 *   ["c",number,name,args]        a call was issued
 *   ["r",number,[results]]        its result was given to the script, which had waited for it
 *   ["R",number,[results]]        the same, at once: no other task ran in between
 * and, anywhere between them, what is no part of the order:
 *   ["s",number] ["e",number]     the stream of that call began, ended
 *   ["i",number,run,n]            an unsafe effect of that call is journalled as the run's n-th
 *   ["w",number]                  the script ended with the error of that call, which waits for somebody
 * Results are given one at a time, and only when no task of the script can go on (ah_loop_after): so the same
 * script over the same notes does the same. Must never send anything, and never fail a run because noting does:
 * then the run is one that cannot be resumed. */
#include "replay.h"

#include "buf.h"
#include "log.h"
#include "loop.h"
#include "secret.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PENDING_BYTES ((size_t)64 << 20) /* noted and not yet queued */
#define ALONE_BYTES ((size_t)4 << 10)    /* written when nothing else is */
#define QUEUE_BYTES ((size_t)256 << 10)  /* then queued, without waiting for the commit */
#define PAST_BYTES ((size_t)1 << 30)     /* of one run's notes, in memory when it is resumed */
#define CHAIN_COUNT 10000                /* runs that went on from each other */

struct ah_call {
    struct ah_replay *r;
    struct ah_call *next, *prev; /* of those that are open */
    int64_t number;
    struct ah_op *latch; /* counted; NULL until somebody waits */
    struct ah_json result;
    bool waiting; /* for a note */
    bool ended, parked;
};

/* Where in `pending` a value stands that the journal keeps once. */
struct piece {
    size_t at, n;
    bool object;
};

struct intent {
    int64_t call, run, n;
    bool used;
};

struct ah_replay {
    struct ah_core *core;
    int64_t run; /* 0: nothing is noted */
    struct ah_ids ids;
    const char *closed, *assume;
    bool last_words;     /* nothing but intents is noted any more */
    int64_t noted_calls; /* the highest number of a call in `past` */

    struct ah_buf pending; /* notes with commas between them */
    struct piece *pieces;
    size_t piece_count, piece_cap;

    char **texts; /* events that `past` points into */
    size_t text_count, text_cap, text_bytes;
    struct ah_json *past;
    size_t past_count, past_cap, at;
    struct intent *intents;
    size_t intent_count, intent_cap;

    double worked_before;   /* seconds, in the runs that this one goes on from */
    int64_t worked_from_us; /* 0: nobody asked yet */
    int64_t *chain;         /* the runs that this one goes on from, newest first */
    size_t chain_count;
    int64_t calls, replayed;
    int64_t failed_call; /* the newest that ended with an error somebody can lift */
    enum ah_kind failed_kind;
    int64_t again;       /* the call that stopped the run before: it is made again */
    struct ah_call open; /* head of a circular list */
    size_t open_count, parked_count;
    struct ah_ready deliver, look;
    bool stuck;
    struct ah_error diverged, parked;
    struct ah_buf masked;
};

static void deliver_next(struct ah_ready *r);
static void look_if_stuck(struct ah_ready *r);

struct ah_replay *ah_replay_new(struct ah_core *core, struct ah_error *err)
{
    struct ah_replay *r = calloc(1, sizeof *r);
    if (!r) {
        ah_err_set(err, AH_MEMORY, "out of memory");
        return NULL;
    }
    r->core = core;
    r->open.next = r->open.prev = &r->open;
    r->deliver.run = deliver_next;
    r->look.run = look_if_stuck;
    ah_buf_init(&r->pending, PENDING_BYTES);
    ah_buf_init(&r->masked, PENDING_BYTES);
    return r;
}

void ah_replay_free(struct ah_replay *r)
{
    if (!r)
        return;
    ah_replay_end(r);
    ah_loop_unready(r->core->loop, &r->deliver);
    ah_loop_unready(r->core->loop, &r->look);
    for (size_t i = 0; i < r->text_count; i++)
        free(r->texts[i]);
    free(r->texts);
    free(r->past);
    free(r->pieces);
    free(r->intents);
    free(r->chain);
    ah_buf_drop(&r->pending);
    ah_buf_drop(&r->masked);
    ah_err_drop(&r->diverged);
    ah_err_drop(&r->parked);
    free(r);
}

struct ah_ids *ah_replay_ids(struct ah_replay *r)
{
    return &r->ids;
}

bool ah_replay_is_past(const struct ah_replay *r)
{
    return r->at < r->past_count;
}

int64_t ah_replay_replayed(const struct ah_replay *r)
{
    return r->replayed;
}

const char *ah_replay_closed(const struct ah_replay *r)
{
    return r->closed;
}

void ah_replay_close(struct ah_replay *r, const char *why)
{
    if (!r->closed && r->run) {
        ah_replay_flush(r);
        r->closed = why;
    }
}

void ah_replay_assume(struct ah_replay *r, const char *word)
{
    r->assume = word;
}

const char *ah_replay_assumed(const struct ah_replay *r)
{
    return r->assume;
}

/* --- noting ------------------------------------------------------------------------------------- */

void ah_replay_flush(struct ah_replay *r)
{
    struct ah_store *s = r->core->store;
    if (!r->run || r->pending.n == 0)
        return;
    if (!ah_store_durable(s)) { /* nobody could read them back */
        r->closed = "the journal is in memory";
        ah_buf_clear(&r->pending);
        r->piece_count = 0;
        return;
    }
    const char *p = r->pending.p;
    size_t at = 0;
    ah_store_begin(s, r->run, 0, AH_EV_NOTES, ah_clock_wall_us(ah_loop_clock(r->core->loop)));
    ah_store_puts(s, "{\"notes\":[");
    for (size_t i = 0; i < r->piece_count; i++) {
        const struct piece *piece = &r->pieces[i];
        ah_store_put(s, p + at, piece->at - at);
        if (piece->object)
            ah_store_put_object(s, p + piece->at, piece->n);
        else
            ah_store_put_json(s, p + piece->at, piece->n);
        at = piece->at + piece->n;
    }
    ah_store_put(s, p + at, r->pending.n - at);
    ah_store_puts(s, "]}");
    ah_buf_clear(&r->pending); /* before the event ends: that may commit, and ask for notes again */
    r->piece_count = 0;
    ah_store_end(s);
}

/* A few notes alone (a timer, the time) are no reason to write: nothing has left since, so nothing is lost with them. */
static void on_commit(void *arg)
{
    struct ah_replay *r = arg;
    if (ah_store_stats(r->core->store)->queued > 0 || r->pending.n >= ALONE_BYTES)
        ah_replay_flush(r);
}

void ah_replay_stop_notes(struct ah_replay *r)
{
    if (r->at == r->past_count)
        r->last_words = true;
}

static bool is_noting(const struct ah_replay *r)
{
    return r->run && !r->closed && !r->last_words && r->at == r->past_count;
}

static void lose(struct ah_replay *r, const char *why)
{
    r->closed = why;
    ah_log_line(r->core->log, AH_LOG_WARN, "this run cannot be resumed from here on: %s", why);
}

/* Without memory for its place a text is written where it stands. */
static void add_piece(struct ah_replay *r, size_t at, size_t n, bool object)
{
    if (r->piece_count == r->piece_cap) {
        size_t cap = r->piece_cap ? r->piece_cap * 2 : 16;
        struct piece *more = realloc(r->pieces, cap * sizeof *more);
        if (!more)
            return;
        r->pieces = more;
        r->piece_cap = cap;
    }
    r->pieces[r->piece_count++] = (struct piece){at, n, object};
}

/* The text with secrets masked; a mask inside a number makes it no JSON: then it is a string. */
static const char *mask(struct ah_replay *r, const char *p, size_t *n)
{
    if (!ah_secret_found(r->core->secrets, p, *n))
        return p;
    struct ah_buf text;
    ah_buf_init(&text, PENDING_BYTES);
    ah_buf_clear(&r->masked);
    if (ah_secret_mask(r->core->secrets, p, *n, &text) != 0)
        ah_buf_adds(&r->masked, "null");
    else if (ah_json_check(text.p, text.n, 0, NULL, NULL) != 0)
        ah_json_quote(&r->masked, text.p, text.n);
    else
        ah_buf_add(&r->masked, text.p, text.n);
    ah_buf_drop(&text);
    *n = r->masked.n;
    return ah_buf_str(&r->masked);
}

/* Appends `head`, the JSON value (may be NULL) and "]". */
static void add_note(struct ah_replay *r, const char *head, const char *json, size_t n, bool object)
{
    if (r->pending.n)
        ah_buf_addc(&r->pending, ',');
    ah_buf_adds(&r->pending, head);
    if (json) {
        const char *p = mask(r, json, &n);
        size_t at = r->pending.n;
        if (ah_buf_add(&r->pending, p, n) == 0 && n >= AH_BLOB_MIN_BYTES)
            add_piece(r, at, n, object);
    }
    if (ah_buf_addc(&r->pending, ']') != 0) {
        ah_buf_clear(&r->pending);
        r->piece_count = 0;
        lose(r, "what it did in one go is too long to be noted");
    } else if (r->pending.n > QUEUE_BYTES) {
        ah_replay_flush(r);
    }
}

int64_t ah_replay_run(const struct ah_replay *r)
{
    return r->run;
}

size_t ah_replay_length(const struct ah_replay *r)
{
    return r->past_count;
}

void ah_replay_begin(struct ah_replay *r, int64_t run, uint64_t seed, const char *recipe, size_t n)
{
    struct ah_store *s = r->core->store;
    ah_ids_seed(&r->ids, seed);
    r->run = run;
    ah_store_begin(s, run, 0, AH_EV_RECIPE, ah_clock_wall_us(ah_loop_clock(r->core->loop)));
    ah_store_put(s, recipe, n);
    ah_store_end(s);
    ah_store_before_commit(s, on_commit, r);
    if (ah_replay_is_past(r))
        ah_loop_after(r->core->loop, &r->deliver);
}

void ah_replay_end(struct ah_replay *r)
{
    if (!r->run)
        return;
    ah_replay_flush(r);
    ah_store_before_commit(r->core->store, NULL, NULL);
    r->run = 0;
}

void ah_replay_interrupt(struct ah_replay *r)
{
    ah_replay_end(r);
    for (struct ah_call *c = r->open.next; c != &r->open; c = c->next) {
        c->waiting = false;
        if (c->latch)
            ah_op_finish(c->latch, NULL);
    }
}

/* --- reading back ---------------------------------------------------------------------------------- */

static int grow(void **list, size_t count, size_t *cap, size_t size)
{
    if (count < *cap)
        return 0;
    size_t more = *cap ? *cap * 2 : 64;
    void *grown = realloc(*list, more * size);
    if (!grown)
        return -1;
    *list = grown;
    *cap = more;
    return 0;
}

static int64_t int_at(struct ah_json note, size_t i)
{
    int64_t v = 0;
    ah_json_int(ah_json_at(note, i), &v);
    return v;
}

static char letter_of(struct ah_json note)
{
    struct ah_json kind = ah_json_at(note, 0);
    return kind.type == AH_JSON_STRING && kind.n == 3 ? kind.p[1] : '\0';
}

struct loading {
    struct ah_replay *r;
    int64_t parent;
    int64_t base;
    char *recipe; /* when only that is wanted; else NULL */
    bool want_recipe;
    int rc;
};

static int keep_note(struct ah_replay *r, struct ah_json note)
{
    char letter = letter_of(note);
    if (letter == 'i') {
        if (grow((void **)&r->intents, r->intent_count, &r->intent_cap, sizeof *r->intents) != 0)
            return -1;
        r->intents[r->intent_count++] =
            (struct intent){int_at(note, 1), int_at(note, 2), int_at(note, 3), false};
    }
    if (grow((void **)&r->past, r->past_count, &r->past_cap, sizeof *r->past) != 0)
        return -1;
    r->past[r->past_count++] = note;
    return 0;
}

static int keep_event(struct loading *l, const struct ah_store_event *ev)
{
    struct ah_replay *r = l->r;
    struct ah_json body;
    char *copy = malloc(ev->n + 1);
    if (!copy || r->text_bytes + ev->n > PAST_BYTES ||
        grow((void **)&r->texts, r->text_count, &r->text_cap, sizeof *r->texts) != 0) {
        free(copy);
        return -1;
    }
    memcpy(copy, ev->body, ev->n + 1);
    r->texts[r->text_count++] = copy;
    r->text_bytes += ev->n;
    if (ah_json_check(copy, ev->n, 0, &body, NULL) != 0)
        return 0;
    for (struct ah_json_iter it = ah_json_iter(ah_json_get(body, "notes")); ah_json_next(&it);)
        if (keep_note(r, it.value) != 0)
            return -1;
    return 0;
}

static int on_event(void *arg, const struct ah_store_event *ev)
{
    struct loading *l = arg;
    struct ah_json body;
    if (ev->kind == AH_EV_RECIPE && l->want_recipe) {
        free(l->recipe);
        l->recipe = strndup(ev->body, ev->n);
        return 1;
    }
    if (ev->kind == AH_EV_RECIPE && ah_json_check(ev->body, ev->n, 0, &body, NULL) == 0) {
        ah_json_int(ah_json_get(body, "resumes"), &l->parent);
        ah_json_int(ah_json_get(body, "base"), &l->base);
    }
    if (ev->kind == AH_EV_NOTES && l->r)
        l->rc = keep_event(l, ev);
    return l->rc;
}

char *ah_replay_recipe(struct ah_store *s, int64_t run, struct ah_error *err)
{
    struct loading l = {.want_recipe = true};
    if (ah_store_run_events(s, run, on_event, &l, err) != 0)
        return NULL;
    if (!l.recipe)
        ah_err_set(err, AH_NOT_FOUND,
                   "the journal does not say how this run was begun, so it cannot be resumed");
    return l.recipe;
}

/* The runs of the chain, newest first. */
static int list_chain(struct ah_store *s, int64_t run, int64_t **runs, size_t *count, struct ah_error *err)
{
    size_t cap = 0;
    *runs = NULL;
    *count = 0;
    while (run != 0) {
        struct loading l = {.r = NULL};
        if (*count == CHAIN_COUNT || grow((void **)runs, *count, &cap, sizeof **runs) != 0)
            return ah_err_set(err, AH_LIMIT, "this run was resumed too often");
        (*runs)[(*count)++] = run;
        if (ah_store_run_events(s, run, on_event, &l, err) != 0)
            return -1;
        run = l.parent;
    }
    return 0;
}

/* Streams that nobody saw the end of begin anew, unless something unsafe left after that. What stands behind the
 * beginning of one is void, also the end of another. */
static void cut_streams(struct ah_replay *r)
{
    for (size_t i = r->past_count; i-- > 0;) {
        if (letter_of(r->past[i]) == 'i')
            return;
        if (letter_of(r->past[i]) != 's')
            continue;
        int64_t call = int_at(r->past[i], 1);
        bool ended = false;
        for (size_t k = i; k < r->past_count && !ended; k++)
            ended = letter_of(r->past[k]) == 'e' && int_at(r->past[k], 1) == call;
        if (ended)
            continue;
        while (i > 0 && !(letter_of(r->past[i]) == 'c' && int_at(r->past[i], 1) == call))
            i--;
        r->past_count = i;
    }
}

/* A script that ended with the error of a call comes to this call again: what it saw from then on is void. */
static void cut_error(struct ah_replay *r, size_t from)
{
    for (size_t i = r->past_count; i-- > from;)
        if (letter_of(r->past[i]) == 'w')
            r->again = int_at(r->past[i], 1);
    for (size_t i = from; r->again && i < r->past_count; i++) {
        char letter = letter_of(r->past[i]);
        if ((letter == 'r' || letter == 'R') && int_at(r->past[i], 1) == r->again)
            r->past_count = i;
    }
}

/* Only what has an order stays. */
static void keep_ordered(struct ah_replay *r, size_t from)
{
    size_t n = from;
    for (size_t i = from; i < r->past_count; i++)
        if (!strchr("seiw", letter_of(r->past[i])))
            r->past[n++] = r->past[i];
    r->past_count = n;
}

/* Notes of one run behind the first `base` that its parent had. The newest one's unfinished streams are cut. */
static int load_one(struct ah_replay *r, int64_t run, bool newest, struct ah_error *err)
{
    struct loading l = {.r = r, .base = -1};
    size_t before = r->past_count;
    if (ah_store_run_events(r->core->store, run, on_event, &l, err) != 0)
        return -1;
    if (l.rc != 0)
        return ah_err_set(err, AH_LIMIT, "this run has noted more than %zu MB: it cannot be resumed",
                          PAST_BYTES >> 20);
    if (l.base >= 0 && (size_t)l.base < before) { /* a stream was cut there: what followed it is void */
        size_t own = r->past_count - before;
        memmove(r->past + l.base, r->past + before, own * sizeof *r->past);
        r->past_count = (size_t)l.base + own;
        before = (size_t)l.base;
    }
    if (newest) {
        cut_error(r, before);
        cut_streams(r);
    }
    if (r->past_count > before)
        keep_ordered(r, before);
    return 0;
}

int ah_replay_load(struct ah_replay *r, int64_t run, struct ah_error *err)
{
    int64_t *runs;
    size_t count;
    int rc = list_chain(r->core->store, run, &runs, &count, err);
    for (size_t i = count; rc == 0 && i-- > 0;)
        rc = load_one(r, runs[i], i == 0, err);
    for (size_t i = 0; i < r->past_count; i++)
        if (letter_of(r->past[i]) == 'c' && int_at(r->past[i], 1) > r->noted_calls)
            r->noted_calls = int_at(r->past[i], 1);
    r->chain = runs;
    r->chain_count = count;
    return rc;
}

int ah_replay_ask(struct ah_replay *r, struct ah_store_approval *row, struct ah_error *err)
{
    bool changed;
    row->run = r->run;
    int rc = ah_store_ask(r->core->store, row, err);
    for (size_t i = 0; rc == 0 && i < r->chain_count; i++)
        rc = ah_store_decide(r->core->store, r->chain[i], row->seq, AH_APPROVAL_CLOSED, NULL, &changed, err);
    return rc;
}

void ah_replay_each_approval(struct ah_replay *r, int64_t call,
                             int (*fn)(void *arg, const struct ah_store_approval *a), void *arg)
{
    ah_store_approvals(r->core->store, r->run, call, 0, fn, arg, NULL);
    for (size_t i = 0; i < r->chain_count; i++)
        ah_store_approvals(r->core->store, r->chain[i], call, 0, fn, arg, NULL);
}

/* --- divergence ------------------------------------------------------------------------------------- */

static void stop(struct ah_replay *r)
{
    ah_loop_hurry(r->core->loop);
}

static void say(struct ah_json v, char *out, size_t size)
{
    if (v.type == AH_JSON_NONE)
        snprintf(out, size, "nothing");
    else
        snprintf(out, size, "%.*s%s", (int)(v.n < 120 ? v.n : 120), v.p, v.n > 120 ? "..." : "");
}

/* Where two values differ first: a path like .messages[2].content, and the two values there. */
static bool find_difference(struct ah_json was, struct ah_json is, char *path, size_t size,
                            struct ah_json at[2])
{
    size_t n = strlen(path);
    if (was.n == is.n && memcmp(was.p, is.p, was.n) == 0)
        return false;
    at[0] = was;
    at[1] = is;
    if (was.type != is.type || (was.type != AH_JSON_OBJECT && was.type != AH_JSON_ARRAY))
        return true;
    struct ah_json_iter a = ah_json_iter(was), b = ah_json_iter(is);
    for (size_t i = 1;; i++) {
        bool more = ah_json_next(&a), other = ah_json_next(&b);
        if (!more && !other)
            return true; /* the same but for white space, or keys: say the whole */
        struct ah_json key = more ? a.key : b.key;
        if (key.type == AH_JSON_STRING)
            snprintf(path + n, size - n, ".%.*s", (int)(key.n - 2), key.p + 1);
        else
            snprintf(path + n, size - n, "[%zu]", i);
        struct ah_json x = more ? a.value : (struct ah_json){0}, y = other ? b.value : (struct ah_json){0};
        if (more && other && (a.key.n != b.key.n || (a.key.n && memcmp(a.key.p, b.key.p, a.key.n) != 0)))
            y = (struct ah_json){0};
        if (find_difference(x, y, path, size, at))
            return true;
    }
}

static int diverge(struct ah_replay *r, const char *now, struct ah_error *err)
{
    char was[200] = "nothing more";
    if (r->at < r->past_count) {
        struct ah_json note = r->past[r->at];
        char name[100] = "";
        char letter = letter_of(note);
        ah_json_copy(ah_json_at(note, letter == 'v' ? 1 : 2), name, sizeof name);
        if (letter == 'v')
            snprintf(was, sizeof was, "it read %s", name);
        else if (letter == 'c')
            snprintf(was, sizeof was, "call %lld was %s", (long long)int_at(note, 1), name);
        else
            snprintf(was, sizeof was, "call %lld was answered", (long long)int_at(note, 1));
    }
    if (r->diverged.kind == AH_NONE)
        ah_err_set(
            &r->diverged, AH_DIVERGED,
            "the script does not do what it did before: %s, and now %s. Nothing was sent; undo the change "
            "of the script, or run it anew",
            was, now);
    ah_err_copy(err, &r->diverged);
    stop(r);
    return -1;
}

static int diverge_at_args(struct ah_replay *r, int64_t number, const char *name, struct ah_json was,
                           struct ah_json is, struct ah_error *err)
{
    char path[300] = "", a[140], b[140];
    struct ah_json at[2] = {was, is};
    find_difference(was, is, path, sizeof path, at);
    say(at[0], a, sizeof a);
    say(at[1], b, sizeof b);
    if (r->diverged.kind == AH_NONE)
        ah_err_set(
            &r->diverged, AH_DIVERGED,
            "the script does not do what it did before: in call %lld, %s, the argument %s was %s, and now is "
            "%s. Nothing was sent; undo the change of the script, or run it anew",
            (long long)number, name, path[0] ? path + (path[0] == '.') : "list", a, b);
    ah_err_copy(err, &r->diverged);
    stop(r);
    return -1;
}

bool ah_replay_stopped(const struct ah_replay *r, const struct ah_error **why)
{
    *why = r->diverged.kind != AH_NONE ? &r->diverged : &r->parked;
    return r->diverged.kind != AH_NONE || r->stuck;
}

int ah_replay_check_end(struct ah_replay *r, struct ah_error *err)
{
    if (r->diverged.kind != AH_NONE) {
        ah_err_copy(err, &r->diverged);
        return -1;
    }
    return ah_replay_is_past(r) ? diverge(r, "the script has ended", err) : 0;
}

double ah_replay_worked(struct ah_replay *r, const char *noted)
{
    int64_t now = ah_clock_mono_us();
    double before;
    if (r->worked_from_us == 0) { /* the first time that it is not answered from notes */
        r->worked_from_us = now;
        for (size_t i = 0; i < r->past_count; i++)
            if (letter_of(r->past[i]) == 'v' && ah_json_is(ah_json_at(r->past[i], 1), noted) &&
                ah_json_num(ah_json_at(ah_json_at(r->past[i], 2), 0), &before) && before > r->worked_before)
                r->worked_before = before;
    }
    return r->worked_before + (double)(now - r->worked_from_us) / 1e6;
}

/* --- values ------------------------------------------------------------------------------------------ */

int ah_replay_value(struct ah_replay *r, const char *name, struct ah_json *out)
{
    char now[160];
    if (!ah_replay_is_past(r))
        return 0;
    struct ah_json note = r->past[r->at];
    if (letter_of(note) == 'v' && ah_json_is(ah_json_at(note, 1), name)) {
        r->at++;
        *out = ah_json_at(note, 2);
        return 1;
    }
    snprintf(now, sizeof now, "it reads %.100s", name);
    return diverge(r, now, NULL);
}

void ah_replay_note(struct ah_replay *r, const char *name, const char *json, size_t n)
{
    char head[160];
    if (!is_noting(r))
        return;
    snprintf(head, sizeof head, "[\"v\",\"%.100s\",", name);
    add_note(r, head, json, n, false);
}

/* --- calls -------------------------------------------------------------------------------------------- */

/* Gives the next result, or, behind the last one, lets the calls that have none begin. Nothing else is ready. */
static void deliver_next(struct ah_ready *ready)
{
    struct ah_replay *r = (struct ah_replay *)((char *)ready - offsetof(struct ah_replay, deliver));
    struct ah_call *c = r->open.next;
    if (r->diverged.kind != AH_NONE)
        return;
    if (!ah_replay_is_past(r)) { /* in order of issue */
        while (c != &r->open && !c->waiting)
            c = c->next;
        if (c == &r->open)
            return;
        c->waiting = false;
        ah_loop_after(r->core->loop, &r->deliver);
        if (c->latch)
            ah_op_finish(c->latch, NULL);
        return;
    }
    struct ah_json note = r->past[r->at];
    int64_t number = int_at(note, 1);
    while (c != &r->open && !(c->number == number && c->waiting))
        c = c->next;
    if (letter_of(note) != 'r' || c == &r->open) {
        diverge(r, "the script waits for something else", NULL);
        return;
    }
    r->at++;
    r->replayed++;
    c->result = ah_json_at(note, 2);
    c->waiting = false;
    ah_loop_after(r->core->loop, &r->deliver);
    if (c->latch)
        ah_op_finish(c->latch, NULL);
}

static struct ah_call *new_call(struct ah_replay *r, struct ah_error *err)
{
    struct ah_call *c = calloc(1, sizeof *c);
    if (!c) {
        ah_err_set(err, AH_MEMORY, "out of memory");
        return NULL;
    }
    c->r = r;
    c->number = ++r->calls;
    c->prev = r->open.prev;
    c->next = &r->open;
    c->prev->next = c->next->prev = c;
    r->open_count++;
    return c;
}

/* Compares the call with what was noted, and takes a result that came at once. */
static int match_call(struct ah_call *c, const char *name, const char *args, size_t n, struct ah_error *err)
{
    struct ah_replay *r = c->r;
    struct ah_json note = r->past[r->at], is = {0};
    if (letter_of(note) != 'c' || int_at(note, 1) != c->number || !ah_json_is(ah_json_at(note, 2), name)) {
        char now[160];
        snprintf(now, sizeof now, "call %lld is %.100s", (long long)c->number, name);
        return diverge(r, now, err);
    }
    const char *p = mask(r, args, &n);
    struct ah_json was = ah_json_at(note, 3);
    ah_json_check(p, n, 0, &is, NULL);
    if (was.n != is.n || memcmp(was.p, is.p, was.n) != 0)
        return diverge_at_args(r, c->number, name, was, is, err);
    r->at++;
    if (ah_replay_is_past(r) && letter_of(r->past[r->at]) == 'R' && int_at(r->past[r->at], 1) == c->number) {
        c->result = ah_json_at(r->past[r->at++], 2);
        r->replayed++;
    } else {
        c->waiting = true;
        ah_loop_after(r->core->loop, &r->deliver);
    }
    return 0;
}

struct ah_call *ah_replay_call(struct ah_replay *r, const char *name, const char *args, size_t n,
                               struct ah_error *err)
{
    char head[160];
    if (r->diverged.kind != AH_NONE) {
        ah_err_copy(err, &r->diverged);
        return NULL;
    }
    struct ah_call *c = new_call(r, err);
    if (!c)
        return NULL;
    if (ah_replay_is_past(r)) {
        if (match_call(c, name, args, n, err) == 0)
            return c;
        ah_call_drop(c);
        return NULL;
    }
    if (is_noting(r)) {
        snprintf(head, sizeof head, "[\"c\",%lld,\"%.100s\",", (long long)c->number, name);
        add_note(r, head, args, n, true);
    }
    return c;
}

int64_t ah_call_number(const struct ah_call *c)
{
    return c->number;
}

bool ah_call_is_waiting(const struct ah_call *c)
{
    return c->waiting;
}

struct ah_op *ah_call_latch(struct ah_call *c)
{
    if (!c->latch) {
        c->latch = ah_op_latch(c->r->core->loop);
        if (c->latch)
            c->latch->inner = true; /* given when all is quiet: it is its turn */
        if (c->latch && !c->waiting)
            ah_op_finish(c->latch, NULL);
    }
    return c->latch;
}

struct ah_json ah_call_result(const struct ah_call *c)
{
    return c->result;
}

/* Looked at when all is quiet: does everything that is open wait for a person? */
static void look_if_stuck(struct ah_ready *ready)
{
    struct ah_replay *r = (struct ah_replay *)((char *)ready - offsetof(struct ah_replay, look));
    if (r->parked_count == 0 || r->parked_count < r->open_count || ah_replay_is_past(r))
        return;
    r->stuck = true;
    stop(r);
}

static void look_soon(struct ah_replay *r)
{
    if (r->parked_count)
        ah_loop_after(r->core->loop, &r->look);
}

static void close_call(struct ah_call *c)
{
    struct ah_replay *r = c->r;
    if (c->ended)
        return;
    c->ended = true;
    c->waiting = false;
    c->prev->next = c->next;
    c->next->prev = c->prev;
    r->open_count--;
    r->parked_count -= c->parked;
    look_soon(r);
}

void ah_call_end(struct ah_call *c, const char *json, size_t n, bool at_once)
{
    char head[64];
    if (c->ended)
        return;
    if (is_noting(c->r)) {
        snprintf(head, sizeof head, "[\"%s\",%lld,", at_once ? "R" : "r", (long long)c->number);
        add_note(c->r, head, json, n, false);
    }
    close_call(c);
}

void ah_call_failed(struct ah_call *c, enum ah_kind kind)
{
    if (kind != AH_OUTCOME_UNKNOWN && kind != AH_NEEDS_AUTH && kind != AH_ACCOUNT_NOT_ACTIVE)
        return;
    c->r->failed_call = c->number;
    c->r->failed_kind = kind;
}

void ah_replay_note_failure(struct ah_replay *r, enum ah_kind kind)
{
    char head[64];
    if (!r->failed_call || r->failed_kind != kind || !is_noting(r))
        return;
    snprintf(head, sizeof head, "[\"w\",%lld", (long long)r->failed_call);
    add_note(r, head, NULL, 0, false);
}

const char *ah_replay_word(struct ah_replay *r, int64_t call)
{
    if (!r->assume || !r->again || r->again != call)
        return NULL;
    r->again = 0;
    return r->assume;
}

void ah_call_drop(struct ah_call *c)
{
    if (!c)
        return;
    close_call(c);
    ah_op_unref(c->latch);
    free(c);
}

void ah_call_park(struct ah_call *c, struct ah_error *why)
{
    struct ah_replay *r = c->r;
    if (!c->parked && !c->ended) {
        c->parked = true;
        r->parked_count++;
    }
    if (r->parked.kind == AH_NONE)
        ah_err_move(&r->parked, why);
    ah_err_drop(why);
    look_soon(r);
}

/* --- what has no order ---------------------------------------------------------------------------------- */

void ah_replay_stream_begin(struct ah_replay *r, int64_t call)
{
    char head[64];
    snprintf(head, sizeof head, "[\"s\",%lld", (long long)call);
    if (is_noting(r))
        add_note(r, head, NULL, 0, false);
}

void ah_replay_stream_end(struct ah_replay *r, int64_t call)
{
    char head[64];
    snprintf(head, sizeof head, "[\"e\",%lld", (long long)call);
    if (is_noting(r))
        add_note(r, head, NULL, 0, false);
}

void ah_replay_intent(struct ah_replay *r, int64_t call, int64_t run, int64_t n)
{
    char head[96];
    snprintf(head, sizeof head, "[\"i\",%lld,%lld,%lld", (long long)call, (long long)run, (long long)n);
    if (r->run && !r->closed)
        add_note(r, head, NULL, 0, false);
    ah_replay_flush(r);
}

struct finding {
    struct ah_store_effect effect;
    int64_t n;
    bool found;
};

static int take_effect(void *arg, const struct ah_store_effect *e)
{
    struct finding *f = arg;
    if (e->n != f->n)
        return 0;
    f->effect = *e;
    f->found = true;
    return 1;
}

/* Calls that are in the notes have their numbers for ever. What came behind the notes may be issued in another order
 * now: there the same call is known by what it says. */
static bool may_be(const struct ah_replay *r, const struct intent *in, int64_t call)
{
    return !in->used && (in->call == call || (in->call > r->noted_calls && call > r->noted_calls));
}

/* Stopped before its first byte left; or refused, and the run ended with that until somebody did something. */
static bool was_not_carried_out(const struct ah_replay *r, int64_t call, const struct ah_store_effect *e)
{
    bool refused = call == r->again && e->error && e->error != AH_OUTCOME_UNKNOWN;
    return e->end_seq && (e->error == AH_CANCELLED || refused);
}

enum ah_replay_fate ah_replay_fate(struct ah_replay *r, int64_t call, const char *kind, const char *what,
                                   const unsigned char sha256[32], struct ah_store_effect *effect)
{
    for (size_t i = r->intent_count; i-- > 0;) { /* the newest first */
        struct intent *in = &r->intents[i];
        struct finding f = {.n = in->n};
        if (!may_be(r, in, call) || ah_store_effects(r->core->store, in->run, take_effect, &f, NULL) != 0)
            continue;
        if (!f.found && in->call == call)
            return AH_FATE_UNKNOWN; /* noted and lost: it may have left */
        if (!f.found || strcmp(f.effect.kind, kind) != 0 || strcmp(f.effect.what, what) != 0 ||
            memcmp(f.effect.args_sha256, sha256, 32) != 0)
            continue;
        in->used = true;
        *effect = f.effect;
        if (was_not_carried_out(r, call, &f.effect))
            continue;
        return f.effect.end_seq == 0 || f.effect.error == AH_OUTCOME_UNKNOWN ? AH_FATE_UNKNOWN
                                                                             : AH_FATE_KNOWN;
    }
    return AH_FATE_NEW;
}
