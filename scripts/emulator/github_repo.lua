-- The emulated GitHub's repositories beside issues: releases, webhooks, people, settings, secrets, deployments,
-- workflows; and making, forking, moving, removing repositories. Called by github.lua.
local json = require "host.json"
local shelf = require "emulator.github_shelf"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given = world_of.given
local M = {}

-- hub: github.lua's store. at: { repo(p), show_repo(r), user(login), add_repo(fields) }
local function of_repo(at, name)
  return function(p)
    local r = at.repo(p)
    if not r then return nil end
    r[name] = r[name] or {}
    return r[name]
  end
end

local function release_tools(hub, tools, at)
  local function make(p)
    hub.count = hub.count + 1
    return { id = 5000 + hub.count, tag_name = p.tag_name, name = given(p.name) or p.tag_name, body = given(p.body)
      or "",
      draft = given(p.draft) or false, prerelease = given(p.prerelease) or false, author = at.user(hub.login),
      target_commitish = given(p.target_commitish) or "main", created_at = text.instant(hub.world:now()), assets = {} }
  end
  local function show(item)
    local out = {}
    for k, v in pairs(item) do out[k] = v end
    out.assets = json.array(item.assets)
    return out
  end
  shelf.add(tools, { of = of_repo(at, "releases"), key = "id", parameter = "release_id", named = "releases",
    show = show,
    make = function(p, list)
      if shelf.take(list, "tag_name", p.tag_name) then
        return shelf.fail(422, "Validation Failed: tag_name already_exists") end
      return make(p)
    end, fields = { "tag_name", "name", "body", "draft", "prerelease", "target_commitish" },
    create = "github_release_create", get = "github_release_get", list = "github_releases_list",
    update = "github_release_update", delete = "github_release_delete" })
  shelf.add(tools, { of = of_repo(at, "releases"), key = "tag_name", parameter = "tag", show = show,
    get = "github_release_get_by_tag" })
  function tools.github_release_get_latest(p)
    local list = of_repo(at, "releases")(p)
    for i = #(list or {}), 1, -1 do
      if not list[i].draft and not list[i].prerelease then return show(list[i]) end
    end
    return shelf.missing()
  end
  function tools.github_tags_list(p)
    local list, rows = of_repo(at, "releases")(p), {}
    if not list then return shelf.missing() end
    for _, release in ipairs(list) do
      rows[#rows + 1] = { name = release.tag_name, commit = { sha = at.repo(p).commits[1].sha } }
    end
    return { tags = shelf.page(rows, p) }
  end
  local function assets(p)
    local release = shelf.take(of_repo(at, "releases")(p) or {}, "id", p.release_id)
    return release and release.assets
  end
  shelf.add(tools, { of = assets, named = "assets", key = "id", list = "github_release_assets_list" })
  shelf.add(tools, { of = of_repo(at, "assets"), key = "id", parameter = "asset_id",
    get = "github_release_asset_get", delete = "github_release_asset_delete" })
end

local function setting_tools(hub, tools, at)
  local function number()
    hub.count = hub.count + 1
    return 3000 + hub.count
  end
  shelf.add(tools, { of = of_repo(at, "hooks"), key = "id", parameter = "hook_id", named = "webhooks",
    make = function(p)
      if not given(p.config.url) then return shelf.fail(422, "Validation Failed: config.url is missing") end
      return { id = number(), type = "Repository", name = given(p.name) or "web", active = given(p.active) ~= false,
        events = given(p.events) or json.array { "push" }, config = p.config }
    end, fields = { "active", "config", "events" },
    change = function(item, p)
      for _, e in ipairs(given(p.add_events) or {}) do item.events[#item.events + 1] = e end
    end, create = "github_webhook_create", get = "github_webhook_get", list = "github_webhooks_list",
    update = "github_webhook_update", delete = "github_webhook_delete" })
  tools.github_webhook_ping = function(p)
    if not shelf.take(of_repo(at, "hooks")(p) or {}, "id", p.hook_id) then return shelf.missing() end
    return {}
  end
  shelf.add(tools, { of = of_repo(at, "variables"), key = "name", parameter = "variable_name", named = "variables",
    make = function(p, list)
      if shelf.take(list, "name", p.name) then return shelf.fail(409, "Already exists - Variable already exists") end
      return { name = p.name, value = p.value }
    end, fields = { "name", "value" }, create = "github_repo_variable_create", get = "github_repo_variable_get",
    list = "github_repo_variables_list", update = "github_repo_variable_update",
    delete = "github_repo_variable_delete" })
  shelf.add(tools, { of = of_repo(at, "secrets"), key = "name", parameter = "secret_name", named = "secrets",
    get = "github_repo_secret_get", list = "github_repo_secrets_list", delete = "github_repo_secret_delete" })
  shelf.add(tools, { of = of_repo(at, "collaborators"), key = "login", parameter = "username", named = "collaborators",
    list = "github_collaborators_list", delete = "github_collaborator_remove" })
  function tools.github_collaborator_add(p)
    local list = of_repo(at, "collaborators")(p)
    if not list then return shelf.missing() end
    local one = shelf.take(list, "login", p.username) or at.user(p.username)
    if not one.role_name then list[#list + 1] = one end
    one.role_name = given(p.permission) or "push"
    return one
  end
  function tools.github_collaborator_check(p)
    local list = of_repo(at, "collaborators")(p)
    return { is_collaborator = p.username == hub.login or shelf.take(list or {}, "login", p.username) ~= nil }
  end
  shelf.add(tools, { of = of_repo(at, "invitations"), key = "id", parameter = "invitation_id", named = "invitations",
    fields = { "permissions" }, list = "github_repo_invitations_list", update = "github_repo_invitation_update",
    delete = "github_repo_invitation_delete" })
  shelf.add(tools, { of = of_repo(at, "deployments"), key = "id", parameter = "deployment_id", named = "deployments",
    make = function(p)
      return { id = number(), ref = p.ref, task = given(p.task) or "deploy", environment = given(p.environment)
        or "production", description = given(p.description) or "", payload = given(p.payload) or {},
        created_at = text.instant(hub.world:now()), statuses_url = "" }
    end, keep = function(item, p) return not given(p.environment) or item.environment == p.environment end,
    create = "github_deployment_create", get = "github_deployment_get", list = "github_deployments_list",
    delete = "github_deployment_delete" })
  function tools.github_deployment_status_create(p)
    local one = shelf.take(of_repo(at, "deployments")(p) or {}, "id", p.deployment_id)
    if not one then return shelf.missing() end
    one.state = p.state
    return { id = number(), state = p.state, description = given(p.description) or "", environment = one.environment }
  end
  shelf.add(tools, { of = of_repo(at, "environments"), key = "name", named = "environments",
    list = "github_environments_list" })
  function tools.github_environment_create_update(p)
    local list = of_repo(at, "environments")(p)
    if not list then return shelf.missing() end
    local one = shelf.take(list, "name", p.environment_name)
    if not one then
      one = { id = number(), name = p.environment_name }
      list[#list + 1] = one
    end
    one.wait_timer, one.reviewers = given(p.wait_timer) or one.wait_timer, given(p.reviewers) or one.reviewers
    return one
  end
end

local function workflow_tools(hub, tools, at)
  local function workflows(p)
    local r = at.repo(p)
    if not r then return nil end
    r.workflows = r.workflows or { { id = 11, key = "11", name = "CI", path = ".github/workflows/ci.yml",
      state = "active" } }
    return r.workflows
  end
  local function find(p)
    local list = workflows(p)
    for _, w in ipairs(list or {}) do
      if w.key == p.workflow_id or w.path:match("[^/]*$") == p.workflow_id or w.name == p.workflow_id then return w end
    end
    return nil
  end
  shelf.add(tools, { of = workflows, named = "workflows", key = "key", list = "github_workflows_list" })
  function tools.github_workflow_get(p) return find(p) or nil, { status = 404, message = "Not Found" } end
  local function switch(state)
    return function(p)
      local w = find(p)
      if not w then return shelf.missing() end
      w.state = state
      return {}
    end
  end
  tools.github_workflow_enable, tools.github_workflow_disable = switch "active", switch "disabled_manually"
  function tools.github_workflow_dispatch(p)
    local w = find(p)
    if not w then return shelf.missing() end
    if w.state ~= "active" then return shelf.fail(422,
      "Cannot trigger a 'workflow_dispatch' on a disabled workflow") end
    hub.count = hub.count + 1
    local runs = of_repo(at, "runs")(p)
    table.insert(runs, 1, { id = 8000 + hub.count, name = w.name, workflow_id = w.id, event = "workflow_dispatch",
      status = "queued", conclusion = json.null, head_branch = p.ref, run_attempt = 1, actor = at.user(hub.login),
      created_at = text.instant(hub.world:now()) })
    return {}
  end
  shelf.add(tools, { of = of_repo(at, "runs"), key = "id", parameter = "run_id", named = "workflow_runs",
    keep = function(run, p)
      return (not given(p.status) or run.status == p.status) and (not given(p.branch) or run.head_branch == p.branch)
    end, get = "github_workflow_run_get", list = "github_workflow_runs_list" })
  local function change(act)
    return function(p)
      local run = shelf.take(of_repo(at, "runs")(p) or {}, "id", p.run_id)
      if not run then return shelf.missing() end
      return act(run)
    end
  end
  tools.github_workflow_run_cancel = change(function(run)
    if run.status == "completed" then return shelf.fail(409, "Cannot cancel a workflow run that is completed.") end
    run.status, run.conclusion = "completed", "cancelled"
    return {}
  end)
  tools.github_workflow_run_rerun = change(function(run)
    run.status, run.conclusion, run.run_attempt = "queued", json.null, run.run_attempt + 1
    return {}
  end)
  tools.github_workflow_run_jobs_list = change(function(run)
    return { total_count = 1, jobs = json.array { { id = run.id * 10, run_id = run.id, name = "build",
      status = run.status, conclusion = run.conclusion } } }
  end)
  for name, named in pairs { github_artifacts_list = "artifacts", github_dependabot_alerts_list = "alerts",
    github_code_scanning_alerts_list = "alerts", github_secret_scanning_alerts_list = "alerts" } do
    tools[name] = function(p)
      if not at.repo(p) then return shelf.missing() end
      return { total_count = 0, [named] = json.array {} }
    end
  end
  tools.github_artifact_get, tools.github_artifact_delete = shelf.missing, shelf.missing
end

local function whole_tools(hub, tools, at)
  local function with(act)
    return function(p)
      local r, i = at.repo(p)
      if not r then return shelf.missing() end
      return act(r, p, i)
    end
  end
  local function create(owner_of)
    return function(p)
      local owner = owner_of(p)
      if at.repo { owner = owner, repo = p.name } then
        return shelf.fail(422, "Repository creation failed: name already exists on this account") end
      return at.show_repo(at.add_repo { owner = owner, name = p.name, description = given(p.description),
        private = given(p.private) })
    end
  end
  tools.github_repo_create_for_user = create(function() return hub.login end)
  tools.github_repo_create_in_org = create(function(p) return p.org end)
  function tools.github_repo_create_from_template(p)
    local template = at.repo { owner = p.template_owner, repo = p.template_repo }
    if not template then return shelf.missing() end
    local made, fault = create(function() return given(p.owner) or hub.login end)(p)
    if not made then return nil, fault end
    local r = at.repo { owner = given(p.owner) or hub.login, repo = p.name }
    for path, content in pairs(template.files) do r.files[path] = content end
    return made
  end
  tools.github_repo_fork_create = with(function(r, p)
    local owner, name = given(p.organization) or hub.login, given(p.name) or r.name
    local fork = at.repo { owner = owner, repo = name } or at.add_repo { owner = owner, name = name,
      description = r.description }
    fork.fork_of = r
    for path, content in pairs(r.files) do fork.files[path] = content end
    return at.show_repo(fork)
  end)
  tools.github_repo_forks_list = with(function(r, p)
    local rows = {}
    for _, other in ipairs(hub.repos) do
      if other.fork_of == r then rows[#rows + 1] = other end
    end
    return { repositories = shelf.page(rows, p, at.show_repo) }
  end)
  tools.github_repo_delete = with(function(_, _, i)
    table.remove(hub.repos, i)
    return {}
  end)
  tools.github_repo_update = with(function(r, p)
    for _, k in ipairs { "name", "description", "private", "archived", "homepage", "default_branch" } do
      if given(p[k]) ~= nil then r[k] = p[k] end
    end
    return at.show_repo(r)
  end)
  tools.github_repo_transfer = with(function(r, p)
    r.owner, r.name = p.new_owner, given(p.new_name) or r.name
    return at.show_repo(r)
  end)
  tools.github_repo_topics_get = with(function(r) return { names = json.array(r.topics or {}) } end)
  tools.github_repo_topics_replace = with(function(r, p)
    r.topics = p.names
    return { names = json.array(r.topics) }
  end)
  tools.github_repo_subscription_set = with(function(r, p)
    r.subscription = { subscribed = given(p.subscribed) ~= false, ignored = given(p.ignored) or false }
    return r.subscription
  end)
  tools.github_repo_dispatch_event_create = with(function() return {} end)
  tools.github_stargazers_list = with(function(r)
    return { stargazers = r.starred and json.array { at.user(hub.login) } or json.array {} }
  end)
  tools.github_repo_contributors_list = with(function(r)
    local counts, names, rows = {}, {}, json.array {}
    for _, c in ipairs(r.commits) do
      if not counts[c.user] then names[#names + 1] = c.user end
      counts[c.user] = (counts[c.user] or 0) + 1
    end
    for i, login in ipairs(names) do
      rows[i] = at.user(login)
      rows[i].contributions = counts[login]
    end
    return { contributors = rows }
  end)
  local MIT = { key = "mit", name = "MIT License", spdx_id = "MIT" }
  tools.github_repo_license_get = with(function() return { license = MIT, path = "LICENSE" } end)
  function tools.github_license_get(p)
    if p.license ~= "mit" then return shelf.missing() end
    return MIT
  end
  local TEMPLATES = { C = "*.o\n*.a\n", Lua = "luac.out\n*.rock\n", Python = "__pycache__/\n" }
  function tools.github_gitignore_templates_list() return { templates = json.array { "C", "Lua", "Python" } } end
  function tools.github_gitignore_template_get(p)
    if not TEMPLATES[p.name] then return shelf.missing() end
    return { name = p.name, source = TEMPLATES[p.name] }
  end
end

function M.tools(hub, tools, at)
  release_tools(hub, tools, at)
  setting_tools(hub, tools, at)
  workflow_tools(hub, tools, at)
  whole_tools(hub, tools, at)
end

return M
