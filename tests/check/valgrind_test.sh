#!/bin/sh
# The released program whole, under valgrind: no sanitizer changes it, and what it reads before it was written, or
# forgets at its end, shows only so. A run with tools, streams side by side, and one that fails half way.
# tests/check/valgrind does the same with the C units, by hand. $AGENTHOST_RELEASE names the program.
set -eu
cd "$(dirname "$0")/../.."
command -v valgrind >/dev/null || { echo "valgrind: not installed (apt-get install valgrind)"; exit 77; }
program=${AGENTHOST_RELEASE:-}
[ -x "$program" ] || { echo "valgrind: AGENTHOST_RELEASE names no program without sanitizers"; exit 77; }
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
export AGENTHOST_HOME="$home"

cat >"$home/fails.lua" <<'LUA'
local http, task = require "host.http", require "host.task"
task.spawn(function() http.get "http://127.0.0.1:1/" end)
task.sleep(0.01)
error "on purpose"
LUA

failed=
try() { # what it ends with, its words
  expected=$1
  shift
  code=0
  valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=definite,indirect \
    --errors-for-leak-kinds=definite,indirect "$program" "$@" >"$home/out" 2>&1 || code=$?
  if [ "$code" = "$expected" ]; then
    echo "ok - $*"
  else
    echo "not ok - $*: ended with $code, not $expected"
    tail -n 60 "$home/out"
    failed=yes
  fi
}

try 0 demo
try 0 run -q --emulate examples/stream.lua
try 0 run -q --emulate examples/parallel.lua
try 1 run -q --emulate "$home/fails.lua"
try 0 trace ls
[ -z "$failed" ]
