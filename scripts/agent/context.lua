-- When a conversation no longer fits into the model: what is left out of it. A function of your own takes its place:
--
--     agent { compact = function(messages, err) return { … } end, … }
--
-- It is given a copy of the list and returns the list to go on with; calls and their results must stay together.
local context = {}

local KEEP = 2 -- rounds (an answer with its results) at the end that stay whole
local LONG = 2000 -- bytes of an older result that stay

local function copy(message)
  local out = {}
  for k, v in pairs(message) do out[k] = v end
  return out
end

-- The messages as units that must not be parted: an answer with all its results, or one other message.
function context.rounds(messages)
  local rounds = {}
  for _, message in ipairs(messages) do
    if message.role == "tool" and #rounds > 0 then
      table.insert(rounds[#rounds], message)
    else
      rounds[#rounds + 1] = { message }
    end
  end
  return rounds
end

local function flatten(rounds)
  local messages = {}
  for _, round in ipairs(rounds) do table.move(round, 1, #round, #messages + 1, messages) end
  return messages
end

local function shorten(message)
  if message.role ~= "tool" or type(message.content) ~= "string" or #message.content <= LONG then return message end
  local out = copy(message)
  local cut = (utf8.offset(message.content, 0, LONG + 1) or LONG + 1) - 1
  out.content = message.content:sub(1, cut) .. ("\n[… %d bytes left out, to make room]"):format(#message.content - cut)
  return out
end

-- The system message, everything that a person wrote and the last rounds stay; of the rounds between them only a note;
-- results that stay are shortened, but for the very last round.
function context.compact(messages)
  local rounds, kept, dropped = context.rounds(messages), {}, 0
  for i, round in ipairs(rounds) do
    local role = round[1].role
    if role == "assistant" and i <= #rounds - KEEP then
      dropped = dropped + 1
    else
      if i < #rounds then
        for j, message in ipairs(round) do round[j] = shorten(message) end
      end
      kept[#kept + 1] = round
    end
  end
  if dropped > 0 then
    local at = #kept + 1 -- behind the last thing that a person wrote before the rounds that stay
    while at > 1 and kept[at - 1][1].role == "assistant" do at = at - 1 end
    table.insert(kept, at, { {
      role = "user", content = ("[%d earlier steps of this conversation were left out, to make room.]"):format(dropped),
    } })
  end
  return flatten(kept)
end

return context
