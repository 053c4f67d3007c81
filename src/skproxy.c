/* The proxy: any request to a connected service as a user, and what must never leave its prefix. Called by
 * lua_scalekit.c. Must never let a path or a header of a script reach another account or another place. */
#include "skproxy.h"

#include "skcall.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* --- rules ------------------------------------------------------------------------------------------- */

static int hex_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* %XX at p, however often it is encoded (%252f): whether some server on the way may read a separator, a
 * dot or a control character out of it. */
static bool is_sly_escape(const char *p)
{
    p++;
    while (strncmp(p, "25", 2) == 0)
        p += 2;
    int high = hex_of(p[0]), low = high < 0 ? -1 : hex_of(p[1]);
    int c = low < 0 ? -1 : high * 16 + low;
    return c >= 0 && (c < ' ' || c == 0x7F || c == '.' || c == '/' || c == '\\');
}

static int refuse_path(const char *why, struct ah_error *err)
{
    return ah_err_set(err, AH_INVALID,
                      "the path of a proxied request %s; give the connected service's own path, like "
                      "/gmail/v1/users/me/profile",
                      why);
}

static bool is_escape(const char *p)
{
    return hex_of(p[1]) >= 0 && hex_of(p[2]) >= 0;
}

/* Segments of dots lead upwards; also before a parameter ("..;x"). */
static bool is_dots(const char *segment, size_t n)
{
    size_t dots = strspn(segment, ".");
    return n && dots && (dots == n || (dots < n && segment[dots] == ';')) && dots <= 2;
}

int ah_skproxy_check_path(const char *path, struct ah_error *err)
{
    size_t end = strcspn(path, "?");
    if (path[0] != '/')
        return refuse_path("must begin with /", err);
    if (path[1] == '/')
        return refuse_path("must not begin with //", err);
    for (size_t i = 0; path[i]; i++) {
        unsigned char c = (unsigned char)path[i];
        if (c <= ' ' || c >= 0x7F || c == '\\' || c == '#')
            return refuse_path("holds a character that must be percent-encoded", err);
        if (c == '%' && !is_escape(path + i))
            return refuse_path("holds a '%' that begins no escape", err);
        if (c == '%' && i < end && is_sly_escape(path + i))
            return refuse_path("holds an encoded separator, dot or control character", err);
        size_t n = c == '/' && i < end ? strcspn(path + i + 1, "/?") : 0;
        if (n && is_dots(path + i + 1, n))
            return refuse_path("holds a segment of dots", err);
    }
    return 0;
}

int ah_skproxy_check_header(const char *name, struct ah_error *err)
{
    static const char *const reserved[] = {
        "authorization",  "connection_name", "connection-name",   "identifier",          "host",
        "content-length", "connection",      "transfer-encoding", "proxy-authorization", "te",
        "trailer",        "upgrade",         "keep-alive",        "proxy-connection",    "expect"};
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (strcasecmp(name, reserved[i]) == 0)
            return ah_err_set(err, AH_INVALID,
                              "the header '%s' of a proxied request is set by the host; leave it out", name);
    return 0;
}

static bool is_word(const char *s, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(s, *words) == 0)
            return true;
    return false;
}

static int check_request(const struct ah_scalekit_who *who, const struct ah_skproxy_req *req,
                         const char *method, struct ah_error *err)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", NULL};
    static const char *const without[] = {"GET", "HEAD", NULL};
    if (!who->connection_name || !who->connection_name[0])
        return ah_err_set(err, AH_INVALID, "a connection_name is needed: whose service is asked");
    if (!who->identifier || !who->identifier[0])
        return ah_err_set(err, AH_CONFIG,
                          "an identifier is needed (whose account?): give identifier, --user, or set "
                          "AGENTHOST_USER");
    if (!is_word(method, methods))
        return ah_err_set(err, AH_INVALID, "the proxy takes no method '%s'", method);
    if (req->has_body && is_word(method, without))
        return ah_err_set(err, AH_INVALID, "a proxied %s must have no body; put it into the query", method);
    if (req->header_count > AH_SKCALL_HEADERS_MAX)
        return ah_err_set(err, AH_LIMIT, "more than %d headers", AH_SKCALL_HEADERS_MAX);
    for (size_t i = 0; i < req->header_count; i++)
        if (ah_skproxy_check_header(req->headers[i].name, err) != 0)
            return -1;
    return ah_skproxy_check_path(req->path, err);
}

/* --- the request --------------------------------------------------------------------------------------- */

static const struct ah_op_class proxy_class = {"the proxied request", ah_skcall_cancel, ah_skcall_free};

/* One block: the pointers, then the texts. */
static int copy_headers(struct ah_skcall *c, const struct ah_skproxy_req *req)
{
    size_t n = req->header_count * sizeof(struct ah_http_header) + 1;
    for (size_t i = 0; i < req->header_count; i++)
        n += strlen(req->headers[i].name) + strlen(req->headers[i].value) + 2;
    c->header_text = malloc(n);
    if (!c->header_text)
        return -1;
    struct ah_http_header *h = (struct ah_http_header *)(void *)c->header_text;
    char *at = (char *)(h + req->header_count);
    for (size_t i = 0; i < req->header_count; i++) {
        h[i].name = at;
        at = stpcpy(at, req->headers[i].name) + 1;
        h[i].value = at;
        at = stpcpy(at, req->headers[i].value) + 1;
    }
    c->headers = h;
    c->header_count = req->header_count;
    return 0;
}

static enum ah_effect_class class_of(const struct ah_skproxy_req *req, const char *method)
{
    static const char *const reads[] = {"GET", "HEAD", "OPTIONS", NULL}, *const settles[] = {"PUT", "DELETE",
                                                                                             NULL};
    return req->once                                     ? AH_EFFECT_UNSAFE
           : is_word(method, reads)                      ? AH_EFFECT_READ
           : req->idempotent || is_word(method, settles) ? AH_EFFECT_IDEMPOTENT
                                                         : AH_EFFECT_UNSAFE;
}

static int fill_call(struct ah_skcall *c, const struct ah_skproxy_req *req, const char *method)
{
    char what[600];
    ah_buf_adds(&c->url, req->path);
    if (req->body_n)
        ah_buf_add(&c->body, req->body, req->body_n);
    c->has_body = req->has_body;
    snprintf(c->method, sizeof c->method, "%s", method);
    snprintf(what, sizeof what, "%s /proxy%s", method, req->path);
    c->what = strdup(what);
    c->effect_class = class_of(req, method);
    c->effect_kind = "proxy";
    if (req->timeout_ms > 0)
        c->total_ms = req->timeout_ms;
    return !c->what || c->url.failed || c->body.failed || copy_headers(c, req) != 0 ? -1 : 0;
}

struct proxied {
    struct ah_skcall_flow flow;
    struct ah_error why;
};

static void drop_proxied(struct ah_skcall_flow *f)
{
    ah_err_drop(&((struct proxied *)f)->why);
}

static void on_link(struct ah_skcall_flow *f, struct ah_op *child)
{
    struct proxied *p = (struct proxied *)f;
    struct ah_scalekit_op *link = (struct ah_scalekit_op *)child;
    char *text = child->err.kind == AH_NONE ? ah_json_dup(ah_json_get(link->answer, "link")) : NULL;
    ah_err_take_detail(&p->why, AH_SKCALL_OBJECT({"connection", f->connection}, {"identifier", f->identifier},
                                                 {"link", text}));
    free(text);
    ah_skcall_fail(f, &p->why);
}

/* The service no longer accepts the account: a new link goes with the error. */
static void ask_link(struct ah_skcall_flow *f)
{
    struct ah_error err = {0};
    struct ah_scalekit_who who = ah_skcall_who(f);
    struct ah_scalekit_op *op = ah_scalekit_get_link(f->sk, &who, NULL, NULL, &err);
    ah_skcall_run(f, op ? &op->op : NULL, &err, on_link);
}

static void on_proxied(struct ah_skcall_flow *f, struct ah_op *child)
{
    ah_skcall_keep(f, child);
    f->pub.res = ((struct ah_scalekit_op *)child)->res;
    if (child->err.kind == AH_TOOL_ERROR && child->err.status == 401) {
        ah_err_copy(&((struct proxied *)f)->why, &child->err);
        ask_link(f);
    } else if (child->err.kind != AH_NONE) {
        ah_skcall_fail(f, &child->err);
    } else {
        ah_skcall_finish(f, NULL);
    }
}

static struct ah_skcall *make_call(struct ah_scalekit *sk, const struct ah_scalekit_who *who,
                                   const struct ah_skproxy_req *req, const char *method, struct ah_error *err)
{
    struct ah_skcall *c = ah_skcall_make(sk, who, "proxy", "{}", 2, err);
    if (!c || fill_call(c, req, method) == 0)
        return c;
    c->flow.pub.op.done = true; /* never begun */
    ah_op_unref(&c->flow.pub.op);
    ah_err_set(err, AH_LIMIT, "the proxied request is too large");
    return NULL;
}

struct ah_scalekit_op *ah_skproxy_send(struct ah_scalekit *sk, const struct ah_scalekit_who *who,
                                       const struct ah_skproxy_req *req, struct ah_error *err)
{
    const char *method = req->method ? req->method : req->has_body ? "POST" : "GET";
    if (ah_skcall_settings(sk, err) != 0 || check_request(who, req, method, err) != 0)
        return NULL;
    struct ah_skcall *c = make_call(sk, who, req, method, err);
    struct proxied *p = c ? ah_skcall_new(sk, &proxy_class, sizeof *p, who, err) : NULL;
    if (!p) {
        if (c)
            c->flow.pub.op.done = true;
        ah_op_unref(c ? &c->flow.pub.op : NULL);
        return NULL;
    }
    p->flow.drop = drop_proxied;
    ah_skcall_begin(c);
    ah_skcall_run(&p->flow, &c->flow.pub.op, NULL, on_proxied);
    return &p->flow.pub;
}
