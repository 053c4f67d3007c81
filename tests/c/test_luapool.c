/* luapool: what is in a block stays through every change of its size, blocks never overlap, and all is given back. */
#include "luapool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BLOCKS 400
#define SIZE_MAX_BYTES 600

static void check(const unsigned char *p, size_t n, unsigned char mark)
{
    for (size_t i = 0; i < n; i++)
        assert_int_equal(p[i], mark);
}

static void test_any_sizes(void **state)
{
    (void)state;
    struct ah_luapool pool = {0};
    unsigned char *p[BLOCKS] = {0};
    size_t n[BLOCKS] = {0};
    uint32_t seed = 1;
    for (int round = 0; round < 200000; round++) {
        seed = seed * 1664525u + 1013904223u;
        size_t i = (seed >> 8) % BLOCKS, wanted = (seed >> 20) % 3 ? (seed >> 5) % SIZE_MAX_BYTES : 0;
        size_t kept = n[i] < wanted ? n[i] : wanted;
        unsigned char *q = ah_luapool_resize(&pool, p[i], n[i], wanted);
        assert_int_equal(q != NULL, wanted != 0);
        assert_int_equal((uintptr_t)q % 16, 0);
        if (q)
            check(q, kept, (unsigned char)i);
        if (q)
            memset(q, (int)(unsigned char)i, wanted);
        p[i] = q;
        n[i] = wanted;
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        check(p[i], n[i], (unsigned char)i);
        assert_null(ah_luapool_resize(&pool, p[i], n[i], 0));
    }
    ah_luapool_drop(&pool);
    assert_null(pool.slabs);
    ah_luapool_drop(&pool);
}

static void test_nothing(void **state)
{
    (void)state;
    struct ah_luapool pool = {0};
    assert_null(ah_luapool_resize(&pool, NULL, 0, 0));
    void *p = ah_luapool_resize(&pool, NULL, 0, 1);
    assert_non_null(p);
    assert_null(ah_luapool_resize(&pool, p, 1, 0));
    ah_luapool_drop(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_sizes),
        cmocka_unit_test(test_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
