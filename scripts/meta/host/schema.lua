---@meta host.schema
-- JSON Schema as models and tools use it: values checked, schemas made strict. Known are type, properties, required,
-- additionalProperties, items, enum, const, anyOf, oneOf, allOf, not, $ref inside the schema, nullable, and the bounds
-- of numbers, texts, lists and objects; all else (pattern, format) passes.

---@class host.schema
local schema = {}

---Is `value` what the schema describes? nil and what is wrong, a line each: "'items[2].price' must be of type number".
---@param schema table|userdata a table, or the input_schema_json of a tool
---@param value any
---@return boolean?
---@return string? faults at most 8 lines
function schema.check(schema, value) end

---A model's text as a value of the schema, or nil and what is wrong. Nulls of optional properties are left out.
---@param schema table
---@param text string
---@return any
---@return string? faults
function schema.read(schema, text) end

---The schema as OpenAI's strict mode takes it: all properties required, nothing else allowed, optional ones nullable; what
---strict mode does not know (default, minLength, …) stands in the description. nil, err for what cannot be said strictly.
---@param schema table
---@return table?
---@return host.Error?
function schema.strict(schema) end

return schema
