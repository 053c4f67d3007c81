-- What host.* and agent.* declare (scripts/meta), for agenthost check: the names of each module, the fields of each
-- class, what functions take. The same files serve editors; what they do not say is open (unknown).
--
-- A type is a list of alternatives: { kind = "class", name }, { kind = "fields", fields }, { kind = "array", of },
-- { kind = "scalar" }, { kind = "open" }.
local script = require "host.script"

local stubs = {}

local scalars = {}
for name in ("string number integer boolean true false nil function userdata thread lightuserdata self"):gmatch "%a+" do
  scalars[name] = true
end

-- ## Types

local read_type

-- { name: type, other?: type }, at its first byte.
local function read_fields(text, at)
  local fields = {}
  at = at + 1
  while true do
    local name, after = text:match("^%s*([%a_][%w_]*)%??%s*:%s*()", at)
    if not name then break end
    fields[name], at = read_type(text, after)
    at = text:match("^%s*,()", at) or at
  end
  local close = text:match("^%s*}()", at)
  if not close then return { kind = "open" }, text:match("^%b{}()", at) or #text + 1 end
  return { kind = "fields", fields = fields }, close
end

local function read_name(text, at)
  local name, after = text:match("^([%a_][%w_.]*)()", at)
  if not name then return { kind = "open" }, #text + 1 end
  if name == "fun" then return { kind = "scalar" }, #text + 1 end
  local generic = text:match("^%b<>()", after)
  if generic then return { kind = "open" }, generic end
  return { kind = scalars[name] and "scalar" or "class", name = name }, after
end

local function read_one(text, at)
  local c = text:sub(at, at)
  if c == "{" then return read_fields(text, at) end
  if c == '"' or c == "'" then return { kind = "scalar" }, (text:find(c, at + 1, true) or #text) + 1 end
  if c == "(" then
    local inner, after = read_type(text, at + 1)
    return { kind = "union", of = inner }, text:match("^%s*%)()", after) or #text + 1
  end
  return read_name(text, at)
end

-- The alternatives, and the byte after the type.
function read_type(text, at)
  local list = {}
  while true do
    local one
    one, at = read_one(text, at)
    while text:match("^%[%]", at) do
      one, at = { kind = "array", of = one.kind == "union" and one.of or { one } }, at + 2
    end
    for _, alternative in ipairs(one.kind == "union" and one.of or { one }) do list[#list + 1] = alternative end
    at = text:match("^%??()", at)
    local bar = text:match("^|()", at)
    if not bar then return list, at end
    at = bar
  end
end

-- ## Files

local reader = {}
reader.__index = reader

function reader:class_line(rest)
  local name, parent = rest:match "^([%w_.]+)%s*:%s*([%w_.]+)"
  name = name or rest:match "^[%w_.]+"
  self.class = self.classes[name] or { name = name, fields = {}, functions = {} } -- it may go on in another file
  self.class.parent = self.class.parent or parent
  self.classes[name] = self.class
end

function reader:field_line(rest)
  if not self.class then return end
  if rest:sub(1, 1) == "[" then
    self.class.open = true
    return
  end
  local name, type_text = rest:match "^([%w_]+)%??%s+(.+)$"
  if name then self.class.fields[name] = read_type(type_text, 1) end
end

function reader:param_line(rest)
  local name, type_text = rest:match "^([%w_]+)%??%s+(.+)$"
  if name then self.params[name] = read_type(type_text, 1) end
end

function reader:overload_line(rest)
  local name, type_text = rest:match "^fun%(([%w_]+)%??:%s*(.+)$"
  if name and self.class then self.class.call = { read_type(type_text, 1) } end
end

local tags = {
  class = reader.class_line, field = reader.field_line, param = reader.param_line, overload = reader.overload_line,
}

function reader:function_line(line)
  local variable, name, words = line:match "^function ([%w_]+)[.:]([%w_]+)%((.-)%)"
  local owner = self.variables[variable]
  if owner then
    local params = {}
    for word in words:gmatch "[%w_.]+" do params[#params + 1] = self.params[word] or { { kind = "open" } } end
    owner.functions[name] = params
  end
  self.params = {}
end

function reader:line(line)
  local tag, rest = line:match "^%-%-%-@(%w+)%s*(.*)$"
  if tag then
    if tags[tag] then tags[tag](self, rest) end
  elseif line:match "^local [%w_]+ = {}" then
    if self.class then self.variables[line:match "^local ([%w_]+)"] = self.class end
  elseif line:match "^function " then
    self:function_line(line)
  elseif not line:match "^%-%-" then
    self.params = {}
    if line:match "%S" then self.class = nil end
  end
end

-- The classes that some files declare.
function stubs.load(files)
  local classes = {}
  for _, path in ipairs(files) do
    local text = script.read(path)
    local r = setmetatable({ classes = classes, variables = {}, params = {} }, reader)
    for line in ((text or "") .. "\n"):gmatch "([^\n]*)\n" do r:line(line) end
  end
  return setmetatable({ classes = classes }, { __index = stubs })
end

-- A module's class; nil: nothing is declared about it.
function stubs:module(name)
  local class = self.classes[name]
  if class and (next(class.functions) or class.call) then return class end
  return nil
end

-- The fields of a class with those of its parents; nil: it may have others, or nothing is known.
function stubs:fields(name)
  local all, class = {}, self.classes[name]
  if not class then return nil end
  while class do
    if class.open then return nil end
    for field, of in pairs(class.fields) do all[field] = all[field] or of end
    if class.parent and not self.classes[class.parent] then return nil end
    class = class.parent and self.classes[class.parent]
  end
  return next(all) and all or nil
end

return stubs
