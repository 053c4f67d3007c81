/* One run of a user's script, and calls of the program's own Lua: what happens in the Lua state, and the run's
 * row and root span around it. Called by host.c, which turns the loop. Never turns it itself. */
#ifndef AH_RUNNER_H
#define AH_RUNNER_H

#include "luax.h"
#include "script_run.h"
#include "scripts.h"
#include "task.h"

#include <agenthost/agenthost.h>

/* Filled by ah_runner_start, emptied by ah_runner_drop. All-zero: no run. */
struct ah_runner {
    struct ah_lua *lua;
    struct ah_host_run_opts opts; /* borrowed texts */
    struct ah_script_run script;
    char folder[4096], name[256];
    struct ah_script_file file;
    struct ah_run *run;
    struct ah_task *task; /* counted */
    struct ah_replay *replay;
    char run_id[AH_UUID_BYTES]; /* what result points at, as the next two */
    char *answer, *json;
    struct ah_error err;
    struct ah_host_result result;
};

/* Reads the script, begins the run and its task. -1: no run has begun, result.error says why. */
int ah_runner_start(struct ah_runner *r, struct ah_lua *lua, const struct ah_host_run_opts *opts);
void ah_runner_refuse(struct ah_runner *r, struct ah_error *err); /* no run has begun: err, which is moved */
bool ah_runner_active(const struct ah_runner *r);                 /* begun and not yet ended */
bool ah_runner_done(const struct ah_runner *r);                   /* its task has ended: end it */
/* It cannot go on: it diverged from what it did before, or waits for a person only. */
bool ah_runner_stuck(const struct ah_runner *r);
/* A person stops it: open calls are answered so, and nothing more is noted. */
void ah_runner_interrupt(struct ah_runner *r);
/* What the script spawned ends with it, then the run; fills result. `stopped`: somebody asked for it. */
void ah_runner_end(struct ah_runner *r, bool stopped);
void ah_runner_drop(struct ah_runner *r); /* of a run that has ended */

/* The public form of an error; masked when `secrets` are given. */
void ah_runner_error(struct ah_host_error *to, const struct ah_error *err, const struct ah_secrets *secrets);

/* A call of the program's own Lua as a task without a run: require(module)[function](arg as JSON text). */
struct ah_runner_call {
    const char *module, *function, *json;
    char *out; /* malloc'd: the result as JSON text, once the task is done */
};
struct ah_task *ah_runner_call(struct ah_lua *lua, struct ah_runner_call *call, struct ah_error *err);

#endif
