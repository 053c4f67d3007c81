-- How the program itself starts the emulator: `--emulate` and `demo` inside their own process, `agenthost
-- emulate` as a process of its own. Called by host.c and cmd_emulate.c; what it answers must be plain data.

local emulator = require "emulator"

local running = {} -- keeps the servers: nobody else holds them

local M = {}

-- Starts one beside the script that is about to run. Answers the settings that replace the services'.
function M.here(options)
  local e, err = emulator.start(options)
  if not e then return nil, err end
  running[#running + 1] = e
  return e.env
end

-- Starts one for other programs. Options are those of emulator.start.
function M.process(options)
  local e, err = emulator.start(options)
  if not e then return nil, err end
  running[#running + 1] = e
  return { url = e.url, port = e.port, env = e.env }
end

return M
