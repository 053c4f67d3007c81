-- What an emulator starts from: the built-in data, and the Lua file of a user on top of it. Called by
-- app.lua; `default` builds fresh tables each time, so that nothing is shared between two emulators.
local forms_of = require "emulator.forms"

local M = {}

-- Every field a scenario may have, with its type.
M.FIELDS = {
  address = "string", mails = "table", contacts = "table", slack = "table", github = "table", googlecalendar = "table",
  notion = "table", connections = "table",
  accounts = "string|table", approve_after = "number", link_seconds = "number", unknown_tool_status = "number",
  tools = "table", extra_tools = "table", model = "function", rules = "table", models = "table", troubles = "table",
  context_tokens = "number", forms = "table", verification = "string", proxy = "table", webhook = "table",
  gateway = "boolean|table",
}

local function mails()
  return {
    { from = "Dana Whitfield <dana@northwind.example>", subject = "Q3 figures for the board",
      body = "Hi,\nrevenue is up 12 % and churn is down to 1.8 %. Can you check the slides before Thursday "
        .. "17:00?\nDana",
      labels = { "INBOX", "UNREAD", "IMPORTANT" } },
    { from = "CI <ci@builds.example>", subject = "Build 4821 failed on main",
      body = "Step unit-tests failed after 3 m 12 s: test_invoice_rounding expected 10.05, got 10.04.",
      labels = { "INBOX", "UNREAD" } },
    { from = "Lee Park <lee@northwind.example>", subject = "Lunch on Friday?",
      body = "The new noodle place opens on Friday. 12:30 at the door? Tell me by tomorrow.",
      labels = { "INBOX", "UNREAD" } },
    { from = "Ana Souza <ana@contoso.example>", subject = "Contract draft, second round",
      body = "Our lawyers changed clause 7 only. Please sign before the end of the month.",
      labels = { "INBOX", "UNREAD" } },
    { from = "Travel desk <travel@northwind.example>", subject = "Your train to Hamburg",
      body = "Coach 7, seat 42, departs 08:06 from platform 9. The ticket is attached.",
      labels = { "INBOX" }, attachments = { { id = "att1", name = "ticket.txt", text = "Coach 7, seat 42" } } },
    { from = "Weekly Lua <news@weeklylua.example>", subject = "Coroutines, explained with trains",
      body = "This week: symmetric and asymmetric coroutines, and why a scheduler is a train table.",
      labels = { "INBOX" } },
    { from = "Dana Whitfield <dana@northwind.example>", subject = "Re: Offsite agenda",
      body = "Looks good. I booked the room by the lake for both days.", labels = { "INBOX", "STARRED" } },
    { from = "Prize office <win@lucky.example>", subject = "You have won", body = "Send us your bank details.",
      labels = { "SPAM" } },
  }
end

local function slack()
  return {
    team = "Northwind (emulated)",
    users = {
      { id = "U0EMU001", name = "sam", real_name = "Sam Rivera", email = "sam@northwind.example" },
      { id = "U0EMU002", name = "dana", real_name = "Dana Whitfield", email = "dana@northwind.example" },
      { id = "U0EMU003", name = "lee", real_name = "Lee Park", email = "lee@northwind.example" },
    },
    channels = {
      { name = "general", topic = "Everything", messages = {
        { user = "U0EMU002", text = "Board slides are due on Thursday." },
          { user = "U0EMU003", text = "Who broke the build?" } } },
      { name = "builds", topic = "What CI says",
        messages = { { user = "U0EMU003", text = "Build 4821 failed on main." } } },
      { name = "random", messages = { { user = "U0EMU003", text = "Noodles on Friday!" } } },
    },
  }
end

local function github()
  return {
    login = "sam-rivera",
    repos = {
      { owner = "northwind", name = "billing", description = "Invoices and dunning", language = "Lua", stars = 12,
        commits = { "Round invoices half to even", "Add dunning letters" },
        issues = {
          { title = "Invoice rounding is off by a cent", body = "10.045 becomes 10.04.", labels = { "bug" },
            assignees = { "sam-rivera" }, user = "lee-park" },
          { title = "Document the dunning levels", labels = { "docs" } },
          { title = "Old exports are never removed", state = "closed", labels = { "bug" } },
          { title = "Round half to even", body = "Fixes #1.", pull = { head = "fix-rounding" }, user = "lee-park" },
        } },
      { owner = "northwind", name = "website", description = "The public site", language = "HTML", stars = 3,
        issues = { { title = "Footer shows last year", labels = { "bug" }, assignees = { "sam-rivera" } } } },
    },
  }
end

-- Times are of the day on which an emulated clock starts: 2026-01-05, a Monday.
local function googlecalendar()
  return {
    timezone = "UTC",
    calendars = {
      { summary = "Sam Rivera", events = {
        { summary = "Stand-up", start = "2026-01-05T10:00:00Z", minutes = 15,
          recurrence = { "RRULE:FREQ=DAILY;COUNT=5" }, attendees = { "lee@northwind.example" } },
        { summary = "Board slides review", start = "2026-01-07T14:00:00Z", minutes = 60, location = "Room 2",
          attendees = { "dana@northwind.example" } },
        { summary = "Lunch with Lee", start = "2026-01-09T12:30:00Z", minutes = 60, location = "The new noodle place" },
      } },
      { summary = "Holidays", events = { { summary = "Epiphany", start = "2026-01-06" } } },
    },
  }
end

local function notion()
  return {
    users = { { name = "Sam Rivera", email = "sam@northwind.example" },
      { name = "Dana Whitfield", email = "dana@northwind.example" } },
    pages = { { title = "Handbook", text = "# Handbook\nHow we work.\n- Ask first\n- Write it down",
      pages = { { title = "Release checklist", text = "1. Tests pass\n2. Notes are written" } } } },
    databases = { { title = "Tasks", columns = { Name = "title", Status = "status", Due = "date", Points = "number" },
      rows = { { Name = "Fix invoice rounding", Status = "In progress", Due = "2026-01-08", Points = 3 },
        { Name = "Book the offsite", Status = "Done", Due = "2026-01-02", Points = 1 },
        { Name = "Write the dunning page", Status = "Not started", Due = "2026-01-20", Points = 2 } } } },
  }
end

function M.default()
  return {
    address = "sam@northwind.example", mails = mails(),
    contacts = {
      { name = "Dana Whitfield", email = "dana@northwind.example" },
        { name = "Lee Park", email = "lee@northwind.example" },
      { name = "Ana Souza", email = "ana@contoso.example" },
    },
    slack = slack(), github = github(), googlecalendar = googlecalendar(), notion = notion(),
    connections = { gmail = "GMAIL", slack = "SLACK", github = "GITHUB", googlecalendar = "GOOGLECALENDAR",
      notion = "NOTION" },
    accounts = "active", link_seconds = 300, tools = {}, extra_tools = {}, rules = {},
      models = {},
    troubles = {}, context_tokens = 128000, forms = {}, verification = "users", proxy = {}, webhook = {},
    gateway = false,
  }
end

local function check_field(name, v)
  local want = M.FIELDS[name]
  if not want then
    local known = {}
    for k in pairs(M.FIELDS) do known[#known + 1] = k end
    table.sort(known)
    return nil, ("a scenario has no field %q; it may have: %s"):format(tostring(name), table.concat(known, " "))
  end
  for kind in want:gmatch("[^|]+") do
    if type(v) == kind then return true end
  end
  return nil, ("field %s of a scenario must be a %s"):format(name, (want:gsub("|", " or a ")))
end

-- The default data with the user's fields in their place; or nil and a sentence. slack, github, googlecalendar and
-- notion are merged one level deep, all else replaces.
function M.merge(user)
  local scenario = M.default()
  for name, v in pairs(user) do
    local ok, message = check_field(name, v)
    if not ok then return nil, message end
    if name == "slack" or name == "github" or name == "googlecalendar" or name == "notion" then
      for k, item in pairs(v) do scenario[name][k] = item end
    else
      scenario[name] = v
    end
  end
  if type(scenario.accounts) == "string" and scenario.accounts ~= "active" and scenario.accounts ~= "pending" then
    return nil, 'accounts of a scenario must be "active", "pending" or a list'
  end
  if scenario.verification ~= "users" and scenario.verification ~= "custom" then
    return nil, 'verification of a scenario must be "users" or "custom"'
  end
  local forms = {}
  for k, v in pairs(scenario.forms) do forms[k] = v end
  forms.unknown_tool = forms.unknown_tool or scenario.unknown_tool_status
  local checked, message = forms_of.new(forms)
  if not checked then return nil, message end
  scenario.forms = checked
  return scenario
end

-- A file of the user's: it returns the table, or a function that makes it. nil and a sentence on failure.
function M.load(path)
  local found, script = pcall(require, "host.script")
  local chunk, message
  if found and script.load then
    chunk, message = script.load(path)
  else
    chunk, message = loadfile(path)
  end
  if not chunk then return nil, ("scenario %s: %s"):format(path, tostring(message)) end
  local ok, value = pcall(chunk)
  if ok and type(value) == "function" then ok, value = pcall(value) end
  if not ok then return nil, ("scenario %s: %s"):format(path, tostring(value)) end
  if type(value) ~= "table" then return nil, ("scenario %s must return a table"):format(path) end
  return value
end

return M
