-- run: --emulate
-- What an emulator of the three services has to do, line by line: OpenAI and its like, LangSmith, Scalekit. Each line asks
-- at least once and looks at the answer; what a line needs at length is in the test file of its service.
local t = require "testing"
local emulating = require "emulating"
local emulator = require "emulator"
local host = require "host"
local http = require "host.http"
local json = require "host.json"
local scalekit = require "host.scalekit"
local text = require "emulator.text"

local start, user, tool, info_of = emulating.start, emulating.user, emulating.tool, emulating.info_of

-- OpenAI ------------------------------------------------------------------------------------------------

local function ask(e, body, trouble, path)
  body.model = body.model or "gpt-4o"
  local status, headers, out = e.raw("POST", path or "/v1/chat/completions", body,
    { authorization = "Bearer " .. e.env.OPENAI_API_KEY, ["x-agenthost-trouble"] = trouble })
  local whole = type(out) == "table" and table.concat(out.chunks) or out
  return status, json.decode(whole), headers, whole, out
end

local HI = { messages = { user "hi" } }
local function hi(more)
  local body = { messages = HI.messages }
  for k, v in pairs(more or {}) do body[k] = v end
  return body
end

t.test("OpenAI: behaviour by model name, header or script file; ids and clock by option", function()
  t.eq({ (ask(start(), hi { model = "gpt-4o~503" })), (ask(start(), hi(), "503")),
    (ask(start { scenario = { troubles = { { where = "chat", what = "503" } } } }, hi())) }, { 503, 503, 503 })
  local _, one = ask(start { seed = 3, clock = 1000 }, hi())
  local _, two = ask(start { seed = 3, clock = 1000 }, hi())
  local _, other = ask(start { seed = 4, clock = 2000 }, hi())
  t.eq({ one.id == two.id, one.id == other.id, one.created, other.created }, { true, false, 1000, 2000 })
end)

local CALLS = { role = "assistant", content = json.null, tool_calls = { { id = "c1", type = "function",
  ["function"] = { name = "f", arguments = "{}" } } } }
local MANY = {}
for i = 1, 129 do MANY[i] = tool("t" .. i, "x") end

local REFUSED = { -- what, body, status, code, param
  { "model", hi { model = "llama" }, 404, "model_not_found" },
  { "no messages", { messages = json.array {} }, 400, "empty_array", "messages" },
  { "role", { messages = { { role = "robot", content = "x" } } }, 400, "invalid_value", "messages[0].role" },
  { "tool name", hi { tools = { tool("a.b", "x") } }, 400, "invalid_value", "tools[0].function.name" },
  { "128 tools", hi { tools = MANY }, 400, "array_above_max_length", "tools" },
  { "schema", hi { tools = { { type = "function", ["function"] = { name = "f", parameters = { type = "object" } } } } },
    400, "invalid_function_parameters", "tools[0].function.parameters" },
  { "a call without its answer", { messages = { user "x", CALLS } }, 400, nil, "messages" },
  { "an answer without a call", { messages = { user "x", { role = "tool", tool_call_id = "c1", content = "x" } } }, 400, nil,
    "messages.[1].role" },
  { "max_tokens of a reasoning model", hi { model = "o4-mini", max_tokens = 9 }, 400, "unsupported_parameter", "max_tokens" },
  { "top_logprobs", hi { top_logprobs = 2 }, 400, nil, "top_logprobs" },
  { "stream_options", hi { stream_options = { include_usage = true } }, 400, nil, "stream_options" },
  { "parallel_tool_calls", hi { parallel_tool_calls = true }, 400, nil, "parallel_tool_calls" },
}

for _, row in ipairs(REFUSED) do
  t.test("OpenAI refuses as the service: " .. row[1], function()
    local status, body = ask(start(), row[2])
    local function null(v) return v == json.null and "null" or v end
    t.eq({ status, null(body.error.code), null(body.error.param), body.error.type },
      { row[3], row[4] or "null", row[5] or "null", "invalid_request_error" })
  end)
end

t.test("OpenAI refuses as the service: no key, a wrong key", function()
  local e = start()
  t.eq({ (e.call("POST", "/v1/chat/completions", HI)), (e.call("POST", "/v1/chat/completions", HI,
    { authorization = "Bearer sk-wrong" })) }, { 401, 401 })
end)

-- A stream of two calls as it goes over the wire, byte for byte; H, ID and U stand for what depends on the seed.
local GOLDEN = {
  '"index":0,"delta":{"role":"assistant","content":null,"refusal":null},"logprobs":null,"finish_reason":null',
  '"index":0,"delta":{"tool_calls":[{"index":0,"id":"ID","type":"function","function":{"name":"add","arguments":""}}]},N',
  '"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\\"a\\":1}"}}]},N',
  '"index":0,"delta":{"tool_calls":[{"index":1,"id":"ID","type":"function","function":{"name":"mul","arguments":""}}]},N',
  '"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]},N',
  '"index":0,"delta":{},"logprobs":null,"finish_reason":"tool_calls"',
}
local HEAD = '"id":"chatcmpl%-%w+","object":"chat%.completion%.chunk","created":%d+,"model":"gpt%-4o%-2024%-08%-06",'
  .. '"service_tier":"default","system_fingerprint":"fp_%x+"'

t.test("OpenAI: streams byte for byte", function()
  local _, _, headers, whole = ask(start(), { stream = true, stream_options = { include_usage = true },
    tools = { tool("add", "x"), tool("mul", "x") }, messages = { user 'call add with {"a":1} and call mul with {}' } })
  t.eq(headers["content-type"], "text/event-stream; charset=utf-8")
  local want = ""
  for _, choice in ipairs(GOLDEN) do
    choice = choice:gsub(",N$", ',"logprobs":null,"finish_reason":null')
    want = want .. ('data: {H,"choices":[{%s}],"usage":null}\n\n'):format(choice)
  end
  want = want .. 'data: {H,"choices":[],"usage":U}\n\ndata: [DONE]\n\n'
  t.eq((whole:gsub(HEAD, "H"):gsub("call_%w+", "ID"):gsub('"usage":%b{}', '"usage":U')), want)
end)

t.test("OpenAI: bytes on the wire: split, slow, cut, torn, reset, HTML, 200 with an error", function()
  local e = assert(emulator.start { open = true })
  local function post(trouble)
    local res, err = http.post(e.url .. "/v1/chat/completions", { retry = false, idempotent = true,
      headers = { authorization = "Bearer x", ["x-agenthost-trouble"] = trouble },
      json = { model = "gpt-4o", stream = true, messages = { user "größe?" } } })
    return res, err
  end
  local function said(res)
    local out = ""
    for piece in res.body:gmatch '"content":("[^"]*")' do out = out .. json.decode(piece) end
    return out
  end
  local whole = said(assert(post(nil)))
  t.match(whole, "größe")
  for _, same in ipairs { "split", "split; size=3; also=crlf", "slow; seconds=0.001", "comments", "usage_always" } do
    t.eq({ same, said(assert(post(same))) }, { same, whole })
  end
  local cut = assert(post "cut; bytes=400")
  t.eq({ #cut.body, cut.body:find "%[DONE%]" }, { 400 })
  for trouble, kind in pairs { ["torn; bytes=400"] = "truncated", reset = "network" } do
    local res, err = post(trouble)
    t.eq({ trouble, res == nil and (err.kind == kind or err.kind) }, { trouble, true })
  end
  local _, err = post "html"
  t.eq(err.status, 502)
  t.match(assert(post "200_error").body, '"error":{')
  e.close()
end)

t.test("OpenAI: headers of answers and of refusals", function()
  local _, _, h = ask(start(), hi())
  t.match(h["x-request-id"], "^req_")
  t.eq({ h["openai-version"], tonumber(h["openai-processing-ms"]) ~= nil, h["x-ratelimit-reset-requests"],
    tonumber(h["x-ratelimit-limit-tokens"]) ~= nil }, { "2020-10-01", true, "6ms", true })
  for _, value in ipairs { "0", "-1", "300", "soon" } do
    local status, _, headers = ask(start(), hi(), "429; retry_after=" .. value)
    t.eq({ status, headers["retry-after"] }, { 429, value })
  end
  local _, _, headers = ask(start(), hi(), "429; retry_after_ms=50; should_retry=false")
  t.eq({ headers["retry-after-ms"], headers["x-should-retry"] }, { "50", "false" })
  _, _, headers = ask(start(), hi(), "400; retry_after_date=9; should_retry=true")
  t.match(headers["retry-after"], "^Mon, 05 Jan 2026 %d%d:%d%d:%d%d GMT$")
  t.eq(headers["x-should-retry"], "true")
end)

t.test("OpenAI: attempts are counted, with their times and bodies", function()
  local now = emulating.CLOCK
  local e = start { clock = function() return now end }
  ask(e, hi(), "500")
  now = now + 2
  ask(e, hi { user = "me" })
  local _, state = e.call("GET", "/__emulator/state")
  local _, seen = e.call("GET", "/__emulator/requests")
  t.eq(state.requests["POST chat"], 2)
  t.eq(text.micros(seen.requests[2].at) - text.micros(seen.requests[1].at), 2000000)
  t.eq(json.decode(seen.requests[2].body).user, "me")
end)

t.test("OpenAI: gateway mode", function()
  local _
  local e = start { gateway = true }
  local status, body, headers = ask(e, hi(), nil, "/chat/completions")
  t.eq({ status, body.model, tonumber(headers["x-litellm-response-cost"]) > 0 }, { 200, "gpt-4o", true })
  _, body = ask(e, hi(), "429")
  t.eq(body.error.code, "429")
  t.match(body.error.message, "^litellm%.RateLimitError: ")
  t.eq((e.call("POST", "/chat/completions", HI, { authorization = "Bearer x" })), 400)
  _, body = ask(e, hi { mock_response = "mocked" })
  t.eq(body.choices[1].message.content, "mocked")
  local whole
  _, _, _, whole = ask(e, hi { stream = true }, "error_event")
  t.eq({ whole:find("litellm.", 1, true) ~= nil, whole:find("[DONE]", 1, true) }, { true })
end)

t.test("OpenAI: responses with both shapes of an error event; embeddings, models, moderations", function()
  local e = start()
  local body = { input = "hi", stream = true }
  local _, _, _, flat = ask(e, body, "error_event", "/v1/responses")
  local _, _, _, nested = ask(e, body, "error_event; form=nested", "/v1/responses")
  t.match(flat, 'event: error\ndata: {"code":"server_error","message":')
  t.match(nested, 'event: error\ndata: {"error":{"code":"server_error"')
  local status, answer = ask(e, { model = "text-embedding-3-small", input = "x" }, nil, "/v1/embeddings")
  t.eq({ status, #answer.data[1].embedding }, { 200, 1536 })
  status, answer = ask(e, { model = "omni-moderation-latest", input = "x" }, nil, "/v1/moderations")
  t.eq({ status, answer.results[1].flagged }, { 200, false })
  _, answer = e.call("GET", "/v1/models", nil, { authorization = "Bearer " .. e.env.OPENAI_API_KEY })
  t.eq(answer.object, "list")
end)

t.test("MCP: both eras, both answers to a lost session, empty first event, resume, pages, others first, 401 once", function()
  local e = emulating.mcp()
  t.eq((e.open()), 200)
  local s = e.session
  local function at(method, params, more)
    local headers = {}
    for k, v in pairs(s) do headers[k] = v end
    for k, v in pairs(more or {}) do headers[k] = v end
    return e.say(method, params, headers)
  end
  local _, page = at "tools/list"
  local rest
  _, rest = at("tools/list", { cursor = page.result.nextCursor })
  t.eq({ #page.result.tools, #rest.result.tools }, { 50, 34 })
  local meta = { _meta = { ["io.modelcontextprotocol/protocolVersion"] = "2026-07-28",
    ["io.modelcontextprotocol/clientCapabilities"] = {} } }
  local _, modern = e.say("server/discover", meta, { ["mcp-protocol-version"] = "2026-07-28", ["mcp-method"] = "server/discover" })
  t.eq(modern.result.resultType, "complete")
  t.eq({ (e.say("ping", nil, { ["mcp-session-id"] = "gone" })),
    (e.say("ping", nil, { ["mcp-session-id"] = "gone", ["x-agenthost-form"] = "mcp_gone_session=400" })) }, { 404, 400 })
  local _, _, _, whole = at("ping", nil, { ["x-agenthost-trouble"] = "chatter" })
  t.match(whole, '^id: %S+\ndata: \n\n.*"id":"of%-nobody".*"result":{}}\n\n$')
  _, _, _, whole = at("ping", nil, { ["x-agenthost-trouble"] = "resume; seconds=0.5" })
  local id, retry = whole:match "^id: (%S+)\nretry: (%d+)\ndata: \n\n$"
  t.eq(retry, "500")
  _, _, _, whole = e.call("GET", e.path, nil, { accept = "text/event-stream", ["last-event-id"] = id,
    authorization = "Bearer " .. e.session_token })
  t.match(whole, '"jsonrpc":"2.0"')
  e.call("POST", "/__emulator/trouble", { where = "mcp_server", what = "401", times = 1 })
  t.eq({ (at "ping"), (at "ping") }, { 401, 200 })
end)

t.test("MCP: the server asks on the standing stream", function()
  local e = emulating.mcp()
  e.open(nil, { roots = {} })
  local headers = { accept = emulating.BOTH, authorization = "Bearer " .. e.session_token,
    ["mcp-session-id"] = e.session["mcp-session-id"], ["x-agenthost-trouble"] = "ask_roots" }
  local _, _, stream = e.raw("GET", e.path, nil, headers)
  e.raw("POST", e.path, { jsonrpc = "2.0", id = 1, method = "tools/call", params = { name = "gmail_fetch_mails" } }, headers)
  t.match(stream.more(), '"method":"roots/list"')
end)

-- LangSmith ---------------------------------------------------------------------------------------------

local ROOT, CHILD = "01a202b2-c500-7a1b-8a1b-2c3d4e5f6071", "01a202b2-c890-7c3d-ac3d-4e5f60718293"
local ORDER = "20261122T100000000120Z" .. ROOT

local function root(more)
  local run = { id = ROOT, trace_id = ROOT, dotted_order = ORDER, name = "agent", run_type = "chain", inputs = { q = 1 },
    start_time = "2026-11-22T10:00:00.000120Z", session_name = "auto" }
  for k, v in pairs(more or {}) do run[k] = v end
  return run
end

local function child()
  return { id = CHILD, trace_id = ROOT, parent_run_id = ROOT, dotted_order = ORDER .. ".20261122T100000912004Z" .. CHILD,
    name = "ChatOpenAI", run_type = "llm", start_time = "2026-11-22T10:00:00.912004Z",
    end_time = "2026-11-22T10:00:01.390000Z", session_name = "auto", inputs = { model = "gpt-4o" },
    events = json.array { { name = "new_token", time = "2026-11-22T10:00:01.000000Z" } },
    outputs = { usage_metadata = { input_tokens = 91, output_tokens = 17, total_tokens = 108 } } }
end

local function batch(e, post, patch, more, path)
  return e.ls("POST", path or "/runs/batch", { post = json.array(post), patch = json.array(patch or {}) }, more)
end

t.test("LangSmith: root, /api/v1 and /api; answers are 202 with JSON", function()
  for _, prefix in ipairs { "", "/api/v1", "/api" } do
    local e = start()
    local status, body = batch(e, { root() }, nil, nil, prefix .. "/runs/batch")
    t.eq({ prefix, status, type(body.message) }, { prefix, 202, "string" })
    t.eq((e.ls("GET", prefix .. "/runs/" .. ROOT)), 200)
  end
end)

t.test("LangSmith: /info", function()
  local _, info = start().call("GET", "/info")
  local b = info.batch_ingest_config
  t.eq({ b.use_multipart_endpoint, b.size_limit, b.size_limit_bytes, info.instance_flags.zstd_compression_enabled },
    { true, 100, 20971520, true })
end)

t.test("LangSmith: the key: its own, or any that is not empty", function()
  local function status(e, key) return (e.call("GET", "/sessions", nil, { ["x-api-key"] = key })) end
  t.eq({ status(start(), "lsv2_pt_other"), status(start(), ""), status(start(), nil) }, { 403, 401, 401 })
  local open = start { open = true }
  t.eq({ status(open, "anything"), status(open, "") }, { 200, 401 })
end)

-- A batch of one run, packed.
local GZIP = "H4sIAAAAAAACA5WNwQrCMBBE/2XPjeyutkq+w5MiIU2i5mBSkvUgpf8uKf0AHZY5DLPzZphyFdDXGaIHDUiWkUdWrkdUR0ujOjVjt/eH0N8HPB"
  .. "J0IMW6YP758FkkeJOLDwU0MPJAxHwm3ESMlx+3kn0F0GAfIQl0UN7JyGdqkXvamKCDKraIkbj2GksRqZWmsd1uA7ZqqDXmZLbRCZbb8gW4ar6z"
  .. "FgEAAA=="
local ZSTD = "KLUv/WAWANUEAALJHR9gRasDVsWTFGtLcRGkRjBghgpCXe0fIUmMaUmCIOgCTaL5ktxrMTJBoqN6WqeG3PHGXWMAtQx0cgLwxtuxBR+dBbA75G"
  .. "qqYVcV2dyjQ7bgS4t1v5WYYtg3rkkiioMR1kBt4SjKyck81Fllc1nz6KudQaB3fMuZDABYSHNqgQ55dcNxNL1hAUvJYhM0gVeIOHesKrvEWsg="

t.test("LangSmith: bodies packed with gzip and zstd, or not at all", function()
  for coding, packed in pairs { gzip = GZIP, zstd = ZSTD } do
    local function status(body, form)
      return (start().ls("POST", "/runs/batch", body, { ["content-encoding"] = coding, ["x-agenthost-form"] = form }))
    end
    t.eq({ coding, status(text.unbase64(packed)), status(text.unbase64(packed), "compression=off"), status "not packed" },
      { coding, 202, 415, 422 })
  end
end)

local function multipart(e, parts)
  local out = {}
  for i, p in ipairs(parts) do out[i] = "--B\r\n" .. p .. "\r\n" end
  return e.ls("POST", "/runs/multipart", table.concat(out) .. "--B--\r\n",
    { ["content-type"] = "multipart/form-data; boundary=B" })
end

local function part(name, body, length)
  return ('Content-Disposition: form-data; name="%s"\r\n%s\r\n\r\n%s'):format(name, length, body)
end

t.test("LangSmith: a part's length as a header or a parameter, and it is true", function()
  local main = json.encode(root())
  local header = "Content-Type: application/json\r\nContent-Length: %d"
  local parameter = "Content-Type: application/json; length=%d"
  for _, how in ipairs { header, parameter } do
    t.eq((multipart(start(), { part("post." .. ROOT, main, how:format(#main)) })), 202)
    t.eq((multipart(start(), { part("post." .. ROOT, main, how:format(#main + 1)) })), 422)
  end
  t.eq((multipart(start(), { part("post." .. ROOT, main, "Content-Type: application/json") })), 422)
end)

t.test("LangSmith: patch and post in any order", function()
  local e = start()
  t.eq((batch(e, {}, { { id = ROOT, trace_id = ROOT, dotted_order = ORDER, outputs = { a = 1 },
    end_time = "2026-11-22T10:00:02Z" } })), 202)
  t.eq((batch(e, { root() })), 202)
  local _, run = e.ls("GET", "/runs/" .. ROOT)
  t.eq({ run.status, run.outputs, run.name }, { "success", { a = 1 }, "agent" })
end)

t.test("LangSmith: each check of dotted_order", function()
  for pattern, run in pairs {
    ['cannot parse ".022" as ".000000"'] = root { dotted_order = "20261122T100000022Z" .. ROOT },
    ["must contain a single part for root runs"] = root { dotted_order = child().dotted_order },
    ["does not match first part"] = root { dotted_order = "20261122T100000000120Z" .. CHILD },
    ["does not match last part"] = (function()
      local c = child()
      c.id = "01a202b2-c890-7c3d-ac3d-4e5f60718299"
      return c
    end)(),
    ["at least two parts"] = (function()
      local c = child()
      c.dotted_order, c.trace_id = "20261122T100000000120Z" .. CHILD, CHILD
      return c
    end)(),
    ["earlier than parent timestamp"] = (function()
      local c = child()
      c.dotted_order = ORDER .. ".20261122T095959000000Z" .. CHILD
      return c
    end)(),
  } do
    local status, body = batch(start(), { run })
    t.eq({ pattern, status }, { pattern, 400 })
    t.ok(body.error:find(pattern, 1, true), body.error)
  end
end)

t.test("LangSmith: 409 for what is there; unknown projects come to be", function()
  local e = start()
  batch(e, { root() })
  t.eq((batch(e, { root() })), 409)
  local _, sessions = e.ls("GET", "/sessions?name=auto")
  t.eq({ #sessions, sessions[1].name }, { 1, "auto" })
end)

t.test("LangSmith: status, latency, tokens, cost, first token, sums", function()
  local e = start()
  batch(e, { root { end_time = "2026-11-22T10:00:02.000120Z", error = "boom" }, child() })
  local _, top = e.ls("GET", "/runs/" .. ROOT)
  local _, llm = e.ls("GET", "/runs/" .. CHILD)
  t.eq({ top.status, llm.status, llm.total_tokens, top.total_tokens }, { "error", "success", 108, 108 })
  t.eq({ llm.total_cost, top.total_cost, llm.first_token_time }, { "0.0003975", "0.0003975", "2026-11-22T10:00:01.000000Z" })
  local _, found = e.ls("POST", "/runs/query", { session = json.array { top.session_id }, filter = 'gt(latency, "1s")' })
  t.eq({ #found.runs, found.runs[1].id }, { 1, ROOT })
end)

t.test("LangSmith: queries of v1 and v2, runs, projects, datasets, examples, feedback, its tokens, sharing", function()
  local e = start()
  batch(e, { root { start_time = "2026-01-05T09:00:00Z", dotted_order = "20260105T090000000000Z" .. ROOT } })
  local _, run = e.ls("GET", "/runs/" .. ROOT)
  local _, v1 = e.ls("POST", "/runs/query", { id = json.array { ROOT } })
  local _, v2 = e.ls("POST", "/api/v2/runs/query", { project_ids = json.array { run.session_id }, selects = json.array { "NAME" },
    ids = json.array { ROOT } })
  t.eq({ v1.runs[1].name, v2.items[1].name }, { "agent", "agent" })
  t.eq((e.ls("GET", "/sessions/" .. run.session_id)), 200)
  local _, dataset = e.ls("POST", "/datasets", { name = "d" })
  local _, example = e.ls("POST", "/examples", { dataset_id = dataset.id, inputs = { q = 1 } })
  local _, examples = e.ls("GET", "/examples?dataset=" .. dataset.id)
  t.eq({ #examples, examples[1].id }, { 1, example.id })
  t.eq((e.ls("POST", "/feedback", { run_id = ROOT, key = "k", score = 1 })), 200)
  local _, given = e.ls("GET", "/feedback?run=" .. ROOT)
  t.eq(given[1].score, 1)
  local _, token = e.ls("POST", "/feedback/tokens", { run_id = ROOT, feedback_key = "thumb" })
  t.match(token.url, "/feedback/tokens/")
  local _, share = e.ls("PUT", "/runs/" .. ROOT .. "/share")
  t.eq((e.call("GET", "/public/" .. share.share_token .. "/run")), 200)
end)

t.test("LangSmith: faults: a status, Retry-After, a delay, a cut connection", function()
  local e = start()
  local function faulty(trouble)
    return e.raw("POST", "/runs/batch", { post = json.array { root() }, patch = json.array {} },
      { ["x-api-key"] = e.env.LANGSMITH_API_KEY, ["x-agenthost-trouble"] = trouble })
  end
  local status, headers = faulty "429; retry_after=3"
  t.eq({ status, headers["retry-after"] }, { 429, "3" })
  local _, _, body = faulty "reset"
  t.eq({ body.cut, body.silent }, { true, true })
  _, _, body = faulty "slow; seconds=2"
  t.eq(body.wait, 2)
end)

-- Scalekit ----------------------------------------------------------------------------------------------

-- The operations of AgentKit and what is beside them, each with the status of a plain request.
local ROUTES = {
  { "GET", "/connected_accounts", 200 },
  { "POST", "/connected_accounts", 201, { connector = "gmail", identifier = "new", connected_account = {} } },
  { "PUT", "/connected_accounts", 200, { connector = "gmail", identifier = "u", connected_account = {} } },
  { "GET", "/connected_accounts/auth?connector=gmail&identifier=u", 200 },
  { "GET", "/connected_accounts/details?connector=gmail&identifier=u", 200 },
  { "POST", "/connected_accounts/magic_link", 200, { connector = "gmail", identifier = "u" } },
  { "POST", "/connected_accounts/user/verify", 404, { auth_request_id = "x", identifier = "u" } },
  { "POST", "/connected_accounts:delete", 200, { connector = "slack", identifier = "u" } },
  { "GET", "/connected_accounts:search?query=gmail", 200 },
  { "POST", "/custom-providers", 201, { display_name = "Own", proxy_url = "https://a.example",
    auth_patterns = json.array { { type = "NO_AUTH", is_mcp = true } } } },
  { "PUT", "/custom-providers/none", 404, { display_name = "Own", auth_patterns = json.array {} } },
  { "DELETE", "/custom-providers/none", 404 },
  { "POST", "/execute_tool", 200, { tool_name = "gmail_get_profile", identifier = "u" } },
  { "GET", "/mcp/configs", 200 }, { "POST", "/mcp/configs", 201, { name = "c" } },
  { "GET", "/mcp/configs/{id}", 200 }, { "PUT", "/mcp/configs/{id}", 200, { description = "d" } },
  { "POST", "/mcp/configs/{id}/connected_accounts", 200, { identifier = "u" } },
  { "POST", "/mcp/configs/{id}/tokens", 200, { identifier = "u" } }, { "DELETE", "/mcp/configs/{id}", 200 },
  { "GET", "/tools", 200 }, { "GET", "/tools/scoped?identifier=u&filter.providers=GMAIL", 200 },
  { "GET", "/tools/available?identifier=u", 200 },
  { "GET", "/connections/app", 200 }, { "GET", "/providers", 200 }, { "GET", "/agentkit/tool_call_logs", 200 },
  { "GET", "/agentkit/tool_call_logs/none", 404 },
}

t.test("Scalekit: the routes; literal ones before those with a name, colons in a path", function()
  local e = start()
  local _, made = e.sk("POST", "/mcp/configs", { name = "first" })
  for _, row in ipairs(ROUTES) do
    local path = row[2]:gsub("{id}", made.config.id)
    t.eq({ row[1], row[2], (e.sk(row[1], path, row[4])) }, { row[1], row[2], row[3] })
  end
  t.eq({ (e.call("GET", "/keys")), (e.call("POST", "/oauth/token", "grant_type=x")) }, { 200, 400 })
  t.eq((e.call("GET", "/proxy/gmail/v1/users/me/profile", nil, { authorization = "Bearer " .. e.token(),
    connection_name = "gmail", identifier = "u" })), 200)
  t.eq((e.call("POST", "/mcp/v3/servers/none", {}, { accept = emulating.BOTH })), 404)
  local _, link = e.sk("POST", "/connected_accounts/magic_link", { connector = "github", identifier = "u" })
  local path = link.link:match "/magicLink/.*"
  local _, _, _, page = e.call("GET", path)
  t.match(page, 'value="approve".*value="deny"')
  t.eq((e.call("POST", path)), 200)
end)

t.test("Scalekit: the token call and what an old token meets", function()
  local now = emulating.CLOCK
  local e = start { clock = function() return now end }
  local status, body = e.call("POST", "/oauth/token", "grant_type=client_credentials&client_id=a&client_secret=b")
  t.eq({ status, body.error }, { 401, "invalid_client" })
  status, body = e.call("POST", "/oauth/token", ("grant_type=client_credentials&client_id=%s&client_secret=%s"):format(
    e.env.SCALEKIT_CLIENT_ID, e.env.SCALEKIT_CLIENT_SECRET))
  t.eq({ status, body.token_type, body.expires_in > 0 }, { 200, "Bearer", true })
  e.sk("GET", "/tools")
  now = now + 100000
  for _, token in ipairs { e.bearer, "nonsense" } do
    status, body = e.call("GET", "/api/v1/tools", nil, { authorization = "Bearer " .. token })
    t.eq({ status, body.code, info_of(body).error_code }, { 401, 16, "UNAUTHENTICATED" })
  end
end)

t.test("Scalekit: limits are refused with the field", function()
  local e = start()
  for path, field in pairs { ["/connected_accounts?identifier=" .. ("x"):rep(101)] = "identifier",
    ["/connected_accounts?page_size=100"] = "page_size", ["/connected_accounts:search?query=ab"] = "query" } do
    local status, body = e.sk("GET", path)
    t.eq({ status, body.code, info_of(body).validation_error_info.field_violations[1].field }, { 400, 3, field })
  end
end)

t.test("Scalekit: scoped tools: a filter, an account, one account a provider, pages", function()
  local e = start { accounts = "pending", scenario = { connections = { gmail = "GMAIL", ["gmail-2"] = "GMAIL" } } }
  local function scoped(query) return e.sk("GET", "/tools/scoped?identifier=u" .. query) end
  t.eq({ (scoped ""), (scoped "&filter.connection_names=gmail") }, { 400, 404 })
  for _, name in ipairs { "gmail", "gmail-2" } do
    e.sk("POST", "/connected_accounts", { connector = name, identifier = "u", connected_account = {} })
  end
  t.eq((scoped "&filter.providers=GMAIL"), 400)
  local _, body = scoped "&filter.connection_names=gmail"
  t.eq({ #body.tools, body.total_size, json.decode(text.unbase64(body.next_page_token)) }, { 10, 56, { page = 2, limit = 10 } })
end)

t.test("Scalekit: execute: only ACTIVE, unknown tools in two ways, a log entry each, faults of the provider", function()
  local e = start()
  local run = { tool_name = "gmail_get_profile", connector = "gmail", identifier = "u" }
  local _, one = e.sk("POST", "/execute_tool", run)
  local _, two = e.sk("POST", "/execute_tool", run)
  local _, logs = e.sk("GET", "/agentkit/tool_call_logs")
  t.eq({ #logs.tool_call_logs, one.execution_id ~= two.execution_id, logs.tool_call_logs[1].execution_id },
    { 2, true, two.execution_id })
  for upstream, want in pairs { [401] = { 401, 16, "UNAUTHORIZED" }, [403] = { 403, 7, "FORBIDDEN" },
    [429] = { 429, 8, "RATE_LIMITED" }, [418] = { 500, 13, "EXEC_FAILED" } } do
    local status, body = e.sk("POST", "/execute_tool", run, { ["x-agenthost-trouble"] = "tool_error; status=" .. upstream })
    local info = info_of(body)
    t.eq({ status, body.code, info.error_code, info.tool_error_info.tool_error_code }, { want[1], want[2], "TOOL_ERROR", want[3] })
  end
  local unknown = { tool_name = "x", identifier = "u" }
  t.eq({ (e.sk("POST", "/execute_tool", unknown)),
    (e.sk("POST", "/execute_tool", unknown, { ["x-agenthost-form"] = "unknown_tool=404" })) }, { 400, 404 })
  t.eq((e.sk("POST", "/execute_tool", run, { ["x-agenthost-trouble"] = "expired" })), 400)
end)

t.test("Scalekit: accounts: made, consented to, verified, renewed, merged; details show no secret", function()
  local now = emulating.CLOCK
  local e = start { accounts = "pending", clock = function() return now end }
  local function make(connector, account)
    local _, body = e.sk("POST", "/connected_accounts", { connector = connector, identifier = "u", connected_account = account })
    return body.connected_account
  end
  local function status(connector)
    local _, body = e.sk("GET", "/connected_accounts/details?identifier=u&connector=" .. connector)
    t.eq(body.connected_account.authorization_details, nil)
    return body.connected_account.status
  end
  t.eq({ make("gmail", {}).status, make("slack", { authorization_details = { oauth_token = { access_token = "at" } } }).status },
    { "PENDING_AUTH", "ACTIVE" })
  local function consent(connector, verify)
    local _, body = e.sk("POST", "/connected_accounts/magic_link", { connector = connector, identifier = "u", user_verify_url = verify })
    e.call("POST", body.link:match "/magicLink/.*")
    return status(connector)
  end
  t.eq({ consent "gmail", consent("github", "https://app.example/v") }, { "ACTIVE", "PENDING_VERIFICATION" })
  local function token()
    local _, body = e.sk("GET", "/connected_accounts/auth?identifier=u&connector=gmail")
    return body.connected_account.authorization_details.oauth_token.access_token
  end
  local old = token()
  now = now + 7200
  t.ok(token() ~= old, "renewed")
  e.sk("PUT", "/connected_accounts", { connector = "gmail", identifier = "u", connected_account = { api_config = { x = 1 } } })
  local _, body = e.sk("PUT", "/connected_accounts", { connector = "gmail", identifier = "u",
    connected_account = { api_config = { y = 2 } } })
  t.eq(body.connected_account.api_config, { x = 1, y = 2 })
end)

t.test("Scalekit: JSON: snake_case out, camelCase taken too, enums by name", function()
  local _
  local e = start()
  local status, body = e.sk("POST", "/execute_tool", { toolName = "gmail_get_profile", identifier = "u" })
  t.eq({ status, type(body.execution_id) }, { 200, "string" })
  _, body = e.sk("GET", "/connected_accounts?identifier=u")
  t.eq({ body.connected_accounts[1].status, body.connected_accounts[1].authorization_type, body.next_page_token },
    { "ACTIVE", "OAUTH", "" })
end)

t.test("Scalekit (a): 56 tools in tens and in one go", function()
  local e = start()
  local seen, pages, next_token = 0, 0, ""
  repeat
    local _, body = e.sk("GET", "/tools/scoped?identifier=u&filter.connection_names=gmail&page_token=" .. text.encode_url(next_token))
    seen, pages, next_token = seen + #body.tools, pages + 1, body.next_page_token
  until next_token == ""
  local _, all = e.sk("GET", "/tools/scoped?identifier=u&filter.connection_names=gmail&page_size=100")
  t.eq({ seen, pages, #all.tools }, { 56, 6, 56 })
end)

t.test("Scalekit (b): an account is made twice: one 201, one 409", function()
  local e = start { accounts = "pending" }
  local function make() return (e.sk("POST", "/connected_accounts", { connector = "gmail", identifier = "u", connected_account = {} })) end
  t.eq({ make(), make() }, { 201, 409 })
end)

-- (c) to (f): how often this program's own client sends.
t.test("Scalekit (c-f): 401 of its own is renewed once; 401 of the provider, 503 and 429 are not sent again", function()
  local url = host.config "SCALEKIT_ENVIRONMENT_URL" .. "/__emulator/"
  local function counts()
    local requests = assert(http.get(url .. "state")):json().requests
    return requests["POST token"] or 0, requests["POST execute"] or 0
  end
  local function run(trouble)
    if trouble then assert(http.post(url .. "trouble", { json = trouble })) end
    local tokens, calls = counts()
    local result, err = scalekit.execute_tool { tool_name = "gmail_send_message", connection_name = "gmail", identifier = "u",
      tool_input = { to = "a@b.example", subject = "s", body = "b" } }
    local tokens_then, calls_then = counts()
    return { tokens_then - tokens, calls_then - calls, result ~= nil or err.kind }
  end
  run()
  t.eq(run { where = "execute", what = "401", times = 1 }, { 1, 2, true })
  t.eq(run { where = "execute", what = "tool_error", status = 401, times = 1 }, { 0, 1, "tool_error" })
  t.eq(run { where = "execute", what = "503", times = 1 }, { 0, 1, "outcome_unknown" })
  t.eq(run { where = "execute", what = "429", times = 1, retry_after = 1 }, { 0, 1, "rate_limit" })
end)

t.test("Scalekit (g): PENDING until the third look", function()
  local e = start { accounts = "pending", scenario = { approve_after = 3 } }
  e.sk("POST", "/connected_accounts", { connector = "gmail", identifier = "u", connected_account = {} })
  local seen = {}
  for i = 1, 3 do
    local _, body = e.sk("GET", "/connected_accounts/details?connector=gmail&identifier=u")
    seen[i] = body.connected_account.status
  end
  t.eq(seen, { "PENDING_AUTH", "PENDING_AUTH", "ACTIVE" })
end)

t.test("Scalekit (h, i): a link that expired; the wrong user 403, twice 404", function()
  local now = emulating.CLOCK
  local e = start { accounts = "pending", clock = function() return now end }
  local function link()
    local _, body = e.sk("POST", "/connected_accounts/magic_link", { connector = "gmail", identifier = "u",
      user_verify_url = "https://app.example/v" })
    return body.link:match "/magicLink/.*"
  end
  local old = link()
  now = now + 301
  t.eq((e.call("POST", old)), 410)
  local _, headers = e.raw("POST", link())
  local id = headers.location:match "auth_request_id=([^&]+)"
  local function verify(who) return (e.sk("POST", "/connected_accounts/user/verify", { auth_request_id = id, identifier = who })) end
  t.eq({ verify "v", verify "u", verify "u" }, { 403, 200, 404 })
end)

t.test("Scalekit (j): the proxy's own 401 and the provider's", function()
  local e = start()
  local function get(trouble, token)
    return e.call("GET", "/proxy/gmail/v1/users/me/profile", nil, { authorization = "Bearer " .. (token or e.token()),
      connection_name = "gmail", identifier = "u", ["x-agenthost-trouble"] = trouble })
  end
  local status, own = get(nil, "nonsense")
  t.eq({ status, own.code, type(own.detail) }, { 401, "UNAUTHORIZED", "string" })
  local upstream
  status, upstream = get "tool_error; status=401"
  t.eq({ status, upstream.code, upstream.error.code }, { 401, nil, 401 })
end)

t.test("Scalekit (k, l): names beyond 64; 3 stays 3, 2^53+1 rounds", function()
  local long = "a" .. ("b"):rep(79)
  local e = start { scenario = { extra_tools = { { name = long, provider = "GMAIL", description = "x",
    input_schema = { type = "object", properties = { n = { type = "integer" }, m = { type = "integer" } } } } },
    tools = { [long] = function(params) return params end } } }
  local _, body = e.sk("GET", "/tools?filter.tool_name=" .. long)
  t.eq(body.tools[1].definition.name, long)
  local raw
  _, _, _, raw = e.sk("POST", "/execute_tool", '{"tool_name":"' .. long .. '","identifier":"u","params":{"n":3,"m":9007199254740993}}')
  t.match(raw, '"data":{"m":9007199254740992,"n":3}')
end)

t.done()
