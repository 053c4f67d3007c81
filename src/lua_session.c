/* host.session: conversations in the journal that several runs go on with. Called by scripts (agent.session). No policy:
 * what is kept, and when, is Lua. All but `close` is noted: a resumed run adds nothing twice.
 *
 * What the store says is collected as JSON, and pushed when it has said all: no Lua runs inside of its callbacks. */
#include "lua_session.h"

#include "config.h"
#include "limits.h"
#include "lua_host.h"
#include "luajson.h"
#include "luareplay.h"
#include "script_run.h"
#include "store.h"
#include "task.h"

#include <stdlib.h>
#include <string.h>

#define MESSAGES_MAX 65536 /* of one append */

static struct ah_store *store_of(lua_State *L)
{
    return ah_lua_of(L)->core->store;
}

/* Whose: the field, else whom the run acts for, else nobody. */
static const char *identifier_of(lua_State *L, int idx)
{
    const char *now = ah_lua_host_identifier(L);
    return ah_luax_str(L, idx, "identifier", now ? now : "");
}

/* A name at the top of the stack, as C has it: what is behind a NUL would be lost. */
static const char *whole_name(lua_State *L, const char *name)
{
    if (strlen(name) != lua_rawlen(L, -1))
        luaL_error(L, "the name of a session holds no NUL");
    return name;
}

static const char *need_name(lua_State *L, int idx, const char *field)
{
    return whole_name(L, ah_luax_need_str(L, idx, field));
}

static struct ah_json read_whole(lua_State *L, const struct ah_buf *text)
{
    struct ah_error err = {0};
    struct ah_json v = {0};
    if (text->failed || ah_json_check(ah_buf_str(text), text->n, 0, &v, &err) != 0)
        luaL_error(L, "the session is too long to be read");
    return v;
}

/* --- what is there -------------------------------------------------------------------------------------- */

struct finding {
    struct ah_buf *text;
    struct ah_json_writer w;
    int64_t key, tip;
    const char *script; /* of `last` */
    bool emulated, found;
};

static int take_session(void *arg, const struct ah_store_session *s)
{
    struct finding *f = arg;
    ah_store_session_put(s, &f->w);
    f->key = s->key;
    f->tip = s->tip;
    return 0;
}

static int take_last(void *arg, const struct ah_store_session *s)
{
    struct finding *f = arg;
    if (strcmp(s->script, f->script) != 0 || s->emulated != f->emulated)
        return 0;
    ah_json_begin(&f->w, f->text, NULL);
    ah_json_put_str(&f->w, s->name);
    f->found = true;
    return 1;
}

/* A row is a message; or an array that stands for all before it. */
static int take_message(void *arg, const struct ah_store_message *m)
{
    struct finding *f = arg;
    if (m->body[0] == '[') {
        ah_buf_clear(f->text);
        ah_buf_add(f->text, m->body, m->n - 1);
    } else {
        ah_buf_addc(f->text, f->text->n ? ',' : '[');
        ah_buf_add(f->text, m->body, m->n);
    }
    return 0;
}

static int take_row(void *arg, const struct ah_store_message *m)
{
    struct finding *f = arg;
    ah_store_message_put(m, &f->w);
    return 0;
}

/* list{ identifier }: the sessions, newest use first; or nil, err. */
static int l_list(lua_State *L)
{
    static const char *const fields[] = {"identifier", NULL};
    struct ah_error err = {0};
    struct finding f = {0};
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    ah_luax_fields(L, 1, "session.list", fields);
    const char *identifier = identifier_of(L, 1);
    f.text = ah_luax_guard_buf(L, AH_SERVER_BODY_BYTES);
    ah_json_begin(&f.w, f.text, NULL);
    ah_json_array(&f.w);
    if (ah_store_sessions(store_of(L), identifier, NULL, take_session, &f, &err) != 0)
        return ah_luax_fail(L, &err);
    ah_json_end_array(&f.w);
    ah_luajson_push(L, read_whole(L, f.text));
    return 1;
}

/* The script that runs, by one name wherever it was started from. */
static const char *push_script(lua_State *L)
{
    const struct ah_script_run *script = ah_lua_of(L)->script;
    char **slot = (char **)ah_luax_guard(L, free);
    const char *path = script ? script->path : "";
    *slot = realpath(path, NULL);
    return lua_pushstring(L, *slot ? *slot : path);
}

/* last{ identifier }: the name of the session that this script, for this user, used last; or nil, err. */
static int l_last(lua_State *L)
{
    static const char *const fields[] = {"identifier", NULL};
    struct ah_error err = {0};
    luaL_checktype(L, 1, LUA_TTABLE);
    ah_luax_fields(L, 1, "session.last", fields);
    struct finding f = {.script = push_script(L), .emulated = ah_config_emulated(ah_lua_of(L)->core->config)};
    const char *identifier = identifier_of(L, 1);
    f.text = ah_luax_guard_buf(L, AH_SERVER_BODY_BYTES);
    if (ah_store_sessions(store_of(L), identifier, NULL, take_last, &f, &err) != 0)
        return ah_luax_fail(L, &err);
    if (!f.found) {
        ah_err_set(&err, AH_NOT_FOUND,
                   "there is no session of this script%s%s to go on with: begin one with --session NAME",
                   *identifier ? " and " : "", identifier);
        return ah_luax_fail(L, &err);
    }
    ah_luajson_push(L, read_whole(L, f.text));
    return 1;
}

/* read(name, { identifier }): its rows { step, at, message } in order; or nil, err. */
static int l_read(lua_State *L)
{
    static const char *const fields[] = {"identifier", NULL};
    struct ah_error err = {0};
    struct finding f = {0};
    const char *name = luaL_checkstring(L, 1);
    lua_settop(L, 2);
    lua_pushvalue(L, 1);
    whole_name(L, name);
    lua_pop(L, 1);
    if (lua_isnil(L, 2)) {
        lua_newtable(L);
        lua_replace(L, 2);
    }
    ah_luax_fields(L, 2, "session.read", fields);
    const char *identifier = identifier_of(L, 2);
    f.text = ah_luax_guard_buf(L, AH_SERVER_BODY_BYTES);
    ah_json_begin(&f.w, f.text, NULL);
    if (ah_store_session_find(store_of(L), identifier, name, take_session, &f, &err) != 0)
        return ah_luax_fail(L, &err);
    ah_buf_clear(f.text);
    ah_json_begin(&f.w, f.text, NULL);
    ah_json_array(&f.w);
    if (ah_store_session_read(store_of(L), f.tip, take_row, &f, &err) != 0)
        return ah_luax_fail(L, &err);
    ah_json_end_array(&f.w);
    ah_luajson_push(L, read_whole(L, f.text));
    return 1;
}

/* --- going on ------------------------------------------------------------------------------------------------ */

/* The session as it was opened: its fields, key, tip and messages. */
static int push_opened(lua_State *L, const char *identifier, const char *name)
{
    struct ah_error err = {0};
    struct finding f = {.text = ah_luax_guard_buf(L, AH_SERVER_BODY_BYTES)};
    ah_json_begin(&f.w, f.text, NULL);
    if (ah_store_session_find(store_of(L), identifier, name, take_session, &f, &err) != 0)
        return ah_luax_fail(L, &err);
    ah_luajson_push(L, read_whole(L, f.text));
    lua_pushinteger(L, f.key);
    lua_setfield(L, -2, "key");
    lua_pushinteger(L, f.tip);
    lua_setfield(L, -2, "tip");
    ah_buf_clear(f.text);
    if (ah_store_session_read(store_of(L), f.tip, take_message, &f, &err) != 0)
        return ah_luax_fail(L, &err);
    ah_buf_adds(f.text, f.text->n ? "]" : "[]");
    ah_luajson_push(L, read_whole(L, f.text));
    lua_setfield(L, -2, "messages");
    return 1;
}

/* open{ name, identifier, must_exist }: takes it; begins it when it is not there. */
static int l_open(lua_State *L)
{
    static const char *const fields[] = {"identifier", "must_exist", "name", NULL};
    struct ah_error err = {0};
    int64_t key;
    luaL_checktype(L, 1, LUA_TTABLE);
    ah_luax_fields(L, 1, "session.open", fields);
    struct ah_store_session want = {.name = need_name(L, 1, "name"),
                                    .identifier = identifier_of(L, 1),
                                    .emulated = ah_config_emulated(ah_lua_of(L)->core->config)};
    want.script = push_script(L);
    if (ah_store_session_open(store_of(L), &want, ah_luax_bool(L, 1, "must_exist", false), &key, &err) != 0)
        return ah_luax_fail(L, &err);
    return push_opened(L, want.identifier, want.name);
}

/* One row of the store from the value at idx; its text is behind what `text` holds. */
static void write_row(lua_State *L, int idx, struct ah_buf *text, struct ah_store_message *row)
{
    struct ah_error err = {0};
    size_t before = text->n;
    luaL_checktype(L, idx, LUA_TTABLE);
    if (ah_luajson_encode(L, idx, text, ah_lua_of(L)->core->secrets, &err) != 0) {
        ah_luax_push_error(L, &err);
        lua_error(L);
    }
    row->n = text->n - before;
    ah_buf_addc(text, '\0');
    row->run = ah_task_run(L) ? ah_run_key(ah_task_run(L)) : 0;
    row->same_step = lua_getfield(L, idx, "role") == LUA_TSTRING && strcmp(lua_tostring(L, -1), "tool") == 0;
    lua_pop(L, 1);
}

/* append(key, tip, messages, { replaces }): the new tip; or nil, err. */
static int l_append(lua_State *L)
{
    static const char *const fields[] = {"replaces", NULL};
    struct ah_error err = {0};
    int64_t key = luaL_checkinteger(L, 1), tip = luaL_checkinteger(L, 2);
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_settop(L, 4);
    size_t count = lua_rawlen(L, 3);
    luaL_argcheck(L, count > 0 && count <= MESSAGES_MAX, 3, "a list of messages expected");
    bool replaces = false;
    if (!lua_isnil(L, 4)) {
        ah_luax_fields(L, 4, "session.append", fields);
        replaces = ah_luax_bool(L, 4, "replaces", false);
    }
    count = replaces ? 1 : count;
    struct ah_store_message *rows = lua_newuserdatauv(L, count * sizeof *rows, 0);
    memset(rows, 0, count * sizeof *rows);
    struct ah_buf *text = ah_luax_guard_buf(L, AH_SERVER_BODY_BYTES);
    for (size_t i = 0; i < count; i++) {
        if (replaces)
            lua_pushvalue(L, 3);
        else
            lua_rawgeti(L, 3, (lua_Integer)i + 1);
        write_row(L, lua_gettop(L), text, &rows[i]);
        lua_pop(L, 1);
    }
    if (text->failed)
        return luaL_error(L, "the messages are too long");
    const char *at = ah_buf_str(text);
    for (size_t i = 0; i < count; at += rows[i++].n + 1)
        rows[i].body = at;
    if (ah_store_session_append(store_of(L), key, tip, rows, count, &tip, &err) != 0)
        return ah_luax_fail(L, &err);
    lua_pushinteger(L, tip);
    return 1;
}

/* close(key): others may go on with it. */
static int l_close(lua_State *L)
{
    ah_store_session_close(store_of(L), luaL_checkinteger(L, 1));
    return 0;
}

/* --- forks ------------------------------------------------------------------------------------------------------ */

static int find_key(lua_State *L, const char *identifier, const char *name, int64_t *key,
                    struct ah_error *err)
{
    struct finding f = {.text = ah_luax_guard_buf(L, AH_SERVER_BODY_BYTES)};
    ah_json_begin(&f.w, f.text, NULL);
    int rc = ah_store_session_find(store_of(L), identifier, name, take_session, &f, err);
    *key = f.key;
    return rc;
}

/* fork{ name, to, at, identifier }: true; or nil, err. */
static int l_fork(lua_State *L)
{
    static const char *const fields[] = {"at", "identifier", "name", "to", NULL};
    struct ah_error err = {0};
    int64_t key;
    luaL_checktype(L, 1, LUA_TTABLE);
    ah_luax_fields(L, 1, "session.fork", fields);
    const char *name = need_name(L, 1, "name"), *to = need_name(L, 1, "to");
    int64_t at = ah_luax_int(L, 1, "at", 0);
    luaL_argcheck(L, at >= 0, 1, "at: a step, from 1");
    if (find_key(L, identifier_of(L, 1), name, &key, &err) != 0 ||
        ah_store_session_fork(store_of(L), key, at, to, &err) != 0)
        return ah_luax_fail(L, &err);
    lua_pushboolean(L, true);
    return 1;
}

/* remove{ name, identifier }: true; or nil, err. */
static int l_remove(lua_State *L)
{
    static const char *const fields[] = {"identifier", "name", NULL};
    struct ah_error err = {0};
    int64_t key;
    luaL_checktype(L, 1, LUA_TTABLE);
    ah_luax_fields(L, 1, "session.remove", fields);
    const char *name = need_name(L, 1, "name");
    if (find_key(L, identifier_of(L, 1), name, &key, &err) != 0 ||
        ah_store_session_remove(store_of(L), key, &err) != 0)
        return ah_luax_fail(L, &err);
    lua_pushboolean(L, true);
    return 1;
}

static const luaL_Reg functions[] = {
    {"append", l_append}, {"close", l_close}, {"fork", l_fork},     {"last", l_last}, {"list", l_list},
    {"open", l_open},     {"read", l_read},   {"remove", l_remove}, {NULL, NULL},
};

int luaopen_host_session(lua_State *L)
{
    static const char *const writes[] = {"append", "fork", "open", "remove", NULL};
    static const char *const reads[] = {"last", "list", "read", NULL};
    luaL_newlib(L, functions);
    ah_luareplay_calls(L, "session.", writes);
    ah_luareplay_values(L, "session.", reads);
    return 1;
}
