/* agenthost run, agenthost demo: a script from its file to its exit code. The answer goes to stdout, all
 * else to stderr. */
#include "cmd.h"
#include "config.h"
#include "json.h"
#include "langsmith.h"
#include "limits.h"
#include "log.h"
#include "scripts.h"
#include "secret.h"
#include "store.h"
#include "tracing.h"
#include "tree.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define URL_MS 2000
#define VERIFY_MS 15000

/* --- what the script is told ----------------------------------------------------------------------------- */

/* --meta k=v ... as a JSON object (malloc'd; NULL when there are none). */
static char *meta_json(const struct ah_cmd_options *o)
{
    struct ah_buf b;
    struct ah_json_writer w;
    if (!o->meta[0])
        return NULL;
    ah_buf_init(&b, AH_DOTENV_BYTES);
    ah_json_begin(&w, &b, NULL);
    ah_json_object(&w);
    for (int i = 0; o->meta[i]; i++) {
        const char *equals = strchr(o->meta[i], '=');
        ah_json_keyn(&w, o->meta[i], (size_t)(equals - o->meta[i]));
        ah_json_put_str(&w, equals + 1);
    }
    ah_json_end_object(&w);
    return ah_buf_take(&b, NULL);
}

/* --- what is printed --------------------------------------------------------------------------------------- */

static void print_answer(struct ah_cmd_ctx *ctx, const struct ah_host_result *r)
{
    if (ctx->json) {
        ctx->said = true;
        struct ah_buf b;
        struct ah_json_writer w;
        ah_buf_init(&b, AH_SERVER_BODY_BYTES);
        ah_json_begin(&w, &b, ctx->core->secrets);
        ah_json_object(&w);
        if (r->answer) {
            ah_json_key(&w, "answer");
            ah_json_put_str(&w, r->answer);
        }
        if (r->error.kind[0]) {
            ah_json_key(&w, "error");
            ah_json_object(&w);
            ah_json_key(&w, "kind");
            ah_json_put_str(&w, r->error.kind);
            ah_json_key(&w, "message");
            ah_json_put_str(&w, r->error.message);
            ah_json_end_object(&w);
        }
        ah_json_key(&w, "exit_code");
        ah_json_put_int(&w, r->exit_code);
        if (r->json) {
            ah_json_key(&w, "result");
            ah_json_put_raw(&w, r->json, strlen(r->json));
        }
        if (r->run_id[0]) { /* else no run began */
            ah_json_key(&w, "run_id");
            ah_json_put_str(&w, r->run_id);
        }
        ah_json_end_object(&w);
        fprintf(ctx->out, "%s\n", ah_buf_str(&b));
        ah_buf_drop(&b);
    } else if (r->answer) {
        size_t n = strlen(r->answer);
        fprintf(ctx->out, "%s%s", r->answer, n > 0 && r->answer[n - 1] == '\n' ? "" : "\n");
    }
    fflush(ctx->out);
}

/* Said once a run, before it, when the settings look as if traces were wanted and will not leave. */
static void warn_about_tracing(struct ah_cmd_ctx *ctx)
{
    const char *why = ctx->options->no_trace ? NULL : ah_tracing_why_off(ctx->core->tracing);
    const char *doubt = ctx->options->no_trace ? NULL : ah_tracing_complaint(ctx->core->tracing);
    if (why)
        ah_log_once(ctx->core->log, AH_ONCE_TRACING_OFF, AH_LOG_WARN, "traces stay on this machine: %s", why);
    else if (doubt)
        ah_log_once(ctx->core->log, AH_ONCE_TRACING_OFF, AH_LOG_WARN, "%s", doubt);
}

/* Bounded: what does not leave now is sent by the next run. */
static void flush_traces(struct ah_cmd_ctx *ctx)
{
    int64_t waiting = ah_host_flush(ctx->host, (int)(ctx->options->flush * 1000));
    if (waiting > 0)
        ah_log_line(
            ctx->core->log, AH_LOG_WARN,
            "%lld span%s waiting in the journal: the next run sends %s (or: agenthost trace push last)",
            (long long)waiting, waiting == 1 ? "" : "s", waiting == 1 ? "it" : "them");
}

/* Where a person sees it, for persons: it costs a request. Said only when LangSmith has it already. */
static void print_url(struct ah_cmd_ctx *ctx, const struct ah_host_result *r)
{
    if (!r->sends || ctx->options->quiet || ctx->options->emulate || ctx->options->verify ||
        !isatty(STDERR_FILENO))
        return;
    struct ah_op *op = ah_langsmith_verify(ctx->langsmith, r->run_id, URL_MS);
    if (op && ah_cmd_wait(ctx, op) == 0) {
        char *url = ah_langsmith_run_url(ctx->langsmith, ah_langsmith_run(op));
        if (url)
            fprintf(stderr, "trace: %s\n", url);
        free(url);
    }
    ah_op_unref(op);
}

static void print_tree(struct ah_cmd_ctx *ctx, const struct ah_host_result *r)
{
    if (ctx->options->quiet || ctx->options->no_trace)
        return;
    fflush(ctx->out);
    struct ah_error err = {0};
    struct ah_tracing_rules rules;
    ah_tracing_rules(ctx->core->tracing, &rules);
    struct ah_tree_opts opts = {.color = ctx->options->color, .hide_tokens = rules.hide_tokens};
    fputc('\n', stderr);
    if (ah_tree_print(ctx->core->store, r->run_key, &opts, stderr, &err) != 0)
        ah_log_line(ctx->core->log, AH_LOG_WARN, "the run's tree cannot be shown: %s", err.message);
    ah_err_drop(&err);
}

#define NUMBER_BYTES 32

/* As scripts read it; NULL: not given. */
static const char *number_text(char *out, double n, double least)
{
    snprintf(out, NUMBER_BYTES, "%.15g", n);
    return n >= least ? out : NULL;
}

/* The options that a resumed run is begun with; malloc'd. */
static char *command_json(const struct ah_cmd_options *o, bool emulate)
{
    struct ah_buf b;
    char folder[4096];
    ah_buf_init(&b, AH_DOTENV_BYTES);
    ah_cmd_again_write(o, emulate, getcwd(folder, sizeof folder) ? folder : "", &b);
    return ah_buf_take(&b, NULL);
}

/* Codes that leave a run to go on with. */
static bool is_pause(int code)
{
    return (code >= 10 && code <= 16) || code == 130;
}

static void say_how_to_go_on(const struct ah_host_result *r, int code)
{
    if (r->resumable && is_pause(code))
        fprintf(stderr, "to go on: agenthost resume %s%s\n", r->run_id,
                code == 16 ? " --assume done|retry|fail" : "");
}

int ah_cmd_run_script(struct ah_cmd_ctx *ctx, const struct ah_cmd_script *script)
{
    const struct ah_cmd_options *o = ctx->options;
    char folder[4096], name[256], *meta = meta_json(o), *command = command_json(o, script->emulate);
    int code = 0;
    ah_scripts_split(script->path, folder, sizeof folder, name, sizeof name);
    ctx->emulator_port = script->port;
    if (ah_cmd_open(ctx, folder, script->emulate, false, &code) != 0) {
        free(meta);
        free(command);
        return code;
    }
    if (script->user && script->user[0])
        ah_config_set(ctx->core->config, "AGENTHOST_USER", script->user, AH_FROM_FLAG);
    warn_about_tracing(ctx);
    char steps[NUMBER_BYTES], tokens[NUMBER_BYTES], cost[NUMBER_BYTES], time[NUMBER_BYTES],
        patience[NUMBER_BYTES];
    struct ah_host_pair options[] = {
        {"model", o->model},
        {"approve", o->approve},
        {"session", o->session},
        {"continue", o->go_on ? "true" : NULL},
        {"json", o->json ? "true" : NULL},
        {"quiet", o->quiet ? "true" : NULL},
        {"stream", o->stream ? "true" : NULL},
        {"max-steps", number_text(steps, (double)o->max_steps, 1)},
        {"max-tokens", number_text(tokens, (double)o->max_tokens, 1)},
        {"max-cost", number_text(cost, o->max_cost, DBL_MIN)},
        {"auth-timeout", number_text(patience, o->auth_timeout, 0)},
        {"open", o->open ? "true" : NULL},
        {"interactive", isatty(STDIN_FILENO) && isatty(STDERR_FILENO) ? "true" : NULL},
        {"max-time", number_text(time, o->max_time, DBL_MIN)},
        {NULL, NULL},
    };
    struct ah_host_run_opts run = {
        .size = sizeof run,
        .flags = (o->no_trace ? AH_HOST_RUN_NO_TRACE : 0u) | (o->json ? AH_HOST_RUN_JSON : 0u),
        .path = script->path,
        .args = (const char *const *)script->args,
        .options = options,
        .identifier = o->user,
        .project = o->project,
        .tags = o->tags[0] ? o->tags : NULL,
        .metadata = meta,
        .command = command,
        .resumes = script->resumes,
        .assume = script->assume,
    };
    const struct ah_host_result *result = ah_host_run(ctx->host, &run);
    code = result->exit_code;
    print_answer(ctx, result);
    if (result->error.kind[0] && !result->exited)
        code = ah_cmd_fail_as(ctx, result->error.kind, result->error.message);
    if (result->run_id[0]) {
        *ctx->interrupted = 0; /* what is left is ours: the traces of what was done */
        print_tree(ctx, result);
        say_how_to_go_on(result, code);
        flush_traces(ctx);
        print_url(ctx, result);
        if (o->verify) {
            int verified = ah_cmd_verify(ctx, result->run_id, VERIFY_MS);
            code = code ? code : verified;
        }
    }
    free(meta);
    free(command);
    ah_cmd_close(ctx);
    return code;
}

static int run_run(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    (void)argc;
    return ah_cmd_run_script(
        ctx, &(struct ah_cmd_script){.path = argv[0], .args = argv + 1, .emulate = ctx->options->emulate});
}

static int run_demo(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    (void)argc;
    if (!ctx->options->quiet)
        fputs("agenthost demo: examples/gmail_digest.lua on the built-in emulator (no account, no key).\n\n",
              stderr);
    const struct ah_cmd_options *given = ctx->options;
    struct ah_cmd_options alone = *given;
    if (!alone.env_file)
        alone.env_file = "/dev/null"; /* what lies in this folder is no part of the demo */
    ctx->options = &alone;
    int code = ah_cmd_run_script(
        ctx, &(struct ah_cmd_script){.path = "examples/gmail_digest.lua", .args = argv, .emulate = true});
    ctx->options = given;
    if (code == 0 && !ctx->options->quiet)
        fputs("\nThe mail, the model and the trace were emulated. To edit it: agenthost scripts --copy DIR\n"
              "With real keys in .env: agenthost run examples/gmail_digest.lua\n",
              stderr);
    return code;
}

const struct ah_command ah_cmd_run = {.name = "run",
                                      .words = "FILE.lua [ARGS...]",
                                      .summary = "run a script",
                                      .min_words = 1,
                                      .max_words = -1,
                                      .missing = "which script?",
                                      .complete = AH_COMPLETE_SCRIPT,
                                      .run = run_run};
const struct ah_command ah_cmd_demo = {.name = "demo",
                                       .words = "[REQUEST...]",
                                       .summary =
                                           "an agent reads unread mail, on the emulator: no account, no key",
                                       .max_words = -1,
                                       .run = run_demo};
