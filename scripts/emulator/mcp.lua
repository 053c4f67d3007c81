-- Virtual MCP servers: configs, whom they need connected, session tokens. Called by app.lua. The servers themselves are
-- mcp_server.lua; the older generation (instances) is mcp_instances.lua.
local json = require "host.json"
local accounts_of = require "emulator.accounts"
local link_of = require "emulator.link"
local reply = require "emulator.reply"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given, is_object, is_array = world_of.given, world_of.is_object, world_of.is_array
local M = {}

local MAX_MAPPINGS = 25

-- The mappings of a body as they are kept; or nil and an answer.
local function read_mappings(self, list)
  if list == nil then return json.array {} end
  if not is_array(list) or #list > MAX_MAPPINGS then
    return nil, { reply.violations { { "connection_tool_mappings",
      ("value must contain at most %d items"):format(MAX_MAPPINGS), "repeated.max_items" } } }
  end
  local out = json.array {}
  for i, m in ipairs(list) do
    local name = is_object(m) and given(m.connection_name)
    if not name then
      return nil, { reply.violations { { ("connection_tool_mappings[%d].connection_name"):format(i - 1),
        "value is required", "required" } } }
    end
    local connection = self.accounts.connections[name]
    if not connection then return nil, { accounts_of.not_found() } end
    local tools = is_array(m.tools) and m.tools or json.array {}
    for _, tool in ipairs(tools) do
      local known = self.catalog.tools[tool]
      if not known or known.provider ~= connection.provider then
        return nil, { reply.grpc("INVALID_ARGUMENT", ("tool %s is not a tool of connection %s"):format(tostring(tool),
          name)) }
      end
    end
    out[i] = { connection_name = name, tools = tools, connection_id = connection.id, provider = connection.provider }
  end
  return out
end

local function page_of(rows, request)
  local page, following, previous = accounts_of.page(rows, request, { max = 30 })
  if not page then return nil, { reply.violations(following) } end
  return { total_size = #rows, next_page_token = following, prev_page_token = previous }, page
end
M.page_of = page_of

local function get_configs(self, request)
  local q, rows = request.query, {}
  local search, name = q.search, q["filter.name"] and q["filter.name"]:lower()
  if search and #search < 3 then
    return reply.violations { { "search", "value length must be at least 3 characters", "string.min_len" } }
  end
  local prefix = request.forms.mcp_name_filter == "prefix"
  if prefix and name and #name < 3 then
    return reply.violations { { "filter.name", "value length must be at least 3 characters", "string.min_len" } }
  end
  for _, c in ipairs(self.configs) do
    local mine, has_provider = c.name:lower(), false
    for _, m in ipairs(c.connection_tool_mappings) do has_provider = has_provider
      or m.provider == q["filter.provider"] end
    if (not q["filter.id"] or q["filter.id"] == c.id) and (not q["filter.provider"] or has_provider)
      and (not name or mine == name or (prefix and mine:sub(1, #name) == name))
      and (not q["filter.mcp_server_url"]
        or q["filter.mcp_server_url"]:match("[^/]*$") == c.mcp_server_url:match("[^/]*$"))
      and (not search or (mine .. " " .. (c.description or "")):lower():find(search:lower(), 1, true)) then
      rows[#rows + 1] = c
    end
  end
  local out, page = page_of(rows, request)
  if not out then return table.unpack(page) end
  out.configs = page
  return reply.json(200, out)
end

local function post_config(self, request)
  local body = request:object()
  if not body then return reply.grpc("INVALID_ARGUMENT", "the body is not a JSON object") end
  local name = given(body.name)
  if type(name) ~= "string" or #name > 100 or not name:find("^[%l%d_%-]+$") then
    return reply.violations { { "config.name", "value must be 1 to 100 of [a-z0-9_-]", "string.pattern" } }
  end
  for _, c in ipairs(self.configs) do
    if c.name == name then
      return reply.grpc("INVALID_ARGUMENT", "a config of this name exists", { error_code = "DUPLICATE_IDENTIFIER" })
    end
  end
  local mappings, refused = read_mappings(self, given(body.connection_tool_mappings))
  if not mappings then return table.unpack(refused) end
  local config = { id = "cfg_" .. self.world:digits(18), name = name, description = given(body.description) or "",
    mcp_server_url = request:base_url() .. "/mcp/v3/servers/" .. self.world:uuid(),
      connection_tool_mappings = mappings }
  self.configs[#self.configs + 1] = config
  return reply.json(201, { config = config })
end

local function with_config(act)
  return function(self, request)
    for i, c in ipairs(self.configs) do
      if c.id == request.params.id then return act(self, request, c, i) end
    end
    return accounts_of.not_found()
  end
end

local get_config = with_config(function(_, _, c) return reply.json(200, { config = c }) end)

local put_config = with_config(function(self, request, c)
  local body = request:object()
  if not body then return reply.grpc("INVALID_ARGUMENT", "the body is not a JSON object") end
  if given(body.connection_tool_mappings) then
    local mappings, refused = read_mappings(self, body.connection_tool_mappings)
    if not mappings then return table.unpack(refused) end
    c.connection_tool_mappings = mappings
  end
  c.description = given(body.description) or c.description
  return reply.json(200, { config = c })
end)

local delete_config = with_config(function(self, _, _, i)
  table.remove(self.configs, i)
  return reply.json(200, {})
end)

-- How each connection of a config stands for an identifier. With links, missing accounts are made.
function M.states(self, config, identifier, links, request)
  local rows = json.array {}
  for i, m in ipairs(config.connection_tool_mappings) do
    local account = self.accounts:find(m.connection_name, identifier, request)
    if not account and links then account = self.accounts:make(m.connection_name, identifier, "PENDING_AUTH") end
    local link = ""
    if links and account.status ~= "ACTIVE" then link = link_of.make(self.accounts, account, request) end
    rows[i] = { connection_id = m.connection_id, connection_name = m.connection_name, provider = m.provider,
      connected_account_id = account and account.id or "", connected_account_status = account and account.status or "",
      authentication_link = link }
  end
  return rows
end

local function identifier_of(body)
  local identifier = given(body.identifier)
  if type(identifier) ~= "string" or identifier == "" or #identifier > 255 then
    return nil, { reply.violations { { "identifier", "value length must be 1 to 255 characters", "string.min_len" } } }
  end
  return identifier
end

local post_accounts = with_config(function(self, request, config)
  local body = request:object() or {}
  local identifier, refused = identifier_of(body)
  if not identifier then return table.unpack(refused) end
  return reply.json(200, { connected_accounts = M.states(self, config, identifier, body.include_auth_link == true,
    request) })
end)

local post_token = with_config(function(self, request, config)
  local body = request:object() or {}
  local identifier, refused = identifier_of(body)
  if not identifier then return table.unpack(refused) end
  local expiry = given(body.expiry) or "3600s"
  local seconds = type(expiry) == "string" and tonumber(expiry:match("^(%d+%.?%d*)s$"))
  if not seconds or seconds < 60 or seconds > 86400 then
    return reply.violations { { "expiry", "value must be between 60s and 86400s", "duration" } }
  end
  for _, state in ipairs(M.states(self, config, identifier, false, request)) do
    if state.connected_account_status ~= "ACTIVE" then
      return reply.grpc("FAILED_PRECONDITION", ("connection %s has no active account for this identifier"):format(
        state.connection_name))
    end
  end
  local aud = request.forms.mcp_token_aud == "server" and config.mcp_server_url or identifier
  local claims = assert(json.encode { sub = identifier, aud = json.array { aud }, mcp_cfg = config.id,
    token_type = "mcp_session" })
  local token = ("%s.%s.%s"):format(text.base64('{"alg":"none"}'), text.base64(claims), self.world:alnum(32))
  local expires = self.world:now() + seconds
  self.sessions[token] = { config = config.id, identifier = identifier, expires = expires }
  return reply.json(200, { token = token, expires_at = self.world:stamp(expires) })
end)

function M.new(world, accounts, catalog)
  return { world = world, accounts = accounts, catalog = catalog, configs = {}, sessions = {}, instances = {},
    oldest = {} }
end

function M.install(self, app)
  app:rows("mcp", "/api/v1/mcp/configs", self, {
    { "GET", "", get_configs },
    { "POST", "", post_config },
    { "GET", "/{id}", get_config },
    { "PUT", "/{id}", put_config },
    { "DELETE", "/{id}", delete_config },
    { "POST", "/{id}/connected_accounts", post_accounts },
    { "POST", "/{id}/tokens", post_token },
  })
end

return M
