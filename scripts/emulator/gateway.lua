-- Gateway mode: the emulated OpenAI as LiteLLM's proxy shows it. Its headers, the alias as the answer's model,
-- codes that are texts, messages that begin with the exception's class, cost, `mock_*` keys, its health calls.
-- Called by app.lua and openai.lua when a scenario or an option says gateway.
local json = require "host.json"
local reply = require "emulator.reply"
local world_of = require "emulator.world"

local given, is_array, is_object = world_of.given, world_of.is_array, world_of.is_object
local M = {}

M.VERSION = "1.97.0"

local CLASSES = { [400] = "BadRequestError", [401] = "AuthenticationError", [403] = "PermissionDeniedError",
  [404] = "NotFoundError", [408] = "Timeout", [413] = "BadRequestError", [422] = "UnprocessableEntityError",
  [429] = "RateLimitError", [503] = "ServiceUnavailableError" }

-- US dollars for a token: model pattern, input, output
local PRICES = { { "^gpt%-4o%-mini", 1.5e-7, 6e-7 }, { "^gpt%-4o", 2.5e-6, 1e-5 }, { "^gpt%-4%.1%-mini", 4e-7, 1.6e-6 },
  { "^gpt%-4%.1", 2e-6, 8e-6 }, { "^gpt%-3%.5", 5e-7, 1.5e-6 }, { "^text%-embedding%-3%-small", 2e-8, 0 } }

local function price_of(name)
  for _, row in ipairs(PRICES) do
    if name:find(row[1]) then return row[2], row[3] end
  end
  return nil
end

-- US dollars, or nil when the alias has no price.
function M.cost(name, usage)
  local input, output = price_of(name)
  if not input or not usage then return nil end
  return usage.prompt_tokens * input + (usage.completion_tokens or 0) * output
end

local function error_of(status, class, message)
  return reply.json(status, { error = { message = message, type = json.null, param = "None",
    code = ("%d"):format(status),
    provider_specific_fields = class and {} or nil } })
end

-- nil when the request carries the key; a wrong one meets the missing database.
function M.refuse(self, request)
  local key = (request.headers.authorization or request.headers["x-litellm-api-key"] or ""):gsub("^[Bb]earer%s+", "")
  if key == "" then
    return { reply.json(401, { error = { message = "Authentication Error, No api key passed in.", type = "auth_error",
      param = "None", code = "401" } }) }
  end
  if self.world.open or key == self.world.keys.openai then return nil end
  return { reply.json(400, { error = { message = "No connected db.", type = "no_db_connection", param = "None",
    code = "400" } }) }
end

function M.no_model(name, path)
  local message = ("%s: Invalid model name passed in model=%s. Call `/v1/models` to view available models for your "
    .. "key."):format(path, name)
  return { reply.json(400, { error = { message = message, type = "invalid_request_error", param = "None",
    code = "400" } }) }
end

-- The class that an upstream error becomes.
local function class_of(status, code)
  if code == "context_length_exceeded" then return "ContextWindowExceededError" end
  return CLASSES[status] or (status >= 500 and "InternalServerError" or "APIError")
end

function M.message(status, code, message)
  local class = class_of(status, code)
  local inner = class == "ContextWindowExceededError" and "litellm.BadRequestError: " .. class or class
  return ("litellm.%s: %s: OpenAIException - %s"):format(class, inner, message)
end

-- An answer of openai.lua in the gateway's clothes.
function M.dress(self, request, status, headers, body)
  local gateway, out = self.scenario.gateway, {}
  for k, v in pairs(headers or {}) do
    local mine = k == "content-type" or k == "retry-after" or k:find("^x%-litellm") or k:find("^x%-ratelimit")
    if mine then out[k] = v elseif status < 400 then out["llm_provider-" .. k] = v end
  end
  out["x-litellm-call-id"] = request.headers["x-litellm-call-id"] or self.world:uuid()
  out["x-litellm-version"] = M.VERSION
  if status >= 400 then
    out["x-litellm-response-cost"] = "0"
    local value = type(body) == "string" and json.decode(body)
    local e = is_object(value) and given(value.error)
    if is_object(e) and type(given(e.code)) ~= "string" or (is_object(e) and not tostring(e.code):find("^%d+$")) then
      local _, _, dressed = error_of(status, true, M.message(status, given(e.code), e.message))
      return status, out, dressed
    end
    return status, out, body
  end
  local name = request.model_name
  out["x-litellm-model-group"], out["x-litellm-model-id"] = name, name and ("emulated-" .. name)
  out["x-litellm-model-api-base"] = "https://api.openai.com"
  out["x-litellm-key-spend"] = ("%.10g"):format(self.spend)
  out["x-litellm-attempted-retries"], out["x-litellm-attempted-fallbacks"] = "0", "0"
  out["x-litellm-response-duration-ms"], out["x-litellm-overhead-duration-ms"] = "7.0", "1.0"
  if request.cost and type(body) == "string" and gateway.cost ~= "none" then
    out["x-litellm-response-cost"] = ("%.6g"):format(request.cost)
  end
  return status, out, body
end

local EXCEPTIONS = { ["litellm.RateLimitError"] = { 429, "this is a mock rate limit error" },
  ["litellm.ContextWindowExceededError"] = { 400, "this is a mock context window exceeded error" },
  ["litellm.InternalServerError"] = { 500, "this is a mock internal server error" } }

local TESTS = { mock_testing_rate_limit_error = "litellm.RateLimitError",
  mock_testing_context_window_fallbacks = "litellm.ContextWindowExceededError",
  mock_testing_fallbacks = "litellm.InternalServerError" }

-- What the `mock_*` keys of a request ask for: nil when none does; { refused = answer }, { text = },
-- { calls = }, { stream_error = true }, with `wait` in seconds.
function M.mock(body)
  local said = given(body.mock_response)
  local mock = { wait = given(body.mock_delay), usage = { prompt_tokens = 10, completion_tokens = 20,
    total_tokens = 30 } }
  for key, class in pairs(TESTS) do
    if body[key] == true then said = class end
  end
  if body.mock_testing_content_policy_fallbacks == true then said = "Exception: content_filter_policy" end
  if body.mock_timeout == true then
    mock.wait = given(body.timeout) or 1
    mock.refused = { error_of(408, true, "litellm.Timeout: Timeout Error: emulated") }
    return mock
  end
  local row = type(said) == "string" and EXCEPTIONS[said]
  if row then
    local inner = said == "litellm.ContextWindowExceededError" and "litellm.BadRequestError: " or ""
    mock.refused = { error_of(row[1], true, ("%s: %s%s: %s"):format(said, inner, said:gsub("^litellm%.", ""), row[2])) }
  elseif type(said) == "string" and said:find("^Exception: content_filter_policy") then
    mock.refused = { error_of(400, true, "litellm.ContentPolicyViolationError: litellm.BadRequestError: "
      .. "ContentPolicyViolationError: content_filter_policy") }
  elseif type(said) == "string" and said:find("^Exception: mock_streaming_error") then
    mock.text, mock.stream_error = "This answer breaks off.", true
    if body.stream ~= true then mock.refused = { error_of(529, true, "litellm.APIError: mock_streaming_error") } end
  elseif type(said) == "string" then
    mock.text = said
  elseif is_object(said) then
    mock.whole = said
  end
  if is_array(body.mock_tool_calls) and body.stream ~= true then mock.calls = body.mock_tool_calls end
  if mock.refused or mock.text or mock.whole or mock.calls or mock.wait then return mock end
  return nil
end

local function model_info(self, names)
  local rows = json.array {}
  for i, name in ipairs(names) do
    local input, output = price_of(name)
    rows[i] = { model_name = name, litellm_params = { model = "openai/" .. name }, model_info = { id = "emulated-"
      .. name,
      mode = name:find("embedding", 1, true) and "embedding" or "chat", max_tokens = 16384,
      max_input_tokens = self.scenario.context_tokens, input_cost_per_token = input, output_cost_per_token = output,
      supports_function_calling = true } }
  end
  return reply.json(200, { data = rows })
end

function M.install(self, app, names)
  local function add(method, path, handler, opts)
    app:route("openai", "gateway", method, path, handler, opts)
  end
  local open = { open = true }
  add("GET", "/health/liveliness", function() return reply.json(200, "I'm alive!") end, open)
  add("GET", "/health/readiness", function()
    return reply.json(200, { status = "healthy", db = "Not connected", cache = json.null, litellm_version = M.VERSION,
      success_callbacks = json.array {} })
  end, open)
  add("GET", "/health", function()
    local rows = json.array {}
    for i, name in ipairs(names()) do rows[i] = { model = "openai/" .. name } end
    return reply.json(200, { healthy_endpoints = rows, unhealthy_endpoints = json.array {}, healthy_count = #rows,
      unhealthy_count = 0 })
  end)
  for _, path in ipairs { "/model/info", "/v1/model/info" } do
    add("GET", path, function() return model_info(self, names()) end)
  end
  add("GET", "/key/info", function()
    return reply.json(200, { key = "sk-...ator", info = { spend = self.spend, max_budget = json.null } })
  end)
  add("POST", "/utils/token_counter", function(request)
    local body = request:object() or {}
    local said = given(body.prompt) or json.encode(given(body.messages) or json.array {})
    return reply.json(200, { total_tokens = (#said + 3) // 4, request_model = given(body.model) or "",
      model_used = given(body.model) or "", tokenizer_type = "emulated" })
  end)
end

return M
