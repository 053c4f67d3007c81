-- Notion's rich text: lists of parts with their plain text. Called by the other notion modules. Pure.
local json = require "host.json"
local world_of = require "emulator.world"

local given, is_object, is_array = world_of.given, world_of.is_object, world_of.is_array
local M = {}

-- The text of rich text, which is a list of parts; or of a string.
function M.text_of(rich)
  if type(rich) == "string" then return rich end
  local out = {}
  for _, part in ipairs(is_array(rich) and rich or {}) do
    if type(part) == "string" then
      out[#out + 1] = part
    elseif is_object(part) then
      out[#out + 1] = given(part.plain_text) or (is_object(part.text) and part.text.content) or ""
    end
  end
  return table.concat(out)
end

function M.rich(s)
  return json.array { { type = "text", text = { content = s }, plain_text = s, annotations = { bold = false } } }
end

-- Rich text as it is answered: each part with its plain_text.
function M.enrich(rich)
  if type(rich) == "string" then return M.rich(rich) end
  for _, part in ipairs(is_array(rich) and rich or {}) do
    if is_object(part) and is_object(part.text) then
      part.type, part.plain_text = part.type or "text", part.plain_text or part.text.content
    end
  end
  return rich
end

function M.title_of(page)
  for _, property in pairs(page.properties) do
    if is_object(property) and given(property.title) then return M.text_of(property.title) end
  end
  return ""
end

return M
