---@meta host.script
-- The script that runs: its arguments, its user, and the files beside it.

---@class host.script
local script = {}

---The command line behind the script's name.
---@return string[]
function script.args() end

---Whose accounts this run uses: flag --user, else what the script has set, else AGENTHOST_USER, else nil. With an
---argument it is set first (the flag still wins).
---@param new? string 1 to 100 bytes
---@return string?
function script.identifier(new) end

---Without folder and .lua.
---@return string
function script.name() end

---As given on the command line.
---@return string
function script.path() end

---@return string
function script.folder() end

---The value of a flag of the command line ("model", "user", "project", …), or nil when it was not given.
---@param name string
---@return string?
function script.option(name) end

---Where a file is found: the script's folder, --scripts, AGENTHOST_SCRIPTS, installed, embedded. Or nil.
---@param path string
---@return string?
function script.find(path) end

---@class host.script.File
---@field path string
---@field source "folder"|"dir"|"environment"|"installed"|"embedded"
---@field sha256 string

---The text of a file that is found like that.
---@param path string
---@return string? text
---@return host.script.File|host.Error
function script.read(path) end

---A text that differs when the file would be found elsewhere, or has been written: whoever keeps what was read asks this
---before reading again. nil when only reading can tell (no such file, or one written a moment ago).
---@param path string
---@return string?
function script.stamp(path) end

---The names of the files in a folder that is found like that, sorted, without hidden ones; nothing embedded.
---@param path string
---@return string[]?
---@return host.Error?
function script.list(path) end

---A Lua file that is found like that, as a function in this script's own environment.
---@param path string
---@return (fun(...): ...)?
---@return host.Error?
function script.load(path) end

return script
