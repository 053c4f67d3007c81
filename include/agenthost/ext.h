/* Functions written in C that scripts call as host.ext.MODULE.NAME: the ones that answer at once, and primitives,
 * which wait for something outside while other tasks of the script go on.
 *
 * Scripts are Lua, so arguments are read with lua.h; results need none of it. Never keep the lua_State, call back
 * into Lua from anywhere but `check`, or touch other values of the state than your arguments.
 *
 * The life of a primitive's call: `check` reads the arguments -> the journal gets the call's intent, and keeps it on
 * disk -> `start` begins the work -> somebody calls ah_ext_finish, ah_ext_finish_text or ah_ext_fail, once, from any
 * thread -> the script goes on, and the journal gets the outcome. */
#ifndef AGENTHOST_EXT_H
#define AGENTHOST_EXT_H

#include <agenthost/agenthost.h>
#include <lauxlib.h>
#include <lua.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ah_ext_op; /* one call of a primitive; opaque */

/* What a call does to the world. Decides what the journal promises, and what becomes of a call whose end nobody
 * saw: an unsafe one is not made without a journal, and never made again by itself. */
enum ah_ext_effect {
    AH_EXT_READ,       /* changes nothing */
    AH_EXT_IDEMPOTENT, /* may be made twice */
    AH_EXT_UNSAFE,     /* must not */
};

struct ah_ext_primitive {
    size_t size; /* sizeof(struct ah_ext_primitive) */
    const char *name;
    enum ah_ext_effect effect;
    size_t data_size; /* of ah_ext_data; zeroed before check */
    void *arg;        /* ah_ext_arg */
    /* The script's arguments are on L's stack, from 1. Copies them into the data, raises (luaL_check..., luaL_error)
     * when they are wrong, does nothing else: the call may yet be refused. NULL: none are looked at. */
    void (*check)(lua_State *L, struct ah_ext_op *op);
    /* On the host's thread. From here the op is yours until you finish it; you must, whatever happens. */
    void (*start)(struct ah_ext_op *op);
    /* On the host's thread: nobody waits any more, so finish soon; a result is thrown away. Not called for what was
     * not started or is finished; another thread may be finishing at the same moment. NULL: the work runs to its
     * end. */
    void (*cancel)(struct ah_ext_op *op);
    /* The op goes: give back what the data holds. On the host's thread or the one that finished last. NULL: nothing */
    void (*release)(void *data);
};

/* Adds a primitive, or functions that answer at once (they must not reach outside: nothing is journalled for
 * them, and a resumed run calls them again, so the same arguments must give the same results), to host.ext.MODULE, which is made if need be. Names are of letters, digits and "_". -1: *error (may be
 * NULL) says why. The struct is copied; the texts too. */
AH_PUBLIC int ah_ext_add_primitive(struct ah_host *h, const char *module, const struct ah_ext_primitive *p,
                                   struct ah_host_error *error);
AH_PUBLIC int ah_ext_add_functions(struct ah_host *h, const char *module, const luaL_Reg *functions,
                                   struct ah_host_error *error);

AH_PUBLIC void *ah_ext_data(struct ah_ext_op *op);
AH_PUBLIC void *ah_ext_arg(struct ah_ext_op *op);

/* The end of an op, from any thread, also when the host is gone meanwhile. Exactly one call for each that was
 * started; the op must not be touched afterwards. The bytes are copied.
 * The call gives the value of this JSON text (NULL: nil) */
AH_PUBLIC void ah_ext_finish(struct ah_ext_op *op, const char *json, size_t n);
/* ... gives this string, whatever its bytes are */
AH_PUBLIC void ah_ext_finish_text(struct ah_ext_op *op, const char *bytes, size_t n);
/* ... gives nil and an error. kind: one of the host's own ("network", "timeout", "not_found" ...; another word
 * becomes "tool_error"). "outcome_unknown": it may have happened. */
AH_PUBLIC void ah_ext_fail(struct ah_ext_op *op, const char *kind, const char *message);

#ifdef __cplusplus
}
#endif

#endif
