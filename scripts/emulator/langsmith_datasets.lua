-- LangSmith's datasets and examples: made, read, changed, removed; versions are the times of changes. Called by
-- app.lua over the store of langsmith.lua.
local json = require "host.json"
local langsmith = require "emulator.langsmith"
local reply = require "emulator.reply"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given, is_object, is_array = world_of.given, world_of.is_object, world_of.is_array
local M = {}

local TYPES = { kv = true, llm = true, chat = true }

local function unprocessable(message) return reply.invalid("body", message) end

local function show(store, d)
  local sessions, last = 0, json.null
  for _, session in ipairs(store.session_order) do
    if session.reference_dataset_id == d.id then
      sessions = sessions + 1
      last = session.start_time
    end
  end
  return { id = d.id, tenant_id = store.world.tenant, name = d.name, description = d.description or json.null,
    data_type = d.data_type, example_count = #d.examples, session_count = sessions, created_at = d.created_at,
    modified_at = d.modified_at, last_session_start_time = last, metadata = d.metadata or json.null,
    inputs_schema_definition = d.inputs_schema_definition or json.null,
    outputs_schema_definition = d.outputs_schema_definition or json.null, externally_managed = false,
    transformations = json.array {} }
end

local function find(store, id)
  for i, d in ipairs(store.datasets) do
    if d.id == tostring(id):lower() then return d, i end
  end
  return nil
end

local function changed(store, d)
  d.modified_at = store.world:stamp()
  d.versions[#d.versions + 1] = { as_of = d.modified_at, tags = json.array {} }
end

local function post_dataset(store, request)
  local body = request:object()
  if not body or type(given(body.name)) ~= "string" then return unprocessable "name is required" end
  local kind = given(body.data_type) or "kv"
  if not TYPES[kind] then return unprocessable "data_type must be kv, llm or chat" end
  for _, d in ipairs(store.datasets) do
    if d.name == body.name then return reply.json(409, { detail = "Dataset with this name already exists." }) end
  end
  local extra = given(body.extra)
  local d = { id = given(body.id) or store.world:uuid(), name = body.name, description = given(body.description),
    data_type = kind, metadata = is_object(extra) and given(extra.metadata) or nil, examples = {}, versions = {},
    inputs_schema_definition = given(body.inputs_schema_definition),
    outputs_schema_definition = given(body.outputs_schema_definition),
    created_at = given(body.created_at) or store.world:stamp() }
  d.modified_at = d.created_at
  store.datasets[#store.datasets + 1] = d
  return reply.json(200, show(store, d))
end

-- limit and offset of a list call; or nil and an answer
local function window(q)
  local limit, offset = math.tointeger(tonumber(q.limit or "100")), math.tointeger(tonumber(q.offset or "0"))
  if not limit or limit < 1 or limit > 100 then return nil, { unprocessable "limit must be between 1 and 100" } end
  if not offset or offset < 0 then return nil, { unprocessable "offset must not be negative" } end
  return limit, offset
end

local function answer_page(rows, q, make)
  local limit, offset = window(q)
  if not limit then return table.unpack(offset) end
  local out = json.array {}
  for i = offset + 1, math.min(offset + limit, #rows) do out[#out + 1] = make(rows[i]) end
  return reply.json(200, out)
end

local function set_of(list)
  if #list == 0 then return nil end
  local set = {}
  for _, v in ipairs(list) do set[v:lower()] = true end
  return set
end

-- Whether `object` holds all members of the JSON text `wanted`.
local function holds(object, wanted)
  if not wanted then return true end
  local members = json.decode(wanted)
  if not is_object(members) then return false end
  for k, v in pairs(members) do
    if not is_object(object) or object[k] ~= v then return false end
  end
  return true
end

local function get_datasets(store, request)
  local q, rows, ids = request.query, {}, set_of(request:values "id")
  for _, d in ipairs(store.datasets) do
    if (not q.name or d.name == q.name) and (not ids or ids[d.id]) and (not q.data_type or d.data_type == q.data_type)
      and (not q.name_contains or d.name:lower():find(q.name_contains:lower(), 1, true))
      and holds(d.metadata, q.metadata) then rows[#rows + 1] = d end
  end
  return answer_page(rows, q, function(d) return show(store, d) end)
end

local function one(act)
  return function(store, request)
    local d, i = find(store, request.params.id)
    if not d then return reply.json(404, { detail = "Dataset not found" }) end
    return act(store, request, d, i)
  end
end

local patch_dataset = one(function(store, request, d)
  local body = request:object() or {}
  for _, k in ipairs { "name", "description", "metadata" } do d[k] = given(body[k]) or d[k] end
  d.modified_at = store.world:stamp()
  local out = show(store, d)
  for _, k in ipairs { "example_count", "session_count", "last_session_start_time", "modified_at", "metadata" } do
    out[k] = nil -- the answer to a change is shorter
  end
  return reply.json(200, out)
end)

local function example_of(e)
  return { id = e.id, dataset_id = e.dataset_id, inputs = e.inputs, outputs = e.outputs or json.null,
    metadata = e.metadata, source_run_id = e.source_run_id or json.null, name = "#" .. e.id:sub(1, 4),
    created_at = e.created_at, modified_at = e.modified_at, attachment_urls = json.null }
end

-- Puts what a body says into an example. `split` shows again in the metadata.
local function fill(store, e, body)
  for _, k in ipairs { "inputs", "outputs", "source_run_id" } do e[k] = given(body[k]) or e[k] end
  local source = e.source_run_id and store.runs[tostring(e.source_run_id):lower()]
  if source and body.use_source_run_io == true then e.inputs, e.outputs = source.inputs or {}, source.outputs end
  e.metadata = given(body.metadata) or e.metadata or {}
  local split = given(body.split)
  if split then e.metadata.dataset_split = is_array(split) and split or json.array { split } end
  e.metadata.dataset_split = e.metadata.dataset_split or json.array { "base" }
  e.modified_at = store.world:stamp()
  return e
end

-- Keeps new examples of one dataset; a list of them, or nil and an answer.
local function add_examples(store, bodies)
  for _, body in ipairs(bodies) do
    if not is_object(body) or not given(body.dataset_id) then return nil, { unprocessable "dataset_id is required" } end
    if not find(store, body.dataset_id) then return nil, { reply.json(404, { detail = "Dataset not found" }) } end
    if not is_object(given(body.inputs)) and not given(body.source_run_id) then
      return nil, { unprocessable "inputs must be an object" } end
  end
  local made = json.array {}
  for i, body in ipairs(bodies) do
    local d = find(store, body.dataset_id)
    local e = fill(store, { id = (given(body.id) or store.world:uuid()):lower(), dataset_id = d.id, inputs = {},
      created_at = given(body.created_at) or store.world:stamp() }, body)
    d.examples[#d.examples + 1] = e
    made[i] = example_of(e)
  end
  if bodies[1] then changed(store, find(store, bodies[1].dataset_id)) end
  return made
end

local function post_example(store, request)
  local made, refused = add_examples(store, { request:object() or {} })
  if not made then return table.unpack(refused) end
  return reply.json(200, made[1])
end

local function post_bulk(store, request)
  local list = json.decode(request.body)
  if not is_array(list) then return unprocessable "the body is not an array" end
  local made, refused = add_examples(store, list)
  if not made then return table.unpack(refused) end
  return reply.json(200, made)
end

-- Multipart: part <id> and parts <id>.inputs, <id>.outputs; attachments are counted, not kept.
local function post_multipart(store, request)
  local d = find(store, request.params.id)
  if not d then return reply.langsmith(404, "Dataset not found") end
  local parts = require("host.server").parse_multipart(request.headers["content-type"] or "", request.body)
  if not parts then return reply.langsmith(422, "the body is not multipart/form-data") end
  local bodies, by_id = {}, {}
  for _, part in ipairs(parts) do
    local id, field = tostring(part.name):match("^([^%.]+)%.?(.*)$")
    local value = json.decode(part.body)
    if id and field == "" then
      if not is_object(value) then
        return reply.langsmith(422, ("part %s is not a JSON object"):format(part.name)) end
      value.id, value.dataset_id = id, d.id
      by_id[id] = value
      bodies[#bodies + 1] = value
    elseif by_id[id] and (field == "inputs" or field == "outputs") then
      by_id[id][field] = value
    end
  end
  local ids = json.array {}
  if request.method == "PATCH" then
    for i, body in ipairs(bodies) do
      for _, e in ipairs(d.examples) do
        if e.id == body.id:lower() then fill(store, e, body) end
      end
      ids[i] = body.id
    end
    changed(store, d)
  else
    local made = add_examples(store, bodies)
    if not made then return reply.langsmith(422, "each example needs its inputs, an object") end
    for i, e in ipairs(made) do ids[i] = e.id end
  end
  return reply.json(201, { count = #ids, example_ids = ids, as_of = d.modified_at })
end

local function all_examples(store)
  local rows = {}
  for _, d in ipairs(store.datasets) do
    for _, e in ipairs(d.examples) do rows[#rows + 1] = e end
  end
  return rows
end

local function chosen(store, request)
  local q, rows = request.query, {}
  local ids, splits = set_of(request:values "id"), set_of(request:values "splits")
  local as_of = q.as_of and q.as_of ~= "latest" and text.micros(q.as_of) or nil
  for _, e in ipairs(all_examples(store)) do
    local in_split = not splits
    for _, name in ipairs(e.metadata.dataset_split) do in_split = in_split or splits[tostring(name):lower()] end
    if (not q.dataset or e.dataset_id == q.dataset:lower()) and (not ids or ids[e.id]) and in_split
      and holds(e.metadata, q.metadata) and (not as_of or (text.micros(e.created_at) or 0) <= as_of)
      and (not q.full_text_contains or (json.encode(e.inputs) .. (json.encode(e.outputs or {}) or "")):lower()
        :find(q.full_text_contains:lower(), 1, true)) then rows[#rows + 1] = e end
  end
  return rows
end

local function get_examples(store, request)
  return answer_page(chosen(store, request), request.query, example_of)
end

local function one_example(act)
  return function(store, request)
    for _, d in ipairs(store.datasets) do
      for i, e in ipairs(d.examples) do
        if e.id == request.params.id:lower() then return act(store, request, e, d, i) end
      end
    end
    return reply.json(404, { detail = "Example not found" })
  end
end

local patch_example = one_example(function(store, request, e, d)
  fill(store, e, request:object() or {})
  changed(store, d)
  return reply.json(200, { message = "Example updated", example_id = e.id })
end)

-- Removes the examples of `ids`; how many there were.
local function remove(store, ids)
  local n = 0
  for _, d in ipairs(store.datasets) do
    for i = #d.examples, 1, -1 do
      if ids[d.examples[i].id] then
        table.remove(d.examples, i)
        n = n + 1
      end
    end
    if n > 0 then changed(store, d) end
  end
  return n
end

local function delete_examples(store, request)
  local ids = set_of(request:values "example_ids")
  if not ids then return unprocessable "example_ids is required" end
  remove(store, ids)
  return reply.json(200, {})
end

local function post_delete(store, request)
  local list = given((request:object() or {}).example_ids)
  if not is_array(list) or #list == 0 or #list > 1000 then
    return reply.langsmith(422, "example_ids: from 1 to 1000 ids") end
  return reply.json(200, { count = remove(store, set_of(list) or {}) })
end

local function dataset_routes(add)
  add("POST", "/datasets", post_dataset)
  add("GET", "/datasets", get_datasets)
  add("GET", "/datasets/{id}", one(function(s, _, d) return reply.json(200, show(s, d)) end))
  add("PATCH", "/datasets/{id}", patch_dataset)
  add("DELETE", "/datasets/{id}", one(function(s, _, _, i)
    table.remove(s.datasets, i)
    return reply.json(200, {})
  end))
  add("GET", "/datasets/{id}/versions", one(function(_, request, d)
    local rows = {}
    for i = #d.versions, 1, -1 do rows[#rows + 1] = d.versions[i] end
    return answer_page(rows, request.query, function(v) return v end)
  end))
  add("GET", "/datasets/{id}/version", one(function(_, _, d)
    local last = d.versions[#d.versions]
    if not last then return reply.json(404, { detail = "Version not found" }) end
    return reply.json(200, last)
  end))
  add("GET", "/datasets/{id}/splits", one(function(_, _, d)
    local seen, rows = {}, json.array {}
    for _, e in ipairs(d.examples) do
      for _, name in ipairs(e.metadata.dataset_split) do
        if not seen[name] then rows[#rows + 1] = name end
        seen[name] = true
      end
    end
    table.sort(rows)
    return reply.json(200, rows)
  end))
end

function M.install(store, app)
  for _, prefix in ipairs(langsmith.PREFIXES) do
    local function add(method, path, handler)
      app:route("langsmith", "read", method, prefix .. path, function(request) return handler(store, request) end)
    end
    dataset_routes(add)
    add("POST", "/v1/platform/datasets/{id}/examples", post_multipart)
    add("PATCH", "/v1/platform/datasets/{id}/examples", post_multipart)
    add("POST", "/v1/platform/datasets/examples/delete", post_delete)
    add("POST", "/examples", post_example)
    add("POST", "/examples/bulk", post_bulk)
    add("GET", "/examples", get_examples)
    add("GET", "/examples/count", function(s, request) return reply.json(200, #chosen(s, request)) end)
    add("DELETE", "/examples", delete_examples)
    add("GET", "/examples/{id}", one_example(function(_, _, e) return reply.json(200, example_of(e)) end))
    add("PATCH", "/examples/{id}", patch_example)
    add("DELETE", "/examples/{id}", one_example(function(s, _, _, d, i)
      table.remove(d.examples, i)
      changed(s, d)
      return reply.json(200, {})
    end))
  end
end

return M
