/* Calls of an MCP client: their list, one exchange of a call, and the messages that answer it, whichever way they come.
 * Called by the other files of the client. Must never end a call whose effect may have run as if it had not. */
#include "mcp_call.h"

#include "log.h"
#include "secret.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- calls ----------------------------------------------------------------------------------------------- */

char *ah_mcp_call_copy(const char *s)
{
    return s ? strdup(s) : NULL;
}

void ah_mcp_call_list(struct ah_mcp_call *c)
{
    if (c->listed)
        return;
    c->next = &c->m->calls;
    c->prev = c->m->calls.prev;
    c->prev->next = c;
    c->m->calls.prev = c;
    c->listed = true;
}

static void unlist_call(struct ah_mcp_call *c)
{
    if (!c->listed)
        return;
    c->prev->next = c->next;
    c->next->prev = c->prev;
    c->listed = false;
}

static void stop_exchange(struct ah_mcp_call *c)
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

void ah_mcp_call_finish(struct ah_mcp_call *c, struct ah_error *err)
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

bool ah_mcp_call_may_have_run(const struct ah_mcp_call *c)
{
    return c->effect_class == AH_EFFECT_UNSAFE && c->effect && c->sent;
}

static void cancel_call(struct ah_op *op)
{
    struct ah_mcp_call *c = (struct ah_mcp_call *)op;
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
            ah_mcp_http_aside(m, r.method, &note);
        ah_buf_drop(&note);
    }
    struct ah_error err = {0};
    if (ah_mcp_call_may_have_run(c))
        ah_err_set(
            &err, AH_OUTCOME_UNKNOWN,
            "%s was cancelled after it had been sent to the MCP server; it may have run all the same, so "
            "look before you run it again",
            c->name ? c->name : c->method);
    ah_mcp_call_finish(c, &err);
}

static void free_call(struct ah_op *op)
{
    struct ah_mcp_call *c = (struct ah_mcp_call *)op;
    ah_buf_drop(&c->pub.text);
    ah_buf_drop(&c->more);
    ah_err_drop(&c->err);
    free(c->method);
    free(c->params);
    free(c->name);
    free(c->schema);
    ah_mcp_unref(c->m);
    free(c);
}

static const struct ah_op_class call_class = {"the MCP request", cancel_call, free_call};

static void on_step(struct ah_ready *r)
{
    struct ah_mcp_call *c = (struct ah_mcp_call *)(void *)((char *)r - offsetof(struct ah_mcp_call, ready));
    stop_exchange(c);
    c->then(c);
}

struct ah_mcp_call *ah_mcp_call_new(struct ah_mcp *m, const char *method, struct ah_error *err)
{
    struct ah_mcp_call *c = calloc(1, sizeof *c);
    if (c)
        c->method = ah_mcp_call_copy(method);
    if (!c || !c->method) {
        free(c);
        ah_err_set(err, AH_MEMORY, "out of memory");
        return NULL;
    }
    ah_op_init(&c->pub.op, &call_class, m->core->loop);
    ah_buf_init(&c->pub.text, AH_MCP_MESSAGE_BYTES);
    ah_buf_init(&c->more, AH_MCP_MESSAGE_BYTES);
    c->m = ah_mcp_ref(m);
    c->ready.run = on_step;
    c->timeout_ms = m->timeout_ms;
    return c;
}

void ah_mcp_call_end(struct ah_mcp_call *c)
{
    c->busy = false;
    ah_loop_ready(c->m->core->loop, &c->ready);
}

void ah_mcp_call_fail(struct ah_mcp_call *c, enum ah_kind kind, const char *why)
{
    ah_err_drop(&c->err);
    if (ah_mcp_call_may_have_run(c) && kind != AH_CANCELLED)
        ah_err_set(&c->err, AH_OUTCOME_UNKNOWN,
                   "%s was sent to the MCP server, and %s; it may have run all the same, so look before you "
                   "run it again",
                   c->name ? c->name : c->method, why);
    else
        ah_err_set(&c->err, kind, "%s: %s", c->method, why);
    ah_mcp_call_end(c);
}

/* --- messages -------------------------------------------------------------------------------------------- */

static void answer_server(struct ah_mcp *m, const struct ah_mcpwire_message *msg)
{
    struct ah_buf out;
    ah_buf_init(&out, AH_MCP_MESSAGE_BYTES);
    if (ah_mcpwire_put_answer(&out, msg->id, msg->method, msg->params, m->forms) == 0)
        ah_mcp_http_aside(m, NULL, &out);
    ah_buf_drop(&out);
}

void ah_mcp_call_fail_all(struct ah_mcp *m)
{
    for (struct ah_mcp_call *c = m->calls.next; c != &m->calls; c = c->next)
        if (c->busy && !c->answered && !c->held)
            ah_mcp_call_fail(c, m->death.kind, m->death.message);
}

static struct ah_mcp_call *find_call(struct ah_mcp *m, int64_t id)
{
    for (struct ah_mcp_call *c = m->calls.next; c != &m->calls; c = c->next)
        if (c->id == id && id > 0 && c->busy && !c->answered)
            return c;
    return NULL;
}

/* The bytes move into the call: its results point there. */
static void take_answer(struct ah_mcp_call *c, const char *p, size_t n)
{
    struct ah_json v;
    struct ah_mcpwire_message msg;
    ah_buf_clear(&c->pub.text);
    if (ah_secret_mask(c->m->core->secrets, p, n, &c->pub.text) != 0 ||
        ah_json_check(ah_buf_str(&c->pub.text), c->pub.text.n, 0, &v, NULL) != 0) {
        ah_mcp_call_fail(c, AH_MEMORY, "out of memory");
        return;
    }
    ah_mcpwire_read(v, &msg);
    c->answered = true;
    c->pub.result = msg.result;
    if (msg.result.type == AH_JSON_NONE)
        ah_mcpwire_refusal(c->name ? c->name : c->method, msg.error, &c->err);
    ah_mcp_call_end(c);
}

static void take_value(struct ah_mcp *m, struct ah_mcp_call *origin, struct ah_json v)
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
        struct ah_mcp_call *c = nameless ? origin : find_call(m, ah_mcpwire_id(msg.id));
        if (c && c->busy && !c->answered)
            take_answer(c, v.p, v.n);
    }
}

void ah_mcp_call_take(struct ah_mcp *m, struct ah_mcp_call *origin, const char *p, size_t n)
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

struct ah_json ah_mcp_call_error(const struct ah_buf *body)
{
    struct ah_json v;
    if (ah_json_check(ah_buf_str(body), body->n, 0, &v, NULL) != 0)
        return (struct ah_json){0};
    return ah_json_get(v, "error");
}

/* --- one exchange ---------------------------------------------------------------------------------------- */

static void on_deadline(struct ah_timer *t)
{
    struct ah_mcp_call *c = t->arg;
    if (c->busy && !c->answered)
        ah_mcp_call_fail(c, AH_TIMEOUT, "the MCP server did not answer in time");
}

int ah_mcp_call_limit(struct ah_mcp_call *c)
{
    return ah_timer_start(c->m->core->loop, &c->deadline, c->timeout_ms, on_deadline, c);
}

void ah_mcp_call_begin(struct ah_mcp_call *c)
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
    ah_mcp_call_list(c);
    if (c->params)
        ah_json_check(c->params, strlen(c->params), 0, &params, NULL);
    struct ah_mcpwire_request r = {.id = c->id,
                                   .method = c->method,
                                   .params = params,
                                   .more = c->more.n ? c->more.p : NULL,
                                   .modern = c->modern,
                                   .forms = m->forms};
    ah_buf_init(&body, AH_MCP_MESSAGE_BYTES);
    struct ah_error err = {0};
    if (m->dead) {
        ah_err_copy(&c->err, &m->death);
        ah_mcp_call_end(c);
    } else if (ah_mcpwire_put_request(&body, &r) != 0 || ah_mcp_call_limit(c) != 0) {
        ah_mcp_call_fail(c, AH_MEMORY, "out of memory");
    } else if (!m->child) {
        ah_mcp_http_post(c, &body);
    } else if (ah_child_send(m->child, body.p, body.n, &err) != 0) {
        ah_err_move(&c->err, &err);
        ah_mcp_call_end(c);
    } else {
        c->sent = true;
        if (c->notify)
            ah_mcp_call_end(c);
    }
    ah_buf_drop(&body);
}

void ah_mcp_call_set(struct ah_mcp_call *c, const char *method, const char *params, bool notify)
{
    free(c->method);
    free(c->params);
    c->method = strdup(method);
    c->params = ah_mcp_call_copy(params);
    c->notify = notify;
    if (!c->method || (params && !c->params)) {
        c->method = c->method ? c->method : strdup("request");
        ah_mcp_call_fail(c, AH_MEMORY, "out of memory");
        return;
    }
    ah_mcp_call_begin(c);
}
