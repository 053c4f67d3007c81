-- Scalekit's token, tools and execute_tool. Called by app.lua. Refuses what the service refuses; what a tool
-- does is in gmail.lua, slack.lua and their like.
local json = require "host.json"
local accounts_of = require "emulator.accounts"
local catalog_of = require "emulator.catalog"
local reply = require "emulator.reply"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given, is_object = world_of.given, world_of.is_object
local M = {}

local TOKEN_SECONDS, MAX_LOGS = 86399, 1000

local function post_token(self, request)
  local form = {}
  for _, pair in ipairs(text.pairs_of(request.body)) do form[pair[1]] = pair[2] end
  if form.grant_type ~= "client_credentials" then
    return reply.json(400, { error = "unsupported_grant_type",
      error_description = "grant_type must be client_credentials" })
  end
  local keys = self.world.keys
  local right = form.client_id == keys.client_id and form.client_secret == keys.client_secret
  if not right and not (self.world.open and (form.client_id or "") ~= "" and (form.client_secret or "") ~= "") then
    return reply.json(401, { error = "invalid_client", error_description = "client authentication failed" })
  end
  local token = "emulated." .. self.world:alnum(64)
  self.tokens[token] = self.world:now() + TOKEN_SECONDS
  return reply.json(200, { access_token = token, token_type = "Bearer", expires_in = TOKEN_SECONDS,
    scope = form.scope or "openid" })
end

-- nil when the request carries a good token, else an answer.
function M.refuse(self, request)
  local token = (request.headers.authorization or ""):match("^[Bb]earer%s+(.-)%s*$")
  if not token or token == "" then return { reply.grpc("UNAUTHENTICATED", "Token empty") } end
  local expires = self.tokens[token]
  if self.world.open and not expires then return nil end
  if not expires then return { reply.grpc("UNAUTHENTICATED", "Token invalid") } end
  if self.world:now() >= expires then
    self.tokens[token] = nil
    return { reply.grpc("UNAUTHENTICATED", "Token expired") }
  end
  return nil
end

local function provider_names(self)
  local names = {}
  for name in pairs(self.catalog.providers) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local function set_of(list)
  if #list == 0 then return nil end
  local set = {}
  for _, v in ipairs(list) do set[v] = true end
  return set
end

-- A tool as this request wants it: one source names the schema `input`.
local function show_tool(tool, request)
  if request.forms.tool_schema == "input_schema" then return tool end
  local out, definition = {}, {}
  for k, v in pairs(tool) do out[k] = v end
  for k, v in pairs(tool.definition) do definition[k ~= "input_schema" and k or "input"] = v end
  out.definition = definition
  return out
end

local function get_tools(self, request)
  local q = request.query
  local bad = accounts_of.check_limits({ identifier = q["filter.identifier"], provider = q["filter.provider"],
    connector = q["filter.connector"], connected_account_id = q["filter.connected_account_id"] },
    { "identifier", "provider", "connector", "connected_account_id" })
  local search = q["filter.query"]
  if search and (#search < 3 or #search > 100) then
    bad[#bad + 1] = { "filter.query", "value length must be 3 to 100", "string.min_len" } end
  if #bad > 0 then return reply.violations(bad) end
  local connector = q["filter.connector"]
  if connector and not self.accounts.connections[connector] then
    return accounts_of.no_connection(request, connector)
  end
  local account_id, identifier = q["filter.connected_account_id"], q["filter.identifier"]
  if account_id and not self.accounts.by_id[account_id] then return accounts_of.not_found() end
  if identifier and #self.accounts:of(identifier, request) == 0 then return accounts_of.not_found() end
  local named = set_of(request:values "filter.tool_name")
  local wanted = q["filter.provider"]
  if wanted and request.forms.provider_filter == "loose" then wanted = wanted:upper() end
  local rows = {}
  for _, provider in ipairs(provider_names(self)) do
    for _, tool in ipairs(self.catalog.providers[provider].tools) do
      local d = tool.definition
      if (not wanted or wanted == provider) and (not named or named[d.name])
        and (not search or (d.name .. " " .. d.description):lower():find(search:lower(), 1, true)) then
        rows[#rows + 1] = show_tool(tool, request)
      end
    end
  end
  local page, following, previous = accounts_of.page(rows, request, {})
  if not page then return reply.violations(following) end
  local names = json.array {}
  for i, tool in ipairs(page) do names[i] = tool.definition.name end
  if q["filter.summary"] == "true" then page = json.array {} end
  return reply.json(200, { tools = page, tool_names = names, total_size = #rows, next_page_token = following,
    prev_page_token = previous })
end

-- The accounts that a scoped filter means; or nil and an answer.
local function scoped_accounts(self, request, identifier)
  local names, providers = request:values "filter.connection_names", request:values "filter.providers"
  local chosen, seen = {}, {}
  local function take(account)
    if not seen[account.id] then
      seen[account.id] = true
      chosen[#chosen + 1] = account
    end
  end
  for _, name in ipairs(names) do
    local account = self.accounts:find(name, identifier, request)
    if not account then return nil, { accounts_of.not_found() } end
    take(account)
  end
  local asked = {}
  for _, provider in ipairs(providers) do
    provider = provider:upper()
    if asked[provider] then return nil,
      { reply.violations { { "filter.providers", "repeated provider", "repeated.unique" } } } end
    asked[provider] = true
    local found = {}
    for _, account in ipairs(self.accounts:of(identifier, request)) do
      if account.provider == provider then found[#found + 1] = account end
    end
    if #found == 0 then return nil, { accounts_of.not_found() } end
    if #found > 1 and #names == 0 then
      return nil, { reply.grpc("FAILED_PRECONDITION",
        ("the identifier has more than one account for %s: name the connection"):format(provider)) }
    end
    for _, account in ipairs(found) do take(account) end
  end
  if #names == 0 and #providers == 0 then
    for _, account in ipairs(self.accounts:of(identifier, request)) do take(account) end
  elseif #names > 0 and #providers > 0 then -- both filters: what both allow
    local both = {}
    for _, account in ipairs(chosen) do
      local by_name = false
      for _, name in ipairs(names) do by_name = by_name or account.connector == name end
      if by_name and asked[account.provider] then both[#both + 1] = account end
    end
    chosen = both
  end
  return chosen
end

local function get_scoped(self, request)
  local identifier = request.query.identifier
  local bad = accounts_of.check_limits(request.query, { "identifier" })
  if not identifier or identifier == "" then bad[#bad + 1] = { "identifier", "value is required", "required" } end
  local tool_names = request:values "filter.tool_names"
  local filtered = #tool_names + #request:values "filter.connection_names" + #request:values "filter.providers" > 0
  if not filtered and request.forms.scoped_filter == "required" then
    bad[#bad + 1] = { "filter", "value is required", "required" }
  end
  if #bad > 0 then return reply.violations(bad) end
  local chosen, refused = scoped_accounts(self, request, identifier)
  if not chosen then return table.unpack(refused) end
  local named, rows = set_of(tool_names), {}
  if not (request.trouble and request.trouble.what == "no_tools") then
    for _, account in ipairs(chosen) do
      local provider = self.catalog.providers[account.provider]
      for _, tool in ipairs(provider and provider.tools or {}) do
        if not named or named[tool.definition.name] then
          rows[#rows + 1] = { tool = show_tool(tool, request), identifier = identifier,
            connected_account_id = account.id }
        end
      end
    end
  end
  local page, following, previous = accounts_of.page(rows, request, {})
  if not page then return reply.violations(following) end
  return reply.json(200, { tools = page, total_size = #rows, next_page_token = following, prev_page_token = previous })
end

local function get_available(self, request)
  local identifier = request.query.identifier
  local bad = accounts_of.check_limits(request.query, { "identifier" })
  if not identifier or identifier == "" then bad[#bad + 1] = { "identifier", "value is required", "required" } end
  if #bad > 0 then return reply.violations(bad) end
  local mine = self.accounts:of(identifier, request)
  if #mine == 0 and request.forms.available_unknown == "404" then return accounts_of.not_found() end
  local rows, seen = {}, {}
  for _, account in ipairs(mine) do
    local provider = self.catalog.providers[account.provider]
    if provider and not seen[account.provider] then
      seen[account.provider] = true
      for _, tool in ipairs(provider.tools) do rows[#rows + 1] = show_tool(tool, request) end
    end
  end
  local page, following, previous = accounts_of.page(rows, request, {})
  if not page then return reply.violations(following) end
  return reply.json(200, { tools = page, total_size = #rows, next_page_token = following, prev_page_token = previous })
end

-- execute_tool -----------------------------------------------------------------------------------------

-- A Struct holds doubles: integers beyond 2^53 lose digits, as they do in the service.
local function as_struct(v)
  if math.type(v) == "integer" and (v > 1 << 53 or v < -(1 << 53)) then
    return math.tointeger(v + 0.0) or v + 0.0
  elseif type(v) == "table" and v ~= json.null then
    for k, item in pairs(v) do v[k] = as_struct(item) end
  end
  return v
end

-- The account a call runs with; or nil and an answer.
local function account_of_call(self, body, tool, request)
  local id, connector, identifier = given(body.connected_account_id), given(body.connector), given(body.identifier)
  if id and id ~= "" then
    local account = self.accounts.by_id[id]
    if not account then return nil, { accounts_of.not_found() } end
    return account
  end
  local alone = not connector or connector == ""
  if not identifier or identifier == "" or alone and request.forms.account_selector == "strict" then
    return nil, { reply.violations { { "connected_account_id",
      "connected_account_id, or identifier and connector, are required", "required" } } }
  end
  if not alone then
    local account = self.accounts:find(connector, identifier, request)
    if not account then return nil, { accounts_of.not_found() } end
    return account
  end
  local found = {}
  for _, account in ipairs(self.accounts:of(identifier, request)) do
    if account.provider == tool.provider then found[#found + 1] = account end
  end
  if #found == 0 then return nil, { accounts_of.not_found() } end
  if #found > 1 then return nil,
    { reply.grpc("FAILED_PRECONDITION", "more than one account fits: name the connection") } end
  return found[1]
end

local UPSTREAM = {
  [401] = { "UNAUTHENTICATED", "UNAUTHORIZED", "the provider refused the account's credentials" },
  [403] = { "PERMISSION_DENIED", "FORBIDDEN", "the provider refused: a scope is missing" },
  [429] = { "RESOURCE_EXHAUSTED", "RATE_LIMITED", "the provider's rate limit is reached" },
}

local function record(self, entry, status, code, message)
  entry.status, entry.error_code, entry.error_message = status, code or "", message or ""
  entry.duration_ms = "1"
  table.insert(self.logs, 1, entry)
  self.logs[MAX_LOGS + 1] = nil
end

local function run_tool(self, tool, params)
  local act = self.actions[tool.definition.name]
  if not act then
    return nil, { status = 500, message = ("the emulator knows %s by name and parameters only: it does not act it out; "
      .. "a scenario can (tools = { %s = function(params) … end })"):format(tool.definition.name,
        tool.definition.name) }
  end
  local ok, data, fault = pcall(act, params, self.world)
  if not ok then return nil, { status = 500, message = "the scenario's tool raised: " .. tostring(data) } end
  return data, fault
end

-- Runs a tool with an ACTIVE account, and logs the call. opts: tool, account, params, agent_run_id, source ("API" or
-- "MCP"), fault (what the provider refuses with, instead). The data and the log's entry; or nil, the entry, the fault.
function M.execute(self, opts)
  local tool, account = opts.tool, opts.account
  local entry = {
    id = "tcl_" .. self.world:digits(18), execution_id = "exec_" .. self.world:digits(18),
    tool_name = tool.definition.name, agent_run_id = opts.agent_run_id, provider = account.provider,
    connected_account_id = account.id, connection_id = account.connection_id, connection_name = account.connector,
    identifier = account.identifier, source = opts.source, error_tier = "", user_id = "",
    environment_id = "env_emulator", started_at = self.world:stamp(),
  }
  account.last_used_at = entry.started_at
  local data, fault = nil, opts.fault
  if not fault then data, fault = run_tool(self, tool, as_struct(opts.params)) end
  if data ~= nil then
    record(self, entry, "success")
    return data, entry
  end
  fault = fault or { status = 500 }
  local row = UPSTREAM[fault.status] or { "INTERNAL", "EXEC_FAILED", "the tool failed" }
  fault = { grpc = row[1], code = fault.code or row[2], message = fault.message or row[3] }
  record(self, entry, "provider_error", fault.code, fault.message)
  return nil, entry, fault
end

local CALL_FIELDS = { "connector", "identifier", "connected_account_id", "agent_run_id" }

local function post_execute(self, request)
  local body = request:object()
  if not body then return reply.grpc("INVALID_ARGUMENT", "the body is not a JSON object") end
  local name, params = given(body.tool_name), given(body[request.forms.execute_body])
  local bad = accounts_of.check_limits(body, CALL_FIELDS, { identifier = { max = 400, pattern = "^[%w_: %-@%.%+]*$",
    text = "^[a-zA-Z0-9_: -]*$" } })
  if type(name) ~= "string" or name == "" then bad[#bad + 1] = { "tool_name", "value is required", "required" } end
  if params ~= nil and not is_object(params) then bad[#bad + 1] = { "params", "value must be an object", "struct" } end
  if #bad > 0 then return reply.violations(bad) end
  local tool = self.catalog.tools[name]
  if not tool then
    return reply.grpc(request.forms.unknown_tool == "404" and "NOT_FOUND" or "INVALID_ARGUMENT",
      ("tool %s not found"):format(name))
  end
  local account, refused = account_of_call(self, body, tool, request)
  if not account then return table.unpack(refused) end
  if request.trouble and request.trouble.what == "expired" then self.accounts:authorize(account, "EXPIRED") end
  if account.status ~= "ACTIVE" then
    if request.forms.inactive_account == "404" then return accounts_of.not_found() end
    return reply.grpc("FAILED_PRECONDITION", ("connected account is not active: status %s"):format(account.status))
  end
  if account.provider ~= tool.provider then
    return reply.grpc("INVALID_ARGUMENT", ("tool %s is not a tool of connection %s"):format(name, account.connector))
  end
  local violations = catalog_of.check(tool, params or {})
  if #violations > 0 then return reply.violations(violations) end
  local data, entry, fault = M.execute(self, { tool = tool, account = account, params = params or {}, source = "API",
    agent_run_id = given(body.agent_run_id), fault = request.has "tool_error" and request.trouble or nil })
  if data ~= nil then return reply.json(200, { data = data, execution_id = entry.execution_id }) end
  return reply.grpc(fault.grpc, "tool execution failed", {
    error_code = "TOOL_ERROR",
    tool_error_info = { execution_id = entry.execution_id, tool_error_code = fault.code,
      tool_error_message = fault.message },
  })
end

function M.new(world, scenario, accounts, actions)
  local self = { world = world, accounts = accounts, actions = actions, tokens = {}, logs = {},
    catalog = catalog_of.new() }
  for _, tool in ipairs(scenario.extra_tools) do catalog_of.add(self.catalog, tool) end
  return self
end

function M.install(self, app)
  local function add(method, path, where, handler, opts)
    app:route("scalekit", where, method, path, function(request) return handler(self, request) end, opts)
  end
  add("POST", "/oauth/token", "token", post_token, { open = true })
  add("GET", "/keys", "token", function() return reply.json(200, { keys = json.array {} }) end, { open = true })
  add("GET", "/api/v1/tools", "tools", get_tools)
  add("GET", "/api/v1/tools/scoped", "scoped", get_scoped)
  add("GET", "/api/v1/tools/available", "available", get_available)
  add("POST", "/api/v1/execute_tool", "execute", post_execute)
end

return M
