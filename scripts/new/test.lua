-- The test of @NAME@: agenthost run @NAME@_test.lua. The model is a list of answers, so it needs no account and no key.
local agent = require "agent"
local testing = require "agent.testing"
local tools = require "tools"

-- The model asks for the tool, is given its result, and answers.
local model = testing.model { testing.call("word_count", { text = "one two three" }), "There are three words." }
local result = assert(agent {
  model = model,
  identifier = "user_123",
  prompt = "prompts/@NAME@.md",
  tools = { tools.word_count },
  input = "How many words are there?",
}:run())
assert(result.answer == "There are three words.")
assert(result.steps == 2)
local sent = model.sent[2].messages
assert(sent[1].content:find("mail of user_123", 1, true), "the prompt names the user")
assert(sent[#sent].content:find('"words":3', 1, true), "the model is told the result")
print "ok"
