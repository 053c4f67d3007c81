-- The loop, with a model that is a list of answers.
local t = require "testing"
local host = require "host"
local agent = require "agent"
local task = require "host.task"
local testing = require "agent.testing"

local function echo(class)
  return agent.tool {
    name = "echo", description = "d", class = class or "read",
    parameters = { type = "object", properties = { text = { type = "string" } } },
    run = function(args)
      if args.text == "boom" then error "boom" end
      if args.wait then task.sleep(args.wait) end
      return args.text
    end,
  }
end

-- Runs an agent over the answers; returns result, err, model.
local function play(answers, more)
  local model = testing.model(answers)
  local spec = { model = model, tools = { echo() }, prompt = "Be brief.", input = "go" }
  for k, v in pairs(more or {}) do spec[k] = v end
  local result, err = agent(spec):run()
  return result, err, model
end

local function last_results(model, n)
  local out = {}
  for _, m in ipairs(model.sent[n or #model.sent].messages) do
    if m.role == "tool" then out[#out + 1] = m.content end
  end
  return out
end

t.test("fields are checked where the script stands", function()
  t.raises("agent_loop_test.lua:%d+: agent: unknown field 'conectors' %(did you mean 'connectors'%?%)", function()
    agent { conectors = { "gmail" } }
  end)
  t.raises("'connectors' must be a list", function() agent { connectors = "gmail" } end)
  t.raises("'steps' must be a whole number", function() agent { limits = { steps = 0 } } end)
  t.raises("limits: unknown field 'step'", function() agent { limits = { step = 1 } } end)
  t.raises("cost must be above 0", function() agent { limits = { cost = 0 } } end)
  t.raises("tools must be { name", function() agent { limits = { tools = { echo = "x" } } } end)
  t.raises("connectors%[1%] must be the name", function() agent { connectors = { 5 } } end)
  t.raises("connectors%[1%]: unknown field 'tool'", function()
    agent { connectors = { { connection = "x", tool = {} } } }
  end)
  t.raises("agent_loop_test.lua:%d+: agent: tool: field 'run' is missing", function()
    agent { tools = { { name = "x", description = "d" } } }
  end)
  t.raises("takes one table", function() agent "gmail" end)
end)

t.test("a mistake in `return agent{…}` names the script, as Lua keeps no line of it", function()
  local function script() return agent { promt = "x" } end
  t.raises(": agent: unknown field 'promt'", script)
end)

t.test("building runs nothing, and keeps a copy", function()
  local model = testing.model { "hi" }
  local spec = { model = model, input = "go", prompt = "p" }
  local value = agent(spec)
  spec.input = nil
  t.eq(#model.sent, 0)
  t.eq(t.ok(value:run()).answer, "hi")
end)

t.test("an answer at once", function()
  local result, _, model = play { "hello" }
  t.eq(result.answer, "hello")
  t.eq(result.steps, 1)
  t.eq(model.sent[1].messages, { { role = "system", content = "Be brief." }, { role = "user", content = "go" } })
  t.eq(model.sent[1].tools[1].name, "echo")
  t.eq(result.usage.total_tokens, 15)
end)

t.test("the given input wins, and none is an error", function()
  local model = testing.model { "a" }
  t.ok(agent { model = model, prompt = "p", input = "x" }:run "y")
  t.eq(model.sent[1].messages[2].content, "y")
  t.match(t.err("config", agent { model = model, prompt = "p" }:run()).message, "no task")
end)

t.test("a call and its result", function()
  local result, _, model = play { testing.call("echo", { text = "ping" }), "pong" }
  t.eq(result.answer, "pong")
  t.eq(result.steps, 2)
  t.eq(result.usage.total_tokens, 30)
  t.eq(last_results(model), { "ping" })
  local sent = model.sent[2].messages
  t.eq(sent[4].tool_call_id, sent[3].tool_calls[1].id)
end)

t.test("several calls: side by side, results in their order", function()
  local seen = {}
  local result, _, model = play({
    { testing.call("echo", { text = "slow", wait = 0.05 }), testing.call("echo", { text = "quick", wait = 0.001 }) },
    "done",
  }, {
    on_event = function(event)
      if event.type == "tool_result" then seen[#seen + 1] = event.content end
    end,
  })
  t.ok(result)
  t.eq(last_results(model), { "slow", "quick" })
  t.eq(seen, { "quick", "slow" })
end)

t.test("unknown tool, failing tool, wrong arguments: the model reads of them and goes on", function()
  local result, _, model = play {
    { testing.call("ehco", {}), testing.call("echo", { text = "boom" }), testing.call("echo", { text = 5 }) },
    "sorry",
  }
  t.eq(result.answer, "sorry")
  local got = last_results(model)
  t.match(got[1], "Did you mean echo")
  t.match(got[2], "^Error: .*boom")
  t.match(got[3], "must be of type string")
end)

t.test("cut arguments are fed back twice, not for ever", function()
  local bad = testing.broken_call("echo", '{"text": "half', "string not closed at byte 15")
  local result, _, model = play { bad, bad, "fine" }
  t.eq(result.answer, "fine")
  t.match(last_results(model, 2)[1], "byte 15.*half")

  local none, err, again = play { bad, bad, bad, "never asked" }
  t.eq(t.err("invalid_output", none, err).code, "invalid_tool_calls")
  t.eq(#again.sent, 3)
  t.eq(again:left(), 1)
end)

t.test("a good round between counts anew", function()
  local bad, good = testing.broken_call("echo", "{"), testing.call("echo", { text = "ok" })
  t.eq(t.ok((play { bad, bad, good, bad, bad, "fine" })).answer, "fine")
end)

t.test("whole calls beside broken ones run", function()
  local _, _, model = play { { testing.call("echo", { text = "ok" }), testing.broken_call("echo", "{") }, "fine" }
  local got = last_results(model)
  t.eq(#got, 2)
  t.eq(table.concat(got, "\n"):find("ok", 1, true) ~= nil, true)
end)

t.test("an answer cut at its length runs no call", function()
  local ran = 0
  local tool = agent.tool { name = "pay", description = "d", run = function() ran = ran + 1 end }
  local cut = {
    tool_calls = { { id = "c1", name = "pay", args = {}, arguments = "{}" } },
    response_metadata = { finish_reason = "length" },
  }
  local result, _, model = play({ cut, "ok" }, { tools = { tool } })
  t.eq(result.answer, "ok")
  t.eq(ran, 0)
  t.match(last_results(model)[1], "was not run.*length limit")
end)

t.test("a cut answer without calls is no answer", function()
  local err = t.err("truncated", play { { content = "half of", response_metadata = { finish_reason = "length" } } })
  t.eq(err.partial.answer, "half of")
end)

t.test("refusals", function()
  t.match(t.err("refused", play { { refusal = "I cannot." } }).message, "I cannot")
  t.err("refused", play { { content = "", response_metadata = { finish_reason = "content_filter" } } })
end)

t.test("the step limit leaves what there was", function()
  local answers = {}
  for i = 1, 3 do answers[i] = testing.call("echo", { text = "step " .. i }) end
  answers[4] = "as far as I know"
  local result, err, model = play(answers, { limits = { steps = 3 } })
  t.err("step_limit", result, err)
  t.eq(err.partial.steps, 3)
  t.eq(err.partial.answer, "as far as I know")
  t.eq(err.partial.usage.model_calls, 4)
  t.eq(err.partial.messages[#err.partial.messages].role, "assistant")
  t.match(model.sent[4].messages[#model.sent[4].messages].content, "limit of this run")
  t.match(err.message, "3 steps")
end)

t.test("a last answer that calls a tool all the same: the call gets its result, and is not run", function()
  local ran = 0
  local count = agent.tool { name = "count", description = "d", class = "read", run = function() ran = ran + 1 return ran end }
  local call = testing.call("count", {})
  local err = t.err("step_limit", play({ call, call }, { tools = { count }, limits = { steps = 1 } }))
  t.eq(ran, 1)
  t.eq(err.partial.answer, nil)
  t.match(err.partial.messages[#err.partial.messages].content, "not run")
end)

t.test("25 steps by default", function()
  local answers = {}
  for i = 1, 30 do answers[i] = testing.call("echo", { text = "x" .. i }) end
  local _, err, model = play(answers)
  t.eq(err.kind, "step_limit")
  t.eq(#model.sent, 26) -- and one for the last answer
end)

t.test("an unsafe call of unknown outcome ends the run and is not repeated", function()
  local ran = {}
  local pay = agent.tool {
    name = "pay", description = "d",
    run = function(args)
      ran[#ran + 1] = args.to
      if args.to == "b" then return nil, { kind = "outcome_unknown", message = "sent, and no answer came" } end
      return "paid"
    end,
  }
  local _, err, model = play({
    { testing.call("pay", { to = "a" }), testing.call("pay", { to = "b" }), testing.call("pay", { to = "c" }) },
    "never asked",
  }, { tools = { pay } })
  t.eq(err.kind, "outcome_unknown")
  t.eq(ran, { "a", "b" })
  t.eq(#model.sent, 1)
  local messages = err.partial.messages
  t.eq(messages[#messages - 2].content, "paid")
  t.match(messages[#messages - 1].content, "no answer came")
  t.match(messages[#messages].content, "was not run")
end)

t.test("an error of the model comes out as it is", function()
  local err = t.err("rate_limit", play { testing.fail { kind = "rate_limit", message = "slow down", status = 429 } })
  t.eq(err.status, 429)
  t.eq(#err.partial.messages, 2)
end)

t.test("going on with an earlier conversation", function()
  local model = testing.model { "first", "second" }
  local a = agent { model = model, prompt = "p" }
  local one = t.ok(a:run "one")
  local two = t.ok(a:run("two", { messages = one.messages }))
  t.eq(two.answer, "second")
  t.eq(#model.sent[2].messages, 4)
  t.eq(#one.messages, 3)
  t.err("invalid", a:run("three", { messages = { { role = "tool", tool_call_id = "x", content = "1" } } }))
  t.raises("run: unknown field 'mesages'", a.run, a, "x", { mesages = {} })
end)

t.test("events", function()
  local types = {}
  t.ok((play({ testing.call("echo", { text = "x" }), "done" }, {
    on_event = function(e) types[#types + 1] = e.type end,
  })))
  t.eq(table.concat(types, " "), "step answer tool_call tool_result step answer")
end)

t.test("several agents at once do not mix", function()
  local jobs, models = {}, {}
  for i = 1, 5 do
    models[i] = testing.model { testing.call("echo", { text = "t" .. i, wait = 0.01 }), "answer " .. i }
    local a = agent { model = models[i], tools = { echo() }, prompt = "p" }
    jobs[i] = function() return assert(a:run("task " .. i)).answer end
  end
  t.eq(task.all(jobs), { "answer 1", "answer 2", "answer 3", "answer 4", "answer 5" })
  for i, model in ipairs(models) do t.eq(last_results(model), { "t" .. i }) end
end)

t.test("the prompt is read again between steps", function()
  local path = "/tmp/agenthost-test-" .. host.uuid() .. ".md"
  local function write(text)
    local f = assert(io.open(path, "w"))
    f:write(text)
    f:close()
  end
  write "before"
  local result, _, model = play({
    function()
      write "after"
      return testing.call("echo", { text = "x" })
    end,
    "done",
  }, { prompt = path })
  os.remove(path)
  t.ok(result)
  t.eq(model.sent[1].messages[1].content, "before")
  t.eq(model.sent[2].messages[1].content, "after")
end)

t.test("a variable that nobody gave stops before the model is asked", function()
  local _, err, model = play({ "x" }, { prompt = "Hi {{nobody_here}}" })
  t.eq(err.kind, "config")
  t.match(err.message, "^prompt:1: no value for {{nobody_here}}")
  t.eq(#model.sent, 0)
end)

t.test("no identifier, no connector: fine; a connector without one: an error that says what to do", function()
  t.ok((play { "x" }))
  local script = require "host.script"
  if script.identifier() then return end
  local _, err = play({ "x" }, { connectors = { "gmail" } })
  t.eq(err.kind, "config")
  t.match(err.message, "%-%-user")
end)

t.done()
