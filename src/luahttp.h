/* The options `timeout` and `retry` that every binding takes that sends something. */
#ifndef AH_LUAHTTP_H
#define AH_LUAHTTP_H

#include "http.h"
#include "luax.h"

/* All-zero = the defaults of limits.h. */
struct ah_luahttp_limits {
    int64_t connect_ms, first_byte_ms, idle_ms, total_ms;
    struct ah_http_retry retry;
};

/* Reads timeout (seconds in all, or {connect=, first_byte=, idle=, total=}) and retry (false, or {max=, base=,
 * cap=}) of the table at idx over what `to` holds. Raises for wrong types. */
void ah_luahttp_limits(lua_State *L, int idx, struct ah_luahttp_limits *to);

#endif
