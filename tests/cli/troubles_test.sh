#!/bin/sh
# The recipe's own troubles, each by the name its users know it by: traces that do not appear, an account that stays
# PENDING, "resource not found", tools that are not bound. Each says what to do, once, and ends with its own exit code.
. "$(dirname "$0")/lib.sh"

DIGEST=$ROOT/examples/gmail_digest.lua
start_emulator
use_emulator
good_key=$LANGSMITH_API_KEY

# --- traces not appearing ------------------------------------------------------------------------------

# not_traced NAME SENTENCE VARIABLES...: run says it once and does its work; doctor says it too; nothing is sent.
not_traced() {
  begin "traces not appearing: $1"
  sentence=$2
  shift 2
  reset_emulator
  SECRETS="$OPENAI_API_KEY $SCALEKIT_CLIENT_SECRET $good_key"
  unset LANGSMITH_TRACING LANGSMITH_API_KEY
  with "$@" -- run "$DIGEST"
  want_code 0
  want_out "unread emails"
  once_err "$sentence"
  is "runs that the far end stored" "$(state 'v["runs"]["stored"]')" 0
  with "$@" -- doctor
  want_code 3
  want_out "$sentence"
  use_emulator
}
not_traced "LANGCHAIN_TRACING_V3" "did you mean LANGCHAIN_TRACING_V2?" LANGCHAIN_TRACING_V3=true LANGSMITH_API_KEY="$good_key"
not_traced "LANGSMITH_TRACNG" "did you mean LANGSMITH_TRACING?" LANGSMITH_TRACNG=true LANGSMITH_API_KEY="$good_key"
not_traced "LANGCHIAN_TRACING_V2" "did you mean LANGCHAIN_TRACING_V2?" LANGCHIAN_TRACING_V2=true LANGSMITH_API_KEY="$good_key"
not_traced "the value 1" "set it to true" LANGSMITH_TRACING=1 LANGSMITH_API_KEY="$good_key"
not_traced "the value yes" "set it to true" LANGCHAIN_TRACING_V2=yes LANGSMITH_API_KEY="$good_key"
not_traced "the value on" "set it to true" LANGCHAIN_TRACING_V2=on LANGSMITH_API_KEY="$good_key"
not_traced "no key" "set LANGSMITH_API_KEY" LANGSMITH_TRACING=true
not_traced "a blank key" "set LANGSMITH_API_KEY" LANGSMITH_TRACING=true LANGSMITH_API_KEY=
not_traced "a key, but no switch" "set LANGSMITH_TRACING=true" LANGSMITH_API_KEY="$good_key"
not_traced "an endpoint that is no URL" "LANGSMITH_ENDPOINT cannot be used" LANGSMITH_TRACING=true \
  LANGSMITH_API_KEY="$good_key" LANGSMITH_ENDPOINT=smith.example

for value in true True TRUE "true " ' "true"'; do
  begin "LANGSMITH_TRACING='$value' is on: the run arrives, and doctor's test span"
  reset_emulator
  with LANGSMITH_TRACING="$value" -- run "$DIGEST"
  want_code 0
  not_err "traces stay"
  is "ended runs at the far end" "$(state 'v["runs"]["ended"]')" 4
  with LANGSMITH_TRACING="$value" -- doctor
  want_code 0
  want_out "a test span was sent"
  is "ended runs at the far end" "$(state 'v["runs"]["ended"]')" 5
done

for value in false 0 no off ""; do
  begin "LANGSMITH_TRACING='$value' is off, and nothing is said"
  reset_emulator
  with LANGSMITH_TRACING="$value" LANGSMITH_API_KEY= -- run "$DIGEST"
  want_code 0
  not_err "traces"
  is "runs at the far end" "$(state 'v["runs"]["stored"]')" 0
done

begin "a key that LangSmith refuses: the run is whole, the traces wait, and it is said; with the right key they leave"
reset_emulator
with LANGSMITH_API_KEY=LEAK_lsv2_wrong -- run "$DIGEST"
want_code 0
want_out "unread emails"
want_err "LANGSMITH_API_KEY"
is "runs at the far end" "$(state 'v["runs"]["stored"]')" 0
with LANGSMITH_API_KEY=LEAK_lsv2_wrong -- doctor
want_code 4
want_out "bad  tracing"
run run "$DIGEST"
want_code 0
is "ended runs at the far end, of both" "$(state 'v["runs"]["ended"]')" 8

# --- the account stays PENDING ---------------------------------------------------------------------------

begin "an account that is PENDING: the link, exit 11; approved by its page, the next run works"
reset_emulator
no_settings
end_children
start_emulator --pending
use_emulator
run run "$DIGEST"
want_code 11
empty_out
want_err "not ACTIVE"
want_err "$BASE/magicLink/"
is "model calls" "$(asked chat)" 0
run auth status gmail --user user_123
want_code 11
want_err "agenthost auth link gmail --wait"
run auth link gmail --user user_123
want_code 0
want_out "$BASE/magicLink/"
run auth link gmail --user user_123 --wait 0
want_code 11
timeout 60 "$AGENTHOST" auth link gmail --user user_123 --wait 30 >wait.out 2>wait.err </dev/null &
waiting=$!
CHILDREN="$CHILDREN $waiting"
check "a link to open while it waits" wait_for wait.out "^$BASE/magicLink/"
check "the page answers" curl -sf -o page.html "$(head -n 1 wait.out)"
check "approving is accepted" curl -sf -o page.html -X POST "$(head -n 1 wait.out)"
wait "$waiting"
code=$?
want_code 0
check "it says ACTIVE" grep -q ACTIVE wait.err
cp wait.out out
cp wait.err err
run run "$DIGEST"
want_code 0
want_out "unread emails"

begin "the same, by hand: wait_until_active shows the link and goes on when it is approved"
timeout 60 "$AGENTHOST" run -q --user user_777 "$ROOT/examples/gmail_digest_by_hand.lua" >hand.out 2>hand.err </dev/null &
waiting=$!
CHILDREN="$CHILDREN $waiting"
check "the link is shown before the end" wait_for hand.out "Authorize Gmail: "
check "approving is accepted" curl -sf -o page.html "$(sed -n 's/.*Authorize Gmail: //p' hand.out | head -n 1)?approve=1"
wait "$waiting"
code=$?
cp hand.out out
cp hand.err err
want_code 0
want_out "✅ Gmail connected for user_777"

begin "an account that expired: the link, exit 11"
curl -s -o /dev/null -d '{"connector":"gmail","identifier":"user_123","status":"EXPIRED"}' "$BASE/__emulator/account"
run run "$DIGEST"
want_code 11
want_err "EXPIRED"
want_err "magicLink"

# --- resource not found --------------------------------------------------------------------------------------

begin "a connection that is not there: exit 4, the nearest names"
end_children
no_settings
start_emulator
use_emulator
cat >wrong.lua <<'LUA'
return require "agent" { connectors = { "gmial" }, identifier = "u", input = "hello" }
LUA
run run wrong.lua
want_code 4
empty_out
want_err "gmial"
want_err "did you mean"
want_err "gmail"
is "model calls" "$(asked chat)" 0
run auth link gmial --user u
want_code 4
want_err "gmail"

begin "execute_tool of an account that is not ACTIVE: its status and a link, not 'resource not found'"
cat >execute.lua <<'LUA'
local scalekit = require "host.scalekit"
local result, err = scalekit.execute_tool {
  tool_name = "gmail_fetch_mails", tool_input = {}, connection_name = "gmail", identifier = "u9", class = "read",
}
assert(not result)
error(err)
LUA
run auth status gmail --user u9
curl -s -o /dev/null -d '{"connector":"gmail","identifier":"u9","status":"EXPIRED"}' "$BASE/__emulator/account"
run run execute.lua
want_code 11
want_err "EXPIRED"
want_err "magicLink"

begin "a tool that is not there: its name, exit 4"
sed "s/gmail_fetch_mails/gmail_fetch_mial/; s/u9/u10/" "$TMP/$((NUMBER - 1))/execute.lua" >execute.lua
run run execute.lua
want_code 4
want_err "gmail_fetch_mial"

# --- tools not bound -------------------------------------------------------------------------------------------

begin "zero tools: an error that names the connection and the account, and no model call"
reset_emulator
trouble '{"where":"scoped","what":"no_tools"}'
trouble '{"where":"available","what":"no_tools"}'
trouble '{"where":"tools","what":"no_tools"}'
run run "$DIGEST"
want_code 4
empty_out
want_err "gmail"
want_err "user_123"
want_err "no tools"
is "model calls" "$(asked chat)" 0

begin "a wanted tool that is misspelt is no silence either"
reset_emulator
cat >few.lua <<'LUA'
return require "agent" {
  connectors = { { connection = "gmail", tools = { "gmail_fetch_mails", "gmail_fetch_mals" } } }, identifier = "u", input = "hello",
}
LUA
run run few.lua
want_code 4
want_err "gmail_fetch_mals"

done_testing
