-- Names, tags and metadata, so that this run can be found among others in LangSmith. They are fields of the agent; a
-- script without one uses host.trace, as the two lines at the top do.
local agent = require "agent"
local trace = require "host.trace"

trace.tags("example")
trace.metadata { team = "support", release = "2026.1" }

return agent {
  name = "inbox digest",
  tags = { "mail", "daily" },
  metadata = { customer = "acme" },
  connectors = { "gmail" },
  identifier = "user_123",
  prompt = "prompts/gmail_digest.md",
  input = "Fetch my last 3 unread emails and summarize them",
}
