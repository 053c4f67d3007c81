/* host.http: request, get, post, and streamed answers as iterators. Called by scripts. Builds a
 * request from a table, journals it as an effect, waits, and gives the answer back as a table. No
 * policy: what a failure means is the script's business. */
#include "lua_http.h"

#include "http.h"
#include "limits.h"
#include "luahttp.h"
#include "luajson.h"
#include "luanotes.h"
#include "luareplay.h"
#include "secret.h"
#include "sse.h"
#include "task.h"

#include <stdlib.h>
#include <string.h>

#define STREAM_MT "host.http.stream"
#define STREAMED_MT "host.http.response.stream"

/* --- from a table to a request ------------------------------------------------------------------- */

static void read_limits(lua_State *L, int idx, struct ah_http_req *req)
{
    struct ah_luahttp_limits limits = {0};
    ah_luahttp_limits(L, idx, &limits);
    req->connect_ms = limits.connect_ms;
    req->first_byte_ms = limits.first_byte_ms;
    req->idle_ms = limits.idle_ms;
    req->total_ms = limits.total_ms;
    req->retry = limits.retry;
}

/* Misuse raises; -1 for what the world does wrong (an unset secret, a URL from outside). */
static int read_request(lua_State *L, int idx, struct ah_luahttp_draft *d, struct ah_error *err)
{
    static const char *const names[] = {"body",     "form",   "headers",  "idempotent", "json",
                                        "max_body", "method", "query",    "retry",      "stream",
                                        "timeout",  "url",    "redirect", NULL};
    ah_luax_fields(L, idx, "request", names);
    const char *url = ah_luax_need_str(L, idx, "url");
    ah_buf_adds(&d->url, url);
    if (ah_luahttp_read_query(L, idx, d, err) != 0)
        return -1;
    d->req.method = ah_luax_str(L, idx, "method", NULL); /* stays on the stack, so it stays alive */
    if (ah_luahttp_read_headers(L, idx, d, err) != 0 || ah_luahttp_read_body(L, idx, d, err) != 0)
        return -1;
    read_limits(L, idx, &d->req);
    d->req.idempotent = ah_luax_bool(L, idx, "idempotent", false);
    d->req.once = !ah_luax_bool(L, idx, "idempotent", true); /* false was said */
    d->req.stream = ah_luax_bool(L, idx, "stream", false);
    d->req.refuse_redirects = !ah_luax_bool(L, idx, "redirect", true);
    int64_t max = ah_luax_int(L, idx, "max_body", 0);
    if (max < 0)
        luaL_error(L, "bad field 'max_body' (bytes above 0 expected)");
    d->req.max_body = (size_t)max;
    if (ah_luahttp_end_draft(d, err) != 0)
        return -1;
    d->req.url = d->url.p;
    d->req.headers = d->headers;
    d->req.header_count = d->header_count;
    d->req.body = ah_buf_str(&d->body);
    d->req.body_n = d->body.n;
    d->req.has_body = d->has_body;
    return 0;
}

static enum ah_effect_class class_of(const struct ah_http_req *req)
{
    const char *m = req->method ? req->method : req->has_body ? "POST" : "GET";
    if (req->once)
        return AH_EFFECT_UNSAFE;
    if (strcmp(m, "GET") == 0 || strcmp(m, "HEAD") == 0 || strcmp(m, "OPTIONS") == 0)
        return AH_EFFECT_READ;
    if (req->idempotent || strcmp(m, "PUT") == 0 || strcmp(m, "DELETE") == 0)
        return AH_EFFECT_IDEMPOTENT;
    return AH_EFFECT_UNSAFE;
}

/* Journals the intent, then queues. NULL: err. */
static struct ah_http_op *send_draft(lua_State *L, struct ah_luahttp_draft *d, struct ah_effect **effect,
                                     struct ah_error *err)
{
    char what[512];
    snprintf(what, sizeof what, "%s %s",
             d->req.method     ? d->req.method
             : d->req.has_body ? "POST"
                               : "GET",
             d->req.url);
    *effect = ah_effect_begin(ah_task_run(L), ah_task_span(L), class_of(&d->req), ah_luareplay_number(L),
                              "http", what, d->req.body, d->req.body_n, err);
    if (!*effect && err->kind != AH_NONE)
        return NULL;
    const struct ah_effect_answer *before = ah_effect_answer(*effect);
    if (before && before->err.kind != AH_NONE) {
        ah_err_copy(err, &before->err);
        return NULL;
    }
    struct ah_http *http = ah_lua_of(L)->core->http;
    struct ah_http_op *op = before ? ah_http_answered(http, before->status, before->body, before->n, err)
                                   : ah_http_send(http, &d->req, err);
    if (!op) {
        ah_effect_end(*effect, 0, 0, 0, NULL, 0, err);
        *effect = NULL;
    }
    return op;
}

/* --- answers --------------------------------------------------------------------------------------- */

static int push_failure(lua_State *L, struct ah_http_op *op)
{
    struct ah_error err = {0};
    ah_err_copy(&err, &op->op.err);
    ah_luax_fail(L, &err);
    if (op->res.status) {
        lua_pushlstring(L, ah_buf_str(&op->res.body), op->res.body.n);
        lua_setfield(L, -2, "body");
        ah_luahttp_push_headers(L, &op->res);
        lua_setfield(L, -2, "headers");
    }
    return 2;
}

/* --- whole answers --------------------------------------------------------------------------------- */

/* What was sent, and what the journal knows of it. On the stack as a guard below the op, which is thus
 * cancelled first: the journal learns what became of it. */
struct call {
    struct ah_http_op *op; /* counted */
    struct ah_effect *effect;
    bool masked; /* a secret was sent: what echoes it is not shown to the script */
};

static void record_outcome(struct ah_effect **effect, const struct ah_http_op *op, bool body)
{
    struct ah_effect *e = *effect;
    *effect = NULL;
    ah_effect_end(e, op->op.issued, op->op.completed, op->res.status, body ? ah_buf_str(&op->res.body) : NULL,
                  body ? op->res.body.n : 0, op->op.err.kind != AH_NONE ? &op->op.err : NULL);
}

static void free_call(void *p)
{
    struct call *call = p;
    if (call->op) {
        ah_op_cancel(&call->op->op);
        record_outcome(&call->effect, call->op, true);
        ah_op_unref(&call->op->op);
    }
    free(call);
}

/* Stack: 1 request, 2 the call (light), then guards, then the op. */
/* Scripts hold names of secrets. One that comes back from where it was sent is replaced by its name. */
static void mask_text(lua_State *L, struct ah_buf *text)
{
    const struct ah_secrets *secrets = ah_lua_of(L)->core->secrets;
    if (!ah_secret_found(secrets, ah_buf_str(text), text->n))
        return;
    struct ah_buf masked;
    ah_buf_init(&masked, 2 * text->max);
    if (ah_secret_mask(secrets, text->p, text->n, &masked) != 0)
        ah_buf_clear(&masked); /* nothing rather than the secret */
    ah_buf_drop(text);
    *text = masked;
}

static int k_request(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    if (!ah_task_op(L, (int)idx)->done)
        return ah_task_await(L, (int)idx, k_request);
    struct call *call = lua_touserdata(L, 2);
    if (call->masked) {
        mask_text(L, &call->op->res.body);
        mask_text(L, &call->op->res.headers);
    }
    record_outcome(&call->effect, call->op, true);
    if (call->op->op.err.kind != AH_NONE)
        return push_failure(L, call->op);
    ah_luahttp_push_answer(L, &call->op->res);
    return 1;
}

static int open_stream(lua_State *L, struct ah_luahttp_draft *d);

static int do_request(lua_State *L)
{
    struct ah_error err = {0};
    lua_settop(L, 1);
    lua_pushnil(L); /* 2: the call */
    void **slot = ah_luax_guard(L, free_call);
    struct call *call = calloc(1, sizeof *call);
    if (!call)
        return luaL_error(L, "out of memory");
    *slot = call;
    lua_pushlightuserdata(L, call);
    lua_replace(L, 2);
    void **draft = ah_luahttp_push_draft(L);
    if (read_request(L, 1, *draft, &err) != 0)
        return ah_luax_fail(L, &err);
    if (((struct ah_luahttp_draft *)*draft)->req.stream)
        return open_stream(L, *draft);
    call->masked = ((struct ah_luahttp_draft *)*draft)->secret;
    call->op = send_draft(L, *draft, &call->effect, &err);
    if (!call->op)
        return ah_luax_fail(L, &err);
    ah_luahttp_free_draft(*draft); /* the request is copied */
    *draft = NULL;
    return k_request(L, LUA_OK, ah_task_push_op(L, ah_op_ref(&call->op->op)));
}

static int l_request(lua_State *L)
{
    ah_task_check(L, "http.request");
    luaL_checktype(L, 1, LUA_TTABLE);
    return do_request(L);
}

/* get(url, opts) and post(url, opts): the options are copied, then url and method set. */
static int short_form(lua_State *L, const char *name, const char *method)
{
    ah_task_check(L, name);
    luaL_checkstring(L, 1);
    if (!lua_isnoneornil(L, 2))
        luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    lua_newtable(L);
    if (lua_istable(L, 2)) {
        lua_pushnil(L);
        while (lua_next(L, 2)) {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, 3);
        }
    }
    lua_pushvalue(L, 1);
    lua_setfield(L, 3, "url");
    lua_pushstring(L, method);
    lua_setfield(L, 3, "method");
    lua_replace(L, 1);
    return do_request(L);
}

static int l_get(lua_State *L)
{
    return short_form(L, "http.get", "GET");
}

static int l_post(lua_State *L)
{
    return short_form(L, "http.post", "POST");
}

/* --- streamed answers ------------------------------------------------------------------------------ */

/* Between libcurl's callback (which fills) and a reading task (which drains). */
struct stream {
    struct ah_http_op *op; /* counted */
    struct ah_effect *effect;
    struct ah_buf queue; /* bytes that came and were not read */
    struct ah_op *news;  /* latch of the task that waits, or NULL */
    bool began, paused, closed, sse_open, sse_ended;
    bool past; /* of a resumed run: there is nothing behind it any more */
    struct ah_luareplay_stream notes;
    const struct ah_secrets *secrets;
    bool masked;        /* a secret was sent: what echoes it is masked */
    struct ah_buf held; /* the last bytes, which may be the beginning of one */
    struct ah_sse sse;
    struct ah_buf events; /* "name\0" + length + data, one after another */
};

static void tell_reader(struct stream *s)
{
    if (s->news)
        ah_op_finish(s->news, NULL);
}

static int queue_bytes(struct stream *s, const char *p, size_t n)
{
    return s->masked ? ah_secret_mask(s->secrets, p, n, &s->queue) : ah_buf_add(&s->queue, p, n);
}

/* A secret may be split over two pieces: what may be the beginning of one waits for the next. So it is masked whole,
 * here or in the notes. */
static int hold_tail(struct stream *s, const char *p, size_t n)
{
    if (s->held.n == 0) { /* the common case: nothing is copied twice */
        size_t tail = ah_secret_tail(s->secrets, p, n);
        return queue_bytes(s, p, n - tail) == 0 ? ah_buf_add(&s->held, p + n - tail, tail) : -1;
    }
    if (ah_buf_add(&s->held, p, n) != 0)
        return -1;
    size_t ready = s->held.n - ah_secret_tail(s->secrets, s->held.p, s->held.n);
    if (queue_bytes(s, s->held.p, ready) != 0)
        return -1;
    ah_buf_consume(&s->held, ready);
    return 0;
}

static int on_stream_data(void *arg, const char *p, size_t n, struct ah_error *err)
{
    struct stream *s = arg;
    s->began = true;
    if (s->queue.n >= AH_HTTP_STREAM_QUEUE_BYTES) {
        s->paused = true;
        return 1;
    }
    if (hold_tail(s, p, n) != 0)
        return ah_err_set(err, AH_MEMORY, "out of memory in a stream");
    tell_reader(s);
    return 0;
}

static void on_stream_done(struct ah_op *op, void *arg)
{
    struct stream *s = arg;
    record_outcome(&s->effect, (struct ah_http_op *)op, false);
    if (s->held.n && queue_bytes(s, s->held.p, s->held.n) == 0)
        ah_buf_clear(&s->held);
    tell_reader(s);
}

static void close_stream(struct stream *s)
{
    if (s->closed)
        return;
    s->closed = true;
    ah_luareplay_stream_end(&s->notes); /* a resumed run need not begin it anew */
    if (s->op) {
        ah_op_wait(&s->op->op, NULL, NULL);
        ah_op_cancel(&s->op->op);
        record_outcome(&s->effect, s->op, false);
        ah_op_unref(&s->op->op);
        s->op = NULL;
    }
    tell_reader(s);
    ah_op_unref(s->news);
    s->news = NULL;
    ah_buf_drop(&s->queue);
    ah_buf_drop(&s->held);
    ah_buf_drop(&s->events);
    if (s->sse_open)
        ah_sse_drop(&s->sse);
    s->sse_open = false;
}

static int m_stream_release(lua_State *L)
{
    close_stream(luaL_checkudata(L, 1, STREAM_MT));
    return 0;
}

/* The stream is user value 1 of nothing: the answer table holds it as a field that scripts do not see. */
static struct stream *check_stream(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "stream");
    struct stream *s = luaL_checkudata(L, -1, STREAM_MT);
    lua_pop(L, 1);
    return s;
}

/* A fresh latch for the one reader; NULL when another task reads already. */
static struct ah_op *new_latch(lua_State *L, struct stream *s)
{
    if (s->news && !s->news->done)
        luaL_error(L, "another task is reading this stream");
    ah_op_unref(s->news);
    s->news = ah_op_latch(ah_lua_of(L)->core->loop);
    if (!s->news)
        luaL_error(L, "out of memory");
    return ah_op_ref(s->news);
}

static void resume_sender(struct stream *s)
{
    if (s->paused && s->op) {
        s->paused = false;
        ah_http_resume(s->op);
    }
}

/* What failed, as an error value to raise: an iterator has no other way to say it. */
static int raise_failure(lua_State *L, struct ah_error *from)
{
    struct ah_error err = {0};
    ah_err_copy(&err, from);
    ah_luax_push_error(L, &err);
    return lua_error(L);
}

/* Its beginning is in the notes of an earlier process, its end is nowhere. */
static int raise_cut(lua_State *L)
{
    struct ah_error err = {0};
    ah_err_set(&err, AH_TRUNCATED, "this stream was cut when the run was interrupted; ask again");
    err.retryable = true;
    ah_luax_push_error(L, &err);
    return lua_error(L);
}

/* Stack: 1 the stream userdata, idx the latch. */
static int k_chunk(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct stream *s = luaL_checkudata(L, 1, STREAM_MT);
    for (;;) {
        if (s->closed)
            return 0;
        if (s->past)
            return raise_cut(L);
        if (s->queue.n > 0) {
            lua_pushlstring(L, s->queue.p, s->queue.n);
            ah_buf_clear(&s->queue);
            resume_sender(s);
            return 1;
        }
        if (s->op->op.done) {
            ah_luareplay_stream_end(&s->notes);
            return s->op->op.err.kind == AH_NONE ? 0 : raise_failure(L, &s->op->op.err);
        }
        if (idx && !ah_task_op(L, (int)idx)->done)
            return ah_task_await(L, (int)idx, k_chunk);
        idx = ah_task_push_op(L, new_latch(L, s));
    }
}

static int l_next_chunk(lua_State *L)
{
    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    ah_task_check(L, "res:chunks");
    return k_chunk(L, LUA_OK, 0);
}

/* For a generic for: the fourth value closes the stream however the loop is left, also by a cancel. */
static int push_iterator(lua_State *L, lua_CFunction next, const char *name)
{
    lua_getfield(L, 1, "stream");
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, next, 1);
    ah_luareplay_call(L, name);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, -4);
    return 4;
}

static int l_chunks(lua_State *L)
{
    check_stream(L);
    return push_iterator(L, l_next_chunk, "http.chunk");
}

static int keep_event(void *arg, const struct ah_sse_event *ev)
{
    struct stream *s = arg;
    ah_buf_add(&s->events, ev->name, strlen(ev->name) + 1);
    ah_buf_add(&s->events, &ev->n, sizeof ev->n);
    return ah_buf_add(&s->events, ev->data, ev->n);
}

static bool push_event(lua_State *L, struct stream *s)
{
    if (s->events.n == 0)
        return false;
    size_t name = strlen(s->events.p) + 1, n;
    memcpy(&n, s->events.p + name, sizeof n);
    const char *data = s->events.p + name + sizeof n;
    lua_createtable(L, 0, 2);
    lua_pushstring(L, s->events.p);
    lua_setfield(L, -2, "name");
    lua_pushlstring(L, data, n);
    lua_setfield(L, -2, "data");
    ah_buf_consume(&s->events, name + sizeof n + n);
    return true;
}

static bool is_complete(const char *data, size_t n)
{
    return ah_json_check(data, n, 0, NULL, NULL) == 0 || (n >= 6 && memcmp(data, "[DONE]", 6) == 0);
}

static int k_event(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct stream *s = luaL_checkudata(L, 1, STREAM_MT);
    struct ah_error err = {0};
    for (;;) {
        if (s->closed)
            return 0;
        if (s->past)
            return raise_cut(L);
        if (push_event(L, s))
            return 1;
        if (s->queue.n > 0) {
            int rc = ah_sse_feed(&s->sse, s->queue.p, s->queue.n, &err);
            ah_buf_clear(&s->queue);
            resume_sender(s);
            if (rc != 0)
                return raise_failure(L, &err);
            continue;
        }
        if (s->op->op.done) {
            ah_luareplay_stream_end(&s->notes);
            if (s->op->op.err.kind != AH_NONE)
                return raise_failure(L, &s->op->op.err);
            if (s->sse_ended)
                return 0;
            s->sse_ended = true;
            if (ah_sse_end(&s->sse, is_complete, &err) != 0)
                return raise_failure(L, &err);
            continue;
        }
        if (idx && !ah_task_op(L, (int)idx)->done)
            return ah_task_await(L, (int)idx, k_event);
        idx = ah_task_push_op(L, new_latch(L, s));
    }
}

static int l_next_event(lua_State *L)
{
    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    ah_task_check(L, "res:events");
    return k_event(L, LUA_OK, 0);
}

static int l_events(lua_State *L)
{
    struct stream *s = check_stream(L);
    if (!s->sse_open && !s->closed) {
        ah_sse_init(&s->sse, keep_event, s);
        ah_buf_init(&s->events, 2 * AH_SSE_EVENT_BYTES);
        s->sse_open = true;
    }
    return push_iterator(L, l_next_event, "http.event");
}

static int l_close(lua_State *L)
{
    close_stream(check_stream(L));
    return 0;
}

static int m_answer_close(lua_State *L)
{
    lua_settop(L, 1);
    return l_close(L);
}

static void release_stream(void *p)
{
    close_stream(p);
}

/* Waits until the answer began or the request failed. Stack: 1 stream userdata, 2 the slot of its guard
 * (light), idx the latch. */
static int k_stream(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct stream *s = luaL_checkudata(L, 1, STREAM_MT);
    while (!s->began && !s->op->op.done) {
        if (idx && !ah_task_op(L, (int)idx)->done)
            return ah_task_await(L, (int)idx, k_stream);
        idx = ah_task_push_op(L, new_latch(L, s));
    }
    if (!s->began && s->op->op.err.kind != AH_NONE)
        return push_failure(L, s->op);
    lua_newtable(L);
    ah_luahttp_set_answer(L, &s->op->res);
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, "stream");
    luaL_setmetatable(L, STREAMED_MT);
    ah_luareplay_stream_begin(L, &s->notes);
    *(void **)lua_touserdata(L, 2) = NULL; /* from here on it is the script's */
    return 1;
}

static int open_stream(lua_State *L, struct ah_luahttp_draft *d)
{
    struct ah_error err = {0};
    struct stream *s = ah_luax_new(L, sizeof *s, 0, STREAM_MT);
    ah_buf_init(&s->queue, 4 * AH_HTTP_STREAM_QUEUE_BYTES);
    ah_buf_init(&s->held, 2 * AH_HTTP_STREAM_QUEUE_BYTES);
    s->secrets = ah_lua_of(L)->core->secrets;
    s->masked = d->secret;
    lua_replace(L, 1);
    void **slot = ah_luax_guard(L, release_stream); /* s lives at least as long: it is at 1 */
    *slot = s;
    lua_pushlightuserdata(L, slot);
    lua_replace(L, 2);
    d->req.on_data = on_stream_data;
    d->req.arg = s;
    s->op = send_draft(L, d, &s->effect, &err);
    if (!s->op) {
        s->closed = true;
        return ah_luax_fail(L, &err);
    }
    ah_op_wait(&s->op->op, on_stream_done, s);
    return k_stream(L, LUA_OK, 0);
}

/* For the notes: a stream of an earlier process. */
static int l_past_stream(lua_State *L)
{
    struct stream *s = ah_luax_new(L, sizeof *s, 0, STREAM_MT);
    s->past = true;
    return 1;
}

static const luaL_Reg stream_methods[] = {
    {"chunks", l_chunks},
    {"close", l_close},
    {"events", l_events},
    {NULL, NULL},
};

static const luaL_Reg http_lib[] = {
    {"get", l_get},
    {"post", l_post},
    {"request", l_request},
    {NULL, NULL},
};

int luaopen_host_http(lua_State *L)
{
    ah_luahttp_open(L);
    ah_luax_class(L, STREAM_MT, NULL, m_stream_release);
    ah_luax_class(L, STREAMED_MT, stream_methods, NULL);
    luaL_getmetatable(L, STREAMED_MT);
    lua_pushcfunction(L, m_answer_close);
    lua_setfield(L, -2, "__close");
    ah_luanotes_class(L, STREAM_MT, l_past_stream);
    luaL_newlib(L, http_lib);
    ah_luareplay_calls(L, "http.", NULL);
    return 1;
}
