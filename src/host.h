/* One host: the loop, the services, and one lua_State in which scripts run, with their sandbox, their
 * limits and their orderly end. Called by main.c and cmd_*.c (and, later, by embedders). No signal
 * handlers, no exit, no process-wide state. One thread. */
#ifndef AH_HOST_H
#define AH_HOST_H

#include "core.h"
#include "err.h"
#include "luax.h"
#include "script_run.h"
#include "trace.h"

#include <agenthost/agenthost.h>

struct ah_host; /* opaque */
struct ah_op;

struct ah_host_opts {
    const char *scripts_dir;   /* --scripts */
    const char *env_file;      /* --env: instead of the two default places */
    const char *script_folder; /* where the first .env is looked for; NULL = none */
    const char *journal_dir;   /* NULL = the default place */
    const char *program;       /* argv[0]: the installed scripts are found from it */
    bool emulate;              /* run the emulator in this process and use only it */
    const char *scenario;      /* of that emulator: a Lua file; NULL = its own small data */
    bool no_journal;           /* --no-journal */
    bool read_journal;         /* commands that read: a journal that cannot be used is an error */
    bool no_store;             /* commands that need no journal at all: it is in memory */
    int verbosity;             /* -1 quiet, 0, 1 verbose */
    bool color;
    size_t memory_bytes; /* 0 = AH_LUA_MEMORY_BYTES */
    long instructions;   /* 0 = AH_LUA_INSTRUCTIONS */
    const char *project; /* --project */
};

struct ah_host *ah_host_new(const struct ah_host_opts *opts, struct ah_error *err);
/* Cancels what runs, ends runs, commits, closes. NULL is fine. */
void ah_host_free(struct ah_host *h);

struct ah_core *ah_host_core(struct ah_host *h);
struct ah_lua *ah_host_lua(struct ah_host *h);
/* While *flag is not 0, running Lua raises. May be set by a signal handler. */
void ah_host_set_interrupt(struct ah_host *h, const volatile int *flag);
/* Asks the running script to stop: its task is cancelled in the next turn. */
void ah_host_stop(struct ah_host *h);

/* What a script run is told and asked for. */
struct ah_host_run_opts {
    struct ah_script_run script;
    const char *project;
    const char *const *tags;
    const char *metadata; /* JSON object text, or NULL */
    bool no_trace;
    bool want_json; /* fill result.json; a result that cannot be JSON is then the script's error */
};

struct ah_host_result {
    char run_id[AH_UUID_BYTES];
    int64_t run_key; /* in the journal */
    char *answer;    /* what goes to stdout; NULL = nothing */
    char *json;      /* the whole result as JSON; NULL = nothing */
    int exit_code;   /* of os.exit; else 0 or by err.kind */
    bool exited;     /* by os.exit */
    bool sends;      /* the run has a destination */
    struct ah_run_totals totals;
    struct ah_error err;
};
void ah_host_result_drop(struct ah_host_result *r);

/* Runs a script to its end: loads it, runs it as a task with a run of its own, runs the agent that it
 * returns, ends its tasks and its run. Turns the loop. 0: result is filled (err.kind may be set). */
int ah_host_run(struct ah_host *h, const struct ah_host_run_opts *opts, struct ah_host_result *result);
/* Turns the loop until the op is done; an interrupt cancels it. */
void ah_host_wait(struct ah_host *h, struct ah_op *op);
/* Runs Lua code of the program itself (a module's function) as a task without a run: require(module)
 * [function](arg as JSON text) -> its result as JSON text (malloc'd). For emulate and commands. */
char *ah_host_call(struct ah_host *h, const char *module, const char *function, const char *json,
                   struct ah_error *err);

#endif
