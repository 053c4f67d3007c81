/* Tasks: coroutines that wait for ops. The one place that resumes, yields and anchors.
 *
 * Called by bindings (through task.h), by host.c and by the loop's ready phase. A host wait is a yield
 * of one private marker. Scripts may have coroutines of their own inside a task: the resume and wrap
 * given to them pass the marker outward, so that the wait reaches the task and its end comes back in.
 * Must not know HTTP, services or policy. */
#include "task.h"

#include "limits.h"
#include "log.h"
#include "replay.h"

#include <assert.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

#define OP_MT "ah.op"
#define INNER_MT "ah.inner"
#define HOOK_EVERY 100000
#define CLOSE_DEPTH 64 /* closers that cancel tasks whose closers cancel: then from the ready phase */

/* Its address is what a host wait yields. It stays on top of every coroutine between the wait and its task,
 * and of a task that let others run: nobody else may resume or close those. */
static const char wait_marker;

struct ah_task {
    struct ah_op end; /* first: ends when the task does; its references are the task's */
    struct ah_tasks *tasks;
    struct ah_task *next, *prev; /* of those that have not ended */
    lua_State *co;
    int anchor; /* registry reference of co, 0 = none */
    int nargs;  /* for the next resume */
    int nresults;
    bool failed;
    bool watched; /* somebody waits, or asked how it ended */
    bool running; /* co is on the C stack: it runs, or its closers do */
    struct ah_ready ready;
    struct ah_op *waiting;   /* borrowed: its userdata is on co's stack */
    struct ah_ready arrival; /* what it waited for came from outside: it goes on when all else is quiet */
    struct join_op *joins;   /* those who wait for its end */
    struct ah_run *run;
    struct ah_span *span;
    int64_t call; /* number of the noted call it is in, 0 = none */
    uint64_t waits;
};

struct join_op {
    struct ah_op op;
    struct ah_task *task; /* counted; NULL once it ended */
    struct join_op *next, *prev;
};

struct ah_tasks {
    struct ah_lua *lua;
    struct ah_task alive; /* head of a circular list; only next and prev are used */
    int alive_count, refs;
    struct ah_task *current;
    int blocked; /* > 0: somewhere between here and the task no yield can pass */
    int closing; /* depth of closers that cancel */
    long budget, used;
    bool spent; /* the budget is used up: the hook fires on every line */
    const atomic_int *interrupted;
};

static struct ah_tasks *tasks_of(lua_State *L)
{
    return ah_lua_of(L)->tasks;
}

/* --- budget --------------------------------------------------------------------------------------- */

static bool is_interrupted(const struct ah_tasks *t)
{
    return t->interrupted && atomic_load_explicit(t->interrupted, memory_order_relaxed) != 0;
}

static void arm_hook(lua_State *co);

/* Raises from a safe point. Re-armed on every line once it has fired: a script may catch the error in
 * a loop. It cannot interrupt one long C call. */
static void on_hook(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    struct ah_tasks *t = tasks_of(L);
    bool interrupted = is_interrupted(t);
    if (!t->spent && !interrupted) {
        if (lua_gethookmask(L) & LUA_MASKLINE) { /* left from an earlier step */
            arm_hook(L);
            return;
        }
        t->used += HOOK_EVERY;
        if (t->budget <= 0 || t->used < t->budget)
            return;
        t->spent = true;
    }
    lua_sethook(L, on_hook, LUA_MASKLINE | LUA_MASKCOUNT, 1);
    if (interrupted)
        luaL_error(L, "interrupted");
    luaL_error(L,
               "the script ran %d million instructions without waiting for anything; an endless loop? "
               "(--instructions N sets the limit)",
               (int)(t->budget / 1000000));
}

static void arm_hook(lua_State *co)
{
    lua_sethook(co, on_hook, LUA_MASKCOUNT, HOOK_EVERY);
}

/* --- ops on a stack ------------------------------------------------------------------------------- */

struct op_box {
    struct ah_op *op;
};

static void on_op_done(struct ah_op *op, void *arg);

/* The op goes: whoever waits for it must not look at it again. */
static void forget_wait(struct ah_op *op)
{
    struct ah_task *t = op->on_done == on_op_done ? op->arg : NULL;
    if (t && t->waiting == op)
        t->waiting = NULL;
    ah_op_wait(op, NULL, NULL);
}

static int m_op_release(lua_State *L)
{
    struct op_box *box = luaL_checkudata(L, 1, OP_MT);
    struct ah_op *op = box->op;
    box->op = NULL;
    if (op) {
        forget_wait(op);
        ah_op_cancel(op);
        ah_op_unref(op);
    }
    return 0;
}

static int new_box(lua_State *L)
{
    ah_luax_class(L, OP_MT, NULL, m_op_release);
    ah_luax_new(L, sizeof(struct op_box), 0, OP_MT);
    return 1;
}

static const char *why_blocked(lua_State *L)
{
    struct ah_tasks *t = tasks_of(L);
    if (!t->current)
        return "it must run inside a task";
    if (t->blocked || !lua_isyieldable(L))
        return "it cannot wait here: not while a module is loading (require), nor inside a function that "
               "string.gsub or table.sort calls, nor in a __gc or __close that runs at a cancel";
    return NULL;
}

void ah_task_check(lua_State *L, const char *name)
{
    const char *why = why_blocked(L);
    if (why)
        luaL_error(L, "%s: %s", name, why);
}

int ah_task_push_op(lua_State *L, struct ah_op *op)
{
    if (!op)
        luaL_error(L, "out of memory");
    if (!lua_checkstack(L, LUA_MINSTACK)) {
        ah_op_unref(op);
        luaL_error(L, "out of memory");
    }
    lua_pushcfunction(L, new_box); /* protected: the reference must not be lost */
    if (lua_pcall(L, 0, 1, 0) != LUA_OK) {
        ah_op_cancel(op);
        ah_op_unref(op);
        lua_error(L);
    }
    ((struct op_box *)lua_touserdata(L, -1))->op = op;
    lua_toclose(L, -1);
    return lua_gettop(L);
}

struct ah_op *ah_task_op(lua_State *L, int idx)
{
    return ((struct op_box *)luaL_checkudata(L, idx, OP_MT))->op;
}

static void step(struct ah_task *t);

static void on_op_done(struct ah_op *op, void *arg)
{
    struct ah_task *t = arg;
    t->waiting = NULL;
    if (t->run && !op->inner)
        ah_loop_after(t->end.loop, &t->arrival);
    else
        step(t);
}

/* What a script's run waits for comes from outside, unless it is `inner`: then a resumed run must find it in the notes
 * (luareplay.h). A binding that forgot this makes runs that cannot be resumed; tests do not get past it. */
static void check_noted(lua_State *L, const struct ah_task *t, const struct ah_op *op)
{
    struct ah_lua *lua = ah_lua_of(L);
    if (!lua->replay || !t->run || op->inner || t->call || ah_replay_closed(lua->replay))
        return;
    ah_replay_close(lua->replay, "it waited for something that is not noted");
    ah_log_line(lua->core->log, AH_LOG_ERROR, "internal error: a wait for %s is not noted (luareplay.h)",
                op->cls->name);
#ifdef AH_FAULTS
    abort();
#endif
}

int ah_task_await(lua_State *L, int idx, lua_KFunction k)
{
    struct ah_tasks *tasks = tasks_of(L);
    const char *why = why_blocked(L);
    if (why)
        return luaL_error(L, "%s", why);
    struct ah_op *op = ah_task_op(L, idx);
    check_noted(L, tasks->current, op);
    tasks->current->waiting = op;
    tasks->current->waits++;
    ah_op_wait(op, on_op_done, tasks->current);
    lua_pushlightuserdata(L, (void *)(uintptr_t)&wait_marker);
    return lua_yieldk(L, 1, idx, k);
}

/* --- context -------------------------------------------------------------------------------------- */

struct ah_task *ah_task_current(lua_State *L)
{
    return tasks_of(L)->current;
}

struct ah_run *ah_task_run(lua_State *L)
{
    struct ah_task *t = ah_task_current(L);
    return t ? t->run : NULL;
}

struct ah_span *ah_task_span(lua_State *L)
{
    struct ah_task *t = ah_task_current(L);
    return t ? t->span : NULL;
}

struct ah_span *ah_task_swap_span(lua_State *L, struct ah_span *span)
{
    struct ah_task *t = ah_task_current(L);
    if (!t)
        return NULL;
    struct ah_span *old = t->span;
    t->span = span ? ah_span_ref(span) : NULL;
    return old;
}

struct ah_run *ah_task_swap_run(lua_State *L, struct ah_run *run)
{
    struct ah_task *t = ah_task_current(L);
    if (!t)
        return NULL;
    struct ah_run *old = t->run;
    t->run = run ? ah_run_ref(run) : NULL;
    return old;
}

int64_t ah_task_call(lua_State *L)
{
    struct ah_task *t = ah_task_current(L);
    return t ? t->call : 0;
}

uint64_t ah_task_waits(const struct ah_task *t)
{
    return t->waits;
}

void ah_task_set_call(struct ah_task *t, int64_t number)
{
    t->call = number;
}

/* --- life of a task ------------------------------------------------------------------------------- */

static void release_context(struct ah_task *t)
{
    ah_span_unref(t->span);
    ah_run_unref(t->run);
    t->span = NULL;
    t->run = NULL;
}

static void drop_anchor(struct ah_task *t)
{
    if (t->anchor && t->tasks->lua->L) {
        luaL_unref(t->tasks->lua->L, LUA_REGISTRYINDEX, t->anchor);
        t->tasks->refs--;
    }
    t->anchor = 0;
    t->co = NULL;
}

static void leave_task(struct join_op *j)
{
    struct ah_task *t = j->task;
    if (!t)
        return;
    j->task = NULL;
    if (j->prev)
        j->prev->next = j->next;
    else
        t->joins = j->next;
    if (j->next)
        j->next->prev = j->prev;
    ah_task_unref(t);
}

static void cancel_join(struct ah_op *op)
{
    leave_task((struct join_op *)op);
    ah_op_finish(op, NULL);
}

static void free_join(struct ah_op *op)
{
    leave_task((struct join_op *)op);
    free(op);
}

static const struct ah_op_class join_class = {"wait for a task", cancel_join, free_join};

struct ah_op *ah_task_join(struct ah_task *t)
{
    struct join_op *j = calloc(1, sizeof *j);
    if (!j)
        return NULL;
    t->watched = true;
    ah_op_init(&j->op, &join_class, t->end.loop);
    j->op.inner = true;
    if (t->end.done) {
        ah_op_finish(&j->op, NULL);
        return &j->op;
    }
    j->task = ah_task_ref(t);
    j->next = t->joins;
    if (j->next)
        j->next->prev = j;
    t->joins = j;
    return &j->op;
}

static void tell_joins(struct ah_task *t)
{
    while (t->joins) {
        struct join_op *j = t->joins;
        ah_op_ref(&j->op);
        leave_task(j);
        ah_op_finish(&j->op, NULL);
        ah_op_unref(&j->op);
    }
}

/* Nobody waited, and now nobody can: without this line the failure would be silent. */
static void say_lost_failure(struct ah_task *t)
{
    const struct ah_lua *lua = t->tasks->lua;
    if (t->end.refs == 1 && t->failed && !t->watched && t->end.err.kind != AH_CANCELLED &&
        !lua->exit_requested && !is_interrupted(t->tasks))
        ah_log_line(lua->core->log, AH_LOG_ERROR, "a task that nobody waited for failed: %s",
                    t->end.err.message);
}

static void stop_waiting(struct ah_task *t)
{
    ah_loop_unready(t->end.loop, &t->ready);
    ah_loop_unready(t->end.loop, &t->arrival);
    if (t->waiting)
        ah_op_wait(t->waiting, NULL, NULL);
    t->waiting = NULL;
}

/* The task has ended; results (or the error value) stay on its stack until the last reference goes. */
static void end_task(struct ah_task *t, int nresults, bool failed, struct ah_error *err)
{
    stop_waiting(t); /* a coroutine that it left behind may still have an op */
    t->prev->next = t->next;
    t->next->prev = t->prev;
    t->tasks->alive_count--;
    t->nresults = nresults;
    t->failed = failed;
    release_context(t);
    ah_op_finish(&t->end, err);
    tell_joins(t);
    ah_task_unref(t); /* the reference of being alive */
}

static void close_task(struct ah_task *t)
{
    struct ah_tasks *tasks = t->tasks;
    stop_waiting(t);
    struct ah_task *before = tasks->current;
    tasks->current = t; /* spans that its closers end belong to it */
    tasks->blocked++;
    tasks->closing++;
    t->running = true;
    lua_resetthread(t->co);
    t->running = false;
    tasks->closing--;
    tasks->blocked--;
    tasks->current = before;
    lua_settop(t->co, 0);
    end_task(t, 0, true, NULL); /* ah_op_finish says "cancelled" */
}

static void cancel_task(struct ah_op *op)
{
    struct ah_task *t = (struct ah_task *)op;
    if (t->running)
        return; /* a running coroutine cannot be closed: step ends it at its next wait */
    if (t->tasks->closing < CLOSE_DEPTH) {
        close_task(t);
        return;
    }
    stop_waiting(t);
    ah_loop_ready(op->loop, &t->ready);
}

static void free_task(struct ah_op *op)
{
    struct ah_task *t = (struct ah_task *)op;
    drop_anchor(t);
    free(t);
}

static const struct ah_op_class task_class = {"task", cancel_task, free_task};

/* Runs protected: 1 the failed coroutine (its error value on top), 2 struct ah_error *. A text gets its
 * traceback in err; the value itself stays as it is for who waits. */
static int describe_failure(lua_State *L)
{
    lua_State *co = lua_tothread(L, 1);
    struct ah_error *err = lua_touserdata(L, 2);
    if (lua_type(co, -1) == LUA_TSTRING) {
        luaL_traceback(L, co, lua_tostring(co, -1), 0);
        ah_err_set(err, AH_SCRIPT, "%s", lua_tostring(L, -1));
    } else {
        ah_luax_to_error(co, -1, err);
    }
    return 0;
}

static void fail(struct ah_task *t)
{
    struct ah_error err = {0};
    lua_State *L = t->tasks->lua->L;
    ah_err_set(&err, AH_SCRIPT, "the script failed, and its error could not be described");
    bool room = lua_checkstack(L, 4) && lua_checkstack(t->co, 4);
    if (room) {
        lua_pushcfunction(L, describe_failure);
        lua_rawgeti(L, LUA_REGISTRYINDEX, t->anchor);
        lua_pushlightuserdata(L, &err);
        if (lua_pcall(L, 2, 0, 0) != LUA_OK)
            lua_pop(L, 1);
    }
    /* Closers run here; the error value is put back on the empty stack by lua_resetthread. */
    t->tasks->current = t;
    t->tasks->blocked++;
    t->tasks->closing++;
    t->running = true;
    lua_State *co = t->co;
    if (room) {
        lua_pushvalue(co, -1);
        lua_xmove(co, L, 1);
    }
    lua_resetthread(co);
    lua_settop(co, 0);
    if (room)
        lua_xmove(L, co, 1);
    t->running = false;
    t->tasks->closing--;
    t->tasks->blocked--;
    t->tasks->current = NULL;
    end_task(t, room ? 1 : 0, true, &err);
}

static void step(struct ah_task *t)
{
    struct ah_tasks *tasks = t->tasks;
    if (t->end.cancelled) {
        close_task(t);
        return;
    }
    int nresults, nargs = t->nargs;
    t->nargs = 0;
    tasks->used = 0;
    tasks->spent = false;
    if (lua_status(t->co) == LUA_YIELD)
        lua_pop(t->co, 1); /* the marker */
    tasks->current = t;
    t->running = true;
    int status = lua_resume(t->co, tasks->lua->L, nargs, &nresults);
    t->running = false;
    tasks->current = NULL;
    if (status == LUA_YIELD) {
        bool host = nresults == 1 && lua_touserdata(t->co, -1) == (const void *)&wait_marker;
        lua_pop(t->co, nresults);
        lua_pushlightuserdata(t->co, (void *)(uintptr_t)&wait_marker);
        if (t->end.cancelled) /* a closer that it called asked for it */
            close_task(t);
        else if (!host) /* coroutine.yield() in a task lets the others run */
            ah_loop_ready(t->end.loop, &t->ready);
    } else if (status == LUA_OK) {
        end_task(t, t->end.cancelled ? 0 : nresults, t->end.cancelled, NULL);
    } else {
        fail(t);
    }
}

static void run_ready(struct ah_ready *r)
{
    step((struct ah_task *)((char *)r - offsetof(struct ah_task, ready)));
}

static void run_arrival(struct ah_ready *r)
{
    step((struct ah_task *)((char *)r - offsetof(struct ah_task, arrival)));
}

struct ah_task *ah_task_spawn(lua_State *L, int nargs, struct ah_run *run, struct ah_span *span)
{
    struct ah_tasks *tasks = tasks_of(L);
    lua_State *co = lua_newthread(L);
    if (!lua_checkstack(co, nargs + LUA_MINSTACK))
        luaL_error(L, "out of memory");
    int anchor = luaL_ref(L, LUA_REGISTRYINDEX);
    struct ah_task *t = calloc(1, sizeof *t);
    if (!t) {
        luaL_unref(L, LUA_REGISTRYINDEX, anchor);
        luaL_error(L, "out of memory");
    }
    lua_xmove(L, co, nargs + 1);
    ah_op_init(&t->end, &task_class, tasks->lua->core->loop);
    t->tasks = tasks;
    t->co = co;
    t->anchor = anchor;
    t->nargs = nargs;
    t->run = run ? ah_run_ref(run) : NULL;
    t->span = span ? ah_span_ref(span) : NULL;
    t->ready.run = run_ready;
    t->arrival.run = run_arrival;
    t->next = &tasks->alive;
    t->prev = tasks->alive.prev;
    t->prev->next = t->next->prev = t;
    tasks->alive_count++;
    tasks->refs++;
    arm_hook(co);
    ah_op_ref(&t->end); /* the reference of being alive */
    ah_loop_ready(t->end.loop, &t->ready);
    return t;
}

struct ah_task *ah_task_ref(struct ah_task *t)
{
    ah_op_ref(&t->end);
    return t;
}

void ah_task_unref(struct ah_task *t)
{
    if (!t)
        return;
    say_lost_failure(t);
    ah_op_unref(&t->end);
}

void ah_task_cancel(struct ah_task *t)
{
    ah_op_cancel(&t->end);
}

bool ah_task_done(const struct ah_task *t)
{
    return t->end.done;
}

struct ah_op *ah_task_end_op(struct ah_task *t)
{
    t->watched = true;
    return &t->end;
}

int ah_task_results(lua_State *L, struct ah_task *t, bool *failed)
{
    t->watched = true;
    *failed = t->failed;
    int n = t->nresults;
    if (n == 0)
        return 0;
    luaL_checkstack(L, n + 4, "too many results");
    if (!lua_checkstack(t->co, n))
        luaL_error(L, "out of memory");
    int first = lua_gettop(t->co) - n + 1;
    for (int i = 0; i < n; i++)
        lua_pushvalue(t->co, first + i);
    lua_xmove(t->co, L, n);
    return n;
}

/* --- coroutines of scripts ------------------------------------------------------------------------ */

static void close_inner(struct ah_tasks *tasks, lua_State *co)
{
    tasks->blocked++;
    lua_resetthread(co);
    tasks->blocked--;
    lua_settop(co, 0);
}

/* When an outer coroutine is closed while an inner one waits for the host, the inner one is closed
 * with it: its op must not wait for the collector. User value 1 is the inner coroutine. */
static int m_inner_release(lua_State *L)
{
    struct ah_tasks *tasks = tasks_of(L);
    if (lua_getiuservalue(L, 1, 1) == LUA_TTHREAD) {
        lua_State *co = lua_tothread(L, -1);
        if (lua_status(co) == LUA_YIELD)
            close_inner(tasks, co);
        lua_pushnil(L);
        lua_setiuservalue(L, 1, 1);
    }
    return 0;
}

static int new_inner(lua_State *L)
{
    ah_luax_class(L, INNER_MT, NULL, m_inner_release);
    ah_luax_new(L, 1, 1, INNER_MT);
    return 1;
}

/* It waits for the host, in this task or another. */
static bool is_parked(lua_State *co)
{
    return lua_status(co) == LUA_YIELD && lua_gettop(co) > 0 &&
           lua_touserdata(co, -1) == (const void *)&wait_marker;
}

/* Resumes the coroutine `co` with nargs values on top of its stack. Returns the number of values pushed
 * on L (results or one error value) with *ok, or does not return: a host wait goes outward. inner_at: index
 * of the guard that is on L already, or 0. `co_at`: index of co on L. */
static int resume_inner(lua_State *L, int co_at, int nargs, int inner_at, lua_KFunction k, bool *ok)
{
    struct ah_tasks *tasks = tasks_of(L);
    lua_State *co = lua_tothread(L, co_at);
    int nresults;
    bool blocks = !lua_isyieldable(L);
    if (inner_at)
        lua_pop(co, 1); /* the marker */
    tasks->blocked += blocks;
    int status = lua_resume(co, L, nargs, &nresults);
    tasks->blocked -= blocks;
    if (status == LUA_YIELD && nresults == 1 && lua_touserdata(co, -1) == (const void *)&wait_marker) {
        if (!inner_at) {
            lua_settop(L, co_at);
            lua_pushcfunction(L, new_inner);
            if (lua_pcall(L, 0, 1, 0) != LUA_OK) { /* nobody would close it: it ends here, with that error */
                close_inner(tasks, co);
                *ok = false;
                return 1;
            }
            lua_pushvalue(L, co_at);
            lua_setiuservalue(L, -2, 1);
            lua_toclose(L, -1);
            inner_at = lua_gettop(L);
        }
        lua_pushlightuserdata(L, (void *)(uintptr_t)&wait_marker);
        return lua_yieldk(L, 1, inner_at, k);
    }
    *ok = status == LUA_OK || status == LUA_YIELD;
    if (*ok && !lua_checkstack(L, nresults + 2)) {
        lua_pop(co, nresults);
        lua_pushliteral(L, "too many results to resume");
        *ok = false;
        return 1;
    }
    int n = *ok ? nresults : 1;
    lua_xmove(co, L, n);
    return n;
}

/* The host wait is over: the inner coroutine may live on after this call returns. */
static void disarm_inner(lua_State *L, int inner_at)
{
    lua_pushnil(L);
    lua_setiuservalue(L, inner_at, 1);
}

/* Results of resume: true and values, or false and the error. */
static int finish_resume(lua_State *L, int n, bool ok)
{
    lua_pushboolean(L, ok);
    lua_insert(L, -(n + 1));
    return n + 1;
}

static int k_resume(lua_State *L, int status, lua_KContext inner_at)
{
    (void)status;
    bool ok;
    lua_settop(L, (int)inner_at);
    int n = resume_inner(L, 1, 0, (int)inner_at, k_resume, &ok);
    disarm_inner(L, (int)inner_at);
    return finish_resume(L, n, ok);
}

/* Moves the arguments to co. False: co cannot be resumed, one error message is on L. */
static bool pass_arguments(lua_State *L, lua_State *co, int nargs)
{
    if (lua_status(co) == LUA_OK && lua_gettop(co) == 0)
        lua_pushliteral(L, "cannot resume dead coroutine");
    else if (co == L || (lua_status(co) != LUA_OK && lua_status(co) != LUA_YIELD))
        lua_pushliteral(L, "cannot resume non-suspended coroutine");
    else if (is_parked(co))
        lua_pushliteral(L, "cannot resume a coroutine that waits for the host");
    else if (!lua_checkstack(co, nargs))
        lua_pushliteral(L, "too many arguments to resume");
    else {
        lua_xmove(L, co, nargs);
        return true;
    }
    return false;
}

static int l_coroutine_resume(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTHREAD);
    lua_State *co = lua_tothread(L, 1);
    int nargs = lua_gettop(L) - 1;
    bool ok = false;
    int n = 1;
    if (pass_arguments(L, co, nargs))
        n = resume_inner(L, 1, nargs, 0, k_resume, &ok);
    return finish_resume(L, n, ok);
}

static int finish_wrap(lua_State *L, int co_at, int n, bool ok)
{
    if (ok)
        return n;
    lua_State *co = lua_tothread(L, co_at);
    int status = lua_status(co);
    if (status != LUA_OK && status != LUA_YIELD)
        close_inner(tasks_of(L), co); /* its closers run before the error goes on, as in Lua's own wrap */
    if (lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int k_wrap(lua_State *L, int status, lua_KContext inner_at)
{
    (void)status;
    bool ok;
    lua_settop(L, (int)inner_at);
    int n = resume_inner(L, 1, 0, (int)inner_at, k_wrap, &ok);
    disarm_inner(L, (int)inner_at);
    return finish_wrap(L, 1, n, ok);
}

static int l_wrapped(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_State *co = lua_tothread(L, 1);
    int nargs = lua_gettop(L) - 1;
    bool ok = false;
    int n = 1;
    if (pass_arguments(L, co, nargs))
        n = resume_inner(L, 1, nargs, 0, k_wrap, &ok);
    return finish_wrap(L, 1, n, ok);
}

static int l_coroutine_wrap(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    lua_pushcclosure(L, l_wrapped, 1);
    return 1;
}

/* Lua's own close, which is upvalue 1; but what waits is ended by ending its task. */
static int l_coroutine_close(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTHREAD);
    if (is_parked(lua_tothread(L, 1)))
        return luaL_error(L, "cannot close a coroutine that waits for the host");
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, LUA_MULTRET);
    return lua_gettop(L);
}

static const luaL_Reg coroutine_lib[] = {
    {"resume", l_coroutine_resume},
    {"wrap", l_coroutine_wrap},
    {NULL, NULL},
};

/* --- the set of tasks ------------------------------------------------------------------------------ */

int ah_tasks_open(lua_State *L, struct ah_lua *lua)
{
    struct ah_tasks *t = calloc(1, sizeof *t);
    if (!t)
        return -1;
    t->lua = lua;
    t->alive.next = t->alive.prev = &t->alive;
    t->budget = AH_LUA_INSTRUCTIONS;
    lua->tasks = t;
    lua_getglobal(L, LUA_COLIBNAME);
    luaL_setfuncs(L, coroutine_lib, 0);
    lua_getfield(L, -1, "close");
    lua_pushcclosure(L, l_coroutine_close, 1);
    lua_setfield(L, -2, "close");
    lua_pop(L, 1);
    return 0;
}

/* From outside of any task: at once, also what closers only asked for. */
static void end_now(struct ah_task *t)
{
    ah_task_cancel(t);
    if (!t->end.done)
        close_task(t);
}

void ah_tasks_cancel_all(struct ah_tasks *t)
{
    while (t && t->alive.next != &t->alive) {
        struct ah_task *task = ah_task_ref(t->alive.next);
        end_now(task);
        drop_anchor(task);
        ah_task_unref(task);
    }
}

void ah_tasks_cancel_runs(struct ah_tasks *t)
{
    for (struct ah_task *at = t->alive.next; at != &t->alive;) {
        if (!at->run) {
            at = at->next;
            continue;
        }
        struct ah_task *task = ah_task_ref(at);
        end_now(task); /* closers may have ended others: begin again */
        ah_task_unref(task);
        at = t->alive.next;
    }
}

void ah_tasks_interrupt(struct ah_tasks *t)
{
    for (struct ah_task *at = t->alive.next; at != &t->alive; at = at->next)
        if (at->run && at->waiting && (!at->waiting->inner || at->call))
            ah_op_cancel(at->waiting); /* its end is told from the ready phase */
}

void ah_tasks_free(struct ah_tasks *t)
{
    if (!t)
        return;
    assert(t->alive_count == 0);
    free(t);
}

int ah_tasks_alive(const struct ah_tasks *t)
{
    return t->alive_count;
}

int ah_tasks_refs(const struct ah_tasks *t)
{
    return t->refs;
}

void ah_tasks_set_budget(struct ah_tasks *t, long instructions)
{
    t->budget = instructions;
}

void ah_tasks_set_interrupt(struct ah_tasks *t, const atomic_int *flag)
{
    t->interrupted = flag;
}
