-- Webhook deliveries: what the service would send when an account changes, signed. Called by app.lua; kept for
-- GET /__emulator/webhooks, and sent by init.lua when a scenario names an address.
local json = require "host.json"
local text = require "emulator.text"

local M = {}

local KEPT = 100

local function bytes_of(hex) return (hex:gsub("%x%x", function(h) return string.char(tonumber(h, 16)) end)) end

-- HMAC-SHA256 over host.sha256, which answers hex.
local function hmac(key, message)
  local sha256 = require("host").sha256
  if #key > 64 then key = bytes_of(sha256(key)) end
  key = key .. ("\0"):rep(64 - #key)
  local function mask(byte) return (key:gsub(".", function(c) return string.char(c:byte() ~ byte) end)) end
  return bytes_of(sha256(mask(0x5c) .. bytes_of(sha256(mask(0x36) .. message))))
end

-- The signature header of one delivery: "v1,<base64>".
function M.sign(secret, id, stamp, body)
  local key = text.unbase64((secret:gsub("^whsec_", ""))) or secret
  return "v1," .. text.base64(hmac(key, ("%s.%s.%s"):format(id, stamp, body)))
end

-- options: { url =, secret = } of a scenario. `send(delivery)` may be set by who owns a socket.
function M.new(world, options)
  return { world = world, list = {}, url = options.url, secret = options.secret or "whsec_"
    .. text.base64("emulated key") }
end

function M.emit(self, kind, account, more)
  local world = self.world
  local data = { id = account.id, identifier = account.identifier, connection_id = account.connection_id,
    connection_name = account.connector, provider = account.provider, status = account.status,
    authorization_type = account.authorization_type, token_expires_at = account.token_expires_at,
    last_used_at = account.last_used_at }
  if kind == "status_updated" then data.token_expires_at, data.last_used_at = nil, nil end
  for k, v in pairs(more or {}) do data[k] = v end
  self.count = (self.count or 0) + 1
  local id = ("evt_%018d"):format(self.count)
  local body = assert(json.encode { spec_version = "1", id = id, type = "connected_account." .. kind,
    occurred_at = account.updated_at or world:stamp(), environment_id = "env_emulator", object = "ConnectedAccount",
    data = data })
  local found, host = pcall(require, "host")
  local stamp = ("%d"):format(math.floor(text.micros(account.updated_at or world:stamp()) / 1e6))
  local delivery = { url = self.url, body = body, headers = { ["content-type"] = "application/json",
    ["webhook-id"] = id, ["webhook-timestamp"] = stamp,
    ["webhook-signature"] = found and host.sha256 and M.sign(self.secret, id, stamp, body) or nil } }
  self.list[#self.list + 1] = delivery
  if self.wire then self.wire:webhook(body) end
  if #self.list > KEPT then table.remove(self.list, 1) end
  if self.send and self.url then self.send(delivery) end
end

return M
