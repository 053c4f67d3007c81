---@meta host.task
-- Tasks: functions that run side by side. A wait (a request, a sleep) in one lets the others go on. Waits work in tasks,
-- in pcall, iterators and coroutines; not in require, table.sort and string.gsub callbacks.

---@class host.task
local task = {}

---@class host.task.Task
local Task = {}

---Waits for the end. Returns what the function returned, or raises what it raised.
---@return ...
function Task:wait() end

---Stops it where it waits; its to-be-closed variables are closed.
function Task:cancel() end

---@return boolean
function Task:done() end

---Starts a function as a task.
---@param fn fun(...): ...
---@param ... any
---@return host.task.Task
function task.spawn(fn, ...) end

---Runs all and waits for all: the first results, in the order of the list. The first failure cancels the rest and is
---raised.
---@param list ((fun(): any)|host.task.Task)[]
---@return any[]
function task.all(list) end

---The results of whichever ends first; the others are cancelled.
---@param list ((fun(): ...)|host.task.Task)[]
---@return ...
function task.race(list) end

---@param seconds number
function task.sleep(seconds) end

---Something that happens once.
---@class host.task.Event
local Event = {}

---Waits until it is set; returns at once when it was.
function Event:wait() end

---Lets all go on that wait. Does not wait.
function Event:set() end

---@return boolean
function Event:is_set() end

---An event, not set. A to-be-closed variable that holds it sets it at its end.
---@return host.task.Event
function task.event() end

---Runs fn, at most so long. Returns its results; or nil and an error of kind "timeout".
---@param seconds number
---@param fn fun(...): ...
---@param ... any
---@return ...
function task.timeout(seconds, fn, ...) end

return task
