/* agenthost as a library: runs AI agents written as Lua scripts inside another C or C++ program.
 *
 * A host is one loop, one Lua state, one journal. It belongs to the thread that uses it: one call at a time, and
 * none from inside its own callbacks. Several hosts may live in one process, each in a thread of its own.
 * ah_host_stop is the one function here that any thread (and a signal handler) may call.
 *
 * The library installs no signal handler, changes no signal's disposition, never ends the process, and writes to
 * standard output and error only where no callback takes the text. While it works, its thread has SIGPIPE and
 * SIGXFSZ blocked and the "C" locale; both are put back before a function returns. It reads the environment, so
 * no other thread may change it (setenv) while a host lives. docs/embedding.md says more.
 *
 * Structs that the caller fills begin with their size: zero the struct, set `size` to sizeof of it, then the fields
 * that matter. Later versions add fields at the end. */
#ifndef AGENTHOST_H
#define AGENTHOST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AH_PUBLIC __attribute__((visibility("default")))

struct ah_host; /* opaque */

/* "0.1.0": of the library that is loaded. */
AH_PUBLIC const char *ah_host_version(void);

/* What went wrong. `kind` is one of a closed set (docs/embedding.md lists it), "" when nothing did; `message` is a
 * sentence that says what to do next, with secrets masked. */
struct ah_host_error {
    char kind[32];
    char message[1024];
};

struct ah_host_pair { /* lists of them end with a NULL name */
    const char *name, *value;
};

/* --- making a host ------------------------------------------------------------------------------------------- */

enum ah_host_flags {
    AH_HOST_EMULATE = 1 << 0,        /* run the emulator of the services in this host, and use only it */
    AH_HOST_MEMORY = 1 << 1,         /* the journal is in memory and goes with the host */
    AH_HOST_NEED_JOURNAL = 1 << 2,   /* a journal that cannot be used is an error of ah_host_new */
    AH_HOST_NO_JOURNAL = 1 << 3,     /* without a journal on disk, unsafe calls are allowed all the same */
    AH_HOST_NO_ENVIRONMENT = 1 << 4, /* the process's environment is no source of settings */
    AH_HOST_NO_DOTENV = 1 << 5,      /* neither are .env files */
    AH_HOST_COLOR = 1 << 6,          /* log lines on standard error are coloured */
};

struct ah_host_opts {
    size_t size;
    unsigned flags; /* of enum ah_host_flags */
    int verbosity;  /* -1 errors only, 0 warnings too, 1 all */
    const struct ah_host_pair
        *settings;             /* OPENAI_API_KEY ...: they win over the environment and .env files */
    const char *env_file;      /* one settings file instead of .env of the script's and the working folder */
    const char *script_folder; /* where the first .env is looked for */
    const char *journal_dir;   /* NULL: $AGENTHOST_HOME, else the user's state folder */
    const char *scripts_dir;   /* Lua modules and prompts that come before all others but the script's own */
    const char *installed_dir; /* the same, after $AGENTHOST_SCRIPTS and before what the library carries */
    const char *scenario;      /* of the emulator: a Lua file; NULL: its own small data */
    uint64_t memory_bytes;     /* the most that Lua may use; 0: 1 GB */
    int64_t instructions;      /* of Lua without a wait; 0: 500 million, -1: no limit */

    /* Callbacks run on the host's thread, must return soon, and must not call the host. `arg` is for all. */
    void *arg;
    /* A line of the log, without line end, masked. level: 0 error, 1 warning, 2 notice, 3 detail. NULL: stderr */
    void (*on_log)(void *arg, int level, const char *line, size_t n);
    /* What scripts print: stream 1 is standard output, 2 standard error. NULL: the process's own */
    void (*on_output)(void *arg, int stream, const char *text, size_t n);
    int emulator_port; /* of the emulator, where it is free; 0: any */
};

/* NULL: *err (may be NULL) says why. Texts are copied or used only during the call. */
AH_PUBLIC struct ah_host *ah_host_new(const struct ah_host_opts *opts, struct ah_host_error *err);
/* Cancels a run that goes on, writes the journal, closes everything. NULL is fine. */
AH_PUBLIC void ah_host_free(struct ah_host *h);

/* --- running a script ---------------------------------------------------------------------------------------- */

enum ah_host_run_flags {
    AH_HOST_RUN_NO_TRACE = 1 << 0, /* no spans; effects are journalled all the same */
    AH_HOST_RUN_JSON = 1 << 1,     /* fill result->json; what cannot be JSON is then the script's error */
};

/* What the fields point at must stay until the run has ended. */
struct ah_host_run_opts {
    size_t size;
    unsigned flags;     /* of enum ah_host_run_flags */
    const char *path;   /* of the script; its folder is where its modules and prompts are looked for */
    const char *source; /* the script itself: `path` is then only its name and folder */
    size_t source_n;
    const char *const *args;            /* NULL-terminated, or NULL */
    const char *identifier;             /* whose accounts: wins over what the script says */
    const struct ah_host_pair *options; /* what host.script.option answers: "model", "stream" ... */
    const char *project;                /* LangSmith project */
    const char *const *tags;            /* NULL-terminated, or NULL */
    const char *metadata;               /* JSON object text, or NULL */
    const char
        *command;    /* JSON object text, kept in the journal with the run: how to begin it again. Or NULL */
    int64_t resumes; /* the run_key of the run that this one goes on from; 0: it is new */
    const char
        *assume; /* "done", "retry" or "fail": of calls whose outcome nobody knows; NULL: nobody says */
};

/* How a run ended. It belongs to the host: valid until the next run starts or the host is freed. Later versions
 * add fields at the end. */
struct ah_host_result {
    const char *answer;         /* what the script gave as its answer; NULL: nothing. As it is: not masked */
    const char *json;           /* the whole result as JSON, masked; NULL: nothing, or not asked for */
    struct ah_host_error error; /* kind "": it succeeded */
    const char *error_json;     /* all that is known of the error as a JSON object; NULL: it succeeded */
    int exit_code;      /* what the program agenthost would end with: of os.exit, else by the error's kind */
    int exited;         /* by os.exit */
    int sends;          /* its spans go to LangSmith */
    const char *run_id; /* a UUID; "": no run has begun */
    int64_t run_key;    /* in the journal */
    int64_t input_tokens, output_tokens, model_calls, tool_calls, errors;
    double cost;      /* USD */
    int cost_known;   /* of every model call */
    int resumable;    /* the journal has all that a resumed run needs */
    int64_t replayed; /* calls that were answered from the journal: of a resumed run */
};

/* Runs a script to its end. Never NULL. */
AH_PUBLIC const struct ah_host_result *ah_host_run(struct ah_host *h, const struct ah_host_run_opts *opts);

/* The same from a loop of the caller's:
 *
 *     if (ah_host_start(h, &opts) == 0)
 *         while (ah_host_step(h, 0)) { poll ah_host_fd(h) for reading, at most ah_host_timeout(h) ms }
 *     result = ah_host_result(h);
 */
/* Begins a run; one at a time. -1: it could not begin, and the result says why. */
AH_PUBLIC int ah_host_start(struct ah_host *h, const struct ah_host_run_opts *opts);
/* Does what there is to do, and waits at most timeout_ms for more (-1: as long as it takes). 1: the run goes on;
 * 0: it has ended, or there is none. */
AH_PUBLIC int ah_host_step(struct ah_host *h, int timeout_ms);
/* Becomes readable when ah_host_step has something to do (an epoll descriptor: only poll it). */
AH_PUBLIC int ah_host_fd(struct ah_host *h);
/* In how many ms ah_host_step must be called although the descriptor is silent; 0 now, -1 never. Changes with
 * every step. */
AH_PUBLIC int ah_host_timeout(struct ah_host *h);
AH_PUBLIC const struct ah_host_result *ah_host_result(struct ah_host *h);

/* From any thread or signal handler: ends the run that goes on, else the next one; its error kind is "cancelled".
 * The host must not be freed at the same time. */
AH_PUBLIC void ah_host_stop(struct ah_host *h);

/* Waits until spans that go to LangSmith have left, at most timeout_ms. How many are still in the journal; the next
 * host with this journal sends them. */
AH_PUBLIC int64_t ah_host_flush(struct ah_host *h, int timeout_ms);

#ifdef __cplusplus
}
#endif

#endif
