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
  COMPLETION_TOKENS = "completion_tokens", FEEDBACK_STATS = "feedback_stats", PRICE_MODEL_ID = "price_model_id",
  MANIFEST = function(run) return "manifest", run.serialized end,
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
  ATTACHMENTS = function() return "attachments", {} end,
  THREAD_EVALUATION_TIME = function() return "thread_evaluation_time", json.null end,
  PROMPT_TOKEN_DETAILS = function() return "prompt_token_details", {} end,
  COMPLETION_TOKEN_DETAILS = function() return "completion_token_details", {} end,
  PROMPT_COST_DETAILS = function() return "prompt_cost_details", {} end,
  COMPLETION_COST_DETAILS = function() return "completion_cost_details", {} end,
}

-- The same for a trace of a thread.
local THREAD_SELECTS = {
  OP = function() return "op", nil end, -- a number for each run_type: which, is not public
  LATENCY = function(run) return "latency", stats.seconds_between(run.start_time, run.end_time) end,
}
for _, name in ipairs { "THREAD_ID", "TRACE_ID", "PROMPT_TOKENS", "COMPLETION_TOKENS", "TOTAL_TOKENS", "START_TIME",
  "END_TIME", "FIRST_TOKEN_TIME", "INPUTS_PREVIEW", "OUTPUTS_PREVIEW", "PROMPT_COST", "COMPLETION_COST", "TOTAL_COST",
  "PROMPT_TOKEN_DETAILS", "COMPLETION_TOKEN_DETAILS", "PROMPT_COST_DETAILS", "COMPLETION_COST_DETAILS", "NAME",
  "ERROR_PREVIEW" } do THREAD_SELECTS[name] = SELECTS[name] end

-- Without what is null: these objects name no nulls.
local function present(object)
  for k, v in pairs(object) do
    if v == json.null then object[k] = nil end
  end
  return object
end

-- The selected members of a run in `out`; nil and a sentence for an unknown one.
local function pick(run, selects, out, known)
  for _, name in ipairs(selects or {}) do
    local how = known[name]
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

local function pick_run(run, selects)
  local out, message = pick(run, selects, { id = run.id }, SELECTS)
  return out and present(out), message
end

-- Of a query: what `names` lists must be there. An answer, or nil.
local function missing(request, names)
  for _, name in ipairs(names) do
    local v = request.query[name]
    if not v or v == "" then return bad(name .. " is required", request) end
    if name:find "_time$" and not text.micros(v) then return bad(name .. " is not a time", request) end
  end
  return nil
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
  return { items = items, has_more = more, next_cursor = more and text.base64("v2:" .. (start + size)) or nil }
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
    function(run) return pick_run(run, selects) end)
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

local function get_run(store, request) -- start_time: required by the document of May 2026, no longer since July
  local status, headers, answer = missing(request, { "project_id" })
  if status then return status, headers, answer end
  local record, refused = record_of(store, request)
  if not record then return table.unpack(refused) end
  local out, message = pick_run(derive.show(store, record), request:values "selects")
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
  local status, headers, answer = missing(request, { "project_id", "min_start_time", "max_start_time" })
  if status then return status, headers, answer end
  local from, to = text.micros(request.query.min_start_time), text.micros(request.query.max_start_time)
  local wanted, filter = request.params.id:lower(), nil
  if request.query.filter then
    local message
    filter, message = filter_of.compile(request.query.filter)
    if not filter then return bad(message, request) end
  end
  local runs = sorted(read.find(store, function(run)
    local at = text.micros(run.start_time == json.null and "" or run.start_time) or 0
    return run.trace_id:lower() == wanted and run.session_id == request.query.project_id and at >= from and at <= to
      and (not filter or filter(run))
  end), "ASC")
  local items, selects = json.array {}, request:values "selects"
  for i, run in ipairs(runs) do
    local item, message = pick_run(run, selects)
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
  return present { thread_id = thread.id, count = #thread.runs, first_trace_id = first.trace_id,
    last_trace_id = last.trace_id,
    min_start_time = first.start_time, max_start_time = last.start_time, first_inputs = first.inputs_preview,
    last_outputs = last.outputs_preview, last_error = last.error, latency_p50 = sum.latency_p50,
    latency_p99 = sum.latency_p99, total_tokens = tokens }
end

local THREAD_STATS = { LATENCY_P50 = "latency_p50_seconds", LATENCY_P99 = "latency_p99_seconds" }

local function get_thread_stats(thread, request)
  local first, last, sum = thread.runs[1], thread.runs[#thread.runs], stats.of(thread.runs)
  local all = { turns = #thread.runs, first_start_time = first.start_time, last_start_time = last.start_time,
    last_end_time = last.end_time, latency_p50_seconds = sum.latency_p50, latency_p99_seconds = sum.latency_p99,
    prompt_tokens = 0, completion_tokens = 0, total_tokens = 0, prompt_cost = 0, completion_cost = 0, total_cost = 0,
    prompt_token_details = {}, completion_token_details = {}, prompt_cost_details = {}, completion_cost_details = {} }
  for _, run in ipairs(thread.runs) do
    for _, k in ipairs { "prompt_tokens", "completion_tokens", "total_tokens", "prompt_cost", "completion_cost",
      "total_cost" } do all[k] = all[k] + (tonumber(run[k]) or 0) end
  end
  local out = {}
  for _, name in ipairs(request:values "selects") do
    local member = THREAD_STATS[name] or name:lower()
    if all[member] == nil then return bad(("selects: unknown field %q"):format(name), request) end
    out[member] = all[member]
  end
  return reply.json(200, present(out))
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

-- `project`: what the query calls the project.
local function with_thread(project, act)
  return function(store, request)
    local status, headers, answer = missing(request, { project })
    if status then return status, headers, answer end
    for _, thread in ipairs(stats.threads(store, request.query[project])) do
      if thread.id == request.params.id then return act(thread, request) end
    end
    return problem(404, "Not Found", "thread not found", request)
  end
end

local function get_thread_traces(thread, request)
  local q, selects = request.query, request:values "selects"
  local out, why = page(thread.runs, { page_size = tonumber(q.page_size), cursor = q.cursor }, 100, 20, function(run)
    local item, message = pick(run, selects, { trace_id = run.trace_id }, THREAD_SELECTS)
    return item and present(item), message
  end)
  if not out then return bad(why, request) end
  return reply.json(200, out)
end

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
    add("GET", "/threads/{id}/traces", with_thread("project_id", get_thread_traces))
    add("GET", "/threads/{id}/stats", with_thread("session_id", get_thread_stats))
  end
end

return M
