#!/bin/sh
# The few small units that valgrind is through with in seconds; tests/check/valgrind does all of them by hand.
set -eu
cd "$(dirname "$0")/../.."
command -v valgrind >/dev/null || { echo "valgrind: not installed"; exit 77; }
# The sanitized build cannot run under valgrind: the release build's units can, where they were built.
build=
for folder in build-valgrind build; do
  if [ -x "$folder/test_buf" ] && [ -x "$folder/test_loop" ] && [ -x "$folder/test_op" ]; then build=$folder; break; fi
done
[ -n "$build" ] || { echo "valgrind: no release build with tests here (tests/check/valgrind makes one)"; exit 77; }
AGENTHOST_VALGRIND_BUILD=$build exec tests/check/valgrind buf loop op
