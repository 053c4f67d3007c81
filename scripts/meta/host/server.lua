---@meta host.server

---HTTP servers in a script. Each request is handled in a task of its own, so a handler may wait.
---@class host.server
local server = {}

---@class host.server.listen_options
---@field handler fun(req: host.server.request): integer?, table<string, string|number|string[]>?, string?
---@field port integer? 0, the default, is any free one
---@field address string? numeric; 127.0.0.1 by default
---@field max_body integer? bytes of a request body; more is answered 413. 64 MiB by default
---@field background boolean? true: the server alone does not keep the program waiting

---Starts a server. It serves until it is closed, whether or not the script keeps the object.
---
---The handler returns status (200 to 599), headers and body; or begins a stream by `req:stream`, or cuts
---the connection by `req:abort()`, and then returns nothing. One that raises, or returns something else,
---is answered 500 with `{"error": ...}` and said in the log.
---@param options host.server.listen_options
---@return host.server.server? server
---@return host.error? err kind `io` (port in use) or `config` (not an address)
function server.listen(options) end

---An open server.
---@class host.server.server
local server_object = {}

---@return integer port
function server_object:port() end

---Ends the server and cuts every request that is still open. May be called again.
function server_object:close() end

---A request; valid until its handler has returned. Further fields may be set.
---@class host.server.request
---@field method string
---@field path string as it came, not decoded, without the query
---@field raw_query string as it came; "" when there is none
---@field query table<string, string> decoded; of repeated keys the first
---@field headers table<string, string> names in lower case; repeated ones joined by ", "
---@field body string
---@field version string "HTTP/1.1"
local request = {}

---All values of a query key, in order.
---@param key string
---@return string[]
function request:query_all(key) end

---Begins a streamed answer. A stream that the handler leaves unfinished is finished when it returns, and
---cut when it raises. A content-length among the headers is kept.
---@param status integer
---@param headers table<string, string|number|string[]>?
---@return host.server.stream
function request:stream(status, headers) end

---Cuts the connection instead of an answer.
function request:abort() end

---A streamed answer.
---@class host.server.stream
local stream = {}

---Sends bytes; waits while the client is slow.
---@param bytes string
---@return true? ok
---@return host.error? err kind `network`: the client left
function stream:write(bytes) end

---Ends the answer.
---@return true? ok
---@return host.error? err kind `network`: the client left
function stream:finish() end

---Cuts the connection after what was written so far: the client sees a torn answer.
function stream:abort() end

---Whether the client has left.
---@return boolean
function stream:gone() end

---@class host.server.part
---@field name string
---@field type string its Content-Type, "" when it has none
---@field filename string?
---@field length integer? by Content-Length or a `length=` parameter
---@field encoded boolean it carries a Content-Encoding
---@field body string

---Reads a multipart/form-data body.
---@param content_type string the request's header, with the boundary
---@param body string
---@return host.server.part[]? parts
---@return host.error? err kind `protocol`
function server.parse_multipart(content_type, body) end

---Reads `a=1&b=2`; of repeated keys the first wins.
---@param body string
---@return table<string, string>? fields
---@return host.error? err kind `invalid`: a broken escape
function server.parse_form(body) end

---A body as it was before it was packed, 64 MiB at most. Raises for another coding than these two.
---@param coding "zstd"|"gzip" the request's Content-Encoding
---@param body string
---@return string? unpacked
---@return host.error? err kind `limit`, `truncated` or `protocol` (damaged)
function server.unpack_body(coding, body) end

---Decodes %XX; "+" stays a plus.
---@param text string
---@return string? decoded
---@return host.error? err kind `invalid`: a broken escape
function server.decode_url(text) end

return server
