/* One run of a user's script, and calls of the program's own Lua. Called by host.c.
 *
 * A job is a C function that runs as a task: it loads the chunk, calls it, runs the agent that it returns, and
 * leaves texts for C. Must not turn the loop, and must not print. */
#include "runner.h"

#include "buf.h"
#include "config.h"
#include "hash.h"
#include "limits.h"
#include "log.h"
#include "luajson.h"
#include "recipe.h"
#include "replay.h"
#include "sandbox.h"
#include "secret.h"
#include "store.h"

#include <stdlib.h>
#include <string.h>

/* --- texts from the Lua side ------------------------------------------------------------------------------------ */

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
    struct ah_runner_call *call = (struct ah_runner_call *)ctx;
    (void)status;
    if (lua_isnil(L, 1) && !lua_isnoneornil(L, 2)) {
        lua_settop(L, 2);
        return lua_error(L); /* nil, err */
    }
    lua_settop(L, 1);
    call->out = encode_copy(L, 1, NULL); /* the emulator's keys may be in the environment, too */
    return 0;
}

static int l_call(lua_State *L)
{
    struct ah_runner_call *call = lua_touserdata(L, 1);
    struct ah_json v;
    lua_settop(L, 0);
    ah_sandbox_new_env(L); /* its modules are not the script's, and live as long as the state */
    luaL_getsubtable(L, LUA_REGISTRYINDEX, "agenthost.kept");
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_settop(L, 1);
    lua_getfield(L, 1, "require");
    lua_pushstring(L, call->module);
    lua_call(L, 1, 1);
    lua_getfield(L, -1, call->function);
    if (ah_json_check(call->json, strlen(call->json), 0, &v, NULL) != 0)
        return luaL_error(L, "internal: arguments are not JSON");
    ah_luajson_push(L, v);
    lua_replace(L, 2);
    lua_replace(L, 1); /* function, argument */
    lua_callk(L, 1, LUA_MULTRET, (lua_KContext)call, k_call);
    return k_call(L, LUA_OK, (lua_KContext)call);
}

/* --- a user's script ------------------------------------------------------------------------------------------ */

/* The result of agent:run, or of the script: nil, err is a failure; a table has its answer. */
static int k_result(lua_State *L, int status, lua_KContext ctx)
{
    struct ah_runner *r = (struct ah_runner *)ctx;
    (void)status;
    if (lua_isnoneornil(L, 1)) {
        if (lua_isnoneornil(L, 2))
            return 0;
        lua_settop(L, 2); /* an agent that was stopped: what it had until then is an answer, too */
        if (lua_istable(L, 2) && lua_getfield(L, 2, "partial") == LUA_TTABLE &&
            lua_getfield(L, -1, "answer") == LUA_TSTRING)
            r->answer = copy_text(L, -1);
        lua_settop(L, 2);
        return lua_error(L);
    }
    if (lua_istable(L, 1) && lua_getfield(L, 1, "answer") == LUA_TSTRING)
        r->answer = copy_text(L, -1);
    else if (lua_type(L, 1) == LUA_TSTRING)
        r->answer = copy_text(L, 1);
    lua_settop(L, 1);
    if ((r->opts.flags & AH_HOST_RUN_JSON) && lua_type(L, 1) != LUA_TSTRING)
        r->json = encode_copy(L, 1, ah_lua_of(L)->core->secrets);
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

/* The command line's words, each for itself: what `...` is in a main script. */
static int push_args(lua_State *L, const struct ah_script_run *script)
{
    int n = 0;
    for (; script->args[n]; n++) {
        luaL_checkstack(L, 2, "too many arguments");
        lua_pushstring(L, script->args[n]);
    }
    return n;
}

/* The flags of a session hold for the agent that a script returns: said, when there is none. */
static void warn_of_session(const struct ah_runner *r)
{
    for (const struct ah_host_pair *o = r->script.options; o && o->name; o++)
        if (o->value && (strcmp(o->name, "session") == 0 || strcmp(o->name, "continue") == 0)) {
            ah_log_line(r->lua->core->log, AH_LOG_WARN,
                        "%s was not used: the script returned no agent. Give session = \"...\" to the agents "
                        "that it runs itself",
                        strcmp(o->name, "session") == 0 ? "--session" : "-c");
            return;
        }
}

/* The chunk is done. A value with a `run` method is an agent: run it with the command line's words. */
static int k_chunk(lua_State *L, int status, lua_KContext ctx)
{
    struct ah_runner *r = (struct ah_runner *)ctx;
    (void)status;
    if (lua_istable(L, 1) || (lua_isuserdata(L, 1) && !lua_islightuserdata(L, 1))) {
        lua_settop(L, 1);
        if (lua_getfield(L, 1, "run") == LUA_TFUNCTION) {
            lua_insert(L, 1);
            push_input(L, &r->script);
            lua_createtable(L, 0,
                            1); /* it may stop where a person is needed: nobody else looks at its errors */
            lua_pushboolean(L, 1);
            lua_setfield(L, -2, "park");
            lua_callk(L, 3, LUA_MULTRET, ctx, k_result);
            return k_result(L, LUA_OK, ctx);
        }
        lua_settop(L, lua_gettop(L) < 2 ? lua_gettop(L) : 2);
    }
    warn_of_session(r);
    return k_result(L, LUA_OK, ctx);
}

static int l_script(lua_State *L)
{
    struct ah_runner *r = lua_touserdata(L, 1);
    const struct ah_script_run *script = &r->script;
    lua_settop(L, 0);
    ah_sandbox_new_env(L);
    lua_settop(L, 0);
    const char *text = r->file.text;
    size_t n = r->file.n;
    while (n > 0 && r->file.text[0] == '#' &&
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
    int nargs = push_args(L, script);
    lua_callk(L, nargs, LUA_MULTRET, (lua_KContext)r, k_chunk);
    return k_chunk(L, LUA_OK, (lua_KContext)r);
}

/* --- tasks over a job ------------------------------------------------------------------------------------------- */

/* Spawns a C function over what it works on; NULL: err. The one reference is the caller's. */
static int spawn_job(lua_State *L)
{
    void *job = lua_touserdata(L, 1);
    lua_CFunction fn = lua_tocfunction(L, 2);
    struct ah_task **out = lua_touserdata(L, 3);
    struct ah_run *run = lua_touserdata(L, 4);
    lua_pushcfunction(L, fn);
    lua_pushlightuserdata(L, job);
    *out = ah_task_spawn(L, 1, run, run ? ah_run_root(run) : NULL);
    return 0;
}

static struct ah_task *start_job(lua_State *L, void *job, lua_CFunction fn, struct ah_run *run,
                                 struct ah_error *err)
{
    struct ah_task *task = NULL;
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

struct ah_task *ah_runner_call(struct ah_lua *lua, struct ah_runner_call *call, struct ah_error *err)
{
    return start_job(lua->L, call, l_call, NULL, err);
}

/* --- the run around a script -------------------------------------------------------------------------------------- */

static int read_script(struct ah_runner *r)
{
    const struct ah_host_run_opts *o = &r->opts;
    if (!o->source) /* before there is a run: a mistyped name is nothing to trace */
        return ah_scripts_read(r->lua->scripts, "", o->path, &r->file, &r->err);
    r->file.path = strdup(o->path);
    r->file.text = malloc(o->source_n + 1);
    if (!r->file.path || !r->file.text)
        return ah_err_set(&r->err, AH_MEMORY, "out of memory");
    memcpy(r->file.text, o->source, o->source_n);
    r->file.text[o->source_n] = '\0';
    r->file.n = o->source_n;
    return 0;
}

static struct ah_run *start_run(struct ah_runner *r)
{
    const struct ah_host_run_opts *o = &r->opts;
    struct ah_buf inputs;
    struct ah_json_writer w;
    ah_buf_init(&inputs, AH_SERVER_BODY_BYTES);
    ah_json_begin(&w, &inputs, r->lua->core->secrets);
    ah_json_object(&w);
    if (r->script.args[0]) {
        ah_json_key(&w, "args");
        ah_json_array(&w);
        for (int i = 0; r->script.args[i]; i++)
            ah_json_put_str(&w, r->script.args[i]);
        ah_json_end_array(&w);
    }
    ah_json_key(&w, "script");
    ah_json_put_str(&w, r->script.path);
    ah_json_end_object(&w);
    struct ah_run_opts run = {.name = r->script.name,
                              .script = r->script.path,
                              .identifier = r->script.identifier,
                              .project = o->project,
                              .tags = o->tags,
                              .metadata = o->metadata,
                              .inputs = inputs.p,
                              .inputs_n = inputs.n,
                              .traced = !(o->flags & AH_HOST_RUN_NO_TRACE)};
    struct ah_run *started = ah_run_start(r->lua->core->trace, &run, &r->err);
    ah_buf_drop(&inputs);
    return started;
}

static void end_run(struct ah_runner *r)
{
    struct ah_buf outputs;
    struct ah_json_writer w;
    ah_buf_init(&outputs, AH_SERVER_BODY_BYTES);
    if (r->answer) {
        ah_json_begin(&w, &outputs, r->lua->core->secrets);
        ah_json_object(&w);
        ah_json_key(&w, "output");
        ah_json_put_str(&w, r->answer);
        ah_json_end_object(&w);
    }
    struct ah_host_result *result = &r->result;
    const struct ah_run_totals *t = ah_run_totals(r->run);
    result->input_tokens = t->input_tokens;
    result->output_tokens = t->output_tokens;
    result->model_calls = t->model_calls;
    result->tool_calls = t->tool_calls;
    result->errors = t->errors;
    result->cost = t->cost;
    result->cost_known = t->cost_known;
    result->sends = ah_run_sends(r->run);
    result->run_key = ah_run_key(r->run);
    ah_run_end(r->run, outputs.n ? outputs.p : NULL, outputs.n, r->err.kind != AH_NONE ? &r->err : NULL);
    r->run = NULL;
    ah_buf_drop(&outputs);
}

/* What a script gives as its answer may hold anything that a service said. */
static void mask_answer(struct ah_runner *r)
{
    const struct ah_secrets *secrets = r->lua->core->secrets;
    if (!r->answer || !ah_secret_found(secrets, r->answer, strlen(r->answer)))
        return;
    struct ah_buf b;
    ah_buf_init(&b, AH_SERVER_BODY_BYTES);
    if (ah_secret_mask(secrets, r->answer, strlen(r->answer), &b) != 0) {
        ah_buf_clear(&b);
        ah_log_line(r->lua->core->log, AH_LOG_ERROR, "the answer is larger than %zu bytes: not shown",
                    AH_SERVER_BODY_BYTES);
    }
    free(r->answer);
    r->answer = ah_buf_take(&b, NULL);
}

static void fill_result(struct ah_runner *r)
{
    struct ah_host_result *result = &r->result;
    mask_answer(r);
    result->answer = r->answer;
    result->json = r->json;
    ah_runner_error(&result->error, &r->err, r->lua->core->secrets);
    if (r->err.kind != AH_NONE && !result->exited)
        result->exit_code = ah_err_exit_code(r->err.kind);
}

/* --- notes: what a run that stops can be resumed with ------------------------------------------------------------------ */

static int load_notes(struct ah_runner *r, struct ah_recipe *was)
{
    struct ah_core *core = r->lua->core;
    r->replay = ah_replay_new(core, &r->err);
    if (!r->replay)
        return -1;
    if (!r->opts.resumes)
        return 0;
    ah_replay_assume(r->replay, r->opts.assume);
    if (ah_recipe_read(core, r->opts.resumes, was, &r->err) != 0)
        return -1;
    return ah_replay_load(r->replay, r->opts.resumes, &r->err);
}

static void begin_notes(struct ah_runner *r, const struct ah_recipe *was)
{
    struct ah_core *core = r->lua->core;
    const char *user = ah_config_get(core->config, "AGENTHOST_USER");
    struct ah_recipe now = {.seed = (int64_t)(ah_ids_u64(ah_loop_ids(core->loop)) >> 1),
                            .resumes = r->opts.resumes,
                            .base = (int64_t)ah_replay_length(r->replay),
                            .port = r->lua->emulator_port};
    struct ah_buf text;
    if (r->opts.resumes)
        now.seed = was->seed;
    snprintf(now.script, sizeof now.script, "%s", r->script.path);
    snprintf(now.user, sizeof now.user, "%s", user ? user : "");
    ah_hash_sha256_hex(r->file.text, r->file.n, now.sha256);
    if (r->opts.resumes && strcmp(now.sha256, was->sha256) != 0)
        ah_log_line(
            core->log, AH_LOG_WARN,
            "the script has changed since this run began; up to where it stopped it must do the same");
    ah_buf_init(&text, AH_SERVER_BODY_BYTES);
    ah_recipe_write(core, &now, r->script.args, r->opts.command, &text);
    ah_replay_begin(r->replay, ah_run_key(r->run), (uint64_t)now.seed, ah_buf_str(&text), text.n);
    ah_buf_drop(&text);
    r->lua->replay = r->replay;
    ah_trace_set_replay(core->trace, r->replay);
}

/* A run that is in the journal can be resumed: how it was begun stands there with it. */
static int begin_run(struct ah_runner *r, const struct ah_recipe *was)
{
    ah_store_hold(r->lua->core->store);
    r->run = start_run(r);
    if (r->run)
        begin_notes(r, was);
    ah_store_release(r->lua->core->store);
    return r->run ? 0 : -1;
}

static int name_parent(void *arg, const struct ah_store_run *was)
{
    char json[AH_UUID_BYTES + 32];
    int n = snprintf(json, sizeof json, "{\"resumed_from\":\"%s\"}", was->id);
    ah_run_add_metadata(arg, json, (size_t)n);
    return 1;
}

/* One of two processes that resume the same run at the same time goes on. */
static int claim(struct ah_runner *r)
{
    bool got = true;
    if (r->opts.resumes &&
        ah_store_claim(r->lua->core->store, r->opts.resumes, ah_run_key(r->run), &got, &r->err) != 0)
        return -1;
    return got ? 0
               : ah_err_set(&r->err, AH_CONFIG,
                            "this run is still going on, or another process has just gone on with it");
}

static void end_notes(struct ah_runner *r)
{
    if (!r->replay)
        return;
    r->result.resumable = !ah_replay_closed(r->replay) && ah_store_durable(r->lua->core->store);
    r->result.replayed = ah_replay_replayed(r->replay);
    r->lua->replay = NULL;
    r->lua->interrupting = false;
    ah_trace_set_replay(r->lua->core->trace, NULL);
    ah_replay_free(r->replay);
    r->replay = NULL;
}

bool ah_runner_stuck(const struct ah_runner *r)
{
    const struct ah_error *why;
    return r->replay && ah_replay_stopped(r->replay, &why);
}

void ah_runner_interrupt(struct ah_runner *r)
{
    if (r->replay)
        ah_replay_interrupt(r->replay);
    r->lua->interrupting = true;
    ah_tasks_interrupt(r->lua->tasks);
}

int ah_runner_start(struct ah_runner *r, struct ah_lua *lua, const struct ah_host_run_opts *opts)
{
    static const char *const no_args[] = {NULL};
    static const struct ah_host_pair no_options[] = {{NULL, NULL}};
    *r = (struct ah_runner){.lua = lua, .opts = *opts};
    r->result.run_id = r->run_id;
    ah_scripts_split(opts->path, r->folder, sizeof r->folder, r->name, sizeof r->name);
    r->script = (struct ah_script_run){.path = opts->path,
                                       .folder = r->folder,
                                       .name = r->name,
                                       .args = opts->args ? opts->args : no_args,
                                       .options = opts->options ? opts->options : no_options,
                                       .identifier = opts->identifier};
    struct ah_recipe was = {0};
    if (read_script(r) != 0 || load_notes(r, &was) != 0 || begin_run(r, &was) != 0) {
        ah_recipe_drop(&was);
        end_notes(r);
        fill_result(r);
        return -1;
    }
    snprintf(r->run_id, sizeof r->run_id, "%s", ah_run_id(r->run));
    lua->script = &r->script;
    lua->exit_requested = false;
    if (opts->resumes)
        ah_store_run_at(lua->core->store, opts->resumes, name_parent, r->run, NULL);
    ah_recipe_drop(&was);
    if (claim(r) == 0)
        r->task = start_job(lua->L, r, l_script, r->run, &r->err);
    return 0; /* without a task the run has begun all the same, and ends at once */
}

void ah_runner_refuse(struct ah_runner *r, struct ah_error *err)
{
    r->result.run_id = r->run_id;
    ah_err_move(&r->err, err);
    ah_runner_error(&r->result.error, &r->err, NULL);
    r->result.exit_code = ah_err_exit_code(r->err.kind);
}

bool ah_runner_active(const struct ah_runner *r)
{
    return r->run != NULL;
}

bool ah_runner_done(const struct ah_runner *r)
{
    return !r->task || ah_task_done(r->task);
}

void ah_runner_end(struct ah_runner *r, bool stopped)
{
    struct ah_lua *lua = r->lua;
    const struct ah_error *why;
    const struct ah_error *failed = r->task ? &ah_task_end_op(r->task)->err : NULL;
    if (lua->exit_requested) {
        lua->exit_requested = false;
        r->result.exited = true;
        r->result.exit_code = lua->exit_code;
    } else if (stopped) {
        ah_err_set(&r->err, AH_CANCELLED, "interrupted");
    } else if (r->task && ah_replay_stopped(r->replay, &why)) {
        ah_err_copy(&r->err, why);
    } else if (failed && failed->kind != AH_NONE) {
        ah_err_copy(&r->err, failed);
        ah_replay_note_failure(r->replay, failed->kind);
    } else if (r->task) {
        ah_replay_check_end(r->replay, &r->err);
    }
    /* What a script spawned and did not wait for ends with it. Tasks of the host itself (the emulator answering
     * an upload) go on. */
    ah_tasks_cancel_runs(lua->tasks);
    ah_task_unref(r->task);
    r->task = NULL;
    ah_replay_end(r->replay);
    end_run(r);
    end_notes(r);
    fill_result(r);
    lua->script = NULL;
}

void ah_runner_drop(struct ah_runner *r)
{
    ah_script_file_drop(&r->file);
    free(r->answer);
    free(r->json);
    ah_err_drop(&r->err);
    *r = (struct ah_runner){0};
}

void ah_runner_error(struct ah_host_error *to, const struct ah_error *err, const struct ah_secrets *secrets)
{
    *to = (struct ah_host_error){0};
    if (err->kind == AH_NONE)
        return;
    snprintf(to->kind, sizeof to->kind, "%s", ah_err_kind_name(err->kind));
    snprintf(to->message, sizeof to->message, "%s", err->message);
    if (secrets) /* a script's own words may hold anything */
        ah_secret_mask_str(secrets, to->message, sizeof to->message);
    ah_log_plain(to->message, strlen(to->message));
}
