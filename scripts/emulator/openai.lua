-- OpenAI's chat completions and models: has a request checked as the service does, asks model.lua for an answer,
-- gives it whole or as a stream. Called by app.lua. Never looks at what the answer is about.
local json = require "host.json"
local check = require "emulator.openai_check"
local embeddings = require "emulator.embeddings"
local gateway = require "emulator.gateway"
local model = require "emulator.model"
local moderations = require "emulator.moderations"
local output = require "emulator.output"
local reply = require "emulator.reply"
local responses = require "emulator.responses"
local stream = require "emulator.openai_stream"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given, is_object = world_of.given, world_of.is_object
local M = {}

local LISTED = { "gpt-3.5-turbo", "gpt-4.1", "gpt-4.1-mini", "gpt-4o", "gpt-4o-mini", "o4-mini",
  "omni-moderation-latest", "text-embedding-3-large", "text-embedding-3-small", "text-embedding-ada-002" }

local function mask_key(key)
  if #key <= 8 then return "****" end
  return key:sub(1, 4) .. "****" .. key:sub(-4)
end

-- nil when the request carries the key, else an answer.
function M.refuse(self, request)
  if self.gateway then return gateway.refuse(self, request) end
  local key = (request.headers.authorization or ""):match("^[Bb]earer%s+(.-)%s*$")
  if not key or key == "" then
    return { reply.openai(401, "invalid_request_error", nil, nil,
      "No API key was given. Send it as a header: Authorization: Bearer YOUR_KEY.") }
  end
  if self.world.open or key == self.world.keys.openai then return nil end
  return { reply.openai(401, "invalid_request_error", "invalid_api_key", nil,
    ("Incorrect API key provided: %s. You can find "
    .. "your API key at https://platform.openai.com/account/api-keys."):format(mask_key(key))) }
end

-- The answer --------------------------------------------------------------------------------------------

local function count(s) return (#s + 3) // 4 end -- "tokens": a quarter of the bytes, rounded up

local function offered(body)
  local list, allowed = {}, nil
  local choice = given(body.tool_choice)
  if is_object(choice) and choice.type == "allowed_tools" then
    allowed = {}
    for _, t in ipairs(choice.allowed_tools.tools) do allowed[(t["function"] or t).name] = true end
    choice = choice.allowed_tools.mode
  elseif is_object(choice) then
    choice = (choice["function"] or choice.custom).name
  end
  for _, tool in ipairs(given(body.tools) or {}) do
    local f = tool["function"] or tool.custom
    if not allowed or allowed[f.name] then
      list[#list + 1] = { name = f.name, description = given(f.description), parameters = given(f.parameters) }
    end
  end
  return list, choice or "auto"
end

-- Text in the form that response_format asks for.
local function shaped(body, answer)
  local format = given(body.response_format)
  if not format or format.type == "text" or answer.calls then return answer.text end
  if type(answer.text) == "string" and is_object(json.decode(answer.text)) then return answer.text end
  if format.type == "json_object" then return json.encode { emulated = true, answer = answer.text } end
  return json.encode(output.fill(format.json_schema.schema, body.messages, answer.text))
end

-- What the model says: its rules, or what a gateway's mock keys put there.
local function ask(self, body, mock)
  if mock and mock.calls then
    local calls = {}
    for i, call in ipairs(mock.calls) do
      local f = call["function"] or {}
      calls[i] = { name = f.name or "unnamed", raw = f.arguments or "{}", id = call.id }
    end
    return { calls = calls }
  elseif mock and mock.text then
    return { text = mock.text }
  end
  local tools, choice = offered(body)
  return model.answer({ messages = body.messages, tools = tools, choice = choice, body = body }, self.scenario,
    self.voices[body.model])
end

-- Arguments as broken models and servers send them. Objects in the place of texts are the writer's business.
local BAD_ARGUMENTS = {
  bad_arguments = function() return '{"broken": ' end,
  cut_arguments = function(s) return s:sub(1, #s // 2) end,
  empty_arguments = function() return "" end,
  list_arguments = function() return "[1,2]" end,
  control_arguments = function() return '{"text":"two\nlines"}' end,
}

local function make_message(self, body, has, mock)
  local answer = ask(self, body, mock)
  local message = { role = "assistant", content = json.null, refusal = json.null, annotations = json.array {} }
  local finish = "stop"
  local said = answer.calls and answer.text or shaped(body, answer)
  if said then message.content = said end
  if answer.refusal then message.refusal, message.content = answer.refusal, json.null end
  if answer.calls then
    message.tool_calls = json.array {}
    for i, call in ipairs(answer.calls) do
      if body.parallel_tool_calls == false and i > 1 then break end
      message.tool_calls[i] = { id = call.id or "call_" .. self.world:alnum(24), type = "function",
        ["function"] = { name = call.name, arguments = call.raw or assert(json.encode(call.args or {})) } }
    end
    finish = answer.forced and "stop" or "tool_calls"
  end
  for kind, spoil in pairs(BAD_ARGUMENTS) do
    for _, call in ipairs(has(kind) and message.tool_calls or {}) do
      call["function"].arguments = spoil(call["function"].arguments)
    end
  end
  if has "cut_arguments" then finish = "length" end
  local limit = given(body.max_completion_tokens) or given(body.max_tokens)
  if limit and type(message.content) == "string" and count(message.content) > limit then
    message.content, finish = text.cut(message.content, limit * 4), "length"
  end
  return message, answer.finish or finish
end

local function usage_of(body, message)
  local sent = count(assert(json.encode(body.messages))) + (given(body.tools)
    and count(assert(json.encode(body.tools))) or 0)
  local made = type(message.content) == "string" and count(message.content) or 0
  for _, call in ipairs(message.tool_calls or {}) do
    made = made + count(call["function"].name .. call["function"].arguments) end
  made = math.max(made, 1) * math.tointeger(given(body.n) or 1)
  return {
    prompt_tokens = sent, completion_tokens = made, total_tokens = sent + made,
    prompt_tokens_details = { cached_tokens = 0, audio_tokens = 0 },
    completion_tokens_details = { reasoning_tokens = 0, audio_tokens = 0, accepted_prediction_tokens = 0,
      rejected_prediction_tokens = 0 },
  }
end

local function headers_of(self, kind)
  self.requests = self.requests + 1
  local left = 10000 - self.requests % 10000
  return {
    ["content-type"] = kind, ["x-request-id"] = "req_" .. self.world:hex(32), ["openai-processing-ms"] = "7",
    ["openai-version"] = "2020-10-01", ["openai-organization"] = "emulator",
    ["x-ratelimit-limit-requests"] = "10000", ["x-ratelimit-limit-tokens"] = "2000000",
    ["x-ratelimit-remaining-requests"] = ("%d"):format(left), ["x-ratelimit-remaining-tokens"] = "1999000",
    ["x-ratelimit-reset-requests"] = "6ms", ["x-ratelimit-reset-tokens"] = "30ms",
  }
end
M.headers_of = headers_of

-- Headers, id and name of an answer: a gateway gives the alias back, the service the dated snapshot.
local function identity(self, body)
  return { id = "chatcmpl-" .. self.world:alnum(29), created = math.floor(self.world:now()),
    name = self.gateway and body.model or check.SNAPSHOTS[body.model] or body.model, print = "fp_"
      .. self.world:hex(10) }
end

local function answer_stream(self, request, body, answer, me, mock)
  answer.head = ('"id":"%s","object":"chat.completion.chunk","created":%d,"model":%s,"service_tier":"default",'
    .. '"system_fingerprint":"%s"'):format(me.id, me.created, json.encode(me.name), me.print)
  local has, trouble = request.has, request.trouble or {}
  if self.gateway then
    if request.cost then answer.usage.cost = request.cost end
    answer.error_text = gateway.message(500, nil, "The server had an error while processing your request (emulated).")
    if mock and mock.stream_error then
      trouble = { message = "litellm.APIError: mock_streaming_error" }
      has = function(kind) return kind == "error_event" or request.has(kind) end
    end
  end
  return 200, headers_of(self, "text/event-stream; charset=utf-8"),
    { chunks = stream.chunks(answer, body, has, trouble), wait = mock and mock.wait }
end

-- The body of a whole answer. Arguments that are an object are written as such.
local function answer_whole(self, request, body, answer, me)
  local has, message = request.has, answer.message
  if has "object_arguments" then
    for _, call in ipairs(message.tool_calls or {}) do
      call["function"].arguments = json.decode(call["function"].arguments)
    end
  end
  local choices = json.array {}
  for i = 1, has "empty_choices" and 0 or math.tointeger(given(body.n) or 1) do
    choices[i] = { index = i - 1, message = message, logprobs = json.null,
      finish_reason = has "odd_finish" and "end_turn" or has "no_finish" and json.null or answer.finish }
  end
  return reply.json(200, { id = me.id, object = "chat.completion", created = me.created, model = me.name,
    choices = choices, usage = not has "no_usage" and answer.usage or nil,
    service_tier = "default", system_fingerprint = me.print }, headers_of(self, "application/json"))
end

local function post_chat(self, request)
  local body, refused = check.chat(self, request)
  if not body then return table.unpack(refused) end
  request.model_name = body.model
  local mock = self.gateway and gateway.mock(body) or nil
  if mock and mock.refused then return table.unpack(mock.refused) end
  if mock and mock.whole then return reply.json(200, mock.whole, headers_of(self, "application/json")) end
  local message, finish = make_message(self, body, request.has, mock)
  local usage = mock and (mock.text or mock.calls) and mock.usage or usage_of(body, message)
  if usage.prompt_tokens > self.scenario.context_tokens then
    return reply.openai(400, "invalid_request_error", "context_length_exceeded", "messages",
      ("This model's maximum context length "
      .. "is %d tokens. However, your messages resulted in %d tokens. Please reduce the length of the "
      .. "messages."):format(
      self.scenario.context_tokens, usage.prompt_tokens))
  end
  if self.gateway then
    request.cost = gateway.cost(body.model, usage)
    self.spend = self.spend + (request.cost or 0)
  end
  local answer, me = { message = message, finish = finish, usage = usage }, identity(self, body)
  if body.stream == true then return answer_stream(self, request, body, answer, me, mock) end
  local status, headers, out = answer_whole(self, request, body, answer, me)
  if mock and mock.wait then out = { chunks = { out }, wait = mock.wait } end
  return status, headers, out
end

local function show_model(name) return { id = name, object = "model", created = 1715367049, owned_by = "emulator" } end

local function get_models(self)
  local rows = json.array {}
  for i, name in ipairs(self.names()) do rows[i] = show_model(name) end
  return reply.json(200, { object = "list", data = rows }, headers_of(self, "application/json"))
end

local function get_model(self, request)
  local name = request.params.id
  if not check.known_model(self, name) and not embeddings.is_model(name) and not name:find("moderation", 1, true) then
    return table.unpack(check.no_model(self, name, "/models"))
  end
  return reply.json(200, show_model(request.params.id), headers_of(self, "application/json"))
end

-- A model of the scenario: a name alone, or with what it says (a function) or what goes wrong with it (a trouble).
local function add_model(self, name, behaviour)
  if math.type(name) == "integer" then name, behaviour = behaviour, nil end
  local kind, trouble = type(behaviour), {}
  if type(name) ~= "string" or not (kind == "nil" or kind == "function" or kind == "string" or kind == "table") then
    error("models of a scenario are names, or name = a function or a trouble", 0)
  end
  self.models[name] = true
  if kind == "function" then
    self.voices[name] = behaviour
  elseif kind == "string" then
    self.troubles[#self.troubles + 1] = ("%s; model=%s"):format(behaviour, name)
  elseif kind == "table" then
    for k, v in pairs(behaviour) do trouble[k] = v end
    trouble.model = name
    self.troubles[#self.troubles + 1] = trouble
  end
end

function M.new(world, scenario)
  local self = { world = world, scenario = scenario, models = {}, voices = {}, troubles = {}, requests = 0, spend = 0,
    gateway = scenario.gateway ~= false }
  if scenario.gateway == true then scenario.gateway = {} end
  for k, v in pairs(scenario.models) do add_model(self, k, v) end
  function self.names()
    local own = {}
    for name in pairs(self.models) do own[#own + 1] = name end
    table.sort(own)
    local names = table.move(LISTED, 1, #LISTED, 1, {})
    return table.move(own, 1, #own, #names + 1, names)
  end
  return self
end

function M.install(self, app)
  local function headers() return headers_of(self, "application/json") end
  local function chat(r) return post_chat(self, r) end
  local function embed(r)
    return embeddings.answer(self, r, function(name) return check.no_model(self, name, "/embeddings") end, headers)
  end
  for _, prefix in ipairs { "/v1", "" } do
    app:route("openai", "chat", "POST", prefix .. "/chat/completions", chat)
    app:route("openai", "embeddings", "POST", prefix .. "/embeddings", embed)
    app:route("openai", "moderations", "POST", prefix .. "/moderations",
      function(r) return moderations.answer(self, r, headers) end)
    app:route("openai", "models", "GET", prefix .. "/models", function() return get_models(self) end)
    app:route("openai", "models", "GET", prefix .. "/models/{id}", function(r) return get_model(self, r) end)
  end
  responses.install(self, app, {
    make = function(body, has) return make_message(self, body, has) end,
    usage = usage_of,
    headers = function(kind) return headers_of(self, kind) end,
    name = function(body) return self.gateway and body.model or check.SNAPSHOTS[body.model] or body.model end,
  })
  if self.gateway then
    app:route("openai", "chat", "POST", "/engines/{model}/chat/completions", chat)
    app:route("openai", "chat", "POST", "/openai/deployments/{model}/chat/completions", chat)
    gateway.install(self, app, self.names)
  end
end

return M
