/* host.openai: chat models as values, asked at once or piece by piece. Called by scripts and by
 * scripts/agent. Turns tables into a request (chat_request.h), waits for openai.c, and gives the message
 * back as a table. No policy: what a failure or an invalid call means is the script's business. */
#include "lua_openai.h"

#include "chat_request.h"
#include "limits.h"
#include "log.h"
#include "lua_oaopts.h"
#include "lua_oaplain.h"
#include "lua_schema.h"
#include "luajson.h"
#include "luanotes.h"
#include "luareplay.h"
#include "luatext.h"
#include "near.h"
#include "openai.h"
#include "secret.h"
#include "strict.h"
#include "task.h"

#include <stdlib.h>
#include <string.h>

#define MODEL_MT "host.openai.model"
#define STREAM_MT "host.openai.stream"
#define BOUND_MT "host.openai.tools"
#define KNOWN_KEY "agenthost.bound"
#define KNOWN_COUNT 8
#define BODY_BYTES ((size_t)64 << 20) /* of a request: pictures come inside it */
#define PARAM_BYTES 128               /* of a chat parameter's name */
#define TEXT_BYTES ((size_t)16384)    /* of a URL, a key, a file name */

/* --- models ------------------------------------------------------------------------------------- */

/* Tools as the wire has them. Never changes: models that offer the same tools share one. */
struct bound {
    char *tools, *given; /* JSON, and what it was made of */
    size_t given_n;
    struct ah_chat_names names;
};

/* What one call needs beside the messages. A model never changes: bind_tools makes another. */
struct model {
    struct ah_lua_oaopts opts;
    char *prompt_file, *prompt_sha256; /* NULL: not given */
    char *params;                      /* JSON object of chat parameters */
    const struct bound *bound;         /* NULL, or of the user value */
    char *tool_choice;                 /* JSON, or NULL */
    char *output;                      /* JSON Schema of the answer, or NULL */
    int parallel;                      /* -1: not said */
    enum ah_openai_api api;            /* chat completions, or responses */
};

static const char *const own_fields[] = {AH_LUA_OAOPTS_NAMES, "api", "model", "prompt", NULL};

static void drop_model(struct model *m)
{
    ah_lua_oaopts_drop(&m->opts);
    free(m->prompt_file);
    free(m->prompt_sha256);
    free(m->params);
    free(m->tool_choice);
    free(m->output);
    memset(m, 0, sizeof *m);
}

static int m_model_release(lua_State *L)
{
    drop_model(luaL_checkudata(L, 1, MODEL_MT));
    return 0;
}

static struct model *push_model(lua_State *L)
{
    struct model *m = ah_luax_new(L, sizeof *m, 1, MODEL_MT);
    m->parallel = -1;
    return m;
}

static const struct ah_chat_names *names_of(const struct model *m)
{
    static const struct ah_chat_names none;
    return m->bound ? &m->bound->names : &none;
}

static int raise_error(lua_State *L, struct ah_error *err)
{
    ah_luax_push_error(L, err);
    return lua_error(L);
}

/* --- options ------------------------------------------------------------------------------------ */

static void read_prompt(lua_State *L, int idx, struct model *m)
{
    static const char *const names[] = {"file", "sha256", NULL};
    if (lua_getfield(L, idx, "prompt") != LUA_TNIL) {
        luaL_checktype(L, -1, LUA_TTABLE);
        int at = lua_gettop(L);
        ah_luax_fields(L, at, "prompt", names);
        ah_lua_oaopts_text(L, &m->prompt_file, ah_luax_str(L, at, "file", NULL));
        ah_lua_oaopts_text(L, &m->prompt_sha256, ah_luax_str(L, at, "sha256", NULL));
        lua_settop(L, at);
    }
    lua_pop(L, 1);
}

static bool is_own(const char *key)
{
    for (size_t i = 0; own_fields[i]; i++)
        if (strcmp(own_fields[i], key) == 0)
            return true;
    return false;
}

/* Chat parameters are the service's affair and go as they are; only what looks like a slip in the name
 * of an option of ours is stopped. */
static void check_param(lua_State *L, const char *key, const char *what)
{
    static const char *const known[] = {"model",
                                        "frequency_penalty",
                                        "logit_bias",
                                        "logprobs",
                                        "max_completion_tokens",
                                        "max_tokens",
                                        "metadata",
                                        "modalities",
                                        "n",
                                        "prediction",
                                        "presence_penalty",
                                        "prompt_cache_key",
                                        "reasoning",
                                        "reasoning_effort",
                                        "response_format",
                                        "safety_identifier",
                                        "seed",
                                        "service_tier",
                                        "stop",
                                        "store",
                                        "stream_options",
                                        "temperature",
                                        "top_logprobs",
                                        "top_p",
                                        "user",
                                        "verbosity",
                                        "audio",
                                        "web_search_options",
                                        "prompt_cache_options",
                                        "tags",
                                        "num_retries",
                                        "fallbacks",
                                        "guardrails",
                                        "moderation",
                                        "prompt_cache_retention",
                                        NULL};
    for (size_t i = 0; known[i]; i++)
        if (strcmp(known[i], key) == 0)
            return;
    if (strlen(key) >= PARAM_BYTES)
        luaL_error(L, "%s takes no field with a name as long as '%s'", what, key);
    if (strcmp(key, "tools") == 0 || strcmp(key, "tool_choice") == 0 ||
        strcmp(key, "parallel_tool_calls") == 0)
        luaL_error(L,
                   "%s does not take '%s'; give it to model:bind_tools(tools, {tool_choice=, "
                   "parallel_tool_calls=})",
                   what, key);
    if (strcmp(key, "stream") == 0 || strcmp(key, "messages") == 0)
        luaL_error(L, "%s does not take '%s'; use model:invoke(messages) or model:stream(messages)", what,
                   key);
    const char *near = ah_near_best(key, own_fields);
    if (near)
        luaL_error(L, "unknown field '%s' in %s (did you mean '%s'?)", key, what, near);
}

/* The members of `now` go over those of m->params; the model comes first: who reads a request looks for it
 * there. */
static void merge_params(lua_State *L, struct model *m, struct ah_json now)
{
    struct ah_json was = {0};
    struct ah_json_writer w;
    int top = lua_gettop(L);
    struct ah_buf *merged = ah_luax_guard_buf(L, BODY_BYTES);
    ah_json_begin(&w, merged, NULL);
    ah_json_object(&w);
    if (m->params && ah_json_check(m->params, strlen(m->params), 0, &was, NULL) == 0) {
        for (struct ah_json_iter it = ah_json_iter(was); ah_json_next(&it);) {
            char key[PARAM_BYTES];
            ah_json_copy(it.key, key, sizeof key);
            struct ah_json over = ah_json_get(now, key);
            ah_json_key(&w, key);
            ah_json_put(&w, over.type != AH_JSON_NONE ? over : it.value);
        }
    } else {
        ah_json_key(&w, "model");
        ah_json_put(&w, ah_json_get(now, "model"));
    }
    for (struct ah_json_iter it = ah_json_iter(now); ah_json_next(&it);) {
        char key[PARAM_BYTES];
        ah_json_copy(it.key, key, sizeof key);
        if (ah_json_get(was, key).type != AH_JSON_NONE || (!was.p && strcmp(key, "model") == 0))
            continue;
        ah_json_key(&w, key);
        ah_json_put(&w, it.value);
    }
    ah_json_end_object(&w);
    if (merged->failed)
        luaL_error(L, "out of memory");
    ah_lua_oaopts_text(L, &m->params, ah_buf_str(merged));
    lua_settop(L, top);
}

/* The fields of the options table that are chat parameters. */
static void read_params(lua_State *L, int idx, struct model *m, const char *what)
{
    struct ah_error err = {0};
    struct ah_json now;
    int top = lua_gettop(L);
    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "%s takes named fields only", what);
        const char *key = lua_tostring(L, -2);
        if (!is_own(key) || strcmp(key, "model") == 0) {
            check_param(L, key, what);
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, top + 1);
        } else {
            lua_pop(L, 1);
        }
    }
    struct ah_buf *given = ah_luax_guard_buf(L, BODY_BYTES);
    if (ah_luajson_encode(L, top + 1, given, NULL, &err) != 0)
        luaL_error(L, "bad field in %s (%s)", what, err.message);
    if (ah_json_check(ah_buf_str(given), given->n, 0, &now, &err) != 0)
        raise_error(L, &err);
    merge_params(L, m, now);
    lua_settop(L, top);
}

static void read_api(lua_State *L, int idx, struct model *m)
{
    static const char *const names[] = {"chat", "responses", NULL};
    const char *api = ah_luax_str(L, idx, "api", names[m->api == AH_OPENAI_RESPONSES]);
    m->api = strcmp(api, names[1]) == 0 ? AH_OPENAI_RESPONSES : AH_OPENAI_CHAT;
    if (m->api == AH_OPENAI_CHAT && strcmp(api, names[0]) != 0)
        luaL_error(L, "bad field 'api' ('chat' or 'responses' expected, got '%s')", api);
    lua_pop(L, 1);
}

static void read_common(lua_State *L, int idx, struct model *m, const char *what)
{
    int top = lua_gettop(L);
    read_prompt(L, idx, m);
    read_api(L, idx, m);
    lua_settop(L, top);
    read_params(L, idx, m, what);
}

static int l_chat_model(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    const char *model = ah_luax_need_str(L, 1, "model");
    luaL_argcheck(L, model[0], 1, "the model's name is empty");
    struct model *m = push_model(L);
    int at = lua_gettop(L);
    ah_lua_oaopts_read(L, 1, &m->opts);
    read_common(L, 1, m, "chat_model");
    /* Raised, so that chat_model{...}:bind_tools(...) fails with this and not with a nil. */
    ah_lua_oaopts_check(L, &m->opts);
    lua_settop(L, at);
    return 1;
}

/* --- bind_tools ----------------------------------------------------------------------------------- */

/* A new model like the one at idx, on top. */
static struct model *push_copy(lua_State *L, int idx)
{
    const struct model *from = luaL_checkudata(L, idx, MODEL_MT);
    struct model *m = push_model(L);
    ah_lua_oaopts_copy(L, &m->opts, &from->opts);
    ah_lua_oaopts_text(L, &m->prompt_file, from->prompt_file);
    ah_lua_oaopts_text(L, &m->prompt_sha256, from->prompt_sha256);
    ah_lua_oaopts_text(L, &m->params, from->params);
    ah_lua_oaopts_text(L, &m->output, from->output);
    m->api = from->api;
    return m;
}

/* With its tools. */
static struct model *push_whole_copy(lua_State *L, int idx)
{
    const struct model *from = luaL_checkudata(L, idx, MODEL_MT);
    struct model *m = push_copy(L, idx);
    ah_lua_oaopts_text(L, &m->tool_choice, from->tool_choice);
    m->parallel = from->parallel;
    m->bound = from->bound;
    lua_getiuservalue(L, idx, 1);
    lua_setiuservalue(L, -2, 1);
    return m;
}

/* Pushes the field of the table at idx; a schema that nobody has looked at as its text. */
static int get_field(lua_State *L, int idx, const char *field)
{
    lua_pushstring(L, field);
    int type = lua_rawget(L, idx);
    if (type != LUA_TNIL || !lua_getmetatable(L, idx))
        return type;
    lua_pop(L, 2);
    if (strcmp(field, "input_schema") == 0) {
        if (ah_luatext_member(L, idx, "input_schema_json").type != AH_JSON_NONE)
            return LUA_TUSERDATA;
        lua_pop(L, 1);
    }
    return lua_getfield(L, idx, field);
}

/* The field of the table at idx as a member of an object; nothing when it is nil. */
static void put_field(lua_State *L, int idx, const char *field, struct ah_buf *to, bool *first,
                      const char *what, lua_Integer at)
{
    struct ah_error err = {0};
    if (get_field(L, idx, field) != LUA_TNIL) {
        ah_buf_adds(to, *first ? "\"" : ",\"");
        ah_buf_adds(to, field);
        ah_buf_adds(to, "\":");
        *first = false;
        if (ah_luajson_encode(L, -1, to, NULL, &err) != 0)
            luaL_error(L, "bad field '%s' of %s %d (%s)", field, what, (int)at, err.message);
    }
    lua_pop(L, 1);
}

/* Only what we know of a tool is read: tools of scripts hold functions and more. */
static void put_list(lua_State *L, int idx, const char *what, const char *const *fields, struct ah_buf *to)
{
    lua_Integer n = luaL_len(L, idx);
    ah_buf_addc(to, '[');
    for (lua_Integer i = 1; i <= n; i++) {
        bool first = true;
        if (lua_geti(L, idx, i) != LUA_TTABLE)
            luaL_error(L, "bad %s %d (table expected, got %s)", what, (int)i, luaL_typename(L, -1));
        int at = lua_gettop(L);
        ah_buf_adds(to, i == 1 ? "{" : ",{");
        for (size_t k = 0; fields[k]; k++)
            put_field(L, at, fields[k], to, &first, what, i);
        ah_buf_addc(to, '}');
        lua_pop(L, 1);
    }
    ah_buf_addc(to, ']');
}

static int m_bound_release(lua_State *L)
{
    struct bound *b = luaL_checkudata(L, 1, BOUND_MT);
    free(b->tools);
    free(b->given);
    ah_chat_names_drop(&b->names);
    memset(b, 0, sizeof *b);
    return 0;
}

/* Pushes the list of what was bound lately. */
static void push_known(lua_State *L)
{
    if (lua_getfield(L, LUA_REGISTRYINDEX, KNOWN_KEY) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    lua_createtable(L, KNOWN_COUNT, 0);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, KNOWN_KEY);
}

/* Pushes what the text `given` is bound as; agents of many users offer the same tools. */
static const struct bound *push_bound(lua_State *L, struct ah_buf *given)
{
    struct ah_error err = {0};
    struct ah_json v;
    push_known(L);
    int known = lua_gettop(L), slot = KNOWN_COUNT;
    for (int i = 1; i <= KNOWN_COUNT; i++) {
        const struct bound *b = lua_rawgeti(L, known, i) == LUA_TUSERDATA ? lua_touserdata(L, -1) : NULL;
        if (b && b->given_n == given->n && memcmp(b->given, given->p, given->n) == 0)
            return b;
        if (!b && slot == KNOWN_COUNT)
            slot = i;
        lua_pop(L, 1);
    }
    ah_luax_class(L, BOUND_MT, NULL, m_bound_release);
    struct bound *b = ah_luax_new(L, sizeof *b, 0, BOUND_MT);
    struct ah_buf *wire = ah_luax_guard_buf(L, BODY_BYTES);
    if (ah_json_check(given->p, given->n, 0, &v, &err) != 0 ||
        ah_chat_request_tools(v, &b->names, wire, &err) != 0)
        raise_error(L, &err);
    b->tools = ah_buf_take(wire, NULL);
    b->given = ah_buf_take(given, &b->given_n);
    lua_closeslot(L, -1);
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    lua_rawseti(L, known, slot);
    return b;
}

/* The model is on top. */
static void set_tools(lua_State *L, int idx, struct model *m)
{
    static const char *const fields[] = {"name",   "description", "parameters", "input_schema",
                                         "strict", "connector",   "provider",   "connection_name",
                                         "type",   "function",    NULL};
    int model = lua_gettop(L);
    struct ah_buf *given = ah_luax_guard_buf(L, BODY_BYTES);
    put_list(L, idx, "tool", fields, given);
    if (given->failed)
        luaL_error(L, "the tools are too large");
    m->bound = push_bound(L, given);
    lua_setiuservalue(L, model, 1);
    lua_closeslot(L, model + 1);
    lua_settop(L, model);
}

static void set_choice(lua_State *L, int idx, struct model *m)
{
    struct ah_error err = {0};
    struct ah_json v;
    int top = lua_gettop(L);
    if (lua_getfield(L, idx, "tool_choice") != LUA_TNIL) {
        struct ah_buf *given = ah_luax_guard_buf(L, TEXT_BYTES), *wire = ah_luax_guard_buf(L, TEXT_BYTES);
        if (ah_luajson_encode(L, top + 1, given, NULL, &err) != 0 ||
            ah_json_check(ah_buf_str(given), given->n, 0, &v, &err) != 0 ||
            ah_chat_request_choice(v, names_of(m), wire, &err) != 0)
            raise_error(L, &err);
        ah_lua_oaopts_text(L, &m->tool_choice, ah_buf_str(wire));
    }
    lua_settop(L, top + 1);
    if (lua_getfield(L, idx, "parallel_tool_calls") != LUA_TNIL)
        m->parallel = ah_luax_bool(L, idx, "parallel_tool_calls", true);
    lua_settop(L, top);
}

static int l_bind_tools(lua_State *L)
{
    static const char *const names[] = {"parallel_tool_calls", "tool_choice", NULL};
    luaL_checkudata(L, 1, MODEL_MT);
    luaL_checktype(L, 2, LUA_TTABLE);
    if (!lua_isnoneornil(L, 3)) {
        luaL_checktype(L, 3, LUA_TTABLE);
        ah_luax_fields(L, 3, "bind_tools", names);
    }
    lua_settop(L, 3);
    struct model *m = push_copy(L, 1);
    set_tools(L, 2, m);
    if (lua_istable(L, 3))
        set_choice(L, 3, m);
    lua_settop(L, 4);
    return 1;
}

/* --- structured output ------------------------------------------------------------------------------- */

/* The response_format that asks for the schema, as the one member of an object. */
static int write_format(lua_State *L, struct ah_json schema, struct ah_buf *to, struct ah_error *err)
{
    char name[AH_CHAT_REQUEST_NAME_BYTES + 1];
    const char *given = ah_luax_str(L, 3, "name", "output");
    ah_chat_names_fit(given, strlen(given), false, name);
    ah_buf_addf(
        to,
        "{\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"%s\",\"schema\":", name);
    bool strict = ah_luax_bool(L, 3, "strict", true);
    if (strict && ah_strict_write(schema, to, err) != 0)
        return -1;
    if (!strict)
        ah_buf_add(to, schema.p, schema.n);
    ah_buf_addf(to, ",\"strict\":%s}}}", strict ? "true" : "false");
    return to->failed ? ah_err_set(err, AH_LIMIT, "the schema is too large") : 0;
}

/* A model whose answers are values of a schema: message.parsed, or message.parsing_error. */
static int l_with_structured_output(lua_State *L)
{
    static const char *const names[] = {"method", "name", "strict", NULL};
    struct ah_error err = {0};
    struct ah_json schema, format;
    luaL_checkudata(L, 1, MODEL_MT);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 3);
    if (lua_isnil(L, 3)) {
        lua_newtable(L);
        lua_replace(L, 3);
    }
    luaL_checktype(L, 3, LUA_TTABLE);
    ah_luax_fields(L, 3, "with_structured_output", names);
    struct model *m = push_whole_copy(L, 1);
    struct ah_buf *given = ah_luax_guard_buf(L, BODY_BYTES), *wire = ah_luax_guard_buf(L, BODY_BYTES);
    if (ah_luajson_encode(L, 2, given, NULL, &err) != 0 ||
        ah_json_check(ah_buf_str(given), given->n, 0, &schema, &err) != 0)
        luaL_error(L, "bad schema (%s)", err.message);
    const char *method = ah_luax_str(L, 3, "method", "json_schema");
    bool mode = strcmp(method, "json_mode") == 0;
    if (!mode && strcmp(method, "json_schema") != 0)
        luaL_error(L, "bad field 'method' ('json_schema' or 'json_mode' expected, got '%s')", method);
    if (mode)
        ah_buf_adds(wire, "{\"response_format\":{\"type\":\"json_object\"}}");
    else if (write_format(L, schema, wire, &err) != 0)
        raise_error(L, &err);
    if (ah_json_check(ah_buf_str(wire), wire->n, 0, &format, &err) != 0)
        raise_error(L, &err);
    merge_params(L, m, format);
    ah_lua_oaopts_text(L, &m->output, ah_buf_str(given));
    lua_settop(L, 4);
    return 1;
}

/* --- one call ---------------------------------------------------------------------------------------- */

/* The whole request without stream. -1: the messages are such that no service takes them. */
static int write_body(lua_State *L, const struct model *m, int messages, struct ah_buf *to,
                      struct ah_error *err)
{
    const char *const fields[] = {"role",
                                  "content",
                                  "name",
                                  "tool_call_id",
                                  "tool_calls",
                                  "invalid_tool_calls",
                                  "refusal",
                                  "audio",
                                  "reasoning",
                                  "reasoning_content",
                                  "reasoning_details",
                                  m->api == AH_OPENAI_RESPONSES ? "output" : NULL,
                                  NULL};
    int top = lua_gettop(L);
    struct ah_buf *given = ah_luax_guard_buf(L, BODY_BYTES);
    put_list(L, messages, "message", fields, given);
    int rc =
        given->failed ? ah_err_set(err, AH_LIMIT, "the messages are larger than %zu bytes", BODY_BYTES) : 0;
    if (rc == 0) {
        struct ah_json v = {given->p, given->n,
                            AH_JSON_ARRAY}; /* just written; the whole is checked when it is sent */
        ah_buf_add(to, m->params, strlen(m->params) - 1);
        ah_buf_adds(to, ",\"messages\":");
        rc = ah_chat_request_messages(v, names_of(m), to, err);
    }
    lua_closeslot(L, top + 1);
    lua_settop(L, top);
    if (m->bound) {
        ah_buf_adds(to, ",\"tools\":");
        ah_buf_adds(to, m->bound->tools);
    }
    if (m->tool_choice)
        ah_buf_addf(to, ",\"tool_choice\":%s", m->tool_choice);
    if (m->parallel >= 0)
        ah_buf_addf(to, ",\"parallel_tool_calls\":%s", m->parallel ? "true" : "false");
    ah_buf_addc(to, '}');
    if (rc == 0 && to->failed)
        rc = ah_err_set(err, AH_LIMIT, "the request is larger than %zu bytes", BODY_BYTES);
    return rc;
}

/* Arguments 1 model, 2 messages, 3 options. The model that holds for this call replaces 1. */
static struct model *check_call(lua_State *L, const char *name)
{
    ah_task_check(L, name);
    struct model *m = luaL_checkudata(L, 1, MODEL_MT);
    luaL_checktype(L, 2, LUA_TTABLE);
    if (lua_isnoneornil(L, 3))
        return m;
    luaL_checktype(L, 3, LUA_TTABLE);
    static const char *const fixed[] = {"api_key", "base_url"};
    for (size_t i = 0; i < 2; i++) {
        if (lua_getfield(L, 3, fixed[i]) != LUA_TNIL)
            luaL_error(L, "'%s' belongs to chat_model, not to a call", fixed[i]);
        lua_pop(L, 1);
    }
    m = push_whole_copy(L, 1);
    ah_lua_oaopts_read_call(L, 3, &m->opts);
    read_common(L, 3, m, name);
    lua_replace(L, 1);
    return m;
}

static struct ah_openai_op *start_call(lua_State *L, const struct model *m, struct ah_openai_req *req,
                                       struct ah_error *err)
{
    struct ah_openai_op *op = NULL;
    struct ah_buf *body = ah_luax_guard_buf(L, BODY_BYTES);
    if (write_body(L, m, 2, body, err) == 0) {
        ah_lua_oaopts_put(L, &m->opts, req);
        req->body = body->p;
        req->body_n = body->n;
        req->api = m->api;
        req->prompt_file = m->prompt_file;
        req->prompt_sha256 = m->prompt_sha256;
        op = ah_openai_call(ah_lua_of(L)->openai, req, err);
    }
    ah_buf_drop(body); /* not the guard: nothing may raise while op is in nobody's hands */
    return op;
}

/* --- the message ---------------------------------------------------------------------------------------- */

static void set_buf(lua_State *L, const char *field, const struct ah_buf *b)
{
    lua_pushlstring(L, ah_buf_str(b), b->n);
    lua_setfield(L, -2, field);
}

static void set_text(lua_State *L, const char *field, const char *s)
{
    if (s && s[0]) {
        lua_pushstring(L, s);
        lua_setfield(L, -2, field);
    }
}

static void set_flag(lua_State *L, const char *field, bool set)
{
    if (set) {
        lua_pushboolean(L, true);
        lua_setfield(L, -2, field);
    }
}

/* The name a script knows; a name that was not bound stays as the model wrote it. */
static void push_name(lua_State *L, const struct model *m, const struct ah_buf *wire)
{
    const struct ah_chat_name *item = ah_chat_names_of_wire(names_of(m), ah_buf_str(wire), wire->n);
    if (item)
        lua_pushlstring(L, item->name, item->name_n);
    else
        lua_pushlstring(L, ah_buf_str(wire), wire->n);
}

static void push_call(lua_State *L, const struct model *m, const struct ah_chat_call *c)
{
    lua_createtable(L, 0, 5);
    set_buf(L, "id", &c->id);
    push_name(L, m, &c->name);
    lua_setfield(L, -2, "name");
    set_buf(L, "arguments", &c->raw);
    if (c->invalid) {
        set_text(L, "error", c->invalid);
        return;
    }
    ah_luajson_push(L, (struct ah_json){c->args, c->args_n, AH_JSON_OBJECT});
    lua_setfield(L, -2, "args");
    set_flag(L, "repaired", c->repaired);
    set_flag(L, "unwrapped", c->unwrapped);
}

static void set_calls(lua_State *L, const struct model *m, const struct ah_chat_choice *ch, bool invalid)
{
    lua_Integer n = 0;
    lua_newtable(L);
    ah_luajson_mark_array(L, -1);
    for (size_t i = 0; i < ch->call_count; i++) {
        if ((ch->calls[i].invalid != NULL) != invalid)
            continue;
        push_call(L, m, &ch->calls[i]);
        lua_rawseti(L, -2, ++n);
    }
    lua_setfield(L, -2, invalid ? "invalid_tool_calls" : "tool_calls");
}

static void set_metadata(lua_State *L, const struct ah_openai_op *op, const struct ah_chat_choice *ch)
{
    lua_createtable(L, 0, 8);
    set_text(L, "model_name", op->chat.model);
    set_text(L, "finish_reason", ah_chat_finish_name(ch->finish));
    if (ch->finish == AH_CHAT_OTHER)
        set_text(L, "finish_reason_given", ch->finish_text);
    set_flag(L, "no_finish_reason", op->chat.flagged);
    set_text(L, "id", op->chat.id);
    set_text(L, "system_fingerprint", op->chat.fingerprint);
    set_text(L, "service_tier", op->chat.tier);
    ah_lua_oaplain_set_call(L, op);
    lua_setfield(L, -2, "response_metadata");
}

/* The answer as a value of the schema that was asked for. Calls come first; a refusal is no answer. */
static void set_parsed(lua_State *L, const struct model *m, const struct ah_chat_choice *ch)
{
    struct ah_json schema;
    if (!m->output || !ch->has_content || ch->has_refusal || ch->call_count ||
        ah_json_check(m->output, strlen(m->output), 0, &schema, NULL) != 0)
        return;
    ah_lua_schema_read(L, schema, &ch->content);
    lua_setfield(L, -3, "parsing_error");
    lua_setfield(L, -2, "parsed");
}

/* Reasoning and calls as the service gave them: they go back with the message. */
static void set_items(lua_State *L, const struct ah_openai_op *op)
{
    const struct ah_buf *items = ah_openai_items(op);
    struct ah_json v;
    if (items->n && ah_json_check(items->p, items->n, 0, &v, NULL) == 0) {
        ah_luajson_push(L, v);
        lua_setfield(L, -2, "output");
    }
}

static void push_message(lua_State *L, const struct model *m, const struct ah_openai_op *op)
{
    const struct ah_chat_choice *ch = ah_chat_first(&op->chat);
    lua_createtable(L, 0, 8);
    set_text(L, "role", "assistant");
    if (ch->has_content)
        set_buf(L, "content", &ch->content);
    if (ch->has_refusal)
        set_buf(L, "refusal", &ch->refusal);
    if (ch->reasoning.n)
        set_buf(L, ch->reasoning_content ? "reasoning_content" : "reasoning", &ch->reasoning);
    set_calls(L, m, ch, false);
    set_calls(L, m, ch, true);
    set_metadata(L, op, ch);
    ah_lua_oaplain_set_usage(L, op);
    set_items(L, op);
    set_parsed(L, m, ch);
}

/* message, or nil and the error, of an op that is done. */
static int push_outcome(lua_State *L, const struct model *m, const struct ah_openai_op *op)
{
    struct ah_error err = {0};
    if (op->op.err.kind == AH_NONE) {
        push_message(L, m, op);
        return 1;
    }
    ah_err_copy(&err, &op->op.err);
    return ah_luax_fail(L, &err);
}

static int k_invoke(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct ah_openai_op *op = (struct ah_openai_op *)ah_task_op(L, (int)idx);
    if (!op->op.done)
        return ah_task_await(L, (int)idx, k_invoke);
    return push_outcome(L, luaL_checkudata(L, 1, MODEL_MT), op);
}

static int l_invoke(lua_State *L)
{
    struct ah_error err = {0};
    struct ah_openai_req req = {0};
    lua_settop(L, 3);
    const struct model *m = check_call(L, "model:invoke");
    struct ah_openai_op *op = start_call(L, m, &req, &err);
    if (!op)
        return ah_luax_fail(L, &err);
    return k_invoke(L, LUA_OK, ah_task_push_op(L, &op->op));
}

/* --- streams ------------------------------------------------------------------------------------------- */

/* Between the poll phase (which fills) and the task that reads. User value 1 is the model. */
struct stream {
    struct ah_openai_op *op; /* counted; kept when done: message() is asked after the loop */
    struct ah_op *news;      /* latch of the task that waits, or NULL */
    struct ah_buf queue;     /* records: struct record, then its texts */
    size_t at;               /* of the first unread record */
    const struct ah_secrets *secrets;
    struct tail *tails; /* what is held back: see hold_tail */
    bool paused, draining, lost, asked;
    bool past; /* of a resumed run: there is nothing behind it any more */
    struct ah_luareplay_stream notes;
};

struct record {
    enum ah_chat_delta_kind kind;
    size_t n, call, id_n, name_n;
};

/* The last bytes of one text (the content, the arguments of one call), which may be the beginning of a secret. */
struct tail {
    struct tail *next;
    struct record r;
    struct ah_buf text, names; /* names: id, then name */
};

static void tell_reader(struct stream *s)
{
    if (s->news)
        ah_op_finish(s->news, NULL);
}

static void queue_record(struct stream *s, const struct tail *t, size_t n)
{
    struct record r = t->r;
    r.n = n;
    ah_buf_add(&s->queue, &r, sizeof r);
    ah_buf_add(&s->queue, t->text.p, n);
    ah_buf_add(&s->queue, t->names.p, t->names.n);
    s->lost |= s->queue.failed || t->text.failed || t->names.failed;
}

static void drop_tail(struct tail **at)
{
    struct tail *t = *at;
    *at = t->next;
    ah_buf_drop(&t->text);
    ah_buf_drop(&t->names);
    free(t);
}

/* What was held back turned out to be no secret. `calls`: of calls, too, whose arguments may come in turns. */
static void flush_tails(struct stream *s, bool calls)
{
    for (struct tail **at = &s->tails; *at;) {
        if (calls || (*at)->r.kind != AH_CHAT_CALL) {
            queue_record(s, *at, (*at)->text.n);
            drop_tail(at);
        } else {
            at = &(*at)->next;
        }
    }
}

/* The text that the delta goes on with, with the delta at its end; NULL: out of memory. */
static struct tail **add_delta(struct stream *s, const struct ah_chat_delta *d)
{
    struct tail **at = &s->tails;
    while (*at && ((*at)->r.kind != d->kind || (*at)->r.call != d->call))
        at = &(*at)->next;
    if (!*at) {
        if (!(*at = calloc(1, sizeof **at)))
            return NULL;
        ah_buf_init(&(*at)->text, 2 * AH_CHAT_TEXT_BYTES);
        ah_buf_init(&(*at)->names, 2 * AH_CHAT_TEXT_BYTES);
        (*at)->r.kind = d->kind;
        (*at)->r.call = d->call;
    }
    struct tail *t = *at;
    ah_buf_add(&t->text, d->text, d->n);
    ah_buf_clear(&t->names);
    if (d->c) {
        t->r.id_n = d->c->id.n;
        t->r.name_n = d->c->name.n;
        ah_buf_add(&t->names, ah_buf_str(&d->c->id), t->r.id_n);
        ah_buf_add(&t->names, ah_buf_str(&d->c->name), t->r.name_n);
    }
    return at;
}

/* A model may write a secret in pieces. The script is given it in one, so that it is masked whole in the notes. */
static void on_delta(void *arg, const struct ah_chat_delta *d)
{
    struct stream *s = arg;
    if (s->draining)
        return;
    if (d->kind == AH_CHAT_CALL)
        flush_tails(s, false);
    struct tail **at = add_delta(s, d);
    if (!at) {
        s->lost = true;
    } else {
        struct ah_buf *text = &(*at)->text;
        size_t held = ah_secret_tail(s->secrets, ah_buf_str(text), text->n);
        if (held == 0 || held < text->n)
            queue_record(s, *at, text->n - held);
        ah_buf_consume(text, text->n - held);
        if (held == 0)
            drop_tail(at);
    }
    tell_reader(s);
}

static bool is_full(void *arg)
{
    struct stream *s = arg;
    if (s->draining || s->queue.n - s->at < AH_HTTP_STREAM_QUEUE_BYTES)
        return false;
    s->paused = true;
    return true;
}

static void on_stream_done(struct ah_op *op, void *arg)
{
    (void)op;
    flush_tails(arg, true);
    tell_reader(arg);
}

static void drop_texts(struct stream *s)
{
    while (s->tails)
        drop_tail(&s->tails);
    ah_buf_clear(&s->queue);
    s->at = 0;
}

/* Its beginning is in the notes of an earlier process, its end is nowhere. */
static void set_cut(struct ah_error *err)
{
    ah_err_set(err, AH_TRUNCATED, "this stream was cut when the run was interrupted; ask the model again");
    err->retryable = true;
}

/* Left early: the call is cancelled and its span says so. What came to its end stays. */
static void stop_stream(struct stream *s)
{
    if (!s->op || s->op->op.done)
        return;
    ah_openai_forget(s->op);
    ah_op_wait(&s->op->op, NULL, NULL);
    ah_op_cancel(&s->op->op);
    drop_texts(s);
    tell_reader(s);
}

static int m_stream_close(lua_State *L)
{
    struct stream *s = luaL_checkudata(L, 1, STREAM_MT);
    ah_luareplay_stream_end(&s->notes);
    stop_stream(s);
    return 0;
}

static int m_stream_release(lua_State *L)
{
    struct stream *s = luaL_checkudata(L, 1, STREAM_MT);
    struct ah_lua *lua = ah_lua_of(L);
    ah_luareplay_stream_end(&s->notes);
    if (s->op) {
        const struct ah_error *err = &s->op->op.err;
        if (s->op->op.done && !s->asked && err->kind != AH_NONE && err->kind != AH_CANCELLED)
            ah_log_line(lua->core->log, AH_LOG_WARN,
                        "a model stream failed, and the script did not ask stream:message(): %s",
                        err->message);
        stop_stream(s);
        ah_op_wait(&s->op->op, NULL, NULL);
        ah_op_unref(&s->op->op);
    }
    s->op = NULL;
    ah_op_unref(s->news);
    s->news = NULL;
    drop_texts(s);
    ah_buf_drop(&s->queue);
    return 0;
}

static void push_chunk(lua_State *L, struct stream *s)
{
    static const char *const fields[] = {"content", "refusal", "reasoning"};
    struct record r;
    memcpy(&r, s->queue.p + s->at, sizeof r);
    const char *text = s->queue.p + s->at + sizeof r;
    lua_createtable(L, 0, 1);
    if (r.kind == AH_CHAT_CALL) {
        lua_createtable(L, 0, 4);
        lua_pushinteger(L, (lua_Integer)r.call + 1);
        lua_setfield(L, -2, "index");
        lua_pushlstring(L, text + r.n, r.id_n);
        lua_setfield(L, -2, "id");
        lua_pushlstring(L, text + r.n + r.id_n, r.name_n);
        lua_setfield(L, -2, "name");
    }
    lua_pushlstring(L, text, r.n);
    lua_setfield(L, -2, r.kind == AH_CHAT_CALL ? "arguments" : fields[r.kind]);
    if (r.kind == AH_CHAT_CALL)
        lua_setfield(L, -2, "tool_call");
    s->at += sizeof r + r.n + r.id_n + r.name_n;
    if (s->at == s->queue.n) {
        ah_buf_clear(&s->queue);
        s->at = 0;
    }
    if (s->paused && s->queue.n - s->at < AH_HTTP_STREAM_QUEUE_BYTES / 2) {
        s->paused = false;
        ah_openai_resume(s->op);
    }
}

/* Waits for news of the stream at index 1, then goes on with k. */
static int await_news(lua_State *L, struct stream *s, lua_KFunction k)
{
    ah_task_check(L, "stream");
    if (s->news && !s->news->done)
        return luaL_error(L, "the stream is being read by another task");
    ah_op_unref(s->news);
    s->news = ah_op_latch(s->op->op.loop);
    if (!s->news)
        return luaL_error(L, "out of memory");
    return ah_task_await(L, ah_task_push_op(L, ah_op_ref(s->news)), k);
}

static int k_next(lua_State *L, int status, lua_KContext idx)
{
    struct stream *s = luaL_checkudata(L, 1, STREAM_MT);
    (void)status;
    (void)idx;
    if (s->lost)
        return luaL_error(L, "out of memory in a model stream");
    if (s->past) {
        struct ah_error err = {0};
        set_cut(&err);
        ah_luax_push_error(L, &err);
        return lua_error(L);
    }
    if (s->at < s->queue.n) {
        push_chunk(L, s);
        return 1;
    }
    if (!s->op || s->op->op.done) {
        ah_luareplay_stream_end(&s->notes);
        lua_pushnil(L);
        return 1;
    }
    return await_news(L, s, k_next);
}

static int m_stream_call(lua_State *L)
{
    lua_settop(L, 1);
    return k_next(L, LUA_OK, 0);
}

static int k_message(lua_State *L, int status, lua_KContext idx)
{
    struct stream *s = luaL_checkudata(L, 1, STREAM_MT);
    (void)status;
    (void)idx;
    if (!s->op->op.done)
        return await_news(L, s, k_message);
    ah_luareplay_stream_end(&s->notes);
    s->asked = true;
    lua_getiuservalue(L, 1, 1);
    return push_outcome(L, luaL_checkudata(L, -1, MODEL_MT), s->op);
}

/* Reads what is left without giving it out, then the whole message. */
static int l_stream_message(lua_State *L)
{
    struct stream *s = luaL_checkudata(L, 1, STREAM_MT);
    lua_settop(L, 1);
    if (s->past) {
        struct ah_error err = {0};
        set_cut(&err);
        return ah_luax_fail(L, &err);
    }
    if (!s->op->op.done)
        ah_task_check(L, "stream:message");
    s->draining = true;
    drop_texts(s);
    if (s->paused && !s->op->op.done) {
        s->paused = false;
        ah_openai_resume(s->op);
    }
    return k_message(L, LUA_OK, 0);
}

static int l_stream(lua_State *L)
{
    struct ah_error err = {0};
    lua_settop(L, 3);
    const struct model *m = check_call(L, "model:stream");
    struct stream *s = ah_luax_new(L, sizeof *s, 1, STREAM_MT);
    int at = lua_gettop(L);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, at, 1);
    ah_buf_init(&s->queue, 2 * AH_CHAT_TEXT_BYTES);
    s->secrets = ah_lua_of(L)->core->secrets;
    struct ah_openai_req req = {.stream = true, .on_delta = on_delta, .is_full = is_full, .arg = s};
    s->op = start_call(L, m, &req, &err);
    if (!s->op)
        return ah_luax_fail(L, &err);
    ah_op_wait(&s->op->op, on_stream_done, s);
    ah_luareplay_stream_begin(L, &s->notes);
    /* As in `for chunk in model:stream(...)`: the fourth value is closed when the loop is left. */
    lua_settop(L, at);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, at);
    return 4;
}

/* --- the module ----------------------------------------------------------------------------------------- */

/* For the notes: a stream of an earlier process. */
static int l_past_stream(lua_State *L)
{
    struct stream *s = ah_luax_new(L, sizeof *s, 1, STREAM_MT);
    s->past = true;
    return 1;
}

/* The methods of a class on top of the stack. */
static void push_methods(lua_State *L, const char *mt)
{
    luaL_getmetatable(L, mt);
    lua_getfield(L, -1, "__index");
    lua_remove(L, -2);
}

static void note_results(lua_State *L)
{
    static const char *const of_model[] = {"invoke", "stream", NULL};
    static const char *const of_stream[] = {"message", NULL};
    push_methods(L, MODEL_MT);
    ah_luareplay_calls(L, "model:", of_model);
    lua_pop(L, 1);
    push_methods(L, STREAM_MT);
    ah_luareplay_calls(L, "stream:", of_stream);
    lua_pop(L, 1);
    ah_luanotes_class(L, STREAM_MT, l_past_stream);
}

static const luaL_Reg stream_methods[] = {
    {"close", m_stream_close},
    {"message", l_stream_message},
    {NULL, NULL},
};

static const luaL_Reg model_methods[] = {
    {"bind_tools", l_bind_tools},
    {"invoke", l_invoke},
    {"stream", l_stream},
    {"with_structured_output", l_with_structured_output},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"chat_model", l_chat_model},
    {"embeddings", ah_lua_oaplain_embeddings},
    {"models", ah_lua_oaplain_models},
    {"moderations", ah_lua_oaplain_moderations},
    {NULL, NULL},
};

int luaopen_host_openai(lua_State *L)
{
    ah_luax_class(L, MODEL_MT, model_methods, m_model_release);
    ah_lua_oaplain_open(L);
    ah_luax_class(L, STREAM_MT, stream_methods, m_stream_release);
    luaL_getmetatable(L, STREAM_MT);
    lua_pushcfunction(L, m_stream_call);
    ah_luareplay_call(L, "stream:next");
    lua_setfield(L, -2, "__call");
    lua_pushcfunction(L, m_stream_close);
    lua_setfield(L, -2, "__close");
    lua_pop(L, 1);
    note_results(L);
    luaL_newlib(L, functions);
    static const char *const noted[] = {"embeddings", "models", "moderations", NULL};
    ah_luareplay_calls(L, "openai.", noted);
    return 1;
}
