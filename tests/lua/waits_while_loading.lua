-- A module that waits while it is loaded: task_test.lua requires it and must be refused.
require("host.task").sleep(0.001)
return true
