---@meta host.run
-- Where a run waits for a person. A run that stops here goes on here when it is resumed (docs/resume.md).

---@class host.run.Question
---@field tool string
---@field arguments table
---@field connection? string
---@field identifier? string
---@field account? string
---@field class? string

---@class host.run.Decision
---@field answer? "yes"|"no" # by `agenthost approve`, or by the mode auto
---@field reason? string # of a no
---@field line? string # what was typed at the terminal: agent.policy reads it

---@class host.run
local run = {}

---Asks a person whether a call may be made. Looks for a decision about exactly this question in the journal; else leaves
---the question there and asks at the terminal, until a line is typed or `agenthost approve` has decided; without a
---terminal stops the run (kind needs_approval, exit code 10) when nothing else of it goes on. nil, err: the run was
---interrupted.
---@async
---@param question host.run.Question
---@param opts? { mode?: "ask"|"auto"|"deny"|"unsafe-only", text?: string } # text: what the terminal shows
---@return host.run.Decision?
---@return host.Error?
function run.approval(question, opts) end

---This branch cannot go on because of `err`. When nothing else of the run goes on, it stops with err. A resumed run goes
---on behind this call: with what was said by `--assume` for outcome_unknown, else with "retry".
---@async
---@param err host.Error
---@return "done"|"retry"|"fail"|nil
---@return host.Error?
function run.park(err) end

---Seconds that this run has worked, from an arbitrary start: for limits. The time between a stop and its resume does not
---count.
---@return number
function run.clock() end

---What follows is only the run's last words (an answer without tools, because a limit is reached): a resumed run goes on
---before them.
function run.ending() end

---Whether what the script does now is answered from the journal: a resumed run that has not yet come to where it stopped.
---@return boolean
function run.is_replaying() end

return run
