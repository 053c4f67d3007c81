-- agent{ fallbacks = … }: who is asked after whom, and when nobody else is.
local t = require "testing"
local agent = require "agent"
local testing = require "agent.testing"

local function busy(kind) return testing.fail { kind = kind or "rate_limit", message = "the model is busy" } end

local function run(first, fallbacks, tools)
  return agent { prompt = "p", model = testing.model(first), fallbacks = fallbacks, tools = tools }:run "hi"
end

t.test("the next model answers, with the tools, and stays", function()
  local tool = agent.tool { name = "look", description = "d", class = "read", run = function() return "x" end }
  local second = testing.model { testing.call("look", {}), "done" }
  t.eq(assert(run({ busy(), "never" }, { second }, { tool })).answer, "done")
  t.eq(#second.sent, 2)
  t.eq(#second.sent[1].tools, 1)
end)

t.test("one after another, and the last error when nobody answers", function()
  t.eq(assert(run({ busy "http" }, { testing.model { busy "not_found" }, testing.model { "third" } })).answer, "third")
  local _, err = run({ busy() }, { testing.model { busy "timeout" } })
  t.eq(err.kind, "timeout")
end)

t.test("what no model can mend is not asked again", function()
  for _, kind in ipairs { "invalid", "refused", "cancelled" } do
    local second = testing.model { "no" }
    local _, err = run({ busy(kind) }, { second })
    t.eq(err.kind, kind)
    t.eq(#second.sent, 0)
  end
end)

t.test("names and options of chat_model", function()
  local opts = { model = "llama3", base_url = "http://127.0.0.1:1/v1", retry = false }
  local _, err = run({ busy() }, { opts })
  t.eq(err.kind, "network")
  _, err = run({ busy() }, { "gpt-4o-mini" })
  t.eq(err.kind, "config") -- no key here
end)

t.done()
