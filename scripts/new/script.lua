-- @NAME@: an agent that reads mail. Run it here: agenthost run --emulate @NAME@.lua (no account, no key); with the
-- settings of .env: agenthost run @NAME@.lua --user you@example.com "what it shall do".
local agent = require "agent"
local tools = require "tools"

return agent {
  connectors = { "gmail" },           -- add "slack", "github": agenthost auth link NAME allows access
  identifier = "user_123",            -- whose accounts (the flag --user wins)
  prompt     = "prompts/@NAME@.md",   -- edit it while this runs
  tools      = { tools.word_count },  -- of your own
  input      = "Fetch my last 3 unread emails and summarize them",
}
