-- Which calls of one answer run side by side: neighbours of class read; every other call runs alone, in its turn, so
-- that "read, send, read" reads what was sent. Results are in the order of the calls, whatever ended first.
local task = require "host.task"

local parallel = {}

-- Lists of calls: each list may run side by side, the lists run one after another.
function parallel.groups(calls, class_of)
  local groups, open = {}, nil
  for _, call in ipairs(calls) do
    if class_of(call.name) == "read" then
      if not open then
        open = {}
        groups[#groups + 1] = open
      end
      open[#open + 1] = call
    else
      open = nil
      groups[#groups + 1] = { call }
    end
  end
  return groups
end

local function run_group(group, run)
  if #group == 1 then return { run(group[1]) } end
  local jobs = {}
  for i, call in ipairs(group) do
    jobs[i] = function() return run(call) end
  end
  return task.all(jobs)
end

-- Runs the calls of one answer; `run(call)` returns an outcome and never raises. Stops behind the first group in which
-- an outcome says stop. Returns the outcomes that there are, and the one that stopped, or nil.
function parallel.run(calls, class_of, run)
  local outcomes = {}
  for _, group in ipairs(parallel.groups(calls, class_of)) do
    local stopped
    for _, outcome in ipairs(run_group(group, run)) do
      outcomes[#outcomes + 1] = outcome
      if outcome.stop then stopped = stopped or outcome end
    end
    if stopped then return outcomes, stopped end
  end
  return outcomes, nil
end

return parallel
