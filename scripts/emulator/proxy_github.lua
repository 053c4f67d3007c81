-- GitHub's own REST API, as the proxy shows it: lists are arrays, errors have a message and an address.
-- Called by proxy.lua.
local reply = require "emulator.reply"

local M = {}

local function github_error(status, message)
  return reply.json(status, { message = message, documentation_url = "https://docs.example/rest",
    status = ("%d"):format(status) })
end

-- method, path, tool, names of the captures, the member that holds the list, status
local ROUTES = {
  { "GET", "/user", "github_user_get_authenticated" },
  { "GET", "/user/repos", "github_user_repos_list", {}, "repositories" },
  { "GET", "/users/([^/]+)", "github_user_get_by_username", { "username" } },
  { "GET", "/issues", "github_user_issues_list", {}, "issues" },
  { "GET", "/search/issues", "github_search_issues" },
  { "GET", "/search/repositories", "github_search_repos" },
  { "GET", "", "github_repo_get" },
  { "GET", "/issues", "github_issues_list", {}, "issues", repo = true },
  { "POST", "/issues", "github_issue_create", {}, nil, 201, repo = true },
  { "GET", "/issues/(%d+)", "github_issue_get", { "issue_number" }, repo = true },
  { "PATCH", "/issues/(%d+)", "github_issue_update", { "issue_number" }, repo = true },
  { "GET", "/issues/(%d+)/comments", "github_issue_comments_list", { "issue_number" }, "comments", repo = true },
  { "POST", "/issues/(%d+)/comments", "github_issue_comment_create", { "issue_number" }, nil, 201, repo = true },
  { "GET", "/pulls", "github_pull_requests_list", {}, "pull_requests", repo = true },
  { "GET", "/pulls/(%d+)", "github_pull_request_get", { "pull_number" }, repo = true },
  { "POST", "/pulls", "github_pull_request_create", {}, nil, 201, repo = true },
  { "PUT", "/pulls/(%d+)/merge", "github_pull_request_merge", { "pull_number" }, repo = true },
  { "GET", "/labels", "github_labels_list", {}, "labels", repo = true },
  { "GET", "/branches", "github_branches_list", {}, "branches", repo = true },
  { "GET", "/commits", "github_commits_list", {}, "commits", repo = true },
  { "GET", "/readme", "github_readme_get", repo = true },
  { "GET", "/contents/(.+)", "github_file_contents_get", { "path" }, repo = true },
  { "PUT", "/contents/(.+)", "github_file_create_update", { "path" }, repo = true },
}

local function route_of(tools, row)
  local of_repo = row.repo or row[2] == ""
  local pattern = (of_repo and "/repos/([^/]+)/([^/]+)" or "") .. row[2]
  local function act(p, ...)
    local found, at = { ... }, 0
    p.page, p.per_page = tonumber(p.page), tonumber(p.per_page)
    if of_repo then p.owner, p.repo, at = found[1], found[2], 2 end
    for i, name in ipairs(row[4] or {}) do p[name] = tonumber(found[at + i]) or found[at + i] end
    local data, fault = tools[row[3]](p)
    if not data then return nil, fault end
    return row[5] and data[row[5]] or data
  end
  return { row[1], pattern, act, row[6] }
end

function M.new(tools)
  local routes = {}
  for i, row in ipairs(ROUTES) do routes[i] = route_of(tools, row) end
  return { GITHUB = { error = github_error, routes = routes } }
end

return M
