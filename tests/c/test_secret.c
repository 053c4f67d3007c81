/* secret: what is masked, in which forms, and what is left of it. */
#include "buf.h"
#include "limits.h"
#include "secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void add(struct ah_secrets *s, const char *name, const char *value)
{
    assert_int_equal(ah_secret_add(s, name, value, strlen(value)), 0);
}

static void expect_mask(const struct ah_secrets *s, const char *text, const char *wanted)
{
    struct ah_buf b;
    ah_buf_init(&b, 1 << 20);
    assert_int_equal(ah_secret_mask(s, text, strlen(text), &b), 0);
    assert_string_equal(ah_buf_str(&b), wanted);
    assert_int_equal(ah_secret_found(s, text, strlen(text)), strcmp(text, wanted) != 0);
    ah_buf_drop(&b);
}

static void test_plain(void **state)
{
    (void)state;
    struct ah_secrets *s = ah_secret_new();
    add(s, "A_KEY", "sk-abcdefgh");
    expect_mask(s, "", "");
    expect_mask(s, "sk-abcdefg", "sk-abcdefg");
    expect_mask(s, "sk-abcdefgh", "[secret:A_KEY]");
    expect_mask(s, "Bearer sk-abcdefgh.", "Bearer [secret:A_KEY].");
    expect_mask(s, "sk-abcdefghsk-abcdefgh", "[secret:A_KEY][secret:A_KEY]");
    expect_mask(s, "sk-sk-abcdefgh", "sk-[secret:A_KEY]");
    expect_mask(NULL, "sk-abcdefgh", "sk-abcdefgh");
    assert_int_equal(ah_secret_longest(NULL), 0);
    assert_true(ah_secret_longest(s) >= 11);
    ah_secret_free(s);
    ah_secret_free(NULL);
}

static void test_get_and_replace(void **state)
{
    (void)state;
    struct ah_secrets *s = ah_secret_new();
    size_t n = 99;
    assert_null(ah_secret_get(s, "A_KEY", &n));
    assert_int_equal(n, 0);
    add(s, "A_KEY", "first-value");
    const char *first = ah_secret_get(s, "A_KEY", &n);
    assert_string_equal(first, "first-value");
    assert_int_equal(n, 11);
    add(s, "A_KEY", "second-value");
    assert_string_equal(ah_secret_get(s, "A_KEY", NULL), "second-value");
    assert_string_equal(first, "first-value"); /* still valid */
    expect_mask(s, "first-value second-value", "[secret:A_KEY] [secret:A_KEY]");
    add(s, "A_KEY", "first-value"); /* back again */
    assert_ptr_equal(ah_secret_get(s, "A_KEY", NULL), first);
    ah_secret_free(s);
}

static void test_short_values_are_kept_not_masked(void **state)
{
    (void)state;
    struct ah_secrets *s = ah_secret_new();
    add(s, "PIN_KEY", "1234567");
    assert_string_equal(ah_secret_get(s, "PIN_KEY", NULL), "1234567");
    expect_mask(s, "1234567", "1234567");
    add(s, "EMPTY_KEY", "");
    assert_string_equal(ah_secret_get(s, "EMPTY_KEY", NULL), "");
    ah_secret_free(s);
}

static void test_hide_and_forget(void **state)
{
    (void)state;
    struct ah_secrets *s = ah_secret_new();
    assert_int_equal(ah_secret_hide(s, "A_KEY", "real-value", 10), 0);
    assert_null(ah_secret_get(s, "A_KEY", NULL));
    expect_mask(s, "real-value", "[secret:A_KEY]");
    add(s, "A_KEY", "emulated-value");
    assert_string_equal(ah_secret_get(s, "A_KEY", NULL), "emulated-value");
    assert_int_equal(ah_secret_hide(s, "A_KEY", "other-value", 11), 0);
    assert_string_equal(ah_secret_get(s, "A_KEY", NULL), "emulated-value");
    ah_secret_forget(s, "A_KEY");
    assert_null(ah_secret_get(s, "A_KEY", NULL));
    expect_mask(s, "emulated-value", "[secret:A_KEY]");
    add(s, "A_KEY", "real-value"); /* hidden once, answered now */
    assert_string_equal(ah_secret_get(s, "A_KEY", NULL), "real-value");
    ah_secret_free(s);
}

static void test_forms(void **state)
{
    (void)state;
    struct ah_secrets *s = ah_secret_new();
    add(s, "J_KEY", "ab/\"c\\d\nef<\xc3\xa9>gh ij!");
    static const char *const forms[] = {
        "ab/\\\"c\\\\d\\nef<\xc3\xa9>gh ij!",             /* JSON */
        "ab\\/\\\"c\\\\d\\nef<\xc3\xa9>gh ij!",           /* JSON, slash escaped */
        "ab/\\\"c\\\\d\\nef<\\u00e9>gh ij!",              /* JSON, ASCII only */
        "ab/\\\"c\\\\d\\nef\\u003c\xc3\xa9\\u003egh ij!", /* JSON, as Go writes it */
        "ab/\\\\\\\"c\\\\\\\\d\\\\nef<\xc3\xa9>gh ij!",   /* JSON in JSON */
        "ab%2F%22c%5Cd%0Aef%3C%C3%A9%3Egh%20ij%21",       /* URL */
        "ab%2f%22c%5cd%0aef%3c%c3%a9%3egh%20ij%21",       /* lower hex */
        "ab%2F%22c%5Cd%0Aef%3C%C3%A9%3Egh+ij%21",         /* form */
        "ab/%22c%5Cd%0Aef%3C%C3%A9%3Egh%20ij%21",         /* path */
        "ab%2F%22c%5Cd%0Aef%3C%C3%A9%3Egh%20ij!",         /* encodeURIComponent */
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        expect_mask(s, forms[i], "[secret:J_KEY]");
    ah_secret_free(s);
}

/* base64 of "a:s3cr3t-pass/word", "id:...", "key:..." as `base64` prints them: all three alignments. */
static void test_basic_forms(void **state)
{
    (void)state;
    struct ah_secrets *s = ah_secret_new();
    add(s, "B_SECRET", "s3cr3t-pass/word");
    expect_mask(s, "czNjcjN0LXBhc3Mvd29yZA==", "[secret:B_SECRET]");
    expect_mask(s, "Basic OnMzY3IzdC1wYXNzL3dvcmQ=", "Basic On[secret:B_SECRET]");
    expect_mask(s, "Basic YTpzM2NyM3QtcGFzcy93b3Jk.", "Basic YTp[secret:B_SECRET].");
    expect_mask(s, "Basic aWQ6czNjcjN0LXBhc3Mvd29yZA==", "Basic aWQ6[secret:B_SECRET]");
    expect_mask(s, "Basic a2V5OnMzY3IzdC1wYXNzL3dvcmQ", "Basic a2V5On[secret:B_SECRET]");
    ah_secret_free(s);
}

static void encode(const unsigned char *p, size_t n, char *out)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t k = 0;
    for (size_t i = 0; i < n; i += 3) {
        unsigned x =
            (unsigned)p[i] << 16 | (i + 1 < n ? (unsigned)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0u);
        out[k++] = letters[x >> 18 & 63];
        out[k++] = letters[x >> 12 & 63];
        out[k++] = i + 1 < n ? letters[x >> 6 & 63] : '=';
        out[k++] = i + 2 < n ? letters[x & 63] : '=';
    }
    out[k] = '\0';
}

/* Whatever stands before and behind the value, no more than one letter at each edge is left of it. */
static void test_basic_everywhere(void **state)
{
    (void)state;
    struct ah_secrets *s = ah_secret_new();
    add(s, "B_SECRET", "q\xffW~8?>e\x01z");
    for (size_t before = 0; before < 7; before++) {
        for (size_t behind = 0; behind < 7; behind++) {
            unsigned char raw[64];
            char text[128];
            memset(raw, 'x', sizeof raw);
            memcpy(raw + before, "q\xffW~8?>e\x01z", 10);
            encode(raw, before + 10 + behind, text);
            struct ah_buf b;
            ah_buf_init(&b, 1000);
            assert_int_equal(ah_secret_mask(s, text, strlen(text), &b), 0);
            char *mask = strstr(b.p, "[secret:B_SECRET]");
            assert_non_null(mask);
            assert_true((size_t)(mask - b.p) <= (8 * before + 5) / 6);
            assert_true(strlen(mask) - strlen("[secret:B_SECRET]") <= (8 * behind + 5) / 6 + 3);
            ah_buf_drop(&b);
        }
    }
    ah_secret_free(s);
}

static void test_longest_first_and_overlap(void **state)
{
    (void)state;
    struct ah_secrets *s = ah_secret_new();
    add(s, "SHORT_KEY", "abcdefgh");
    add(s, "LONG_KEY", "abcdefgh-and-more");
    add(s, "TAIL_KEY", "moremoremore");
    add(s, "SAME_KEY", "abcdefgh");
    expect_mask(s, "abcdefgh-and-more", "[secret:LONG_KEY]");
    expect_mask(s, "abcdefgh-and-mor", "[secret:SHORT_KEY]-and-mor");
    /* LONG_KEY and TAIL_KEY overlap: nothing of either is left */
    expect_mask(s, "<abcdefgh-and-moremoremore>", "<[secret:LONG_KEY]>");
    expect_mask(s, "abcdefghabcdefgh", "[secret:SHORT_KEY][secret:SHORT_KEY]");
    ah_secret_free(s);
}

static void test_mask_str(void **state)
{
    (void)state;
    struct ah_secrets *s = ah_secret_new();
    add(s, "A_LONG_NAME_KEY", "12345678");
    char roomy[64] = "x 12345678 y";
    ah_secret_mask_str(s, roomy, sizeof roomy);
    assert_string_equal(roomy, "x [secret:A_LONG_NAME_KEY] y");
    char tight[16] = "x 12345678 y";
    ah_secret_mask_str(s, tight, sizeof tight);
    assert_string_equal(tight, "x [secret:A_LON");
    char utf8[12] = "12345678 \xc3\xa9";
    add(s, "E_KEY", "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9");
    ah_secret_mask_str(s, utf8, sizeof utf8);
    assert_string_equal(utf8, "[secret:A_L");
    char cut[10] = "ab 123456"; /* as snprintf leaves it: full, and the secret is cut */
    ah_secret_mask_str(s, cut, sizeof cut);
    assert_string_equal(cut, "ab ");
    char whole[32] = "ab 123456";
    ah_secret_mask_str(s, whole, sizeof whole);
    assert_string_equal(whole, "ab 123456");
    ah_secret_mask_str(NULL, whole, sizeof whole);
    ah_secret_mask_str(s, whole, 0);
    assert_string_equal(whole, "ab 123456");
    ah_secret_free(s);
}

static void test_tail(void **state)
{
    (void)state;
    struct ah_secrets *s = ah_secret_new();
    assert_int_equal(ah_secret_tail(s, "abc", 3), 0);
    add(s, "A_KEY", "abcdefghij");
    assert_int_equal(ah_secret_tail(s, "xxabcde", 7), 5);
    assert_int_equal(ah_secret_tail(s, "xxabc", 5), 3);
    assert_int_equal(ah_secret_tail(s, "xxab", 4), 2);
    assert_int_equal(ah_secret_tail(s, "a", 1), 1);
    assert_int_equal(ah_secret_tail(s, "abd", 3), 0);
    assert_int_equal(ah_secret_tail(s, "xb", 2), 0);
    assert_int_equal(ah_secret_tail(s, "", 0), 0);
    assert_int_equal(ah_secret_tail(s, "abcdefghij", 10), 0);
    assert_int_equal(ah_secret_tail(s, "abcdeabcdefghi", 14), 9);
    ah_secret_free(s);
}

static void test_names(void **state)
{
    (void)state;
    static const char *const yes[] = {"OPENAI_API_KEY", "x_secret", "GH_Token", "DB_PASSWORD", "_KEY"};
    static const char *const no[] = {"KEY", "", "KEYBOARD", "A_KEYS", "TOKEN", "A_KEY_ID", "PASSWORD_HINT"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        assert_true(ah_secret_is_name(yes[i]));
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        assert_false(ah_secret_is_name(no[i]));
}

static void test_nul_and_binary(void **state)
{
    (void)state;
    struct ah_secrets *s = ah_secret_new();
    assert_int_equal(ah_secret_add(s, "N_KEY", "ab\0cd\0ef\xff", 9), 0);
    struct ah_buf b;
    ah_buf_init(&b, 100);
    assert_int_equal(ah_secret_mask(s, "\0ab\0cd\0ef\xff\0", 11, &b), 0);
    assert_int_equal(b.n, 2 + strlen("[secret:N_KEY]"));
    assert_memory_equal(b.p + 1, "[secret:N_KEY]", strlen("[secret:N_KEY]"));
    ah_buf_drop(&b);
    ah_buf_init(&b, 5);
    assert_int_equal(ah_secret_mask(s, "plain text", 10, &b), -1); /* the buffer's maximum */
    ah_buf_drop(&b);
    ah_secret_free(s);
}

/* Against the obvious way of doing it, on random texts over a small alphabet. */
static void test_random(void **state)
{
    (void)state;
    uint32_t seed = 12345;
    for (int round = 0; round < 300; round++) {
        struct ah_secrets *s = ah_secret_new();
        char values[3][12], text[200];
        for (size_t k = 0; k < 3; k++) {
            for (size_t i = 0; i < 8 + k; i++)
                values[k][i] = (char)('a' + ((seed = seed * 1664525 + 1013904223) >> 24) % 2);
            values[k][8 + k] = '\0';
            add(s, "R_KEY", values[k]);
        }
        for (size_t i = 0; i < sizeof text - 1; i++)
            text[i] = (char)('a' + ((seed = seed * 1664525 + 1013904223) >> 24) % 2);
        text[sizeof text - 1] = '\0';
        bool found = false;
        for (size_t k = 0; k < 3; k++)
            found = found || strstr(text, values[k]);
        assert_int_equal(ah_secret_found(s, text, strlen(text)), found);
        struct ah_buf b;
        ah_buf_init(&b, 100000);
        assert_int_equal(ah_secret_mask(s, text, strlen(text), &b), 0);
        for (size_t k = 0; k < 3; k++)
            assert_null(strstr(b.p, values[k]));
        ah_buf_drop(&b);
        ah_secret_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_get_and_replace),
        cmocka_unit_test(test_short_values_are_kept_not_masked),
        cmocka_unit_test(test_hide_and_forget),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_basic_forms),
        cmocka_unit_test(test_basic_everywhere),
        cmocka_unit_test(test_longest_first_and_overlap),
        cmocka_unit_test(test_mask_str),
        cmocka_unit_test(test_tail),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_nul_and_binary),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
