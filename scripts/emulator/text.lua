-- Text and time helpers of the emulator: base64, URL forms, RFC 3339 times, HTML escapes. Pure; called
-- by every other emulator module; must never read a clock or keep state.
local host = require "host"

local M = {}

M.base64 = host.base64

-- nil when `text` is not base64 (either alphabet, padding optional).
function M.unbase64(text)
  text = text:gsub("%s", ""):gsub("-", "+"):gsub("_", "/"):gsub("=+$", "")
  if text:find("[^%w+/]") or #text % 4 == 1 then return nil end
  return host.unbase64(text .. ("="):rep(-#text % 4))
end

function M.decode_url(s)
  return (s:gsub("+", " "):gsub("%%(%x%x)", function(h) return string.char(tonumber(h, 16)) end))
end

-- "a=1&b=2&a=3" -> { {"a","1"}, {"b","2"}, {"a","3"} }
function M.pairs_of(form)
  local list = {}
  for item in form:gmatch("[^&]+") do
    local k, v = item:match("^([^=]*)=?(.*)$")
    list[#list + 1] = { M.decode_url(k), M.decode_url(v) }
  end
  return list
end

function M.encode_url(s)
  return (s:gsub("[^%w%-%._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

function M.html(s)
  return (s:gsub('[&<>"]', { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }))
end

-- The first `n` bytes of `s`, never cutting inside a UTF-8 character.
function M.cut(s, n)
  if #s <= n then return s end
  while n > 0 and s:byte(n + 1) & 0xC0 == 0x80 do n = n - 1 end
  return s:sub(1, n)
end

local function days_of(y, m, d) -- days since 1970-01-01 of a Gregorian date
  y = m <= 2 and y - 1 or y
  local era = y // 400
  local yoe = y - era * 400
  local doy = (153 * (m + (m > 2 and -3 or 9)) + 2) // 5 + d - 1
  return era * 146097 + yoe * 365 + yoe // 4 - yoe // 100 + doy - 719468
end

local function date_of(days)
  local z = days + 719468
  local era = z // 146097
  local doe = z - era * 146097
  local yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
  local doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
  local mp = (5 * doy + 2) // 153
  local m = mp < 10 and mp + 3 or mp - 9
  return yoe + era * 400 + (m <= 2 and 1 or 0), m, doy - (153 * mp + 2) // 5 + 1
end

-- Seconds (may have a fraction) -> "2026-11-22T10:00:00.000120Z"
function M.stamp(seconds)
  local us = math.floor(seconds * 1e6 + 0.5)
  local s, frac = us // 1000000, us % 1000000
  local y, m, d = date_of(s // 86400)
  s = s % 86400
  return ("%04d-%02d-%02dT%02d:%02d:%02d.%06dZ"):format(y, m, d, s // 3600, s // 60 % 60, s % 60, frac)
end

-- Seconds -> "2026-11-22T10:00:00Z"
function M.instant(seconds) return (M.stamp(seconds):gsub("%.%d+Z$", "Z")) end

-- RFC 3339 text -> microseconds since 1970, or nil. A missing zone reads as UTC.
function M.micros(text)
  local y, m, d, h, mi, s, rest = text:match("^(%d%d%d%d)-(%d%d)-(%d%d)[T ](%d%d):(%d%d):(%d%d)(.*)$")
  if not y then return nil end
  local frac, zone = rest:match("^%.(%d+)(.*)$")
  zone = frac and zone or rest
  frac = tonumber(((frac or "") .. "000000"):sub(1, 6))
  local shift = 0
  if zone ~= "" and zone ~= "Z" and zone ~= "z" then
    local sign, zh, zm = zone:match("^([+-])(%d%d):?(%d%d)$")
    if not sign then return nil end
    shift = (tonumber(zh) * 60 + tonumber(zm)) * 60 * (sign == "+" and -1 or 1)
  end
  y, m, d, h, mi, s = tonumber(y), tonumber(m), tonumber(d), tonumber(h), tonumber(mi), tonumber(s)
  return (((days_of(y, m, d) * 24 + h) * 60 + mi) * 60 + s + shift) * 1000000 + frac
end

local WEEKDAYS = { "Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed" }
local MONTHS = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" }

-- "Mon, 05 Jan 2026 09:00:00 +0000", as mails carry it
function M.mail_date(seconds)
  local s = math.floor(seconds)
  local days = s // 86400
  local y, m, d = date_of(days)
  s = s % 86400
  return ("%s, %02d %s %04d %02d:%02d:%02d +0000"):format(WEEKDAYS[days % 7 + 1], d, MONTHS[m], y, s // 3600,
    s // 60 % 60, s % 60)
end

-- "Mon, 05 Jan 2026 09:00:00 GMT", as HTTP headers carry it
function M.http_date(seconds) return (M.mail_date(seconds):gsub("%+0000$", "GMT")) end

return M
