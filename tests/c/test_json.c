/* json.c: what is accepted, what is refused and how it is said, ranges, numbers, and the writer. */
#include "buf.h"
#include "err.h"
#include "json.h"
#include "secret.h"

#include <limits.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BIG_BYTES ((size_t)40 << 20)

static void next_member(void *arg, struct ah_json key, struct ah_json value)
{
    struct ah_json_iter *it = arg;
    assert_true(ah_json_next(it));
    assert_ptr_equal(it->key.p, key.p);
    assert_int_equal(it->key.n, key.n);
    assert_ptr_equal(it->value.p, value.p);
    assert_int_equal(it->value.n, value.n);
    assert_int_equal(it->value.type, value.type);
}

static void any_member(void *arg, struct ah_json key, struct ah_json value)
{
    ++*(int *)arg;
    assert_true(key.n >= 2 && value.n >= 1);
}

/* Members found while checking are those that are found afterwards, and as much is refused. */
static void check_members(const char *p, size_t n, struct ah_json v)
{
    struct ah_json_iter it = ah_json_iter(v);
    int count = 0;
    if (v.type != AH_JSON_OBJECT) {
        assert_int_equal(ah_json_check_members(p, n, any_member, &count, NULL), -1);
        return;
    }
    assert_int_equal(ah_json_check_members(p, n, next_member, &it, NULL), 0);
    assert_false(ah_json_next(&it));
}

/* In memory of exactly its size, so that the sanitizer sees a byte too far. */
static int check_exact(const char *p, size_t n, int flags, struct ah_error *err)
{
    char *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, p, n);
    struct ah_json v;
    int rc = ah_json_check(copy, n, flags, &v, err);
    if (rc == 0)
        assert_true(v.type != AH_JSON_NONE && v.n > 0);
    else
        assert_int_equal(v.type, AH_JSON_NONE);
    if (flags == 0)
        check_members(copy, n, v);
    free(copy);
    return rc;
}

static struct ah_json parse(const char *text)
{
    struct ah_json v;
    struct ah_error err = {0};
    if (ah_json_check(text, strlen(text), 0, &v, &err) != 0)
        fail_msg("%s: %s", text, err.message);
    return v;
}

/* --- acceptance ------------------------------------------------------------------------------- */

static void accepts(void **state)
{
    (void)state;
    static const char *const good[] = {
        "0",
        "-0",
        "1.5e+3",
        "1E400",
        "-12.0e-7",
        "true",
        " false\n",
        "\t\rnull ",
        "\"\"",
        "\"a\\u0000b\"",
        "[]",
        "{}",
        "[ ]",
        "{ }",
        "[1,2 , 3]",
        "{\"a\":{\"b\":[{}]},\"\":0}",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\\ud800\"",
        "\"\\udc00\\ud800\"",
        "\"\xff\xc0\x80\"",
        "\"\x7f\"",
        "[\"\xf0\x9f\x98\x80\"]",
        "{\"a\":1,\"a\":2}",
        "123456789012345678901234567890",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (check_exact(good[i], strlen(good[i]), 0, NULL) != 0)
            fail_msg("refused: %s", good[i]);
}

static void refuses_and_says_where(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", "line 1, column 1: there is no value"},
        {"  \n ", "line 2, column 2: there is no value"},
        {"NaN", "NaN and Infinity are not JSON"},
        {"-Infinity", "column 2: NaN and Infinity are not JSON"},
        {"[1,]", "column 4: a comma before ']'"},
        {"{\"a\":1,}", "column 8: a comma before '}'"},
        {"{a:1}", "column 2: a key in double quotes was expected"},
        {"{'a':1}", "a key in double quotes was expected"},
        {"['a']", "strings need double quotes"},
        {"{\"a\" 1}", "column 6: ':' was expected after a key"},
        {"{\"a\":1 \"b\":2}", "column 8: ',' or '}' was expected"},
        {"[1 2]", "column 4: ',' or ']' was expected"},
        {"[1}", "',' or ']' was expected"},
        {"{\"a\":1]", "',' or '}' was expected"},
        {"]", "a value was expected"},
        {"[,1]", "a value was expected"},
        {"01", "column 1: a number must not begin with 0"},
        {"-01", "a number must not begin with 0"},
        {"1.", "a digit is missing"},
        {".5", "a value was expected"},
        {"+1", "a value was expected"},
        {"1e", "a digit is missing"},
        {"1e+", "a digit is missing"},
        {"-", "a digit is missing"},
        {"0x10", "column 2: something follows the value"},
        {"tru", "the only words"},
        {"True", "a value was expected"},
        {"nul1", "the only words"},
        {"1 2", "column 3: something follows the value"},
        {"{}\n\n x", "line 3, column 2: something follows the value"},
        {"// c\n1", "JSON has no comments"},
        {"\"abc", "column 5: the text ends inside a string"},
        {"\"\\", "the text ends inside a string"},
        {"\"\\x41\"", "a backslash that begins no escape"},
        {"\"\\u12g4\"", "four hexadecimal digits"},
        {"\"\\u12", "four hexadecimal digits"},
        {"\"a\nb\"", "control character 10 inside a string"},
        {"\"a\tb\"", "control character 9"},
        {"{\"a\\u0000\":1}", "a key must not hold NUL"},
        {"\xef\xbb\xbf{}", "byte-order mark"},
        {"\"\xc3\xa4\xc3\xb6\" x", "column 6: something follows"}, /* characters, not bytes */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct ah_error err = {0};
        if (check_exact(bad[i].text, strlen(bad[i].text), 0, &err) == 0)
            fail_msg("accepted: %s", bad[i].text);
        assert_int_equal(err.kind, AH_PROTOCOL);
        if (!strstr(err.message, bad[i].message))
            fail_msg("%s: \"%s\" does not say \"%s\"", bad[i].text, err.message, bad[i].message);
    }
    struct ah_error err = {0};
    assert_int_equal(check_exact("1\0", 2, 0, &err), -1);
    assert_int_equal(check_exact("\"a\0b\"", 5, 0, &err), -1);
    assert_int_equal(ah_json_check(NULL, 0, 0, NULL, NULL), -1);
}

static void raw_controls_only_when_asked(void **state)
{
    (void)state;
    assert_int_equal(check_exact("{\"a\n\":\"x\ty\0z\"}", 14, AH_JSON_RAW_CONTROLS, NULL), 0);
    assert_int_equal(check_exact("{\"a\n\":\"x\ty\0z\"}", 14, 0, NULL), -1);
    struct ah_error err = {0};
    assert_int_equal(check_exact("{\"a\0\":1}", 8, AH_JSON_RAW_CONTROLS, &err), -1);
    assert_non_null(strstr(err.message, "a key must not hold NUL"));
}

static void duplicate_keys(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int rc;
    } rows[] = {
        {"{\"a\":1,\"b\":2}", 0},
        {"{\"a\":1,\"a\":2}", -1},
        {"{\"a\":1,\"\\u0061\":2}", -1},
        {"{\"\xff\":1,\"\\ufffd\":2}", -1}, /* both read as U+FFFD */
        {"{\"a\":{\"a\":1}}", 0},
        {"[{\"a\":1},{\"a\":1}]", 0},
        {"{\"x\":[{\"k\":{},\"k\":[]}]}", -1},
        {"{\"a\":1,\"A\":1,\"\":1}", 0},
        {"{\"\":1,\"\":1}", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ah_error err = {0};
        assert_int_equal(check_exact(rows[i].text, strlen(rows[i].text), AH_JSON_UNIQUE_KEYS, &err),
                         rows[i].rc);
        assert_int_equal(check_exact(rows[i].text, strlen(rows[i].text), 0, NULL), 0);
        if (rows[i].rc != 0)
            assert_non_null(strstr(err.message, "appears twice"));
    }
    /* Many keys take another way. */
    struct ah_buf b;
    ah_buf_init(&b, 1 << 20);
    ah_buf_addc(&b, '{');
    for (int i = 0; i < 5000; i++)
        ah_buf_addf(&b, "\"k%d\":%d,", (i * 7919) % 5000, i);
    size_t n = b.n;
    ah_buf_adds(&b, "\"last\":0}");
    assert_int_equal(check_exact(b.p, b.n, AH_JSON_UNIQUE_KEYS, NULL), 0);
    b.n = n;
    ah_buf_adds(&b, "\"k\\u00317\":0}");
    struct ah_error err = {0};
    assert_int_equal(check_exact(b.p, b.n, AH_JSON_UNIQUE_KEYS, &err), -1);
    assert_non_null(strstr(err.message, "\"k17\" appears twice"));
    ah_buf_drop(&b);
}

static void every_truncation_fails(void **state)
{
    (void)state;
    static const char text[] = "{\"id\":\"c\\u00e4\\ud83d\\ude00\\n\",\"n\":[-1.5e+10,true,false,null,{}],"
                               "\"\xc3\xa4\":{\"k\":[[\"x\"]]} }";
    size_t n = sizeof text - 1;
    for (int flags = 0; flags < 4; flags++) {
        for (size_t i = 0; i < n; i++) {
            struct ah_error err = {0};
            if (check_exact(text, i, flags, &err) == 0)
                fail_msg("accepted the first %zu bytes", i);
            assert_int_equal(err.kind, AH_PROTOCOL);
            assert_non_null(strstr(err.message, "line 1, column "));
        }
        assert_int_equal(check_exact(text, n, flags, NULL), 0);
    }
}

static char *nest(size_t depth, char open, char close)
{
    char *p = malloc(2 * depth + 1);
    assert_non_null(p);
    memset(p, open, depth);
    memset(p + depth, close, depth);
    p[2 * depth] = '\0';
    return p;
}

static void depth_has_an_end(void **state)
{
    (void)state;
    static const size_t depths[] = {1, 127, 128, 129, 10000, 1000000};
    for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++) {
        char *p = nest(depths[i], '[', ']');
        struct ah_error err = {0};
        int rc = ah_json_check(p, 2 * depths[i], AH_JSON_UNIQUE_KEYS, NULL, &err);
        assert_int_equal(rc, depths[i] <= AH_JSON_DEPTH ? 0 : -1);
        if (rc != 0)
            assert_non_null(strstr(err.message, "column 129: nested deeper than 128 levels"));
        free(p);
    }
    struct ah_buf b;
    ah_buf_init(&b, 1 << 20);
    for (int i = 0; i < 10000; i++)
        ah_buf_adds(&b, "{\"a\":");
    assert_int_equal(ah_json_check(b.p, b.n, AH_JSON_UNIQUE_KEYS, NULL, NULL), -1);
    ah_buf_drop(&b);
}

static void forty_megabytes(void **state)
{
    (void)state;
    struct ah_buf b;
    ah_buf_init(&b, BIG_BYTES + 1024);
    ah_buf_adds(&b, "{\"list\":[");
    for (int i = 0; b.n < BIG_BYTES / 2; i++)
        ah_buf_addf(&b, "%s{\"i\":%d,\"s\":\"abc\\n\"}", i ? "," : "", i);
    ah_buf_adds(&b, "],\"text\":\"");
    while (b.n < BIG_BYTES)
        ah_buf_adds(&b, "0123456789abcdef0123456789abcdef0123456789abcdef");
    ah_buf_adds(&b, "\",\"end\":[1]}");
    struct ah_json v;
    assert_false(b.failed);
    assert_int_equal(ah_json_check(b.p, b.n, AH_JSON_UNIQUE_KEYS, &v, NULL), 0);
    assert_int_equal(ah_json_path(v, "list", "3", "i", NULL).p[0], '3');
    assert_int_equal(ah_json_path(v, "end", "0", NULL).p[0], '1');
    assert_int_equal(ah_json_check(b.p, b.n - 1, 0, NULL, NULL), -1);
    ah_buf_drop(&b);
}

/* --- ranges and values ------------------------------------------------------------------------ */

static void ranges(void **state)
{
    (void)state;
    struct ah_json v =
        parse(" { \"a\" : [ 1 , {\"b\":\"x]\\\"}\"} ,[ ] ] , \"c\":null,\"\\u00e4\" : 2, \"d\":{},\"c\":3} ");
    assert_int_equal(v.type, AH_JSON_OBJECT);
    assert_int_equal(v.p[0], '{');
    assert_int_equal(v.p[v.n - 1], '}');
    assert_int_equal(ah_json_count(v), 5);
    struct ah_json a = ah_json_get(v, "a");
    assert_int_equal(a.type, AH_JSON_ARRAY);
    assert_memory_equal(a.p, "[ 1 , {\"b\":\"x]\\\"}\"} ,[ ] ]", a.n);
    assert_int_equal(ah_json_count(a), 3);
    assert_true(ah_json_is(ah_json_path(v, "a", "1", "b", NULL), "x]\"}"));
    assert_int_equal(ah_json_at(a, 2).n, 3);
    assert_int_equal(ah_json_count(ah_json_at(a, 2)), 0);
    assert_int_equal(ah_json_get(v, "\xc3\xa4").p[0], '2');
    assert_int_equal(ah_json_get(v, "c").p[0], '3'); /* the last wins */
    assert_int_equal(ah_json_get(v, "e").type, AH_JSON_NONE);
    assert_int_equal(ah_json_get(a, "0").type, AH_JSON_NONE);
    assert_int_equal(ah_json_at(a, 3).type, AH_JSON_NONE);
    assert_int_equal(ah_json_at(v, 0).type, AH_JSON_NONE);
    assert_int_equal(ah_json_path(v, "a", "x", NULL).type, AH_JSON_NONE);
    assert_int_equal(ah_json_path(v, "a", "99999999999999999999999", NULL).type, AH_JSON_NONE);
    assert_int_equal(ah_json_path(v, NULL).type, AH_JSON_OBJECT);
    struct ah_json none = {0};
    assert_int_equal(ah_json_count(none), 0);
    assert_int_equal(ah_json_get(none, "a").type, AH_JSON_NONE);
    size_t n = 0;
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it); n++) {
        assert_int_equal(it.key.type, AH_JSON_STRING);
        assert_true(it.value.n > 0);
    }
    assert_int_equal(n, 5);
    for (struct ah_json_iter it = ah_json_iter(a); ah_json_next(&it);)
        assert_int_equal(it.key.type, AH_JSON_NONE);
}

static void tokens(void **state)
{
    (void)state;
    const char *text = "[1,{\"a\":[true]},null]";
    const char *at = text, *end = text + strlen(text);
    static const enum ah_json_type want[] = {AH_JSON_ARRAY, AH_JSON_NUMBER, AH_JSON_OBJECT, AH_JSON_STRING,
                                             AH_JSON_ARRAY, AH_JSON_TRUE,   AH_JSON_NONE,   AH_JSON_NONE,
                                             AH_JSON_NULL,  AH_JSON_NONE,   AH_JSON_NONE};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        assert_int_equal(ah_json_token(&at, end).type, want[i]);
    assert_ptr_equal(at, end);
}

static void strings(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
        size_t n;
    } rows[] = {
        {"\"\"", "", 0},
        {"\"abc\"", "abc", 3},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8},
        {"\"\\u0041\\u00e4\\u20AC\"", "A\xc3\xa4\xe2\x82\xac", 6},
        {"\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80", 4},
        {"\"a\\u0000b\"", "a\0b", 3},
        {"\"\\ud800\"", "\xef\xbf\xbd", 3},
        {"\"\\ud800x\"", "\xef\xbf\xbdx", 4},
        {"\"\\ud800\\n\"", "\xef\xbf\xbd\n", 4},
        {"\"\\ud800\\u0041\"",
         "\xef\xbf\xbd"
         "A",
         4},
        {"\"\\ud800\\ud83d\\ude00\"", "\xef\xbf\xbd\xf0\x9f\x98\x80", 7},
        {"\"\\udc00\"", "\xef\xbf\xbd", 3},
        {"\"\xff\"", "\xef\xbf\xbd", 3},
        {"\"\xc0\x80\"", "\xef\xbf\xbd\xef\xbf\xbd", 6},                 /* overlong */
        {"\"\xed\xa0\x80\"", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 9}, /* a surrogate in UTF-8 */
        {"\"\xf0\x9f\x98\"", "\xef\xbf\xbd", 3},                         /* cut: one piece, one character */
        {"\"\xf4\x90\x80\x80\"", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 12},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ah_json v = parse(rows[i].text);
        struct ah_buf b;
        ah_buf_init(&b, 64);
        assert_int_equal(ah_json_str(v, &b), 0);
        assert_int_equal(b.n, rows[i].n);
        assert_memory_equal(ah_buf_str(&b), rows[i].want, rows[i].n);
        ah_buf_drop(&b);
        char *copy = ah_json_dup(v);
        assert_non_null(copy);
        assert_memory_equal(copy, rows[i].want, rows[i].n + 1);
        free(copy);
        if (strlen(rows[i].want) == rows[i].n)
            assert_true(ah_json_is(v, rows[i].want));
        assert_false(ah_json_is(v, "abcd"));
    }
    assert_false(ah_json_is(parse("\"a\\u0000b\""), "a"));
    assert_false(ah_json_is(parse("[\"a\"]"), "a"));
    assert_null(ah_json_dup(parse("1")));
    struct ah_buf b;
    ah_buf_init(&b, 64);
    assert_int_equal(ah_json_str(parse("1"), &b), -1);
    assert_int_equal(
        ah_json_str(parse("\"0123456789012345678901234567890123456789012345678901234567890123456789\""), &b),
        -1);
    ah_buf_drop(&b);
}

static void copies_are_cut_at_characters(void **state)
{
    (void)state;
    struct ah_json v = parse("\"a\\u00e4\xe2\x82\xac\\ud83d\\ude00z\"");
    static const char *const want[] = {
        "", "a", "a", "a\xc3\xa4", "a\xc3\xa4", "a\xc3\xa4", "a\xc3\xa4\xe2\x82\xac",
    };
    for (size_t size = 1; size <= sizeof want / sizeof want[0]; size++) {
        char *out = malloc(size);
        assert_non_null(out);
        ah_json_copy(v, out, size);
        assert_string_equal(out, want[size - 1]);
        free(out);
    }
    char out[16] = "old";
    ah_json_copy(parse("1"), out, sizeof out);
    assert_string_equal(out, "");
    ah_json_copy(v, out, 0);
}

static void integers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        int64_t want;
    } rows[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"9007199254740993", true, 9007199254740993},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 7},
        {"-9223372036854775809", false, 7},
        {"18446744073709551616", false, 7},
        {"99999999999999999999999999999999", false, 7},
        {"1.0", false, 7},
        {"1e3", false, 7},
        {"\"1\"", false, 7},
        {"true", false, 7},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t v = 7;
        assert_int_equal(ah_json_int(parse(rows[i].text), &v), rows[i].ok);
        assert_true(v == rows[i].want);
    }
}

static void doubles_read_as_strtod_does(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "0",
        "-0",
        "-0.0",
        "1",
        "0.1",
        "1e-5",
        "123.456e3",
        "1e22",
        "1e23",
        "9007199254740993",
        "9007199254740993.0001",
        "2.2250738585072011e-308",
        "2.2250738585072014e-308",
        "4.9406564584124654e-324",
        "2.4703282292062328e-324",
        "2.4703282292062327e-324",
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "1e400",
        "-1e400",
        "1e-400",
        "0e999999999999999999999",
        "1e99999999999999999999999",
        "1e-99999999999999999999999",
        "0.000000000000000000000000000000000000000000001e45",
        "100000000000000000000000000000000000e-35",
        "9223372036854775808",
        "18446744073709551615",
        "179769313486231580793728971405301e276",
        "9007199254740992.99999999999999999999999999999999999999999999999999999999999999999999999999999999",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        double got = 7, want = strtod(texts[i], NULL);
        assert_true(ah_json_num(parse(texts[i]), &got));
        if (memcmp(&got, &want, sizeof got) != 0)
            fail_msg("%s: %.17g, not %.17g", texts[i], got, want);
    }
    /* A tie that is decided by the 3,000th digit. */
    char *text = malloc(4096);
    assert_non_null(text);
    memcpy(text, "9007199254740993.", 17);
    memset(text + 17, '0', 3000);
    double got = 0;
    text[3017] = '\0';
    assert_true(ah_json_num(parse(text), &got) && got == 9007199254740992.0);
    text[3016] = '1';
    assert_true(ah_json_num(parse(text), &got) && got == 9007199254740994.0);
    free(text);
    assert_false(ah_json_num(parse("\"1\""), &got));
}

static void truth(void **state)
{
    (void)state;
    static const char *const no[] = {"null", "false", "\"\"", "0", "-0", "0.0", "0e5", "1e-400"};
    static const char *const yes[] = {"true", "\"0\"", "1", "-0.1", "[]", "{}", "1e400"};
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        assert_false(ah_json_truthy(parse(no[i])));
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        assert_true(ah_json_truthy(parse(yes[i])));
    assert_false(ah_json_truthy((struct ah_json){0}));
    assert_true(ah_json_bool(parse("true"), false));
    assert_false(ah_json_bool(parse("false"), true));
    assert_true(ah_json_bool(parse("\"false\""), true));
    assert_false(ah_json_bool((struct ah_json){0}, false));
}

/* --- writing ---------------------------------------------------------------------------------- */

static void writer_puts_commas(void **state)
{
    (void)state;
    struct ah_buf b;
    struct ah_json_writer w;
    ah_buf_init(&b, 4096);
    ah_json_begin(&w, &b, NULL);
    ah_json_object(&w);
    ah_json_key(&w, "a");
    ah_json_array(&w);
    ah_json_put_int(&w, 1);
    ah_json_put_num(&w, 0.5);
    ah_json_array(&w);
    ah_json_end_array(&w);
    ah_json_object(&w);
    ah_json_end_object(&w);
    ah_json_put_null(&w);
    ah_json_end_array(&w);
    ah_json_keyn(&w, "b\"\0x", 4);
    ah_json_put_bool(&w, true);
    ah_json_key(&w, "");
    ah_json_put_str(&w, "x\n\x01\x7f\xe2\x80\xa8/");
    ah_json_key(&w, "raw");
    ah_json_put_raw(&w, "[1, 2]", 6);
    ah_json_key(&w, "none");
    ah_json_put(&w, (struct ah_json){0});
    ah_json_key(&w, "num");
    ah_json_put(&w, parse("1e400"));
    ah_json_end_object(&w);
    assert_string_equal(ah_buf_str(&b),
                        "{\"a\":[1,0.5,[],{},null],\"b\\\"\\u0000x\":true,"
                        "\"\":\"x\\n\\u0001\x7f\xe2\x80\xa8/\",\"raw\":[1, 2],\"none\":null,\"num\":1e400}");
    assert_int_equal(w.depth, 0);
    assert_int_equal(ah_json_check(b.p, b.n, 0, NULL, NULL),
                     -1); /* NUL in a key: only luajson refuses to write it */
    ah_buf_drop(&b);
}

static void writer_failure_is_sticky(void **state)
{
    (void)state;
    for (size_t max = 0; max < 40; max++) {
        struct ah_buf b;
        struct ah_json_writer w;
        ah_buf_init(&b, max);
        ah_json_begin(&w, &b, NULL);
        ah_json_object(&w);
        ah_json_key(&w, "key");
        ah_json_put_str(&w, "a\nb");
        ah_json_key(&w, "n");
        ah_json_put_int(&w, INT64_MIN);
        ah_json_end_object(&w);
        assert_int_equal(b.failed, max < strlen("{\"key\":\"a\\nb\",\"n\":-9223372036854775808}"));
        ah_buf_drop(&b);
    }
    struct ah_buf b;
    struct ah_json_writer w;
    ah_buf_init(&b, 4096);
    ah_json_begin(&w, &b, NULL);
    for (int i = 0; i < AH_JSON_DEPTH; i++)
        ah_json_array(&w);
    assert_false(b.failed);
    ah_json_array(&w);
    assert_true(b.failed);
    for (int i = 0; i <= AH_JSON_DEPTH; i++)
        ah_json_end_array(&w);
    ah_buf_drop(&b);
}

static void quoting_replaces_what_is_not_utf8(void **state)
{
    (void)state;
    struct ah_buf b;
    ah_buf_init(&b, 256);
    assert_int_equal(ah_json_quote(&b,
                                   "a\xff"
                                   "b\xe2\x82",
                                   5),
                     0);
    assert_string_equal(b.p, "\"a\xef\xbf\xbd"
                             "b\xef\xbf\xbd\"");
    assert_int_equal(ah_json_quote(&b, NULL, 0), 0);
    assert_true(ah_json_is_utf8("\xf0\x9f\x98\x80 \xc3\xa4", 7));
    assert_false(ah_json_is_utf8("01234567\xf0\x9f\x98", 11));
    assert_false(ah_json_is_utf8("\xed\xa0\x80", 3));
    assert_true(ah_json_is_utf8("", 0));
    ah_buf_drop(&b);
}

static void put(struct ah_buf *b, double v)
{
    struct ah_json_writer w;
    ah_buf_clear(b);
    ah_json_begin(&w, b, NULL);
    ah_json_put_num(&w, v);
}

static void doubles_written_read_back(void **state)
{
    (void)state;
    static const struct {
        double v;
        const char *want;
    } rows[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1, "1.0"},
        {-3, "-3.0"},
        {0.1, "0.1"},
        {0.7, "0.7"},
        {-2.5, "-2.5"},
        {0.30000000000000004, "0.30000000000000004"},
        {1e15, "1e+15"},
        {999999999999999, "999999999999999.0"},
        {1e22, "1e+22"},
        {1e-5, "1e-05"},
        {0.0001, "0.0001"},
        {123456.789, "123456.789"},
        {0.000123456789, "0.000123456789"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {9007199254740993.0, "9007199254740992.0"},
        {1.0 / 3, "0.3333333333333333"},
        {100.01, "100.01"},
        {4.35, "4.35"},
        {NAN, "null"},
        {INFINITY, "null"},
    };
    struct ah_buf b;
    ah_buf_init(&b, 64);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        put(&b, rows[i].v);
        assert_string_equal(b.p, rows[i].want);
    }
    uint64_t seed = 88172645463325252u;
    for (int i = 0; i < 200000; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        double v, again = 0;
        if (i % 2)
            v = (double)(seed % 100000000) / 1000;
        else
            memcpy(&v, &seed, sizeof v);
        if (!isfinite(v))
            continue;
        put(&b, v);
        assert_int_equal(ah_json_check(b.p, b.n, 0, NULL, NULL), 0);
        assert_true(ah_json_num(parse(b.p), &again));
        if (memcmp(&v, &again, sizeof v) != 0 || strtod(b.p, NULL) != v)
            fail_msg("%.17g was written as %s", v, b.p);
        assert_true(strpbrk(b.p, ".e") != NULL);
    }
    ah_buf_drop(&b);
}

static void the_locale_does_not_matter(void **state)
{
    (void)state;
    const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "ps_AF.UTF-8"};
    bool set = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !set; i++)
        set = setlocale(LC_NUMERIC, names[i]) != NULL;
    struct ah_buf b;
    ah_buf_init(&b, 64);
    put(&b, 0.1234567890123456);
    double got = 0;
    assert_true(ah_json_num(parse("0.12345678901234561234"), &got));
    setlocale(LC_NUMERIC, "C");
    assert_string_equal(b.p, "0.1234567890123456");
    assert_true(got == 0.12345678901234561);
    ah_buf_drop(&b);
    if (!set)
        skip(); /* no such locale is installed */
}

/* What looks like an end inside of a container, at every place of the blocks that are looked at together. */
static void containers_end_where_they_end(void **state)
{
    (void)state;
    static const char *const insides[] = {
        "\"]\"",
        "\"}\\\"]\"",
        "\"\\\\\",[]",
        "\"\\\\\\\"]\\\\\"",
        "{\"]\":[{}],\"\\\"\":\"[\"}",
        "[[[[]]],{}]",
        "\"\\\\\",\"\\\"]\"",
        "\"\\u005b[\"",
        "\"\\\"\\\"\\\"\\\\]\",1",
    };
    char text[512];
    for (size_t i = 0; i < sizeof insides / sizeof *insides; i++)
        for (int before = 0; before < 140; before++)
            for (int after = 0; after < 140; after += 23) {
                snprintf(text, sizeof text, "[[\"%*s\",%s,\"%*s\"],7]", before, "", insides[i], after, "");
                struct ah_json v = ah_json_at(parse(text), 0);
                assert_int_equal(v.n, strlen(text) - 4);
                assert_true(ah_json_count(v) >= 3);
                int64_t seven = 0;
                assert_true(ah_json_int(ah_json_at(parse(text), 1), &seven) && seven == 7);
            }
}

static void secrets_are_masked_in_the_same_pass(void **state)
{
    (void)state;
    struct ah_secrets *s = ah_secret_new();
    assert_non_null(s);
    assert_int_equal(ah_secret_add(s, "A_KEY", "se\"cret-1234", 12), 0);
    assert_int_equal(ah_secret_add(s, "B_PASSWORD", "12345678", 8), 0);
    struct ah_buf b;
    struct ah_json_writer w;
    ah_buf_init(&b, 4096);
    ah_json_begin(&w, &b, s);
    ah_json_array(&w);
    ah_json_put_str(&w, "x se\"cret-1234 y");
    ah_json_put_str(&w, "{\"a\":\"se\\\"cret-1234\"}"); /* JSON inside of a string */
    ah_json_put_int(&w, 12345678);
    ah_json_put_int(&w, 1234567);
    ah_json_put_num(&w, 12345678.5);
    const char *raw = "{\"k\" : [12345678, \"\\u0073e\\u0022cret-1234\"], \"se\\\"cret-1234\":\"plain\\n\"}";
    ah_json_put_raw(&w, raw, strlen(raw));
    ah_json_object(&w);
    ah_json_key(&w, "12345678");
    ah_json_put_str(&w, "");
    ah_json_end_object(&w);
    ah_json_end_array(&w);
    assert_string_equal(
        b.p, "[\"x [secret:A_KEY] y\",\"{\\\"a\\\":\\\"[secret:A_KEY]\\\"}\",\"[secret:B_PASSWORD]\","
             "1234567,\"[secret:B_PASSWORD].5\","
             "{\"k\" : [\"[secret:B_PASSWORD]\", \"[secret:A_KEY]\"], \"[secret:A_KEY]\":\"plain\\n\"},"
             "{\"[secret:B_PASSWORD]\":\"\"}]");
    assert_int_equal(ah_json_check(b.p, b.n, 0, NULL, NULL), 0);
    ah_buf_drop(&b);
    ah_secret_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts),
        cmocka_unit_test(refuses_and_says_where),
        cmocka_unit_test(raw_controls_only_when_asked),
        cmocka_unit_test(duplicate_keys),
        cmocka_unit_test(every_truncation_fails),
        cmocka_unit_test(depth_has_an_end),
        cmocka_unit_test(forty_megabytes),
        cmocka_unit_test(ranges),
        cmocka_unit_test(tokens),
        cmocka_unit_test(containers_end_where_they_end),
        cmocka_unit_test(strings),
        cmocka_unit_test(copies_are_cut_at_characters),
        cmocka_unit_test(integers),
        cmocka_unit_test(doubles_read_as_strtod_does),
        cmocka_unit_test(truth),
        cmocka_unit_test(writer_puts_commas),
        cmocka_unit_test(writer_failure_is_sticky),
        cmocka_unit_test(quoting_replaces_what_is_not_utf8),
        cmocka_unit_test(doubles_written_read_back),
        cmocka_unit_test(the_locale_does_not_matter),
        cmocka_unit_test(secrets_are_masked_in_the_same_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
