-- The message store: unpaired calls and results cannot be built, whichever way one tries.
local t = require "testing"
local history = require "agent.history"

local function calling(...)
  local calls = {}
  for i, id in ipairs { ... } do calls[i] = { id = id, name = "f", args = {} } end
  return { role = "assistant", tool_calls = calls }
end

local function roles(list)
  local out = {}
  for i, m in ipairs(list) do out[i] = m.role end
  return table.concat(out, " ")
end

t.test("a conversation in order", function()
  local h = t.ok(history.new()):user "hi":answer(calling "a")
  h:result("a", "1", "f"):answer { role = "assistant", content = "done" }
  h:system "be brief"
  t.eq(roles(h:messages()), "system user assistant tool assistant")
  t.eq(h:messages()[4], { role = "tool", tool_call_id = "a", name = "f", content = "1" })
end)

t.test("the system message is replaced, not added", function()
  local h = t.ok(history.new()):system "one":user "hi":system "two"
  t.eq(roles(h:messages()), "system user")
  t.eq(h:messages()[1].content, "two")
end)

t.test("nothing but results may follow a call", function()
  local h = t.ok(history.new()):user "hi":answer(calling("a", "b"))
  t.raises("wait for their results: a, b", h.user, h, "more")
  t.raises("wait for their results: a, b", h.answer, h, { role = "assistant", content = "x" })
  t.raises("sending while tool calls wait", h.messages, h)
  h:result("b", "2")
  t.raises("results: a$", h.messages, h)
  h:result("a", "1")
  t.eq(#h:messages(), 4)
end)

t.test("a result needs a call, and only one", function()
  local h = t.ok(history.new()):user "hi"
  t.raises("call x, which nobody made", h.result, h, "x", "1")
  h:answer(calling "a"):result("a", "1")
  t.raises("call a, which nobody made", h.result, h, "a", "1")
end)

t.test("calls need ids that differ", function()
  local h = t.ok(history.new()):user "hi"
  t.raises("two tool calls have the id a", h.answer, h, calling("a", "a"))
  h = t.ok(history.new()):user "hi"
  t.raises("without an id", h.answer, h, calling "")
end)

t.test("calls with broken arguments wait too", function()
  local h = t.ok(history.new()):user "hi"
  h:answer { role = "assistant", invalid_tool_calls = { { id = "a", name = "f", arguments = "{" } } }
  t.raises("results: a", h.messages, h)
end)

t.test("close answers what waits", function()
  local h = t.ok(history.new()):user "hi":answer(calling("a", "b")):result("a", "1")
  h:close "stopped"
  t.eq(h:messages()[4].content, "stopped")
  t.eq(h:messages()[4].tool_call_id, "b")
end)

t.test("given messages are checked", function()
  local result = { role = "tool", tool_call_id = "x", content = "1" }
  t.ok(history.new { { role = "user", content = "a" }, calling "x", result })
  t.match(t.err("invalid", history.new { { role = "user", content = "a" }, calling "x" }).message, "no result: x")
  t.match(t.err("invalid", history.new { result }).message, "messages%[1%]")
  t.match(t.err("invalid", history.new { { role = "usr", content = "1" } }).message, "unknown role")
  t.match(t.err("invalid", history.new { "hi" }).message, "messages%[1%]")
  t.err("invalid", history.new { calling "x", { role = "user", content = "a" } })
end)

t.test("the given list is not changed", function()
  local given = { { role = "user", content = "a" } }
  t.ok(history.new(given)):system "s":answer { role = "assistant", content = "b" }
  t.eq(#given, 1)
end)

t.done()
