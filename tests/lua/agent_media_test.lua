-- agent.media: files as parts of a message; and what is said of parts that are written wrong.
local t = require "testing"
local agent = require "agent"
local host = require "host"
local inputs = require "agent.input"
local media = require "agent.media"
local openai = require "host.openai"
local testing = require "agent.testing"

local made = {}
local function file(name, bytes)
  local path = "/tmp/agenthost-test-" .. host.uuid() .. name
  made[#made + 1] = path
  local f <close> = assert(io.open(path, "wb"))
  f:write(bytes)
  return path
end

t.test("base64 both ways", function()
  for n = 0, 70 do
    local bytes = ("\0\255a\n"):rep(20):sub(1, n)
    t.eq(host.unbase64(host.base64(bytes)), bytes)
  end
  t.eq(host.base64 "any carnal pleas", "YW55IGNhcm5hbCBwbGVhcw==")
  for _, bad in ipairs { "abc", "ab=c", "a===", "ab\0c", "ab c", "====" } do t.eq(host.unbase64(bad), nil, bad) end
end)

t.test("a picture, a sound, a file", function()
  t.eq(media.image(file(".PNG", "\137PNG"), { detail = "low" }),
    { type = "image_url", image_url = { url = "data:image/png;base64,iVBORw==", detail = "low" } })
  t.eq(media.image "https://example.org/a", { type = "image_url", image_url = { url = "https://example.org/a" } })
  t.eq(media.audio(file(".mp3", "x")), { type = "input_audio", input_audio = { data = "eA==", format = "mp3" } })
  local path = file(".pdf", "%PDF")
  t.eq(media.file(path), { type = "file", file = { filename = path:match "[^/]+$",
    file_data = "data:application/pdf;base64,JVBERg==" } })
end)

t.test("files that cannot be sent", function()
  t.err("invalid", media.image "a.bmp")
  t.err("invalid", media.audio "a.png")
  t.err("invalid", media.file "a")
  t.err("io", media.image "/no/such/file.png")
  t.err("io", media.image(file(".png", "")))
  t.err("limit", media.file(file(".txt", ("x"):rep(20 * 1024 * 1024 + 1))))
  t.raises("unknown field 'detial'", media.image, "a.png", { detial = "low" })
end)

t.test("parts written wrong are told before anything is sent", function()
  local model = openai.chat_model { model = "m", base_url = "http://127.0.0.1:1/v1", retry = false }
  local function say(part)
    local _, err = model:invoke { { role = "user", content = { part } } }
    return err.kind .. ": " .. err.message
  end
  t.match(say "text", "^invalid: part 1 of message 1 must be a table with a type")
  t.match(say { text = "a" }, "^invalid: .*with a type")
  t.match(say { type = "text", content = "a" }, 'must be { type = "text", text = "..." }')
  t.match(say { type = "image_url", image_url = "https://x" }, "image_url = { url = ")
  t.match(say { type = "image_url", url = "https://x" }, "image_url = { url = ")
  t.match(say { type = "input_audio", input_audio = { data = "x" } }, "format = ")
  t.match(say { type = "file", file = { filename = "a" } }, "file_id")
  t.match(say { type = "video_url", video_url = {} }, "^network: ")
  t.match(say(media.image "https://example.org/a"), "^network: ")
end)

t.test("an agent's task may hold pictures", function()
  local picture = t.ok(media.image(file(".png", "\137PNG")))
  local want = { { type = "text", text = "What is this?" }, picture }
  local model = testing.model { "a cat", "a dog" }
  local value = agent { model = model, prompt = "p", input = { "What is this?", picture } }
  local first = t.ok(value:run())
  t.eq(model.sent[1].messages[2], { role = "user", content = want })
  t.ok(value:run({ { type = "text", text = "And this?" } }, { messages = first.messages }))
  t.eq(model.sent[2].messages[2].content, want)
  t.eq(model.sent[2].messages[4].content, { { type = "text", text = "And this?" } })
  t.match(t.err("config", value:run {}).message, "no task")
end)

t.test("an agent's task that is written wrong", function()
  local function given(input) return agent { model = testing.model { "x" }, prompt = "p", input = input } end
  t.raises("agent_media_test.lua:%d+: input must be a text or a list", function() given(5) end)
  t.raises("input%[2%]: a%.bmp is no picture", function() given { "x", (select(2, media.image "a.bmp")) } end)
  t.raises("input%[1%] must be a text, or a table with a type", function() given { {} } end)
  t.raises("without holes", function() given { "x", nil, "y" } end)
  t.raises("without holes", function() given { type = "text", text = "x" } end)
  t.raises("agent_media_test.lua:%d+: input%[1%] must be", function() given "x":run { 5 } end)
end)

t.test("its words, and what the run's span shows of it", function()
  local picture, far = { type = "image_url", image_url = { url = "data:image/png;base64,AA==" } },
    { type = "image_url", image_url = { url = "https://example.org/a" } }
  local content = inputs.content { "a", picture, far, { type = "file", file = { filename = "b.pdf", file_data = "x" } } }
  t.eq(inputs.text(content), "a")
  t.eq(inputs.text "b", "b")
  t.eq(inputs.outline(content), { { type = "text", text = "a" }, { type = "image_url" }, far,
    { type = "file", name = "b.pdf" } })
end)

for _, path in ipairs(made) do os.remove(path) end
t.done()
