-- Runs for OpenTelemetry, for `agenthost trace export --format otlp`: an OTLP/HTTP request in JSON, with the names of
-- the semantic conventions for generative AI. `--to` posts it.
local json = require "host.json"
local http = require "host.http"

local otlp = {}

-- gen_ai.operation.name
local OPERATIONS = { llm = "chat", tool = "execute_tool", embedding = "embeddings", chain = "invoke_agent" }

local function value_of(v)
  if math.type(v) == "integer" then return { intValue = tostring(v) } end
  if type(v) == "number" then return { doubleValue = v } end
  if type(v) == "boolean" then return { boolValue = v } end
  if type(v) ~= "string" then v = json.encode(v) end
  return { stringValue = v }
end

local function put(attributes, key, v)
  if v ~= nil and v ~= json.null then attributes[#attributes + 1] = { key = key, value = value_of(v) } end
end

-- Nanoseconds since 1970, as text: OTLP's JSON writes 64 bits so.
local function nanoseconds(iso)
  local y, m, d, h, min, s, micro = iso:match "^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)%.(%d+)Z$"
  if not y then return "0" end
  y, m = math.tointeger(y), math.tointeger(m)
  local a = (14 - m) // 12
  local year, month = y + 4800 - a, m + 12 * a - 3
  local days = math.tointeger(d) + (153 * month + 2) // 5 + 365 * year + year // 4 - year // 100 + year // 400 - 32045
    - 2440588
  local seconds = days * 86400 + math.tointeger(h) * 3600 + math.tointeger(min) * 60 + math.tointeger(s)
  return tostring(seconds * 1000000000 + math.tointeger(micro) * 1000)
end

-- The last 8 bytes of a UUID: of a version 7 the first ones are mostly the time.
local function span_id(uuid) return uuid:gsub("-", ""):sub(17) end

local function model_attributes(span, out)
  local inputs, outputs = span.inputs or {}, span.outputs or {}
  local usage = ((span.extra or {}).metadata or {}).usage_metadata or outputs.usage_metadata or {}
  put(out, "gen_ai.provider.name", ((span.extra or {}).metadata or {}).ls_provider)
  put(out, "gen_ai.request.model", inputs.model)
  put(out, "gen_ai.response.model", outputs.model)
  put(out, "gen_ai.response.id", outputs.id)
  for _, name in ipairs { "temperature", "top_p", "max_tokens", "frequency_penalty", "presence_penalty", "seed" } do
    put(out, "gen_ai.request." .. name, inputs[name])
  end
  put(out, "gen_ai.usage.input_tokens", usage.input_tokens)
  put(out, "gen_ai.usage.output_tokens", usage.output_tokens)
  put(out, "gen_ai.usage.details.reasoning_tokens", (usage.output_token_details or {}).reasoning)
  put(out, "gen_ai.usage.cache_read_input_tokens", (usage.input_token_details or {}).cache_read)
  put(out, "gen_ai.usage.cost", usage.total_cost)
  put(out, "gen_ai.prompt", inputs)
  put(out, "gen_ai.completion", outputs)
  local reasons = json.array {}
  for i, choice in ipairs(type(outputs.choices) == "table" and outputs.choices or {}) do
    reasons[i] = tostring(choice.finish_reason)
  end
  if #reasons > 0 then
    local values = {}
    for i, reason in ipairs(reasons) do values[i] = { stringValue = reason } end
    out[#out + 1] = { key = "gen_ai.response.finish_reasons", value = { arrayValue = { values = values } } }
  end
end

local function attributes_of(span)
  local out = json.array {}
  put(out, "langsmith.span.kind", span.run_type)
  put(out, "langsmith.trace.session_name", span.session_name)
  put(out, "langsmith.span.id", span.id)
  put(out, "langsmith.trace.id", span.trace_id)
  put(out, "langsmith.span.dotted_order", span.dotted_order)
  if span.tags then put(out, "langsmith.span.tags", table.concat(span.tags, ", ")) end
  for k, v in require("host").sorted_pairs((span.extra or {}).metadata or {}) do
    if k ~= "usage_metadata" then put(out, "langsmith.metadata." .. k, v) end
  end
  put(out, "gen_ai.operation.name", OPERATIONS[span.run_type] or span.run_type)
  if span.run_type == "llm" or span.run_type == "embedding" then
    model_attributes(span, out)
  else
    put(out, "input.value", span.inputs)
    put(out, "output.value", span.outputs)
  end
  if span.run_type == "tool" then
    put(out, "gen_ai.tool.name", span.name)
    put(out, "gen_ai.tool.call.id", (span.extra or {}).tool_call_id)
  elseif span.run_type == "chain" and not span.parent_run_id then
    put(out, "gen_ai.agent.name", span.name)
  end
  local meta = (span.extra or {}).metadata or {}
  put(out, "gen_ai.conversation.id", meta.thread_id or meta.session_id or meta.conversation_id)
  return out
end

local function events_of(span)
  local events = json.array {}
  for i, event in ipairs(span.events or {}) do
    local attributes = json.array {}
    for k, v in require("host").sorted_pairs(event.kwargs or {}) do put(attributes, k, v) end
    events[i] = { name = event.name, timeUnixNano = nanoseconds(event.time), attributes = attributes }
  end
  if span.error then
    events[#events + 1] = { name = "exception", timeUnixNano = nanoseconds(span.end_time or span.start_time),
      attributes = { { key = "exception.message", value = { stringValue = span.error } } } }
  end
  return events
end

local function convert(span)
  return {
    traceId = span.trace_id:gsub("-", ""),
    spanId = span_id(span.id),
    parentSpanId = span.parent_run_id and span_id(span.parent_run_id) or "",
    name = span.name,
    kind = span.run_type == "llm" and 3 or 1, -- client, internal
    startTimeUnixNano = nanoseconds(span.start_time),
    endTimeUnixNano = nanoseconds(span.end_time or span.start_time),
    attributes = attributes_of(span),
    events = events_of(span),
    status = span.error and { code = 2, message = span.error } or { code = 1 },
  }
end

-- An ExportTraceServiceRequest.
function otlp.request(spans)
  local converted = json.array {}
  for i, span in ipairs(spans) do converted[i] = convert(span) end
  return { resourceSpans = { {
    resource = { attributes = { { key = "service.name", value = { stringValue = "agenthost" } } } },
    scopeSpans = { { scope = { name = "agenthost" }, spans = converted } },
  } } }
end

-- { spans, headers, to? } -> what is printed
function otlp.export(given)
  local body = json.encode(otlp.request(given.spans))
  if not given.to then return body .. "\n" end
  local headers = { ["content-type"] = "application/json" }
  for _, pair in ipairs(given.headers) do
    local name, v = pair:match "^(.-)=(.*)$"
    headers[name] = v
  end
  local answer, err = http.request {
    method = "POST", url = given.to, headers = headers, body = body, idempotent = true,
  }
  if not answer then return nil, err end
  local said = json.decode(answer.body ~= "" and answer.body or "{}")
  local rejected = type(said) == "table" and type(said.partialSuccess) == "table" and said.partialSuccess.rejectedSpans
  if rejected and tonumber(rejected) and tonumber(rejected) > 0 then
    return nil, { kind = "service", message = ("%s rejected %s of %d spans: %s"):format(given.to, rejected,
      #given.spans, tostring(said.partialSuccess.errorMessage)) }
  end
  return ("%d spans sent to %s\n"):format(#given.spans, given.to)
end

return otlp
