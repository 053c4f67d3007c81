/* host.run: approval and park, the two places where a run waits for a person. Called by scripts (agent.policy,
 * agent.tools). No policy: who is asked, and about what, is Lua.
 *
 * Both are noted calls whose result is only there when a person has decided: a run that stops at one of them comes to
 * it again when it is resumed. Stack of both: 1 and 2 the arguments, 3 the call's guard, 4 the call (light), 5 an op. */
#include "lua_run.h"

#include "buf.h"
#include "hash.h"
#include "limits.h"
#include "log.h"
#include "luajson.h"
#include "luareplay.h"
#include "replay.h"
#include "script_run.h"
#include "secret.h"
#include "store.h"
#include "task.h"
#include "tty.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AT_GUARD = 3, AT_CALL };

static struct ah_call *call_at(lua_State *L)
{
    return lua_touserdata(L, AT_CALL);
}

static int fail_interrupted(lua_State *L)
{
    struct ah_error err = {0};
    ah_err_set(&err, AH_CANCELLED, "the run was interrupted");
    return ah_luax_fail(L, &err);
}

/* Notes the value on top as the call's result, and returns it. */
static int finish(lua_State *L, bool waited)
{
    int top = lua_gettop(L);
    ah_luareplay_end(L, call_at(L), top, top, !waited);
    return 1;
}

/* Only a cancel ends it: the run stops, and comes here again when it is resumed. */
static int k_parked(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    if (!ah_task_op(L, (int)idx)->done)
        return ah_task_await(L, (int)idx, k_parked);
    return fail_interrupted(L);
}

static int park(lua_State *L, struct ah_error *why)
{
    ah_call_park(call_at(L), why);
    ah_luareplay_waits(L, AT_GUARD);
    return k_parked(L, LUA_OK, ah_task_push_op(L, ah_op_latch(ah_lua_of(L)->core->loop)));
}

/* Begins the call with the argument at 1; `decide` goes on, now or when it is its turn. */
static int begin(lua_State *L, const char *name, struct ah_replay *r, lua_KFunction k_turn)
{
    lua_settop(L, 2);
    struct ah_call *c = ah_luareplay_begin(L, r, name, 1, 1);
    lua_pushlightuserdata(L, c);
    if (!ah_call_is_waiting(c))
        return k_turn(L, LUA_OK, 0);
    struct ah_op *latch = ah_call_latch(c);
    return k_turn(L, LUA_OK, ah_task_push_op(L, latch ? ah_op_ref(latch) : NULL));
}

/* --- park ------------------------------------------------------------------------------------------------- */

/* What a person says of it: "done", "retry", "fail"; "retry" for all that only waits for something to change. What a
 * person said is about calls of the runs before, never about one that has just left. */
static const char *word_for(const struct ah_replay *r, const struct ah_error *why, bool resumed)
{
    if (why->kind != AH_OUTCOME_UNKNOWN)
        return resumed ? "retry" : NULL;
    return resumed || strcmp(why->code, AH_EFFECT_BEFORE) == 0 ? ah_replay_assumed(r) : NULL;
}

static int k_park(lua_State *L, int status, lua_KContext idx)
{
    struct ah_replay *r = ah_lua_of(L)->replay;
    struct ah_error why = {0};
    (void)status;
    if (idx && !ah_task_op(L, (int)idx)->done)
        return ah_task_await(L, (int)idx, k_park);
    if (ah_call_result(call_at(L)).type != AH_JSON_NONE)
        return ah_luareplay_results(L, call_at(L));
    if (ah_lua_of(L)->interrupting)
        return fail_interrupted(L);
    ah_luax_to_error(L, 1, &why);
    const char *word = word_for(r, &why, idx != 0);
    if (!word)
        return park(L, &why);
    ah_err_drop(&why);
    lua_pushstring(L, word);
    return finish(L, idx != 0);
}

/* park(err): this branch cannot go on. When no other can, the run stops with err; a resumed run goes on behind it
 * with what a person said. */
static int l_park(lua_State *L)
{
    struct ah_replay *r = ah_luareplay_of(L);
    ah_task_check(L, "run.park");
    luaL_checktype(L, 1, LUA_TTABLE);
    if (!r || ah_lua_of(L)->interrupting) {
        lua_pushnil(L);
        lua_pushvalue(L, 1);
        return 2;
    }
    return begin(L, "run.park", r, k_park);
}

/* --- approval ------------------------------------------------------------------------------------------------ */

struct finding {
    const char *sha256;
    lua_State *L;
    bool found;
};

static int take_decision(void *arg, const struct ah_store_approval *a)
{
    struct finding *f = arg;
    if (f->found || !ah_store_approval_holds(a, f->sha256))
        return 0;
    lua_createtable(f->L, 0, 2);
    lua_pushstring(f->L, a->state == AH_APPROVAL_YES ? "yes" : "no");
    lua_setfield(f->L, -2, "answer");
    if (a->reason[0]) {
        lua_pushstring(f->L, a->reason);
        lua_setfield(f->L, -2, "reason");
    }
    f->found = true;
    return 1;
}

/* Pushes what was decided in the journal about exactly this. */
static bool push_decision(lua_State *L, const char *sha256)
{
    struct finding f = {sha256, L, false};
    ah_replay_each_approval(ah_lua_of(L)->replay, ah_call_number(call_at(L)), take_decision, &f);
    return f.found;
}

/* The question as JSON, masked for the journal; and the hash of exactly what is asked. */
static struct ah_buf *write_question(lua_State *L, char sha256[AH_HASH_HEX_BYTES])
{
    struct ah_error err = {0};
    const struct ah_secrets *secrets = ah_lua_of(L)->core->secrets;
    struct ah_buf *plain = ah_luax_guard_buf(L, AH_SERVER_BODY_BYTES);
    struct ah_buf *shown = ah_luax_guard_buf(L, AH_SERVER_BODY_BYTES);
    if (ah_luajson_encode(L, 1, plain, NULL, &err) != 0 ||
        ah_luajson_encode(L, 1, shown, secrets, &err) != 0) {
        ah_luax_push_error(L, &err);
        lua_error(L);
    }
    if (ah_hash_sha256_hex(ah_buf_str(plain), plain->n, sha256) != 0)
        luaL_error(L, "out of memory");
    return shown;
}

static const char *mode_of(lua_State *L)
{
    return lua_istable(L, 2) ? ah_luax_str(L, 2, "mode", "deny") : "deny";
}

static bool has_terminal(lua_State *L)
{
    const struct ah_script_run *s = ah_lua_of(L)->script;
    for (const struct ah_host_pair *o = s ? s->options : NULL; o && o->name; o++)
        if (strcmp(o->name, "interactive") == 0)
            return o->value != NULL;
    return false;
}

static void push_answer(lua_State *L, const char *key, const char *text)
{
    lua_createtable(L, 0, 1);
    lua_pushstring(L, text);
    lua_setfield(L, -2, key);
}

/* A model or another person wrote it: it must not move the cursor over the question, nor show a secret. */
static const char *shown_text(lua_State *L, const char *text)
{
    struct ah_buf *shown = ah_luax_guard_buf(L, AH_SERVER_BODY_BYTES);
    if (ah_secret_mask(ah_lua_of(L)->core->secrets, text, strlen(text), shown) != 0)
        luaL_error(L, "the question is too long");
    if (shown->n)
        ah_log_plain(shown->p, shown->n);
    return ah_buf_str(shown);
}

/* The decision on top was made while the question was open here: this terminal is told. */
static void say_elsewhere(lua_State *L)
{
    int decision = lua_gettop(L);
    const char *answer = ah_luax_str(L, decision, "answer", "no");
    const char *reason = ah_luax_str(L, decision, "reason", "");
    const char *colon = *reason ? ": " : "";
    fprintf(stderr, "\n%s elsewhere%s%s\n", strcmp(answer, "yes") == 0 ? "approved" : "denied", colon,
            shown_text(L, reason));
    lua_pushvalue(L, decision);
}

/* The question waits in the journal: others can answer it from here on. */
static int put_question(lua_State *L, struct ah_tty_place *place, struct ah_error *err)
{
    struct ah_core *core = ah_lua_of(L)->core;
    const struct ah_buf *question = write_question(L, place->sha256);
    struct ah_store_approval row = {.seq = ah_call_number(call_at(L)),
                                    .asked = ah_clock_wall_us(ah_loop_clock(core->loop)),
                                    .sha256 = place->sha256,
                                    .question = ah_buf_str(question)};
    if (ah_replay_ask(ah_lua_of(L)->replay, &row, err) != 0)
        return -1;
    place->run = row.run;
    place->seq = row.seq;
    place->store = ah_store_durable(core->store) ? core->store : NULL;
    return 0;
}

/* It is not asked any more. False: somebody else has decided before. */
static bool withdraw(lua_State *L)
{
    struct ah_lua *lua = ah_lua_of(L);
    bool changed;
    return !lua->replay ||
           ah_store_decide(lua->core->store, ah_replay_run(lua->replay), ah_call_number(call_at(L)),
                           AH_APPROVAL_CLOSED, NULL, &changed, NULL) != 0 ||
           changed;
}

/* The line was typed, or somebody elsewhere was first. */
static int k_line(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct ah_op *op = ah_task_op(L, (int)idx);
    char sha256[AH_HASH_HEX_BYTES];
    if (!op->done)
        return ah_task_await(L, (int)idx, k_line);
    if (op->err.kind != AH_NONE) {
        if (!ah_lua_of(L)->interrupting) /* an interrupted run comes to it again, and may find it answered */
            withdraw(L);
        return fail_interrupted(L);
    }
    const char *line = ah_tty_line(op);
    bool mine = line && withdraw(L);
    write_question(L, sha256);
    if (!mine && push_decision(L, sha256))
        say_elsewhere(L);
    else
        push_answer(L, "line", line ? line : "");
    return finish(L, true);
}

/* The run waits for the answer to a question that is in the journal. */
static int wait_for_answer(lua_State *L)
{
    struct ah_error err = {0};
    char tool[100] = "a call";
    int64_t number = ah_call_number(call_at(L));
    if (lua_getfield(L, 1, "tool") == LUA_TSTRING)
        snprintf(tool, sizeof tool, "%s", lua_tostring(L, -1));
    const char *id = ah_run_id(ah_task_run(L));
    ah_err_set(&err, AH_NEEDS_APPROVAL,
               "%s waits for approval: agenthost approve %s %lld (or --deny REASON), then resume the run",
               tool, id, (long long)number);
    return park(L, &err);
}

/* `here`: the person at the terminal. */
static int ask(lua_State *L, bool here, bool waited)
{
    struct ah_tty_place place = {0};
    struct ah_error err = {0};
    struct ah_op *op = NULL;
    bool asked = put_question(L, &place, &err) == 0;
    if (asked && push_decision(L, place.sha256)) {
        withdraw(L); /* the older question was answered just before this one took its place */
        return finish(L, waited);
    }
    if (here)
        op = ah_tty_ask(ah_lua_of(L)->core->loop, shown_text(L, ah_luax_str(L, 2, "text", "Allow it? ")),
                        &place);
    if (!op)
        return asked ? wait_for_answer(L) : ah_luax_fail(L, &err);
    ah_err_drop(&err); /* a person who is here can be asked without a journal */
    ah_luareplay_waits(L, AT_GUARD);
    return k_line(L, LUA_OK, ah_task_push_op(L, op));
}

static int k_approval(lua_State *L, int status, lua_KContext idx)
{
    char sha256[AH_HASH_HEX_BYTES];
    (void)status;
    if (idx && !ah_task_op(L, (int)idx)->done)
        return ah_task_await(L, (int)idx, k_approval);
    if (ah_call_result(call_at(L)).type != AH_JSON_NONE)
        return ah_luareplay_results(L, call_at(L));
    if (ah_lua_of(L)->interrupting)
        return fail_interrupted(L);
    const char *mode = mode_of(L);
    write_question(L, sha256);
    if (push_decision(L, sha256))
        return finish(L, idx != 0);
    if (strcmp(mode, "auto") == 0) {
        push_answer(L, "answer", "yes");
        return finish(L, idx != 0);
    }
    return ask(L, strcmp(mode, "deny") != 0 && has_terminal(L), idx != 0);
}

/* approval(question, { mode, text }): { answer = "yes" | "no", reason }, or { line } from the terminal. */
static int l_approval(lua_State *L)
{
    struct ah_replay *r = ah_luareplay_of(L);
    ah_task_check(L, "run.approval");
    luaL_checktype(L, 1, LUA_TTABLE);
    if (r && !ah_lua_of(L)->interrupting)
        return begin(L, "run.approval", r, k_approval);
    if (!r && strcmp(mode_of(L), "auto") == 0) {
        push_answer(L, "answer", "yes");
        return 1;
    }
    return fail_interrupted(L);
}

/* --- the run itself -------------------------------------------------------------------------------------------- */

static int l_resumed(lua_State *L)
{
    struct ah_replay *r = ah_lua_of(L)->replay;
    lua_pushboolean(L, r && ah_replay_is_past(r));
    return 1;
}

/* What follows is only the run's last words (an answer without tools, because a limit is reached): a resumed run
 * does not hold on to them. */
static int l_ending(lua_State *L)
{
    struct ah_replay *r = ah_luareplay_of(L);
    if (r)
        ah_replay_stop_notes(r);
    return 0;
}

static int l_clock(lua_State *L)
{
    struct ah_replay *r = ah_lua_of(L)->replay;
    lua_pushnumber(L, r ? ah_replay_worked(r, "run.clock") : (double)ah_clock_mono_us() / 1e6);
    return 1;
}

static const luaL_Reg functions[] = {
    {"clock", l_clock},          {"approval", l_approval}, {"ending", l_ending},
    {"is_replaying", l_resumed}, {"park", l_park},         {NULL, NULL},
};

int luaopen_host_run(lua_State *L)
{
    static const char *const noted[] = {"clock", NULL};
    luaL_newlib(L, functions);
    ah_luareplay_values(L, "run.", noted);
    return 1;
}
