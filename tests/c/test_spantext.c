/* spantext: a conversation as lines, and what is not one. */
#include "buf.h"
#include "spantext.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *json, *lines;
} rows[] = {
    /* not a conversation: as it is */
    {"{}", "  in       {}\n"},
    {"null", "  in       null\n"},
    {"{\"a\":[1,2]}", "  in       {\"a\":[1,2]}\n"},
    {"{\"messages\":[]}", "  in       {\"messages\":[]}\n"},
    {"{\"messages\":\"x\",\"choices\":{}}", "  in       {\"messages\":\"x\",\"choices\":{}}\n"},
    {"\"two\\nlines\"", "  in       two\n             lines\n"},
    {"{\"tools\":[{\"name\":\"a\"}]}", "  in       {\"tools\":[{\"name\":\"a\"}]}\n"},
    /* what was sent */
    {"{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"Be\\nbrief\"},"
     "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]},"
     "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c1\",\"function\":{\"name\":\"f\","
     "\"arguments\":\"{\\\"n\\\":1}\"}}]},"
     "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"3\"}],"
     "\"tools\":[{\"name\":\"a\"},{\"function\":{\"name\":\"b\"}},{},{\"name\":4}],\"n\":1}",
     "  in       {\"model\":\"m\",\"n\":1}\n"
     "           system: Be\n"
     "             brief\n"
     "           user: [{\"type\":\"text\",\"text\":\"hi\"}]\n"
     "           assistant calls f {\"n\":1}\n"
     "           tool c1: 3\n"
     "           4 tools: a, b, ?, ?\n"},
    /* what came back */
    {"{\"choices\":[{\"finish_reason\":\"stop\",\"message\":{\"role\":\"assistant\",\"content\":\"yes\"}}]}",
     "  in       assistant: yes\n"},
    {"{\"choices\":[{\"finish_reason\":\"length\",\"message\":{\"role\":\"assistant\",\"content\":\"\","
     "\"refusal\":\"no\"}}]}",
     "  in       assistant: no\n           finish_reason: length\n"},
    /* odd ones lose nothing */
    {"{\"messages\":[3,{\"content\":\"x\"},{\"role\":\"tool\",\"content\":{}}]}",
     "  in       3\n           {\"content\":\"x\"}\n           tool: {}\n"},
    {"{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[1,{\"function\":{}}]}]}",
     "  in       assistant calls ? 1\n           assistant calls ? {\"function\":{}}\n"},
    /* nothing steers the terminal */
    {"\"a\\u001b[2Jb\\rc\\u009bd\\u007fe\\tf\"", "  in       a?[2Jb?c?d?e\tf\n"},
    {"{\"k\":\"\xc2\x9b\x7f\"}", "  in       {\"k\":\"??\"}\n"},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ah_buf to;
        struct ah_json v;
        ah_buf_init(&to, 1 << 16);
        assert_int_equal(ah_json_check(rows[i].json, strlen(rows[i].json), 0, &v, NULL), 0);
        ah_spantext_put(&to, "in", v);
        assert_string_equal(ah_buf_str(&to), rows[i].lines);
        ah_buf_drop(&to);
    }
}

static void test_nothing(void **state)
{
    (void)state;
    struct ah_buf to;
    ah_buf_init(&to, 100);
    ah_spantext_put(&to, "in", (struct ah_json){0});
    assert_int_equal(to.n, 0);
    ah_buf_drop(&to);
}

/* A character that two pieces of the decoding part is not cut. */
static void test_long(void **state)
{
    (void)state;
    static char json[4096], want[4096];
    struct ah_buf to;
    struct ah_json v;
    size_t n = 0;
    json[n++] = '"';
    for (int i = 0; i < 700; i++)
        n += (size_t)snprintf(json + n, sizeof json - n, "%s", i % 7 ? "\xe2\x82\xac" : "x");
    json[n] = '\0';
    snprintf(want, sizeof want, "  in       %s\n", json + 1);
    json[n++] = '"';
    ah_buf_init(&to, sizeof want);
    assert_int_equal(ah_json_check(json, n, 0, &v, NULL), 0);
    ah_spantext_put(&to, "in", v);
    assert_string_equal(ah_buf_str(&to), want);
    ah_buf_drop(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
