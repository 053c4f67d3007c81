-- Things that GitHub keeps in lists and whose tools differ in names only: make, get, list, change, remove. Called
-- by the github modules.
local json = require "host.json"
local world_of = require "emulator.world"

local given = world_of.given
local M = {}

function M.fail(status, message) return nil, { status = status, message = message } end
function M.missing() return M.fail(404, "Not Found") end

function M.take(list, key, value)
  for i, item in ipairs(list) do
    if item[key] == value then return item, i end
  end
  return nil
end

-- What a page and a page's size choose of a list.
function M.page(list, p, show)
  local n = math.tointeger(given(p.per_page) or 30) or 30
  local at = math.tointeger(given(p.page) or 1) or 1
  local rows = json.array {}
  for i = (at - 1) * n + 1, math.min(at * n, #list) do rows[#rows + 1] = show and show(list[i]) or list[i] end
  return rows
end

-- def: { of(p) -> list, parameter =, key =, named = name of the list in answers, make(p, list) -> item or nil and
-- a fault, fields = {what an update may change}, change(item, p), show(item, p), names of tools: create, get,
-- list, update, delete }. A tool without a name is left out.
function M.add(tools, def)
  local show = def.show or function(item) return item end
  local function with(act)
    return function(p)
      local list = def.of(p)
      if not list then return M.missing() end
      local item, i = M.take(list, def.key, p[def.parameter])
      if not item then return M.missing() end
      return act(item, p, list, i)
    end
  end
  if def.create then
    tools[def.create] = function(p)
      local list = def.of(p)
      if not list then return M.missing() end
      local item, fault = def.make(p, list)
      if not item then return nil, fault end
      list[#list + 1] = item
      return show(item, p)
    end
  end
  if def.get then tools[def.get] = with(show) end
  if def.list then
    tools[def.list] = function(p)
      local list, rows = def.of(p), {}
      if not list then return M.missing() end
      for _, item in ipairs(list) do
        if not def.keep or def.keep(item, p) then rows[#rows + 1] = item end
      end
      return { [def.named] = M.page(rows, p, function(item) return show(item, p) end), total_count = #rows }
    end
  end
  if def.update then
    tools[def.update] = with(function(item, p)
      for _, k in ipairs(def.fields or {}) do
        if given(p[k]) ~= nil then item[k] = p[k] end
      end
      if def.change then
        local ok, fault = def.change(item, p)
        if ok == nil and fault then return nil, fault end
      end
      return show(item, p)
    end)
  end
  if def.delete then
    tools[def.delete] = with(function(_, _, list, i)
      table.remove(list, i)
      return {}
    end)
  end
  return with
end

return M
