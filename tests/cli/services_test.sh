#!/bin/sh
# What the services may answer: every status of each, and bodies that are no answer. Each time: a sentence that says what
# to do, exit 4 (11 where somebody must consent), one line, no secret; and nothing that was done is done twice.
. "$(dirname "$0")/lib.sh"

DIGEST=$ROOT/examples/gmail_digest.lua
start_emulator
use_emulator

cat >"$TMP/chat.lua" <<'LUA'
local openai, script = require "host.openai", require "host.script"
local model = openai.chat_model { model = "gpt-4o", retry = { max = 1, base = 0.01, cap = 0.02 } }
if script.args()[1] == "stream" then
  local stream = assert(model:stream { { role = "user", content = "hello" } })
  for chunk in stream do io.stderr:write(chunk.content and "" or "") end
  return assert(stream:message()).content
end
return assert(model:invoke { { role = "user", content = "hello" } }).content
LUA
cat >"$TMP/execute.lua" <<'LUA'
local scalekit = require "host.scalekit"
local result = assert(scalekit.execute_tool {
  tool_name = "gmail_send_message", tool_input = { to = "a@example.com", subject = "s", body = "b" }, connection_name = "gmail",
  identifier = "user_123",
})
print(result.json)
LUA
cat >"$TMP/account.lua" <<'LUA'
local scalekit = require "host.scalekit"
print(assert(scalekit.get_or_create_connected_account { connection_name = "gmail", identifier = "user_123" }).status)
LUA

# told TROUBLE CODE SCRIPT WORDS...: the script ends with CODE, says WORDS, prints nothing.
told() {
  begin "$(echo "$3" | sed "s|.*/||") meets $1: exit $2, and what to do"
  reset_emulator
  trouble "$1"
  wanted=$2
  # shellcheck disable=SC2086
  run run $3
  want_code "$wanted"
  [ "$wanted" = 0 ] || empty_out
  shift 3
  for word in "$@"; do want_err "$word"; done
  check "the error is a sentence of one line or a traceback, and the tree" test "$(grep -c . err)" -le 12
}
use_emulator

# --- OpenAI -----------------------------------------------------------------------------------------------------

told '{"where":"chat","what":"400"}' 4 "$TMP/chat.lua" "400"
told '{"where":"chat","what":"401"}' 4 "$TMP/chat.lua" "401" "OPENAI_API_KEY"
told '{"where":"chat","what":"403"}' 4 "$TMP/chat.lua" "403"
told '{"where":"chat","what":"404"}' 4 "$TMP/chat.lua" "404" "model"
told '{"where":"chat","what":"409"}' 4 "$TMP/chat.lua" "409"
told '{"where":"chat","what":"429"}' 4 "$TMP/chat.lua" "429"
told '{"where":"chat","what":"quota"}' 4 "$TMP/chat.lua" "quota"
told '{"where":"chat","what":"context"}' 4 "$TMP/chat.lua" "context"
told '{"where":"chat","what":"500"}' 4 "$TMP/chat.lua" "500"
told '{"where":"chat","what":"502"}' 4 "$TMP/chat.lua" "502"
told '{"where":"chat","what":"503"}' 4 "$TMP/chat.lua" "503"
told '{"where":"chat","what":"504"}' 4 "$TMP/chat.lua" "504"

begin "chat: 429 once, then an answer: nothing is said, two requests"
reset_emulator
trouble '{"where":"chat","what":"429","times":1,"retry_after":0.01}'
run run "$TMP/chat.lua"
want_code 0
is "chat requests" "$(asked chat)" 2

begin "chat: an exhausted quota is asked once only"
reset_emulator
trouble '{"where":"chat","what":"quota"}'
run run "$TMP/chat.lua"
want_code 4
is "chat requests" "$(asked chat)" 1

for what in html empty torn reset huge bad_utf8 deep 200_error; do
  for how in whole stream; do
    told "{\"where\":\"chat\",\"what\":\"$what\"}" 4 "$TMP/chat.lua $how"
    not_err "0x"
    not_err "<html"
  done
done
told '{"where":"chat","what":"error_event"}' 4 "$TMP/chat.lua stream"
told '{"where":"chat","what":"no_done"}' 0 "$TMP/chat.lua stream"

begin "chat: HTML with status 200 says that this is no API"
reset_emulator
trouble '{"where":"chat","what":"html","status":200}'
run run "$TMP/chat.lua"
want_code 4
want_err "JSON"

# --- Scalekit -----------------------------------------------------------------------------------------------------

for row in "400 4" "403 4" "404 4" "409 4" "429 4" "500 16" "503 16" "504 16"; do
  told "{\"where\":\"execute\",\"what\":\"${row% *}\"}" "${row#* }" "$TMP/execute.lua" "gmail_send_message"
  is "e-mails sent" "$(state 'len(v["outbox"])')" 0
  is "execute requests" "$(asked execute)" 1
done

begin "execute: 401 once: a new token, and the call is made"
reset_emulator
trouble '{"where":"execute","what":"401","times":1}'
run run "$TMP/execute.lua"
want_code 0
is "e-mails sent" "$(state 'len(v["outbox"])')" 1

for what in torn reset html empty huge deep; do
  begin "execute: the e-mail is sent, the answer is $what: never sent twice"
  reset_emulator
  trouble "{\"where\":\"execute\",\"what\":\"$what\",\"after\":true}"
  run run "$TMP/execute.lua"
  want_code 16
  want_err "look before you run it again"
  empty_out
  is "e-mails sent" "$(state 'len(v["outbox"])')" 1
  is "execute requests" "$(asked execute)" 1
done

begin "execute: the connection is cut after the e-mail is sent: exit 16, and what to do"
reset_emulator
trouble '{"where":"execute","what":"reset","after":true}'
run run "$TMP/execute.lua"
want_code 16
want_err "gmail_send_message"
is "e-mails sent" "$(state 'len(v["outbox"])')" 1

told '{"where":"execute","what":"tool_error","code":"quota_exceeded","message":"the mailbox is full"}' 4 "$TMP/execute.lua" "the mailbox is full"

for what in 401 403 404 429 500 html empty torn huge bad_utf8 deep 200_error; do
  told "{\"where\":\"accounts\",\"what\":\"$what\"}" 4 "$TMP/account.lua"
done
for what in 400 401 403 404 500 html empty bad_utf8 deep; do
  told "{\"where\":\"token\",\"what\":\"$what\"}" 4 "$TMP/account.lua"
done

begin "wrong Scalekit credentials: exit 4, which settings to look at; doctor says it too"
reset_emulator
with SCALEKIT_CLIENT_SECRET=test_LEAK_wrong_secret -- run "$TMP/account.lua"
want_code 4
want_err "SCALEKIT_CLIENT_SECRET"
with SCALEKIT_CLIENT_SECRET=test_LEAK_wrong_secret -- doctor
want_code 4
want_out "bad  scalekit"

begin "a wrong OpenAI key: exit 4, its name; doctor says it too"
with OPENAI_API_KEY=sk-LEAK-wrong-key -- run "$TMP/chat.lua"
want_code 4
want_err "OPENAI_API_KEY"
with OPENAI_API_KEY=sk-LEAK-wrong-key -- doctor
want_code 4
want_out "bad  model"

for what in 401 403 429 500 html empty torn huge deep; do
  told "{\"where\":\"scoped\",\"what\":\"$what\"}" 4 "$DIGEST"
done

begin "a tool that fails is a result for the model, not the end of the run"
reset_emulator
trouble '{"where":"execute","what":"tool_error","message":"the mailbox is full"}'
run run "$DIGEST"
want_code 0
want_out "the mailbox is full"

# --- LangSmith: never the run's affair ------------------------------------------------------------------------------

# Statuses and cut answers: after the trouble is over, `trace push` brings what did not arrive. (409 means that it is there.)
for what in 400 401 403 404 413 422 429 500 503 html torn reset huge; do
  begin "LangSmith answers $what: the run is whole, exit 0; what did not leave is pushed later: nothing lost, nothing twice"
  reset_emulator
  trouble "{\"where\":\"ingest\",\"what\":\"$what\"}"
  LIMIT=40 run run "$DIGEST"
  want_code 0
  want_out "unread emails"
  not_err "<html"
  reset_emulator_trouble
  run trace push "$("$AGENTHOST" trace ls --json 2>/dev/null | python3 -c 'import json,sys; print(json.loads(sys.stdin.readline())["id"])')"
  want_code 0
  is "ended runs at the far end" "$(state 'v["runs"]["ended"]')" 4
done

for what in 409 empty bad_utf8 deep 200_error; do
  begin "LangSmith answers $what: the run is whole, exit 0"
  reset_emulator
  trouble "{\"where\":\"ingest\",\"what\":\"$what\"}"
  LIMIT=40 run run "$DIGEST"
  want_code 0
  want_out "unread emails"
done

begin "LangSmith is down for a whole run: the next run sends both"
reset_emulator
trouble '{"where":"ingest","what":"503"}'
LIMIT=40 run run "$DIGEST"
want_code 0
want_err "the next run sends"
is "runs there" "$(state 'v["runs"]["ended"]')" 0
curl -s -X DELETE "$BASE/__emulator/trouble" >/dev/null
run run "$DIGEST"
want_code 0
is "runs there" "$(state 'v["runs"]["ended"]')" 8

begin "run --verify: 0 when the trace can be read back, 4 when it is not there"
reset_emulator
run run --verify "$DIGEST"
want_code 0
trouble '{"where":"ingest","what":"503"}'
LIMIT=60 run run --verify "$DIGEST"
want_code 4
want_out "unread emails"

begin "host.langsmith.runs asks the older generation where the newer is not there"
reset_emulator
echo 'return 1' >one.lua
run run -q --project older one.lua
want_code 0
trouble '{"where":"*","match":"/v2/runs/query","what":"404"}'
cat >list.lua <<'LUA'
for r in require("host.langsmith").runs { project = "older", is_root = true } do print(r.name, r.run_type, r.status) end
LUA
run run -q list.lua
want_code 0
is "the run" "$(cat out)" "$(printf 'one\tchain\tsuccess')"
reset_emulator_trouble
trouble '{"where":"*","match":"/v2/runs/query","what":"403"}'
run run -q list.lua
check "a refusal is no reason to ask the older" test "$code" != 0
empty_out

done_testing
