-- The emulated GitHub's git: branches, references, blobs, trees, commits, tags, statuses, checks, comments on
-- commits, comparisons, code search. Called by github.lua.
local json = require "host.json"
local shelf = require "emulator.github_shelf"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given = world_of.given
local M = {}

-- Branches of a repository: name -> sha; main is where its commits are.
local function branches(r)
  r.branches = r.branches or { main = r.commits[1].sha }
  r.branches.main = r.branches.main and r.commits[1].sha
  return r.branches
end

local function branch_tools(tools, with, at)
  local function show(r, name)
    return { name = name, commit = { sha = branches(r)[name] }, protected = (r.protections or {})[name] ~= nil
      or name == "main" }
  end
  local function sorted(r)
    local names = {}
    for name in pairs(branches(r)) do names[#names + 1] = name end
    table.sort(names)
    return names
  end
  tools.github_branches_list = with(function(r, p)
    return { branches = shelf.page(sorted(r), p, function(name) return show(r, name) end) }
  end)
  tools.github_branch_get = with(function(r, p)
    if not branches(r)[p.branch] then return shelf.fail(404, "Branch not found") end
    return show(r, p.branch)
  end)
  tools.github_branch_create = with(function(r, p)
    if branches(r)[p.branch_name] then return shelf.fail(422, "Reference already exists") end
    r.branches[p.branch_name] = p.sha
    return { ref = "refs/heads/" .. p.branch_name, object = { type = "commit", sha = p.sha } }
  end)
  tools.github_branch_rename = with(function(r, p)
    local sha = branches(r)[p.branch]
    if not sha then return shelf.fail(404, "Branch not found") end
    r.branches[p.branch], r.branches[p.new_name] = nil, sha
    return show(r, p.new_name)
  end)
  tools.github_branch_merge = with(function(r, p)
    local list = branches(r)
    if not list[p.base] or not list[p.head] then return shelf.fail(404, "Base or head does not exist") end
    local c = at.commit(r, given(p.commit_message) or ("Merge %s into %s"):format(p.head, p.base), p.base ~= "main")
    list[p.base] = c.sha
    return { sha = c.sha, commit = { message = c.message } }
  end)
  tools.github_branch_merge_upstream = with(function(r, p)
    if not r.fork_of then return shelf.fail(422, "There are not any branches in the upstream repository") end
    return { message = "Successfully fetched and fast-forwarded from upstream", merge_type = "fast-forward",
      base_branch = p.branch }
  end)
  tools.github_branch_protection_update = with(function(r, p)
    r.protections = r.protections or {}
    r.protections[p.branch] = { enforce_admins = { enabled = p.enforce_admins },
      required_status_checks = p.required_status_checks, restrictions = p.restrictions,
      required_pull_request_reviews = p.required_pull_request_reviews }
    return r.protections[p.branch]
  end)
  tools.github_branch_protection_get = with(function(r, p)
    return (r.protections or {})[p.branch], { status = 404, message = "Branch not protected" }
  end)
  tools.github_branch_protection_delete = with(function(r, p)
    if not (r.protections or {})[p.branch] then return shelf.fail(404, "Branch not protected") end
    r.protections[p.branch] = nil
    return {}
  end)
  local function ref_of(p) return (p.ref:gsub("^refs/", ""):gsub("^heads/", "")) end
  local function show_ref(name, sha) return { ref = "refs/heads/" .. name, object = { type = "commit", sha = sha } } end
  tools.github_git_ref_get = with(function(r, p)
    local sha = branches(r)[ref_of(p)]
    if not sha then return shelf.missing() end
    return show_ref(ref_of(p), sha)
  end)
  tools.github_git_ref_update = with(function(r, p)
    if not branches(r)[ref_of(p)] then return shelf.fail(422, "Reference does not exist") end
    r.branches[ref_of(p)] = p.sha
    return show_ref(ref_of(p), p.sha)
  end)
  tools.github_git_ref_delete = with(function(r, p)
    if not branches(r)[ref_of(p)] then return shelf.fail(422, "Reference does not exist") end
    r.branches[ref_of(p)] = nil
    return {}
  end)
end

local function object_tools(hub, tools, with, at)
  local function keep(r, kind, object)
    r.objects = r.objects or {}
    object.sha = hub.world:hex(40)
    r.objects[object.sha] = { kind = kind, object = object }
    return object
  end
  local function get(kind, parameter)
    return with(function(r, p)
      local found = (r.objects or {})[p[parameter]]
      if not found or found.kind ~= kind then return shelf.missing() end
      return found.object
    end)
  end
  tools.github_git_blob_create = with(function(r, p)
    return keep(r, "blob", { content = p.content, encoding = given(p.encoding) or "utf-8", size = #p.content })
  end)
  tools.github_git_tree_create = with(function(r, p) return keep(r, "tree", { tree = p.tree, truncated = false }) end)
  tools.github_git_tree_get = with(function(r, p)
    local found = (r.objects or {})[p.tree_sha]
    if found and found.kind == "tree" then return found.object end
    if not branches(r)[p.tree_sha] and p.tree_sha ~= r.commits[1].sha then return shelf.missing() end
    local paths, rows = {}, json.array {}
    for path in pairs(r.files) do paths[#paths + 1] = path end
    table.sort(paths)
    for i, path in ipairs(paths) do rows[i] = { path = path, mode = "100644", type = "blob", size = #r.files[path] } end
    return { sha = r.commits[1].sha, tree = rows, truncated = false }
  end)
  tools.github_git_commit_create = with(function(r, p)
    local c = at.commit(r, p.message, true)
    return keep(r, "commit", { message = p.message, tree = { sha = p.tree }, parents = given(p.parents)
      or json.array {},
      html_url = "", author = { name = c.user } })
  end)
  tools.github_git_tag_create = with(function(r, p)
    return keep(r, "tag", { tag = p.tag, message = p.message, object = { sha = p.object, type = p.type } })
  end)
  tools.github_git_tag_get = get("tag", "tag_sha")
  tools.github_file_delete = with(function(r, p)
    if not r.files[p.path] then return shelf.missing() end
    r.files[p.path] = nil
    local c = at.commit(r, p.message)
    return { content = json.null, commit = { sha = c.sha, message = c.message } }
  end)
  tools.github_commits_compare = with(function(r, p)
    local base, head = p.basehead:match("^(.-)%.%.%.?(.+)$")
    local list = branches(r)
    local function known(name) return name and (list[name] or shelf.take(r.commits, "sha", name)) end
    if not known(base) or not known(head) then return shelf.missing() end
    return { status = list[base] == list[head] and "identical" or "ahead", ahead_by = 0, behind_by = 0,
      total_commits = 0,
      commits = json.array {}, files = json.array {} }
  end)
end

local function commit_tools(hub, tools, with, at)
  local function number()
    hub.count = hub.count + 1
    return 6000 + hub.count
  end
  local function list_of(name)
    return function(p)
      local r = at.repo(p)
      if r then r[name] = r[name] or {} end
      return r and r[name]
    end
  end
  shelf.add(tools, { of = list_of "commit_comments", key = "id", parameter = "comment_id", named = "comments",
    make = function(p)
      return { id = number(), commit_id = p.commit_sha, body = p.body, path = given(p.path), user = at.user(hub.login),
        created_at = text.instant(hub.world:now()) }
    end, keep = function(item, p) return item.commit_id == p.commit_sha end, fields = { "body" },
    create = "github_commit_comment_create", get = "github_commit_comment_get", list = "github_commit_comments_list",
    update = "github_commit_comment_update", delete = "github_commit_comment_delete" })
  local function same_ref(item, p) return item.sha == p.ref end
  shelf.add(tools, { of = list_of "statuses", key = "id", named = "statuses", keep = same_ref,
    make = function(p)
      return { id = number(), sha = p.sha, state = p.state, context = given(p.context) or "default",
        description = given(p.description) or "", target_url = given(p.target_url) or "" }
    end, create = "github_commit_status_create", list = "github_commit_statuses_list" })
  tools.github_commit_combined_status_get = with(function(r, p)
    local rows, state = json.array {}, "success"
    for _, s in ipairs(r.statuses or {}) do
      if s.sha == p.ref then
        rows[#rows + 1] = s
        if s.state == "failure" or s.state == "error" then state = "failure"
        elseif s.state == "pending" and state == "success" then state = "pending" end
      end
    end
    return { sha = p.ref, state = #rows == 0 and "pending" or state, statuses = rows, total_count = #rows }
  end)
  shelf.add(tools, { of = list_of "checks", key = "id", parameter = "check_run_id", named = "check_runs",
    keep = function(item, p) return item.head_sha == p.ref and (not given(p.check_name)
      or p.check_name == item.name) end,
    make = function(p)
      return { id = number(), name = p.name, head_sha = p.head_sha, status = given(p.status) or "queued",
        conclusion = given(p.conclusion) or json.null, output = given(p.output) or {} }
    end, create = "github_check_run_create", get = "github_check_run_get", list = "github_check_runs_list_for_ref" })
  tools.github_commit_pull_requests_list = with(function(r, p)
    local rows = {}
    for _, i in ipairs(r.issues) do
      if i.pull and i.pull.sha == p.commit_sha then rows[#rows + 1] = at.show_pull(r, i) end
    end
    return { pull_requests = shelf.page(rows, p) }
  end)
end

local function search_tools(hub, tools, at)
  local function search(rows_of)
    return function(p)
      local word, rows = p.q:lower():gsub("%S+:%S+", ""):match("^%s*(.-)%s*$"), {}
      for _, r in ipairs(hub.repos) do rows_of(r, word, rows) end
      return { total_count = #rows, incomplete_results = false, items = shelf.page(rows, p) }
    end
  end
  tools.github_search_code = search(function(r, word, rows)
    for path, content in pairs(r.files) do
      if content:lower():find(word, 1, true) then
        rows[#rows + 1] = { name = path:match("[^/]+$"), path = path, repository = at.show_repo(r) } end
    end
  end)
  tools.github_search_commits = search(function(r, word, rows)
    for _, c in ipairs(r.commits) do
      if c.message:lower():find(word, 1, true) then
        rows[#rows + 1] = { sha = c.sha, commit = { message = c.message }, repository = at.show_repo(r) } end
    end
  end)
  tools.github_search_topics = search(function(r, word, rows)
    for _, topic in ipairs(r.topics or {}) do
      if topic:find(word, 1, true) then rows[#rows + 1] = { name = topic } end
    end
  end)
  tools.github_search_users = search(function(r, word, rows)
    for _, login in ipairs { r.owner, hub.login } do
      if login:lower():find(word, 1, true) and not shelf.take(rows, "login", login) then
        rows[#rows + 1] = at.user(login) end
    end
  end)
end

function M.tools(hub, tools, at)
  local function with(act)
    return function(p)
      local r = at.repo(p)
      if not r then return shelf.missing() end
      return act(r, p)
    end
  end
  branch_tools(tools, with, at)
  object_tools(hub, tools, with, at)
  commit_tools(hub, tools, with, at)
  search_tools(hub, tools, at)
end

return M
