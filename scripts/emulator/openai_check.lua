-- What OpenAI refuses of a chat request, with its words, codes and places. Called by openai.lua.
local json = require "host.json"
local gateway = require "emulator.gateway"
local reply = require "emulator.reply"
local world_of = require "emulator.world"

local given, is_object, is_array = world_of.given, world_of.is_object, world_of.is_array
local M = {}

local MAX_TOOLS = 128
M.SNAPSHOTS = {
  ["gpt-4o"] = "gpt-4o-2024-08-06", ["gpt-4o-mini"] = "gpt-4o-mini-2024-07-18", ["gpt-4.1"] = "gpt-4.1-2025-04-14",
  ["gpt-4.1-mini"] = "gpt-4.1-mini-2025-04-14", ["gpt-3.5-turbo"] = "gpt-3.5-turbo-0125",
}
local ROLES = { system = true, developer = true, user = true, assistant = true, tool = true, ["function"] = true }

local function refuse(param, code, message) return { reply.openai(400, "invalid_request_error", code, param,
  message) } end

function M.known_model(self, name)
  if self.models[name] or M.SNAPSHOTS[name] then return true end
  return name:find("^gpt%-") ~= nil or name:find("^o%d") ~= nil or name:find("^chatgpt%-") ~= nil
end

local function is_reasoning(name) return name:find("^o%d") ~= nil or name:find("^gpt%-5") ~= nil end

function M.no_model(self, name, path)
  if self.gateway then return gateway.no_model(name, path or "/chat/completions") end
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

-- What each part must hold, as texts inside the member of its name; true: the member is the text.
local PARTS = { text = true, refusal = true, image_url = { "url" }, input_audio = { "data", "format" }, file = {} }

local function check_part(part, at)
  local needs, value = PARTS[part.type], given(part[part.type])
  if needs == nil then
    return refuse(at .. ".type", "invalid_value", ("Invalid value: '%s'. Supported values are: 'text', 'image_url', "
      .. "'input_audio', 'refusal', and 'file'."):format(part.type))
  end
  local where, wrong = at .. "." .. part.type, value == nil
  if needs == true then
    wrong = type(value) ~= "string"
  else
    for _, name in ipairs(is_object(value) and needs or {}) do
      if type(given(value[name])) ~= "string" then where, wrong = where .. "." .. name, true end
    end
    wrong = wrong or not is_object(value)
  end
  if part.type == "file" and not wrong and not given(value.file_id) and not given(value.file_data) then
    where, wrong = where .. ".file_id", true
  end
  if wrong then
    return refuse(where, "missing_required_parameter", ("Missing required parameter: '%s'."):format(where))
  end
  return nil
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
  for k, part in ipairs(content) do
    if not is_object(part) or type(part.type) ~= "string" then
      return refuse(at, nil, "Invalid value for 'content': each part needs a type.")
    end
    if m.role == "tool" and part.type ~= "text" then
      return refuse(at, "invalid_value", "Invalid value: a tool message may hold text parts only.")
    end
    local bad = check_part(part, ("%s[%d]"):format(at, k - 1))
    if bad then return bad end
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

-- The body of a request that may be answered; or nil and an answer.
function M.chat(self, request)
  local body = request:object()
  if not body then
    return nil, { reply.openai(400, "invalid_request_error", nil, nil,
      "The body of the request could not be read as a JSON object.") }
  end
  if type(given(body.model)) ~= "string" or body.model == "" then
    return nil, refuse(nil, nil, "you must provide a model parameter")
  end
  if not M.known_model(self, body.model) then return nil, M.no_model(self, body.model) end
  local bad = check_messages(body) or check_tools(body) or check_choice(body) or check_settings(body)
  if bad then return nil, bad end
  return body
end

return M
