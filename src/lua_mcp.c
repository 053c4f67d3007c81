/* host.mcp: clients of MCP servers, over HTTP or a program's stdin and stdout. Called by scripts (agent.mcp makes tools of
 * it). A client is a value: nothing is sent and nothing is started before its first call. No policy. */
#include "lua_mcp.h"

#include "limits.h"
#include "luahttp.h"
#include "luajson.h"
#include "luareplay.h"
#include "luasecret.h"
#include "mcp.h"
#include "task.h"

#include <string.h>

#define CLIENT_MT "host.mcp.client"
#define WORDS_MAX 256
#define TEXT_BYTES ((size_t)1 << 20)
#define PARAMS_BYTES ((size_t)64 << 20)
#define PAGES_MAX 1000

struct client_box {
    struct ah_mcp *m;
};

static struct ah_mcp *check_client(lua_State *L)
{
    struct client_box *box = luaL_checkudata(L, 1, CLIENT_MT);
    luaL_argcheck(L, box->m, 1, "the client is closed");
    return box->m;
}

static int m_client_release(lua_State *L)
{
    struct client_box *box = luaL_checkudata(L, 1, CLIENT_MT);
    ah_mcp_drop(box->m);
    box->m = NULL;
    return 0;
}

/* --- making one --------------------------------------------------------------------------------------- */

/* NUL-separated texts in a guarded buffer, and where they begin. */
struct words {
    struct ah_buf *text;
    size_t at[WORDS_MAX], n;
};

static void add_word(lua_State *L, struct words *w)
{
    if (w->n == WORDS_MAX - 1)
        luaL_error(L, "too many words");
    w->at[w->n++] = w->text->n;
}

static const char *const *end_words(lua_State *L, struct words *w, const char **out)
{
    if (w->text->failed)
        luaL_error(L, "the words of the program are too long");
    for (size_t i = 0; i < w->n; i++)
        out[i] = w->text->p + w->at[i];
    out[w->n] = NULL;
    return w->n ? out : NULL;
}

static void read_command(lua_State *L, struct words *w)
{
    if (lua_getfield(L, 1, "command") != LUA_TNIL) {
        luaL_checktype(L, -1, LUA_TTABLE);
        for (lua_Integer i = 1; lua_rawgeti(L, -1, i) != LUA_TNIL; i++) {
            const char *word = luaL_checkstring(L, -1);
            add_word(L, w);
            ah_buf_add(w->text, word, strlen(word) + 1);
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void read_env(lua_State *L, struct words *w)
{
    struct ah_error err = {0};
    if (lua_getfield(L, 1, "env") != LUA_TNIL) {
        luaL_checktype(L, -1, LUA_TTABLE);
        int env = lua_gettop(L);
        lua_pushnil(L);
        while (lua_next(L, env)) {
            add_word(L, w);
            lua_pushvalue(L, -2);
            ah_buf_addf(w->text, "%s=", luaL_checkstring(L, -1));
            lua_pop(L, 1);
            if (ah_luasecret_expand(L, -1, w->text, &err) != 0) {
                ah_luax_push_error(L, &err);
                lua_error(L);
            }
            ah_buf_addc(w->text, '\0');
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}

/* headers, with token as the Authorization, in a new table on top. */
static void push_headers(lua_State *L)
{
    lua_newtable(L);
    int all = lua_gettop(L);
    if (lua_getfield(L, 1, "headers") != LUA_TNIL) {
        luaL_checktype(L, -1, LUA_TTABLE);
        lua_pushnil(L);
        while (lua_next(L, all + 1)) {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, all);
        }
    }
    lua_settop(L, all);
    lua_pushliteral(L, "Bearer ");
    if (lua_getfield(L, 1, "token") == LUA_TNIL) {
        lua_settop(L, all);
        return;
    }
    lua_concat(L, 2); /* a handle stays one */
    lua_setfield(L, all, "Authorization");
}

static enum ah_mcp_era read_era(lua_State *L)
{
    const char *era = ah_luax_str(L, 1, "era", "auto");
    lua_pop(L, 1);
    if (strcmp(era, "legacy") == 0)
        return AH_MCP_LEGACY;
    if (strcmp(era, "modern") == 0)
        return AH_MCP_MODERN;
    if (strcmp(era, "auto") != 0)
        luaL_error(L, "bad field 'era' ('auto', 'legacy' or 'modern' expected, got '%s')", era);
    return AH_MCP_UNKNOWN;
}

static int l_client(lua_State *L)
{
    static const char *const fields[] = {"url", "command", "headers", "token",   "env",
                                         "dir", "era",     "forms",   "timeout", NULL};
    const char *argv[WORDS_MAX], *env[WORDS_MAX];
    struct ah_error err = {0};
    luaL_checktype(L, 1, LUA_TTABLE);
    ah_luax_fields(L, 1, "mcp.client", fields);
    lua_settop(L, 1);
    struct client_box *box = ah_luax_new(L, sizeof *box, 0, CLIENT_MT);
    struct words command = {.text = ah_luax_guard_buf(L, TEXT_BYTES)};
    struct words variables = {.text = ah_luax_guard_buf(L, TEXT_BYTES)};
    read_command(L, &command);
    read_env(L, &variables);
    struct ah_mcp_opts opts = {.era = read_era(L),
                               .forms = ah_luax_bool(L, 1, "forms", false),
                               .timeout_ms = ah_luax_ms(L, 1, "timeout", 0)};
    opts.argv = end_words(L, &command, argv);
    opts.env = end_words(L, &variables, env);
    opts.url = ah_luax_str(L, 1, "url", NULL);
    opts.dir = ah_luax_str(L, 1, "dir", NULL);
    if (!opts.url == !opts.argv)
        return luaL_error(L, "mcp.client: give url, or command = { \"program\", … }");
    push_headers(L);
    int headers = lua_gettop(L);
    struct ah_luahttp_draft **slot = (struct ah_luahttp_draft **)ah_luahttp_push_draft(L);
    lua_newtable(L);
    lua_pushvalue(L, headers);
    lua_setfield(L, -2, "headers");
    if (ah_luahttp_read_headers(L, lua_gettop(L), *slot, &err) == 0 &&
        ah_luahttp_end_draft(*slot, &err) == 0) {
        opts.headers = (*slot)->headers;
        opts.header_count = (*slot)->header_count;
        box->m = ah_mcp_new(ah_lua_of(L)->core, &opts, &err);
    }
    if (!box->m) {
        ah_luax_push_error(L, &err);
        return lua_error(L);
    }
    lua_pushvalue(L, 2);
    return 1;
}

/* --- calls ---------------------------------------------------------------------------------------------- */

static struct ah_mcp_req request_of(lua_State *L, const char *method)
{
    return (struct ah_mcp_req){.method = method,
                               .run = ah_task_run(L),
                               .span = ah_task_span(L),
                               .call = ah_luareplay_number(L),
                               .effect = AH_EFFECT_READ};
}

/* Pushes the op, or nil and the error: then *n is set. */
static int push_request(lua_State *L, struct ah_mcp_op *op, struct ah_error *err, int *n)
{
    *n = op ? 0 : ah_luax_fail(L, err);
    return op ? ah_task_push_op(L, &op->op) : 0;
}

static int push_failure(lua_State *L, struct ah_mcp_op *op)
{
    struct ah_error err = {0};
    ah_err_copy(&err, &op->op.err);
    return ah_luax_fail(L, &err);
}

static int k_result(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct ah_mcp_op *op = (struct ah_mcp_op *)ah_task_op(L, (int)idx);
    if (!op->op.done)
        return ah_task_await(L, (int)idx, k_result);
    if (op->op.err.kind != AH_NONE)
        return push_failure(L, op);
    if (op->result.type == AH_JSON_NONE)
        lua_pushboolean(L, 1);
    else
        ah_luajson_push(L, op->result);
    return 1;
}

/* The value at idx as JSON in a guarded buffer; NULL when it is nil. Raises for what JSON cannot hold. */
static const char *encode(lua_State *L, int idx, size_t max)
{
    struct ah_error err = {0};
    if (lua_isnoneornil(L, idx))
        return NULL;
    struct ah_buf *to = ah_luax_guard_buf(L, max);
    if (ah_luajson_encode(L, idx, to, NULL, &err) != 0) {
        ah_luax_push_error(L, &err);
        lua_error(L);
    }
    return ah_buf_str(to);
}

static int l_request(lua_State *L)
{
    ah_task_check(L, "client:request");
    struct ah_mcp *m = check_client(L);
    struct ah_error err = {0};
    int n;
    struct ah_mcp_req req = request_of(L, luaL_checkstring(L, 2));
    lua_settop(L, 3);
    if (!lua_isnil(L, 3))
        luaL_checktype(L, 3, LUA_TTABLE);
    if (lua_istable(L, 3) &&
        (lua_getfield(L, 3, "name") == LUA_TSTRING || lua_getfield(L, 3, "uri") == LUA_TSTRING))
        req.name = lua_tostring(L, -1);
    req.notify = strncmp(req.method, "notifications/", 14) == 0;
    req.effect = strcmp(req.method, "tools/call") == 0 ? AH_EFFECT_UNSAFE : AH_EFFECT_READ;
    req.params = encode(L, 3, PARAMS_BYTES);
    int idx = push_request(L, ah_mcp_request(m, &req, &err), &err, &n);
    return n ? n : k_result(L, LUA_OK, idx);
}

static enum ah_effect_class read_class(lua_State *L)
{
    static const char *const names[] = {"read", "idempotent", "unsafe", NULL};
    int type = lua_getfield(L, 2, "class");
    int at = type == LUA_TNIL ? AH_EFFECT_UNSAFE : luaL_checkoption(L, -1, NULL, names);
    lua_pop(L, 1);
    return (enum ah_effect_class)at;
}

/* {"name":…,"arguments":…}: arguments is an object also when it is empty. */
static const char *encode_call(lua_State *L, const char *name)
{
    lua_newtable(L);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "name");
    if (lua_getfield(L, 2, "arguments") == LUA_TNIL) {
        lua_pop(L, 1);
        lua_newtable(L);
    }
    luaL_checktype(L, -1, LUA_TTABLE);
    lua_setfield(L, -2, "arguments");
    return encode(L, lua_gettop(L), PARAMS_BYTES);
}

static int l_call_tool(lua_State *L)
{
    static const char *const fields[] = {"name", "arguments", "schema", "class", "timeout", NULL};
    ah_task_check(L, "client:call_tool");
    struct ah_mcp *m = check_client(L);
    struct ah_error err = {0};
    int n;
    luaL_checktype(L, 2, LUA_TTABLE);
    ah_luax_fields(L, 2, "call_tool", fields);
    lua_settop(L, 2);
    struct ah_mcp_req req = request_of(L, "tools/call");
    req.effect = read_class(L);
    req.timeout_ms = ah_luax_ms(L, 2, "timeout", 0);
    req.name = ah_luax_need_str(L, 2, "name");
    lua_getfield(L, 2, "schema");
    req.schema = encode(L, lua_gettop(L), PARAMS_BYTES);
    req.params = encode_call(L, req.name);
    int idx = push_request(L, ah_mcp_request(m, &req, &err), &err, &n);
    return n ? n : k_result(L, LUA_OK, idx);
}

/* --- the list of tools, all pages ------------------------------------------------------------------------ */

enum {
    LIST = 2,
    CURSOR = 3,
    COUNT = 4
}; /* stack: client, tools, the page's cursor, pages so far; then the op */

static int k_list(lua_State *L, int status, lua_KContext idx);

/* Of lua_settop, Lua 5.4.4 leaves stale pointers behind when it closes something: slots are closed one by one. */
static int ask_page(lua_State *L)
{
    struct ah_mcp *m = check_client(L);
    struct ah_error err = {0};
    int n;
    struct ah_mcp_req req = request_of(L, "tools/list");
    if (!lua_isnil(L, CURSOR)) {
        lua_newtable(L);
        lua_pushvalue(L, CURSOR);
        lua_setfield(L, -2, "cursor");
        req.params = encode(L, lua_gettop(L), TEXT_BYTES);
    }
    struct ah_mcp_op *op = ah_mcp_request(m, &req, &err); /* which copies */
    if (req.params)
        lua_closeslot(L, lua_gettop(L));
    lua_settop(L, COUNT);
    int idx = push_request(L, op, &err, &n);
    return n ? n : k_list(L, LUA_OK, idx);
}

/* Tools whose x-mcp-header breaks the rules are left out, as the modern era demands. */
static void add_tools(lua_State *L, struct ah_mcp *m, struct ah_json tools)
{
    for (struct ah_json_iter it = ah_json_iter(tools); ah_json_next(&it);) {
        if (it.value.type != AH_JSON_OBJECT)
            continue;
        if (ah_mcp_era(m) == AH_MCP_MODERN && ah_mcpwire_headers(ah_json_get(it.value, "inputSchema"),
                                                                 (struct ah_json){0}, NULL, NULL, NULL) != 0)
            continue;
        ah_luajson_push(L, it.value);
        lua_rawseti(L, LIST, (lua_Integer)lua_rawlen(L, LIST) + 1);
    }
}

static int k_list(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct ah_mcp_op *op = (struct ah_mcp_op *)ah_task_op(L, (int)idx);
    if (!op->op.done)
        return ah_task_await(L, (int)idx, k_list);
    if (op->op.err.kind != AH_NONE)
        return push_failure(L, op);
    add_tools(L, check_client(L), ah_json_get(op->result, "tools"));
    ah_luajson_push(L, ah_json_get(op->result, "nextCursor"));
    lua_Integer pages = lua_tointeger(L, COUNT) + 1;
    bool more = lua_type(L, -1) == LUA_TSTRING && !lua_rawequal(L, -1, CURSOR) && pages < PAGES_MAX;
    lua_copy(L, -1, CURSOR);
    lua_pushinteger(L, pages);
    lua_copy(L, -1, COUNT);
    if (more) {
        lua_closeslot(L, (int)idx);
        lua_settop(L, COUNT);
        return ask_page(L);
    }
    lua_pushvalue(L, LIST);
    return 1;
}

static int l_list_tools(lua_State *L)
{
    ah_task_check(L, "client:list_tools");
    check_client(L);
    lua_settop(L, 1);
    lua_newtable(L);
    ah_luajson_mark_array(L, LIST);
    lua_pushnil(L);
    lua_pushinteger(L, 0);
    return ask_page(L);
}

/* --- about the server -------------------------------------------------------------------------------------- */

static int k_server(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct ah_mcp_op *op = (struct ah_mcp_op *)ah_task_op(L, (int)idx);
    if (!op->op.done)
        return ah_task_await(L, (int)idx, k_server);
    if (op->op.err.kind != AH_NONE)
        return push_failure(L, op);
    struct ah_mcp *m = check_client(L);
    struct ah_json server = ah_mcp_server(m);
    if (server.type == AH_JSON_OBJECT)
        ah_luajson_push(L, server);
    else
        lua_newtable(L);
    lua_pushstring(L, ah_mcp_era(m) == AH_MCP_MODERN ? "modern" : "legacy");
    lua_setfield(L, -2, "era");
    return 1;
}

static int l_server(lua_State *L)
{
    ah_task_check(L, "client:server");
    struct ah_error err = {0};
    int n, idx = push_request(L, ah_mcp_connect(check_client(L), &err), &err, &n);
    return n ? n : k_server(L, LUA_OK, idx);
}

static int l_changed(lua_State *L)
{
    lua_pushboolean(L, ah_mcp_changed(check_client(L)));
    return 1;
}

static int k_close(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    if (!ah_task_op(L, (int)idx)->done)
        return ah_task_await(L, (int)idx, k_close);
    return m_client_release(L);
}

static int l_close(lua_State *L)
{
    struct client_box *box = luaL_checkudata(L, 1, CLIENT_MT);
    struct ah_error err = {0};
    if (!box->m)
        return 0;
    ah_task_check(L, "client:close");
    int n, idx = push_request(L, ah_mcp_close(box->m, &err), &err, &n);
    return n ? n : k_close(L, LUA_OK, idx);
}

static const luaL_Reg client_methods[] = {
    {"call_tool", l_call_tool}, {"changed", l_changed}, {"close", l_close}, {"list_tools", l_list_tools},
    {"request", l_request},     {"server", l_server},   {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"client", l_client},
    {NULL, NULL},
};

int luaopen_host_mcp(lua_State *L)
{
    static const char *const noted[] = {"call_tool", "changed", "close", "list_tools",
                                        "request",   "server",  NULL};
    ah_luax_class(L, CLIENT_MT, client_methods, m_client_release);
    luaL_getmetatable(L, CLIENT_MT);
    lua_getfield(L, -1, "__index");
    ah_luareplay_calls(L, "mcp:", noted);
    lua_pop(L, 2);
    luaL_newlib(L, functions);
    return 1;
}
