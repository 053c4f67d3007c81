-- N agents, CONCURRENCY at once, each a run of its own for a user of its own: account, tools, two model calls and one
-- tool call, traced. The last line of stdout is `agents/s X`.
--
--     agenthost run bench/agents.lua N CONCURRENCY
local host = require "host"
local script = require "host.script"
local task = require "host.task"
local trace = require "host.trace"
local agent = require "agent"

local args = script.args()
local count = math.tointeger(tonumber(args[1] or 1000))
local concurrency = math.tointeger(tonumber(args[2] or 50))
if not count or not concurrency or count < 1 or concurrency < 1 then
  error "usage: agenthost run bench/agents.lua N CONCURRENCY"
end

local digest = agent {
  connectors = { "gmail" },
  input = "Fetch my last 3 unread emails and summarize them",
}

trace.keep_local() -- this script only drives; what is traced are the agents, each a run of its own

local failed, first = 0, nil

local function one(i)
  local user = "user_" .. i
  local ok, why = pcall(trace.run, { name = "agent", identifier = user }, function()
    return assert(digest:run(nil, { identifier = user })).answer
  end)
  if not ok then
    failed, first = failed + 1, first or why
  end
end

local next_agent = 0
local function worker()
  while next_agent < count do
    next_agent = next_agent + 1
    one(next_agent)
  end
end

local workers = {}
for i = 1, math.min(concurrency, count) do workers[i] = worker end

local start = host.time()
task.all(workers)
local took = host.time() - start
if failed > 0 then error(("%d of %d agents failed; the first: %s"):format(failed, count, tostring(first))) end
print(("agents/s %.1f"):format(count / took))
