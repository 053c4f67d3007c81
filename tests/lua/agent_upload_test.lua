-- run: --emulate
-- agent.upload and agent.webhooks against the emulator: pieces, failures in the middle, refusals; signed events, once.
local t = require "testing"
local host = require "host"
local http = require "host.http"
local json = require "host.json"
local server = require "host.server"
local upload = require "agent.upload"
local webhooks = require "agent.webhooks"

local URL = host.config "SCALEKIT_ENVIRONMENT_URL"
local PIECE = 256 * 1024
local MAIL = "To: a@example.com\r\nSubject: long\r\n\r\n" .. ("x"):rep(3 * PIECE)

local function trouble(what)
  t.ok(http.post(URL .. "/__emulator/trouble", { json = what }))
end

local function opts(more)
  local o = { connection_name = "gmail", identifier = "uploader", content_type = "message/rfc822", piece = PIECE,
    path = "/upload/gmail/v1/users/me/messages/send", body = MAIL }
  for k, v in pairs(more or {}) do o[k] = v or nil end
  return o
end

t.test("a file goes in pieces, from a text or a function", function()
  local seen = {}
  local res = t.ok(upload.resumable(opts { on_progress = function(sent) seen[#seen + 1] = sent end }))
  t.eq({ res.status, seen }, { 200, { PIECE, 2 * PIECE, 3 * PIECE } })
  t.ok(res:json().id)
  local asked = {}
  res = t.ok(upload.resumable(opts { body = false, size = #MAIL, read = function(from, n)
    asked[#asked + 1] = n
    return MAIL:sub(from + 1, from + n)
  end }))
  t.eq({ res.status, #asked, asked[1] }, { 200, 4, PIECE })
end)

t.test("a piece that fails is asked after: nothing is sent twice", function()
  for _, how in ipairs { { what = "503" }, { what = "tool_error", status = 503, after = true }, { what = "reset", after = true } } do
    how.where, how.match, how.times, how.skip = "proxy", "upload_id", 1, 1
    trouble(how)
    local before = http.get(URL .. "/__emulator/state"):json().outbox
    local res = t.ok(upload.resumable(opts()))
    t.eq(res.status, 200)
    t.eq(#http.get(URL .. "/__emulator/state"):json().outbox, #before + 1)
  end
end)

t.test("what cannot be mended is said", function()
  t.raises("one of body and read", upload.resumable, { connection_name = "gmail", path = "/x" })
  t.raises("multiple of 262144", upload.resumable, opts { piece = 1000 })
  t.raises("unknown field 'boddy'", upload.resumable, opts { boddy = "x" })
  t.raises("needs size", upload.resumable, opts { body = false, read = print })
  t.err("io", upload.resumable(opts { body = false, size = 10, read = function() return "short" end }))
  t.err("tool_error", upload.resumable(opts { path = "/upload/gmail/v1/users/me/nothing", body = "x" }))
  trouble { where = "proxy", what = "tool_error", status = 403, match = "upload_id", times = 1 }
  t.err("tool_error", upload.resumable(opts()))
  t.err("protocol", upload.resumable(opts { path = "/gmail/v1/users/me/messages/send", body = MAIL,
    metadata = { raw = "VG86IGFAYg0KDQp4" } }))
end)

t.test("events come once, signed; a failure is sent again", function()
  local got, failures = {}, 1
  local receive = webhooks.receiver { secret = "whsec_YSBzZWNyZXQga2V5IG9mIDI0IGI=", tolerance = 1e9, on = {
    ["connected_account.created"] = function(event) got[#got + 1] = event.id end,
    ["message.received"] = function(event)
      if failures > 0 then
        failures = failures - 1
        error "not now"
      end
      got[#got + 1] = event.dedupe_key
    end,
    boom = error,
  } }
  local sign = require("emulator.webhooks").sign
  local function deliver(event, secret)
    local body = json.encode(event)
    local status, _, said = receive { method = "POST", body = body, headers = { ["webhook-id"] = "d", ["webhook-timestamp"] =
      "1700000000", ["webhook-signature"] = sign(secret or "whsec_YSBzZWNyZXQga2V5IG9mIDI0IGI=", "d", "1700000000", body) } }
    return { status, (said:gsub("\n", "")) }
  end
  local created = { id = "evt_1", type = "connected_account.created" }
  t.eq(deliver(created), { 200, "ok" })
  t.eq(deliver(created), { 200, "seen before" })
  t.eq(deliver(created, "whsec_b3RoZXI="), { 401, "not accepted" })
  t.eq(deliver { id = "evt_2", type = "other" }, { 200, "nobody waits for it" })
  local trigger = { trigger_type = "message.received", dedupe_key = "k1", payload_state = "full", payload = {} }
  t.eq(deliver(trigger), { 500, "failed" })
  t.eq(deliver(trigger), { 200, "ok" })
  trigger.delivery_scope = "account"
  t.eq(deliver(trigger), { 200, "seen before" })
  t.eq(got, { "evt_1", "k1" })
  t.eq((receive { method = "GET", headers = {}, body = "" }), 405)
  t.raises("unknown field", webhooks.receiver, { secret = "x", handlers = {} })
  local s = t.ok(server.listen { port = 0, handler = receive })
  t.eq(select(2, http.post(("http://127.0.0.1:%d/"):format(s:port()), { json = created, retry = false })).status, 401)
  s:close()
end)

t.done()
