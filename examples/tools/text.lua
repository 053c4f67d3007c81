-- A toolset: functions with comments. What stands above a function is what the model reads; edit it while it runs.
local tools = {}

---Counts the words, lines or characters of a text.
---@param text string
---@param unit? "words"|"lines"|"characters" words, if not given
---@tool read
function tools.count(text, unit)
  if unit == "lines" then return select(2, text:gsub("[^\n]+", "")) end
  if unit == "characters" then return utf8.len(text) end
  return select(2, text:gsub("%S+", ""))
end

---Turns a text into upper case.
---@param text string
---@tool read
function tools.shout(text) return text:upper() end

return tools
