-- Every trouble and every form of the emulator, both ways: asked for by a header of one request, and switched on. Both
-- say the same, and not what is said without.
local t = require "testing"
local emulating = require "emulating"
local forms = require "emulator.forms"
local json = require "host.json"
local text = require "emulator.text"
local troubles = require "emulator.troubles"

local user, tool = emulating.user, emulating.tool

-- Requests, each a function(emulator, headers) that gives what came back: status, headers, body.
local function chat(more)
  return function(e, headers)
    local body = { model = "gpt-4o", stream = true, messages = { user 'call add with {"a":1,"b":2} and call mul with {"c":3}' },
      tools = { tool("add", "x", { a = { type = "integer" } }), tool("mul", "y", { c = { type = "integer" } }) } }
    for k, v in pairs(more or {}) do body[k] = v end
    headers.authorization = "Bearer " .. e.env.OPENAI_API_KEY
    return e.raw("POST", "/v1/chat/completions", body, headers)
  end
end

local function scalekit(method, path, body)
  return function(e, headers)
    headers.authorization = "Bearer " .. e.token()
    return e.raw(method, "/api/v1" .. path, body, headers)
  end
end

local EXECUTE = { tool_name = "gmail_get_profile", connector = "gmail", identifier = "u" }

local function mcp(method, params)
  return function(e, headers)
    headers.accept, headers.authorization = emulating.BOTH, "Bearer " .. e.session_token
    headers["mcp-session-id"] = e.session["mcp-session-id"]
    return e.raw("POST", e.path, { jsonrpc = "2.0", id = 1, method = method, params = params }, headers)
  end
end

local call_mail = mcp("tools/call", { name = "gmail_fetch_mails", arguments = { max_results = 1 } })

local function start() -- with a session of an MCP server
  local e = emulating.mcp()
  e.open("2025-11-25", { elicitation = {}, sampling = {}, roots = {} })
  return e
end

-- What came back, as a value that can be compared.
local function shown(status, headers, body)
  local out = { status = status, headers = headers, body = body }
  if type(body) == "table" then
    out.body = {}
    for k, v in pairs(body) do out.body[k] = type(v) == "function" or v end
  end
  return out
end

-- The switch, the header and nothing at all, each on an emulator of its own.
local function three_ways(ask, header, value, switch, switched)
  local e = start()
  e.sk("POST", "/connected_accounts", { connector = "gmail", identifier = "u", connected_account = {} })
  local plain = shown(ask(e, {}))
  e = start()
  e.sk("POST", "/connected_accounts", { connector = "gmail", identifier = "u", connected_account = {} })
  local by_header = shown(ask(e, { [header] = value }))
  e = start()
  e.sk("POST", "/connected_accounts", { connector = "gmail", identifier = "u", connected_account = {} })
  local status = e.call("POST", "/__emulator/" .. switch, switched)
  t.eq(status, 200)
  return plain, by_header, shown(ask(e, {}))
end

local function same(a, b) return (pcall(t.eq, a, b)) end

local function responses(e, headers)
  headers.authorization = "Bearer " .. e.env.OPENAI_API_KEY
  return e.raw("POST", "/v1/responses", { model = "gpt-4o", input = "hi", stream = true }, headers)
end

-- The request that shows a trouble, where it is not a stream of two calls.
local SHOWS = {
  done_mark = responses,
  no_usage = chat { stream_options = { include_usage = true } },
  usage_everywhere = chat { stream_options = { include_usage = true } },
  pending = scalekit("GET", "/connected_accounts/details?connector=gmail&identifier=nobody"),
  expired = scalekit("POST", "/execute_tool", EXECUTE), tool_error = scalekit("POST", "/execute_tool", EXECUTE),
  no_tools = scalekit("GET", "/tools/scoped?identifier=u&filter.connection_names=gmail"),
  resume = call_mail, no_session = call_mail, chatter = call_mail,
  ask_elicitation = call_mail, ask_sampling = call_mail, ask_roots = call_mail, ask_ping = call_mail,
}

for _, kind in ipairs(troubles.KINDS) do
  t.test("trouble " .. kind, function()
    local plain, by_header, by_switch = three_ways(SHOWS[kind] or chat(), "x-agenthost-trouble", kind, "trouble",
      { what = kind })
    t.eq(by_header, by_switch)
    t.ok(not same(plain, by_header), "nothing went wrong")
    if tonumber(kind) then t.eq(by_header.status, tonumber(kind)) end
  end)
end

t.test("a trouble's other fields", function()
  local last = text.http_date(emulating.CLOCK + 2)
  for field, want in pairs { retry_after = "7", retry_after_ms = "7", retry_after_date = last, should_retry = "true" } do
    local value = field == "retry_after_date" and 2 or field == "should_retry" and true or 7
    local _, by_header, by_switch = three_ways(chat(), "x-agenthost-trouble", ("429; %s=%s"):format(field, value), "trouble",
      { what = "429", [field] = value })
    local name = field == "should_retry" and "x-should-retry" or field == "retry_after_ms" and "retry-after-ms" or "retry-after"
    t.eq({ field, (by_header.headers[name]:gsub("09:00:0%d", "09:00:0?")) }, { field, (want:gsub("09:00:0%d", "09:00:0?")) })
    t.eq(by_switch.headers[name] ~= nil, true)
  end
  local plain, by_header, by_switch = three_ways(chat(), "x-agenthost-trouble", "split; size=9; also=crlf", "trouble",
    { what = "split", size = 9, also = "crlf" })
  t.eq(by_header, by_switch)
  t.ok(not same(plain, by_header))
end)

t.test("every status, of every service, has a body of that service", function()
  for _, kind in ipairs(troubles.KINDS) do
    for service, ask in pairs { openai = chat(), scalekit = scalekit("GET", "/tools"),
      langsmith = function(e, headers)
        headers["x-api-key"] = e.env.LANGSMITH_API_KEY
        return e.raw("GET", "/sessions", nil, headers)
      end } do
      if tonumber(kind) then
        local status, _, body = ask(emulating.start(), { ["x-agenthost-trouble"] = kind })
        t.eq({ service, kind, status }, { service, kind, tonumber(kind) })
        local value = json.decode(body) or {}
        local known = service == "openai" and value.error.message or service == "langsmith" and (value.error or value.detail)
          or service == "scalekit" and value.code
        t.ok(known or body:find "<html>", ("%s %s: %s"):format(service, kind, body))
      end
    end
  end
end)

-- The request that shows a form's other reading.
local CONFIGS = "/mcp/configs"
local LIST_CONFIGS = scalekit("GET", CONFIGS .. "?filter.name=bo")
local CREATE = scalekit("POST", "/connected_accounts", { connector = "gmail", identifier = "u", connected_account = {} })

local function langsmith(method, path, body, more)
  return function(e, headers)
    headers["x-api-key"] = e.env.LANGSMITH_API_KEY
    for k, v in pairs(more or {}) do headers[k] = v end
    return e.raw(method, path, body, headers)
  end
end

-- With an account of gmail that has not consented.
local function pending(ask)
  return function(e, headers)
    e.call("POST", "/__emulator/account", { connector = "gmail", identifier = "u", status = "PENDING_AUTH" })
    return ask(e, headers)
  end
end

local FORMS = {
  duplicate_account = CREATE, unknown_tool = scalekit("POST", "/execute_tool", { tool_name = "x", identifier = "u" }),
  inactive_account = pending(scalekit("POST", "/execute_tool", EXECUTE)),
  unknown_account_id = scalekit("GET", "/connected_accounts/auth?id=ca_9"),
  unknown_connection = scalekit("POST", "/connected_accounts", { connector = "x", identifier = "u", connected_account = {} }),
  account_selector = scalekit("POST", "/execute_tool", { tool_name = "gmail_get_profile", identifier = "u" }),
  execute_body = scalekit("POST", "/execute_tool", { tool_name = "gmail_fetch_mails", identifier = "u",
    params = { max_results = 1 }, tool_input = { max_results = 2 } }),
  status_names = pending(scalekit("GET", "/connected_accounts/details?connector=gmail&identifier=u")),
  list_tokens = scalekit("GET", "/connected_accounts?identifier=u"),
  scoped_filter = scalekit("GET", "/tools/scoped?identifier=u"),
  accounts_page_100 = scalekit("GET", "/connected_accounts?page_size=100"),
  provider_case = scalekit("GET", "/connected_accounts?identifier=u"),
  provider_filter = scalekit("GET", "/tools?filter.provider=gmail"),
  link_host = scalekit("POST", "/connected_accounts/magic_link", { connector = "gmail", identifier = "u" }),
  mcp_name_filter = LIST_CONFIGS, tool_schema = scalekit("GET", "/tools?page_size=1"),
  mcp_token_aud = function(e, headers)
    return scalekit("POST", CONFIGS .. "/" .. e.config.id .. "/tokens", { identifier = "u" })(e, headers)
  end,
  mcp_answer = mcp "ping", mcp_unknown_tool = mcp("tools/call", { name = "x" }),
  mcp_era = mcp("tools/list", { _meta = { ["io.modelcontextprotocol/protocolVersion"] = "2026-07-28",
    ["io.modelcontextprotocol/clientCapabilities"] = {} } }),
  mcp_gone_session = function(e, headers)
    e.session = { ["mcp-session-id"] = "gone" }
    return mcp "ping"(e, headers)
  end,
  mcp_standing = function(e, headers)
    headers.accept, headers.authorization = "text/event-stream", "Bearer " .. e.session_token
    headers["mcp-session-id"] = e.session["mcp-session-id"]
    return e.raw("GET", e.path, nil, headers)
  end,
  mcp_asks = function(e, headers)
    e.raw("GET", e.path, nil, { accept = "text/event-stream", authorization = "Bearer " .. e.session_token,
      ["mcp-session-id"] = e.session["mcp-session-id"] })
    headers["x-agenthost-trouble"] = "ask_roots"
    return call_mail(e, headers)
  end,
  query_flags = langsmith("GET", "/info"),
  compression = langsmith("POST", "/runs/batch", "x", { ["content-encoding"] = "gzip" }),
  proxy = function(e, headers)
    headers.authorization, headers.connection_name, headers.identifier = "Bearer " .. e.token(), "gmail", "u"
    return e.raw("GET", "/proxy/gmail/v1/users/me/profile", nil, headers)
  end,
}

-- Those that need an emulator of another kind: options, and the request.
local OTHERS = {
  available_unknown = { { accounts = "pending" }, scalekit("GET", "/tools/available?identifier=x") },
  verify_url_missing = { { scenario = { verification = "custom" } },
    scalekit("POST", "/connected_accounts/magic_link", { connector = "gmail", identifier = "u" }) },
  custom_provider_put = { {}, function(e, headers)
    local pattern = { type = "API_KEY", display_name = "Key", fields = json.array {} }
    local _, made = e.sk("POST", "/custom-providers", { display_name = "Own", description = "kept",
      auth_patterns = json.array { pattern }, proxy_url = "https://a.example" })
    return scalekit("PUT", "/custom-providers/" .. text.encode_url(made.provider.identifier), { display_name = "Own 2",
      auth_patterns = json.array { pattern } })(e, headers)
  end },
}

for name, two in pairs(forms.FORMS) do
  t.test("form " .. name, function()
    local plain, by_header, by_switch
    if OTHERS[name] then
      local options, ask = table.unpack(OTHERS[name])
      local function fresh() return emulating.start { accounts = options.accounts, scenario = options.scenario } end
      plain, by_header = shown(ask(fresh(), {})), shown(ask(fresh(), { ["x-agenthost-form"] = name .. "=" .. two[2] }))
      local e = fresh()
      e.call("POST", "/__emulator/forms", { [name] = two[2] })
      by_switch = shown(ask(e, {}))
    else
      plain, by_header, by_switch = three_ways(FORMS[name], "x-agenthost-form", name .. "=" .. two[2], "forms",
        { [name] = two[2] })
    end
    t.eq(by_header, by_switch)
    t.ok(not same(plain, by_header), "both readings say the same")
  end)
end

t.done()
