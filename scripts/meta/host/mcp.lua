---@meta host.mcp
-- Clients of MCP servers: streamable HTTP of both eras (2024-11-05 to 2025-11-25, and 2026-07-28), or a program's stdin and
-- stdout. agent.mcp makes tools of them. A call that may change something is sent once: when its stream breaks it is
-- resumed, never posted again.

---@class host.mcp
local mcp = {}

---@class host.mcp.Options url, or command
---@field url? string of the server's one endpoint
---@field command? string[] the program and its words; it is started with PATH, HOME and the like, and `env`, and no other variable
---@field headers? table<string, string|host.Secret> with every request
---@field token? string|host.Secret sent as Authorization: Bearer
---@field env? table<string, string|host.Secret> of the program
---@field dir? string where the program runs
---@field era? "auto"|"legacy"|"modern" which protocol; "auto" asks
---@field forms? boolean what a server asks for on the way is filled in with its defaults; else it is declined
---@field timeout? number seconds of one request; 60

---@class host.mcp.Client
local Client = {}

---A client. Raises for misuse; does not wait: nothing is sent and no program is started before the first call.
---@param options host.mcp.Options
---@return host.mcp.Client
function mcp.client(options) end

---What the server said of itself, and `era`. Waits.
---@return table?
---@return host.Error?
function Client:server() end

---All its tools, as the server describes them (name, description, inputSchema, annotations, …). Waits.
---@return table[]?
---@return host.Error?
function Client:list_tools() end

---@class host.mcp.Call
---@field name string
---@field arguments? table
---@field schema? table the tool's inputSchema: some of its arguments are sent as headers, too
---@field class? "read"|"idempotent"|"unsafe" what a repetition would do; "unsafe" by default
---@field timeout? number seconds

---Calls a tool, once: { content = {…}, structuredContent?, isError? }. Waits.
---@param call host.mcp.Call
---@return table?
---@return host.Error?
function Client:call_tool(call) end

---Any other request: its result; true for a notification. Waits.
---@param method string
---@param params? table
---@return any
---@return host.Error?
function Client:request(method, params) end

---Whether the server said, since the last question, that its tools changed.
---@return boolean
function Client:changed() end

---Ends the session, or the program. Waits, 3 s at most. Other calls of a closed client raise.
function Client:close() end

return mcp
