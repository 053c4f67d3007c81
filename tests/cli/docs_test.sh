#!/bin/sh
# Each Lua block of the pages below is a whole script: run on the emulator, it ends well and prints what it says.
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
}

page docs/scripting.md
page README.md
page docs/tracing.md

done_testing
