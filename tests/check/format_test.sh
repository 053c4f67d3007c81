#!/bin/sh
# tests/check/format passes on the tree, and each of its three tools fails on a planted mistake. Called by ctest.
set -eu
. "$(dirname "$0")/lib.sh"
check="$here/format"

tree() { # a small clean tree
  rm -rf "$work/tree"
  mkdir -p "$work/tree/src" "$work/tree/scripts"
  cp "$top/.clang-format" "$top/.luacheckrc" "$work/tree/"
  printf '/* Clean. */\nint ah_one(void);\n\nint ah_one(void)\n{\n    return 1;\n}\n' >"$work/tree/src/one.c"
  printf -- '-- Clean.\nreturn {}\n' >"$work/tree/scripts/one.lua"
}
refused() { # tool
  if "$check" "$work/tree" >"$work/out" 2>&1; then result not "$1: planted, and the check passed"; return; fi
  if grep -q "^format: $1: see above" "$work/out" && [ "$(grep -c '^format: .*: see above' "$work/out")" = 1 ]; then
    result ok "$1: planted, refused"
  else
    result not "$1: planted, and something else was said"
    sed 's/^/  /' "$work/out"
  fi
}

clean "the tree is clean" "$check"
tree
clean "a clean tree passes" "$check" "$work/tree"
tree
printf '/* Planted. */\nint ah_two( void );\n' >"$work/tree/src/two.c"
refused clang-format
tree
printf -- '-- Planted.\nlocal unused = 1\nx = 2\n' >"$work/tree/scripts/two.lua"
refused luacheck
tree
printf '/* Planted. */\nint ah_two(void);\n\nint ah_two(void)\n{\n    int a[2] = {0, 0};\n    return a[2];\n}\n' >"$work/tree/src/two.c"
refused cppcheck
finish
