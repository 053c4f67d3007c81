/* The Model Context Protocol's messages: JSON-RPC out and in, header values, defaults of forms. Pure, for mcp*.c. Facts:
 * spec/openai-api.md 8. Two eras: "legacy" (up to 2025-11-25: handshake, sessions) and "modern" (2026-07-28: each
 * request says who we are). */
#ifndef AH_MCPWIRE_H
#define AH_MCPWIRE_H

#include "buf.h"
#include "err.h"
#include "json.h"

#define AH_MCP_LEGACY_VERSION "2025-11-25"
#define AH_MCP_MODERN_VERSION "2026-07-28"

enum ah_mcp_era { AH_MCP_UNKNOWN, AH_MCP_LEGACY, AH_MCP_MODERN };

/* A version of the legacy era that is spoken here. */
bool ah_mcpwire_knows(struct ah_json version);

/* A request (id > 0) or notification (id 0). `params`: an object, or absent. `more`: members to add to it, as JSON text
 * without braces ("\"a\":1"), or NULL. Modern requests carry version, client and capabilities in params._meta. */
struct ah_mcpwire_request {
    int64_t id;
    const char *method;
    struct ah_json params;
    const char *more;
    bool modern, forms; /* forms: the capability to fill in a form (elicitation) */
};
int ah_mcpwire_put_request(struct ah_buf *to, const struct ah_mcpwire_request *r);
/* params of `initialize`. */
int ah_mcpwire_put_hello(struct ah_buf *to, bool forms);

/* What a server asks of us on the way, answered by rule: ping and roots are empty, a form is filled in with its defaults
 * where `forms`, else declined; all else is an unknown method. `id` is echoed as it came. */
int ah_mcpwire_put_answer(struct ah_buf *to, struct ah_json id, struct ah_json method, struct ah_json params,
                          bool forms);
/* inputResponses and requestState for a modern result of type input_required: members for `more`. */
int ah_mcpwire_put_inputs(struct ah_buf *to, struct ah_json result, bool forms);

enum ah_mcpwire_kind { AH_MCP_BROKEN, AH_MCP_RESPONSE, AH_MCP_REQUEST, AH_MCP_NOTIFICATION };
struct ah_mcpwire_message {
    enum ah_mcpwire_kind kind;
    struct ah_json id, method, params, result, error;
};
void ah_mcpwire_read(struct ah_json message, struct ah_mcpwire_message *out);
/* The id of a response that is a number of ours; 0: none. */
int64_t ah_mcpwire_id(struct ah_json id);

/* A refusal (`error` may be absent) as an error: what was asked, the server's words, its code. */
void ah_mcpwire_refusal(const char *method, struct ah_json error, struct ah_error *err);
/* Was this refused because the session is gone? Servers say it in several ways. */
bool ah_mcpwire_is_session_lost(int status, struct ah_json error);
/* One of the codes that only the modern era has. */
bool ah_mcpwire_is_modern_code(struct ah_json error);
/* The server refused our version of the modern era, and names it among those it takes: ask again. */
bool ah_mcpwire_takes_modern(struct ah_json error);

/* A value for Mcp-Name and Mcp-Param-*: as it is when it is plain, else =?base64?...?=. */
int ah_mcpwire_put_header(struct ah_buf *to, const char *value, size_t n);
/* The headers that a tool's schema wants of its arguments ("x-mcp-header"), each told once as name and value. -1: AH_INVALID,
 * the schema breaks the rules and the tool must be left out. `told` may be NULL: only the check. */
int ah_mcpwire_headers(struct ah_json schema, struct ah_json arguments,
                       int (*told)(void *arg, const char *name, const char *value), void *arg,
                       struct ah_error *err);

#endif
