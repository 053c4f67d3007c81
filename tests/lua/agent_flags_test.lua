-- run: --user from_flag --model model_from_flag
-- What the command line says wins over the script; what is given to run wins over both.
local t = require "testing"
local agent = require "agent"
local models = require "agent.models"
local script = require "host.script"
local testing = require "agent.testing"

local function whose(spec_identifier, opts)
  local model = testing.model { "ok" }
  local a = agent { identifier = spec_identifier, prompt = "{{identifier}}", model = model, input = "x" }
  t.ok(a:run(nil, opts))
  return model.sent[1].messages[1].content
end

t.test("the flags are readable", function()
  t.eq(script.option "user", "from_flag")
  t.eq(script.option "model", "model_from_flag")
end)

t.test("identifier: given to run, flag, script", function()
  t.eq(whose "from_script", "from_flag")
  t.eq(whose(nil), "from_flag")
  t.eq(whose("from_script", { identifier = "given" }), "given")
end)

t.test("the script cannot take the flag's place", function()
  t.eq(script.identifier "other", "from_flag")
  t.eq(script.identifier(), "from_flag")
end)

t.test("model: flag, script, prompt's head", function()
  t.eq(models.name({ model = "from_script" }, { model = "from_head" }), "model_from_flag")
end)

t.done()
