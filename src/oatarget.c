/* Where calls of model services go: base URL, key, headers, and which kind of server it is. Called by
 * openai.c. Must not let a key into a message, and must not send. See oatarget.h. */
#include "oatarget.h"

#include "config.h"
#include "http.h"
#include "log.h"
#include "secret.h"
#include "url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_BASE "https://api.openai.com/v1"
#define TAG_BYTES 256
#define TAGS_BYTES 2048 /* of the whole list; servers bound their headers */

void ah_oatarget_drop(struct ah_oatarget *t)
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

static bool ends_with(struct ah_url_part path, const char *end)
{
    size_t n = strlen(end);
    return path.n >= n && memcmp(path.p + path.n - n, end, n) == 0;
}

/* Keys over plain http: loopback is fine, a private network is common (LiteLLM) and said once. */
static int check_base(struct ah_core *core, bool *http_warned, const char *base, const char *setting,
                      struct ah_url *url, struct ah_error *err)
{
    struct ah_error why = {0};
    const char *what = given(setting) ? setting : "the base URL of the model service";
    if (ah_url_parse(base, strlen(base), url, &why) != 0) {
        ah_err_set(err, AH_CONFIG, "%s is not usable: %.900s", what, why.message);
        ah_err_drop(&why);
        return -1;
    }
    if (ends_with(url->path, "/chat/completions"))
        return ah_err_set(err, AH_CONFIG, "%s must end before /chat/completions, which is added by itself",
                          what);
    if (url->query.n)
        return ah_err_set(err, AH_CONFIG, "%s must not have a query", what);
    if (url->has_userinfo) /* it would be in every trace */
        return ah_err_set(err, AH_CONFIG,
                          "%s must not hold a user name or password; OPENAI_CUSTOM_HEADERS can carry an "
                          "Authorization header",
                          what);
    if (!url->tls && ah_provider_is_openai(url->host))
        return ah_err_set(err, AH_CONFIG, "%s must begin with https://", what);
    if (!url->tls && !ah_url_is_loopback(url) && !*http_warned) {
        *http_warned = true;
        ah_log_line(core->log, AH_LOG_WARN,
                    "model calls to %.*s go over plain http: key and messages are readable on the way",
                    (int)url->host.n, url->host.p);
    }
    return 0;
}

/* The LiteLLM pair holds together or not at all. */
static int choose_base(struct ah_core *core, const char *base, const char *key, struct ah_oatarget *t,
                       const char **chosen, struct ah_error *err)
{
    struct ah_config *config = core->config;
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

static void name_provider(struct ah_core *core, const struct ah_url *url, struct ah_oatarget *t)
{
    const char *name = NULL;
    if (t->litellm)
        name = "litellm";
    else if (given(t->setting) && ah_config_source_of(core->config, t->setting) == AH_FROM_EMULATOR)
        name = "openai"; /* the emulator refuses what OpenAI refuses */
    t->provider = name ? *ah_provider_named(name) : *ah_provider_of(url);
}

int ah_oatarget_find(struct ah_core *core, const char *base, const char *key, bool *http_warned,
                     struct ah_oatarget *t, struct ah_error *err)
{
    const char *chosen;
    struct ah_url url;
    memset(t, 0, sizeof *t);
    if (choose_base(core, base, key, t, &chosen, err) != 0 ||
        check_base(core, http_warned, chosen, t->setting, &url, err) != 0)
        return -1;
    const char *name = t->litellm ? "LITELLM_API_KEY" : "OPENAI_API_KEY";
    if (!given(key))
        key = ah_config_get(core->config, name);
    if (!given(key) && !ah_url_is_loopback(&url))
        return ah_config_missing(core->config, name, err);
    if (given(key) && strpbrk(key, "\r\n"))
        return ah_err_set(err, AH_CONFIG, "the API key (%s) holds a line break", name);
    name_provider(core, &url, t);
    t->base = strdup(chosen);
    t->key = given(key) ? strdup(key) : NULL;
    if (!t->base || (given(key) && !t->key)) {
        ah_oatarget_drop(t);
        return fail_memory(err);
    }
    return 0;
}

/* --- headers --------------------------------------------------------------------------------------- */

void ah_oaheaders_drop(struct ah_oaheaders *h)
{
    if (h->bearer.p)
        explicit_bzero(h->bearer.p, h->bearer.n);
    ah_buf_drop(&h->bearer);
    ah_buf_drop(&h->tags);
    free(h->custom);
}

/* A later one of the same name takes the place: people's own headers win. */
static int set_header(struct ah_oaheaders *h, const char *name, const char *value, struct ah_error *err)
{
    size_t i = 0;
    if (!given(value))
        return 0;
    while (i < h->count && strcasecmp(h->list[i].name, name) != 0)
        i++;
    if (i == AH_OAHEADERS_COUNT)
        return ah_err_set(err, AH_CONFIG, "OPENAI_CUSTOM_HEADERS holds more than %d headers",
                          AH_OAHEADERS_COUNT - 8);
    h->list[i] = (struct ah_http_header){name, value};
    if (i == h->count)
        h->count++;
    return 0;
}

static int add_custom(struct ah_oaheaders *h, const char *text, struct ah_error *err)
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

/* Whether a tag can stand in a list with commas, in one line that every server reads alike. */
static bool is_plain(const char *tag)
{
    for (const char *p = tag; *p; p++)
        if (*p < ' ' || *p > '~' || *p == ',')
            return false;
    return *tag != '\0';
}

/* For LiteLLM's own books: what was spent for what. A tag that cannot be written there is left out. */
static int add_tags(struct ah_oaheaders *h, struct ah_json tags, const struct ah_secrets *secrets)
{
    char tag[TAG_BYTES];
    for (struct ah_json_iter it = ah_json_iter(tags); ah_json_next(&it);) {
        if (it.value.n > sizeof tag - 1)
            continue; /* cut, it would be another tag */
        ah_json_copy(it.value, tag, sizeof tag);
        ah_secret_mask_str(secrets, tag, sizeof tag);
        if (is_plain(tag) && h->tags.n + strlen(tag) < TAGS_BYTES)
            ah_buf_addf(&h->tags, h->tags.n ? ",%s" : "%s", tag);
    }
    return h->tags.failed ? -1 : 0;
}

int ah_oaheaders_make(struct ah_oaheaders *h, struct ah_core *core, const struct ah_oatarget *t,
                      const struct ah_oaheaders_of *of, struct ah_error *err)
{
    struct ah_config *config = core->config;
    memset(h, 0, sizeof *h);
    ah_buf_init(&h->bearer, AH_HTTP_HEADER_BYTES);
    ah_buf_init(&h->tags, AH_HTTP_HEADER_BYTES);
    if ((t->key && ah_buf_addf(&h->bearer, "Bearer %s", t->key) != 0) ||
        (t->litellm && add_tags(h, of->tags, core->secrets) != 0))
        return fail_memory(err);
    if (set_header(h, "Content-Type", of->has_body ? "application/json" : NULL, err) != 0 ||
        set_header(h, "Accept", of->stream ? "text/event-stream, application/json" : "application/json",
                   err) != 0 ||
        set_header(h, "Authorization", h->bearer.p, err) != 0 ||
        set_header(h, "OpenAI-Organization", ah_config_get(config, "OPENAI_ORG_ID"), err) != 0 ||
        set_header(h, "OpenAI-Project", ah_config_get(config, "OPENAI_PROJECT_ID"), err) != 0 ||
        set_header(h, "x-litellm-call-id", t->litellm ? of->span_id : NULL, err) != 0 ||
        set_header(h, "x-litellm-tags", h->tags.p, err) != 0)
        return -1;
    return add_custom(h, ah_config_get(config, "OPENAI_CUSTOM_HEADERS"), err);
}
