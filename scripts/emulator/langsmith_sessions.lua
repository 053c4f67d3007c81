-- LangSmith's projects ("sessions"). Called by app.lua over the store of langsmith.lua.
local json = require "host.json"
local derive = require "emulator.langsmith_derive"
local langsmith = require "emulator.langsmith"
local reply = require "emulator.reply"
local stats = require "emulator.langsmith_stats"
local world_of = require "emulator.world"

local given = world_of.given
local M = {}

local function show_session(store, session, with_stats)
  local n, last = 0, nil
  for _, record in ipairs(store.order) do
    if record.session == session then
      n = n + 1
      last = record.start_time or last
    end
  end
  local out = { id = session.id, tenant_id = session.tenant_id, name = session.name, start_time = session.start_time,
    end_time = session.end_time or json.null, description = session.description or json.null,
      extra = session.extra or json.null,
    reference_dataset_id = session.reference_dataset_id or json.null, run_count = n,
      last_run_start_time = derive.time_text(last), trace_tier = "shortlived" }
  if with_stats then
    local mine = {}
    for _, record in ipairs(store.order) do
      if record.session == session and derive.visible(record) then mine[#mine + 1] = derive.show(store, record) end
    end
    for k, v in pairs(stats.of(mine)) do out[k] = v end
    out.median_tokens = nil
    for _, k in ipairs { "total_cost", "prompt_cost", "completion_cost" } do -- texts here, numbers in statistics
      if out[k] ~= json.null then out[k] = derive.decimal(out[k]) end
    end
  end
  return out
end

local function get_sessions(store, request)
  local q, rows = request.query, json.array {}
  local limit, offset = math.tointeger(tonumber(q.limit or "100")) or 100, math.tointeger(tonumber(q.offset or "0"))
    or 0
  if limit < 1 or limit > 100 then return reply.invalid("query.limit", "must be between 1 and 100") end
  local ids = {}
  for _, id in ipairs(request:values "id") do ids[id] = true end
  for _, session in ipairs(store.session_order) do
    if (not q.name or session.name == q.name) and (next(ids) == nil or ids[session.id])
      and (not q.reference_dataset or session.reference_dataset_id == q.reference_dataset)
      and (q.reference_free ~= "true" or not session.reference_dataset_id)
      and (not q.name_contains or session.name:lower():find(q.name_contains:lower(), 1, true)) then
      rows[#rows + 1] = session
    end
  end
  if q.sort_by == "name" or q.sort_by == "start_time" then
    local down = q.sort_by_desc ~= "false"
    table.sort(rows, function(a, b)
      if down then return a[q.sort_by] > b[q.sort_by] end
      return a[q.sort_by] < b[q.sort_by]
    end)
  end
  local page = json.array {}
  for i = offset + 1, math.min(offset + limit, #rows) do page[#page + 1] = show_session(store, rows[i],
    q.include_stats == "true") end
  return reply.json(200, page)
end

-- The answer to a change leaves out what is counted.
local function changed(session)
  session.run_count, session.last_run_start_time = nil, nil
  return session
end

local function post_session(store, request)
  local body = request:object()
  if not body or type(given(body.name)) ~= "string" then return reply.invalid("body.name", "field required") end
  if store.sessions[body.name] and request.query.upsert ~= "true" then
    return reply.json(409, { detail = "Session already exists." }) end
  return reply.json(200, changed(show_session(store, store:session(body.name, body))))
end

local function one_session(store, request, act)
  local session = store.sessions_by_id[request.params.id:lower()]
  if not session then return reply.json(404, { detail = "Session not found" }) end
  return act(session)
end

local function get_session(store, request)
  return one_session(store, request, function(session) return reply.json(200, show_session(store, session,
    request.query.include_stats == "true")) end)
end

local function patch_session(store, request)
  return one_session(store, request, function(session)
    local body = request:object() or {}
    for _, field in ipairs { "description", "extra", "end_time" } do
      session[field] = given(body[field]) or session[field] end
    return reply.json(200, changed(show_session(store, session)))
  end)
end

local function delete_session(store, request)
  return one_session(store, request, function(session)
    store.sessions[session.name], store.sessions_by_id[session.id] = nil, nil
    for i, other in ipairs(store.session_order) do
      if other == session then table.remove(store.session_order, i) break end
    end
    store:forget(function(record) return record.session == session end)
    return reply.json(200, {})
  end)
end

function M.install(store, app)
  for _, prefix in ipairs(langsmith.PREFIXES) do
    local function add(method, path, handler)
      app:route("langsmith", "read", method, prefix .. "/sessions" .. path,
        function(request) return handler(store, request) end)
    end
    add("GET", "", get_sessions)
    add("POST", "", post_session)
    add("GET", "/{id}", get_session)
    add("PATCH", "/{id}", patch_session)
    add("DELETE", "/{id}", delete_session)
  end
end

return M
