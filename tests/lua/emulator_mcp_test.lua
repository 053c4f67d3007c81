-- The emulated MCP servers: both eras, sessions, session tokens, tools that act, streams that are resumed, refusals.
local t = require "testing"
local json = require "host.json"
local emulating = require "emulating"

local BOTH = "application/json, text/event-stream"

-- An emulator with a server for gmail (two tools) and all of slack; `say` speaks to it.
local function fresh(options)
  local e = emulating.start(options)
  local _, body = e.sk("POST", "/mcp/configs", { name = "bot", connection_tool_mappings = {
    { connection_name = "gmail", tools = { "gmail_fetch_mails", "gmail_create_draft" } }, { connection_name = "slack" } } })
  e.config = body.config
  e.sk("POST", "/mcp/configs/" .. e.config.id .. "/connected_accounts", { identifier = "u", include_auth_link = true })
  _, body = e.sk("POST", "/mcp/configs/" .. e.config.id .. "/tokens", { identifier = "u" })
  e.session_token = body.token
  e.path = e.config.mcp_server_url:match "//[^/]*(/.*)$"
  local number = 0
  function e.say(method, params, more, path)
    number = number + 1
    local headers = { accept = BOTH, ["content-type"] = "application/json", authorization = "Bearer " .. (e.session_token or "") }
    for k, v in pairs(more or {}) do headers[k] = v or nil end
    local message = { jsonrpc = "2.0", id = number, method = method, params = params }
    if method:find "^notifications/" then message.id = nil end
    return e.call("POST", path or e.path, message, headers)
  end
  function e.open(version)
    local status, answer, headers = e.say("initialize", { protocolVersion = version or "2025-11-25",
      capabilities = {}, clientInfo = { name = "t", version = "1" } })
    e.session = { ["mcp-session-id"] = headers["mcp-session-id"], ["mcp-protocol-version"] = answer.result.protocolVersion }
    return status, answer
  end
  return e
end

t.test("the handshake, all tools by pages, a tool that acts and is logged", function()
  local e = fresh()
  local _
  local status, answer = e.open "2025-06-18"
  t.eq({ status, answer.result.protocolVersion, answer.result.serverInfo.name }, { 200, "2025-06-18", "agenthost-emulator" })
  t.eq(select(2, e.open "1999-01-01").result.protocolVersion, "2025-11-25")
  t.eq((e.say("notifications/initialized", nil, e.session)), 202)
  t.eq(select(2, e.say("ping", nil, e.session)).result, {})
  local names, cursor = {}, nil
  repeat
    _, answer = e.say("tools/list", { cursor = cursor }, e.session)
    for _, tool in ipairs(answer.result.tools) do
      names[#names + 1] = tool.name
      t.eq(tool.inputSchema.type, "object")
    end
    cursor = answer.result.nextCursor
  until not cursor
  t.eq({ #names, names[1], names[2] }, { 84, "gmail_create_draft", "gmail_fetch_mails" })
  _, answer = e.say("tools/call", { name = "gmail_fetch_mails", arguments = { max_results = 2 } }, e.session)
  t.eq({ answer.result.isError, #answer.result.structuredContent.messages }, { false, 2 })
  t.eq(json.decode(answer.result.content[1].text), answer.result.structuredContent)
  local _, logs = e.sk("GET", "/agentkit/tool_call_logs")
  t.eq({ logs.tool_call_logs[1].source, logs.tool_call_logs[1].identifier }, { "MCP", "u" })
  t.eq((e.call("DELETE", e.path, nil, { authorization = "Bearer " .. e.session_token,
    ["mcp-session-id"] = e.session["mcp-session-id"] })), 200)
  t.eq((e.say("tools/list", nil, e.session)), 404)
end)

t.test("without a handshake: headers repeat the body, results are complete", function()
  local e = fresh()
  local function meta(more)
    local params = { _meta = { ["io.modelcontextprotocol/protocolVersion"] = "2026-07-28",
      ["io.modelcontextprotocol/clientCapabilities"] = {} } }
    for k, v in pairs(more or {}) do params[k] = v end
    return params
  end
  local function heads(method, name)
    return { ["mcp-protocol-version"] = "2026-07-28", ["mcp-method"] = method, ["mcp-name"] = name }
  end
  local _, answer = e.say("server/discover", meta(), heads "server/discover")
  t.eq(answer.result.supportedVersions[1], "2026-07-28")
  _, answer = e.say("tools/list", meta(), heads "tools/list")
  t.eq({ answer.result.resultType, answer.result.cacheScope, #answer.result.tools }, { "complete", "private", 50 })
  _, answer = e.say("tools/call", meta { name = "gmail_fetch_mails" }, heads("tools/call", "gmail_fetch_mails"))
  t.eq(answer.result.isError, false)
  local function code(...)
    local status, body = e.say(...)
    return { status, body.error.code }
  end
  t.eq(code("tools/call", meta { name = "gmail_fetch_mails" }, heads("tools/call", "other")), { 400, -32020 })
  t.eq(code("tools/list", meta(), { ["mcp-method"] = "tools/list" }), { 400, -32020 })
  t.eq(code("tools/list", { _meta = { ["io.modelcontextprotocol/protocolVersion"] = "2030-01-01" } }, heads "tools/list"),
    { 400, -32022 })
  t.eq(code("prompts/list", meta(), heads "prompts/list"), { 404, -32601 })
  t.eq(code("tools/list", meta(), { ["x-agenthost-form"] = "mcp_era=legacy" }), { 400, -32000 })
end)

t.test("tokens and addresses: wrong, expired, of a removed config; instances and the oldest need none", function()
  local now = emulating.CLOCK
  local e = fresh { clock = function() return now end }
  local function refused(token)
    local status, body, headers = e.say("initialize", {}, { authorization = token })
    t.match(headers["www-authenticate"] or "", "^Bearer")
    return { status, body.error }
  end
  t.eq(refused "Bearer nonsense", { 401, "invalid_token" })
  t.eq(refused(false), { 401, "invalid_token" })
  now = now + 4000
  t.eq(refused("Bearer " .. e.session_token), { 401, "invalid_token" })
  local _, body = e.sk("POST", "/mcp/instances", { config_name = "bot", user_identifier = "u" })
  local path = body.instance.url:match "//[^/]*(/.*)$"
  local status, answer = e.say("initialize", {}, { authorization = false }, path)
  t.eq({ status, answer.result.serverInfo.version }, { 200, "1" })
  _, body = e.sk("POST", "/mcp", { connected_account_identifier = "u",
    tool_mappings = { { connection_name = "gmail", tool_names = { "gmail_fetch_mails" } } } })
  t.eq((e.say("initialize", {}, { authorization = false }, body.mcp.url:match "//[^/]*(/.*)$")), 200)
  e.sk("DELETE", "/mcp/configs/" .. e.config.id)
  t.eq((e.say("initialize", {})), 404)
end)

t.test("streams, and what is still owed of one that stopped", function()
  local e = fresh()
  e.open()
  local function raw(more)
    local headers = { accept = BOTH, authorization = "Bearer " .. e.session_token }
    for k, v in pairs(e.session) do headers[k] = v end
    for k, v in pairs(more) do headers[k] = v end
    local _, answered, body = e.raw("POST", e.path, { jsonrpc = "2.0", id = "a", method = "ping" }, headers)
    return table.concat(body.chunks), answered["content-type"]
  end
  local all, kind = raw { ["x-agenthost-form"] = "mcp_answer=sse" }
  t.eq(kind, "text/event-stream")
  t.match(all, "^id: %S+\ndata: \n\nevent: message\nid: %S+\ndata: {.*}\n\n$")
  t.match(raw { ["x-agenthost-trouble"] = "chatter" }, 'notifications/progress.*"id":"of%-nobody".*"method":"ping".*"id":"a"')
  local owed = raw { ["x-agenthost-trouble"] = "resume; seconds=0.5" }
  t.match(owed, "^id: %S+\nretry: 500\ndata: \n\n$")
  local status, _, _, rest = e.call("GET", e.path, nil, { accept = "text/event-stream", authorization = "Bearer "
    .. e.session_token, ["last-event-id"] = owed:match "id: (%S+)" })
  t.eq(status, 200)
  t.match(rest, '"id":"a"')
  t.eq((e.call("GET", e.path, nil, { accept = "text/event-stream", authorization = "Bearer " .. e.session_token })), 405)
end)

t.test("what is refused, and in which form", function()
  local e = fresh()
  e.open()
  local function at(method, params, more)
    local headers = {}
    for k, v in pairs(e.session) do headers[k] = v end
    for k, v in pairs(more or {}) do headers[k] = v end
    return e.say(method, params, headers)
  end
  t.eq((e.say("initialize", {}, { accept = "application/json" })), 406)
  t.eq((e.call("POST", e.path, "{", { accept = BOTH, authorization = "Bearer " .. e.session_token })), 400)
  t.eq((e.call("POST", e.path, "[]", { accept = BOTH, authorization = "Bearer " .. e.session_token })), 400)
  local _
  local status, body = e.say "tools/list"
  t.eq({ status, body.error.code, body.id }, { 400, -32000 })
  t.eq({ (at("tools/list", nil, { ["x-agenthost-trouble"] = "no_session" })),
    (at("tools/list", nil, { ["x-agenthost-trouble"] = "no_session", ["x-agenthost-form"] = "mcp_gone_session=400" })) },
    { 404, 400 })
  t.eq((at("tools/list", nil, { ["mcp-protocol-version"] = "2001-01-01" })), 400)
  _, body = at("tools/call", { name = "nope" })
  t.eq({ body.result.isError, body.result.content[1].text }, { true, "MCP error -32602: Tool nope not found" })
  _, body = at("tools/call", { name = "nope" }, { ["x-agenthost-form"] = "mcp_unknown_tool=error" })
  t.eq(body.error.code, -32602)
  _, body = at("tools/call", { name = "gmail_fetch_mails", arguments = { max_results = "x" } })
  t.match(body.result.content[1].text, "max_results: value must be of type integer")
  _, body = at("tools/call", { name = "gmail_fetch_mails" }, { ["x-agenthost-trouble"] = "tool_error; status=429" })
  t.match(body.result.content[1].text, "^RATE_LIMITED")
  t.eq(select(2, at("tools/list", { cursor = "zzz" })).error.code, -32602)
  t.eq(select(2, at "prompts/list").error.code, -32601)
  status, body = at("ping", nil, { ["x-agenthost-trouble"] = "401" })
  t.eq({ status, body.error }, { 401, "invalid_token" })
end)

t.done()
