-- Which model a step uses. By name: flag --model > the script > the head of the prompt > gpt-4o. Or an object of your
-- own with :bind_tools(tools) and :invoke(messages), such as agent.testing's.
--
-- `fallbacks` are asked, in order, when a model fails with something that another one may not: each is a name, the
-- options of another chat_model, or a model of your own. Who has answered stays for the rest of the run.
local host = require "host"
local openai = require "host.openai"
local script = require "host.script"
local errors = require "agent.errors"

local models = {}

local DEFAULT = "gpt-4o"

function models.name(spec, head) return script.option "model" or spec.model or head.model or DEFAULT end

-- What another model, or another server, may do better.
local another_helps = {
  network = true, timeout = true, http = true, protocol = true, truncated = true, rate_limit = true, quota = true,
  not_found = true, auth = true, config = true,
}

local function is_own(entry) return type(entry) == "userdata" or (type(entry) == "table" and entry.invoke ~= nil) end

-- The entry's name, for prices and messages; nil for a model of the script's own.
local function name_of(entry)
  if type(entry) == "string" then return entry end
  return not is_own(entry) and entry.model or nil
end

-- A model made anew when the prompt has changed, because each model span names the prompt's file and hash.
local function build(self, entry, prompt)
  if is_own(entry) then return entry end
  local given = {}
  for k, v in pairs(self.spec.params or {}) do given[k] = v end
  given.temperature = self.spec.temperature or prompt.head.temperature
  if type(entry) == "string" then entry = { model = entry } end
  for k, v in pairs(entry) do given[k] = v end
  if prompt.sha256 then given.prompt = { file = prompt.file, sha256 = prompt.sha256 } end
  local ok, model, err = pcall(openai.chat_model, given) -- raises when a variable is missing, and for misuse
  if ok and model then return model end
  if not ok and (type(model) ~= "table" or not model.kind) then error(model, 0) end
  return nil, errors.of(err or model)
end

local chosen = {}
chosen.__index = chosen

-- All that may be asked: the model, then its fallbacks.
local function entries(self, prompt)
  local list = { self.own or models.name(self.spec, prompt.head) }
  return table.move(self.spec.fallbacks or {}, 1, #(self.spec.fallbacks or {}), 2, list)
end

-- The model at this place, with what the agent asks of it; bind: options of bind_tools, nil for none.
local function make(self, entry, prompt, tools, bind)
  local model, err = build(self, entry, prompt)
  if not model then return nil, err end
  if self.spec.output and model.with_structured_output then model = model:with_structured_output(self.spec.output) end
  return #tools > 0 and model:bind_tools(tools, bind) or model
end

-- Several models as one: asks on with the next one where that may help.
local function in_turn(self, prompt, tools, bind)
  local list = entries(self, prompt)
  local turn = {}
  function turn.invoke(_, messages, opts)
    while true do
      local at = self.at
      local model, err = make(self, list[at], prompt, tools, bind)
      local answer
      if model then answer, err = model:invoke(messages, opts) end
      if answer or not another_helps[err.kind] or at >= #list then return answer, err end
      if self.at == at then
        host.log("warn", ("%s; asking %s instead"):format(err.message, name_of(list[at + 1]) or "the next model"))
        self.at = at + 1
      end
    end
  end
  return turn
end

local function bound(self, prompt, tools, bind)
  if self.spec.fallbacks and #self.spec.fallbacks > 0 then return in_turn(self, prompt, tools, bind) end
  return make(self, entries(self, prompt)[1], prompt, tools, bind)
end

-- The model for this prompt, with the tools bound; nil, err when it is not configured.
function chosen:for_prompt(prompt, tools)
  if self.bound and self.prompt == prompt and self.tools == tools then return self.bound end
  local model, err = bound(self, prompt, tools)
  if not model then return nil, err end
  self.bound, self.prompt, self.tools = model, prompt, tools
  return model
end

-- The same for an answer in words only. The tools stay in the request, because earlier calls of them do.
function chosen:without_calls(prompt, tools) return bound(self, prompt, tools, { tool_choice = "none" }) end

-- Its name, for prices; nil for a model of the script's own.
function chosen:name(prompt) return name_of(entries(self, prompt)[self.at]) end

function models.open(spec)
  return setmetatable({ spec = spec, at = 1, own = type(spec.model) ~= "string" and spec.model or nil }, chosen)
end

return models
