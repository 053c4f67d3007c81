-- Tools of an MCP server: here a virtual one that Scalekit makes of a config, with a session token for the user. Any
-- other server is named by its address, { mcp = "https://…", token = host.secret "TOOLS_TOKEN" }, or by its command.
local agent = require "agent"
local scalekit = require "host.scalekit"

-- Made once; here as part of the example.
local known = assert(scalekit.list_mcp_configs { name = "inbox" })
if #known.configs == 0 then
  assert(scalekit.create_mcp_config {
    name = "inbox", connection_tool_mappings = { { connection_name = "gmail", tools = { "gmail_fetch_mails" } } },
  })
end

return agent {
  connectors = { { mcp = { config = "inbox" } } },
  identifier = "user_123",
  prompt = "You read mail.",
  input = "Fetch my last 3 unread emails and summarize them",
}
