-- Authorization links, the page behind them, and the verification of users. Called by app.lua over the
-- accounts of accounts.lua. `verification = "custom"` of a scenario is the environment that verifies users
-- itself: consent makes an account PENDING_VERIFICATION, user/verify makes it ACTIVE.
local accounts_of = require "emulator.accounts"
local reply = require "emulator.reply"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given = world_of.given
local M = {}

-- A new link to an account: its address and what is kept of it.
function M.make(self, account, request, state, verify_url)
  local link = { uuid = self.world:uuid(), account = account, expires = self.world:now() + self.link_seconds,
    state = state or "", verify_url = verify_url or "" }
  self.links[link.uuid] = link
  self.emit("magic_link_generated", account)
  -- one source shows the provider's own page instead of Scalekit's; the emulator's page stands behind both
  local mark = request.forms.link_host == "provider" and "?provider=" .. text.encode_url(account.provider) or ""
  return request:base_url() .. "/magicLink/" .. link.uuid .. mark, link
end

local function post_magic_link(self, request)
  local body = request:object()
  if not body then return reply.grpc("INVALID_ARGUMENT", "the body is not a JSON object") end
  local bad = accounts_of.check_limits(body, { "state", "user_verify_url" })
  if #bad > 0 then return reply.violations(bad) end
  local connector, identifier = given(body.connector), given(body.identifier)
  local account, refused = self:select(body, request)
  if not account then
    -- an unknown pair of a known connection: the call makes the account
    local pair = connector and identifier and not given(body.id)
    if pair and type(connector) == "string" and connector ~= "" and not self.connections[connector] then
      return accounts_of.no_connection(request, connector)
    end
    if not pair or not self.connections[connector] then return table.unpack(refused) end
    account = self:make(connector, identifier, "PENDING_AUTH")
  end
  local verify_url = given(body.user_verify_url) or ""
  if self.verification == "custom" and verify_url == "" and request.forms.verify_url_missing == "400" then
    return reply.violations { { "user_verify_url", "value is required: this environment verifies users itself",
      "required" } }
  end
  local url, link = M.make(self, account, request, given(body.state) or "", verify_url)
  return reply.json(200, { link = url, expiry = self.world:stamp(link.expires) })
end

local function post_verify(self, request)
  local body = request:object()
  if not body then return reply.grpc("INVALID_ARGUMENT", "the body is not a JSON object") end
  local bad = {}
  for _, row in ipairs { { "auth_request_id", 1000 }, { "identifier", 200 } } do
    local v = given(body[row[1]])
    if type(v) ~= "string" or v == "" or #v > row[2] then
      bad[#bad + 1] = { row[1], ("value length must be 1 to %d characters"):format(row[2]), "string.min_len" }
    end
  end
  if #bad > 0 then return reply.violations(bad) end
  local link = self.verifications[body.auth_request_id]
  if not link then return accounts_of.not_found() end
  if link.account.identifier ~= body.identifier then
    return reply.grpc("PERMISSION_DENIED", "identifier does not match the connected account")
  end
  self.verifications[body.auth_request_id] = nil
  self:authorize(link.account, "ACTIVE")
  return reply.json(200, { post_user_verify_redirect_url = request:base_url() .. "/magicLink/" .. link.uuid })
end

-- The page ---------------------------------------------------------------------------------------------

local PAGE = [[<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>%s</title>
<style>body{font:16px sans-serif;max-width:34em;margin:4em auto;padding:0 1em}
button{font:inherit;padding:.5em 1.2em}</style>
</head><body><h1>%s</h1>%s<p><small>This is agenthost's emulator. No account is touched.</small></p></body></html>
]]

local FORM = [[<p><b>%s</b> wants to be connected for <b>%s</b>.</p>
<form method="post"><button name="decision" value="approve">Approve</button>
<button name="decision" value="deny">Deny</button></form>]]

local KEY_FORM = [[<p><b>%s</b> wants the key of <b>%s</b>.</p>
<form method="post"><label>Key <input name="api_key" type="password"></label>
<button name="decision" value="approve">Connect</button></form>]]

local function page(status, title, body) return reply.html(status, PAGE:format(title, title, body)) end

-- The kinds of connection whose page asks for a key instead of consent.
local KEYED = { API_KEY = true, BASIC = true, BASIC_AUTH = true, BEARER = true, BEARER_TOKEN = true }

local function finish(self, link, request, key)
  link.used = true
  if key and key ~= "" then
    link.account.details = { static_auth = { details = { api_key = key } } }
  elseif KEYED[link.account.authorization_type] then
    link.account.details = { static_auth = { details = { api_key = "emulated-" .. self.world:alnum(24) } } }
  end
  if self.verification == "custom" and link.verify_url == "" then
    self:authorize(link.account, "PENDING_VERIFICATION")
    return page(400, "failed_to_exchange", "<p>user_verify_url not configured for verification redirect</p>")
  end
  if link.verify_url ~= "" then
    local id = "authreq_" .. self.world:alnum(24)
    self.verifications[id] = link
    self:authorize(link.account, "PENDING_VERIFICATION")
    local mark = link.verify_url:find("?", 1, true) and "&" or "?"
    local to = ("%s%sauth_request_id=%s&state=%s"):format(link.verify_url, mark, id, text.encode_url(link.state))
    return 302, { location = to }, ""
  end
  self:authorize(link.account, "ACTIVE")
  self.emit("oauth_succeeded", link.account)
  self.world.log(("account %s of %s is ACTIVE"):format(link.account.connector, request.path))
  return page(200, "Connected", "<p>The account is connected. You can close this page.</p>")
end

local function show_link(self, request)
  local link = self.links[request.params.uuid]
  if not link then return page(404, "Unknown link", "<p>There is no such authorization link.</p>") end
  if link.used then return page(200, "Connected", "<p>This link was used. You can close this page.</p>") end
  if self.world:now() > link.expires then
    return page(410, "Link expired", "<p>Ask for a new authorization link.</p>")
  end
  local decision, key = request.query.approve and "approve", nil
  if request.method == "POST" and not decision then
    local form = text.pairs_of(request.body)
    decision = #form == 0 and "approve" or nil
    for _, pair in ipairs(form) do
      if pair[1] == "decision" then decision = pair[2] end
      if pair[1] == "api_key" then key = pair[2] end
    end
  end
  if decision == "approve" then return finish(self, link, request, key) end
  if decision == "deny" then
    link.used = true
    return page(200, "Denied", "<p>Nothing was connected.</p>")
  end
  return page(200, "Connect " .. text.html(link.account.connector),
    (KEYED[link.account.authorization_type] and KEY_FORM or FORM):format(text.html(link.account.connector),
      text.html(link.account.identifier)))
end

function M.install(self, app)
  local function add(method, path, where, handler, opts)
    app:route("scalekit", where, method, path, function(request) return handler(self, request) end, opts)
  end
  add("POST", "/api/v1/connected_accounts/magic_link", "link", post_magic_link)
  add("POST", "/api/v1/connected_accounts/user/verify", "accounts", post_verify)
  add("GET", "/magicLink/{uuid}", "page", show_link, { open = true })
  add("POST", "/magicLink/{uuid}", "page", show_link, { open = true })
end

return M
