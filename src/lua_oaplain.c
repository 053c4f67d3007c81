/* host.openai.embeddings, moderations and models: one JSON answer each. Called by lua_openai.c. Vectors are
 * asked for as base64 and come back as numbers; many inputs go in several requests. No policy. */
#include "lua_oaplain.h"

#include "hash.h"
#include "lua_oaopts.h"
#include "luajson.h"
#include "task.h"

#include <stdlib.h>
#include <string.h>

#define BATCH_MT "host.openai.batch"
#define BODY_BYTES ((size_t)64 << 20)
#define INPUTS_COUNT 2048                  /* of one request: the service's limit */
#define INPUTS_BYTES ((size_t)600 << 10)   /* the same: 300,000 tokens, of two bytes at least */
#define ALL_INPUTS_COUNT ((size_t)1000000) /* of one call of a script */
#define VECTOR_BYTES ((size_t)1 << 20)     /* decoded */

/* --- what all answers share ------------------------------------------------------------------------ */

void ah_lua_oaplain_set_call(lua_State *L, const struct ah_openai_op *op)
{
    struct ah_json headers;
    lua_pushinteger(L, op->attempts);
    lua_setfield(L, -2, "attempts");
    lua_pushnumber(L, (double)op->waited_ms / 1000);
    lua_setfield(L, -2, "waited");
    if (op->request_id[0]) {
        lua_pushstring(L, op->request_id);
        lua_setfield(L, -2, "request_id");
    }
    if (op->gateway.n && ah_json_check(op->gateway.p, op->gateway.n, 0, &headers, NULL) == 0) {
        ah_luajson_push(L, headers);
        lua_setfield(L, -2, "headers");
    }
}

void ah_lua_oaplain_set_usage(lua_State *L, const struct ah_openai_op *op)
{
    struct ah_json usage;
    if (op->usage_metadata.n &&
        ah_json_check(op->usage_metadata.p, op->usage_metadata.n, 0, &usage, NULL) == 0) {
        ah_luajson_push(L, usage);
        lua_setfield(L, -2, "usage_metadata");
    }
    if (op->cost >= 0) {
        lua_pushnumber(L, op->cost);
        lua_setfield(L, -2, "cost");
    }
}

static void set_metadata(lua_State *L, const struct ah_openai_op *op)
{
    lua_createtable(L, 0, 4);
    ah_lua_oaplain_set_call(L, op);
    lua_setfield(L, -2, "response_metadata");
}

/* --- requests in parts -------------------------------------------------------------------------------- */

/* One call of a script: options, the parameters as JSON, and for embeddings the inputs one by one. */
struct batch {
    struct ah_lua_oaopts opts;
    struct ah_buf params; /* "{...": members without input, not closed */
    struct ah_buf inputs; /* JSON values, one after another */
    size_t *ends;         /* of each, in inputs */
    size_t count, next, asked;
    int64_t tokens, attempts, waited_ms;
    double cost; /* < 0: unknown */
    bool lone;   /* one input, which was no list */
};

static int m_batch_release(lua_State *L)
{
    struct batch *b = luaL_checkudata(L, 1, BATCH_MT);
    ah_lua_oaopts_drop(&b->opts);
    ah_buf_drop(&b->params);
    ah_buf_drop(&b->inputs);
    free(b->ends);
    memset(b, 0, sizeof *b);
    return 0;
}

/* The fields of the table at 1 that are not ours go to the service as they are. Index 2: the batch. */
static struct batch *push_batch(lua_State *L, const char *what, const char *apart)
{
    static const char *const own[] = {AH_LUA_OAOPTS_NAMES, NULL};
    struct ah_error err = {0};
    struct batch *b = ah_luax_new(L, sizeof *b, 0, BATCH_MT);
    ah_buf_init(&b->params, BODY_BYTES);
    ah_buf_init(&b->inputs, BODY_BYTES);
    b->cost = -1;
    ah_lua_oaopts_read(L, 1, &b->opts);
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        bool ours = lua_type(L, -2) != LUA_TSTRING || strcmp(lua_tostring(L, -2), apart) == 0;
        for (size_t i = 0; !ours && own[i]; i++)
            ours = strcmp(lua_tostring(L, -2), own[i]) == 0;
        if (ours)
            continue;
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, 3);
    }
    if (ah_luajson_encode(L, 3, &b->params, NULL, &err) != 0)
        luaL_error(L, "bad field in %s (%s)", what, err.message);
    b->params.p[--b->params.n] = '\0'; /* the last brace: more members follow */
    lua_settop(L, 2);
    ah_lua_oaopts_check(L, &b->opts);
    return b;
}

static struct ah_openai_op *start(lua_State *L, struct batch *b, enum ah_openai_api api, const char *body,
                                  size_t n, const char *id, struct ah_error *err)
{
    struct ah_openai_req req = {.api = api, .body = body, .body_n = n, .id = id};
    ah_lua_oaopts_put(L, &b->opts, &req);
    return ah_openai_call(ah_lua_of(L)->openai, &req, err);
}

/* The answer's JSON on top of the stack. */
static void push_body(lua_State *L, const struct ah_openai_op *op, const char *member)
{
    struct ah_json v = {0};
    ah_json_check(ah_buf_str(&op->body), op->body.n, 0, &v, NULL);
    if (member)
        v = ah_json_get(v, member);
    if (v.type == AH_JSON_ARRAY || v.type == AH_JSON_OBJECT) {
        ah_luajson_push(L, v);
    } else { /* Ollama says null for an empty list */
        lua_newtable(L);
        ah_luajson_mark_array(L, -1);
    }
}

static int fail(lua_State *L, const struct ah_error *why)
{
    struct ah_error err = {0};
    ah_err_copy(&err, why);
    return ah_luax_fail(L, &err);
}

/* --- models ------------------------------------------------------------------------------------------- */

static int k_models(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct ah_openai_op *op = (struct ah_openai_op *)ah_task_op(L, (int)idx);
    if (!op->op.done)
        return ah_task_await(L, (int)idx, k_models);
    if (op->op.err.kind != AH_NONE)
        return fail(L, &op->op.err);
    lua_getfield(L, 1, "id");
    push_body(L, op, lua_isnil(L, -1) ? "data" : NULL);
    return 1;
}

int ah_lua_oaplain_models(lua_State *L)
{
    static const char *const names[] = {AH_LUA_OAOPTS_NAMES, "id", NULL};
    struct ah_error err = {0};
    ah_task_check(L, "openai.models");
    lua_settop(L, 1);
    if (lua_isnil(L, 1)) {
        lua_newtable(L);
        lua_replace(L, 1);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    ah_luax_fields(L, 1, "models", names);
    struct batch *b = push_batch(L, "models", "id");
    const char *id = ah_luax_str(L, 1, "id", NULL);
    luaL_argcheck(L, !id || id[0], 1, "the model's id is empty");
    struct ah_openai_op *op = start(L, b, AH_OPENAI_MODELS, NULL, 0, id, &err);
    if (!op)
        return ah_luax_fail(L, &err);
    return k_models(L, LUA_OK, ah_task_push_op(L, &op->op));
}

/* --- moderations ---------------------------------------------------------------------------------------- */

static int k_moderations(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct ah_openai_op *op = (struct ah_openai_op *)ah_task_op(L, (int)idx);
    if (!op->op.done)
        return ah_task_await(L, (int)idx, k_moderations);
    if (op->op.err.kind != AH_NONE)
        return fail(L, &op->op.err);
    push_body(L, op, NULL);
    set_metadata(L, op);
    return 1;
}

/* `input` must be there; which shapes it may have is the service's affair. */
static void need_input(lua_State *L, const char *what)
{
    int type = lua_getfield(L, 1, "input");
    if (type != LUA_TSTRING && type != LUA_TTABLE)
        luaL_error(L, "bad field 'input' of %s (string or list expected, got %s)", what,
                   luaL_typename(L, -1));
    if (type == LUA_TTABLE && luaL_len(L, -1) == 0)
        luaL_error(L, "bad field 'input' of %s (the list is empty)", what);
    lua_pop(L, 1);
}

int ah_lua_oaplain_moderations(lua_State *L)
{
    struct ah_error err = {0};
    ah_task_check(L, "openai.moderations");
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    need_input(L, "moderations");
    struct batch *b = push_batch(L, "moderations", "");
    ah_buf_addc(&b->params, '}');
    struct ah_openai_op *op =
        start(L, b, AH_OPENAI_MODERATIONS, ah_buf_str(&b->params), b->params.n, NULL, &err);
    if (!op)
        return ah_luax_fail(L, &err);
    return k_moderations(L, LUA_OK, ah_task_push_op(L, &op->op));
}

/* --- embeddings: inputs ----------------------------------------------------------------------------------- */

static void add_input(lua_State *L, struct batch *b, int idx, size_t at)
{
    struct ah_error err = {0};
    int type = lua_type(L, idx);
    if ((type != LUA_TSTRING && type != LUA_TTABLE) || (type == LUA_TTABLE && luaL_len(L, idx) == 0))
        luaL_error(L, "bad input %d of embeddings (a text or a list of tokens expected, got %s)", (int)at + 1,
                   type == LUA_TTABLE ? "an empty table" : luaL_typename(L, idx));
    if (type == LUA_TSTRING && lua_rawlen(L, idx) == 0)
        luaL_error(L, "input %d of embeddings is empty, which the service refuses; leave it out",
                   (int)at + 1);
    if (ah_luajson_encode(L, idx, &b->inputs, NULL, &err) != 0)
        luaL_error(L, "bad input %d of embeddings (%s)", (int)at + 1, err.message);
    b->ends[at] = b->inputs.n;
}

/* A text, a list of texts, a list of tokens, or a list of such lists. */
static void read_inputs(lua_State *L, struct batch *b)
{
    int type = lua_getfield(L, 1, "input"), at = lua_gettop(L);
    if (type == LUA_TTABLE) {
        b->lone = lua_geti(L, at, 1) == LUA_TNUMBER;
        lua_settop(L, at);
    } else {
        b->lone = true;
    }
    lua_Integer n = b->lone ? 1 : luaL_len(L, at);
    if (n > (lua_Integer)ALL_INPUTS_COUNT)
        luaL_error(L, "embeddings takes at most %d inputs at once", (int)ALL_INPUTS_COUNT);
    b->count = (size_t)n;
    b->ends = calloc(b->count, sizeof *b->ends);
    if (!b->ends)
        luaL_error(L, "out of memory");
    for (size_t i = 0; i < b->count; i++) {
        if (!b->lone)
            lua_geti(L, at, (lua_Integer)i + 1);
        add_input(L, b, b->lone ? at : at + 1, i);
        lua_settop(L, at);
    }
    lua_settop(L, at - 1);
}

/* The next inputs that fit into one request. */
static struct ah_openai_op *start_part(lua_State *L, struct batch *b, struct ah_error *err)
{
    size_t from = b->next ? b->ends[b->next - 1] : 0, last = b->next;
    while (last + 1 < b->count && last + 1 - b->next < INPUTS_COUNT &&
           b->ends[last + 1] - from <= INPUTS_BYTES)
        last++;
    b->asked = last + 1 - b->next;
    struct ah_buf *body = ah_luax_guard_buf(L, BODY_BYTES);
    ah_buf_add(body, b->params.p, b->params.n);
    ah_buf_adds(body, b->lone ? ",\"input\":" : ",\"input\":[");
    for (size_t i = b->next; i <= last; i++) {
        size_t begin = i ? b->ends[i - 1] : 0;
        if (i > b->next)
            ah_buf_addc(body, ',');
        ah_buf_add(body, b->inputs.p + begin, b->ends[i] - begin);
    }
    ah_buf_adds(body, b->lone ? "}" : "]}");
    if (body->failed)
        luaL_error(L, "out of memory");
    struct ah_openai_op *op = start(L, b, AH_OPENAI_EMBEDDINGS, body->p, body->n, NULL, err);
    ah_buf_drop(body); /* not the guard: nothing may raise while op is in nobody's hands */
    return op;
}

/* --- embeddings: vectors ------------------------------------------------------------------------------------ */

/* Little-endian floats of 32 bits; false: no base64 of such. Pushes a table. */
static bool push_floats(lua_State *L, struct ah_json text)
{
    int top = lua_gettop(L);
    struct ah_buf *raw = ah_luax_guard_buf(L, VECTOR_BYTES);
    size_t size = text.n / 4 * 3 + 3;
    unsigned char *to = (unsigned char *)ah_buf_reserve(raw, size);
    int n = to && ah_json_is_plain(text) ? ah_hash_base64_decode(text.p + 1, text.n - 2, to, size) : -1;
    if (n < 4 || n % 4)
        return false;
    lua_createtable(L, n / 4, 0);
    for (int i = 0; i < n / 4; i++) {
        const unsigned char *p = to + (size_t)i * 4;
        uint32_t bits = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        float f;
        memcpy(&f, &bits, sizeof f);
        lua_pushnumber(L, (double)f);
        lua_rawseti(L, -2, i + 1);
    }
    ah_luajson_mark_array(L, -1);
    lua_closeslot(L, top + 1);
    lua_replace(L, top + 1);
    return true;
}

/* Puts the vectors of one part behind those that are there (table at 3). false: not what was asked for. */
static bool take_part(lua_State *L, const struct batch *b, struct ah_json body)
{
    struct ah_json data = ah_json_get(body, "data");
    int64_t position = 0;
    if (ah_json_count(data) != b->asked)
        return false;
    for (struct ah_json_iter it = ah_json_iter(data); ah_json_next(&it); position++) {
        struct ah_json vector = ah_json_get(it.value, "embedding");
        int64_t index = position;
        ah_json_int(ah_json_get(it.value, "index"), &index);
        if (index < 0 || (size_t)index >= b->asked)
            return false;
        lua_createtable(L, 0, 1);
        if (vector.type == AH_JSON_ARRAY)
            ah_luajson_push(L, vector);
        else if (vector.type != AH_JSON_STRING || !push_floats(L, vector))
            return false;
        lua_setfield(L, -2, "embedding");
        lua_rawseti(L, 3, (lua_Integer)b->next + index + 1);
    }
    return luaL_len(L, 3) == (lua_Integer)(b->next + b->asked);
}

static void push_usage(lua_State *L, int64_t tokens)
{
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, tokens);
    lua_setfield(L, -2, "input_tokens");
    lua_pushinteger(L, 0);
    lua_setfield(L, -2, "output_tokens");
    lua_pushinteger(L, tokens);
    lua_setfield(L, -2, "total_tokens");
}

/* The whole result, from the last part's op and the vectors at 3. */
static int push_embeddings(lua_State *L, const struct batch *b, const struct ah_openai_op *op,
                           struct ah_json body)
{
    lua_createtable(L, 0, 5);
    lua_pushvalue(L, 3);
    ah_luajson_mark_array(L, -1);
    lua_setfield(L, -2, "data");
    ah_luajson_push(L, ah_json_get(body, "model"));
    lua_setfield(L, -2, "model");
    if (op->has_usage) {
        push_usage(L, b->tokens);
        lua_setfield(L, -2, "usage_metadata");
    }
    if (b->cost >= 0) {
        lua_pushnumber(L, b->cost);
        lua_setfield(L, -2, "cost");
    }
    set_metadata(L, op);
    return 1;
}

static int k_embeddings(lua_State *L, int status, lua_KContext idx);

static int next_part(lua_State *L, struct batch *b)
{
    struct ah_error err = {0};
    lua_settop(L, 3); /* the part before is dropped here */
    struct ah_openai_op *op = start_part(L, b, &err);
    if (!op)
        return ah_luax_fail(L, &err);
    return k_embeddings(L, LUA_OK, ah_task_push_op(L, &op->op));
}

static int k_embeddings(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct batch *b = luaL_checkudata(L, 2, BATCH_MT);
    struct ah_openai_op *op = (struct ah_openai_op *)ah_task_op(L, (int)idx);
    struct ah_json body = {0};
    if (!op->op.done)
        return ah_task_await(L, (int)idx, k_embeddings);
    if (op->op.err.kind != AH_NONE)
        return fail(L, &op->op.err);
    ah_json_check(ah_buf_str(&op->body), op->body.n, 0, &body, NULL);
    if (!take_part(L, b, body)) {
        struct ah_error err = {0};
        ah_err_set(&err, AH_PROTOCOL, "the model service did not answer with %zu vectors", b->asked);
        return ah_luax_fail(L, &err);
    }
    bool first = b->next == 0;
    b->next += b->asked;
    b->tokens += op->tokens.input;
    b->cost = op->cost < 0 || (b->cost < 0 && !first) ? -1 : (first ? 0 : b->cost) + op->cost;
    if (b->next == b->count)
        return push_embeddings(L, b, op, body);
    return next_part(L, b);
}

int ah_lua_oaplain_embeddings(lua_State *L)
{
    ah_task_check(L, "openai.embeddings");
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    luaL_argcheck(L, ah_luax_need_str(L, 1, "model")[0], 1, "the model's name is empty");
    lua_settop(L, 1);
    need_input(L, "embeddings");
    struct batch *b = push_batch(L, "embeddings", "input");
    read_inputs(L, b);
    lua_newtable(L);
    return next_part(L, b);
}

void ah_lua_oaplain_open(lua_State *L)
{
    static const luaL_Reg none[] = {{NULL, NULL}};
    ah_luax_class(L, BATCH_MT, none, m_batch_release);
}
