-- Sessions: what is kept of a conversation, and who may go on with it.
local t = require "testing"
local agent = require "agent"
local session = require "host.session"
local task = require "host.task"
local testing = require "agent.testing"

local call = testing.call

local function roles(list)
  local out = {}
  for i, m in ipairs(list) do out[i] = m.role end
  return table.concat(out, " ")
end

local echo = {
  name = "echo", description = "Says it again.", class = "read",
  parameters = { type = "object", properties = { text = { type = "string" } } },
  run = function(args) return args.text or "" end,
}

-- An agent whose model gives these answers.
local function speaker(name, answers, more)
  local model = testing.model(answers)
  local spec = { model = model, prompt = "Be brief.", tools = { echo }, session = name }
  for k, v in pairs(more or {}) do spec[k] = v end
  return agent(spec), model
end

t.test("a run begins it, the next goes on with it", function()
  t.ok(speaker("two", { call("echo", { text = "a" }), "one" }):run "first")
  local second, model = speaker("two", { "two" })
  local result = t.ok(second:run "second")
  t.eq(roles(model.sent[1].messages), "system user assistant tool assistant user")
  t.eq(model.sent[1].messages[4].content, "a")
  t.eq(model.sent[1].messages[1].content, "Be brief.")
  t.eq(result.answer, "two")
  local rows = t.ok(session.read "two")
  local steps = {}
  for i, row in ipairs(rows) do steps[i] = row.step .. row.message.role end
  t.eq(table.concat(steps, " "), "1user 2assistant 2tool 3assistant 4user 5assistant")
end)

t.test("the system message is the prompt of the run, and is not kept", function()
  t.ok(speaker("prompts", { "a" }, { prompt = "Old." }):run "x")
  local now, model = speaker("prompts", { "b" }, { prompt = "New." })
  t.ok(now:run "y")
  t.eq(model.sent[1].messages[1], { role = "system", content = "New." })
  t.eq(roles(model.sent[1].messages), "system user assistant user")
end)

t.test("the option of run wins over the field; messages beside it are a mistake", function()
  local one = speaker("field", { "a" })
  t.ok(one:run("x", { session = "option" }))
  t.eq(#t.ok(session.read "option"), 2)
  t.err("not_found", session.read "field")
  t.raises("cannot be given together", one.run, one, "x", { session = "option", messages = {} })
  t.eq(t.ok(session.list())[1].busy, false)
end)

t.test("each identifier has its own", function()
  t.ok(speaker("mine", { "for ann" }):run("hello", { identifier = "ann" }))
  t.err("not_found", session.read("mine", { identifier = "bob" }))
  t.err("not_found", session.fork { name = "mine", to = "his", identifier = "bob" })
  t.err("not_found", session.remove { name = "mine", identifier = "bob" })
  t.err("not_found", session.open { name = "mine", identifier = "bob", must_exist = true })
  local bob, model = speaker("mine", { "for bob" })
  t.ok(bob:run("hello", { identifier = "bob" }))
  t.eq(roles(model.sent[1].messages), "system user")
  t.eq(#t.ok(session.read("mine", { identifier = "ann" })), 2)
  local names = {}
  for i, s in ipairs(t.ok(session.list { identifier = "ann" })) do names[i] = s.name end
  t.eq(names, { "mine" })
end)

t.test("a fork shares the steps up to one, and goes its own way", function()
  t.ok(speaker("trunk", { call("echo", { text = "a" }), "one", "two" }):run "first")
  t.ok(session.fork { name = "trunk", to = "branch", at = 2 })
  local branch, model = speaker("branch", { "else" })
  t.ok(branch:run "other")
  t.eq(roles(model.sent[1].messages), "system user assistant tool user")
  t.eq(#t.ok(session.read "trunk"), 4)
  t.eq(#t.ok(session.read "branch"), 5)
  local listed
  for _, s in ipairs(t.ok(session.list())) do if s.name == "branch" then listed = s end end
  t.eq({ listed.forked_from, listed.forked_at, listed.steps }, { "trunk", 2, 4 })
  t.ok(session.remove { name = "trunk" })
  t.eq(#t.ok(session.read "branch"), 5, "a fork outlives what it was forked from")
  t.err("not_found", session.read "trunk")
end)

t.test("forks that cannot be", function()
  t.ok(speaker("short", { "a" }):run "x")
  local _, err = session.fork { name = "short", to = "long", at = 3 }
  t.match(err.message, "has 2 steps, so there is no step 3")
  t.err("config", session.fork { name = "short", to = "short" })
  t.err("not_found", session.fork { name = "nowhere", to = "long" })
  t.err("config", session.fork { name = "short", to = "" })
  t.raises("at: a step", session.fork, { name = "short", to = "x", at = -1 })
  t.raises("unknown field 'too'", session.fork, { name = "short", too = "x" })
end)

t.test("names", function()
  for _, name in ipairs { "", "a\nb", "\27[31m", "\xff\xfe", ("x"):rep(101) } do
    t.err("config", session.open { name = name })
  end
  t.raises("holds no NUL", session.open, { name = "a\0b" })
  t.raises("holds no NUL", session.read, "a\0b")
  for _, name in ipairs { "a b", "größe", "../x", "%s", "' OR 1=1 --", ("x"):rep(100) } do
    local opened = t.ok(session.open { name = name })
    t.eq(opened.name, name)
    session.close(opened.key)
    t.ok(session.remove { name = name })
  end
end)

t.test("one at a time in a script", function()
  local hold = task.event()
  local slow = speaker("held", { function() hold:wait() return "a" end })
  local other = speaker("held", { "b" })
  local running = task.spawn(function() return slow:run "x" end)
  task.sleep(0)
  local _, err = other:run "y"
  t.eq({ err.kind, err.code }, { "config", "session_busy" })
  hold:set()
  t.ok(running:wait())
  t.ok(other:run "y")
end)

t.test("a run that is cut leaves a session that can be gone on with", function()
  local never = task.event()
  local cut = speaker("cut", { call("hang", {}) }, {
    tools = { { name = "hang", description = "Hangs.", class = "read", run = function() never:wait() end } },
  })
  task.timeout(0.05, function() cut:run "x" end)
  local rows = t.ok(session.read "cut")
  t.eq(#rows, 2)
  t.eq(rows[2].message.tool_calls[1].name, "hang")
  local after, model = speaker("cut", { "b" })
  t.ok(after:run "y")
  t.eq(roles(model.sent[1].messages), "system user assistant tool user")
  t.match(model.sent[1].messages[4].content, "may have been carried out")
  t.eq(t.ok(session.read "cut")[3].step, 2)
end)

t.test("a conversation that was made shorter begins anew for the model, and is whole in the list", function()
  local overflow = testing.fail { kind = "context_overflow", message = "too long" }
  local small, model = speaker("small", { call("echo", { text = "a" }), overflow, "short", "more" }, {
    compact = function(messages) return { messages[1], { role = "user", content = "all of it" } } end,
  })
  t.ok(small:run "x")
  t.ok(small:run "y")
  t.eq(roles(model.sent[4].messages), "system user assistant user")
  t.eq(model.sent[4].messages[2].content, "all of it")
  local rows = t.ok(session.read "small")
  t.eq(rows[4].messages, { { role = "user", content = "all of it" } })
  t.eq(rows[1].message.content, "x")
end)

t.test("append: behind the tip only, and once", function()
  local s = t.ok(session.open { name = "rows" })
  local one = { { role = "user", content = "a" } }
  local tip = t.ok(session.append(s.key, s.tip, one))
  t.eq(session.append(s.key, s.tip, one), tip, "the same again: a run that crashed before it knew")
  local _, err = session.append(s.key, s.tip, { { role = "user", content = "b" } })
  t.eq({ err.kind, err.code }, { "config", "session_moved" })
  t.err("not_found", session.append(12345, 0, one))
  t.raises("list of messages", session.append, s.key, tip, {})
  t.raises("table expected", session.append, s.key, tip, { "x" })
  t.raises("function", session.append, s.key, tip, { { role = "user", content = print } })
  t.eq(#t.ok(session.read "rows"), 1)
  session.close(s.key)
  session.close(s.key)
end)

t.test("secrets are masked", function()
  local s = t.ok(session.open { name = "masked" })
  t.ok(session.append(s.key, s.tip, { { role = "user", content = "it is token-for-tests-123456" } }))
  session.close(s.key)
  local text = t.ok(session.read "masked")[1].message.content
  t.ok(not text:find("token-for-tests", 1, true), text)
end)

t.test("a limit's last words are not kept", function()
  local one = speaker("limited", { call("echo", { text = "a" }), "last words" }, { limits = { steps = 1 } })
  local _, err = one:run "x"
  t.eq(err.kind, "step_limit")
  t.eq(err.partial.answer, "last words")
  t.eq(#t.ok(session.read "limited"), 3)
end)

t.done()
