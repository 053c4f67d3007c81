-- An answer of the model as the chunks of a stream, in the service's order and byte for byte; and the odd
-- orders that other servers send, when a trouble asks for one. Called by openai.lua. Bytes and line ends are
-- bend.lua's.
local json = require "host.json"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given = world_of.given
local M = {}

local function quote(v) return assert(json.encode(v)) end

local function pieces(s, pattern, size)
  local list = {}
  if pattern then
    for piece in s:gmatch(pattern) do list[#list + 1] = piece end
  else
    while #s > 0 do
      local piece = text.cut(s, size)
      list[#list + 1] = piece
      s = s:sub(#piece + 1)
    end
  end
  return list
end

-- The deltas of one call: its opening, then fragments of its arguments.
local function call_deltas(call, k, has)
  local f, out = call["function"], {}
  local index = has "no_index" and "" or ('"index":%d,'):format(has "same_index" and 0 or k)
  local function add(members) out[#out + 1] = ('"tool_calls":[{%s%s}]'):format(index, members) end
  local id = quote(call.id)
  if has "object_arguments" then
    add(('"id":%s,"type":"function","function":{"name":%s,"arguments":%s}'):format(id, quote(f.name), f.arguments))
    return out
  end
  local parts = pieces(f.arguments, nil, 14)
  if has "one_chunk_calls" or has "no_index" then
    add(('"id":%s,"type":"function","function":{"name":%s,"arguments":%s}'):format(id, quote(f.name),
      quote(f.arguments)))
    return out
  end
  if has "split_name" and #f.name > 1 then
    local half = #f.name // 2
    add(('"id":%s,"type":"function","function":{"name":%s,"arguments":""}'):format(id, quote(f.name:sub(1, half))))
    add(('"function":{"name":%s}'):format(quote(f.name:sub(half + 1))))
  else
    add(('"id":%s,"type":"function","function":{"name":%s,"arguments":""}'):format(id, quote(f.name)))
  end
  for _, piece in ipairs(parts) do
    local again = has "repeated_id" and ('"id":%s,"type":"function",'):format(id) or ""
    add(('%s"function":{"arguments":%s}'):format(again, quote(piece)))
  end
  return out
end

-- All calls: one after another, or turn by turn.
local function all_calls(calls, has)
  local lists, out = {}, {}
  for k, call in ipairs(calls) do lists[k] = call_deltas(call, k - 1, has) end
  if not has "interleaved" then
    for _, list in ipairs(lists) do table.move(list, 1, #list, #out + 1, out) end
    return out
  end
  local at, more = 1, true
  while more do
    more = false
    for _, list in ipairs(lists) do
      if list[at] then
        out[#out + 1] = list[at]
        more = true
      end
    end
    at = at + 1
  end
  return out
end

local MESSAGE = "The server had an error while processing your request (emulated)."

-- The error event in the forms that were seen in the wild.
local function error_event(form, message)
  message = message or MESSAGE
  local object = ('{"error":{"message":%s,"type":"server_error","param":null,"code":null}}'):format(quote(message))
  if form == "named" then return "event: error\ndata: " .. object .. "\n\n" end
  if form == "detail" then return ('data: {"detail":%s}\n\n'):format(quote(message)) end
  if form == "text" then return ('data: {"error":%s}\n\n'):format(quote(message)) end
  return "data: " .. object .. "\n\n"
end
M.error_event = error_event

local FIRST_OF_AZURE = 'data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":'
  .. '[{"prompt_index":0,"content_filter_results":{}}]}\n\n'

-- answer: { head =, message =, finish =, usage = }; has(kind): whether a trouble asks for it. Chunks are written
-- key by key, so that streams can be compared byte by byte.
function M.chunks(answer, body, has, trouble)
  local options = given(body.stream_options) or {}
  local usage_wanted = (options.include_usage or has "usage_always") and not has "no_usage"
  local tail = options.include_usage and ',"usage":null' or ""
  if has "usage_everywhere" then tail = ',"usage":' .. quote(answer.usage) end
  if has "obfuscation" then tail = tail .. ',"obfuscation":"' .. ("x"):rep(7) .. '"' end
  local chunks, message = {}, answer.message
  local function data(rest) chunks[#chunks + 1] = ("data: {%s,%s}\n\n"):format(answer.head, rest) end
  local function delta(index, members, reason)
    local end_tail = reason and has "usage_on_finish" and ',"usage":' .. quote(answer.usage) or tail
    data(('"choices":[{"index":%d,"delta":{%s},"logprobs":null,"finish_reason":%s}]%s'):format(index, members,
      reason or "null", end_tail))
  end
  if has "empty_choices" then chunks[1] = FIRST_OF_AZURE end
  for index = 0, math.tointeger(given(body.n) or 1) - 1 do
    local content = message.content ~= json.null and message.content or nil
    delta(index, ('"role":"assistant","content":%s,"refusal":null'):format(content and '""' or "null"))
    for _, piece in ipairs(content and pieces(content, "%s*%S+%s*") or {}) do
      delta(index, '"content":' .. quote(piece))
    end
    if message.refusal ~= json.null then delta(index, '"refusal":' .. quote(message.refusal)) end
    for _, members in ipairs(all_calls(message.tool_calls or {}, has)) do delta(index, members) end
    if has "error_event" then
      chunks[#chunks + 1] = error_event(trouble.form, trouble.message or answer.error_text)
      return chunks
    end
    if not has "no_finish" then delta(index, "", has "odd_finish" and '"end_turn"' or quote(answer.finish)) end
  end
  if usage_wanted and not has "usage_on_finish" then data('"choices":[],"usage":' .. quote(answer.usage)) end
  if not has "no_done" then chunks[#chunks + 1] = "data: [DONE]\n\n" end
  return chunks
end

return M
