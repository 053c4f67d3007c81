-- host.server from a script: what a handler sees, what it may answer, streams, and what goes wrong.
local t = require "testing"
local http = require "host.http"
local server = require "host.server"
local task = require "host.task"

local function with(handler, fn, opts)
  opts = opts or {}
  opts.handler = handler
  local s = assert(server.listen(opts))
  local base = "http://127.0.0.1:" .. s:port()
  local ok, err = pcall(fn, base, s)
  s:close()
  if not ok then error(err, 0) end
end

t.test("a request arrives whole", function()
  local seen
  with(function(req)
    seen = {
      method = req.method, path = req.path, raw = req.raw_query, body = req.body,
      x = req.query.x, all = req:query_all("x"), none = req:query_all("nothing"),
      plus = req.query["a b"], header = req.headers["x-thing"], gone = req.headers["nothing"],
      unknown = req.unknown_field, again = req.query == req.query,
    }
    req.mine = 5
    seen.mine = req.mine
    return 201, { ["x-answer"] = "yes", ["x-number"] = 7, ["set-cookie"] = { "a=1", "b=2" } }, "made"
  end, function(base)
    local res = assert(http.post(base .. "/a%2Fb?x=1&x=%32&a+b=c%20d",
      { body = "payload", headers = { ["X-Thing"] = { "1", "2" } } }))
    t.eq(res.status, 201)
    t.eq(res.body, "made")
    t.eq(res.headers["x-answer"], "yes")
    t.eq(res.headers["x-number"], "7")
    t.eq(res.headers["content-length"], "4")
  end)
  t.eq(seen.method, "POST")
  t.eq(seen.path, "/a%2Fb")
  t.eq(seen.raw, "x=1&x=%32&a+b=c%20d")
  t.eq(seen.body, "payload")
  t.eq(seen.x, "1")
  t.eq(#seen.all, 2)
  t.eq(seen.all[2], "2")
  t.eq(#seen.none, 0)
  t.eq(seen.plus, "c d")
  t.eq(seen.header, "1, 2")
  t.eq(seen.gone, nil)
  t.eq(seen.unknown, nil)
  t.ok(seen.again, "fields are made once")
  t.eq(seen.mine, 5)
end)

t.test("handlers wait side by side", function()
  local order = {}
  with(function(req)
    if req.path == "/slow" then
      while #order == 0 do task.sleep(0.001) end
    end
    order[#order + 1] = req.path
    return 200, nil, req.path
  end, function(base)
    local both = task.all {
      function() return assert(http.get(base .. "/slow")).body end,
      function() return assert(http.get(base .. "/fast")).body end,
    }
    t.eq(both[1], "/slow")
    t.eq(both[2], "/fast")
  end)
  t.eq(order[1], "/fast")
end)

t.test("a handler that fails is a 500, and the server goes on", function()
  with(function(req)
    if req.path == "/raise" then error("on \"purpose\"") end
    if req.path == "/table" then error({ a = 1 }) end
    if req.path == "/wait" then task.sleep(0.001) error("later") end
    return 200, {}, "fine"
  end, function(base)
    for _, path in ipairs { "/raise", "/table", "/wait" } do
      local res, err = http.get(base .. path, { retry = false })
      t.eq(res, nil)
      t.eq(err.status, 500)
      t.match(err.body or "", '^{"error":"')
    end
    local _, err = http.get(base .. "/raise", { retry = false })
    t.match(err.body, 'on \\"purpose\\"')
    t.eq(assert(http.get(base .. "/fine")).body, "fine")
  end)
end)

t.test("wrong answers are 500", function()
  local answers = {
    function() end,
    function() return "200" end,
    function() return 200.5 end,
    function() return 99 end,
    function() return 600 end,
    function() return 200, "headers" end,
    function() return 200, {}, {} end,
    function() return 200, { ["x-a"] = "b\r\nx-evil: 1" } end,
    function() return 200, { ["x a"] = "b" } end,
    function() return 200, { ["x-a\n"] = "b" } end,
    function() return 200, { ["x-a"] = true } end,
    function() return 200, { ["x-a"] = { "ok", "no\n" } } end,
    function() return 200, { ["x-a"] = { {} } } end,
  }
  with(function(req) return answers[tonumber(req.query.n)]() end, function(base)
    for n = 1, #answers do
      local res, err = http.get(base .. "/?n=" .. n, { retry = false })
      t.eq(res, nil)
      t.eq(err.status, 500)
      t.match(err.body or "", "not valid")
    end
  end)
end)

t.test("a stream arrives in order, with a slow reader too", function()
  local waits, total = 0, 0
  local block = ("s"):rep(100000)
  with(function(req)
    local s = req:stream(200, { ["content-type"] = "text/plain" })
    for _ = 1, 30 do
      assert(s:write(block))
      waits = waits + 1
    end
    t.eq(s:finish(), true)
    t.raises("ended", s.write, s, "more")
  end, function(base)
    local res = assert(http.get(base .. "/", { stream = true }))
    t.eq(res.status, 200)
    for chunk in res:chunks() do
      total = total + #chunk
      task.sleep(0.0001)
    end
  end)
  t.eq(waits, 30)
  t.eq(total, 3000000)
end)

t.test("a stream that was not finished is finished with its handler", function()
  with(function(req)
    req:stream(200, {}):write("all of it")
  end, function(base)
    t.eq(assert(http.get(base .. "/")).body, "all of it")
  end)
end)

t.test("abort cuts", function()
  with(function(req)
    if req.path == "/instead" then return req:abort() end
    local s = req:stream(200, {})
    s:write("half of ")
    if req.path == "/raise" then error("in the middle") end
    s:abort()
  end, function(base)
    for _, path in ipairs { "/torn", "/raise" } do
      local res, err = http.get(base .. path, { retry = false })
      t.err("truncated", res, err)
    end
    local res, err = http.get(base .. "/instead", { retry = false })
    t.err("network", res, err)
  end)
end)

t.test("a client that leaves is noticed by the writer", function()
  local result, why, gone
  with(function(req)
    local s = req:stream(200, {})
    local block = ("x"):rep(65536)
    repeat
      result, why = s:write(block)
    until not result
    gone = s:gone()
    t.eq(s:finish(), nil)
  end, function(base)
    local res = assert(http.get(base .. "/", { stream = true }))
    for _ in res:chunks() do break end
    res:close()
    while gone == nil do task.sleep(0.001) end
  end)
  t.err("network", result, why)
  t.eq(gone, true)
end)

t.test("a stream has one beginning and good headers", function()
  local kept, kept_stream
  with(function(req)
    t.raises("200 to 599", req.stream, req, 100, {})
    t.raises("header 'x'", req.stream, req, 200, { x = "\n" })
    local s = req:stream(200, {})
    t.raises("has its answer", req.stream, req, 200, {})
    s:write("ok")
    s:finish()
    kept, kept_stream = req, s
  end, function(base)
    t.eq(assert(http.get(base .. "/")).body, "ok")
    t.raises("is over", kept.query_all, kept, "x")
    t.eq(kept.method, nil)
    t.raises("ended", kept_stream.write, kept_stream, "x")
  end)
end)

t.test("a body over the maximum is refused", function()
  local called = 0
  with(function() called = called + 1 return 200 end, function(base)
    local res, err = http.post(base .. "/", { body = ("b"):rep(2000), retry = false })
    t.eq(res, nil)
    t.eq(err.status, 413)
    t.eq(assert(http.post(base .. "/", { body = ("b"):rep(1000) })).status, 200)
  end, { max_body = 1000 })
  t.eq(called, 1)
end)

t.test("listen says what is wrong", function()
  t.raises("table expected", server.listen)
  t.raises("handler", server.listen, {})
  t.raises("unknown field 'prot'.*'port'", server.listen, { handler = print, prot = 1 })
  t.raises("port", server.listen, { handler = print, port = 70000 })
  t.err("config", server.listen { handler = print, address = "not an address" })
  local s = assert(server.listen { handler = print })
  t.err("io", server.listen { handler = print, port = s:port() })
  s:close()
  s:close()
  t.raises("closed", s.port, s)
end)

t.test("close with open exchanges", function()
  local s
  s = assert(server.listen { handler = function(req)
    if req.path == "/close" then
      s:close()
      return 200, {}, "nobody hears this"
    end
    local stream = req:stream(200, {})
    stream:write("a")
    while stream:write("b") do task.sleep(0.001) end
  end })
  local base = "http://127.0.0.1:" .. s:port()
  local open = task.spawn(function() return http.get(base .. "/open", { retry = false }) end)
  task.sleep(0.01)
  t.eq(http.get(base .. "/close", { retry = false }), nil)
  local res, err = open:wait()
  t.err("truncated", res, err)
end)

t.test("forms, urls, multipart", function()
  local form = server.parse_form("a=1&b=x+y%21&a=2&empty=&alone&&")
  t.eq(form, { a = "1", b = "x y!", empty = "", alone = "" })
  t.err("invalid", server.parse_form("a=%4"))
  t.eq(server.decode_url("a%20b+c%00"), "a b+c\0")
  t.err("invalid", server.decode_url("%"))
  local parts = assert(server.parse_multipart('multipart/form-data; boundary="b1"',
    "--b1\r\nContent-Disposition: form-data; name=\"post.1\"\r\nContent-Type: application/json; length=2\r\n\r\n"
    .. "{}\r\n--b1\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\r\n\0x\r\n--b1--\r\n"))
  t.eq(#parts, 2)
  t.eq(parts[1].name, "post.1")
  t.match(parts[1].type, "^application/json")
  t.eq(parts[1].body, "{}")
  t.eq(parts[1].filename, nil)
  t.eq(parts[2].filename, "a.txt")
  t.eq(parts[2].body, "\0x")
  t.eq(parts[2].encoded, false)
  t.err("protocol", server.parse_multipart("text/plain", "x"))
  t.err("protocol", server.parse_multipart("multipart/form-data; boundary=b", "--b\r\nContent-"))
end)

t.test("a packed body", function()
  local packed = "\x1f\x8b\8\0\0\0\0\0\0\3\xcbH\xcd\xc9\xc9\7\0\x86\xa6\x106\5\0\0\0"
  t.eq(server.unpack_body("gzip", packed), "hello")
  t.err("truncated", server.unpack_body("gzip", packed:sub(1, -2)))
  t.err("protocol", server.unpack_body("zstd", packed))
  t.raises("zstd or gzip", server.unpack_body, "br", "")
end)

t.done()
