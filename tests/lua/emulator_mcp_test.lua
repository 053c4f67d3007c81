-- The emulated MCP servers: both eras, sessions, session tokens, tools that act, streams that are resumed, refusals.
local t = require "testing"
local json = require "host.json"
local emulating = require "emulating"

local BOTH = emulating.BOTH

local fresh = emulating.mcp

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
end)

-- A session's standing stream: its first bytes, and a function that waits for the next piece.
local function stand(e, more)
  local headers = { accept = "text/event-stream", authorization = "Bearer " .. e.session_token }
  for k, v in pairs(e.session) do headers[k] = v end
  for k, v in pairs(more or {}) do headers[k] = v or nil end
  local status, _, body = e.raw("GET", e.path, nil, headers)
  return status, type(body) == "table" and body.more or body
end

-- A tools/call that meets this trouble: its stream's first bytes, and a function that waits for the rest.
local function call_asking(e, kind, more)
  local headers = { accept = BOTH, authorization = "Bearer " .. e.session_token, ["x-agenthost-trouble"] = kind }
  for k, v in pairs(e.session) do headers[k] = v end
  for k, v in pairs(more or {}) do headers[k] = v end
  local _, _, body = e.raw("POST", e.path, { jsonrpc = "2.0", id = 9, method = "tools/call",
    params = { name = "gmail_fetch_mails", arguments = { max_results = 1 } } }, headers)
  return table.concat(body.chunks), function() return json.decode(body.more():match "data: (.-)\n\n") end, body.more
end

local function ran(e) return #e.app.scalekit.logs end

t.test("the server asks on the standing stream; the tool runs when the client agrees, and not before", function()
  local e = fresh()
  e.open("2025-11-25", { elicitation = {}, sampling = {}, roots = {} })
  local status, next_piece = stand(e)
  t.eq(status, 200)
  local _
  local function asked() return json.decode(next_piece():match "^event: message\ndata: (.-)\n\n$") end
  local function answer(question, result, session)
    t.eq((e.call("POST", e.path, { jsonrpc = "2.0", id = question.id, result = result },
      { accept = BOTH, authorization = "Bearer " .. e.session_token,
        ["mcp-session-id"] = session or e.session["mcp-session-id"] })), 202)
  end
  local first, rest, more = call_asking(e, "ask_elicitation")
  t.match(first, "^id: %S+\ndata: \n\n$")
  local question = asked()
  t.eq({ question.method, question.params.requestedSchema.type, ran(e) }, { "elicitation/create", "object", 0 })
  answer(question, { action = "accept", content = { agree = true } }, "not the session")
  answer({ id = "server-99" }, {})
  answer(question, { action = "accept", content = { agree = true } })
  local message = rest()
  t.eq({ message.id, message.result.isError, #message.result.content, ran(e) }, { 9, false, 2, 1 })
  t.match(message.result.content[2].text, 'elicitation/create with {"action":"accept"')
  t.eq(more(), nil)
  for _, no in ipairs { { action = "decline" }, { action = "accept", content = { agree = false } } } do
    _, rest = call_asking(e, "ask_elicitation")
    answer(asked(), no)
    message = rest()
    t.eq({ message.result.isError, ran(e) }, { true, 1 })
  end
  for kind, method in pairs { ask_sampling = "sampling/createMessage", ask_roots = "roots/list", ask_ping = "ping" } do
    _, rest = call_asking(e, kind)
    question = asked()
    t.eq(question.method, method)
    answer(question, { roots = json.array {} })
    t.match(rest().result.content[2].text, "^The client answered " .. method .. ' with {"roots":%[%]}')
  end
  _, rest = call_asking(e, "ask_elicitation; seconds=0.01")
  t.match(rest().result.content[1].text, "did not run. The client answered elicitation/create with nothing")
  local _, newer = stand(e)
  t.eq(next_piece(), nil) -- a newer stream took its place
  t.match(newer(), "elicitation/create") -- asked before, and still owed
  e.call("DELETE", e.path, nil, { authorization = "Bearer " .. e.session_token,
    ["mcp-session-id"] = e.session["mcp-session-id"] })
  t.eq(newer(), nil)
end)

t.test("without a standing stream the server asks on the answer's own; what a client cannot is not asked", function()
  local e = fresh()
  e.open("2025-11-25", { elicitation = {} })
  t.eq((stand(e, { ["x-agenthost-form"] = "mcp_standing=off" })), 405)
  t.eq((stand(e, { ["mcp-session-id"] = false })), 400)
  t.eq((stand(e, { accept = "application/json" })), 406)
  t.eq((stand(e, { ["mcp-protocol-version"] = "2026-07-28" })), 405)
  local function asked_here(more)
    local first, rest = call_asking(e, "ask_elicitation", more)
    local question = json.decode(first:match "event: message\ndata: (.-)\n\n")
    e.call("POST", e.path, { jsonrpc = "2.0", id = question.id, result = { action = "accept" } }, { accept = BOTH,
      authorization = "Bearer " .. e.session_token, ["mcp-session-id"] = e.session["mcp-session-id"] })
    t.eq(rest().result.isError, false)
  end
  asked_here()
  stand(e)
  asked_here { ["x-agenthost-form"] = "mcp_asks=answer" }
  local _, answer = e.say("tools/call", { name = "gmail_fetch_mails" },
    { ["x-agenthost-trouble"] = "ask_roots", ["mcp-session-id"] = e.session["mcp-session-id"] })
  t.eq({ answer.result.isError, answer.result.content[1].text }, { true, "the client does not offer roots" })
end)

t.test("without a handshake the call comes again and brings the answer", function()
  local e = fresh()
  local function call(more, capabilities)
    local params = { name = "gmail_fetch_mails", _meta = { ["io.modelcontextprotocol/protocolVersion"] = "2026-07-28",
      ["io.modelcontextprotocol/clientCapabilities"] = capabilities or { elicitation = {} } } }
    for k, v in pairs(more or {}) do params[k] = v end
    return e.say("tools/call", params, { ["mcp-protocol-version"] = "2026-07-28", ["mcp-method"] = "tools/call",
      ["mcp-name"] = "gmail_fetch_mails", ["x-agenthost-trouble"] = "ask_elicitation" })
  end
  local _, answer = call()
  local wanted = answer.result
  t.eq({ wanted.resultType, wanted.inputRequests.q1.method, ran(e) }, { "input_required", "elicitation/create", 0 })
  local yes = { q1 = { action = "accept", content = { agree = true } } }
  local status
  status, answer = call { inputResponses = yes, requestState = "made up" }
  t.eq({ status, answer.error.code }, { 400, -32602 })
  _, answer = call { inputResponses = yes, requestState = wanted.requestState }
  t.eq({ answer.result.resultType, answer.result.isError, #answer.result.content }, { "complete", false, 2 })
  status, answer = call({}, { sampling = {} })
  t.eq({ status, answer.error.code }, { 400, -32021 })
end)

t.test("host.mcp against a server that asks, on a socket: both eras, forms filled in or declined", function()
  local emulator = require "emulator"
  local mcp = require "host.mcp"
  local far = assert(emulator.start { troubles = { { where = "mcp_server", what = "ask_elicitation", match = "tools/call" } } })
  local token = (function()
    local e = { app = far.app }
    local function post(path, body)
      local _, _, out = e.app:handle { method = "POST", path = path, headers = e.headers or {},
        body = type(body) == "table" and json.encode(body) or body }
      return json.decode(out)
    end
    e.headers = { authorization = "Bearer " .. post("/oauth/token", ("grant_type=client_credentials&client_id=%s&client_secret=%s")
      :format(far.env.SCALEKIT_CLIENT_ID, far.env.SCALEKIT_CLIENT_SECRET)).access_token }
    e.config = post("/api/v1/mcp/configs", { name = "bot", connection_tool_mappings = { { connection_name = "gmail" } } }).config
    post("/api/v1/mcp/configs/" .. e.config.id .. "/connected_accounts", { identifier = "u", include_auth_link = true })
    return { url = far.url .. e.config.mcp_server_url:match "//[^/]*(/.*)$",
      token = post("/api/v1/mcp/configs/" .. e.config.id .. "/tokens", { identifier = "u" }).token }
  end)()
  for _, era in ipairs { "legacy", "modern" } do
    for _, on in ipairs { "standing", "answer" } do
      far.app.forms.mcp_asks = on
      for _, forms in ipairs { true, false } do
        local client = mcp.client { url = token.url, token = token.token, era = era, forms = forms }
        local result, err = client:call_tool { name = "gmail_fetch_mails", arguments = { max_results = 1 } }
        if forms then
          t.eq({ era, on, result and result.isError, #(result or { content = {} }).content }, { era, on, false, 2 })
        elseif era == "legacy" then
          t.match(result.content[1].text, "the client does not offer elicitation")
        else
          t.eq(t.err("protocol", result, err).code, "-32021")
        end
        client:close()
      end
    end
  end
  far.close()
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
