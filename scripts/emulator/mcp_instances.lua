-- The older generations of virtual MCP servers: instances of a config for one user, and the oldest, which had
-- no config. Called by app.lua over the store of mcp.lua.
local json = require "host.json"
local accounts_of = require "emulator.accounts"
local mcp = require "emulator.mcp"
local reply = require "emulator.reply"
local world_of = require "emulator.world"

local given, is_object, is_array = world_of.given, world_of.is_object, world_of.is_array
local M = {}

local function config_named(self, name)
  for _, c in ipairs(self.configs) do
    if c.name == name then return c end
  end
  return nil
end

local function required(body, names)
  local bad = {}
  for _, name in ipairs(names) do
    if type(given(body[name])) ~= "string" or body[name] == "" then
      bad[#bad + 1] = { name, "value is required", "required" }
    end
  end
  return #bad > 0 and { reply.violations(bad) } or nil
end

local function post_instance(self, request)
  local body = request:object() or {}
  local refused = required(body, { "config_name", "user_identifier" })
  if refused then return table.unpack(refused) end
  local config = config_named(self, body.config_name)
  if not config then return accounts_of.not_found() end
  for _, instance in ipairs(self.instances) do
    if instance.config == config and instance.user_identifier == body.user_identifier then
      return reply.json(200, { instance = instance })
    end
  end
  local instance = { id = "inst_" .. self.world:digits(18), config = config, user_identifier = body.user_identifier,
    name = given(body.name) or (config.name .. "-" .. body.user_identifier), updated_at = self.world:stamp(),
    url = request:base_url() .. "/mcp/v3/servers/" .. self.world:uuid() }
  self.instances[#self.instances + 1] = instance
  return reply.json(200, { instance = instance })
end

local function get_instances(self, request)
  local q, rows = request.query, {}
  for _, instance in ipairs(self.instances) do
    if (not q["filter.id"] or q["filter.id"] == instance.id) and (not q["filter.name"] or q["filter.name"]
      == instance.name) and (not q["filter.config_name"] or q["filter.config_name"] == instance.config.name)
      and (not q["filter.user_identifier"] or q["filter.user_identifier"] == instance.user_identifier)
      and (not q.search or instance.name:lower():find(q.search:lower(), 1, true)) then
      rows[#rows + 1] = instance
    end
  end
  local out, page = mcp.page_of(rows, request)
  if not out then return table.unpack(page) end
  out.instances = page
  return reply.json(200, out)
end

local function with_instance(act)
  return function(self, request)
    for i, instance in ipairs(self.instances) do
      if instance.id == request.params.id then return act(self, request, instance, i) end
    end
    return accounts_of.not_found()
  end
end

local get_instance = with_instance(function(_, _, instance) return reply.json(200, { instance = instance }) end)

local patch_instance = with_instance(function(self, request, instance)
  local body = request:object() or {}
  local config = given(body.config_name) and config_named(self, body.config_name)
  if given(body.config_name) and not config then return accounts_of.not_found() end
  instance.name, instance.config = given(body.name) or instance.name, config or instance.config
  instance.updated_at = self.world:stamp()
  return reply.json(200, { instance = instance })
end)

local delete_instance = with_instance(function(self, _, _, i)
  table.remove(self.instances, i)
  return reply.json(200, {})
end)

local auth_state = with_instance(function(self, request, instance)
  return reply.json(200, { connections = mcp.states(self, instance.config, instance.user_identifier,
    request.query.include_auth_links == "true", request) })
end)

local function post_oldest(self, request)
  local body = request:object() or {}
  local refused = required(body, { "connected_account_identifier" })
  if refused then return table.unpack(refused) end
  if not is_array(body.tool_mappings) or #body.tool_mappings == 0 then
    return reply.violations { { "mcp.tool_mappings", "value must contain at least 1 item", "repeated.min_items" } }
  end
  for _, m in ipairs(body.tool_mappings) do
    if not is_object(m) or not self.accounts.connections[m.connection_name] then return accounts_of.not_found() end
  end
  local one = { id = "mcp_" .. self.world:digits(18), tool_mappings = body.tool_mappings,
    connected_account_identifier = body.connected_account_identifier,
    url = request:base_url() .. "/mcp/v3/servers/" .. self.world:uuid() }
  self.oldest[#self.oldest + 1] = one
  return reply.json(200, { mcp = one })
end

local function get_oldest(self, request)
  local rows, wanted = json.array {}, request.query["filter.connected_account_identifier"]
  for _, one in ipairs(self.oldest) do
    if not wanted or wanted == one.connected_account_identifier then rows[#rows + 1] = one end
  end
  return reply.json(200, { mcps = rows })
end

local function with_oldest(act)
  return function(self, request)
    for i, one in ipairs(self.oldest) do
      if one.id == request.params.id then return act(self, one, i) end
    end
    return accounts_of.not_found()
  end
end

-- Whether an account is part of a server: such an account cannot be deleted.
function M.holds(self, account)
  for _, instance in ipairs(self.instances) do
    if instance.user_identifier == account.identifier then
      for _, m in ipairs(instance.config.connection_tool_mappings) do
        if m.connection_name == account.connector then return true end
      end
    end
  end
  return false
end

function M.install(self, app)
  app:rows("mcp", "/api/v1/mcp", self, {
    { "POST", "/instances", post_instance },
    { "GET", "/instances", get_instances },
    { "POST", "/instances/{id}:get_auth_state", auth_state },
    { "GET", "/instances/{id}", get_instance },
    { "PATCH", "/instances/{id}", patch_instance },
    { "DELETE", "/instances/{id}", delete_instance },
    { "POST", "", post_oldest },
    { "GET", "", get_oldest },
    { "GET", "/{id}", with_oldest(function(_, one) return reply.json(200, { mcp = one }) end) },
    { "DELETE", "/{id}", with_oldest(function(s, _, i)
      table.remove(s.oldest, i)
      return reply.json(200, {})
    end) },
  })
end

return M
