-- LangSmith's ingestion: single runs, batches, multipart. A request is checked whole before anything of it
-- is kept: one bad run refuses all. Called by app.lua; reading back is langsmith_read.lua.
local json = require "host.json"
local reply = require "emulator.reply"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given, is_object, is_array = world_of.given, world_of.is_object, world_of.is_array
local M = {}

local MAX_PART = 209715200
local MAX_RUNS = 20000 -- kept; then the oldest quarter goes
local RUN_TYPES = { tool = true, chain = true, llm = true, retriever = true, embedding = true, prompt = true,
  parser = true }
local SPLIT = { inputs = true, outputs = true, events = true, extra = true, error = true, serialized = true }
local UUID = "^%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$"

local function is_uuid(v) return type(v) == "string" and v:find(UUID) ~= nil end
M.is_uuid = is_uuid

-- nil when the request carries the key, else an answer. Ingest answers a bad key with 403 and a bare body;
-- a read without any key is 401.
function M.refuse(self, request, route)
  local key = request.headers["x-api-key"]
  if key and key:find("^ls__") then
    return { reply.json(401, { detail = "Using legacy API key. Please generate a new API key." }) }
  end
  if not key or key == "" then
    if route.where == "ingest" then return { reply.langsmith(403, "Forbidden") } end
    return { reply.json(401, { detail = "Invalid token" }) }
  end
  if self.world.open or key == self.world.keys.langsmith then return nil end
  return { reply.langsmith(403, "Forbidden") }
end

-- Checks of one run --------------------------------------------------------------------------------------

local function expected(kind, v)
  local got = is_array(v) and "array" or is_object(v) and "object" or math.type(v) == "integer" and "integer" or type(v)
  return ("Invalid type. Expected: %s, given: %s"):format(kind, got)
end

-- Field and complaint of the first schema violation, or nil. `creating`: name and run_type are needed.
local function schema_fault(run, creating, whole)
  if not is_object(run) then return "(root)", expected("object", run) end
  if not is_uuid(run.id) then
    if not (type(run.id) == "string" and run.id:find("^%x+$") and #run.id == 32) then
      return "id", "Must validate one and only one schema (oneOf)"
    end
  end
  for _, name in ipairs { "trace_id", "parent_run_id", "session_id", "reference_example_id" } do
    local v = given(run[name])
    if v ~= nil and not is_uuid(v) then return name, "Must validate one and only one schema (oneOf)" end
  end
  if creating then
    if given(run.name) == nil then return "(root)", "name is required" end
    if given(run.run_type) == nil then return "(root)", "run_type is required" end
  end
  if whole then
    if given(run.trace_id) == nil then return "(root)", "trace_id is required" end
    if given(run.dotted_order) == nil then return "(root)", "dotted_order is required" end
  end
  local name = given(run.name)
  if name ~= nil then
    if type(name) ~= "string" then return "name", expected("string", name) end
    if (utf8.len(name) or #name) > 128 then return "name", "String length must be less than or equal to 128" end
  end
  if given(run.run_type) and not RUN_TYPES[run.run_type] then
    return "run_type", 'run_type must be one of the following: "tool", "chain", "llm", "retriever", "embedding", '
      .. '"prompt", "parser"'
  end
  for _, field in ipairs { "inputs", "outputs", "extra", "serialized" } do
    local v = given(run[field])
    if v ~= nil and not is_object(v) then return field, expected("object", v) end
  end
  for _, field in ipairs { "error", "dotted_order", "session_name", "status" } do
    local v = given(run[field])
    if v ~= nil and type(v) ~= "string" then return field, expected("string", v) end
  end
  for _, field in ipairs { "tags", "events" } do
    local v = given(run[field])
    if v ~= nil and not is_array(v) then return field, expected("array", v) end
  end
  for i, tag in ipairs(given(run.tags) or {}) do
    if type(tag) ~= "string" then return ("tags.%d"):format(i - 1), expected("string", tag) end
  end
  for _, field in ipairs { "start_time", "end_time" } do
    local v = given(run[field])
    if v ~= nil and type(v) ~= "number" and not (type(v) == "string" and text.micros(v)) then
      return field, "Must validate one and only one schema (oneOf)"
    end
  end
  return nil
end

local function dotted_fault(message) return ("Bad request: invalid 'dotted_order': %s"):format(message) end

local function context_of(run)
  return ("for run_id:%s trace_id:%s dotted_order:%s parent_run_id:%s"):format(run.id, given(run.trace_id),
    run.dotted_order,
    given(run.parent_run_id) or "<nil>")
end

-- Time part of a segment, read as Go reads it once the dot is put back: exactly six digits after it.
local function time_fault(stamp, index, run)
  local day, clock, digits = stamp:match("^(%d%d%d%d%d%d%d%d)T(%d%d%d%d%d%d)(%d*)$")
  local go = day and ("%sT%s.%s"):format(day, clock, digits) or stamp
  if day and #digits == 6 then return nil end
  local reason
  if not day then reason = ("cannot parse %q as \"20060102T150405.000000\""):format(stamp)
  elseif #digits < 6 then reason = ('cannot parse ".%s" as ".000000"'):format(digits)
  else reason = ('extra text: "%s"'):format(digits:sub(7)) end
  return dotted_fault(('invalid timestamp in dotted_order %s at index %d: parsing time "%s" as '
    .. '"20060102T150405.000000": %s %s')
    :format(stamp, index, go, reason, context_of(run)))
end

local function readable(stamp)
  return (stamp:gsub("^(%d%d%d%d)(%d%d)(%d%d)T(%d%d)(%d%d)(%d%d)(%d%d%d%d%d%d)$", "%1-%2-%3 %4:%5:%6.%7"))
end

-- The 400 that a dotted_order earns, or nil. `known`: what is stored of this run (a patch may leave out its parent).
local function order_fault(run, known)
  if given(run.dotted_order) == nil then return nil end
  local segments = {}
  for segment in (run.dotted_order .. "."):gmatch("(.-)%.") do
    local stamp, id = segment:match("^(.-)Z(.*)$")
    if not stamp or not is_uuid(id) then
      return dotted_fault(("invalid part %q at index %d %s"):format(segment, #segments, context_of(run)))
    end
    segments[#segments + 1] = { stamp = stamp, id = id:lower() }
  end
  for i, segment in ipairs(segments) do
    local fault = time_fault(segment.stamp, i - 1, run)
    if fault then return fault end
  end
  local parent = given(run.parent_run_id) or (run.parent_run_id == nil and known and known.parent_run_id) or nil
  local silent = run.parent_run_id == nil and not known and run.name == nil -- a bare patch: nothing to compare with
  if not parent and #segments > 1 and not silent then
    return dotted_fault("dotted_order must contain a single part for root runs " .. context_of(run))
  elseif parent and #segments < 2 then
    return dotted_fault("dotted_order must contain at least two parts for child runs " .. context_of(run))
  end
  if given(run.trace_id) and segments[1].id ~= run.trace_id:lower() then
    return dotted_fault(("trace_id %s does not match first part of dotted_order %s %s"):format(run.trace_id,
      run.dotted_order, context_of(run)))
  end
  if segments[#segments].id ~= run.id:lower() then
    return dotted_fault(("run_id %s does not match last part of dotted_order %s"):format(run.id, context_of(run)))
  end
  if parent and segments[#segments - 1].id ~= parent:lower() then
    return dotted_fault(("parent_run_id %s does not match the part before the last of dotted_order %s"):format(parent,
      context_of(run)))
  end
  for i = 2, #segments do
    if segments[i].stamp < segments[i - 1].stamp then
      return dotted_fault(("dotted_order has timestamp %s earlier than parent timestamp %s "
        .. "%s"):format(readable(segments[i].stamp),
        readable(segments[i - 1].stamp), context_of(run)))
    end
  end
  return nil
end

-- Keeping ------------------------------------------------------------------------------------------------

local function session_of(self, run)
  if given(run.session_id) then return self.sessions_by_id[run.session_id] end
  local name = given(run.session_name) or "default"
  return self:session(name)
end

local FIELDS = { "name", "run_type", "trace_id", "dotted_order", "parent_run_id", "start_time", "end_time", "inputs",
  "outputs",
  "error", "events", "extra", "tags", "serialized", "reference_example_id", "status", "session_name", "session_id" }

-- Merges by whole fields, as the service does; what is null does not overwrite.
local function merge(record, run)
  for _, field in ipairs(FIELDS) do
    local v = given(run[field])
    if v ~= nil then record[field] = v end
  end
end

local function join_trace(self, record)
  local trace = record.trace_id:lower()
  self.traces[trace] = self.traces[trace] or {}
  table.insert(self.traces[trace], record)
  record.in_trace = true
end

local function forget_oldest(self)
  local old = self.order
  self.order, self.traces = {}, {}
  for i, record in ipairs(old) do
    if i <= MAX_RUNS // 4 then
      self.runs[record.id] = nil
    else
      self.order[#self.order + 1] = record
      if record.in_trace then join_trace(self, record) end
    end
  end
end

local function apply(self, op)
  local id = op.run.id:lower()
  local record = self.runs[id]
  if not record then
    record = { id = id, received = self.world:stamp() }
    self.runs[id] = record
    self.order[#self.order + 1] = record
  end
  if op.kind == "post" then
    local late = record.patched and record.late or {}
    merge(record, op.run)
    merge(record, late) -- a patch that came before its post
    record.start_time = given(record.start_time) or record.received
    record.posted = true
  else
    if not record.posted then record.late = op.run end
    merge(record, op.run)
    record.patched = true
  end
  if not record.session and (record.posted or given(op.run.session_name) or given(op.run.session_id)) then
    record.session = session_of(self, op.run)
  end
  if record.trace_id and not record.in_trace then join_trace(self, record) end
  if given(record.dotted_order) then
    local ids = {}
    for uuid in record.dotted_order:gmatch("Z(" .. UUID:sub(2, -2) .. ")") do ids[#ids + 1] = uuid:lower() end
    record.ancestors = ids
  end
  self.counts[op.kind] = self.counts[op.kind] + 1
  if #self.order > MAX_RUNS then forget_oldest(self) end
end

-- Takes all of `ops` ({kind, run, where}) or none. `describe(op, field, complaint)` words a schema fault.
local function take(self, ops, describe, whole)
  for _, op in ipairs(ops) do
    local field, complaint = schema_fault(op.run, op.kind == "post", whole)
    if field then return reply.langsmith(422, "Unprocessable entity: " .. describe(op, field, complaint)) end
    if given(op.run.session_id) and not self.sessions_by_id[op.run.session_id] then
      return reply.langsmith(422, "Unprocessable entity: " .. describe(op, "session_id", "no such session"))
    end
  end
  for _, op in ipairs(ops) do
    local fault = order_fault(op.run, self.runs[op.run.id:lower()])
    if fault then return reply.langsmith(400, fault) end
  end
  local seen = {}
  for _, op in ipairs(ops) do
    local id = op.run.id:lower()
    local record, key = self.runs[id], op.kind .. id
    local repeated = record and (op.kind == "post" and record.posted or op.kind == "patch" and record.patched)
    if repeated or seen[key] then
      return reply.langsmith(409, "Conflict: payload already received: payloads already received")
    end
    seen[key] = true
  end
  for _, op in ipairs(ops) do apply(self, op) end
  return nil
end

-- Unpacks the request's body in place. Nil, or the refusal.
local function unpack_body(request)
  local coding = request.headers["content-encoding"]
  if not coding or coding == "identity" then return nil end
  if request.forms.compression == "off" or (coding ~= "zstd" and coding ~= "gzip") then
    return { reply.langsmith(415, ("Unsupported media type: Content-Encoding %s"):format(coding)) }
  end
  local body, fault = require("host.server").unpack_body(coding, request.body)
  if not body then
    return { reply.langsmith(fault.kind == "limit" and 413 or 422,
      ("Unprocessable entity: error reading %s: %s"):format(coding, fault.message)) }
  end
  request.body = body
  return nil
end

local function describe_batch(op, field, complaint)
  return ("invalid batch JSON: batch schema error %s.%d.%s: %s"):format(op.kind, op.index, field, complaint)
end

local function post_batch(self, request)
  local refused = unpack_body(request)
  if refused then return table.unpack(refused) end
  local body = request:object()
  if not body then return reply.langsmith(422, "Unprocessable entity: invalid batch JSON: not a JSON object") end
  local posts, patches = given(body.post), given(body.patch)
  if posts == nil and patches == nil then
    return reply.langsmith(422, "Unprocessable entity: invalid batch JSON: batch schema error (root): post or "
      .. "patch is required")
  end
  local ops = {}
  for _, kind in ipairs { "post", "patch" } do
    local list = given(body[kind])
    if list ~= nil and not is_array(list) then
      return reply.langsmith(422, ("Unprocessable entity: invalid batch JSON: batch schema error %s: %s"):format(kind,
        expected("array", list)))
    end
    for i, run in ipairs(list or {}) do ops[#ops + 1] = { kind = kind, run = run, index = i - 1 } end
  end
  local status, headers, answer = take(self, ops, describe_batch, true)
  if status then return status, headers, answer end
  return reply.json(202, { message = "Runs batch ingested" })
end

local function describe_part(op, field, complaint)
  return ("error parsing run for %s: schema validation failed: %s: %s"):format(op.part, field, complaint)
end

local function length_fault(part)
  local what = ("invalid Content-Length or length parameter for %s: "):format(part.name)
  if part.length == nil or part.length < 0 then return what .. "missing" end
  if part.length > MAX_PART then
    return what .. ("field size %d exceeds maximum allowed size of %d bytes"):format(part.length, MAX_PART)
  end
  if part.length ~= #part.body then return what .. ("declared %d bytes, got %d"):format(part.length, #part.body) end
  return nil
end

-- A part into `sink` ({ops by key, ops in order, fields, attachments}); a complaint when it is bad.
local function read_part(part, sink)
  if type(part.name) ~= "string" then return "multipart: part without a name" end
  local fault = length_fault(part)
  if fault then return fault end
  if (part.type or "") == "" then return ("missing Content-Type for %s"):format(part.name) end
  if part.encoded then return ("Content-Encoding is not allowed for %s"):format(part.name) end
  local kind, id, field = part.name:match("^(%a+)%.([^%.]+)%.?(.*)$")
  if kind == "attachment" and field ~= "" then
    sink.attachments[#sink.attachments + 1] = { run = id, name = field, type = part.type, size = #part.body }
    return nil
  elseif kind == "feedback" then
    local value = json.decode(part.body)
    if not is_object(value) or not given(value.trace_id) then
      return ("error parsing feedback for %s: trace_id is required"):format(part.name) end
    sink.feedback[#sink.feedback + 1] = value
    return nil
  elseif kind ~= "post" and kind ~= "patch" then
    return ("unexpected part %s"):format(part.name)
  end
  if not part.type:find("^application/json") then
    return ("invalid Content-Type for %s: %s"):format(part.name, part.type) end
  local value, bad = json.decode(part.body)
  if bad then return ("error parsing run for %s: invalid JSON"):format(part.name) end
  local key = kind .. "." .. id
  if field == "" then
    if sink.by_key[key] then return ("duplicate part %s"):format(part.name) end
    local op = { kind = kind, run = value, part = key, id = id }
    sink.by_key[key] = op
    sink.ops[#sink.ops + 1] = op
  elseif SPLIT[field] then
    sink.fields[#sink.fields + 1] = { key = key, field = field, value = value }
  else
    return ("unexpected part %s"):format(part.name)
  end
  return nil
end

local function post_multipart(self, request)
  local refused = unpack_body(request)
  if refused then return table.unpack(refused) end
  local kind = request.headers["content-type"] or ""
  if not kind:lower():find("^multipart/form%-data") then
    return reply.langsmith(422, "Unprocessable entity: error reading multipart data: request Content-Type isn't "
      .. "multipart/form-data")
  end
  local parts, fault = require("host.server").parse_multipart(kind, request.body)
  if not parts then
    return reply.langsmith(422, ("Unprocessable entity: error reading multipart data: %s"):format(fault
      and fault.message or "multipart: NextPart: EOF"))
  end
  local sink = { ops = {}, by_key = {}, fields = {}, attachments = {}, feedback = {} }
  for _, part in ipairs(parts) do
    local complaint = read_part(part, sink)
    if complaint then return reply.langsmith(422, "Unprocessable entity: " .. complaint) end
  end
  for _, f in ipairs(sink.fields) do
    local op = sink.by_key[f.key]
    if not op then return reply.langsmith(422,
      ("Unprocessable entity: error parsing run for %s.%s: no part %s"):format(f.key, f.field, f.key)) end
    if is_object(op.run) then op.run[f.field] = f.value end
  end
  for _, op in ipairs(sink.ops) do
    if is_object(op.run) and is_uuid(op.run.id) and op.run.id:lower() ~= op.id:lower() then
      return reply.langsmith(422, "Unprocessable entity: " .. describe_part(op, "id", "does not match the part's name"))
    end
  end
  local status, headers, answer = take(self, sink.ops, describe_part, true)
  if status then return status, headers, answer end
  for _, a in ipairs(sink.attachments) do self.attachments[#self.attachments + 1] = a end
  for _, f in ipairs(sink.feedback) do self.feedback[#self.feedback + 1] = f end
  return reply.json(202, { message = "Accepted" })
end

local function describe_single(_, field, complaint)
  return ("error parsing run: schema validation failed: %s: %s"):format(field, complaint)
end

local function post_run(self, request)
  local body = request:object()
  if not body then return reply.langsmith(422, "Unprocessable entity: invalid JSON") end
  local status, headers, answer = take(self, { { kind = "post", run = body } }, describe_single, false)
  if status then return status, headers, answer end
  return reply.json(202, { message = "Run created" })
end

local function patch_run(self, request)
  local body = request:object()
  if not body then return reply.langsmith(422, "Unprocessable entity: invalid JSON") end
  local id = request.params.id
  body.id = given(body.id) or id
  if not self.runs[id:lower()] and not given(body.dotted_order) then
    return reply.json(404, { detail = "Run not found" }) end
  local status, headers, answer = take(self, { { kind = "patch", run = body } }, describe_single, false)
  if status then return status, headers, answer end
  return reply.json(202, { message = "Run updated" })
end

local function get_info(request)
  local packed = request.forms.compression == "on"
  return reply.json(200, {
    version = "0.16.0", git_sha = json.null, license_expiration_time = json.null,
    batch_ingest_config = { use_multipart_endpoint = true, size_limit = 100, size_limit_bytes = 20971520,
      scale_up_qsize_trigger = 1000, scale_up_nthreads_limit = 16, scale_down_nempty_trigger = 4 },
    instance_flags = { zstd_compression_enabled = packed, gzip_body_enabled = packed,
      dataset_examples_multipart_enabled = true,
      examples_multipart_enabled = true, ch_query_enabled = true,
      sdb_query_enabled = request.forms.query_flags == "v2",
      trace_tier_duration_days = { longlived = 400, shortlived = 14 }, search_enabled = true,
        s3_storage_enabled = false },
    customer_info = { customer_id = "00000000-0000-4000-8000-000000000000", customer_name = "agenthost emulator" },
    sdk_versions = {},
  })
end

local Store = {}
Store.__index = Store

-- The project of a name; made when new.
function Store:session(name, fields)
  local session = self.sessions[name]
  if not session then
    session = { id = fields and given(fields.id) or self.world:uuid(), tenant_id = self.world.tenant, name = name,
      start_time = fields and given(fields.start_time) or self.world:stamp(),
        description = fields and given(fields.description),
      extra = fields and given(fields.extra), end_time = fields and given(fields.end_time),
      reference_dataset_id = fields and given(fields.reference_dataset_id) }
    self.sessions[name] = session
    self.sessions_by_id[session.id] = session
    self.session_order[#self.session_order + 1] = session
  end
  return session
end

-- Forgets the runs that `gone` names.
function Store:forget(gone)
  local old = self.order
  self.order, self.traces = {}, {}
  for _, record in ipairs(old) do
    if gone(record) then
      self.runs[record.id] = nil
    else
      self.order[#self.order + 1] = record
      if record.in_trace then join_trace(self, record) end
    end
  end
end

function M.new(world)
  return setmetatable({ world = world, runs = {}, order = {}, traces = {}, sessions = {},
    sessions_by_id = {}, session_order = {},
    attachments = {}, feedback = {}, tokens = {}, shared = {}, datasets = {}, counts = { post = 0, patch = 0 } }, Store)
end

M.PREFIXES = { "", "/api/v1", "/api" }

function M.install(self, app)
  for _, prefix in ipairs(M.PREFIXES) do
    app:route("langsmith", "info", "GET", prefix .. "/info", get_info, { open = true })
    local function add(method, path, handler)
      app:route("langsmith", "ingest", method, prefix .. path, function(request) return handler(self, request) end)
    end
    add("POST", "/runs", post_run)
    add("POST", "/runs/batch", post_batch)
    add("POST", "/runs/multipart", post_multipart)
    add("PATCH", "/runs/{id}", patch_run)
  end
end

return M
