-- What was said on the wire, one JSON object a line, for whoever checks it later (tests/conformance/openapi.mjs
-- holds it against the services' own documents). Called by app.lua; on when AGENTHOST_WIRE_LOG names a folder.
-- One file an emulator, so that processes do not meet. Must not write a credential.
local json = require "host.json"
local text = require "emulator.text"

local M = {}
local Log = {}
Log.__index = Log

local MAX_BODY, MAX_FILE = 1 << 20, 64 << 20
local CREDENTIALS = { authorization = true, ["x-api-key"] = true, cookie = true }

-- The headers of a request, without those that prove who asks.
function M.safe_headers(headers)
  local out = {}
  for k, v in pairs(headers) do
    if not CREDENTIALS[k] then out[k] = v end
  end
  return out
end

-- As { text = } where it is text, else { base64 = }; { bytes = n } when it is too long to keep.
local function kept(body)
  if #body > MAX_BODY then return { bytes = #body } end
  if utf8.len(body) then return { text = body } end
  return { base64 = text.base64(body) }
end

local function masked(where, body)
  if where ~= "token" then return body end
  return (body:gsub("client_secret=[^&]*", "client_secret=x"):gsub('("access_token":)"[^"]*"', '%1"x"'))
end

local function line(self, value)
  local encoded = json.encode(value)
  if not encoded or self.written + #encoded > MAX_FILE then return end
  self.written = self.written + #encoded + 1
  self.file:write(encoded, "\n")
  self.file:flush() -- a process that is killed leaves what it said
end

-- A log in `folder`, or nil when there is none (or it cannot be written).
function M.new(folder)
  if not folder or folder == "" then return nil end
  local file = io.open(("%s/%s.jsonl"):format(folder, require("host").uuid()), "a")
  return file and setmetatable({ file = file, written = 0 }, Log)
end

-- The paths that an emulator answers.
function Log:routes(list) line(self, { routes = json.array(list) }) end

-- One request and its answer. `route` may be nil; `forms` are those that are not the defaults.
function Log:exchange(request, route, status, headers, body, forms)
  local stream = type(body) == "table"
  local bytes = stream and table.concat(body.chunks) or body
  local where = route and route.where
  line(self, {
    method = request.method, path = request.path, query = request.raw_query, service = route and route.service,
    where = where, request_headers = M.safe_headers(request.headers), request = kept(masked(where, request.body)),
    status = status, headers = headers, answer = kept(masked(where, bytes)), stream = stream,
    trouble = request.trouble and request.trouble.what, forms = forms,
  })
end

-- A webhook that was sent.
function Log:webhook(body) line(self, { webhook = body }) end

return M
