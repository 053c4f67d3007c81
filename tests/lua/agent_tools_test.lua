-- Tools: definition, class, dispatch; whatever goes wrong is a result that a model can read.
local t = require "testing"
local host = require "host"
local task = require "host.task"
local parallel = require "agent.parallel"
local tools = require "agent.tools"
local near = require "agent.near"

local function tool(name, run, more)
  local given = { name = name, description = "d", run = run }
  for k, v in pairs(more or {}) do given[k] = v end
  return tools.tool(given)
end

local function box(...) return t.ok(tools.box { ... }) end

local function call(b, name, args)
  return b:call({ id = "c1", name = name, args = args or {} }, { identifier = "u" })
end

t.test("definitions are checked", function()
  local function run() end
  t.raises("unknown field 'nam' %(did you mean 'name'%?%)", tools.tool, { nam = "x" })
  t.raises("field 'description' is missing", tools.tool, { name = "x", run = run })
  t.raises("field 'run' must be a function", tools.tool, { name = "x", description = "d", run = "no" })
  t.raises("letters, digits", tools.tool, { name = "a b", description = "d", run = run })
  t.raises("letters, digits", tools.tool, { name = ("a"):rep(65), description = "d", run = run })
  t.raises("class must be", tools.tool, { name = "a", description = "d", run = run, class = "safe" })
  t.eq(tools.tool({ name = "a", description = "d", run = run }).parameters, { type = "object", properties = {} })
end)

t.test("class: declared, annotated, by name, unsafe", function()
  t.eq(tools.class { name = "send_mail", class = "read" }, "read")
  t.eq(tools.class { name = "x", annotations = { read_only_hint = true } }, "read")
  t.eq(tools.class { name = "x", annotations = { idempotent_hint = true } }, "idempotent")
  t.eq(tools.class { name = "get_x", annotations = { read_only_hint = false } }, "unsafe")
  t.eq(tools.class { name = "get_x", annotations = { destructive_hint = true } }, "unsafe")
  local by_name = {
    gmail_fetch_mails = "read", gmail_list_drafts = "read", get_time = "read", github_issues_list = "read",
    gmail_search_people = "read", gmail_send_message = "unsafe", slack_mark_conversation_read = "unsafe",
    github_repo_star = "unsafe", slack_get_upload_url = "unsafe", budget_total = "unsafe", listen = "unsafe",
    fetch_and_delete = "unsafe",
  }
  for name, class in host.sorted_pairs(by_name) do
    t.eq(name .. " " .. tools.class { name = name }, name .. " " .. class)
  end
end)

t.test("values become text", function()
  local b = box(
    tool("text", function() return "as it is" end),
    tool("object", function() return { b = 1, a = { "x" } } end),
    tool("number", function() return 7 end),
    tool("no", function() return false end),
    tool("nothing", function() end))
  t.eq(call(b, "text").content, "as it is")
  t.eq(call(b, "object").content, '{"a":["x"],"b":1}')
  t.eq(call(b, "number").content, "7")
  t.eq(call(b, "no").content, "false")
  t.match(call(b, "nothing").content, "returned nothing")
end)

t.test("bytes that are no text become text", function()
  local function said(run) return call(box(tool("x", run, { class = "read" })), "x").content end
  t.eq(said(function() return "Gr\252n \0 ende\xc3" end), "Gr\u{FFFD}n \0 ende\u{FFFD}")
  t.eq(said(function() return "\xff\xfe" end), "\u{FFFD}\u{FFFD}")
  t.eq(said(function() return "" end), "")
  t.match(said(function() return nil, "Gr\252n" end), "Gr\u{FFFD}n$")
end)

t.test("a tool that fails gives a result", function()
  local b = box(
    tool("raises", function() error "disk full" end),
    tool("returns", function() return nil, "no such row" end),
    tool("kind", function() return nil, { kind = "timeout", message = "took too long" } end),
    tool("odd", function() return function() end end))
  local out = call(b, "raises")
  t.match(out.content, "^Error: .*disk full")
  t.ok(not out.stop, "stops")
  t.eq(call(b, "returns").content, "Error: no such row")
  t.eq(call(b, "kind").err.kind, "timeout")
  t.match(call(b, "odd").content, "^Error: ")
end)

t.test("what no model can mend stops", function()
  local b = box(tool("pay", function() return nil, { kind = "outcome_unknown", message = "no answer came" } end))
  local out = call(b, "pay")
  t.eq(out.stop, true)
  t.eq(out.err.kind, "outcome_unknown")
end)

t.test("verify: a call that was not carried out is made again, not for ever", function()
  local sent, looked = 0, 0
  local b = box(tool("send", function()
    sent = sent + 1
    return nil, { kind = "outcome_unknown", message = "no answer came" }
  end, { verify = function()
    looked = looked + 1
    return false
  end }))
  local outcome = b:call({ id = "c1", name = "send", args = {} }, { identifier = "u", approve = "auto" })
  t.eq(outcome.err.kind, "outcome_unknown")
  t.eq({ sent, looked }, { 4, 3 })
end)

t.test("what is typed at a question", function()
  local policy = require "agent.policy"
  local function read(line) return { policy.read_answer(line) } end
  t.eq(read "y", { "yes" })
  t.eq(read "  YES ", { "yes" })
  t.eq(read "yes, but to Lee", {})
  t.eq(read "always not", {})
  t.eq(read "a", { "always" })
  t.eq(read "n", { "no" })
  t.eq(read "no not now", { "no", "not now" })
  t.eq(read 'e {"a":[1]}', { "edit", { a = { 1 } } })
  for _, line in ipairs { "e", "e [1]", "e {", "edit 7", "", "yess", "?", "\0y" } do t.eq(read(line), {}) end
end)

t.test("a wait inside a tool", function()
  local b = box(tool("slow", function()
    task.sleep(0.01)
    return "woke"
  end))
  t.eq(call(b, "slow").content, "woke")
end)

t.test("the tool is told who and which", function()
  local b = box(tool("who", function(_, c) return c.identifier .. " " .. c.id .. " " .. c.name end))
  t.eq(call(b, "who").content, "u c1 who")
end)

t.test("an unknown tool names the nearest", function()
  local b = box(tool("gmail_fetch_mails", function() end), tool("gmail_send_message", function() end))
  t.match(call(b, "gmail_fetch_mail").content, "Did you mean gmail_fetch_mails%?")
  t.match(call(b, "fetch_mails").content, "Did you mean gmail_fetch_mails%?")
  t.match(call(b, "zzz").content, "There are: gmail_fetch_mails, gmail_send_message%.")
end)

t.test("missing and wrong arguments", function()
  local ran = 0
  local b = box(tool("count", function() ran = ran + 1 end, {
    parameters = {
      type = "object",
      properties = { text = { type = "string" }, n = { type = { "integer", "null" } } },
      required = { "text" },
    },
  }))
  t.match(call(b, "count").content, "'text' is missing")
  t.match(call(b, "count", { text = 1 }).content, "'text' must be of type string")
  t.match(call(b, "count", { text = "a", n = "b" }).content, "'n' must be of type integer or null")
  t.match(b:call({ id = "c", name = "count" }, {}).content, "must be a JSON object")
  t.eq(ran, 0)
  call(b, "count", { text = "a", n = 2 })
  call(b, "count", { text = "a", n = 2.0, other = {} })
  t.eq(ran, 2)
end)

t.test("broken arguments come back, cut at a character", function()
  local out = tools.broken { id = "c", name = "f", arguments = '{"a": "b', error = "string not closed at byte 7" }
  t.match(out.content, "byte 7")
  t.ok(out.content:find('{"a": "b', 1, true), "raw text is missing")
  local long = tools.broken { id = "c", name = "f", arguments = ("x"):rep(499) .. "é" .. ("y"):rep(500), error = "e" }
  t.match(long.content, "the first 500 bytes")
  t.ok(not long.content:find "yy", "not cut")
  t.ok(utf8.len(long.content), "cut inside a character")
end)

t.test("two tools of one name", function()
  local a = tool("a", function() end)
  t.match(t.err("config", tools.box({ a }, { a })).message, "two tools are called 'a'")
end)

t.test("groups: neighbours that read", function()
  local function class(name) return name:sub(1, 1) == "r" and "read" or "unsafe" end
  local calls = {}
  for i, name in ipairs { "r1", "r2", "w1", "w2", "r3" } do calls[i] = { name = name } end
  local shape = {}
  for _, group in ipairs(parallel.groups(calls, class)) do
    local names = {}
    for i, c in ipairs(group) do names[i] = c.name end
    shape[#shape + 1] = table.concat(names, "+")
  end
  t.eq(table.concat(shape, " "), "r1+r2 w1 w2 r3")
end)

t.test("reads run side by side, results in call order", function()
  local open, most, ended = 0, 0, {}
  local function run(c)
    open = open + 1
    most = math.max(most, open)
    task.sleep(c.wait)
    open = open - 1
    ended[#ended + 1] = c.name
    return { call = c }
  end
  local calls = { { name = "a", wait = 0.05 }, { name = "b", wait = 0.001 } }
  local out = parallel.run(calls, function() return "read" end, run)
  t.eq({ out[1].call.name, out[2].call.name }, { "a", "b" })
  t.eq(ended, { "b", "a" })
  t.eq(most, 2)
  most, ended = 0, {}
  parallel.run(calls, function() return "unsafe" end, run)
  t.eq(ended, { "a", "b" })
  t.eq(most, 1)
end)

t.test("what stops, stops what comes after", function()
  local ran = {}
  local calls = { { name = "a" }, { name = "b" }, { name = "c" } }
  local out, stopped = parallel.run(calls, function() return "unsafe" end, function(c)
    ran[#ran + 1] = c.name
    return { call = c, stop = c.name == "b" }
  end)
  t.eq(ran, { "a", "b" })
  t.eq(#out, 2)
  t.eq(stopped.call.name, "b")
end)

t.test("near", function()
  t.eq(near.distance("abc", "abc"), 0)
  t.eq(near.distance("abc", "acb"), 1)
  t.eq(near.distance("", "abc"), 3)
  t.eq(near.hint("promt", { "prompt", "name" }), " (did you mean 'prompt'?)")
  t.eq(near.hint("xyz", { "prompt" }), "")
end)

t.done()
