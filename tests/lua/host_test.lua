-- require "host": order, hashes, chance, time, settings by name.
local t = require "testing"
local host = require "host"

t.test("sorted_pairs: numbers, then strings, then the rest; what is there at the start", function()
  local keys = {}
  for k in host.sorted_pairs { b = 1, a = 2, [10] = 3, [2] = 4, [1.5] = 5, [true] = 6 } do keys[#keys + 1] = k end
  t.eq({ keys[1], keys[2], keys[3], keys[4], keys[5], #keys }, { 1.5, 2, 10, "a", "b", 6 })
  local grown = { a = 1, b = 2 }
  local n = 0
  for k, v in host.sorted_pairs(grown) do
    grown[k .. "x"] = v
    n = n + 1
  end
  t.eq(n, 2)
  for _ in host.sorted_pairs {} do error "nothing is there" end
  t.raises("table expected", host.sorted_pairs, 5)
end)

t.test("sha256", function()
  t.eq(host.sha256 "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
  t.eq(host.sha256 "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
  t.ok(host.sha256 "a\0b" ~= host.sha256 "a")
  t.raises("string expected", host.sha256)
end)

t.test("uuid: version 7, in order, all different", function()
  local seen, last = {}, ""
  for _ = 1, 100 do
    local id = host.uuid()
    t.match(id, "^%x+%-%x%x%x%x%-7%x%x%x%-[89ab]%x%x%x%-%x+$")
    t.eq(#id, 36)
    t.eq(seen[id], nil)
    t.ok(id:sub(1, 13) >= last)
    seen[id], last = true, id:sub(1, 13)
  end
end)

t.test("random, as math.random", function()
  for _ = 1, 100 do
    local f = host.random()
    t.ok(f >= 0 and f < 1)
    t.eq(math.type(f), "float")
    t.ok(host.random(3) <= 3)
    t.eq(host.random(-1, -1), -1)
  end
  t.eq(math.type(host.random(math.mininteger, math.maxinteger)), "integer")
  t.eq(math.type(host.random(0)), "integer")
  t.raises("interval is empty", host.random, -1)
  t.raises("number expected", host.random, "x")
end)

t.test("time and version", function()
  local a = host.time()
  t.eq(math.type(a), "float")
  t.ok(a > 1.7e9)
  t.ok(host.time() >= a)
  t.match(host.version, "^%d+%.%d+%.%d+$")
  t.eq(host.emulated(), false)
end)

t.test("log takes levels and any value", function()
  host.log("debug", "not shown")
  host.log("info", setmetatable({}, { __tostring = function() return "not shown" end }))
  t.raises("invalid option", host.log, "loud", "x")
  t.raises("string expected", host.log)
end)

t.test("secrets are handles", function()
  local key = host.secret "SOME_API_KEY"
  t.eq(tostring(key), "[secret:SOME_API_KEY]")
  t.eq(tostring("a" .. key .. 1 .. key), "a[secret:SOME_API_KEY]1[secret:SOME_API_KEY]")
  t.eq(type(key), "userdata")
  t.raises("not a name", host.secret, "")
  t.raises("not a name", host.secret, ("x"):rep(200))
  t.raises("not a name", host.secret, "a\1b")
  t.raises("string expected", host.secret)
  t.raises("string or secret", function() return key .. {} end)
  t.raises("attempt", function() return #key end)
end)

t.test("config gives settings, never secrets", function()
  t.eq(host.config "NO_SUCH_SETTING_HERE", nil)
  t.raises("is a secret", host.config, "OPENAI_API_KEY")
  t.match(host.config "AGENTHOST_HOME", "^/")
end)

t.done()
