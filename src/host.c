/* One host, put together and taken apart in order. Called by main.c and cmd_*.c.
 *
 * ah_host_free is a list; each step needs what the later ones take away: tasks end (their closers run),
 * runs end, the journal is written, the Lua state goes, then services, transport, journal, secrets,
 * loop. Must not print answers and must not end the process. */
#include "host.h"

#include "config.h"
#include "ext.h"
#include "http.h"
#include "langsmith.h"
#include "limits.h"
#include "log.h"
#include "lua_host.h"
#include "lua_http.h"
#include "lua_json.h"
#include "lua_langsmith.h"
#include "lua_mcp.h"
#include "lua_openai.h"
#include "lua_run.h"
#include "lua_scalekit.h"
#include "lua_schema.h"
#include "lua_server.h"
#include "lua_session.h"
#include "lua_task.h"
#include "lua_trace.h"
#include "luajson.h"
#include "luapool.h"
#include "luasecret.h"
#include "openai.h"
#include "runner.h"
#include "sandbox.h"
#include "scalekit.h"
#include "scripts.h"
#include "secret.h"
#include "store.h"
#include "task.h"
#include "version.h"

#include <assert.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GRACE_MS 1000    /* of a run that is stopped */
#define DRAIN_TURNS 1000 /* cancelled work ends within a few turns; this is only a stop */
#define LONG_MS 3600000
#define END_MS 2000 /* for the journal, when a run has ended and another process writes */
/* The structs of version 0.1.0. */
#define OPTS_LEAST (offsetof(struct ah_host_opts, on_output) + sizeof(void (*)(void)))
#define RUN_OPTS_LEAST (offsetof(struct ah_host_run_opts, metadata) + sizeof(char *))

/* What the calling thread had before a function of ours, and gets back. */
struct guest {
    sigset_t mask;
    bool pending[2];
    locale_t locale;
};

struct ah_host {
    struct ah_lua lua;
    struct ah_core core;
    struct ah_log log;
    size_t memory, memory_max;
    struct ah_luapool pool;
    struct ah_runner runner; /* of the script that runs, or ran last */
    atomic_int stop;         /* set by other threads */
    int64_t grace_us;        /* until then a run that is stopped may end by itself */
    int depth;               /* of entered functions: > 0 inside of callbacks */
    struct guest guest;
    locale_t locale; /* "C" */
    void *arg;
    void (*on_log)(void *arg, int level, const char *line, size_t n);
    void (*on_output)(void *arg, int stream, const char *text, size_t n);
    FILE *out, *err; /* what scripts print to, when on_output takes it */
};

/* --- the caller's thread -------------------------------------------------------------------------------------- */

static const int held_signals[] = {SIGPIPE, SIGXFSZ};

/* A write to a closed socket, or past the limit of a file's size, is an error of write() to us; to the process
 * around us it may be anything. So the two are held back while we work, and taken away if they came. And numbers
 * have a point, whatever the process's locale. */
static void enter(struct ah_host *h)
{
    sigset_t held, pending;
    if (h->depth++ > 0)
        return;
    sigemptyset(&held);
    sigpending(&pending);
    for (size_t i = 0; i < 2; i++) {
        sigaddset(&held, held_signals[i]);
        h->guest.pending[i] = sigismember(&pending, held_signals[i]);
    }
    pthread_sigmask(SIG_BLOCK, &held, &h->guest.mask);
    h->guest.locale = h->locale ? uselocale(h->locale) : (locale_t)0;
}

static void give_back(struct guest *g)
{
    static const struct timespec now = {0, 0};
    sigset_t pending, one;
    sigpending(&pending);
    for (size_t i = 0; i < 2; i++) {
        sigemptyset(&one);
        sigaddset(&one, held_signals[i]);
        if (!g->pending[i] && sigismember(&pending, held_signals[i]))
            sigtimedwait(&one, NULL, &now);
    }
    pthread_sigmask(SIG_SETMASK, &g->mask, NULL);
    if (g->locale)
        uselocale(g->locale);
}

static void leave(struct ah_host *h)
{
    if (--h->depth == 0)
        give_back(&h->guest);
}

/* --- what scripts and the log say --- */

static ssize_t write_output(struct ah_host *h, int stream, const char *text, size_t n)
{
    if (n > 0)
        h->on_output(h->arg, stream, text, n);
    return (ssize_t)n;
}

static ssize_t on_stdout(void *arg, const char *text, size_t n)
{
    return write_output(arg, 1, text, n);
}

static ssize_t on_stderr(void *arg, const char *text, size_t n)
{
    return write_output(arg, 2, text, n);
}

/* Streams of C over the callback, so that everything in Lua that prints goes there. */
static int open_output(struct ah_host *h, struct ah_error *err)
{
    if (!h->on_output)
        return 0;
    h->out = fopencookie(h, "w", (cookie_io_functions_t){.write = on_stdout});
    h->err = fopencookie(h, "w", (cookie_io_functions_t){.write = on_stderr});
    if (!h->out || !h->err)
        return ah_err_set(err, AH_MEMORY, "out of memory");
    setvbuf(h->out, NULL, _IONBF, 0);
    setvbuf(h->err, NULL, _IONBF, 0);
    return 0;
}

static void on_log_line(void *arg, enum ah_log_level level, const char *line, size_t n)
{
    struct ah_host *h = arg;
    h->on_log(h->arg, (int)level, line, n);
}

/* --- building ------------------------------------------------------------------------------------------------ */

static void *on_alloc(void *arg, void *p, size_t old, size_t wanted)
{
    struct ah_host *h = arg;
    if (!p)
        old = 0; /* Lua passes a type code here */
    if (wanted > old && wanted - old > h->memory_max - h->memory)
        return NULL; /* "not enough memory": an error in the script, not the end of the host */
    void *grown = ah_luapool_resize(&h->pool, p, old, wanted);
    if (grown || wanted == 0)
        h->memory = h->memory - old + wanted;
    return grown;
}

static int on_panic(lua_State *L)
{
    const char *s = lua_tostring(L, -1);
    fprintf(stderr, "agenthost: internal error outside of any protection: %s\n", s ? s : "?");
    return 0; /* Lua aborts */
}

static const struct ah_module modules[] = {
    {"host", luaopen_host},
    {"host.http", luaopen_host_http},
    {"host.json", luaopen_host_json},
    {"host.langsmith", luaopen_host_langsmith},
    {"host.mcp", luaopen_host_mcp},
    {"host.openai", luaopen_host_openai},
    {"host.run", luaopen_host_run},
    {"host.scalekit", luaopen_host_scalekit},
    {"host.schema", luaopen_host_schema},
    {"host.script", luaopen_host_script},
    {"host.server", luaopen_host_server},
    {"host.session", luaopen_host_session},
    {"host.task", luaopen_host_task},
    {"host.trace", luaopen_host_trace},
    {NULL, NULL},
};

/* All set-up of the state, protected. */
static int build_state(lua_State *L)
{
    struct ah_host *h = lua_touserdata(L, 1);
    ah_sandbox_open(L, modules);
    ah_luajson_open(L);
    ah_luasecret_open(L);
    if (ah_tasks_open(L, &h->lua) != 0)
        return luaL_error(L, "out of memory");
    if (h->out)
        ah_sandbox_redirect(L, h->out, h->err);
    ah_sandbox_freeze(L);
    ah_sandbox_new_env(L);
    h->lua.require = ah_sandbox_require;
    return 0;
}

static int open_state(struct ah_host *h, const struct ah_host_opts *opts, struct ah_error *err)
{
    h->memory_max = opts->memory_bytes ? (size_t)opts->memory_bytes : AH_LUA_MEMORY_BYTES;
    lua_State *L = lua_newstate(on_alloc, h);
    if (!L)
        return ah_err_set(err, AH_MEMORY, "out of memory");
    h->lua.L = L;
    h->lua.core = &h->core;
    lua_atpanic(L, on_panic);
    *(struct ah_lua **)lua_getextraspace(L) = &h->lua;
    lua_pushcfunction(L, build_state);
    lua_pushlightuserdata(L, h);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        return ah_err_set(err, AH_MEMORY, "cannot set up Lua: %s", lua_tostring(L, -1));
    if (opts->instructions)
        ah_tasks_set_budget(h->lua.tasks, opts->instructions > 0 ? (long)opts->instructions : 0);
    ah_tasks_set_interrupt(h->lua.tasks, &h->stop);
    return 0;
}

/* .env of the script's folder, then of the working folder; or the one file that was named. */
static int load_settings(struct ah_host *h, const struct ah_host_opts *opts, struct ah_error *err)
{
    char path[4096];
    const struct ah_host_pair *p = opts->settings;
    for (; p && p->name; p++)
        if (p->value && ah_config_set(h->core.config, p->name, p->value, AH_FROM_ENVIRONMENT) != 0)
            return ah_err_set(err, AH_MEMORY, "out of memory");
    if (opts->flags & AH_HOST_NO_DOTENV)
        return 0;
    if (opts->env_file)
        return ah_config_load(h->core.config, opts->env_file, false, err);
    if (opts->script_folder && strcmp(opts->script_folder, ".") != 0) {
        snprintf(path, sizeof path, "%s/.env", opts->script_folder);
        if (ah_config_load(h->core.config, path, true, err) != 0)
            return -1;
    }
    return ah_config_load(h->core.config, ".env", true, err);
}

static int open_log(struct ah_host *h, const struct ah_host_opts *opts, struct ah_error *err)
{
    h->arg = opts->arg;
    h->on_log = opts->on_log;
    h->on_output = opts->on_output;
    h->core.log = &h->log;
    h->log.level = opts->verbosity < 0 ? AH_LOG_ERROR : opts->verbosity > 0 ? AH_LOG_DEBUG : AH_LOG_WARN;
    h->log.color = opts->flags & AH_HOST_COLOR;
    if (opts->on_log) {
        h->log.sink = on_log_line;
        h->log.arg = h;
    }
    h->core.secrets = ah_secret_new();
    h->log.secrets = h->core.secrets;
    return h->core.secrets ? open_output(h, err) : ah_err_set(err, AH_MEMORY, "out of memory");
}

static int open_journal(struct ah_host *h, const struct ah_host_opts *opts, struct ah_error *err)
{
    struct ah_store_opts store = {.dir = opts->journal_dir,
                                  .memory = opts->flags & AH_HOST_MEMORY,
                                  .need_file = opts->flags & AH_HOST_NEED_JOURNAL,
                                  .allow_no_journal = opts->flags & AH_HOST_NO_JOURNAL};
    if ((opts->flags & AH_HOST_NO_ENVIRONMENT) && !store.memory && !store.dir)
        return ah_err_set(
            err, AH_CONFIG,
            "no place for the journal: set journal_dir, or AH_HOST_MEMORY (the environment, which "
            "says it otherwise, is not read)");
    h->core.store = ah_store_open(&store, h->core.loop, &h->log, err);
    return h->core.store ? 0 : -1;
}

static int open_core(struct ah_host *h, const struct ah_host_opts *opts, struct ah_error *err)
{
    if (open_log(h, opts, err) != 0)
        return -1;
    h->core.loop = ah_loop_new(err);
    if (!h->core.loop)
        return -1;
    h->lua.ext = ah_ext_open(h->core.loop);
    if (!h->lua.ext)
        return ah_err_set(err, AH_MEMORY, "out of memory");
    h->core.config = opts->flags & AH_HOST_NO_ENVIRONMENT ? ah_config_new_alone(h->core.secrets, &h->log)
                                                          : ah_config_new(h->core.secrets, &h->log);
    if (!h->core.config)
        return ah_err_set(err, AH_MEMORY, "out of memory");
    if (load_settings(h, opts, err) != 0)
        return -1;
    ah_config_set_emulated(h->core.config, opts->flags & AH_HOST_EMULATE);
    h->lua.scripts = ah_scripts_new(opts->scripts_dir, ah_config_get(h->core.config, "AGENTHOST_SCRIPTS"),
                                    opts->installed_dir);
    h->core.http = ah_http_new(h->core.loop, &h->log, h->core.config, err);
    if (!h->lua.scripts || !h->core.http)
        return h->core.http ? ah_err_set(err, AH_MEMORY, "out of memory") : -1;
    if (open_journal(h, opts, err) != 0)
        return -1;
    h->core.trace = ah_trace_new(&h->core, err);
    return h->core.trace ? 0 : -1;
}

static int open_services(struct ah_host *h, struct ah_error *err)
{
    h->lua.openai = ah_openai_new(&h->core);
    if (!h->lua.openai)
        return ah_err_set(err, AH_MEMORY, "out of memory");
    h->lua.scalekit = ah_scalekit_new(&h->core, err);
    if (!h->lua.scalekit)
        return -1;
    h->lua.langsmith = ah_langsmith_new(&h->core, err);
    return h->lua.langsmith ? 0 : -1;
}

/* Starts the emulator's Lua in this state; its settings replace those of the services. */
static int boot_emulator(struct ah_host *h, const char *scenario, int port, struct ah_error *err)
{
    struct ah_buf options;
    struct ah_json_writer w;
    ah_buf_init(&options, AH_DOTENV_BYTES);
    ah_json_begin(&w, &options, NULL);
    ah_json_object(&w);
    if (scenario) {
        ah_json_key(&w, "scenario");
        ah_json_put_str(&w, scenario);
    }
    if (port) {
        ah_json_key(&w, "port");
        ah_json_put_int(&w, port);
    }
    ah_json_end_object(&w);
    char *json = ah_host_call(h, "emulator.boot", "here", ah_buf_str(&options), err);
    ah_buf_drop(&options);
    if (!json)
        return -1;
    struct ah_json settings;
    int rc = ah_json_check(json, strlen(json), 0, &settings, err);
    for (struct ah_json_iter it = ah_json_iter(rc == 0 ? settings : (struct ah_json){0});
         ah_json_next(&it);) {
        char *name = ah_json_dup(it.key), *value = ah_json_dup(it.value);
        if (!name || !value || ah_config_set(h->core.config, name, value, AH_FROM_EMULATOR) != 0)
            rc = ah_err_set(err, AH_MEMORY, "out of memory");
        free(name);
        free(value);
    }
    free(json);
    return rc;
}

/* A resumed run finds its services where they were, if it can: their address may stand in what it noted. */
static int start_emulator(struct ah_host *h, const struct ah_host_opts *opts, struct ah_error *err)
{
    int rc = boot_emulator(h, opts->scenario, opts->emulator_port, err);
    if (rc != 0 && opts->emulator_port) {
        ah_err_drop(err);
        rc = boot_emulator(h, opts->scenario, 0, err);
    }
    const char *base = rc == 0 ? ah_config_get(h->core.config, "SCALEKIT_ENVIRONMENT_URL") : NULL;
    const char *colon = base ? strrchr(base, ':') : NULL;
    h->lua.emulator_port = colon ? (int)strtol(colon + 1, NULL, 10) : 0;
    return rc;
}

int ah_host_read_sized(void *to, size_t known, size_t least, const void *from, const char *name,
                       struct ah_error *err)
{
    size_t given = from ? *(const size_t *)from : 0;
    memset(to, 0, known);
    if (given < least)
        return ah_err_set(err, AH_CONFIG, "struct %s: the field size must be sizeof(struct %s)", name, name);
    for (size_t i = known; i < given; i++)
        if (((const unsigned char *)from)[i])
            return ah_err_set(err, AH_CONFIG,
                              "struct %s has fields that agenthost " AH_VERSION " does not know", name);
    memcpy(to, from, given < known ? given : known);
    return 0;
}

void ah_host_tell(struct ah_host_error *to, const struct ah_error *err)
{
    if (to)
        ah_runner_error(to, err, NULL);
}

static int check_flags(unsigned flags, unsigned known, const char *name, struct ah_error *err)
{
    if ((flags & ~known) == 0)
        return 0;
    return ah_err_set(err, AH_CONFIG, "struct %s: agenthost " AH_VERSION " does not know the flags 0x%x",
                      name, flags & ~known);
}

static int read_opts(struct ah_host_opts *o, const struct ah_host_opts *given, struct ah_error *err)
{
    if (ah_host_read_sized(o, sizeof *o, OPTS_LEAST, given, "ah_host_opts", err) != 0)
        return -1;
    return check_flags(o->flags, 2 * AH_HOST_COLOR - 1, "ah_host_opts", err);
}

static int open_host(struct ah_host *h, const struct ah_host_opts *opts, struct ah_error *err)
{
    h->runner.result.run_id = h->runner.run_id;
    h->locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    enter(h);
    int rc = open_core(h, opts, err) != 0 || open_state(h, opts, err) != 0 || open_services(h, err) != 0 ||
                     ((opts->flags & AH_HOST_EMULATE) && start_emulator(h, opts, err) != 0)
                 ? -1
                 : 0;
    leave(h);
    return rc;
}

struct ah_host *ah_host_new(const struct ah_host_opts *given, struct ah_host_error *error)
{
    struct ah_host_opts opts;
    struct ah_error err = {0};
    struct ah_host *h = NULL;
    if (read_opts(&opts, given, &err) == 0) {
        h = calloc(1, sizeof *h);
        if (!h) {
            ah_err_set(&err, AH_MEMORY, "out of memory");
        } else if (open_host(h, &opts, &err) != 0) {
            if (h->core.secrets)
                ah_secret_mask_str(h->core.secrets, err.message, sizeof err.message);
            ah_host_free(h);
            h = NULL;
        }
    }
    ah_host_tell(error, &err);
    ah_err_drop(&err);
    return h;
}

const char *ah_host_version(void)
{
    return AH_VERSION;
}

/* --- taking apart --------------------------------------------------------------------------------------------- */

static void close_tasks(struct ah_host *h)
{
    if (!h->lua.tasks)
        return;
    ah_tasks_cancel_all(h->lua.tasks);
    for (int i = 0; i < DRAIN_TURNS && ah_loop_turn(h->core.loop, 0) && ah_tasks_alive(h->lua.tasks) > 0; i++)
        ah_tasks_cancel_all(h->lua.tasks);
}

static void close_core(struct ah_host *h)
{
    ah_langsmith_free(h->lua.langsmith);
    ah_scalekit_free(h->lua.scalekit);
    ah_openai_free(h->lua.openai);
    ah_http_free(h->core.http);
    if (h->core.loop)
        ah_loop_turn(h->core.loop, 0); /* whoever waited for what was cancelled is told */
    ah_trace_free(h->core.trace);
    ah_store_close(h->core.store);
    ah_scripts_free(h->lua.scripts);
    ah_config_free(h->core.config);
    ah_ext_close(h->lua.ext); /* what other threads finish from now on is thrown away */
    ah_loop_free(h->core.loop);
    h->log.secrets = NULL;
    ah_secret_free(h->core.secrets);
    if (h->out)
        fclose(h->out);
    if (h->err)
        fclose(h->err);
}

void ah_host_free(struct ah_host *h)
{
    if (!h)
        return;
    enter(h);
    if (ah_runner_active(&h->runner))
        ah_runner_end(&h->runner, true);
    close_tasks(h);
    if (h->lua.L) {
        lua_close(h->lua.L); /* servers, streams and tasks that only Lua held go here */
        h->lua.L = NULL;
        ah_luapool_drop(&h->pool);
    }
    ah_tasks_free(h->lua.tasks);
    close_core(h);
    ah_runner_drop(&h->runner);
    assert(h->memory == 0);
    leave(h);
    if (h->locale)
        freelocale(h->locale);
    free(h);
}

struct ah_core *ah_host_core(struct ah_host *h)
{
    return &h->core;
}

struct ah_lua *ah_host_lua(struct ah_host *h)
{
    return &h->lua;
}

void ah_host_stop(struct ah_host *h)
{
    atomic_store(&h->stop, 1);
    ah_loop_wake(h->core.loop);
}

static bool is_stopped(struct ah_host *h)
{
    return atomic_load(&h->stop) != 0;
}

int ah_host_fd(struct ah_host *h)
{
    return ah_loop_fd(h->core.loop);
}

int ah_host_timeout(struct ah_host *h)
{
    int ms = ah_loop_timeout(h->core.loop);
    if (!is_stopped(h) || !ah_runner_active(&h->runner))
        return ms;
    if (!h->lua.interrupting)
        return 0;
    return ms < 0 || ms > GRACE_MS / 10 ? GRACE_MS / 10 : ms; /* the grace may be over */
}

/* --- waiting ---------------------------------------------------------------------------------------------------- */

static void on_awaited(struct ah_op *op, void *arg)
{
    (void)arg;
    ah_loop_hurry(op->loop);
}

void ah_host_wait(struct ah_host *h, struct ah_op *op)
{
    enter(h);
    ah_op_wait(op, on_awaited, NULL);
    while (!op->done) {
        if (is_stopped(h) || h->lua.exit_requested) /* of the program's own Lua: a scenario's os.exit */
            ah_op_cancel(op);
        ah_loop_turn(h->core.loop, 1000);
    }
    ah_op_wait(op, NULL, NULL);
    leave(h);
}

int64_t ah_host_flush(struct ah_host *h, int timeout_ms)
{
    struct ah_op *op = ah_langsmith_flush(h->lua.langsmith, timeout_ms);
    if (op)
        ah_host_wait(h, op);
    ah_op_unref(op);
    return ah_langsmith_waiting(h->lua.langsmith);
}

char *ah_host_call(struct ah_host *h, const char *module, const char *function, const char *json,
                   struct ah_error *err)
{
    struct ah_runner_call call = {.module = module, .function = function, .json = json};
    enter(h);
    struct ah_task *task = ah_runner_call(&h->lua, &call, err);
    if (task) {
        ah_host_wait(h, ah_task_end_op(task));
        if (ah_task_end_op(task)->err.kind != AH_NONE) {
            ah_err_copy(err, &ah_task_end_op(task)->err);
            free(call.out);
            call.out = NULL;
        }
        ah_task_unref(task);
    }
    leave(h);
    return call.out;
}

/* --- running ---------------------------------------------------------------------------------------------------- */

static int read_run_opts(struct ah_host_run_opts *o, const struct ah_host_run_opts *given,
                         struct ah_error *err)
{
    if (ah_host_read_sized(o, sizeof *o, RUN_OPTS_LEAST, given, "ah_host_run_opts", err) != 0 ||
        check_flags(o->flags, 2 * AH_HOST_RUN_JSON - 1, "ah_host_run_opts", err) != 0)
        return -1;
    if (!o->path)
        return ah_err_set(err, AH_CONFIG, "struct ah_host_run_opts: path is missing");
    return 0;
}

static int start_runner(struct ah_host *h, const struct ah_host_run_opts *given)
{
    struct ah_host_run_opts opts;
    struct ah_error err = {0};
    ah_runner_drop(&h->runner);
    if (read_run_opts(&opts, given, &err) != 0) {
        ah_runner_refuse(&h->runner, &err);
        return -1;
    }
    if (ah_runner_start(&h->runner, &h->lua, &opts) != 0)
        return -1;
    if (h->runner.task)
        ah_op_wait(ah_task_end_op(h->runner.task), on_awaited, NULL);
    return 0;
}

int ah_host_start(struct ah_host *h, const struct ah_host_run_opts *given)
{
    if (h->depth > 0 || ah_runner_active(&h->runner))
        return -1; /* misuse: the run that goes on is not touched */
    enter(h);
    int rc = start_runner(h, given);
    leave(h);
    return rc;
}

/* A run that is stopped has a moment to come to an end by itself: its open calls are told. */
static bool must_end(struct ah_host *h)
{
    struct ah_runner *r = &h->runner;
    if (h->lua.exit_requested || ah_runner_stuck(r))
        return true;
    if (!is_stopped(h))
        return false;
    if (!h->lua.interrupting) {
        ah_runner_interrupt(r);
        h->grace_us = ah_clock_mono_us() + GRACE_MS * 1000;
    }
    return ah_clock_mono_us() >= h->grace_us;
}

/* 1: the run goes on. */
static int turn_run(struct ah_host *h, int timeout_ms)
{
    struct ah_runner *r = &h->runner;
    if (timeout_ms < 0) /* the loop knows only its own work, not who posts */
        timeout_ms = LONG_MS;
    if (must_end(h) && r->task)
        ah_task_cancel(r->task);
    if (!ah_runner_done(r)) {
        if (is_stopped(h) && timeout_ms > GRACE_MS / 10)
            timeout_ms = GRACE_MS / 10;
        ah_loop_turn(h->core.loop, must_end(h) ? 0 : timeout_ms);
        if (must_end(h) && r->task)
            ah_task_cancel(r->task);
    }
    if (!ah_runner_done(r))
        return 1;
    ah_runner_end(r, is_stopped(h));
    ah_store_flush_wait(h->core.store, END_MS);
    atomic_store(&h->stop, 0); /* a stop ends one run */
    return 0;
}

int ah_host_step(struct ah_host *h, int timeout_ms)
{
    int goes_on = 0;
    if (h->depth > 0)
        return 0;
    enter(h);
    if (ah_runner_active(&h->runner))
        goes_on = turn_run(h, timeout_ms);
    else
        ah_loop_turn(h->core.loop, timeout_ms); /* traces leave between runs, too */
    leave(h);
    return goes_on;
}

const struct ah_host_result *ah_host_run(struct ah_host *h, const struct ah_host_run_opts *opts)
{
    if (h->depth == 0 && !ah_runner_active(&h->runner)) {
        enter(h);
        if (start_runner(h, opts) == 0)
            while (turn_run(h, 1000))
                ;
        leave(h);
    }
    return &h->runner.result;
}

const struct ah_host_result *ah_host_result(struct ah_host *h)
{
    return &h->runner.result;
}
