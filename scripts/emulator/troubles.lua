-- Switches for what can go wrong: a list of troubles, each with a place, a kind and a count; a header of a
-- request, or the name of its model ("gpt-4o~429"), can ask for a trouble of its own. Called by app.lua before and
-- after each handler. The bodies are those of the service that is asked.
local json = require "host.json"
local reply = require "emulator.reply"
local text = require "emulator.text"

local M = {}
local Troubles = {}
Troubles.__index = Troubles

M.FIELDS = {
  where = "string", what = "string", also = "string", times = "number", skip = "number", match = "string",
  model = "string",
  after = "boolean", retry_after = "number|string", retry_after_ms = "number|string", retry_after_date = "number",
  should_retry = "boolean", seconds = "number", status = "number", bytes = "number", size = "number", form = "string",
  code = "string", message = "string",
}

-- The kinds, for messages and for docs/emulator.md.
M.KINDS = {
  "400", "401", "403", "404", "408", "409", "413", "422", "429", "500", "502", "503", "504", "529", -- statuses
  "quota", "too_large", "context", "200_error", -- OpenAI's own refusals
  "html", "empty", "reset", "huge", "bad_utf8", "deep", -- bodies that no client expects
  "slow", "torn", "cut", "split", -- what the network does
  "cr", "crlf", "no_space", "comments", "bom", "last_newline", -- how a stream is written
  "error_event", "no_done", "done_mark", "no_finish", "odd_finish", "empty_choices", "obfuscation", -- what is in it
  "usage_on_finish", "usage_everywhere", "usage_always", "no_usage",
  "interleaved", "no_index", "same_index", "repeated_id", "split_name", "one_chunk_calls", -- calls in a stream
  "object_arguments", "empty_arguments", "list_arguments", "control_arguments", "cut_arguments", "bad_arguments",
  "pending", "expired", "no_tools", "tool_error", -- Scalekit
  "resume", "no_session", "chatter", -- MCP: the answer is there for who comes back; a lost session; others speak first
  "ask_elicitation", "ask_sampling", "ask_roots", "ask_ping", -- MCP: the server asks the client before a tool runs
}

local FORMS = { data = true, named = true, detail = true, text = true, nested = true }

local function is_kind(name)
  for _, kind in ipairs(M.KINDS) do
    if kind == name then return true end
  end
  return false
end

local function unknown(name)
  return ("no trouble is called %q; there are: %s"):format(name, table.concat(M.KINDS, " "))
end

local function check(trouble)
  for k, v in pairs(trouble) do
    local kinds = M.FIELDS[k]
    if not kinds then return nil, ("unknown field %q of a trouble"):format(tostring(k)) end
    if not kinds:find(type(v), 1, true) then
      return nil, ("field %s of a trouble must be a %s"):format(k, (kinds:gsub("|", " or a "))) end
  end
  if not trouble.what then return nil, "a trouble needs what = one of " .. table.concat(M.KINDS, " ") end
  if not is_kind(trouble.what) then return nil, unknown(trouble.what) end
  for kind in (trouble.also or ""):gmatch("[^%s,+]+") do
    if not is_kind(kind) then return nil, unknown(kind) end
  end
  if trouble.form and not FORMS[trouble.form] then
    return nil, "form of a trouble is data, named, detail or text; nested for responses" end
  return trouble
end

-- has(kind): whether this trouble (or nil) is of that kind, or has it beside.
function M.kinds_of(trouble)
  local set = {}
  if trouble then
    set[trouble.what] = true
    for kind in (trouble.also or ""):gmatch("[^%s,+]+") do set[kind] = true end
  end
  return function(kind) return set[kind] == true end
end

function M.new() return setmetatable({ list = {} }, Troubles) end

local of_text

-- The trouble, copied; or nil and a sentence. A text is read as the header of a request is.
function Troubles:add(trouble)
  if type(trouble) == "string" then
    local read, message = of_text(trouble)
    if not read then return nil, message end
    trouble = read
  end
  local copy = {}
  for k, v in pairs(trouble) do copy[k] = v end
  if type(copy.what) == "number" then copy.what = tostring(math.tointeger(copy.what) or copy.what) end
  local ok, message = check(copy)
  if not ok then return nil, message end
  copy.where = copy.where or "*"
  self.list[#self.list + 1] = copy
  return copy
end

function Troubles:clear() self.list = {} end

-- "429; retry_after=2; after" -> a trouble, or nil and a sentence that says where the text came from.
function of_text(value, place)
  local trouble = {}
  for item in value:gmatch("[^;]+") do
    local word = item:match("^%s*(.-)%s*$")
    local k, v = word:match("^([%w_]+)%s*=%s*(.*)$")
    if k then
      local kind = M.FIELDS[k]
      trouble[k] = v
      if kind and kind:find("number", 1, true) then trouble[k] = tonumber(v) or v end
      if kind == "boolean" then trouble[k] = v == "true" end
    elseif word == "after" then
      trouble.after = true
    else
      trouble.what = word
    end
  end
  local ok, message = check(trouble)
  if not ok then return nil, place and place .. ": " .. message or message end
  return trouble
end

local function matches(trouble, route, request)
  local where = trouble.where
  if where ~= "*" and where ~= route.where and where ~= route.service then return false end
  if trouble.model and (route.service ~= "openai" or trouble.model ~= request:model()) then return false end
  if not trouble.match then return true end
  local line = request.path .. "?" .. request.raw_query
  return line:find(trouble.match, 1, true) ~= nil or request.body:find(trouble.match, 1, true) ~= nil
end

-- The trouble that this request meets, or nil; or nil and a sentence when its header makes no sense.
function Troubles:meet(route, request)
  local header = request.headers["x-agenthost-trouble"]
  if header then return of_text(header, "x-agenthost-trouble") end
  if route.service == "openai" and request.body:find("~", 1, true) then -- most bodies need not be read for this
    local _, asked = request:model()
    if asked then return of_text(asked, "the name of the model") end
  end
  for i, trouble in ipairs(self.list) do
    if matches(trouble, route, request) then
      if (trouble.skip or 0) > 0 then
        trouble.skip = trouble.skip - 1
      else
        if trouble.times then
          trouble.times = trouble.times - 1
          if trouble.times <= 0 then table.remove(self.list, i) end
        end
        return trouble
      end
    end
  end
  return nil
end

local GRPC = {
  ["400"] = { "INVALID_ARGUMENT", "the request is not valid" }, ["401"] = { "UNAUTHENTICATED", "Token expired" },
  ["403"] = { "PERMISSION_DENIED", "permission denied" }, ["404"] = { "NOT_FOUND", "resource not found" },
  ["409"] = { "ALREADY_EXISTS", "resource already exists", "RESOURCE_ALREADY_EXISTS" },
  ["429"] = { "RESOURCE_EXHAUSTED", "rate limit exceeded", "RATE_LIMITED" },
  ["500"] = { "INTERNAL", "internal error" }, ["503"] = { "UNAVAILABLE", "service unavailable" },
  ["504"] = { "DEADLINE_EXCEEDED", "deadline exceeded" },
}

local function scalekit_answer(trouble, route)
  local row = GRPC[trouble.what]
  if trouble.what == "401" and route.where == "mcp_server" then
    local status, headers, body = reply.json(401, { error = "invalid_token",
      error_description = trouble.message or "the session token is not valid" })
    headers["www-authenticate"] = 'Bearer error="invalid_token"'
    return status, headers, body
  end
  if row and route.where == "proxy" then -- the proxy's own refusals have a shape of their own
    return reply.json(tonumber(trouble.what), { detail = trouble.message or row[2],
      code = trouble.what == "401" and "UNAUTHORIZED" or row[1] })
  end
  local status = not row and tonumber(trouble.what)
  if status then -- the service itself has no such answer: it comes from what stands before it
    return reply.html(status, ("<html><head><title>%d</title></head><body>emulated</body></html>\n"):format(status))
  elseif not row then
    return nil
  end
  return reply.grpc(row[1], trouble.message or row[2], { error_code = trouble.code or row[3] or row[1] })
end

local OPENAI = {
  ["400"] = { "invalid_request_error", nil, "The request is not valid (emulated)." },
  ["401"] = { "invalid_request_error", "invalid_api_key",
    "Incorrect API key provided: sk-e****lator. You can find your "
    .. "API key at https://platform.openai.com/account/api-keys." },
  ["403"] = { "request_forbidden", "unsupported_country_region_territory",
    "Country, region, or territory not supported" },
  ["404"] = { "invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it." },
  ["429"] = { "requests", "rate_limit_exceeded",
    "Rate limit reached for gpt-4o in organization org-emulator on requests per "
    .. "min (RPM): Limit 500, Used 500, Requested 1. Please try again in 120ms." },
  ["500"] = { "server_error", nil, "The server had an error while processing your request (emulated)." },
  ["503"] = { "server_error", nil, "The engine is currently overloaded (emulated). Slow Down." },
}

local function openai_answer(trouble)
  local what = trouble.what
  if what == "quota" then
    return reply.openai(429, "insufficient_quota", "insufficient_quota", nil,
      "You exceeded your current quota, please check your plan and billing details (emulated).")
  elseif what == "too_large" then
    return reply.openai(429, "tokens", "rate_limit_exceeded", nil, "Request too large for gpt-4o in organization "
      .. "org-emulator on tokens per min (TPM): Limit 30000, Requested 36055. The input or output tokens must be "
      .. "reduced.")
  elseif what == "context" then
    return reply.openai(400, "invalid_request_error", "context_length_exceeded", "messages",
      "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens.")
  end
  local row = OPENAI[what] or (tonumber(what) and { "server_error", nil, "Status " .. what .. " (emulated)." })
  if not row then return nil end
  return reply.openai(tonumber(what), row[1], trouble.code or row[2], nil, trouble.message or row[3])
end

local LANGSMITH = {
  ["400"] = "Bad request: emulated", ["403"] = "Forbidden",
  ["409"] = "Conflict: payload already received: payloads already received",
  ["422"] = "Unprocessable entity: error reading multipart data: multipart: NextPart: EOF",
  ["429"] = "Too many requests: tenant exceeded usage limits: Monthly unique traces usage limit exceeded",
}

local function langsmith_answer(trouble)
  local status = tonumber(trouble.what)
  if not status then return nil end
  if status == 413 then return reply.html(413,
    "<html><head><title>413 Request Entity Too Large</title></head></html>\n") end
  if status == 401 then return reply.json(401, { detail = "Invalid token" }) end
  if status == 404 then return reply.json(404, { detail = trouble.message or "Run not found" }) end
  return reply.langsmith(status, trouble.message or LANGSMITH[trouble.what] or ("Emulated status " .. status))
end

local ANSWERS = { scalekit = scalekit_answer, openai = openai_answer, langsmith = langsmith_answer }

local function broken_body(trouble)
  local what, status = trouble.what, trouble.status or 200
  local headers = { ["content-type"] = "application/json" }
  if what == "html" then
    return reply.html(trouble.status or 502,
      "<html><head><title>502 Bad Gateway</title></head>\n<body>emulated</body></html>\n")
  elseif what == "empty" then
    return status, headers, ""
  elseif what == "reset" then
    return status, headers, { chunks = {}, cut = true, silent = true }
  elseif what == "huge" then
    local mega = ("x"):rep(1 << 20)
    local chunks = { '{"x":"' }
    for i = 2, (trouble.bytes or 40 << 20) // #mega + 1 do chunks[i] = mega end
    chunks[#chunks + 1] = '"}'
    return status, headers, { chunks = chunks }
  elseif what == "bad_utf8" then
    return status, headers, '{"message":"\xff\xfe broken \xc3"}'
  elseif what == "deep" then
    return status, headers, ("["):rep(10000) .. ("]"):rep(10000)
  elseif what == "200_error" then
    return reply.json(200, { error = { message = "Emulated failure inside a 200 answer.", type = "server_error",
      param = json.null, code = json.null } })
  end
  return nil
end

-- What takes the handler's place: status, headers, body; or nil when the trouble only bends the handler's
-- own answer (request.trouble) or comes after it.
function M.instead(trouble, route, now)
  if trouble.what == "404" and route.service == "langsmith" and route.where == "ingest" then
    return reply.langsmith(404, "not found")
  end
  local status, headers, body = broken_body(trouble)
  if not status then
    local make = ANSWERS[route.service]
    if make then status, headers, body = make(trouble, route) end
  end
  if status then M.add_headers(trouble, headers, now) end
  return status, headers, body
end

local function shown(v) return type(v) == "number" and ("%g"):format(v) or v end

-- When to come back, in each of the forms that servers use, good or bad.
function M.add_headers(trouble, headers, now)
  if trouble.retry_after then headers["retry-after"] = shown(trouble.retry_after) end
  if trouble.retry_after_ms then headers["retry-after-ms"] = shown(trouble.retry_after_ms) end
  if trouble.retry_after_date then
    headers["retry-after"] = text.http_date(now() + trouble.retry_after_date)
  end
  if trouble.should_retry ~= nil then headers["x-should-retry"] = tostring(trouble.should_retry) end
end

return M
