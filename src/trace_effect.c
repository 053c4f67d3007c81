/* Effects: what a script did to the world, journalled before it leaves and when its outcome is known. Called by
 * services. Must never let an unsafe call go that nothing would remember, nor one that an earlier process sent. */
#include "hash.h"
#include "replay.h"
#include "trace_put.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ah_effect {
    struct ah_run *run; /* counted */
    int64_t n, span;
    bool answered; /* by an earlier process: there is nothing to journal */
    struct ah_effect_answer answer;
    char *body;
};

static void hash_args(const char *p, size_t n, unsigned char out[32])
{
    if (ah_hash_sha256(p ? p : "", n, out) != 0)
        memset(out, 0, 32);
}

/* JSON as JSON, anything else as a string. */
static void put_any(struct ah_trace *t, const char *p, size_t n)
{
    struct ah_json value;
    if (ah_json_check(p, n, 0, &value, NULL) == 0) {
        ah_trace_put_json(t, value.p, value.n, value.type == AH_JSON_OBJECT);
        return;
    }
    struct ah_buf quoted;
    ah_buf_init(&quoted, AH_TRACE_MASKED_BYTES);
    const char *masked = ah_trace_mask(t, p, &n);
    if (ah_json_quote(&quoted, masked, n) == 0)
        ah_store_put_json(t->store, quoted.p, quoted.n);
    else
        ah_store_puts(t->store, "null");
    ah_buf_drop(&quoted);
}

static void write_intent(struct ah_effect *e, const struct ah_store_effect *row, const char *kind,
                         const char *what, const char *args, size_t n)
{
    static const char *const classes[] = {"read", "idempotent", "unsafe"};
    struct ah_trace *t = e->run->trace;
    char head[80];
    int head_n = snprintf(head, sizeof head, "{\"n\":%lld,\"class\":\"%s\",\"kind\":", (long long)e->n,
                          classes[row->cls]);
    ah_store_effect_begin(t->store, row);
    ah_store_begin(t->store, row->run, row->span, AH_EV_EFFECT_BEGIN, ah_trace_now(t));
    ah_store_put(t->store, head, (size_t)head_n);
    ah_trace_put_text(t, kind);
    ah_store_puts(t->store, ",\"what\":");
    ah_trace_put_text(t, what);
    if (row->cls == AH_EFFECT_UNSAFE && args) { /* a person may have to decide what happened */
        ah_store_puts(t->store, ",\"args\":");
        put_any(t, args, n);
    }
    ah_store_puts(t->store, "}");
    /* Before the event is ended: that may commit. */
    if (row->cls == AH_EFFECT_UNSAFE)
        ah_store_make_safe(t->store);
    ah_store_end(t->store);
}

/* --- what an earlier process was answered -------------------------------------------------------- */

static int take_answer(void *arg, const struct ah_store_event *ev)
{
    struct ah_effect *e = arg;
    struct ah_json end, body, err;
    if (ah_json_check(ev->body, ev->n, 0, &end, NULL) != 0)
        return 1;
    body = ah_json_get(end, "body");
    err = ah_json_get(end, "error");
    if (body.type == AH_JSON_STRING) {
        struct ah_buf text;
        ah_buf_init(&text, AH_TRACE_MASKED_BYTES);
        e->body =
            ah_json_str(body, &text) == 0 ? ah_buf_take(&text, &e->answer.n) : NULL; /* it may hold NUL */
        ah_buf_drop(&text);
    } else if (body.type != AH_JSON_NONE) {
        e->body = strndup(body.p, body.n);
        e->answer.n = body.n;
    }
    e->answer.body = e->body ? e->body : "";
    if (err.type == AH_JSON_OBJECT) {
        char kind[64], message[sizeof e->answer.err.message];
        ah_json_copy(ah_json_get(err, "kind"), kind, sizeof kind);
        ah_json_copy(ah_json_get(err, "message"), message, sizeof message);
        enum ah_kind k = ah_err_kind_of(kind);
        ah_err_set(&e->answer.err, k == AH_NONE ? AH_HTTP : k, "%s", message);
        e->answer.err.status = e->answer.status;
    }
    return 1;
}

/* What a person says became of it. Nobody knows what was answered: `done` gives an answer without anything in it. */
static int take_word(struct ah_effect *e, const struct ah_store_effect *row, const char *word,
                     struct ah_error *err)
{
    if (strcmp(word, "retry") == 0)
        return 0;
    if (strcmp(word, "fail") == 0)
        return ah_err_set(err, AH_TOOL_ERROR, "%.200s was not carried out; do not count on it", row->what);
    bool mcp = strcmp(row->kind, "mcp") == 0, http = strcmp(row->kind, "http") == 0;
    e->body = strdup(mcp ? "{\"result\":{\"content\":[]}}" : http ? "" : "{\"data\":{}}");
    if (!e->body)
        return ah_err_set(err, AH_MEMORY, "out of memory");
    e->answered = true;
    e->answer.status = 200;
    e->answer.body = e->body;
    e->answer.n = strlen(e->body);
    return 1;
}

/* 0: it is new. 1: it was answered. -1: it was sent, and no answer is known. */
static int look_back(struct ah_effect *e, const struct ah_store_effect *row, int64_t call,
                     struct ah_error *err)
{
    struct ah_store_effect was;
    struct ah_trace *t = e->run->trace;
    enum ah_replay_fate fate = ah_replay_fate(t->replay, call, row->kind, row->what, row->args_sha256, &was);
    if (fate == AH_FATE_NEW)
        return 0;
    const char *word = fate == AH_FATE_UNKNOWN ? ah_replay_word(t->replay, call) : NULL;
    if (word)
        return take_word(e, row, word, err);
    if (fate == AH_FATE_UNKNOWN) {
        ah_err_set(err, AH_OUTCOME_UNKNOWN,
                   "%.200s was sent before this run was interrupted, and no answer is known: it may have "
                   "been carried out, so it is not sent again",
                   row->what);
        snprintf(err->code, sizeof err->code, "%s", AH_EFFECT_BEFORE);
        return -1;
    }
    e->answered = true;
    e->answer.status = was.status;
    return ah_store_event_at(t->store, was.end_seq, take_answer, e, err) == 0 ? 1 : -1;
}

const struct ah_effect_answer *ah_effect_answer(const struct ah_effect *e)
{
    return e && e->answered ? &e->answer : NULL;
}

/* --- one effect ---------------------------------------------------------------------------------- */

static void free_effect(struct ah_effect *e)
{
    ah_run_unref(e->run);
    ah_err_drop(&e->answer.err);
    free(e->body);
    free(e);
}

/* Numbers and journals it, unless an earlier process has. -1: it must not be sent. */
static int intend(struct ah_effect *e, enum ah_effect_class cls, int64_t call, const char *kind,
                  const char *what, const char *args, size_t n, struct ah_error *err)
{
    struct ah_trace *t = e->run->trace;
    struct ah_store_effect row = {.run = e->run->key, .span = e->span, .cls = (int)cls};
    size_t what_n = strlen(what);
    bool noted = t->replay && cls == AH_EFFECT_UNSAFE;
    hash_args(args, args ? n : 0, row.args_sha256);
    snprintf(row.kind, sizeof row.kind, "%s", kind);
    snprintf(row.what, sizeof row.what, "%s", ah_trace_mask(t, what, &what_n));
    int before = noted ? look_back(e, &row, call, err) : 0;
    if (before != 0)
        return before > 0 ? 0 : -1;
    e->n = row.n = ++e->run->effects;
    if (noted)
        ah_replay_intent(t->replay, call, row.run, row.n);
    else if (t->replay)
        ah_replay_flush(t->replay);
    write_intent(e, &row, kind, what, args, n);
    return 0;
}

struct ah_effect *ah_effect_begin(struct ah_run *run, struct ah_span *span, enum ah_effect_class cls,
                                  int64_t call, const char *kind, const char *what, const char *args,
                                  size_t n, struct ah_error *err)
{
    if (!run || run->ended)
        return NULL;
    struct ah_store *store = run->trace->store;
    if (cls == AH_EFFECT_UNSAFE && !ah_store_allows_unsafe(store)) {
        const char *why = ah_store_trouble(store);
        ah_err_set(err, AH_JOURNAL,
                   "%s. So %.200s is not called, because nothing would remember that it was: "
                   "mend the journal, or allow it with --no-journal",
                   *why ? why : "the journal is in memory only", what);
        return NULL;
    }
    struct ah_effect *e = calloc(1, sizeof *e);
    if (!e) {
        ah_err_set(err, AH_MEMORY, "no memory for the journal");
        return NULL;
    }
    e->run = ah_run_ref(run);
    e->span = span && span->run == run ? span->n : 0;
    if (intend(e, cls, call, kind, what, args, n, err) == 0)
        return e;
    free_effect(e);
    return NULL;
}

void ah_effect_end(struct ah_effect *e, uint64_t issued, uint64_t completed, int status, const char *body,
                   size_t n, const struct ah_error *failed)
{
    if (!e)
        return;
    if (e->answered) {
        free_effect(e);
        return;
    }
    struct ah_trace *t = e->run->trace;
    char head[64];
    int head_n = snprintf(head, sizeof head, "{\"n\":%lld,\"status\":%d", (long long)e->n, status);
    struct ah_store_effect row = {.run = e->run->key,
                                  .n = e->n,
                                  .issued = issued,
                                  .completed = completed,
                                  .status = status,
                                  .error = failed ? (int)failed->kind : 0};
    ah_store_effect_end(t->store, &row);
    ah_store_begin(t->store, e->run->key, e->span, AH_EV_EFFECT_END, ah_trace_now(t));
    ah_store_put(t->store, head, (size_t)head_n);
    if (body) {
        ah_store_puts(t->store, ",\"body\":");
        put_any(t, body, n);
    }
    if (failed) {
        ah_trace_put_field(t->store, ",\"error\":{\"kind\":\"", ah_err_kind_name(failed->kind),
                           strlen(ah_err_kind_name(failed->kind)));
        ah_store_puts(t->store, ",\"message\":");
        ah_trace_put_text(t, failed->message);
        ah_store_puts(t->store, "}");
    }
    ah_store_puts(t->store, "}");
    ah_store_end(t->store);
    free_effect(e);
}
