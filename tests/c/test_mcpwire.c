/* MCP's messages: what is written, what servers are answered, header rules, refusals. */
#include "mcpwire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct ah_json read_json(const char *text)
{
    struct ah_json v;
    if (ah_json_check(text, strlen(text), 0, &v, NULL) != 0)
        fail_msg("not JSON: %s", text);
    return v;
}

static void check_json(struct ah_buf *b, const char *wanted)
{
    assert_false(b->failed);
    read_json(ah_buf_str(b));
    assert_string_equal(ah_buf_str(b), wanted);
    ah_buf_drop(b);
}

static void test_versions(void **state)
{
    (void)state;
    static const char *const known[] = {"\"2025-11-25\"", "\"2025-06-18\"", "\"2025-03-26\"",
                                        "\"2024-11-05\""};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_true(ah_mcpwire_knows(read_json(known[i])));
    assert_false(ah_mcpwire_knows(read_json("\"2026-07-28\""))); /* has no handshake */
    assert_false(ah_mcpwire_knows(read_json("20251125")));
    assert_false(ah_mcpwire_knows((struct ah_json){0}));
}

static void test_requests(void **state)
{
    (void)state;
    static const struct {
        struct ah_mcpwire_request r;
        const char *params, *wanted;
    } rows[] = {
        {{.id = 7, .method = "tools/list"}, NULL, "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/list\"}"},
        {{.method = "notifications/x"}, NULL, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}"},
        {{.id = 1, .method = "m", .more = "\"b\":2"},
         "{\"a\":12345678901234567890.10}",
         "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":{\"a\":12345678901234567890.10,\"b\":2}"
         "}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ah_mcpwire_request r = rows[i].r;
        struct ah_buf b;
        if (rows[i].params)
            r.params = read_json(rows[i].params);
        ah_buf_init(&b, 4096);
        assert_int_equal(ah_mcpwire_put_request(&b, &r), 0);
        check_json(&b, rows[i].wanted);
    }
}

/* The modern era's _meta is ours, and keeps what the caller put there. */
static void test_modern_request(void **state)
{
    (void)state;
    struct ah_buf b;
    struct ah_mcpwire_request r = {
        .id = 1, .method = "m", .modern = true, .params = read_json("{\"_meta\":{\"own\":[1]},\"x\":null}")};
    ah_buf_init(&b, 4096);
    assert_int_equal(ah_mcpwire_put_request(&b, &r), 0);
    struct ah_json params = ah_json_get(read_json(ah_buf_str(&b)), "params");
    struct ah_json meta = ah_json_get(params, "_meta");
    assert_true(
        ah_json_is(ah_json_get(meta, "io.modelcontextprotocol/protocolVersion"), AH_MCP_MODERN_VERSION));
    assert_int_equal(ah_json_get(meta, "own").type, AH_JSON_ARRAY);
    assert_int_equal(ah_json_count(params), 2);
    ah_buf_drop(&b);
    ah_buf_init(&b, 16); /* too small: said, not cut */
    assert_int_equal(ah_mcpwire_put_request(&b, &r), -1);
    ah_buf_drop(&b);
    r.more = "\"broken\":";
    ah_buf_init(&b, 4096);
    assert_int_equal(ah_mcpwire_put_request(&b, &r), -1);
    ah_buf_drop(&b);
}

static void check_answer(const char *id, const char *method, const char *params, bool forms,
                         const char *wanted)
{
    char name[80];
    struct ah_buf b;
    snprintf(name, sizeof name, "\"%s\"", method);
    ah_buf_init(&b, 4096);
    assert_int_equal(ah_mcpwire_put_answer(&b, read_json(id), read_json(name), read_json(params), forms), 0);
    check_json(&b, wanted);
}

static void test_answers_to_servers(void **state)
{
    (void)state;
    static const char form[] =
        "{\"requestedSchema\":{\"properties\":{\"a\":{\"type\":\"string\",\"default\":\"x\"},"
        "\"b\":{\"type\":\"integer\"},\"c\":{\"default\":false}}}}";
    check_answer("1", "ping", "{}", false, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}");
    check_answer("\"q\"", "roots/list", "{}", false,
                 "{\"jsonrpc\":\"2.0\",\"id\":\"q\",\"result\":{\"roots\":[]}}");
    check_answer("1", "elicitation/create", form, false,
                 "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"action\":\"decline\"}}");
    check_answer("1", "elicitation/create", form, true,
                 "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"action\":\"accept\","
                 "\"content\":{\"a\":\"x\",\"c\":false}}}");
    check_answer("1", "elicitation/create", "{\"mode\":\"url\",\"url\":\"https://x\"}", true,
                 "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"action\":\"decline\"}}");
    check_answer(
        "1", "sampling/createMessage", "{}", true,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32601,\"message\":\"Method not found\"}}");
}

static void test_inputs(void **state)
{
    (void)state;
    struct ah_buf b;
    struct ah_json result = read_json(
        "{\"inputRequests\":{\"one\":{\"method\":\"elicitation/create\",\"params\":{"
        "\"requestedSchema\":{\"properties\":{\"n\":{\"default\":3}}}}},\"two\":{\"method\":\"odd\"},"
        "\"three\":7},\"requestState\":\"\\u0041 \\/ opaque\"}");
    ah_buf_init(&b, 4096);
    assert_int_equal(ah_mcpwire_put_inputs(&b, result, true), 0);
    assert_string_equal(ah_buf_str(&b),
                        "\"inputResponses\":{\"one\":{\"action\":\"accept\",\"content\":{\"n\":3}},"
                        "\"two\":{\"action\":\"decline\"},\"three\":{\"action\":\"decline\"}},"
                        "\"requestState\":\"\\u0041 \\/ opaque\"");
    ah_buf_clear(&b);
    assert_int_equal(ah_mcpwire_put_inputs(&b, read_json("{}"), true), 0);
    assert_string_equal(ah_buf_str(&b), "\"inputResponses\":{}");
    ah_buf_drop(&b);
}

static void test_reading(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum ah_mcpwire_kind kind;
        int64_t id;
    } rows[] = {
        {"{\"id\":1,\"result\":{}}", AH_MCP_RESPONSE, 1},
        {"{\"id\":\"12\",\"error\":{}}", AH_MCP_RESPONSE, 12},
        {"{\"error\":\"Session not found\"}", AH_MCP_RESPONSE, 0},
        {"{\"id\":1,\"method\":\"ping\"}", AH_MCP_REQUEST, 1},
        {"{\"id\":null,\"method\":\"ping\"}", AH_MCP_NOTIFICATION, 0},
        {"{\"method\":\"notifications/x\"}", AH_MCP_NOTIFICATION, 0},
        {"{\"id\":1,\"method\":7}", AH_MCP_BROKEN, 1},
        {"{\"id\":1.5,\"result\":null}", AH_MCP_RESPONSE, 0},
        {"{}", AH_MCP_BROKEN, 0},
        {"[]", AH_MCP_BROKEN, 0},
        {"null", AH_MCP_BROKEN, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ah_mcpwire_message m;
        ah_mcpwire_read(read_json(rows[i].text), &m);
        if (m.kind != rows[i].kind || ah_mcpwire_id(m.id) != rows[i].id)
            fail_msg("%s: kind %d, id %lld", rows[i].text, (int)m.kind, (long long)ah_mcpwire_id(m.id));
    }
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *error;
        enum ah_kind kind;
        const char *says, *code;
    } rows[] = {
        {"{\"code\":-32602,\"message\":\"bad\"}", AH_INVALID, "refused t: bad", "-32602"},
        {"{\"code\":-32601,\"message\":\"no\"}", AH_NOT_FOUND, "refused t: no", "-32601"},
        {"{\"code\":-1}", AH_PROTOCOL, "it gave no reason", "-1"},
        {"\"plain words\"", AH_PROTOCOL, "plain words", ""},
        {"null", AH_PROTOCOL, "it gave no reason", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ah_error err = {0};
        ah_mcpwire_refusal("t", read_json(rows[i].error), &err);
        assert_int_equal(err.kind, rows[i].kind);
        assert_non_null(strstr(err.message, rows[i].says));
        assert_string_equal(err.code, rows[i].code);
        ah_err_drop(&err);
    }
}

static void test_lost_sessions(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *error;
        bool lost;
    } rows[] = {
        {404, "null", true},
        {400, "{\"code\":-32000,\"message\":\"Bad Request: No valid session ID provided\"}", true},
        {400, "{\"code\":-32600,\"message\":\"bad arguments\"}", false},
        {200, "\"Session not found\"", true},
        /* a tool that speaks of sessions has run: never again */
        {200, "{\"code\":-32000,\"message\":\"paid, then the session ended\"}", false},
        {0, "{\"code\":-32001,\"message\":\"session\"}", false},
        {500, "{\"code\":-32000,\"message\":\"session\"}", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (ah_mcpwire_is_session_lost(rows[i].status, read_json(rows[i].error)) != rows[i].lost)
            fail_msg("%d %s", rows[i].status, rows[i].error);
    assert_true(ah_mcpwire_takes_modern(
        read_json("{\"code\":-32022,\"data\":{\"supported\":[\"x\",\"2026-07-28\"]}}")));
    assert_false(ah_mcpwire_takes_modern(read_json("{\"code\":-32022,\"data\":{\"supported\":[]}}")));
    assert_false(ah_mcpwire_is_modern_code(read_json("{\"code\":-32019}")));
    assert_true(ah_mcpwire_is_modern_code(read_json("{\"code\":-32020}")));
}

static void test_header_values(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"plain-1", "plain-1"},
        {"", ""},
        {"a b", "a b"},
        {" a", "=?base64?IGE=?="},
        {"a\t", "=?base64?YQk=?="},
        {"a\r\nX-Evil: 1", "=?base64?YQ0KWC1FdmlsOiAx?="},
        {"gr\xc3\xbc\xc3\x9f"
         "e",
         "=?base64?Z3LDvMOfZQ==?="},
        {"=?x?=", "=?base64?PT94Pz0=?="},
        {"=?", "=?"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ah_buf b;
        ah_buf_init(&b, 4096);
        assert_int_equal(ah_mcpwire_put_header(&b, rows[i][0], strlen(rows[i][0])), 0);
        assert_string_equal(ah_buf_str(&b), rows[i][1]);
        ah_buf_drop(&b);
    }
    struct ah_buf small;
    ah_buf_init(&small, 12);
    assert_int_equal(ah_mcpwire_put_header(&small, "\n\n\n\n\n\n\n\n", 8), -1);
    ah_buf_drop(&small);
}

static int tell(void *arg, const char *name, const char *value)
{
    struct ah_buf *to = arg;
    return ah_buf_addf(to, "%s=%s;", name, value);
}

static void test_headers_of_tools(void **state)
{
    (void)state;
    static const struct {
        const char *schema, *arguments, *wanted; /* NULL: refused */
    } rows[] = {
        {"{\"properties\":{\"a\":{\"type\":\"string\",\"x-mcp-header\":\"A\"},"
         "\"b\":{\"type\":\"boolean\",\"x-mcp-header\":\"B\"},\"c\":{\"type\":\"integer\"}}}",
         "{\"a\":\"x\\ny\",\"b\":true,\"c\":1}", "Mcp-Param-A==?base64?eAp5?=;Mcp-Param-B=true;"},
        {"{\"properties\":{\"o\":{\"properties\":{\"n\":{\"type\":\"integer\",\"x-mcp-header\":\"N\"}}}}}",
         "{\"o\":{\"n\":7}}", "Mcp-Param-N=7;"},
        {"{\"properties\":{\"a\":{\"type\":\"string\",\"x-mcp-header\":\"A\"}}}", "{\"a\":null}", ""},
        {"{\"properties\":{\"x-mcp-header\":{\"type\":\"string\"}}}", "{\"x-mcp-header\":\"v\"}", ""},
        {"{\"default\":{\"x-mcp-header\":1}}", "{}", ""},
        {"true", "{}", ""},
        /* the rules */
        {"{\"type\":\"string\",\"x-mcp-header\":\"A\"}", "{}", NULL},
        {"{\"properties\":{\"a\":{\"type\":\"number\",\"x-mcp-header\":\"A\"}}}", "{}", NULL},
        {"{\"properties\":{\"a\":{\"type\":\"string\",\"x-mcp-header\":\"\"}}}", "{}", NULL},
        {"{\"properties\":{\"a\":{\"type\":\"string\",\"x-mcp-header\":\"a b\"}}}", "{}", NULL},
        {"{\"properties\":{\"a\":{\"type\":\"string\",\"x-mcp-header\":\"A\\r\\nB\"}}}", "{}", NULL},
        {"{\"properties\":{\"a\":{\"type\":\"string\",\"x-mcp-header\":7}}}", "{}", NULL},
        {"{\"properties\":{\"a\":{\"type\":\"string\",\"x-mcp-header\":\"A\"},"
         "\"b\":{\"type\":\"string\",\"x-mcp-header\":\"a\"}}}",
         "{}", NULL},
        {"{\"items\":{\"type\":\"string\",\"x-mcp-header\":\"A\"}}", "[\"v\"]", NULL},
        {"{\"anyOf\":[{\"properties\":{\"a\":{\"type\":\"string\",\"x-mcp-header\":\"A\"}}}]}", "{}", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ah_error err = {0};
        struct ah_buf b;
        ah_buf_init(&b, 4096);
        int rc = ah_mcpwire_headers(read_json(rows[i].schema), read_json(rows[i].arguments), tell, &b, &err);
        if (rc != (rows[i].wanted ? 0 : -1) ||
            (rows[i].wanted && strcmp(ah_buf_str(&b), rows[i].wanted) != 0))
            fail_msg("%s: %d %s", rows[i].schema, rc, ah_buf_str(&b));
        assert_int_equal(err.kind, rc == 0 ? AH_NONE : AH_INVALID);
        ah_err_drop(&err);
        ah_buf_drop(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions),       cmocka_unit_test(test_requests),
        cmocka_unit_test(test_modern_request), cmocka_unit_test(test_answers_to_servers),
        cmocka_unit_test(test_inputs),         cmocka_unit_test(test_reading),
        cmocka_unit_test(test_refusals),       cmocka_unit_test(test_lost_sessions),
        cmocka_unit_test(test_header_values),  cmocka_unit_test(test_headers_of_tools),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
