-- What a script can see and change, and what it cannot.
local t = require "testing"

local function write(name, text)
  local path = os.getenv "AGENTHOST_HOME" .. "/" .. name
  local f = assert(io.open(path, "wb"))
  f:write(text)
  f:close()
  return path
end

t.test("what reaches past the host is not there", function()
  for _, path in ipairs {
    "os.execute", "os.setlocale", "os.tmpname", "io.popen", "debug.sethook", "debug.getregistry", "debug.getupvalue",
    "debug.setupvalue", "debug.setmetatable", "debug.getmetatable", "debug.getlocal", "debug.upvaluejoin", "package",
  } do
    local v = _G
    for part in path:gmatch "[^.]+" do v = v[part] end
    t.eq(v, nil, path)
  end
  t.eq(type(debug.traceback), "function")
  t.eq(type(debug.getinfo), "function")
end)

t.test("binary chunks are refused everywhere", function()
  local binary = string.dump(function() return 1 end)
  t.match(select(2, load(binary)), "binary chunk")
  t.match(select(2, load(binary, "x", "bt")), "binary chunk")
  t.raises("only text chunks", load, binary, "x", "b")
  t.match(select(2, load(function() local b = binary binary = nil return b end)), "binary chunk")
  local path = write("binary.lua", string.dump(function() return 1 end))
  t.match(select(2, loadfile(path)), "binary chunk")
  t.raises("binary chunk", dofile, path)
end)

t.test("globals and libraries are read-only", function()
  local g = getmetatable(_G)
  t.eq(g, "locked")
  for _, name in ipairs { "string", "table", "math", "os", "io", "coroutine", "utf8", "debug" } do
    local lib = _G[name]
    t.raises("read%-only", function() lib.mine = 1 end)
    t.raises("read%-only", rawset, lib, "mine", 1)
    t.eq(getmetatable(lib), "locked")
    t.raises("protected", setmetatable, lib, {})
  end
  t.raises("read%-only", function() string.format = nil end) -- luacheck: ignore
  t.eq(getmetatable "", "locked")
  t.raises("read%-only", table.insert, string, 1)
  t.raises("read%-only", function() require("host").time = nil end)
  t.raises("read%-only", rawset, require "host.task", "spawn", print)
end)

t.test("the libraries can be listed and used as ever", function()
  local n = 0
  for k, v in pairs(string) do
    t.eq(type(k), "string")
    t.ok(v ~= nil)
    n = n + 1
  end
  t.ok(n > 15)
  t.eq(next(string), nil, "the view itself is empty")
  t.eq(("x"):rep(3), "xxx")
  t.eq(math.type(math.random(5)), "integer")
end)

t.test("a script's own globals are its own", function()
  mine = 1 -- luacheck: ignore
  t.eq(_G.mine, 1) -- luacheck: ignore
  _G.print_saved, _G.print = print, nil -- luacheck: ignore
  t.eq(type(print), "function", "the real one is behind it")
  local env = {}
  load("x = 1", "c", "t", env)()
  t.eq(env.x, 1)
  t.eq(x, nil) -- luacheck: ignore
  load "y_of_chunk = 2" ()
  t.eq(y_of_chunk, 2) -- luacheck: ignore
end)

t.test("load, loadfile, dofile", function()
  t.eq(load "return 1 + 1" (), 2)
  local parts = { "return ", "5" }
  t.eq(load(function() return table.remove(parts, 1) end)(), 5)
  t.match(select(2, load "return +"), "unexpected symbol")
  t.match(select(2, load("x(", "=name")), "^name:1")
  local path = write("chunk.lua", "#!/usr/bin/env agenthost\nfrom_chunk = ... return from_chunk, 2")
  t.eq({ loadfile(path)(7) }, { 7, 2 })
  t.eq(from_chunk, 7) -- luacheck: ignore
  t.eq({ dofile(path) }, { nil, 2 })
  t.match(select(2, loadfile "/no/such/file.lua"), "No such file")
  t.raises("No such file", dofile, "/no/such/file.lua")
  t.raises("string expected", loadfile)
  t.raises("x.lua:1: inside", dofile, write("x.lua", "error 'inside'"))
end)

t.test("require: once, with its name and path, from the search order", function()
  local a, path = require "testing"
  t.eq(a, t)
  t.eq(path, nil, "only the first require tells where from")
  t.raises("module 'no.such.module' was not found: no file no/such/module.lua; looked for .*embedded", require,
    "no.such.module")
  t.raises("no module 'host.nothing'", require, "host.nothing")
  for _, name in ipairs { "..", "a..b", "../x", ("x"):rep(300) } do t.raises("not a module name", require, name) end
  t.raises("string expected", require)
  t.eq(require "host.task", require "host.task")
  t.eq(type(require "agent"), "table")
end)

t.test("cjson is there, and its tables and null are ours", function()
  local cjson, safe, json = require "cjson", require "cjson.safe", require "host.json"
  t.eq(cjson.decode '{"a":[1]}', { a = { 1.0 } })
  t.eq(cjson.null, json.null)
  t.eq(json.encode(cjson.decode '{"a":null}'), '{"a":null}')
  t.eq(safe.decode "{", nil)
  t.eq(cjson.encode(json.decode '{"a":null}'), '{"a":null}')
end)

t.test("os.getenv keeps secrets to itself", function()
  t.eq(type(os.getenv "HOME" or ""), "string")
  t.eq(os.getenv "ANY_API_KEY", nil)
  t.eq(os.getenv "NO_SUCH_VARIABLE_HERE", nil)
  t.raises("string expected", os.getenv)
end)

t.test("time and chance come from the host", function()
  t.eq(math.type(os.time()), "integer")
  t.eq(os.time { year = 2026, month = 1, day = 1, hour = 12 } - os.time { year = 2026, month = 1, day = 1, hour = 11 }, 3600)
  math.randomseed(42)
  local a = math.random(1 << 40)
  math.randomseed(42)
  t.ok(math.random(1 << 40) ~= a, "a script cannot seed the host")
  for _ = 1, 200 do
    local v = math.random(3, 5)
    t.ok(v >= 3 and v <= 5)
  end
  t.eq(math.random(7, 7), 7)
  t.raises("interval is empty", math.random, 2, 1)
end)

t.test("files that hold secrets are not for scripts", function()
  for _, path in ipairs { ".env", "examples/.env.local", "/proc/self/environ", "/proc/../proc/self/environ" } do
    local file, why = io.open(path)
    t.eq(file, nil)
    t.match(why, "may not open")
    t.eq(io.lines(path), nil)
    t.raises("may not load", dofile, path)
    t.raises("may not load", loadfile, path)
  end
  t.ok(io.open("README.md")):close()
end)

t.test("shared modules are read-only, cjson too", function()
  t.raises("read%-only", function() require("cjson").encode = nil end)
  t.raises("read%-only", function() require("host.json").encode = nil end)
  t.eq(require("cjson").encode({ 1 }), "[1]")
end)

t.test("errors of finalizers do not reach anybody", function()
  setmetatable({}, { __gc = function() error "in a finalizer" end })
  collectgarbage()
end)

t.done()
