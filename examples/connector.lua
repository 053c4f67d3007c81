-- Connectors of your own: an HTTP API described in a file becomes tools. One here goes through Scalekit with the user's
-- GitHub account, the other uses a key. A third kind: tools/ is a folder of Lua functions with comments.
local agent = require "agent"

return agent {
  connectors = { "connectors/github_rest.lua", "connectors/moderation.lua", "tools/" },
  identifier = "user_123",
  input = "List the open issues of northwind/billing",
}
