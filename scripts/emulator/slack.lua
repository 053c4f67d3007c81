-- An emulated Slack workspace behind Scalekit's slack tools. Bodies are Slack's own (`ok`, `channel`, `ts`).
-- Called by scalekit.lua through the table of actions. Where Slack would say ok:false, the call fails as a
-- tool error with Slack's word for it.
local json = require "host.json"
local slack_more = require "emulator.slack_more"
local world_of = require "emulator.world"

local given = world_of.given
local M = {}

local function fail(word) return nil, { status = 400, message = word } end

local function find_channel(ws, name)
  if not given(name) then return nil end
  name = name:gsub("^#", "")
  for _, c in ipairs(ws.channels) do
    if c.id == name or c.name == name then return c end
  end
  return nil
end

local function find_user(ws, name)
  if not given(name) then return nil end
  name = name:gsub("^@", "")
  for _, u in ipairs(ws.users) do
    if u.id == name or u.name == name or u.email == name then return u end
  end
  return nil
end

local function show_channel(c)
  return { id = c.id, name = c.name, is_channel = true, is_private = c.is_private or false,
    is_archived = c.archived or false,
    num_members = c.members, topic = { value = c.topic or "" }, purpose = { value = c.purpose or "" } }
end

local function show_user(u)
  return { id = u.id, name = u.name, real_name = u.real_name, is_bot = u.is_bot or false, deleted = false,
    profile = { email = u.email, real_name = u.real_name, display_name = u.name, status_text = u.status or "" } }
end

local function show_message(m)
  local out = { type = "message", user = m.user, text = m.text, ts = m.ts, thread_ts = m.thread_ts }
  if m.reactions then out.reactions = m.reactions end
  return out
end

local function new_ts(ws)
  ws.count = ws.count + 1
  return ("%d.%06d"):format(math.floor(ws.world:now()), ws.count)
end

local function post(ws, channel, fields)
  local m = { ts = new_ts(ws), user = ws.self, text = given(fields.text) or "", thread_ts = given(fields.thread_ts) }
  table.insert(channel.messages, m)
  ws.posted[#ws.posted + 1] = { channel = channel.name, text = m.text, ts = m.ts, thread_ts = m.thread_ts }
  return m
end

local function message_of(channel, ts)
  for i, m in ipairs(channel.messages) do
    if m.ts == ts then return m, i end
  end
  return nil
end

-- Newest first, `limit` of them.
local function history(channel, p, keep)
  local rows = json.array {}
  local limit = math.tointeger(given(p.limit) or 20) or 20
  local more = false
  for i = #channel.messages, 1, -1 do
    local m = channel.messages[i]
    if keep(m) and (not given(p.oldest) or m.ts > p.oldest) and (not given(p.latest) or m.ts < p.latest) then
      if #rows >= limit then
        more = true
        break
      end
      rows[#rows + 1] = show_message(m)
    end
  end
  return rows, more
end

local function message_tools(ws, tools)
  local function send(p)
    local c = find_channel(ws, p.channel)
    if not c then return fail "channel_not_found" end
    if c.archived then return fail "is_archived" end
    if p.text == "" then return fail "no_text" end
    local m = post(ws, c, p)
    return { ok = true, channel = c.id, ts = m.ts, message = show_message(m) }
  end
  tools.slack_send_message, tools.slack_send_rich_message, tools.slack_send_me_message = send, send, send
  function tools.slack_update_message(p)
    local c = find_channel(ws, p.channel)
    local m = c and message_of(c, p.ts)
    if not m then return fail(c and "message_not_found" or "channel_not_found") end
    m.text = given(p.text) or m.text
    return { ok = true, channel = c.id, ts = m.ts, text = m.text }
  end
  function tools.slack_delete_message(p)
    local c = find_channel(ws, p.channel)
    local m, i = nil, nil
    if c then m, i = message_of(c, p.ts) end
    if not m then return fail(c and "message_not_found" or "channel_not_found") end
    table.remove(c.messages, i)
    return { ok = true, channel = c.id, ts = p.ts }
  end
  function tools.slack_fetch_conversation_history(p)
    local c = find_channel(ws, p.channel)
    if not c then return fail "channel_not_found" end
    local rows, more = history(c, p, function(m) return not m.thread_ts or m.thread_ts == m.ts end)
    return { ok = true, messages = rows, has_more = more }
  end
  function tools.slack_get_conversation_replies(p)
    local c = find_channel(ws, p.channel)
    if not c then return fail "channel_not_found" end
    local rows, more = history(c, p, function(m) return m.ts == p.ts or m.thread_ts == p.ts end)
    return { ok = true, messages = rows, has_more = more }
  end
  function tools.slack_search_messages(p)
    local matches = json.array {}
    for _, c in ipairs(ws.channels) do
      for _, m in ipairs(c.messages) do
        if m.text:lower():find(p.query:lower(), 1, true) then
          matches[#matches + 1] = { channel = { id = c.id, name = c.name }, user = m.user, text = m.text, ts = m.ts }
        end
      end
    end
    return { ok = true, query = p.query, messages = { total = #matches, matches = matches } }
  end
  function tools.slack_add_reaction(p)
    local c = find_channel(ws, p.channel)
    local m = c and message_of(c, p.timestamp)
    if not m then return fail(c and "message_not_found" or "channel_not_found") end
    m.reactions = m.reactions or json.array {}
    for _, r in ipairs(m.reactions) do
      if r.name == p.name then return fail "already_reacted" end
    end
    m.reactions[#m.reactions + 1] = { name = p.name, count = 1, users = json.array { ws.self } }
    return { ok = true }
  end
  function tools.slack_get_permalink(p)
    local c = find_channel(ws, p.channel)
    if not c then return fail "channel_not_found" end
    return { ok = true, channel = c.id, permalink = ("https://emulator.example/archives/%s/p%s"):format(c.id,
      p.message_ts:gsub("%.", "")) }
  end
end

local function workspace_tools(ws, tools)
  function tools.slack_auth_test()
    return { ok = true, team = ws.team, team_id = "T0EMULATOR", user = find_user(ws, ws.self).name, user_id = ws.self }
  end
  function tools.slack_get_team_info() return { ok = true,
    team = { id = "T0EMULATOR", name = ws.team, domain = "emulator" } } end
  local function list_channels(p)
    local rows = json.array {}
    for _, c in ipairs(ws.channels) do
      if not (given(p.exclude_archived) and c.archived) then rows[#rows + 1] = show_channel(c) end
    end
    return { ok = true, channels = rows, response_metadata = { next_cursor = "" } }
  end
  tools.slack_list_channels, tools.slack_list_user_conversations = list_channels, list_channels
  function tools.slack_get_conversation_info(p)
    local c = find_channel(ws, p.channel)
    if not c then return fail "channel_not_found" end
    return { ok = true, channel = show_channel(c) }
  end
  function tools.slack_create_channel(p)
    if find_channel(ws, p.name) then return fail "name_taken" end
    local c = { id = "C0" .. ws.world:digits(8), name = p.name, is_private = given(p.is_private), members = 1,
      messages = {} }
    ws.channels[#ws.channels + 1] = c
    return { ok = true, channel = show_channel(c) }
  end
  local function change(set)
    return function(p)
      local c = find_channel(ws, p.channel)
      if not c then return fail "channel_not_found" end
      set(c, p)
      return { ok = true, channel = show_channel(c) }
    end
  end
  tools.slack_archive_conversation = change(function(c) c.archived = true end)
  tools.slack_unarchive_conversation = change(function(c) c.archived = false end)
  tools.slack_set_conversation_topic = change(function(c, p) c.topic = p.topic end)
  tools.slack_set_conversation_purpose = change(function(c, p) c.purpose = p.purpose end)
  tools.slack_rename_conversation = change(function(c, p) c.name = p.name end)
  function tools.slack_list_users()
    local rows = json.array {}
    for i, u in ipairs(ws.users) do rows[i] = show_user(u) end
    return { ok = true, members = rows, response_metadata = { next_cursor = "" } }
  end
  function tools.slack_get_user_info(p)
    local u = find_user(ws, p.user)
    if not u then return fail "user_not_found" end
    return { ok = true, user = show_user(u) }
  end
  function tools.slack_lookup_user_by_email(p)
    local u = find_user(ws, p.email)
    if not u then return fail "users_not_found" end
    return { ok = true, user = show_user(u) }
  end
  function tools.slack_get_user_profile(p)
    local u = find_user(ws, given(p.user) or ws.self)
    if not u then return fail "user_not_found" end
    return { ok = true, profile = show_user(u).profile }
  end
  function tools.slack_set_user_status(p)
    find_user(ws, ws.self).status = given(p.status_text) or ""
    return { ok = true, profile = show_user(find_user(ws, ws.self)).profile }
  end
  function tools.slack_add_reminder(p)
    local r = { id = "Rm" .. ws.world:digits(8), text = p.text, time = p.time, user = ws.self }
    ws.reminders[#ws.reminders + 1] = r
    return { ok = true, reminder = r }
  end
  function tools.slack_list_reminders()
    local rows = json.array {}
    for i, r in ipairs(ws.reminders) do rows[i] = r end
    return { ok = true, reminders = rows }
  end
end

-- data: { team, users = {{id,name,real_name,email}}, channels = {{id,name,topic,messages={{user,text}}}} }
function M.new(world, data, actions)
  local ws = { world = world, team = data.team, users = data.users, channels = {}, posted = {}, reminders = {},
    count = 0,
    self = data.users[1].id }
  for i, c in ipairs(data.channels) do
    local channel = { id = c.id or ("C0EMU%04d"):format(i), name = c.name, topic = c.topic, purpose = c.purpose,
      members = #data.users, messages = {} }
    for k, m in ipairs(c.messages or {}) do
      channel.messages[k] = { user = m.user or data.users[1].id, text = m.text,
        ts = m.ts or ("%d.%06d"):format(world_of.EPOCH - 3600 * (#c.messages - k + 1), i * 100 + k) }
    end
    ws.channels[i] = channel
  end
  message_tools(ws, actions)
  workspace_tools(ws, actions)
  slack_more.tools(ws, actions, {
    channel = function(name) return find_channel(ws, name) end, message = message_of, show = show_message,
    user = function(name) return find_user(ws, name) end, show_channel = show_channel,
    post = function(c, fields) return post(ws, c, fields) end, ts = function() return new_ts(ws) end,
  })
  return ws
end

return M
