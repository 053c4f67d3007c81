-- Pictures, sounds and files as parts of a message:
--
--     { role = "user", content = { { type = "text", text = "What is this?" }, assert(media.image "cat.png") } }
--
-- A file is read as the script itself could read it, and goes inside the request.
local host = require "host"
local errors = require "agent.errors"
local fields = require "agent.fields"

local media = {}

local MAX_BYTES = 20 * 1024 * 1024

local images = { png = "image/png", jpg = "image/jpeg", jpeg = "image/jpeg", gif = "image/gif", webp = "image/webp" }
local sounds = { wav = "wav", mp3 = "mp3" }
local texts = { pdf = "application/pdf", txt = "text/plain", md = "text/markdown", csv = "text/csv",
  json = "application/json", html = "text/html" }

local function ending(path) return (path:match "%.([%w]+)$" or ""):lower() end

local function known(list)
  local names = {}
  for name in host.sorted_pairs(list) do names[#names + 1] = "." .. name end
  return table.concat(names, ", ")
end

local function wrong(path, what, list)
  return errors.fail {
    kind = "invalid", message = ("%s is no %s that models take; they end in %s"):format(path, what, known(list)),
  }
end

-- The bytes of a file as base64.
local function read(path)
  local file, why = io.open(path, "rb")
  if not file then return errors.fail { kind = "io", message = tostring(why) } end
  local bytes = file:read(MAX_BYTES + 1)
  file:close()
  if not bytes then return errors.fail { kind = "io", message = path .. " is empty or cannot be read" } end
  if #bytes > MAX_BYTES then
    return errors.fail { kind = "limit", message = ("%s is larger than %d MB"):format(path, MAX_BYTES // 1048576) }
  end
  return host.base64(bytes)
end

-- A picture: a file's path, or a URL, which the service fetches. opts: detail = "auto" | "low" | "high".
function media.image(path, opts)
  opts = opts or {}
  fields.check("image", opts, { detail = "text" }, 2)
  local url = path
  if not path:find "^https?://" and not path:find "^data:" then
    local kind = images[ending(path)]
    if not kind then return wrong(path, "picture", images) end
    local data, err = read(path)
    if not data then return nil, err end
    url = "data:" .. kind .. ";base64," .. data
  end
  return { type = "image_url", image_url = { url = url, detail = opts.detail } }
end

-- A sound file.
function media.audio(path)
  local format = sounds[ending(path)]
  if not format then return wrong(path, "sound", sounds) end
  local data, err = read(path)
  if not data then return nil, err end
  return { type = "input_audio", input_audio = { data = data, format = format } }
end

-- Any other file: a PDF, or a text.
function media.file(path)
  local kind = texts[ending(path)]
  if not kind then return wrong(path, "file", texts) end
  local data, err = read(path)
  if not data then return nil, err end
  return { type = "file", file = { filename = path:match "[^/]+$", file_data = "data:" .. kind .. ";base64," .. data } }
end

return media
