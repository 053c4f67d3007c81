/* Spans of model calls, in the shape of LangSmith's wrap_openai (messages, tools, tokens, cost as it shows
 * them). Called by openai.c. Never decides what is called, never sends. See oaspan.h. */
#include "oaspan.h"

#include <stdlib.h>
#include <string.h>

#define BODY_BYTES ((size_t)64 << 20)
#define HEADERS_COUNT 40 /* of a gateway's answer that are kept */

static void put_metadata(struct ah_span *span, const char *key, struct ah_json v)
{
    if (v.type != AH_JSON_NONE && v.type != AH_JSON_NULL)
        ah_span_metadata(span, key, v.p, v.n);
}

static void put_invocation_params(struct ah_span *span, struct ah_json sent, bool responses)
{
    static const char *const names[] = {"frequency_penalty",
                                        "n",
                                        "logit_bias",
                                        "logprobs",
                                        "modalities",
                                        "parallel_tool_calls",
                                        "prediction",
                                        "presence_penalty",
                                        "prompt_cache_key",
                                        "reasoning",
                                        "reasoning_effort",
                                        "response_format",
                                        "seed",
                                        "service_tier",
                                        "stream_options",
                                        "top_logprobs",
                                        "top_p",
                                        "truncation",
                                        "user",
                                        "verbosity",
                                        "web_search_options",
                                        NULL};
    struct ah_json found[sizeof names / sizeof names[0]];
    struct ah_json_writer w;
    struct ah_buf b;
    size_t count = 0;
    ah_json_pick(sent, names, found);
    ah_buf_init(&b, BODY_BYTES);
    ah_json_begin(&w, &b, NULL);
    ah_json_object(&w);
    for (size_t i = 0; names[i]; i++) {
        if (found[i].type == AH_JSON_NONE || found[i].type == AH_JSON_NULL)
            continue;
        ah_json_key(&w, names[i]);
        ah_json_put(&w, found[i]);
        count++;
    }
    if (responses) {
        ah_json_key(&w, "use_responses_api");
        ah_json_put_bool(&w, true);
        count++;
    }
    ah_json_end_object(&w);
    if (count && !b.failed)
        ah_span_metadata(span, "ls_invocation_params", b.p, b.n);
    ah_buf_drop(&b);
}

static void put_stop(struct ah_span *span, struct ah_json stop)
{
    struct ah_buf b;
    if (stop.type != AH_JSON_STRING) {
        put_metadata(span, "ls_stop", stop);
        return;
    }
    ah_buf_init(&b, BODY_BYTES);
    ah_buf_addc(&b, '[');
    ah_buf_add(&b, stop.p, stop.n);
    if (ah_buf_addc(&b, ']') == 0)
        ah_span_metadata(span, "ls_stop", b.p, b.n);
    ah_buf_drop(&b);
}

static void put_members(struct ah_span *span, struct ah_json metadata)
{
    if (metadata.type != AH_JSON_OBJECT)
        return;
    for (struct ah_json_iter it = ah_json_iter(metadata); ah_json_next(&it);) {
        char *key = ah_json_dup(it.key);
        if (key)
            put_metadata(span, key, it.value);
        free(key);
    }
}

/* The members of a request but the long ones: many look-ups follow, each of which reads it all. */
static struct ah_json copy_settings(struct ah_json body, struct ah_buf *to)
{
    struct ah_json settings = {0};
    ah_buf_addc(to, '{');
    for (struct ah_json_iter it = ah_json_iter(body); ah_json_next(&it);) {
        if (ah_json_is(it.key, "messages") || ah_json_is(it.key, "tools") || ah_json_is(it.key, "input"))
            continue;
        if (to->n > 1)
            ah_buf_addc(to, ',');
        ah_buf_add(to, it.key.p, it.key.n);
        ah_buf_addc(to, ':');
        ah_buf_add(to, it.value.p, it.value.n);
    }
    if (ah_buf_addc(to, '}') == 0)
        settings = (struct ah_json){.p = to->p, .n = to->n, .type = AH_JSON_OBJECT};
    return settings;
}

static void put_settings(struct ah_span *span, struct ah_json sent, bool responses)
{
    struct ah_buf settings;
    ah_buf_init(&settings, BODY_BYTES);
    struct ah_json body = copy_settings(sent, &settings);
    struct ah_json max = ah_json_get(body, responses ? "max_output_tokens" : "max_tokens");
    put_metadata(span, "ls_model_name", ah_json_get(body, "model"));
    put_metadata(span, "ls_temperature", ah_json_get(body, "temperature"));
    put_metadata(span, "ls_max_tokens",
                 max.type != AH_JSON_NONE ? max : ah_json_get(body, "max_completion_tokens"));
    put_stop(span, ah_json_get(body, "stop"));
    put_invocation_params(span, body, responses);
    put_members(span, ah_json_get(body, "metadata"));
    ah_buf_drop(&settings);
}

struct ah_span *ah_oaspan_start(const struct ah_openai_req *req, enum ah_span_type type, const char *name,
                                struct ah_json sent)
{
    struct ah_span *span =
        ah_span_start(req->run, req->parent, type, req->name ? req->name : name, sent.p, sent.n);
    if (!span)
        return NULL;
    ah_span_metadata_str(span, "ls_provider", "openai");
    if (type == AH_SPAN_LLM) {
        ah_span_metadata_str(span, "ls_model_type", "chat");
        ah_span_metadata_str(span, "ls_method", "traceable");
    }
    put_settings(span, sent, req->api == AH_OPENAI_RESPONSES);
    if (req->prompt_file)
        ah_span_metadata_str(span, "prompt_file", req->prompt_file);
    if (req->prompt_sha256)
        ah_span_metadata_str(span, "prompt_sha256", req->prompt_sha256);
    return span;
}

/* --- the end ------------------------------------------------------------------------------------------ */

int ah_oaspan_gateway(const struct ah_http_res *res, struct ah_buf *to)
{
    static const char gateway[] = "x-litellm-";
    const char *line = ah_buf_str(&res->headers);
    struct ah_json_writer w;
    int count = 0;
    ah_json_begin(&w, to, NULL);
    ah_json_object(&w);
    for (size_t n; *line && count < HEADERS_COUNT; line += n + (line[n] == '\n')) {
        n = strcspn(line, "\n");
        size_t name = strcspn(line, ":\n");
        if (name + 2 > n || strncmp(line, gateway, sizeof gateway - 1) != 0)
            continue;
        ah_json_keyn(&w, line, name);
        ah_json_put_strn(&w, line + name + 2, n - name - 2);
        count++;
    }
    ah_json_end_object(&w);
    if (!count)
        ah_buf_clear(to);
    return count;
}

void ah_oaspan_headers(struct ah_span *span, const struct ah_buf *gateway)
{
    struct ah_json v;
    if (span && gateway->n && ah_json_check(gateway->p, gateway->n, 0, &v, NULL) == 0)
        put_members(span, v);
}

int ah_oaspan_without_usage(struct ah_json body, struct ah_buf *to)
{
    ah_buf_addc(to, '{');
    for (struct ah_json_iter it = ah_json_iter(body); ah_json_next(&it);) {
        if (ah_json_is(it.key, "usage"))
            continue;
        if (to->n > 1)
            ah_buf_addc(to, ',');
        ah_buf_add(to, it.key.p, it.key.n);
        ah_buf_addc(to, ':');
        ah_buf_add(to, it.value.p, it.value.n);
    }
    return ah_buf_addc(to, '}');
}

int ah_oaspan_embeddings(struct ah_json body, struct ah_buf *to)
{
    struct ah_json data = ah_json_get(body, "data"), model = ah_json_get(body, "model");
    struct ah_json_writer w;
    ah_json_begin(&w, to, NULL);
    ah_json_object(&w);
    ah_json_key(&w, "count");
    ah_json_put_int(&w, (int64_t)ah_json_count(data));
    if (model.type == AH_JSON_STRING) {
        ah_json_key(&w, "model");
        ah_json_put(&w, model);
    }
    ah_json_end_object(&w);
    return to->failed ? -1 : 0;
}
