-- The reference server, as an agent's connector would use it. Arguments: an address, or a program and its words.
-- Run by mcp_test.sh.
local agent = require "agent"
local json = require "host.json"
local mcp = require "host.mcp"
local script = require "host.script"
local tools = require "agent.tools"
local agent_mcp = require "agent.mcp"

local args = script.args()
local where = #args == 1 and { url = args[1] } or { command = args }

local client = mcp.client(where)
local server = assert(client:server())
assert(server.era == "legacy" and server.protocolVersion == "2025-11-25", json.encode(server))
local listed = assert(client:list_tools())
assert(#listed >= 10)
local function call(name, arguments, class)
  return assert(client:call_tool { name = name, arguments = arguments, class = class })
end
assert(call("echo", { message = "grüß dich" }, "read").content[1].text == "Echo: grüß dich")
assert(agent_mcp.text_of(call("get-sum", { a = 2, b = 3 })):find "5")
assert(call("get-structured-content", { location = "New York" }).structuredContent.temperature)
assert(agent_mcp.text_of(call("get-tiny-image", {})):find "image image/png")
assert(call("nope", {}).isError == true)
local none, err = client:request("no/such/method", {})
assert(none == nil and err.kind == "not_found" and err.code == "-32601", tostring(err))
assert(client:request("ping"))
local late
late, err = client:call_tool { name = "trigger-long-running-operation", arguments = { duration = 20, steps = 20 },
  class = "read", timeout = 0.3 }
assert(late == nil and err.kind == "timeout", tostring(err))
assert(call("echo", { message = "still here" }).content[1].text == "Echo: still here")

-- Many at once, each with its own answer.
local task = require "host.task"
local jobs = {}
for i = 1, 30 do
  jobs[i] = function() return call("get-sum", { a = i, b = 1000 }, "read").content[1].text end
end
for i, text in ipairs(task.all(jobs)) do assert(text:find(tostring(1000 + i)), text) end
client:close()
assert(not pcall(client.list_tools, client))

-- As tools of an agent.
local connectors = require "agent.connectors"
local lists = assert(connectors.open { { mcp = where, prefix = "ev_", tools = { "ev_echo", "ev_get-*" } } })
local box = assert(tools.box(lists[1]))
assert(box.by_name.ev_echo and box.by_name["ev_get-sum"] and #box.list >= 5)
local outcome = box:call({ id = "1", name = "ev_echo", args = { message = "hi" } }, { approve = "auto" })
assert(outcome.content == "Echo: hi", outcome.content)
box:close()
assert(agent)
