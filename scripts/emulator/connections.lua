-- Connections: what the dashboard's page of that name holds. Listed, read, made, changed, switched, removed.
-- Called by app.lua over the accounts of accounts.lua.
local json = require "host.json"
local accounts_of = require "emulator.accounts"
local reply = require "emulator.reply"
local world_of = require "emulator.world"

local given = world_of.given
local M = {}

local TYPES = {}
for name in ("OIDC SAML PASSWORD OAUTH PASSWORDLESS BASIC BEARER API_KEY WEBAUTHN OAUTH_M2M TRELLO_OAUTH1 "
  .. "GOOGLE_DWD TRUSTED_IDP SMART_FHIR NO_AUTH"):gmatch("%S+") do TYPES[name] = true end

-- As the list has it; by itself a connection has other times and no name of an organization.
local function show(c)
  return { id = c.id, provider_key = c.provider, key_id = c.name, type = c.type, status = "COMPLETED",
    enabled = c.enabled, provider = "CUSTOM", organization_id = "", organization_name = "", ui_button_title = "",
    domains = json.array {}, created_at = "2026-01-02T08:00:00Z" }
end

local function show_one(c)
  local out = show(c)
  out.organization_name, out.created_at, out.create_time, out.update_time = nil, nil, out.created_at, out.created_at
  return out
end

local function get_connections(self, request)
  local q = request.query
  if q.provider and (q.provider == "" or #q.provider > 50) then
    return reply.violations { { "provider", "value length must be 1 to 50 characters", "string.max_len" } }
  end
  if q.query and (#q.query < 3 or #q.query > 100) then
    return reply.violations { { "query", "value length must be 3 to 100 characters", "string.min_len" } }
  end
  local rows = {}
  for _, name in ipairs(self.names) do
    local c = self.connections[name]
    if (not q.provider or c.provider == q.provider)
      and (not q.query or (name .. " " .. c.provider):lower():find(q.query:lower(), 1, true)) then
      rows[#rows + 1] = show(c)
    end
  end
  local found, following, previous = accounts_of.page(rows, request, { max = 30 })
  if not found then return reply.violations(following) end
  return reply.json(200, { connections = found, total_size = #rows, next_page_token = following,
    prev_page_token = previous })
end

local function find(self, request)
  for _, c in pairs(self.connections) do
    if c.id == request.params.id then return c end
  end
  return nil
end

local function post_connection(self, request)
  local body = request:object()
  if not body then return reply.grpc("INVALID_ARGUMENT", "the body is not a JSON object") end
  local key, kind = given(body.provider_key), given(body.type) or "OAUTH"
  if type(key) ~= "string" or key == "" then
    return reply.violations { { "connection.provider_key", "value is required", "required" } }
  end
  if not TYPES[kind] then
    return reply.violations { { "connection.type", "value must be one of the defined enum values", "enum" } }
  end
  local name = given(body.key_id) or (key:lower() .. "-" .. self.world:alnum(8))
  if self.connections[name] then
    return reply.grpc("ALREADY_EXISTS", "connection already exists", { error_code = "RESOURCE_ALREADY_EXISTS" })
  end
  return reply.json(201, { connection = show_one(self:add_connection(name, { provider = key, type = kind })) })
end

local function one(act)
  return function(self, request)
    local c = find(self, request)
    if not c then return accounts_of.not_found() end
    return act(self, request, c)
  end
end

local get_connection = one(function(_, _, c) return reply.json(200, { connection = show_one(c) }) end)

local patch_connection = one(function(_, request, c)
  local kind = given((request:object() or {}).type)
  if kind and not TYPES[kind] then
    return reply.violations { { "connection.type", "value must be one of the defined enum values", "enum" } }
  end
  c.type = kind or c.type
  return reply.json(200, { connection = show_one(c) })
end)

local delete_connection = one(function(self, _, c)
  self.connections[c.name] = nil
  for i, name in ipairs(self.names) do
    if name == c.name then table.remove(self.names, i) break end
  end
  return reply.json(200, {})
end)

local function switch(on)
  return one(function(_, _, c)
    c.enabled = on
    return reply.json(200, { enabled = on })
  end)
end

function M.install(self, app)
  app:rows("connections", "/api/v1/connections", self, {
    { "GET", "/app", get_connections },
    { "GET", "", function() -- connections for single sign-on: an emulator has none
      return reply.json(200, { connections = json.array {} })
    end },
    { "POST", "", post_connection },
    { "PATCH", "/{id}:enable", switch(true) },
    { "PATCH", "/{id}:disable", switch(false) },
    { "GET", "/{id}", get_connection },
    { "PATCH", "/{id}", patch_connection },
    { "DELETE", "/{id}", delete_connection },
  })
end

return M
