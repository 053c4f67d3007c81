-- The emulated GitHub's talk about changes: reviews of pull requests, and what issues have beside their text:
-- comments, labels, milestones, reactions, sub-issues, events. Called by github.lua.
local json = require "host.json"
local shelf = require "emulator.github_shelf"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given = world_of.given
local M = {}

local STATES = { APPROVE = "APPROVED", REQUEST_CHANGES = "CHANGES_REQUESTED", COMMENT = "COMMENTED" }

local function review_tools(hub, tools, at, number)
  local function with(act)
    return function(p)
      local r, i = at.issue(p, p.pull_number)
      if not r or not i.pull then return shelf.missing() end
      return act(i.pull, p, r, i)
    end
  end
  local function of(name)
    return function(p)
      local r, i = at.issue(p, p.pull_number)
      if not r or not i.pull then return nil end
      i.pull[name] = i.pull[name] or {}
      return i.pull[name]
    end
  end
  -- A comment in a review is found by its id in all pull requests of the repository.
  local function comments_of(p)
    local r, all = at.repo(p), {}
    for _, i in ipairs(r and r.issues or {}) do
      for _, c in ipairs(i.pull and i.pull.comments or {}) do all[#all + 1] = c end
    end
    return r and all
  end
  tools.github_pull_request_update = with(function(pull, p, r, i)
    i.title, i.body, i.state = given(p.title) or i.title, given(p.body) or i.body, given(p.state) or i.state
    pull.base = given(p.base) or pull.base
    return at.show_pull(r, i)
  end)
  tools.github_pull_request_merge_check = with(function(pull)
    if not pull.merged then return shelf.missing() end
    return { merged = true }
  end)
  tools.github_pull_request_branch_update = with(function(pull, p)
    if given(p.expected_head_sha) and p.expected_head_sha ~= pull.sha then
      return shelf.fail(422, "expected head sha does not match current head ref") end
    pull.sha = hub.world:hex(40)
    return { message = "Updating pull request branch." }
  end)
  tools.github_pull_request_commits_list = with(function(pull, p, _, i)
    return { commits = shelf.page({ { sha = pull.sha, commit = { message = i.title }, author = at.user(i.user) } }, p) }
  end)
  tools.github_pull_request_files_list = with(function(pull, p)
    return { files = shelf.page({ { sha = pull.sha, filename = "src/" .. pull.head .. ".lua", status = "modified",
      additions = 3, deletions = 1, changes = 4 } }, p) }
  end)
  local function new_review(p)
    local event = given(p.event)
    if event and not STATES[event] then return shelf.fail(422, "event is not a review event") end
    if (event == "REQUEST_CHANGES" or event == "COMMENT") and (given(p.body) or "") == "" then
      return shelf.fail(422, "body is required for this event") end
    return { id = number(), user = at.user(hub.login), body = given(p.body) or "", state = event and STATES[event]
      or "PENDING", submitted_at = event and text.instant(hub.world:now()) or json.null }
  end
  local with_review = shelf.add(tools, { of = of "reviews", key = "id", parameter = "review_id", named = "reviews",
    make = new_review, fields = { "body" }, create = "github_pull_request_review_create",
    get = "github_pull_request_review_get", list = "github_pull_request_reviews_list",
    update = "github_pull_request_review_update", delete = "github_pull_request_review_delete" })
  tools.github_pull_request_review_submit = with_review(function(review, p)
    if review.state ~= "PENDING" then return shelf.fail(422, "Could not submit the review: it is not pending") end
    if not STATES[p.event] then return shelf.fail(422, "event is not a review event") end
    review.state, review.body = STATES[p.event], given(p.body) or review.body
    return review
  end)
  tools.github_pull_request_review_dismiss = with_review(function(review, p)
    review.state, review.dismissal = "DISMISSED", p.message
    return review
  end)
  shelf.add(tools, { of = of "comments", key = "id", parameter = "comment_id", named = "comments", make = function(p)
    return { id = number(), body = p.body, path = p.path, commit_id = p.commit_id, line = given(p.line),
      user = at.user(hub.login), created_at = text.instant(hub.world:now()) }
  end, create = "github_pull_request_comment_create", list = "github_pull_request_review_comments_list" })
  shelf.add(tools, { of = comments_of, key = "id", parameter = "comment_id", fields = { "body" },
    get = "github_pull_request_review_comment_get", update = "github_pull_request_review_comment_update" })
  function tools.github_pull_request_review_comment_delete(p)
    local r = at.repo(p)
    for _, i in ipairs(r and r.issues or {}) do
      local _, at_index = shelf.take(i.pull and i.pull.comments or {}, "id", p.comment_id)
      if at_index then
        table.remove(i.pull.comments, at_index)
        return {}
      end
    end
    return shelf.missing()
  end
  tools.github_pull_request_reviewers_request = with(function(pull, p, r, i)
    pull.reviewers = pull.reviewers or {}
    for _, login in ipairs(given(p.reviewers) or {}) do
      if login == i.user then return shelf.fail(422, "Review cannot be requested from pull request author.") end
      if not shelf.take(pull.reviewers, "login", login) then table.insert(pull.reviewers, at.user(login)) end
    end
    return at.show_pull(r, i)
  end)
  tools.github_pull_request_reviewers_remove = with(function(pull, p, r, i)
    for _, login in ipairs(p.reviewers) do
      local _, k = shelf.take(pull.reviewers or {}, "login", login)
      if k then table.remove(pull.reviewers, k) end
    end
    return at.show_pull(r, i)
  end)
  tools.github_pull_request_requested_reviewers_list = with(function(pull, p)
    return { users = shelf.page(pull.reviewers or {}, p), teams = json.array {} }
  end)
end

local function issue_tools(hub, tools, at, number)
  local function with(act)
    return function(p)
      local r, i = at.issue(p, p.issue_number)
      if not r then return shelf.missing() end
      return act(i, p, r)
    end
  end
  tools.github_issue_assignees_remove = with(function(i, p, r)
    for _, login in ipairs(given(p.assignees) or {}) do
      for k = #i.assignees, 1, -1 do
        if i.assignees[k] == login then table.remove(i.assignees, k) end
      end
    end
    return at.show_issue(r, i)
  end)
  tools.github_issue_label_remove = with(function(i, p, r)
    for k, name in ipairs(i.labels) do
      if name == p.label_name then
        table.remove(i.labels, k)
        return { labels = at.show_labels(i.labels), issue = at.show_issue(r, i).number }
      end
    end
    return shelf.fail(404, "Label does not exist")
  end)
  local function comment(act)
    return function(p)
      local r = at.repo(p)
      for _, i in ipairs(r and r.issues or {}) do
        local c, k = shelf.take(i.comments, "id", p.comment_id)
        if c then return act(c, p, r, i, k) end
      end
      return shelf.missing()
    end
  end
  tools.github_issue_comment_get = comment(function(c, _, r, i) return at.show_comment(r, i, c) end)
  tools.github_issue_comment_update = comment(function(c, p, r, i)
    c.body = p.body
    return at.show_comment(r, i, c)
  end)
  tools.github_issue_comment_delete = comment(function(_, _, _, i, k)
    table.remove(i.comments, k)
    return {}
  end)
  tools.github_issue_reaction_create = with(function(i, p)
    local one = { id = number(), content = p.content, user = at.user(hub.login) }
    i.reactions = i.reactions or {}
    table.insert(i.reactions, one)
    return one
  end)
  tools.github_issue_reaction_list = with(function(i, p)
    local rows = {}
    for _, one in ipairs(i.reactions or {}) do
      if not given(p.content) or p.content == one.content then rows[#rows + 1] = one end
    end
    return { reactions = shelf.page(rows, p) }
  end)
  local function events(i)
    local rows = { { id = i.number * 100, event = "opened", actor = at.user(i.user), created_at = text.stamp(i.at) } }
    for k, c in ipairs(i.comments) do
      rows[#rows + 1] = { id = i.number * 100 + k, event = "commented", actor = at.user(c.user), body = c.body,
        created_at = text.stamp(c.at) }
    end
    if i.state == "closed" then rows[#rows + 1] = { id = i.number * 100 + 99, event = "closed",
      actor = at.user(hub.login), created_at = text.stamp(i.updated or i.at) } end
    return rows
  end
  tools.github_issue_events_list = with(function(i, p) return { events = shelf.page(events(i), p) } end)
  tools.github_issue_timeline_list = with(function(i, p) return { timeline = shelf.page(events(i), p) } end)
  tools.github_sub_issue_add = with(function(i, p, r)
    for _, other in ipairs(r.issues) do
      if r.id * 1000 + other.number == p.sub_issue_id or other.number == p.sub_issue_id then
        i.subs = i.subs or {}
        table.insert(i.subs, other)
        return at.show_issue(r, i)
      end
    end
    return shelf.missing()
  end)
  tools.github_sub_issues_list = with(function(i, p, r)
    return { sub_issues = shelf.page(i.subs or {}, p, function(sub) return at.show_issue(r, sub) end) }
  end)
  tools.github_sub_issue_remove = with(function(i, p, r)
    for k, sub in ipairs(i.subs or {}) do
      if r.id * 1000 + sub.number == p.sub_issue_id or sub.number == p.sub_issue_id then
        table.remove(i.subs, k)
        return at.show_issue(r, sub)
      end
    end
    return shelf.missing()
  end)
end

local function label_tools(hub, tools, at)
  local function label(parameter, act)
    return function(p)
      local r = at.repo(p)
      for k, name in ipairs(r and r.labels or {}) do
        if name == p[parameter] then return act(r, k, p) end
      end
      return shelf.missing()
    end
  end
  tools.github_label_get = label("label_name", function(r, k) return { name = r.labels[k], color = "ededed" } end)
  tools.github_label_update = label("name", function(r, k, p)
    r.labels[k] = given(p.new_name) or r.labels[k]
    return { name = r.labels[k], color = given(p.color) or "ededed", description = given(p.description) or "" }
  end)
  tools.github_label_delete = label("name", function(r, k)
    table.remove(r.labels, k)
    return {}
  end)
  shelf.add(tools, { of = function(p)
    local r = at.repo(p)
    if r then r.milestones = r.milestones or {} end
    return r and r.milestones
  end, key = "number", parameter = "milestone_number", named = "milestones",
    make = function(p, list)
      local last = list[#list]
      return { number = (last and last.number or 0) + 1, title = p.title, description = given(p.description) or "",
        state = given(p.state) or "open", due_on = given(p.due_on), creator = at.user(hub.login) }
    end, keep = function(m, p) return (given(p.state) or "open") == "all" or m.state == (given(p.state) or "open") end,
    fields = { "title", "description", "state", "due_on" }, create = "github_milestone_create",
    get = "github_milestone_get", list = "github_milestones_list", update = "github_milestone_update",
    delete = "github_milestone_delete" })
end

function M.tools(hub, tools, at)
  local function number()
    hub.count = hub.count + 1
    return 4000 + hub.count
  end
  review_tools(hub, tools, at, number)
  issue_tools(hub, tools, at, number)
  label_tools(hub, tools, at)
end

return M
