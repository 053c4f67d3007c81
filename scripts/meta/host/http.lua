---@meta host.http
-- HTTP requests. A status of 400 and above is an error (err.status, err.body). Requests that may be repeated (GET, HEAD,
-- PUT, DELETE, or idempotent = true) are retried by default; others never are.

---@class host.http
local http = {}

---@class host.http.Timeout all in seconds
---@field connect? number
---@field first_byte? number
---@field idle? number between two pieces of the answer
---@field total? number

---@class host.http.Retry
---@field max? integer further attempts
---@field base? number seconds
---@field cap? number seconds

---@class host.http.Options
---@field method? string GET, or POST with a body
---@field headers? table<string, string|host.Secret|(string|host.Secret)[]>
---@field query? table<string, any>
---@field body? string
---@field json? any sent as JSON
---@field form? table<string, any> sent as a form
---@field timeout? number|host.http.Timeout
---@field retry? host.http.Retry|false
---@field idempotent? boolean true: a POST that may be sent twice; false: a GET, PUT or DELETE that may not
---@field stream? boolean read the body piece by piece
---@field max_body? integer bytes
---@field redirect? boolean false: a redirect is an error

---@class host.http.Request: host.http.Options
---@field url string

---@class host.http.Response
---@field status integer
---@field headers table<string, string> names in lower case
---@field body string
---@field request_id? string
---@field attempts integer
---@field waited number
local Response = {}

---The body as a value.
---@return any
---@return host.Error?
function Response:json() end

---The answer to stream = true. It is closed when it is read to its end, by close, and with its variable (`<close>`).
---@class host.http.Stream
---@field status integer
---@field headers table<string, string>
---@field request_id? string
---@field attempts integer
---@field waited number
local Stream = {}

---Pieces as they come.
---@return fun(): string?
function Stream:chunks() end

---@class host.http.Event
---@field name? string
---@field data string

---Server-sent events.
---@return fun(): host.http.Event?
function Stream:events() end

function Stream:close() end

---@param request host.http.Request
---@return (host.http.Response|host.http.Stream)?
---@return host.Error?
function http.request(request) end

---@param url string
---@param options? host.http.Options
---@return (host.http.Response|host.http.Stream)?
---@return host.Error?
function http.get(url, options) end

---@param url string
---@param options? host.http.Options
---@return (host.http.Response|host.http.Stream)?
---@return host.Error?
function http.post(url, options) end

return http
