-- Lua source as a list of tokens with their places, for agenthost check. The text must have been compiled before:
-- nothing here complains.
--
--     { type = "name"|"keyword"|"string"|"number"|"op"|"end", text, line, col }      a string also has value
local tokens = {}

local keywords = {}
for word in ("and break do else elseif end false for function goto if in local nil not or repeat return then true "
  .. "until while"):gmatch "%a+" do
  keywords[word] = true
end

local operators = { "...", "<<", ">>", "//", "==", "~=", "<=", ">=", "::", ".." } -- the longer ones first

-- The byte after a long bracket that opens at `at`, and its insides; nil when none does.
local function long_bracket(text, at)
  local equals = text:match("^%[(=*)%[", at)
  if not equals then return nil end
  local first = at + #equals + 2
  local last, after = text:find("]" .. equals .. "]", first, true)
  return (after or #text) + 1, text:sub(first, (last or #text + 1) - 1)
end

local escapes = { n = "\n", t = "\t", r = "\r", ["\\"] = "\\", ['"'] = '"', ["'"] = "'" }

-- A quoted string: the byte after it, and its value; nil as value when it holds escapes that hardly any name has.
local function quoted(text, at)
  local quote, i = text:sub(at, at), at + 1
  while true do
    local c = text:sub(i, i)
    if c == "" or c == quote then break end
    i = i + (c == "\\" and 2 or 1)
  end
  local odd = false
  local value = text:sub(at + 1, i - 1):gsub("\\(.)", function(c)
    if not escapes[c] then odd = true end
    return escapes[c]
  end)
  return i + 1, not odd and value or nil
end

local function skip_comment(text, at)
  local after = long_bracket(text, at + 2)
  return after or (text:find("\n", at, true) or #text + 1)
end

local function operator_at(text, at)
  for _, op in ipairs(operators) do
    if text:sub(at, at + #op - 1) == op then return op end
  end
  return text:sub(at, at)
end

-- The token at a byte that is no blank: its type, the byte after it, and a string's value.
local function token_at(text, at)
  local name = text:match("^[%a_][%w_]*", at)
  if name then return keywords[name] and "keyword" or "name", at + #name end
  local c = text:sub(at, at)
  if c == '"' or c == "'" then return "string", quoted(text, at) end
  if c == "[" then
    local after, value = long_bracket(text, at)
    if after then return "string", after, (value:gsub("^\r?\n", "")) end
  end
  local number = text:match("^0[xX][%x.]*[pP]?[%x+-]*", at) or text:match("^%.?%d[%w.]*", at)
  if number then
    if number:match "^[^xX]*[eE]$" then number = text:match("^%.?%d[%w.]*[+-]?%d*", at) end
    return "number", at + #number
  end
  return "op", at + #operator_at(text, at)
end

-- Numbers of the bytes at which lines begin.
local function line_starts(text)
  local starts = { 1 }
  for at in text:gmatch "\n()" do starts[#starts + 1] = at end
  return starts
end

function tokens.of(text)
  local list, starts, line, at = {}, line_starts(text), 1, 1
  if text:sub(1, 1) == "#" then at = text:find("\n", 1, true) or #text + 1 end
  while true do
    at = text:find("%S", at)
    if not at then break end
    if text:sub(at, at + 1) == "--" then
      at = skip_comment(text, at)
    else
      while starts[line + 1] and starts[line + 1] <= at do line = line + 1 end
      local kind, after, value = token_at(text, at)
      list[#list + 1] = {
        type = kind, text = text:sub(at, after - 1), value = value, line = line, col = at - starts[line] + 1,
      }
      at = after
    end
  end
  list[#list + 1] = { type = "end", text = "", line = #starts, col = 1 }
  return list
end

return tokens
