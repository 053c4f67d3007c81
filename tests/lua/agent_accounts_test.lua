-- Accounts that are not ready: who waits, for how long, and who does not.
local t = require "testing"
local accounts = require "agent.accounts"
local agent = require "agent"
local connectors = require "agent.connectors"
local task = require "host.task"
local testing = require "agent.testing"

local real_io = io
local said

-- What is said on stderr is for a person: the tests read it.
local function listen(fn)
  said = {}
  io = setmetatable({ stderr = { write = function(_, ...) said[#said + 1] = table.concat { ... } end } }, { __index = real_io })
  local results = table.pack(pcall(fn))
  io = real_io
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

-- A service whose accounts have a status each, as "connection user" -> { status, changed }; it counts what it is asked.
local function service(state)
  local s = { asked = {}, state = state }
  local function of(opts)
    local key = opts.connection_name .. " " .. opts.identifier
    s.asked[#s.asked + 1] = key
    local account = state[key] or { status = "ACTIVE" }
    return { id = "ca_" .. key, status = account.status, updated_at = account.changed, connector = opts.connection_name }
  end
  s.get_or_create_connected_account, s.get_connected_account = of, of
  function s.get_authorization_link(opts) return { link = "https://auth.example/" .. opts.connection_name .. "/" .. opts.identifier } end
  function s.wait_until_active(opts)
    opts.on_link(s.get_authorization_link(opts).link)
    local waited = 0
    while waited < opts.timeout do
      local account = of(opts)
      if account.status == "ACTIVE" then return account end
      task.sleep(0.002)
      waited = waited + 0.002
    end
    return nil, { kind = "needs_auth", message = "waited in vain", link = "l" }
  end
  function s.get_tools(opts)
    return { { name = opts.connection_names[1] .. "_read", connected_account_id = "ca", connector = opts.connection_names[1],
      identifier = opts.identifier, input_schema = {} } }
  end
  return s
end

t.test("no patience: at once a link, and exit code 11's kind", function()
  local s = service { ["gmail ann"] = { status = "PENDING_AUTH" } }
  local account, err = listen(function() return accounts.open(s, "gmail", "ann", 0) end)
  t.err("needs_auth", account, err)
  t.match(err.message, "PENDING_AUTH, not ACTIVE. Let ann open this link.*https://auth.example/gmail/ann")
  t.eq(#said, 0)
end)

t.test("patience: the link is said, the account becomes ACTIVE, the branch goes on", function()
  local s = service { ["gmail ann"] = { status = "EXPIRED" } }
  task.spawn(function()
    task.sleep(0.01)
    s.state["gmail ann"].status = "ACTIVE"
  end)
  local lists = t.ok(listen(function() return connectors.open({ "gmail", "slack" }, "ann", s, 5) end))
  t.eq(lists[1][1].name, "gmail_read")
  t.eq(#said, 1)
  t.match(said[1], "gmail of ann needs authorization; open this link %(waiting up to 5 s%): https://auth.example/gmail/ann")
end)

t.test("patience that ends: needs_auth", function()
  local s = service { ["gmail ann"] = { status = "PENDING_AUTH" } }
  t.err("needs_auth", listen(function() return accounts.open(s, "gmail", "ann", 0.01) end))
end)

t.test("many calls, one account: one wait, one link", function()
  local s = service { ["gmail ann"] = { status = "EXPIRED" } }
  task.spawn(function()
    task.sleep(0.01)
    s.state["gmail ann"].status = "ACTIVE"
  end)
  local err = { kind = "account_not_active", account_status = "EXPIRED", message = "m", link = "https://fresh.example" }
  local function one() return accounts.renew(err, "gmail", "ann", 5, s) end
  t.eq(listen(function() return task.all { one, one, one } end), { true, true, true })
  t.eq(#said, 1)
end)

t.test("one waits, others do not: another account, another user", function()
  local s = service { ["gmail ann"] = { status = "EXPIRED" } }
  local order = {}
  listen(function()
    local waiting = task.spawn(function()
      accounts.open(s, "gmail", "ann", 5)
      order[#order + 1] = "ann"
    end)
    t.ok(accounts.open(s, "gmail", "bob", 5))
    order[#order + 1] = "bob"
    t.ok(accounts.open(s, "slack", "ann", 5))
    order[#order + 1] = "slack"
    s.state["gmail ann"].status = "ACTIVE"
    waiting:wait()
  end)
  t.eq(order, { "bob", "slack", "ann" })
end)

t.test("a cancelled wait lets the next one begin anew", function()
  local s = service { ["gmail ann"] = { status = "EXPIRED" } }
  listen(function()
    t.eq((task.timeout(0.005, accounts.open, s, "gmail", "ann", 100)), nil)
    s.state["gmail ann"].status = "ACTIVE"
    t.ok(accounts.open(s, "gmail", "ann", 5))
  end)
end)

t.test("which refusals a person can heal", function()
  t.eq(accounts.refused { kind = "account_not_active" }, true)
  t.eq(accounts.refused { kind = "needs_auth" }, true)
  t.eq(accounts.refused { kind = "tool_error", link = "x" }, true)
  t.eq(accounts.refused { kind = "tool_error" }, false)
  t.eq(accounts.refused { kind = "outcome_unknown", link = "x" }, false)
end)

t.test("a right that lacks: without patience the run ends with the link, not with an excuse of the model", function()
  local s = service {}
  local ok, err = accounts.renew({ kind = "tool_error", link = "https://scope.example", message = "no scope" }, "gmail",
    "ann", 0, s)
  t.err("needs_auth", ok, err)
  t.match(err.message, "ACTIVE but not allowed to do this.*https://scope.example")
end)

t.test("fields and flags", function()
  t.eq(accounts.patience(7), 7)
  t.eq(accounts.patience(), 0)
  t.raises("'auth_timeout' must be a number", function() agent { auth_timeout = "x" } end)
  local model = testing.model { "hi" }
  t.ok(agent { model = model, prompt = "p", input = "x", auth_timeout = 3 }:run())
end)

t.done()
