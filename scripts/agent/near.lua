-- "Did you mean": the nearest of some names. Used by whoever tells a person or a model that a name is unknown.
local near = {}

local LONGEST = 64 -- names above this are not compared: the table below grows with the square

-- Edits (insert, delete, replace, swap of neighbours) between two words; case does not count.
function near.distance(a, b)
  a, b = a:lower(), b:lower()
  local before, row = {}, {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local last = row
    row = { [0] = i }
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local d = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        d = math.min(d, before[j - 2] + 1)
      end
      row[j] = d
    end
    before = last
  end
  return row[#b]
end

-- Is one the other with words put before or behind ("fetch_mails" and "gmail_fetch_mails")?
local function contains(a, b)
  local short, long = a:lower(), b:lower()
  if #short > #long then short, long = long, short end
  return #short >= 4 and long:find(short, 1, true) ~= nil
end

-- Up to `most` names of the list that are near enough to be worth saying, nearest first.
function near.several(word, names, most)
  local found = {}
  for _, name in ipairs(names) do
    if #word <= LONGEST and #name <= LONGEST then
      local d = near.distance(word, name)
      if contains(word, name) then d = math.min(d, 1) end
      if d <= math.max(1, math.max(#word, #name) // 3) then found[#found + 1] = { name = name, d = d } end
    end
  end
  table.sort(found, function(x, y)
    if x.d ~= y.d then return x.d < y.d end
    return x.name < y.name
  end)
  local out = {}
  for i = 1, math.min(most or 3, #found) do out[i] = found[i].name end
  return out
end

-- " (did you mean 'x'?)", or "" when nothing is near.
function near.hint(word, names)
  local best = near.several(word, names, 1)[1]
  return best and (" (did you mean '%s'?)"):format(best) or ""
end

return near
