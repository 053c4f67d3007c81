#!/bin/sh
# SIGINT and SIGTERM, typed on a terminal and sent to a program in a pipe: exit 130, traces flushed, the journal whole,
# what was open is ended; a second one leaves at once.
. "$(dirname "$0")/lib.sh"

start_emulator
use_emulator

send() { # how, TEXT SIGNAL ..., --, words of the program
  how=$1
  shift
  code=0
  python3 "$HERE/on_pty.py" "$how" err "$@" || code=$?
  cat err >>said
}
run_states() { python3 -c 'import sqlite3; print(sorted(r[0] for r in sqlite3.connect("home/journal.db").execute("select state from run")))'; }

cat >"$TMP/waits.lua" <<'LUA'
local task, trace, openai = require "host.task", require "host.trace", require "host.openai"
assert(openai.chat_model { model = "gpt-4o" }:invoke { { role = "user", content = "hello" } })
trace.span("long work", {}, function()
  io.stderr:write "waiting\n"
  task.sleep(60)
end)
print "AFTER"
LUA
cat >"$TMP/spins.lua" <<'LUA'
io.stderr:write "spinning\n"
while true do pcall(function() for i = 1, 1e6 do local _ = i * 2 end end) end
LUA
cat >"$TMP/holds.lua" <<'LUA'
local task = require "host.task"
local _ <close> = setmetatable({}, { __close = function() io.stderr:write "closed\n" end })
io.stderr:write "waiting\n"
task.sleep(60)
LUA

for how in pty pipe; do
  for signal in INT TERM; do
    begin "SIG$signal in a wait, $how: 130, the model call and the open span are at the far end, the journal is whole"
    reset_emulator
    send $how waiting $signal -- "$AGENTHOST" run "$TMP/waits.lua"
    want_code 130
    not_err "AFTER"
    want_err "interrupted"
    is "ended runs at the far end" "$(state 'v["runs"]["ended"]')" 3
    is "stored runs at the far end" "$(state 'v["runs"]["stored"]')" 3
    run trace ls
    want_code 0
    want_out "waits"
  done

  begin "a loop that catches every error, $how: 130"
  send $how spinning INT -- "$AGENTHOST" run --instructions 0 "$TMP/spins.lua"
  want_code 130

  begin "to-be-closed variables are closed, $how"
  send $how waiting TERM -- "$AGENTHOST" run "$TMP/holds.lua"
  want_code 130
  want_err "closed"
done

begin "^C typed on the terminal: 130"
send pty waiting "^C" -- "$AGENTHOST" run "$TMP/waits.lua"
want_code 130

begin "twice: it leaves at once, also while the traces cannot leave; they are sent by the next run"
reset_emulator
trouble '{"where":"ingest","what":"slow","seconds":20}'
started=$(date +%s)
send pipe waiting INT "interrupted" INT -- "$AGENTHOST" run "$TMP/waits.lua"
want_code 130
check "it did not wait for the far end" test $(($(date +%s) - started)) -lt 15
curl -s -X DELETE "$BASE/__emulator/trouble" >/dev/null
cat >next.lua <<'LUA'
print "next"
LUA
run run next.lua
want_code 0
check "the interrupted run's spans are there" test "$(state 'v["runs"]["ended"]')" -ge 4

begin "in the middle of a model call that hangs: 130, soon"
reset_emulator
trouble '{"where":"chat","what":"slow","seconds":50}'
cat >hangs.lua <<'LUA'
io.stderr:write "asking\n"
assert(require "host.openai".chat_model { model = "gpt-4o" }:invoke { { role = "user", content = "hello" } })
LUA
started=$(date +%s)
send pipe asking INT -- "$AGENTHOST" run hangs.lua
want_code 130
check "soon" test $(($(date +%s) - started)) -lt 20
is "what arrived has ended" "$(state 'v["runs"]["stored"] == v["runs"]["ended"]')" True

begin "in an unsafe call that hangs: 130, sent once, and its outcome is said to be unknown"
reset_emulator
trouble '{"where":"execute","what":"slow","seconds":50}'
cat >sends.lua <<'LUA'
io.stderr:write "sending\n"
require("host.task").spawn(function() require("host.task").sleep(0.3) io.stderr:write "on its way\n" end)
assert(require "host.scalekit".execute_tool {
  tool_name = "gmail_send_message", tool_input = { to = "a@example.com", subject = "s", body = "b" }, connection_name = "gmail", identifier = "u",
})
LUA
send pipe "on its way" INT -- "$AGENTHOST" run sends.lua
check "exit code 130 or 16, not $code" test "$code" = 130 -o "$code" = 16
is "execute requests" "$(asked execute)" 1

begin "the emulator and auth link --wait end on SIGTERM and SIGINT"
send pipe "SCALEKIT_ENVIRONMENT_URL" TERM -- "$AGENTHOST" emulate --port 0
check "exit code 0 or 130, not $code" test "$code" = 0 -o "$code" = 130
send pipe "SCALEKIT_ENVIRONMENT_URL" INT -- "$AGENTHOST" emulate --port 0
check "exit code 0 or 130, not $code" test "$code" = 0 -o "$code" = 130
rm said # it shows its own keys, and must
end_children
no_settings
start_emulator --pending
use_emulator
send pipe "magicLink" INT -- "$AGENTHOST" auth link gmail --user u --wait 60
want_code 130

begin "json: an interrupted run is still one JSON value on stdout"
timeout -s INT 3 "$AGENTHOST" run -q --json "$TMP/waits.lua" >out 2>err </dev/null
valid_json
is "kind" "$(member 'v["error"]["kind"]')" cancelled

done_testing
