-- The emulated LangSmith beside ingestion: v2 reading, statistics, sharing, projects, datasets, feedback.
local t = require "testing"
local emulating = require "emulating"
local json = require "host.json"

local start = emulating.start
local A, B, C = "019b8000-0000-7000-8000-00000000000a", "019b8000-0000-7000-8000-00000000000b",
  "019b8000-0000-7000-8000-00000000000c"

-- A project "p" with a trace of two runs and one run that failed.
local function filled(options)
  local e = start(options)
  local function order(n, id) return ("20260105T0900%02d000000Z%s"):format(n, id) end
  local posts = {
    { id = A, trace_id = A, dotted_order = order(0, A), name = "agent", run_type = "chain", session_name = "p",
      start_time = "2026-01-05T09:00:00.000000Z", end_time = "2026-01-05T09:00:04.000000Z", inputs = { q = "hi" },
      outputs = { a = 1 }, tags = { "prod" }, extra = { metadata = { thread_id = "th", team = "x" } } },
    { id = B, trace_id = A, parent_run_id = A, dotted_order = order(0, A) .. "." .. order(1, B), name = "ChatOpenAI",
      run_type = "llm", session_name = "p", start_time = "2026-01-05T09:00:01.000000Z",
      end_time = "2026-01-05T09:00:02.000000Z", inputs = {}, extra = { metadata = { ls_model_name = "gpt-4o" } },
      outputs = { usage_metadata = { input_tokens = 1000, output_tokens = 100, total_tokens = 1100 } } },
    { id = C, trace_id = C, dotted_order = order(9, C), name = "agent", run_type = "chain", session_name = "p",
      start_time = "2026-01-05T09:00:09.000000Z", end_time = "2026-01-05T09:00:10.000000Z", inputs = {}, error = "boom",
      extra = { metadata = { thread_id = "th", team = "y" } } },
  }
  t.eq((e.ls("POST", "/runs/batch", { post = posts })), 202)
  local _, sessions = e.ls("GET", "/sessions?name=p")
  e.project = sessions[1].id
  return e
end

t.test("v2: only ids without selects; members by name; numbers; problems", function()
  local _
  local e = filled()
  local status, body = e.ls("POST", "/api/v2/runs/query", { project_ids = { e.project } })
  t.eq({ status, body.items[1], body.has_more }, { 200, { id = C }, false })
  _, body = e.ls("POST", "/v2/runs/query", { project_ids = { e.project }, is_root = true, sort_order = "ASC",
    page_size = 1, selects = { "NAME", "STATUS", "RUN_TYPE", "TOTAL_COST", "LATENCY_SECONDS", "IS_ROOT",
      "PROJECT_ID" } })
  t.eq(body.items[1], { id = A, name = "agent", status = "SUCCESS", run_type = "CHAIN", total_cost = 0.0035,
    latency_seconds = 4.0, is_root = true, project_id = e.project })
  t.eq(body.has_more, true)
  _, body = e.ls("POST", "/v2/runs/query", { project_ids = { e.project }, is_root = true, sort_order = "ASC",
    page_size = 1, cursor = body.next_cursor, selects = { "STATUS" } })
  t.eq({ body.items[1].status, body.has_more, body.next_cursor == nil }, { "ERROR", false, true })
  _, body = e.ls("POST", "/v2/runs/query", { project_ids = { e.project }, run_type = "LLM",
    selects = { "TOTAL_TOKENS" } })
  t.eq(body.items, { { id = B, total_tokens = 1100 } })
  _, body = e.ls("POST", "/v2/runs/query", { project_ids = { e.project }, filter = 'has(tags, "prod")' })
  t.eq(body.items, { { id = A } })
  for _, bad in ipairs { {}, { project_ids = { e.project }, page_size = 1001 }, { project_ids = { e.project },
    run_type = "llm" }, { project_ids = { e.project }, selects = { "COLOUR" } }, { project_ids = { e.project },
    filter = "eq(" }, { project_ids = { e.project }, cursor = "x" }, { project_ids = { e.project },
    min_start_time = "soon" } } do
    local answered
    status, body, answered = e.ls("POST", "/v2/runs/query", bad)
    t.eq({ status, body.status, answered["content-type"] }, { 400, 400, "application/problem+json" })
  end
end)

t.test("v2: a run, its address, its trace, threads; old runs must be asked for", function()
  local _
  local now = emulating.CLOCK + 20
  local e = filled { clock = function() return now end }
  local status, body = e.ls("GET", "/api/v2/runs/" .. A .. "?selects=NAME&selects=METADATA&project_id=" .. e.project)
  t.eq({ status, body.name, body.metadata.team }, { 200, "agent", "x" })
  t.eq((e.ls("GET", "/v2/runs/" .. A .. "?project_id=" .. A)), 404)
  _, body = e.ls("GET", "/api/v2/runs/" .. A .. "/url", nil, { host = "h:1" })
  t.match(body.url, "^http://h:1/o/.*" .. A:gsub("%-", "%%-"))
  local trace = "/v2/traces/" .. A .. "/runs?selects=NAME&project_id=" .. e.project .. "&min_start_time=2026-01-05T00:00:00Z"
  t.eq((e.ls("GET", trace)), 400)
  t.eq((e.ls("GET", "/v2/runs/" .. A)), 400)
  _, body = e.ls("GET", trace .. "&max_start_time=2026-01-06T00:00:00Z")
  t.eq({ #body.items, body.items[2].name }, { 2, "ChatOpenAI" })
  _, body = e.ls("POST", "/v2/threads/query", { project_id = e.project })
  t.eq({ body.items[1].thread_id, body.items[1].count, body.items[1].last_error, body.items[1].total_tokens },
    { "th", 2, "boom", 1100 })
  _, body = e.ls("GET", "/v2/threads/th/traces?project_id=" .. e.project)
  t.eq({ #body.items, body.items[1] }, { 2, { trace_id = A } })
  _, body = e.ls("GET", "/v2/threads/th/traces?page_size=1&selects=NAME&selects=LATENCY&selects=ERROR_PREVIEW&project_id="
    .. e.project)
  t.eq({ #body.items, body.has_more, body.items[1].name, body.items[1].latency }, { 1, true, "agent", 4.0 })
  t.eq((e.ls("GET", "/v2/threads/th/traces?selects=INPUTS&project_id=" .. e.project)), 400)
  _, body = e.ls("GET", "/v2/threads/th/stats?selects=TURNS&selects=LATENCY_P50&selects=TOTAL_TOKENS&session_id=" .. e.project)
  t.eq(body, { turns = 2, latency_p50_seconds = 1.0, total_tokens = 1100 })
  t.eq((e.ls("GET", "/v2/threads/no/stats?session_id=" .. e.project)), 404)
  local every = {}
  for name in ("ID NAME RUN_TYPE STATUS START_TIME END_TIME LATENCY_SECONDS FIRST_TOKEN_TIME ERROR ERROR_PREVIEW EXTRA "
    .. "METADATA EVENTS INPUTS INPUTS_PREVIEW OUTPUTS OUTPUTS_PREVIEW MANIFEST PARENT_RUN_IDS PROJECT_ID TRACE_ID THREAD_ID "
    .. "DOTTED_ORDER IS_ROOT REFERENCE_EXAMPLE_ID REFERENCE_DATASET_ID TOTAL_TOKENS PROMPT_TOKENS COMPLETION_TOKENS TOTAL_COST "
    .. "PROMPT_COST COMPLETION_COST PROMPT_TOKEN_DETAILS COMPLETION_TOKEN_DETAILS PROMPT_COST_DETAILS COMPLETION_COST_DETAILS "
    .. "PRICE_MODEL_ID TAGS APP_PATH ATTACHMENTS THREAD_EVALUATION_TIME IS_IN_DATASET SHARE_URL FEEDBACK_STATS")
    :gmatch "%S+" do every[#every + 1] = name end
  status, body = e.ls("POST", "/v2/runs/query", { project_ids = { e.project }, selects = every })
  t.eq({ status, body.items[1].is_root, body.items[1].error }, { 200, true, "boom" })
  now = now + 2 * 86400
  _, body = e.ls("POST", "/v2/runs/query", { project_ids = { e.project } })
  t.eq(#body.items, 0)
  _, body = e.ls("POST", "/v2/runs/query", { project_ids = { e.project }, min_start_time = "2026-01-01T00:00:00Z" })
  t.eq(#body.items, 3)
end)

t.test("stats: over runs, in groups; threads; projects with stats", function()
  local e = filled()
  local _, s = e.ls("POST", "/runs/stats", { session = { e.project } })
  t.eq({ s.run_count, s.total_tokens, s.latency_p99, s.total_cost }, { 3, 1100, 4.0, 0.0035 })
  t.ok(math.abs(s.error_rate - 1 / 3) < 1e-9)
  _, s = e.ls("POST", "/runs/stats", { session = { e.project }, is_root = true,
    group_by = { attribute = "metadata", path = "team" } })
  t.eq({ s.x.run_count, s.y.error_rate }, { 1, 1.0 })
  t.eq((e.ls("POST", "/runs/stats", { filter = "nope(" })), 400)
  _, s = e.ls("POST", "/runs/group", { session_id = e.project, group_by = "conversation" })
  t.eq({ s.total, s.groups[1].group_key, s.groups[1].count }, { 1, "th", 2 })
  _, s = e.ls("GET", "/sessions/" .. e.project .. "?include_stats=true")
  t.eq({ s.run_count, s.total_tokens }, { 3, 1100 })
end)

t.test("runs are shared, taken back, deleted; filters are validated", function()
  local e = filled()
  t.eq((e.ls("POST", "/runs/query/validate", { filter = 'eq(name, "x")' })), 200)
  t.eq((e.ls("POST", "/runs/query/validate", { filter = 'eq(nmae, "x")' })), 400)
  local _, body = e.ls("PUT", "/runs/" .. A .. "/share")
  local token = body.share_token
  local status
  status, body = e.call("GET", "/public/" .. token .. "/run")
  t.eq({ status, body.id }, { 200, A })
  t.eq((e.call("GET", "/public/" .. token .. "/run/" .. B)), 200)
  t.eq((e.call("GET", "/public/" .. token .. "/run/" .. C)), 404)
  _, body = e.call("POST", "/public/" .. token .. "/runs/query", { id = { A, B, C } })
  t.eq(#body.runs, 2)
  e.ls("DELETE", "/runs/" .. A .. "/share")
  t.eq((e.call("GET", "/public/" .. token .. "/run")), 404)
  t.eq((e.ls("POST", "/runs/delete", { trace_ids = { A } })), 200)
  t.eq({ (e.ls("GET", "/runs/" .. A)), (e.ls("GET", "/runs/" .. B)), (e.ls("GET", "/runs/" .. C)) }, { 404, 404, 200 })
  t.eq((e.ls("DELETE", "/sessions/" .. e.project)), 200)
  t.eq((e.ls("GET", "/runs/" .. C)), 404)
end)

t.test("feedback: given, changed, counted, filtered; presigned addresses", function()
  local now = emulating.CLOCK + 20
  local e = filled { clock = function() return now end }
  local _, f = e.ls("POST", "/feedback", { key = "good", score = 1, run_id = A, session_id = e.project })
  e.ls("POST", "/feedback", { key = "good", score = 0, run_id = A })
  local _, run = e.ls("GET", "/runs/" .. A)
  t.eq({ run.feedback_stats.good.n, run.feedback_stats.good.avg }, { 2, 0.5 })
  local _, body = e.ls("POST", "/runs/query", { filter = 'and(eq(feedback_key, "good"), gt(feedback_score, 0.4))' })
  t.eq({ #body.runs, body.runs[1].id }, { 1, A })
  _, f = e.ls("PATCH", "/feedback/" .. f.id, { comment = "better" })
  t.eq(f.comment, "better")
  t.eq((e.ls("DELETE", "/feedback/" .. f.id)), 200)
  t.eq((e.ls("GET", "/feedback/" .. f.id)), 404)
  t.eq((e.ls("POST", "/feedback", { key = ("k"):rep(181) })), 422)
  local _, token = e.ls("POST", "/feedback/tokens", { run_id = C, feedback_key = "thumb",
    expires_in = { minutes = 1 } })
  local path = token.url:match "/feedback/tokens/.*"
  t.eq((e.call("GET", path .. "?score=1&comment=nice")), 200)
  _, body = e.ls("GET", "/feedback?run=" .. C)
  t.eq({ body[1].key, body[1].score, body[1].comment }, { "thumb", 1, "nice" })
  now = now + 61
  t.eq((e.call("POST", path, { score = 1 })), 403)
  t.eq((e.ls("GET", "/feedback/tokens?run_id=" .. C)), 200)
end)

t.test("datasets and examples: made, found, changed, removed; versions and splits", function()
  local e = start()
  local status, d = e.ls("POST", "/datasets", { name = "mails", data_type = "kv",
    extra = { metadata = { team = "x" } } })
  t.eq({ status, d.example_count, d.metadata.team }, { 200, 0, "x" })
  t.eq((e.ls("POST", "/datasets", { name = "mails" })), 409)
  t.eq((e.ls("POST", "/datasets", { name = "x", data_type = "csv" })), 422)
  local _, made = e.ls("POST", "/examples/bulk", json.array { { dataset_id = d.id, inputs = { q = 1 },
    outputs = { a = 2 }, split = "test" }, { dataset_id = d.id, inputs = { q = "zebra" } } })
  t.eq({ #made, made[1].metadata.dataset_split }, { 2, { "test" } })
  t.eq((e.ls("POST", "/examples", { dataset_id = A, inputs = {} })), 404)
  t.eq((e.ls("POST", "/examples", { dataset_id = d.id })), 422)
  local function ids(query)
    local _, list = e.ls("GET", "/examples?dataset=" .. d.id .. query)
    return #list
  end
  t.eq({ ids "", ids "&splits=test", ids "&full_text_contains=ZEB", ids "&limit=1", ids "&offset=2" }, { 2, 1, 1, 1,
    0 })
  t.eq((e.ls("GET", "/examples?limit=101")), 422)
  e.ls("PATCH", "/examples/" .. made[1].id, { outputs = { a = 3 } })
  local _, one = e.ls("GET", "/examples/" .. made[1].id)
  t.eq({ one.outputs.a, one.inputs.q }, { 3, 1 })
  local _, n = e.ls("GET", "/examples/count?dataset=" .. d.id)
  t.eq(n, 2)
  local _, versions = e.ls("GET", "/datasets/" .. d.id .. "/versions")
  t.eq(#versions, 2)
  local _, splits = e.ls("GET", "/datasets/" .. d.id .. "/splits")
  t.eq(splits, { "base", "test" })
  e.ls("DELETE", "/examples?example_ids=" .. made[1].id)
  t.eq((e.ls("GET", "/examples/" .. made[1].id)), 404)
  local _, list = e.ls("GET", "/datasets?name_contains=MAI")
  t.eq({ #list, list[1].example_count }, { 1, 1 })
  _, d = e.ls("PATCH", "/datasets/" .. d.id, { description = "new" })
  t.eq(d.description, "new")
  t.eq((e.ls("DELETE", "/datasets/" .. d.id)), 200)
  t.eq((e.ls("GET", "/datasets/" .. d.id)), 404)
end)

t.test("/info advertises v1 or v2 as asked", function()
  local e = start()
  local _, info = e.call("GET", "/info")
  t.eq(info.instance_flags.sdb_query_enabled, false)
  _, info = e.call("GET", "/info", nil, { ["x-agenthost-form"] = "query_flags=v2" })
  t.eq(info.instance_flags.sdb_query_enabled, true)
end)

t.done()
