#!/bin/sh
# agenthost resume and approve: what is refused, what diverges, who decides, and that nothing is sent twice.
. "$(dirname "$0")/lib.sh"

start_emulator
use_emulator

sent() { curl -s "$BASE/__emulator/state" | python3 -c 'import json,sys; print(json.dumps(json.load(sys.stdin)["outbox"]).count(sys.argv[1]))' "$1"; }
run_id() { python3 -c 'import sqlite3; print(sqlite3.connect("home/journal.db").execute("select id from run order by key desc limit 1").fetchone()[0])'; }

write_agent() { # FILE: an agent that sends what it is told to
  cat >"$1" <<'LUA'
local agent = require "agent"
return agent {
  connectors = { { connection = "gmail", tools = { "gmail_send_message" } } }, identifier = "user_123", prompt = "You write mail.",
}
LUA
}

begin "an unsafe call waits for approval: exit 10, and the resume command"
write_agent mail.lua
run run -q mail.lua "Send an email to dana@example.com saying Apple"
want_code 10
want_err "waits for approval: agenthost approve"
want_err "to go on: agenthost resume $(run_id)"
is "nothing was sent" "$(sent Apple)" 0
run approve
want_code 0
want_out gmail_send_message
want_out dana@example.com
want_out user_123
run resume last -q
want_code 10
is "still nothing" "$(sent Apple)" 0
run trace ls
is "one waits, the one before it went on" "$(awk 'NR > 1 {print $NF}' out | tr '\n' ' ')" "waiting resumed "
run trace ls --json --status waiting
is "the one that waits" "$(wc -l <out | tr -d ' ')" 1
want_out '"state":"waiting"'
run trace ls --status failed
empty_out
run trace ls --failed
empty_out
run trace ls --status resumed
want_code 0
not_out waiting
want_out resumed
run trace show last
want_out "  waiting  "
run approve last
want_code 0
run resume last -q
want_code 0
is "sent once" "$(sent Apple)" 1
run resume last
want_code 3
want_err "there is nothing to resume"
run approve last
want_code 2
is "and not again" "$(sent Apple)" 1

begin "examples/approve.lua: its tree says that it waits"
run run "$ROOT/examples/approve.lua"
want_code 10
want_err "waiting: gmail_send_message waits for approval"
not_err "error:"
run approve last
want_code 0
run resume last -q
want_code 0
want_out dana@example.com

begin "a refusal and its reason are told to the model; nothing is sent"
write_agent mail.lua
run run -q mail.lua "Send an email to dana@example.com saying Banana"
want_code 10
run approve last --deny "not before Monday"
want_code 0
run resume last -q
want_code 0
want_out "not before Monday"
is "nothing was sent" "$(sent Banana)" 0

begin "--assume is about the call that stopped the run, never about one that leaves now"
write_agent mail.lua
trouble '{"where":"execute","what":"reset","after":true,"times":3}'
run run -q --approve auto mail.lua "Send an email to dana@example.com saying Quince"
want_code 16
want_err "--assume done|retry|fail"
is "sent" "$(sent Quince)" 1
run resume last -q
want_code 16
is "not again by itself" "$(sent Quince)" 1
run resume last -q --assume retry
want_code 16
is "again, once" "$(sent Quince)" 2
run resume last -q --assume fail
want_code 0
want_out "was not carried out"
is "and no more" "$(sent Quince)" 2
reset_emulator_trouble

begin "--assume after a crash: the call that had left is the one that is meant"
write_agent mail.lua
trouble '{"where":"execute","what":"slow","seconds":60,"after":true,"times":1}'
"$AGENTHOST" run -q --approve auto mail.lua "Send an email to dana@example.com saying Raisin" >/dev/null 2>&1 </dev/null &
crashed=$!
for _ in $(seq 200); do
  [ "$(sent Raisin)" = 0 ] || break
  sleep 0.05
done
kill -9 $crashed
wait $crashed 2>/dev/null
is "sent" "$(sent Raisin)" 1
run resume last -q --assume done
want_code 0
is "once" "$(sent Raisin)" 1
reset_emulator_trouble

begin "--approve auto, also when resuming, asks nobody"
write_agent mail.lua
run run -q --approve auto mail.lua "Send an email to dana@example.com saying Cherry"
want_code 0
is "sent" "$(sent Cherry)" 1
run run -q mail.lua "Send an email to dana@example.com saying Damson"
want_code 10
run resume last -q --approve auto
want_code 0
is "sent" "$(sent Damson)" 1
run run -q --approve perhaps mail.lua "Send an email to dana@example.com saying Elder"
check "a mode that is none is refused" test "$code" != 0
want_err "ask, auto, deny or unsafe-only"
is "and nothing is sent" "$(sent Elder)" 0

begin "a decision holds for exactly what was asked"
write_agent mail.lua
run run -q mail.lua "Send an email to dana@example.com saying Fig"
want_code 10
python3 - <<'PY'
import sqlite3
db = sqlite3.connect("home/journal.db")
db.execute("update approval set state = 1, sha256 = 'other'")
db.commit()
PY
run resume last -q
want_code 10
is "nothing was sent" "$(sent Fig)" 0

begin "the same time, chance and answers; a script that does something else is stopped before anything is sent"
cat >stops.lua <<'LUA'
local host, run, http = require "host", require "host.run", require "host.http"
print(host.random(1000000000), host.time(), host.uuid(), os.time(), math.random(), os.getenv "HOME")
print(host.sha256(require("host.script").read "bytes"), #require("host.script").read "bytes")
print(http.get(os.getenv "EMULATOR" .. "/__emulator/state").body:sub(1, 1))
run.park { kind = "needs_auth", message = "somebody must do something" }
print "went on"
LUA
EMULATOR=$BASE
export EMULATOR
printf 'a\0b\377\200\n' >bytes
run run -q stops.lua
want_code 11
cp out first
echo changed >bytes
id=$(run_id)
run resume last -q
want_code 0
want_out "went on"
head -n 3 out >second
check "what was read is the same" cmp -s first second
run resume "$id"
want_code 3
sed 's/host.random(1000000000)/host.sha256 "x"/; s/host.time()/host.config "MORE"/' stops.lua >other.lua
run run -q stops.lua
want_code 11
cp other.lua stops.lua
run resume last
want_code 1
want_err "the script has changed"
want_err "does not do what it did before: it read host.time, and now it reads host.config"
not_out "went on"

begin "what is raised at once, errors, and the ids of a trace come again as they were"
cat >raises.lua <<'LUA'
local http, host, task, run, trace = require "host.http", require "host", require "host.task", require "host.run", require "host.trace"
task.all {
  function() print(pcall(http.get, { 1 })) print(host.time()) end,
  function() print(host.uuid()) end,
}
local headers = trace.headers()
print(headers["langsmith-trace"], trace.current().id)
print(http.get("http://127.0.0.1:1/", { headers = headers }))
trace.flush()
run.park { kind = "needs_auth", message = "wait" }
print "went on"
LUA
run run -q raises.lua
want_code 11
want_out "bad argument #1 to 'get'"
want_out "could not connect"
cp out first
run resume last -q
want_code 0
want_out "went on"
head -n "$(wc -l <first)" out >second
check "all of it is the same" cmp -s first second

begin "the first argument that differs is named"
cat >asks.lua <<'LUA'
local openai, run = require "host.openai", require "host.run"
openai.chat_model { model = "gpt-4o" }:invoke { { role = "user", content = "hello" } }
run.park { kind = "needs_auth", message = "wait" }
LUA
run run -q asks.lua
want_code 11
sed -i 's/"hello"/"good bye"/' asks.lua
run resume last -q
want_code 1
want_err 'in call 1, model:invoke, the argument messages[1].content was "hello", and now is "good bye"'

begin "what cannot be resumed says why"
run resume last
want_code 2
run resume
want_code 2
want_err "which run?"
run resume last --assume perhaps
want_code 2
echo 'print "done"' >ok.lua
run run -q ok.lua
want_code 0
run resume last
want_code 3
want_err "there is nothing to resume"
run run -q --no-such-option ok.lua
echo 'require "host.task".sleep(30)' >long.lua
"$AGENTHOST" run -q long.lua >/dev/null 2>&1 </dev/null &
CHILDREN="$CHILDREN $!"
sleep 1
run resume last
want_code 3
want_err "still going on"

begin "a journal of version 1 is brought up to date, with its runs"
cat >parks.lua <<'LUA'
require("host.run").park { kind = "needs_auth", message = "wait" }
print "went on"
LUA
run run -q parks.lua
want_code 11
python3 - <<'PY'
import sqlite3
db = sqlite3.connect("home/journal.db")
db.executescript("drop table session; drop table session_message; drop table approval;"
                 "alter table run drop column resumed_by; pragma user_version = 1;")
PY
run trace ls
want_code 0
want_out parks
run resume last -q
want_code 0
want_out "went on"
run approve
want_code 0
is "the version" "$(python3 -c 'import sqlite3; print(sqlite3.connect("home/journal.db").execute("pragma user_version").fetchone()[0])')" 3

begin "two that resume the same run at once: one wins"
cat >slow.lua <<'LUA'
local run, task = require "host.run", require "host.task"
run.park { kind = "needs_auth", message = "wait" }
task.sleep(1)
print "went on"
LUA
run run -q slow.lua
want_code 11
id=$(run_id)
"$AGENTHOST" resume "$id" -q >one 2>&1 </dev/null &
first=$!
"$AGENTHOST" resume "$id" -q >two 2>&1 </dev/null &
second=$!
wait $first
wait $second
is "one went on" "$(cat one two | grep -c "went on")" 1

begin "a limit: more of it goes on where the run stopped"
write_agent mail.lua
cat >steps.lua <<'LUA'
local agent = require "agent"
return agent { connectors = { "gmail" }, identifier = "user_123", input = "Fetch my last 3 unread emails", limits = { steps = 1 } }
LUA
run run -q steps.lua
want_code 13
want_err "agenthost resume"
run resume last -q --max-steps 5
want_code 0

begin "limits count what was spent before the stop: tokens, calls, one tool; and so does the usage"
cat >spends.lua <<'LUA'
local agent, json, script = require "agent", require "host.json", require "host.script"
local testing = require "agent.testing"
local function tool(name, class)
  return agent.tool { name = name, description = "d", class = class, run = function(a) return name .. (a.n or "") end,
    parameters = { type = "object", properties = { n = { type = "string" } } } }
end
local function call(id, name)
  return { tool_calls = { { id = id, name = name, args = { n = id }, arguments = "{}" } },
    usage_metadata = { input_tokens = 250, output_tokens = 50, total_tokens = 300 } }
end
local limits = json.decode(script.args()[1])
local model = testing.model { call("1", "look"), call("2", "pay"), call("3", "look"), "the end" }
local result, err = agent { model = model, tools = { tool("look", "read"), tool "pay" }, prompt = "p", input = "go", limits = limits }:run()
if not result then error(err) end
print(result.usage.total_tokens)
for _, m in ipairs(result.messages) do if m.role == "tool" then print(m.content) end end
LUA
for row in '{}|0|915' '{"tokens":2000}|14|fit into the tokens that are left' '{"calls":2}|14|2 tool calls were made' \
  '{"tools":{"look":1}}|0|may be called 1 times' '{"steps":3}|13|after 3 steps'; do
  limits=${row%%|*} rest=${row#*|}
  run run -q spends.lua "$limits"
  want_code 10
  run approve last
  run resume last -q
  want_code "${rest%%|*}"
  cat err >>out
  want_out "${rest#*|}"
done
run run -q --max-tokens 2000 spends.lua "{}"
want_code 10
run approve last
run resume last -q
want_code 14
want_err "fit into the tokens that are left"

begin "a script that calls tools by hand: exit 16 and 11, and the same three words"
cat >hand.lua <<'LUA'
local scalekit, script = require "host.scalekit", require "host.script"
local how, word = table.unpack(script.args())
local account = assert(scalekit.get_or_create_connected_account { connection_name = "gmail", identifier = "user_123" })
local sent, err = scalekit.execute_tool { tool_name = "gmail_send_message", connected_account_id = account.id,
  identifier = "user_123", tool_input = { to = "dana@example.com", subject = "s", body = word } }
if err and how == "goes on" then print "goes on" elseif how == "stop" then assert(sent, err) end
print(sent and "sent" or "not sent", #scalekit.get_tools { identifier = "user_123", connection_names = { "gmail" } })
if err and how == "late" then error(err) end
LUA
for word in done retry fail; do
  trouble '{"where":"execute","what":"reset","after":true,"times":1}'
  run run -q hand.lua stop "Hand$word"
  want_code 16
  want_err "agenthost resume"
  run resume last -q
  want_code 16
  run resume last -q --assume "$word"
  [ "$word" = fail ] && expected=4 || expected=0
  is "exit code of $word" "$code" "$expected"
done
is "done: not again" "$(sent Handdone)" 1
is "retry: again" "$(sent Handretry)" 2
is "fail: not again" "$(sent Handfail)" 1
trouble '{"where":"execute","what":"reset","after":true,"times":2}'
run run -q hand.lua stop Handtwice
want_code 16
run resume last -q --assume retry
want_code 16
run resume last -q
want_code 16
is "the word is for one call" "$(sent Handtwice)" 2
run resume last -q --assume done
want_code 0
want_out "sent"
is "and then none" "$(sent Handtwice)" 2
trouble '{"where":"execute","what":"reset","after":true,"times":1}'
run run -q hand.lua "goes on" Handon
want_code 0
want_out "goes on"
trouble '{"where":"execute","what":"reset","after":true,"times":1}'
run run -q hand.lua late Handlate
want_code 16
run resume last -q --assume done
want_code 0
want_out "sent"
not_out "not sent"
is "not again" "$(sent Handlate)" 1
trouble '{"where":"execute","what":"expired","times":1}'
run run -q hand.lua stop Handexpired
want_code 11
run resume last -q
want_code 11
curl -s -o page -d decision=approve "$(sed -n 's/.*authorization link: //p' err)"
run resume last -q
want_code 0
is "sent when the account is active" "$(sent Handexpired)" 1
reset_emulator_trouble

begin "a script that runs an agent by hand: --assume is for its call, too"
cat >byhand.lua <<'LUA'
local agent = require "agent"
local value = agent { connectors = { { connection = "gmail", tools = { "gmail_send_message" } } }, identifier = "user_123",
  prompt = "You write mail.", approve = "auto" }
print(assert(value:run "Send an email to dana@example.com saying Olive").answer)
LUA
trouble '{"where":"execute","what":"reset","after":true,"times":1}'
run run -q byhand.lua
want_code 16
run resume last -q --assume retry
want_code 0
is "again" "$(sent Olive)" 2
reset_emulator_trouble

begin "long results and tools that were found are there in a resumed run"
cat >long.lua <<'LUA'
local agent, host, testing = require "agent", require "host", require "agent.testing"
local long = ("0123456789"):rep(400)
local get = agent.tool { name = "get", description = "d", class = "read", run = function() return long end }
local model = testing.model {
  testing.call("get", {}), testing.call("find_tools", { query = "send a message" }),
  testing.call("gmail_send_message", { to = "dana@example.com", subject = "s", body = "Medlar" }),
  testing.call("read_result", { id = "result_" .. host.sha256(long):sub(1, 8), from = 1001, bytes = 12 }), "the end",
}
local result = assert(agent { model = model, tools = { get }, prompt = "p", input = "go", result_bytes = 1000,
  connectors = { { connection = "gmail", find = true } }, identifier = "user_123" }:run())
for _, m in ipairs(result.messages) do if m.role == "tool" then print(m.name, m.content) end end
LUA
run run -q long.lua
want_code 10
run approve last
run resume last -q
want_code 0
is "sent" "$(sent Medlar)" 1
check "a piece of the result" grep -q "^read_result.012345678901" out

begin "Ctrl-C: an open tool call gets a result that says so, the conversation stays whole, and the run goes on later"
cat >open.lua <<'LUA'
local agent, testing, task = require "agent", require "agent.testing", require "host.task"
local slow = agent.tool {
  name = "slow", description = "Slow.", class = "read",
  run = function()
    io.stderr:write "calling\n"
    task.sleep(3)
    return "it was slow"
  end,
}
local model = testing.model { testing.call("slow", {}), "the end" }
local result, err = agent { model = model, prompt = "p", tools = { slow }, input = "go" }:run()
if result then return result end
for _, m in ipairs(err.partial.messages) do io.stderr:write(m.role, ": ", tostring(m.content), "\n") end
return nil, err
LUA
python3 "$HERE/on_pty.py" pipe err calling INT -- "$AGENTHOST" run -q open.lua || code=$?
want_code 130
want_err "tool: Error: the run was interrupted"
want_err "agenthost resume"
run resume last -q
want_code 0
want_out "the end"

begin "an approval at the terminal: yes"
write_agent mail.lua
python3 "$HERE/on_pty.py" pty err "in this run?" ">y" -- "$AGENTHOST" run -q mail.lua "Send an email to dana@example.com saying Grape" || code=$?
want_code 0
want_err "gmail_send_message wants to run, as user_123 on gmail"
is "sent" "$(sent Grape)" 1

begin "an approval at the terminal: no, and why"
write_agent mail.lua
python3 "$HERE/on_pty.py" pty err "in this run?" ">n too early" -- "$AGENTHOST" run -q mail.lua "Send an email to dana@example.com saying Honey" || code=$?
want_code 0
want_err "too early"
is "nothing was sent" "$(sent Honey)" 0

begin "an approval at the terminal: other arguments are a new question"
write_agent mail.lua
python3 "$HERE/on_pty.py" pty err "in this run?" '>e {"to":"lee@example.com","subject":"S","body":"Other"}' "body: Other" ">y" -- "$AGENTHOST" run -q mail.lua "Send an email to dana@example.com saying Iris" || code=$?
want_code 0
is "not the first one" "$(sent Iris)" 0
is "the second one" "$(sent lee@example.com)" 1

begin "an approval at the terminal: what is no answer, or cannot be sent, is asked again"
write_agent mail.lua
python3 "$HERE/on_pty.py" pty err "in this run?" ">yes, but to Lee" "is no answer" '>e {"to":7}' "not right" ">n" -- "$AGENTHOST" run -q mail.lua "Send an email to dana@example.com saying Kumquat" || code=$?
want_code 0
want_err "'to' must be of type"
is "nothing was sent" "$(sent Kumquat)" 0

begin "an approval at the terminal: a model's text cannot write over the question"
cat >clear.lua <<'LUA'
local agent, testing = require "agent", require "agent.testing"
local pay = agent.tool { name = "pay", description = "d", run = function() return "paid" end,
  parameters = { type = "object", properties = { to = { type = "string" } } } }
local model = testing.model { testing.call("pay", { to = "mallory\27[2K\27[1A\rdana\194\155x" }), "done" }
return agent { model = model, tools = { pay }, prompt = "p", input = "go" }
LUA
python3 "$HERE/on_pty.py" pty err "in this run?" ">n" -- "$AGENTHOST" run -q clear.lua || code=$?
want_code 0
want_err "mallory?[2K?[1A?dana??x"

begin "always is for the other calls that wait, too"
cat >always.lua <<'LUA'
local agent, testing = require "agent", require "agent.testing"
local look = agent.tool { name = "look", description = "d", class = "read", run = function(a) return "saw " .. a.at end,
  parameters = { type = "object", properties = { at = { type = "string" } } } }
local model = testing.model { { testing.call("look", { at = "1" }), testing.call("look", { at = "2" }), testing.call("look", { at = "3" }) }, "done" }
return agent { model = model, tools = { look }, prompt = "p", input = "go", approve = "ask" }
LUA
python3 "$HERE/on_pty.py" pty err "in this run?" ">a" -- "$AGENTHOST" run -q always.lua || code=$?
want_code 0
is "asked once" "$(grep -c "wants to run" err)" 1

begin "what is asked is what is sent, also when a connector changes it on its way; and once, if it is made again"
cat >signed.lua <<'LUA'
local agent = require "agent"
return agent {
  connectors = { { connection = "gmail", tools = { "gmail_send_message" },
    before = { gmail_send_message = function(args) args.body = args.body .. " -- signed" end } } },
  identifier = "user_123", prompt = "You write mail.",
}
LUA
trouble '{"where":"execute","what":"reset","times":1}'
run run -q signed.lua "Send an email to dana@example.com saying Lychee"
want_code 10
run approve
want_out "Lychee -- signed"
run approve last
run resume last -q
want_code 16
is "not sent" "$(sent "Lychee -- signed")" 0
run resume last -q --assume retry
want_code 0
is "sent" "$(sent "Lychee -- signed")" 1
is "signed once" "$(sent "signed -- signed")" 0
reset_emulator_trouble

begin "an approval at the terminal: Ctrl-C leaves a run to go on with"
write_agent mail.lua
python3 "$HERE/on_pty.py" pty err "in this run?" "^C" -- "$AGENTHOST" run -q mail.lua "Send an email to dana@example.com saying Juniper" || code=$?
want_code 130
want_err "agenthost resume"
run resume last -q --approve auto
want_code 0
is "sent" "$(sent Juniper)" 1

# at_terminal TEXT ACTION... : the mail agent, with words of its own, on a terminal.
at_terminal() {
  words=$1
  shift
  write_agent mail.lua
  python3 "$HERE/on_pty.py" pty err "$@" -- "$AGENTHOST" run -q mail.lua "$words" || code=$?
  cat err >>said
}

begin "a question that is open at a terminal is answered from another one: the run goes on, the mail is sent once"
at_terminal "Send an email to dana@example.com saying Nectarine" "in this run?" "!'$AGENTHOST' approve; '$AGENTHOST' approve last"
want_code 0
want_err '"tool":"gmail_send_message"}'
want_err "approved. The run is going on; should it stop: agenthost resume $(run_id)"
once_err "approved elsewhere"
is "asked once" "$(grep -c "wants to run" err)" 1
is "sent once" "$(sent Nectarine)" 1
run approve
want_err "no call waits for approval"
run approve last
want_code 2

begin "denied from another terminal: the model is told why, nothing is sent, and words of a terminal stay words"
at_terminal "Send an email to dana@example.com saying Wineberry" "in this run?" "!'$AGENTHOST' approve last --deny \"\$(printf 'not \\033[2Jbefore Monday')\""
want_code 0
once_err "denied elsewhere: not ?[2Jbefore Monday"
is "nothing was sent" "$(sent Wineberry)" 0
is "asked once" "$(grep -c "wants to run" err)" 1

begin "both answer: the other terminal was first, and what is typed then counts for nothing"
at_terminal "Send an email to dana@example.com saying Papaya" "in this run?" "!'$AGENTHOST' approve last --deny no" "denied. " ">y"
want_code 0
once_err "denied elsewhere: no"
is "nothing was sent" "$(sent Papaya)" 0

begin "both answer: this terminal was first, and the other one is told"
cat >slow.lua <<'LUA'
local agent, testing, task = require "agent", require "agent.testing", require "host.task"
local pay = agent.tool { name = "pay", description = "d", class = "unsafe", run = function()
  io.stderr:write "PAYING\n"
  task.sleep(3)
  return "paid"
end }
return agent { model = testing.model { testing.call("pay", {}), "done" }, tools = { pay }, prompt = "p", input = "go" }
LUA
python3 "$HERE/on_pty.py" pty err "in this run?" "!'$AGENTHOST' approve >listed" "in this run?" ">y" \
  PAYING "!'$AGENTHOST' approve last \$(cut -d' ' -f2 listed) --deny no; echo code \$?; '$AGENTHOST' approve last; '$AGENTHOST' approve" \
  -- "$AGENTHOST" run -q slow.lua || code=$?
want_code 0
want_err "somebody has decided about call $(cut -d' ' -f2 listed) of the run $(run_id)"
want_err "code 2"
want_err "no call of the run $(run_id) waits for approval"
want_err "no call waits for approval"
not_err elsewhere
is "done once" "$(grep -c PAYING err)" 1

begin "a number that no open question has is refused, and the question stays open"
at_terminal "Send an email to dana@example.com saying Ugli" "in this run?" \
  "!'$AGENTHOST' approve last 9999; echo code \$?; '$AGENTHOST' approve last x; echo code \$?; '$AGENTHOST' approve last -1" "-1" ">n"
want_code 0
want_err "call 9999 of the run $(run_id) does not wait for approval"
want_err "'x' is no number of a call"
is "both refused" "$(grep -c "code 2" err)" 2
not_err elsewhere
is "nothing was sent" "$(sent Ugli)" 0

begin "other tasks go on while a question is open; the next question is one of its own"
cat >ticks.lua <<'LUA'
local agent, testing, task = require "agent", require "agent.testing", require "host.task"
local pay = agent.tool { name = "pay", description = "d", class = "unsafe", run = function(a) return "paid " .. a.to end,
  parameters = { type = "object", properties = { to = { type = "string" } } } }
local ticking = task.spawn(function()
  for i = 1, 1000 do
    task.sleep(0.05)
    io.stderr:write("TICK ", i, "\n")
  end
end)
local result = agent { tools = { pay }, prompt = "p", input = "go",
  model = testing.model { { testing.call("pay", { to = "ann" }), testing.call("pay", { to = "bob" }) }, "done" } }:run()
ticking:cancel()
for _, m in ipairs(result.messages) do if m.role == "tool" then print("TOOL " .. m.content) end end
LUA
python3 "$HERE/on_pty.py" pty err "TICK 15" "!'$AGENTHOST' approve last" "to: bob" ">n" -- "$AGENTHOST" run -q ticks.lua || code=$?
want_code 0
once_err "approved elsewhere"
want_err "TOOL paid ann"
not_err "TOOL paid bob"

begin "killed while its question is open: the run is approved, resumed, and sends once"
at_terminal "Send an email to dana@example.com saying Rhubarb" "in this run?" KILL
want_code 137
run approve
want_out Rhubarb
run approve last
want_code 0
want_err "approved. To go on: agenthost resume $(run_id)"
run resume last -q
want_code 0
is "sent once" "$(sent Rhubarb)" 1

begin "killed while its question is open, and resumed: the question waits once, in the newest run"
at_terminal "Send an email to dana@example.com saying Sorrel" "in this run?" KILL
killed=$(run_id)
code=0
python3 "$HERE/on_pty.py" pty err "in this run?" "!'$AGENTHOST' approve >listed; '$AGENTHOST' approve $killed" -- "$AGENTHOST" resume -q last || code=$?
want_code 0
is "one waits" "$(wc -l <listed | tr -d ' ')" 1
check "in the newest run" grep -q "^$(run_id) " listed
once_err "approved elsewhere"
is "sent once" "$(sent Sorrel)" 1
run approve
want_err "no call waits for approval"

begin "a decision about something else is none"
at_terminal "Send an email to dana@example.com saying Tamarind" "in this run?" \
  "!python3 -c 'import sqlite3; db = sqlite3.connect(\"home/journal.db\"); db.execute(\"update approval set state = 1, sha256 = 7\"); db.commit()'; sleep 1; echo LOOKED" LOOKED ">n"
want_code 0
not_err elsewhere
is "nothing was sent" "$(sent Tamarind)" 0

begin "a list that is half read goes on behind what was read: no page is asked for twice, no item comes twice"
reset_emulator
for name in one two three; do
  echo 'return 1' >"$name.lua"
  run run -q --project lists "$name.lua"
  want_code 0
done
cat >lists.lua <<'LUA'
local langsmith, scalekit, run = require "host.langsmith", require "host.scalekit", require "host.run"
local tools, runs = scalekit.tools { page_size = 2 }, langsmith.runs { project = "lists", is_root = true, order = "asc" }
local function take(n)
  for _ = 1, n do print(tools().definition.name, runs().name) end
end
take(1)
run.park { kind = "needs_auth", message = "somebody must do something" }
take(2)
print(scalekit.tools { page_size = 2 }().definition.name, tools().definition.name, runs())
LUA
run run -q lists.lua
want_code 11
pages=$(asked tools)
run resume last -q
want_code 0
is "the next page and the new list's first" "$(asked tools)" $((pages + 2))
is "each run once" "$(awk '{print $2}' out | tr '\n' ' ')" "$(printf 'one two three %s ' "$(awk 'NR==4 {print $2}' out)")"
is "each tool once" "$(awk 'NR<4 {print $1} NR==4 {print $2}' out | sort -u | wc -l | tr -d ' ')" 4
is "a new list begins anew" "$(awk 'NR==4 {print $1}' out)" "$(awk 'NR==1 {print $1}' out)"

done_testing
