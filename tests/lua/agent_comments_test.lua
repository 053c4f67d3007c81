-- Tools from comments, folders of them, and HTTP APIs described in a table.
local t = require "testing"
local host = require "host"
local json = require "host.json"
local agent = require "agent"
local api = require "agent.api"
local comments = require "agent.comments"
local connectors = require "agent.connectors"
local server = require "host.server"
local testing = require "agent.testing"
local tools = require "agent.tools"
local toolset = require "agent.toolset"

local function parse(...) return comments.parse { ... } end

local function type_of(text)
  local tool = parse("d", "@param x " .. text)
  return tool.parameters.properties.x, tool.parameters.required
end

t.test("types", function()
  local rows = {
    { "string", { type = "string" } }, { "integer what it is", { type = "integer", description = "what it is" } },
    { "string[] names", { type = "array", items = { type = "string" }, description = "names" } },
    { '"a"|"b" one of two', { type = "string", enum = { "a", "b" }, description = "one of two" } },
    { "'a b' | 'c'", { type = "string", enum = { "a b", "c" } } }, { "1|2|3", { type = "integer", enum = { 1, 2, 3 } } },
    { '("a"|"b")[]', { type = "array", items = { type = "string", enum = { "a", "b" } } } },
    { '"only"', { type = "string", enum = { "only" } } }, { "boolean # on or off", { type = "boolean", description = "on or off" } },
    { "{ street: string, zip?: string } where", { type = "object", description = "where", required = { "street" },
      properties = { street = { type = "string" }, zip = { type = "string" } }, additionalProperties = false } },
    { "{ name: string, n: integer }[]", { type = "array", items = { type = "object", required = { "name", "n" },
      properties = { name = { type = "string" }, n = { type = "integer" } }, additionalProperties = false } } },
  }
  for _, row in ipairs(rows) do t.eq((type_of(row[1])), row[2]) end
end)

t.test("what may be left out", function()
  for _, text in ipairs { "string?", "string|nil", "nil|string", '"a"|"b"|nil' } do
    local _, required = type_of(text)
    t.eq(required, nil)
  end
  t.eq(parse("d", "@param x? string", "@param y number").parameters.required, { "y" })
end)

t.test("comments that cannot be read", function()
  local rows = {
    { { "d", "@param x table" }, "type `table` is not known.*schema" }, { { "d", "@param x" }, "reads `%-%-%-@param name type" },
    { { "d", "@param x string|number" }, "only literals" }, { { "d", '@param x "a"|2' }, "different types" },
    { { "d", "@param x { a: { b: string } }" }, "inside a table" }, { { "d", "@param x nil" }, "nil only" },
    { { "d", "@param x { a string }" }, "`name: type`" }, { { "@param x string" }, "says nothing" },
    { { "d", "@tool harmless" }, "read, idempotent or unsafe" },
  }
  for _, row in ipairs(rows) do t.raises(row[2], comments.parse, row[1]) end
end)

---Greets somebody.
---In several lines.
---@param name string who
---@param times? integer how often
---@return string
---@tool read
local function greet(name, times) return ("hello %s "):format(name):rep(times or 1) end

-- no comment for tools
local function bare() end

---Takes more.
---@param a string
---@param b string
local function too_few(a) return a end

t.test("a function with comments is a tool", function()
  local tool = agent.tool(greet)
  t.eq(tool.name, "greet")
  t.eq(tool.description, "Greets somebody.\nIn several lines.")
  t.eq(tool.class, "read")
  t.eq(tool.parameters.required, { "name" })
  t.eq(tool.run({ name = "Ann", times = 2 }), "hello Ann hello Ann ")
  local model = testing.model { testing.call("greet", { name = "Bo" }), "done" }
  t.ok(agent { model = model, tools = { greet }, input = "x", prompt = "p" }:run())
  t.eq(model.sent[2].messages[4].content, "hello Bo ")
end)

---Divides.
---@param divisor integer
---@param number integer
local function divide(
  number, -- not (the first) of the comment
  divisor,
  call
)
  return number // divisor, call
end

local methods = {}

---Says it.
---@param text string
function methods:say(text) return self, text end

---Says some.
---@param ... string
function methods.some(...) return ... end

---Says two.
---@param text string
function methods.two(text, ...) return text, select("#", ...) end

---Forgets one.
---@param b string
local function forgets(a, b, call) return a, b, call end

---Forgets the last.
---@param a string
local function forgets_last(a, b) return a, b end

---Has another name.
---@param txt string
local function misspelt(text) return text end

---Twice.
---@param a string
---@param a integer
local function twice(a) return a end

---The call alone.
local function alone(call) return call.id end

t.test("arguments go to the parameters of their names; what has no line, or another name, is a mistake", function()
  t.eq({ agent.tool(divide).run({ number = 12, divisor = 3 }, "the call") }, { 4, "the call" })
  t.eq({ agent.tool(methods.two).run({ text = "a" }, "the call") }, { "a", 1 })
  t.eq(agent.tool(alone).run({}, { id = "7" }), "7")
  t.raises("agent_comments_test.lua:%d+: a method has nothing to be called on", agent.tool, methods.say)
  t.raises("`...` has no name", agent.tool, methods.some)
  t.raises("the parameter 'a' has no line", agent.tool, forgets)
  t.raises("the parameter 'b' has no line", agent.tool, forgets_last)
  t.raises("names 'txt', which the function does not take; it takes text", agent.tool, misspelt)
  t.raises("'a' stands twice", agent.tool, twice)
end)

t.test("functions that cannot be tools: file and line", function()
  t.raises("agent_comments_test.lua:%d+: no comment stands right above", agent.tool, bare)
  t.raises("agent_comments_test.lua:%d+: the comment names 2 parameters, the function has 1", agent.tool, too_few)
  t.raises("function of C", agent.tool, print)
  t.raises("tools%[1%]", function() agent { tools = { 5 } } end)
end)

-- ## folders

local folder = host.config "AGENTHOST_TEST_FOLDER"
local function write(name, text)
  local file = assert(io.open(folder .. "/" .. name, "w"))
  file:write(text)
  file:close()
end

t.test("a folder of tools; edits count from the next step", function()
  write("one.lua", "---Adds.\n---@param a integer\n---@param b integer\n---@tool read\nreturn function(a, b) return a + b end\n")
  write("many.lua", "local m = {}\n---Says hi.\nfunction m.hi() return 'hi' end\nreturn m\n")
  write("table.lua", "return { name = 'plain', description = 'd', run = function() return 1 end }")
  write("notes.txt", "not Lua")
  local lists = t.ok(connectors.open { folder .. "/" })
  local box = t.ok(tools.box(lists[1]))
  t.eq(box.names, { "hi", "one", "plain" })
  t.eq(box:call({ id = "1", name = "one", args = { a = 2, b = 3 } }, {}).content, "5")
  local before = box.list
  box:refresh()
  t.eq(box.list, before)

  write("one.lua", "---Multiplies.\n---@param a integer\n---@param b integer\n---@tool read\nreturn function(a, b) return a * b end\n")
  os.remove(folder .. "/many.lua")
  box:refresh()
  t.eq(box.names, { "one", "plain" })
  t.eq(box:call({ id = "2", name = "one", args = { a = 2, b = 3 } }, {}).content, "6")

  write("one.lua", "---Adds.\r\n---@param a integer\r\n---@param b? integer more\r\n---@tool read\r\nreturn function(a, b)\r\n"
    .. "  return a + (b or 1)\r\nend\r\n")
  box:refresh()
  t.eq(box.by_name.one.description, "Adds.")
  t.eq(box.by_name.one.parameters.properties.b.description, "more")
  t.eq(box:call({ id = "2", name = "one", args = { a = 2 } }, {}).content, "3")
  write("one.lua", "---Multiplies.\n---@param a integer\n---@param b integer\n---@tool read\nreturn function(a, b) return a * b end\n")
  box:refresh()

  write("one.lua", "this is not Lua")
  box:refresh()
  t.eq(box:call({ id = "3", name = "one", args = { a = 2, b = 3 } }, {}).content, "6")
  local set = lists[1].set
  write("new.lua", "this neither")
  t.match(t.err("script", set:refresh()).message, "new.lua")
  t.eq(set:refresh(), set, "said once")
  t.eq(#set.list, 2)
  write("new.lua", "---Now.\nreturn function() return 'now' end")
  box:refresh()
  t.ok(box.by_name.new)
  os.remove(folder .. "/new.lua")
  local err = t.err("script", connectors.open { folder .. "/" })
  t.match(err.message, "one.lua:1: syntax error")
  write("one.lua", "return 7")
  t.match(t.err("config", toolset.open(folder)).message, "one.lua: it must return a function")
  write("one.lua", "return {}")
  t.match(t.err("config", toolset.open(folder)).message, "no tools")
  write("one.lua", "\nreturn function() end")
  t.match(t.err("config", toolset.open(folder)).message, "one.lua:2: no comment")
  t.err("config", toolset.open "nosuchfolder/")
  for _, name in ipairs { "one.lua", "table.lua", "notes.txt" } do os.remove(folder .. "/" .. name) end
  t.err("no_tools", toolset.open(folder))
end)

-- ## HTTP APIs

local seen, cuts, other
local function serve(req)
  if req.path == "/v1/cut" then
    cuts = cuts + 1
    return 503, { ["retry-after-ms"] = "1" }, "busy"
  end
  if req.path == "/v1/away" then return 302, { location = ("http://127.0.0.1:%d/v1/x"):format(other:port()) }, "" end
  if req.path == "/v1/near" then return 302, { location = "/v1/text" }, "" end
  seen = { method = req.method, path = req.path, query = req.raw_query, body = req.body, auth = req.headers.authorization,
    key = req.headers["x-key"] }
  if req.path == "/v1/broken" then return 422, { ["content-type"] = "application/json" }, '{"error":"name is too long"}' end
  if req.path == "/v1/gone" then return 204, {}, "" end
  if req.path == "/v1/text" then return 200, {}, "just text" end
  return 200, { ["content-type"] = "application/json" }, '{"ok":true,"list":[1,2]}'
end
local far = assert(server.listen { handler = serve })
other = assert(server.listen { handler = serve })
local base = ("http://127.0.0.1:%d/v1/"):format(far:port())

local function call(list, name, args)
  local box = assert(tools.box(toolset.tools_of(list)))
  return box:call({ id = "1", name = name, args = args }, { identifier = "u" })
end

t.test("an API as tools: path, query, body, class", function()
  local list = api {
    base_url = base, auth = { secret = "AGENTHOST_TEST_TOKEN" },
    operations = {
      { name = "find", path = "/people/{id}", description = "d", args = { id = "string", q = "string?", n = "integer?" } },
      { name = "add", method = "POST", path = "/people/{id}/notes", description = "d", query = { "dry" },
        args = { id = "string", text = "string", dry = "boolean?" } },
      { name = "put", method = "put", path = "/x", description = "d", class = "unsafe" },
      { name = "remove", method = "DELETE", path = "/x", description = "d", args = { why = "string" } },
    },
  }
  t.eq({ list[1].class, list[2].class, list[3].class, list[4].class }, { "read", "unsafe", "unsafe", "idempotent" })
  t.eq(call(list, "find", { id = "a/b ä", q = "x&y", n = 3 }).content, '{"list":[1,2],"ok":true}')
  t.eq(seen.method, "GET")
  t.eq(seen.path, "/v1/people/a%2Fb%20%C3%A4")
  t.match(seen.query, "q=x%%26y")
  t.match(seen.query, "n=3")
  t.eq(seen.auth, "Bearer token-for-tests-123456")
  t.ok(call(list, "add", { id = "7", text = "hi", dry = true }))
  t.eq({ seen.method, seen.path, seen.query, seen.body }, { "POST", "/v1/people/7/notes", "dry=true", '{"text":"hi"}' })
  call(list, "remove", { why = "old" })
  t.eq({ seen.method, seen.query, seen.body }, { "DELETE", "why=old", "" })
  t.match(call(list, "find", { q = "x" }).content, "'id' is missing")
end)

t.test("an API as tools: arguments that would lead elsewhere are not sent; lists, nulls and blanks in the query", function()
  local list = api {
    base_url = base,
    operations = {
      { name = "wipe", method = "DELETE", path = "/people/{id}", description = "d", args = { id = "string" } },
      { name = "find", path = "/people", description = "d",
        parameters = { type = "object", properties = { tag = { type = "array" }, q = {}, on = { type = "boolean" } } } },
      { name = "add", method = "POST", path = "/people", description = "d" },
    },
  }
  seen = nil
  for _, id in ipairs { "", ".", ".." } do
    t.match(call(list, "wipe", { id = id }).content, "'id' cannot be '" .. id:gsub("%.", "%%.") .. "'.*nothing was sent")
  end
  t.match(call(list, "find", { q = { { a = 1 } } }).content, "'q' must be a text, a number or a list")
  t.match(call(list, "find", { q = { a = 1 } }).content, "'q' must be")
  t.eq(seen, nil)
  call(list, "wipe", { id = "../x?y#z%2e\r\nA: b" })
  t.eq(seen.path, "/v1/people/..%2Fx%3Fy%23z%252e%0D%0AA%3A%20b")
  call(list, "wipe", { id = "..." })
  t.eq(seen.path, "/v1/people/...")
  call(list, "find", { tag = { "a,b", "c\r\nd" }, q = json.null, on = false })
  t.eq({ seen.path, seen.query }, { "/v1/people", "on=false&tag=a%2Cb&tag=c%0D%0Ad" })
  call(list, "add", {})
  t.eq(seen.body, "{}")
end)

t.test("an API as tools: what is unsafe goes once, whatever its method; what is not may be repeated", function()
  local list = api {
    base_url = base,
    operations = {
      { name = "trigger", path = "/cut", class = "unsafe", description = "d" },
      { name = "put", method = "PUT", path = "/cut", class = "unsafe", description = "d" },
      { name = "get", path = "/cut", description = "d" },
      { name = "ask", method = "POST", path = "/cut", class = "read", description = "d" },
    },
  }
  for name, often in pairs { trigger = 1, put = 1, get = 3, ask = 3 } do
    cuts = 0
    local outcome = call(list, name, {})
    t.eq({ name, cuts }, { name, often })
    t.eq({ name, outcome.err.kind }, { name, "http" })
  end
end)

t.test("an API as tools: nothing of the script goes into a header by a line's end, no secret to another place", function()
  t.match(call(api { base_url = base, headers = { ["X-A"] = "b\r\nX-B: c" },
    operations = { { name = "a", path = "/a", description = "d" } } }, "a", {}).content, "Error: ")
  local keyed = { base_url = base, auth = { secret = "AGENTHOST_TEST_TOKEN", header = "X-Key" },
    operations = { { name = "away", path = "/away", description = "d" }, { name = "near", path = "/near", description = "d" } } }
  seen = nil
  t.match(call(api(keyed), "away", {}).content, "another origin")
  t.eq(seen, nil, "the other place was not asked")
  t.eq(call(api(keyed), "near", {}).content, "just text")
  keyed.auth = { secret = "AGENTHOST_NO_SUCH_TOKEN" }
  local outcome = call(api(keyed), "near", {})
  t.eq(outcome.err.kind, "config")
  t.match(outcome.content, "AGENTHOST_NO_SUCH_TOKEN")
end)

t.test("an API as tools: refusals in the service's words, answers of other kinds, other keys", function()
  local list = api {
    base_url = base, auth = { secret = "AGENTHOST_TEST_TOKEN", header = "X-Key" },
    operations = {
      { name = "broken", path = "/broken", description = "d" }, { name = "gone", path = "/gone", description = "d" },
      { name = "text", path = "/text", description = "d" },
      { name = "picked", path = "/x", description = "d", result = function(v) return v.list[2] end },
    },
  }
  local outcome = call(list, "broken", {})
  t.match(outcome.content, "name is too long")
  t.eq(outcome.err.status, 422)
  t.match(call(list, "gone", {}).content, "status 204")
  t.eq(call(list, "text", {}).content, "just text")
  t.eq(call(list, "picked", {}).content, "2")
  t.eq({ seen.key, seen.auth }, { "token-for-tests-123456" })
end)

t.test("descriptions that cannot work are refused where they stand", function()
  local rows = {
    { {}, "'operations' is missing" }, { { operations = {} }, "'base_url' is missing" },
    { { base_url = "x", operations = { { name = "a", description = "d" } } }, "'path' is missing" },
    { { base_url = "x", operations = { { name = "a", description = "d", path = "/{id}" } } }, "{id}, which is no argument" },
    { { base_url = "x", operations = { { name = "a", description = "d", path = "/", method = "FETCH" } } }, "unknown method FETCH" },
    { { base_url = "x", operations = { { name = "a", description = "d", path = "/", args = { x = "table" } } } }, "not known" },
    { { base_url = "x", operations = { { name = "a", description = "d", path = "/{id}", args = { id = "string?" } } } },
      "{id}, which may be left out" },
    { { base_url = "x", operations = { { name = "a", description = "d", path = "/{a-b}" } } }, "letters, digits and _" },
    { { base_url = "x", operations = { { name = "a", description = "d", path = "/a?b=c" } } }, "holds no blank" },
    { { base_url = "x", operations = { { name = "a", description = "d", path = "a" } } }, "begins with /" },
    { { base_url = "x", operations = {}, auth = {} }, "auth is { secret" },
    { { base_url = "x", operations = {}, auth = { connection = "c" } }, "leave base_url out" },
    { { base_url = "x", operations = {}, atuh = {} }, "unknown field 'atuh'" },
  }
  for _, row in ipairs(rows) do t.raises("agent_comments_test.lua:%d+: api.*" .. row[2], function() api(row[1]) end) end
end)

far:close()
other:close()
t.eq(host.emulated(), false)
t.done()
