-- The loop, on one page: ask the model, run the tools that it calls, give it the results, until it answers in words.
--
-- A run is { model, prompt, history, tools, max_steps, identifier, on_event }; agent/init.lua puts it together.
-- Returns { answer, messages, steps, usage }; or nil, err, with what there was until then in err.partial.
local errors = require "agent.errors"
local parallel = require "agent.parallel"
local tools = require "agent.tools"
local usage = require "agent.usage"

local loop = {}

local BROKEN_ROUNDS = 2 -- how often in a row a model may be told that its calls cannot be read

-- The system message as the prompt's file is now, then one question to the model.
local function ask(run)
  local prompt = run.prompt:current()
  run.history:system(prompt.text)
  local model, err = run.model:for_prompt(prompt)
  if not model then return nil, err end
  return model:invoke(run.history:messages())
end

-- An answer that is cut may hold calls that look whole and are not: none of them is run.
local function cut_reason(answer)
  local reason = (answer.response_metadata or {}).finish_reason
  if reason == "length" then return "the answer was cut at its length limit" end
  if reason == "content_filter" then return "the answer was cut by a content filter" end
end

-- One call, with its events.
local function call_tool(run, call)
  run.on_event { type = "tool_call", name = call.name, args = call.args, id = call.id }
  local outcome = run.tools:call(call, run)
  run.on_event { type = "tool_result", name = call.name, id = call.id, content = outcome.content, err = outcome.err }
  return outcome
end

-- Puts a result behind every call of an answer. Returns how many could not be read, and what stops the run, or nil.
local function answer_calls(run, answer)
  local calls, broken = answer.tool_calls or {}, answer.invalid_tool_calls or {}
  for _, call in ipairs(broken) do run.history:result(call.id, tools.broken(call).content, call.name) end

  local cut = cut_reason(answer)
  if cut then
    local told = ("Error: this tool was not run, because %s. Call it again, shorter."):format(cut)
    for _, call in ipairs(calls) do run.history:result(call.id, told, call.name) end
    return #calls + #broken
  end

  local function class_of(name) return run.tools:class_of(name) end
  local outcomes, stopped = parallel.run(calls, class_of, function(call) return call_tool(run, call) end)
  for _, outcome in ipairs(outcomes) do
    run.history:result(outcome.call.id, outcome.content, outcome.call.name)
  end
  return #broken, stopped and stopped.err
end

local function too_many_broken(rounds)
  return errors.new {
    kind = "invalid_output", code = "invalid_tool_calls",
    message = ("the model wrote tool calls that cannot be read, %d times in a row; try another model, or raise "
      .. "params.max_tokens"):format(rounds),
  }
end

-- What a final answer without calls amounts to.
local function finish(answer)
  if answer.refusal and answer.refusal ~= "" then
    return errors.fail { kind = "refused", message = "the model refused: " .. answer.refusal, refusal = answer.refusal }
  end
  local cut = cut_reason(answer)
  if cut == nil then return answer.content or "" end
  if answer.response_metadata.finish_reason == "content_filter" then
    return errors.fail { kind = "refused", message = cut .. "; change the prompt or the input" }
  end
  return errors.fail {
    kind = "truncated", message = cut .. "; raise it with params = { max_tokens = … } or ask for less",
  }
end

function loop.run(run)
  local total, broken_rounds, said = usage.new(), 0, nil

  local function stop(step, err)
    err = errors.of(err)
    run.history:close "Error: this tool was not run, because the run ended before."
    err.partial = { answer = said, messages = run.history:messages(), steps = step, usage = total }
    return nil, err
  end

  for step = 1, run.max_steps do
    run.on_event { type = "step", step = step }
    local answer, err = ask(run)
    if not answer then return stop(step, err) end
    usage.add(total, answer)
    run.history:answer(answer)
    run.on_event { type = "answer", message = answer }
    if answer.content and answer.content ~= "" then said = answer.content end

    local calls = #(answer.tool_calls or {}) + #(answer.invalid_tool_calls or {})
    if calls == 0 then
      local text
      text, err = finish(answer)
      if not text then return stop(step, err) end
      return { answer = text, messages = run.history:messages(), steps = step, usage = total }
    end

    local broken
    broken, err = answer_calls(run, answer)
    if err then return stop(step, err) end
    broken_rounds = broken > 0 and broken_rounds + 1 or 0
    if broken_rounds > BROKEN_ROUNDS then return stop(step, too_many_broken(broken_rounds)) end
  end
  return stop(run.max_steps, errors.new {
    kind = "step_limit",
    message = ("no answer after %d steps; raise max_steps, or make the task smaller"):format(run.max_steps),
  })
end

return loop
