-- Finds the handler of a method and path. Literal paths win over `{name}` ones; those are tried in the
-- order they were added. Pure; called by app.lua.
local text = require "emulator.text"

local M = {}
local Router = {}
Router.__index = Router

function M.new() return setmetatable({ literal = {}, patterns = {} }, Router) end

-- route: { where = name for troubles, service =, handler = function(request) -> status, headers, body }
function Router:add(method, path, route)
  if not path:find("{", 1, true) then
    self.literal[path] = self.literal[path] or {}
    self.literal[path][method] = route
    return
  end
  local names = {}
  local escaped = path:gsub("[%-%.%+%*%?%^%$%%%(%)%[%]]", "%%%0")
  local pattern = escaped:gsub("{(%w+)(%%?%*?)}", function(name, star)
    names[#names + 1] = name
    return star ~= "" and "(.*)" or "([^/]-)" -- {path*}: all that follows
  end)
  self.patterns[#self.patterns + 1] = { method = method, pattern = "^" .. pattern .. "$", names = names, route = route }
end

-- route, params; or nil, and whether the path is known with another method
function Router:find(method, path)
  local known = self.literal[path]
  if known and known[method] then return known[method], {} end
  local other = known ~= nil
  for _, entry in ipairs(self.patterns) do
    local found = { path:match(entry.pattern) }
    if #found > 0 and found[1] ~= "" then
      if entry.method == method then
        local params = {}
        for i, name in ipairs(entry.names) do params[name] = text.decode_url(found[i]:gsub("+", "%%2B")) end
        return entry.route, params
      end
      other = true
    end
  end
  return nil, other
end

return M
