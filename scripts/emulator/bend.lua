-- Bends the bytes of an answer as a trouble asks: line ends of streams, comments, where the network cuts.
-- Called by app.lua after the handler, whatever the service. Pure.
local M = {}

local ENDS = { cr = "\r", crlf = "\r\n" }

-- Events of a stream, each with its blank line, rewritten.
local function bend_events(chunks, has)
  local out = {}
  for i, chunk in ipairs(chunks) do
    if has "comments" then chunk = ": keepalive\n\n" .. chunk end
    if has "no_space" then chunk = chunk:gsub("^data: ", "data:"):gsub("\ndata: ", "\ndata:") end
    if has "bom" and i == 1 then chunk = "\xEF\xBB\xBF" .. chunk end
    if has "last_newline" and i == #chunks then chunk = chunk:gsub("\n\n$", "\n") end
    for kind, ending in pairs(ENDS) do
      if has(kind) then chunk = chunk:gsub("\n", ending) end
    end
    out[i] = chunk
  end
  return out
end

-- One write for each `size` bytes: inside a character, between CR and LF, anywhere.
local function split(chunks, size)
  local out = {}
  for _, chunk in ipairs(chunks) do
    for at = 1, #chunk, size do out[#out + 1] = chunk:sub(at, at + size - 1) end
  end
  return out
end

-- The first `left` bytes.
local function first_bytes(chunks, left)
  local kept = {}
  for _, chunk in ipairs(chunks) do
    if left <= 0 then break end
    kept[#kept + 1] = chunk:sub(1, left)
    left = left - #chunk
  end
  return kept
end

-- The body, bent. `torn` breaks the connection off after `bytes` (half of it when not given); `cut` ends there
-- as if all were well.
function M.apply(trouble, has, headers, body)
  local whole = type(body) == "string"
  if not whole and body.silent then return body end
  local chunks = whole and { body } or body.chunks
  local out = {}
  for k, v in pairs(whole and {} or body) do out[k] = v end
  if (headers["content-type"] or ""):find("event-stream", 1, true) then chunks = bend_events(chunks, has) end
  if has "torn" or has "cut" then
    local total = 0
    for _, chunk in ipairs(chunks) do total = total + #chunk end
    chunks = first_bytes(chunks, trouble.bytes or total // 2)
    out.cut = has "torn" or nil
  end
  if has "split" then chunks = split(chunks, math.max(1, trouble.size or 1)) end
  if has "slow" then
    local seconds = trouble.seconds or 1
    if whole then out.wait = seconds else out.delay = seconds end
  end
  if whole and not (has "torn" or has "split" or has "slow") then return table.concat(chunks) end
  out.chunks = chunks
  return out
end

return M
