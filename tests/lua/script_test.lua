-- host.script: the running script's own circumstances, and files beside it.
local t = require "testing"
local script = require "host.script"
local host = require "host"

t.test("who and where", function()
  t.eq(script.args(), {})
  t.eq(script.name(), "script_test")
  t.match(script.path(), "tests/lua/script_test%.lua$")
  t.match(script.folder(), "tests/lua$")
  t.eq(script.option "no_such_option", nil)
  t.raises("string expected", script.option)
end)

t.test("the identifier is set by the script where no flag is given", function()
  t.eq(script.identifier(), nil)
  t.eq(script.identifier "user_1", "user_1")
  t.eq(script.identifier(), "user_1")
  t.raises("1 to 100 bytes", script.identifier, "")
  t.raises("1 to 100 bytes", script.identifier, ("x"):rep(101))
  t.raises("string expected", script.identifier, {})
end)

t.test("find and read", function()
  t.match(script.find "testing.lua", "testing%.lua$")
  t.eq(script.find "no/such/file.md", nil)
  local text, file = script.read "testing.lua"
  t.match(text, "harness of the Lua tests")
  t.eq(file.source, "folder")
  t.eq(file.sha256, host.sha256(text))
  t.eq(file.path, script.find "testing.lua")
  text, file = script.read "agent/init.lua"
  t.ok(#text > 0)
  t.ok(file.source == "embedded" or file.source == "installed", file.source)
  local err = t.err("config", script.read "no/such/file.md")
  t.match(tostring(err), "no file no/such/file%.md; looked for .+ and among the embedded ones")
  t.err("config", script.read "/no/such/file.md")
  t.err("config", script.read ".")
  t.raises("string expected", script.read)
end)

t.test("a file that changes is read anew", function()
  local path = os.getenv "AGENTHOST_HOME" .. "/prompt.md"
  local function write(text)
    local f = assert(io.open(path, "w"))
    f:write(text)
    f:close()
  end
  write "one"
  local text, one = script.read(path)
  t.eq(text, "one")
  write "two"
  local again, two = script.read(path)
  t.eq(again, "two")
  t.ok(one.sha256 ~= two.sha256)
  os.remove(path)
  t.err("config", script.read(path))
end)

t.test("load gives a function in this script's environment", function()
  local path = os.getenv "AGENTHOST_HOME" .. "/tool.lua"
  local f = assert(io.open(path, "w"))
  f:write "set_by_tool = true return ..., require 'testing'"
  f:close()
  local fn = assert(script.load(path))
  local v, testing = fn(5)
  t.eq(v, 5)
  t.eq(testing == t, true)
  t.eq(set_by_tool, true) -- luacheck: ignore
  f = assert(io.open(path, "w"))
  f:write "return +"
  f:close()
  t.match(tostring(t.err("script", script.load(path))), "tool%.lua:1:")
  t.err("config", script.load "no/such.lua")
end)

t.done()
