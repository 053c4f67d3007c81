-- Prompts: head, variables, and the errors that name file and line.
local t = require "testing"
local host = require "host"
local script = require "host.script"
local task = require "host.task"
local prompts = require "agent.prompts"

local function refused(pattern, text, variables)
  local _, err = prompts.open(text, variables)
  t.ok(err, "no error for: " .. text)
  t.eq(err.kind, "config")
  t.match(err.message, pattern)
end

t.test("text without a head", function()
  local p = t.ok(prompts.open "You are brief.\n"):current()
  t.eq(p.text, "You are brief.")
  t.eq(p.head, {})
end)

t.test("head and variables", function()
  local text = "---\nmodel: gpt-4o-mini\ntemperature: 0.5\n# note\ntags: a, b c ,\n---\n\nHi {{ name }}!\n{{n}}"
  local p = t.ok(prompts.open(text, { name = "Ann", n = 3 })):current()
  t.eq(p.head, { model = "gpt-4o-mini", temperature = 0.5, tags = { "a", "b c" } })
  t.eq(p.text, "Hi Ann!\n3")
end)

t.test("quotes, CRLF, a byte order mark", function()
  local p = t.ok(prompts.open "\239\187\191---\r\nmodel: \"m x\"\r\n---\r\nHi\r\nyou\r\n"):current()
  t.eq(p.head.model, "m x")
  t.eq(p.text, "Hi\nyou")
end)

t.test("what a value holds is not read again", function()
  t.eq(t.ok(prompts.open("a {{x}} b", { x = "{{y}} %1" })):current().text, "a {{y}} %1 b")
end)

t.test("two braces by a backslash", function()
  t.eq(t.ok(prompts.open "write \\{{name}} here"):current().text, "write {{name}} here")
end)

t.test("the date is there", function()
  t.match(t.ok(prompts.open "{{date}}"):current().text, "^%d%d%d%d%-%d%d%-%d%d$")
end)

t.test("errors of the head", function()
  refused("^prompt:1: .*no closing", "---\nmodel: x\nHi")
  refused("^prompt:2: unknown field 'modle'.*did you mean 'model'", "---\nmodle: x\n---\nHi")
  refused("^prompt:2: .*not `model x`", "---\nmodel x\n---\nHi")
  refused("^prompt:3: 'model' stands twice", "---\nmodel: x\nmodel: y\n---\nHi")
  refused("^prompt:2: 'model' has no value", "---\nmodel:\n---\nHi")
  refused("^prompt:2: temperature must be a number", "---\ntemperature: warm\n---\nHi")
  refused("^prompt:2: temperature must be a number", "---\ntemperature: 3\n---\nHi")
  refused("prompt is empty", "---\nmodel: x\n---\n\n")
  refused("prompt is empty", "\n \n")
end)

t.test("errors of variables name the line of the file", function()
  refused("^prompt:5: no value for {{nam}} %(did you mean 'name'%?%)", "---\nmodel: x\n---\nHi\n{{nam}}", { name = 1 })
  refused("^prompt:6: ", "---\nmodel: x\n---\n\n\nHi {{gone}}")
  refused("^prompt:1: .*string or a number, got table", "{{t}}", { t = {} })
  refused("^prompt:2: `{{` without a name", "a\nb {{ 1x }}")
  refused("^prompt:1: `{{` without", "a {{name")
end)

t.test("a file that is not there", function()
  local _, err = prompts.open "prompts/no_such_prompt.md"
  t.ok(err, "no error")
  t.match(err.message, "no_such_prompt.md")
end)

t.test("the default prompt", function()
  local p = t.ok(prompts.open(nil)):current()
  t.match(p.text, "assistant")
  t.match(p.file, "default.md$")
  t.ok(p.sha256, "no hash")
end)

t.test("a file's stamp differs after an edit, and is not there while it could not", function()
  t.eq(script.stamp "prompts/no_such_prompt.md", nil)
  t.eq(script.stamp "prompts/default.md", script.stamp "prompts/default.md")
  t.ok(script.stamp "prompts/default.md")
  local path = "/tmp/agenthost-test-" .. host.uuid() .. ".md"
  local function write(text)
    local f = assert(io.open(path, "w"))
    f:write(text)
    f:close()
  end
  local function stamp()
    while not script.stamp(path) do task.sleep(0.02) end
    return script.stamp(path)
  end
  write "one"
  local p = t.ok(prompts.open(path))
  t.eq(script.stamp(path), nil, "just written")
  local first = stamp()
  t.eq({ p:current().text, stamp() }, { "one", first })
  write "two" -- as long as before
  t.eq(p:current().text, "two")
  t.ok(stamp() ~= first)
  t.eq(p:current().text, "two")
  os.remove(path)
end)

t.test("a file is read again when it has changed, and a broken edit is not used", function()
  local path = "/tmp/agenthost-test-" .. host.uuid() .. ".md"
  local function write(text)
    local f = assert(io.open(path, "w"))
    f:write(text)
    f:close()
  end
  write "one {{x}}"
  local prompt = t.ok(prompts.open(path, { x = 1 }))
  local first = prompt:current()
  t.eq(first.text, "one 1")
  t.ok(prompt:current() == first, "made anew without a change")
  write "two {{x}}"
  t.eq(prompt:current().text, "two 1")
  t.ok(prompt:current().sha256 ~= first.sha256, "the hash stayed")
  write "three {{y}}"
  t.eq(prompt:current().text, "two 1")
  os.remove(path)
  t.eq(prompt:current().text, "two 1")
  write "four"
  t.eq(prompt:current().text, "four")
  os.remove(path)
end)

-- ## files in files

local folder = host.config "AGENTHOST_TEST_FOLDER"
local function write(name, text)
  local f = assert(io.open(folder .. "/" .. name, "w"))
  f:write(text)
  f:close()
end
local function at(name) return folder .. "/" .. name end

t.test("a file in a file: variables, hash, edits", function()
  write("main.md", "You help {{name}}.\n{{> " .. at "tone.md" .. "}} Bye.")
  write("tone.md", "Be kind to {{name}}.\n\n")
  local prompt = t.ok(prompts.open(at "main.md", { name = "Ann" }))
  local first = prompt:current()
  t.eq(first.text, "You help Ann.\nBe kind to Ann. Bye.")
  t.ok(first.sha256 and first.sha256 ~= host.sha256 "You help {{name}}.", "a hash of all")
  t.ok(prompt:current() == first, "made anew without a change")
  write("tone.md", "Be brief.")
  local second = prompt:current()
  t.eq(second.text, "You help Ann.\nBe brief. Bye.")
  t.ok(second.sha256 ~= first.sha256, "the hash stayed")
  os.remove(at "tone.md")
  t.eq(prompt:current().text, second.text)
  write("tone.md", "Be brief.")
  t.eq(prompt:current().sha256, second.sha256)
  local text = t.ok(prompts.open("Hello {{> " .. at "tone.md" .. "}}")):current()
  t.eq(text.text, "Hello Be brief.")
end)

t.test("what is not UTF-8 is said with its line, and no edit to it is used", function()
  write("latin.md", "one\ntwo")
  local prompt = t.ok(prompts.open(at "latin.md"))
  write("latin.md", "one\nGr\252n")
  t.eq(prompt:current().text, "one\ntwo")
  t.match(select(2, prompts.open(at "latin.md")).message, "latin.md:2: this is not UTF%-8")
  t.match(select(2, prompts.open("x\n{{> " .. at "latin.md" .. "}}")).message, "latin.md:2: this is not UTF%-8")
  t.match(select(2, prompts.open("x\n{{a}}", { a = "\255" })).message, "prompt:2: the value of {{a}} is not UTF%-8")
  os.remove(at "latin.md")
end)

t.test("an edit that cannot be used yet is used when what was missing comes", function()
  write("main.md", "one")
  local prompt = t.ok(prompts.open(at "main.md"))
  write("main.md", "{{> " .. at "outer.md" .. "}}")
  write("outer.md", "outer {{> " .. at "inner.md" .. "}}")
  t.eq(prompt:current().text, "one")
  write("inner.md", "{{nobody}}")
  t.eq(prompt:current().text, "one")
  write("inner.md", "inner")
  t.eq(prompt:current().text, "outer inner")
  for _, name in ipairs { "main.md", "outer.md", "inner.md" } do os.remove(at(name)) end
  t.eq(prompt:current().text, "outer inner")
end)

t.test("a file in a file: faults name the file and the line", function()
  write("main.md", "one\n{{> " .. at "part.md" .. "}}")
  write("part.md", "fine\n{{nmae}}")
  local _, err = prompts.open(at "main.md", { name = "Ann" })
  t.match(err.message, "part.md:2: no value for {{nmae}} %(did you mean 'name'%?%)")
  write("part.md", "---\nmodel: x\n---\nx")
  t.match(select(2, prompts.open(at "main.md")).message, "part.md:1: .*no head")
  os.remove(at "part.md")
  t.match(select(2, prompts.open(at "main.md")).message, "main.md:2: {{> .*part.md}}: no file")
  write("part.md", "{{> " .. at "main.md" .. "}}")
  t.match(select(2, prompts.open(at "main.md")).message, "does one include itself")
  write("main.md", "x\n{{> " .. at "main.md" .. "}}")
  t.match(select(2, prompts.open(at "main.md")).message, "main.md:2: files in files.*does one include itself")
  write("main.md", "{{> }}")
  t.match(select(2, prompts.open(at "main.md")).message, "main.md:1:")
end)

t.test("the commit of the script's folder", function()
  local git = require "agent.git"
  local revision = git.revision "."
  t.ok(revision == nil or revision:match "^%x+$" and #revision >= 40, tostring(revision))
  t.eq(git.revision "/", nil)
end)

t.done()
