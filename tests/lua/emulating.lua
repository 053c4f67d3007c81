-- What the tests of the emulator share: a fresh emulator without a socket, called as each service's client.
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
