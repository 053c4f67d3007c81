/* Time in the forms that others read, and a wall clock that does not go back. */
#include "clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_forms(void **state)
{
    (void)state;
    char out[AH_CLOCK_ISO_BYTES];
    assert_int_equal(ah_clock_iso(0, out), 27);
    assert_string_equal(out, "1970-01-01T00:00:00.000000Z");
    ah_clock_iso(1795341600000120, out);
    assert_string_equal(out, "2026-11-22T10:00:00.000120Z");
    assert_int_equal(ah_clock_dotted(1795341600000120, out), 22);
    assert_string_equal(out, "20261122T100000000120Z");
    ah_clock_iso(-1, out);
    assert_string_equal(out, "1969-12-31T23:59:59.999999Z");
}

static void test_parse(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t us;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01 00:00:01.5Z", 1500000},
        {"1970-01-01t00:00:00.000001z", 1},
        {"1970-01-01T01:00:00+01:00", 0},
        {"1969-12-31T23:30:00.123456789-00:30", 123456},
        {"2026-11-22T10:00:00.000120Z", 1795341600000120},
        {"2024-02-29T00:00:00Z", 1709164800000000},
        {"2016-12-31T23:59:60Z", 1483228800000000},
    };
    static const char *const bad[] = {
        "",
        "2026-11-22",
        "2026-11-22T10:00:00",
        "2026-11-22T10:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:61Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00.1234567890Z",
        "2026-01-01T00:00:00+1:00",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00Zx",
        "x026-01-01T00:00:00Z",
        "+026-01-01T00:00:00Z",
        " 2026-01-01T00:00:00Z",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t us = -5;
        if (ah_clock_parse_iso(good[i].text, strlen(good[i].text), &us) != 0 || us != good[i].us)
            fail_msg("%s: %lld", good[i].text, (long long)us);
        for (size_t n = 0; n < strlen(good[i].text); n++) /* every cut is refused, and reads nothing beyond */
            assert_int_equal(ah_clock_parse_iso(good[i].text, n, &us), -1);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t us;
        if (ah_clock_parse_iso(bad[i], strlen(bad[i]), &us) != -1)
            fail_msg("taken: %s", bad[i]);
    }
    for (int64_t us = 0; us < 4000000000000000; us += 86399999999977) { /* there and back */
        char out[AH_CLOCK_ISO_BYTES];
        int64_t back;
        assert_int_equal(ah_clock_parse_iso(out, ah_clock_iso(us, out), &back), 0);
        assert_int_equal(back, us);
    }
}

static void test_clock(void **state)
{
    (void)state;
    struct ah_clock c = {0};
    int64_t a = ah_clock_wall_us(&c);
    assert_true(a > 1700000000000000);
    c.last_us = a + 3600000000; /* the system's clock was set back by an hour */
    assert_int_equal(ah_clock_wall_us(&c), a + 3600000000);
    assert_true(ah_clock_mono_us() <= ah_clock_mono_us());
    ah_clock_fix(&c, 1000, 5);
    assert_int_equal(ah_clock_wall_us(&c), 1000);
    assert_int_equal(ah_clock_wall_us(&c), 1005);
    ah_clock_fix(&c, 1000, 0);
    assert_int_equal(ah_clock_wall_us(&c), 1000);
    assert_int_equal(ah_clock_wall_us(&c), 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms), cmocka_unit_test(test_parse),
                                       cmocka_unit_test(test_clock)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
