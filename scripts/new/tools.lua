-- Tools of your own: Lua functions that the model may call. Used by @NAME@.lua and by its test.
local agent = require "agent"

local tools = {}

tools.word_count = agent.tool {
  name = "word_count",
  description = "Counts the words of a text.",
  class = "read", -- changes nothing: may run beside others, may be repeated
  parameters = {
    type = "object",
    properties = { text = { type = "string", description = "The text to count" } },
    required = { "text" },
  },
  run = function(args) return { words = select(2, args.text:gsub("%S+", "")) } end,
}

return tools
