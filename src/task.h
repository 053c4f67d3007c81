/* Tasks: coroutines that wait for ops. The only file that calls lua_resume, lua_yieldk, luaL_ref.
 *
 * A binding that waits has this shape, and no other:
 *
 *     static int k_get(lua_State *L, int status, lua_KContext idx)
 *     {
 *         struct ah_op *op = ah_task_op(L, (int)idx);
 *         if (!op->done)
 *             return ah_task_await(L, (int)idx, k_get);     // does not return
 *         ...push results from op...; return n;
 *     }
 *     static int l_get(lua_State *L)
 *     {
 *         ah_task_check(L, "http.get");                     // first: raises where no wait works
 *         ...read arguments, start the op...
 *         return k_get(L, LUA_OK, ah_task_push_op(L, op));
 *     }
 *
 * The pushed op is to-be-closed: cancelling the task (closing its coroutine) cancels the op. */
#ifndef AH_TASK_H
#define AH_TASK_H

#include "luax.h"
#include "op.h"
#include "trace.h"

#include <stdatomic.h>

struct ah_task;

/* Raises "NAME must run inside a task; not while a module is loading, ..." where no wait is possible. */
void ah_task_check(lua_State *L, const char *name);
/* Takes over the caller's reference of op (also when it raises); pushes a to-be-closed userdata;
 * returns its index. op NULL: raises "out of memory". */
int ah_task_push_op(lua_State *L, struct ah_op *op);
struct ah_op *ah_task_op(lua_State *L, int idx); /* borrowed */
int ah_task_await(lua_State *L, int idx, lua_KFunction k);

/* The context of the task that runs now; NULL outside of tasks or where there is none. Borrowed. */
struct ah_run *ah_task_run(lua_State *L);
struct ah_span *ah_task_span(lua_State *L); /* parent for new spans */
/* Swaps the current span of the running task (takes a reference of `span`, gives back its own
 * reference of the old one to the caller). */
struct ah_span *ah_task_swap_span(lua_State *L, struct ah_span *span);

/* The number of the noted call that the task is in (luareplay.c); 0: none. */
int64_t ah_task_call(lua_State *L);
void ah_task_set_call(struct ah_task *t, int64_t number);
uint64_t ah_task_waits(const struct ah_task *t); /* how often it has waited, so that others ran */

struct ah_run *ah_task_swap_run(lua_State *L, struct ah_run *run); /* the same for the run */

/* --- for host.c and lua_task.c --------------------------------------------------------------- */

int ah_tasks_open(lua_State *L,
                  struct ah_lua *lua); /* sets lua->tasks, replaces coroutine.resume, wrap, close; 0/-1 */
/* Cancels all tasks (their coroutines are closed). Before lua_close. */
void ah_tasks_cancel_all(struct ah_tasks *t);
/* Cancels the tasks that work for a run; those of the host itself stay. */
void ah_tasks_cancel_runs(struct ah_tasks *t);
/* Ends what the tasks of runs wait for from outside, as cancelled: each is told so and may go on. */
void ah_tasks_interrupt(struct ah_tasks *t);
void ah_tasks_free(struct ah_tasks *t); /* after lua_close; asserts that nothing is left */
int ah_tasks_alive(const struct ah_tasks *t);
int ah_tasks_refs(const struct ah_tasks *t); /* registry references held: tests watch it */

/* A task from the function and `nargs` arguments on top of L's stack (popped). It runs from the loop's
 * ready phase. `run` and `span` become its context (counted; NULL = none). One reference for the
 * caller. Raises for memory. */
struct ah_task *ah_task_spawn(lua_State *L, int nargs, struct ah_run *run, struct ah_span *span);
struct ah_task *ah_task_current(lua_State *L);
struct ah_task *ah_task_ref(struct ah_task *t);
void ah_task_unref(struct ah_task *t);
void ah_task_cancel(struct ah_task *t);
bool ah_task_done(const struct ah_task *t);
/* The op that ends when the task does; op->err is set when it failed. Borrowed. Waiting for it from a
 * binding would cancel the task with the wait: use ah_task_join there. */
struct ah_op *ah_task_end_op(struct ah_task *t);
/* A new op that ends when the task does (successful or not); cancelling it only stops the waiting. One
 * reference for the caller; NULL: out of memory. Any number of them. */
struct ah_op *ah_task_join(struct ah_task *t);
/* Pushes the results of a finished task (or its error value, with *failed set) on L. Returns how many. */
int ah_task_results(lua_State *L, struct ah_task *t, bool *failed);
/* Budget between two waits; 0 = none. From AH_LUA_INSTRUCTIONS or --instructions. */
void ah_tasks_set_budget(struct ah_tasks *t, long instructions);
/* While *flag is not 0, running Lua code raises "interrupted". May be set by other threads and signal handlers. */
void ah_tasks_set_interrupt(struct ah_tasks *t, const atomic_int *flag);

#endif
