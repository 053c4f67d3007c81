-- Events: what the service tells when an account changes. Listed by POST /api/v1/events; as webhook deliveries,
-- signed, kept for GET /__emulator/webhooks, and sent by init.lua when a scenario names an address. Called by app.lua.
local json = require "host.json"
local accounts_of = require "emulator.accounts"
local reply = require "emulator.reply"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given, is_array = world_of.given, world_of.is_array

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
  return { world = world, list = {}, events = {}, url = options.url, secret = options.secret or "whsec_"
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
  local event = { spec_version = "1", id = id, type = "connected_account." .. kind,
    occurred_at = account.updated_at or world:stamp(), environment_id = "env_emulator", object = "ConnectedAccount",
    data = data }
  local body = assert(json.encode(event))
  self.events[#self.events + 1] = event
  if #self.events > KEPT then table.remove(self.events, 1) end
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

local function post_events(self, request)
  local filter, rows, types = request:object() or {}, {}, nil
  if is_array(given(filter.event_types)) then
    types = {}
    for _, name in ipairs(filter.event_types) do types[name] = true end
  end
  local from, to = text.micros(given(filter.start_time) or ""), text.micros(given(filter.end_time) or "")
  for _, event in ipairs(self.events) do
    local at = text.micros(event.occurred_at)
    if (not types or types[event.type]) and (not from or at >= from) and (not to or at <= to)
      and (not given(filter.connection_id) or filter.connection_id == event.data.connection_id)
      and (not given(filter.connected_account_id) or filter.connected_account_id == event.data.id) then
      table.insert(rows, 1, event) -- the newest first
    end
  end
  local page, following, previous = accounts_of.page(rows, request, {})
  if not page then return reply.violations(following) end
  return reply.json(200, { events = page, total_size = #rows, next_page_token = following, prev_page_token = previous })
end

function M.install(self, app)
  app:route("scalekit", "logs", "POST", "/api/v1/events", function(request) return post_events(self, request) end)
end

return M
