/* agenthost scripts: the Lua files and prompts inside the program. */
#include "cmd.h"
#include "scripts.h"

static void told(void *arg, const char *path, bool kept)
{
    struct ah_cmd_ctx *ctx = arg;
    fprintf(ctx->out, "%s%s\n", path, kept ? " (there already, left alone)" : "");
}

static int run_ls(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    for (const struct ah_embedded *e = ah_embedded_files; e->path; e++)
        fprintf(ctx->out, "%s\n", e->path);
    return 0;
}

struct values {
    const char *folder;
};
static const struct ah_option options[] = {
    {.name = "--copy",
     .kind = AH_OPTION_TEXT,
     .offset = offsetof(struct values, folder),
     .argument = "DIR",
     .complete = AH_COMPLETE_DIR,
     .help = "write them into this folder; a file that is there stays as it is"},
    {0},
};

static int run_copy(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    const struct values *v = ctx->values;
    struct ah_error err = {0};
    (void)argc;
    (void)argv;
    if (!v->folder)
        return ah_cmd_usage(ctx, "scripts ls, or scripts --copy and a folder");
    int code = ah_scripts_copy(v->folder, told, ctx, &err) == 0 ? 0 : ah_cmd_fail(ctx, &err);
    ah_err_drop(&err);
    return code;
}

static const struct ah_command scripts_ls = {.name = "ls", .summary = "their names", .run = run_ls};
static const struct ah_command *const subs[] = {&scripts_ls, NULL};

const struct ah_command ah_cmd_scripts = {
    .name = "scripts",
    .summary = "the Lua files and prompts inside the program; write them out for editing",
    .options = options,
    .values = sizeof(struct values),
    .subs = subs,
    .run = run_copy};
