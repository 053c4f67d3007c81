-- Sends one e-mail. Run by effects.py, killed at every point; with SEND_VERIFY the tool has a look-up.
local agent = require "agent"
local host = require "host"
local scalekit = require "host.scalekit"
local script = require "host.script"

local text = script.args()[1]:match "Point%w+"

-- Is a mail with this text among those sent?
local function was_sent(_, call)
  local found, err = scalekit.execute_tool {
    tool_name = "gmail_fetch_mails", tool_input = { query = "in:sent " .. text, max_results = 10 },
    connected_account_id = call.connected_account_id, class = "read",
  }
  if not found then error(err) end
  return found.json:find(text, 1, true) ~= nil
end

return agent {
  connectors = {
    {
      connection = "gmail", tools = { "gmail_send_message" },
      verify = host.config "SEND_VERIFY" and { gmail_send_message = was_sent } or nil,
    },
  },
  identifier = "user_123",
  prompt = "You write mail.",
}
