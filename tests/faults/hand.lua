-- What tests/faults/effects.py kills: a script that sends an e-mail by calling the tool itself, between two other calls.
--     agenthost run hand.lua "Send an email to WHO saying WHAT"
local scalekit = require "host.scalekit"
local script = require "host.script"

local who, what = table.concat(script.args(), " "):match "to (%S+) saying (%S+)"
local account = assert(scalekit.get_or_create_connected_account { connection_name = "gmail", identifier = "user_123" })
local function call(name, input)
  return assert(scalekit.execute_tool {
    tool_name = name, tool_input = input, connected_account_id = account.id, identifier = "user_123",
  })
end

call("gmail_fetch_mails", { max_results = 1 })
call("gmail_send_message", { to = who, subject = "hello", body = what })
call("gmail_fetch_mails", { max_results = 1 })
print("done", what)
