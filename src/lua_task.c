/* host.task: spawn, all, race, sleep, timeout, event. Called by scripts. No policy: how many run side by side
 * is the script's decision. */
#include "lua_task.h"

#include "luareplay.h"
#include "replay.h"
#include "task.h"

#include <math.h>
#include <stdlib.h>

#define TASK_MT "host.task"
#define GROUP_MT "host.task.group"
#define EVENT_MT "host.task.event"
#define GROUP_MAX 100000

/* --- groups: several tasks, one op ----------------------------------------------------------------- */

enum group_mode { GROUP_ALL, GROUP_RACE };

/* Ends when all tasks have, or one has failed (ALL); or when one has ended (RACE); or when the time is
 * over (err AH_TIMEOUT). Holds references of the tasks, which never point back. */
struct group {
    struct ah_op op;
    enum group_mode mode;
    size_t n, left;
    struct ah_timer timer;
    struct ah_ready over;  /* the time is: told when all else is quiet, as all that comes from outside */
    struct ah_call *limit; /* of task.timeout, in a run that is noted; belongs to its guard on the stack */
    int64_t limit_ms;
    struct member {
        struct group *group;
        struct ah_task *task;
        struct ah_op *join;
    } members[];
};

static void stop_waiting(struct group *g)
{
    ah_timer_stop(&g->timer);
    ah_loop_unready(g->op.loop, &g->over);
    if (g->limit && ah_call_is_waiting(g->limit))
        ah_op_wait(ah_call_latch(g->limit), NULL, NULL);
    g->limit = NULL;
    for (size_t i = 0; i < g->n; i++) {
        struct ah_op *join = g->members[i].join;
        g->members[i].join = NULL;
        if (join) {
            ah_op_wait(join, NULL, NULL);
            ah_op_cancel(join);
            ah_op_unref(join);
        }
    }
}

static void cancel_group(struct ah_op *op)
{
    stop_waiting((struct group *)op);
    ah_op_finish(op, NULL);
}

static void free_group(struct ah_op *op)
{
    struct group *g = (struct group *)op;
    stop_waiting(g);
    for (size_t i = 0; i < g->n; i++)
        ah_task_unref(g->members[i].task);
    free(g);
}

static const struct ah_op_class group_class = {"wait for tasks", cancel_group, free_group};

static void on_member_done(struct ah_op *join, void *arg)
{
    struct member *m = arg;
    struct group *g = m->group;
    (void)join;
    g->left--;
    bool failed = ah_task_end_op(m->task)->err.kind != AH_NONE;
    if (g->left == 0 || g->mode == GROUP_RACE || failed) {
        ah_op_ref(&g->op);
        stop_waiting(g);
        ah_op_finish(&g->op, NULL);
        ah_op_unref(&g->op);
    }
}

static void end_in_time(struct group *g)
{
    struct ah_error err = {0};
    ah_err_set(&err, AH_TIMEOUT, "the time limit of task.timeout was reached");
    ah_op_ref(&g->op);
    stop_waiting(g);
    ah_op_finish(&g->op, &err);
    ah_op_unref(&g->op);
}

static void run_over(struct ah_ready *r)
{
    struct group *g = (struct group *)((char *)r - offsetof(struct group, over));
    if (g->limit)
        ah_call_end(g->limit, "[true,[]]", 9, false);
    end_in_time(g);
}

static void on_group_timeout(struct ah_timer *t)
{
    struct group *g = t->arg;
    ah_loop_after(g->op.loop, &g->over);
}

static int start_limit(struct group *g)
{
    return ah_timer_start(g->op.loop, &g->timer, g->limit_ms, on_group_timeout, g);
}

/* In the past of a resumed run: it was reached, or it begins now. */
static void on_limit_turn(struct ah_op *latch, void *arg)
{
    struct group *g = arg;
    (void)latch;
    if (ah_call_result(g->limit).type != AH_JSON_NONE || start_limit(g) != 0)
        end_in_time(g);
}

/* NULL: out of memory. */
static struct group *new_group(lua_State *L, enum group_mode mode, size_t n)
{
    struct group *g = calloc(1, sizeof *g + n * sizeof g->members[0]);
    if (!g)
        return NULL;
    ah_op_init(&g->op, &group_class, ah_lua_of(L)->core->loop);
    g->op.inner = true;
    g->over.run = run_over;
    g->mode = mode;
    return g;
}

/* Takes over the reference of task. */
static int add_member(struct group *g, struct ah_task *task)
{
    struct member *m = &g->members[g->n++];
    *m = (struct member){.group = g, .task = task, .join = ah_task_join(task)};
    if (!m->join)
        return -1;
    g->left++;
    ah_op_wait(m->join, on_member_done, m);
    return 0;
}

/* --- tasks as Lua objects --------------------------------------------------------------------------- */

struct task_box {
    struct ah_task *task;
};

static struct ah_task *check_task(lua_State *L, int idx)
{
    return ((struct task_box *)luaL_checkudata(L, idx, TASK_MT))->task;
}

/* Spawns the function and nargs values on top of the stack; leaves the task object. */
static struct ah_task *push_spawned(lua_State *L, int nargs)
{
    int at = lua_gettop(L) - nargs;
    struct task_box *box = ah_luax_new(L, sizeof *box, 0, TASK_MT);
    lua_insert(L, at);
    box->task = ah_task_spawn(L, nargs, ah_task_run(L), ah_task_span(L));
    return box->task;
}

static int m_task_gc(lua_State *L)
{
    struct task_box *box = luaL_checkudata(L, 1, TASK_MT);
    ah_task_unref(box->task);
    box->task = NULL;
    return 0;
}

/* Closing cancels; being collected does not: a task nobody looks at runs on. */
static int m_task_close(lua_State *L)
{
    struct task_box *box = luaL_checkudata(L, 1, TASK_MT);
    if (box->task)
        ah_task_cancel(box->task);
    return 0;
}

static int l_spawn(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    push_spawned(L, lua_gettop(L) - 1);
    return 1;
}

static int push_outcome(lua_State *L, struct ah_task *task)
{
    bool failed;
    int n = ah_task_results(L, task, &failed);
    if (!failed)
        return n;
    if (n == 0) {
        struct ah_error err = {0};
        ah_err_copy(&err, &ah_task_end_op(task)->err);
        ah_luax_push_error(L, &err);
    }
    return lua_error(L);
}

static int k_wait(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    if (!ah_task_op(L, (int)idx)->done)
        return ah_task_await(L, (int)idx, k_wait);
    return push_outcome(L, check_task(L, 1));
}

static int l_wait(lua_State *L)
{
    struct ah_task *task = check_task(L, 1);
    lua_settop(L, 1);
    if (ah_task_done(task))
        return push_outcome(L, task);
    ah_task_check(L, "task:wait");
    if (task == ah_task_current(L))
        return luaL_error(L, "a task cannot wait for itself");
    return k_wait(L, LUA_OK, ah_task_push_op(L, ah_task_join(task)));
}

static int l_cancel(lua_State *L)
{
    struct ah_task *task = check_task(L, 1);
    if (task == ah_task_current(L))
        return luaL_error(L, "a task cannot cancel itself; return instead");
    ah_task_cancel(task);
    return 0;
}

static int l_done(lua_State *L)
{
    lua_pushboolean(L, ah_task_done(check_task(L, 1)));
    return 1;
}

/* --- all, race, timeout ------------------------------------------------------------------------------ */

/* A group on a stack: closing it (return, error, cancel) cancels what is still running. */
struct group_box {
    struct group *group;
};

static int m_group_release(lua_State *L)
{
    struct group_box *box = luaL_checkudata(L, 1, GROUP_MT);
    struct group *g = box->group;
    box->group = NULL;
    if (!g)
        return 0;
    for (size_t i = 0; i < g->n; i++)
        if (!ah_task_done(g->members[i].task))
            ah_task_cancel(g->members[i].task);
    ah_op_unref(&g->op);
    return 0;
}

static struct group *check_group(lua_State *L, int idx)
{
    return ((struct group_box *)luaL_checkudata(L, idx, GROUP_MT))->group;
}

static struct group *push_group(lua_State *L, enum group_mode mode, size_t n)
{
    struct group_box *box = ah_luax_new(L, sizeof *box, 0, GROUP_MT);
    lua_toclose(L, -1);
    box->group = new_group(L, mode, n);
    if (!box->group)
        luaL_error(L, "out of memory");
    return box->group;
}

/* Fills the group from the list at 1: functions are spawned, tasks are taken as they are. */
static void fill_group(lua_State *L, struct group *g, size_t n, const char *name)
{
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, 1, (lua_Integer)i);
        if (lua_isfunction(L, -1))
            push_spawned(L, 0);
        struct task_box *box = luaL_testudata(L, -1, TASK_MT);
        if (!box)
            luaL_error(L, "%s: element %d is a %s (function or task expected)", name, (int)i,
                       luaL_typename(L, -1));
        if (box->task == ah_task_current(L))
            luaL_error(L, "a task cannot wait for itself");
        if (add_member(g, ah_task_ref(box->task)) != 0)
            luaL_error(L, "out of memory");
        lua_pop(L, 1);
    }
}

static size_t check_list(lua_State *L, const char *name)
{
    ah_task_check(L, name);
    luaL_checktype(L, 1, LUA_TTABLE);
    size_t n = lua_rawlen(L, 1);
    if (n > GROUP_MAX)
        luaL_error(L, "%s: more than %d tasks", name, GROUP_MAX);
    lua_settop(L, 1);
    return n;
}

/* The member that ended first, or that failed first; NULL: none. */
static struct ah_task *first_done(const struct group *g, bool failed)
{
    struct ah_task *first = NULL;
    for (size_t i = 0; i < g->n; i++) {
        struct ah_task *task = g->members[i].task;
        const struct ah_op *end = ah_task_end_op(task);
        if (end->done && (!failed || end->err.kind != AH_NONE) &&
            (!first || end->completed < ah_task_end_op(first)->completed))
            first = task;
    }
    return first;
}

/* Stack of both continuations: 1 the list, 2 the group, 3 its op. */
static int k_all(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    if (!ah_task_op(L, (int)idx)->done)
        return ah_task_await(L, (int)idx, k_all);
    struct group *g = check_group(L, 2);
    struct ah_task *failed = first_done(g, true);
    if (failed)
        return push_outcome(L, failed);
    lua_createtable(L, (int)g->n, 0);
    int results = lua_gettop(L);
    for (size_t i = 0; i < g->n; i++) {
        int before = lua_gettop(L);
        if (push_outcome(L, g->members[i].task) > 0) {
            lua_settop(L, before + 1);
            lua_rawseti(L, results, (lua_Integer)i + 1);
        }
    }
    return 1;
}

static int l_all(lua_State *L)
{
    size_t n = check_list(L, "task.all");
    struct group *g = push_group(L, GROUP_ALL, n);
    fill_group(L, g, n, "task.all");
    if (n == 0) {
        lua_newtable(L);
        return 1;
    }
    return k_all(L, LUA_OK, ah_task_push_op(L, ah_op_ref(&g->op)));
}

static int k_race(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    if (!ah_task_op(L, (int)idx)->done)
        return ah_task_await(L, (int)idx, k_race);
    return push_outcome(L, first_done(check_group(L, 2), false));
}

static int l_race(lua_State *L)
{
    size_t n = check_list(L, "task.race");
    luaL_argcheck(L, n > 0, 1, "at least one function or task expected");
    struct group *g = push_group(L, GROUP_RACE, n);
    fill_group(L, g, n, "task.race");
    return k_race(L, LUA_OK, ah_task_push_op(L, ah_op_ref(&g->op)));
}

/* Stack: 1 the task object, 2 the group, 3 its op. */
static int k_timeout(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct ah_op *op = ah_task_op(L, (int)idx);
    if (!op->done)
        return ah_task_await(L, (int)idx, k_timeout);
    if (op->err.kind == AH_TIMEOUT) {
        struct ah_error err = {0};
        ah_err_copy(&err, &op->err);
        return ah_luax_fail(L, &err);
    }
    return push_outcome(L, check_group(L, 2)->members[0].task);
}

static int64_t check_ms(lua_State *L, int idx)
{
    double seconds = luaL_checknumber(L, idx);
    luaL_argcheck(L, seconds >= 0 && seconds <= 1e9, idx, "seconds from 0 to 1e9 expected");
    double ms = ceil(seconds * 1000);
    return (int64_t)ms;
}

static int l_timeout(lua_State *L)
{
    int64_t ms = check_ms(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    ah_task_check(L, "task.timeout");
    int nargs = lua_gettop(L) - 2;
    struct ah_task *task = push_spawned(L, nargs); /* in place of the function */
    lua_replace(L, 1);
    lua_settop(L, 1);
    struct group *g = push_group(L, GROUP_ALL, 1);
    struct ah_replay *notes = ah_luareplay_of(L);
    g->limit_ms = ms;
    if (add_member(g, ah_task_ref(task)) != 0)
        return luaL_error(L, "out of memory");
    lua_pushinteger(L, (lua_Integer)ms);
    g->limit = notes ? ah_luareplay_begin(L, notes, "task.timeout", lua_gettop(L), lua_gettop(L)) : NULL;
    if (g->limit && ah_call_is_waiting(g->limit))
        ah_op_wait(ah_call_latch(g->limit), on_limit_turn, g);
    else if (start_limit(g) != 0)
        return luaL_error(L, "out of memory");
    return k_timeout(L, LUA_OK, ah_task_push_op(L, ah_op_ref(&g->op)));
}

static int k_sleep(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    if (!ah_task_op(L, (int)idx)->done)
        return ah_task_await(L, (int)idx, k_sleep);
    if (ah_lua_of(L)->interrupting) { /* nobody looks at what a sleep returns */
        struct ah_error err = {0};
        ah_err_set(&err, AH_CANCELLED, "the run was interrupted");
        ah_luax_push_error(L, &err);
        return lua_error(L);
    }
    return 0;
}

static int l_sleep(lua_State *L)
{
    int64_t ms = check_ms(L, 1);
    ah_task_check(L, "task.sleep");
    return k_sleep(L, LUA_OK, ah_task_push_op(L, ah_op_sleep(ah_lua_of(L)->core->loop, ms)));
}

/* --- events ----------------------------------------------------------------------------------------- */

/* Something that happens once, for any number of tasks that wait for it. */
struct event_box {
    bool set;
    struct ah_op **waiting; /* counted; cancelled ones stay until somebody waits again */
    size_t n, room;
};

/* Whoever waits is told from the ready phase. An event that goes out of scope has happened. */
static int l_event_set(lua_State *L)
{
    struct event_box *box = luaL_checkudata(L, 1, EVENT_MT);
    box->set = true;
    for (size_t i = 0; i < box->n; i++) { /* in the order in which they came */
        ah_op_finish(box->waiting[i], NULL);
        ah_op_unref(box->waiting[i]);
    }
    free(box->waiting);
    box->waiting = NULL;
    box->n = box->room = 0;
    return 0;
}

static int l_event(lua_State *L)
{
    ah_luax_new(L, sizeof(struct event_box), 0, EVENT_MT);
    return 1;
}

static int l_event_is_set(lua_State *L)
{
    lua_pushboolean(L, ((struct event_box *)luaL_checkudata(L, 1, EVENT_MT))->set);
    return 1;
}

static void forget_cancelled(struct event_box *box)
{
    size_t left = 0;
    for (size_t i = 0; i < box->n; i++) {
        if (box->waiting[i]->done)
            ah_op_unref(box->waiting[i]);
        else
            box->waiting[left++] = box->waiting[i];
    }
    box->n = left;
}

/* A latch that l_event_set opens; the caller's reference. NULL: out of memory. */
static struct ah_op *add_waiting(struct event_box *box, struct ah_loop *loop)
{
    if (box->n == box->room) {
        forget_cancelled(box);
        if (box->n * 2 >= box->room) {
            size_t room = box->room ? box->room * 2 : 4;
            struct ah_op **grown = realloc(box->waiting, room * sizeof(struct ah_op *));
            if (!grown)
                return NULL;
            box->waiting = grown;
            box->room = room;
        }
    }
    struct ah_op *op = ah_op_latch(loop);
    if (op)
        op->inner = true;
    if (op)
        box->waiting[box->n++] = ah_op_ref(op);
    return op;
}

static int k_event_wait(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    if (!ah_task_op(L, (int)idx)->done)
        return ah_task_await(L, (int)idx, k_event_wait);
    return 0;
}

static int l_event_wait(lua_State *L)
{
    struct event_box *box = luaL_checkudata(L, 1, EVENT_MT);
    if (box->set)
        return 0;
    ah_task_check(L, "event:wait");
    return k_event_wait(L, LUA_OK, ah_task_push_op(L, add_waiting(box, ah_lua_of(L)->core->loop)));
}

static const luaL_Reg event_methods[] = {
    {"is_set", l_event_is_set},
    {"set", l_event_set},
    {"wait", l_event_wait},
    {NULL, NULL},
};

static const luaL_Reg task_methods[] = {
    {"cancel", l_cancel},
    {"done", l_done},
    {"wait", l_wait},
    {NULL, NULL},
};

static const luaL_Reg task_lib[] = {
    {"all", l_all},     {"event", l_event},     {"race", l_race}, {"sleep", l_sleep},
    {"spawn", l_spawn}, {"timeout", l_timeout}, {NULL, NULL},
};

int luaopen_host_task(lua_State *L)
{
    ah_luax_class(L, TASK_MT, task_methods, m_task_gc);
    luaL_getmetatable(L, TASK_MT);
    lua_pushcfunction(L, m_task_close);
    lua_setfield(L, -2, "__close");
    ah_luax_class(L, GROUP_MT, NULL, m_group_release);
    ah_luax_class(L, EVENT_MT, event_methods, l_event_set);
    luaL_newlib(L, task_lib);
    static const char *const noted[] = {"sleep", NULL};
    ah_luareplay_calls(L, "task.", noted);
    return 1;
}
