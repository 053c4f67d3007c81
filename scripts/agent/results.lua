-- Results too long for a model: it reads the beginning and the end, and a tool gives it the rest in pieces. The whole
-- result stays in the journal, in the tool's span.
local host = require "host"

local results = {}
results.__index = results

local MOST = 32768 -- bytes of one result that a model reads
local PIECE = 16384 -- of read_result, when the model does not say

-- Positions between characters: from `at`, not further than `last`, back to where a character begins.
local function back_to_character(text, at)
  while at > 1 and at <= #text and text:byte(at) & 0xC0 == 0x80 do at = at - 1 end
  return at
end

local function piece(text, from, bytes)
  from = back_to_character(text, from)
  local stop = back_to_character(text, math.min(from + bytes, #text + 1))
  if stop <= from then stop = math.min(#text + 1, from + bytes) end -- no UTF-8: cut anywhere
  return text:sub(from, stop - 1), stop
end

-- most: bytes; nil: 32 KB.
function results.new(most)
  return setmetatable({ most = most or MOST, kept = {} }, results)
end

-- A result as the model reads it. A long one is kept for read_result.
function results:shorten(content)
  if #content <= self.most then return content end
  local id = "result_" .. host.sha256(content):sub(1, 8) -- of this result only: a conversation may be longer than a run
  self.kept[id] = content
  local half = self.most // 2
  local head, after = piece(content, 1, half)
  local from = back_to_character(content, #content - half + 1)
  return ("%s\n\n[… %d of %d bytes are left out here. Read them with the tool read_result: id \"%s\", from %d …]\n\n%s")
    :format(head, from - after, #content, id, after, content:sub(from))
end

local function read(self, args)
  local text = self.kept[args.id]
  if not text then
    return nil, ("there is no long result '%s' in this run; its name stands where a result was cut. One of an earlier "
      .. "run: call its tool again"):format(tostring(args.id))
  end
  local from = math.max(1, math.tointeger(args.from) or 1)
  if from > #text then return nil, ("the result ends at byte %d"):format(#text) end
  local bytes = math.min(math.max(math.tointeger(args.bytes) or PIECE, 1), self.most)
  local part, stop = piece(text, from, bytes)
  local rest = stop <= #text and ("\n[… goes on at byte %d of %d]"):format(stop, #text) or "\n[end of the result]"
  return part .. rest
end

-- The tool, once there is something to read; nil before.
function results:tool()
  if next(self.kept) == nil then return nil end
  self.made = self.made or {
    name = "read_result", class = "read",
    description = "Reads a piece of a tool's result that was too long to be shown whole.",
    parameters = {
      type = "object",
      properties = {
        id = { type = "string", description = "the name where the result was cut, like result_1a2b3c4d" },
        from = { type = "integer", description = "first byte, from 1" },
        bytes = { type = "integer", description = ("how many; %d if not given, at most %d"):format(
          math.min(PIECE, self.most), self.most) },
      },
      required = { "id" },
    },
    run = function(args) return read(self, args) end,
  }
  return self.made
end

return results
