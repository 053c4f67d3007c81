/* Functions of the host whose results are noted, and come from the notes when a run is resumed. Called by the
 * openers of lua_*.c over their tables; outside of a script's run the functions are as they were. */
#ifndef AH_LUAREPLAY_H
#define AH_LUAREPLAY_H

#include "luax.h"

#include <stdint.h>

/* Functions of the table on top that wait, or reach outside: their results, or what they raise, are noted in the
 * order in which the script gets them. `names` ends with NULL; NULL: all functions of the table. `title` stands
 * before the name: "scalekit.". */
void ah_luareplay_calls(lua_State *L, const char *title, const char *const *names);
/* The function on top, in its place, the same. */
void ah_luareplay_call(lua_State *L, const char *name);
/* Functions that read something at once, without upvalues: what they return is noted. */
void ah_luareplay_values(lua_State *L, const char *title, const char *const *names);
void ah_luareplay_value(lua_State *L, lua_CFunction f, const char *name); /* pushes it */
void ah_luareplay_reader(lua_State *L, const char *name); /* of any function on top, in its place */

/* The run's notes, when the running task works for a script's run and is in no noted call; else NULL. */
struct ah_replay *ah_luareplay_of(lua_State *L);
/* The number of the noted call that runs in this task; 0: none. Effects are told by it. */
int64_t ah_luareplay_number(lua_State *L);
/* A stream that a noted call began. It may outlive its run, whose notes are then gone. All-zero: none. */
struct ah_luareplay_stream {
    struct ah_lua *lua;
    int64_t run, call;
};
void ah_luareplay_stream_begin(lua_State *L, struct ah_luareplay_stream *s); /* by the noted call itself */
void ah_luareplay_stream_end(struct ah_luareplay_stream *s);                 /* once; later ones do nothing */
/* The run's source of chance, or the host's. */
struct ah_ids *ah_luareplay_ids(lua_State *L);

/* A call whose waiting is the binding's own (a timer, a person): pushes a guard that drops it. Raises when the run
 * diverges. The arguments are the stack's first..last. */
struct ah_call *ah_luareplay_begin(lua_State *L, struct ah_replay *r, const char *name, int first, int last);
/* The call of the guard at `guard` waits now, in this task, until its C function returns. */
void ah_luareplay_waits(lua_State *L, int guard);
/* Notes the values at first..last as its results. */
void ah_luareplay_end(lua_State *L, struct ah_call *c, int first, int last, bool at_once);
/* Pushes the results that it had; raises what it raised. Returns how many. */
int ah_luareplay_results(lua_State *L, struct ah_call *c);

#endif
