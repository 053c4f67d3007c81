-- A structured answer: a value of the schema that response_format holds, made of the tools' results where they have
-- something of that name, else of the question. Called by openai.lua and responses.lua.
local json = require "host.json"
local model = require "emulator.model"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given, is_object, is_array = world_of.given, world_of.is_object, world_of.is_array
local M = {}

local MAX_ITEMS, MAX_TEXT, MAX_DEPTH = 5, 300, 20

-- The schema itself: behind a $ref, or the branch that is no null.
local function resolve(root, schema)
  for _ = 1, MAX_DEPTH do
    if type(schema["$ref"]) == "string" then
      local at = root
      for step in schema["$ref"]:gmatch "[^#/]+" do at = is_object(at) and at[step] or {} end
      schema = is_object(at) and at or {}
    elseif is_array(schema.anyOf) then
      local branch
      for _, one in ipairs(schema.anyOf) do
        if is_object(one) and one.type ~= "null" then
          branch = branch or one
        end
      end
      schema = branch or {}
    else
      return schema
    end
  end
  return {}
end

local function kind_of(schema)
  if type(schema.type) == "string" then return schema.type, false end
  local kind, nullable = nil, false
  for _, one in ipairs(is_array(schema.type) and schema.type or {}) do
    if one == "null" then nullable = true else kind = kind or one end
  end
  return kind, nullable
end

local function may_be_null(root, schema)
  local _, nullable = kind_of(schema)
  for _, one in ipairs(is_array(schema.anyOf) and schema.anyOf or {}) do
    nullable = nullable or (is_object(one) and one.type == "null")
  end
  return nullable or select(2, kind_of(resolve(root, schema)))
end

-- The first list of objects in the results, the latest first.
local function find_items(results)
  for i = #results, 1, -1 do
    local list = model.find_objects(results[i].value)
    if list then return list end
  end
  return {}
end

local make

local function make_object(state, schema, item, depth)
  local out = {}
  for name, property in pairs(is_object(schema.properties) and schema.properties or {}) do
    out[name] = make(state, is_object(property) and property or {}, name, item, depth + 1)
  end
  return out
end

local function make_array(state, schema, depth)
  local list = json.array {}
  local items = resolve(state.root, is_object(schema.items) and schema.items or {})
  if kind_of(items) == "object" then
    for i, item in ipairs(state.items) do
      if i > MAX_ITEMS then break end
      list[i] = make_object(state, items, item, depth + 1)
    end
  end
  for i = #list + 1, schema.minItems or 0 do list[i] = make(state, items, "item", nil, depth + 1) end
  return list
end

local function make_number(state, name, item)
  local n = item and tonumber(model.header(item, name))
  return n or (name:find "count" or name:find "total") and #state.items or 0
end

function make(state, schema, name, item, depth)
  local nullable = may_be_null(state.root, schema)
  schema = resolve(state.root, schema)
  local kind = kind_of(schema)
  local found = item and model.header(item, name)
  if depth > MAX_DEPTH then return json.null end
  if schema.const ~= nil then return schema.const end
  if is_array(schema.enum) then return schema.enum[1] end
  if kind == "object" then return nullable and depth > 3 and json.null or make_object(state, schema, item, depth) end
  if kind == "array" then return make_array(state, schema, depth) end
  if kind == "string" and type(found) == "string" then return text.cut(found, MAX_TEXT) end
  if nullable then return json.null end
  if kind == "number" then return make_number(state, name, item) end
  if kind == "integer" then return math.floor(make_number(state, name, item)) end
  if kind == "boolean" then return found == true end
  return text.cut(state.said:match "^[^\n]*", MAX_TEXT)
end

-- said: what the model would have answered in words. Without results the question fills the schema, as arguments.
function M.fill(schema, messages, said)
  local view = model.read { messages = messages, tools = {} }
  schema = is_object(schema) and schema or {}
  if #view.results == 0 and not (is_object(given(schema["$defs"])) or is_array(schema.anyOf)) then
    return model.fill({ parameters = schema }, view.question)
  end
  return make({ root = schema, items = find_items(view.results), said = said or view.question }, schema, "", nil, 1)
end

return M
