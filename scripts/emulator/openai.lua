-- OpenAI's chat completions and models: checks a request as the service does, asks model.lua for an answer,
-- writes it whole or as a stream. Called by app.lua. Never looks at what the answer is about.
local json = require "host.json"
local model = require "emulator.model"
local reply = require "emulator.reply"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given, is_object, is_array = world_of.given, world_of.is_object, world_of.is_array
local M = {}

local MAX_TOOLS = 128
local SNAPSHOTS = {
  ["gpt-4o"] = "gpt-4o-2024-08-06", ["gpt-4o-mini"] = "gpt-4o-mini-2024-07-18", ["gpt-4.1"] = "gpt-4.1-2025-04-14",
  ["gpt-4.1-mini"] = "gpt-4.1-mini-2025-04-14", ["gpt-3.5-turbo"] = "gpt-3.5-turbo-0125",
}
local LISTED = { "gpt-3.5-turbo", "gpt-4.1", "gpt-4.1-mini", "gpt-4o", "gpt-4o-mini", "o4-mini" }
local ROLES = { system = true, developer = true, user = true, assistant = true, tool = true, ["function"] = true }

local function refuse(param, code, message) return { reply.openai(400, "invalid_request_error", code, param,
  message) } end

local function mask_key(key)
  if #key <= 8 then return "****" end
  return key:sub(1, 4) .. "****" .. key:sub(-4)
end

-- nil when the request carries the key, else an answer.
function M.refuse(self, request)
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

local function known_model(self, name)
  if self.models[name] or SNAPSHOTS[name] then return true end
  return name:find("^gpt%-") ~= nil or name:find("^o%d") ~= nil or name:find("^chatgpt%-") ~= nil
end

local function is_reasoning(name) return name:find("^o%d") ~= nil or name:find("^gpt%-5") ~= nil end

local function no_model(name)
  return { reply.openai(404, "invalid_request_error", "model_not_found", nil,
    ("The model `%s` does not exist or you do not have access to it."):format(name)) }
end

-- Checks, each nil or an answer -------------------------------------------------------------------------

local function check_tools(body)
  local tools = given(body.tools)
  if tools == nil then
    if given(body.parallel_tool_calls) ~= nil then
      return refuse("parallel_tool_calls", nil,
        "Invalid value for 'parallel_tool_calls': 'parallel_tool_calls' is only allowed when 'tools' are specified.")
    end
    if given(body.tool_choice) ~= nil and body.tool_choice ~= "none" then
      return refuse("tool_choice", nil,
        "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.")
    end
    return nil
  end
  if not is_array(tools) then return refuse("tools", "invalid_type", "Invalid type for 'tools': expected an array.") end
  if #tools == 0 then
    return refuse("tools", "empty_array",
      "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array instead.")
  end
  if #tools > MAX_TOOLS then
    return refuse("tools", "array_above_max_length",
      ("Invalid 'tools': array too long. Expected an array with maximum length "
      .. "128, but got an array with length %d instead."):format(#tools))
  end
  for i, tool in ipairs(tools) do
    local at = ("tools[%d]"):format(i - 1)
    local f = is_object(tool) and (tool["function"] or tool.custom)
    if not is_object(f) or (tool.type ~= "function" and tool.type ~= "custom") then
      return refuse(at .. ".type", "invalid_value",
        ("Invalid value for '%s.type': expected 'function' or 'custom' and its member."):format(at))
    end
    local where = ("%s.%s"):format(at, tool.type)
    if type(f.name) ~= "string" or f.name == "" then
      return refuse(where .. ".name", "missing_required_parameter",
        ("Missing required parameter: '%s.name'."):format(where))
    end
    if f.name:find("[^%w_%-]") then
      return refuse(where .. ".name", "invalid_value",
        ("Invalid '%s.name': string does not match pattern. Expected a string that "
        .. "matches the pattern '^[a-zA-Z0-9_-]+$'."):format(where))
    end
    if #f.name > 64 then
      return refuse(where .. ".name", "string_above_max_length",
        ("Invalid '%s.name': string too long. Expected a string with "
        .. "maximum length 64, but got a string with length %d instead."):format(where, #f.name))
    end
    local schema = given(f.parameters)
    if schema ~= nil then
      local reason
      if not is_object(schema) then reason = "schema must be an object"
      elseif schema.type ~= "object" then
        reason = ("schema must be a JSON Schema of 'type: \"object\"', got 'type: "
          .. "\"%s\"'"):format(tostring(given(schema.type) or "None"))
      elseif not is_object(schema.properties) then reason = "object schema missing properties" end
      if reason then
        return refuse(where .. ".parameters", "invalid_function_parameters",
          ("Invalid schema for function '%s': In context=(), %s."):format(f.name, reason))
      end
    end
  end
  return nil
end

local function check_choice(body)
  local choice = given(body.tool_choice)
  if choice == nil or not given(body.tools) then return nil end
  if type(choice) == "string" then
    if choice == "none" or choice == "auto" or choice == "required" then return nil end
    return refuse("tool_choice", "invalid_value",
      ("Invalid value: '%s'. Supported values are: 'none', 'auto', and 'required'."):format(choice))
  end
  local named = is_object(choice) and given(choice["function"] or choice.custom)
  if is_object(choice) and choice.type == "allowed_tools" then return nil end
  if not is_object(named) or type(named.name) ~= "string" then
    return refuse("tool_choice", "invalid_type", "Invalid type for 'tool_choice': it names no function.")
  end
  for _, tool in ipairs(body.tools) do
    if (tool["function"] or tool.custom).name == named.name then return nil end
  end
  return refuse("tool_choice", nil, ("Invalid value for 'tool_choice': '%s' is not one of 'tools'."):format(named.name))
end

local function check_content(m, i)
  local content = given(m.content)
  if content == nil and m.role == "assistant" and (given(m.tool_calls) or given(m.function_call)
    or given(m.refusal)) then return nil end
  if type(content) == "string" then return nil end
  local at = ("messages.[%d].content"):format(i - 1)
  if not is_array(content) or #content == 0 then
    return refuse(at, nil, ("Invalid value for 'content': expected a string, got %s."):format(content == nil
      and "null" or "another type"))
  end
  for _, part in ipairs(content) do
    if not is_object(part) or type(part.type) ~= "string" then
      return refuse(at, nil, "Invalid value for 'content': each part needs a type.")
    end
    if m.role == "tool" and part.type ~= "text" then
      return refuse(at, "invalid_value", "Invalid value: a tool message may hold text parts only.")
    end
  end
  return nil
end

-- The rule of pairs: calls are answered at once, each of them, and answers follow calls.
local function check_pairs(messages)
  local waiting
  local function unanswered()
    local left = {}
    for id in pairs(waiting or {}) do left[#left + 1] = id end
    if #left == 0 then return nil end
    table.sort(left)
    return refuse("messages", nil,
      "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
      .. "'tool_call_id'. The following tool_call_ids did not have response messages: " .. table.concat(left, ", "))
  end
  for i, m in ipairs(messages) do
    if m.role == "tool" then
      if type(given(m.tool_call_id)) ~= "string" then
        return refuse(("messages.[%d].tool_call_id"):format(i - 1), "missing_required_parameter",
          ("Missing required parameter: 'messages[%d].tool_call_id'."):format(i - 1))
      end
      if not waiting or not waiting[m.tool_call_id] then
        return refuse(("messages.[%d].role"):format(i - 1), nil,
          "Invalid parameter: messages with role 'tool' must be a response to a preceding message with 'tool_calls'.")
      end
      waiting[m.tool_call_id] = nil
    else
      local bad = unanswered()
      if bad then return bad end
      waiting = nil
      local calls = given(m.tool_calls)
      if m.role == "assistant" and calls then
        if not is_array(calls) or #calls == 0 then
          return refuse(("messages.[%d].tool_calls"):format(i - 1), "empty_array",
            ("Invalid 'messages[%d].tool_calls': empty array."):format(i - 1))
        end
        if #calls > MAX_TOOLS then
          return refuse(("messages.[%d].tool_calls"):format(i - 1), "array_above_max_length",
            ("Invalid 'messages[%d].tool_calls': "
            .. "array too long. Expected an array with maximum length 128, but got an array with length %d "
            .. "instead."):format(i - 1, #calls))
        end
        waiting = {}
        for k, call in ipairs(calls) do
          local f = is_object(call) and (call["function"] or call.custom)
          if not is_object(f) or type(call.id) ~= "string" or type(f.name) ~= "string"
            or type(f.arguments or f.input) ~= "string" then
            return refuse(("messages.[%d].tool_calls.[%d]"):format(i - 1, k - 1), "invalid_type",
              ("Invalid type for 'messages[%d].tool_calls[%d]': a call has an id, a name and arguments as "
                .. "text."):format(i - 1, k - 1))
          end
          waiting[call.id] = true
        end
      end
    end
  end
  return unanswered()
end

local function check_messages(body)
  local messages = given(body.messages)
  if messages == nil then return refuse("messages", "missing_required_parameter",
    "Missing required parameter: 'messages'.") end
  if not is_array(messages) then
    return refuse("messages", "invalid_type", "Invalid type for 'messages': expected an array.") end
  if #messages == 0 then
    return refuse("messages", "empty_array",
      "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.")
  end
  for i, m in ipairs(messages) do
    if not is_object(m) or not ROLES[m.role] then
      return refuse(("messages[%d].role"):format(i - 1), "invalid_value",
        ("Invalid value: '%s'. Supported values are: 'system', "
        .. "'assistant', 'user', 'function', 'tool', and 'developer'."):format(is_object(m) and tostring(m.role)
          or "?"))
    end
    local bad = check_content(m, i)
    if bad then return bad end
  end
  return check_pairs(messages)
end

local function check_range(body, name, low, high)
  local v = given(body[name])
  if v == nil then return nil end
  if type(v) ~= "number" then return refuse(name, "invalid_type",
    ("Invalid type for '%s': expected a number."):format(name)) end
  if v < low then
    return refuse(name, "decimal_below_min_value",
      ("Invalid '%s': decimal below minimum value. Expected a value >= %g, but got %g instead."):format(name, low, v))
  elseif v > high then
    return refuse(name, "decimal_above_max_value",
      ("Invalid '%s': decimal above maximum value. Expected a value <= %g, but got %g instead."):format(name, high, v))
  end
  return nil
end

local function check_settings(body)
  local bad = check_range(body, "temperature", 0, 2) or check_range(body, "top_p", 0, 1) or check_range(body, "n", 1,
    128)
    or check_range(body, "frequency_penalty", -2, 2) or check_range(body, "presence_penalty", -2, 2)
    or check_range(body, "top_logprobs", 0, 20) or check_range(body, "max_tokens", 1, math.huge)
    or check_range(body, "max_completion_tokens", 1, math.huge)
  if bad then return bad end
  if given(body.top_logprobs) and body.logprobs ~= true then
    return refuse("top_logprobs", nil,
      "Invalid value for 'top_logprobs': 'logprobs' must be true when 'top_logprobs' is set.")
  end
  if given(body.stream_options) ~= nil and body.stream ~= true then
    return refuse("stream_options", nil, "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
  end
  if is_reasoning(body.model) then
    if given(body.max_tokens) then
      return refuse("max_tokens", "unsupported_parameter",
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.")
    end
    if given(body.temperature) and body.temperature ~= 1 then
      return refuse("temperature", "unsupported_value",
        ("Unsupported value: 'temperature' does not support %g with this model. "
        .. "Only the default (1) value is supported."):format(body.temperature))
    end
  end
  local format = given(body.response_format)
  if format ~= nil then
    local kind = is_object(format) and format.type
    if kind ~= "text" and kind ~= "json_object" and kind ~= "json_schema" then
      return refuse("response_format", "invalid_value", "Invalid value for 'response_format.type'.")
    end
    if kind == "json_schema" and not (is_object(given(format.json_schema))
      and type(format.json_schema.name) == "string") then
      return refuse("response_format.json_schema", "missing_required_parameter",
        "Missing required parameter: 'response_format.json_schema.name'.")
    end
    if kind == "json_object" and not (json.encode(body.messages) or ""):lower():find("json", 1, true) then
      return refuse("messages", nil,
        "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.")
    end
  end
  return nil
end

local function check(self, request)
  local body = request:object()
  if not body then
    return nil, { reply.openai(400, "invalid_request_error", nil, nil,
      "The body of the request could not be read as a JSON object.") }
  end
  if type(given(body.model)) ~= "string" or body.model == "" then
    return nil, refuse(nil, nil, "you must provide a model parameter")
  end
  if not known_model(self, body.model) then return nil, no_model(body.model) end
  local bad = check_messages(body) or check_tools(body) or check_choice(body) or check_settings(body)
  if bad then return nil, bad end
  return body
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
  local question = model.read { messages = body.messages, tools = {} }.question
  return json.encode(model.fill({ parameters = format.json_schema.schema }, question))
end

local function make_message(self, body, request)
  local tools, choice = offered(body)
  local answer = model.answer({ messages = body.messages, tools = tools, choice = choice, body = body }, self.scenario)
  local message = { role = "assistant", content = json.null, refusal = json.null, annotations = json.array {} }
  local finish = "stop"
  local said = answer.calls and answer.text or shaped(body, answer)
  if said then message.content = said end
  if answer.refusal then message.refusal, message.content = answer.refusal, json.null end
  if answer.calls then
    message.tool_calls = json.array {}
    for i, call in ipairs(answer.calls) do
      if body.parallel_tool_calls == false and i > 1 then break end
      message.tool_calls[i] = { id = "call_" .. self.world:alnum(24), type = "function",
        ["function"] = { name = call.name, arguments = call.raw or assert(json.encode(call.args or {})) } }
    end
    finish = answer.forced and "stop" or "tool_calls"
  end
  local trouble = request.trouble and request.trouble.what
  if trouble == "bad_arguments" or trouble == "cut_arguments" then
    for _, call in ipairs(message.tool_calls or {}) do
      local f = call["function"]
      f.arguments = trouble == "bad_arguments" and '{"broken": ' or f.arguments:sub(1, #f.arguments // 2)
    end
    finish = trouble == "cut_arguments" and "length" or finish
  end
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

local function pieces(s, pattern, size)
  local list = {}
  if pattern then
    for piece in s:gmatch(pattern) do list[#list + 1] = piece end
  else
    while #s > 0 do
      local piece = text.cut(s, size)
      list[#list + 1] = piece
      s = s:sub(#piece + 1)
    end
  end
  return list
end

-- Chunks are written key by key, in the service's order, so that streams can be compared byte by byte.
local function stream_chunks(head, message, finish, usage, body, trouble)
  local options = given(body.stream_options) or {}
  local tail = options.include_usage and ',"usage":null' or ""
  local chunks = {}
  local q = function(v) return assert(json.encode(v)) end
  local function data(rest) chunks[#chunks + 1] = ("data: {%s,%s}\n\n"):format(head, rest) end
  local function delta(index, members, reason)
    data(('"choices":[{"index":%d,"delta":{%s},"logprobs":null,"finish_reason":%s}]%s'):format(index, members,
      reason or "null", tail))
  end
  for index = 0, math.tointeger(given(body.n) or 1) - 1 do
    local content = message.content ~= json.null and message.content or nil
    delta(index, ('"role":"assistant","content":%s,"refusal":null'):format(content and '""' or "null"))
    for _, piece in ipairs(content and pieces(content, "%s*%S+%s*") or {}) do delta(index, '"content":' .. q(piece)) end
    if message.refusal ~= json.null then delta(index, '"refusal":' .. q(message.refusal)) end
    for k, call in ipairs(message.tool_calls or {}) do
      local opening = '"tool_calls":[{"index":%d,"id":%s,"type":"function","function":{"name":%s,"arguments":""}}]'
      delta(index, opening:format(k - 1, q(call.id), q(call["function"].name)))
      for _, piece in ipairs(pieces(call["function"].arguments, nil, 14)) do
        delta(index, ('"tool_calls":[{"index":%d,"function":{"arguments":%s}}]'):format(k - 1, q(piece)))
      end
    end
    if trouble == "error_event" then
      chunks[#chunks + 1] = 'data: {"error":{"message":"The server had an error while processing your request '
        .. '(emulated).",'
        .. '"type":"server_error","param":null,"code":null}}\n\n'
      return chunks
    end
    if trouble ~= "no_finish" then delta(index, "", q(finish)) end
  end
  if options.include_usage then data('"choices":[],"usage":' .. q(usage)) end
  if trouble ~= "no_done" then chunks[#chunks + 1] = "data: [DONE]\n\n" end
  return chunks
end

local function post_chat(self, request)
  local body, refused = check(self, request)
  if not body then return table.unpack(refused) end
  local message, finish = make_message(self, body, request)
  local usage = usage_of(body, message)
  if usage.prompt_tokens > self.scenario.context_tokens then
    return reply.openai(400, "invalid_request_error", "context_length_exceeded", "messages",
      ("This model's maximum context length "
      .. "is %d tokens. However, your messages resulted in %d tokens. Please reduce the length of the "
      .. "messages."):format(
      self.scenario.context_tokens, usage.prompt_tokens))
  end
  local id, created = "chatcmpl-" .. self.world:alnum(29), math.floor(self.world:now())
  local name = SNAPSHOTS[body.model] or body.model
  local print = "fp_" .. self.world:hex(10)
  if body.stream == true then
    local head = ('"id":"%s","object":"chat.completion.chunk","created":%d,"model":%s,"service_tier":"default",'
      .. '"system_fingerprint":"%s"'):format(id, created, json.encode(name), print)
    local chunks = stream_chunks(head, message, finish, usage, body, request.trouble and request.trouble.what)
    return 200, headers_of(self, "text/event-stream; charset=utf-8"), { chunks = chunks }
  end
  local choices = json.array {}
  for i = 1, math.tointeger(given(body.n) or 1) do
    choices[i] = { index = i - 1, message = message, logprobs = json.null, finish_reason = finish }
  end
  return reply.json(200, { id = id, object = "chat.completion", created = created, model = name, choices = choices,
    usage = usage,
    service_tier = "default", system_fingerprint = print }, headers_of(self, "application/json"))
end

local function show_model(name) return { id = name, object = "model", created = 1715367049, owned_by = "emulator" } end

local function get_models(self)
  local rows = json.array {}
  for _, name in ipairs(LISTED) do rows[#rows + 1] = show_model(name) end
  for _, name in ipairs(self.scenario.models) do rows[#rows + 1] = show_model(name) end
  return reply.json(200, { object = "list", data = rows }, headers_of(self, "application/json"))
end

local function get_model(self, request)
  if not known_model(self, request.params.id) then return table.unpack(no_model(request.params.id)) end
  return reply.json(200, show_model(request.params.id), headers_of(self, "application/json"))
end

function M.new(world, scenario)
  local self = { world = world, scenario = scenario, models = {}, requests = 0 }
  for _, name in ipairs(scenario.models) do self.models[name] = true end
  return self
end

function M.install(self, app)
  for _, prefix in ipairs { "/v1", "" } do
    app:route("openai", "chat", "POST", prefix .. "/chat/completions", function(r) return post_chat(self, r) end)
    app:route("openai", "models", "GET", prefix .. "/models", function() return get_models(self) end)
    app:route("openai", "models", "GET", prefix .. "/models/{id}", function(r) return get_model(self, r) end)
  end
end

return M
