-- A conversation over several runs, kept under a name. Run it twice: the second run knows what was said in the first.
--
--   agenthost run --emulate examples/session.lua
--   agenthost session show inbox
--   agenthost session fork inbox other --at 3      another one with the same beginning
--
-- For any agent that a script returns: agenthost run --session NAME FILE "…", then agenthost run -c FILE "…".
local agent = require "agent"
local session = require "host.session"

local reader = agent {
  connectors = { { connection = "gmail", tools = { "gmail_fetch_mails" } } },
  identifier = "user_123",
  prompt = "prompts/gmail_digest.md",
  session = "inbox",
}

local first = assert(reader:run "Fetch my last 3 unread emails and summarize them")
print(first.answer)
local second = assert(reader:run "Thank you. That is all.")
print(("the second question was sent with the %d messages before it"):format(#second.messages - 2))

local rows = assert(session.read("inbox", { identifier = "user_123" }))
print(("the session has %d steps"):format(rows[#rows].step))
