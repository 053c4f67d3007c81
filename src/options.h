/* The words of a command line, by tables: each command declares its sub-commands, words and options once; reading,
 * messages about mistakes, usage lines, help and shell completion (completion.h) all come from there. Pure: prints
 * nothing, asks nobody. */
#ifndef AH_OPTIONS_H
#define AH_OPTIONS_H

#include "buf.h"
#include "err.h"

#define AH_OPTIONS_REPEAT_MAX 64
#define AH_OPTIONS_DEPTH 3 /* the program, a command, its sub-command */

struct ah_cmd_ctx; /* what a command is given: main.c's affair */

/* What is stored at the option's offset. */
enum ah_option_kind {
    AH_OPTION_FLAG,  /* bool */
    AH_OPTION_TEXT,  /* const char * */
    AH_OPTION_COUNT, /* long, from min to max (0: any) */
    AH_OPTION_SECONDS, /* double, also "500ms", "2m"; from min to max; `bare`: the value when no number follows */
    AH_OPTION_AMOUNT, /* the same, of anything else */
    AH_OPTION_LIST,   /* const char *[AH_OPTIONS_REPEAT_MAX + 1] */
    AH_OPTION_PAIRS   /* the same, of key=value */
};

/* What a shell offers for a word. */
enum ah_complete {
    AH_COMPLETE_NONE,
    AH_COMPLETE_FILE,
    AH_COMPLETE_SCRIPT, /* a Lua file */
    AH_COMPLETE_DIR,
    AH_COMPLETE_CONNECTION,
    AH_COMPLETE_RUN,
    AH_COMPLETE_SESSION,
    AH_COMPLETE_SETTING,
    AH_COMPLETE_COMMAND,
    AH_COMPLETE_CHOICE /* one of `choices` */
};

struct ah_option {
    const char *name; /* "--limit" */
    char letter;      /* 'q' for -q; 0: none */
    enum ah_option_kind kind;
    size_t offset;
    const char *argument; /* "N": in usage and help */
    const char *help;
    const char *preset; /* the value when it is not given; NULL: all-zero */
    const char *bare;
    long min, max;
    enum ah_complete complete;
    const char *heading; /* help begins a new group here */
};

struct ah_command {
    const char *name, *words; /* "trace", "FILE.lua [ARGS...]" */
    const char *summary;      /* one line */
    const char *missing;      /* said when there are fewer than min_words */
    int min_words, max_words; /* -1: any number */
    enum ah_complete complete;
    const char *choices;             /* "bash zsh fish" */
    const struct ah_option *options; /* its own; ends with a NULL name */
    size_t values;                   /* bytes that its options are stored in */
    const struct ah_command *const *subs;
    int (*run)(struct ah_cmd_ctx *ctx, int argc, char **argv); /* argv: its words; exit code */
    bool needs_host;    /* main.c opens one before; else the command does */
    bool no_journal;    /* needs none: it is in memory, and nothing is sent */
    bool reads_journal; /* a journal that cannot be used is an error, not memory */
};

/* Which command a line means: path[0] is the program itself. */
struct ah_options_found {
    const struct ah_command *path[AH_OPTIONS_DEPTH];
    size_t depth;
    const char *unknown; /* the first word that is no (sub-)command, where one is needed; else NULL */
};
const struct ah_command *ah_options_last(const struct ah_options_found *f);

/* Takes the names of commands out of argv; options may stand before them. */
void ah_options_find(const struct ah_command *root, int *argc, char **argv, struct ah_options_found *f);
/* Takes the options out of argv, root's into `common`, the command's into `own`; words are left in order, without the
 * "--". *help: --help or -h was there, and nothing else is checked. -1: AH_CONFIG, one line. */
int ah_options_read(const struct ah_options_found *f, void *common, void *own, int *argc, char **argv,
                    bool *help, struct ah_error *err);
/* f->unknown, with the nearest name. Returns -1. */
int ah_options_unknown(const struct ah_options_found *f, struct ah_error *err);

/* "agenthost trace ls [--failed] [--limit N]", without a line's end. */
void ah_options_usage(const struct ah_options_found *f, struct ah_buf *out);
/* Usage, summary, sub-commands and own options; of the program: its commands and the common options. */
void ah_options_help(const struct ah_options_found *f, struct ah_buf *out);

#endif
