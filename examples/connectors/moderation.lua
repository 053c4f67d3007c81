-- An API with a key as a connector: OpenAI's moderations. The key is named, never read; see examples/connector.lua.
local host = require "host"
local api = require "agent.api"

return api {
  base_url = host.config "OPENAI_BASE_URL" or "https://api.openai.com/v1",
  auth = { secret = "OPENAI_API_KEY" },
  operations = {
    {
      name = "check_text", method = "POST", path = "/moderations",
      class = "read", -- a POST that changes nothing
      description = "Checks whether a text is offensive or dangerous.",
      args = { input = "string the text" },
      result = function(answer) return answer.results[1].flagged and "flagged" or "harmless" end,
    },
  },
}
