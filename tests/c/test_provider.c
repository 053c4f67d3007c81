/* Requests as each kind of server takes them, switches set by scripts, and servers known by their URL. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "provider.h"

#include <string.h>

static struct ah_json parse(const char *text)
{
    struct ah_json v;
    assert_int_equal(ah_json_check(text, strlen(text), 0, &v, NULL), 0);
    return v;
}

static void expect(const struct ah_provider *p, const char *body, bool stream, const char *want)
{
    struct ah_buf b;
    ah_buf_init(&b, 4096);
    assert_int_equal(ah_provider_write(p, parse(body), stream, &b), 0);
    assert_string_equal(ah_buf_str(&b), want);
    ah_buf_drop(&b);
}

static void test_known_by_url(void **state)
{
    (void)state;
    static const struct {
        const char *url, *name;
    } rows[] = {
        {"https://api.openai.com/v1", "openai"},        {"https://us.api.openai.com/v1", "openai"},
        {"https://xapi.openai.com/v1", "other"},        {"http://localhost:11434/v1", "ollama"},
        {"https://openrouter.ai/api/v1", "openrouter"}, {"https://api.deepseek.com", "deepseek"},
        {"http://127.0.0.1:8000/v1", "other"},          {"https://api.mistral.ai/v1", "mistral"},
        {"http://127.0.0.1:4000", "litellm"},           {"https://a.openai.azure.com/openai/v1", "openai"},
        {"https://api.mistral.ai.example/v1", "other"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ah_url url;
        assert_int_equal(ah_url_parse(rows[i].url, strlen(rows[i].url), &url, NULL), 0);
        assert_string_equal(ah_provider_of(&url)->name, rows[i].name);
    }
}

static void test_limits(void **state)
{
    (void)state;
    expect(ah_provider_named("openai"), "{\"model\":\"m\",\"max_tokens\":5}", false,
           "{\"model\":\"m\",\"max_completion_tokens\":5}");
    expect(ah_provider_named("ollama"), "{\"max_completion_tokens\": 5 ,\"model\":\"m\"}", false,
           "{\"max_tokens\":5,\"model\":\"m\"}");
    expect(ah_provider_named("other"), "{\"max_tokens\":5}", false, "{\"max_tokens\":5}");
    /* Both: somebody knows what they do. */
    expect(ah_provider_named("openai"), "{\"max_tokens\":5,\"max_completion_tokens\":6}", false,
           "{\"max_tokens\":5,\"max_completion_tokens\":6}");
}

static void test_messages(void **state)
{
    (void)state;
    static const char talk[] =
        "{\"messages\":[{\"role\":\"developer\",\"content\":\"a\"},{\"role\":\"system\","
        "\"content\":\"b\"},{\"content\":null,\"role\":\"assistant\",\"tool_calls\":[]},"
        "{\"role\":\"user\",\"content\":\"developer\"}]}";
    struct ah_provider p = *ah_provider_named("openai");
    expect(&p, talk, false, talk);
    p.system_role = AH_PROVIDER_SECOND;
    expect(&p, talk, false,
           "{\"messages\":[{\"role\":\"developer\",\"content\":\"a\"},{\"role\":\"developer\",\"content\":"
           "\"b\"},"
           "{\"content\":null,\"role\":\"assistant\",\"tool_calls\":[]},{\"role\":\"user\",\"content\":"
           "\"developer\"}]}");
    expect(ah_provider_named("ollama"), talk, false,
           "{\"messages\":[{\"role\":\"system\",\"content\":\"a\"},{\"role\":\"system\",\"content\":\"b\"},"
           "{\"content\":\"\",\"role\":\"assistant\",\"tool_calls\":[]},{\"role\":\"user\",\"content\":"
           "\"developer\"}]}");
}

static void test_tools_and_schema(void **state)
{
    (void)state;
    static const char body[] =
        "{\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"strict\":true}}],"
        "\"parallel_tool_calls\":true,\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{"
        "\"name\":"
        "\"n\",\"schema\":{\"type\":\"object\"},\"strict\":true}}}";
    expect(ah_provider_named("openai"), body, false, body);
    expect(ah_provider_named("ollama"), body, false,
           "{\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],\"response_format\":{\"type\":"
           "\"json_schema\",\"json_schema\":{\"name\":\"n\",\"schema\":{\"type\":\"object\"}}}}");
    expect(ah_provider_named("llama.cpp"), body, false,
           "{\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],\"parallel_tool_calls\":true,"
           "\"response_format\":{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\"}}}");
    expect(ah_provider_named("ollama"), "{\"response_format\":{\"type\":\"json_object\"}}", false,
           "{\"response_format\":{\"type\":\"json_object\"}}");
}

static void test_streams(void **state)
{
    (void)state;
    struct ah_provider p = *ah_provider_named("other");
    expect(&p, "{\"model\":\"m\"}", true,
           "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
    expect(&p, "{\"model\":\"m\",\"stream_options\":{}}", true,
           "{\"model\":\"m\",\"stream_options\":{},\"stream\":true}");
    p.stream_usage = false;
    expect(&p, "{\"model\":\"m\"}", true, "{\"model\":\"m\",\"stream\":true}");
}

static void test_set(void **state)
{
    (void)state;
    struct ah_provider p = *ah_provider_named("other");
    struct ah_error err = {0};
    assert_int_equal(ah_provider_set(&p, parse("\"vllm\""), &err), 0);
    assert_string_equal(p.name, "vllm");
    assert_int_equal(ah_provider_set(&p,
                                     parse("{\"stream_usage\":false,\"name\":\"openai\",\"max_tokens\":"
                                           "\"max_tokens\",\"system_role\":\"developer\"}"),
                                     &err),
                     0);
    assert_string_equal(p.name, "openai");
    assert_false(p.stream_usage);
    assert_int_equal(p.max_tokens, AH_PROVIDER_FIRST);
    assert_int_equal(p.system_role, AH_PROVIDER_SECOND);
    static const struct {
        const char *given, *says;
    } bad[] = {
        {"\"olama\"", "there is no 'olama'"},
        {"7", "there is no ''"},
        {"{\"strikt\":true}", "did you mean 'strict'"},
        {"{\"strict\":\"no\"}", "'strict' is true or false"},
        {"{\"max_tokens\":5}", "'max_tokens' is 'max_tokens', 'max_completion_tokens' or 'as_given'"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(ah_provider_set(&p, parse(bad[i].given), &err), -1);
        assert_int_equal(err.kind, AH_INVALID);
        assert_non_null(strstr(err.message, bad[i].says));
    }
    ah_err_drop(&err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_by_url), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_messages),     cmocka_unit_test(test_tools_and_schema),
        cmocka_unit_test(test_streams),      cmocka_unit_test(test_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
