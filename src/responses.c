/* The Responses API behind the same chat: requests and answers translated. Called by openai.c. Pure: knows no
 * transport, no Lua; keeps items that it does not know as they came. See responses.h. */
#include "responses.h"

#include "chat_error.h"

#include <stdio.h>
#include <string.h>

/* --- requests: messages ------------------------------------------------------------------------------ */

static void put_pair(struct ah_json_writer *w, const char *key, struct ah_json v)
{
    if (v.type == AH_JSON_NONE || v.type == AH_JSON_NULL)
        return;
    ah_json_key(w, key);
    ah_json_put(w, v);
}

static void put_word(struct ah_json_writer *w, const char *key, const char *word)
{
    ah_json_key(w, key);
    ah_json_put_str(w, word);
}

/* Parts of chat as those of responses; what is not known goes as it is. */
static void put_part(struct ah_json_writer *w, struct ah_json part, bool assistant)
{
    struct ah_json type = ah_json_get(part, "type"), image = ah_json_get(part, "image_url");
    struct ah_json file = ah_json_get(part, "file");
    if (ah_json_is(type, "text")) {
        ah_json_object(w);
        put_word(w, "type", assistant ? "output_text" : "input_text");
        put_pair(w, "text", ah_json_get(part, "text"));
    } else if (ah_json_is(type, "image_url")) {
        ah_json_object(w);
        put_word(w, "type", "input_image");
        put_pair(w, "image_url", ah_json_get(image, "url"));
        put_pair(w, "detail", ah_json_get(image, "detail"));
    } else if (ah_json_is(type, "file")) {
        ah_json_object(w);
        put_word(w, "type", "input_file");
        put_pair(w, "filename", ah_json_get(file, "filename"));
        put_pair(w, "file_data", ah_json_get(file, "file_data"));
        put_pair(w, "file_id", ah_json_get(file, "file_id"));
    } else {
        ah_json_put(w, part);
        return;
    }
    ah_json_end_object(w);
}

static void put_content(struct ah_json_writer *w, const char *key, struct ah_json content, bool assistant)
{
    ah_json_key(w, key);
    if (content.type != AH_JSON_ARRAY) {
        ah_json_put(w, content);
        return;
    }
    ah_json_array(w);
    for (struct ah_json_iter it = ah_json_iter(content); ah_json_next(&it);)
        put_part(w, it.value, assistant);
    ah_json_end_array(w);
}

static void put_calls(struct ah_json_writer *w, struct ah_json calls)
{
    for (struct ah_json_iter it = ah_json_iter(calls); ah_json_next(&it);) {
        struct ah_json f = ah_json_get(it.value, "function"), custom = ah_json_get(it.value, "custom");
        bool free_text = custom.type == AH_JSON_OBJECT;
        ah_json_object(w);
        put_word(w, "type", free_text ? "custom_tool_call" : "function_call");
        put_pair(w, "call_id", ah_json_get(it.value, "id"));
        put_pair(w, "name", ah_json_get(free_text ? custom : f, "name"));
        if (free_text)
            put_pair(w, "input", ah_json_get(custom, "input"));
        else
            put_pair(w, "arguments", ah_json_get(f, "arguments"));
        ah_json_end_object(w);
    }
}

/* The items that an answer came with, reasoning included, are worth more than what we made of them. */
static void put_assistant(struct ah_json_writer *w, struct ah_json m)
{
    struct ah_json output = ah_json_get(m, "output"), content = ah_json_get(m, "content");
    struct ah_json refusal = ah_json_get(m, "refusal");
    if (ah_json_count(output)) {
        for (struct ah_json_iter it = ah_json_iter(output); ah_json_next(&it);)
            ah_json_put(w, it.value);
        return;
    }
    if (refusal.type == AH_JSON_STRING) {
        ah_json_object(w);
        put_word(w, "role", "assistant");
        ah_json_key(w, "content");
        ah_json_array(w);
        ah_json_object(w);
        put_word(w, "type", "refusal");
        put_pair(w, "refusal", refusal);
        ah_json_end_object(w);
        ah_json_end_array(w);
        ah_json_end_object(w);
    } else if (content.type == AH_JSON_ARRAY || (content.type == AH_JSON_STRING && content.n > 2)) {
        ah_json_object(w);
        put_word(w, "role", "assistant");
        put_content(w, "content", content, true);
        ah_json_end_object(w);
    }
    put_calls(w, ah_json_get(m, "tool_calls"));
}

static void put_message(struct ah_json_writer *w, struct ah_json m)
{
    struct ah_json role = ah_json_get(m, "role");
    if (ah_json_is(role, "assistant")) {
        put_assistant(w, m);
        return;
    }
    bool tool = ah_json_is(role, "tool");
    ah_json_object(w);
    if (tool) {
        put_word(w, "type", "function_call_output");
        put_pair(w, "call_id", ah_json_get(m, "tool_call_id"));
    } else {
        put_pair(w, "role", role);
    }
    put_content(w, tool ? "output" : "content", ah_json_get(m, "content"), false);
    ah_json_end_object(w);
}

/* --- requests: the rest -------------------------------------------------------------------------------- */

/* {"type","function":{...}} without the wrapping; strict is always said to who knows it: its default is another
 * here. */
static void put_tool(struct ah_json_writer *w, struct ah_json tool, bool knows_strict)
{
    struct ah_json f = ah_json_get(tool, "function"), strict = ah_json_get(f, "strict");
    if (f.type != AH_JSON_OBJECT) {
        ah_json_put(w, tool);
        return;
    }
    ah_json_object(w);
    put_word(w, "type", "function");
    put_pair(w, "name", ah_json_get(f, "name"));
    put_pair(w, "description", ah_json_get(f, "description"));
    put_pair(w, "parameters", ah_json_get(f, "parameters"));
    if (knows_strict) {
        ah_json_key(w, "strict");
        ah_json_put_bool(w, strict.type == AH_JSON_TRUE);
    }
    ah_json_end_object(w);
}

static void put_choice(struct ah_json_writer *w, struct ah_json choice)
{
    struct ah_json f = ah_json_get(choice, "function");
    ah_json_key(w, "tool_choice");
    if (f.type != AH_JSON_OBJECT) {
        ah_json_put(w, choice);
        return;
    }
    ah_json_object(w);
    put_word(w, "type", "function");
    put_pair(w, "name", ah_json_get(f, "name"));
    ah_json_end_object(w);
}

/* response_format and verbosity are one object here. */
static void put_text(struct ah_json_writer *w, struct ah_json format, struct ah_json verbosity)
{
    struct ah_json inner = ah_json_get(format, "json_schema");
    if (format.type != AH_JSON_OBJECT && verbosity.type == AH_JSON_NONE)
        return;
    ah_json_key(w, "text");
    ah_json_object(w);
    if (format.type == AH_JSON_OBJECT) {
        ah_json_key(w, "format");
        ah_json_object(w);
        put_pair(w, "type", ah_json_get(format, "type"));
        for (struct ah_json_iter it = ah_json_iter(inner); ah_json_next(&it);) {
            ah_json_keyn(w, it.key.p + 1, it.key.n - 2);
            ah_json_put(w, it.value);
        }
        ah_json_end_object(w);
    }
    put_pair(w, "verbosity", verbosity);
    ah_json_end_object(w);
}

enum { MESSAGES, TOOLS, CHOICE, FORMAT, VERBOSITY, OLD_LIMIT, NEW_LIMIT, EFFORT, OPTIONS, SPECIAL_COUNT };
static const char *const special[] = {
    "messages",       "tools",      "tool_choice",           "response_format",
    "verbosity",      "max_tokens", "max_completion_tokens", "reasoning_effort",
    "stream_options", NULL};

static bool is_special(struct ah_json key)
{
    for (size_t i = 0; special[i]; i++)
        if (ah_json_is(key, special[i]))
            return true;
    return false;
}

/* Stateless: the service keeps nothing, and reasoning comes encrypted, to be sent back. */
static void put_state(struct ah_json_writer *w, struct ah_json chat)
{
    static const char *const keys[] = {"store", "previous_response_id", "conversation", "include", NULL};
    struct ah_json found[4];
    ah_json_pick(chat, keys, found);
    if (found[0].type == AH_JSON_TRUE || found[1].type != AH_JSON_NONE || found[2].type != AH_JSON_NONE)
        return;
    if (found[0].type == AH_JSON_NONE) {
        ah_json_key(w, "store");
        ah_json_put_bool(w, false);
    }
    if (found[3].type == AH_JSON_NONE) {
        ah_json_key(w, "include");
        ah_json_put_raw(w, "[\"reasoning.encrypted_content\"]", 31);
    }
}

static int write_response(struct ah_json chat, bool knows_strict, bool stream, struct ah_buf *to)
{
    struct ah_json found[SPECIAL_COUNT];
    struct ah_json_writer w;
    ah_json_pick(chat, special, found);
    ah_json_begin(&w, to, NULL);
    ah_json_object(&w);
    for (struct ah_json_iter it = ah_json_iter(chat); ah_json_next(&it);) {
        if (is_special(it.key))
            continue;
        ah_json_keyn(&w, it.key.p + 1, it.key.n - 2);
        ah_json_put(&w, it.value);
    }
    put_pair(&w, "max_output_tokens", found[found[NEW_LIMIT].type != AH_JSON_NONE ? NEW_LIMIT : OLD_LIMIT]);
    if (found[EFFORT].type != AH_JSON_NONE && ah_json_get(chat, "reasoning").type == AH_JSON_NONE) {
        ah_json_key(&w, "reasoning");
        ah_json_object(&w);
        put_pair(&w, "effort", found[EFFORT]);
        ah_json_end_object(&w);
    }
    put_text(&w, found[FORMAT], found[VERBOSITY]);
    put_state(&w, chat);
    ah_json_key(&w, "input");
    ah_json_array(&w);
    for (struct ah_json_iter it = ah_json_iter(found[MESSAGES]); ah_json_next(&it);)
        put_message(&w, it.value);
    ah_json_end_array(&w);
    if (found[TOOLS].type == AH_JSON_ARRAY) {
        ah_json_key(&w, "tools");
        ah_json_array(&w);
        for (struct ah_json_iter it = ah_json_iter(found[TOOLS]); ah_json_next(&it);)
            put_tool(&w, it.value, knows_strict);
        ah_json_end_array(&w);
    }
    if (found[CHOICE].type != AH_JSON_NONE)
        put_choice(&w, found[CHOICE]);
    if (stream) {
        ah_json_key(&w, "stream");
        ah_json_put_bool(&w, true);
    }
    ah_json_end_object(&w);
    return to->failed ? -1 : 0;
}

/* Roles, `strict` and parallel_tool_calls are the server's; the names of limits and the forms of content and
 * schemas are this API's own, whoever speaks it. */
int ah_responses_write(const struct ah_provider *p, struct ah_json chat, bool stream, struct ah_buf *to)
{
    struct ah_provider here = *p;
    struct ah_buf b;
    here.max_tokens = AH_PROVIDER_AS_GIVEN;
    here.null_content = here.nested_schema = true;
    ah_buf_init(&b, to->max);
    int rc = ah_provider_write(&here, chat, false, &b);
    if (rc == 0)
        rc = write_response((struct ah_json){b.p, b.n, AH_JSON_OBJECT}, p->strict, stream, to);
    ah_buf_drop(&b);
    return rc;
}

/* --- answers: chunks of a chat ---------------------------------------------------------------------------- */

void ah_responses_init(struct ah_responses *r)
{
    memset(r, 0, sizeof *r);
    ah_buf_init(&r->output, AH_CHAT_TEXT_BYTES);
    ah_buf_init(&r->whole, AH_CHAT_TEXT_BYTES);
}

void ah_responses_drop(struct ah_responses *r)
{
    ah_buf_drop(&r->output);
    ah_buf_drop(&r->whole);
    memset(r, 0, sizeof *r);
}

static void keep_item(struct ah_responses *r, struct ah_json item)
{
    ah_buf_adds(&r->output, r->output.n ? "," : "[");
    ah_buf_add(&r->output, item.p, item.n);
}

static int fail_memory(struct ah_error *err)
{
    return ah_err_set(err, AH_MEMORY, "out of memory while reading the model's answer");
}

/* A chunk that is being written: {"choices":[{"index":0,"delta":{ ... }}]}. */
struct chunk {
    struct ah_buf text;
    struct ah_json_writer w;
};

static struct ah_json_writer *begin_chunk(struct chunk *k)
{
    ah_buf_init(&k->text, AH_CHAT_TEXT_BYTES);
    ah_json_begin(&k->w, &k->text, NULL);
    ah_json_object(&k->w);
    ah_json_key(&k->w, "choices");
    ah_json_array(&k->w);
    ah_json_object(&k->w);
    ah_json_key(&k->w, "delta");
    ah_json_object(&k->w);
    return &k->w;
}

static void end_delta(struct chunk *k, const char *finish)
{
    ah_json_end_object(&k->w);
    if (finish)
        put_word(&k->w, "finish_reason", finish);
    ah_json_end_object(&k->w);
    ah_json_end_array(&k->w);
}

static int send_chunk(struct chunk *k, struct ah_chat *c, struct ah_error *err)
{
    ah_json_end_object(&k->w);
    int rc = k->text.failed ? fail_memory(err) : ah_chat_event(c, NULL, k->text.p, k->text.n, err);
    ah_buf_drop(&k->text);
    return rc;
}

static int send_delta(struct ah_chat *c, const char *member, struct ah_json text, struct ah_error *err)
{
    struct chunk k;
    if (text.type != AH_JSON_STRING)
        return 0;
    put_pair(begin_chunk(&k), member, text);
    end_delta(&k, NULL);
    return send_chunk(&k, c, err);
}

/* A piece of a call; `item` is absent when only arguments come. */
static int send_call(struct ah_chat *c, int64_t index, struct ah_json item, struct ah_json arguments,
                     struct ah_error *err)
{
    struct chunk k;
    struct ah_json_writer *w = begin_chunk(&k);
    bool custom = ah_json_is(ah_json_get(item, "type"), "custom_tool_call");
    ah_json_key(w, "tool_calls");
    ah_json_array(w);
    ah_json_object(w);
    ah_json_key(w, "index");
    ah_json_put_int(w, index);
    put_pair(w, "id", ah_json_get(item, "call_id"));
    ah_json_key(w, custom ? "custom" : "function");
    ah_json_object(w);
    put_pair(w, "name", ah_json_get(item, "name"));
    put_pair(w, custom ? "input" : "arguments", arguments);
    ah_json_end_object(w);
    ah_json_end_object(w);
    ah_json_end_array(w);
    end_delta(&k, NULL);
    return send_chunk(&k, c, err);
}

/* --- answers: items ----------------------------------------------------------------------------------------- */

static int take_parts(struct ah_chat *c, struct ah_json parts, struct ah_error *err)
{
    for (struct ah_json_iter it = ah_json_iter(parts); ah_json_next(&it);) {
        struct ah_json type = ah_json_get(it.value, "type");
        if (ah_json_is(type, "output_text") &&
            send_delta(c, "content", ah_json_get(it.value, "text"), err) != 0)
            return -1;
        if (ah_json_is(type, "refusal") &&
            send_delta(c, "refusal", ah_json_get(it.value, "refusal"), err) != 0)
            return -1;
    }
    return 0;
}

static bool is_call(struct ah_json item)
{
    struct ah_json type = ah_json_get(item, "type");
    return ah_json_is(type, "function_call") || ah_json_is(type, "custom_tool_call");
}

/* A whole item of which no piece has come. */
static int take_item(struct ah_chat *c, int64_t index, struct ah_json item, struct ah_error *err)
{
    struct ah_json type = ah_json_get(item, "type");
    struct ah_json summary = ah_json_get(item, "summary");
    if (ah_json_is(type, "message"))
        return take_parts(c, ah_json_get(item, "content"), err);
    if (is_call(item)) {
        struct ah_json input = ah_json_get(item, "input");
        return send_call(c, index, item, input.type != AH_JSON_NONE ? input : ah_json_get(item, "arguments"),
                         err);
    }
    if (ah_json_is(type, "reasoning"))
        for (struct ah_json_iter it = ah_json_iter(summary); ah_json_next(&it);)
            if (send_delta(c, "reasoning", ah_json_get(it.value, "text"), err) != 0)
                return -1;
    return 0;
}

/* What a response that ended badly says. */
static int fail_response(struct ah_json response, struct ah_error *err)
{
    struct ah_json error = ah_json_get(response, "error");
    struct ah_buf b;
    struct ah_json v;
    ah_buf_init(&b, AH_CHAT_TEXT_BYTES);
    ah_buf_adds(&b, "{\"error\":");
    if (error.type == AH_JSON_OBJECT)
        ah_buf_add(&b, error.p, error.n);
    else
        ah_buf_adds(&b, "{\"message\":\"the response failed without a reason\"}");
    ah_buf_addc(&b, '}');
    if (ah_json_check(ah_buf_str(&b), b.n, 0, &v, NULL) == 0)
        ah_chat_error_value(v, err);
    else
        fail_memory(err);
    ah_buf_drop(&b);
    return -1;
}

/* Id, model and time of a response. */
static void put_identity(struct ah_json_writer *w, struct ah_json response)
{
    put_pair(w, "id", ah_json_get(response, "id"));
    put_pair(w, "model", ah_json_get(response, "model"));
    put_pair(w, "created", ah_json_get(response, "created_at"));
    put_pair(w, "service_tier", ah_json_get(response, "service_tier"));
}

static const char *finish_of(struct ah_json response, const struct ah_chat *c)
{
    struct ah_json reason = ah_json_path(response, "incomplete_details", "reason", NULL);
    const struct ah_chat_choice *ch = ah_chat_first(c);
    if (ah_json_is(reason, "content_filter"))
        return "content_filter";
    if (reason.type == AH_JSON_STRING || ah_json_is(ah_json_get(response, "status"), "incomplete"))
        return "length";
    return ch && ch->call_count ? "tool_calls" : "stop";
}

/* The end: items as the service has them, why it ended, and what it took. */
static int take_end(struct ah_responses *r, struct ah_chat *c, struct ah_json response, struct ah_error *err)
{
    struct ah_json output = ah_json_get(response, "output");
    struct chunk k;
    ah_buf_clear(&r->whole);
    ah_buf_add(&r->whole, response.p, response.n);
    if (ah_json_count(output)) {
        ah_buf_clear(&r->output);
        ah_buf_add(&r->output, output.p, output.n);
    } else if (r->output.n) {
        ah_buf_addc(&r->output, ']');
    }
    if (r->output.failed || r->whole.failed)
        return ah_err_set(err, AH_LIMIT, "the model's answer is larger than %zu bytes", r->output.max);
    if (ah_json_is(ah_json_get(response, "status"), "failed"))
        return fail_response(response, err);
    begin_chunk(&k);
    end_delta(&k, finish_of(response, c));
    put_identity(&k.w, response);
    put_pair(&k.w, "usage", ah_json_get(response, "usage"));
    return send_chunk(&k, c, err);
}

/* --- answers: events ------------------------------------------------------------------------------------------ */

static bool is_told(struct ah_responses *r, int64_t index, bool tell)
{
    if (index < 0 || index >= AH_RESPONSES_ITEMS_COUNT)
        return false;
    bool was = r->told[index];
    r->told[index] |= tell;
    return was;
}

static int on_item_done(struct ah_responses *r, struct ah_chat *c, int64_t index, struct ah_json item,
                        struct ah_error *err)
{
    keep_item(r, item);
    if (is_told(r, index, true))
        return 0;
    if (!is_call(item))
        return take_item(c, index, item, err);
    /* Its name and id came when it was added. */
    struct ah_json input = ah_json_get(item, "input");
    return send_call(c, index, item, input.type != AH_JSON_NONE ? input : ah_json_get(item, "arguments"),
                     err);
}

static int on_started(struct ah_chat *c, struct ah_json response, struct ah_error *err)
{
    struct chunk k;
    put_word(begin_chunk(&k), "role", "assistant");
    end_delta(&k, NULL);
    put_identity(&k.w, response);
    return send_chunk(&k, c, err);
}

static int on_error(struct ah_json event, struct ah_error *err)
{
    struct ah_json nested = ah_json_get(event, "error");
    if (nested.type == AH_JSON_OBJECT)
        return fail_response(event, err);
    struct ah_json v = event; /* flat: code, message, param beside type "error" */
    ah_chat_error_value(v, err);
    return -1;
}

/* Texts that come in pieces, and where they go in a chat. */
static const struct {
    const char *event, *member;
} texts[] = {
    {"response.output_text.delta", "content"},
    {"response.refusal.delta", "refusal"},
    {"response.reasoning_summary_text.delta", "reasoning"},
    {"response.reasoning_text.delta", "reasoning"},
};

static int take_event(struct ah_responses *r, struct ah_chat *c, const char *type, struct ah_json event,
                      struct ah_error *err)
{
    int64_t index = 0;
    struct ah_json item = ah_json_get(event, "item"), response = ah_json_get(event, "response");
    struct ah_json none = {0};
    ah_json_int(ah_json_get(event, "output_index"), &index);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(type, texts[i].event) == 0) {
            is_told(r, index, true);
            return send_delta(c, texts[i].member, ah_json_get(event, "delta"), err);
        }
    if (strcmp(type, "response.created") == 0)
        return on_started(c, response, err);
    if (strcmp(type, "response.output_item.added") == 0)
        return is_call(item) ? send_call(c, index, item, none, err) : 0;
    if (strcmp(type, "response.function_call_arguments.delta") == 0 ||
        strcmp(type, "response.custom_tool_call_input.delta") == 0) {
        is_told(r, index, true);
        return send_call(c, index, none, ah_json_get(event, "delta"), err);
    }
    if (strcmp(type, "response.output_item.done") == 0)
        return on_item_done(r, c, index, item, err);
    if (strcmp(type, "response.completed") == 0 || strcmp(type, "response.incomplete") == 0)
        return take_end(r, c, response, err);
    if (strcmp(type, "response.failed") == 0)
        return fail_response(response, err);
    return strcmp(type, "error") == 0 ? on_error(event, err) : 0;
}

int ah_responses_event(struct ah_responses *r, struct ah_chat *c, const char *name, const char *data,
                       size_t n, struct ah_error *err)
{
    struct ah_json event;
    char type[64];
    if (n == 0 || c->done || ah_chat_finished(c) || (n >= 6 && strncmp(data, "[DONE]", 6) == 0))
        return 0; /* proxies add [DONE]; after the end nothing matters */
    if (ah_json_check(data, n, 0, &event, err) != 0)
        return -1;
    ah_json_copy(ah_json_get(event, "type"), type, sizeof type);
    if (!type[0] && name)
        snprintf(type, sizeof type, "%s", name);
    if (!type[0] && ah_chat_error_is(event)) {
        ah_chat_error_value(event, err);
        return -1;
    }
    return take_event(r, c, type, event, err);
}

int ah_responses_whole(struct ah_responses *r, struct ah_chat *c, const char *body, size_t n,
                       struct ah_error *err)
{
    struct ah_json response;
    int64_t index = 0;
    if (ah_json_check(body, n, 0, &response, err) != 0)
        return -1;
    struct ah_json output = ah_json_get(response, "output");
    if (ah_json_is(ah_json_get(response, "status"), "failed"))
        return fail_response(response, err);
    if (output.type != AH_JSON_ARRAY && ah_chat_error_is(response)) {
        ah_chat_error_value(response, err);
        return -1;
    }
    if (output.type != AH_JSON_ARRAY)
        return ah_err_set(err, AH_PROTOCOL, "the model service answered with something else than a response");
    for (struct ah_json_iter it = ah_json_iter(output); ah_json_next(&it);)
        if (take_item(c, index++, it.value, err) != 0)
            return -1;
    return take_end(r, c, response, err);
}
