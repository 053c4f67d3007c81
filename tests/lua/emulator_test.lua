-- The emulator, without sockets first: what it answers, what it refuses and how. Then over loopback.
local t = require "testing"
local app_of = require "emulator.app"
local emulating = require "emulating"
local json = require "host.json"
local text = require "emulator.text"

local CLOCK, start, user, tool, info_of = emulating.CLOCK, emulating.start, emulating.user, emulating.tool,
  emulating.info_of

-- text ---------------------------------------------------------------------------------------------------

t.test("times and base64 go both ways", function()
  t.eq(text.stamp(1795341600.00012), "2026-11-22T10:00:00.000120Z")
  t.eq(text.micros "2026-11-22T10:00:00.000120Z", 1795341600000120)
  t.eq(text.micros "2026-11-22T11:00:00.00012+01:00", 1795341600000120)
  t.eq(text.micros "2024-02-29T00:00:00Z", 1709164800000000)
  t.eq(text.micros "yesterday", nil)
  t.eq(text.mail_date(CLOCK), "Mon, 05 Jan 2026 09:00:00 +0000")
  for _, s in ipairs { "", "a", "ab", "abc", "\0\255\254x" } do t.eq(text.unbase64(text.base64(s)), s) end
  t.eq(text.base64 '{"page":3,"limit":30}', "eyJwYWdlIjozLCJsaW1pdCI6MzB9")
  t.eq(text.unbase64 "a", nil)
  t.eq(text.cut("aé", 2), "a")
end)

-- scalekit -----------------------------------------------------------------------------------------------

t.test("token: right, wrong secret, wrong grant", function()
  local e = start()
  local status, body = e.call("POST", "/oauth/token", "grant_type=client_credentials&client_id=a&client_secret=b")
  t.eq(status, 401)
  t.eq(body.error, "invalid_client")
  status, body = e.call("POST", "/oauth/token", "grant_type=password")
  t.eq(status, 400)
  t.eq(body.error, "unsupported_grant_type")
  t.ok(#e.token() > 20)
end)

t.test("calls without, with a wrong and with an old token", function()
  local now = CLOCK
  local e = start { clock = function() return now end }
  local status, body = e.call("GET", "/api/v1/tools")
  t.eq({ status, body.code, body.message, info_of(body).error_code }, { 401, 16, "Token empty", "UNAUTHENTICATED" })
  status, body = e.call("GET", "/api/v1/tools", "", { authorization = "Bearer x" })
  t.eq({ status, info_of(body).error_code }, { 401, "UNAUTHENTICATED" })
  t.eq((e.sk("GET", "/tools")), 200)
  now = now + 86400
  t.eq((e.sk("GET", "/tools")), 401)
end)

t.test("the real way: 404, create, PENDING_AUTH, page, ACTIVE", function()
  local e = start { accounts = "pending" }
  local pair = "?connector=gmail&identifier=user_123"
  local status, body = e.sk("GET", "/connected_accounts/details" .. pair)
  t.eq({ status, body.code, body.message }, { 404, 5, "resource not found" })
  status, body = e.sk("POST", "/connected_accounts",
    { connector = "gmail", identifier = "user_123", connected_account = {} })
  t.eq({ status, body.connected_account.status }, { 201, "PENDING_AUTH" })
  local id = body.connected_account.id
  status, body = e.sk("POST", "/connected_accounts",
    { connector = "gmail", identifier = "user_123", connected_account = {} })
  t.eq({ status, info_of(body).error_code }, { 409, "RESOURCE_ALREADY_EXISTS" })
  status, body = e.sk("POST", "/execute_tool", { tool_name = "gmail_fetch_mails", connected_account_id = id })
  t.eq({ status, body.code }, { 400, 9 })
  t.match(body.message, "PENDING_AUTH")
  status, body = e.sk("POST", "/connected_accounts/magic_link", { connector = "gmail", identifier = "user_123" },
    { host = "127.0.0.1:7" })
  t.eq(status, 200)
  t.match(body.link, "^http://127%.0%.0%.1:7/magicLink/")
  t.eq(text.micros(body.expiry) > CLOCK * 1000000, true)
  local path = body.link:match "/magicLink/.*"
  local _, _, _, page = e.call("GET", path)
  t.match(page, "<button")
  _, body = e.sk("GET", "/connected_accounts/details" .. pair)
  t.eq(body.connected_account.status, "PENDING_AUTH")
  t.eq((e.call("POST", path, "decision=approve")), 200)
  _, body = e.sk("GET", "/connected_accounts/details" .. pair)
  t.eq(body.connected_account.status, "ACTIVE")
  t.eq(body.connected_account.authorization_details, nil)
  _, body = e.sk("GET", "/connected_accounts/auth" .. pair)
  t.ok(body.connected_account.authorization_details.oauth_token.access_token)
  t.eq((e.call("GET", "/magicLink/nope?approve=1")), 404)
end)

t.test("a link expires, a denied link connects nothing, ?approve=1 does", function()
  local now = CLOCK
  local e = start { accounts = "pending", clock = function() return now end }
  local function link()
    local _, body = e.sk("POST", "/connected_accounts/magic_link", { connector = "slack", identifier = "u" })
    return body.link:match "/magicLink/.*"
  end
  local function status()
    local _, body = e.sk("GET", "/connected_accounts/details?connector=slack&identifier=u")
    return body.connected_account.status
  end
  local old = link()
  now = now + 301
  t.eq((e.call("POST", old)), 410)
  t.eq((e.call("POST", link(), "decision=deny")), 200)
  t.eq(status(), "PENDING_AUTH")
  t.eq((e.call("GET", link() .. "?approve=1")), 200)
  t.eq(status(), "ACTIVE")
end)

t.test("user verification: redirect, wrong identifier 403, twice 404", function()
  local e = start { accounts = "pending" }
  local _, body = e.sk("POST", "/connected_accounts/magic_link", { connector = "gmail", identifier = "u", state = "a b",
    user_verify_url = "https://app.example/verify" })
  local status, headers = e.raw("POST", body.link:match "/magicLink/.*", "decision=approve")
  t.eq(status, 302)
  local id = headers.location:match "auth_request_id=([^&]+)"
  t.match(headers.location, "state=a%%20b$")
  t.eq((e.sk("POST", "/connected_accounts/user/verify", { auth_request_id = id, identifier = "v" })), 403)
  t.eq((e.sk("POST", "/connected_accounts/user/verify", { auth_request_id = id, identifier = "u" })), 200)
  t.eq((e.sk("POST", "/connected_accounts/user/verify", { auth_request_id = id, identifier = "u" })), 404)
end)

t.test("limits are refused with the field's name", function()
  local e = start()
  for target, field in pairs {
    ["/connected_accounts?page_size=100"] = "page_size",
    ["/connected_accounts?connector=a/b"] = "connector",
    ["/connected_accounts?connector=a&connection_names=b"] = "connection_names",
    ["/connected_accounts:search?query=ab"] = "query",
    ["/connected_accounts/details?id=x"] = "id",
    ["/tools/scoped?identifier=u"] = "filter",
    ["/tools/scoped?filter.connection_names=gmail"] = "identifier",
    ["/tools?page_token=%21"] = "page_token",
    ["/connections/app?page_size=31"] = "page_size",
  } do
    local status, body = e.sk("GET", target)
    t.eq({ target, status, body.code }, { target, 400, 3 })
    t.eq(info_of(body).validation_error_info.field_violations[1].field, field)
  end
  t.eq((e.sk("POST", "/connected_accounts", { connector = "gmail", identifier = "u" })), 400)
end)

t.test("paging: 56 tools in tens and in one go", function()
  local e = start()
  local seen, token, pages = {}, "", 0
  repeat
    local _, body = e.sk("GET", "/tools/scoped?identifier=u&filter.connection_names=gmail&page_token="
      .. text.encode_url(token))
    t.eq(body.total_size, 56)
    for _, row in ipairs(body.tools) do
      t.eq(seen[row.tool.definition.name], nil)
      seen[row.tool.definition.name] = true
    end
    token, pages = body.next_page_token, pages + 1
  until token == ""
  t.eq(pages, 6)
  t.ok(seen.gmail_fetch_mails)
  local _, body = e.sk("GET", "/tools/scoped?identifier=u&filter.connection_names=gmail&page_size=100")
  t.eq(#body.tools, 56)
  local both = "filter.tool_names=gmail_fetch_mails&filter.tool_names=slack_send_message"
  _, body = e.sk("GET", "/tools/scoped?identifier=u&" .. both)
  t.eq(#body.tools, 2)
  _, body = e.sk("GET", "/tools?filter.provider=GITHUB&filter.summary=true&page_size=100")
  t.eq({ body.total_size, #body.tools, #body.tool_names }, { 217, 0, 100 })
  t.eq((e.sk("GET", "/tools/scoped?identifier=u&filter.connection_names=gmial")), 404)
  t.eq((e.sk("GET", "/tools/scoped?identifier=u&filter.providers=GMAIL&filter.providers=gmail")), 400)
end)

t.test("execute: reads and writes, and what is written can be read", function()
  local e = start()
  local function run(name, params)
    local status, body = e.sk("POST", "/execute_tool", { tool_name = name, params = params, identifier = "u" })
    t.eq({ name, status }, { name, 200 })
    t.match(body.execution_id, "^exec_")
    return body.data
  end
  local mails = run("gmail_fetch_mails", { query = "is:unread", max_results = 3 })
  t.eq({ #mails.messages, mails.resultSizeEstimate }, { 3, 4 })
  local id = mails.messages[1].id
  run("gmail_modify_message_labels", { message_id = id, remove_label_ids = json.array { "UNREAD" } })
  t.eq(run("gmail_fetch_mails", { query = "is:unread" }).resultSizeEstimate, 3)
  t.eq(#run("gmail_fetch_mails", { query = "from:dana subject:figures -is:unread" }).messages, 1)
  t.eq(#run("gmail_fetch_mails", { query = '"clause 7"' }).messages, 1)
  t.eq(#run("gmail_fetch_mails", { query = "in:spam" }).messages, 1)
  run("gmail_send_message", { to = "lee@northwind.example", subject = "Noodles", body = "Yes!" })
  local _, state = e.call("GET", "/__emulator/state")
  t.eq({ #state.outbox, state.outbox[1].subject }, { 1, "Noodles" })
  t.eq(#run("gmail_fetch_mails", { query = "in:sent Noodles" }).messages, 1)
  run("slack_send_message", { channel = "#builds", text = "green again" })
  t.eq(run("slack_fetch_conversation_history", { channel = "builds", limit = 1 }).messages[1].text, "green again")
  local issue = run("github_issue_create", { owner = "northwind", repo = "billing", title = "New" })
  t.eq(issue.number, 5)
  t.eq(run("github_issues_list", { owner = "northwind", repo = "billing" }).issues[1].title, "New")
  run("github_issue_update", { owner = "northwind", repo = "billing", issue_number = 5, state = "closed" })
  t.eq(run("github_issue_get", { owner = "northwind", repo = "billing", issue_number = 5 }).state, "closed")
  local _, logs = e.sk("GET", "/agentkit/tool_call_logs?status=success&page_size=2")
  t.eq({ #logs.tool_call_logs, logs.tool_call_logs[1].tool_name }, { 2, "github_issue_get" })
end)

t.test("execute: refusals", function()
  local e = start()
  local function refused(body, status, code)
    local s, b = e.sk("POST", "/execute_tool", body)
    t.eq({ s, b.code }, { status, code })
    return b
  end
  refused({ identifier = "u" }, 400, 3)
  t.match(refused({ tool_name = "gmail_fetch_emails", identifier = "u" }, 400, 3).message, "gmail_fetch_emails")
  refused({ tool_name = "gmail_fetch_mails" }, 400, 3)
  refused({ tool_name = "gmail_fetch_mails", connected_account_id = "ca_1" }, 404, 5)
  refused({ tool_name = "gmail_fetch_mails", connector = "gmial", identifier = "u" }, 404, 5)
  refused({ tool_name = "gmail_fetch_mails", connector = "slack", identifier = "u" }, 400, 3)
  local b = refused({ tool_name = "gmail_fetch_mails", identifier = "u", params = { max_results = "3" } }, 400, 3)
  t.eq(info_of(b).validation_error_info.field_violations[1].field, "params.max_results")
  refused({ tool_name = "gmail_send_message", identifier = "u", params = { to = "a@b.example" } }, 400, 3)
  refused({ tool_name = "gmail_fetch_mails", identifier = "u", agent_run_id = ("x"):rep(256) }, 400, 3)
  b = refused({ tool_name = "gmail_get_message_by_id", identifier = "u", params = { message_id = "none" } }, 500, 13)
  local info = info_of(b)
  t.eq({ info.error_code, info.tool_error_info.tool_error_code }, { "TOOL_ERROR", "EXEC_FAILED" })
  t.match(info.tool_error_info.execution_id, "^exec_")
  refused({ tool_name = "gmail_watch_mailbox", identifier = "u", params = { topic_name = "x" } }, 500, 13)
  t.eq((start { scenario = { unknown_tool_status = 404 } }.sk("POST", "/execute_tool",
    { tool_name = "x", identifier = "u" })), 404)
end)

t.test("integers beyond 2^53 lose digits in a Struct, 3 stays 3", function()
  local got
  local e = start { scenario = { tools = { gmail_get_profile = function(params)
    got = params
    return { n = params.n, m = params.m }
  end } } }
  local _, _, _, raw = e.sk("POST", "/execute_tool",
    '{"tool_name":"gmail_get_profile","identifier":"u","params":{"n":3,"m":9007199254740993}}')
  t.eq({ got.n, got.m }, { 3, 9007199254740992 })
  t.match(raw, '"n":3[,}]')
end)

-- openai -------------------------------------------------------------------------------------------------

local FETCH = tool("gmail_fetch_mails", "Search the mailbox",
  { query = { type = "string" }, max_results = { type = "integer" } })

t.test("chat: the two turns of the recipe", function()
  local e = start()
  local messages = json.array { user "Fetch my last three unread emails and summarize them" }
  local status, body, headers = e.chat { messages = messages, tools = json.array { FETCH } }
  t.eq(status, 200)
  t.match(headers["x-request-id"], "^req_")
  t.eq(headers["openai-version"], "2020-10-01")
  local choice = body.choices[1]
  t.eq({ choice.finish_reason, choice.message.content, body.model }, { "tool_calls", json.null, "gpt-4o-2024-08-06" })
  local call = choice.message.tool_calls[1]
  t.eq(json.decode(call["function"].arguments), { query = "is:unread", max_results = 3 })
  t.eq(body.usage.total_tokens, body.usage.prompt_tokens + body.usage.completion_tokens)
  messages[2] = choice.message
  local _, run = e.sk("POST", "/execute_tool", { tool_name = call["function"].name, identifier = "u",
    params = json.decode(call["function"].arguments) })
  messages[3] = { role = "tool", tool_call_id = call.id, content = json.encode(run.data) }
  _, body = e.chat { messages = messages, tools = json.array { FETCH } }
  local answer = body.choices[1].message.content
  t.match(answer, "3 unread emails")
  t.match(answer, "Q3 figures for the board")
  t.match(answer, "Lunch on Friday")
  t.match(answer, "emulator")
  t.eq(body.choices[1].finish_reason, "stop")
end)

t.test("chat: two services at once are two calls; parallel_tool_calls=false makes one", function()
  local e = start()
  local tools = json.array { FETCH, tool("github_issues_list", "List issues", { owner = { type = "string" } }) }
  local q = user "Check my unread mail and list the open issues of northwind/website"
  local _, body = e.chat { messages = json.array { q }, tools = tools }
  t.eq(#body.choices[1].message.tool_calls, 2)
  t.match(body.choices[1].message.tool_calls[2]["function"].arguments, "website")
  _, body = e.chat { messages = json.array { q }, tools = tools, parallel_tool_calls = false }
  t.eq(#body.choices[1].message.tool_calls, 1)
end)

t.test("chat: own tools, explicit calls, no tools, failing tools, tool_choice", function()
  local e = start()
  local add = tool("add_numbers", "Adds two numbers", { a = { type = "number" }, b = { type = "number" } },
    { "a", "b" })
  local weather = tool("weather", "Weather of a city", { city = { type = "string" } }, { "city" })
  local function ask(content, more)
    local body = { messages = type(content) == "string" and json.array { user(content) } or content,
      tools = json.array { add, weather } }
    for k, v in pairs(more or {}) do body[k] = v end
    if body.tools == json.null then body.tools = nil end
    local status, b = e.chat(body)
    t.eq(status, 200)
    return b.choices[1].message, b.choices[1].finish_reason
  end
  local call = ask("Please add 2 and 40").tool_calls[1]["function"]
  t.eq({ call.name, json.decode(call.arguments) }, { "add_numbers", { a = 2, b = 40 } })
  call = ask("What is the weather in Lisbon?").tool_calls[1]["function"]
  t.eq({ call.name, json.decode(call.arguments) }, { "weather", { city = "Lisbon" } })
  local m = ask 'call nosuch with {"x":{"y":1}} and call weather with {"city":"Rome"}'
  t.eq({ #m.tool_calls, m.tool_calls[1]["function"].name, m.tool_calls[1]["function"].arguments },
    { 2, "nosuch", '{"x":{"y":1}}' })
  t.match(ask("Sing a song", { tools = json.null }).content, "Sing a song")
  local forced, finish = ask("hello", { tool_choice = { type = "function", ["function"] = { name = "weather" } } })
  t.eq({ forced.tool_calls[1]["function"].name, finish }, { "weather", "stop" })
  t.ok(ask("hello", { tool_choice = "required" }).tool_calls)
  t.eq(ask("Please add 2 and 40", { tool_choice = "none" }).tool_calls, nil)
  local failed = ask(json.array { user "call weather with {}",
    m and { role = "assistant", content = json.null, tool_calls = json.array {
    { id = "c1", type = "function", ["function"] = { name = "weather", arguments = "{}" } } } },
    { role = "tool", tool_call_id = "c1", content = '{"error":"no such tool: weather"}' } })
  t.match(failed.content, "weather failed: no such tool")
end)

t.test("chat: streams carry the same message, in the service's form", function()
  local e = start()
  local body = { messages = json.array { user "Fetch my last 3 unread emails" }, tools = json.array { FETCH },
    stream = true,
    stream_options = { include_usage = true } }
  local status, _, headers, raw = e.chat(body)
  t.eq({ status, headers["content-type"] }, { 200, "text/event-stream; charset=utf-8" })
  t.match(raw, "data: %[DONE%]\n\n$")
  local arguments, name, usage, finish, nulls = "", nil, nil, nil, 0
  for data in raw:gmatch "data: ({.-})\n\n" do
    local chunk = json.decode(data)
    t.eq(chunk.object, "chat.completion.chunk")
    if chunk.usage == json.null then nulls = nulls + 1 else usage = chunk.usage end
    local choice = chunk.choices[1]
    if choice then
      finish = choice.finish_reason ~= json.null and choice.finish_reason or finish
      local call = choice.delta.tool_calls and choice.delta.tool_calls[1]
      if call then
        name = call["function"].name or name
        arguments = arguments .. call["function"].arguments
      end
    end
  end
  t.eq({ name, json.decode(arguments), finish }, { "gmail_fetch_mails", { query = "is:unread", max_results = 3 },
    "tool_calls" })
  t.ok(usage.total_tokens > 0 and nulls > 3)
  body.stream_options = nil
  _, _, _, raw = e.chat(body)
  t.eq(raw:find('"usage"', 1, true), nil)
end)

t.test("chat: refusals, with status, code and param", function()
  local e = start()
  local hi = json.array { user "hi" }
  local function refused(body, status, code, param)
    local s, b, _, raw = e.chat(body)
    t.eq({ raw, s, b.error and b.error.code or json.null, b.error and b.error.param or json.null },
      { raw, status, code or json.null, param or json.null })
    return b.error.message
  end
  refused({ model = "llama", messages = hi }, 404, "model_not_found")
  refused({ messages = json.array {} }, 400, "empty_array", "messages")
  refused({ messages = json.array { { role = "robot", content = "x" } } }, 400, "invalid_value", "messages[0].role")
  refused({ messages = json.array { { role = "user" } } }, 400, nil, "messages.[0].content")
  refused({ messages = hi, parallel_tool_calls = true }, 400, nil, "parallel_tool_calls")
  local function part(p) return { messages = json.array { { role = "user", content = json.array { p } } } } end
  refused(part { type = "video", video = {} }, 400, "invalid_value", "messages.[0].content[0].type")
  refused(part { type = "image_url", image_url = {} }, 400, "missing_required_parameter",
    "messages.[0].content[0].image_url.url")
  refused(part { type = "file", file = { filename = "x" } }, 400, "missing_required_parameter",
    "messages.[0].content[0].file.file_id")
  refused(part { type = "input_audio", input_audio = { data = "x" } }, 400, "missing_required_parameter",
    "messages.[0].content[0].input_audio.format")
  t.eq(e.chat(part { type = "image_url", image_url = { url = "https://x" } }), 200)
  refused({ messages = hi, stream_options = { include_usage = true } }, 400, nil, "stream_options")
  refused({ messages = hi, top_logprobs = 2 }, 400, nil, "top_logprobs")
  refused({ messages = hi, temperature = 3 }, 400, "decimal_above_max_value", "temperature")
  refused({ model = "o4-mini", messages = hi, max_tokens = 5 }, 400, "unsupported_parameter", "max_tokens")
  t.match(refused({ messages = hi, tools = json.array { tool "a.b" } }, 400, "invalid_value",
    "tools[0].function.name"), "pattern")
  local bare = { type = "function", ["function"] = { name = "f", parameters = { type = "object" } } }
  t.eq(refused({ messages = hi, tools = json.array { FETCH, bare } }, 400, "invalid_function_parameters",
    "tools[1].function.parameters"),
    "Invalid schema for function 'f': In context=(), object schema missing properties.")
  local many = json.array {}
  for i = 1, 129 do many[i] = tool("t" .. i) end
  t.match(refused({ messages = hi, tools = many }, 400, "array_above_max_length", "tools"), "length 129 instead")
  local asked = { role = "assistant", content = json.null, tool_calls = json.array {
    { id = "c1", type = "function", ["function"] = { name = "f", arguments = "{}" } },
    { id = "c2", type = "function", ["function"] = { name = "f", arguments = "{}" } } } }
  local one = { role = "tool", tool_call_id = "c1", content = "x" }
  t.match(refused({ messages = json.array { hi[1], asked, one } }, 400, nil, "messages"), "response messages: c2$")
  t.match(refused({ messages = json.array { hi[1], asked, one, hi[1] } }, 400, nil, "messages"), "c2$")
  refused({ messages = json.array { hi[1], one } }, 400, nil, "messages.[1].role")
  local status, body = e.call("POST", "/v1/chat/completions", "{",
    { authorization = "Bearer " .. e.env.OPENAI_API_KEY })
  t.eq({ status, body.error.type }, { 400, "invalid_request_error" })
  t.eq((e.call("POST", "/v1/chat/completions", "{}")), 401)
  status, body = e.call("POST", "/chat/completions", "{}", { authorization = "Bearer sk-wrong-key-1234" })
  t.eq({ status, body.error.code }, { 401, "invalid_api_key" })
  t.eq(body.error.message:find("wrong", 1, true), nil)
  t.eq((start { scenario = { context_tokens = 5 } }.chat { messages = hi }), 400)
end)

t.test("models, known and listed, with and without /v1", function()
  local e = start { scenario = { models = { "my-model" } } }
  local headers = { authorization = "Bearer " .. e.env.OPENAI_API_KEY }
  local _, body = e.call("GET", "/models", "", headers)
  t.eq({ body.object, body.data[#body.data].id }, { "list", "my-model" })
  t.eq((e.call("GET", "/v1/models/my-model", "", headers)), 200)
  t.eq((e.call("GET", "/v1/models/other", "", headers)), 404)
  t.eq((e.chat { model = "my-model", messages = json.array { user "hi" } }), 200)
end)

-- langsmith ----------------------------------------------------------------------------------------------

local ROOT, CHILD = "01a202b2-c500-7a1b-8a1b-2c3d4e5f6071", "01a202b2-c890-7c3d-ac3d-4e5f60718293"
local ROOT_ORDER = "20261122T100000000120Z" .. ROOT
local CHILD_ORDER = ROOT_ORDER .. ".20261122T100000912004Z" .. CHILD

local function root_run(more)
  local run = { id = ROOT, trace_id = ROOT, dotted_order = ROOT_ORDER, name = "agent", run_type = "chain",
    start_time = "2026-11-22T10:00:00.000120Z", session_name = "p", inputs = { input = "x" } }
  for k, v in pairs(more or {}) do run[k] = v end
  return run
end

local function child_run(more)
  local run = { id = CHILD, trace_id = ROOT, parent_run_id = ROOT, dotted_order = CHILD_ORDER, name = "ChatOpenAI",
    run_type = "llm",
    start_time = "2026-11-22T10:00:00.912004Z", end_time = "2026-11-22T10:00:01.390000Z", session_name = "p",
    inputs = { model = "gpt-4o" },
      outputs = { usage_metadata = { input_tokens = 91, output_tokens = 17, total_tokens = 108 } } }
  for k, v in pairs(more or {}) do run[k] = v end
  return run
end

local function batch(post, patch) return { post = json.array(post or {}), patch = json.array(patch or {}) } end

t.test("runs: a batch goes in and comes back with totals and cost", function()
  local e = start()
  local _, status, body
  status, body = e.ls("POST", "/runs/batch", batch({ root_run(), child_run() }))
  t.eq({ status, body.message }, { 202, "Runs batch ingested" })
  status, body = e.ls("GET", "/api/v1/runs/" .. ROOT)
  t.eq({ status, body.status, body.total_tokens, body.prompt_tokens, body.completion_tokens },
    { 200, "pending", 108, 91, 17 })
  t.eq(body.total_cost, "0.0003975")
  t.eq({ body.child_run_ids[1], #body.direct_child_run_ids }, { CHILD, 1 })
  t.match(body.app_path, "^/o/%x.+/projects/p/%x.+/r/01a202b2%-c500")
  t.eq((e.ls("PATCH", "/runs/" .. ROOT,
    { id = ROOT, end_time = "2026-11-22T10:00:02.1Z", outputs = { output = "y" } })), 202)
  _, body = e.ls("GET", "/runs/" .. ROOT)
  t.eq({ body.status, body.outputs.output, body.inputs.input }, { "success", "y", "x" })
  _, body = e.ls("GET", "/sessions?name=p")
  t.eq({ #body, body[1].run_count }, { 1, 2 })
  local session = body[1].id
  _, body = e.ls("POST", "/runs/query", { session = json.array { session }, is_root = true })
  t.eq({ #body.runs, body.runs[1].id, body.cursors.next }, { 1, ROOT, json.null })
  _, body = e.ls("POST", "/runs/query", { session = json.array { session }, select = json.array { "name" },
    filter = 'and(eq(run_type, "llm"), gt(total_tokens, 100), like(name, "chat%"))' })
  t.eq(body.runs, { { id = CHILD, name = "ChatOpenAI" } })
  t.eq((e.ls("POST", "/runs/query", { filter = 'eq(color, "red")' })), 400)
  t.eq((e.ls("POST", "/runs/query", { limit = 101 })), 422)
  _, body = e.ls("POST", "/runs/query", { limit = 1 })
  _, body = e.ls("POST", "/runs/query", { limit = 1, cursor = body.cursors.next })
  t.eq({ #body.runs, body.cursors.next }, { 1, json.null })
end)

t.test("runs: a patch may come before its post; repeats are 409 and change nothing", function()
  local e = start()
  t.eq((e.ls("POST", "/runs/batch", batch({}, { { id = ROOT, trace_id = ROOT, dotted_order = ROOT_ORDER,
    end_time = "2026-11-22T10:00:02Z", outputs = { output = "y" } } }))), 202)
  t.eq((e.ls("GET", "/runs/" .. ROOT)), 404)
  t.eq((e.ls("POST", "/runs/batch", batch { root_run() })), 202)
  local _, body = e.ls("GET", "/runs/" .. ROOT)
  t.eq({ body.status, body.outputs.output, body.name }, { "success", "y", "agent" })
  local status, again = e.ls("POST", "/runs/batch", batch { root_run { name = "other" }, child_run() })
  t.eq({ status, again.error }, { 409, "Conflict: payload already received: payloads already received" })
  t.eq((e.ls("GET", "/runs/" .. CHILD)), 404)
  t.eq((e.ls("PATCH", "/runs/" .. ROOT, { id = ROOT, error = "late" })), 409)
  t.eq((start().ls("POST", "/runs/batch", batch { root_run(), root_run() })), 409)
end)

t.test("runs: one bad run refuses all, with the service's words", function()
  local e = start()
  local function refused(run, status, pattern)
    local s, b = e.ls("POST", "/runs/batch", batch { child_run(), run })
    t.eq({ pattern, s }, { pattern, status })
    t.match(b.error, pattern)
    t.eq((e.ls("GET", "/runs/" .. CHILD)), 404)
  end
  refused(root_run { id = "x" }, 422,
    "^Unprocessable entity: invalid batch JSON: batch schema error post%.1%.id: Must validate one")
  refused(root_run { name = ("n"):rep(129) }, 422, "post%.1%.name")
  refused(root_run { run_type = "agent" }, 422, "run_type")
  refused(root_run { inputs = json.array { 1 } }, 422, "Expected: object, given: array")
  refused(root_run { session_id = CHILD }, 422, "session_id")
  refused({ id = ROOT, name = "n", run_type = "chain" }, 422, "trace_id is required")
  refused(root_run { dotted_order = "20261122T100000022Z" .. ROOT }, 400,
    '^Bad request: invalid \'dotted_order\': .*cannot parse ".022" as ".000000"')
  refused(root_run { dotted_order = "20261122T100000000120000Z" .. ROOT }, 400, 'extra text: "000"')
  refused(root_run { dotted_order = CHILD_ORDER }, 400, "must contain a single part for root runs for run_id:"
    .. ROOT:sub(1, 8))
  refused(root_run { dotted_order = "20261122T100000000120Z" .. CHILD }, 400, "does not match first part")
  refused(child_run { id = "01a202b2-c890-7c3d-ac3d-4e5f60718299" }, 400, "does not match last part")
  local orphan = "01a202b2-c890-7c3d-ac3d-4e5f60718299"
  refused(child_run { id = orphan, dotted_order = "20261122T100000000120Z" .. orphan, trace_id = orphan }, 400,
    "at least two parts")
  refused(child_run { id = orphan, dotted_order = ROOT_ORDER .. ".20261122T095959000000Z" .. orphan }, 400,
    "dotted_order has timestamp 2026%-11%-22 09:59:59%.000000 earlier than parent timestamp 2026%-11%-22 "
      .. "10:00:00%.000120")
end)

t.test("runs: the oldest go when there are very many", function()
  local e = start()
  local function id_of(n) return ("01a202b2-c500-7a1b-8a1b-%012x"):format(n) end
  for from = 1, 20001, 1000 do
    local list = {}
    for n = from, math.min(from + 999, 20001) do
      local id = id_of(n)
      list[#list + 1] = root_run { id = id, trace_id = id, dotted_order = "20261122T100000000120Z" .. id }
    end
    t.eq((e.ls("POST", "/runs/batch", batch(list))), 202)
  end
  t.eq((e.ls("GET", "/runs/" .. id_of(1))), 404)
  t.eq((e.ls("GET", "/runs/" .. id_of(20001))), 200)
end)

t.test("runs: keys", function()
  local e = start()
  local status, _, _, raw = e.call("POST", "/runs/batch", "{}", { ["x-api-key"] = "lsv2_pt_wrong" })
  t.eq({ status, raw }, { 403, '{"error":"Forbidden"}\n' })
  t.eq((e.call("POST", "/runs/multipart", "", { authorization = "Bearer " .. e.env.LANGSMITH_API_KEY })), 403)
  status, _, _, raw = e.call("GET", "/sessions")
  t.eq({ status, raw }, { 401, '{"detail":"Invalid token"}' })
  t.eq((e.call("GET", "/info")), 200)
end)

local function part(name, body, more)
  more = more or {}
  return { ("Content-Disposition: form-data; name=\"%s\"\r\nContent-Type: %s\r\n%s%s\r\n%s\r\n"):format(name,
    more.type or "application/json", more.no_length and "" or ("Content-Length: %d\r\n"):format(more.length or #body),
    more.extra or "", body) }
end

local function multipart(e, parts, cut)
  local out = {}
  for _, p in ipairs(parts) do out[#out + 1] = "--B\r\n" .. p[1] end
  local body = table.concat(out) .. (cut and "" or "--B--\r\n")
  return e.ls("POST", "/runs/multipart", body, { ["content-type"] = "multipart/form-data; boundary=B" })
end

t.test("multipart: parts are joined by id; each fault has its answer", function()
  local main = json.encode(root_run { inputs = json.null })
  local e = start()
  local _, status, body
  status, body = multipart(e, { part("post." .. ROOT, main), part("post." .. ROOT .. ".inputs", '{"input":"z"}'),
    part("patch." .. ROOT, json.encode { id = ROOT, trace_id = ROOT, dotted_order = ROOT_ORDER,
      end_time = "2026-11-22T10:00:02Z" }),
    part("patch." .. ROOT .. ".error", '"boom"'),
      part("attachment." .. ROOT .. ".log", "bytes", { type = "text/plain" }) })
  t.eq({ status, body.message }, { 202, "Accepted" })
  _, body = e.ls("GET", "/runs/" .. ROOT)
  t.eq({ body.inputs.input, body.error, body.status }, { "z", "boom", "error" })
  local function refused(parts, pattern, cut)
    local fresh = start()
    local s, b = multipart(fresh, parts, cut)
    t.eq({ pattern, s }, { pattern, 422 })
    t.match(b.error, pattern)
    t.eq((fresh.ls("GET", "/runs/" .. ROOT)), 404)
  end
  refused({ part("post." .. ROOT, main, { no_length = true }) },
    "invalid Content%-Length or length parameter for post%.")
  refused({ part("post." .. ROOT, main, { length = #main + 1 }) },
    "invalid Content%-Length or length parameter for post%.")
  refused({ part("post." .. ROOT, main, { extra = "Content-Encoding: gzip\r\n" }) }, "Content%-Encoding")
  refused({ part("post." .. ROOT, "{") }, "invalid JSON")
  refused({ part("post." .. ROOT, main) }, "multipart: NextPart: EOF", true)
  refused({ part("post.x", json.encode(root_run { id = "x" })) },
    "error parsing run for post%.x: schema validation failed: id: Must validate one and only one schema %(oneOf%)")
  refused({ part("post." .. ROOT, main), part("post." .. ROOT .. ".outputs", "[1]") }, "outputs: Invalid type")
  refused({ part("post." .. ROOT, main), part("post." .. CHILD .. ".inputs", "{}") }, "no part post%.")
  refused({ part("post." .. ROOT, main), part("other." .. ROOT, "{}") }, "unexpected part")
  t.eq((e.ls("POST", "/runs/multipart", "x", { ["content-type"] = "multipart/form-data; boundary=B",
    ["content-encoding"] = "br" })), 415)
  t.eq((e.ls("POST", "/runs/multipart", "x", { ["content-type"] = "multipart/form-data; boundary=B",
    ["content-encoding"] = "zstd", ["x-agenthost-form"] = "compression=off" })), 415)
  t.eq((e.ls("POST", "/runs/batch", "x", { ["content-encoding"] = "gzip" })), 422)
end)

-- troubles and scenarios ---------------------------------------------------------------------------------

t.test("troubles: by header, by switch with a count, after the effect", function()
  local e = start()
  local hi = { messages = json.array { user "hi" } }
  local status, body, headers = e.chat(hi, { ["x-agenthost-trouble"] = "429; retry_after=2" })
  t.eq({ status, body.error.code, headers["retry-after"] }, { 429, "rate_limit_exceeded", "2" })
  t.eq((e.chat(hi)), 200)
  t.eq((e.call("POST", "/__emulator/trouble", { where = "chat", what = "500", times = 2 })), 200)
  t.eq({ (e.chat(hi)), (e.chat(hi)), (e.chat(hi)) }, { 500, 500, 200 })
  e.call("POST", "/__emulator/trouble", { where = "execute", what = "503", times = 1, after = true })
  local call = { tool_name = "gmail_send_message", identifier = "u",
    params = { to = "a@b.example", subject = "s", body = "b" } }
  status, body = e.sk("POST", "/execute_tool", call)
  t.eq({ status, body.code }, { 503, 14 })
  local _, state = e.call("GET", "/__emulator/state")
  t.eq(#state.outbox, 1)
  status, body = e.sk("POST", "/execute_tool", call, { ["x-agenthost-trouble"] = "tool_error; status=401" })
  t.eq({ status, body.code, info_of(body).tool_error_info.tool_error_code }, { 401, 16, "UNAUTHORIZED" })
  status, body = e.call("POST", "/__emulator/trouble", { what = "fire" })
  t.eq(status, 400)
  t.match(body.error, "429")
  e.call("POST", "/__emulator/trouble", { where = "chat", what = "500", match = "needle" })
  t.eq((e.chat(hi)), 200)
  t.eq((e.chat { messages = json.array { user "a needle here" } }), 500)
  e.call("DELETE", "/__emulator/trouble")
  e.call("POST", "/__emulator/reset")
  _, state = e.call("GET", "/__emulator/state")
  t.eq({ #state.outbox, state.runs.stored }, { 0, 0 })
end)

t.test("troubles: torn and reset answers ask for a cut connection", function()
  local e = start()
  local body = json.encode { model = "gpt-4o", stream = true, messages = json.array { user "hi" } }
  local headers = { authorization = "Bearer " .. e.env.OPENAI_API_KEY, ["x-agenthost-trouble"] = "torn; bytes=10" }
  local _, _, answer = e.raw("POST", "/v1/chat/completions", body, headers)
  t.eq({ table.concat(answer.chunks), answer.cut }, { 'data: {"id', true })
  headers["x-agenthost-trouble"] = "reset"
  _, _, answer = e.raw("POST", "/v1/chat/completions", body, headers)
  t.eq({ #answer.chunks, answer.cut }, { 0, true })
end)

t.test("scenarios: data, rules, model, faults in them", function()
  local e = start { scenario = { mails = { { from = "a@b.example", subject = "Only one", body = "x" } },
    rules = { { when = "ping", answer = "pong" } },
      accounts = { { connector = "gmail", identifier = "u", status = "EXPIRED" } } } }
  local _, body = e.chat { messages = json.array { user "ping!" } }
  t.eq(body.choices[1].message.content, "pong")
  _, body = e.sk("GET", "/connected_accounts/details?connector=gmail&identifier=u")
  t.eq(body.connected_account.status, "EXPIRED")
  t.eq((e.sk("GET", "/connected_accounts/details?connector=gmail&identifier=v")), 404)
  t.raises("no field \"mail\"", app_of.new, { scenario = { mail = {} } })
  t.raises("must be a table", app_of.new, { scenario = { mails = "x" } })
  t.raises("no service is called", app_of.new, { services = { "slack" } })
  local only = start { services = { "openai" } }
  t.eq(only.env.SCALEKIT_CLIENT_ID, nil)
  t.eq((only.call("GET", "/info")), 404)
end)

t.test("two emulators share nothing and the same seed says the same", function()
  local a, b = start(), start()
  local _, one, _, raw_a = a.chat { messages = json.array { user "hi" } }
  local _, _, _, raw_b = b.chat { messages = json.array { user "hi" } }
  t.eq(raw_a, raw_b)
  local other = start { seed = 7 }
  local _, two = other.chat { messages = json.array { user "hi" } }
  t.ok(one.id ~= two.id)
  a.sk("POST", "/execute_tool", { tool_name = "slack_send_message", identifier = "u",
    params = { channel = "general", text = "x" } })
  local _, state = b.call("GET", "/__emulator/state")
  t.eq(#state.slack, 0)
end)

-- over loopback ------------------------------------------------------------------------------------------

local found, http = pcall(require, "host.http")
if found then
  local emulator = require "emulator"

  t.test("start listens, answers, and closes", function()
    t.raises("unknown option", emulator.start, { prot = 1 })
    local e = assert(emulator.start { port = 0 })
    t.match(e.url, "^http://127%.0%.0%.1:%d+$")
    local res = assert(http.get(e.url .. "/info"))
    t.eq(res:json().instance_flags.zstd_compression_enabled, true)
    local _, err = http.post(e.url .. "/v1/chat/completions", { json = { model = "gpt-4o" }, retry = false })
    t.eq(err.status, 401)
    e.close()
    local gone, refused = http.get(e.url .. "/info", { retry = false })
    t.eq({ gone, refused.kind }, { nil, "network" })
  end)

  t.test("a reset and a torn stream reach the client as broken connections", function()
    local e = assert(emulator.start { open = true })
    local function ask(trouble)
      return http.post(e.url .. "/v1/chat/completions", { retry = false,
        headers = { authorization = "Bearer x", ["x-agenthost-trouble"] = trouble },
        json = { model = "gpt-4o", stream = true, messages = json.array { user "hi" } } })
    end
    local res = assert(ask "slow; seconds=0.01")
    t.match(res.body, "%[DONE%]")
    for _, trouble in ipairs { "torn", "reset" } do
      local broken, err = ask(trouble)
      t.eq({ trouble, broken }, { trouble, nil })
      t.ok(err.kind ~= "timeout")
    end
    e.close()
  end)
end

t.done()
