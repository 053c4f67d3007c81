-- An emulated Google Calendar behind Scalekit's googlecalendar tools: fields are Google's (camelCase), lists
-- of events come as `events` and `next_page_token`. Called by scalekit.lua through the table of actions.
local json = require "host.json"
local text = require "emulator.text"
local world_of = require "emulator.world"
local sharing = require "emulator.googlecalendar_sharing"

local given = world_of.given
local M = {}

local function fail(status, message) return nil, { status = status, message = message } end
local function missing() return fail(404, "Not Found") end

local function find_calendar(cal, id)
  id = given(id) or "primary"
  for i, c in ipairs(cal.calendars) do
    if c.id == id or (id == "primary" and c.primary) then return c, i end
  end
  return nil
end

local function find_event(c, id)
  for i, e in ipairs(c and c.events or {}) do
    if e.id == id then return e, i end
  end
  return nil
end

-- "2026-01-05T10:00:00Z", the same without a zone (read as UTC), or a day -> seconds, and whether it is a day
local function seconds_of(value)
  local micros = text.micros(value)
  if micros then return micros / 1e6, false end
  local day = value:match("^%d%d%d%d%-%d%d%-%d%d$") and text.micros(value .. "T00:00:00Z")
  return day and day / 1e6 or nil, day ~= nil
end

local function moment(e, at)
  if e.all_day then return { date = text.instant(at):sub(1, 10) } end
  return { dateTime = text.instant(at), timeZone = e.timezone }
end

local function show(cal, c, e)
  local attendees = json.array {}
  for i, a in ipairs(e.attendees) do attendees[i] = { email = a, responseStatus = "needsAction" } end
  local out = {
    kind = "calendar#event", id = e.id, iCalUID = e.ical_uid or (e.id .. "@emulator.example"), status = e.status,
    summary = e.summary, description = e.description, location = e.location, start = moment(e, e.from),
    ["end"] = moment(e, e.to), created = text.stamp(e.made), updated = text.stamp(e.changed or e.made),
    attendees = #attendees > 0 and attendees or nil, organizer = { email = c.id, self = c.owner == cal.address },
    creator = { email = cal.address, self = true }, eventType = e.event_type or "default", recurrence = e.recurrence,
    transparency = e.transparency, visibility = e.visibility, guestsCanModify = e.guests_can_modify,
    htmlLink = "https://calendar.example/event?eid=" .. e.id, etag = ('"%d"'):format(e.version),
  }
  if e.meeting then
    out.hangoutLink = "https://meet.example/" .. e.id:sub(1, 10)
  end
  return out
end

local WORDS = { "summary", "description", "location", "visibility", "transparency", "event_type", "status", "timezone" }
local FLAGS = { "guests_can_modify", "guests_can_invite_others", "guests_can_see_other_guests" }

-- Puts the arguments of a tool into an event. nil and a fault when a time cannot be read.
local function fill(e, p)
  for _, k in ipairs(WORDS) do e[k] = given(p[k]) or e[k] end
  for _, k in ipairs(FLAGS) do
    if given(p[k]) ~= nil then e[k] = p[k] end
  end
  if given(p.create_meeting_room) ~= nil then e.meeting = p.create_meeting_room end
  e.recurrence = given(p.recurrence) or e.recurrence
  if given(p.attendees_emails) then
    e.attendees = {}
    for i, a in ipairs(p.attendees_emails) do e.attendees[i] = type(a) == "string" and a or a.email end
  end
  local hours, minutes = given(p.event_duration_hour), given(p.event_duration_minutes)
  local length = (hours or minutes) and ((hours or 0) * 3600 + (minutes or 0) * 60)
  if given(p.start_datetime) then
    local at, day = seconds_of(p.start_datetime)
    if not at then return fail(400, "Bad Request: start_datetime is not a time") end
    length = length or (e.from and e.to - e.from) or (day and 86400 or 3600)
    e.from, e.all_day = at, day
    e.to = at + length
  elseif length then
    e.to = e.from + length
  end
  if given(p.end_datetime) then
    local at = seconds_of(p.end_datetime)
    if not at then return fail(400, "Bad Request: end_datetime is not a time") end
    e.to = at
  end
  if e.to < e.from then return fail(400, "The specified time range is empty.") end
  return e
end

local function add_event(cal, c, p)
  local now = cal.world:now()
  local e, fault = fill({ id = cal.world:pick("0123456789abcdefghijklmnopqrstuv", 26), status = "confirmed",
    attendees = {}, timezone = c.timezone, made = now, version = 1 }, p)
  if not e then return nil, fault end
  c.events[#c.events + 1] = e
  cal.written[#cal.written + 1] = { calendar = c.id, id = e.id, summary = e.summary, start = text.instant(e.from) }
  return e
end

-- Events of a calendar that a query means, by their start.
local function search(c, p)
  local from = given(p.time_min) and seconds_of(p.time_min)
  local to = given(p.time_max) and seconds_of(p.time_max)
  local words, list = given(p.query) and p.query:lower(), {}
  for _, e in ipairs(c.events) do
    local hay = table.concat({ e.summary or "", e.description or "", e.location or "", table.concat(e.attendees, " ") },
      " "):lower()
    local keep = e.status ~= "cancelled" and (not from or e.to > from) and (not to or e.from < to)
    if keep and (not words or hay:find(words, 1, true)) then list[#list + 1] = e end
  end
  table.sort(list, function(a, b)
    if a.from ~= b.from then return a.from < b.from end
    return a.id < b.id
  end)
  return list
end

local function page(list, p, default)
  local n = math.max(1, math.min(math.tointeger(given(p.max_results) or default) or default, 2500))
  local start = math.tointeger(tonumber(given(p.page_token) or "0")) or 0
  local rows = json.array {}
  for i = start + 1, math.min(start + n, #list) do rows[#rows + 1] = list[i] end
  return rows, start + n < #list and tostring(start + n) or nil
end

local function event_tools(cal, tools)
  local function list_events(p)
    local c = find_calendar(cal, p.calendar_id)
    if not c then return missing() end
    local rows, following = page(search(c, p), p, 250)
    for i, e in ipairs(rows) do rows[i] = show(cal, c, e) end
    return { events = rows, next_page_token = following, summary = c.summary, timeZone = c.timezone }
  end
  tools.googlecalendar_list_events, tools.googlecalendar_search_events = list_events, list_events
  function tools.googlecalendar_get_event_by_id(p)
    local c = find_calendar(cal, p.calendar_id)
    local e = find_event(c, p.event_id)
    if not e then return missing() end
    return show(cal, c, e)
  end
  local function create(p)
    local c = find_calendar(cal, p.calendar_id)
    if not c then return missing() end
    local e, fault = add_event(cal, c, p)
    if not e then return nil, fault end
    e.ical_uid = given(p.ical_uid)
    return show(cal, c, e)
  end
  tools.googlecalendar_create_event, tools.googlecalendar_import_event = create, create
  function tools.googlecalendar_quick_add_event(p)
    local day, clock = p.text:match("(%d%d%d%d%-%d%d%-%d%d)"), p.text:match("%f[%d](%d%d?:%d%d)%f[%D]")
    if clock and #clock == 4 then clock = "0" .. clock end
    local at = day and (day .. (clock and "T" .. clock .. ":00Z" or ""))
      or text.instant(math.floor(cal.world:now() / 3600 + 1) * 3600)
    local summary = p.text:gsub("%s*o?n?%s*%d%d%d%d%-%d%d%-%d%d", ""):gsub("%s*a?t?%s*%d%d?:%d%d", "")
    return create { calendar_id = p.calendar_id, summary = summary, start_datetime = at }
  end
  function tools.googlecalendar_update_event(p)
    local c = find_calendar(cal, p.calendar_id)
    local e = find_event(c, p.event_id)
    if not e then return missing() end
    local ok, fault = fill(e, p)
    if not ok then return nil, fault end
    e.changed, e.version = cal.world:now(), e.version + 1
    return show(cal, c, e)
  end
  function tools.googlecalendar_delete_event(p)
    local c = find_calendar(cal, p.calendar_id)
    local _, i = find_event(c, p.event_id)
    if not i then return missing() end
    table.remove(c.events, i)
    return {}
  end
  function tools.googlecalendar_move_event(p)
    local c, other = find_calendar(cal, p.calendar_id), find_calendar(cal, p.destination_calendar_id)
    local e, i = find_event(c, p.event_id)
    if not e or not other then return missing() end
    table.remove(c.events, i)
    other.events[#other.events + 1] = e
    return show(cal, other, e)
  end
  -- A repeated event is shown as `count` dates of its rule: FREQ=DAILY or WEEKLY.
  function tools.googlecalendar_list_event_instances(p)
    local c = find_calendar(cal, p.calendar_id)
    local e = find_event(c, p.event_id)
    if not e then return missing() end
    local rule = e.recurrence and tostring(e.recurrence[1]) or ""
    local step = rule:find("DAILY", 1, true) and 86400 or 604800
    local count = e.recurrence and math.min(tonumber(rule:match("COUNT=(%d+)") or "4"), 100) or 1
    local rows = {}
    for k = 0, count - 1 do
      local one = show(cal, c, e)
      one.id = ("%s_%s"):format(e.id, (text.instant(e.from + k * step):gsub("[-:]", "")))
      one.start, one["end"] = moment(e, e.from + k * step), moment(e, e.to + k * step)
      one.recurringEventId, one.recurrence = e.id, nil
      rows[#rows + 1] = one
    end
    local found, following = page(rows, p, 250)
    return { events = found, next_page_token = following }
  end
  function tools.googlecalendar_query_freebusy(p)
    local out = {}
    for _, id in ipairs(p.calendar_ids) do
      local c, busy = find_calendar(cal, id), json.array {}
      for _, e in ipairs(c and search(c, p) or {}) do
        if e.transparency ~= "transparent" then
          busy[#busy + 1] = { start = text.instant(e.from), ["end"] = text.instant(e.to) }
        end
      end
      out[id] = c and { busy = busy } or { busy = busy,
        errors = json.array { { domain = "global", reason = "notFound" } } }
    end
    return { kind = "calendar#freeBusy", timeMin = p.time_min, timeMax = p.time_max, calendars = out }
  end
end

local function calendar_tools(cal, tools)
  local function show_calendar(c)
    return { kind = "calendar#calendar", id = c.id, summary = c.summary, description = c.description,
      location = c.location, timeZone = c.timezone }
  end
  local function with(act)
    return function(p)
      local c, i = find_calendar(cal, p.calendar_id)
      if not c then return missing() end
      return act(c, p, i)
    end
  end
  tools.googlecalendar_get_calendar = with(show_calendar)
  function tools.googlecalendar_create_calendar(p)
    local c = { id = cal.world:hex(26) .. "@group.calendar.example", summary = p.summary, listed = true,
      description = given(p.description), location = given(p.location), timezone = given(p.timezone) or "UTC",
      owner = cal.address, events = {}, rules = sharing.rules_of(cal.address) }
    cal.calendars[#cal.calendars + 1] = c
    return show_calendar(c)
  end
  tools.googlecalendar_update_calendar = with(function(c, p)
    for _, k in ipairs { "summary", "description", "location", "timezone" } do c[k] = given(p[k]) or c[k] end
    return show_calendar(c)
  end)
  tools.googlecalendar_delete_calendar = with(function(c, _, i)
    if c.primary then return fail(403, "Cannot delete the primary calendar; clear it instead.") end
    table.remove(cal.calendars, i)
    return {}
  end)
  tools.googlecalendar_clear_calendar = with(function(c)
    c.events = {}
    return {}
  end)
  sharing.tools(cal, tools, with)
end

-- data: { timezone, calendars = {{ id, summary, primary, events = {{ summary, start, minutes, attendees, … }} }} }
function M.new(world, address, data, actions)
  local cal = { world = world, address = address, calendars = {}, written = {}, timezone = data.timezone or "UTC" }
  for i, c in ipairs(data.calendars) do
    local one = { id = c.id or (i == 1 and address or ("cal%d@group.calendar.example"):format(i)), summary = c.summary,
      primary = i == 1, listed = true, description = c.description, timezone = c.timezone or cal.timezone,
      owner = address, events = {}, rules = sharing.rules_of(address) }
    for k, e in ipairs(c.events or {}) do
      local at, day = seconds_of(e.start)
      if not at then error(("scenario: the event %q needs a start time"):format(tostring(e.summary)), 0) end
      one.events[k] = { id = e.id or ("emu%dev%d"):format(i, k), summary = e.summary or "", from = at, all_day = day,
        to = at + (e.minutes or (day and 1440 or 60)) * 60, description = e.description, location = e.location,
        attendees = e.attendees or {}, status = "confirmed", timezone = one.timezone, version = 1,
        recurrence = e.recurrence and json.array(e.recurrence), made = world_of.EPOCH - 86400 }
    end
    cal.calendars[i] = one
  end
  event_tools(cal, actions)
  calendar_tools(cal, actions)
  return cal
end

return M
