/* host and host.script: the host itself as scripts see it (version, time, chance, settings by name) and
 * the running script's own circumstances (arguments, identifier, files beside it). Called by scripts.
 * Must not give out the value of a secret. */
#include "lua_host.h"

#include "child.h"
#include "config.h"
#include "hash.h"
#include "limits.h"
#include "log.h"
#include "luareplay.h"
#include "luasecret.h"
#include "script_run.h"
#include "scripts.h"
#include "secret.h"
#include "task.h"
#include "version.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define LIST_BYTES ((size_t)1 << 20) /* of the names in one folder */

static struct ah_core *core_of(lua_State *L)
{
    return ah_lua_of(L)->core;
}

/* --- host ---------------------------------------------------------------------------------------------- */

static int l_next_sorted(lua_State *L)
{
    lua_Integer i = lua_tointeger(L, lua_upvalueindex(3)) + 1;
    if (lua_rawgeti(L, lua_upvalueindex(2), i) == LUA_TNIL)
        return 1;
    lua_pushinteger(L, i);
    lua_replace(L, lua_upvalueindex(3));
    lua_pushvalue(L, -1);
    lua_gettable(L, lua_upvalueindex(1));
    return 2;
}

/* Numbers, then strings, then the rest by type. */
static int rank_of(lua_State *L, int idx)
{
    int type = lua_type(L, idx);
    return type == LUA_TNUMBER ? -2 : type == LUA_TSTRING ? -1 : type;
}

static int key_before(lua_State *L)
{
    int a = rank_of(L, 1), b = rank_of(L, 2);
    bool before = a != b ? a < b : (a == -2 || a == -1) && lua_compare(L, 1, 2, LUA_OPLT);
    lua_pushboolean(L, before);
    return 1;
}

/* An iterator over the keys as they are now, in an order that is the same in every process. */
static int l_sorted_pairs(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_newtable(L);
    lua_Integer n = 0;
    lua_pushnil(L);
    while (lua_next(L, 1)) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_rawseti(L, 2, ++n);
    }
    lua_getglobal(L, "table");
    lua_getfield(L, -1, "sort");
    lua_pushvalue(L, 2);
    lua_pushcfunction(L, key_before);
    lua_call(L, 2, 0);
    lua_settop(L, 2);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, l_next_sorted, 3);
    return 1;
}

static int l_log(lua_State *L)
{
    static const char *const levels[] = {"error", "warn", "info", "debug", NULL};
    int level = luaL_checkoption(L, 1, NULL, levels);
    ah_log_line(core_of(L)->log, (enum ah_log_level)level, "%s", luaL_tolstring(L, 2, NULL));
    return 0;
}

static int l_sha256(lua_State *L)
{
    size_t n;
    char hex[AH_HASH_HEX_BYTES];
    const char *s = luaL_checklstring(L, 1, &n);
    if (ah_hash_sha256_hex(s, n, hex) != 0)
        return luaL_error(L, "out of memory");
    lua_pushstring(L, hex);
    return 1;
}

static int l_base64(lua_State *L)
{
    size_t n;
    luaL_Buffer b;
    const char *bytes = luaL_checklstring(L, 1, &n);
    size_t size = (n + 2) / 3 * 4 + 1;
    char *to = luaL_buffinitsize(L, &b, size);
    int made = ah_hash_base64_encode(bytes, n, to, size);
    luaL_argcheck(L, made >= 0, 1, "too long");
    luaL_pushresultsize(&b, (size_t)made);
    return 1;
}

/* nil when it is none. */
static int l_unbase64(lua_State *L)
{
    size_t n;
    luaL_Buffer b;
    const char *text = luaL_checklstring(L, 1, &n);
    char *to = luaL_buffinitsize(L, &b, n / 4 * 3 + 1);
    int got = n ? ah_hash_base64_decode(text, n, (unsigned char *)to, n / 4 * 3 + 1) : 0;
    luaL_pushresultsize(&b, got > 0 ? (size_t)got : 0);
    if (got < 0)
        lua_pushnil(L);
    return 1;
}

static int l_uuid(lua_State *L)
{
    char id[AH_UUID_BYTES];
    struct ah_loop *loop = core_of(L)->loop;
    ah_ids_uuid7(ah_loop_ids(loop), ah_clock_wall_us(ah_loop_clock(loop)), id);
    lua_pushstring(L, id);
    return 1;
}

/* As math.random: (), (0), (n), (m, n). */
static int l_random(lua_State *L)
{
    struct ah_ids *ids = ah_luareplay_ids(L);
    if (lua_gettop(L) == 0) {
        lua_pushnumber(L, ah_ids_unit(ids));
        return 1;
    }
    if (lua_gettop(L) == 1 && luaL_checkinteger(L, 1) == 0) { /* all bits */
        lua_pushinteger(L, (lua_Integer)ah_ids_u64(ids));
        return 1;
    }
    lua_Integer low = lua_gettop(L) == 1 ? 1 : luaL_checkinteger(L, 1);
    lua_Integer high = luaL_checkinteger(L, lua_gettop(L) == 1 ? 1 : 2);
    luaL_argcheck(L, low <= high, lua_gettop(L) == 1 ? 1 : 2, "interval is empty");
    uint64_t range = (uint64_t)high - (uint64_t)low, v = ah_ids_u64(ids);
    if (range < UINT64_MAX) {
        uint64_t limit = UINT64_MAX - UINT64_MAX % (range + 1);
        while (v >= limit) /* no value may be likelier than another */
            v = ah_ids_u64(ids);
        v %= range + 1;
    }
    lua_pushinteger(L, (lua_Integer)((uint64_t)low + v));
    return 1;
}

static int l_time(lua_State *L)
{
    lua_pushnumber(L, (double)ah_clock_wall_us(ah_loop_clock(core_of(L)->loop)) / 1e6);
    return 1;
}

/* The most that this process had in memory at once. */
static int l_memory(lua_State *L)
{
    struct rusage usage = {0};
    getrusage(RUSAGE_SELF, &usage);
    lua_pushinteger(L, (lua_Integer)usage.ru_maxrss * 1024);
    return 1;
}

static int l_emulated(lua_State *L)
{
    lua_pushboolean(L, ah_config_emulated(core_of(L)->config));
    return 1;
}

static int l_secret(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    luaL_argcheck(L, name[0] && strlen(name) < 128 && !strpbrk(name, "\1\2"), 1, "not a name");
    ah_luasecret_push(L, name);
    return 1;
}

static int l_config(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    if (ah_secret_is_name(name))
        return luaL_error(L, "%s is a secret: scripts hold host.secret(\"%s\"), not its value", name, name);
    struct ah_config *config = core_of(L)->config;
    lua_pushstring(L, ah_config_is_secret(config, name) ? NULL : ah_config_get(config, name));
    return 1;
}

/* --- host.script ---------------------------------------------------------------------------------------- */

static const struct ah_script_run *script_of(lua_State *L)
{
    static const char *const no_args[] = {NULL};
    static const struct ah_host_pair no_options[] = {{NULL, NULL}};
    static const struct ah_script_run none = {
        .path = "", .folder = ".", .name = "", .args = no_args, .options = no_options};
    const struct ah_script_run *s = ah_lua_of(L)->script;
    return s ? s : &none;
}

static int l_args(lua_State *L)
{
    const struct ah_script_run *s = script_of(L);
    lua_newtable(L);
    for (lua_Integer i = 0; s->args[i]; i++) {
        lua_pushstring(L, s->args[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

const char *ah_lua_host_identifier(lua_State *L)
{
    struct ah_run *run = ah_task_run(L);
    if (script_of(L)->identifier)
        return script_of(L)->identifier;
    if (run && ah_run_identifier(run)[0])
        return ah_run_identifier(run);
    return ah_config_get(core_of(L)->config, "AGENTHOST_USER");
}

static int l_identifier(lua_State *L)
{
    struct ah_run *run = ah_task_run(L);
    const char *flag = script_of(L)->identifier;
    if (!lua_isnoneornil(L, 1)) {
        const char *given = luaL_checkstring(L, 1);
        luaL_argcheck(L, given[0] && strlen(given) <= 100, 1, "1 to 100 bytes expected");
        if (run && !flag && ah_run_set_identifier(run, given) != 0)
            return luaL_error(L, "out of memory");
    }
    lua_pushstring(L, ah_lua_host_identifier(L));
    return 1;
}

static int l_name(lua_State *L)
{
    lua_pushstring(L, script_of(L)->name);
    return 1;
}

static int l_path(lua_State *L)
{
    lua_pushstring(L, script_of(L)->path);
    return 1;
}

static int l_folder(lua_State *L)
{
    lua_pushstring(L, script_of(L)->folder);
    return 1;
}

/* A flag of the command line; NULL: not given. */
static const char *option_of(lua_State *L, const char *name)
{
    if (strcmp(name, "user") == 0)
        return script_of(L)->identifier;
    for (const struct ah_host_pair *o = script_of(L)->options; o->name; o++)
        if (strcmp(o->name, name) == 0)
            return o->value;
    return NULL;
}

static int l_option(lua_State *L)
{
    lua_pushstring(L, option_of(L, luaL_checkstring(L, 1)));
    return 1;
}

static void release_file(void *p)
{
    ah_script_file_drop(p);
    free(p);
}

/* Pushes a guard that holds the file's memory; NULL: err. */
static struct ah_script_file *read_guarded(lua_State *L, const char *path, struct ah_error *err)
{
    void **slot = ah_luax_guard(L, release_file);
    struct ah_script_file *f = calloc(1, sizeof *f);
    if (!f)
        luaL_error(L, "out of memory");
    *slot = f;
    if (ah_scripts_read(ah_lua_of(L)->scripts, script_of(L)->folder, path, f, err) != 0)
        return NULL;
    return f;
}

static int l_read(lua_State *L)
{
    struct ah_error err = {0};
    struct ah_script_file *f = read_guarded(L, luaL_checkstring(L, 1), &err);
    if (!f)
        return ah_luax_fail(L, &err);
    lua_pushlstring(L, f->text, f->n);
    lua_createtable(L, 0, 3);
    lua_pushstring(L, f->path);
    lua_setfield(L, -2, "path");
    lua_pushstring(L, f->source);
    lua_setfield(L, -2, "source");
    lua_pushstring(L, f->sha256);
    lua_setfield(L, -2, "sha256");
    return 2;
}

static int l_stamp(lua_State *L)
{
    char stamp[AH_SCRIPTS_STAMP_BYTES];
    const char *path = luaL_checkstring(L, 1);
    if (ah_scripts_stamp(ah_lua_of(L)->scripts, script_of(L)->folder, path, stamp) != 0)
        return 0;
    lua_pushstring(L, stamp);
    return 1;
}

static int l_find(lua_State *L)
{
    struct ah_error err = {0};
    struct ah_script_file *f = read_guarded(L, luaL_checkstring(L, 1), &err);
    if (!f) {
        ah_err_drop(&err);
        return 0;
    }
    lua_pushstring(L, f->path);
    return 1;
}

/* The file as a function in the script's own environment (the caller's _ENV is not known to C). */
static int l_load(lua_State *L)
{
    struct ah_error err = {0};
    struct ah_script_file *f = read_guarded(L, luaL_checkstring(L, 1), &err);
    if (!f)
        return ah_luax_fail(L, &err);
    lua_pushfstring(L, "@%s", f->path);
    if (luaL_loadbufferx(L, f->text, f->n, lua_tostring(L, -1), "t") != LUA_OK) {
        ah_err_set(&err, AH_SCRIPT, "%s", lua_tostring(L, -1));
        return ah_luax_fail(L, &err);
    }
    lua_getfield(L, LUA_REGISTRYINDEX, "agenthost.env");
    lua_setupvalue(L, -2, 1);
    return 1;
}

static int add_name(void *arg, const char *name)
{
    return ah_buf_add(arg, name, strlen(name) + 1) == 0 ? 0 : -1;
}

static int l_list(lua_State *L)
{
    struct ah_error err = {0};
    const char *path = luaL_checkstring(L, 1);
    struct ah_buf *names = ah_luax_guard_buf(L, LIST_BYTES); /* each ends with NUL */
    int rc = ah_scripts_list(ah_lua_of(L)->scripts, script_of(L)->folder, path, add_name, names, &err);
    if (rc != 0 && err.kind == AH_NONE)
        ah_err_set(&err, AH_LIMIT, "the folder %s has too many files", path);
    if (rc != 0)
        return ah_luax_fail(L, &err);
    lua_newtable(L);
    lua_Integer n = 0;
    for (const char *p = names->p; p && p < names->p + names->n; p += strlen(p) + 1) {
        lua_pushstring(L, p);
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

/* --- a link for the person who sits here --------------------------------------------------------------- */

#define OPENER_MT "host.opener"

struct opener_box {
    struct ah_child *child;
};

static int m_opener_gc(lua_State *L)
{
    struct opener_box *box = luaL_checkudata(L, 1, OPENER_MT);
    ah_child_free(box->child);
    box->child = NULL;
    return 0;
}

/* Only where the person asked for it (--open): a script may not open windows by itself. The browser gets a session of
 * its own, so it outlives this program. */
static int l_open_link(lua_State *L)
{
    const char *link = luaL_checkstring(L, 1);
    struct ah_error err = {0};
    luaL_argcheck(L, strncmp(link, "https://", 8) == 0 || strncmp(link, "http://", 7) == 0, 1,
                  "an http(s) address expected");
    if (!option_of(L, "open")) {
        ah_err_set(&err, AH_CONFIG, "links are opened only with --open");
        return ah_luax_fail(L, &err);
    }
    ah_luax_class(L, OPENER_MT, NULL, m_opener_gc);
    struct opener_box *box = ah_luax_new(L, sizeof *box, 0, OPENER_MT);
    const char *argv[] = {"setsid", "-f", "xdg-open", link, NULL};
    struct ah_child_opts opts = {.argv = argv, .log = core_of(L)->log};
    box->child = ah_child_start(core_of(L)->loop, &opts, &err);
    if (!box->child)
        return ah_luax_fail(L, &err);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, OPENER_MT ".kept");
    lua_insert(L, -2);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_pushboolean(L, 1);
    return 1;
}

static const luaL_Reg host_lib[] = {
    {"base64", l_base64},       {"config", l_config},
    {"emulated", l_emulated},   {"log", l_log},
    {"open_link", l_open_link}, {"memory", l_memory},
    {"random", l_random},       {"secret", l_secret},
    {"sha256", l_sha256},       {"sorted_pairs", l_sorted_pairs},
    {"time", l_time},           {"unbase64", l_unbase64},
    {"uuid", l_uuid},           {NULL, NULL},
};

static const luaL_Reg script_lib[] = {
    {"args", l_args}, {"find", l_find}, {"folder", l_folder}, {"identifier", l_identifier},
    {"list", l_list}, {"load", l_load}, {"name", l_name},     {"option", l_option},
    {"path", l_path}, {"read", l_read}, {"stamp", l_stamp},   {NULL, NULL},
};

int luaopen_host_script(lua_State *L)
{
    static const char *const noted[] = {"find", "list", "read", "stamp", NULL};
    luaL_newlib(L, script_lib);
    ah_luareplay_values(L, "script.", noted);
    return 1;
}

int luaopen_host(lua_State *L)
{
    static const char *const noted[] = {"config", "memory", "time", "uuid", NULL};
    luaL_newlib(L, host_lib);
    ah_luareplay_values(L, "host.", noted);
    lua_pushliteral(L, AH_VERSION);
    lua_setfield(L, -2, "version");
    return 1;
}
