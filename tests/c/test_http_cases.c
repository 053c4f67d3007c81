/* Plays every case of tests/cases/http against the HTTP client: the far end is the raw TCP double, what
 * the client must make of it stands in the case. Run with file names as arguments to play only those. */
#include "http.h"
#include "log.h"
#include "loop.h"

#include "../mock/tcp_double.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef AH_CASES
#define AH_CASES "tests/cases/http"
#endif
#define HEADERS 8
#define FILES 512

struct client { /* one "@client" line and what follows it */
    char method[16], path[256], origin[64], body[4096], want_kind[32], want_body[4096], want_message[256],
        want_header[256];
    struct ah_http_header headers[HEADERS];
    size_t header_count;
    bool has_body, idempotent, once, stream, refuse_redirects, closed_port, checks_body;
    long first_byte, idle, total, max_body, retries, base, cap, repeat_body;
    long want_status, want_attempts, want_bytes, want_waited;
};

struct sink {
    struct ah_buf got;
};

static int take(void *arg, const char *p, size_t n, struct ah_error *err)
{
    (void)err;
    return ah_buf_add(&((struct sink *)arg)->got, p, n);
}

static void copy(char *to, size_t size, const char *from)
{
    assert_true(strlen(from) < size);
    strcpy(to, from);
}

/* \r \n \t \\ \0 \xHH; cases hold bytes that an editor would not show. */
static void unescape(char *s)
{
    char *to = s;
    for (; *s; s++) {
        if (*s != '\\') {
            *to++ = *s;
        } else if (s[1] == 'x') {
            char digits[3] = {s[2], s[3], '\0'};
            *to++ = (char)strtol(digits, NULL, 16);
            s += 3;
        } else {
            s++;
            *to++ = (char)(*s == 'r' ? '\r' : *s == 'n' ? '\n' : *s == 't' ? '\t' : *s);
        }
    }
    *to = '\0';
}

static bool read_number(const char *word, const char *value, struct client *c)
{
    const struct {
        const char *word;
        long *to;
    } numbers[] = {{"first-byte", &c->first_byte},
                   {"idle", &c->idle},
                   {"total", &c->total},
                   {"max-body", &c->max_body},
                   {"retries", &c->retries},
                   {"base", &c->base},
                   {"cap", &c->cap},
                   {"body-repeat", &c->repeat_body},
                   {"status", &c->want_status},
                   {"attempts", &c->want_attempts},
                   {"bytes", &c->want_bytes},
                   {"waited-at-least", &c->want_waited}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strcmp(numbers[i].word, word) == 0) {
            *numbers[i].to = strtol(value, NULL, 10);
            return true;
        }
    return false;
}

static bool read_flag(const char *word, struct client *c)
{
    const struct {
        const char *word;
        bool *to;
    } flags[] = {{"idempotent", &c->idempotent},
                 {"once", &c->once},
                 {"stream", &c->stream},
                 {"refuse-redirects", &c->refuse_redirects},
                 {"closed-port", &c->closed_port}};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (strcmp(flags[i].word, word) == 0)
            return *flags[i].to = true;
    return false;
}

static void read_note(const char *note, struct client *c)
{
    char word[32] = "", value[4096] = "";
    const char *space = strchr(note, ' ');
    size_t n = space ? (size_t)(space - note) : strlen(note);
    assert_true(n < sizeof word);
    memcpy(word, note, n);
    copy(value, sizeof value, space ? space + 1 : "");
    unescape(value);
    if (read_flag(word, c) || read_number(word, value, c))
        return;
    if (strcmp(word, "kind") == 0)
        copy(c->want_kind, sizeof c->want_kind, value);
    else if (strcmp(word, "message") == 0)
        copy(c->want_message, sizeof c->want_message, value);
    else if (strcmp(word, "answer-header") == 0)
        copy(c->want_header, sizeof c->want_header, value);
    else if (strcmp(word, "answer") == 0) {
        copy(c->want_body, sizeof c->want_body, value);
        c->checks_body = true;
    } else if (strcmp(word, "body") == 0) {
        copy(c->body, sizeof c->body, value);
        c->has_body = true;
    } else if (strcmp(word, "header") == 0) {
        char *colon = strstr(value, ": ");
        assert_non_null(colon);
        assert_true(c->header_count < HEADERS);
        *colon = '\0';
        c->headers[c->header_count++] = (struct ah_http_header){strdup(value), strdup(colon + 2)};
    } else {
        print_error("unknown word in the case: @%s\n", note);
        fail();
    }
}

/* A port on which nobody listens, held by a socket that is only bound. */
static int closed_port(int *fd)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    *fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(*fd, (struct sockaddr *)&at, n), 0);
    assert_int_equal(getsockname(*fd, (struct sockaddr *)&at, &n), 0);
    return ntohs(at.sin_port);
}

static bool check_number(const char *what, long got, long want)
{
    if (want < 0 || got == want)
        return true;
    print_error("    %s: got %ld, want %ld\n", what, got, want);
    return false;
}

static bool check_outcome(const struct client *c, const struct ah_http_op *op, const struct ah_buf *body)
{
    const char *kind = ah_err_kind_name(op->op.err.kind);
    bool fine = check_number("status", op->res.status, c->want_status);
    fine &= check_number("attempts", op->res.attempts, c->want_attempts);
    fine &= check_number("bytes", (long)body->n, c->want_bytes);
    if (strcmp(kind, c->want_kind) != 0) {
        print_error("    kind: got %s (%s), want %s\n", kind, op->op.err.message, c->want_kind);
        fine = false;
    }
    if (!strstr(op->op.err.message, c->want_message)) {
        print_error("    message: got '%s', want '%s'\n", op->op.err.message, c->want_message);
        fine = false;
    }
    if (!strstr(ah_buf_str(&op->res.headers), c->want_header)) {
        print_error("    headers: got '%s', want '%s'\n", ah_buf_str(&op->res.headers), c->want_header);
        fine = false;
    }
    if (c->checks_body &&
        (body->n != strlen(c->want_body) || memcmp(ah_buf_str(body), c->want_body, body->n))) {
        print_error("    body: got '%.*s', want '%s'\n", (int)(body->n < 500 ? body->n : 500),
                    ah_buf_str(body), c->want_body);
        fine = false;
    }
    if (op->res.waited_ms < c->want_waited) {
        print_error("    waited: got %ld ms, want %ld\n", (long)op->res.waited_ms, c->want_waited);
        fine = false;
    }
    return fine;
}

static bool send_one(struct ah_loop *loop, struct ah_http *http, struct client *c, int port)
{
    char url[512];
    int held = -1;
    struct ah_error err = {0};
    struct sink sink = {0};
    ah_buf_init(&sink.got, (size_t)64 << 20);
    if (c->closed_port)
        port = closed_port(&held);
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", port, c->path);
    struct ah_buf body;
    ah_buf_init(&body, (size_t)64 << 20);
    for (long i = 0; i < (c->repeat_body ? c->repeat_body : 1); i++)
        ah_buf_adds(&body, c->body);
    struct ah_http_req req = {.method = c->method,
                              .url = url,
                              .headers = c->headers,
                              .header_count = c->header_count,
                              .body = ah_buf_str(&body),
                              .body_n = body.n,
                              .has_body = c->has_body,
                              .idempotent = c->idempotent,
                              .once = c->once,
                              .stream = c->stream,
                              .refuse_redirects = c->refuse_redirects,
                              .connect_ms = 5000,
                              .first_byte_ms = c->first_byte,
                              .idle_ms = c->idle,
                              .total_ms = c->total,
                              .max_body = (size_t)c->max_body,
                              .retry = {.max = c->retries ? (int)c->retries : -1,
                                        .base_ms = c->base ? c->base : 1,
                                        .cap_ms = c->cap ? c->cap : 5},
                              .on_data = c->stream ? take : NULL,
                              .arg = &sink};
    struct ah_http_op *op = ah_http_send(http, &req, &err);
    ah_buf_drop(&body);
    bool fine = op != NULL;
    if (!op)
        print_error("    refused: %s\n", err.message);
    while (op && !op->op.done)
        ah_loop_turn(loop, 1000);
    if (op)
        fine = check_outcome(c, op, c->stream && op->res.body.n == 0 ? &sink.got : &op->res.body);
    if (op)
        ah_op_unref(&op->op);
    ah_buf_drop(&sink.got);
    ah_err_drop(&err);
    if (held >= 0)
        close(held);
    return fine;
}

static void start_client(struct client *c, const char *note)
{
    *c = (struct client){.want_status = -1, .want_attempts = -1, .want_bytes = -1, .want_kind = "none"};
    int n = sscanf(note, "client %15s %255s", c->method, c->path);
    assert_int_equal(n, 2);
}

static void drop_client(struct client *c)
{
    for (size_t i = 0; i < c->header_count; i++) {
        free((void *)(uintptr_t)c->headers[i].name);
        free((void *)(uintptr_t)c->headers[i].value);
    }
    c->header_count = 0;
}

static bool play_case(const char *path)
{
    char error[512];
    struct double_script *s = double_load(path, error, sizeof error);
    if (!s) {
        print_error("%s: %s\n", path, error);
        return false;
    }
    struct ah_error err = {0};
    struct ah_log log = {.level = AH_LOG_ERROR};
    struct ah_loop *loop = ah_loop_new(&err);
    struct ah_http *http = ah_http_new(loop, &log, NULL, &err);
    assert_non_null(http);
    struct tcp_double *d = double_start(s);
    bool fine = true;
    long requests = -1;
    const char *note;
    for (size_t i = 0; (note = double_note(s, i));) {
        if (sscanf(note, "requests %ld", &requests) == 1) {
            i++;
            continue;
        }
        struct client c;
        start_client(&c, note);
        for (i++; (note = double_note(s, i)) && strncmp(note, "client ", 7) && strncmp(note, "requests ", 9);
             i++)
            read_note(note, &c);
        fine &= send_one(loop, http, &c, double_port(d));
        drop_client(&c);
    }
    fine &= check_number("in flight", ah_http_in_flight(http), 0);
    ah_http_free(http);
    ah_loop_free(loop);
    double_stop(d);
    fine &= check_number("requests counted by the far end", double_requests(d), requests);
    if (double_differences(d)[0]) {
        print_error("    %s", double_differences(d));
        fine = false;
    }
    double_free(d);
    double_script_free(s);
    if (!fine)
        print_error("  FAILED: %s\n", path);
    return fine;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void test_all_cases(void **state)
{
    (void)state;
    char *names[FILES];
    size_t n = 0, failed = 0;
    DIR *dir = opendir(AH_CASES);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir)) && n < FILES;) {
        size_t length = strlen(e->d_name);
        if (length > 5 && strcmp(e->d_name + length - 5, ".case") == 0)
            names[n++] = strdup(e->d_name);
    }
    closedir(dir);
    qsort(names, n, sizeof *names, by_name);
    for (size_t i = 0; i < n; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", AH_CASES, names[i]);
        failed += !play_case(path);
        free(names[i]);
    }
    print_message("%zu cases, %zu failed\n", n, failed);
    assert_true(n > 0);
    assert_int_equal(failed, 0);
}

/* The double itself notices what differs: else the cases prove nothing. */
static void test_double_notices(void **state)
{
    (void)state;
    static const struct {
        const char *script, *difference;
    } rows[] = {
        {"connection\n> GET /b HTTP/1.1\n> ...\n>\n< HTTP/1.1 200 OK\n< content-length: 0\n<\n",
         "differs at byte 5 "},
        {"connection\n> GET /a HTTP/1.1\n>\n< HTTP/1.1 200 OK\n< content-length: 0\n<\n", "(line 2)"},
        {"connection\nrequest\nclose\n", "came unasked"},
        {"connection\nrequest\n< HTTP/1.1 200 OK\n< content-length: 0\n<\nconnection\nclose\n", "never came"},
        {"connection\nrequest\n< HTTP/1.1 200 OK\n< content-length: 0\n<\n", ""},
    };
    char error[512];
    assert_null(double_parse("close\n", error, sizeof error));
    assert_null(double_parse("connection\nsleep x\n", error, sizeof error));
    assert_null(double_parse("connection\nsplat\n", error, sizeof error));
    assert_null(double_parse("connection\n< \\q\n", error, sizeof error));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct double_script *s = double_parse(rows[i].script, error, sizeof error);
        assert_non_null(s);
        struct tcp_double *d = double_start(s);
        struct ah_error err = {0};
        struct ah_log log = {.level = AH_LOG_ERROR};
        struct ah_loop *loop = ah_loop_new(&err);
        struct ah_http *http = ah_http_new(loop, &log, NULL, &err);
        struct client c;
        start_client(&c, "client GET /a");
        c.retries = i == 2;
        c.want_kind[0] = '\0';
        copy(c.want_kind, sizeof c.want_kind, i == 2 ? "network" : "none");
        assert_true(send_one(loop, http, &c, double_port(d)));
        ah_http_free(http);
        ah_loop_free(loop);
        double_stop(d);
        assert_non_null(strstr(double_differences(d), rows[i].difference));
        assert_true(rows[i].difference[0] || !double_differences(d)[0]);
        double_free(d);
        double_script_free(s);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        int failed = 0;
        for (int i = 1; i < argc; i++)
            failed += !play_case(argv[i]);
        return failed != 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_double_notices),
        cmocka_unit_test(test_all_cases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
