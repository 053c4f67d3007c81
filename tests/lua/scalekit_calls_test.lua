-- run: --emulate
-- host.scalekit beyond tools: functions made from the table, iterators, the proxy, webhooks; against the emulator.
local t = require "testing"
local host = require "host"
local json = require "host.json"
local scalekit = require "host.scalekit"
local search = require "agent.search"

local function collect(next)
  local list = {}
  for item in next do list[#list + 1] = item end
  return list
end

t.test("every function takes one table and names what it does not know", function()
  local count = 0
  for name, f in pairs(scalekit) do
    count = count + 1
    t.raises("table expected", f, 5)
    t.raises("unknown field 'no_such_field' in", f, { no_such_field = 1 })
    t.ok(name:match "^[%l_]+$")
  end
  t.ok(count > 60, count .. " functions")
  t.raises("table expected", scalekit.delete_connected_account) -- only lists may be asked for without a word
end)

t.test("limits are looked at before anything is sent", function()
  local function invalid(pattern, name, opts)
    local v, err = scalekit[name](opts)
    t.err("invalid", v, err)
    t.match(tostring(err), pattern)
    t.eq(err.attempts or 0, 0)
  end
  invalid("from 0 to 99", "list_connected_accounts", { page_size = 100 })
  invalid("at least 3", "search_connected_accounts", { query = "ab" })
  invalid("which account", "delete_connected_account", { connection_name = "" })
  invalid("must begin with ca_", "get_connected_account_details", { id = "acc_1" })
  invalid("exactly one member", "create_connected_account",
    { connection_name = "c", identifier = "u", authorization_details = {} })
  invalid("only these characters", "create_mcp_config", { name = "A B" })
  invalid("from 60 to 86400", "create_mcp_session_token",
    { mcp_config_id = "cfg_1", identifier = "u", expiry = 5 })
  invalid("segment of dots", "request", { connection_name = "gmail", identifier = "u", path = "/a/../b" })
  invalid("set by the host", "request",
    { connection_name = "gmail", identifier = "u", path = "/a", headers = { Authorization = "x" } })
  invalid("no body", "request", { connection_name = "gmail", identifier = "u", path = "/a", method = "GET", body = "x" })
end)

t.test("accounts, page by page, and the same as one page", function()
  for i = 1, 5 do
    t.ok(scalekit.create_connected_account { connection_name = "gmail", identifier = "pages_" .. i })
  end
  local seen = {}
  for account in scalekit.accounts { connection_name = "gmail", page_size = 2 } do
    t.ok(not seen[account.id], "twice: " .. account.id)
    seen[account.id] = account.identifier
  end
  local page = t.ok(scalekit.list_connected_accounts { connection_name = "gmail" })
  for _, account in ipairs(page.connected_accounts) do t.eq(seen[account.id], account.identifier) end
  t.ok(#page.connected_accounts >= 5)
  t.eq(#collect(scalekit.search_accounts { query = "pages_" }), 5)
  t.ok(#collect(scalekit.connections()) > 0, "nothing given is everything")
  t.ok(t.ok(scalekit.list_connected_accounts()).connected_accounts[1])
  t.match(t.err("invalid", scalekit.search_connected_accounts()).message, "query")
  local err = t.raises("at least 3", function() collect(scalekit.search_accounts { query = "x" }) end)
  t.eq(err.kind, "invalid")
end)

t.test("secrets go in and come out as handles", function()
  local who = { connection_name = "gmail", identifier = "secret_user" }
  local account = t.ok(scalekit.get_or_create_connected_account {
    connection_name = "gmail", identifier = "secret_user",
    authorization_details = { oauth_token = { access_token = host.secret "SCALEKIT_CLIENT_SECRET", scopes = { "a" } } },
  })
  t.eq(account.status, "ACTIVE")
  local token = t.ok(scalekit.get_connected_account_auth(who)).authorization_details.oauth_token
  t.eq(type(token.access_token), "userdata")
  t.eq(tostring(token.access_token), ("[secret:%s.oauth_token.access_token]"):format(account.id))
  t.eq(type(token.scopes), "table")
  local v, err = scalekit.create_connected_account {
    connection_name = "gmail", identifier = "u",
    authorization_details = { oauth_token = { access_token = host.secret "NO_SUCH_THING" } },
  }
  t.err("config", v, err)
  t.eq(t.ok(scalekit.get_connected_account(who)).authorization_details, nil)
end)

t.test("an account's end", function()
  local account = t.ok(scalekit.create_connected_account { connection_name = "slack", identifier = "leaving" })
  local link = t.ok(scalekit.get_authorization_link { connected_account_id = account.id })
  t.match(link.link, "^http")
  t.eq(t.ok(scalekit.disconnect_connected_account { id = account.id }).status, "DISCONNECTED")
  t.ok(scalekit.delete_connected_account { id = account.id })
  local v, err = scalekit.get_connected_account_by_id { id = account.id }
  t.err("not_found", v, err)
end)

t.test("providers, connections, tools", function()
  local provider = t.ok(scalekit.create_custom_provider {
    display_name = "My CRM", auth_patterns = { { type = "BEARER", display_name = "Key", fields = json.array {} } },
  })
  t.ok(provider.identifier)
  t.eq(t.ok(scalekit.update_custom_provider {
    identifier = provider.identifier, display_name = "Our CRM", auth_patterns = { { type = "BEARER" } },
  }).display_name, "Our CRM")
  t.ok(scalekit.delete_custom_provider { identifier = provider.identifier })
  t.ok(#collect(scalekit.connections {}) > 0)
  t.ok(#collect(scalekit.providers { page_size = 1 }) > 1)
  t.eq(#collect(scalekit.tools { provider = "GMAIL", page_size = 20 }), #collect(scalekit.tools { provider = "GMAIL" }))
end)

t.test("MCP configs, accounts and session tokens", function()
  local name = "calls-" .. host.random(1000000)
  local config = t.ok(scalekit.create_mcp_config {
    name = name, connection_tool_mappings = { { connection_name = "gmail", tools = {} } },
  })
  t.eq(t.ok(scalekit.get_mcp_config { config_id = config.id }).name, name)
  t.eq(t.ok(scalekit.update_mcp_config { config_id = config.id, description = "d" }).description, "d")
  t.ok(scalekit.get_or_create_connected_account { connection_name = "gmail", identifier = "user_123" })
  t.eq(scalekit.list_mcp_connected_accounts { config_id = config.id, identifier = "user_123" }[1].connection_name,
    "gmail")
  local answer = t.ok(scalekit.create_mcp_session_token {
    mcp_config_id = config.id, identifier = "user_123", expiry = 600,
  })
  t.match(tostring(answer.token), "^%[secret:mcp_token%.")
  t.ok(scalekit.delete_mcp_config { config_id = config.id })
end)

t.test("the proxy", function()
  local who = { connection_name = "gmail", identifier = "user_123", path = "/gmail/v1/users/me/profile" }
  local res = t.ok(scalekit.request(who))
  t.eq(res.status, 200)
  t.ok(res:json().emailAddress)
  who.path = "/gmail/v1/no/such/thing"
  local v, err = scalekit.request(who)
  t.err("tool_error", v, err)
  t.ok(err.status >= 400 and err.body and err.headers)
end)

t.test("arguments are checked, and changed on their way", function()
  local connectors, tools = require "agent.connectors", require "agent.tools"
  local seen
  local lists = t.ok(connectors.open({ {
    connection = "gmail", tools = { "gmail_fetch_mails" },
    before = { gmail_fetch_mails = function(args) args.max_results = 1 end },
    after = { gmail_fetch_mails = function(data) seen = #data.messages return { count = seen } end },
  } }, "user_123"))
  local box = t.ok(tools.box(lists[1]))
  local function call(args)
    return box:call({ id = "c", name = "gmail_fetch_mails", args = args }, { identifier = "user_123" })
  end
  local given = {}
  t.eq(call(given).content, '{"count":1}')
  t.eq(seen, 1)
  t.eq(given, {}) -- what the model wrote stays
  t.match(call({ query = 7 }).content, "'query' must be of type string")
  lists[1][1].before = function() error "no" end
  t.match(call({}).content, "no")
  lists[1][1].before = function() return "text" end
  t.match(call({}).content, "must return the arguments, got string")
  local v, err = connectors.open({ { connection = "gmail", after = { gmail_nothing = print } } }, "user_123")
  t.err("config", v, err)
end)

t.test("webhooks", function()
  local secret = "whsec_YSBzZWNyZXQga2V5IG9mIDI0IGI="
  local opts = {
    secret = secret, body = '{"a":1}', tolerance = 1e8,
    headers = {
      ["webhook-id"] = "msg_1", ["webhook-timestamp"] = "1700000000",
      ["webhook-signature"] = "v1,anAAXPKL415iM8TERZ4tdgVrTljKW07Pey+eYmyhqoY=",
    },
  }
  t.eq(t.ok(scalekit.verify_webhook(opts)), { a = 1 })
  opts.tolerance = nil
  t.err("auth", scalekit.verify_webhook(opts))
  opts.tolerance, opts.body = 1e8, '{"a":2}'
  t.err("auth", scalekit.verify_webhook(opts))
  opts.secret = "nonsense"
  t.err("config", scalekit.verify_webhook(opts))
  t.raises("headers", scalekit.verify_webhook, { secret = secret, body = "" })
end)

t.test("tools can be searched", function()
  local found = t.ok(search.tools { query = "send an email message", identifier = "user_123", connection_names = { "gmail" } })
  t.eq(found[1].name, "gmail_send_message")
  t.ok(found[1].score >= found[2].score)
  t.ok(#found <= 10)
  t.eq(#t.ok(search.tools { query = "drafts", top_k = 2, identifier = "user_123", connection_names = { "gmail" } }), 2)
  t.eq(search.rank({ { name = "a_b", description = "c" } }, "zzz"), {})
  t.raises("query", search.tools, {})
end)

t.done()
