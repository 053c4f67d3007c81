-- The emulated Google Calendar beside its events: the list of calendars, rules of sharing, settings, colours.
-- Called by googlecalendar.lua.
local json = require "host.json"
local world_of = require "emulator.world"

local given = world_of.given
local M = {}

local function fail(status, message) return nil, { status = status, message = message } end

-- The rules that every calendar starts with.
function M.rules_of(owner)
  return { { id = "user:" .. owner, role = "owner", scope = { type = "user", value = owner } } }
end

local function show_entry(cal, c)
  return { kind = "calendar#calendarListEntry", id = c.id, summary = c.summary, summaryOverride = c.override,
    timeZone = c.timezone, accessRole = c.owner == cal.address and "owner" or "reader", primary = c.primary or nil,
    hidden = c.hidden or nil, selected = c.selected, colorId = c.color_id or "1" }
end

local function list_tools(cal, tools, with)
  function tools.googlecalendar_list_calendars(p)
    local rows = json.array {}
    for _, c in ipairs(cal.calendars) do
      if c.listed and (not c.hidden or given(p.show_hidden)) then rows[#rows + 1] = show_entry(cal, c) end
    end
    return { kind = "calendar#calendarList", calendars = rows }
  end
  tools.googlecalendar_get_calendar_list_entry = with(function(c)
    if not c.listed then return fail(404, "Not Found") end
    return show_entry(cal, c)
  end)
  local function change(c, p)
    c.listed = true
    c.color_id, c.override = given(p.color_id) or c.color_id, given(p.summary_override) or c.override
    if given(p.hidden) ~= nil then c.hidden = p.hidden end
    if given(p.selected) ~= nil then c.selected = p.selected end
    return show_entry(cal, c)
  end
  tools.googlecalendar_add_calendar_to_list = with(change)
  tools.googlecalendar_update_calendar_list_entry = with(change)
  tools.googlecalendar_remove_calendar_from_list = with(function(c)
    if c.primary then return fail(403, "The primary calendar stays in the list.") end
    c.listed = false
    return {}
  end)
  tools.googlecalendar_transfer_calendar_ownership = with(function(c, p)
    if c.primary then return fail(403, "The primary calendar keeps its owner.") end
    c.owner = p.new_data_owner
    c.rules[1] = { id = "user:" .. c.owner, role = "owner", scope = { type = "user", value = c.owner } }
    return { id = c.id, dataOwner = c.owner }
  end)
end

local function rule_tools(tools, with)
  local function find(c, id)
    for i, r in ipairs(c.rules) do
      if r.id == id then return r, i end
    end
    return nil
  end
  tools.googlecalendar_list_acl_rules = with(function(c)
    local rows = json.array {}
    for i, r in ipairs(c.rules) do rows[i] = r end
    return { kind = "calendar#acl", rules = rows }
  end)
  tools.googlecalendar_insert_acl_rule = with(function(c, p)
    local value = given(p.scope_value)
    local id = value and p.scope_type .. ":" .. value or p.scope_type
    local rule = find(c, id)
    if rule then
      rule.role = p.role
      return rule
    end
    rule = { id = id, role = p.role, scope = { type = p.scope_type, value = value } }
    c.rules[#c.rules + 1] = rule
    return rule
  end)
  tools.googlecalendar_get_acl_rule = with(function(c, p)
    local rule = find(c, p.rule_id)
    if not rule then return fail(404, "Not Found") end
    return rule
  end)
  tools.googlecalendar_update_acl_rule = with(function(c, p)
    local rule = find(c, p.rule_id)
    if not rule then return fail(404, "Not Found") end
    rule.role = p.role
    return rule
  end)
  tools.googlecalendar_delete_acl_rule = with(function(c, p)
    local _, i = find(c, p.rule_id)
    if not i then return fail(404, "Not Found") end
    table.remove(c.rules, i)
    return {}
  end)
end

function M.tools(cal, tools, with)
  list_tools(cal, tools, with)
  rule_tools(tools, with)
  local settings = { timezone = cal.timezone, locale = "en", weekStart = "1", format24HourTime = "true" }
  function tools.googlecalendar_list_settings()
    local rows = json.array {}
    for _, id in ipairs { "format24HourTime", "locale", "timezone", "weekStart" } do
      rows[#rows + 1] = { kind = "calendar#setting", id = id, value = settings[id] }
    end
    return { kind = "calendar#settings", settings = rows }
  end
  function tools.googlecalendar_get_setting(p)
    if not settings[p.setting] then return fail(404, "Not Found") end
    return { kind = "calendar#setting", id = p.setting, value = settings[p.setting] }
  end
  function tools.googlecalendar_get_colors()
    local set = { ["1"] = { background = "#a4bdfc", foreground = "#1d1d1d" },
      ["2"] = { background = "#7ae7bf", foreground = "#1d1d1d" } }
    return { kind = "calendar#colors", calendar = set, event = set }
  end
end

return M
