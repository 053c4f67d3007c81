---@meta host.scalekit

-- Scalekit AgentKit: the tools of Gmail, Slack, GitHub and hundreds more, each call made as a given user.
--
-- Every function takes one table, waits, and answers a table, or nil and an error (its `kind` says what went
-- wrong, tostring(err) what to do). `identifier` is the user whose account is meant; it defaults to the run's
-- (--user, host.script.identifier, AGENTHOST_USER). `connection_name` is the name that the dashboard's
-- Connections page shows; it is case-sensitive.
--
-- Kinds of errors beyond those of every request:
--   unknown_connection   err.did_you_mean, err.connections: names that exist
--   not_found            the connection exists, but the user has no account there yet
--   account_not_active   err.account_status, err.link (a fresh link), err.connection, err.identifier
--   needs_auth           the same fields: wait_until_active waited in vain
--   no_tools             err.connections (asked for), err.accounts ({ connection, id, status } of those seen)
--   tool_error           err.execution_id, err.tool_error_code, err.tool_error_message; err.link when the
--                        connected service no longer accepts the account
--   outcome_unknown      an unsafe call left and no answer came: it may have happened. Never sent again by itself
---@class host.scalekit
local scalekit = {}

---@class host.scalekit.Account
---@field id string            "ca_…"
---@field identifier string
---@field connector string     the connection's name
---@field connection_id? string
---@field provider? string     "GMAIL"
---@field status string        "ACTIVE", "PENDING_AUTH", "PENDING_VERIFICATION", "EXPIRED", "DISCONNECTED"
---@field authorization_type? string
---@field token_expires_at? string
---@field updated_at? string
---@field last_used_at? string

---@class host.scalekit.Who
---@field connection_name string
---@field identifier? string

---@class host.scalekit.Tool
---@field name string
---@field description? string
---@field input_schema? table           JSON Schema of the arguments
---@field annotations? table            read_only_hint, destructive_hint, idempotent_hint …
---@field provider? string
---@field connector? string             the connection's name, when it is known
---@field connected_account_id string
---@field identifier string

-- The account of a user at a connection; it is made when there is none. Its status may be anything but ACTIVE.
---@param opts host.scalekit.Who
---@return host.scalekit.Account? account
---@return host.Error? err
function scalekit.get_or_create_connected_account(opts) end

-- The account of a user at a connection, without its secrets.
---@param opts host.scalekit.Who
---@return host.scalekit.Account? account
---@return host.Error? err
function scalekit.get_connected_account(opts) end

---@class host.scalekit.LinkOpts: host.scalekit.Who
---@field state? string            given back to user_verify_url
---@field user_verify_url? string  where the user is sent after consent, when the environment verifies users

-- A link that the user opens to give consent. It expires soon: make one when it is to be shown.
---@param opts host.scalekit.LinkOpts
---@return { link: string, expiry: string? }? answer
---@return host.Error? err
function scalekit.get_authorization_link(opts) end

---@class host.scalekit.WaitOpts: host.scalekit.Who
---@field timeout? number                             seconds, 300 by default
---@field on_link? fun(link: string, expiry: string)  told of a link, and of each new one when the last expired
---@field poll? number                                seconds between the first two looks, 1 by default; grows to 5 times that

-- Waits until the account is ACTIVE. Without on_link no link is made. When the time is over: needs_auth.
---@param opts host.scalekit.WaitOpts
---@return host.scalekit.Account? account
---@return host.Error? err
function scalekit.wait_until_active(opts) end

---@class host.scalekit.ToolsOpts
---@field identifier? string
---@field connection_names? string[]
---@field providers? string[]   upper case: "GMAIL"
---@field tool_names? string[]

-- All tools (every page) that the user may run and that match; without any filter, those of all the user's
-- active accounts. Zero tools is an error.
---@param opts host.scalekit.ToolsOpts
---@return host.scalekit.Tool[]? tools
---@return host.Error? err
function scalekit.get_tools(opts) end

---@class host.scalekit.ExecuteOpts
---@field tool_name string
---@field tool_input? table|string        the arguments, as a table or as JSON text
---@field connected_account_id? string    a tool's own; or else:
---@field connection_name? string
---@field identifier? string
---@field tool_call_id? string            the model's id of the call, for the trace
---@field class? "read"|"idempotent"|"unsafe"  what a repetition would do; "unsafe" by default
---@field timeout? number                 seconds, 60 by default

---@class host.scalekit.Result
---@field data any             the answer, decoded when it is first looked at
---@field json string          the same, as the bytes that came
---@field execution_id? string

-- Runs a tool as the user, once, and makes its span.
---@param opts host.scalekit.ExecuteOpts
---@return host.scalekit.Result? result
---@return host.Error? err
function scalekit.execute_tool(opts) end

return scalekit
