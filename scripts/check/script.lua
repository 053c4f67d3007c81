-- One script, looked at without running it: syntax, modules, their fields, the fields of tables that are given to them,
-- prompts and connectors. Called by check.run. Whatever cannot be told from the text is passed over in silence.
local script = require "host.script"
local near = require "agent.near"
local connectors = require "check.connectors"
local names = require "check.names"
local prompts = require "check.prompts"
local stubs = require "check.stubs"
local tables = require "check.tables"
local tokens = require "check.tokens"

local checks = {}

local linked = { cjson = true, ["cjson.safe"] = true }
local LONGEST_CONNECTOR = 40

local function is(token, text) return token and token.text == text and token.type ~= "string" end

local function sorted_names(class)
  local list = {}
  for name in pairs(class.functions) do list[#list + 1] = name end
  for name in pairs(class.fields) do list[#list + 1] = name end
  table.sort(list)
  return list
end

local context = {}
context.__index = context

function context:add(file, line, col, message)
  self.findings[#self.findings + 1] = { file = file, line = line, col = col, message = message }
end

function context:at(token, message) self:add(self.file, token.line, token.col, message) end

-- ## Syntax

-- Is the text Lua? Else what the compiler says, at the word that it names.
function context:compiles()
  local ok, err = load(self.text:gsub("^#[^\n]*", ""), "@file", "t")
  if ok then return true end
  local line, message = tostring(err):match "^file:(%d+): (.*)$"
  line = tonumber(line) or 1
  local word = (message or ""):match "near '(.*)'$"
  local col = 1
  local number = 0
  for text in (self.text .. "\n"):gmatch "([^\n]*)\n" do
    number = number + 1
    if number == line then col = word and text:find(word, 1, true) or 1 end
  end
  self:add(self.file, line, col, message or tostring(err))
  return false
end

-- ## Modules

function context:has_module(name)
  if linked[name] or self.stubs:module(name) then return true end
  local path = name:gsub("%.", "/")
  for _, try in ipairs { path .. ".lua", path .. "/init.lua" } do
    if prompts.read(self.folder, try) then return true end
  end
  return false
end

function context:known_modules()
  local list = {}
  for name, class in pairs(self.stubs.classes) do
    local lower = name == "host" or name == "agent" or name:match "^%a+%.%l[%w_]*$"
    if lower and (next(class.functions) or class.call) then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

-- " (did you mean 'host.http'?)": of the same family, by the last part of the name.
function context:module_hint(name)
  local family, last = name:match "^(%w+%.)(.+)$"
  local parts = {}
  for _, known in ipairs(self:known_modules()) do
    if not family or known:sub(1, #family) == family then parts[#parts + 1] = known:sub(#(family or "") + 1) end
  end
  local best = near.several(last or name, parts, 1)[1]
  return best and (" (did you mean '%s%s'?)"):format(family or "", best) or ""
end

function context:check_requires(requires)
  for _, r in ipairs(requires) do
    if r.module and not self:has_module(r.module) then
      self:at(r.token, ("no module '%s'%s"):format(r.module, self:module_hint(r.module)))
    elseif r.module and r.field then
      self:check_field(r.module, r.field)
    end
    if r.module and not r.field then self:check_call({ module = r.module }, r.at) end
  end
end

-- Says so when a module has no such name; else what is known of it.
function context:check_field(module, token)
  local class = self.stubs:module(module)
  if not class or class.open then return nil end
  local name = token.text
  if class.functions[name] then return class.functions[name] end
  if class.fields[name] then return nil end
  self:at(token, ("%s has no '%s'%s"):format(module, name, near.hint(name, sorted_names(class))))
  return nil
end

-- ## Calls

-- The tables among the arguments that begin at i, by position: { [1] = index of its { }.
local function given_tables(list, i)
  if is(list[i], "{") then return { i } end
  if not is(list[i], "(") then return {} end
  local found, close = {}, tables.closing(list, i)
  local at, position = i + 1, 1
  while at < close do
    if is(list[at], "{") then
      local last, whole = tables.closing(list, at), at == i + 1 or is(list[at - 1], ",")
      if whole and (is(list[last + 1], ",") or last + 1 == close) then found[position] = at end
      at = last + 1
    elseif list[at].type == "keyword" then -- functions and the like: what follows is not told apart
      return found
    elseif is(list[at], "(") or is(list[at], "[") then
      at = tables.closing(list, at) + 1
    else
      if is(list[at], ",") then position = position + 1 end
      at = at + 1
    end
  end
  return found
end

-- A use of a module: the name, and i behind it.
function context:check_call(use, i)
  local list = self.list
  local class = self.stubs:module(use.module)
  if not class then return end
  local params, what
  if (is(list[i], ".") or is(list[i], ":")) and list[i + 1].type == "name" then
    if is(list[i + 2], "=") and not is(list[i], ":") then return end
    params, what = self:check_field(use.module, list[i + 1]), use.module .. "." .. list[i + 1].text
    if is(list[i], ":") then return end
    i = i + 2
  elseif class.call and (is(list[i], "{") or is(list[i], "(")) then
    params, what = class.call, use.module .. "{}"
  end
  for position, at in pairs(params and given_tables(list, i) or {}) do
    if params[position] then tables.check(self.tables, at, params[position], what) end
  end
end

-- ## Agents: connectors and prompts

-- A slip of the pen for a connector of the catalogue? Names of one's own are not: those that begin with a known one,
-- and those that are near to none.
function context:check_connector(token)
  local name = token.value
  if #name < 4 or #name > LONGEST_CONNECTOR then return end
  local best
  for _, known in ipairs(self.connectors) do
    if name:lower():sub(1, #known) == known then return end
    local most = #known >= 8 and 2 or 1
    if #known >= 4 and math.abs(#known - #name) <= most and near.distance(name, known) <= most then
      best = best or known
    end
  end
  if best then
    self:at(token, ("no connector of Scalekit is called '%s' (did you mean '%s'?)"):format(name, best))
  end
end

function context:check_lua_file(token)
  if not prompts.read(self.folder, token.value) then
    self:at(token, ("the file %s is not there"):format(token.value))
  end
end

function context:check_connectors(entry)
  if not tables.is_table(self.list, entry) then return end
  for _, item in ipairs((tables.entries(self.list, entry.first))) do
    local token = not item.key_token and tables.string_of(self.list, item)
    if token and token.value:match "%.lua$" then
      self:check_lua_file(token)
    elseif token then
      self:check_connector(token)
    end
  end
end

-- The names of variables = { a = 1, b = x }; nil: there may be others.
function context:variables_of(entry)
  if not entry then return {} end
  if not tables.is_table(self.list, entry) then return nil end
  local known = {}
  for _, item in ipairs((tables.entries(self.list, entry.first))) do
    if not item.key then return nil end
    known[item.key] = true
  end
  return known
end

-- Does the script speak of variables anywhere but in this entry (agent:run may be given some)?
function context:speaks_of_variables(entry)
  for _, token in ipairs(self.list) do
    if (token.text == "variables" or token.value == "variables") and not (entry and token == entry.key_token) then
      return true
    end
  end
  return false
end

function context:check_prompt(entry, variables)
  local token = tables.string_of(self.list, entry)
  if not token or token.value:find "\n" or not token.value:match "%.md$" then return end
  local text, path = prompts.read(self.folder, token.value)
  if not text then
    self:at(token, ("the prompt %s is not there"):format(token.value))
    return
  end
  local known = not self:speaks_of_variables(variables) and self:variables_of(variables) or nil
  prompts.check(text, known, function(line, col, message) self:add(path, line, col, message) end)
end

-- What tables of a class are looked at for, beyond their fields.
local visits = {}
visits["agent.Spec"] = function(self, by_key)
  if by_key.connectors then self:check_connectors(by_key.connectors) end
  if by_key.prompt then self:check_prompt(by_key.prompt, by_key.variables) end
end
local function visit_connection(key)
  return function(self, by_key)
    local token = by_key[key] and tables.string_of(self.list, by_key[key])
    if token then self:check_connector(token) end
  end
end
visits["agent.ConnectorFilter"] = visit_connection "connection"

function context:visit(class, entries)
  local by_key = {}
  for _, entry in ipairs(entries) do
    if entry.key then by_key[entry.key] = entry end
  end
  local visit = visits[class] or visit_connection "connection_name"
  visit(self, by_key)
end

-- ## The whole

local function folder_of(path) return path:match "^(.*)/[^/]*$" or "." end

local function read(path)
  local f = io.open(path, "r")
  if not f then
    local text, info = script.read(path)
    if text then return text end
    return nil, info
  end
  local file <close> = f
  return file:read "a"
end

function checks.new(stub_files) return { stubs = stubs.load(stub_files), connectors = connectors.list() } end

-- The findings of one file, in no order; or nil, err when it cannot be read.
function checks.check(shared, path)
  local text, err = read(path)
  if not text then return nil, err end
  local self = setmetatable({
    stubs = shared.stubs, connectors = shared.connectors, file = path, folder = folder_of(path), text = text,
    findings = {},
  }, context)
  if not self:compiles() then return self.findings end
  self.list = tokens.of(text)
  self.tables = {
    list = self.list, stubs = self.stubs, report = function(token, message) self:at(token, message) end,
    visit = function(class, entries) self:visit(class, entries) end,
  }
  local found = names.find(self.list)
  self:check_requires(found.requires)
  for _, use in ipairs(found.uses) do self:check_call(use, use.at + 1) end
  return self.findings
end

return checks
