-- Table constructors against what the stubs say of them, for agenthost check: unknown fields, also of tables within.
-- Called by check.script. A type that allows anything else is not checked.
local near = require "agent.near"

local tables = {}

local opening = { ["("] = ")", ["{"] = "}", ["["] = "]" }

local function is(token, text) return token and token.text == text and token.type ~= "string" end

-- The index of the bracket that closes the one at i. Blocks of functions within hold brackets in pairs, too.
function tables.closing(list, i)
  local depth = 0
  for at = i, #list do
    local token = list[at]
    if token.type == "op" and opening[token.text] then
      depth = depth + 1
    elseif token.type == "op" and token.text:match "^[)}%]]$" then
      depth = depth - 1
      if depth == 0 then return at end
    end
  end
  return #list
end

-- The index behind an expression that begins at i: the comma or bracket that ends it. Commas of functions' bodies,
-- which stand between keywords and no brackets, are passed over.
local function expression_end(list, i, close)
  local blocks = 0
  while i < close do
    local token = list[i]
    if token.type == "keyword" and (token.text == "function" or token.text == "do" or token.text == "then"
      or token.text == "repeat") then
      blocks = blocks + 1
    elseif token.type == "keyword" and (token.text == "end" or token.text == "until" or token.text == "elseif") then
      blocks = blocks - 1
    elseif token.type == "op" and opening[token.text] then
      i = tables.closing(list, i)
    elseif blocks <= 0 and (is(token, ",") or is(token, ";")) then
      return i
    end
    i = i + 1
  end
  return close
end

-- The entries of the constructor at i: { key?, key_token?, computed?, first, last }, and the index of its }.
function tables.entries(list, i)
  local close, found = tables.closing(list, i), {}
  local at = i + 1
  while at < close do
    local entry = { first = at }
    if list[at].type == "name" and is(list[at + 1], "=") then
      entry.key, entry.key_token, entry.first = list[at].text, list[at], at + 2
    elseif is(list[at], "[") then
      local bracket = tables.closing(list, at)
      entry.key_token, entry.first = list[at + 1], bracket + 2
      if bracket == at + 2 and list[at + 1].type == "string" then
        entry.key = list[at + 1].value
      end
      entry.computed = not entry.key
    end
    local after = expression_end(list, entry.first, close)
    entry.last = after - 1
    found[#found + 1] = entry
    at = after + 1
  end
  return found, close
end

-- The only token of an entry's value, if it is a string.
function tables.string_of(list, entry)
  local token = list[entry.first]
  if entry.first == entry.last and token.type == "string" and token.value then return token end
  return nil
end

-- Is the entry's value nothing but a constructor?
function tables.is_table(list, entry)
  return is(list[entry.first], "{") and tables.closing(list, entry.first) == entry.last
end

local function sorted(set)
  local out = {}
  for name in pairs(set) do out[#out + 1] = name end
  table.sort(out)
  return out
end

-- The alternatives that a constructor can be: fields (a union over classes; nil: none is named) and elements of arrays.
-- nil: it may be anything.
local function choices(stubs, alternatives)
  local fields, elements, classes = nil, {}, {}
  for _, a in ipairs(alternatives) do
    local own
    if a.kind == "open" then return nil end
    if a.kind == "class" then own = stubs:fields(a.name) end
    if a.kind == "fields" then own = a.fields end
    if (a.kind == "class" or a.kind == "fields") and not own then return nil end
    if a.kind == "class" then classes[#classes + 1] = a.name end
    if a.kind == "array" then
      for _, of in ipairs(a.of) do elements[#elements + 1] = of end
    end
    for name, of in pairs(own or {}) do
      fields = fields or {}
      if fields[name] then
        local both = { table.unpack(fields[name]) }
        for _, more in ipairs(of) do both[#both + 1] = more end
        of = both
      end
      fields[name] = of
    end
  end
  return { fields = fields, elements = elements, classes = classes }
end

-- Has the class all the fields that the entries name?
local function fits(stubs, class, entries)
  local fields = stubs:fields(class)
  for _, entry in ipairs(entries) do
    if entry.key and not fields[entry.key] then return false end
  end
  return true
end

-- Says what is wrong with the constructor at i by report(token, message); each table whose class is known is shown to
-- visit(class, entries).
function tables.check(context, i, alternatives, what)
  local list = context.list
  local allowed = choices(context.stubs, alternatives)
  if not allowed then return end
  local entries = tables.entries(list, i)
  local keyed = false
  for _, entry in ipairs(entries) do keyed = keyed or entry.key_token ~= nil end
  for _, entry in ipairs(entries) do
    local known = entry.key and allowed.fields and allowed.fields[entry.key]
    if entry.key and allowed.fields and not known then
      context.report(entry.key_token, ("%s: unknown field '%s'%s"):format(what, entry.key,
        near.hint(entry.key, sorted(allowed.fields))))
    elseif known and tables.is_table(list, entry) then
      tables.check(context, entry.first, known, what .. "." .. entry.key)
    elseif not entry.key_token and #allowed.elements > 0 and tables.is_table(list, entry) then
      tables.check(context, entry.first, allowed.elements, what)
    end
  end
  if not keyed and #allowed.elements > 0 then return end
  for _, class in ipairs(allowed.classes) do
    if #allowed.classes == 1 or fits(context.stubs, class, entries) then context.visit(class, entries) end
  end
end

return tables
