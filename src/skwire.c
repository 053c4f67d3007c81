/* Scalekit's wire format: the table of calls, and the two directions of bytes that follow from it.
 * Called by scalekit.c for every request and refusal. Must never wait, send, or know a token. */
#include "skwire.h"

#include "url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_BYTES ((size_t)64 << 10) /* one decoded query, form or path value */
#define ARRAY_MAX 1000                 /* values of one repeated query key */
#define SAID_BYTES 400                 /* of a server's own words in a message */
#define QUOTED_BODY_BYTES 200          /* of a body that is no JSON */

/* --- the table ---------------------------------------------------------------------------------- */

/* Limits are those of the service's own descriptors. */
#define F_CONNECTION(need)                                                                                   \
    {                                                                                                        \
        "connection_name", "connector", AH_SKWIRE_QUERY, AH_SKWIRE_NAME, need, 0, 400, true                  \
    }
#define F_IDENTIFIER(need)                                                                                   \
    {                                                                                                        \
        "identifier", NULL, AH_SKWIRE_QUERY, AH_SKWIRE_STRING, need, 0, 100, true                            \
    }
#define F_ORG                                                                                                \
    {                                                                                                        \
        "organization_id", NULL, AH_SKWIRE_QUERY, AH_SKWIRE_STRING, false, 0, 32, true                       \
    }
#define F_USER                                                                                               \
    {                                                                                                        \
        "user_id", NULL, AH_SKWIRE_QUERY, AH_SKWIRE_STRING, false, 0, 32, true                               \
    }
#define F_ACCOUNT                                                                                            \
    {                                                                                                        \
        "id", NULL, AH_SKWIRE_QUERY, AH_SKWIRE_STRING, false, 0, 32, true                                    \
    }
#define B_CONNECTION                                                                                         \
    {                                                                                                        \
        "connection_name", "connector", AH_SKWIRE_BODY, AH_SKWIRE_NAME, false, 0, 400, true                  \
    }
#define B_IDENTIFIER                                                                                         \
    {                                                                                                        \
        "identifier", NULL, AH_SKWIRE_BODY, AH_SKWIRE_STRING, false, 0, 100, true                            \
    }
#define B_ORG                                                                                                \
    {                                                                                                        \
        "organization_id", NULL, AH_SKWIRE_BODY, AH_SKWIRE_STRING, false, 0, 32, true                        \
    }
#define B_USER                                                                                               \
    {                                                                                                        \
        "user_id", NULL, AH_SKWIRE_BODY, AH_SKWIRE_STRING, false, 0, 32, true                                \
    }
#define B_ACCOUNT                                                                                            \
    {                                                                                                        \
        "id", NULL, AH_SKWIRE_BODY, AH_SKWIRE_STRING, false, 0, 32, true                                     \
    }
#define PAGE_SIZE(max)                                                                                       \
    {                                                                                                        \
        "page_size", NULL, AH_SKWIRE_QUERY, AH_SKWIRE_INT, false, 0, max, false                              \
    }
#define PAGE_TOKEN                                                                                           \
    {                                                                                                        \
        "page_token", NULL, AH_SKWIRE_QUERY, AH_SKWIRE_STRING, false, 0, 0, true                             \
    }
#define END                                                                                                  \
    {                                                                                                        \
        NULL, NULL, AH_SKWIRE_QUERY, AH_SKWIRE_ANY, false, 0, 0, false                                       \
    }

static const struct ah_skwire_field token_fields[] = {
    {"grant_type", NULL, AH_SKWIRE_FORM, AH_SKWIRE_STRING, true, 1, 0, false},
    {"client_id", NULL, AH_SKWIRE_FORM, AH_SKWIRE_STRING, true, 1, 0, false},
    {"client_secret", NULL, AH_SKWIRE_FORM, AH_SKWIRE_STRING, true, 1, 0, false},
    END,
};
static const struct ah_skwire_field details_fields[] = {
    F_CONNECTION(false), F_IDENTIFIER(false), F_ORG, F_USER, F_ACCOUNT, END,
};
static const struct ah_skwire_field create_fields[] = {
    B_CONNECTION,
    B_IDENTIFIER,
    B_ORG,
    B_USER,
    {"connected_account", NULL, AH_SKWIRE_BODY, AH_SKWIRE_OBJECT, true, 0, 0, false},
    END,
};
static const struct ah_skwire_field list_fields[] = {
    F_ORG,
    F_USER,
    F_CONNECTION(false),
    F_IDENTIFIER(false),
    {"provider", NULL, AH_SKWIRE_QUERY, AH_SKWIRE_STRING, false, 0, 50, true},
    {"query", NULL, AH_SKWIRE_QUERY, AH_SKWIRE_STRING, false, 0, 100, true},
    {"connection_names", NULL, AH_SKWIRE_QUERY, AH_SKWIRE_STRINGS, false, 0, 20, true},
    PAGE_SIZE(99),
    PAGE_TOKEN,
    END,
};
static const struct ah_skwire_field link_fields[] = {
    B_CONNECTION,
    B_IDENTIFIER,
    B_ACCOUNT,
    B_ORG,
    B_USER,
    {"state", NULL, AH_SKWIRE_BODY, AH_SKWIRE_STRING, false, 0, 512, true},
    {"user_verify_url", NULL, AH_SKWIRE_BODY, AH_SKWIRE_STRING, false, 0, 2048, true},
    END,
};
static const struct ah_skwire_field scoped_fields[] = {
    F_IDENTIFIER(true),
    {"providers", "filter.providers", AH_SKWIRE_QUERY, AH_SKWIRE_STRINGS, false, 0, ARRAY_MAX, true},
    {"tool_names", "filter.tool_names", AH_SKWIRE_QUERY, AH_SKWIRE_STRINGS, false, 0, ARRAY_MAX, true},
    {"connection_names", "filter.connection_names", AH_SKWIRE_QUERY, AH_SKWIRE_STRINGS, false, 0, ARRAY_MAX,
     true},
    PAGE_SIZE(0),
    PAGE_TOKEN,
    END,
};
static const struct ah_skwire_field available_fields[] = {F_IDENTIFIER(true), PAGE_SIZE(0), PAGE_TOKEN, END};
static const struct ah_skwire_field connections_fields[] = {
    {"provider", NULL, AH_SKWIRE_QUERY, AH_SKWIRE_STRING, false, 1, 50, true},
    PAGE_SIZE(30),
    PAGE_TOKEN,
    END,
};
static const struct ah_skwire_field execute_fields[] = {
    {"tool_name", NULL, AH_SKWIRE_BODY, AH_SKWIRE_STRING, true, 1, 0, false},
    {"tool_input", "params", AH_SKWIRE_BODY, AH_SKWIRE_OBJECT, false, 0, 0, true},
    {"connected_account_id", NULL, AH_SKWIRE_BODY, AH_SKWIRE_STRING, false, 0, 100, true},
    {"identifier", NULL, AH_SKWIRE_BODY, AH_SKWIRE_STRING, false, 0, 0, true},
    B_CONNECTION,
    {"organization_id", NULL, AH_SKWIRE_BODY, AH_SKWIRE_STRING, false, 0, 100, true},
    {"user_id", NULL, AH_SKWIRE_BODY, AH_SKWIRE_STRING, false, 0, 100, true},
    {"agent_run_id", NULL, AH_SKWIRE_BODY, AH_SKWIRE_STRING, false, 0, 255, true},
    END,
};

static const struct ah_skwire_row rows[] = {
    {.name = "token",
     .method = "POST",
     .path = "/oauth/token",
     .does = "get an access token",
     .resend = true,
     .anonymous = true,
     .effect = AH_SKWIRE_READS,
     .fields = token_fields},
    {.name = "get_connected_account_details",
     .method = "GET",
     .path = "/api/v1/connected_accounts/details",
     .does = "read the connected account",
     .resend = true,
     .effect = AH_SKWIRE_READS,
     .fields = details_fields},
    {.name = "create_connected_account",
     .method = "POST",
     .path = "/api/v1/connected_accounts",
     .does = "create the connected account",
     .effect = AH_SKWIRE_IDEMPOTENT, /* a second one is refused as a duplicate */
     .fields = create_fields},
    {.name = "list_connected_accounts",
     .method = "GET",
     .path = "/api/v1/connected_accounts",
     .does = "list the connected accounts",
     .items = "connected_accounts",
     .resend = true,
     .effect = AH_SKWIRE_READS,
     .fields = list_fields},
    {.name = "get_authorization_link",
     .method = "POST",
     .path = "/api/v1/connected_accounts/magic_link",
     .does = "make an authorization link",
     .resend = true,
     .effect = AH_SKWIRE_IDEMPOTENT,
     .fields = link_fields},
    {.name = "list_scoped_tools",
     .method = "GET",
     .path = "/api/v1/tools/scoped",
     .does = "list the tools",
     .items = "tools",
     .resend = true,
     .effect = AH_SKWIRE_READS,
     .fields = scoped_fields},
    {.name = "list_available_tools",
     .method = "GET",
     .path = "/api/v1/tools/available",
     .does = "list the available tools",
     .items = "tools",
     .resend = true,
     .effect = AH_SKWIRE_READS,
     .fields = available_fields},
    {.name = "list_connections",
     .method = "GET",
     .path = "/api/v1/connections/app",
     .does = "list the connections",
     .items = "connections",
     .resend = true,
     .effect = AH_SKWIRE_READS,
     .fields = connections_fields},
    {.name = "execute_tool",
     .method = "POST",
     .path = "/api/v1/execute_tool",
     .does = "run the tool",
     .effect = AH_SKWIRE_UNSAFE,
     .total_ms = AH_SKWIRE_TOOL_MS,
     .fields = execute_fields},
    {.name = NULL},
};

const struct ah_skwire_row *ah_skwire_rows(void)
{
    return rows;
}

const struct ah_skwire_row *ah_skwire_row(const char *name)
{
    for (const struct ah_skwire_row *r = rows; r->name; r++)
        if (strcmp(r->name, name) == 0)
            return r;
    return NULL;
}

/* --- a request as bytes ------------------------------------------------------------------------- */

struct build {
    const struct ah_skwire_row *row;
    struct ah_buf *url, *body;
    struct ah_json_writer w;
    struct ah_buf value; /* scratch: one decoded value */
    struct ah_error *err;
};

static size_t count_characters(const struct ah_buf *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++)
        n += ((unsigned char)b->p[i] & 0xC0) != 0x80;
    return n;
}

static bool is_name_text(const struct ah_buf *b)
{
    for (size_t i = 0; i < b->n; i++) {
        char c = b->p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                  c == ':' || c == ' ' || c == '-';
        if (!ok)
            return false;
    }
    return true;
}

static int complain(struct build *b, const struct ah_skwire_field *f, const char *what)
{
    return ah_err_set(b->err, AH_INVALID, "%s of %s %s", f->name, b->row->name, what);
}

/* Decodes a string into b->value and looks at its limits. */
static int take_string(struct build *b, const struct ah_skwire_field *f, struct ah_json v)
{
    char text[96];
    ah_buf_clear(&b->value);
    if (v.type != AH_JSON_STRING)
        return complain(b, f, "must be a string");
    if (ah_json_str(v, &b->value) != 0)
        return complain(b, f, "is too long");
    if (b->value.n && memchr(b->value.p, '\0', b->value.n))
        return complain(b, f, "must not hold a NUL character");
    bool array = f->type == AH_SKWIRE_STRINGS; /* its limits count elements */
    size_t n = count_characters(&b->value);
    if (!array && n < f->min) {
        snprintf(text, sizeof text, "must have at least %u character%s", f->min, f->min == 1 ? "" : "s");
        return complain(b, f, text);
    }
    if (!array && f->max && n > f->max) {
        snprintf(text, sizeof text, "must have at most %u characters, not %zu", f->max, n);
        return complain(b, f, text);
    }
    if (f->type == AH_SKWIRE_NAME && !is_name_text(&b->value))
        return complain(b, f,
                        "may hold letters, digits, '_', ':', '-' and spaces only: give the connection's "
                        "name as the dashboard shows it");
    return 0;
}

static int check_number(struct build *b, const struct ah_skwire_field *f, struct ah_json v)
{
    int64_t n;
    char text[80];
    if (!ah_json_int(v, &n))
        return complain(b, f, "must be an integer");
    if (n < (int64_t)f->min || (f->max && n > (int64_t)f->max)) {
        snprintf(text, sizeof text, "must be from %u to %u", f->min, f->max);
        return complain(b, f, text);
    }
    return 0;
}

/* Whether the value has the type and the limits of its field. Strings are looked at when written. */
static int check_value(struct build *b, const struct ah_skwire_field *f, struct ah_json v)
{
    switch (f->type) {
    case AH_SKWIRE_STRING:
    case AH_SKWIRE_NAME:
        return take_string(b, f, v);
    case AH_SKWIRE_INT:
        return check_number(b, f, v);
    case AH_SKWIRE_BOOL:
        return v.type == AH_JSON_TRUE || v.type == AH_JSON_FALSE ? 0
                                                                 : complain(b, f, "must be true or false");
    case AH_SKWIRE_OBJECT:
        return v.type == AH_JSON_OBJECT ? 0 : complain(b, f, "must be an object");
    case AH_SKWIRE_STRINGS:
        if (v.type != AH_JSON_STRING && v.type != AH_JSON_ARRAY)
            return complain(b, f, "must be a string or an array of strings");
        if (v.type == AH_JSON_ARRAY && f->max && ah_json_count(v) > f->max)
            return complain(b, f, "has too many elements");
        return 0;
    case AH_SKWIRE_ANY:
        return 0;
    }
    return 0;
}

static bool is_empty(struct ah_json v)
{
    return (v.type == AH_JSON_STRING && v.n == 2) ||
           ((v.type == AH_JSON_OBJECT || v.type == AH_JSON_ARRAY) && ah_json_count(v) == 0);
}

static int add_form(struct ah_buf *to, const char *key, const struct ah_buf *value)
{
    if (to->n)
        ah_buf_addc(to, '&');
    ah_url_encode(key, strlen(key), to);
    ah_buf_addc(to, '=');
    return ah_url_encode(ah_buf_str(value), value->n, to);
}

/* One scalar to the query or the form; numbers and booleans go as their own text. */
static int add_scalar(struct build *b, const struct ah_skwire_field *f, struct ah_json v)
{
    const char *key = f->wire ? f->wire : f->name;
    if (v.type == AH_JSON_STRING || f->type == AH_SKWIRE_STRINGS) {
        if (take_string(b, f, v) != 0)
            return -1;
    } else {
        ah_buf_clear(&b->value);
        ah_buf_add(&b->value, v.p, v.n);
    }
    if (f->place == AH_SKWIRE_FORM)
        return add_form(b->body, key, &b->value);
    return ah_url_add_query(b->url, key, ah_buf_str(&b->value), b->value.n);
}

static int add_query(struct build *b, const struct ah_skwire_field *f, struct ah_json v)
{
    if (v.type != AH_JSON_ARRAY)
        return add_scalar(b, f, v);
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);)
        if (add_scalar(b, f, it.value) != 0)
            return -1;
    return 0;
}

static const struct ah_skwire_field *find_field(const struct ah_skwire_row *row, struct ah_json key)
{
    for (const struct ah_skwire_field *f = row->fields; f->name; f++)
        if (ah_json_is(key, f->name))
            return f;
    return NULL;
}

static int check_args(struct build *b, struct ah_json args)
{
    for (struct ah_json_iter it = ah_json_iter(args); ah_json_next(&it);)
        if (!find_field(b->row, it.key)) {
            char name[64];
            ah_json_copy(it.key, name, sizeof name);
            return ah_err_set(b->err, AH_INVALID, "%s takes no field '%s'", b->row->name, name);
        }
    for (const struct ah_skwire_field *f = b->row->fields; f->name; f++) {
        struct ah_json v = ah_json_get(args, f->name);
        if (v.type == AH_JSON_NONE || v.type == AH_JSON_NULL) {
            if (f->required)
                return complain(b, f, "is missing");
        } else if (check_value(b, f, v) != 0) {
            return -1;
        } else if (f->required && f->type == AH_SKWIRE_STRING && is_empty(v)) {
            return complain(b, f, "must not be empty");
        }
    }
    return 0;
}

/* The path with each {name} replaced; "/" inside a value is encoded, so that it stays one segment. */
static int add_path(struct build *b, const char *base, struct ah_json args)
{
    struct ah_buf path;
    ah_buf_init(&path, AH_SKWIRE_URL_BYTES);
    for (const char *p = b->row->path; *p;) {
        const char *open = strchr(p, '{'), *close = open ? strchr(open, '}') : NULL;
        if (!close) {
            ah_buf_adds(&path, p);
            break;
        }
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)(close - open - 1), open + 1);
        ah_buf_add(&path, p, (size_t)(open - p));
        ah_buf_clear(&b->value);
        if (ah_json_str(ah_json_get(args, name), &b->value) != 0 || b->value.n == 0) {
            ah_buf_drop(&path);
            return ah_err_set(b->err, AH_INVALID, "%s of %s is missing", name, b->row->name);
        }
        ah_url_encode(b->value.p, b->value.n, &path);
        p = close + 1;
    }
    int r = path.failed ? -1 : ah_url_join(base, ah_buf_str(&path), b->url);
    ah_buf_drop(&path);
    return r;
}

static bool has_place(const struct ah_skwire_row *row, enum ah_skwire_place place)
{
    for (const struct ah_skwire_field *f = row->fields; f->name; f++)
        if (f->place == place)
            return true;
    return false;
}

static int add_fields(struct build *b, struct ah_json args)
{
    for (const struct ah_skwire_field *f = b->row->fields; f->name; f++) {
        struct ah_json v = ah_json_get(args, f->name);
        if (v.type == AH_JSON_NONE || v.type == AH_JSON_NULL || (f->skip_empty && is_empty(v)))
            continue;
        if (f->place == AH_SKWIRE_BODY) {
            ah_json_key(&b->w, f->wire ? f->wire : f->name);
            ah_json_put(&b->w, v);
        } else if (f->place != AH_SKWIRE_PATH && add_query(b, f, v) != 0) {
            return -1;
        }
    }
    return 0;
}

static int build_request(struct build *b, const char *base, struct ah_json args)
{
    if (args.type != AH_JSON_OBJECT)
        return ah_err_set(b->err, AH_INVALID, "the arguments of %s must be an object", b->row->name);
    if (check_args(b, args) != 0 || add_path(b, base, args) != 0)
        return -1;
    bool json = has_place(b->row, AH_SKWIRE_BODY);
    if (json) {
        ah_json_begin(&b->w, b->body, NULL);
        ah_json_object(&b->w);
    }
    if (add_fields(b, args) != 0)
        return -1;
    if (json)
        ah_json_end_object(&b->w);
    return 0;
}

int ah_skwire_build(const struct ah_skwire_row *row, const char *base, struct ah_json args,
                    struct ah_buf *url, struct ah_buf *body, struct ah_error *err)
{
    struct ah_error mine = {0};
    struct build b = {.row = row, .url = url, .body = body, .err = &mine};
    ah_buf_init(&b.value, VALUE_BYTES);
    int r = build_request(&b, base, args);
    if (r != 0 && mine.kind == AH_NONE) /* only a full buffer or no memory fails without a word */
        ah_err_set(&mine, AH_LIMIT, "the request of %s is too large", row->name);
    if (r == 0 && (url->failed || body->failed))
        r = ah_err_set(&mine, AH_LIMIT, "the request of %s is too large", row->name);
    ah_buf_drop(&b.value);
    if (r != 0)
        ah_err_move(err, &mine);
    return r;
}

const char *ah_skwire_content_type(const struct ah_skwire_row *row)
{
    if (has_place(row, AH_SKWIRE_BODY))
        return "application/json";
    return has_place(row, AH_SKWIRE_FORM) ? "application/x-www-form-urlencoded" : NULL;
}

/* --- a refusal as an error ---------------------------------------------------------------------- */

struct refusal {
    struct ah_json root, info, tool; /* info: details[] of type ErrorInfo; tool: its tool_error_info */
    char code[64];
    char said[SAID_BYTES];
};

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcmp(s + n - m, tail) == 0;
}

static struct ah_json find_info(struct ah_json root)
{
    struct ah_json details = ah_json_get(root, "details");
    for (struct ah_json_iter it = ah_json_iter(details); ah_json_next(&it);) {
        char type[128];
        ah_json_copy(ah_json_get(it.value, "@type"), type, sizeof type);
        if (ends_with(type, "ErrorInfo"))
            return it.value;
    }
    return (struct ah_json){0};
}

/* A readable piece of a body that is no JSON: no control characters, no tags, one line. */
static void quote_body(const char *p, size_t n, char *out, size_t size)
{
    size_t at = 0;
    bool tag = false;
    for (size_t i = 0; i < n && at + 1 < size && at < QUOTED_BODY_BYTES; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c == '<')
            tag = true;
        bool blank = tag || c <= ' ' || c == 0x7F;
        if (c == '>')
            tag = false;
        if (!blank)
            out[at++] = (char)c;
        else if (at && out[at - 1] != ' ')
            out[at++] = ' ';
    }
    while (at && (out[at - 1] == ' ' || ((unsigned char)out[at - 1] & 0x80)))
        at--; /* also a character that was cut */
    out[at] = '\0';
}

/* The server's own words: message, error_description, detail, error, or the start of the body. */
static void find_said(struct refusal *r, const char *body, size_t n)
{
    static const char *const keys[] = {"message", "error_description", "detail", "error"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !r->said[0]; i++)
        ah_json_copy(ah_json_get(r->root, keys[i]), r->said, sizeof r->said);
    if (!r->said[0] && r->root.type != AH_JSON_OBJECT)
        quote_body(body, n, r->said, sizeof r->said);
    size_t end = strlen(r->said);
    while (end && (r->said[end - 1] == '.' || r->said[end - 1] == ' '))
        r->said[--end] = '\0';
}

/* error_code of ErrorInfo; else a `code` that is a string (proxy); for the token call, `error`. */
static void find_code(const struct ah_skwire_row *row, struct refusal *r)
{
    ah_json_copy(ah_json_get(r->info, "error_code"), r->code, sizeof r->code);
    if (!r->code[0])
        ah_json_copy(ah_json_get(r->root, "code"), r->code, sizeof r->code);
    if (!r->code[0] && row->anonymous)
        ah_json_copy(ah_json_get(r->root, "error"), r->code, sizeof r->code);
    if (strchr(r->code, ' '))
        r->code[0] = '\0';
}

/* "field: description" of every violated limit, behind the message. */
static void add_violations(struct refusal *r)
{
    struct ah_json list = ah_json_path(r->info, "validation_error_info", "field_violations", NULL);
    for (struct ah_json_iter it = ah_json_iter(list); ah_json_next(&it);) {
        char field[80], text[160];
        ah_json_copy(ah_json_get(it.value, "field"), field, sizeof field);
        ah_json_copy(ah_json_get(it.value, "description"), text, sizeof text);
        size_t n = strlen(r->said);
        snprintf(r->said + n, sizeof r->said - n, "%s%s: %s", n ? "; " : "", field, text);
    }
}

static enum ah_kind kind_of_status(const struct ah_skwire_row *row, int status)
{
    bool unsure = status >= 500 || status == 408 || status == 499;
    if (row->effect == AH_SKWIRE_UNSAFE && unsure && status != 501)
        return AH_OUTCOME_UNKNOWN;
    switch (status) {
    case 400:
    case 409:
    case 422:
        return AH_INVALID;
    case 401:
    case 403:
        return AH_AUTH;
    case 404:
        return AH_NOT_FOUND;
    case 408:
    case 504:
        return AH_TIMEOUT;
    case 429:
        return AH_RATE_LIMIT;
    default:
        return AH_HTTP;
    }
}

static const char *advise(const struct ah_skwire_row *row, enum ah_kind kind, int status)
{
    switch (kind) {
    case AH_AUTH:
        return status == 401 || row->anonymous
                   ? "check SCALEKIT_CLIENT_ID, SCALEKIT_CLIENT_SECRET and SCALEKIT_ENVIRONMENT_URL"
                   : "these API credentials lack the right to do this: look at their permissions in the "
                     "dashboard";
    case AH_NOT_FOUND:
        return row->anonymous ? "check SCALEKIT_ENVIRONMENT_URL" : "check the names, they are case-sensitive";
    case AH_INVALID:
        return row->anonymous ? "check SCALEKIT_CLIENT_ID and SCALEKIT_CLIENT_SECRET" : "correct the request";
    case AH_RATE_LIMIT:
        return "wait and try again";
    case AH_OUTCOME_UNKNOWN:
        return "it may have run all the same, so look before you run it again";
    default:
        return "try again later";
    }
}

/* kind and sentence, keeping what the transport and the body said beside them. */
static void set_message(struct ah_error *err, enum ah_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void set_message(struct ah_error *err, enum ah_kind kind, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    err->kind = kind;
}

static void put_copy(struct ah_json_writer *w, const char *key, struct ah_json v)
{
    ah_json_key(w, key);
    if (v.type == AH_JSON_STRING)
        ah_json_put(w, v);
    else
        ah_json_put_str(w, "");
}

static void set_tool_error(struct refusal *r, int status, struct ah_error *err)
{
    char said[SAID_BYTES], code[64];
    ah_json_copy(ah_json_get(r->tool, "tool_error_message"), said, sizeof said);
    ah_json_copy(ah_json_get(r->tool, "tool_error_code"), code, sizeof code);
    if (!said[0])
        snprintf(said, sizeof said, "%s", r->said[0] ? r->said : "no reason given");
    const char *next = status == 401 ? "the connected service no longer accepts this account: open a new "
                                       "authorization link"
                       : status == 403
                           ? "a scope is missing: change the connection's scopes, then open a new "
                             "authorization link"
                       : status == 429 ? "the connected service limits the rate: wait, then try again"
                                       : "change the arguments or report the failure";
    set_message(err, AH_TOOL_ERROR, "the tool failed: %s%s%s%s; %s", said, code[0] ? " (" : "", code,
                code[0] ? ")" : "", next);
    err->retryable = status == 429;
    struct ah_buf b;
    struct ah_json_writer w;
    ah_buf_init(&b, VALUE_BYTES);
    ah_json_begin(&w, &b, NULL);
    ah_json_object(&w);
    put_copy(&w, "execution_id", ah_json_get(r->tool, "execution_id"));
    put_copy(&w, "tool_error_code", ah_json_get(r->tool, "tool_error_code"));
    ah_json_key(&w, "tool_error_message");
    ah_json_put_str(&w, said);
    ah_json_end_object(&w);
    ah_err_take_detail(err, ah_buf_take(&b, NULL));
    ah_buf_drop(&b);
}

void ah_skwire_refusal(const struct ah_skwire_row *row, int status, const char *body, size_t n,
                       struct ah_error *err)
{
    struct refusal r = {0};
    if (ah_json_check(body, n, 0, &r.root, NULL) != 0)
        r.root = (struct ah_json){0};
    r.info = find_info(r.root);
    r.tool = ah_json_get(r.info, "tool_error_info");
    find_code(row, &r);
    find_said(&r, body, n);
    add_violations(&r);
    err->status = status;
    ah_err_take_detail(err, NULL);
    snprintf(err->code, sizeof err->code, "%s", r.code);
    char id[sizeof err->request_id];
    ah_json_copy(ah_json_path(r.info, "request_info", "request_id", NULL), id, sizeof id);
    if (id[0])
        snprintf(err->request_id, sizeof err->request_id, "%s", id);
    if (strcmp(r.code, "TOOL_ERROR") == 0) {
        set_tool_error(&r, status, err);
        return;
    }
    enum ah_kind kind = kind_of_status(row, status);
    if (row->anonymous && status == 400)
        kind = AH_AUTH; /* OAuth says invalid_client and the like with 400, too */
    err->retryable = status == 429 || status == 502 || status == 503 || status == 504;
    if (kind == AH_OUTCOME_UNKNOWN)
        err->retryable = false;
    set_message(err, kind, "cannot %s: Scalekit answered %d%s%s%s; %s", row->does, status,
                r.said[0] ? " (" : "", r.said, r.said[0] ? ")" : "", advise(row, kind, status));
}

bool ah_skwire_is_token_refused(const struct ah_error *err)
{
    return err->status == 401 && err->kind == AH_AUTH &&
           (!err->code[0] || strcmp(err->code, "UNAUTHENTICATED") == 0);
}

bool ah_skwire_is_duplicate(const struct ah_error *err)
{
    return err->status == 409 || (err->status == 400 && strcmp(err->code, "RESOURCE_ALREADY_EXISTS") == 0);
}

const char *ah_skwire_known_wrong(const char *tool_name)
{
    static const char *const pairs[][2] = {
        {"gmail_send_mail", "gmail_send_message"},    {"gmail_send_email", "gmail_send_message"},
        {"gmail_fetch_emails", "gmail_fetch_mails"},  {"gmail_search_emails", "gmail_fetch_mails"},
        {"gmail_search_mails", "gmail_fetch_mails"},  {"github_create_issue", "github_issue_create"},
        {"notion_create_page", "notion_page_create"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (strcmp(pairs[i][0], tool_name) == 0)
            return pairs[i][1];
    return NULL;
}
