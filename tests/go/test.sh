#!/bin/sh
# test.sh GO MODULE: its tests with the race detector, and those about memory without.
set -eu
cd "$2"
"$1" test -race -count=1 ./...
"$1" test -count=1 -run 'LeaveNothing' .
