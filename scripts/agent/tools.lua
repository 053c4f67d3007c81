-- Tools: what a model may call. Those of Scalekit come from agent.connectors; those of your own are Lua functions:
--
--     agent.tool {
--       name = "word_count", description = "Counts the words of a text.",
--       parameters = { type = "object", properties = { text = { type = "string" } }, required = { "text" } },
--       class = "read",
--       run = function(args, call) return select(2, args.text:gsub("%S+", "")) end,
--     }
--
-- What goes wrong in a call becomes a result that the model reads and can act on. Only what no model can mend (see
-- `stops`) ends the run.
local host = require "host"
local json = require "host.json"
local scalekit = require "host.scalekit"
local schema = require "host.schema"
local run = require "host.run"
local trace = require "host.trace"
local accounts = require "agent.accounts"
local comments = require "agent.comments"
local errors = require "agent.errors"
local fields = require "agent.fields"
local near = require "agent.near"
local policy = require "agent.policy"
local offer = require "agent.offer"

local tools = {}

-- ## Defining

local tool_fields = {
  name = "text", description = "text", parameters = "table", input_schema = "table", annotations = "table",
  class = "text", run = "callable", verify = "callable",
  connector = "text", -- the connection that it asks, for the question and the trace
}

local classes = { read = true, idempotent = true, unsafe = true }

-- level: where the blame goes, as in error(); nil for a message without a position.
local function check_tool(given, level)
  local up = level and level + 1
  fields.check("tool", given, tool_fields, up)
  fields.need("tool", given, { "name", "description", "run" }, up)
  if not given.name:match "^[%w_-]+$" or #given.name > 64 then
    fields.blame(("tool: the name '%s' must be 1 to 64 letters, digits, _ or -"):format(given.name), up)
  end
  if given.class and not classes[given.class] then
    fields.blame(("tool: class must be 'read', 'idempotent' or 'unsafe', got '%s'"):format(given.class), up)
  end
  local tool = {}
  for k, v in pairs(given) do tool[k] = v end
  tool.parameters = given.parameters or given.input_schema or { type = "object", properties = {} }
  return tool
end

local function from_function(fn, level)
  local ok, tool = pcall(comments.tool, fn)
  if not ok then fields.blame("tool: " .. tostring(tool), level and level + 1) end
  return tool
end

-- A tool defined in Lua: a table, or a function with comments (see agent.comments). class: "read" (changes nothing: may
-- run beside others, may be repeated), "idempotent" (may be repeated), "unsafe" (the default).
function tools.tool(given)
  if type(given) == "function" then given = from_function(given, 2) end
  return (check_tool(given, 2)) -- in parentheses: a tail call would lose the line to blame
end

-- A list of tools that a user wrote, each checked; those that came from Scalekit pass. Raises, without a position.
function tools.checked(list)
  local out = {}
  for i, tool in ipairs(list) do
    if type(tool) == "function" then tool = from_function(tool) end
    if type(tool) ~= "table" then error(("tools[%d] must be a tool, got %s"):format(i, type(tool)), 0) end
    out[i] = tool.connected_account_id and tool or check_tool(tool)
  end
  return out
end

-- ## Class

local read_verbs = { get = true, list = true, fetch = true, search = true, read = true }
local write_verbs = {}
for verb in ([[add archive batch cancel clear close complete create delete disable edit enable end import insert invite
    join kick leave mark merge modify move open pin post publish push put remove rename reply revoke schedule send set
    star start stop submit transfer trash unarchive unpin unstar untrash update upload upsert verify watch write
    ]]):gmatch "%a+" do
  write_verbs[verb] = true
end

-- "gmail_fetch_mails" and "fetch_mails" read by their verb, "github_issues_list" by its last word; any word that
-- writes wins.
local function class_of_name(name)
  local words = {}
  for word in name:lower():gmatch "%a+" do words[#words + 1] = word end
  for _, word in ipairs(words) do
    if write_verbs[word] then return "unsafe" end
  end
  local reads = read_verbs[words[1]] or read_verbs[words[2]] or (words[#words] ~= "read" and read_verbs[words[#words]])
  return reads and "read" or "unsafe"
end

local NAMES = 1000 -- whose class is remembered

local class_names, names_count = {}, 0

local function remembered_class(name)
  local class = class_names[name]
  if not class then
    if names_count == NAMES then class_names, names_count = {}, 0 end
    class, names_count = class_of_name(name), names_count + 1
    class_names[name] = class
  end
  return class
end

-- What may happen when this tool is called twice: its own word, else its annotations, else its name.
function tools.class(tool)
  if classes[tool.class] then return tool.class end
  local hints = tool.annotations
  if type(hints) == "table" then
    if hints.read_only_hint == true then return "read" end
    if hints.idempotent_hint == true then return "idempotent" end
    if hints.read_only_hint == false or hints.destructive_hint == true then return "unsafe" end
  end
  return remembered_class(tool.name)
end

-- ## Arguments

-- As text while nobody has looked at it: see host.scalekit.Tool.
local function schema_of(tool)
  return tool.parameters or rawget(tool, "input_schema_json") or tool.input_schema or {}
end

-- Checks what can be told without asking anybody: that they are what the tool's schema describes.
local function check_args(parameters, args)
  local ok, faults = schema.check(parameters, args)
  if ok then return true end
  return nil, "the arguments are not right: " .. faults:gsub("\n", "; ")
end

-- ## Running

-- What is no UTF-8 (a page in another encoding, bytes) cannot be sent to a model: U+FFFD stands for it.
local function clean(text)
  if utf8.len(text) then return text end
  local out, at = {}, 1
  while true do
    local length, bad = utf8.len(text, at)
    out[#out + 1] = text:sub(at, length and -1 or bad - 1)
    if length then return table.concat(out, "\u{FFFD}") end
    at = bad + 1
  end
end

-- A tool's value as the text that the model reads: strings as they are, everything else as JSON.
local function to_text(value)
  if value == nil then return "The tool has run and returned nothing." end
  if type(value) == "string" then return clean(value) end
  local text, err = json.encode(value)
  if not text then return nil, errors.of(err) end
  return text
end

-- A Lua tool runs in a span of its own. An error that it returns is raised inside, so that the span shows it.
local function run_lua(tool, call, context)
  local opts = { run_type = "tool", inputs = call.args, metadata = {
    tool_call_id = call.id, connection_name = tool.connector, identifier = tool.connector and context.identifier,
  } }
  local ok, value = pcall(trace.span, tool.name, opts, function()
    local result, err = tool.run(call.args, {
      id = call.id, name = tool.name, identifier = context.identifier, patience = context.patience,
    })
    if result == nil and err ~= nil then error(err, 0) end
    return result
  end)
  if not ok then return nil, errors.of(value) end
  return to_text(value)
end

-- What a connector's before or after makes of a value: what it returns, or the value that it changed in place.
local function modify(f, value)
  local ok, new = pcall(f, value)
  if not ok then return nil, errors.of(new) end
  if new == nil then return value end
  return new
end

-- host.scalekit makes the span, and never sends a call of class unsafe twice.
local function run_scalekit(tool, call, context)
  local request = {
    tool_name = tool.name,
    tool_input = call.args,
    connected_account_id = tool.connected_account_id,
    connection_name = tool.connector,
    identifier = tool.identifier or context.identifier,
    tool_call_id = call.id,
    class = tools.class(tool),
  }
  local result, err = scalekit.execute_tool(request)
  if not result and tool.connector and accounts.refused(errors.of(err)) then -- it did nothing: it may be made again
    local renewed, why = accounts.renew(err, tool.connector, request.identifier, context.patience or 0)
    if not renewed then return nil, why end
    result, err = scalekit.execute_tool(request)
  end
  if not result then return nil, errors.of(err) end
  if result.json and not tool.after then return result.json end
  local data
  data, err = modify(tool.after, result.data)
  if data == nil then return nil, err end
  return to_text(data)
end

-- Kinds that end the run: a person is needed, or trying again could do harm.
local stops = {
  outcome_unknown = true, needs_auth = true, account_not_active = true, cancelled = true, journal = true,
  config = true, auth = true, quota = true, memory = true,
}

local function failed(call, text, err)
  return { call = call, content = "Error: " .. clean(text), err = err, stop = err and stops[err.kind] or nil }
end

local function unknown(self, call)
  local names = near.several(call.name, self.names, 3)
  local hint = #names > 0 and ("Did you mean %s?"):format(table.concat(names, ", "))
    or ("There are: %s."):format(table.concat(self.names, ", ", 1, math.min(#self.names, 40)))
  return failed(call, ("there is no tool '%s'. %s"):format(call.name, hint))
end

-- ## When a person is needed

-- Kinds that wait for somebody or something: the branch is parked, and the run stops when nothing else goes on.
local parks = { outcome_unknown = true, needs_auth = true, account_not_active = true }

local DONE = "The call was carried out; what it answered is not known."
local LOOKS = 3 -- how often `verify` may have a call made again, before a person is asked

-- A call left this machine and no answer came. Its `verify`, if it has one, looks whether it was carried out: true (and
-- a result), false, or nil when it cannot tell.
local function look(tool, call, context)
  if not tool.verify then return nil end
  local ok, done, result = pcall(tool.verify, call.args, { id = call.id, name = tool.name,
    identifier = tool.identifier or context.identifier, connected_account_id = tool.connected_account_id })
  if not ok then
    host.log("warn", ("verify of %s failed: %s"):format(tool.name, tostring(done)))
    return nil
  end
  return done, result
end

local function perform(tool, call, context) return (tool.run and run_lua or run_scalekit)(tool, call, context) end

-- Goes on behind a call that needs somebody. Returns content; or nil, err as perform does.
local function settle(tool, call, context, err)
  local looks = 0
  while parks[err.kind] do
    local content, word, why
    if err.kind == "outcome_unknown" and looks < LOOKS then
      looks = looks + 1
      local done, result = look(tool, call, context)
      if done then return to_text(result == nil and DONE or result) end
      word = done == false and "retry" or nil
    end
    if not word and not context.park then return nil, err end
    if not word then word, why = run.park(err) end
    if not word then return nil, errors.of(why) end
    if word == "done" then return DONE end
    if word == "fail" then
      return nil, errors.new { kind = "tool_error", message = tool.name .. " was not carried out; do not count on it" }
    end
    content, err = perform(tool, call, context)
    if content then return content end
  end
  return nil, err
end

-- The call as its connector's `before` wants it, once: who must be asked is asked about what is sent, and a call that
-- is made again is the same. The model's own arguments stay as they are. nil, err.
local function prepared(tool, call)
  if not tool.before then return call end
  local args, err = modify(tool.before, json.decode((json.encode(call.args))))
  if args == nil then return nil, err end
  if type(args) ~= "table" then
    return errors.fail {
      kind = "script", message = ("before of %s must return the arguments, got %s"):format(tool.name, type(args)),
    }
  end
  return { id = call.id, name = call.name, args = args }
end

-- Asks who must be asked. The call to make, perhaps with other arguments; or nil and an outcome for the model.
local function permitted(tool, call, context)
  local mode, err = policy.mode(context.approve)
  if not mode then return nil, failed(call, err.message, err) end
  context.allowed = context.allowed or {}
  local ok, more = policy.check({
    tool = tool.name, arguments = call.args, connection = tool.connector, class = tools.class(tool),
    identifier = tool.identifier or context.identifier, account = tool.connected_account_id,
  }, { class = tools.class(tool), mode = mode, allowed = context.allowed, fits = function(args)
    if tool.before then return true end -- it may have added what the schema does not know
    return check_args(tool.parameters or tool.input_schema or {}, args)
  end })
  if ok then return more == call.args and call or { id = call.id, name = call.name, args = more } end
  if ok == nil then return nil, failed(call, more.message, more) end
  return nil, failed(call, ("a person refused this call%s. Do not make it again; ask, or do something else.")
    :format(more and ": " .. tostring(more) or ""))
end

local toolbox = {}
toolbox.__index = toolbox

-- Runs one call. Never raises: returns { call, content, err = nil or the error, stop = true when the run must end }.
function toolbox:call(call, context)
  local tool = self.by_name[call.name]
  if not tool then return unknown(self, call) end
  if type(call.args) ~= "table" then return failed(call, "the arguments must be a JSON object") end
  local ok, why = check_args(schema_of(tool), call.args)
  if not ok then return failed(call, why .. ". Call the tool again with the right arguments.") end
  local ready, err = prepared(tool, call)
  if not ready then return failed(call, err.message, err) end
  local allowed, refusal = permitted(tool, ready, context)
  if not allowed then
    refusal.call = call
    return refusal
  end
  local content
  content, err = perform(tool, allowed, context)
  if not content then content, err = settle(tool, allowed, context, err) end
  if not content then return failed(call, err.message, err) end
  return { call = call, content = content }
end

function toolbox:class_of(name)
  local tool = self.by_name[name]
  return tool and tools.class(tool) or "read" -- an unknown tool runs nothing
end

-- A call that could not be read: what the model wrote goes back to it, cut, with the reason and its position.
function tools.broken(call)
  local raw, first = tostring(call.arguments or ""), ""
  if #raw > 500 then
    raw, first = raw:sub(1, (utf8.offset(raw, 0, 501) or 501) - 1), " (the first 500 bytes)"
  end
  return failed(call, ("%s. The tool was not run; call it again with a complete JSON object. The arguments were%s: %s")
    :format(call.error or "the arguments cannot be read", first, raw))
end

local function twice(tool, other)
  return errors.fail {
    kind = "config",
    message = ("two tools are called '%s' (connections %s and %s); offer only one of them"):format(tool.name,
      other.connector or "of the script", tool.connector or "of the script"),
  }
end

-- `list` becomes another table with every change: whoever bound it to a model sees that it changed.
local function set_list(self, list)
  self.list, self.names, self.by_name = list, {}, {}
  for i, tool in ipairs(list) do
    self.names[i], self.by_name[tool.name] = tool.name, tool
  end
end

-- Offers more tools from the next answer on; those that are offered already stay as they are.
function toolbox:offer(more)
  local list = table.move(self.list, 1, #self.list, 1, {})
  for _, tool in ipairs(more) do
    if not self.by_name[tool.name] then
      list[#list + 1], self.by_name[tool.name] = tool, tool
    end
  end
  set_list(self, list)
end

-- The same for what the model has found. When there are more than a model takes, those that it found first give way.
function toolbox:reveal(found)
  local new, fresh = {}, {}
  for _, tool in ipairs(found) do
    if not self.by_name[tool.name] then
      new[#new + 1], fresh[tool] = tool, true
    end
  end
  table.move(new, 1, #new, #self.found + 1, self.found)
  local away = {}
  for _ = 1, #self.list + #new - offer.MOST + 1 do -- one place is read_result's
    if not self.found[1] or fresh[self.found[1]] then break end
    away[table.remove(self.found, 1)] = true
  end
  local list = {}
  for _, tool in ipairs(self.list) do
    if not away[tool] then list[#list + 1] = tool end
  end
  set_list(self, list)
  self:offer(new)
end

-- The folders and servers among the connectors as they are now; an edit that cannot be used leaves the last good tools
-- in place.
function toolbox:refresh()
  for _, set in ipairs(self.sets) do
    local before = set.list
    local ok, err = set:refresh()
    if not ok then host.log("warn", ("edited tools are not used: %s"):format(tostring(err))) end
    if set.list ~= before then self:exchange(before, set.list) end
  end
end

-- Ends what the connectors opened (MCP servers), also when the run is cut short. After this no tool of theirs can be
-- called.
function toolbox:close()
  for _, set in ipairs(self.sets) do
    if set.close then set:close() end
  end
end

toolbox.__close = toolbox.close

local function without(list, gone)
  local kept = {}
  for _, tool in ipairs(list) do
    if not gone[tool] then kept[#kept + 1] = tool end
  end
  return kept
end

-- What is hidden needs find_tools.
function toolbox:hide(hidden)
  self.hidden = table.move(hidden, 1, #hidden, #self.hidden + 1, self.hidden)
  if #self.hidden == 0 or self.by_name.find_tools then return end
  self:offer { offer.finder(self, function(found) self:reveal(found) end) }
end

-- One set's tools as they are now. What was left to be found stays so, unless the model has found it.
function toolbox:exchange(old, new)
  local gone, seen, offered, hidden = {}, {}, {}, {}
  for _, list in ipairs { old, old.hidden or {} } do
    for _, tool in ipairs(list) do
      gone[tool], seen[tool.name] = true, self.by_name[tool.name] == tool
    end
  end
  set_list(self, without(self.list, gone))
  self.found, self.hidden = without(self.found, gone), without(self.hidden, gone)
  local room = offer.MOST - 2 - #self.list -- find_tools and read_result
  for which, list in ipairs { new, new.hidden or {} } do
    for _, tool in ipairs(list) do
      if self.by_name[tool.name] then
        host.log("warn", ("edited tools are not used: a second one is called '%s'"):format(tool.name))
      elseif #offered < room and (seen[tool.name] or seen[tool.name] == nil and which == 1) then
        offered[#offered + 1] = tool
      else
        hidden[#hidden + 1] = tool
      end
    end
  end
  self:offer(offered)
  self:hide(hidden)
end

-- A toolbox from lists of tools, in order; a list may have `hidden` ones, which the model finds. Two tools of one name:
-- nil, err.
function tools.box(...)
  local self = setmetatable({ list = {}, names = {}, by_name = {}, sets = {}, hidden = {}, found = {} }, toolbox)
  local offered, hidden, known = {}, {}, {}
  for _, list in ipairs { ... } do
    self.sets[#self.sets + 1] = list.set
    for to, part in pairs { list, list.hidden } do
      for _, tool in ipairs(part) do
        if known[tool.name] then return twice(tool, known[tool.name]) end
        known[tool.name] = tool
        table.insert(to == 1 and offered or hidden, tool)
      end
    end
  end
  if #hidden > 0 and known.find_tools then return twice({ name = "find_tools" }, known.find_tools) end
  self:offer(offered)
  self:hide(hidden)
  return self
end

return tools
