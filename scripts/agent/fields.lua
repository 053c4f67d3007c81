-- Checks the fields of a table that a user wrote: agent{…}, tool{…}, the options of run.
-- A mistake is raised at the line of the script that made it.
local script = require "host.script"
local near = require "agent.near"

local fields = {}

local function is_list(v)
  if type(v) ~= "table" then return false end
  local n = 0
  for _ in pairs(v) do n = n + 1 end
  return n == #v
end

local function list_of_strings(v)
  if not is_list(v) then return false end
  for _, item in ipairs(v) do
    if type(item) ~= "string" then return false end
  end
  return true
end

-- What a field may be: its words for the message, and the test.
local kinds = {
  text = { "a string that is not empty", function(v) return type(v) == "string" and v ~= "" end },
  string = { "a string", function(v) return type(v) == "string" end },
  flag = { "true or false", function(v) return type(v) == "boolean" end },
  number = { "a number", function(v) return type(v) == "number" end },
  count = { "a whole number above 0", function(v) return math.type(v) == "integer" and v > 0 end },
  any = { "given", function() return true end },
  table = { "a table", function(v) return type(v) == "table" end },
  list = { 'a list, like { "gmail" }', is_list },
  strings = { 'a list of strings, like { "mail" }', list_of_strings },
  callable = { "a function", function(v) return type(v) == "function" end },
  model = {
    "the name of a model, or a model",
    function(v) return (type(v) == "string" and v ~= "") or type(v) == "table" or type(v) == "userdata" end,
  },
}

local function sorted_keys(t)
  local keys = {}
  for k in pairs(t) do keys[#keys + 1] = tostring(k) end
  table.sort(keys)
  return keys
end

-- Raises. `level` is where the blame goes, as in error(); nil: no position. `return agent{…}` leaves no line behind
-- (Lua drops the frame of a tail call), so the script is named instead.
function fields.blame(message, level)
  if not level then error(message, 0) end
  local at = debug.getinfo(level + 1, "l")
  if not at or at.currentline < 1 then error(script.path() .. ": " .. message, 0) end
  error(message, level + 1)
end

-- `allowed` is { field = kind }.
function fields.check(what, given, allowed, level)
  level = level and level + 1
  if type(given) ~= "table" then fields.blame(("%s takes one table, got %s"):format(what, type(given)), level) end
  for _, key in ipairs(sorted_keys(given)) do
    local kind = allowed[key]
    if not kind then
      fields.blame(("%s: unknown field '%s'%s"):format(what, key, near.hint(key, sorted_keys(allowed))), level)
    end
    local words, test = kinds[kind][1], kinds[kind][2]
    if not test(given[key]) then
      fields.blame(("%s: field '%s' must be %s, got %s"):format(what, key, words, type(given[key])), level)
    end
  end
end

function fields.need(what, given, names, level)
  level = level and level + 1
  for _, name in ipairs(names) do
    if given[name] == nil then fields.blame(("%s: field '%s' is missing"):format(what, name), level) end
  end
end

return fields
