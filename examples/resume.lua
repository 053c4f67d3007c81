-- A run that is interrupted goes on where it was: what the script saw of the world is in the journal, and nothing that
-- was done is done again.
--
--   agenthost run --emulate examples/resume.lua      press Ctrl-C while it waits (exit code 130)
--   agenthost resume last
--
-- The resumed run has the same time, the same chance and the same answers up to where it stopped.
local host = require "host"
local task = require "host.task"

local lucky = host.random(1000000)
print(("It is %s, and the number is %d."):format(os.date("!%H:%M:%S", math.floor(host.time())), lucky))
for i = 1, 3 do
  task.sleep(0.2)
  print(("step %d of 3"):format(i))
end
print(("Still the same number: %d."):format(lucky))
