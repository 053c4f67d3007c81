/* Requests to connected services through Scalekit's proxy, which adds the account's credentials. */
#ifndef AH_SKPROXY_H
#define AH_SKPROXY_H

#include "http.h"
#include "scalekit.h"

struct ah_skproxy_req {
    const char *method; /* NULL = GET, or POST with a body */
    const char *path;   /* of the connected service: "/gmail/v1/users/me/messages?maxResults=2" */
    const struct ah_http_header *headers;
    size_t header_count;
    const char *body;
    size_t body_n;
    bool has_body;
    bool idempotent, once; /* may be sent again; may not: else by the method */
    int64_t timeout_ms;    /* 0 = 60 s */
};

/* who: connection_name and identifier. The op's res is what the service answered, also when the op has
 * failed with a status of the service (AH_TOOL_ERROR; with 401 its detail has a fresh link). Redirects are
 * answers: nothing follows them. NULL: err; AH_INVALID says which rule of paths and headers is broken. */
struct ah_scalekit_op *ah_skproxy_send(struct ah_scalekit *sk, const struct ah_scalekit_who *who,
                                       const struct ah_skproxy_req *req, struct ah_error *err);
/* The two rules alone. 0, or -1 with AH_INVALID. */
int ah_skproxy_check_path(const char *path, struct ah_error *err);
int ah_skproxy_check_header(const char *name, struct ah_error *err);

#endif
