-- Errors as all of agenthost has them: a table with `kind` and `message`, which prints as the message.
-- What the world does wrong is returned as `nil, err`; a mistake in a script is raised.
local errors = {}

local meta = {
  __tostring = function(err) return err.message end,
  __concat = function(a, b) return tostring(a) .. tostring(b) end,
}

-- errors.new{ kind = "step_limit", message = "…", … }; kinds are those of docs/scripting.md.
function errors.new(fields)
  assert(type(fields.kind) == "string" and type(fields.message) == "string", "an error needs kind and message")
  if fields.retryable == nil then fields.retryable = false end
  return setmetatable(fields, meta)
end

-- The same, as a function's last line: `return errors.fail{ … }`.
function errors.fail(fields) return nil, errors.new(fields) end

-- Any error value (a table of ours, a string, anything that was raised) as an error table.
function errors.of(value)
  if type(value) == "table" and type(value.kind) == "string" then
    if type(value.message) ~= "string" then value.message = value.kind end
    return value
  end
  return errors.new { kind = "script", message = tostring(value) }
end

return errors
