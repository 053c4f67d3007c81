#!/bin/sh
# The check of the texts passes on the tree, and fails on one planted violation of each of its rules. Called by ctest.
set -eu
. "$(dirname "$0")/lib.sh"
check="$here/texts.py"

texts() { "$check" --root "$work/tree"; }
plant() { # rule, file, text
  mkdir -p "$work/tree/$(dirname "$2")"
  printf '%s\n' "$3" >"$work/tree/$2"
  caught "$1" "$2" texts
  rm "$work/tree/$2"
}

clean "the texts keep the rules" "$check"
copy src docs scripts examples tests/c tests/cli tests/fuzz tests/fixtures tests/cases
clean "a copy without git keeps them too" texts

plant opening src/extra.c 'int ah_extra;'
plant opening src/extra.h '#ifndef AH_EXTRA_H'
plant opening scripts/agent/extra.lua 'return {}'
plant opening tests/extra.py '#!/usr/bin/env python3
import sys'
plant mode tests/cli/extra_test.sh '#!/bin/sh
# A test that ctest cannot start.'
slash=/ # so that this file does not say what it plants
plant machine-path docs/extra.md "see ${slash}work/main"
plant machine-path docs/extra.md "see ${slash}home/somebody/agenthost"
plant machine-path docs/extra.md "see \"${slash}root/agenthost\""
plant registry docs/extra.md "https:/${slash}registry.${slash%/}npmjs.org/openai"
plant registry docs/extra.md "deb http:/${slash}deb.${slash%/}debian.org/debian bookworm main"
plant note src/extra.c "/* TO""DO: later */"
plant note src/extra.c "/* FIX""ME */"
plant orphan tests/fixtures/openai/nobody_reads_this.sse 'data: {}'
plant orphan tests/cases/nobody/plays.case '# A case of a folder that no test plays.'
plant orphan tests/cases/http/notes.txt 'beside the cases, read by none'
plant orphan tests/fuzz/corpus/nothing/a 'a seed without a fuzzer'
finish
