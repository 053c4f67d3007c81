-- Emulated GitHub behind Scalekit's github tools. Objects carry GitHub's field names; lists are wrapped in
-- an object (a Struct cannot be a list). Called by scalekit.lua through the table of actions.
local json = require "host.json"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given = world_of.given
local M = {}

local function fail(status, message) return nil, { status = status, message = message } end
local function missing() return fail(404, "Not Found") end

local function copy(list)
  local out = {}
  for i, v in ipairs(list or {}) do out[i] = v end
  return out
end

local function find_repo(hub, p)
  for k, r in ipairs(hub.repos) do
    if r.owner:lower() == p.owner:lower() and r.name:lower() == p.repo:lower() then return r, k end
  end
  return nil
end

local function url_of(r, rest) return ("https://github.example/%s/%s%s"):format(r.owner, r.name, rest or "") end

local function show_user(login) return { login = login, type = "User", html_url = "https://github.example/"
  .. login } end

local function show_repo(r)
  local open = 0
  for _, i in ipairs(r.issues) do
    if i.state == "open" then open = open + 1 end
  end
  return { id = r.id, name = r.name, full_name = r.owner .. "/" .. r.name, owner = show_user(r.owner),
    private = r.private or false,
    description = r.description or "", html_url = url_of(r), default_branch = r.default_branch or "main",
      language = r.language or "Lua",
    open_issues_count = open, stargazers_count = r.stars, archived = r.archived or false, fork = r.fork_of ~= nil,
    homepage = r.homepage, topics = json.array(copy(r.topics)) }
end

local function show_labels(list)
  local rows = json.array {}
  for i, name in ipairs(list) do rows[i] = { name = name } end
  return rows
end

local function show_issue(r, i)
  local assignees = json.array {}
  for k, login in ipairs(i.assignees) do assignees[k] = show_user(login) end
  local out = { id = r.id * 1000 + i.number, number = i.number, title = i.title, body = i.body, state = i.state,
    user = show_user(i.user),
    labels = show_labels(i.labels), assignees = assignees, comments = #i.comments, locked = i.locked or false,
    created_at = text.stamp(i.at), updated_at = text.stamp(i.updated or i.at),
      html_url = url_of(r, "/issues/" .. i.number) }
  if i.pull then
    out.pull_request = { html_url = url_of(r, "/pull/" .. i.number) }
    out.html_url = out.pull_request.html_url
  end
  return out
end

local function show_pull(r, i)
  local out = show_issue(r, i)
  out.pull_request = nil
  out.draft, out.merged = i.pull.draft or false, i.pull.merged or false
  out.head, out.base = { ref = i.pull.head, sha = i.pull.sha }, { ref = i.pull.base }
  return out
end

local function show_comment(r, i, c)
  return { id = c.id, body = c.body, user = show_user(c.user), created_at = text.stamp(c.at),
    html_url = url_of(r, ("/issues/%d#issuecomment-%d"):format(i.number, c.id)) }
end

local function page(list, p, show)
  local n = math.tointeger(given(p.per_page) or 30) or 30
  local at = math.tointeger(given(p.page) or 1) or 1
  local rows = json.array {}
  for i = (at - 1) * n + 1, math.min(at * n, #list) do rows[#rows + 1] = show and show(list[i]) or list[i] end
  return rows
end

local function has(list, v)
  for _, item in ipairs(list) do
    if item == v then return true end
  end
  return false
end

local function find_issue(hub, p, number)
  local r = find_repo(hub, p)
  for _, i in ipairs(r and r.issues or {}) do
    if i.number == number then return r, i end
  end
  return nil
end

local function fits(i, p)
  local state = given(p.state) or "open"
  if state ~= "all" and i.state ~= state then return false end
  if given(p.creator) and i.user ~= p.creator then return false end
  if given(p.assignee) and p.assignee ~= "*" and not has(i.assignees, p.assignee) then return false end
  for label in (given(p.labels) or ""):gmatch("[^,]+") do
    if not has(i.labels, label) then return false end
  end
  return true
end

local function newest_first(list)
  table.sort(list, function(a, b)
    if a.at ~= b.at then return a.at > b.at end
    return a.number > b.number
  end)
  return list
end

local function new_issue(hub, r, fields)
  r.last = r.last + 1
  local i = { number = r.last, title = fields.title, body = given(fields.body) or "", state = "open", user = hub.login,
    labels = copy(given(fields.labels)), assignees = copy(given(fields.assignees)), comments = {},
      at = hub.world:now() }
  table.insert(r.issues, i)
  return i
end

local function issue_tools(hub, tools)
  function tools.github_issues_list(p)
    local r = find_repo(hub, p)
    if not r then return missing() end
    local list = {}
    for _, i in ipairs(r.issues) do
      if fits(i, p) then list[#list + 1] = i end
    end
    return { issues = page(newest_first(list), p, function(i) return show_issue(r, i) end) }
  end
  function tools.github_user_issues_list(p)
    local rows = {}
    for _, r in ipairs(hub.repos) do
      for _, i in ipairs(r.issues) do
        if fits(i, p) and has(i.assignees, hub.login) then rows[#rows + 1] = show_issue(r, i) end
      end
    end
    return { issues = page(rows, p) }
  end
  function tools.github_search_issues(p)
    local words, rows = {}, {}
    for word in p.q:lower():gmatch("%S+") do words[#words + 1] = word end
    for _, r in ipairs(hub.repos) do
      for _, i in ipairs(r.issues) do
        local keep = true
        for _, w in ipairs(words) do
          local key, v = w:match("^(%w+):(.+)$")
          if key == "repo" then keep = keep and v == (r.owner .. "/" .. r.name):lower()
          elseif key == "is" or key == "state" then
            keep = keep and (v == i.state or (v == "issue" and not i.pull) or (v == "pr" and i.pull ~= nil))
          elseif not key then keep = keep and (i.title .. " " .. i.body):lower():find(w, 1, true) ~= nil end
        end
        if keep then rows[#rows + 1] = show_issue(r, i) end
      end
    end
    return { total_count = #rows, incomplete_results = false, items = page(rows, p) }
  end
  function tools.github_issue_get(p)
    local r, i = find_issue(hub, p, p.issue_number)
    if not r then return missing() end
    return show_issue(r, i)
  end
  function tools.github_issue_create(p)
    local r = find_repo(hub, p)
    if not r then return missing() end
    if p.title == "" then return fail(422, "Validation Failed: title is blank") end
    local i = new_issue(hub, r, p)
    hub.created[#hub.created + 1] = { repo = r.owner .. "/" .. r.name, number = i.number, title = i.title }
    return show_issue(r, i)
  end
  local function change(set)
    return function(p)
      local r, i = find_issue(hub, p, p.issue_number)
      if not r then return missing() end
      set(i, p)
      i.updated = hub.world:now()
      return show_issue(r, i)
    end
  end
  tools.github_issue_update = change(function(i, p)
    for _, k in ipairs { "title", "body", "state" } do i[k] = given(p[k]) or i[k] end
    if given(p.labels) then i.labels = copy(p.labels) end
    if given(p.assignees) then i.assignees = copy(p.assignees) end
  end)
  tools.github_issue_labels_add = change(function(i, p)
    for _, l in ipairs(p.labels) do
      if not has(i.labels, l) then i.labels[#i.labels + 1] = l end
    end
  end)
  tools.github_issue_labels_set = change(function(i, p) i.labels = copy(given(p.labels)) end)
  tools.github_issue_labels_remove_all = change(function(i) i.labels = {} end)
  tools.github_issue_assignees_add = change(function(i, p)
    for _, a in ipairs(given(p.assignees) or {}) do
      if not has(i.assignees, a) then i.assignees[#i.assignees + 1] = a end
    end
  end)
  tools.github_issue_lock = change(function(i) i.locked = true end)
  tools.github_issue_unlock = change(function(i) i.locked = false end)
  function tools.github_issue_comments_list(p)
    local r, i = find_issue(hub, p, p.issue_number)
    if not r then return missing() end
    return { comments = page(i.comments, p, function(c) return show_comment(r, i, c) end) }
  end
  function tools.github_issue_comment_create(p)
    local r, i = find_issue(hub, p, p.issue_number)
    if not r then return missing() end
    hub.count = hub.count + 1
    local c = { id = 9000 + hub.count, body = p.body, user = hub.login, at = hub.world:now() }
    i.comments[#i.comments + 1] = c
    return show_comment(r, i, c)
  end
  function tools.github_labels_list(p)
    local r = find_repo(hub, p)
    if not r then return missing() end
    return { labels = page(show_labels(r.labels), p) }
  end
  function tools.github_label_create(p)
    local r = find_repo(hub, p)
    if not r then return missing() end
    if has(r.labels, p.name) then return fail(422, "Validation Failed: already_exists") end
    r.labels[#r.labels + 1] = p.name
    return { name = p.name, color = given(p.color) or "ededed", description = given(p.description) or "" }
  end
end

local function pull_tools(hub, tools)
  function tools.github_pull_requests_list(p)
    local r = find_repo(hub, p)
    if not r then return missing() end
    local list = {}
    for _, i in ipairs(r.issues) do
      if i.pull and fits(i, { state = p.state }) then list[#list + 1] = i end
    end
    return { pull_requests = page(newest_first(list), p, function(i) return show_pull(r, i) end) }
  end
  function tools.github_pull_request_get(p)
    local r, i = find_issue(hub, p, p.pull_number)
    if not r or not i.pull then return missing() end
    return show_pull(r, i)
  end
  function tools.github_pull_request_create(p)
    local r = find_repo(hub, p)
    if not r then return missing() end
    local i = new_issue(hub, r, { title = given(p.title) or p.head, body = p.body })
    i.pull = { head = p.head, base = p.base, draft = given(p.draft), sha = hub.world:hex(40) }
    return show_pull(r, i)
  end
  function tools.github_pull_request_merge(p)
    local r, i = find_issue(hub, p, p.pull_number)
    if not r or not i.pull then return missing() end
    if i.state ~= "open" then return fail(405, "Pull Request is not mergeable") end
    i.state, i.pull.merged = "closed", true
    return { sha = i.pull.sha, merged = true, message = "Pull Request successfully merged" }
  end
end

local function repo_tools(hub, tools)
  local function list_repos(keep)
    return function(p)
      local list = {}
      for _, r in ipairs(hub.repos) do
        if keep(r, p) then list[#list + 1] = r end
      end
      return { repositories = page(list, p, show_repo) }
    end
  end
  tools.github_user_repos_list = list_repos(function() return true end)
  tools.github_public_repos_list = list_repos(function(r, p) return not r.private and r.owner == p.username end)
  tools.github_repo_org_repos_list = list_repos(function(r, p) return r.owner == p.org end)
  tools.github_starred_repos_list = list_repos(function(r) return r.starred end)
  function tools.github_search_repos(p)
    local list = {}
    for _, r in ipairs(hub.repos) do
      if (r.owner .. "/" .. r.name .. " " .. (r.description or "")):lower():find(p.q:lower(), 1, true) then
        list[#list + 1] = r end
    end
    return { total_count = #list, incomplete_results = false, items = page(list, p, show_repo) }
  end
  local function of_repo(make)
    return function(p)
      local r = find_repo(hub, p)
      if not r then return missing() end
      return make(r, p)
    end
  end
  tools.github_repo_get = of_repo(show_repo)
  tools.github_repo_star = of_repo(function(r)
    if not r.starred then r.stars = r.stars + 1 end
    r.starred = true
    return {}
  end)
  tools.github_repo_unstar = of_repo(function(r)
    if r.starred then r.stars = r.stars - 1 end
    r.starred = false
    return {}
  end)
  local function show_commit(r, c)
    return { sha = c.sha, html_url = url_of(r, "/commit/" .. c.sha), author = show_user(c.user),
      commit = { message = c.message, author = { name = c.user, date = text.stamp(c.at) } } }
  end
  tools.github_commits_list = of_repo(function(r,
    p) return { commits = page(r.commits, p, function(c) return show_commit(r, c) end) } end)
  tools.github_commit_get = of_repo(function(r, p)
    for _, c in ipairs(r.commits) do
      if c.sha == p.ref or p.ref == "main" then return show_commit(r, c) end
    end
    return missing()
  end)
  local function show_file(r, path)
    local content = r.files[path]
    if not content then return missing() end
    return { type = "file", name = path:match("[^/]+$"), path = path, size = #content, encoding = "base64",
      content = text.base64(content), html_url = url_of(r, "/blob/main/" .. path) }
  end
  tools.github_file_contents_get = of_repo(function(r, p) return show_file(r, p.path) end)
  tools.github_readme_get = of_repo(function(r) return show_file(r, "README.md") end)
  tools.github_file_create_update = of_repo(function(r, p)
    local content = text.unbase64(p.content)
    if not content then return fail(422, "content is not valid Base64") end
    r.files[p.path] = content
    local c = { sha = hub.world:hex(40), message = p.message, user = hub.login, at = hub.world:now() }
    table.insert(r.commits, 1, c)
    return { content = { path = p.path, size = #content }, commit = { sha = c.sha, message = p.message } }
  end)
  tools.github_repo_languages_list = of_repo(function(r) return { [r.language or "Lua"] = 12345 } end)
  function tools.github_user_get_authenticated()
    local u = show_user(hub.login)
    u.public_repos = #hub.repos
    return u
  end
  function tools.github_user_get_by_username(p) return show_user(p.username) end
  function tools.github_notifications_list() return { notifications = json.array {} } end
end

-- What the other github modules need of this one.
local function parts_of(hub)
  local at = { show_repo = show_repo, show_issue = show_issue, show_pull = show_pull, show_comment = show_comment,
    show_labels = show_labels, user = show_user }
  function at.repo(p) return find_repo(hub, p) end
  function at.issue(p, number) return find_issue(hub, p, number) end
  -- A new commit; `aside`: on no branch that is listed.
  function at.commit(r, message, aside)
    local c = { sha = hub.world:hex(40), message = message, user = hub.login, at = hub.world:now() }
    if not aside then table.insert(r.commits, 1, c) end
    return c
  end
  function at.add_repo(fields)
    local id = 7000
    for _, r in ipairs(hub.repos) do id = math.max(id, r.id) end
    local r = { id = id + 1, owner = fields.owner, name = fields.name, description = fields.description,
      private = fields.private, language = fields.language, stars = fields.stars or 0,
      labels = copy(fields.labels or { "bug", "enhancement", "docs" }), issues = {}, last = 0, commits = {},
      files = { ["README.md"] = "# " .. fields.name .. "\n\n" .. (fields.description or "") .. "\n" } }
    for i, message in ipairs(fields.commits or { "Start" }) do
      r.commits[i] = { sha = hub.world:hex(40), message = message, user = hub.login, at = world_of.EPOCH - 7200 * i }
    end
    hub.repos[#hub.repos + 1] = r
    return r
  end
  return at
end

-- data: { login, repos = {{owner,name,description,issues={{title,body,state,labels,assignees,pull}}}} }
function M.new(world, data, actions)
  local hub = { world = world, login = data.login, repos = {}, created = {}, count = 0 }
  local at = parts_of(hub)
  for _, fields in ipairs(data.repos) do
    local repo = at.add_repo(fields)
    for number, i in ipairs(fields.issues or {}) do
      repo.last = number
      local pull = i.pull and { head = i.pull.head or "topic", base = "main", draft = i.pull.draft,
        sha = world:hex(40) }
      repo.issues[number] = { number = number, title = i.title, body = i.body or "", state = i.state or "open",
        user = i.user or data.login, labels = copy(i.labels), assignees = copy(i.assignees), comments = {}, pull = pull,
        at = world_of.EPOCH - 86400 * (#fields.issues - number + 1) }
    end
  end
  issue_tools(hub, actions)
  pull_tools(hub, actions)
  repo_tools(hub, actions)
  for _, part in ipairs { "repo", "git", "review", "org" } do
    require("emulator.github_" .. part).tools(hub, actions, at)
  end
  return hub
end

return M
