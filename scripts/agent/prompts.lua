-- Prompts: Markdown files that people edit while agents run.
--
--     ---
--     model: gpt-4o
--     temperature: 0.2
--     tags: mail, digest
--     ---
--     You read the mail of {{identifier}}. Today is {{date}}.
--     {{> prompts/tone.md}}
--
-- The head may be left out. A variable that nobody gave is an error that names the file and the line; `\{{` stands for
-- two braces; {{> file}} puts another file in its place. The files are looked at before every step of the loop: an edit
-- counts from the next model call on.
local host = require "host"
local script = require "host.script"
local errors = require "agent.errors"
local near = require "agent.near"

local prompts = {}

local DEPTH = 8 -- of files in files

local function fault(file, line, text, ...)
  return errors.fail { kind = "config", message = ("%s:%d: " .. text):format(file, line, ...) }
end

-- ## Files, read again only when they have changed

local KEPT = 100 -- files; more are forgotten and read anew

local kept, kept_count = {}, 0 -- path -> { stamp =, source =, info = }

local function read(path)
  local stamp = script.stamp(path)
  local known = kept[path]
  if known and known.stamp == stamp then return known.source, known.info end -- a stamp that is nil is no kept one
  local source, info = script.read(path)
  if source and stamp then
    if not known then kept_count = kept_count + 1 end
    if kept_count > KEPT then kept, kept_count = {}, 1 end
    kept[path] = { stamp = stamp, source = source, info = info }
  end
  return source, info
end

-- ## Heads

-- What is no text cannot be sent: an editor's other encoding is said with its line.
local function check_text(text, file)
  local length, at = utf8.len(text)
  if length then return true end
  return fault(file, select(2, text:sub(1, at):gsub("\n", "")) + 1, "this is not UTF-8; save the file as UTF-8")
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
  local parse = head_fields[name]
  if not parse then
    return fault(file, number, "unknown field '%s' in the head%s", name, near.hint(name, head_names))
  end
  if head[name] ~= nil then return fault(file, number, "'%s' stands twice in the head", name) end
  value = value:match '^"(.*)"$' or value:match "^'(.*)'$" or value
  if value == "" then return fault(file, number, "'%s' has no value", name) end
  local got, why = parse(value)
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
  local ok, bad = check_text(text, file)
  if not ok then return nil, bad end
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
  if kind == "string" and not utf8.len(value) then
    return fault(file, line, "the value of {{%s}} is not UTF-8", name)
  end
  if kind == "string" or kind == "number" or kind == "boolean" then return tostring(value) end
  if value ~= nil then return fault(file, line, "{{%s}} must be a string or a number, got %s", name, kind) end
  local names = known_names(variables)
  return fault(file, line, "no value for {{%s}}%s; give it with variables = { %s = … }. There are: %s", name,
    near.hint(name, names), name, #names > 0 and table.concat(names, ", ") or "none")
end

local fill_lines

-- Another file in place of {{> path}}. It is noted in `parts`, so that an edit of it is seen.
local function include(path, at, variables, parts)
  if at.depth >= DEPTH then
    return fault(at.file, at.line, "files in files, %d deep: does one include itself?", DEPTH)
  end
  local source, info = read(path)
  parts[#parts + 1] = { path = path, sha256 = source and info.sha256 }
  if not source then return fault(at.file, at.line, "{{> %s}}: %s", path, tostring(info)) end
  if source:match "^%-%-%-%s*\n" then return fault(info.path, 1, "a file that is included has no head") end
  local ok, bad = check_text(source, info.path)
  if not ok then return nil, bad end
  return fill_lines(source:match "^(.-)%s*$", variables, { file = info.path, line = 1, depth = at.depth + 1 }, parts)
end

local function fill_line(line, variables, where, parts)
  local out, at = {}, 1
  while true do
    local open = line:find("{{", at, true)
    if not open then break end
    if line:sub(open - 1, open - 1) == "\\" then
      out[#out + 1] = line:sub(at, open - 2) .. "{{"
      at = open + 2
    else
      local path, after = line:match("^{{>%s*([^{}]-)%s*}}()", open)
      local name, value, err
      if path then
        value, err = include(path, where, variables, parts)
      else
        name, after = line:match("^{{%s*([%a_][%w_]*)%s*}}()", open)
        if not name then
          return fault(where.file, where.line, "`{{` without a name and `}}` (write `\\{{` for two braces)")
        end
        value, err = value_of(name, variables, where.file, where.line)
      end
      if not value then return nil, err end
      out[#out + 1] = line:sub(at, open - 1) .. value
      at = after
    end
  end
  out[#out + 1] = line:sub(at)
  return table.concat(out)
end

function fill_lines(body, variables, where, parts)
  if not body:find("{{", 1, true) then return body end
  local out, first = {}, where.line
  for i, line in ipairs(split_lines(body)) do
    where.line = first + i - 1
    local filled, err = fill_line(line, variables, where, parts)
    if not filled then return nil, err end
    out[i] = filled
  end
  return table.concat(out, "\n")
end

-- The body with its variables and included files filled in, and what was included: { { path, sha256 }, … }; or nil, err
-- with file and line, and what was looked for until then.
function prompts.fill(body, variables, file, first)
  local parts = {}
  local text, err = fill_lines(body, variables, { file = file, line = first or 1, depth = 0 }, parts)
  if not text then return nil, err, parts end
  return text, parts
end

-- Of all that the prompt is made of.
local function hash_of(sha256, parts)
  if #parts == 0 then return sha256 end
  local all = { sha256 or "" }
  for i, part in ipairs(parts) do all[i + 1] = part.sha256 end
  return host.sha256(table.concat(all))
end

local parsed -- the last text, its file, and what it was parsed to: agents of one kind have the same prompt

local function parse(source, file)
  if not parsed or parsed.source ~= source or parsed.file ~= file then
    local head, body, first = prompts.parse(source, file)
    if not head then return nil, body end
    parsed = { source = source, file = file, head = head, body = body, first = first }
  end
  local head = {}
  for name, value in pairs(parsed.head) do head[name] = value end
  return head, parsed.body, parsed.first
end

local function render(source, file, sha256, variables)
  local head, body, first = parse(source, file)
  if not head then return nil, body end
  local text, parts, tried = prompts.fill(body, variables, file, first)
  if not text then return nil, parts, tried end
  return { text = text, head = head, file = file, sha256 = hash_of(sha256, parts), own = sha256, parts = parts }
end

local function load(path, variables)
  local source, info = read(path)
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

-- One text for the state of the file and of what it includes, or would if it could be read.
local function state_of(self, sha256)
  local state = { sha256 or "none" }
  for i, part in ipairs(self.parts) do
    local _, info = read(part.path)
    state[i + 1] = type(info) == "table" and info.sha256 or "gone"
  end
  return table.concat(state, " ")
end

-- The prompt as it is now: { text, head, file, sha256 }. Never fails after open: when an edit cannot be read (a file
-- half written, a variable misspelt), the last good one stays and the log says so, once for each such edit.
function watched:current()
  if not self.path and #self.parts == 0 then return self.last end
  local source, info = self.text, nil
  if self.path then source, info = read(self.path) end
  local sha256 = source and info and info.sha256
  local state = state_of(self, sha256)
  if state == self.seen then return self.last end
  local new, err, tried
  if source then
    new, err, tried = render(source, info and info.path or self.path or "prompt", sha256, self.variables)
  else
    err = info
  end
  self.parts = new and new.parts or tried or self.parts
  self.seen = state_of(self, sha256)
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
  local self = setmetatable({ variables = variables }, watched)
  local err
  if is_file(prompt) then
    self.path = prompt
    self.last, err = load(prompt, variables)
  else
    self.text = prompt
    self.last, err = render(prompt, "prompt", nil, variables)
  end
  if not self.last then return nil, err end
  self.parts = self.last.parts
  self.seen = state_of(self, self.last.own)
  return self
end

return prompts
