/* Any bytes as a message of an MCP server, as the schema of its tool, and as a header's value: what is written of them
 * is JSON again, answers what was asked, and no header value holds anything but visible ASCII. */
#include "buf.h"
#include "err.h"
#include "json.h"
#include "mcpwire.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TEXT_BYTES ((size_t)1 << 20)

static void check(bool holds)
{
    if (!holds)
        abort();
}

static struct ah_json read_again(struct ah_buf *b)
{
    struct ah_json v;
    check(ah_json_check(ah_buf_str(b), b->n, 0, &v, NULL) == 0 && v.type == AH_JSON_OBJECT);
    return v;
}

static bool same(struct ah_json a, struct ah_json b)
{
    return a.type == b.type && a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

static void answer(const struct ah_mcpwire_message *m)
{
    struct ah_buf b;
    for (int forms = 0; forms < 2; forms++) {
        ah_buf_init(&b, 4 * TEXT_BYTES);
        if (ah_mcpwire_put_answer(&b, m->id, m->method, m->params, forms) == 0) {
            struct ah_json v = read_again(&b);
            check(same(ah_json_get(v, "id"), m->id));
            check((ah_json_get(v, "result").type == AH_JSON_NONE) !=
                  (ah_json_get(v, "error").type == AH_JSON_NONE));
        }
        ah_buf_drop(&b);
    }
}

/* A second round, of what the server asked for in the first. */
static void go_on(struct ah_json result, struct ah_json params)
{
    struct ah_buf more, b;
    ah_buf_init(&more, 4 * TEXT_BYTES);
    ah_buf_init(&b, 16 * TEXT_BYTES);
    if (ah_mcpwire_put_inputs(&more, result, true) == 0) {
        struct ah_mcpwire_request r = {
            .id = 1, .method = "tools/call", .params = params, .more = ah_buf_str(&more), .modern = true};
        if (ah_mcpwire_put_request(&b, &r) == 0)
            check(ah_json_get(ah_json_get(read_again(&b), "params"), "_meta").type == AH_JSON_OBJECT);
    }
    ah_buf_drop(&more);
    ah_buf_drop(&b);
}

static void check_value(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        check(p[i] >= ' ' && p[i] < 0x7F);
    check(n == 0 || (p[0] != ' ' && p[n - 1] != ' '));
}

static int tell(void *arg, const char *name, const char *value)
{
    size_t *n = arg;
    check(strncmp(name, "Mcp-Param-", 10) == 0 && name[10]);
    for (const char *c = name; *c; c++)
        check(*c > ' ' && *c < 0x7F && *c != ':');
    check_value(value, strlen(value));
    ++*n;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data;
    struct ah_json v;
    struct ah_buf header;
    if (size > TEXT_BYTES)
        return 0;
    ah_buf_init(&header, 2 * TEXT_BYTES);
    check(ah_mcpwire_put_header(&header, p, size) == 0);
    check_value(ah_buf_str(&header), header.n);
    ah_buf_drop(&header);
    if (ah_json_check(p, size, 0, &v, NULL) != 0)
        return 0;
    struct ah_mcpwire_message m;
    struct ah_error err = {0};
    ah_mcpwire_read(v, &m);
    ah_mcpwire_id(m.id);
    ah_mcpwire_knows(ah_json_get(m.result, "protocolVersion"));
    ah_mcpwire_refusal("method", m.error, &err);
    check(err.kind != AH_NONE && err.message[0]);
    ah_err_drop(&err);
    ah_mcpwire_is_session_lost(400, m.error);
    ah_mcpwire_takes_modern(m.error);
    if (m.kind == AH_MCP_REQUEST)
        answer(&m);
    go_on(m.result, m.params);
    size_t told = 0;
    struct ah_json schema = ah_json_get(m.result, "inputSchema");
    struct ah_json tool = schema.type == AH_JSON_NONE ? v : schema;
    int rules = ah_mcpwire_headers(tool, (struct ah_json){0}, NULL, NULL, NULL);
    int rc = ah_mcpwire_headers(tool, m.params, tell, &told, &err);
    check(rc == 0 ? rules == 0
                  : err.kind == AH_INVALID); /* what is told of a tool that is refused: nothing is sent */
    ah_err_drop(&err);
    return 0;
}
