-- examples/gmail_digest.lua: the whole recipe
local agent = require "agent"

return agent {
  connectors = { "gmail" },                  -- add "slack", "github": that is all
  identifier = "user_123",                   -- whose accounts (flag --user wins)
  prompt     = "prompts/gmail_digest.md",    -- a file; edit it while this runs
  input      = "Fetch my last 3 unread emails and summarize them",
}
