/* What a script can see. Called by host.c once per state and once per script.
 *
 * Globals and libraries are read-only proxies: one script cannot change them for another. Modules named
 * host.* are C; agent.* and other files are found in the search order of scripts.h and loaded into
 * the environment of the script. Must not give scripts a way around the host's loop, limits or secrets. */
#include "sandbox.h"

#include "config.h"
#include "luareplay.h"
#include "luax.h"
#include "script_run.h"
#include "scripts.h"
#include "secret.h"
#include "store.h"
#include "task.h"

#include <lua-cjson.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

int luaopen_cjson_safe(lua_State *L); /* in the library, not in its header */

#define GLOBALS_KEY "agenthost.globals"
#define ENV_KEY "agenthost.env"
#define LOAD_KEY "agenthost.load"       /* Lua's own load */
#define MODULES_KEY "agenthost.modules" /* module name -> opener */
#define SHARED_KEY "agenthost.shared"   /* opened C modules */

static const char loading_marker; /* its address stands for a module that is being loaded */

/* --- freezing ------------------------------------------------------------------------------------------- */

static int m_frozen_newindex(lua_State *L)
{
    return luaL_error(L, "'%s' is read-only: it is shared by all scripts", luaL_tolstring(L, 2, NULL));
}

static int l_next_frozen(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_remove(L, 2);
    if (lua_next(L, 1))
        return 2;
    lua_pushnil(L);
    return 1;
}

static int m_frozen_pairs(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushcclosure(L, l_next_frozen, 1);
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    return 3;
}

/* Replaces the table on top by a read-only view of it. */
static void freeze(lua_State *L)
{
    lua_newtable(L); /* the view */
    lua_createtable(L, 0, 4);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, m_frozen_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushvalue(L, -3);
    lua_pushcclosure(L, m_frozen_pairs, 1);
    lua_setfield(L, -2, "__pairs");
    lua_pushliteral(L, "locked");
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_remove(L, -2);
}

/* --- replaced functions --------------------------------------------------------------------------------- */

static int k_exit(lua_State *L, int status, lua_KContext idx)
{
    (void)status;
    return ah_task_await(L, (int)idx, k_exit); /* until the host has closed this task */
}

/* Through the host: open spans end, the journal is written, traces leave. */
static int l_os_exit(lua_State *L)
{
    struct ah_lua *lua = ah_lua_of(L);
    int code = lua_isnoneornil(L, 1) || (lua_isboolean(L, 1) && lua_toboolean(L, 1)) ? 0
               : lua_isboolean(L, 1)                                                 ? 1
                                     : (int)luaL_checkinteger(L, 1);
    lua->exit_requested = true;
    lua->exit_code = code & 0xff;
    ah_loop_hurry(lua->core->loop);
    if (!ah_task_current(L) || !lua_isyieldable(L))
        return luaL_error(L, "os.exit: the script ends here");
    struct ah_op *never = ah_op_latch(lua->core->loop);
    if (never)
        never->inner = true;
    return k_exit(L, LUA_OK, ah_task_push_op(L, never));
}

static int l_os_getenv(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    struct ah_core *core = ah_lua_of(L)->core;
    const char *value = NULL;
    if (!ah_config_is_secret(core->config, name) && !(value = ah_config_get(core->config, name)))
        value = ah_config_environment(core->config, name);
    lua_pushstring(L, value);
    return 1;
}

static int l_os_time(lua_State *L)
{
    if (!lua_isnoneornil(L, 1)) { /* a date table: pure arithmetic */
        lua_settop(L, 1);
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_insert(L, 1);
        lua_call(L, 1, 1);
        return 1;
    }
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_call(L, 0, 1);
    return 1;
}

static int l_now(lua_State *L)
{
    lua_pushinteger(L, ah_clock_wall_us(ah_loop_clock(ah_lua_of(L)->core->loop)) / 1000000);
    return 1;
}

static int l_os_date(lua_State *L)
{
    lua_settop(L, 2);
    if (lua_isnil(L, 1)) {
        lua_pushliteral(L, "%c");
        lua_replace(L, 1);
    }
    if (lua_isnil(L, 2)) {
        lua_pushvalue(L, lua_upvalueindex(2));
        lua_call(L, 0, 1);
        lua_replace(L, 2);
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 2, 1);
    return 1;
}

/* io.lines and file:lines, which is the upvalue: each line is noted. */
static int l_lines(lua_State *L)
{
    int nargs = lua_gettop(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, nargs, LUA_MULTRET);
    if (!lua_isfunction(L, 1))
        return lua_gettop(L);
    lua_pushvalue(L, 1);
    ah_luareplay_reader(L, "io.lines");
    lua_replace(L, 1);
    return lua_gettop(L);
}

/* Files that hold secrets by their nature: settings, the memory of processes, the journal. Links are
 * followed first. */
static bool is_private(lua_State *L, const char *path)
{
    struct ah_core *core = ah_lua_of(L)->core;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (strcmp(name, ".env") == 0 || strncmp(name, ".env.", 5) == 0)
        return strcmp(name, ".env.example") != 0;
    char *full = realpath(path, NULL), *journal = realpath(ah_store_path(core->store), NULL);
    bool private = full && (strncmp(full, "/proc/", 6) == 0 || ah_config_is_file(core->config, full) ||
                            (journal && strncmp(full, journal, strlen(journal)) == 0));
    free(full);
    free(journal);
    return private; /* what is not there, or cannot be resolved, fails to open by itself */
}

/* A syntax error quotes what it stands in: such a file is not even loaded. */
static void refuse_private(lua_State *L, const char *path)
{
    if (is_private(L, path))
        luaL_error(L, "%s: scripts may not load this file", path);
}

static int k_guarded(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return lua_gettop(L);
}

/* io.open, io.lines, io.input and io.output, which is the upvalue: not for private files. */
static int l_guarded(lua_State *L)
{
    const char *path = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : NULL;
    if (path && is_private(L, path)) {
        lua_pushnil(L);
        lua_pushfstring(L, "%s: scripts may not open this file: it holds secrets or other people's data",
                        path);
        return 2;
    }
    int nargs = lua_gettop(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_callk(L, nargs, LUA_MULTRET, 0, k_guarded);
    return lua_gettop(L);
}

static int l_randomseed(lua_State *L)
{
    (void)L; /* chance comes from the host, which decides whether it is seeded */
    return 0;
}

/* rawset would write into the view of a shared table. */
static int l_rawset(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checkany(L, 2);
    luaL_checkany(L, 3);
    lua_settop(L, 3);
    if (luaL_getmetafield(L, 1, "__newindex") != LUA_TNIL && lua_tocfunction(L, -1) == m_frozen_newindex)
        return m_frozen_newindex(L);
    lua_settop(L, 3);
    lua_rawset(L, 1);
    return 1;
}

/* The functions below belong to one environment: it is their last upvalue. */

static void adopt_env(lua_State *L, int env)
{
    lua_pushvalue(L, env);
    if (!lua_setupvalue(L, -2, 1))
        lua_pop(L, 1);
}

/* load with text chunks only, in the script's environment unless one is given. */
static int l_load(lua_State *L)
{
    lua_settop(L, 4);
    bool own_env = !lua_isnone(L, 4) && !lua_isnil(L, 4);
    const char *mode = luaL_optstring(L, 3, "t");
    luaL_argcheck(L, strcmp(mode, "t") == 0 || strcmp(mode, "bt") == 0, 3, "only text chunks can be loaded");
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_pushliteral(L, "t");
    if (own_env)
        lua_pushvalue(L, 4);
    else
        lua_pushvalue(L, lua_upvalueindex(2));
    lua_call(L, 4, LUA_MULTRET);
    return lua_gettop(L) - 4;
}

static int l_loadfile(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    refuse_private(L, path);
    if (luaL_loadfilex(L, path, "t") != LUA_OK) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    adopt_env(L, lua_upvalueindex(1));
    return 1;
}

static int k_dofile(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return lua_gettop(L) - 1;
}

static int l_dofile(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    lua_settop(L, 1);
    refuse_private(L, path);
    if (luaL_loadfilex(L, path, "t") != LUA_OK)
        return lua_error(L);
    adopt_env(L, lua_upvalueindex(1));
    lua_callk(L, 0, LUA_MULTRET, 0, k_dofile);
    return k_dofile(L, LUA_OK, 0);
}

/* --- require ---------------------------------------------------------------------------------------------- */

static void release_file(void *p)
{
    ah_script_file_drop(p);
    free(p);
}

/* "a.b" -> "a/b.lua", then "a/b/init.lua". Pushes the loader function and its path; false: err. */
static bool push_loader(lua_State *L, const char *name, struct ah_error *err)
{
    static const char *const shapes[] = {"%s.lua", "%s/init.lua"};
    char stem[512], path[600];
    struct ah_lua *lua = ah_lua_of(L);
    const char *folder = lua->script ? lua->script->folder : NULL;
    snprintf(stem, sizeof stem, "%s", name);
    for (char *p = stem; *p; p++)
        if (*p == '.')
            *p = '/';
    void **slot = ah_luax_guard(L, release_file);
    struct ah_script_file *f = calloc(1, sizeof *f);
    if (!f)
        luaL_error(L, "out of memory");
    *slot = f;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(path, sizeof path, shapes[i], stem);
#pragma GCC diagnostic pop
        if (i == 0 ? ah_scripts_read(lua->scripts, folder, path, f, err) == 0
                   : ah_scripts_read(lua->scripts, folder, path, f, NULL) == 0) {
            ah_err_drop(err);
            lua_pushfstring(L, "@%s", f->path);
            if (luaL_loadbufferx(L, f->text, f->n, lua_tostring(L, -1), "t") != LUA_OK)
                lua_error(L);
            adopt_env(L, lua_upvalueindex(2));
            lua_pushstring(L, f->path);
            return true;
        }
        if (i == 0 && err->kind == AH_IO)
            return false;
    }
    return false;
}

/* A module of C: opened once per state, then shared and read-only. */
static bool push_c_module(lua_State *L, const char *name)
{
    lua_getfield(L, LUA_REGISTRYINDEX, SHARED_KEY);
    if (lua_getfield(L, -1, name) != LUA_TNIL)
        return true;
    lua_pop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, MODULES_KEY);
    if (lua_getfield(L, -1, name) != LUA_TFUNCTION) {
        lua_pop(L, 3);
        return false;
    }
    lua_pushstring(L, name);
    lua_call(L, 1, 1);
    freeze(L); /* cjson too: all scripts share it */
    lua_pushvalue(L, -1);
    lua_setfield(L, -4, name);
    return true;
}

static int l_require(lua_State *L)
{
    struct ah_error err = {0};
    const char *name = luaL_checkstring(L, 1);
    luaL_argcheck(L, strlen(name) < 256 && !strstr(name, ".."), 1, "not a module name");
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1)); /* 2: what this environment has loaded */
    if (lua_getfield(L, 2, name) != LUA_TNIL) {
        if (lua_type(L, -1) == LUA_TLIGHTUSERDATA)
            return luaL_error(L, "module '%s' requires itself while it loads", name);
        return 1;
    }
    lua_settop(L, 2);
    if (push_c_module(L, name))
        return 1;
    lua_settop(L, 2);
    if (strncmp(name, "host.", 5) == 0)
        return luaL_error(L, "no module '%s' in this program", name);
    if (!push_loader(L, name, &err)) {
        ah_luax_push_error(L, &err);
        return luaL_error(L, "module '%s' was not found: %s", name, luaL_tolstring(L, -1, NULL));
    }
    int path = lua_gettop(L), loader = path - 1;
    lua_pushlightuserdata(L, (void *)(uintptr_t)&loading_marker);
    lua_setfield(L, 2, name);
    lua_pushvalue(L, loader);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, path);
    int status = lua_pcall(L, 2, 1, 0); /* no wait can pass here: task.h says so to who tries */
    if (status != LUA_OK) {
        lua_pushnil(L);
        lua_setfield(L, 2, name);
        return lua_error(L);
    }
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
    }
    lua_pushvalue(L, -1);
    lua_setfield(L, 2, name);
    lua_pushvalue(L, path);
    return 2;
}

/* --- building --------------------------------------------------------------------------------------------- */

static void remove_fields(lua_State *L, const char *library, const char *const *names)
{
    lua_getglobal(L, library);
    for (; *names; names++) {
        lua_pushnil(L);
        lua_setfield(L, -2, *names);
    }
    lua_pop(L, 1);
}

static void keep_fields(lua_State *L, const char *library, const char *const *names)
{
    lua_getglobal(L, library);
    lua_newtable(L);
    for (; *names; names++) {
        lua_getfield(L, -2, *names);
        lua_setfield(L, -2, *names);
    }
    lua_setglobal(L, library);
    lua_pop(L, 1);
}

/* read and lines of the table on top. */
static void note_reading(lua_State *L, const char *name)
{
    lua_getfield(L, -1, "read");
    ah_luareplay_reader(L, name);
    lua_setfield(L, -2, "read");
    lua_getfield(L, -1, "lines");
    lua_pushcclosure(L, l_lines, 1);
    lua_setfield(L, -2, "lines");
}

static void replace_functions(lua_State *L)
{
    lua_getglobal(L, "os");
    lua_pushcfunction(L, l_os_exit);
    lua_setfield(L, -2, "exit");
    lua_pushcfunction(L, l_os_getenv);
    lua_setfield(L, -2, "getenv");
    lua_getfield(L, -1, "time");
    ah_luareplay_value(L, l_now, "os.time");
    lua_pushcclosure(L, l_os_time, 2);
    lua_setfield(L, -2, "time");
    lua_getfield(L, -1, "date");
    ah_luareplay_value(L, l_now, "os.date");
    lua_pushcclosure(L, l_os_date, 2);
    lua_setfield(L, -2, "date");
    static const char *const read[] = {"clock", "getenv", NULL};
    ah_luareplay_values(L, "os.", read);
    lua_pop(L, 1);
    static const char *const guarded[] = {"input", "lines", "open", "output", NULL};
    lua_getglobal(L, "io");
    for (const char *const *n = guarded; *n; n++) {
        lua_getfield(L, -1, *n);
        lua_pushcclosure(L, l_guarded, 1);
        lua_setfield(L, -2, *n);
    }
    note_reading(L, "io.read");
    lua_pop(L, 1);
    luaL_getmetatable(L, LUA_FILEHANDLE);
    lua_getfield(L, -1, "__index");
    note_reading(L, "file.read");
    lua_pop(L, 2);
    lua_register(L, "rawset", l_rawset);
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    lua_pushliteral(L, "locked"); /* else a script could replace the methods of all strings */
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
    lua_getfield(L, LUA_REGISTRYINDEX, MODULES_KEY);
    lua_getfield(L, -1, "host");
    lua_call(L, 0, 1);
    lua_getfield(L, -1, "random");
    lua_getglobal(L, "math");
    lua_insert(L, -2);
    lua_setfield(L, -2, "random");
    lua_pushcfunction(L, l_randomseed);
    lua_setfield(L, -2, "randomseed");
    lua_pop(L, 3);
}

static void freeze_libraries(lua_State *L)
{
    static const char *const names[] = {"coroutine", "debug", "io",   "math", "os",
                                        "string",    "table", "utf8", NULL};
    for (const char *const *n = names; *n; n++) {
        lua_getglobal(L, *n);
        freeze(L);
        lua_setglobal(L, *n);
    }
}

/* print through the stream that is the upvalue: Lua's own writes to C's stdout, whatever io.stdout is. */
static int l_print(lua_State *L)
{
    FILE *out = lua_touserdata(L, lua_upvalueindex(1));
    int n = lua_gettop(L);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (int i = 1; i <= n; i++) {
        if (i > 1)
            luaL_addchar(&b, '\t');
        luaL_tolstring(L, i, NULL);
        luaL_addvalue(&b);
    }
    luaL_addchar(&b, '\n');
    luaL_pushresult(&b);
    size_t size;
    const char *text = lua_tolstring(L, -1, &size);
    fwrite(text, 1, size, out);
    return 0;
}

void ah_sandbox_redirect(lua_State *L, FILE *out, FILE *err)
{
    lua_getglobal(L, "io");
    lua_getfield(L, -1, "stdout"); /* io.write's default is the same object */
    ((luaL_Stream *)luaL_checkudata(L, -1, LUA_FILEHANDLE))->f = out;
    lua_getfield(L, -2, "stderr");
    ((luaL_Stream *)luaL_checkudata(L, -1, LUA_FILEHANDLE))->f = err;
    lua_pop(L, 3);
    lua_pushlightuserdata(L, out);
    lua_pushcclosure(L, l_print, 1);
    lua_setglobal(L, "print");
}

void ah_sandbox_add(lua_State *L, const char *name)
{
    lua_getfield(L, LUA_REGISTRYINDEX, MODULES_KEY);
    lua_insert(L, -2);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

void ah_sandbox_open(lua_State *L, const struct ah_module *modules)
{
    static const char *const no_os[] = {"execute", "setlocale", "tmpname", NULL};
    static const char *const no_io[] = {"popen", NULL};
    static const char *const debug[] = {"getinfo", "traceback", NULL};
    luaL_openlibs(L);
    remove_fields(L, "os", no_os);
    remove_fields(L, "io", no_io);
    keep_fields(L, "debug", debug);
    lua_newtable(L);
    for (const struct ah_module *m = modules; m->name; m++) {
        lua_pushcfunction(L, m->open);
        lua_setfield(L, -2, m->name);
    }
    lua_pushcfunction(L, luaopen_cjson);
    lua_setfield(L, -2, "cjson");
    lua_pushcfunction(L, luaopen_cjson_safe);
    lua_setfield(L, -2, "cjson.safe");
    lua_setfield(L, LUA_REGISTRYINDEX, MODULES_KEY);
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, SHARED_KEY);
}

void ah_sandbox_freeze(lua_State *L)
{
    replace_functions(L);
    freeze_libraries(L);
    lua_getglobal(L, "load");
    lua_setfield(L, LUA_REGISTRYINDEX, LOAD_KEY);
    static const char *const per_env[] = {"dofile", "load", "loadfile", "package", "require", NULL};
    for (const char *const *n = per_env; *n; n++) {
        lua_pushnil(L);
        lua_setglobal(L, *n);
    }
    lua_pushglobaltable(L);
    freeze(L);
    lua_setfield(L, LUA_REGISTRYINDEX, GLOBALS_KEY);
}

/* Sets env[name] = closure of fn over `first` (if any) and the environment. Stack: env on top. */
static void bind(lua_State *L, const char *name, lua_CFunction fn, bool first)
{
    int env = lua_gettop(L) - first;
    lua_pushvalue(L, env);
    lua_pushcclosure(L, fn, first ? 2 : 1);
    lua_setfield(L, env, name);
}

void ah_sandbox_new_env(lua_State *L)
{
    lua_newtable(L);
    lua_createtable(L, 0, 2);
    lua_getfield(L, LUA_REGISTRYINDEX, GLOBALS_KEY);
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, "locked");
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "_G"); /* scripts that say _G.x mean their own */
    bind(L, "loadfile", l_loadfile, false);
    bind(L, "dofile", l_dofile, false);
    lua_getfield(L, LUA_REGISTRYINDEX, LOAD_KEY);
    bind(L, "load", l_load, true);
    lua_newtable(L); /* the modules of this environment */
    bind(L, "require", l_require, true);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, ENV_KEY);
}

void ah_sandbox_adopt(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, ENV_KEY);
    if (!lua_setupvalue(L, -2, 1))
        lua_pop(L, 1);
}

void ah_sandbox_require(lua_State *L, const char *name)
{
    lua_getfield(L, LUA_REGISTRYINDEX, ENV_KEY);
    lua_getfield(L, -1, "require");
    lua_remove(L, -2);
    lua_pushstring(L, name);
    lua_call(L, 1, 1);
}
