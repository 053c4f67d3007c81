-- Who must allow a tool call before it is made. By the flag --approve, else the agent's `approve`, else "unsafe-only"
-- on a terminal and "deny" where nobody can be asked:
--
--   ask           every call              unsafe-only   calls of class unsafe
--   auto          none                    deny          the same calls, but nobody is asked here: the run stops
--                                                       (exit 10) until `agenthost approve RUN`
--
-- What is asked is exactly what would be sent: tool, arguments, connection, identifier, account. A decision holds for
-- its hash and nothing else.
local json = require "host.json"
local run = require "host.run"
local script = require "host.script"
local task = require "host.task"
local errors = require "agent.errors"

local policy = {}

local modes = { ask = true, auto = true, deny = true, ["unsafe-only"] = true }

-- The mode of this run: flag > the agent's own > by whether a person is there. nil, err for a word that is none.
function policy.mode(own)
  local mode = script.option "approve" or own or (script.option "interactive" and "unsafe-only" or "deny")
  if not modes[mode] then
    return errors.fail {
      kind = "config", message = ("approve must be ask, auto, deny or unsafe-only, got '%s'"):format(tostring(mode)),
    }
  end
  return mode
end

-- ## The question

local function show(value)
  if type(value) == "string" then return value end
  return (json.encode(value)) or tostring(value)
end

local function question_text(question, fault)
  local lines = { fault or "", ("%s wants to run, as %s%s:"):format(question.tool,
    question.identifier or "nobody in particular", question.connection and (" on " .. question.connection) or "") }
  if question.account then lines[#lines + 1] = "  account: " .. question.account end
  local names = {}
  for name in pairs(question.arguments) do names[#names + 1] = tostring(name) end
  table.sort(names)
  for _, name in ipairs(names) do
    lines[#lines + 1] = ("  %s: %s"):format(name, show(question.arguments[name]):gsub("\n", "\n    "))
  end
  lines[#lines + 1] = "[y]es, [n]o REASON, [e]dit JSON, [a]lways for this tool in this run? "
  return table.concat(lines, "\n")
end

-- What was typed: "yes", "always", "no" and a reason, "edit" and new arguments; nil for anything else ("yes, but …" is
-- no yes).
function policy.read_answer(line)
  local word, rest = line:match "^%s*(%a*)%s*(.-)%s*$"
  word = word:lower()
  if rest == "" and (word == "y" or word == "yes") then return "yes" end
  if rest == "" and (word == "a" or word == "always") then return "always" end
  if word == "n" or word == "no" then return "no", rest ~= "" and rest or nil end
  if word == "e" or word == "edit" then
    local args = json.decode(rest)
    if type(args) == "table" and not json.is_array(args) then return "edit", args end
  end
end

-- ## Deciding

local asking -- one question at a time: an event that is set when the person has answered

local function ask(question, mode, fault)
  local _ <close> = setmetatable({}, { __close = function()
    local event = asking
    asking = nil
    if event then event:set() end
  end })
  asking = task.event()
  return run.approval(question, { mode = mode, text = question_text(question, fault) })
end

local function needs_answer(mode, class, always)
  if mode == "ask" then return not always end
  return class == "unsafe" and not always
end

-- May this call be made? true and its arguments (a person may change them); false and the reason, for the model;
-- or nil, err. opts: class, mode, `allowed` (the run's own table of tools that need not be asked for again), `fits`
-- (whether arguments that a person wrote can be sent: true; or nil and why not).
function policy.check(question, opts)
  local allowed, fault = opts.allowed, nil
  local function is_needed() return needs_answer(opts.mode, opts.class, allowed[question.tool]) end
  while true do
    while asking and is_needed() do asking:wait() end
    if not is_needed() then return true, question.arguments end
    local decision, err = ask(question, opts.mode, fault)
    if not decision then return nil, errors.of(err) end
    local answer, more = decision.answer, decision.reason
    if decision.line then answer, more = policy.read_answer(decision.line) end
    fault = decision.line and not answer and "That is no answer." or nil
    if answer == "always" then allowed[question.tool] = true end
    if answer == "yes" or answer == "always" then return true, question.arguments end
    if answer == "no" then return false, more end
    if answer == "edit" then -- another call: it needs an answer of its own
      local ok, why = opts.fits(more)
      if ok then
        local other = {}
        for k, v in pairs(question) do other[k] = v end
        other.arguments = more
        question = other
      else
        fault = why
      end
    end
    if decision.line == "" and not answer then return false, "nobody answered" end
  end
end

return policy
