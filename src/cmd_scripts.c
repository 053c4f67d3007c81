/* agenthost scripts: the Lua files and prompts inside the program. */
#include "cmd.h"
#include "scripts.h"

#include <string.h>

static void told(void *arg, const char *path, bool kept)
{
    struct ah_cmd_ctx *ctx = arg;
    fprintf(ctx->out, "%s%s\n", path, kept ? " (there already, left alone)" : "");
}

int ah_cmd_scripts_run(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    if (argc == 1 && strcmp(argv[0], "ls") == 0) {
        for (const struct ah_embedded *e = ah_embedded_files; e->path; e++)
            fprintf(ctx->out, "%s\n", e->path);
        return 0;
    }
    if (argc == 2 && strcmp(argv[0], "--copy") == 0) {
        struct ah_error err = {0};
        int code = ah_scripts_copy(argv[1], told, ctx, &err) == 0 ? 0 : ah_cmd_fail(ctx, &err);
        ah_err_drop(&err);
        return code;
    }
    static const char *const names[] = {"--copy", "ls", NULL};
    if (argc == 1 && strcmp(argv[0], "--copy") == 0)
        return ah_cmd_usage("scripts", "--copy needs a folder");
    if (argc > 1 && strcmp(argv[0], "--copy") == 0)
        return ah_cmd_usage("scripts", "--copy takes one folder");
    return argc ? ah_cmd_unknown("scripts", argv[argc > 1 && strcmp(argv[0], "ls") == 0], names)
                : ah_cmd_usage("scripts", NULL);
}
