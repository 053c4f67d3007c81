/* near: distances, and which suggestion is worth making. */
#include "near.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_distance(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        size_t d;
    } rows[] = {
        {"", "", 0},
        {"a", "a", 0},
        {"a", "", 2},
        {"", "abc", 6},
        {"a", "b", 2},
        {"a", "A", 1},
        {"ab", "ba", 2},
        {"abc", "abd", 2},
        {"abc", "acb", 2},
        {"abc", "ab", 2},
        {"gmial", "gmail", 2},
        {"GMAIL", "gmail", 5},
        {"kitten", "sitting", 6},
        {"ab", "BA", 4},
        {"aab", "aba", 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(ah_near_distance(rows[i].a, rows[i].b), rows[i].d);
        assert_int_equal(ah_near_distance(rows[i].b, rows[i].a), rows[i].d);
    }
}

static void test_long_names(void **state)
{
    (void)state;
    char a[300], b[300];
    memset(a, 'x', sizeof a);
    memset(b, 'x', sizeof b);
    a[299] = b[299] = '\0';
    assert_int_equal(ah_near_distance(a, b), 0);
    b[298] = 'y'; /* beyond what is compared: far, never equal */
    assert_true(ah_near_distance(a, b) > 0);
}

static void test_best(void **state)
{
    (void)state;
    static const char *const names[] = {"--model", "--no-trace",        "--project", "--tag",
                                        "gmail",   "LANGSMITH_TRACING", NULL};
    static const char *const none[] = {NULL};
    static const char *const ties[] = {"bat", "cat", NULL};
    assert_string_equal(ah_near_best("--modle", names), "--model");
    assert_string_equal(ah_near_best("--Model", names), "--model");
    assert_string_equal(ah_near_best("GMAIL", names), "gmail");
    assert_string_equal(ah_near_best("LANGSMITH_TRACIN", names), "LANGSMITH_TRACING");
    assert_string_equal(ah_near_best("--notrace", names), "--no-trace");
    assert_string_equal(ah_near_best("hat", ties), "bat"); /* the first of equals */
    assert_null(ah_near_best("zebra", names));
    assert_null(ah_near_best("", names));
    assert_null(ah_near_best("x", ties));
    assert_null(ah_near_best("gmail", none));
}

static void test_several(void **state)
{
    (void)state;
    const char *const names[] = {"slack", "gmail-b1fqL2Dr", "Gmail", "github-connect", NULL};
    const char *const many[] = {"aaaa", "aaab", "aaac", "aaad", "aaae", "aaaf", "aaag", "aaah", "aaai", NULL};
    const char *out[AH_NEAR_MAX + 2];
    assert_int_equal(ah_near_several("gmail", names, out, 5), 2);
    assert_string_equal(out[0], "Gmail");
    assert_string_equal(out[1], "gmail-b1fqL2Dr");
    assert_int_equal(ah_near_several("gmail", names, out, 1), 1);
    assert_string_equal(out[0], "Gmail");
    assert_int_equal(ah_near_several("zzzzzzzz", names, out, 5), 0);
    assert_int_equal(ah_near_several("gmail", names, out, 0), 0);
    assert_int_equal(ah_near_several("aaai", many, out, AH_NEAR_MAX + 2), AH_NEAR_MAX);
    assert_string_equal(out[0], "aaai"); /* the nearest stays, though it comes last */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distance),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_best),
        cmocka_unit_test(test_several),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
