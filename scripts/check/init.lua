-- agenthost check: what can be said of scripts without running them. Called by cmd_check.c; needs no network, no key.
local script = require "check.script"

local check = {}

local function in_order(a, b)
  if a.file ~= b.file then return a.file < b.file end
  if a.line ~= b.line then return a.line < b.line end
  if a.col ~= b.col then return a.col < b.col end
  return a.message < b.message
end

-- { files = {…}, stubs = {…} } -> { { file, line, col, message } }, files in the order given, each finding once. An
-- error: a file that cannot be read.
function check.run(options)
  local shared, all, seen = script.new(options.stubs), {}, {}
  for _, path in ipairs(options.files) do
    local findings, err = script.check(shared, path)
    if not findings then return nil, err end
    table.sort(findings, in_order)
    for _, f in ipairs(findings) do
      local key = ("%s:%d:%d:%s"):format(f.file, f.line, f.col, f.message)
      if not seen[key] then all[#all + 1] = f end
      seen[key] = true
    end
  end
  return all
end

return check
