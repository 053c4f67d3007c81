/* The MCP client: a server's settings and program, requests and what follows their answers, the end. Called by lua_mcp.c.
 * Must never post a call again whose stream broke: it may have run. */
#include "mcp_call.h"

#include "url.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS_MAX 10 /* of a call that asks for more input */

/* --- requests -------------------------------------------------------------------------------------------- */

/* The session is gone, and the server refused before it ran anything: a new one, and once again. */
static bool renew_session(struct ah_mcp_call *c)
{
    struct ah_mcp *m = c->m;
    if (c->modern || !m->session[0] || c->renewed || (c->status < 400 && !c->answered) ||
        !ah_mcpwire_is_session_lost(c->status, ah_mcp_call_error(&c->pub.text)))
        return false;
    c->renewed = true;
    ah_err_drop(&c->err);
    m->ready = false;
    ah_mcp_connect_hold(c);
    return true;
}

/* More input is asked for: the call is made again with it. -1: err. */
static int begin_round(struct ah_mcp_call *c, struct ah_error *err)
{
    struct ah_buf more;
    ah_buf_init(&more, AH_MCP_MESSAGE_BYTES);
    if (++c->rounds > ROUNDS_MAX || ah_mcpwire_put_inputs(&more, c->pub.result, c->m->forms) != 0) {
        ah_buf_drop(&more);
        return ah_err_set(err, AH_PROTOCOL,
                          "the MCP server asked for more input %d times; it cannot be satisfied", c->rounds);
    }
    ah_buf_drop(&c->more);
    c->more = more;
    ah_mcp_call_begin(c);
    return 0;
}

static void on_answered(struct ah_mcp_call *c)
{
    struct ah_error err = {0};
    if (c->err.kind != AH_NONE) {
        if (renew_session(c) || ah_mcp_connect_ask_again(c))
            return;
        ah_err_move(&err, &c->err);
    } else if (c->modern && ah_json_is(ah_json_get(c->pub.result, "resultType"), "input_required") &&
               begin_round(c, &err) == 0) {
        return;
    }
    ah_mcp_call_finish(c, &err);
}

/* What an earlier process of the run was answered: nothing is sent. */
static bool take_earlier(struct ah_mcp_call *c)
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

static int fill_call(struct ah_mcp_call *c, const struct ah_mcp_req *req, struct ah_error *err)
{
    c->params = ah_mcp_call_copy(req->params);
    c->name = ah_mcp_call_copy(req->name);
    c->schema = ah_mcp_call_copy(req->schema);
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
    struct ah_mcp_call *c = ah_mcp_call_new(m, req->method, err);
    if (!c)
        return NULL;
    if (fill_call(c, req, err) != 0) {
        struct ah_error why = {0};
        ah_err_copy(&why, err);
        ah_mcp_call_finish(c, &why);
        ah_op_unref(&c->pub.op);
        return NULL;
    }
    if (take_earlier(c)) {
        ah_mcp_call_list(c);
        ah_mcp_call_end(c);
    } else if (m->ready) {
        ah_mcp_call_begin(c);
    } else {
        ah_mcp_connect_hold(c);
    }
    return &c->pub;
}

/* --- the client ------------------------------------------------------------------------------------------ */

static void on_line(void *arg, const char *line, size_t n)
{
    ah_mcp_call_take(arg, NULL, line, n);
}

static void on_child_end(void *arg, const struct ah_error *why)
{
    struct ah_mcp *m = arg;
    m->dead = true;
    ah_err_set(&m->death, AH_IO, "the MCP server: %s", why->message);
    ah_mcp_call_fail_all(m);
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
    for (size_t i = 0; i < opts->header_count && i < AH_MCP_HEADERS_MAX / 2; i++) {
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
    m->url = ah_mcp_call_copy(opts->url);
    m->argv = copy_list(opts->argv);
    m->env = copy_list(opts->env);
    m->dir = ah_mcp_call_copy(opts->dir);
    if (copy_headers(m, opts) != 0 || (opts->url && !m->url) || (opts->argv && !m->argv) ||
        (opts->env && !m->env) || (opts->dir && !m->dir))
        return ah_err_set(err, AH_MEMORY, "out of memory");
    return m->url ? ah_url_parse(m->url, strlen(m->url), &url, err) : 0;
}

int ah_mcp_start(struct ah_mcp *m, struct ah_error *err)
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
    ah_buf_init(&m->server_text, AH_MCP_MESSAGE_BYTES);
    if (set_up(m, opts, err) == 0)
        return m;
    ah_mcp_unref(m);
    return NULL;
}

void ah_mcp_drop(struct ah_mcp *m)
{
    if (!m)
        return;
    struct ah_mcp_call *handshake = m->handshake;
    m->closed = true;
    m->handshake = NULL;
    while (m->calls.next != &m->calls)
        ah_op_cancel(&m->calls.next->pub.op);
    if (handshake)
        ah_op_unref(&handshake->pub.op);
    ah_mcp_unref(m);
}

struct ah_mcp *ah_mcp_ref(struct ah_mcp *m)
{
    m->refs++;
    return m;
}

void ah_mcp_unref(struct ah_mcp *m)
{
    if (--m->refs > 0)
        return;
    ah_mcp_standing_stop(m);
    for (int i = 0; i < AH_MCP_ASIDE_MAX; i++)
        ah_mcp_http_drop(&m->asides[i]);
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

/* --- the end --------------------------------------------------------------------------------------------- */

static void on_closed(struct ah_mcp_call *c)
{
    ah_err_drop(&c->err); /* a session that could not be ended ends by itself */
    ah_mcp_call_finish(c, NULL);
}

static void on_close_tick(struct ah_timer *t)
{
    struct ah_mcp_call *c = t->arg;
    if (ah_child_ended(c->m->child) || ++c->rounds > AH_MCP_CLOSE_MS / 20 ||
        ah_timer_start(c->m->core->loop, &c->wait, 20, on_close_tick, c) != 0)
        ah_mcp_call_end(c);
}

struct ah_mcp_op *ah_mcp_close(struct ah_mcp *m, struct ah_error *err)
{
    struct ah_mcp_call *c = ah_mcp_call_new(m, "close", err);
    if (!c)
        return NULL;
    c->then = on_closed;
    c->busy = true;
    ah_mcp_call_list(c);
    bool was_closed = m->closed;
    m->closed = true;
    ah_mcp_standing_stop(m);
    if (m->child && !was_closed) {
        ah_child_close(m->child);
        if (ah_timer_start(m->core->loop, &c->wait, 1, on_close_tick, c) != 0)
            ah_mcp_call_end(c);
    } else if (m->session[0] && !was_closed) {
        ah_mcp_http_delete(c);
    } else {
        ah_mcp_call_end(c);
    }
    return &c->pub;
}
