#!/bin/sh
# Jobs that Slurm takes away: preempted by a job of a more important partition, and put back by an
# operator. The attempts are lost and made again, which counts as no try; no two run beside each
# other, and nothing is left.
set -eu
# shellcheck source=tests/support/slurm_cluster.sh
. "$ROOT/tests/support/slurm_cluster.sh"

fail() {
  echo "FAILED: $*" >&2
  cat run.out >&2
  squeue --all --states=all --format='%i %T %r %j' >&2 || true
  slurm_log >&2
  exit 1
}
wait_for() { # wait_for COMMAND…: until it succeeds
  tries=0
  until "$@" >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 900 ] || fail "in vain: $*"
    sleep 0.1
  done
}

cat >taken.yaml <<Y
name: taken
environment: {WITNESS: '$PWD/witness'}
tasks:
- name: a
  cache: false
  resources: {cpu: 8, mem: 100m}
  retry: {max_attempts: 1}
  command: |
    exec 9>"\$WITNESS.lock"
    flock --nonblock 9 || echo "overlap \$TRACKBED_ATTEMPT_KEY" >>"\$WITNESS"
    echo "begin \$TRACKBED_ATTEMPT_KEY" >>"\$WITNESS"
    until [ -e "\$WITNESS.go" ]; do sleep 0.1; done
Y
"$TRACKBED" run --on slurm taken.yaml >run.out 2>&1 &
program=$!
begun() { [ "$(grep -c '^begin' witness)" = "$1" ]; }
wait_for begun 1
sbatch --parsable --partition=urgent --cpus-per-task=8 --mem=100M --output=/dev/null --chdir=/ \
  --wrap="touch '$PWD/urgent'" >/dev/null
wait_for [ -e urgent ]
wait_for begun 2
scontrol requeue "$(squeue --noheader --states=RUNNING --format=%i)"
wait_for begun 3
touch witness.go
code=0
wait "$program" || code=$?
[ "$code" = 0 ] || fail "exit code $code, expected 0"
! grep '^overlap' witness || fail "two attempts ran at the same time"
[ "$(sort -u witness | wc -l)" = 3 ] || fail "an attempt has begun twice"
slurm_no_jobs || fail "jobs are left"
[ -z "$(find .trackbed -name order)" ] || fail "orders are left"
