#!/bin/sh
# HTTP/2 as a real server speaks it (Node's, with a certificate made here): many requests on one connection, streams that
# are refused, reset and cut, sessions that say GOAWAY or die; the kind of each error, how often the far end was asked, and
# that what is unsafe was never sent twice. Skipped without node or openssl.
. "$(dirname "$0")/lib.sh"
command -v openssl >/dev/null || { echo "1..0 # SKIP openssl is needed"; exit 77; }
command -v node >/dev/null || { echo "1..0 # SKIP node is needed"; exit 77; }

make_certificate "$TMP/far" localhost
export SSL_CERT_FILE="$TMP/far.pem"

cat >"$TMP/say.lua" <<'LUA'
-- One request a word: GET/path or POST/path (unsafe) or SAFE/path (a POST that may be repeated); prints what came of it.
local http, script = require "host.http", require "host.script"
local args = script.args()
for i = 2, #args do
  local method, path, size = args[i]:match "^(%u+)(/[^:]*):?(%d*)$"
  local options = { retry = false, timeout = 20, idempotent = method == "SAFE" or nil }
  if method ~= "GET" then options.body = ("x"):rep(tonumber(size) or 100) end
  local res, err = http[method == "GET" and "get" or "post"](args[1] .. path, options)
  print(args[i], res and res.body or err.kind, (res or err).attempts)
  if err then io.stderr:write(tostring(err), "\n") end
end
LUA
far_end() { start_helper node "$HERE/h2_server.mjs" "$TMP/far.pem" "$TMP/far.key"; BASE=https://localhost:$PORT; }
say() { run -q --no-trace "$TMP/say.lua" "$BASE" "$@"; want_code 0; }
result() { # WORD OUTCOME ATTEMPTS
  line=$(grep -F "$1	" out | cut -f 2-)
  is "$1" "$line" "$2	$3"
}
seen() { is "times the far end saw $1" "$(grep -c -x -F "$1" "$HELPER_LOG")" "$2"; } # LINE TIMES
sessions() { is "connections" "$(grep -c '^session' "$HELPER_LOG")" "$1"; }

begin "requests side by side share one connection"
far_end
cat >together.lua <<'LUA'
local http, script, task = require "host.http", require "host.script", require "host.task"
local base, jobs = script.args()[1], {}
for i = 1, 20 do jobs[i] = function() return assert(http.get(base .. "/gather?20", { timeout = 30 })).body end end
for _, body in ipairs(task.all(jobs)) do assert(body == "together") end
print "all"
LUA
run -q --no-trace together.lua "$BASE"
want_code 0
want_out "all"
sessions 1
seen "stream /gather?20 0" 20

begin "bodies, statuses, one connection after another request"
far_end
say GET/ok POST/echo:100 POST/echo:100000 SAFE/echo:100 SAFE/echo:100000 POST/busy POST/echo:0
result GET/ok ok 1
result POST/echo:100 "100 bytes" 1
result POST/echo:100000 "100000 bytes" 1
result SAFE/echo:100 "100 bytes" 1
result SAFE/echo:100000 "100000 bytes" 1
result POST/busy http 1
result POST/echo:0 "0 bytes" 1
seen "stream /busy 100" 1

begin "streamed answers: a slow reader holds nobody up, leaving one leaves the others"
far_end
cat >streams.lua <<'LUA'
local http, script = require "host.http", require "host.script"
local base, options = script.args()[1], { stream = true, timeout = 30 }
local quick = { timeout = 30, retry = false }
local flood = assert(http.get(base .. "/flood", options))
local n = 0
for piece in flood:chunks() do -- far more than is kept for a reader: the sender is paused, and goes on
  n = n + #piece
  if n < 400000 then assert(http.get(base .. "/ok", quick)) end
end
assert(n == 4 << 20, n)
local held = {}
for _, name in ipairs { "a", "b", "c" } do
  held[name] = assert(http.get(base .. "/hold?" .. name, options))
  assert(held[name]:chunks()() == "first of " .. name .. "\n")
end
held.a:close()
assert(http.get(base .. "/release?b", quick))
local rest = {}
for piece in held.b:chunks() do rest[#rest + 1] = piece end
assert(table.concat(rest) == "last of b\n")
assert(http.get(base .. "/release?c", quick))
assert(held.c:chunks()() == "last of c\n")
print "all"
LUA
run -q --no-trace streams.lua "$BASE"
want_code 0
want_out "all"
wait_for "$HELPER_LOG" '^left /hold\?a$' || say_failed "the far end did not see that a stream was left"
seen "left /hold?b" 0
seen "left /hold?c" 0
sessions 1

begin "a cancelled request leaves its neighbours on the connection alone"
far_end
cat >cancel.lua <<'LUA'
local http, script, task = require "host.http", require "host.script", require "host.task"
local base = script.args()[1]
local function get(path) return function() return assert(http.get(base .. path, { timeout = 30, retry = false })).body end end
assert(http.get(base .. "/ok"))
local kept = task.spawn(get "/hold?kept")
local late = task.race { get "/hold?late", function() task.sleep(0.3) return "gave up" end }
assert(late == "gave up", late)
assert(http.get(base .. "/release?kept"))
print((kept:wait():gsub("\n", " ")))
LUA
run -q --no-trace cancel.lua "$BASE"
want_code 0
want_out "first of kept last of kept"
seen "closed /hold?late 5" 1 # RST_STREAM
sessions 1

begin "an orderly GOAWAY: what is under way is served, what follows takes a new connection"
far_end
say GET/last GET/ok POST/last POST/echo
result GET/last last 1
result GET/ok ok 1
result POST/last last 1
result POST/echo "100 bytes" 1

begin "reset, cut, or a session that ends in the middle: truncated; before any answer: network"
far_end
say GET/reset GET/ok GET/cut GET/reset-unanswered GET/calm GET/die
result GET/reset truncated 1
result GET/cut truncated 1
result GET/calm truncated 1
result GET/reset-unanswered network 1
result GET/die network 1
want_err "without an answer"
want_err "INTERNAL_ERROR"

begin "what may be repeated is sent again when it was refused, once, and counted"
far_end
say GET/ok GET/refuse-once?get SAFE/refuse-once?small:100 SAFE/refuse-once?large:100000 GET/refuse
result GET/refuse-once?get second 2
result SAFE/refuse-once?small:100 second 2
result SAFE/refuse-once?large:100000 second 2
seen "stream /refuse-once?large 100000" 2
result GET/refuse network 2
seen "stream /refuse 0" 2
want_err "refused the request"

begin "the policy's retries come on top, each counted"
far_end
cat >retries.lua <<'LUA'
local http, script = require "host.http", require "host.script"
local res, err = http.get(script.args()[1] .. "/reset-unanswered", { retry = { max = 2, base = 0.01, cap = 0.01 }, timeout = 30 })
print(res, err.kind, err.attempts)
LUA
run -q --no-trace retries.lua "$BASE"
want_out "nil	network	3"
seen "stream /reset-unanswered 0" 3

begin "what is unsafe is sent once, whatever the far end does: outcome unknown"
far_end
say POST/echo POST/refuse POST/echo POST/refuse-once?a POST/echo POST/reset POST/echo POST/reset-unanswered POST/cut POST/echo POST/die \
  POST/echo POST/calm POST/echo POST/die:100000 POST/die:0 POST/goaway-once?b
for path in refuse refuse-once?a reset reset-unanswered cut die die:100000 die:0 calm goaway-once?b; do
  result "POST/$path" outcome_unknown 1
done
for path in refuse refuse-once?a reset reset-unanswered cut calm goaway-once?b; do seen "stream /$path 100" 1; done
seen "stream /die 100" 1
seen "stream /die 100000" 1
seen "stream /die 0" 1
want_err "look before you repeat it"

begin "without a body a refused request may go again: it was not carried out"
far_end
say POST/refuse-once?a:0
result POST/refuse-once?a:0 second 2

begin "the write barrier: nothing enters an open connection before the journal holds it"
far_end
cat >barrier.lua <<'LUA'
local http, script, task = require "host.http", require "host.script", require "host.task"
local base = script.args()[1]
assert(http.get(base .. "/ok"))
while not io.open "locked" do task.sleep(0.02) end
print((assert(http.post(base .. "/echo", { body = "x", timeout = 60 }))).body)
LUA
mkdir -m 700 home
cat >lock.py <<'PY'
import sqlite3, sys, time
def seen(): return "stream /echo" in open(sys.argv[1]).read()
for _ in range(600):
    if "stream /ok" in open(sys.argv[1]).read(): break
    time.sleep(0.05)
db = sqlite3.connect("home/journal.db", timeout=20, isolation_level=None)
db.execute("begin immediate")
open("locked", "w").close()
time.sleep(1)
print("before" if seen() else "held")
db.execute("commit")
PY
python3 lock.py "$HELPER_LOG" >lock.out 2>&1 &
locker=$!
run -q barrier.lua "$BASE"
wait $locker
want_code 0
want_out "1 bytes"
is "while the journal could not be written the request was" "$(cat lock.out)" held
sessions 1

done_testing
