# What the tests of the checks share: a copy of the tree to plant a mistake in, and a look at what is then said.
# Sourced by tests/check/*_test.sh; each has set $check. Never touches the tree itself.
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
count=0 failures=0

result() { # ok|not, name
  count=$((count + 1))
  if [ "$1" = ok ]; then printf 'ok %d %s\n' "$count" "$2"; else failures=$((failures + 1)); printf 'not ok %d %s\n' "$count" "$2"; fi
}

# A fresh copy of FOLDERS and files in $work/tree.
copy() {
  rm -rf "$work/tree"
  mkdir -p "$work/tree"
  for item in "$@"; do
    mkdir -p "$work/tree/$(dirname "$item")"
    cp -R "$top/$item" "$work/tree/$item"
  done
}

# The check passes on what is there.
clean() { # name, command...
  name=$1; shift
  if "$@" >"$work/out" 2>&1; then result ok "$name"; else result not "$name"; sed 's/^/  /' "$work/out"; fi
}

# The check fails, and says RULE of FILE.
caught() { # rule, file, command...
  rule=$1 file=$2; shift 2
  if "$@" >"$work/out" 2>&1; then result not "$rule: planted in $file, and the check passed"; return; fi
  if grep -q "^$file:[0-9]*: $rule: " "$work/out"; then result ok "$rule: planted in $file, caught"; else
    result not "$rule: planted in $file, and something else was said"
    sed 's/^/  /' "$work/out"
  fi
}

finish() {
  printf '1..%d\n' "$count"
  [ "$failures" = 0 ]
}
