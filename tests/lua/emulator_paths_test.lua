-- Paths of the emulator that no other test asks for: that each answers, and with what.
local t = require "testing"
local emulating = require "emulating"

t.test("Scalekit: keys, connections by themselves, instances, the oldest servers, the proxy's methods", function()
  local e = emulating.start()
  local status, body = e.call("GET", "/keys")
  t.eq({ status, type(body.keys) }, { 200, "table" })
  t.eq((e.sk("GET", "/connections")), 200)
  local _, made = e.sk("POST", "/connections", { provider_key = "HUBSPOT", type = "OAUTH" })
  local id = made.connection.id
  _, body = e.sk("PATCH", "/connections/" .. id, { type = "API_KEY" })
  t.eq(body.connection.type, "API_KEY")
  t.eq({ (e.sk("PATCH", "/connections/" .. id, { type = "?" })), (e.sk("PATCH", "/connections/conn_0", {})) }, { 400, 404 })
  t.eq({ (e.sk("PATCH", "/connections/" .. id .. ":disable")), (e.sk("PATCH", "/connections/" .. id .. ":enable")) },
    { 200, 200 })
  t.eq({ (e.sk("GET", "/mcp/instances")), (e.sk("GET", "/mcp/instances/inst_0")), (e.sk("GET", "/mcp")),
    (e.sk("DELETE", "/mcp/mcp_0")) }, { 200, 404, 200, 404 })
  for _, method in ipairs { "HEAD", "PUT", "PATCH", "DELETE" } do
    t.eq((e.call(method, "/proxy/gmail/v1/no", nil, { authorization = "Bearer " .. e.token(), connection_name = "gmail",
      identifier = "u" })), 404)
  end
end)

t.test("OpenAI: a model; LiteLLM's own calls", function()
  local e = emulating.start()
  local key = { authorization = "Bearer " .. e.env.OPENAI_API_KEY }
  local _, body = e.call("GET", "/models/gpt-4o", nil, key)
  t.eq(body.id, "gpt-4o")
  _, body = e.call("POST", "/responses", { model = "gpt-4o", input = "hi" }, key)
  t.eq({ (e.call("GET", "/responses/" .. body.id, nil, key)), (e.call("DELETE", "/responses/" .. body.id, nil, key)),
    (e.call("GET", "/responses/" .. body.id, nil, key)) }, { 200, 200, 404 })
  local g = emulating.start { gateway = true }
  key = { authorization = "Bearer " .. g.env.OPENAI_API_KEY }
  for _, path in ipairs { "/health/readiness", "/model/info", "/key/info" } do
    t.eq({ path, (g.call("GET", path, nil, key)) }, { path, 200 })
  end
  _, body = g.call("POST", "/utils/token_counter", { model = "gpt-4o", prompt = "12345" }, key)
  t.eq(body.total_tokens, 2)
  t.eq((g.call("POST", "/openai/deployments/gpt-4o/chat/completions", { model = "gpt-4o", messages = { emulating.user "hi" } }, key)), 200)
end)

t.test("LangSmith: single runs, settings, projects, examples by both addresses, addresses of v2", function()
  local e = emulating.start()
  local A = "01a202b2-c500-7a1b-8a1b-2c3d4e5f6071"
  t.eq((e.ls("POST", "/runs", { id = A, name = "n", run_type = "chain", inputs = {}, session_name = "p",
    start_time = "2026-01-05T09:00:00.000000Z" })), 202)
  t.eq({ (e.ls("GET", "/settings")), (e.ls("GET", "/runs/" .. A .. "/share")), (e.ls("POST", "/sessions", { name = "q" })) },
    { 200, 200, 200 })
  local _, run = e.ls("GET", "/runs/" .. A)
  local _, body = e.ls("PATCH", "/sessions/" .. run.session_id, { description = "d" })
  t.eq(body.description, "d")
  t.eq((e.ls("POST", "/feedback/eager", { run_id = A, key = "k", score = 1 })), 200)
  local project = "?project_id=" .. run.session_id
  t.eq((e.ls("GET", "/v2/runs/" .. A .. "/url" .. project)), 200)
  t.eq((e.ls("POST", "/v2/runs/" .. A .. "/share" .. project)), 200)
  t.eq((e.ls("DELETE", "/v2/runs/" .. A .. "/share" .. project)), 204)
  local _, d = e.ls("POST", "/datasets", { name = "d" })
  _, body = e.ls("POST", "/examples", { dataset_id = d.id, inputs = { q = 1 } })
  t.eq((e.ls("GET", "/datasets/" .. d.id .. "/version?tag=latest")), 200)
  local _, other = e.ls("POST", "/examples", { dataset_id = d.id, inputs = { q = 2 } })
  t.eq((e.ls("DELETE", "/examples/" .. other.id)), 200)
  for _, prefix in ipairs { "/v1/platform", "/api/v1/platform" } do
    local at = prefix .. "/datasets/"
    local part = ('--B\r\nContent-Disposition: form-data; name="%s"\r\nContent-Type: application/json\r\n'
      .. 'Content-Length: 2\r\n\r\n{}\r\n--B--\r\n'):format(body.id)
    local kind = { ["content-type"] = "multipart/form-data; boundary=B" }
    t.eq({ (e.ls("PATCH", at .. d.id .. "/examples", part, kind)), (e.ls("POST", at .. d.id .. "/examples", part, kind)) },
      { 201, 422 })
    t.eq((e.ls("POST", at .. "examples/delete", { example_ids = { body.id }, hard_delete = true })), 200)
  end
end)

t.done()
