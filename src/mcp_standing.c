/* The standing stream: what a legacy MCP server says by itself, and in the oldest era where to post. Called by mcp.c and
 * mcp_connect.c. Must never follow an endpoint to another origin: the requests carry the key. */
#include "mcp_call.h"

#include "url.h"

#include <stdlib.h>
#include <string.h>

#define STANDING_MS ((int64_t)24 * 3600 * 1000)

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
        struct ah_mcp_call *c = m->waits_endpoint;
        m->waits_endpoint = NULL;
        if (c && m->post_url)
            ah_mcp_call_begin(c);
    }
    ah_buf_drop(&full);
}

static int on_standing_event(void *arg, const struct ah_sse_event *ev)
{
    struct ah_mcp *m = arg;
    if (strcmp(ev->name, "endpoint") == 0)
        use_endpoint(m, ev->data);
    else if (ev->n > 0)
        ah_mcp_call_take(m, NULL, ev->data, ev->n);
    return 0;
}

static int on_standing_data(void *arg, const char *p, size_t n, struct ah_error *err)
{
    struct ah_mcp *m = arg;
    if (!ah_mcp_http_is_stream(&m->standing.http->res))
        return -1;
    int rc = ah_sse_feed(&m->standing_sse, p, n, err);
    ah_mcp_http_keep_id(&m->standing_sse, m->standing_id, sizeof m->standing_id);
    return rc;
}

static void on_standing_wait(struct ah_timer *t)
{
    ah_mcp_standing_open(t->arg);
}

static void on_standing_done(struct ah_op *op, void *arg)
{
    struct ah_mcp *m = arg;
    struct ah_http_op *http = (struct ah_http_op *)op;
    m->standing.http = NULL;
    int64_t ms = m->standing_sse.retry_ms > 0 ? m->standing_sse.retry_ms : AH_MCP_RETRY_MS;
    bool offered = http->res.status == 200 && ah_mcp_http_is_stream(&http->res);
    bool again = offered || (m->standing_offered && (http->res.status == 0 || http->res.status >= 500));
    m->standing_offered |= offered;
    m->standing_failures = offered ? 0 : m->standing_failures + 1;
    for (int i = 0; i < m->standing_failures && ms < AH_MCP_RETRY_MAX_MS; i++)
        ms *= 2;
    struct ah_mcp_call *c = m->waits_endpoint;
    if (c) {
        m->waits_endpoint = NULL;
        ah_mcp_call_fail(c, AH_PROTOCOL, "this is no MCP server: it takes neither a handshake nor a stream");
    } else if (again && !m->closed && !m->post_url) {
        ah_timer_start(m->core->loop, &m->standing_wait, ms < AH_MCP_RETRY_MAX_MS ? ms : AH_MCP_RETRY_MAX_MS,
                       on_standing_wait, m);
        ah_timer_background(&m->standing_wait, true);
    } else if (m->post_url && !m->closed) {
        m->dead = true; /* the oldest era's session is its stream */
        ah_err_set(&m->death, AH_NETWORK, "the MCP server ended its stream; connect again");
        ah_mcp_call_fail_all(m);
    }
    ah_op_unref(op);
}

void ah_mcp_standing_open(struct ah_mcp *m)
{
    struct ah_mcp_headers h;
    struct ah_error err = {0};
    if (m->standing.http || m->closed)
        return;
    ah_mcp_http_headers(&h);
    ah_mcp_http_add(&h, "Accept", "text/event-stream");
    ah_mcp_http_protocol(&h, m, false);
    if (m->standing_id[0])
        ah_mcp_http_add(&h, "Last-Event-ID", m->standing_id);
    ah_sse_drop(&m->standing_sse);
    ah_sse_init(&m->standing_sse, on_standing_event, m);
    struct ah_http_req req = {.method = "GET",
                              .url = m->url,
                              .headers = h.list,
                              .header_count = ah_mcp_http_end(&h, m),
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
        ah_mcp_call_fail(m->waits_endpoint, err.kind, err.message);
    ah_err_drop(&err);
    ah_buf_drop(&h.text);
}

void ah_mcp_standing_stop(struct ah_mcp *m)
{
    ah_timer_stop(&m->standing_wait);
    ah_mcp_http_drop(&m->standing);
}
