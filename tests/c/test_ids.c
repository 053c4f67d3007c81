/* Chance and ids: seeded they repeat, else they do not; the form of each. */
#include "ids.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_seeded(void **state)
{
    (void)state;
    struct ah_ids a, b, c;
    char x[AH_UUID_BYTES], y[AH_UUID_BYTES], z[AH_UUID_BYTES];
    ah_ids_seed(&a, 7);
    ah_ids_seed(&b, 7);
    ah_ids_seed(&c, 8);
    for (int i = 0; i < 100; i++) {
        ah_ids_uuid7(&a, i * 1000, x);
        ah_ids_uuid7(&b, i * 1000, y);
        ah_ids_uuid7(&c, i * 1000, z);
        assert_string_equal(x, y);
        assert_string_not_equal(x, z);
    }
}

static void test_kernel(void **state)
{
    (void)state;
    struct ah_ids a = {0}, b = {0};
    unsigned char p[5000] = {0}, q[5000] = {0}; /* more than the pool */
    ah_ids_random(&a, p, sizeof p);
    ah_ids_random(&b, q, sizeof q);
    assert_memory_not_equal(p, q, sizeof p);
    int zeros = 0;
    for (size_t i = 0; i < sizeof p; i++)
        zeros += p[i] == 0;
    assert_true(zeros < 100);
    assert_true(ah_ids_u64(&a) != ah_ids_u64(&a));
    ah_ids_random(&a, p, 0);
    for (int i = 0; i < 10000; i++) {
        double u = ah_ids_unit(&a);
        assert_true(u >= 0 && u < 1);
    }
}

static void test_forms(void **state)
{
    (void)state;
    struct ah_ids a = {0};
    char id[AH_UUID_BYTES], token[33];
    for (int i = 0; i < 1000; i++) {
        ah_ids_uuid7(&a, 1795341600123456, id);
        assert_true(ah_ids_is_uuid(id));
        unsigned long long ms = strtoull((char[]){id[0], id[1], id[2], id[3], id[4], id[5], id[6], id[7],
                                                  id[9], id[10], id[11], id[12], '\0'},
                                         NULL, 16);
        assert_int_equal(ms, 1795341600123);
        assert_int_equal(id[14], '7');
        assert_non_null(strchr("89ab", id[19]));
        ah_ids_token(&a, token, 32);
        assert_int_equal(strspn(token, "abcdefghijklmnopqrstuvwxyz0123456789"), 32);
        assert_int_equal(token[32], '\0');
    }
    ah_ids_token(&a, token, 0);
    assert_string_equal(token, "");
}

static void test_is_uuid(void **state)
{
    (void)state;
    assert_true(ah_ids_is_uuid("0123ABCD-ef01-4567-89ab-cdef01234567"));
    static const char *const bad[] = {"",
                                      "0123abcd",
                                      "0123abcd-ef01-4567-89ab-cdef0123456",
                                      "0123abcd-ef01-4567-89ab-cdef012345678",
                                      "0123abcd-ef01-4567-89ab_cdef01234567",
                                      "0123abcg-ef01-4567-89ab-cdef01234567",
                                      "0123abcdef01456789abcdef01234567xxxx"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(ah_ids_is_uuid(bad[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_seeded), cmocka_unit_test(test_kernel),
                                       cmocka_unit_test(test_forms), cmocka_unit_test(test_is_uuid)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
