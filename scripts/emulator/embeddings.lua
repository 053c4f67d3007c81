-- /embeddings: vectors made of the words of a text, so that texts which share words lie near each other and the
-- same text always gives the same vector. Called by openai.lua.
local json = require "host.json"
local reply = require "emulator.reply"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given, is_array = world_of.given, world_of.is_array
local M = {}

local MAX_INPUTS, PER_WORD = 2048, 24
local MODELS = { ["text-embedding-3-small"] = 1536, ["text-embedding-3-large"] = 3072,
  ["text-embedding-ada-002"] = 1536 }

local function hash(s) -- FNV-1a
  local h = 0xcbf29ce484222325
  for i = 1, #s do h = (h ~ s:byte(i)) * 0x100000001b3 end
  return h
end

-- A unit vector: each word moves PER_WORD places of it.
function M.vector(words, size)
  local v = {}
  for i = 1, size do v[i] = 0.0 end
  for _, word in ipairs(words) do
    local h = hash(word)
    for _ = 1, PER_WORD do
      h = h ~ (h >> 12)
      h = h ~ (h << 25)
      h = h ~ (h >> 27)
      local at = (h >> 3) % size + 1
      v[at] = v[at] + (h & 1 == 0 and 1.0 or -1.0)
    end
  end
  local sum = 0.0
  for i = 1, size do sum = sum + v[i] * v[i] end
  if sum == 0 then
    v[1], sum = 1.0, 1.0
  end
  local length = math.sqrt(sum)
  for i = 1, size do v[i] = v[i] / length end
  return v
end

local function words_of(input)
  local words = {}
  if type(input) == "string" then
    for word in input:lower():gmatch("[%w\x80-\xff]+") do words[#words + 1] = word end
    if #words == 0 then words[1] = input end
  else
    for i, token in ipairs(input) do words[i] = tostring(token) end
  end
  return words
end

-- The inputs of a body: texts, or lists of token ids. nil and an answer when it holds neither.
local function read(body)
  local function refuse(message) return nil, { reply.openai(400, "invalid_request_error", nil, "input", message) } end
  local input = given(body.input)
  if input == nil then
    return nil, { reply.openai(400, "invalid_request_error", "missing_required_parameter", "input",
      "Missing required parameter: 'input'.") }
  end
  if type(input) == "string" or (is_array(input) and type(input[1]) == "number") then input = { input } end
  if not is_array(input) and type(input) ~= "table" or #input == 0 then return refuse "'$.input' is invalid." end
  if #input > MAX_INPUTS then
    return refuse(("'$.input' is too long: at most %d items."):format(MAX_INPUTS))
  end
  for _, one in ipairs(input) do
    local tokens = is_array(one) and #one > 0
    for _, token in ipairs(tokens and one or {}) do tokens = tokens and math.type(token) == "integer" end
    if not tokens and (type(one) ~= "string" or one == "") then return refuse "'$.input' is invalid." end
  end
  return input
end

local function base64_of(vector)
  local bytes = {}
  for i, x in ipairs(vector) do bytes[i] = ("<f"):pack(x) end
  return text.base64(table.concat(bytes))
end

-- `no_model(name)` and `headers()` are openai.lua's.
function M.answer(self, request, no_model, headers)
  local body = request:object()
  if not body then
    return reply.openai(400, "invalid_request_error", nil, nil,
      "The body of the request could not be read as a JSON object.") end
  local name = given(body.model)
  if type(name) ~= "string" then
    return reply.openai(400, "invalid_request_error", nil, nil, "you must provide a model parameter") end
  local full = MODELS[name] or (self.models[name] and 256)
  if not full then return table.unpack(no_model(name)) end
  local input, refused = read(body)
  if not input then return table.unpack(refused) end
  local size, format = given(body.dimensions) or full, given(body.encoding_format) or "float"
  if math.type(size) ~= "integer" or size < 1 or size > full or (size ~= full and name:find("ada", 1, true)) then
    return reply.openai(400, "invalid_request_error", nil, "dimensions",
      "Invalid value for 'dimensions': this model does not make vectors of that size.") end
  if format ~= "float" and format ~= "base64" then
    return reply.openai(400, "invalid_request_error", "invalid_value", "encoding_format",
      "Invalid value for 'encoding_format'. Supported values are: 'float' and 'base64'.") end
  local rows, tokens = json.array {}, 0
  for i, one in ipairs(input) do
    local vector = M.vector(words_of(one), size)
    rows[i] = { object = "embedding", index = i - 1, embedding = format == "base64" and base64_of(vector)
      or json.array(vector) }
    tokens = tokens + (type(one) == "string" and (#one + 3) // 4 or #one)
  end
  return reply.json(200, { object = "list", data = rows, model = name,
    usage = { prompt_tokens = tokens, total_tokens = tokens } }, headers())
end

function M.is_model(name) return MODELS[name] ~= nil end

return M
