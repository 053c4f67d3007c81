#!/bin/sh
# host.mcp against the official MCP conformance suite (client side, every scenario without authorization of both eras) and
# the reference server server-everything, over HTTP and stdio. All from npm; the suite wants Node 22 or newer, which comes
# from npm as well. Called by ctest with $AGENTHOST and $AGENTHOST_BUILD.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
program=${AGENTHOST:-$here/../../build/agenthost}
case "$program" in /*) ;; *) program=$PWD/$program ;; esac
. "$here/npm.sh"
modules=$PWD/node_modules
home=$(mktemp -d)
far=
trap '[ -z "$far" ] || kill "$far" 2>/dev/null; rm -rf "$home"' EXIT
export AGENTHOST_HOME="$home"
count=0 failed=0

check() { # name, command...
  name=$1
  shift
  count=$((count + 1))
  if timeout 90 "$@" >"$home/log" 2>&1; then
    echo "ok $count - $name"
  else
    failed=$((failed + 1))
    echo "not ok $count - $name"
    grep -a "FAILURE\|WARNING\|agenthost:\|Error" "$home/log" | head -n 20 | sed 's/^/# /'
  fi
}

scenario() { # revision, names...
  revision=$1
  shift
  for name in "$@"; do
    check "$name, $revision" "$node" "$modules/@modelcontextprotocol/conformance/dist/index.js" client \
      --command "$program run -q --no-trace $here/mcp_client.lua" --scenario "$name" --spec-version "$revision" \
      -o "$home/out"
  done
}
scenario 2025-11-25 initialize tools_call elicitation-sep1034-client-defaults sse-retry json-schema-2020-12-preservation
scenario 2026-07-28 tools_call request-metadata sep-2322-client-request-state http-standard-headers http-custom-headers \
  http-invalid-tool-headers json-schema-ref-no-deref json-schema-2020-12-preservation

everything=$modules/@modelcontextprotocol/server-everything/dist/index.js
check "server-everything over stdio" "$program" run -q --no-trace "$here/mcp_everything.lua" "$node" "$everything" stdio

# A free port is asked of the system; another program may take it meanwhile, then once more.
for _ in 1 2 3; do
  port=$("$node" -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})')
  PORT=$port "$node" "$everything" streamableHttp >"$home/far" 2>&1 &
  far=$!
  for _ in $(seq 100); do
    grep -q "listening on port" "$home/far" && break 2
    kill -0 "$far" 2>/dev/null || break
    sleep 0.1
  done
done
check "server-everything over HTTP" "$program" run -q --no-trace "$here/mcp_everything.lua" "http://127.0.0.1:$port/mcp"
kill "$far"
wait "$far" 2>/dev/null || true
far=

echo "1..$count"
echo "$((count - failed)) passed, $failed failed"
[ "$failed" = 0 ]
