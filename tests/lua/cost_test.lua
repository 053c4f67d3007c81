-- run: --trace --emulate
-- What model calls cost: the gateway's word, else the list of prices, else unknown.
local t = require "testing"
local langsmith = require "host.langsmith"
local openai = require "host.openai"
local prices = require "agent.prices"
local trace = require "host.trace"

local function ask(given)
  local id, answer
  trace.run({ name = "cost" }, function()
    id = trace.current().trace_id
    answer = assert(openai.chat_model(given):invoke { { role = "user", content = "hello" } })
  end)
  assert(trace.flush())
  return answer, assert(langsmith.read_run(id))
end

local function near(a, b) t.ok(a and math.abs(a - b) < 1e-9, tostring(a) .. " is not " .. tostring(b)) end

t.test("by the list, on the answer and in LangSmith", function()
  local answer, run = ask { model = "gpt-4o" }
  local used = answer.usage_metadata
  local row = prices.of "gpt-4o"
  local cached = (used.input_token_details or {}).cache_read or 0
  near(answer.cost, ((used.input_tokens - cached) * row.input + cached * row.cached_input
    + used.output_tokens * row.output) / 1e6)
  near(used.total_cost, answer.cost)
  near(tonumber(run.total_cost), answer.cost)
end)

t.test("a price of one's own, and none", function()
  local answer = ask { model = "gpt-4o", price = { input = 1000, output = 0 } }
  near(answer.cost, answer.usage_metadata.input_tokens / 1000)
  t.eq(ask { model = "gpt-4o", price = false }.cost, nil)
  t.raises("price", openai.chat_model, { model = "x", price = 3 })
  t.raises("price", openai.chat_model, { model = "x", price = true })
end)

-- What LangSmith has of a run of `work`: its spans by type.
local function spans_of(work)
  local done = {}
  pcall(trace.run, { name = "sum" }, function()
    done.id = trace.current().trace_id
    work()
  end)
  assert(trace.flush())
  local spans = {}
  for span in langsmith.runs { trace_id = done.id } do spans[span.run_type] = span end
  return spans
end

t.test("embeddings have tokens and a price, too", function()
  local got
  local spans = spans_of(function() got = assert(openai.embeddings { model = "text-embedding-3-small", input = "hello" }) end)
  near(got.cost, got.usage_metadata.input_tokens * prices.of "text-embedding-3-small".input / 1e6)
  near(spans.embedding.outputs.usage_metadata.total_cost, got.cost)
  near(spans.embedding.extra.metadata.usage_metadata.total_cost, got.cost)
end)

t.test("a call that was refused takes no tokens", function()
  local spans = spans_of(function()
    local answer, err = openai.chat_model { model = "no-such-model" }:invoke { { role = "user", content = "hello" } }
    t.eq(answer, nil)
    t.eq(err.status, 404)
  end)
  t.eq(spans.llm.outputs, nil)
end)

t.test("rows by other names", function()
  t.eq(prices.of "openai/gpt-4o-2024-08-06", prices.list["gpt-4o"])
  t.eq(prices.of "claude-sonnet-4-20250514", prices.list["claude-sonnet-4"])
  t.eq(prices.of "gpt-4o-audio-preview", nil)
  t.eq(prices.cost("llama3", 1, 1), nil)
  near(prices.cost("gpt-4o", 1000000, 100000), 3.5)
  for name, row in pairs(prices.list) do
    t.ok(row.input and row.output and row.date and row.input >= (row.cached_input or 0), name)
  end
end)

t.done()
