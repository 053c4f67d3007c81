-- run: --instructions 20000000
-- host.task: where a wait works, what a cancel does, and groups of tasks.
local t = require "testing"
local host = require "host"
local task = require "host.task"
local script = require "host.script"

local function wait(v)
  task.sleep(0.001)
  return v
end

local function file(name, text)
  local path = os.getenv("AGENTHOST_HOME") .. "/" .. name
  local f = assert(io.open(path, "w"))
  f:write(text)
  f:close()
  return path
end

-- --- the yield table: one waiting function in every place where Lua calls one ---------------------------------

local meta = setmetatable({}, {
  __index = function(_, k) return wait(k) end,
  __newindex = function(s, k, v) rawset(s, k, wait(v)) end,
  __add = function() return wait "add" end,
  __concat = function() return wait "concat" end,
  __eq = function() return wait(true) end,
  __lt = function() return wait(true) end,
  __len = function() return wait(7) end,
  __unm = function() return wait "unm" end,
  __call = function(_, v) return wait(v) end,
})

local function generator(values)
  return coroutine.wrap(function()
    for _, v in ipairs(values) do coroutine.yield(wait(v)) end
  end)
end

local function collect(...)
  local out = {}
  for v in ... do out[#out + 1] = v end
  return out
end

local works = {
  { "a plain call", 1, function() return wait(1) end },
  { "pcall", "x", function() return select(2, pcall(wait, "x")) end },
  { "pcall of an error after a wait", "e", function() return select(2, pcall(function() wait() error("e", 0) end)) end },
  { "xpcall", "x", function() return select(2, xpcall(wait, print, "x")) end },
  { "__index", "k", function() return meta.k end },
  { "__newindex", 5, function() meta.fresh = 5 return rawget(meta, "fresh") end },
  { "__add", "add", function() return meta + 1 end },
  { "__concat", "concat", function() return meta .. "" end },
  { "__eq", true, function() return meta == setmetatable({}, getmetatable(meta)) end },
  { "__lt", true, function() return meta < meta end },
  { "__len", 7, function() return #meta end },
  { "__unm", "unm", function() return -meta end },
  { "__call", "v", function() return meta "v" end },
  { "an iterator", { 1, 2, 3 }, function()
    return collect(function(_, i) i = wait((i or 0) + 1) if i < 4 then return i end end)
  end },
  { "__pairs", "p", function()
    for k in pairs(setmetatable({}, { __pairs = function() wait() return next, { p = 1 } end })) do return k end
  end },
  { "__close at the end of a block", "closed", function()
    local r
    do local _ <close> = setmetatable({}, { __close = function() r = wait "closed" end }) end
    return r
  end },
  { "__close after an error", "closed", function()
    local r
    pcall(function()
      local _ <close> = setmetatable({}, { __close = function() r = wait "closed" end })
      error "x"
    end)
    return r
  end },
  { "__close of a generic for", "closed", function()
    local r
    for _ in next, { 1 }, nil, setmetatable({}, { __close = function() r = wait "closed" end }) do break end
    return r
  end },
  { "dofile", "file", function()
    return dofile(file("waits.lua", "require('host.task').sleep(0.001) return 'file'"))
  end },
  { "a chunk of load", "loaded", function() return load("local w = ... return w 'loaded'")(wait) end },
  { "coroutine.wrap as a generator", { 1, 2, 3 }, function() return collect(generator { 1, 2, 3 }) end },
  { "a generator in a generator", { 2, 4 }, function()
    return collect(coroutine.wrap(function()
      for v in generator { 1, 2 } do coroutine.yield(wait(v * 2)) end
    end))
  end },
  { "a generator in a generator in a generator", { 3, 5 }, function()
    return collect(coroutine.wrap(function()
      for v in coroutine.wrap(function()
        for v in generator { 1, 2 } do coroutine.yield(wait(v) * 2) end
      end) do coroutine.yield(wait(v) + 1) end
    end))
  end },
  { "pcall in a generator", { "in" }, function()
    return collect(coroutine.wrap(function() coroutine.yield(select(2, pcall(wait, "in"))) end))
  end },
  { "coroutine.resume", { true, "a", true, "b", true }, function()
    local co = coroutine.create(function() coroutine.yield(wait "a") wait() coroutine.yield "b" wait() end)
    local out = {}
    while coroutine.status(co) ~= "dead" do
      for _, v in ipairs { coroutine.resume(co) } do out[#out + 1] = v end
    end
    return out
  end },
  { "an error in a coroutine after a wait", "inside", function()
    local co = coroutine.create(function() wait() error("inside", 0) end)
    return select(2, coroutine.resume(co))
  end },
  { "an error in a generator after a wait", true, function()
    local ok, err = pcall(coroutine.wrap(function() wait() error "inside" end))
    return not ok and err:find("inside", 1, true) ~= nil
  end },
  { "a coroutine that closes what waits", "closed", function()
    local r
    local co = coroutine.wrap(function()
      local _ <close> = setmetatable({}, { __close = function() r = wait "closed" end })
    end)
    co()
    return r
  end },
}

for _, row in ipairs(works) do
  t.test("a wait works in " .. row[1], function() t.eq(row[3](), row[2]) end)
end

local refused = {
  { "string.gsub", function() return (("x"):gsub("x", wait)) end },
  { "table.sort", function() table.sort({ 2, 1 }, function(a, b) wait() return a < b end) end },
  { "require, while it loads", function()
    require "waits_while_loading"
  end },
  { "a reader of load", function() local fn, err = load(function() return wait "" end) error(err or fn, 0) end },
  { "tostring", function() return tostring(setmetatable({}, { __tostring = function() return wait "s" end })) end },
  { "a generator in table.sort", function()
    table.sort({ 2, 1 }, function(a, b) coroutine.wrap(wait)() return a < b end)
  end },
  { "a coroutine in string.gsub", function()
    return (("x"):gsub("x", function()
      local ok, err = coroutine.resume(coroutine.create(wait))
      if not ok then error(err, 0) end
    end))
  end },
}

for _, row in ipairs(refused) do
  t.test("a wait is refused, with a sentence, in " .. row[1], function()
    local err = t.raises("cannot wait here", row[2])
    t.match(tostring(err), "task.sleep")
    t.eq(wait "and the task goes on", "and the task goes on")
  end)
end

t.test("a wait is refused in __gc", function()
  local said
  setmetatable({}, { __gc = function() said = select(2, pcall(wait)) end })
  collectgarbage()
  collectgarbage()
  t.match(said, "cannot wait here")
  wait()
end)

t.test("a wait is refused in a closer at a cancel, and the closer runs to its end", function()
  local said, ended, in_coroutine
  local one = task.spawn(function()
    local _ <close> = setmetatable({}, { __close = function()
      said = select(2, pcall(wait))
      in_coroutine = select(2, coroutine.resume(coroutine.create(wait)))
      ended = true
    end })
    task.sleep(100)
  end)
  wait()
  one:cancel()
  t.match(said, "cannot wait here")
  t.match(in_coroutine, "cannot wait here")
  t.eq(ended, true)
end)

t.test("errors keep their values and their place in nested coroutines", function()
  local value = {}
  t.eq(select(2, pcall(coroutine.wrap(function() wait() error(value) end))), value)
  local ok, err = pcall(coroutine.wrap(function() return coroutine.wrap(function() wait() error "deep" end)() end))
  t.eq(ok, false)
  t.match(err, "deep")
end)

t.test("coroutine functions answer as Lua's own", function()
  local dead = coroutine.create(function() end)
  t.eq({ coroutine.resume(dead) }, { true })
  t.eq({ coroutine.resume(dead) }, { false, "cannot resume dead coroutine" })
  t.eq(select(2, coroutine.resume(coroutine.running())), "cannot resume non-suspended coroutine")
  local normal = coroutine.running()
  t.eq(select(2, coroutine.resume(coroutine.create(function() return select(2, coroutine.resume(normal)) end))),
    "cannot resume non-suspended coroutine")
  t.eq({ coroutine.resume(coroutine.create(function(...) return select("#", ...), ... end), nil, nil) },
    { true, 2, nil, nil })
  local co = coroutine.create(function(a) local b = coroutine.yield(a + 1) return b + 1 end)
  t.eq({ coroutine.resume(co, 1) }, { true, 2 })
  t.eq({ coroutine.resume(co, 10) }, { true, 11 })
  local closed
  local open = coroutine.create(function()
    local _ <close> = setmetatable({}, { __close = function() closed = true end })
    coroutine.yield()
  end)
  coroutine.resume(open)
  t.eq(coroutine.close(open), true)
  t.eq(closed, true)
  t.eq(coroutine.status(open), "dead")
  t.raises("thread expected", coroutine.resume, 1)
  t.raises("function expected", coroutine.wrap, 1)
end)

t.test("what waits can be taken by nobody else", function()
  local me
  local inner = coroutine.create(function() return wait "mine" end)
  local one = task.spawn(function()
    me = coroutine.running()
    return coroutine.resume(inner)
  end)
  coroutine.yield()
  coroutine.yield()
  t.eq(coroutine.status(inner), "suspended")
  for _, co in ipairs { inner, me } do
    t.eq({ coroutine.resume(co) }, { false, "cannot resume a coroutine that waits for the host" })
    t.raises("cannot close a coroutine that waits for the host", coroutine.close, co)
  end
  t.eq({ one:wait() }, { true, "mine" })
end)

t.test("coroutine.yield in a task lets the others run", function()
  local order = {}
  local function counter(name)
    return function() for i = 1, 3 do order[#order + 1] = name .. i coroutine.yield() end end
  end
  task.all { counter "a", counter "b" }
  t.eq(table.concat(order, " "), "a1 b1 a2 b2 a3 b3")
end)

-- --- spawn ---------------------------------------------------------------------------------------------------------

t.test("spawn gives arguments and results, and an error to every waiter", function()
  local one = task.spawn(function(...) wait() return select("#", ...), ... end, 1, nil, 3)
  t.eq(one:done(), false)
  t.eq({ one:wait() }, { 3, 1, nil, 3 })
  t.eq({ one:wait() }, { 3, 1, nil, 3 })
  t.eq(one:done(), true)
  local bad = task.spawn(function() wait() error { mine = true } end)
  t.eq(t.raises("table", bad.wait, bad).mine, true)
  t.eq(t.raises("table", bad.wait, bad).mine, true)
  t.eq({ task.spawn(function() end):wait() }, {})
end)

t.test("several tasks wait for one", function()
  local one = task.spawn(wait, "shared")
  local function waiter() return one:wait() end
  t.eq(task.all { waiter, waiter, one, waiter }, { "shared", "shared", "shared", "shared" })
end)

t.test("a task that nobody holds lives until its end, through full collections", function()
  local result
  task.spawn(function() task.sleep(0.01) result = wait "done" end)
  collectgarbage()
  collectgarbage()
  for _ = 1, 200 do
    if result then break end
    task.sleep(0.002)
    collectgarbage()
  end
  t.eq(result, "done")
end)

t.test("misuse raises", function()
  t.raises("function expected", task.spawn)
  t.raises("function expected", task.spawn, 1)
  t.raises("number expected", task.sleep)
  t.raises("seconds from 0", task.sleep, -1)
  t.raises("seconds from 0", task.sleep, 0 / 0)
  t.raises("seconds from 0", task.sleep, math.huge)
  t.raises("element 2 is a number", task.all, { wait, 5 })
  t.raises("table expected", task.all)
  t.raises("at least one", task.race, {})
  t.raises("seconds from 0", task.timeout, -1, wait)
  t.raises("function expected", task.timeout, 1)
  local one
  one = task.spawn(function() coroutine.yield() return one:wait() end)
  t.raises("cannot wait for itself", one.wait, one)
  one = task.spawn(function() coroutine.yield() task.all { one } end)
  t.raises("cannot wait for itself", one.wait, one)
  one = task.spawn(function() coroutine.yield() one:cancel() end)
  t.raises("cannot cancel itself", one.wait, one)
end)

-- --- cancel = close ------------------------------------------------------------------------------------------------

t.test("cancel closes at once, with the collector stopped", function()
  collectgarbage "stop"
  local closed = {}
  local one = task.spawn(function()
    local _ <close> = setmetatable({}, { __close = function(_, err) closed[#closed + 1] = { "outer", err } end })
    for _ in coroutine.wrap(function()
      local _ <close> = setmetatable({}, { __close = function() closed[#closed + 1] = { "inner" } end })
      task.sleep(100)
    end) do end
  end)
  wait()
  one:cancel()
  collectgarbage "restart"
  t.eq(closed, { { "inner" }, { "outer" } })
  t.eq(one:done(), true)
  t.eq(t.raises("cancelled", one.wait, one).kind, "cancelled")
  one:cancel()
end)

t.test("a task that was cancelled before it ran never runs", function()
  local ran
  local one = task.spawn(function() ran = true end)
  one:cancel()
  t.raises("cancelled", one.wait, one)
  t.eq(ran, nil)
end)

t.test("a local <close> task is cancelled at the end of its block", function()
  local ended, one = false
  do
    local child <close> = task.spawn(function() task.sleep(100) ended = true end)
    one = child
    wait()
  end
  t.eq(one:done(), true)
  t.eq(ended, false)
end)

t.test("an error in a closer does not stop the cancel", function()
  local closed
  local one = task.spawn(function()
    local _ <close> = setmetatable({}, { __close = function() closed = true end })
    local _ <close> = setmetatable({}, { __close = function() error "in a closer" end })
    task.sleep(100)
  end)
  wait()
  one:cancel()
  t.eq(closed, true)
  t.raises("cancelled", one.wait, one)
end)

t.test("a closer may cancel the task that cancels: it ends at its next wait", function()
  local went_on, waited
  local one
  one = task.spawn(function()
    local two = task.spawn(function()
      local _ <close> = setmetatable({}, { __close = function() one:cancel() end })
      task.sleep(100)
    end)
    wait()
    two:cancel()
    went_on = true
    wait()
    waited = true
  end)
  t.raises("cancelled", one.wait, one)
  t.eq(went_on, true)
  t.eq(waited, nil)
end)

t.test("closers that cancel, thousands deep", function()
  local closed = 0
  local function chain(n)
    local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
    local _ <close> = task.spawn(function() if n > 1 then chain(n - 1) else task.sleep(100) end end)
    task.sleep(100)
  end
  local one = task.spawn(chain, 3000)
  for _ = 1, 3010 do coroutine.yield() end
  one:cancel()
  for _ = 1, 3010 do coroutine.yield() end
  t.eq(closed, 3000)
end)

t.test("a cancelled waiter does not cancel what it waits for", function()
  local one = task.spawn(function() task.sleep(0.01) return "kept" end)
  local waiter = task.spawn(function() return one:wait() end)
  wait()
  waiter:cancel()
  t.eq(one:done(), false)
  t.eq(one:wait(), "kept")
end)

-- --- groups --------------------------------------------------------------------------------------------------------

t.test("all: results in the list's order, whoever ends first", function()
  local function after(s, v) return function() task.sleep(s) return v end end
  t.eq(task.all { after(0.02, "a"), after(0.001, "b"), after(0.01, "c") }, { "a", "b", "c" })
  t.eq(task.all {}, {})
  local some = task.all { function() return nil end, function() return 2, "second result" end, function() end }
  t.eq({ some[1], some[2], some[3] }, { nil, 2, nil })
end)

t.test("all: the first failure cancels the rest and is raised", function()
  local closed = 0
  local function slow()
    local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
    task.sleep(100)
  end
  local why = { kind = "mine" }
  local err = t.raises("table", task.all, {
    slow,
    function() task.sleep(0.02) error "too late" end,
    function() task.sleep(0.001) error(why) end,
    slow,
  })
  t.eq(err == why, true)
  t.eq(closed, 2)
  t.raises("second", task.all, { function() coroutine.yield() error "first" end, function() error "second" end })
end)

t.test("all: a cancel from outside reaches the members", function()
  local members = {}
  local function slow()
    members[#members + 1] = coroutine.running()
    task.sleep(100)
  end
  local group = task.spawn(function() task.all { slow, slow, slow } end)
  wait()
  t.eq(#members, 3)
  group:cancel()
  for i = 1, 3 do t.eq(coroutine.status(members[i]), "dead") end
end)

t.test("all: a broken list leaves nothing running", function()
  local ran
  t.raises("element 2", task.all, { function() task.sleep(0.001) ran = true end, "no" })
  task.sleep(0.01)
  t.eq(ran, nil)
end)

t.test("race: the first to end wins, also when it fails; the others are cancelled", function()
  local lost
  t.eq({ task.race { function() task.sleep(100) lost = true end, function() wait() return "won", 2 end } }, { "won", 2 })
  t.raises("fast failure", task.race, { function() task.sleep(100) end, function() wait() error "fast failure" end })
  local spare = task.spawn(function() task.sleep(100) end)
  t.eq(task.race { spare, function() return 1 end }, 1)
  t.eq(spare:done(), true)
  t.eq(lost, nil)
end)

t.test("timeout: results in time; else nil and an error, and the function is closed", function()
  t.eq({ task.timeout(10, function(...) wait() return ... end, 1, nil, 3) }, { 1, nil, 3 })
  local closed
  local r, err = task.timeout(0.005, function()
    local _ <close> = setmetatable({}, { __close = function() closed = true end })
    task.sleep(100)
  end)
  t.eq(t.err("timeout", r, err).kind, "timeout")
  t.eq(closed, true)
  t.raises("own error", task.timeout, 10, function() wait() error "own error" end)
  t.err("timeout", task.timeout(0, task.sleep, 100))
end)

t.test("groups in groups", function()
  local out = task.all {
    function() return task.race { function() wait() return "r" end, function() task.sleep(100) end } end,
    function() return task.all { wait, wait } end,
    function() return (task.timeout(0.002, task.sleep, 100)) end,
  }
  t.eq(out[1], "r")
  t.eq(out[2], {})
  t.eq(out[3], nil)
end)

t.test("numbers of the many: ten thousand tasks", function()
  local list = {}
  for i = 1, 10000 do list[i] = function() coroutine.yield() return i end end
  local out = task.all(list)
  t.eq(#out, 10000)
  t.eq(out[10000], 10000)
end)

t.test("an event: whoever waits goes on when it is set, in order; later waits do not wait", function()
  local event, order = task.event(), {}
  t.eq(event:is_set(), false)
  local tasks = {}
  for i = 1, 9 do
    tasks[i] = task.spawn(function()
      event:wait()
      order[#order + 1] = i
    end)
  end
  wait()
  t.eq(order, {})
  tasks[2]:cancel()
  event:set()
  event:set()
  for i = 1, 9 do pcall(tasks[i].wait, tasks[i]) end
  t.eq(order, { 1, 3, 4, 5, 6, 7, 8, 9 })
  t.eq(event:is_set(), true)
  event:wait()
end)

t.test("an event that goes out of scope is set; a cancelled wait leaves nothing behind", function()
  local one
  do
    local event <close> = task.event()
    one = task.spawn(function() event:wait() return "went on" end)
    wait()
  end
  t.eq(one:wait(), "went on")
  local event = task.event()
  for _ = 1, 100 do
    t.eq((task.timeout(0.0005, event.wait, event)), nil)
  end
  t.eq(event:is_set(), false)
end)

-- --- the instruction limit (20 million here) ----------------------------------------------------------------------

local function spin(n)
  local x = 0
  for i = 1, n do x = x + i end
  return x
end

t.test("an endless loop ends, and cannot be kept alive by pcall", function()
  local one = task.spawn(function() while true do pcall(spin, 1e9) end end)
  t.raises("20 million instructions", one.wait, one)
  one = task.spawn(function()
    local co = coroutine.wrap(function() while true do end end)
    while true do pcall(co) end
  end)
  t.raises("20 million instructions", one.wait, one)
end)

t.test("a wait begins a new budget, also for what was stopped and went on", function()
  task.spawn(function() for _ = 1, 50 do coroutine.yield() end end)
  local one = task.spawn(function()
    local caught = pcall(function() local _ <close> = setmetatable({}, { __close = wait }) spin(1e9) end)
    return caught
  end)
  pcall(one.wait, one)
  for _ = 1, 10 do
    spin(1e6)
    wait()
  end
  local two = task.spawn(function()
    for _ = 1, 30 do
      spin(1e6)
      coroutine.yield()
    end
    return "done"
  end)
  t.eq(two:wait(), "done")
end)

t.eq(host.emulated(), false)
t.eq(script.name(), "task_test")
t.done()
