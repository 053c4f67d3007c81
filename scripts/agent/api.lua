-- A connector for any HTTP API, described in one table: a file that returns `api{…}` is a connector, and its operations
-- are tools like all others.
--
--     local api = require "agent.api"
--     return api {
--       base_url = "https://crm.example.com/v1",
--       auth = { secret = "CRM_TOKEN" },               -- Authorization: Bearer …; or header = "X-Key", query = "key"
--       operations = {
--         { name = "crm_find_people", method = "GET", path = "/people", description = "Finds people by name.",
--           args = { name = "string part of a name", limit = "integer? how many" } },
--         { name = "crm_add_note", method = "POST", path = "/people/{id}/notes", description = "Adds a note.",
--           args = { id = "string of the person", text = "string" } },
--       },
--     }
--
-- auth = { connection = "github" } goes through Scalekit's proxy with the user's own account there; base_url is then
-- left out. An argument named in the path goes there; the others go into the query of GET, HEAD and DELETE (a list as
-- one pair for each element), else into a JSON body. GET and HEAD are read, PUT and DELETE idempotent, all else unsafe,
-- unless `class` says otherwise.
local host = require "host"
local http = require "host.http"
local json = require "host.json"
local scalekit = require "host.scalekit"
local accounts = require "agent.accounts"
local comments = require "agent.comments"
local errors = require "agent.errors"
local fields = require "agent.fields"

local EXCERPT = 500 -- bytes of a refusal that the model reads
local METHODS = { -- and the class of their operations
  GET = "read", HEAD = "read", PUT = "idempotent", DELETE = "idempotent", POST = "unsafe", PATCH = "unsafe",
}

local api_fields = {
  base_url = "text", auth = "table", headers = "table", timeout = "number", operations = "list",
}
local auth_fields = { secret = "text", header = "text", query = "text", connection = "text" }
local operation_fields = {
  name = "text", description = "text", method = "text", path = "text", class = "text", args = "table",
  parameters = "table", -- a JSON schema, in place of args
  query = "strings", -- arguments that go into the query although the method has a body
  result = "callable", -- given the decoded answer, returns what the model reads
}

-- ## Checking

local function schema_of(operation)
  if operation.parameters then return operation.parameters end
  local lines = { operation.description }
  for name, text in host.sorted_pairs(operation.args or {}) do
    if type(name) ~= "string" or type(text) ~= "string" then
      error("args reads { name = \"type what it is\" }", 0)
    end
    lines[#lines + 1] = ("@param %s %s"):format(name, text)
  end
  return comments.parse(lines).parameters
end

local function path_names(path)
  local names = {}
  for name in path:gmatch "{([%w_]+)}" do names[#names + 1] = name end
  return names
end

-- What stands in the path must always be given, else another address is asked.
local function check_path(what, operation, schema, level)
  if operation.path:sub(1, 1) ~= "/" or operation.path:find "[%s?#]" then
    fields.blame(("%s: the path begins with / and holds no blank, ? or #, got '%s'"):format(what, operation.path),
      level + 1)
  end
  local required = {}
  for _, name in ipairs(schema.required or {}) do required[name] = true end
  for _, name in ipairs(path_names(operation.path)) do
    if not (schema.properties or {})[name] then
      fields.blame(("%s: the path names {%s}, which is no argument"):format(what, name), level + 1)
    end
    if not required[name] then
      fields.blame(("%s: the path names {%s}, which may be left out"):format(what, name), level + 1)
    end
  end
  local rest = operation.path:gsub("{[%w_]+}", "")
  if rest:find "[{}]" then
    fields.blame(("%s: a name in the path is letters, digits and _: '%s'"):format(what, operation.path), level + 1)
  end
end

local function check_operation(operation, level)
  local what = ("api: operation '%s'"):format(tostring(operation.name or "?"))
  fields.check(what, operation, operation_fields, level + 1)
  fields.need(what, operation, { "name", "description", "path" }, level + 1)
  local method = (operation.method or "GET"):upper()
  if not METHODS[method] then fields.blame(("%s: unknown method %s"):format(what, method), level + 1) end
  local ok, schema = pcall(schema_of, operation)
  if not ok then fields.blame(("%s: %s"):format(what, schema), level + 1) end
  check_path(what, operation, schema, level + 1)
  return method, schema
end

local function check_auth(auth, base_url, level)
  if not auth then return end
  fields.check("api: auth", auth, auth_fields, level + 1)
  if (auth.secret ~= nil) == (auth.connection ~= nil) then
    fields.blame("api: auth is { secret = \"NAME\" } or { connection = \"name\" }", level + 1)
  end
  if auth.connection and base_url then
    fields.blame("api: with a connection Scalekit knows the address; leave base_url out", level + 1)
  end
end

-- ## Calling

local PLAIN = { string = true, number = true, boolean = true }

local function wrong(name, what)
  error(errors.new { kind = "tool_error", message = ("the argument '%s' %s; nothing was sent"):format(name, what) }, 0)
end

-- One segment of the path, and never another path: "", "." and ".." would lead elsewhere.
local function encode_path(name, value)
  if not PLAIN[type(value)] then wrong(name, "must be a text or a number: it stands in the address") end
  local text = tostring(value)
  if text:match "^%.?%.?$" then wrong(name, ("cannot be '%s': it stands in the address"):format(text)) end
  return (text:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

-- A value or a list of them; nil for none.
local function to_query(name, value)
  if value == json.null then return nil end
  if PLAIN[type(value)] then return value end
  for key, one in pairs(value) do
    if math.type(key) ~= "integer" or not PLAIN[type(one)] then
      wrong(name, "must be a text, a number or a list of them: it stands in the address")
    end
  end
  return value
end

-- Path, query and JSON body of a call. Raises an error for the model.
local function place(operation, method, args)
  local rest = {}
  for name, value in pairs(args) do rest[name] = value end
  local path = operation.path:gsub("{([%w_]+)}", function(name) return encode_path(name, args[name]) end)
  for _, name in ipairs(path_names(operation.path)) do rest[name] = nil end
  local query, body = {}, {}
  local in_query = {}
  for _, name in ipairs(operation.query or {}) do in_query[name] = true end
  local has_body = method ~= "GET" and method ~= "HEAD" and method ~= "DELETE"
  for name, value in pairs(rest) do
    if has_body and not in_query[name] then body[name] = value else query[name] = to_query(name, value) end
  end
  return path, next(query) and query or nil, has_body and body or nil
end

local function add_auth(auth, request)
  if not auth then return end
  local secret = host.secret(auth.secret)
  if auth.query then
    request.query = request.query or {}
    request.query[auth.query] = secret
  elseif auth.header then
    request.headers[auth.header] = secret
  else
    request.headers.Authorization = "Bearer " .. secret
  end
end

-- The user's account there, ACTIVE; a person may have to come for that. true; or nil, err.
local function open_account(spec, call)
  local account, err = accounts.open(scalekit, spec.auth.connection, call.identifier, call.patience or 0)
  if not account then return nil, err end
  spec.ready[call.identifier] = true
  return true
end

-- After a refusal: may the request be sent again, because it was for want of an account and there is one now? true;
-- false; or nil, err. What was refused so did nothing.
local function renew(spec, call, err)
  local who = { connection_name = spec.auth.connection, identifier = call.identifier }
  if accounts.refused(err) then
    return accounts.renew(err, who.connection_name, who.identifier, call.patience or 0)
  end
  if err.kind ~= "tool_error" or err.status ~= 400 or not call.identifier then return false end
  local account = scalekit.get_connected_account(who)
  if not account or account.status == "ACTIVE" then return false end
  return open_account(spec, call)
end

local function send_through(spec, request, call)
  request.connection_name, request.identifier = spec.auth.connection, call.identifier
  if call.identifier and not spec.ready[call.identifier] then
    local ok, err = open_account(spec, call)
    if not ok then return nil, err end
  end
  local response, err = scalekit.request(request)
  if response then return response end
  local renewed, why = renew(spec, call, errors.of(err))
  if renewed == nil then return nil, why end
  if not renewed then return nil, err end
  return scalekit.request(request)
end

local function send(spec, request, call)
  if spec.auth and spec.auth.connection then return send_through(spec, request, call) end
  request.url, request.path = spec.base_url .. request.path, nil
  add_auth(spec.auth, request)
  return http.request(request)
end

-- The service's own words help the model to mend its call.
local function refusal(err)
  err = errors.of(err)
  if err.status and type(err.body) == "string" and err.body ~= "" then
    err.message = ("%s. It said: %s"):format(err.message, err.body:sub(1, EXCERPT))
  end
  return nil, err
end

local function runner(spec, operation, method)
  local idempotent = (operation.class or METHODS[method]) ~= "unsafe"
  return function(args, call)
    local path, query, body = place(operation, method, args)
    local headers = {}
    for name, value in pairs(spec.headers or {}) do headers[name] = value end
    local response, err = send(spec, {
      method = method, path = path, query = query, json = body, headers = headers, timeout = spec.timeout,
      idempotent = idempotent,
    }, call)
    if not response then return refusal(err) end
    if response.body == "" then return ("Done (status %d, no content)."):format(response.status) end
    local value = response:json()
    if value == nil then return response.body end
    if operation.result then return operation.result(value) end
    return value
  end
end

-- Checks the description; raises at the line that called it. Returns a list of tools; nothing is sent.
return function(spec)
  fields.check("api", spec, api_fields, 2)
  fields.need("api", spec, { "operations" }, 2)
  check_auth(spec.auth, spec.base_url, 2)
  local through = spec.auth and spec.auth.connection
  if not through and not spec.base_url then fields.blame("api: field 'base_url' is missing", 2) end
  local own = { ready = {} } -- whose account was ACTIVE
  for k, v in pairs(spec) do own[k] = v end
  own.base_url = spec.base_url and spec.base_url:gsub("/+$", "")
  local list = {}
  for i, operation in ipairs(spec.operations) do
    if type(operation) ~= "table" then fields.blame(("api: operations[%d] must be a table"):format(i), 2) end
    local method, schema = check_operation(operation, 2)
    list[i] = {
      name = operation.name, description = operation.description, parameters = schema,
      class = operation.class or METHODS[method], connector = through, run = runner(own, operation, method),
    }
  end
  return list
end
