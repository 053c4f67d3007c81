-- Events that Scalekit sends: changes of connected accounts, and triggers (at least once: the same one may come again).
-- A handler for host.server; signatures are checked by host.scalekit.
--
--     server.listen { port = 8080, handler = webhooks.receiver { secret = host.secret "SCALEKIT_WEBHOOK_SECRET",
--       on = { ["connected_account.status_updated"] = function(event) … end } } }
local host = require "host"
local scalekit = require "host.scalekit"
local fields = require "agent.fields"

local webhooks = {}

local REMEMBERED = 4096
local option_fields = { secret = "any", on = "table", tolerance = "number" }

local function say(status, text) return status, { ["content-type"] = "text/plain" }, text .. "\n" end

-- What makes an event the same as another: a trigger's own key, else the event's id, else the delivery's.
local function key_of(event, headers) return event.dedupe_key or event.id or headers["webhook-id"] end

function webhooks.receiver(opts)
  fields.check("webhooks.receiver", opts, option_fields, 2)
  fields.need("webhooks.receiver", opts, { "secret", "on" }, 2)
  local seen, order, first = {}, {}, 1
  return function(req)
    if req.method ~= "POST" then return say(405, "POST expected") end
    local event, err = scalekit.verify_webhook { secret = opts.secret, headers = req.headers, body = req.body,
      tolerance = opts.tolerance }
    if not event then return say(err.kind == "config" and 500 or 401, "not accepted") end
    local key = tostring(key_of(event, req.headers))
    if seen[key] then return say(200, "seen before") end
    local act = opts.on[event.type or event.trigger_type] or opts.on["*"]
    if not act then return say(200, "nobody waits for it") end
    seen[key] = true -- before the function waits: the next delivery may come while it does
    local ok, message = pcall(act, event)
    if not ok then
      seen[key] = nil
      host.log("error", ("webhook %s: %s"):format(key, tostring(message)))
      return say(500, "failed") -- it is sent again
    end
    order[#order + 1] = key
    if #order - first >= REMEMBERED then
      seen[order[first]], order[first] = nil, false
      first = first + 1
    end
    return say(200, "ok")
  end
end

return webhooks
