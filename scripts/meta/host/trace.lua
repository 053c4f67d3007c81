---@meta host.trace
-- Spans of a script's own. Model and tool calls are traced without a line in the script; this is for naming what lies
-- between them, and for tags and metadata. With --no-trace, or outside a task, functions are simply called.

---@class host.trace
local trace = {}

---@alias host.trace.Type "chain"|"llm"|"tool"|"retriever"|"embedding"|"prompt"|"parser"

---@class host.trace.SpanOptions
---@field run_type? host.trace.Type     "chain" when not given
---@field inputs? table                 instead of the arguments
---@field tags? string[]
---@field metadata? table

---Calls fn(...) inside a span and returns its results. The arguments become the span's inputs (one table as it is, else
---{args={...}}), the results its outputs (a table with string keys as it is, else {output=...}). An error ends the span
---with its text and is raised on, unchanged; `nil, err` ends it with err's text. fn may wait.
---@param name string
---@param opts host.trace.SpanOptions|nil
---@param fn fun(...): ...
---@param ... any
---@return ...
---@overload fun(name: string, fn: fun(...): ..., ...): ...
function trace.span(name, opts, fn, ...) end

---@class host.trace.TraceableOptions: host.trace.SpanOptions
---@field name? string   when not given: the name it is called by, else file and line

---A function that does the same as fn, each call in a span. The options are read now, not at each call.
---@param fn fun(...): ...
---@param opts? host.trace.TraceableOptions
---@return fun(...): ...
function trace.traceable(fn, opts) end

---@class host.trace.Current
---@field id string
---@field name string
---@field trace_id string
---@field run_id string         of this run's root; not the trace_id where the run goes on with another process's trace
---@field project string
---@field dotted_order string

---The span this code runs in (the run's root, when no other); nil when nothing is traced.
---@return host.trace.Current|nil
function trace.current() end

---The headers `langsmith-trace` and `baggage`, for a request to a process that shall go on with this trace. Empty when
---nothing is traced.
---@return table<string, string>
function trace.headers() end

---Notes on the current span that something happened now.
---@param name string
---@param values? table
function trace.event(name, values) end

---Puts a file beside the current span. It is sent with it, unless inputs or outputs are hidden or the run has an
---anonymizer. Raises when the name holds a dot, quote or backslash, or it is larger than 16 MB.
---@param name string
---@param type string   "image/png"
---@param bytes string
function trace.attach(name, type, bytes) end

---From now on, what is sent and shown of this run (and of runs started inside it) is what fn makes of it: fn is called
---for each text in inputs, outputs, errors, metadata and events with the text and its place ("outputs.messages[1].content"),
---and returns another text, or nil to keep it. The journal on this machine keeps both. Such a run is sent when it has
---ended. fn must not wait; when it fails, what it was given is withheld. Call it first: when a span of the run has ended,
---or seconds after its begin, something may have been sent already, and this raises.
---@param fn fun(text: string, path: string): string?
function trace.anonymizer(fn) end

---The same as `host.langsmith.flush`.
---@param timeout? number seconds, 5 by default
---@return true?
---@return host.Error? err
function trace.flush(timeout) end

---Adds tags to the run. Spans that begin afterwards carry them, too.
---@param ... string
function trace.tags(...) end

---Adds metadata to the run; a key that is there already is replaced. Spans that begin afterwards carry it, too: so a
---`thread_id` (or `session_id`, `conversation_id`) makes all of them one thread in LangSmith.
---@param values table
function trace.metadata(values) end

---Renames the run.
---@param name string
function trace.name(name) end

--- Keeps this run's own spans on this machine: they stay in the journal and are not sent. For scripts whose work is all
--- in runs of their own (`trace.run`). Does not wait.
function trace.keep_local() end

---@class host.trace.SetOptions
---@field inputs? table
---@field tags? string[]
---@field metadata? table

---Adds tags and metadata to the current span; `inputs` replace what it began with.
---@param opts host.trace.SetOptions
function trace.set(opts) end

---@class host.trace.RunOptions
---@field name? string          of the root span
---@field identifier? string    whose accounts its tools use; the surrounding run's when not given
---@field tags? string[]
---@field metadata? table
---@field inputs? table         instead of the arguments
---@field project? string
---@field headers? table<string, string>   of a request that this run answers, names in lower case (`req.headers`): it goes
---on with the trace that `langsmith-trace` and `baggage` name, if they do
---@field reference_example_id? string     the example of a dataset that this run is an experiment with

---Calls fn(...) in this task as a run of its own, with a trace and an identifier of its own, and returns its results.
---@param opts host.trace.RunOptions
---@param fn fun(...): ...
---@param ... any
---@return ...
function trace.run(opts, fn, ...) end

return trace
