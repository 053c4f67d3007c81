-- host.json against docs/json.md: a test a row, named after it. At the end the two are compared.
local t = require "testing"
local json = require "host.json"
local cjson = require "cjson"

local seen = {}

local function row(name, fn)
  seen[name:match "^%u%d%d"] = true
  t.test(name, fn)
end

local function read(text, want, options)
  local got, err = json.decode(text, options)
  t.ok(err == nil, ("%s: %s"):format(text, tostring(err)))
  t.eq(got, want)
  t.eq(math.type(got), math.type(want))
end

local function refused(text, pattern, options)
  local got, err = json.decode(text, options)
  t.err("protocol", got, err)
  t.match(tostring(err), "line %d+, column %d+: ")
  t.match(tostring(err), pattern)
end

local function written(value, want)
  local got, err = json.encode(value)
  t.ok(err == nil, tostring(err))
  t.eq(got, want)
end

local function unwritten(value, pattern)
  local got, err = json.encode(value)
  t.err("invalid", got, err)
  t.match(tostring(err), pattern)
end

-- reading ---------------------------------------------------------------------------------------

row("R01 null", function()
  t.ok(rawequal(json.decode "null", json.null))
  t.ok(rawequal(json.null, cjson.null))
  t.ok(json.is_null(json.decode "[null]"[1]))
  t.ok(not json.is_null(nil) and not json.is_null(false) and not json.is_null {})
end)

row("R02 booleans", function()
  read("true", true)
  read(" false ", false)
end)

row("R03 whole numbers", function()
  read("3", 3)
  read("12345678901234567", 12345678901234567)
  read("9223372036854775807", math.maxinteger)
  read("-9223372036854775808", math.mininteger)
end)

row("R04 minus zero", function()
  read("-0", 0)
end)

row("R05 whole numbers that do not fit", function()
  read("9223372036854775808", 2.0 ^ 63)
  read("-9223372036854775809", -2.0 ^ 63)
  read("123456789012345678901234567890", 123456789012345678901234567890.0)
end)

row("R06 floats", function()
  read("1.0", 1.0)
  read("1e2", 100.0)
  read("0.1", 0.1)
  read("9007199254740993.0", 9007199254740992.0)
  read("4.9406564584124654e-324", 4.9406564584124654e-324)
  t.eq(1 / json.decode "-0.0", -math.huge)
end)

row("R07 beyond floats", function()
  read("1e400", math.huge)
  read("-1e400", -math.huge)
  read("1e-400", 0.0)
end)

row("R08 strings", function()
  read([["\"\\\/\b\f\n\r\t\u0041\u00e4\u20AC"]], "\"\\/\b\f\n\r\tA\u{e4}\u{20ac}")
  read([["\ud83d\ude00"]], "\u{1f600}")
  read([["a\u0000b"]], "a\0b")
  read([[{"\u00e4":"\u0061"}]], { ["\u{e4}"] = "a" })
  local long = ("x"):rep(5000) .. "\n" .. ("\u{20ac}"):rep(5000)
  read('"' .. long:gsub("\n", "\\n") .. '"', long)
end)

row("R09 lone surrogates", function()
  read([["\ud800"]], "\u{fffd}")
  read([["\udc00x"]], "\u{fffd}x")
  read([["\ud800\u0041"]], "\u{fffd}A")
  read([["\ud800\ud83d\ude00"]], "\u{fffd}\u{1f600}")
end)

row("R10 bad UTF-8", function()
  read('"a\xffb"', "a\u{fffd}b")
  read('"\xf0\x9f\x98"', "\u{fffd}")
  read('"\xc0\x80"', "\u{fffd}\u{fffd}")
end)

row("R11 arrays", function()
  local v = json.decode "[[],[1,null,3]]"
  t.ok(json.is_array(v) and json.is_array(v[1]) and json.is_array(v[2]))
  t.ok(getmetatable(v) == json.array_mt)
  t.eq(#v[2], 3)
  for _, n in ipairs { 31, 32, 33, 64, 65, 1000 } do
    local list = json.decode("[" .. ("7,"):rep(n - 1) .. "8]")
    t.eq(#list, n)
    t.eq(list[n], 8)
  end
end)

row("R12 objects", function()
  local v = json.decode '{"a":{},"":1}'
  t.eq(v, { a = {}, [""] = 1 })
  t.ok(getmetatable(v) == nil and not json.is_array(v.a))
end)

row("R13 duplicate keys", function()
  read('{"a":1,"b":0,"a":2}', { a = 2, b = 0 })
  read('{"a":1,"\\u0061":null}', { a = json.null })
  refused('{"a":1,"a":2}', 'column 8: the key "a" appears twice', { unique_keys = true })
  refused('[{"b":{"a":1,"\\u0061":2}}]', "appears twice", { unique_keys = true })
  read('{"a":{"a":1}}', { a = { a = 1 } }, { unique_keys = true })
  local many = {}
  for i = 1, 100 do
    many[i] = ('"k%d":%d'):format(i, i)
  end
  t.eq(json.decode("{" .. table.concat(many, ",") .. ',"k7":"last"}').k7, "last")
  refused("{" .. table.concat(many, ",") .. ',"k7":0}', '"k7" appears twice', { unique_keys = true })
end)

row("R14 NUL in keys", function()
  refused([[{"a\u0000":1}]], "a key must not hold NUL")
  refused('{"a\0":1}', "a key must not hold NUL", { raw_controls = true })
end)

row("R15 raw control characters", function()
  refused('"a\nb"', "control character 10")
  refused('"\0"', "control character 0")
  read('"a\nb\t\0"', "a\nb\t\0", { raw_controls = true })
end)

row("R16 NaN and Infinity", function()
  refused("NaN", "NaN and Infinity are not JSON")
  refused("[Infinity]", "NaN and Infinity are not JSON")
  refused("-Infinity", "NaN and Infinity are not JSON")
  refused("nan", "the only words")
end)

row("R17 trailing bytes", function()
  read("1 \r\n\t", 1)
  refused("{} x", "column 4: something follows the value")
  refused("1\0", "something follows the value")
  refused("{}\n{}", "line 2, column 1: something follows the value")
end)

row("R18 byte-order mark", function()
  refused("\u{feff}{}", "byte%-order mark")
end)

row("R19 depth", function()
  t.ok(json.decode(("["):rep(128) .. ("]"):rep(128)))
  t.ok(json.decode(('{"a":'):rep(128) .. "1" .. ("}"):rep(128)))
  refused(("["):rep(129) .. ("]"):rep(129), "nested deeper than 128 levels")
  refused(("["):rep(10000) .. ("]"):rep(10000), "nested deeper than 128 levels")
  refused(('{"a":'):rep(1000000), "nested deeper than 128 levels")
end)

row("R20 what others accept", function()
  for text, pattern in pairs {
    ["// c\n1"] = "JSON has no comments",
    ["['a']"] = "strings need double quotes",
    ["[1,]"] = "a comma before ']'",
    ['{"a":1,}'] = "a comma before '}'",
    ["{a:1}"] = "a key in double quotes was expected",
    ["01"] = "must not begin with 0",
    [".5"] = "a value was expected",
    ["+1"] = "a value was expected",
    ["1."] = "a digit is missing",
    ["True"] = "a value was expected",
    ["undefined"] = "a value was expected",
    ['"\\x41"'] = "begins no escape",
  } do
    refused(text, pattern)
  end
end)

row("R21 nothing", function()
  refused("", "there is no value")
  refused(" \n", "there is no value")
end)

t.test("every truncation is refused", function()
  local text = [==[{"id":"c\u00e4\ud83d\ude00","n":[-1.5e+10,true,false,null,{}],"k":{"x":[["y"]]} }]==]
  t.ok(json.decode(text))
  for n = 0, #text - 1 do
    local v, err = json.decode(text:sub(1, n))
    t.ok(v == nil and err.kind == "protocol", n)
  end
end)

-- writing ---------------------------------------------------------------------------------------

row("W01 null", function()
  written(json.null, "null")
  written(cjson.null, "null")
  written(nil, "null")
  written({ a = json.null }, '{"a":null}')
end)

row("W02 integers", function()
  written(3, "3")
  written(math.mininteger, "-9223372036854775808")
  written(12345678901234567, "12345678901234567")
end)

row("W03 floats", function()
  for value, want in pairs {
    [0.1] = "0.1",
    [0.30000000000000004] = "0.30000000000000004",
    [1e22] = "1e+22",
    [123456.789] = "123456.789",
    [5e-324] = "4.94065645841247e-324",
    [1 / 3] = "0.3333333333333333",
  } do
    written(value, want)
  end
  written(1.0, "1.0")
  written(1e15, "1e+15")
  written(-0.0, "-0.0")
  written(2.0 ^ 53, "9007199254740992.0")
  written(2.0 ^ 63, "9.223372036854776e+18")
  for _ = 1, 2000 do
    local v = string.unpack("d", string.pack("i8", math.random(0)))
    if v == v and v ~= math.huge and v ~= -math.huge then
      t.ok(json.decode(json.encode(v)) == v, v)
    end
  end
end)

row("W04 NaN and infinities", function()
  unwritten(0 / 0, "^value: NaN and infinity are not JSON")
  unwritten({ a = { math.huge } }, "^value%.a%[1%]: NaN and infinity")
end)

row("W05 strings", function()
  written('"\\/\b\f\n\r\t\1\127\u{e4}\u{2028}\u{1f600}', [["\"\\/\b\f\n\r\t\u0001]] .. '\127\u{e4}\u{2028}\u{1f600}"')
  written("a\0b", [["a\u0000b"]])
  written("", '""')
end)

row("W06 bad UTF-8", function()
  local messages = { { content = "ok" }, { content = "\xff" } }
  unwritten({ messages = messages }, "^value%.messages%[2%]%.content: text that is not UTF%-8")
  unwritten({ ["a\xed\xa0\x80"] = 1 }, "is not UTF%-8")
  unwritten("cut \xe2\x82", "is not UTF%-8")
end)

row("W07 lists", function()
  written({ 1, "a", { 2 } }, '[1,"a",[2]]')
  written({ [1] = 1, [2] = 2 }, "[1,2]")
  written(json.array { 1, 2 }, "[1,2]")
  written(setmetatable({ 1 }, json.array_mt), "[1]")
  local long = {}
  for i = 1, 1000 do
    long[i] = i
  end
  written(long, "[" .. table.concat(long, ",") .. "]")
end)

row("W08 empty tables", function()
  written({}, "{}")
  written(json.array {}, "[]")
  written(json.array(), "[]")
  written({ a = {}, b = json.array() }, '{"a":{},"b":[]}')
end)

row("W09 objects", function()
  written({ b = 1, a = 2, B = 3, ["\u{e4}"] = 4, [""] = 5, ab = 6 }, '{"":5,"B":3,"a":2,"ab":6,"b":1,"\u{e4}":4}')
  written({ ["1"] = "a", ["2"] = "b" }, '{"1":"a","2":"b"}')
  written({ ['q"'] = 1 }, '{"q\\"":1}')
  for _, n in ipairs { 31, 32, 33, 100 } do
    local v, want = {}, {}
    for i = n, 1, -1 do
      v[("k%03d"):format(i)] = { x = i }
      want[i] = ('"k%03d":{"x":%d}'):format(i, i)
    end
    written(v, "{" .. table.concat(want, ",") .. "}")
  end
  local trap = setmetatable({ a = 1 }, { __index = error, __pairs = error, __len = error, __tostring = error })
  written(trap, '{"a":1}')
end)

row("W10 holes", function()
  unwritten({ 1, nil, 3 }, "^value: a list with holes")
  unwritten({ x = { [2] = 1 } }, "^value%.x: a list with holes")
  unwritten({ [0] = 1, 2 }, "a list with holes")
  unwritten({ [-1] = 1 }, "a list with holes")
  unwritten(json.array { nil, 2 }, "a list with holes")
end)

row("W11 mixed tables", function()
  unwritten({ 1, a = 2 }, "^value: a table with both list items and named fields")
  unwritten({ b = { { 1, a = 2 } } }, "^value%.b%[1%]: a table with both")
  unwritten(json.array { a = 1 }, "a table with both")
  local many = { 1 }
  for i = 1, 40 do
    many["k" .. i] = i
  end
  unwritten(many, "^value: a table with")
end)

row("W12 other keys", function()
  unwritten({ [true] = 1 }, "^value: a key that is neither a string nor a list position")
  unwritten({ [1.5] = 1 }, "neither a string nor a list position")
  unwritten({ [{}] = 1 }, "neither a string nor a list position")
  local many = { [true] = 1 }
  for i = 1, 40 do
    many["k" .. i] = i
  end
  unwritten(many, "^value: a ")
end)

row("W13 NUL in keys", function()
  unwritten({ ["a\0"] = 1 }, "a key must not hold NUL")
  written({ a = "\0" }, [[{"a":"\u0000"}]])
end)

row("W14 what has no text", function()
  unwritten({ tools = { { run = print } } }, "^value%.tools%[1%]%.run: a function cannot become JSON")
  unwritten({ ["a b"] = coroutine.create(print) }, '^value%["a b"%]: a thread cannot become JSON')
  if io then
    unwritten(io.stdout, "a userdata cannot become JSON")
  end
end)

row("W15 depth and cycles", function()
  local v = {}
  for _ = 2, 128 do
    v = { a = v }
  end
  local text = t.ok(json.encode(v)) and json.encode(v)
  t.eq(json.encode(json.decode(text)), text)
  unwritten({ v }, "nested deeper than 128 levels")
  local cycle = { list = {} }
  cycle.list[1] = cycle
  unwritten(cycle, "^value%.list%[1%]%.list%[1%].*%.%.%.: nested deeper than 128 levels")
end)

row("W16 round trips", function()
  for _, text in ipairs {
    '{"a":[],"b":{},"c":[{"d":[1,2.0,"x",null,true]}]}',
    "[0.1,1e+22,-3,9007199254740993]",
    '"\u{1f600}\\n"',
    "[[[[]]]]",
  } do
    t.eq(json.encode(json.decode(text)), text)
  end
end)

row("W17 cjson's tables", function()
  local v = cjson.decode '{"a":[1,null,"x"],"b":{"c":null},"d":1.5}'
  written(v, json.encode(json.decode '{"a":[1,null,"x"],"b":{"c":null},"d":1.5}'):gsub("%[1,", "[1.0,") .. "")
  t.eq(cjson.encode(json.decode "[1,null,[2]]"), "[1,null,[2]]")
end)

-- misuse raises ---------------------------------------------------------------------------------

t.test("misuse raises", function()
  t.raises("string expected", json.decode)
  t.raises("string expected", json.decode, {})
  t.raises("table expected", json.decode, "1", true)
  t.raises("unknown field 'unique_key'", json.decode, "1", { unique_key = true })
  t.raises("boolean expected", json.decode, "1", { unique_keys = 1 })
  t.raises("value expected", json.encode)
  t.raises("table expected", json.array, "x")
  t.raises("metatable already", json.array, setmetatable({}, {}))
end)

t.test("array marks the table it was given", function()
  local v = {}
  t.ok(rawequal(json.array(v), v) and json.is_array(v))
  t.ok(json.array(v) == v)
  t.ok(not json.is_array {} and not json.is_array "x" and not json.is_array(nil))
end)

t.test("each row of docs/json.md has its test", function()
  local here = debug and debug.getinfo and debug.getinfo(1, "S").source:match "^@(.*/)" or "tests/lua/"
  local file = io and (io.open(here .. "../../docs/json.md") or io.open "docs/json.md")
  if not file then
    return -- files cannot be opened from here
  end
  local text = file:read "a"
  file:close()
  local count = 0
  for name in text:gmatch "\n| (%u%d%d) |" do
    count = count + 1
    t.ok(seen[name], name .. " has no test")
    seen[name] = nil
  end
  t.ok(count > 30)
  t.ok(next(seen) == nil, tostring(next(seen)) .. " is not in docs/json.md")
end)

t.done()
