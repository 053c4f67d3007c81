-- What one run of an agent may use up, in one place:
--
--     limits = { steps = 25, tokens = 50000, cost = 0.50, time = 600, calls = 100, tools = { gmail_send_mail = 1 } }
--
-- Tokens and money are reserved before a model is asked and settled when it has answered, so that agents that run side
-- by side cannot overrun together: one that does not fit now waits until another has settled. The flags --max-tokens,
-- --max-cost and --max-time hold for all agents of a script taken together, --max-steps for each.
local waiting = require "host.run"
local json = require "host.json"
local script = require "host.script"
local task = require "host.task"
local errors = require "agent.errors"
local fields = require "agent.fields"
local usage = require "agent.usage"

local limits = {}

local STEPS = 25
local ANSWER_TOKENS = 4096 -- reserved for an answer when nothing else says how long it may be
local SHORTEST_ANSWER = 64 -- below that a call is not worth its price
local LAST_ANSWER = 256 -- what the last answer, without tools, shall have
local BYTES_A_TOKEN = 3 -- before a model has counted; careful, most texts need fewer tokens

local limit_fields = {
  steps = "count", -- model calls
  tokens = "count", -- input and output, over all model calls
  cost = "number", -- USD
  time = "number", -- seconds
  calls = "count", -- of tools
  tools = "table", -- { name = how often it may be called }
  answer_tokens = "count", -- of one answer, where tokens or cost are limited: 4096
  repeats = "count", -- how often the same call may give the same result: see agent.repeats
}

-- Raises when the table cannot be limits.
function limits.check(given, level)
  local up = level and level + 1
  fields.check("limits", given, limit_fields, up)
  for _, name in ipairs { "cost", "time" } do
    if given[name] and given[name] <= 0 then fields.blame(("limits: %s must be above 0"):format(name), up) end
  end
  for name, n in pairs(given.tools or {}) do
    if type(name) ~= "string" or math.type(n) ~= "integer" or n < 0 then
      fields.blame("limits: tools must be { name = how often, … }", up)
    end
  end
end

-- ## Errors

local function budget(code, ...)
  return errors.new { kind = "budget", code = code, message = (...):format(select(2, ...)) }
end

local function out_of_steps(n)
  local message = "no answer after %d steps; raise limits.steps or --max-steps, or make the task smaller"
  return errors.new { kind = "step_limit", message = message:format(n) }
end

local function out_of_time(seconds)
  return errors.new {
    kind = "time_limit", message = ("the time limit of %g s is reached; raise limits.time"):format(seconds),
  }
end

-- ## One account of tokens and money: of an agent, or of all agents of a script

local account = {}
account.__index = account

local function new_account(tokens, cost)
  return setmetatable({ tokens = tokens, cost = cost, held = { tokens = 0, cost = 0 }, used = usage.new(),
    spent = 0, holds = 0 }, account)
end

-- What is left of a limit when nothing of others is held, and now; nil when there is no limit.
local function left(self)
  local tokens = self.tokens and self.tokens - self.used.total_tokens
  local cost = self.cost and self.cost - self.spent
  return tokens, cost, tokens and tokens - self.held.tokens, cost and cost - self.held.cost
end

-- Does a call of so many tokens and dollars fit? "yes", "later" (others must settle first), or "no".
function account:fits(tokens, cost)
  local tokens_left, cost_left, tokens_now, cost_now = left(self)
  if tokens_left and tokens > tokens_left then return "no" end
  if cost_left and (cost_left <= 0 or cost and cost > cost_left) then return "no" end
  local fits_now = (not tokens_now or tokens <= tokens_now) and (not cost or not cost_now or cost <= cost_now)
  return fits_now and "yes" or "later"
end

function account:hold(tokens, cost)
  self.held.tokens, self.held.cost = self.held.tokens + tokens, self.held.cost + (cost or 0)
  self.holds = self.holds + 1
end

-- `answer` nil: the call failed, nothing is counted.
function account:settle(tokens, cost, answer)
  self.held.tokens, self.held.cost = self.held.tokens - tokens, self.held.cost - (cost or 0)
  self.holds = self.holds - 1
  if answer then
    usage.add(self.used, answer)
    self.spent = self.spent + (answer.cost or 0)
  end
  if self.changed then
    self.changed:set()
    self.changed = nil
  end
end

-- Until another call settles.
function account:wait()
  self.changed = self.changed or task.event()
  self.changed:wait()
end

-- ## Sizes

local function size_of(value)
  local kind = type(value)
  if kind == "string" then return #value end
  if kind ~= "table" then return 8 end
  local n = 0
  for k, v in pairs(value) do n = n + size_of(k) + size_of(v) end
  return n
end

local function size_of_tools(list)
  local n = 0
  for _, tool in ipairs(list) do
    local schema = json.encode(tool.parameters or rawget(tool, "input_schema_json") or tool.input_schema or {}) or ""
    n = n + #tool.name + #(tool.description or "") + #schema
  end
  return n
end

-- ## The limits of one run of an agent

local run = {}
run.__index = run

local function number_flag(name)
  local n = tonumber(script.option(name) or "")
  return n and (math.tointeger(n) or n)
end

local whole -- the account and the end of all agents of this script, made when the first one starts

local function of_script()
  if not whole then
    local seconds = number_flag "max-time"
    whole = {
      account = new_account(number_flag "max-tokens", number_flag "max-cost"),
      seconds = seconds,
      ends = seconds and waiting.clock() + seconds,
    }
  end
  return whole
end

-- `given` is the table of agent{…}; `price(model, input, output)` says what tokens cost, nil when nobody knows.
function limits.open(given, price)
  given = given or {}
  local all = of_script()
  local self = setmetatable({ given = given, price = price, calls = 0, by_tool = {} }, run)
  self.steps = number_flag "max-steps" or given.steps or STEPS
  self.own = new_account(given.tokens, given.cost)
  self.accounts = { self.own, all.account }
  self.usage = self.own.used
  self.seconds, self.ends = given.time, given.time and waiting.clock() + given.time
  if all.ends and (not self.ends or all.ends < self.ends) then self.seconds, self.ends = all.seconds, all.ends end
  for _, one in ipairs(self.accounts) do self.counted = self.counted or one.tokens ~= nil or one.cost ~= nil end
  return self
end

-- May step number n begin?
function run:step(n)
  if n > self.steps then return nil, out_of_steps(self.steps) end
  if self.ends and waiting.clock() >= self.ends then return nil, out_of_time(self.seconds) end
  return true
end

-- Runs fn(...) as long as there is time: its results; or nil and an error of kind time_limit.
function run:within(fn, ...)
  if not self.ends then return fn(...) end
  local seconds = self.ends - waiting.clock()
  if seconds <= 0 then return nil, out_of_time(self.seconds) end
  local args, results = table.pack(...), nil
  task.timeout(seconds, function() results = table.pack(fn(table.unpack(args, 1, args.n))) end)
  if not results then return nil, out_of_time(self.seconds) end
  return table.unpack(results, 1, results.n)
end

-- Tokens of the messages and tools, as far as they can be told beforehand. The last model's count corrects it.
function run:estimate(messages, tools)
  if self.sized ~= tools then self.sized, self.tool_bytes = tools, size_of_tools(tools) end
  local bytes = size_of(messages) + self.tool_bytes
  return math.ceil(bytes / (self.bytes_a_token or BYTES_A_TOKEN)), bytes
end

local function spent_up(self, need)
  for _, one in ipairs(self.accounts) do
    local tokens, cost = left(one)
    if cost and cost <= 0 or need.cost and cost and need.cost > cost then
      return budget("cost", "the next model call does not fit into the money that is left ($%.4f of $%.4f); raise "
        .. "limits.cost or --max-cost", math.max(cost, 0), one.cost)
    end
    if tokens and need.tokens > tokens then
      return budget("tokens", "the next model call does not fit into the tokens that are left (%d of %d; it needs "
        .. "about %d); raise limits.tokens or --max-tokens", math.max(tokens, 0), one.tokens, need.tokens)
    end
  end
end

-- How many tokens the answer may have: what was asked for, less where less is left.
local function answer_room(self, input, asked)
  local room = asked or self.given.answer_tokens or ANSWER_TOKENS
  for _, one in ipairs(self.accounts) do
    local tokens = left(one)
    if tokens then room = math.min(room, tokens - input) end
  end
  return room
end

local function cost_of(self, model, input, output) return self.price and self.price(model, input, output) or nil end

local function hold_when_it_fits(self, need)
  while true do
    local later
    for _, one in ipairs(self.accounts) do
      local answer = one:fits(need.tokens, need.cost)
      if answer == "no" then return nil, spent_up(self, need) end
      if answer == "later" then later = one end
    end
    if not later then break end
    later:wait()
  end
  for _, one in ipairs(self.accounts) do one:hold(need.tokens, need.cost) end
  return true
end

-- An answer without a price, where money is limited: nothing could be kept.
local function unpriced(self, answer)
  if answer.cost ~= nil then return nil end
  for _, one in ipairs(self.accounts) do
    if one.cost then
      return budget("cost_unknown", "money is limited, and nobody knows what %s costs; give its price in "
        .. "agent/prices.lua", tostring((answer.response_metadata or {}).model_name or "this model"))
    end
  end
end

-- Asks a model within the limits: `ask(max_tokens)` is called with the length that the answer may have (nil: any).
-- Returns the answer; or nil, err (kind budget or time_limit when a limit did not allow it).
-- opts: messages, tools, model (its name), max_tokens (what the script asked for), keep_an_answer (refuse already when
-- nothing would be left to put what is known into words).
function run:ask(opts, ask)
  if not self.counted then
    local answer, err = self:within(ask)
    if answer then usage.add(self.own.used, answer) end
    return answer, err
  end
  local input, bytes = self:estimate(opts.messages, opts.tools)
  local room = math.max(answer_room(self, input, opts.max_tokens), SHORTEST_ANSWER)
  local need = { tokens = input + room, cost = cost_of(self, opts.model, input, room) }
  local ok, err = true, nil
  if opts.keep_an_answer then
    local both = { tokens = 2 * (input + LAST_ANSWER), cost = need.cost and 2 * need.cost }
    err = spent_up(self, both)
    ok = err == nil
  end
  if ok then ok, err = hold_when_it_fits(self, need) end
  if not ok then return nil, err end

  local held <close> = setmetatable({}, { -- also when the task is cancelled while the model thinks
    __close = function(hold)
      for _, one in ipairs(self.accounts) do one:settle(need.tokens, need.cost, hold.answer) end
    end,
  })
  local answer
  answer, err = self:within(ask, room)
  if not answer then return nil, err end
  held.answer = answer
  local counted = (answer.usage_metadata or {}).input_tokens
  if counted and counted > 0 then self.bytes_a_token = math.max(bytes / counted, 1) end
  self.unpriced = unpriced(self, answer)
  return answer
end

-- Before a tool is called: true; or nil, the text for the model and, when the run must end, the error.
function run:call(name)
  if self.given.calls and self.calls >= self.given.calls then
    return nil, nil, budget("calls", "%d tool calls were made, as many as limits.calls allows", self.calls)
  end
  local most = (self.given.tools or {})[name]
  if most and (self.by_tool[name] or 0) >= most then
    return nil, ("this tool may be called %d times in a run, and was. Do without it, and say so in the answer.")
      :format(most)
  end
  self.calls, self.by_tool[name] = self.calls + 1, (self.by_tool[name] or 0) + 1
  return true
end

return limits
