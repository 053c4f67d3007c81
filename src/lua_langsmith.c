/* host.langsmith: what was traced, seen from a script. Called by scripts through require. Sending happens
 * by itself; nothing here is needed for it. */
#include "lua_langsmith.h"

#include "langsmith.h"
#include "lua_lsread.h"
#include "luajson.h"
#include "luareplay.h"
#include "luax.h"
#include "task.h"

#include <stdlib.h>

#define FLUSH_S 5.0
#define WAIT_MAX_S 86400.0

static struct ah_langsmith *service_of(lua_State *L)
{
    struct ah_langsmith *ls = ah_lua_of(L)->langsmith;
    if (!ls)
        luaL_error(L, "host.langsmith is not available here");
    return ls;
}

/* Seconds at index `arg`, in milliseconds. */
static int64_t read_timeout(lua_State *L, int arg, double otherwise)
{
    double s = luaL_optnumber(L, arg, otherwise);
    luaL_argcheck(L, s >= 0 && s <= WAIT_MAX_S, arg, "seconds expected, from 0 to 86400");
    return (int64_t)(s * 1000);
}

/* A run id, or nothing: the run that asks. */
static const char *read_id(lua_State *L)
{
    struct ah_run *run = ah_task_run(L);
    if (!lua_isnoneornil(L, 1) || !run)
        return luaL_checkstring(L, 1);
    return ah_run_id(run);
}

/* --- flush -------------------------------------------------------------------------------------- */

static int k_flush(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct ah_op *op = ah_task_op(L, (int)idx);
    struct ah_error err = {0};
    if (!op->done)
        return ah_task_await(L, (int)idx, k_flush);
    if (op->err.kind != AH_NONE) {
        ah_err_copy(&err, &op->err);
        return ah_luax_fail(L, &err);
    }
    lua_pushboolean(L, 1);
    return 1;
}

int ah_lua_langsmith_flush(lua_State *L)
{
    ah_task_check(L, "langsmith.flush");
    int64_t ms = read_timeout(L, 1, FLUSH_S);
    return k_flush(L, LUA_OK, ah_task_push_op(L, ah_langsmith_flush(service_of(L), ms)));
}

static int l_flush(lua_State *L)
{
    return ah_lua_langsmith_flush(L);
}

/* --- reading ------------------------------------------------------------------------------------- */

static int k_run(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct ah_op *op = ah_task_op(L, (int)idx);
    struct ah_error err = {0};
    if (!op->done)
        return ah_task_await(L, (int)idx, k_run);
    if (op->err.kind != AH_NONE) {
        ah_err_copy(&err, &op->err);
        return ah_luax_fail(L, &err);
    }
    ah_luajson_push(L, ah_langsmith_run(op));
    return 1;
}

static int l_read_run(lua_State *L)
{
    ah_task_check(L, "langsmith.read_run");
    const char *id = read_id(L);
    return k_run(L, LUA_OK, ah_task_push_op(L, ah_langsmith_read_run(service_of(L), id)));
}

static int l_verify(lua_State *L)
{
    ah_task_check(L, "langsmith.verify");
    const char *id = read_id(L);
    int64_t ms = read_timeout(L, 2, AH_LANGSMITH_VERIFY_MS / 1000.0);
    return k_run(L, LUA_OK, ah_task_push_op(L, ah_langsmith_verify(service_of(L), id, ms)));
}

/* --- the page of a run ----------------------------------------------------------------------------- */

static int k_url(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct ah_op *op = ah_task_op(L, (int)idx);
    struct ah_error err = {0};
    if (!op->done)
        return ah_task_await(L, (int)idx, k_url);
    void **url = ah_luax_guard(L, free);
    if (op->err.kind == AH_NONE) {
        *url = ah_langsmith_run_url(service_of(L), ah_langsmith_run(op));
        if (!*url)
            ah_err_set(&err, AH_NOT_FOUND, "LangSmith does not say where this run can be seen");
    } else {
        ah_err_copy(&err, &op->err);
    }
    if (!*url)
        return ah_luax_fail(L, &err);
    lua_pushstring(L, *url);
    return 1;
}

static int l_run_url(lua_State *L)
{
    ah_task_check(L, "langsmith.run_url");
    const char *id = read_id(L);
    return k_url(L, LUA_OK, ah_task_push_op(L, ah_langsmith_read_run(service_of(L), id)));
}

static const luaL_Reg functions[] = {
    {"flush", l_flush}, {"read_run", l_read_run}, {"run_url", l_run_url}, {"verify", l_verify}, {NULL, NULL},
};

int luaopen_host_langsmith(lua_State *L)
{
    static const char *const noted[] = {"feedback", "flush", "read_run", "run_url", "verify", NULL};
    luaL_newlib(L, functions);
    ah_lua_lsread_add(L);
    ah_luareplay_calls(L, "langsmith.", noted); /* not what answers an iterator */
    return 1;
}
