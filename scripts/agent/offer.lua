-- Which of many tools a model is offered. A connection can have more than 200, a model takes 128, and fewer are better:
--
--     { connection = "github", tools = { "github_issues_*", "github_repo_get" } }     by name, * for anything
--     { connection = "github", tags = { "issues" } }                                  by a tag in Scalekit
--     { connection = "github", search = "issues and comments", top = 15 }             the best matches
--     { connection = "github", find = true }                                          none at first: the model looks
--                                                                                     for what it needs (find_tools)
--
-- What was offered, of how many, and why, stands in the trace.
local errors = require "agent.errors"
local search = require "agent.search"

local offer = {}

offer.MOST = 128 -- of one request
local RESERVED = 2 -- of those: find_tools and read_result
local BEST = 40 -- offered at once when there are more than a model takes
local FOUND = 8 -- that one search adds; there is room for them

local function is_pattern(name) return name:find("*", 1, true) ~= nil end

local function to_pattern(glob) return "^" .. glob:gsub("[^%w_*]", "%%%0"):gsub("%*", ".*") .. "$" end

-- The names, when the service can be asked for exactly these; nil when all must be fetched.
function offer.names(filter)
  if not filter.tools or filter.find or filter.search or filter.tags then return nil end
  for _, name in ipairs(filter.tools) do
    if is_pattern(name) then return nil end
  end
  return filter.tools
end

local function by_names(list, wanted)
  local kept, missing = {}, {}
  local taken = {}
  for _, glob in ipairs(wanted) do
    local pattern, hit = to_pattern(glob), false
    for i, tool in ipairs(list) do
      if tool.name:match(pattern) then
        hit, taken[i] = true, true
      end
    end
    if not hit then missing[#missing + 1] = glob end
  end
  for i, tool in ipairs(list) do
    if taken[i] then kept[#kept + 1] = tool end
  end
  return kept, missing
end

local function by_tags(list, wanted)
  local kept, want = {}, {}
  for _, tag in ipairs(wanted) do want[tag] = true end
  for _, tool in ipairs(list) do
    for _, tag in ipairs(type(tool.tags) == "table" and tool.tags or {}) do
      if want[tag] then
        kept[#kept + 1] = tool
        break
      end
    end
  end
  return kept
end

local function by_search(list, query, top)
  local by_name, kept = {}, {}
  for _, tool in ipairs(list) do by_name[tool.name] = tool end
  for i, match in ipairs(search.rank(list, query, top)) do kept[i] = by_name[match.name] end
  return kept
end

-- What of one connection's tools is offered: a list with `total`, `why` and, for find_tools, `hidden`. The second
-- result is the names that matched nothing.
function offer.select(list, filter)
  local total, kept, missing, why = #list, list, {}, {}
  if filter.tools then
    kept, missing = by_names(kept, filter.tools)
    why[#why + 1] = "named: " .. table.concat(filter.tools, ", ")
  end
  if filter.tags then
    kept = by_tags(kept, filter.tags)
    why[#why + 1] = "tags: " .. table.concat(filter.tags, ", ")
  end
  if filter.search then
    kept = by_search(kept, filter.search, filter.top)
    why[#why + 1] = "search: " .. filter.search
  end
  local out = table.move(kept, 1, #kept, 1, {})
  if filter.find then
    out = { hidden = out }
    why[#why + 1] = "the model searches"
  end
  out.total, out.connection = total, filter.connection
  out.why = #why > 0 and table.concat(why, "; ") or "all"
  return out, missing
end

-- How many tools there are, and how many of them may be offered at once.
local function count(lists)
  local n, hidden = 0, false
  for _, list in ipairs(lists) do
    n, hidden = n + #list, hidden or #(list.hidden or {}) > 0
  end
  local room = offer.MOST - RESERVED
  return n, (hidden or n > room) and room - FOUND or room
end

-- When there are more than a model takes: of the connections' tools only those that match the task best, the rest to be
-- found. Tools of the script itself (the last list) always stay.
function offer.fit(lists, task)
  local total, room = count(lists)
  if total <= room then return lists end
  local own = lists[#lists]
  if #own > room then
    return errors.fail {
      kind = "limit", message = ("%d tools of the script's own are too many: a model takes %d in all"):format(#own,
        offer.MOST),
    }
  end
  local all = {}
  for i = 1, #lists - 1 do table.move(lists[i], 1, #lists[i], #all + 1, all) end
  local best = {}
  for _, tool in ipairs(by_search(all, task, math.min(BEST, room - #own))) do best[tool] = true end
  local out = {}
  for i = 1, #lists - 1 do
    local hidden = lists[i].hidden or {}
    local kept = { set = lists[i].set, hidden = table.move(hidden, 1, #hidden, 1, {}), total = lists[i].total,
      connection = lists[i].connection, why = "the best for this task, of more than a model takes" }
    for _, tool in ipairs(lists[i]) do
      local to = best[tool] and kept or kept.hidden
      to[#to + 1] = tool
    end
    out[i] = kept
  end
  out[#lists] = own
  return out
end

-- For the trace: { { connection =, offered =, of =, why = }, … }, or nil when nothing was left out.
function offer.account(lists)
  local out, chosen = {}, false
  for _, list in ipairs(lists) do
    if list.total then
      out[#out + 1] = { connection = list.connection, offered = #list, of = list.total, why = list.why }
      chosen = chosen or list.why ~= "all"
    end
  end
  return chosen and out or nil
end

local function describe(found)
  local lines = {}
  for i, tool in ipairs(found) do lines[i] = ("%s: %s"):format(tool.name, tool.description or "") end
  return table.concat(lines, "\n")
end

-- The tool by which a model looks for tools, in `box.hidden` as it is then. `add(tools)` offers what was found from the
-- next step on.
function offer.finder(box, add)
  return {
    name = "find_tools", class = "read",
    description = ("Searches %d more tools by what they do. Those that are found can be called from your next answer "
      .. "on."):format(#box.hidden),
    parameters = {
      type = "object",
      properties = { query = { type = "string", description = "what you want to do, in a few words" } },
      required = { "query" },
    },
    run = function(args)
      local found = by_search(box.hidden, args.query, FOUND)
      if #found == 0 then return "No tool matches. Try other words." end
      add(found)
      return "You can call these now:\n" .. describe(found)
    end,
  }
end

return offer
