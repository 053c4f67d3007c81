/* host.scalekit, the part that is more than one call: connected accounts, authorization links, tools, running
 * them as a user, the proxy, webhooks. The rest is made from the table by lua_skrows.c. Called by scripts and
 * agent.*. Each function takes one table, waits, and answers a table or nil and an error. No
 * policy: who is asked for consent, what is offered to a model and what is tried again is decided in Lua. */
#include "lua_scalekit.h"

#include "clock.h"
#include "config.h"
#include "loop.h"
#include "lua_skrows.h"
#include "luahttp.h"
#include "luajson.h"
#include "luareplay.h"
#include "luasecret.h"
#include "luatext.h"
#include "scalekit.h"
#include "script_run.h"
#include "skhook.h"
#include "skproxy.h"
#include "skwire.h"
#include "task.h"

#include <stdlib.h>
#include <string.h>

#define RESULT_MT "host.scalekit.result"
#define TOOL_MT "host.scalekit.tool"
#define WAIT_MS 300000
#define NAMES_MAX 1000

/* --- arguments ------------------------------------------------------------------------------------ */

struct ah_scalekit *ah_lua_scalekit_service(lua_State *L)
{
    struct ah_scalekit *sk = ah_lua_of(L)->scalekit;
    if (!sk)
        luaL_error(L, "host.scalekit is not available here");
    return sk;
}

const char *ah_lua_scalekit_identifier(lua_State *L)
{
    struct ah_lua *lua = ah_lua_of(L);
    struct ah_run *run = ah_task_run(L);
    if (lua->script && lua->script->identifier)
        return lua->script->identifier;
    if (run && ah_run_identifier(run)[0])
        return ah_run_identifier(run);
    return ah_config_get(lua->core->config, "AGENTHOST_USER");
}

/* Reads who from the table at 1; its strings stay on the stack. */
static struct ah_scalekit_who read_who(lua_State *L, bool need_connection)
{
    struct ah_scalekit_who who = {
        .run = ah_task_run(L), .span = ah_task_span(L), .call = ah_luareplay_number(L)};
    if (need_connection)
        who.connection_name = ah_luax_need_str(L, 1, "connection_name");
    else
        who.connection_name = ah_luax_str(L, 1, "connection_name", NULL);
    who.identifier = ah_luax_str(L, 1, "identifier", NULL);
    if (!who.identifier)
        who.identifier = ah_lua_scalekit_identifier(L);
    return who;
}

/* What every function begins with. */
static void check_call(lua_State *L, const char *name, const char *const *fields)
{
    ah_task_check(L, name);
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    ah_luax_fields(L, 1, name, fields);
}

/* A list of strings as a NULL-terminated array inside a userdata on the stack. The strings belong to the
 * table at 1. One string alone is a list of one. */
static const char *const *read_names(lua_State *L, const char *field)
{
    int type = lua_getfield(L, 1, field);
    if (type == LUA_TNIL)
        return NULL;
    if (type != LUA_TTABLE && type != LUA_TSTRING)
        luaL_error(L, "bad field '%s' (list of strings expected, got %s)", field, luaL_typename(L, -1));
    size_t n = type == LUA_TTABLE ? (size_t)lua_rawlen(L, -1) : 1;
    if (n > NAMES_MAX)
        luaL_error(L, "bad field '%s' (at most %d names)", field, NAMES_MAX);
    int list = lua_gettop(L);
    const char **names = lua_newuserdatauv(L, (n + 1) * sizeof *names, 0);
    for (size_t i = 0; i < n; i++) {
        if (type == LUA_TSTRING)
            lua_pushvalue(L, list);
        else
            lua_rawgeti(L, list, (lua_Integer)i + 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "bad field '%s' (item %d must be a string, got %s)", field, (int)i + 1,
                       luaL_typename(L, -1));
        names[i] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    names[n] = NULL;
    return names;
}

/* --- answers -------------------------------------------------------------------------------------- */

static int push_failure(lua_State *L, const struct ah_op *op)
{
    struct ah_error err = {0};
    ah_err_copy(&err, &op->err);
    return ah_luax_fail(L, &err);
}

static void set_json(lua_State *L, const char *field, struct ah_json v)
{
    if (v.type == AH_JSON_NONE || v.type == AH_JSON_NULL)
        return;
    ah_luajson_push(L, v);
    lua_setfield(L, -2, field);
}

static void set_text(lua_State *L, const char *field, const char *s)
{
    if (!s || !s[0])
        return;
    lua_pushstring(L, s);
    lua_setfield(L, -2, field);
}

/* --- accounts ------------------------------------------------------------------------------------- */

static const char *const account_fields[] = {"connection_name", "identifier", NULL};

static int k_account(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct ah_op *op = ah_task_op(L, (int)idx);
    if (!op->done)
        return ah_task_await(L, (int)idx, k_account);
    if (op->err.kind != AH_NONE)
        return push_failure(L, op);
    ah_lua_skrows_push(L, ((struct ah_scalekit_op *)op)->answer);
    return 1;
}

/* Pushes a guarded buffer: what is to be put into the account, as JSON. NULL: err. */
static struct ah_buf *read_given(lua_State *L, struct ah_error *err)
{
    static const char *const names[] = {"authorization_details", "api_config"};
    lua_newtable(L);
    int given = lua_gettop(L);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        lua_getfield(L, 1, names[i]);
        if (ah_lua_skrows_copy(L, -1, err) != 0)
            return NULL;
        lua_setfield(L, given, names[i]);
        lua_pop(L, 1);
    }
    struct ah_buf *text = ah_luax_guard_buf(L, AH_SKWIRE_BODY_BYTES);
    if (ah_luajson_encode(L, given, text, NULL, err) != 0)
        return NULL;
    return text;
}

static int l_get_or_create_connected_account(lua_State *L)
{
    static const char *const fields[] = {"api_config", "authorization_details", "connection_name",
                                         "identifier", NULL};
    struct ah_error err = {0};
    check_call(L, "scalekit.get_or_create_connected_account", fields);
    struct ah_scalekit_who who = read_who(L, true);
    struct ah_buf *given = read_given(L, &err);
    struct ah_scalekit_op *op = NULL;
    if (given)
        op = ah_scalekit_put_account(ah_lua_scalekit_service(L), &who, given->p, given->n, &err);
    if (!op)
        return ah_luax_fail(L, &err);
    return k_account(L, LUA_OK, ah_task_push_op(L, &op->op));
}

static int l_get_connected_account(lua_State *L)
{
    check_call(L, "scalekit.get_connected_account", account_fields);
    struct ah_scalekit_who who = read_who(L, true);
    struct ah_error err = {0};
    struct ah_scalekit_op *op = ah_scalekit_get_account(ah_lua_scalekit_service(L), &who, &err);
    if (!op)
        return ah_luax_fail(L, &err);
    return k_account(L, LUA_OK, ah_task_push_op(L, &op->op));
}

static int k_link(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct ah_scalekit_op *op = (struct ah_scalekit_op *)ah_task_op(L, (int)idx);
    if (!op->op.done)
        return ah_task_await(L, (int)idx, k_link);
    if (op->op.err.kind != AH_NONE)
        return push_failure(L, &op->op);
    lua_newtable(L);
    set_text(L, "link", op->link);
    set_text(L, "expiry", op->expiry);
    return 1;
}

static int l_get_authorization_link(lua_State *L)
{
    static const char *const fields[] = {
        "connected_account_id", "connection_name", "identifier", "state", "user_verify_url", NULL};
    check_call(L, "scalekit.get_authorization_link", fields);
    const char *id = ah_luax_str(L, 1, "connected_account_id", NULL);
    struct ah_scalekit_who who = read_who(L, !id);
    who.account_id = id;
    const char *state = ah_luax_str(L, 1, "state", NULL);
    const char *verify = ah_luax_str(L, 1, "user_verify_url", NULL);
    struct ah_error err = {0};
    struct ah_scalekit_op *op = ah_scalekit_get_link(ah_lua_scalekit_service(L), &who, state, verify, &err);
    if (!op)
        return ah_luax_fail(L, &err);
    return k_link(L, LUA_OK, ah_task_push_op(L, &op->op));
}

/* --- waiting ------------------------------------------------------------------------------------------ */

/* One stretch of it is a call of its own (upvalue 1 of the function): between two of them the script shows a link. */
enum { WAIT_ON_LINK = 2, WAIT_STATE = 3 }; /* stack of the function; 1 is the table */

static int64_t ms_until(int64_t us)
{
    int64_t left = (us - ah_clock_mono_us()) / 1000;
    return us && left > 1 ? left : us ? 1 : 0;
}

/* What the next stretch needs: in times that are left, because another process may go on with it. */
static void push_state(lua_State *L, const struct ah_scalekit_wait *wait)
{
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, (lua_Integer)ms_until(wait->deadline_us));
    lua_setfield(L, -2, "left");
    lua_pushinteger(L, (lua_Integer)ms_until(wait->link_until_us));
    lua_setfield(L, -2, "link");
    lua_pushinteger(L, (lua_Integer)wait->polls);
    lua_setfield(L, -2, "polls");
}

static int64_t us_from(int64_t ms)
{
    return ms ? ah_clock_mono_us() + ms * 1000 : 0;
}

/* The account; nil and the error; or false, a link, when it expires, and the state. */
static int k_stretch(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct ah_scalekit_op *op = (struct ah_scalekit_op *)ah_task_op(L, (int)idx);
    if (!op->op.done)
        return ah_task_await(L, (int)idx, k_stretch);
    if (op->op.err.kind != AH_NONE)
        return push_failure(L, &op->op);
    if (op->active) {
        ah_luajson_push(L, op->answer);
        return 1;
    }
    lua_pushboolean(L, 0);
    lua_pushstring(L, op->link);
    lua_pushstring(L, op->expiry);
    push_state(L, &op->wait);
    return 4;
}

/* 1 the table, 2 whether links are wanted, 3 the state or nil. */
static int l_stretch(lua_State *L)
{
    struct ah_error err = {0};
    struct ah_scalekit_wait wait = {0};
    bool again = lua_istable(L, WAIT_STATE);
    if (again) {
        wait.deadline_us = us_from(ah_luax_int(L, WAIT_STATE, "left", 1));
        wait.link_until_us = us_from(ah_luax_int(L, WAIT_STATE, "link", 0));
        wait.polls = (unsigned)ah_luax_int(L, WAIT_STATE, "polls", 0);
    }
    int64_t timeout = ah_luax_ms(L, 1, "timeout", WAIT_MS), poll = ah_luax_ms(L, 1, "poll", 0);
    struct ah_scalekit_who who = read_who(L, true);
    struct ah_scalekit_op *op = ah_scalekit_wait_active(ah_lua_scalekit_service(L), &who, timeout, poll,
                                                        lua_toboolean(L, 2), again ? &wait : NULL, &err);
    if (!op)
        return ah_luax_fail(L, &err);
    return k_stretch(L, LUA_OK, ah_task_push_op(L, &op->op));
}

static int k_waited(lua_State *L, int status, lua_KContext ctx);

static int wait_on(lua_State *L)
{
    lua_settop(L, WAIT_STATE);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 1);
    lua_pushboolean(L, !lua_isnil(L, WAIT_ON_LINK));
    lua_pushvalue(L, WAIT_STATE);
    lua_callk(L, 3, 4, 0, k_waited);
    return k_waited(L, LUA_OK, 0);
}

static int k_shown(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return wait_on(L);
}

static int k_waited(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    int first = WAIT_STATE + 1;
    if (!lua_isboolean(L, first)) {
        bool failed = lua_isnil(L, first);
        lua_settop(L, failed ? first + 1 : first);
        return failed ? 2 : 1;
    }
    lua_pushvalue(L, -1);
    lua_replace(L, WAIT_STATE);
    lua_settop(L, first + 2);
    lua_pushvalue(L, WAIT_ON_LINK);
    lua_replace(L, first);
    lua_callk(L, 2, 0, 0, k_shown); /* it may wait */
    return k_shown(L, LUA_OK, 0);
}

static int l_wait_until_active(lua_State *L)
{
    static const char *const fields[] = {"connection_name", "identifier", "on_link", "poll", "timeout", NULL};
    check_call(L, "scalekit.wait_until_active", fields);
    int type = lua_getfield(L, 1, "on_link");
    if (type != LUA_TNIL && type != LUA_TFUNCTION)
        return luaL_error(L, "bad field 'on_link' (function expected, got %s)", luaL_typename(L, -1));
    ah_luax_need_str(L, 1, "connection_name");
    ah_luax_ms(L, 1, "timeout", WAIT_MS);
    ah_luax_ms(L, 1, "poll", 0);
    lua_settop(L, WAIT_ON_LINK);
    return wait_on(L);
}

/* --- tools ----------------------------------------------------------------------------------------- */

static void push_tool(lua_State *L, const struct ah_scalekit_tool *tool)
{
    lua_createtable(L, 0, 9);
    set_json(L, "name", tool->name);
    set_json(L, "description", tool->description);
    if (ah_luatext_fits(tool->input_schema)) {
        ah_luatext_push(L, tool->input_schema);
        lua_setfield(L, -2, "input_schema_json");
    } else {
        set_json(L, "input_schema", tool->input_schema);
    }
    set_json(L, "annotations", tool->annotations);
    set_json(L, "tags", tool->tags);
    set_json(L, "provider", tool->provider);
    set_json(L, "connected_account_id", tool->connected_account_id);
    set_json(L, "identifier", tool->identifier);
    set_text(L, "connector", tool->connection_name);
    luaL_setmetatable(L, TOOL_MT);
}

static int k_tools(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct ah_scalekit_op *op = (struct ah_scalekit_op *)ah_task_op(L, (int)idx);
    if (!op->op.done)
        return ah_task_await(L, (int)idx, k_tools);
    if (op->op.err.kind != AH_NONE)
        return push_failure(L, &op->op);
    lua_createtable(L, (int)op->tool_count, 0);
    for (size_t i = 0; i < op->tool_count; i++) {
        push_tool(L, &op->tools[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int l_get_tools(lua_State *L)
{
    static const char *const fields[] = {"connection_names", "identifier", "providers", "tool_names", NULL};
    check_call(L, "scalekit.get_tools", fields);
    struct ah_scalekit_who who = {
        .run = ah_task_run(L), .span = ah_task_span(L), .call = ah_luareplay_number(L)};
    who.identifier = ah_luax_str(L, 1, "identifier", NULL);
    if (!who.identifier)
        who.identifier = ah_lua_scalekit_identifier(L);
    struct ah_scalekit_filter filter = {read_names(L, "connection_names"), read_names(L, "providers"),
                                        read_names(L, "tool_names")};
    struct ah_error err = {0};
    struct ah_scalekit_op *op = ah_scalekit_get_tools(ah_lua_scalekit_service(L), &who, &filter, &err);
    if (!op)
        return ah_luax_fail(L, &err);
    return k_tools(L, LUA_OK, ah_task_push_op(L, &op->op));
}

/* --- running a tool -------------------------------------------------------------------------------- */

/* result.data is decoded when somebody looks; result.json has the bytes as they came. */
static int m_result_index(lua_State *L)
{
    struct ah_json v;
    size_t n;
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(key, "data") != 0)
        return 0;
    lua_pushliteral(L, "json");
    if (lua_rawget(L, 1) != LUA_TSTRING)
        return 0;
    const char *p = lua_tolstring(L, -1, &n);
    if (ah_json_check(p, n, 0, &v, NULL) != 0)
        return 0;
    ah_luajson_push(L, v);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, 1);
    return 1;
}

static int k_execute(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct ah_scalekit_op *op = (struct ah_scalekit_op *)ah_task_op(L, (int)idx);
    if (!op->op.done)
        return ah_task_await(L, (int)idx, k_execute);
    if (op->op.err.kind != AH_NONE)
        return push_failure(L, &op->op);
    lua_createtable(L, 0, 3);
    set_text(L, "execution_id", op->execution_id);
    lua_pushlstring(L, op->answer.p, op->answer.n);
    lua_setfield(L, -2, "json");
    luaL_setmetatable(L, RESULT_MT);
    return 1;
}

static enum ah_effect_class read_class(lua_State *L)
{
    const char *s = ah_luax_str(L, 1, "class", "unsafe");
    if (strcmp(s, "read") == 0)
        return AH_EFFECT_READ;
    if (strcmp(s, "idempotent") == 0)
        return AH_EFFECT_IDEMPOTENT;
    if (strcmp(s, "unsafe") != 0)
        luaL_error(L, "bad field 'class' (\"read\", \"idempotent\" or \"unsafe\" expected, got \"%s\")", s);
    return AH_EFFECT_UNSAFE;
}

/* A table, JSON text or nil as JSON text; stays on the stack. -1: err. An empty table is an object here,
 * even one that carries the array mark. */
static int read_input(lua_State *L, struct ah_scalekit_exec *exec, struct ah_error *err)
{
    int type = lua_getfield(L, 1, "tool_input");
    exec->input = "{}";
    exec->input_n = 2;
    if (type == LUA_TNIL)
        return 0;
    if (type == LUA_TSTRING) {
        exec->input = lua_tolstring(L, -1, &exec->input_n);
        return 0;
    }
    if (type != LUA_TTABLE)
        luaL_error(L, "bad field 'tool_input' (table or JSON text expected, got %s)", luaL_typename(L, -1));
    int at = lua_gettop(L);
    struct ah_buf *b = ah_luax_guard_buf(L, AH_SKWIRE_BODY_BYTES);
    if (ah_luajson_encode(L, at, b, NULL, err) != 0)
        return -1;
    if (b->n > 2 || b->p[0] != '[') {
        exec->input = b->p;
        exec->input_n = b->n;
    }
    return 0;
}

static int l_execute_tool(lua_State *L)
{
    static const char *const fields[] = {"class",   "connected_account_id", "connection_name", "identifier",
                                         "timeout", "tool_call_id",         "tool_input",      "tool_name",
                                         NULL};
    struct ah_scalekit_exec exec = {0};
    struct ah_error err = {0};
    check_call(L, "scalekit.execute_tool", fields);
    exec.tool_name = ah_luax_need_str(L, 1, "tool_name");
    exec.tool_call_id = ah_luax_str(L, 1, "tool_call_id", NULL);
    exec.timeout_ms = ah_luax_ms(L, 1, "timeout", 0);
    exec.effect = read_class(L);
    struct ah_scalekit_who who = read_who(L, false);
    who.account_id = ah_luax_str(L, 1, "connected_account_id", NULL);
    if (!who.account_id && !who.connection_name)
        return luaL_error(L, "execute_tool needs connected_account_id or connection_name");
    if (read_input(L, &exec, &err) != 0)
        return ah_luax_fail(L, &err);
    struct ah_scalekit_op *op = ah_scalekit_execute(ah_lua_scalekit_service(L), &who, &exec, &err);
    if (!op)
        return ah_luax_fail(L, &err);
    return k_execute(L, LUA_OK, ah_task_push_op(L, &op->op));
}

/* --- the proxy --------------------------------------------------------------------------------------- */

static int k_request(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct ah_scalekit_op *op = (struct ah_scalekit_op *)ah_task_op(L, (int)idx);
    if (!op->op.done)
        return ah_task_await(L, (int)idx, k_request);
    if (op->op.err.kind == AH_NONE) {
        ah_luahttp_push_answer(L, op->res);
        return 1;
    }
    push_failure(L, &op->op);
    if (op->res) {
        lua_pushlstring(L, ah_buf_str(&op->res->body), op->res->body.n);
        lua_setfield(L, -2, "body");
        ah_luahttp_push_headers(L, op->res);
        lua_setfield(L, -2, "headers");
    }
    return 2;
}

/* Path, query, headers and body of the table at 1. -1: err. */
static int read_proxied(lua_State *L, struct ah_luahttp_draft *d, struct ah_skproxy_req *req,
                        struct ah_error *err)
{
    ah_buf_adds(&d->url, ah_luax_need_str(L, 1, "path"));
    req->method = ah_luax_str(L, 1, "method", NULL);
    req->timeout_ms = ah_luax_ms(L, 1, "timeout", 0);
    req->idempotent = ah_luax_bool(L, 1, "idempotent", false);
    req->once = !ah_luax_bool(L, 1, "idempotent", true); /* false was said */
    if (ah_luahttp_read_query(L, 1, d, err) != 0 || ah_luahttp_read_headers(L, 1, d, err) != 0 ||
        ah_luahttp_read_body(L, 1, d, err) != 0 || ah_luahttp_end_draft(d, err) != 0)
        return -1;
    req->path = ah_buf_str(&d->url);
    req->headers = d->headers;
    req->header_count = d->header_count;
    req->body = ah_buf_str(&d->body);
    req->body_n = d->body.n;
    req->has_body = d->has_body;
    return 0;
}

static int l_request(lua_State *L)
{
    static const char *const fields[] = {"body",       "connection_name", "form",    "headers",
                                         "idempotent", "identifier",      "json",    "method",
                                         "path",       "query",           "timeout", NULL};
    struct ah_skproxy_req req = {0};
    struct ah_error err = {0};
    check_call(L, "scalekit.request", fields);
    struct ah_scalekit_who who = read_who(L, true);
    void **draft = ah_luahttp_push_draft(L);
    if (read_proxied(L, *draft, &req, &err) != 0)
        return ah_luax_fail(L, &err);
    struct ah_scalekit_op *op = ah_skproxy_send(ah_lua_scalekit_service(L), &who, &req, &err);
    if (!op)
        return ah_luax_fail(L, &err);
    return k_request(L, LUA_OK, ah_task_push_op(L, &op->op));
}

/* --- webhooks ---------------------------------------------------------------------------------------- */

/* A header of the table on top; stays on the stack. */
static const char *read_header(lua_State *L, int headers, const char *name)
{
    return lua_getfield(L, headers, name) == LUA_TSTRING ? lua_tostring(L, -1) : "";
}

/* The event, decoded, when whoever sent it knows the secret. */
static int l_verify_webhook(lua_State *L)
{
    static const char *const fields[] = {"body", "headers", "secret", "tolerance", NULL};
    struct ah_error err = {0};
    struct ah_json event;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    ah_luax_fields(L, 1, "scalekit.verify_webhook", fields);
    if (lua_getfield(L, 1, "headers") != LUA_TTABLE)
        return luaL_error(L, "bad field 'headers' (table expected, got %s)", luaL_typename(L, -1));
    struct ah_skhook hook = {read_header(L, 2, "webhook-id"), read_header(L, 2, "webhook-timestamp"),
                             read_header(L, 2, "webhook-signature"), NULL, 0};
    hook.body = ah_luax_need_str(L, 1, "body");
    hook.body_n = lua_rawlen(L, -1);
    int64_t tolerance = ah_luax_ms(L, 1, "tolerance", AH_SKHOOK_TOLERANCE_S * 1000) / 1000;
    struct ah_buf *secret = ah_luax_guard_buf(L, 4096);
    lua_getfield(L, 1, "secret");
    if (ah_luasecret_expand(L, lua_gettop(L), secret, &err) != 0)
        return ah_luax_fail(L, &err);
    int64_t now_us = ah_clock_wall_us(ah_loop_clock(ah_lua_of(L)->core->loop));
    if (ah_skhook_verify(ah_buf_str(secret), &hook, now_us / 1000000, tolerance, &err) != 0 ||
        ah_json_check(hook.body, hook.body_n, 0, &event, &err) != 0)
        return ah_luax_fail(L, &err);
    ah_luajson_push(L, event);
    return 1;
}

static const luaL_Reg functions[] = {
    {"execute_tool", l_execute_tool},
    {"get_authorization_link", l_get_authorization_link},
    {"get_connected_account", l_get_connected_account},
    {"get_or_create_connected_account", l_get_or_create_connected_account},
    {"get_tools", l_get_tools},
    {"request", l_request},
    {"verify_webhook", l_verify_webhook},
    {NULL, NULL},
};

int luaopen_host_scalekit(lua_State *L)
{
    static const char *const noted[] = {"execute_tool",
                                        "get_authorization_link",
                                        "get_connected_account",
                                        "get_or_create_connected_account",
                                        "get_tools",
                                        "request",
                                        NULL};
    luaL_newlib(L, functions);
    ah_luareplay_calls(L, "scalekit.", noted);
    lua_pushcfunction(L, l_stretch);
    ah_luareplay_call(L, "scalekit.wait_until_active");
    lua_pushcclosure(L, l_wait_until_active, 1);
    lua_setfield(L, -2, "wait_until_active");
    luaL_newmetatable(L, RESULT_MT);
    lua_pushcfunction(L, m_result_index);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    ah_luatext_class(L, TOOL_MT, "input_schema");
    ah_luahttp_open(L);
    ah_lua_skrows_add(L);
    return 1;
}
