-- host.scalekit as scripts see it: what misuse raises, what the world answers. Run with and without --emulate:
-- without it there are no settings, and each call says which are missing.
local t = require "testing"
local host = require "host"
local json = require "host.json"
local script = require "host.script"
local scalekit = require "host.scalekit"
local schema = require "host.schema"
local task = require "host.task"

local who = { connection_name = "gmail", identifier = "user_123" }

local function with(more)
  local out = { connection_name = "gmail", identifier = "user_123" }
  for k, v in pairs(more) do out[k] = v end
  return out
end

t.test("misuse raises and names the field", function()
  for _, name in ipairs { "get_or_create_connected_account", "get_connected_account", "get_authorization_link",
    "wait_until_active", "get_tools", "execute_tool" } do
    t.raises("table expected", scalekit[name])
    t.raises("table expected", scalekit[name], "gmail")
    t.raises("unknown field 'identifer' .*did you mean 'identifier'", scalekit[name], { identifer = "u" })
  end
  t.raises("connection_name", scalekit.get_connected_account, { identifier = "u" })
  t.raises("connection_name", scalekit.get_or_create_connected_account, { connection_name = 7 })
  t.raises("on_link", scalekit.wait_until_active, with { on_link = "print" })
  t.raises("timeout", scalekit.wait_until_active, with { timeout = "soon" })
  t.raises("connection_names", scalekit.get_tools, { connection_names = 7 })
  t.raises("item 2 must be a string", scalekit.get_tools, { connection_names = { "gmail", 7 } })
  t.raises("tool_name", scalekit.execute_tool, { connected_account_id = "ca_1" })
  t.raises("connected_account_id or connection_name", scalekit.execute_tool, { tool_name = "x" })
  t.raises("class", scalekit.execute_tool, { tool_name = "x", connected_account_id = "ca_1", class = "safe" })
  t.raises("tool_input", scalekit.execute_tool, { tool_name = "x", connected_account_id = "ca_1", tool_input = 7 })
end)

if not host.emulated() then
  t.test("without settings each call says what is missing", function()
    if host.config "SCALEKIT_CLIENT_ID" then return end -- somebody's own settings: leave them alone
    for _, call in ipairs { scalekit.get_connected_account, scalekit.get_or_create_connected_account,
      scalekit.get_authorization_link, scalekit.wait_until_active } do
      local v, err = call(who)
      t.err("config", v, err)
      t.match(tostring(err), "SCALEKIT_CLIENT_ID")
      t.match(tostring(err), "%-%-emulate")
    end
    local v, err = scalekit.get_tools { identifier = "user_123" }
    t.err("config", v, err)
    v, err = scalekit.execute_tool { tool_name = "x", connected_account_id = "ca_1" }
    t.err("config", v, err)
  end)
  t.done()
  return
end

t.test("an account is made, and read", function()
  local account = t.ok(scalekit.get_or_create_connected_account(who))
  t.eq(account.status, "ACTIVE")
  t.eq(account.connector, "gmail")
  t.eq(account.identifier, "user_123")
  t.match(account.id, "^ca_")
  t.eq(t.ok(scalekit.get_connected_account(who)).id, account.id)
  t.eq(t.ok(scalekit.wait_until_active(with { timeout = 1 })).id, account.id)
end)

t.test("the identifier is the run's", function()
  script.identifier "someone_else"
  local account = t.ok(scalekit.get_or_create_connected_account { connection_name = "gmail" })
  t.eq(account.identifier, script.identifier())
  script.identifier "user_123"
end)

t.test("a wrong connection name is met with the right one", function()
  local v, err = scalekit.get_or_create_connected_account(with { connection_name = "gmial" })
  t.err("unknown_connection", v, err)
  t.eq(err.did_you_mean[1], "gmail")
  t.match(tostring(err), "did you mean 'gmail'")
end)

t.test("links", function()
  local answer = t.ok(scalekit.get_authorization_link(who))
  t.match(answer.link, "^http")
  t.ok(answer.expiry)
end)

local tools

t.test("all tools, every page", function()
  tools = t.ok(scalekit.get_tools { identifier = "user_123", connection_names = { "gmail" } })
  t.ok(#tools > 10, "more than one page of ten")
  local seen = {}
  for _, tool in ipairs(tools) do
    t.ok(not seen[tool.name], "twice: " .. tool.name)
    seen[tool.name] = true
    t.eq(tool.connector, "gmail")
    t.eq(tool.identifier, "user_123")
    t.match(tool.connected_account_id, "^ca_")
    t.eq(type(tool.input_schema), "table")
  end
  t.ok(seen.gmail_fetch_mails)
  local one = t.ok(scalekit.get_tools { tool_names = { "gmail_fetch_mails" }, connection_names = { "gmail" } })
  t.eq(#one, 1)
  t.ok(#t.ok(scalekit.get_tools {}) >= #tools, "without a filter: those of all accounts")
end)

t.test("a tool's schema is decoded when somebody looks", function()
  local function fetch()
    local opts = { tool_names = { "gmail_fetch_mails" }, connection_names = { "gmail" } }
    return t.ok(scalekit.get_tools(opts))[1]
  end
  local tool = fetch()
  local text = rawget(tool, "input_schema_json")
  t.eq({ type(text), rawget(tool, "input_schema") }, { "userdata" })
  local plain = json.decode(json.encode(text))
  t.eq(plain.type, "object")
  t.ok(next(plain.properties))
  local written = json.decode(json.encode(tool)) -- nobody has looked yet
  t.eq({ written.input_schema, written.input_schema_json }, { plain })
  t.ok(rawget(tool, "input_schema_json"), "writing is not looking")
  t.eq(tool.input_schema, plain)
  t.eq({ rawget(tool, "input_schema_json"), getmetatable(tool) }, {})
  tool.input_schema.properties = nil
  t.eq(json.decode(json.encode(tool)).input_schema.properties, nil)

  local seen = {}
  for name, value in pairs(fetch()) do seen[name] = value end
  t.eq({ seen.input_schema, seen.input_schema_json, seen.name }, { plain, nil, "gmail_fetch_mails" })

  tool = fetch()
  tool.input_schema = { type = "object" }
  t.eq({ tool.input_schema, rawget(tool, "input_schema_json") }, { { type = "object" } })
  tool = fetch()
  tool.note = "mine" -- another field leaves it a text
  t.eq({ tool.note, type(rawget(tool, "input_schema_json")) }, { "mine", "userdata" })

  t.ok(schema.check(text, { max_results = 3 }))
  t.eq(schema.check(text, { max_results = "three" }), nil)
  t.raises("table expected", schema.check, io.stdout or print, {})
  t.raises("", setmetatable, fetch(), {})
end)

t.test("no tools is an error that says what was seen", function()
  local v, err = scalekit.get_tools { connection_names = { "gmail" }, tool_names = { "gmail_send_mail" } }
  t.err("no_tools", v, err)
  t.eq(err.connections, { "gmail" })
  t.eq(err.accounts[1].status, "ACTIVE")
end)

t.test("a tool runs: its bytes, its data", function()
  local result = t.ok(scalekit.execute_tool {
    tool_name = "gmail_fetch_mails", tool_input = { max_results = 2 },
    connected_account_id = tools[1].connected_account_id, class = "read",
  })
  t.eq(type(result.json), "string")
  t.eq(result.data, (json.decode(result.json)))
  t.ok(rawequal(result.data, result.data), "decoded once")
  t.eq(result.nothing, nil)
  t.ok(result.execution_id)
  t.ok(result.data.messages and #result.data.messages <= 2)
end)

t.test("input as text, as an empty array, as nothing; the account by name", function()
  for _, input in ipairs { '{"max_results":1}', json.array {}, {}, "{}" } do
    local result = t.ok(scalekit.execute_tool {
      tool_name = "gmail_fetch_mails", tool_input = input, connection_name = "gmail", class = "read",
    })
    t.ok(result.execution_id)
  end
  for _, bad in ipairs { "[1]", "{", '{"a":1,"a":2}', "3" } do
    local v, err = scalekit.execute_tool {
      tool_name = "gmail_fetch_mails", tool_input = bad, connection_name = "gmail",
    }
    t.err("invalid", v, err)
  end
  local v, err = scalekit.execute_tool {
    tool_name = "gmail_fetch_mails", tool_input = { f = print }, connection_name = "gmail",
  }
  t.err("invalid", v, err)
end)

t.test("an unknown tool says the real name when it is known", function()
  local v, err = scalekit.execute_tool { tool_name = "gmail_send_mail", connection_name = "gmail" }
  t.ok(v == nil and (err.kind == "not_found" or err.kind == "invalid"), tostring(err))
  t.match(tostring(err), "gmail_send_message")
end)

t.test("an account that was made anew: a call with the old one's id finds it, once", function()
  local user = "moved_1"
  local function account() return t.ok(scalekit.get_or_create_connected_account(with { identifier = user })) end
  local old = account()
  t.ok(scalekit.delete_connected_account { connection_name = "gmail", identifier = user })
  local new = account()
  t.ok(new.id ~= old.id)
  local function send(id)
    return scalekit.execute_tool {
      tool_name = "gmail_send_message", tool_input = { to = "a@b.example", subject = "moved", body = "x" },
      connected_account_id = id, connection_name = "gmail", identifier = user,
    }
  end
  t.ok(send(old.id))
  local sent = t.ok(scalekit.execute_tool {
    tool_name = "gmail_fetch_mails", tool_input = { query = "in:sent subject:moved", max_results = 10 },
    connection_name = "gmail", identifier = user, class = "read",
  })
  t.eq(#sent.data.messages, 1)
  t.ok(scalekit.delete_connected_account { connection_name = "gmail", identifier = user })
  t.ok(select(2, scalekit.execute_tool { tool_name = "gmail_send_message", connected_account_id = "ca_1",
    tool_input = { to = "a@b.example", subject = "x", body = "x" }, connection_name = "no_such", identifier = user }))
end)

t.test("side by side, and cancelled in the middle", function()
  local jobs = {}
  for i = 1, 20 do
    jobs[i] = function()
      return t.ok(scalekit.get_or_create_connected_account(with { identifier = "many_" .. i })).identifier
    end
  end
  t.eq(task.all(jobs)[20], "many_20")
  local v, err = task.timeout(0, function() return scalekit.get_tools { connection_names = { "gmail" } } end)
  t.err("timeout", v, err)
  t.ok(scalekit.get_connected_account(who))
end)

t.done()
