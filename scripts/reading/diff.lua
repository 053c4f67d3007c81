-- Two runs beside each other, for `agenthost trace diff`: their spans in order, and of each pair what differs: prompts,
-- models, tools and arguments, outputs, errors. Times, ids and token counts differ always and are not compared.
local json = require "host.json"

local diff = {}

local SHORT = 160

local function text_of(v)
  if v == nil or v == json.null then return "(none)" end
  return type(v) == "string" and v or json.encode(v)
end

local function short(v)
  local text = text_of(v):gsub("%s+", " ")
  return utf8.len(text) and utf8.len(text) > SHORT and text:sub(1, utf8.offset(text, SHORT) - 1) .. "…" or text
end

local function metadata(span, key) return ((span.extra or {}).metadata or {})[key] end

-- An answer without what chance and time put into it.
local function answer_of(span)
  local outputs = span.outputs or {}
  local first = type(outputs.choices) == "table" and outputs.choices[1]
  if not first then return outputs end
  local message = first.message or {}
  local calls = {}
  for _, call in ipairs(message.tool_calls or {}) do
    calls[#calls + 1] = call["function"] and call["function"].name .. " " .. tostring(call["function"].arguments)
  end
  return #calls > 0 and table.concat(calls, "; ") or message.content
end

-- What is compared, each with its name.
local function parts_of(span)
  local inputs = span.inputs or {}
  local parts = { { "run type", span.run_type }, { "error", span.error } }
  if span.run_type == "llm" then
    parts[#parts + 1] = { "model", inputs.model }
    parts[#parts + 1] = { "prompt file", metadata(span, "prompt_file") }
    parts[#parts + 1] = { "prompt hash", metadata(span, "prompt_sha256") }
    local messages = inputs.messages or {}
    parts[#parts + 1] = { "messages", #messages }
    for i, message in ipairs(messages) do
      parts[#parts + 1] = { "message " .. i, message.content or message.tool_calls }
    end
    local names = {}
    for i, tool in ipairs(inputs.tools or {}) do names[i] = tool["function"] and tool["function"].name or "?" end
    parts[#parts + 1] = { "tools", table.concat(names, ", ") }
  else
    parts[#parts + 1] = { "inputs", inputs }
  end
  parts[#parts + 1] = { "answer", answer_of(span) }
  return parts
end

-- The longest common row of names, so that a step more on one side does not shift all that follows.
local function align(a, b)
  local best = {}
  for i = #a + 1, 1, -1 do
    best[i] = {}
    for j = #b + 1, 1, -1 do
      if i > #a or j > #b then
        best[i][j] = 0
      elseif a[i].name == b[j].name then
        best[i][j] = 1 + best[i + 1][j + 1]
      else
        best[i][j] = math.max(best[i + 1][j], best[i][j + 1])
      end
    end
  end
  local pairs_, i, j = {}, 1, 1
  while i <= #a or j <= #b do
    if i <= #a and j <= #b and a[i].name == b[j].name then
      pairs_[#pairs_ + 1] = { a[i], b[j] }
      i, j = i + 1, j + 1
    elseif j > #b or (i <= #a and best[i + 1][j] >= best[i][j + 1]) then
      pairs_[#pairs_ + 1] = { a[i], nil }
      i = i + 1
    else
      pairs_[#pairs_ + 1] = { false, b[j] }
      j = j + 1
    end
  end
  return pairs_
end

-- { { name, only = "a" | "b" } | { name, what, a, b } … }
function diff.compare(a, b)
  local found = json.array {}
  for _, pair in ipairs(align(a, b)) do
    local one, two = pair[1] or nil, pair[2]
    if not one or not two then
      found[#found + 1] = { name = (one or two).name, only = one and "a" or "b" }
    else
      local left, right = parts_of(one), parts_of(two)
      local seen = {}
      for _, part in ipairs(right) do seen[part[1]] = part[2] end
      for _, part in ipairs(left) do
        if text_of(part[2]) ~= text_of(seen[part[1]]) then
          found[#found + 1] = { name = one.name, what = part[1], a = text_of(part[2]), b = text_of(seen[part[1]]) }
        end
      end
    end
  end
  return found
end

-- { a, b: lists of spans, json } -> what is printed
function diff.text(given)
  local found = diff.compare(given.a, given.b)
  if given.json then return json.encode(found) .. "\n" end
  local lines = {}
  for _, d in ipairs(found) do
    if d.only then
      lines[#lines + 1] = ("%s %s"):format(d.only == "a" and "-" or "+", d.name)
    else
      lines[#lines + 1] = ("! %s: %s\n  - %s\n  + %s"):format(d.name, d.what, short(d.a), short(d.b))
    end
  end
  return (#lines > 0 and table.concat(lines, "\n") or "the runs do not differ") .. "\n"
end

return diff
