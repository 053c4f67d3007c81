---@meta agent.api
-- A connector for any HTTP API, described in one table. The module is scripts/agent/api.lua.

---@class agent.ApiAuth secret or connection
---@field secret? string name of a variable; sent as Authorization: Bearer
---@field header? string the secret in this header instead
---@field query? string the secret in this query parameter instead
---@field connection? string of Scalekit: through its proxy, with the user's own account there

---@class agent.ApiOperation
---@field name string of the tool
---@field description string what the model reads
---@field path string behind base_url, from its / on; {name} takes that argument, which must be required
---@field method? "GET"|"HEAD"|"POST"|"PUT"|"PATCH"|"DELETE" GET
---@field args? table<string, string> { name = "type what it is" }, types as in comments
---@field parameters? table a JSON schema, in place of args
---@field query? string[] arguments that go into the query although the method has a body
---@field class? "read"|"idempotent"|"unsafe" by the method: read for GET and HEAD, idempotent for PUT and DELETE
---@field result? fun(answer: any): any what the model reads of the decoded answer

---@class agent.ApiSpec
---@field base_url? string left out with a connection
---@field auth? agent.ApiAuth
---@field headers? table<string, string|host.Secret>
---@field timeout? number seconds
---@field operations agent.ApiOperation[]

---Raises at the caller's line when the description cannot work. Does not wait.
---@param spec agent.ApiSpec
---@return agent.Tool[]
local function api(spec) end

return api
