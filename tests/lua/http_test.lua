-- host.http: requests from tables, answers, streams, and what a cancelled task leaves behind.
local t = require "testing"
local host = require "host"
local http = require "host.http"
local json = require "host.json"
local server = require "host.server"
local task = require "host.task"

local function with(handler, fn)
  local s = assert(server.listen { handler = handler })
  local ok, err = pcall(fn, ("http://127.0.0.1:%d"):format(s:port()))
  s:close()
  if not ok then error(err, 0) end
end

-- Answers with what arrived, as JSON.
local function echo(req)
  return 200, { ["content-type"] = "application/json", ["x-request-id"] = "req-1", ["x-two"] = "a" }, json.encode {
    method = req.method, path = req.path, query = req.raw_query, headers = req.headers, body = req.body,
  }
end

local function ask(opts)
  local seen
  with(echo, function(base)
    opts.url = base .. (opts.url or "/")
    local res = assert(http.request(opts))
    seen = assert(res:json())
    t.eq(res.status, 200)
    t.eq(res.request_id, "req-1")
    t.eq(res.attempts, 1)
    t.eq(res.waited, 0.0)
  end)
  return seen
end

-- --- requests ------------------------------------------------------------------------------------------------------

t.test("a GET and its parts", function()
  local seen = ask { url = "/a%20b?x=1", query = { z = "ü&", b = { 1, 2.5, true }, a = "" }, headers = { ["X-A"] = "1" } }
  t.eq(seen.method, "GET")
  t.eq(seen.path, "/a%20b")
  t.eq(seen.query, "x=1&a=&b=1&b=2.5&b=true&z=%C3%BC%26")
  t.eq(seen.headers["x-a"], "1")
  t.match(seen.headers["user-agent"], "^agenthost/")
  t.eq(seen.body, "")
end)

t.test("bodies: text, JSON, form", function()
  local seen = ask { body = "a\0b", headers = { ["content-type"] = "x/y" } }
  t.eq({ seen.method, seen.body, seen.headers["content-type"] }, { "POST", "a\0b", "x/y" })
  seen = ask { json = { b = 1, a = json.null } }
  t.eq({ seen.body, seen.headers["content-type"] }, { '{"a":null,"b":1}', "application/json" })
  seen = ask { json = {}, headers = { ["Content-Type"] = "application/scim+json" } }
  t.eq(seen.headers["content-type"], "application/scim+json")
  seen = ask { form = { b = "x y", a = { "1", "&" } } }
  t.eq({ seen.body, seen.headers["content-type"] }, { "a=1&a=%26&b=x%20y", "application/x-www-form-urlencoded" })
  seen = ask { body = "x", method = "PUT" }
  t.eq({ seen.method, seen.headers["content-length"] }, { "PUT", "1" })
  seen = ask { body = "" }
  t.eq({ seen.method, seen.headers["content-length"] }, { "POST", "0" })
end)

t.test("get and post copy their options", function()
  with(echo, function(base)
    local opts = { query = { a = 1 } }
    t.eq(http.get(base .. "/g", opts):json().query, "a=1")
    t.eq(http.post(base .. "/p", opts):json().method, "POST")
    t.eq(opts, { query = { a = 1 } })
  end)
end)

t.test("header values that repeat", function()
  t.match(ask { headers = { accept = { "a/b", "c/d" } } }.headers.accept, "a/b.*c/d")
end)

t.test("misuse raises", function()
  local function bad(pattern, opts)
    if opts.url == nil then opts.url = "http://127.0.0.1:9/" end
    t.raises(pattern, http.request, opts)
  end
  t.raises("table expected", http.request)
  t.raises("string expected", http.get)
  t.raises("table expected", http.get, "http://x", 5)
  t.raises("bad field 'url'", http.request, {})
  bad("unknown field 'heders' in request %(did you mean 'headers'%?%)", { heders = {} })
  bad("bad field 'method'", { method = 5 })
  bad("one of body, json and form", { body = "x", json = 1 })
  bad("string", { body = {} })
  bad("header names", { headers = { "x" } })
  bad("string or secret", { headers = { a = {} , b = function() end } })
  bad("names in query", { query = { "x" } })
  bad("table expected", { query = "x" })
  bad("table expected", { headers = "x" })
  bad("bad field 'timeout'", { timeout = "1" })
  bad("bad field 'timeout'", { timeout = 0 })
  bad("unknown field 'conect' in timeout %(did you mean 'connect'%?%)", { timeout = { conect = 1 } })
  bad("bad field 'retry'", { retry = true })
  bad("bad field 'max'", { retry = { max = -1 } })
  bad("bad field 'max_body'", { max_body = -1 })
  bad("bad field 'stream'", { stream = "yes" })
end)

t.test("what the world gives wrong is an error, not a raise", function()
  t.err("config", http.get "not a url")
  t.err("config", http.get "ftp://example.com/")
  t.err("invalid", http.request { url = "http://127.0.0.1:9/", headers = { ["a b"] = "x" } })
  t.err("invalid", http.request { url = "http://127.0.0.1:9/", headers = { a = "x\r\ny: z" } })
  t.err("invalid", http.request { url = "http://127.0.0.1:9/", method = "G T" })
  t.err("network", http.request { url = "http://127.0.0.1:9/", retry = false })
  t.err("config", http.get("http://127.0.0.1:9/", { headers = { a = host.secret "NOBODY_SET_THIS_KEY" } }))
  t.err("limit", http.get("http://127.0.0.1:9/" .. ("x"):rep(70000)))
  local cyclic = {}
  cyclic.me = cyclic
  local res, err = http.post("http://127.0.0.1:9/", { json = cyclic })
  t.eq(res, nil)
  t.match(tostring(err), "%a")
end)

-- --- answers -------------------------------------------------------------------------------------------------------

t.test("a status from 400 on is an error with the answer in it", function()
  with(function() return 404, { ["x-request-id"] = "r9" }, "nothing here" end, function(base)
    local err = t.err("not_found", http.get(base .. "/secret-path?token=abc"))
    t.eq({ err.status, err.body, err.headers["x-request-id"], err.request_id, err.attempts, err.retryable },
      { 404, "nothing here", "r9", "r9", 1, false })
    t.match(tostring(err), "GET 127.0.0.1/secret%-path was answered with status 404")
    t.ok(not tostring(err):find("abc", 1, true), "the query is in the message")
  end)
end)

t.test("retries: how many, and what is seen of them", function()
  local n = 0
  with(function()
    n = n + 1
    if n < 3 then return 503, {}, "busy" end
    return 200, {}, "at last"
  end, function(base)
    local res = assert(http.get(base, { retry = { base = 0.001, cap = 0.002 } }))
    t.eq({ res.body, res.attempts, n }, { "at last", 3, 3 })
    t.ok(res.waited > 0)
    n = 0
    t.eq(t.err("http", http.get(base, { retry = false })).attempts, 1)
    n = 0
    t.err("http", http.post(base, { body = "x", retry = { base = 0.001 } }))
    t.eq(n, 1, "an unsafe call is not repeated")
    n = 0
    assert(http.post(base, { body = "x", idempotent = true, retry = { base = 0.001 } }))
    t.eq(n, 3)
  end)
end)

t.test("a body larger than max_body", function()
  with(function() return 200, {}, ("x"):rep(1000) end, function(base)
    t.match(tostring(t.err("limit", http.get(base, { max_body = 999 }))), "max_body")
    t.eq(#http.get(base, { max_body = 1000 }).body, 1000)
  end)
end)

t.test("res:json of what is no JSON", function()
  with(function() return 200, {}, "<html>" end, function(base)
    local v, err = http.get(base):json()
    t.eq(v, nil)
    t.match(tostring(err), "%a")
  end)
end)

-- --- streams -------------------------------------------------------------------------------------------------------

t.test("chunks and events", function()
  with(function(req)
    local s = req:stream(200, { ["content-type"] = "text/event-stream" })
    if req.path == "/empty" then
      s:finish()
      return
    end
    s:write "event: hi\ndata: 1\n\nda"
    task.sleep(0.002)
    s:write "ta: 2\ndata: 3\n\n: comment\n\ndata: [DONE]\n\n"
    s:finish()
  end, function(base)
    local events = {}
    for ev in assert(http.get(base, { stream = true })):events() do events[#events + 1] = ev end
    t.eq(events, { { name = "hi", data = "1" }, { name = "message", data = "2\n3" }, { name = "message", data = "[DONE]" } })
    local text = ""
    local res = assert(http.get(base, { stream = true }))
    for chunk in res:chunks() do text = text .. chunk end
    t.match(text, "^event: hi.*DONE%]\n\n$")
    res:close()
    res:close()
    for _ in res:chunks() do error "a closed stream has nothing" end
    for _ in assert(http.get(base .. "/empty", { stream = true })):chunks() do error "nothing was sent" end
  end)
end)

t.test("a refused stream is an error with a body", function()
  with(function() return 401, {}, "who are you" end, function(base)
    t.eq(t.err("auth", http.get(base, { stream = true })).body, "who are you")
  end)
end)

-- A handler that writes until its client has left, and says so.
local function endless(state)
  return function(req)
    state.began = (state.began or 0) + 1
    local s = req:stream(200, {})
    repeat task.sleep(0.001) until not s:write "data: tick\n\n"
    state.left = (state.left or 0) + 1
  end
end

local function wait_for(fn, what)
  for _ = 1, 5000 do
    if fn() then return end
    task.sleep(0.002)
  end
  error("waited in vain for " .. what)
end

local leave = {
  { "break", function(base)
    for _ in assert(http.get(base, { stream = true })):chunks() do break end
  end },
  { "an error in the loop", function(base)
    pcall(function() for _ in assert(http.get(base, { stream = true })):events() do error "x" end end)
    pcall(function() for _ in assert(http.get(base, { stream = true })):chunks() do error "x" end end)
  end, 2 },
  { "close", function(base) assert(http.get(base, { stream = true })):close() end },
  { "<close>", function(base) local _ <close> = assert(http.get(base, { stream = true })) end },
  { "a cancel while it reads", function(base)
    local one = task.spawn(function()
      for _ in assert(http.get(base, { stream = true })):chunks() do end
    end)
    task.sleep(0.02)
    one:cancel()
  end },
  { "a timeout", function(base)
    t.err("timeout", task.timeout(0.02, function()
      for _ in assert(http.get(base, { stream = true })):chunks() do end
    end))
  end },
}

for _, row in ipairs(leave) do
  t.test("a stream ends, with the collector stopped, by " .. row[1], function()
    local state = {}
    collectgarbage "stop"
    with(endless(state), function(base)
      row[2](base)
      wait_for(function() return state.left == (row[3] or 1) end, "the server to see that the client left")
    end)
    collectgarbage "restart"
  end)
end

t.test("two tasks cannot read one stream", function()
  with(endless {}, function(base)
    local res = assert(http.get(base, { stream = true }))
    local next_chunk = res:chunks()
    local one = task.spawn(function() while next_chunk() do end end)
    local two = task.spawn(function() while next_chunk() do end end)
    local ok, err = pcall(task.race, { one, two })
    t.eq(ok, false)
    t.match(tostring(err), "another task is reading")
    res:close()
  end)
end)

t.test("secrets go into headers and queries, and never into Lua", function()
  local auth = "Bearer " .. host.secret "HTTP_TEST_TOKEN" .. "!"
  t.eq(tostring(auth), "Bearer [secret:HTTP_TEST_TOKEN]!")
  t.raises("string expected", json.encode and string.upper, auth)
  t.eq(getmetatable(auth), "locked")
  t.raises("control bytes", function() return auth .. "\1x\2" end)
end)

t.test("a secret that is echoed does not come back", function()
  local listen = require("host.server").listen
  local far = assert(listen { handler = function(req)
    local said = "you said " .. req.headers.authorization .. " and " .. req.query.k
    if req.path == "/whole" then return 200, { ["x-echo"] = req.headers.authorization }, said end
    local stream = req:stream(200, { ["content-type"] = "text/plain" })
    for i = 1, #said, 7 do stream:write(said:sub(i, i + 6)) end
    stream:finish()
  end })
  local base = "http://127.0.0.1:" .. far:port()
  local token = host.secret "AGENTHOST_TEST_TOKEN"
  local options = { headers = { Authorization = "Bearer " .. token }, query = { k = token } }
  local want = "you said Bearer [secret:AGENTHOST_TEST_TOKEN] and [secret:AGENTHOST_TEST_TOKEN]"
  local res = assert(http.get(base .. "/whole", options))
  t.eq(res.body, want)
  t.eq(res.headers["x-echo"], "Bearer [secret:AGENTHOST_TEST_TOKEN]")
  options.stream = true
  local text = ""
  for chunk in assert(http.get(base .. "/stream", options)):chunks() do text = text .. chunk end
  t.eq(text, want)
  far:close()
end)

t.test("a secret that a server sends in pieces is given in one", function()
  local secret, at = "token-for-tests-123456", 1
  local far = assert(require("host.server").listen { handler = function(req)
    local stream = req:stream(200, { ["content-type"] = "text/plain" })
    stream:write("a to" .. secret:sub(1, at))
    task.sleep(0.01)
    stream:write(secret:sub(at + 1) .. " and toke")
    task.sleep(0.01)
    stream:write "s"
    stream:finish()
  end })
  for i = 1, #secret - 1 do
    local whole, text = 0, ""
    at = i
    for chunk in assert(http.get("http://127.0.0.1:" .. far:port(), { stream = true })):chunks() do
      whole, text = whole + (chunk:find(secret, 1, true) and 1 or 0), text .. chunk
    end
    t.eq(text, "a to" .. secret .. " and tokes")
    t.eq(whole, 1)
  end
  far:close()
end)

t.done()
