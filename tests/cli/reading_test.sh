#!/bin/sh
# What `agenthost trace` shows of the journal: ls by all that is known of a run, diff, tail, export, gc; what looks like a
# credential is hidden in it and in what is sent.
. "$(dirname "$0")/lib.sh"

DIGEST=$ROOT/examples/gmail_digest.lua
KEY=sk-proj-a1B2c3D4e5F6g7H8i9J0
cat >"$TMP/keys.lua" <<LUA
local trace = require "host.trace"
trace.span("lookup", { run_type = "tool", inputs = { url = "https://u:pw1word@x.example/?api_key=abcd1234efgh" } }, function()
  return { mail = "use $KEY", password = 'a"b/c+1234' }
end)
return "done"
LUA

# Three runs: two digests by emulation, one that fails.
three_runs() {
  run run --emulate -q --user u1 --tag red --meta thread_id=t1 "$DIGEST"
  run run --emulate -q --user u2 "$DIGEST" "Fetch my last 1 unread emails"
  echo 'error("boom")' >bad.lua
  run run -q bad.lua
}

begin "ls chooses by user, tag, metadata, status, time, cost, text"
three_runs
run trace ls --user u1;                    want_out "u1"; not_out "u2"
run trace ls --with-tag red;               want_out "u1"; not_out "u2"
run trace ls --with-meta thread_id=t1;     want_out "u1"; not_out "u2"
run trace ls --failed;                     want_out "bad"; not_out "gmail_digest"
run trace ls --status sent;                want_out "gmail_digest"; not_out "bad"
run trace ls --text "Dana Whitfield";      want_out "gmail_digest"; not_out "bad"
run trace ls --script bad.lua;             want_out "bad"; not_out "gmail_digest"
run trace ls --dearer 0.001;               want_out "u1"; not_out "bad"
run trace ls --since 1h;                   want_out "u1"
run trace ls --slower 1h;                  want_code 0; empty_out
run trace ls --with-tag red --limit 1 --json
want_out '"thread_id":"t1"'

begin "a run's cost: embeddings and all, not unknown for a call that was refused, never nothing"
cat >cost.lua <<'LUA'
local openai, trace = require "host.openai", require "host.trace"
trace.run({ name = "embeds" }, openai.embeddings, { model = "text-embedding-3-small", input = "hello" })
trace.run({ name = "falls-back" }, function()
  for _, model in ipairs { "no-such-model", "gpt-4o" } do
    openai.chat_model({ model = model }):invoke { { role = "user", content = "hello" } }
  end
end)
trace.run({ name = "unlisted" }, function()
  openai.chat_model({ model = "gpt-4o" }):invoke { { role = "user", content = "hello" } }
  openai.chat_model({ model = "gpt-4o", price = false }):invoke { { role = "user", content = "hello" } }
end)
LUA
run run --emulate -q cost.lua;             want_code 0
run trace ls
check "embeddings have a cost above nothing" grep -qE 'embeds .* [1-9][0-9]* +<\$0\.0001 ' out
check "a refused call costs nothing" grep -qE 'falls-back .* \$0\.000[1-9] ' out
check "what has no price is unknown" grep -qE 'unlisted .* [0-9]+ +- ' out

begin "ls --where is a sandboxed expression"
three_runs
run trace ls --where 'tokens > 1000 and tags.red and metadata.thread_id == "t1"'
want_out "u1"
not_out "u2"
run trace ls --where 'cost > 1'
empty_out
run trace ls --where 'latency < 1000 and name:find "^gmail"'
want_out "u2"
run trace ls --where 'tokns > 1'
want_code 2
want_err "no field 'tokns'"
run trace ls --where 'tokens >'
want_code 2
want_err "unexpected symbol"
run trace ls --where 'os.exit()'
want_code 2
want_err "no field 'os'"
run trace ls --where '(function() while true do end end)()'
not_out "gmail"
run trace ls --where " "
want_code 2
want_err "wants a Lua expression"
run trace ls --status nope
want_code 2
want_err "there is no 'nope', but open, done"

begin "a reader that has enough: nothing is said, and tail ends"
three_runs
for words in "trace ls" "trace ls --json" "trace show last --json" "trace export last"; do
  # shellcheck disable=SC2086
  { "$AGENTHOST" $words 2>err; echo $? >code; } | head -c 1 >/dev/null
  is "$words: what is said" "$(cat err)" ""
done
{ timeout 60 "$AGENTHOST" trace tail 2>err; echo $? >code; } | head -n 1 >first &
reader=$!
n=0
while kill -0 "$reader" 2>/dev/null && [ "$n" -lt 40 ]; do
  "$AGENTHOST" run --emulate -q "$DIGEST" >/dev/null 2>&1
  n=$((n + 1))
done
wait "$reader"
is "exit code of tail" "$(cat code)" 0
check "its line" grep -q " begins  chain  gmail_digest" first

begin "what an anonymizer made is shown, and nothing else; no credentials in ls and tail"
cat >private.lua <<'LUA'
local trace = require "host.trace"
trace.anonymizer(function(text) return (text:gsub("bob", "NAME")) end)
trace.metadata { key = "ghp_abcdefghij0123456789" .. "ABCDEFGHIJ012345", who = "bob" }
pcall(trace.span, "step", { inputs = { a = "bob" } }, function() error("bob failed", 0) end)
error("bob at the end " .. ("x"):rep(370) .. " ghp_abcdefghij0123456789" .. "ABCDEFGHIJ012345", 0)
LUA
"$AGENTHOST" trace tail --for 8s >tail.out 2>/dev/null &
tail=$!
sleep 1
"$AGENTHOST" run -q private.lua >/dev/null 2>&1
for words in "ls --json" "show last" "show last --io" "show last --json" "export last"; do
  # shellcheck disable=SC2086
  run trace $words
  want_code 0
  not_out "bob"
  not_out "ghp_"
  check "$words: the name that was made" grep -q NAME out
done
run trace ls --text bob
not_out "private"
wait "$tail"
check "tail shows what was made" grep -q "error: NAME at the end" tail.out
check "tail shows nothing else" sh -c "! grep -qe bob -e ghp_ tail.out"
LANGSMITH_HIDE_METADATA=true run trace ls --json
not_out "NAME\"}"

begin "diff says what differs"
three_runs
set -- $("$AGENTHOST" trace ls --json | sed 's/.*"id":"\([^"]*\)".*/\1/')
run trace diff "$2" "$2"
want_out "do not differ"
run trace diff "$3" "$2"
want_out "! gmail_fetch_mails: inputs"
want_out '+ {"max_results":1'
run trace diff "$3" "$1"
want_out "- ChatOpenAI"
run trace diff "$3" "$2" --json
want_out '"what":"inputs"'
run trace diff "$3"
want_code 2

begin "export: JSON lines, OpenTelemetry"
three_runs
set -- $("$AGENTHOST" trace ls --json | sed 's/.*"id":"\([^"]*\)".*/\1/')
run trace export "$2" "$3"
is "lines" "$(wc -l <out | tr -d ' ')" 8
run trace export "$2" --format otlp
is "the request" "$(python3 -c '
import json
spans = json.load(open("out"))["resourceSpans"][0]["scopeSpans"][0]["spans"]
root, model, tool = spans[0], spans[1], spans[2]
assert len({s["spanId"] for s in spans}) == 4 and {len(s["traceId"]) for s in spans} == {32}
assert root["parentSpanId"] == "" and {s["parentSpanId"] for s in spans[1:]} == {root["spanId"]}
assert all(int(s["endTimeUnixNano"]) >= int(s["startTimeUnixNano"]) > 1600000000 * 10**9 for s in spans)
a = {x["key"]: x["value"] for x in model["attributes"]}
assert a["gen_ai.operation.name"]["stringValue"] == "chat" and a["gen_ai.request.model"]["stringValue"] == "gpt-4o"
assert int(a["gen_ai.usage.input_tokens"]["intValue"]) > 0
b = {x["key"]: x["value"] for x in tool["attributes"]}
assert b["gen_ai.tool.name"]["stringValue"] == "gmail_fetch_mails"
print("fine")')" fine
run trace export "$2" --format otlp --to http://127.0.0.1:9/v1/traces
want_code 4
run trace export "$2" --format csv
want_code 2

begin "tail follows other processes"
run run -q "$TMP/keys.lua"
"$AGENTHOST" trace tail --for 3 >tail.out 2>said &
sleep 1
run run -q "$TMP/keys.lua"
wait $!
is "lines" "$(wc -l <tail.out | tr -d ' ')" 4
check "the tool's end" grep -q "ends .*tool  lookup" tail.out

begin "gc removes what is old"
three_runs
run trace gc
want_code 2
run trace gc --older 1
want_out "0 runs"
run trace gc --older 0.00000001
want_out "3 runs"
run trace ls
empty_out

begin "what looks like a credential is not shown, and not sent"
start_emulator
use_emulator
run run -q "$TMP/keys.lua"
run trace show last --io
want_out "[redacted:openai-key]"
want_out "u:[redacted:password]@"
want_out "api_key=[redacted:secret]"
not_out "$KEY"
not_out "c+1234"
run trace export last
not_out "$KEY"
run trace ls --json
run trace verify last --json
want_code 0
id=$("$AGENTHOST" trace export last | sed -n 's/^{"id":"\([^"]*\)".*"name":"lookup".*/\1/p')
curl -s -H "x-api-key: $LANGSMITH_API_KEY" "$LANGSMITH_ENDPOINT/runs/$id" >out
want_out "[redacted:openai-key]"
want_out '"password":"[redacted:secret]"'
not_out "$KEY"
not_out "pw1word"
AGENTHOST_HIDE_TOKENS=off run trace show last --io
want_out "$KEY"
LANGSMITH_HIDE_OUTPUTS=true run trace show last --io
want_out "outputs  {}"
not_out "use ["
cat >fails.lua <<LUA
local trace = require "host.trace"
trace.span("asks for https://u:pw1word@x.example", function()
  error("GET https://x.example/a/rather/long/path/that/fills/the/line?page=1&size=100&api_key=$KEY failed", 0)
end)
LUA
run run fails.lua
want_code 1
not_err "pw1word"
want_err "u:[redacted:password]@"
check "the tree's error is masked before it is cut" sh -c "! grep -a 'error: GET' err | grep -qF sk-proj"
run trace show last
not_out "pw1word"
not_out "sk-proj"
AGENTHOST_HIDE_TOKENS=off run trace show last
want_out "pw1word"
run trace show last --io
not_out "pw1word"

begin "a secret and credentials in two pieces of a stream, a call's arguments, a tool's answer, a URL, an error; with / \" and +"
MY_TOKEN='LEAK/a"b cd+ef/98765'
PEM='-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKC/a+b==\n-----END RSA PRIVATE KEY-----'
cat >world.lua <<LUA
local SECRET, KEY, PEM = '$MY_TOKEN', "$KEY", "$PEM"
local all = SECRET .. " and " .. KEY .. " and " .. PEM .. " and password=x/y+z12345"
return {
  mails = { { from = "Zoe <zoe@example.com>", subject = "keys", body = all, labels = { "INBOX", "UNREAD" } } },
  rules = { { when = "in pieces", answer = { text = "Here: " .. all .. " .",
    calls = { { name = "look", args = { url = "https://u:" .. KEY .. "@x.example/?access_token=" .. KEY, text = all } } } } } },
}
LUA
end_children
start_emulator --scenario world.lua
use_emulator
cat >pieces.lua <<'LUA'
local openai, scalekit, trace, http = require "host.openai", require "host.scalekit", require "host.trace", require "host.http"
local look = { name = "look", parameters = { type = "object", properties = { url = { type = "string" } } } }
local model = openai.chat_model { model = "gpt-4o" }:bind_tools { look }
local stream = assert(model:stream { { role = "user", content = "in pieces" } })
local whole, pieces = false, 0
for chunk in stream do -- the emulator's pieces end with a word; the secret's are given in one
  whole, pieces = whole or (chunk.content or ""):find('LEAK/a"b cd+ef/98765', 1, true), pieces + 1
end
assert(whole and pieces > 10, "the secret came in pieces")
local message = stream:message()
assert(message.content:find("LEAK", 1, true) and message.content:find("PRIVATE KEY", 1, true))
local call = message.tool_calls[1]
trace.span(call.name, { run_type = "tool", inputs = call.args, metadata = { seen = call.args.text } }, function()
  trace.event("went", { to = call.args.url })
  return { { type = "text", text = call.args.text } }
end)
local mails = assert(scalekit.execute_tool { tool_name = "gmail_fetch_mails", identifier = "u", connection_name = "gmail", tool_input = {} })
assert(mails.json:find("LEAK", 1, true))
http.get("http://127.0.0.1:1/?q=" .. call.args.url)
pcall(trace.span, "fails", function() error("cannot use " .. call.args.text, 0) end)
LUA
with MY_TOKEN="$MY_TOKEN" -- run -q pieces.lua
want_code 0
check "no piece of it in the journal" sh -c "! grep -qaE 'cd.ef|98765' home/journal.db*"
run trace verify last
want_code 0
run trace export last
for id in $(sed -n 's/^{"id":"\([^"]*\)".*/\1/p' out); do
  curl -s -H "x-api-key: $LANGSMITH_API_KEY" "$LANGSMITH_ENDPOINT/runs/$id"
done >sent
for file in out sent; do
  check "$file: all spans" test "$(grep -o '"dotted_order":' $file | wc -l)" -ge 5
  check "$file: the secret by its name" grep -q '\[secret:MY_TOKEN\]' $file
  check "$file: nothing of any" sh -c "! grep -qE 'LEAK|98765|a1B2c3D4|MIIEpA|z12345' $file"
done
for words in "show last --io" "show last" "show last --json" "ls --json" "diff last last"; do
  # shellcheck disable=SC2086
  run trace $words
  check "trace $words" sh -c "! grep -qE 'LEAK|98765|a1B2c3D4|MIIEpA|z12345' out err"
done

begin "a run on a terminal says where it can be seen, a run in a pipe does not ask"
python3 "$HERE/on_pty.py" pty out -- "$AGENTHOST" run "$TMP/keys.lua"
code=$?
want_code 0
want_out "trace: http://127.0.0.1:"
run run "$TMP/keys.lua"
not_err "trace: http"

done_testing
