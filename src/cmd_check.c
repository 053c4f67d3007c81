/* agenthost check: mistakes in scripts that can be seen without running them. The looking is done by scripts/check; here
 * are its words and its answer. Asks no service. */
#include "cmd.h"
#include "json.h"
#include "scripts.h"

#include <stdlib.h>
#include <string.h>

#define STUBS "meta/"
#define FILES_BYTES ((size_t)1 << 20)
#define EXIT_FINDINGS 1

static void print_finding(struct ah_cmd_ctx *ctx, struct ah_json f)
{
    char file[4096], message[2048];
    if (ctx->json) {
        fprintf(ctx->out, "%.*s\n", (int)f.n, f.p);
        return;
    }
    ah_json_copy(ah_json_get(f, "file"), file, sizeof file);
    ah_json_copy(ah_json_get(f, "message"), message, sizeof message);
    struct ah_json line = ah_json_get(f, "line"), col = ah_json_get(f, "col");
    fprintf(ctx->out, "%s:%.*s:%.*s: %s\n", file, (int)line.n, line.p, (int)col.n, col.p, message);
}

/* Exit code by what was found; findings is "[...]". */
static int print_findings(struct ah_cmd_ctx *ctx, const char *findings, int files)
{
    struct ah_json list;
    int n = 0;
    if (ah_json_check(findings, strlen(findings), 0, &list, NULL) != 0)
        return EXIT_FINDINGS;
    for (struct ah_json_iter it = ah_json_iter(list); ah_json_next(&it); n++)
        print_finding(ctx, it.value);
    if (!ctx->json && !ctx->options->quiet)
        fprintf(stderr, "%d file%s: %d finding%s\n", files, files == 1 ? "" : "s", n, n == 1 ? "" : "s");
    return n ? EXIT_FINDINGS : 0;
}

/* What declares the modules: the names of the files, wherever they are read from. */
static void put_stubs(struct ah_json_writer *w)
{
    ah_json_key(w, "stubs");
    ah_json_array(w);
    for (const struct ah_embedded *e = ah_embedded_files; e->path; e++)
        if (strncmp(e->path, STUBS, strlen(STUBS)) == 0)
            ah_json_put_str(w, e->path);
    ah_json_end_array(w);
}

static int run_check(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    struct ah_error err = {0};
    struct ah_buf files;
    struct ah_json_writer w;
    ah_buf_init(&files, FILES_BYTES);
    ah_json_begin(&w, &files, NULL);
    ah_json_object(&w);
    ah_json_key(&w, "files");
    ah_json_array(&w);
    for (int i = 0; i < argc; i++)
        ah_json_put_str(&w, argv[i]);
    ah_json_end_array(&w);
    put_stubs(&w);
    ah_json_end_object(&w);
    char *findings = ah_host_call(ctx->host, "check", "run", ah_buf_str(&files), &err);
    int code = findings ? print_findings(ctx, findings, argc) : ah_cmd_fail(ctx, &err);
    free(findings);
    ah_err_drop(&err);
    ah_buf_drop(&files);
    return code;
}

const struct ah_command ah_cmd_check = {.name = "check",
                                        .words = "FILE.lua ...",
                                        .summary =
                                            "mistakes in scripts and their prompts, without running them",
                                        .min_words = 1,
                                        .max_words = -1,
                                        .missing = "which scripts?",
                                        .complete = AH_COMPLETE_SCRIPT,
                                        .run = run_check,
                                        .needs_host = true,
                                        .no_journal = true};
