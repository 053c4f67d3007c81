/* agenthost emulate: the services on loopback until somebody interrupts. Prints where it listens and the
 * settings that a program needs to use it. */
#include "cmd.h"
#include "json.h"
#include "limits.h"
#include "loop.h"

#include <stdlib.h>
#include <string.h>

struct values {
    bool pending, gateway;
    const char *troubles[AH_OPTIONS_REPEAT_MAX + 1];
    long port, seed; /* -1: not given */
};
static const struct ah_option options[] = {
    {.name = "--port",
     .kind = AH_OPTION_COUNT,
     .offset = offsetof(struct values, port),
     .argument = "N",
     .preset = "-1",
     .max = 65535,
     .help = "where to listen; 0, and without: any free one"},
    {.name = "--seed",
     .kind = AH_OPTION_COUNT,
     .offset = offsetof(struct values, seed),
     .argument = "N",
     .preset = "-1",
     .help = "ids and chance of the services repeat with it"},
    {.name = "--pending",
     .kind = AH_OPTION_FLAG,
     .offset = offsetof(struct values, pending),
     .help = "accounts wait for authorization"},
    {.name = "--gateway",
     .kind = AH_OPTION_FLAG,
     .offset = offsetof(struct values, gateway),
     .help = "OpenAI as LiteLLM's proxy shows it"},
    {.name = "--trouble",
     .kind = AH_OPTION_LIST,
     .offset = offsetof(struct values, troubles),
     .argument = "WHAT",
     .help = "what goes wrong, as \"429; where=chat; times=2\"; may be repeated"},
    {0},
};

static void put_number(struct ah_json_writer *w, const char *key, long v)
{
    if (v < 0)
        return;
    ah_json_key(w, key);
    ah_json_put_int(w, v);
}

static void put_options(struct ah_json_writer *w, const struct ah_cmd_ctx *ctx)
{
    const struct values *v = ctx->values;
    ah_json_object(w);
    if (v->pending) {
        ah_json_key(w, "accounts");
        ah_json_put_str(w, "pending");
    }
    if (v->gateway) {
        ah_json_key(w, "gateway");
        ah_json_put_bool(w, true);
    }
    put_number(w, "port", v->port);
    if (ctx->options->scenario) {
        ah_json_key(w, "scenario");
        ah_json_put_str(w, ctx->options->scenario);
    }
    put_number(w, "seed", v->seed);
    if (v->troubles[0]) {
        ah_json_key(w, "troubles");
        ah_json_array(w);
        for (size_t i = 0; v->troubles[i]; i++)
            ah_json_put_str(w, v->troubles[i]);
        ah_json_end_array(w);
    }
    ah_json_end_object(w);
}

static void print_settings(struct ah_cmd_ctx *ctx, struct ah_json settings)
{
    struct ah_json url = ah_json_get(settings, "url"), env = ah_json_get(settings, "env");
    char text[4096], name[256];
    ah_json_copy(url, text, sizeof text);
    if (ctx->json) {
        fprintf(ctx->out, "%.*s\n", (int)settings.n, settings.p);
    } else {
        fprintf(ctx->out, "listening %s\n", text);
        for (struct ah_json_iter it = ah_json_iter(env); ah_json_next(&it);) {
            ah_json_copy(it.key, name, sizeof name);
            ah_json_copy(it.value, text, sizeof text);
            fprintf(ctx->out, "export %s='%s'\n", name, text);
        }
    }
    fflush(ctx->out);
}

static int run_emulate(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    struct ah_buf json_options;
    struct ah_json_writer w;
    int code = 0;
    (void)argc;
    (void)argv;
    ah_buf_init(&json_options, AH_DOTENV_BYTES);
    ah_json_begin(&w, &json_options, NULL);
    put_options(&w, ctx);
    if (ah_cmd_open(ctx, NULL, false, false, &code) == 0) {
        struct ah_error err = {0};
        struct ah_json settings;
        char *json = ah_host_call(ctx->host, "emulator.boot", "process", ah_buf_str(&json_options), &err);
        if (!json || ah_json_check(json, strlen(json), 0, &settings, &err) != 0) {
            code = ah_cmd_fail(ctx, &err);
        } else {
            print_settings(ctx, settings);
            while (!*ctx->interrupted)
                ah_host_step(ctx->host, 1000);
        }
        free(json);
        ah_err_drop(&err);
        ah_cmd_close(ctx);
    }
    ah_buf_drop(&json_options);
    return code;
}

const struct ah_command ah_cmd_emulate = {.name = "emulate",
                                          .summary =
                                              "Scalekit, OpenAI and LangSmith on this machine, for tests",
                                          .options = options,
                                          .values = sizeof(struct values),
                                          .run = run_emulate};
