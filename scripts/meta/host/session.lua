---@meta host.session
-- Conversations in the journal that several runs go on with. Agents do it by themselves: agent{ session = "…" }. Each
-- identifier has sessions of its own; where none is given it is script.identifier(), else nobody's ("").

---@class host.session
local session = {}

---@class host.session.Session
---@field name string
---@field identifier string # "": nobody's
---@field id string # thread_id in traces
---@field script string # that began it
---@field steps integer # messages, an answer with the results of its calls being one
---@field started number # seconds since 1970
---@field used number
---@field emulated boolean # begun on the emulator: only emulated runs go on with it
---@field busy boolean # a run goes on with it now
---@field forked_from? string
---@field forked_at? integer # the last step that it shares

---@class host.session.Open: host.session.Session
---@field key integer # for append and close
---@field tip integer # for append
---@field messages table[]

---@class host.session.Row
---@field step integer
---@field at number # seconds since 1970
---@field message? table
---@field messages? table[] # instead: they stand for all that was before (a conversation that was made shorter)

---The sessions of a user, newest use first.
---@param opts? { identifier?: string }
---@return host.session.Session[]?
---@return host.Error?
function session.list(opts) end

---The name of the session that this script used last for this user.
---@param opts { identifier?: string }
---@return string?
---@return host.Error?
function session.last(opts) end

---All that was said in a session, in order.
---@param name string
---@param opts? { identifier?: string }
---@return host.session.Row[]?
---@return host.Error?
function session.read(name, opts) end

---Takes a session until it is closed, or the process ends; begins it when it is not there. Another run cannot take it then
---(code session_busy).
---@param opts { name: string, identifier?: string, must_exist?: boolean }
---@return host.session.Open?
---@return host.Error?
function session.open(opts) end

---Adds messages behind `tip`: the new tip. A message of role tool belongs to the step before it. `replaces`: the list stands
---for all that was before.
---@param key integer
---@param tip integer
---@param messages table[]
---@param opts? { replaces?: boolean }
---@return integer?
---@return host.Error? # code session_moved: somebody else went on with it
function session.append(key, tip, messages, opts) end

---@param key integer
function session.close(key) end

---A new session `to` that shares the steps up to `at` (nil: all). Nothing is copied.
---@param opts { name: string, to: string, at?: integer, identifier?: string }
---@return true?
---@return host.Error?
function session.fork(opts) end

---@param opts { name: string, identifier?: string }
---@return true?
---@return host.Error?
function session.remove(opts) end

return session
