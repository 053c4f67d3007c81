-- run: --emulate
-- Calls of host.scalekit that no other test makes, each once against the emulator: every row of the table goes over the
-- wire, where conformance_openapi_test holds it against the service's documents.
local t = require "testing"
local scalekit = require "host.scalekit"

local function count(next)
  local n = 0
  for _ in next do n = n + 1 end
  return n
end

t.test("a connection's life", function()
  local c = t.ok(scalekit.create_connection { provider_key = "HUBSPOT", key_id = "hubspot-rows", type = "OAUTH" })
  t.eq(c.key_id, "hubspot-rows")
  t.eq(t.ok(scalekit.get_connection { connection_id = c.id }).id, c.id)
  t.eq(t.ok(scalekit.update_connection { connection_id = c.id, connection = { type = "API_KEY" } }).type, "API_KEY")
  t.eq(t.ok(scalekit.disable_connection { connection_id = c.id }).enabled, false)
  t.eq(t.ok(scalekit.enable_connection { connection_id = c.id }).enabled, true)
  t.ok(scalekit.delete_connection { connection_id = c.id })
  t.err("not_found", scalekit.get_connection { connection_id = c.id })
end)

t.test("a tool's life", function()
  local definition = { name = "rows_ping", description = "Pings", provider = "ROWS",
    input_schema = { type = "object", properties = {} } }
  local tool = t.ok(scalekit.create_tool { tool = { definition = definition } })
  t.match(tool.id, "^tol_")
  definition.description = "Pings twice"
  t.eq(t.ok(scalekit.update_tool { tool = { definition = definition } }).definition.description, "Pings twice")
  t.ok(scalekit.set_default_tool { name = "rows_ping", schema_version = "1", tool_version = "2" })
  t.ok(scalekit.delete_tool { id = tool.id })
  t.err("not_found", scalekit.delete_tool { id = tool.id })
  t.ok(scalekit.get_or_create_connected_account { connection_name = "gmail", identifier = "rows" })
  t.ok(#t.ok(scalekit.list_available_tools { identifier = "rows" }).tools > 0)
  t.ok(count(scalekit.available_tools { identifier = "rows" }) > 50)
end)

t.test("MCP servers of each generation", function()
  local config = t.ok(scalekit.create_mcp_config { name = "rows", connection_tool_mappings = { { connection_name = "gmail" } } })
  t.eq(t.ok(scalekit.list_mcp_configs { name = "rows" }).configs[1].id, config.id)
  local instance = t.ok(scalekit.ensure_mcp_instance { config_name = "rows", user_identifier = "rows" })
  t.eq(t.ok(scalekit.ensure_mcp_instance { config_name = "rows", user_identifier = "rows" }).id, instance.id)
  t.eq(count(scalekit.mcp_instances { config_name = "rows" }), 1)
  t.eq(#t.ok(scalekit.list_mcp_instances { user_identifier = "rows" }).instances, 1)
  t.eq(t.ok(scalekit.get_mcp_instance { instance_id = instance.id }).url, instance.url)
  t.eq(t.ok(scalekit.update_mcp_instance { instance_id = instance.id, name = "mine" }).name, "mine")
  local states = t.ok(scalekit.get_mcp_instance_auth_state { instance_id = instance.id, include_auth_links = true })
  t.eq(states[1].connection_name, "gmail")
  t.ok(scalekit.delete_mcp_instance { instance_id = instance.id })
  t.ok(scalekit.delete_mcp_config { config_id = config.id })

  local mcp = t.ok(scalekit.create_mcp { connected_account_identifier = "rows",
    tool_mappings = { { connection_name = "gmail", tool_names = { "gmail_fetch_mails" } } } })
  t.eq(t.ok(scalekit.get_mcp { mcp_id = mcp.id }).url, mcp.url)
  t.eq(#t.ok(scalekit.list_mcp { connected_account_identifier = "rows" }), 1)
  t.ok(scalekit.delete_mcp { mcp_id = mcp.id })
end)

t.test("the log of tool calls, its numbers, events", function()
  local result = t.ok(scalekit.execute_tool { tool_name = "gmail_fetch_mails", tool_input = { max_results = 1 },
    connection_name = "gmail", identifier = "rows" })
  t.eq(t.ok(scalekit.get_tool_call { execution_id = result.execution_id }).tool_name, "gmail_fetch_mails")
  t.ok(count(scalekit.tool_calls { identifier = "rows" }) > 0)
  local numbers = t.ok(scalekit.get_analytics_overview { start_time = "2020-01-01T00:00:00Z", end_time = "2099-01-01T00:00:00Z" })
  t.ok(tonumber(numbers.total) > 0)
  local account = t.ok(scalekit.get_or_create_connected_account { connection_name = "slack", identifier = "rows" })
  t.ok(scalekit.delete_connected_account { id = account.id })
  local events = t.ok(scalekit.list_events { event_types = { "connected_account.deleted" }, connected_account_id = account.id })
  t.eq({ #events.events, events.events[1].type, events.events[1].data.identifier },
    { 1, "connected_account.deleted", "rows" })
  t.ok(count(scalekit.events { connected_account_id = account.id, page_size = 1 }) >= 1)
end)

t.done()
