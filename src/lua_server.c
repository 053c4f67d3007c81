/* host.server: scripts that serve HTTP; the emulator stands on it. Called by scripts.
 *
 * Each request runs its handler in a task of its own. The request object owns one reference of its
 * exchange until the handler has ended; a stream owns another. No policy: what is answered is the
 * script's decision, except that a handler that fails is a 500. */
#include "lua_server.h"

#include "json.h"
#include "limits.h"
#include "log.h"
#include "luareplay.h"
#include "multipart.h"
#include "replay.h"
#include "server.h"
#include "task.h"
#include "unpack.h"
#include "url.h"

#include <stdio.h>
#include <string.h>

#define SERVER_MT "host.server"
#define REQ_MT "host.server.request"
#define STREAM_MT "host.server.stream"
#define FORM_BYTES ((size_t)16 << 20)
#define PARTS_BYTES ((size_t)16 << 20) /* names and places of a multipart body, not its payloads */
#define BOUNDARY_BYTES 256
#define MESSAGE_BYTES 256
#define FAILURE_BYTES ((size_t)1 << 20)

struct lua_server { /* user value 1: the handler */
    struct ah_server *server;
    struct ah_lua *lua;
};

struct request {           /* user value 1: table of fields read or set so far; 2: the stream */
    struct ah_exchange *x; /* NULL: the handler has ended */
    struct ah_server_req req;
    bool streamed;
    bool aborted;
};

struct stream {
    struct ah_exchange *x; /* NULL: collected */
    struct ah_op *room;    /* the writer that waits */
    bool ended;
};

/* --- query and forms ------------------------------------------------------------------------------- */

/* Pushes the decoded text; one with a broken escape stays as it is, and makes *broken true. */
static void push_decoded(lua_State *L, const char *p, size_t n, bool form, bool *broken)
{
    struct ah_buf *b = ah_luax_guard_buf(L, FORM_BYTES);
    int at = lua_gettop(L);
    if (ah_url_decode(p, n, form, b) == 0) {
        lua_pushlstring(L, ah_buf_str(b), b->n);
    } else {
        *broken = true;
        lua_pushlstring(L, p, n);
    }
    lua_closeslot(L, at);
    lua_replace(L, at);
}

/* Calls on the pairs of a=1&b=2. `only` NULL: adds to the table on top what it does not have yet (the
 * first of repeated keys wins); else appends all values of that key to the table on top. */
static bool add_pairs(lua_State *L, const char *text, size_t n, const char *only)
{
    int to = lua_gettop(L);
    bool broken = false;
    for (const char *p = text, *end = text + n; p < end;) {
        const char *amp = memchr(p, '&', (size_t)(end - p));
        const char *stop = amp ? amp : end;
        const char *eq = memchr(p, '=', (size_t)(stop - p));
        if (stop > p) {
            push_decoded(L, p, (size_t)((eq ? eq : stop) - p), true, &broken);
            push_decoded(L, eq ? eq + 1 : stop, eq ? (size_t)(stop - eq - 1) : 0, true, &broken);
            lua_pushvalue(L, -2);
            if (only && strcmp(lua_tostring(L, -1), only) == 0) {
                lua_pop(L, 1);
                lua_rawseti(L, to, (lua_Integer)lua_rawlen(L, to) + 1);
            } else if (!only && lua_rawget(L, to) == LUA_TNIL) {
                lua_pop(L, 1);
                lua_rawset(L, to);
            }
            lua_settop(L, to);
        }
        p = stop + 1;
    }
    return !broken;
}

static int l_parse_form(lua_State *L)
{
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n);
    lua_newtable(L);
    if (add_pairs(L, text, n, NULL))
        return 1;
    struct ah_error err = {0};
    ah_err_set(&err, AH_INVALID, "The form holds a '%%' that is not followed by two hexadecimal digits.");
    return ah_luax_fail(L, &err);
}

static int l_decode_url(lua_State *L)
{
    size_t n;
    bool broken = false;
    const char *text = luaL_checklstring(L, 1, &n);
    push_decoded(L, text, n, false, &broken);
    if (!broken)
        return 1;
    struct ah_error err = {0};
    ah_err_set(&err, AH_INVALID, "The text holds a '%%' that is not followed by two hexadecimal digits.");
    return ah_luax_fail(L, &err);
}

/* --- multipart --------------------------------------------------------------------------------------- */

struct part { /* texts are offsets into another buffer: it moves while it grows */
    size_t name_at, type_at, filename_at;
    bool has_filename;
    bool encoded;
    long long length;
    const char *p;
    size_t n;
};

struct part_list {
    struct ah_buf *parts, *texts;
};

static size_t keep_text(struct ah_buf *to, const char *s)
{
    size_t at = to->n;
    ah_buf_add(to, s, strlen(s) + 1);
    return at;
}

static int on_part(void *arg, const struct ah_multipart_part *from)
{
    struct part_list *list = arg;
    struct part part = {.has_filename = from->filename != NULL,
                        .encoded = from->encoded != 0,
                        .length = from->length,
                        .p = from->p,
                        .n = from->n};
    part.name_at = keep_text(list->texts, from->name);
    part.type_at = keep_text(list->texts, from->type);
    if (from->filename)
        part.filename_at = keep_text(list->texts, from->filename);
    ah_buf_add(list->parts, &part, sizeof part);
    return list->parts->failed || list->texts->failed;
}

static void push_part(lua_State *L, const struct part *part, const char *texts)
{
    lua_createtable(L, 0, 6);
    lua_pushstring(L, texts + part->name_at);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, texts + part->type_at);
    lua_setfield(L, -2, "type");
    if (part->has_filename) {
        lua_pushstring(L, texts + part->filename_at);
        lua_setfield(L, -2, "filename");
    }
    if (part->length >= 0) {
        lua_pushinteger(L, part->length);
        lua_setfield(L, -2, "length");
    }
    lua_pushboolean(L, part->encoded);
    lua_setfield(L, -2, "encoded");
    lua_pushlstring(L, part->p, part->n);
    lua_setfield(L, -2, "body");
}

static int l_parse_multipart(lua_State *L)
{
    size_t n;
    const char *type = luaL_checkstring(L, 1), *body = luaL_checklstring(L, 2, &n);
    struct ah_error err = {0};
    char boundary[BOUNDARY_BYTES];
    if (ah_multipart_boundary(type, boundary, sizeof boundary) != 0) {
        ah_err_set(&err, AH_PROTOCOL, "The Content-Type names no multipart boundary.");
        return ah_luax_fail(L, &err);
    }
    struct part_list list;
    list.parts = ah_luax_guard_buf(L, PARTS_BYTES);
    list.texts = ah_luax_guard_buf(L, PARTS_BYTES);
    if (ah_multipart_read(body, n, boundary, on_part, &list, &err) != 0) {
        if (list.parts->failed || list.texts->failed)
            ah_err_set(&err, AH_LIMIT, "The multipart body has too many parts.");
        return ah_luax_fail(L, &err);
    }
    lua_newtable(L);
    size_t count = list.parts->n / sizeof(struct part);
    for (size_t i = 0; i < count; i++) {
        struct part part;
        memcpy(&part, list.parts->p + i * sizeof part, sizeof part);
        push_part(L, &part, list.texts->p);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* unpack_body(coding, body): the bytes as they were before they were packed */
static int l_unpack_body(lua_State *L)
{
    size_t n;
    const char *coding = luaL_checkstring(L, 1), *body = luaL_checklstring(L, 2, &n);
    struct ah_error err = {0};
    luaL_argcheck(L, ah_unpack_knows(coding), 1, "zstd or gzip expected");
    struct ah_buf *to = ah_luax_guard_buf(L, AH_SERVER_BODY_BYTES);
    if (ah_unpack_body(coding, body, n, to, &err) != 0)
        return ah_luax_fail(L, &err);
    lua_pushlstring(L, ah_buf_str(to), to->n);
    return 1;
}

/* --- headers of an answer ------------------------------------------------------------------------- */

/* Appends one header line; NULL, or what is wrong. The value is at the top. */
static const char *add_header(lua_State *L, const char *name, size_t name_n, struct ah_buf *to)
{
    int type = lua_type(L, -1);
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
        return "is neither a string nor a number";
    size_t n;
    lua_pushvalue(L, -1); /* a number must not be changed in the script's table */
    const char *value = lua_tolstring(L, -1, &n);
    lua_pop(L, 1);
    if (!ah_server_is_header(name, name_n, value, n))
        return "holds characters that a header cannot have";
    ah_buf_add(to, name, name_n);
    ah_buf_adds(to, ": ");
    ah_buf_add(to, value, n);
    ah_buf_addc(to, '\n');
    return to->failed ? "is too long" : NULL;
}

static const char *add_values(lua_State *L, const char *name, size_t name_n, struct ah_buf *to)
{
    if (!lua_istable(L, -1))
        return add_header(L, name, name_n, to);
    const char *wrong = NULL;
    lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
    for (lua_Integer i = 1; i <= n && !wrong; i++) {
        lua_rawgeti(L, -1, i);
        wrong = add_header(L, name, name_n, to);
        lua_pop(L, 1);
    }
    return wrong;
}

/* Replaces the name on top by the next one in byte order, NULL at the end: answers are the same every
 * time. Few headers: no sorting. */
static const char *next_name(lua_State *L, int idx, const char *after, size_t *n)
{
    const char *best = NULL;
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            continue;
        size_t m;
        const char *name = lua_tolstring(L, -1, &m); /* anchored by the table */
        if (strlen(name) == m && (!after || strcmp(name, after) > 0) && (!best || strcmp(name, best) < 0)) {
            best = name;
            *n = m;
        }
    }
    return best;
}

/* The headers table at idx (nil: none) as lines. False: *wrong says why, at most `size` bytes. */
static bool read_headers(lua_State *L, int idx, struct ah_buf *to, char *wrong, size_t size)
{
    if (lua_isnoneornil(L, idx))
        return true;
    if (!lua_istable(L, idx)) {
        snprintf(wrong, size, "gave headers that are a %s, not a table", luaL_typename(L, idx));
        return false;
    }
    size_t n = 0;
    for (const char *name = NULL; (name = next_name(L, idx, name, &n));) {
        lua_pushlstring(L, name, n);
        lua_rawget(L, idx);
        const char *what = add_values(L, name, n, to);
        lua_pop(L, 1);
        if (what) {
            snprintf(wrong, size, "gave a header '%.100s' that %s", name, what);
            for (char *p = wrong; *p; p++)
                *p = (unsigned char)*p < ' ' ? '?' : *p;
            return false;
        }
    }
    return true;
}

/* --- streams ----------------------------------------------------------------------------------------- */

static int fail_left(lua_State *L)
{
    struct ah_error err = {0};
    ah_err_set(&err, AH_NETWORK, "The client left before the answer was complete.");
    return ah_luax_fail(L, &err);
}

static struct stream *check_stream(lua_State *L)
{
    return luaL_checkudata(L, 1, STREAM_MT);
}

static void wake_writer(struct stream *s)
{
    struct ah_op *op = s->room;
    s->room = NULL;
    if (op)
        ah_op_finish(op, NULL);
    ah_op_unref(op);
}

static void on_room(void *arg)
{
    wake_writer(arg);
}

static int m_stream_release(lua_State *L)
{
    struct stream *s = check_stream(L);
    struct ah_exchange *x = s->x;
    s->x = NULL;
    if (x) {
        ah_exchange_forget_room(x);
        ah_exchange_unref(x);
    }
    wake_writer(s);
    return 0;
}

static int k_write(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    if (!ah_task_op(L, (int)idx)->done)
        return ah_task_await(L, (int)idx, k_write);
    struct stream *s = check_stream(L);
    if (!s->x || ah_exchange_gone(s->x))
        return fail_left(L);
    lua_pushboolean(L, 1);
    return 1;
}

static int l_stream_write(lua_State *L)
{
    ah_task_check(L, "stream:write");
    struct stream *s = check_stream(L);
    size_t n;
    const char *p = luaL_checklstring(L, 2, &n);
    if (s->ended || !s->x)
        return luaL_error(L, "stream:write: the stream has ended");
    if (s->room)
        return luaL_error(L, "stream:write: another task is writing to this stream");
    int rc = ah_exchange_write(s->x, p, n);
    if (rc < 0)
        return fail_left(L);
    if (rc == 0) {
        lua_pushboolean(L, 1);
        return 1;
    }
    struct ah_op *op = ah_op_latch(ah_lua_of(L)->core->loop);
    int at = ah_task_push_op(L, op);
    s->room = ah_op_ref(op);
    return k_write(L, LUA_OK, at);
}

static int l_stream_finish(lua_State *L)
{
    struct stream *s = check_stream(L);
    bool gone = !s->x || (!s->ended && ah_exchange_end(s->x) != 0);
    s->ended = true;
    if (gone)
        return fail_left(L);
    lua_pushboolean(L, 1);
    return 1;
}

static int l_stream_abort(lua_State *L)
{
    struct stream *s = check_stream(L);
    if (s->x && !s->ended)
        ah_exchange_abort(s->x);
    s->ended = true;
    return 0;
}

static int l_stream_gone(lua_State *L)
{
    struct stream *s = check_stream(L);
    lua_pushboolean(L, !s->x || ah_exchange_gone(s->x));
    return 1;
}

/* --- requests ---------------------------------------------------------------------------------------- */

static struct request *check_req(lua_State *L)
{
    return luaL_checkudata(L, 1, REQ_MT);
}

static struct request *check_open(lua_State *L)
{
    struct request *r = check_req(L);
    if (!r->x)
        luaL_error(L, "the request is over: its handler has returned");
    return r;
}

static int m_req_release(lua_State *L)
{
    struct request *r = check_req(L);
    struct ah_exchange *x = r->x;
    r->x = NULL;
    r->req = (struct ah_server_req){0};
    if (x && r->streamed)
        ah_exchange_abort(x); /* of a handler that was cancelled: nothing if the stream has ended */
    ah_exchange_unref(x);
    return 0;
}

/* Repeated headers are joined with ", ", cookies with "; ". */
static void push_headers(lua_State *L, const char *lines)
{
    lua_newtable(L);
    while (*lines) {
        size_t n = strcspn(lines, "\n");
        const char *colon = memchr(lines, ':', n);
        if (colon) {
            size_t name_n = (size_t)(colon - lines);
            lua_pushlstring(L, lines, name_n);
            lua_pushvalue(L, -1);
            if (lua_rawget(L, -3) == LUA_TSTRING) {
                lua_pushstring(L, name_n == 6 && memcmp(lines, "cookie", 6) == 0 ? "; " : ", ");
                lua_pushlstring(L, colon + 2, n - name_n - 2);
                lua_concat(L, 3);
            } else {
                lua_pop(L, 1);
                lua_pushlstring(L, colon + 2, n - name_n - 2);
            }
            lua_rawset(L, -3);
        }
        lines += n + (lines[n] == '\n');
    }
}

static bool push_field(lua_State *L, const struct request *r, const char *key)
{
    if (strcmp(key, "method") == 0)
        lua_pushstring(L, r->req.method);
    else if (strcmp(key, "path") == 0)
        lua_pushstring(L, r->req.path);
    else if (strcmp(key, "raw_query") == 0)
        lua_pushstring(L, r->req.query);
    else if (strcmp(key, "version") == 0)
        lua_pushstring(L, r->req.version);
    else if (strcmp(key, "body") == 0)
        lua_pushlstring(L, r->req.body, r->req.body_n);
    else if (strcmp(key, "headers") == 0)
        push_headers(L, r->req.headers);
    else if (strcmp(key, "query") == 0) {
        lua_newtable(L);
        add_pairs(L, r->req.query, strlen(r->req.query), NULL);
    } else
        return false;
    return true;
}

/* Upvalue 1: methods. Fields are made when they are first read, and kept. */
static int m_req_index(lua_State *L)
{
    struct request *r = check_req(L);
    if (lua_type(L, 2) == LUA_TSTRING) {
        lua_pushvalue(L, 2);
        if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
            return 1;
        lua_pop(L, 1);
    }
    lua_getiuservalue(L, 1, 1);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, 3) != LUA_TNIL || lua_type(L, 2) != LUA_TSTRING)
        return 1;
    if (!r->x || !push_field(L, r, lua_tostring(L, 2)))
        return 1; /* the nil */
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, 3);
    return 1;
}

static int m_req_newindex(lua_State *L)
{
    check_req(L);
    luaL_checkany(L, 3);
    lua_getiuservalue(L, 1, 1);
    lua_insert(L, 2);
    lua_rawset(L, 2);
    return 0;
}

static int l_req_query_all(lua_State *L)
{
    struct request *r = check_open(L);
    const char *key = luaL_checkstring(L, 2);
    lua_newtable(L);
    add_pairs(L, r->req.query, strlen(r->req.query), key);
    return 1;
}

static int l_req_stream(lua_State *L)
{
    struct request *r = check_open(L);
    lua_Integer status = luaL_checkinteger(L, 2);
    luaL_argcheck(L, status >= 200 && status <= 599, 2, "a status from 200 to 599 expected");
    if (r->streamed || r->aborted)
        return luaL_error(L, "req:stream: this request has its answer already");
    char wrong[MESSAGE_BYTES];
    lua_settop(L, 3);
    struct stream *s = ah_luax_new(L, sizeof *s, 0, STREAM_MT);
    struct ah_buf *lines = ah_luax_guard_buf(L, AH_HTTP_HEADER_BYTES);
    if (!read_headers(L, 3, lines, wrong, sizeof wrong))
        return luaL_error(L, "req:stream: the caller %s", wrong);
    lua_pushvalue(L, 4);
    lua_setiuservalue(L, 1, 2);
    s->x = ah_exchange_ref(r->x);
    r->streamed = true;
    ah_exchange_begin(r->x, (int)status, ah_buf_str(lines), on_room, s); /* refused: the client left */
    lua_settop(L, 5);
    lua_closeslot(L, 5);
    lua_settop(L, 4);
    return 1;
}

static int l_req_abort(lua_State *L)
{
    struct request *r = check_open(L);
    r->aborted = true;
    ah_exchange_abort(r->x);
    return 0;
}

/* --- handlers ---------------------------------------------------------------------------------------- */

enum { AT_HANDLER = 1, AT_REQ, AT_ON_ERROR }; /* the stack of serve */

static void say(lua_State *L, const struct request *r, const char *what)
{
    struct ah_core *core = ah_lua_of(L)->core;
    if (core->log)
        ah_log_line(core->log, AH_LOG_ERROR, "the handler of %s %s %s", r->req.method, r->req.path, what);
}

/* Answers 500. `text` may be a script's: masked. A stream that had begun is cut. */
static void answer_failure(lua_State *L, const struct request *r, const char *text)
{
    if (r->streamed) {
        ah_exchange_abort(r->x);
        return;
    }
    struct ah_buf body;
    struct ah_json_writer w;
    ah_buf_init(&body, FAILURE_BYTES);
    ah_json_begin(&w, &body, ah_lua_of(L)->core->secrets);
    ah_json_object(&w);
    ah_json_key(&w, "error");
    ah_json_put_str(&w, text);
    ah_json_end_object(&w);
    if (body.failed)
        ah_buf_clear(&body);
    ah_exchange_reply(r->x, 500, "content-type: application/json\n", ah_buf_str(&body), body.n);
    ah_buf_drop(&body);
}

static void refuse_results(lua_State *L, const struct request *r, const char *what)
{
    say(L, r, what);
    answer_failure(L, r, "the handler's answer is not valid; see the log");
}

/* The results of a handler that returned are on the stack after AT_ON_ERROR. */
static void answer(lua_State *L, const struct request *r)
{
    int n = lua_gettop(L) - AT_ON_ERROR, status_at = AT_ON_ERROR + 1, is_int = 0;
    char wrong[MESSAGE_BYTES];
    if (r->aborted)
        return;
    if (r->streamed) {
        if (n > 0)
            say(L, r, "began a stream and returned values too; they are ignored");
        return;
    }
    lua_settop(L, AT_ON_ERROR + 3);
    lua_Integer status = lua_tointegerx(L, status_at, &is_int);
    struct ah_buf *lines = ah_luax_guard_buf(L, AH_HTTP_HEADER_BYTES);
    size_t body_n = 0;
    const char *body = lua_isnil(L, status_at + 2) ? "" : NULL;
    if (lua_type(L, status_at + 2) == LUA_TSTRING)
        body = lua_tolstring(L, status_at + 2, &body_n);
    if (n == 0)
        refuse_results(L, r, "returned nothing (a status, a table of headers and a body expected)");
    else if (lua_type(L, status_at) != LUA_TNUMBER || !is_int || status < 200 || status > 599)
        refuse_results(L, r, "returned no status first (an integer from 200 to 599 expected)");
    else if (!body)
        refuse_results(L, r, "returned a body that is not a string");
    else if (!read_headers(L, status_at + 1, lines, wrong, sizeof wrong))
        refuse_results(L, r, wrong);
    else
        ah_exchange_reply(r->x, (int)status, ah_buf_str(lines), body, body_n);
}

static int on_handler_error(lua_State *L)
{
    const char *text = luaL_tolstring(L, 1, NULL);
    luaL_traceback(L, L, text, 1);
    struct ah_log *log = ah_lua_of(L)->core->log;
    if (log)
        ah_log_line(log, AH_LOG_ERROR, "a request handler failed: %s", lua_tostring(L, -1));
    lua_pop(L, 1);
    return 1;
}

static int k_serve(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    struct request *r = luaL_checkudata(L, AT_REQ, REQ_MT);
    if (status == LUA_OK || status == LUA_YIELD) {
        answer(L, r);
        if (r->streamed && lua_getiuservalue(L, AT_REQ, 2) == LUA_TUSERDATA) {
            struct stream *s = lua_touserdata(L, -1);
            if (!s->ended && s->x)
                ah_exchange_end(s->x);
            s->ended = true;
        }
    } else {
        const char *text = lua_tostring(L, -1);
        answer_failure(L, r, text ? text : "the handler failed");
    }
    return 0; /* closes the request object */
}

/* The function of a handler's task: (handler, req). */
static int serve(lua_State *L)
{
    lua_toclose(L, AT_REQ);
    lua_pushcfunction(L, on_handler_error);
    lua_pushvalue(L, AT_HANDLER);
    lua_pushvalue(L, AT_REQ);
    return k_serve(L, lua_pcallk(L, 1, LUA_MULTRET, AT_ON_ERROR, 0, k_serve), 0);
}

struct arrival {
    struct lua_server *box;
    struct ah_exchange *x;
    const struct ah_server_req *req;
};

/* Protected: 1 struct arrival *. */
static int start_handler(lua_State *L)
{
    struct arrival *a = lua_touserdata(L, 1);
    lua_pushcfunction(L, serve);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, a->box) != LUA_TUSERDATA)
        return 0;
    lua_getiuservalue(L, -1, 1);
    lua_replace(L, -2);
    struct request *r = ah_luax_new(L, sizeof *r, 2, REQ_MT);
    lua_newtable(L);
    lua_setiuservalue(L, -2, 1);
    r->req = *a->req;
    r->x = a->x;
    a->x = NULL;
    ah_task_unref(ah_task_spawn(L, 2, NULL, NULL));
    return 0;
}

static void on_request(void *arg, struct ah_exchange *x, const struct ah_server_req *req)
{
    struct lua_server *box = arg;
    struct arrival a = {box, x, req};
    lua_State *L = box->lua->L;
    if (lua_checkstack(L, 2)) {
        lua_pushcfunction(L, start_handler);
        lua_pushlightuserdata(L, &a);
        if (lua_pcall(L, 1, 0, 0) != LUA_OK)
            lua_pop(L, 1);
    }
    ah_exchange_unref(a.x); /* NULL: the request object has it */
}

/* --- servers ----------------------------------------------------------------------------------------- */

static int m_server_release(lua_State *L)
{
    struct lua_server *box = luaL_checkudata(L, 1, SERVER_MT);
    struct ah_server *s = box->server;
    box->server = NULL;
    ah_server_close(s);
    return 0;
}

static int l_server_close(lua_State *L)
{
    m_server_release(L);
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, lua_touserdata(L, 1));
    return 0;
}

static int l_server_port(lua_State *L)
{
    struct lua_server *box = luaL_checkudata(L, 1, SERVER_MT);
    if (!box->server)
        return luaL_error(L, "server:port: the server is closed");
    lua_pushinteger(L, ah_server_port(box->server));
    return 1;
}

static const char *const listen_fields[] = {"address", "background", "handler", "max_body", "port", NULL};

static int l_listen(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    ah_luax_fields(L, 1, "server.listen", listen_fields);
    int64_t port = ah_luax_int(L, 1, "port", 0), max_body = ah_luax_int(L, 1, "max_body", 0);
    bool background = ah_luax_bool(L, 1, "background", false);
    const char *address = ah_luax_str(L, 1, "address", NULL);
    luaL_argcheck(L, port >= 0 && port <= 65535, 1, "port from 0 to 65535 expected");
    luaL_argcheck(L, max_body >= 0, 1, "max_body above 0 expected");
    if (lua_getfield(L, 1, "handler") != LUA_TFUNCTION)
        return luaL_error(L, "bad field 'handler' (function expected, got %s)", luaL_typename(L, -1));
    struct lua_server *box = ah_luax_new(L, sizeof *box, 1, SERVER_MT);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, 1);
    box->lua = ah_lua_of(L);
    if (ah_luareplay_of(L))
        ah_replay_close(ah_luareplay_of(L), "it answers requests");
    struct ah_server_opts opts = {.address = address,
                                  .port = (int)port,
                                  .max_body = (size_t)max_body,
                                  .on_request = on_request,
                                  .arg = box};
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, box); /* an open server lives until it is closed */
    struct ah_error err = {0};
    box->server = ah_server_open(box->lua->core->loop, &opts, &err);
    if (!box->server) {
        lua_pushnil(L);
        lua_rawsetp(L, LUA_REGISTRYINDEX, box);
        return ah_luax_fail(L, &err);
    }
    ah_server_background(box->server, background);
    return 1;
}

static const luaL_Reg server_methods[] = {
    {"close", l_server_close},
    {"port", l_server_port},
    {NULL, NULL},
};

static const luaL_Reg stream_methods[] = {
    {"abort", l_stream_abort},
    {"finish", l_stream_finish},
    {"gone", l_stream_gone},
    {"write", l_stream_write},
    {NULL, NULL},
};

static const luaL_Reg req_methods[] = {
    {"abort", l_req_abort},
    {"query_all", l_req_query_all},
    {"stream", l_req_stream},
    {NULL, NULL},
};

static void open_req_class(lua_State *L)
{
    ah_luax_class(L, REQ_MT, NULL, m_req_release);
    luaL_getmetatable(L, REQ_MT);
    luaL_newlib(L, req_methods);
    lua_pushcclosure(L, m_req_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, m_req_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pop(L, 1);
}

static const luaL_Reg functions[] = {
    {"decode_url", l_decode_url},           {"listen", l_listen},           {"parse_form", l_parse_form},
    {"parse_multipart", l_parse_multipart}, {"unpack_body", l_unpack_body}, {NULL, NULL},
};

int luaopen_host_server(lua_State *L)
{
    ah_luax_class(L, SERVER_MT, server_methods, m_server_release);
    ah_luax_class(L, STREAM_MT, stream_methods, m_stream_release);
    open_req_class(L);
    luaL_newlib(L, functions);
    return 1;
}
