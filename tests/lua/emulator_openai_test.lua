-- The emulated OpenAI beside plain chat: embeddings, moderations, odd streams, retry headers, gateway mode.
local t = require "testing"
local emulating = require "emulating"
local json = require "host.json"
local text = require "emulator.text"

local start, user, tool = emulating.start, emulating.user, emulating.tool

local function post(e, path, body, more)
  local headers = { authorization = "Bearer " .. e.env.OPENAI_API_KEY }
  for k, v in pairs(more or {}) do headers[k] = v end
  return e.call("POST", path, body, headers)
end

local function product(a, b)
  local sum = 0
  for i = 1, #a do sum = sum + a[i] * b[i] end
  return sum
end

t.test("embeddings: the same text the same vector, near texts near, floats and base64", function()
  local e = start()
  local status, body = post(e, "/v1/embeddings", { model = "text-embedding-3-small", input = {
    "the invoice is off by a cent", "an invoice that is off by a cent", "noodles on friday" } })
  t.eq({ status, #body.data, #body.data[1].embedding, body.object }, { 200, 3, 1536, "list" })
  t.eq(body.usage.total_tokens, body.usage.prompt_tokens)
  local a, b, c = body.data[1].embedding, body.data[2].embedding, body.data[3].embedding
  t.ok(math.abs(product(a, a) - 1) < 1e-9)
  t.ok(product(a, b) > 0.6 and product(a, c) < 0.3)
  local _, again = post(e, "/embeddings", { model = "text-embedding-3-small", input = "noodles on friday",
    encoding_format = "base64" })
  local bytes = text.unbase64(again.data[1].embedding)
  t.eq(#bytes, 1536 * 4)
  t.ok(math.abs(("<f"):unpack(bytes) - c[1]) < 1e-6)
  _, body = post(e, "/v1/embeddings", { model = "text-embedding-3-large", input = { { 1, 2, 3 } }, dimensions = 8 })
  t.eq({ #body.data[1].embedding, body.usage.prompt_tokens }, { 8, 3 })
  for _, bad in ipairs { { input = "" }, { input = json.array {} }, { input = { "a", "" } }, { input = 5 },
    { input = "a", dimensions = 9999 }, { input = "a", encoding_format = "hex" } } do
    bad.model = "text-embedding-3-small"
    t.eq((post(e, "/v1/embeddings", bad)), 400)
  end
  t.eq((post(e, "/v1/embeddings", { model = "gpt-4o", input = "a" })), 404)
  t.eq((e.call("POST", "/v1/embeddings", {})), 401)
end)

t.test("moderations: texts, lists, parts", function()
  local _
  local e = start()
  local status, body = post(e, "/v1/moderations", { input = { "have a nice day", "I will kill the process" } })
  t.eq({ status, body.model, body.results[1].flagged, body.results[2].categories.violence },
    { 200, "omni-moderation-latest", false, true })
  local n = 0
  for _ in pairs(body.results[1].categories) do n = n + 1 end
  t.eq(n, 13)
  _, body = post(e, "/moderations", { input = { { type = "text", text = "murder" }, { type = "image_url",
    image_url = { url = "https://x.example/a.png" } } } })
  t.eq({ #body.results, body.results[1].category_applied_input_types.violence }, { 1, { "text" } })
  t.eq((post(e, "/v1/moderations", {})), 400)
  t.eq((post(e, "/v1/moderations", { input = "x", model = "gpt-4o" })), 404)
end)

-- A stream's chunks as they are written, and as one text.
local function stream(e, trouble, body)
  body = body or { messages = { user "call add with {\"a\":1,\"b\":2} and call mul with {\"c\":3}" } }
  body.model, body.stream = "gpt-4o", true
  body.tools = body.tools or { tool("add", "x", { a = { type = "integer" } }),
    tool("mul", "y", { c = { type = "integer" } }) }
  local _, headers, out = e.raw("POST", "/v1/chat/completions", body,
    { authorization = "Bearer " .. e.env.OPENAI_API_KEY, ["x-agenthost-trouble"] = trouble })
  local chunks = type(out) == "table" and out.chunks or { out }
  return table.concat(chunks), chunks, out, headers
end

local function datas(all)
  local list = {}
  for data in all:gmatch("data: (.-)\n\n") do list[#list + 1] = data ~= "[DONE]" and json.decode(data) or data end
  return list
end

t.test("streams: bytes are split, ended and cut as asked; what is said stays the same", function()
  local _
  local e = start()
  local say = { messages = { user "größe?" } }
  local plain = start()
  local whole = stream(plain, nil, say)
  local all, chunks = stream(e, "split", say)
  t.eq({ all == whole, #chunks == #all }, { true, true })
  _, chunks = stream(start(), "split; size=7", say)
  t.eq({ #chunks[1], table.concat(chunks) == whole }, { 7, true })
  all = stream(start(), "crlf; also=split", say)
  t.eq(all, (whole:gsub("\n", "\r\n")))
  all = stream(start(), "cr", say)
  t.eq(all, (whole:gsub("\n", "\r")))
  all = stream(start(), "no_space", say)
  t.eq(all, (whole:gsub("data: ", "data:")))
  all = stream(start(), "comments", say)
  t.eq(all:gsub(": keepalive\n\n", ""), whole)
  t.ok(all ~= whole)
  all = stream(start(), "bom", say)
  t.eq(all, "\xEF\xBB\xBF" .. whole)
  all = stream(start(), "last_newline", say)
  t.eq(all, whole:sub(1, -2))
  local out
  all, _, out = stream(start(), "cut; bytes=100", say)
  t.eq({ all, out.cut }, { whole:sub(1, 100) })
  _, _, out = stream(start(), "torn; bytes=100", say)
  t.eq(out.cut, true)
end)

t.test("streams: usage in each place, ends, first chunks, errors in each form", function()
  local e = start()
  local say = function() return { messages = { user "hi" }, stream_options = { include_usage = true }, n = 1 } end
  local list = datas(stream(e, nil, say()))
  t.eq({ #list[#list - 1].choices, list[1].usage == json.null, list[#list] }, { 0, true, "[DONE]" })
  list = datas(stream(e, "usage_on_finish", say()))
  t.ok(list[#list - 1].choices[1].finish_reason == "stop" and list[#list - 1].usage.total_tokens > 0)
  list = datas(stream(e, "usage_everywhere", say()))
  t.ok(list[1].usage.total_tokens > 0)
  list = datas(stream(e, "no_usage", say()))
  t.eq(list[#list - 1].choices[1].finish_reason, "stop")
  list = datas(stream(e, "usage_always", { messages = { user "hi" } }))
  t.ok(list[#list - 1].usage.total_tokens > 0)
  t.eq(#datas(stream(e, "empty_choices", say()))[1].choices, 0)
  list = datas(stream(e, "odd_finish; also=no_done"))
  t.eq(list[#list].choices[1].finish_reason, "end_turn")
  list = datas(stream(e, "no_finish"))
  t.eq({ list[#list], list[#list - 1].choices[1].finish_reason == json.null }, { "[DONE]", true })
  t.match(stream(e, "error_event"), 'data: {"error":{"message":[^\n]*\n\n$')
  t.match(stream(e, "error_event; form=named"), 'event: error\ndata: {"error":')
  t.match(stream(e, "error_event; form=detail; message=gone"), 'data: {"detail":"gone"}\n\n$')
  t.match(stream(e, "error_event; form=text; message=gone"), 'data: {"error":"gone"}\n\n$')
  local status = e.call("POST", "/v1/chat/completions", {}, { ["x-agenthost-trouble"] = "error_event; form=x" })
  t.eq(status, 400)
end)

-- (index, id, name, arguments) of each piece of a call.
local function pieces(all)
  local out = {}
  for _, chunk in ipairs(datas(all)) do
    for _, choice in ipairs(type(chunk) == "table" and chunk.choices or {}) do
      for _, call in ipairs(choice.delta.tool_calls or {}) do
        local f = call["function"] or {}
        out[#out + 1] = { index = call.index, id = call.id, name = f.name, arguments = f.arguments }
      end
    end
  end
  return out
end

t.test("streams: calls interleaved, without, with the same index, with repeated ids, as objects, spoiled", function()
  local e = start()
  local list = pieces(stream(e, "interleaved"))
  t.eq({ list[1].index, list[2].index, list[3].index }, { 0, 1, 0 })
  list = pieces(stream(e, "no_index"))
  t.eq({ #list, list[1].index, list[2].name, list[2].arguments }, { 2, nil, "mul", '{"c":3}' })
  list = pieces(stream(e, "same_index; also=one_chunk_calls"))
  t.eq({ #list, list[1].index, list[2].index, list[1].id ~= list[2].id }, { 2, 0, 0, true })
  list = pieces(stream(e, "repeated_id"))
  t.eq(list[2].id, list[1].id)
  list = pieces(stream(e, "split_name"))
  t.eq(list[1].name .. list[2].name, "add")
  list = pieces(stream(e, "object_arguments"))
  t.eq(list[1].arguments, { a = 1, b = 2 })
  for kind, want in pairs { empty_arguments = "", list_arguments = "[1,2]", bad_arguments = '{"broken": ' } do
    local said = ""
    for _, p in ipairs(pieces(stream(e, kind))) do
      if p.index == 0 then said = said .. p.arguments end
    end
    t.eq(said, want)
  end
  local _, body = e.chat({ messages = { user 'call add with {"a":1}' }, tools = { tool("add", "x") } },
    { ["x-agenthost-trouble"] = "object_arguments" })
  t.eq(body.choices[1].message.tool_calls[1]["function"].arguments, { a = 1 })
  _, body = e.chat({ messages = { user "hi" } }, { ["x-agenthost-trouble"] = "empty_choices" })
  t.eq(#body.choices, 0)
end)

t.test("refusals say when to come back, in every form", function()
  local _
  local e = start()
  local function headers(trouble)
    local status, _, answered = e.chat({ messages = { user "hi" } }, { ["x-agenthost-trouble"] = trouble })
    return status, answered
  end
  local status, h = headers "429; retry_after=0; retry_after_ms=50"
  t.eq({ status, h["retry-after"], h["retry-after-ms"] }, { 429, "0", "50" })
  _, h = headers "503; retry_after=-1"
  t.eq(h["retry-after"], "-1")
  _, h = headers "500; retry_after=soon; should_retry=false"
  t.eq({ h["retry-after"], h["x-should-retry"] }, { "soon", "false" })
  _, h = headers "429; retry_after_date=2"
  t.match(h["retry-after"], "^Mon, 05 Jan 2026 09:00:0%d GMT$")
  status, h = headers "400; should_retry=true"
  t.eq({ status, h["x-should-retry"] }, { 400, "true" })
  t.eq((headers "429; also=nonsense"), 400)
end)

t.test("behaviour by the model's name: a trouble after ~, a model of the scenario", function()
  local e = start { scenario = { models = { "plain", busy = "429; times=1; retry_after=2",
    slow = { what = "slow", seconds = 3 }, terse = function(view) return view.question == "hi" and "yes" or nil end } } }
  local function ask(name, question, path)
    return e.call("POST", path or "/v1/chat/completions", { model = name, input = path and "hi",
      messages = not path and { user(question or "hi") } or nil }, { authorization = "Bearer " .. e.env.OPENAI_API_KEY })
  end
  local status, body, headers = ask "gpt-4o~503; retry_after=2"
  t.eq({ status, body.error.type, headers["retry-after"] }, { 503, "server_error", "2" })
  status, body = ask "gpt-4o~odd_finish"
  t.eq({ status, body.model, body.choices[1].finish_reason }, { 200, "gpt-4o-2024-08-06", "end_turn" })
  t.eq({ (ask("text-embedding-3-small~500", nil, "/v1/embeddings")), (ask("gpt-4o~429", nil, "/responses")),
    (ask("plain~html")), (ask "plain"), (ask "llama~odd_finish"), (ask "llama") }, { 500, 429, 502, 200, 404, 404 })
  status, body = ask "gpt-4o~nonsense"
  t.eq(status, 400)
  t.match(body.error, '^the name of the model: no trouble is called "nonsense"')
  t.eq({ (ask "busy"), (ask "busy") }, { 429, 200 })
  local _, _, out = e.raw("POST", "/v1/chat/completions", { model = "slow", messages = { user "hi" } },
    { authorization = "Bearer " .. e.env.OPENAI_API_KEY })
  t.eq(out.wait, 3)
  _, body = ask "terse"
  t.eq(body.choices[1].message.content, "yes")
  _, body = ask("terse", "who are you?")
  t.match(body.choices[1].message.content, "emulator")
  _, body = e.call("GET", "/v1/models", nil, { authorization = "Bearer " .. e.env.OPENAI_API_KEY })
  t.eq({ body.data[#body.data - 3].id, body.data[#body.data].id }, { "busy", "terse" })
  t.raises("models of a scenario are names", start, { scenario = { models = { busy = 5 } } })
  t.raises("no trouble is called", start, { scenario = { models = { busy = "nonsense" } } })
end)

t.test("gateway: headers, alias, cost, codes and classes", function()
  local e = start { gateway = true }
  local _, body, headers = e.chat({ model = "gpt-4o", messages = { user "hi" } }, { ["x-litellm-call-id"] = "trace-1" })
  t.eq({ body.model, headers["x-litellm-call-id"], headers["x-litellm-model-group"] }, { "gpt-4o", "trace-1",
    "gpt-4o" })
  t.ok(tonumber(headers["x-litellm-response-cost"]) > 0)
  t.ok(headers["llm_provider-x-request-id"])
  t.eq(headers["x-request-id"], nil)
  for _, path in ipairs { "/chat/completions", "/engines/gpt-4o/chat/completions" } do
    t.eq((post(e, path, { model = "gpt-4o", messages = { user "hi" } })), 200)
  end
  local status
  status, body = e.call("POST", "/v1/chat/completions", {}, { authorization = "Bearer sk-wrong" })
  t.eq({ status, body.error.type, body.error.code, body.error.message }, { 400, "no_db_connection", "400",
    "No connected db." })
  t.eq((e.call("POST", "/v1/chat/completions", {})), 401)
  status, body = e.chat { model = "llama", messages = { user "hi" } }
  t.eq({ status, body.error.type, body.error.code }, { 400, "invalid_request_error", "400" })
  t.match(body.error.message, "^/chat/completions: Invalid model name passed in model=llama")
  status, body, headers = e.chat({ messages = { user "hi" } }, { ["x-agenthost-trouble"] = "429; retry_after=3" })
  t.eq({ status, body.error.code, headers["retry-after"], headers["x-litellm-response-cost"],
    headers["x-litellm-model-id"] }, { 429, "429", "3", "0" })
  t.match(body.error.message, "^litellm%.RateLimitError: RateLimitError: OpenAIException %- Rate limit reached")
  _, body = e.chat({ messages = { user "hi" } }, { ["x-agenthost-trouble"] = "context" })
  t.match(body.error.message, "^litellm%.ContextWindowExceededError: litellm%.BadRequestError: ContextWindow")
  status, body = e.call("GET", "/v1/nothing")
  t.eq({ status, body }, { 404, { detail = "Not Found" } })
end)

t.test("gateway: a stream's cost is in its last usage, its errors end it without [DONE]", function()
  local e = start { gateway = true }
  local list = datas(stream(e, nil, { messages = { user "hi" }, stream_options = { include_usage = true } }))
  t.ok(list[#list - 1].usage.cost > 0)
  local all, _, _, headers = stream(e, "error_event", { messages = { user "hi" } })
  t.match(all, '"message":"litellm%.InternalServerError: InternalServerError: OpenAIException')
  t.ok(not all:find("[DONE]", 1, true))
  t.eq(headers["x-litellm-response-cost"], nil)
end)

t.test("gateway: mock keys, health and models", function()
  local e = start { gateway = {} }
  local _, body = e.chat { messages = { user "hi" }, mock_response = "canned" }
  t.eq({ body.choices[1].message.content, body.usage.total_tokens }, { "canned", 30 })
  local status
  status, body = e.chat { messages = { user "hi" }, mock_response = "litellm.RateLimitError" }
  t.eq({ status, body.error.code }, { 429, "429" })
  t.match(body.error.message, "this is a mock rate limit error")
  t.eq((e.chat { messages = { user "hi" }, mock_testing_context_window_fallbacks = true }), 400)
  _, body = e.chat { messages = { user "hi" }, mock_tool_calls = { { id = "call_9", type = "function",
    ["function"] = { name = "f", arguments = "{}" } } } }
  t.eq({ body.choices[1].message.tool_calls[1].id, body.choices[1].finish_reason }, { "call_9", "tool_calls" })
  local all = stream(e, nil, { messages = { user "hi" }, mock_response = "Exception: mock_streaming_error" })
  t.match(all, '"error":{"message":"litellm.APIError: mock_streaming_error"')
  local _, _, out = e.raw("POST", "/v1/chat/completions", { model = "gpt-4o", messages = { user "hi" },
    mock_response = "later", mock_delay = 0.5 }, { authorization = "Bearer " .. e.env.OPENAI_API_KEY })
  t.eq(out.wait, 0.5)
  t.eq((e.call("GET", "/health/liveliness")), 200)
  t.eq((e.call("GET", "/health")), 401)
  _, body = e.call("GET", "/v1/model/info", nil, { authorization = "Bearer " .. e.env.OPENAI_API_KEY })
  t.ok(body.data[1].model_info.max_input_tokens)
  t.eq((start().call("GET", "/health/liveliness")), 404)
end)

t.done()
