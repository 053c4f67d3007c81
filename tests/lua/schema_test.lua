-- host.schema: values that fit and do not fit, schemas made strict, and answers of models as values.
local t = require "testing"
local json = require "host.json"
local openai = require "host.openai"
local schema = require "host.schema"
local server = require "host.server"

local function decode(text) return assert(json.decode(text)) end

local person = decode [[{"type":"object","properties":{"name":{"type":"string","minLength":2},"age":{"type":"integer","minimum":0},
  "tags":{"type":"array","items":{"enum":["a","b"]},"maxItems":2},"boss":{"$ref":"#"}},"required":["name"],
  "additionalProperties":false}]]

-- schema, value, and what is wrong (nil: nothing)
local rows = {
  { person, '{"name":"Jo"}' },
  { person, '{"name":"Jo","age":3.0,"tags":["a","b"],"boss":{"name":"Al"}}' },
  { person, '{}', "^'name' is missing$" },
  { person, '{"name":"J"}', "^'name' must have at least 2 characters$" },
  { person, '{"name":"é€"}' },
  { person, '{"name":7}', "^'name' must be of type string$" },
  { person, '{"name":"Jo","age":-1}', "^'age' must be at least 0$" },
  { person, '{"name":"Jo","age":1.5}', "^'age' must be of type integer$" },
  { person, '{"name":"Jo","age":null}', "^'age' must be of type integer$" },
  { person, '{"name":"Jo","tags":["a","c"]}', "^'tags%[2%]' must be one of %[\"a\",\"b\"%]$" },
  { person, '{"name":"Jo","tags":["a","a","a"]}', "^'tags' must have at most 2 items$" },
  { person, '{"name":"Jo","boss":{"name":"Al","boss":{"age":1}}}', "^'boss%.boss%.name' is missing$" },
  { person, '{"name":"Jo","nick":"x"}', "^'nick' is not known here$" },
  { person, '[1]', "^the value must be of type object$" },
  { person, '{"name":1,"age":"x"}', "^'age' must be of type integer\n'name' must be of type string$" },
  { '{"type":["string","null"]}', "null" },
  { '{"type":["string","null"]}', "1", "must be of type string or null" },
  { '{"type":"string","nullable":true}', "null" },
  { '{"const":{"a":[1,2.0]}}', '{"a":[1.0,2]}' },
  { '{"const":{"a":1}}', '{"a":2}', 'must be {"a":1}' },
  { '{"anyOf":[{"type":"string"},{"type":"object","properties":{"x":{"type":"number"}},"required":["x"]}]}', '{"x":"1"}',
    "^'x' must be of type number$" },
  { '{"anyOf":[{"type":"string"},{"type":"null"}]}', "null" },
  { '{"oneOf":[{"type":"integer"},{"type":"number"}]}', "1", "more than one" },
  { '{"allOf":[{"minimum":1},{"maximum":3}]}', "4", "at most 3" },
  { '{"not":{"type":"string"}}', '"a"', "must not be" },
  { '{"exclusiveMinimum":1,"exclusiveMaximum":2}', "1", "greater than 1" },
  { '{"exclusiveMaximum":2}', "2", "less than 2" },
  { '{"multipleOf":0.1}', "0.3" },
  { '{"multipleOf":2}', "3", "multiple of 2" },
  { '{"additionalProperties":{"type":"number"}}', '{"a":1,"b":"x"}', "^'b' must be of type number$" },
  { '{"$ref":"#/$defs/a","$defs":{"a":{"type":"string"}}}', "1", "of type string" },
  { '{"$ref":"https://example.org/schema"}', "1" },
  { '{"type":"object","properties":{"a":false}}', '{"a":1}', "^'a' must not be there$" },
  { '{"minProperties":1}', '{"a":1}' },
  { '{"minProperties":2}', '{"a":1}', "at least 2 members" },
  { '{"type":"array","minItems":1}', "[]", "at least 1 items" },
  { "{}", '"anything"' },
}

t.test("values that fit, and what is said of those that do not", function()
  for i, row in ipairs(rows) do
    local s = type(row[1]) == "string" and decode(row[1]) or row[1]
    local ok, faults = schema.check(s, decode(row[2]))
    local what = i .. ": " .. row[2] .. " " .. tostring(faults)
    if row[3] then
      t.ok(not ok and faults:find(row[3]), what)
    else
      t.ok(ok, what)
    end
  end
end)

t.test("a schema that refers to itself without end, and faults without number", function()
  local ok, faults = schema.check(decode '{"$ref":"#"}', 1)
  t.ok(not ok)
  t.match(faults, "too deep")
  ok = schema.check(decode '{"anyOf":[{"$ref":"#"},{"$ref":"#"}]}', 1)
  t.ok(not ok)
  local many = {}
  for i = 1, 100 do many[i] = "x" end
  ok, faults = schema.check(decode '{"items":{"type":"number"}}', many)
  t.ok(not ok)
  t.eq(select(2, faults:gsub("\n", "")), 7)
  t.raises("bad schema", schema.check, { print }, 1)
  t.raises("table expected", schema.check, "x", 1)
end)

t.test("tables of Lua: {} is a list or an object", function()
  t.ok(schema.check({ type = "array" }, {}))
  t.ok(schema.check({ type = "object", required = {} }, {}))
  t.ok(schema.check({ type = "array", items = { type = "integer" } }, { 1, 2.0 }))
end)

local strict_rows = {
  { '{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}',
    '{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}' },
  { '{"properties":{"a":{"type":"string","default":"x","description":"An a."}}}',
    '{"type":"object","properties":{"a":{"type":["string","null"],"description":"An a. (default: \\"x\\")"}},'
      .. '"required":["a"],"additionalProperties":false}' },
  { '{"type":"object","properties":{"a":{"enum":["x"]},"b":{"$ref":"#/$defs/c"}},"$defs":{"c":{"type":"array","items":'
      .. '{"type":"object","properties":{},"additionalProperties":false}}}}',
    '{"type":"object","$defs":{"c":{"type":"array","items":{"type":"object","properties":{},"required":[],'
      .. '"additionalProperties":false}}},"properties":{"a":{"anyOf":[{"enum":["x"]},{"type":"null"}]},'
      .. '"b":{"anyOf":[{"$ref":"#/$defs/c"},{"type":"null"}]}},"required":["a","b"],"additionalProperties":false}' },
  { '{"type":"object","required":["a"],"properties":{"a":{"oneOf":[{"type":"string","minLength":1,"format":"uri"},'
      .. '{"type":"string","format":"date"}]}}}',
    '{"type":"object","properties":{"a":{"anyOf":[{"type":"string","description":"(format: \\"uri\\", minLength: 1)"},'
      .. '{"type":"string","format":"date"}]}},"required":["a"],"additionalProperties":false}' },
  { '{"type":"object","required":["a"],"properties":{"a":{"type":"integer","nullable":true,"title":"A"}}}',
    '{"type":"object","properties":{"a":{"type":["integer","null"]}},"required":["a"],"additionalProperties":false}' },
  { '{"type":"object","required":["a"],"properties":{"a":{"allOf":[{"$ref":"#"}],"description":"d"}}}',
    '{"type":"object","properties":{"a":{"description":"d","anyOf":[{"$ref":"#"}]}},"required":["a"],'
      .. '"additionalProperties":false}' },
  { '{"type":"object","properties":{"a":{"$ref":"#","description":"d","default":1}}}',
    '{"type":"object","properties":{"a":{"description":"d (default: 1)","anyOf":[{"$ref":"#"},{"type":"null"}]}},'
      .. '"required":["a"],"additionalProperties":false}' },
  { '{"type":"object","properties":{"a":{"allOf":[{"type":"integer","maximum":3}]}}}',
    '{"type":"object","properties":{"a":{"type":["integer","null"],"maximum":3}},"required":["a"],"additionalProperties":false}' },
  { '{"type":"object","required":["a"],"$defs":{"x/y":{"type":"string"}},"properties":{"a":{"$ref":"#/$defs/x~1y"}}}',
    '{"type":"object","$defs":{"x/y":{"type":"string"}},"properties":{"a":{"$ref":"#/$defs/x~1y"}},"required":["a"],'
      .. '"additionalProperties":false}' },
}

t.test("schemas made strict", function()
  for i, row in ipairs(strict_rows) do
    local got = assert(schema.strict(decode(row[1])))
    t.eq(got, decode(row[2]), "row " .. i)
    t.eq(assert(schema.strict(got)), got, "what is strict stays")
  end
end)

t.test("what cannot be strict is told, with its place", function()
  local bad = {
    { '{"type":"array"}', "no object" },
    { '{"anyOf":[]}', "no object" },
    { '{"type":"object"}', "an object without properties" },
    { '{"type":"object","properties":{"a":{"type":"object","properties":{"b":{"type":"object"}}}}}', "at a%.b .*without properties" },
    { '{"type":"object","properties":{"a":{"type":"object","additionalProperties":{"type":"string"}}}}', "at a .*map" },
    { '{"type":"object","properties":{"a":{"not":{}}}}', "at a .*'not'" },
    { '{"type":"object","properties":{"a":{"allOf":[{},{}]}}}', "'allOf'" },
    { '{"type":"object","properties":{"a":true}}', "says nothing" },
    { '{"type":"object","properties":{"a":{"description":"x"}}}', "at a .*says nothing" },
    { '{"type":"object","properties":{"a":{"type":"array"}}}', "at a .*list of anything" },
    { '{"type":"object","properties":{"a":{"type":"array","items":{}}}}', "at a .*says nothing" },
    { '{"type":"object","properties":{"a":{"$ref":"#/$defs/none"}}}', "at a .*leads nowhere" },
    { '{"type":"object","properties":{"a":{"$ref":"https://x.example/s"}}}', "at a .*leads nowhere" },
    { '{"type":"object","properties":{"a":{"$ref":"#","minimum":1}}}', "at a .*more beside" },
    { '{"type":"object","properties":{"a":{"type":"object","properties":{},"allOf":[{"$ref":"#"}]}}}', "at a .*more beside" },
    { '{"type":"object","properties":{"a":{"allOf":[{"not":{"type":"string"}}]}}}', "'not'" },
    { '{"type":"object","properties":{"a":{"type":"string"}},"required":["b"]}', "it requires 'b'" },
    { '{"type":"object","properties":{"a":{"anyOf":[{"type":"string"}],"oneOf":[{"type":"string"}]}}}', "'anyOf' and 'oneOf'" },
    { '{"type":"object","properties":{},"anyOf":[{"required":["a"]}]}', "a choice at the top" },
  }
  for _, row in ipairs(bad) do
    local _, err = schema.strict(decode(row[1]))
    t.eq(err.kind, "invalid", row[1])
    t.match(err.message, row[2])
  end
end)

-- A model that says `texts`, one after another.
local function with(texts, use)
  local seen = {}
  local s = assert(server.listen {
    handler = function(req)
      seen[#seen + 1] = req.body
      return 200, { ["content-type"] = "application/json" }, json.encode { choices = json.array {
        { message = { role = "assistant", content = texts[#seen] }, finish_reason = "stop" } } }
    end,
  })
  local model = openai.chat_model { model = "m", base_url = ("http://127.0.0.1:%d/v1"):format(s:port()), retry = false }
  local ok, err = pcall(use, model, seen)
  s:close()
  if not ok then error(err, 0) end
end

local hi = { { role = "user", content = "hi" } }

t.test("an answer as a value of a schema", function()
  with({ '{"name":"Jo","age":null,"tags":["a"],"boss":{"name":"Al","age":5,"tags":null,"boss":null}}', '{"name":"J"}', "no json",
    '{"a":1}' }, function(model, seen)
    local m = model:with_structured_output(person, { name = "a person" })
    local message = assert(m:invoke(hi))
    t.eq(message.parsed, { name = "Jo", tags = json.array { "a" }, boss = { name = "Al", age = 5 } })
    t.eq(message.parsing_error, nil)
    local sent = json.decode(seen[1]).response_format
    t.eq(sent.type, "json_schema")
    t.eq(sent.json_schema.name, "a_person")
    t.eq(sent.json_schema.strict, true)
    t.eq(#sent.json_schema.schema.required, 4)
    t.eq(sent.json_schema.schema.properties.name.description, "(minLength: 2)")
    message = assert(m:invoke(hi))
    t.eq(message.parsed, nil)
    t.eq(message.parsing_error, "'name' must have at least 2 characters")
    t.match(assert(m:invoke(hi, { temperature = 0 })).parsing_error, "no JSON")
    m = model:with_structured_output({ type = "object", properties = { a = {} } }, { method = "json_mode" })
    t.eq(assert(m:invoke(hi)).parsed, { a = 1 })
    t.eq(json.decode(seen[4]).response_format, { type = "json_object" })
  end)
end)

t.test("answers of the strict mode: of a union, the branch that was meant", function()
  local either = decode [[{"type":"object","required":["a"],"properties":{"a":{"anyOf":[{"$ref":"#/$defs/cat"},{"$ref":"#/$defs/dog"},
    {"type":"null"}]}},"$defs":{
    "cat":{"type":"object","properties":{"kind":{"const":"cat"},"name":{"type":"string"},"lives":{"type":"integer"}},"required":["kind"]},
    "dog":{"type":"object","properties":{"kind":{"const":"dog"},"name":{"type":"string"},"tricks":{"type":"array","items":
      {"$ref":"#/$defs/trick"}}},"required":["kind"]},
    "trick":{"type":"object","properties":{"name":{"type":"string"},"after":{"$ref":"#/$defs/trick"},"any":{"type":["integer","null"]}},
      "required":["name"]}}}]]
  t.ok(schema.strict(either))
  local value, faults = schema.read(either, [[{"a":{"kind":"dog","name":null,"tricks":[{"name":"sit","any":null,"after":
    {"name":"roll","any":1,"after":null}}]}}]])
  t.eq(faults, nil)
  t.eq(value, { a = { kind = "dog", tricks = json.array { { name = "sit", any = json.null, after = { name = "roll", any = 1 } } } } })
  t.eq(schema.read(either, '{"a":{"kind":"cat","name":null,"lives":null}}'), { a = { kind = "cat" } })
  t.eq(schema.read(either, '{"a":{"kind":"dog","name":null,"tricks":null}}'), { a = { kind = "dog" } })
  t.eq(schema.read(either, '{"a":null}'), { a = json.null })
  for _, text in ipairs { '{"a":{"kind":"cow"}}', '{"a":{"kind":null}}', "{}", '{"a":{"kind":"dog","tricks":[null]}}' } do
    value, faults = schema.read(either, text)
    t.eq(value, nil)
    t.ok(faults, text)
  end
end)

t.test("misuse of with_structured_output", function()
  local model = openai.chat_model { model = "m", base_url = "http://127.0.0.1:1/v1" }
  t.raises("cannot be strict", model.with_structured_output, model, { type = "string" })
  t.raises("did you mean 'strict'", model.with_structured_output, model, person, { strickt = false })
  t.raises("bad field 'method'", model.with_structured_output, model, person, { method = "x" })
  t.ok(model:with_structured_output({ type = "string" }, { strict = false }))
end)

t.done()
