/* One call of Scalekit: settings, the token that all share, sending, renewing once, reading page by page.
 * Called by scalekit.c only. A flow's `next` is told in the loop's ready phase, never inside a library's
 * callback. Must never send a refused call more than once again, and never put a token into a message. */
#include "skcall.h"

#include "clock.h"
#include "config.h"
#include "http.h"
#include "log.h"
#include "secret.h"
#include "sksecret.h"
#include "url.h"
#include "version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define API_VERSION "20260716"

#define PAGES_BYTES ((size_t)64 << 20) /* of one list, all pages together */
#define PAGES_COUNT 1000
#define HEADERS_MAX (AH_SKCALL_HEADERS_MAX + 8)
#define TOKEN_BYTES ((size_t)64 << 10)
#define TOKEN_MARGIN_S 60
#define TOKEN_LIFE_S 3600 /* when the service does not say */

/* --- small helpers ------------------------------------------------------------------------------ */

bool ah_skcall_copy(char **to, const char *s)
{
    *to = s ? strdup(s) : NULL;
    return !s || *to;
}

static size_t hash_text(const char *s)
{
    uint64_t h = 1469598103934665603u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211u;
    return (size_t)(h % AH_SKCALL_KNOWN_SLOTS);
}

void ah_skcall_remember(struct ah_skcall_known *table, const char *key, const char *value)
{
    struct ah_skcall_known *k = &table[hash_text(key)];
    if (k->key && strcmp(k->key, key) == 0 && strcmp(k->value, value) == 0)
        return;
    char *a = strdup(key), *b = strdup(value);
    free(k->key);
    free(k->value);
    *k = a && b ? (struct ah_skcall_known){a, b} : (struct ah_skcall_known){0};
    if (!k->key) {
        free(a);
        free(b);
    }
}

const char *ah_skcall_recall(const struct ah_skcall_known *table, const char *key)
{
    const struct ah_skcall_known *k = &table[hash_text(key)];
    return k->key && strcmp(k->key, key) == 0 ? k->value : NULL;
}

void ah_skcall_forget(struct ah_skcall_known *table, const char *key)
{
    struct ah_skcall_known *k = &table[hash_text(key)];
    if (!k->key || strcmp(k->key, key) != 0)
        return;
    free(k->key);
    free(k->value);
    *k = (struct ah_skcall_known){0};
}

char *ah_skcall_object(const struct ah_skcall_member *m, size_t count)
{
    struct ah_buf b;
    struct ah_json_writer w;
    ah_buf_init(&b, AH_SKWIRE_BODY_BYTES);
    ah_json_begin(&w, &b, NULL);
    ah_json_object(&w);
    for (size_t i = 0; i < count; i++)
        if (m[i].value) {
            ah_json_key(&w, m[i].key);
            ah_json_put_str(&w, m[i].value);
        }
    ah_json_end_object(&w);
    char *text = ah_buf_take(&b, NULL);
    ah_buf_drop(&b);
    return text;
}

/* --- settings ----------------------------------------------------------------------------------- */

static void add_name(char *names, size_t size, const char *name, bool last)
{
    size_t n = strlen(names);
    snprintf(names + n, size - n, "%s%s", n ? (last ? " and " : ", ") : "", name);
}

static int fail_missing(struct ah_config *c, const char *id, const char *secret, const char *url,
                        struct ah_error *err)
{
    char names[128] = "";
    if (!id)
        add_name(names, sizeof names, "SCALEKIT_CLIENT_ID", false);
    if (!secret)
        add_name(names, sizeof names, "SCALEKIT_CLIENT_SECRET", url != NULL);
    if (!url)
        add_name(names, sizeof names, "SCALEKIT_ENVIRONMENT_URL", true);
    return ah_config_missing(c, names, err);
}

static int check_base(const char *name, const char *url, struct ah_error *err)
{
    struct ah_url u;
    struct ah_error why = {0};
    int r = ah_url_parse(url, strlen(url), &u, &why);
    if (r != 0)
        r = ah_err_set(err, AH_CONFIG, "%s is not usable: %s", name, why.message);
    else if (u.has_userinfo || u.query.n)
        r = ah_err_set(err, AH_CONFIG, "%s must be the environment's plain URL, without user name or query",
                       name);
    else if (!u.tls && !ah_url_is_loopback(&u))
        r = ah_err_set(err, AH_CONFIG,
                       "%s must begin with https:// (http is for this machine only): the client "
                       "secret would cross the network unprotected",
                       name);
    ah_err_drop(&why);
    return r;
}

/* Reads the settings, once. */
int ah_skcall_settings(struct ah_scalekit *sk, struct ah_error *err)
{
    if (sk->base)
        return 0;
    struct ah_config *c = sk->core->config;
    const char *which = "SCALEKIT_ENVIRONMENT_URL";
    const char *url = ah_config_first(c, &which, "SCALEKIT_ENVIRONMENT_URL", "SCALEKIT_ENV_URL", NULL);
    const char *id = ah_config_get(c, "SCALEKIT_CLIENT_ID");
    const char *secret = ah_config_get(c, "SCALEKIT_CLIENT_SECRET");
    if (!url || !id || !secret)
        return fail_missing(c, id, secret, url, err);
    if (check_base(which, url, err) != 0)
        return -1;
    size_t n = strlen(url);
    while (n && url[n - 1] == '/')
        n--;
    char *base = strndup(url, n);
    free(sk->id); /* of an attempt that ran out of memory */
    free(sk->secret);
    sk->secret = NULL;
    if (!base || !ah_skcall_copy(&sk->id, id) || !ah_skcall_copy(&sk->secret, secret)) {
        free(base);
        return ah_err_set(err, AH_MEMORY, "out of memory");
    }
    sk->base = base;
    return 0;
}

/* --- flows -------------------------------------------------------------------------------------- */

void ah_skcall_finish(struct ah_skcall_flow *f, struct ah_error *err)
{
    if (f->pub.op.done) {
        ah_err_drop(err);
        return;
    }
    ah_op_finish(&f->pub.op, err);
    if (f->ended)
        f->ended(f);
}

void ah_skcall_fail(struct ah_skcall_flow *f, const struct ah_error *why)
{
    struct ah_error err = {0};
    ah_err_copy(&err, why);
    ah_skcall_finish(f, &err);
}

void ah_skcall_fail_memory(struct ah_skcall_flow *f)
{
    struct ah_error err = {0};
    ah_err_set(&err, AH_MEMORY, "out of memory");
    ah_skcall_finish(f, &err);
}

static void on_child(struct ah_op *child, void *arg)
{
    struct ah_skcall_flow *f = arg;
    bool held = f->held;
    ah_op_ref(&f->pub.op);
    f->child = NULL;
    if (f->pub.op.cancelled && child->err.kind != AH_NONE)
        ah_skcall_fail(f, &child->err); /* becomes AH_CANCELLED, unless the outcome is unknown */
    else if (f->pub.op.cancelled)
        ah_skcall_finish(f, NULL);
    else
        f->next(f, child);
    ah_op_unref(child);
    if (held)
        ah_op_unref(&f->pub.op);
    ah_op_unref(&f->pub.op);
}

/* Takes over the reference of `child`; NULL with *err ends the flow. */
void ah_skcall_run(struct ah_skcall_flow *f, struct ah_op *child, struct ah_error *err,
                   void (*next)(struct ah_skcall_flow *, struct ah_op *))
{
    if (!child) {
        struct ah_error none = {0};
        if (!err || err->kind == AH_NONE)
            ah_err_set(err ? err : &none, AH_MEMORY, "out of memory");
        ah_skcall_finish(f, err && err->kind != AH_NONE ? err : &none);
        return;
    }
    ah_err_drop(err);
    f->child = child;
    f->next = next;
    ah_op_wait(child, on_child, f);
}

void ah_skcall_cancel(struct ah_op *op)
{
    struct ah_skcall_flow *f = (struct ah_skcall_flow *)op;
    if (!f->child) {
        ah_skcall_finish(f, NULL);
        return;
    }
    f->held = true;
    ah_op_ref(op);
    ah_op_cancel(f->child);
}

void ah_skcall_free(struct ah_op *op)
{
    struct ah_skcall_flow *f = (struct ah_skcall_flow *)op;
    if (f->child) {
        ah_op_wait(f->child, NULL, NULL);
        ah_op_unref(f->child);
    }
    if (f->drop)
        f->drop(f);
    ah_op_unref(f->kept);
    free(f->pub.tools);
    free(f->connection);
    free(f->identifier);
    free(f->account);
    ah_span_unref(f->span);
    ah_run_unref(f->run);
    free(f);
}

static const struct ah_op_class call_class = {"the Scalekit call", ah_skcall_cancel, ah_skcall_free};
/* A zeroed flow of `size` bytes. NULL: no memory. */
void *ah_skcall_new(struct ah_scalekit *sk, const struct ah_op_class *cls, size_t size,
                    const struct ah_scalekit_who *who, struct ah_error *err)
{
    struct ah_skcall_flow *f = calloc(1, size);
    if (!f) {
        ah_err_set(err, AH_MEMORY, "out of memory");
        return NULL;
    }
    ah_op_init(&f->pub.op, cls, sk->core->loop);
    f->sk = sk;
    f->run = who->run ? ah_run_ref(who->run) : NULL;
    f->span = who->span ? ah_span_ref(who->span) : NULL;
    f->call = who->call;
    if (!ah_skcall_copy(&f->connection, who->connection_name) ||
        !ah_skcall_copy(&f->identifier, who->identifier) || !ah_skcall_copy(&f->account, who->account_id)) {
        f->pub.op.done = true;
        ah_op_unref(&f->pub.op);
        ah_err_set(err, AH_MEMORY, "out of memory");
        return NULL;
    }
    return f;
}

struct ah_scalekit_who ah_skcall_who(const struct ah_skcall_flow *f)
{
    return (struct ah_scalekit_who){f->run, f->span, f->call, f->connection, f->identifier, f->account};
}

/* Results of `child` now live in `f`. */
void ah_skcall_keep(struct ah_skcall_flow *f, struct ah_op *child)
{
    ah_op_unref(f->kept);
    f->kept = ah_op_ref(child);
}

/* --- the token ---------------------------------------------------------------------------------- */

static void release_waiters(struct ah_scalekit *sk, const struct ah_error *why)
{
    struct ah_op **waits = sk->token_waits;
    size_t count = sk->wait_count;
    sk->token_waits = NULL;
    sk->wait_count = sk->wait_cap = 0;
    for (size_t i = 0; i < count; i++) {
        struct ah_error err = {0};
        if (why)
            ah_err_copy(&err, why);
        ah_op_finish(waits[i], &err);
        ah_op_unref(waits[i]);
    }
    free(waits);
}

static int take_token(struct ah_scalekit *sk, const struct ah_http_res *res, struct ah_error *err)
{
    struct ah_json root;
    int64_t life = TOKEN_LIFE_S;
    if (ah_json_check(ah_buf_str(&res->body), res->body.n, 0, &root, NULL) != 0)
        root = (struct ah_json){0};
    char *token = ah_json_dup(ah_json_get(root, "access_token"));
    size_t n = token ? strlen(token) : 0;
    if (n == 0 || n > TOKEN_BYTES || strpbrk(token, "\r\n")) {
        free(token);
        return ah_err_set(err, AH_PROTOCOL,
                          "Scalekit's token answer holds no usable access_token; check that "
                          "SCALEKIT_ENVIRONMENT_URL is the environment's URL");
    }
    ah_json_int(ah_json_get(root, "expires_in"), &life);
    char *bearer = malloc(n + sizeof "Bearer ");
    if (!bearer || ah_secret_add(sk->core->secrets, "SCALEKIT_ACCESS_TOKEN", token, n) != 0) {
        free(bearer);
        free(token);
        return ah_err_set(err, AH_MEMORY, "out of memory");
    }
    memcpy(bearer, "Bearer ", 7);
    memcpy(bearer + 7, token, n + 1);
    free(token);
    free(sk->token);
    sk->token = bearer;
    sk->token_round++;
    life = life > TOKEN_MARGIN_S ? life - TOKEN_MARGIN_S : 0;
    sk->token_until_us = sk->token_asked_us + life * 1000000;
    return 0;
}

static void on_token(struct ah_op *op, void *arg)
{
    struct ah_scalekit *sk = arg;
    struct ah_error err = {0};
    sk->token_op = NULL;
    if (op->err.kind != AH_NONE)
        ah_err_copy(&err, &op->err);
    else
        take_token(sk, &((struct ah_http_op *)op)->res, &err);
    ah_op_unref(op);
    release_waiters(sk, err.kind == AH_NONE ? NULL : &err);
    ah_err_drop(&err);
}

static void classify_token(void *arg, const struct ah_http_res *res, struct ah_error *err)
{
    (void)arg;
    if (res->status >= 400 && err->kind != AH_NONE)
        ah_skwire_refusal(ah_skwire_row("token"), res->status, ah_buf_str(&res->body), res->body.n, err);
}

/* Headers that go with every request; returns how many. */
static size_t put_headers(struct ah_http_header *h, const char *bearer, const char *type)
{
    size_t n = 0;
    if (bearer)
        h[n++] = (struct ah_http_header){"Authorization", bearer};
    h[n++] = (struct ah_http_header){"Accept", "application/json"};
    if (type)
        h[n++] = (struct ah_http_header){"Content-Type", type};
    h[n++] = (struct ah_http_header){"x-sdk-version", "agenthost/" AH_VERSION};
    h[n++] = (struct ah_http_header){"x-api-version", API_VERSION};
    return n;
}

static int ask_token(struct ah_scalekit *sk, struct ah_error *err)
{
    const struct ah_skwire_row *row = ah_skwire_row("token");
    struct ah_buf url, body;
    struct ah_json args = {0};
    struct ah_http_header headers[8];
    char *text = AH_SKCALL_OBJECT({"grant_type", "client_credentials"}, {"client_id", sk->id},
                                  {"client_secret", sk->secret});
    if (!text)
        return ah_err_set(err, AH_MEMORY, "out of memory");
    ah_buf_init(&url, AH_SKWIRE_URL_BYTES);
    ah_buf_init(&body, AH_SKWIRE_BODY_BYTES);
    ah_json_check(text, strlen(text), 0, &args, NULL);
    struct ah_http_op *http = NULL;
    if (ah_skwire_build(row, sk->base, args, &url, &body, err) == 0) {
        struct ah_http_req req = {
            .method = row->method,
            .url = url.p,
            .headers = headers,
            .header_count = put_headers(headers, NULL, ah_skwire_content_type(row)),
            .body = body.p,
            .body_n = body.n,
            .has_body = true,
            .idempotent = row->resend,
            .refuse_redirects = true,
            .total_ms = AH_SKWIRE_TOTAL_MS,
            .max_body = TOKEN_BYTES,
            .classify = classify_token,
        };
        http = ah_http_send(sk->core->http, &req, err);
    }
    ah_buf_drop(&url);
    ah_buf_drop(&body);
    free(text);
    if (!http)
        return -1;
    sk->token_asked_us = ah_clock_mono_us();
    sk->token_op = &http->op;
    ah_op_wait(sk->token_op, on_token, sk);
    return 0;
}

/* An op that ends when there is a token, or none can be had. NULL: err. */
static struct ah_op *await_token(struct ah_scalekit *sk, struct ah_error *err)
{
    if (sk->wait_count == sk->wait_cap) {
        size_t cap = sk->wait_cap ? sk->wait_cap * 2 : 16;
        struct ah_op **more = realloc(sk->token_waits, cap * sizeof *more);
        if (!more) {
            ah_err_set(err, AH_MEMORY, "out of memory");
            return NULL;
        }
        sk->token_waits = more;
        sk->wait_cap = cap;
    }
    if (!sk->token_op && ask_token(sk, err) != 0)
        return NULL;
    struct ah_op *latch = ah_op_latch(sk->core->loop);
    if (!latch)
        ah_err_set(err, AH_MEMORY, "out of memory");
    else
        sk->token_waits[sk->wait_count++] = ah_op_ref(latch);
    return latch;
}

/* --- one call ----------------------------------------------------------------------------------- */

static void classify_call(void *arg, const struct ah_http_res *res, struct ah_error *err)
{
    struct ah_skcall *c = arg;
    bool unsafe = c->effect_class == AH_EFFECT_UNSAFE;
    if (c->row->raw && res->status >= 300 && res->status < 400)
        ah_err_drop(err); /* not followed, but an answer: 308 asks for more of an upload */
    else if (res->status >= 400 && err->kind != AH_NONE && c->row->raw)
        ah_skwire_proxy_refusal(c->row, unsafe, res->status, ah_buf_str(&res->body), res->body.n, err);
    else if (res->status >= 400 && err->kind != AH_NONE)
        ah_skwire_refusal(c->row, res->status, ah_buf_str(&res->body), res->body.n, err);
}

/* What may hold secrets of accounts is wiped. */
static void drop_bytes(struct ah_buf *b)
{
    if (b->p)
        explicit_bzero(b->p, b->n);
    ah_buf_drop(b);
}

static void drop_call(struct ah_skcall_flow *f)
{
    struct ah_skcall *c = (struct ah_skcall *)f;
    ah_buf_drop(&c->url);
    drop_bytes(&c->body);
    free(c->header_text);
    ah_buf_drop(&c->text);
    free(c->what);
    free(c->args);
}

static void end_call(struct ah_skcall_flow *f)
{
    struct ah_skcall *c = (struct ah_skcall *)f;
    struct ah_op *op = &f->pub.op;
    bool ok = op->err.kind == AH_NONE;
    const struct ah_buf *text = f->pub.res ? &f->pub.res->body : ok ? &c->text : NULL;
    ah_effect_end(c->effect, op->issued, op->completed, ok ? c->status : op->err.status,
                  text ? ah_buf_str(text) : NULL, text ? text->n : 0, ok ? NULL : &op->err);
    c->effect = NULL;
}

void ah_skcall_begin(struct ah_skcall *c);

/* Secrets of accounts stay here; what goes on holds their names. */
static int hide_secrets(struct ah_skcall *c, struct ah_error *err)
{
    struct ah_buf named;
    struct ah_json *answer = &c->flow.pub.answer;
    bool found;
    ah_buf_init(&named, AH_HTTP_BODY_BYTES);
    int r = ah_sksecret_take(c->flow.sk->core->secrets, c->row, *answer, &named, &found, err);
    if (r == 0 && found) {
        drop_bytes(&c->text);
        c->text = named;
        ah_json_check(ah_buf_str(&c->text), c->text.n, 0, answer, NULL);
        return 0;
    }
    ah_buf_drop(&named);
    return r;
}

/* A 2xx answer must be one JSON object. */
static int take_answer(struct ah_skcall *c, struct ah_http_op *http, struct ah_error *err)
{
    c->status = http->res.status;
    c->text = http->res.body; /* moved: the bytes stay where results point */
    http->res.body = (struct ah_buf){0};
    struct ah_error why = {0};
    if (ah_json_check(ah_buf_str(&c->text), c->text.n, 0, &c->flow.pub.answer, &why) == 0 &&
        c->flow.pub.answer.type == AH_JSON_OBJECT)
        return hide_secrets(c, err);
    const char *what = why.kind ? why.message : "another kind of value";
    if (c->row->effect == AH_SKWIRE_UNSAFE) /* whoever answered may have done it */
        ah_err_set(
            err, AH_OUTCOME_UNKNOWN,
            "cannot %s: the answer is not the JSON object that Scalekit promises (%s); it may have run "
            "all the same, so look before you run it again",
            c->row->does, what);
    else
        ah_err_set(err, AH_PROTOCOL,
                   "cannot %s: Scalekit's answer is not the JSON object it promises (%s); check that the "
                   "environment URL leads to Scalekit itself",
                   c->row->does, what);
    err->status = c->status;
    err->attempts = http->res.attempts;
    ah_err_drop(&why);
    return -1;
}

static void on_answer(struct ah_skcall_flow *f, struct ah_op *child)
{
    struct ah_skcall *c = (struct ah_skcall *)f;
    struct ah_error err = {0};
    bool refused = ah_skwire_is_token_refused(&child->err) ||
                   (c->row->raw && child->err.kind == AH_AUTH && child->err.status == 401);
    if (child->err.kind == AH_NONE && !c->row->raw) {
        take_answer(c, (struct ah_http_op *)child, &err);
        ah_skcall_finish(f, &err);
        return;
    }
    if (!c->renewed && refused) {
        c->renewed = true; /* refused before anything was done: the one case of a second sending */
        if (f->sk->token_round == c->round)
            f->sk->token_until_us = 0;
        ah_skcall_begin(c);
        return;
    }
    if (c->row->raw && ((struct ah_http_op *)child)->res.status) {
        ah_skcall_keep(f, child);
        f->pub.res = &((struct ah_http_op *)child)->res;
        c->status = f->pub.res->status;
    }
    if (child->err.kind == AH_NONE)
        ah_skcall_finish(f, NULL);
    else
        ah_skcall_fail(f, &child->err);
}

static enum ah_effect_class class_of(const struct ah_skwire_row *row)
{
    return row->effect == AH_SKWIRE_READS        ? AH_EFFECT_READ
           : row->effect == AH_SKWIRE_IDEMPOTENT ? AH_EFFECT_IDEMPOTENT
                                                 : AH_EFFECT_UNSAFE;
}

/* Journals the intent, once. */
static int intend(struct ah_skcall *c, struct ah_error *err)
{
    struct ah_skcall_flow *f = &c->flow;
    if (c->effect || !f->run)
        return 0;
    char what[256];
    snprintf(what, sizeof what, "%s %s", c->row->method, c->row->path);
    const char *args = c->args ? c->args : c->body.n ? c->body.p : ah_buf_str(&c->url);
    size_t n = c->args ? c->args_n : c->body.n ? c->body.n : c->url.n;
    struct ah_error why = {0};
    c->effect = ah_effect_begin(f->run, f->span, c->effect_class, f->call, c->effect_kind,
                                c->what ? c->what : what, args, n, &why);
    if (!c->effect && why.kind != AH_NONE) {
        ah_err_move(err, &why);
        return -1;
    }
    return 0;
}

/* Through the proxy all other headers are the caller's: they go on to the connected service. */
static size_t put_raw_headers(const struct ah_skcall *c, struct ah_http_header *h)
{
    size_t n = 0;
    h[n++] = (struct ah_http_header){"Authorization", c->flow.sk->token};
    h[n++] = (struct ah_http_header){"connection_name", c->flow.connection};
    h[n++] = (struct ah_http_header){"identifier", c->flow.identifier};
    for (size_t i = 0; i < c->header_count && n < HEADERS_MAX; i++)
        h[n++] = c->headers[i];
    return n;
}

/* What came to an earlier process of this run. */
static void give_answer(struct ah_skcall *c, const struct ah_effect_answer *a)
{
    struct ah_error err = {0};
    if (a->err.kind != AH_NONE) {
        ah_skcall_fail(&c->flow, &a->err);
        return;
    }
    struct ah_http_op *http = ah_http_answered(c->flow.sk->core->http, a->status, a->body, a->n, &err);
    ah_skcall_run(&c->flow, http ? &http->op : NULL, &err, on_answer);
}

static void send_call(struct ah_skcall *c)
{
    struct ah_scalekit *sk = c->flow.sk;
    struct ah_error err = {0};
    if (intend(c, &err) != 0) {
        ah_skcall_finish(&c->flow, &err);
        return;
    }
    if (ah_effect_answer(c->effect)) {
        give_answer(c, ah_effect_answer(c->effect));
        return;
    }
    struct ah_http_header headers[HEADERS_MAX];
    const char *method = c->method[0] ? c->method : c->row->method;
    struct ah_http_req req = {
        .method = method,
        .url = c->url.p,
        .headers = headers,
        .header_count = c->row->raw ? put_raw_headers(c, headers)
                                    : put_headers(headers, sk->token, ah_skwire_content_type(c->row)),
        .body = c->body.p,
        .body_n = c->body.n,
        .has_body = c->body.n > 0 || c->has_body,
        .idempotent = c->row->resend || (c->row->raw && c->effect_class != AH_EFFECT_UNSAFE),
        .once = c->row->raw && c->effect_class == AH_EFFECT_UNSAFE,
        .refuse_redirects = c->row->raw,
        .total_ms = c->total_ms,
        .classify = classify_call,
        .arg = c,
    };
    if (!c->row->resend && (strcmp(method, "PUT") == 0 || strcmp(method, "DELETE") == 0))
        req.retry.max = -1; /* http.c would repeat these by their method */
    c->round = sk->token_round;
    struct ah_http_op *http = ah_http_send(sk->core->http, &req, &err);
    ah_skcall_run(&c->flow, http ? &http->op : NULL, &err, on_answer);
}

static void on_have_token(struct ah_skcall_flow *f, struct ah_op *child)
{
    if (child->err.kind != AH_NONE)
        ah_skcall_fail(f, &child->err);
    else
        send_call((struct ah_skcall *)f);
}

void ah_skcall_begin(struct ah_skcall *c)
{
    struct ah_scalekit *sk = c->flow.sk;
    struct ah_error err = {0};
    if (sk->token && ah_clock_mono_us() < sk->token_until_us) {
        send_call(c);
        return;
    }
    struct ah_op *latch = await_token(sk, &err);
    ah_skcall_run(&c->flow, latch, &err, on_have_token);
}

/* A call that is built but not begun. NULL: err. */
struct ah_skcall *ah_skcall_make(struct ah_scalekit *sk, const struct ah_scalekit_who *who,
                                 const char *row_name, const char *args, size_t n, struct ah_error *err)
{
    const struct ah_skwire_row *row = ah_skwire_row(row_name);
    struct ah_json object;
    if (!row || row->anonymous) {
        ah_err_set(err, AH_INVALID, "there is no Scalekit call '%s'", row_name);
        return NULL;
    }
    if (ah_skcall_settings(sk, err) != 0 || ah_json_check(args, n, 0, &object, err) != 0)
        return NULL;
    struct ah_skcall *c = ah_skcall_new(sk, &call_class, sizeof *c, who, err);
    if (!c)
        return NULL;
    c->row = row;
    c->flow.drop = drop_call;
    c->flow.ended = end_call;
    c->effect_class = class_of(row);
    c->effect_kind = "api";
    c->total_ms = row->total_ms ? row->total_ms : AH_SKWIRE_TOTAL_MS;
    ah_buf_init(&c->url, AH_SKWIRE_URL_BYTES);
    ah_buf_init(&c->body, AH_SKWIRE_BODY_BYTES);
    if (ah_sksecret_hide(sk->core->secrets, object) != 0) {
        ah_err_set(err, AH_MEMORY, "out of memory");
        n = 0;
    }
    if (n == 0 || ah_skwire_build(row, sk->base, object, &c->url, &c->body, err) != 0) {
        c->flow.pub.op.done = true; /* never begun: nobody is to be told */
        ah_op_unref(&c->flow.pub.op);
        return NULL;
    }
    return c;
}

/* --- lists, page by page ------------------------------------------------------------------------ */

struct pages {
    struct ah_skcall_flow flow;
    const struct ah_skwire_row *row;
    char *args;           /* without a page token */
    struct ah_op **calls; /* one a page; items and tokens point into them */
    size_t call_count;
    struct ah_json *items;
    size_t item_count, item_cap, bytes;
    struct ah_json token; /* of the newest page; absent: it was the last */
    int64_t total;        /* as the first page says; 0: it does not */
};

static void drop_pages(struct ah_skcall_flow *f)
{
    struct pages *p = (struct pages *)f;
    for (size_t i = 0; i < p->call_count; i++)
        ah_op_unref(p->calls[i]);
    free(p->calls);
    free(p->items);
    free(p->args);
}

static bool add_item(struct pages *p, struct ah_json v)
{
    if (p->item_count == p->item_cap) {
        size_t cap = p->item_cap ? p->item_cap * 2 : 64;
        struct ah_json *more = realloc(p->items, cap * sizeof *more);
        if (!more)
            return false;
        p->items = more;
        p->item_cap = cap;
    }
    p->items[p->item_count++] = v;
    return true;
}

static struct ah_json token_of(struct ah_op *call)
{
    struct ah_json t = ah_json_get(((struct ah_scalekit_op *)call)->answer, "next_page_token");
    return t.type == AH_JSON_STRING && t.n > 2 ? t : (struct ah_json){0};
}

static bool is_token_seen(const struct pages *p, struct ah_json token)
{
    for (size_t i = 0; i + 1 < p->call_count; i++) {
        struct ah_json old = token_of(p->calls[i]);
        if (old.n == token.n && memcmp(old.p, token.p, token.n) == 0)
            return true;
    }
    return false;
}

/* total_size is a number, or (where it has 64 bits) a text of digits; 0 when it is neither. */
static int64_t read_total(struct ah_json v)
{
    char text[24];
    int64_t total = 0;
    if (v.type == AH_JSON_STRING) {
        ah_json_copy(v, text, sizeof text);
        return strtoll(text, NULL, 10);
    }
    return ah_json_int(v, &total) ? total : 0;
}

static bool keep_page(struct pages *p, struct ah_op *call)
{
    struct ah_op **more = realloc(p->calls, (p->call_count + 1) * sizeof(struct ah_op *));
    if (!more)
        return false;
    p->calls = more;
    p->calls[p->call_count++] = ah_op_ref(call);
    struct ah_json answer = ((struct ah_scalekit_op *)call)->answer;
    p->bytes += answer.n;
    const char *const keys[] = {p->row->items, "next_page_token", "total_size", NULL};
    struct ah_json found[3];
    ah_json_pick(answer, keys, found);
    p->token = found[1].type == AH_JSON_STRING && found[1].n > 2 ? found[1] : (struct ah_json){0};
    if (p->call_count == 1)
        p->total = read_total(found[2]);
    for (struct ah_json_iter it = ah_json_iter(found[0]); ah_json_next(&it);)
        if (!add_item(p, it.value))
            return false;
    return true;
}

static void end_pages(struct pages *p)
{
    struct ah_json answer = ((struct ah_scalekit_op *)p->calls[0])->answer;
    p->flow.pub.answer = answer;
    p->flow.pub.items = p->items;
    p->flow.pub.item_count = p->item_count;
    if (p->total > (int64_t)p->item_count)
        ah_log_line(p->flow.sk->core->log, AH_LOG_WARN,
                    "Scalekit says that there are %lld %s, but only %zu came; some may be missing",
                    (long long)p->total, p->row->items, p->item_count);
    ah_skcall_finish(&p->flow, NULL);
}

static void ask_page(struct pages *p, struct ah_json token);

static void on_page(struct ah_skcall_flow *f, struct ah_op *child)
{
    struct pages *p = (struct pages *)f;
    struct ah_error err = {0};
    if (child->err.kind != AH_NONE) {
        ah_skcall_fail(f, &child->err);
        return;
    }
    if (!keep_page(p, child)) {
        ah_skcall_fail_memory(f);
        return;
    }
    struct ah_json token = p->token;
    if (token.type == AH_JSON_NONE) {
        end_pages(p);
    } else if (is_token_seen(p, token)) {
        ah_err_set(
            &err, AH_PROTOCOL,
            "cannot %s: Scalekit gave the same page token twice, so the list would never end; try again, "
            "or ask for less with a filter",
            p->row->does);
        ah_skcall_finish(f, &err);
    } else if (p->call_count >= PAGES_COUNT || p->bytes > PAGES_BYTES) {
        ah_err_set(&err, AH_LIMIT, "cannot %s: more than %d pages or %zu MB; ask for less with a filter",
                   p->row->does, PAGES_COUNT, PAGES_BYTES >> 20);
        ah_skcall_finish(f, &err);
    } else {
        ask_page(p, token);
    }
}

static void ask_page(struct pages *p, struct ah_json token)
{
    struct ah_buf args;
    struct ah_error err = {0};
    struct ah_scalekit_who who = ah_skcall_who(&p->flow);
    ah_buf_init(&args, AH_SKWIRE_BODY_BYTES);
    ah_buf_add(&args, p->args, strlen(p->args) - 1);
    if (token.type == AH_JSON_STRING) {
        ah_buf_adds(&args, strlen(p->args) > 2 ? ",\"page_token\":" : "\"page_token\":");
        ah_buf_add(&args, token.p, token.n);
    }
    ah_buf_addc(&args, '}');
    struct ah_skcall *c = NULL;
    if (!args.failed)
        c = ah_skcall_make(p->flow.sk, &who, p->row->name, ah_buf_str(&args), args.n, &err);
    ah_buf_drop(&args);
    if (c)
        ah_skcall_begin(c);
    ah_skcall_run(&p->flow, c ? &c->flow.pub.op : NULL, &err, on_page);
}

/* Takes over `args` (malloc'd, a JSON object without white space around it). */
struct ah_op *ah_skcall_list(struct ah_scalekit *sk, const struct ah_scalekit_who *who, const char *row,
                             char *args, struct ah_error *err)
{
    struct pages *p = args ? ah_skcall_new(sk, &call_class, sizeof *p, who, err) : NULL;
    if (!p) {
        free(args);
        if (err && err->kind == AH_NONE)
            ah_err_set(err, AH_MEMORY, "out of memory");
        return NULL;
    }
    p->flow.drop = drop_pages;
    p->row = ah_skwire_row(row);
    p->args = args;
    ask_page(p, (struct ah_json){0});
    return &p->flow.pub.op;
}

/* --- the end ---------------------------------------------------------------------------------------- */

static void drop_known(struct ah_skcall_known *table)
{
    for (size_t i = 0; i < AH_SKCALL_KNOWN_SLOTS; i++) {
        free(table[i].key);
        free(table[i].value);
    }
}

static void free_secret(char *s)
{
    if (s)
        explicit_bzero(s, strlen(s));
    free(s);
}

void ah_skcall_drop(struct ah_scalekit *sk)
{
    if (sk->token_op) {
        ah_op_wait(sk->token_op, NULL, NULL);
        ah_op_unref(sk->token_op);
    }
    struct ah_error gone = {0};
    ah_err_set(&gone, AH_CANCELLED, "the host is closing");
    release_waiters(sk, &gone);
    drop_known(sk->ids);
    drop_known(sk->names);
    free(sk->base);
    free(sk->id);
    free_secret(sk->secret);
    free_secret(sk->token);
}
