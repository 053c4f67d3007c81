/* HTTP client: moves bytes, knows no JSON and no Lua (libcurl, seen only by http.c).
 *
 * A request is copied, queued, and handed to libcurl in the loop's start phase, after the journal's
 * commit: ah_http_send never sends by itself. Retries happen here, by one policy
 * (spec/openai-api.md 3.6). A request that is not idempotent is never sent twice: its body goes
 * through a callback that cannot rewind, and a failure after its first byte is
 * AH_OUTCOME_UNKNOWN. Connections are capped below the limit of open files; further requests wait.
 * Redirects to another origin are not followed. */
#ifndef AH_HTTP_H
#define AH_HTTP_H

#include "buf.h"
#include "op.h"

struct ah_http; /* opaque: the multi handle and its connections, one per host */
struct ah_secrets;
struct ah_log;
struct ah_config;

struct ah_http *ah_http_new(struct ah_loop *loop, struct ah_log *log, struct ah_config *config,
                            struct ah_error *err);
void ah_http_free(struct ah_http *h); /* all requests must be finished or are cancelled here */
void ah_http_set_ca(struct ah_http *h, const char *ca_file); /* PEM; NULL: the system's, or SSL_CERT_FILE */
int ah_http_in_flight(const struct ah_http *h);

struct ah_http_header {
    const char *name, *value;
};

/* How often and how long. All-zero = the default policy. */
struct ah_http_retry {
    int max;         /* repeats after the first attempt; 0 = AH_RETRY_MAX, -1 = none */
    int64_t base_ms; /* 0 = AH_RETRY_BASE_MS */
    int64_t cap_ms;  /* 0 = AH_RETRY_CAP_MS */
};

struct ah_http_res;

/* What the caller asks for. Everything is copied by ah_http_send; set before, never touched again. */
struct ah_http_req {
    const char *method; /* NULL = GET, or POST with a body */
    const char *url;
    const struct ah_http_header *headers; /* in order; a name may repeat */
    size_t header_count;
    const char *body;
    size_t body_n;
    bool has_body;
    bool idempotent;       /* may be sent again; GET, HEAD, PUT, DELETE, OPTIONS are anyway */
    bool once;             /* not even those */
    bool stream;           /* no compression is asked for; a 2xx body goes to on_data */
    bool refuse_redirects; /* default: up to 5 within the same origin, for GET and HEAD only */
    int64_t connect_ms, first_byte_ms, idle_ms, total_ms; /* 0 = limits.h. total: attempts and waits */
    size_t max_body;                                      /* 0 = AH_HTTP_BODY_BYTES */
    struct ah_http_retry retry;
    /* Bytes of a 2xx streamed body, from the poll phase: copy or parse, call no Lua. Returns 0 to go
     * on, 1 to be called again with the same bytes after ah_http_resume (back-pressure), -1 to stop
     * (the request ends AH_CANCELLED unless *err was set). Once it took a byte nothing is retried,
     * unless may_retry_stream. */
    int (*on_data)(void *arg, const char *p, size_t n, struct ah_error *err);
    /* Asked after each finished attempt (also failed ones): may change *err (kind, message, code,
     * retryable, retry_after_ms) by reading the body; err->kind AH_NONE = success. May be NULL. */
    void (*classify)(void *arg, const struct ah_http_res *res, struct ah_error *err);
    /* Asked before a retry when a stream had begun to flow; true = the consumer has reset itself. */
    bool (*may_retry_stream)(void *arg);
    /* Told of each wait: attempt number just failed, milliseconds to wait. For events. May be NULL. */
    void (*on_retry)(void *arg, int attempt, int64_t wait_ms, const struct ah_error *why);
    void *arg;
};

/* What came back. Read after the op is done (headers and status also from on_data on). */
struct ah_http_res {
    int status;            /* 0: no answer */
    struct ah_buf body;    /* of a stream: only what an unsuccessful status brought */
    struct ah_buf headers; /* "name: value\n" lines of the final answer, names in lower case */
    int attempts;
    int64_t waited_ms;
    int64_t first_byte_us, done_us; /* monotonic, since the start of the first attempt */
    bool first_byte_sent;           /* of the last attempt's request body */
    bool answer_began;              /* of the last attempt */
    int http_version;               /* 10, 11, 20 */
};

struct ah_http_op {
    struct ah_op op; /* first: op.err tells what went wrong; status >= 400 is an error of kind
                        AH_HTTP, AH_AUTH, AH_NOT_FOUND, AH_INVALID, AH_RATE_LIMIT ... by status */
    struct ah_http_res res;
    struct ah_http_impl *impl;
};

/* Queues it. NULL: misuse or bad URL, err says which. The caller owns one reference. Cancel by
 * ah_op_cancel at any moment; the connection is closed, nothing of the request remains. */
struct ah_http_op *ah_http_send(struct ah_http *h, const struct ah_http_req *req, struct ah_error *err);
/* An op that has ended already, with an answer that came to an earlier process: nothing is sent. */
struct ah_http_op *ah_http_answered(struct ah_http *h, int status, const char *body, size_t n,
                                    struct ah_error *err);
void ah_http_resume(struct ah_http_op *op); /* after on_data returned 1 */
/* The value of a header of the answer ("" when absent); of repeated ones, the last. Into out. */
const char *ah_http_header(const struct ah_http_res *res, const char *lower_name, char *out, size_t size);
/* x-request-id, request-id, apim-request-id, x-litellm-call-id: the first that is there. */
const char *ah_http_request_id(const struct ah_http_res *res, char *out, size_t size);

#endif
