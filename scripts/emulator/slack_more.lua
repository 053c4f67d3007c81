-- The emulated Slack beside messages and people: pins, reactions, bookmarks, reminders, files, user groups,
-- scheduled messages, quiet times, views, direct conversations. Called by slack.lua.
local json = require "host.json"
local world_of = require "emulator.world"

local given = world_of.given
local M = {}

local function fail(word) return nil, { status = 400, message = word } end

local function take(list, id)
  for i, item in ipairs(list) do
    if item.id == id then return item, i end
  end
  return nil
end

local function copy(list)
  local rows = json.array {}
  for i, item in ipairs(list) do rows[i] = item end
  return rows
end

local function split(s)
  local rows = json.array {}
  for item in (given(s) or ""):gmatch("[^,%s]+") do rows[#rows + 1] = item end
  return rows
end

-- at: { channel(name), message(channel, ts), post(channel, fields), user(name), show(message) }, slack.lua's own
local function message_tools(ws, tools, at)
  local function with(key, act)
    return function(p)
      local c = at.channel(p.channel)
      local m = c and at.message(c, p[key])
      if not m then return fail(c and "message_not_found" or "channel_not_found") end
      return act(c, m, p)
    end
  end
  tools.slack_pin_message = with("timestamp", function(_, m)
    if m.pinned then return fail "already_pinned" end
    m.pinned = true
    return { ok = true }
  end)
  tools.slack_remove_pin = with("timestamp", function(_, m)
    if not m.pinned then return fail "no_pin" end
    m.pinned = nil
    return { ok = true }
  end)
  function tools.slack_list_pinned_items(p)
    local c = at.channel(p.channel)
    if not c then return fail "channel_not_found" end
    local rows = json.array {}
    for _, m in ipairs(c.messages) do
      if m.pinned then rows[#rows + 1] = { type = "message", channel = c.id, message = at.show(m) } end
    end
    return { ok = true, items = rows }
  end
  tools.slack_remove_reaction = with("timestamp", function(_, m, p)
    for i, r in ipairs(m.reactions or {}) do
      if r.name == p.name then
        table.remove(m.reactions, i)
        return { ok = true }
      end
    end
    return fail "no_reaction"
  end)
  tools.slack_get_reactions = with("timestamp", function(c, m)
    return { ok = true, type = "message", channel = c.id, message = at.show(m) }
  end)
  function tools.slack_list_reactions()
    local rows = json.array {}
    for _, c in ipairs(ws.channels) do
      for _, m in ipairs(c.messages) do
        if m.reactions and #m.reactions > 0 then
          rows[#rows + 1] = { type = "message", channel = c.id, message = at.show(m) } end
      end
    end
    return { ok = true, items = rows }
  end
  tools.slack_unfurl_message = with("ts", function(_, m, p)
    m.unfurls = p.unfurls
    return { ok = true }
  end)
  function tools.slack_send_ephemeral_message(p)
    if not at.channel(p.channel) then return fail "channel_not_found" end
    if not at.user(p.user) then return fail "user_not_in_channel" end
    return { ok = true, message_ts = at.ts() }
  end
  function tools.slack_mark_conversation_read(p)
    local c = at.channel(p.channel)
    if not c then return fail "channel_not_found" end
    c.last_read = p.ts
    return { ok = true }
  end
end

local function schedule_tools(ws, tools, at)
  function tools.slack_schedule_rich_message(p)
    local c = at.channel(p.channel)
    if not c then return fail "channel_not_found" end
    if p.post_at <= ws.world:now() then return fail "time_in_past" end
    local item = { id = "Q" .. ws.world:digits(10), channel_id = c.id, post_at = p.post_at, text = p.text,
      date_created = math.floor(ws.world:now()) }
    ws.scheduled[#ws.scheduled + 1] = item
    return { ok = true, channel = c.id, scheduled_message_id = item.id, post_at = item.post_at }
  end
  function tools.slack_list_scheduled_messages(p)
    local c, rows = given(p.channel) and at.channel(p.channel), json.array {}
    for _, item in ipairs(ws.scheduled) do
      if not c or c.id == item.channel_id then rows[#rows + 1] = item end
    end
    return { ok = true, scheduled_messages = rows, response_metadata = { next_cursor = "" } }
  end
  function tools.slack_delete_scheduled_message(p)
    local _, i = take(ws.scheduled, p.scheduled_message_id)
    if not i then return fail "invalid_scheduled_message_id" end
    table.remove(ws.scheduled, i)
    return { ok = true }
  end
  local function reminder(act)
    return function(p)
      local r, i = take(ws.reminders, p.reminder)
      if not r then return fail "not_found" end
      return act(r, i)
    end
  end
  tools.slack_get_reminder_info = reminder(function(r) return { ok = true, reminder = r } end)
  tools.slack_complete_reminder = reminder(function(r)
    r.complete_ts = math.floor(ws.world:now())
    return { ok = true }
  end)
  tools.slack_delete_reminder = reminder(function(_, i)
    table.remove(ws.reminders, i)
    return { ok = true }
  end)
  local function dnd() return { ok = true, dnd_enabled = ws.snooze_until ~= nil,
    snooze_enabled = ws.snooze_until ~= nil,
    snooze_endtime = ws.snooze_until } end
  function tools.slack_set_dnd_snooze(p)
    ws.snooze_until = math.floor(ws.world:now()) + p.num_minutes * 60
    return dnd()
  end
  function tools.slack_end_dnd_snooze()
    if not ws.snooze_until then return fail "snooze_not_active" end
    ws.snooze_until = nil
    return dnd()
  end
  tools.slack_get_dnd_info = dnd
  function tools.slack_get_team_dnd_info(p)
    local users = {}
    for _, id in ipairs(split(p.users)) do users[id] = { dnd_enabled = id == ws.self and ws.snooze_until ~= nil } end
    return { ok = true, users = users }
  end
  function tools.slack_set_user_presence(p)
    if p.presence ~= "auto" and p.presence ~= "away" then return fail "invalid_presence" end
    ws.presence = p.presence
    return { ok = true }
  end
  function tools.slack_get_user_presence(p)
    local u = at.user(p.user)
    if not u then return fail "user_not_found" end
    return { ok = true, presence = u.id == ws.self and ws.presence == "away" and "away" or "active" }
  end
end

local function channel_tools(ws, tools, at)
  local function with(act)
    return function(p)
      local c = at.channel(p.channel or p.channel_id)
      if not c then return fail "channel_not_found" end
      return act(c, p)
    end
  end
  tools.slack_invite_users_to_channel = with(function(c, p)
    for _, id in ipairs(split(p.users)) do
      if not at.user(id) then return fail "user_not_found" end
      c.out = c.out or {}
      c.out[at.user(id).id] = nil
    end
    return { ok = true, channel = at.show_channel(c) }
  end)
  tools.slack_kick_from_conversation = with(function(c, p)
    local u = at.user(p.user)
    if not u then return fail "user_not_found" end
    c.out = c.out or {}
    if c.out[u.id] then return fail "not_in_channel" end
    c.out[u.id] = true
    return { ok = true }
  end)
  tools.slack_leave_conversation = with(function(c)
    c.out = c.out or {}
    c.out[ws.self] = true
    return { ok = true }
  end)
  tools.slack_join_conversation = with(function(c)
    if c.out then c.out[ws.self] = nil end
    return { ok = true, channel = at.show_channel(c) }
  end)
  tools.slack_list_channel_members = with(function(c)
    local rows = json.array {}
    for _, u in ipairs(ws.users) do
      if not (c.out and c.out[u.id]) then rows[#rows + 1] = u.id end
    end
    return { ok = true, members = rows }
  end)
  function tools.slack_open_conversation(p)
    local users = split(p.users)
    if given(p.channel) and at.channel(p.channel) then return { ok = true, channel = { id = p.channel } } end
    for _, id in ipairs(users) do
      if not at.user(id) then return fail "user_not_found" end
    end
    if #users == 0 then return fail "users_list_not_supplied" end
    local name = "dm-" .. table.concat(users, "-")
    local c = at.channel(name)
    if not c then
      c = { id = "D0" .. ws.world:digits(8), name = name, is_private = true, members = #users + 1, messages = {} }
      ws.channels[#ws.channels + 1] = c
    end
    return { ok = true, channel = { id = c.id } }
  end
  tools.slack_close_conversation = with(function() return { ok = true } end)
  tools.slack_add_bookmark = with(function(c, p)
    local b = { id = "Bk" .. ws.world:digits(8), channel_id = c.id, title = p.title, type = p.type,
      link = given(p.link), emoji = given(p.emoji) }
    c.bookmarks = c.bookmarks or {}
    table.insert(c.bookmarks, b)
    return { ok = true, bookmark = b }
  end)
  tools.slack_list_bookmarks = with(function(c) return { ok = true, bookmarks = copy(c.bookmarks or {}) } end)
  tools.slack_edit_bookmark = with(function(c, p)
    local b = take(c.bookmarks or {}, p.bookmark_id)
    if not b then return fail "bookmark_not_found" end
    for _, k in ipairs { "title", "link", "emoji" } do b[k] = given(p[k]) or b[k] end
    return { ok = true, bookmark = b }
  end)
  tools.slack_remove_bookmark = with(function(c, p)
    local _, i = take(c.bookmarks or {}, p.bookmark_id)
    if not i then return fail "bookmark_not_found" end
    table.remove(c.bookmarks, i)
    return { ok = true }
  end)
end

local function group_tools(ws, tools)
  local function show(g, with_users)
    return { id = g.id, name = g.name, handle = g.handle, description = g.description, is_usergroup = true,
      date_delete = g.disabled and 1 or 0, user_count = #g.users, users = with_users and copy(g.users) or nil }
  end
  local function with(act)
    return function(p)
      local g = take(ws.groups, p.usergroup)
      if not g then return fail "no_such_subteam" end
      return act(g, p)
    end
  end
  function tools.slack_create_usergroup(p)
    for _, g in ipairs(ws.groups) do
      if g.name == p.name then return fail "name_already_exists" end
    end
    local g = { id = "S0" .. ws.world:digits(8), name = p.name, handle = given(p.handle) or p.name,
      description = given(p.description) or "", users = {} }
    ws.groups[#ws.groups + 1] = g
    return { ok = true, usergroup = show(g) }
  end
  tools.slack_update_usergroup = with(function(g, p)
    for _, k in ipairs { "name", "handle", "description" } do g[k] = given(p[k]) or g[k] end
    return { ok = true, usergroup = show(g) }
  end)
  tools.slack_update_usergroup_users = with(function(g, p)
    g.users = split(p.users)
    return { ok = true, usergroup = show(g, true) }
  end)
  tools.slack_list_usergroup_users = with(function(g) return { ok = true, users = copy(g.users) } end)
  tools.slack_disable_usergroup = with(function(g)
    g.disabled = true
    return { ok = true, usergroup = show(g) }
  end)
  tools.slack_enable_usergroup = with(function(g)
    g.disabled = nil
    return { ok = true, usergroup = show(g) }
  end)
  function tools.slack_list_usergroups(p)
    local rows = json.array {}
    for _, g in ipairs(ws.groups) do
      if not g.disabled or given(p.include_disabled) then rows[#rows + 1] = show(g, given(p.include_users)) end
    end
    return { ok = true, usergroups = rows }
  end
end

local function file_tools(ws, tools, at)
  local function with(act)
    return function(p)
      local f, i = take(ws.files, p.file)
      if not f then return fail "file_not_found" end
      return act(f, i)
    end
  end
  function tools.slack_get_upload_url_external(p)
    local f = { id = "F0" .. ws.world:digits(8), name = p.filename, size = p.length, pending = true,
      created = math.floor(ws.world:now()), user = ws.self }
    ws.files[#ws.files + 1] = f
    return { ok = true, file_id = f.id, upload_url = "https://emulator.example/upload/" .. f.id }
  end
  function tools.slack_complete_upload_external(p)
    local rows = json.array {}
    for i, one in ipairs(p.files) do
      local f = take(ws.files, type(one) == "table" and one.id or one)
      if not f then return fail "file_not_found" end
      f.pending, f.title = nil, type(one) == "table" and given(one.title) or f.name
      f.channel = given(p.channel_id)
      rows[i] = f
    end
    local c = given(p.channel_id) and at.channel(p.channel_id)
    if c then at.post(c, { text = given(p.initial_comment) or "shared a file", thread_ts = given(p.thread_ts) }) end
    return { ok = true, files = rows }
  end
  tools.slack_get_file_info = with(function(f) return { ok = true, file = f } end)
  tools.slack_delete_file = with(function(_, i)
    table.remove(ws.files, i)
    return { ok = true }
  end)
  tools.slack_share_file_public_url = with(function(f)
    f.permalink_public = "https://emulator.example/public/" .. f.id
    return { ok = true, file = f }
  end)
  tools.slack_revoke_file_public_url = with(function(f)
    f.permalink_public = nil
    return { ok = true, file = f }
  end)
  local function list(p)
    local rows, words = json.array {}, (given(p.query) or ""):lower()
    for _, f in ipairs(ws.files) do
      if not f.pending and (not given(p.channel) or f.channel == p.channel)
        and (f.name .. " " .. (f.title or "")):lower():find(words, 1, true) then rows[#rows + 1] = f end
    end
    return rows
  end
  function tools.slack_list_files(p) return { ok = true, files = list(p), paging = { page = 1, pages = 1 } } end
  function tools.slack_search_files(p)
    local rows = list(p)
    return { ok = true, query = p.query, files = { total = #rows, matches = rows } }
  end
  function tools.slack_create_canvas(p)
    local f = { id = "F0" .. ws.world:digits(8), name = given(p.title) or "Canvas", title = given(p.title) or "Canvas",
      filetype = "canvas", channel = given(p.channel_id), user = ws.self }
    ws.files[#ws.files + 1] = f
    return { ok = true, canvas_id = f.id }
  end
end

local function view_tools(ws, tools)
  local function keep(p)
    local view = { id = "V0" .. ws.world:digits(8), hash = ws.world:hex(10), view = p.view,
      external_id = given(p.external_id) }
    ws.views[#ws.views + 1] = view
    local out = { id = view.id, hash = view.hash }
    for k, v in pairs(p.view) do out[k] = out[k] or v end
    return { ok = true, view = out }
  end
  tools.slack_open_view, tools.slack_push_view, tools.slack_publish_view = keep, keep, keep
  function tools.slack_update_view(p)
    for _, view in ipairs(ws.views) do
      if view.id == given(p.view_id) or (given(p.external_id) and view.external_id == p.external_id) then
        if given(p.hash) and p.hash ~= view.hash then return fail "hash_conflict" end
        view.view, view.hash = p.view, ws.world:hex(10)
        return { ok = true, view = { id = view.id, hash = view.hash } }
      end
    end
    return fail "not_found"
  end
end

function M.tools(ws, tools, at)
  ws.scheduled, ws.groups, ws.files, ws.views = {}, {}, {}, {}
  message_tools(ws, tools, at)
  schedule_tools(ws, tools, at)
  channel_tools(ws, tools, at)
  group_tools(ws, tools)
  file_tools(ws, tools, at)
  view_tools(ws, tools)
  function tools.slack_list_emoji() return { ok = true,
    emoji = { agenthost = "https://emulator.example/emoji.png" } } end
  function tools.slack_get_bot_info(p)
    return { ok = true, bot = { id = given(p.bot) or "B0EMULATOR", name = "agenthost", deleted = false } }
  end
end

return M
