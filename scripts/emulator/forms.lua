-- Where the service's own sources disagree, an emulator can speak either form: switches with a default each,
-- set by `forms` of a scenario, or by a header of one request: `x-agenthost-form: duplicate_account=400`.
-- Called by app.lua; the handlers read request.forms.
local M = {}

-- name -> the two readings, the default first
M.FORMS = {
  duplicate_account = { "409", "400" }, -- creating an account twice
  unknown_tool = { "400", "404" }, -- execute_tool with a name that no tool has
  inactive_account = { "400", "404" }, -- execute_tool with an account that is not ACTIVE
  available_unknown = { "404", "empty" }, -- /tools/available for an identifier without accounts
  unknown_account_id = { "404", "500" }, -- /connected_accounts/auth with an unknown id
  unknown_connection = { "404", "400" }, -- a connection that does not exist, in creating an account, a link, a list
  account_selector = { "loose", "strict" }, -- execute_tool with an identifier alone
  execute_body = { "params", "tool_input" }, -- the member of execute_tool's body that holds the arguments
  status_names = { "enum", "pages" }, -- an account's status in the schema's words, or in those of other pages
  list_tokens = { "no", "yes" }, -- tokens in the list of accounts
  scoped_filter = { "required", "optional" }, -- /tools/scoped without a filter
  accounts_page_100 = { "refused", "taken" }, -- page_size=100 of the list of accounts
  provider_case = { "upper", "lower" }, -- GMAIL or gmail in answers about accounts
  provider_filter = { "exact", "loose" }, -- filter.provider=gmail of the list of tools
  link_host = { "page", "provider" }, -- whose address an authorization link shows
  verify_url_missing = { "400", "browser" }, -- a link without user_verify_url when users are verified
  custom_provider_put = { "partial", "full" }, -- what PUT does to fields that are not given
  mcp_name_filter = { "exact", "prefix" }, -- filter.name of the list of MCP configs
  mcp_token_aud = { "server", "identifier" }, -- whom a session token is for
  mcp_answer = { "json", "sse" }, -- how an MCP server answers
  mcp_era = { "both", "legacy" }, -- whether it speaks without a handshake, too
  mcp_gone_session = { "404", "400" }, -- what it says of a session that it does not know
  mcp_standing = { "on", "off" }, -- whether it offers a session a standing stream
  mcp_asks = { "standing", "answer" }, -- on which stream it asks something of the client, where it has both
  mcp_unknown_tool = { "result", "error" }, -- how it tells that there is no such tool
  tool_schema = { "input_schema", "input" }, -- the member of a definition that holds the schema
  query_flags = { "v1", "v2" }, -- which generation of LangSmith's reading /info advertises; both answer
  compression = { "on", "off" }, -- whether LangSmith takes, and /info offers, bodies packed with zstd and gzip
  proxy = { "on", "off" }, -- /proxy of built-in connectors
}

local function check(name, value)
  local two = M.FORMS[name]
  if not two then
    local known = {}
    for k in pairs(M.FORMS) do known[#known + 1] = k end
    table.sort(known)
    return nil, ("no form is called %q; there are: %s"):format(tostring(name), table.concat(known, " "))
  end
  value = tostring(value)
  if value ~= two[1] and value ~= two[2] then
    return nil, ("form %s is %s or %s"):format(name, two[1], two[2])
  end
  return value
end

-- The forms of an emulator: the defaults, with `chosen` in their place. nil and a sentence when unknown.
function M.new(chosen)
  local forms = {}
  for name, two in pairs(M.FORMS) do forms[name] = two[1] end
  for name, value in pairs(chosen or {}) do
    local ok, message = check(name, value)
    if not ok then return nil, message end
    forms[name] = ok
  end
  return forms
end

-- The forms of one request; nil and a sentence when its header makes no sense.
function M.of(forms, header)
  if not header then return forms end
  local own = {}
  for k, v in pairs(forms) do own[k] = v end
  for item in header:gmatch("[^;,%s]+") do
    local name, value = item:match("^([%w_]+)=(.*)$")
    local ok, message = check(name or item, value)
    if not ok then return nil, message end
    own[name] = ok
  end
  return own
end

-- What differs from the defaults, or nil.
function M.chosen(forms)
  local other
  for name, value in pairs(forms or {}) do
    if value ~= M.FORMS[name][1] then
      other = other or {}
      other[name] = value
    end
  end
  return other
end

return M
