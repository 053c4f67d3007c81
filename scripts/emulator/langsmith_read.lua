-- LangSmith's read side, v1: runs, queries, projects, feedback, with what the server derives: status, tokens
-- summed to the parents, cost, links. Called by app.lua over the store of langsmith.lua.
local json = require "host.json"
local filter_of = require "emulator.langsmith_filter"
local langsmith = require "emulator.langsmith"
local reply = require "emulator.reply"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given, is_object, is_array = world_of.given, world_of.is_object, world_of.is_array
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

local function time_text(v) -- epoch milliseconds are accepted on the way in
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
    if is_object(event) and event.name == "new_token" then return time_text(given(event.time)) end
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

local function show(store, record)
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
    status = status_of(record), start_time = time_text(record.start_time), end_time = time_text(record.end_time),
    inputs = record.inputs or {}, outputs = record.outputs or json.null, error = record.error or json.null,
    events = record.events or json.array {}, extra = record.extra or {}, tags = record.tags or json.array {},
    serialized = record.serialized or json.null, reference_example_id = record.reference_example_id or json.null,
    total_tokens = sum.total, prompt_tokens = sum.input, completion_tokens = sum.output,
      total_cost = decimal(sum.total_cost),
    prompt_cost = decimal(sum.input_cost), completion_cost = decimal(sum.output_cost),
      first_token_time = first_token(record),
    feedback_stats = {}, thread_id = thread_of(record), execution_order = 1, in_dataset = false,
      trace_tier = "shortlived",
    share_token = json.null, last_queued_at = record.received, inputs_preview = preview(record.inputs),
    outputs_preview = preview(record.outputs), manifest_id = json.null, messages = json.null, ttl_seconds = 1209600,
  }
end

local function visible(record) return record.name ~= nil and record.session ~= nil end

local function get_run(store, request)
  local id = request.params.id:lower()
  if not langsmith.is_uuid(id) then
    return reply.json(422, { detail = json.array { { loc = json.array { "path", "run_id" },
      msg = "value is not a valid uuid", type = "type_error.uuid" } } })
  end
  local record = store.runs[id]
  if not record or not visible(record) then return reply.json(404, { detail = "Run not found" }) end
  return reply.json(200, show(store, record))
end

local function set_of(list)
  if not is_array(list) then return nil end
  local set = {}
  for _, v in ipairs(list) do set[type(v) == "string" and v:lower() or v] = true end
  return set
end

local function bad_query(message) return reply.json(400, { detail = message }) end

-- The test that a query body means: run -> boolean; or nil and a sentence.
local function query_test(store, body)
  local ids = set_of(given(body.id))
  if ids then return function(run) return ids[run.id] == true end end
  local sessions, examples = set_of(given(body.session)), set_of(given(body.reference_example))
  local tests = {}
  for _, name in ipairs { "filter", "trace_filter", "tree_filter" } do
    if given(body[name]) then
      local test, message = filter_of.compile(body[name])
      if not test then return nil, message end
      tests[name] = test
    end
  end
  local from = given(body.start_time) and text.micros(body.start_time)
  local to = given(body.end_time) and text.micros(body.end_time)
  local function any_of_trace(run, test)
    for _, other in ipairs(store.traces[run.trace_id:lower()] or {}) do
      if visible(other) and test(show(store, other)) then return true end
    end
    return false
  end
  return function(run)
    local at = text.micros(run.start_time == json.null and "" or run.start_time) or 0
    local root = run.parent_run_id == json.null
    return (not sessions or sessions[run.session_id]) and (not examples or examples[run.reference_example_id])
      and (given(body.trace) == nil or body.trace:lower() == run.trace_id:lower())
      and (given(body.parent_run) == nil or body.parent_run == run.parent_run_id)
      and (given(body.run_type) == nil or body.run_type == run.run_type)
      and (given(body.is_root) == nil or body.is_root == root) and (given(body.execution_order) ~= 1 or root)
      and (given(body.error) == nil or body.error == (run.status == "error"))
      and (not from or at >= from) and (not to or at <= to)
      and (not tests.filter or tests.filter(run))
      and (not tests.trace_filter or any_of_trace(run, function(r) return r.id == run.trace_id
        and tests.trace_filter(r) end))
      and (not tests.tree_filter or any_of_trace(run, tests.tree_filter))
  end
end

local function post_query(store, request)
  local body = request:object()
  if not body then return reply.json(422, { detail = "the body is not a JSON object" }) end
  local limit = given(body.limit) or 100
  if math.type(limit) ~= "integer" or limit < 1 or limit > 100 then
    return reply.json(422, { detail = json.array { { loc = json.array { "body", "limit" },
      msg = "ensure this value is between 1 and 100", type = "value_error" } } })
  end
  local test, message = query_test(store, body)
  if not test then return bad_query(message) end
  local found = {}
  for _, record in ipairs(store.order) do
    if visible(record) then
      local run = show(store, record)
      if test(run) then found[#found + 1] = run end
    end
  end
  local ascending = given(body.order) == "asc"
  table.sort(found, function(a, b)
    if a.dotted_order == b.dotted_order then return a.id < b.id end
    if ascending then return a.dotted_order < b.dotted_order end
    return a.dotted_order > b.dotted_order
  end)
  local start = given(body.cursor) and tonumber((text.unbase64(body.cursor) or ""):match("^offset:(%d+)$") or "x") or 0
  local rows, select = json.array {}, given(body.select)
  for i = start + 1, math.min(start + limit, #found) do
    local run = found[i]
    if select then
      local chosen = { id = run.id }
      for _, field in ipairs(select) do chosen[field] = run[field] end
      run = chosen
    end
    rows[#rows + 1] = run
  end
  local following = start + limit < #found and text.base64("offset:" .. (start + limit)) or json.null
  return reply.json(200, { runs = rows, cursors = { next = following, prev = json.null }, search_cursors = json.null,
    parsed_query = json.null })
end

local function show_session(store, session)
  local n, last = 0, nil
  for _, record in ipairs(store.order) do
    if record.session == session then
      n = n + 1
      last = record.start_time or last
    end
  end
  return { id = session.id, tenant_id = session.tenant_id, name = session.name, start_time = session.start_time,
    end_time = session.end_time or json.null, description = session.description or json.null,
      extra = session.extra or json.null,
    reference_dataset_id = session.reference_dataset_id or json.null, run_count = n,
      last_run_start_time = time_text(last), trace_tier = "shortlived" }
end

local function get_sessions(store, request)
  local q, rows = request.query, json.array {}
  local limit, offset = math.tointeger(tonumber(q.limit or "100")) or 100, math.tointeger(tonumber(q.offset or "0"))
    or 0
  if limit < 1 or limit > 100 then return reply.json(422, { detail = "limit must be between 1 and 100" }) end
  local ids = {}
  for _, id in ipairs(request:values "id") do ids[id] = true end
  for _, session in ipairs(store.session_order) do
    if (not q.name or session.name == q.name) and (next(ids) == nil or ids[session.id])
      and (not q.name_contains or session.name:lower():find(q.name_contains:lower(), 1, true)) then
      rows[#rows + 1] = session
    end
  end
  local page = json.array {}
  for i = offset + 1, math.min(offset + limit, #rows) do page[#page + 1] = show_session(store, rows[i]) end
  return reply.json(200, page)
end

local function post_session(store, request)
  local body = request:object()
  if not body or type(given(body.name)) ~= "string" then return reply.json(422, { detail = "name is required" }) end
  if store.sessions[body.name] and request.query.upsert ~= "true" then
    return reply.json(409, { detail = "Session already exists." }) end
  return reply.json(200, show_session(store, store:session(body.name, body)))
end

local function one_session(store, request, act)
  local session = store.sessions_by_id[request.params.id:lower()]
  if not session then return reply.json(404, { detail = "Session not found" }) end
  return act(session)
end

local function get_session(store, request)
  return one_session(store, request, function(session) return reply.json(200, show_session(store, session)) end)
end

local function patch_session(store, request)
  return one_session(store, request, function(session)
    local body = request:object() or {}
    for _, field in ipairs { "description", "extra", "end_time" } do
      session[field] = given(body[field]) or session[field] end
    return reply.json(200, show_session(store, session))
  end)
end

local function post_feedback(store, request)
  local body = request:object()
  if not body or type(given(body.key)) ~= "string" then return reply.json(422, { detail = "key is required" }) end
  if given(body.run_id) and not store.runs[body.run_id:lower()] then
    return reply.json(404, { detail = "Run not found" }) end
  body.id = given(body.id) or store.world:uuid()
  body.created_at = store.world:stamp()
  store.feedback[#store.feedback + 1] = body
  return reply.json(200, body)
end

local function get_feedback(store, request)
  local runs, rows = {}, json.array {}
  for _, id in ipairs(request:values "run") do runs[id] = true end
  for _, f in ipairs(store.feedback) do
    if (next(runs) == nil or runs[f.run_id]) and (not request.query.key or f.key == request.query.key) then
      rows[#rows + 1] = f end
  end
  return reply.json(200, rows)
end

function M.install(store, app)
  for _, prefix in ipairs(langsmith.PREFIXES) do
    local function add(method, path, handler)
      app:route("langsmith", "read", method, prefix .. path, function(request) return handler(store, request) end)
    end
    add("POST", "/runs/query", post_query)
    add("GET", "/runs/{id}", get_run)
    add("GET", "/sessions", get_sessions)
    add("POST", "/sessions", post_session)
    add("GET", "/sessions/{id}", get_session)
    add("PATCH", "/sessions/{id}", patch_session)
    add("POST", "/feedback", post_feedback)
    add("GET", "/feedback", get_feedback)
    add("GET", "/settings", function(s)
      return reply.json(200, { id = s.world.tenant, display_name = "agenthost emulator",
        created_at = "2026-01-02T08:00:00Z", tenant_handle = json.null })
    end)
  end
end

return M
