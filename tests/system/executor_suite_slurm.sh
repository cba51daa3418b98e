#!/bin/sh
# The conformance suite of executors (tests/system/executor_suite), on a Slurm cluster of its own;
# afterwards no job is left.
set -eu
SLURM_MEMBERS=2
# shellcheck source=tests/support/slurm_cluster.sh
. "$ROOT/tests/support/slurm_cluster.sh"
TRACKBED_SUITE=slurm "$(dirname "$TRACKBED")/trackbed_executor_suite" --warn NoTests "$@" || {
  squeue --all --states=all
  sinfo --list-reasons
  slurm_log
  exit 1
}
slurm_no_jobs || { echo "jobs are left" && exit 1; }
