-- Connections, connected accounts and the authorization page. Called by app.lua and, for "which account",
-- by scalekit.lua. The default scenario makes accounts ACTIVE when they are first asked for, so that a demo
-- needs no consent; `accounts = "pending"` walks the real way: none, PENDING_AUTH, the page, ACTIVE.
local json = require "host.json"
local reply = require "emulator.reply"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given, is_object = world_of.given, world_of.is_object
local M = {}
local Accounts = {}
Accounts.__index = Accounts

local STATUSES = { ACTIVE = true, EXPIRED = true, PENDING_AUTH = true, PENDING_VERIFICATION = true,
  DISCONNECTED = true }

local function key_of(connector, identifier) return connector .. "\0" .. identifier end

function Accounts:make(connector, identifier, status)
  local connection = self.connections[connector]
  local account = {
    id = "ca_" .. self.world:digits(18), identifier = identifier, connector = connector,
    connection_id = connection.id, provider = connection.provider, status = status,
    authorization_type = connection.type, updated_at = self.world:stamp(), api_config = {},
  }
  self:authorize(account, status)
  self.by_key[key_of(connector, identifier)] = account
  self.by_id[account.id] = account
  self.order[#self.order + 1] = account
  return account
end

local function fresh_token(world)
  return "emulated-" .. world:alnum(24)
end

-- What the service adds to the details that it was given: secrets it got with them.
local function complete(world, details, expires)
  local dwd, idp = details.google_dwd, details.trusted_idp
  if dwd and not dwd.access_token then
    dwd.access_token, dwd.scopes, dwd.token_expires_at = fresh_token(world), json.array { "emulated" }, expires
  elseif idp and not idp.access_key_id then
    idp.access_key_id, idp.secret_access_key = "AKIA" .. world:digits(16), fresh_token(world)
    idp.session_token, idp.expiry = fresh_token(world), expires
  end
end

-- A token that ran out is renewed before it is shown; keys do not run out.
function Accounts:renew(account)
  local expires = account.token_expires_at and text.micros(account.token_expires_at)
  if account.status ~= "ACTIVE" or not expires or self.world:now() * 1e6 < expires then return end
  local token = account.details and account.details.oauth_token
  if token then token.access_token = fresh_token(self.world) end
  account.token_expires_at = self.world:stamp(self.world:now() + 3600)
  self.emit("token_refresh_succeeded", account)
end

function Accounts:authorize(account, status)
  local old = account.status
  account.status = status
  account.updated_at = self.world:stamp()
  if status == "ACTIVE" then
    account.token_expires_at = self.world:stamp(self.world:now() + 3600)
    account.details = account.details or {
      oauth_token = { access_token = "emulated-" .. self.world:alnum(24), refresh_token = "emulated-"
        .. self.world:alnum(24),
        scopes = json.array { "emulated" }, domain = "" },
    }
    complete(self.world, account.details, account.token_expires_at)
    if account.details.static_auth then account.token_expires_at = nil end
  end
  if old ~= status then self.emit("status_updated", account, { old_status = old }) end
end

-- The account of a pair, or nil. In the default mode it comes to be, unless the request is in trouble "pending".
function Accounts:find(connector, identifier, request)
  local account = self.by_key[key_of(connector, identifier)]
  if account then return account end
  local pending = request and request.trouble and request.trouble.what == "pending"
  if self.mode == "active" and not pending and self.connections[connector] then
    return self:make(connector, identifier, "ACTIVE")
  end
  return nil
end

function Accounts:remove(account)
  self.by_key[key_of(account.connector, account.identifier)] = nil
  self.by_id[account.id] = nil
  for i, other in ipairs(self.order) do
    if other == account then table.remove(self.order, i) break end
  end
end

-- All accounts of an identifier, one for each connection, in the order of the connections' names.
function Accounts:of(identifier, request)
  local list = {}
  for _, name in ipairs(self.names) do
    local account = self:find(name, identifier, request)
    if account then list[#list + 1] = account end
  end
  return list
end

-- A connection: { provider =, type =, enabled = } or only the provider's key.
function Accounts:add_connection(name, fields)
  if type(fields) == "string" then fields = { provider = fields } end
  local connection = { id = "conn_" .. self.world:digits(18), provider = fields.provider:upper(), name = name,
    type = fields.type or "OAUTH", enabled = fields.enabled ~= false }
  self.connections[name] = connection
  self.names[#self.names + 1] = name
  table.sort(self.names)
  return connection
end

-- What pages outside the schema call a status.
local PAGE_STATUS = { PENDING_AUTH = "PENDING", PENDING_VERIFICATION = "INACTIVE", EXPIRED = "ERROR",
  DISCONNECTED = "REVOKED" }

-- with: "list" (no config), "details" (no secrets) or "auth" (secrets too)
local function show(account, with, request)
  local out = {
    id = account.id, identifier = account.identifier, connector = account.connector,
    connection_id = account.connection_id,
    status = request.forms.status_names == "pages" and PAGE_STATUS[account.status] or account.status,
    provider = request.forms.provider_case == "lower" and account.provider:lower() or account.provider,
    authorization_type = account.authorization_type, updated_at = account.updated_at,
    token_expires_at = account.token_expires_at, last_used_at = account.last_used_at,
  }
  if with ~= "list" then out.api_config = account.api_config end
  if with == "auth" or with == "list" and request.forms.list_tokens == "yes" then
    out.authorization_details = account.details or {}
  end
  return out
end

local LIMITS = {
  organization_id = { max = 32 }, user_id = { max = 32 },
  connector = { max = 400, pattern = "^[%w_: %-]*$", text = "^[a-zA-Z0-9_: -]*$" },
  identifier = { max = 100 }, provider = { max = 50 }, page_token = { max = 100 }, connection_id = { max = 32 },
  id = { max = 32, prefix = "ca_" }, state = { max = 512 }, user_verify_url = { max = 2048, url = true },
  tool_name = { max = 400 }, connected_account_id = { max = 100 }, agent_run_id = { max = 255 },
  execution_id = { max = 64 },
}

-- Violations of the limits that spec gives for `names` in the table `values`.
function M.check_limits(values, names, limits)
  local bad = {}
  for _, name in ipairs(names) do
    local limit, v = (limits or {})[name] or LIMITS[name], given(values[name])
    if v ~= nil and type(v) ~= "string" then
      bad[#bad + 1] = { name, "value must be a string", "string" }
    elseif v then
      if utf8.len(v) and utf8.len(v) > limit.max then
        bad[#bad + 1] = { name, ("value length must be at most %d characters"):format(limit.max), "string.max_len" }
      elseif limit.min and #v < limit.min then
        bad[#bad + 1] = { name, ("value length must be at least %d characters"):format(limit.min), "string.min_len" }
      elseif limit.pattern and not v:find(limit.pattern) then
        bad[#bad + 1] = { name, ("value does not match regex pattern `%s`"):format(limit.text), "string.pattern" }
      elseif limit.prefix and v ~= "" and v:sub(1, #limit.prefix) ~= limit.prefix then
        bad[#bad + 1] = { name, ("value does not have prefix `%s`"):format(limit.prefix), "string.prefix" }
      elseif limit.url and v ~= "" and not v:find("^https?://") then
        bad[#bad + 1] = { name, "value does not match regex pattern `^$|^https?://`", "string.pattern" }
      end
    end
  end
  return bad
end

-- Page of `list`: rows, next token, previous token; or nil and violations. Tokens are the service's forms.
function M.page(list, request, opts)
  local size = request.query.page_size
  local n = size == nil and (opts.default or 10) or math.tointeger(tonumber(size))
  if not n or n < 0 or (opts.max and n > opts.max) then
    return nil, { { "page_size", ("value must be between 0 and %d"):format(opts.max or 100), "uint32" } }
  end
  if n == 0 then n = opts.default or 10 end
  n = math.min(n, 100)
  local start = 0
  local token = request.query.page_token
  if token and token ~= "" then
    local decoded = text.unbase64(token)
    local value = decoded and json.decode(decoded)
    if opts.tokens == "offset" then
      start = is_object(value) and math.tointeger(value.offset)
    else
      local page, limit = is_object(value) and math.tointeger(value.page),
        is_object(value) and math.tointeger(value.limit)
      start = page and limit and (page - 1) * limit
      n = limit or n
    end
    if not start or start < 0 then return nil, { { "page_token", "value is not a page token", "page_token" } } end
  end
  local function token_at(offset)
    if opts.tokens == "offset" then return text.base64(('{"offset":%d}'):format(offset)) end
    return text.base64(('{"page":%d,"limit":%d}'):format(offset // n + 1, n))
  end
  local rows = json.array {}
  for i = start + 1, math.min(start + n, #list) do rows[#rows + 1] = list[i] end
  return rows, start + n < #list and token_at(start + n) or "", start > 0 and token_at(math.max(0, start - n)) or ""
end

local function not_found() return reply.grpc("NOT_FOUND", "resource not found",
  { error_code = "RESOURCE_NOT_FOUND" }) end
M.not_found = not_found

function M.no_connection(request, name)
  if request.forms.unknown_connection == "404" then return not_found() end
  return reply.grpc("INVALID_ARGUMENT", ("connection %s not found"):format(name))
end

local SELECTORS = { "organization_id", "user_id", "connector", "identifier", "id" }

-- The account that id or connector + identifier select; or nil and an answer.
function Accounts:select(values, request)
  local bad = M.check_limits(values, SELECTORS)
  if #bad > 0 then return nil, { reply.violations(bad) } end
  local id, connector, identifier = given(values.id), given(values.connector), given(values.identifier)
  if id and id ~= "" then
    local account = self.by_id[id]
    if not account then return nil, { not_found() } end
    return account
  end
  if not connector or connector == "" or not identifier or identifier == "" then
    return nil, { reply.violations { { "identifier", "id, or connector and identifier, are required", "required" } } }
  end
  local account = self:find(connector, identifier, request)
  if not account then return nil, { not_found() } end
  return account
end

local function list_accounts(self, request, wanted)
  local rows = {}
  local q = request.query
  if given(q.identifier) and self.mode == "active" then self:of(q.identifier, request) end
  for _, account in ipairs(self.order) do
    local keep = wanted(account)
    if keep then rows[#rows + 1] = show(account, "list", request) end
  end
  return rows
end

local function answer_list(rows, request, opts)
  local page, following, previous = M.page(rows, request, opts)
  if not page then return reply.violations(following) end
  return reply.json(200, { connected_accounts = page, total_size = #rows, next_page_token = following,
    prev_page_token = previous })
end

local function has(haystack, needle) return haystack:lower():find(needle:lower(), 1, true) ~= nil end

local function get_list(self, request)
  local q, names = request.query, request:values "connection_names"
  local bad = M.check_limits(q, { "organization_id", "user_id", "connector", "identifier", "provider", "query",
    "page_token" },
    { query = { max = 100 } })
  if #names > 20 then bad[#bad + 1] = { "connection_names", "value must contain no more than 20 items",
    "repeated.max_items" } end
  if #names > 0 and q.connector then
    bad[#bad + 1] = { "connection_names", "cannot be used together with connector", "oneof" }
  end
  if #bad > 0 then return reply.violations(bad) end
  local named = {}
  for _, name in ipairs(names) do named[name] = true end
  local rows = list_accounts(self, request, function(a)
    return (not q.connector or a.connector == q.connector) and (not q.identifier or a.identifier == q.identifier)
      and (not q.provider or a.provider:lower() == q.provider:lower()) and (#names == 0 or named[a.connector])
      and (not q.query or has(a.identifier, q.query) or has(a.provider, q.query) or has(a.connector, q.query))
  end)
  return answer_list(rows, request, { max = request.forms.accounts_page_100 == "taken" and 100 or 99,
    tokens = "offset" })
end

local function get_search(self, request)
  local q = request.query
  if not q.query then return reply.violations { { "query", "value is required", "required" } } end
  local bad = M.check_limits(q, { "query", "connection_id" }, { query = { max = 200, min = 3 } })
  if #bad > 0 then return reply.violations(bad) end
  local rows = list_accounts(self, request, function(a)
    return (not q.connection_id or a.connection_id == q.connection_id)
      and (has(a.identifier, q.query) or has(a.provider, q.query) or has(a.connector, q.query))
  end)
  return answer_list(rows, request, { max = 30, tokens = "offset" })
end

local DETAIL_KEYS = { oauth_token = true, static_auth = true, google_dwd = true, trusted_idp = true }

-- authorization_details is a oneof; an empty oauth_token (the Node SDK sends one) gives nothing.
local function read_details(body)
  local account = body.connected_account
  if not is_object(account) then
    return nil, { { "connected_account", "value is required", "required" } }
  end
  local details = given(account.authorization_details)
  if details == nil then return {} end
  local found
  for key in pairs(details) do
    if not DETAIL_KEYS[key] or found then
      return nil, { { "connected_account.authorization_details", "exactly one field of the oneof is required",
        "oneof" } }
    end
    found = key
  end
  if found == "oauth_token" and (given(details.oauth_token.access_token) or "") == "" then return {} end
  if found == "static_auth" and is_object(details.static_auth) and not is_object(details.static_auth.details) then
    return nil, { { "connected_account.authorization_details.static_auth.details", "value is required", "required" } }
  end
  return { details = found and details }
end

local function post_create(self, request)
  local body = request:object()
  if not body then return reply.grpc("INVALID_ARGUMENT", "the body is not a JSON object") end
  local bad = M.check_limits(body, { "organization_id", "user_id", "connector", "identifier" })
  if #bad > 0 then return reply.violations(bad) end
  local credentials, violations = read_details(body)
  if not credentials then return reply.violations(violations) end
  local connector, identifier = given(body.connector), given(body.identifier)
  if not connector or connector == "" then
    return reply.violations { { "connector", "value is required", "required" } } end
  if not identifier or identifier == "" then
    return reply.violations { { "identifier", "value is required", "required" } } end
  if not self.connections[connector] then
    return M.no_connection(request, connector)
  end
  if self.by_key[key_of(connector, identifier)] then
    return reply.grpc(request.forms.duplicate_account == "400" and "INVALID_ARGUMENT" or "ALREADY_EXISTS",
      "connected account already exists", { error_code = "RESOURCE_ALREADY_EXISTS" })
  end
  if not self.connections[connector].enabled then
    return reply.grpc("PERMISSION_DENIED", "the connection is disabled")
  end
  local account = self:make(connector, identifier, "PENDING_AUTH")
  if credentials.details then
    account.details = credentials.details
    self:authorize(account, "ACTIVE")
  end
  account.api_config = given(body.connected_account.api_config) or {}
  self.emit("created", account)
  return reply.json(201, { connected_account = show(account, "auth", request) })
end

local function put_update(self, request)
  local body = request:object()
  if not body then return reply.grpc("INVALID_ARGUMENT", "the body is not a JSON object") end
  local credentials, violations = read_details(body)
  if not credentials then return reply.violations(violations) end
  local account, refused = self:select(body, request)
  if not account then return table.unpack(refused) end
  if credentials.details then
    account.details = credentials.details
    self:authorize(account, "ACTIVE")
  end
  for k, v in pairs(given(body.connected_account.api_config) or {}) do account.api_config[k] = v end
  account.updated_at = self.world:stamp()
  self.emit("updated", account)
  return reply.json(200, { connected_account = show(account, "auth", request) })
end

local function get_one(self, request, with)
  local account, refused = self:select(request.query, request)
  if not account then
    if with == "auth" and given(request.query.id) and request.forms.unknown_account_id == "500" then
      return reply.grpc("INTERNAL", "internal error")
    end
    return table.unpack(refused)
  end
  if request.trouble and request.trouble.what == "expired" then self:authorize(account, "EXPIRED") end
  if with == "auth" then self:renew(account) end
  if account.status == "PENDING_AUTH" and self.approve_after then
    account.polls = (account.polls or 0) + 1
    if account.polls >= self.approve_after then self:authorize(account, "ACTIVE") end
  end
  return reply.json(200, { connected_account = show(account, with, request) })
end

local function post_delete(self, request)
  local body = request:object()
  if not body then return reply.grpc("INVALID_ARGUMENT", "the body is not a JSON object") end
  local account, refused = self:select(body, request)
  if not account then return table.unpack(refused) end
  if self.held_by_mcp(account) then
    return reply.grpc("INVALID_ARGUMENT", "the connected account is part of an MCP server",
      { error_code = "MCP_SERVER_EXISTS_FOR_CONNECTED_ACCOUNT" })
  end
  self:remove(account)
  self.emit("deleted", account)
  return reply.json(200, {})
end

local function get_by_id(self, request)
  local account = self.by_id[request.params.id]
  if not account then return not_found() end
  return reply.json(200, { connected_account = show(account, "details", request) })
end

-- By the id of the path, or of the body when the path says "-".
local function post_disconnect(self, request)
  local account = self.by_id[request.params.id or given((request:object() or {}).id) or ""]
  if not account then return not_found() end
  self:authorize(account, "DISCONNECTED")
  return reply.json(200, { connected_account = show(account, "details", request) })
end

-- options of the scenario: connections {name = PROVIDER}, accounts "active" | "pending" | list,
-- link_seconds, approve_after
function M.new(world, scenario)
  local self = setmetatable({ world = world, by_key = {}, by_id = {}, order = {}, links = {}, verifications = {},
    connections = {}, names = {}, verification = scenario.verification,
    link_seconds = scenario.link_seconds, approve_after = scenario.approve_after },
      Accounts)
  self.emit = function() end
  self.held_by_mcp = function() return false end
  local names = {}
  for name in pairs(scenario.connections) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do self:add_connection(name, scenario.connections[name]) end
  self.mode = type(scenario.accounts) == "string" and scenario.accounts or "listed"
  if self.mode == "listed" then
    for _, row in ipairs(scenario.accounts) do
      local status = row.status or "ACTIVE"
      if not self.connections[row.connector] then
        error(("scenario: no connection is called %q"):format(tostring(row.connector)), 0) end
      if not STATUSES[status] then error(("scenario: no account status is called %q"):format(tostring(status)), 0) end
      self:make(row.connector, row.identifier, status)
    end
  end
  return self
end

function M.install(self, app)
  local function add(method, path, handler)
    app:route("scalekit", "accounts", method, path, function(request) return handler(self, request) end)
  end
  local base = "/api/v1/connected_accounts"
  add("GET", base, get_list)
  add("POST", base, post_create)
  add("PUT", base, put_update)
  add("GET", base .. "/auth", function(s, r) return get_one(s, r, "auth") end)
  add("GET", base .. "/details", function(s, r) return get_one(s, r, "details") end)
  add("GET", base .. "/this", function(s, r) return get_one(s, r, "details") end)
  add("GET", base .. "/{id}", get_by_id)
  add("POST", base .. ":delete", post_delete)
  add("GET", base .. ":search", get_search)
  add("POST", base .. "/-:disconnect", post_disconnect)
  add("POST", base .. "/{id}:disconnect", post_disconnect)
end

return M
