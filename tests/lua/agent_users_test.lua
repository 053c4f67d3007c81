-- run: --emulate --scenario tests/lua/agent_users_scenario.lua
-- Two users in one process, at the same time: neither sees the other's tools or accounts.
local t = require "testing"
local agent = require "agent"
local connectors = require "agent.connectors"
local scalekit = require "host.scalekit"
local task = require "host.task"
local testing = require "agent.testing"
local trace = require "host.trace"

local function tools_of(user) return connectors.open({ "gmail" }, user) end

t.test("each has tools of the own account, asked for side by side", function()
  local lists = task.all {
    function() return { tools_of "ann" } end, function() return { tools_of "bob" } end,
    function() return { tools_of "ann" } end,
  }
  local ann, bob = t.ok(lists[1][1])[1], t.ok(lists[2][1])[1]
  t.ok(#ann > 0 and #bob > 0)
  for i = 1, #ann do
    t.eq(ann[i].identifier, "ann")
    t.eq(bob[i].identifier, "bob")
    t.ok(ann[i].connected_account_id ~= bob[i].connected_account_id, "one account for two")
  end
end)

t.test("a user whose account is not ready gets nothing of the one whose is", function()
  t.ok(tools_of "ann")
  local lists, err = tools_of "cid"
  t.eq(lists, nil)
  t.eq(err.kind, "needs_auth")
  t.eq(err.identifier, "cid")
  local result
  result, err = scalekit.execute_tool {
    tool_name = "gmail_fetch_mails", tool_input = {}, connection_name = "gmail", identifier = "cid", class = "read",
  }
  t.eq(result, nil)
  t.eq(err.kind, "account_not_active")
end)

t.test("accounts are looked up for the user who asks, also after another's", function()
  local ann = t.ok(scalekit.get_connected_account { connection_name = "gmail", identifier = "ann" })
  local bob = t.ok(scalekit.get_connected_account { connection_name = "gmail", identifier = "bob" })
  t.ok(ann.id ~= bob.id)
  t.eq(t.ok(scalekit.get_connected_account { connection_name = "gmail", identifier = "ann" }).id, ann.id)
end)

-- Two agents that run interleaved: what each tool call is made as, is its agent's user.
t.test("agents side by side act for their own user", function()
  local acted = {}
  local function run(user)
    local list = assert(connectors.open({ { connection = "gmail", tools = { "gmail_fetch_mails" } } }, user))[1]
    local who = agent.tool {
      name = "who", description = "d", class = "read",
      run = function(_, call)
        task.sleep(0.002)
        acted[#acted + 1] = call.identifier
        return call.identifier
      end,
    }
    local model = testing.model {
      testing.call("gmail_fetch_mails", { max_results = 1 }), testing.call("who", {}), testing.call("who", { a = 1 }), "done",
    }
    local result = assert(trace.run({ name = user, identifier = user }, function()
      return agent { model = model, tools = { list[1], who }, identifier = user, prompt = "p", input = "go" }:run()
    end))
    local said = {}
    for _, message in ipairs(result.messages) do
      if message.role == "tool" and message.name == "who" then said[#said + 1] = message.content end
    end
    return { user = user, account = list[1].connected_account_id, said = said }
  end
  local jobs = {}
  for i = 1, 20 do jobs[i] = function() return run(i % 2 == 0 and "ann" or "bob") end end
  local accounts = {}
  for _, one in ipairs(task.all(jobs)) do
    t.eq(one.said, { one.user, one.user })
    accounts[one.user] = accounts[one.user] or one.account
    t.eq(one.account, accounts[one.user])
  end
  t.ok(accounts.ann ~= accounts.bob)
  t.eq(#acted, 40)
end)

t.done()
