/* Scalekit's wire format: arguments checked against their row, requests as bytes, refusals as errors.
 * Called by skcall.c for every request and refusal. Must never wait, send, or know a token. */
#include "skwire.h"

#include "clock.h"
#include "skrows.h"
#include "url.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_BYTES ((size_t)64 << 10) /* one decoded query, form or path value */
#define ARRAY_MAX 1000                 /* values of one repeated query key */
#define MAP_MAX 20                     /* members of metadata */
#define SAID_BYTES 400                 /* of a server's own words in a message */
#define PROXY_OFF "proxy not enabled for provider"
#define QUOTED_BODY_BYTES 200 /* of a body that is no JSON */

const struct ah_skwire_row *ah_skwire_row(const char *name)
{
    for (const struct ah_skwire_row *r = ah_skrows_all(); r->name; r++)
        if (strcmp(r->name, name) == 0)
            return r;
    return NULL;
}

/* --- whether arguments keep the limits ------------------------------------------------------------ */

struct build {
    const struct ah_skwire_row *row;
    const char *where; /* whose members are looked at, for messages */
    struct ah_buf *url, *body;
    struct ah_json_writer w;
    struct ah_buf value; /* scratch: one decoded value */
    struct ah_error *err;
};

static int complain(struct build *b, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static int complain(struct build *b, const char *name, const char *fmt, ...)
{
    char text[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return ah_err_set(b->err, AH_INVALID, "%s of %s %s", name, b->where, text);
}

static size_t count_characters(const struct ah_buf *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++)
        n += ((unsigned char)b->p[i] & 0xC0) != 0x80;
    return n;
}

/* chars: single ones, and ranges like a-z. */
static bool is_allowed(const char *chars, char c)
{
    for (const char *p = chars; *p;) {
        bool range = p[1] == '-' && p[2];
        if (range ? c >= p[0] && c <= p[2] : c == *p)
            return true;
        p += range ? 3 : 1;
    }
    return false;
}

/* Whether one of the words, which '|' separates, is the text, or (prefix) its beginning. */
static bool has_word(const char *words, const char *text, bool prefix)
{
    for (const char *p = words; *p;) {
        size_t n = strcspn(p, "|");
        if (strncmp(text, p, n) == 0 && (prefix || text[n] == '\0'))
            return true;
        p += n + (p[n] == '|');
    }
    return false;
}

static int check_length(struct build *b, const struct ah_skwire_field *f)
{
    size_t n = count_characters(&b->value);
    if (n < f->min)
        return complain(b, f->name, "must have at least %u character%s", f->min, f->min == 1 ? "" : "s");
    if (f->max && n > f->max)
        return complain(b, f->name, "must have at most %u characters, not %zu", f->max, n);
    return 0;
}

/* Decodes a string into b->value and looks at its limits; those of lengths not for elements of arrays. */
static int take_string(struct build *b, const struct ah_skwire_field *f, struct ah_json v)
{
    ah_buf_clear(&b->value);
    if (v.type != AH_JSON_STRING)
        return complain(b, f->name, "must be a string");
    if (ah_json_str(v, &b->value) != 0)
        return complain(b, f->name, "is too long");
    const char *text = ah_buf_str(&b->value);
    if (strlen(text) != b->value.n)
        return complain(b, f->name, "must not hold a NUL character");
    if (f->type != AH_SKWIRE_STRINGS && check_length(b, f) != 0)
        return -1;
    for (size_t i = 0; f->chars && i < b->value.n; i++)
        if (!is_allowed(f->chars, text[i]))
            return complain(b, f->name, "may hold only these characters: %s", f->chars);
    if (f->prefix && !has_word(f->prefix, text, true))
        return complain(b, f->name, "must begin with %s", f->prefix);
    if (f->choices && !has_word(f->choices, text, false))
        return complain(b, f->name, "must be one of %s", f->choices);
    return 0;
}

static int check_number(struct build *b, const struct ah_skwire_field *f, struct ah_json v)
{
    int64_t n;
    if (!ah_json_int(v, &n))
        return complain(b, f->name, "must be an integer");
    if (n >= (int64_t)f->min && (!f->max || n <= (int64_t)f->max))
        return 0;
    if (!f->max)
        return complain(b, f->name, "must be at least %u", f->min);
    return complain(b, f->name, "must be from %u to %u", f->min, f->max);
}

static int check_time(struct build *b, const struct ah_skwire_field *f, struct ah_json v)
{
    int64_t us;
    if (take_string(b, f, v) != 0)
        return -1;
    if (ah_clock_parse_iso(b->value.p, b->value.n, &us) != 0)
        return complain(b, f->name, "must be a time like 2026-11-22T10:00:00Z");
    return 0;
}

static bool is_empty(struct ah_json v)
{
    return v.type == AH_JSON_NONE || v.type == AH_JSON_NULL || (v.type == AH_JSON_STRING && v.n == 2) ||
           ((v.type == AH_JSON_OBJECT || v.type == AH_JSON_ARRAY) && ah_json_count(v) == 0);
}

/* An empty table of a script may read as {}; where an array belongs it is one. */
static bool is_array(struct ah_json v)
{
    return v.type == AH_JSON_ARRAY || (v.type == AH_JSON_OBJECT && is_empty(v));
}

static int check_count(struct build *b, const struct ah_skwire_field *f, struct ah_json v)
{
    size_t n = ah_json_count(v), max = f->max ? f->max : ARRAY_MAX;
    if (n < f->min)
        return complain(b, f->name, "must have at least %u element%s", f->min, f->min == 1 ? "" : "s");
    return n > max ? complain(b, f->name, "must have at most %zu elements, not %zu", max, n) : 0;
}

static int check_strings(struct build *b, const struct ah_skwire_field *f, struct ah_json v)
{
    if (v.type == AH_JSON_STRING)
        return take_string(b, f, v);
    if (!is_array(v))
        return complain(b, f->name, "must be a string or an array of strings");
    if (check_count(b, f, v) != 0)
        return -1;
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);)
        if (take_string(b, f, it.value) != 0)
            return -1;
    return 0;
}

static int check_map(struct build *b, const struct ah_skwire_field *f, struct ah_json v)
{
    static const struct ah_skwire_field key = {.name = "a name", .min = 3, .max = 25};
    static const struct ah_skwire_field value = {.name = "a value", .min = 1, .max = 256};
    const char *where = b->where;
    int r = 0;
    if (v.type != AH_JSON_OBJECT)
        return complain(b, f->name, "must be an object of strings");
    if (ah_json_count(v) > MAP_MAX)
        return complain(b, f->name, "must have at most %d members, not %zu", MAP_MAX, ah_json_count(v));
    b->where = f->name;
    for (struct ah_json_iter it = ah_json_iter(v); r == 0 && ah_json_next(&it);)
        r = take_string(b, &key, it.key) != 0 ? -1 : take_string(b, &value, it.value);
    b->where = where;
    return r;
}

static int check_members(struct build *b, const struct ah_skwire_field *fields, struct ah_json object);

static int check_object(struct build *b, const struct ah_skwire_field *f, struct ah_json v)
{
    const char *where = b->where;
    if (v.type != AH_JSON_OBJECT)
        return complain(b, f->name, "must be an object");
    b->where = f->name;
    int r = f->of ? check_members(b, f->of, v) : 0;
    b->where = where;
    if (r == 0 && f->type == AH_SKWIRE_ONE_OF && ah_json_count(v) != 1)
        r = complain(b, f->name, "must have exactly one member");
    return r;
}

static int check_objects(struct build *b, const struct ah_skwire_field *f, struct ah_json v)
{
    if (!is_array(v))
        return complain(b, f->name, "must be an array of objects");
    if (check_count(b, f, v) != 0)
        return -1;
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);)
        if (check_object(b, f, it.value) != 0)
            return -1;
    return 0;
}

/* Whether the value has the type and the limits of its field. */
static int check_value(struct build *b, const struct ah_skwire_field *f, struct ah_json v)
{
    switch (f->type) {
    case AH_SKWIRE_STRING:
        return take_string(b, f, v);
    case AH_SKWIRE_STRINGS:
        return check_strings(b, f, v);
    case AH_SKWIRE_INT:
    case AH_SKWIRE_SECONDS:
        return check_number(b, f, v);
    case AH_SKWIRE_BOOL:
        return v.type == AH_JSON_TRUE || v.type == AH_JSON_FALSE
                   ? 0
                   : complain(b, f->name, "must be true or false");
    case AH_SKWIRE_TIME:
        return check_time(b, f, v);
    case AH_SKWIRE_OBJECT:
    case AH_SKWIRE_ONE_OF:
        return check_object(b, f, v);
    case AH_SKWIRE_OBJECTS:
        return check_objects(b, f, v);
    case AH_SKWIRE_MAP:
        return check_map(b, f, v);
    }
    return 0;
}

static const struct ah_skwire_field *find_field(const struct ah_skwire_field *fields, struct ah_json key)
{
    for (const struct ah_skwire_field *f = fields; f->name; f++)
        if (ah_json_is(key, f->name))
            return f;
    return NULL;
}

/* A required string of spaces says nothing, either. */
static bool is_blank(const struct build *b, const struct ah_skwire_field *f)
{
    return f->type == AH_SKWIRE_STRING && ah_buf_str(&b->value)[strspn(ah_buf_str(&b->value), " ")] == '\0';
}

static int check_members(struct build *b, const struct ah_skwire_field *fields, struct ah_json object)
{
    for (struct ah_json_iter it = ah_json_iter(object); ah_json_next(&it);)
        if (!find_field(fields, it.key)) {
            char name[64];
            ah_json_copy(it.key, name, sizeof name);
            return ah_err_set(b->err, AH_INVALID, "%s takes no field '%s'", b->where, name);
        }
    for (const struct ah_skwire_field *f = fields; f->name; f++) {
        struct ah_json v = ah_json_get(object, f->name);
        if (v.type == AH_JSON_NONE || v.type == AH_JSON_NULL) {
            if (f->required)
                return complain(b, f->name, "is missing");
        } else if (v.type == AH_JSON_STRING && is_empty(v) && !f->required) {
            continue; /* as good as absent */
        } else if (check_value(b, f, v) != 0) {
            return -1;
        } else if (f->required && is_blank(b, f)) {
            return complain(b, f->name, "must not be empty");
        }
    }
    return 0;
}

static bool has_text(struct ah_json args, const char *name)
{
    return !is_empty(ah_json_get(args, name));
}

static int check_selection(struct build *b, struct ah_json args)
{
    bool whose =
        has_text(args, "identifier") || has_text(args, "user_id") || has_text(args, "organization_id");
    if (has_text(args, "id") || (has_text(args, "connection_name") && whose))
        return 0;
    return ah_err_set(b->err, AH_INVALID,
                      "%s must know which account: give its id, or connection_name and identifier",
                      b->row->name);
}

/* --- a request as bytes ------------------------------------------------------------------------- */

static const char *key_of(const struct ah_skwire_field *f)
{
    return f->wire ? f->wire : f->name;
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
    ah_buf_clear(&b->value);
    if (v.type == AH_JSON_STRING)
        ah_json_str(v, &b->value);
    else
        ah_buf_add(&b->value, v.p, v.n);
    if (f->place == AH_SKWIRE_FORM)
        return add_form(b->body, key_of(f), &b->value);
    return ah_url_add_query(b->url, key_of(f), ah_buf_str(&b->value), b->value.n);
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
        ah_json_str(ah_json_get(args, name), &b->value);
        const char *value = ah_buf_str(&b->value);
        if (strspn(value, ".") == strlen(value)) { /* "." and ".." would lead elsewhere */
            ah_buf_drop(&path);
            return complain(b, name, "must be an id");
        }
        ah_url_encode(value, b->value.n, &path);
        p = close + 1;
    }
    int r = path.failed ? -1 : ah_url_join(base, ah_buf_str(&path), b->url);
    ah_buf_drop(&path);
    return r;
}

static void put_members(struct build *b, const struct ah_skwire_field *fields, bool all,
                        struct ah_json object);

static void put_object(struct build *b, const struct ah_skwire_field *f, struct ah_json v)
{
    if (!f->of) {
        ah_json_put(&b->w, v);
        return;
    }
    ah_json_object(&b->w);
    put_members(b, f->of, f->type == AH_SKWIRE_ONE_OF, v);
    ah_json_end_object(&b->w);
}

static void put_array(struct build *b, const struct ah_skwire_field *f, struct ah_json v)
{
    ah_json_array(&b->w);
    if (v.type == AH_JSON_STRING)
        ah_json_put(&b->w, v);
    for (struct ah_json_iter it = ah_json_iter(v); v.type != AH_JSON_STRING && ah_json_next(&it);) {
        if (f->type == AH_SKWIRE_OBJECTS)
            put_object(b, f, it.value);
        else
            ah_json_put(&b->w, it.value);
    }
    ah_json_end_array(&b->w);
}

static void put_value(struct build *b, const struct ah_skwire_field *f, struct ah_json v)
{
    char text[32];
    switch (f->type) {
    case AH_SKWIRE_STRINGS:
    case AH_SKWIRE_OBJECTS:
        put_array(b, f, v);
        break;
    case AH_SKWIRE_OBJECT:
    case AH_SKWIRE_ONE_OF:
        put_object(b, f, v);
        break;
    case AH_SKWIRE_SECONDS:
        snprintf(text, sizeof text, "%.*ss", (int)v.n, v.p);
        ah_json_put_str(&b->w, text);
        break;
    default:
        ah_json_put(&b->w, v);
    }
}

/* all: also empty ones. */
static void put_members(struct build *b, const struct ah_skwire_field *fields, bool all,
                        struct ah_json object)
{
    for (const struct ah_skwire_field *f = fields; f->name; f++) {
        struct ah_json v = ah_json_get(object, f->name);
        bool absent = v.type == AH_JSON_NONE || v.type == AH_JSON_NULL;
        if (absent || (!all && !f->required && is_empty(v)))
            continue;
        ah_json_key(&b->w, key_of(f));
        put_value(b, f, v);
    }
}

static bool has_place(const struct ah_skwire_row *row, enum ah_skwire_place place)
{
    for (const struct ah_skwire_field *f = row->fields; f->name; f++)
        if (f->place == place)
            return true;
    return false;
}

static bool has_json(const struct ah_skwire_row *row)
{
    return row->empty_body || row->inner || has_place(row, AH_SKWIRE_BODY) || has_place(row, AH_SKWIRE_WHOLE);
}

/* The arguments of one place, as members of the object that is open in b->w. */
static void put_place(struct build *b, enum ah_skwire_place place, struct ah_json args)
{
    for (const struct ah_skwire_field *f = b->row->fields; f->name; f++) {
        struct ah_json v = ah_json_get(args, f->name);
        if (f->place != place || (is_empty(v) && !f->required))
            continue;
        ah_json_key(&b->w, key_of(f));
        put_value(b, f, v);
    }
}

static void put_body(struct build *b, struct ah_json args)
{
    ah_json_begin(&b->w, b->body, NULL);
    for (const struct ah_skwire_field *f = b->row->fields; f->name; f++)
        if (f->place == AH_SKWIRE_WHOLE) {
            put_value(b, f, ah_json_get(args, f->name));
            return;
        }
    ah_json_object(&b->w);
    put_place(b, AH_SKWIRE_BODY, args);
    if (b->row->inner) {
        ah_json_key(&b->w, b->row->inner);
        ah_json_object(&b->w);
        put_place(b, AH_SKWIRE_INNER, args);
        ah_json_end_object(&b->w);
    }
    ah_json_end_object(&b->w);
}

static int add_fields(struct build *b, struct ah_json args)
{
    for (const struct ah_skwire_field *f = b->row->fields; f->name; f++) {
        struct ah_json v = ah_json_get(args, f->name);
        bool pair = f->place == AH_SKWIRE_QUERY || f->place == AH_SKWIRE_FORM;
        if (pair && !is_empty(v) && add_query(b, f, v) != 0)
            return -1;
    }
    return 0;
}

static int build_request(struct build *b, const char *base, struct ah_json args)
{
    if (args.type != AH_JSON_OBJECT)
        return ah_err_set(b->err, AH_INVALID, "the arguments of %s must be an object", b->row->name);
    if (check_members(b, b->row->fields, args) != 0 || (b->row->selects && check_selection(b, args) != 0) ||
        add_path(b, base, args) != 0)
        return -1;
    if (has_json(b->row))
        put_body(b, args);
    return add_fields(b, args);
}

int ah_skwire_build(const struct ah_skwire_row *row, const char *base, struct ah_json args,
                    struct ah_buf *url, struct ah_buf *body, struct ah_error *err)
{
    struct ah_error mine = {0};
    struct build b = {.row = row, .where = row->name, .url = url, .body = body, .err = &mine};
    ah_buf_init(&b.value, VALUE_BYTES);
    int r = build_request(&b, base, args);
    if (r != 0 && mine.kind == AH_NONE) /* only a full buffer or no memory fails without a word */
        ah_err_set(&mine, AH_LIMIT, "the request of %s is too large", row->name);
    if (r == 0 && (url->failed || body->failed))
        r = ah_err_set(&mine, AH_LIMIT, "the request of %s is too large", row->name);
    if (b.value.p)
        explicit_bzero(b.value.p, b.value.n);
    ah_buf_drop(&b.value);
    if (r != 0)
        ah_err_move(err, &mine);
    return r;
}

const char *ah_skwire_content_type(const struct ah_skwire_row *row)
{
    if (has_json(row))
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
    if (!r->said[0]) /* of most connected services */
        ah_json_copy(ah_json_path(r->root, "error", "message", NULL), r->said, sizeof r->said);
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

/* --- what comes through the proxy ------------------------------------------------------------------ */

/* Scalekit's own refusal of a token: exactly detail and code. */
static bool is_proxy_unauthorized(int status, struct ah_json root)
{
    return status == 401 && ah_json_count(root) == 2 &&
           ah_json_is(ah_json_get(root, "code"), "UNAUTHORIZED") &&
           ah_json_get(root, "detail").type == AH_JSON_STRING;
}

static bool is_from_gateway(struct ah_json root)
{
    char type[128];
    ah_json_copy(ah_json_get(find_info(root), "@type"), type, sizeof type);
    return strstr(type, "/scalekit.") != NULL;
}

static void set_upstream_error(bool unsafe, int status, const char *said, struct ah_error *err)
{
    bool unsure = unsafe && (status >= 500 || status == 408) && status != 501;
    const char *next = status == 401 ? "it no longer accepts this account: open a new authorization link"
                       : status == 403
                           ? "a scope may be missing: change the connection's scopes, then open a "
                             "new authorization link"
                       : status == 429 ? "it limits the rate: wait, then try again"
                       : unsure        ? "it may have been done all the same, so look before you ask again"
                       : status >= 500 ? "try again later"
                                       : "correct the request";
    set_message(err, unsure ? AH_OUTCOME_UNKNOWN : AH_TOOL_ERROR,
                "the connected service answered %d%s%s%s; %s", status, said[0] ? " (" : "", said,
                said[0] ? ")" : "", next);
    err->retryable = status == 429 || (status >= 502 && status <= 504 && !unsafe);
}

void ah_skwire_proxy_refusal(const struct ah_skwire_row *row, bool unsafe, int status, const char *body,
                             size_t n, struct ah_error *err)
{
    struct refusal r = {0};
    if (ah_json_check(body, n, 0, &r.root, NULL) != 0)
        r.root = (struct ah_json){0};
    if (is_proxy_unauthorized(status, r.root) || is_from_gateway(r.root)) {
        ah_skwire_refusal(row, status, body, n, err);
        return;
    }
    err->status = status;
    err->code[0] = '\0';
    ah_err_take_detail(err, NULL);
    find_said(&r, body, n);
    if (memmem(body, n, PROXY_OFF, sizeof PROXY_OFF - 1)) {
        set_message(err, AH_CONFIG,
                    "Scalekit's proxy is off for this provider; have it enabled for your environment, or use "
                    "execute_tool");
        err->retryable = false;
    } else {
        set_upstream_error(unsafe, status, r.said, err);
    }
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
