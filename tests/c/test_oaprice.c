/* oaprice: money from tokens; what is not known is not zero. */
#include "oaprice.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define GPT "{\"input\":2.5,\"cached_input\":1.25,\"output\":10,\"date\":\"x\"}"

static void test_costs(void **state)
{
    (void)state;
    static const struct {
        const char *price, *usage;
        double cost; /* of a million times the tokens */
    } rows[] = {
        {GPT, "{\"input_tokens\":100,\"output_tokens\":10}", 350},
        {GPT,
         "{\"input_tokens\":100,\"output_tokens\":10,\"input_token_details\":{\"cache_read\":40,\"audio\":0}"
         "}",
         300},
        /* Reasoning is part of the output. */
        {GPT, "{\"input_tokens\":100,\"output_tokens\":10,\"output_token_details\":{\"reasoning\":8}}", 350},
        {"{\"input\":1,\"output\":2,\"reasoning_output\":3}",
         "{\"input_tokens\":1,\"output_tokens\":10,\"output_token_details\":{\"reasoning\":8}}", 29},
        {"{\"input\":1,\"output\":2}",
         "{\"input_tokens\":10,\"output_tokens\":0,\"input_token_details\":{\"cache_read\":5}}", 10},
        {"{\"input\":1,\"output\":2,\"audio_input\":5}",
         "{\"input_tokens\":10,\"output_tokens\":1,\"input_token_details\":{\"audio\":2}}", 20},
        {"{\"input\":0,\"output\":0}", "{\"input_tokens\":10,\"output_tokens\":1}",
         0}, /* free, and somebody says so */
        /* Unknown. */
        {"{\"input\":1}", "{\"input_tokens\":10,\"output_tokens\":1}", -1},
        {"{\"input\":-1,\"output\":2}", "{\"input_tokens\":10,\"output_tokens\":1}", -1},
        {"{}", "{\"input_tokens\":10,\"output_tokens\":1}", -1},
        {GPT, "{\"input_tokens\":10}", -1},
        {GPT, "{\"input_tokens\":10,\"output_tokens\":1,\"input_token_details\":{\"audio\":2}}", -1},
        {GPT, "{\"input_tokens\":10,\"output_tokens\":1,\"input_token_details\":{\"cache_read\":20}}", -1},
        {GPT, "{\"input_tokens\":10,\"output_tokens\":1,\"input_token_details\":{\"flex\":10}}", -1},
        {GPT, "{}", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ah_json price, usage, made;
        struct ah_buf b;
        double total;
        ah_buf_init(&b, 4096);
        assert_int_equal(ah_json_check(rows[i].price, strlen(rows[i].price), 0, &price, NULL), 0);
        assert_int_equal(ah_json_check(rows[i].usage, strlen(rows[i].usage), 0, &usage, NULL), 0);
        double cost = ah_oaprice_put(price, usage, &b);
        if (fabs(cost < 0 ? rows[i].cost + 1 : cost * 1e6 - rows[i].cost) > 1e-6)
            fail_msg("row %zu: %g", i, cost);
        assert_int_equal(cost < 0, b.n == 0);
        if (cost >= 0) {
            assert_int_equal(ah_json_check(b.p, b.n, AH_JSON_UNIQUE_KEYS, &made, NULL), 0);
            assert_true(ah_json_num(ah_json_get(made, "total_cost"), &total));
            assert_true(fabs(total - cost) < 1e-9);
        }
        ah_buf_drop(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_costs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
