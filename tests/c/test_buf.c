/* Growing bytes: the maximum, failure that stays, moving out. */
#include "buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_append(void **state)
{
    (void)state;
    struct ah_buf b = {0};
    assert_string_equal(ah_buf_str(&b), "");
    assert_int_equal(ah_buf_add(&b, "x", 1), -1); /* all-zero takes nothing */
    ah_buf_init(&b, 1000);
    assert_string_equal(ah_buf_str(&b), "");
    assert_int_equal(ah_buf_adds(&b, "one "), 0);
    assert_int_equal(ah_buf_addc(&b, '\0'), 0);
    assert_int_equal(ah_buf_addf(&b, "%d-%s", 42, "x"), 0);
    assert_int_equal(ah_buf_add(&b, NULL, 0), 0);
    assert_int_equal(b.n, 9);
    assert_memory_equal(b.p,
                        "one \0"
                        "42-x",
                        10); /* and a NUL that is not counted */
    ah_buf_drop(&b);
    assert_null(b.p);
    assert_int_equal(b.max, 0);
}

static void test_maximum(void **state)
{
    (void)state;
    struct ah_buf b;
    ah_buf_init(&b, 10);
    assert_int_equal(ah_buf_adds(&b, "0123456789"), 0);
    assert_int_equal(ah_buf_addc(&b, 'x'), -1);
    assert_true(b.failed);
    assert_string_equal(b.p, "0123456789"); /* nothing half-written */
    ah_buf_consume(&b, 5);
    assert_int_equal(ah_buf_adds(&b, ""), -1); /* failed stays failed */
    assert_null(ah_buf_reserve(&b, 0));
    size_t n = 7;
    assert_null(ah_buf_take(&b, &n));
    assert_int_equal(n, 0);
    assert_int_equal(b.max, 10); /* empty again, with its maximum */
    assert_false(b.failed);
    assert_int_equal(ah_buf_addf(&b, "%s", "more than ten bytes"), -1);
    ah_buf_clear(&b);
    assert_int_equal(ah_buf_addf(&b, "%s", "ten bytes!"), 0);
    assert_null(ah_buf_reserve(&b, SIZE_MAX));
    ah_buf_drop(&b);
}

static void test_grow(void **state)
{
    (void)state;
    struct ah_buf b;
    ah_buf_init(&b, 1 << 20);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(ah_buf_addc(&b, (char)('a' + i % 26)), 0);
    assert_int_equal(b.n, 100000);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(b.p[i], 'a' + i % 26);
    char *room = ah_buf_reserve(&b, 5000);
    assert_non_null(room);
    memset(room, 'z', 5000);
    b.n += 5000;
    assert_int_equal(b.p[b.n - 1], 'z');
    ah_buf_drop(&b);
}

static void test_consume_and_take(void **state)
{
    (void)state;
    struct ah_buf b;
    size_t n;
    ah_buf_init(&b, 100);
    ah_buf_consume(&b, 5);
    char *p = ah_buf_take(&b, &n); /* an empty buffer gives an empty string */
    assert_string_equal(p, "");
    assert_int_equal(n, 0);
    free(p);
    ah_buf_adds(&b, "0123456789");
    ah_buf_consume(&b, 0);
    ah_buf_consume(&b, 3);
    assert_string_equal(b.p, "3456789");
    p = ah_buf_take(&b, NULL);
    assert_string_equal(p, "3456789");
    assert_int_equal(b.n, 0);
    assert_null(b.p);
    free(p);
    ah_buf_adds(&b, "again");
    ah_buf_consume(&b, 100);
    assert_string_equal(ah_buf_str(&b), "");
    ah_buf_drop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_append), cmocka_unit_test(test_maximum),
                                       cmocka_unit_test(test_grow), cmocka_unit_test(test_consume_and_take)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
