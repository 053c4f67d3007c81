-- LangSmith's read side, v1: runs by id and by query, shared runs, deletion. Called by app.lua over the store of
-- langsmith.lua; what is derived of a run is in langsmith_derive.lua.
local json = require "host.json"
local derive = require "emulator.langsmith_derive"
local filter_of = require "emulator.langsmith_filter"
local langsmith = require "emulator.langsmith"
local reply = require "emulator.reply"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given, is_array = world_of.given, world_of.is_array
local M = {}

local function get_run(store, request)
  local id = request.params.id:lower()
  if not langsmith.is_uuid(id) then
    return reply.invalid("path.run_id", "value is not a valid uuid")
  end
  local record = store.runs[id]
  if not record or not derive.visible(record) then return reply.json(404, { detail = "Run not found" }) end
  return reply.json(200, derive.show(store, record))
end

local function set_of(list)
  if not is_array(list) then return nil end
  local set = {}
  for _, v in ipairs(list) do set[type(v) == "string" and v:lower() or v] = true end
  return set
end

local function bad_query(message) return reply.json(400, { detail = message }) end

-- The test that a query body means: run -> boolean; or nil and a sentence.
function M.test_of(store, body)
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
      if derive.visible(other) and test(derive.show(store, other)) then return true end
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

-- All runs that pass, shown.
function M.find(store, test)
  local found = {}
  for _, record in ipairs(store.order) do
    if derive.visible(record) then
      local run = derive.show(store, record)
      if test(run) then found[#found + 1] = run end
    end
  end
  return found
end

local function post_query(store, request)
  local body = request:object()
  if not body then return reply.invalid("body", "value is not a valid dict") end
  local limit = given(body.limit) or 100
  if math.type(limit) ~= "integer" or limit < 1 or limit > 100 then
    return reply.invalid("body.limit", "ensure this value is between 1 and 100")
  end
  local test, message = M.test_of(store, body)
  if not test then return bad_query(message) end
  local found = M.find(store, test)
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

-- PUT shares a run, DELETE takes that back, GET tells.
local function share(store, request)
  local record = store.runs[request.params.id:lower()]
  if not record or not derive.visible(record) then return reply.json(404, { detail = "Run not found" }) end
  if request.method == "PUT" and not record.share_token then
    record.share_token = store.world:uuid()
    store.shared[record.share_token] = record
  elseif request.method == "DELETE" then
    store.shared[record.share_token or ""] = nil
    record.share_token = nil
    return reply.json(200, {})
  end
  if not record.share_token then return reply.json(200, json.null) end
  return reply.json(200, { run_id = record.id, share_token = record.share_token })
end

-- A shared run does not say whose it is.
local function public(store, record)
  local run = derive.show(store, record)
  for _, name in ipairs { "app_path", "in_dataset", "last_queued_at", "session_id", "share_token", "thread_id",
    "trace_tier", "ttl_seconds" } do run[name] = nil end
  return run
end

local function get_public(store, request)
  local root = store.shared[request.params.token]
  local record = root and (request.params.id and store.runs[request.params.id:lower()] or root)
  if not record or record.trace_id ~= root.trace_id then return reply.json(404, { detail = "Not found" }) end
  return reply.json(200, public(store, record))
end

local function post_public_query(store, request)
  local root, rows = store.shared[request.params.token], json.array {}
  if not root then return reply.json(404, { detail = "Not found" }) end
  for _, id in ipairs(given((request:object() or {}).id) or {}) do
    local record = store.runs[tostring(id):lower()]
    if record and record.trace_id == root.trace_id then rows[#rows + 1] = public(store, record) end
  end
  return reply.json(200, { runs = rows, cursors = { next = json.null, prev = json.null } })
end

local function post_delete(store, request)
  local body = request:object() or {}
  local traces = set_of(given(body.trace_ids))
  if not traces then return reply.invalid("body", "trace_ids or metadata is required") end
  store:forget(function(record) return traces[(record.trace_id or record.id):lower()] == true end)
  return reply.json(200, { message = "Deletion scheduled" })
end

local function post_validate(_, request)
  local body = request:object() or {}
  for _, name in ipairs { "filter", "trace_filter", "tree_filter" } do
    if given(body[name]) then
      local test, message = filter_of.compile(body[name])
      if not test then return bad_query(message) end
    end
  end
  return reply.json(200, { valid = true })
end

function M.install(store, app)
  for _, prefix in ipairs(langsmith.PREFIXES) do
    local function add(method, path, handler, opts)
      app:route("langsmith", "read", method, prefix .. path, function(request) return handler(store, request) end, opts)
    end
    add("POST", "/runs/query", post_query)
    add("POST", "/runs/query/validate", post_validate)
    add("POST", "/runs/delete", post_delete)
    add("GET", "/runs/{id}", get_run)
    for _, method in ipairs { "GET", "PUT", "DELETE" } do add(method, "/runs/{id}/share", share) end
    add("GET", "/public/{token}/run", get_public, { open = true })
    add("GET", "/public/{token}/run/{id}", get_public, { open = true })
    add("POST", "/public/{token}/runs/query", post_public_query, { open = true })
    add("GET", "/settings", function(s)
      return reply.json(200, { id = s.world.tenant, display_name = "agenthost emulator",
        created_at = "2026-01-02T08:00:00Z", tenant_handle = json.null })
    end)
  end
end

return M
