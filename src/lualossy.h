/* Any Lua value as JSON, for a trace: what JSON cannot hold becomes a text that says so. Called by lua_trace.c. */
#ifndef AH_LUALOSSY_H
#define AH_LUALOSSY_H

#include "buf.h"

#include <lua.h>
#include <stdint.h>

#define AH_LUALOSSY_WHOLE SIZE_MAX

/* Appends the value at idx, always as JSON that AH_JSON_DEPTH allows: functions as their text, a table inside itself
 * as a note, what is nested too deeply as one text with its length and SHA-256. Texts longer than `longest` bytes are
 * cut, with the same. May raise for memory only: `to` must be guarded. to->failed: it has no room for the value. */
void ah_lualossy_put(lua_State *L, int idx, struct ah_buf *to, size_t longest);

#endif
