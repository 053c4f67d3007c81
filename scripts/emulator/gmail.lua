-- An emulated mailbox behind Scalekit's gmail tools: fields are Gmail's (camelCase), the data change when a
-- tool writes. Called by scalekit.lua through the table of actions; must never refuse what Gmail would take.
local json = require "host.json"
local settings = require "emulator.gmail_settings"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given = world_of.given
local M = {}

local SYSTEM_LABELS = { "CHAT", "DRAFT", "IMPORTANT", "INBOX", "SENT", "SPAM", "STARRED", "TRASH", "UNREAD" }

local function fail(status, message) return nil, { status = status, message = message } end
local function missing(what) return fail(404, "Requested entity was not found: " .. what) end

local function has_label(mail, label)
  for _, l in ipairs(mail.labels) do
    if l == label then return true end
  end
  return false
end

local function add_label(mail, label)
  if not has_label(mail, label) then mail.labels[#mail.labels + 1] = label end
end

local function drop_label(mail, label)
  for i = #mail.labels, 1, -1 do
    if mail.labels[i] == label then table.remove(mail.labels, i) end
  end
end

local function snippet_of(mail) return text.cut((mail.body:gsub("%s+", " ")), 180) end

local function show(mail, format)
  local headers = json.array {
    { name = "From", value = mail.from }, { name = "To", value = mail.to }, { name = "Subject", value = mail.subject },
    { name = "Date", value = text.mail_date(mail.at) },
      { name = "Message-ID", value = "<" .. mail.id .. "@emulator.example>" },
  }
  if mail.cc then table.insert(headers, 3, { name = "Cc", value = mail.cc }) end
  local labels = json.array {}
  for i, l in ipairs(mail.labels) do labels[i] = l end
  table.sort(labels)
  local out = {
    id = mail.id, messageId = mail.id, threadId = mail.thread, labelIds = labels, snippet = snippet_of(mail),
    internalDate = ("%d"):format(mail.at * 1000), historyId = ("%d"):format(mail.history),
      sizeEstimate = #mail.body + 512,
  }
  if format ~= "minimal" then
    out.payload = { mimeType = "text/plain", filename = "", headers = headers, partId = "" }
    if format ~= "metadata" then
      local data = text.base64(mail.body):gsub("+", "-"):gsub("/", "_")
      out.payload.body = { size = #mail.body, data = data }
    end
  end
  return out
end

-- Gmail's search: is: in: from: to: subject: label: has:attachment, -word, "two words", words.
local function parse_query(query)
  local terms = {}
  for minus, key, value in (query .. " "):gmatch('(%-?)([%w]*:?)("?[^"%s]*[^"]-"?)%s') do
    value = value:gsub('"', "")
    if key:sub(-1) ~= ":" then key, value = "", key .. value end
    if value ~= "" then terms[#terms + 1] = { no = minus == "-", key = key:sub(1, -2):lower(),
      value = value:lower() } end
  end
  return terms
end

local function contains(haystack, needle) return haystack:lower():find(needle, 1, true) ~= nil end

local function fits(mail, term)
  local key, v = term.key, term.value
  if key == "is" then
    if v == "read" then return not has_label(mail, "UNREAD") end
    return has_label(mail, v:upper())
  elseif key == "in" or key == "label" then
    return v == "anywhere" or has_label(mail, v:upper()) or has_label(mail, v)
  elseif key == "from" then
    return contains(mail.from, v)
  elseif key == "to" then
    return contains(mail.to, v)
  elseif key == "subject" then
    return contains(mail.subject, v)
  elseif key == "has" then
    return v == "attachment" and mail.attachments ~= nil
  elseif key ~= "" then
    return true -- older_than, newer_than, after…: the emulated mails are all of one week
  end
  return contains(mail.from .. " " .. mail.subject .. " " .. mail.body, v)
end

local function search(box, p)
  local terms = parse_query(given(p.query) or "")
  local everywhere = given(p.include_spam_trash)
  for _, t in ipairs(terms) do
    if t.key == "in" and (t.value == "trash" or t.value == "anywhere" or t.value == "spam") then everywhere = true end
  end
  local found = {}
  for _, mail in ipairs(box.mails) do
    local keep = everywhere or not (has_label(mail, "TRASH") or has_label(mail, "SPAM"))
    keep = keep and not has_label(mail, "DRAFT")
    for _, label in ipairs(given(p.label_ids) or {}) do keep = keep and has_label(mail, label) end
    for _, term in ipairs(terms) do keep = keep and fits(mail, term) ~= term.no end
    if keep then found[#found + 1] = mail end
  end
  table.sort(found, function(a, b)
    if a.at ~= b.at then return a.at > b.at end
    return a.id < b.id
  end)
  return found
end

local function page(list, p, default)
  local n = math.tointeger(given(p.max_results) or default) or default
  n = math.max(1, math.min(n, 500))
  local start = math.tointeger(tonumber(given(p.page_token) or "0")) or 0
  local rows = json.array {}
  for i = start + 1, math.min(start + n, #list) do rows[#rows + 1] = list[i] end
  local following = start + n < #list and tostring(start + n) or nil
  return rows, following
end

local function find(box, id)
  for i, mail in ipairs(box.mails) do
    if mail.id == id then return mail, i end
  end
  return nil
end

local function thread(box, id)
  local list = {}
  for _, mail in ipairs(box.mails) do
    if mail.thread == id then list[#list + 1] = mail end
  end
  table.sort(list, function(a, b) return a.at < b.at end)
  return #list > 0 and list or nil
end

local function new_mail(box, p, labels)
  box.history = box.history + 1
  local id = "19b" .. box.world:hex(13)
  local mail = {
    id = id, thread = given(p.thread_id) or id, from = box.address, to = given(p.to) or "", cc = given(p.cc),
    bcc = given(p.bcc), subject = given(p.subject) or "", body = given(p.body) or "", at = math.floor(box.world:now()),
    labels = labels, history = box.history,
  }
  box.mails[#box.mails + 1] = mail
  return mail
end

local function sent(box, mail)
  box.outbox[#box.outbox + 1] = { id = mail.id, thread_id = mail.thread, to = mail.to, cc = mail.cc, bcc = mail.bcc,
    subject = mail.subject, body = mail.body }
  return { id = mail.id, threadId = mail.thread, labelIds = json.array { "SENT" } }
end

local function relabel(box, mail, p)
  for _, l in ipairs(given(p.add_label_ids) or {}) do add_label(mail, l) end
  for _, l in ipairs(given(p.remove_label_ids) or {}) do drop_label(mail, l) end
  box.history = box.history + 1
  mail.history = box.history
end

local function reading_tools(box, tools)
  function tools.gmail_fetch_mails(p)
    local found = search(box, p)
    local rows, following = page(found, p, 10)
    local format = given(p.format) or "full"
    for i, mail in ipairs(rows) do rows[i] = show(mail, format) end
    return { messages = rows, resultSizeEstimate = #found, nextPageToken = following }
  end
  function tools.gmail_get_message_by_id(p)
    local mail = find(box, p.message_id)
    if not mail then return missing(p.message_id) end
    return show(mail, given(p.format) or "full")
  end
  function tools.gmail_list_threads(p)
    local seen, list = {}, {}
    for _, mail in ipairs(search(box, p)) do
      if not seen[mail.thread] then
        seen[mail.thread] = true
        list[#list + 1] = { id = mail.thread, snippet = snippet_of(mail), historyId = ("%d"):format(mail.history) }
      end
    end
    local rows, following = page(list, p, 10)
    return { threads = rows, resultSizeEstimate = #list, nextPageToken = following }
  end
  function tools.gmail_get_thread_by_id(p)
    local list = thread(box, p.thread_id)
    if not list then return missing(p.thread_id) end
    local rows = json.array {}
    for i, mail in ipairs(list) do rows[i] = show(mail, given(p.format) or "full") end
    return { id = p.thread_id, messages = rows, historyId = ("%d"):format(box.history) }
  end
  function tools.gmail_get_profile()
    local threads, n = {}, 0
    for _, mail in ipairs(box.mails) do
      if not threads[mail.thread] then n = n + 1 end
      threads[mail.thread] = true
    end
    return { emailAddress = box.address, messagesTotal = #box.mails, threadsTotal = n,
      historyId = ("%d"):format(box.history) }
  end
  function tools.gmail_get_attachment_by_id(p)
    local mail = find(box, p.message_id)
    for _, a in ipairs(mail and mail.attachments or {}) do
      if a.id == p.attachment_id then
        return { attachmentId = a.id, size = #a.text, data = (text.base64(a.text):gsub("+", "-"):gsub("/", "_")) }
      end
    end
    return missing(p.attachment_id)
  end
  function tools.gmail_list_history(p)
    local rows = json.array {}
    for _, mail in ipairs(box.mails) do
      if mail.history > (tonumber(p.start_history_id) or 0) then
        rows[#rows + 1] = { id = ("%d"):format(mail.history),
          messages = json.array { { id = mail.id, threadId = mail.thread } } }
      end
    end
    return { history = rows, historyId = ("%d"):format(box.history) }
  end
end

local function writing_tools(box, tools)
  function tools.gmail_send_message(p)
    if not p.to:find("@", 1, true) then return fail(400, "Invalid To header") end
    return sent(box, new_mail(box, p, { "SENT" }))
  end
  function tools.gmail_reply_to_thread(p)
    local list = thread(box, p.thread_id)
    if not list then return missing(p.thread_id) end
    p.subject = given(p.subject) or ("Re: " .. list[1].subject:gsub("^Re: ", ""))
    return sent(box, new_mail(box, p, { "SENT" }))
  end
  function tools.gmail_modify_message_labels(p)
    local mail = find(box, p.message_id)
    if not mail then return missing(p.message_id) end
    relabel(box, mail, p)
    return show(mail, "minimal")
  end
  function tools.gmail_modify_thread_labels(p)
    local list = thread(box, p.thread_id)
    if not list then return missing(p.thread_id) end
    for _, mail in ipairs(list) do relabel(box, mail, p) end
    return { id = p.thread_id }
  end
  function tools.gmail_batch_modify_messages(p)
    for _, id in ipairs(p.message_ids) do
      local mail = find(box, id)
      if mail then relabel(box, mail, p) end
    end
    return {}
  end
  local function bin(add, remove)
    return function(p)
      local list = p.thread_id and thread(box, p.thread_id) or { find(box, p.message_id) }
      if #list == 0 then return missing(p.thread_id or p.message_id) end
      for _, mail in ipairs(list) do relabel(box, mail, { add_label_ids = add, remove_label_ids = remove }) end
      return p.thread_id and { id = p.thread_id } or show(list[1], "minimal")
    end
  end
  tools.gmail_trash_message, tools.gmail_trash_thread = bin({ "TRASH" }, { "INBOX" }), bin({ "TRASH" }, { "INBOX" })
  tools.gmail_untrash_message, tools.gmail_untrash_thread = bin({ "INBOX" }, { "TRASH" }), bin({ "INBOX" }, { "TRASH" })
  local function delete(id)
    local mail, i = find(box, id)
    if mail then table.remove(box.mails, i) end
    return mail
  end
  function tools.gmail_delete_message(p)
    if not delete(p.message_id) then return missing(p.message_id) end
    return {}
  end
  function tools.gmail_delete_thread(p)
    local list = thread(box, p.thread_id)
    if not list then return missing(p.thread_id) end
    for _, mail in ipairs(list) do delete(mail.id) end
    return {}
  end
  function tools.gmail_batch_delete_messages(p)
    for _, id in ipairs(p.message_ids) do delete(id) end
    return {}
  end
end

local function draft_tools(box, tools)
  local function show_draft(draft) return { id = draft.id, message = show(draft.mail, "full") } end
  function tools.gmail_create_draft(p)
    local draft = { id = "r" .. box.world:digits(16), mail = new_mail(box, p, { "DRAFT" }) }
    box.drafts[#box.drafts + 1] = draft
    return show_draft(draft)
  end
  local function find_draft(id)
    for i, draft in ipairs(box.drafts) do
      if draft.id == id then return draft, i end
    end
    return nil
  end
  function tools.gmail_list_drafts(p)
    local rows, following = page(box.drafts, p, 10)
    for i, d in ipairs(rows) do rows[i] = { id = d.id, message = { id = d.mail.id, threadId = d.mail.thread } } end
    return { drafts = rows, resultSizeEstimate = #box.drafts, nextPageToken = following }
  end
  function tools.gmail_get_draft(p)
    local draft = find_draft(p.draft_id)
    if not draft then return missing(p.draft_id) end
    return show_draft(draft)
  end
  function tools.gmail_update_draft(p)
    local draft = find_draft(p.draft_id)
    if not draft then return missing(p.draft_id) end
    draft.mail.to, draft.mail.subject, draft.mail.body = p.to, p.subject, p.body
    return show_draft(draft)
  end
  function tools.gmail_send_draft(p)
    local draft, i = find_draft(p.draft_id)
    if not draft then return missing(p.draft_id) end
    table.remove(box.drafts, i)
    drop_label(draft.mail, "DRAFT")
    add_label(draft.mail, "SENT")
    return sent(box, draft.mail)
  end
  function tools.gmail_delete_draft(p)
    local draft, i = find_draft(p.draft_id)
    if not draft then return missing(p.draft_id) end
    table.remove(box.drafts, i)
    local _, at = find(box, draft.mail.id)
    if at then table.remove(box.mails, at) end
    return {}
  end
end

local function setting_tools(box, tools)
  function tools.gmail_list_labels()
    local rows = json.array {}
    for _, name in ipairs(SYSTEM_LABELS) do rows[#rows + 1] = { id = name, name = name, type = "system" } end
    for _, label in ipairs(box.labels) do rows[#rows + 1] = label end
    return { labels = rows }
  end
  local function find_label(id)
    for i, label in ipairs(box.labels) do
      if label.id == id then return label, i end
    end
    return nil
  end
  function tools.gmail_create_label(p)
    for _, label in ipairs(box.labels) do
      if label.name == p.name then return fail(409, "Label name exists or conflicts") end
    end
    local label = { id = ("Label_%d"):format(#box.labels + 1), name = p.name, type = "user" }
    box.labels[#box.labels + 1] = label
    return label
  end
  function tools.gmail_get_label(p)
    for _, name in ipairs(SYSTEM_LABELS) do
      if name == p.label_id then return { id = name, name = name, type = "system" } end
    end
    local label = find_label(p.label_id)
    if not label then return missing(p.label_id) end
    return label
  end
  function tools.gmail_update_label(p)
    local label = find_label(p.label_id)
    if not label then return missing(p.label_id) end
    label.name = given(p.name) or label.name
    return label
  end
  function tools.gmail_delete_label(p)
    local label, i = find_label(p.label_id)
    if not label then return missing(p.label_id) end
    table.remove(box.labels, i)
    return {}
  end
  local function person(c) return { names = json.array { { displayName = c.name } },
    emailAddresses = json.array { { value = c.email } } } end
  function tools.gmail_get_contacts(p)
    local rows, following = page(box.contacts, p, 100)
    for i, c in ipairs(rows) do rows[i] = person(c) end
    return { connections = rows, totalItems = #box.contacts, nextPageToken = following }
  end
  function tools.gmail_search_people(p)
    local rows = json.array {}
    for _, c in ipairs(box.contacts) do
      if contains(c.name .. " " .. c.email, p.query:lower()) then rows[#rows + 1] = { person = person(c) } end
    end
    return { results = rows }
  end
  function tools.gmail_get_vacation_settings() return { enableAutoReply = box.vacation ~= nil,
    responseSubject = box.vacation } end
  function tools.gmail_update_vacation_settings(p)
    box.vacation = p.enable_auto_reply and (given(p.response_subject) or "Away") or nil
    return { enableAutoReply = p.enable_auto_reply, responseSubject = box.vacation }
  end
end

-- mails: list of { from, to?, subject, body, labels?, at?, id?, thread? }. Puts the tools into `actions`.
function M.new(world, data, actions)
  local box = { world = world, mails = {}, drafts = {}, outbox = {}, labels = {}, contacts = data.contacts,
    address = data.address, history = 1000 }
  for i, m in ipairs(data.mails) do
    box.history = box.history + 1
    local labels = {}
    for k, l in ipairs(m.labels or { "INBOX", "UNREAD" }) do labels[k] = l end
    local id = m.id or ("19b8%012x"):format(i * 7919)
    box.mails[i] = { id = id, thread = m.thread or id, from = m.from or "nobody@example.com", to = m.to or data.address,
      cc = m.cc, subject = m.subject or "", body = m.body or "", attachments = m.attachments, labels = labels,
      at = m.at or (world_of.EPOCH - 1500 * i), history = box.history }
  end
  reading_tools(box, actions)
  writing_tools(box, actions)
  draft_tools(box, actions)
  setting_tools(box, actions)
  settings.tools(box, actions, function(fields, labels)
    local mail = new_mail(box, fields, labels)
    mail.from = fields.from or mail.from
    return show(mail, "minimal")
  end)
  return box
end

return M
