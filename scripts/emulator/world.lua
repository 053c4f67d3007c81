-- The state of one emulator: its clock, its chance, its keys, what it was asked. Called by app.lua; must
-- never hold anything outside the table that `new` returns, so that two emulators in one process differ.
local json = require "host.json"
local text = require "emulator.text"

local M = {}
local World = {}
World.__index = World

M.DEFAULT_SEED = 20261122
M.EPOCH = 1767603600 -- 2026-01-05T09:00:00Z: the demo's mails arrive before it

-- The emulator's own keys. They open nothing but an emulator.
local function make_keys(world)
  return {
    client_id = "skc_" .. world:digits(18),
    client_secret = "test_" .. world:alnum(40),
    openai = "sk-emulator-" .. world:alnum(36),
    langsmith = "lsv2_pt_" .. world:hex(32) .. "_" .. world:hex(10),
  }
end

-- options: seed (integer), clock (function giving seconds; a number = a clock that starts there and moves
-- 1 ms a reading; nil = the host's), open (any key is good).
function M.new(options)
  local seed = options.seed or M.DEFAULT_SEED
  local world = setmetatable({ chance = seed ~ 0x9E3779B97F4A7C15, open = options.open or false }, World)
  if world.chance == 0 then world.chance = 1 end
  for _ = 1, 8 do world:next() end
  world.keys = make_keys(world)
  world.tenant = world:uuid()
  if type(options.clock) == "number" then
    local at = options.clock
    world.clock = function()
      at = at + 0.001
      return at
    end
  else
    world.clock = options.clock or require("host").time
  end
  return world
end

function World:now() return self.clock() end

function World:stamp(seconds) return text.stamp(seconds or self:now()) end

function World:next() -- xorshift64*
  local x = self.chance
  x = x ~ (x >> 12)
  x = x ~ (x << 25)
  x = x ~ (x >> 27)
  self.chance = x
  return (x * 0x2545F4914F6CDD1D) >> 1
end

function World:pick(set, n)
  local out = {}
  for i = 1, n do
    local at = self:next() % #set + 1
    out[i] = set:sub(at, at)
  end
  return table.concat(out)
end

function World:hex(n) return self:pick("0123456789abcdef", n) end
function World:alnum(n) return self:pick("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", n) end
function World:digits(n) return self:pick("123456789", 1) .. self:pick("0123456789", n - 1) end

function World:uuid() -- version 4
  local h = self:hex(32)
  local variant = self:pick("89ab", 1)
  return ("%s-%s-4%s-%s%s-%s"):format(h:sub(1, 8), h:sub(9, 12), h:sub(13, 15), variant, h:sub(16, 18), h:sub(19, 30))
end

-- nil and JSON null are both "not given".
function M.given(v)
  if v == nil or v == json.null then return nil end
  return v
end

function M.is_array(v) return type(v) == "table" and json.is_array(v) end
function M.is_object(v) return type(v) == "table" and v ~= json.null and not json.is_array(v) end

return M
