/* Token buckets of models: who waits, how long, in which order, and what comes back of who leaves. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ratelimit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct ah_ratelimit_told nothing = {-1, -1, -1};

static int set_up(void **state)
{
    *state = calloc(1, sizeof(struct ah_ratelimit));
    return *state ? 0 : -1;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

static void test_nobody_waits_before_a_word(void **state)
{
    struct ah_ratelimit *r = *state;
    assert_int_equal(ah_ratelimit_take(r, "m", 0, 1e9, 60000), 0);
    ah_ratelimit_tell(r, "m", 0, &nothing, &nothing);
    assert_int_equal(r->count, 0);
    ah_ratelimit_leave(r, "m", 1, true);
}

static void test_requests(void **state)
{
    struct ah_ratelimit *r = *state;
    struct ah_ratelimit_told told = {60, 2, 58000}; /* one a second */
    ah_ratelimit_tell(r, "m", 1000, &told, &nothing);
    assert_int_equal(ah_ratelimit_take(r, "m", 1000, 1e9, 60000), 0);
    assert_int_equal(ah_ratelimit_take(r, "m", 1000, 1, 60000), 0);
    assert_int_equal(ah_ratelimit_take(r, "m", 1000, 1, 60000), 1001);
    assert_int_equal(ah_ratelimit_take(r, "m", 1000, 1, 60000), 2001); /* behind the other */
    assert_int_equal(ah_ratelimit_take(r, "m", 1000, 1, 2500), 2500);
    assert_int_equal(ah_ratelimit_take(r, "other", 1000, 1, 60000), 0);
    assert_int_equal(ah_ratelimit_take(r, "m", 61000, 1, 60000), 0);
}

static void test_tokens_and_who_leaves(void **state)
{
    struct ah_ratelimit *r = *state;
    struct ah_ratelimit_told requests = {1000, 999, 60}, tokens = {6000, 0, 60000}; /* 100 a second */
    ah_ratelimit_tell(r, "m", 0, &requests, &tokens);
    assert_int_equal(ah_ratelimit_take(r, "m", 0, 100, 600000), 1001);
    assert_int_equal(ah_ratelimit_take(r, "m", 0, 100, 600000), 2001);
    ah_ratelimit_leave(r, "m", 100, true);
    assert_int_equal(ah_ratelimit_take(r, "m", 0, 100, 600000), 2001);
    /* The service does not know of those who wait. */
    ah_ratelimit_tell(r, "m", 0, &requests, &tokens);
    assert_int_equal(ah_ratelimit_take(r, "m", 0, 100, 600000), 3001);
    ah_ratelimit_leave(r, "m", 100, false);
    ah_ratelimit_leave(r, "m", 100, false);
    ah_ratelimit_leave(r, "m", 100, false);
    ah_ratelimit_leave(r, "m", 100, false);
    ah_ratelimit_tell(r, "m", 0, &requests, &tokens);
    assert_int_equal(ah_ratelimit_take(r, "m", 0, 100, 600000), 1001);
}

static void test_more_than_the_bucket_holds(void **state)
{
    struct ah_ratelimit *r = *state;
    struct ah_ratelimit_told tokens = {6000, 6000, 0};
    ah_ratelimit_tell(r, "m", 0, &nothing, &tokens);
    assert_int_equal(ah_ratelimit_take(r, "m", 0, 1e6, 600000), 0);
    assert_int_equal(ah_ratelimit_take(r, "m", 0, 1e6, 600000), 60001);
}

static void test_odd_words(void **state)
{
    struct ah_ratelimit *r = *state;
    const struct ah_ratelimit_told odd[] = {{0, 0, 0}, {-5, 3, 1}, {10, -1, 5}, {NAN, 3, 1}, {10, NAN, 5}};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        ah_ratelimit_tell(r, "m", 0, &odd[i], &nothing);
    assert_int_equal(r->count, 0);
    struct ah_ratelimit_told told = {60, 60, -1}, endless = {INFINITY, INFINITY, 1};
    ah_ratelimit_tell(r, "e", 0, &endless, &nothing);
    assert_int_equal(ah_ratelimit_take(r, "e", 0, 1, 60000), 0);
    memset(r, 0, sizeof *r);
    char key[400];
    snprintf(key, sizeof key, "%399d", 1);
    ah_ratelimit_tell(r, key, 0, &told, &nothing);
    assert_int_equal(r->count, 0);
    for (int i = 0; i < 200; i++) { /* the one not used for longest goes */
        snprintf(key, sizeof key, "m%d", i);
        ah_ratelimit_tell(r, key, i, &told, &nothing);
    }
    assert_int_equal(r->count, AH_RATELIMIT_MODELS_COUNT);
    for (int i = 0; i < 59; i++)
        assert_int_equal(ah_ratelimit_take(r, "m199", 300, 1, 60000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nobody_waits_before_a_word, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_requests, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tokens_and_who_leaves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_more_than_the_bucket_holds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_odd_words, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
