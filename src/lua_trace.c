/* host.trace: spans around a script's own functions, tags and metadata, runs of their own. Called by
 * scripts and scripts/agent. Must never make a script fail because of tracing: what JSON cannot hold is
 * traced as its text. */
#include "lua_trace.h"

#include "baggage.h"
#include "json.h"
#include "lua_anonymize.h"
#include "lua_langsmith.h"
#include "luajson.h"
#include "lualossy.h"
#include "luareplay.h"
#include "task.h"

#include <stdio.h>
#include <string.h>

#define SCOPE_MT "host.trace.scope"
#define SPARE_COUNT 32                /* scopes that wait for the next span */
#define SPARE_BYTES 4096              /* of text that such a one keeps memory for */
#define TEXT_BYTES ((size_t)64 << 20) /* of one value as JSON */
#define TEXT_FIRST_BYTES 1000         /* most are smaller: memory is asked for once */
#define HEADER_BYTES ((size_t)32 << 10)
#define LONGEST_BYTES 4096 /* of a text in a value that has more than TEXT_BYTES */

/* --- Lua values as JSON, whatever they are ----------------------------------------------------------- */

/* The `n` values from stack index `first` as one JSON object: one table with string keys is it; one value and `key`
 * "output" is {"output":value}; else {key:[values...]}. False: it has no room for them. */
static bool try_values(lua_State *L, const char *key, int first, int n, struct ah_buf *to, size_t longest)
{
    bool single = n == 1 && strcmp(key, "output") == 0;
    if (n == 1 && lua_type(L, first) == LUA_TTABLE) {
        ah_lualossy_put(L, first, to, longest);
        if (to->failed || (to->n > 0 && to->p[0] == '{'))
            return !to->failed;
        ah_buf_clear(to);
    }
    ah_buf_addf(to, "{\"%s\":%s", key, single ? "" : "[");
    for (int i = 0; i < n && !to->failed; i++) {
        ah_buf_adds(to, i > 0 ? "," : "");
        ah_lualossy_put(L, first + i, to, longest);
    }
    ah_buf_adds(to, single ? "}" : "]}");
    return !to->failed;
}

static void put_values(lua_State *L, const char *key, int first, int n, struct ah_buf *to)
{
    luaL_checkstack(L, n + 4, "too many values to be traced");
    ah_buf_reserve(to, TEXT_FIRST_BYTES);
    if (try_values(L, key, first, n, to, AH_LUALOSSY_WHOLE))
        return;
    ah_buf_clear(to);
    if (try_values(L, key, first, n, to, LONGEST_BYTES))
        return;
    ah_buf_clear(to);
    ah_buf_addf(to, "{\"%s\":\"[larger than %zu bytes as JSON: not traced]\"}", key, to->max);
}

/* (key, values...) -> the text. */
static int l_object(lua_State *L)
{
    int n = lua_gettop(L) - 1;
    struct ah_buf *to = ah_luax_guard_buf(L, TEXT_BYTES);
    put_values(L, lua_tostring(L, 1), 2, n, to);
    lua_pushlstring(L, ah_buf_str(to), to->n);
    return 1;
}

/* Pushes the text for the `n` values from stack index `first`; nothing to say: nil. */
static const char *push_object(lua_State *L, const char *key, int first, int n, size_t *length)
{
    *length = 0;
    if (n == 0) {
        lua_pushnil(L);
        return NULL;
    }
    luaL_checkstack(L, n + 4, "too many values to be traced");
    lua_pushcfunction(L, l_object);
    lua_pushstring(L, key);
    for (int i = 0; i < n; i++)
        lua_pushvalue(L, first + i);
    lua_call(L, n + 1, 1);
    return lua_tolstring(L, -1, length);
}

/* --- scopes: a span or run that is entered and left ------------------------------------------------------ */

/* Owns what is open while a function runs. To-be-closed in the frame that calls it, so that an error or
 * a cancel ends the span too. */
struct scope {
    struct ah_task *task;   /* in which it was entered; compared, never followed */
    struct ah_span *span;   /* counted */
    struct ah_run *run;     /* of trace.run: ended here. Its reference is the run's own */
    struct ah_span *before; /* counted; what was current */
    struct ah_run *run_before;
    struct ah_buf text; /* of inputs, then of outputs */
};

/* Scopes that were closed, for the next spans: a new object with a finalizer for each would cost Lua more than the
 * span does. */
struct spares {
    int count;
};
static const char spares_key; /* registry: the object, and with it a list */

static void enter_scope(lua_State *L, struct scope *sc)
{
    sc->task = ah_task_current(L);
    sc->before = ah_task_swap_span(L, sc->span);
    if (sc->run)
        sc->run_before = ah_task_swap_run(L, sc->run);
}

/* Back to what was current, but only in the task where it was entered: a cancel runs in another one. */
static void restore_context(lua_State *L, struct scope *sc)
{
    if (ah_task_current(L) == sc->task && sc->task) {
        if (ah_task_span(L) == sc->span)
            ah_span_unref(ah_task_swap_span(L, sc->before));
        if (sc->run && ah_task_run(L) == sc->run)
            ah_run_unref(ah_task_swap_run(L, sc->run_before));
    }
    ah_span_unref(sc->before);
    ah_run_unref(sc->run_before);
    sc->before = NULL;
    sc->run_before = NULL;
}

/* `words`: what is said of the failure, when that is longer than its message may be. */
static void leave_scope(lua_State *L, struct scope *sc, const char *outputs, size_t n,
                        const struct ah_error *failed, const char *words)
{
    struct scope mine = *sc;
    *sc = (struct scope){.text = sc->text};
    restore_context(L, &mine);
    if (mine.run)
        ah_run_end(mine.run, outputs, n, failed);
    else
        ah_span_end(mine.span, outputs, n, failed && !words ? failed->message : words);
    ah_span_unref(mine.span);
}

static void drop_large(struct ah_buf *text)
{
    if (text->cap > SPARE_BYTES)
        ah_buf_drop(text);
    text->max = TEXT_BYTES;
}

/* Pushes the list of spare scopes. */
static struct spares *push_spares(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &spares_key);
    struct spares *spares = lua_touserdata(L, -1);
    lua_getiuservalue(L, -1, 1);
    lua_replace(L, -2);
    return spares;
}

static void end_scope(lua_State *L, struct scope *sc, int error)
{
    struct ah_error err = {0};
    if (lua_isnoneornil(L, error))
        ah_err_set(&err, AH_CANCELLED, "Cancelled");
    else
        ah_luax_to_error(L, error, &err);
    leave_scope(L, sc, NULL, 0, &err, lua_type(L, error) == LUA_TSTRING ? lua_tostring(L, error) : NULL);
    ah_err_drop(&err);
}

/* Still open here: an error went through, or the task is being cancelled. Then it is nobody's and waits for the next
 * span. */
static int m_scope_close(lua_State *L)
{
    struct scope *sc = luaL_checkudata(L, 1, SCOPE_MT);
    if (sc->span || sc->run)
        end_scope(L, sc, 2);
    drop_large(&sc->text);
    lua_settop(L, 1);
    struct spares *spares = push_spares(L);
    if (spares->count < SPARE_COUNT) { /* the list has room for them: nothing is allocated */
        lua_insert(L, 1);
        lua_rawseti(L, 1, ++spares->count);
    }
    return 0;
}

/* A coroutine that nobody went on with took it along. */
static int m_scope_gc(lua_State *L)
{
    struct scope *sc = luaL_checkudata(L, 1, SCOPE_MT);
    if (sc->span || sc->run)
        end_scope(L, sc, 2);
    ah_buf_drop(&sc->text);
    return 0;
}

/* Pushes a scope that holds nothing. */
static struct scope *push_scope(lua_State *L)
{
    struct spares *spares = push_spares(L);
    struct scope *sc;
    if (spares->count > 0) {
        lua_rawgeti(L, -1, spares->count);
        sc = lua_touserdata(L, -1);
        lua_pushnil(L);
        lua_rawseti(L, -3, spares->count--);
    } else {
        sc = ah_luax_new(L, sizeof *sc, 0, SCOPE_MT);
    }
    lua_replace(L, -2);
    sc->text.max = TEXT_BYTES;
    ah_buf_clear(&sc->text);
    return sc;
}

/* nil and an error table is how functions here say that they failed. */
static bool is_failure(lua_State *L, int first, int n)
{
    if (n < 2 || !lua_isnil(L, first) || lua_type(L, first + 1) != LUA_TTABLE)
        return false;
    lua_pushliteral(L, "kind");
    bool failure = lua_rawget(L, first + 1) == LUA_TSTRING;
    lua_pop(L, 1);
    return failure;
}

/* The function has returned; its results are at `first` and above. */
static int k_scope(lua_State *L, int status, lua_KContext first)
{
    (void)status;
    struct scope *sc = lua_touserdata(L, 1);
    int n = lua_gettop(L) - (int)first + 1;
    if (!sc->span && !sc->run)
        return n;
    struct ah_error err = {0};
    if (is_failure(L, (int)first, n)) {
        ah_luax_to_error(L, (int)first + 1, &err);
        leave_scope(L, sc, NULL, 0, &err, NULL);
        ah_err_drop(&err);
        return n;
    }
    ah_buf_clear(&sc->text);
    if (n > 0)
        put_values(L, "output", (int)first, n, &sc->text);
    leave_scope(L, sc, n > 0 ? sc->text.p : NULL, sc->text.n, NULL, NULL);
    return n;
}

/* Calls the function at `fn` with all above it; index 1 is the scope. */
static int call_scoped(lua_State *L, int fn)
{
    lua_callk(L, lua_gettop(L) - fn, LUA_MULTRET, (lua_KContext)fn, k_scope);
    return k_scope(L, LUA_OK, (lua_KContext)fn);
}

/* --- options ---------------------------------------------------------------------------------------------- */

static const char *const span_fields[] = {"run_type", "name", "inputs", "tags", "metadata", NULL};

static enum ah_span_type type_field(lua_State *L, int opts)
{
    const char *name = ah_luax_str(L, opts, "run_type", "chain");
    int type = ah_span_type_of(name);
    if (type < 0)
        luaL_error(L,
                   "bad field 'run_type' (chain, llm, tool, retriever, embedding, prompt or parser expected, "
                   "got '%s')",
                   name);
    lua_pop(L, 1);
    return (enum ah_span_type)type;
}

/* Raises unless the field is nil or an array of strings. Pushes it. */
static bool push_tags(lua_State *L, int opts)
{
    int type = lua_getfield(L, opts, "tags");
    if (type == LUA_TNIL)
        return false;
    if (type != LUA_TTABLE)
        luaL_error(L, "bad field 'tags' (array of strings expected, got %s)", luaL_typename(L, -1));
    for (lua_Integer i = 1; lua_rawgeti(L, -1, i) != LUA_TNIL; i++, lua_pop(L, 1))
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "bad field 'tags' (strings expected, got %s)", luaL_typename(L, -1));
    lua_pop(L, 1);
    return true;
}

static void add_tags(lua_State *L, int list, struct ah_span *span)
{
    for (lua_Integer i = 1; lua_rawgeti(L, list, i) == LUA_TSTRING; i++, lua_pop(L, 1))
        ah_span_tag(span, lua_tostring(L, -1));
    lua_pop(L, 1);
}

/* Raises unless the field is nil or a table. Pushes it as JSON text, or nil. */
static const char *push_members(lua_State *L, int opts, const char *field, size_t *n)
{
    int type = lua_getfield(L, opts, field);
    if (type != LUA_TNIL && type != LUA_TTABLE)
        luaL_error(L, "bad field '%s' (table expected, got %s)", field, luaL_typename(L, -1));
    const char *text = push_object(L, "values", lua_gettop(L), type == LUA_TTABLE, n);
    lua_remove(L, -2);
    return text;
}

static void add_metadata(struct ah_span *span, const char *json, size_t n)
{
    struct ah_json object;
    char key[256];
    if (!json || ah_json_check(json, n, 0, &object, NULL) != 0)
        return;
    for (struct ah_json_iter it = ah_json_iter(object); ah_json_next(&it);) {
        ah_json_copy(it.key, key, sizeof key);
        ah_span_metadata(span, key, it.value.p, it.value.n);
    }
}

/* Tags and metadata of the options at `opts` (a table), on a span. */
static void apply_options(lua_State *L, int opts, struct ah_span *span)
{
    size_t n;
    if (push_tags(L, opts))
        add_tags(L, lua_gettop(L), span);
    lua_pop(L, 1);
    const char *metadata = push_members(L, opts, "metadata", &n);
    add_metadata(span, metadata, n);
    lua_pop(L, 1);
}

/* --- span, traceable ---------------------------------------------------------------------------------------- */

/* The options' own inputs, else the arguments, which begin at `first`; nothing to say: nothing. */
static void put_inputs(lua_State *L, int opts, int first, struct ah_buf *to)
{
    int n = lua_gettop(L) - first + 1;
    int type = lua_isnil(L, opts) ? LUA_TNIL : lua_getfield(L, opts, "inputs");
    if (type == LUA_TTABLE)
        put_values(L, "values", lua_gettop(L), 1, to);
    else if (type != LUA_TNIL)
        luaL_error(L, "bad field 'inputs' (table expected, got %s)", luaL_typename(L, -1));
    else if (n > 0)
        put_values(L, "args", first, n, to);
    lua_settop(L, first + n - 1);
}

/* Stack: 1 scope, options at `opts` (nil: none that matter), function at `fn`, its arguments above. */
static int run_span(lua_State *L, struct scope *sc, int opts, int fn, enum ah_span_type type,
                    const char *name)
{
    struct ah_run *run = ah_task_run(L);
    lua_toclose(L, 1);
    if (run && ah_run_root(run)) {
        put_inputs(L, opts, fn + 1, &sc->text);
        sc->span = ah_span_start(run, ah_task_span(L), type, name, sc->text.p, sc->text.n);
        drop_large(&sc->text); /* the function may run for long */
        if (sc->span) {
            enter_scope(L, sc);
            if (!lua_isnil(L, opts))
                apply_options(L, opts, sc->span);
        }
    }
    return call_scoped(L, fn);
}

static int l_span(lua_State *L)
{
    luaL_checkstring(L, 1);
    if (lua_type(L, 2) == LUA_TFUNCTION) { /* span(name, fn, ...) */
        lua_newtable(L);
        lua_insert(L, 2);
    } else if (lua_isnil(L, 2)) {
        lua_newtable(L);
        lua_replace(L, 2);
    }
    luaL_checktype(L, 2, LUA_TTABLE);
    luaL_checktype(L, 3, LUA_TFUNCTION);
    ah_luax_fields(L, 2, "trace.span", span_fields);
    enum ah_span_type type = type_field(L, 2);
    struct scope *sc = push_scope(L);
    lua_insert(L, 1);
    return run_span(L, sc, 3, 4, type, lua_tostring(L, 2));
}

/* The name by which the caller calls us; else where the function was written. */
static const char *name_of(lua_State *L, int fn)
{
    lua_Debug ar;
    if (lua_getstack(L, 0, &ar) && lua_getinfo(L, "n", &ar) && ar.name)
        return lua_pushstring(L, ar.name);
    lua_pushvalue(L, fn);
    lua_getinfo(L, ">S", &ar);
    const char *slash = strrchr(ar.short_src, '/');
    return lua_pushfstring(L, "%s:%d", slash ? slash + 1 : ar.short_src, ar.linedefined);
}

/* Upvalues: function, options, name, type. */
static int l_traced(lua_State *L)
{
    struct scope *sc = push_scope(L);
    enum ah_span_type type = (enum ah_span_type)lua_tointeger(L, lua_upvalueindex(4));
    const char *name = lua_tostring(L, lua_upvalueindex(3));
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_rotate(L, 1, 3);
    if (!name) {
        name = name_of(L, 3);
        lua_insert(L, 2); /* it is kept until the function returns */
        return run_span(L, sc, 3, 4, type, name);
    }
    return run_span(L, sc, 2, 3, type, name);
}

/* Of the options only what each call has to look at; nil: nothing. */
static void push_rest(lua_State *L, int opts)
{
    static const char *const rest[] = {"inputs", "metadata", "tags"};
    bool any = false;
    lua_createtable(L, 0, 3);
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) {
        any |= lua_getfield(L, opts, rest[i]) != LUA_TNIL;
        lua_setfield(L, -2, rest[i]);
    }
    if (any)
        return;
    lua_pop(L, 1);
    lua_pushnil(L);
}

static int l_traceable(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 2);
    if (lua_isnil(L, 2)) {
        lua_newtable(L);
        lua_replace(L, 2);
    }
    luaL_checktype(L, 2, LUA_TTABLE);
    ah_luax_fields(L, 2, "trace.traceable", span_fields);
    push_tags(L, 2);
    lua_settop(L, 2);
    enum ah_span_type type = type_field(L, 2);
    lua_pushstring(L, ah_luax_str(L, 2, "name", NULL)); /* NULL: nil */
    lua_replace(L, 3);
    lua_settop(L, 3);
    push_rest(L, 2);
    lua_replace(L, 2);
    lua_pushinteger(L, type);
    lua_pushcclosure(L, l_traced, 4);
    return 1;
}

/* --- the current span, the run -------------------------------------------------------------------------------- */

static struct ah_span *current_span(lua_State *L)
{
    struct ah_span *span = ah_task_span(L);
    struct ah_run *run = ah_task_run(L);
    return span || !run ? span : ah_run_root(run);
}

static int l_current(lua_State *L)
{
    struct ah_span *span = current_span(L);
    if (!span)
        return 0;
    lua_createtable(L, 0, 6);
    lua_pushstring(L, ah_span_id(span));
    lua_setfield(L, -2, "id");
    lua_pushstring(L, ah_run_trace_id(ah_span_run(span)));
    lua_setfield(L, -2, "trace_id");
    lua_pushstring(L, ah_run_id(ah_span_run(span)));
    lua_setfield(L, -2, "run_id");
    lua_pushstring(L, ah_run_project(ah_span_run(span)));
    lua_setfield(L, -2, "project");
    lua_pushstring(L, ah_span_dotted_order(span));
    lua_setfield(L, -2, "dotted_order");
    lua_pushstring(L, ah_span_name(span));
    lua_setfield(L, -2, "name");
    return 1;
}

/* The headers that let another process go on with this trace. Empty when nothing is traced. */
static int l_headers(lua_State *L)
{
    struct ah_span *span = current_span(L);
    lua_createtable(L, 0, 2);
    if (!span)
        return 1;
    struct ah_buf *tags = ah_luax_guard_buf(L, TEXT_BYTES);
    struct ah_buf *metadata = ah_luax_guard_buf(L, TEXT_BYTES);
    struct ah_buf *value = ah_luax_guard_buf(L, HEADER_BYTES);
    struct ah_json list = {0}, object = {0};
    ah_buf_addc(tags, '[');
    ah_buf_addc(metadata, '{');
    ah_span_baggage(span, tags, metadata);
    ah_buf_addc(tags, ']');
    ah_buf_addc(metadata, '}');
    ah_json_check(ah_buf_str(tags), tags->n, 0, &list, NULL);
    ah_json_check(ah_buf_str(metadata), metadata->n, 0, &object, NULL);
    lua_pushvalue(L, -4);
    lua_pushstring(L, ah_span_dotted_order(span));
    lua_setfield(L, -2, "langsmith-trace");
    if (ah_baggage_write(object, list, ah_run_project(ah_span_run(span)), value) == 0 && value->n) {
        lua_pushlstring(L, value->p, value->n);
        lua_setfield(L, -2, "baggage");
    }
    return 1;
}

static int l_event(lua_State *L)
{
    size_t n;
    const char *name = luaL_checkstring(L, 1);
    lua_settop(L, 2);
    if (!lua_isnil(L, 2))
        luaL_checktype(L, 2, LUA_TTABLE);
    const char *text = push_object(L, "values", 2, !lua_isnil(L, 2), &n);
    ah_span_event_with(current_span(L), name, text, n);
    return 0;
}

static int l_attach(lua_State *L)
{
    size_t n;
    const char *name = luaL_checkstring(L, 1), *type = luaL_checkstring(L, 2);
    const char *bytes = luaL_checklstring(L, 3, &n);
    struct ah_error err = {0};
    if (ah_span_attach(current_span(L), name, type, bytes, n) == 0)
        return 0;
    ah_err_set(&err, AH_INVALID, "'%.60s' cannot be attached: %s", name,
               n > AH_ATTACHMENT_BYTES ? "it is larger than 16 MB"
                                       : "names may hold no dot, quote or backslash; types no quote");
    ah_luax_push_error(L, &err);
    return lua_error(L);
}

/* (fn): what may be seen of this run's texts. */
static int l_anonymizer(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    struct ah_run *run = ah_task_run(L);
    if (run && ah_run_traced(run))
        ah_lua_anonymize_set(L, 1, run);
    return 0;
}

static int l_tags(lua_State *L)
{
    int n = lua_gettop(L);
    for (int i = 1; i <= n; i++)
        luaL_checkstring(L, i);
    struct ah_run *run = ah_task_run(L);
    for (int i = 1; run && i <= n; i++)
        ah_run_add_tags(run, (const char *const[]){lua_tostring(L, i), NULL});
    return 0;
}

static int l_metadata(lua_State *L)
{
    size_t n;
    luaL_checktype(L, 1, LUA_TTABLE);
    struct ah_run *run = ah_task_run(L);
    const char *text = push_object(L, "values", 1, 1, &n);
    if (run)
        ah_run_add_metadata(run, text, n);
    return 0;
}

static int l_name(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    struct ah_run *run = ah_task_run(L);
    if (run)
        ah_run_set_name(run, name);
    return 0;
}

static int l_set(lua_State *L)
{
    static const char *const fields[] = {"inputs", "metadata", "tags", NULL};
    size_t n;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    ah_luax_fields(L, 1, "trace.set", fields);
    apply_options(L, 1, current_span(L));
    const char *inputs = push_members(L, 1, "inputs", &n);
    if (inputs)
        ah_span_set_inputs(current_span(L), inputs, n);
    return 0;
}

/* For scripts whose work is all in runs of their own: this run's spans are not sent. */
static int l_keep_local(lua_State *L)
{
    struct ah_run *run = ah_task_run(L);
    if (run)
        ah_run_keep_local(run);
    return 0;
}

/* --- runs of their own -------------------------------------------------------------------------------------------- */

static const char *const run_fields[] = {
    "name", "identifier", "tags", "metadata", "inputs", "project", "headers", "reference_example_id", NULL};

/* Of a request's headers, names in lower case: the run above, and what its caller said. Leaves texts on the
 * stack. `tags` becomes a table of them, or nil, on top. */
static void read_headers(lua_State *L, int opts, struct ah_run_opts *o)
{
    size_t n;
    struct ah_json list = {0};
    if (lua_getfield(L, opts, "headers") == LUA_TNIL)
        return;
    luaL_checktype(L, -1, LUA_TTABLE);
    int headers = lua_gettop(L);
    struct ah_buf *metadata = ah_luax_guard_buf(L, TEXT_BYTES);
    struct ah_buf *tags = ah_luax_guard_buf(L, TEXT_BYTES);
    struct ah_buf *project = ah_luax_guard_buf(L, HEADER_BYTES);
    if (lua_getfield(L, headers, "langsmith-trace") == LUA_TSTRING)
        o->parent = lua_tostring(L, -1);
    if (!o->parent) { /* a stranger's baggage */
        lua_pushnil(L);
        return;
    }
    if (lua_getfield(L, headers, "baggage") == LUA_TSTRING) {
        const char *p = lua_tolstring(L, -1, &n);
        ah_baggage_read(p, n, metadata, tags, project);
    }
    if (metadata->n)
        o->metadata = lua_pushlstring(L, metadata->p, metadata->n);
    if (project->n && !o->project)
        o->project = lua_pushlstring(L, project->p, project->n);
    ah_json_check(ah_buf_str(tags), tags->n, 0, &list, NULL);
    ah_luajson_push(L, list); /* absent: nil */
}

/* The strings of a table as a C array, pushed; NULL for anything else. */
static const char *const *array_of(lua_State *L, int idx)
{
    size_t count = lua_istable(L, idx) ? lua_rawlen(L, idx) : 0, n = 0;
    if (!count)
        return NULL;
    const char **list = lua_newuserdatauv(L, (count + 1) * sizeof *list, 0);
    for (size_t i = 1; i <= count; i++, lua_pop(L, 1))
        if (lua_rawgeti(L, idx, (lua_Integer)i) == LUA_TSTRING)
            list[n++] = lua_tostring(L, -1); /* the table holds it */
    list[n] = NULL;
    return list;
}

/* Reads options and inputs, pushes what they borrow, and starts the run. */
static struct ah_run *start_run(lua_State *L, struct ah_run *around, int opts, int fn, struct ah_error *err)
{
    struct ah_run_opts o = {.script = "", .traced = !around || ah_run_traced(around)};
    int top = lua_gettop(L);
    luaL_checkstack(L, 32, NULL);
    o.name = ah_luax_str(L, opts, "name", around ? ah_run_name(around) : "run");
    o.identifier = ah_luax_str(L, opts, "identifier", around ? ah_run_identifier(around) : NULL);
    o.project = ah_luax_str(L, opts, "project", NULL);
    o.reference_example_id = ah_luax_str(L, opts, "reference_example_id", NULL);
    o.around = around;
    read_headers(L, opts, &o);
    o.tags = array_of(L, lua_gettop(L));
    if (!o.project && around)
        o.project = ah_run_project(around);
    size_t n;
    if (!o.metadata) /* else it is laid over what the headers say, later */
        o.metadata = push_members(L, opts, "metadata", &n);
    push_tags(L, opts);
    o.inputs = push_members(L, opts, "inputs", &o.inputs_n);
    if (!o.inputs)
        o.inputs = push_object(L, "args", fn + 1, top - fn, &o.inputs_n);
    return ah_run_start(ah_lua_of(L)->core->trace, &o, err);
}

static int l_run(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    ah_luax_fields(L, 1, "trace.run", run_fields);
    ah_task_check(L, "trace.run");
    struct scope *sc = push_scope(L);
    lua_insert(L, 1);
    lua_toclose(L, 1);
    struct ah_error err = {0};
    int top = lua_gettop(L);
    sc->run = start_run(L, ah_task_run(L), 2, 3, &err);
    if (!sc->run) {
        ah_luax_push_error(L, &err);
        return lua_error(L);
    }
    sc->span = ah_span_ref(ah_run_root(sc->run));
    lua_settop(L, top);
    enter_scope(L, sc);
    apply_options(L, 2, sc->span);
    return call_scoped(L, 3);
}

static const luaL_Reg functions[] = {{"span", l_span},
                                     {"traceable", l_traceable},
                                     {"current", l_current},
                                     {"tags", l_tags},
                                     {"keep_local", l_keep_local},
                                     {"metadata", l_metadata},
                                     {"name", l_name},
                                     {"set", l_set},
                                     {"run", l_run},
                                     {"headers", l_headers},
                                     {"event", l_event},
                                     {"attach", l_attach},
                                     {"anonymizer", l_anonymizer},
                                     {"flush", ah_lua_langsmith_flush},
                                     {NULL, NULL}};

int luaopen_host_trace(lua_State *L)
{
    ah_luax_class(L, SCOPE_MT, NULL, m_scope_gc);
    luaL_getmetatable(L, SCOPE_MT);
    lua_pushcfunction(L, m_scope_close);
    lua_setfield(L, -2, "__close");
    struct spares *spares = lua_newuserdatauv(L, sizeof *spares, 1);
    *spares = (struct spares){0};
    lua_createtable(L, SPARE_COUNT, 0);
    lua_setiuservalue(L, -2, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &spares_key);
    static const char *const noted[] = {"flush", NULL}, *const read[] = {"current", "headers", NULL};
    luaL_newlib(L, functions);
    ah_luareplay_calls(L, "trace.", noted);
    ah_luareplay_values(L, "trace.", read); /* ids: they may be in what is sent */
    return 1;
}
