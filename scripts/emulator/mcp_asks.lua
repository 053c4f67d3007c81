-- What an emulated MCP server asks of its client before a tool runs, when a trouble says so: to fill in a form, to
-- have its model say something, for its folders, for a sign of life. Up to 2025-11-25 the question is a request on the
-- session's standing stream or on the answer's own; since 2026-07-28 it is a result that wants the call once more.
-- Called by mcp_server.lua; runs no tool itself.
local json = require "host.json"
local task = require "host.task"
local world_of = require "emulator.world"

local given, is_object = world_of.given, world_of.is_object
local M = {}

local ALIVE, PATIENCE = 15, 30 -- seconds between signs of life on an idle stream; that an answer may take
local KEPT = 100

-- kind of trouble -> what is asked, and the client's capability for it
local QUESTIONS = {
  ask_elicitation = { method = "elicitation/create", capability = "elicitation", params = { mode = "form",
    message = "May this tool run? (emulated)", requestedSchema = { type = "object", required = json.array { "agree" },
      properties = { agree = { type = "boolean", title = "Agree", default = true },
        note = { type = "string", title = "Note", default = "emulated" } } } } },
  ask_sampling = { method = "sampling/createMessage", capability = "sampling", params = { maxTokens = 16,
    messages = json.array { { role = "user", content = { type = "text", text = "Say yes. (emulated)" } } } } },
  ask_roots = { method = "roots/list", capability = "roots" },
  ask_ping = { method = "ping" },
}

-- The question that a request's trouble asks for, or nil.
function M.question(request)
  for kind, question in pairs(QUESTIONS) do
    if request.has(kind) then return question end
  end
  return nil
end

function M.can(question, capabilities)
  return not question.capability or (is_object(capabilities) and given(capabilities[question.capability]) ~= nil)
end

local function event(message) return ("event: message\ndata: %s\n\n"):format(assert(json.encode(message))) end

-- sessions -----------------------------------------------------------------------------------------------

function M.new_session(capabilities) return { capabilities = capabilities, out = {} } end

local function ring(session)
  if session.bell then session.bell:set() end
end

function M.end_session(session)
  session.over = true
  ring(session)
end

-- The standing stream of a session: what the server says by itself, until the session or the client ends it. A newer
-- one takes its place.
function M.standing(session)
  local mine = {}
  session.reader = mine
  ring(session)
  local function more(stream)
    while session.reader == mine and not session.over do
      if stream and stream:gone() then break end
      if session.out[1] then return event(table.remove(session.out, 1)) end
      session.bell = task.event()
      local bell = session.bell
      local rung = task.timeout(ALIVE, function()
        bell:wait()
        return true
      end)
      if not rung then return ": still here\n\n" end
    end
    if session.reader == mine then session.reader = nil end
    return nil
  end
  return 200, { ["content-type"] = "text/event-stream", ["cache-control"] = "no-cache" },
    { chunks = { ": standing\n\n" }, more = more }
end

-- a question and its answer ------------------------------------------------------------------------------

-- Asks on the standing stream, where there is one and the form wants it; else `own` is the event to write on the
-- answer's own stream. -> { wait = function() -> the client's message or nil }, own
function M.ask(self, call, question)
  local session, request = call.session, call.request
  self.asked_count = self.asked_count + 1
  local id = ("server-%d"):format(self.asked_count)
  local message = { jsonrpc = "2.0", id = id, method = question.method, params = question.params }
  local pending = { bell = task.event(), session = session }
  self.asked[id], self.asked[("server-%d"):format(self.asked_count - KEPT)] = pending, nil
  local own
  if session.reader and request.forms.mcp_asks == "standing" then
    session.out[#session.out + 1] = message
    ring(session)
  else
    own = event(message)
  end
  local seconds = request.trouble and request.trouble.seconds or PATIENCE
  return function()
    task.timeout(seconds, function() pending.bell:wait() end)
    self.asked[id] = nil
    return pending.said
  end, own
end

-- An answer of the client's, to a question of ours or of nobody's.
function M.take(self, session, message)
  local pending = type(message.id) == "string" and self.asked[message.id]
  if not pending or pending.session ~= session then return end
  pending.said = message
  pending.bell:set()
end

-- What the call becomes: true and words about the answer, or false and why the tool does not run.
function M.verdict(question, said)
  local shown = not said and "nothing" or assert(json.encode(said.result ~= nil and said.result or said.error))
  local words = ("The client answered %s with %s"):format(question.method, shown)
  if question.capability ~= "elicitation" then return true, words end
  local result = said and is_object(given(said.result)) and said.result or {}
  local content = is_object(given(result.content)) and result.content or {}
  return result.action == "accept" and content.agree ~= false, words
end

-- since 2026-07-28 ---------------------------------------------------------------------------------------

-- A result that wants the same call again with an answer.
function M.input_required(self, call, question)
  local state = self.world:hex(24)
  self.states[state] = given(call.params.name) or ""
  self.state_order[#self.state_order + 1] = state
  if #self.state_order > KEPT then self.states[table.remove(self.state_order, 1)] = nil end
  return { resultType = "input_required", requestState = state,
    inputRequests = { q1 = { method = question.method, params = question.params } } }
end

-- The answer that a repeated call brings: a message, nil when there is none; false when its state is not ours.
function M.input_of(self, call)
  local responses = given(call.params.inputResponses)
  if not is_object(responses) then return nil end
  local state = given(call.params.requestState)
  if type(state) ~= "string" or self.states[state] ~= given(call.params.name) then return false end
  self.states[state] = nil
  return { result = given(responses.q1) }
end

-- ---------------------------------------------------------------------------------------------------------

-- Lets go of all that waits: standing streams, and calls that wait for an answer.
function M.close(self)
  for _, session in pairs(self.mcp_sessions) do M.end_session(session) end
  for _, pending in pairs(self.asked) do pending.bell:set() end
end

function M.install(self)
  self.asked, self.asked_count, self.states, self.state_order = {}, 0, {}, {}
end

return M
