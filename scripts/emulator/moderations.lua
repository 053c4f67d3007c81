-- /moderations: categories by lists of words. It finds what a test puts there on purpose, no more. Called by
-- openai.lua.
local json = require "host.json"
local reply = require "emulator.reply"
local world_of = require "emulator.world"

local given, is_array, is_object = world_of.given, world_of.is_array, world_of.is_object
local M = {}

local CATEGORIES = {
  harassment = { "idiot", "loser" }, ["harassment/threatening"] = { "you will regret" },
  hate = { "hate group" }, ["hate/threatening"] = {}, illicit = { "counterfeit", "steal a car" },
  ["illicit/violent"] = { "build a bomb" }, ["self-harm"] = { "hurt myself" },
  ["self-harm/intent"] = { "hurt myself" }, ["self-harm/instructions"] = {}, sexual = { "explicit content" },
  ["sexual/minors"] = {}, violence = { "kill", "murder", "build a bomb" }, ["violence/graphic"] = { "bloodbath" },
}

local function judge(input, kind)
  local low, categories, scores, types, flagged = input:lower(), {}, {}, {}, false
  for name, words in pairs(CATEGORIES) do
    local hit = false
    for _, word in ipairs(words) do
      hit = hit or low:find("%f[%w]" .. word .. "%f[%W]") ~= nil
    end
    categories[name], scores[name], types[name] = hit, hit and 0.95 or 0.001, json.array { hit and kind or nil }
    flagged = flagged or hit
  end
  return { flagged = flagged, categories = categories, category_scores = scores, category_applied_input_types = types }
end

function M.answer(self, request, headers)
  local body = request:object()
  if not body then
    return reply.openai(400, "invalid_request_error", nil, nil,
      "The body of the request could not be read as a JSON object.") end
  local input, name = given(body.input), given(body.model) or "omni-moderation-latest"
  if type(name) ~= "string" or not (name:find("moderation", 1, true) or self.models[name]) then
    return reply.openai(404, "invalid_request_error", "model_not_found", nil,
      ("The model `%s` does not exist or you do not have access to it."):format(tostring(name))) end
  if type(input) == "string" then input = { input } end
  if not is_array(input) and type(input) ~= "table" or #input == 0 then
    return reply.openai(400, "invalid_request_error", "missing_required_parameter", "input",
      "Missing required parameter: 'input'.") end
  local results, parts = json.array {}, {}
  for i, one in ipairs(input) do
    if type(one) == "string" then
      results[i] = judge(one, "text")
    elseif is_object(one) and (one.type == "text" or one.type == "image_url") then
      parts[#parts + 1] = one.type == "text" and tostring(one.text) or ""
    else
      return reply.openai(400, "invalid_request_error", "invalid_value", ("input[%d]"):format(i - 1),
        ("Invalid value for 'input[%d]'."):format(i - 1))
    end
  end
  if #parts > 0 then results = json.array { judge(table.concat(parts, "\n"), "text") } end -- parts are one input
  return reply.json(200, { id = "modr-" .. self.world:alnum(29), model = name, results = results }, headers())
end

return M
