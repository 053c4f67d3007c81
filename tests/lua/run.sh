#!/bin/sh
# Runs one Lua test file with the program, in a home of its own. A first line "-- run: FLAGS" adds flags.
#   tests/lua/run.sh PROGRAM FILE
set -eu
program=$1 file=$2
home=$(mktemp -d)
mkdir "$home/folder"
trap 'rm -rf "$home"' EXIT
flags=$(sed -n '1s/^-- run: //p' "$file")
unset OPENAI_API_KEY OPENAI_BASE_URL LANGSMITH_API_KEY LANGSMITH_TRACING LANGCHAIN_API_KEY LANGCHAIN_TRACING_V2 \
  SCALEKIT_CLIENT_ID SCALEKIT_CLIENT_SECRET SCALEKIT_ENVIRONMENT_URL LITELLM_BASE_URL LITELLM_API_KEY AGENTHOST_USER \
  http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY all_proxy 2>/dev/null || true
export AGENTHOST_TEST_TOKEN=token-for-tests-123456 # a secret by its name
export AGENTHOST_TEST_FOLDER="$home/folder"        # empty, for files of the test
case "$flags" in *--trace*) flags=$(printf '%s' "$flags" | sed 's/--trace//') ;; *) flags="--no-trace $flags" ;; esac
# shellcheck disable=SC2086
AGENTHOST_HOME="$home" "$program" run -q --approve auto --scripts tests/lua $flags "$file"
