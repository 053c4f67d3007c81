/* An MCP client's exchanges over HTTP: headers, the POST, its stream and what takes a broken one's place; messages whose
 * answer nobody waits for. Called by mcp*.c. Must never post again: a stream that broke is only resumed. */
#include "mcp_call.h"

#include <stdio.h>
#include <string.h>

#define RESUMES_MAX 50

/* --- exchanges ------------------------------------------------------------------------------------------- */

void ah_mcp_http_headers(struct ah_mcp_headers *h)
{
    h->n = 0;
    ah_buf_init(&h->text, (size_t)1 << 20);
}

int ah_mcp_http_add(void *arg, const char *name, const char *value)
{
    struct ah_mcp_headers *h = arg;
    if (h->n >= AH_MCP_HEADERS_MAX)
        return -1;
    h->at[h->n] = h->text.n;
    h->n++;
    return ah_buf_add(&h->text, name, strlen(name) + 1) != 0 ||
                   ah_buf_add(&h->text, value, strlen(value) + 1) != 0
               ? -1
               : 0;
}

/* The made ones are texts in a buffer that grew: their places become pointers at the end. */
size_t ah_mcp_http_end(struct ah_mcp_headers *h, const struct ah_mcp *m)
{
    for (size_t i = 0; i < h->n; i++) {
        const char *name = h->text.p + h->at[i];
        h->list[i] = (struct ah_http_header){name, name + strlen(name) + 1};
    }
    for (size_t i = 0; i < m->header_count && h->n < AH_MCP_HEADERS_MAX; i++)
        h->list[h->n++] = m->headers[i];
    return h->n;
}

void ah_mcp_http_protocol(struct ah_mcp_headers *h, const struct ah_mcp *m, bool modern)
{
    if (modern)
        ah_mcp_http_add(h, "MCP-Protocol-Version", AH_MCP_MODERN_VERSION);
    else if (m->version[0])
        ah_mcp_http_add(h, "MCP-Protocol-Version", m->version);
    if (!modern && m->session[0])
        ah_mcp_http_add(h, "Mcp-Session-Id", m->session);
}

/* What a modern request says of itself in headers. -1: err. */
static int add_modern(struct ah_mcp_headers *h, struct ah_mcp_call *c, struct ah_error *err)
{
    struct ah_buf name;
    ah_mcp_http_add(h, "Mcp-Method", c->method);
    if (c->name) {
        ah_buf_init(&name, 16384);
        ah_mcpwire_put_header(&name, c->name, strlen(c->name));
        ah_mcp_http_add(h, "Mcp-Name", ah_buf_str(&name));
        ah_buf_drop(&name);
    }
    struct ah_json schema = {0}, params = {0};
    if (!c->schema || !c->params)
        return 0;
    ah_json_check(c->schema, strlen(c->schema), 0, &schema, NULL);
    ah_json_check(c->params, strlen(c->params), 0, &params, NULL);
    return ah_mcpwire_headers(schema, ah_json_get(params, "arguments"), ah_mcp_http_add, h, err);
}

static int on_event(void *arg, const struct ah_sse_event *ev)
{
    struct ah_mcp_call *c = arg;
    if (ev->n > 0)
        ah_mcp_call_take(c->m, c, ev->data, ev->n);
    return 0;
}

bool ah_mcp_http_is_stream(const struct ah_http_res *res)
{
    char type[128];
    ah_http_header(res, "content-type", type, sizeof type);
    return strncasecmp(type, "text/event-stream", 17) == 0;
}

void ah_mcp_http_keep_id(const struct ah_sse *sse, char *out, size_t size)
{
    if (sse->id)
        snprintf(out, size, "%s", sse->id);
}

static void keep_session(struct ah_mcp_call *c, const struct ah_http_res *res)
{
    struct ah_mcp *m = c->m;
    if (res->status >= 200 && res->status < 300 && strcmp(c->method, "initialize") == 0)
        ah_http_header(res, "mcp-session-id", m->session, sizeof m->session);
}

static int on_data(void *arg, const char *p, size_t n, struct ah_error *err)
{
    struct ah_mcp_call *c = arg;
    if (!c->began) {
        c->began = true;
        c->status = c->http->res.status;
        c->streamed = ah_mcp_http_is_stream(&c->http->res);
        keep_session(c, &c->http->res);
    }
    if (!c->streamed)
        return ah_buf_add(&c->body, p, n) == 0
                   ? 0
                   : ah_err_set(err, AH_LIMIT, "the MCP server's answer is too long");
    int rc = ah_sse_feed(&c->sse, p, n, err);
    ah_mcp_http_keep_id(&c->sse, c->last_id, sizeof c->last_id);
    if (c->sse.retry_ms >= 0)
        c->retry_ms = c->sse.retry_ms;
    return rc != 0 || c->answered ? -1 : 0; /* the rest of the stream is nobody's */
}

static void on_http_done(struct ah_op *op, void *arg);

static void start_http(struct ah_mcp_call *c, const struct ah_http_req *req)
{
    struct ah_error err = {0};
    c->began = c->streamed = false;
    ah_sse_drop(&c->sse);
    ah_sse_init(&c->sse, on_event, c);
    ah_buf_drop(&c->body);
    ah_buf_init(&c->body, AH_MCP_MESSAGE_BYTES);
    c->http = ah_http_send(c->m->core->http, req, &err);
    if (c->http) {
        c->sent = true;
        ah_op_wait(&c->http->op, on_http_done, c);
        return;
    }
    ah_err_move(&c->err, &err);
    ah_mcp_call_end(c);
}

/* The deadline is ours: libcurl's limits only end what we forgot. */
static struct ah_http_req exchange_request(struct ah_mcp_call *c, const char *method, const char *url,
                                           struct ah_mcp_headers *h)
{
    int64_t ms = c->timeout_ms + AH_MCP_RETRY_MAX_MS;
    return (struct ah_http_req){.method = method,
                                .url = url,
                                .headers = h->list,
                                .header_count = ah_mcp_http_end(h, c->m),
                                .stream = true,
                                .refuse_redirects = true,
                                .total_ms = ms,
                                .first_byte_ms = ms,
                                .idle_ms = ms,
                                .retry = {.max = -1},
                                .on_data = on_data,
                                .arg = c};
}

void ah_mcp_http_post(struct ah_mcp_call *c, const struct ah_buf *body)
{
    struct ah_mcp *m = c->m;
    struct ah_mcp_headers h;
    struct ah_error err = {0};
    ah_mcp_http_headers(&h);
    ah_mcp_http_add(&h, "Content-Type", "application/json");
    ah_mcp_http_add(&h, "Accept", "application/json, text/event-stream");
    ah_mcp_http_protocol(&h, m, c->modern);
    if (c->modern && add_modern(&h, c, &err) != 0) {
        ah_err_move(&c->err, &err);
        ah_buf_drop(&h.text);
        ah_mcp_call_end(c);
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
    struct ah_mcp_call *c = t->arg;
    struct ah_mcp_headers h;
    ah_mcp_http_headers(&h);
    ah_mcp_http_add(&h, "Accept", "text/event-stream");
    ah_mcp_http_protocol(&h, c->m, false);
    if (c->last_id[0])
        ah_mcp_http_add(&h, "Last-Event-ID", c->last_id);
    struct ah_http_req req = exchange_request(c, "GET", c->m->url, &h);
    start_http(c, &req);
    ah_buf_drop(&h.text);
}

static bool resume_exchange(struct ah_mcp_call *c)
{
    if (c->modern || !c->last_id[0] || ++c->resumes > RESUMES_MAX)
        return false;
    int64_t ms = c->retry_ms > 0 ? c->retry_ms : AH_MCP_RETRY_MS;
    return ah_timer_start(c->m->core->loop, &c->wait, ms < AH_MCP_RETRY_MAX_MS ? ms : AH_MCP_RETRY_MAX_MS,
                          on_resume, c) == 0;
}

/* A status of refusal: the server's own words where it has some. */
static void refuse_exchange(struct ah_mcp_call *c, const struct ah_http_op *http)
{
    struct ah_json error = ah_mcp_call_error(&http->res.body);
    int status = http->res.status;
    ah_err_copy(&c->err, &http->op.err);
    if (ah_mcp_call_may_have_run(c) && (status >= 500 || status == 408) && status != 501) {
        char why[64];
        snprintf(why, sizeof why, "it answered %d", status);
        ah_mcp_call_fail(c, AH_OUTCOME_UNKNOWN, why);
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
    ah_mcp_call_end(c);
}

static void on_http_done(struct ah_op *op, void *arg)
{
    struct ah_mcp_call *c = arg;
    struct ah_http_op *http = (struct ah_http_op *)op;
    c->http = NULL;
    c->status = http->res.status;
    bool good = http->res.status >= 200 && http->res.status < 300;
    if (good && !c->streamed && c->body.n > 0 && !c->answered)
        ah_mcp_call_take(c->m, c, c->body.p, c->body.n);
    if (c->answered || !c->busy) {
        ah_op_unref(op); /* it was told already */
        return;
    }
    if (http->res.status >= 400)
        refuse_exchange(c, http);
    else if (good && c->id == 0)
        ah_mcp_call_end(c);
    else if (good && c->m->post_url && op->err.kind == AH_NONE)
        (void)0; /* the oldest era: the answer comes on the standing stream */
    else if (!((good || op->err.kind == AH_TRUNCATED || op->err.kind == AH_NETWORK ||
                op->err.kind == AH_OUTCOME_UNKNOWN) &&
               resume_exchange(c))) {
        if (op->err.kind == AH_NONE || op->err.kind == AH_CANCELLED) {
            ah_mcp_call_fail(c, AH_TRUNCATED, "the answer ended before it came");
        } else {
            ah_err_copy(&c->err, &op->err);
            ah_mcp_call_end(c);
        }
    }
    ah_op_unref(op);
}

void ah_mcp_http_delete(struct ah_mcp_call *c)
{
    struct ah_mcp_headers h;
    ah_mcp_http_headers(&h);
    ah_mcp_http_protocol(&h, c->m, false);
    struct ah_http_req req = {.method = "DELETE",
                              .url = c->m->url,
                              .headers = h.list,
                              .header_count = ah_mcp_http_end(&h, c->m),
                              .total_ms = AH_MCP_CLOSE_MS,
                              .retry = {.max = -1}};
    start_http(c, &req);
    ah_buf_drop(&h.text);
}

/* --- asides: what nobody waits for ----------------------------------------------------------------------- */

void ah_mcp_http_drop(struct ah_mcp_aside *a)
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
    struct ah_mcp_aside *a = arg;
    a->http = NULL;
    ah_op_unref(op);
}

void ah_mcp_http_aside(struct ah_mcp *m, const char *method, const struct ah_buf *body)
{
    struct ah_error err = {0};
    if (m->child) {
        if (ah_child_send(m->child, ah_buf_str(body), body->n, &err) != 0)
            ah_err_drop(&err);
        return;
    }
    struct ah_mcp_aside *a = NULL;
    for (int i = 0; i < AH_MCP_ASIDE_MAX && !a; i++)
        if (!m->asides[i].http)
            a = &m->asides[i];
    if (!a)
        return; /* the server asks faster than it takes answers */
    struct ah_mcp_headers h;
    ah_mcp_http_headers(&h);
    ah_mcp_http_add(&h, "Content-Type", "application/json");
    ah_mcp_http_add(&h, "Accept", "application/json, text/event-stream");
    bool modern = m->era == AH_MCP_MODERN;
    ah_mcp_http_protocol(&h, m, modern);
    if (modern && method)
        ah_mcp_http_add(&h, "Mcp-Method", method);
    struct ah_http_req req = {.method = "POST",
                              .url = m->post_url ? m->post_url : m->url,
                              .headers = h.list,
                              .header_count = ah_mcp_http_end(&h, m),
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
