-- The tools of the emulated connectors as Scalekit shows them, and the check of their arguments. Called by
-- scalekit.lua; must never know what a tool does (gmail.lua, slack.lua and their like do).
local json = require "host.json"
local world = require "emulator.world"

local M = {}

M.CONNECTORS = { "gmail", "slack", "github", "googlecalendar", "notion" }

local TYPES = { s = "string", n = "number", i = "integer", b = "boolean", a = "array", o = "object" }

local PARAMETER_TEXTS = {
  query = "A search, such as is:unread or from:dana@example.com", max_results = "How many to return",
  page_token = "Where the next page starts", label_ids = "Only what carries these labels",
  to = "Address of the receiver", cc = "Further receivers", bcc = "Hidden receivers", subject = "Subject line",
  body = "The text", channel = "Id or name of a channel", text = "The text to post", owner = "Who owns the repository",
  repo = "Name of the repository", title = "The title", issue_number = "Number of the issue",
  labels = "Labels", state = "open, closed or all", per_page = "How many a page", page = "Which page, from 1",
  calendar_id = "Id of a calendar; primary is the user's own", event_id = "Id of an event",
  start_datetime = "When it begins, RFC 3339", end_datetime = "When it ends, RFC 3339", summary = "The title",
  time_min = "Not before this time, RFC 3339", time_max = "Not after this time, RFC 3339",
  page_id = "Id of a page", database_id = "Id of a database", block_id = "Id of a block or page",
  q = "A search", limit = "How many to return", cursor = "Where the next page starts",
}

local function number_of(name) -- FNV-1a: ids of tools stay the same whatever the seed
  local h = 0xcbf29ce484222325
  for i = 1, #name do h = (h ~ name:byte(i)) * 0x100000001b3 end
  return (h >> 1) % 900000000000 + 100000000000
end

local function parse_schema(params)
  local properties, required = {}, json.array {}
  for token in params:gmatch("%S+") do
    if token == "@" then
      properties.schema_version = { type = "string", description = "Pins a version of the schema" }
      properties.tool_version = { type = "string", description = "Pins a version of the tool" }
    else
      local star, name, kind = token:match("^(%*?)([%w_]+):(%l)$")
      local property = { type = TYPES[kind], description = PARAMETER_TEXTS[name] or name:gsub("_", " ") }
      if kind == "a" then property.items = name:find("ids?$") and { type = "string" } or nil end
      properties[name] = property
      if star ~= "" then required[#required + 1] = name end
    end
  end
  return { type = "object", properties = properties, required = required }
end

local function parse_line(line, connector)
  local effect, name, params, description = line:match("^(%l) ([%w_]+) %((.-)%) (.+)$")
  local title = name:gsub("^%l+_", ""):gsub("_", " "):gsub("%f[%w]%l", string.upper)
  return {
    id = "tol_" .. number_of(name),
    provider = connector.provider,
    definition = {
      name = name, display_name = title, description = description, provider = connector.provider,
      input_schema = parse_schema(params),
      annotations = {
        title = title, read_only_hint = effect == "r", destructive_hint = effect == "d",
        idempotent_hint = effect == "r", open_world_hint = true,
      },
    },
    metadata = {}, tags = json.array {}, is_default = true, updated_at = "2026-05-02T10:11:12Z",
  }
end

-- { providers = { GMAIL = {label=, connector=, tools={Tool…}} }, tools = { name -> Tool } }
function M.new()
  local catalog = { providers = {}, tools = {} }
  for _, name in ipairs(M.CONNECTORS) do
    local connector = require("emulator.catalog." .. name)
    local provider = { label = connector.label, connector = name, tools = {} }
    for line in connector.tools:gmatch("[^\n]+") do
      local tool = parse_line(line, connector)
      provider.tools[#provider.tools + 1] = tool
      catalog.tools[tool.definition.name] = tool
    end
    catalog.providers[connector.provider] = provider
  end
  return catalog
end

-- A tool that a scenario adds: { name=, description=, provider=, input_schema= }
function M.add(catalog, tool)
  local provider = tool.provider:upper()
  catalog.providers[provider] = catalog.providers[provider]
    or { label = tool.provider, connector = tool.provider:lower(), tools = {} }
  local entry = parse_line("w " .. tool.name .. " () " .. (tool.description or tool.name), { provider = provider })
  entry.definition.input_schema = tool.input_schema or entry.definition.input_schema
  local list = catalog.providers[provider].tools
  for i = #list, 1, -1 do
    if list[i].definition.name == tool.name then table.remove(list, i) end
  end
  list[#list + 1] = entry
  catalog.tools[tool.name] = entry
end

local function is_type(kind, v)
  if kind == "string" or kind == "boolean" then return type(v) == kind end
  if kind == "number" then return type(v) == "number" end
  if kind == "integer" then return type(v) == "number" and v == math.floor(v) end
  if kind == "array" then return world.is_array(v) end
  if kind == "object" then return world.is_object(v) end
  return true
end

-- Violations of `params` against the tool's schema, as reply.violations wants them; empty when none.
function M.check(tool, params)
  local schema, bad = tool.definition.input_schema, {}
  for _, name in ipairs(schema.required or {}) do
    if world.given(params[name]) == nil then bad[#bad + 1] = { "params." .. name, "value is required", "required" } end
  end
  local names = {}
  for name in pairs(schema.properties) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local v, kind = world.given(params[name]), schema.properties[name].type
    if v ~= nil and kind and not is_type(kind, v) then
      bad[#bad + 1] = { "params." .. name, ("value must be of type %s"):format(kind), "type" }
    end
  end
  return bad
end

return M
