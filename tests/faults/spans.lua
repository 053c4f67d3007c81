-- What the programs of tests/faults run: `turns` times a nest of three spans, named PREFIX-TURN-a, -b, -c, and then a
-- wait. A line "did NAME" is written when a span has ended, "ok TURN" after the wait: what ended before that is what
-- the journal promises to keep. With "flush", everything is sent now and then and at the end; with "runs", each turn is a
-- run of its own.
--     agenthost run spans.lua PREFIX TURNS [flush] [runs] [pause=SECONDS]
local langsmith = require "host.langsmith"
local script = require "host.script"
local task = require "host.task"
local trace = require "host.trace"

local args = script.args()
local prefix, turns = args[1], math.tointeger(tonumber(args[2]))
local has, pause = {}, 0
for i = 3, #args do
  has[args[i]] = true
  pause = tonumber(args[i]:match "^pause=(.+)") or pause
end

local function say(...)
  io.write(table.concat({ ... }, " "), "\n")
  io.flush()
end

local function span(turn, letters)
  local name = ("%s-%d-%s"):format(prefix, turn, letters:sub(1, 1))
  trace.span(name, { run_type = "tool", inputs = { turn = turn, text = name:rep(20) } }, function()
    if #letters > 1 then span(turn, letters:sub(2)) end
    return { done = name }
  end)
  say("did", name)
end

for turn = 1, turns do
  if has.runs then
    trace.run({ name = ("%s-%d-run"):format(prefix, turn) }, span, turn, "abc")
  else
    span(turn, "abc")
  end
  task.sleep(pause)
  say("ok", turn)
  if has.flush and turn % 3 == 0 then langsmith.flush(20) end
end
if has.flush then langsmith.flush(60) end
