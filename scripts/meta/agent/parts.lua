---@meta
-- The pieces of an agent, for those who build a loop of their own: scripts/agent/*.lua.

---Parts of a message made of files. nil, err when a file cannot be read, or is of a kind that models do not take.
---@class agent.media
local media = {}
---@param path string a file, or a URL
---@param opts? { detail?: "auto"|"low"|"high" }
---@return table?
---@return host.Error?
function media.image(path, opts) end
---@param path string
---@return table?
---@return host.Error?
function media.audio(path) end
---@param path string
---@return table?
---@return host.Error?
function media.file(path) end

---@class agent.history
---@field list table[]
local history = {}
---@param messages? table[]
---@param cut? string the result of calls at the end that have none
---@return agent.history?
---@return host.Error?
function history.new(messages, cut) end
---What was added since this was asked last; true: it stands for all that was before.
---@return table[]
---@return boolean?
function history:take_new() end
---@param text string
---@return agent.history
function history:system(text) end
---@param content string|table
---@return agent.history
function history:user(content) end
---@param message table
---@return agent.history
function history:answer(message) end
---@param id string
---@param content string
---@param name? string
---@return agent.history
function history:result(id, content, name) end
---Answers all calls that still wait.
---@param text string
---@return agent.history
function history:close(text) end
---Ids of calls that wait for a result.
---@return string[]
function history:waiting() end
---Takes another list in place of the whole one. nil, err when calls and results do not pair.
---@param messages table[]
---@return agent.history?
---@return host.Error?
function history:replace(messages) end
---Raises while calls wait.
---@return table[]
function history:messages() end

---@class agent.prompts
local prompts = {}
---@class agent.Prompt
---@field text string
---@field head { model?: string, temperature?: number, tags?: string[] }
---@field file string
---@field sha256? string
---@class agent.WatchedPrompt
local WatchedPrompt = {}
---@return agent.Prompt
function WatchedPrompt:current() end
---@param prompt? string
---@param variables? table<string, any>
---@return agent.WatchedPrompt?
---@return host.Error?
function prompts.open(prompt, variables) end
---@param text string
---@param file string
---@return table? head
---@return string|host.Error body
---@return integer? first_line
function prompts.parse(text, file) end
---@param body string
---@param variables table<string, any>
---@param file string
---@param first? integer
---@return string?
---@return { path: string, sha256: string }[]|host.Error included
---@return { path: string, sha256?: string }[]? looked_for until the error
function prompts.fill(body, variables, file, first) end

---@class agent.connectors
local connectors = {}
---@param list table
---@param identifier? string
---@param service? table stands in for host.scalekit
---@param patience? number seconds to wait for a user who must authorize; 0
---@return agent.Tool[][]?
---@return host.Error?
function connectors.open(list, identifier, service) end
---@param list table
---@return boolean
function connectors.need_identifier(list) end
---@param list table
---@param level? integer
function connectors.check(list, level) end
---Ends what was opened for these lists, when nobody comes to use them.
---@param lists agent.Tool[][]
function connectors.close(lists) end

---@class agent.Outcome
---@field call table
---@field content string
---@field err? host.Error
---@field stop? boolean

---@class agent.Toolbox
---@field list agent.Tool[]
---@field names string[]
---@field by_name table<string, agent.Tool>
local Toolbox = {}
---@param call table
---@param context { identifier?: string }
---@return agent.Outcome
function Toolbox:call(call, context) end
---@param name string
---@return "read"|"idempotent"|"unsafe"
function Toolbox:class_of(name) end

---Offers more tools from the next answer on; `list` becomes another table.
---@param more agent.Tool[]
function Toolbox:offer(more) end

---The same for what the model has found; what it found first gives way to what is too much.
---@param found agent.Tool[]
function Toolbox:reveal(found) end

---Leaves tools to be found by find_tools.
---@param hidden agent.Tool[]
function Toolbox:hide(hidden) end

---Reads edited folders of tools again; a broken edit is logged and not used.
function Toolbox:refresh() end
---Ends what the connectors opened: MCP servers.
function Toolbox:close() end
---@param old agent.Tool[]
---@param new agent.Tool[]
function Toolbox:exchange(old, new) end

---@class agent.tools
local tools = {}
---@param tool agent.Tool
---@return agent.Tool
function tools.tool(tool) end
---@param list agent.Tool[]
---@return agent.Tool[]
function tools.checked(list) end
---@param tool table
---@return "read"|"idempotent"|"unsafe"
function tools.class(tool) end
---@param ... agent.Tool[]
---@return agent.Toolbox?
---@return host.Error?
function tools.box(...) end
---@param call table
---@return agent.Outcome
function tools.broken(call) end

---@class agent.parallel
local parallel = {}
---@param calls table[]
---@param class_of fun(name: string): string
---@return table[][]
function parallel.groups(calls, class_of) end
---@param calls table[]
---@param class_of fun(name: string): string
---@param run fun(call: table): agent.Outcome
---@return agent.Outcome[]
---@return agent.Outcome? stopped
function parallel.run(calls, class_of, run) end

---@class agent.loop
local loop = {}
---@param run table { model, prompt, history, session, tools, limits, repeats, results, compact, identifier, on_event }
---@return agent.Result?
---@return host.Error?
function loop.run(run) end

---@class agent.upload.Opts
---@field connection_name string
---@field identifier? string
---@field path string            "/upload/gmail/v1/users/me/messages/send"
---@field query? table
---@field body? string           all of it, or:
---@field read? fun(from: integer, n: integer): string  n bytes, `from` bytes after the beginning
---@field size? integer          with read
---@field content_type? string   "application/octet-stream"
---@field metadata? table        what the service wants to know of the file
---@field piece? integer         bytes of a piece: a multiple of 262144; 8 MiB
---@field on_progress? fun(sent: integer, size: integer)
---@field timeout? number        seconds, for each piece

---@class agent.upload
local upload = {}
---A large file to a connected service, in pieces (Google's resumable form). What fails is asked after, and the rest sent.
---@param opts agent.upload.Opts
---@return host.http.Response? res the service's last answer
---@return host.Error? err
function upload.resumable(opts) end

---@class agent.webhooks.Opts
---@field secret host.Secret|string  "whsec_…" of the endpoint
---@field on table<string, fun(event: table)>  by type of event or trigger ("connected_account.status_updated"), "*": others
---@field tolerance? number          seconds between the signature's time and now, 300

---@class agent.webhooks
local webhooks = {}
---A handler for host.server.listen: checks signatures, drops what came before, calls the function of the event's type.
---@param opts agent.webhooks.Opts
---@return fun(req: host.server.request): integer, table, string
function webhooks.receiver(opts) end

---@class agent.search
local search = {}
---The tools of a list that share words with the query, best first, each a copy with its `score`; at most top_k (10).
---@param list host.scalekit.Tool[]
---@param query string
---@param top_k? integer
---@return table[]
function search.rank(list, query, top_k) end
---Searches the tools that the user may run.
---@param opts { query: string, top_k?: integer, identifier?: string, connection_names?: string[], providers?: string[] }
---@return table[]?
---@return host.Error?
function search.tools(opts) end
