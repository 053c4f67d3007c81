-- LangSmith's filter language over shown runs: eq neq gt gte lt lte has in like search exists, and or not.
-- Called by langsmith_read.lua. Pure.
local json = require "host.json"
local text = require "emulator.text"

local M = {}

local COMPARE = {
  eq = function(a, b) return a == b end,
  neq = function(a, b) return a ~= b end,
  gt = function(a, b) return a ~= nil and b ~= nil and a > b end,
  gte = function(a, b) return a ~= nil and b ~= nil and a >= b end,
  lt = function(a, b) return a ~= nil and b ~= nil and a < b end,
  lte = function(a, b) return a ~= nil and b ~= nil and a <= b end,
}

local FIELDS = {}
for name in ("id name run_type status start_time end_time latency total_tokens prompt_tokens completion_tokens "
  .. "error tags "
  .. "metadata metadata_key metadata_value input_key input_value output_key output_value thread_id trace_id "
  .. "parent_run_id "
  .. "execution_order is_root session_id reference_example_id "
  .. "feedback_key feedback_score"):gmatch("%S+") do FIELDS[name] = true end

local function value_of(run, field)
  local v
  if field == "latency" then
    local from, to = text.micros(run.start_time or ""), type(run.end_time) == "string" and text.micros(run.end_time)
    v = from and to and (to - from) / 1e6 or nil
  elseif field == "is_root" then
    v = run.parent_run_id == json.null
  elseif field == "start_time" or field == "end_time" then
    v = type(run[field]) == "string" and text.micros(run[field]) or nil
  else
    v = run[field]
  end
  if v == json.null then return nil end
  return v
end

local function metadata_of(run)
  local extra = run.extra
  return type(extra) == "table" and type(extra.metadata) == "table" and extra.metadata or {}
end

local function keyed(run, field)
  if field == "feedback_key" or field == "feedback_score" then
    local list = {}
    for key, row in pairs(run.feedback_stats or {}) do
      list[#list + 1] = field == "feedback_key" and key or (row.avg ~= json.null and row.avg or nil)
    end
    return list
  end
  local kind, part = field:match("^(%a+)_(%a+)$")
  local source = ({ metadata = metadata_of(run), input = run.inputs, output = run.outputs })[kind]
  if not source or (part ~= "key" and part ~= "value") then return nil end
  local list = {}
  for k, v in pairs(source) do list[#list + 1] = part == "key" and k or v end
  return list
end

-- SQL's: % any text, _ any one character; without regard to case.
local function like(s, pattern)
  local lua = pattern:lower():gsub(".", function(ch)
    if ch == "%" then return ".*" elseif ch == "_" then return "." end
    return ch:find("%p") and "%" .. ch or ch
  end)
  return s:lower():find("^" .. lua .. "$") ~= nil
end

-- Reading: a recursive descent over the text. Errors are raised as tables { message }.
local function parser(source)
  local at = 1
  local function fail(what) error({ message = ("invalid filter at %d: %s"):format(at, what) }, 0) end
  local function skip() at = source:find("%S", at) or #source + 1 end
  local function eat(ch)
    skip()
    if source:sub(at, at) ~= ch then fail("expected " .. ch) end
    at = at + 1
  end
  local expression

  local function literal()
    skip()
    local quote = source:sub(at, at)
    if quote == '"' or quote == "'" then
      local out = {}
      at = at + 1
      while true do
        local ch = source:sub(at, at)
        if ch == "" then fail "unfinished text" end
        at = at + 1
        if ch == quote then return table.concat(out) end
        if ch == "\\" then
          ch = source:sub(at, at)
          at = at + 1
        end
        out[#out + 1] = ch
      end
    elseif quote == "[" then
      local list = {}
      at = at + 1
      skip()
      while source:sub(at, at) ~= "]" do
        list[#list + 1] = literal()
        skip()
        if source:sub(at, at) == "," then at = at + 1 end
        skip()
        if at > #source then fail "unfinished list" end
      end
      at = at + 1
      return list
    end
    local word = source:match("^[%w%.%-:+]+", at)
    if not word then fail "expected a value" end
    at = at + #word
    if word == "true" then return true elseif word == "false" then return false elseif word == "null" then
      return nil end
    return tonumber(word) or word
  end

  local function coerce(field, v)
    if (field == "start_time" or field == "end_time") and type(v) == "string" then return text.micros(v) end
    if field == "latency" and type(v) == "string" then return tonumber((v:gsub("s$", ""))) end
    return v
  end

  local function comparison(op)
    if op == "search" then
      local wanted = tostring(literal()):lower()
      eat ")"
      return function(run)
        local all = (run.name or "") .. (json.encode(run.inputs or {}) or "")
          .. (json.encode(run.outputs or {}) or "") .. tostring(run.error)
        return all:lower():find(wanted, 1, true) ~= nil
      end
    end
    skip()
    local field = source:match("^[%a_]+", at)
    if not field or not FIELDS[field] then fail(("unknown field %q"):format(tostring(field))) end
    at = at + #field
    skip()
    local v
    if source:sub(at, at) == "," then
      at = at + 1
      v = coerce(field, literal())
    end
    eat ")"
    return function(run)
      local list = keyed(run, field)
      if op == "has" then
        if field == "tags" then
          for _, tag in ipairs(run.tags or {}) do
            if tag == v then return true end
          end
          return false
        end
        local wanted = type(v) == "string" and json.decode(v)
        if type(wanted) ~= "table" then return metadata_of(run)[v] ~= nil end
        for k, item in pairs(wanted) do
          if metadata_of(run)[k] ~= item then return false end
        end
        return true
      elseif op == "exists" then
        return (list and #list > 0) or value_of(run, field) ~= nil
      elseif op == "in" then
        for _, item in ipairs(type(v) == "table" and v or {}) do
          if value_of(run, field) == item then return true end
        end
        return false
      elseif op == "like" then
        return type(value_of(run, field)) == "string" and like(value_of(run, field), tostring(v))
      end
      if list then
        for _, item in ipairs(list) do
          if COMPARE[op](item, v) then return true end
        end
        return false
      end
      local mine = value_of(run, field)
      if op ~= "eq" and op ~= "neq" and type(mine) ~= type(v) then return false end
      return COMPARE[op](mine, v)
    end
  end

  function expression()
    skip()
    local op = source:match("^%a+", at)
    if not op then fail "expected an operator" end
    at = at + #op
    eat "("
    if op == "and" or op == "or" or op == "not" then
      local list = {}
      repeat
        list[#list + 1] = expression()
        skip()
        local more = source:sub(at, at) == ","
        if more then at = at + 1 end
      until not more
      eat ")"
      return function(run)
        for _, test in ipairs(list) do
          local yes = test(run)
          if op == "and" and not yes then return false elseif op == "or" and yes then return true end
          if op == "not" then return not yes end
        end
        return op == "and"
      end
    end
    if not COMPARE[op] and op ~= "has" and op ~= "in" and op ~= "like" and op ~= "search" and op ~= "exists" then
      fail(("unknown operator %q"):format(op))
    end
    return comparison(op)
  end

  return function()
    local test = expression()
    skip()
    if at <= #source then fail "text after the end" end
    return test
  end
end

-- A function(run) -> boolean, or nil and a sentence.
function M.compile(source)
  local ok, result = pcall(parser(source))
  if ok then return result end
  return nil, type(result) == "table" and result.message or tostring(result)
end

return M
