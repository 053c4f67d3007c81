/* The HTTP server against raw sockets: the client runs in a thread, the server on the loop of the
 * test. What the client saw is looked at after it has ended; no assertion is made in its thread. */
#include "clock.h"
#include "limits.h"
#include "loop.h"
#include "server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_S 20 /* a test that waits this long has failed */
#define MAX_BODY 100000
#define HELD 8

struct fixture {
    struct ah_loop *loop;
    struct ah_server *server;
    int port;
    int requests;
    struct ah_exchange *held[HELD];
    atomic_int held_n;
    int rooms;      /* how often on_room was called */
    size_t to_send; /* of /flood */
    int waits;      /* times that write asked to wait */
    int refused;    /* answers with a bad header that were refused */
    bool commit;    /* what the commit phase answers */
    atomic_bool done;
    char got[1 << 20];
    size_t got_n;
    bool reset; /* the client saw ECONNRESET */
    void (*client)(struct fixture *f);
};

/* --- the serving side ---------------------------------------------------------------------- */

static void flood(struct fixture *f, struct ah_exchange *x)
{
    char block[1000];
    memset(block, 'Z', sizeof block);
    while (f->to_send > 0) {
        size_t n = f->to_send < sizeof block ? f->to_send : sizeof block;
        int rc = ah_exchange_write(x, block, n);
        if (rc < 0)
            return;
        f->to_send -= n;
        if (rc == 1) {
            f->waits++;
            return;
        }
    }
    ah_exchange_end(x);
}

static void on_flood_room(void *arg)
{
    struct fixture *f = arg;
    f->rooms++;
    flood(f, f->held[0]);
}

static void on_hold_room(void *arg)
{
    ((struct fixture *)arg)->rooms++;
}

static void reply_echo(struct ah_exchange *x, const struct ah_server_req *req)
{
    struct ah_buf b;
    ah_buf_init(&b, 1 << 20);
    ah_buf_addf(&b, "%s %s?%s %s %zu ", req->method, req->path, req->query, req->version, req->body_n);
    ah_buf_add(&b, req->body, req->body_n < 64 ? req->body_n : 64);
    ah_exchange_reply(x, 200, "content-type: text/plain\nset-cookie: a=1\nset-cookie: b=2\n", b.p, b.n);
    ah_buf_drop(&b);
}

static void try_bad_headers(struct fixture *f, struct ah_exchange *x)
{
    static const char *const bad[] = {"x: a\r\n", "no colon\n", "a b: c\n", ": c\n", "x: \001\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        f->refused += ah_exchange_reply(x, 200, bad[i], "", 0) == -1;
    f->refused += ah_exchange_reply(x, 99, "", "", 0) == -1;
    ah_exchange_reply(x, 200, "x-empty:\nx-tab: a\tb\ncontent-length: 5000\n", "fine", 4);
    f->refused += ah_exchange_reply(x, 200, "", "", 0) == -1;
}

static void hold(struct fixture *f, struct ah_exchange *x)
{
    f->held[f->held_n++] = ah_exchange_ref(x);
}

static void on_request(void *arg, struct ah_exchange *x, const struct ah_server_req *req)
{
    struct fixture *f = arg;
    f->requests++;
    if (strcmp(req->path, "/stream") == 0) {
        ah_exchange_begin(x, 200, "content-type: text/event-stream\n", NULL, NULL);
        for (int i = 0; i < 3; i++)
            ah_exchange_write(x, "data: 1\n\n", 9);
        ah_exchange_end(x);
    } else if (strcmp(req->path, "/flood") == 0) {
        hold(f, x);
        ah_exchange_begin(x, 200, "", on_flood_room, f);
        flood(f, x);
    } else if (strcmp(req->path, "/hold") == 0) {
        hold(f, x);
        ah_exchange_begin(x, 200, "", on_hold_room, f);
        ah_exchange_write(x, "held", 4);
    } else if (strcmp(req->path, "/silent") == 0) {
        hold(f, x);
    } else if (strcmp(req->path, "/torn") == 0) {
        ah_exchange_begin(x, 200, "", NULL, NULL);
        ah_exchange_write(x, "torn", 4);
        ah_exchange_abort(x);
    } else if (strcmp(req->path, "/short") == 0) {
        ah_exchange_begin(x, 200, "content-length: 10\n", NULL, NULL);
        ah_exchange_write(x, "short", 5);
        ah_exchange_end(x);
    } else if (strcmp(req->path, "/cut") == 0) {
        ah_exchange_abort(x);
    } else if (strcmp(req->path, "/headers") == 0) {
        ah_exchange_reply(x, 200, "", req->headers, strlen(req->headers));
    } else if (strcmp(req->path, "/bad-headers") == 0) {
        try_bad_headers(f, x);
    } else if (strcmp(req->path, "/close") == 0) {
        ah_exchange_reply(x, 200, "connection: close\n", "bye", 3);
    } else if (strcmp(req->path, "/nothing") == 0) {
        ah_exchange_reply(x, 204, "", NULL, 0);
    } else if (strcmp(req->path, "/unanswered") != 0) {
        reply_echo(x, req);
    }
    ah_exchange_unref(x);
}

/* --- the client's side --------------------------------------------------------------------- */

static int dial(struct fixture *f)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)f->port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct timeval patience = {.tv_sec = PATIENCE_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void say(int fd, const char *text)
{
    size_t n = strlen(text);
    while (n > 0) {
        ssize_t k = send(fd, text, n, MSG_NOSIGNAL);
        if (k <= 0)
            return;
        text += k;
        n -= (size_t)k;
    }
}

/* Reads until `end` was seen `times` times, or the connection ends. */
static void hear(struct fixture *f, int fd, const char *end, int times)
{
    for (;;) {
        int seen = 0;
        for (const char *p = f->got; end && (p = strstr(p, end)); p += strlen(end))
            seen++;
        if ((end && seen >= times) || f->got_n + 1 >= sizeof f->got)
            return;
        ssize_t k = recv(fd, f->got + f->got_n, sizeof f->got - 1 - f->got_n, 0);
        if (k <= 0) {
            f->reset = k < 0;
            return;
        }
        f->got_n += (size_t)k;
        f->got[f->got_n] = '\0';
    }
}

static int count(const char *in, const char *what)
{
    int n = 0;
    for (const char *p = in; (p = strstr(p, what)); p += strlen(what))
        n++;
    return n;
}

/* --- the frame ------------------------------------------------------------------------------- */

static bool commit(void *arg)
{
    return ((struct fixture *)arg)->commit;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct ah_error err = {0};
    f->loop = ah_loop_new(&err);
    f->commit = true;
    ah_loop_set_commit(f->loop, commit, f, 1);
    struct ah_server_opts opts = {.max_body = MAX_BODY, .on_request = on_request, .arg = f};
    f->server = ah_server_open(f->loop, &opts, &err);
    assert_non_null(f->server);
    f->port = ah_server_port(f->server);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < f->held_n; i++)
        ah_exchange_unref(f->held[i]);
    ah_server_close(f->server);
    ah_loop_free(f->loop);
    free(f);
    return 0;
}

static void wake(void *arg)
{
    (void)arg;
}

static void *client_main(void *arg)
{
    struct fixture *f = arg;
    f->client(f);
    atomic_store(&f->done, true);
    ah_loop_post(f->loop, wake, NULL);
    return NULL;
}

static void run_client(struct fixture *f, void (*client)(struct fixture *f))
{
    pthread_t t;
    f->client = client;
    atomic_store(&f->done, false);
    assert_int_equal(pthread_create(&t, NULL, client_main, f), 0);
    while (!atomic_load(&f->done))
        ah_loop_turn(f->loop, 100);
    pthread_join(t, NULL);
}

/* Turns until *n reaches `want`; false when patience ends. */
static bool turn_until(struct fixture *f, const int *n, int want)
{
    for (int i = 0; i < PATIENCE_S * 100 && *n < want; i++)
        ah_loop_turn(f->loop, 10);
    return *n >= want;
}

/* --- tests ----------------------------------------------------------------------------------- */

static void client_keep_alive(struct fixture *f)
{
    int fd = dial(f);
    say(fd, "GET /a%20b?x=%31&y HTTP/1.1\r\nHost: h\r\n\r\n");
    hear(f, fd, "HTTP/1.1 0 ", 1);
    say(fd, "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
    hear(f, fd, "HTTP/1.1 5 hello", 1);
    close(fd);
}

static void test_keep_alive(void **state)
{
    struct fixture *f = *state;
    run_client(f, client_keep_alive);
    assert_int_equal(f->requests, 2);
    assert_non_null(strstr(f->got, "GET /a%20b?x=%31&y HTTP/1.1 0 ")); /* nothing was decoded */
    assert_non_null(strstr(f->got, "POST /p? HTTP/1.1 5 hello"));
    assert_int_equal(count(f->got, "HTTP/1.1 200 OK\r\n"), 2);
    assert_int_equal(count(f->got, "set-cookie: "), 4);
}

static void client_pipeline(struct fixture *f)
{
    int fd = dial(f);
    say(fd, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /stream HTTP/1.1\r\nHost: h\r\n\r\n"
            "POST /3 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /4 HTTP/1.1\r\nHost: h\r\n\r\n");
    hear(f, fd, "GET /4?", 1);
    close(fd);
}

static void test_pipeline(void **state)
{
    struct fixture *f = *state;
    run_client(f, client_pipeline);
    assert_int_equal(f->requests, 4);
    const char *one = strstr(f->got, "GET /1?"), *two = strstr(f->got, "data: 1"),
               *three = strstr(f->got, "POST /3? HTTP/1.1 3 abc"), *four = strstr(f->got, "GET /4?");
    assert_true(one && two && three && four && one < two && two < three && three < four);
}

static void client_chunked(struct fixture *f)
{
    int fd = dial(f);
    say(fd, "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    say(fd, "4;ext=1\r\ndefg\r\n0\r\nTrailer: t\r\n\r\n");
    hear(f, fd, "HTTP/1.1 7 abcdefg", 1);
    close(fd);
}

static void test_chunked_upload(void **state)
{
    struct fixture *f = *state;
    run_client(f, client_chunked);
    assert_non_null(strstr(f->got, "POST /c? HTTP/1.1 7 abcdefg"));
}

static void client_continue(struct fixture *f)
{
    int fd = dial(f);
    say(fd, "POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    hear(f, fd, "100 Continue\r\n\r\n", 1);
    say(fd, "ok");
    hear(f, fd, "HTTP/1.1 2 ok", 1);
    close(fd);
}

static void test_continue(void **state)
{
    struct fixture *f = *state;
    run_client(f, client_continue);
    assert_non_null(strstr(f->got, "HTTP/1.1 2 ok"));
}

static void send_long(int fd, size_t n, bool chunked)
{
    char block[5001];
    memset(block, 'b', 5000);
    block[5000] = '\0';
    for (size_t sent = 0; sent < n; sent += 5000) {
        if (chunked)
            say(fd, "1388\r\n");
        say(fd, block);
        if (chunked)
            say(fd, "\r\n");
    }
    if (chunked)
        say(fd, "0\r\n\r\n");
}

static void client_too_long(struct fixture *f)
{
    int fd = dial(f);
    say(fd, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n");
    send_long(fd, 200000, false);
    hear(f, fd, "HTTP/1.1 413", 1);
    hear(f, fd, "too large\"}", 1);
    say(fd, "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    send_long(fd, 200000, true);
    hear(f, fd, "too large\"}", 2);
    say(fd, "POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n");
    send_long(fd, 100000, false);
    hear(f, fd, "HTTP/1.1 100000 b", 1);
    close(fd);
    fd = dial(f);
    say(fd, "POST /d HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\nExpect: 100-continue\r\n\r\n");
    hear(f, fd, "too large\"}", 3);
    close(fd);
    fd = dial(f);
    say(fd, "POST /e HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\n");
    hear(f, fd, "too large\"}", 4);
    close(fd);
}

static void test_too_long(void **state)
{
    struct fixture *f = *state;
    run_client(f, client_too_long);
    assert_int_equal(f->requests, 1); /* the one of exactly the maximum */
    assert_int_equal(count(f->got, "HTTP/1.1 413"), 4);
    assert_null(strstr(f->got, "100 Continue"));
}

static void client_head(struct fixture *f)
{
    int fd = dial(f);
    say(fd, "HEAD /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    hear(f, fd, "\r\n\r\n", 1);
    say(fd, "HEAD /stream HTTP/1.1\r\nHost: h\r\n\r\nGET /nothing HTTP/1.1\r\nHost: h\r\n\r\n");
    hear(f, fd, "\r\n\r\n", 3);
    say(fd, "GET /close HTTP/1.1\r\nHost: h\r\n\r\n");
    hear(f, fd, NULL, 0);
    close(fd);
}

static void test_head_and_no_content(void **state)
{
    struct fixture *f = *state;
    run_client(f, client_head);
    assert_int_equal(f->requests, 4);
    assert_int_equal(count(f->got, "HTTP/1.1 200 OK"), 3);
    assert_int_equal(count(f->got, "HTTP/1.1 204 No Content"), 1);
    assert_null(strstr(f->got, "data: 1"));
    assert_null(strstr(f->got, "HEAD"));
    assert_non_null(strstr(f->got, "bye"));
    assert_false(f->reset);
}

static void client_headers(struct fixture *f)
{
    int fd = dial(f);
    say(fd, "GET /headers HTTP/1.1\r\nHost: h\r\nX-One: a\r\nx-one: B c\r\nX-Empty:\r\n\r\n");
    hear(f, fd, "x-empty: \n", 1);
    say(fd, "GET /bad-headers HTTP/1.1\r\nHost: h\r\n\r\n");
    hear(f, fd, "fine", 1);
    say(fd, "GET /unanswered HTTP/1.1\r\nHost: h\r\n\r\n");
    hear(f, fd, "no answer\"}", 1);
    close(fd);
}

static void test_headers(void **state)
{
    struct fixture *f = *state;
    run_client(f, client_headers);
    assert_non_null(strstr(f->got, "host: h\nx-one: a\nx-one: B c\nx-empty: \n"));
    assert_int_equal(f->refused, 7);
    assert_non_null(strstr(f->got, "x-tab: a b\r\n"));
    assert_non_null(strstr(f->got, "ontent-Length: 4\r\n"));
    assert_null(strstr(f->got, "5000"));
    assert_int_equal(count(f->got, "HTTP/1.1 500"), 1);
}

static void client_slow(struct fixture *f)
{
    int fd = dial(f);
    say(fd, "GET /flood HTTP/1.1\r\nHost: h\r\n\r\n");
    char block[65536];
    ssize_t k;
    while ((k = recv(fd, block, sizeof block, 0)) > 0) {
        for (ssize_t i = 0; i < k; i++)
            f->got_n += block[i] == 'Z';
        if (k >= 5 && memcmp(block + k - 5, "0\r\n\r\n", 5) == 0)
            break;
    }
    close(fd);
}

static void test_slow_reader(void **state)
{
    struct fixture *f = *state;
    f->to_send = (size_t)20 << 20;
    run_client(f, client_slow);
    assert_int_equal(f->got_n, (size_t)20 << 20);
    assert_true(f->waits > 0);
    assert_true(f->rooms >= f->waits);
    assert_false(ah_exchange_gone(f->held[0]));
    assert_int_equal(ah_exchange_write(f->held[0], "x", 1), -1); /* after its end */
}

static void client_leaves(struct fixture *f)
{
    int fd = dial(f);
    say(fd, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\nGET /never HTTP/1.1\r\nHost: h\r\n\r\n");
    hear(f, fd, "held", 1);
    close(fd);
}

static void test_client_leaves_idle_stream(void **state)
{
    struct fixture *f = *state;
    run_client(f, client_leaves); /* with a pipelined request in the socket */
    assert_true(turn_until(f, &f->rooms, 1));
    assert_true(ah_exchange_gone(f->held[0]));
    assert_int_equal(ah_exchange_write(f->held[0], "x", 1), -1);
    assert_int_equal(ah_exchange_end(f->held[0]), -1);
    assert_int_equal(f->requests, 1);
}

static void client_leaves_flood(struct fixture *f)
{
    int fd = dial(f);
    say(fd, "GET /flood HTTP/1.1\r\nHost: h\r\n\r\n");
    char one;
    recv(fd, &one, 1, 0);
    close(fd);
}

static void test_client_leaves_full_stream(void **state)
{
    struct fixture *f = *state;
    f->to_send = (size_t)1 << 30;
    run_client(f, client_leaves_flood);
    for (int i = 0; i < PATIENCE_S * 100 && !ah_exchange_gone(f->held[0]); i++)
        ah_loop_turn(f->loop, 10);
    assert_true(ah_exchange_gone(f->held[0]));
    assert_true(f->to_send > 0);
}

static void client_resets(struct fixture *f)
{
    int fd = dial(f);
    say(fd, "GET /silent HTTP/1.1\r\nHost: h\r\n\r\n");
    while (!f->held_n) /* only to make the order likely: either is right */
        usleep(1000);
    struct linger now = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

static void test_client_resets_before_answer(void **state)
{
    struct fixture *f = *state;
    run_client(f, client_resets);
    for (int i = 0; i < PATIENCE_S * 100 && !ah_exchange_gone(f->held[0]); i++)
        ah_loop_turn(f->loop, 10);
    assert_true(ah_exchange_gone(f->held[0]));
    assert_int_equal(ah_exchange_reply(f->held[0], 200, "", "late", 4), -1);
    assert_int_equal(ah_exchange_begin(f->held[0], 200, "", NULL, NULL), -1);
}

static void client_half_closes(struct fixture *f)
{
    int fd = dial(f);
    say(fd, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\nGET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    shutdown(fd, SHUT_WR);
    hear(f, fd, NULL, 0);
    close(fd);
}

static void test_half_closed_client_is_answered(void **state)
{
    struct fixture *f = *state;
    run_client(f, client_half_closes);
    assert_int_equal(count(f->got, "HTTP/1.1 200 OK"), 2);
    assert_int_equal(count(f->got, "data: 1"), 3);
    assert_non_null(strstr(f->got, "\r\n0\r\n\r\n"));
}

static void client_torn(struct fixture *f)
{
    int fd = dial(f);
    say(fd, "GET /torn HTTP/1.1\r\nHost: h\r\n\r\n");
    hear(f, fd, NULL, 0);
    close(fd);
    fd = dial(f);
    say(fd, "GET /short HTTP/1.1\r\nHost: h\r\n\r\n");
    hear(f, fd, NULL, 0);
    close(fd);
}

static void test_abort_tears_a_stream(void **state)
{
    struct fixture *f = *state;
    run_client(f, client_torn);
    assert_non_null(strstr(f->got, "\r\n4\r\ntorn\r\n")); /* what was written has arrived */
    assert_null(strstr(f->got, "\r\n0\r\n"));
    assert_non_null(strstr(f->got, "ontent-Length: 10\r\n\r\nshort"));
    assert_false(f->reset);
}

static void client_cut(struct fixture *f)
{
    int fd = dial(f);
    say(fd, "GET /cut HTTP/1.1\r\nHost: h\r\n\r\n");
    hear(f, fd, NULL, 0);
    close(fd);
}

static void test_abort_instead_of_an_answer(void **state)
{
    struct fixture *f = *state;
    run_client(f, client_cut);
    assert_int_equal(f->got_n, 0);
    assert_int_equal(f->requests, 1);
}

static void client_http10(struct fixture *f)
{
    int fd = dial(f);
    say(fd, "GET /stream HTTP/1.0\r\n\r\n");
    hear(f, fd, NULL, 0);
    close(fd);
    fd = dial(f);
    say(fd, "GET /torn HTTP/1.0\r\n\r\n");
    hear(f, fd, NULL, 0);
    close(fd);
}

static void test_http_10(void **state)
{
    struct fixture *f = *state;
    run_client(f, client_http10);
    assert_int_equal(count(f->got, "data: 1\n\n"), 3);
    assert_null(strstr(f->got, "chunked"));
}

static void client_garbage(struct fixture *f)
{
    static const char *const bad[] = {
        "\r\n\r\n\r\n",
        "GARBAGE\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST /half HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhal"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int fd = dial(f);
        say(fd, bad[i]);
        shutdown(fd, SHUT_WR);
        hear(f, fd, NULL, 0);
        close(fd);
    }
    int fd = dial(f);
    static char big[200000];
    memset(big, 'h', sizeof big - 1);
    say(fd, "GET / HTTP/1.1\r\nHost: h\r\nx-big: ");
    say(fd, big);
    close(fd);
    fd = dial(f);
    say(fd, "GET /after HTTP/1.1\r\nHost: h\r\n\r\n");
    hear(f, fd, "GET /after?", 1);
    close(fd);
}

static void test_garbage(void **state)
{
    struct fixture *f = *state;
    run_client(f, client_garbage);
    assert_non_null(strstr(f->got, "GET /after?"));
    assert_null(strstr(f->got, "/half"));
}

static void client_barrier(struct fixture *f)
{
    int fd = dial(f);
    say(fd, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\nGET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    hear(f, fd, "\r\n0\r\n\r\n", 1);
    close(fd);
}

/* Nothing leaves while the journal cannot be committed. */
static void test_answers_wait_for_the_commit(void **state)
{
    struct fixture *f = *state;
    pthread_t t;
    f->client = client_barrier;
    f->commit = false;
    assert_int_equal(pthread_create(&t, NULL, client_main, f), 0);
    assert_true(turn_until(f, &f->requests, 1));
    for (int i = 0; i < 50; i++)
        ah_loop_turn(f->loop, 1);
    assert_int_equal(f->requests, 1); /* the second waits behind the first one's answer */
    assert_int_equal(f->got_n, 0);
    f->commit = true;
    while (!atomic_load(&f->done))
        ah_loop_turn(f->loop, 100);
    pthread_join(t, NULL);
    assert_int_equal(f->requests, 2);
    assert_int_equal(count(f->got, "data: 1"), 3);
}

static void client_many_open(struct fixture *f)
{
    static const char *const what[] = {"GET /hold HTTP/1.1\r\nHost: h\r\n\r\n",
                                       "GET /silent HTTP/1.1\r\nHost: h\r\n\r\n",
                                       "GET /flood HTTP/1.1\r\nHost: h\r\n\r\n",
                                       "POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx",
                                       "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n"};
    int fds[5];
    for (int i = 0; i < 5; i++) {
        fds[i] = dial(f);
        say(fds[i], what[i]);
    }
    for (int i = 0; i < 5; i++) {
        hear(f, fds[i], NULL, 0);
        close(fds[i]);
    }
}

static void test_close_with_open_exchanges(void **state)
{
    struct fixture *f = *state;
    pthread_t t;
    f->to_send = (size_t)1 << 30;
    f->client = client_many_open;
    assert_int_equal(pthread_create(&t, NULL, client_main, f), 0);
    assert_true(turn_until(f, &f->requests, 4));
    ah_server_close(f->server);
    f->server = NULL;
    while (!atomic_load(&f->done))
        ah_loop_turn(f->loop, 100);
    pthread_join(t, NULL);
    for (int i = 0; i < f->held_n; i++) {
        assert_true(ah_exchange_gone(f->held[i]));
        assert_int_equal(ah_exchange_reply(f->held[i], 200, "", "", 0), -1);
        assert_int_equal(ah_exchange_write(f->held[i], "x", 1), -1);
        ah_exchange_abort(f->held[i]);
    }
    assert_null(strstr(f->got, "\r\n0\r\n\r\n"));
    assert_true(turn_until(f, &f->rooms, 2));
}

static void test_close_at_once(void **state)
{
    struct fixture *f = *state;
    ah_server_close(f->server);
    f->server = NULL;
    assert_false(ah_loop_turn(f->loop, 0)); /* nothing is left behind in the loop */
}

static void test_open_errors(void **state)
{
    struct fixture *f = *state;
    struct ah_error err = {0};
    struct ah_server_opts opts = {.port = f->port, .on_request = on_request, .arg = f};
    assert_null(ah_server_open(f->loop, &opts, &err));
    assert_int_equal(err.kind, AH_IO);
    assert_non_null(strstr(err.message, "in use"));
    opts = (struct ah_server_opts){.address = "no.such.name", .on_request = on_request, .arg = f};
    assert_null(ah_server_open(f->loop, &opts, &err));
    assert_int_equal(err.kind, AH_CONFIG);
    opts = (struct ah_server_opts){.port = 70000, .on_request = on_request, .arg = f};
    assert_null(ah_server_open(f->loop, &opts, &err));
    assert_int_equal(err.kind, AH_CONFIG);
    ah_err_drop(&err);
}

static void test_background(void **state)
{
    struct fixture *f = *state;
    assert_true(ah_loop_turn(f->loop, 0));
    ah_server_background(f->server, true);
    assert_false(ah_loop_turn(f->loop, 0));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_keep_alive),
        TEST(test_pipeline),
        TEST(test_chunked_upload),
        TEST(test_continue),
        TEST(test_too_long),
        TEST(test_head_and_no_content),
        TEST(test_headers),
        TEST(test_slow_reader),
        TEST(test_client_leaves_idle_stream),
        TEST(test_client_leaves_full_stream),
        TEST(test_client_resets_before_answer),
        TEST(test_half_closed_client_is_answered),
        TEST(test_abort_tears_a_stream),
        TEST(test_abort_instead_of_an_answer),
        TEST(test_http_10),
        TEST(test_garbage),
        TEST(test_answers_wait_for_the_commit),
        TEST(test_close_with_open_exchanges),
        TEST(test_close_at_once),
        TEST(test_open_errors),
        TEST(test_background),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
