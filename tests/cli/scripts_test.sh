#!/bin/sh
# A script's own troubles: mistakes in it, limits, the ways it may end, and what it must not reach.
. "$(dirname "$0")/lib.sh"

# --- mistakes ----------------------------------------------------------------------------------------------------

begin "a syntax error: file and line, exit 1"
printf 'local x = 1\nif x then\n' >x.lua
run run x.lua
want_code 1
empty_out
want_err "x.lua:"
want_err "'end' expected"

begin "a syntax error after a #! line keeps its line number"
printf '#!/usr/bin/env agenthost\nlocal x = = 1\n' >x.lua
run run x.lua
want_code 1
want_err "x.lua:2:"

begin "a file that is no text: refused"
printf '\033Lua\124\000\031\223' >x.lua
run run x.lua
want_code 1
empty_out
want_err "x.lua"

begin "a file that is not there: exit 3, its name"
run run nosuch.lua
want_code 3
empty_out
want_err "nosuch.lua"

begin "a folder, and a file that cannot be read"
mkdir folder.lua
run run folder.lua
want_code 3
empty_out
want_err "folder.lua"

begin "an endless loop ends, with its line, exit 1"
printf 'local n = 0\nwhile true do n = n + 1 end\n' >x.lua
run run --instructions 5000000 x.lua
want_code 1
want_err "x.lua:2"

begin "an endless loop inside pcall, in a coroutine and in a sort ends too"
cat >x.lua <<'LUA'
local function spin() while true do end end
while true do
  pcall(spin)
  coroutine.wrap(function() pcall(spin) end)()
  pcall(table.sort, { 3, 2, 1 }, function() spin() end)
end
LUA
LIMIT=30 run run --instructions 2000000 x.lua
want_code 1

begin "a pattern that would take for ever is an error or ends; the program can be interrupted"
cat >x.lua <<'LUA'
local s = ("a"):rep(30)
print(s:find(("a?"):rep(10) .. ("a"):rep(10)) ~= nil)
LUA
run run x.lua
want_code 0

# Where a wait is refused: one clear sentence and exit 1. What may wait, waits.
cannot_wait() {
  begin "a wait in $1"
  printf 'local task = require "host.task"\n%s\n' "$2" >x.lua
  run run x.lua
  want_code 1
  want_err "wait"
}
cannot_wait "a sort's comparison" 'table.sort({ 3, 2, 1 }, function(a, b) task.sleep(0.001) return a < b end)'
cannot_wait "gsub's function" 'string.gsub("abc", ".", function() task.sleep(0.001) end)'
cannot_wait "a load reader" 'assert(load(function() task.sleep(0.001) end))'
begin "a wait in a module's body"
echo 'require("host.task").sleep(0.001)' >module.lua
echo 'require "module"' >x.lua
run run x.lua
want_code 1
want_err "wait"
want_err "module"
begin "waits in pcall, metamethods, iterators, generators and closed variables work"
cat >x.lua <<'LUA'
local task = require "host.task"
print(pcall(task.sleep, 0.001))
local t = setmetatable({}, { __index = function(_, k) task.sleep(0.001) return k end, __close = function() task.sleep(0.001) end })
print(t.index)
for x in function(_, last) task.sleep(0.001) return (last or 0) < 2 and (last or 0) + 1 or nil end do io.write(x, " ") end
for x in coroutine.wrap(function() for i = 1, 2 do task.sleep(0.001) coroutine.yield(i) end end) do io.write(x, " ") end
do local c <close> = t end
print "end"
LUA
run run x.lua
want_code 0
want_out "index"
want_out "1 2 1 2 end"

cannot_hold() { # what, script, words of the error
  begin "a value JSON cannot hold: $1: exit 1 with --json, nothing to say without"
  printf '%s\n' "$2" >x.lua
  run run --json x.lua
  want_code 1
  valid_json
  want_err "$3"
  is "kind" "$(member 'v["error"]["kind"]')" script
  run run x.lua
  want_code 0
}
cannot_hold "a function" 'return { answer = "x", f = print }' "value.f: a function"
cannot_hold "a table in itself" 'local t = {} t.t = t return t' "contain itself"
cannot_hold "NaN" 'return { n = 0/0 }' "value.n: NaN"
cannot_hold "a text that is no UTF-8" 'return { s = "\xff" }' "value.s"
cannot_hold "mixed keys" 'return { 1, 2, x = 3 }' "list items and named fields"
cannot_hold "too deep" 'local t = {} for _ = 1, 200 do t = { t } end return t' "deeper than 128"

begin "host.json.encode of such a value: nil and a reason; a tool's result likewise goes on"
cat >x.lua <<'LUA'
local json = require "host.json"
for _, value in ipairs { print, 0 / 0, "\xff", { 1, x = 2 }, { [true] = 1 }, coroutine.create(print) } do
  local text, err = json.encode { value = value }
  assert(text == nil and tostring(err):find "value", tostring(err))
end
local scalekit = require "host.scalekit"
print(pcall(scalekit.execute_tool, { tool_name = "t", tool_input = { f = print }, connection_name = "gmail", identifier = "u" }))
LUA
run run --emulate x.lua
want_code 0
want_out "a function cannot become JSON"

begin "an answer that is no UTF-8: as it is, or valid JSON"
printf 'return "a\\xffb"' >x.lua
run run x.lua
want_code 0
run run --json x.lua
valid_json

begin "a large result"
echo 'local t = {} for i = 1, 100000 do t[i] = i end return { answer = "many", t = t }' >x.lua
run run --json x.lua
want_code 0
valid_json

# --- ways to end -----------------------------------------------------------------------------------------------------

begin "os.exit(3) inside pcall: exit 3, and nothing after it runs"
cat >x.lua <<'LUA'
io.write "before"
pcall(function() os.exit(3) end)
print "AFTER"
LUA
run run x.lua
want_code 3
want_out "before"
not_out "AFTER"

begin "os.exit(3) in nested coroutines, in a task, in a sort"
cat >x.lua <<'LUA'
local task = require "host.task"
local how = require "host.script".args()[1]
local trace = require "host.trace"
local function go()
  if how == "coroutine" then
    coroutine.wrap(function() coroutine.wrap(function() pcall(os.exit, 3) print "AFTER" end)() print "AFTER" end)()
  elseif how == "task" then
    task.spawn(function() os.exit(3) end)
    task.sleep(5)
    print "AFTER"
  elseif how == "sort" then
    pcall(table.sort, { 2, 1, 3 }, function() pcall(os.exit, 3) return false end)
    task.sleep(0.01)
    print "AFTER"
  elseif how == "close" then
    local _ <close> = setmetatable({}, { __close = function() io.write "closed" end })
    os.exit(3, true)
  end
end
trace.span("work", {}, go)
print "AFTER"
LUA
for how in coroutine task sort close; do
  run run x.lua -- $how
  is "exit code of $how" "$code" 3
  not_out "AFTER"
  want_err "work"
done
want_out "closed"

begin "os.exit: true, false, nothing, 256+7"
for row in "true 0" "false 1" " 0" "263 7"; do
  echo "os.exit(${row% *})" >x.lua
  run run x.lua
  is "os.exit(${row% *})" "$code" "${row#* }"
done

begin "os.exit flushes: the trace is at the far end"
start_emulator
use_emulator
cat >x.lua <<'LUA'
local openai = require "host.openai"
assert(openai.chat_model { model = "gpt-4o" }:invoke { { role = "user", content = "hello" } })
pcall(coroutine.wrap(function() os.exit(3) end))
LUA
run run x.lua
want_code 3
is "ended runs at the far end" "$(state 'v["runs"]["ended"]')" 2
no_settings

begin "error with a table: its message, exit 1; with a kind: the kind's exit code"
echo 'error { message = "my own words", more = 1 }' >x.lua
run run x.lua
want_code 1
want_err "my own words"
echo 'error { kind = "rate_limit", message = "slow down" }' >x.lua
run run x.lua
want_code 4
want_err "slow down"
echo 'error(setmetatable({}, { __tostring = function() return "told" end }))' >x.lua
run run x.lua
want_code 1
want_err "told"
for value in nil true 12 '{}' 'print' 'setmetatable({}, { __tostring = function() error "again" end })'; do
  echo "error($value)" >x.lua
  run run x.lua
  is "exit code of error($value)" "$code" 1
  check "something is said" test -s err
done

begin "nil, err of the main script is its failure"
echo 'return nil, { kind = "config", message = "set this" }' >x.lua
run run x.lua
want_code 3
want_err "set this"
echo 'return nil, "a text"' >x.lua
run run x.lua
want_code 1
want_err "a text"

begin "an error in a task nobody waits for is not silent"
cat >x.lua <<'LUA'
local task = require "host.task"
task.spawn(function() error "lost words" end)
task.sleep(0.01)
print "main went on"
LUA
run run x.lua
want_err "lost words"
want_out "main went on"

begin "a failure that somebody waits for later is his alone"
cat >x.lua <<'LUA'
local task = require "host.task"
local a, b = task.spawn(function() task.sleep(0.02) end), task.spawn(function() error "said once" end)
a:wait()
print(select(2, pcall(b.wait, b)))
LUA
run run x.lua
want_code 0
want_out "said once"
not_err "nobody waited"

begin "a server's handler that fails: 500 and one line"
cat >x.lua <<'LUA'
local server, http = require "host.server", require "host.http"
local s = assert(server.listen { handler = function() error "handler words" end })
local res, err = http.get(("http://127.0.0.1:%d/"):format(s:port()), { retry = false })
print(res, err.status)
LUA
run run x.lua
want_code 0
want_out "500"
once_err "handler words"

begin "a task nobody waits for ends with the script"
cat >x.lua <<'LUA'
local task = require "host.task"
task.spawn(function() task.sleep(60) print "AFTER" end)
print "end"
LUA
LIMIT=10 run run x.lua
want_code 0
not_out "AFTER"

begin "out of memory is an error of the script, exit 1, the journal whole"
cat >x.lua <<'LUA'
local t = {}
for i = 1, 1e9 do t[i] = ("x"):rep(100000) .. i end
LUA
run run --memory 64 x.lua
want_code 1
want_err "memory"
check "the journal is there" test -s home/journal.db

begin "out of memory in pcall can be survived; one huge string; a deep recursion"
cat >x.lua <<'LUA'
print(pcall(function() local t = {} for i = 1, 1e9 do t[i] = ("x"):rep(100000) .. i end end))
print(pcall(string.rep, "x", 1 << 40))
local function f(n) return 1 + f(n + 1) end
print(select("#", pcall(f, 1)))
print "alive"
LUA
run run --memory 64 x.lua
want_code 0
want_out "alive"

begin "--memory 1 cannot even start: said, no crash"
echo 'print "x"' >x.lua
run run --memory 1 x.lua
check "an exit code of ours" test "$code" -ge 0 -a "$code" -le 16

# --- what a script cannot reach -----------------------------------------------------------------------------------------

begin "secrets: no getenv, handles that show nothing, no way into a message or a file"
cat >x.lua <<'LUA'
local host = require "host"
assert(os.getenv "OPENAI_API_KEY" == nil)
assert(os.getenv "MY_PASSWORD" == nil)
assert(os.getenv "HOME" ~= nil)
assert(not pcall(host.config, "OPENAI_API_KEY"))
local key = host.secret "OPENAI_API_KEY"
print(tostring(key), "Bearer " .. key, #tostring(key))
assert(not tostring(key):find "LEAK")
assert(getmetatable(key) == nil or type(getmetatable(key)) == "string" or getmetatable(key) == false)
for _, f in ipairs { string.len, string.byte, string.format, table.concat, string.rep } do pcall(f, key) end
print(pcall(string.format, "%s", key))
print(pcall(require("host.json").encode, { key = key }))
host.log("error", "the key is " .. tostring(key))
host.log("error", "typed in by hand: sk-" .. "LEAK-1234567890")
print "done"
error("the key was sk-" .. "LEAK-1234567890")
LUA
with OPENAI_API_KEY=sk-LEAK-1234567890 MY_PASSWORD=LEAK-my-password -- run x.lua
want_code 1
want_out "[secret:OPENAI_API_KEY]"
want_out "done"

begin "a model that repeats the key: neither its answer nor the journal shows it"
start_emulator
eval "$(grep '^export OPENAI_BASE_URL' "$TMP/emulator.out")"
OPENAI_API_KEY=$(sed -n "s/^export OPENAI_API_KEY='\(.*\)'/\1/p" "$TMP/emulator.out")
export OPENAI_API_KEY
SECRETS=$OPENAI_API_KEY
cat >x.lua <<LUA
local openai = require "host.openai"
local answer = assert(openai.chat_model { model = "gpt-4o" }:invoke { { role = "user", content = "my key is $OPENAI_API_KEY" } })
return { answer = "it was $OPENAI_API_KEY" }
LUA
run run --json x.lua
want_code 0
valid_json
no_settings

begin "no processes, no binary chunks, no native code, little debug"
cat >x.lua <<'LUA'
assert(io.popen == nil and os.execute == nil and os.tmpname == nil)
assert(package == nil or package.loadlib == nil)
for _, name in ipairs { "sethook", "getregistry", "setmetatable", "getupvalue", "setupvalue", "getlocal", "upvaluejoin" } do
  assert(debug[name] == nil, name)
end
local binary = string.dump(function() end)
local chunk, why = load(binary)
assert(not chunk and why, "load took a binary chunk")
assert(not pcall(load, binary, "x", "b"))
local f = assert(io.open("binary.lua", "wb")) f:write(binary) f:close()
assert(not loadfile "binary.lua")
assert(not pcall(dofile, "binary.lua"))
print(pcall(require, "binary"))
assert(not pcall(require, "binary"))
for _, name in ipairs { "../x", "/etc/passwd", "a..b", "x/../../y", "" } do assert(not pcall(require, name), name) end
print "closed"
LUA
run run x.lua
want_code 0
want_out "closed"

begin "shared tables are read-only for scripts; a script's own globals are its own"
cat >x.lua <<'LUA'
local function refused(f, ...) local ok, why = pcall(f, ...) assert(not ok, "went through") return why end
refused(function() string.upper = nil end)
refused(function() math.random = nil end)
refused(rawset, string, "upper", 1)
refused(function() require("host").version = 1 end)
refused(rawset, require "host", "version", 1)
refused(function() require("host.http").request = 1 end)
refused(setmetatable, string, {})
refused(setmetatable, _G, {})
assert(type(getmetatable "") ~= "table")
refused(function() getmetatable("").__index = {} end)
refused(function() table.insert(string, 1) end)
assert(("x"):upper() == "X")
print = 5 -- its own
assert(_G.print == 5)
mine = 7
assert(_G.mine == 7)
io.write(why or refused(function() string.upper = nil end), "\n")
for k in pairs(string) do assert(type(k) == "string") end
assert(next(string) ~= nil or true)
LUA
run run x.lua
want_code 0
want_out "read-only"

begin "require finds modules beside the script, runs them once, and says where it looked"
mkdir lib
echo 'io.write "loaded " return { n = 1 }' >lib/one.lua
echo 'local a, b = require "lib.one", require "lib.one" print(a == b) require "lib.two"' >x.lua
run run x.lua
want_code 1
want_out "loaded true"
want_err "lib.two"
want_err "looked"

done_testing
