/* Requests to LangSmith: a batch, packed where the service offers that, and the question what it takes. Called by
 * lssend*.c, and by langsmith.c for its headers. Must never queue a request before the attempt is noted. */
#include "limits.h"
#include "log.h"
#include "lssend.h"
#include "lssend_batch.h"
#include "url.h"

#include <stdio.h>
#include <string.h>

#define INFO_MS 10000

size_t ah_lssend_headers(const char *key, const char *workspace, const char *content_type,
                         struct ah_http_header out[AH_LSSEND_HEADERS])
{
    size_t n = 0;
    if (key)
        out[n++] = (struct ah_http_header){"x-api-key", key};
    if (workspace && *workspace)
        out[n++] = (struct ah_http_header){"X-Tenant-Id", workspace};
    out[n++] = (struct ah_http_header){"Accept", "application/json"};
    if (content_type)
        out[n++] = (struct ah_http_header){"Content-Type", content_type};
    return n;
}

static void post_batch(struct ah_lssend_batch *b, const struct ah_buf *body, enum ah_lspack_coding coding)
{
    struct ah_lssend_dest *d = b->dest;
    struct ah_lssend *s = d->sender;
    struct ah_http_header headers[AH_LSSEND_HEADERS + 2];
    struct ah_error err = {0};
    struct ah_buf url;
    char raw_n[24];
    bool multipart = strcmp(b->type, "application/json") != 0;
    size_t count = ah_lssend_headers(d->key, d->workspace, b->type, headers);
    if (coding != AH_LSPACK_NONE) {
        snprintf(raw_n, sizeof raw_n, "%zu", b->bytes);
        headers[count++] = (struct ah_http_header){"Content-Encoding", ah_lspack_name(coding)};
        headers[count++] = (struct ah_http_header){"X-Pre-Compressed-Size", raw_n};
    }
    b->packed = coding != AH_LSPACK_NONE;
    ah_buf_init(&url, AH_HTTP_HEADER_BYTES);
    ah_url_join(d->endpoint, multipart ? "runs/multipart" : "runs/batch", &url);
    struct ah_http_req req = {
        .method = "POST",
        .url = ah_buf_str(&url),
        .headers = headers,
        .header_count = count,
        .body = body->p,
        .body_n = body->n,
        .has_body = true,
        .idempotent = true,   /* the service knows runs by their ids ... */
        .retry = {.max = -1}, /* ... but when to send again is decided here */
    };
    b->op = ah_http_send(s->core->http, &req, &err);
    if (b->op) {
        d->in_flight++;
        s->in_flight++;
        ah_op_wait(&b->op->op, ah_lssend_take_answer, b);
    } else if (err.kind == AH_MEMORY) {
        ah_lssend_delay(d, AH_LSSEND_TROUBLE_MS);
    } else {
        ah_log_once(s->core->log, AH_ONCE_TRACE_AUTH, AH_LOG_WARN, "traces cannot be sent: %s", err.message);
        ah_lssend_refuse_dest(d, &err);
    }
    ah_err_drop(&err);
    ah_buf_drop(&url);
}

static void on_packed(void *arg, struct ah_buf *body, enum ah_lspack_coding coding, size_t raw_n)
{
    struct ah_lssend_batch *b = arg;
    (void)raw_n;
    b->job = NULL;
    b->dest->in_flight--;
    b->dest->sender->in_flight--;
    post_batch(b, body, coding);
    ah_lssend_kick(b->dest->sender);
}

int ah_lssend_send_batch(struct ah_lssend_batch *b, struct ah_lswire_body *body)
{
    struct ah_lssend_dest *d = b->dest;
    struct ah_lssend *s = d->sender;
    snprintf(b->type, sizeof b->type, "application/json");
    if (body->boundary[0])
        snprintf(b->type, sizeof b->type, "multipart/form-data; boundary=%s", body->boundary);
    bool made = ah_lswire_finish(body) == 0;
    b->attempts += made;
    int saved = ah_lssend_save_batch(b);
    if (!made || saved != 0) {
        b->attempts -= made;
        ah_lssend_delay(d, AH_LSSEND_TROUBLE_MS);
        return saved;
    }
    b->bytes = body->to.n;
    if (d->info.coding != AH_LSPACK_NONE && body->boundary[0] && !b->plain && b->bytes >= AH_LSPACK_MIN_BYTES)
        b->job = ah_lspack_start(s->core->loop, d->info.coding, &body->to, on_packed, b);
    if (b->job) {
        d->in_flight++;
        s->in_flight++;
    } else {
        post_batch(b, &body->to, AH_LSPACK_NONE);
    }
    return 0;
}

void ah_lssend_resend_batch(struct ah_lssend_batch *b)
{
    struct ah_lswire_body body;
    ah_lswire_begin(&body, b->id, b->dest->info.multipart);
    if (ah_lssend_load_body(b, &body) != 0) {
        ah_lssend_delay(b->dest, AH_LSSEND_TROUBLE_MS);
    } else if (b->count == 0) {
        ah_lssend_close_batch(b);
    } else {
        ah_lssend_send_batch(b, &body);
    }
    ah_lswire_drop(&body);
}

/* --- what the service says of itself ------------------------------------------------------------- */

static void on_info(struct ah_op *op, void *arg)
{
    struct ah_lssend_dest *d = arg;
    struct ah_http_op *h = (struct ah_http_op *)op;
    if (op->err.kind == AH_NONE)
        ah_lsinfo_read(&d->info, h->res.body.p, h->res.body.n);
    d->asking = NULL; /* no answer: what it documents will do */
    ah_op_unref(op);
}

void ah_lssend_ask_info(struct ah_lssend_dest *d)
{
    struct ah_http_header headers[AH_LSSEND_HEADERS];
    struct ah_buf url;
    d->asked_info = true;
    ah_buf_init(&url, AH_HTTP_HEADER_BYTES);
    ah_url_join(d->endpoint, "info", &url);
    struct ah_http_req req = {
        .url = ah_buf_str(&url),
        .headers = headers,
        .header_count = ah_lssend_headers(d->key, d->workspace, NULL, headers),
        .total_ms = INFO_MS,
        .retry = {.max = -1},
    };
    d->asking = ah_http_send(d->sender->core->http, &req, NULL);
    if (d->asking)
        ah_op_wait(&d->asking->op, on_info, d);
    ah_buf_drop(&url);
}
