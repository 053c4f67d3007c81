-- Notion's own API, as the proxy shows it. Called by proxy.lua.
local reply = require "emulator.reply"

local M = {}

local CODES = { [400] = "validation_error", [401] = "unauthorized", [403] = "restricted_resource",
  [404] = "object_not_found", [405] = "invalid_request_url", [409] = "conflict_error", [429] = "rate_limited" }

local function notion_error(status, message)
  return reply.json(status, { object = "error", status = status, code = CODES[status] or "internal_server_error",
    message = message })
end

function M.new(tools)
  local function with(name, key, change)
    return function(p, id)
      if key then p[key] = id end
      if change then change(p) end
      return tools[name](p)
    end
  end
  local function parent(p) p._parent, p.child_blocks = p.parent, p.children end
  return { NOTION = { error = notion_error, routes = {
    { "POST", "/v1/search", with("notion_data_fetch") },
    { "POST", "/v1/pages", with("notion_page_create", nil, parent) },
    { "GET", "/v1/pages/([^/]+)", with("notion_page_get", "page_id") },
    { "PATCH", "/v1/pages/([^/]+)", with("notion_page_update", "page_id") },
    { "GET", "/v1/blocks/([^/]+)/children", with("notion_page_content_get", "block_id") },
    { "PATCH", "/v1/blocks/([^/]+)/children", with("notion_page_content_append", "block_id",
      function(p) p.blocks = p.children or {} end) },
    { "GET", "/v1/databases/([^/]+)", with("notion_database_fetch", "database_id") },
    { "POST", "/v1/databases/([^/]+)/query", with("notion_database_query", "database_id") },
    { "GET", "/v1/users/me", with("notion_user_get_self") },
    { "GET", "/v1/users", with("notion_user_list") },
    { "POST", "/v1/comments", with("notion_comment_create", nil,
      function(p) p.comment = { rich_text = p.rich_text } end) },
    { "GET", "/v1/comments", with("notion_comments_fetch") },
  } } }
end

return M
