/* A lua_State with the bindings on a loop of its own, without sandbox, files and network: for tests of the
 * Lua mechanics. Included by test_task.c and test_sweep.c. */
#ifndef RIG_H
#define RIG_H

#include "config.h"
#include "http.h"
#include "log.h"
#include "lua_host.h"
#include "lua_http.h"
#include "lua_json.h"
#include "lua_task.h"
#include "lua_trace.h"
#include "luajson.h"
#include "luasecret.h"
#include "secret.h"
#include "store.h"
#include "task.h"

#include <lualib.h>
#include <stdlib.h>
#include <string.h>

struct rig {
    struct ah_log log;
    struct ah_core core;
    struct ah_lua lua;
    bool held; /* the commit phase answers no: nothing leaves */
    int commits;
};

/* What a failing task says on stderr is not for here. */
static void rig_sink(void *arg, enum ah_log_level level, const char *line, size_t n)
{
    (void)arg, (void)level, (void)line, (void)n;
}

static bool rig_commit(void *arg)
{
    struct rig *r = arg;
    if (r->held)
        return false;
    r->commits++;
    return ah_store_flush(r->core.store) == AH_STORE_OK;
}

static void rig_open_core(struct rig *r)
{
    struct ah_error err = {0};
    *r = (struct rig){.log = {.level = AH_LOG_ERROR, .sink = rig_sink}};
    r->core.log = &r->log;
    r->core.loop = ah_loop_new(&err);
    r->core.secrets = ah_secret_new();
    r->core.config = ah_config_new(r->core.secrets, &r->log);
    r->core.http = ah_http_new(r->core.loop, &r->log, r->core.config, &err);
    r->core.store = ah_store_open(&(struct ah_store_opts){.memory = true, .allow_no_journal = true},
                                  r->core.loop, &r->log, &err);
    r->core.trace = ah_trace_new(&r->core, &err);
    ah_loop_set_commit(r->core.loop, rig_commit, r, 1);
}

static void rig_close_core(struct rig *r)
{
    ah_http_free(r->core.http);
    ah_loop_turn(r->core.loop, 0);
    ah_trace_free(r->core.trace);
    ah_store_close(r->core.store);
    ah_config_free(r->core.config);
    ah_loop_free(r->core.loop);
    ah_secret_free(r->core.secrets);
}

static int rig_build(lua_State *L)
{
    static const luaL_Reg modules[] = {
        {"host", luaopen_host},      {"http", luaopen_host_http},   {"json", luaopen_host_json},
        {"task", luaopen_host_task}, {"trace", luaopen_host_trace}, {NULL, NULL},
    };
    luaL_openlibs(L);
    ah_luajson_open(L);
    ah_luasecret_open(L);
    if (ah_tasks_open(L, ah_lua_of(L)) != 0)
        return luaL_error(L, "out of memory");
    for (const luaL_Reg *m = modules; m->name; m++) {
        lua_pushcfunction(L, m->func);
        lua_call(L, 0, 1);
        lua_setglobal(L, m->name);
    }
    return 0;
}

/* 0, or -1: out of memory; then rig_close_lua must follow all the same. */
static int rig_open_lua(struct rig *r, lua_Alloc alloc, void *arg)
{
    r->lua = (struct ah_lua){.core = &r->core};
    lua_State *L = lua_newstate(alloc, arg);
    if (!L)
        return -1;
    r->lua.L = L;
    *(struct ah_lua **)lua_getextraspace(L) = &r->lua;
    lua_pushcfunction(L, rig_build);
    int rc = lua_pcall(L, 0, 0, 0);
    lua_settop(L, 0);
    return rc == LUA_OK ? 0 : -1;
}

/* Answers the registry references that were left: 0. */
static int rig_close_lua(struct rig *r)
{
    ah_tasks_cancel_all(r->lua.tasks);
    if (r->lua.L)
        lua_close(r->lua.L);
    r->lua.L = NULL;
    int left = r->lua.tasks ? ah_tasks_refs(r->lua.tasks) : 0;
    if (r->lua.tasks && ah_tasks_alive(r->lua.tasks) == 0)
        ah_tasks_free(r->lua.tasks);
    r->lua.tasks = NULL;
    return left;
}

struct rig_start {
    const char *code;
    struct ah_run *run;
    struct ah_task *task;
};

static int rig_spawn(lua_State *L)
{
    struct rig_start *s = lua_touserdata(L, 1);
    if (luaL_loadstring(L, s->code) != LUA_OK)
        return lua_error(L);
    s->task = ah_task_spawn(L, 0, s->run, s->run ? ah_run_root(s->run) : NULL);
    return 0;
}

/* The code as a task; NULL: it could not be started (its error is on the stack of L). */
static struct ah_task *rig_start(struct rig *r, const char *code, struct ah_run *run)
{
    struct rig_start s = {.code = code, .run = run};
    lua_State *L = r->lua.L;
    lua_pushcfunction(L, rig_spawn);
    lua_pushlightuserdata(L, &s);
    return lua_pcall(L, 1, 0, 0) == LUA_OK ? s.task : NULL;
}

/* Turns until the task is done, at most `turns` times. */
static inline bool rig_turn(struct rig *r, struct ah_task *task, int turns)
{
    for (int i = 0; i < turns && !ah_task_done(task); i++)
        ah_loop_turn(r->core.loop, 10);
    return ah_task_done(task);
}

static inline void *rig_alloc(void *arg, void *p, size_t old, size_t wanted)
{
    (void)arg;
    (void)old;
    if (wanted == 0) {
        free(p);
        return NULL;
    }
    return realloc(p, wanted);
}

#endif
