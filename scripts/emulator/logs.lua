-- The log of tool calls and its overview. Called by app.lua over what scalekit.lua recorded.
local json = require "host.json"
local accounts_of = require "emulator.accounts"
local reply = require "emulator.reply"
local text = require "emulator.text"

local M = {}

local function set_of(list)
  if #list == 0 then return nil end
  local set = {}
  for _, v in ipairs(list) do set[v] = true end
  return set
end

local function get_logs(self, request)
  local q = request.query
  local statuses, providers = set_of(request:values "status"), set_of(request:values "provider")
  local from, to = q.start_time and text.micros(q.start_time), q.end_time and text.micros(q.end_time)
  if (q.start_time and not from) or (q.end_time and not to) then
    return reply.violations { { q.start_time and not from and "start_time" or "end_time", "value is not a timestamp",
      "timestamp" } }
  end
  local rows = {}
  for _, entry in ipairs(self.logs) do
    local at = text.micros(entry.started_at)
    local keep = (not statuses or statuses[entry.status]) and (not providers or providers[entry.provider])
      and (not from or at >= from) and (not to or at <= to)
    for _, field in ipairs { "connection_id", "connected_account_id", "identifier", "agent_run_id",
      "connection_name" } do
      keep = keep and (not q[field] or q[field] == entry[field])
    end
    if keep then rows[#rows + 1] = entry end
  end
  local page, following, previous = accounts_of.page(rows, request, { default = 20, max = 100 })
  if not page then return reply.violations(following) end
  return reply.json(200, { tool_call_logs = page, total_size = tostring(#rows), next_page_token = following,
    prev_page_token = previous })
end

local function get_log(self, request)
  for _, entry in ipairs(self.logs) do
    if entry.execution_id == request.params.id then return reply.json(200, entry) end
  end
  return accounts_of.not_found()
end

local function whole(n) return ("%d"):format(n) end -- 64-bit integers are texts in this JSON

local function get_overview(self, request)
  local q = request.query
  local from, to = q.start_time and text.micros(q.start_time), q.end_time and text.micros(q.end_time)
  local providers, names = set_of(request:values "provider"), {}
  local sum, codes, by = { total = 0, success = 0, provider_error = 0, platform_error = 0 }, {}, {}
  for _, entry in ipairs(self.logs) do
    local at = text.micros(entry.started_at)
    if (not from or at >= from) and (not to or at <= to) and (not providers or providers[entry.provider])
      and (not q.connection_name or q.connection_name == entry.connection_name) then
      local row = by[entry.provider]
      if not row then
        row = { total = 0, success = 0, provider_error = 0, platform_error = 0 }
        by[entry.provider] = row
        names[#names + 1] = entry.provider
      end
      for _, count in ipairs { sum, row } do
        count.total = count.total + 1
        count[entry.status] = count[entry.status] + 1
      end
      if entry.error_code ~= "" then codes[entry.error_code] = (codes[entry.error_code] or 0) + 1 end
    end
  end
  local function show(row)
    return { total = whole(row.total), success = whole(row.success),
      errors = whole(row.provider_error + row.platform_error), provider_errors = whole(row.provider_error),
      platform_errors = whole(row.platform_error) }
  end
  table.sort(names)
  local out = show(sum)
  out.connector_breakdown, out.top_error_codes, out.time_series = json.array {}, json.array {}, json.array {}
  for i, name in ipairs(names) do
    out.connector_breakdown[i] = show(by[name])
    out.connector_breakdown[i].provider = name
  end
  for code, n in pairs(codes) do
    out.top_error_codes[#out.top_error_codes + 1] = { error_code = code, count = whole(n) }
  end
  table.sort(out.top_error_codes, function(a, b) return a.error_code < b.error_code end)
  return reply.json(200, out)
end

function M.install(self, app)
  local function add(path, handler)
    app:route("scalekit", "logs", "GET", "/api/v1/agentkit" .. path, function(request) return handler(self,
      request) end)
  end
  add("/tool_call_logs", get_logs)
  add("/tool_call_logs/{id}", get_log)
  add("/analytics/overview", get_overview)
end

return M
