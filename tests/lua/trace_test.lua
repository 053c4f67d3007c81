-- run: --trace
-- host.trace as scripts see it: it must never change what a function does. What reaches the journal is proved in
-- tests/c/test_lua_trace.c.
local t = require "testing"
local trace = require "host.trace"
local task = require "host.task"

local function results(...) return select("#", ...), { ... } end

t.test("span passes arguments and results through, nils too", function()
  local n, r = results(trace.span("x", nil, function(...) return select("#", ...), nil, nil end, 1, nil, nil))
  t.eq(n, 3)
  t.eq(r[1], 3)
  t.eq(trace.span("x", { run_type = "tool" }, function() return 7 end), 7)
  t.eq(trace.span("x", function(a) return a end, "short form"), "short form")
  t.eq((results(trace.span("x", nil, function() end))), 0)
end)

t.test("errors go through unchanged", function()
  local mark = {}
  local ok, err = pcall(trace.span, "x", nil, function() error(mark) end)
  t.ok(not ok and rawequal(err, mark), "the same value")
  ok, err = pcall(trace.traceable(function() error("text", 0) end))
  t.ok(not ok)
  t.eq(err, "text")
end)

t.test("waits inside work", function()
  local f = trace.traceable(function(a) task.sleep(0.001) return a * 2 end, { name = "f" })
  t.eq(trace.span("x", nil, function() return f(4) + f(5) end), 18)
  t.eq(trace.run({ name = "r" }, function(a) task.sleep(0.001) return a end, 3), 3)
end)

t.test("values that JSON cannot hold are no error", function()
  local cycle = {}
  cycle.self = cycle
  local bad = setmetatable({}, { __tostring = function() error("no text") end })
  t.eq(trace.span("x", nil, function(...) return select("#", ...) end, print, cycle, 0 / 0, "\xff", bad, { 1, nil, 3, x = 1 }), 6)
  t.ok(trace.span("x", { metadata = { f = print }, inputs = cycle }, function() return cycle end) == cycle)
end)

t.test("a cancelled span does not keep its task", function()
  local left = false
  local w = task.spawn(function()
    trace.span("x", nil, function()
      local guard <close> = setmetatable({}, { __close = function() left = true end })
      task.sleep(60)
      return guard
    end)
  end)
  task.sleep(0.001)
  w:cancel()
  t.ok(left)
end)

t.test("spans inside spans, many at once, abandoned and failed, keep apart", function()
  local deep
  deep = trace.traceable(function(n)
    local id = trace.current().id
    if n > 0 then
      t.eq(pcall(deep, n - 1), n > 1)
      t.eq(trace.current().id, id)
    else
      error("at the bottom", 0)
    end
    return ("x"):rep(100 * n)
  end, { name = "deep" })
  local tasks = {}
  for i = 1, 3 do
    tasks[i] = task.spawn(function()
      local id = trace.current().id
      for n = 1, 50 do t.eq(#trace.span("x", function() task.sleep(0) return deep(n) end), 100 * n) end
      return trace.current().id == id
    end)
  end
  for _ = 1, 50 do
    local co = coroutine.create(function() trace.span("left", function() coroutine.yield(1) end) end)
    t.ok(coroutine.resume(co))
  end
  collectgarbage()
  for i = 1, 3 do t.ok(tasks[i]:wait()) end
end)

t.test("misuse raises", function()
  t.raises("bad argument", trace.span)
  t.raises("bad argument", trace.span, "x", {}, 5)
  t.raises("unknown field 'runtype'", trace.span, "x", { runtype = "tool" }, print)
  t.raises("run_type", trace.span, "x", { run_type = "tol" }, print)
  t.raises("tags", trace.traceable, print, { tags = { 1 } })
  t.raises("metadata", trace.set, { metadata = "x" })
  t.raises("bad argument", trace.run, nil, print)
  t.raises("unknown field", trace.run, { nam = "x" }, print)
  t.raises("bad argument", trace.tags, {})
  t.raises("bad argument", trace.metadata, 1)
end)

t.test("tags, metadata, name are accepted anywhere", function()
  trace.tags("a", "b")
  trace.metadata { k = 1 }
  trace.set { tags = { "c" }, metadata = { k = { 1, 2 } } }
  trace.name("another")
end)

t.done()
