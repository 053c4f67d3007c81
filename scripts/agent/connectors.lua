-- From the names of connectors to tools that a model can call for one user.
--
--     "gmail"                                             a connection of Scalekit, with all its tools
--     { connection = "github", tools = { "github_…" } }   the same, with only these tools; tags, search, top and find
--                                                         select too: see agent.offer
--     { connection = "gmail", before = { gmail_… = f }, after = { gmail_… = g } }
--                                                         f is given the arguments, g the result of that tool; what
--                                                         they return takes their place
--     "connectors/crm.lua"                                a file of your own that returns tools (see agent.api and
--                                                         agent.toolset), or a function that is given { identifier }
--                                                         and returns them
--     "tools/"                                            a folder of such files, watched: see agent.toolset
--     { mcp = "https://…" }                               the tools of an MCP server: see agent.mcp
--     { agent.tool{…}, … }                                the list itself
local scalekit = require "host.scalekit"
local script = require "host.script"
local task = require "host.task"
local accounts = require "agent.accounts"
local errors = require "agent.errors"
local fields = require "agent.fields"
local mcp = require "agent.mcp"
local offer = require "agent.offer"
local toolset = require "agent.toolset"

local connectors = {}

-- ## Tools of Scalekit

local function no_tools(connection, identifier, account, missing)
  local what = #missing > 0 and "no tool " .. table.concat(missing, ", ") or "no tools"
  return errors.fail {
    kind = "no_tools", connections = { connection }, accounts = { account.id },
    message = ("the connection %s gave %s for %s (account %s, %s); look with `agenthost tools ls %s --user %s`")
      :format(connection, what, identifier, tostring(account.id), tostring(account.status), connection, identifier),
  }
end

-- Puts the functions of before or after on their tools. nil, err: there is no tool of that name.
local function attach(list, which, functions)
  local by_name = {}
  for _, part in ipairs { list, list.hidden or {} } do
    for _, tool in ipairs(part) do by_name[tool.name] = tool end
  end
  for name, f in pairs(functions or {}) do
    if not by_name[name] then
      return errors.fail { kind = "config", message = ("%s names no tool that is offered: %s"):format(which, name) }
    end
    by_name[name][which] = f
  end
  return list
end

-- Names that match nothing are an error: most often they are misspelt, and silence would hide it.
local function from_scalekit(at, filter, identifier)
  local service, connection = at.service, filter.connection
  local account, err = accounts.open(service, connection, identifier, at.patience)
  if not account then return nil, err end
  local list
  list, err = service.get_tools {
    identifier = identifier, connection_names = { connection }, tool_names = offer.names(filter),
  }
  if not list then return nil, errors.of(err) end
  local chosen, missing = offer.select(list, filter)
  if #chosen + #(chosen.hidden or {}) == 0 or #missing > 0 then
    return no_tools(connection, identifier, account, missing)
  end
  return chosen
end

-- ## Tools of the user's own

local function checked(list, where)
  local ok, made = pcall(toolset.tools_of, list)
  if not ok then return errors.fail { kind = "config", message = ("%s: %s"):format(where, tostring(made)) } end
  if #made == 0 then
    return errors.fail { kind = "no_tools", message = where .. " gave no tools; return a list with at least one" }
  end
  return made
end

local function from_folder(name)
  local set, err = toolset.open(name)
  if not set then return nil, err end
  local list = table.move(set.list, 1, #set.list, 1, {})
  list.set = set
  return list
end

local function from_file(path, identifier)
  local chunk, err = script.load(path)
  if not chunk then
    err = errors.of(err)
    err.message = ("the connector %s cannot be loaded: %s"):format(path, err.message)
    return nil, err
  end
  local list, why = chunk(path)
  if type(list) == "function" then list, why = list { identifier = identifier } end
  if list == nil and why ~= nil then return nil, errors.of(why) end
  return checked(list, "the connector " .. path)
end

-- ## All of them

local function from_mcp(one, identifier)
  local missing
  local function select(list)
    local chosen
    chosen, missing = offer.select(list, one)
    return chosen
  end
  local set, err = mcp.open(one, identifier, select)
  if not set then return nil, err end
  if #missing > 0 or #set.list + #(set.list.hidden or {}) == 0 then
    set:close()
    return errors.fail {
      kind = "no_tools", message = ("the MCP server gave %s"):format(
        #missing > 0 and "no tool " .. table.concat(missing, ", ") or "no tools"),
    }
  end
  local list = table.move(set.list, 1, #set.list, 1, {})
  list.set, list.hidden, list.total, list.why = set, set.list.hidden, set.list.total, set.list.why
  list.connection = one.prefix or "mcp"
  return list
end

local filter_fields = {
  connection = "text", tools = "strings", tags = "strings", search = "text", top = "count", find = "flag",
  before = "table", after = "table", verify = "table",
}
local mcp_fields = {
  mcp = "any", token = "any", prefix = "text", tools = "strings", tags = "strings", search = "text", top = "count",
  find = "flag",
}

local function is_file(name) return name:match "%.lua$" ~= nil or toolset.is_folder(name) end

-- Raises when one of the list cannot be a connector: agent{…} calls this before anything runs.
function connectors.check(list, level)
  local up = level and level + 1
  for i, one in ipairs(list) do
    if type(one) == "table" then
      if one.mcp then
        fields.check(("connectors[%d]"):format(i), one, mcp_fields, up)
        mcp.check(("connectors[%d]"):format(i), one, up)
      elseif one.connection then fields.check(("connectors[%d]"):format(i), one, filter_fields, up) end
    elseif type(one) ~= "string" or one == "" then
      fields.blame(("connectors[%d] must be the name of a connection, a .lua file, a folder/ or a list of tools, "
        .. "got %s"):format(i, type(one)), up)
    end
  end
end

-- Does any of them need to know whose accounts to use?
function connectors.need_identifier(list)
  for _, one in ipairs(list) do
    if type(one) == "string" and not is_file(one) then return true end
    if type(one) == "table" and (one.connection or one.mcp and mcp.need_identifier(one)) then return true end
  end
  return false
end

local function open_one(at, one, identifier)
  if type(one) == "table" and one.connection then
    local list, err = from_scalekit(at, one, identifier)
    if list then list, err = attach(list, "before", one.before) end
    if list then list, err = attach(list, "after", one.after) end
    if list then list, err = attach(list, "verify", one.verify) end
    return list, err
  end
  if type(one) == "table" and one.mcp then return from_mcp(one, identifier) end
  if type(one) == "table" then return checked(one, "a connector of the script") end
  if toolset.is_folder(one) then return from_folder(one) end
  if is_file(one) then return from_file(one, identifier) end
  return from_scalekit(at, { connection = one }, identifier)
end

-- One list of tools for each connector, in order, asked for side by side; or nil, err of the first that failed.
-- `service` stands in for host.scalekit in tests; `patience`: seconds to wait for a person, see agent.accounts.
function connectors.open(list, identifier, service, patience)
  local at = { service = service or scalekit, patience = patience or 0 }
  local jobs = {}
  for i, one in ipairs(list) do
    jobs[i] = function()
      local got, err = open_one(at, one, identifier)
      return { tools = got, err = err }
    end
  end
  local opened = #jobs == 1 and { jobs[1]() } or task.all(jobs)
  local lists, err = {}, nil
  for _, one in ipairs(opened) do
    lists[#lists + 1] = one.tools
    err = err or one.err
  end
  if err then connectors.close(lists) end
  return not err and lists or nil, err
end

-- Ends what was opened for these lists, when nobody comes to use them.
function connectors.close(lists)
  for _, list in ipairs(lists) do
    if list.set and list.set.close then list.set:close() end
  end
end

return connectors
