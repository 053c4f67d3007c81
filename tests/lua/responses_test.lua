-- run: --emulate
-- chat_model{ api = "responses" } against the emulator, and the emulator's own refusals.
local t = require "testing"
local json = require "host.json"
local openai = require "host.openai"

local tool = {
  name = "mail.fetch", description = "Fetch mails",
  parameters = { type = "object", properties = { query = { type = "string" } }, required = { "query" } },
}
local ask = { role = "user", content = 'call mail_fetch with {"query":"x"}' }

local function model(name, more)
  local opts = { model = name, api = "responses", reasoning_effort = "low", max_tokens = 400 }
  for k, v in pairs(more or {}) do opts[k] = v end
  return openai.chat_model(opts):bind_tools { tool }
end

local function collect(m, messages)
  local stream = assert(m:stream(messages))
  local text, arguments = "", ""
  for chunk in stream do
    text = text .. (chunk.content or "")
    arguments = arguments .. (chunk.tool_call and chunk.tool_call.arguments or "")
  end
  return assert(stream:message()), text, arguments
end

for _, streamed in ipairs { false, true } do
  t.test("a call, its reasoning sent back, and the answer" .. (streamed and ", as a stream" or ""), function()
    local m = model "o4-mini"
    local first, _, arguments
    if streamed then first, _, arguments = collect(m, { ask }) else first = assert(m:invoke { ask }) end
    t.eq(first.response_metadata.finish_reason, "tool_calls")
    t.eq(first.tool_calls[1].name, "mail.fetch")
    t.eq(first.tool_calls[1].args, { query = "x" })
    t.eq(arguments or '{"query":"x"}', '{"query":"x"}')
    t.eq(#first.output, 2)
    t.ok(first.output[1].encrypted_content, "reasoning came encrypted")
    t.ok(first.usage_metadata.total_tokens > 0)
    local messages = { ask, first, { role = "tool", tool_call_id = first.tool_calls[1].id, content = "No mail." } }
    local second, text
    if streamed then second, text = collect(m, messages) else second = assert(m:invoke(messages)) end
    t.match(second.content, "No mail%.")
    t.eq(text or second.content, second.content)
    t.eq(second.response_metadata.finish_reason, "stop")
    first.output = nil -- a history of another model: the calls are written anew
    t.match(assert(m:invoke(messages)).content, "No mail%.")
  end)
end

t.test("reasoning that is left out is refused", function()
  local m = model "o4-mini"
  local first = assert(m:invoke { ask })
  first.output = json.array { first.output[2] }
  local _, err = m:invoke { ask, first, { role = "tool", tool_call_id = first.tool_calls[1].id, content = "x" } }
  t.eq(err.kind, "invalid")
  t.match(err.message, "required 'reasoning' item")
end)

t.test("a value of a schema", function()
  local m = openai.chat_model { model = "gpt-4o", api = "responses" }:with_structured_output {
    type = "object", properties = { city = { type = "string" }, days = { type = "integer" } }, required = { "city" },
  }
  t.eq(assert(m:invoke { { role = "user", content = "weather in Paris" } }).parsed.city, "Paris")
end)

t.test("cut at its limit, and refused below it", function()
  local m = openai.chat_model { model = "gpt-4o", api = "responses" }
  local story = { { role = "user", content = "Tell me a story" } }
  t.eq(assert(m:invoke(story, { max_tokens = 16 })).response_metadata.finish_reason, "length")
  local _, err = m:invoke(story, { max_tokens = 15 })
  t.eq(err.kind, "invalid")
  t.match(err.message, "max_output_tokens")
end)

t.test("kept by the service when asked to", function()
  local m = openai.chat_model { model = "gpt-4o", api = "responses", store = true }
  local first = assert(m:invoke { { role = "user", content = "Hello" } })
  local again = assert(m:invoke({ { role = "user", content = "And now?" } },
    { previous_response_id = first.response_metadata.id }))
  t.ok(again.usage_metadata.input_tokens > first.usage_metadata.input_tokens)
  local _, err = m:invoke({ { role = "user", content = "x" } }, { previous_response_id = "resp_none" })
  t.eq(err.code, "previous_response_not_found")
end)

t.test("misuse", function()
  t.raises("'chat' or 'responses' expected", openai.chat_model, { model = "m", api = "completions" })
end)

t.done()
