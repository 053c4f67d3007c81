-- A Lua function with LuaCATS comments is a tool:
--
--     ---Counts the words of a text.
--     ---@param text string the text
--     ---@param unit? "words"|"lines" what to count
--     ---@tool read
--     local function count(text, unit) … end
--
-- The comment says what the model is told, the parameters become its arguments, by name; a last parameter `call` is
-- given { id, name, identifier }. `@tool` says what happens when it runs twice (read, idempotent, unsafe). Types:
-- string, number, integer, boolean, T[], unions of literals, and one level of table ({ street: string, zip?: string }).
-- For everything else give `parameters`, a JSON schema.
-- Called by agent.tools and agent.toolset; must not run the function.
local script = require "host.script"

local comments = {}

local CLASSES = { read = true, idempotent = true, unsafe = true }
local PLAIN = { string = true, number = true, integer = true, boolean = true }

-- Faults are raised as text without a position and get file and line where the comment is known.
local function fault(text, ...) error(text:format(...), 0) end

-- ## Types

local function trim(s) return s:match "^%s*(.-)%s*$" end

-- Each character with its place, and whether it stands outside of quotes and brackets.
local function characters(text)
  local depth, quote, i = 0, nil, 0
  return function()
    i = i + 1
    local c = text:sub(i, i)
    if c == "" then return nil end
    local outside = quote == nil and depth == 0
    if quote then
      if c == quote then quote = nil end
    elseif c == '"' or c == "'" then
      quote = c
    elseif c == "{" or c == "(" then
      depth = depth + 1
    elseif c == "}" or c == ")" then
      depth = depth - 1
    end
    return i, c, outside
  end
end

-- Splits at a separator that is not inside quotes or brackets.
local function split(text, separator)
  local parts, from = {}, 1
  for i, c, outside in characters(text) do
    if outside and c == separator then
      parts[#parts + 1] = trim(text:sub(from, i - 1))
      from = i + 1
    end
  end
  parts[#parts + 1] = trim(text:sub(from))
  return parts
end

local function literal(text)
  local quoted = text:match '^"(.*)"$' or text:match "^'(.*)'$"
  if quoted then return quoted, "string" end
  local n = tonumber(text)
  if n then return n, math.type(n) == "integer" and "integer" or "number" end
end

local parse_type

local function parse_table(text, depth)
  if depth > 0 then fault("a table inside a table needs a schema (parameters = { … }): %s", text) end
  local schema = { type = "object", properties = {}, required = {}, additionalProperties = false }
  for _, member in ipairs(split(text:sub(2, -2), ",")) do
    if member ~= "" then
      local name, optional, kind = member:match "^([%a_][%w_]*)(%??)%s*:%s*(.+)$"
      if not name then fault("a field of a table reads `name: type`, not `%s`", member) end
      local nullable
      schema.properties[name], nullable = parse_type(kind, depth + 1)
      if optional == "" and not nullable then table.insert(schema.required, name) end
    end
  end
  if #schema.required == 0 then schema.required = nil end
  return schema
end

local function parse_union(parts, text)
  local values, kind = {}, nil
  for _, part in ipairs(parts) do
    local value, of = literal(part)
    if not of then fault("only literals can be joined by |, like \"a\"|\"b\"; for `%s` give a schema", text) end
    if kind and kind ~= of then fault("the literals of `%s` are of different types", text) end
    kind = of
    values[#values + 1] = value
  end
  return { type = kind, enum = values }
end

-- A type as a JSON schema, and whether it may be absent.
function parse_type(text, depth)
  text = trim(text)
  local optional = false
  if text:sub(-1) == "?" then text, optional = trim(text:sub(1, -2)), true end
  local parts = {}
  for _, part in ipairs(split(text, "|")) do
    if part == "nil" then optional = true else parts[#parts + 1] = part end
  end
  if #parts == 0 then fault("a parameter cannot be nil only") end
  if #parts > 1 then return parse_union(parts, text), optional end
  text = parts[1]
  if text:sub(1, 1) == "(" and text:sub(-1) == ")" then return (parse_type(text:sub(2, -2), depth)), optional end
  if text:sub(-2) == "[]" then return { type = "array", items = (parse_type(text:sub(1, -3), depth)) }, optional end
  if text:match "^{.*}$" then return parse_table(text, depth), optional end
  if PLAIN[text] then return { type = text }, optional end
  if literal(text) ~= nil then return parse_union({ text }, text), optional end
  fault("the type `%s` is not known here (string, number, integer, boolean, T[], \"a\"|\"b\", { name: string }); give "
    .. "a schema with parameters = { … }", text)
end

-- The type at the beginning of a text, up to the first blank outside of quotes and brackets that joins no union; and
-- what follows.
local function take_type(text)
  for i, c, outside in characters(text) do
    local joins = text:sub(i):match "^%s*|" or text:sub(1, i):match "|%s*$"
    if outside and c:match "%s" and not joins then return text:sub(1, i - 1), trim(text:sub(i)) end
  end
  return text, ""
end

-- ## Comments

local function parse_param(rest, tool)
  local name, optional, after = rest:match "^([%a_][%w_]*)(%??)%s+(.+)$"
  if rest:match "^%.%.%." then fault "`...` has no name that a model can use; write `---@param name T[]`" end
  if not name then fault("a parameter reads `---@param name type what it is`, not `%s`", rest) end
  if tool.parameters.properties[name] then fault("the parameter '%s' stands twice in the comment", name) end
  local kind, description = take_type(after)
  local schema, nullable = parse_type(kind, 0)
  if description ~= "" then schema.description = description:gsub("^[#:]%s*", "") end
  tool.parameters.properties[name] = schema
  tool.order[#tool.order + 1] = name
  if optional == "" and not nullable then table.insert(tool.parameters.required, name) end
end

local tags = {
  param = parse_param,
  tool = function(rest, tool)
    if not CLASSES[rest] then fault("@tool is read, idempotent or unsafe, not `%s`", rest) end
    tool.class = rest
  end,
}

-- What the lines of a comment say: { description, parameters, class, order }. Raises a text.
function comments.parse(lines)
  local tool = { parameters = { type = "object", properties = {}, required = {} }, order = {} }
  local words = {}
  for _, line in ipairs(lines) do
    local tag, rest = line:match "^%s*@(%a+)%s*(.-)%s*$"
    if not tag then
      words[#words + 1] = trim(line)
    elseif tags[tag] then
      tags[tag](rest, tool)
    end -- others (@return, @see, …) are for readers
  end
  tool.description = trim(table.concat(words, "\n"))
  if tool.description == "" then fault "the comment says nothing; the model needs a sentence on what the tool does" end
  if #tool.parameters.required == 0 then tool.parameters.required = nil end
  return tool
end

-- ## Where a function stands

local function lines_of(text)
  local lines = {}
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do lines[#lines + 1] = line:gsub("\r$", "") end
  return lines
end

-- The comment right above a line, without its dashes; and its first line's number.
local function comment_above(lines, at)
  local first = at
  while first > 1 and lines[first - 1]:match "^%s*%-%-%-" do first = first - 1 end
  local out = {}
  for i = first, at - 1 do out[#out + 1] = lines[i]:match "^%s*%-%-%-(.*)$" end
  return out, first
end

local function name_in(line)
  return line:match "function%s+[%w_.:]-([%a_][%w_]*)%s*%(" or line:match "([%a_][%w_]*)%s*=%s*function"
    or line:match "%[%s*[\"']([%w_-]+)[\"']%s*%]%s*=%s*function"
end

local function source_text(source)
  local path = source:match "^@(.+)$"
  if not path then return nil, path end
  local found = script.read(path:match "^embedded:(.+)$" or path)
  if found then return found, path end
  local file = io.open(path, "rb")
  if not file then return nil, path end
  local text = file:read "a"
  file:close()
  return text, path
end

-- Arguments come by name; the function takes them in its own order, and what the call is behind them.
local function caller(fn, names)
  return function(args, call)
    local list = {}
    for i, name in ipairs(names) do list[i] = args[name] end
    list[#names + 1] = call
    return fn(table.unpack(list, 1, #names + 1))
  end
end

-- The function's parameters as its source names them; nil when that cannot be told.
local function parameters_of(lines, info)
  local head = table.concat(lines, "\n", info.linedefined, math.min(info.linedefined + 20, #lines))
  local text = head:gsub("%-%-[^\n]*", ""):match "function%s*[%w_.:%s]-%(([^()]*)%)"
  local names = {}
  for name in (text or ""):gmatch "[%a_][%w_]*" do names[#names + 1] = name end
  return #names == info.nparams and names or nil
end

-- Which parameter of the function takes which argument. One more, the last, called `call`, is given the call.
local function order_of(fn, lines, order)
  local info = debug.getinfo(fn, "uS")
  if (lines[info.linedefined] or ""):match "function%s+[%w_.]+:[%w_]+%s*%(" then
    fault "a method has nothing to be called on; write a dot in place of the colon"
  end
  if #order > info.nparams then
    fault("the comment names %d parameters, the function has %d", #order, info.nparams)
  end
  local names = parameters_of(lines, info) or order
  local known = {}
  for i, name in ipairs(names) do known[name] = i end
  for _, name in ipairs(order) do
    if not known[name] then
      fault("the comment names '%s', which the function does not take; it takes %s", name, table.concat(names, ", "))
    end
    known[name] = nil
  end
  for i, name in ipairs(names) do
    if known[name] and (i < #names or #names > #order + 1 or not name:match "^_*call$") then
      fault("the parameter '%s' has no line `---@param %s type what it is`", name, name)
    end
  end
  if #names > #order then names[#names] = nil end
  return names
end

-- A function as a tool's fields: { name, description, parameters, class, run }. `name` and `text` (of its file) are
-- given when they are known. Raises with file and line.
function comments.tool(fn, name, text)
  local info = debug.getinfo(fn, "S")
  local path
  if info.what == "C" then fault "a function of C has no comment; give agent.tool a table" end
  if not text then
    text, path = source_text(info.source)
  end
  path = path or info.short_src
  if not text then
    fault("the source of the function cannot be read (%s); give agent.tool a table", tostring(path))
  end
  local lines = lines_of(text)
  local comment, first = comment_above(lines, info.linedefined)
  local function at(message) return ("%s:%d: %s"):format(path, #comment > 0 and first or info.linedefined, message) end
  if #comment == 0 then
    error(at "no comment stands right above this function; write `---What it does` and `---@param name type` lines", 0)
  end
  local ok, made = pcall(function()
    local tool = comments.parse(comment)
    tool.name = name or name_in(lines[info.linedefined] or "")
    if not tool.name then fault "the function has no name that can be seen; give agent.tool a table" end
    tool.run, tool.order = caller(fn, order_of(fn, lines, tool.order)), nil
    return tool
  end)
  if not ok then error(at(made), 0) end
  return made
end

return comments
