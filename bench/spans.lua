-- The hot path of tracing: N spans of BYTES each (inputs and outputs together), one after the other, then until all
-- have arrived. The last line of stdout is JSON: microseconds a span as the script feels them (with the last commit),
-- spans a second until they are at the far end, peak memory.
--
--     agenthost run bench/spans.lua [N [BYTES]]
local host = require "host"
local json = require "host.json"
local langsmith = require "host.langsmith"
local script = require "host.script"
local task = require "host.task"
local trace = require "host.trace"

local args = script.args()
local count = math.tointeger(tonumber(args[1] or 20000))
local bytes = math.tointeger(tonumber(args[2] or 1024))
if not count or not bytes or count < 1 or bytes < 128 then error "usage: agenthost run bench/spans.lua [N [BYTES]]" end

-- {"messages":[{"role":"user","content":"…"}],"n":1} and {"output":"…","i":1}: what is not text takes about 70 bytes.
-- Each text is another one, so that none is stored once for all.
local half = ("x"):rep((bytes - 70) // 2)

local leaf = trace.traceable(function(i)
  return { output = i.n .. half, i = i.n }
end, { name = "leaf", run_type = "tool" })

local start = host.time()
for n = 1, count do
  leaf { messages = { { role = "user", content = n .. half } }, n = n }
end
task.sleep(0) -- a turn of the loop: what is queued is written
local said = host.time()
local _, failed = langsmith.flush(600)
if failed then error(failed) end
local drained = host.time()

print(json.encode {
  caller_us_per_span = (said - start) / count * 1e6 // 0.1 / 10,
  drained_spans_per_s = math.floor(count / (drained - start)),
  rss_mb = host.memory() / 2 ^ 20 // 0.1 / 10,
})
