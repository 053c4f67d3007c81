-- The MCP client against servers that misbehave: a double in this process, and programs of a few lines.
local t = require "testing"
local host = require "host"
local json = require "host.json"
local agent = require "agent"
local testing = require "agent.testing"
local mcp = require "host.mcp"
local agent_mcp = require "agent.mcp"
local connectors = require "agent.connectors"
local server = require "host.server"
local task = require "host.task"
local tools = require "agent.tools"

-- A server whose answers a test gives by method: a result table, or a function(req, message) that answers the request
-- itself. It writes down what it was sent.
local function serve(answers)
  local seen = {}
  local far
  far = assert(server.listen {
    handler = function(req)
      local message = req.body ~= "" and json.decode(req.body) or {}
      seen[#seen + 1] = { method = message.method or req.method, headers = req.headers, message = message }
      local answer = answers[message.method or req.method]
      if type(answer) == "function" then return answer(req, message) end
      if not message.method then return 405, {}, "" end
      if not message.id then return 202, {}, "" end
      if answer == nil then
        return 400, { ["content-type"] = "application/json" },
          json.encode { jsonrpc = "2.0", id = message.id, error = { code = -32000, message = "Server not initialized" } }
      end
      return 200, { ["content-type"] = "application/json", ["mcp-session-id"] = answers.session },
        json.encode { jsonrpc = "2.0", id = message.id, result = answer }
    end,
  })
  return ("http://127.0.0.1:%d/mcp"):format(far:port()), seen, far
end

local HELLO = {
  protocolVersion = "2025-11-25", capabilities = { tools = {} }, serverInfo = { name = "double", version = "1" },
}
local ONE = { tools = { { name = "one", inputSchema = { type = "object" } } } }

local function methods(seen)
  local out = {}
  for i, one in ipairs(seen) do out[i] = one.method end
  return out
end

local function count(seen, method)
  local n = 0
  for _, one in ipairs(seen) do n = n + (one.method == method and 1 or 0) end
  return n
end

t.test("a client sends nothing by itself; misuse raises", function()
  local url, seen, far = serve {}
  mcp.client { url = url }
  t.eq(#seen, 0)
  far:close()
  t.raises("give url, or command", mcp.client, {})
  t.raises("give url, or command", mcp.client, { url = "http://x", command = { "y" } })
  t.raises("auto", mcp.client, { url = "http://x", era = "old" })
  t.raises("unknown", mcp.client, { url = "http://x", ulr = 1 })
  t.raises("URL", mcp.client, { url = "ftp://x" })
end)

t.test("legacy: probe, handshake, session and version with every request, DELETE at the end", function()
  local url, seen, far = serve { initialize = HELLO, ["tools/list"] = ONE, session = "s-1" }
  local client = mcp.client { url = url, headers = { ["X-Own"] = "yes" }, token = host.secret "AGENTHOST_TEST_TOKEN" }
  t.eq(t.ok(client:list_tools())[1].name, "one")
  t.eq(t.ok(client:server()).era, "legacy")
  client:close()
  local order = table.concat(methods(seen), " ")
  t.match(order, "^server/discover initialize notifications/initialized .*tools/list.*DELETE$")
  for _, one in ipairs(seen) do
    t.eq(one.headers.authorization, "Bearer token-for-tests-123456")
    t.eq(one.headers["x-own"], "yes")
    if one.method == "tools/list" or one.method == "DELETE" then
      t.eq(one.headers["mcp-session-id"], "s-1")
      t.eq(one.headers["mcp-protocol-version"], "2025-11-25")
    end
  end
  t.eq(seen[1].headers["mcp-protocol-version"], "2026-07-28")
  far:close()
end)

t.test("modern: no handshake; who we are is in every request; name and arguments as headers", function()
  local schema = { type = "object", properties = { region = { type = "string", ["x-mcp-header"] = "Region" } } }
  local url, seen, far = serve {
    ["server/discover"] = { supportedVersions = { "2026-07-28" } }, ["tools/call"] = { content = {} },
    ["tools/list"] = { tools = { { name = "ok", inputSchema = schema }, { name = "bad",
      inputSchema = { type = "object", properties = { n = { type = "number", ["x-mcp-header"] = "N" } } } } } },
  }
  local client = mcp.client { url = url }
  local list = t.ok(client:list_tools())
  t.eq(#list, 1)
  t.ok(client:call_tool { name = "grüße", arguments = { region = "eu" }, schema = schema })
  local last = seen[#seen]
  t.eq(last.headers["mcp-method"], "tools/call")
  t.eq(last.headers["mcp-name"], "=?base64?Z3LDvMOfZQ==?=")
  t.eq(last.headers["mcp-param-region"], "eu")
  t.eq(last.message.params._meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28")
  t.eq(count(seen, "initialize"), 0)
  client:close()
  far:close()
end)

t.test("a call whose stream breaks is resumed, and posted once", function()
  local calls = 0
  local url, seen, far = serve {
    initialize = HELLO,
    ["tools/call"] = function(req)
      calls = calls + 1
      local stream = req:stream(200, { ["content-type"] = "text/event-stream" })
      stream:write "id: e-1\nretry: 10\ndata: \n\n"
      stream:abort()
    end,
    GET = function(req)
      if req.headers["last-event-id"] ~= "e-1" then return 405, {}, "" end
      return 200, { ["content-type"] = "text/event-stream" },
        'id: e-2\ndata: {"jsonrpc":"2.0","id":3,"result":{"content":[{"type":"text","text":"late"}]}}\n\n'
    end,
  }
  local client = mcp.client { url = url, timeout = 10 }
  t.eq(agent_mcp.text_of(t.ok(client:call_tool { name = "pay" })), "late")
  t.eq(calls, 1)
  t.ok(count(seen, "GET") >= 1)
  client:close()
  far:close()
end)

t.test("an unsafe call whose answer never comes: its outcome is unknown, and it is not sent again", function()
  local calls = 0
  local url, _, far = serve {
    initialize = HELLO,
    ["tools/call"] = function(req)
      calls = calls + 1
      local stream = req:stream(200, { ["content-type"] = "text/event-stream" })
      stream:write ": nothing\n\n"
      stream:abort()
    end,
  }
  local client = mcp.client { url = url, timeout = 5 }
  t.err("outcome_unknown", client:call_tool { name = "pay" })
  local result, err = client:call_tool { name = "look", class = "read" }
  t.eq(result, nil)
  t.ok(err.kind ~= "outcome_unknown", err.kind)
  t.eq(calls, 2)
  client:close()
  far:close()
end)

t.test("in time or not at all", function()
  local url, _, far = serve { initialize = HELLO, ["tools/call"] = function() task.sleep(30) end }
  local client = mcp.client { url = url }
  t.err("timeout", client:call_tool { name = "look", class = "read", timeout = 0.05 })
  t.err("outcome_unknown", client:call_tool { name = "pay", timeout = 0.05 })
  t.eq((task.timeout(0.02, client.call_tool, client, { name = "look", class = "read" })), nil)
  client:close()
  far:close()
end)

for _, refusal in ipairs { { 404, '{"error":{"code":-32001,"message":"gone"}}' },
  { 400, '{"error":{"code":-32000,"message":"Bad Request: No valid session ID provided"}}' } } do
  t.test("a lost session: a new one, and the request once again (" .. refusal[1] .. ")", function()
    local greeted, lost = 0, true
    local url, seen, far = serve {
      initialize = function(_, message)
        greeted = greeted + 1
        return 200, { ["content-type"] = "application/json", ["mcp-session-id"] = "s-" .. greeted },
          json.encode { jsonrpc = "2.0", id = message.id, result = HELLO }
      end,
      ["tools/call"] = function(req, message)
        if lost then
          lost = false
          return refusal[1], { ["content-type"] = "application/json" }, refusal[2]
        end
        t.eq(req.headers["mcp-session-id"], "s-2")
        return 200, { ["content-type"] = "application/json" },
          json.encode { jsonrpc = "2.0", id = message.id, result = { content = {} } }
      end,
    }
    local client = mcp.client { url = url, era = "legacy" }
    t.ok(client:call_tool { name = "pay" })
    t.eq({ greeted, count(seen, "tools/call") }, { 2, 2 })
    client:close()
    far:close()
  end)
end

t.test("pages; a cursor that repeats ends", function()
  local pages = 0
  local url, _, far = serve {
    initialize = HELLO,
    ["tools/list"] = function(_, message)
      pages = pages + 1
      local result = { tools = { { name = "t" .. pages } }, nextCursor = pages < 3 and "c" .. pages or "same" }
      return 200, { ["content-type"] = "application/json" },
        json.encode { jsonrpc = "2.0", id = message.id, result = result }
    end,
  }
  local client = mcp.client { url = url, era = "legacy" }
  t.eq(#t.ok(client:list_tools()), 4)
  client:close()
  far:close()
end)

t.test("the oldest era: a stream says where to post, and brings the answers", function()
  local stream
  local url, _, far = serve {
    initialize = function(req, message)
      if req.path == "/mcp" then return 405, {}, "" end
      stream:write(("event: message\ndata: %s\n\n"):format(json.encode { jsonrpc = "2.0", id = message.id,
        result = { protocolVersion = "2024-11-05", serverInfo = { name = "old" }, capabilities = {} } }))
      return 202, {}, ""
    end,
    ["tools/list"] = function(_, message)
      stream:write(("event: message\ndata: %s\n\n"):format(json.encode { jsonrpc = "2.0", id = message.id, result = ONE }))
      return 202, {}, ""
    end,
    GET = function(req)
      stream = req:stream(200, { ["content-type"] = "text/event-stream" })
      stream:write "event: endpoint\ndata: /post?id=7\n\n"
      task.sleep(5)
      stream:finish()
    end,
  }
  local client = mcp.client { url = url, era = "legacy", timeout = 4 }
  t.eq(t.ok(client:list_tools())[1].name, "one")
  t.eq(t.ok(client:server()).protocolVersion, "2024-11-05")
  client:close()
  far:close()
end)

t.test("what is no MCP server, or speaks what is not known", function()
  local url, _, far = serve {}
  t.ok(select(2, mcp.client { url = url, timeout = 3 }:list_tools()), "no error")
  far:close()
  url, _, far = serve { initialize = { protocolVersion = "1999-01-01" } }
  t.match(t.err("protocol", mcp.client { url = url, era = "legacy" }:list_tools()).message, "1999%-01%-01")
  far:close()
  url, _, far = serve { initialize = function() return 401, { ["www-authenticate"] = "Bearer" }, '{"error":"invalid_token"}' end }
  t.err("auth", mcp.client { url = url, era = "legacy" }:list_tools())
  far:close()
  t.err("network", mcp.client { url = "http://127.0.0.1:1/mcp", era = "legacy" }:list_tools())
  for _, body in ipairs { "", "<html>", "null", "[]", "{}", '{"jsonrpc":"2.0","id":99,"result":{}}', "{" } do
    url, _, far = serve { initialize = function() return 200, { ["content-type"] = "application/json" }, body end }
    t.ok(select(2, mcp.client { url = url, era = "legacy", timeout = 2 }:list_tools()), "accepted " .. body)
    far:close()
  end
end)

t.test("an error that speaks of a session is no lost session when a tool says it", function()
  local url, seen, far = serve {
    initialize = HELLO, session = "s-1",
    ["tools/call"] = function(_, message)
      return 200, { ["content-type"] = "application/json" }, json.encode { jsonrpc = "2.0", id = message.id,
        error = { code = -32000, message = "paid, but the browser session ended" } }
    end,
  }
  local client = mcp.client { url = url, era = "legacy" }
  t.match(t.err("protocol", client:call_tool { name = "pay" }).message, "browser session")
  t.eq(count(seen, "tools/call"), 1)
  client:close()
  far:close()
end)

t.test("a status of 5xx: an unsafe call may have run", function()
  local url, _, far = serve { initialize = HELLO, ["tools/call"] = function() return 502, {}, "bad gateway" end }
  local client = mcp.client { url = url, era = "legacy" }
  t.match(t.err("outcome_unknown", client:call_tool { name = "pay" }).message, "502")
  local _, err = client:call_tool { name = "look", class = "read" }
  t.ok(err.kind ~= "outcome_unknown", err.kind)
  client:close()
  far:close()
end)

t.test("the oldest era: a stream that ends fails what waits for it, at once", function()
  local stream
  local url, _, far = serve {
    initialize = function(req, message)
      if req.path == "/mcp" then return 405, {}, "" end
      stream:write(("event: message\ndata: %s\n\n"):format(json.encode { jsonrpc = "2.0", id = message.id,
        result = { protocolVersion = "2024-11-05", serverInfo = { name = "old" }, capabilities = {} } }))
      return 202, {}, ""
    end,
    ["tools/call"] = function()
      task.spawn(function() task.sleep(0.05) stream:finish() end)
      return 202, {}, ""
    end,
    GET = function(req)
      stream = req:stream(200, { ["content-type"] = "text/event-stream" })
      stream:write "event: endpoint\ndata: /post\n\n"
    end,
  }
  local client = mcp.client { url = url, era = "legacy", timeout = 60 }
  t.match(t.err("network", client:call_tool { name = "look", class = "read" }).message, "ended its stream")
  t.match(t.err("network", client:call_tool { name = "pay" }).message, "connect again") -- it was never sent
  client:close()
  far:close()
end)

t.test("dropped in the handshake, and with calls that wait for it", function()
  local url, seen, far = serve { ["server/discover"] = function() task.sleep(30) end }
  for _ = 1, 3 do
    local client = mcp.client { url = url }
    t.eq((task.timeout(0.05, client.list_tools, client)), nil)
    local jobs = {}
    for i = 1, 3 do jobs[i] = task.spawn(client.call_tool, client, { name = "pay" }) end
    task.sleep(0.02)
    client:close()
    for _, job in ipairs(jobs) do t.err("cancelled", job:wait()) end
  end
  t.eq(count(seen, "tools/call"), 0)
  far:close()
end)

-- ## stdio: programs of a few lines

local function program(code, more)
  local given = { command = { "sh", "-c", code }, era = "legacy", timeout = 5 }
  for k, v in pairs(more or {}) do given[k] = v end
  return mcp.client(given)
end

local SPEAKS = [[read -r hello; echo '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'
echo 'this is not JSON'
echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","serverInfo":{"name":"sh"},"capabilities":{}}}'
read -r initialized
]]

t.test("stdio: noise before the answer, answers by id, the server's questions, variables", function()
  local client = program(SPEAKS .. [[
tool() { echo "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"tools\":[{\"name\":\"$1\",\"description\":\"$2\"}]}}"; }
read -r list; echo '{"jsonrpc":"2.0","id":"q","method":"ping"}'; read -r pong
tool "$GIVEN-${#GIVEN}-${AGENTHOST_TEST_TOKEN:-none}" "$(echo "$pong" | tr -d '"')"
read -r rest]], { env = { GIVEN = host.secret "AGENTHOST_TEST_TOKEN" } })
  local list = t.ok(client:list_tools())
  t.eq(list[1].name, "[secret:AGENTHOST_TEST_TOKEN]-22-none") -- it got the value; what comes back shows none
  t.match(list[1].description, "id:q,result:{}")
  t.eq(client:changed(), true)
  t.eq(client:changed(), false)
  client:close()
end)

t.test("a server that says its tools changed: they are listed again before the next step", function()
  local answers = [[read -r hello
echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","serverInfo":{"name":"sh"},"capabilities":{}}}'
read -r initialized; read -r list
echo '{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"get_one"},{"name":"get_old"}]}}'
read -r call; echo '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'
echo '{"jsonrpc":"2.0","id":3,"result":{"content":[{"type":"text","text":"1"}]}}'; read -r list
echo '{"jsonrpc":"2.0","id":4,"result":{"tools":[{"name":"get_one"},{"name":"get_two"}]}}'
read -r call; echo '{"jsonrpc":"2.0","id":5,"result":{"content":[{"type":"text","text":"2"}]}}'; read -r rest]]
  local model = testing.model { testing.call("get_one", {}), testing.call("get_two", {}), testing.call("get_old", {}), "done" }
  t.ok(agent { model = model, prompt = "x", connectors = { { mcp = { command = { "sh", "-c", answers }, era = "legacy" } } } }
    :run "go")
  t.eq(model.sent[1].tools[2].name, "get_old")
  t.eq(model.sent[2].tools[2].name, "get_two")
  t.eq(model.sent[3].messages[6].content, "2")
  t.match(model.sent[4].messages[8].content, "there is no tool 'get_old'")
end)

t.test("stdio: a program that is not there, ends, or ends in the middle of a call", function()
  t.err("config", mcp.client { command = { "no-such-program-here" } }:list_tools())
  local client = program "echo 'cannot find my settings' >&2; exit 3"
  t.match(t.err("io", client:list_tools()).message, "code 3; its last words: cannot find my settings")
  t.err("io", client:list_tools())
  client:close()
  client = program "exit 4" -- a call that was held until the server is known was never sent
  t.match(t.err("io", client:call_tool { name = "pay" }).message, "code 4")
  client:close()
  client = program([[echo "bad key $GIVEN" >&2; exit 5]], { env = { GIVEN = host.secret "AGENTHOST_TEST_TOKEN" } })
  t.match(t.err("io", client:list_tools()).message, "bad key %[secret:AGENTHOST_TEST_TOKEN%]")
  client:close()
  client = program(SPEAKS .. "read -r call; exit 1")
  t.err("outcome_unknown", client:call_tool { name = "pay" })
  client:close()
end)

-- ## as connectors

t.test("a session is ended also when the agent's run is cut short, and when another connector failed", function()
  local url, seen, far = serve { initialize = HELLO, ["tools/list"] = ONE, session = "s-1" }
  local here = { mcp = { url = url, era = "legacy" } }
  local function run(spec)
    spec.prompt, spec.input, spec.model = "p", "go", testing.model { "done" }
    return agent(spec):run()
  end
  t.raises("mine", function() run { connectors = { here }, on_event = function() error "mine" end } end)
  t.eq(count(seen, "DELETE"), 1)
  t.err("config", run { connectors = { here, "no-such-file.lua" } })
  t.eq(count(seen, "DELETE"), 2)
  local same = agent.tool { name = "one", description = "d", run = print }
  t.err("config", run { connectors = { here }, tools = { same } })
  t.eq(count(seen, "DELETE"), 3)
  t.ok(run { connectors = { here } })
  t.eq(count(seen, "DELETE"), 4)
  t.eq((task.timeout(0.05, run, { connectors = { here }, on_event = function() task.sleep(10) end })), nil)
  t.eq(count(seen, "initialize"), 5)
  far:close()
end)

t.test("names that models take, classes by the server's word, texts of results", function()
  local url, seen, far = serve {
    initialize = HELLO,
    ["tools/list"] = { tools = {
      { name = "a.b/c d", annotations = { readOnlyHint = true } }, { name = "a_b_c_d" },
      { name = ("long"):rep(30), annotations = { idempotentHint = true } }, { name = "get_it" },
      { name = "wipe", annotations = { destructiveHint = true } }, { name = "a/b c.d" },
    } },
    ["tools/call"] = function(_, message)
      local result = message.params.name == "wipe" and { isError = true, content = { { type = "text", text = "no way" } } }
        or { content = { { type = "text", text = "for " .. message.params.name },
          { type = "image", mimeType = "image/png", data = "AAAA" } } }
      return 200, { ["content-type"] = "application/json" },
        json.encode { jsonrpc = "2.0", id = message.id, result = result }
    end,
  }
  local lists = t.ok(connectors.open { { mcp = { url = url, era = "legacy" }, token = "tok-123" } })
  t.eq(seen[1].headers.authorization, "Bearer tok-123")
  local box = t.ok(tools.box(lists[1]))
  t.match(box.names[1], "^a_b_c_d_%x+$")
  t.eq(box.names[2], "a_b_c_d")
  t.match(box.names[6], "^a_b_c_d_%x+$")
  t.ok(box.names[1] ~= box.names[6])
  t.eq(#box.names[3], 64)
  t.eq({ box:class_of(box.names[1]), box:class_of(box.names[3]), box:class_of "get_it", box:class_of "wipe" },
    { "read", "idempotent", "read", "unsafe" })
  t.match(box:call({ id = "0", name = "a_b_c_d", args = {} }, { approve = "auto" }).content, "^for a_b_c_d\n")
  t.eq(box:call({ id = "1", name = box.names[1], args = {} }, {}).content,
    "for a.b/c d\n[image image/png, 4 bytes of base64]")
  t.match(box:call({ id = "2", name = "wipe", args = {} }, { approve = "auto" }).content, "no way")
  box:close()
  far:close()
  t.raises("give url, command or config", function() connectors.check({ { mcp = {} } }) end)
  t.raises("unknown field", function() connectors.check({ { mcp = "http://x", tool = {} } }) end)
end)

t.eq(agent_mcp.text_of { structuredContent = { a = 1 } }, '{"a":1}')
t.done()
