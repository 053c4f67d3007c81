-- LangSmith's feedback: scores and words on runs, and presigned addresses that take them without a key. Called by
-- app.lua over the store of langsmith.lua.
local json = require "host.json"
local langsmith = require "emulator.langsmith"
local reply = require "emulator.reply"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given = world_of.given
local M = {}

local function post_feedback(store, request)
  local body = request:object()
  if not body or type(given(body.key)) ~= "string" then return reply.invalid("body.key", "field required") end
  if #body.key > 180 then return reply.invalid("body.key", "must have at most 180 characters") end
  if given(body.run_id) and not store.runs[body.run_id:lower()] then
    return reply.json(404, { detail = "Run not found" }) end
  body.id = given(body.id) or store.world:uuid()
  body.created_at = store.world:stamp()
  store.feedback[#store.feedback + 1] = body
  return reply.json(200, body)
end

local function get_feedback(store, request)
  local runs, rows = {}, json.array {}
  for _, id in ipairs(request:values "run") do runs[id] = true end
  for _, f in ipairs(store.feedback) do
    if (next(runs) == nil or runs[f.run_id]) and (not request.query.key or f.key == request.query.key) then
      rows[#rows + 1] = f end
  end
  return reply.json(200, rows)
end

local function find(store, id)
  for i, f in ipairs(store.feedback) do
    if f.id == id then return f, i end
  end
  return nil
end

local function one(act)
  return function(store, request)
    local f, i = find(store, request.params.id)
    if not f then return reply.json(404, { detail = "Feedback not found" }) end
    return act(store, request, f, i)
  end
end

local patch_feedback = one(function(store, request, f)
  for _, k in ipairs { "score", "value", "comment", "correction" } do
    local v = given((request:object() or {})[k])
    if v ~= nil then f[k] = v end
  end
  f.modified_at = store.world:stamp()
  return reply.json(200, f)
end)

local delete_feedback = one(function(store, _, _, i)
  table.remove(store.feedback, i)
  return reply.json(200, {})
end)

local function post_token(store, request)
  local body = request:object()
  if not body or not given(body.run_id) or not given(body.feedback_key) then
    return reply.invalid("body", "run_id and feedback_key are required") end
  local life = given(body.expires_in) or { hours = 3 }
  local seconds = (life.days or 0) * 86400 + (life.hours or 0) * 3600 + (life.minutes or 0) * 60
  local id = store.world:uuid()
  local token = { id = id, feedback_key = body.feedback_key, url = request:base_url() .. "/feedback/tokens/" .. id,
    expires_at = given(body.expires_at) or store.world:stamp(store.world:now() + seconds) }
  store.tokens[#store.tokens + 1] = { run_id = body.run_id, shown = token }
  return reply.json(200, token)
end

local function get_tokens(store, request)
  local rows = json.array {}
  for _, token in ipairs(store.tokens) do
    if token.run_id == request.query.run_id then rows[#rows + 1] = token.shown end
  end
  return reply.json(200, rows)
end

-- With the token's address anybody may give feedback until it expires.
local function use_token(store, request)
  for _, entry in ipairs(store.tokens) do
    local token = entry.shown
    if token.id == request.params.token then
      if (text.micros(token.expires_at) or 0) < store.world:now() * 1e6 then
        return reply.json(403, { detail = "Token expired" }) end
      local from = request.method == "POST" and (request:object() or {}) or request.query
      local score = given(from.score)
      store.feedback[#store.feedback + 1] = { id = store.world:uuid(), key = token.feedback_key, run_id = entry.run_id,
        score = tonumber(score) or score, value = given(from.value), comment = given(from.comment),
        correction = given(from.correction), created_at = store.world:stamp(), feedback_source = { type = "app" } }
      return reply.json(200, {})
    end
  end
  return reply.json(404, { detail = "Token not found" })
end

function M.install(store, app)
  for _, prefix in ipairs(langsmith.PREFIXES) do
    local function add(method, path, handler, opts)
      app:route("langsmith", "read", method, prefix .. "/feedback" .. path,
        function(request) return handler(store, request) end, opts)
    end
    add("POST", "", post_feedback)
    add("POST", "/eager", post_feedback)
    add("GET", "", get_feedback)
    add("POST", "/tokens", post_token)
    add("GET", "/tokens", get_tokens)
    add("GET", "/tokens/{token}", use_token, { open = true })
    add("POST", "/tokens/{token}", use_token, { open = true })
    add("GET", "/{id}", one(function(_, _, f) return reply.json(200, f) end))
    add("PATCH", "/{id}", patch_feedback)
    add("DELETE", "/{id}", delete_feedback)
  end
end

return M
