/* tracing: what variables switch on and hide, what is said of a wrong one, which traces are sampled. */
#include "config.h"
#include "log.h"
#include "tracing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct ah_log quiet = {.level = AH_LOG_ERROR};
static struct ah_config *config;
static struct ah_tracing *tracing;

static int set_up(void **state)
{
    (void)state;
    config = ah_config_new(NULL, &quiet);
    tracing = ah_tracing_new(config, NULL);
    return tracing ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    ah_tracing_free(tracing);
    ah_config_free(config);
    return 0;
}

static void set(const char *name, const char *value)
{
    ah_config_set(config, name, value, AH_FROM_FLAG);
}

static struct ah_tracing_rules rules(void)
{
    struct ah_tracing_rules r;
    ah_tracing_rules(tracing, &r);
    return r;
}

static void what_is_hidden(void **state)
{
    (void)state;
    assert_false(rules().hide_inputs || rules().hide_outputs || rules().hide_metadata);
    assert_true(rules().hide_tokens);
    set("LANGCHAIN_HIDE_INPUTS", "True");
    set("LANGSMITH_HIDE_OUTPUTS", "1");
    set("LANGSMITH_HIDE_METADATA", "FALSE");
    set("AGENTHOST_HIDE_TOKENS", "off");
    assert_true(rules().hide_inputs && rules().hide_outputs);
    assert_false(rules().hide_metadata || rules().hide_tokens);
    assert_null(ah_tracing_complaint(tracing));
    /* Whoever mistypes it wanted something hidden. */
    set("LANGSMITH_HIDE_METADATA", "ture");
    assert_true(rules().hide_metadata);
    assert_non_null(strstr(ah_tracing_complaint(tracing), "LANGSMITH_HIDE_METADATA is \"ture\""));
    /* LANGSMITH_ wins over LANGCHAIN_. */
    set("LANGSMITH_HIDE_INPUTS", "false");
    assert_false(rules().hide_inputs);
}

static void what_is_said(void **state)
{
    (void)state;
    set("LANGSMITH_HIDE_INPUT", "true");
    assert_non_null(strstr(ah_tracing_complaint(tracing), "did you mean LANGSMITH_HIDE_INPUTS?"));
    set("LANGSMITH_TRACING_SAMPLING_RATE", "1.5");
    assert_non_null(strstr(ah_tracing_complaint(tracing), "from 0 to 1"));
    set("LANGSMITH_TRACING_SAMPLING_RATE", "0.5");
    set("LANGCHAIN_TRACING_MODE", "otel");
    assert_non_null(strstr(ah_tracing_complaint(tracing), "LANGCHAIN_TRACING_MODE=otel"));
}

/* Which of the ids that end in 0 to b. */
static const char *samples(const char *rate)
{
    static char made[13];
    if (rate)
        set("LANGSMITH_TRACING_SAMPLING_RATE", rate);
    for (int i = 0; i < 12; i++) {
        char id[40];
        snprintf(id, sizeof id, "01a202b2-c500-7a1b-8a1b-00000000000%x", (unsigned)i);
        made[i] = ah_tracing_samples(tracing, id) ? '1' : '0';
    }
    return made;
}

/* As npm langsmith 0.12.0 chooses. */
static void which_are_sampled(void **state)
{
    (void)state;
    assert_string_equal(samples(NULL), "111111111111");
    assert_string_equal(samples("0"), "000000000000");
    assert_string_equal(samples("0.1"), "001000100001");
    assert_string_equal(samples("0.5"), "001110100011");
    assert_string_equal(samples("0.75"), "001110101011");
    assert_string_equal(samples("1"), "111111111111");
    set("LANGSMITH_TRACING_SAMPLING_RATE", "much"); /* said, and nothing is lost */
    assert_string_equal(samples(NULL), "111111111111");
    assert_false(ah_tracing_keeps_errors(tracing));
    set("AGENTHOST_TRACE_ERRORS", "TRUE");
    assert_true(ah_tracing_keeps_errors(tracing));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_hidden, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(which_are_sampled, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
