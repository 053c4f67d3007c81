/* The handshake with an MCP server: which era it speaks, and who waits for that. Called by mcp.c. Must never take a server
 * for an older one because it could not be reached: only its own refusal says so. */
#include "mcp_call.h"

#include <string.h>

#define PROBE_MS 5000 /* a program that does not know the question may never answer */

static void keep_server(struct ah_mcp_call *c)
{
    struct ah_mcp *m = c->m;
    ah_buf_clear(&m->server_text);
    ah_buf_add(&m->server_text, c->pub.result.p, c->pub.result.n);
    if (m->server_text.failed ||
        ah_json_check(ah_buf_str(&m->server_text), m->server_text.n, 0, &m->server, NULL) != 0)
        m->server = (struct ah_json){0};
}

/* Those who waited for it go on, or fail with it. */
static void end_connect(struct ah_mcp_call *c)
{
    struct ah_mcp *m = ah_mcp_ref(c->m);
    struct ah_error why = {0};
    ah_err_move(&why, &c->err);
    m->ready = why.kind == AH_NONE;
    m->handshake = NULL;
    for (struct ah_mcp_call *one = m->calls.next, *next; one != &m->calls; one = next) {
        next = one->next;
        if (!one->held)
            continue;
        one->held = false;
        ah_err_copy(&one->err, &why);
        if (one->only_connect || !m->ready)
            ah_mcp_call_end(one);
        else
            ah_mcp_call_begin(one);
    }
    ah_mcp_call_finish(c, &why);
    ah_op_unref(&c->pub.op);
    ah_mcp_unref(m);
}

static void on_greeted(struct ah_mcp_call *c)
{
    struct ah_mcp *m = c->m;
    if (c->err.kind == AH_NONE && !m->child && !m->post_url)
        ah_mcp_standing_open(m);
    end_connect(c);
}

static void on_initialized(struct ah_mcp_call *c);

static void begin_legacy(struct ah_mcp_call *c)
{
    struct ah_buf hello;
    struct ah_mcp *m = c->m;
    m->era = AH_MCP_LEGACY;
    m->session[0] = m->version[0] = m->standing_id[0] = '\0';
    c->timeout_ms = m->timeout_ms;
    ah_mcp_standing_stop(m); /* of a session that is gone */
    ah_buf_init(&hello, 4096);
    ah_mcpwire_put_hello(&hello, m->forms);
    c->then = on_initialized;
    ah_mcp_call_set(c, "initialize", ah_buf_str(&hello), false);
    ah_buf_drop(&hello);
}

static void on_initialized(struct ah_mcp_call *c)
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
        if (ah_mcp_call_limit(c) != 0)
            ah_mcp_call_fail(c, AH_MEMORY, "out of memory");
        else
            ah_mcp_standing_open(m);
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
    ah_mcp_call_set(c, "notifications/initialized", NULL, true);
}

bool ah_mcp_connect_ask_again(struct ah_mcp_call *c)
{
    if (!c->modern || c->renewed || !ah_mcpwire_takes_modern(ah_mcp_call_error(&c->pub.text)))
        return false;
    c->renewed = true;
    ah_mcp_call_begin(c);
    return true;
}

/* The answer to server/discover, or a refusal that says which era this is. */
static void on_discovered(struct ah_mcp_call *c)
{
    struct ah_mcp *m = c->m;
    if (c->err.kind == AH_NONE) {
        keep_server(c);
        end_connect(c);
        return;
    }
    struct ah_json error = ah_mcp_call_error(&c->pub.text);
    if (ah_mcp_connect_ask_again(c))
        return;
    bool spoke = c->status >= 400 || c->answered || (m->child && c->err.kind == AH_TIMEOUT);
    if (m->era_given || !spoke || c->err.kind == AH_AUTH || ah_mcpwire_is_modern_code(error)) {
        end_connect(c);
        return;
    }
    ah_err_drop(&c->err);
    begin_legacy(c);
}

static void begin_connect(struct ah_mcp_call *c)
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
    ah_mcp_call_set(c, "server/discover", NULL, false);
}

void ah_mcp_connect_hold(struct ah_mcp_call *c)
{
    struct ah_mcp *m = c->m;
    struct ah_error err = {0};
    c->held = c->busy = true;
    ah_mcp_call_list(c);
    if (m->handshake)
        return;
    m->handshake = ah_mcp_start(m, &err) == 0 ? ah_mcp_call_new(m, "server/discover", &err) : NULL;
    if (m->handshake) {
        ah_mcp_call_list(m->handshake);
        begin_connect(m->handshake);
        return;
    }
    c->held = false;
    ah_err_move(&c->err, &err);
    ah_mcp_call_end(c);
}

static void on_connected(struct ah_mcp_call *c)
{
    struct ah_error err = {0};
    ah_err_move(&err, &c->err);
    ah_mcp_call_finish(c, &err);
}

struct ah_mcp_op *ah_mcp_connect(struct ah_mcp *m, struct ah_error *err)
{
    struct ah_mcp_call *c = ah_mcp_call_new(m, "connect", err);
    if (!c)
        return NULL;
    c->then = on_connected;
    c->only_connect = true;
    if (m->ready) {
        ah_mcp_call_list(c);
        ah_mcp_call_end(c);
    } else {
        ah_mcp_connect_hold(c);
    }
    return &c->pub;
}
