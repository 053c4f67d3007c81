/* MCP's messages, written and read. Called by mcp*.c and lua_mcp.c. Must not wait and must not decide what a server may
 * do: it only knows the shapes. */
#include "mcpwire.h"

#include "hash.h"
#include "version.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define HEADERS_MAX 64
#define HEADER_BYTES ((size_t)16384) /* of one value */
#define SCHEMA_DEPTH 64

bool ah_mcpwire_knows(struct ah_json version)
{
    static const char *const known[] = {AH_MCP_LEGACY_VERSION, "2025-06-18", "2025-03-26", "2024-11-05"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (ah_json_is(version, known[i]))
            return true;
    return false;
}

/* --- requests -------------------------------------------------------------------------------------- */

static void put_client(struct ah_json_writer *w)
{
    ah_json_object(w);
    ah_json_key(w, "name");
    ah_json_put_str(w, "agenthost");
    ah_json_key(w, "version");
    ah_json_put_str(w, AH_VERSION);
    ah_json_end_object(w);
}

static void put_capabilities(struct ah_json_writer *w, bool forms)
{
    ah_json_object(w);
    if (forms) {
        ah_json_key(w, "elicitation");
        ah_json_object(w);
        ah_json_key(w, "form");
        ah_json_object(w);
        ah_json_key(w, "applyDefaults");
        ah_json_put_bool(w, true);
        ah_json_end_object(w);
        ah_json_end_object(w);
    }
    ah_json_end_object(w);
}

#define META "io.modelcontextprotocol/"

static void put_meta(struct ah_json_writer *w, struct ah_json given, bool forms)
{
    ah_json_key(w, "_meta");
    ah_json_object(w);
    struct ah_json_iter it = ah_json_iter(given);
    while (ah_json_next(&it)) {
        char key[256];
        ah_json_copy(it.key, key, sizeof key);
        ah_json_key(w, key);
        ah_json_put(w, it.value);
    }
    ah_json_key(w, META "protocolVersion");
    ah_json_put_str(w, AH_MCP_MODERN_VERSION);
    ah_json_key(w, META "clientInfo");
    put_client(w);
    ah_json_key(w, META "clientCapabilities");
    put_capabilities(w, forms);
    ah_json_end_object(w);
}

static void put_params(struct ah_json_writer *w, const struct ah_mcpwire_request *r)
{
    ah_json_key(w, "params");
    ah_json_object(w);
    struct ah_json_iter it = ah_json_iter(r->params);
    while (ah_json_next(&it)) {
        if (r->modern && ah_json_is(it.key, "_meta"))
            continue;
        char key[256];
        ah_json_copy(it.key, key, sizeof key);
        ah_json_key(w, key);
        ah_json_put(w, it.value);
    }
    if (r->more && r->more[0]) {
        struct ah_buf all;
        struct ah_json v;
        ah_buf_init(&all, w->to->max);
        ah_buf_addf(&all, "{%s}", r->more);
        if (ah_json_check(ah_buf_str(&all), all.n, 0, &v, NULL) == 0)
            for (struct ah_json_iter m = ah_json_iter(v); ah_json_next(&m);) {
                char key[64];
                ah_json_copy(m.key, key, sizeof key);
                ah_json_key(w, key);
                ah_json_put(w, m.value);
            }
        else
            w->to->failed = true;
        ah_buf_drop(&all);
    }
    if (r->modern)
        put_meta(w, ah_json_get(r->params, "_meta"), r->forms);
    ah_json_end_object(w);
}

int ah_mcpwire_put_request(struct ah_buf *to, const struct ah_mcpwire_request *r)
{
    struct ah_json_writer w;
    ah_json_begin(&w, to, NULL);
    ah_json_object(&w);
    ah_json_key(&w, "jsonrpc");
    ah_json_put_str(&w, "2.0");
    if (r->id > 0) {
        ah_json_key(&w, "id");
        ah_json_put_int(&w, r->id);
    }
    ah_json_key(&w, "method");
    ah_json_put_str(&w, r->method);
    if (r->modern || r->params.type == AH_JSON_OBJECT || r->more)
        put_params(&w, r);
    ah_json_end_object(&w);
    return to->failed ? -1 : 0;
}

int ah_mcpwire_put_hello(struct ah_buf *to, bool forms)
{
    struct ah_json_writer w;
    ah_json_begin(&w, to, NULL);
    ah_json_object(&w);
    ah_json_key(&w, "protocolVersion");
    ah_json_put_str(&w, AH_MCP_LEGACY_VERSION);
    ah_json_key(&w, "capabilities");
    put_capabilities(&w, forms);
    ah_json_key(&w, "clientInfo");
    put_client(&w);
    ah_json_end_object(&w);
    return to->failed ? -1 : 0;
}

/* --- what servers ask --------------------------------------------------------------------------------- */

/* The form's fields that have a default. */
static void put_defaults(struct ah_json_writer *w, struct ah_json schema)
{
    ah_json_object(w);
    for (struct ah_json_iter it = ah_json_iter(ah_json_get(schema, "properties")); ah_json_next(&it);) {
        struct ah_json value = ah_json_get(it.value, "default");
        if (value.type == AH_JSON_NONE)
            continue;
        char key[256];
        ah_json_copy(it.key, key, sizeof key);
        ah_json_key(w, key);
        ah_json_put(w, value);
    }
    ah_json_end_object(w);
}

static bool is_form(struct ah_json params)
{
    struct ah_json mode = ah_json_get(params, "mode");
    return mode.type == AH_JSON_NONE || ah_json_is(mode, "form");
}

/* The result of a request of the server's. false: the method is not known here, nothing was written. */
static bool put_result(struct ah_json_writer *w, struct ah_json method, struct ah_json params, bool forms)
{
    if (ah_json_is(method, "ping")) {
        ah_json_object(w);
        ah_json_end_object(w);
        return true;
    }
    if (ah_json_is(method, "roots/list")) {
        ah_json_object(w);
        ah_json_key(w, "roots");
        ah_json_array(w);
        ah_json_end_array(w);
        ah_json_end_object(w);
        return true;
    }
    if (!ah_json_is(method, "elicitation/create"))
        return false;
    ah_json_object(w);
    ah_json_key(w, "action");
    bool fill = forms && is_form(params);
    ah_json_put_str(w, fill ? "accept" : "decline");
    if (fill) {
        ah_json_key(w, "content");
        put_defaults(w, ah_json_get(params, "requestedSchema"));
    }
    ah_json_end_object(w);
    return true;
}

int ah_mcpwire_put_answer(struct ah_buf *to, struct ah_json id, struct ah_json method, struct ah_json params,
                          bool forms)
{
    struct ah_json_writer w;
    ah_json_begin(&w, to, NULL);
    ah_json_object(&w);
    ah_json_key(&w, "jsonrpc");
    ah_json_put_str(&w, "2.0");
    ah_json_key(&w, "id");
    ah_json_put(&w, id);
    bool known = ah_json_is(method, "ping") || ah_json_is(method, "roots/list") ||
                 ah_json_is(method, "elicitation/create");
    ah_json_key(&w, known ? "result" : "error");
    if (!known || !put_result(&w, method, params, forms)) {
        ah_json_object(&w);
        ah_json_key(&w, "code");
        ah_json_put_int(&w, -32601);
        ah_json_key(&w, "message");
        ah_json_put_str(&w, "Method not found");
        ah_json_end_object(&w);
    }
    ah_json_end_object(&w);
    return to->failed ? -1 : 0;
}

int ah_mcpwire_put_inputs(struct ah_buf *to, struct ah_json result, bool forms)
{
    struct ah_json_writer w;
    struct ah_json state = ah_json_get(result, "requestState");
    ah_buf_adds(to, "\"inputResponses\":");
    ah_json_begin(&w, to, NULL);
    ah_json_object(&w);
    for (struct ah_json_iter it = ah_json_iter(ah_json_get(result, "inputRequests")); ah_json_next(&it);) {
        char key[256];
        ah_json_copy(it.key, key, sizeof key);
        ah_json_key(&w, key);
        if (!put_result(&w, ah_json_get(it.value, "method"), ah_json_get(it.value, "params"), forms)) {
            ah_json_object(&w);
            ah_json_key(&w, "action");
            ah_json_put_str(&w, "decline");
            ah_json_end_object(&w);
        }
    }
    ah_json_end_object(&w);
    if (state.type != AH_JSON_NONE) {
        ah_buf_adds(to, ",\"requestState\":");
        ah_buf_add(to, state.p, state.n); /* echoed byte for byte */
    }
    return to->failed ? -1 : 0;
}

/* --- reading ------------------------------------------------------------------------------------------ */

void ah_mcpwire_read(struct ah_json message, struct ah_mcpwire_message *out)
{
    static const char *const keys[] = {"id", "method", "params", "result", "error", NULL};
    struct ah_json v[5];
    *out = (struct ah_mcpwire_message){0};
    if (message.type != AH_JSON_OBJECT)
        return;
    ah_json_pick(message, keys, v);
    *out = (struct ah_mcpwire_message){
        .id = v[0], .method = v[1], .params = v[2], .result = v[3], .error = v[4]};
    bool has_id = v[0].type == AH_JSON_STRING || v[0].type == AH_JSON_NUMBER;
    if (v[1].type == AH_JSON_STRING)
        out->kind = has_id ? AH_MCP_REQUEST : AH_MCP_NOTIFICATION;
    else if (v[3].type != AH_JSON_NONE || v[4].type != AH_JSON_NONE)
        out->kind = AH_MCP_RESPONSE; /* some errors come without an id */
}

int64_t ah_mcpwire_id(struct ah_json id)
{
    int64_t n = 0;
    char text[32];
    if (id.type == AH_JSON_NUMBER && ah_json_int(id, &n))
        return n;
    ah_json_copy(id, text, sizeof text); /* some servers answer with "7" for 7 */
    return id.type == AH_JSON_STRING && sscanf(text, "%" SCNd64, &n) == 1 ? n : 0;
}

static int64_t code_of(struct ah_json error)
{
    int64_t code = 0;
    ah_json_int(ah_json_get(error, "code"), &code);
    return code;
}

/* The words: error.message, or error itself where it is a text (OAuth's shape). */
static void words_of(struct ah_json error, char *out, size_t size)
{
    ah_json_copy(error.type == AH_JSON_STRING ? error : ah_json_get(error, "message"), out, size);
}

void ah_mcpwire_refusal(const char *method, struct ah_json error, struct ah_error *err)
{
    char words[600];
    words_of(error, words, sizeof words);
    int64_t code = code_of(error);
    enum ah_kind kind = code == -32602 || code == -32600 ? AH_INVALID
                        : code == -32601                 ? AH_NOT_FOUND
                                                         : AH_PROTOCOL;
    ah_err_set(err, kind, "the MCP server refused %s: %s", method, words[0] ? words : "it gave no reason");
    if (err && code)
        snprintf(err->code, sizeof err->code, "%" PRId64, code);
}

bool ah_mcpwire_is_session_lost(int status, struct ah_json error)
{
    char words[200];
    words_of(error, words, sizeof words);
    if (status == 404)
        return true;
    /* With status 200 only a bare text: an error object is a tool's own word, and the tool has run. */
    return strcasestr(words, "session") && (status == 400 || error.type == AH_JSON_STRING);
}

bool ah_mcpwire_is_modern_code(struct ah_json error)
{
    int64_t code = code_of(error);
    return code <= -32020 && code >= -32022;
}

bool ah_mcpwire_takes_modern(struct ah_json error)
{
    if (code_of(error) != -32022)
        return false;
    struct ah_json_iter it = ah_json_iter(ah_json_get(ah_json_get(error, "data"), "supported"));
    while (ah_json_next(&it))
        if (ah_json_is(it.value, AH_MCP_MODERN_VERSION))
            return true;
    return false;
}

/* --- headers --------------------------------------------------------------------------------------------- */

int ah_mcpwire_put_header(struct ah_buf *to, const char *value, size_t n)
{
    bool plain =
        n == 0 || (value[0] != ' ' && value[0] != '\t' && value[n - 1] != ' ' && value[n - 1] != '\t');
    for (size_t i = 0; i < n; i++)
        plain = plain && value[i] >= ' ' && value[i] < 0x7F;
    if (n >= 4 && strncmp(value, "=?", 2) == 0 && strncmp(value + n - 2, "?=", 2) == 0)
        plain = false; /* looks like the sentinel itself */
    if (plain)
        return ah_buf_add(to, value, n);
    ah_buf_adds(to, "=?base64?");
    size_t room = (n + 2) / 3 * 4 + 1;
    char *out = ah_buf_reserve(to, room);
    int coded = out ? ah_hash_base64_encode(value, n, out, room) : -1;
    if (coded < 0)
        return -1;
    to->n += (size_t)coded;
    return ah_buf_adds(to, "?=");
}

struct headers {
    char names[HEADERS_MAX][64];
    size_t count;
    int (*told)(void *arg, const char *name, const char *value);
    void *arg;
    struct ah_error *err;
};

static int refuse(struct headers *h, const char *why)
{
    return ah_err_set(h->err, AH_INVALID, "x-mcp-header: %s", why);
}

static bool is_token(const char *s)
{
    for (; *s; s++)
        if (*s <= ' ' || *s >= 0x7F || strchr("\"(),/:;<=>?@[\\]{}", *s))
            return false;
    return true;
}

static int note_header(struct headers *h, struct ah_json schema, struct ah_json wanted, struct ah_json value)
{
    struct ah_json type = ah_json_get(schema, "type");
    char name[64];
    if (wanted.type != AH_JSON_STRING || wanted.n - 2 >= sizeof name)
        return refuse(h, "the name is no short text");
    ah_json_copy(wanted, name, sizeof name);
    if (!name[0] || !is_token(name))
        return refuse(h, "the name is no header token");
    if (!ah_json_is(type, "string") && !ah_json_is(type, "integer") && !ah_json_is(type, "boolean"))
        return refuse(h, "only string, integer and boolean can be sent");
    for (size_t i = 0; i < h->count; i++)
        if (strcasecmp(h->names[i], name) == 0)
            return refuse(h, "two of one name");
    if (h->count == HEADERS_MAX)
        return refuse(h, "too many");
    memcpy(h->names[h->count++], name, sizeof name);
    if (!h->told || value.type == AH_JSON_NONE || value.type == AH_JSON_NULL)
        return 0;
    struct ah_buf text, coded;
    char full[80];
    ah_buf_init(&text, HEADER_BYTES);
    ah_buf_init(&coded, HEADER_BYTES);
    if (value.type == AH_JSON_STRING)
        ah_json_str(value, &text);
    else
        ah_buf_add(&text, value.p, value.n);
    snprintf(full, sizeof full, "Mcp-Param-%s", name);
    int rc = ah_mcpwire_put_header(&coded, ah_buf_str(&text), text.n);
    rc = rc == 0 && !text.failed && !coded.failed ? h->told(h->arg, full, ah_buf_str(&coded))
                                                  : refuse(h, "the value is too long");
    ah_buf_drop(&text);
    ah_buf_drop(&coded);
    return rc;
}

/* `plain`: reached through `properties` alone. The value of a schema that is not is never sent. */
static int walk_schema(struct headers *h, struct ah_json schema, struct ah_json value, bool plain, int depth)
{
    if (depth > SCHEMA_DEPTH)
        return refuse(h, "the schema is nested too deep");
    if (schema.type == AH_JSON_ARRAY) {
        for (struct ah_json_iter it = ah_json_iter(schema); ah_json_next(&it);)
            if (walk_schema(h, it.value, (struct ah_json){0}, false, depth + 1) != 0)
                return -1;
        return 0;
    }
    if (schema.type != AH_JSON_OBJECT)
        return 0;
    for (struct ah_json_iter it = ah_json_iter(schema); ah_json_next(&it);) {
        int rc = 0;
        if (ah_json_is(it.key, "x-mcp-header")) {
            rc = plain && depth > 0
                     ? note_header(h, schema, it.value, value)
                     : refuse(h, "only on a property that is reached through properties alone");
        } else if (ah_json_is(it.key, "properties") && it.value.type == AH_JSON_OBJECT) {
            for (struct ah_json_iter p = ah_json_iter(it.value); rc == 0 && ah_json_next(&p);) {
                char key[256];
                ah_json_copy(p.key, key, sizeof key);
                rc = walk_schema(h, p.value, ah_json_get(value, key), plain, depth + 1);
            }
        } else if (!ah_json_is(it.key, "default") && !ah_json_is(it.key, "enum") &&
                   !ah_json_is(it.key, "const") && !ah_json_is(it.key, "examples")) {
            rc = walk_schema(h, it.value, (struct ah_json){0}, false, depth + 1);
        }
        if (rc != 0)
            return -1;
    }
    return 0;
}

int ah_mcpwire_headers(struct ah_json schema, struct ah_json arguments,
                       int (*told)(void *arg, const char *name, const char *value), void *arg,
                       struct ah_error *err)
{
    struct headers h = {.told = told, .arg = arg, .err = err};
    return walk_schema(&h, schema, arguments, true, 0);
}
