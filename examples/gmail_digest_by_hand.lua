-- The recipe written out, for those who want to own the loop: account, tools, model, loop. No line of it traces, and it
-- is traced.
local json = require "host.json"
local openai = require "host.openai"
local scalekit = require "host.scalekit"
local script = require "host.script"

local who = script.identifier() or "user_123"
local gmail = { connection_name = "gmail", identifier = who }

-- 1. The user's account. A new one has to be authorized once, in a browser.
local account = assert(scalekit.get_or_create_connected_account(gmail))
if account.status ~= "ACTIVE" then
  account = assert(scalekit.wait_until_active {
    connection_name = "gmail", identifier = who, timeout = 300,
    on_link = function(link) print("🔗 Authorize Gmail: " .. link) end,
  })
end
print("✅ Gmail connected for " .. account.identifier)

-- 2. Its tools.
local tools = assert(scalekit.get_tools { identifier = who, connection_names = { "gmail" } })
local names, by_name = {}, {}
for i, tool in ipairs(tools) do
  names[i], by_name[tool.name] = tool.name, tool
end
print(("✅ Loaded %d tools: %s"):format(#tools, table.concat(names, ", ")))

-- 3. One call, and its result as the model reads it.
local function run(call)
  print(("🔧 Tool call: %s %s"):format(call.name, json.encode(call.args)))
  local tool = by_name[call.name]
  if not tool then return "Error: there is no tool " .. call.name end
  local result, err = scalekit.execute_tool {
    tool_name = tool.name, tool_input = call.args, connected_account_id = tool.connected_account_id,
    identifier = who, tool_call_id = call.id,
  }
  if result then return result.json end
  if err.kind == "outcome_unknown" then error(err) end -- it may have happened: never again without a person
  return "Error: " .. err.message
end

-- 4. The loop: until the model answers in words.
local model = openai.chat_model { model = "gpt-4o" }:bind_tools(tools)
local messages = { { role = "user", content = "Fetch my last 3 unread emails and summarize them" } }
for _ = 1, 25 do
  local answer = assert(model:invoke(messages))
  messages[#messages + 1] = answer
  for _, call in ipairs(answer.tool_calls) do
    messages[#messages + 1] = { role = "tool", tool_call_id = call.id, content = run(call) }
  end
  for _, call in ipairs(answer.invalid_tool_calls) do
    messages[#messages + 1] = { role = "tool", tool_call_id = call.id, content = "Error: " .. call.error }
  end
  if messages[#messages] == answer then -- no calls
    print(answer.content)
    return
  end
end
error "no answer after 25 steps"
