/* sse: the rules one by one, then every recorded stream cut at every byte. */
#include "sse.h"

#include "err.h"
#include "limits.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct sink {
    struct ah_buf text; /* "name|data\n" for each event */
    size_t count;
    size_t stop_at; /* 0 = never */
};

static int on_event(void *arg, const struct ah_sse_event *ev)
{
    struct sink *sink = arg;
    ah_buf_adds(&sink->text, ev->name);
    ah_buf_addc(&sink->text, '|');
    ah_buf_add(&sink->text, ev->data, ev->n);
    ah_buf_addc(&sink->text, '\n');
    assert_int_equal(ev->data[ev->n], '\0');
    sink->count++;
    return sink->stop_at == sink->count;
}

/* Enough of "complete JSON or [DONE]" for these tests. */
static bool looks_complete(const char *data, size_t n)
{
    return n > 0 && (data[n - 1] == '}' || strncmp(data, "[DONE]", 6) == 0);
}

static bool accept_all(const char *data, size_t n)
{
    (void)data;
    (void)n;
    return true;
}

/* Feeds p[0..n) in pieces of `piece` bytes and then, if asked, ends. Returns the error's kind. */
static enum ah_kind run(const char *p, size_t n, size_t piece, bool end, struct sink *sink)
{
    struct ah_sse s;
    struct ah_error err = {0};
    ah_buf_init(&sink->text, 64 << 20);
    sink->count = 0;
    ah_sse_init(&s, on_event, sink);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i += piece)
        rc = ah_sse_feed(&s, p + i, n - i < piece ? n - i : piece, &err);
    if (rc == 0 && end)
        rc = ah_sse_end(&s, looks_complete, &err);
    assert_int_equal(rc, err.kind == AH_NONE ? 0 : -1);
    enum ah_kind kind = err.kind;
    ah_err_drop(&err);
    ah_sse_drop(&s);
    return kind;
}

static void expect(const char *input, const char *events, enum ah_kind end)
{
    size_t n = strlen(input);
    for (size_t piece = 1; piece <= n + 1; piece++) {
        struct sink sink = {0};
        assert_int_equal(run(input, n, piece, true, &sink), end);
        assert_string_equal(ah_buf_str(&sink.text), events);
        ah_buf_drop(&sink.text);
    }
}

static void test_lines_and_fields(void **state)
{
    (void)state;
    expect("", "", AH_NONE);
    expect("data: a\n\n", "message|a\n", AH_NONE);
    expect("data:a\n\n", "message|a\n", AH_NONE);
    expect("data:  a \n\n", "message| a \n", AH_NONE); /* exactly one space goes */
    expect("data: a\r\n\r\n", "message|a\n", AH_NONE);
    expect("data: a\r\ndata: b\r\n\r\n", "message|a\nb\n", AH_NONE); /* CRLF is one end of line */
    expect("data: a\r\r", "message|a\n", AH_NONE);
    expect("data: a\r\n\ndata: b\n\r\n", "message|a\nmessage|b\n", AH_NONE); /* mixed */
    expect("data: a\ndata: b\ndata:\n\n", "message|a\nb\n\n", AH_NONE);
    expect("data\n\n", "message|\n", AH_NONE); /* a field without colon is empty */
    expect("data:\n\n", "message|\n", AH_NONE);
    expect("event: x\ndata: a\n\ndata: b\n\n", "x|a\nmessage|b\n", AH_NONE);
    expect("event: x\n\ndata: b\n\n", "message|b\n", AH_NONE); /* no data, no event; the name is gone */
    expect("event: x\nevent: y\ndata: b\n\n", "y|b\n", AH_NONE);
    expect("event: x\nevent:\ndata: b\n\n", "message|b\n", AH_NONE);
    expect("\n\n\ndata: a\n\n\n\n", "message|a\n", AH_NONE);
    expect("Data: a\ndatas: b\n data: c\n\n", "", AH_NONE); /* unknown fields */
    expect(": comment\n\n:\ndata: a\n: in between\ndata: b\n\n", "message|a\nb\n", AH_NONE);
    expect("\xef\xbb\xbf"
           "data: a\n\n",
           "message|a\n", AH_NONE);
    expect("\xef\xbb\xbf\n"
           "data: a\n\n",
           "message|a\n", AH_NONE);
    expect("data: a\n\n\xef\xbb\xbf"
           "data: b\n\n",
           "message|a\n", AH_NONE); /* a BOM only at the start */
    expect("data: \xc3\xa9\xf0\x9f\x93\xac\n\n", "message|\xc3\xa9\xf0\x9f\x93\xac\n", AH_NONE);
    expect("data: a:b: c\n\n", "message|a:b: c\n", AH_NONE);
}

static void test_end(void **state)
{
    (void)state;
    expect("data: {}\n", "message|{}\n", AH_NONE);
    expect("data: {}", "message|{}\n", AH_NONE);
    expect("data: [DONE]", "message|[DONE]\n", AH_NONE);
    expect("data: {\ndata: }", "message|{\n}\n", AH_NONE);
    expect("event: error\ndata: {}", "error|{}\n", AH_NONE);
    expect("data: {", "", AH_TRUNCATED);
    expect("data: {\"a\"\n", "", AH_TRUNCATED);
    expect("data: {}\n\ndata: {", "message|{}\n", AH_TRUNCATED);
    expect("data: {}\n\ndat", "message|{}\n", AH_TRUNCATED);
    expect("event: error\n", "", AH_TRUNCATED);
    expect("data: {}\n\n: keepal", "message|{}\n", AH_NONE);
    expect(": keepalive\n", "", AH_NONE);
    expect("id: 1\n", "", AH_NONE);
    struct ah_sse s;
    struct sink sink = {0};
    struct ah_error err = {0};
    ah_buf_init(&sink.text, 100);
    ah_sse_init(&s, on_event, &sink);
    assert_int_equal(ah_sse_feed(&s, "data: {}", 8, &err), 0);
    assert_int_equal(ah_sse_end(&s, NULL, &err), -1); /* no test: nothing is complete */
    assert_int_equal(err.kind, AH_TRUNCATED);
    ah_err_drop(&err);
    assert_int_equal(ah_sse_end(&s, accept_all, &err), 0); /* said once */
    assert_int_equal(sink.count, 0);
    ah_sse_drop(&s);
    ah_buf_drop(&sink.text);
}

static void test_id_retry_comments(void **state)
{
    (void)state;
    struct ah_sse s;
    struct sink sink = {0};
    struct ah_error err = {0};
    ah_buf_init(&sink.text, 1000);
    ah_sse_init(&s, on_event, &sink);
    assert_null(s.id);
    assert_int_equal(s.retry_ms, -1);
    static const char one[] = "id: 7\nretry: 1500\n: a\n:b\n\n";
    assert_int_equal(ah_sse_feed(&s, one, sizeof one - 1, &err), 0);
    assert_string_equal(s.id, "7");
    assert_int_equal(s.retry_ms, 1500);
    assert_int_equal(s.comments, 2);
    static const char two[] = "id: 8\0\nretry: 15x\nretry: \nretry: 99999999999999999999\nretry: -1\n";
    assert_int_equal(ah_sse_feed(&s, two, sizeof two - 1, &err), 0);
    assert_string_equal(s.id, "7"); /* an id with NUL is ignored */
    assert_int_equal(s.retry_ms, 1500);
    assert_int_equal(ah_sse_feed(&s, "id\n", 3, &err), 0);
    assert_string_equal(s.id, "");
    static const char nul_name[] =
        "event: \0x\ndata: n\n\nevent: y\0x\ndata: n\n\n"; /* a name ends at a NUL */
    assert_int_equal(ah_sse_feed(&s, nul_name, sizeof nul_name - 1, &err), 0);
    assert_string_equal(sink.text.p, "message|n\ny|n\n");
    ah_buf_clear(&sink.text);
    static const char nul[] = "data: a\0b\n\n";
    assert_int_equal(ah_sse_feed(&s, nul, sizeof nul - 1, &err), 0);
    assert_int_equal(sink.text.n, strlen("message|a.b\n"));
    assert_memory_equal(sink.text.p, "message|a\0b\n", sink.text.n);
    ah_sse_drop(&s);
    ah_buf_drop(&sink.text);
}

static void test_stop(void **state)
{
    (void)state;
    static const char input[] = "data: a\n\ndata: b\n\ndata: c\n\n";
    for (size_t piece = 1; piece < sizeof input; piece++) {
        struct sink sink = {.stop_at = 2};
        assert_int_equal(run(input, sizeof input - 1, piece, true, &sink), AH_CANCELLED);
        assert_string_equal(sink.text.p, "message|a\nmessage|b\n");
        ah_buf_drop(&sink.text);
    }
    struct sink sink = {.stop_at = 1};
    assert_int_equal(run("data: {}", 8, 8, true, &sink), AH_CANCELLED); /* inside ah_sse_end */
    ah_buf_drop(&sink.text);
}

static void test_limits(void **state)
{
    (void)state;
    size_t n = AH_SSE_EVENT_BYTES + AH_SSE_EVENT_BYTES / 2;
    char *p = malloc(n);
    assert_non_null(p);
    memset(p, 'x', n);
    struct sink sink = {0};
    assert_int_equal(run(p, AH_SSE_LINE_BYTES + 1, 4096, false, &sink), AH_LIMIT);
    ah_buf_drop(&sink.text);
    assert_int_equal(run(p, AH_SSE_LINE_BYTES + 1, n, false, &sink), AH_LIMIT);
    ah_buf_drop(&sink.text);
    memcpy(p, "data: ", 6);
    p[AH_SSE_LINE_BYTES] = '\n'; /* a line of exactly the limit */
    p[AH_SSE_LINE_BYTES + 1] = '\n';
    assert_int_equal(run(p, AH_SSE_LINE_BYTES + 2, 1000, false, &sink), AH_NONE);
    assert_int_equal(sink.count, 1);
    ah_buf_drop(&sink.text);
    for (size_t i = 0; i + 1000 <= n; i += 1000) { /* many lines, one event */
        memcpy(p + i, "data:", 5);
        memset(p + i + 5, 'x', 994);
        p[i + 999] = '\n';
    }
    assert_int_equal(run(p, n / 1000 * 1000, 777, false, &sink), AH_LIMIT);
    assert_int_equal(sink.count, 0);
    ah_buf_drop(&sink.text);
    free(p);
}

static char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *p = malloc(1 << 20);
    assert_non_null(p);
    *n = fread(p, 1, 1 << 20, f);
    fclose(f);
    return p;
}

/* Each recorded stream: cut in two at every byte, and fed byte by byte. */
static void test_fixtures_split_everywhere(void **state)
{
    (void)state;
    static const char folder[] = TESTS_FOLDER "/fixtures/openai";
    char path[sizeof folder + 300];
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    int files = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || strcmp(dot, ".sse") != 0)
            continue;
        size_t n;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        char *p = read_file(path, &n);
        struct sink whole = {0};
        enum ah_kind kind = run(p, n, n, true, &whole);
        assert_true(whole.count > 0);
        for (size_t cut = 1; cut < n; cut++) {
            struct sink sink = {0};
            struct ah_sse s;
            struct ah_error err = {0};
            ah_buf_init(&sink.text, 1 << 20);
            ah_sse_init(&s, on_event, &sink);
            int rc = ah_sse_feed(&s, p, cut, &err);
            if (rc == 0)
                rc = ah_sse_feed(&s, p + cut, n - cut, &err);
            if (rc == 0)
                ah_sse_end(&s, looks_complete, &err);
            assert_int_equal(err.kind, kind);
            assert_int_equal(sink.count, whole.count);
            assert_string_equal(ah_buf_str(&sink.text), ah_buf_str(&whole.text));
            ah_err_drop(&err);
            ah_sse_drop(&s);
            ah_buf_drop(&sink.text);
        }
        struct sink bytes = {0};
        assert_int_equal(run(p, n, 1, true, &bytes), kind);
        assert_string_equal(ah_buf_str(&bytes.text), ah_buf_str(&whole.text));
        ah_buf_drop(&bytes.text);
        ah_buf_drop(&whole.text);
        free(p);
        files++;
    }
    closedir(dir);
    assert_true(files >= 30);
}

static void expect_file(const char *name, size_t count, enum ah_kind kind, struct ah_buf *text)
{
    char path[sizeof TESTS_FOLDER + 300];
    size_t n;
    snprintf(path, sizeof path, TESTS_FOLDER "/fixtures/openai/%s", name);
    char *p = read_file(path, &n);
    struct sink sink = {0};
    assert_int_equal(run(p, n, n, true, &sink), kind);
    assert_int_equal(sink.count, count);
    *text = sink.text;
    free(p);
}

static void test_fixture_variants(void **state)
{
    (void)state;
    static const char *const same[] = {"golden_two_calls_crlf.sse", "golden_two_calls_cr.sse",
                                       "golden_two_calls_nospace.sse", "golden_two_calls_bom.sse"};
    struct ah_buf golden, other;
    expect_file("golden_two_calls.sse", 9, AH_NONE, &golden);
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        expect_file(same[i], 9, AH_NONE, &other);
        assert_string_equal(other.p, golden.p);
        ah_buf_drop(&other);
    }
    ah_buf_drop(&golden);
    expect_file("golden_text.sse", 6, AH_NONE, &golden);
    expect_file("x_comment.sse", 6, AH_NONE, &other);
    assert_string_equal(other.p, golden.p);
    ah_buf_drop(&other);
    expect_file("x_no_newline.sse", 6, AH_NONE, &other);
    assert_string_equal(other.p, golden.p);
    ah_buf_drop(&other);
    ah_buf_drop(&golden);
    expect_file("x_half_event.sse", 3, AH_TRUNCATED, &other);
    ah_buf_drop(&other);
    expect_file("x_one_newline.sse", 4, AH_NONE, &other);
    ah_buf_drop(&other);
    expect_file("x_err_event.sse", 3, AH_NONE, &other);
    assert_non_null(strstr(other.p, "\nerror|{\"error\""));
    ah_buf_drop(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_and_fields),
        cmocka_unit_test(test_end),
        cmocka_unit_test(test_id_retry_comments),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_fixtures_split_everywhere),
        cmocka_unit_test(test_fixture_variants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
