/* LangSmith for the rest of the program: reading runs back, verifying, a test run. Sending is lssend.c,
 * the wire form is lswire.c. Called by cmd_*.c and lua_langsmith.c. Must never send a key to another
 * address than the configured one. */
#include "langsmith.h"

#include "clock.h"
#include "config.h"
#include "http.h"
#include "limits.h"
#include "lssend.h"
#include "lswire.h"
#include "trace.h"
#include "tracing.h"
#include "url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUN_BYTES ((size_t)64 << 20)
#define FIRST_POLL_MS 100
#define LONGEST_POLL_MS 1500
#define PING_SEND_MS 10000

struct ah_langsmith {
    struct ah_core *core;
    struct ah_lssend *send;
};

/* A read, a verify, or a ping (a send that becomes a verify). */
struct reading {
    struct ah_op op; /* first */
    struct ah_langsmith *ls;
    struct ah_http_op *http;
    struct ah_op *pause;
    char id[AH_UUID_BYTES];
    char *url, *workspace, *endpoint;
    char *key;
    char *body; /* of a POST, or NULL */
    bool asked; /* any call: the answer is no run of ours */
    bool until_ended, seen;
    int64_t deadline_us, poll_ms;
    struct ah_json run; /* into http's body */
};

/* --- sending ------------------------------------------------------------------------------------ */

struct ah_langsmith *ah_langsmith_new(struct ah_core *core, struct ah_error *err)
{
    struct ah_langsmith *ls = calloc(1, sizeof *ls);
    if (!ls) {
        ah_err_set(err, AH_MEMORY, "out of memory");
        return NULL;
    }
    ls->core = core;
    ls->send = ah_lssend_new(core, err);
    if (ls->send)
        return ls;
    free(ls);
    return NULL;
}

void ah_langsmith_free(struct ah_langsmith *ls)
{
    if (!ls)
        return;
    ah_lssend_free(ls->send);
    free(ls);
}

struct ah_op *ah_langsmith_flush(struct ah_langsmith *ls, int64_t timeout_ms)
{
    return ah_lssend_flush(ls->send, timeout_ms);
}

int64_t ah_langsmith_waiting(struct ah_langsmith *ls)
{
    return ah_lssend_waiting(ls->send);
}

void ah_langsmith_wake(struct ah_langsmith *ls)
{
    ah_lssend_wake(ls->send);
}

void ah_langsmith_set_pace(struct ah_langsmith *ls, int64_t gather_ms, int64_t early_ms)
{
    ah_lssend_set_pace(ls->send, gather_ms, early_ms);
}

/* --- one read -------------------------------------------------------------------------------------- */

static void on_read(struct ah_op *op, void *arg);
static void end_reading(struct reading *r, struct ah_error *err);

static void stop_waits(struct reading *r)
{
    if (r->http) {
        ah_op_wait(&r->http->op, NULL, NULL);
        ah_op_unref(&r->http->op);
        r->http = NULL;
    }
    if (r->pause) {
        ah_op_wait(r->pause, NULL, NULL);
        ah_op_unref(r->pause);
        r->pause = NULL;
    }
}

static void cancel_reading(struct ah_op *op)
{
    struct reading *r = (struct reading *)op;
    stop_waits(r);
    end_reading(r, NULL);
}

static void free_reading(struct ah_op *op)
{
    struct reading *r = (struct reading *)op;
    stop_waits(r);
    free(r->url);
    free(r->body);
    free(r->workspace);
    free(r->endpoint);
    if (r->key)
        explicit_bzero(r->key, strlen(r->key));
    free(r->key);
    free(r);
}

static const struct ah_op_class reading_class = {"reading of a run", cancel_reading, free_reading};

static void end_reading(struct reading *r, struct ah_error *err)
{
    ah_op_finish(&r->op, err);
}

static int send_read(struct reading *r, struct ah_error *err)
{
    struct ah_http_header headers[AH_LSSEND_HEADERS];
    int64_t left = (r->deadline_us - ah_clock_mono_us()) / 1000;
    struct ah_http_req req = {
        .method = r->body ? "POST" : "GET",
        .url = r->url,
        .headers = headers,
        .header_count = ah_lssend_headers(r->key, r->workspace, r->body ? "application/json" : NULL, headers),
        .body = r->body,
        .body_n = r->body ? strlen(r->body) : 0,
        .has_body = r->body != NULL,
        .idempotent = true, /* queries, and what carries an id of ours */
        .max_body = RUN_BYTES,
        .total_ms = r->until_ended ? (left > 1000 ? left : 1000) : 0,
        .retry = {.max = r->until_ended ? -1 : 0},
    };
    r->http = ah_http_send(r->ls->core->http, &req, err);
    if (!r->http)
        return -1;
    ah_op_wait(&r->http->op, on_read, r);
    return 0;
}

/* What is wrong, in LangSmith's words. */
static void explain(const struct reading *r, const struct ah_http_op *h, struct ah_error *err)
{
    char words[300], message[900];
    ah_err_copy(err, &h->op.err);
    ah_lswire_words(h->res.body.p, h->res.body.n, words, sizeof words);
    if (err->status == 401 || err->status == 403)
        snprintf(message, sizeof message,
                 "LangSmith at %.300s does not accept the key (%d %s): check LANGSMITH_API_KEY, and that "
                 "LANGSMITH_ENDPOINT is of the same region",
                 r->endpoint, err->status, words);
    else if (err->status == 404 && r->asked)
        snprintf(message, sizeof message, "LangSmith at %.300s does not find what was asked for%s%s",
                 r->endpoint, *words ? ": " : "", words);
    else if (err->status == 404)
        snprintf(message, sizeof message, "LangSmith at %.300s has no run %s", r->endpoint, r->id);
    else
        snprintf(message, sizeof message, "%.550s%s%s", err->message, *words ? ": " : "", words);
    snprintf(err->message, sizeof err->message, "%s", message);
}

static void give_up(struct reading *r, const struct ah_error *last)
{
    struct ah_error err = {0};
    int64_t waiting = ah_langsmith_waiting(r->ls);
    if (r->asked && last)
        ah_err_copy(&err, last);
    else if (r->seen)
        ah_err_set(&err, AH_NOT_FOUND, "LangSmith at %.300s has run %s, but not its end%s", r->endpoint,
                   r->id, waiting ? ": some spans still wait in the journal" : "; read it again in a moment");
    else if (last && last->kind != AH_NOT_FOUND)
        ah_err_set(&err, last->kind, "run %s could not be read back: %.700s", r->id, last->message);
    else
        ah_err_set(&err, AH_NOT_FOUND, "run %s is not at LangSmith (%.300s)%s", r->id, r->endpoint,
                   waiting ? ": its spans still wait in the journal, see `agenthost trace ls`"
                           : ": was it sent to another project, workspace or region?");
    end_reading(r, &err);
}

static void on_paused(struct ah_op *op, void *arg)
{
    struct reading *r = arg;
    struct ah_error err = {0};
    r->pause = NULL;
    ah_op_unref(op);
    if (send_read(r, &err) != 0)
        end_reading(r, &err);
}

static void poll_again(struct reading *r, const struct ah_error *last)
{
    int64_t left = (r->deadline_us - ah_clock_mono_us()) / 1000;
    int64_t wait = last && last->retry_after_ms > r->poll_ms ? last->retry_after_ms : r->poll_ms;
    if (left <= 0 || wait > left) {
        give_up(r, last);
        return;
    }
    r->poll_ms = r->poll_ms * 2 < LONGEST_POLL_MS ? r->poll_ms * 2 : LONGEST_POLL_MS;
    r->pause = ah_op_sleep(r->op.loop, wait);
    if (!r->pause) {
        struct ah_error err = {0};
        ah_err_set(&err, AH_MEMORY, "out of memory");
        end_reading(r, &err);
        return;
    }
    ah_op_wait(r->pause, on_paused, r);
}

static bool has_ended(struct ah_json run)
{
    return ah_json_truthy(ah_json_get(run, "end_time")) && !ah_json_is(ah_json_get(run, "status"), "pending");
}

static void on_read(struct ah_op *op, void *arg)
{
    struct reading *r = arg;
    struct ah_http_op *h = (struct ah_http_op *)op;
    struct ah_error err = {0};
    struct ah_json run = {0};
    if (op->err.kind != AH_NONE)
        explain(r, h, &err);
    else if (ah_json_check(ah_buf_str(&h->res.body), h->res.body.n, 0, &run, &err) == 0 && !r->asked &&
             !ah_json_is(ah_json_get(run, "id"), r->id))
        ah_err_set(&err, AH_PROTOCOL, "LangSmith at %.300s answered with something that is not the run %s",
                   r->endpoint, r->id);
    bool again = r->until_ended && (err.kind == AH_NOT_FOUND || err.retryable ||
                                    (err.kind == AH_NONE && !r->asked && !has_ended(run)));
    r->seen |= err.kind == AH_NONE;
    if (again || err.kind != AH_NONE) {
        r->http = NULL;
        ah_op_unref(op);
    }
    if (again) {
        poll_again(r, &err);
    } else {
        if (err.kind == AH_NONE)
            r->run = run;
        end_reading(r, &err);
    }
    ah_err_drop(&err);
}

/* --- starting ------------------------------------------------------------------------------------- */

/* The failure of a call that could not begin is told like any other. */
static struct reading *new_reading(struct ah_langsmith *ls, const char *run_id)
{
    struct reading *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    ah_op_init(&r->op, &reading_class, ls->core->loop);
    r->ls = ls;
    r->poll_ms = FIRST_POLL_MS;
    for (size_t i = 0; i < sizeof r->id - 1 && run_id[i]; i++)
        r->id[i] = run_id[i] >= 'A' && run_id[i] <= 'F' ? (char)(run_id[i] + 32) : run_id[i];
    return r;
}

/* The generated API lives below /api/v2, whatever the endpoint's own path is (spec 3.1). */
static void join_url(const char *endpoint, const char *path, bool v2, struct ah_buf *url)
{
    size_t n = strlen(endpoint);
    const char *const ends[] = {"/api/v1", "/api"};
    for (size_t i = 0; v2 && i < 2; i++) {
        size_t k = strlen(ends[i]);
        if (n > k && strcmp(endpoint + n - k, ends[i]) == 0) {
            n -= k;
            break;
        }
    }
    ah_buf_addf(url, "%.*s%s/%s", (int)n, endpoint, v2 ? "/api/v2" : "", path);
}

static int find_target(struct reading *r, const char *path, bool v2, struct ah_tracing_where *where,
                       struct ah_error *err)
{
    struct ah_core *core = r->ls->core;
    struct ah_buf url;
    ah_tracing_target(core->tracing, where);
    if (!*where->endpoint) {
        const char *why = ah_tracing_why_off(core->tracing);
        if (ah_config_first(core->config, NULL, "LANGSMITH_API_KEY", "LANGCHAIN_API_KEY", NULL))
            return ah_err_set(err, AH_CONFIG, "%s", why ? why : "LANGSMITH_ENDPOINT cannot be used");
        return ah_config_missing(core->config, "LANGSMITH_API_KEY", err);
    }
    ah_buf_init(&url, AH_HTTP_HEADER_BYTES);
    join_url(where->endpoint, path, v2, &url);
    r->url = ah_buf_take(&url, NULL);
    r->workspace = strdup(where->workspace);
    r->endpoint = strdup(where->endpoint);
    r->key = strdup(where->key);
    return r->url && r->workspace && r->endpoint && r->key ? 0 : ah_err_set(err, AH_MEMORY, "out of memory");
}

static struct ah_op *start_reading(struct ah_langsmith *ls, const char *run_id, bool until_ended,
                                   int64_t timeout_ms)
{
    struct reading *r = new_reading(ls, run_id);
    struct ah_error err = {0};
    struct ah_tracing_where where;
    char path[64];
    if (!r)
        return NULL;
    snprintf(path, sizeof path, "runs/%s", r->id);
    r->until_ended = until_ended;
    r->deadline_us = ah_clock_mono_us() + timeout_ms * 1000;
    if (!ah_ids_is_uuid(run_id))
        ah_err_set(&err, AH_INVALID, "'%.60s' is no run id: it has 36 characters", run_id);
    else if (find_target(r, path, false, &where, &err) == 0)
        send_read(r, &err);
    if (err.kind != AH_NONE)
        end_reading(r, &err);
    return &r->op;
}

struct ah_op *ah_langsmith_ask(struct ah_langsmith *ls, const struct ah_langsmith_call *call)
{
    struct reading *r = new_reading(ls, "");
    struct ah_error err = {0};
    struct ah_tracing_where where;
    if (!r)
        return NULL;
    r->asked = true;
    r->until_ended = call->wait_ms > 0;
    r->deadline_us = ah_clock_mono_us() + call->wait_ms * 1000;
    if (call->body && !(r->body = strndup(call->body, call->body_n)))
        ah_err_set(&err, AH_MEMORY, "out of memory");
    else if (find_target(r, call->path, call->v2, &where, &err) == 0)
        send_read(r, &err);
    if (err.kind != AH_NONE)
        end_reading(r, &err);
    return &r->op;
}

struct ah_op *ah_langsmith_read_run(struct ah_langsmith *ls, const char *run_id)
{
    return start_reading(ls, run_id, false, 0);
}

struct ah_op *ah_langsmith_verify(struct ah_langsmith *ls, const char *run_id, int64_t timeout_ms)
{
    return start_reading(ls, run_id, true, timeout_ms);
}

struct ah_json ah_langsmith_run(const struct ah_op *op)
{
    const struct reading *r = (const struct reading *)(const void *)op;
    return op && op->cls == &reading_class && op->done ? r->run : (struct ah_json){0};
}

char *ah_langsmith_run_url(struct ah_langsmith *ls, struct ah_json run)
{
    struct ah_tracing_where where;
    char host[600];
    ah_tracing_target(ls->core->tracing, &where);
    char *path = ah_json_dup(ah_json_get(run, "app_path"));
    char *url = NULL;
    if (path && *path == '/' && *where.endpoint && ah_lswire_host(where.endpoint, host, sizeof host) == 0) {
        size_t n = strlen(host) + strlen(path) + 1;
        url = malloc(n);
        if (url)
            snprintf(url, n, "%s%s", host, path);
    }
    free(path);
    return url;
}

/* --- the test run ----------------------------------------------------------------------------------- */

static void on_pinged(struct ah_op *op, void *arg)
{
    struct reading *r = arg;
    struct ah_error err = {0};
    if (op->err.kind != AH_NONE)
        explain(r, r->http, &err);
    r->http = NULL;
    ah_op_unref(op);
    if (err.kind != AH_NONE || send_read(r, &err) != 0)
        end_reading(r, &err);
}

static int put_test_run(struct reading *r, const char *project, struct ah_lswire_body *body,
                        struct ah_error *err)
{
    char start[500], end[200], iso[AH_CLOCK_ISO_BYTES], dotted[AH_CLOCK_ISO_BYTES];
    int64_t now = ah_clock_wall_us(ah_loop_clock(r->op.loop));
    struct ah_lswire_run run;
    ah_ids_uuid7(ah_loop_ids(r->op.loop), now, r->id);
    ah_clock_iso(now, iso);
    ah_clock_dotted(now, dotted);
    int a = snprintf(start, sizeof start,
                     "{\"id\":\"%s\",\"trace_id\":\"%s\",\"dotted_order\":\"%s%s\","
                     "\"name\":\"agenthost doctor\",\"run_type\":\"chain\",\"start_time\":\"%s\","
                     "\"inputs\":{\"input\":\"does tracing work?\"}}",
                     r->id, r->id, dotted, r->id, iso);
    int b = snprintf(end, sizeof end, "{\"end_time\":\"%s\",\"outputs\":{\"output\":\"yes\"}}", iso);
    if (ah_lswire_read(&run, start, (size_t)a, end, (size_t)b, err) != 0)
        return -1;
    run.project = project;
    if (ah_lswire_add(body, &run, 0) != 0 || ah_lswire_finish(body) != 0)
        return ah_err_set(err, AH_MEMORY, "out of memory");
    return 0;
}

static int send_ping(struct reading *r, const struct ah_tracing_where *where,
                     const struct ah_lswire_body *body, struct ah_error *err)
{
    struct ah_http_header headers[AH_LSSEND_HEADERS];
    struct ah_buf url;
    char type[80];
    snprintf(type, sizeof type, "multipart/form-data; boundary=%s", body->boundary);
    ah_buf_init(&url, AH_HTTP_HEADER_BYTES);
    ah_url_join(where->endpoint, "runs/multipart", &url);
    struct ah_http_req req = {
        .method = "POST",
        .url = ah_buf_str(&url),
        .headers = headers,
        .header_count = ah_lssend_headers(where->key, where->workspace, type, headers),
        .body = body->to.p,
        .body_n = body->to.n,
        .has_body = true,
        .idempotent = true,
        .total_ms = PING_SEND_MS,
    };
    r->http = ah_http_send(r->ls->core->http, &req, err);
    ah_buf_drop(&url);
    if (!r->http)
        return -1;
    ah_op_wait(&r->http->op, on_pinged, r);
    return 0;
}

struct ah_op *ah_langsmith_ping(struct ah_langsmith *ls)
{
    struct reading *r = new_reading(ls, "");
    struct ah_error err = {0};
    struct ah_tracing_where where;
    struct ah_lswire_body body;
    char path[64];
    if (!r)
        return NULL;
    r->until_ended = true;
    r->deadline_us = ah_clock_mono_us() + AH_LANGSMITH_VERIFY_MS * 1000;
    ah_tracing_target(ls->core->tracing, &where);
    ah_lswire_begin(&body, ah_clock_mono_us(), true);
    int rc = put_test_run(r, where.project, &body, &err);
    snprintf(path, sizeof path, "runs/%s", r->id);
    if (rc == 0 && find_target(r, path, false, &where, &err) == 0)
        send_ping(r, &where, &body, &err);
    ah_lswire_drop(&body);
    if (err.kind != AH_NONE)
        end_reading(r, &err);
    return &r->op;
}
