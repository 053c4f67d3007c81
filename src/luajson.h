/* Between Lua values and JSON. The meaning of each case is docs/json.md. */
#ifndef AH_LUAJSON_H
#define AH_LUAJSON_H

#include "json.h"
#include "luax.h"

/* Once per state: array metatable and null (light userdata NULL, = cjson.null) in the registry. */
void ah_luajson_open(lua_State *L);
/* Pushes the value: objects and arrays become tables (arrays carry array_mt), null json.null. `v` must
 * be borrowed from a text that stays alive: pushing may raise (memory). Absent pushes nil. */
void ah_luajson_push(lua_State *L, struct ah_json v);
/* Appends the value at idx as JSON, keys sorted, secrets masked when `mask` is set. -1 and err
 * (AH_INVALID, message with the path: "value.messages[2].content: ...") for what JSON cannot hold:
 * functions, mixed tables, holes, NaN, bad UTF-8, cycles and depth > AH_JSON_DEPTH. May raise for
 * memory only: `to` must be guarded. nil writes null. After -1 `to` holds what it held before. */
int ah_luajson_encode(lua_State *L, int idx, struct ah_buf *to, const struct ah_secrets *mask,
                      struct ah_error *err);
/* The same for a value that will stand inside others: of at most `levels`. */
int ah_luajson_encode_within(lua_State *L, int idx, struct ah_buf *to, const struct ah_secrets *mask,
                             unsigned levels, struct ah_error *err);
/* A named member of a table, its value at `slot` of the stack. */
struct ah_luajson_member {
    const char *key; /* the table holds it */
    size_t n;
    int slot;
};
enum { AH_LUAJSON_OTHER_KEYS = -1, AH_LUAJSON_TOO_MANY = -2 };
/* Takes a table with at most `max` members apart on the stack, without any allocation by Lua; sorts them by their
 * keys. Returns how many, or why not (what is on the stack then is nobody's). */
int ah_luajson_members(lua_State *L, int idx, struct ah_luajson_member *to, int max);
void ah_luajson_push_null(lua_State *L);
void ah_luajson_push_array_mt(lua_State *L);
bool ah_luajson_is_null(lua_State *L, int idx);
/* Marks the table at idx as an array (so that {} becomes []). */
void ah_luajson_mark_array(lua_State *L, int idx);
bool ah_luajson_is_array(lua_State *L, int idx); /* carries array_mt */

#endif
