-- run: --trace --emulate
-- What is too long, too deep or too large for a trace: cut so that one sees it, with the length and the SHA-256 of the
-- whole. What LangSmith got is read back from it.
local host = require "host"
local langsmith = require "host.langsmith"
local t = require "testing"
local trace = require "host.trace"

-- The span `name` as LangSmith has it, after `work(...)`.
local function sent(name, work, ...)
  local id
  pcall(trace.run, { name = "root" }, trace.span, name, function(...)
    id = trace.current().id
    return work(...)
  end, ...)
  assert(trace.flush(60))
  return assert(langsmith.read_run(id))
end

local function nested(levels, inner)
  for _ = 1, levels do inner = { d = inner } end
  return inner
end

local function nothing() end

local function mark(text) return ("[cut: %d bytes, sha256 %s]"):format(#text, host.sha256(text)) end

t.test("a long name", function()
  local name = ("ä"):rep(129)
  local run = sent(name, nothing)
  t.eq(utf8.len(run.name), 128)
  t.eq(run.name:sub(-#mark(name)), mark(name))
  t.eq(sent(("ä"):rep(128), nothing).name, ("ä"):rep(128))
end)

t.test("a deep value: what JSON cannot hold is in it as a text", function()
  for _, levels in ipairs { 128, 200, 900 } do
    local run = sent("deep", function(value) return value end, nested(levels, { leaf = "BOTTOM" }))
    for _, value in ipairs { run.inputs, run.outputs } do
      while type(value) == "table" do value = value.d end
      local bytes, hash, text = value:match "^%[deeper than 100 levels: (%d+) bytes, sha256 (%x+)%] (.+)$"
      t.eq(text, ('{"d":'):rep(levels - 100) .. '{"leaf":"BOTTOM"}' .. ("}"):rep(levels - 100))
      t.eq(math.tointeger(bytes), #text)
      t.eq(hash, host.sha256(text))
    end
  end
  local value = sent("list", nothing, nested(20000, "BOTTOM")).inputs
  while type(value) == "table" do value = value.d end
  t.ok(value:find("[deeper than 1000 levels: not traced]", 1, true), value:sub(-60))
end)

t.test("a value that holds itself, more than once", function()
  local node = { name = "n" }
  node.left, node.right, node.list = node, node, { node, { up = node } }
  local inputs = sent("cycle", nothing, node).inputs
  t.eq(inputs.left, "[the table that holds this one, 1 up]")
  t.eq(inputs.right, inputs.left)
  t.eq(inputs.list[1], "[the table that holds this one, 2 up]")
  t.eq(inputs.list[2].up, "[the table that holds this one, 3 up]")
  t.eq(inputs.name, "n")
end)

t.test("lists with holes and names", function()
  local inputs = sent("odd", nothing, { list = { 1, nil, 3 }, mixed = { 1, 2, x = 3 }, f = nothing }).inputs
  t.eq(inputs.list[3], 3)
  t.eq(inputs.mixed["2"], 2)
  t.eq(inputs.mixed.x, 3)
end)

t.test("25 MB go as they are", function()
  local large = ("0123456789abcdef"):rep(25 << 16)
  local run = sent("large", function(text) return { text = text, small = 1 } end, large)
  t.ok(run.inputs.args[1] == large and run.outputs.text == large)
end)

t.test("more than 64 MB: each long text is cut, what is small stays", function()
  local large = ("x"):rep(65 << 20)
  local inputs = sent("huge", nothing, { text = large, small = "s", n = 7 }).inputs
  t.eq(inputs.text:sub(-#mark(large)), mark(large))
  t.eq(inputs.text:sub(1, 3), "xxx")
  t.eq(inputs.small, "s")
  t.eq(inputs.n, 7)
end)

t.test("the whole text of an error", function()
  local text = ("e"):rep(5000)
  t.ok(sent("err", function() error(text, 0) end).error == text)
end)

t.done()
