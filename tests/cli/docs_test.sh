#!/bin/sh
# Each Lua block of the pages below is a whole script: run on the emulator, it ends well and prints what it says. One
# that the page gives a name is a file for the others, and passes `agenthost check`.
. "$(dirname "$0")/lib.sh"

page() { # FILE: a test a block
  begin "$1: blocks"
  here=$W
  cp -r "$ROOT/examples/prompts" .
  python3 "$HERE/docs.py" "$ROOT/$1" . || say_failed "cannot be read"
  found=$(ls [0-9][0-9][0-9][0-9].lua)
  [ -n "$found" ] || say_failed "no block"
  for block in $found; do
    begin "$1:${block%.lua}"
    cd "$here" || exit 1
    run run -q --emulate --approve auto "$block"
    want_code 0
    problem=$(python3 "$HERE/docs.py" --compare "$block" out 2>&1) || say_failed "$problem"
  done
  for file in $(cd "$here" && ls *.lua | grep -v '^[0-9]*\.lua$'); do
    begin "$1: $file"
    cd "$here" || exit 1
    run check "$file"
    want_code 0
  done
}

page docs/scripting.md
page README.md
page docs/tracing.md
page docs/scalekit.md
page docs/emulator.md

done_testing
