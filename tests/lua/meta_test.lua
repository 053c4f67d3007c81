-- The stubs of scripts/meta are the reference of host.* and agent.*: every name of theirs exists, and every name that
-- exists has its stub. Modules are asked at run time; methods, whose tables are locked, are read from the C sources.
-- Run from the top of the source tree.
local t = require "testing"

local function slurp(path)
  local f <close> = assert(io.open(path, "r"))
  return f:read "a"
end

-- Names of a stub file by class: { ["host.http"] = { get = true }, ["host.http.Stream"] = { close = true } }. A class
-- owns the functions of the variable that is declared under it; of fields only the module's own count (values).
local function stub_classes(text)
  local classes, of_variable, class = {}, {}, nil
  local fields = {}
  for line in text:gmatch "[^\n]+" do
    local name = line:match "^%-%-%-@class ([%w_.]+)"
    if name then
      class, fields = name, {}
    elseif line:match "^%-%-%-@field " then
      local field = line:match "^%-%-%-@field ([%w_]+)"
      if field then fields[field] = true end
    elseif line:match "^local [%w_]+ = {}" and class then
      of_variable[line:match "^local ([%w_]+)"] = class
      classes[class] = { functions = {}, fields = fields }
    elseif line:match "^function " then
      local variable, fn = line:match "^function ([%w_]+)[.:]([%w_]+)%("
      local owner = of_variable[variable]
      assert(owner, "no class for: " .. line)
      classes[owner].functions[fn] = true
    elseif not line:match "^%-%-" then
      class = nil
    end
  end
  return classes
end

local function sorted(set)
  local list = {}
  for name in pairs(set) do list[#list + 1] = name end
  table.sort(list)
  return list
end

-- What is wrong, as sentences: names without a stub, stubs without a name.
local function compare(what, real, stub)
  local wrong = {}
  for _, name in ipairs(sorted(real)) do
    if not stub[name] then wrong[#wrong + 1] = ("%s.%s has no stub"):format(what, name) end
  end
  for _, name in ipairs(sorted(stub)) do
    if not real[name] then wrong[#wrong + 1] = ("%s.%s is in the stubs only"):format(what, name) end
  end
  return wrong
end

local function names_of(value, kind)
  local set = {}
  for name, v in pairs(value) do
    if type(name) == "string" and not name:match "^__" and (not kind or type(v) == kind) then set[name] = true end
  end
  return set
end

local function stub_names(class)
  local set = {}
  for name in pairs(class.functions) do set[name] = true end
  for name in pairs(class.fields) do set[name] = true end
  return set
end

local function host_modules()
  local list = {}
  for name in slurp "src/host.c":gmatch '{"(host[%w.]*)", luaopen_' do list[#list + 1] = name end
  return list
end

local function stub_path(module)
  return "scripts/meta/" .. module:gsub("%.", "/") .. ".lua"
end

-- luaL_Reg tables of a C file: { stream_methods = { close = true } }, without metamethods.
local function reg_tables(path)
  local tables = {}
  for name, body in slurp(path):gmatch "luaL_Reg%s+([%w_]+)%[%]%s*=%s*(%b{})" do
    local set = {}
    for entry in body:gmatch '{%s*"([%w_]+)"' do
      if not entry:match "^__" then set[entry] = true end
    end
    tables[name] = set
  end
  return tables
end

-- Methods: the stub's class, and the table in C. Tables of modules are compared at run time.
local methods = {
  ["src/luahttp.c"] = { response_methods = "host.http.Response" },
  ["src/lua_http.c"] = { stream_methods = "host.http.Stream" },
  ["src/lua_mcp.c"] = { client_methods = "host.mcp.Client" },
  ["src/lua_openai.c"] = { model_methods = "host.openai.Model", stream_methods = "host.openai.Stream" },
  ["src/lua_server.c"] = {
    server_methods = "host.server.server", stream_methods = "host.server.stream", req_methods = "host.server.request",
  },
  ["src/lua_task.c"] = { event_methods = "host.task.Event", task_methods = "host.task.Task" },
}
local module_tables = { functions = true, host_lib = true, script_lib = true, http_lib = true, task_lib = true }

t.test("the modules are found", function()
  local list = host_modules()
  t.ok(#list >= 10, "only " .. #list .. " modules in src/host.c")
end)

for _, module in ipairs(host_modules()) do
  t.test(module, function()
    local text = slurp(stub_path(module))
    t.match(text, "^%-%-%-@meta " .. module:gsub("%.", "%%.") .. "\n")
    local class = t.ok(stub_classes(text)[module], "no class " .. module .. " with its variable")
    t.eq(compare(module, names_of(require(module)), stub_names(class)), {})
  end)
end

local seen_classes = {}
for path, tables in pairs(methods) do
  for name, class in pairs(tables) do
    seen_classes[class] = true
    t.test("methods of " .. class, function()
      local real = t.ok(reg_tables(path)[name], path .. " has no table " .. name)
      t.ok(next(real), name .. " is empty")
      local module = class:match "^host%.%l+"
      local stub = t.ok(stub_classes(slurp(stub_path(module)))[class], "no class " .. class .. " with its variable")
      t.eq(compare(class, real, stub.functions), {})
    end)
  end
end

t.test("every table of methods is known here", function()
  for _, module in ipairs(host_modules()) do
    local path = "src/lua_" .. module:gsub("^host%.", "") .. ".c"
    if module == "host.script" then path = "src/lua_host.c" end
    for name, set in pairs(reg_tables(path)) do
      if next(set) and not module_tables[name] then
        t.ok(methods[path] and methods[path][name], ("%s: %s is compared with no class"):format(path, name))
      end
    end
  end
end)

t.test("every class with methods is known here", function()
  for _, module in ipairs(host_modules()) do
    for class, what in pairs(stub_classes(slurp(stub_path(module)))) do
      if next(what.functions) and class ~= module then
        t.ok(seen_classes[class], class .. " is compared with no table in C")
      end
    end
  end
end)

-- --- agent.* ---------------------------------------------------------------------------------------------

local function agent_stubs()
  local all = {}
  for _, name in ipairs { "init", "parts", "testing" } do
    for class, what in pairs(stub_classes(slurp("scripts/meta/agent/" .. name .. ".lua"))) do all[class] = what end
  end
  return all
end

t.test("agent", function()
  t.eq(compare("agent", names_of(require "agent", "function"), agent_stubs()["agent"].functions), {})
end)

-- The others (errors, fields, models, near, usage) are no part of the interface.
local compared = {}
for _, name in ipairs { "connectors", "history", "loop", "media", "parallel", "prompts", "search", "testing", "tools", "upload",
  "webhooks" } do
  t.test("agent." .. name, function()
    local class = t.ok(agent_stubs()["agent." .. name], "no class agent." .. name .. " with its variable")
    t.eq(compare("agent." .. name, names_of(require("agent." .. name), "function"), class.functions), {})
    compared[name] = true
  end)
end

t.test("every stub of a module was compared", function()
  for name in pairs(agent_stubs()) do
    local module = name:match "^agent%.(%l[%w_]*)$"
    t.ok(not module or compared[module], name .. " was compared with nothing")
  end
end)

local function methods_of(object) return names_of(getmetatable(object).__index, "function") end

t.test("methods of agent's objects", function()
  local agent = require "agent"
  local objects = {
    ["agent.Value"] = agent { prompt = "x", model = "m", identifier = "u" },
    ["agent.Toolbox"] = require("agent.tools").box({}),
    ["agent.WatchedPrompt"] = require("agent.prompts").open("text", {}),
    ["agent.testing.Model"] = require("agent.testing").model {},
  }
  local classes = agent_stubs()
  for class, object in pairs(objects) do
    local stub = t.ok(classes[class], "no class " .. class .. " with its variable").functions
    -- What a model must have is declared as fields of the class it extends.
    if class == "agent.testing.Model" then stub.bind_tools, stub.invoke = true, true end
    t.eq(compare(class, methods_of(object), stub), {})
  end
end)

-- --- the comparison itself -------------------------------------------------------------------------------

t.test("a removed stub is named", function()
  local text = slurp "scripts/meta/host/http.lua"
  local cut, n = text:gsub("\nfunction http%.get%([^\n]*", "")
  t.eq(n, 1)
  local wrong = compare("host.http", names_of(require "host.http"), stub_names(stub_classes(cut)["host.http"]))
  t.eq(wrong, { "host.http.get has no stub" })
end)

t.test("a superfluous stub is named", function()
  local text = slurp "scripts/meta/host/http.lua":gsub("\nreturn http", "\nfunction http.patch(url) end\nreturn http")
  local wrong = compare("host.http", names_of(require "host.http"), stub_names(stub_classes(text)["host.http"]))
  t.eq(wrong, { "host.http.patch is in the stubs only" })
end)

t.test("a removed method is named", function()
  local cut = slurp "scripts/meta/host/server.lua":gsub("\nfunction stream:finish%([^\n]*", "")
  local wrong = compare("stream", reg_tables("src/lua_server.c").stream_methods,
    stub_classes(cut)["host.server.stream"].functions)
  t.eq(wrong, { "stream.finish has no stub" })
end)

t.test("a removed field is named", function()
  local cut = slurp "scripts/meta/host/json.lua":gsub("\n%-%-%-@field null [^\n]*", "")
  local wrong = compare("host.json", names_of(require "host.json"), stub_names(stub_classes(cut)["host.json"]))
  t.eq(wrong, { "host.json.null has no stub" })
end)

t.done()
