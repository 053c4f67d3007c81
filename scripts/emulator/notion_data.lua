-- The databases of the emulated Notion: columns, rows, queries. A database has one data source or more; each
-- row is a page. Called by notion.lua.
local json = require "host.json"
local words = require "emulator.notion_text"
local world_of = require "emulator.world"

local given, is_object, is_array = world_of.given, world_of.is_object, world_of.is_array
local M = {}

local function fail(status, message) return nil, { status = status, message = message } end

-- { Name = "title", Done = "checkbox" } or Notion's own { Name = { title = {} } } -> the latter, with type and id
local function columns_of(properties)
  local out = {}
  for name, column in pairs(properties or {}) do
    if type(column) == "string" then column = { [column] = {} } end
    local kind = given(column.type)
    for k, v in pairs(column) do
      if not kind and type(v) == "table" then kind = k end
    end
    kind = kind or "rich_text"
    out[name] = { id = name:lower():gsub("%W", "_"), name = name, type = kind, [kind] = given(column[kind]) or {} }
  end
  return out
end

-- A value of a property, as something to compare.
local function plain(property)
  if not is_object(property) then return property end
  local kind = given(property.type)
  if not kind then
    for k in pairs(property) do
      if k ~= "id" then kind = k break end
    end
  end
  local v = given(property[kind])
  if kind == "title" or kind == "rich_text" then return words.text_of(v) end
  if is_object(v) then return given(v.name) or given(v.start) end
  if is_array(v) then
    local names = {}
    for i, item in ipairs(v) do names[i] = is_object(item) and given(item.name) or tostring(item) end
    return table.concat(names, ",")
  end
  return v
end

local TESTS = {
  equals = function(a, b) return a == b end,
  does_not_equal = function(a, b) return a ~= b end,
  contains = function(a, b) return tostring(a or ""):lower():find(tostring(b):lower(), 1, true) ~= nil end,
  does_not_contain = function(a, b) return not tostring(a or ""):lower():find(tostring(b):lower(), 1, true) end,
  starts_with = function(a, b) return tostring(a or ""):sub(1, #tostring(b)) == b end,
  is_empty = function(a) return a == nil or a == "" end,
  is_not_empty = function(a) return a ~= nil and a ~= "" end,
  greater_than = function(a, b) return type(a) == type(b) and a > b end,
  less_than = function(a, b) return type(a) == type(b) and a < b end,
  before = function(a, b) return type(a) == "string" and a < b end,
  after = function(a, b) return type(a) == "string" and a > b end,
  on_or_before = function(a, b) return type(a) == "string" and a <= b end,
  on_or_after = function(a, b) return type(a) == "string" and a >= b end,
}

-- Whether a row passes a filter: and, or, or one property with one condition. nil and a sentence when unclear.
local function passes(row, filter)
  for _, join in ipairs { "and", "or" } do
    if given(filter[join]) then
      local any = false
      for _, part in ipairs(filter[join]) do
        local yes, bad = passes(row, part)
        if bad then return nil, bad end
        if join == "and" and not yes then return false end
        any = any or yes
      end
      return join == "and" or any
    end
  end
  if not given(filter.property) then return nil, "body failed validation: filter.property should be defined" end
  for kind, condition in pairs(filter) do
    if kind ~= "property" and is_object(condition) then
      for test, wanted in pairs(condition) do
        if not TESTS[test] then return nil, "body failed validation: unknown condition " .. test end
        if not TESTS[test](plain(row.properties[filter.property]), wanted) then return false end
      end
    end
  end
  return true
end

local function rows_of(space, source)
  local rows = {}
  for _, o in ipairs(space.order) do
    if o.is == "page" and not o.archived and (o.parent.data_source_id == source.id
      or o.parent.database_id == source.database.id and source == source.database.sources[1]) then
      rows[#rows + 1] = o
    end
  end
  return rows
end

local function query(space, source, p)
  local found = {}
  for _, row in ipairs(rows_of(space, source)) do
    local yes, bad = true, nil
    if given(p.filter) and next(p.filter) then yes, bad = passes(row, p.filter) end
    if bad then return fail(400, bad) end
    if yes then found[#found + 1] = row end
  end
  local sort = given(p.sorts) and p.sorts[1]
  if is_object(sort) and given(sort.property) then
    local down = sort.direction == "descending"
    table.sort(found, function(a, b)
      local x, y = tostring(plain(a.properties[sort.property]) or ""), tostring(plain(b.properties[sort.property])
        or "")
      if x == y then return a.id < b.id end
      if down then return x > y end
      return x < y
    end)
  end
  return space:page(found, p, function(row) return space:show_page(row) end)
end
M.query = query

function M.show(space, object)
  local out = space:stamps(object, { object = object.is, archived = false,
    title = words.rich(object.title), url = "https://notion.example/" .. object.id:gsub("-", "") })
  if object.is == "database" then
    out.parent, out.data_sources = object.parent, json.array {}
    for i, source in ipairs(object.sources) do out.data_sources[i] = { id = source.id, name = source.title } end
    out.properties, out.description = object.sources[1].columns, object.description
  else
    out.parent, out.properties = { type = "database_id", database_id = object.database.id }, object.columns
  end
  return out
end

local function add_source(space, database, title, columns)
  local source = space:keep { is = "data_source", title = title, columns = columns_of(columns), database = database }
  database.sources[#database.sources + 1] = source
  return source
end

-- { title =, columns = { Name = "title", … }, rows = { { Name = "…" } }, parent = }
function M.add(space, given_as)
  local database = space:keep { is = "database", title = given_as.title, sources = {},
    parent = given_as.parent or { type = "workspace", workspace = true } }
  local source = add_source(space, database, given_as.title, given_as.columns)
  for _, row in ipairs(given_as.rows or {}) do
    local properties = {}
    for name, v in pairs(row) do
      local kind = source.columns[name] and source.columns[name].type
      if type(v) == "string" and (kind == "select" or kind == "status") then v = { type = kind, [kind] = { name = v } }
      elseif type(v) == "string" and kind == "date" then v = { type = kind, date = { start = v } }
      elseif type(v) ~= "string" and type(v) ~= "table" and kind then v = { type = kind, [kind] = v } end
      properties[name] = v
    end
    space:add_page({ type = "data_source_id", data_source_id = source.id, database_id = database.id }, properties)
  end
  return database
end

local function find(space, id, kind)
  local object = space:find(id)
  if object and object.is == "database" and kind == "data_source" then return object.sources[1] end
  if object and object.is == kind then return object end
  return nil
end

local function source_tools(space, tools)
  local function with(act)
    return function(p)
      local source = find(space, p.data_source_id or p.database_id, "data_source")
      if not source then return space:missing("database with ID: " .. (p.data_source_id or p.database_id)) end
      return act(source, p)
    end
  end
  local ask = with(function(source, p) return query(space, source, p) end)
  tools.notion_data_source_query, tools.notion_database_query = ask, ask
  local insert = with(function(source, p)
    for name in pairs(p.properties) do
      if not source.columns[name] then return fail(400, name .. " is not a property that exists.") end
    end
    local page = space:add_page({ type = "data_source_id", data_source_id = source.id,
      database_id = source.database.id }, p.properties, given(p.child_blocks))
    page.icon, page.cover = given(p.icon), given(p.cover)
    return space:show_page(page)
  end)
  tools.notion_data_source_insert_row, tools.notion_database_insert_row = insert, insert
  local function change(source, p, object)
    object.title = given(p.title) or object.title
    object.description = given(p.description) or object.description
    for name, column in pairs(given(p.properties) or {}) do
      source.columns[name] = given(column) and columns_of({ [name] = column })[name] or nil
    end
    object.changed = space.world:now()
    return M.show(space, object)
  end
  tools.notion_data_source_retrieve = with(function(source) return M.show(space, source) end)
  tools.notion_data_source_update = with(function(source, p) return change(source, p, source) end)
  tools.notion_database_update = with(function(source, p) return change(source, p, source.database) end)
  tools.notion_database_fetch = with(function(source) return M.show(space, source.database) end)
  tools.notion_database_property_retrieve = with(function(source, p)
    if not given(p.property_id) then return { properties = source.columns } end
    for name, column in pairs(source.columns) do
      if name == p.property_id or column.id == p.property_id then return column end
    end
    return space:missing("property " .. p.property_id)
  end)
  tools.notion_data_source_fetch = with(function(source)
    local rows = json.array {}
    for i, s in ipairs(source.database.sources) do rows[i] = M.show(space, s) end
    return { object = "list", data_sources = rows }
  end)
  tools.notion_data_source_templates_list = with(function() return { templates = json.array {}, has_more = false } end)
end

function M.tools(space, tools)
  source_tools(space, tools)
  function tools.notion_database_create(p)
    local above = given(p.parent.page_id) and space:find(p.parent.page_id)
    if given(p.parent.page_id) and not above then return space:missing("page with ID: " .. p.parent.page_id) end
    return M.show(space, M.add(space, { title = words.text_of(p.title), columns = p.properties,
      parent = above and { type = "page_id", page_id = above.id } }))
  end
  function tools.notion_data_source_create(p)
    local database = find(space, p.parent_database_id, "database")
    if not database then return space:missing("database with ID: " .. p.parent_database_id) end
    return M.show(space, add_source(space, database, given(p.title) or database.title, p.properties))
  end
end

return M
