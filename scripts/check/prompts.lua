-- The prompts that a script names, for agenthost check: the file is there, its head can be read, and something gives
-- each {{variable}}. Called by check.script.
local script = require "host.script"
local near = require "agent.near"
local prompts = require "agent.prompts"

local checks = {}

local MOST = 50 -- findings of one file
local given = { "date", "identifier" } -- by the agent itself

-- A file as the script will find it: beside it first, then where modules and prompts are.
function checks.read(folder, path)
  local beside = (path:sub(1, 1) == "/" or folder == ".") and path or folder .. "/" .. path
  local f = io.open(beside, "r")
  if f then
    local text <close> = f
    return text:read "a", beside
  end
  local text, info = script.read(path)
  if text then return text, info.path end
  return nil
end

local function place(err)
  local line, text = tostring(err.message):match "^.-:(%d+): (.*)$"
  return tonumber(line) or 1, text or tostring(err.message)
end

-- Every {{name}} answers; those that nothing gives are noted.
local function collector(known, missing)
  return setmetatable({}, { __index = function(_, name)
    if known and not known[name] then missing[#missing + 1] = name end
    return "x"
  end })
end

local function names_of(known)
  local names = {}
  for name in pairs(known) do names[#names + 1] = name end
  table.sort(names)
  return names
end

-- One line at a time: a mistake in one does not hide those of the next.
local function check_body(body, first, known, report)
  local number, found = first, 0
  for line in (body .. "\n"):gmatch "([^\n]*)\n" do
    local missing = {}
    local ok, err = prompts.fill(line, collector(known, missing), "prompt", number)
    if not ok then missing[#missing + 1] = false end
    for _, name in ipairs(missing) do
      found = found + 1
      if found > MOST then return end
      local col = line:find("{{", 1, true) or 1
      if name then
        local text = ("nothing gives {{%s}}%s: variables = { %s = … }")
          :format(name, near.hint(name, names_of(known)), name)
        report(number, line:find("{{%s*" .. name) or col, text)
      else
        report(number, col, (select(2, place(err))))
      end
    end
    number = number + 1
  end
end

-- `known` is the set of variables that the script gives; nil: it cannot be told from the text.
function checks.check(text, known, report)
  local head, body, first = prompts.parse(text, "prompt")
  if not head then
    local line, message = place(body)
    report(line, 1, message)
    return
  end
  if known then
    for _, name in ipairs(given) do known[name] = true end
  end
  check_body(body, first, known, report)
end

return checks
