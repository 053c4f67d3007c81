-- Large files to a connected service, in pieces, through Scalekit's proxy: Google's resumable form (Gmail, Drive,
-- YouTube). A piece that fails is not repeated blindly: the service is asked how much it has, and the rest is sent.
--
--     local res, err = upload.resumable { connection_name = "gmail", content_type = "message/rfc822",
--       path = "/upload/gmail/v1/users/me/messages/send", body = mail }
--
-- Over host.scalekit.request; must never hold more than one piece of a `read` upload.
local scalekit = require "host.scalekit"
local task = require "host.task"
local fields = require "agent.fields"

local upload = {}

local UNIT = 256 * 1024 -- pieces are multiples of it, but for the last
local PIECE, TRIES = 32 * UNIT, 5
local option_fields = {
  connection_name = "text", identifier = "text", path = "text", query = "table", body = "string", read = "callable",
  size = "count", content_type = "text", metadata = "table", piece = "count", on_progress = "callable",
  timeout = "number",
}

local function fail(kind, message) return nil, { kind = kind, message = message, retryable = false } end

-- Whether it is worth another try, once the service has said what it has.
local function passes(err)
  local status = err.status
  if status then return status == 408 or status == 429 or status >= 500 end
  return err.kind == "outcome_unknown" or err.kind == "network" or err.kind == "timeout" or err.kind == "rate_limit"
end

-- The session's id, from the address that the service gives.
local function begin(opts, size)
  local query = { uploadType = "resumable" }
  for k, v in pairs(opts.query or {}) do query[k] = v end
  local res, err = scalekit.request { connection_name = opts.connection_name, identifier = opts.identifier,
    path = opts.path, method = "POST", query = query, json = opts.metadata or {}, timeout = opts.timeout,
    headers = { ["X-Upload-Content-Type"] = opts.content_type or "application/octet-stream",
      ["X-Upload-Content-Length"] = tostring(size) } }
  if not res then return nil, err end
  local id = (res.headers.location or ""):match "[?&]upload_id=([^&#]+)"
  if not id then return fail("protocol", "The service began no resumable upload: its answer names no upload_id.") end
  return (id:gsub("%%(%x%x)", function(h) return string.char(tonumber(h, 16)) end))
end

-- Sends bytes (or, with none, asks). The answer when all is there; else nil and how many bytes the service has; else
-- nil, nil and an error.
local function put(opts, id, bytes, range)
  local res, err = scalekit.request { connection_name = opts.connection_name, identifier = opts.identifier,
    path = opts.path, method = "PUT", query = { uploadType = "resumable", upload_id = id }, body = bytes,
    timeout = opts.timeout, headers = { ["Content-Range"] = range,
      ["Content-Type"] = opts.content_type or "application/octet-stream" } }
  if not res then return nil, nil, err end
  if res.status ~= 308 then return res end
  local last = (res.headers.range or ""):match "^bytes=0%-(%d+)$"
  return nil, last and tonumber(last) + 1 or 0
end

-- After a failure: waits, and asks, as long as that may help. As `put`.
local function ask(opts, id, size, err)
  for try = 1, TRIES do
    if not passes(err) then return nil, nil, err end
    task.sleep(err.retry_after or math.min(0.5 * 2 ^ (try - 1), 16))
    local res, have, again = put(opts, id, "", ("bytes */%d"):format(size))
    if res or have then return res, have end
    err = again
  end
  return nil, nil, err
end

local function piece_of(opts, from, n)
  if opts.body then return opts.body:sub(from + 1, from + n) end
  return opts.read(from, n)
end

local function check(opts)
  fields.check("upload.resumable", opts, option_fields, 3)
  fields.need("upload.resumable", opts, { "connection_name", "path" }, 3)
  if (opts.body == nil) == (opts.read == nil) then fields.blame("upload.resumable: one of body and read", 3) end
  local size, piece = opts.body and #opts.body or opts.size, opts.piece or PIECE
  if not size then fields.blame("upload.resumable: read needs size, in bytes", 3) end
  if piece % UNIT ~= 0 then fields.blame(("upload.resumable: piece must be a multiple of %d bytes"):format(UNIT), 3) end
  return size, piece
end

---@param opts agent.upload.Opts
---@return host.http.Response? res the service's last answer
---@return host.Error? err
function upload.resumable(opts)
  local size, piece = check(opts)
  local id, failed = begin(opts, size)
  if not id then return nil, failed end
  local from, stuck = 0, 0
  while true do
    local n = math.min(piece, size - from)
    local bytes = piece_of(opts, from, n)
    if type(bytes) ~= "string" or #bytes ~= n then
      return fail("io", ("The upload's source gave no %d bytes at %d."):format(n, from))
    end
    local range = n > 0 and ("bytes %d-%d/%d"):format(from, from + n - 1, size) or ("bytes */%d"):format(size)
    local res, have, err = put(opts, id, bytes, range)
    if err then res, have, err = ask(opts, id, size, err) end
    if err then return nil, err end
    if res then return res end
    stuck = have > from and 0 or stuck + 1
    if stuck >= TRIES then return fail("protocol", "The service takes no more bytes of this upload.") end
    from = have
    if opts.on_progress then opts.on_progress(from, size) end
  end
end

return upload
