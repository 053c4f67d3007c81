---@meta host.langsmith
-- LangSmith, seen from a script. Every run, model call and tool call is traced and sent without any of this; here a script
-- waits for its traces, and reads them back.

---@class host.langsmith
local langsmith = {}

---A run as LangSmith has it: the fields of its read API as they come. More than these may be there.
---@class host.langsmith.Run
---@field id string
---@field name string
---@field run_type string
---@field trace_id string
---@field status string      "success", "error", "pending"
---@field start_time string
---@field end_time? string
---@field inputs? table
---@field outputs? table
---@field error? string
---@field extra? table
---@field tags? string[]
---@field total_tokens? integer
---@field app_path? string

---Sends at once what has ended so far, and waits until it arrived: true. When the time is over, or when the server takes
---nothing, nil and an error (`timeout`, `auth`); nothing is lost, the journal keeps it and it is tried again.
---@param timeout? number seconds, 5 by default
---@return true?
---@return host.Error? err
function langsmith.flush(timeout) end

---Reads a run once. A run that is not there: nil and an error of kind `not_found`.
---@param id? string the run's id; the script's own run by default
---@return host.langsmith.Run?
---@return host.Error? err
function langsmith.read_run(id) end

---Reads until the run is there and has ended. `not_found` after the timeout. It does not send: flush before, and note
---that a script's own run has not ended while it runs.
---@param id? string the run's id; the script's own run by default
---@param timeout? number seconds, 15 by default
---@return host.langsmith.Run?
---@return host.Error? err
function langsmith.verify(id, timeout) end

---The page where a person sees the run.
---@param id? string the run's id; the script's own run by default
---@return string?
---@return host.Error? err
function langsmith.run_url(id) end

---@class host.langsmith.RunQuery
---@field project? string       by name or id; the script's own project by default
---@field filter? string        LangSmith's filter language: 'and(eq(run_type, "llm"), gt(latency, "5s"))'
---@field trace_filter? string  the same on the trace's root
---@field tree_filter? string   the same on any run of the trace
---@field run_type? host.trace.Type
---@field trace_id? string
---@field start_time? string    began then or later; ISO 8601
---@field end_time? string      began before
---@field is_root? boolean
---@field error? boolean
---@field order? "asc"|"desc"   by start; "desc" by default
---@field limit? integer

---The runs of a project, page by page: `for run in langsmith.runs { filter = … } do`. What goes wrong is raised, as an
---iterator has no other way to say it. The new read API (v2) is asked first, then the old one.
---@param query? host.langsmith.RunQuery
---@return fun(): host.langsmith.Run?
function langsmith.runs(query) end

---@class host.langsmith.NameQuery
---@field name? string
---@field name_contains? string
---@field limit? integer

---@param query? host.langsmith.NameQuery
---@return fun(): { id: string, name: string }?
function langsmith.projects(query) end

---@param query? host.langsmith.NameQuery
---@return fun(): { id: string, name: string }?
function langsmith.datasets(query) end

---@param query { dataset: string, limit?: integer } dataset: its name or id
---@return fun(): { id: string, inputs: table, outputs?: table, metadata?: table }?
function langsmith.examples(query) end

---@class host.langsmith.Feedback
---@field run? string           the run's id; the script's own run by default
---@field key string            what is judged
---@field score? number|boolean
---@field value? any
---@field comment? string
---@field correction? table|string
---@field source? "api"|"model"|"app" who judges; "api" by default
---@field trace_id? string
---@field session_id? string    of the project
---@field id? string            a UUID of your own: the same again changes nothing
---@field extra? table

---Says how good a run was. A run that is not at LangSmith yet is waited for, 15 seconds at most: flush before.
---@param feedback host.langsmith.Feedback
---@return table?
---@return host.Error? err
function langsmith.feedback(feedback) end

return langsmith
