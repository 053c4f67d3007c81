-- Prompts: Markdown files that people edit while agents run.
--
--     ---
--     model: gpt-4o
--     temperature: 0.2
--     tags: mail, digest
--     ---
--     You read the mail of {{identifier}}. Today is {{date}}.
--
-- The head may be left out. A variable that nobody gave is an error that names the file and the line; `\{{` stands for
-- two braces. The file is looked at before every step of the loop: an edit counts from the next model call on.
local host = require "host"
local script = require "host.script"
local errors = require "agent.errors"
local near = require "agent.near"

local prompts = {}

local function fault(file, line, text, ...)
  return errors.fail { kind = "config", message = ("%s:%d: " .. text):format(file, line, ...) }
end

local head_fields = {
  model = function(value) return value end,
  temperature = function(value)
    local n = tonumber(value)
    if not n or n < 0 or n > 2 then return nil, "temperature must be a number from 0 to 2" end
    return n
  end,
  tags = function(value)
    local tags = {}
    for tag in value:gmatch "[^,]+" do
      tag = tag:match "^%s*(.-)%s*$"
      if tag ~= "" then tags[#tags + 1] = tag end
    end
    return tags
  end,
}
local head_names = { "model", "tags", "temperature" }

local function head_line(file, number, line, head)
  if line:match "^%s*$" or line:match "^%s*#" then return true end
  local name, value = line:match "^%s*([%w_]+)%s*:%s*(.-)%s*$"
  if not name then return fault(file, number, "the head holds lines like `model: gpt-4o`, not `%s`", line) end
  local read = head_fields[name]
  if not read then
    return fault(file, number, "unknown field '%s' in the head%s", name, near.hint(name, head_names))
  end
  if head[name] ~= nil then return fault(file, number, "'%s' stands twice in the head", name) end
  value = value:match '^"(.*)"$' or value:match "^'(.*)'$" or value
  if value == "" then return fault(file, number, "'%s' has no value", name) end
  local got, why = read(value)
  if got == nil then return fault(file, number, "%s, got '%s'", why, value) end
  head[name] = got
  return true
end

local function split_lines(text)
  local lines = {}
  for line in (text:gsub("\r\n", "\n") .. "\n"):gmatch "([^\n]*)\n" do lines[#lines + 1] = line end
  return lines
end

local function is_rule(line) return line:match "^%-%-%-%s*$" ~= nil end

-- The fields between the rules, and the number of the line behind them.
local function parse_head(lines, file)
  local last = 2
  while lines[last] and not is_rule(lines[last]) do last = last + 1 end
  if not lines[last] then return fault(file, 1, "the head that begins here has no closing `---`") end
  local head = {}
  for i = 2, last - 1 do
    local ok, err = head_line(file, i, lines[i], head)
    if not ok then return nil, err end
  end
  return head, last + 1
end

-- The head as a table, the body, and the number of the body's first line; or nil, err.
function prompts.parse(text, file)
  local lines = split_lines((text:gsub("^\239\187\191", ""))) -- without a byte order mark
  local head, first = {}, 1
  if is_rule(lines[1]) then
    head, first = parse_head(lines, file)
    if not head then return nil, first end
  end
  while lines[first] and lines[first]:match "^%s*$" do first = first + 1 end
  local body = table.concat(lines, "\n", first):match "^.*%S"
  if not body then return fault(file, math.min(first, #lines), "the prompt is empty") end
  return head, body, first
end

local function known_names(variables)
  local names = {}
  for name in pairs(variables) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local function value_of(name, variables, file, line)
  local value = variables[name]
  local kind = type(value)
  if kind == "string" or kind == "number" or kind == "boolean" then return tostring(value) end
  if value ~= nil then return fault(file, line, "{{%s}} must be a string or a number, got %s", name, kind) end
  local names = known_names(variables)
  return fault(file, line, "no value for {{%s}}%s; give it with variables = { %s = … }. There are: %s", name,
    near.hint(name, names), name, #names > 0 and table.concat(names, ", ") or "none")
end

local function fill_line(line, variables, file, number)
  local out, at = {}, 1
  while true do
    local open = line:find("{{", at, true)
    if not open then break end
    if line:sub(open - 1, open - 1) == "\\" then
      out[#out + 1] = line:sub(at, open - 2) .. "{{"
      at = open + 2
    else
      local name, after = line:match("^{{%s*([%a_][%w_]*)%s*}}()", open)
      if not name then return fault(file, number, "`{{` without a name and `}}` (write `\\{{` for two braces)") end
      local value, err = value_of(name, variables, file, number)
      if not value then return nil, err end
      out[#out + 1] = line:sub(at, open - 1) .. value
      at = after
    end
  end
  out[#out + 1] = line:sub(at)
  return table.concat(out)
end

-- The body with its variables filled in; or nil, err with file and line.
function prompts.fill(body, variables, file, first)
  if not body:find("{{", 1, true) then return body end
  local out = {}
  for i, line in ipairs(split_lines(body)) do
    local filled, err = fill_line(line, variables, file, (first or 1) + i - 1)
    if not filled then return nil, err end
    out[i] = filled
  end
  return table.concat(out, "\n")
end

local function render(source, file, sha256, variables)
  local head, body, first = prompts.parse(source, file)
  if not head then return nil, body end
  local text, err = prompts.fill(body, variables, file, first)
  if not text then return nil, err end
  return { text = text, head = head, file = file, sha256 = sha256 }
end

local function load(path, variables)
  local source, info = script.read(path)
  if not source then
    local err = errors.of(info)
    err.message = ("the prompt %s (a name that ends in .md is a file's) cannot be read: %s"):format(path, err.message)
    return nil, err
  end
  return render(source, info.path or path, info.sha256, variables)
end

local function is_file(prompt) return not prompt:find "\n" and prompt:match "%.md$" ~= nil end

local default_variables = {
  date = function() return os.date("!%Y-%m-%d", math.floor(host.time())) end,
}

local function with_defaults(variables)
  local all = {}
  for name, make in pairs(default_variables) do all[name] = make() end
  for name, value in pairs(variables or {}) do all[name] = value end
  return all
end

local watched = {}
watched.__index = watched

-- The prompt as it is now: { text, head, file, sha256 }. Never fails after open: when an edit cannot be read (a file
-- half written, a variable misspelt), the last good one stays and the log says so, once for each such edit.
function watched:current()
  if not self.path then return self.last end
  local source, info = script.read(self.path)
  local sha256 = source and info.sha256
  if sha256 == self.seen then return self.last end
  self.seen = sha256
  local new, err
  if source then new, err = render(source, info.path or self.path, sha256, self.variables) else err = info end
  if new then
    self.last = new
  else
    host.log("warn", ("the edited prompt is not used: %s"):format(tostring(err)))
  end
  return self.last
end

-- `prompt` is a file name that ends in .md, found like modules are (the script's folder first), or the text itself.
-- Returns an object with :current(); or nil, err.
function prompts.open(prompt, variables)
  prompt = prompt or "prompts/default.md"
  variables = with_defaults(variables)
  local path = is_file(prompt) and prompt or nil
  local last, err
  if path then last, err = load(path, variables) else last, err = render(prompt, "prompt", nil, variables) end
  if not last then return nil, err end
  return setmetatable({ path = path, variables = variables, last = last, seen = last.sha256 }, watched)
end

return prompts
