/* The request of a chat-completions service, made from what scripts give: tools, messages, choices.
 * Called by lua_openai.c. Pure, JSON in and JSON out; never sends. See chat_request.h. */
#include "chat_request.h"

#include "chat.h"
#include "chat_parts.h"
#include "near.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASHED_NAME_CHARS 55 /* then '_' and 8 hex digits make 64 */
#define SOURCES_COUNT 16     /* told apart in the message about too many tools */
#define OTHERS_COUNT 8       /* members of a message that go as they are */
#define LIST_CHARS 600       /* of ids or counts named in a message */

static int fail_memory(struct ah_error *err)
{
    return ah_err_set(err, AH_MEMORY, "out of memory while making the request");
}

/* --- names ---------------------------------------------------------------------------------------- */

void ah_chat_names_drop(struct ah_chat_names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        free(names->items[i].name);
        free(names->items[i].wire);
    }
    free(names->items);
    memset(names, 0, sizeof *names);
}

const struct ah_chat_name *ah_chat_names_of_wire(const struct ah_chat_names *names, const char *wire,
                                                 size_t n)
{
    for (size_t i = 0; i < names->count; i++)
        if (strlen(names->items[i].wire) == n && memcmp(names->items[i].wire, wire, n) == 0)
            return &names->items[i];
    return NULL;
}

const struct ah_chat_name *ah_chat_names_of(const struct ah_chat_names *names, const char *name, size_t n)
{
    for (size_t i = 0; i < names->count; i++)
        if (names->items[i].name_n == n && memcmp(names->items[i].name, name, n) == 0)
            return &names->items[i];
    return NULL;
}

static bool char_fits(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static bool name_fits(const char *name, size_t n)
{
    if (n == 0 || n > AH_CHAT_REQUEST_NAME_BYTES)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!char_fits(name[i]))
            return false;
    return true;
}

/* FNV-1a: enough to tell names apart, and the same in every process. */
static uint32_t hash_name(const char *name, size_t n)
{
    uint32_t h = UINT32_C(2166136261);

    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)name[i]) * UINT32_C(16777619);
    return h;
}

void ah_chat_names_fit(const char *name, size_t n, bool hashed, char out[AH_CHAT_REQUEST_NAME_BYTES + 1])
{
    bool cut = hashed || n == 0 || n > AH_CHAT_REQUEST_NAME_BYTES;
    size_t keep = cut && n > HASHED_NAME_CHARS ? HASHED_NAME_CHARS : n;

    for (size_t i = 0; i < keep; i++)
        out[i] = char_fits(name[i]) ? name[i] : '_';
    out[keep] = '\0';
    if (cut)
        snprintf(out + keep, AH_CHAT_REQUEST_NAME_BYTES + 1 - keep, "_%08x", (unsigned)hash_name(name, n));
}

static int add_name(struct ah_chat_names *names, const char *name, size_t n, const char *wire)
{
    if (names->count == names->cap) {
        size_t cap = names->cap != 0 ? names->cap * 2 : 16;
        struct ah_chat_name *more = realloc(names->items, cap * sizeof *more);

        if (more == NULL)
            return -1;
        names->items = more;
        names->cap = cap;
    }
    struct ah_chat_name *item = &names->items[names->count];

    item->name = malloc(n + 1);
    item->wire = strdup(wire);
    item->name_n = n;
    if (item->name == NULL || item->wire == NULL) {
        free(item->name);
        free(item->wire);
        return -1;
    }
    memcpy(item->name, name, n);
    item->name[n] = '\0';
    names->count++;
    return 0;
}

static int map_name(struct ah_chat_names *names, const char *name, size_t n, struct ah_error *err)
{
    char wire[AH_CHAT_REQUEST_NAME_BYTES + 1];

    ah_chat_names_fit(name, n, false, wire);
    if (ah_chat_names_of_wire(names, wire, strlen(wire)) != NULL)
        ah_chat_names_fit(name, n, true, wire);
    if (ah_chat_names_of_wire(names, wire, strlen(wire)) != NULL)
        return ah_err_set(err, AH_INVALID,
                          "the tool name '%s' cannot be told from another's after mapping; "
                          "rename one of them",
                          name);
    return add_name(names, name, n, wire) == 0 ? 0 : fail_memory(err);
}

/* The wire form of a name used in a history: bound, or as it would have been. */
static void wire_of(const struct ah_chat_names *names, const char *name, size_t n,
                    char out[AH_CHAT_REQUEST_NAME_BYTES + 1])
{
    const struct ah_chat_name *item = names != NULL ? ah_chat_names_of(names, name, n) : NULL;

    if (item != NULL)
        snprintf(out, AH_CHAT_REQUEST_NAME_BYTES + 1, "%s", item->wire);
    else
        ah_chat_names_fit(name, n, false, out);
}

static void put_wire_name(struct ah_json_writer *w, const struct ah_chat_names *names, struct ah_json name)
{
    char wire[AH_CHAT_REQUEST_NAME_BYTES + 1];
    struct ah_buf b;

    if (ah_json_is_plain(name)) {
        wire_of(names, name.p + 1, name.n - 2, wire);
    } else {
        ah_buf_init(&b, AH_CHAT_NAME_BYTES);
        ah_json_str(name, &b);
        wire_of(names, ah_buf_str(&b), b.n, wire);
        ah_buf_drop(&b);
    }
    ah_json_put_str(w, wire);
}

/* --- schemas -------------------------------------------------------------------------------------- */

static void put_schema(struct ah_json_writer *w, struct ah_json v, bool top);

static bool key_is_any(struct ah_json key, const char *const *list)
{
    for (; *list != NULL; list++)
        if (ah_json_is(key, *list))
            return true;
    return false;
}

static bool is_empty(struct ah_json v)
{
    return (v.type == AH_JSON_ARRAY || v.type == AH_JSON_OBJECT) && ah_json_count(v) == 0;
}

static void put_raw_key(struct ah_json_writer *w, struct ah_json key)
{
    struct ah_buf b;

    if (ah_json_is_plain(key)) {
        ah_json_keyn(w, key.p + 1, key.n - 2);
        return;
    }
    ah_buf_init(&b, AH_CHAT_TEXT_BYTES);
    ah_json_str(key, &b);
    ah_json_keyn(w, ah_buf_str(&b), b.n);
    ah_buf_drop(&b);
}

/* Whether there may be a {} or [] anywhere inside: what has none goes as it came. */
static bool may_hold_empty(struct ah_json v)
{
    const char *end = v.p + v.n;

    if (v.type != AH_JSON_ARRAY && v.type != AH_JSON_OBJECT)
        return false;
    for (const char *p = v.p + 1, *q; p < end; p++) {
        if (*p != '}' && *p != ']')
            continue;
        for (q = p - 1; q > v.p && strchr(" \t\r\n", *q) != NULL;)
            q--;
        if (*q == '{' || *q == '[')
            return true;
    }
    return false;
}

static void put_properties(struct ah_json_writer *w, struct ah_json v)
{
    ah_json_object(w);
    for (struct ah_json_iter it = ah_json_iter(v); v.type == AH_JSON_OBJECT && ah_json_next(&it);) {
        put_raw_key(w, it.key);
        put_schema(w, it.value, false);
    }
    ah_json_end_object(w);
}

static void put_member(struct ah_json_writer *w, struct ah_json key, struct ah_json value)
{
    static const char *const lists[] = {"required", "enum", "anyOf", "oneOf", "allOf", "examples", NULL};
    static const char *const maps[] = {"properties", "$defs", "definitions", "patternProperties", NULL};
    static const char *const schemas[] = {"items", "additionalProperties", "not", NULL};

    put_raw_key(w, key);
    if (!may_hold_empty(value))
        ah_json_put(w, value);
    else if (is_empty(value) && key_is_any(key, lists))
        ah_json_put_raw(w, "[]", 2); /* a script's {} is an object to JSON */
    else if (key_is_any(key, maps) && (value.type == AH_JSON_OBJECT || is_empty(value)))
        put_properties(w, value);
    else if (key_is_any(key, schemas) && value.type == AH_JSON_OBJECT)
        put_schema(w, value, false);
    else
        ah_json_put(w, value);
}

/* A schema as it came, with the holes filled that services refuse; `top`: it must describe an object. */
static void put_schema(struct ah_json_writer *w, struct ah_json v, bool top)
{
    bool has_type = false, has_properties = false;

    if (v.type != AH_JSON_OBJECT && !top) {
        ah_json_put(w, v);
        return;
    }
    ah_json_object(w);
    for (struct ah_json_iter it = ah_json_iter(v); v.type == AH_JSON_OBJECT && ah_json_next(&it);) {
        if (top && it.value.type == AH_JSON_NULL)
            continue;
        has_type |= ah_json_is(it.key, "type");
        has_properties |= ah_json_is(it.key, "properties");
        put_member(w, it.key, it.value);
    }
    if (top && !has_properties) {
        ah_json_key(w, "properties");
        ah_json_put_raw(w, "{}", 2);
    }
    if (top && !has_type) {
        ah_json_key(w, "type");
        ah_json_put_str(w, "object");
    }
    ah_json_end_object(w);
}

/* --- tools ---------------------------------------------------------------------------------------- */

/* What we look at of {"type":"function","function":{...}}, or of a tool whose members are its own. */
enum { TOOL_NAME, TOOL_DESCRIPTION, TOOL_PARAMETERS, TOOL_INPUT_SCHEMA, TOOL_STRICT, TOOL_MEMBERS_COUNT };
struct tool {
    struct ah_json type, members[TOOL_MEMBERS_COUNT], schema;
    bool wrapped;
};

static bool is_absent(struct ah_json v)
{
    return v.type == AH_JSON_NONE || v.type == AH_JSON_NULL;
}

static void read_tool(struct ah_json v, struct tool *t)
{
    static const char *const keys[] = {"name",   "description", "parameters", "input_schema",
                                       "strict", "type",        "function",   NULL};
    static const char *const inner[] = {"name", "description", "parameters", "input_schema", "strict", NULL};
    struct ah_json found[sizeof keys / sizeof *keys];

    ah_json_pick(v, keys, found);
    t->type = found[TOOL_MEMBERS_COUNT];
    t->wrapped = found[TOOL_MEMBERS_COUNT + 1].type == AH_JSON_OBJECT;
    if (t->wrapped)
        ah_json_pick(found[TOOL_MEMBERS_COUNT + 1], inner, t->members);
    else
        memcpy(t->members, found, sizeof t->members);
    t->schema = t->members[is_absent(t->members[TOOL_PARAMETERS]) ? TOOL_INPUT_SCHEMA : TOOL_PARAMETERS];
}

static int check_tool(struct ah_json v, const struct tool *t, size_t i, struct ah_error *err)
{
    struct ah_json kind = ah_json_get(t->schema, "type");
    char name[80];

    if (v.type != AH_JSON_OBJECT)
        return ah_err_set(err, AH_INVALID, "tool %zu is no table", i + 1);
    if (t->type.type == AH_JSON_STRING && !ah_json_is(t->type, "function") && t->wrapped)
        return ah_err_set(err, AH_INVALID,
                          "tool %zu is not of type function; only function tools are offered", i + 1);
    if (t->members[TOOL_NAME].type != AH_JSON_STRING || t->members[TOOL_NAME].n <= 2)
        return ah_err_set(err, AH_INVALID, "tool %zu has no name", i + 1);
    ah_json_copy(t->members[TOOL_NAME], name, sizeof name);
    if (!is_absent(t->schema) && t->schema.type != AH_JSON_OBJECT && !is_empty(t->schema))
        return ah_err_set(err, AH_INVALID, "the parameters of tool '%s' are not a JSON Schema object", name);
    if (kind.type == AH_JSON_STRING && !ah_json_is(kind, "object"))
        return ah_err_set(err, AH_INVALID, "the parameters of tool '%s' must be a schema of type object",
                          name);
    return 0;
}

static void put_tool(struct ah_json_writer *w, const struct tool *t, const struct ah_chat_names *names)
{
    struct ah_json description = t->members[TOOL_DESCRIPTION], strict = t->members[TOOL_STRICT];

    ah_json_object(w);
    ah_json_key(w, "type");
    ah_json_put_str(w, "function");
    ah_json_key(w, "function");
    ah_json_object(w);
    ah_json_key(w, "name");
    put_wire_name(w, names, t->members[TOOL_NAME]);
    if (description.type == AH_JSON_STRING) {
        ah_json_key(w, "description");
        ah_json_put(w, description);
    }
    ah_json_key(w, "parameters");
    put_schema(w, t->schema, true);
    if (strict.type == AH_JSON_TRUE || strict.type == AH_JSON_FALSE) {
        ah_json_key(w, "strict");
        ah_json_put(w, strict);
    }
    ah_json_end_object(w);
    ah_json_end_object(w);
}

static void source_of(struct ah_json tool, char *out, size_t size)
{
    static const char *const members[] = {"connection_name", "connector", "provider", "source"};

    out[0] = '\0';
    for (size_t i = 0; i < sizeof members / sizeof *members && out[0] == '\0'; i++)
        ah_json_copy(ah_json_get(tool, members[i]), out, size);
    if (out[0] == '\0')
        snprintf(out, size, "others");
}

static int fail_too_many(struct ah_json tools, size_t count, struct ah_error *err)
{
    struct {
        char name[64];
        size_t count;
    } sources[SOURCES_COUNT] = {{"others", 0}};
    char list[LIST_CHARS] = "", name[64];
    size_t n = 1, at = 0;

    for (struct ah_json_iter it = ah_json_iter(tools); ah_json_next(&it);) {
        size_t i = 0;

        source_of(it.value, name, sizeof name);
        while (i < n && strcmp(sources[i].name, name) != 0)
            i++;
        if (i == n && n < SOURCES_COUNT)
            snprintf(sources[n++].name, sizeof sources[0].name, "%s", name);
        sources[i < n ? i : 0].count++;
    }
    for (size_t i = 0; i < n && at < sizeof list; i++)
        if (sources[i].count != 0)
            at += (size_t)snprintf(list + at, sizeof list - at, "%s%s %zu", at != 0 ? ", " : "",
                                   sources[i].name, sources[i].count);
    return ah_err_set(err, AH_LIMIT,
                      "%zu tools are more than the %d that one request may offer (%s); choose some by "
                      "tool_names, or offer fewer connections",
                      count, AH_CHAT_REQUEST_TOOLS_COUNT, list);
}

/* Names that fit keep their name, whatever the others are mapped to: they go first. */
static int map_names(const struct tool *tools, size_t count, struct ah_chat_names *names, bool fitting,
                     struct ah_error *err)
{
    struct ah_buf b;
    int rc = 0;

    ah_buf_init(&b, AH_CHAT_NAME_BYTES);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        ah_buf_clear(&b);
        if (ah_json_str(tools[i].members[TOOL_NAME], &b) != 0)
            rc = ah_err_set(err, AH_INVALID, "a tool's name is longer than %zu bytes", AH_CHAT_NAME_BYTES);
        else if (name_fits(b.p, b.n) != fitting)
            rc = 0;
        else if (ah_chat_names_of(names, b.p, b.n) != NULL)
            rc =
                ah_err_set(err, AH_INVALID, "two tools are named '%s'; rename or leave out one of them", b.p);
        else
            rc = map_name(names, b.p, b.n, err);
    }
    ah_buf_drop(&b);
    return rc;
}

int ah_chat_request_tools(struct ah_json tools, struct ah_chat_names *names, struct ah_buf *to,
                          struct ah_error *err)
{
    struct ah_json_writer w;
    size_t i = 0, count = ah_json_count(tools);

    if (count == 0)
        return ah_err_set(err, AH_NO_TOOLS,
                          "there are no tools to bind; check the connection names, and that the connected "
                          "account is ACTIVE");
    if (tools.type != AH_JSON_ARRAY)
        return ah_err_set(err, AH_INVALID, "tools must be an array");
    if (count > AH_CHAT_REQUEST_TOOLS_COUNT)
        return fail_too_many(tools, count, err);
    struct tool list[AH_CHAT_REQUEST_TOOLS_COUNT];

    for (struct ah_json_iter it = ah_json_iter(tools); ah_json_next(&it); i++) {
        read_tool(it.value, &list[i]);
        if (check_tool(it.value, &list[i], i, err) != 0)
            return -1;
    }
    if (map_names(list, count, names, true, err) != 0 || map_names(list, count, names, false, err) != 0)
        return -1;
    ah_json_begin(&w, to, NULL);
    ah_json_array(&w);
    for (i = 0; i < count; i++)
        put_tool(&w, &list[i], names);
    ah_json_end_array(&w);
    return to->failed ? fail_memory(err) : 0;
}

/* --- tool_choice ------------------------------------------------------------------------------------ */

static void put_choice_of(struct ah_json_writer *w, const char *wire)
{
    ah_json_object(w);
    ah_json_key(w, "type");
    ah_json_put_str(w, "function");
    ah_json_key(w, "function");
    ah_json_object(w);
    ah_json_key(w, "name");
    ah_json_put_str(w, wire);
    ah_json_end_object(w);
    ah_json_end_object(w);
}

static int fail_choice(const struct ah_chat_names *names, const char *name, struct ah_error *err)
{
    const char **list = calloc(names->count + 1, sizeof *list);
    const char *near = NULL;

    for (size_t i = 0; list != NULL && i < names->count; i++)
        list[i] = names->items[i].name;
    if (list != NULL)
        near = ah_near_best(name, list);
    ah_err_set(err, AH_INVALID, "tool_choice names '%s', which is none of the bound tools%s%s%s", name,
               near != NULL ? " (did you mean '" : "", near != NULL ? near : "", near != NULL ? "'?)" : "");
    free(list);
    return -1;
}

int ah_chat_request_choice(struct ah_json choice, const struct ah_chat_names *names, struct ah_buf *to,
                           struct ah_error *err)
{
    static const char *const modes[] = {"auto", "none", "required", NULL};
    struct ah_json name = ah_json_path(choice, "function", "name", NULL);
    const struct ah_chat_name *item;
    struct ah_json_writer w;
    struct ah_buf b;
    int rc = 0;

    ah_json_begin(&w, to, NULL);
    if (choice.type == AH_JSON_TRUE || ah_json_is(choice, "any")) {
        ah_json_put_str(&w, "required");
        return to->failed ? fail_memory(err) : 0;
    }
    if (key_is_any(choice, modes) || (choice.type == AH_JSON_OBJECT && name.type != AH_JSON_STRING)) {
        ah_json_put(&w, choice);
        return to->failed ? fail_memory(err) : 0;
    }
    ah_buf_init(&b, AH_CHAT_NAME_BYTES);
    if (ah_json_str(choice.type == AH_JSON_OBJECT ? name : choice, &b) != 0)
        rc = ah_err_set(err, AH_INVALID, "tool_choice must be auto, none, required, or a tool's name");
    else if ((item = ah_chat_names_of(names, ah_buf_str(&b), b.n)) == NULL)
        rc = fail_choice(names, ah_buf_str(&b), err);
    else
        put_choice_of(&w, item->wire);
    ah_buf_drop(&b);
    return rc == 0 && to->failed ? fail_memory(err) : rc;
}

/* --- messages --------------------------------------------------------------------------------------- */

/* Calls of the last assistant message that still wait for their tool messages. */
struct pending {
    char **ids;
    bool *answered;
    size_t count, open, cap;
    size_t at; /* the assistant message, from 1 */
};

static void drop_pending(struct pending *p)
{
    for (size_t i = 0; i < p->count; i++)
        free(p->ids[i]);
    free(p->ids);
    free(p->answered);
    memset(p, 0, sizeof *p);
}

static int add_pending(struct pending *p, struct ah_json id, struct ah_error *err)
{
    if (p->count == p->cap) {
        size_t cap = p->cap != 0 ? p->cap * 2 : 8;
        char **ids = realloc(p->ids, cap * sizeof *ids);

        if (ids == NULL)
            return fail_memory(err);
        p->ids = ids;
        bool *answered = realloc(p->answered, cap * sizeof *answered);

        if (answered == NULL)
            return fail_memory(err);
        p->answered = answered;
        p->cap = cap;
    }
    if ((p->ids[p->count] = ah_json_dup(id)) == NULL)
        return fail_memory(err);
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->ids[i], p->ids[p->count]) == 0) {
            free(p->ids[p->count]);
            return ah_err_set(err, AH_INVALID, "message %zu has two tool calls of id '%s'", p->at, p->ids[i]);
        }
    p->answered[p->count++] = false;
    p->open++;
    return 0;
}

static int check_answered(const struct pending *p, struct ah_error *err)
{
    char list[LIST_CHARS] = "";
    size_t at = 0;

    if (p->open == 0)
        return 0;
    for (size_t i = 0; i < p->count && at < sizeof list; i++)
        if (!p->answered[i])
            at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", at != 0 ? ", " : "", p->ids[i]);
    return ah_err_set(err, AH_INVALID,
                      "the tool calls %s of message %zu have no answer; add a message {role=\"tool\", "
                      "tool_call_id=..., content=...} for each right after it",
                      list, p->at);
}

static int take_answer(struct pending *p, struct ah_json id, size_t at, struct ah_error *err)
{
    char *text = ah_json_dup(id);
    size_t i = 0;

    if (text == NULL)
        return fail_memory(err);
    while (i < p->count && strcmp(p->ids[i], text) != 0)
        i++;
    if (i == p->count)
        ah_err_set(err, AH_INVALID,
                   "message %zu answers the tool call '%.100s', which the assistant message before it does "
                   "not ask for",
                   at, text);
    else if (p->answered[i])
        ah_err_set(err, AH_INVALID, "message %zu answers the tool call '%.100s' a second time", at, text);
    free(text);
    if (i == p->count || p->answered[i])
        return -1;
    p->answered[i] = true;
    p->open--;
    return 0;
}

static bool is_blank_string(struct ah_json v)
{
    for (size_t i = 1; v.type == AH_JSON_STRING && i + 1 < v.n; i++)
        if (strchr(" \t\n\r", v.p[i]) == NULL && v.p[i] != '\\')
            return false;
    return v.type == AH_JSON_STRING && memchr(v.p, '\\', v.n) == NULL;
}

/* The arguments' text: what the model wrote where we have it, else the table as JSON. */
static void put_arguments(struct ah_json_writer *w, struct ah_json text, struct ah_json args)
{
    if (text.type == AH_JSON_STRING && !is_blank_string(text))
        ah_json_put(w, text);
    else if (args.type == AH_JSON_OBJECT)
        ah_json_put_strn(w, args.p, args.n);
    else
        ah_json_put_str(w, "{}");
}

static void put_own_call(struct ah_json_writer *w, struct ah_json call, const struct ah_chat_names *names)
{
    ah_json_key(w, "type");
    ah_json_put_str(w, "function");
    ah_json_key(w, "function");
    ah_json_object(w);
    ah_json_key(w, "name");
    put_wire_name(w, names, ah_json_get(call, "name"));
    ah_json_key(w, "arguments");
    put_arguments(w, ah_json_get(call, "arguments"), ah_json_get(call, "args"));
    ah_json_end_object(w);
}

/* Keeps what else a gateway put there (Gemini's signatures): it wants it back. */
static void put_wire_call(struct ah_json_writer *w, struct ah_json call, const struct ah_chat_names *names)
{
    struct ah_json fn = ah_json_get(call, "function");

    ah_json_key(w, "type");
    if (ah_json_get(call, "type").type == AH_JSON_STRING)
        ah_json_put(w, ah_json_get(call, "type"));
    else
        ah_json_put_str(w, "function");
    for (struct ah_json_iter it = ah_json_iter(call); ah_json_next(&it);) {
        if (ah_json_is(it.key, "id") || ah_json_is(it.key, "type") || ah_json_is(it.key, "function") ||
            ah_json_is(it.key, "index"))
            continue;
        put_raw_key(w, it.key);
        ah_json_put(w, it.value);
    }
    if (fn.type != AH_JSON_OBJECT)
        return;
    ah_json_key(w, "function");
    ah_json_object(w);
    ah_json_key(w, "name");
    put_wire_name(w, names, ah_json_get(fn, "name"));
    ah_json_key(w, "arguments");
    put_arguments(w, ah_json_get(fn, "arguments"), ah_json_get(fn, "arguments"));
    ah_json_end_object(w);
}

static int put_call(struct ah_json_writer *w, struct ah_json call, const struct ah_chat_names *names,
                    struct pending *p, struct ah_error *err)
{
    struct ah_json id = ah_json_get(call, "id");
    bool wire = ah_json_get(call, "function").type == AH_JSON_OBJECT ||
                ah_json_get(call, "custom").type == AH_JSON_OBJECT;

    if (call.type != AH_JSON_OBJECT || id.type != AH_JSON_STRING || id.n <= 2)
        return ah_err_set(err, AH_INVALID, "message %zu has a tool call without an id", p->at);
    if (!wire && ah_json_get(call, "name").type != AH_JSON_STRING)
        return ah_err_set(err, AH_INVALID, "message %zu has a tool call without a name", p->at);
    if (add_pending(p, id, err) != 0)
        return -1;
    ah_json_object(w);
    ah_json_key(w, "id");
    ah_json_put(w, id);
    if (wire)
        put_wire_call(w, call, names);
    else
        put_own_call(w, call, names);
    ah_json_end_object(w);
    return 0;
}

static int put_calls(struct ah_json_writer *w, struct ah_json m, const struct ah_chat_names *names,
                     struct pending *p, struct ah_error *err)
{
    struct ah_json lists[] = {ah_json_get(m, "tool_calls"), ah_json_get(m, "invalid_tool_calls")};
    size_t count = ah_json_count(lists[0]) + ah_json_count(lists[1]);

    if (count == 0)
        return 0;
    if (count > AH_CHAT_CALLS_COUNT)
        return ah_err_set(err, AH_INVALID, "message %zu has %zu tool calls; at most %d are allowed", p->at,
                          count, AH_CHAT_CALLS_COUNT);
    ah_json_key(w, "tool_calls");
    ah_json_array(w);
    for (size_t i = 0; i < 2; i++)
        for (struct ah_json_iter it = ah_json_iter(lists[i]); ah_json_next(&it);)
            if (put_call(w, it.value, names, p, err) != 0)
                return -1;
    ah_json_end_array(w);
    return 0;
}

/* Members that go as they are, beside role, content and the calls. */
static void put_others(struct ah_json_writer *w, struct ah_json m, const char *const *members)
{
    struct ah_json found[OTHERS_COUNT];

    ah_json_pick(m, members, found);
    for (size_t i = 0; members[i] != NULL; i++) {
        if (is_absent(found[i]))
            continue;
        ah_json_key(w, members[i]);
        ah_json_put(w, found[i]);
    }
}

static int put_content(struct ah_json_writer *w, struct ah_json m, bool may_miss, bool has_calls, size_t at,
                       struct ah_error *err)
{
    struct ah_json v = ah_json_get(m, "content");

    if (!is_absent(v) && v.type != AH_JSON_STRING && (v.type != AH_JSON_ARRAY || ah_json_count(v) == 0))
        return ah_err_set(err, AH_INVALID,
                          "the content of message %zu must be a string or an array of parts%s", at,
                          v.type == AH_JSON_OBJECT ? "; encode a table with json.encode" : "");
    if (is_absent(v) && !may_miss)
        return ah_err_set(err, AH_INVALID, "message %zu has no content", at);
    if (v.type == AH_JSON_ARRAY && ah_chat_parts_check(v, at, err) != 0)
        return -1;
    ah_json_key(w, "content");
    if (has_calls && (is_absent(v) || (v.type == AH_JSON_STRING && v.n == 2)))
        ah_json_put_null(w);
    else if (is_absent(v))
        ah_json_put_str(w, "");
    else
        ah_json_put(w, v);
    return 0;
}

static int put_assistant(struct ah_json_writer *w, struct ah_json m, const struct ah_chat_names *names,
                         struct pending *p, struct ah_error *err)
{
    static const char *const members[] = {
        "name", "refusal", "audio", "reasoning", "reasoning_content", "reasoning_details", "output", NULL};
    bool calls = ah_json_count(ah_json_get(m, "tool_calls")) != 0 ||
                 ah_json_count(ah_json_get(m, "invalid_tool_calls")) != 0;
    bool may_miss = calls || !is_absent(ah_json_get(m, "refusal")) || !is_absent(ah_json_get(m, "audio"));

    if (put_content(w, m, may_miss, calls, p->at, err) != 0)
        return -1;
    put_others(w, m, members);
    return put_calls(w, m, names, p, err);
}

static int put_message(struct ah_json_writer *w, struct ah_json m, const struct ah_chat_names *names,
                       struct pending *p, size_t at, struct ah_error *err)
{
    static const char *const roles[] = {"system", "developer", "user", NULL};
    static const char *const members[] = {"name", "tool_call_id", NULL};
    static const char *const looked_at[] = {"role", "tool_call_id", NULL};
    struct ah_json found[2];
    ah_json_pick(m, looked_at, found);
    struct ah_json role = found[0], id = found[1];
    bool tool = ah_json_is(role, "tool"), assistant = ah_json_is(role, "assistant");
    char text[40];

    if (role.type != AH_JSON_STRING)
        return ah_err_set(err, AH_INVALID, "message %zu has no role", at);
    ah_json_copy(role, text, sizeof text);
    if (!tool && !assistant && !key_is_any(role, roles))
        return ah_err_set(err, AH_INVALID,
                          "message %zu has the role '%s'; roles are system, developer, user, assistant, tool",
                          at, text);
    if (!tool && check_answered(p, err) != 0)
        return -1;
    if (tool && (id.type != AH_JSON_STRING || id.n <= 2))
        return ah_err_set(err, AH_INVALID, "message %zu has the role tool, but no tool_call_id", at);
    if (tool && take_answer(p, id, at, err) != 0)
        return -1;
    ah_json_object(w);
    ah_json_key(w, "role");
    ah_json_put(w, role);
    if (assistant) {
        drop_pending(p);
        p->at = at;
        if (put_assistant(w, m, names, p, err) != 0)
            return -1;
    } else {
        if (!tool)
            drop_pending(p);
        if (put_content(w, m, false, false, at, err) != 0)
            return -1;
        put_others(w, m, tool ? members + 1 : members);
    }
    ah_json_end_object(w);
    return 0;
}

int ah_chat_request_messages(struct ah_json messages, const struct ah_chat_names *names, struct ah_buf *to,
                             struct ah_error *err)
{
    struct pending p = {0};
    struct ah_json_writer w;
    size_t at = 0;
    int rc = 0;

    if (messages.type != AH_JSON_ARRAY || ah_json_count(messages) == 0)
        return ah_err_set(err, AH_INVALID, "messages must be an array with at least one message");
    ah_json_begin(&w, to, NULL);
    ah_json_array(&w);
    for (struct ah_json_iter it = ah_json_iter(messages); rc == 0 && ah_json_next(&it);)
        rc = put_message(&w, it.value, names, &p, ++at, err);
    if (rc == 0)
        rc = check_answered(&p, err);
    drop_pending(&p);
    if (rc != 0)
        return -1;
    ah_json_end_array(&w);
    return to->failed ? fail_memory(err) : 0;
}
