/* HTTP client on libcurl's socket interface; the only file that knows curl.h.
 *
 * Called by services and by lua_http.c. The life of a request: queued (loop's start phase, after the
 * journal's commit) -> attempt -> perhaps a wait and another attempt -> finished. libcurl's callbacks
 * only copy bytes or hand them to a C consumer; they never call Lua, never finish an op, never start
 * another transfer. Must not read JSON and must not know what a service means by its answer. */
#include "http.h"

#include "config.h"
#include "fault.h"
#include "limits.h"
#include "log.h"
#include "proxy.h"
#include "url.h"
#include "version.h"

#include <curl/curl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define POOL_MAX 256                       /* easy handles kept for reuse */
#define WITH_HEAD_BYTES ((size_t)32 << 10) /* of a body, sent together with the headers */
#define RECEIVE_BYTES 4096L                /* a thousand transfers at once are normal: small buffers */
#define SEND_BYTES 16384L
#define REDIRECTS_MAX 5
#define ROUNDS_MAX 2       /* libcurl's own repeats of an attempt: one */
#define FILES_RESERVED 128 /* journal, scripts, terminal, libraries */
#define CONNECTIONS_MAX 16384

enum phase { PHASE_QUEUED, PHASE_FULL, PHASE_FLIGHT, PHASE_WAIT, PHASE_DONE };

/* One of libcurl's multi handles, with its connections. There are two because libcurl 7 reads nothing more
 * from an HTTP/2 connection while one of its streams is paused, so that an answer whose reader may be slow
 * goes over HTTP/1.1; and because it confuses connections of both kinds to one server. */
struct lane {
    struct ah_http *http;
    CURLM *multi;
    struct ah_timer timer; /* libcurl's one timeout */
    struct sock **socks;   /* by file descriptor */
    size_t sock_cap;
};

struct ah_http {
    struct ah_loop *loop;
    struct ah_log *log;
    struct lane shared, streams;
    CURL *pool[POOL_MAX];
    int pooled;
    int in_flight, in_flight_max;
    char *ca_file;
    struct ah_proxy plain_proxy, tls_proxy; /* for http and https; no address: none */
    struct ah_error plain_trouble, tls_trouble;
    char *no_proxy;
    struct ah_http_impl *first, *last;           /* all unfinished requests */
    struct ah_http_impl *full_first, *full_last; /* those that wait for a free connection */
};

struct ah_http_impl {
    struct ah_http *http;
    struct lane *lane;
    struct ah_http_op *self;
    struct ah_http_impl *next, *prev;
    struct ah_http_impl *full_next;
    enum phase phase;

    /* set before the first attempt */
    char *method, *url, *body;
    size_t body_n;
    bool has_body, safe_to_repeat, stream, unsafe, tls;
    const struct ah_proxy *proxy; /* NULL: none */
    int redirects_left;
    struct curl_slist *headers;
    int64_t connect_ms, first_byte_ms, idle_ms, total_ms;
    size_t max_body;
    struct ah_http_retry retry;
    struct ah_http_req hooks; /* only the callbacks and arg are used */

    /* the current attempt */
    CURL *easy;
    struct ah_ready start;
    struct ah_timer timer;                              /* the next limit, or the end of a wait */
    size_t sent;                                        /* body bytes handed to libcurl */
    int rounds;                                         /* how often libcurl began to send it */
    long connect_status;                                /* what the proxy answered to CONNECT, 0: nothing */
    bool paused, streamed;                              /* streamed: the consumer took a byte */
    int64_t began_us, first_us, active_us, deadline_us; /* monotonic */
    struct ah_error stopped; /* why we stopped it ourselves; kind AH_NONE: we did not */
    char reason[CURL_ERROR_SIZE];
};

/* libcurl forgets a socket between two requests. We do not: a connection that is used again needs no system call to be
 * watched again. */
struct sock {
    struct ah_watch watch;
    curl_socket_t fd;
    struct lane *lane;
    int events;  /* that are watched */
    bool opened; /* by on_open: stays until on_close */
    bool idle;   /* no request uses it */
};

static void start_attempt(struct ah_ready *r);
static void end_attempt(struct ah_http_impl *i, CURLcode code);
static void arm_limit(struct ah_http_impl *i);

/* --- libcurl's side: sockets, timer, bytes --------------------------------------------------------- */

/* Finished transfers are collected here only, after libcurl has returned. */
static void drain(struct lane *lane)
{
    CURLMsg *msg;
    int left;
    while ((msg = curl_multi_info_read(lane->multi, &left))) {
        if (msg->msg != CURLMSG_DONE)
            continue;
        CURLcode code = msg->data.result; /* copied: the message dies with the handle's removal */
        char *private = NULL;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &private);
        end_attempt((struct ah_http_impl *)(void *)private, code);
    }
}

static struct sock *sock_of(const struct lane *lane, curl_socket_t fd)
{
    return (size_t)fd < lane->sock_cap ? lane->socks[fd] : NULL;
}

static struct sock *add_sock(struct lane *lane, curl_socket_t fd)
{
    if ((size_t)fd >= lane->sock_cap) {
        size_t cap = (size_t)fd + 64;
        struct sock **more = realloc(lane->socks, cap * sizeof *more);
        if (!more)
            return NULL;
        memset(more + lane->sock_cap, 0, (cap - lane->sock_cap) * sizeof *more);
        lane->socks = more;
        lane->sock_cap = cap;
    }
    struct sock *s = calloc(1, sizeof *s);
    if (s)
        *s = (struct sock){.fd = fd, .lane = lane};
    lane->socks[fd] = s;
    return s;
}

static void drop_sock(struct sock *s)
{
    ah_watch_stop(&s->watch);
    s->lane->socks[s->fd] = NULL;
    free(s);
}

static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *to)
{
    (void)purpose;
    int fd = socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
    struct sock *s = fd >= 0 ? add_sock(arg, fd) : NULL;
    if (s)
        s->opened = true;
    else if (fd >= 0)
        close(fd);
    return s ? fd : CURL_SOCKET_BAD;
}

static int on_close(void *arg, curl_socket_t fd)
{
    struct sock *s = sock_of(arg, fd);
    if (s)
        drop_sock(s);
    return close(fd);
}

static void unwatch(struct sock *s)
{
    ah_watch_stop(&s->watch);
    s->events = 0;
}

static void on_socket_ready(struct ah_watch *w, int events)
{
    struct sock *s = w->arg;
    struct lane *lane = s->lane; /* the socket may be gone afterwards */
    int flags = 0, running;
    if (s->idle) { /* the far end closed it: libcurl sees that when it wants the connection again */
        unwatch(s);
        return;
    }
    if (events & AH_WATCH_ERROR)
        flags |= CURL_CSELECT_ERR;
    if (events & AH_WATCH_READ)
        flags |= CURL_CSELECT_IN;
    if (events & AH_WATCH_WRITE)
        flags |= CURL_CSELECT_OUT;
    curl_multi_socket_action(lane->multi, s->fd, flags, &running);
    drain(lane);
}

static void leave_sock(struct sock *s)
{
    if (!s->opened) {
        drop_sock(s);
        return;
    }
    s->idle = true;
    ah_watch_background(&s->watch, true);
    if (s->events != AH_WATCH_READ)
        unwatch(s);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *assigned)
{
    struct lane *lane = arg;
    struct sock *s = sock_of(lane, fd);
    (void)easy;
    (void)assigned;
    if (what == CURL_POLL_REMOVE) {
        if (s)
            leave_sock(s);
        return 0;
    }
    if (!s && !(s = add_sock(lane, fd))) /* of the resolver, say */
        return -1;
    int events = 0;
    if (what & CURL_POLL_IN)
        events |= AH_WATCH_READ;
    if (what & CURL_POLL_OUT)
        events |= AH_WATCH_WRITE;
    s->idle = false;
    ah_watch_background(&s->watch, false);
    if (s->watch.impl && s->events == events)
        return 0;
    s->events = events;
    return ah_watch_start(lane->http->loop, &s->watch, fd, events, on_socket_ready, s);
}

static void on_curl_timeout(struct ah_timer *t)
{
    struct lane *lane = t->arg;
    int running;
    curl_multi_socket_action(lane->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    drain(lane);
}

static int on_timer(CURLM *multi, long ms, void *arg)
{
    struct lane *lane = arg;
    (void)multi;
    if (ms < 0) {
        ah_timer_stop(&lane->timer);
        return 0;
    }
    int rc = ah_timer_start(lane->http->loop, &lane->timer, ms, on_curl_timeout, lane);
    ah_timer_background(&lane->timer, lane->http->in_flight == 0);
    return rc;
}

static size_t on_read(char *to, size_t size, size_t count, void *arg)
{
    struct ah_http_impl *i = arg;
    size_t n = i->body_n - i->sent;
    if (n > size * count)
        n = size * count;
    memcpy(to, i->body + i->sent, n);
    i->sent += n;
    i->active_us = ah_clock_mono_us();
    if (!i->self->res.first_byte_sent)
        ah_fault_at("body");
    i->self->res.first_byte_sent = true;
    return n;
}

/* Only for what may be sent again; without it libcurl cannot rewind, and says so. */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
    struct ah_http_impl *i = arg;
    if (origin != SEEK_SET || offset < 0 || (size_t)offset > i->body_n)
        return CURL_SEEKFUNC_FAIL;
    i->sent = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

/* libcurl is about to send the request. It does so again, by itself, when an old connection turns out to be
 * dead and when HTTP/2 refuses the stream. That is another attempt, and one such is enough: after it the
 * policy decides. A body that cannot rewind is not begun again from the middle. */
static int on_begin(void *arg, char *there, char *here, int port_there, int port_here)
{
    struct ah_http_impl *i = arg;
    (void)there;
    (void)here;
    (void)port_there;
    (void)port_here;
    if (i->rounds++ == 0)
        return CURL_PREREQFUNC_OK;
    if (i->rounds > ROUNDS_MAX || (i->unsafe && i->sent > 0)) {
        i->rounds--;
        return CURL_PREREQFUNC_ABORT;
    }
    i->sent = 0;
    i->self->res.attempts++;
    return CURL_PREREQFUNC_OK;
}

static long status_of(struct ah_http_impl *i)
{
    long status = 0;
    curl_easy_getinfo(i->easy, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
    struct ah_http_impl *i = arg;
    struct ah_http_res *res = &i->self->res;
    size_t n = size * count, keep = n;
    int64_t now = ah_clock_mono_us();
    i->active_us = now;
    if (!res->answer_began)
        ah_fault_at("answer");
    res->answer_began = true;
    while (keep > 0 && (line[keep - 1] == '\r' || line[keep - 1] == '\n'))
        keep--;
    if (keep >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        ah_buf_clear(&res->headers); /* a new answer: after 1xx, or after a proxy's own */
        return n;
    }
    if (!i->first_us) {
        i->first_us = now;
        arm_limit(i);
    }
    const char *colon = memchr(line, ':', keep);
    if (!colon)
        return n;
    size_t name = (size_t)(colon - line), at = name + 1;
    while (at < keep && (line[at] == ' ' || line[at] == '\t'))
        at++;
    char *to = ah_buf_reserve(&res->headers, name + 2 + (keep - at) + 1);
    if (!to) {
        ah_err_set(&i->stopped, AH_LIMIT, "the answer's headers are larger than %zu KB",
                   AH_HTTP_HEADER_BYTES >> 10);
        return 0;
    }
    for (size_t k = 0; k < name; k++)
        *to++ = (char)(line[k] >= 'A' && line[k] <= 'Z' ? line[k] + 32 : line[k]);
    *to++ = ':';
    *to++ = ' ';
    memcpy(to, line + at, keep - at);
    to[keep - at] = '\n';
    res->headers.n += name + 2 + (keep - at) + 1;
    res->headers.p[res->headers.n] = '\0';
    return n;
}

static size_t feed_consumer(struct ah_http_impl *i, const char *p, size_t n)
{
    int rc = i->hooks.on_data(i->hooks.arg, p, n, &i->stopped);
    if (rc == 1) {
        i->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    if (rc != 0) {
        if (i->stopped.kind == AH_NONE)
            ah_err_set(&i->stopped, AH_CANCELLED, "the reader of the stream stopped it");
        return 0;
    }
    i->streamed = true;
    return n;
}

static size_t on_body(char *p, size_t size, size_t count, void *arg)
{
    struct ah_http_impl *i = arg;
    struct ah_http_res *res = &i->self->res;
    size_t n = size * count;
    i->active_us = ah_clock_mono_us();
    if (!i->first_us)
        i->first_us = i->active_us;
    res->status = (int)status_of(i);
    bool good = res->status >= 200 && res->status < 300;
    if (i->stream && good && i->hooks.on_data)
        return feed_consumer(i, p, n);
    if (i->stream && !good && res->body.n + n > AH_HTTP_ERROR_BODY_BYTES)
        return n; /* enough to know what went wrong */
    if (ah_buf_add(&res->body, p, n) != 0) {
        ah_err_set(&i->stopped, AH_LIMIT, "the answer is larger than %zu bytes (max_body sets the limit)",
                   i->max_body);
        return 0;
    }
    return n;
}

/* --- lists ------------------------------------------------------------------------------------------ */

static void link_request(struct ah_http *h, struct ah_http_impl *i)
{
    i->prev = h->last;
    if (h->last)
        h->last->next = i;
    else
        h->first = i;
    h->last = i;
}

static void unlink_request(struct ah_http *h, struct ah_http_impl *i)
{
    if (i->prev)
        i->prev->next = i->next;
    else
        h->first = i->next;
    if (i->next)
        i->next->prev = i->prev;
    else
        h->last = i->prev;
}

static void wait_for_room(struct ah_http *h, struct ah_http_impl *i)
{
    i->phase = PHASE_FULL;
    i->full_next = NULL;
    if (h->full_last)
        h->full_last->full_next = i;
    else
        h->full_first = i;
    h->full_last = i;
}

static void leave_waiting(struct ah_http *h, struct ah_http_impl *i)
{
    struct ah_http_impl *before = NULL;
    for (struct ah_http_impl *at = h->full_first; at; before = at, at = at->full_next) {
        if (at != i)
            continue;
        if (before)
            before->full_next = i->full_next;
        else
            h->full_first = i->full_next;
        if (h->full_last == i)
            h->full_last = before;
        return;
    }
}

static void leave_queue(struct ah_http_impl *i)
{
    if (i->phase == PHASE_QUEUED)
        ah_loop_unstart(i->http->loop, &i->start);
    else if (i->phase == PHASE_FULL)
        leave_waiting(i->http, i);
}

/* --- the end of a request ---------------------------------------------------------------------------- */

static void finish(struct ah_http_impl *i, struct ah_error *err)
{
    struct ah_http *h = i->http;
    struct ah_http_op *op = i->self;
    if (i->phase == PHASE_DONE)
        return;
    i->phase = PHASE_DONE;
    ah_timer_stop(&i->timer);
    unlink_request(h, i);
    op->res.done_us = ah_clock_mono_us() - i->began_us;
    err->attempts = op->res.attempts;
    err->waited_ms = op->res.waited_ms;
    ah_fault_at("result");
    ah_op_finish(&op->op, err);
}

/* There is room for one of those that wait. */
static void wake_next(struct ah_http *h)
{
    struct ah_http_impl *next = h->full_first;
    if (next) {
        h->full_first = next->full_next;
        if (!h->full_first)
            h->full_last = NULL;
        next->phase = PHASE_QUEUED;
        ah_loop_start(h->loop, &next->start);
    }
}

/* The easy handle leaves libcurl and goes back to the pool. */
static void release_easy(struct ah_http_impl *i)
{
    struct ah_http *h = i->http;
    if (!i->easy)
        return;
    curl_multi_remove_handle(i->lane->multi, i->easy);
    h->in_flight--;
    if (h->pooled < POOL_MAX) {
        curl_easy_reset(i->easy);
        h->pool[h->pooled++] = i->easy;
    } else {
        curl_easy_cleanup(i->easy);
    }
    i->easy = NULL;
    wake_next(h);
}

/* "POST api.example.com/v1/x": for messages, without query and userinfo. */
static void describe(const struct ah_http_impl *i, char *out, size_t size)
{
    struct ah_url u;
    if (ah_url_parse(i->url, strlen(i->url), &u, NULL) != 0) {
        snprintf(out, size, "%s", i->method);
        return;
    }
    snprintf(out, size, "%s %.*s%.*s", i->method, (int)(u.host.n < 200 ? u.host.n : 200), u.host.p,
             (int)(u.path.n < 200 ? u.path.n : 200), u.path.p ? u.path.p : "");
}

static void host_name(const struct ah_http_impl *i, char *out, size_t size)
{
    struct ah_url u;
    out[0] = '\0';
    if (ah_url_parse(i->url, strlen(i->url), &u, NULL) == 0)
        snprintf(out, size, "%.*s:%d", (int)(u.host.n < 200 ? u.host.n : 200), u.host.p, u.port);
}

static void tls_error(struct ah_error *err, const char *host, const char *reason)
{
    const char *help = "check the address, or name a CA file in SSL_CERT_FILE";
    if (strstr(reason, "expired"))
        help = "the server's certificate has expired; its owner must renew it";
    else if (strstr(reason, "self-signed") || strstr(reason, "self signed"))
        help = "the server signs for itself; if you trust it, name its certificate in SSL_CERT_FILE";
    else if (strstr(reason, "match") || strstr(reason, "subject name"))
        help = "the certificate belongs to another host name; check the URL";
    ah_err_set(err, AH_NETWORK, "the TLS certificate of %s was not accepted (%s): %s", host, reason, help);
    snprintf(err->code, sizeof err->code, "tls");
}

static void proxy_refusal(struct ah_http_impl *i, int status, struct ah_error *err)
{
    char host[256];
    host_name(i, host, sizeof host);
    ah_err_set(err, status == 407 ? AH_CONFIG : AH_NETWORK,
               "the proxy %.200s (from %s) did not pass a request on to %s: status %d%s", i->proxy->address,
               i->proxy->variable, host, status,
               status != 407    ? ""
               : i->proxy->user ? ", name or password are wrong"
                                : ", it wants a name and a password: http://name:password@host:port");
    snprintf(err->code, sizeof err->code, "proxy");
    err->retryable = status == 429 || status >= 500;
}

/* The proxy could not be reached or did not do its part. False: what failed is behind it. */
static bool proxy_error(struct ah_http_impl *i, CURLcode code, const char *reason, struct ah_error *err)
{
    if (!i->proxy)
        return false;
    if (i->connect_status >= 300) {
        proxy_refusal(i, (int)i->connect_status, err);
        return true;
    }
    if (code != CURLE_COULDNT_RESOLVE_PROXY && code != CURLE_COULDNT_CONNECT && code != CURLE_PROXY)
        return false;
    ah_err_set(err, AH_NETWORK,
               "the proxy %.200s could not be used (%s): check %s, or name hosts that need none in no_proxy",
               i->proxy->address, reason, i->proxy->variable);
    snprintf(err->code, sizeof err->code, "proxy");
    err->retryable = true;
    return true;
}

/* What libcurl says, in our words. */
static void transport_error(struct ah_http_impl *i, CURLcode code, struct ah_error *err)
{
    char host[256];
    const char *reason = i->reason[0] ? i->reason : curl_easy_strerror(code);
    host_name(i, host, sizeof host);
    if (proxy_error(i, code, reason, err))
        return;
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
        ah_err_set(err, AH_NETWORK, "no such host as %s (%s): check the URL and your network", host, reason);
        err->retryable = true;
        break;
    case CURLE_COULDNT_CONNECT:
        ah_err_set(err, AH_NETWORK, "could not connect to %s (%s): is it running, and is the port right?",
                   host, reason);
        err->retryable = true;
        break;
    case CURLE_OPERATION_TIMEDOUT:
        ah_err_set(err, AH_TIMEOUT, "no connection to %s within %.1f s", host, (double)i->connect_ms / 1000);
        err->retryable = true;
        break;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        tls_error(err, host, reason);
        break;
    case CURLE_URL_MALFORMAT:
        ah_err_set(err, AH_CONFIG, "not a usable URL (%s)", reason);
        break;
    case CURLE_PARTIAL_FILE:
        if (i->self->res.answer_began)
            ah_err_set(err, AH_TRUNCATED, "the answer of %s stopped before its end", host);
        else
            ah_err_set(err, AH_NETWORK, "%s closed the connection without an answer", host);
        err->retryable = true;
        break;
    case CURLE_ABORTED_BY_CALLBACK: /* on_begin */
        ah_err_set(err, AH_NETWORK, "%s dropped or refused the request again and again", host);
        err->retryable = true;
        break;
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9, or no HTTP at all: ah_url_parse saw to the scheme */
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP_RETURNED_ERROR:
        ah_err_set(err, AH_PROTOCOL, "%s did not answer in HTTP (%s)", host, reason);
        break;
    case CURLE_OUT_OF_MEMORY:
        if (i->self->res.answer_began || strstr(reason, "header")) { /* libcurl's own maximum of a line */
            ah_err_set(err, AH_LIMIT, "a header of %s's answer is too large", host);
            break;
        }
        ah_err_set(err, AH_MEMORY, "out of memory during a request to %s", host);
        break;
    default: /* SEND_ERROR RECV_ERROR GOT_NOTHING HTTP2 HTTP2_STREAM SSL_CONNECT_ERROR ... */
        ah_err_set(err, i->self->res.answer_began ? AH_TRUNCATED : AH_NETWORK,
                   "the connection to %s failed (%s)", host, reason);
        err->retryable = true;
    }
}

static void status_error(struct ah_http_impl *i, int status, struct ah_error *err)
{
    char what[512];
    if (status == 407 && i->proxy) {
        proxy_refusal(i, status, err);
        err->status = status;
        return;
    }
    describe(i, what, sizeof what);
    enum ah_kind kind = AH_HTTP;
    if (status == 401 || status == 403)
        kind = AH_AUTH;
    else if (status == 404)
        kind = AH_NOT_FOUND;
    else if (status == 400 || status == 422)
        kind = AH_INVALID;
    else if (status == 429)
        kind = AH_RATE_LIMIT;
    ah_err_set(err, kind, "%s was answered with status %d", what, status);
    err->status = status;
    err->retryable = status == 408 || status == 409 || status == 429 || status >= 500;
}

/* retry-after-ms, then retry-after in seconds or as a date. 0: nothing usable. */
static int64_t parse_retry_after(const struct ah_http_res *res)
{
    char value[128], *end;
    if (ah_http_header(res, "retry-after-ms", value, sizeof value)[0]) {
        double ms = strtod(value, &end);
        if (end != value && isfinite(ms) && ms > 0 && ms < 1e12) {
            double up = ceil(ms);
            return (int64_t)up;
        }
    }
    if (!ah_http_header(res, "retry-after", value, sizeof value)[0])
        return 0;
    double s = strtod(value, &end);
    if (end != value && *end == '\0') {
        double ms = ceil(s * 1000);
        return isfinite(s) && s > 0 && s < 1e9 ? (int64_t)ms : 0;
    }
    time_t at = curl_getdate(value, NULL);
    if (at < 0)
        return 0;
    int64_t left = (int64_t)at - (int64_t)time(NULL);
    return left > 0 ? left * 1000 : 0;
}

static void read_advice(const struct ah_http_res *res, struct ah_error *err)
{
    char value[16];
    err->retry_after_ms = parse_retry_after(res);
    ah_http_header(res, "x-should-retry", value, sizeof value);
    if (strcmp(value, "true") == 0)
        err->retryable = true;
    else if (strcmp(value, "false") == 0)
        err->retryable = false;
    ah_http_request_id(res, err->request_id, sizeof err->request_id);
}

/* The verdict over one attempt. err stays AH_NONE when it succeeded. */
static void judge(struct ah_http_impl *i, CURLcode code, struct ah_error *err)
{
    struct ah_http_res *res = &i->self->res;
    if (i->stopped.kind != AH_NONE)
        ah_err_move(err, &i->stopped);
    else if (code != CURLE_OK)
        transport_error(i, code, err);
    else if (res->status >= 300 && res->status != 304)
        status_error(i, res->status, err);
    bool no_answer = err->kind != AH_NONE && err->status == 0;
    if (no_answer && i->unsafe && res->first_byte_sent) {
        char what[512], why[400];
        describe(i, what, sizeof what);
        snprintf(why, sizeof why, "%.390s", err->message);
        ah_err_set(err, AH_OUTCOME_UNKNOWN,
                   "%s left this machine and no whole answer came (%s): it may have been carried out; look "
                   "before you repeat it",
                   what, why);
        err->retryable = false;
    } else if (err->kind != AH_NONE && res->answer_began) {
        read_advice(res, err);
    }
}

/* Milliseconds to wait before the next attempt; -1: there is none. */
static int64_t next_wait(struct ah_http_impl *i, const struct ah_error *err)
{
    struct ah_http_res *res = &i->self->res;
    int max = i->retry.max < 0 ? 0 : i->retry.max > 0 ? i->retry.max : AH_RETRY_MAX;
    if (!err->retryable || res->attempts > max)
        return -1;
    if (!i->safe_to_repeat && (res->first_byte_sent || res->answer_began))
        return -1;
    if (i->streamed && !(i->hooks.may_retry_stream && i->hooks.may_retry_stream(i->hooks.arg)))
        return -1;
    if (err->retry_after_ms > AH_RETRY_AFTER_MAX_MS)
        return -1;
    int64_t base = i->retry.base_ms > 0 ? i->retry.base_ms : AH_RETRY_BASE_MS;
    int64_t cap = i->retry.cap_ms > 0 ? i->retry.cap_ms : AH_RETRY_CAP_MS;
    int64_t wait = err->retry_after_ms;
    if (wait <= 0) {
        int doublings = res->attempts - 1;
        double grown = (double)base * pow(2, doublings < 30 ? doublings : 30);
        double jitter = 1 - 0.25 * ah_ids_unit(ah_loop_ids(i->http->loop));
        double chosen = (grown < (double)cap ? grown : (double)cap) * jitter;
        wait = (int64_t)chosen;
    }
    return ah_clock_mono_us() + wait * 1000 < i->deadline_us ? wait : -1;
}

/* The total limit holds for waiting too: for the journal, and for a free connection. */
static void on_queued_too_long(struct ah_timer *t)
{
    struct ah_http_impl *i = t->arg;
    struct ah_error err = {0};
    leave_queue(i);
    ah_err_set(
        &err, AH_TIMEOUT, "the request was not even begun within %.1f s: %s", (double)i->total_ms / 1000,
        i->phase == PHASE_FULL ? "too many requests are under way" : "the journal could not be written");
    finish(i, &err);
}

static void queue_attempt(struct ah_http_impl *i)
{
    i->phase = PHASE_QUEUED;
    ah_loop_start(i->http->loop, &i->start);
    int64_t left = (i->deadline_us - ah_clock_mono_us()) / 1000;
    ah_timer_start(i->http->loop, &i->timer, left > 0 ? left : 0, on_queued_too_long, i);
}

static void on_wait_over(struct ah_timer *t)
{
    struct ah_http_impl *i = t->arg;
    ah_timer_stop(&i->timer);
    queue_attempt(i);
}

/* GET and HEAD go on to the same origin. True: another attempt is queued. */
static bool follow_redirect(struct ah_http_impl *i, struct ah_error *err)
{
    int status = i->self->res.status;
    char location[4096], *target = NULL;
    bool moved = status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
    if (!moved || !ah_http_header(&i->self->res, "location", location, sizeof location)[0])
        return false;
    bool reading = strcmp(i->method, "GET") == 0 || strcmp(i->method, "HEAD") == 0;
    CURLU *base = curl_url();
    if (base && curl_url_set(base, CURLUPART_URL, i->url, 0) == CURLUE_OK &&
        curl_url_set(base, CURLUPART_URL, location, 0) == CURLUE_OK)
        curl_url_get(base, CURLUPART_URL, &target, 0);
    curl_url_cleanup(base);
    struct ah_url from, to;
    bool same = target && ah_url_parse(i->url, strlen(i->url), &from, NULL) == 0 &&
                ah_url_parse(target, strlen(target), &to, NULL) == 0 && ah_url_same_origin(&from, &to);
    char *copy = same && reading && i->redirects_left > 0 ? strdup(target) : NULL;
    curl_free(target);
    if (!copy) {
        char what[512];
        describe(i, what, sizeof what);
        ah_err_set(err, AH_HTTP, "%s was redirected (status %d), and the redirect was not followed: %s", what,
                   status,
                   !same     ? "it leads to another origin; use the final URL"
                   : reading ? "too many redirects"
                             : "only GET and HEAD follow redirects; use the final URL");
        err->status = status;
        return false;
    }
    i->redirects_left--;
    free(i->url);
    i->url = copy;
    i->self->res.attempts--; /* the same attempt, one step further */
    ah_buf_clear(&i->self->res.body);
    queue_attempt(i);
    return true;
}

static bool goes_with_head(const struct ah_http_impl *i)
{
    return i->safe_to_repeat && i->body_n <= WITH_HEAD_BYTES;
}

/* Where no callback told: without a body the request itself is what executes. */
static void note_sent(struct ah_http_impl *i)
{
    long bytes = 0;
    if (i->has_body && !goes_with_head(i))
        return;
    curl_easy_getinfo(i->easy, CURLINFO_REQUEST_SIZE, &bytes);
    i->self->res.first_byte_sent = bytes > 0 && i->rounds > 0; /* not what a proxy was told before */
}

/* With -v, a line an attempt: where, what came, how long. Never the query, headers or bodies. */
static void say_attempt(const struct ah_http_impl *i)
{
    char what[512], status[32] = "no answer";
    if (!i->http->log || i->http->log->level < AH_LOG_DEBUG)
        return;
    describe(i, what, sizeof what);
    if (i->self->res.status)
        snprintf(status, sizeof status, "status %d", i->self->res.status);
    ah_log_line(i->http->log, AH_LOG_DEBUG, "%s: %s after %.0f ms", what, status,
                (double)(ah_clock_mono_us() - i->began_us) / 1000);
}

static void end_attempt(struct ah_http_impl *i, CURLcode code)
{
    struct ah_http_res *res = &i->self->res;
    struct ah_error err = {0};
    long version = 0;
    res->status = (int)status_of(i);
    curl_easy_getinfo(i->easy, CURLINFO_HTTP_VERSION, &version);
    res->http_version = version == CURL_HTTP_VERSION_2_0 ? 20 : version == CURL_HTTP_VERSION_1_0 ? 10 : 11;
    if (i->first_us)
        res->first_byte_us = i->first_us - i->began_us;
    curl_easy_getinfo(i->easy, CURLINFO_HTTP_CONNECTCODE, &i->connect_status);
    note_sent(i);
    release_easy(i);
    ah_timer_stop(&i->timer);
    say_attempt(i);
    judge(i, code, &err);
    if (code == CURLE_OK && follow_redirect(i, &err)) {
        ah_err_drop(&err);
        return;
    }
    if (i->hooks.classify)
        i->hooks.classify(i->hooks.arg, res, &err);
    int64_t wait = err.kind == AH_NONE ? -1 : next_wait(i, &err);
    if (wait < 0) {
        finish(i, &err);
        return;
    }
    if (i->hooks.on_retry)
        i->hooks.on_retry(i->hooks.arg, res->attempts, wait, &err);
    ah_log_line(i->http->log, AH_LOG_DEBUG, "%s; attempt %d, next in %.2f s", err.message, res->attempts,
                (double)wait / 1000);
    res->waited_ms += wait;
    i->phase = PHASE_WAIT;
    if (ah_timer_start(i->http->loop, &i->timer, wait, on_wait_over, i) != 0)
        finish(i, &err);
    ah_err_drop(&err);
}

/* --- limits ------------------------------------------------------------------------------------------- */

static int64_t next_limit(struct ah_http_impl *i, const char **what, int64_t *limit_ms)
{
    int64_t phase_end =
        i->self->res.answer_began ? i->active_us + i->idle_ms * 1000 : i->active_us + i->first_byte_ms * 1000;
    *what = i->self->res.answer_began ? "no byte came" : "no answer began";
    *limit_ms = i->self->res.answer_began ? i->idle_ms : i->first_byte_ms;
    if (i->paused && i->self->res.answer_began)
        phase_end = INT64_MAX; /* it is our reader who is slow */
    if (i->deadline_us <= phase_end) {
        *what = "the request was not over";
        *limit_ms = i->total_ms;
        return i->deadline_us;
    }
    return phase_end;
}

static void on_limit(struct ah_timer *t)
{
    struct ah_http_impl *i = t->arg;
    const char *what;
    int64_t limit_ms, at = next_limit(i, &what, &limit_ms);
    if (at > ah_clock_mono_us()) { /* bytes came since it was set */
        arm_limit(i);
        return;
    }
    char host[256];
    host_name(i, host, sizeof host);
    ah_err_set(&i->stopped, AH_TIMEOUT, "%s from %s within %.1f s", what, host, (double)limit_ms / 1000);
    i->stopped.retryable = at != i->deadline_us;
    end_attempt(i, CURLE_OPERATION_TIMEDOUT);
}

/* Bytes only move the limit further away, so the timer is set anew when it fires; but a phase with a
 * shorter limit (the answer began, a paused reader goes on) sets it at once. */
static void arm_limit(struct ah_http_impl *i)
{
    const char *what;
    int64_t limit_ms, left = next_limit(i, &what, &limit_ms) - ah_clock_mono_us();
    ah_timer_start(i->http->loop, &i->timer, left > 0 ? left / 1000 + 1 : 0, on_limit, i);
}

static void on_stopped(struct ah_timer *t)
{
    end_attempt(t->arg, CURLE_WRITE_ERROR);
}

/* --- one attempt ---------------------------------------------------------------------------------------- */

static CURL *take_easy(struct ah_http *h)
{
    return h->pooled > 0 ? h->pool[--h->pooled] : curl_easy_init();
}

/* A small body that may be sent again goes with the headers, in one packet; libcurl has it then, and no
 * callback tells when it leaves. Others come through a callback, which cannot rewind what must not repeat. */
static void set_body(struct ah_http_impl *i, CURL *e)
{
    if (i->has_body || strcmp(i->method, "POST") == 0) {
        curl_easy_setopt(e, CURLOPT_POST, 1L);
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)i->body_n);
        if (strcmp(i->method, "POST") != 0)
            curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, i->method);
        if (goes_with_head(i)) {
            curl_easy_setopt(e, CURLOPT_POSTFIELDS, i->body);
            return;
        }
        curl_easy_setopt(e, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(e, CURLOPT_READDATA, i);
        curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, SEND_BYTES);
        if (i->safe_to_repeat) {
            curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek);
            curl_easy_setopt(e, CURLOPT_SEEKDATA, i);
        }
    } else if (strcmp(i->method, "HEAD") == 0) {
        curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    } else if (strcmp(i->method, "GET") != 0) {
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, i->method);
    }
}

/* Said of every request: else libcurl would read the variables itself, with its own meaning of them. */
static void set_proxy(struct ah_http_impl *i, CURL *e)
{
    curl_easy_setopt(e, CURLOPT_PROXY, i->proxy ? i->proxy->address : "");
    curl_easy_setopt(e, CURLOPT_NOPROXY, "");
    if (!i->proxy)
        return;
    curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L); /* they are no part of the answer */
    if (i->proxy->user)
        curl_easy_setopt(e, CURLOPT_PROXYUSERNAME, i->proxy->user);
    if (i->proxy->password)
        curl_easy_setopt(e, CURLOPT_PROXYPASSWORD, i->proxy->password);
    if (i->http->ca_file)
        curl_easy_setopt(e, CURLOPT_PROXY_CAINFO, i->http->ca_file);
}

static void set_options(struct ah_http_impl *i, CURL *e)
{
    curl_easy_setopt(e, CURLOPT_URL, i->url);
    curl_easy_setopt(e, CURLOPT_PRIVATE, i);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, i->lane);
    curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    curl_easy_setopt(e, CURLOPT_CLOSESOCKETDATA, i->lane);
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L); /* else a cancel waits for a slow resolver */
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION,
                     i->lane == &i->http->streams ? CURL_HTTP_VERSION_1_1 : CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, i->headers);
    curl_easy_setopt(e, CURLOPT_USERAGENT, "agenthost/" AH_VERSION);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)i->connect_ms);
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE, RECEIVE_BYTES);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, i);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, i);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, i->reason);
    curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_begin);
    curl_easy_setopt(e, CURLOPT_PREREQDATA, i);
    if (i->tls) /* wait for the first connection: over HTTP/2 it may carry this request too */
        curl_easy_setopt(e, CURLOPT_PIPEWAIT, 1L);
    if (!i->stream)
        curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, "gzip, deflate");
    if (i->unsafe)
        curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, (long)AH_HTTP_UNSAFE_MAXAGE_S);
    if (i->unsafe &&
        !i->has_body) /* nothing to rewind: on a dead old connection libcurl would send it again */
        curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
    if (i->http->ca_file)
        curl_easy_setopt(e, CURLOPT_CAINFO, i->http->ca_file);
    set_proxy(i, e);
    set_body(i, e);
}

/* From the loop's start phase: the journal holds what led here. The one call of
 * curl_multi_add_handle. */
static void start_attempt(struct ah_ready *r)
{
    struct ah_http_impl *i = (struct ah_http_impl *)((char *)r - offsetof(struct ah_http_impl, start));
    struct ah_http *h = i->http;
    if (h->in_flight >= h->in_flight_max) {
        wait_for_room(h, i);
        return;
    }
    struct ah_http_res *res = &i->self->res;
    i->easy = take_easy(h);
    i->active_us = ah_clock_mono_us();
    if (res->attempts++ == 0)
        i->began_us = i->active_us;
    i->phase = PHASE_FLIGHT;
    i->sent = 0;
    i->rounds = 0;
    i->connect_status = 0;
    i->first_us = 0;
    i->paused = i->streamed = false;
    i->reason[0] = '\0';
    res->status = 0;
    res->first_byte_sent = res->answer_began = false;
    ah_buf_clear(&res->body);
    ah_buf_clear(&res->headers);
    struct ah_error err = {0};
    arm_limit(i);
    if (!i->easy || !i->timer.impl) {
        if (i->easy)
            curl_easy_cleanup(i->easy);
        i->easy = NULL;
        wake_next(h);
        ah_err_set(&err, AH_MEMORY, "out of memory before a request");
        finish(i, &err);
        return;
    }
    set_options(i, i->easy);
    ah_fault_at("send");
    h->in_flight++;
    if (curl_multi_add_handle(i->lane->multi, i->easy) != CURLM_OK) {
        release_easy(i);
        ah_err_set(&err, AH_IO, "libcurl refused the request");
        finish(i, &err);
    }
}

/* --- the op ---------------------------------------------------------------------------------------------- */

static void cancel_request(struct ah_op *op)
{
    struct ah_http_op *self = (struct ah_http_op *)op;
    struct ah_http_impl *i = self->impl;
    struct ah_error err = {0};
    leave_queue(i);
    bool in_flight = i->phase == PHASE_FLIGHT;
    if (in_flight)
        note_sent(i);
    if (in_flight && i->unsafe && self->res.first_byte_sent) {
        char what[512];
        describe(i, what, sizeof what);
        ah_err_set(&err, AH_OUTCOME_UNKNOWN,
                   "%s was cancelled after it had left this machine: it may have been "
                   "carried out; look before you repeat it",
                   what);
    }
    release_easy(i);
    finish(i, &err);
}

static void free_impl(struct ah_http_impl *i)
{
    if (!i)
        return;
    curl_slist_free_all(i->headers);
    free(i->method);
    free(i->url);
    free(i->body);
    ah_err_drop(&i->stopped);
    free(i);
}

static void free_request(struct ah_op *op)
{
    struct ah_http_op *self = (struct ah_http_op *)op;
    ah_buf_drop(&self->res.body);
    ah_buf_drop(&self->res.headers);
    free_impl(self->impl);
    free(self);
}

static const struct ah_op_class http_class = {"the HTTP request", cancel_request, free_request};

static bool is_token(const char *s)
{
    static const char extra[] = "!#$%&'*+-.^_`|~";
    for (const char *p = s; *p; p++)
        if (!((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
              strchr(extra, *p)))
            return false;
    return *s != '\0';
}

/* libcurl's ways: "Name:" removes a header, "Name;" sends an empty one. */
static int add_header(struct ah_http_impl *i, const char *name, const char *value, struct ah_error *err)
{
    if (!is_token(name) || value[strcspn(value, "\r\n")])
        return ah_err_set(err, AH_INVALID, "header '%.64s' holds characters that HTTP does not allow", name);
    struct ah_buf line;
    ah_buf_init(&line, AH_HTTP_HEADER_BYTES);
    ah_buf_adds(&line, name);
    ah_buf_adds(&line, value[0] ? ": " : ";");
    ah_buf_adds(&line, value);
    struct curl_slist *grown = line.failed ? NULL : curl_slist_append(i->headers, line.p);
    bool too_long = line.failed;
    ah_buf_drop(&line);
    if (too_long)
        return ah_err_set(err, AH_LIMIT, "header '%.64s' is too long", name);
    if (!grown)
        return ah_err_set(err, AH_MEMORY, "out of memory");
    i->headers = grown;
    return 0;
}

static int set_headers(struct ah_http_impl *i, const struct ah_http_req *req, struct ah_error *err)
{
    bool typed = false;
    for (size_t k = 0; k < req->header_count; k++) {
        if (strcasecmp(req->headers[k].name, "content-type") == 0)
            typed = true;
        if (add_header(i, req->headers[k].name, req->headers[k].value, err) != 0)
            return -1;
    }
    struct curl_slist *grown = curl_slist_append(i->headers, "Expect:"); /* no waiting for 100 Continue */
    if (grown)
        i->headers = grown;
    if (grown && !typed) {
        grown = curl_slist_append(i->headers, "Content-Type:");
        if (grown)
            i->headers = grown;
    }
    return grown ? 0 : ah_err_set(err, AH_MEMORY, "out of memory");
}

static int64_t or_default(int64_t given, int64_t otherwise)
{
    return given > 0 ? given : otherwise;
}

static bool is_idempotent(const char *method)
{
    static const char *const names[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"};
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++)
        if (strcmp(method, names[k]) == 0)
            return true;
    return false;
}

static int choose_proxy(struct ah_http_impl *i, const struct ah_url *url, struct ah_error *err)
{
    const struct ah_http *h = i->http;
    const struct ah_proxy *proxy = url->tls ? &h->tls_proxy : &h->plain_proxy;
    const struct ah_error *trouble = url->tls ? &h->tls_trouble : &h->plain_trouble;
    if ((!proxy->address && trouble->kind == AH_NONE) || ah_proxy_is_exempt(h->no_proxy, url))
        return 0;
    if (trouble->kind != AH_NONE)
        return ah_err_copy(err, trouble), -1;
    i->proxy = proxy;
    return 0;
}

static int fill(struct ah_http_impl *i, const struct ah_http_req *req, struct ah_error *err)
{
    struct ah_url url;
    const char *method = req->method ? req->method : req->has_body ? "POST" : "GET";
    if (!is_token(method))
        return ah_err_set(err, AH_INVALID, "'%.32s' is not an HTTP method", method);
    if (ah_url_parse(req->url, strlen(req->url), &url, err) != 0 || choose_proxy(i, &url, err) != 0)
        return -1;
    i->tls = url.tls;
    i->method = strdup(method);
    i->url = strdup(req->url);
    i->body = malloc(req->body_n + 1);
    if (!i->method || !i->url || !i->body)
        return ah_err_set(err, AH_MEMORY, "out of memory");
    if (req->body_n)
        memcpy(i->body, req->body, req->body_n);
    i->body_n = req->body_n;
    i->has_body = req->has_body && req->body_n > 0;
    i->safe_to_repeat = !req->once && (req->idempotent || is_idempotent(method));
    i->unsafe = !i->safe_to_repeat;
    i->stream = req->stream;
    i->lane = req->stream ? &i->http->streams : &i->http->shared;
    i->redirects_left = req->refuse_redirects ? 0 : REDIRECTS_MAX;
    i->connect_ms = or_default(req->connect_ms, AH_HTTP_CONNECT_MS);
    i->first_byte_ms = or_default(req->first_byte_ms, AH_HTTP_FIRST_BYTE_MS);
    i->idle_ms = or_default(req->idle_ms, AH_HTTP_IDLE_MS);
    i->total_ms = or_default(req->total_ms, AH_HTTP_TOTAL_MS);
    i->max_body = req->max_body ? req->max_body : AH_HTTP_BODY_BYTES;
    i->retry = req->retry;
    i->hooks = *req;
    return set_headers(i, req, err);
}

struct ah_http_op *ah_http_send(struct ah_http *h, const struct ah_http_req *req, struct ah_error *err)
{
    struct ah_http_op *op = calloc(1, sizeof *op);
    struct ah_http_impl *i = calloc(1, sizeof *i);
    if (!op || !i) {
        free(op);
        free(i);
        ah_err_set(err, AH_MEMORY, "out of memory");
        return NULL;
    }
    i->http = h;
    if (fill(i, req, err) != 0) {
        free_impl(i);
        free(op);
        return NULL;
    }
    ah_op_init(&op->op, &http_class, h->loop);
    op->impl = i;
    ah_buf_init(&op->res.body, i->max_body);
    ah_buf_init(&op->res.headers, AH_HTTP_HEADER_BYTES);
    i->self = op;
    i->start.run = start_attempt;
    i->began_us = ah_clock_mono_us();
    i->deadline_us = i->began_us + i->total_ms * 1000;
    link_request(h, i);
    queue_attempt(i);
    return op;
}

struct ah_http_op *ah_http_answered(struct ah_http *h, int status, const char *body, size_t n,
                                    struct ah_error *err)
{
    struct ah_http_op *op = calloc(1, sizeof *op);
    if (op) {
        ah_op_init(&op->op, &http_class, h->loop);
        op->res.status = status;
        ah_buf_init(&op->res.body, n);
        ah_buf_init(&op->res.headers, AH_HTTP_HEADER_BYTES);
        ah_buf_add(&op->res.body, body, n);
        ah_op_finish(&op->op, NULL);
    }
    if (!op || op->res.body.failed) {
        if (op)
            ah_op_unref(&op->op);
        ah_err_set(err, AH_MEMORY, "out of memory");
        return NULL;
    }
    return op;
}

void ah_http_resume(struct ah_http_op *op)
{
    struct ah_http_impl *i = op->impl;
    if (!i || !i->paused || i->phase != PHASE_FLIGHT)
        return;
    i->paused = false;
    i->active_us = ah_clock_mono_us();
    arm_limit(i);
    /* It may call on_body at once. When that stops the request, libcurl tells only us, here. */
    if (curl_easy_pause(i->easy, CURLPAUSE_CONT) != CURLE_OK)
        ah_timer_start(i->http->loop, &i->timer, 0, on_stopped, i);
}

/* --- answers ----------------------------------------------------------------------------------------------- */

const char *ah_http_header(const struct ah_http_res *res, const char *lower_name, char *out, size_t size)
{
    size_t name = strlen(lower_name);
    out[0] = '\0';
    for (const char *line = ah_buf_str(&res->headers); *line;) {
        const char *end = strchr(line, '\n');
        size_t n = end ? (size_t)(end - line) : strlen(line);
        if (n >= name + 2 && memcmp(line, lower_name, name) == 0 && line[name] == ':') {
            size_t value = n - name - 2;
            if (value >= size)
                value = size - 1;
            memcpy(out, line + name + 2, value);
            out[value] = '\0';
        }
        line += n + (end != NULL);
    }
    return out;
}

const char *ah_http_request_id(const struct ah_http_res *res, char *out, size_t size)
{
    static const char *const names[] = {"x-request-id", "request-id", "apim-request-id", "x-litellm-call-id"};
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++)
        if (ah_http_header(res, names[k], out, size)[0])
            break;
    return out;
}

/* --- the client ---------------------------------------------------------------------------------------------- */

/* How many transfers may run at once, by the limit of open files. Both ends of a connection may be ours (the
 * emulator), so it is half of what is left. */
static int choose_capacity(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return 256;
    if (r.rlim_cur == RLIM_INFINITY || r.rlim_cur > 2 * CONNECTIONS_MAX + FILES_RESERVED)
        return CONNECTIONS_MAX;
    long room = ((long)r.rlim_cur - FILES_RESERVED) / 2;
    return room > 8 ? (int)room : 8;
}

void ah_http_set_ca(struct ah_http *h, const char *ca_file)
{
    free(h->ca_file);
    h->ca_file = ca_file && ca_file[0] ? strdup(ca_file) : NULL;
}

static int open_lane(struct ah_http *h, struct lane *lane)
{
    lane->http = h;
    lane->multi = curl_multi_init();
    if (!lane->multi)
        return -1;
    curl_multi_setopt(lane->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(lane->multi, CURLMOPT_SOCKETDATA, lane);
    curl_multi_setopt(lane->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(lane->multi, CURLMOPT_TIMERDATA, lane);
    curl_multi_setopt(lane->multi, CURLMOPT_MAXCONNECTS, (long)h->in_flight_max);
    return 0;
}

static void close_lane(struct lane *lane)
{
    if (lane->multi)
        curl_multi_cleanup(lane->multi); /* closes idle connections: calls on_close */
    for (size_t fd = 0; fd < lane->sock_cap; fd++)
        if (lane->socks[fd])
            drop_sock(lane->socks[fd]);
    free(lane->socks);
    if (lane->http)
        ah_timer_stop(&lane->timer);
}

static void read_proxies(struct ah_http *h, struct ah_config *config)
{
    const char *name = NULL, *value, *none;
    /* HTTP_PROXY is what CGI makes of a request's header "Proxy": nobody may choose our proxy that way. */
    if ((value = ah_config_first(config, &name, "http_proxy", "all_proxy", "ALL_PROXY", NULL)))
        ah_proxy_parse(&h->plain_proxy, name, value, &h->plain_trouble);
    if ((value =
             ah_config_first(config, &name, "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", NULL)))
        ah_proxy_parse(&h->tls_proxy, name, value, &h->tls_trouble);
    if ((none = ah_config_first(config, NULL, "no_proxy", "NO_PROXY", NULL)))
        h->no_proxy = strdup(none);
}

struct ah_http *ah_http_new(struct ah_loop *loop, struct ah_log *log, struct ah_config *config,
                            struct ah_error *err)
{
    struct ah_http *h = calloc(1, sizeof *h);
    if (!h || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) { /* counted, and safe in several threads */
        free(h);
        ah_err_set(err, AH_MEMORY, "out of memory");
        return NULL;
    }
    h->loop = loop;
    h->log = log;
    h->in_flight_max = choose_capacity();
    if (open_lane(h, &h->shared) != 0 || open_lane(h, &h->streams) != 0) {
        ah_http_free(h);
        ah_err_set(err, AH_MEMORY, "out of memory");
        return NULL;
    }
    if (config) {
        ah_http_set_ca(h, ah_config_get(config, "SSL_CERT_FILE"));
        read_proxies(h, config);
    }
    if (!(curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_ASYNCHDNS))
        ah_log_once(
            log, AH_ONCE_RESOLVER, AH_LOG_WARN,
            "this libcurl resolves host names while everything else waits; install one with c-ares or "
            "threads");
    return h;
}

void ah_http_free(struct ah_http *h)
{
    if (!h)
        return;
    while (h->first) {
        struct ah_op *op = ah_op_ref(&h->first->self->op);
        ah_op_cancel(op);
        ah_op_unref(op);
    }
    while (h->pooled > 0)
        curl_easy_cleanup(h->pool[--h->pooled]);
    close_lane(&h->shared);
    close_lane(&h->streams);
    curl_global_cleanup();
    ah_proxy_drop(&h->plain_proxy);
    ah_proxy_drop(&h->tls_proxy);
    ah_err_drop(&h->plain_trouble);
    ah_err_drop(&h->tls_trouble);
    free(h->no_proxy);
    free(h->ca_file);
    free(h);
}

int ah_http_in_flight(const struct ah_http *h)
{
    return h->in_flight;
}
