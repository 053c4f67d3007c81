-- What the tests of the emulator share: a fresh emulator without a socket, called as each service's client, and as
-- a client of its MCP servers.
local app_of = require "emulator.app"
local json = require "host.json"

local M = {}

M.CLOCK = 1767603600 -- 2026-01-05T09:00:00Z

-- A fresh emulator with ways to call it as each service's client.
function M.start(options)
  options = options or {}
  options.clock = options.clock or M.CLOCK
  local app = app_of.new(options)
  local self = { app = app, env = app:env "http://127.0.0.1:1" }
  function self.raw(method, target, body, headers)
    local path, query = target:match "^([^?]*)%??(.*)$"
    if type(body) == "table" then body = assert(json.encode(body)) end
    return app:handle { method = method, path = path, raw_query = query, headers = headers or {}, body = body or "" }
  end
  local function call(method, target, body, headers)
    local status, answered, out = self.raw(method, target, body, headers)
    if type(out) == "table" then out = table.concat(out.chunks) end
    return status, json.decode(out), answered, out
  end
  self.call = call
  function self.token()
    local form = ("grant_type=client_credentials&client_id=%s&client_secret=%s"):format(self.env.SCALEKIT_CLIENT_ID,
      self.env.SCALEKIT_CLIENT_SECRET)
    local _, body = call("POST", "/oauth/token", form)
    return body.access_token
  end
  local function with(headers, more)
    for k, v in pairs(more or {}) do headers[k] = v end
    return headers
  end
  function self.sk(method, path, body, more)
    self.bearer = self.bearer or self.token()
    return call(method, "/api/v1" .. path, body, with({ authorization = "Bearer " .. self.bearer }, more))
  end
  function self.chat(body, more)
    body.model = body.model or "gpt-4o"
    return call("POST", "/v1/chat/completions", body, with({ authorization = "Bearer " .. self.env.OPENAI_API_KEY },
      more))
  end
  function self.ls(method, path, body, more)
    return call(method, path, body, with({ ["x-api-key"] = self.env.LANGSMITH_API_KEY }, more))
  end
  return self
end

M.BOTH = "application/json, text/event-stream"

-- An emulator with a server for gmail (two tools) and all of slack; `say` speaks to it.
function M.mcp(options)
  local e = M.start(options)
  local _, body = e.sk("POST", "/mcp/configs", { name = "bot", connection_tool_mappings = {
    { connection_name = "gmail", tools = { "gmail_fetch_mails", "gmail_create_draft" } }, { connection_name = "slack" } } })
  e.config = body.config
  e.sk("POST", "/mcp/configs/" .. e.config.id .. "/connected_accounts", { identifier = "u", include_auth_link = true })
  _, body = e.sk("POST", "/mcp/configs/" .. e.config.id .. "/tokens", { identifier = "u" })
  e.session_token = body.token
  e.path = e.config.mcp_server_url:match "//[^/]*(/.*)$"
  local number = 0
  function e.say(method, params, more, path)
    number = number + 1
    local headers = { accept = M.BOTH, ["content-type"] = "application/json", authorization = "Bearer " .. (e.session_token or "") }
    for k, v in pairs(more or {}) do headers[k] = v or nil end
    local message = { jsonrpc = "2.0", id = number, method = method, params = params }
    if method:find "^notifications/" then message.id = nil end
    return e.call("POST", path or e.path, message, headers)
  end
  function e.open(version, capabilities)
    local status, answer, headers = e.say("initialize", { protocolVersion = version or "2025-11-25",
      capabilities = capabilities or {}, clientInfo = { name = "t", version = "1" } })
    e.session = { ["mcp-session-id"] = headers["mcp-session-id"], ["mcp-protocol-version"] = answer.result.protocolVersion }
    return status, answer
  end
  return e
end

function M.user(content) return { role = "user", content = content } end

function M.tool(name, description, properties, required)
  return { type = "function", ["function"] = { name = name, description = description,
    parameters = { type = "object", properties = properties or {}, required = json.array(required or {}) } } }
end

function M.info_of(body)
  for _, d in ipairs(body.details) do
    if d["@type"]:find "ErrorInfo$" then return d end
  end
  return nil
end

return M
