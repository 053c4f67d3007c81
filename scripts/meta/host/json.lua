---@meta host.json
--- JSON, in the one meaning of docs/json.md: integers stay integers, arrays stay arrays, keys are
--- written sorted, and what cannot be kept is refused instead of changed.

---@class host.json
---@field null lightuserdata JSON's null, the same value as cjson.null. Not nil, and true in a condition.
---@field array_mt table The metatable that makes a table an array, empty or not. Decoded arrays carry it.
local json = {}

---@class host.json.DecodeOptions
---@field unique_keys? boolean The same key twice in one object is an error; otherwise the last wins.
---@field raw_controls? boolean Accept raw control characters in strings, as models write them.

--- Reads one JSON text. The error names line, column and reason.
---@param text string
---@param options? host.json.DecodeOptions
---@return any value
---@return host.Error? err kind "protocol"
function json.decode(text, options) end

--- Writes a value, without white space. The error names the path to what JSON cannot hold, as in
--- "value.messages[2].content: ...".
---@param value any
---@return string? text
---@return host.Error? err kind "invalid", or "limit" above 256 MiB
function json.encode(value) end

--- Marks a table as an array, so that it is written `[]` when it is empty. Raises if it has another
--- metatable.
---@generic T: table
---@param t? T a new table when nil
---@return T t the same table
function json.array(t) end

--- Whether a value is a table that carries `array_mt`: a decoded array, or one made by `array`.
---@param value any
---@return boolean
function json.is_array(value) end

--- Whether a value is JSON's null.
---@param value any
---@return boolean
function json.is_null(value) end

return json
