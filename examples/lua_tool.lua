-- A tool of your own: a Lua function with a name, a description and a schema. It stands beside those of connectors;
-- this agent has no others, so it needs no identifier.
local agent = require "agent"

local word_count = agent.tool {
  name = "word_count",
  description = "Counts the words of a text.",
  class = "read", -- changes nothing: may run beside others, may be repeated
  parameters = {
    type = "object",
    properties = { text = { type = "string", description = "The text to count" } },
    required = { "text" },
  },
  run = function(args)
    local _, words = args.text:gsub("%S+", "")
    return { words = words, characters = utf8.len(args.text) or #args.text }
  end,
}

return agent {
  tools = { word_count },
  input = 'Use word_count: how many words has the text "the quick brown fox"?',
}
