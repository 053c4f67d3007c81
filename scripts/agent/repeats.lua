-- Notices an agent that goes in circles: the same tool, with the same arguments, and the same result, several times
-- among its last calls. The model is told once; if it does it again, the run ends.
local host = require "host"
local json = require "host.json"
local errors = require "agent.errors"

local repeats = {}
repeats.__index = repeats

local OFTEN = 3 -- limits.repeats
local WINDOW = 10 -- so many calls are looked back on, and no fewer than can hold that many repeats

-- host.json writes keys in order, so equal arguments are equal texts.
local function signature(call, content)
  return host.sha256(call.name .. "\0" .. (json.encode(call.args) or "") .. "\0" .. content)
end

function repeats.new(often)
  often = often or OFTEN
  return setmetatable({ often = often, window = math.max(WINDOW, often * 2), last = {}, told = {} }, repeats)
end

local function count(list, wanted)
  local n = 0
  for _, one in ipairs(list) do
    if one == wanted then n = n + 1 end
  end
  return n
end

-- Takes note of a call and its result. `shown` is what the model reads of it. Returns that, perhaps with a word about
-- the repeats, and the error that ends the run, or nil.
function repeats:note(call, content, shown)
  local sign = signature(call, content)
  table.insert(self.last, sign)
  if #self.last > self.window then table.remove(self.last, 1) end
  local n = count(self.last, sign)
  if n < self.often then return shown, nil end
  if self.told[sign] then
    return shown, errors.new {
      kind = "loop", tool = call.name,
      message = ("the model called %s %d times with the same arguments and got the same result, also after it was "
        .. "told; change the prompt, or raise limits.repeats"):format(call.name, n),
    }
  end
  self.told[sign] = true
  return shown .. ("\n\n(Note: this call gave exactly this result %d times. It will not change. Do something else, "
    .. "or answer with what you know.)"):format(n), nil
end

return repeats
