-- Which commit a script's folder is at, for the trace: prompts are files, and this says which state of them ran. Reads
-- .git itself and runs nothing. Called by agent/init.lua, once a run.
local git = {}

local UP = 20 -- folders to look above
local BYTES = 4194304 -- of packed-refs, most often

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read(BYTES)
  file:close()
  return text
end

local function first_line(path)
  local text = read(path)
  return text and text:match "^[^\r\n]*"
end

-- The folder that holds HEAD: .git itself, or what the file .git of a worktree names.
local function git_folder(folder)
  local path = folder == "" and "." or folder
  for _ = 1, UP do
    if read(path .. "/.git/HEAD") then return path .. "/.git" end
    local named = (first_line(path .. "/.git") or ""):match "^gitdir: (.+)$"
    if named then return named:sub(1, 1) == "/" and named or path .. "/" .. named end
    path = path .. "/.."
  end
end

local function resolve(folder, ref)
  local common = first_line(folder .. "/commondir") -- of a worktree
  local places = { folder }
  if common then places[2] = common:sub(1, 1) == "/" and common or folder .. "/" .. common end
  for _, place in ipairs(places) do
    local sha = first_line(place .. "/" .. ref)
    if sha and sha:match "^%x+$" then return sha end
    for line in (read(place .. "/packed-refs") or ""):gmatch "[^\n]+" do
      local packed, name = line:match "^(%x+) (.+)$"
      if name == ref then return packed end
    end
  end
end

-- The commit's full name, or nil: no repository, or none that can be read.
function git.revision(folder)
  local place = git_folder(folder)
  local head = place and first_line(place .. "/HEAD")
  if not head then return nil end
  local ref = head:match "^ref: (.+)$"
  if not ref then return head:match "^%x+$" end
  return resolve(place, ref)
end

return git
