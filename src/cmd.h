/* What main.c and the sub-commands share: the parsed common options, the open host, and the list of
 * commands. Layer 7. */
#ifndef AH_CMD_H
#define AH_CMD_H

#include "host.h"

#include <stdio.h>

#define AH_CMD_REPEAT_MAX 32

/* Options that every command understands; set by main.c. */
struct ah_cmd_options {
    bool json, emulate, no_trace, no_journal, quiet, verbose, verify, stream, color;
    const char *env_file, *user, *model, *project, *scripts_dir, *scenario;
    const char *tags[AH_CMD_REPEAT_MAX + 1];
    const char *meta[AH_CMD_REPEAT_MAX + 1]; /* "k=v" */
    long memory_mb, instructions;
};

struct ah_cmd_ctx {
    struct ah_host *host;
    struct ah_core *core;
    struct ah_scalekit *scalekit;
    struct ah_langsmith *langsmith;
    const struct ah_cmd_options *options;
    bool json;
    const char *identifier; /* --user, else AGENTHOST_USER, else NULL */
    FILE *out;              /* answers; everything else is said on stderr */
    const char *program;
    volatile int *interrupted;
};

struct ah_cmd {
    const char *name, *usage, *summary;
    int (*run)(struct ah_cmd_ctx *ctx, int argc, char **argv); /* argv after the command's name; exit code */
    bool needs_host;    /* main.c opens one before; else the command does */
    bool reads_journal; /* a journal that cannot be used is an error, not memory */
    bool own_options;   /* unknown options are the command's own */
};
extern const struct ah_cmd ah_cmds[]; /* ends with a NULL name */

/* Opens a host by the options (script_folder may be NULL). 0, or -1 and the error is printed: exit with
 * *code. */
int ah_cmd_open(struct ah_cmd_ctx *ctx, const char *script_folder, bool emulate, bool reads_journal,
                int *code);
void ah_cmd_close(struct ah_cmd_ctx *ctx);
/* Turns the loop until the op is done. 0: it succeeded; -1: op->err. */
int ah_cmd_wait(struct ah_cmd_ctx *ctx, struct ah_op *op);
/* Prints the error on stderr; returns its exit code. */
int ah_cmd_fail(struct ah_cmd_ctx *ctx, const struct ah_error *err);
/* "agenthost: unknown COMMAND sub-command 'x' (did you mean 'y'?)"; returns 2. */
int ah_cmd_unknown(const char *command, const char *word, const char *const *names);
/* Missing or wrong words: prints the message and the usage line; returns 2. */
int ah_cmd_usage(const char *command, const char *message);

int ah_cmd_run_run(struct ah_cmd_ctx *ctx, int argc, char **argv);
int ah_cmd_demo_run(struct ah_cmd_ctx *ctx, int argc, char **argv);
int ah_cmd_emulate_run(struct ah_cmd_ctx *ctx, int argc, char **argv);
int ah_cmd_trace_run(struct ah_cmd_ctx *ctx, int argc, char **argv);
int ah_cmd_auth_run(struct ah_cmd_ctx *ctx, int argc, char **argv);
int ah_cmd_tools_run(struct ah_cmd_ctx *ctx, int argc, char **argv);
int ah_cmd_doctor_run(struct ah_cmd_ctx *ctx, int argc, char **argv);
int ah_cmd_scripts_run(struct ah_cmd_ctx *ctx, int argc, char **argv);

/* In cmd_trace.c, also for `run --verify`: waits until the run can be read back. Exit code. */
int ah_cmd_verify(struct ah_cmd_ctx *ctx, const char *run_id, int64_t timeout_ms);

#endif
