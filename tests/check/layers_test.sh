#!/bin/sh
# The layers check passes on the sources, and fails on one planted violation of each of its rules.
# Called by ctest; AGENTHOST_ARCHIVE names the library whose objects are searched for writable data.
set -eu
. "$(dirname "$0")/lib.sh"
check="$here/layers.py"
archive=${AGENTHOST_ARCHIVE:-$top/build/libagenthost_core.a}

layers() { "$check" --root "$work/tree" "$@"; }
plant() { # rule, file, text for its end
  copy src include
  printf '%s\n' "$3" >>"$work/tree/$2"
  caught "$1" "$2" layers
}

[ -f "$archive" ] || { echo "no $archive: build first"; exit 1; }
clean "the sources keep the rules" "$check" --archive "$archive"

plant layer src/buf.c '#include "http.h"'
plant layer src/json.h '#include "loop.h"'
plant layer src/openai.c '#include "task.h"'
plant service src/openai.c '#include "scalekit.h"'
plant foreign src/loop.c '#include <curl/curl.h>'
plant foreign src/http.c '#include <uv.h>'
plant foreign src/http.c '#include <microhttpd.h>'
plant foreign src/trace.c '#include <sqlite3.h>'
plant foreign src/queue.c '#include <sqlite3.h>'
plant foreign src/trace.c '#include "store_sql.h"'
plant foreign src/store.c '#include "trace_put.h"'
plant foreign src/langsmith.c '#include "lssend_batch.h"'
plant foreign src/trace_effect.c '#include <openssl/evp.h>'
plant public include/agenthost/agenthost.h '#include "host.h"'
plant public include/agenthost/agenthost.h '#include <uv.h>'
plant public include/agenthost/agenthost.h 'AH_PUBLIC int ah_loop_turn(void);'
plant public include/agenthost/agenthost.h 'int ah_host_other(void);'
plant public include/agenthost/ext.h 'struct ah_buf {
    int n;
};'
plant public include/agenthost/ext.h 'enum ah_ext_other {
    AH_NONE,
};'
plant public include/agenthost/ext.h '#define LIMIT 3'
plant lua-header src/http.c '#include <lua.h>'
plant pure src/sse.c '#include <unistd.h>'
plant placed src/extra.c '/* A file of no layer. */'
copy src
printf '#include "err.h"\n' >>"$work/tree/src/buf.h"
printf '#include "buf.h"\n' >>"$work/tree/src/err.h"
caught cycle src/err.h layers
for call in 'lua_resume(L, NULL, 0, &n)' 'lua_yieldk(L, 0, 0, NULL)' 'luaL_ref(L, LUA_REGISTRYINDEX)' \
  'luaL_unref(L, LUA_REGISTRYINDEX, 1)' 'lua_resetthread(L)'; do
  plant task-only src/lua_http.c "
static void use(lua_State *L)
{
    $call;
}"
done
plant name-public src/buf.c '
int count_bytes(void)
{
    return 0;
}'
plant name-public src/http.c '
int ah_loop_turns(void)
{
    return 0;
}'
plant name-static src/buf.c '
static int ah_buf_count(void)
{
    return 0;
}'
plant name-lua src/lua_json.c '
static int resume_request(lua_State *L, int status, lua_KContext ctx)
{
    return 0;
}'
plant name-lua src/lua_json.c '
static int l_helper(lua_State *L, int extra)
{
    return 0;
}'
plant name-lua src/lua_json.c '
static int do_encode(lua_State *L)
{
    return 0;
}

static const luaL_Reg more[] = {
    {"encode", do_encode},
    {NULL, NULL},
};'
plant name-lua src/lua_json.c '
static int collect(lua_State *L)
{
    return 0;
}

static const luaL_Reg meta[] = {
    {"__gc", collect},
    {NULL, NULL},
};'
plant name-lua src/lua_json.c '
static int step(lua_State *L)
{
    lua_pushcclosure(L, step, 1);
    return 1;
}'
plant name-callback src/http.c '
static size_t body_came(char *p, size_t size, size_t n, void *arg)
{
    return n;
}

static void begin(CURL *easy)
{
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_came);
}'
plant name-callback src/loop.c '
static void timer_fired(uv_timer_t *t)
{
    uv_timer_start(t, timer_fired, 0, 0);
}'
plant reg-last src/lua_json.c '
static int l_late(lua_State *L)
{
    return 0;
}'

# Writable data hides in many forms; each is compiled into an archive of its own.
state() { # name, C text
  printf '/* Planted. */\n%s\n' "$2" >"$work/planted.c"
  rm -f "$work/planted.c.o" "$work/planted.a"
  ${CC:-cc} -O2 -c -o "$work/planted.c.o" "$work/planted.c"
  ar rcs "$work/planted.a" "$work/planted.c.o"
  copy src
  caught state src/planted.c layers --archive "$work/planted.a"
}
state 'a counter' 'static int calls; int ah_x(void) { return ++calls; }'
state 'a static in a function' 'int ah_x(void) { static int last = 7; return last++; }'
state 'a table that is not const' 'const char *ah_names[] = {"a", "b"};'
state 'a buffer of a thread' '_Thread_local char ah_text[64];'
printf 'static const char *const names[] = {"a", "b"}; const char *ah_x(int i) { return names[i]; }\n' >"$work/planted.c"
${CC:-cc} -O2 -fPIE -c -o "$work/planted.c.o" "$work/planted.c"
rm -f "$work/planted.a"; ar rcs "$work/planted.a" "$work/planted.c.o"
copy src
clean "a constant table is no state" layers --archive "$work/planted.a"
finish
