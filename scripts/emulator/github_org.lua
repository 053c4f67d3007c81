-- The emulated GitHub's organizations, teams and gists. An organization is whoever owns a repository and is not
-- the user. Called by github.lua.
local json = require "host.json"
local shelf = require "emulator.github_shelf"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given = world_of.given
local M = {}

local function org_tools(hub, tools, at)
  local function org_of(name)
    local known = hub.orgs[name]
    if known then return known end
    for _, r in ipairs(hub.repos) do
      if r.owner == name and name ~= hub.login then
        hub.orgs[name] = { login = name, members = { { login = hub.login, role = "admin" } }, teams = {} }
        return hub.orgs[name]
      end
    end
    return nil
  end
  local function with(act)
    return function(p)
      local org = org_of(p.org)
      if not org then return shelf.missing() end
      return act(org, p)
    end
  end
  local function show(org)
    return { login = org.login, id = 900, name = org.name or org.login, description = org.description or "",
      email = org.email, location = org.location, company = org.company, type = "Organization" }
  end
  tools.github_org_get = with(show)
  tools.github_org_update = with(function(org, p)
    for _, k in ipairs { "name", "description", "email", "location", "company" } do org[k] = given(p[k]) or org[k] end
    return show(org)
  end)
  tools.github_org_issue_types_list = with(function()
    return { issue_types = json.array { { id = 1, name = "Bug" }, { id = 2, name = "Task" } } }
  end)
  tools.github_org_issues_list = with(function(org, p)
    local rows = {}
    for _, r in ipairs(hub.repos) do
      for _, i in ipairs(r.owner == org.login and r.issues or {}) do
        if i.state == (given(p.state) or "open") or p.state == "all" then rows[#rows + 1] = at.show_issue(r, i) end
      end
    end
    return { issues = shelf.page(rows, p) }
  end)
  local function membership(of, one, state)
    return { url = "", state = state or "active", role = one.role, user = at.user(one.login),
      organization = of.login and { login = of.login } or nil }
  end
  tools.github_org_members_list = with(function(org, p)
    return { members = shelf.page(org.members, p, function(m) return at.user(m.login) end) }
  end)
  tools.github_org_membership_get = with(function(org, p)
    local m = shelf.take(org.members, "login", p.username)
    if not m then return shelf.missing() end
    return membership(org, m)
  end)
  tools.github_org_membership_set = with(function(org, p)
    local m = shelf.take(org.members, "login", p.username)
    if not m then
      m = { login = p.username }
      table.insert(org.members, m)
    end
    m.role = given(p.role) or "member"
    return membership(org, m, m.login == hub.login and "active" or "pending")
  end)
  tools.github_org_member_remove = with(function(org, p)
    local _, i = shelf.take(org.members, "login", p.username)
    if not i then return shelf.missing() end
    table.remove(org.members, i)
    return {}
  end)
  return org_of, membership
end

local function team_tools(hub, tools, at, org_of, membership)
  local function teams(p)
    local org = org_of(p.org)
    return org and org.teams
  end
  local function show(team)
    return { id = team.id, name = team.name, slug = team.slug, description = team.description, privacy = team.privacy,
      members_count = #team.members, repos_count = #team.repos }
  end
  local with = shelf.add(tools, { of = teams, key = "slug", parameter = "team_slug", named = "teams", show = show,
    make = function(p, list)
      local slug = p.name:lower():gsub("%W+", "-")
      if shelf.take(list, "slug", slug) then return shelf.fail(422, "Name must be unique for this org") end
      hub.count = hub.count + 1
      local members = {}
      for i, login in ipairs(given(p.maintainers) or {}) do members[i] = { login = login, role = "maintainer" } end
      return { id = 2000 + hub.count, name = p.name, slug = slug, description = given(p.description) or "",
        privacy = given(p.privacy) or "secret", members = members, repos = {} }
    end, fields = { "name", "description", "privacy" }, create = "github_team_create", get = "github_team_get",
    list = "github_teams_list", update = "github_team_update", delete = "github_team_delete" })
  tools.github_team_members_list = with(function(team, p)
    return { members = shelf.page(team.members, p, function(m) return at.user(m.login) end) }
  end)
  tools.github_team_membership_get = with(function(team, p)
    local m = shelf.take(team.members, "login", p.username)
    if not m then return shelf.missing() end
    return membership({}, m)
  end)
  tools.github_team_membership_set = with(function(team, p)
    local m = shelf.take(team.members, "login", p.username)
    if not m then
      m = { login = p.username }
      table.insert(team.members, m)
    end
    m.role = given(p.role) or "member"
    return membership({}, m)
  end)
  tools.github_team_member_remove = with(function(team, p)
    local _, i = shelf.take(team.members, "login", p.username)
    if not i then return shelf.missing() end
    table.remove(team.members, i)
    return {}
  end)
  tools.github_team_repo_add = with(function(team, p)
    local r = at.repo(p)
    if not r then return shelf.missing() end
    if not shelf.take(team.repos, "id", r.id) then table.insert(team.repos, r) end
    return {}
  end)
  tools.github_team_repo_remove = with(function(team, p)
    local r = at.repo(p)
    local _, i = shelf.take(team.repos, "id", r and r.id)
    if not i then return shelf.missing() end
    table.remove(team.repos, i)
    return {}
  end)
  tools.github_team_repos_list = with(function(team, p)
    return { repositories = shelf.page(team.repos, p, at.show_repo) }
  end)
end

local function gist_tools(hub, tools, at)
  local function gists() return hub.gists end
  local function show(gist)
    local files = {}
    for name, content in pairs(gist.files) do files[name] = { filename = name, content = content, size = #content } end
    return { id = gist.id, description = gist.description, public = gist.public, files = files,
      owner = at.user(hub.login), comments = #gist.comments, html_url = "https://gist.example/" .. gist.id,
      created_at = text.instant(gist.at) }
  end
  local function fill(gist, p)
    for name, file in pairs(given(p.files) or {}) do
      if type(file) == "table" and file ~= json.null then gist.files[given(file.filename) or name] = given(file.content)
        or gist.files[name] or ""
      elseif type(file) == "string" then gist.files[name] = file
      else gist.files[name] = nil end
    end
    gist.description = given(p.description) or gist.description
    return gist
  end
  local with = shelf.add(tools, { of = gists, key = "id", parameter = "gist_id", named = "gists", show = show,
    make = function(p)
      if not next(p.files) then return shelf.fail(422, "Validation Failed: files is empty") end
      return fill({ id = hub.world:hex(20), description = "", public = given(p.public) or false, files = {},
        comments = {}, at = hub.world:now() }, p)
    end, change = fill, create = "github_gist_create", get = "github_gist_get", list = "github_gists_list",
    update = "github_gist_update", delete = "github_gist_delete" })
  local function star(on)
    return with(function(gist)
      gist.starred = on
      return {}
    end)
  end
  tools.github_gist_star, tools.github_gist_unstar = star(true), star(false)
  shelf.add(tools, { of = function(p)
    local gist = shelf.take(hub.gists, "id", p.gist_id)
    return gist and gist.comments
  end, key = "id", parameter = "comment_id", named = "comments", fields = { "body" }, make = function(p)
    hub.count = hub.count + 1
    return { id = 1000 + hub.count, body = p.body, user = at.user(hub.login) }
  end, create = "github_gist_comment_create", list = "github_gist_comments_list",
    update = "github_gist_comment_update", delete = "github_gist_comment_delete" })
end

function M.tools(hub, tools, at)
  hub.orgs, hub.gists = {}, {}
  local org_of, membership = org_tools(hub, tools, at)
  team_tools(hub, tools, at, org_of, membership)
  gist_tools(hub, tools, at)
end

return M
