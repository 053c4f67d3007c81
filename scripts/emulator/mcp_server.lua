-- The MCP servers behind `mcp_server_url`, and behind the addresses of instances: streamable HTTP, with a handshake and
-- sessions as up to 2025-11-25, and without as since 2026-07-28. Called by app.lua over the store of mcp.lua. Tools are
-- those of the config's connections, run with the accounts of the user whom the token or the address names.
local json = require "host.json"
local asks = require "emulator.mcp_asks"
local catalog_of = require "emulator.catalog"
local reply = require "emulator.reply"
local scalekit = require "emulator.scalekit"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given, is_object = world_of.given, world_of.is_object
local M = {}

local MODERN = "2026-07-28"
local LEGACY = { "2025-11-25", "2025-06-18", "2025-03-26" } -- the newest first
local META = "io.modelcontextprotocol/"
local PAGE, KEPT = 50, 100
local INFO = { name = "agenthost-emulator", title = "agenthost emulator", version = "1" }

-- What a server may say before it answers: progress, a line of its log, an answer to nobody, a request of its own.
local CHATTER = ([[
event: message
data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":0,"progress":1,"total":2}}

event: message
data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"emulated"}}

event: message
data: {"jsonrpc":"2.0","id":"of-nobody","result":{}}

event: message
data: {"jsonrpc":"2.0","id":"ping-1","method":"ping"}

]])

-- answers ------------------------------------------------------------------------------------------------

local function failure(status, id, code, message, data)
  return reply.json(status, { jsonrpc = "2.0", id = id == nil and json.null or id,
    error = { code = code, message = message, data = data } })
end

local function message_event(id, body) return ("event: message\nid: %s\ndata: %s\n\n"):format(id, body) end

-- One message as JSON, or as a stream: an empty event whose id a client may come back with, then the message.
local function answer(self, request, message, headers)
  local _, kind, body = reply.json(200, message)
  for k, v in pairs(headers or {}) do kind[k] = v end
  local cut, others = request.has "resume", request.has "chatter"
  if request.forms.mcp_answer ~= "sse" and not cut and not others then return 200, kind, body end
  local first, second = self.world:uuid(), self.world:uuid()
  self.events[first] = { id = second, body = body }
  self.event_order[#self.event_order + 1] = first
  if #self.event_order > KEPT then self.events[table.remove(self.event_order, 1)] = nil end
  kind["content-type"] = "text/event-stream"
  local wait = ("retry: %d\n"):format((request.trouble and request.trouble.seconds or 0.05) * 1000)
  local chunks = { ("id: %s\n%sdata: \n\n"):format(first, cut and wait or "") }
  if others then chunks[1] = chunks[1] .. CHATTER end
  if not cut then chunks[#chunks + 1] = message_event(second, body) end
  return 200, kind, { chunks = chunks }
end

-- What an event's stream still owes, or nil.
local function resume(self, request)
  local event = self.events[request.headers["last-event-id"] or ""]
  if not event then return nil end
  return 200, { ["content-type"] = "text/event-stream" }, { chunks = { message_event(event.id, event.body) } }
end

-- who asks, and of what ----------------------------------------------------------------------------------

local function unauthorized(message)
  local status, headers, body = reply.json(401, { error = "invalid_token", error_description = message })
  headers["www-authenticate"] = ('Bearer error="invalid_token", error_description="%s"'):format(message)
  return { status, headers, body }
end

-- The server of an address: { mappings, identifier, name }; or nil and an answer. A config wants a session token; the
-- addresses of the older generations are one user's own, and want none.
local function server_of(self, request)
  local id = request.params.id
  for _, config in ipairs(self.configs) do
    if config.mcp_server_url:match("[^/]*$") == id then
      local token = (request.headers.authorization or ""):match("^[Bb]earer (.+)$")
      local session = token and self.sessions[token]
      if not session or session.config ~= config.id then return nil, unauthorized "the session token is not valid" end
      if session.expires < self.world:now() then return nil, unauthorized "the session token has expired" end
      return { mappings = config.connection_tool_mappings, identifier = session.identifier, name = config.name }
    end
  end
  for _, instance in ipairs(self.instances) do
    if instance.url:match("[^/]*$") == id then
      instance.last_used_at = self.world:stamp()
      return { mappings = instance.config.connection_tool_mappings, identifier = instance.user_identifier,
        name = instance.name }
    end
  end
  for _, one in ipairs(self.oldest) do
    if one.url:match("[^/]*$") == id then
      local mappings = {}
      for i, m in ipairs(one.tool_mappings) do
        mappings[i] = { connection_name = m.connection_name, tools = given(m.tool_names) or {} }
      end
      return { mappings = mappings, identifier = one.connected_account_identifier, name = one.id }
    end
  end
  return nil, { failure(404, nil, -32000, "no such MCP server") }
end

-- tools --------------------------------------------------------------------------------------------------

-- { { tool =, connection = } … } of a server, in the order of its mappings.
local function tools_of(self, server)
  local rows = {}
  for _, m in ipairs(server.mappings) do
    local connection, chosen = self.accounts.connections[m.connection_name], {}
    for _, name in ipairs(m.tools) do chosen[name] = true end
    local provider = connection and self.catalog.providers[connection.provider]
    for _, tool in ipairs(provider and provider.tools or {}) do
      if #m.tools == 0 or chosen[tool.definition.name] then
        rows[#rows + 1] = { tool = tool, connection = m.connection_name }
      end
    end
  end
  return rows
end

local function show_tool(tool)
  local d = tool.definition
  local hints = d.annotations or {}
  return { name = d.name, title = d.display_name, description = d.description,
    inputSchema = { type = "object", properties = d.input_schema.properties,
      required = json.array(d.input_schema.required or {}) },
    annotations = { title = hints.title, readOnlyHint = hints.read_only_hint, destructiveHint = hints.destructive_hint,
      idempotentHint = hints.idempotent_hint, openWorldHint = hints.open_world_hint } }
end

local function list_tools(self, call)
  local rows, tools = tools_of(self, call.server), json.array {}
  local cursor, start = given(call.params.cursor), 0
  if cursor then
    start = tonumber((text.unbase64(tostring(cursor)) or ""):match("^tools:(%d+)$") or "")
    if not start then return nil, -32602, "Invalid cursor" end
  end
  for i = start + 1, math.min(start + PAGE, #rows) do tools[#tools + 1] = show_tool(rows[i].tool) end
  local more = start + PAGE < #rows and text.base64("tools:" .. start + PAGE) or nil
  local modern = call.modern
  return { tools = tools, nextCursor = more, ttlMs = modern and 60000 or nil, cacheScope = modern and "private" or nil }
end

local function said(message, is_error, data)
  return { content = json.array { { type = "text", text = message } }, structuredContent = data, isError = is_error }
end

local function said_no(words) return said("The tool did not run. " .. words, true) end

local function call_tool(self, call)
  local name, args = given(call.params.name), given(call.params.arguments) or {}
  for _, row in ipairs(tools_of(self, call.server)) do
    if row.tool.definition.name == name then
      local bad = is_object(args) and catalog_of.check(row.tool, args) or { { "arguments", "value must be an object" } }
      if #bad > 0 then
        return said(("MCP error -32602: Invalid arguments for tool %s: %s: %s"):format(name, bad[1][1],
          bad[1][2]), true)
      end
      local account = self.accounts:find(row.connection, call.server.identifier, call.request)
      if not account or account.status ~= "ACTIVE" then
        return said(("connection %s has no active account for this user"):format(row.connection), true)
      end
      local data, entry, fault = scalekit.execute(self.scalekit, { tool = row.tool, account = account, params = args,
        source = "MCP", fault = call.request.has "tool_error" and call.request.trouble or nil })
      if data == nil then
        return said(("%s: %s (execution %s)"):format(fault.code, fault.message, entry.execution_id), true)
      end
      return said(assert(json.encode(data)), false, is_object(data) and data or nil)
    end
  end
  local message = ("Tool %s not found"):format(tostring(name))
  if call.request.forms.mcp_unknown_tool == "error" then return nil, -32602, message end
  return said("MCP error -32602: " .. message, true)
end

-- the two eras -------------------------------------------------------------------------------------------

local function supported(version)
  for _, v in ipairs(LEGACY) do
    if v == version then return true end
  end
  return false
end

local function message_of(call, result, code, message)
  if not result then return { jsonrpc = "2.0", id = call.id, error = { code = code, message = message } } end
  if call.modern then result.resultType = result.resultType or "complete" end
  return { jsonrpc = "2.0", id = call.id, result = result }
end

local function respond(self, call, result, code, message)
  if not result and code == -32601 and call.modern then return failure(404, call.id, code, message) end
  return answer(self, call.request, message_of(call, result, code, message), call.headers)
end

-- The tool's result, or the refusal, once the client has answered; with words about that answer.
local function finish_call(self, call, question, client_said)
  local agreed, words = asks.verdict(question, client_said)
  if not agreed then return said_no(words) end
  local result, code, message = call_tool(self, call)
  if result then result.content[#result.content + 1] = { type = "text", text = words } end
  return result, code, message
end

-- A call whose tool wants to know something first, on a stream of its own.
local function ask_first(self, call, question)
  if not asks.can(question, call.session.capabilities) then
    return respond(self, call, said(("the client does not offer %s"):format(question.capability), true))
  end
  local wait, own = asks.ask(self, call, question)
  local headers = { ["content-type"] = "text/event-stream", ["mcp-session-id"] = call.headers["mcp-session-id"] }
  local answered
  return 200, headers, { chunks = { ("id: %s\ndata: \n\n%s"):format(self.world:uuid(), own or "") }, more = function()
    if answered then return nil end
    answered = true
    local message = message_of(call, finish_call(self, call, question, wait()))
    return message_event(self.world:uuid(), assert(json.encode(message)))
  end }
end

-- The same without sessions: the call comes again, and brings the answer.
local function ask_again(self, call, question)
  local capabilities = call.params._meta[META .. "clientCapabilities"]
  if not asks.can(question, capabilities) then
    return failure(400, call.id, -32021, "Missing required client capability: " .. question.capability)
  end
  local input = asks.input_of(self, call)
  if input == false then return failure(400, call.id, -32602, "Invalid requestState") end
  if not input then return respond(self, call, asks.input_required(self, call, question)) end
  return respond(self, call, finish_call(self, call, question, input))
end

local METHODS = { ["tools/list"] = list_tools, ["tools/call"] = call_tool }

local function dispatch(self, call, own)
  local question = call.method == "tools/call" and asks.question(call.request)
  if question and not call.modern then return ask_first(self, call, question) end
  if question and question.capability then return ask_again(self, call, question) end -- no pings since 2026-07-28
  local act = METHODS[call.method] or own[call.method]
  if not act then return respond(self, call, nil, -32601, "Method not found") end
  return respond(self, call, act(self, call))
end

local OWN_MODERN = {
  ["server/discover"] = function(_, call)
    local all = json.array { MODERN, table.unpack(LEGACY) }
    return { supportedVersions = all, capabilities = { tools = {} }, serverInfo = INFO,
      instructions = ("The tools of %s (emulated)."):format(call.server.name) }
  end,
}

-- No handshake: each request says its version, twice, and its method, twice.
local function modern(self, call)
  local h, meta = call.request.headers, is_object(given(call.params._meta)) and call.params._meta or {}
  local version = given(meta[META .. "protocolVersion"])
  if version ~= MODERN then
    return failure(400, call.id, -32022, "Unsupported protocol version",
      { supported = json.array { MODERN, table.unpack(LEGACY) }, requested = version or json.null })
  end
  if h["mcp-protocol-version"] ~= version or h["mcp-method"] ~= call.method
    or (call.method == "tools/call" and h["mcp-name"] ~= given(call.params.name)) then
    return failure(400, call.id, -32020, "Header mismatch: MCP-Protocol-Version, Mcp-Method and Mcp-Name must repeat "
      .. "what the body says")
  end
  if not is_object(given(meta[META .. "clientCapabilities"])) then
    return failure(400, call.id, -32602, ("_meta %sclientCapabilities is required"):format(META))
  end
  return dispatch(self, call, OWN_MODERN)
end

local OWN_LEGACY = { ping = function() return {} end }

local function initialize(self, call)
  local wanted = given(call.params.protocolVersion)
  local id = self.world:uuid()
  self.mcp_sessions[id] = asks.new_session(given(call.params.capabilities))
  call.headers = { ["mcp-session-id"] = id }
  return respond(self, call, { protocolVersion = supported(wanted) and wanted or LEGACY[1],
    capabilities = { tools = { listChanged = false } }, serverInfo = INFO,
    instructions = ("The tools of %s (emulated)."):format(call.server.name) })
end

-- The refusal that a request without a known session earns, in either of the ways that servers have; or nil.
local function session_fault(self, request, id)
  local session = request.headers["mcp-session-id"]
  if session and self.mcp_sessions[session] and not request.has "no_session" then return nil end
  if session and request.forms.mcp_gone_session == "404" then
    return { failure(404, id, -32001, "Session not found") }
  end
  return { reply.json(400, { jsonrpc = "2.0",
    error = { code = -32000, message = "Bad Request: No valid session ID provided" } }) } -- with no id member
end

local function legacy(self, call)
  if call.method == "initialize" then return initialize(self, call) end
  local version = call.request.headers["mcp-protocol-version"]
  if version and not supported(version) then
    return failure(400, call.id, -32000, ("Bad Request: Unsupported protocol version (supported versions: %s)"):format(
      table.concat(LEGACY, ", ")))
  end
  local refused = session_fault(self, call.request, call.id)
  if refused then return table.unpack(refused) end
  local id = call.request.headers["mcp-session-id"]
  call.headers, call.session = { ["mcp-session-id"] = id }, self.mcp_sessions[id]
  if call.id == nil then return 202, call.headers, "" end -- a notification
  return dispatch(self, call, OWN_LEGACY)
end

local function post(self, request)
  local accept = (request.headers.accept or ""):lower()
  if not accept:find("application/json", 1, true) or not accept:find("text/event-stream", 1, true) then
    return failure(406, nil, -32000, "Not Acceptable: Client must accept both application/json and text/event-stream")
  end
  local server, refused = server_of(self, request)
  if not server then return table.unpack(refused) end
  local message, broken = json.decode(request.body)
  if broken then return failure(400, nil, -32700, "Parse error") end
  local answers = is_object(message) and message.method == nil and (message.result ~= nil or message.error ~= nil)
  if answers and message.jsonrpc == "2.0" then -- to a request of ours
    asks.take(self, self.mcp_sessions[request.headers["mcp-session-id"]], message)
    return 202, {}, ""
  end
  if not is_object(message) or message.jsonrpc ~= "2.0" or type(message.method) ~= "string" then
    return failure(400, nil, -32600, "Invalid Request: one JSON-RPC 2.0 message expected")
  end
  local params = is_object(given(message.params)) and message.params or {}
  local call = { request = request, server = server, method = message.method, params = params, id = message.id }
  local meta = is_object(given(params._meta)) and params._meta or {}
  local version = request.headers["mcp-protocol-version"] or given(meta[META .. "protocolVersion"])
  local is_modern = meta[META .. "protocolVersion"] ~= nil or (version and not supported(version)
    and call.method ~= "initialize")
  if is_modern and request.forms.mcp_era == "legacy" then
    return failure(400, nil, -32000, "Bad Request: Server not initialized")
  end
  call.modern = is_modern
  return (is_modern and modern or legacy)(self, call)
end

local function delete(self, request)
  local server, refused = server_of(self, request)
  if not server then return table.unpack(refused) end
  local fault = session_fault(self, request)
  if fault then return table.unpack(fault) end
  local id = request.headers["mcp-session-id"]
  asks.end_session(self.mcp_sessions[id])
  self.mcp_sessions[id] = nil
  return 200, {}, ""
end

local function not_offered()
  local status, headers, body = failure(405, nil, -32000, "Method Not Allowed")
  headers.allow = "POST, DELETE"
  return status, headers, body
end

-- What a stream still owes, or the standing stream of a session.
local function get(self, request)
  local server, refused = server_of(self, request)
  if not server then return table.unpack(refused) end
  if not (request.headers.accept or ""):lower():find("text/event-stream", 1, true) then
    return failure(406, nil, -32000, "Not Acceptable: Client must accept text/event-stream")
  end
  local status, headers, body = resume(self, request)
  if status then return status, headers, body end
  if request.forms.mcp_standing == "off" or request.headers["mcp-protocol-version"] == MODERN then
    return not_offered()
  end
  local fault = session_fault(self, request)
  if fault then return table.unpack(fault) end
  return asks.standing(self.mcp_sessions[request.headers["mcp-session-id"]])
end

M.close = asks.close

function M.install(self, app)
  self.scalekit, self.mcp_sessions, self.events, self.event_order = app.scalekit, {}, {}, {}
  asks.install(self)
  for method, handler in pairs { POST = post, DELETE = delete, GET = get } do
    app:route("scalekit", "mcp_server", method, "/mcp/v3/servers/{id}",
      function(request) return handler(self, request) end, { open = true })
  end
end

return M
