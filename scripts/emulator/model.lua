-- The emulated model: a table of rules that read the actual messages, the offered tools and the tools'
-- results. Called by openai.lua with a request; gives { text = } or { calls = { {name=, args= or raw=} } }.
-- It must never claim to be a model: its texts say that they are emulated.
local json = require "host.json"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given, is_object, is_array = world_of.given, world_of.is_object, world_of.is_array
local M = {}

local NUMBERS = { one = 1, two = 2, three = 3, four = 4, five = 5, six = 6, seven = 7, eight = 8, nine = 9, ten = 10,
  eleven = 11, twelve = 12 }

-- Reading the conversation ------------------------------------------------------------------------------

function M.text_of(content)
  if type(content) == "string" then return content end
  local out = {}
  for _, part in ipairs(is_array(content) and content or {}) do
    if type(part.text) == "string" then out[#out + 1] = part.text end
  end
  return table.concat(out, "\n")
end

-- What the rules see: question (last user text), results since then ({name, args, content, value}), tools by name.
function M.read(request)
  local view = { request = request, messages = request.messages, question = "", results = {}, called = {}, tools = {},
    names = {} }
  for _, tool in ipairs(request.tools) do
    view.tools[tool.name] = tool
    view.names[#view.names + 1] = tool.name
  end
  local calls = {}
  for _, m in ipairs(request.messages) do
    local said = m.role == "user" and M.text_of(m.content)
    if said and said:find("^%[.*%]$") and view.question ~= "" then -- a host's note, no new question
      view.note = said
    elseif said then
      view.question, view.results, view.called = said, {}, {}
    elseif m.role == "assistant" then
      for _, call in ipairs(given(m.tool_calls) or {}) do
        local f = call["function"] or call.custom or {}
        calls[call.id] = { name = f.name, args = f.arguments or f.input }
        view.called[f.name or ""] = true
      end
    elseif m.role == "tool" then
      local call = calls[m.tool_call_id] or {}
      local content = M.text_of(m.content)
      local value = json.decode(content)
      view.results[#view.results + 1] = { name = call.name or "a tool", args = call.args, content = content,
        value = value }
    end
  end
  view.lower = view.question:lower()
  return view
end

local function says(view, ...)
  for _, word in ipairs { ... } do
    if view.lower:find("%f[%w]" .. word .. "%f[%W]") then return true end
  end
  return false
end

local function first_number(s)
  for word in s:gmatch("[%w%.%-]+") do
    local n = tonumber(word:match("^%-?%d+%.?%d*$")) or NUMBERS[word:lower()]
    if n then return n end
  end
  return nil
end

local function all_numbers(s)
  local list = {}
  for word in s:gmatch("%-?[%w%.]+") do
    local n = tonumber(word:match("^%-?%d+%.%d+$") or word:match("^%-?%d+")) or NUMBERS[word:lower()]
    if n then list[#list + 1] = n end
  end
  return list
end

local function all_quoted(s)
  local list = {}
  s = s:gsub("“", '"'):gsub("”", '"')
  for q in s:gmatch('"([^"]+)"') do list[#list + 1] = q end
  if #list == 0 then
    for q in (" " .. s .. " "):gmatch("%W'([^']+)'%W") do list[#list + 1] = q end
  end
  return list
end

-- Intents: each gives a call { name, args } or nothing. Reads come before writes -------------------------

local READS, WRITES = {}, {}

local function wants_to_send(view)
  return says(view, "send", "write", "reply", "forward", "mail to", "email to") or view.lower:find("mail%s+%S+@") ~= nil
end

local function address_in(s) return s:match("[%w%.%+_%-]+@[%w%-]+%.[%w%.%-]*%w") end

READS[#READS + 1] = function(view)
  if not view.tools.gmail_fetch_mails then return nil end
  if not says(view, "emails?", "e%-mails?", "mails?", "inbox", "unread", "mailbox", "gmail") then return nil end
  local sends = wants_to_send(view) and address_in(view.question)
  if sends and not says(view, "unread", "inbox", "my mails?", "my emails?", "latest", "last", "newest", "recent",
    "summar%w*") then return nil end
  local query = {}
  if says(view, "unread", "new") then query[#query + 1] = "is:unread" end
  local from = view.question:match("[Ff]rom%s+([%w%.%+_%-]+@[%w%.%-]*%w)") or view.question:match("[Ff]rom%s+(%u%l+)")
  if from then query[#query + 1] = "from:" .. from end
  local topic = says(view, "search", "find", "look for") and (all_quoted(view.question)[1]
    or view.question:match("%f[%w]for%s+t?h?e?%s*(.-)%s*[%.%?!]?$")
      or view.question:match("%f[%w]about%s+(.-)%s*[%.%?!]?$"))
  if topic and #topic < 60 then query[#query + 1] = topic:find("%s") and '"' .. topic .. '"' or topic end
  if #query == 0 then query[1] = "in:inbox" end
  local n = first_number(view.question)
  n = n and math.tointeger(n)
  if not n or n < 1 or n > 100 then n = says(view, "last", "latest", "newest") and says(view, "email", "mail") and 1
    or 5 end
  return { name = "gmail_fetch_mails", args = { query = table.concat(query, " "), max_results = n } }
end

local NO_CHANNEL = { the = true, a = true, my = true, our = true, slack = true, on = true, ["in"] = true, to = true,
  this = true }

-- "#ops", "channel ops", "the ops channel"; general when none is named.
local function channel_in(view)
  local named = view.question:match("#([%w_%-]+)")
  for _, pattern in ipairs { "channel%s+([%w_%-]+)", "([%w_%-]+)%s+channel" } do
    local word = view.lower:match(pattern)
    if not named and word and not NO_CHANNEL[word] then named = word end
  end
  return named or "general"
end

local function posts(view) return says(view, "post", "send", "share", "announce", "tell", "write", "say") end

local function means_slack(view) return says(view, "slack") or view.question:find("#%a") ~= nil end

READS[#READS + 1] = function(view)
  if not means_slack(view) or posts(view) then return nil end
  if view.tools.slack_list_channels and says(view, "channels") then
    return { name = "slack_list_channels", args = {} } end
  if not view.tools.slack_fetch_conversation_history then return nil end
  local channel = channel_in(view)
  return { name = "slack_fetch_conversation_history",
    args = { channel = channel, limit = math.tointeger(first_number(view.question) or 5) or 5 } }
end

local function repo_in(view)
  local owner, repo = view.question:match("%f[%w]([%w_%-]+)/([%w_%.%-]*%w)")
  return owner or "northwind", repo or "billing"
end

local function opens_issue(view)
  return says(view, "issue", "ticket") and says(view, "create", "open a", "open an", "file", "report", "new issue")
end

READS[#READS + 1] = function(view)
  local owner, repo = repo_in(view)
  if view.tools.github_pull_requests_list and says(view, "pull requests?", "prs?") then
    return { name = "github_pull_requests_list", args = { owner = owner, repo = repo, state = "open" } }
  end
  if view.tools.github_issues_list and says(view, "issues?") and not opens_issue(view) then
    return { name = "github_issues_list", args = { owner = owner, repo = repo, state = "open" } }
  end
  if view.tools.github_user_repos_list and says(view, "repos", "repositories") then
    return { name = "github_user_repos_list", args = {} }
  end
  return nil
end

WRITES[#WRITES + 1] = function(view, summary)
  local to = view.tools.gmail_send_message and wants_to_send(view) and address_in(view.question)
  if not to then return nil end
  local quoted = all_quoted(view.question)
  local subject = view.question:match("[Ss]ubject:?%s+[\"“']([^\"”']+)") or view.lower:match("about%s+(.-)[%.,\n]")
    or view.lower:match("about%s+(.+)$")
  local body = quoted[#quoted]
  if body == subject then body = nil end
  return { name = "gmail_send_message", args = { to = to, subject = subject or "A message from the emulator",
    body = body or summary or view.question } }
end

WRITES[#WRITES + 1] = function(view, summary)
  if not view.tools.slack_send_message or not means_slack(view) or not posts(view) then return nil end
  local channel = channel_in(view)
  local body = all_quoted(view.question)[1]
  return { name = "slack_send_message", args = { channel = channel, text = body or summary or view.question } }
end

WRITES[#WRITES + 1] = function(view, summary)
  if not view.tools.github_issue_create or not opens_issue(view) then return nil end
  local owner, repo = repo_in(view)
  local quoted = all_quoted(view.question)
  local title = quoted[1] or view.question:match("[Tt]itled?:?%s+(.-)[%.\n]")
    or view.question:match("issue%s+for%s+(.-)%.?$") or view.question:match("issue%s+about%s+(.-)%.?$") or view.question
  title = text.cut(title, 80)
  return { name = "github_issue_create", args = { owner = owner, repo = repo, title = title,
    body = quoted[2] or summary or view.question } }
end

-- Tools of the user's own: words of the name and the description against the question --------------------

local STOP = {}
for word in ("the and for with from this that what which your you have has are can could would will please give "
  .. "tell show me my "
  .. "into onto about its it's get use using call tool tools function returns return given some any all how much "
  .. "many"):gmatch("%S+") do
  STOP[word] = true
end

local function words_of(s, least)
  local set, n = {}, 0
  for word in s:gsub("(%l)(%u)", "%1 %2"):lower():gmatch("%a+") do
    if #word >= least and not STOP[word] and not set[word] then
      set[word] = true
      n = n + 1
    end
  end
  return set, n
end

local function stem(word) return #word > 3 and word:gsub("s$", "") or word end

-- As many numbers in the question as the tool needs, two at least: "what is 17 plus 25?"
local function fits_numbers(view, tool)
  local schema, n = is_object(tool.parameters) and tool.parameters or {}, 0
  for _, name in ipairs(given(schema.required) or {}) do
    local property = (given(schema.properties) or {})[name]
    local kind = is_object(property) and property.type
    if kind ~= "number" and kind ~= "integer" then return false end
    n = n + 1
  end
  return n >= 2 and n == #all_numbers(view.question)
end

local function score(view, tool)
  local asked = {}
  for word in pairs((words_of(view.question, 2))) do asked[stem(word)] = true end
  local points = 0
  for word in pairs((words_of(tool.name:gsub("_", " "), 2))) do
    if asked[stem(word)] then points = points + 2 end
  end
  for word in pairs((words_of(tool.description or "", 4))) do
    if asked[stem(word)] then points = points + 1 end
  end
  if points < 2 and fits_numbers(view, tool) then points = 2 end
  return points
end

local function type_of(schema)
  local kind = schema.type
  if is_array(kind) then
    for _, k in ipairs(kind) do
      if k ~= "null" then return k end
    end
  end
  return kind
end

local fill_object

local function fill_value(schema, required, pool)
  local kind = type_of(schema)
  if is_array(schema.enum) then
    for _, v in ipairs(schema.enum) do
      if type(v) == "string" and pool.lower:find(v:lower(), 1, true) then return v end
    end
    return required and schema.enum[1] or nil
  elseif kind == "integer" or kind == "number" then
    local n = table.remove(pool.numbers, 1)
    if n and kind == "integer" then n = math.floor(n) end
    return n or (required and 1 or nil)
  elseif kind == "boolean" then
    return required and true or nil
  elseif kind == "array" then
    if not required then return nil end
    local items, list = type_of(schema.items or {}), json.array {}
    if items == "number" or items == "integer" then
      while #pool.numbers > 0 do list[#list + 1] = table.remove(pool.numbers, 1) end
    else
      for _, q in ipairs(pool.quoted) do list[#list + 1] = q end
    end
    return list
  elseif kind == "object" then
    return required and fill_object(schema, pool) or nil
  end
  -- a string: what is quoted, a place or name after in/for/of, else the whole text
  local quoted = table.remove(pool.quoted, 1)
  if quoted then return quoted end
  if not required then return nil end
  return table.remove(pool.names, 1) or pool.text
end

function fill_object(schema, pool)
  local out, required = {}, {}
  for _, name in ipairs(given(schema.required) or {}) do required[name] = true end
  local names = {}
  for name in pairs(given(schema.properties) or {}) do names[#names + 1] = name end
  table.sort(names, function(a, b)
    if (required[a] or false) ~= (required[b] or false) then return required[a] or false end
    return a < b
  end)
  for i, name in ipairs(given(schema.required) or {}) do names[i] = name end -- in the order the schema lists them
  for _, name in ipairs(names) do
    local property = schema.properties and schema.properties[name]
    if is_object(property) then out[name] = pool.known[name] or fill_value(property, required[name], pool) end
  end
  return out
end

-- Arguments for a tool, from the text.
function M.fill(tool, question)
  local names = {}
  for name in question:gmatch("%f[%w][iof][nfo]r?%s+(%u[%w%-]+)") do names[#names + 1] = name end
  local known = {} -- "acme/shop" is a repository
  known.owner, known.repo = question:match("%f[%w]([%w_%-]+)/([%w_%.%-]*%w)")
  return fill_object(is_object(tool.parameters) and tool.parameters or {}, { known = known,
    numbers = all_numbers(question), quoted = all_quoted(question), names = names, lower = question:lower(),
      text = question,
  })
end

local function best_tool(view)
  local best, points
  for _, name in ipairs(view.names) do
    local p = score(view, view.tools[name])
    if not points or p > points then best, points = view.tools[name], p end
  end
  return best, points or 0
end

-- Telling results ---------------------------------------------------------------------------------------

local function header(mail, name)
  local headers = given(mail.headers) or (is_object(mail.payload) and mail.payload.headers) or {}
  for _, h in ipairs(headers) do
    if is_object(h) and type(h.name) == "string" and h.name:lower() == name then return h.value end
  end
  for k, v in pairs(headers) do
    if type(k) == "string" and k:lower() == name then return v end
  end
  return given(mail[name])
end

-- A list under one of `names`, at most four levels down.
local function find_list(value, names, depth)
  if type(value) ~= "table" or value == json.null or depth > 4 then return nil end
  for _, name in ipairs(names) do
    if is_array(value[name]) then return value[name] end
  end
  local keys = {}
  for k, v in pairs(value) do
    if type(k) == "string" and is_object(v) then keys[#keys + 1] = k end
  end
  table.sort(keys)
  for _, k in ipairs(keys) do
    local list = find_list(value[k], names, depth + 1)
    if list then return list end
  end
  return nil
end

M.header = header

-- The first list of objects in a value, at most four levels down; nil: there is none.
function M.find_objects(value, depth)
  depth = depth or 1
  if type(value) ~= "table" or value == json.null or depth > 4 then return nil end
  if is_array(value) then return is_object(value[1]) and value or nil end
  local keys = {}
  for k in pairs(value) do keys[#keys + 1] = k end
  table.sort(keys)
  for _, k in ipairs(keys) do
    local list = M.find_objects(value[k], depth + 1)
    if list then return list end
  end
  return nil
end

local function one_line(s, n) return text.cut((tostring(s):gsub("%s+", " ")), n) end

local function plural(n, word) return ("%d %s%s"):format(n, word, n == 1 and "" or "s") end

local function tell_mails(result)
  local list = find_list(result.value, { "messages" }, 1)
  if not list or (list[1] and not header(list[1], "subject")) then return nil end
  local query = type(result.args) == "string" and result.args or ""
  local kind = query:find("is:unread", 1, true) and "unread email" or "email"
  if #list == 0 then return ("You have no %ss."):format(kind) end
  local out = { ("Here are your %s:"):format(plural(#list, kind)) }
  if #list == 1 then out[1] = ("Here is 1 %s:"):format(kind) end
  for i, mail in ipairs(list) do
    local from = (header(mail, "from") or "unknown"):gsub("%s*<[^>]*>", "")
    out[#out + 1] = ("%d. %s, from %s: %s"):format(i, header(mail, "subject"), from,
      one_line(given(mail.snippet) or "", 120))
  end
  return table.concat(out, "\n")
end

local function tell_slack(result)
  if not is_object(result.value) then return nil end
  if result.name:find("^slack_send") then
    return ("Posted to Slack (channel %s, message %s)."):format(tostring(result.value.channel),
      tostring(result.value.ts))
  end
  local messages, channels = find_list(result.value, { "messages" }, 1), find_list(result.value, { "channels" }, 1)
  local out = {}
  if result.name == "slack_fetch_conversation_history" and messages then
    out[1] = plural(#messages, "Slack message") .. ":"
    for i, m in ipairs(messages) do out[#out + 1] = ("%d. %s"):format(i, one_line(m.text, 120)) end
  elseif channels then
    out[1] = plural(#channels, "Slack channel") .. ":"
    for i, c in ipairs(channels) do out[#out + 1] = ("%d. #%s"):format(i, c.name) end
  end
  return #out > 0 and table.concat(out, "\n") or nil
end

local function tell_github(result)
  local v = result.value
  if not is_object(v) or not result.name:find("^github_") then return nil end
  if given(v.number) and given(v.title) then
    return ("Issue #%s “%s” is %s: %s"):format(tostring(v.number), v.title, tostring(v.state), tostring(v.html_url))
  end
  local list = find_list(v, { "issues", "items", "pull_requests", "repositories" }, 1)
  if not list then return nil end
  local out = { plural(#list, "GitHub entry"):gsub("entrys$", "entries") .. ":" }
  for i, item in ipairs(list) do
    out[#out + 1] = given(item.number) and ("%d. #%d %s"):format(i, item.number, item.title)
      or ("%d. %s"):format(i, item.full_name)
  end
  return table.concat(out, "\n")
end

local function tell_sent(result)
  if result.name ~= "gmail_send_message" or not is_object(result.value) then return nil end
  local args = type(result.args) == "string" and json.decode(result.args) or {}
  return ("The email to %s was sent."):format(tostring(is_object(args) and args.to or "the receiver"))
end

local function failure_of(result)
  local v = result.value
  if is_object(v) then
    local e = given(v.error)
    if e then
      if is_object(e) then return given(e.message) or json.encode(e) end
      return tostring(e)
    end
    if v.ok == false then return "it answered ok=false" end
  elseif v == nil and result.content:find("^%s*[Ee]rror") then
    return result.content
  end
  return nil
end

local function tell(result)
  local failed = failure_of(result)
  if failed then return ("The tool %s failed: %s"):format(result.name, one_line(failed, 300)) end
  local known = tell_sent(result) or tell_mails(result) or tell_slack(result) or tell_github(result)
  if known then return known end
  return ("%s answered: %s"):format(result.name, one_line(result.content, 400))
end

local NOTE = "\n(Written by agenthost's emulator from the tools' real results; no model was asked.)"

local function summary_of(view)
  local out = {}
  for _, result in ipairs(view.results) do out[#out + 1] = tell(result) end
  return table.concat(out, "\n\n")
end

-- The rules, in order -----------------------------------------------------------------------------------

M.RULES = {}

-- "call NAME with {json}" names the call; tests live on this.
M.RULES[#M.RULES + 1] = { name = "explicit", answer = function(view)
  if #view.results > 0 then return nil end
  local calls, at = {}, 1
  while true do
    local s, e, name = view.question:find("[Cc]all%s+([%w_%.%-]+)%s+with%s+", at)
    if not s then break end
    local raw = view.question:match("^%b{}", e + 1) or "{}"
    calls[#calls + 1] = { name = name, raw = raw }
    at = e + math.max(#raw, 1)
  end
  return #calls > 0 and { calls = calls } or nil
end }

M.RULES[#M.RULES + 1] = { name = "repeat",
  answer = function(view) -- "call NAME with {} 30 times": loops, for tests of limits
  local name, times = view.question:match("[Kk]eep%s+calling%s+([%w_%.%-]+)"),
    tonumber(view.question:match("(%d+)%s+times"))
  if not name or #view.results >= (times or math.huge) then return nil end
  return { calls = { { name = name, args = view.tools[name] and M.fill(view.tools[name], "") or {} } } }
end }

M.RULES[#M.RULES + 1] = { name = "services", answer = function(view)
  for _, result in ipairs(view.results) do
    if failure_of(result) then return nil end
  end
  local calls = {}
  for _, intent in ipairs(READS) do
    local call = intent(view)
    if call and not view.called[call.name] then calls[#calls + 1] = call end
  end
  if #calls > 0 then return { calls = calls } end
  local summary = #view.results > 0 and summary_of(view) or nil
  for _, intent in ipairs(WRITES) do
    local call = intent(view, summary)
    if call and not view.called[call.name] then calls[#calls + 1] = call end
  end
  return #calls > 0 and { calls = calls } or nil
end }

M.RULES[#M.RULES + 1] = { name = "results", answer = function(view)
  return #view.results > 0 and { text = summary_of(view) .. NOTE } or nil
end }

M.RULES[#M.RULES + 1] = { name = "own tools", answer = function(view)
  local tool, points = best_tool(view)
  if not tool or points < 2 then return nil end
  return { calls = { { name = tool.name, args = M.fill(tool, view.question) } } }
end }

M.RULES[#M.RULES + 1] = { name = "echo", answer = function(view)
  local n = #view.names
  local offered = n == 0 and "no tool was offered" or ("none of the %s fits"):format(plural(n, "offered tool"))
  return { text = ("You asked: “%s”\nThis is agenthost's emulator, not a model: %s, so there is nothing more to "
    .. "say."):format(
    one_line(view.question, 300), offered) }
end }

local function said_by(speak, view)
  local answer = speak and speak(view)
  return type(answer) == "string" and { text = answer } or answer or nil
end

-- Answer to a request { messages, tools, choice = "auto" | "none" | "required" | name }, with a scenario's rules first,
-- and before them what it says for this model (`voice`).
function M.answer(request, scenario, voice)
  local view = M.read(request)
  if request.choice == "none" then view.tools, view.names = {}, {} end
  local forced = view.tools[request.choice]
  if forced then return { calls = { { name = forced.name, args = M.fill(forced, view.question) } }, forced = true } end
  local own = said_by(voice, view) or said_by(scenario.model, view)
  if own then return own end
  for _, rule in ipairs(scenario.rules) do
    local matched = not rule.when or (type(rule.when) == "string" and view.lower:find(rule.when:lower(), 1, true)
      and #view.results == 0)
      or (type(rule.when) == "function" and rule.when(view))
    if matched then
      local answer = rule.answer
      if type(answer) == "function" then answer = answer(view) end
      if type(answer) == "string" then answer = { text = answer } end
      if answer then return answer end
    end
  end
  local answer
  for _, rule in ipairs(M.RULES) do
    answer = rule.answer(view)
    if answer then break end
  end
  if request.choice == "none" then
    answer.calls = nil
    answer.text = answer.text or "The emulator may not call a tool here."
  end
  if request.choice == "required" and not answer.calls then
    local tool = best_tool(view)
    answer = { calls = { { name = tool.name, args = M.fill(tool, view.question) } }, forced = false }
  end
  return answer
end

return M
