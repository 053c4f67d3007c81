-- /proxy/…: a provider's own API with the account's credentials. Scalekit's refusals here are of a shape of
-- their own; all else is what the provider says, unchanged. Called by app.lua; the providers are in
-- proxy_google.lua, proxy_slack.lua, proxy_github.lua, proxy_notion.lua, or functions of a scenario.
local json = require "host.json"
local reply = require "emulator.reply"
local scalekit = require "emulator.scalekit"
local text = require "emulator.text"
local uploads = require "emulator.proxy_upload"
local world_of = require "emulator.world"

local M = {}

-- `code` is a text here, unlike the gateway's. Only UNAUTHORIZED is known from public sources.
function M.refusal(status, detail, code) return reply.json(status, { detail = detail, code = code
  or "UNAUTHORIZED" }) end

-- The values of a form or of a JSON body, on top of the query's.
local function params_of(request)
  local out = {}
  for k, v in pairs(request.query) do out[k] = v end
  local kind = (request.headers["content-type"] or ""):lower()
  if kind:find("x-www-form-urlencoded", 1, true) then
    for _, pair in ipairs(text.pairs_of(request.body)) do out[pair[1]] = pair[2] end
  elseif request.body ~= "" then
    local body = json.decode(request.body)
    if world_of.is_object(body) then
      for k, v in pairs(body) do out[k] = v end
    end
  end
  return out
end

-- The account that the two headers name; or nil and an answer.
local function account_of(self, request)
  local connector, identifier = request.headers.connection_name, request.headers.identifier
  if not connector or not identifier then
    return nil, { M.refusal(400, "the headers connection_name and identifier are required", "INVALID_ARGUMENT") }
  end
  local account = self.accounts:find(connector, identifier, request)
  if not account then return nil, { M.refusal(404, "resource not found", "NOT_FOUND") } end
  if account.status ~= "ACTIVE" then
    return nil, { M.refusal(400, "connected account is not active: status " .. account.status, "FAILED_PRECONDITION") }
  end
  return account
end

local function path_is_bad(path)
  local low = path:lower()
  return path:find("..", 1, true) or low:find("%2e", 1, true) or low:find("%2f", 1, true) or low:find("%5c", 1, true)
    or path:find("\\", 1, true)
end

-- Finds the provider's route. An API is { error = function(status, message), routes = { {method, pattern, act} } };
-- act(params, captures…) gives what a tool gives: data, or nil and { status, message }.
local function run_api(api, path, method, params)
  local known = false
  for _, route in ipairs(api.routes) do
    local found = { path:match("^" .. route[2] .. "$") }
    if #found > 0 then
      known = true
      if route[1] == method then
        for i, v in ipairs(found) do found[i] = text.decode_url(v) end
        local data, fault = route[3](params, table.unpack(found))
        if data == nil then return api.error(fault and fault.status or 500, fault and fault.message or "failed") end
        local status, headers, body = reply.json(route[4] or 200, data)
        if route[4] == 204 then body = "" end
        return status, headers, body
      end
    end
  end
  return api.error(known and 405 or 404, known and "Method Not Allowed" or "Not Found")
end

local function handle(self, request)
  local refused = scalekit.refuse(self.scalekit, request)
  if refused then return M.refusal(401, "Unauthorized: the access token is missing or not valid") end
  local path = "/" .. request.params.path
  if path_is_bad(request.path) then return M.refusal(400, "the path leaves the proxy", "INVALID_ARGUMENT") end
  local account, answer = account_of(self, request)
  if not account then return table.unpack(answer) end
  local custom = self.providers.of(account.provider)
  local enabled = request.forms.proxy == "on"
  if custom then enabled = custom.proxy_enabled end
  if not enabled then
    return M.refusal(403, "proxy not enabled for provider " .. account.provider, "PERMISSION_DENIED") end
  account.last_used_at = self.world:stamp()
  local trouble, api = request.trouble, self.apis[account.provider]
  if trouble and trouble.what == "tool_error" then
    local status, message = trouble.status or 500, trouble.message or "the provider refused (emulated)"
    if api then return api.error(status, message) end
    return reply.json(status, { error = message })
  end
  local own = self.scenario.proxy[account.provider]
  if own then
    return own { method = request.method, path = path, query = request.query, headers = request.headers,
      body = request.body, params = params_of(request) }
  end
  if api and api.uploads and path:find "^/upload/" then
    local status, headers, body = uploads.handle(self, api, request, path)
    if status then return status, headers, body end
    return run_api(api, headers.path, "POST", headers.params)
  end
  if api then return run_api(api, path, request.method, params_of(request)) end
  return reply.json(200, { emulated = true, provider = account.provider, method = request.method, path = path,
    query = request.raw_query, body = request.body })
end

-- parts: { world, accounts, scalekit, providers, scenario, actions, github }
function M.new(parts)
  parts.apis, parts.uploads = {}, {}
  for _, name in ipairs { "google", "slack", "github", "notion" } do
    for provider, api in pairs(require("emulator.proxy_" .. name).new(parts.actions, parts)) do
      parts.apis[provider] = api
    end
  end
  return parts
end

function M.install(self, app)
  for _, method in ipairs { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE" } do
    app:route("scalekit", "proxy", method, "/proxy/{path*}", function(request) return handle(self, request) end,
      { open = true })
  end
end

return M
