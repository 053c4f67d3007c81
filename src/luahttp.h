/* What bindings share that send requests: options, requests as scripts write them, answers as they read
 * them. */
#ifndef AH_LUAHTTP_H
#define AH_LUAHTTP_H

#include "http.h"
#include "luax.h"

/* All-zero = the defaults of limits.h. */
struct ah_luahttp_limits {
    int64_t connect_ms, first_byte_ms, idle_ms, total_ms;
    struct ah_http_retry retry;
};

/* Reads timeout (seconds in all, or {connect=, first_byte=, idle=, total=}) and retry (false, or {max=, base=,
 * cap=}) of the table at idx over what `to` holds. Raises for wrong types. */
void ah_luahttp_limits(lua_State *L, int idx, struct ah_luahttp_limits *to);

/* --- requests ---------------------------------------------------------------------------------- */

#define AH_LUAHTTP_URL_BYTES ((size_t)64 << 10)
#define AH_LUAHTTP_HEADERS_MAX 256

/* Everything that a request points to while it is copied. */
struct ah_luahttp_draft {
    struct ah_buf url, body, text; /* text: header names and values, NUL-separated */
    size_t offsets[2 * AH_LUAHTTP_HEADERS_MAX];
    struct ah_http_header headers[AH_LUAHTTP_HEADERS_MAX + 1];
    size_t header_count;
    bool typed; /* a Content-Type was given */
    bool has_body;
    bool secret;            /* a header or parameter holds one: an answer that echoes it is masked */
    struct ah_http_req req; /* of who sends it as it is */
};

/* Pushes a guard that owns an empty draft: *slot. */
void **ah_luahttp_push_draft(lua_State *L);
void ah_luahttp_free_draft(void *draft);
/* The options headers, query (onto d->url), and one of body, json and form of the table at idx. Misuse
 * raises; -1: err (a secret that is not set, too large). */
int ah_luahttp_read_headers(lua_State *L, int idx, struct ah_luahttp_draft *d, struct ah_error *err);
int ah_luahttp_read_query(lua_State *L, int idx, struct ah_luahttp_draft *d, struct ah_error *err);
int ah_luahttp_read_body(lua_State *L, int idx, struct ah_luahttp_draft *d, struct ah_error *err);
/* Last: d->headers point to their texts. */
int ah_luahttp_end_draft(struct ah_luahttp_draft *d, struct ah_error *err);

/* --- answers ------------------------------------------------------------------------------------ */

void ah_luahttp_open(lua_State *L); /* once per state, or more often */
/* Pushes { status, headers, body, attempts, waited, request_id } with the method json. */
void ah_luahttp_push_answer(lua_State *L, const struct ah_http_res *res);
/* The same fields but body, into the table on top. */
void ah_luahttp_set_answer(lua_State *L, const struct ah_http_res *res);
void ah_luahttp_push_headers(lua_State *L, const struct ah_http_res *res);

#endif
