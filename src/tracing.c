/* The settings of tracing, as variables give them. Called by trace*.c, lssend*.c and cmd_*.c. Must not write to
 * the journal, and must never put a key into a sentence. */
#include "tracing.h"

#include "config.h"
#include "hash.h"
#include "json.h"
#include "near.h"
#include "secret.h"
#include "url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_ENDPOINT "https://api.smith.langchain.com"

/* One of LANGSMITH_RUNS_ENDPOINTS. */
struct replica {
    char *endpoint, *dest, *key, *project, *workspace; /* project, workspace: or NULL */
    bool primary;
};

struct ah_tracing {
    struct ah_config *config;
    struct ah_secrets *secrets;
    char *replicas_text; /* from which the list was read; NULL = none */
    struct replica replicas[AH_TRACING_TARGETS_COUNT];
    size_t replica_count;
    bool replicas_bad;
    char endpoint[1024], why[400], complaint[400];
};

struct ah_tracing *ah_tracing_new(struct ah_config *config, struct ah_secrets *secrets)
{
    struct ah_tracing *t = calloc(1, sizeof *t);
    if (t)
        *t = (struct ah_tracing){.config = config, .secrets = secrets};
    return t;
}

static void drop_replicas(struct ah_tracing *t)
{
    for (size_t i = 0; i < t->replica_count; i++) {
        free(t->replicas[i].endpoint);
        free(t->replicas[i].dest);
        free(t->replicas[i].key);
        free(t->replicas[i].project);
        free(t->replicas[i].workspace);
    }
    t->replica_count = 0;
    t->replicas_bad = false;
    free(t->replicas_text);
    t->replicas_text = NULL;
}

void ah_tracing_free(struct ah_tracing *t)
{
    if (t)
        drop_replicas(t);
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

/* Cuts trailing slashes. -1: it is no base URL that traces may go to. */
static int check_endpoint(char *url, struct ah_error *err)
{
    struct ah_url parsed;
    size_t n = strlen(url);
    while (n > 0 && url[n - 1] == '/')
        url[--n] = '\0';
    if (ah_url_parse(url, n, &parsed, err) != 0)
        return -1;
    if (!parsed.tls && !ah_url_is_loopback(&parsed)) /* traces hold people's mail, requests the key */
        return ah_err_set(err, AH_CONFIG, "plain http is for this machine only; use https");
    return 0;
}

/* The base URL in t->endpoint. -1: it is none. */
static int read_endpoint(struct ah_tracing *t, const char **which, struct ah_error *err)
{
    const char *given = ah_config_first(t->config, which, "LANGSMITH_ENDPOINT", "LANGCHAIN_ENDPOINT", NULL);
    if ((size_t)snprintf(t->endpoint, sizeof t->endpoint, "%s", given ? given : DEFAULT_ENDPOINT) >=
        sizeof t->endpoint)
        return ah_err_set(err, AH_CONFIG, "the address is too long");
    return check_endpoint(t->endpoint, err);
}

/* --- several destinations ------------------------------------------------------------------------------ */

/* [{"api_url","api_key","project_name"?,"workspace_id"?,"primary"?}] or {url: key}; a primary comes first. */
static int add_replica(struct ah_tracing *t, char *url, struct ah_json key, struct ah_json more)
{
    struct replica r = {.endpoint = url,
                        .key = ah_json_dup(key),
                        .project = ah_json_dup(ah_json_get(more, "project_name")),
                        .workspace = ah_json_dup(ah_json_get(more, "workspace_id")),
                        .primary = ah_json_truthy(ah_json_get(more, "primary"))};
    struct ah_error err = {0};
    size_t at = r.primary ? 0 : t->replica_count, size = 0;
    bool fine = r.endpoint && r.key && t->replica_count < AH_TRACING_TARGETS_COUNT &&
                check_endpoint(r.endpoint, &err) == 0;
    if (fine) {
        size = strlen(r.endpoint) + (r.project ? strlen(r.project) : 0) + 2;
        r.dest = malloc(size);
    }
    ah_err_drop(&err);
    if (!r.dest) {
        free(r.endpoint);
        free(r.key);
        free(r.project);
        free(r.workspace);
        return -1;
    }
    snprintf(r.dest, size, "%s#%s", r.endpoint, r.project ? r.project : "");
    if (t->secrets)
        ah_secret_hide(t->secrets, "LANGSMITH_RUNS_ENDPOINTS", r.key, strlen(r.key));
    memmove(&t->replicas[at + 1], &t->replicas[at], (t->replica_count - at) * sizeof r);
    t->replicas[at] = r;
    t->replica_count++;
    return 0;
}

static void read_replicas(struct ah_tracing *t)
{
    const char *text = read_either(t, "RUNS_ENDPOINTS", NULL);
    struct ah_json list = {0};
    if (text && t->replicas_text && strcmp(text, t->replicas_text) == 0)
        return;
    drop_replicas(t);
    if (!text || !(t->replicas_text = strdup(text)))
        return;
    t->replicas_bad = ah_json_check(text, strlen(text), 0, &list, NULL) != 0 || ah_json_count(list) == 0;
    for (struct ah_json_iter it = ah_json_iter(list); !t->replicas_bad && ah_json_next(&it);) {
        bool pair = list.type == AH_JSON_OBJECT;
        struct ah_json key = pair ? it.value : ah_json_get(it.value, "api_key");
        char *url = ah_json_dup(pair ? it.key : ah_json_get(it.value, "api_url"));
        t->replicas_bad = add_replica(t, url, key, it.value) != 0; /* a key says no more */
    }
}

size_t ah_tracing_targets(struct ah_tracing *t, bool switched,
                          struct ah_tracing_where out[AH_TRACING_TARGETS_COUNT])
{
    if (switched)
        ah_tracing_where(t, &out[0]);
    else
        ah_tracing_target(t, &out[0]);
    if (!*out[0].endpoint)
        return 0;
    size_t n = 1;
    for (; n < t->replica_count; n++) {
        const struct replica *r = &t->replicas[n];
        out[n] = (struct ah_tracing_where){.endpoint = r->endpoint,
                                           .workspace = r->workspace ? r->workspace : "",
                                           .project = r->project ? r->project : "",
                                           .key = r->key,
                                           .dest = r->dest,
                                           .emulated = out[0].emulated,
                                           .copy = true,
                                           .remap = t->replicas[0].primary};
    }
    return n;
}

void ah_tracing_target(struct ah_tracing *t, struct ah_tracing_where *out)
{
    struct ah_config *c = t->config;
    *out = (struct ah_tracing_where){.endpoint = "", .workspace = "", .project = "default", .dest = ""};
    if (!c)
        return;
    read_replicas(t);
    const char *project = ah_config_first(c, NULL, "LANGSMITH_PROJECT", "LANGCHAIN_PROJECT",
                                          "LANGSMITH_SESSION", "LANGCHAIN_SESSION", NULL);
    const char *workspace = ah_config_first(c, NULL, "LANGSMITH_WORKSPACE_ID", "LANGCHAIN_WORKSPACE_ID",
                                            "LANGSMITH_TENANT_ID", NULL);
    out->project = project ? project : "default";
    out->emulated = ah_config_emulated(c);
    if (t->replica_count && !t->replicas_bad) {
        const struct replica *first = &t->replicas[0];
        out->key = first->key;
        out->endpoint = out->dest = first->endpoint;
        out->project = first->project ? first->project : out->project;
        out->workspace = first->workspace ? first->workspace : "";
        return;
    }
    out->key = api_key(c);
    if (!out->key || read_endpoint(t, NULL, NULL) != 0)
        return;
    out->endpoint = out->dest = t->endpoint;
    out->workspace = workspace ? workspace : "";
}

void ah_tracing_where(struct ah_tracing *t, struct ah_tracing_where *out)
{
    const char *on = t->config ? tracing_switch(t->config, NULL) : NULL;
    ah_tracing_target(t, out);
    if (!on || strcasecmp(on, "true") != 0) {
        out->endpoint = out->dest = "";
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

bool ah_tracing_is_name(const char *name)
{
    bool ours = strncmp(name, "LANGSMITH_", 10) == 0 || strncmp(name, "LANGCHAIN_", 10) == 0;
    return ours && (is_listed(known_names, name + 10) || is_listed(other_names, name + 10));
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
    read_replicas(t);
    if (t->replicas_bad) {
        snprintf(t->why, sizeof t->why,
                 "LANGSMITH_RUNS_ENDPOINTS cannot be used: it must be a JSON list of at most %d "
                 "{\"api_url\":…,\"api_key\":…,\"project_name\":…}, or {url: key}",
                 AH_TRACING_TARGETS_COUNT);
        return t->why;
    }
    if (t->replica_count)
        return NULL;
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

/* As the SDKs choose: so all processes that work on a trace send it, or none does. */
bool ah_tracing_samples(struct ah_tracing *t, const char *trace_id)
{
    enum { PARTS = 1000000 };
    double rate;
    unsigned char h[16];
    uint32_t place = 0;
    if (read_rate(t, NULL, &rate) != 0 || rate >= 1)
        return true;
    ah_hash_xxh128(trace_id, strlen(trace_id), h);
    for (size_t i = 0; i < sizeof h; i++)
        place = (place * 256 + h[i]) % PARTS;
    return (double)place / PARTS < rate;
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
    if (t->replica_count && read_either(t, "ENDPOINT", &prefix)) {
        snprintf(t->complaint, sizeof t->complaint,
                 "%sENDPOINT is not used: LANGSMITH_RUNS_ENDPOINTS says where traces go", prefix);
        return t->complaint;
    }
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
