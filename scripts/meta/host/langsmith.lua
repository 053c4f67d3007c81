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

return langsmith
