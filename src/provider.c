/* How servers that speak OpenAI's protocol differ: one table of switches, and requests written by it.
 * Called by oatarget.c, openai.c and lua_oaopts.c. Pure; never sends, never learns by itself. See provider.h. */
#include "provider.h"

#include "near.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NAME_BYTES 40 /* of a row, a switch or its value */

/* What is known of each; `other` is what a server that nobody knows is taken for. Older servers know only
 * max_tokens and the role system, and some refuse null where content is expected. */
static const struct ah_provider rows[] = {
    {"openai", AH_PROVIDER_SECOND, AH_PROVIDER_AS_GIVEN, true, true, true, true, true, true},
    {"litellm", AH_PROVIDER_AS_GIVEN, AH_PROVIDER_AS_GIVEN, true, true, true, true, true, true},
    {"ollama", AH_PROVIDER_FIRST, AH_PROVIDER_FIRST, true, false, false, false, true, false},
    {"llama.cpp", AH_PROVIDER_FIRST, AH_PROVIDER_FIRST, true, false, true, false, false, true},
    {"vllm", AH_PROVIDER_AS_GIVEN, AH_PROVIDER_FIRST, true, true, true, false, true, true},
    {"openrouter", AH_PROVIDER_AS_GIVEN, AH_PROVIDER_AS_GIVEN, true, true, true, true, true, false},
    {"deepseek", AH_PROVIDER_FIRST, AH_PROVIDER_FIRST, true, false, false, false, true, false},
    /* Refuses each parameter that it does not know. */
    {"mistral", AH_PROVIDER_FIRST, AH_PROVIDER_FIRST, false, true, true, true, true, false},
    {"other", AH_PROVIDER_AS_GIVEN, AH_PROVIDER_FIRST, true, true, true, true, true, true},
};

const struct ah_provider *ah_provider_named(const char *name)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

static bool host_is(struct ah_url_part host, const char *name)
{
    size_t n = strlen(name);
    if (host.n < n || strncasecmp(host.p + host.n - n, name, n) != 0)
        return false;
    return host.n == n || host.p[host.n - n - 1] == '.';
}

bool ah_provider_is_openai(struct ah_url_part host)
{
    return host_is(host, "api.openai.com"); /* also the hosts of a region: us.api.openai.com */
}

/* Servers that their address gives away: by host, or by the port that is their default. */
static const struct {
    const char *host; /* NULL: any */
    int port;
    const char *name;
} known[] = {
    {"api.openai.com", 0, "openai"},
    {"openai.azure.com", 0, "openai"},
    {"openrouter.ai", 0, "openrouter"},
    {"api.deepseek.com", 0, "deepseek"},
    {"api.mistral.ai", 0, "mistral"},
    {NULL, 11434, "ollama"},
    {NULL, 4000, "litellm"},
};

const struct ah_provider *ah_provider_of(const struct ah_url *base)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].host ? host_is(base->host, known[i].host) : base->port == known[i].port)
            return ah_provider_named(known[i].name);
    return ah_provider_named("other");
}

/* --- switches by name ------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    size_t offset;
    const char *first, *second; /* the words of a choice; NULL: true or false */
} switches[] = {
    {"max_tokens", offsetof(struct ah_provider, max_tokens), "max_tokens", "max_completion_tokens"},
    {"system_role", offsetof(struct ah_provider, system_role), "system", "developer"},
    {"stream_usage", offsetof(struct ah_provider, stream_usage), NULL, NULL},
    {"strict", offsetof(struct ah_provider, strict), NULL, NULL},
    {"parallel_tool_calls", offsetof(struct ah_provider, parallel_tool_calls), NULL, NULL},
    {"null_content", offsetof(struct ah_provider, null_content), NULL, NULL},
    {"nested_schema", offsetof(struct ah_provider, nested_schema), NULL, NULL},
    {"base64", offsetof(struct ah_provider, base64), NULL, NULL},
};
#define SWITCHES_COUNT (sizeof switches / sizeof *switches)

static int set_row(struct ah_provider *p, struct ah_json name, struct ah_error *err)
{
    char text[NAME_BYTES];
    ah_json_copy(name, text, sizeof text);
    const struct ah_provider *row = name.type == AH_JSON_STRING ? ah_provider_named(text) : NULL;
    if (!row)
        return ah_err_set(err, AH_INVALID,
                          "provider: there is no '%s'; there are openai, litellm, ollama, llama.cpp, vllm, "
                          "openrouter, deepseek, mistral and other",
                          text);
    *p = *row;
    return 0;
}

static int set_choice(enum ah_provider_word *slot, size_t i, struct ah_json v, struct ah_error *err)
{
    if (ah_json_is(v, switches[i].first))
        *slot = AH_PROVIDER_FIRST;
    else if (ah_json_is(v, switches[i].second))
        *slot = AH_PROVIDER_SECOND;
    else if (ah_json_is(v, "as_given"))
        *slot = AH_PROVIDER_AS_GIVEN;
    else
        return ah_err_set(err, AH_INVALID, "provider: '%s' is '%s', '%s' or 'as_given'", switches[i].name,
                          switches[i].first, switches[i].second);
    return 0;
}

static int set_switch(struct ah_provider *p, struct ah_json key, struct ah_json v, struct ah_error *err)
{
    const char *names[SWITCHES_COUNT + 1] = {NULL};
    char text[NAME_BYTES];
    for (size_t i = 0; i < SWITCHES_COUNT; i++) {
        void *slot = (char *)p + switches[i].offset;
        names[i] = switches[i].name;
        if (!ah_json_is(key, switches[i].name))
            continue;
        if (switches[i].first)
            return set_choice(slot, i, v, err);
        if (v.type != AH_JSON_TRUE && v.type != AH_JSON_FALSE)
            return ah_err_set(err, AH_INVALID, "provider: '%s' is true or false", switches[i].name);
        *(bool *)slot = v.type == AH_JSON_TRUE;
        return 0;
    }
    ah_json_copy(key, text, sizeof text);
    const char *near = ah_near_best(text, names);
    return ah_err_set(err, AH_INVALID, "provider: there is no switch '%s'%s%s%s", text,
                      near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

int ah_provider_set(struct ah_provider *p, struct ah_json given, struct ah_error *err)
{
    struct ah_json name = given.type == AH_JSON_OBJECT ? ah_json_get(given, "name") : given;
    if (name.type != AH_JSON_NONE && set_row(p, name, err) != 0)
        return -1;
    if (given.type != AH_JSON_OBJECT)
        return 0;
    for (struct ah_json_iter it = ah_json_iter(given); ah_json_next(&it);)
        if (!ah_json_is(it.key, "name") && set_switch(p, it.key, it.value, err) != 0)
            return -1;
    return 0;
}

/* --- requests ----------------------------------------------------------------------------------------- */

/* One member more of an object; what is not changed keeps its bytes. */
static void put_raw(struct ah_buf *to, struct ah_json key, struct ah_json value)
{
    if (to->n && to->p[to->n - 1] != '{')
        ah_buf_addc(to, ',');
    ah_buf_add(to, key.p, key.n);
    ah_buf_addc(to, ':');
    ah_buf_add(to, value.p, value.n);
}

static struct ah_json word(const char *quoted)
{
    return (struct ah_json){quoted, strlen(quoted), AH_JSON_STRING};
}

static struct ah_json role_of(const struct ah_provider *p, struct ah_json role)
{
    if (p->system_role == AH_PROVIDER_FIRST && ah_json_is(role, "developer"))
        return word("\"system\"");
    if (p->system_role == AH_PROVIDER_SECOND && ah_json_is(role, "system"))
        return word("\"developer\"");
    return role;
}

static void put_messages(const struct ah_provider *p, struct ah_json messages, struct ah_buf *to)
{
    ah_buf_addc(to, '[');
    for (struct ah_json_iter m = ah_json_iter(messages); ah_json_next(&m);) {
        ah_buf_adds(to, to->n && to->p[to->n - 1] == '[' ? "{" : ",{");
        for (struct ah_json_iter it = ah_json_iter(m.value); ah_json_next(&it);) {
            struct ah_json v = it.value;
            if (ah_json_is(it.key, "role"))
                v = role_of(p, v);
            else if (!p->null_content && v.type == AH_JSON_NULL && ah_json_is(it.key, "content"))
                v = word("\"\"");
            put_raw(to, it.key, v);
        }
        ah_buf_addc(to, '}');
    }
    ah_buf_addc(to, ']');
}

/* An object without its member `strict`. */
static void put_lax(struct ah_json v, struct ah_buf *to)
{
    ah_buf_addc(to, '{');
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);)
        if (!ah_json_is(it.key, "strict"))
            put_raw(to, it.key, it.value);
    ah_buf_addc(to, '}');
}

static void put_tools(struct ah_json tools, struct ah_buf *to)
{
    ah_buf_addc(to, '[');
    for (struct ah_json_iter t = ah_json_iter(tools); ah_json_next(&t);) {
        ah_buf_adds(to, to->n && to->p[to->n - 1] == '[' ? "{" : ",{");
        for (struct ah_json_iter it = ah_json_iter(t.value); ah_json_next(&it);) {
            if (!ah_json_is(it.key, "function")) {
                put_raw(to, it.key, it.value);
                continue;
            }
            put_raw(to, it.key, word(""));
            put_lax(it.value, to);
        }
        ah_buf_addc(to, '}');
    }
    ah_buf_addc(to, ']');
}

static void put_format(const struct ah_provider *p, struct ah_json v, struct ah_buf *to)
{
    struct ah_json inner = ah_json_get(v, "json_schema");
    if (inner.type != AH_JSON_OBJECT) {
        ah_buf_add(to, v.p, v.n);
    } else if (!p->nested_schema) {
        struct ah_json schema = ah_json_get(inner, "schema");
        ah_buf_adds(to, "{\"type\":\"json_schema\"");
        if (schema.type == AH_JSON_OBJECT) {
            ah_buf_adds(to, ",\"schema\":");
            ah_buf_add(to, schema.p, schema.n);
        }
        ah_buf_addc(to, '}');
    } else {
        ah_buf_adds(to, "{\"type\":\"json_schema\",\"json_schema\":");
        put_lax(inner, to);
        ah_buf_addc(to, '}');
    }
}

static bool rewrites_messages(const struct ah_provider *p, struct ah_json v)
{
    if (v.type != AH_JSON_ARRAY)
        return false;
    if (p->system_role == AH_PROVIDER_SECOND)
        return true;
    if (p->system_role == AH_PROVIDER_FIRST && memmem(v.p, v.n, "\"developer\"", 11))
        return true;
    return !p->null_content && memmem(v.p, v.n, "null", 4);
}

/* What the switches look at. */
enum { OLD_LIMIT, NEW_LIMIT, OPTIONS, PARALLEL, MESSAGES, TOOLS, FORMAT, SEEN_COUNT };

static bool renames(const struct ah_provider *p, const struct ah_json *seen)
{
    bool old = seen[OLD_LIMIT].type != AH_JSON_NONE, new = seen[NEW_LIMIT].type != AH_JSON_NONE;
    return (p->max_tokens == AH_PROVIDER_SECOND && old && !new) ||
           (p->max_tokens == AH_PROVIDER_FIRST && new && !old);
}

/* Whether the request leaves as it came. */
static bool is_fine(const struct ah_provider *p, const struct ah_json *seen)
{
    return !renames(p, seen) && !rewrites_messages(p, seen[MESSAGES]) &&
           (p->parallel_tool_calls || seen[PARALLEL].type == AH_JSON_NONE) &&
           (p->strict || seen[TOOLS].type == AH_JSON_NONE) &&
           ((p->strict && p->nested_schema) || seen[FORMAT].type == AH_JSON_NONE);
}

static void put_member(const struct ah_provider *p, const struct ah_json *seen, struct ah_json key,
                       struct ah_json v, struct ah_buf *to)
{
    struct ah_json nothing = word("");
    if (renames(p, seen) && (v.p == seen[OLD_LIMIT].p || v.p == seen[NEW_LIMIT].p))
        key = word(p->max_tokens == AH_PROVIDER_SECOND ? "\"max_completion_tokens\"" : "\"max_tokens\"");
    if (v.p == seen[PARALLEL].p && !p->parallel_tool_calls)
        return;
    if (v.p == seen[MESSAGES].p && rewrites_messages(p, v)) {
        put_raw(to, key, nothing);
        put_messages(p, v, to);
    } else if (v.p == seen[TOOLS].p && v.type == AH_JSON_ARRAY && !p->strict) {
        put_raw(to, key, nothing);
        put_tools(v, to);
    } else if (v.p == seen[FORMAT].p && (!p->strict || !p->nested_schema)) {
        put_raw(to, key, nothing);
        put_format(p, v, to);
    } else {
        put_raw(to, key, v);
    }
}

int ah_provider_write(const struct ah_provider *p, struct ah_json body, bool stream, struct ah_buf *to)
{
    static const char *const keys[] = {"max_tokens",      "max_completion_tokens",
                                       "stream_options",  "parallel_tool_calls",
                                       "messages",        "tools",
                                       "response_format", NULL};
    struct ah_json seen[SEEN_COUNT];
    ah_json_pick(body, keys, seen);
    if (is_fine(p, seen)) {
        ah_buf_add(to, body.p, body.n - 1);
    } else {
        ah_buf_addc(to, '{');
        for (struct ah_json_iter it = ah_json_iter(body); ah_json_next(&it);)
            put_member(p, seen, it.key, it.value, to);
    }
    if (stream)
        ah_buf_adds(to, ",\"stream\":true");
    if (stream && p->stream_usage && seen[OPTIONS].type == AH_JSON_NONE)
        ah_buf_adds(to, ",\"stream_options\":{\"include_usage\":true}");
    return ah_buf_addc(to, '}');
}

int ah_provider_write_embeddings(const struct ah_provider *p, struct ah_json body, struct ah_buf *to)
{
    ah_buf_add(to, body.p, body.n - 1);
    if (p->base64 && ah_json_get(body, "encoding_format").type == AH_JSON_NONE)
        ah_buf_adds(to, ",\"encoding_format\":\"base64\"");
    return ah_buf_addc(to, '}');
}
