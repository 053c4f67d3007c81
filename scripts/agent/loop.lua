-- The loop, on one page: ask the model, run the tools that it calls, give it the results, until it answers in words.
--
-- A run is { model, prompt, history, session, output, tools, limits, repeats, results, compact, identifier, on_event };
-- agent/init.lua puts it together. Returns { answer, output, messages, steps, usage }; or nil, err, with what there was
-- in err.partial.
local schema = require "host.schema"
local context = require "agent.context"
local waiting = require "host.run"
local errors = require "agent.errors"
local parallel = require "agent.parallel"
local tools = require "agent.tools"

local loop = {}

local REPAIRS = 1 -- how often a model may be told that its answer does not fit the schema
local BROKEN_ROUNDS = 2 -- how often in a row a model may be told that its calls cannot be read

-- What is new in the conversation goes into the session, if there is one. true; or nil, err.
local function keep(run)
  if not run.session then return true end
  return run.session:keep(run.history)
end

-- ## Asking

-- A conversation that no longer fits is made shorter, once.
local function make_room(run, err)
  if run.compacted then return nil, err end
  run.compacted = true
  local list = table.move(run.history:messages(), 1, #run.history:messages(), 1, {})
  local ok, shorter = pcall(run.compact or context.compact, list, err)
  if not ok then return nil, errors.of(shorter) end
  run.on_event { type = "compacted", before = #run.history:messages(), after = #shorter }
  return run.history:replace(shorter)
end

-- The system message as the prompt's file is now, then one question to the model. last: an answer in words only.
local function ask(run, step, last)
  local prompt = run.prompt:current()
  run.history:system(prompt.text)
  run.tools:refresh()
  local model, err = true, nil
  if not last then model, err = keep(run) end -- the last words are not kept: a resumed run goes on before them
  if not model then return nil, err end
  if last then
    model, err = run.model:without_calls(prompt, run.tools.list)
  else
    model, err = run.model:for_prompt(prompt, run.tools.list)
  end
  if not model then return nil, err end

  local function invoke(max_tokens)
    return model:invoke(run.history:messages(), max_tokens and { max_tokens = max_tokens })
  end
  local question = {
    messages = run.history:messages(), tools = run.tools.list, model = run.model:name(prompt),
    keep_an_answer = step > 1 and not last,
  }
  local answer
  answer, err = run.limits:ask(question, invoke)
  if answer or err.kind ~= "context_overflow" then return answer, err end
  local room
  room, err = make_room(run, err)
  if room then room, err = keep(run) end
  if not room then return nil, err end
  question.messages = run.history:messages()
  return run.limits:ask(question, invoke)
end

-- An answer that is cut may hold calls that look whole and are not: none of them is run.
local function cut_reason(answer)
  local reason = (answer.response_metadata or {}).finish_reason
  if reason == "length" then return "the answer was cut at its length limit" end
  if reason == "content_filter" then return "the answer was cut by a content filter" end
end

-- ## Calling

-- One call, unless a limit forbids it.
local function call_within_limits(run, call)
  local ok, told, err = run.limits:call(call.name)
  if not ok then return { call = call, content = "Error: " .. (told or err.message), err = err, stop = err ~= nil } end
  if run.tools:class_of(call.name) == "unsafe" then return run.tools:call(call, run) end
  local outcome
  outcome, err = run.limits:within(run.tools.call, run.tools, call, run)
  return outcome or { call = call, content = "Error: " .. err.message, err = err, stop = true }
end

-- The same with its events, and the result as the model shall read it.
local function call_tool(run, call)
  run.on_event { type = "tool_call", name = call.name, args = call.args, id = call.id }
  local outcome = call_within_limits(run, call)
  run.on_event { type = "tool_result", name = call.name, id = call.id, content = outcome.content, err = outcome.err }
  local circling
  outcome.content, circling = run.repeats:note(call, outcome.content, run.results:shorten(outcome.content))
  if circling and not outcome.stop then outcome.err, outcome.stop = circling, true end
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
  if run.results:tool() then run.tools:offer { run.results:tool() } end
  return #broken, stopped and stopped.err
end

-- ## Ending

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

-- The answer as a value of the run's schema. nil and nothing: the model is told what is wrong, and asked again.
local function read_output(run, text)
  local value, faults = schema.read(run.output, text)
  if value ~= nil then return value end
  run.repairs = (run.repairs or 0) + 1
  if run.repairs > REPAIRS then
    return errors.fail {
      kind = "invalid_output", code = "invalid_output",
      message = ("the answer does not fit the schema, also not after it was told so (%s); try another model, or make "
        .. "the schema simpler"):format(faults:gsub("\n", "; ")),
    }
  end
  run.history:user(("[Your answer does not fit the schema that was asked for: %s. Answer again, with the corrected "
    .. "JSON only.]"):format(faults:gsub("\n", "; ")))
  return nil
end

local NOT_RUN = "Error: this tool was not run, because the run ended before."
local LAST = "[A limit of this run is reached: no tool can be called any more. Answer now with what you have, and say "
  .. "what is missing.]"

-- When a limit ended the work: one more answer, in words, if the limit leaves room for it. Its text, or nil.
local function last_words(run, step, err)
  if err.kind ~= "step_limit" and err.kind ~= "budget" then return nil end
  waiting.ending() -- a resumed run, with a larger limit, goes on before this
  run.history:user(LAST)
  local answer = ask(run, step, true)
  if not answer then return nil end
  run.history:answer(answer):close(NOT_RUN)
  return answer.content ~= "" and answer.content or nil
end

function loop.run(run)
  local broken_rounds, said, step = 0, nil, 0

  local function stop(err)
    err = errors.of(err)
    run.history:close(NOT_RUN)
    keep(run)
    said = last_words(run, step, err) or said
    err.partial = { answer = said, messages = run.history:messages(), steps = step, usage = run.limits.usage }
    return nil, err
  end

  while true do
    local allowed, err = run.limits:step(step + 1)
    if not allowed then return stop(err) end
    step = step + 1
    run.on_event { type = "step", step = step }
    local answer
    answer, err = ask(run, step)
    if not answer then return stop(err) end
    run.history:answer(answer)
    allowed, err = keep(run)
    if not allowed then return stop(err) end
    run.on_event { type = "answer", message = answer }
    if answer.content and answer.content ~= "" then said = answer.content end
    if run.limits.unpriced then return stop(run.limits.unpriced) end

    local calls = #(answer.tool_calls or {}) + #(answer.invalid_tool_calls or {})
    if calls == 0 then
      local text
      text, err = finish(answer)
      if not text then return stop(err) end
      local value
      if run.output then
        value, err = read_output(run, text)
        if err then return stop(err) end
      end
      if not run.output or value ~= nil then
        return {
          answer = text, output = value, messages = run.history:messages(), steps = step, usage = run.limits.usage,
        }
      end
    else
      local broken
      broken, err = answer_calls(run, answer)
      if err then return stop(err) end
      broken_rounds = broken > 0 and broken_rounds + 1 or 0
      if broken_rounds > BROKEN_ROUNDS then return stop(too_many_broken(broken_rounds)) end
    end
  end
end

return loop
