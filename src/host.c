/* One host, put together and taken apart in order. Called by main.c and cmd_*.c.
 *
 * ah_host_free is a list; each step needs what the later ones take away: tasks end (their closers run),
 * runs end, the journal is written, the Lua state goes, then services, transport, journal, secrets,
 * loop. Must not print answers and must not end the process. */
#include "host.h"

#include "config.h"
#include "http.h"
#include "langsmith.h"
#include "limits.h"
#include "log.h"
#include "lua_host.h"
#include "lua_http.h"
#include "lua_json.h"
#include "lua_langsmith.h"
#include "lua_openai.h"
#include "lua_scalekit.h"
#include "lua_server.h"
#include "lua_task.h"
#include "lua_trace.h"
#include "luajson.h"
#include "luasecret.h"
#include "openai.h"
#include "sandbox.h"
#include "scalekit.h"
#include "scripts.h"
#include "secret.h"
#include "store.h"
#include "task.h"
#include "version.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DRAIN_TURNS 1000 /* cancelled work ends within a few turns; this is only a stop */

struct ah_host {
    struct ah_lua lua;
    struct ah_core core;
    struct ah_log log;
    size_t memory, memory_max;
    struct ah_task *main; /* of the script that runs, counted */
    bool stopping;
    const volatile int *interrupted;
};

/* --- building ------------------------------------------------------------------------------------------------ */

static void *on_alloc(void *arg, void *p, size_t old, size_t wanted)
{
    struct ah_host *h = arg;
    if (!p)
        old = 0; /* Lua passes a type code here */
    if (wanted == 0) {
        free(p);
        h->memory -= old;
        return NULL;
    }
    if (wanted > old && wanted - old > h->memory_max - h->memory)
        return NULL; /* "not enough memory": an error in the script, not the end of the host */
    void *grown = realloc(p, wanted);
    if (grown)
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
    {"host.openai", luaopen_host_openai},
    {"host.scalekit", luaopen_host_scalekit},
    {"host.script", luaopen_host_script},
    {"host.server", luaopen_host_server},
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
    ah_sandbox_freeze(L);
    ah_sandbox_new_env(L);
    return 0;
}

static int open_state(struct ah_host *h, const struct ah_host_opts *opts, struct ah_error *err)
{
    h->memory_max = opts->memory_bytes ? opts->memory_bytes : AH_LUA_MEMORY_BYTES;
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
        ah_tasks_set_budget(h->lua.tasks, opts->instructions);
    return 0;
}

/* .env of the script's folder, then of the working folder; or the one file that was named. */
static int load_settings(struct ah_host *h, const struct ah_host_opts *opts, struct ah_error *err)
{
    char path[4096];
    if (opts->env_file)
        return ah_config_load(h->core.config, opts->env_file, false, err);
    if (opts->script_folder && strcmp(opts->script_folder, ".") != 0) {
        snprintf(path, sizeof path, "%s/.env", opts->script_folder);
        if (ah_config_load(h->core.config, path, true, err) != 0)
            return -1;
    }
    return ah_config_load(h->core.config, ".env", true, err);
}

/* PREFIX/bin/agenthost has its scripts in PREFIX/share/agenthost/scripts. */
static void installed_dir(char *out, size_t size)
{
    out[0] = '\0';
    ssize_t n = readlink("/proc/self/exe", out, size - 1);
    if (n <= 0)
        return;
    out[n] = '\0';
    char *slash = strrchr(out, '/');
    if (slash)
        *slash = '\0';
    slash = strrchr(out, '/');
    if (!slash || strcmp(slash, "/bin") != 0) {
        out[0] = '\0';
        return;
    }
    snprintf(slash, size - (size_t)(slash - out), "/share/agenthost/scripts");
}

static int open_core(struct ah_host *h, const struct ah_host_opts *opts, struct ah_error *err)
{
    char installed[4096];
    h->core.log = &h->log;
    h->log.level = opts->verbosity < 0 ? AH_LOG_ERROR : opts->verbosity > 0 ? AH_LOG_DEBUG : AH_LOG_WARN;
    h->log.color = opts->color;
    h->core.secrets = ah_secret_new();
    h->log.secrets = h->core.secrets;
    h->core.loop = ah_loop_new(err);
    if (!h->core.loop)
        return -1;
    h->core.config = h->core.secrets ? ah_config_new(h->core.secrets, &h->log) : NULL;
    installed_dir(installed, sizeof installed);
    if (!h->core.config)
        return ah_err_set(err, AH_MEMORY, "out of memory");
    if (load_settings(h, opts, err) != 0)
        return -1;
    ah_config_set_emulated(h->core.config, opts->emulate);
    if (opts->project && ah_config_set(h->core.config, "LANGSMITH_PROJECT", opts->project, AH_FROM_FLAG) != 0)
        return ah_err_set(err, AH_MEMORY, "out of memory");
    h->lua.scripts =
        ah_scripts_new(opts->scripts_dir, ah_config_get(h->core.config, "AGENTHOST_SCRIPTS"), installed);
    h->core.http = ah_http_new(h->core.loop, &h->log, h->core.config, err);
    if (!h->lua.scripts || !h->core.http)
        return h->core.http ? ah_err_set(err, AH_MEMORY, "out of memory") : -1;
    struct ah_store_opts store = {.dir = opts->journal_dir,
                                  .memory = opts->no_store,
                                  .need_file = opts->read_journal,
                                  .allow_no_journal = opts->no_journal};
    h->core.store = ah_store_open(&store, h->core.loop, &h->log, err);
    if (!h->core.store)
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
static int start_emulator(struct ah_host *h, const char *scenario, struct ah_error *err)
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

struct ah_host *ah_host_new(const struct ah_host_opts *opts, struct ah_error *err)
{
    struct ah_host *h = calloc(1, sizeof *h);
    if (!h) {
        ah_err_set(err, AH_MEMORY, "out of memory");
        return NULL;
    }
    if (open_core(h, opts, err) != 0 || open_state(h, opts, err) != 0 || open_services(h, err) != 0 ||
        (opts->emulate && start_emulator(h, opts->scenario, err) != 0)) {
        ah_host_free(h);
        return NULL;
    }
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
    ah_task_unref(h->main);
    h->main = NULL;
    for (int i = 0; i < DRAIN_TURNS && ah_loop_turn(h->core.loop, 0) && ah_tasks_alive(h->lua.tasks) > 0; i++)
        ah_tasks_cancel_all(h->lua.tasks);
}

void ah_host_free(struct ah_host *h)
{
    if (!h)
        return;
    close_tasks(h);
    if (h->lua.L) {
        lua_close(h->lua.L); /* servers, streams and tasks that only Lua held go here */
        h->lua.L = NULL;
    }
    ah_tasks_free(h->lua.tasks);
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
    ah_loop_free(h->core.loop);
    h->log.secrets = NULL;
    ah_secret_free(h->core.secrets);
    assert(h->memory == 0);
    free(h);
}

/* What a script spawned and did not wait for ends with it. Tasks of the host itself (the emulator
 * answering an upload) go on. */
static void end_script_tasks(struct ah_host *h)
{
    ah_tasks_cancel_runs(h->lua.tasks);
    ah_task_unref(h->main);
    h->main = NULL;
}

struct ah_core *ah_host_core(struct ah_host *h)
{
    return &h->core;
}

struct ah_lua *ah_host_lua(struct ah_host *h)
{
    return &h->lua;
}

void ah_host_set_interrupt(struct ah_host *h, const volatile int *flag)
{
    h->interrupted = flag;
    ah_tasks_set_interrupt(h->lua.tasks, flag);
}

static bool is_interrupted(const struct ah_host *h)
{
    return h->interrupted && *h->interrupted;
}

void ah_host_stop(struct ah_host *h)
{
    h->stopping = true;
}

/* --- running ---------------------------------------------------------------------------------------------------- */

static void on_awaited(struct ah_op *op, void *arg)
{
    (void)arg;
    ah_loop_hurry(op->loop);
}

void ah_host_wait(struct ah_host *h, struct ah_op *op)
{
    ah_op_wait(op, on_awaited, NULL);
    while (!op->done) {
        if (is_interrupted(h))
            ah_op_cancel(op);
        ah_loop_turn(h->core.loop, 1000);
    }
    ah_op_wait(op, NULL, NULL);
}

static void turn_until(struct ah_host *h, struct ah_task *task)
{
    ah_op_wait(ah_task_end_op(task), on_awaited, NULL);
    while (!ah_task_done(task)) {
        bool stop = h->lua.exit_requested || h->stopping;
        if (stop)
            ah_task_cancel(task);
        if (!ah_task_done(task))
            ah_loop_turn(h->core.loop, stop ? 0 : 1000);
    }
}

/* What l_main and l_call are given and give back, on the C side. */
struct job {
    struct ah_host *h;
    const struct ah_host_run_opts *opts;
    const char *module, *function, *json;
    const struct ah_script_file *file; /* of l_script */
    struct ah_host_result *result;
    char *out; /* JSON of l_call */
};

static char *copy_text(lua_State *L, int idx)
{
    size_t n;
    const char *s = lua_tolstring(L, idx, &n);
    char *copy = malloc(n + 1);
    if (!copy)
        luaL_error(L, "out of memory");
    memcpy(copy, s, n + 1);
    return copy;
}

/* secrets NULL: nothing is masked. */
static char *encode_copy(lua_State *L, int idx, const struct ah_secrets *secrets)
{
    struct ah_error err = {0}, why = {0};
    idx = lua_absindex(L, idx);
    struct ah_buf *b = ah_luax_guard_buf(L, AH_SERVER_BODY_BYTES);
    if (ah_luajson_encode(L, idx, b, secrets, &why) != 0) {
        ah_err_set(&err, AH_SCRIPT, "the result cannot become JSON: %.900s", why.message);
        ah_err_drop(&why);
        ah_luax_push_error(L, &err);
        lua_error(L);
    }
    return ah_buf_take(b, NULL);
}

/* --- a call of the program's own Lua */

static int k_call(lua_State *L, int status, lua_KContext ctx)
{
    struct job *job = (struct job *)ctx;
    (void)status;
    if (lua_isnil(L, 1) && !lua_isnoneornil(L, 2)) {
        lua_settop(L, 2);
        return lua_error(L); /* nil, err */
    }
    lua_settop(L, 1);
    job->out = encode_copy(L, 1, NULL); /* the emulator's keys may be in the environment, too */
    return 0;
}

static int l_call(lua_State *L)
{
    struct job *job = lua_touserdata(L, 1);
    struct ah_json v;
    lua_settop(L, 0);
    ah_sandbox_new_env(L); /* its modules are not the script's, and live as long as the state */
    luaL_getsubtable(L, LUA_REGISTRYINDEX, "agenthost.kept");
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_settop(L, 1);
    lua_getfield(L, 1, "require");
    lua_pushstring(L, job->module);
    lua_call(L, 1, 1);
    lua_getfield(L, -1, job->function);
    if (ah_json_check(job->json, strlen(job->json), 0, &v, NULL) != 0)
        return luaL_error(L, "internal: arguments are not JSON");
    ah_luajson_push(L, v);
    lua_replace(L, 2);
    lua_replace(L, 1); /* function, argument */
    lua_callk(L, 1, LUA_MULTRET, (lua_KContext)job, k_call);
    return k_call(L, LUA_OK, (lua_KContext)job);
}

/* Spawns a C function over a job; NULL: err. The one reference is the caller's. */
static int spawn_job(lua_State *L)
{
    struct job *job = lua_touserdata(L, 1);
    lua_CFunction fn = lua_tocfunction(L, 2);
    struct ah_task **out = lua_touserdata(L, 3);
    struct ah_run *run = lua_touserdata(L, 4);
    lua_pushcfunction(L, fn);
    lua_pushlightuserdata(L, job);
    *out = ah_task_spawn(L, 1, run, run ? ah_run_root(run) : NULL);
    return 0;
}

static struct ah_task *start_job(struct ah_host *h, struct job *job, lua_CFunction fn, struct ah_run *run,
                                 struct ah_error *err)
{
    struct ah_task *task = NULL;
    lua_State *L = h->lua.L;
    lua_pushcfunction(L, spawn_job);
    lua_pushlightuserdata(L, job);
    lua_pushcfunction(L, fn);
    lua_pushlightuserdata(L, &task);
    lua_pushlightuserdata(L, run);
    if (lua_pcall(L, 4, 0, 0) != LUA_OK) {
        lua_pop(L, 1);
        ah_err_set(err, AH_MEMORY, "out of memory");
        return NULL;
    }
    return task;
}

char *ah_host_call(struct ah_host *h, const char *module, const char *function, const char *json,
                   struct ah_error *err)
{
    struct job job = {.h = h, .module = module, .function = function, .json = json};
    struct ah_task *task = start_job(h, &job, l_call, NULL, err);
    if (!task)
        return NULL;
    turn_until(h, task);
    if (ah_task_end_op(task)->err.kind != AH_NONE) {
        ah_err_copy(err, &ah_task_end_op(task)->err);
        free(job.out);
        job.out = NULL;
    }
    ah_task_unref(task);
    return job.out;
}

/* --- a user's script */

/* The result of agent:run, or of the script: nil, err is a failure; a table has its answer. */
static int k_result(lua_State *L, int status, lua_KContext ctx)
{
    struct job *job = (struct job *)ctx;
    (void)status;
    if (lua_isnoneornil(L, 1)) {
        if (lua_isnoneornil(L, 2))
            return 0;
        lua_settop(L, 2); /* an agent that was stopped: what it had until then is an answer, too */
        if (lua_istable(L, 2) && lua_getfield(L, 2, "partial") == LUA_TTABLE &&
            lua_getfield(L, -1, "answer") == LUA_TSTRING)
            job->result->answer = copy_text(L, -1);
        lua_settop(L, 2);
        return lua_error(L);
    }
    if (lua_istable(L, 1) && lua_getfield(L, 1, "answer") == LUA_TSTRING)
        job->result->answer = copy_text(L, -1);
    else if (lua_type(L, 1) == LUA_TSTRING)
        job->result->answer = copy_text(L, 1);
    lua_settop(L, 1);
    if (job->opts->want_json && lua_type(L, 1) != LUA_TSTRING)
        job->result->json = encode_copy(L, 1, ah_lua_of(L)->core->secrets);
    return 0;
}

static void push_input(lua_State *L, const struct ah_script_run *script)
{
    if (!script->args[0]) {
        lua_pushnil(L);
        return;
    }
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (int i = 0; script->args[i]; i++) {
        if (i > 0)
            luaL_addchar(&b, ' ');
        luaL_addstring(&b, script->args[i]);
    }
    luaL_pushresult(&b);
}

/* The chunk is done. A value with a `run` method is an agent: run it with the command line's words. */
static int k_chunk(lua_State *L, int status, lua_KContext ctx)
{
    struct job *job = (struct job *)ctx;
    (void)status;
    if (lua_istable(L, 1) || (lua_isuserdata(L, 1) && !lua_islightuserdata(L, 1))) {
        lua_settop(L, 1);
        if (lua_getfield(L, 1, "run") == LUA_TFUNCTION) {
            lua_insert(L, 1);
            push_input(L, &job->opts->script);
            lua_callk(L, 2, LUA_MULTRET, ctx, k_result);
        }
        lua_settop(L, lua_gettop(L) < 2 ? lua_gettop(L) : 2);
    }
    return k_result(L, LUA_OK, ctx);
}

static int l_script(lua_State *L)
{
    struct job *job = lua_touserdata(L, 1);
    const struct ah_script_run *script = &job->opts->script;
    lua_settop(L, 0);
    ah_sandbox_new_env(L);
    lua_settop(L, 0);
    const char *text = job->file->text;
    size_t n = job->file->n;
    while (n > 0 && job->file->text[0] == '#' &&
           *text != '\n') { /* a #! line; its newline stays for line numbers */
        text++;
        n--;
    }
    lua_pushfstring(L, "@%s", script->path);
    if (n > 0 && text[0] == LUA_SIGNATURE[0])
        return luaL_error(L, "%s is a compiled chunk: only Lua source is run", script->path);
    if (luaL_loadbufferx(L, text, n, lua_tostring(L, -1), "t") != LUA_OK)
        return lua_error(L);
    ah_sandbox_adopt(L);
    lua_replace(L, 1);
    lua_settop(L, 1);
    lua_callk(L, 0, LUA_MULTRET, (lua_KContext)job, k_chunk);
    return k_chunk(L, LUA_OK, (lua_KContext)job);
}

void ah_host_result_drop(struct ah_host_result *r)
{
    free(r->answer);
    free(r->json);
    ah_err_drop(&r->err);
    *r = (struct ah_host_result){0};
}

static struct ah_run *start_run(struct ah_host *h, const struct ah_host_run_opts *opts, struct ah_error *err)
{
    struct ah_buf inputs;
    struct ah_json_writer w;
    ah_buf_init(&inputs, AH_SERVER_BODY_BYTES);
    ah_json_begin(&w, &inputs, h->core.secrets);
    ah_json_object(&w);
    if (opts->script.args[0]) {
        ah_json_key(&w, "args");
        ah_json_array(&w);
        for (int i = 0; opts->script.args[i]; i++)
            ah_json_put_str(&w, opts->script.args[i]);
        ah_json_end_array(&w);
    }
    ah_json_key(&w, "script");
    ah_json_put_str(&w, opts->script.path);
    ah_json_end_object(&w);
    struct ah_run_opts run = {.name = opts->script.name,
                              .script = opts->script.path,
                              .identifier = opts->script.identifier,
                              .project = opts->project,
                              .tags = opts->tags,
                              .metadata = opts->metadata,
                              .inputs = inputs.p,
                              .inputs_n = inputs.n,
                              .traced = !opts->no_trace};
    struct ah_run *started = ah_run_start(h->core.trace, &run, err);
    ah_buf_drop(&inputs);
    return started;
}

static void end_run(struct ah_host *h, struct ah_run *run, struct ah_host_result *result)
{
    struct ah_buf outputs;
    struct ah_json_writer w;
    ah_buf_init(&outputs, AH_SERVER_BODY_BYTES);
    if (result->answer) {
        ah_json_begin(&w, &outputs, h->core.secrets);
        ah_json_object(&w);
        ah_json_key(&w, "output");
        ah_json_put_str(&w, result->answer);
        ah_json_end_object(&w);
    }
    result->totals = *ah_run_totals(run);
    result->sends = ah_run_sends(run);
    result->run_key = ah_run_key(run);
    snprintf(result->run_id, sizeof result->run_id, "%s", ah_run_id(run));
    ah_run_end(run, outputs.n ? outputs.p : NULL, outputs.n,
               result->err.kind != AH_NONE ? &result->err : NULL);
    ah_buf_drop(&outputs);
}

int ah_host_run(struct ah_host *h, const struct ah_host_run_opts *opts, struct ah_host_result *result)
{
    struct ah_script_file file;
    struct job job = {.h = h, .opts = opts, .result = result, .file = &file};
    *result = (struct ah_host_result){0};
    /* Before there is a run: a mistyped name is nothing to trace. */
    if (ah_scripts_read(h->lua.scripts, "", opts->script.path, &file, &result->err) != 0)
        return -1;
    struct ah_run *run = start_run(h, opts, &result->err);
    if (!run) {
        ah_script_file_drop(&file);
        return -1;
    }
    h->lua.script = &opts->script;
    h->lua.exit_requested = false;
    h->main = start_job(h, &job, l_script, run, &result->err);
    if (h->main) {
        turn_until(h, h->main);
        struct ah_error *failed = &ah_task_end_op(h->main)->err;
        if (h->lua.exit_requested) {
            result->exited = true;
            result->exit_code = h->lua.exit_code;
        } else if (h->stopping || (failed->kind != AH_NONE && is_interrupted(h))) {
            ah_err_set(&result->err, AH_CANCELLED, "interrupted");
        } else if (failed->kind != AH_NONE) {
            ah_err_copy(&result->err, failed);
        }
    }
    end_script_tasks(h);
    end_run(h, run, result);
    ah_store_flush_wait(h->core.store, 2000);
    if (result->err.kind != AH_NONE && !result->exited)
        result->exit_code = ah_err_exit_code(result->err.kind);
    h->lua.script = NULL;
    ah_script_file_drop(&file);
    return 0;
}
