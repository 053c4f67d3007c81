#!/bin/sh
# agenthost run --session, -c; agenthost session ls, show, fork, rm. Against the emulator.
. "$(dirname "$0")/lib.sh"

DIGEST=$ROOT/examples/gmail_digest.lua
first() { run run -q --emulate "$@" "$DIGEST" "Fetch my last 3 unread emails and summarize them"; }
tool_script() { # a script whose tool waits; $1: seconds
  cat >wait.lua <<LUA
local agent, task = require "agent", require "host.task"
local testing = require "agent.testing"
local tool = { name = "wait_here", description = "Waits.", class = "read", run = function()
  io.stderr:write "in the tool\n"
  task.sleep($1)
  return "waited"
end }
return agent { model = testing.model { testing.call "wait_here", "done" }, prompt = "x", tools = { tool } }
LUA
}

begin "--session begins one, and goes on with it; -c goes on with the last"
first --session trip
want_code 0
run run -q --emulate --session trip "$DIGEST" "thanks"
want_code 0
run run -q --emulate -c "$DIGEST" "bye"
want_code 0
run session show trip
want_code 0
want_out "   1  user: Fetch my last 3"
want_out "      calls gmail_fetch_mails {"
want_out "      gmail_fetch_mails: {"
want_out "   4  user: thanks"
want_out "   6  user: bye"
run session ls
want_out "trip                      user_123              7"
want_out "gmail_digest.lua (emulated)"
run session ls --json
valid_json
is "the steps" "$(member 'v["steps"]')" 7
is "the thread of its runs" "$(member 'v["id"]')" "$("$AGENTHOST" trace show last --json 2>/dev/null |
  python3 -c 'import json,sys; print({json.loads(l)["extra"]["metadata"]["thread_id"] for l in sys.stdin}.pop())')"

begin "-c where there is none; --session with -c; a script of another name"
run run -q --emulate -c "$DIGEST" "x"
want_code 4
want_err "there is no session of this script and user_123 to go on with: begin one with --session NAME"
run run -q --emulate -c --session trip "$DIGEST" "x"
want_code 4
want_err "there is no session 'trip' of user_123"
first --session trip
cp "$DIGEST" other.lua
mkdir prompts
cp "$ROOT/examples/prompts/gmail_digest.md" prompts/
run run -q --emulate -c other.lua "x"
want_code 4
want_err "no session of this script"

begin "the flags are for the agent that a script returns; without one that is said"
cat >own.lua <<'LUA'
local agent, testing = require "agent", require "agent.testing"
print(assert(agent { model = testing.model { "hello" }, prompt = "x" }:run "go").answer)
LUA
run run --session trip own.lua
want_code 0
want_out hello
want_err "--session was not used: the script returned no agent"
run run -c own.lua
want_err "-c was not used: the script returned no agent"
run session ls
want_err "no session is kept"

begin "another user's session is not there"
first --session trip --user ann
want_code 0
run run -q --emulate -c --user bob "$DIGEST" "x"
want_code 4
run session show trip --user bob
want_code 2
want_err "there is no session 'trip' of bob"
run session show trip --user ann
want_code 0
run session show trip
want_code 0
first --session trip --user bob
run session show trip
want_code 3
want_err "several users have a session 'trip': say whose it is with --user ID"
run session ls --user ann
want_out ann
not_out bob

begin "fork, at a step and beyond the end; rm"
first --session trip
run session fork trip side --at 2
want_code 0
run session show side --json
is "what is shared" "$(grep -c . out)" 3
run run -q --emulate --session side "$DIGEST" "thanks"
want_code 0
run session show trip --json
is "the trunk" "$(grep -c . out)" 4
run session ls
want_out "(fork of trip at step 2)"
run session fork trip far --at 4
want_code 3
want_err "the session 'trip' has 3 steps, so there is no step 4"
run session fork trip side
want_code 3
want_err "there is a session 'side' already"
run session fork trip far --at 0
want_code 2
run session fork trip
want_code 2
run session rm trip
want_code 0
run session show trip
want_code 2
run session show side
want_code 0
run session rm trip
want_code 2

begin "names that are none"
for name in "" "$(printf 'a\nb')" "$(printf '\377\376')" "$(printf '\033[31m')" "$(printf 'x%.0s' $(seq 101))"; do
  first --session "$name"
  want_code 3
  want_err "the name of a session is 1 to 100 bytes of text"
done
run session ls
empty_out
want_err "no session is kept"

begin "a second process is refused; a killed one leaves a session that can be gone on with"
tool_script 30
"$AGENTHOST" run -q --session s wait.lua go >first.out 2>first.err &
child=$!
CHILDREN="$CHILDREN $child"
check "the first is at its tool" wait_for first.err "in the tool"
run run -q --session s wait.lua go
want_code 3
want_err "another run goes on with the session 's' now"
run session ls
want_out "(a run is at it)"
run session rm s
want_code 3
kill -9 "$child"
wait "$child" 2>/dev/null
tool_script 0
run run -q --session s wait.lua again
want_code 0
run session show s
want_out "It may have been carried out"
want_out "   3  user: again"
want_out "assistant: done"

begin "a run that was interrupted is resumed, and adds nothing twice"
tool_script 2
"$AGENTHOST" run -q --session s wait.lua go >first.out 2>first.err &
child=$!
CHILDREN="$CHILDREN $child"
check "it is at its tool" wait_for first.err "in the tool"
kill -INT "$child"
wait "$child" 2>/dev/null
run session show s --json
is "what was kept" "$(grep -c . out)" 2
run resume last -q
want_code 0
want_out done
run session show s --json
is "then" "$(python3 -c 'import json; print([json.loads(l)["message"]["role"] for l in open("out")])')" \
  "['user', 'assistant', 'tool', 'assistant']"

begin "a run that is resumed after the session went on elsewhere says so"
tool_script 2
"$AGENTHOST" run -q --session s wait.lua go >first.out 2>first.err &
child=$!
CHILDREN="$CHILDREN $child"
check "it is at its tool" wait_for first.err "in the tool"
kill -INT "$child"
wait "$child" 2>/dev/null
id=$("$AGENTHOST" trace ls --json | python3 -c 'import json,sys; print(json.loads(sys.stdin.readline())["id"])')
run run -q --session s wait.lua other
want_code 0
run resume "$id" -q
want_code 3
want_err "another run went on with the session 's' in the meantime"

begin "what was said on the emulator is not gone on with elsewhere"
first --session trip
with OPENAI_API_KEY=sk-none OPENAI_BASE_URL=http://127.0.0.1:9 -- run -q --session trip --user user_123 "$DIGEST" x
want_code 3
want_err "was begun on the emulator"

begin "a journal in memory keeps no session"
AGENTHOST_HOME=/dev/null/none
first --session trip
want_code 3
want_err "a session cannot be kept: the journal is in memory"

done_testing
