/* agenthost emulate: the services on loopback until somebody interrupts. Prints where it listens and the
 * settings that a program needs to use it. */
#include "cmd.h"
#include "json.h"
#include "limits.h"
#include "loop.h"

#include <stdlib.h>
#include <string.h>

static bool is_one_of(const char *word, const char *const *names)
{
    for (; *names; names++)
        if (strcmp(*names, word) == 0)
            return true;
    return false;
}

static int read_words(struct ah_json_writer *w, int argc, char **argv)
{
    static const char *const names[] = {"--pending", "--port", "--scenario", "--seed", NULL};
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--pending") == 0) {
            ah_json_key(w, "accounts");
            ah_json_put_str(w, "pending");
        } else if (i + 1 < argc && (strcmp(argv[i], "--port") == 0 || strcmp(argv[i], "--seed") == 0)) {
            char *end;
            long v = strtol(argv[i + 1], &end, 10);
            if (*end || end == argv[i + 1] || v < 0)
                return ah_cmd_usage("emulate", "--port and --seed take a number");
            ah_json_key(w, argv[i] + 2);
            ah_json_put_int(w, v);
            if (v > 65535 && strcmp(argv[i], "--port") == 0)
                return ah_cmd_usage("emulate", "--port takes a number from 0 (any free one) to 65535");
            i++;
        } else if (is_one_of(argv[i], names)) {
            fprintf(stderr, "agenthost: %s needs a value\n", argv[i]);
            return ah_cmd_usage("emulate", NULL);
        } else {
            return ah_cmd_unknown("emulate", argv[i], names);
        }
    }
    return 0;
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

int ah_cmd_emulate_run(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    struct ah_buf options;
    struct ah_json_writer w;
    ah_buf_init(&options, AH_DOTENV_BYTES);
    ah_json_begin(&w, &options, NULL);
    ah_json_object(&w);
    if (ctx->options->scenario) {
        ah_json_key(&w, "scenario");
        ah_json_put_str(&w, ctx->options->scenario);
    }
    int code = read_words(&w, argc, argv);
    ah_json_end_object(&w);
    if (code == 0 && ah_cmd_open(ctx, NULL, false, false, &code) == 0) {
        struct ah_error err = {0};
        struct ah_json settings;
        char *json = ah_host_call(ctx->host, "emulator.boot", "process", ah_buf_str(&options), &err);
        if (!json || ah_json_check(json, strlen(json), 0, &settings, &err) != 0) {
            code = ah_cmd_fail(ctx, &err);
        } else {
            print_settings(ctx, settings);
            while (!*ctx->interrupted)
                ah_loop_turn(ctx->core->loop, 1000);
        }
        free(json);
        ah_err_drop(&err);
        ah_cmd_close(ctx);
    }
    ah_buf_drop(&options);
    return code;
}
