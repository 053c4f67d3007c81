-- /__emulator/…: switches and looking in, for tests of other programs. Called by app.lua; needs no key and
-- shows none.
local json = require "host.json"
local forms_of = require "emulator.forms"
local reply = require "emulator.reply"

local M = {}

local function list_of(rows)
  local out = json.array {}
  for i, row in ipairs(rows) do out[i] = row end
  return out
end

local function state(app)
  local ended, sessions = 0, json.array {}
  for _, record in ipairs(app.langsmith.order) do
    if record.end_time or record.error then ended = ended + 1 end
  end
  for i, session in ipairs(app.langsmith.session_order) do sessions[i] = session.name end
  local accounts = json.array {}
  for i, a in ipairs(app.accounts.order) do
    accounts[i] = { id = a.id, connector = a.connector, identifier = a.identifier, status = a.status }
  end
  return {
    requests = app.counts, outbox = list_of(app.mailbox.outbox), slack = list_of(app.slack.posted),
      issues = list_of(app.github.created),
    events = list_of(app.calendar.written), pages = list_of(app.notion.written),
    accounts = accounts, troubles = list_of(app.troubles.list), tool_calls = #app.scalekit.logs,
    runs = { stored = #app.langsmith.order, ended = ended, posted = app.langsmith.counts.post,
      patched = app.langsmith.counts.patch,
      projects = sessions, attachments = #app.langsmith.attachments, feedback = #app.langsmith.feedback },
  }
end

local function post_trouble(app, request)
  local body = json.decode(request.body)
  if type(body) ~= "table" then return reply.json(400, { error = "the body is not a JSON object" }) end
  for k, v in pairs(body) do
    if v == json.null then body[k] = nil end
  end
  local ok, message = app.troubles:add(body)
  if not ok then return reply.json(400, { error = message }) end
  return reply.json(200, { troubles = list_of(app.troubles.list) })
end

local function post_account(app, request)
  local body = json.decode(request.body)
  if type(body) ~= "table" then return reply.json(400, { error = "the body is not a JSON object" }) end
  local account = app.accounts.connections[body.connector] and app.accounts:find(body.connector,
    body.identifier or "", nil)
  if not account then return reply.json(404, { error = "no such account" }) end
  app.accounts:authorize(account, body.status or "ACTIVE")
  return reply.json(200, { id = account.id, status = account.status })
end

local function post_forms(app, request)
  local body = json.decode(request.body)
  if type(body) ~= "table" then return reply.json(400, { error = "the body is not a JSON object" }) end
  local all = {}
  for k, v in pairs(app.forms) do all[k] = v end
  for k, v in pairs(body) do all[k] = v end
  local forms, message = forms_of.new(all)
  if not forms then return reply.json(400, { error = message }) end
  app.forms = forms
  return reply.json(200, { forms = forms })
end

local ROUTES = {
  ["GET /state"] = function(app) return reply.json(200, state(app)) end,
  ["GET /requests"] = function(app) return reply.json(200, { requests = list_of(app.kept) }) end,
  ["GET /webhooks"] = function(app) return reply.json(200, { deliveries = list_of(app.webhooks.list) }) end,
  ["POST /forms"] = post_forms,
  ["POST /trouble"] = post_trouble,
  ["DELETE /trouble"] = function(app)
    app.troubles:clear()
    return reply.json(200, { troubles = json.array {} })
  end,
  ["POST /account"] = post_account,
  ["POST /reset"] = function(app)
    app:reset()
    return reply.json(200, {})
  end,
}

function M.handle(app, request)
  local route = ROUTES[request.method .. " " .. request.path:gsub("^/__emulator", "")]
  if not route then
    local known = {}
    for name in pairs(ROUTES) do known[#known + 1] = (name:gsub(" ", " /__emulator")) end
    table.sort(known)
    return reply.json(404, { error = "there are: " .. table.concat(known, ", ") })
  end
  return route(app, request)
end

return M
