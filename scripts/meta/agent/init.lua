---@meta agent
-- agent{…}: a whole agent as one value. The module itself is scripts/agent/init.lua; this file declares it for editors.

---@class agent.Spec
---@field connectors? (string|agent.ConnectorFilter|agent.McpConnector|agent.Tool[])[] "gmail"; { connection = "github", tools = {…} }; "crm.lua"; "tools/"; a list of tools
---@field identifier? string whose accounts; the flag --user wins
---@field prompt? string a .md file, or the text itself
---@field variables? table<string, string|number|boolean> for {{names}} in the prompt
---@field input? string|(string|table)[] the task, when the command line gives none: a text, or texts and parts of agent.media
---@field model? string|agent.Model the flag --model wins over a name
---@field fallbacks? (string|host.openai.ModelOptions|agent.Model)[] asked in order when a model fails with what another may not
---@field output? table JSON Schema that the answer must fit: result.output is the value
---@field temperature? number
---@field params? table<string, any> further parameters of chat completions
---@field tools? (agent.Tool|function)[] tools of the script's own
---@field limits? agent.Limits
---@field approve? "ask"|"auto"|"deny"|"unsafe-only" which calls a person must allow: see agent.policy; the flag --approve wins
---@field auth_timeout? number seconds to wait for a user who must authorize; 300 at a terminal, else 0. Flag --auth-timeout
---@field result_bytes? integer of a tool's result that the model reads at once; 32768. The rest it reads with read_result
---@field session? string the conversation to go on with, kept over several runs. Flags --session, --continue
---@field compact? fun(messages: table[], err: host.Error): table[] what to send when the conversation is too long for the model
---@field output? table JSON Schema that the answer must fit: result.output is the value
---@field name? string of the run, in traces
---@field tags? string[]
---@field metadata? table<string, any>
---@field on_event? fun(event: agent.Event)

---@class agent.Limits
---@field steps? integer model calls; 25. Flag --max-steps
---@field tokens? integer input and output, over all model calls. Flag --max-tokens: of all agents of the script
---@field cost? number USD. Flag --max-cost: of all agents of the script
---@field time? number seconds. Flag --max-time: of the whole script
---@field calls? integer of tools
---@field tools? table<string, integer> how often a tool may be called
---@field answer_tokens? integer of one answer, where tokens or cost are limited; 4096
---@field repeats? integer how often the same call may give the same result before the model is told; 3

---@class agent.McpConnector
---@field mcp string|agent.McpServer|host.mcp.Client an address, a server, or a client of your own
---@field token? string|host.Secret with an address
---@field prefix? string before the names of its tools
---@field tools? string[] only these; * stands for anything
---@field tags? string[]
---@field search? string only the best matches
---@field top? integer of a search; 10
---@field find? boolean none at first: the model searches them with find_tools

---@class agent.McpServer: host.mcp.Options
---@field config? string a virtual server of Scalekit, by its config's name

---@class agent.ConnectorFilter
---@field connection string
---@field tools? string[] only these; * stands for anything
---@field tags? string[] only those with one of these tags
---@field search? string only the best matches
---@field top? integer of a search; 10
---@field find? boolean none at first: the model searches them with find_tools
---@field before? table<string, fun(args: table): table?> by the tool's name
---@field after? table<string, fun(result: any): any>
---@field verify? table<string, fun(args: table, call: agent.Call): boolean?, any> after a call whose outcome is unknown: true and the result; false: it was not carried out

---@class agent.Model
---@field bind_tools fun(self, tools: table[]): agent.Model
---@field invoke fun(self, messages: table[]): table?, host.Error?

---@class agent.Event
---@field type "step"|"answer"|"tool_call"|"tool_result"|"compacted"
---@field step? integer
---@field message? table
---@field name? string
---@field id? string
---@field args? table
---@field content? string
---@field err? host.Error

---@class agent.Options
---@field identifier? string for this run; wins over everything
---@field variables? table<string, any>
---@field messages? table[] of an earlier result, to go on with it
---@field session? string the conversation to go on with, kept over several runs

---@class agent.Usage
---@field input_tokens integer
---@field output_tokens integer
---@field total_tokens integer
---@field model_calls integer
---@field cost? number USD; nil when one call's is unknown

---@class agent.Result
---@field answer string
---@field output? any the answer as a value, when the agent has a schema for it
---@field messages table[]
---@field steps integer
---@field usage agent.Usage

---@class agent.Value
local Value = {}

---Runs the agent. On failure err.partial holds what there was until then.
---@param input? string|(string|table)[] a text, or a list of texts and parts of agent.media
---@param options? agent.Options
---@return agent.Result?
---@return host.Error?
function Value:run(input, options) end

---@class agent
---@overload fun(spec: agent.Spec): agent.Value
local agent = {}

---@class agent.Call
---@field id string
---@field name string
---@field identifier? string
---@field patience? number seconds to wait for a user who must authorize

---@class agent.Tool
---@field name string
---@field description string
---@field parameters? table JSON schema of an object
---@field class? "read"|"idempotent"|"unsafe"
---@field input_schema? table the same as parameters, by another name
---@field connector? string the connection that it asks, for the question of approval and the trace
---@field annotations? table read_only_hint, idempotent_hint, destructive_hint
---@field verify? fun(args: table, call: agent.Call): boolean?, any after a call whose outcome is unknown: true and the result; false: it was not carried out; nil: unknown
---@field run fun(args: table, call: agent.Call): any, any

---A tool defined in Lua, checked: a table, or a function with LuaCATS comments right above it.
---@param tool agent.Tool|function
---@return agent.Tool
function agent.tool(tool) end

return agent
