#!/bin/sh
# What `trackbed run` draws on a terminal.
set -eu
exec python3 "$ROOT/tests/system/screen.py"
