-- GitHub's own REST API as a connector, with the user's account through Scalekit's proxy: no token in sight. Use it as
-- connectors = { "connectors/github_rest.lua" }; see examples/connector.lua.
local api = require "agent.api"

return api {
  auth = { connection = "github" },
  operations = {
    {
      name = "repo_open_issues", path = "/repos/{owner}/{repo}/issues",
      description = "Lists the open issues of a GitHub repository.",
      args = { owner = "string", repo = "string", per_page = "integer? how many" },
      result = function(issues) -- less to read for the model
        local out = {}
        for i, issue in ipairs(issues) do out[i] = ("#%d %s"):format(issue.number, issue.title) end
        return table.concat(out, "\n")
      end,
    },
    {
      name = "repo_comment_on_issue", method = "POST", path = "/repos/{owner}/{repo}/issues/{issue_number}/comments",
      description = "Writes a comment on an issue.",
      args = { owner = "string", repo = "string", issue_number = "integer", body = "string the text, in Markdown" },
    },
  },
}
