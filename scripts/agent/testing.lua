-- A model for tests: a list of answers, given one after another, that writes down what it was sent.
--
--     local testing = require "agent.testing"
--     local model = testing.model {
--       testing.call("word_count", { text = "a b" }),      -- a tool call; a list of them for several at once
--       "There are two words.",                            -- text
--       testing.fail { kind = "rate_limit", message = "…" },  -- an error
--     }
--     local result = agent { model = model, tools = { … } }:run "count"
--     -- model.sent[1].messages, model.sent[1].tools
local json = require "host.json"
local errors = require "agent.errors"

local testing = {}

local call_meta, fail_meta = {}, {}

-- A call that the model makes. Without an id it gets "call_1", "call_2", … by its place in the conversation.
function testing.call(name, args, id)
  return setmetatable({ name = name, args = args or {}, id = id }, call_meta)
end

-- A call whose arguments, `raw`, cannot be read.
function testing.broken_call(name, raw, why, id)
  why = why or "the arguments are not valid JSON: unexpected end"
  return setmetatable({ name = name, arguments = raw, error = why, broken = true, id = id }, call_meta)
end

-- An answer that fails: invoke returns nil and this error.
function testing.fail(err) return setmetatable({ err = errors.new(err) }, fail_meta) end

local function is(t, meta) return type(t) == "table" and getmetatable(t) == meta end

local function copy(v)
  if type(v) ~= "table" then return v end
  local out = {}
  for k, item in pairs(v) do out[k] = copy(item) end
  return json.is_array(v) and json.array(out) or out
end

local function answer_of_calls(self, calls)
  local message = { role = "assistant", tool_calls = {}, invalid_tool_calls = {} }
  for _, call in ipairs(calls) do
    self.calls = self.calls + 1
    local made = { id = call.id or "call_" .. self.calls, name = call.name }
    if call.broken then
      made.arguments, made.error = call.arguments, call.error
      table.insert(message.invalid_tool_calls, made)
    else
      made.args, made.arguments = call.args, json.encode(call.args)
      table.insert(message.tool_calls, made)
    end
  end
  return message
end

-- An entry as a message: text, a call, a list of calls, a message as it is, or a function that makes one of them.
local function to_message(self, entry, messages)
  if type(entry) == "function" then entry = entry(messages) end
  if is(entry, fail_meta) then return nil, entry.err end
  local message
  if type(entry) == "string" then
    message = { role = "assistant", content = entry }
  elseif is(entry, call_meta) then
    message = answer_of_calls(self, { entry })
  elseif type(entry) == "table" and is(entry[1], call_meta) then
    message = answer_of_calls(self, entry)
  elseif type(entry) == "table" then
    message = copy(entry)
  else
    error("agent.testing: an answer is text, a call, a list of calls, a message or an error, not a " .. type(entry), 0)
  end
  message.role = "assistant"
  message.tool_calls = message.tool_calls or {}
  message.invalid_tool_calls = message.invalid_tool_calls or {}
  local finish = #message.tool_calls > 0 and "tool_calls" or "stop"
  message.response_metadata = message.response_metadata or { model_name = "testing", finish_reason = finish }
  message.usage_metadata = message.usage_metadata or { input_tokens = 10, output_tokens = 5, total_tokens = 15 }
  return message
end

local model = {}
model.__index = model

-- Like a real one, this gives a new model; both draw on the same answers and the same record.
function model:bind_tools(tools) return setmetatable({ state = self.state, sent = self.sent, tools = tools }, model) end

function model:invoke(messages)
  local state = self.state
  state.next = state.next + 1
  self.sent[#self.sent + 1] = { messages = copy(messages), tools = self.tools }
  local entry = state.answers[state.next]
  if entry == nil then
    error(("agent.testing: the model was asked %d times, and has %d answers"):format(state.next, #state.answers), 0)
  end
  return to_message(state, entry, messages)
end

-- How many answers nobody has asked for.
function model:left() return #self.state.answers - self.state.next end

function testing.model(answers)
  return setmetatable({ state = { answers = answers, next = 0, calls = 0 }, sent = {} }, model)
end

return testing
