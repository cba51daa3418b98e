#!/bin/sh
# kill -9 of `trackbed run` and of every `trackbed resume` after it, at random moments: in the end
# each task has run exactly once. KILL_SEED and KILL_ROUNDS choose what and how much.
set -eu
exec python3 "$ROOT/tests/system/kill.py"
