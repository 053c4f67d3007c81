-- run: --emulate --scripts examples
-- Each example, run in this process against the emulator: what it prints, and what an agent answers.
local t = require "testing"
local host = require "host"
local script = require "host.script"

local real_print, real_io = print, io

-- Runs one example; returns what it printed, and its value.
local function run(name)
  local chunk = assert(script.load("examples/" .. name))
  local out = {}
  print = function(...)
    local words = table.pack(...)
    for i = 1, words.n do words[i] = tostring(words[i]) end
    out[#out + 1] = table.concat(words, "\t") .. "\n"
  end
  io = setmetatable({
    write = function(...) out[#out + 1] = table.concat { ... } end,
    flush = function() end,
    stderr = { write = function() end },
  }, { __index = real_io })
  local results = table.pack(pcall(chunk))
  print, io = real_print, real_io
  if not results[1] then error(results[2], 0) end
  return table.concat(out), results[2]
end

-- An example that is an agent: its answer.
local function answer_of(name)
  local _, value = run(name)
  t.ok(value, name .. " returned nothing")
  local result, err = value:run()
  if not result then error(name .. ": " .. tostring(err), 0) end
  t.ok(#result.answer > 0, name .. " answered nothing")
  return result.answer, result
end

t.test("this test asks the emulator and nobody else", function()
  t.ok(host.emulated(), "run with --emulate")
end)

t.test("gmail_digest.lua", function()
  local answer, result = answer_of "gmail_digest.lua"
  t.match(answer, "Q3 figures for the board")
  t.eq(result.steps, 2)
  t.eq(result.messages[3].tool_calls[1].name, "gmail_fetch_mails")
end)

t.test("structured.lua", function()
  local out = run "structured.lua"
  t.match(out, "Dana Whitfield <dana@northwind.example>\t%-\t%-\n")
end)

t.test("gmail_digest_by_hand.lua prints the recipe's lines in their order", function()
  local out = run "gmail_digest_by_hand.lua"
  local at = 1
  for _, pattern in ipairs {
    "✅ Gmail connected for [^\n]+\n", "✅ Loaded %d+ tools: [^\n]*gmail_fetch_mails[^\n]*\n",
    "🔧 Tool call: gmail_fetch_mails [^\n]+\n", "Q3 figures for the board",
  } do
    local from, to = out:find(pattern, at)
    if not from then error(("no %s in:\n%s"):format(pattern, out), 0) end
    at = to + 1
  end
end)

t.test("many_connectors.lua", function()
  local answer, result = answer_of "many_connectors.lua"
  t.match(answer, "Slack")
  local called = {}
  for _, m in ipairs(result.messages) do
    for _, call in ipairs(m.tool_calls or {}) do called[call.name] = true end
  end
  t.ok(called.gmail_fetch_mails and called.github_issues_list and called.slack_send_message, "not all were called")
end)

t.test("lua_tool.lua", function() t.match((answer_of "lua_tool.lua"), '"words":4') end)

t.test("connector.lua", function()
  local answer, result = answer_of "connector.lua"
  t.match(answer, "#%d+ ")
  t.eq(result.messages[3].tool_calls[1].name, "repo_open_issues")
end)

t.test("the other operations of connectors/ and tools/", function()
  local connectors, tools = require "agent.connectors", require "agent.tools"
  local lists = assert(connectors.open({ "connectors/moderation.lua", "tools/" }, "user_123"))
  local box = assert(tools.box(table.unpack(lists)))
  local function call(name, args) return box:call({ id = "1", name = name, args = args }, {}).content end
  t.eq(call("check_text", { input = "I will kill the process" }), "flagged")
  t.eq(call("check_text", { input = "good morning" }), "harmless")
  t.eq(call("count", { text = "a b c" }), "3")
  t.eq(call("shout", { text = "a" }), "A")
end)

t.test("budget.lua", function()
  local out = run "budget.lua"
  t.match(out, "^step_limit%. Until then: .*Q3 figures")
  t.match(out, "%d+ tokens were used")
end)

t.test("mcp.lua", function()
  local answer, result = answer_of "mcp.lua"
  t.match(answer, "Q3 figures")
  t.eq(result.messages[3].tool_calls[1].name, "gmail_fetch_mails")
end)

t.test("session.lua, twice", function()
  t.match(run "session.lua", "with the 5 messages before it\nthe session has 5 steps\n")
  t.match(run "session.lua", "with the 11 messages before it\nthe session has 10 steps\n")
end)

t.test("stream.lua", function() t.match(run "stream.lua", "%S") end)

t.test("parallel.lua", function()
  local out = run "parallel.lua"
  t.match(out, "^1%. ")
  t.match(out, "\n2%. ")
end)

t.test("tags_and_metadata.lua", function() t.match((answer_of "tags_and_metadata.lua"), "Q3 figures") end)

t.test("http_only.lua", function() t.match(run "http_only.lua", "/models: 200, %d+ bytes") end)

t.done()
