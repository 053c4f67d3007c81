-- Gmail's and Google Calendar's own APIs, as the proxy shows them: the tools' data under Google's paths.
-- Called by proxy.lua.
local json = require "host.json"
local reply = require "emulator.reply"
local text = require "emulator.text"

local M = {}

local REASONS = { [400] = "INVALID_ARGUMENT", [401] = "UNAUTHENTICATED", [403] = "PERMISSION_DENIED",
  [404] = "NOT_FOUND", [405] = "UNIMPLEMENTED", [409] = "ALREADY_EXISTS", [429] = "RESOURCE_EXHAUSTED" }

local function google_error(status, message)
  return reply.json(status, { error = { code = status, message = message, status = REASONS[status] or "INTERNAL",
    errors = json.array { { message = message, domain = "global", reason = "emulated" } } } })
end

-- The fields of a mail in RFC 822 form, base64url: what messages.send takes.
local function read_raw(raw)
  local mail = text.unbase64(raw or "")
  if not mail then return nil end
  local head, body = mail:gsub("\r\n", "\n"):match("^(.-)\n\n(.*)$")
  local p = { body = body or "" }
  for name, value in ((head or mail) .. "\n"):gmatch("([%w%-]+):%s*(.-)\n") do p[name:lower()] = value end
  return p
end

local function gmail(tools)
  local function list(p)
    local data, fault = tools.gmail_fetch_mails { query = p.q, max_results = tonumber(p.maxResults),
      page_token = p.pageToken,
      format = "minimal" }
    if not data then return nil, fault end
    local rows = json.array {}
    for i, m in ipairs(data.messages) do rows[i] = { id = m.id, threadId = m.threadId } end
    return { messages = rows, resultSizeEstimate = data.resultSizeEstimate, nextPageToken = data.nextPageToken }
  end
  local function modify(p, id)
    return tools.gmail_modify_message_labels { message_id = id, add_label_ids = p.addLabelIds,
      remove_label_ids = p.removeLabelIds }
  end
  local base = "/gmail/v1/users/[^/]+"
  return { error = google_error, uploads = true, routes = {
    { "GET", base .. "/profile", function() return tools.gmail_get_profile {} end },
    { "GET", base .. "/labels", function() return tools.gmail_list_labels {} end },
    { "GET", base .. "/messages", list },
    { "GET", base .. "/messages/([^/]+)", function(p, id)
      return tools.gmail_get_message_by_id { message_id = id, format = p.format } end },
    { "POST", base .. "/messages/([^/]+)/modify", modify },
    { "POST", base .. "/messages/([^/]+)/trash", function(_, id) return tools.gmail_trash_message { message_id = id }
    end },
    { "DELETE", base .. "/messages/([^/]+)", function(_, id) return tools.gmail_delete_message { message_id = id } end,
      204 },
    { "POST", base .. "/messages/send", function(p)
      local mail = read_raw(p.raw)
      if not mail then return nil, { status = 400, message = "'raw' RFC822 payload message string is required" } end
      mail.to, mail.thread_id = mail.to or "", p.threadId
      return tools.gmail_send_message(mail)
    end },
    { "GET", base .. "/threads", function(p)
      return tools.gmail_list_threads { query = p.q, max_results = tonumber(p.maxResults), page_token = p.pageToken }
    end },
    { "GET", base .. "/threads/([^/]+)", function(p, id)
      return tools.gmail_get_thread_by_id { thread_id = id, format = p.format } end },
  } }
end

local function event_params(p, calendar, id)
  local function at(v) return type(v) == "table" and (v.dateTime or v.date) or nil end
  local attendees
  if type(p.attendees) == "table" then
    attendees = {}
    for i, a in ipairs(p.attendees) do attendees[i] = a.email end
  end
  return { calendar_id = calendar, event_id = id, summary = p.summary, description = p.description,
    location = p.location, start_datetime = at(p.start), end_datetime = at(p["end"]), attendees_emails = attendees }
end

local function calendar(tools)
  local base = "/calendar/v3"
  local events = base .. "/calendars/([^/]+)/events"
  return { error = google_error, routes = {
    { "GET", base .. "/users/me/calendarList", function()
      local data = tools.googlecalendar_list_calendars {}
      return { kind = data.kind, items = data.calendars }
    end },
    { "GET", events, function(p, id)
      local data, fault = tools.googlecalendar_list_events { calendar_id = id, time_min = p.timeMin,
        time_max = p.timeMax, query = p.q, max_results = tonumber(p.maxResults), page_token = p.pageToken }
      if not data then return nil, fault end
      return { kind = "calendar#events", items = data.events, nextPageToken = data.next_page_token,
        summary = data.summary, timeZone = data.timeZone }
    end },
    { "POST", events, function(p, id) return tools.googlecalendar_create_event(event_params(p, id)) end },
    { "GET", events .. "/([^/]+)", function(_, id, event)
      return tools.googlecalendar_get_event_by_id { calendar_id = id, event_id = event } end },
    { "PATCH", events .. "/([^/]+)", function(p, id, event)
      return tools.googlecalendar_update_event(event_params(p, id, event)) end },
    { "DELETE", events .. "/([^/]+)", function(_, id, event)
      return tools.googlecalendar_delete_event { calendar_id = id, event_id = event } end, 204 },
  } }
end

function M.new(tools) return { GMAIL = gmail(tools), GOOGLECALENDAR = calendar(tools) } end

return M
