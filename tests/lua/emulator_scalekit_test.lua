-- The emulated AgentKit beyond the recipe: connections, providers, MCP configs, the proxy, logs, and both forms
-- of what its sources disagree on.
local t = require "testing"
local emulating = require "emulating"
local json = require "host.json"
local text = require "emulator.text"

local start, info_of = emulating.start, emulating.info_of

local function code_of(status, body) return { status, body.details and info_of(body).error_code } end

local function account(e, connector, details)
  local _, body = e.sk("POST", "/connected_accounts", { connector = connector, identifier = "u",
    connected_account = { authorization_details = details } })
  return body.connected_account
end

t.test("accounts: each kind of authorization is kept, and shown only by /auth", function()
  local e = start { accounts = "pending" }
  local function auth(connector)
    local _, body = e.sk("GET", "/connected_accounts/auth?identifier=u&connector=" .. connector)
    return body.connected_account
  end
  t.eq(account(e, "gmail", { oauth_token = { access_token = "at", refresh_token = "rt", scopes = { "s" } } }).status,
    "ACTIVE")
  t.eq(auth("gmail").authorization_details.oauth_token.access_token, "at")
  t.eq(account(e, "slack", { static_auth = { details = { api_key = "k" } } }).token_expires_at, nil)
  t.eq(auth("slack").authorization_details.static_auth.details.api_key, "k")
  t.eq((e.sk("POST", "/connected_accounts", { connector = "github", identifier = "u", connected_account = {
    authorization_details = { static_auth = { token = "flat" } } } })), 400)
  local dwd = account(e, "googlecalendar", { google_dwd = { subject = "sam@northwind.example" } })
  t.ok(dwd.authorization_details.google_dwd.access_token)
  t.ok(account(e, "notion", { trusted_idp = { db_user = "r" } }).authorization_details.trusted_idp.secret_access_key)
  local _, body = e.sk("GET", "/connected_accounts/details?connector=notion&identifier=u")
  t.eq(body.connected_account.authorization_details, nil)
  t.eq((e.sk("POST", "/connected_accounts", { connector = "gmail", identifier = "v", connected_account = {
    authorization_details = { oauth_token = {}, google_dwd = {} } } })), 400)
end)

t.test("accounts: update merges, disconnect keeps, delete removes, search finds", function()
  local _
  local e = start { accounts = "pending" }
  local a = account(e, "gmail")
  local status, body = e.sk("PUT", "/connected_accounts", { id = a.id, connected_account = { apiConfig = { x = 1 } } })
  t.eq({ status, body.connected_account.api_config.x, body.connected_account.status }, { 200, 1, "PENDING_AUTH" })
  _, body = e.sk("PUT", "/connected_accounts", { id = a.id, connected_account = { api_config = { y = 2 },
    authorization_details = { oauth_token = { access_token = "t" } } } })
  t.eq({ body.connected_account.api_config, body.connected_account.status }, { { x = 1, y = 2 }, "ACTIVE" })
  _, body = e.sk("GET", "/connected_accounts/" .. a.id)
  t.eq({ body.connected_account.id, body.connected_account.authorization_details }, { a.id })
  t.eq((e.sk("GET", "/connected_accounts/this?id=" .. a.id)), 200)
  _, body = e.sk("GET", "/connected_accounts:search?query=GMAI")
  t.eq(body.total_size, 1)
  t.eq((e.sk("GET", "/connected_accounts:search?query=gm")), 400)
  _, body = e.sk("POST", "/connected_accounts/-:disconnect", { id = a.id })
  t.eq(body.connected_account.status, "DISCONNECTED")
  t.eq((e.sk("POST", "/connected_accounts/" .. a.id .. ":disconnect", {})), 200)
  t.eq((e.sk("POST", "/connected_accounts/ca_0:disconnect", {})), 404)
  t.eq((e.sk("POST", "/connected_accounts:delete", { id = a.id })), 200)
  t.eq((e.sk("POST", "/connected_accounts:delete", { id = a.id })), 404)
end)

t.test("accounts: a token that ran out is renewed when it is asked for", function()
  local now = emulating.CLOCK
  local e = start { clock = function() return now end }
  local function token()
    local _, body = e.sk("GET", "/connected_accounts/auth?connector=gmail&identifier=u")
    return body.connected_account.authorization_details.oauth_token.access_token
  end
  local first = token()
  t.eq(token(), first)
  now = now + 3601
  t.ok(token() ~= first)
end)

t.test("users are verified: no URL is refused, or seen in the browser; consent leaves PENDING_VERIFICATION", function()
  local e = start { accounts = "pending", scenario = { verification = "custom" } }
  local pair = { connector = "gmail", identifier = "u" }
  t.eq(code_of(e.sk("POST", "/connected_accounts/magic_link", pair)), { 400, "INVALID_ARGUMENT" })
  local _, body = e.sk("POST", "/connected_accounts/magic_link", pair,
    { ["x-agenthost-form"] = "verify_url_missing=browser" })
  local status, _, _, page = e.call("POST", body.link:match "/magicLink/.*", "decision=approve")
  t.eq(status, 400)
  t.match(page, "user_verify_url not configured")
  _, body = e.sk("GET", "/connected_accounts/details?connector=gmail&identifier=u")
  t.eq(body.connected_account.status, "PENDING_VERIFICATION")
end)

t.test("connections: listed, made, switched off, removed; keys are asked for on a form", function()
  local e = start { accounts = "pending" }
  local _, body = e.sk("GET", "/connections/app?provider=GMAIL")
  t.eq({ body.total_size, body.connections[1].key_id }, { 1, "gmail" })
  t.eq((e.sk("GET", "/connections/app?page_size=31")), 400)
  local status
  status, body = e.sk("POST", "/connections?flags.is_app=true", { provider_key = "HUBSPOT", type = "API_KEY",
    key_id = "hubspot" })
  t.eq({ status, body.connection.type }, { 201, "API_KEY" })
  local id = body.connection.id
  _, body = e.sk("POST", "/connected_accounts/magic_link", { connector = "hubspot", identifier = "u" })
  local path = body.link:match "/magicLink/.*"
  local _, _, _, page = e.call("GET", path)
  t.match(page, "api_key")
  e.call("POST", path, "decision=approve&api_key=k1")
  _, body = e.sk("GET", "/connected_accounts/auth?connector=hubspot&identifier=u")
  t.eq(body.connected_account.authorization_details.static_auth.details.api_key, "k1")
  t.eq((e.sk("PATCH", "/connections/" .. id .. ":disable")), 200)
  t.eq((e.sk("POST", "/connected_accounts", { connector = "hubspot", identifier = "v", connected_account = {} })), 403)
  t.eq((e.sk("DELETE", "/connections/" .. id)), 200)
  t.eq((e.sk("GET", "/connections/" .. id)), 404)
  t.eq((e.sk("POST", "/connections", { provider_key = "X", type = "NOPE" })), 400)
end)

t.test("providers: custom ones in full", function()
  local _
  local e = start()
  local whole = { display_name = "My CRM", auth_patterns = { { type = "BEARER", display_name = "Token" } },
    proxy_url = "https://crm.example", proxy_enabled = true }
  local status, body = e.sk("POST", "/custom-providers", whole)
  t.eq({ status, body.provider.is_custom }, { 201, true })
  t.match(body.provider.identifier, "^MYCRM:%d+$")
  local id = body.provider.identifier
  _, body = e.sk("GET", "/providers?filter.provider_type=CUSTOM")
  t.eq(body.total_size, 1)
  local path = "/custom-providers/" .. text.encode_url(id)
  _, body = e.sk("PUT", path, { display_name = "Our CRM" })
  t.eq({ body.provider.display_name, body.provider.proxy_url }, { "Our CRM", "https://crm.example" })
  t.eq((e.sk("PUT", path, { display_name = "Our CRM" }, { ["x-agenthost-form"] = "custom_provider_put=full" })), 400)
  for _, bad in ipairs { { display_name = "a/b" }, { auth_patterns = { { type = "MAGIC" } } },
    { auth_patterns = { { type = "NO_AUTH" } } }, { proxy_url = "http://x" }, { metadata = { a = "b" } } } do
    local one = { display_name = "x", auth_patterns = { { type = "BASIC" } } }
    for k, v in pairs(bad) do one[k] = v end
    t.eq((e.sk("POST", "/custom-providers", one)), 400)
  end
  t.eq((e.sk("DELETE", path)), 200)
  t.eq((e.sk("DELETE", path)), 404)
end)

t.test("tools: preview calls make, change, remove, set defaults", function()
  local _
  local e = start()
  local status, body = e.sk("POST", "/tools", { definition = { name = "crm_list", description = "x",
    input_schema = { type = "object", properties = { q = { type = "string" } } } } })
  t.eq({ status, body.tool.provider }, { 200, "CUSTOM" })
  local id = body.tool.id
  t.eq((e.sk("POST", "/tools", { definition = { name = "crm_list" } })), 409)
  _, body = e.sk("PUT", "/tools", { definition = { name = "crm_list", description = "y" } })
  t.eq({ body.tool.id, body.tool.definition.description }, { id, "y" })
  _, body = e.sk("GET", "/tools?filter.tool_name=crm_list&filter.summary=true")
  t.eq({ body.tool_names, #body.tools }, { { "crm_list" }, 0 })
  _, body = e.sk("POST", "/tools:set_default", { name = "crm_list", schema_version = "1", tool_version = "2" })
  t.eq(body.tool.metadata.tool_version, "2")
  t.eq((e.sk("POST", "/tools:set_default", { name = "crm_list" })), 400)
  t.eq((e.sk("DELETE", "/tools/" .. id)), 200)
  t.eq((e.sk("DELETE", "/tools/" .. id)), 404)
  t.eq((e.sk("DELETE", "/tools/x")), 400)
  _, body = e.sk("GET", "/tools?filter.provider=gmail")
  t.eq(body.total_size, 0)
  _, body = e.sk("GET", "/tools?filter.provider=gmail", nil, { ["x-agenthost-form"] = "provider_filter=loose" })
  t.eq(body.total_size, 56)
  t.eq((e.sk("GET", "/tools?filter.connected_account_id=ca_1")), 404)
end)

t.test("forms: where sources disagree, a header or the scenario chooses", function()
  local e = start { accounts = "pending" }
  account(e, "gmail")
  local function create(form)
    return code_of(e.sk("POST", "/connected_accounts", { connector = "gmail", identifier = "u",
      connected_account = {} },
      form and { ["x-agenthost-form"] = form }))
  end
  t.eq(create(), { 409, "RESOURCE_ALREADY_EXISTS" })
  t.eq(create "duplicate_account=400", { 400, "RESOURCE_ALREADY_EXISTS" })
  local function status(method, path, body, form)
    return (e.sk(method, path, body, { ["x-agenthost-form"] = form }))
  end
  local run = { tool_name = "gmail_get_profile", connector = "gmail", identifier = "u" }
  t.eq({ status("POST", "/execute_tool", run), status("POST", "/execute_tool", run, "inactive_account=404") },
    { 400, 404 })
  run = { tool_name = "gmail_nope", connector = "gmail", identifier = "u" }
  t.eq({ status("POST", "/execute_tool", run), status("POST", "/execute_tool", run, "unknown_tool=404") }, { 400, 404 })
  t.eq({ status("GET", "/tools/available?identifier=x"),
    status("GET", "/tools/available?identifier=x", nil, "available_unknown=empty") }, { 404, 200 })
  t.eq({ status("GET", "/tools/scoped?identifier=u"),
    status("GET", "/tools/scoped?identifier=u", nil, "scoped_filter=optional") }, { 400, 200 })
  t.eq({ status("GET", "/connected_accounts?page_size=100"),
    status("GET", "/connected_accounts?page_size=100", nil, "accounts_page_100=taken") }, { 400, 200 })
  t.eq({ status("GET", "/connected_accounts/auth?id=ca_9"),
    status("GET", "/connected_accounts/auth?id=ca_9", nil, "unknown_account_id=500") }, { 404, 500 })
  local _, body = e.sk("GET", "/connected_accounts", nil, { ["x-agenthost-form"] = "provider_case=lower" })
  t.eq(body.connected_accounts[1].provider, "gmail")
  _, body = e.sk("GET", "/tools?filter.tool_name=gmail_get_profile", nil,
    { ["x-agenthost-form"] = "tool_schema=input" })
  t.eq({ body.tools[1].definition.input.type, body.tools[1].definition.input_schema }, { "object" })
  t.eq({ status("POST", "/connected_accounts/magic_link", { connector = "crm", identifier = "u" }),
    status("POST", "/connected_accounts/magic_link", { connector = "crm", identifier = "u" }, "unknown_connection=400"),
    status("GET", "/tools?filter.connector=crm"), status("GET", "/tools?filter.connector=crm", nil,
      "unknown_connection=400") }, { 404, 400, 404, 400 })
  _, body = e.sk("GET", "/connected_accounts", nil, { ["x-agenthost-form"] = "status_names=pages" })
  t.eq({ body.connected_accounts[1].status, body.connected_accounts[1].authorization_details }, { "PENDING" })
  e.call("POST", "/__emulator/account", { connector = "gmail", identifier = "u", status = "ACTIVE" })
  _, body = e.sk("GET", "/connected_accounts", nil, { ["x-agenthost-form"] = "list_tokens=yes; status_names=pages" })
  t.eq({ body.connected_accounts[1].status, type(body.connected_accounts[1].authorization_details.oauth_token) },
    { "ACTIVE", "table" })
  run = { tool_name = "gmail_fetch_mails", identifier = "u", tool_input = { max_results = 1 } }
  t.eq({ status("POST", "/execute_tool", run), status("POST", "/execute_tool", run, "account_selector=strict") },
    { 200, 400 })
  _, body = e.sk("POST", "/execute_tool", run, { ["x-agenthost-form"] = "execute_body=tool_input" })
  t.eq(#body.data.messages, 1)
  status, body = e.sk("GET", "/tools", nil, { ["x-agenthost-form"] = "taste=sweet" })
  t.eq(status, 400)
  t.match(body.error, "no form is called")
  t.eq((e.call("POST", "/__emulator/forms", { duplicate_account = "400" })), 200)
  t.eq(create(), { 400, "RESOURCE_ALREADY_EXISTS" })
  t.raises("form unknown_tool is 400 or 404", start, { scenario = { forms = { unknown_tool = 5 } } })
end)

t.test("mcp: configs, who is connected, session tokens", function()
  local _
  local e = start { accounts = "pending" }
  local status, body = e.sk("POST", "/mcp/configs", { name = "mail-bot", description = "Mail",
    connection_tool_mappings = { { connection_name = "gmail", tools = { "gmail_fetch_mails" } } } })
  t.eq({ status, body.config.connection_tool_mappings[1].provider }, { 201, "GMAIL" })
  t.match(body.config.mcp_server_url, "/mcp/v3/servers/%x+")
  local id = body.config.id
  t.eq(code_of(e.sk("POST", "/mcp/configs", { name = "mail-bot" })), { 400, "DUPLICATE_IDENTIFIER" })
  t.eq((e.sk("POST", "/mcp/configs", { name = "a b" })), 400)
  t.eq((e.sk("POST", "/mcp/configs", { name = "x", connection_tool_mappings = { { connection_name = "?" } } })), 404)
  t.eq((e.sk("POST", "/mcp/configs", { name = "x", connection_tool_mappings = { { connection_name = "gmail",
    tools = { "slack_send_message" } } } })), 400)
  local function found(query, form)
    local _, b = e.sk("GET", "/mcp/configs?" .. query, nil, form and { ["x-agenthost-form"] = form })
    return b.total_size
  end
  t.eq({ found "filter.name=MAIL-BOT", found "filter.name=mail", found("filter.name=mail", "mcp_name_filter=prefix"),
    found "filter.provider=SLACK", found "search=mai" }, { 1, 0, 1, 0, 1 })
  local path = "/mcp/configs/" .. id
  t.eq((e.sk("POST", path .. "/tokens", { identifier = "u" })), 400)
  _, body = e.sk("POST", path .. "/connected_accounts", { identifier = "u" })
  t.eq({ body.connected_accounts[1].connected_account_id, body.connected_accounts[1].authentication_link }, { "", "" })
  _, body = e.sk("POST", path .. "/connected_accounts", { identifier = "u", include_auth_link = true })
  t.eq(body.connected_accounts[1].connected_account_status, "PENDING_AUTH")
  e.call("POST", body.connected_accounts[1].authentication_link:match "/magicLink/.*", "decision=approve")
  status, body = e.sk("POST", path .. "/tokens", { identifier = "u", expiry = "90s" })
  t.eq({ status, text.micros(body.expires_at) > emulating.CLOCK * 1000000 }, { 200, true })
  t.eq((e.sk("POST", path .. "/tokens", { identifier = "u", expiry = "10s" })), 400)
  _, body = e.sk("PUT", path, { description = "New" })
  t.eq({ body.config.description, #body.config.connection_tool_mappings }, { "New", 1 })
  -- the older generation
  _, body = e.sk("POST", "/mcp/instances", { config_name = "mail-bot", user_identifier = "u" })
  local instance = body.instance.id
  _, body = e.sk("POST", "/mcp/instances", { config_name = "mail-bot", user_identifier = "u" })
  t.eq(body.instance.id, instance)
  _, body = e.sk("POST", "/mcp/instances/" .. instance .. ":get_auth_state?include_auth_links=true")
  t.eq(body.connections[1].connected_account_status, "ACTIVE")
  t.eq(code_of(e.sk("POST", "/connected_accounts:delete", { connector = "gmail", identifier = "u" })),
    { 400, "MCP_SERVER_EXISTS_FOR_CONNECTED_ACCOUNT" })
  _, body = e.sk("PATCH", "/mcp/instances/" .. instance, { name = "mine" })
  t.eq(body.instance.name, "mine")
  t.eq((e.sk("DELETE", "/mcp/instances/" .. instance)), 200)
  t.eq((e.sk("DELETE", path)), 200)
  t.eq((e.sk("GET", path)), 404)
  _, body = e.sk("POST", "/mcp", { connected_account_identifier = "u",
    tool_mappings = { { connection_name = "gmail" } } })
  t.eq((e.sk("GET", "/mcp/" .. body.mcp.id)), 200)
end)

t.test("logs: one entry, and the overview", function()
  local e = start()
  local _, body = e.sk("POST", "/execute_tool", { tool_name = "gmail_get_profile", identifier = "u" })
  local id = body.execution_id
  e.sk("POST", "/execute_tool", { tool_name = "gmail_get_profile", identifier = "u" },
    { ["x-agenthost-trouble"] = "tool_error; status=403" })
  _, body = e.sk("GET", "/agentkit/tool_call_logs/" .. id)
  t.eq({ body.execution_id, body.status }, { id, "success" })
  _, body = e.sk("GET", "/agentkit/analytics/overview")
  t.eq({ body.total, body.provider_errors, body.connector_breakdown[1].provider, body.top_error_codes[1].error_code },
    { "2", "1", "GMAIL", "FORBIDDEN" })
end)

t.test("webhooks: what an account goes through is kept, signed", function()
  local e = start { accounts = "pending", scenario = { webhook = { secret = "whsec_" .. text.base64 "k" } } }
  account(e, "gmail", { oauth_token = { access_token = "secret-token" } })
  local _, body = e.call("GET", "/__emulator/webhooks")
  local kinds = {}
  for i, d in ipairs(body.deliveries) do kinds[i] = json.decode(d.body).type end
  t.eq(kinds, { "connected_account.status_updated", "connected_account.created" })
  t.ok(not body.deliveries[2].body:find("secret-token", 1, true))
  local found, host = pcall(require, "host")
  if found and host.sha256 then
    t.eq(#body.deliveries[1].headers["webhook-signature"], 47)
    t.eq(require("emulator.webhooks").sign("whsec_" .. text.base64 "Jefe", "a", "b", "c"),
      "v1,+k02C70QEzjCZdm6CtlKJChuUOL2qVOzcAz9qZrGMx4=")
  end
end)

local function proxied(e, method, path, body, more)
  local headers = { authorization = "Bearer " .. (e.bearer or e.token()), connection_name = "gmail", identifier = "u" }
  for k, v in pairs(more or {}) do headers[k] = v or nil end
  return e.call(method, "/proxy" .. path, body, headers)
end

t.test("proxy: providers' own answers, for reads and writes", function()
  local _
  local e = start()
  local status, body = proxied(e, "GET", "/gmail/v1/users/me/messages?q=is:unread&maxResults=2")
  t.eq({ status, #body.messages, body.messages[1].payload }, { 200, 2 })
  status, body = proxied(e, "GET", "/gmail/v1/users/me/messages/nope")
  t.eq({ status, body.error.code, body.error.status }, { 404, 404, "NOT_FOUND" })
  status, body = proxied(e, "POST", "/gmail/v1/users/me/messages/send",
    { raw = text.base64 "To: lee@northwind.example\r\nSubject: Hi\r\n\r\nNoon?" })
  t.eq({ status, body.labelIds }, { 200, { "SENT" } })
  t.eq(e.app.mailbox.outbox[1].subject, "Hi")
  status, body = proxied(e, "POST", "/api/chat.postMessage", "channel=general&text=hi", { connection_name = "slack",
    ["content-type"] = "application/x-www-form-urlencoded" })
  t.eq({ status, body.ok }, { 200, true })
  status, body = proxied(e, "POST", "/chat.postMessage", { channel = "none", text = "hi" },
    { connection_name = "slack" })
  t.eq({ status, body.ok, body.error }, { 200, false, "channel_not_found" })
  local hub = { connection_name = "github" }
  status, body = proxied(e, "POST", "/repos/northwind/billing/issues", { title = "New" }, hub)
  t.eq({ status, body.title }, { 201, "New" })
  _, body = proxied(e, "GET", "/repos/northwind/billing/issues?per_page=1", nil, hub)
  t.eq({ json.is_array(body), body[1].title }, { true, "New" })
  status, body = proxied(e, "GET", "/repos/northwind/none", nil, hub)
  t.eq({ status, body.message }, { 404, "Not Found" })
  status, body = proxied(e, "GET", "/calendar/v3/calendars/primary/events", nil, { connection_name = "googlecalendar" })
  t.eq({ status, #body.items }, { 200, 3 })
  status, body = proxied(e, "POST", "/v1/search", { query = "tasks" }, { connection_name = "notion" })
  t.eq({ status, body.results[1].object }, { 200, "database" })
end)

t.test("proxy: its own refusals, told from the provider's", function()
  local e = start()
  local status, body = e.call("GET", "/proxy/gmail/v1/users/me/profile", nil, { connection_name = "gmail",
    identifier = "u" })
  t.eq({ status, body.code }, { 401, "UNAUTHORIZED" })
  local n = 0
  for _ in pairs(body) do n = n + 1 end
  t.eq(n, 2)
  status, body = proxied(e, "GET", "/gmail/v1/users/me/profile", nil,
    { ["x-agenthost-trouble"] = "tool_error; status=401; message=Bad credentials" })
  t.eq({ status, body.error.message }, { 401, "Bad credentials" })
  status, body = proxied(e, "GET", "/gmail/v1/users/me/profile", nil, { ["x-agenthost-trouble"] = "401" })
  t.eq({ status, body.code }, { 401, "UNAUTHORIZED" })
  status, body = proxied(e, "GET", "/x", nil, { ["x-agenthost-form"] = "proxy=off" })
  t.eq(status, 403)
  t.match(body.detail, "proxy not enabled for provider")
  t.eq((proxied(e, "GET", "/x", nil, { identifier = false })), 400)
  t.eq((proxied(e, "GET", "/a/%2e%2e/b")), 400)
  t.eq((proxied(e, "GET", "/x", nil, { connection_name = "nope" })), 404)
  local other = start { scenario = { connections = { crm = "CRM" },
    proxy = { CRM = function(req) return 202, { ["content-type"] = "text/plain" }, req.path end } } }
  local s, _, _, raw = proxied(other, "GET", "/a/b", nil, { connection_name = "crm" })
  t.eq({ s, raw }, { 202, "/a/b" })
end)

if pcall(require, "host.http") then
  t.test("webhooks: a delivery reaches the address of the scenario, signed", function()
    local task, got = require "host.task", nil
    local receiver = assert(require("host.server").listen { port = 0, handler = function(req)
      got = { body = req.body, headers = req.headers }
      return 200, {}, ""
    end })
    local e = assert(require("emulator").start { open = true, scenario = { accounts = "pending",
      webhook = { url = ("http://127.0.0.1:%d/hook"):format(receiver:port()), secret = "whsec_" .. text.base64 "k" } } })
    assert(require("host.http").post(e.url .. "/api/v1/connected_accounts", { headers = { authorization = "Bearer x" },
      json = { connector = "gmail", identifier = "u", connected_account = {} } }))
    for _ = 1, 200 do
      if got then break end
      task.sleep(0.01)
    end
    t.eq(json.decode(got.body).type, "connected_account.created")
    local h = got.headers
    t.eq(h["webhook-signature"], require("emulator.webhooks").sign("whsec_" .. text.base64 "k", h["webhook-id"],
      h["webhook-timestamp"], got.body))
    e.close()
    receiver:close()
  end)
end

t.done()
