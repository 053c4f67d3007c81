-- The settings of the emulated mailbox: filters, send-as and forwarding addresses, delegates, watches, and mails
-- put in by hand. Called by gmail.lua.
local json = require "host.json"
local text = require "emulator.text"
local world_of = require "emulator.world"

local given = world_of.given
local M = {}

local function fail(status, message) return nil, { status = status, message = message } end

local function take(list, key, value)
  for i, item in ipairs(list) do
    if item[key] == value then return item, i end
  end
  return nil
end

local function copy(list)
  local rows = json.array {}
  for i, item in ipairs(list) do rows[i] = item end
  return rows
end

-- Tools over a list of the mailbox: `with(key, parameter, act)` finds an item first.
local function finder(list, key)
  return function(parameter, act)
    return function(p)
      local item, i = take(list, key, p[parameter])
      if not item then return fail(404, "Requested entity was not found: " .. tostring(p[parameter])) end
      return act(item, p, i)
    end
  end
end

local ACTIONS = { should_star = { "STARRED" }, should_always_mark_important = { "IMPORTANT" },
  should_trash = { "TRASH" } }
local REMOVALS = { should_archive = "INBOX", should_mark_read = "UNREAD", should_never_mark_important = "IMPORTANT",
  should_never_spam = "SPAM" }

local function filter_tools(box, tools)
  local with = finder(box.filters, "id")
  function tools.gmail_create_filter(p)
    local add, drop = copy(given(p.add_label_ids) or {}), copy(given(p.remove_label_ids) or {})
    for k, labels in pairs(ACTIONS) do
      if given(p[k]) then add[#add + 1] = labels[1] end
    end
    for k, label in pairs(REMOVALS) do
      if given(p[k]) then drop[#drop + 1] = label end
    end
    table.sort(add)
    table.sort(drop)
    local filter = { id = "ANe1Bm" .. box.world:alnum(20), criteria = { from = given(p.from), to = given(p.to),
      subject = given(p.subject), query = given(p.query), hasAttachment = given(p.has_attachment) },
      action = { addLabelIds = add, removeLabelIds = drop, forward = given(p.forward) } }
    if not next(filter.criteria) then return fail(400, "Filter criteria cannot be empty") end
    box.filters[#box.filters + 1] = filter
    return filter
  end
  function tools.gmail_list_filters() return { filter = copy(box.filters) } end
  tools.gmail_get_filter = with("filter_id", function(filter) return filter end)
  tools.gmail_delete_filter = with("filter_id", function(_, _, i)
    table.remove(box.filters, i)
    return {}
  end)
end

local function address_tools(box, tools)
  local send_as = finder(box.send_as, "sendAsEmail")
  local function fill(item, p)
    item.displayName = given(p.display_name) or item.displayName
    item.signature, item.replyToAddress = given(p.signature) or item.signature, given(p.reply_to_address)
      or item.replyToAddress
    if given(p.is_default) then
      for _, other in ipairs(box.send_as) do other.isDefault = other == item end
    end
    return item
  end
  function tools.gmail_list_send_as() return { sendAs = copy(box.send_as) } end
  function tools.gmail_create_send_as(p)
    if take(box.send_as, "sendAsEmail", p.send_as_email) then return fail(409, "Send-as alias already exists") end
    local item = fill({ sendAsEmail = p.send_as_email, verificationStatus = "pending", isPrimary = false,
      treatAsAlias = given(p.treat_as_alias) }, p)
    box.send_as[#box.send_as + 1] = item
    return item
  end
  tools.gmail_get_send_as = send_as("send_as_email", function(item) return item end)
  tools.gmail_update_send_as = send_as("send_as_email", fill)
  tools.gmail_verify_send_as = send_as("send_as_email", function(item)
    item.verificationStatus = "accepted"
    return {}
  end)
  tools.gmail_delete_send_as = send_as("send_as_email", function(item, _, i)
    if item.isPrimary then return fail(400, "The primary address cannot be deleted") end
    table.remove(box.send_as, i)
    return {}
  end)
  local forwarding = finder(box.forwarding, "forwardingEmail")
  function tools.gmail_list_forwarding_addresses() return { forwardingAddresses = copy(box.forwarding) } end
  function tools.gmail_create_forwarding_address(p)
    if take(box.forwarding, "forwardingEmail", p.forwarding_email) then return fail(409, "Address already exists") end
    local item = { forwardingEmail = p.forwarding_email, verificationStatus = "accepted" }
    box.forwarding[#box.forwarding + 1] = item
    return item
  end
  tools.gmail_get_forwarding_address = forwarding("forwarding_email", function(item) return item end)
  tools.gmail_delete_forwarding_address = forwarding("forwarding_email", function(_, _, i)
    table.remove(box.forwarding, i)
    return {}
  end)
  function tools.gmail_get_auto_forwarding() return box.auto_forwarding end
  function tools.gmail_update_auto_forwarding(p)
    if p.enabled and not take(box.forwarding, "forwardingEmail", given(p.email_address)) then
      return fail(400, "Unrecognized forwarding address") end
    box.auto_forwarding = { enabled = p.enabled, emailAddress = given(p.email_address),
      disposition = given(p.disposition) or "leaveInInbox" }
    return box.auto_forwarding
  end
  function tools.gmail_create_delegate(p)
    if take(box.delegates, "delegateEmail", p.delegate_email) then return fail(409, "Delegate already exists") end
    box.delegates[#box.delegates + 1] = { delegateEmail = p.delegate_email, verificationStatus = "accepted" }
    return box.delegates[#box.delegates]
  end
  function tools.gmail_list_delegates() return { delegates = copy(box.delegates) } end
end

-- The mail of an RFC 822 text, plain or base64url; nil when it has no header.
local function read_raw(raw)
  local mail = raw:find("\n", 1, true) and raw or text.unbase64(raw)
  local head, body = (mail or ""):gsub("\r\n", "\n"):match("^(.-)\n\n(.*)$")
  if not head then return nil end
  local p = { body = body }
  for name, value in (head .. "\n"):gmatch("([%w%-]+):%s*(.-)\n") do p[name:lower()] = value end
  return p
end

-- `keep(fields, labels)` puts a mail into the box and shows it.
function M.tools(box, tools, keep)
  box.filters, box.forwarding, box.delegates = {}, {}, {}
  box.send_as = { { sendAsEmail = box.address, isDefault = true, isPrimary = true, verificationStatus = "accepted" } }
  box.auto_forwarding = { enabled = false }
  filter_tools(box, tools)
  address_tools(box, tools)
  local function put(p)
    local mail = read_raw(p.raw_message)
    if not mail then return fail(400, "raw_message is not an RFC 822 message") end
    return keep(mail, copy(given(p.label_ids) or { "INBOX", "UNREAD" }))
  end
  tools.gmail_insert_message, tools.gmail_import_message = put, put
  function tools.gmail_watch_mailbox(p)
    if not p.topic_name:find("^projects/[^/]+/topics/") then return fail(400, "Invalid topicName") end
    box.watch = p.topic_name
    return { historyId = ("%d"):format(box.history),
      expiration = ("%d"):format((box.world:now() + 604800) // 1 * 1000) }
  end
  function tools.gmail_stop_mailbox_watch()
    box.watch = nil
    return {}
  end
end

return M
