-- An answer that is a value: the agent's output fits a JSON Schema, or the run says why not.
local agent = require "agent"

local digest = agent {
  connectors = { "gmail" },
  identifier = "user_123",
  prompt     = "You sort mail. Look at the unread mails first.",
  output     = {
    type = "object",
    properties = {
      summary = { type = "string", description = "One sentence." },
      mails = {
        type = "array",
        items = {
          type = "object",
          properties = { from = { type = "string" }, urgent = { type = "boolean" }, due = { type = "string" } },
          required = { "from", "urgent" }, -- `due` is optional: the model says null, and the field is not there
        },
      },
    },
    required = { "summary", "mails" },
  },
}

local result = assert(digest:run "Fetch my unread emails and sort them")
print(result.output.summary)
for _, mail in ipairs(result.output.mails) do print(mail.from, mail.urgent and "urgent" or "-", mail.due or "-") end
