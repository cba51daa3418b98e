#!/bin/sh
# The conformance suite of executors by slurmrestd with tokens, on a cluster of its own; afterwards no
# job is left.
set -eu
SLURM_MEMBERS=2
# shellcheck source=tests/support/slurm_cluster.sh
. "$ROOT/tests/support/slurm_cluster.sh"
token=$(scontrol token username=root lifespan=3600 2>/dev/null) || skip "Slurm makes no tokens here"
SLURM_JWT=${token#SLURM_JWT=}
export SLURM_JWT
slurm_rest_start nobody jwt
TRACKBED_SUITE=slurm TRACKBED_SUITE_ENDPOINT=$SLURM_REST \
  "$(dirname "$TRACKBED")/trackbed_executor_suite" --warn NoTests "$@" || {
  squeue --all --states=all
  sinfo --list-reasons
  slurm_log
  exit 1
}
unset SLURM_JWT
slurm_no_jobs || { echo "jobs are left" && exit 1; }
