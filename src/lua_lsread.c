/* host.langsmith: runs, projects, datasets and examples, page by page, and feedback. Called by scripts; added to the
 * module by lua_langsmith.c. Which of the two generations of the read API answers is found out by asking. */
#include "lua_lsread.h"

#include "clock.h"
#include "json.h"
#include "langsmith.h"
#include "loop.h"
#include "luajson.h"
#include "luareplay.h"
#include "luax.h"
#include "task.h"
#include "url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MT "host.langsmith.list"
#define TEXT_BYTES ((size_t)256 << 10)
#define PAGE_BYTES ((size_t)64 << 20)
#define PAGE_COUNT 100
#define FEEDBACK_WAIT_MS 15000

/* What v2 gives only when it is named, under the names of the run objects that v1 gives. */
#define SELECTS                                                                                              \
    "\"selects\":[\"ID\",\"NAME\",\"RUN_TYPE\",\"STATUS\",\"START_TIME\",\"END_TIME\",\"LATENCY_SECONDS\","  \
    "\"FIRST_TOKEN_TIME\",\"ERROR\",\"EXTRA\",\"EVENTS\",\"INPUTS\",\"OUTPUTS\",\"PARENT_RUN_IDS\","         \
    "\"PROJECT_ID\",\"TRACE_ID\",\"THREAD_ID\",\"DOTTED_ORDER\",\"IS_ROOT\",\"REFERENCE_EXAMPLE_ID\","       \
    "\"TOTAL_TOKENS\",\"PROMPT_TOKENS\",\"COMPLETION_TOKENS\",\"TOTAL_COST\",\"PROMPT_COST\","               \
    "\"COMPLETION_COST\",\"TAGS\",\"APP_PATH\",\"FEEDBACK_STATS\"]"

/* A list that is being read. */
struct list {
    enum { FIND, RUNS_V2, RUNS_V1, LIST } form;
    bool runs; /* after FIND: runs, else a list by offset */
    char *find, *path, *v1, *v2, *cursor;
    char id[AH_UUID_BYTES];
    long offset, left; /* left < 0: no limit */
    struct ah_buf page;
    struct ah_json_iter it;
    size_t count; /* on this page */
    bool last;
};

static int m_list_release(lua_State *L)
{
    struct list *l = luaL_checkudata(L, 1, MT);
    free(l->find);
    free(l->path);
    free(l->v1);
    free(l->v2);
    free(l->cursor);
    ah_buf_drop(&l->page);
    memset(l, 0, sizeof *l);
    return 0;
}

static struct ah_langsmith *service_of(lua_State *L)
{
    struct ah_langsmith *ls = ah_lua_of(L)->langsmith;
    if (!ls)
        luaL_error(L, "host.langsmith is not available here");
    return ls;
}

static int raise(lua_State *L, struct ah_error *err)
{
    ah_luax_push_error(L, err);
    return lua_error(L);
}

/* --- a page ------------------------------------------------------------------------------------------- */

/* Pushes what is to be asked next: path, body or nil, whether the second generation is meant. */
static void push_request(lua_State *L, const struct list *l)
{
    bool v2 = l->form == RUNS_V2;
    if (l->form == FIND || l->form == LIST) {
        if (l->form == FIND)
            lua_pushstring(L, l->find);
        else
            lua_pushfstring(L, "%s%s%slimit=%d&offset=%I", l->path, l->id, strchr(l->path, '?') ? "&" : "?",
                            PAGE_COUNT, (LUAI_UACINT)l->offset);
        lua_pushnil(L);
    } else {
        lua_pushliteral(L, "runs/query");
        lua_pushnil(L);
        struct ah_buf *b = ah_luax_guard_buf(L, TEXT_BYTES);
        int guard = lua_gettop(L);
        ah_buf_addf(b, "{\"%s\":[\"%s\"]%s", v2 ? "project_ids" : "session", l->id, v2 ? l->v2 : l->v1);
        if (l->cursor) {
            ah_buf_adds(b, ",\"cursor\":");
            ah_json_quote(b, l->cursor, strlen(l->cursor));
        }
        ah_buf_addc(b, '}');
        lua_pushlstring(L, ah_buf_str(b), b->n);
        lua_replace(L, guard - 1);
        lua_closeslot(L, guard);
        lua_settop(L, guard - 1);
    }
    lua_pushboolean(L, v2);
}

static int k_page(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct ah_op *op = ah_task_op(L, (int)idx);
    struct ah_error err = {0};
    if (!op->done)
        return ah_task_await(L, (int)idx, k_page);
    if (op->err.kind != AH_NONE) {
        ah_err_copy(&err, &op->err);
        return ah_luax_fail(L, &err);
    }
    struct ah_json answer = ah_langsmith_run(op);
    lua_pushlstring(L, answer.p, answer.n);
    return 1;
}

/* (path, body, v2): the answer as text. This is what a run notes of a list: a resumed one walks over the same pages,
 * and asks for the page behind them. */
static int l_page(lua_State *L)
{
    struct ah_langsmith_call call = {.path = luaL_checkstring(L, 1), .v2 = lua_toboolean(L, 3)};
    call.body = luaL_optlstring(L, 2, NULL, &call.body_n);
    return k_page(L, LUA_OK, ah_task_push_op(L, ah_langsmith_ask(service_of(L), &call)));
}

/* An answer that is none must not look like the end of a list. */
static void check_items(lua_State *L, struct list *l, struct ah_json items)
{
    struct ah_error err = {0};
    if (items.type == AH_JSON_ARRAY)
        return;
    l->last = true;
    ah_err_set(&err, AH_PROTOCOL, "LangSmith's answer is no list of %s: is LANGSMITH_ENDPOINT right?",
               l->runs && l->form != FIND ? "runs" : "what was asked for");
    raise(L, &err);
}

/* The project or dataset that was meant by its name. */
static void take_id(lua_State *L, struct list *l, struct ah_json answer)
{
    struct ah_error err = {0};
    check_items(L, l, answer);
    ah_json_copy(ah_json_get(ah_json_at(answer, 0), "id"), l->id, sizeof l->id);
    if (!ah_ids_is_uuid(l->id)) {
        ah_err_set(&err, AH_NOT_FOUND, "LangSmith has no %s of that name", l->runs ? "project" : "dataset");
        raise(L, &err);
    }
    l->form = l->runs ? RUNS_V2 : LIST;
}

static void take_items(lua_State *L, struct list *l, struct ah_json items)
{
    struct ah_json cursor = {0};
    bool v2 = l->form == RUNS_V2;
    if (l->form != LIST) {
        cursor = v2 ? ah_json_get(items, "next_cursor") : ah_json_path(items, "cursors", "next", NULL);
        items = ah_json_get(items, v2 ? "items" : "runs");
        if (l->cursor && ah_json_is(cursor, l->cursor)) /* it would never end */
            items = (struct ah_json){0};
        free(l->cursor);
        l->cursor = ah_json_dup(cursor);
    }
    check_items(L, l, items);
    l->count = ah_json_count(items);
    l->offset += (long)l->count;
    l->last = l->form == LIST ? l->count < PAGE_COUNT : !l->cursor || !l->count;
    l->it = ah_json_iter(items);
}

/* What l_page gave: a text, or nil and an error, which is raised unless the other generation is asked next. */
static void take_answer(lua_State *L, struct list *l)
{
    size_t n;
    const char *text = lua_tolstring(L, 1, &n);
    struct ah_json answer = {0};
    if (!text) {
        lua_getfield(L, 2, "status");
        lua_Integer status = lua_tointeger(L, -1);
        bool gone = status == 404 || status == 405 || status == 501;
        lua_settop(L, 2);
        l->last = l->form != RUNS_V2 || !gone || l->cursor;
        if (l->last)
            lua_error(L);
        l->form = RUNS_V1;
        return;
    }
    ah_buf_clear(&l->page);
    if (ah_buf_add(&l->page, text, n) != 0)
        luaL_error(L, "out of memory");
    ah_json_check(l->page.p, l->page.n, 0, &answer, NULL);
    if (l->form != FIND) {
        take_items(L, l, answer);
        return;
    }
    take_id(L, l, answer);
    ah_buf_clear(&l->page);
}

/* --- the iterator --------------------------------------------------------------------------------------- */

static void lower_field(lua_State *L, const char *field)
{
    char text[32];
    if (lua_getfield(L, -1, field) == LUA_TSTRING && lua_rawlen(L, -1) < sizeof text) {
        snprintf(text, sizeof text, "%s", lua_tostring(L, -1));
        for (char *p = text; *p; p++)
            *p = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
        lua_pushstring(L, text);
        lua_setfield(L, -3, field);
    }
    lua_pop(L, 1);
}

/* The item on top of the stack, with the names that read_run gives. */
static void even_out(lua_State *L, const struct list *l)
{
    if (l->form != RUNS_V2 || !lua_istable(L, -1))
        return;
    lower_field(L, "run_type");
    lower_field(L, "status");
    lua_getfield(L, -1, "project_id");
    lua_setfield(L, -2, "session_id");
    if (lua_getfield(L, -1, "parent_run_ids") == LUA_TTABLE && lua_rawlen(L, -1) > 0) {
        lua_rawgeti(L, -1, (lua_Integer)lua_rawlen(L, -1));
        lua_setfield(L, -3, "parent_run_id");
    }
    lua_pop(L, 1);
}

static int k_next(lua_State *L, int status, lua_KContext ctx);

static int step(lua_State *L)
{
    struct list *l = lua_touserdata(L, lua_upvalueindex(1));
    for (;;) {
        if (l->left != 0 && l->page.n && ah_json_next(&l->it)) {
            l->left -= l->left > 0;
            ah_luajson_push(L, l->it.value);
            even_out(L, l);
            return 1;
        }
        if (l->last || l->left == 0) {
            lua_pushnil(L);
            return 1;
        }
        lua_settop(L, 0);
        lua_pushvalue(L, lua_upvalueindex(2));
        push_request(L, l);
        lua_callk(L, 3, 2, 0, k_next);
        take_answer(L, l);
    }
}

static int k_next(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    take_answer(L, lua_touserdata(L, lua_upvalueindex(1)));
    return step(L);
}

static int l_next(lua_State *L)
{
    ah_task_check(L, "langsmith's lists");
    lua_settop(L, 0);
    return step(L);
}

/* --- what is asked for ------------------------------------------------------------------------------------ */

static struct list *push_list(lua_State *L)
{
    struct list *l = ah_luax_new(L, sizeof *l, 0, MT);
    ah_buf_init(&l->page, PAGE_BYTES);
    l->left = -1;
    l->form = LIST;
    return l;
}

static char *copy(lua_State *L, const char *text)
{
    char *to = strdup(text);
    if (!to)
        luaL_error(L, "out of memory");
    return to;
}

/* `name`: under which its pages are noted. */
static int finish(lua_State *L, struct list *l, const char *name)
{
    lua_Integer limit = ah_luax_int(L, 1, "limit", -1);
    luaL_argcheck(L, limit >= -1, 1, "limit must not be negative");
    l->left = (long)limit;
    lua_pushcfunction(L, l_page);
    ah_luareplay_call(L, name);
    lua_pushcclosure(L, l_next, 2);
    return 1;
}

/* "path?key=value" with the text fields of the table at 1 that are given. */
static char *path_with(lua_State *L, const char *path, const char *const *fields)
{
    struct ah_buf *b = ah_luax_guard_buf(L, TEXT_BYTES);
    ah_buf_adds(b, path);
    for (; *fields; fields++) {
        const char *value = ah_luax_str(L, 1, *fields, NULL);
        if (value)
            ah_url_add_query(b, *fields, value, strlen(value));
        lua_pop(L, 1);
    }
    char *made = copy(L, ah_buf_str(b));
    lua_closeslot(L, -1);
    lua_pop(L, 1);
    return made;
}

static void read_table(lua_State *L, const char *what, const char *const *fields)
{
    lua_settop(L, 1);
    if (lua_isnil(L, 1)) {
        lua_newtable(L);
        lua_replace(L, 1);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    ah_luax_fields(L, 1, what, fields);
}

static int l_projects(lua_State *L)
{
    static const char *const fields[] = {"name", "name_contains", "limit", NULL}, *const query[] = {
                                                                                      "name", "name_contains",
                                                                                      NULL};
    read_table(L, "langsmith.projects", fields);
    struct list *l = push_list(L);
    l->path = path_with(L, "sessions", query);
    return finish(L, l, "langsmith.projects");
}

static int l_datasets(lua_State *L)
{
    static const char *const fields[] = {"name", "name_contains", "limit", NULL}, *const query[] = {
                                                                                      "name", "name_contains",
                                                                                      NULL};
    read_table(L, "langsmith.datasets", fields);
    struct list *l = push_list(L);
    l->path = path_with(L, "datasets", query);
    return finish(L, l, "langsmith.datasets");
}

/* A UUID is the thing's id, anything else its name, which is looked up first. */
static void set_target(lua_State *L, struct list *l, const char *name, const char *path)
{
    if (ah_ids_is_uuid(name)) {
        snprintf(l->id, sizeof l->id, "%s", name);
        l->form = l->runs ? RUNS_V2 : LIST;
        return;
    }
    struct ah_buf *b = ah_luax_guard_buf(L, TEXT_BYTES);
    ah_buf_adds(b, path);
    ah_url_add_query(b, "name", name, strlen(name));
    ah_buf_adds(b, "&limit=1");
    l->find = copy(L, ah_buf_str(b));
    l->form = FIND;
    lua_closeslot(L, -1);
    lua_pop(L, 1);
}

static int l_examples(lua_State *L)
{
    static const char *const fields[] = {"dataset", "limit", NULL};
    luaL_checktype(L, 1, LUA_TTABLE);
    read_table(L, "langsmith.examples", fields);
    const char *dataset = ah_luax_need_str(L, 1, "dataset");
    struct list *l = push_list(L);
    l->path = copy(L, "examples?dataset=");
    set_target(L, l, dataset, "datasets");
    return finish(L, l, "langsmith.examples");
}

/* One filter in the words of both generations. */
struct word {
    const char *field, *v1, *v2;
    enum { AS_TEXT, AS_UPPER, AS_BOOL } kind;
};
static const struct word words[] = {
    {"filter", "filter", "filter", AS_TEXT},
    {"trace_filter", "trace_filter", "trace_filter", AS_TEXT},
    {"tree_filter", "tree_filter", "tree_filter", AS_TEXT},
    {"run_type", "run_type", "run_type", AS_UPPER},
    {"trace_id", "trace", "trace_id", AS_TEXT},
    {"start_time", "start_time", "min_start_time", AS_TEXT},
    {"end_time", "end_time", "max_start_time", AS_TEXT},
    {"is_root", "is_root", "is_root", AS_BOOL},
    {"error", "error", "has_error", AS_BOOL},
};

static void put_word(lua_State *L, const struct word *w, bool v2, struct ah_buf *to)
{
    int type = lua_getfield(L, 1, w->field);
    if (type == LUA_TNIL) {
        lua_pop(L, 1);
        return;
    }
    if (w->kind == AS_BOOL ? type != LUA_TBOOLEAN : type != LUA_TSTRING)
        luaL_error(L, "bad field '%s' (%s expected, got %s)", w->field,
                   w->kind == AS_BOOL ? "boolean" : "string", luaL_typename(L, -1));
    ah_buf_addf(to, ",\"%s\":", v2 ? w->v2 : w->v1);
    if (w->kind == AS_BOOL) {
        ah_buf_adds(to, lua_toboolean(L, -1) ? "true" : "false");
    } else {
        size_t begin = to->n, n;
        const char *p = lua_tolstring(L, -1, &n);
        ah_json_quote(to, p, n);
        for (size_t i = begin; v2 && w->kind == AS_UPPER && i < to->n; i++)
            if (to->p[i] >= 'a' && to->p[i] <= 'z')
                to->p[i] = (char)(to->p[i] - 32);
    }
    lua_pop(L, 1);
}

static char *put_words(lua_State *L, bool v2, bool ascending)
{
    struct ah_buf *b = ah_luax_guard_buf(L, TEXT_BYTES);
    bool since = lua_getfield(L, 1, "start_time") != LUA_TNIL;
    lua_pop(L, 1);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        put_word(L, &words[i], v2, b);
    if (v2) {
        if (!since) /* else it would be the last day */
            ah_buf_adds(b, ",\"min_start_time\":\"2000-01-01T00:00:00Z\"");
        ah_buf_addf(b, ",\"page_size\":%d,\"sort_order\":\"%s\"," SELECTS, PAGE_COUNT,
                    ascending ? "ASC" : "DESC");
    } else {
        ah_buf_addf(b, ",\"limit\":%d,\"order\":\"%s\"", PAGE_COUNT, ascending ? "asc" : "desc");
    }
    char *text = copy(L, ah_buf_str(b));
    lua_closeslot(L, -1);
    lua_pop(L, 1);
    return text;
}

static int l_runs(lua_State *L)
{
    static const char *const fields[] = {
        "project",  "filter",  "trace_filter", "tree_filter", "run_type", "trace_id", "start_time",
        "end_time", "is_root", "error",        "order",       "limit",    NULL};
    read_table(L, "langsmith.runs", fields);
    struct ah_run *run = ah_task_run(L);
    const char *project = ah_luax_str(L, 1, "project", run ? ah_run_project(run) : "default");
    const char *order = ah_luax_str(L, 1, "order", "desc");
    luaL_argcheck(L, strcmp(order, "asc") == 0 || strcmp(order, "desc") == 0, 1,
                  "order is \"asc\" or \"desc\"");
    struct list *l = push_list(L);
    l->runs = true;
    l->v2 = put_words(L, true, *order == 'a');
    l->v1 = put_words(L, false, *order == 'a');
    set_target(L, l, project, "sessions");
    return finish(L, l, "langsmith.runs");
}

/* --- feedback ---------------------------------------------------------------------------------------------- */

static int k_feedback(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    struct ah_op *op = ah_task_op(L, (int)idx);
    struct ah_error err = {0};
    if (!op->done)
        return ah_task_await(L, (int)idx, k_feedback);
    if (op->err.kind != AH_NONE) {
        ah_err_copy(&err, &op->err);
        return ah_luax_fail(L, &err);
    }
    ah_luajson_push(L, ah_langsmith_run(op));
    return 1;
}

static void set_default(lua_State *L, const char *field, const char *text)
{
    if (lua_getfield(L, 2, field) == LUA_TNIL) {
        lua_pushstring(L, text);
        lua_setfield(L, 2, field);
    }
    lua_pop(L, 1);
}

/* A copy of the table at 1 in LangSmith's words, at 2. */
static void make_feedback(lua_State *L)
{
    struct ah_lua *lua = ah_lua_of(L);
    struct ah_run *run = ah_task_run(L);
    char id[AH_UUID_BYTES];
    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, 1)) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, 2);
    }
    lua_getfield(L, 2, "run");
    lua_setfield(L, 2, "run_id");
    lua_pushnil(L);
    lua_setfield(L, 2, "run");
    if (run) {
        set_default(L, "run_id", ah_run_id(run));
        if (lua_getfield(L, 2, "run_id") == LUA_TSTRING && strcmp(lua_tostring(L, -1), ah_run_id(run)) == 0)
            set_default(L, "trace_id", ah_run_trace_id(run));
        lua_pop(L, 1);
    }
    if (lua_getfield(L, 2, "run_id") != LUA_TSTRING)
        luaL_error(L, "bad field 'run' (a run's id expected, got %s)", luaL_typename(L, -1));
    lua_pop(L, 1);
    ah_ids_uuid7(ah_loop_ids(lua->core->loop), ah_clock_wall_us(ah_loop_clock(lua->core->loop)), id);
    set_default(L, "id", id);
    lua_createtable(L, 0, 1);
    if (lua_getfield(L, 2, "source") == LUA_TNIL) {
        lua_pop(L, 1);
        lua_pushliteral(L, "api");
    }
    lua_setfield(L, -2, "type");
    lua_setfield(L, 2, "feedback_source");
    lua_pushnil(L);
    lua_setfield(L, 2, "source");
}

static int l_feedback(lua_State *L)
{
    static const char *const fields[] = {"run",      "key",        "score", "value",  "comment", "correction",
                                         "trace_id", "session_id", "id",    "source", "extra",   NULL};
    struct ah_error err = {0};
    ah_task_check(L, "langsmith.feedback");
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    ah_luax_fields(L, 1, "langsmith.feedback", fields);
    ah_luax_need_str(L, 1, "key");
    lua_settop(L, 1);
    make_feedback(L);
    lua_settop(L, 2);
    struct ah_buf *b = ah_luax_guard_buf(L, TEXT_BYTES);
    if (ah_luajson_encode(L, 2, b, ah_lua_of(L)->core->secrets, &err) != 0)
        raise(L, &err);
    struct ah_langsmith_call call = {
        .path = "feedback", .body = ah_buf_str(b), .body_n = b->n, .wait_ms = FEEDBACK_WAIT_MS};
    return k_feedback(L, LUA_OK, ah_task_push_op(L, ah_langsmith_ask(service_of(L), &call)));
}

static const luaL_Reg functions[] = {
    {"runs", l_runs},         {"projects", l_projects}, {"datasets", l_datasets},
    {"examples", l_examples}, {"feedback", l_feedback}, {NULL, NULL},
};

void ah_lua_lsread_add(lua_State *L)
{
    ah_luax_class(L, MT, NULL, m_list_release);
    luaL_setfuncs(L, functions, 0);
}
