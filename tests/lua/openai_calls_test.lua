-- host.openai.embeddings, moderations and models from a script: what is sent, what comes back, what is refused; and
-- the switches of providers.
local t = require "testing"
local json = require "host.json"
local openai = require "host.openai"
local server = require "host.server"
local task = require "host.task"
local trace = require "host.trace"

-- A far end that answers by fn(request, n); options for calls to it, and what it saw.
local function with(fn, use)
  local seen = {}
  local s = assert(server.listen {
    handler = function(req)
      seen[#seen + 1] = { method = req.method, path = req.path, headers = req.headers, body = req.body }
      local status, body, headers = fn(req, #seen)
      headers = headers or {}
      headers["content-type"] = "application/json"
      return status, headers, type(body) == "table" and json.encode(body) or body
    end,
  })
  local function opts(more)
    local given = { base_url = ("http://127.0.0.1:%d/v1"):format(s:port()), api_key = "sk-test-1234",
      retry = { base = 0.001, cap = 0.002 } }
    for k, v in pairs(more or {}) do given[k] = v end
    return given
  end
  local ok, err = pcall(use, opts, seen)
  s:close()
  if not ok then error(err, 0) end
end

local function vectors(list, usage)
  local data = json.array {}
  for i, v in ipairs(list) do data[i] = { object = "embedding", index = i - 1, embedding = v } end
  return { object = "list", data = data, model = "e-1", usage = usage }
end

t.test("embeddings come as base64 and are numbers", function()
  with(function() return 200, vectors({ "AACAPwAAAMA=" }, { prompt_tokens = 3, total_tokens = 3 }) end, function(opts, seen)
    local got = assert(openai.embeddings(opts { model = "e", input = "hello", dimensions = 2 }))
    t.eq(got.data, { { embedding = { 1.0, -2.0 } } })
    t.eq(got.model, "e-1")
    t.eq(got.usage_metadata, { input_tokens = 3, output_tokens = 0, total_tokens = 3 })
    t.eq(got.cost, nil)
    t.eq(got.response_metadata.attempts, 1)
    t.eq(seen[1].path, "/v1/embeddings")
    t.eq(seen[1].body, '{"dimensions":2,"model":"e","input":"hello","encoding_format":"base64"}')
  end)
end)

t.test("embeddings as lists, out of order, of tokens", function()
  with(function(_, n)
    if n == 1 then
      return 200, { data = json.array { { index = 1, embedding = json.array { 2 } },
        { index = 0, embedding = json.array { 1 } } }, model = "m" }
    end
    return 200, vectors { json.array { 0.5 } }
  end, function(opts, seen)
    local got = assert(openai.embeddings(opts { model = "e", input = { "a", "b" }, encoding_format = "float" }))
    t.eq(got.data[1].embedding[1], 1)
    t.eq(got.data[2].embedding[1], 2)
    t.eq(got.usage_metadata, nil)
    t.eq(json.decode(seen[1].body).encoding_format, "float")
    assert(openai.embeddings(opts { model = "e", input = { 1212, 318 } }))
    t.eq(json.decode(seen[2].body).input, { 1212, 318 })
    assert(openai.embeddings(opts { model = "e", input = { { 7, 8 } } }))
    t.eq(json.decode(seen[3].body).input, { { 7, 8 } })
  end)
end)

t.test("more inputs than one request takes go in several", function()
  with(function(req)
    local n, list = #json.decode(req.body).input, {}
    for i = 1, n do list[i] = json.array { i } end
    return 200, vectors(list, { prompt_tokens = n, total_tokens = n }), { ["x-litellm-response-cost"] = "0.5" }
  end, function(opts, seen)
    local inputs = {}
    for i = 1, 4100 do inputs[i] = "text " .. i end
    local got = assert(openai.embeddings(opts { model = "e", input = inputs }))
    t.eq(#seen, 3)
    t.eq(#got.data, 4100)
    t.eq(got.data[2049].embedding[1], 1)
    t.eq(json.decode(seen[3].body).input[4], "text 4100")
    t.eq(got.usage_metadata.total_tokens, 4100)
    t.eq(got.cost, 1.5)
    local long = ("x"):rep(250000)
    got = assert(openai.embeddings(opts { model = "e", input = { long, long, long } }))
    t.eq(#seen, 5)
    t.eq(#got.data, 3)
  end)
end)

t.test("a server that knows no base64 is asked again without, and not asked for it any more", function()
  with(function(req)
    if req.body:find("encoding_format", 1, true) then
      return 400, { error = { message = "Unknown parameter: 'encoding_format'.", param = "encoding_format" } }
    end
    return 200, vectors { json.array { 1 } }
  end, function(opts, seen)
    assert(openai.embeddings(opts { model = "e", input = "a" }))
    assert(openai.embeddings(opts { model = "e", input = "b" }))
    t.eq(#seen, 3)
    assert(openai.embeddings(opts { model = "e", input = "b", provider = "ollama" }))
    t.eq(seen[4].body, '{"model":"e","input":"b"}')
  end)
end)

t.test("what is no answer to embeddings", function()
  local bodies = { vectors {}, vectors { "AACAPw=" }, vectors { "AACA" }, vectors { 7 }, {}, "[]", "x",
    { data = json.array { { index = 5, embedding = json.array { 1 } } } } }
  for _, body in ipairs(bodies) do
    with(function() return 200, body end, function(opts)
      t.err("protocol", openai.embeddings(opts { model = "e", input = "a" }))
    end)
  end
  with(function() return 200, { error = { message = "no", code = "429" } } end, function(opts, seen)
    t.err("rate_limit", openai.embeddings(opts { model = "e", input = "a" }))
    t.eq(#seen, 3, "tried again")
  end)
  with(function() return 404, { error = { message = "no such model", code = "model_not_found" } } end, function(opts)
    t.err("not_found", openai.embeddings(opts { model = "e", input = "a" }))
  end)
end)

t.test("misuse of embeddings", function()
  local function call(more)
    return function()
      local o = { base_url = "http://127.0.0.1:1/v1" }
      for k, v in pairs(more) do o[k] = v end
      return openai.embeddings(o)
    end
  end
  t.raises("model", call { input = "a" })
  t.raises("input.*string or list expected", call { model = "e" })
  t.raises("the list is empty", call { model = "e", input = {} })
  t.raises("input 2 of embeddings is empty", call { model = "e", input = { "a", "" } })
  t.raises("bad input 2", call { model = "e", input = { "a", true } })
  t.raises("did you mean 'strict'", call { model = "e", input = "a", provider = { strickt = true } })
  t.raises("bad field in embeddings", call { model = "e", input = "a", user = print })
end)

t.test("moderations", function()
  with(function() return 200, { id = "modr-1", model = "omni", results = json.array { { flagged = true } } } end,
    function(opts, seen)
      local got = assert(openai.moderations(opts { input = { "a", "b" } }))
      t.eq(got.results[1].flagged, true)
      t.eq(got.response_metadata.attempts, 1)
      t.eq(seen[1].path, "/v1/moderations")
      t.eq(seen[1].body, '{"input":["a","b"]}')
      t.raises("input", function() return openai.moderations(opts { model = "m" }) end)
    end)
end)

t.test("models", function()
  with(function(req, n)
    if n == 1 then return 503, "busy" end
    if n == 4 then return 200, '{"object":"list","data":null}' end
    if req.path:find("a%%2Fb$") or req.path:find("a/b$") then return 200, { id = "a/b", object = "model" } end
    return 200, { object = "list", data = json.array { { id = "m", object = "model" } } }
  end, function(opts, seen)
    t.eq(assert(openai.models(opts()))[1].id, "m")
    t.eq(#seen, 2, "tried again")
    t.eq(seen[2].method, "GET")
    t.eq(seen[2].headers["content-type"], nil)
    t.eq(seen[2].headers.authorization, "Bearer sk-test-1234")
    t.eq(assert(openai.models(opts { id = "a/b" })).id, "a/b")
    t.eq(#assert(openai.models(opts())), 0)
    t.raises("did you mean 'base_url'", openai.models, { base_urll = "x" })
  end)
end)

t.test("a gateway's word about a call", function()
  with(function()
    return 200, { choices = json.array { { message = { role = "assistant", content = "a" }, finish_reason = "stop" } } },
      { ["x-litellm-call-id"] = "c-1", ["x-litellm-model-id"] = "i", ["x-other"] = "no" }
  end, function(opts, seen)
    local model = openai.chat_model(opts { model = "m", provider = { name = "litellm", system_role = "developer" } })
    local message = assert(model:invoke { { role = "system", content = "s" }, { role = "user", content = "u" } })
    t.eq(message.response_metadata.headers, { ["x-litellm-call-id"] = "c-1", ["x-litellm-model-id"] = "i" })
    t.eq(json.decode(seen[1].body).messages[1].role, "developer")
    assert(model:invoke({ { role = "system", content = "s" } }, { provider = "ollama", max_completion_tokens = 4 }))
    t.eq(seen[2].body, '{"model":"m","max_tokens":4,"messages":[{"role":"system","content":"s"}]}')
  end)
end)

t.test("the run's tags go to a gateway, and to nobody else", function()
  trace.tags("team a", "nightly", "one,two", "häuser", "token-for-tests-123456", ("x"):rep(300))
  with(function()
    return 200, { choices = json.array { { message = { role = "assistant", content = "a" }, finish_reason = "stop" } } }
  end, function(opts, seen)
    local hi = { { role = "user", content = "u" } }
    assert(openai.chat_model(opts { model = "m", provider = "litellm" }):invoke(hi))
    t.match(seen[1].headers["x-litellm-tags"], "^team a,nightly,[^,]*$")
    t.ok(not seen[1].headers["x-litellm-tags"]:find("token-for-tests", 1, true), "a secret")
    assert(openai.chat_model(opts { model = "m" }):invoke(hi))
    t.eq(seen[2].headers["x-litellm-tags"], nil)
  end)
end)

t.test("the switches of a server hold for responses, too", function()
  with(function()
    return 200, { id = "resp_1", object = "response", status = "completed", output = json.array { { type = "message",
      id = "m", role = "assistant", content = json.array { { type = "output_text", text = "a" } } } } }
  end, function(opts, seen)
    local tool = { name = "f", parameters = { type = "object", properties = {} }, strict = true }
    local function ask(provider)
      local model = openai.chat_model(opts { model = "m", api = "responses", provider = provider, max_tokens = 20 })
      assert(model:bind_tools({ tool }, { parallel_tool_calls = false }):invoke {
        { role = "developer", content = "s" }, { role = "user", content = "u" },
      })
      return json.decode(seen[#seen].body)
    end
    local body = ask "openai"
    t.eq({ body.input[1].role, body.tools[1].strict, body.parallel_tool_calls, body.max_output_tokens },
      { "developer", true, false, 20 })
    body = ask "ollama"
    t.eq({ body.input[1].role, body.tools[1].strict, body.parallel_tool_calls, body.max_output_tokens },
      { "system", nil, nil, 20 })
    body = ask { name = "openai", system_role = "system", nested_schema = false, null_content = false }
    t.eq({ body.input[1].role, body.tools[1].strict }, { "system", true })
  end)
end)

t.test("a model's rate limit is waited for, by all who ask it", function()
  local headers = { ["x-ratelimit-limit-requests"] = "100", ["x-ratelimit-remaining-requests"] = "0",
    ["x-ratelimit-reset-requests"] = "10h" }
  with(function()
    return 200, { choices = json.array { { message = { role = "assistant", content = "a" }, finish_reason = "stop" } } },
      headers
  end, function(opts, seen)
    local hi = { { role = "user", content = "hi" } }
    local function ask(name, more) return openai.chat_model(opts { model = name }):invoke(hi, more) end
    t.eq(assert(ask "limited").response_metadata.waited, 0.0)
    t.ok(assert(ask("limited", { timeout = 1 })).response_metadata.waited > 0.4, "it waited, but not past its time")
    t.eq(assert(ask "another").response_metadata.waited, 0.0)
    -- who waits can be cancelled, and is not sent
    local before = #seen
    local waiting = task.spawn(function() return ask "limited" end)
    task.sleep(0.01)
    waiting:cancel()
    t.eq(#seen, before)
  end)
end)

t.test("those who are refused together are not sent again together", function()
  with(function(_, n)
    if n <= 3 then
      return 429, { error = { message = "Rate limit reached", type = "requests", code = "rate_limit_exceeded" } },
        { ["x-ratelimit-limit-requests"] = "20", ["x-ratelimit-remaining-requests"] = "0",
          ["x-ratelimit-reset-requests"] = "4s", ["retry-after-ms"] = "10" }
    end
    return 200, { choices = json.array { { message = { role = "assistant", content = "a" }, finish_reason = "stop" } } }
  end, function(opts, seen)
    local jobs = {}
    for i = 1, 3 do
      jobs[i] = function()
        local message = assert(openai.chat_model(opts { model = "storm" }):invoke { { role = "user", content = "hi" } })
        return message.response_metadata.waited
      end
    end
    local waits = task.all(jobs)
    table.sort(waits)
    t.eq(#seen, 6)
    t.ok(waits[1] >= 0.1 and waits[2] - waits[1] >= 0.1 and waits[3] - waits[2] >= 0.1, table.concat(waits, " "))
  end)
end)

t.done()
