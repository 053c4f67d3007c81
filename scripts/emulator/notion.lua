-- An emulated Notion workspace behind Scalekit's notion tools: pages and their blocks. Objects carry Notion's
-- field names. Databases are in notion_data.lua, the rest in notion_rest.lua. Called by scalekit.lua.
local json = require "host.json"
local text = require "emulator.text"
local world_of = require "emulator.world"
local data_of = require "emulator.notion_data"
local rest = require "emulator.notion_rest"
local words = require "emulator.notion_text"

local given, is_object, is_array = world_of.given, world_of.is_object, world_of.is_array
local M = {}
local Space = {}
Space.__index = Space

local function fail(status, message) return nil, { status = status, message = message } end

function Space.missing(_, what)
  return fail(404, "Could not find " .. what .. ". Is it shared with the integration?")
end

local function plain(id) return (tostring(id):gsub("-", ""):lower()) end

function Space:find(id) return self.objects[plain(id)] end

-- Keeps a new object: id, times, kind.
function Space:keep(object)
  object.id = object.id or self.world:uuid()
  object.at = self.world:now()
  self.objects[plain(object.id)] = object
  self.order[#self.order + 1] = object
  return object
end

function Space:drop(object)
  self.objects[plain(object.id)] = nil
  for i, other in ipairs(self.order) do
    if other == object then table.remove(self.order, i) break end
  end
end

-- Rows of a list as Notion pages it; `show` makes each.
function Space.page(_, list, p, show)
  local n = math.max(1, math.min(math.tointeger(given(p.page_size) or 100) or 100, 100))
  local start = math.tointeger(tonumber(given(p.start_cursor) or "0")) or 0
  local rows = json.array {}
  for i = start + 1, math.min(start + n, #list) do rows[#rows + 1] = show and show(list[i]) or list[i] end
  local more = start + n < #list
  return { object = "list", results = rows, has_more = more, next_cursor = more and tostring(start + n) or json.null }
end

local function stamps(space, object, out)
  out.id, out.created_time = object.id, text.stamp(object.at)
  out.last_edited_time = text.stamp(object.changed or object.at)
  out.created_by = { object = "user", id = space.users[1].id }
  return out
end
Space.stamps = stamps

function Space:show_page(page)
  return stamps(self, page, { object = "page", archived = page.archived or false, in_trash = page.archived or false,
    parent = page.parent, properties = page.properties, icon = page.icon or json.null, cover = page.cover or json.null,
    url = "https://notion.example/" .. plain(page.id) })
end

function Space:show_block(block)
  local out = stamps(self, block, { object = "block", type = block.kind, has_children = #block.children > 0,
    archived = block.archived or false, parent = block.parent })
  out[block.kind] = block.body
  return out
end

-- Blocks as the API takes them, kept as children of `parent`.
function Space:append(parent, blocks)
  local kept = json.array {}
  for _, b in ipairs(blocks or {}) do
    if type(b) == "string" then b = { type = "paragraph", paragraph = { rich_text = words.rich(b) } } end
    local kind = given(b.type) or "paragraph"
    local body = given(b[kind]) or { rich_text = words.rich(given(b.text) or given(b.content) or "") }
    local inner = given(body.children)
    body.children, body.rich_text = nil, words.enrich(given(body.rich_text) or json.array {})
    local block = self:keep { kind = kind, body = body, children = {}, is = "block",
      parent = { type = parent.is .. "_id", [parent.is .. "_id"] = parent.id } }
    parent.children[#parent.children + 1] = block
    kept[#kept + 1] = block
    if inner then self:append(block, inner) end
  end
  parent.changed = self.world:now()
  return kept
end

-- A new page; properties may be plain texts.
function Space:add_page(parent, properties, blocks)
  local shaped = {}
  for name, value in pairs(properties or {}) do
    if type(value) == "string" then
      local is_title = name:lower() == "title" or name:lower() == "name"
      value = is_title and { type = "title", title = words.rich(value) }
        or { type = "rich_text", rich_text = words.rich(value) }
    elseif is_array(value) then
      value = { type = "title", title = words.enrich(value) }
    elseif is_object(value) and given(value.title) then
      value.type, value.title = "title", words.enrich(value.title)
    end
    shaped[name] = value
  end
  local page = self:keep { is = "page", parent = parent, properties = shaped, children = {} }
  self:append(page, blocks)
  self.written[#self.written + 1] = { id = page.id, title = words.title_of(page) }
  return page
end

local MARKS = { heading_1 = "# ", heading_2 = "## ", heading_3 = "### ", bulleted_list_item = "- ",
  numbered_list_item = "1. ", quote = "> ", to_do = "- [ ] " }

local function markdown_of(blocks, indent, out)
  for _, b in ipairs(blocks) do
    local mark = MARKS[b.kind] or ""
    if b.kind == "to_do" and b.body.checked then mark = "- [x] " end
    out[#out + 1] = indent .. mark .. words.text_of(b.body.rich_text)
    markdown_of(b.children, indent .. "  ", out)
  end
  return out
end

local function blocks_of(markdown)
  local blocks = {}
  for line in (markdown .. "\n"):gmatch("(.-)\n") do
    local kind, rest_of = "paragraph", line
    for name, pattern in pairs { heading_1 = "^# (.*)", heading_2 = "^## (.*)", heading_3 = "^### (.*)",
      quote = "^> (.*)", bulleted_list_item = "^%- ([^%[].*)", numbered_list_item = "^%d+%. (.*)" } do
      if line:match(pattern) then kind, rest_of = name, line:match(pattern) end
    end
    if rest_of ~= "" then blocks[#blocks + 1] = { type = kind, [kind] = { rich_text = words.rich(rest_of) } } end
  end
  return blocks
end

local function page_tools(space, tools)
  local function with_page(act)
    return function(p)
      local page = space:find(p.page_id)
      if not page or page.is ~= "page" then return space:missing("page with ID: " .. p.page_id) end
      return act(page, p)
    end
  end
  function tools.notion_page_create(p)
    local parent = given(p._parent)
    local id = given(p.parent_page_id) or given(p.database_id)
      or (parent and (given(parent.page_id) or given(parent.database_id) or given(parent.data_source_id)))
    local above = id and space:find(id)
    if id and not above then return space:missing("object with ID: " .. id) end
    if not above then return fail(400, "body failed validation: a parent is required") end
    local page = space:add_page({ type = above.is .. "_id", [above.is .. "_id"] = above.id }, given(p.properties),
      given(p.child_blocks))
    page.icon, page.cover = given(p.icon), given(p.cover)
    return space:show_page(page)
  end
  tools.notion_page_get = with_page(function(page) return space:show_page(page) end)
  tools.notion_page_update = with_page(function(page, p)
    if given(p.archived) ~= nil then page.archived = p.archived end
    for name, value in pairs(given(p.properties) or {}) do page.properties[name] = value end
    page.icon, page.cover = given(p.icon) or page.icon, given(p.cover) or page.cover
    page.changed = space.world:now()
    return space:show_page(page)
  end)
  tools.notion_page_move = with_page(function(page, p)
    local id = given(p.new_parent_page_id) or given(p.new_parent_data_source_id)
    local above = id and space:find(id)
    if not above then return space:missing("parent") end
    page.parent = { type = above.is .. "_id", [above.is .. "_id"] = above.id }
    return space:show_page(page)
  end)
  tools.notion_page_property_retrieve = with_page(function(page, p)
    for name, value in pairs(page.properties) do
      if name == p.property_id or (is_object(value) and value.id == p.property_id) then return value end
    end
    return space:missing("property " .. p.property_id)
  end)
  tools.notion_page_markdown_get = with_page(function(page)
    return { object = "page_markdown", id = page.id, markdown = table.concat(markdown_of(page.children, "", {}), "\n"),
      truncated = false }
  end)
  tools.notion_page_markdown_update = with_page(function(page, p)
    if p.operation_type:find("replace", 1, true) then page.children = {} end
    for _, change in ipairs(given(p.content_updates) or {}) do
      for _, b in ipairs(page.children) do
        local old, at = words.text_of(b.body.rich_text), given(change.old_str) or ""
        local s, e = old:find(at, 1, true)
        if s and at ~= "" then
          b.body.rich_text = words.rich(old:sub(1, s - 1) .. (given(change.new_str) or "") .. old:sub(e + 1))
        end
      end
    end
    space:append(page, blocks_of(given(p.markdown_content) or ""))
    return { object = "page_markdown", id = page.id, markdown = table.concat(markdown_of(page.children, "", {}), "\n"),
      truncated = false }
  end)
  local function search(p, wanted)
    local asked, found = (given(p.query) or ""):lower(), {}
    for _, o in ipairs(space.order) do
      local title = o.is == "page" and words.title_of(o) or o.title or ""
      if wanted[o.is] and not o.archived and title:lower():find(asked, 1, true) then found[#found + 1] = o end
    end
    local ascending = given(p.sort_direction) == "ascending"
    table.sort(found, function(a, b)
      local x, y = a.changed or a.at, b.changed or b.at
      if x == y then return a.id < b.id end
      if ascending then return x < y end
      return x > y
    end)
    return space:page(found, p, function(o) return space:show(o) end)
  end
  function tools.notion_page_search(p) return search(p, { page = true }) end
  function tools.notion_data_fetch(p) return search(p, { page = true, database = true }) end
end

local function block_tools(space, tools)
  local function with_block(act)
    return function(p)
      local block = space:find(p.block_id)
      if not block or not block.children then return space:missing("block with ID: " .. p.block_id) end
      return act(block, p)
    end
  end
  tools.notion_block_retrieve = with_block(function(block) return space:show(block) end)
  tools.notion_page_content_get = with_block(function(block, p)
    return space:page(block.children, p, function(b) return space:show_block(b) end)
  end)
  tools.notion_page_content_append = with_block(function(block, p)
    local rows = json.array {}
    for i, b in ipairs(space:append(block, p.blocks)) do rows[i] = space:show_block(b) end
    return { object = "list", results = rows, has_more = false, next_cursor = json.null }
  end)
  tools.notion_block_update = with_block(function(block, p)
    if block.is ~= "block" then return fail(400, "a page is not changed as a block") end
    block.kind, block.body = p.type, { rich_text = words.rich(p.text), language = given(p.language) }
    block.changed = space.world:now()
    return space:show_block(block)
  end)
  tools.notion_block_delete = with_block(function(block)
    block.archived = true
    local parent = space:find(block.parent[block.parent.type])
    for i, b in ipairs(parent and parent.children or {}) do
      if b == block then table.remove(parent.children, i) break end
    end
    space:drop(block)
    return block.is == "page" and space:show_page(block) or space:show_block(block)
  end)
end

function Space:show(object)
  if object.is == "page" then return self:show_page(object) end
  if object.is == "block" then return self:show_block(object) end
  return data_of.show(self, object)
end

-- data: { users = {{name,email}}, pages = {{title, text, pages = …}}, databases = {{title, columns, rows}} }
function M.new(world, data, actions)
  local space = setmetatable({ world = world, objects = {}, order = {}, written = {}, users = {}, comments = {},
    views = {}, uploads = {} }, Space)
  for i, u in ipairs(data.users or { { name = "Sam Rivera", email = "sam@northwind.example" } }) do
    space.users[i] = { object = "user", id = world:uuid(), type = "person", name = u.name,
      person = { email = u.email } }
  end
  local function add(pages, parent)
    for _, page in ipairs(pages or {}) do
      local made = space:add_page(parent, { title = page.title }, page.text and blocks_of(page.text))
      add(page.pages, { type = "page_id", page_id = made.id })
    end
  end
  add(data.pages, { type = "workspace", workspace = true })
  for _, database in ipairs(data.databases or {}) do data_of.add(space, database) end
  space.written = {}
  page_tools(space, actions)
  block_tools(space, actions)
  data_of.tools(space, actions)
  rest.tools(space, actions)
  return space
end

return M
