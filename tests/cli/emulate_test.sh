#!/bin/sh
# --emulate and demo talk to their own emulator and to nobody else: real-looking settings point at a far end that counts who
# comes, and nobody does; nor does an emulated trace leave later, with real settings.
. "$(dirname "$0")/lib.sh"

DIGEST=$ROOT/examples/gmail_digest.lua
real_settings() {
  start_python answers.py
  far=$PORT
  OPENAI_API_KEY=sk-LEAK-real-key-123456 OPENAI_BASE_URL=http://127.0.0.1:$far/v1
  SCALEKIT_CLIENT_ID=skc_real SCALEKIT_CLIENT_SECRET=LEAK_real_secret SCALEKIT_ENVIRONMENT_URL=http://127.0.0.1:$far
  LANGSMITH_TRACING=true LANGSMITH_API_KEY=LEAK_lsv2_real LANGSMITH_ENDPOINT=http://127.0.0.1:$far LANGSMITH_PROJECT=real
  LANGCHAIN_TRACING_V2=true LANGCHAIN_API_KEY=LEAK_lsv2_real_2 LANGCHAIN_ENDPOINT=http://127.0.0.1:$far
  export OPENAI_API_KEY OPENAI_BASE_URL SCALEKIT_CLIENT_ID SCALEKIT_CLIENT_SECRET SCALEKIT_ENVIRONMENT_URL LANGSMITH_TRACING \
    LANGSMITH_API_KEY LANGSMITH_ENDPOINT LANGSMITH_PROJECT LANGCHAIN_TRACING_V2 LANGCHAIN_API_KEY LANGCHAIN_ENDPOINT
}
connections() { grep -c '^connection' "$HELPER_LOG"; }
real_settings

begin "the counter counts: without --emulate somebody comes"
LIMIT=60 run run "$DIGEST"
check "it failed" test "$code" != 0
check "there were connections" test "$(connections)" -gt 0
end_helper
real_settings

quiet() { # NAME, words
  begin "$1: nobody comes to the real services"
  shift
  run "$@"
  want_code 0
  is "connections to the real services" "$(connections)" 0
}
quiet "run --emulate" run --emulate "$DIGEST"
want_out "unread emails"
quiet "demo" demo
want_out "unread emails"
quiet "run --emulate --verify" run --emulate --verify "$DIGEST"
quiet "run --emulate --project" run --emulate --project mine "$DIGEST"
quiet "doctor --emulate" doctor --emulate
want_out "a test span was sent"
quiet "tools ls --emulate" tools ls --emulate --user u gmail
quiet "tools call --emulate" tools call --emulate --user u gmail_fetch_mails --connection gmail
quiet "auth status --emulate" auth status --emulate --user u
for example in "$ROOT"/examples/*.lua; do quiet "examples/$(basename "$example")" run --emulate -q --approve auto "$example"; done

begin "an interrupted, an exited and a failing emulated run leave nothing behind that is sent elsewhere later"
cat >die.lua <<'LUA'
local how = require "host.script".args()[1]
require "host.trace".span("work", {}, function() end)
if how == "exit" then os.exit(3) end
if how == "error" then error "x" end
io.stdout:write "now\n"
io.stdout:flush()
require "host.task".sleep(60)
LUA
run run --emulate die.lua -- exit
want_code 3
run run --emulate die.lua -- error
want_code 1
"$AGENTHOST" run --emulate -q die.lua -- kill >die.out 2>die.err </dev/null &
victim=$!
CHILDREN="$CHILDREN $victim"
check "it runs" wait_for die.out now
kill -9 "$victim"
wait "$victim" 2>/dev/null
is "connections to the real services" "$(connections)" 0
echo 'print "later, for real"' >later.lua
: >"$TMP/bodies"
end_helper
start_python answers.py --log-bodies "$TMP/bodies"
LANGSMITH_ENDPOINT=http://127.0.0.1:$PORT LANGCHAIN_ENDPOINT=http://127.0.0.1:$PORT
LIMIT=60 run run later.lua
want_code 0
check "the real run was sent" grep -qa later "$TMP/bodies"
for name in die gmail_digest ChatOpenAI; do
  check "no emulated $name was sent" sh -c "! grep -qa '\"$name\"' '$TMP/bodies'"
done
run trace ls --json
emulated=$(python3 -c 'import json; print(next(r["id"] for r in map(json.loads, open("out")) if r["name"] == "die"))')
before=$(connections)
run trace push "$emulated"
check "pushing an emulated run is refused (exit code $code)" test "$code" != 0
check "nothing of it was sent" sh -c "! grep -qa '\"die\"' '$TMP/bodies'"
: "$before"

begin "an emulated script cannot see real settings; what is typed in is masked"
real_settings
cat >look.lua <<'LUA'
local host = require "host"
for _, name in ipairs { "OPENAI_BASE_URL", "SCALEKIT_ENVIRONMENT_URL", "LANGSMITH_ENDPOINT" } do
  local value = tostring(host.config(name))
  assert(not value:find(":" .. require "host.script".args()[1], 1, true), name .. " is the real one")
end
assert(host.emulated())
print "none"
LUA
run run --emulate look.lua -- "$PORT"
want_code 0
want_out "none"
is "connections to the real services" "$(connections)" 0

begin "agenthost emulate --gateway --trouble: the other face of OpenAI, and what goes wrong from the start"
start_emulator --gateway --trouble "429; where=chat; times=1; retry_after=0"
use_emulator
ask() { curl -s -o body -D head -w '%{http_code}' -H "Authorization: Bearer $OPENAI_API_KEY" -d '{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}' "$BASE/chat/completions"; }
is "the first answer" "$(ask)" 429
check "as LiteLLM says it" grep -q 'litellm.RateLimitError' body
is "the second answer" "$(ask)" 200
check "with LiteLLM's headers" grep -qi '^x-litellm-response-cost:' head
run emulate --port 0 --trouble nonsense
want_code 3
want_err "no trouble is called"

# The blocks of docs/emulator.md that are of a language, as a reader would run them.
block() { sed -n "/^\`\`\`$1\$/,/^\`\`\`\$/p" "$ROOT/docs/emulator.md" | sed '1d;$d'; }

begin "the examples of docs/emulator.md do what they say"
start_emulator
use_emulator
SECRETS=
block sh >doc.sh
code=0
sh doc.sh >out 2>err || code=$?
want_code 0
want_out '"messages":[{'
want_out '"tool_calls":1'
block python >doc.py
code=0
python3 doc.py >out 2>err || code=$?
want_code 0
if command -v node >/dev/null && [ "$(node -p 'parseInt(process.versions.node)')" -ge 20 ]; then
  block js >doc.mjs
  code=0
  node doc.mjs >out 2>err || code=$?
  want_code 0
fi

done_testing
