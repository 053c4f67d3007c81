-- run: --trace --emulate
-- host.langsmith as scripts see it, against the emulator: what was traced arrives, and can be read back.
local t = require "testing"
local langsmith = require "host.langsmith"
local task = require "host.task"
local trace = require "host.trace"

local UNKNOWN = "019c0711-e1aa-7223-bf21-12119afe80f7"

-- A whole run with one tool span; its id.
local function run(opts)
  local id
  opts.name = opts.name or "inner"
  trace.run(opts, function()
    id = trace.current().trace_id
    trace.span("step", { run_type = "tool", inputs = { n = 1 } }, function() return { m = 2 } end)
    return "answer"
  end)
  return id
end

t.test("misuse raises", function()
  t.raises("number expected", langsmith.flush, "soon")
  t.raises("from 0 to 86400", langsmith.flush, -1)
  t.raises("string expected", langsmith.read_run, {})
  t.raises("string expected", langsmith.run_url, true)
  t.raises("number expected", langsmith.verify, UNKNOWN, {})
  t.raises("from 0 to 86400", langsmith.verify, UNKNOWN, 0 / 0)
end)

t.test("a run arrives whole", function()
  local id = run { inputs = { task = "ü" }, tags = { "red" }, metadata = { k = 1 } }
  t.eq(langsmith.flush(), true)
  local got, err = langsmith.verify(id)
  t.eq(err, nil)
  t.eq(got.name, "inner")
  t.eq(got.status, "success")
  t.eq(got.inputs.task, "ü")
  t.eq(got.outputs.output, "answer")
  t.eq(got.tags[1], "red")
  t.eq(got.extra.metadata.k, 1)
  t.eq(got.extra.runtime.sdk, "agenthost")
end)

t.test("a failed run says why", function()
  local id
  local ok = pcall(trace.run, { name = "bad" }, function()
    id = trace.current().trace_id
    error("no luck")
  end)
  t.eq(ok, false)
  t.eq(langsmith.flush(), true)
  local got = langsmith.verify(id)
  t.eq(got.status, "error")
  t.match(got.error, "no luck")
end)

t.test("flushing twice, side by side and with nothing to send", function()
  for _ = 1, 3 do run {} end
  t.eq(task.all { langsmith.flush, langsmith.flush, langsmith.flush }, { true, true, true })
  t.eq(langsmith.flush(0.5), true)
end)

t.test("many runs arrive", function()
  local ids = {}
  for i = 1, 120 do ids[i] = run { name = "many" } end
  t.eq(langsmith.flush(20), true)
  for _, i in ipairs { 1, 60, 120 } do t.eq(langsmith.read_run(ids[i]).name, "many") end
end)

t.test("the page of a run", function()
  local id = run {}
  langsmith.flush()
  t.match(langsmith.run_url(id), "^http://127%.0%.0%.1:%d+/o/.*" .. id:gsub("%-", "%%-"))
  t.err("not_found", langsmith.run_url(UNKNOWN))
end)

t.test("what is not there", function()
  t.err("not_found", langsmith.read_run(UNKNOWN))
  local got, err = langsmith.verify(UNKNOWN, 0.3)
  t.err("not_found", got, err)
  t.match(tostring(err), "is not at LangSmith")
  t.err("invalid", langsmith.read_run("../info"))
  t.err("invalid", langsmith.verify("x"))
end)

t.test("a wait can be given up", function()
  local waiting = task.spawn(langsmith.verify, UNKNOWN, 60)
  task.sleep(0.01)
  waiting:cancel()
  t.eq(waiting:done(), true)
  t.err("timeout", task.timeout(0.05, langsmith.verify, UNKNOWN, 60))
end)

t.done()
