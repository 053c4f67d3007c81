/* shapes: what is taken for a credential, what is not, and that JSON stays JSON. */
#include "buf.h"
#include "json.h"
#include "shapes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define A20 "a1B2c3D4e5F6g7H8i9J0"
#define A36 "abcdefghij0123456789ABCDEFGHIJ012345"

static void check(const char *text, const char *expected)
{
    struct ah_buf b;
    ah_buf_init(&b, 1 << 20);
    assert_int_equal(ah_shapes_mask(text, strlen(text), &b), 0);
    assert_string_equal(ah_buf_str(&b), expected);
    assert_int_equal(ah_shapes_found(text, strlen(text)), strcmp(text, expected) != 0);
    /* What is masked once has nothing left to mask. */
    assert_false(ah_shapes_found(b.p, b.n));
    /* Places are looked at two by two: it must not matter where the first is. */
    struct ah_buf moved;
    ah_buf_init(&moved, 1 << 20);
    ah_buf_addf(&moved, " %s", text);
    assert_int_equal(ah_shapes_found(moved.p, moved.n), strcmp(text, expected) != 0);
    ah_buf_drop(&moved);
    ah_buf_drop(&b);
}

static void test_found(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"sk-proj-" A20, "[redacted:openai-key]"},
        {"key sk-" A20 A20 ".", "key [redacted:api-key]."},
        {"sk-ant-api03-" A20, "[redacted:anthropic-key]"},
        {"x=ghp_" A36 ",", "x=[redacted:github-token],"},
        {"xoxb-123456789012-abcdefghijkl", "[redacted:slack-token]"},
        {"AKIAIOSFODNN7EXAMPLE", "[redacted:aws-key-id]"},
        {"lsv2_pt_0123456789abcdef0123456789abcdef_0123456789", "[redacted:langsmith-key]"},
        {"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
         "[redacted:jwt]"},
        {"Authorization: Bearer " A20 "/+=", "Authorization: Bearer [redacted:bearer]"},
        {"postgres://user:p4ss,w0rd@db:5432/x", "postgres://user:[redacted:password]@db:5432/x"},
        {"https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
         "https://hooks.slack.com/services/[redacted:slack-webhook]"},
        {"https://x.example/?api_key=abcd1234efgh&page=2",
         "https://x.example/?api_key=[redacted:secret]&page=2"},
        {"DB_PASSWORD=hunter2hunter2", "DB_PASSWORD=[redacted:secret]"},
        {"dbPassword: \"correct horse\"", "dbPassword: \"correct horse\""}, /* a sentence, no value */
        {"\"secret\": \"a/b+c=d1\"", "\"secret\": \"[redacted:secret]\""},
        {"-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKC\nAQ==\n-----END RSA PRIVATE KEY-----\nrest",
         "[redacted:private-key]\nrest"},
        {"-----BEGIN PRIVATE KEY-----\nMIIEpAIB", "[redacted:private-key]"}, /* cut */
        {"token%3Dghp_" A36, "token%3D[redacted:github-token]"},
        {"password: 'x\"y99-abc' and on", "password: '[redacted:secret]' and on"},
        {"{'password': 'hunter2+hunter2'}", "{'password': '[redacted:secret]'}"},
        {"secret='it\\'s+a/b=c1'", "secret='[redacted:secret]'"}, /* an escaped quote does not end it */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check(rows[i][0], rows[i][1]);
}

static void test_left_alone(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "sk-learn, sk-this-is-a-rather-long-name-in-kebab-case",
        "task-proj-abcdefghijklmnopqrstuvwxyz0123",
        "AKIA is how they begin; AKIASUPERCALIFRAGILISTIC",
        "ghp_short1",
        "eyJ0eXAi.notajwt",
        "Bearer tokens are described in the manual",
        "a bearer of bad news 1234567890123456",
        "password: please reset it",
        "\"password\": \"string\"",
        "{\"type\":\"object\",\"properties\":{\"secret\":{\"type\":\"string\"},\"api_key\":{\"type\":"
        "\"string\"}}}",
        "\"nextPageToken\":\"1234567890abcdef\"",
        "\"max_tokens\":1000000000",
        "password=[secret:DB_PASSWORD]",
        "api_key=${OPENAI_API_KEY_1}",
        "https://example.com:8080/a@b",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "01a202b2-c500-7a1b-8a1b-2c3d4e5f6071",
        "20261122T100000000120Z01a202b2-c500-7a1b-8a1b-2c3d4e5f6071",
        "chatcmpl-A1b2C3d4E5f6G7h8I9j0K1l2",
        "-- :// - :",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check(rows[i], rows[i]);
}

/* Each inside a JSON string, and inside JSON in a JSON string, is found and leaves JSON. */
static void test_in_json(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"{\"a\":\"\\nghp_" A36 "\\n\"}", "{\"a\":\"\\n[redacted:github-token]\\n\"}"},
        {"{\"a\":\"\\u000ask-proj-" A20 "\"}", "{\"a\":\"\\u000a[redacted:openai-key]\"}"},
        {"{\"password\":\"a\\\"b/c+1\"}", "{\"password\":\"[redacted:secret]\"}"},
        {"{\"a\":\"{\\\"password\\\":\\\"a\\\\\\\"b/c+1\\\"}\"}",
         "{\"a\":\"{\\\"password\\\":\\\"[redacted:secret]\\\"}\"}"},
        {"{\"k\":\"-----BEGIN PRIVATE KEY-----\\nMIIEpA\\n-----END PRIVATE KEY-----\\n\",\"b\":1}",
         "{\"k\":\"[redacted:private-key]\\n\",\"b\":1}"},
        {"{\"k\":\"-----BEGIN PRIVATE KEY-----\\nMIIEpA\"}", "{\"k\":\"[redacted:private-key]\"}"},
        {"{\"a\":\"password: 'x\\\"y99-abc' and on\"}", "{\"a\":\"password: '[redacted:secret]' and on\"}"},
        {"{\"a\":\"password: 'abc12345\",\"b\":\"it's\"}", "{\"a\":\"password: 'abc12345\",\"b\":\"it's\"}"},
        {"{\"u\":\"ftp://a:b@c\",\"v\":\"Bearer " A20 "\"}",
         "{\"u\":\"ftp://a:[redacted:password]@c\",\"v\":\"Bearer [redacted:bearer]\"}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(ah_json_check(rows[i][0], strlen(rows[i][0]), 0, NULL, NULL), 0);
        assert_int_equal(ah_json_check(rows[i][1], strlen(rows[i][1]), 0, NULL, NULL), 0);
        check(rows[i][0], rows[i][1]);
    }
}

/* Whatever is cut or mixed: JSON strings stay JSON strings, and no byte outside is read (ASan). */
static void test_any_text(void **state)
{
    (void)state;
    static const char *const bits[] = {"password", "\\\"",        "\\\\",        ":",       "=",   "ghp_",
                                       A36,        "-----BEGIN ", "PRIVATE KEY", "-----",   "\\n", "://",
                                       "@",        "Bearer ",     " ",           "\\u00e4", "eyJ", ".",
                                       "sk-",      "\xc3\xa4",    "-----END ",   "%3D",     "+/=", "'"};
    uint64_t seed = 88172645463325252u;
    for (int round = 0; round < 20000; round++) {
        struct ah_buf text, masked;
        ah_buf_init(&text, 1 << 16);
        ah_buf_init(&masked, 1 << 16);
        ah_buf_addc(&text, '"');
        for (int i = 0; i < 12; i++) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            ah_buf_adds(&text, bits[seed % (sizeof bits / sizeof *bits)]);
        }
        ah_buf_addc(&text, '"');
        char *exact = malloc(text.n); /* no NUL behind it */
        memcpy(exact, text.p, text.n);
        assert_int_equal(ah_shapes_mask(exact, text.n, &masked), 0);
        if (ah_json_check(text.p, text.n, 0, NULL, NULL) == 0 &&
            ah_json_check(masked.p, masked.n, 0, NULL, NULL) != 0)
            fail_msg("%s became %s", text.p, masked.p);
        free(exact);
        ah_buf_drop(&text);
        ah_buf_drop(&masked);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found),
        cmocka_unit_test(test_left_alone),
        cmocka_unit_test(test_in_json),
        cmocka_unit_test(test_any_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
