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
---@field input_schema? table           JSON Schema of the arguments; decoded when it is first looked at, or by pairs()
---@field input_schema_json? userdata   the same, until then: what next() and rawget() see
---@field annotations? table            read_only_hint, destructive_hint, idempotent_hint …
---@field tags? string[]
---@field provider? string
---@field connector? string             the connection's name, when it is known
---@field connected_account_id string
---@field identifier string

---@class host.scalekit.PutOpts: host.scalekit.Who
---@field authorization_details? host.scalekit.Authorization  given to a new account and to one that is there
---@field api_config? table                                   the same; it is merged

-- The account of a user at a connection; it is made when there is none. Its status may be anything but ACTIVE.
---@param opts host.scalekit.PutOpts
---@return host.scalekit.Account? account
---@return host.Error? err
function scalekit.get_or_create_connected_account(opts) end

-- The account of a user at a connection, without its secrets.
---@param opts host.scalekit.Who
---@return host.scalekit.Account? account
---@return host.Error? err
function scalekit.get_connected_account(opts) end

---@class host.scalekit.LinkOpts
---@field connection_name? string       with identifier, or:
---@field identifier? string
---@field connected_account_id? string
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
---@field poll? number                                seconds between two looks, 1 at first; grows to 5 times that

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

-- ## The proxy

---@class host.scalekit.RequestOpts: host.scalekit.Who
---@field path string        of the connected service: "/gmail/v1/users/me/profile"
---@field method? string     GET, or POST with a body
---@field query? table<string, string|number|boolean|table>
---@field headers? table<string, string|host.Secret>  go on to the service; those of the host's own are refused
---@field body? string       one of body, json and form; none with GET and HEAD
---@field json? any
---@field form? table
---@field timeout? number    seconds, 60 by default
---@field idempotent? boolean true: a POST that may be sent twice; false: a GET, PUT or DELETE that may not

-- Any request to the connected service, with the user's credentials added by Scalekit. Redirects are answers, nothing
-- follows them. What the service refuses is a tool_error (err.status, err.body, err.headers; with 401 err.link), or
-- outcome_unknown when an unsafe request may have been done. Other kinds are Scalekit's own.
---@param opts host.scalekit.RequestOpts
---@return host.http.Response? res
---@return host.Error? err
function scalekit.request(opts) end

-- ## Webhooks

-- The event of a webhook whose signature fits: `scalekit.verify_webhook { secret = host.secret "WEBHOOK_SECRET",
-- headers = req.headers, body = req.body }`. Otherwise nil and an error of kind auth. tolerance: seconds (300).
---@param opts { secret: host.Secret|string, headers: table<string, string>, body: string, tolerance?: number }
---@return table? event
---@return host.Error? err
function scalekit.verify_webhook(opts) end

-- ## One call each
--
-- Functions named like the service's calls take their fields and answer what the service does: of one object the object
-- itself, of a list one page (with next_page_token). Limits are looked at before anything is sent (kind invalid). The
-- iterators read page by page, and raise what goes wrong: `for account in scalekit.accounts { provider = "GMAIL" } do`.
-- identifier is the run's by default where one user is meant (not where it is a filter, nor when an id is given).

-- How an account is authorized: exactly one member. Values may be handles of secrets; those that come back are.
---@class host.scalekit.Authorization
---@field oauth_token? { access_token?: host.Secret|string, refresh_token?: host.Secret|string, scopes?: string[] }
---@field static_auth? { details: table<string, host.Secret|string> }  names are the connector's own fields
---@field google_dwd? { subject: string }
---@field trusted_idp? { db_user: string }

---@class host.scalekit.ListConnectedAccountsOpts
---@field organization_id? string
---@field user_id? string
---@field connection_name? string
---@field identifier? string
---@field provider? string
---@field query? string
---@field connection_names? string|string[]
---@field page_size? integer
---@field page_token? string

-- List the connected accounts. GET /api/v1/connected_accounts
---@param opts? host.scalekit.ListConnectedAccountsOpts
---@return table? answer
---@return host.Error? err
function scalekit.list_connected_accounts(opts) end

-- Every page of list_connected_accounts, item by item.
---@param opts? host.scalekit.ListConnectedAccountsOpts
---@return fun(): host.scalekit.Account? next
function scalekit.accounts(opts) end

-- Search the connected accounts. GET /api/v1/connected_accounts:search
---@param opts { query: string, connection_id?: string, page_size?: integer, page_token?: string }
---@return table? answer
---@return host.Error? err
function scalekit.search_connected_accounts(opts) end

-- Every page of search_connected_accounts, item by item.
---@param opts { query: string, connection_id?: string, page_size?: integer }
---@return fun(): host.scalekit.Account? next
function scalekit.search_accounts(opts) end

---@class host.scalekit.CreateConnectedAccountOpts
---@field connection_name string
---@field identifier? string
---@field organization_id? string
---@field user_id? string
---@field authorization_details? host.scalekit.Authorization
---@field api_config? table

-- Create the connected account. POST /api/v1/connected_accounts
---@param opts host.scalekit.CreateConnectedAccountOpts
---@return host.scalekit.Account? connected_account
---@return host.Error? err
function scalekit.create_connected_account(opts) end

---@class host.scalekit.UpdateConnectedAccountOpts
---@field connection_name? string
---@field identifier? string
---@field id? string
---@field organization_id? string
---@field user_id? string
---@field authorization_details? host.scalekit.Authorization
---@field api_config? table

-- Update the connected account. PUT /api/v1/connected_accounts
---@param opts host.scalekit.UpdateConnectedAccountOpts
---@return host.scalekit.Account? connected_account
---@return host.Error? err
function scalekit.update_connected_account(opts) end

---@class host.scalekit.DeleteConnectedAccountOpts
---@field connection_name? string
---@field identifier? string
---@field organization_id? string
---@field user_id? string
---@field id? string

-- Delete the connected account. POST /api/v1/connected_accounts:delete
---@param opts host.scalekit.DeleteConnectedAccountOpts
---@return table? answer
---@return host.Error? err
function scalekit.delete_connected_account(opts) end

-- Disconnect the account. POST /api/v1/connected_accounts/{id}:disconnect
---@param opts { id: string }
---@return host.scalekit.Account? connected_account
---@return host.Error? err
function scalekit.disconnect_connected_account(opts) end

---@class host.scalekit.GetConnectedAccountAuthOpts
---@field connection_name? string
---@field identifier? string
---@field organization_id? string
---@field user_id? string
---@field id? string

-- Read the account's authorization. GET /api/v1/connected_accounts/auth
---@param opts host.scalekit.GetConnectedAccountAuthOpts
---@return host.scalekit.Account? connected_account
---@return host.Error? err
function scalekit.get_connected_account_auth(opts) end

---@class host.scalekit.GetConnectedAccountDetailsOpts
---@field connection_name? string
---@field identifier? string
---@field organization_id? string
---@field user_id? string
---@field id? string

-- Read the connected account. GET /api/v1/connected_accounts/details
---@param opts host.scalekit.GetConnectedAccountDetailsOpts
---@return host.scalekit.Account? connected_account
---@return host.Error? err
function scalekit.get_connected_account_details(opts) end

-- Read the connected account. GET /api/v1/connected_accounts/{id}
---@param opts { id: string }
---@return host.scalekit.Account? connected_account
---@return host.Error? err
function scalekit.get_connected_account_by_id(opts) end

-- Verify the user. POST /api/v1/connected_accounts/user/verify
---@param opts { auth_request_id: string, identifier: string }
---@return table? answer
---@return host.Error? err
function scalekit.verify_connected_account_user(opts) end

-- List the connections. GET /api/v1/connections/app
---@param opts? { provider?: string, query?: string, page_size?: integer, page_token?: string }
---@return table? answer
---@return host.Error? err
function scalekit.list_connections(opts) end

-- Every page of list_connections, item by item.
---@param opts? { provider?: string, query?: string, page_size?: integer }
---@return fun(): table? next
function scalekit.connections(opts) end

-- Read the connection. GET /api/v1/connections/{connection_id}
---@param opts { connection_id: string }
---@return table? connection
---@return host.Error? err
function scalekit.get_connection(opts) end

-- Create the connection. POST /api/v1/connections?flags.is_app=true
---@param opts { provider?: string, type?: string, provider_key?: string, key_id?: string }
---@return table? connection
---@return host.Error? err
function scalekit.create_connection(opts) end

-- Update the connection. PATCH /api/v1/connections/{connection_id}
---@param opts { connection_id: string, connection: table }
---@return table? connection
---@return host.Error? err
function scalekit.update_connection(opts) end

-- Delete the connection. DELETE /api/v1/connections/{connection_id}
---@param opts { connection_id: string }
---@return table? answer
---@return host.Error? err
function scalekit.delete_connection(opts) end

-- Enable the connection. PATCH /api/v1/connections/{connection_id}:enable
---@param opts { connection_id: string }
---@return table? answer
---@return host.Error? err
function scalekit.enable_connection(opts) end

-- Disable the connection. PATCH /api/v1/connections/{connection_id}:disable
---@param opts { connection_id: string }
---@return table? answer
---@return host.Error? err
function scalekit.disable_connection(opts) end

-- List the providers. GET /api/v1/providers
---@param opts? { identifier?: string, provider_type?: string, page_size?: integer, page_token?: string }
---@return table? answer
---@return host.Error? err
function scalekit.list_providers(opts) end

-- Every page of list_providers, item by item.
---@param opts? { identifier?: string, provider_type?: string, page_size?: integer }
---@return fun(): table? next
function scalekit.providers(opts) end

---@class host.scalekit.CreateCustomProviderOpts
---@field display_name string
---@field description? string
---@field auth_patterns table[]
---@field proxy_url? string
---@field proxy_enabled? boolean
---@field icon_src? string
---@field metadata? table<string, string>

-- Create the provider. POST /api/v1/custom-providers
---@param opts host.scalekit.CreateCustomProviderOpts
---@return table? provider
---@return host.Error? err
function scalekit.create_custom_provider(opts) end

---@class host.scalekit.UpdateCustomProviderOpts
---@field identifier string
---@field display_name string
---@field description? string
---@field auth_patterns table[]
---@field proxy_url? string
---@field proxy_enabled? boolean
---@field icon_src? string
---@field metadata? table<string, string>

-- Update the provider. PUT /api/v1/custom-providers/{identifier}
---@param opts host.scalekit.UpdateCustomProviderOpts
---@return table? provider
---@return host.Error? err
function scalekit.update_custom_provider(opts) end

-- Delete the provider. DELETE /api/v1/custom-providers/{identifier}
---@param opts { identifier: string }
---@return table? answer
---@return host.Error? err
function scalekit.delete_custom_provider(opts) end

---@class host.scalekit.ListToolsOpts
---@field summary? boolean
---@field provider? string
---@field identifier? string
---@field tool_names? string|string[]
---@field query? string
---@field connection_name? string
---@field organization_id? string
---@field user_id? string
---@field connected_account_id? string
---@field page_size? integer
---@field page_token? string

-- List the catalogue of tools. GET /api/v1/tools
---@param opts? host.scalekit.ListToolsOpts
---@return table? answer
---@return host.Error? err
function scalekit.list_tools(opts) end

-- Every page of list_tools, item by item.
---@param opts? host.scalekit.ListToolsOpts
---@return fun(): table? next
function scalekit.tools(opts) end

---@class host.scalekit.ListScopedToolsOpts
---@field identifier? string
---@field providers? string|string[]
---@field tool_names? string|string[]
---@field connection_names? string|string[]
---@field page_size? integer
---@field page_token? string

-- List the tools. GET /api/v1/tools/scoped
---@param opts host.scalekit.ListScopedToolsOpts
---@return table? answer
---@return host.Error? err
function scalekit.list_scoped_tools(opts) end

-- Every page of list_scoped_tools, item by item.
---@param opts host.scalekit.ListScopedToolsOpts
---@return fun(): table? next
function scalekit.scoped_tools(opts) end

-- List the available tools. GET /api/v1/tools/available
---@param opts? { identifier?: string, page_size?: integer, page_token?: string }
---@return table? answer
---@return host.Error? err
function scalekit.list_available_tools(opts) end

-- Every page of list_available_tools, item by item.
---@param opts? { identifier?: string, page_size?: integer }
---@return fun(): table? next
function scalekit.available_tools(opts) end

-- Create the tool. POST /api/v1/tools
---@param opts { tool: table }
---@return table? tool
---@return host.Error? err
function scalekit.create_tool(opts) end

-- Update the tool. PUT /api/v1/tools
---@param opts { tool: table }
---@return table? tool
---@return host.Error? err
function scalekit.update_tool(opts) end

-- Delete the tool. DELETE /api/v1/tools/{id}
---@param opts { id: string }
---@return table? answer
---@return host.Error? err
function scalekit.delete_tool(opts) end

-- Set the tool's default version. POST /api/v1/tools:set_default
---@param opts { name: string, schema_version: string, tool_version: string }
---@return table? tool
---@return host.Error? err
function scalekit.set_default_tool(opts) end

---@class host.scalekit.ListMcpConfigsOpts
---@field id? string
---@field name? string
---@field provider? string
---@field mcp_server_url? string
---@field search? string
---@field page_size? integer
---@field page_token? string

-- List the MCP configs. GET /api/v1/mcp/configs
---@param opts? host.scalekit.ListMcpConfigsOpts
---@return table? answer
---@return host.Error? err
function scalekit.list_mcp_configs(opts) end

-- Every page of list_mcp_configs, item by item.
---@param opts? host.scalekit.ListMcpConfigsOpts
---@return fun(): table? next
function scalekit.mcp_configs(opts) end

-- Create the MCP config. POST /api/v1/mcp/configs
---@param opts { name: string, description?: string, connection_tool_mappings?: table[] }
---@return table? config
---@return host.Error? err
function scalekit.create_mcp_config(opts) end

-- Read the MCP config. GET /api/v1/mcp/configs/{config_id}
---@param opts { config_id: string }
---@return table? config
---@return host.Error? err
function scalekit.get_mcp_config(opts) end

-- Update the MCP config. PUT /api/v1/mcp/configs/{config_id}
---@param opts { config_id: string, description?: string, connection_tool_mappings?: table[] }
---@return table? config
---@return host.Error? err
function scalekit.update_mcp_config(opts) end

-- Delete the MCP config. DELETE /api/v1/mcp/configs/{config_id}
---@param opts { config_id: string }
---@return table? answer
---@return host.Error? err
function scalekit.delete_mcp_config(opts) end

-- List the accounts of the MCP config. POST /api/v1/mcp/configs/{config_id}/connected_accounts
---@param opts { config_id: string, identifier?: string, include_auth_link?: boolean }
---@return table[]? connected_accounts
---@return host.Error? err
function scalekit.list_mcp_connected_accounts(opts) end

-- Make a session token. POST /api/v1/mcp/configs/{mcp_config_id}/tokens
---@param opts { mcp_config_id: string, identifier?: string, expiry?: integer }
---@return table? answer
---@return host.Error? err
function scalekit.create_mcp_session_token(opts) end

-- Make sure of the MCP instance. POST /api/v1/mcp/instances
---@param opts { name?: string, config_name: string, user_identifier?: string }
---@return table? instance
---@return host.Error? err
function scalekit.ensure_mcp_instance(opts) end

---@class host.scalekit.ListMcpInstancesOpts
---@field id? string
---@field name? string
---@field config_name? string
---@field user_identifier? string
---@field search? string
---@field page_size? integer
---@field page_token? string

-- List the MCP instances. GET /api/v1/mcp/instances
---@param opts? host.scalekit.ListMcpInstancesOpts
---@return table? answer
---@return host.Error? err
function scalekit.list_mcp_instances(opts) end

-- Every page of list_mcp_instances, item by item.
---@param opts? host.scalekit.ListMcpInstancesOpts
---@return fun(): table? next
function scalekit.mcp_instances(opts) end

-- Read the MCP instance. GET /api/v1/mcp/instances/{instance_id}
---@param opts { instance_id: string }
---@return table? instance
---@return host.Error? err
function scalekit.get_mcp_instance(opts) end

-- Update the MCP instance. PATCH /api/v1/mcp/instances/{instance_id}
---@param opts { instance_id: string, name?: string, config_name?: string }
---@return table? instance
---@return host.Error? err
function scalekit.update_mcp_instance(opts) end

-- Delete the MCP instance. DELETE /api/v1/mcp/instances/{instance_id}
---@param opts { instance_id: string }
---@return table? answer
---@return host.Error? err
function scalekit.delete_mcp_instance(opts) end

-- Read the MCP instance's accounts. POST /api/v1/mcp/instances/{instance_id}:get_auth_state
---@param opts { instance_id: string, include_auth_links?: boolean }
---@return table[]? connections
---@return host.Error? err
function scalekit.get_mcp_instance_auth_state(opts) end

-- Create the MCP server. POST /api/v1/mcp
---@param opts { connected_account_identifier?: string, tool_mappings: table[] }
---@return table? mcp
---@return host.Error? err
function scalekit.create_mcp(opts) end

-- Read the MCP server. GET /api/v1/mcp/{mcp_id}
---@param opts { mcp_id: string }
---@return table? mcp
---@return host.Error? err
function scalekit.get_mcp(opts) end

-- List the MCP servers. GET /api/v1/mcp
---@param opts { connected_account_identifier?: string, link_token?: string }
---@return table[]? mcps
---@return host.Error? err
function scalekit.list_mcp(opts) end

-- Delete the MCP server. DELETE /api/v1/mcp/{mcp_id}
---@param opts { mcp_id: string }
---@return table? answer
---@return host.Error? err
function scalekit.delete_mcp(opts) end

---@class host.scalekit.ListToolCallsOpts
---@field start_time? string
---@field end_time? string
---@field status? string|string[]
---@field provider? string|string[]
---@field connection_id? string
---@field connected_account_id? string
---@field identifier? string
---@field agent_run_id? string
---@field connection_name? string
---@field page_size? integer
---@field page_token? string

-- Read the tool-call log. GET /api/v1/agentkit/tool_call_logs
---@param opts host.scalekit.ListToolCallsOpts
---@return table? answer
---@return host.Error? err
function scalekit.list_tool_calls(opts) end

-- Every page of list_tool_calls, item by item.
---@param opts? host.scalekit.ListToolCallsOpts
---@return fun(): table? next
function scalekit.tool_calls(opts) end

-- Read the tool call. GET /api/v1/agentkit/tool_call_logs/{execution_id}
---@param opts { execution_id: string }
---@return table? answer
---@return host.Error? err
function scalekit.get_tool_call(opts) end

---@class host.scalekit.GetAnalyticsOverviewOpts
---@field start_time string
---@field end_time string
---@field provider? string|string[]
---@field status? string|string[]
---@field error_code? string|string[]
---@field connection_name? string

-- Read the analytics. GET /api/v1/agentkit/analytics/overview
---@param opts host.scalekit.GetAnalyticsOverviewOpts
---@return table? answer
---@return host.Error? err
function scalekit.get_analytics_overview(opts) end

---@class host.scalekit.ListEventsOpts
---@field event_types? string|string[]
---@field start_time? string
---@field end_time? string
---@field organization_id? string
---@field source? string
---@field auth_request_id? string
---@field interceptor_id? string
---@field interceptor_status? string
---@field interceptor_decision? string
---@field connection_id? string
---@field connected_account_id? string
---@field page_size? integer
---@field page_token? string

-- List the events. POST /api/v1/events
---@param opts? host.scalekit.ListEventsOpts
---@return table? answer
---@return host.Error? err
function scalekit.list_events(opts) end

-- Every page of list_events, item by item.
---@param opts? host.scalekit.ListEventsOpts
---@return fun(): table? next
function scalekit.events(opts) end

return scalekit
