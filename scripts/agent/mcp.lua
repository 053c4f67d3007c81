-- Tools of MCP servers, as a connector:
--
--     { mcp = "https://tools.example.com/mcp", token = host.secret "TOOLS_TOKEN" }
--     { mcp = { command = { "npx", "-y", "@modelcontextprotocol/server-everything" } }, prefix = "demo_" }
--     { mcp = { config = "inbox" } }                a virtual server of Scalekit, by its config's name: the session
--                                                   token is made for the user, and made again when it is refused
--     { mcp = client }                              a host.mcp client of your own
--
-- tools, tags, search, top and find select as for connections (see agent.offer). A server's word that a tool only
-- reads, or may be repeated, sets its class. When the server says that its tools changed, they are listed again before
-- the next step.
local host = require "host"
local json = require "host.json"
local mcp = require "host.mcp"
local scalekit = require "host.scalekit"
local errors = require "agent.errors"
local fields = require "agent.fields"
local tools = require "agent.tools"

local M = {}

local NAME = 64 -- bytes of a tool's name that models take
local KEPT = 55 -- of a longer one, before the hash

local server_fields = {
  url = "text", command = "strings", config = "text", headers = "table", env = "table", dir = "text", era = "text",
  timeout = "number", forms = "flag", token = "any",
}

-- Raises when `one` cannot be a connector of this kind.
function M.check(what, one, level)
  local server = one.mcp
  if type(server) == "string" or type(server) == "userdata" then return end
  fields.check(what .. ".mcp", server, server_fields, level and level + 1)
  if not (server.url or server.command or server.config) then
    fields.blame(what .. ".mcp: give url, command or config", level and level + 1)
  end
end

function M.need_identifier(one) return type(one.mcp) == "table" and one.mcp.config ~= nil end

-- ## Connecting

-- A virtual server of Scalekit: its address, and a token for this user.
local function virtual_server(name, identifier)
  local listed, err = scalekit.list_mcp_configs { name = name }
  if not listed then return nil, errors.of(err) end
  for _, config in ipairs(listed.configs or {}) do
    if config.name == name then
      local token
      token, err = scalekit.create_mcp_session_token { mcp_config_id = config.id, identifier = identifier }
      if not token then return nil, errors.of(err) end
      return { url = config.mcp_server_url, token = token.token }
    end
  end
  return errors.fail {
    kind = "config", message = ("there is no MCP config '%s' in Scalekit; make one, or look at its name"):format(name),
  }
end

local function connect(one, identifier)
  local server = one.mcp
  if type(server) == "userdata" then return server end
  if type(server) == "string" then server = { url = server, token = one.token } end
  local given = {}
  for k, v in pairs(server) do given[k] = v end
  given.token = server.token or one.token
  if server.config then
    local virtual, err = virtual_server(server.config, identifier)
    if not virtual then return nil, err end
    given.url, given.token, given.config, given.era = virtual.url, virtual.token, nil, given.era
  end
  local ok, client = pcall(mcp.client, given)
  if not ok then return nil, errors.of(client) end
  return client
end

-- ## Tools

local function hashed(plain, full) return plain:sub(1, KEPT) .. "_" .. host.sha256(full):sub(1, NAME - KEPT - 1) end

local function plain_of(full) return (full:gsub("[^%w_-]", "_")) end

-- A server's names as names that models take, by the server's. A name that had to be changed and became another's gets
-- a hash: which name stands for which tool does not depend on the order of the list.
local function names_of(listed, prefix)
  local count, names = {}, {}
  for _, tool in ipairs(listed) do
    local plain = plain_of((prefix or "") .. tool.name)
    count[plain] = (count[plain] or 0) + 1
  end
  for _, tool in ipairs(listed) do
    local full = (prefix or "") .. tool.name
    local plain = plain_of(full)
    local hash = plain == "" or #plain > NAME or plain ~= full and count[plain] > 1
    names[tool.name] = hash and hashed(plain == "" and "tool" or plain, full) or plain
  end
  return names
end

local function class_of(annotations)
  if type(annotations) ~= "table" then return nil end
  if annotations.readOnlyHint == true then return "read" end
  if annotations.idempotentHint == true then return "idempotent" end
  if annotations.readOnlyHint == false or annotations.destructiveHint == true then return "unsafe" end
end

local function describe(part)
  if part.type == "text" then return part.text end
  if part.type == "resource_link" then return ("[resource %s: %s]"):format(part.name or "", part.uri or "") end
  if part.type == "resource" then
    local resource = part.resource or {}
    return resource.text or ("[resource %s, %s]"):format(resource.uri or "", resource.mimeType or "binary")
  end
  return ("[%s %s, %d bytes of base64]"):format(part.type or "?", part.mimeType or "", #(part.data or ""))
end

-- A result as the model reads it: its texts; of pictures and the like, that they are there.
function M.text_of(result)
  local lines = {}
  for i, part in ipairs(result.content or {}) do lines[i] = tostring(describe(part)) end
  if #lines == 0 and result.structuredContent ~= nil then return (json.encode(result.structuredContent)) end
  return table.concat(lines, "\n")
end

-- One request. A session token that is refused (it ended, or this is a resumed run, which does not know it) is made
-- anew once: the server ran nothing.
local function ask(set, method, request)
  local used = set.client
  local result, err = used[method](used, request)
  if not result and err.kind == "auth" and M.need_identifier(set.one) then
    if set.client == used then -- else a call beside this one has made a new one
      local client, why = connect(set.one, set.identifier)
      if not client then return nil, why end
      set.client = client
      used:close()
    end
    result, err = set.client[method](set.client, request)
  end
  if not result then return nil, errors.of(err) end
  return result
end

local function call_tool(set, tool, class, args)
  local request = { name = tool.name, arguments = args, schema = tool.inputSchema, class = class }
  local result, err = ask(set, "call_tool", request)
  if not result then return nil, err end
  local text = M.text_of(result)
  if result.isError then
    return errors.fail { kind = "tool_error", message = text ~= "" and text or "the tool failed and gave no reason" }
  end
  return text
end

local function make_tool(set, tool, name)
  local class = tools.class { class = class_of(tool.annotations), name = tool.name }
  return {
    name = name,
    description = tool.description or tool.title or tool.name,
    parameters = type(tool.inputSchema) == "table" and tool.inputSchema or { type = "object", properties = {} },
    class = class,
    connector = set.one.prefix or "mcp",
    run = function(args) return call_tool(set, tool, class, args) end,
  }
end

local function make_tools(set, listed)
  local list, names = {}, names_of(listed, set.one.prefix)
  for i, tool in ipairs(listed) do list[i] = make_tool(set, tool, names[tool.name]) end
  return list
end

local toolset = {}
toolset.__index = toolset

-- For agent.tools: looks again when the server said so.
function toolset:refresh()
  if not self.client:changed() then return self end
  local listed, err = ask(self, "list_tools")
  if not listed then return nil, err end
  self.list = self.select(make_tools(self, listed))
  return self
end

-- Ends the session or the program, unless the client is the script's own.
function toolset:close()
  if type(self.one.mcp) ~= "userdata" then self.client:close() end
end

-- The tools of one server, and the set to look at again. `select(list)` returns what of it is offered; or nil, err.
function M.open(one, identifier, select)
  local client, err = connect(one, identifier)
  if not client then return nil, err end
  local set = { one = one, identifier = identifier, client = client, select = select }
  setmetatable(set, toolset)
  local listed
  listed, err = ask(set, "list_tools")
  if not listed then
    set:close()
    return nil, err
  end
  set.list = select(make_tools(set, listed))
  return set
end

return M
