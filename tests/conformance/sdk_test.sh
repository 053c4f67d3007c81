#!/bin/sh
# The emulator against the services' own npm SDKs (run.mjs). They and, where the system's is too old, a newer Node come
# from npm, into the build folder. Called by ctest with $AGENTHOST and $AGENTHOST_BUILD.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
program=${AGENTHOST:-$here/../../build/agenthost}
. "$here/npm.sh"
AGENTHOST=$program exec "$node" run.mjs
