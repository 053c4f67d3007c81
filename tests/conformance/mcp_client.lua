-- What the MCP conformance suite asks of a client, scenario by scenario; its runner gives the server's URL as the last
-- argument. Run by mcp_test.sh.
local host = require "host"
local mcp = require "host.mcp"
local json = require "host.json"
local script = require "host.script"

local url = script.args()[1]
local scenario = host.config "MCP_CONFORMANCE_SCENARIO" or ""
local version = host.config "MCP_CONFORMANCE_PROTOCOL_VERSION" or ""
local context = json.decode(host.config "MCP_CONFORMANCE_CONTEXT" or "{}") or {}

local client = mcp.client {
  url = url, forms = true, timeout = 20, era = version == "2026-07-28" and "modern" or version ~= "" and "legacy" or "auto",
}

local function call(tool, arguments)
  return client:call_tool { name = tool.name, arguments = arguments, schema = tool.inputSchema, class = "read" }
end

local tools = assert(client:list_tools())
local by_name = {}
for _, tool in ipairs(tools) do by_name[tool.name] = tool end

-- Some argument for each that is required.
local function sample(tool)
  local arguments = {}
  local schema = tool.inputSchema or {}
  for _, name in ipairs(schema.required or {}) do
    local kind = ((schema.properties or {})[name] or {}).type
    arguments[name] = kind == "integer" and 1 or kind == "number" and 1.5 or kind == "boolean" and true or "x"
  end
  return arguments
end

local play = {
  ["sep-2322-client-request-state"] = function()
    for _, name in ipairs { "test_mrtr_echo_state", "test_mrtr_unrelated", "test_mrtr_no_state",
      "test_mrtr_no_result_type" } do
      assert(call(by_name[name], sample(by_name[name])))
    end
  end,
  ["http-standard-headers"] = function()
    assert(call(by_name.test_headers, sample(by_name.test_headers)))
    local resources = assert(client:request("resources/list", {})).resources
    assert(client:request("resources/read", { uri = resources[1].uri }))
    assert(client:request("prompts/list", {}))
    assert(client:request("prompts/get", { name = "test_prompt" }))
  end,
  ["http-custom-headers"] = function()
    for _, one in ipairs(context.toolCalls or {}) do call(by_name[one.name], one.arguments) end
  end,
  ["http-invalid-tool-headers"] = function()
    for _, tool in ipairs(tools) do call(tool, sample(tool)) end
  end,
  ["json-schema-2020-12-preservation"] = function()
    for _, tool in ipairs(tools) do
      if tool.name ~= "json_schema_echo" then
        assert(call(by_name.json_schema_echo, { schema = tool.inputSchema, toolName = tool.name }))
      end
    end
  end,
  tools_call = function() assert(call(by_name.add_numbers, { a = 2, b = 3 })) end,
}

if play[scenario] then
  play[scenario]()
elseif tools[1] then
  call(tools[1], sample(tools[1]))
end
client:close()
