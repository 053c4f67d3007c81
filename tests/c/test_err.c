/* Errors as values: who owns the detail, names both ways, exit codes. */
#include "err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_set(void **state)
{
    (void)state;
    struct ah_error e = {0};
    assert_int_equal(ah_err_set(NULL, AH_IO, "nobody looks"), -1);
    assert_int_equal(ah_err_set(&e, AH_NETWORK, "no %s", "way"), -1);
    assert_string_equal(e.message, "no way");
    e.status = 500;
    ah_err_take_detail(&e, strdup("{\"a\":1}"));
    ah_err_take_detail(&e, strdup("{\"b\":1}")); /* the first is freed */
    ah_err_set(&e, AH_IO, "else");
    assert_int_equal(e.status, 0);
    assert_null(e.detail);
    char text[3000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    ah_err_set(&e, AH_IO, "%s", text);
    assert_int_equal(strlen(e.message), sizeof e.message - 1);
    ah_err_take_detail(NULL, strdup("freed"));
    ah_err_drop(NULL);
    ah_err_drop(&e);
}

static void test_copy_and_move(void **state)
{
    (void)state;
    struct ah_error a = {0}, b = {0};
    ah_err_set(&a, AH_NEEDS_AUTH, "m");
    ah_err_take_detail(&a, strdup("{\"link\":\"x\"}"));
    ah_err_take_detail(&b, strdup("old"));
    ah_err_copy(&b, &a);
    assert_string_equal(b.detail, a.detail);
    assert_ptr_not_equal(b.detail, a.detail);
    ah_err_copy(&b, &b);
    ah_err_copy(NULL, &a);
    ah_err_move(&b, &a);
    assert_int_equal(a.kind, AH_NONE);
    assert_null(a.detail);
    assert_int_equal(b.kind, AH_NEEDS_AUTH);
    ah_err_move(&b, &b);
    assert_int_equal(b.kind, AH_NEEDS_AUTH);
    ah_err_move(NULL, &b); /* dropped */
    assert_null(b.detail);
}

static void test_names(void **state)
{
    (void)state;
    for (int k = AH_NONE + 1; k < AH_KIND_COUNT; k++) {
        const char *name = ah_err_kind_name((enum ah_kind)k);
        assert_non_null(name);
        assert_int_equal(ah_err_kind_of(name), k);
        assert_int_not_equal(ah_err_exit_code((enum ah_kind)k), 0);
        for (const char *p = name; *p; p++)
            assert_true(*p == '_' || (*p >= 'a' && *p <= 'z'));
    }
    assert_int_equal(ah_err_kind_of("none"), AH_NONE);
    assert_int_equal(ah_err_kind_of("no such kind"), AH_NONE);
    assert_int_equal(ah_err_kind_of(NULL), AH_NONE);
    assert_string_equal(ah_err_kind_name((enum ah_kind)999), "none");
    assert_int_equal(ah_err_exit_code(AH_NONE), 0);
    static const struct {
        enum ah_kind kind;
        int code;
    } rows[] = {{AH_SCRIPT, 1},         {AH_CONFIG, 3},      {AH_NETWORK, 4},          {AH_REFUSED, 5},
                {AH_AUTH, 4},           {AH_NEEDS_AUTH, 11}, {AH_OUTCOME_UNKNOWN, 16}, {AH_CANCELLED, 130},
                {AH_STEP_LIMIT, 13},    {AH_BUDGET, 14},     {AH_TIME_LIMIT, 15},      {AH_LOOP, 12},
                {AH_NEEDS_APPROVAL, 10}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(ah_err_exit_code(rows[i].kind), rows[i].code);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_set), cmocka_unit_test(test_copy_and_move),
                                       cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
