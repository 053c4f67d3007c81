-- Which model a step uses. By name: flag --model > the script > the head of the prompt > gpt-4o. Or an object of your
-- own with :bind_tools(tools) and :invoke(messages), such as agent.testing's.
local openai = require "host.openai"
local script = require "host.script"
local errors = require "agent.errors"

local models = {}

local DEFAULT = "gpt-4o"

function models.name(spec, head) return script.option "model" or spec.model or head.model or DEFAULT end

-- A model made anew when the prompt has changed, because each model span names the prompt's file and hash.
local function build(self, prompt)
  local given = {}
  for k, v in pairs(self.spec.params or {}) do given[k] = v end
  given.model = models.name(self.spec, prompt.head)
  given.temperature = self.spec.temperature or prompt.head.temperature
  if prompt.sha256 then given.prompt = { file = prompt.file, sha256 = prompt.sha256 } end
  local ok, model, err = pcall(openai.chat_model, given) -- raises when a variable is missing, and for misuse
  if ok and model then return model end
  if not ok and (type(model) ~= "table" or not model.kind) then error(model, 0) end
  return nil, errors.of(err or model)
end

local chosen = {}
chosen.__index = chosen

-- The model for this prompt, with the tools bound; nil, err when it is not configured.
function chosen:for_prompt(prompt, tools)
  if self.bound and self.prompt == prompt and self.tools == tools then return self.bound end
  local model, err = self.own, nil
  if not model then model, err = build(self, prompt) end
  if not model then return nil, err end
  if self.spec.output and model.with_structured_output then model = model:with_structured_output(self.spec.output) end
  self.plain = model
  self.bound = #tools > 0 and model:bind_tools(tools) or model
  self.prompt, self.tools = prompt, tools
  return self.bound
end

-- The same for an answer in words only. The tools stay in the request, because earlier calls of them do.
function chosen:without_calls(prompt, tools)
  local model, err = self:for_prompt(prompt, tools)
  if not model or #tools == 0 then return model, err end
  return self.plain:bind_tools(tools, { tool_choice = "none" })
end

-- Its name, for prices; nil for a model of the script's own.
function chosen:name(prompt) return not self.own and models.name(self.spec, prompt.head) or nil end

function models.open(spec)
  return setmetatable({ spec = spec, own = type(spec.model) ~= "string" and spec.model or nil }, chosen)
end

return models
