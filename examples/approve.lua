-- A call that changes the world waits until a person has allowed it. On a terminal the question is asked there; else
-- the run stops with exit code 10, and goes on later:
--
--   agenthost run --emulate examples/approve.lua
--   agenthost approve RUN                  (or: agenthost approve RUN --deny "not before Monday")
--   agenthost resume RUN
local agent = require "agent"

return agent {
  connectors = { { connection = "gmail", tools = { "gmail_fetch_mails", "gmail_send_message" } } },
  identifier = "user_123",
  prompt = "You write mail for {{identifier}}.",
  input = "Send an email to dana@example.com with the subject Slides and the text The slides are checked.",
}
