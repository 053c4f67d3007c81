-- Slack's own Web API, as the proxy shows it: every answer is a 200, what failed says ok=false. Called by
-- proxy.lua.
local reply = require "emulator.reply"

local M = {}

-- method of the Web API -> tool, and whose parameters have another name there
local METHODS = {
  ["auth.test"] = { "slack_auth_test" }, ["team.info"] = { "slack_get_team_info" },
  ["chat.postMessage"] = { "slack_send_message" }, ["chat.update"] = { "slack_update_message" },
  ["chat.delete"] = { "slack_delete_message" }, ["chat.getPermalink"] = { "slack_get_permalink" },
  ["conversations.list"] = { "slack_list_channels" }, ["conversations.info"] = { "slack_get_conversation_info" },
  ["conversations.history"] = { "slack_fetch_conversation_history" },
  ["conversations.replies"] = { "slack_get_conversation_replies" },
  ["conversations.create"] = { "slack_create_channel" }, ["conversations.members"] = { "slack_list_channel_members" },
  ["conversations.archive"] = { "slack_archive_conversation" },
  ["users.list"] = { "slack_list_users" }, ["users.info"] = { "slack_get_user_info" },
  ["users.lookupByEmail"] = { "slack_lookup_user_by_email" }, ["reactions.add"] = { "slack_add_reaction" },
  ["pins.add"] = { "slack_pin_message" }, ["search.messages"] = { "slack_search_messages" },
}

-- Slack's words for what went wrong are single words; other messages become the word fatal_error.
local function slack_error(status, message)
  if status == 404 or status == 405 then return reply.json(200, { ok = false, error = "unknown_method" }) end
  if status == 401 then return reply.json(401, { ok = false, error = "invalid_auth" }) end
  if status == 403 then return reply.json(200, { ok = false, error = "missing_scope" }) end
  if status == 429 then return reply.json(429, { ok = false, error = "ratelimited" }, { ["retry-after"] = "1" }) end
  return reply.json(200, { ok = false, error = message:match("^[%l_]+$") or "fatal_error" })
end

function M.new(tools)
  local routes = {}
  for name, row in pairs(METHODS) do
    local function act(p)
      p.limit = tonumber(p.limit)
      return tools[row[1]](p)
    end
    local pattern = name:gsub("%.", "%%.")
    for _, prefix in ipairs { "/api/", "/" } do
      routes[#routes + 1] = { "POST", prefix .. pattern, act }
      routes[#routes + 1] = { "GET", prefix .. pattern, act }
    end
  end
  return { SLACK = { error = slack_error, routes = routes } }
end

return M
