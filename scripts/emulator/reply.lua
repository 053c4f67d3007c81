-- The three services' ways of answering and refusing, as `status, headers, body`. Pure.
local json = require "host.json"

local M = {}

function M.json(status, value, headers)
  headers = headers or {}
  headers["content-type"] = headers["content-type"] or "application/json"
  return status, headers, assert(json.encode(value))
end

function M.html(status, body) return status, { ["content-type"] = "text/html; charset=utf-8" }, body end

-- gRPC name -> its number and the HTTP status the gateway gives
local GRPC = {
  CANCELLED = { 1, 499 }, UNKNOWN = { 2, 500 }, INVALID_ARGUMENT = { 3, 400 }, DEADLINE_EXCEEDED = { 4, 504 },
  NOT_FOUND = { 5, 404 }, ALREADY_EXISTS = { 6, 409 }, PERMISSION_DENIED = { 7, 403 },
  RESOURCE_EXHAUSTED = { 8, 429 }, FAILED_PRECONDITION = { 9, 400 }, ABORTED = { 10, 409 },
  OUT_OF_RANGE = { 11, 400 }, UNIMPLEMENTED = { 12, 501 }, INTERNAL = { 13, 500 }, UNAVAILABLE = { 14, 503 },
  UNAUTHENTICATED = { 16, 401 },
}

-- Scalekit's gateway error. `info`: fields of ErrorInfo (error_code defaults to the gRPC name).
function M.grpc(name, message, info, headers)
  local entry = { ["@type"] = "type.googleapis.com/scalekit.v1.errdetails.ErrorInfo", error_code = name }
  for k, v in pairs(info or {}) do entry[k] = v end
  local row = GRPC[name]
  return M.json(row[2], { code = row[1], message = message, details = json.array { entry } }, headers)
end

-- violations: list of { field, description, constraint }
function M.violations(list)
  local rows = json.array {}
  for i, v in ipairs(list) do rows[i] = { field = v[1], description = v[2], constraint = v[3] } end
  local message = ("validation error: %s: %s"):format(list[1][1], list[1][2])
  return M.grpc("INVALID_ARGUMENT", message, { validation_error_info = { field_violations = rows } })
end

function M.openai(status, kind, code, param, message, headers)
  return M.json(status, {
    error = { message = message, type = kind, param = param or json.null, code = code or json.null },
  }, headers)
end

-- LangSmith's ingest service is written in Go, whose http.Error adds a final newline.
function M.langsmith(status, message)
  local _, headers, body = M.json(status, { error = message })
  return status, headers, body .. "\n"
end

-- What LangSmith's newer services say of a field that is not as they want it.
function M.invalid(place, message)
  local loc = json.array {}
  for word in place:gmatch("[^.]+") do loc[#loc + 1] = word end
  return M.json(422, { detail = json.array { { loc = loc, msg = message, type = "value_error" } } })
end

return M
