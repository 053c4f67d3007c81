/* The anonymizer of a run: calls a script's function for each text of a span, when the span starts and ends, and
 * makes the body that is sent. Called by trace.c through the run's cleaner, by lua_trace.c to set it.
 *
 * Runs in the ready phase, like all Lua. The function cannot wait. When it fails, what it was given is withheld:
 * nothing of it is sent. */
#include "lua_anonymize.h"

#include "json.h"
#include "log.h"
#include "luax.h"
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES ((size_t)64 << 20)
#define PATH_BYTES 512

struct anonymizer {
    struct ah_lua *lua; /* the function is in the registry, under this address */
    bool said;
};

/* One value on its way through the function. */
struct walk {
    struct anonymizer *a;
    const char *what, *json;
    size_t n;
    struct ah_buf *to;
    char path[PATH_BYTES]; /* "inputs.messages[1].content" */
};

static void put_string(lua_State *L, struct walk *w, struct ah_json v)
{
    size_t n;
    struct ah_buf *text = ah_luax_guard_buf(L, TEXT_BYTES);
    if (ah_json_str(v, text) != 0)
        luaL_error(L, "a text is too long");
    lua_pushvalue(L, 1);
    lua_pushlstring(L, ah_buf_str(text), text->n);
    lua_pushstring(L, w->path);
    lua_call(L, 2, 1);
    if (lua_isnil(L, -1)) {
        ah_buf_add(w->to, v.p, v.n);
    } else {
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "a text or nil expected, got %s", luaL_typename(L, -1));
        const char *p = lua_tolstring(L, -1, &n);
        ah_json_quote(w->to, p, n);
    }
    lua_pop(L, 1);
    lua_closeslot(L, -1);
    lua_pop(L, 1);
}

static void put_value(lua_State *L, struct walk *w, struct ah_json v)
{
    size_t at = strlen(w->path);
    luaL_checkstack(L, 8, NULL);
    if (v.type == AH_JSON_STRING) {
        put_string(L, w, v);
        return;
    }
    if (v.type != AH_JSON_OBJECT && v.type != AH_JSON_ARRAY) {
        ah_buf_add(w->to, v.p, v.n);
        return;
    }
    bool object = v.type == AH_JSON_OBJECT;
    int index = 0;
    ah_buf_addc(w->to, object ? '{' : '[');
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it); index++) {
        char key[128];
        if (index)
            ah_buf_addc(w->to, ',');
        if (object) {
            ah_json_copy(it.key, key, sizeof key);
            ah_buf_add(w->to, it.key.p, it.key.n);
            ah_buf_addc(w->to, ':');
            snprintf(w->path + at, sizeof w->path - at, ".%s", key);
        } else {
            snprintf(w->path + at, sizeof w->path - at, "[%d]", index + 1);
        }
        put_value(L, w, it.value);
        w->path[at] = '\0';
    }
    ah_buf_addc(w->to, object ? '}' : ']');
}

/* (function, walk) */
static int l_clean(lua_State *L)
{
    struct walk *w = lua_touserdata(L, 2);
    struct ah_json v;
    if (ah_json_check(w->json, w->n, 0, &v, NULL) != 0)
        luaL_error(L, "no JSON");
    snprintf(w->path, sizeof w->path, "%s", w->what);
    put_value(L, w, v);
    return 0;
}

static int clean(void *arg, const char *what, const char *json, size_t n, struct ah_buf *to)
{
    struct anonymizer *a = arg;
    struct walk w = {.a = a, .what = what, .json = json, .n = n, .to = to};
    lua_State *L = a->lua->L;
    if (!L || !lua_checkstack(L, 8))
        return -1;
    lua_pushcfunction(L, l_clean);
    lua_rawgetp(L, LUA_REGISTRYINDEX, a);
    lua_pushlightuserdata(L, &w);
    int rc = lua_pcall(L, 2, 0, 0) == LUA_OK ? 0 : -1;
    if (rc != 0) {
        if (!a->said)
            ah_log_line(a->lua->core->log, AH_LOG_WARN,
                        "the anonymizer failed, and what it was given is not sent: %.300s",
                        lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "(no text)");
        a->said = true;
        lua_pop(L, 1);
    }
    return rc;
}

static void free_anonymizer(void *arg)
{
    struct anonymizer *a = arg;
    if (a->lua->L) {
        lua_pushnil(a->lua->L);
        lua_rawsetp(a->lua->L, LUA_REGISTRYINDEX, a);
    }
    free(a);
}

void ah_lua_anonymize_set(lua_State *L, int idx, struct ah_run *run)
{
    struct anonymizer *a = calloc(1, sizeof *a);
    if (!a)
        luaL_error(L, "out of memory");
    a->lua = ah_lua_of(L);
    struct ah_run_cleaner cleaner = {clean, free_anonymizer, a};
    void **guard = ah_luax_guard(L, free);
    *guard = a;
    lua_pushvalue(L, idx);
    lua_rawsetp(L, LUA_REGISTRYINDEX, a);
    *guard = NULL;
    struct ah_error err = {0};
    if (ah_run_set_cleaner(run, &cleaner, &err) != 0) {
        free_anonymizer(a);
        ah_luax_push_error(L, &err);
        lua_error(L);
    }
}
