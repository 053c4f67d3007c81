/* agenthost completion: what makes shells complete its words. The scripts come from the tables of the commands; names
 * that only the program knows (runs, connections) are asked from it while the user types, so nothing here may say
 * anything on stderr or take long. */
#include "cmd.h"
#include "completion.h"
#include "json.h"
#include "store.h"

#include <stdlib.h>
#include <string.h>

#define RUNS_OFFERED 20
#define SHORT_N 8 /* of an id, as trace ls shows it */

struct values {
    const char *words;
};
static const struct ah_option options[] = {
    {.name = "--words",
     .kind = AH_OPTION_TEXT,
     .offset = offsetof(struct values, words),
     .argument = "KIND",
     .help = "what the scripts ask for: connection, run, session or setting"},
    {0},
};

static int print_run(void *arg, const struct ah_store_run *run)
{
    const struct ah_cmd_ctx *ctx = arg;
    size_t n = strlen(run->id);
    fprintf(ctx->out, "%s\n", run->id + (n > SHORT_N ? n - SHORT_N : 0));
    return 0;
}

static void print_runs(struct ah_cmd_ctx *ctx)
{
    struct ah_error err = {0};
    struct ah_store_filter newest = {.limit = RUNS_OFFERED};
    fputs("last\n", ctx->out);
    ah_store_runs(ctx->core->store, &newest, print_run, ctx, &err);
    ah_err_drop(&err);
}

static int print_session(void *arg, const struct ah_store_session *session)
{
    const struct ah_cmd_ctx *ctx = arg;
    fprintf(ctx->out, "%s\n", session->name);
    return 0;
}

static void print_sessions(struct ah_cmd_ctx *ctx)
{
    struct ah_error err = {0};
    ah_store_sessions(ctx->core->store, ctx->options->user, NULL, print_session, ctx, &err);
    ah_err_drop(&err);
}

static void print_connections(struct ah_cmd_ctx *ctx)
{
    struct ah_error err = {0};
    struct ah_json list;
    char name[200];
    char *json = ah_host_call(ctx->host, "check.connectors", "list", "{}", &err);
    if (json && ah_json_check(json, strlen(json), 0, &list, &err) == 0) {
        for (struct ah_json_iter it = ah_json_iter(list); ah_json_next(&it);) {
            ah_json_copy(it.value, name, sizeof name);
            fprintf(ctx->out, "%s\n", name);
        }
    }
    free(json);
    ah_err_drop(&err);
}

static int print_words(struct ah_cmd_ctx *ctx, const char *kind)
{
    static const struct {
        const char *kind;
        void (*print)(struct ah_cmd_ctx *);
    } kinds[] = {{"connection", print_connections}, {"run", print_runs}, {"session", print_sessions}};
    int code = 0;
    if (strcmp(kind, "setting") == 0) {
        ah_cmd_config_names(ctx->out);
        return 0;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kind, kinds[i].kind) != 0)
            continue;
        if (ah_cmd_open(ctx, NULL, false, false, &code) == 0)
            kinds[i].print(ctx);
        ah_cmd_close(ctx);
        return code;
    }
    return ah_cmd_usage(ctx, "--words takes connection, run, session or setting");
}

static int run_completion(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    const struct values *v = ctx->values;
    struct ah_error err = {0};
    struct ah_buf out;
    if (v->words)
        return print_words(ctx, v->words);
    if (argc == 0)
        return ah_cmd_usage(ctx, "of which shell: bash, zsh or fish?");
    ah_buf_init(&out, AH_COMPLETION_BYTES);
    int code = 0;
    if (ah_completion_write(&ah_cmd_root, argv[0], &out, &err) != 0)
        code = ah_cmd_usage(ctx, err.message);
    else
        fputs(ah_buf_str(&out), ctx->out);
    ah_buf_drop(&out);
    return code;
}

const struct ah_command ah_cmd_completion = {
    .name = "completion",
    .words = "SHELL",
    .summary = "a script that makes bash, zsh or fish complete agenthost's words",
    .max_words = 1,
    .complete = AH_COMPLETE_CHOICE,
    .choices = "bash zsh fish",
    .options = options,
    .values = sizeof(struct values),
    .run = run_completion};
