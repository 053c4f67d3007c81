/* agenthost config explain: each setting, its value in force, where that came from, and what it loses to or wins over.
 * Values of secrets are never shown. Reads settings; asks no service, writes nothing. */
#include "cmd.h"
#include "config.h"
#include "json.h"
#include "near.h"
#include "openai.h"
#include "secret.h"
#include "store.h"
#include "tracing.h"

#include <string.h>

#define VALUE_BYTES 400
#define NEAR_MOST 4      /* half steps: two edits */
#define NEAR_MIN_BYTES 9 /* shorter names of the environment are nobody's misspelling */
#define ROW_BYTES ((size_t)65536)

struct setting {
    const char *name, *preset, *meaning;
    bool rare; /* listed only where it is set */
};
static const struct setting settings[] = {
    {"AGENTHOST_USER", NULL, "whose accounts, when neither --user nor the script says", false},
    {"AGENTHOST_HOME", "$XDG_STATE_HOME/agenthost, ~/.local/state/agenthost", "where the journal is", false},
    {"AGENTHOST_SCRIPTS", NULL, "a folder of Lua modules and prompts, after --scripts", false},
    {"AGENTHOST_HIDE_TOKENS", NULL, "whether what looks like a credential is hidden in traces", false},
    {"AGENTHOST_TRACE_ERRORS", NULL, "whether failed runs are sent though they were not sampled", false},
    {"SCALEKIT_ENVIRONMENT_URL", NULL, "the Scalekit environment; connectors need it", false},
    {"SCALEKIT_ENV_URL", NULL, "the same by another name", false},
    {"SCALEKIT_CLIENT_ID", NULL, "its API client", false},
    {"SCALEKIT_CLIENT_SECRET", NULL, "that client's secret", false},
    {"OPENAI_API_KEY", NULL, "the key of models", false},
    {"OPENAI_BASE_URL", "https://api.openai.com/v1", "where models are; any server that speaks OpenAI chat",
     false},
    {"OPENAI_API_BASE", NULL, "the same by an older name", false},
    {"OPENAI_ORG_ID", NULL, "the organization that pays", false},
    {"OPENAI_PROJECT_ID", NULL, "the project that pays", false},
    {"OPENAI_CUSTOM_HEADERS", NULL, "more headers of requests to models", false},
    {"LITELLM_BASE_URL", NULL, "a LiteLLM proxy; wins over OPENAI_BASE_URL", false},
    {"LITELLM_API_KEY", NULL, "its key", false},
    {"LANGSMITH_TRACING", "false", "whether traces go to LangSmith", false},
    {"LANGSMITH_TRACING_V2", NULL, "the same by an older name; it wins", false},
    {"LANGSMITH_API_KEY", NULL, "the key of LangSmith", false},
    {"LANGSMITH_ENDPOINT", "https://api.smith.langchain.com", "where LangSmith is", false},
    {"LANGSMITH_PROJECT", "default", "the project of runs, when --project does not say", false},
    {"LANGSMITH_WORKSPACE_ID", NULL, "the workspace, for keys of several", false},
    {"LANGSMITH_TRACING_SAMPLING_RATE", "1", "the share of traces that is sent, from 0 to 1", false},
    {"LANGSMITH_HIDE_INPUTS", NULL, "whether inputs are left out of what is sent", false},
    {"LANGSMITH_HIDE_OUTPUTS", NULL, "whether outputs are", false},
    {"LANGSMITH_HIDE_METADATA", NULL, "whether metadata is", false},
    {"LANGSMITH_RUNS_ENDPOINTS", NULL, "further LangSmith addresses; a JSON list with their keys", false},
    {"LANGCHAIN_TRACING_V2", NULL, "older name of LANGSMITH_TRACING", false},
    {"LANGCHAIN_API_KEY", NULL, "older name of LANGSMITH_API_KEY", false},
    {"LANGCHAIN_ENDPOINT", NULL, "older name of LANGSMITH_ENDPOINT", false},
    {"LANGCHAIN_PROJECT", NULL, "older name of LANGSMITH_PROJECT", false},
    {"LANGCHAIN_WORKSPACE_ID", NULL, "older name of LANGSMITH_WORKSPACE_ID", false},
    {"LANGCHAIN_TRACING", NULL, "older name of LANGSMITH_TRACING", true},
    {"LANGCHAIN_TRACING_SAMPLING_RATE", NULL, "older name of LANGSMITH_TRACING_SAMPLING_RATE", true},
    {"LANGCHAIN_HIDE_INPUTS", NULL, "older name of LANGSMITH_HIDE_INPUTS", true},
    {"LANGCHAIN_HIDE_OUTPUTS", NULL, "older name of LANGSMITH_HIDE_OUTPUTS", true},
    {"LANGCHAIN_HIDE_METADATA", NULL, "older name of LANGSMITH_HIDE_METADATA", true},
    {"LANGCHAIN_RUNS_ENDPOINTS", NULL, "older name of LANGSMITH_RUNS_ENDPOINTS", true},
    {"LANGSMITH_SESSION", NULL, "older name of LANGSMITH_PROJECT", true},
    {"LANGCHAIN_SESSION", NULL, "older name of LANGSMITH_PROJECT", true},
    {"LANGSMITH_TENANT_ID", NULL, "older name of LANGSMITH_WORKSPACE_ID", true},
    {"LANGSMITH_REVISION_ID", NULL, "stands as revision_id in the metadata of runs", true},
    {"LANGCHAIN_REVISION_ID", NULL, "older name of LANGSMITH_REVISION_ID", true},
    {"LANGSMITH_TRACING_MODE", NULL, "of LangSmith's clients; only warned of", true},
    {"LANGCHAIN_TRACING_MODE", NULL, "older name of LANGSMITH_TRACING_MODE", true},
    {"https_proxy", NULL, "the proxy of https addresses", false},
    {"http_proxy", NULL, "the proxy of http addresses", false},
    {"all_proxy", NULL, "the proxy of both", false},
    {"no_proxy", NULL, "what is reached without a proxy", false},
    {"HTTPS_PROXY", NULL, "the same as https_proxy", true},
    {"ALL_PROXY", NULL, "the same as all_proxy", true},
    {"NO_PROXY", NULL, "the same as no_proxy", true},
    {"SSL_CERT_FILE", "the system's", "the authorities to trust", false},
};
#define SETTING_COUNT (sizeof settings / sizeof settings[0])

static const struct setting *find_known(const char *name)
{
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (strcmp(settings[i].name, name) == 0)
            return &settings[i];
    return NULL;
}

/* The known name that is meant, or NULL: only what is very near, and no name of its own right. */
static const char *meant_by(const char *name)
{
    const char *found = NULL;
    size_t best = NEAR_MOST + 1;
    for (size_t i = 0; i < SETTING_COUNT && strlen(name) >= NEAR_MIN_BYTES; i++) {
        if (settings[i].rare)
            continue; /* HTTP_PROXY means itself, not HTTPS_PROXY */
        size_t d =
            strlen(settings[i].name) >= NEAR_MIN_BYTES ? ah_near_distance(name, settings[i].name) : best;
        if (d < best) {
            best = d;
            found = settings[i].name;
        }
    }
    return found;
}

/* --- words ------------------------------------------------------------------------------------- */

static void put_source(const struct ah_config_given *g, char *out, size_t size)
{
    static const char *const names[] = {[AH_FROM_NOWHERE] = "nowhere",
                                        [AH_FROM_FLAG] = "the command line",
                                        [AH_FROM_ENVIRONMENT] = "the environment",
                                        [AH_FROM_DOTENV] = "a file",
                                        [AH_FROM_EMULATOR] = "the emulator"};
    if (g->source == AH_FROM_DOTENV)
        snprintf(out, size, "%s line %d", g->file, g->line);
    else
        snprintf(out, size, "%s", names[g->source]);
}

/* May its value be seen? Only of settings that are known: a misspelt name may hold a key. */
static bool is_shown(const char *name)
{
    const char *rest = strchr(name, '_');
    return find_known(name) && !ah_secret_is_name(name) && strcmp(rest ? rest : "", "_RUNS_ENDPOINTS") != 0 &&
           strcmp(name, "OPENAI_CUSTOM_HEADERS") != 0; /* keys stand in these two */
}

/* "https://name:password@host" without what is before the @. */
static void cut_login(char *url)
{
    char *host = strstr(url, "://");
    char *at = host ? memchr(host + 3, '@', strcspn(host + 3, "/?#")) : NULL;
    if (at)
        memmove(host + 3, at + 1, strlen(at + 1) + 1);
}

static void put_value(struct ah_cmd_ctx *ctx, const char *name, const char *value, char *out, size_t size)
{
    snprintf(out, size, "%s", !value[0] ? "blank" : is_shown(name) ? value : "set");
    if (!is_shown(name))
        return;
    ah_secret_mask_str(ctx->core->secrets, out, size);
    cut_login(out);
}

struct row {
    const char *name, *preset, *meaning, *near;
    const struct ah_config_given *given;
    size_t n;
};

static const struct ah_config_given *force_of(const struct row *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->given[i].in_force)
            return &r->given[i];
    return NULL;
}

static void print_row(struct ah_cmd_ctx *ctx, const struct row *r, bool long_form)
{
    char value[VALUE_BYTES], source[4200];
    const struct ah_config_given *force = force_of(r);
    fprintf(ctx->out, "%-32s ", r->name);
    if (force) {
        put_value(ctx, r->name, force->value, value, sizeof value);
        put_source(force, source, sizeof source);
        fprintf(ctx->out, "%s, from %s", value, source);
    } else {
        fprintf(ctx->out, r->preset ? "not set (%s)" : "not set", r->preset);
    }
    for (size_t i = 0, said = 0; i < r->n; i++) {
        if (r->given[i].in_force)
            continue;
        put_source(&r->given[i], source, sizeof source);
        fprintf(ctx->out, "%s%s",
                said++  ? ", "
                : force ? "; wins over "
                        : "; not read while emulating: ",
                source);
    }
    if (r->near)
        fprintf(ctx->out, "; not read: it looks like %s", r->near);
    fputc('\n', ctx->out);
    if (long_form && r->meaning)
        fprintf(ctx->out, "  %s\n", r->meaning);
}

static void put_member(struct ah_json_writer *w, const char *key, const char *text)
{
    if (!text)
        return;
    ah_json_key(w, key);
    ah_json_put_str(w, text);
}

static void put_given(struct ah_json_writer *w, const struct ah_config_given *g)
{
    static const char *const names[] = {[AH_FROM_NOWHERE] = "none",
                                        [AH_FROM_FLAG] = "flag",
                                        [AH_FROM_ENVIRONMENT] = "environment",
                                        [AH_FROM_DOTENV] = "file",
                                        [AH_FROM_EMULATOR] = "emulator"};
    if (g->file) {
        put_member(w, "file", g->file);
        ah_json_key(w, "line");
        ah_json_put_int(w, g->line);
    }
    put_member(w, "source", names[g->source]);
}

static void print_json_row(struct ah_cmd_ctx *ctx, const struct row *r)
{
    char value[VALUE_BYTES];
    struct ah_buf b;
    struct ah_json_writer w;
    const struct ah_config_given *force = force_of(r);
    ah_buf_init(&b, ROW_BYTES);
    ah_json_begin(&w, &b, ctx->core->secrets);
    ah_json_object(&w);
    put_member(&w, "default", r->preset);
    if (force)
        put_given(&w, force);
    put_member(&w, "looks_like", r->near);
    put_member(&w, "meaning", r->meaning);
    put_member(&w, "name", r->name);
    ah_json_key(&w, "overrides");
    ah_json_array(&w);
    for (size_t i = 0; i < r->n; i++) {
        if (r->given[i].in_force)
            continue;
        ah_json_object(&w);
        put_given(&w, &r->given[i]);
        ah_json_end_object(&w);
    }
    ah_json_end_array(&w);
    ah_json_key(&w, "set");
    ah_json_put_bool(&w, force && force->value[0]);
    if (force && force->value[0] && is_shown(r->name)) {
        put_value(ctx, r->name, force->value, value, sizeof value);
        put_member(&w, "value", value);
    }
    ah_json_end_object(&w);
    fprintf(ctx->out, "%s\n", ah_buf_str(&b));
    ah_buf_drop(&b);
}

static void show(struct ah_cmd_ctx *ctx, const char *name, const struct setting *known, const char *near,
                 bool long_form)
{
    struct ah_config_given given[AH_CONFIG_GIVEN_COUNT];
    struct row r = {.name = name,
                    .preset = known ? known->preset : NULL,
                    .meaning = known ? known->meaning : NULL,
                    .near = near,
                    .given = given,
                    .n = ah_config_givens(ctx->core->config, name, given, AH_CONFIG_GIVEN_COUNT)};
    if (ctx->json)
        print_json_row(ctx, &r);
    else
        print_row(ctx, &r, long_form);
}

/* --- all of it ----------------------------------------------------------------------------------- */

static void show_near(void *arg, const char *name, const char *value)
{
    struct ah_cmd_ctx *ctx = arg;
    (void)value;
    const char *near = find_known(name) || ah_tracing_is_name(name) ? NULL : meant_by(name);
    if (near)
        show(ctx, name, NULL, near, false);
}

static void print_tracing(struct ah_cmd_ctx *ctx)
{
    struct ah_tracing_where where;
    const char *why = ah_tracing_why_off(ctx->core->tracing);
    ah_tracing_where(ctx->core->tracing, &where);
    if (where.endpoint[0] && !why)
        fprintf(ctx->out, "traces     go to %s, project %s\n", where.endpoint, where.project);
    else
        fprintf(ctx->out, "traces     stay on this machine%s%s\n", why ? ": " : "", why ? why : "");
}

/* What follows for this machine. */
static void print_meaning(struct ah_cmd_ctx *ctx)
{
    struct ah_error err = {0};
    struct ah_buf base;
    const char *setting = "";
    char dir[4096];
    ah_buf_init(&base, ROW_BYTES);
    fputc('\n', ctx->out);
    if (ah_store_default_dir(dir, sizeof dir, &err) == 0)
        fprintf(ctx->out, "journal    %s\n", dir);
    ah_err_drop(&err);
    if (ah_openai_check(ah_host_lua(ctx->host)->openai, NULL, NULL, &err) != 0)
        fprintf(ctx->out, "models     %s\n", err.message);
    else if (ah_openai_where(ah_host_lua(ctx->host)->openai, &base, &setting, &err) == 0)
        fprintf(ctx->out, "models     at %s\n", ah_buf_str(&base));
    ah_err_drop(&err);
    ah_buf_drop(&base);
    bool scalekit =
        ah_config_get(ctx->core->config, "SCALEKIT_CLIENT_ID") &&
        ah_config_get(ctx->core->config, "SCALEKIT_CLIENT_SECRET") &&
        ah_config_first(ctx->core->config, NULL, "SCALEKIT_ENVIRONMENT_URL", "SCALEKIT_ENV_URL", NULL);
    fprintf(ctx->out, "connectors %s\n",
            scalekit ? "can be used"
                     : "cannot be used: SCALEKIT_ENVIRONMENT_URL, SCALEKIT_CLIENT_ID and "
                       "SCALEKIT_CLIENT_SECRET are needed");
    print_tracing(ctx);
    fputs("\nThe command line wins over the environment, that over .env of the script's folder, that over "
          ".env of the "
          "working folder.\nA blank value unsets. `agenthost doctor` tries what is set.\n",
          ctx->out);
}

static int explain_one(struct ah_cmd_ctx *ctx, const char *name)
{
    struct ah_config_given given[1];
    const struct setting *known = find_known(name);
    if (known || ah_config_givens(ctx->core->config, name, given, 1)) {
        show(ctx, name, known, known ? NULL : meant_by(name), true);
        return 0;
    }
    const char *names[SETTING_COUNT + 1] = {0};
    char text[400];
    for (size_t i = 0; i < SETTING_COUNT; i++)
        names[i] = settings[i].name;
    const char *near = ah_near_best(name, names);
    snprintf(text, sizeof text, "no setting is called '%.100s'%s%s%s", name, near ? " (did you mean '" : "",
             near ? near : "", near ? "'?)" : "");
    return ah_cmd_usage(ctx, text);
}

static int run_explain(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    if (ctx->options->user) /* a flag that is a setting */
        ah_config_set(ctx->core->config, "AGENTHOST_USER", ctx->options->user, AH_FROM_FLAG);
    if (argc == 1)
        return explain_one(ctx, argv[0]);
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        struct ah_config_given given[1];
        if (!settings[i].rare || ah_config_givens(ctx->core->config, settings[i].name, given, 1))
            show(ctx, settings[i].name, &settings[i], NULL, false);
    }
    ah_config_each(ctx->core->config, "", show_near, ctx);
    if (!ctx->json)
        print_meaning(ctx);
    return 0;
}

static const struct ah_command config_explain = {
    .name = "explain",
    .words = "[NAME]",
    .summary = "each setting, where its value comes from, what it means here",
    .max_words = 1,
    .complete = AH_COMPLETE_SETTING,
    .run = run_explain,
    .needs_host = true,
    .no_journal = true};
static const struct ah_command *const subs[] = {&config_explain, NULL};

const struct ah_command ah_cmd_config = {
    .name = "config", .summary = "settings: what is in force, and why", .subs = subs};

void ah_cmd_config_names(FILE *out)
{
    for (size_t i = 0; i < SETTING_COUNT; i++)
        fprintf(out, "%s\n", settings[i].name);
}
