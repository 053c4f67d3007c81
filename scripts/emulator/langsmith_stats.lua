-- Statistics over runs: /runs/stats, the numbers of projects, threads. Called by app.lua and
-- langsmith_sessions.lua.
local json = require "host.json"
local langsmith = require "emulator.langsmith"
local read = require "emulator.langsmith_read"
local reply = require "emulator.reply"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given, is_object = world_of.given, world_of.is_object
local M = {}

local function percentile(list, p)
  if #list == 0 then return json.null end
  table.sort(list)
  return list[math.max(1, math.ceil(#list * p))]
end

local function seconds_between(from, to)
  local a = type(from) == "string" and text.micros(from)
  local b = type(to) == "string" and text.micros(to)
  return a and b and (b - a) / 1e6 or nil
end
M.seconds_between = seconds_between

-- RunStats of a list of shown runs.
function M.of(runs)
  local latency, first, tokens, errors, streamed, last = {}, {}, {}, 0, 0, nil
  local out = { run_count = #runs, total_tokens = 0, prompt_tokens = 0, completion_tokens = 0, feedback_stats = {},
    run_facets = json.array {} }
  local cost = { total = 0, prompt = 0, completion = 0 }
  for _, run in ipairs(runs) do
    latency[#latency + 1] = seconds_between(run.start_time, run.end_time)
    local wait = seconds_between(run.start_time, run.first_token_time)
    if wait then
      first[#first + 1] = wait
      streamed = streamed + 1
    end
    if run.status == "error" then errors = errors + 1 end
    -- parents hold the sums of what lies below them: only leaves of the roll-up are added
    if run.run_type == "llm" then
      for _, k in ipairs { "total_tokens", "prompt_tokens", "completion_tokens" } do out[k] = out[k] + run[k] end
      tokens[#tokens + 1] = run.total_tokens
      for k in pairs(cost) do cost[k] = cost[k] + (tonumber(run[k .. "_cost"]) or 0) end
    end
    if type(run.start_time) == "string" and (not last or run.start_time > last) then last = run.start_time end
  end
  out.latency_p50, out.latency_p99 = percentile(latency, 0.5), percentile(latency, 0.99)
  out.first_token_p50, out.first_token_p99 = percentile(first, 0.5), percentile(first, 0.99)
  out.median_tokens, out.last_run_start_time = percentile(tokens, 0.5), last or json.null
  out.error_rate = #runs > 0 and errors / #runs or json.null
  out.streaming_rate = #runs > 0 and streamed / #runs or json.null
  for k, v in pairs(cost) do out[k .. "_cost"] = v > 0 and v or json.null end
  return out
end

-- The name of the group a run falls into, or nil.
local function group_of(run, group)
  local attribute = group.attribute
  if attribute == "name" or attribute == "run_type" then return run[attribute] end
  if attribute == "tag" then return run.tags[1] end
  local metadata = is_object(run.extra) and is_object(run.extra.metadata) and run.extra.metadata or {}
  return attribute == "metadata" and given(metadata[group.path or ""]) or nil
end

local function post_stats(store, request)
  local body = request:object()
  if not body then return reply.invalid("body", "value is not a valid dict") end
  local test, message = read.test_of(store, body)
  if not test then return reply.json(400, { detail = message }) end
  local found, group = read.find(store, test), given(body.group_by)
  if not group then return reply.json(200, M.of(found)) end
  local groups, names, out = {}, {}, {}
  for _, run in ipairs(found) do
    local name = group_of(run, group)
    if name ~= nil then
      name = tostring(name)
      if not groups[name] then
        groups[name] = {}
        names[#names + 1] = name
      end
      table.insert(groups[name], run)
    end
  end
  table.sort(names, function(a, b) return #groups[a] == #groups[b] and a < b or #groups[a] > #groups[b] end)
  for i = 1, math.min(#names, given(group.max_groups) or 5) do out[names[i]] = M.of(groups[names[i]]) end
  return reply.json(200, out)
end

-- The roots of a project by thread, newest first: { id, runs (by start) }.
function M.threads(store, session_id, test)
  local by, order = {}, {}
  for _, run in ipairs(read.find(store, function(r)
    return r.session_id == session_id and r.parent_run_id == json.null and r.thread_id ~= json.null
      and (not test or test(r))
  end)) do
    local thread = by[run.thread_id]
    if not thread then
      thread = { id = run.thread_id, runs = {} }
      by[run.thread_id] = thread
      order[#order + 1] = thread
    end
    table.insert(thread.runs, run)
  end
  for _, thread in ipairs(order) do
    table.sort(thread.runs, function(a, b) return a.dotted_order < b.dotted_order end)
  end
  table.sort(order, function(a, b) return a.runs[#a.runs].dotted_order > b.runs[#b.runs].dotted_order end)
  return order
end

local function post_group(store, request)
  local body = request:object() or {}
  if body.group_by ~= "conversation" or not given(body.session_id) then
    return reply.invalid("body", "session_id and group_by=conversation are required") end
  local threads, rows = M.threads(store, body.session_id), json.array {}
  local offset, limit = given(body.offset) or 0, math.min(given(body.limit) or 10, 100)
  for i = offset + 1, math.min(offset + limit, #threads) do
    local thread = threads[i]
    local group, last = M.of(thread.runs), thread.runs[#thread.runs]
    group.group_key, group.count, group.filter = thread.id, #thread.runs, ('eq(thread_id, "%s")'):format(thread.id)
    group.min_start_time, group.max_start_time = thread.runs[1].start_time, last.start_time
    group.first_inputs, group.last_outputs = thread.runs[1].inputs_preview, last.outputs_preview
    rows[#rows + 1] = group
  end
  return reply.json(200, { groups = rows, total = #threads })
end

function M.install(store, app)
  for _, prefix in ipairs(langsmith.PREFIXES) do
    local function add(path, handler)
      app:route("langsmith", "read", "POST", prefix .. path, function(request) return handler(store, request) end)
    end
    add("/runs/stats", post_stats)
    add("/runs/group", post_group)
  end
end

return M
