/* The MCP client: which era a server speaks, one request and its answer, whichever way it comes back. Called by
 * lua_mcp.c. Must never post a call again whose stream broke: it may have run.
 *
 * An answer comes as the body of its POST, as an event of that body's stream, on a stream that takes the broken one's
 * place, on the standing stream, or as a line of the program: always through take_message, which finds the call by its
 * id. What follows an answer happens in the ready phase (on_step). */
#include "mcp.h"

#include "child.h"
#include "log.h"
#include "secret.h"
#include "sse.h"
#include "url.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_BYTES ((size_t)64 << 20)
#define HEADERS_MAX 96
#define RESUMES_MAX 50
#define ROUNDS_MAX 10 /* of a call that asks for more input */
#define RETRY_MS 1000
#define RETRY_MAX_MS 60000
#define PROBE_MS 5000 /* a program that does not know the question may never answer */
#define CLOSE_MS 3000
#define STANDING_MS ((int64_t)24 * 3600 * 1000)
#define ASIDE_MAX 16 /* answers to the server that are under way */

struct call {
    struct ah_mcp_op pub; /* first */
    struct ah_mcp *m;     /* counted */
    struct call *next, *prev;
    struct ah_ready ready;
    void (*then)(struct call *c); /* after an exchange: answered, or c->err */
    int64_t id;                   /* of the exchange; 0: it waits for no answer */
    char *method, *params, *name, *schema;
    struct ah_buf more; /* members of the next round's params */
    struct ah_http_op *http;
    struct ah_sse sse;
    struct ah_buf body;
    struct ah_timer wait, deadline;
    char last_id[256];
    int64_t retry_ms, timeout_ms;
    int resumes, rounds, status;
    bool began, streamed, answered, listed, renewed, notify, modern, busy;
    bool sent; /* handed on: it may run, whatever happens next */
    bool held; /* until the server is known */
    bool only_connect;
    enum ah_effect_class effect_class;
    struct ah_effect *effect;
    struct ah_error err;
};

/* A stream of the server's own, and requests whose answer nobody waits for. */
struct aside {
    struct ah_mcp *m;
    struct ah_http_op *http;
};

struct ah_mcp {
    int refs;
    struct ah_core *core;
    char *url, *post_url; /* post_url: of the oldest era; else NULL */
    struct ah_child *child;
    char *header_text;
    size_t header_size;
    struct ah_http_header headers[HEADERS_MAX];
    size_t header_count;
    enum ah_mcp_era era;
    bool era_given, forms, ready, closed, changed, dead;
    int64_t timeout_ms, next_id;
    char session[512], version[32];
    struct call *handshake; /* the one that goes on */
    char **argv, **env, *dir;
    struct ah_buf server_text;
    struct ah_json server;
    struct call calls; /* head of a circular list; only next and prev are used */
    struct aside asides[ASIDE_MAX];
    struct aside standing;
    struct ah_sse standing_sse;
    struct ah_timer standing_wait;
    char standing_id[256];
    bool asked_endpoint;
    bool standing_offered; /* the server has such a stream: it is opened again when it breaks */
    int standing_failures; /* in a row */
    struct call *waits_endpoint;
    struct ah_error death; /* why the program ended */
};

static struct ah_mcp *ref_client(struct ah_mcp *m);
static void unref_client(struct ah_mcp *m);
static void take_message(struct ah_mcp *m, struct call *origin, const char *p, size_t n);
static void begin_exchange(struct call *c);
static void open_standing(struct ah_mcp *m);
static void send_aside(struct ah_mcp *m, const char *method, const struct ah_buf *body);

/* --- calls ------------------------------------------------------------------------------------------- */

static char *copy_text(const char *s)
{
    return s ? strdup(s) : NULL;
}

static void list_call(struct call *c)
{
    c->next = &c->m->calls;
    c->prev = c->m->calls.prev;
    c->prev->next = c;
    c->m->calls.prev = c;
    c->listed = true;
}

static void unlist_call(struct call *c)
{
    if (!c->listed)
        return;
    c->prev->next = c->next;
    c->next->prev = c->prev;
    c->listed = false;
}

static void stop_exchange(struct call *c)
{
    ah_timer_stop(&c->wait);
    ah_timer_stop(&c->deadline);
    struct ah_http_op *http = c->http;
    c->http = NULL;
    if (http) {
        ah_op_wait(&http->op, NULL, NULL);
        ah_op_cancel(&http->op);
        ah_op_unref(&http->op);
    }
    ah_sse_drop(&c->sse);
    ah_buf_drop(&c->body);
    if (c->m->waits_endpoint == c)
        c->m->waits_endpoint = NULL;
    c->busy = false;
}

static void finish_call(struct call *c, struct ah_error *err)
{
    struct ah_op *op = &c->pub.op;
    stop_exchange(c);
    ah_loop_unready(c->m->core->loop, &c->ready);
    unlist_call(c);
    if (op->done)
        return;
    ah_op_finish(op, err);
    ah_effect_end(c->effect, op->issued, op->completed, c->status, ah_buf_str(&c->pub.text), c->pub.text.n,
                  op->err.kind == AH_NONE ? NULL : &op->err);
    c->effect = NULL;
}

static bool may_have_run(const struct call *c)
{
    return c->effect_class == AH_EFFECT_UNSAFE && c->effect && c->sent;
}

static void cancel_call(struct ah_op *op)
{
    struct call *c = (struct call *)op;
    struct ah_mcp *m = c->m;
    if (c->busy && c->id > 0 && !c->answered && (m->child || !c->modern) &&
        strcmp(c->method, "initialize") != 0) {
        struct ah_buf note;
        char more[64];
        ah_buf_init(&note, 4096);
        snprintf(more, sizeof more, "\"requestId\":%lld", (long long)c->id);
        struct ah_mcpwire_request r = {
            .method = "notifications/cancelled", .more = more, .modern = c->modern};
        if (ah_mcpwire_put_request(&note, &r) == 0)
            send_aside(m, r.method, &note);
        ah_buf_drop(&note);
    }
    struct ah_error err = {0};
    if (may_have_run(c))
        ah_err_set(
            &err, AH_OUTCOME_UNKNOWN,
            "%s was cancelled after it had been sent to the MCP server; it may have run all the same, so "
            "look before you run it again",
            c->name ? c->name : c->method);
    finish_call(c, &err);
}

static void free_call(struct ah_op *op)
{
    struct call *c = (struct call *)op;
    ah_buf_drop(&c->pub.text);
    ah_buf_drop(&c->more);
    ah_err_drop(&c->err);
    free(c->method);
    free(c->params);
    free(c->name);
    free(c->schema);
    unref_client(c->m);
    free(c);
}

static const struct ah_op_class call_class = {"the MCP request", cancel_call, free_call};

static void on_step(struct ah_ready *r)
{
    struct call *c = (struct call *)(void *)((char *)r - offsetof(struct call, ready));
    stop_exchange(c);
    c->then(c);
}

static struct call *new_call(struct ah_mcp *m, const char *method, struct ah_error *err)
{
    struct call *c = calloc(1, sizeof *c);
    if (c)
        c->method = copy_text(method);
    if (!c || !c->method) {
        free(c);
        ah_err_set(err, AH_MEMORY, "out of memory");
        return NULL;
    }
    ah_op_init(&c->pub.op, &call_class, m->core->loop);
    ah_buf_init(&c->pub.text, MESSAGE_BYTES);
    ah_buf_init(&c->more, MESSAGE_BYTES);
    c->m = ref_client(m);
    c->ready.run = on_step;
    c->timeout_ms = m->timeout_ms;
    return c;
}

/* The exchange is over: what follows runs in the ready phase. c->err says how, when it has no answer. */
static void end_exchange(struct call *c)
{
    c->busy = false;
    ah_loop_ready(c->m->core->loop, &c->ready);
}

/* An exchange that failed on this side: what was sent and may have run is not known to have failed. */
static void fail_exchange(struct call *c, enum ah_kind kind, const char *why)
{
    ah_err_drop(&c->err);
    if (may_have_run(c) && kind != AH_CANCELLED)
        ah_err_set(&c->err, AH_OUTCOME_UNKNOWN,
                   "%s was sent to the MCP server, and %s; it may have run all the same, so look before you "
                   "run it again",
                   c->name ? c->name : c->method, why);
    else
        ah_err_set(&c->err, kind, "%s: %s", c->method, why);
    end_exchange(c);
}

/* --- messages ---------------------------------------------------------------------------------------- */

static void answer_server(struct ah_mcp *m, const struct ah_mcpwire_message *msg)
{
    struct ah_buf out;
    ah_buf_init(&out, MESSAGE_BYTES);
    if (ah_mcpwire_put_answer(&out, msg->id, msg->method, msg->params, m->forms) == 0)
        send_aside(m, NULL, &out);
    ah_buf_drop(&out);
}

/* The server is gone: nobody waits for its answer any more. Who is held is told by the handshake. */
static void fail_all(struct ah_mcp *m)
{
    for (struct call *c = m->calls.next; c != &m->calls; c = c->next)
        if (c->busy && !c->answered && !c->held)
            fail_exchange(c, m->death.kind, m->death.message);
}

static struct call *find_call(struct ah_mcp *m, int64_t id)
{
    for (struct call *c = m->calls.next; c != &m->calls; c = c->next)
        if (c->id == id && id > 0 && c->busy && !c->answered)
            return c;
    return NULL;
}

/* The bytes move into the call: its results point there. */
static void take_answer(struct call *c, const char *p, size_t n)
{
    struct ah_json v;
    struct ah_mcpwire_message msg;
    ah_buf_clear(&c->pub.text);
    if (ah_secret_mask(c->m->core->secrets, p, n, &c->pub.text) != 0 ||
        ah_json_check(ah_buf_str(&c->pub.text), c->pub.text.n, 0, &v, NULL) != 0) {
        fail_exchange(c, AH_MEMORY, "out of memory");
        return;
    }
    ah_mcpwire_read(v, &msg);
    c->answered = true;
    c->pub.result = msg.result;
    if (msg.result.type == AH_JSON_NONE)
        ah_mcpwire_refusal(c->name ? c->name : c->method, msg.error, &c->err);
    end_exchange(c);
}

static void take_value(struct ah_mcp *m, struct call *origin, struct ah_json v)
{
    struct ah_mcpwire_message msg;
    ah_mcpwire_read(v, &msg);
    if (msg.kind == AH_MCP_REQUEST) {
        answer_server(m, &msg);
    } else if (msg.kind == AH_MCP_NOTIFICATION) {
        if (ah_json_is(msg.method, "notifications/tools/list_changed"))
            m->changed = true;
    } else if (msg.kind == AH_MCP_RESPONSE) {
        bool nameless = msg.id.type == AH_JSON_NONE || msg.id.type == AH_JSON_NULL;
        struct call *c = nameless ? origin : find_call(m, ah_mcpwire_id(msg.id));
        if (c && c->busy && !c->answered)
            take_answer(c, v.p, v.n);
    }
}

static void take_message(struct ah_mcp *m, struct call *origin, const char *p, size_t n)
{
    struct ah_json v;
    struct ah_error why = {0};
    if (ah_json_check(p, n, 0, &v, &why) != 0) {
        ah_log_line(m->core->log, AH_LOG_INFO, "MCP server %s: not JSON: %s", m->url ? m->url : "(stdio)",
                    why.message);
        ah_err_drop(&why);
        return;
    }
    if (v.type != AH_JSON_ARRAY) {
        take_value(m, origin, v);
        return;
    }
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);) /* batches of 2025-03-26 */
        take_value(m, origin, it.value);
}

/* --- over HTTP ----------------------------------------------------------------------------------------- */

struct headers {
    struct ah_http_header list[HEADERS_MAX];
    size_t n;
    struct ah_buf text; /* of those that are made here */
    size_t at[HEADERS_MAX];
};

static int add_header(void *arg, const char *name, const char *value)
{
    struct headers *h = arg;
    if (h->n >= HEADERS_MAX)
        return -1;
    h->at[h->n] = h->text.n;
    h->n++;
    return ah_buf_add(&h->text, name, strlen(name) + 1) != 0 ||
                   ah_buf_add(&h->text, value, strlen(value) + 1) != 0
               ? -1
               : 0;
}

/* The made ones are texts in a buffer that grew: their places become pointers at the end. */
static size_t end_headers(struct headers *h, const struct ah_mcp *m)
{
    for (size_t i = 0; i < h->n; i++) {
        const char *name = h->text.p + h->at[i];
        h->list[i] = (struct ah_http_header){name, name + strlen(name) + 1};
    }
    for (size_t i = 0; i < m->header_count && h->n < HEADERS_MAX; i++)
        h->list[h->n++] = m->headers[i];
    return h->n;
}

static void add_protocol(struct headers *h, const struct ah_mcp *m, bool modern)
{
    if (modern)
        add_header(h, "MCP-Protocol-Version", AH_MCP_MODERN_VERSION);
    else if (m->version[0])
        add_header(h, "MCP-Protocol-Version", m->version);
    if (!modern && m->session[0])
        add_header(h, "Mcp-Session-Id", m->session);
}

/* What a modern request says of itself in headers. -1: err. */
static int add_modern(struct headers *h, struct call *c, struct ah_error *err)
{
    struct ah_buf name;
    add_header(h, "Mcp-Method", c->method);
    if (c->name) {
        ah_buf_init(&name, 16384);
        ah_mcpwire_put_header(&name, c->name, strlen(c->name));
        add_header(h, "Mcp-Name", ah_buf_str(&name));
        ah_buf_drop(&name);
    }
    struct ah_json schema = {0}, params = {0};
    if (!c->schema || !c->params)
        return 0;
    ah_json_check(c->schema, strlen(c->schema), 0, &schema, NULL);
    ah_json_check(c->params, strlen(c->params), 0, &params, NULL);
    return ah_mcpwire_headers(schema, ah_json_get(params, "arguments"), add_header, h, err);
}

static int on_event(void *arg, const struct ah_sse_event *ev)
{
    struct call *c = arg;
    if (ev->n > 0)
        take_message(c->m, c, ev->data, ev->n);
    return 0;
}

static bool is_event_stream(const struct ah_http_res *res)
{
    char type[128];
    ah_http_header(res, "content-type", type, sizeof type);
    return strncasecmp(type, "text/event-stream", 17) == 0;
}

static void keep_id(const struct ah_sse *sse, char *out, size_t size)
{
    if (sse->id)
        snprintf(out, size, "%s", sse->id);
}

static void keep_session(struct call *c, const struct ah_http_res *res)
{
    struct ah_mcp *m = c->m;
    if (res->status >= 200 && res->status < 300 && strcmp(c->method, "initialize") == 0)
        ah_http_header(res, "mcp-session-id", m->session, sizeof m->session);
}

static int on_data(void *arg, const char *p, size_t n, struct ah_error *err)
{
    struct call *c = arg;
    if (!c->began) {
        c->began = true;
        c->status = c->http->res.status;
        c->streamed = is_event_stream(&c->http->res);
        keep_session(c, &c->http->res);
    }
    if (!c->streamed)
        return ah_buf_add(&c->body, p, n) == 0
                   ? 0
                   : ah_err_set(err, AH_LIMIT, "the MCP server's answer is too long");
    int rc = ah_sse_feed(&c->sse, p, n, err);
    keep_id(&c->sse, c->last_id, sizeof c->last_id);
    if (c->sse.retry_ms >= 0)
        c->retry_ms = c->sse.retry_ms;
    return rc != 0 || c->answered ? -1 : 0; /* the rest of the stream is nobody's */
}

static void on_http_done(struct ah_op *op, void *arg);

static void start_http(struct call *c, const struct ah_http_req *req)
{
    struct ah_error err = {0};
    c->began = c->streamed = false;
    ah_sse_drop(&c->sse);
    ah_sse_init(&c->sse, on_event, c);
    ah_buf_drop(&c->body);
    ah_buf_init(&c->body, MESSAGE_BYTES);
    c->http = ah_http_send(c->m->core->http, req, &err);
    if (c->http) {
        c->sent = true;
        ah_op_wait(&c->http->op, on_http_done, c);
        return;
    }
    ah_err_move(&c->err, &err);
    end_exchange(c);
}

/* The deadline is ours: libcurl's limits only end what we forgot. */
static struct ah_http_req exchange_request(struct call *c, const char *method, const char *url,
                                           struct headers *h)
{
    int64_t ms = c->timeout_ms + RETRY_MAX_MS;
    return (struct ah_http_req){.method = method,
                                .url = url,
                                .headers = h->list,
                                .header_count = end_headers(h, c->m),
                                .stream = true,
                                .refuse_redirects = true,
                                .total_ms = ms,
                                .first_byte_ms = ms,
                                .idle_ms = ms,
                                .retry = {.max = -1},
                                .on_data = on_data,
                                .arg = c};
}

static void post_exchange(struct call *c, const struct ah_buf *body)
{
    struct ah_mcp *m = c->m;
    struct headers h = {0};
    struct ah_error err = {0};
    ah_buf_init(&h.text, (size_t)1 << 20);
    add_header(&h, "Content-Type", "application/json");
    add_header(&h, "Accept", "application/json, text/event-stream");
    add_protocol(&h, m, c->modern);
    if (c->modern && add_modern(&h, c, &err) != 0) {
        ah_err_move(&c->err, &err);
        ah_buf_drop(&h.text);
        end_exchange(c);
        return;
    }
    struct ah_http_req req = exchange_request(c, "POST", m->post_url ? m->post_url : m->url, &h);
    req.body = body->p;
    req.body_n = body->n;
    req.has_body = true;
    req.idempotent = c->effect_class != AH_EFFECT_UNSAFE;
    start_http(c, &req);
    ah_buf_drop(&h.text);
}

/* Goes on where a stream broke. */
static void on_resume(struct ah_timer *t)
{
    struct call *c = t->arg;
    struct headers h = {0};
    ah_buf_init(&h.text, (size_t)1 << 20);
    add_header(&h, "Accept", "text/event-stream");
    add_protocol(&h, c->m, false);
    if (c->last_id[0])
        add_header(&h, "Last-Event-ID", c->last_id);
    struct ah_http_req req = exchange_request(c, "GET", c->m->url, &h);
    start_http(c, &req);
    ah_buf_drop(&h.text);
}

static bool resume_exchange(struct call *c)
{
    if (c->modern || !c->last_id[0] || ++c->resumes > RESUMES_MAX)
        return false;
    int64_t ms = c->retry_ms > 0 ? c->retry_ms : RETRY_MS;
    return ah_timer_start(c->m->core->loop, &c->wait, ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS, on_resume, c) ==
           0;
}

static struct ah_json error_of(const struct ah_buf *body)
{
    struct ah_json v;
    if (ah_json_check(ah_buf_str(body), body->n, 0, &v, NULL) != 0)
        return (struct ah_json){0};
    return ah_json_get(v, "error");
}

/* A status of refusal: the server's own words where it has some. */
static void refuse_exchange(struct call *c, const struct ah_http_op *http)
{
    struct ah_json error = error_of(&http->res.body);
    int status = http->res.status;
    ah_err_copy(&c->err, &http->op.err);
    if (may_have_run(c) && (status >= 500 || status == 408) && status != 501) {
        char why[64];
        snprintf(why, sizeof why, "it answered %d", status);
        fail_exchange(c, AH_OUTCOME_UNKNOWN, why);
        c->err.status = status;
        return;
    }
    if (error.type != AH_JSON_NONE && c->err.kind != AH_AUTH && c->err.kind != AH_RATE_LIMIT &&
        http->res.status < 500) {
        struct ah_error said = {0};
        ah_mcpwire_refusal(c->name ? c->name : c->method, error, &said);
        said.status = http->res.status;
        said.attempts = c->err.attempts;
        ah_err_move(&c->err, &said);
    }
    ah_buf_clear(&c->pub.text); /* kept: whoever decides on the era reads it */
    ah_buf_add(&c->pub.text, ah_buf_str(&http->res.body), http->res.body.n);
    end_exchange(c);
}

static void on_http_done(struct ah_op *op, void *arg)
{
    struct call *c = arg;
    struct ah_http_op *http = (struct ah_http_op *)op;
    c->http = NULL;
    c->status = http->res.status;
    bool good = http->res.status >= 200 && http->res.status < 300;
    if (good && !c->streamed && c->body.n > 0 && !c->answered)
        take_message(c->m, c, c->body.p, c->body.n);
    if (c->answered || !c->busy) {
        ah_op_unref(op); /* it was told already */
        return;
    }
    if (http->res.status >= 400)
        refuse_exchange(c, http);
    else if (good && c->id == 0)
        end_exchange(c);
    else if (good && c->m->post_url && op->err.kind == AH_NONE)
        (void)0; /* the oldest era: the answer comes on the standing stream */
    else if (!((good || op->err.kind == AH_TRUNCATED || op->err.kind == AH_NETWORK ||
                op->err.kind == AH_OUTCOME_UNKNOWN) &&
               resume_exchange(c))) {
        if (op->err.kind == AH_NONE || op->err.kind == AH_CANCELLED) {
            fail_exchange(c, AH_TRUNCATED, "the answer ended before it came");
        } else {
            ah_err_copy(&c->err, &op->err);
            end_exchange(c);
        }
    }
    ah_op_unref(op);
}

/* --- asides: what nobody waits for ------------------------------------------------------------------------- */

static void drop_aside(struct aside *a)
{
    struct ah_http_op *http = a->http;
    a->http = NULL;
    if (!http)
        return;
    ah_op_wait(&http->op, NULL, NULL);
    ah_op_cancel(&http->op);
    ah_op_unref(&http->op);
}

static void on_aside_done(struct ah_op *op, void *arg)
{
    struct aside *a = arg;
    a->http = NULL;
    ah_op_unref(op);
}

/* method: NULL for an answer to the server. */
static void send_aside(struct ah_mcp *m, const char *method, const struct ah_buf *body)
{
    struct ah_error err = {0};
    if (m->child) {
        if (ah_child_send(m->child, ah_buf_str(body), body->n, &err) != 0)
            ah_err_drop(&err);
        return;
    }
    struct aside *a = NULL;
    for (int i = 0; i < ASIDE_MAX && !a; i++)
        if (!m->asides[i].http)
            a = &m->asides[i];
    if (!a)
        return; /* the server asks faster than it takes answers */
    struct headers h = {0};
    ah_buf_init(&h.text, (size_t)1 << 20);
    add_header(&h, "Content-Type", "application/json");
    add_header(&h, "Accept", "application/json, text/event-stream");
    bool modern = m->era == AH_MCP_MODERN;
    add_protocol(&h, m, modern);
    if (modern && method)
        add_header(&h, "Mcp-Method", method);
    struct ah_http_req req = {.method = "POST",
                              .url = m->post_url ? m->post_url : m->url,
                              .headers = h.list,
                              .header_count = end_headers(&h, m),
                              .body = body->p,
                              .body_n = body->n,
                              .has_body = true,
                              .refuse_redirects = true,
                              .retry = {.max = -1}};
    a->m = m;
    a->http = ah_http_send(m->core->http, &req, &err);
    if (a->http)
        ah_op_wait(&a->http->op, on_aside_done, a);
    ah_err_drop(&err);
    ah_buf_drop(&h.text);
}

/* --- the standing stream: what a legacy server says by itself -------------------------------------------------- */

static void use_endpoint(struct ah_mcp *m, const char *path)
{
    struct ah_buf full;
    struct ah_url base, target;
    ah_buf_init(&full, 8192);
    if (strstr(path, "://")) {
        ah_buf_adds(&full, path);
    } else {
        const char *slash = strchr(strstr(m->url, "://") + 3, '/');
        size_t origin = slash ? (size_t)(slash - m->url) : strlen(m->url);
        ah_buf_addf(&full, "%.*s%s%s", (int)origin, m->url, path[0] == '/' ? "" : "/", path);
    }
    if (!full.failed && ah_url_parse(m->url, strlen(m->url), &base, NULL) == 0 &&
        ah_url_parse(full.p, full.n, &target, NULL) == 0 && ah_url_same_origin(&base, &target)) {
        free(m->post_url);
        m->post_url = ah_buf_take(&full, NULL);
        struct call *c = m->waits_endpoint;
        m->waits_endpoint = NULL;
        if (c && m->post_url)
            begin_exchange(c);
    }
    ah_buf_drop(&full);
}

static int on_standing_event(void *arg, const struct ah_sse_event *ev)
{
    struct ah_mcp *m = arg;
    if (strcmp(ev->name, "endpoint") == 0)
        use_endpoint(m, ev->data);
    else if (ev->n > 0)
        take_message(m, NULL, ev->data, ev->n);
    return 0;
}

static int on_standing_data(void *arg, const char *p, size_t n, struct ah_error *err)
{
    struct ah_mcp *m = arg;
    if (!is_event_stream(&m->standing.http->res))
        return -1;
    int rc = ah_sse_feed(&m->standing_sse, p, n, err);
    keep_id(&m->standing_sse, m->standing_id, sizeof m->standing_id);
    return rc;
}

static void on_standing_wait(struct ah_timer *t)
{
    open_standing(t->arg);
}

static void on_standing_done(struct ah_op *op, void *arg)
{
    struct ah_mcp *m = arg;
    struct ah_http_op *http = (struct ah_http_op *)op;
    m->standing.http = NULL;
    int64_t ms = m->standing_sse.retry_ms > 0 ? m->standing_sse.retry_ms : RETRY_MS;
    bool offered = http->res.status == 200 && is_event_stream(&http->res);
    bool again = offered || (m->standing_offered && (http->res.status == 0 || http->res.status >= 500));
    m->standing_offered |= offered;
    m->standing_failures = offered ? 0 : m->standing_failures + 1;
    for (int i = 0; i < m->standing_failures && ms < RETRY_MAX_MS; i++)
        ms *= 2;
    struct call *c = m->waits_endpoint;
    if (c) {
        m->waits_endpoint = NULL;
        fail_exchange(c, AH_PROTOCOL, "this is no MCP server: it takes neither a handshake nor a stream");
    } else if (again && !m->closed && !m->post_url) {
        ah_timer_start(m->core->loop, &m->standing_wait, ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS,
                       on_standing_wait, m);
        ah_timer_background(&m->standing_wait, true);
    } else if (m->post_url && !m->closed) {
        m->dead = true; /* the oldest era's session is its stream */
        ah_err_set(&m->death, AH_NETWORK, "the MCP server ended its stream; connect again");
        fail_all(m);
    }
    ah_op_unref(op);
}

static void open_standing(struct ah_mcp *m)
{
    struct headers h = {0};
    struct ah_error err = {0};
    if (m->standing.http || m->closed)
        return;
    ah_buf_init(&h.text, (size_t)1 << 20);
    add_header(&h, "Accept", "text/event-stream");
    add_protocol(&h, m, false);
    if (m->standing_id[0])
        add_header(&h, "Last-Event-ID", m->standing_id);
    ah_sse_drop(&m->standing_sse);
    ah_sse_init(&m->standing_sse, on_standing_event, m);
    struct ah_http_req req = {.method = "GET",
                              .url = m->url,
                              .headers = h.list,
                              .header_count = end_headers(&h, m),
                              .stream = true,
                              .refuse_redirects = true,
                              .total_ms = STANDING_MS,
                              .idle_ms = STANDING_MS,
                              .first_byte_ms = STANDING_MS,
                              .retry = {.max = -1},
                              .on_data = on_standing_data,
                              .arg = m};
    m->standing.m = m;
    m->standing.http = ah_http_send(m->core->http, &req, &err);
    if (m->standing.http)
        ah_op_wait(&m->standing.http->op, on_standing_done, m);
    else if (m->waits_endpoint)
        fail_exchange(m->waits_endpoint, err.kind, err.message);
    ah_err_drop(&err);
    ah_buf_drop(&h.text);
}

/* --- one exchange ------------------------------------------------------------------------------------------ */

static void on_deadline(struct ah_timer *t)
{
    struct call *c = t->arg;
    if (c->busy && !c->answered)
        fail_exchange(c, AH_TIMEOUT, "the MCP server did not answer in time");
}

/* The message of this round goes out; c->then follows its answer. */
static void begin_exchange(struct call *c)
{
    struct ah_mcp *m = c->m;
    struct ah_buf body;
    struct ah_json params = {0};
    ah_err_drop(&c->err);
    ah_buf_clear(&c->pub.text);
    c->pub.result = (struct ah_json){0};
    c->answered = false;
    c->modern = m->era == AH_MCP_MODERN;
    c->last_id[0] = '\0';
    c->resumes = c->status = 0;
    c->sent = false;
    c->id = c->notify ? 0 : ++m->next_id;
    c->busy = true;
    if (!c->listed)
        list_call(c);
    if (c->params)
        ah_json_check(c->params, strlen(c->params), 0, &params, NULL);
    struct ah_mcpwire_request r = {.id = c->id,
                                   .method = c->method,
                                   .params = params,
                                   .more = c->more.n ? c->more.p : NULL,
                                   .modern = c->modern,
                                   .forms = m->forms};
    ah_buf_init(&body, MESSAGE_BYTES);
    struct ah_error err = {0};
    if (m->dead) {
        ah_err_copy(&c->err, &m->death);
        end_exchange(c);
    } else if (ah_mcpwire_put_request(&body, &r) != 0 ||
               ah_timer_start(m->core->loop, &c->deadline, c->timeout_ms, on_deadline, c) != 0) {
        fail_exchange(c, AH_MEMORY, "out of memory");
    } else if (!m->child) {
        post_exchange(c, &body);
    } else if (ah_child_send(m->child, body.p, body.n, &err) != 0) {
        ah_err_move(&c->err, &err);
        end_exchange(c);
    } else {
        c->sent = true;
        if (c->notify)
            end_exchange(c);
    }
    ah_buf_drop(&body);
}

static void set_request(struct call *c, const char *method, const char *params, bool notify)
{
    free(c->method);
    free(c->params);
    c->method = strdup(method);
    c->params = copy_text(params);
    c->notify = notify;
    if (!c->method || (params && !c->params)) {
        c->method = c->method ? c->method : strdup("request");
        fail_exchange(c, AH_MEMORY, "out of memory");
        return;
    }
    begin_exchange(c);
}

/* --- the handshake -------------------------------------------------------------------------------------------- */

static void keep_server(struct call *c)
{
    struct ah_mcp *m = c->m;
    ah_buf_clear(&m->server_text);
    ah_buf_add(&m->server_text, c->pub.result.p, c->pub.result.n);
    if (m->server_text.failed ||
        ah_json_check(ah_buf_str(&m->server_text), m->server_text.n, 0, &m->server, NULL) != 0)
        m->server = (struct ah_json){0};
}

/* Those who waited for it go on, or fail with it. */
static void end_connect(struct call *c)
{
    struct ah_mcp *m = ref_client(c->m);
    struct ah_error why = {0};
    ah_err_move(&why, &c->err);
    m->ready = why.kind == AH_NONE;
    m->handshake = NULL;
    for (struct call *one = m->calls.next, *next; one != &m->calls; one = next) {
        next = one->next;
        if (!one->held)
            continue;
        one->held = false;
        ah_err_copy(&one->err, &why);
        if (one->only_connect || !m->ready)
            end_exchange(one);
        else
            begin_exchange(one);
    }
    finish_call(c, &why);
    ah_op_unref(&c->pub.op);
    unref_client(m);
}

static void on_greeted(struct call *c)
{
    struct ah_mcp *m = c->m;
    if (c->err.kind == AH_NONE && !m->child && !m->post_url)
        open_standing(m);
    end_connect(c);
}

static void on_initialized(struct call *c);

static void begin_legacy(struct call *c)
{
    struct ah_buf hello;
    struct ah_mcp *m = c->m;
    m->era = AH_MCP_LEGACY;
    m->session[0] = m->version[0] = m->standing_id[0] = '\0';
    c->timeout_ms = m->timeout_ms;
    ah_timer_stop(&m->standing_wait); /* of a session that is gone */
    drop_aside(&m->standing);
    ah_buf_init(&hello, 4096);
    ah_mcpwire_put_hello(&hello, m->forms);
    c->then = on_initialized;
    set_request(c, "initialize", ah_buf_str(&hello), false);
    ah_buf_drop(&hello);
}

static void on_initialized(struct call *c)
{
    struct ah_mcp *m = c->m;
    if (c->err.kind != AH_NONE) {
        bool old =
            !m->child && !m->asked_endpoint && (c->status == 400 || c->status == 404 || c->status == 405);
        if (!old) {
            end_connect(c);
            return;
        }
        ah_err_drop(&c->err); /* 2024-11-05: a stream says where to post */
        c->busy = true;
        m->waits_endpoint = c;
        m->asked_endpoint = true;
        if (ah_timer_start(m->core->loop, &c->deadline, c->timeout_ms, on_deadline, c) != 0)
            fail_exchange(c, AH_MEMORY, "out of memory");
        else
            open_standing(m);
        return;
    }
    struct ah_json version = ah_json_get(c->pub.result, "protocolVersion");
    char text[sizeof m->version];
    ah_json_copy(version, text, sizeof text);
    if (!ah_mcpwire_knows(version)) {
        ah_err_set(&c->err, AH_PROTOCOL,
                   "the MCP server speaks version '%s' of the protocol, which is not known here", text);
        end_connect(c);
        return;
    }
    memcpy(m->version, text, sizeof text); /* it goes into headers */
    keep_server(c);
    c->then = on_greeted;
    set_request(c, "notifications/initialized", NULL, true);
}

/* A version that was refused although the server takes it: once more. */
static bool ask_again(struct call *c)
{
    if (!c->modern || c->renewed || !ah_mcpwire_takes_modern(error_of(&c->pub.text)))
        return false;
    c->renewed = true;
    begin_exchange(c);
    return true;
}

/* The answer to server/discover, or a refusal that says which era this is. */
static void on_discovered(struct call *c)
{
    struct ah_mcp *m = c->m;
    if (c->err.kind == AH_NONE) {
        keep_server(c);
        end_connect(c);
        return;
    }
    struct ah_json error = error_of(&c->pub.text);
    if (ask_again(c))
        return;
    bool spoke = c->status >= 400 || c->answered || (m->child && c->err.kind == AH_TIMEOUT);
    if (m->era_given || !spoke || c->err.kind == AH_AUTH || ah_mcpwire_is_modern_code(error)) {
        end_connect(c);
        return;
    }
    ah_err_drop(&c->err);
    begin_legacy(c);
}

static void begin_connect(struct call *c)
{
    struct ah_mcp *m = c->m;
    if (m->era == AH_MCP_LEGACY) {
        begin_legacy(c);
        return;
    }
    m->era = AH_MCP_MODERN;
    c->then = on_discovered;
    if (m->child && c->timeout_ms > PROBE_MS && !m->era_given)
        c->timeout_ms = PROBE_MS;
    set_request(c, "server/discover", NULL, false);
}

static int start_server(struct ah_mcp *m, struct ah_error *err);

/* c goes on when the server is known. */
static void hold_for_server(struct call *c)
{
    struct ah_mcp *m = c->m;
    struct ah_error err = {0};
    c->held = c->busy = true;
    if (!c->listed)
        list_call(c);
    if (m->handshake)
        return;
    m->handshake = start_server(m, &err) == 0 ? new_call(m, "server/discover", &err) : NULL;
    if (m->handshake) {
        list_call(m->handshake);
        begin_connect(m->handshake);
        return;
    }
    c->held = false;
    ah_err_move(&c->err, &err);
    end_exchange(c);
}

static void on_connected(struct call *c)
{
    struct ah_error err = {0};
    ah_err_move(&err, &c->err);
    finish_call(c, &err);
}

struct ah_mcp_op *ah_mcp_connect(struct ah_mcp *m, struct ah_error *err)
{
    struct call *c = new_call(m, "connect", err);
    if (!c)
        return NULL;
    c->then = on_connected;
    c->only_connect = true;
    if (m->ready) {
        list_call(c);
        end_exchange(c);
    } else {
        hold_for_server(c);
    }
    return &c->pub;
}

/* --- requests ---------------------------------------------------------------------------------------------------- */

/* The session is gone, and the server refused before it ran anything: a new one, and once again. */
static bool renew_session(struct call *c)
{
    struct ah_mcp *m = c->m;
    if (c->modern || !m->session[0] || c->renewed || (c->status < 400 && !c->answered) ||
        !ah_mcpwire_is_session_lost(c->status, error_of(&c->pub.text)))
        return false;
    c->renewed = true;
    ah_err_drop(&c->err);
    m->ready = false;
    hold_for_server(c);
    return true;
}

/* More input is asked for: the call is made again with it. -1: err. */
static int begin_round(struct call *c, struct ah_error *err)
{
    struct ah_buf more;
    ah_buf_init(&more, MESSAGE_BYTES);
    if (++c->rounds > ROUNDS_MAX || ah_mcpwire_put_inputs(&more, c->pub.result, c->m->forms) != 0) {
        ah_buf_drop(&more);
        return ah_err_set(err, AH_PROTOCOL,
                          "the MCP server asked for more input %d times; it cannot be satisfied", c->rounds);
    }
    ah_buf_drop(&c->more);
    c->more = more;
    begin_exchange(c);
    return 0;
}

static void on_answered(struct call *c)
{
    struct ah_error err = {0};
    if (c->err.kind != AH_NONE) {
        if (renew_session(c) || ask_again(c))
            return;
        ah_err_move(&err, &c->err);
    } else if (c->modern && ah_json_is(ah_json_get(c->pub.result, "resultType"), "input_required") &&
               begin_round(c, &err) == 0) {
        return;
    }
    finish_call(c, &err);
}

/* What an earlier process of the run was answered: nothing is sent. */
static bool take_earlier(struct call *c)
{
    const struct ah_effect_answer *earlier = ah_effect_answer(c->effect);
    struct ah_json v;
    if (!earlier)
        return false;
    c->status = earlier->status;
    ah_err_copy(&c->err, &earlier->err);
    if (earlier->body && ah_buf_add(&c->pub.text, earlier->body, earlier->n) == 0 &&
        ah_json_check(c->pub.text.p, c->pub.text.n, 0, &v, NULL) == 0)
        c->pub.result = ah_json_get(v, "result");
    return true;
}

static int fill_call(struct call *c, const struct ah_mcp_req *req, struct ah_error *err)
{
    c->params = copy_text(req->params);
    c->name = copy_text(req->name);
    c->schema = copy_text(req->schema);
    c->notify = req->notify;
    c->effect_class = req->effect;
    c->then = on_answered;
    if (req->timeout_ms > 0)
        c->timeout_ms = req->timeout_ms;
    if ((req->params && !c->params) || (req->name && !c->name) || (req->schema && !c->schema))
        return ah_err_set(err, AH_MEMORY, "out of memory");
    if (!req->run)
        return 0;
    char what[300];
    snprintf(what, sizeof what, "%s%s%s", req->method, req->name ? " " : "", req->name ? req->name : "");
    c->effect = ah_effect_begin(req->run, req->span, req->effect, req->call, "mcp", what,
                                req->params ? req->params : "{}", req->params ? strlen(req->params) : 2, err);
    return c->effect || err->kind == AH_NONE ? 0 : -1;
}

struct ah_mcp_op *ah_mcp_request(struct ah_mcp *m, const struct ah_mcp_req *req, struct ah_error *err)
{
    if (m->closed) {
        ah_err_set(err, AH_INVALID, "the MCP client is closed");
        return NULL;
    }
    struct call *c = new_call(m, req->method, err);
    if (!c)
        return NULL;
    if (fill_call(c, req, err) != 0) {
        struct ah_error why = {0};
        ah_err_copy(&why, err);
        finish_call(c, &why);
        ah_op_unref(&c->pub.op);
        return NULL;
    }
    if (take_earlier(c)) {
        list_call(c);
        end_exchange(c);
    } else if (m->ready) {
        begin_exchange(c);
    } else {
        hold_for_server(c);
    }
    return &c->pub;
}

/* --- the client ---------------------------------------------------------------------------------------------------- */

static void on_line(void *arg, const char *line, size_t n)
{
    take_message(arg, NULL, line, n);
}

static void on_child_end(void *arg, const struct ah_error *why)
{
    struct ah_mcp *m = arg;
    m->dead = true;
    ah_err_set(&m->death, AH_IO, "the MCP server: %s", why->message);
    fail_all(m);
}

static int copy_headers(struct ah_mcp *m, const struct ah_mcp_opts *opts)
{
    size_t size = 1;
    for (size_t i = 0; i < opts->header_count; i++)
        size += strlen(opts->headers[i].name) + strlen(opts->headers[i].value) + 2;
    m->header_size = size;
    m->header_text = calloc(1, size);
    if (!m->header_text)
        return -1;
    char *at = m->header_text;
    for (size_t i = 0; i < opts->header_count && i < HEADERS_MAX / 2; i++) {
        m->headers[i].name = at;
        at = stpcpy(at, opts->headers[i].name) + 1;
        m->headers[i].value = at;
        at = stpcpy(at, opts->headers[i].value) + 1;
        m->header_count++;
    }
    return 0;
}

/* NULL-terminated, in one block; NULL: none, or no memory. */
static char **copy_list(const char *const *list)
{
    size_t n = 0, size = 0;
    for (; list && list[n]; n++)
        size += strlen(list[n]) + 1;
    char **copy = list ? malloc((n + 1) * sizeof *copy + size) : NULL;
    if (!copy)
        return NULL;
    char *at = (char *)(copy + n + 1);
    for (size_t i = 0; i < n; i++) {
        copy[i] = at;
        at = stpcpy(at, list[i]) + 1;
    }
    copy[n] = NULL;
    return copy;
}

static int set_up(struct ah_mcp *m, const struct ah_mcp_opts *opts, struct ah_error *err)
{
    struct ah_url url;
    m->url = copy_text(opts->url);
    m->argv = copy_list(opts->argv);
    m->env = copy_list(opts->env);
    m->dir = copy_text(opts->dir);
    if (copy_headers(m, opts) != 0 || (opts->url && !m->url) || (opts->argv && !m->argv) ||
        (opts->env && !m->env) || (opts->dir && !m->dir))
        return ah_err_set(err, AH_MEMORY, "out of memory");
    return m->url ? ah_url_parse(m->url, strlen(m->url), &url, err) : 0;
}

/* The program, when it is one. It is started once: what ended stays ended. */
static int start_server(struct ah_mcp *m, struct ah_error *err)
{
    if (m->dead)
        return ah_err_copy(err, &m->death), -1;
    if (m->url || m->child)
        return 0;
    struct ah_child_opts child = {.argv = (const char *const *)(uintptr_t)m->argv,
                                  .env = (const char *const *)(uintptr_t)m->env,
                                  .dir = m->dir,
                                  .log = m->core->log,
                                  .on_line = on_line,
                                  .on_end = on_child_end,
                                  .arg = m};
    m->child = ah_child_start(m->core->loop, &child, err);
    return m->child ? 0 : -1;
}

struct ah_mcp *ah_mcp_new(struct ah_core *core, const struct ah_mcp_opts *opts, struct ah_error *err)
{
    struct ah_mcp *m = calloc(1, sizeof *m);
    if (!m) {
        ah_err_set(err, AH_MEMORY, "out of memory");
        return NULL;
    }
    m->refs = 1;
    m->core = core;
    m->era = opts->era;
    m->era_given = opts->era != AH_MCP_UNKNOWN;
    m->forms = opts->forms;
    m->timeout_ms = opts->timeout_ms > 0 ? opts->timeout_ms : AH_MCP_TIMEOUT_MS;
    m->calls.next = m->calls.prev = &m->calls;
    ah_buf_init(&m->server_text, MESSAGE_BYTES);
    if (set_up(m, opts, err) == 0)
        return m;
    unref_client(m);
    return NULL;
}

void ah_mcp_drop(struct ah_mcp *m)
{
    if (!m)
        return;
    struct call *handshake = m->handshake;
    m->closed = true;
    m->handshake = NULL;
    while (m->calls.next != &m->calls)
        ah_op_cancel(&m->calls.next->pub.op);
    if (handshake)
        ah_op_unref(&handshake->pub.op);
    unref_client(m);
}

static struct ah_mcp *ref_client(struct ah_mcp *m)
{
    m->refs++;
    return m;
}

/* The last one ends the program and all streams. */
static void unref_client(struct ah_mcp *m)
{
    if (--m->refs > 0)
        return;
    ah_timer_stop(&m->standing_wait);
    drop_aside(&m->standing);
    for (int i = 0; i < ASIDE_MAX; i++)
        drop_aside(&m->asides[i]);
    ah_child_free(m->child);
    ah_sse_drop(&m->standing_sse);
    ah_buf_drop(&m->server_text);
    ah_err_drop(&m->death);
    if (m->header_text) /* it held the key */
        explicit_bzero(m->header_text, m->header_size);
    free(m->header_text);
    free(m->url);
    free(m->post_url);
    free(m->argv);
    free(m->env);
    free(m->dir);
    free(m);
}

struct ah_json ah_mcp_server(const struct ah_mcp *m)
{
    return m->server;
}

enum ah_mcp_era ah_mcp_era(const struct ah_mcp *m)
{
    return m->era;
}

bool ah_mcp_changed(struct ah_mcp *m)
{
    bool changed = m->changed;
    m->changed = false;
    return changed;
}

/* --- the end --------------------------------------------------------------------------------------------------------- */

static void on_closed(struct call *c)
{
    ah_err_drop(&c->err); /* a session that could not be ended ends by itself */
    finish_call(c, NULL);
}

static void on_close_tick(struct ah_timer *t)
{
    struct call *c = t->arg;
    if (ah_child_ended(c->m->child) || ++c->rounds > CLOSE_MS / 20 ||
        ah_timer_start(c->m->core->loop, &c->wait, 20, on_close_tick, c) != 0)
        end_exchange(c);
}

static void delete_session(struct call *c)
{
    struct headers h = {0};
    ah_buf_init(&h.text, (size_t)1 << 20);
    add_protocol(&h, c->m, false);
    struct ah_http_req req = {.method = "DELETE",
                              .url = c->m->url,
                              .headers = h.list,
                              .header_count = end_headers(&h, c->m),
                              .total_ms = CLOSE_MS,
                              .retry = {.max = -1}};
    start_http(c, &req);
    ah_buf_drop(&h.text);
}

struct ah_mcp_op *ah_mcp_close(struct ah_mcp *m, struct ah_error *err)
{
    struct call *c = new_call(m, "close", err);
    if (!c)
        return NULL;
    c->then = on_closed;
    c->busy = true;
    list_call(c);
    ah_timer_stop(&m->standing_wait);
    bool was_closed = m->closed;
    m->closed = true;
    drop_aside(&m->standing);
    if (m->child && !was_closed) {
        ah_child_close(m->child);
        if (ah_timer_start(m->core->loop, &c->wait, 1, on_close_tick, c) != 0)
            end_exchange(c);
    } else if (m->session[0] && !was_closed) {
        delete_session(c);
    } else {
        end_exchange(c);
    }
    return &c->pub;
}
