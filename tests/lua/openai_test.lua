-- host.openai from a script: requests as they arrive, messages as they come back, streams, and what is refused.
local t = require "testing"
local json = require "host.json"
local openai = require "host.openai"
local server = require "host.server"
local task = require "host.task"

-- A far end that answers what `answers` says, in order, and keeps the bodies that it saw.
local function with(answers, fn)
  local seen = {}
  local s = assert(server.listen {
    handler = function(req)
      seen[#seen + 1] = req.body
      seen.headers = req.headers
      local answer = answers[#seen] or { 500, "unexpected request" }
      if type(answer) == "function" then return answer(req) end
      local kind = answer[2]:match "^data:" and "text/event-stream" or "application/json"
      return answer[1], { ["content-type"] = kind }, answer[2]
    end,
  })
  local function model(opts)
    local given = { model = "m", base_url = ("http://127.0.0.1:%d/v1"):format(s:port()), api_key = "sk-test-1234",
      retry = { base = 0.001, cap = 0.002 } }
    for k, v in pairs(opts or {}) do given[k] = v end
    return openai.chat_model(given)
  end
  local ok, err = pcall(fn, model, seen)
  s:close()
  if not ok then error(err, 0) end
end

local function answer(message, finish)
  message.role = "assistant"
  return { 200, json.encode {
    id = "chatcmpl-1", model = "m-2026",
    choices = json.array { { index = 0, message = message, finish_reason = finish or "stop" } },
    usage = { prompt_tokens = 5, completion_tokens = 7, total_tokens = 12 },
  } }
end

local function wire_call(id, name, arguments)
  return { id = id, type = "function", ["function"] = { name = name, arguments = arguments } }
end

local function chunk(delta, finish)
  return "data: " .. json.encode {
    id = "c", choices = json.array { { index = 0, delta = delta, finish_reason = finish or json.null } },
  } .. "\n\n"
end

local hi = { { role = "user", content = "hi" } }

t.test("a question and its answer", function()
  with({ answer { content = "hello" } }, function(model, seen)
    local message = assert(model { temperature = 0.5, top_p = 1, stop = { "x" } }:invoke(hi))
    t.eq(message.content, "hello")
    t.eq(message.role, "assistant")
    t.eq(#message.tool_calls, 0)
    t.eq(#message.invalid_tool_calls, 0)
    t.eq(message.usage_metadata.total_tokens, 12)
    t.eq(message.cost, nil)
    t.eq(message.response_metadata.finish_reason, "stop")
    t.eq(message.response_metadata.model_name, "m-2026")
    t.eq(message.response_metadata.attempts, 1)
    t.eq(seen[1], '{"model":"m","stop":["x"],"temperature":0.5,"top_p":1,"messages":[{"role":"user","content":"hi"}]}')
    t.eq(seen.headers.authorization, "Bearer sk-test-1234")
  end)
end)

t.test("tools go out complete, calls come back by the script's names, and the answer goes back as it came", function()
  local tools = {
    { name = "gmail.fetch", description = "d", run = function() end },
    { name = "sum", input_schema = { type = "object", properties = { a = { type = "number" } }, required = {} } },
  }
  with({
    answer({ content = json.null, tool_calls = json.array { wire_call("a", "gmail_fetch", '{ "n" : 3 }'), wire_call("b", "sum", "") } },
      "tool_calls"),
    answer { content = "done" },
  }, function(model, seen)
    local m = model():bind_tools(tools, { tool_choice = "gmail.fetch", parallel_tool_calls = false })
    local message = assert(m:invoke(hi))
    t.eq(message.content, nil)
    t.eq(message.tool_calls[1].name, "gmail.fetch")
    t.eq(message.tool_calls[1].args, { n = 3 })
    t.eq(message.tool_calls[1].arguments, '{ "n" : 3 }')
    t.eq(message.tool_calls[2].args, {})
    local sent = json.decode(seen[1])
    t.eq(sent.tools[1]["function"].name, "gmail_fetch")
    t.eq(sent.tools[1]["function"].parameters, { type = "object", properties = {} })
    t.ok(json.is_array(sent.tools[2]["function"].parameters.required), "required is a list")
    t.eq(sent.tool_choice["function"].name, "gmail_fetch")
    t.eq(sent.parallel_tool_calls, false)
    assert(m:invoke {
      hi[1], message,
      { role = "tool", tool_call_id = "b", content = "2" },
      { role = "tool", tool_call_id = "a", content = "1" },
    })
    local calls = json.decode(seen[2]).messages[2].tool_calls
    t.eq(calls[1]["function"], { name = "gmail_fetch", arguments = '{ "n" : 3 }' })
    t.eq(calls[2]["function"].arguments, "{}")
  end)
end)

t.test("calls that must not be run are kept apart", function()
  local cut = { content = json.null, tool_calls = json.array { wire_call("a", "f", '{"x":"half') } }
  with({ answer(cut, "length"), answer(cut, "tool_calls"),
    answer({ content = json.null, tool_calls = json.array { wire_call("a", "f", "[1]") } }, "tool_calls") }, function(model)
    local m = model():bind_tools { { name = "f" } }
    for _, reason in ipairs { "cut at its token limit", "not valid JSON", "JSON array" } do
      local message = assert(m:invoke(hi))
      t.eq(#message.tool_calls, 0)
      t.eq(#message.invalid_tool_calls, 1)
      t.match(message.invalid_tool_calls[1].error, reason)
      t.eq(message.invalid_tool_calls[1].id, "a")
    end
  end)
end)

t.test("options of one call", function()
  with({ answer { content = "a" }, answer { content = "b" } }, function(model, seen)
    local m = model { temperature = 0 }
    assert(m:invoke(hi, { temperature = 1, seed = 7, model = "other", timeout = 5 }))
    assert(m:invoke(hi))
    local first, second = json.decode(seen[1]), json.decode(seen[2])
    t.eq({ first.model, first.temperature, first.seed }, { "other", 1, 7 })
    t.eq({ second.model, second.temperature, second.seed }, { "m", 0 })
  end)
end)

t.test("what is refused before anything is sent", function()
  with({}, function(model, seen)
    t.raises("model", openai.chat_model, {})
    t.raises("did you mean 'base_url'", openai.chat_model, { model = "m", base_ulr = "x" })
    t.raises("bind_tools", openai.chat_model, { model = "m", tools = {} })
    t.raises("model:stream", openai.chat_model, { model = "m", stream = true })
    t.raises("seconds", openai.chat_model, { model = "m", timeout = 0 })
    t.raises("retry", openai.chat_model, { model = "m", retry = 3 })
    local m = model()
    local function kind(...)
      local ok, err = pcall(m.bind_tools, m, ...)
      return not ok and err.kind
    end
    local many = {}
    for i = 1, 129 do many[i] = { name = "t" .. i } end
    t.eq(kind {}, "no_tools")
    t.eq(kind(many), "limit")
    t.eq(kind { { name = "f" }, { name = "f" } }, "invalid")
    t.eq(kind({ { name = "f" } }, { tool_choice = "g" }), "invalid")
    t.raises("tool 1", m.bind_tools, m, { "f" })
    t.raises("tool_choise", m.bind_tools, m, { { name = "f" } }, { tool_choise = "f" })
    t.err("invalid", m:invoke {})
    t.err("invalid", m:invoke { { role = "user" } })
    t.err("invalid", m:invoke { { role = "tool", tool_call_id = "a", content = "x" } })
    local _, err = m:invoke { hi[1], { role = "assistant", tool_calls = { { id = "call_7", name = "f", args = {} } } }, hi[1] }
    t.eq(err.kind, "invalid")
    t.match(tostring(err), "call_7")
    t.raises("content", m.invoke, m, { { role = "user", content = print } })
    t.raises("table expected", m.invoke, m, "hi")
    t.raises("base_url", m.invoke, m, hi, { base_url = "x" })
    t.eq(#seen, 0)
  end)
end)

t.test("failures are errors with a kind", function()
  with({ { 401, '{"error":{"message":"no sk-test-1234","code":"invalid_api_key"}}' },
    { 400, '{"error":{"message":"x","code":"context_length_exceeded"}}' },
    { 200, '{"error":{"message":"x","code":"insufficient_quota"}}' }, { 200, '{"choices":[]}' } }, function(model)
    local m = model()
    local _, err = m:invoke(hi)
    t.eq(err.kind, "auth")
    t.eq(err.status, 401)
    t.eq(err.code, "invalid_api_key")
    t.ok(not tostring(err):find("sk-test-1234", 1, true), "the key is not in the message")
    t.err("context_overflow", m:invoke(hi))
    t.err("quota", m:invoke(hi))
    t.err("protocol", m:invoke(hi))
  end)
end)

t.test("a stream, piece by piece", function()
  with({ { 200, chunk { role = "assistant", content = "" } .. chunk { content = "he" } .. chunk { content = "llo" }
    .. chunk { tool_calls = json.array { { index = 0, id = "a", ["function"] = { name = "f_g", arguments = "" } } } }
    .. chunk { tool_calls = json.array { { index = 0, ["function"] = { arguments = '{"x":1}' } } } }
    .. chunk({}, "tool_calls")
    .. 'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"cost":0.5}}\n\ndata: [DONE]\n\n' } },
  function(model, seen)
    local stream = assert(model():bind_tools({ { name = "f.g" } }):stream(hi))
    local text, arguments = {}, {}
    for c in stream do
      text[#text + 1] = c.content
      if c.tool_call then arguments[#arguments + 1] = c.tool_call.arguments end
    end
    t.eq(table.concat(text, "|"), "he|llo")
    t.eq(table.concat(arguments), '{"x":1}')
    local message = assert(stream:message())
    t.eq(message.content, "hello")
    t.eq(message.tool_calls[1].name, "f.g")
    t.eq(message.tool_calls[1].args, { x = 1 })
    t.eq(message.usage_metadata.output_tokens, 2)
    t.eq(message.cost, 0.5)
    t.eq(assert(stream:message()).content, "hello")
    t.eq(stream(), nil)
    t.match(seen[1], '"stream":true,"stream_options":{"include_usage":true}}$')
  end)
end)

t.test("a stream's message without its pieces", function()
  with({ { 200, chunk { content = "a" } .. chunk({}, "stop") .. "data: [DONE]\n\n" } }, function(model)
    t.eq(assert(assert(model():stream(hi)):message()).content, "a")
  end)
end)

t.test("a stream that is cut", function()
  with({ { 200, chunk { content = "half" } } }, function(model)
    local stream, text = assert(model():stream(hi)), ""
    for c in stream do text = text .. (c.content or "") end
    t.eq(text, "half")
    local message, err = stream:message()
    t.eq(message, nil)
    t.eq(err.kind, "truncated")
    t.eq(err.partial, "half")
  end)
end)

t.test("a stream that is left early is cancelled", function()
  local gone = false
  local function endless(req)
    local s = req:stream(200, { ["content-type"] = "text/event-stream" })
    while s:write(chunk { content = "x" }) do task.sleep(0.001) end
    gone = true
  end
  with({ endless, endless }, function(model)
    for c in model():stream(hi) do
      t.eq(c.content, "x")
      break
    end
    local stream = assert(model():stream(hi))
    t.eq(stream().content, "x")
    stream:close()
    t.err("cancelled", stream:message())
    for _ = 1, 2000 do
      if gone then break end
      task.sleep(0.005)
    end
    t.ok(gone, "the far end noticed")
  end)
end)

t.test("a call is cancelled with its task", function()
  with({ function() task.sleep(30) end }, function(model, seen)
    local asking = task.spawn(function() return model():invoke(hi) end)
    for _ = 1, 2000 do
      if #seen > 0 then break end
      task.sleep(0.005)
    end
    asking:cancel()
    t.ok(asking:done())
  end)
end)

t.test("many calls at once", function()
  local answers = {}
  for i = 1, 20 do answers[i] = answer { content = "x" } end
  with(answers, function(model, seen)
    local m, asked = model(), {}
    for i = 1, 20 do
      asked[i] = function() return assert(m:invoke(hi)).content end
    end
    t.eq(#task.all(asked), 20)
    t.eq(#seen, 20)
  end)
end)

t.done()
