/* Noted functions: the one way from a script to the outside that a resumed run can do without. Called by Lua.
 *
 * A noted call is a C function over the real one (upvalue 1) and its name (upvalue 2). Live, it calls the real one and notes what
 * it gives; in the past of a resumed run it waits for its turn and gives what was noted. A function that is called
 * from inside a noted one (a script's callback) is part of that one's result: it is not noted again. */
#include "luareplay.h"

#include "luajson.h"
#include "luanotes.h"
#include "replay.h"
#include "task.h"

#include <stdlib.h>
#include <string.h>

#define ARGS_BYTES ((size_t)64 << 20)
#define CALL_MT "ah.call"

enum { FUNCTION = 1, NAME = 2 }; /* upvalues */
enum { AT_CALL = 1 };            /* stack: the call, then the arguments */

/* --- context ------------------------------------------------------------------------------------------- */

struct ah_replay *ah_luareplay_of(lua_State *L)
{
    struct ah_replay *r = ah_lua_of(L)->replay;
    return r && ah_task_run(L) && ah_task_call(L) == 0 ? r : NULL;
}

int64_t ah_luareplay_number(lua_State *L)
{
    return ah_task_call(L);
}

void ah_luareplay_stream_begin(lua_State *L, struct ah_luareplay_stream *s)
{
    struct ah_lua *lua = ah_lua_of(L);
    int64_t call = ah_luareplay_number(L);
    *s = (struct ah_luareplay_stream){0};
    if (!call || !lua->replay)
        return;
    *s = (struct ah_luareplay_stream){.lua = lua, .run = ah_replay_run(lua->replay), .call = call};
    ah_replay_stream_begin(lua->replay, call);
}

void ah_luareplay_stream_end(struct ah_luareplay_stream *s)
{
    if (s->lua && s->lua->replay && ah_replay_run(s->lua->replay) == s->run)
        ah_replay_stream_end(s->lua->replay, s->call);
    s->lua = NULL;
}

struct ah_ids *ah_luareplay_ids(lua_State *L)
{
    struct ah_replay *r = ah_lua_of(L)->replay;
    return r && ah_task_run(L) ? ah_replay_ids(r) : ah_loop_ids(ah_lua_of(L)->core->loop);
}

static _Noreturn void raise_diverged(lua_State *L, struct ah_replay *r)
{
    struct ah_error err = {0};
    const struct ah_error *why;
    ah_replay_stopped(r, &why);
    ah_err_copy(&err, why);
    ah_luax_push_error(L, &err);
    lua_error(L);
    abort(); /* not reached */
}

/* Closed first: lua_settop of Lua 5.4.4 loses the stack when a closer makes it move. */
static void pop_guard(lua_State *L)
{
    lua_closeslot(L, -1);
    lua_pop(L, 1);
}

/* --- calls: as objects on the stack ---------------------------------------------------------------------- */

struct call_box {
    struct ah_call *call;
    struct ah_task *task; /* whose call it is while the real function runs; borrowed */
    struct ah_buf text;
    uint64_t waits; /* of the task, when the real function was called */
    bool waited;
};

static void leave(struct call_box *box)
{
    if (box->task)
        ah_task_set_call(box->task, 0);
    box->task = NULL;
}

static int m_call_release(lua_State *L)
{
    struct call_box *box = luaL_checkudata(L, 1, CALL_MT);
    leave(box);
    ah_call_drop(box->call);
    box->call = NULL;
    ah_buf_drop(&box->text);
    return 0;
}

static struct call_box *push_box(lua_State *L)
{
    ah_luax_class(L, CALL_MT, NULL, m_call_release);
    struct call_box *box = ah_luax_new(L, sizeof *box, 0, CALL_MT);
    ah_buf_init(&box->text, ARGS_BYTES);
    return box;
}

/* One argument: as JSON where it is data, so that the journal keeps a conversation's messages once; else as notes are. */
static void put_argument(lua_State *L, int idx, struct ah_buf *to)
{
    size_t before = to->n;
    if (ah_luajson_encode(L, idx, to, NULL, NULL) == 0)
        return;
    to->n = before;
    if (ah_luanotes_put(L, idx, idx, to) != 0)
        ah_buf_adds(to, "null");
}

/* {"messages":…,"2":…}: the first argument that is a list goes by the name that the journal knows. */
static void put_arguments(lua_State *L, int first, int last, struct ah_buf *to)
{
    const char *comma = "";
    bool listed = false;
    ah_buf_addc(to, '{');
    for (int i = first; i <= last; i++) {
        if (lua_isnil(L, i))
            continue;
        bool list = !listed && lua_istable(L, i) && lua_rawlen(L, i) > 0;
        listed |= list;
        if (list)
            ah_buf_addf(to, "%s\"messages\":", comma);
        else
            ah_buf_addf(to, "%s\"%d\":", comma, i - first + 1);
        put_argument(L, i, to);
        comma = ",";
    }
    ah_buf_addc(to, '}');
}

static struct ah_call *begin(lua_State *L, struct ah_replay *r, const char *name, struct call_box *box,
                             int first, int last)
{
    struct ah_error err = {0};
    put_arguments(L, first, last, &box->text);
    if (box->text.failed) {
        ah_buf_clear(&box->text);
        ah_buf_adds(&box->text, "{}");
    }
    box->call = ah_replay_call(r, name, box->text.p, box->text.n, &err);
    ah_buf_drop(&box->text);
    ah_buf_init(&box->text, ARGS_BYTES);
    if (!box->call) {
        ah_luax_push_error(L, &err);
        lua_error(L);
    }
    return box->call;
}

struct ah_call *ah_luareplay_begin(lua_State *L, struct ah_replay *r, const char *name, int first, int last)
{
    struct call_box *box = push_box(L);
    lua_toclose(L, -1);
    return begin(L, r, name, box, first, last);
}

void ah_luareplay_waits(lua_State *L, int guard)
{
    struct call_box *box = luaL_checkudata(L, guard, CALL_MT);
    box->task = ah_task_current(L);
    ah_task_set_call(box->task, ah_call_number(box->call));
}

/* [true,values] or [false,error] */
static void note_results(lua_State *L, struct ah_call *c, struct ah_buf *text, int first, int last, bool ok,
                         bool at_once)
{
    ah_buf_clear(text);
    ah_buf_adds(text, ok ? "[true," : "[false,");
    if (ah_luanotes_put(L, first, last, text) != 0 || ah_buf_addc(text, ']') != 0) {
        ah_replay_close(ah_lua_of(L)->replay, "a result is too deep or too long to be noted");
        ah_buf_clear(text);
        ah_buf_adds(text, "[true,[]]");
    }
    ah_call_end(c, text->p, text->n, at_once);
}

void ah_luareplay_end(lua_State *L, struct ah_call *c, int first, int last, bool at_once)
{
    struct ah_buf *text = ah_luax_guard_buf(L, ARGS_BYTES);
    note_results(L, c, text, first, last, true, at_once);
    pop_guard(L);
}

int ah_luareplay_results(lua_State *L, struct ah_call *c)
{
    struct ah_json result = ah_call_result(c);
    bool ok = ah_json_bool(ah_json_at(result, 0), false);
    int n = ah_luanotes_push(L, ah_json_at(result, 1));
    return ok ? n : lua_error(L);
}

/* --- noted calls --------------------------------------------------------------------------------------------- */

static int k_direct(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return lua_gettop(L);
}

/* Errors of a C function that C calls lack the line and the name: they are those of the script's call. */
static void mend_message(lua_State *L)
{
    static const char unnamed[] = "to '?' (";
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    if (!text)
        return;
    const char *name = lua_tostring(L, lua_upvalueindex(NAME)), *last = name;
    for (const char *p = name; *p; p++)
        if (*p == '.' || *p == ':')
            last = p + 1;
    const char *at = strstr(text, unnamed);
    luaL_where(L, 1);
    if (at) {
        lua_pushlstring(L, text, (size_t)(at - text));
        lua_pushfstring(L, "to '%s' (%s", last, at + sizeof unnamed - 1);
        lua_concat(L, 2);
    } else {
        lua_pushvalue(L, -2);
    }
    lua_concat(L, 2);
    lua_remove(L, -2);
}

/* nil, err or a raised err. */
static void say_failure(lua_State *L, struct ah_call *c, int first, bool ok)
{
    struct ah_error err = {0};
    int at = ok ? first + 1 : first;
    if (at > lua_gettop(L) || !lua_istable(L, at) || (ok && !lua_isnil(L, first)))
        return;
    ah_luax_to_error(L, at, &err);
    ah_call_failed(c, err.kind);
    ah_err_drop(&err);
}

/* The real function has come back: results from `ctx` on, or an error on top. Lua comes here for an error that was raised
 * at once, too: whether others ran in between is for the task to say. */
static int k_live(lua_State *L, int status, lua_KContext ctx)
{
    struct call_box *box = luaL_checkudata(L, AT_CALL, CALL_MT);
    bool ok = status == LUA_OK || status == LUA_YIELD;
    box->waited |= ah_task_waits(box->task) != box->waits;
    leave(box);
    if (!ok && !box->waited)
        mend_message(L);
    int first = ok ? (int)ctx : lua_gettop(L);
    say_failure(L, box->call, first, ok);
    note_results(L, box->call, &box->text, first, lua_gettop(L), ok, !box->waited);
    if (!ok)
        return lua_error(L);
    return lua_gettop(L) - first + 1;
}

/* Calls the real function with the arguments at AT_CALL + 1 to `last`, above whatever is on the stack. */
static int start_live(lua_State *L, struct call_box *box, int last)
{
    int base = lua_gettop(L) + 1;
    luaL_checkstack(L, last + 8, "too many arguments");
    lua_pushvalue(L, lua_upvalueindex(FUNCTION));
    for (int i = AT_CALL + 1; i <= last; i++)
        lua_pushvalue(L, i);
    box->task = ah_task_current(L);
    box->waits = ah_task_waits(box->task);
    ah_task_set_call(box->task, ah_call_number(box->call));
    int status = lua_pcallk(L, last - AT_CALL, LUA_MULTRET, 0, base, k_live);
    return k_live(L, status, base);
}

static int fail_interrupted(lua_State *L)
{
    struct ah_error err = {0};
    ah_err_set(&err, AH_CANCELLED, "the run was interrupted");
    return ah_luax_fail(L, &err);
}

/* In the past of a resumed run: waits for its turn. */
static int k_past(lua_State *L, int status, lua_KContext idx)
{
    struct call_box *box = luaL_checkudata(L, AT_CALL, CALL_MT);
    (void)status;
    if (!ah_task_op(L, (int)idx)->done)
        return ah_task_await(L, (int)idx, k_past);
    if (ah_call_result(box->call).type != AH_JSON_NONE)
        return ah_luareplay_results(L, box->call);
    if (ah_lua_of(L)->interrupting)
        return fail_interrupted(L);
    box->waited = true; /* whatever comes now, others ran in between */
    return start_live(L, box, (int)idx - 1);
}

static int l_noted(lua_State *L)
{
    struct ah_replay *r = ah_luareplay_of(L);
    int nargs = lua_gettop(L);
    if (!r) {
        lua_pushvalue(L, lua_upvalueindex(FUNCTION));
        lua_insert(L, 1);
        lua_callk(L, nargs, LUA_MULTRET, 0, k_direct);
        return lua_gettop(L);
    }
    if (ah_lua_of(L)->interrupting)
        return fail_interrupted(L);
    luaL_checkstack(L, 8, "too many arguments");
    struct call_box *box = push_box(L);
    lua_insert(L, AT_CALL);
    lua_toclose(L, AT_CALL);
    struct ah_call *c = begin(L, r, lua_tostring(L, lua_upvalueindex(NAME)), box, AT_CALL + 1, nargs + 1);
    if (ah_call_is_waiting(c)) {
        struct ah_op *latch = ah_call_latch(c);
        return k_past(L, LUA_OK, ah_task_push_op(L, latch ? ah_op_ref(latch) : NULL));
    }
    if (ah_call_result(c).type != AH_JSON_NONE)
        return ah_luareplay_results(L, c);
    return start_live(L, box, nargs + 1);
}

void ah_luareplay_call(lua_State *L, const char *name)
{
    lua_pushstring(L, name);
    lua_pushcclosure(L, l_noted, 2);
}

static void replace_field(lua_State *L, const char *title, const char *name)
{
    if (lua_getfield(L, -1, name) != LUA_TFUNCTION)
        luaL_error(L, "internal error: no function %s%s is there to be noted", title, name);
    lua_pushfstring(L, "%s%s", title, name);
    lua_pushcclosure(L, l_noted, 2);
    lua_setfield(L, -2, name);
}

void ah_luareplay_calls(lua_State *L, const char *title, const char *const *names)
{
    if (names) {
        for (; *names; names++)
            replace_field(L, title, *names);
        return;
    }
    lua_pushnil(L);
    while (lua_next(L, -2)) { /* existing fields may be set while walking */
        if (lua_type(L, -1) != LUA_TFUNCTION) {
            lua_pop(L, 1);
            continue;
        }
        lua_pushfstring(L, "%s%s", title, lua_tostring(L, -2));
        lua_pushcclosure(L, l_noted, 2);
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_settable(L, -4);
    }
}

/* --- noted values ------------------------------------------------------------------------------------------ */

/* Of the host's own: in this frame, so that messages name the script's line. Others have upvalues. */
static int read_now(lua_State *L)
{
    if (lua_islightuserdata(L, lua_upvalueindex(FUNCTION))) {
        union {
            void *p;
            lua_CFunction f;
        } own = {lua_touserdata(L, lua_upvalueindex(FUNCTION))};
        return own.f(L);
    }
    lua_pushvalue(L, lua_upvalueindex(FUNCTION));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

static int l_value(lua_State *L)
{
    struct ah_replay *r = ah_luareplay_of(L);
    const char *name = lua_tostring(L, lua_upvalueindex(NAME));
    struct ah_json noted;
    if (!r)
        return read_now(L);
    int rc = ah_replay_value(r, name, &noted);
    if (rc < 0)
        raise_diverged(L, r);
    if (rc > 0)
        return ah_luanotes_push(L, noted);
    int n = read_now(L);
    int last = lua_gettop(L);
    struct ah_buf *text = ah_luax_guard_buf(L, ARGS_BYTES);
    if (ah_luanotes_put(L, last - n + 1, last, text) != 0)
        ah_replay_close(r, "a value is too deep or too long to be noted");
    else
        ah_replay_note(r, name, text->p, text->n);
    pop_guard(L);
    return n;
}

void ah_luareplay_value(lua_State *L, lua_CFunction f, const char *name)
{
    union {
        lua_CFunction f;
        void *p;
    } own = {f};
    lua_pushlightuserdata(L, own.p);
    lua_pushstring(L, name);
    lua_pushcclosure(L, l_value, 2);
}

void ah_luareplay_reader(lua_State *L, const char *name)
{
    lua_pushstring(L, name);
    lua_pushcclosure(L, l_value, 2);
}

void ah_luareplay_values(lua_State *L, const char *title, const char *const *names)
{
    for (; *names; names++) {
        lua_getfield(L, -1, *names);
        lua_CFunction f = lua_tocfunction(L, -1);
        lua_pop(L, 1);
        if (!f)
            luaL_error(L, "internal error: no function %s%s is there to be noted", title, *names);
        lua_pushfstring(L, "%s%s", title, *names);
        ah_luareplay_value(L, f, lua_tostring(L, -1));
        lua_remove(L, -2);
        lua_setfield(L, -2, *names);
    }
}
