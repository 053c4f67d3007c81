-- What an agent is asked: a text, or a list of texts and parts that agent.media makes.
--
--     agent { input = { "What is this?", assert(media.image "cat.png") }, … }
local fields = require "agent.fields"

local input = {}

local function is_error(part) return type(part) == "table" and part.kind and part.message and not part.type end

-- The same as a message's content; nil when there is nothing to ask. Raises for what can be neither, at `level`.
function input.content(given, level)
  if given == nil or given == "" then return nil end
  if type(given) == "string" then return given end
  level = level and level + 1
  if type(given) ~= "table" then
    fields.blame("input must be a text or a list of texts and parts, got " .. type(given), level)
  end
  local parts = {}
  for i, part in ipairs(given) do
    if is_error(part) then fields.blame(("input[%d]: %s"):format(i, part.message), level) end -- assert was forgotten
    if type(part) == "string" then part = { type = "text", text = part } end
    if type(part) ~= "table" or type(part.type) ~= "string" then
      fields.blame(("input[%d] must be a text, or a table with a type, as agent.media makes it"):format(i), level)
    end
    parts[i] = part
  end
  for key in pairs(given) do
    if math.type(key) ~= "integer" or key < 1 or key > #parts then
      fields.blame("input must be a list without holes; a part is a table inside it", level)
    end
  end
  return #parts > 0 and parts or nil
end

-- Its words alone.
function input.text(content)
  if type(content) == "string" then return content end
  local words = {}
  for _, part in ipairs(content) do
    if part.type == "text" then words[#words + 1] = part.text end
  end
  return table.concat(words, "\n")
end

-- The same without the bytes of files, which stand in the model's span.
function input.outline(content)
  if type(content) == "string" then return content end
  local list = {}
  for i, part in ipairs(content) do
    local url = part.type == "image_url" and type(part.image_url) == "table" and part.image_url.url or nil
    if part.type == "text" or type(url) == "string" and not url:find "^data:" then
      list[i] = part
    else
      list[i] = { type = part.type, name = type(part.file) == "table" and part.file.filename or nil }
    end
  end
  return list
end

return input
