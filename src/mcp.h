/* A client of one MCP server: over HTTP (both eras, sessions, streams that are resumed) or over the stdin and stdout of a
 * child process. Knows no Lua. Facts: spec/openai-api.md 8.
 *
 * A call that may change something is sent once: when its stream breaks it is resumed, never posted again; when that
 * cannot be, its outcome is unknown. What a server asks on the way is answered by rule (mcpwire.h). Owner thread only. */
#ifndef AH_MCP_H
#define AH_MCP_H

#include "core.h"
#include "http.h"
#include "mcpwire.h"
#include "trace.h"

struct ah_mcp; /* opaque, counted */

struct ah_mcp_opts {
    const char *url;                      /* of its one endpoint; or: */
    const char *const *argv;              /* the program, and its words */
    const char *const *env;               /* of the program: "NAME=value", NULL-terminated, or NULL */
    const char *dir;                      /* where the program runs; NULL = here */
    const struct ah_http_header *headers; /* with every request: Authorization. Copied */
    size_t header_count;
    enum ah_mcp_era era; /* AH_MCP_UNKNOWN: asked */
    bool forms;          /* what a server asks for is filled in with its defaults; else declined */
    int64_t timeout_ms;  /* of one request; 0 = AH_MCP_TIMEOUT_MS */
};

#define AH_MCP_TIMEOUT_MS 60000

/* An answer. `result` points into `text`. */
struct ah_mcp_op {
    struct ah_op op; /* first */
    struct ah_json result;
    struct ah_buf text;
};

/* NULL: AH_CONFIG, a URL that is none. Nothing is sent and no program is started before the first request. */
struct ah_mcp *ah_mcp_new(struct ah_core *core, const struct ah_mcp_opts *opts, struct ah_error *err);
/* The owner gives it up: what goes on is cancelled, streams and the program end. NULL is fine. */
void ah_mcp_drop(struct ah_mcp *m);

/* Done when the server is known; requests do the same by themselves. */
struct ah_mcp_op *ah_mcp_connect(struct ah_mcp *m, struct ah_error *err);
/* What the server said of itself: the result of initialize or server/discover; absent before. */
struct ah_json ah_mcp_server(const struct ah_mcp *m);
enum ah_mcp_era ah_mcp_era(const struct ah_mcp *m);

struct ah_mcp_req {
    const char *method;
    const char *params; /* a JSON object, or NULL */
    const char *name;   /* for Mcp-Name: the tool, prompt or resource; NULL = none */
    const char *schema; /* of the tool: its x-mcp-header arguments become headers; NULL = none */
    bool notify;        /* a notification: the answer is empty */
    int64_t timeout_ms; /* 0: the client's */
    struct ah_run *run; /* whose journal gets the intent; NULL = nobody's */
    struct ah_span *span;
    int64_t call; /* the noted call that it belongs to, see ah_effect_begin */
    enum ah_effect_class effect;
};
/* One request; the last round of it, where the server asks for more in between. */
struct ah_mcp_op *ah_mcp_request(struct ah_mcp *m, const struct ah_mcp_req *req, struct ah_error *err);
/* Whether the server said since the last question that its tools changed. */
bool ah_mcp_changed(struct ah_mcp *m);
/* Ends the session and the program; done when they have ended, or after 3 s. Later requests fail. */
struct ah_mcp_op *ah_mcp_close(struct ah_mcp *m, struct ah_error *err);

#endif
