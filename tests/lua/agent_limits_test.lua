-- Budgets, circles, long results, long conversations: what keeps an agent within bounds.
local t = require "testing"
local agent = require "agent"
local context = require "agent.context"
local limits = require "agent.limits"
local host = require "host"
local results = require "agent.results"
local task = require "host.task"
local testing = require "agent.testing"

local function tool(name, run, class)
  return agent.tool {
    name = name, description = "d", class = class or "read", run = run,
    parameters = { type = "object", properties = { text = { type = "string" } } },
  }
end

local echo = tool("echo", function(args) return args.text end)

local function play(answers, more)
  local model = testing.model(answers)
  local spec = { model = model, tools = { echo }, prompt = "Be brief.", input = "go" }
  for k, v in pairs(more or {}) do spec[k] = v end
  local result, err = agent(spec):run()
  return result, err, model
end

local function using(content, input, output, cost)
  return { content = content, usage_metadata = { input_tokens = input, output_tokens = output,
    total_tokens = input + output }, cost = cost }
end

local function calling(name, args, input, output, cost)
  local message = using(nil, input, output, cost)
  message.tool_calls = { { id = "c" .. tostring(args.text), name = name, args = args, arguments = "{}" } }
  return message
end

-- ## tokens and money

t.test("tokens: a call that does not fit is not made; what there was is returned", function()
  local result, err, model = play({ calling("echo", { text = "a" }, 900, 50), "never asked" }, { limits = { tokens = 1000 } })
  t.err("budget", result, err)
  t.eq(err.code, "tokens")
  t.eq(#model.sent, 1)
  t.eq(err.partial.usage.total_tokens, 950)
  t.match(err.message, "limits.tokens")
end)

t.test("tokens: before the budget is used up, one last answer in words", function()
  local result, err, model = play({ calling("echo", { text = "a" }, 500, 50), using("so far: a", 100, 10) },
    { limits = { tokens = 1500 } })
  t.err("budget", result, err)
  t.eq(err.partial.answer, "so far: a")
  t.eq(#model.sent, 2)
  t.eq(err.partial.usage.total_tokens, 660)
end)

t.test("tokens: the answer may be as long as what is left", function()
  local asked
  local model = { bind_tools = function(self) return self end }
  function model.invoke(_, _, opts)
    asked = opts
    return { role = "assistant", content = "ok", tool_calls = {}, invalid_tool_calls = {} }
  end
  t.ok(agent { model = model, prompt = "p", input = "go", limits = { tokens = 1000 } }:run())
  t.ok(asked.max_tokens <= 1000 and asked.max_tokens >= 900, tostring(asked.max_tokens))
  t.ok(agent { model = model, prompt = "p", input = "go", limits = { tokens = 1000, answer_tokens = 200 } }:run())
  t.eq(asked.max_tokens, 200)
  t.ok(agent { model = model, prompt = "p", input = "go" }:run())
  t.eq(asked, nil)
end)

t.test("money: spent is spent; an unknown price ends the run", function()
  local result, err = play({ calling("echo", { text = "a" }, 10, 10, 0.6), calling("echo", { text = "b" }, 10, 10, 0.6),
    "never" }, { limits = { cost = 1 } })
  t.err("budget", result, err)
  t.eq(err.code, "cost")
  t.eq(err.partial.usage.cost, 1.2)
  result, err = play({ calling("echo", { text = "a" }, 10, 10), "never" }, { limits = { cost = 1 } })
  t.err("budget", result, err)
  t.eq(err.code, "cost_unknown")
end)

-- Two callers of one budget, each of which wants more than half: the second waits for the first to settle.
t.test("reservations: side by side they do not overrun together", function()
  local one = limits.open { tokens = 3000, answer_tokens = 900 }
  local running, most, made = 0, 0, 0
  local function ask()
    running = running + 1
    most = math.max(most, running)
    task.sleep(0.005)
    running = running - 1
    made = made + 1
    return { usage_metadata = { input_tokens = 300, output_tokens = 300, total_tokens = 600 } }
  end
  local question = { messages = { { role = "user", content = ("x"):rep(1500) } }, tools = {} }
  local jobs = {}
  for i = 1, 6 do jobs[i] = function() return (one:ask(question, ask)) and 1 or 0 end end
  local done = 0
  for _, n in ipairs(task.all(jobs)) do done = done + n end
  t.eq(most, 2)
  t.eq(done, made)
  t.ok(one.usage.total_tokens <= 3000, "overrun: " .. one.usage.total_tokens)
  t.ok(made >= 3, "too careful: " .. made)
  t.eq(one.own.held.tokens, 0)
end)

t.test("reservations: a call that fails or is cancelled gives its share back", function()
  local one = limits.open { tokens = 3000, answer_tokens = 1000 }
  local question = { messages = { { role = "user", content = "x" } }, tools = {} }
  local _, err = one:ask(question, function() return nil, { kind = "network", message = "m" } end)
  t.eq(err.kind, "network")
  t.eq((task.timeout(0.001, one.ask, one, question, function() task.sleep(10) end)), nil)
  pcall(one.ask, one, question, function() error "boom" end)
  t.eq(one.own.held.tokens, 0)
  t.eq(one.usage.total_tokens, 0)
end)

-- ## time, calls, tools

t.test("time: a read that takes too long is stopped, an unsafe call is let finish", function()
  local slow = tool("slow", function() task.sleep(30) return "late" end)
  local result, err = play({ testing.call("slow", {}), "never" }, { tools = { slow }, limits = { time = 0.05 } })
  t.err("time_limit", result, err)
  local sent = tool("send", function() task.sleep(0.1) return "sent" end, "unsafe")
  result, err = play({ testing.call("send", {}), "never" }, { tools = { sent }, limits = { time = 0.05 } })
  t.err("time_limit", result, err)
  t.eq(err.partial.messages[4].content, "sent")
end)

t.test("time: a model that thinks too long", function()
  local model = { bind_tools = function(self) return self end, invoke = function() task.sleep(30) end }
  t.err("time_limit", agent { model = model, prompt = "p", input = "go", limits = { time = 0.02 } }:run())
end)

t.test("calls of all tools, and of one", function()
  local result, err = play({ testing.call("echo", { text = "1" }), testing.call("echo", { text = "2" }), "the end" },
    { limits = { calls = 1 } })
  t.err("budget", result, err)
  t.eq(err.code, "calls")
  t.eq(err.partial.answer, "the end")
  local again, _, model = play({ { testing.call("echo", { text = "1" }), testing.call("echo", { text = "2" }) }, "done" },
    { limits = { tools = { echo = 1 } } })
  t.eq(again.answer, "done")
  t.match(model.sent[2].messages[5].content, "may be called 1 times")
end)

-- ## circles

t.test("circles: told once, then ended", function()
  local call = testing.call("echo", { text = "same" })
  local result, err, model = play { call, call, call, call, "never" }
  t.err("loop", result, err)
  t.match(err.message, "echo 4 times")
  t.eq(#model.sent, 4)
  local told = model.sent[4].messages
  t.match(told[#told].content, "exactly this result 3 times")
  t.eq(told[#told - 2].content, "same")
end)

t.test("circles: other results or other arguments are none", function()
  local n = 0
  local poll = tool("poll", function() n = n + 1 return "state " .. n end)
  local call = testing.call("poll", {})
  t.eq(play({ call, call, call, call, call, "ok" }, { tools = { poll } }).answer, "ok")
  local same = testing.call("echo", { text = "same" })
  t.eq(play({ same, same, same, same, "ok" }, { limits = { repeats = 5 } }).answer, "ok")
end)

t.test("circles: a result that is too long to be shown whole is the same result all the same", function()
  local get = tool("get", function() return ("x"):rep(3000) end)
  local call = testing.call("get", {})
  t.err("loop", play({ call, call, call, call, "never" }, { tools = { get }, result_bytes = 500 }))
end)

-- ## long results

t.test("long results: head and tail, and a tool that reads the rest", function()
  local text = {}
  for i = 1, 5000 do text[i] = ("line %d ä"):format(i) end
  local long = table.concat(text, "\n")
  local get = tool("get", function() return long end)
  local id = "result_" .. host.sha256(long):sub(1, 8)
  local result, _, model = play({ testing.call("get", {}), testing.call("read_result", { id = id, from = 600 }),
    testing.call("read_result", { id = "result_9" }), "ok" }, { tools = { get }, result_bytes = 1000 })
  t.eq(result.answer, "ok")
  local shown = model.sent[2].messages[4].content
  t.ok(#shown < 1400, #shown)
  t.ok(utf8.len(shown), "cut inside a character")
  t.match(shown, "^line 1 ä")
  t.match(shown, "line 5000 ä$")
  t.match(shown, ("of %d bytes are left out"):format(#long))
  t.eq(#model.sent[1].tools, 1)
  t.eq(model.sent[2].tools[2].name, "read_result")
  t.match(model.sent[3].messages[6].content, "goes on at byte 1%d%d%d of")
  t.match(model.sent[4].messages[8].content, "no long result 'result_9'")
end)

t.test("long results: all of it can be read, whatever the bytes", function()
  for _, long in ipairs { ("ä"):rep(2000), ("\200"):rep(3000), ("x"):rep(2999) } do
    local kept = results.new(500)
    local shown = kept:shorten(long)
    local id = shown:match 'id "(result_%x+)"'
    t.ok(#shown < 800)
    t.eq(kept:shorten(long), shown)
    local got, at = {}, 1
    while at do
      local part = kept:tool().run { id = id, from = at, bytes = 333 }
      got[#got + 1] = part:match "^(.*)\n%["
      at = math.tointeger(part:match "goes on at byte (%d+)")
    end
    t.eq(table.concat(got), long)
  end
  local kept = results.new(500)
  t.eq(kept:shorten(("x"):rep(500)), ("x"):rep(500))
  t.eq(kept:tool(), nil)
end)

-- ## long conversations

local function overflow() return testing.fail { kind = "context_overflow", message = "too long" } end

t.test("overflow: made shorter once, then asked again", function()
  local answers = {}
  for i = 1, 6 do answers[i] = testing.call("echo", { text = ("%d "):format(i):rep(2000) }) end
  answers[7], answers[8] = overflow(), "made it"
  local events = {}
  local result, _, model = play(answers, { on_event = function(e) events[#events + 1] = e.type == "compacted" and e or nil end })
  t.eq(result.answer, "made it")
  t.eq(#events, 1)
  local sent = model.sent[8].messages
  t.ok(#sent < #model.sent[7].messages, "not shorter")
  t.eq(sent[1].role, "system")
  t.eq(sent[2].content, "go")
  t.match(sent[3].content, "4 earlier steps")
  t.ok(#sent[5].content < 2200, "an older result is shortened")
  t.eq(#sent[7].content, 4000)
end)

t.test("overflow: a second time it is an error", function()
  local result, err = play { overflow(), overflow(), "never" }
  t.err("context_overflow", result, err)
end)

t.test("overflow: a function of the script's own, held to the rules", function()
  local function keep_last(messages) return { messages[1], messages[#messages] } end
  local result = play({ overflow(), "ok" }, { compact = keep_last })
  t.eq(result.answer, "ok")
  local err
  result, err = play({ testing.call("echo", { text = "x" }), overflow(), "never" }, { compact = keep_last })
  t.err("invalid", result, err)
  t.match(err.message, "nobody made")
  result, err = play({ overflow(), "never" }, { compact = function() error "mine" end })
  t.err("script", result, err)
end)

t.test("rounds are not parted", function()
  local list = {
    { role = "system" }, { role = "user" }, { role = "assistant", tool_calls = { {}, {} } }, { role = "tool" }, { role = "tool" },
    { role = "assistant" },
  }
  local rounds = context.rounds(list)
  t.eq(#rounds, 4)
  t.eq(#rounds[3], 3)
end)

t.done()
