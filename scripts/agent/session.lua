-- Sessions: a conversation over several runs. `agenthost run --session trip FILE "…"` begins one or goes on with it,
-- `-c` goes on with the last one of this script and user; `agenthost session` lists, shows, forks and removes them. In
-- a script: agent{ session = "trip", … }, or value:run(input, { session = "trip" }).
--
-- What is kept is what the model is sent, without the system message: that is the prompt's file as it is then. It is
-- kept as the agent goes, so a run that is cut leaves a session that can be gone on with. One run at a time: a second
-- one is refused. Each identifier has sessions of its own.
local script = require "host.script"
local session = require "host.session"
local trace = require "host.trace"
local errors = require "agent.errors"

local sessions = {}
sessions.__index = sessions

local CUT = "Error: the run ended before this call had a result. It may have been carried out: look before you call it "
  .. "again."

-- Which session a run is of. The flags are the command line's, and hold for the agent that a script returns (park).
-- Returns a name, and whether it must be there; nothing: none; or nil, err.
local function choose(spec, opts, who)
  local name = opts.park and script.option "session" or opts.session or spec.session
  local go_on = opts.park and script.option "continue" ~= nil
  if name or not go_on then return name, nil, go_on end
  local last, err = session.last { identifier = who }
  return last, err, true
end

local open = {} -- sessions that an agent of this script is at

local function leave(self)
  open[self.key] = nil
  session.close(self.key)
end

sessions.__close = leave

-- Opens the session of a run, if it has one: the value, to be closed; false when there is none; or nil, err.
function sessions.open(spec, opts, who)
  who = who or ""
  local name, err, must_exist = choose(spec, opts, who)
  if err then return nil, err end
  if not name then return false end
  local found
  found, err = session.open { name = name, identifier = who, must_exist = must_exist }
  if not found then return nil, err end
  if open[found.key] then
    return errors.fail {
      kind = "config", code = "session_busy",
      message = ("another agent of this script goes on with the session '%s' now: let it end first"):format(name),
    }
  end
  open[found.key] = true
  return setmetatable({ key = found.key, tip = found.tip, id = found.id, name = name, old = found.messages }, sessions)
end

-- The conversation so far, for history.new; calls that a run left without a result get one that says so.
function sessions:messages() return self.old, CUT end

-- The runs of one conversation are one thread in LangSmith.
function sessions:describe()
  local here = trace.current()
  if not here then return end
  local thread = { thread_id = self.id, session = self.name }
  if here.id == here.trace_id then trace.metadata(thread) else trace.set { metadata = thread } end
end

-- Keeps what is new in a history. true; or nil, err.
function sessions:keep(history)
  local new, replaces = history:take_new()
  if #new == 0 then return true end
  local tip, err = session.append(self.key, self.tip, new, { replaces = replaces })
  if not tip then return nil, errors.of(err) end
  self.tip = tip
  return true
end

return sessions
