/* What a span holds as lines for people; see spantext.h. Knows the chat shape of messages, tools and choices; whatever
 * is not of that shape is shown as the JSON it is. It must never hide a message or a call. */
#include "spantext.h"

#include "buf.h"

#include <string.h>

#define LABEL_COLUMNS 9
#define FEW_TOOLS 3 /* so many are shown whole */

struct lines {
    struct ah_buf *to;
    const char *label; /* of the first line; then "" */
};

static void begin_line(struct lines *l)
{
    ah_buf_addf(l->to, "  %-*s", LABEL_COLUMNS, l->label);
    l->label = "";
}

/* The text of a service or a model: its lines stay lines, nothing else of it is obeyed by a terminal. */
static void put_text(struct lines *l, struct ah_json text)
{
    const char *at = text.p + 1, *end = text.p + text.n - 1;
    char piece[512];
    size_t n;
    while ((n = ah_json_decode(&at, end, piece, sizeof piece)) > 0) {
        for (size_t i = 0; i < n; i++) {
            unsigned char c = (unsigned char)piece[i];
            if (c == '\n') {
                ah_buf_addc(l->to, '\n');
                begin_line(l);
                ah_buf_adds(l->to, "  ");
            } else if (c == 0xc2 && i + 1 < n && (unsigned char)piece[i + 1] < 0xa0) {
                ah_buf_addc(l->to, '?');
                i++;
            } else {
                ah_buf_addc(l->to, (c < 32 && c != '\t') || c == 127 ? '?' : (char)c);
            }
        }
    }
}

/* C1 controls may stand in JSON as they are; all other controls are escaped there. */
static void put_json(struct lines *l, struct ah_json v)
{
    for (size_t i = 0; i < v.n; i++) {
        bool c1 = (unsigned char)v.p[i] == 0xc2 && i + 1 < v.n && (unsigned char)v.p[i + 1] < 0xa0;
        ah_buf_addc(l->to, c1 || v.p[i] == 127 ? '?' : v.p[i]);
        i += c1;
    }
}

static void put_value(struct lines *l, struct ah_json v)
{
    if (v.type == AH_JSON_STRING)
        put_text(l, v);
    else
        put_json(l, v);
}

static void put_word(struct lines *l, struct ah_json v, const char *otherwise)
{
    if (v.type == AH_JSON_STRING)
        put_text(l, v);
    else
        ah_buf_adds(l->to, otherwise);
}

static struct ah_json name_of_tool(struct ah_json tool)
{
    struct ah_json name = ah_json_path(tool, "function", "name", NULL);
    return name.type == AH_JSON_STRING ? name : ah_json_get(tool, "name");
}

static void put_tools(struct lines *l, struct ah_json tools)
{
    const char *comma = "";
    begin_line(l);
    ah_buf_addf(l->to, "%zu tools: ", ah_json_count(tools));
    for (struct ah_json_iter it = ah_json_iter(tools); ah_json_next(&it); comma = ", ") {
        ah_buf_adds(l->to, comma);
        put_word(l, name_of_tool(it.value), "?");
    }
    ah_buf_addc(l->to, '\n');
}

static void put_calls(struct lines *l, struct ah_json role, struct ah_json calls)
{
    for (struct ah_json_iter it = ah_json_iter(calls); ah_json_next(&it);) {
        struct ah_json arguments = ah_json_path(it.value, "function", "arguments", NULL);
        begin_line(l);
        put_word(l, role, "?");
        ah_buf_adds(l->to, " calls ");
        put_word(l, name_of_tool(it.value), "?");
        ah_buf_addc(l->to, ' ');
        if (arguments.type != AH_JSON_NONE)
            put_value(l, arguments);
        else
            put_json(l, it.value);
        ah_buf_addc(l->to, '\n');
    }
}

static void put_message(struct lines *l, struct ah_json message)
{
    struct ah_json role = ah_json_get(message, "role"), content = ah_json_get(message, "content"),
                   calls = ah_json_get(message, "tool_calls");
    bool called = calls.type == AH_JSON_ARRAY && ah_json_count(calls) > 0;
    if (role.type != AH_JSON_STRING) { /* of another shape */
        begin_line(l);
        put_json(l, message);
        ah_buf_addc(l->to, '\n');
        return;
    }
    if (ah_json_truthy(content) || !called) {
        begin_line(l);
        put_text(l, role);
        if (ah_json_get(message, "tool_call_id").type == AH_JSON_STRING) {
            ah_buf_addc(l->to, ' ');
            put_text(l, ah_json_get(message, "tool_call_id"));
        }
        ah_buf_adds(l->to, ": ");
        put_value(l, ah_json_truthy(content) ? content : ah_json_get(message, "refusal"));
        ah_buf_addc(l->to, '\n');
    }
    put_calls(l, role, calls);
}

static void put_choice(struct lines *l, struct ah_json choice)
{
    struct ah_json message = ah_json_get(choice, "message"), why = ah_json_get(choice, "finish_reason");
    put_message(l, message.type == AH_JSON_OBJECT ? message : choice);
    if (why.type == AH_JSON_STRING && !ah_json_is(why, "stop") && !ah_json_is(why, "tool_calls")) {
        begin_line(l);
        ah_buf_adds(l->to, "finish_reason: ");
        put_text(l, why);
        ah_buf_addc(l->to, '\n');
    }
}

static bool is_special(struct ah_json_iter member)
{
    bool list = member.value.type == AH_JSON_ARRAY && ah_json_count(member.value) > 0;
    return list && (ah_json_is(member.key, "messages") || ah_json_is(member.key, "choices") ||
                    (ah_json_is(member.key, "tools") && ah_json_count(member.value) > FEW_TOOLS));
}

static void put_special(struct lines *l, struct ah_json_iter member)
{
    if (ah_json_is(member.key, "tools")) {
        put_tools(l, member.value);
        return;
    }
    void (*put)(struct lines *, struct ah_json) =
        ah_json_is(member.key, "choices") ? put_choice : put_message;
    for (struct ah_json_iter it = ah_json_iter(member.value); ah_json_next(&it);)
        put(l, it.value);
}

/* What is left of the object, on one line. */
static void put_rest(struct lines *l, struct ah_json v)
{
    const char *before = "{";
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);) {
        if (is_special(it))
            continue;
        if (*before == '{')
            begin_line(l);
        ah_buf_adds(l->to, before);
        put_json(l, it.key);
        ah_buf_addc(l->to, ':');
        put_json(l, it.value);
        before = ",";
    }
    if (*before == ',')
        ah_buf_adds(l->to, "}\n");
}

void ah_spantext_put(struct ah_buf *to, const char *label, struct ah_json v)
{
    struct lines l = {to, label};
    bool special = false;
    if (v.type == AH_JSON_NONE)
        return;
    for (struct ah_json_iter it = ah_json_iter(v); v.type == AH_JSON_OBJECT && !special && ah_json_next(&it);)
        special = is_special(it);
    if (!special) {
        begin_line(&l);
        put_value(&l, v);
        ah_buf_addc(to, '\n');
        return;
    }
    put_rest(&l, v);
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);)
        if (is_special(it))
            put_special(&l, it);
}
