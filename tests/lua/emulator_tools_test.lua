-- The emulated services behind Scalekit's tools: what a tool writes, another can read.
local t = require "testing"
local emulating = require "emulating"
local catalog_of = require "emulator.catalog"
local json = require "host.json"

-- call(tool, params) -> data, or nil, the tool's error and the status
local function tools(options)
  local e = emulating.start(options)
  return function(name, params)
    local status, body = e.sk("POST", "/execute_tool", { tool_name = name, identifier = "u", params = params })
    if status == 200 then return body.data end
    local info = emulating.info_of(body)
    return nil, info.tool_error_info and info.tool_error_info.tool_error_message or body.message, status
  end, e
end

local function names(list, field)
  local out = {}
  for i, item in ipairs(list) do out[i] = item[field] end
  return out
end

t.test("googlecalendar: an event is made, found, moved, changed, counted as busy, deleted", function()
  local call, e = tools()
  local list = call("googlecalendar_list_events", { time_min = "2026-01-05T00:00:00Z", max_results = 2 })
  t.eq(names(list.events, "summary"), { "Stand-up", "Board slides review" })
  t.eq(list.next_page_token, "2")
  list = call("googlecalendar_list_events", { max_results = 2, page_token = "2" })
  t.eq({ names(list.events, "summary"), list.next_page_token }, { { "Lunch with Lee" } })
  local made = call("googlecalendar_create_event", { summary = "Call Ana", start_datetime = "2026-01-08T09:00:00+01:00",
    event_duration_minutes = 30, attendees_emails = { "ana@contoso.example" }, create_meeting_room = true })
  t.eq({ made.start.dateTime, made["end"].dateTime, made.attendees[1].email },
    { "2026-01-08T08:00:00Z", "2026-01-08T08:30:00Z", "ana@contoso.example" })
  t.ok(made.hangoutLink)
  local busy = call("googlecalendar_query_freebusy", { calendar_ids = { "primary", "nobody" },
    time_min = "2026-01-08T00:00:00Z", time_max = "2026-01-09T00:00:00Z" })
  t.eq(busy.calendars.primary.busy[1]["end"], "2026-01-08T08:30:00Z")
  t.eq(busy.calendars.nobody.errors[1].reason, "notFound")
  local changed = call("googlecalendar_update_event", { calendar_id = "primary", event_id = made.id,
    start_datetime = "2026-01-08T10:00:00Z", summary = "Call Ana Souza" })
  t.eq({ changed.summary, changed["end"].dateTime }, { "Call Ana Souza", "2026-01-08T10:30:00Z" })
  t.eq(#call("googlecalendar_search_events", { calendar_id = "primary", query = "souza" }).events, 1)
  local holidays = call("googlecalendar_list_calendars", {}).calendars[2].id
  call("googlecalendar_move_event", { calendar_id = "primary", destination_calendar_id = holidays, event_id = made.id })
  t.eq(call("googlecalendar_get_event_by_id", { calendar_id = holidays, event_id = made.id }).id, made.id)
  t.eq(select(2, call("googlecalendar_get_event_by_id", { event_id = made.id })), "Not Found")
  t.eq(call("googlecalendar_delete_event", { calendar_id = holidays, event_id = made.id }), {})
  t.eq(select(3, call("googlecalendar_delete_event", { calendar_id = holidays, event_id = made.id })), 500)
  local _, message = call("googlecalendar_create_event", { summary = "x", start_datetime = "tomorrow" })
  t.match(message, "start_datetime is not a time")
  local _, state = e.call("GET", "/__emulator/state")
  t.eq(state.events[1].summary, "Call Ana")
end)

t.test("googlecalendar: quick add, repeated events, whole days, calendars and sharing", function()
  local call = tools()
  local quick = call("googlecalendar_quick_add_event", { calendar_id = "primary",
    text = "Dentist on 2026-02-03 at 8:30" })
  t.eq({ quick.summary, quick.start.dateTime }, { "Dentist", "2026-02-03T08:30:00Z" })
  local stand_up = call("googlecalendar_list_events", { query = "stand-up" }).events[1]
  local dates = call("googlecalendar_list_event_instances", { calendar_id = "primary", event_id = stand_up.id }).events
  t.eq({ #dates, dates[5].start.dateTime }, { 5, "2026-01-09T10:00:00Z" })
  local c = call("googlecalendar_create_calendar", { summary = "Plans" })
  local day = call("googlecalendar_create_event", { calendar_id = c.id, summary = "Off",
    start_datetime = "2026-03-01" })
  t.eq({ day.start.date, day["end"].date }, { "2026-03-01", "2026-03-02" })
  local rule = call("googlecalendar_insert_acl_rule", { calendar_id = c.id, role = "reader", scope_type = "user",
    scope_value = "lee@northwind.example" })
  t.eq(call("googlecalendar_update_acl_rule", { calendar_id = c.id, rule_id = rule.id, role = "writer" }).role,
    "writer")
  call("googlecalendar_delete_acl_rule", { calendar_id = c.id, rule_id = rule.id })
  t.eq(#call("googlecalendar_list_acl_rules", { calendar_id = c.id }).rules, 1)
  call("googlecalendar_remove_calendar_from_list", { calendar_id = c.id })
  t.eq(#call("googlecalendar_list_calendars", {}).calendars, 2)
  t.eq(call("googlecalendar_delete_calendar", { calendar_id = c.id }), {})
  t.match(select(2, call("googlecalendar_delete_calendar", { calendar_id = "primary" })), "primary")
  t.eq(call("googlecalendar_get_setting", { setting = "timezone" }).value, "UTC")
end)

t.test("notion: pages, blocks, Markdown, comments", function()
  local call, e = tools()
  local found = call("notion_page_search", { query = "handbook" })
  local handbook = found.results[1]
  t.eq({ #found.results, handbook.properties.title.title[1].plain_text }, { 1, "Handbook" })
  local page = call("notion_page_create", { parent_page_id = handbook.id, properties = { title = "On call" },
    child_blocks = { { type = "paragraph", paragraph = { rich_text = { { text = { content = "Week 2: Lee" } } } } } } })
  t.eq({ page.object, page.parent.page_id }, { "page", handbook.id })
  call("notion_page_content_append", { block_id = page.id, blocks = { { type = "heading_2",
    heading_2 = { rich_text = { { text = { content = "Later" } } } } } } })
  t.eq(call("notion_page_markdown_get", { page_id = page.id }).markdown, "Week 2: Lee\n## Later")
  local blocks = call("notion_page_content_get", { block_id = page.id }).results
  call("notion_block_update", { block_id = blocks[1].id, type = "paragraph", text = "Week 2: Dana" })
  call("notion_block_delete", { block_id = blocks[2].id })
  t.eq(call("notion_page_markdown_get", { page_id = page.id }).markdown, "Week 2: Dana")
  call("notion_page_markdown_update", { page_id = page.id, operation_type = "replace_content",
    markdown_content = "# New\n- one" })
  t.eq(call("notion_page_markdown_get", { page_id = page.id }).markdown, "# New\n- one")
  local c = call("notion_comment_create", { parent = { page_id = page.id }, comment = { rich_text = { {
    text = { content = "Good" } } } } })
  call("notion_comment_create", { discussion_id = c.discussion_id, comment = { content = "Thanks" } })
  t.eq(names(call("notion_comments_fetch", { block_id = page.id }).results, "discussion_id"),
    { c.discussion_id, c.discussion_id })
  call("notion_comment_delete", { comment_id = c.id })
  t.eq(#call("notion_comments_fetch", { block_id = page.id }).results, 1)
  call("notion_page_update", { page_id = page.id, archived = true })
  t.eq(#call("notion_page_search", { query = "on call" }).results, 0)
  t.match(select(2, call("notion_page_get", { page_id = "nope" })), "Could not find page")
  t.match(select(2, call("notion_page_create", { properties = { title = "x" } })), "a parent is required")
  local _, state = e.call("GET", "/__emulator/state")
  t.eq(state.pages[1].title, "On call")
end)

t.test("notion: a database is queried, sorted, filled, changed; views keep their queries", function()
  local call = tools()
  local tasks = call("notion_data_fetch", { query = "tasks" }).results[1]
  local function rows(p)
    p.database_id = tasks.id
    local out = {}
    for i, row in ipairs(assert(call("notion_database_query", p)).results) do
      out[i] = row.properties.Name.title[1].plain_text
    end
    return out
  end
  t.eq(rows { filter = { property = "Status", status = { equals = "Done" } } }, { "Book the offsite" })
  t.eq(rows { filter = { ["and"] = { { property = "Points", number = { greater_than = 1 } },
    { property = "Due", date = { before = "2026-01-15" } } } } }, { "Fix invoice rounding" })
  t.eq(rows { sorts = { { property = "Due", direction = "descending" } } },
    { "Write the dunning page", "Fix invoice rounding", "Book the offsite" })
  call("notion_database_insert_row", { database_id = tasks.id, properties = { Name = { title = { { text = {
    content = "Ship" } } } }, Status = { status = { name = "Done" } } } })
  t.eq(#rows { filter = { property = "Status", status = { equals = "Done" } } }, 2)
  t.match(select(2, call("notion_database_insert_row", { database_id = tasks.id, properties = { Colour = "red" } })),
    "not a property that exists")
  t.match(select(2, call("notion_database_query", { database_id = tasks.id, filter = { a = 1 } })), "filter.property")
  local source = call("notion_data_source_fetch", { database_id = tasks.id }).data_sources[1]
  local view = call("notion_view_create", { data_source_id = source.id, name = "Done", type = "table",
    filter = { property = "Status", status = { equals = "Done" } } })
  t.eq(#call("notion_view_query_create", { view_id = view.id }).results, 2)
  t.eq(#call("notion_view_list", { database_id = tasks.id }).results, 1)
  local db = call("notion_database_create", { parent = { page_id = call("notion_page_search", {}).results[1].id },
    title = { { text = { content = "Ideas" } } }, properties = { Name = { title = {} } } })
  t.eq(db.properties.Name.type, "title")
end)

local REAL = { owner = "northwind", repo = "billing", org = "northwind", channel = "general", channel_id = "general",
  issue_number = 1, pull_number = 4, to = "a@example.com", calendar_id = "primary", basehead = "main...main",
  start_datetime = "2026-01-07T10:00:00Z", end_datetime = "2026-01-07T11:00:00Z", user = "U0EMU002", users = "U0EMU002",
  topic_name = "projects/p/topics/t", content = "eA==", body = "text", branch = "main", ref = "main", event = "COMMENT",
  raw_message = "To: a@example.com\n\nhi", message_id = "19b800000001eef", path = "README.md",
    time_min = "2026-01-05T00:00:00Z",
  time_max = "2026-01-09T00:00:00Z", parent = { type = "workspace", workspace = true }, post_at = 2000000000 }

-- Arguments that a schema allows; `all`: the optional ones too.
local function arguments(schema, all)
  local required, out = {}, {}
  for _, name in ipairs(schema.required or {}) do required[name] = true end
  for name, property in pairs(schema.properties) do
    if required[name] or all then
      local kind = property.type
      local sample = ({ string = "x", number = 1, integer = 1, boolean = true, array = json.array { "x" },
        object = { url = "https://x.example", x = "y" } })[kind]
      local real = REAL[name]
      if real ~= nil and (type(real) == "table") == (kind == "object") and (kind ~= "string" or type(real) == "string")
        and kind ~= "array" and (kind ~= "boolean") then sample = real end
      out[name] = sample
    end
  end
  return out
end

t.test("every listed tool acts, with the required and with all arguments, and none of them breaks", function()
  local catalog, order = catalog_of.new(), {}
  for name in pairs(catalog.tools) do order[#order + 1] = name end
  local function destroys(name) return catalog.tools[name].definition.annotations.destructive_hint end
  table.sort(order, function(a, b) -- what deletes comes last
    if destroys(a) ~= destroys(b) then return not destroys(a) end
    return a < b
  end)
  local called, done, broken = 0, 0, {}
  for _, all in ipairs { false, true } do
    local call, e = tools()
    for _, name in ipairs(order) do
      t.ok(e.app.scalekit.actions[name], name)
      local data, message = call(name, arguments(catalog.tools[name].definition.input_schema, all))
      called = called + 1
      if data then done = done + 1 elseif message:find("raised", 1, true) then
        broken[#broken + 1] = name .. ": " .. message end
    end
  end
  t.eq(broken, {})
  t.eq({ #order, called }, { 436, 872 })
  t.ok(done > 400, ("only %d of %d calls did something"):format(done, called))
end)

t.test("github: branches, releases, reviews, labels, hooks, gists, teams, whole repositories", function()
  local call = tools()
  local here = { owner = "northwind", repo = "billing" }
  local function on(name, p)
    for k, v in pairs(here) do p[k] = v end
    return call("github_" .. name, p)
  end
  local main = on("branch_get", { branch = "main" }).commit.sha
  on("branch_create", { branch_name = "topic", sha = main })
  t.eq(names(on("branches_list", {}).branches, "name"), { "main", "topic" })
  t.match(select(2, on("branch_create", { branch_name = "topic", sha = main })), "already exists")
  on("git_ref_delete", { ref = "heads/topic" })
  t.eq(select(2, on("branch_get", { branch = "topic" })), "Branch not found")
  local release = on("release_create", { tag_name = "v1" })
  on("release_update", { release_id = release.id, body = "notes" })
  t.eq(on("release_get_latest", {}).body, "notes")
  t.eq(on("release_get_by_tag", { tag = "v1" }).id, release.id)
  t.eq(names(on("tags_list", {}).tags, "name"), { "v1" })
  local review = on("pull_request_review_create", { pull_number = 4, body = "hm" })
  t.eq(review.state, "PENDING")
  t.eq(on("pull_request_review_submit", { pull_number = 4, review_id = review.id, event = "APPROVE" }).state,
    "APPROVED")
  t.match(select(2, on("pull_request_review_submit", { pull_number = 4, review_id = review.id, event = "APPROVE" })),
    "not pending")
  on("pull_request_reviewers_request", { pull_number = 4, reviewers = { "dana" } })
  t.eq(names(on("pull_request_requested_reviewers_list", { pull_number = 4 }).users, "login"), { "dana" })
  local c = on("issue_comment_create", { issue_number = 1, body = "a" })
  on("issue_comment_update", { comment_id = c.id, body = "b" })
  t.eq(on("issue_comment_get", { comment_id = c.id }).body, "b")
  on("issue_label_remove", { issue_number = 1, label_name = "bug" })
  t.eq(#on("issue_get", { issue_number = 1 }).labels, 0)
  local hook = on("webhook_create", { config = { url = "https://x.example" } })
  on("webhook_delete", { hook_id = hook.id })
  t.eq(#on("webhooks_list", {}).webhooks, 0)
  on("commit_status_create", { sha = main, state = "failure" })
  t.eq(on("commit_combined_status_get", { ref = main }).state, "failure")
  on("workflow_dispatch", { workflow_id = "ci.yml", ref = "main" })
  local run = on("workflow_runs_list", {}).workflow_runs[1]
  on("workflow_run_cancel", { run_id = run.id })
  t.eq(on("workflow_run_get", { run_id = run.id }).conclusion, "cancelled")
  local gist = call("github_gist_create", { files = { ["a.txt"] = { content = "x" } } })
  call("github_gist_update", { gist_id = gist.id, files = { ["a.txt"] = { content = "yy" } } })
  t.eq(call("github_gist_get", { gist_id = gist.id }).files["a.txt"].size, 2)
  call("github_team_create", { org = "northwind", name = "Core Team" })
  call("github_team_membership_set", { org = "northwind", team_slug = "core-team", username = "dana" })
  t.eq(#call("github_team_members_list", { org = "northwind", team_slug = "core-team" }).members, 1)
  call("github_repo_create_for_user", { name = "notes" })
  t.match(select(2, call("github_repo_create_for_user", { name = "notes" })), "already exists")
  call("github_repo_delete", { owner = "sam-rivera", repo = "notes" })
  t.eq(select(2, call("github_repo_get", { owner = "sam-rivera", repo = "notes" })), "Not Found")
end)

t.test("slack and gmail: pins, files, groups, quiet times; filters, addresses, mails put in by hand", function()
  local call = tools()
  local ts = call("slack_send_message", { channel = "general", text = "pin me" }).ts
  call("slack_pin_message", { channel = "general", timestamp = ts })
  t.eq(call("slack_list_pinned_items", { channel = "general" }).items[1].message.text, "pin me")
  t.eq(select(2, call("slack_pin_message", { channel = "general", timestamp = ts })), "already_pinned")
  call("slack_add_reaction", { channel = "general", timestamp = ts, name = "eyes" })
  call("slack_remove_reaction", { channel = "general", timestamp = ts, name = "eyes" })
  t.eq(#call("slack_list_reactions", {}).items, 0)
  local file = call("slack_get_upload_url_external", { filename = "a.txt", length = 3 }).file_id
  t.eq(#call("slack_list_files", {}).files, 0)
  call("slack_complete_upload_external", { files = { { id = file, title = "A" } }, channel_id = "general" })
  t.eq(call("slack_search_files", { query = "a.txt" }).files.total, 1)
  local group = call("slack_create_usergroup", { name = "ops" }).usergroup.id
  call("slack_update_usergroup_users", { usergroup = group, users = "U0EMU001,U0EMU002" })
  t.eq(#call("slack_list_usergroup_users", { usergroup = group }).users, 2)
  call("slack_kick_from_conversation", { channel = "general", user = "lee" })
  t.eq(#call("slack_list_channel_members", { channel = "general" }).members, 2)
  t.eq(call("slack_set_dnd_snooze", { num_minutes = 5 }).snooze_enabled, true)
  t.eq(select(2, call("slack_schedule_rich_message", { channel = "general", text = "x", post_at = 1 })), "time_in_past")
  local filter = call("gmail_create_filter", { from = "ci@builds.example", should_archive = true })
  t.eq(filter.action.removeLabelIds, { "INBOX" })
  t.eq(#call("gmail_list_filters", {}).filter, 1)
  t.match(select(2, call("gmail_update_auto_forwarding", { enabled = true, email_address = "x@y.example" })),
    "forwarding")
  call("gmail_create_forwarding_address", { forwarding_email = "x@y.example" })
  t.eq(call("gmail_update_auto_forwarding", { enabled = true, email_address = "x@y.example" }).enabled, true)
  local mail = call("gmail_insert_message", { raw_message = "From: Zoe <zoe@example.com>\nSubject: By hand\n\nHello" })
  t.eq(call("gmail_get_message_by_id", { message_id = mail.id }).payload.headers[3].value, "By hand")
end)

t.done()
