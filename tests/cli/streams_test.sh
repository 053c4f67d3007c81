#!/bin/sh
# Recorded streams cut after every Nth byte (7; an argument or CUT_EVERY says another, 1 is all), end to end: a cut stream
# is never an answer and never a call, and never a crash. What the program makes of it is said in one word a cut.
#   tests/cli/streams_test.sh [N]
. "$(dirname "$0")/lib.sh"
EVERY=${1:-${CUT_EVERY:-7}}
FIXTURES=$ROOT/tests/fixtures/openai

# One process plays all cuts of one recording: it asks the server for /v1/<n>, which sends n bytes and closes.
cat >"$TMP/cuts.lua" <<'LUA'
local openai, script = require "host.openai", require "host.script"
local base, total, every = table.unpack(script.args())
total, every = tonumber(total), tonumber(every)
local bad = 0
local function whole(n)
  local model = openai.chat_model { model = "gpt-4o", base_url = base .. "/" .. n, retry = { max = 0 } }
  local stream, err = model:stream { { role = "user", content = "x" } }
  if not stream then return nil, err end
  for chunk in stream do local _ = chunk.content end
  return stream:message()
end
local full = assert(whole(total))
local words = tostring(full.content) .. "/" .. #full.tool_calls
local errors, same = 0, 0
for n = 0, total - 1, every do
  local message, err = whole(n)
  if message then
    -- allowed only when nothing of the answer is missing: the cut is behind the last event that matters
    local got = tostring(message.content) .. "/" .. #message.tool_calls
    if got ~= words or #message.invalid_tool_calls > 0 then
      bad = bad + 1
      io.stderr:write(("cut at %d of %d gave a different answer: %s\n"):format(n, total, got))
    end
    same = same + 1
  else
    if not (err.kind == "truncated" or err.kind == "network" or err.kind == "protocol" or err.kind == "timeout") then
      bad = bad + 1
      io.stderr:write(("cut at %d of %d: kind %s: %s\n"):format(n, total, err.kind, err.message))
    end
    errors = errors + 1
  end
end
print(("%d errors, %d whole answers"):format(errors, same))
if bad > 0 then os.exit(1) end
LUA

for name in golden_text golden_two_calls golden_two_calls_crlf x_refusal; do
  for how in chunked close; do
    begin "$name, $how, cut at every ${EVERY}th byte: an error, or all of it; never less"
    total=$(wc -c <"$FIXTURES/$name.sse")
    start_python cutter.py "$FIXTURES/$name.sse" $how
    LIMIT=300 with OPENAI_API_KEY=sk-LEAK-1234567890 -- run -q --no-trace "$TMP/cuts.lua" -- "http://127.0.0.1:$PORT/v1" "$total" "$EVERY"
    want_code 0
    want_out "errors"
    echo "# $name $how: $(cat out)"
    end_helper
  done
done

begin "a JSON answer cut at every 7th byte, with and without a length: exit 4"
printf '{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"whole","refusal":null},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}' >answer.json
total=$(wc -c <answer.json)
cat >one.lua <<'LUA'
local openai, script = require "host.openai", require "host.script"
local base, total, every = table.unpack(script.args())
for n = 0, tonumber(total) - 1, tonumber(every) do
  local message, err = openai.chat_model { model = "gpt-4o", base_url = base .. "/" .. n, retry = { max = 0 } }
    :invoke { { role = "user", content = "x" } }
  assert(not message and err.kind ~= "script", "cut at " .. n)
end
print "all refused"
LUA
for how in chunked close; do
  start_python cutter.py "$PWD/answer.json" $how
  with OPENAI_API_KEY=sk-LEAK-1234567890 -- run -q --no-trace one.lua -- "http://127.0.0.1:$PORT/v1" "$total" 7
  want_code 0
  want_out "all refused"
  end_helper
done

begin "the raw double: a stream that is reset in its middle ends the script with 4, the partial text is no answer"
if [ -x "${AGENTHOST_DOUBLE:-}" ]; then
  printf 'connection\nrequest\n< HTTP/1.1 200 OK\n< Content-Type: text/event-stream\n< Transfer-Encoding: chunked\n<\n< ffff\n<| data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"par"}}]}\\n\\n\nsleep 50\nreset\n' >cut.case
  mkfifo hold
  "$AGENTHOST_DOUBLE" cut.case <hold >double.log 2>&1 &
  double=$!
  CHILDREN="$CHILDREN $double"
  exec 9>hold
  check "the double listens" wait_for double.log '^listening'
  PORT=$(sed -n 's/^listening //p' double.log)
  cat >reset.lua <<'LUA'
local stream = assert(require "host.openai".chat_model { model = "gpt-4o", retry = { max = 0 } }:stream { { role = "user", content = "x" } })
for chunk in stream do io.stderr:write("[", chunk.content or "", "]\n") end
return assert(stream:message()).content
LUA
  with OPENAI_API_KEY=sk-LEAK-1234567890 "OPENAI_BASE_URL=http://127.0.0.1:$PORT/v1" -- run reset.lua
  want_code 4
  empty_out
  want_err "[par]"
  exec 9>&-
  wait "$double" 2>/dev/null
  check "the double saw one request" grep -q '^requests 1' double.log
else
  skip "no TCP double (AGENTHOST_DOUBLE)"
fi

done_testing
