/* The transport's promises, each against a far end that counts: nothing leaves before the journal's commit, an
 * unsafe request is never repeated, nothing blocks the loop (resolver, stalled far end), and more requests
 * than the process may have files all succeed. What single answers mean is in test_http_cases.c. */
#include "clock.h"
#include "http.h"
#include "limits.h"
#include "log.h"
#include "loop.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* --- a resolver that takes five seconds ------------------------------------------------------------------------------- */

/* In the executable, so libcurl's calls come here first. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (node && strcmp(node, "slow.example") == 0) {
        sleep(5);
        return EAI_AGAIN;
    }
    return real(node, service, hints, out);
}

/* --- the far end -------------------------------------------------------------------------------------------------------- */

#define FAR_MAX 64 /* connections in its life */

/* A thread for each connection; each request is read whole and counted. */
struct far_end {
    int fd, port,
        silent_from; /* on each connection the first `silent_from` requests are answered, then it closes */
    int stall_ms;
    atomic_int requests, connections;
    atomic_bool stop;
    pthread_t thread, threads[FAR_MAX];
};

struct far_connection {
    struct far_end *f;
    int fd;
};

static int listen_on(int *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        abort();
    *port = ntohs(a.sin_port);
    return fd;
}

/* One request with its Content-Length; false: the connection is over. */
static bool read_request(struct far_end *f, int c)
{
    char buf[8192];
    size_t n = 0;
    for (;;) {
        struct pollfd p = {c, POLLIN, 0};
        if (f->stop)
            return false;
        if (poll(&p, 1, 20) <= 0)
            continue;
        ssize_t k = read(c, buf + n, sizeof buf - 1 - n);
        if (k <= 0)
            return false;
        n += (size_t)k;
        buf[n] = '\0';
        char *end = strstr(buf, "\r\n\r\n"), *length = strcasestr(buf, "content-length:");
        size_t body = length && end && length < end ? (size_t)atol(length + 15) : 0;
        if (end && n >= (size_t)(end + 4 - buf) + body)
            return true;
    }
}

static void serve(struct far_end *f, int c)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for (int i = 0; read_request(f, c); i++) {
        f->requests++;
        for (int ms = 0; ms < f->stall_ms && !f->stop; ms += 10)
            usleep(10000);
        if (i >= f->silent_from)
            return;
        if (write(c, answer, sizeof answer - 1) < 0)
            return;
    }
}

static void *run_connection(void *arg)
{
    struct far_connection *fc = arg;
    serve(fc->f, fc->fd);
    close(fc->fd);
    free(fc);
    return NULL;
}

static void *run_far_end(void *arg)
{
    struct far_end *f = arg;
    while (!f->stop) {
        struct pollfd p = {f->fd, POLLIN, 0};
        if (poll(&p, 1, 20) <= 0)
            continue;
        int c = accept4(f->fd, NULL, NULL, SOCK_CLOEXEC);
        struct far_connection *fc = malloc(sizeof *fc);
        if (c < 0 || !fc || f->connections == FAR_MAX)
            abort();
        *fc = (struct far_connection){f, c};
        if (pthread_create(&f->threads[f->connections], NULL, run_connection, fc) != 0)
            abort();
        f->connections++;
    }
    return NULL;
}

static void start_far_end(struct far_end *f, int silent_from, int stall_ms)
{
    memset(f, 0, sizeof *f);
    f->silent_from = silent_from;
    f->stall_ms = stall_ms;
    f->fd = listen_on(&f->port);
    assert_int_equal(pthread_create(&f->thread, NULL, run_far_end, f), 0);
}

static void stop_far_end(struct far_end *f)
{
    f->stop = true;
    pthread_join(f->thread, NULL);
    for (int i = 0; i < f->connections; i++)
        pthread_join(f->threads[i], NULL);
    close(f->fd);
}

/* --- the near end --------------------------------------------------------------------------------------------------------- */

static struct ah_log quiet = {.level = AH_LOG_ERROR};

struct near_end {
    struct ah_loop *loop;
    struct ah_http *http;
    bool refuse; /* what the commit says */
    int commits;
};

static bool commit(void *arg)
{
    struct near_end *n = arg;
    n->commits++;
    return !n->refuse;
}

static void open_near(struct near_end *n)
{
    struct ah_error err = {0};
    *n = (struct near_end){.loop = ah_loop_new(&err)};
    assert_non_null(n->loop);
    n->http = ah_http_new(n->loop, &quiet, NULL, &err);
    assert_non_null(n->http);
    ah_loop_set_commit(n->loop, commit, n, 2);
}

static void close_near(struct near_end *n)
{
    ah_http_free(n->http);
    ah_loop_turn(n->loop, 0);
    ah_loop_free(n->loop);
}

static struct ah_http_op *send_to(struct near_end *n, int port, const char *method, const char *body)
{
    char url[64];
    struct ah_error err = {0};
    snprintf(url, sizeof url, "http://127.0.0.1:%d/x", port);
    struct ah_http_req req = {
        .method = method, .url = url, .body = body, .body_n = body ? strlen(body) : 0, .has_body = body};
    struct ah_http_op *op = ah_http_send(n->http, &req, &err);
    if (!op)
        fail_msg("%s", err.message);
    return op;
}

static void wait_for(struct near_end *n, struct ah_http_op *op)
{
    int64_t until = ah_clock_mono_us() + 20000000;
    while (!op->op.done && ah_clock_mono_us() < until)
        ah_loop_turn(n->loop, 100);
    assert_true(op->op.done);
}

static enum ah_kind fetch(struct near_end *n, int port, const char *method, const char *body)
{
    struct ah_http_op *op = send_to(n, port, method, body);
    wait_for(n, op);
    enum ah_kind kind = op->op.err.kind;
    ah_op_unref(&op->op);
    return kind;
}

/* --- the write barrier -------------------------------------------------------------------------------------------------- */

static void test_barrier(void **state)
{
    (void)state;
    struct near_end n;
    struct far_end f;
    start_far_end(&f, 100, 0);
    open_near(&n);
    n.refuse = true;
    struct ah_http_op *op = send_to(&n, f.port, "POST", "body");
    for (int i = 0; i < 50; i++)
        ah_loop_turn(n.loop, 1000); /* ends after commit's retry time */
    usleep(20000);
    assert_true(n.commits >= 50);
    assert_int_equal(f.connections, 0);
    assert_int_equal(ah_http_in_flight(n.http), 0);
    n.refuse = false;
    wait_for(&n, op);
    assert_int_equal(op->op.err.kind, AH_NONE);
    assert_int_equal(f.requests, 1);
    ah_op_unref(&op->op);

    /* what is cancelled behind the barrier never leaves */
    n.refuse = true;
    op = send_to(&n, f.port, "POST", "body");
    ah_loop_turn(n.loop, 0);
    ah_op_cancel(&op->op);
    assert_int_equal(op->op.err.kind, AH_CANCELLED);
    ah_op_unref(&op->op);
    n.refuse = false;
    for (int i = 0; i < 20; i++)
        ah_loop_turn(n.loop, 1);
    assert_int_equal(f.requests, 1);
    close_near(&n);
    stop_far_end(&f);
}

/* --- an unsafe request is sent once --------------------------------------------------------------------------------------- */

static void test_once(void **state)
{
    (void)state;
    static const struct {
        const char *method, *body;
        int answered; /* requests on the same connection before: 0 = it is fresh */
    } rows[] = {
        {"POST", "do it", 0}, {"POST", "do it", 1}, {"POST", "", 0},   {"POST", "", 1},
        {"POST", NULL, 0},    {"POST", NULL, 1},    {"PATCH", "x", 1}, {"PATCH", NULL, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct near_end n;
        struct far_end f;
        start_far_end(&f, rows[i].answered, 0);
        open_near(&n);
        for (int k = 0; k < rows[i].answered; k++)
            assert_int_equal(fetch(&n, f.port, "GET", NULL), AH_NONE);
        int before = f.requests;
        enum ah_kind kind = fetch(&n, f.port, rows[i].method, rows[i].body);
        bool fresh = rows[i].body == NULL || rows[i].body[0] == '\0';
        if (rows[i].answered &&
            fresh) { /* without a body it takes a fresh connection, and is answered there */
            assert_int_equal(kind, AH_NONE);
            assert_int_equal(f.connections, 2);
        } else {
            if (kind != AH_OUTCOME_UNKNOWN)
                fail_msg("row %zu: %s", i, ah_err_kind_name(kind));
        }
        usleep(20000);
        if (f.requests - before != 1)
            fail_msg("row %zu: executed %d times", i, f.requests - before);
        assert_int_equal(ah_http_in_flight(n.http), 0);
        close_near(&n);
        stop_far_end(&f);
    }
}

/* What may be repeated is: a GET on a connection that died is answered on the next. */
static void test_again(void **state)
{
    (void)state;
    struct near_end n;
    struct far_end f;
    start_far_end(&f, 1, 0);
    open_near(&n);
    assert_int_equal(fetch(&n, f.port, "GET", NULL), AH_NONE);
    assert_int_equal(fetch(&n, f.port, "GET", NULL), AH_NONE);
    assert_int_equal(fetch(&n, f.port, "PUT", "body"), AH_NONE);
    close_near(&n);
    stop_far_end(&f);
}

/* A connection that is kept stays watched: it must not keep the loop going, and not wake it for ever once the far end
 * has closed it. */
static void test_idle(void **state)
{
    (void)state;
    struct near_end n;
    struct far_end f;
    bool silent = false;
    start_far_end(&f, 100, 0);
    open_near(&n);
    assert_int_equal(fetch(&n, f.port, "GET", NULL), AH_NONE);
    assert_int_equal(fetch(&n, f.port, "PUT", "body"), AH_NONE);
    assert_int_equal(f.connections, 1);
    bool left = true;
    for (int i = 0; i < 100 && left; i++)
        left = ah_loop_turn(n.loop, 0);
    assert_false(left);
    stop_far_end(&f); /* closes it */
    for (int i = 0; i < 100 && !silent; i++) {
        ah_loop_turn(n.loop, 0);
        struct pollfd p = {ah_loop_fd(n.loop), POLLIN, 0};
        silent = poll(&p, 1, 0) == 0;
    }
    assert_true(silent);
    assert_int_equal(fetch(&n, f.port, "GET", NULL), AH_NETWORK);
    start_far_end(&f, 100, 0);
    assert_int_equal(fetch(&n, f.port, "GET", NULL), AH_NONE);
    close_near(&n);
    stop_far_end(&f);
}

static void test_cancel_in_flight(void **state)
{
    (void)state;
    static const struct {
        const char *method, *body;
        enum ah_kind kind;
    } rows[] = {
        {"GET", NULL, AH_CANCELLED}, {"POST", "x", AH_OUTCOME_UNKNOWN}, {"POST", NULL, AH_OUTCOME_UNKNOWN}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct near_end n;
        struct far_end f;
        start_far_end(&f, 100, 3000);
        open_near(&n);
        struct ah_http_op *op = send_to(&n, f.port, rows[i].method, rows[i].body);
        while (f.requests == 0)
            ah_loop_turn(n.loop, 1);
        ah_op_cancel(&op->op);
        if (op->op.err.kind != rows[i].kind)
            fail_msg("row %zu: %s", i, op->op.err.message);
        assert_int_equal(ah_http_in_flight(n.http), 0);
        ah_op_unref(&op->op);
        close_near(&n);
        stop_far_end(&f);
    }
}

/* --- nothing blocks --------------------------------------------------------------------------------------------------------- */

struct tick {
    struct ah_timer timer;
    int64_t due_us, late_us;
    bool fired;
};

static void on_tick(struct ah_timer *t)
{
    struct tick *k = t->arg;
    k->late_us = ah_clock_mono_us() - k->due_us;
    k->fired = true;
}

/* How late a 10 ms timer is, the best of several: another process may take the processor for a while, but a loop
 * that blocks is late every time. */
static int64_t lateness_us(struct near_end *n)
{
    int64_t best = INT64_MAX;
    for (int i = 0; i < 8; i++) {
        struct tick k = {.due_us = ah_clock_mono_us() + 10000};
        ah_timer_start(n->loop, &k.timer, 10, on_tick, &k);
        while (!k.fired)
            ah_loop_turn(n->loop, 1000);
        ah_timer_stop(&k.timer);
        if (k.late_us < best)
            best = k.late_us;
    }
    return best;
}

static void test_slow_resolver(void **state)
{
    (void)state;
    struct near_end n;
    struct ah_error err = {0};
    struct ah_http_req req = {.url = "http://slow.example/x", .retry.max = -1};
    open_near(&n);
    struct ah_http_op *op = ah_http_send(n.http, &req, &err);
    assert_non_null(op);
    while (ah_http_in_flight(n.http) == 0)
        ah_loop_turn(n.loop, 1);
    assert_true(lateness_us(&n) < 50000);
    assert_false(op->op.done);
    int64_t before = ah_clock_mono_us();
    ah_op_cancel(&op->op);
    ah_loop_turn(n.loop, 0);
    assert_true(ah_clock_mono_us() - before < 3000000); /* a cancel that waits for the resolver takes 5 s */
    assert_int_equal(op->op.err.kind, AH_CANCELLED);
    ah_op_unref(&op->op);
    assert_true(lateness_us(&n) < 50000);
    op = ah_http_send(n.http, &req, &err);
    ah_loop_turn(n.loop, 0);
    before = ah_clock_mono_us();
    close_near(&n); /* with a name still being looked up */
    assert_true(ah_clock_mono_us() - before < 3000000);
    assert_true(op->op.done);
    /* the loop is gone: the last reference only frees */
    ah_op_unref(&op->op);
}

static void test_stall(void **state)
{
    (void)state;
    struct near_end n;
    struct far_end slow, fast;
    start_far_end(&slow, 100, 2000);
    start_far_end(&fast, 1000, 0);
    open_near(&n);
    struct ah_http_op *stalled = send_to(&n, slow.port, "GET", NULL);
    while (slow.requests == 0)
        ah_loop_turn(n.loop, 1);
    assert_true(lateness_us(&n) < 50000);
    for (int i = 0; i < 20; i++)
        assert_int_equal(fetch(&n, fast.port, "POST", "x"), AH_NONE);
    assert_false(stalled->op.done);
    assert_int_equal(fast.requests, 20);
    wait_for(&n, stalled);
    assert_int_equal(stalled->op.err.kind, AH_NONE);
    ah_op_unref(&stalled->op);
    close_near(&n);
    stop_far_end(&slow);
    stop_far_end(&fast);
}

/* --- more requests than files ------------------------------------------------------------------------------------------------ */

#define MANY 1100
#define FILES 1024

/* A process: keeps requests until no new one came for 50 ms, so that as many as can are under way at once. */
static void run_crowd(int listener)
{
    static struct pollfd p[4096];
    static bool asked[4096];
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    nfds_t n = 1;
    p[0] = (struct pollfd){listener, POLLIN, 0};
    for (;;) {
        int ready = poll(p, n, 50);
        for (nfds_t i = 1; i < n; i++) {
            if (ready == 0 && asked[i]) {
                if (write(p[i].fd, answer, sizeof answer - 1) < 0)
                    _exit(1);
                asked[i] = false;
            } else if (p[i].revents) {
                char buf[4096];
                if (read(p[i].fd, buf, sizeof buf) <= 0) {
                    close(p[i].fd);
                    p[i] = p[--n];
                    asked[i] = asked[n];
                    i--;
                } else {
                    asked[i] = true; /* a GET of these comes in one piece */
                }
            }
        }
        if (p[0].revents && n < 4096) {
            int c = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            if (c >= 0) {
                asked[n] = false;
                p[n++] = (struct pollfd){c, POLLIN, 0};
            }
        }
    }
}

static int run_many(int port)
{
    struct rlimit r = {FILES, FILES};
    static struct ah_http_op *ops[MANY];
    struct near_end n;
    if (setrlimit(RLIMIT_NOFILE, &r) != 0)
        return 77;
    open_near(&n);
    for (int i = 0; i < MANY; i++)
        ops[i] = send_to(&n, port, "GET", NULL);
    int most = 0, left = MANY;
    int64_t until = ah_clock_mono_us() + 60000000;
    while (left > 0 && ah_clock_mono_us() < until) {
        ah_loop_turn(n.loop, 100);
        int now = ah_http_in_flight(n.http);
        most = now > most ? now : most;
        left = 0;
        for (int i = 0; i < MANY; i++)
            left += !ops[i]->op.done;
    }
    int failed = 0;
    for (int i = 0; i < MANY; i++) {
        if (ops[i]->op.err.kind != AH_NONE && failed++ == 0)
            fprintf(stderr, "request %d: %s\n", i, ops[i]->op.err.message);
        ah_op_unref(&ops[i]->op);
    }
    close_near(&n);
    fprintf(stderr, "           %d requests, at most %d at once, %d failed, %d left\n", MANY, most, failed,
            left);
    return failed == 0 && left == 0 && most > FILES / 4 && most <= FILES / 2 ? 0 : 1;
}

static void test_many(void **state)
{
    (void)state;
    int port, listener = listen_on(&port), status = 0;
    pid_t crowd = fork();
    if (crowd == 0)
        run_crowd(listener);
    close(listener);
    pid_t near = fork();
    if (near == 0)
        _exit(run_many(port));
    assert_int_equal(waitpid(near, &status, 0), near);
    kill(crowd, SIGKILL);
    waitpid(crowd, NULL, 0);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* --- requests that never leave, and ends in every phase ------------------------------------------------------------------------ */

static void test_refused(void **state)
{
    (void)state;
    struct near_end n;
    static const struct ah_http_header bad_name[] = {{"a b", "c"}}, bad_value[] = {{"a", "b\r\nc: d"}};
    static char huge[AH_HTTP_HEADER_BYTES + 10];
    memset(huge, 'x', sizeof huge - 1);
    const struct ah_http_header long_value[] = {{"a", huge}};
    const struct {
        struct ah_http_req req;
        enum ah_kind kind;
    } rows[] = {
        {{.url = "no url"}, AH_CONFIG},
        {{.url = "file:///etc/passwd"}, AH_CONFIG},
        {{.url = "http://h/", .method = "G T"}, AH_INVALID},
        {{.url = "http://h/", .method = ""}, AH_INVALID},
        {{.url = "http://h/", .headers = bad_name, .header_count = 1}, AH_INVALID},
        {{.url = "http://h/", .headers = bad_value, .header_count = 1}, AH_INVALID},
        {{.url = "http://h/", .headers = long_value, .header_count = 1}, AH_LIMIT},
    };
    open_near(&n);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ah_error err = {0};
        assert_null(ah_http_send(n.http, &rows[i].req, &err));
        assert_int_equal(err.kind, rows[i].kind);
        assert_true(strlen(err.message) > 10);
        ah_err_drop(&err);
    }
    close_near(&n);
}

/* A client that goes while requests are queued, under way, waiting for a retry: all end, all are told. */
static void test_free_in_every_phase(void **state)
{
    (void)state;
    for (int turns = 0; turns < 12; turns++) {
        struct near_end n;
        struct far_end f;
        struct ah_http_op *ops[4];
        start_far_end(&f, 0, 0);
        open_near(&n);
        for (int i = 0; i < 3; i++)
            ops[i] = send_to(&n, f.port, i == 1 ? "POST" : "GET", i == 1 ? "x" : NULL);
        ops[3] = send_to(&n, 9, "GET", NULL); /* nobody is there: it waits to try again */
        for (int i = 0; i < turns; i++)
            ah_loop_turn(n.loop, 5);
        ah_http_free(n.http);
        for (int i = 0; i < 4; i++) {
            assert_true(ops[i]->op.done);
            assert_int_not_equal(ops[i]->op.err.kind, AH_NONE);
            ah_op_unref(&ops[i]->op);
        }
        ah_loop_turn(n.loop, 0);
        ah_loop_free(n.loop);
        stop_far_end(&f);
    }
}

struct reader {
    int calls, pause_at;
    size_t got;
    bool stop;
};

static int on_data(void *arg, const char *p, size_t n, struct ah_error *err)
{
    struct reader *r = arg;
    (void)p, (void)err;
    r->calls++;
    if (r->calls == r->pause_at)
        return 1;
    if (r->stop && r->calls > r->pause_at)
        return -1;
    r->got += n;
    return 0;
}

/* Back-pressure: the same bytes come again; and a reader that stops, also from within the resume, ends it. */
static void test_pause(void **state)
{
    (void)state;
    for (int stop = 0; stop < 2; stop++) {
        struct near_end n;
        struct far_end f;
        struct ah_error err = {0};
        struct reader r = {.pause_at = 1, .stop = stop};
        char url[64];
        start_far_end(&f, 100, 0);
        open_near(&n);
        snprintf(url, sizeof url, "http://127.0.0.1:%d/", f.port);
        struct ah_http_req req = {.url = url, .stream = true, .on_data = on_data, .arg = &r};
        struct ah_http_op *op = ah_http_send(n.http, &req, &err);
        while (r.calls == 0)
            ah_loop_turn(n.loop, 10);
        for (int i = 0; i < 10; i++)
            ah_loop_turn(n.loop, 2);
        assert_int_equal(r.calls, 1);
        assert_false(op->op.done);
        ah_http_resume(op);
        wait_for(&n, op);
        assert_int_equal(op->op.err.kind, stop ? AH_CANCELLED : AH_NONE);
        assert_int_equal(r.got, stop ? 0 : 2);
        ah_http_resume(op); /* after the end: nothing */
        ah_op_unref(&op->op);
        close_near(&n);
        stop_far_end(&f);
    }
}

static void test_headers(void **state)
{
    (void)state;
    struct ah_http_res res = {0};
    char out[16];
    assert_string_equal(ah_http_header(&res, "a", out, sizeof out), "");
    ah_buf_init(&res.headers, 1000);
    ah_buf_adds(&res.headers, "a: 1\nab: 2\na: 3\nlong: 0123456789abcdefXYZ\nempty: \nrequest-id: r\n");
    assert_string_equal(ah_http_header(&res, "a", out, sizeof out), "3");
    assert_string_equal(ah_http_header(&res, "ab", out, sizeof out), "2");
    assert_string_equal(ah_http_header(&res, "b", out, sizeof out), "");
    assert_string_equal(ah_http_header(&res, "empty", out, sizeof out), "");
    assert_string_equal(ah_http_header(&res, "long", out, sizeof out), "0123456789abcde");
    assert_string_equal(ah_http_request_id(&res, out, sizeof out), "r");
    ah_buf_adds(&res.headers, "x-request-id: first\n");
    assert_string_equal(ah_http_request_id(&res, out, sizeof out), "first");
    ah_buf_drop(&res.headers);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    unsetenv("http_proxy");
    unsetenv("HTTP_PROXY");
    unsetenv("all_proxy");
    unsetenv("ALL_PROXY");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many),          cmocka_unit_test(test_barrier),
        cmocka_unit_test(test_once),          cmocka_unit_test(test_again),
        cmocka_unit_test(test_idle),          cmocka_unit_test(test_cancel_in_flight),
        cmocka_unit_test(test_slow_resolver), cmocka_unit_test(test_stall),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_free_in_every_phase),
        cmocka_unit_test(test_pause),         cmocka_unit_test(test_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
