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

t.test("a thread's id and tags are on every span", function()
  local ids = {}
  trace.run({ name = "outer", metadata = { thread_id = "th-1" }, tags = { "a" } }, function()
    ids[1] = trace.current().id
    trace.span("inner", function() ids[2] = trace.current().id end)
    trace.metadata { late = true }
    trace.span("after", function()
      ids[3] = trace.current().id
      trace.event("seen", { n = 1 })
      trace.attach("note", "text/plain", "hello\0")
    end)
  end)
  langsmith.flush()
  for i = 1, 3 do
    local got = langsmith.read_run(ids[i])
    t.eq(got.extra.metadata.thread_id, "th-1")
    t.eq(got.tags, { "a" })
    t.eq(got.extra.metadata.late, i ~= 2 or nil)
  end
  t.eq(langsmith.read_run(ids[3]).events[1].kwargs.n, 1)
  t.raises("cannot be attached", trace.attach, "a.b", "text/plain", "x")
end)

t.test("a run goes on with the trace of its caller", function()
  local headers, above, id
  trace.run({ name = "caller", metadata = { session_id = "s ü" }, tags = { "x", "y z" }, project = "p/1" }, function()
    headers = trace.headers()
    above = trace.current()
  end)
  t.eq(headers["langsmith-trace"], above.dotted_order)
  t.match(headers.baggage, "langsmith%-metadata=%%7B")
  trace.run({ name = "callee", headers = headers, metadata = { mine = 1 } }, function()
    local here = trace.current()
    id = here.id
    t.eq(here.trace_id, above.trace_id)
    t.eq(here.run_id, here.id)
    t.eq(here.project, "p/1")
  end)
  t.eq(trace.flush(), true)
  local got = langsmith.read_run(id)
  t.eq(got.parent_run_id, above.id)
  t.eq(got.trace_id, above.trace_id)
  t.eq(got.tags, { "x", "y z" })
  t.eq(got.extra.metadata.session_id, "s ü")
  t.eq(got.extra.metadata.mine, 1)
  -- A stranger's headers change nothing.
  for _, h in ipairs { {}, { baggage = headers.baggage }, { ["langsmith-trace"] = "x" }, { ["langsmith-trace"] = "" } } do
    trace.run({ headers = h }, function()
      local here = trace.current()
      t.eq(here.trace_id, here.id)
    end)
  end
  t.raises("table expected", trace.run, { headers = 1 }, print)
end)

t.test("an anonymizer decides what leaves", function()
  local ids, paths = {}, {}
  trace.run({ name = "private", inputs = { mail = "from bob" } }, function()
    trace.anonymizer(function(text, path)
      paths[path] = true
      if text == "fail" then error("no") end
      return (text:gsub("bob", "NAME"))
    end)
    ids[1] = trace.current().id
    trace.span("kept", { inputs = { a = { "bob", 1 } }, metadata = { m = "bob" } }, function()
      ids[2] = trace.current().id
      return { b = "bob\n" }
    end)
    trace.span("withheld", { inputs = { a = "fail" } }, function()
      ids[3] = trace.current().id
      return { b = "x" }
    end)
    pcall(trace.span, "failed", function()
      ids[4] = trace.current().id
      error("bob was here", 0)
    end)
    trace.run({ name = "inside", inputs = { a = "bob" } }, function() ids[5] = trace.current().id end)
    t.eq(langsmith.flush(), true)
    t.err("not_found", langsmith.read_run(ids[2]))
    return { answer = "for bob" }
  end)
  t.eq(langsmith.flush(), true)
  t.eq(langsmith.read_run(ids[1]).inputs.mail, "from NAME")
  t.eq(langsmith.read_run(ids[1]).outputs.answer, "for NAME")
  local kept = langsmith.read_run(ids[2])
  t.eq(kept.inputs.a, { "NAME", 1 })
  t.eq(kept.outputs.b, "NAME\n")
  t.eq(kept.extra.metadata.m, "NAME")
  t.eq(next(langsmith.read_run(ids[3]).inputs), nil)
  t.eq(langsmith.read_run(ids[3]).outputs.b, "x")
  t.eq(langsmith.read_run(ids[4]).error, "NAME was here")
  t.eq(langsmith.read_run(ids[5]).inputs.a, "NAME")
  t.ok(paths["inputs.a[1]"] and paths["outputs.b"] and paths["extra.metadata.m"])
  t.raises("function expected", trace.anonymizer, {})
end)

t.test("an anonymizer that comes too late is refused", function()
  trace.run({ name = "late" }, function()
    task.sleep(0.01) -- a wait is none: nothing has ended
    trace.span("open", { inputs = { a = "x" } }, function() trace.anonymizer(string.upper) end)
    trace.anonymizer(string.lower) -- another one may take its place
  end)
  trace.run({ name = "late" }, function()
    trace.span("ended", function() end)
    t.raises("comes too late.*LANGSMITH_HIDE_INPUTS", trace.anonymizer, string.upper)
  end)
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

t.test("lists, page by page", function()
  for i = 1, 105 do
    trace.run({ name = "listed", project = "a list", tags = { "n" .. i } }, function()
      if i == 7 then trace.span("deep", { run_type = "tool" }, function() end) end
    end)
  end
  t.eq(langsmith.flush(20), true)
  local count, last = 0, nil
  for got in langsmith.runs { project = "a list", is_root = true, order = "asc" } do
    count = count + 1
    t.ok(not last or last <= got.start_time)
    last = got.start_time
    t.eq(got.name, "listed")
    t.eq(got.status, "success")
  end
  t.eq(count, 105)
  count = 0
  for got in langsmith.runs { project = "a list", run_type = "tool" } do
    count = count + 1
    t.eq(got.name, "deep")
    t.eq(got.run_type, "tool")
    t.ok(got.parent_run_id)
  end
  t.eq(count, 1)
  count = 0
  for _ in langsmith.runs { project = "a list", limit = 3 } do count = count + 1 end
  t.eq(count, 3)
  for got in langsmith.runs { project = "a list", filter = 'has(tags, "n50")' } do t.eq(got.tags, { "n50" }) end
  local found
  for project in langsmith.projects { name = "a list" } do found = project.id end
  t.ok(found)
  for got in langsmith.runs { project = found, limit = 1 } do t.eq(got.session_id, found) end
  local ok, err = pcall(function() for _ in langsmith.runs { project = "no such" } do end end)
  t.eq(ok, false)
  t.eq(err.kind, "not_found")
  for _ in langsmith.datasets {} do end
  ok, err = pcall(function() for _ in langsmith.examples { dataset = "none" } do end end)
  t.eq(ok, false)
  t.eq(err.kind, "not_found")
  t.raises("unknown field", langsmith.runs, { projekt = "x" })
  t.raises("order", langsmith.runs, { order = "up" })
  t.raises("boolean expected", langsmith.runs, { error = "yes" })
  t.raises("dataset", langsmith.examples, {})
end)

t.test("feedback", function()
  local id = run {}
  langsmith.flush()
  local got, err = langsmith.feedback { run = id, key = "correct", score = 1, comment = "fine" }
  t.eq(err, nil)
  t.eq(got.key, "correct")
  t.eq(got.run_id, id)
  t.eq(langsmith.read_run(id).feedback_stats.correct.n, 1)
  t.raises("key", langsmith.feedback, { run = id })
  t.raises("unknown field", langsmith.feedback, { run = id, key = "x", scor = 1 })
end)

t.test("a wait can be given up", function()
  local waiting = task.spawn(langsmith.verify, UNKNOWN, 60)
  task.sleep(0.01)
  waiting:cancel()
  t.eq(waiting:done(), true)
  t.err("timeout", task.timeout(0.05, langsmith.verify, UNKNOWN, 60))
end)

t.test("a huge event costs nobody the span", function()
  local id
  trace.span("huge event", function()
    id = trace.current().id
    trace.event("e", { text = ("x"):rep(17000000) })
  end)
  assert(trace.flush(60))
  t.eq(assert(langsmith.read_run(id)).name, "huge event")
end)

t.done()
