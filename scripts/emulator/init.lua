-- The emulator on a socket: Scalekit, OpenAI and LangSmith on loopback, in this process. Called by the
-- commands emulate and demo, by --emulate, and by anybody who tests:
--
--   local emulator = require "emulator"
--   local e = assert(emulator.start { port = 0, scenario = "mine.lua" })
--   print(e.url, e.env.OPENAI_BASE_URL)
--   e.close()
local app_of = require "emulator.app"
local scenario_of = require "emulator.scenario"

local M = {}

local OPTIONS = { port = true, address = true, services = true, seed = true, clock = true, scenario = true,
  log = true, open = true,
  accounts = true, gateway = true, troubles = true }

local function send_chunks(app, req, status, headers, body)
  local task = require "host.task"
  if body.wait then task.sleep(body.wait) end
  if body.silent then
    req:abort() -- not one byte
    return
  end
  local stream, err = req:stream(status, headers)
  if not stream then return app.world.log("no stream: " .. tostring(err)) end
  for i, chunk in ipairs(body.chunks) do
    if body.delay and i > 1 then task.sleep(body.delay) end
    if chunk ~= "" and not stream:write(chunk) then return end -- the client left
  end
  for piece in body.more or function() end, stream do
    if not stream:write(piece) then return end
  end
  if body.cut then stream:abort() else stream:finish() end
end

local function on_request(app, req)
  local status, headers, body = app:handle {
    method = req.method, path = req.path, raw_query = req.raw_query or "", headers = req.headers, body = req.body or "",
  }
  if type(body) == "string" then return status, headers, body end
  if body.wait and #body.chunks == 1 and not body.cut then -- slow, but whole: keep its Content-Length
    require("host.task").sleep(body.wait)
    return status, headers, body.chunks[1]
  end
  send_chunks(app, req, status, headers, body) -- a handler that streams returns nothing
end

-- options: port (0 = any free one), address, services ("all" or a list of scalekit, openai, langsmith), seed,
-- clock, scenario (path or table), log (function(line)), open (any key is good), accounts ("active" |
-- "pending"), gateway (true: OpenAI as LiteLLM's proxy shows it), troubles (list). An instance, or nil and an error.
function M.start(options)
  options = options or {}
  for name in pairs(options) do
    if not OPTIONS[name] then error(("emulator.start: unknown option %q"):format(tostring(name)), 2) end
  end
  local copy = {}
  for k, v in pairs(options) do copy[k] = v end
  if type(copy.scenario) == "string" then
    local value, message = scenario_of.load(copy.scenario)
    if not value then return nil, { kind = "config", message = message } end
    copy.scenario = value
  end
  local ok, app = pcall(app_of.new, copy)
  if not ok then return nil, { kind = "config", message = tostring(app) } end
  app.send_webhook = function(delivery)
    require("host.task").spawn(function()
      local _, err = require("host.http").post(delivery.url, { headers = delivery.headers, body = delivery.body })
      if err then app.world.log("webhook: " .. tostring(err)) end
    end)
  end
  app.webhooks.send = app.send_webhook
  local server, err = require("host.server").listen {
    port = copy.port or 0, address = copy.address, handler = function(req) return on_request(app, req) end,
  }
  if not server then return nil, err end
  local port = server:port()
  app.url = ("http://%s:%d"):format(copy.address or "127.0.0.1", port)
  return { url = app.url, port = port, env = app:env(app.url), app = app, close = function()
    app:close()
    server:close()
  end }
end

return M
