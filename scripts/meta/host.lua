---@meta host
-- The host itself: version, time, chance, settings by name, logging. Modules of the host are host.http, host.task and so
-- on; each has a file here. These files declare; they are not run.

---@class host
---@field version string
local host = {}

---What the world did wrong, as functions return it behind nil. `tostring(err)` is the message. Services add fields of
---their own: `link` (needs_auth), `did_you_mean` (unknown_connection), `execution_id` (tool_error), `partial` (agents).
---@class host.Error
---@field kind "network"|"timeout"|"http"|"protocol"|"truncated"|"limit"|"cancelled"|"auth"|"config"|"not_found"|"invalid"|"rate_limit"|"quota"|"context_overflow"|"refused"|"invalid_output"|"needs_auth"|"account_not_active"|"unknown_connection"|"no_tools"|"tool_error"|"outcome_unknown"|"step_limit"|"budget"|"time_limit"|"loop"|"needs_approval"|"journal"|"io"|"diverged"|"memory"|"script"
---@field message string
---@field retryable boolean the same request may succeed later
---@field code? string the service's own
---@field status? integer of HTTP
---@field request_id? string
---@field attempts? integer
---@field waited? number seconds between attempts
---@field retry_after? number seconds

---A secret by name. Scripts pass it on and cannot read it; `..` with strings gives another handle.
---@class host.Secret
---@operator concat(string): host.Secret

---Like pairs, in an order that is the same in every process.
---@generic K, V
---@param t table<K, V>
---@return fun(): K?, V
function host.sorted_pairs(t) end

---A line on stderr, if the level is shown (-v, -q).
---@param level "error"|"warn"|"info"|"debug"
---@param text any
function host.log(level, text) end

---Opens a link in the browser of the person who sits here, if the flag --open was given.
---@param link string http or https
---@return boolean?
---@return host.Error?
function host.open_link(link) end

---@param s string
---@return string hex
function host.sha256(s) end

---@param bytes string
---@return string
function host.base64(bytes) end

---@param text string
---@return string? bytes nil when it is no base64 (with padding, without white space)
function host.unbase64(text) end

---A UUID of version 7.
---@return string
function host.uuid() end

---As math.random, from the host's source of chance, so that a run can be replayed.
---@param m? integer
---@param n? integer
---@return number
function host.random(m, n) end

---The most memory that this process had at once, in bytes: for measurements.
---@return integer
function host.memory() end

---Seconds since 1970, with fractions.
---@return number
function host.time() end

---Is this the emulator?
---@return boolean
function host.emulated() end

---A handle for the secret of this name: as a header's value, a query's value, or api_key. Raises nothing when it is not
---set; the request that uses it fails with kind "config".
---@param name string
---@return host.Secret
function host.secret(name) end

---A setting that is no secret (flags > environment > .env), or nil. Raises for names of secrets.
---@param name string
---@return string?
function host.config(name) end

return host
