-- Several connectors in one agent, with some of the tools of each: a model takes 128 at most, GitHub alone has more.
-- It posts to Slack without asking; by default a person is asked before a call that changes something.
local agent = require "agent"

return agent {
  connectors = {
    { connection = "gmail", tools = { "gmail_fetch_mails", "gmail_get_message_by_id" } },
    { connection = "slack", tools = { "slack_list_channels", "slack_send_message" } },
    { connection = "github", tools = { "github_user_repos_list", "github_issues_list" } },
  },
  identifier = "user_123",
  approve = "auto",
  input = "Summarize my last 3 unread emails and the open issues of northwind/billing, and post that to Slack #general",
}
