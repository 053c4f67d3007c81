-- One emulator without sockets: `handle(request)` gives status, headers, body. Called by init.lua (and by
-- tests); all state is in the table that `new` returns.
--
-- A request: { method=, path=, raw_query=, headers={lower-case names}, body= }. A body that is answered is a
-- string, or { chunks = {string…}, delay = seconds between them, cut = true to break the connection off,
-- silent = true for not even a status, wait = seconds before all, more = function(stream) that waits for the
-- next piece after the chunks, nil at the end }.
local json = require "host.json"
local accounts = require "emulator.accounts"
local admin = require "emulator.admin"
local bend = require "emulator.bend"
local connections = require "emulator.connections"
local forms_of = require "emulator.forms"
local gateway = require "emulator.gateway"
local github = require "emulator.github"
local gmail = require "emulator.gmail"
local googlecalendar = require "emulator.googlecalendar"
local langsmith = require "emulator.langsmith"
local langsmith_datasets = require "emulator.langsmith_datasets"
local langsmith_feedback = require "emulator.langsmith_feedback"
local langsmith_read = require "emulator.langsmith_read"
local langsmith_sessions = require "emulator.langsmith_sessions"
local langsmith_stats = require "emulator.langsmith_stats"
local langsmith_v2 = require "emulator.langsmith_v2"
local link = require "emulator.link"
local logs = require "emulator.logs"
local mcp = require "emulator.mcp"
local mcp_instances = require "emulator.mcp_instances"
local mcp_server = require "emulator.mcp_server"
local notion = require "emulator.notion"
local openai = require "emulator.openai"
local providers = require "emulator.providers"
local proxy = require "emulator.proxy"
local reply = require "emulator.reply"
local router = require "emulator.router"
local scalekit = require "emulator.scalekit"
local scenario_of = require "emulator.scenario"
local slack = require "emulator.slack"
local text = require "emulator.text"
local tool_admin = require "emulator.tool_admin"
local troubles_of = require "emulator.troubles"
local webhooks = require "emulator.webhooks"
local wirelog = require "emulator.wirelog"
local world_of = require "emulator.world"

local M = {}
local App = {}
App.__index = App

M.SERVICES = { "scalekit", "openai", "langsmith" }
local KEPT_REQUESTS, KEPT_BODY = 50, 16384

-- What a handler is given.
local Request = {}
Request.__index = Request

function Request:values(name) -- all values of a repeated query parameter
  local list = {}
  for _, pair in ipairs(self.pairs) do
    if pair[1] == name then list[#list + 1] = pair[2] end
  end
  return list
end

local function snake(name) return (name:gsub("(%l)(%u)", function(a, b) return a .. "_" .. b:lower() end)) end

-- "gpt-4o~429; retry_after=2" -> the model, and what goes wrong with it
local function model_and_trouble(name)
  local base, trouble = name:match("^([^~]+)~(.+)$")
  return base or name, trouble
end

-- The body as an object, or nil. Scalekit's gateway takes camelCase names too.
function Request:object()
  local value = json.decode(self.body)
  if not world_of.is_object(value) then return nil end
  if self.service == "scalekit" then
    local function renamed(object)
      local out = {}
      for k, v in pairs(object) do out[snake(k)] = v end
      return out
    end
    value = renamed(value)
    if world_of.is_object(value.connected_account) then value.connected_account = renamed(value.connected_account) end
  elseif self.service == "openai" and type(value.model) == "string" then
    value.model = model_and_trouble(value.model)
  end
  return value
end

-- The model that the body names, without the trouble that its name asks for; and that trouble's text.
function Request:model()
  if self.named == nil then
    local value = json.decode(self.body)
    local name = world_of.is_object(value) and type(value.model) == "string" and value.model
    self.named, self.asked = false, nil
    if name then self.named, self.asked = model_and_trouble(name) end
  end
  return self.named, self.asked
end

function Request:base_url()
  return self.headers.host and "http://" .. self.headers.host or self.app.url or "http://127.0.0.1"
end

local function make_request(app, given)
  local raw_query = given.raw_query or ""
  local path = given.path:gsub("//+", "/")
  if #path > 1 then path = path:gsub("/$", "") end
  local query, list = {}, text.pairs_of(raw_query)
  for _, pair in ipairs(list) do query[pair[1]] = pair[2] end
  return setmetatable({ app = app, method = given.method, path = path, raw_query = raw_query, query = query,
    pairs = list,
    headers = given.headers or {}, body = given.body or "", params = {} }, Request)
end

-- handler(request) -> status, headers, body. opts.open: needs no key.
function App:route(service, where, method, path, handler, opts)
  if not self.services[service] then return end
  self.routes[#self.routes + 1] = method .. " " .. path
  self.router:add(method, path, { service = service, where = where, handler = handler, open = opts and opts.open })
end

-- rows: { { method, path below prefix, handler(store, request) } … }
function App:rows(place, prefix, store, rows)
  for _, row in ipairs(rows) do
    self:route("scalekit", place, row[1], prefix .. row[2], function(request) return row[3](store, request) end)
  end
end

-- Ends the streams that wait for something.
function App:close()
  if self.mcp then mcp_server.close(self.mcp) end
end

-- Data as at the start; keys, seed and settings stay.
function App:reset()
  self:close()
  local options = self.options
  local world = world_of.new { seed = options.seed, clock = options.clock, open = options.open }
  world.log = options.log or function() end
  self.world, self.router, self.troubles = world, router.new(), troubles_of.new()
  self.counts, self.kept, self.routes = {}, {}, {}
  local scenario = assert(scenario_of.merge(self.user_scenario))
  if options.accounts then scenario.accounts = options.accounts end
  if options.gateway ~= nil then scenario.gateway = options.gateway end
  local actions = {}
  self.mailbox = gmail.new(world, scenario, actions)
  self.slack = slack.new(world, scenario.slack, actions)
  self.github = github.new(world, scenario.github, actions)
  self.calendar = googlecalendar.new(world, scenario.address, scenario.googlecalendar, actions)
  self.notion = notion.new(world, scenario.notion, actions)
  for name, action in pairs(scenario.tools) do actions[name] = action end
  self.accounts = accounts.new(world, scenario)
  self.scalekit = scalekit.new(world, scenario, self.accounts, actions)
  self.providers = providers.new(world, self.scalekit.catalog)
  self.mcp = mcp.new(world, self.accounts, self.scalekit.catalog)
  self.webhooks = webhooks.new(world, scenario.webhook)
  self.webhooks.send = self.send_webhook
  self.webhooks.wire = self.wire
  self.accounts.emit = function(kind, account, more) webhooks.emit(self.webhooks, kind, account, more) end
  self.accounts.held_by_mcp = function(account) return mcp_instances.holds(self.mcp, account) end
  self.proxy = proxy.new { world = world, accounts = self.accounts, scalekit = self.scalekit,
    providers = self.providers, scenario = scenario, actions = actions }
  self.forms = scenario.forms
  self.openai = openai.new(world, scenario)
  self.langsmith = langsmith.new(world)
  accounts.install(self.accounts, self)
  link.install(self.accounts, self)
  connections.install(self.accounts, self)
  providers.install(self.providers, self)
  scalekit.install(self.scalekit, self)
  tool_admin.install(self.scalekit, self)
  logs.install(self.scalekit, self)
  webhooks.install(self.webhooks, self)
  mcp.install(self.mcp, self)
  mcp_instances.install(self.mcp, self)
  mcp_server.install(self.mcp, self)
  proxy.install(self.proxy, self)
  openai.install(self.openai, self)
  langsmith.install(self.langsmith, self)
  for _, part in ipairs { langsmith_read, langsmith_stats, langsmith_sessions, langsmith_feedback, langsmith_datasets,
    langsmith_v2 } do
    part.install(self.langsmith, self)
  end
  for _, list in ipairs { scenario.troubles, self.openai.troubles, options.troubles or {} } do
    for _, trouble in ipairs(list) do
      local ok, message = self.troubles:add(trouble)
      if not ok then error(message, 0) end
    end
  end
end

local function unknown_path(app, request, other_method)
  local path = request.path
  if path:find("^/api/v1/") or path:find("^/oauth") then
    local name = other_method and "UNIMPLEMENTED" or "NOT_FOUND"
    return reply.grpc(name, other_method and "Method Not Allowed" or "Not Found")
  elseif path:find("^/v1/") and not app.openai.gateway then
    return reply.openai(other_method and 405 or 404, "invalid_request_error", "unknown_url", nil,
      ("Unknown request URL: %s %s."):format(request.method, path))
  end
  return reply.json(other_method and 405 or 404, { detail = other_method and "Method Not Allowed" or "Not Found" })
end

local function keep(app, request, where)
  local line = request.method .. " " .. (where or "unknown")
  app.counts[line] = (app.counts[line] or 0) + 1
  local headers = wirelog.safe_headers(request.headers)
  local body = where == "token" and "" or text.cut(request.body, KEPT_BODY)
  app.kept[#app.kept + 1] = { method = request.method, path = request.path, query = request.raw_query, where = where,
    headers = headers, body = utf8.len(body) and body or ("%d bytes"):format(#request.body), at = app.world:stamp() }
  if #app.kept > KEPT_REQUESTS then table.remove(app.kept, 1) end
end

local REFUSE = { scalekit = scalekit.refuse, openai = openai.refuse, langsmith = langsmith.refuse }

local function run_handler(app, route, request)
  if not route.open then
    local refused = REFUSE[route.service](app[route.service], request, route)
    if refused then return table.unpack(refused) end
  end
  return route.handler(request)
end

-- With troubles: those that take the handler's place, those that bend its answer, those that come after it.
local function run_route(app, route, request)
  local trouble, complaint = app.troubles:meet(route, request)
  if complaint then
    request.trouble = { what = "unknown" } -- ours to refuse, not the service's
    return reply.json(400, { error = complaint })
  end
  request.trouble, request.has = trouble, troubles_of.kinds_of(trouble)
  request.forms, complaint = forms_of.of(app.forms, request.headers["x-agenthost-form"])
  if complaint then
    request.trouble = { what = "unknown" }
    return reply.json(400, { error = "x-agenthost-form: " .. complaint })
  end
  local function now() return app.world:now() end
  local status, headers, body
  if trouble and not trouble.after then status, headers, body = troubles_of.instead(trouble, route, now) end
  if not status then
    status, headers, body = run_handler(app, route, request)
    if trouble and trouble.after then
      local s, h, b = troubles_of.instead(trouble, route, now)
      if s then status, headers, body = s, h, b end
    end
  end
  if app.openai.gateway and route.service == "openai" then
    status, headers, body = gateway.dress(app.openai, request, status, headers, body)
  end
  if trouble then body = bend.apply(trouble, request.has, headers, body) end
  return status, headers, body
end

function App:handle(given)
  local request = make_request(self, given)
  if request.path:find("^/__emulator") then return admin.handle(self, request) end
  local route, params = self.router:find(request.method, request.path)
  keep(self, request, route and route.where)
  local status, headers, body
  if route then
    request.params, request.service = params, route.service
    status, headers, body = run_route(self, route, request)
  else
    status, headers, body = unknown_path(self, request, params)
  end
  self.world.log(("%s %s %d"):format(request.method, request.path, status))
  if self.wire then self.wire:exchange(request, route, status, headers, body, forms_of.chosen(request.forms)) end
  return status, headers, body
end

-- The settings a client needs to speak with this emulator at `url`.
function App:env(url)
  local env, keys = {}, self.world.keys
  if self.services.scalekit then
    env.SCALEKIT_ENVIRONMENT_URL, env.SCALEKIT_CLIENT_ID, env.SCALEKIT_CLIENT_SECRET = url, keys.client_id,
      keys.client_secret
  end
  if self.services.openai then env.OPENAI_BASE_URL, env.OPENAI_API_KEY = url .. "/v1", keys.openai end
  if self.services.langsmith then
    env.LANGSMITH_ENDPOINT, env.LANGSMITH_API_KEY = url, keys.langsmith
    env.LANGSMITH_TRACING, env.LANGSMITH_PROJECT = "true", "agenthost-emulated"
  end
  return env
end

-- options: services ("all" or a list), seed, clock, open, accounts, gateway, troubles, log, scenario (table, merged
-- already by the caller's hand or not). Raises a sentence on a bad scenario.
function M.new(options)
  local app = setmetatable({ options = options, services = {}, user_scenario = options.scenario or {} }, App)
  local list = options.services or "all"
  for _, name in ipairs(list == "all" and M.SERVICES or list) do
    local known = false
    for _, service in ipairs(M.SERVICES) do known = known or service == name end
    if not known then error(("no service is called %q; there are: %s"):format(tostring(name),
      table.concat(M.SERVICES, " ")), 0) end
    app.services[name] = true
  end
  local ok, message = scenario_of.merge(app.user_scenario)
  if not ok then error(message, 0) end
  app.wire = wirelog.new(os.getenv "AGENTHOST_WIRE_LOG")
  app:reset()
  if app.wire then app.wire:routes(app.routes) end
  return app
end

return M
