-- Google's resumable uploads, as the proxy shows them: a session is begun, pieces come in order, the last one makes
-- what the route makes. Called by proxy.lua for paths below /upload/.
local text = require "emulator.text"

local M = {}

local UNIT, MAX = 256 * 1024, 64 << 20

local function begin(self, request, path)
  local size = math.tointeger(tonumber(request.headers["x-upload-content-length"] or ""))
  if request.query.uploadType ~= "resumable" then return 400, "only uploadType=resumable is emulated" end
  if not size or size > MAX then return 400, "X-Upload-Content-Length is missing or too large" end
  local id = self.world:alnum(48)
  self.uploads[id] = { size = size, have = "", path = path }
  return 200, { location = ("https://www.googleapis.com%s?uploadType=resumable&upload_id=%s"):format(path, id),
    ["x-guploader-uploadid"] = id }
end

local function unfinished(upload)
  return 308, { range = #upload.have > 0 and ("bytes=0-%d"):format(#upload.have - 1) or nil }
end

-- status and headers, or status and a sentence; true when the upload is whole, with it.
local function continue(self, request, path)
  local upload = self.uploads[request.query.upload_id or ""]
  if not upload or upload.path ~= path then return 404, "no such upload" end
  local range = request.headers["content-range"] or ""
  local from, to, size = range:match "^bytes (%d+)%-(%d+)/(%d+)$"
  if range == ("bytes */%d"):format(upload.size) then
    if #upload.have < upload.size then return unfinished(upload) end
    return true, upload
  end
  from, to, size = tonumber(from), tonumber(to), tonumber(size)
  if not from or size ~= upload.size or from ~= #upload.have or #request.body ~= to - from + 1 then
    return 400, "Content-Range does not fit what came before"
  end
  if to + 1 < size and #request.body % UNIT ~= 0 then return 400, "a piece must be a multiple of 262144 bytes" end
  upload.have = upload.have .. request.body
  if #upload.have < upload.size then return unfinished(upload) end
  return true, upload
end

-- status, headers, body; or nil and the request that the whole upload stands for: path and params.
function M.handle(self, api, request, path)
  local status, what = (request.method == "POST" and begin or request.method == "PUT" and continue
    or function() return 405, "Method Not Allowed" end)(self, request, path)
  if status == true then
    return nil, { path = path:gsub("^/upload", ""), params = { raw = text.base64(what.have) }, upload = what }
  end
  if type(what) == "string" then return api.error(status, what) end
  return status, what, ""
end

return M
