#!/bin/sh
# What emulators heard and said while the other tests ran ($AGENTHOST_WIRE_LOG), and the requests in tests/cases, against
# the services' own OpenAPI documents (openapi.mjs). Called by ctest after all others. The documents are not ours to
# copy: they lie in ../shared/spec beside the project, or in $AGENTHOST_SPEC_DIR; 77 where there are none.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
documents=${AGENTHOST_SPEC_DIR:-$root/../shared/spec}
logs=${AGENTHOST_WIRE_LOG:-${AGENTHOST_BUILD:-$root/build}/wire}
program=${AGENTHOST:-$root/build/agenthost}
[ -f "$documents/scalekit-openapi.json" ] || { echo "1..0 # SKIP no OpenAPI documents in $documents (AGENTHOST_SPEC_DIR)"; exit 77; }
documents=$(cd "$documents" && pwd)
. "$here/npm.sh"
find "$logs" -type f ! -newer "$program" -delete # what an older program said
# Without the tests before it there is little to see, and nothing to say about what was not seen.
[ -f "$logs/.all" ] && set -- || set -- --partial
exec "$node" openapi.mjs "$documents" "$logs" "$root" "$@"
