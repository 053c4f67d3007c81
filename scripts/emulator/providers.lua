-- Providers: the connectors' definitions, and custom ones in full. Called by app.lua.
local json = require "host.json"
local accounts_of = require "emulator.accounts"
local reply = require "emulator.reply"
local world_of = require "emulator.world"

local given, is_object, is_array = world_of.given, world_of.is_object, world_of.is_array
local M = {}

local function get_providers(self, request)
  local wanted = request.query.identifier
  if wanted and not wanted:find("^[%w_:%-]*$") then
    return reply.violations { { "identifier", "value does not match regex pattern `^[a-zA-Z0-9_:-]*$`",
      "string.pattern" } }
  end
  local kind = request.query["filter.provider_type"]
  if kind and kind ~= "DEFAULT" and kind ~= "CUSTOM" and kind ~= "ALL" then
    return reply.violations { { "filter.provider_type", "value must be one of the defined enum values", "enum" } }
  end
  local rows = {}
  for i, name in ipairs(self.names()) do
    local p = self.catalog.providers[name]
    if (not wanted or wanted == name) and kind ~= "CUSTOM" then
      rows[#rows + 1] = {
        id = "prv_" .. name:lower(), identifier = name, display_name = p.label, description = p.label .. " (emulated)",
        categories = json.array {}, auth_patterns = json.array { { type = "OAUTH", display_name = "OAuth 2.0" } },
        icon_src = "", display_priority = i, coming_soon = false, proxy_url = "", is_custom = false,
        proxy_enabled = request.forms.proxy == "on", is_custom_mcp = false, metadata = {},
      }
    end
  end
  for _, p in ipairs(self.custom) do
    if (not wanted or wanted == p.identifier) and kind ~= "DEFAULT" then rows[#rows + 1] = p end
  end
  local page, following, previous = accounts_of.page(rows, request, {})
  if not page then return reply.violations(following) end
  return reply.json(200, { providers = page, total_size = #rows, next_page_token = following,
    prev_page_token = previous })
end

local AUTH_TYPES = { OAUTH = true, BASIC = true, BEARER = true, API_KEY = true, NO_AUTH = true }

-- Violations of a custom provider's fields; `whole`: what is required must be there.
local function faults(body, whole)
  local bad = {}
  local function complain(field, text, rule) bad[#bad + 1] = { field, text, rule } end
  local name = given(body.display_name)
  if name == nil then
    if whole then complain("display_name", "value is required", "required") end
  elseif type(name) ~= "string" or #name > 200 or not name:find("^[%w ]*%w[%w ]*$") then
    complain("display_name", "value does not match regex pattern `^[a-zA-Z0-9 ]*[a-zA-Z0-9][a-zA-Z0-9 ]*$`",
      "string.pattern")
  end
  local patterns = given(body.auth_patterns)
  if patterns == nil then
    if whole then complain("auth_patterns", "value is required", "required") end
  elseif not is_array(patterns) then
    complain("auth_patterns", "value must be an array", "list")
  else
    for i, pattern in ipairs(patterns) do
      if not is_object(pattern) or not AUTH_TYPES[pattern.type] then
        complain(("auth_patterns[%d].type"):format(i - 1), "value must be OAUTH, BASIC, BEARER, API_KEY or NO_AUTH",
          "enum")
      elseif pattern.type == "NO_AUTH" and pattern.is_mcp ~= true then
        complain(("auth_patterns[%d].type"):format(i - 1), "NO_AUTH is for MCP servers only", "enum")
      end
    end
  end
  local url, icon = given(body.proxy_url), given(body.icon_src)
  if url ~= nil and (type(url) ~= "string" or #url > 2048 or not url:find("^https://")) then
    complain("proxy_url", "value does not match regex pattern `^https://`", "string.pattern")
  end
  if icon ~= nil and (type(icon) ~= "string" or #icon > 2048 or (icon ~= "" and not icon:find("^https://"))) then
    complain("icon_src", "value must be empty or begin with https://", "string.pattern")
  end
  local pairs_given = 0
  for k, v in pairs(is_object(body.metadata) and body.metadata or {}) do
    pairs_given = pairs_given + 1
    if #k < 3 or #k > 25 then complain("metadata", "keys are 3 to 25 characters long", "map.keys") end
    if type(v) ~= "string" or v == "" or #v > 256 then
      complain("metadata", "values are 1 to 256 characters long", "map.values") end
  end
  if pairs_given > 20 then complain("metadata", "value must contain at most 20 pairs", "map.max_pairs") end
  return bad
end

local FIELDS = { "display_name", "description", "auth_patterns", "proxy_url", "proxy_enabled", "icon_src", "metadata" }

local function defaults(p)
  p.description, p.proxy_url, p.icon_src = p.description or "", p.proxy_url or "", p.icon_src or ""
  p.metadata, p.proxy_enabled = p.metadata or {}, p.proxy_enabled or false
  p.is_custom_mcp = false
  for _, pattern in ipairs(p.auth_patterns) do p.is_custom_mcp = p.is_custom_mcp or pattern.is_mcp == true end
  return p
end

local function post_custom(self, request)
  local body = request:object()
  if not body then return reply.grpc("INVALID_ARGUMENT", "the body is not a JSON object") end
  local bad = faults(body, true)
  if #bad > 0 then return reply.violations(bad) end
  local key = body.display_name:upper():gsub("%s", "") .. ":" .. self.world:digits(5)
  local p = { id = "prv_" .. self.world:digits(18), identifier = key, categories = json.array {},
    display_priority = 1000 + #self.custom, coming_soon = false, is_custom = true }
  for _, k in ipairs(FIELDS) do p[k] = given(body[k]) end
  self.custom[#self.custom + 1] = defaults(p)
  return reply.json(201, { provider = p })
end

local function find(self, request)
  for i, p in ipairs(self.custom) do
    if p.identifier == request.params.id then return p, i end
  end
  return nil
end

local function put_custom(self, request)
  local p = find(self, request)
  if not p then return accounts_of.not_found() end
  local body = request:object()
  if not body then return reply.grpc("INVALID_ARGUMENT", "the body is not a JSON object") end
  local full = request.forms.custom_provider_put == "full"
  local bad = faults(body, full)
  if #bad > 0 then return reply.violations(bad) end
  for _, k in ipairs(FIELDS) do
    if given(body[k]) ~= nil or full then p[k] = given(body[k]) end
  end
  return reply.json(200, { provider = defaults(p) })
end

local function delete_custom(self, request)
  local p, i = find(self, request)
  if not p then return accounts_of.not_found() end
  table.remove(self.custom, i)
  return reply.json(200, {})
end

function M.new(world, catalog)
  local self = { world = world, catalog = catalog, custom = {} }
  function self.names()
    local names = {}
    for name in pairs(catalog.providers) do names[#names + 1] = name end
    table.sort(names)
    return names
  end
  -- The custom provider of a key, or nil.
  function self.of(key)
    for _, p in ipairs(self.custom) do
      if p.identifier == key then return p end
    end
    return nil
  end
  return self
end

function M.install(self, app)
  app:rows("providers", "/api/v1", self, {
    { "GET", "/providers", get_providers },
    { "POST", "/custom-providers", post_custom },
    { "PUT", "/custom-providers/{id}", put_custom },
    { "DELETE", "/custom-providers/{id}", delete_custom },
  })
end

return M
