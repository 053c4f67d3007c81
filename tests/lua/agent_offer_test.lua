-- Which tools a model is offered, of connections that have many.
local t = require "testing"
local agent = require "agent"
local connectors = require "agent.connectors"
local offer = require "agent.offer"
local tools = require "agent.tools"
local testing = require "agent.testing"

local asked

-- A service with one connection, "big", of n tools, and one, "tagged".
local function service(n)
  return {
    get_or_create_connected_account = function(opts)
      return { id = "ca_1", status = "ACTIVE", connector = opts.connection_name }
    end,
    get_tools = function(opts)
      asked = opts
      local list = {}
      for i = 1, n do
        list[i] = {
          name = ("big_%s_%d"):format(i % 2 == 0 and "issues_list" or "repos_get", i), connected_account_id = "ca_1",
          description = i == 7 and "Sends a parrot to the moon" or "Does a thing", connector = opts.connection_names[1],
          input_schema = { type = "object", properties = {} }, tags = { i <= 3 and "first" or "rest" },
        }
      end
      return list
    end,
  }
end

local function open(one, n)
  local lists, err = connectors.open({ one }, "u", service(n or 10))
  return lists and lists[1], err
end

t.test("exact names are asked for; a star fetches all and filters", function()
  open { connection = "big", tools = { "big_repos_get_1", "big_repos_get_3" } }
  t.eq(asked.tool_names, { "big_repos_get_1", "big_repos_get_3" })
  local list = t.ok(open { connection = "big", tools = { "big_issues_*" } })
  t.eq(asked.tool_names, nil)
  t.eq(#list, 5)
  t.eq(list.total, 10)
  t.match(list.why, "named: big_issues_%*")
  t.eq(#t.ok(open { connection = "big", tools = { "*_1", "big_issues_list_2" } }), 2)
end)

t.test("a pattern that matches nothing is named", function()
  local err = t.err("no_tools", open { connection = "big", tools = { "big_issues_*", "big_isues_*" } })
  t.match(err.message, "no tool big_isues_%*")
  t.err("no_tools", open { connection = "big", tools = { "." } })
end)

t.test("by tag, by search, both", function()
  t.eq(#t.ok(open { connection = "big", tags = { "first" } }), 3)
  local list = t.ok(open { connection = "big", search = "parrot on the moon", top = 1 })
  t.eq(list[1].name, "big_repos_get_7")
  t.match(list.why, "search: parrot")
  t.err("no_tools", open { connection = "big", tags = { "first" }, search = "parrot" })
  t.raises("'find' must be true or false", function() agent { connectors = { { connection = "x", find = "yes" } } } end)
end)

t.test("find: hidden at first, offered when the model has found them", function()
  local list = t.ok(open { connection = "big", find = true })
  t.eq(#list, 0)
  t.eq(#list.hidden, 10)
  local box = t.ok(tools.box(list, { agent.tool { name = "own", description = "d", run = function() end } }))
  t.eq(box.names, { "own", "find_tools" })
  local before = box.list
  local outcome = box:call({ id = "1", name = "find_tools", args = { query = "parrot" } }, {})
  t.match(outcome.content, "big_repos_get_7: Sends a parrot")
  t.eq(box.names[3], "big_repos_get_7")
  t.ok(box.list ~= before, "whoever bound the list must see that it changed")
  box:call({ id = "2", name = "find_tools", args = { query = "parrot" } }, {})
  t.eq(#box.list, 3)
  t.match(box:call({ id = "3", name = "find_tools", args = { query = "zzz" } }, {}).content, "No tool matches")
  t.match(box:call({ id = "4", name = "find_tools", args = {} }, {}).content, "'query' is missing")
end)

t.test("more than a model takes: the best for the task, the rest to be found; own tools stay", function()
  local list = t.ok(open("big", 217))
  local own = { agent.tool { name = "own", description = "d", run = function() end } }
  list.set = {} -- what is to be looked at again, and closed
  local lists = t.ok(offer.fit({ list, own }, "send a parrot"))
  t.eq(lists[1].set, list.set)
  t.ok(#lists[1] >= 1 and #lists[1] <= 40)
  t.eq(lists[1][1].name, "big_repos_get_7")
  t.eq(#lists[1] + #lists[1].hidden, 217)
  t.eq(lists[2], own)
  local account = offer.account(lists)
  t.eq(account[1].of, 217)
  t.match(account[1].why, "more than a model takes")
  t.eq(offer.account { list }, nil)
  t.eq(offer.fit({ t.ok(open("big", 100)), own }, "x")[1].hidden, nil)
  local many = {}
  for i = 1, 130 do many[i] = { name = "t" .. i } end
  t.err("limit", offer.fit({ many }, "x"))
end)

t.test("an agent with hidden tools: found in one step, called in the next", function()
  local model = testing.model { testing.call("find_tools", { query = "greet" }), testing.call("greet", {}), "done" }
  local greet = agent.tool { name = "greet", description = "Greets", class = "read", run = function() return "hello" end }
  local toolset = { hidden = { greet } }
  local box = t.ok(tools.box(toolset))
  t.eq(#box.list, 1)
  local loop, history, limits = require "agent.loop", require "agent.history", require "agent.limits"
  local result = t.ok(loop.run {
    model = require "agent.models".open { model = model }, history = history.new():user "go", tools = box,
    prompt = { current = function() return { text = "p", head = {} } end }, limits = limits.open(),
    repeats = require "agent.repeats".new(), results = require "agent.results".new(), on_event = function() end,
  })
  t.eq(result.answer, "done")
  t.eq(#model.sent[1].tools, 1)
  t.eq(model.sent[2].tools[2].name, "greet")
  t.eq(model.sent[3].messages[6].content, "hello")
end)

local function many(n, prefix)
  local list = {}
  for i = 1, n do
    list[i] = { name = prefix .. i, description = "Does thing" .. i, class = "read", run = function() return prefix .. i end }
  end
  return list
end

local function find(box, query) return box:call({ id = "1", name = "find_tools", args = { query = query } }, {}) end

t.test("two tools of one name, hidden or not, are an error; so is a second find_tools", function()
  local one, two = many(1, "x"), many(1, "x")
  t.match(t.err("config", tools.box { hidden = { one[1], two[1] } }).message, "two tools are called 'x1'")
  t.err("config", tools.box(one, { hidden = two }))
  t.err("config", tools.box({ hidden = one }, two))
  t.match(t.err("config", tools.box({ { name = "find_tools" } }, { hidden = one })).message, "'find_tools'")
end)

t.test("what is found never makes more than a model takes: what was found first gives way", function()
  local lists = t.ok(offer.fit({ { hidden = many(60, "far") }, many(118, "own") }, "x"))
  local box = t.ok(tools.box(table.unpack(lists)))
  t.eq(#box.list, 119)
  for i = 1, 20 do
    t.match(find(box, "thing" .. i).content, "far" .. i .. ":")
    t.ok(#box.list <= offer.MOST - 1, "with read_result there must be no more than 128")
    t.eq(box:call({ id = "2", name = "far" .. i, args = {} }, {}).content, "far" .. i)
  end
  t.eq(box.by_name.far1, nil)
  t.ok(box.by_name.own118 and box.by_name.find_tools)
  t.match(find(box, "thing1").content, "far1:")
  t.ok(box.by_name.far1)
  t.err("limit", offer.fit({ { hidden = many(60, "far") }, many(119, "own") }, "x"))
end)

-- A connector whose tools change: what it is to agent.tools.
local function changing(list)
  local set = { list = list }
  function set:refresh()
    self.list = self.next or self.list
    return self
  end
  local out = table.move(list, 1, #list, 1, { set = set, total = #list, why = "all", hidden = list.hidden })
  return out, set
end

t.test("a list that was cut to fit is looked at again, and stays cut", function()
  local list, set = changing(many(200, "thing"))
  local box = t.ok(tools.box(table.unpack(t.ok(offer.fit({ list, {} }, "thing7")))))
  t.ok(box.sets[1] == set)
  local offered = #box.list
  t.ok(box.by_name.thing7)
  set.next = many(201, "thing")
  table.remove(set.next, 9)
  box:refresh()
  t.eq(box.by_name.thing7, set.next[7], "as it is now")
  t.ok(#box.list <= offered + 1)
  find(box, "thing9")
  t.eq(box.by_name.thing9, nil)
  t.match(find(box, "thing190").content, "thing190")
  set.next = many(2, "thing")
  box:refresh()
  t.eq(box.by_name.thing190, nil)
  t.eq(box.by_name.thing7, nil)
end)

t.test("hidden tools that change: what was found stays, what is gone cannot be called, what is new can be found", function()
  local first = many(3, "t")
  local list, set = changing { hidden = first }
  local box = t.ok(tools.box(list, many(1, "own")))
  find(box, "thing2")
  t.ok(box.by_name.t2)
  set.next = { hidden = many(5, "t") }
  table.remove(set.next.hidden, 1)
  box:refresh()
  t.eq(box.names, { "own1", "find_tools", "t2" })
  t.ok(box.by_name.t2 ~= first[2])
  t.match(find(box, "thing5").content, "t5:")
  t.match(find(box, "thing1").content, "No tool matches")
  set.next = many(130, "own") -- one of them is the script's own, and stays; more than a model takes are to be found
  box:refresh()
  t.eq(box.by_name.own1.run(), "own1")
  t.ok(#box.list >= 120 and #box.list < offer.MOST)
  t.match(find(box, "thing130").content, "own130:")
end)

t.done()
