/* Calls of model services: how they are sent and repeated, what came of it; one span and one effect each.
 *
 * Called by the bindings. The life of a call: ah_openai_call journals the intent and queues the request;
 * http.c sends, repeats and hands over bytes; classify() is the verdict over each attempt; on_http_done
 * ends the call, or sends once more without what a compatible server refused. Must not call Lua, and must
 * not send before span and effect are queued for the journal. */
#include "openai.h"

#include "chat_error.h"
#include "limits.h"
#include "log.h"
#include "oaprice.h"
#include "oaspan.h"
#include "oatarget.h"
#include "ratelimit.h"
#include "responses.h"
#include "secret.h"
#include "sse.h"
#include "url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define URL_BYTES ((size_t)8192)
#define BODY_BYTES ((size_t)64 << 20) /* of a request: pictures come inside it */
#define QUIRKS_COUNT 64               /* servers and models remembered */
#define DRAIN_MS 1000                 /* after [DONE], for the end of the body: the connection lives on */
#define LATE_USAGE_MS 5000            /* after finish_reason, for the usage and [DONE] */
#define PARTIAL_BYTES 16384           /* of the text kept with an error */
#define LIMIT_WAIT_MS 120000          /* for a model's own limits, at most */
#define WAIT_TOLD_MS 2000             /* waits from here on are told to a person */

/* What a compatible server was found not to take. */
enum { QUIRK_NO_STREAM_OPTIONS = 1, QUIRK_MAX_COMPLETION_TOKENS = 2, QUIRK_NO_BASE64 = 4 };

struct quirk {
    char *base, *model; /* model NULL: all of them */
    int flag;
};

struct ah_openai {
    struct ah_core *core;
    struct quirk quirks[QUIRKS_COUNT];
    size_t quirk_count;
    bool http_warned;
    struct ah_ratelimit limits; /* of every model that is asked */
};

/* What can be asked of a service. */
struct endpoint {
    const char *method, *path, *span; /* span NULL: none; a list of models is no step of an agent */
    enum ah_span_type type;
    bool talks;     /* the answer is a message, whole or as a stream; else one JSON object */
    bool responses; /* in the form of the Responses API */
};
static const struct endpoint endpoints[] = {
    [AH_OPENAI_CHAT] = {"POST", "chat/completions", "ChatOpenAI", AH_SPAN_LLM, true, false},
    [AH_OPENAI_RESPONSES] = {"POST", "responses", "ChatOpenAI", AH_SPAN_LLM, true, true},
    [AH_OPENAI_EMBEDDINGS] = {"POST", "embeddings", "OpenAIEmbeddings", AH_SPAN_EMBEDDING, false, false},
    [AH_OPENAI_MODERATIONS] = {"POST", "moderations", "OpenAIModeration", AH_SPAN_CHAIN, false, false},
    [AH_OPENAI_MODELS] = {"GET", "models", NULL, AH_SPAN_CHAIN, false, false},
};

struct call {
    struct ah_openai_op pub; /* first */
    struct ah_openai *o;
    const struct endpoint *endpoint;
    struct ah_oatarget target;
    struct ah_provider provider; /* the target's, changed by the script and by what was learnt */
    char *url, *body_text, *price;
    struct ah_json body; /* into body_text; absent: nothing is sent */
    char model[128];
    bool stream;
    void (*on_delta)(void *, const struct ah_chat_delta *);
    bool (*is_full)(void *);
    void *arg;
    struct ah_openai_req limits; /* only times and retry are used */
    struct ah_run *run;          /* counted */
    struct ah_span *span;        /* counted */
    struct ah_effect *effect;
    struct ah_http_op *http;
    struct ah_sse sse;
    struct ah_responses responses;                       /* of that API only */
    enum { FORM_UNKNOWN, FORM_EVENTS, FORM_WHOLE } form; /* of the answer that comes */
    struct ah_timer drain, room;
    struct ah_buf unsent; /* the body, while it waits for room */
    double tokens;        /* that it will take, roughly */
    int64_t room_ms;      /* how long it waited; while it does: unsent.n */
    int64_t began_us;
    bool delivered; /* a piece was given away: the answer cannot begin anew */
    bool truncated; /* once already, and repeated */
    bool first_token, drained;
    bool again; /* refused for the rate: it has a place in the queue for its next sending */
    bool later; /* the same request may succeed later, though this one is not repeated */
};

/* --- the service ------------------------------------------------------------------------------- */

struct ah_openai *ah_openai_new(struct ah_core *core)
{
    struct ah_openai *o = calloc(1, sizeof *o);
    if (o)
        o->core = core;
    return o;
}

void ah_openai_free(struct ah_openai *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->quirk_count; i++) {
        free(o->quirks[i].base);
        free(o->quirks[i].model);
    }
    free(o);
}

/* A refusal that was met changes what the next request says. */
static void apply_quirks(struct ah_provider *p, int flags)
{
    if (flags & QUIRK_NO_STREAM_OPTIONS)
        p->stream_usage = false;
    if (flags & QUIRK_MAX_COMPLETION_TOKENS)
        p->max_tokens = AH_PROVIDER_SECOND;
    if (flags & QUIRK_NO_BASE64)
        p->base64 = false;
}

static int quirks_of(const struct ah_openai *o, const char *base, const char *model)
{
    int flags = 0;
    for (size_t i = 0; i < o->quirk_count; i++)
        if (strcmp(o->quirks[i].base, base) == 0 &&
            (!o->quirks[i].model || strcmp(o->quirks[i].model, model) == 0))
            flags |= o->quirks[i].flag;
    return flags;
}

/* Without memory or room it is found out again next time. */
static void remember_quirk(struct ah_openai *o, const char *base, const char *model, int flag)
{
    if (o->quirk_count == QUIRKS_COUNT || (quirks_of(o, base, model ? model : "") & flag))
        return;
    struct quirk q = {strdup(base), model ? strdup(model) : NULL, flag};
    if (!q.base || (model && !q.model)) {
        free(q.base);
        free(q.model);
        return;
    }
    o->quirks[o->quirk_count++] = q;
}

/* --- where calls go ---------------------------------------------------------------------------- */

static int fail_memory(struct ah_error *err)
{
    return ah_err_set(err, AH_MEMORY, "out of memory before a model call");
}

static int find_target(struct ah_openai *o, const char *base, const char *key, struct ah_oatarget *t,
                       struct ah_error *err)
{
    return ah_oatarget_find(o->core, base, key, &o->http_warned, t, err);
}

int ah_openai_check(struct ah_openai *o, const char *base_url, const char *api_key, struct ah_error *err)
{
    struct ah_oatarget t = {0};
    int rc = find_target(o, base_url, api_key, &t, err);
    ah_oatarget_drop(&t);
    return rc;
}

int ah_openai_where(struct ah_openai *o, struct ah_buf *base_url, const char **setting, struct ah_error *err)
{
    struct ah_oatarget t = {0};
    int rc = find_target(o, NULL, NULL, &t, err);
    *setting = t.setting;
    if (rc == 0 && ah_buf_adds(base_url, t.base) != 0)
        rc = fail_memory(err);
    ah_oatarget_drop(&t);
    return rc;
}

/* --- reading ------------------------------------------------------------------------------------------- */

static void on_piece(void *arg, const struct ah_chat_delta *d)
{
    struct call *c = arg;
    if (!c->first_token) {
        c->first_token = true;
        ah_span_event(c->span, "new_token");
    }
    if (c->on_delta) {
        c->delivered = true;
        c->on_delta(c->arg, d);
    }
}

static void on_drained(struct ah_timer *t)
{
    struct call *c = t->arg;
    ah_timer_stop(t);
    c->drained = true;
    if (c->http)
        ah_op_cancel(&c->http->op);
}

/* What matters has come; the server need not be waited for. */
static void watch_end(struct call *c, bool was_finished, bool was_done)
{
    bool done = c->pub.chat.done;
    if ((done && !was_done) || (ah_chat_finished(&c->pub.chat) && !was_finished))
        ah_timer_start(c->o->core->loop, &c->drain, done ? DRAIN_MS : LATE_USAGE_MS, on_drained, c);
}

struct feed {
    struct call *c;
    struct ah_error *err;
};

static int on_event(void *arg, const struct ah_sse_event *ev)
{
    struct call *c = ((struct feed *)arg)->c;
    bool finished = ah_chat_finished(&c->pub.chat), done = c->pub.chat.done;
    struct ah_error *err = ((struct feed *)arg)->err;
    int rc = c->endpoint->responses
                 ? ah_responses_event(&c->responses, &c->pub.chat, ev->name, ev->data, ev->n, err)
                 : ah_chat_event(&c->pub.chat, ev->name, ev->data, ev->n, err);
    if (rc != 0)
        return -1;
    watch_end(c, finished, done);
    return 0;
}

/* -1 with the failure in *err; the reader's own "stopped" does not cover it. */
static int feed_events(struct call *c, const char *p, size_t n, bool end, struct ah_error *err)
{
    struct ah_error why = {0}, stop = {0};
    struct feed f = {c, &why};
    c->sse.arg = &f;
    int rc = end ? ah_sse_end(&c->sse, ah_chat_complete, &stop) : ah_sse_feed(&c->sse, p, n, &stop);
    c->sse.arg = NULL;
    if (rc != 0)
        ah_err_move(err, why.kind != AH_NONE ? &why : &stop);
    ah_err_drop(&why);
    ah_err_drop(&stop);
    return rc;
}

static void begin_answer(struct call *c)
{
    ah_timer_stop(&c->drain);
    ah_chat_reset(&c->pub.chat);
    ah_responses_drop(&c->responses);
    ah_responses_init(&c->responses);
    ah_sse_drop(&c->sse);
    ah_sse_init(&c->sse, on_event, NULL);
    ah_buf_clear(&c->pub.body);
    c->form = FORM_UNKNOWN;
}

/* The answer's own word first; servers that do not say are known by their first character. */
static void find_form(struct call *c, const struct ah_http_res *res, const char *p, size_t n)
{
    char type[128];
    ah_http_header(res, "content-type", type, sizeof type);
    size_t i = 0;
    while (i < n && strchr(" \t\r\n", p[i]) && p[i])
        i++;
    if (strcasestr(type, "event-stream"))
        c->form = FORM_EVENTS;
    else if (strcasestr(type, "json") || i == n || p[i] == '{' || p[i] == '[' || p[i] == '<')
        c->form = FORM_WHOLE;
    else
        c->form = FORM_EVENTS;
}

static int on_data(void *arg, const char *p, size_t n, struct ah_error *err)
{
    struct call *c = arg;
    if (c->is_full && c->is_full(c->arg))
        return 1;
    if (c->form == FORM_UNKNOWN)
        find_form(c, &c->http->res, p, n);
    if (c->form == FORM_EVENTS)
        return feed_events(c, p, n, false, err);
    if (ah_buf_add(&c->pub.body, p, n) != 0)
        return ah_err_set(err, AH_LIMIT, "the model's answer is larger than %zu bytes", AH_HTTP_BODY_BYTES);
    return 0;
}

/* A body that came at once: a whole answer, or events that nobody asked for. */
static int read_body(struct call *c, const struct ah_http_res *res, struct ah_error *err)
{
    begin_answer(c);
    find_form(c, res, ah_buf_str(&res->body), res->body.n);
    if (c->form == FORM_EVENTS)
        return feed_events(c, res->body.p, res->body.n, false, err);
    if (ah_buf_add(&c->pub.body, res->body.p, res->body.n) != 0)
        return fail_memory(err);
    return 0;
}

/* The answer of a call that brings no message. */
static int check_object(const struct ah_buf *body, struct ah_error *err)
{
    struct ah_json v;
    if (ah_json_check(ah_buf_str(body), body->n, 0, &v, err) != 0)
        return -1;
    if (ah_chat_error_is(v)) {
        ah_chat_error_value(v, err);
        return -1;
    }
    if (v.type != AH_JSON_OBJECT)
        return ah_err_set(err, AH_PROTOCOL, "the model service answered with something else than an object");
    return 0;
}

static int settle_answer(struct call *c, struct ah_error *err)
{
    struct ah_chat *chat = &c->pub.chat;
    if (c->form == FORM_EVENTS) {
        chat->streamed = true; /* also when no event came */
        struct ah_error cut = {0};
        /* A last event that was cut harms nothing once the answer itself had ended. */
        int rc = feed_events(c, NULL, 0, true, &cut);
        if (rc != 0 && (cut.kind != AH_TRUNCATED || !ah_chat_finished(chat))) {
            if (cut.kind == AH_TRUNCATED)
                rc = ah_chat_end(chat, err);
            else
                ah_err_move(err, &cut);
            ah_err_drop(&cut);
            return -1;
        }
        ah_err_drop(&cut);
    } else if (!c->endpoint->talks) {
        return check_object(&c->pub.body, err);
    } else if (c->endpoint->responses) {
        if (ah_responses_whole(&c->responses, chat, ah_buf_str(&c->pub.body), c->pub.body.n, err) != 0)
            return -1;
    } else if (ah_chat_whole(chat, ah_buf_str(&c->pub.body), c->pub.body.n, err) != 0) {
        return -1;
    }
    return ah_chat_end(chat, err);
}

/* Keeps what the transport knew when the reason is another. */
static void replace_reason(struct ah_error *err, struct ah_error *why)
{
    struct ah_error was = *err;
    ah_err_drop(err);
    ah_err_move(err, why);
    if (!err->status)
        err->status = was.status;
    if (was.retry_after_ms > err->retry_after_ms)
        err->retry_after_ms = was.retry_after_ms;
    if (!err->request_id[0])
        memcpy(err->request_id, was.request_id, sizeof err->request_id);
}

static bool never_helps(enum ah_kind kind)
{
    return kind == AH_QUOTA || kind == AH_CONTEXT_OVERFLOW || kind == AH_REFUSED;
}

/* A path that is not there, rather than a model. */
static void advise_base(const struct call *c, struct ah_error *err)
{
    size_t n = strlen(err->message);
    if (err->kind == AH_NOT_FOUND && !strstr(c->target.base, "/v1") &&
        strcmp(err->code, "model_not_found") != 0)
        snprintf(err->message + n, sizeof err->message - n,
                 "; many servers want a base URL that ends in /v1");
}

static void read_refusal(const struct call *c, const struct ah_http_res *res, struct ah_error *err)
{
    char advice[16];
    ah_chat_error_read(res->status, ah_buf_str(&res->body), res->body.n, err);
    advise_base(c, err);
    ah_http_header(res, "x-should-retry", advice, sizeof advice);
    if (strcmp(advice, "false") == 0)
        err->retryable = false;
    else if (strcmp(advice, "true") == 0 && !never_helps(err->kind))
        err->retryable = true;
}

/* The verdict over an attempt whose status is good. */
static void read_answer(struct call *c, const struct ah_http_res *res, struct ah_error *err)
{
    struct ah_error why = {0};
    bool streamed = c->stream;
    if (err->kind != AH_NONE) { /* the transport broke, or an event was a failure */
        if (c->form != FORM_EVENTS || !ah_chat_finished(&c->pub.chat) || err->kind == AH_LIMIT ||
            ah_chat_end(&c->pub.chat, &why) != 0) {
            ah_err_drop(&why);
            if (err->kind == AH_TRUNCATED)
                err->retryable = !c->truncated;
            if (err->retryable && err->retry_after_ms == 0)
                err->retry_after_ms = ah_chat_error_wait(err->message);
            return;
        }
        ah_err_drop(err);
        return;
    }
    int rc = streamed && c->form != FORM_UNKNOWN ? 0 : read_body(c, res, &why);
    if (rc == 0)
        rc = settle_answer(c, &why);
    if (rc == 0)
        return;
    if (why.kind == AH_TRUNCATED)
        why.retryable = !c->truncated;
    replace_reason(err, &why);
    if (!err->request_id[0])
        ah_http_request_id(res, err->request_id, sizeof err->request_id);
}

static void learn_limits(struct call *c, const struct ah_http_res *res);
static void wait_again(struct call *c, struct ah_error *err);

static void classify(void *arg, const struct ah_http_res *res, struct ah_error *err)
{
    struct call *c = arg;
    ah_timer_stop(&c->drain);
    learn_limits(c, res);
    if (res->status >= 300 && err->status >= 300)
        read_refusal(c, res, err);
    else if (res->status >= 200 && res->status < 300)
        read_answer(c, res, err);
    /* One repetition of a cut answer is worth it; a second one would cut it again. */
    if (err->kind == AH_TRUNCATED && err->retryable && !c->delivered)
        c->truncated = true;
    c->later = err->retryable || err->kind == AH_TRUNCATED;
    if (err->kind == AH_RATE_LIMIT && err->retryable)
        wait_again(c, err);
    if (c->delivered) /* http.c asks may_retry_stream only after a piece that was taken */
        err->retryable = false;
}

static bool may_retry_stream(void *arg)
{
    const struct call *c = arg;
    return !c->delivered; /* on_retry, which follows, forgets what had come */
}

static void on_retry(void *arg, int attempt, int64_t wait_ms, const struct ah_error *why)
{
    struct call *c = arg;
    (void)attempt;
    if (!c->delivered)
        begin_answer(c);
    if (wait_ms >= WAIT_TOLD_MS)
        ah_log_line(c->o->core->log, AH_LOG_WARN, "%s; trying again in %.1f s", why->message,
                    (double)wait_ms / 1000);
}

/* --- sending --------------------------------------------------------------------------------------------- */

static int write_body(const struct call *c, struct ah_buf *to)
{
    if (c->body.type == AH_JSON_NONE)
        return 0;
    if (c->endpoint->responses)
        return ah_responses_write(&c->provider, c->body, c->stream, to);
    if (c->endpoint->talks)
        return ah_provider_write(&c->provider, c->body, c->stream, to);
    if (c->endpoint->type == AH_SPAN_EMBEDDING)
        return ah_provider_write_embeddings(&c->provider, c->body, to);
    return ah_buf_add(to, c->body.p, c->body.n);
}

static int64_t time_left(const struct call *c)
{
    int64_t total = c->limits.total_ms > 0 ? c->limits.total_ms : AH_HTTP_TOTAL_MS;
    int64_t left = total - (ah_clock_mono_us() - c->began_us) / 1000;
    return left > 1 ? left : 1;
}

static void on_http_done(struct ah_op *op, void *arg);
static void finish(struct call *c, struct ah_error *err);

static int send_queued(struct call *c, const struct ah_buf *body, const struct ah_oaheaders *h,
                       struct ah_error *err)
{
    struct ah_http_req req = {
        .method = c->endpoint->method,
        .url = c->url,
        .headers = h->list,
        .header_count = h->count,
        .body = body->p,
        .body_n = body->n,
        .has_body = body->n != 0,
        .idempotent = true,
        .stream = c->stream,
        .refuse_redirects = true,
        .connect_ms = c->limits.connect_ms,
        .first_byte_ms = c->limits.first_byte_ms,
        .idle_ms = c->limits.idle_ms,
        .total_ms = time_left(c),
        .retry = c->limits.retry,
        .on_data = on_data,
        .classify = classify,
        .may_retry_stream = may_retry_stream,
        .on_retry = on_retry,
        .arg = c,
    };
    c->http = ah_http_send(c->o->core->http, &req, err);
    if (!c->http)
        return -1;
    ah_op_wait(&c->http->op, on_http_done, c);
    return 0;
}

static int make_headers(const struct call *c, bool has_body, struct ah_oaheaders *h, struct ah_error *err)
{
    struct ah_buf tags;
    ah_buf_init(&tags, AH_HTTP_HEADER_BYTES);
    ah_run_tags(c->run, c->span, &tags);
    struct ah_oaheaders_of of = {
        c->stream, has_body, ah_span_id(c->span), {tags.p, tags.n, tags.n ? AH_JSON_ARRAY : AH_JSON_NONE}};
    int rc = ah_oaheaders_make(h, c->o->core, &c->target, &of, err);
    ah_buf_drop(&tags);
    return rc;
}

/* The intent is journalled before the request is queued: the loop commits between the two. */
static int send_body(struct call *c, const struct ah_buf *body, struct ah_error *err)
{
    char what[URL_BYTES + 8];
    struct ah_oaheaders h = {.count = 0};
    struct ah_error why = {0};
    bool reads = body->n == 0;
    snprintf(what, sizeof what, "%s %s", c->endpoint->method, c->url);
    begin_answer(c);
    c->effect = ah_effect_begin(c->run, c->span, reads ? AH_EFFECT_READ : AH_EFFECT_IDEMPOTENT, 0,
                                reads ? "api" : "model", what, ah_buf_str(body), body->n, &why);
    int rc = why.kind != AH_NONE ? -1 : 0;
    if (rc != 0)
        ah_err_move(err, &why);
    if (rc == 0)
        rc = make_headers(c, body->n != 0, &h, err);
    if (rc == 0)
        rc = send_queued(c, body, &h, err);
    ah_oaheaders_drop(&h);
    ah_err_drop(&why);
    return rc;
}

/* --- limits of the model ---------------------------------------------------------------------------------- */

static void limit_key(const struct call *c, char *out, size_t size)
{
    snprintf(out, size, "%s %s", c->target.base, c->model);
}

static struct ah_ratelimit_told told_of(const struct ah_http_res *res, const char *what)
{
    struct ah_ratelimit_told told = {-1, -1, -1};
    char name[48], value[48];
    snprintf(name, sizeof name, "x-ratelimit-limit-%s", what);
    if (ah_http_header(res, name, value, sizeof value)[0])
        told.limit = strtod(value, NULL);
    snprintf(name, sizeof name, "x-ratelimit-remaining-%s", what);
    if (ah_http_header(res, name, value, sizeof value)[0])
        told.left = strtod(value, NULL);
    snprintf(name, sizeof name, "x-ratelimit-reset-%s", what);
    if (ah_http_header(res, name, value, sizeof value)[0])
        told.reset_ms = ah_chat_error_duration(value);
    return told;
}

static void learn_limits(struct call *c, const struct ah_http_res *res)
{
    char key[AH_RATELIMIT_KEY_BYTES];
    struct ah_ratelimit_told requests = told_of(res, "requests"), tokens = told_of(res, "tokens");
    limit_key(c, key, sizeof key);
    if (c->again)
        ah_ratelimit_leave(&c->o->limits, key, c->tokens, false);
    c->again = false;
    ah_ratelimit_tell(&c->o->limits, key, ah_clock_mono_us() / 1000, &requests, &tokens);
}

/* Those who were refused together are not sent again together: each waits for its turn. */
static void wait_again(struct call *c, struct ah_error *err)
{
    char key[AH_RATELIMIT_KEY_BYTES];
    int64_t max = time_left(c) / 2;
    limit_key(c, key, sizeof key);
    int64_t wait = ah_ratelimit_take(&c->o->limits, key, ah_clock_mono_us() / 1000, c->tokens,
                                     max < LIMIT_WAIT_MS ? max : LIMIT_WAIT_MS);
    c->again = wait > 0;
    if (wait > err->retry_after_ms)
        err->retry_after_ms = wait;
}

static void leave_queue(struct call *c, bool cancelled)
{
    char key[AH_RATELIMIT_KEY_BYTES];
    if (!c->unsent.n && !c->again)
        return;
    c->again = false;
    limit_key(c, key, sizeof key);
    ah_timer_stop(&c->room);
    ah_ratelimit_leave(&c->o->limits, key, c->tokens, cancelled);
    if (cancelled)
        ah_buf_drop(&c->unsent);
}

static void on_room(struct ah_timer *t)
{
    struct call *c = t->arg;
    struct ah_error err = {0};
    struct ah_buf body = c->unsent;
    leave_queue(c, false);
    memset(&c->unsent, 0, sizeof c->unsent);
    int rc = send_body(c, &body, &err);
    ah_buf_drop(&body);
    if (rc != 0)
        finish(c, &err);
}

/* Sends, or keeps the body until the model's limits have room for it. */
static int send_in_turn(struct call *c, struct ah_buf *body, struct ah_error *err)
{
    char key[AH_RATELIMIT_KEY_BYTES];
    int64_t max = time_left(c) / 2; /* the answer takes its time, too */
    if (!body->n)
        return send_body(c, body, err);
    limit_key(c, key, sizeof key);
    c->tokens = (double)body->n / 4;
    c->room_ms = ah_ratelimit_take(&c->o->limits, key, ah_clock_mono_us() / 1000, c->tokens,
                                   max < LIMIT_WAIT_MS ? max : LIMIT_WAIT_MS);
    if (!c->room_ms)
        return send_body(c, body, err);
    ah_log_line(c->o->core->log, AH_LOG_INFO, "%s: waiting %.1f s for room in its rate limit", c->model,
                (double)c->room_ms / 1000);
    c->unsent = *body;
    memset(body, 0, sizeof *body);
    ah_timer_start(c->o->core->loop, &c->room, c->room_ms, on_room, c);
    return 0;
}

/* --- the end ------------------------------------------------------------------------------------------------ */

/* Money goes beside the tokens: the gateway's word, else by the list of prices, else none. */
static void price_usage(struct call *c)
{
    struct ah_openai_op *op = &c->pub;
    struct ah_json usage, price;
    struct ah_buf priced;
    if (!op->usage_metadata.n ||
        ah_json_check(op->usage_metadata.p, op->usage_metadata.n, 0, &usage, NULL) != 0)
        return;
    ah_buf_init(&priced, 8192);
    if (op->cost >= 0)
        ah_oaprice_put_total(op->cost, usage, &priced);
    else if (c->price && ah_json_check(c->price, strlen(c->price), 0, &price, NULL) == 0)
        op->cost = ah_oaprice_put(price, usage, &priced);
    if (priced.n && !priced.failed) {
        ah_buf_clear(&op->usage_metadata);
        ah_buf_add(&op->usage_metadata, priced.p, priced.n);
    }
    ah_buf_drop(&priced);
}

static void read_usage(struct call *c)
{
    struct ah_openai_op *op = &c->pub;
    struct ah_json usage = {0};
    char header[64] = "";
    op->tokens.cost = -1;
    if (!c->endpoint->talks && ah_json_check(ah_buf_str(&op->body), op->body.n, 0, &usage, NULL) == 0)
        op->has_usage = ah_chat_usage(ah_json_get(usage, "usage"), "", &op->usage_metadata, &op->tokens) == 0;
    else if (op->chat.usage.n && ah_json_check(op->chat.usage.p, op->chat.usage.n, 0, &usage, NULL) == 0)
        op->has_usage = ah_chat_usage(usage, op->chat.tier, &op->usage_metadata, &op->tokens) == 0;
    op->cost = op->tokens.cost;
    if (op->cost < 0 && c->http && c->form == FORM_WHOLE) {
        ah_http_header(&c->http->res, "x-litellm-response-cost", header, sizeof header);
        double cost = strtod(header, NULL);
        if (cost > 0 && cost < 1e9)
            op->cost = cost;
    }
    price_usage(c);
}

/* The text that had come goes with the error. */
static void attach_partial(struct call *c, struct ah_error *err)
{
    const struct ah_chat_choice *ch = ah_chat_first(&c->pub.chat);
    struct ah_json_writer w;
    struct ah_buf b;
    size_t n;
    if (err->kind == AH_NONE || err->detail || !ch || !ch->content.n)
        return;
    ah_buf_init(&b, (size_t)8 * PARTIAL_BYTES);
    n = ch->content.n < PARTIAL_BYTES ? ch->content.n : PARTIAL_BYTES;
    while (n && n < ch->content.n && ((unsigned char)ch->content.p[n] & 0xc0) == 0x80)
        n--;
    ah_json_begin(&w, &b, NULL);
    ah_json_object(&w);
    ah_json_key(&w, "partial");
    ah_json_put_strn(&w, ch->content.p, n);
    ah_json_end_object(&w);
    ah_err_take_detail(err, ah_buf_take(&b, NULL));
    ah_buf_drop(&b);
}

static void end_effect(struct call *c, const struct ah_error *failed)
{
    struct ah_op *http = c->http ? &c->http->op : NULL;
    struct ah_buf folded;
    const struct ah_buf *body = c->responses.whole.n ? &c->responses.whole : &c->pub.body;
    ah_buf_init(&folded, BODY_BYTES);
    if (!failed && c->form == FORM_EVENTS && !c->responses.whole.n &&
        ah_chat_write(&c->pub.chat, true, &folded) == 0)
        body = &folded;
    ah_effect_end(c->effect, http ? http->issued : c->pub.op.issued, http ? http->completed : 0,
                  c->http ? c->http->res.status : 0, failed ? NULL : body->p, failed ? 0 : body->n, failed);
    c->effect = NULL;
    ah_buf_drop(&folded);
}

/* The response for the span. */
static int write_outputs(struct call *c, struct ah_buf *to)
{
    struct ah_json body;
    const struct ah_buf *raw = c->form == FORM_WHOLE  ? &c->pub.body
                               : c->responses.whole.n ? &c->responses.whole
                                                      : NULL;
    if (raw && ah_json_check(ah_buf_str(raw), raw->n, 0, &body, NULL) != 0)
        raw = NULL;
    if (!raw)
        return c->pub.chat.choice_count ? ah_chat_write(&c->pub.chat, false, to) : -1;
    if (c->endpoint->type == AH_SPAN_EMBEDDING)
        return ah_oaspan_embeddings(body, to);
    return c->pub.chat.choice_count || !c->endpoint->talks ? ah_oaspan_without_usage(body, to) : -1;
}

static void end_span(struct call *c, const struct ah_error *failed, bool cancelled)
{
    char text[sizeof failed->message + 64];
    struct ah_buf outputs;
    if (!c->span)
        return;
    if (failed)
        snprintf(text, sizeof text, "%s: %s", ah_err_kind_name(failed->kind), failed->message);
    ah_buf_init(&outputs, BODY_BYTES);
    bool has = (!failed || c->endpoint->talks) && write_outputs(c, &outputs) == 0;
    ah_oaspan_headers(c->span, &c->pub.gateway);
    if (!failed && (c->pub.has_usage || c->pub.cost >= 0))
        ah_span_usage(c->span, c->pub.usage_metadata.p, c->pub.usage_metadata.n, c->pub.tokens.input,
                      c->pub.tokens.output, c->pub.cost);
    else if (failed && (failed->status >= 400 || failed->attempts == 0))
        ah_span_refused(c->span); /* an error's status, or it was never sent */
    ah_span_end(c->span, has ? outputs.p : NULL, has ? outputs.n : 0,
                cancelled ? "Cancelled"
                : failed  ? text
                          : NULL);
    ah_buf_drop(&outputs);
}

/* Once: the end of everything a call holds but its answer. err is moved in. */
static void finish(struct call *c, struct ah_error *err)
{
    bool cancelled = c->pub.op.cancelled;
    ah_timer_stop(&c->drain);
    leave_queue(c, true);
    c->pub.waited_ms += c->room_ms;
    err->waited_ms += err->kind != AH_NONE ? c->room_ms : 0;
    if (cancelled && err->kind == AH_NONE)
        ah_err_set(err, AH_CANCELLED, "the model call was cancelled");
    if (c->http) {
        c->pub.attempts += c->http->res.attempts;
        c->pub.waited_ms += c->http->res.waited_ms;
        ah_http_request_id(&c->http->res, c->pub.request_id, sizeof c->pub.request_id);
        ah_oaspan_gateway(&c->http->res, &c->pub.gateway);
    }
    ah_secret_mask_str(c->o->core->secrets, err->message, sizeof err->message);
    if (err->kind != AH_NONE && c->later)
        err->retryable = true;
    if (err->kind == AH_NONE)
        read_usage(c);
    else
        attach_partial(c, err);
    end_effect(c, err->kind != AH_NONE ? err : NULL);
    end_span(c, err->kind != AH_NONE ? err : NULL, cancelled);
    if (c->http) {
        ah_op_wait(&c->http->op, NULL, NULL);
        ah_op_unref(&c->http->op);
        c->http = NULL;
    }
    c->on_delta = NULL;
    c->is_full = NULL;
    ah_op_finish(&c->pub.op, err);
}

static bool has_member(const struct call *c, const char *name)
{
    return ah_json_get(c->body, name).type != AH_JSON_NONE;
}

/* A 400 that names something we may leave out or call otherwise. True: it was sent once more. */
static bool try_otherwise(struct call *c, const struct ah_error *failed)
{
    char param[128];
    int quirk = 0;
    const struct ah_http_res *res = &c->http->res;
    if ((res->status != 400 && res->status != 422) || failed->kind != AH_INVALID || c->pub.op.cancelled)
        return false;
    ah_chat_error_param(res->body.p, res->body.n, param, sizeof param);
    if (c->endpoint->responses)
        return false; /* its limit has one name, and usage comes by itself */
    if (strstr(param, "stream_options") && c->stream && c->provider.stream_usage &&
        !has_member(c, "stream_options"))
        quirk = QUIRK_NO_STREAM_OPTIONS;
    else if (strcmp(param, "max_tokens") == 0 && c->provider.max_tokens != AH_PROVIDER_SECOND &&
             has_member(c, "max_tokens") && !has_member(c, "max_completion_tokens") &&
             (strcmp(failed->code, "unsupported_parameter") == 0 ||
              strstr(failed->message, "'max_completion_tokens'")))
        quirk = QUIRK_MAX_COMPLETION_TOKENS;
    else if (c->endpoint->type == AH_SPAN_EMBEDDING && c->provider.base64 &&
             strcmp(param, "encoding_format") == 0 && !has_member(c, "encoding_format"))
        quirk = QUIRK_NO_BASE64;
    if (!quirk)
        return false;
    remember_quirk(c->o, c->target.base, quirk == QUIRK_NO_STREAM_OPTIONS ? NULL : c->model, quirk);
    apply_quirks(&c->provider, quirk);
    c->pub.attempts += res->attempts;
    c->pub.waited_ms += res->waited_ms;
    end_effect(c, failed);
    ah_op_unref(&c->http->op);
    c->http = NULL;
    struct ah_buf body;
    struct ah_error err = {0};
    ah_buf_init(&body, BODY_BYTES);
    int rc = write_body(c, &body) == 0 ? send_body(c, &body, &err) : fail_memory(&err);
    ah_buf_drop(&body);
    if (rc != 0)
        finish(c, &err);
    return true;
}

static void on_http_done(struct ah_op *op, void *arg)
{
    struct call *c = arg;
    struct ah_error err = {0};
    if (op->err.kind != AH_NONE && try_otherwise(c, &op->err))
        return;
    ah_err_copy(&err, &op->err);
    /* Cut off by ourselves, after all that matters had come. */
    if (c->drained && err.kind == AH_CANCELLED && !c->pub.op.cancelled) {
        ah_err_drop(&err);
        ah_chat_end(&c->pub.chat, &err);
    }
    finish(c, &err);
}

/* --- the op --------------------------------------------------------------------------------------------------- */

static void cancel_call(struct ah_op *op)
{
    struct call *c = (struct call *)op;
    struct ah_error err = {0};
    if (c->http) {
        ah_op_wait(&c->http->op, NULL, NULL);
        ah_op_cancel(&c->http->op);
    }
    finish(c, &err);
}

static void free_call(struct ah_op *op)
{
    struct call *c = (struct call *)op;
    ah_timer_stop(&c->drain);
    ah_chat_drop(&c->pub.chat);
    ah_responses_drop(&c->responses);
    ah_buf_drop(&c->pub.usage_metadata);
    ah_buf_drop(&c->pub.gateway);
    ah_sse_drop(&c->sse);
    ah_buf_drop(&c->pub.body);
    ah_span_unref(c->span);
    ah_run_unref(c->run);
    ah_oatarget_drop(&c->target);
    free(c->url);
    free(c->body_text);
    free(c->price);
    free(c);
}

static const struct ah_op_class call_class = {"the model call", cancel_call, free_call};

const struct ah_buf *ah_openai_items(const struct ah_openai_op *op)
{
    return &((const struct call *)op)->responses.output;
}

void ah_openai_resume(struct ah_openai_op *op)
{
    struct call *c = (struct call *)op;
    if (c->http)
        ah_http_resume(c->http);
}

void ah_openai_forget(struct ah_openai_op *op)
{
    struct call *c = (struct call *)op;
    c->on_delta = NULL;
    c->is_full = NULL;
    c->arg = NULL;
}

static int copy_body(struct call *c, const struct ah_openai_req *req, struct ah_error *err)
{
    static const char *const keys[] = {"model", "stream", NULL};
    struct ah_json found[2];
    c->body_text = malloc(req->body_n + 1);
    if (!c->body_text)
        return fail_memory(err);
    memcpy(c->body_text, req->body, req->body_n);
    c->body_text[req->body_n] = '\0';
    if (ah_json_check(c->body_text, req->body_n, 0, &c->body, err) != 0)
        return -1;
    ah_json_pick(c->body, keys, found);
    ah_json_copy(found[0], c->model, sizeof c->model);
    if (c->body.type != AH_JSON_OBJECT || (!c->model[0] && req->api != AH_OPENAI_MODERATIONS))
        return ah_err_set(err, AH_INVALID, "a request to a model must be an object with a model");
    if (found[1].type != AH_JSON_NONE)
        return ah_err_set(err, AH_INVALID, "a chat request must not set stream; use model:stream()");
    return 0;
}

static int make_url(struct call *c, const struct ah_openai_req *req, struct ah_error *err)
{
    struct ah_buf url;
    ah_buf_init(&url, URL_BYTES);
    int rc = ah_url_join(c->target.base, c->endpoint->path, &url);
    if (rc == 0 && req->id) {
        ah_buf_addc(&url, '/');
        rc = ah_url_encode(req->id, strlen(req->id), &url);
    }
    c->url = rc == 0 ? ah_buf_take(&url, NULL) : NULL;
    ah_buf_drop(&url);
    if (!c->url)
        return ah_err_set(err, AH_CONFIG, "the base URL of the model service is too long");
    return 0;
}

/* What is known of the server: its row, the script's word, what it refused before. */
static int choose_provider(struct call *c, const struct ah_openai_req *req, struct ah_error *err)
{
    struct ah_json given;
    if (req->price && !(c->price = strdup(req->price)))
        return ah_err_set(err, AH_MEMORY, "out of memory");
    c->provider = c->target.provider;
    if (req->provider && (ah_json_check(req->provider, strlen(req->provider), 0, &given, err) != 0 ||
                          ah_provider_set(&c->provider, given, err) != 0))
        return -1;
    if (strcmp(c->provider.name, "litellm") == 0)
        c->target.litellm = true;
    apply_quirks(&c->provider, quirks_of(c->o, c->target.base, c->model));
    return 0;
}

static int prepare(struct call *c, const struct ah_openai_req *req, struct ah_buf *body, struct ah_error *err)
{
    if (find_target(c->o, req->base_url, req->api_key, &c->target, err) != 0 ||
        (req->body && copy_body(c, req, err) != 0) || make_url(c, req, err) != 0 ||
        choose_provider(c, req, err) != 0)
        return -1;
    if (write_body(c, body) != 0)
        return ah_err_set(err, AH_LIMIT, "the request to the model is larger than %zu bytes", BODY_BYTES);
    return 0;
}

static struct call *new_call(struct ah_openai *o, const struct ah_openai_req *req)
{
    struct call *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    ah_op_init(&c->pub.op, &call_class, o->core->loop);
    c->o = o;
    c->endpoint = &endpoints[req->api];
    c->stream = req->stream;
    c->on_delta = req->on_delta;
    c->is_full = req->is_full;
    c->arg = req->arg;
    c->run = req->run ? ah_run_ref(req->run) : NULL;
    c->limits.connect_ms = req->connect_ms;
    c->limits.first_byte_ms = req->first_byte_ms;
    c->limits.idle_ms = req->idle_ms;
    c->limits.total_ms = req->total_ms;
    c->limits.retry = req->retry;
    c->began_us = ah_clock_mono_us();
    c->pub.cost = -1;
    ah_chat_init(&c->pub.chat, ah_loop_ids(o->core->loop));
    c->pub.chat.on_delta = req->stream ? on_piece : NULL;
    c->pub.chat.arg = c;
    ah_sse_init(&c->sse, on_event, NULL);
    ah_buf_init(&c->pub.body, AH_HTTP_BODY_BYTES);
    ah_buf_init(&c->pub.usage_metadata, 4096);
    ah_buf_init(&c->pub.gateway, AH_HTTP_HEADER_BYTES);
    return c;
}

struct ah_openai_op *ah_openai_call(struct ah_openai *o, const struct ah_openai_req *req,
                                    struct ah_error *err)
{
    struct call *c = new_call(o, req);
    struct ah_buf body;
    if (!c) {
        fail_memory(err);
        return NULL;
    }
    ah_buf_init(&body, BODY_BYTES);
    int rc = prepare(c, req, &body, err);
    if (rc == 0) {
        struct ah_error why = {0};
        struct ah_json sent = {body.p, body.n, AH_JSON_OBJECT};
        if (c->endpoint->span)
            c->span = ah_oaspan_start(req, c->endpoint->type, c->endpoint->span, sent);
        rc = send_in_turn(c, &body, &why);
        if (rc != 0) {
            if (c->effect)
                end_effect(c, &why);
            end_span(c, &why, false);
            ah_err_move(err, &why);
        }
    }
    ah_buf_drop(&body);
    if (rc != 0) {
        c->pub.op.done = true; /* never began: nothing is to be cancelled */
        ah_op_unref(&c->pub.op);
        return NULL;
    }
    return &c->pub; /* the caller's reference is the only one: dropping it cancels */
}
