-- Several runs of an agent side by side, each with a task of its own. The answers come in the order of the tasks,
-- whichever is ready first.
local agent = require "agent"
local task = require "host.task"
local trace = require "host.trace"

local mail = agent {
  connectors = { "gmail" },
  identifier = "user_123",
  prompt = "prompts/gmail_digest.md",
}

local inputs = {
  "Fetch my last 3 unread emails and summarize them",
  "Fetch my last unread email and summarize it",
}

local jobs = {}
for i, input in ipairs(inputs) do
  jobs[i] = function()
    return trace.span("digest " .. i, { inputs = { input = input } }, function()
      return assert(mail:run(input)).answer
    end)
  end
end

for i, answer in ipairs(task.all(jobs)) do print(("%d. %s"):format(i, answer)) end
