#!/bin/sh
# The conformance suite of executors (tests/system/executor_suite), on processes.
set -eu
TRACKBED_SUITE=process exec "$(dirname "$TRACKBED")/trackbed_executor_suite"
