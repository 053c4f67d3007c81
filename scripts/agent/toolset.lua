-- A folder of Lua files, each of which is a tool or several: a connector whose name ends in "/". Looked at again before
-- each step: a file that was edited, added or removed counts from the next model call on.
--
-- A file returns a function with comments (see agent.comments; it is named after the file), a table of them by name, a
-- tool (agent.tool{…}), or a list of tools.
local host = require "host"
local script = require "host.script"
local comments = require "agent.comments"
local errors = require "agent.errors"
local tools = require "agent.tools"

local toolset = {}
toolset.__index = toolset

function toolset.is_folder(name) return name:sub(-1) == "/" end

-- What a file returned, as a list of tools. Raises a text.
function toolset.tools_of(value, name, text)
  if type(value) == "function" then return tools.checked { comments.tool(value, name, text) } end
  if type(value) ~= "table" then
    error(("it must return a function, a table of functions, a tool or a list of tools, got %s"):format(type(value)), 0)
  end
  if value.name and value.run then return tools.checked { value } end
  if #value > 0 then return tools.checked(value) end
  local list = {}
  for key, fn in host.sorted_pairs(value) do
    if type(fn) ~= "function" then error(("'%s' must be a function, got %s"):format(tostring(key), type(fn)), 0) end
    list[#list + 1] = comments.tool(fn, tostring(key), text)
  end
  return tools.checked(list)
end

local function load_file(path, name)
  local text, info = script.read(path)
  if not text then return nil, errors.of(info) end
  local chunk, why = script.load(path)
  if not chunk then return nil, errors.of(why) end
  local ok, list = pcall(function()
    local got = toolset.tools_of(chunk(path), name, text)
    if #got == 0 then error("it returned no tools", 0) end
    return got
  end)
  if not ok then
    local message = tostring(list)
    if not message:find(path, 1, true) then message = path .. ": " .. message end
    return errors.fail { kind = "config", message = message }
  end
  return { list = list, sha256 = info.sha256 }
end

-- Reads what changed. nil, err: a file that cannot be used; the last good state of it stays.
function toolset:refresh()
  local names, err = script.list(self.folder)
  if not names then return nil, errors.of(err) end
  local files, changed, trouble = {}, false, nil
  for _, file in ipairs(names) do
    local name = file:match "^([%w_-]+)%.lua$"
    if name then
      local path, old = self.folder .. "/" .. file, self.files[file]
      local text, info = script.read(path)
      local sha256 = text and info.sha256
      if old and (old.sha256 == sha256 or old.seen == sha256) then
        files[file] = old
      else
        local new, why = load_file(path, name)
        if new then
          changed = true
        else
          trouble = trouble or why
          new = old or { list = {} }
          new.seen = sha256 -- said once for each such edit
        end
        files[file] = new
      end
    end
  end
  for file in pairs(self.files) do changed = changed or not files[file] end
  self.files = files
  if changed then
    self.list = {}
    for _, file in host.sorted_pairs(files) do table.move(file.list, 1, #file.list, #self.list + 1, self.list) end
  end
  if trouble then return nil, trouble end
  return self
end

-- nil, err: there is no such folder, a file of it cannot be used, or it holds no tools.
function toolset.open(folder)
  local self = setmetatable({ folder = folder:gsub("/+$", ""), files = {}, list = {} }, toolset)
  local ok, err = self:refresh()
  if not ok then return nil, err end
  if #self.list == 0 then
    return errors.fail { kind = "no_tools", message = ("the folder %s holds no .lua file with a tool"):format(folder) }
  end
  return self
end

return toolset
