-- An answer that appears while the model writes it.
local openai = require "host.openai"
local script = require "host.script"

local question = table.concat(script.args(), " ")
if question == "" then question = "Say hello in one short sentence" end

local model = openai.chat_model { model = script.option "model" or "gpt-4o" }
local stream = assert(model:stream { { role = "user", content = question } })
for chunk in stream do
  io.write(chunk.content or "")
  io.flush()
end

local message = assert(stream:message()) -- nil, err when the stream was cut: half an answer is not an answer
io.write "\n"
local usage = message.usage_metadata or {}
io.stderr:write(("%d tokens in, %d out\n"):format(usage.input_tokens or 0, usage.output_tokens or 0))
