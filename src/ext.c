/* Functions and primitives that other programs add to scripts, as modules host.ext.*.
 *
 * A call of a primitive is two objects. The op (ah_op) lives on the host's thread and is what the task waits for.
 * The ah_ext_op is the embedder's: counted with atomics, it may be finished by any thread and outlive the host; its
 * way back is the box, which knows the loop for as long as there is one. Must not run code of the embedder before
 * the journal has the intent. */
#include "ext.h"

#include "host.h"
#include "limits.h"
#include "luajson.h"
#include "luareplay.h"
#include "sandbox.h"
#include "task.h"
#include "trace.h"

#include <agenthost/ext.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODULES_KEY "agenthost.ext" /* module name -> its table */
#define NAME_BYTES 64
#define QUALIFIED_BYTES (2 * NAME_BYTES + 2) /* "module.name" */
#define PRIMITIVE_LEAST (offsetof(struct ah_ext_primitive, release) + sizeof(void (*)(void)))

/* --- the way back from other threads ----------------------------------------------------------------------------- */

struct ah_ext_box {
    atomic_int refs;
    pthread_mutex_t lock;
    struct ah_loop *loop; /* NULL: the host is gone */
};

struct ah_ext_box *ah_ext_open(struct ah_loop *loop)
{
    struct ah_ext_box *box = calloc(1, sizeof *box);
    if (!box)
        return NULL;
    atomic_init(&box->refs, 1);
    pthread_mutex_init(&box->lock, NULL);
    box->loop = loop;
    return box;
}

static void unref_box(struct ah_ext_box *box)
{
    if (atomic_fetch_sub(&box->refs, 1) > 1)
        return;
    pthread_mutex_destroy(&box->lock);
    free(box);
}

void ah_ext_close(struct ah_ext_box *box)
{
    if (!box)
        return;
    pthread_mutex_lock(&box->lock);
    box->loop = NULL;
    pthread_mutex_unlock(&box->lock);
    unref_box(box);
}

/* --- the embedder's side of a call ------------------------------------------------------------------------------- */

struct wait;

struct ah_ext_op {
    atomic_int refs;
    atomic_bool finished;
    struct ah_ext_box *box; /* counted */
    struct ah_ext_primitive def;
    char name[QUALIFIED_BYTES]; /* what def.name is */
    struct wait *wait;          /* host's thread only; NULL: nobody waits */
    struct ah_post post;
    char *result; /* NUL-terminated; NULL: nil */
    size_t n;
    bool is_text;
    struct ah_error err;
    _Alignas(max_align_t) unsigned char data[];
};

static void unref_ext(struct ah_ext_op *op)
{
    if (!op || atomic_fetch_sub(&op->refs, 1) > 1)
        return;
    if (op->def.release)
        op->def.release(op->data);
    free(op->result);
    ah_err_drop(&op->err);
    unref_box(op->box);
    free(op);
}

void *ah_ext_data(struct ah_ext_op *op)
{
    return op->data;
}

void *ah_ext_arg(struct ah_ext_op *op)
{
    return op->def.arg;
}

static void deliver(void *arg);

/* Gives the starter's reference to the loop. */
static void post_end(struct ah_ext_op *op)
{
    struct ah_ext_box *box = op->box;
    atomic_fetch_add(&box->refs, 1); /* the op may be gone before the lock is given back */
    pthread_mutex_lock(&box->lock);
    bool there = box->loop != NULL;
    if (there) {
        op->post = (struct ah_post){.fn = deliver, .arg = op};
        ah_loop_post_own(box->loop, &op->post);
    }
    pthread_mutex_unlock(&box->lock);
    if (!there)
        unref_ext(op);
    unref_box(box);
}

static void finish(struct ah_ext_op *op, const char *bytes, size_t n, bool is_text)
{
    if (atomic_exchange(&op->finished, true))
        return;
    if (n > AH_SERVER_BODY_BYTES) {
        ah_err_set(&op->err, AH_LIMIT, "the result of %s is larger than %zu bytes", op->def.name,
                   AH_SERVER_BODY_BYTES);
    } else if (bytes) {
        op->result = malloc(n + 1);
        if (!op->result) {
            ah_err_set(&op->err, AH_MEMORY, "out of memory");
        } else {
            memcpy(op->result, bytes, n);
            op->result[n] = '\0';
            op->n = n;
        }
    }
    op->is_text = is_text;
    post_end(op);
}

void ah_ext_finish(struct ah_ext_op *op, const char *json, size_t n)
{
    finish(op, json, n, false);
}

void ah_ext_finish_text(struct ah_ext_op *op, const char *bytes, size_t n)
{
    finish(op, bytes ? bytes : "", bytes ? n : 0, true);
}

void ah_ext_fail(struct ah_ext_op *op, const char *kind, const char *message)
{
    if (atomic_exchange(&op->finished, true))
        return;
    enum ah_kind k = kind ? ah_err_kind_of(kind) : AH_NONE;
    ah_err_set(&op->err, k == AH_NONE ? AH_TOOL_ERROR : k, "%s", message ? message : "it failed");
    post_end(op);
}

/* --- the host's side --------------------------------------------------------------------------------------------- */

struct wait {
    struct ah_op op;
    struct ah_ready start;
    struct ah_ext_op *ext; /* counted */
    bool started;
};

static void run_start(struct ah_ready *r)
{
    struct wait *w = (struct wait *)((char *)r - offsetof(struct wait, start));
    w->started = true;
    atomic_fetch_add(&w->ext->refs, 1); /* the starter's, until it is finished */
    w->ext->def.start(w->ext);
}

static void check_result(struct ah_ext_op *ext)
{
    struct ah_error why = {0};
    struct ah_json v;
    if (!ext->result || ext->is_text || ext->err.kind != AH_NONE ||
        ah_json_check(ext->result, ext->n, 0, &v, &why) == 0)
        return;
    ah_err_set(&ext->err, AH_PROTOCOL, "%s gave a result that is not JSON: %.700s", ext->def.name,
               why.message);
    ah_err_drop(&why);
}

static void deliver(void *arg)
{
    struct ah_ext_op *ext = arg;
    struct wait *w = ext->wait;
    if (w) {
        struct ah_error err = {0};
        ext->wait = NULL;
        check_result(ext);
        ah_err_copy(&err, &ext->err);
        ah_op_finish(&w->op, err.kind != AH_NONE ? &err : NULL);
    }
    unref_ext(ext);
}

static void cancel_wait(struct ah_op *op)
{
    struct wait *w = (struct wait *)op;
    struct ah_ext_op *ext = w->ext;
    struct ah_error err = {0};
    ext->wait = NULL;
    if (!w->started) {
        ah_loop_unstart(op->loop, &w->start);
    } else {
        if (ext->def.effect == AH_EXT_UNSAFE)
            ah_err_set(
                &err, AH_OUTCOME_UNKNOWN,
                "%s was cancelled while it was under way: it may have happened; look before it is done again",
                ext->def.name);
        if (ext->def.cancel && !atomic_load(&ext->finished))
            ext->def.cancel(ext);
    }
    ah_op_finish(op, err.kind != AH_NONE ? &err : NULL);
}

static void free_wait(struct ah_op *op)
{
    struct wait *w = (struct wait *)op;
    w->ext->wait = NULL;
    unref_ext(w->ext);
    free(w);
}

static const struct ah_op_class wait_class = {"call of a primitive", cancel_wait, free_wait};

static struct wait *new_wait(struct ah_loop *loop, struct ah_ext_box *box, const struct ah_ext_primitive *def)
{
    struct wait *w = calloc(1, sizeof *w);
    struct ah_ext_op *ext = w ? calloc(1, sizeof *ext + def->data_size) : NULL;
    if (!ext) {
        free(w);
        return NULL;
    }
    ah_op_init(&w->op, &wait_class, loop);
    w->start.run = run_start;
    w->ext = ext;
    atomic_init(&ext->refs, 1);
    atomic_init(&ext->finished, false);
    ext->box = box;
    atomic_fetch_add(&box->refs, 1);
    ext->def = *def;
    snprintf(ext->name, sizeof ext->name, "%s", def->name); /* the state's own copy may go before */
    ext->def.name = ext->name;
    ext->wait = w;
    return w;
}

/* --- what Lua calls ---------------------------------------------------------------------------------------------- */

/* On the stack as a guard below the op, which is thus cancelled first: the journal learns what became of it. */
struct call {
    struct wait *wait; /* counted */
    struct ah_effect *effect;
};

/* What the journal's body of an outcome is, in the place of a status. A string, and a text that looks like JSON, are
 * told from other values by it. */
enum { BODY_VALUE, BODY_STRING, BODY_NOTHING };

static void record_outcome(struct call *call)
{
    const struct ah_op *op = &call->wait->op;
    const struct ah_ext_op *ext = call->wait->ext;
    struct ah_effect *e = call->effect;
    bool ok = op->err.kind == AH_NONE;
    int what = !ext->result ? BODY_NOTHING : ext->is_text || ext->result[0] == '"' ? BODY_STRING : BODY_VALUE;
    struct ah_buf quoted;
    call->effect = NULL;
    ah_buf_init(&quoted, 6 * AH_SERVER_BODY_BYTES + 2);
    if (ok && ext->is_text)
        ah_json_quote(&quoted, ext->result, ext->n);
    if (!ok || quoted.failed)
        what = BODY_NOTHING;
    const struct ah_buf none = {0}, plain = {.p = ext->result, .n = ext->n};
    const struct ah_buf *body = what == BODY_NOTHING ? &none : ext->is_text ? &quoted : &plain;
    ah_effect_end(e, op->issued, op->completed, what, body->p, body->n, ok ? NULL : &op->err);
    ah_buf_drop(&quoted);
}

static void free_call(void *p)
{
    struct call *call = p;
    if (call->wait) {
        ah_op_cancel(&call->wait->op);
        record_outcome(call);
        ah_op_unref(&call->wait->op);
    }
    free(call);
}

static int push_outcome(lua_State *L, const struct wait *w)
{
    const struct ah_ext_op *ext = w->ext;
    struct ah_error err = {0};
    struct ah_json v;
    if (w->op.err.kind != AH_NONE) {
        ah_err_copy(&err, &w->op.err);
        return ah_luax_fail(L, &err);
    }
    if (!ext->result)
        lua_pushnil(L);
    else if (ext->is_text)
        lua_pushlstring(L, ext->result, ext->n);
    else if (ah_json_check(ext->result, ext->n, 0, &v, NULL) == 0)
        ah_luajson_push(L, v);
    return 1;
}

static int k_primitive(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct wait *w = (struct wait *)ah_task_op(L, (int)idx);
    if (!w->op.done)
        return ah_task_await(L, (int)idx, k_primitive);
    /* the call is the guard's, two below the op: its effect, then the result */
    struct call *call = lua_touserdata(L, (int)idx - 1);
    record_outcome(call);
    return push_outcome(L, w);
}

/* The arguments as one JSON array: what the journal keeps of the call. */
static void encode_args(lua_State *L, int n, struct ah_buf *to, const char *name)
{
    struct ah_error err = {0};
    ah_buf_addc(to, '[');
    for (int i = 1; i <= n; i++) {
        if (i > 1)
            ah_buf_addc(to, ',');
        if (ah_luajson_encode(L, i, to, NULL, &err) != 0) {
            lua_pushfstring(L, "host.ext.%s: argument %d cannot go into the journal: %s", name, i,
                            err.message);
            ah_err_drop(&err);
            lua_error(L);
        }
    }
    ah_buf_addc(to, ']');
}

/* In a frame of its own, so that the embedder sees the arguments and nothing else: 1 the op, then they. */
static int l_check(lua_State *L)
{
    struct ah_ext_op *ext = lua_touserdata(L, 1);
    lua_remove(L, 1);
    ext->def.check(L, ext);
    return 0;
}

static void check_args(lua_State *L, struct ah_ext_op *ext, int nargs)
{
    if (!ext->def.check)
        return;
    luaL_checkstack(L, nargs + 2, "too many arguments");
    lua_pushcfunction(L, l_check);
    lua_pushlightuserdata(L, ext);
    for (int i = 1; i <= nargs; i++)
        lua_pushvalue(L, i);
    lua_call(L, nargs + 1, 0);
}

/* What came to an earlier process of this run. */
static int push_answer(lua_State *L, const struct ah_effect_answer *a)
{
    struct ah_error err = {0};
    struct ah_json v;
    if (a->err.kind != AH_NONE) {
        ah_err_copy(&err, &a->err);
        return ah_luax_fail(L, &err);
    }
    if (a->status == BODY_VALUE && ah_json_check(a->body, a->n, 0, &v, NULL) == 0)
        ah_luajson_push(L, v);
    else if (a->status == BODY_NOTHING)
        lua_pushnil(L);
    else
        lua_pushlstring(L, a->body, a->n);
    return 1;
}

/* Upvalues: the primitive (a userdata), the box (light). */
static int l_primitive(lua_State *L)
{
    static const enum ah_effect_class classes[] = {AH_EFFECT_READ, AH_EFFECT_IDEMPOTENT, AH_EFFECT_UNSAFE};
    const struct ah_ext_primitive *def = lua_touserdata(L, lua_upvalueindex(1));
    struct ah_loop *loop = ah_lua_of(L)->core->loop;
    struct ah_error err = {0};
    int nargs = lua_gettop(L);
    ah_task_check(L, def->name);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    struct ah_buf *args = ah_luax_guard_buf(L, AH_SERVER_BODY_BYTES);
    encode_args(L, nargs, args, def->name);
    void **slot = ah_luax_guard(L, free_call);
    struct call *call = calloc(1, sizeof *call);
    *slot = call;
    if (!call || !(call->wait = new_wait(loop, lua_touserdata(L, lua_upvalueindex(2)), def)))
        return luaL_error(L, "out of memory");
    check_args(L, call->wait->ext, nargs);
    call->effect = ah_effect_begin(ah_task_run(L), ah_task_span(L), classes[def->effect],
                                   ah_luareplay_number(L), "ext", def->name, ah_buf_str(args), args->n, &err);
    if (!call->effect && err.kind != AH_NONE)
        return ah_luax_fail(L, &err);
    if (ah_effect_answer(call->effect))
        return push_answer(L, ah_effect_answer(call->effect));
    ah_loop_start(loop, &call->wait->start);
    lua_pushlightuserdata(L, call); /* found by k_primitive, below the op */
    return k_primitive(L, LUA_OK, ah_task_push_op(L, ah_op_ref(&call->wait->op)));
}

/* --- adding ------------------------------------------------------------------------------------------------------ */

/* The opener of a module: what require gets is a read-only view of this table. */
static int l_open_module(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, MODULES_KEY);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_gettable(L, -2);
    return 1;
}

/* Pushes the module's table; made and registered when it is the first time. */
static void push_module(lua_State *L, const char *module)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, MODULES_KEY);
    if (lua_getfield(L, -1, module) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushstring(L, module);
        lua_pushcclosure(L, l_open_module, 1);
        lua_pushfstring(L, "host.ext.%s", module);
        lua_insert(L, -2);
        ah_sandbox_add(L, lua_tostring(L, -2));
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_setfield(L, -3, module);
    }
    lua_remove(L, -2);
}

struct addition {
    const char *module;
    const struct ah_ext_primitive *primitive;
    const luaL_Reg *functions;
    struct ah_ext_box *box;
};

/* A copy that lives with the state: ops that outlive it have their own, but for the name. */
static void push_primitive(lua_State *L, const struct addition *a)
{
    char name[QUALIFIED_BYTES];
    struct ah_ext_primitive *def = lua_newuserdatauv(L, sizeof *def, 1);
    *def = *a->primitive;
    snprintf(name, sizeof name, "%s.%s", a->module, def->name);
    def->name = lua_pushstring(L, name);
    lua_setiuservalue(L, -2, 1);
    lua_pushlightuserdata(L, a->box);
    lua_pushcclosure(L, l_primitive, 2);
    ah_luareplay_call(L, name);
}

static int add_entries(lua_State *L)
{
    const struct addition *a = lua_touserdata(L, 1);
    push_module(L, a->module);
    if (a->functions) {
        luaL_setfuncs(L, a->functions, 0);
    } else {
        push_primitive(L, a);
        lua_setfield(L, -2, a->primitive->name);
    }
    return 0;
}

static bool is_name(const char *s)
{
    size_t n = s ? strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") : 0;
    return n > 0 && n < NAME_BYTES && s[n] == '\0' && !(s[0] >= '0' && s[0] <= '9');
}

static int check_addition(const struct addition *a, struct ah_error *err)
{
    const struct ah_ext_primitive *p = a->primitive;
    bool names = is_name(a->module) && (!p || is_name(p->name));
    for (const luaL_Reg *f = a->functions; f && f->name; f++)
        names = names && is_name(f->name);
    if (!names)
        return ah_err_set(err, AH_CONFIG, "host.ext: names are of letters, digits and _, at most %d",
                          NAME_BYTES - 1);
    if (p && (!p->start || (unsigned)p->effect > AH_EXT_UNSAFE || p->data_size > AH_SERVER_BODY_BYTES))
        return ah_err_set(err, AH_CONFIG, "host.ext.%s.%s: start is missing, or effect or data_size is wrong",
                          a->module, p->name);
    return 0;
}

static int add(struct ah_host *h, struct addition *a, struct ah_host_error *error)
{
    struct ah_error err = {0};
    struct ah_lua *lua = ah_host_lua(h);
    a->box = lua->ext;
    int rc = check_addition(a, &err);
    if (rc == 0) {
        lua_pushcfunction(lua->L, add_entries);
        lua_pushlightuserdata(lua->L, a);
        if (lua_pcall(lua->L, 1, 0, 0) != LUA_OK) {
            rc = ah_err_set(&err, AH_MEMORY, "out of memory");
            lua_pop(lua->L, 1);
        }
    }
    ah_host_tell(error, &err);
    ah_err_drop(&err);
    return rc;
}

int ah_ext_add_primitive(struct ah_host *h, const char *module, const struct ah_ext_primitive *given,
                         struct ah_host_error *error)
{
    struct ah_ext_primitive p;
    struct ah_error err = {0};
    if (ah_host_read_sized(&p, sizeof p, PRIMITIVE_LEAST, given, "ah_ext_primitive", &err) != 0) {
        ah_host_tell(error, &err);
        return -1;
    }
    return add(h, &(struct addition){.module = module, .primitive = &p}, error);
}

int ah_ext_add_functions(struct ah_host *h, const char *module, const luaL_Reg *functions,
                         struct ah_host_error *error)
{
    return add(h, &(struct addition){.module = module, .functions = functions}, error);
}
