---@meta agent.testing
-- A model that is a list of answers: scripts/agent/testing.lua.

---@class agent.testing
local testing = {}

---@class agent.testing.Model: agent.Model
---@field sent { messages: table[], tools: table[]? }[] what it was asked
local Model = {}

---How many answers nobody has asked for.
---@return integer
function Model:left() end

---@param answers any[] text, a call, a list of calls, a message, an error, or a function(messages) that makes one
---@return agent.testing.Model
function testing.model(answers) end

---@param name string
---@param args? table
---@param id? string
function testing.call(name, args, id) end

---A call whose arguments cannot be read.
---@param name string
---@param raw string
---@param why? string
---@param id? string
function testing.broken_call(name, raw, why, id) end

---@param err table a host.Error's fields: kind and message, and whatever else it shall have
function testing.fail(err) end

return testing
