-- Ranked search over the tools that a user may run: for accounts with hundreds, of which a model can be offered only
-- some. Runs here, over host.scalekit.get_tools; the service's own search has no public path.
--
--     local found, err = search.tools { query = "send an email", connection_names = { "gmail" }, top_k = 5 }
local scalekit = require "host.scalekit"
local fields = require "agent.fields"

local search = {}

local TOP = 10
local K, B = 1.2, 0.75 -- BM25: how soon repetition stops to count, how much length does
local WEIGHTS = { name = 3, description = 1, arguments = 0.5 }

local same = {
  mail = "email", message = "email", messages = "email", mails = "email", find = "search", fetch = "get", read = "get",
  show = "get", add = "create", make = "create", new = "create", remove = "delete", change = "update", edit = "update",
}
local empty = {}
for word in ("a all an and by for from in into is my of on or that the this to with"):gmatch "%a+" do
  empty[word] = true
end

-- Words of a text: lower case, without plural, the commonest synonyms as one.
local function words_of(text)
  local list = {}
  for word in text:lower():gmatch "[%w\128-\255]+" do
    word = same[word] or word
    if #word > 3 and word:match "[^su]s$" then word = word:sub(1, -2) end
    if not empty[word] then list[#list + 1] = same[word] or word end
  end
  return list
end

local function argument_names(tool)
  local names = {}
  local schema = tool.input_schema or tool.parameters
  local properties = type(schema) == "table" and schema.properties
  for name in pairs(type(properties) == "table" and properties or {}) do names[#names + 1] = name end
  return table.concat(names, " ")
end

-- How often each word counts in a tool, and how long it is.
local function weigh(tool)
  local parts = { name = tool.name, description = tool.description or "", arguments = argument_names(tool) }
  local counts, length = {}, 0
  for part, weight in pairs(WEIGHTS) do
    for _, word in ipairs(words_of(parts[part])) do
      counts[word] = (counts[word] or 0) + weight
      length = length + weight
    end
  end
  return { tool = tool, counts = counts, length = length }
end

-- Rare words say more: log of how few tools have them.
local function rarity(documents, word)
  local with = 0
  for _, d in ipairs(documents) do
    if d.counts[word] then with = with + 1 end
  end
  return math.log(1 + (#documents - with + 0.5) / (with + 0.5))
end

local function with_score(tool, score)
  local copy = {}
  for k, v in pairs(tool) do copy[k] = v end
  copy.score = score
  return copy
end

-- The tools of a list that match, best first, each as a copy with its `score`; none that shares no word.
function search.rank(list, query, top_k)
  local documents, total = {}, 0
  for i, tool in ipairs(list) do
    documents[i] = weigh(tool)
    total = total + documents[i].length
  end
  local scores, mean = {}, total / math.max(#list, 1)
  for _, word in ipairs(words_of(query)) do
    local weight = rarity(documents, word)
    for i, d in ipairs(documents) do
      local n = d.counts[word]
      if n then scores[i] = (scores[i] or 0) + weight * n * (K + 1) / (n + K * (1 - B + B * d.length / mean)) end
    end
  end
  local found = {}
  for i, d in ipairs(documents) do
    if scores[i] then found[#found + 1] = with_score(d.tool, scores[i]) end
  end
  table.sort(found, function(a, b)
    if a.score ~= b.score then return a.score > b.score end
    return a.name < b.name
  end)
  return table.move(found, 1, math.min(#found, top_k or TOP), 1, {})
end

local option_fields = {
  query = "text", top_k = "count", identifier = "text", connection_names = "strings", providers = "strings",
}

-- Searches the tools that the user may run. nil, err as of get_tools.
function search.tools(opts)
  fields.check("search.tools", opts, option_fields, 2)
  fields.need("search.tools", opts, { "query" }, 2)
  local list, err = scalekit.get_tools {
    identifier = opts.identifier, connection_names = opts.connection_names, providers = opts.providers,
  }
  if not list then return nil, err end
  return search.rank(list, opts.query, opts.top_k)
end

return search
