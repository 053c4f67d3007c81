#!/bin/sh
# The short form of `tests/faults/effects.py hand`; `long` as an argument is the whole measure.
exec python3 "$(dirname "$0")/effects.py" hand "$@"
