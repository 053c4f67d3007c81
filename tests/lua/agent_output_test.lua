-- agent{ output = schema }: the value, one repair round, and the error when that does not help.
local t = require "testing"
local agent = require "agent"
local testing = require "agent.testing"

local schema = {
  type = "object", required = { "name" },
  properties = { name = { type = "string" }, age = { type = "integer" } },
}

local function run(answers, tools)
  local model = testing.model(answers)
  local value = agent { prompt = "p", model = model, output = schema, tools = tools }
  local result, err = value:run "who?"
  return result, err, model
end

t.test("the answer is a value", function()
  local result = assert((run { '{"name":"Jo","age":null}' }))
  t.eq(result.output, { name = "Jo" })
  t.eq(result.answer, '{"name":"Jo","age":null}')
end)

t.test("a wrong answer is told what is wrong, once", function()
  local result, _, model = run { '{"age":"old"}', '{"name":"Jo"}' }
  t.eq(assert(result).output, { name = "Jo" })
  local told = model.sent[2].messages
  t.match(told[#told].content, "'name' is missing; 'age' must be of type integer")
  t.eq(result.steps, 2)
end)

t.test("two wrong answers end the run", function()
  local _, err = run { "I do not know", "really not" }
  t.eq(err.kind, "invalid_output")
  t.match(err.message, "no JSON")
  t.eq(err.partial.answer, "really not")
end)

t.test("calls come before the answer", function()
  local tool = agent.tool { name = "look", description = "d", class = "read", run = function() return "Jo" end }
  local result = run({ testing.call("look", {}), '{"name":"Jo"}' }, { tool })
  t.eq(assert(result).output.name, "Jo")
end)

t.test("a schema that cannot be strict is a mistake in the script", function()
  t.raises("agent: output: the schema at a cannot be strict", function()
    return agent { output = { type = "object", properties = { a = { type = "object" } } } }
  end)
end)

t.done()
