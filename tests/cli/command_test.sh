#!/bin/sh
# The command line: every command and option, what goes to stdout and what to stderr, pipes, colours, #! lines, scripts that
# are copied and edited.
. "$(dirname "$0")/lib.sh"

DIGEST=$ROOT/examples/gmail_digest.lua
escape=$(printf '\033')
no_escapes() { ! grep -qa "$escape" out err || say_failed "escape codes in a pipe"; }

# --- words that are not known ---------------------------------------------------------------------------------------

refused() { # words, then what is said; exit 2, one or two lines, nothing on stdout
  begin "agenthost $1"
  # shellcheck disable=SC2086
  run $1
  want_code 2
  empty_out
  shift
  for word in "$@"; do want_err "$word"; done
  check "few lines" test "$(grep -c . err)" -le 2
}
refused "rnu x.lua" "did you mean 'run'"
refused "dmeo" "did you mean 'demo'"
refused "xyzzy" "unknown command 'xyzzy'"
refused "--emluate run x.lua" "did you mean '--emulate'"
refused "run --no-trce x.lua" "did you mean '--no-trace'"
refused "run x.lua --modle gpt" "did you mean '--model'"
refused "-z" "unknown option '-z'"
refused "run" "which script"
refused "run --model" "needs a value"
refused "run --json=1 x.lua" "takes no value"
refused "run --memory many x.lua" "takes a number"
refused "run --memory -1 x.lua" "takes a number"
refused "run --max-steps 0 x.lua" "takes a number"
refused "run --max-cost much x.lua" "takes a number"
refused "run --max-time soon x.lua" "takes seconds"
refused "run --meta novalue $DIGEST" "key=value"
refused "run --meta =x $DIGEST" "key=value"
refused "auth lnik gmail" "did you mean 'link'"
refused "auth" "usage: agenthost auth"
refused "auth link" "name of a connection"
refused "tools lss" "did you mean 'ls'"
refused "tools call" "name of a tool"
refused "trace shwo" "did you mean 'show'"
refused "trace" "usage: agenthost trace"
refused "trace show" "usage: agenthost trace"
refused "scripts --copi x" "did you mean '--copy'"
refused "scripts --copy" "needs a value: DIR"
refused "emulate --prot 1" "did you mean '--port'"
refused "emulate --port 99999" "65535"
refused "emulate --port x" "number"
refused "help rnu" "did you mean 'run'"
refused "doctor now" "usage: agenthost doctor"
refused "trace ls --limt 3" "did you mean '--limit'"
refused "trace ls --limit 0" "from 1 to 100000"
refused "trace ls --failed=1" "takes no value"
refused "trace verify x --timeout soon" "takes seconds, from 0 to 86400"
refused "trace show a b" "unknown word 'b' after trace show"
refused "auth link gmail --wait -1" "takes seconds"
refused "auth link gmail --wait=-1" "takes seconds"
refused "tools call x --arg novalue" "NAME=VALUE"
refused "version now" "usage: agenthost version"
refused "help trace lss" "did you mean 'ls'"

begin "a mistake in the words is JSON with --json, wherever it stands"
for words in "rnu --json" "--json run" "run --json --modle x" "tools call --json" "doctor --json now" "emulate --port x --json"; do
  # shellcheck disable=SC2086
  run $words
  want_code 2
  valid_json
  is "kind of $words" "$(member 'v["error"]["kind"], v["exit_code"]')" "('usage', 2)"
done

begin "so is a setting that is wrong before anything is opened, and a missing one"
echo 'NOT A SETTING' >bad.env
echo 'print "never"' >x.lua
for words in "run x.lua" "doctor" "config explain" "tools ls" "trace ls" "emulate" "auth status"; do
  # shellcheck disable=SC2086
  run $words --json --env bad.env
  want_code 3
  valid_json
  is "kind of $words" "$(member 'v["error"]["kind"], v["exit_code"]')" "('config', 3)"
  want_err "bad.env"
done
run auth status gmail --json
want_code 3
valid_json

begin "no words at all: help on stderr, exit 2"
run
want_code 2
empty_out
want_err "Commands:"

begin "a run that is not there, or that is not the only one: wrong usage, and what to do"
run run -q --emulate "$DIGEST"
run run -q --emulate "$DIGEST"
for word in "trace show" "trace push" "trace verify" "trace export" "trace export --format otlp" "trace diff last" resume approve; do
  run $word 00000000
  want_code 2
  empty_out
  want_err "no run '00000000' in the journal: 'agenthost trace ls' lists them"
done
same=$(printf %.4s "$("$AGENTHOST" trace ls --json | sed 's/.*"id":"//;q')")
run trace show "$same"
want_code 2
want_err "more than one run fits '$same': give more of its id"
run trace show nope --json
want_code 2
is "on stdout" "$(cat out)" '{"error":{"kind":"not_found","message":"no run '"'nope'"' in the journal: '"'agenthost trace ls'"' lists them"},"exit_code":2}'

# --- help, version -----------------------------------------------------------------------------------------------------

begin "help, --help, -h, help COMMAND, version, --version, -V"
for word in help --help -h; do
  run $word
  want_code 0
  want_out "Commands:"
  is "bytes on stderr" "$(wc -c <err)" 0
done
for command in run demo emulate trace auth tools doctor scripts version help; do
  run help
  want_out "  $command"
  run help $command
  want_code 0
  want_out "usage: agenthost $command"
done
for words in "trace --help" "trace -h" "--help trace" "help trace"; do
  # shellcheck disable=SC2086
  run $words
  want_code 0
  want_out "usage: agenthost trace ls | show RUN"
  want_out "--limit N"
done
for words in "trace ls --help" "trace --help ls" "help trace ls" "trace ls --limit --help"; do
  # shellcheck disable=SC2086
  run $words
  [ "$words" = "trace ls --limit --help" ] && { want_code 2; continue; } # it is the value of --limit
  want_code 0
  want_out "usage: agenthost trace ls [--failed] [--limit N]"
  not_out "RUN"
done
echo 'print(...)' >x.lua
run run x.lua --help
want_code 0
want_out "usage: agenthost run"
for word in version --version -V; do
  run $word
  want_code 0
  want_out "agenthost 0."
done
run version --json
valid_json

# --- stdout and stderr ---------------------------------------------------------------------------------------------------

begin "the answer on stdout only, the tree on stderr, no escape codes in a pipe"
run run --emulate "$DIGEST"
want_code 0
want_out "unread emails"
not_err "unread emails"
want_err "ChatOpenAI gpt-4o"
want_err "gmail_fetch_mails"
not_out "ChatOpenAI"
no_escapes

begin "demo: the same, and what it is"
run demo
want_code 0
want_out "unread emails"
want_err "no account, no key"
no_escapes
run demo -q
want_code 0
is "bytes on stderr" "$(wc -c <err)" 0
run demo "List my Slack channels"
want_code 0

begin "-q says nothing but errors; -v says what the host does; the answer is the same"
run run -q --emulate "$DIGEST"
want_code 0
is "bytes on stderr" "$(wc -c <err)" 0
cp out quiet.out
run run -v --emulate "$DIGEST"
want_code 0
want_err "POST 127.0.0.1/v1/chat/completions: status 200 after"
want_err "/api/v1/execute_tool: status 200"
no_escapes
is "the answer" "$(cat out)" "$(cat quiet.out)"
echo 'error "my words"' >x.lua
run run -q x.lua
want_code 1
want_err "my words"

begin "--json: one JSON value on stdout, also when it fails"
run run --json --emulate "$DIGEST"
want_code 0
valid_json
is "exit_code" "$(member 'v["exit_code"]')" 0
is "its answer has mail" "$(member '"unread emails" in v["answer"]')" True
is "the run's id" "$(member 'len(v["run_id"])')" 36
echo 'error "my words"' >x.lua
run run --json x.lua
want_code 1
valid_json
is "exit_code" "$(member 'v["exit_code"]')" 1
is "kind" "$(member 'v["error"]["kind"]')" script
run run --json nosuch.lua
want_code 3
valid_json
echo 'os.exit(7)' >exit.lua
run run --json exit.lua
want_code 7
valid_json
echo 'return { a = 1, list = { 1, 2.5, "x\0y" }, none = require "host.json".null }' >value.lua
run run --json value.lua
valid_json
is "the value" "$(member 'v["result"]')" "{'a': 1, 'list': [1, 2.5, 'x\\x00y'], 'none': None}"

echo 'return 12' >value.lua
run run --json value.lua
valid_json
is "a number" "$(member 'v["result"]')" 12

begin "limits as flags: the partial answer, the exit code"
run run -q --emulate --max-steps 1 "$DIGEST"
want_code 13
want_out "Q3 figures"
run run -q --emulate --max-tokens 20000 "$DIGEST"
want_code 14
want_out "Q3 figures"
want_err "raise limits.tokens or --max-tokens"
run run -q --emulate --max-cost 0.000001 "$DIGEST"
want_code 14
run run -q --emulate --max-steps 2 --max-tokens 100000 --max-time 60 "$DIGEST"
want_code 0

begin "--json of tools, auth, doctor: a list is a line each, all else one value"
for words in "tools ls gmail" "tools show gmail_fetch_mails" "auth ls" "auth status" "doctor"; do
  # shellcheck disable=SC2086
  run $words --emulate --user u --json
  is "exit code of $words" "$code" 0
  check "lines of JSON: $words" python3 -m json.tool --json-lines out
  check "no list as one value: $words" sh -c "! grep -q '^\[' out"
done
for words in "tools call gmail_fetch_mails --connection gmail --arg max_results=1" "auth status gmail" "auth link gmail"; do
  # shellcheck disable=SC2086
  run $words --emulate --user u --json
  is "exit code of $words" "$code" 0
  valid_json
done

begin "trace ls, show, show --io, verify; --json a line each"
run run -q --emulate "$DIGEST"
run trace ls
want_code 0
want_out "gmail_digest"
run trace ls --json
check "lines of JSON" python3 -m json.tool --json-lines out
id=$(python3 -c 'import json; print(json.loads(open("out").readline())["id"])')
run trace show "$id"
want_code 0
want_out "ChatOpenAI"
no_escapes
run trace show "$id" --io
want_code 0
want_out "max_results"
run trace show "$id" --json
check "lines of JSON" python3 -m json.tool --json-lines out
is "spans" "$(wc -l <out)" 4
run trace show "$(echo "$id" | tail -c 9)"
want_code 0

begin "print is stdout, host.log and io.stderr are stderr; what is printed before an error stays"
cat >x.lua <<'LUA'
print "printed"
io.write "written"
io.stderr:write "to stderr\n"
require "host".log("warn", "logged")
error "failed"
LUA
run run x.lua
want_code 1
want_out "printed"
want_out "written"
not_out "logged"
want_err "logged"
want_err "to stderr"

begin "colours on a terminal, none with NO_COLOR, and none without one"
python3 "$HERE/on_pty.py" pty err -- "$AGENTHOST" run --emulate "$DIGEST"
code=$?
want_code 0
check "a terminal has colours" grep -qa "$escape" err
NO_COLOR=1 python3 "$HERE/on_pty.py" pty err -- "$AGENTHOST" run --emulate "$DIGEST"
code=$?
want_code 0
check "NO_COLOR is obeyed" sh -c "! grep -qa '$escape' err"
python3 "$HERE/on_pty.py" pipe err -- "$AGENTHOST" run --emulate "$DIGEST"
check "a pipe has none" sh -c "! grep -qa '$escape' err"

begin "a reader that leaves: no crash, no signal"
for words in "run --emulate -q $DIGEST" "help" "scripts ls" "tools ls --emulate --user u" "trace ls"; do
  # shellcheck disable=SC2086
  { timeout 60 "$AGENTHOST" $words 2>err; echo $? >code; } | head -c 0
  code=$(cat code)
  check "exit code of $words: $code" test "$code" -le 16
done
cat >loud.lua <<'LUA'
for i = 1, 20000 do print(i, ("x"):rep(100)) end
LUA
{ timeout 60 "$AGENTHOST" run loud.lua 2>err; echo $? >code; } | head -n 1 >first
check "exit code: $(cat code)" test "$(cat code)" -le 16
is "the first line" "$(cut -c1 <first)" 1

if [ -e /dev/full ]; then
  begin "a full disk behind stdout is not success"
  code=0
  "$AGENTHOST" run -q --emulate "$DIGEST" >/dev/full 2>err || code=$?
  want_code 3
  want_err "standard output"
  code=0
  "$AGENTHOST" help >/dev/full 2>err || code=$?
  want_code 3
fi

# --- options -------------------------------------------------------------------------------------------------------------

begin "--user, --model, --tag, --meta, --project: in the trace; the flag wins over the script"
start_emulator
use_emulator
run run --user someone --model gpt-4o-mini --tag one --tag two --meta k=v --meta url=a=b --project elsewhere "$DIGEST"
want_code 0
want_err "ChatOpenAI gpt-4o-mini"
want_out "unread emails"
is "projects" "$(state 'v["runs"]["projects"]')" "['elsewhere']"
is "accounts" "$(state '[a["identifier"] for a in v["accounts"]]')" "['someone']"
run trace ls --json
id=$(python3 -c 'import json; print(json.loads(open("out").readline())["id"])')
run trace show "$id" --json
for word in '"one"' '"two"' '"k":"v"' '"url":"a=b"' someone; do want_out "$word"; done
run run --tag=three --meta=k=v --user=other "$DIGEST"
want_code 0

begin "--no-trace: no spans here or there; effects are still journalled"
reset_emulator
run run --no-trace "$DIGEST"
want_code 0
want_out "unread emails"
is "runs at the far end" "$(state 'v["runs"]["stored"]')" 0
not_err "ChatOpenAI"

begin "options before and after the file; -- and what follows is the script's; args; a name with = in it"
cat >args.lua <<'LUA'
local script = require "host.script"
print(#script.args(), table.concat(script.args(), "|"), script.option "model", script.option "quiet")
assert(table.concat({ ... }, "|") == table.concat(script.args(), "|") and select("#", ...) == #script.args())
LUA
run -q run args.lua a b --model m1 -- --model m2 -x -- y
want_code 0
want_out "7	a|b|--model|m2|-x|--|y	m1	true"
run args.lua "two words" ""
want_code 0
want_out "2	two words|	nil	nil"
run args.lua
want_code 0
want_out "0"
cp args.lua plain
run plain x
want_code 0
want_out "1	x"

begin "the words of the command line are the task"
run run --emulate -q "$ROOT/examples/lua_tool.lua" Use word_count: how many words has the text '"one two three"?'
want_code 0
want_out "3"

begin "a #! line"
{ printf '#!%s\n' "$AGENTHOST"; cat args.lua 2>/dev/null || cat "$TMP/$((NUMBER - 2))/args.lua"; } >tool
chmod +x tool
./tool a b >out 2>err || say_failed "exit code $?"
want_out "2	a|b"
{ printf '#!/usr/bin/env -S %s run -q\n' "$AGENTHOST"; cat "$TMP/$((NUMBER - 2))/args.lua"; } >tool
./tool c >out 2>err || say_failed "exit code $?"
want_out "1	c"

# --- scripts that are copied and edited ------------------------------------------------------------------------------------

sent_bodies() { curl -s "$BASE/__emulator/requests"; }

begin "scripts ls, scripts --copy: what is there already is left alone"
run scripts ls
want_code 0
want_out "agent/loop.lua"
want_out "prompts/default.md"
run scripts --copy copied
want_code 0
check "the loop is there" test -s copied/agent/loop.lua
echo "my own" >copied/prompts/default.md
run scripts --copy copied
want_code 0
want_out "left alone"
is "my prompt" "$(cat copied/prompts/default.md)" "my own"
: >file
run scripts --copy file
want_code 3
empty_out
run scripts --copy /proc/nowhere
want_code 3

begin "an edited copy changes what is sent: a prompt, and the loop; by --scripts and by AGENTHOST_SCRIPTS"
run scripts --copy copied
reset_emulator
cat >plain.lua <<'LUA'
return require "agent" { input = "hello there" }
LUA
echo "You are the edited prompt 4711." >copied/prompts/default.md
run run --scripts copied plain.lua
want_code 0
check "the edited prompt was sent" sh -c "curl -s '$BASE/__emulator/requests' | grep -q 4711"
reset_emulator
with AGENTHOST_SCRIPTS=copied -- run plain.lua
want_code 0
check "the edited prompt was sent" sh -c "curl -s '$BASE/__emulator/requests' | grep -q 4711"
sed -i 's/^function loop.run(run)/function loop.run(run) io.stderr:write "my own loop\\n"/' copied/agent/loop.lua
run run --scripts copied plain.lua
want_code 0
want_err "my own loop"
mkdir -p agent
echo 'error "a broken copy"' >agent/loop.lua
run run plain.lua
want_code 1
want_err "a broken copy"

begin "a prompt edited while the script runs is used in the next step, and the trace says which"
reset_emulator
mkdir prompts
echo "You are the first version." >prompts/mine.md
cat >edit.lua <<'LUA'
local agent = require "agent"
local swap = agent.tool {
  name = "swap_prompt", class = "idempotent", description = "Swaps the prompt.", parameters = { type = "object", properties = {} },
  run = function()
    local f = assert(io.open("prompts/mine.md", "w"))
    f:write "You are the second version.\n"
    f:close()
    return "swapped"
  end,
}
return agent { tools = { swap }, prompt = "prompts/mine.md", input = "call swap_prompt with {}" }
LUA
run run edit.lua
want_code 0
bodies=$(curl -s "$BASE/__emulator/requests")
check "the first version was sent" sh -c "printf '%s' '$(printf '%s' "$bodies" | tr -d "'")' | grep -q 'first version'"
check "the second version was sent" sh -c "printf '%s' '$(printf '%s' "$bodies" | tr -d "'")' | grep -q 'second version'"
run trace ls --json
id=$(python3 -c 'import json; print(json.loads(open("out").readline())["id"])')
run trace show "$id" --json
is "prompts by hash" "$(python3 - <<'PY'
import json
print(len({s["extra"]["metadata"].get("prompt_sha256") for s in map(json.loads, open("out")) if s["run_type"] == "llm"}))
PY
)" 2

begin "a prompt that is not there: exit 3, its name and where it was looked for"
echo 'return require "agent" { prompt = "prompts/nosuch.md", input = "x" }' >x.lua
run run x.lua
want_code 3
want_err "prompts/nosuch.md"
want_err "looked for"

begin "the working folder does not matter: a script finds its prompt and its modules beside it"
mkdir -p deep/prompts elsewhere
echo "You are deep 0815." >deep/prompts/p.md
echo 'return { word = "beside" }' >deep/helper.lua
echo 'print(require "helper".word) return require "agent" { prompt = "prompts/p.md", input = "hi" }' >deep/x.lua
reset_emulator
cd elsewhere || exit 1
"$AGENTHOST" run ../deep/x.lua >../out 2>../err </dev/null
code=$?
cd .. || exit 1
want_code 0
want_out "beside"
check "its prompt was sent" sh -c "curl -s '$BASE/__emulator/requests' | grep -q 0815"

begin "a symbolic link, a name with spaces and UTF-8, an absolute path"
mkdir "a folder"
echo 'print "found"' >"a folder/smörgås bord.lua"
ln -s "a folder/smörgås bord.lua" link.lua
for path in "a folder/smörgås bord.lua" link.lua "$PWD/a folder/smörgås bord.lua"; do
  run run "$path"
  want_code 0
  want_out "found"
done

done_testing
