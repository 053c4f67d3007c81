-- Accounts that are not ready: missing, PENDING, EXPIRED, or without a right that a call needs. A person must open a
-- link; until then only the branch that needs the account waits, and others go on. Called by agent.connectors before
-- the tools are fetched and by agent.tools when a call is refused.
--
-- How long: the field auth_timeout, the flag --auth-timeout, else 300 s where a person sits at the terminal and 0
-- elsewhere: then the run ends with kind needs_auth and exit code 11.
local host = require "host"
local scalekit = require "host.scalekit"
local script = require "host.script"
local task = require "host.task"
local errors = require "agent.errors"

local accounts = {}

local PATIENCE = 300 -- seconds, at a terminal
local POLL = 2

-- Seconds to wait for a person. given: auth_timeout of agent{…}.
function accounts.patience(given)
  local flag = tonumber(script.option "auth-timeout" or "")
  return flag or given or (script.option "interactive" and PATIENCE or 0)
end

local function say(connection, identifier, link, seconds)
  io.stderr:write(("agenthost: %s of %s needs authorization; open this link (waiting up to %d s): %s\n")
    :format(connection, identifier, math.ceil(seconds), link))
  if script.option "open" then
    local ok, err = host.open_link(link)
    if not ok then host.log("warn", "the link could not be opened: " .. tostring(err)) end
  end
end

local function needs_auth(connection, identifier, status, link)
  return errors.fail {
    kind = "needs_auth", link = link, account_status = status, connection = connection, identifier = identifier,
    message = ("the %s account of %s is %s. Let %s open this link, then run again: %s"):format(connection, identifier,
      status == "ACTIVE" and "ACTIVE but not allowed to do this" or status .. ", not ACTIVE", identifier, link),
  }
end

local function fresh_link(service, connection, identifier, status)
  local auth, err = service.get_authorization_link { connection_name = connection, identifier = identifier }
  if auth then return auth.link end
  return errors.fail {
    kind = "account_not_active", account_status = status, connection = connection, identifier = identifier,
    message = ("the %s account of %s is %s, not ACTIVE, and no authorization link could be made: %s")
      :format(connection, identifier, status, errors.of(err).message),
  }
end

-- Until the account is ACTIVE; the host makes a link that expires in the wait anew.
local function wait_for_consent(service, connection, identifier, seconds)
  local account, err = service.wait_until_active {
    connection_name = connection, identifier = identifier, timeout = seconds,
    on_link = function(link) say(connection, identifier, link, seconds) end,
  }
  if not account then return nil, errors.of(err) end
  return account
end

-- Until an account that is ACTIVE already was authorized anew: its time of change is another one.
local function wait_for_change(service, connection, identifier, seconds, link)
  local who = { connection_name = connection, identifier = identifier }
  local before, err = service.get_connected_account(who)
  if not before then return nil, errors.of(err) end
  say(connection, identifier, link, seconds)
  local waited = 0
  while waited < seconds do
    task.sleep(math.min(POLL, seconds - waited))
    waited = waited + POLL
    local now = service.get_connected_account(who)
    if now and now.status == "ACTIVE" and (before.status ~= "ACTIVE" or now.updated_at ~= before.updated_at) then
      return now
    end
  end
  return needs_auth(connection, identifier, before.status, link)
end

-- One wait for one account, however many calls need it: the first asks, the others share its outcome.
local waiting = {}

local function once(connection, identifier, wait)
  local key = connection .. "\0" .. identifier
  local other = waiting[key]
  if other then
    other.event:wait()
    if other.account then return other.account end
    return nil, other.err or errors.new { kind = "cancelled", message = "the wait for authorization was cancelled" }
  end
  local mine = { event = task.event() }
  waiting[key] = mine
  local _ <close> = setmetatable({}, {
    __close = function()
      waiting[key] = nil
      mine.event:set()
    end,
  })
  mine.account, mine.err = wait()
  return mine.account, mine.err
end

-- The user's account at one connection, made when there is none, ACTIVE; or nil, err after `seconds`.
function accounts.open(service, connection, identifier, seconds)
  local account, err = service.get_or_create_connected_account {
    connection_name = connection, identifier = identifier,
  }
  if not account then return nil, errors.of(err) end
  if account.status == "ACTIVE" then return account end
  if seconds > 0 then
    return once(connection, identifier, function()
      return wait_for_consent(service, connection, identifier, seconds)
    end)
  end
  local status = tostring(account.status)
  local link, why = fresh_link(service, connection, identifier, status)
  if not link then return nil, why end
  return needs_auth(connection, identifier, status, link)
end

-- Did a call fail because the account must be authorized (again)? Such a call did nothing.
function accounts.refused(err)
  return err.kind == "needs_auth" or err.kind == "account_not_active" or err.kind == "tool_error" and err.link ~= nil
end

-- After a refused call: true when the account was authorized within `seconds`, else nil, err of kind needs_auth.
function accounts.renew(err, connection, identifier, seconds, service)
  service = service or scalekit
  local link = err.link
  if not link then
    local made, why = fresh_link(service, connection, identifier, err.account_status or "not ACTIVE")
    if not made then return nil, why end
    link = made
  end
  if seconds <= 0 then return needs_auth(connection, identifier, err.account_status or "ACTIVE", link) end
  local account, why = once(connection, identifier, function()
    if err.kind == "tool_error" then return wait_for_change(service, connection, identifier, seconds, link) end
    return wait_for_consent(service, connection, identifier, seconds)
  end)
  if not account then return nil, why end
  return true
end

return accounts
