#!/bin/sh
# agenthost check: every kind of mistake is found where it is, and nothing is said of what is none.
. "$(dirname "$0")/lib.sh"
FIXTURES=$ROOT/tests/fixtures/check

begin "each mistake of the fixtures, with its line and column"
cp -R "$FIXTURES" here
cd here || exit 1
# In the folder of the fixtures, so that names are short: here/modules.lua, here/fields.lua, here/prompts.lua
"$AGENTHOST" check syntax.lua modules.lua fields.lua prompts.lua connectors.lua >../out 2>../err || code=$?
cd .. || exit 1
want_code 1
want_err "5 files: 26 findings"
# also those of prompts/head.md and prompts/names.md
check "findings.txt is what is found: $(diff "$FIXTURES/findings.txt" out | head -n 20)" cmp "$FIXTURES/findings.txt" out

begin "no finding in clean.lua (prompts/names_late.md), helper.lua, tools.lua, the examples, the program's scripts"
run check "$FIXTURES/clean.lua" "$FIXTURES/helper.lua" "$FIXTURES/tools.lua"
want_code 0
empty_out
want_err "3 files: 0 findings"
find "$ROOT/examples" "$ROOT/scripts" -name '*.lua' -not -path '*/new/*' >files # those have no name yet
# shellcheck disable=SC2046
run check -q $(cat files)
want_code 0
empty_out
is "bytes on stderr" "$(wc -c <err)" 0
run check examples/gmail_digest.lua # of the program, when there is no such file here
want_code 0

begin "--json: a line each"
run check --json "$FIXTURES/connectors.lua" "$FIXTURES/syntax.lua"
want_code 1
check "lines of JSON" python3 -m json.tool --json-lines out
is "the last" "$(tail -n 1 out | python3 -c 'import json, sys; v = json.loads(sys.stdin.read()); print(sorted(v), v["line"], v["col"], v["file"][-10:])')" \
  "['col', 'file', 'line', 'message'] 5 1 syntax.lua"
run check --json "$FIXTURES/clean.lua"
want_code 0
empty_out

begin "a file that is not there; a script is not run; a journal is not needed"
run check nosuch.lua
want_code 3
empty_out
want_err "nosuch.lua"
run check
want_code 2
want_err "which scripts?"
echo 'io.open("made", "w"):close() error "ran"' >x.lua
run check x.lua
want_code 0
check "it was not run" test ! -e made
check "no journal was made" test ! -e home/journal.db
: >empty.lua
printf '#!/usr/bin/env agenthost\nreturn 1' >shebang.lua
printf 'local x = [==[\n never closed' >long.lua
printf '\033Lua' >binary.lua
run check empty.lua shebang.lua
want_code 0
run check -q long.lua binary.lua
want_code 1
is "findings" "$(wc -l <out)" 2

begin "strange but right scripts: numbers, comments, strings, gotos, deep tables"
python3 - >deep.lua <<'PY'
print("local agent = require 'agent'")
print("local t = " + "{" * 150 + "}" * 150)
print("return agent { input = 'x', metadata = " + "{ a = " * 100 + "1" + "}" * 100 + " }")
PY
cat >odd.lua <<'LUA'
local http = require 'host.http'--[==[ ]] ]==]
local n = { 0x.1p-3, 3e+2, .5, 3., 0xA, 1//2, 1 .. 2, "\z
   x", '\x41\u{48}', [[
a]], "\"", '\\' }
goto top
::top:: do local s = "require 'host.no'" ; print(s, n) end
print(http.get"http://127.0.0.1/", #"x", n[#n], -n[1], ~5, 7 & 3 | 1 ~ 2 << 1 >> 1)
for i = 1, 10 do local http <const> = i print(http) end
local function f(...) local a <close>, b = nil, ... return a, b, http.post end
return f, function(http) return http.anything end
LUA
run check deep.lua odd.lua
want_code 0
empty_out

done_testing
