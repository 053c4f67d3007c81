-- Adds up tokens and money over the model calls of one run.
local usage = {}

local counted = { "input_tokens", "output_tokens", "total_tokens" }

function usage.new() return { input_tokens = 0, output_tokens = 0, total_tokens = 0, model_calls = 0 } end

-- `cost` is there only while it is known for every call.
function usage.add(total, answer)
  local given = answer.usage_metadata or {}
  for _, name in ipairs(counted) do total[name] = total[name] + (given[name] or 0) end
  if total.model_calls == 0 then
    total.cost = answer.cost
  else
    total.cost = total.cost and answer.cost and total.cost + answer.cost
  end
  total.model_calls = total.model_calls + 1
end

return usage
