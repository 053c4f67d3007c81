/* Lua mechanics shared by all bindings: the way to the host, objects, guards, errors, fields.
 * May raise Lua errors (all functions here that take L may), so: acquire nothing before. */
#ifndef AH_LUAX_H
#define AH_LUAX_H

#include "buf.h"
#include "core.h"
#include "err.h"

#include <lauxlib.h>
#include <lua.h>

struct ah_tasks;
struct ah_openai;
struct ah_scalekit;
struct ah_langsmith;
struct ah_replay;
struct ah_scripts;
struct ah_script_run;
struct ah_ext_box;

/* What the bindings of one lua_State need. Filled by host.c before any script runs. */
struct ah_lua {
    struct ah_core *core;
    lua_State *L; /* the main thread */
    struct ah_tasks *tasks;
    struct ah_openai *openai;
    struct ah_scalekit *scalekit;
    struct ah_langsmith *langsmith;
    struct ah_scripts *scripts;
    struct ah_ext_box *ext;             /* of modules that other programs add */
    struct ah_replay *replay;           /* what the script's run saw; NULL: nothing is noted */
    const struct ah_script_run *script; /* NULL: no script of a user runs */
    /* Pushes what `require` answers in the environment of the script that runs; raises as it does. NULL in tests. */
    void (*require)(lua_State *L, const char *name);
    bool interrupting;   /* a person stops the run: noted calls answer so at once */
    int emulator_port;   /* of the emulator in this process, 0 = none */
    bool exit_requested; /* by os.exit: the host ends everything in order */
    int exit_code;
};

/* In the state's extra space, which new coroutines copy. */
static inline struct ah_lua *ah_lua_of(lua_State *L)
{
    return *(struct ah_lua **)lua_getextraspace(L);
}

/* A zeroed object with metatable `mt` (luaL_newmetatable'd before) and `uservalues` user values. All
 * zero must be its closed state. Pushed. */
void *ah_luax_new(lua_State *L, size_t size, int uservalues, const char *mt);
/* Registers a class: metatable with __gc and __close = release, __index = methods table, __name. */
void ah_luax_class(lua_State *L, const char *mt, const luaL_Reg *methods, lua_CFunction release);

/* Pushes a to-be-closed guard that owns a buffer; dropped on return, error or cancel. */
struct ah_buf *ah_luax_guard_buf(lua_State *L, size_t max);
/* Pushes a to-be-closed guard: on return, error or cancel, release(*slot) is called if *slot is set.
 * Only for the heap: when it runs after a raise, the C frames of the binding are gone. */
void **ah_luax_guard(lua_State *L, void (*release)(void *));

void ah_luax_error_class(lua_State *L); /* pushes the metatable of errors, made when it is not there yet */
/* Pushes the error table (kind, code, status, message, retryable, request_id, attempts, waited (s),
 * and the fields of detail; __tostring gives the sentence), masked. Drops err. */
void ah_luax_push_error(lua_State *L, struct ah_error *err);
/* nil and the error table: `return ah_luax_fail(L, &err)`. */
int ah_luax_fail(lua_State *L, struct ah_error *err);
/* Reads an error table or any other error value back into err (kind AH_SCRIPT when it is no table of
 * ours). For exit codes and spans. Does not raise. */
void ah_luax_to_error(lua_State *L, int idx, struct ah_error *err);

/* Options tables. Index `idx` must be a table. All raise "bad field 'x' (string expected, got ...)". */
const char *ah_luax_str(lua_State *L, int idx, const char *field,
                        const char *otherwise);                         /* leaves the value on the stack */
const char *ah_luax_need_str(lua_State *L, int idx, const char *field); /* the same, required */
int64_t ah_luax_int(lua_State *L, int idx, const char *field, int64_t otherwise);
double ah_luax_num(lua_State *L, int idx, const char *field, double otherwise);
bool ah_luax_bool(lua_State *L, int idx, const char *field, bool otherwise);
int64_t ah_luax_ms(lua_State *L, int idx, const char *field,
                   int64_t otherwise_ms); /* seconds (a number) in scripts, ms here */
/* Raises for the first string key that is not in `names` (NULL-terminated): "unknown field 'usr' in
 * request (did you mean 'user'?)". */
void ah_luax_fields(lua_State *L, int idx, const char *what, const char *const *names);

#endif
