-- OpenAI's Responses API: requests read as a conversation, which openai.lua's model answers; the answer as items, whole
-- or as events in the service's order; and what is kept when the client says `store`. Called by openai.lua.
local json = require "host.json"
local check = require "emulator.openai_check"
local reply = require "emulator.reply"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given, is_object, is_array = world_of.given, world_of.is_object, world_of.is_array
local M = {}

local MIN_TOKENS, MAX_TOOLS = 16, 128

local function refuse(param, code, message, status)
  return { reply.openai(status or 400, "invalid_request_error", code, param, message) }
end

-- Reading ------------------------------------------------------------------------------------------------

local PARTS = { input_text = "text", output_text = "text", text = "text" }

-- Content as chat has it.
local function content_of(content)
  if type(content) ~= "table" or content == json.null then return content end
  local parts = json.array {}
  for i, part in ipairs(content) do
    if is_object(part) and PARTS[part.type] then
      parts[i] = { type = "text", text = tostring(part.text) }
    else
      parts[i] = part
    end
  end
  return parts
end

local function call_of(item)
  return { id = item.call_id, type = "function",
    ["function"] = { name = item.name, arguments = item.arguments or item.input or "" } }
end

-- Adds one item to a conversation. nil, or what is wrong.
local function add_item(list, item, at, open)
  local kind = item.type or "message"
  if kind == "message" then
    if not ({ user = true, assistant = true, system = true, developer = true })[item.role] then
      return refuse(("input[%d].role"):format(at), "invalid_value", ("Invalid value: '%s'. Supported values are: "
        .. "'assistant', 'system', 'developer', and 'user'."):format(tostring(item.role)))
    end
    if type(given(item.content)) ~= "string" and not is_array(item.content) then
      return refuse(("input[%d].content"):format(at), "missing_required_parameter",
        ("Missing required parameter: 'input[%d].content'."):format(at))
    end
    list[#list + 1] = { role = item.role, content = content_of(item.content) }
  elseif kind == "function_call" or kind == "custom_tool_call" then
    local last = list[#list]
    if not (last and last.role == "assistant" and last.tool_calls) then
      last = { role = "assistant", content = json.null, tool_calls = json.array {} }
      list[#list + 1] = last
    end
    last.tool_calls[#last.tool_calls + 1] = call_of(item)
    open[tostring(item.call_id)] = true
  elseif kind == "function_call_output" or kind == "custom_tool_call_output" then
    if open[item.call_id] == nil then
      return refuse("input", nil, ("No tool call found for function call output with call_id %s."):format(
        tostring(item.call_id)))
    end
    open[item.call_id] = false
    list[#list + 1] = { role = "tool", tool_call_id = item.call_id, content = content_of(item.output) }
  end
  return nil
end

-- Reasoning belongs to the calls that followed it: one does not come back without the other.
local function check_reasoning(self, items)
  local there = {}
  for _, item in ipairs(items) do there[item.id or ""] = true end
  for _, item in ipairs(items) do
    local needed = self.reasoning_of[item.id or ""]
    if needed and not there[needed] then
      return refuse("input", nil, ("Item '%s' of type '%s' was provided without its required 'reasoning' item: '%s'.")
        :format(item.id, item.type, needed))
    end
  end
  return nil
end

-- The conversation of a request: messages as chat has them, and the items; or nil and an answer.
local function read_input(self, body)
  local input, list, open, items = given(body.input), {}, {}, json.array {}
  if type(input) == "string" then input = { { role = "user", content = input } } end
  if not is_array(input) and (type(input) ~= "table" or #input == 0) then
    return nil, refuse("input", "missing_required_parameter", "Missing required parameter: 'input'.")
  end
  local before = given(body.previous_response_id)
  if before then
    local kept = self.kept[before]
    if not kept then
      return nil, refuse("previous_response_id", "previous_response_not_found",
        ("Previous response with id '%s' not found."):format(tostring(before)))
    end
    table.move(kept.items, 1, #kept.items, 1, items)
  end
  table.move(input, 1, #input, #items + 1, items)
  if type(given(body.instructions)) == "string" then
    list[1] = { role = "system", content = body.instructions }
  end
  for i, item in ipairs(items) do
    if not is_object(item) then
      return nil, refuse(("input[%d]"):format(i - 1), "invalid_type",
        ("Invalid type for 'input[%d]'."):format(i - 1))
    end
    local bad = add_item(list, item, i - 1, open)
    if bad then return nil, bad end
  end
  for id, unanswered in pairs(open) do
    if unanswered then
      return nil, refuse("input", nil, ("No tool output found for function call %s."):format(id))
    end
  end
  local bad = check_reasoning(self, items)
  if bad then return nil, bad end
  return list, items
end

-- Tools as chat has them; or nil and an answer.
local function read_tools(body)
  local tools = given(body.tools)
  if tools == nil then return nil end
  if #tools > MAX_TOOLS then
    return nil, refuse("tools", "array_above_max_length", ("Invalid 'tools': array too long. Expected an array with "
      .. "maximum length 128, but got an array with length %d instead."):format(#tools))
  end
  local list = json.array {}
  for i, tool in ipairs(tools) do
    local at = ("tools[%d]"):format(i - 1)
    if is_object(tool) and tool.type == "function" then
      if type(tool.name) ~= "string" then
        return nil, refuse(at .. ".name", "missing_required_parameter",
          ("Missing required parameter: '%s.name'."):format(at))
      end
      if tool.name:find "[^%w_%-]" then
        return nil, refuse(at .. ".name", "invalid_value", ("Invalid '%s.name': string does not match pattern. "
          .. "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."):format(at))
      end
      local schema = given(tool.parameters)
      if schema and not is_object(schema.properties) then
        return nil, refuse(at .. ".parameters", "invalid_function_parameters",
          ("Invalid schema for function '%s': In context=(), object schema missing properties."):format(tool.name))
      end
      list[#list + 1] = { type = "function",
        ["function"] = { name = tool.name, description = tool.description, parameters = tool.parameters } }
    end
  end
  return list
end

local function read_choice(choice)
  if is_object(choice) and choice.type == "function" then
    return { type = "function", ["function"] = { name = choice.name } }
  end
  return is_object(choice) and "auto" or choice
end

local function read_format(body)
  local format = is_object(given(body.text)) and given(body.text.format) or nil
  if not format or format.type ~= "json_schema" then return format end
  return { type = "json_schema", json_schema = { name = format.name, schema = format.schema } }
end

local OF_CHAT = { "messages", "max_tokens", "max_completion_tokens", "response_format", "reasoning_effort", "n" }

-- A request as one for chat, with the items that it holds; or nil and an answer.
local function read(self, request)
  local body = request:object()
  if not body then return nil, refuse(nil, nil, "The body of the request could not be read as a JSON object.") end
  if type(given(body.model)) ~= "string" or body.model == "" then
    return nil, refuse("model", "missing_required_parameter", "Missing required parameter: 'model'.")
  end
  for _, name in ipairs(OF_CHAT) do
    if body[name] ~= nil then
      return nil, refuse(name, "unknown_parameter", ("Unknown parameter: '%s'."):format(name))
    end
  end
  if not check.known_model(self.openai, body.model) then
    return nil, check.no_model(self.openai, body.model, "/responses")
  end
  local limit = given(body.max_output_tokens)
  if limit and limit < MIN_TOKENS then
    return nil, refuse("max_output_tokens", "integer_below_min_value", ("Invalid 'max_output_tokens': integer below "
      .. "minimum value. Expected a value >= 16, but got %d instead."):format(limit))
  end
  local messages, items = read_input(self, body)
  if not messages then return nil, items end
  local tools, bad = read_tools(body)
  if bad then return nil, bad end
  return { model = body.model, messages = messages, tools = tools, tool_choice = read_choice(given(body.tool_choice)),
    parallel_tool_calls = body.parallel_tool_calls, response_format = read_format(body),
    max_completion_tokens = limit }, nil, body, items
end

-- Answering ----------------------------------------------------------------------------------------------

local function is_reasoning(name) return name:find "^o%d" ~= nil or name:find "^gpt%-5" ~= nil end

local function wants(body, what)
  for _, one in ipairs(is_array(body.include) and body.include or {}) do
    if one == what then return true end
  end
  return false
end

-- The items of an answer, and why it is incomplete, if it is.
local function make_items(self, body, message, finish)
  local items, thought = json.array {}, nil
  local status = finish == "length" and "incomplete" or "completed"
  if is_reasoning(body.model) then
    thought = { type = "reasoning", id = "rs_" .. self.world:hex(48), summary = json.array {} }
    if wants(body, "reasoning.encrypted_content") then thought.encrypted_content = text.base64(thought.id) end
    items[1] = thought
  end
  local content
  if message.refusal ~= json.null then
    content = { type = "refusal", refusal = message.refusal }
  elseif message.content ~= json.null then
    content = { type = "output_text", text = message.content, annotations = json.array {}, logprobs = json.array {} }
  end
  if content then
    items[#items + 1] = { type = "message", id = "msg_" .. self.world:hex(48), role = "assistant", status = status,
      content = json.array { content } }
  end
  for _, call in ipairs(message.tool_calls or {}) do
    local f = call["function"]
    local item = { type = "function_call", id = "fc_" .. self.world:hex(48), call_id = call.id, name = f.name,
      arguments = f.arguments, status = status }
    if thought then self.reasoning_of[item.id] = thought.id end
    items[#items + 1] = item
  end
  return items
end

local REASONS = { length = "max_output_tokens", content_filter = "content_filter" }

-- The response object; `output` and `usage` are put in when it has ended.
local function make_response(self, body, name)
  return {
    id = "resp_" .. self.world:hex(48), object = "response", created_at = math.floor(self.world:now()),
    status = "in_progress", error = json.null, incomplete_details = json.null,
    instructions = body.instructions or json.null, max_output_tokens = body.max_output_tokens or json.null,
    model = name, output = json.array {}, parallel_tool_calls = body.parallel_tool_calls ~= false,
    previous_response_id = body.previous_response_id or json.null,
    reasoning = { effort = is_object(body.reasoning) and body.reasoning.effort or json.null, summary = json.null },
    store = body.store ~= false, temperature = body.temperature or 1.0,
    text = body.text or { format = { type = "text" } },
    tool_choice = body.tool_choice or "auto", tools = is_array(body.tools) and body.tools or json.array {},
    top_p = body.top_p or 1.0, truncation = body.truncation or "disabled", usage = json.null,
    user = body.user or json.null, metadata = body.metadata or {}, service_tier = "default", background = false,
  }
end

local function usage_of(usage)
  return { input_tokens = usage.prompt_tokens, input_tokens_details = { cached_tokens = 0, cache_write_tokens = 0 },
    output_tokens = usage.completion_tokens, output_tokens_details = { reasoning_tokens = 0 },
    total_tokens = usage.total_tokens }
end

local function copy(t)
  local out = {}
  for k, v in pairs(t) do out[k] = v end
  return out
end

-- Events -------------------------------------------------------------------------------------------------

-- The texts of a piece, word by word, or cut for arguments.
local function pieces(s, size)
  local list = {}
  if size then
    while #s > 0 do
      local piece = text.cut(s, size)
      list[#list + 1], s = piece, s:sub(#piece + 1)
    end
    return list
  end
  for piece in s:gmatch "%s*%S+%s*" do list[#list + 1] = piece end
  return list
end

local function message_events(emit, item, index)
  local part = item.content[1]
  local refusal = part.type == "refusal"
  local where = { item_id = item.id, output_index = index, content_index = 0 }
  local function say(kind, more)
    local event = copy(where)
    for k, v in pairs(more) do event[k] = v end
    emit(kind, event)
  end
  local empty = refusal and { type = "refusal", refusal = "" }
    or { type = "output_text", text = "", annotations = json.array {}, logprobs = json.array {} }
  say("response.content_part.added", { part = empty })
  local kind, whole = refusal and "refusal" or "output_text", part.refusal or part.text
  for _, piece in ipairs(pieces(whole)) do
    say("response." .. kind .. ".delta", { delta = piece, logprobs = not refusal and json.array {} or nil })
  end
  say("response." .. kind .. ".done", { [refusal and "refusal" or "text"] = whole,
    logprobs = not refusal and json.array {} or nil })
  say("response.content_part.done", { part = part })
end

local function call_events(emit, item, index)
  for _, piece in ipairs(pieces(item.arguments, 14)) do
    emit("response.function_call_arguments.delta", { item_id = item.id, output_index = index, delta = piece })
  end
  emit("response.function_call_arguments.done", { item_id = item.id, output_index = index, name = item.name,
    arguments = item.arguments })
end

-- An item as it begins: nothing in it yet.
local function begun(item)
  local out = copy(item)
  out.status = item.type ~= "reasoning" and "in_progress" or nil
  if item.type == "message" then out.content = json.array {} end
  if item.type == "function_call" then out.arguments = "" end
  return out
end

local ERROR = "The server had an error while processing your request (emulated)."

local function error_event(form, number)
  if form == "nested" then
    return { type = "error", sequence_number = number,
      error = { type = "server_error", code = "server_error", message = ERROR, param = json.null } }
  end
  return { type = "error", sequence_number = number, code = "server_error", message = ERROR, param = json.null }
end

-- The whole stream, in the service's order. has(kind), trouble: as in openai_stream.lua.
local function events(response, final, has, trouble)
  local chunks, number = {}, -1
  local function emit(kind, event)
    number = number + 1
    event.type, event.sequence_number = kind, number
    chunks[#chunks + 1] = ("event: %s\ndata: %s\n\n"):format(kind, assert(json.encode(event)))
  end
  emit("response.created", { response = response })
  emit("response.in_progress", { response = response })
  for i, item in ipairs(final.output) do
    emit("response.output_item.added", { output_index = i - 1, item = begun(item) })
    if item.type == "message" then message_events(emit, item, i - 1) end
    if item.type == "function_call" then call_events(emit, item, i - 1) end
    if has "error_event" then
      chunks[#chunks + 1] = ("event: error\ndata: %s\n\n"):format(json.encode(error_event(trouble.form, number + 1)))
      return chunks
    end
    emit("response.output_item.done", { output_index = i - 1, item = item })
  end
  if has "no_finish" then return chunks end
  emit("response." .. final.status, { response = final })
  if has "done_mark" then chunks[#chunks + 1] = "data: [DONE]\n\n" end
  return chunks
end

-- Calls --------------------------------------------------------------------------------------------------

-- parts: make(body, has), usage(body, message), headers(kind), name(body) of openai.lua.
local function post(self, request, parts)
  local chat, refused, body, items = read(self, request)
  if not chat then return table.unpack(refused) end
  request.model_name = body.model
  local message, finish = parts.make(chat, request.has)
  local usage = parts.usage(chat, message)
  if usage.prompt_tokens > self.openai.scenario.context_tokens then
    return reply.openai(400, "invalid_request_error", "context_length_exceeded", "input",
      "Your input exceeds the context window of this model. Please adjust your input and try again.")
  end
  local response = make_response(self, body, parts.name(body))
  local final = copy(response)
  final.output, final.usage = make_items(self, body, message, finish), usage_of(usage)
  final.status = REASONS[finish] and "incomplete" or "completed"
  if REASONS[finish] then final.incomplete_details = { reason = REASONS[finish] } end
  if body.store ~= false then
    self.kept[final.id] = { response = final,
      items = table.move(final.output, 1, #final.output, #items + 1, table.move(items, 1, #items, 1, json.array {})) }
  end
  if body.stream ~= true then return reply.json(200, final, parts.headers "application/json") end
  return 200, parts.headers "text/event-stream; charset=utf-8",
    { chunks = events(response, final, request.has, request.trouble or {}) }
end

local function not_found(id)
  return reply.openai(404, "invalid_request_error", nil, nil, ("Response with id '%s' not found."):format(id))
end

local function get(self, request, parts)
  local kept = self.kept[request.params.id]
  if not kept then return not_found(request.params.id) end
  return reply.json(200, kept.response, parts.headers "application/json")
end

local function delete(self, request, parts)
  local id = request.params.id
  if not self.kept[id] then return not_found(id) end
  self.kept[id] = nil
  return reply.json(200, { id = id, object = "response.deleted", deleted = true }, parts.headers "application/json")
end

function M.install(openai, app, parts)
  local self = { openai = openai, world = openai.world, kept = {}, reasoning_of = {} }
  for _, prefix in ipairs { "/v1", "" } do
    app:route("openai", "responses", "POST", prefix .. "/responses", function(r) return post(self, r, parts) end)
    app:route("openai", "responses", "GET", prefix .. "/responses/{id}", function(r) return get(self, r, parts) end)
    app:route("openai", "responses", "DELETE", prefix .. "/responses/{id}",
      function(r) return delete(self, r, parts) end)
  end
end

return M
