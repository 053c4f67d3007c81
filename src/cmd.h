/* What main.c and the sub-commands share: the parsed common options, the open host, and the table of
 * commands. Layer 7. */
#ifndef AH_CMD_H
#define AH_CMD_H

#include "host.h"
#include "json.h"
#include "options.h"

#include <stdio.h>

/* Options that every command understands. */
struct ah_cmd_options {
    bool open, json, emulate, no_trace, no_journal, quiet, verbose, verify, stream, color, go_on;
    const char *approve, *session;
    const char *env_file, *user, *model, *project, *scripts_dir, *scenario;
    const char *tags[AH_OPTIONS_REPEAT_MAX + 1];
    const char *meta[AH_OPTIONS_REPEAT_MAX + 1]; /* "k=v" */
    long memory_mb, instructions;
    long max_steps, max_tokens;              /* 0: the script's own */
    double max_cost, max_time, auth_timeout; /* the last: -1 not given */
    double flush;                            /* seconds for traces at the end */
};

struct ah_cmd_ctx {
    struct ah_host *host;
    struct ah_core *core;
    struct ah_scalekit *scalekit;
    struct ah_langsmith *langsmith;
    const struct ah_cmd_options *options;
    const void *values;                   /* the command's own options, as its table lays them out */
    const struct ah_options_found *found; /* which command this is */
    bool json, said;                      /* said: the error is on stdout as JSON already */
    const char *identifier;               /* --user, else AGENTHOST_USER, else NULL */
    FILE *out;                            /* answers; everything else is said on stderr */
    const char *program;
    int emulator_port; /* where a resumed run's emulator was; 0: anywhere */
    volatile int *interrupted;
};

/* The program: its commands, and the common options. In main.c. */
extern const struct ah_command ah_cmd_root;

/* Opens a host by the options (script_folder may be NULL). 0, or -1 and the error is printed: exit with
 * *code. */
int ah_cmd_open(struct ah_cmd_ctx *ctx, const char *script_folder, bool emulate, bool reads_journal,
                int *code);
void ah_cmd_close(struct ah_cmd_ctx *ctx);
/* The folder of the installed scripts; "" when the program runs from where it was built. */
void ah_cmd_installed(char *out, size_t size);
/* Turns the loop until the op is done. 0: it succeeded; -1: op->err. */
int ah_cmd_wait(struct ah_cmd_ctx *ctx, struct ah_op *op);
/* Prints the error on stderr, with --json also as {"error":{"kind","message"},"exit_code"} on stdout, once;
 * returns its exit code. */
int ah_cmd_fail(struct ah_cmd_ctx *ctx, const struct ah_error *err);
/* The same where a word of the command line named something of the journal, and no service was asked: what is not there,
 * or cannot be so used, is wrong usage. */
int ah_cmd_fail_word(struct ah_cmd_ctx *ctx, const struct ah_error *err);
int ah_cmd_fail_as(struct ah_cmd_ctx *ctx, const char *kind, const char *message);
/* Wrong words: the same for a message, and the command's usage line; returns 2. */
int ah_cmd_usage(struct ah_cmd_ctx *ctx, const char *message);

/* A script from its file to its exit code: the answer to stdout, all else to stderr. In cmd_run.c. */
struct ah_cmd_script {
    const char *path;
    char **args;
    bool emulate;
    /* of a run that is resumed: */
    int port;         /* of the emulator it had */
    const char *user; /* what AGENTHOST_USER was; "" or NULL: nothing */
    int64_t resumes;
    const char *assume;
};
int ah_cmd_run_script(struct ah_cmd_ctx *ctx, const struct ah_cmd_script *script);

/* In cmd_again.c: the options of a run, kept for the next. */
#define AH_CMD_AGAIN_TEXTS 256
struct ah_cmd_again {
    struct ah_cmd_options options; /* those given now, and of the others those that the run had */
    char folder[4096];             /* where it began */
    char *texts[AH_CMD_AGAIN_TEXTS];
    size_t count;
};
void ah_cmd_again_write(const struct ah_cmd_options *options, bool emulate, const char *folder,
                        struct ah_buf *to);
void ah_cmd_again_read(struct ah_cmd_again *a, struct ah_json command, const struct ah_cmd_options *now);
void ah_cmd_again_drop(struct ah_cmd_again *a);

extern const struct ah_command ah_cmd_resume, ah_cmd_approve, ah_cmd_run, ah_cmd_demo, ah_cmd_emulate,
    ah_cmd_trace, ah_cmd_auth, ah_cmd_tools, ah_cmd_doctor, ah_cmd_scripts, ah_cmd_completion, ah_cmd_check,
    ah_cmd_new, ah_cmd_config, ah_cmd_session;

/* In cmd_config.c, for completion: a name a line. */
void ah_cmd_config_names(FILE *out);
/* In cmd_trace.c, also for `run --verify`: waits until the run can be read back. Exit code. */
int ah_cmd_verify(struct ah_cmd_ctx *ctx, const char *run_id, int64_t timeout_ms);

#endif
