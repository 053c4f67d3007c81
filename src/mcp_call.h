/* What the files of the MCP client share: the client, a call, and the steps between them. Private to mcp*.c: everybody
 * else sees mcp.h.
 *
 * A call is one request of a script, or the handshake; an exchange is one message of it and its answer. An answer comes
 * as the body of its POST, as an event of that body's stream, on a stream that takes the broken one's place, on the
 * standing stream, or as a line of the program: always through ah_mcp_call_take, which finds the call by its id. What
 * follows an answer (c->then) happens in the ready phase. */
#ifndef AH_MCP_CALL_H
#define AH_MCP_CALL_H

#include "child.h"
#include "mcp.h"
#include "sse.h"

#define AH_MCP_MESSAGE_BYTES ((size_t)64 << 20)
#define AH_MCP_HEADERS_MAX 96
#define AH_MCP_RETRY_MS 1000
#define AH_MCP_RETRY_MAX_MS 60000
#define AH_MCP_CLOSE_MS 3000
#define AH_MCP_ASIDE_MAX 16 /* answers to the server that are under way */

struct ah_mcp_call {
    struct ah_mcp_op pub; /* first */
    struct ah_mcp *m;     /* counted */
    struct ah_mcp_call *next, *prev;
    struct ah_ready ready;
    void (*then)(struct ah_mcp_call *c); /* after an exchange: answered, or c->err */
    int64_t id;                          /* of the exchange; 0: it waits for no answer */
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
struct ah_mcp_aside {
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
    struct ah_http_header headers[AH_MCP_HEADERS_MAX];
    size_t header_count;
    enum ah_mcp_era era;
    bool era_given, forms, ready, closed, changed, dead;
    int64_t timeout_ms, next_id;
    char session[512], version[32];
    struct ah_mcp_call *handshake; /* the one that goes on */
    char **argv, **env, *dir;
    struct ah_buf server_text;
    struct ah_json server;
    struct ah_mcp_call calls; /* head of a circular list; only next and prev are used */
    struct ah_mcp_aside asides[AH_MCP_ASIDE_MAX];
    struct ah_mcp_aside standing;
    struct ah_sse standing_sse;
    struct ah_timer standing_wait;
    char standing_id[256];
    bool asked_endpoint;
    bool standing_offered; /* the server has such a stream: it is opened again when it breaks */
    int standing_failures; /* in a row */
    struct ah_mcp_call *waits_endpoint;
    struct ah_error death; /* why the program ended */
};

/* --- mcp.c: the client ---------------------------------------------------------------------------------- */

struct ah_mcp *ah_mcp_ref(struct ah_mcp *m);
void ah_mcp_unref(struct ah_mcp *m); /* the last one ends the program and all streams */
/* The program, when it is one. It is started once: what ended stays ended. */
int ah_mcp_start(struct ah_mcp *m, struct ah_error *err);

/* --- mcp_call.c: calls and their exchanges ---------------------------------------------------------------- */

char *ah_mcp_call_copy(const char *s); /* NULL of NULL */
struct ah_mcp_call *ah_mcp_call_new(struct ah_mcp *m, const char *method, struct ah_error *err);
void ah_mcp_call_list(struct ah_mcp_call *c); /* among the client's calls; again is fine */
void ah_mcp_call_finish(struct ah_mcp_call *c, struct ah_error *err);
bool ah_mcp_call_may_have_run(const struct ah_mcp_call *c);
/* The message of this round goes out; c->then follows its answer. */
void ah_mcp_call_begin(struct ah_mcp_call *c);
void ah_mcp_call_set(struct ah_mcp_call *c, const char *method, const char *params,
                     bool notify); /* and begins */
int ah_mcp_call_limit(struct ah_mcp_call *c);
/* The exchange is over: what follows runs in the ready phase. c->err says how, when it has no answer. */
void ah_mcp_call_end(struct ah_mcp_call *c);
/* An exchange that failed on this side: what was sent and may have run is not known to have failed. */
void ah_mcp_call_fail(struct ah_mcp_call *c, enum ah_kind kind, const char *why);
/* The server is gone: nobody waits for its answer any more. Who is held is told by the handshake. */
void ah_mcp_call_fail_all(struct ah_mcp *m);
/* A message of the server; origin: whose stream it came on, or NULL. */
void ah_mcp_call_take(struct ah_mcp *m, struct ah_mcp_call *origin, const char *p, size_t n);
struct ah_json ah_mcp_call_error(const struct ah_buf *body); /* its member `error`, or absent */

/* --- mcp_http.c: requests -------------------------------------------------------------------------------- */

struct ah_mcp_headers {
    struct ah_http_header list[AH_MCP_HEADERS_MAX];
    size_t n;
    struct ah_buf text; /* of those that are made here */
    size_t at[AH_MCP_HEADERS_MAX];
};

void ah_mcp_http_headers(struct ah_mcp_headers *h);
int ah_mcp_http_add(void *arg, const char *name, const char *value); /* arg: struct ah_mcp_headers */
void ah_mcp_http_protocol(struct ah_mcp_headers *h, const struct ah_mcp *m, bool modern);
size_t ah_mcp_http_end(struct ah_mcp_headers *h, const struct ah_mcp *m); /* with the client's; how many */
void ah_mcp_http_post(struct ah_mcp_call *c, const struct ah_buf *body);
void ah_mcp_http_delete(struct ah_mcp_call *c);
bool ah_mcp_http_is_stream(const struct ah_http_res *res);
void ah_mcp_http_keep_id(const struct ah_sse *sse, char *out, size_t size); /* of the newest event */
/* What nobody waits for. method: NULL for an answer to the server. */
void ah_mcp_http_aside(struct ah_mcp *m, const char *method, const struct ah_buf *body);
void ah_mcp_http_drop(struct ah_mcp_aside *a);

/* --- mcp_standing.c: what a legacy server says by itself --------------------------------------------------- */

void ah_mcp_standing_open(struct ah_mcp *m); /* unless it is open, or the client closed */
void ah_mcp_standing_stop(struct ah_mcp *m);

/* --- mcp_connect.c: the handshake -------------------------------------------------------------------------- */

void ah_mcp_connect_hold(struct ah_mcp_call *c); /* c goes on when the server is known */
/* A version that was refused although the server takes it: once more. */
bool ah_mcp_connect_ask_again(struct ah_mcp_call *c);

#endif
