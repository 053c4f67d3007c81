-- Chooses runs for `agenthost trace ls`: by its options, and by an expression of the user's over the run's fields:
--   agenthost trace ls --where 'cost > 0.1 and tags.red and latency > 5 and metadata.thread_id == "t1"'
-- The fields are those of `trace ls --json`, and: latency (seconds; of an open run so far), age (seconds), tokens, tags
-- as a set, metadata. What a run does not have is nil; comparing it with a number is false, not an error.
local where = {}

-- What an expression may name: a slip of the pen would else choose nothing, silently.
local known = {}
for name in ([[age cost delivery emulated end_time error errors id identifier input_tokens latency metadata model_calls
  name output_tokens project refused script spans start_time state tags tokens tool_calls user]]):gmatch "%S+" do
  known[name] = true
end

local names = {}
for name in pairs(known) do names[#names + 1] = name end
table.sort(names)
names = table.concat(names, " ")

local statuses = { "open", "done", "failed", "crashed", "waiting", "resumed", "local", "unsent", "sent", "parked" }

local function check_status(status)
  for _, name in ipairs(statuses) do if status == name then return end end
  local message = ("--status: there is no '%s', but %s"):format(status, table.concat(statuses, ", "))
  error({ kind = "invalid", message = message }, 0)
end

local library = { math = math, string = string, tonumber = tonumber, tostring = tostring, type = type }

-- "2026-11-22T10:00:00.000120Z" in seconds
local function seconds_of(iso)
  local y, m, d, h, min, s = iso:match "^(%d+)-(%d+)-(%d+)T(%d+):(%d+):([%d.]+)Z$"
  local a = (14 - m) // 1 // 12
  local year, month = y + 4800 - a, m + 12 * a - 3
  local days = d + (153 * month + 2) // 5 + 365 * year + year // 4 - year // 100 + year // 400 - 32045 - 2440588
  return days * 86400 + h * 3600 + min * 60 + tonumber(s)
end

-- One run as its expression sees it.
local function fields_of(run, now)
  local started = seconds_of(run.start_time)
  local tags = {}
  for _, tag in ipairs(run.tags or {}) do tags[tag] = true end
  local fields = {}
  for k, v in pairs(run) do fields[k] = v end
  fields.tags, fields.metadata = tags, run.metadata or {}
  fields.user = run.identifier
  fields.latency = (run.end_time and seconds_of(run.end_time) or now) - started
  fields.age = now - started
  fields.tokens = run.input_tokens + run.output_tokens
  return fields
end

local function compile(expression)
  if not expression:find "%S" then error({ kind = "invalid", message = "--where wants a Lua expression" }, 0) end
  local chunk, err = load("return " .. expression, "=--where", "t", {})
  if chunk then return chunk end
  error({ kind = "invalid", message = "--where: " .. tostring(err):gsub("^%-%-where:1: ", "") }, 0)
end

local function holds(expression, fields)
  local env = setmetatable({}, { __index = function(_, name)
    local v = fields[name]
    if v == nil and not known[name] and not library[name] then
      local message = ("--where: a run has no field '%s'; there are: %s"):format(tostring(name), names)
      error({ kind = "invalid", message = message }, 0)
    end
    if v == nil then return library[name] end
    return v
  end })
  local chunk = load("return " .. expression, "=--where", "t", env)
  local ok, value = pcall(chunk)
  if ok then return value and true or false end
  if type(value) == "table" then error(value, 0) end
  if tostring(value):find "compare" or tostring(value):find "arithmetic" or tostring(value):find "index a nil" then
    return false -- of something that this run does not have
  end
  error({ kind = "invalid", message = "--where: " .. tostring(value) }, 0)
end

local function fits(given, run, now)
  local fields = fields_of(run, now)
  if given.script and run.script:sub(-#given.script) ~= given.script then return false end
  if given.status and run.state ~= given.status and run.delivery ~= given.status then return false end
  if given.since and fields.age > given.since then return false end
  if given.slower and fields.latency < given.slower then return false end
  if given.dearer and (not run.cost or run.cost < given.dearer) then return false end
  for _, tag in ipairs(given.tags) do if not fields.tags[tag] then return false end end
  for _, pair in ipairs(given.meta) do
    local k, v = pair:match "^(.-)=(.*)$"
    if tostring(fields.metadata[k]) ~= v then return false end
  end
  return not given.where or holds(given.where, fields)
end

-- { runs, where?, tags, meta, … } -> one boolean a run
function where.choose(given)
  if given.where then compile(given.where) end
  if given.status then check_status(given.status) end
  local chosen = {}
  for i, run in ipairs(given.runs) do chosen[i] = fits(given, run, given.now) end
  return chosen
end

return where
