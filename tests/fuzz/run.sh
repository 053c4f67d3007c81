#!/bin/sh
# Runs one fuzzer for FUZZ_SECONDS (10) over its corpus; new inputs go to a folder of its own that is
# thrown away. Prints executions and edges.
#   tests/fuzz/run.sh FUZZER UNIT
set -eu
fuzzer=$1 unit=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/new"
"$fuzzer" -max_total_time="${FUZZ_SECONDS:-10}" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
  -artifact_prefix="$work/" "$work/new" "tests/fuzz/corpus/$unit" >"$work/log" 2>&1 || {
  tail -n 60 "$work/log"
  for found in "$work"/crash-* "$work"/leak-* "$work"/timeout-* "$work"/oom-*; do
    [ -f "$found" ] && { echo "input that failed, in base64:"; base64 "$found"; }
  done
  exit 1
}
executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log")
edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$work/log" | tail -n 1)
echo "$unit: $executions executions, $edges edges"
