-- The messages of a conversation, in a store that cannot be built wrong: a tool call without its result, or a
-- result without its call, is refused here, because every model's service refuses it later and less clearly.
local errors = require "agent.errors"

local history = {}
history.__index = history

-- Ids of all calls of an assistant's message, in order; those with broken arguments need a result too.
local function call_ids(message)
  local ids = {}
  for _, list in ipairs { message.tool_calls or {}, message.invalid_tool_calls or {} } do
    for _, call in ipairs(list) do
      if type(call.id) ~= "string" or call.id == "" then error("history: a tool call without an id", 0) end
      ids[#ids + 1] = call.id
    end
  end
  return ids
end

function history:waiting()
  local left = {}
  for _, id in ipairs(self.order) do
    if self.pending[id] then left[#left + 1] = id end
  end
  return left
end

local function refuse_waiting(self, what)
  local left = self:waiting()
  if #left > 0 then
    error(("history: %s while tool calls wait for their results: %s"):format(what, table.concat(left, ", ")), 0)
  end
end

local function append(self, message)
  self.list[#self.list + 1] = message
  self.new[#self.new + 1] = message
  return self
end

-- What was added since this was asked last, without system messages; true: it stands for all that was before.
function history:take_new()
  local new, replaced = {}, self.replaced
  for _, message in ipairs(self.new) do
    if message.role ~= "system" then new[#new + 1] = message end
  end
  self.new, self.replaced = {}, false
  return new, replaced
end

-- The system message is always the first one; giving it again replaces it (a prompt that was edited).
function history:system(text)
  local first = self.list[1]
  if first and first.role == "system" then
    if first.content ~= text then self.list[1] = { role = "system", content = text } end
  else
    table.insert(self.list, 1, { role = "system", content = text })
  end
  return self
end

function history:user(content)
  refuse_waiting(self, "a user's message")
  return append(self, { role = "user", content = content })
end

-- A model's answer, as the model gave it. Its calls wait for results from now on.
function history:answer(message)
  refuse_waiting(self, "an answer")
  self.order, self.pending = call_ids(message), {}
  for _, id in ipairs(self.order) do
    if self.pending[id] then error(("history: two tool calls have the id %s"):format(id), 0) end
    self.pending[id] = true
  end
  return append(self, message)
end

function history:result(id, content, name)
  if not self.pending[id] then
    error(("history: a result for the call %s, which nobody made"):format(tostring(id)), 0)
  end
  self.pending[id] = nil
  return append(self, { role = "tool", tool_call_id = id, name = name, content = content })
end

-- Answers whatever still waits with `text`, so that a run that stops in the middle leaves a valid conversation.
function history:close(text)
  for _, id in ipairs(self:waiting()) do self:result(id, text) end
  return self
end

-- Takes another list in place of the whole one (see agent.context). nil, err when calls and results do not pair.
function history:replace(messages)
  local new, err = history.new(messages)
  if not new then return nil, err end
  self.list, self.order, self.pending = new.list, new.order, new.pending
  self.new, self.replaced = table.move(new.list, 1, #new.list, 1, {}), true
  return self
end

-- The list to send. Raises while calls wait.
function history:messages()
  refuse_waiting(self, "sending")
  return self.list
end

local adders = {
  system = function(self, m) append(self, m) end,
  developer = function(self, m) append(self, m) end,
  user = function(self, m)
    refuse_waiting(self, "a user's message")
    append(self, m)
  end,
  assistant = function(self, m) self:answer(m) end,
  tool = function(self, m) self:result(m.tool_call_id, m.content, m.name) end,
}

-- A new conversation, or one that goes on from `messages` (of an earlier result). nil, err when they do not pair; with
-- `cut`, calls at their end that have no result are answered with that text.
function history.new(messages, cut)
  local self = setmetatable({ list = {}, new = {}, order = {}, pending = {} }, history)
  for i, message in ipairs(messages or {}) do
    local add = type(message) == "table" and adders[message.role]
    local ok, why = false, "unknown role"
    if add then ok, why = pcall(add, self, message) end
    if not ok then
      return errors.fail { kind = "invalid", message = ("messages[%d] cannot stand here: %s"):format(i, tostring(why)) }
    end
  end
  self.new = {}
  if cut then self:close(cut) end
  local left = self:waiting()
  if #left > 0 then
    return errors.fail {
      kind = "invalid",
      message = "the messages end with tool calls that have no result: " .. table.concat(left, ", "),
    }
  end
  return self
end

return history
