/* The settings of tracing, as variables give them. Called by trace.c, lssend.c and cmd_*.c. Must not write to
 * the journal, and must never put a key into a sentence. */
#include "tracing.h"

#include "config.h"
#include "near.h"
#include "secret.h"
#include "url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_ENDPOINT "https://api.smith.langchain.com"

struct ah_tracing {
    struct ah_config *config;
    struct ah_secrets *secrets;
    char endpoint[1024], why[400], complaint[400];
};

struct ah_tracing *ah_tracing_new(struct ah_config *config, struct ah_secrets *secrets)
{
    struct ah_tracing *t = calloc(1, sizeof *t);
    if (t)
        *t = (struct ah_tracing){.config = config, .secrets = secrets};
    return t;
}

void ah_tracing_free(struct ah_tracing *t)
{
    free(t);
}

/* --- where ------------------------------------------------------------------------------------------- */

/* LANGSMITH_<name>, else LANGCHAIN_<name>. */
static const char *read_either(struct ah_tracing *t, const char *name, const char **which)
{
    static const char *const prefixes[] = {"LANGSMITH_", "LANGCHAIN_"};
    char full[64];
    const char *value = NULL;
    for (size_t i = 0; t->config && !value && i < 2; i++) {
        snprintf(full, sizeof full, "%s%s", prefixes[i], name);
        value = ah_config_get(t->config, full);
        if (which)
            *which = prefixes[i];
    }
    return value;
}

static const char *tracing_switch(struct ah_config *c, const char **which)
{
    return ah_config_first(c, which, "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING_V2", "LANGSMITH_TRACING",
                           "LANGCHAIN_TRACING", NULL);
}

static const char *api_key(struct ah_config *c)
{
    return ah_config_first(c, NULL, "LANGSMITH_API_KEY", "LANGCHAIN_API_KEY", NULL);
}

/* The base URL without trailing slashes, in t->endpoint. -1: it is none. */
static int read_endpoint(struct ah_tracing *t, const char **which, struct ah_error *err)
{
    const char *given = ah_config_first(t->config, which, "LANGSMITH_ENDPOINT", "LANGCHAIN_ENDPOINT", NULL);
    struct ah_url url;
    int n = snprintf(t->endpoint, sizeof t->endpoint, "%s", given ? given : DEFAULT_ENDPOINT);
    while (n > 0 && n < (int)sizeof t->endpoint && t->endpoint[n - 1] == '/')
        t->endpoint[--n] = '\0';
    if (n >= (int)sizeof t->endpoint)
        return ah_err_set(err, AH_CONFIG, "the address is too long");
    if (ah_url_parse(t->endpoint, (size_t)n, &url, err) != 0)
        return -1;
    if (!url.tls && !ah_url_is_loopback(&url)) /* traces hold people's mail, requests the key */
        return ah_err_set(err, AH_CONFIG, "plain http is for this machine only; use https");
    return 0;
}

void ah_tracing_target(struct ah_tracing *t, struct ah_tracing_where *out)
{
    struct ah_config *c = t->config;
    *out = (struct ah_tracing_where){.endpoint = "", .workspace = "", .project = "default"};
    if (!c)
        return;
    const char *project = ah_config_first(c, NULL, "LANGSMITH_PROJECT", "LANGCHAIN_PROJECT",
                                          "LANGSMITH_SESSION", "LANGCHAIN_SESSION", NULL);
    const char *workspace = ah_config_first(c, NULL, "LANGSMITH_WORKSPACE_ID", "LANGCHAIN_WORKSPACE_ID",
                                            "LANGSMITH_TENANT_ID", NULL);
    out->project = project ? project : "default";
    out->emulated = ah_config_emulated(c);
    out->key = api_key(c);
    if (!out->key || read_endpoint(t, NULL, NULL) != 0)
        return;
    out->endpoint = t->endpoint;
    out->workspace = workspace ? workspace : "";
}

void ah_tracing_where(struct ah_tracing *t, struct ah_tracing_where *out)
{
    const char *on = t->config ? tracing_switch(t->config, NULL) : NULL;
    ah_tracing_target(t, out);
    if (!on || strcasecmp(on, "true") != 0) {
        out->endpoint = "";
        out->workspace = "";
    }
}

/* --- why not ------------------------------------------------------------------------------------ */

/* After LANGSMITH_ or LANGCHAIN_: what is read here, and is suggested. */
static const char *const known_names[] = {"TRACING_V2",     "TRACING",
                                          "API_KEY",        "ENDPOINT",
                                          "PROJECT",        "HIDE_INPUTS",
                                          "HIDE_OUTPUTS",   "HIDE_METADATA",
                                          "WORKSPACE_ID",   "TRACING_SAMPLING_RATE",
                                          "RUNS_ENDPOINTS", NULL};

/* Others that are spelt right; they must not look like mistakes. */
static const char *const other_names[] = {"SESSION",
                                          "TENANT_ID",
                                          "CALLBACKS_BACKGROUND",
                                          "TRACING_BACKGROUND",
                                          "TRACING_MODE",
                                          "REVISION_ID",
                                          "CUSTOM_HEADERS",
                                          "OTEL_ENABLED",
                                          "OTEL_ONLY",
                                          "BATCH_INGEST_SIZE_LIMIT",
                                          "DISABLE_RUN_COMPRESSION",
                                          "RUN_COMPRESSION_LEVEL",
                                          "RUN_COMPRESSION_THREADS",
                                          "CONFIG_FILE",
                                          "PROFILE",
                                          "DEBUG",
                                          NULL};

static bool is_listed(const char *const *names, const char *name)
{
    for (; *names; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

struct misspelling {
    char name[128], prefix[16];
    const char *meant; /* without its prefix */
};

static void look_at_name(void *arg, const char *name, const char *value)
{
    struct misspelling *m = arg;
    (void)value;
    size_t prefix = 10; /* of LANGSMITH_ and of LANGCHAIN_ */
    if (m->meant || strlen(name) <= prefix)
        return;
    bool right = strncmp(name, "LANGSMITH_", prefix) == 0 || strncmp(name, "LANGCHAIN_", prefix) == 0;
    if (right && (is_listed(known_names, name + prefix) || is_listed(other_names, name + prefix)))
        return;
    if (right) {
        m->meant = ah_near_best(name + prefix, known_names);
        snprintf(m->prefix, sizeof m->prefix, "%.10s", name);
    } else { /* the prefix itself may be misspelt */
        static const char *const firsts[] = {"LANGSMITH", "LANGCHAIN", NULL};
        const char *rest = strchr(name, '_');
        snprintf(m->name, sizeof m->name, "%.*s", rest ? (int)(rest - name) : 0, name);
        const char *first = rest && is_listed(known_names, rest + 1) ? ah_near_best(m->name, firsts) : NULL;
        m->meant = first ? ah_near_best(rest + 1, known_names) : NULL;
        snprintf(m->prefix, sizeof m->prefix, "%s_", first ? first : "");
    }
    if (m->meant)
        snprintf(m->name, sizeof m->name, "%s", name);
}

static bool means_off(const char *value)
{
    static const char *const words[] = {"false", "0", "no", "off", NULL};
    for (const char *const *w = words; *w; w++)
        if (strcasecmp(*w, value) == 0)
            return true;
    return false;
}

static const char *say_switched_off(struct ah_tracing *t)
{
    struct misspelling m = {.meant = NULL};
    ah_config_each(t->config, "LANG", look_at_name, &m);
    if (m.meant)
        snprintf(t->why, sizeof t->why, "%s is no variable that anybody reads: did you mean %s%s?", m.name,
                 m.prefix, m.meant);
    else if (api_key(t->config))
        snprintf(t->why, sizeof t->why,
                 "there is a LangSmith key, but tracing is not switched on: set LANGSMITH_TRACING=true");
    else
        return NULL;
    return t->why;
}

const char *ah_tracing_why_off(struct ah_tracing *t)
{
    struct ah_config *c = t->config;
    const char *which = NULL;
    const char *on = c ? tracing_switch(c, &which) : NULL;
    struct ah_error err = {0};
    if (!c)
        return NULL;
    if (!on)
        return say_switched_off(t);
    if (strcasecmp(on, "true") != 0) {
        if (means_off(on))
            return NULL;
        snprintf(t->why, sizeof t->why, "%s is \"%.40s\", which does not switch tracing on: set it to true",
                 which, on);
        return t->why;
    }
    if (!api_key(c)) {
        snprintf(t->why, sizeof t->why, "%s is true, but there is no key: set LANGSMITH_API_KEY", which);
        return t->why;
    }
    if (read_endpoint(t, &which, &err) != 0) {
        snprintf(t->why, sizeof t->why, "%s cannot be used: %.250s", which ? which : "LANGSMITH_ENDPOINT",
                 err.message);
        ah_err_drop(&err);
        return t->why;
    }
    return NULL;
}

/* --- which, and how much of them ---------------------------------------------------------------------- */

static bool means_on(const char *value)
{
    static const char *const words[] = {"true", "1", "yes", "on", NULL};
    for (const char *const *w = words; *w; w++)
        if (strcasecmp(*w, value) == 0)
            return true;
    return false;
}

/* What is neither true nor false hides: who wrote it wanted something hidden. */
static bool hides(struct ah_tracing *t, const char *name)
{
    const char *value = read_either(t, name, NULL);
    return value && !means_off(value);
}

void ah_tracing_rules(struct ah_tracing *t, struct ah_tracing_rules *out)
{
    const char *tokens = t->config ? ah_config_get(t->config, "AGENTHOST_HIDE_TOKENS") : NULL;
    *out = (struct ah_tracing_rules){.hide_inputs = hides(t, "HIDE_INPUTS"),
                                     .hide_outputs = hides(t, "HIDE_OUTPUTS"),
                                     .hide_metadata = hides(t, "HIDE_METADATA"),
                                     .hide_tokens = !tokens || !means_off(tokens)};
}

/* -1: is no rate. */
static int read_rate(struct ah_tracing *t, const char **which, double *rate)
{
    const char *value = read_either(t, "TRACING_SAMPLING_RATE", which);
    char *end = NULL;
    *rate = 1;
    if (!value)
        return 0;
    double given = strtod(value, &end);
    if (end == value || *end || !(given >= 0 && given <= 1))
        return -1;
    *rate = given;
    return 0;
}

/* The last 48 bits of an id are chance. */
bool ah_tracing_samples(struct ah_tracing *t, const char *trace_id)
{
    double rate;
    size_t n = strlen(trace_id);
    if (read_rate(t, NULL, &rate) != 0 || n < 12 || rate >= 1)
        return true;
    double place = (double)strtoull(trace_id + n - 12, NULL, 16) / (double)(1ULL << 48);
    return place < rate;
}

bool ah_tracing_keeps_errors(struct ah_tracing *t)
{
    const char *value = t->config ? ah_config_get(t->config, "AGENTHOST_TRACE_ERRORS") : NULL;
    return value && means_on(value);
}

const char *ah_tracing_revision(struct ah_tracing *t)
{
    return read_either(t, "REVISION_ID", NULL);
}

static bool complain_of_switch(struct ah_tracing *t, const char *name)
{
    const char *prefix, *value = read_either(t, name, &prefix);
    if (!value || means_on(value) || means_off(value))
        return false;
    snprintf(t->complaint, sizeof t->complaint, "%s%s is \"%.40s\", neither true nor false: taken as true",
             prefix, name, value);
    return true;
}

const char *ah_tracing_complaint(struct ah_tracing *t)
{
    static const char *const switches[] = {"HIDE_INPUTS", "HIDE_OUTPUTS", "HIDE_METADATA", NULL};
    struct misspelling m = {.meant = NULL};
    const char *prefix, *mode_prefix, *mode = read_either(t, "TRACING_MODE", &mode_prefix);
    double rate;
    if (!t->config)
        return NULL;
    for (const char *const *s = switches; *s; s++)
        if (complain_of_switch(t, *s))
            return t->complaint;
    if (read_rate(t, &prefix, &rate) != 0) {
        snprintf(t->complaint, sizeof t->complaint,
                 "%sTRACING_SAMPLING_RATE must be a number from 0 to 1: every trace is sent", prefix);
        return t->complaint;
    }
    if (mode && strcasecmp(mode, "langsmith") != 0) {
        snprintf(t->complaint, sizeof t->complaint,
                 "%sTRACING_MODE=%.40s is not known here: spans go to LangSmith; `agenthost trace export "
                 "--format otlp` is for OpenTelemetry",
                 mode_prefix, mode);
        return t->complaint;
    }
    ah_config_each(t->config, "LANG", look_at_name, &m);
    if (!m.meant)
        return NULL;
    snprintf(t->complaint, sizeof t->complaint, "%s is no variable that anybody reads: did you mean %s%s?",
             m.name, m.prefix, m.meant);
    return t->complaint;
}
