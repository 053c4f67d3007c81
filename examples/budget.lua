-- Limits: what a run may use up. Tokens and money are reserved before a model is asked, so agents side by side cannot
-- overrun; when one is reached, the model gives a last answer in words if there is room. The same as flags:
--     agenthost run --max-steps 1 examples/gmail_digest.lua; echo $?     (13)
-- This script looks at what was reached itself, and ends with 0.
local agent = require "agent"

local digest = agent {
  connectors = { "gmail" },
  identifier = "user_123",
  input = "Fetch my last 3 unread emails and summarize them",
  limits = {
    steps = 1, -- model calls; the fetched mails could not be summarized without the last answer
    tokens = 50000, -- input and output together
    time = 60, -- seconds
    tools = { gmail_send_message = 0 }, -- may not be called at all
  },
}

local result, err = digest:run()
if result then
  print(result.answer)
else
  print(("%s. Until then: %s"):format(err.kind, err.partial.answer or "nothing"))
  print(("%d tokens were used"):format(err.partial.usage.total_tokens))
end
