/* Chat completions: where they go, how they are sent, what came of it; one span and one effect a call.
 *
 * Called by lua_openai.c. The life of a call: ah_openai_chat journals the intent and queues the request;
 * http.c sends, repeats and hands over bytes; classify() is the verdict over each attempt; on_http_done
 * ends the call, or sends once more without what a compatible server refused. Must not call Lua, and must
 * not send before span and effect are queued for the journal. */
#include "openai.h"

#include "chat_error.h"
#include "config.h"
#include "limits.h"
#include "log.h"
#include "secret.h"
#include "sse.h"
#include "url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_BASE "https://api.openai.com/v1"
#define DEFAULT_HOST "api.openai.com"
#define URL_BYTES ((size_t)8192)
#define BODY_BYTES ((size_t)64 << 20) /* of a request: pictures come inside it */
#define HEADERS_COUNT 40              /* ours and those of OPENAI_CUSTOM_HEADERS */
#define QUIRKS_COUNT 64               /* servers and models remembered */
#define DRAIN_MS 1000                 /* after [DONE], for the end of the body: the connection lives on */
#define LATE_USAGE_MS 5000            /* after finish_reason, for the usage and [DONE] */
#define PARTIAL_BYTES 16384           /* of the text kept with an error */
#define WAIT_TOLD_MS 2000             /* waits from here on are told to a person */

/* What a compatible server was found not to take. */
enum { QUIRK_NO_STREAM_OPTIONS = 1, QUIRK_MAX_COMPLETION_TOKENS = 2 };

struct quirk {
    char *base, *model; /* model NULL: all of them */
    int flag;
};

struct ah_openai {
    struct ah_core *core;
    struct quirk quirks[QUIRKS_COUNT];
    size_t quirk_count;
    bool http_warned;
};

/* Where a call goes. */
struct target {
    char *base, *key; /* key NULL: none is sent */
    const char *setting;
    bool litellm;
};

struct call {
    struct ah_openai_op pub; /* first */
    struct ah_openai *o;
    struct target target;
    char *url, *body_text;
    struct ah_json body; /* into body_text */
    char model[128];
    bool stream, has_stream_options, has_max_tokens, has_max_completion;
    int quirks;
    void (*on_delta)(void *, const struct ah_chat_delta *);
    bool (*is_full)(void *);
    void *arg;
    struct ah_openai_req limits; /* only times and retry are used */
    struct ah_run *run;          /* counted */
    struct ah_span *span;        /* counted */
    struct ah_effect *effect;
    struct ah_http_op *http;
    struct ah_sse sse;
    enum { FORM_UNKNOWN, FORM_EVENTS, FORM_WHOLE } form; /* of the answer that comes */
    struct ah_buf whole; /* an answer that is no stream though one was asked for */
    struct ah_timer drain;
    int64_t began_us;
    bool delivered; /* a piece was given away: the answer cannot begin anew */
    bool truncated; /* once already, and repeated */
    bool first_token, drained;
    bool later; /* the same request may succeed later, though this one is not repeated */
};

/* --- the service ------------------------------------------------------------------------------- */

struct ah_openai *ah_openai_new(struct ah_core *core)
{
    struct ah_openai *o = calloc(1, sizeof *o);
    if (o)
        o->core = core;
    return o;
}

void ah_openai_free(struct ah_openai *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->quirk_count; i++) {
        free(o->quirks[i].base);
        free(o->quirks[i].model);
    }
    free(o);
}

static int quirks_of(const struct ah_openai *o, const char *base, const char *model)
{
    int flags = 0;
    for (size_t i = 0; i < o->quirk_count; i++)
        if (strcmp(o->quirks[i].base, base) == 0 &&
            (!o->quirks[i].model || strcmp(o->quirks[i].model, model) == 0))
            flags |= o->quirks[i].flag;
    return flags;
}

/* Without memory or room it is found out again next time. */
static void remember_quirk(struct ah_openai *o, const char *base, const char *model, int flag)
{
    if (o->quirk_count == QUIRKS_COUNT || (quirks_of(o, base, model ? model : "") & flag))
        return;
    struct quirk q = {strdup(base), model ? strdup(model) : NULL, flag};
    if (!q.base || (model && !q.model)) {
        free(q.base);
        free(q.model);
        return;
    }
    o->quirks[o->quirk_count++] = q;
}

/* --- where calls go ---------------------------------------------------------------------------- */

static void drop_target(struct target *t)
{
    free(t->base);
    if (t->key)
        explicit_bzero(t->key, strlen(t->key));
    free(t->key);
    memset(t, 0, sizeof *t);
}

static bool given(const char *s)
{
    return s && s[0];
}

static int fail_memory(struct ah_error *err)
{
    return ah_err_set(err, AH_MEMORY, "out of memory before a model call");
}

static bool is_openai_host(struct ah_url_part host)
{
    static const char name[] = DEFAULT_HOST;
    size_t n = sizeof name - 1;
    if (host.n < n || strncasecmp(host.p + host.n - n, name, n) != 0)
        return false;
    return host.n == n || host.p[host.n - n - 1] == '.';
}

/* Keys over plain http: loopback is fine, a private network is common (LiteLLM) and said once. */
static int check_base(struct ah_openai *o, const char *base, const char *setting, struct ah_url *url,
                      struct ah_error *err)
{
    struct ah_error why = {0};
    const char *what = given(setting) ? setting : "the base URL of the model service";
    if (ah_url_parse(base, strlen(base), url, &why) != 0) {
        ah_err_set(err, AH_CONFIG, "%s is not usable: %.900s", what, why.message);
        ah_err_drop(&why);
        return -1;
    }
    if (url->query.n)
        return ah_err_set(err, AH_CONFIG, "%s must not have a query", what);
    if (url->has_userinfo) /* it would be in every trace */
        return ah_err_set(err, AH_CONFIG,
                          "%s must not hold a user name or password; OPENAI_CUSTOM_HEADERS can carry an "
                          "Authorization header",
                          what);
    if (!url->tls && is_openai_host(url->host))
        return ah_err_set(err, AH_CONFIG, "%s must begin with https://", what);
    if (!url->tls && !ah_url_is_loopback(url) && !o->http_warned) {
        o->http_warned = true;
        ah_log_line(o->core->log, AH_LOG_WARN,
                    "model calls to %.*s go over plain http: key and messages are readable on the way",
                    (int)url->host.n, url->host.p);
    }
    return 0;
}

/* The LiteLLM pair holds together or not at all. */
static int choose_base(struct ah_openai *o, const char *base, const char *key, struct target *t,
                       const char **chosen, struct ah_error *err)
{
    struct ah_config *config = o->core->config;
    const char *lite_base = ah_config_get(config, "LITELLM_BASE_URL");
    const char *lite_key = ah_config_get(config, "LITELLM_API_KEY");
    t->setting = "";
    *chosen = base;
    if (given(base)) {
        t->litellm = lite_base && strcmp(base, lite_base) == 0;
        return 0;
    }
    if (lite_base && !lite_key && !given(key))
        return ah_err_set(err, AH_CONFIG,
                          "LITELLM_BASE_URL is set, but LITELLM_API_KEY is not; set both, or neither and "
                          "OPENAI_API_KEY");
    if (lite_key && !lite_base)
        return ah_err_set(err, AH_CONFIG,
                          "LITELLM_API_KEY is set, but LITELLM_BASE_URL is not; set both, or neither and "
                          "OPENAI_API_KEY");
    t->litellm = lite_base != NULL;
    t->setting = "LITELLM_BASE_URL";
    *chosen = lite_base;
    if (!*chosen) {
        t->setting = "";
        *chosen = ah_config_first(config, &t->setting, "OPENAI_BASE_URL", "OPENAI_API_BASE", NULL);
    }
    if (!*chosen) {
        t->setting = "";
        *chosen = DEFAULT_BASE;
    }
    return 0;
}

static int resolve(struct ah_openai *o, const char *base, const char *key, struct target *t,
                   struct ah_error *err)
{
    struct ah_config *config = o->core->config;
    const char *chosen;
    struct ah_url url;
    if (choose_base(o, base, key, t, &chosen, err) != 0 || check_base(o, chosen, t->setting, &url, err) != 0)
        return -1;
    const char *name = t->litellm ? "LITELLM_API_KEY" : "OPENAI_API_KEY";
    if (!given(key))
        key = ah_config_get(config, name);
    if (!given(key) && !ah_url_is_loopback(&url))
        return ah_config_missing(config, name, err);
    if (given(key) && strpbrk(key, "\r\n"))
        return ah_err_set(err, AH_CONFIG, "the API key (%s) holds a line break", name);
    t->base = strdup(chosen);
    t->key = given(key) ? strdup(key) : NULL;
    if (!t->base || (given(key) && !t->key)) {
        drop_target(t);
        return fail_memory(err);
    }
    return 0;
}

int ah_openai_check(struct ah_openai *o, const char *base_url, const char *api_key, struct ah_error *err)
{
    struct target t = {0};
    int rc = resolve(o, base_url, api_key, &t, err);
    drop_target(&t);
    return rc;
}

int ah_openai_where(struct ah_openai *o, struct ah_buf *base_url, const char **setting, struct ah_error *err)
{
    struct target t = {0};
    int rc = resolve(o, NULL, NULL, &t, err);
    *setting = t.setting;
    if (rc == 0 && ah_buf_adds(base_url, t.base) != 0)
        rc = fail_memory(err);
    drop_target(&t);
    return rc;
}

/* --- the request's headers ----------------------------------------------------------------------- */

struct headers {
    struct ah_http_header list[HEADERS_COUNT];
    size_t count;
    struct ah_buf bearer; /* "Bearer KEY" */
    char *custom;         /* OPENAI_CUSTOM_HEADERS, cut into strings */
};

static void drop_headers(struct headers *h)
{
    if (h->bearer.p)
        explicit_bzero(h->bearer.p, h->bearer.n);
    ah_buf_drop(&h->bearer);
    free(h->custom);
}

/* A later one of the same name takes the place: people's own headers win. */
static int set_header(struct headers *h, const char *name, const char *value, struct ah_error *err)
{
    size_t i = 0;
    if (!given(value))
        return 0;
    while (i < h->count && strcasecmp(h->list[i].name, name) != 0)
        i++;
    if (i == HEADERS_COUNT)
        return ah_err_set(err, AH_CONFIG, "OPENAI_CUSTOM_HEADERS holds more than %d headers",
                          HEADERS_COUNT - 8);
    h->list[i] = (struct ah_http_header){name, value};
    if (i == h->count)
        h->count++;
    return 0;
}

static int add_custom(struct headers *h, const char *text, struct ah_error *err)
{
    char *save = NULL;
    int number = 0;
    if (!text)
        return 0;
    if (!(h->custom = strdup(text)))
        return fail_memory(err);
    for (char *line = strtok_r(h->custom, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save)) {
        char *colon = strchr(line, ':');
        number++;
        if (line[strspn(line, " \t")] == '\0')
            continue;
        if (!colon || colon == line)
            return ah_err_set(err, AH_CONFIG,
                              "line %d of OPENAI_CUSTOM_HEADERS is not of the form 'Name: value'", number);
        *colon = '\0';
        if (set_header(h, line + strspn(line, " \t"), colon + 1 + strspn(colon + 1, " \t"), err) != 0)
            return -1;
    }
    return 0;
}

static int make_headers(struct call *c, struct headers *h, struct ah_error *err)
{
    struct ah_config *config = c->o->core->config;
    bool lite = c->target.litellm;
    ah_buf_init(&h->bearer, AH_HTTP_HEADER_BYTES);
    if (c->target.key && ah_buf_addf(&h->bearer, "Bearer %s", c->target.key) != 0)
        return fail_memory(err);
    if (set_header(h, "Content-Type", "application/json", err) != 0 ||
        set_header(h, "Accept", c->stream ? "text/event-stream, application/json" : "application/json",
                   err) != 0 ||
        set_header(h, "Authorization", h->bearer.p, err) != 0 ||
        set_header(h, "OpenAI-Organization", ah_config_get(config, "OPENAI_ORG_ID"), err) != 0 ||
        set_header(h, "OpenAI-Project", ah_config_get(config, "OPENAI_PROJECT_ID"), err) != 0 ||
        set_header(h, "x-litellm-call-id", lite ? ah_span_id(c->span) : NULL, err) != 0)
        return -1;
    return add_custom(h, ah_config_get(config, "OPENAI_CUSTOM_HEADERS"), err);
}

/* --- the request's body --------------------------------------------------------------------------- */

static bool asks_for_usage(const struct call *c)
{
    return c->stream && !(c->quirks & QUIRK_NO_STREAM_OPTIONS) && !c->has_stream_options;
}

static bool renames_max_tokens(const struct call *c)
{
    return (c->quirks & QUIRK_MAX_COMPLETION_TOKENS) && c->has_max_tokens && !c->has_max_completion;
}

/* The body as the caller made it; its members keep their bytes. */
static int write_body(const struct call *c, struct ah_buf *to)
{
    if (!renames_max_tokens(c)) {
        ah_buf_add(to, c->body.p, c->body.n - 1);
    } else {
        ah_buf_addc(to, '{');
        for (struct ah_json_iter it = ah_json_iter(c->body); ah_json_next(&it);) {
            bool renamed = ah_json_is(it.key, "max_tokens");
            if (to->n > 1)
                ah_buf_addc(to, ',');
            if (renamed)
                ah_buf_adds(to, "\"max_completion_tokens\"");
            else
                ah_buf_add(to, it.key.p, it.key.n);
            ah_buf_addc(to, ':');
            ah_buf_add(to, it.value.p, it.value.n);
        }
    }
    if (c->stream)
        ah_buf_adds(to, ",\"stream\":true");
    if (asks_for_usage(c))
        ah_buf_adds(to, ",\"stream_options\":{\"include_usage\":true}");
    return ah_buf_addc(to, '}');
}

/* --- the span --------------------------------------------------------------------------------------- */

static void put_metadata(struct ah_span *span, const char *key, struct ah_json v)
{
    if (v.type != AH_JSON_NONE && v.type != AH_JSON_NULL)
        ah_span_metadata(span, key, v.p, v.n);
}

static void put_invocation_params(struct ah_span *span, struct ah_json sent)
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

static void put_request_metadata(struct ah_span *span, struct ah_json metadata)
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
static struct ah_json copy_settings(const struct ah_buf *sent, struct ah_buf *to)
{
    struct ah_json body = {.p = sent->p, .n = sent->n, .type = AH_JSON_OBJECT}, settings = {0};
    ah_buf_addc(to, '{');
    for (struct ah_json_iter it = ah_json_iter(body); ah_json_next(&it);) {
        if (ah_json_is(it.key, "messages") || ah_json_is(it.key, "tools"))
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

/* As wrap_openai writes it (spec/langsmith-api.md 4.2). */
static void start_span(struct call *c, const struct ah_openai_req *req, const struct ah_buf *sent)
{
    struct ah_buf settings;
    c->span = ah_span_start(req->run, req->parent, AH_SPAN_LLM, req->name ? req->name : "ChatOpenAI", sent->p,
                            sent->n);
    if (!c->span)
        return;
    ah_buf_init(&settings, BODY_BYTES);
    struct ah_json body = copy_settings(sent, &settings);
    struct ah_json max = ah_json_get(body, "max_tokens");
    ah_span_metadata_str(c->span, "ls_provider", "openai");
    ah_span_metadata_str(c->span, "ls_model_type", "chat");
    ah_span_metadata_str(c->span, "ls_method", "traceable");
    put_metadata(c->span, "ls_model_name", ah_json_get(body, "model"));
    put_metadata(c->span, "ls_temperature", ah_json_get(body, "temperature"));
    put_metadata(c->span, "ls_max_tokens",
                 max.type != AH_JSON_NONE ? max : ah_json_get(body, "max_completion_tokens"));
    put_stop(c->span, ah_json_get(body, "stop"));
    put_invocation_params(c->span, body);
    put_request_metadata(c->span, ah_json_get(body, "metadata"));
    ah_buf_drop(&settings);
    if (req->prompt_file)
        ah_span_metadata_str(c->span, "prompt_file", req->prompt_file);
    if (req->prompt_sha256)
        ah_span_metadata_str(c->span, "prompt_sha256", req->prompt_sha256);
}

/* The response for the span: without usage, which goes beside it. */
static int write_outputs(struct call *c, struct ah_buf *to)
{
    struct ah_json body;
    const struct ah_buf *raw = c->form == FORM_WHOLE ? &c->whole : NULL;
    if (!raw || ah_json_check(raw->p, raw->n, 0, &body, NULL) != 0)
        return ah_chat_write(&c->pub.chat, false, to);
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

/* --- reading ------------------------------------------------------------------------------------------- */

static void on_piece(void *arg, const struct ah_chat_delta *d)
{
    struct call *c = arg;
    if (!c->first_token) {
        c->first_token = true;
        ah_span_event(c->span, "new_token");
    }
    if (c->on_delta) {
        c->delivered = true;
        c->on_delta(c->arg, d);
    }
}

static void on_drained(struct ah_timer *t)
{
    struct call *c = t->arg;
    ah_timer_stop(t);
    c->drained = true;
    if (c->http)
        ah_op_cancel(&c->http->op);
}

/* What matters has come; the server need not be waited for. */
static void watch_end(struct call *c, bool was_finished, bool was_done)
{
    bool done = c->pub.chat.done;
    if ((done && !was_done) || (ah_chat_finished(&c->pub.chat) && !was_finished))
        ah_timer_start(c->o->core->loop, &c->drain, done ? DRAIN_MS : LATE_USAGE_MS, on_drained, c);
}

struct feed {
    struct call *c;
    struct ah_error *err;
};

static int on_event(void *arg, const struct ah_sse_event *ev)
{
    struct call *c = ((struct feed *)arg)->c;
    bool finished = ah_chat_finished(&c->pub.chat), done = c->pub.chat.done;
    if (ah_chat_event(&c->pub.chat, ev->name, ev->data, ev->n, ((struct feed *)arg)->err) != 0)
        return -1;
    watch_end(c, finished, done);
    return 0;
}

/* -1 with the failure in *err; the reader's own "stopped" does not cover it. */
static int feed_events(struct call *c, const char *p, size_t n, bool end, struct ah_error *err)
{
    struct ah_error why = {0}, stop = {0};
    struct feed f = {c, &why};
    c->sse.arg = &f;
    int rc = end ? ah_sse_end(&c->sse, ah_chat_complete, &stop) : ah_sse_feed(&c->sse, p, n, &stop);
    c->sse.arg = NULL;
    if (rc != 0)
        ah_err_move(err, why.kind != AH_NONE ? &why : &stop);
    ah_err_drop(&why);
    ah_err_drop(&stop);
    return rc;
}

static void begin_answer(struct call *c)
{
    ah_timer_stop(&c->drain);
    ah_chat_reset(&c->pub.chat);
    ah_sse_drop(&c->sse);
    ah_sse_init(&c->sse, on_event, NULL);
    ah_buf_clear(&c->whole);
    c->form = FORM_UNKNOWN;
}

/* The answer's own word first; servers that do not say are known by their first character. */
static void find_form(struct call *c, const struct ah_http_res *res, const char *p, size_t n)
{
    char type[128];
    ah_http_header(res, "content-type", type, sizeof type);
    size_t i = 0;
    while (i < n && strchr(" \t\r\n", p[i]) && p[i])
        i++;
    if (strcasestr(type, "event-stream"))
        c->form = FORM_EVENTS;
    else if (strcasestr(type, "json") || i == n || p[i] == '{' || p[i] == '[' || p[i] == '<')
        c->form = FORM_WHOLE;
    else
        c->form = FORM_EVENTS;
}

static int on_data(void *arg, const char *p, size_t n, struct ah_error *err)
{
    struct call *c = arg;
    if (c->is_full && c->is_full(c->arg))
        return 1;
    if (c->form == FORM_UNKNOWN)
        find_form(c, &c->http->res, p, n);
    if (c->form == FORM_EVENTS)
        return feed_events(c, p, n, false, err);
    if (ah_buf_add(&c->whole, p, n) != 0)
        return ah_err_set(err, AH_LIMIT, "the model's answer is larger than %zu bytes", AH_HTTP_BODY_BYTES);
    return 0;
}

/* A body that came at once: a whole answer, or events that nobody asked for. */
static int read_body(struct call *c, const struct ah_http_res *res, struct ah_error *err)
{
    begin_answer(c);
    find_form(c, res, ah_buf_str(&res->body), res->body.n);
    if (c->form == FORM_EVENTS)
        return feed_events(c, res->body.p, res->body.n, false, err);
    if (ah_buf_add(&c->whole, res->body.p, res->body.n) != 0)
        return fail_memory(err);
    return 0;
}

static int settle_answer(struct call *c, struct ah_error *err)
{
    struct ah_chat *chat = &c->pub.chat;
    if (c->form == FORM_EVENTS) {
        chat->streamed = true; /* also when no event came */
        struct ah_error cut = {0};
        /* A last event that was cut harms nothing once the answer itself had ended. */
        int rc = feed_events(c, NULL, 0, true, &cut);
        if (rc != 0 && (cut.kind != AH_TRUNCATED || !ah_chat_finished(chat))) {
            if (cut.kind == AH_TRUNCATED)
                rc = ah_chat_end(chat, err);
            else
                ah_err_move(err, &cut);
            ah_err_drop(&cut);
            return -1;
        }
        ah_err_drop(&cut);
    } else if (ah_chat_whole(chat, ah_buf_str(&c->whole), c->whole.n, err) != 0) {
        return -1;
    }
    return ah_chat_end(chat, err);
}

/* Keeps what the transport knew when the reason is another. */
static void replace_reason(struct ah_error *err, struct ah_error *why)
{
    struct ah_error was = *err;
    ah_err_drop(err);
    ah_err_move(err, why);
    if (!err->status)
        err->status = was.status;
    if (was.retry_after_ms > err->retry_after_ms)
        err->retry_after_ms = was.retry_after_ms;
    if (!err->request_id[0])
        memcpy(err->request_id, was.request_id, sizeof err->request_id);
}

static bool never_helps(enum ah_kind kind)
{
    return kind == AH_QUOTA || kind == AH_CONTEXT_OVERFLOW || kind == AH_REFUSED;
}

static void read_refusal(const struct ah_http_res *res, struct ah_error *err)
{
    char advice[16];
    ah_chat_error_read(res->status, ah_buf_str(&res->body), res->body.n, err);
    ah_http_header(res, "x-should-retry", advice, sizeof advice);
    if (strcmp(advice, "false") == 0)
        err->retryable = false;
    else if (strcmp(advice, "true") == 0 && !never_helps(err->kind))
        err->retryable = true;
}

/* The verdict over an attempt whose status is good. */
static void read_answer(struct call *c, const struct ah_http_res *res, struct ah_error *err)
{
    struct ah_error why = {0};
    bool streamed = c->stream;
    if (err->kind != AH_NONE) { /* the transport broke, or an event was a failure */
        if (c->form != FORM_EVENTS || !ah_chat_finished(&c->pub.chat) || err->kind == AH_LIMIT ||
            ah_chat_end(&c->pub.chat, &why) != 0) {
            ah_err_drop(&why);
            if (err->kind == AH_TRUNCATED)
                err->retryable = !c->truncated;
            if (err->retryable && err->retry_after_ms == 0)
                err->retry_after_ms = ah_chat_error_wait(err->message);
            return;
        }
        ah_err_drop(err);
        return;
    }
    int rc = streamed && c->form != FORM_UNKNOWN ? 0 : read_body(c, res, &why);
    if (rc == 0)
        rc = settle_answer(c, &why);
    if (rc == 0)
        return;
    if (why.kind == AH_TRUNCATED)
        why.retryable = !c->truncated;
    replace_reason(err, &why);
    if (!err->request_id[0])
        ah_http_request_id(res, err->request_id, sizeof err->request_id);
}

static void classify(void *arg, const struct ah_http_res *res, struct ah_error *err)
{
    struct call *c = arg;
    ah_timer_stop(&c->drain);
    if (res->status >= 300 && err->status >= 300)
        read_refusal(res, err);
    else if (res->status >= 200 && res->status < 300)
        read_answer(c, res, err);
    /* One repetition of a cut answer is worth it; a second one would cut it again. */
    if (err->kind == AH_TRUNCATED && err->retryable && !c->delivered)
        c->truncated = true;
    c->later = err->retryable || err->kind == AH_TRUNCATED;
    if (c->delivered) /* http.c asks may_retry_stream only after a piece that was taken */
        err->retryable = false;
}

static bool may_retry_stream(void *arg)
{
    const struct call *c = arg;
    return !c->delivered; /* on_retry, which follows, forgets what had come */
}

static void on_retry(void *arg, int attempt, int64_t wait_ms, const struct ah_error *why)
{
    struct call *c = arg;
    (void)attempt;
    if (!c->delivered)
        begin_answer(c);
    if (wait_ms >= WAIT_TOLD_MS)
        ah_log_line(c->o->core->log, AH_LOG_WARN, "%s; trying again in %.1f s", why->message,
                    (double)wait_ms / 1000);
}

/* --- sending --------------------------------------------------------------------------------------------- */

static int64_t time_left(const struct call *c)
{
    int64_t total = c->limits.total_ms > 0 ? c->limits.total_ms : AH_HTTP_TOTAL_MS;
    int64_t left = total - (ah_clock_mono_us() - c->began_us) / 1000;
    return left > 1 ? left : 1;
}

static void on_http_done(struct ah_op *op, void *arg);

static int send_queued(struct call *c, const struct ah_buf *body, const struct headers *h,
                       struct ah_error *err)
{
    struct ah_http_req req = {
        .method = "POST",
        .url = c->url,
        .headers = h->list,
        .header_count = h->count,
        .body = body->p,
        .body_n = body->n,
        .has_body = true,
        .idempotent = true,
        .stream = c->stream,
        .refuse_redirects = true,
        .connect_ms = c->limits.connect_ms,
        .first_byte_ms = c->limits.first_byte_ms,
        .idle_ms = c->limits.idle_ms,
        .total_ms = time_left(c),
        .retry = c->limits.retry,
        .on_data = on_data,
        .classify = classify,
        .may_retry_stream = may_retry_stream,
        .on_retry = on_retry,
        .arg = c,
    };
    c->http = ah_http_send(c->o->core->http, &req, err);
    if (!c->http)
        return -1;
    ah_op_wait(&c->http->op, on_http_done, c);
    return 0;
}

/* The intent is journalled before the request is queued: the loop commits between the two. */
static int send_body(struct call *c, const struct ah_buf *body, struct ah_error *err)
{
    char what[URL_BYTES + 8];
    struct headers h = {.count = 0};
    struct ah_error why = {0};
    snprintf(what, sizeof what, "POST %s", c->url);
    begin_answer(c);
    c->effect = ah_effect_begin(c->run, c->span, AH_EFFECT_IDEMPOTENT, "model", what, body->p, body->n, &why);
    int rc = why.kind != AH_NONE ? -1 : 0;
    if (rc != 0)
        ah_err_move(err, &why);
    if (rc == 0)
        rc = make_headers(c, &h, err);
    if (rc == 0)
        rc = send_queued(c, body, &h, err);
    drop_headers(&h);
    ah_err_drop(&why);
    return rc;
}

/* --- the end ------------------------------------------------------------------------------------------------ */

static void read_usage(struct call *c)
{
    struct ah_openai_op *op = &c->pub;
    struct ah_json usage = {0};
    char header[64] = "";
    op->tokens.cost = -1;
    if (op->chat.usage.n && ah_json_check(op->chat.usage.p, op->chat.usage.n, 0, &usage, NULL) == 0)
        op->has_usage = ah_chat_usage(usage, op->chat.tier, &op->usage_metadata, &op->tokens) == 0;
    op->cost = op->tokens.cost;
    if (op->cost < 0 && c->http && c->form == FORM_WHOLE) {
        ah_http_header(&c->http->res, "x-litellm-response-cost", header, sizeof header);
        double cost = strtod(header, NULL);
        if (cost > 0 && cost < 1e9)
            op->cost = cost;
    }
}

/* The text that had come goes with the error. */
static void attach_partial(struct call *c, struct ah_error *err)
{
    const struct ah_chat_choice *ch = ah_chat_first(&c->pub.chat);
    struct ah_json_writer w;
    struct ah_buf b;
    size_t n;
    if (err->kind == AH_NONE || err->detail || !ch || !ch->content.n)
        return;
    ah_buf_init(&b, (size_t)8 * PARTIAL_BYTES);
    n = ch->content.n < PARTIAL_BYTES ? ch->content.n : PARTIAL_BYTES;
    while (n && n < ch->content.n && ((unsigned char)ch->content.p[n] & 0xc0) == 0x80)
        n--;
    ah_json_begin(&w, &b, NULL);
    ah_json_object(&w);
    ah_json_key(&w, "partial");
    ah_json_put_strn(&w, ch->content.p, n);
    ah_json_end_object(&w);
    ah_err_take_detail(err, ah_buf_take(&b, NULL));
    ah_buf_drop(&b);
}

static void end_effect(struct call *c, const struct ah_error *failed)
{
    struct ah_op *http = c->http ? &c->http->op : NULL;
    struct ah_buf folded;
    const struct ah_buf *body = &c->whole;
    ah_buf_init(&folded, BODY_BYTES);
    if (!failed && c->form == FORM_EVENTS && ah_chat_write(&c->pub.chat, true, &folded) == 0)
        body = &folded;
    ah_effect_end(c->effect, http ? http->issued : c->pub.op.issued, http ? http->completed : 0,
                  c->http ? c->http->res.status : 0, failed ? NULL : body->p, failed ? 0 : body->n, failed);
    c->effect = NULL;
    ah_buf_drop(&folded);
}

static void end_span(struct call *c, const struct ah_error *failed, bool cancelled)
{
    char text[sizeof failed->message + 64];
    struct ah_buf outputs;
    if (!c->span)
        return;
    if (failed)
        snprintf(text, sizeof text, "%s: %s", ah_err_kind_name(failed->kind), failed->message);
    ah_buf_init(&outputs, BODY_BYTES);
    bool has = c->pub.chat.choice_count && write_outputs(c, &outputs) == 0;
    if (!failed && (c->pub.has_usage || c->pub.cost >= 0))
        ah_span_usage(c->span, c->pub.usage_metadata.p, c->pub.usage_metadata.n, c->pub.tokens.input,
                      c->pub.tokens.output, c->pub.cost);
    ah_span_end(c->span, has ? outputs.p : NULL, has ? outputs.n : 0,
                cancelled ? "Cancelled"
                : failed  ? text
                          : NULL);
    ah_buf_drop(&outputs);
}

/* Once: the end of everything a call holds but its answer. err is moved in. */
static void finish(struct call *c, struct ah_error *err)
{
    bool cancelled = c->pub.op.cancelled;
    ah_timer_stop(&c->drain);
    if (cancelled && err->kind == AH_NONE)
        ah_err_set(err, AH_CANCELLED, "the model call was cancelled");
    if (c->http) {
        c->pub.attempts += c->http->res.attempts;
        c->pub.waited_ms += c->http->res.waited_ms;
        ah_http_request_id(&c->http->res, c->pub.request_id, sizeof c->pub.request_id);
    }
    ah_secret_mask_str(c->o->core->secrets, err->message, sizeof err->message);
    if (err->kind != AH_NONE && c->later)
        err->retryable = true;
    if (err->kind == AH_NONE)
        read_usage(c);
    else
        attach_partial(c, err);
    end_effect(c, err->kind != AH_NONE ? err : NULL);
    end_span(c, err->kind != AH_NONE ? err : NULL, cancelled);
    if (c->http) {
        ah_op_wait(&c->http->op, NULL, NULL);
        ah_op_unref(&c->http->op);
        c->http = NULL;
    }
    c->on_delta = NULL;
    c->is_full = NULL;
    ah_op_finish(&c->pub.op, err);
}

/* A 400 that names something we may leave out or call otherwise. True: it was sent once more. */
static bool try_otherwise(struct call *c, const struct ah_error *failed)
{
    char param[128];
    int quirk = 0;
    const struct ah_http_res *res = &c->http->res;
    if ((res->status != 400 && res->status != 422) || failed->kind != AH_INVALID || c->pub.op.cancelled)
        return false;
    ah_chat_error_param(res->body.p, res->body.n, param, sizeof param);
    if (strstr(param, "stream_options") && asks_for_usage(c))
        quirk = QUIRK_NO_STREAM_OPTIONS;
    else if (strcmp(param, "max_tokens") == 0 && strcmp(failed->code, "unsupported_parameter") == 0)
        quirk = QUIRK_MAX_COMPLETION_TOKENS;
    if (!quirk || (c->quirks & quirk))
        return false;
    remember_quirk(c->o, c->target.base, quirk == QUIRK_NO_STREAM_OPTIONS ? NULL : c->model, quirk);
    c->quirks |= quirk;
    c->pub.attempts += res->attempts;
    c->pub.waited_ms += res->waited_ms;
    end_effect(c, failed);
    ah_op_unref(&c->http->op);
    c->http = NULL;
    struct ah_buf body;
    struct ah_error err = {0};
    ah_buf_init(&body, BODY_BYTES);
    int rc = write_body(c, &body) == 0 ? send_body(c, &body, &err) : fail_memory(&err);
    ah_buf_drop(&body);
    if (rc != 0)
        finish(c, &err);
    return true;
}

static void on_http_done(struct ah_op *op, void *arg)
{
    struct call *c = arg;
    struct ah_error err = {0};
    if (op->err.kind != AH_NONE && try_otherwise(c, &op->err))
        return;
    ah_err_copy(&err, &op->err);
    /* Cut off by ourselves, after all that matters had come. */
    if (c->drained && err.kind == AH_CANCELLED && !c->pub.op.cancelled) {
        ah_err_drop(&err);
        ah_chat_end(&c->pub.chat, &err);
    }
    finish(c, &err);
}

/* --- the op --------------------------------------------------------------------------------------------------- */

static void cancel_call(struct ah_op *op)
{
    struct call *c = (struct call *)op;
    struct ah_error err = {0};
    if (c->http) {
        ah_op_wait(&c->http->op, NULL, NULL);
        ah_op_cancel(&c->http->op);
    }
    finish(c, &err);
}

static void free_call(struct ah_op *op)
{
    struct call *c = (struct call *)op;
    ah_timer_stop(&c->drain);
    ah_chat_drop(&c->pub.chat);
    ah_buf_drop(&c->pub.usage_metadata);
    ah_sse_drop(&c->sse);
    ah_buf_drop(&c->whole);
    ah_span_unref(c->span);
    ah_run_unref(c->run);
    drop_target(&c->target);
    free(c->url);
    free(c->body_text);
    free(c);
}

static const struct ah_op_class call_class = {"the model call", cancel_call, free_call};

void ah_openai_resume(struct ah_openai_op *op)
{
    struct call *c = (struct call *)op;
    if (c->http)
        ah_http_resume(c->http);
}

void ah_openai_forget(struct ah_openai_op *op)
{
    struct call *c = (struct call *)op;
    c->on_delta = NULL;
    c->is_full = NULL;
    c->arg = NULL;
}

static int copy_request(struct call *c, const struct ah_openai_req *req, struct ah_error *err)
{
    static const char *const keys[] = {
        "model", "stream", "stream_options", "max_tokens", "max_completion_tokens", NULL};
    struct ah_json found[5];
    struct ah_buf url;
    struct ah_url parsed;
    c->body_text = malloc(req->body_n + 1);
    if (!c->body_text)
        return fail_memory(err);
    memcpy(c->body_text, req->body, req->body_n);
    c->body_text[req->body_n] = '\0';
    if (ah_json_check(c->body_text, req->body_n, 0, &c->body, err) != 0)
        return -1;
    ah_json_pick(c->body, keys, found);
    ah_json_copy(found[0], c->model, sizeof c->model);
    c->has_stream_options = found[2].type != AH_JSON_NONE;
    c->has_max_tokens = found[3].type != AH_JSON_NONE;
    c->has_max_completion = found[4].type != AH_JSON_NONE;
    if (c->body.type != AH_JSON_OBJECT || !c->model[0])
        return ah_err_set(err, AH_INVALID, "a chat request must be an object with a model");
    if (found[1].type != AH_JSON_NONE)
        return ah_err_set(err, AH_INVALID, "a chat request must not set stream; use model:stream()");
    ah_buf_init(&url, URL_BYTES);
    int rc = ah_url_join(c->target.base, "chat/completions", &url);
    c->url = rc == 0 ? ah_buf_take(&url, NULL) : NULL;
    ah_buf_drop(&url);
    if (!c->url)
        return ah_err_set(err, AH_CONFIG, "the base URL of the model service is too long");
    c->quirks = quirks_of(c->o, c->target.base, c->model);
    if (ah_url_parse(c->target.base, strlen(c->target.base), &parsed, NULL) == 0 &&
        is_openai_host(parsed.host))
        c->quirks |= QUIRK_MAX_COMPLETION_TOKENS; /* there the old name is deprecated, or refused */
    return 0;
}

static struct call *new_call(struct ah_openai *o, const struct ah_openai_req *req)
{
    struct call *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    ah_op_init(&c->pub.op, &call_class, o->core->loop);
    c->o = o;
    c->stream = req->stream;
    c->on_delta = req->on_delta;
    c->is_full = req->is_full;
    c->arg = req->arg;
    c->run = req->run ? ah_run_ref(req->run) : NULL;
    c->limits.connect_ms = req->connect_ms;
    c->limits.first_byte_ms = req->first_byte_ms;
    c->limits.idle_ms = req->idle_ms;
    c->limits.total_ms = req->total_ms;
    c->limits.retry = req->retry;
    c->began_us = ah_clock_mono_us();
    c->pub.cost = -1;
    ah_chat_init(&c->pub.chat, ah_loop_ids(o->core->loop));
    c->pub.chat.on_delta = req->stream ? on_piece : NULL;
    c->pub.chat.arg = c;
    ah_sse_init(&c->sse, on_event, NULL);
    ah_buf_init(&c->whole, AH_HTTP_BODY_BYTES);
    ah_buf_init(&c->pub.usage_metadata, 4096);
    return c;
}

struct ah_openai_op *ah_openai_chat(struct ah_openai *o, const struct ah_openai_req *req,
                                    struct ah_error *err)
{
    struct call *c = new_call(o, req);
    struct ah_buf body;
    if (!c) {
        fail_memory(err);
        return NULL;
    }
    ah_buf_init(&body, BODY_BYTES);
    int rc = resolve(o, req->base_url, req->api_key, &c->target, err);
    if (rc == 0)
        rc = copy_request(c, req, err);
    if (rc == 0 && write_body(c, &body) != 0)
        rc = ah_err_set(err, AH_LIMIT, "the request to the model is larger than %zu bytes", BODY_BYTES);
    if (rc == 0) {
        struct ah_error why = {0};
        start_span(c, req, &body);
        rc = send_body(c, &body, &why);
        if (rc != 0) {
            if (c->effect)
                end_effect(c, &why);
            end_span(c, &why, false);
            ah_err_move(err, &why);
        }
    }
    ah_buf_drop(&body);
    if (rc != 0) {
        c->pub.op.done = true; /* never began: nothing is to be cancelled */
        ah_op_unref(&c->pub.op);
        return NULL;
    }
    return &c->pub; /* the caller's reference is the only one: dropping it cancels */
}
