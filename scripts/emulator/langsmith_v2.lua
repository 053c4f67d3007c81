-- LangSmith's read side, v2: runs by query and by id, a trace's runs, threads. Names are the new ones, numbers are
-- numbers, and without `selects` only ids come back. Called by app.lua over the store of langsmith.lua.
local json = require "host.json"
local derive = require "emulator.langsmith_derive"
local filter_of = require "emulator.langsmith_filter"
local read = require "emulator.langsmith_read"
local reply = require "emulator.reply"
local stats = require "emulator.langsmith_stats"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given, is_array, is_object = world_of.given, world_of.is_array, world_of.is_object
local M = {}

local PREFIXES = { "/api/v2", "/v2" }

-- RFC 7807
local function problem(status, title, detail, request)
  return reply.json(status, { type = "about:blank", title = title, status = status, detail = detail,
    instance = request.path }, { ["content-type"] = "application/problem+json" })
end

local function bad(detail, request) return problem(400, "Bad Request", detail, request) end

local function number(v) return tonumber(v) or json.null end

local function metadata_of(run) return is_object(run.extra) and given(run.extra.metadata) or {} end

-- select value -> the member's name and how it is made from a v1 run
local SELECTS = {
  ID = "id", NAME = "name", ERROR = "error", EXTRA = "extra", EVENTS = "events", INPUTS = "inputs", OUTPUTS = "outputs",
  INPUTS_PREVIEW = "inputs_preview", OUTPUTS_PREVIEW = "outputs_preview", START_TIME = "start_time",
  END_TIME = "end_time", FIRST_TOKEN_TIME = "first_token_time", PARENT_RUN_IDS = "parent_run_ids",
  TRACE_ID = "trace_id", THREAD_ID = "thread_id", DOTTED_ORDER = "dotted_order", TAGS = "tags", APP_PATH = "app_path",
  REFERENCE_EXAMPLE_ID = "reference_example_id", TOTAL_TOKENS = "total_tokens", PROMPT_TOKENS = "prompt_tokens",
  COMPLETION_TOKENS = "completion_tokens", FEEDBACK_STATS = "feedback_stats", MANIFEST = "serialized",
  PRICE_MODEL_ID = "price_model_id",
  RUN_TYPE = function(run) return "run_type", run.run_type:upper() end,
  STATUS = function(run) return "status", run.status:upper() end,
  PROJECT_ID = function(run) return "project_id", run.session_id end,
  METADATA = function(run) return "metadata", metadata_of(run) end,
  IS_ROOT = function(run) return "is_root", run.parent_run_id == json.null end,
  LATENCY_SECONDS = function(run)
    return "latency_seconds", stats.seconds_between(run.start_time, run.end_time) or json.null end,
  ERROR_PREVIEW = function(run)
    return "error_preview", run.error ~= json.null and text.cut(run.error, 150) or json.null end,
  TOTAL_COST = function(run) return "total_cost", number(run.total_cost) end,
  PROMPT_COST = function(run) return "prompt_cost", number(run.prompt_cost) end,
  COMPLETION_COST = function(run) return "completion_cost", number(run.completion_cost) end,
  IS_IN_DATASET = function(run) return "is_in_dataset", run.in_dataset end,
  SHARE_URL = function(run)
    return "share_url", run.share_token ~= json.null and "/public/" .. run.share_token .. "/r" or json.null end,
  REFERENCE_DATASET_ID = function() return "reference_dataset_id", json.null end,
  ATTACHMENTS = function() return "attachments", json.array {} end,
  THREAD_EVALUATION_TIME = function() return "thread_evaluation_time", json.null end,
  PROMPT_TOKEN_DETAILS = function() return "prompt_token_details", {} end,
  COMPLETION_TOKEN_DETAILS = function() return "completion_token_details", {} end,
  PROMPT_COST_DETAILS = function() return "prompt_cost_details", {} end,
  COMPLETION_COST_DETAILS = function() return "completion_cost_details", {} end,
}

-- The selected members of a run; nil and a sentence for an unknown one.
local function pick(run, selects)
  local out = { id = run.id }
  for _, name in ipairs(selects or {}) do
    local how = SELECTS[name]
    if not how then return nil, ("selects: unknown field %q"):format(tostring(name)) end
    if type(how) == "string" then
      local v = run[how]
      if v == nil then v = json.null end
      out[how] = v
    else
      local member, v = how(run)
      out[member] = v
    end
  end
  return out
end

-- The v1 query that a v2 body means; nil and a sentence.
local function translate(store, body)
  local projects, dataset = given(body.project_ids), given(body.reference_dataset_id)
  if (projects == nil) == (dataset == nil) then
    return nil, "exactly one of project_ids and reference_dataset_id is required" end
  local query = { session = projects, id = given(body.ids), trace = given(body.trace_id), is_root = given(body.is_root),
    error = given(body.has_error), filter = given(body.filter), trace_filter = given(body.trace_filter),
    tree_filter = given(body.tree_filter), reference_example = given(body.reference_examples) }
  if given(body.run_type) then
    if type(body.run_type) ~= "string" or body.run_type:upper() ~= body.run_type then
      return nil, "run_type must be one of TOOL CHAIN LLM RETRIEVER EMBEDDING PROMPT PARSER" end
    query.run_type = body.run_type:lower()
  end
  if dataset then
    query.session = json.array {}
    for _, session in ipairs(store.session_order) do
      if session.reference_dataset_id == dataset then query.session[#query.session + 1] = session.id end
    end
  end
  for member, name in pairs { min_start_time = "start_time", max_start_time = "end_time" } do
    local v = given(body[member])
    if v ~= nil and not text.micros(tostring(v)) then return nil, member .. " is not a time" end
    query[name] = v
  end
  return query
end

local function sorted(runs, order)
  table.sort(runs, function(a, b)
    if order == "ASC" then return a.dotted_order < b.dotted_order end
    return a.dotted_order > b.dotted_order
  end)
  return runs
end

-- One page of `list`: { items, next_cursor, has_more }; nil and a sentence.
local function page(list, body, most, default, show)
  local size = given(body.page_size) or default
  if math.type(size) ~= "integer" or size < 1 or size > most then
    return nil, ("page_size must be between 1 and %d"):format(most) end
  local start = 0
  if given(body.cursor) then
    start = tonumber((text.unbase64(tostring(body.cursor)) or ""):match("^v2:(%d+)$") or "")
    if not start then return nil, "cursor is not valid" end
  end
  local items = json.array {}
  for i = start + 1, math.min(start + size, #list) do
    local item, message = show(list[i])
    if not item then return nil, message end
    items[#items + 1] = item
  end
  local more = start + size < #list
  return { items = items, has_more = more, next_cursor = more and text.base64("v2:" .. (start + size)) or json.null }
end

local function post_query(store, request)
  local body = request:object()
  if not body then return bad("the body is not a JSON object", request) end
  local query, message = translate(store, body)
  if not query then return bad(message, request) end
  local day = store.world:now() - 86400 -- what is older than a day must be asked for
  if not query.start_time and not query.id and not query.trace then query.start_time = text.stamp(day) end
  local test, fault = read.test_of(store, query)
  if not test then return bad(fault, request) end
  local order = given(body.sort_order) or "DESC"
  if order ~= "ASC" and order ~= "DESC" then return bad("sort_order must be ASC or DESC", request) end
  local selects = given(body.selects)
  if selects and not is_array(selects) then return bad("selects must be an array", request) end
  local out, why = page(sorted(read.find(store, test), order), body, 1000, 100,
    function(run) return pick(run, selects) end)
  if not out then return bad(why, request) end
  return reply.json(200, out)
end

-- A visible record of the path, in the project of the query; or nil and an answer.
local function record_of(store, request)
  local record = store.runs[request.params.id:lower()]
  local project = request.query.project_id
  if not record or not derive.visible(record) or (project and record.session.id ~= project) then
    return nil, { problem(404, "Not Found", "run not found", request) }
  end
  return record
end

local function get_run(store, request)
  local record, refused = record_of(store, request)
  if not record then return table.unpack(refused) end
  local out, message = pick(derive.show(store, record), request:values "selects")
  if not out then return bad(message, request) end
  return reply.json(200, out)
end

local function get_url(store, request)
  local record, refused = record_of(store, request)
  if not record then return table.unpack(refused) end
  return reply.json(200, { url = request:base_url() .. derive.show(store, record).app_path })
end

local function share(store, request)
  local record, refused = record_of(store, request)
  if not record then return table.unpack(refused) end
  if request.method == "DELETE" then
    store.shared[record.share_token or ""], record.share_token = nil, nil
    return 204, {}, ""
  end
  record.share_token = record.share_token or store.world:uuid()
  store.shared[record.share_token] = record
  return reply.json(200, { run_id = record.id, share_token = record.share_token })
end

local function get_trace(store, request)
  local wanted, filter = request.params.id:lower(), nil
  if request.query.filter then
    local message
    filter, message = filter_of.compile(request.query.filter)
    if not filter then return bad(message, request) end
  end
  local runs = sorted(read.find(store, function(run)
    return run.trace_id:lower() == wanted and (not filter or filter(run)) end), "ASC")
  local items, selects = json.array {}, request:values "selects"
  for i, run in ipairs(runs) do
    local item, message = pick(run, selects)
    if not item then return bad(message, request) end
    items[i] = item
  end
  return reply.json(200, { items = items })
end

local function show_thread(thread)
  local first, last = thread.runs[1], thread.runs[#thread.runs]
  local sum = stats.of(thread.runs)
  local tokens = 0
  for _, run in ipairs(thread.runs) do tokens = tokens + run.total_tokens end
  return { thread_id = thread.id, count = #thread.runs, first_trace_id = first.trace_id, last_trace_id = last.trace_id,
    min_start_time = first.start_time, max_start_time = last.start_time, first_inputs = first.inputs_preview,
    last_outputs = last.outputs_preview, last_error = last.error, latency_p50 = sum.latency_p50,
    latency_p99 = sum.latency_p99, total_tokens = tokens }
end

local function post_threads(store, request)
  local body = request:object() or {}
  if not given(body.project_id) then return bad("project_id is required", request) end
  local test, message
  if given(body.filter) then
    test, message = filter_of.compile(body.filter)
    if not test then return bad(message, request) end
  end
  local out, why = page(stats.threads(store, body.project_id, test), body, 100, 20, show_thread)
  if not out then return bad(why, request) end
  return reply.json(200, out)
end

local function with_thread(act)
  return function(store, request)
    for _, thread in ipairs(stats.threads(store, request.query.project_id)) do
      if thread.id == request.params.id then return act(thread, request) end
    end
    return problem(404, "Not Found", "thread not found", request)
  end
end

local get_thread_traces = with_thread(function(thread, request)
  local items, selects = json.array {}, request:values "selects"
  for i, run in ipairs(thread.runs) do
    local item, message = pick(run, selects)
    if not item then return bad(message, request) end
    items[i] = item
  end
  return reply.json(200, { items = items, next_cursor = json.null, has_more = false })
end)

function M.install(store, app)
  for _, prefix in ipairs(PREFIXES) do
    local function add(method, path, handler)
      app:route("langsmith", "read", method, prefix .. path, function(request) return handler(store, request) end)
    end
    add("POST", "/runs/query", post_query)
    add("GET", "/runs/{id}/url", get_url)
    add("POST", "/runs/{id}/share", share)
    add("DELETE", "/runs/{id}/share", share)
    add("GET", "/runs/{id}", get_run)
    add("GET", "/traces/{id}/runs", get_trace)
    add("POST", "/threads/query", post_threads)
    add("GET", "/threads/{id}/traces", get_thread_traces)
    add("GET", "/threads/{id}/stats", with_thread(function(thread) return reply.json(200, show_thread(thread)) end))
  end
end

return M
