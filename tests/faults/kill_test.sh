#!/bin/sh
# The short form of `tests/faults/faults.py kill`; `long` as an argument is the whole measure.
exec python3 "$(dirname "$0")/faults.py" kill "$@"
