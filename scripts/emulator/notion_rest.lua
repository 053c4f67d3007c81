-- The emulated Notion beside pages and databases: comments, people, views, uploads, notes of meetings. Called
-- by notion.lua.
local json = require "host.json"
local world_of = require "emulator.world"
local data_of = require "emulator.notion_data"
local words = require "emulator.notion_text"

local given = world_of.given
local M = {}

local function take(list, id)
  for i, item in ipairs(list) do
    if item.id == id then return item, i end
  end
  return nil
end

local function comment_tools(space, tools)
  local function show(c)
    return { object = "comment", id = c.id, discussion_id = c.discussion_id, rich_text = c.rich_text,
      parent = c.parent, created_time = c.created_time, created_by = { object = "user", id = space.users[1].id } }
  end
  function tools.notion_comment_create(p)
    local parent, discussion = given(p.parent) or given(p.comment.parent), given(p.discussion_id)
    local id = parent and (given(parent.page_id) or given(parent.block_id))
    if id and not space:find(id) then return space:missing("page with ID: " .. id) end
    if not id and not discussion then
      return nil, { status = 400, message = "body failed validation: a parent or a discussion_id is required" }
    end
    local c = { id = space.world:uuid(), discussion_id = discussion or space.world:uuid(), parent = parent, on = id,
      rich_text = words.enrich(given(p.comment.rich_text) or given(p.comment.text) or given(p.comment.content) or ""),
      created_time = space.world:stamp() }
    for _, other in ipairs(space.comments) do
      if other.discussion_id == c.discussion_id then c.on, c.parent = c.on or other.on, c.parent or other.parent end
    end
    space.comments[#space.comments + 1] = c
    return show(c)
  end
  function tools.notion_comments_fetch(p)
    local found = {}
    local object = space:find(p.block_id)
    for _, c in ipairs(space.comments) do
      if object and c.on and space:find(c.on) == object then found[#found + 1] = c end
    end
    return space:page(found, p, show)
  end
  local function with(act)
    return function(p)
      local c, i = take(space.comments, p.comment_id)
      if not c then return space:missing("comment with ID: " .. p.comment_id) end
      return act(c, p, i)
    end
  end
  tools.notion_comment_retrieve = with(show)
  tools.notion_comment_update = with(function(c, p)
    c.rich_text = given(p.rich_text) and words.enrich(p.rich_text) or words.rich(given(p.markdown) or "")
    return show(c)
  end)
  tools.notion_comment_delete = with(function(c, _, i)
    table.remove(space.comments, i)
    return show(c)
  end)
end

local VIEW_FIELDS = { "name", "type", "filter", "sorts", "configuration", "quick_filters" }

local function view_tools(space, tools)
  local function with(act)
    return function(p)
      local view, i = take(space.views, p.view_id)
      if not view then return space:missing("view with ID: " .. p.view_id) end
      return act(view, p, i)
    end
  end
  local function show(view)
    local out = { object = "view", id = view.id, data_source_id = view.data_source_id, database_id = view.database_id }
    for _, k in ipairs(VIEW_FIELDS) do out[k] = view[k] end
    return out
  end
  local function fill(view, p)
    for _, k in ipairs(VIEW_FIELDS) do view[k] = given(p[k]) or view[k] end
    return view
  end
  function tools.notion_view_create(p)
    local source = space:find(p.data_source_id)
    if not source or source.is ~= "data_source" then
      return space:missing("data source with ID: " .. p.data_source_id) end
    local view = fill({ id = space.world:uuid(), data_source_id = source.id, database_id = source.database.id,
      queries = {} }, p)
    space.views[#space.views + 1] = view
    return show(view)
  end
  tools.notion_view_retrieve = with(show)
  tools.notion_view_update = with(function(view, p) return show(fill(view, p)) end)
  tools.notion_view_delete = with(function(view, _, i)
    table.remove(space.views, i)
    return show(view)
  end)
  function tools.notion_view_list(p)
    local found = {}
    for _, view in ipairs(space.views) do
      if (not given(p.data_source_id) or view.data_source_id == p.data_source_id)
        and (not given(p.database_id) or view.database_id == p.database_id) then found[#found + 1] = view end
    end
    return space:page(found, p, show)
  end
  tools.notion_view_query_create = with(function(view, p)
    local q = { id = space.world:uuid() }
    view.queries[#view.queries + 1] = q
    local rows, fault = data_of.query(space, space:find(view.data_source_id), { filter = view.filter,
      sorts = view.sorts, page_size = p.page_size })
    if not rows then return nil, fault end
    rows.id, rows.view_id = q.id, view.id
    return rows
  end)
  tools.notion_view_query_results_get = with(function(view, p)
    if not take(view.queries, p.query_id) then return space:missing("query with ID: " .. p.query_id) end
    return data_of.query(space, space:find(view.data_source_id), { filter = view.filter, sorts = view.sorts,
      page_size = p.page_size, start_cursor = p.start_cursor })
  end)
  tools.notion_view_query_delete = with(function(view, p)
    local _, i = take(view.queries, p.query_id)
    if not i then return space:missing("query with ID: " .. p.query_id) end
    table.remove(view.queries, i)
    return { object = "view_query", id = p.query_id, deleted = true }
  end)
end

local function upload_tools(space, tools)
  function tools.notion_file_upload_create(p)
    local upload = { object = "file_upload", id = space.world:uuid(), status = "pending", mode = given(p.mode)
      or "single_part", filename = given(p.filename), content_type = given(p.content_type),
      created_time = space.world:stamp() }
    space.uploads[#space.uploads + 1] = upload
    return upload
  end
  local function with(act)
    return function(p)
      local upload = take(space.uploads, p.file_upload_id)
      if not upload then return space:missing("file upload with ID: " .. p.file_upload_id) end
      return act(upload)
    end
  end
  tools.notion_file_upload_retrieve = with(function(upload) return upload end)
  tools.notion_file_upload_complete = with(function(upload)
    upload.status = "uploaded"
    return upload
  end)
  function tools.notion_file_upload_list(p)
    local found = {}
    for _, upload in ipairs(space.uploads) do
      if not given(p.status) or p.status == upload.status then found[#found + 1] = upload end
    end
    return space:page(found, p)
  end
end

function M.tools(space, tools)
  comment_tools(space, tools)
  view_tools(space, tools)
  upload_tools(space, tools)
  function tools.notion_user_get_self() return space.users[1] end
  function tools.notion_user_list(p) return space:page(space.users, p) end
  function tools.notion_user_get(p)
    local user = take(space.users, p.user_id)
    if not user then return space:missing("user with ID: " .. p.user_id) end
    return user
  end
  function tools.notion_custom_emojis_list(p) return space:page({}, p) end
  function tools.notion_meeting_notes_query(p)
    local found = {}
    for _, o in ipairs(space.order) do
      if o.meeting_note then found[#found + 1] = o end
    end
    return space:page(found, { page_size = p.limit }, function(o) return space:show_page(o) end)
  end
  function tools.notion_meeting_note_create(p)
    local above = given(p.parent_page_id) and space:find(p.parent_page_id)
    if given(p.parent_page_id) and not above then return space:missing("page with ID: " .. p.parent_page_id) end
    local parent = above and { type = "page_id", page_id = above.id } or { type = "workspace", workspace = true }
    local page = space:add_page(parent, { title = given(p.title) or "Meeting" })
    page.meeting_note = true
    return space:show_page(page)
  end
  function tools.notion_async_task_retrieve(p)
    return { object = "async_task", id = p.task_id, status = "completed", result = json.null }
  end
end

return M
