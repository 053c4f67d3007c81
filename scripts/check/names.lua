-- Which names of a script are modules, for agenthost check: `local x = require "host.y"`, and where that x is used.
-- Follows blocks and locals; a name that anything else may have been given to is left out: nothing is said wrongly.
local names = {}

local walker = {}
walker.__index = walker

function walker:declare(name, binding)
  local scope = self.scopes[#self.scopes]
  scope[name] = binding or {}
end

function walker:resolve(name)
  for i = #self.scopes, 1, -1 do
    local binding = self.scopes[i][name]
    if binding then return binding end
  end
  return nil
end

function walker:push() self.scopes[#self.scopes + 1] = {} end

function walker:pop()
  if #self.scopes > 1 then self.scopes[#self.scopes] = nil end
end

local function is(token, text) return token and token.text == text and token.type ~= "string" end

-- `require "x"` or `require("x")` at i: the string token, and the index behind it.
local function required(list, i)
  if not (list[i].type == "name" and list[i].text == "require") then return nil end
  if list[i + 1].type == "string" then return list[i + 1], i + 2 end
  if is(list[i + 1], "(") and list[i + 2].type == "string" and is(list[i + 3], ")") then return list[i + 2], i + 4 end
  return nil
end

-- The end of an expression that is only a require: what follows goes on with nothing of it.
local function ends_expression(token)
  if token.type == "string" then return false end
  return not (token.type == "op" and token.text:match "^[.:(%[{+*/%%^<>=~&|-]" and token.text ~= "::")
    and token.text ~= "and" and token.text ~= "or"
end

-- local a <const>, b = …: declares them; those whose value is just a module are bound to it. The index behind them.
function walker:locals(i)
  local list, found = self.list, {}
  while list[i].type == "name" do
    found[#found + 1] = list[i].text
    i = i + 1
    if is(list[i], "<") then i = i + 3 end
    if not is(list[i], ",") then break end
    i = i + 1
  end
  for _, name in ipairs(found) do self:declare(name) end
  if not is(list[i], "=") then return i end
  local at = i + 1
  for n, name in ipairs(found) do
    local module, after = required(list, at)
    if not module or not (ends_expression(list[after]) or is(list[after], ",")) then break end
    self:declare(name, { module = module.value })
    if not is(list[after], ",") or n == #found then break end
    at = after + 1
  end
  return i + 1
end

-- x.field was given a value: whatever the module had, that name is the script's own now.
local function note_set(binding, token)
  binding.set = binding.set or {}
  binding.set[token.text] = true
end

-- The words of a function, from behind `function`. The index behind the parameters.
function walker:parameters(i, is_local)
  local list, method = self.list, false
  if is_local then
    self:declare(list[i].text)
    i = i + 1
  elseif list[i].type == "name" then -- function a.b:c()
    local binding = self:resolve(list[i].text)
    if binding and not is(list[i + 1], ".") and not is(list[i + 1], ":") then binding.changed = true end
    if binding and list[i + 2].type == "name" and not is(list[i + 1], "(") then note_set(binding, list[i + 2]) end
    while not is(list[i], "(") and list[i].type ~= "end" do
      method = method or is(list[i], ":")
      i = i + 1
    end
  end
  self:push()
  if method then self:declare "self" end
  i = i + 1
  while list[i].type == "name" or is(list[i], ",") or is(list[i], "...") do
    if list[i].type == "name" then self:declare(list[i].text) end
    i = i + 1
  end
  return is(list[i], ")") and i + 1 or i
end

-- for a, b in … do: the names belong to the block that its `do` opens.
function walker:loop(i)
  local list, found = self.list, {}
  while list[i].type == "name" or is(list[i], ",") do
    if list[i].type == "name" then found[#found + 1] = list[i].text end
    i = i + 1
  end
  self.loops[#self.loops + 1] = { depth = #self.scopes, names = found }
  return i
end

function walker:open_do()
  local loop = self.loops[#self.loops]
  self:push()
  if loop and loop.depth == #self.scopes - 1 then
    self.loops[#self.loops] = nil
    for _, name in ipairs(loop.names) do self:declare(name) end
  end
end

-- What follows `until` may still use the block's locals, so they stay, as unknown names.
function walker:close_repeat()
  local inner = self.scopes[#self.scopes]
  self:pop()
  for name in pairs(inner) do self:declare(name) end
end

-- A name that is no field, key or label, at i.
function walker:use(i)
  local list, brackets = self.list, self.brackets
  local token, before, after = list[i], list[i - 1], list[i + 1]
  if is(before, ".") or is(before, ":") or is(before, "goto") or is(before, "::") then return end
  local in_table = brackets[#brackets] == "{"
  if is(after, "=") and in_table and (is(before, "{") or is(before, ",") or is(before, ";")) then return end
  local binding = self:resolve(token.text)
  if not binding then return end
  if is(after, "=") or (not in_table and is(after, ",") and self:is_target(i)) then
    binding.changed = true
  elseif binding.module then
    if is(after, ".") and list[i + 2].type == "name" and is(list[i + 3], "=") and not in_table then
      note_set(binding, list[i + 2])
    end
    self.uses[#self.uses + 1] = { binding = binding, at = i }
  end
end

-- Is the name at i one of several that are assigned to (a, b = …)?
function walker:is_target(i)
  local list = self.list
  while list[i].type == "name" or is(list[i], ",") or is(list[i], ".") do i = i + 1 end
  return is(list[i], "=")
end

local keyword = {}
keyword["local"] = function(w, i)
  if is(w.list[i + 1], "function") then return w:parameters(i + 2, true) end
  return w:locals(i + 1)
end
keyword["function"] = function(w, i) return w:parameters(i + 1, false) end
keyword["for"] = function(w, i) return w:loop(i + 1) end
keyword["do"] = function(w) w:open_do() end
keyword["then"] = function(w) w:push() end
keyword["repeat"] = function(w) w:push() end
keyword["else"] = function(w) w:pop() w:push() end
keyword["elseif"] = function(w) w:pop() end
keyword["end"] = function(w) w:pop() end
keyword["until"] = function(w) w:close_repeat() end

-- { uses = { { module, at } }, requires = { { token, module, field? } } }: where modules are used and asked for.
function names.find(list)
  local w = setmetatable({ list = list, scopes = { {} }, loops = {}, brackets = {}, uses = {} }, walker)
  local requires = {}
  local i = 1
  while list[i].type ~= "end" do
    local token, following = list[i], nil
    if token.type == "keyword" and keyword[token.text] then
      following = keyword[token.text](w, i)
    elseif token.type == "op" and token.text:match "^[({%[]$" then
      w.brackets[#w.brackets + 1] = token.text
    elseif token.type == "op" and token.text:match "^[)}%]]$" then
      w.brackets[#w.brackets] = nil
    elseif token.type == "name" then
      local module, after = required(list, i)
      if module and not w:resolve "require" and not is(list[i - 1], ".") and not is(list[i - 1], ":") then
        local field = is(list[after], ".") and list[after + 1].type == "name" and list[after + 1] or nil
        requires[#requires + 1] = { token = module, module = module.value, field = field, at = after }
      else
        w:use(i)
      end
    end
    i = following or i + 1
  end
  local uses = {}
  for _, use in ipairs(w.uses) do
    local field = list[use.at + 2]
    if not use.binding.changed and not (use.binding.set and use.binding.set[field.text]) then
      uses[#uses + 1] = { module = use.binding.module, at = use.at }
    end
  end
  return { uses = uses, requires = requires }
end

return names
