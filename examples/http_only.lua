-- HTTP without any service: one request, its status, and JSON. The argument is a URL; without one it asks the model
-- service for its list of models. The key is a handle: the script passes it on and cannot read it.
local host = require "host"
local http = require "host.http"
local script = require "host.script"

local url, headers = script.args()[1], {}
if not url then
  url = (host.config "OPENAI_BASE_URL" or "https://api.openai.com/v1") .. "/models"
  headers.authorization = "Bearer " .. host.secret "OPENAI_API_KEY"
end

local res = assert(http.get(url, { headers = headers, timeout = 10 }))
print(("%s: %d, %d bytes, %s"):format(url, res.status, #res.body, res.headers["content-type"] or "no type"))

local answer = res:json() -- nil when it is no JSON
if type(answer) == "table" and type(answer.data) == "table" then
  for _, model in ipairs(answer.data) do print(model.id) end
end
