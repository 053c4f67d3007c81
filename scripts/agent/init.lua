-- agent{…}: a whole agent as one value. Building it runs nothing; the host runs the value that a main script returns,
-- and a script may run it itself: `local result, err = value:run("do this")`.
--
-- The pieces are files beside this one, each short and each replaceable: loop (ask, call, repeat), prompts, models,
-- connectors, accounts, input, offer, tools, parallel, limits, repeats, results, context, history, session, testing.
-- A file of the same name in your script's folder (agent/loop.lua) is found first.
local host = require "host"
local schema = require "host.schema"
local waiting = require "host.run"
local script = require "host.script"
local trace = require "host.trace"
local accounts = require "agent.accounts"
local connectors = require "agent.connectors"
local errors = require "agent.errors"
local fields = require "agent.fields"
local git = require "agent.git"
local history = require "agent.history"
local inputs = require "agent.input"
local limits = require "agent.limits"
local loop = require "agent.loop"
local models = require "agent.models"
local offer = require "agent.offer"
local prices = require "agent.prices"
local prompts = require "agent.prompts"
local repeats = require "agent.repeats"
local results = require "agent.results"
local sessions = require "agent.session"
local tools = require "agent.tools"

local agent = {}

local spec_fields = {
  connectors = "list", -- whose tools to offer: see agent.connectors
  identifier = "text", -- whose accounts; the flag --user wins
  prompt = "text", -- a .md file, or the text itself
  variables = "table", -- for {{names}} in the prompt
  output = "table", -- JSON Schema that the answer must fit: result.output is the value
  input = "any", -- the task, when the command line gives none: a text, or texts and pictures; see agent.input
  model = "model", -- a name, or a model of your own; the flag --model wins over a name
  fallbacks = "list", -- models to ask when that one fails: names, or options of chat_model; see agent.models
  temperature = "number",
  params = "table", -- any further parameter of chat completions: { max_tokens = 500 }
  tools = "list", -- tools of your own: see agent.tool
  limits = "table", -- { steps = 25, tokens =, cost =, time =, calls =, tools = {}, repeats = 3 }: see agent.limits
  auth_timeout = "number", -- seconds to wait for a person who must authorize: see agent.accounts
  result_bytes = "count", -- of a tool's result that the model reads at once: 32768
  approve = "text", -- which calls a person must allow: see agent.policy; the flag --approve wins
  compact = "callable", -- what to do when the conversation is too long for the model: see agent.context
  session = "text", -- the conversation to go on with, kept over several runs; --session wins: see agent.session
  name = "text", tags = "strings", metadata = "table", -- how the run shows in traces
  on_event = "callable", -- called with { type = "step" | "answer" | "tool_call" | "tool_result", … }
}
local run_fields = { identifier = "text", messages = "list", variables = "table", session = "text", park = "flag" }

-- Whom this agent acts for: the one given to run; then the flag --user, the script, the run (AGENTHOST_USER). Or nil.
local function identify(spec, opts)
  return opts.identifier or script.option "user" or spec.identifier or script.identifier()
end

local function nobody()
  return errors.fail {
    kind = "config",
    message = "whose accounts shall the connectors use? Give --user ID, identifier = \"…\" in the script, or the "
      .. "variable AGENTHOST_USER",
  }
end

-- The run is shown as this user's, unless it has one already that is more than the environment's default.
local function name_run(who)
  local now = script.identifier()
  if now ~= who and now == host.config "AGENTHOST_USER" then script.identifier(who) end
end

-- What was offered, and why, when that is not everything.
local function note_offer(lists)
  local account = offer.account(lists)
  if account and trace.current() then trace.set { metadata = { tools_offered = account } } end
end

-- The tools of all connectors, then the script's own. Only connectors need to know who it is.
local function open_tools(spec, who, input, patience)
  local list = spec.connectors or {}
  if connectors.need_identifier(list) then
    if not who then return nobody() end
    name_run(who)
  end
  local lists, err = connectors.open(list, who, nil, patience)
  if not lists then return nil, err end
  lists[#lists + 1] = spec.tools or {}
  local fitting, box
  fitting, err = offer.fit(lists, inputs.text(input))
  if fitting then
    note_offer(fitting)
    box, err = tools.box(table.unpack(fitting))
  end
  if not box then connectors.close(lists) end
  return box, err
end

local revisions = {} -- of the scripts' folders; false: none

-- Which commit the prompts and scripts are of. Looked up once: a thousand agents must not read it a thousand times.
local function note_revision()
  local folder = script.folder()
  if revisions[folder] == nil then revisions[folder] = git.revision(folder) or false end
  if revisions[folder] then trace.metadata { git_revision = revisions[folder] } end
end

-- Name, tags, metadata and the task go to the run, or, inside trace.span, tags and metadata to that span.
local function describe(spec, head, input)
  local tags = {}
  for _, list in ipairs { head.tags or {}, spec.tags or {} } do table.move(list, 1, #list, #tags + 1, tags) end
  local here = trace.current()
  if here and here.id ~= here.trace_id then
    if #tags > 0 or spec.metadata then trace.set { tags = tags, metadata = spec.metadata } end
    return
  end
  if here then
    trace.set { inputs = { input = inputs.outline(input) } }
    note_revision()
  end
  if spec.name then trace.name(spec.name) end
  if #tags > 0 then trace.tags(table.unpack(tags)) end
  if spec.metadata then trace.metadata(spec.metadata) end
end

local function variables_of(spec, opts, who)
  local all = { identifier = who }
  for _, list in ipairs { spec.variables or {}, opts.variables or {} } do
    for name, value in pairs(list) do all[name] = value end
  end
  return all
end

local function ignore() end

local methods = {}

-- Runs the agent. input: the task (a text, or a list of texts and parts), spec.input when nil. opts: identifier,
-- variables, messages (of an earlier result, to go on with it), session (a name: see agent.session). Returns { answer,
-- output, messages, steps, usage }; or nil, err.
function methods:run(input, opts)
  opts = opts or {}
  fields.check("run", opts, run_fields, 2)
  local spec = self.spec
  input = inputs.content(input or spec.input, 2)
  if not input then
    return errors.fail {
      kind = "config", message = "the agent has no task: give it on the command line, or input = \"…\" in the script",
    }
  end
  local who = identify(spec, opts)
  local prompt, err = prompts.open(spec.prompt, variables_of(spec, opts, who))
  if not prompt then return nil, err end
  local kept <close>, why = sessions.open(spec, opts, who)
  if kept == nil then return nil, why end
  if kept and opts.messages then fields.blame("run: messages and a session cannot be given together", 2) end
  local talk
  if kept then talk, err = history.new(kept:messages()) else talk, err = history.new(opts.messages) end
  if not talk then return nil, err end
  describe(spec, prompt:current().head, input)
  if kept then kept:describe() end
  local opened
  local patience = accounts.patience(spec.auth_timeout)
  opened, err = open_tools(spec, who, input, patience)
  while not opened and opts.park and (err.kind == "needs_auth" or err.kind == "account_not_active") do
    if waiting.park(err) ~= "retry" then return nil, err end -- when nothing else goes on, the run stops here
    opened, err = open_tools(spec, who, input, patience)
  end
  if not opened then return nil, err end
  local box <close> = opened
  local result
  result, err = loop.run {
    model = models.open(spec),
    prompt = prompt,
    history = talk:user(input),
    session = kept,
    output = spec.output,
    tools = box,
    limits = limits.open(spec.limits, prices.cost),
    repeats = repeats.new(spec.limits and spec.limits.repeats),
    results = results.new(spec.result_bytes),
    compact = spec.compact,
    identifier = who,
    patience = patience,
    approve = spec.approve,
    park = opts.park,
    on_event = spec.on_event or ignore,
  }
  return result, err
end

local value = { __name = "agent", __index = methods }

-- agent{…}: checks the fields, keeps a copy, runs nothing.
local function build(_, given)
  fields.check("agent", given, spec_fields, 2)
  local spec = {}
  for k, v in pairs(given) do spec[k] = v end
  connectors.check(spec.connectors or {}, 2)
  inputs.content(spec.input, 2)
  if spec.limits then limits.check(spec.limits, 2) end
  local ok, checked = pcall(tools.checked, spec.tools or {})
  if not ok then fields.blame("agent: " .. tostring(checked), 2) end
  spec.tools = checked
  if spec.output then
    local _, err = schema.strict(spec.output)
    if err then fields.blame("agent: output: " .. err.message, 2) end
  end
  return setmetatable({ spec = spec }, value)
end

agent.tool = tools.tool

return setmetatable(agent, { __call = build })
