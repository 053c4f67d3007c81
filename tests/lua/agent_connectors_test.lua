-- Connectors, against a stand-in for host.scalekit: accounts that are not ACTIVE, no tools, files and lists of one's
-- own.
local t = require "testing"
local host = require "host"
local connectors = require "agent.connectors"

-- A service with one account of the given status, that writes down what it was asked.
local function service(status, tools)
  local asked = {}
  local function ask(name, answer)
    return function(given)
      asked[#asked + 1] = name .. " " .. tostring(given.connection_name or given.connection_names[1])
      if type(answer) == "function" then return answer(given) end
      return answer
    end
  end
  return {
    asked = asked,
    get_or_create_connected_account = ask("account", { id = "ca_1", status = status, identifier = "u" }),
    get_authorization_link = ask("link", { link = "https://auth.example/x" }),
    get_tools = ask("tools", tools or function(given)
      local out = {}
      for i, name in ipairs(given.tool_names or { given.connection_names[1] .. "_get_x" }) do
        out[i] = { name = name, description = "d", input_schema = {}, connected_account_id = "ca_1" }
      end
      return out
    end),
  }
end

local function write_file(text)
  local path = "/tmp/agenthost-test-" .. host.uuid() .. ".lua"
  local f = assert(io.open(path, "w"))
  f:write(text)
  f:close()
  return path
end

t.test("account, then tools; only these tools; order kept", function()
  local s = service "ACTIVE"
  local lists = t.ok(connectors.open({ "gmail" }, "u", s))
  t.eq(lists[1][1].name, "gmail_get_x")
  t.eq(s.asked, { "account gmail", "tools gmail" })
  lists = t.ok(connectors.open({ { connection = "github", tools = { "a", "b" } }, "slack" }, "u", s))
  t.eq({ lists[1][1].name, lists[1][2].name, lists[2][1].name }, { "a", "b", "slack_get_x" })
end)

t.test("not ACTIVE: the link, and no question for tools", function()
  for _, status in ipairs { "PENDING_AUTH", "EXPIRED", "DISCONNECTED" } do
    local s = service(status)
    local err = t.err("needs_auth", connectors.open({ "gmail" }, "u", s))
    t.eq(err.link, "https://auth.example/x")
    t.eq(err.account_status, status)
    t.match(err.message, "gmail account of u is " .. status)
    t.eq(s.asked, { "account gmail", "link gmail" })
  end
end)

t.test("not ACTIVE, and no link to be had", function()
  local s = service "PENDING_AUTH"
  s.get_authorization_link = function() return nil, { kind = "network", message = "host is away" } end
  t.match(t.err("account_not_active", connectors.open({ "gmail" }, "u", s)).message, "host is away")
end)

t.test("no tools names connection and account", function()
  local err = t.err("no_tools", connectors.open({ "gmail" }, "u", service("ACTIVE", {})))
  t.eq(err.connections, { "gmail" })
  t.eq(err.accounts, { "ca_1" })
  t.match(err.message, "ca_1")
end)

t.test("a wanted tool that does not come is named", function()
  local s = service("ACTIVE", { { name = "a", connected_account_id = "ca_1" } })
  local err = t.err("no_tools", connectors.open({ { connection = "github", tools = { "a", "b" } } }, "u", s))
  t.match(err.message, "gave no tool b for u")
end)

t.test("errors of the service come out as they are", function()
  local s = service "ACTIVE"
  s.get_or_create_connected_account = function()
    return nil, { kind = "unknown_connection", message = "no connection gmial", did_you_mean = { "gmail" } }
  end
  t.eq(t.err("unknown_connection", connectors.open({ "gmial" }, "u", s)).did_you_mean, { "gmail" })
  s = service("ACTIVE", function() return nil, { kind = "timeout", message = "slow" } end)
  t.err("timeout", connectors.open({ "gmail", "slack" }, "u", s))
end)

t.test("a file that returns tools, or a function", function()
  local one = [[{ name = "x", description = "d", run = function() return 1 end }]]
  local path = write_file("return { " .. one .. " }")
  t.eq(t.ok(connectors.open({ path }))[1][1].name, "x")
  os.remove(path)
  path = write_file("return function(who) return { { name = who.identifier, description = 'd', run = print } } end")
  t.eq(t.ok(connectors.open({ path }, "ann"))[1][1].name, "ann")
  os.remove(path)
end)

t.test("files that do not fit", function()
  for text, pattern in pairs {
    ["return 5"] = "a list of tools, got number",
    ["return {}"] = "gave no tools",
    ["return { { name = 'x' } }"] = "'description' is missing",
    ["return { 7 }"] = "tools%[1%] must be a tool, got number",
    ["return nil, { kind = 'config', message = 'no CRM here' }"] = "no CRM here",
  } do
    local path = write_file(text)
    local lists, err = connectors.open { path }
    os.remove(path)
    t.eq(lists, nil)
    t.match(err.message, pattern)
  end
  local _, err = connectors.open { "no_such_connector.lua" }
  t.match(err.message, "no_such_connector.lua")
end)

t.test("a list in the script; who is needed when", function()
  local list = { { name = "x", description = "d", run = print } }
  t.eq(t.ok(connectors.open { list })[1][1].name, "x")
  t.eq(connectors.need_identifier { list, "a.lua" }, false)
  t.eq(connectors.need_identifier { list, "gmail" }, true)
  t.eq(connectors.need_identifier { { connection = "gmail" } }, true)
end)

t.done()
