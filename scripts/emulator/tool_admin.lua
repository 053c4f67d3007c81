-- The preview calls that make, change and remove tools, and set their default versions. Called by app.lua over
-- the catalogue of one emulator. A tool made here is listed and refuses to run until a scenario acts it out.
local json = require "host.json"
local accounts_of = require "emulator.accounts"
local reply = require "emulator.reply"
local world_of = require "emulator.world"

local given, is_object, is_array = world_of.given, world_of.is_object, world_of.is_array
local M = {}

-- The tool of a body, or nil and an answer.
local function read(request)
  local body = request:object()
  if not body then return nil, { reply.grpc("INVALID_ARGUMENT", "the body is not a JSON object") } end
  local d = given(body.definition)
  if not is_object(d) then return nil, { reply.violations { { "tool.definition", "value is required",
    "required" } } } end
  if type(d.name) ~= "string" or not d.name:find("^[%l%d_][%w_%-]*$") or #d.name > 100 then
    return nil, { reply.violations { { "tool.definition.name", "value does not match regex pattern `^[a-z0-9_].*$`",
      "string.pattern" } } }
  end
  d.input_schema = is_object(d.input_schema) and d.input_schema or { type = "object" }
  d.input_schema.properties = given(d.input_schema.properties) or {}
  return body
end

local function fill(self, tool, body)
  tool.definition = body.definition
  tool.provider = (given(body.definition.provider) or tool.provider or "CUSTOM"):upper()
  tool.metadata, tool.tags = given(body.metadata) or {}, is_array(body.tags) and body.tags or json.array {}
  tool.updated_at = self.world:stamp()
  return tool
end

local function post_tool(self, request)
  local body, refused = read(request)
  if not body then return table.unpack(refused) end
  if self.catalog.tools[body.definition.name] then
    return reply.grpc("ALREADY_EXISTS", "tool already exists", { error_code = "RESOURCE_ALREADY_EXISTS" })
  end
  local tool = fill(self, { id = "tol_" .. self.world:digits(12), is_default = true }, body)
  local providers = self.catalog.providers
  providers[tool.provider] = providers[tool.provider] or { label = tool.provider, connector = tool.provider:lower(),
    tools = {} }
  table.insert(providers[tool.provider].tools, tool)
  self.catalog.tools[tool.definition.name] = tool
  return reply.json(200, { tool = tool })
end

local function put_tool(self, request)
  local body, refused = read(request)
  if not body then return table.unpack(refused) end
  local tool = self.catalog.tools[body.definition.name]
  if not tool then return accounts_of.not_found() end
  local provider = tool.provider
  fill(self, tool, body)
  tool.provider = provider
  return reply.json(200, { tool = tool })
end

local function delete_tool(self, request)
  local id = request.params.id
  if not id:find("^tol_") then
    return reply.violations { { "id", "value does not have prefix `tol_`", "string.prefix" } }
  end
  for name, tool in pairs(self.catalog.tools) do
    if tool.id == id then
      self.catalog.tools[name] = nil
      local list = self.catalog.providers[tool.provider].tools
      for i, other in ipairs(list) do
        if other == tool then table.remove(list, i) break end
      end
      return reply.json(200, {})
    end
  end
  return accounts_of.not_found()
end

local function post_default(self, request)
  local body = request:object() or {}
  local bad = accounts_of.check_limits(body, { "name", "schema_version", "tool_version" }, {
    name = { max = 100, min = 1, pattern = "^[%l%d_]", text = "^[a-z0-9_].*$" },
    schema_version = { max = 10, min = 1 }, tool_version = { max = 10, min = 1 } })
  for _, k in ipairs { "name", "schema_version", "tool_version" } do
    if not given(body[k]) then bad[#bad + 1] = { k, "value is required", "required" } end
  end
  if #bad > 0 then return reply.violations(bad) end
  local tool = self.catalog.tools[body.name]
  if not tool then return accounts_of.not_found() end
  tool.is_default = true
  tool.metadata = { schema_version = body.schema_version, tool_version = body.tool_version }
  return reply.json(200, { tool = tool })
end

function M.install(self, app)
  app:rows("tools", "/api/v1/tools", self, {
    { "POST", "", post_tool },
    { "PUT", "", put_tool },
    { "POST", ":set_default", post_default },
    { "DELETE", "/{id}", delete_tool },
  })
end

return M
