-- What LangSmith derives from stored runs: status, tokens summed to the parents, cost, children, links, feedback.
-- Called by the modules that read.
local json = require "host.json"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given, is_object = world_of.given, world_of.is_object
local M = {}

-- US dollars for a million tokens: model pattern, input, input read from the cache, output
local PRICES = {
  { "^gpt%-4o%-mini", 0.15, 0.075, 0.6 }, { "^gpt%-4o", 2.5, 1.25, 10 }, { "^gpt%-4%.1%-mini", 0.4, 0.1, 1.6 },
  { "^gpt%-4%.1", 2, 0.5, 8 }, { "^gpt%-3%.5%-turbo", 0.5, 0.5, 1.5 },
}

local function dig(v, ...)
  for _, key in ipairs { ... } do
    if type(v) ~= "table" or v == json.null then return nil end
    v = v[key]
  end
  return given(v)
end

-- Only these places count: outputs.usage_metadata, extra.metadata.usage_metadata, LangChain's two.
local function usage_of(record)
  if record.run_type ~= "llm" then return nil end
  local out = record.outputs
  local u = dig(out, "usage_metadata") or dig(record.extra, "metadata", "usage_metadata")
    or dig(out, "generations", 1, 1, "message", "kwargs", "usage_metadata")
  if is_object(u) then
    local input, output = given(u.input_tokens) or 0, given(u.output_tokens) or 0
    return { input = input, output = output, total = given(u.total_tokens) or input + output,
      cached = dig(u, "input_token_details", "cache_read") or 0,
      input_cost = given(u.input_cost), output_cost = given(u.output_cost), total_cost = given(u.total_cost) }
  end
  local t = dig(out, "llm_output", "token_usage") or dig(out, "llmOutput", "tokenUsage")
  if not is_object(t) then return nil end
  local input, output = given(t.prompt_tokens) or given(t.promptTokens) or 0, given(t.completion_tokens)
    or given(t.completionTokens) or 0
  return { input = input, output = output, total = given(t.total_tokens) or given(t.totalTokens) or input + output,
    cached = 0 }
end

local function cost_of(record, usage)
  if usage.input_cost or usage.output_cost or usage.total_cost then
    local i, o = usage.input_cost or 0, usage.output_cost or 0
    return i, o, usage.total_cost or i + o
  end
  local name = dig(record.extra, "metadata", "ls_model_name") or dig(record.inputs, "model")
    or dig(record.inputs, "model_name")
  for _, row in ipairs(PRICES) do
    if type(name) == "string" and name:find(row[1]) then
      local i = ((usage.input - usage.cached) * row[2] + usage.cached * row[3]) / 1e6
      local o = usage.output * row[4] / 1e6
      return i, o, i + o
    end
  end
  return nil
end

local function decimal(n) return n and (("%.10f"):format(n):gsub("0+$", ""):gsub("%.$", "")) or json.null end
M.decimal = decimal

local function trace_of(store, record)
  return record.trace_id and store.traces[record.trace_id:lower()] or { record }
end

-- Sums over a run and all that lies below it.
local function totals_of(store, record)
  local sum = { input = 0, output = 0, total = 0 }
  for _, other in ipairs(trace_of(store, record)) do
    local below = other == record
    for _, id in ipairs(not below and other.ancestors or {}) do below = below or id == record.id end
    local usage = below and usage_of(other)
    if usage then
      sum.input, sum.output, sum.total = sum.input + usage.input, sum.output + usage.output, sum.total + usage.total
      local i, o, t = cost_of(other, usage)
      if t then sum.input_cost, sum.output_cost, sum.total_cost = (sum.input_cost or 0) + i,
        (sum.output_cost or 0) + o, (sum.total_cost or 0) + t end
    end
  end
  return sum
end

function M.time_text(v) -- epoch milliseconds are accepted on the way in
  if type(v) == "number" then return text.stamp(v / 1000) end
  return v or json.null
end

local function status_of(record)
  if record.error then return "error" end
  if record.end_time then return "success" end
  return record.status or "pending"
end

local function first_token(record)
  for _, event in ipairs(record.events or {}) do
    if is_object(event) and event.name == "new_token" then return M.time_text(given(event.time)) end
  end
  return json.null
end

local function children_of(store, record)
  local direct, all = json.array {}, json.array {}
  for _, other in ipairs(trace_of(store, record)) do
    if other ~= record then
      for _, id in ipairs(other.ancestors or {}) do
        if id == record.id then
          all[#all + 1] = other.id
          break
        end
      end
      if (other.parent_run_id or ""):lower() == record.id then direct[#direct + 1] = other.id end
    end
  end
  return direct, all
end

local function thread_of(record)
  local metadata = dig(record.extra, "metadata")
  return dig(metadata, "session_id") or dig(metadata, "thread_id") or dig(metadata, "conversation_id") or json.null
end

local function preview(v) return v and text.cut(assert(json.encode(v)), 150) or json.null end

-- Feedback on a run, by key: how often, and the mean of its scores.
local function stats_of(store, record)
  local out = {}
  for _, f in ipairs(store.feedback) do
    if f.run_id == record.id then
      local row = out[f.key] or { n = 0, avg = json.null, values = {} }
      row.n = row.n + 1
      local score = given(f.score)
      if score == true then score = 1 elseif score == false then score = 0 end
      if type(score) == "number" then
        row.sum = (row.sum or 0) + score
        row.avg = row.sum / row.n
      end
      out[f.key] = row
    end
  end
  for _, row in pairs(out) do row.sum = nil end
  return out
end

-- A run as the service answers it: what was sent, and what the server adds.
function M.show(store, record)
  local sum = totals_of(store, record)
  local direct, all = children_of(store, record)
  local parents = json.array {}
  for i, id in ipairs(record.ancestors or {}) do
    if i < #record.ancestors then parents[#parents + 1] = id end
  end
  local session = record.session
  return {
    id = record.id, name = record.name or "", run_type = record.run_type or "chain", trace_id = record.trace_id
      or record.id,
    dotted_order = record.dotted_order or "", parent_run_id = record.parent_run_id or json.null,
      parent_run_ids = parents,
    child_run_ids = all, direct_child_run_ids = direct, session_id = session.id,
    app_path = ("/o/%s/projects/p/%s/r/%s?poll=true"):format(session.tenant_id, session.id, record.id),
    status = status_of(record), start_time = M.time_text(record.start_time), end_time = M.time_text(record.end_time),
    inputs = record.inputs or {}, outputs = record.outputs or json.null, error = record.error or json.null,
    events = record.events or json.array {}, extra = record.extra or {}, tags = record.tags or json.array {},
    serialized = record.serialized or json.null, reference_example_id = record.reference_example_id or json.null,
    total_tokens = sum.total, prompt_tokens = sum.input, completion_tokens = sum.output,
      total_cost = decimal(sum.total_cost),
    prompt_cost = decimal(sum.input_cost), completion_cost = decimal(sum.output_cost),
      first_token_time = first_token(record),
    feedback_stats = stats_of(store, record), thread_id = thread_of(record), execution_order = 1, in_dataset = false,
      trace_tier = "shortlived",
    share_token = record.share_token or json.null, last_queued_at = record.received,
      inputs_preview = preview(record.inputs),
    outputs_preview = preview(record.outputs), manifest_id = json.null, messages = json.null, ttl_seconds = 1209600,
  }
end

-- Whether the record is a run yet: a patch alone is not.
function M.visible(record) return record.name ~= nil and record.session ~= nil and record.start_time ~= nil end

return M
