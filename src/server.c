/* HTTP server: libmicrohttpd on our loop. Called by lua_server.c and by tests.
 *
 * One request lives in one exchange. Bytes move only inside MHD_run, which is called from the poll
 * phase and from the start phase; on_request and on_room are called from the ready phase. What a
 * handler answers is held back until the start phase, that is, until the journal has been committed.
 *
 * While a request waits for its answer, or a stream for its next bytes, its connection is suspended
 * and libmicrohttpd does not look at the socket. A second epoll set looks for hang-ups meanwhile.
 *
 * Must never call out of a callback of libmicrohttpd, and knows no Lua. */
#include "server.h"

#include "limits.h"
#include "loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTION_COUNT 8192u
#define CONNECTION_IDLE_S 300u
#define DRAIN_BYTES ((size_t)64 << 20) /* of a body that is too long, read away so that 413 arrives */
#define QUEUE_MAX_BYTES ((size_t)64 << 20)
#define QUEUE_KEEP_BYTES ((size_t)16 << 10) /* an idle stream keeps no larger buffer */
#define READER_BLOCK_BYTES 1024
#define HANGUP_BATCH 64

struct conn { /* one accepted socket */
    int fd;
    bool left; /* sent its end (FIN): it may still read */
    bool lost; /* reset */
    struct ah_exchange *x;
};

struct ah_exchange {
    struct ah_server *s;      /* NULL: closed */
    struct MHD_Connection *c; /* NULL: the request is over, well or not */
    struct conn *conn;
    struct ah_loop *loop;
    struct ah_exchange *next, *prev; /* all of the server */
    struct ah_exchange *next_dirty;
    int users; /* references outside of this file */
    int holds; /* inside: the connection, the dirty list, the response's reader */
    bool dirty;

    /* the request; pieces are NUL-terminated and lie one after another in `text` */
    struct ah_buf text, body;
    size_t path_at, query_at, version_at, headers_at;
    bool began, complete, head, http10;
    bool too_long;
    size_t received;
    struct ah_ready deliver;

    /* the answer */
    struct MHD_Response *response; /* until it is queued */
    int status;
    bool answered;  /* reply, begin or abort was called */
    bool cleared;   /* ... and the journal has been committed since */
    bool suspended; /* libmicrohttpd does not look at it */
    bool cut;       /* close the connection as soon as it is looked at */
    bool gone;      /* the client is no longer there */

    /* streamed answers */
    bool streaming, ended, aborted;
    bool end_cleared, abort_cleared;
    struct ah_buf queue;
    size_t taken;         /* of queue.p, already sent */
    size_t queue_cleared; /* of queue.p, may be sent */
    bool wants_room;
    struct ah_ready room;
    void (*on_room)(void *arg);
    void *room_arg;
};

struct ah_server {
    struct ah_loop *loop;
    struct MHD_Daemon *daemon;
    int port;
    int hangups; /* epoll set of all sockets, for hang-ups only */
    size_t max_body;
    bool closing;
    struct ah_watch daemon_watch, hangup_watch;
    struct ah_timer timer;
    struct ah_ready start;
    struct ah_exchange *all, *dirty;
    void (*on_request)(void *arg, struct ah_exchange *x, const struct ah_server_req *req);
    void *arg;
};

/* --- the daemon's turn ----------------------------------------------------------------------- */

static void on_timer(struct ah_timer *t);

static void run_daemon(struct ah_server *s)
{
    MHD_run(s->daemon);
    MHD_UNSIGNED_LONG_LONG ms;
    if (MHD_get_timeout(s->daemon, &ms) == MHD_YES) {
        ah_timer_start(s->loop, &s->timer, (int64_t)ms, on_timer, s);
        ah_timer_background(&s->timer, true);
    } else {
        ah_timer_stop(&s->timer);
    }
}

static void on_timer(struct ah_timer *t)
{
    run_daemon(t->arg);
}

static void on_daemon(struct ah_watch *w, int events)
{
    (void)events;
    run_daemon(w->arg);
}

/* --- exchanges ------------------------------------------------------------------------------- */

static void free_exchange(struct ah_exchange *x)
{
    ah_loop_unready(x->loop, &x->deliver);
    ah_loop_unready(x->loop, &x->room);
    ah_buf_drop(&x->text);
    ah_buf_drop(&x->body);
    ah_buf_drop(&x->queue);
    free(x);
}

static void drop_hold(struct ah_exchange *x)
{
    if (--x->holds == 0 && x->users == 0)
        free_exchange(x);
}

static void resume(struct ah_exchange *x)
{
    if (!x->suspended)
        return;
    x->suspended = false;
    MHD_resume_connection(x->c);
}

static void suspend(struct ah_exchange *x)
{
    x->suspended = true;
    MHD_suspend_connection(x->c);
}

/* To be looked at in the next start phase. */
static void mark_dirty(struct ah_exchange *x)
{
    struct ah_server *s = x->s;
    if (!s || !x->c || x->dirty)
        return;
    x->dirty = true;
    x->holds++;
    x->next_dirty = s->dirty;
    s->dirty = x;
    ah_loop_start(s->loop, &s->start);
}

static void clear_dirty(struct ah_server *s, bool send)
{
    while (s->dirty) {
        struct ah_exchange *x = s->dirty;
        s->dirty = x->next_dirty;
        x->dirty = false;
        if (send && x->c) {
            x->cleared = x->answered;
            x->queue_cleared = x->queue.n;
            x->end_cleared = x->ended;
            x->abort_cleared = x->aborted;
            resume(x);
        }
        drop_hold(x);
    }
}

static void run_start(struct ah_ready *r)
{
    struct ah_server *s = (struct ah_server *)((char *)r - offsetof(struct ah_server, start));
    clear_dirty(s, true);
    run_daemon(s);
}

static void run_deliver(struct ah_ready *r)
{
    struct ah_exchange *x = (struct ah_exchange *)((char *)r - offsetof(struct ah_exchange, deliver));
    struct ah_server *s = x->s;
    if (!s || !x->c)
        return;
    struct ah_server_req req = {.method = x->text.p,
                                .path = x->text.p + x->path_at,
                                .query = x->text.p + x->query_at,
                                .version = x->text.p + x->version_at,
                                .headers = x->text.p + x->headers_at,
                                .body = ah_buf_str(&x->body),
                                .body_n = x->body.n};
    x->users++;
    s->on_request(s->arg, x, &req);
}

static void run_room(struct ah_ready *r)
{
    struct ah_exchange *x = (struct ah_exchange *)((char *)r - offsetof(struct ah_exchange, room));
    if (x->on_room)
        x->on_room(x->room_arg);
}

static void tell_room(struct ah_exchange *x)
{
    if (!x->on_room || x->users == 0)
        return;
    x->wants_room = false;
    ah_loop_ready(x->loop, &x->room);
}

static void set_gone(struct ah_exchange *x)
{
    if (x->gone)
        return;
    x->gone = true;
    if (x->streaming)
        tell_room(x);
}

/* --- hang-ups -------------------------------------------------------------------------------- */

/* A client that sent its end may only have finished its side: an answer is still tried, and a
 * stream goes on until it would have to wait for more. */
static void note_hangup(struct conn *conn)
{
    struct ah_exchange *x = conn->x;
    if (!x || !x->complete)
        return;
    if (conn->lost && !x->streaming) {
        x->cut = true;
        set_gone(x);
    }
    if (conn->lost || x->streaming)
        resume(x);
}

static void on_hangup(struct ah_watch *w, int events)
{
    (void)events;
    struct ah_server *s = w->arg;
    struct epoll_event batch[HANGUP_BATCH];
    int n;
    do {
        n = epoll_wait(s->hangups, batch, HANGUP_BATCH, 0);
        for (int i = 0; i < n; i++) { /* no connection is freed in here: run_daemon comes after */
            struct conn *conn = batch[i].data.ptr;
            conn->left = true;
            if (batch[i].events & (EPOLLERR | EPOLLHUP))
                conn->lost = true;
            note_hangup(conn);
        }
    } while (n == HANGUP_BATCH);
    run_daemon(s);
}

static void on_connection(void *arg, struct MHD_Connection *c, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct ah_server *s = arg;
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        struct conn *conn = *context;
        if (conn)
            epoll_ctl(s->hangups, EPOLL_CTL_DEL, conn->fd, NULL);
        free(conn);
        *context = NULL;
        return;
    }
    struct conn *conn = calloc(1, sizeof *conn);
    *context = conn;
    if (!conn)
        return;
    conn->fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    struct epoll_event want = {.events = EPOLLRDHUP | EPOLLET, .data.ptr = conn};
    epoll_ctl(s->hangups, EPOLL_CTL_ADD, conn->fd, &want);
}

/* --- requests -------------------------------------------------------------------------------- */

static void *on_uri(void *arg, const char *uri, struct MHD_Connection *c)
{
    struct ah_server *s = arg;
    struct conn *conn = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    struct ah_exchange *x = conn ? calloc(1, sizeof *x) : NULL;
    if (!x)
        return NULL;
    x->s = s;
    x->c = c;
    x->conn = conn;
    x->loop = s->loop;
    x->holds = 1;
    x->deliver.run = run_deliver;
    x->room.run = run_room;
    ah_buf_init(&x->text, 4 * AH_HTTP_HEADER_BYTES);
    ah_buf_init(&x->body, s->max_body);
    ah_buf_init(&x->queue, QUEUE_MAX_BYTES);
    ah_buf_adds(&x->text, uri); /* the rest when the headers are there */
    conn->x = x;
    x->next = s->all;
    if (s->all)
        s->all->prev = x;
    s->all = x;
    return x;
}

static enum MHD_Result on_header(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
    (void)kind;
    struct ah_buf *to = arg;
    size_t at = to->n;
    if (ah_buf_adds(to, name) == 0)
        for (char *p = to->p + at; *p; p++)
            *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
    ah_buf_adds(to, ": ");
    at = to->n;
    if (ah_buf_adds(to, value ? value : "") == 0)
        for (char *p = to->p + at; *p; p++)
            if (*p == '\r' || *p == '\n') /* of folded lines */
                *p = ' ';
    return ah_buf_addc(to, '\n') == 0 ? MHD_YES : MHD_NO;
}

/* Method, path, query, version and headers, each with its NUL. `text` holds the URI as it came. */
static int keep_head(struct ah_exchange *x, const char *method, const char *version)
{
    size_t uri_n;
    char *uri = ah_buf_take(&x->text, &uri_n);
    if (!uri)
        return -1;
    const char *query = memchr(uri, '?', uri_n);
    ah_buf_add(&x->text, method, strlen(method) + 1);
    x->path_at = x->text.n;
    ah_buf_add(&x->text, uri, query ? (size_t)(query - uri) : uri_n);
    ah_buf_addc(&x->text, '\0');
    x->query_at = x->text.n;
    ah_buf_adds(&x->text, query ? query + 1 : "");
    ah_buf_addc(&x->text, '\0');
    free(uri);
    x->version_at = x->text.n;
    ah_buf_add(&x->text, version, strlen(version) + 1);
    x->headers_at = x->text.n;
    MHD_get_connection_values(x->c, MHD_HEADER_KIND, on_header, &x->text);
    ah_buf_addc(&x->text, '\0');
    x->head = strcmp(method, "HEAD") == 0;
    x->http10 = strcmp(version, "HTTP/1.0") == 0;
    return x->text.failed ? -1 : 0;
}

static enum MHD_Result refuse(struct MHD_Connection *c, unsigned status, const char *body)
{
    struct MHD_Response *r =
        MHD_create_response_from_buffer(strlen(body), (void *)(uintptr_t)body, MHD_RESPMEM_MUST_COPY);
    if (!r)
        return MHD_NO;
    MHD_add_response_header(r, "content-type", "application/json");
    enum MHD_Result rc = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return rc;
}

static enum MHD_Result refuse_too_long(struct MHD_Connection *c)
{
    return refuse(c, 413, "{\"error\":\"request body too large\"}");
}

/* First call for a request: its headers are there, its body is not. A body that announces itself as
 * too long is refused at once when the client waits for our word, else read away first: closing on
 * unread bytes would reset the connection before the client saw the answer. */
static enum MHD_Result begin_request(struct ah_exchange *x, const char *method, const char *version)
{
    x->began = true;
    if (keep_head(x, method, version) != 0)
        return MHD_NO;
    const char *length = MHD_lookup_connection_value(x->c, MHD_HEADER_KIND, "content-length");
    unsigned long long n = length ? strtoull(length, NULL, 10) : 0;
    if (n <= x->s->max_body)
        return MHD_YES;
    x->too_long = true;
    if (n - x->s->max_body > DRAIN_BYTES || MHD_lookup_connection_value(x->c, MHD_HEADER_KIND, "expect"))
        return refuse_too_long(x->c);
    return MHD_YES;
}

static enum MHD_Result take_body(struct ah_exchange *x, const char *p, size_t n)
{
    x->received += n;
    if (x->received > x->s->max_body) {
        x->too_long = true;
        ah_buf_drop(&x->body);
    }
    if (x->too_long)
        return x->received > x->s->max_body + DRAIN_BYTES ? MHD_NO : MHD_YES;
    return ah_buf_add(&x->body, p, n) == 0 ? MHD_YES : MHD_NO;
}

static enum MHD_Result on_access(void *arg, struct MHD_Connection *c, const char *url, const char *method,
                                 const char *version, const char *data, size_t *data_n, void **context)
{
    (void)url;
    struct ah_server *s = arg;
    struct ah_exchange *x = *context;
    if (!x || s->closing || x->cut)
        return MHD_NO;
    if (!x->began)
        return begin_request(x, method, version);
    if (*data_n) {
        size_t n = *data_n;
        *data_n = 0;
        return take_body(x, data, n);
    }
    if (x->too_long)
        return refuse_too_long(c);
    if (!x->complete) {
        x->complete = true;
        suspend(x);
        ah_loop_ready(x->loop, &x->deliver);
        return MHD_YES;
    }
    if (x->abort_cleared && !x->streaming)
        return MHD_NO;
    if (!x->cleared || !x->response) {
        suspend(x);
        return MHD_YES;
    }
    struct MHD_Response *r = x->response;
    x->response = NULL;
    enum MHD_Result rc = MHD_queue_response(c, (unsigned)x->status, r);
    MHD_destroy_response(r);
    return rc;
}

static void on_completed(void *arg, struct MHD_Connection *c, void **context,
                         enum MHD_RequestTerminationCode how)
{
    (void)c;
    struct ah_server *s = arg;
    struct ah_exchange *x = *context;
    if (!x)
        return;
    *context = NULL;
    if (x->conn && x->conn->x == x)
        x->conn->x = NULL;
    x->conn = NULL;
    x->c = NULL;
    x->suspended = false;
    *(x->prev ? &x->prev->next : &s->all) = x->next;
    if (x->next)
        x->next->prev = x->prev;
    x->next = x->prev = NULL;
    x->s = NULL;
    if (x->response) { /* never queued; one of a stream holds us */
        MHD_destroy_response(x->response);
        x->response = NULL;
    }
    if (how != MHD_REQUEST_TERMINATED_COMPLETED_OK)
        set_gone(x);
    ah_buf_drop(&x->queue);
    x->taken = x->queue_cleared = 0;
    drop_hold(x);
}

/* --- answers --------------------------------------------------------------------------------- */

static void sent(struct ah_exchange *x, size_t n)
{
    x->taken += n;
    size_t left = x->queue.n - x->taken;
    if (left == 0 || x->taken > x->queue.n / 2) {
        ah_buf_consume(&x->queue, x->taken);
        x->queue_cleared -= x->taken;
        x->taken = 0;
    }
    if (left == 0 && x->queue.cap > QUEUE_KEEP_BYTES) {
        ah_buf_drop(&x->queue);
        ah_buf_init(&x->queue, QUEUE_MAX_BYTES);
    }
    if (x->wants_room && left < AH_HTTP_STREAM_QUEUE_BYTES / 2)
        tell_room(x);
}

static ssize_t on_read(void *arg, uint64_t pos, char *to, size_t max)
{
    (void)pos;
    struct ah_exchange *x = arg;
    if (!x->c || !x->s || x->s->closing)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    size_t n = x->queue_cleared - x->taken;
    if (n > 0) {
        n = n < max ? n : max;
        memcpy(to, x->queue.p + x->taken, n);
        sent(x, n);
        return (ssize_t)n;
    }
    if (x->abort_cleared) {
        if (x->http10) { /* the end of the connection would be the end of the body: reset it */
            struct linger now = {.l_onoff = 1};
            setsockopt(x->conn->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        }
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    if (x->end_cleared)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (x->conn->left)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    suspend(x);
    return 0;
}

static void on_read_free(void *arg)
{
    drop_hold(arg);
}

static bool is_token(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!((p[i] >= 'a' && p[i] <= 'z') || (p[i] >= 'A' && p[i] <= 'Z') || (p[i] >= '0' && p[i] <= '9') ||
              (p[i] && strchr("!#$%&'*+-.^_`|~", p[i]))))
            return false;
    return n > 0;
}

static bool is_value(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (((unsigned char)p[i] < ' ' && p[i] != '\t') || p[i] == 127)
            return false;
    return true;
}

bool ah_server_is_header(const char *name, size_t name_n, const char *value, size_t value_n)
{
    return is_token(name, name_n) && is_value(value, value_n);
}

/* Splits "name: value" of n bytes; *value is trimmed. -1: not a header. */
static int split_header(const char *line, size_t n, size_t *name_n, const char **value, size_t *value_n)
{
    const char *colon = memchr(line, ':', n);
    if (!colon)
        return -1;
    const char *p = colon + 1, *end = line + n;
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *name_n = (size_t)(colon - line);
    *value = p;
    *value_n = (size_t)(end - p);
    return ah_server_is_header(line, *name_n, *value, *value_n) ? 0 : -1;
}

static int add_header(struct MHD_Response *r, const char *line, size_t n)
{
    size_t name_n, value_n;
    const char *value;
    if (split_header(line, n, &name_n, &value, &value_n) != 0)
        return -1;
    if (value_n == 0 || (name_n == 14 && strncasecmp(line, "content-length", 14) == 0) ||
        (name_n == 17 && strncasecmp(line, "transfer-encoding", 17) == 0))
        return 0; /* framing is ours; libmicrohttpd takes no empty value */
    struct ah_buf text;
    ah_buf_init(&text, AH_HTTP_HEADER_BYTES);
    ah_buf_add(&text, line, name_n);
    ah_buf_addc(&text, '\0');
    ah_buf_add(&text, value, value_n);
    int rc = -1;
    if (!text.failed) {
        for (char *p = text.p + name_n + 1; *p; p++)
            *p = *p == '\t' ? ' ' : *p;
        rc = MHD_add_response_header(r, text.p, text.p + name_n + 1) == MHD_YES ? 0 : -1;
    }
    ah_buf_drop(&text);
    return rc;
}

static int add_headers(struct MHD_Response *r, const char *lines)
{
    while (lines && *lines) {
        size_t n = strcspn(lines, "\n");
        if (add_header(r, lines, n) != 0)
            return -1;
        lines += n + (lines[n] == '\n');
    }
    return 0;
}

/* A streamed answer may announce its length (and then be cut short of it). */
static uint64_t announced_length(const char *lines)
{
    while (lines && *lines) {
        size_t n = strcspn(lines, "\n"), name_n, value_n;
        const char *value;
        if (split_header(lines, n, &name_n, &value, &value_n) == 0 && name_n == 14 &&
            strncasecmp(lines, "content-length", 14) == 0 && value_n > 0 && *value >= '0' && *value <= '9')
            return strtoull(value, NULL, 10);
        lines += n + (lines[n] == '\n');
    }
    return MHD_SIZE_UNKNOWN;
}

static bool may_answer(const struct ah_exchange *x, int status)
{
    return x->c && x->s && !x->answered && !x->gone && status >= 200 && status <= 599;
}

int ah_exchange_reply(struct ah_exchange *x, int status, const char *headers, const char *body, size_t n)
{
    if (!may_answer(x, status))
        return -1;
    struct MHD_Response *r =
        MHD_create_response_from_buffer(n, (void *)(uintptr_t)(n ? body : ""), MHD_RESPMEM_MUST_COPY);
    if (!r)
        return -1;
    if (add_headers(r, headers) != 0) {
        MHD_destroy_response(r);
        return -1;
    }
    x->response = r;
    x->status = status;
    x->answered = true;
    mark_dirty(x);
    return 0;
}

int ah_exchange_begin(struct ah_exchange *x, int status, const char *headers, void (*on_room)(void *arg),
                      void *arg)
{
    if (!may_answer(x, status))
        return -1;
    x->holds++;
    struct MHD_Response *r = MHD_create_response_from_callback(announced_length(headers), READER_BLOCK_BYTES,
                                                               on_read, x, on_read_free);
    if (!r) {
        x->holds--;
        return -1;
    }
    if (add_headers(r, headers) != 0) {
        MHD_destroy_response(r);
        return -1;
    }
    x->response = r;
    x->status = status;
    x->answered = x->streaming = true;
    x->on_room = on_room;
    x->room_arg = arg;
    mark_dirty(x);
    return 0;
}

/* HEAD and the statuses without a body end by themselves; what is written to them goes nowhere. */
static bool has_no_body(const struct ah_exchange *x)
{
    return x->head || x->status == 204 || x->status == 304;
}

int ah_exchange_write(struct ah_exchange *x, const char *p, size_t n)
{
    if (!x->streaming || x->ended || x->aborted || x->gone)
        return -1;
    if (has_no_body(x))
        return 0;
    if (!x->c)
        return -1;
    if (ah_buf_add(&x->queue, p, n) != 0) {
        ah_exchange_abort(x);
        return -1;
    }
    mark_dirty(x);
    if (x->queue.n - x->taken <= AH_HTTP_STREAM_QUEUE_BYTES)
        return 0;
    x->wants_room = true;
    return 1;
}

int ah_exchange_end(struct ah_exchange *x)
{
    if (!x->streaming || x->ended || x->aborted || x->gone)
        return -1;
    x->ended = true;
    mark_dirty(x);
    return x->c || has_no_body(x) ? 0 : -1;
}

void ah_exchange_abort(struct ah_exchange *x)
{
    if (!x->c || x->aborted || x->ended || (x->answered && !x->streaming))
        return;
    if (!x->answered && x->conn) { /* nothing was written: the client sees a reset, not a clean end */
        struct linger now = {.l_onoff = 1};
        setsockopt(x->conn->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    x->answered = x->aborted = true;
    mark_dirty(x);
}

bool ah_exchange_gone(const struct ah_exchange *x)
{
    return x->gone;
}

void ah_exchange_forget_room(struct ah_exchange *x)
{
    x->on_room = NULL;
    ah_loop_unready(x->loop, &x->room);
}

struct ah_exchange *ah_exchange_ref(struct ah_exchange *x)
{
    x->users++;
    return x;
}

void ah_exchange_unref(struct ah_exchange *x)
{
    if (!x)
        return;
    if (x->users == 1) {
        static const char none[] = "{\"error\":\"the handler gave no answer\"}";
        if (!x->answered && x->c)
            ah_exchange_reply(x, 500, "content-type: application/json\n", none, sizeof none - 1);
        else if (x->streaming && !x->ended)
            ah_exchange_abort(x);
        ah_exchange_forget_room(x);
    }
    if (--x->users == 0 && x->holds == 0)
        free_exchange(x);
}

/* --- opening and closing --------------------------------------------------------------------- */

static int parse_address(const char *text, int port, struct sockaddr_storage *to, socklen_t *n)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    if (!text || strcmp(text, "localhost") == 0)
        text = "127.0.0.1";
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
        memcpy(to, &v4, *n = sizeof v4);
        return 0;
    }
    if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1) {
        memcpy(to, &v6, *n = sizeof v6);
        return 0;
    }
    return -1;
}

static int listen_on(struct ah_server *s, const char *address, int port, struct ah_error *err)
{
    struct sockaddr_storage at;
    socklen_t n;
    if (port < 0 || port > 65535)
        return ah_err_set(err, AH_CONFIG, "Port %d is not possible; use 0 (any free one) to 65535.", port);
    if (parse_address(address, port, &at, &n) != 0)
        return ah_err_set(err, AH_CONFIG,
                          "Cannot listen on '%.100s': give a numeric IP address, such as 127.0.0.1.",
                          address);
    int fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, n) != 0 || listen(fd, SOMAXCONN) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &n) != 0) {
        int e = errno;
        if (fd >= 0)
            close(fd);
        return ah_err_set(err, AH_IO, "Cannot listen on %s port %d: %s.%s", address ? address : "127.0.0.1",
                          port, strerror(e), e == EADDRINUSE ? " Choose another port, or 0 for any." : "");
    }
    s->port = ntohs(at.ss_family == AF_INET ? ((struct sockaddr_in *)&at)->sin_port
                                            : ((struct sockaddr_in6 *)&at)->sin6_port);
    return fd;
}

/* Paths and queries stay as they came. */
static size_t on_unescape(void *arg, struct MHD_Connection *c, char *text)
{
    (void)arg;
    (void)c;
    return strlen(text);
}

static struct MHD_Daemon *start_daemon(struct ah_server *s, int fd)
{
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_access, s, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_URI_LOG_CALLBACK, on_uri, s, MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, NULL,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
        MHD_OPTION_CONNECTION_LIMIT, CONNECTION_COUNT, MHD_OPTION_CONNECTION_TIMEOUT, CONNECTION_IDLE_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, AH_HTTP_HEADER_BYTES, MHD_OPTION_END);
}

struct ah_server *ah_server_open(struct ah_loop *loop, const struct ah_server_opts *opts,
                                 struct ah_error *err)
{
    struct ah_server *s = calloc(1, sizeof *s);
    if (!s) {
        ah_err_set(err, AH_MEMORY, "Out of memory.");
        return NULL;
    }
    s->loop = loop;
    s->hangups = -1;
    s->max_body = opts->max_body ? opts->max_body : AH_SERVER_BODY_BYTES;
    s->on_request = opts->on_request;
    s->arg = opts->arg;
    s->start.run = run_start;
    int fd = listen_on(s, opts->address, opts->port, err);
    if (fd < 0) {
        free(s);
        return NULL;
    }
    s->hangups = epoll_create1(EPOLL_CLOEXEC);
    s->daemon = s->hangups >= 0 ? start_daemon(s, fd) : NULL;
    if (!s->daemon)
        close(fd);
    const union MHD_DaemonInfo *info =
        s->daemon ? MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (!info || ah_watch_start(loop, &s->daemon_watch, info->epoll_fd, AH_WATCH_READ, on_daemon, s) != 0 ||
        ah_watch_start(loop, &s->hangup_watch, s->hangups, AH_WATCH_READ, on_hangup, s) != 0) {
        ah_server_close(s);
        ah_err_set(err, AH_IO, "Cannot start the HTTP server: %s.", "out of files or memory");
        return NULL;
    }
    ah_watch_background(&s->hangup_watch, true);
    return s;
}

int ah_server_port(const struct ah_server *s)
{
    return s->port;
}

void ah_server_background(struct ah_server *s, bool background)
{
    ah_watch_background(&s->daemon_watch, background);
}

void ah_server_close(struct ah_server *s)
{
    if (!s)
        return;
    s->closing = true;
    ah_loop_unstart(s->loop, &s->start);
    clear_dirty(s, false);
    for (struct ah_exchange *x = s->all; x; x = x->next) {
        ah_loop_unready(x->loop, &x->deliver);
        resume(x); /* libmicrohttpd aborts the process if one is left suspended */
    }
    ah_timer_stop(&s->timer);
    ah_watch_stop(&s->daemon_watch);
    ah_watch_stop(&s->hangup_watch);
    if (s->daemon) {
        MHD_run(s->daemon);
        MHD_stop_daemon(s->daemon);
    }
    if (s->hangups >= 0)
        close(s->hangups);
    free(s);
}
