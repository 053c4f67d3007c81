/* multipart: the written bytes to the byte, reading of several clients' manners, and every cut. */
#include "multipart.h"

#include "buf.h"
#include "err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct sink {
    struct ah_buf text; /* "name|type|filename|length|encoded|payload\n" for each part */
    int count, stop_at;
};

static int on_part(void *arg, const struct ah_multipart_part *part)
{
    struct sink *sink = arg;
    ah_buf_addf(&sink->text, "%s|%s|%s|%lld|%d|", part->name, part->type,
                part->filename ? part->filename : "-", part->length, part->encoded);
    ah_buf_add(&sink->text, part->p, part->n);
    ah_buf_addc(&sink->text, '\n');
    return ++sink->count == sink->stop_at;
}

static int read_body(const char *body, size_t n, struct sink *sink, struct ah_error *err)
{
    ah_buf_init(&sink->text, 1 << 20);
    sink->count = 0;
    return ah_multipart_read(body, n, "B", on_part, sink, err);
}

static void expect(const char *body, const char *parts)
{
    struct sink sink = {0};
    struct ah_error err = {0};
    if (read_body(body, strlen(body), &sink, &err) != 0)
        fail_msg("%s", err.message);
    assert_string_equal(ah_buf_str(&sink.text), parts);
    ah_buf_drop(&sink.text);
}

static void expect_error(const char *body, const char *message)
{
    struct sink sink = {0};
    struct ah_error err = {0};
    assert_int_equal(read_body(body, strlen(body), &sink, &err), -1);
    assert_int_equal(err.kind, AH_PROTOCOL);
    if (!strstr(err.message, message))
        fail_msg("%s, not %s", err.message, message);
    ah_buf_drop(&sink.text);
}

/* The example of LangSmith's ingestion: its size is known to the byte. */
static void test_write(void **state)
{
    (void)state;
#define ROOT "01a202b2-c500-7a1b-8a1b-2c3d4e5f6071"
#define TOOL "01a202b2-c890-7c3d-ac3d-4e5f60718293"
#define ORDER "20261122T100000000120Z" ROOT
    static const char *const parts[][2] = {
        {"post." ROOT,
         "{\"id\":\"" ROOT "\",\"trace_id\":\"" ROOT "\",\"dotted_order\":\"" ORDER
         "\",\"name\":\"gmail-agent\",\"run_type\":\"chain\","
         "\"start_time\":\"2026-11-22T10:00:00.000120Z\",\"end_time\":\"2026-11-22T10:00:02.100000Z\","
         "\"session_name\":\"scalekit-agentkit-traces\",\"tags\":[\"cookbook\"]}"},
        {"post." ROOT ".inputs", "{\"input\":\"Fetch my last 3 unread emails\"}"},
        {"post." ROOT ".outputs", "{\"output\":\"You have 3 unread emails.\"}"},
        {"post." TOOL,
         "{\"id\":\"" TOOL "\",\"trace_id\":\"" ROOT "\",\"parent_run_id\":\"" ROOT
         "\",\"dotted_order\":\"" ORDER ".20261122T100000912004Z" TOOL
         "\",\"name\":\"gmail_fetch_mails\",\"run_type\":\"tool\","
         "\"start_time\":\"2026-11-22T10:00:00.912004Z\",\"end_time\":\"2026-11-22T10:00:01.390000Z\","
         "\"session_name\":\"scalekit-agentkit-traces\"}"},
        {"post." TOOL ".inputs", "{\"input\":\"{'max_results': 3}\"}"},
        {"post." TOOL ".extra", "{\"tool_call_id\":\"call_a\",\"metadata\":{\"thread_id\":\"th-1\"}}"},
        {"post." TOOL ".error", "\"ToolError: connection expired\""},
    };
    struct ah_buf b;
    ah_buf_init(&b, 10000);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        assert_int_equal(
            ah_multipart_add(&b, "agenthost-7c0d", parts[i][0], NULL, parts[i][1], strlen(parts[i][1])), 0);
    assert_int_equal(ah_multipart_end(&b, "agenthost-7c0d"), 0);
    assert_int_equal(b.n, 2158);
    ah_buf_clear(&b);
    assert_int_equal(ah_multipart_add(&b, "B", "n", "text/plain", "hi", 2), 0);
    assert_int_equal(ah_multipart_end(&b, "B"), 0);
    assert_string_equal(b.p,
                        "--B\r\nContent-Disposition: form-data; name=\"n\"\r\nContent-Type: text/plain\r\n"
                        "Content-Length: 2\r\n\r\nhi\r\n--B--\r\n");
    static const char *const bad[] = {"a\"b", "a\rb", "a\nb", "a\\b"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(ah_multipart_add(&b, "B", bad[i], NULL, "", 0), -1);
    assert_int_equal(ah_multipart_add(&b, "B", "n", "a\r\nX: y", "", 0), -1);
    ah_buf_drop(&b);
    ah_buf_init(&b, 20);
    assert_int_equal(ah_multipart_add(&b, "B", "n", NULL, "hi", 2), -1);
    ah_buf_drop(&b);
}

static void test_boundary(void **state)
{
    (void)state;
    static const struct {
        const char *type, *wanted;
    } rows[] = {
        {"multipart/form-data; boundary=agenthost-7c0d", "agenthost-7c0d"},
        {"Multipart/Form-Data;BOUNDARY=\"a b;c\"", "a b;c"},
        {"multipart/form-data; charset=\"x;boundary=no\"; boundary=yes", "yes"},
        {"multipart/form-data; boundary=\"q\\\"q\" ; x=y", "q\"q"},
        {"multipart/form-data; boundary = spaced", "spaced"},
        {"multipart/form-data", NULL},
        {"multipart/form-data; boundary=", NULL},
        {"multipart/form-data; boundary=\"open", NULL},
        {"multipart/form-data; boundary=\"end \"", NULL},
        {"multipart/form-data; xboundary=a", NULL},
        {"multipart/form-data; boundary", NULL},
        {"application/json; boundary=a", NULL},
        {"", NULL},
        {"multipart/form-data; "
         "boundary=12345678901234567890123456789012345678901234567890123456789012345678901",
         NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char out[100] = "";
        assert_int_equal(ah_multipart_boundary(rows[i].type, out, sizeof out), rows[i].wanted ? 0 : -1);
        if (rows[i].wanted)
            assert_string_equal(out, rows[i].wanted);
    }
    char small[4];
    assert_int_equal(ah_multipart_boundary("multipart/x; boundary=abcd", small, sizeof small), -1);
    assert_int_equal(ah_multipart_boundary("multipart/x; boundary=abc", small, sizeof small), 0);
}

#define CD(name) "Content-Disposition: form-data; name=\"" name "\"\r\n"

static void test_read(void **state)
{
    (void)state;
    expect("--B--\r\n", "");
    expect("--B--", "");
    expect("preamble\r\n--B\r\n" CD("a") "\r\nx\r\n--B--\r\nepilogue", "a||-|-1|0|x\n");
    expect("--B\r\n" CD("a") "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}\r\n--B--\r\n",
           "a|application/json|-|2|0|{}\n");
    expect("--B\r\n" CD("a") "Content-Type: application/json; length=2\r\n\r\n{}\r\n--B--\r\n",
           "a|application/json; length=2|-|2|0|{}\n");
    expect("--B  \r\ncontent-type:image/png\r\ncontent-disposition:form-data;name=a; "
           "filename=\"C:\\x\\\"y.png\"\r\n"
           "Content-Encoding: gzip\r\n\r\nx\r\n--B--\r\n",
           "a|image/png|C:\\x\"y.png|-1|1|x\n");
    expect("--B\r\n\r\n\r\n--B\r\n" CD("b") "\r\n\r\n--B--\r\n", "||-|-1|0|\nb||-|-1|0|\n");
    expect("--B\r\n" CD("a") "\r\n--B\r\n" CD("b") "\r\nx\r\n--B--", "a||-|-1|0|\nb||-|-1|0|x\n");
    expect("--B\r\n" CD("a") "\r\n--Bx\r\n--B-\r\n-B\r\n\r\n--B--", "a||-|-1|0|--Bx\r\n--B-\r\n-B\r\n\n");
    expect("--B\r\nContent-Disposition: form-data; filename=\"name=no\"; name=yes\r\n\r\nx\r\n--B--",
           "yes||name=no|-1|0|x\n");
    expect("--B\r\n" CD("first") CD("second") "\r\nx\r\n--B--", "first||-|-1|0|x\n");
}

static void test_read_refuses(void **state)
{
    (void)state;
    expect_error("", "multipart: NextPart: EOF");
    expect_error("no boundary at all", "multipart: NextPart: EOF");
    expect_error("--C\r\n\r\nx\r\n--C--\r\n", "multipart: NextPart: EOF");
    expect_error("--B\r\nno colon\r\n\r\nx\r\n--B--", "part 1: malformed MIME header");
    expect_error("--B\r\n: x\r\n\r\nx\r\n--B--", "part 1: malformed MIME header");
    expect_error("--B\r\n" CD("a") " folded\r\n\r\nx\r\n--B--", "part 1: malformed MIME header");
    expect_error("--B\r\n\r\nx\r\n--B\r\nContent-Length: 1x\r\n\r\nx\r\n--B--", "part 2: its length");
    expect_error("--B\r\nContent-Length: \r\n\r\nx\r\n--B--", "its length");
    expect_error("--B\r\nContent-Length: -1\r\n\r\nx\r\n--B--", "its length");
    expect_error("--B\r\nContent-Length: 99999999999999999999\r\n\r\nx\r\n--B--", "its length");
    expect_error("--B\r\nContent-Type: a/b; length=\"\"\r\n\r\nx\r\n--B--", "its length");
    struct sink sink = {0};
    struct ah_error err = {0};
    static const char nul[] = "--B\r\nContent-Disposition: form-data; name=\"a\0b\"\r\n\r\nx\r\n--B--";
    assert_int_equal(read_body(nul, sizeof nul - 1, &sink, &err), -1);
    assert_non_null(strstr(err.message, "NUL"));
    ah_buf_drop(&sink.text);
    struct ah_buf b;
    ah_buf_init(&b, 100000);
    ah_buf_adds(&b, "--B\r\nX: ");
    for (int i = 0; i < 20000; i++)
        ah_buf_addc(&b, 'x');
    ah_buf_adds(&b, "\r\n\r\nx\r\n--B--");
    expect_error(b.p, "headers are too long");
    ah_buf_drop(&b);
}

static void test_stop(void **state)
{
    (void)state;
    struct sink sink = {.stop_at = 1};
    struct ah_error err = {0};
    static const char body[] = "--B\r\n\r\nx\r\n--B\r\n\r\ny\r\n--B--";
    assert_int_equal(read_body(body, sizeof body - 1, &sink, &err), -1);
    assert_int_equal(err.kind, AH_CANCELLED);
    assert_int_equal(sink.count, 1);
    ah_buf_drop(&sink.text);
}

/* Whatever was written is read; a body cut at any byte is said to be cut, and no part of it doubled. */
static void test_round_trip_and_every_cut(void **state)
{
    (void)state;
    struct ah_buf b;
    ah_buf_init(&b, 10000);
    static const char payload[] = "\r\n--C\r\n-\0-B\r\n--";
    ah_multipart_add(&b, "B", "one", NULL, payload, sizeof payload - 1);
    ah_multipart_add(&b, "B", "two", "text/plain; charset=utf-8", "", 0);
    ah_multipart_add(&b, "B", "three", NULL, "\r\n", 2);
    ah_multipart_end(&b, "B");
    struct sink sink = {0};
    struct ah_error err = {0};
    assert_int_equal(read_body(b.p, b.n, &sink, &err), 0);
    static const char wanted[] = "one|application/json|-|15|0|\r\n--C\r\n-\0-B\r\n--\n"
                                 "two|text/plain; charset=utf-8|-|0|0|\nthree|application/json|-|2|0|\r\n\n";
    assert_int_equal(sink.text.n, sizeof wanted - 1);
    assert_memory_equal(sink.text.p, wanted, sizeof wanted - 1);
    ah_buf_drop(&sink.text);
    for (size_t n = 0; n < b.n - 2; n++) {
        char *cut = malloc(n ? n : 1); /* so that reading past it is seen */
        assert_non_null(cut);
        memcpy(cut, b.p, n);
        assert_int_equal(read_body(cut, n, &sink, &err), -1);
        assert_int_equal(err.kind, AH_PROTOCOL);
        assert_string_equal(err.message, "multipart: NextPart: EOF");
        assert_true(sink.count <= 3);
        ah_buf_drop(&sink.text);
        free(cut);
    }
    ah_buf_drop(&b);
    ah_err_drop(&err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write), cmocka_unit_test(test_boundary),
        cmocka_unit_test(test_read),  cmocka_unit_test(test_read_refuses),
        cmocka_unit_test(test_stop),  cmocka_unit_test(test_round_trip_and_every_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
