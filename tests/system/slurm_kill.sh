#!/bin/sh
# 200 tasks as jobs of Slurm, in the middle of which the engine and the controller are killed by
# kill -9, several times and at random moments. All finishes; no attempt runs twice, no two attempts
# of a task run at the same time, and no job, order or temporary folder is left.
#
# A controller that is killed within seconds of a submission forgets it, or that the job has begun.
# When it comes back it kills what runs on its nodes without its knowledge, gives the numbers anew, or
# starts the job again where it still runs; the node is then drained until an operator puts it back,
# as the cluster's helper does here. Jobs that are killed so are lost attempts, which are tried again.
set -eu
SLURM_MEMBERS=1
# shellcheck source=tests/support/slurm_cluster.sh
. "$ROOT/tests/support/slurm_cluster.sh"
slurm_operator_start
count=${SLURM_KILL_TASKS:-200}
rounds=${SLURM_KILL_ROUNDS:-3}

fail() {
  echo "FAILED: $*" >&2
  "$TRACKBED" runs >&2 || true
  squeue --all --states=all --format='%i %T %r %j' | tail -n 20 >&2 || true
  sinfo --list-reasons >&2 || true
  slurm_log >&2
  exit 1
}
seed=${SLURM_KILL_SEED:-$(od -An -N2 -tu2 /dev/urandom | tr -d ' ')}
echo "seed $seed"
random() { # random LIMIT: a number below it, in $drawn
  seed=$(((seed * 1103515245 + 12345) % 2147483648))
  drawn=$((seed / 65536 % $1))
}

{
  echo "name: many"
  echo "environment: {WITNESS: '$PWD/witness'}"
  echo "tasks:"
  for i in $(seq "$count"); do
    # A chain of four each, so that submissions go on.
    after=
    [ "$i" -le $((count / 4)) ] || after="t$((i - count / 4))"
    cat <<Y
- name: t$i
  cache: false
  dependencies: [$after]
  command: |
    exec 9>"\$WITNESS.t$i"
    flock --nonblock 9 || echo "overlap \$TRACKBED_ATTEMPT_KEY" >>"\$WITNESS"
    echo "begin \$TRACKBED_ATTEMPT_KEY" >>"\$WITNESS"
    sleep 1
    echo "done" >"\$TRACKBED_OUTPUTS/file"
    echo "end t$i" >>"\$WITNESS"
Y
  done
} >many.yaml

"$TRACKBED" run --on slurm many.yaml >many.out 2>&1 &
program=$!
for round in $(seq "$rounds"); do
  # After the first tasks have begun, at any moment.
  tries=0
  until [ -s witness ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] || fail "no task begins"
    sleep 0.1
  done
  random 60
  sleep "$((drawn / 10)).$((drawn % 10))"
  slurm_controller_kill
  random 30
  sleep "$((drawn / 10)).$((drawn % 10))"
  if [ "$round" != 2 ]; then
    kill -9 "$program" 2>/dev/null || true
    wait "$program" 2>/dev/null || true
    random 20
    sleep "$((drawn / 10)).$((drawn % 10))"
    slurm_controller_start
    # It does not start while the controller does not answer.
    tries=0
    until sinfo >/dev/null 2>&1; do
      tries=$((tries + 1))
      [ "$tries" -lt 300 ] || fail "the controller does not come back"
      sleep 0.1
    done
    "$TRACKBED" resume latest --on slurm >many.out 2>&1 &
    program=$!
  else
    slurm_controller_start
  fi
done
code=0
wait "$program" || code=$?
[ "$code" = 0 ] || { tail -n 20 many.out; fail "resumed: exit code $code, expected 0"; }

begun=$(grep -c '^begin' witness)
[ "$(grep '^begin' witness | sort -u | wc -l)" = "$begun" ] || {
  grep '^begin' witness | sort | uniq -d
  fail "an attempt has run twice"
}
! grep '^overlap' witness || fail "two attempts of a task ran at the same time"
[ "$(grep '^end' witness | sort -u | wc -l)" = "$count" ] || fail "not every task has ended"
echo "$begun attempts for $count tasks"

slurm_no_jobs || fail "jobs are left"
[ -z "$(find .trackbed -name order)" ] || fail "orders are left"
[ -z "$(find .trackbed -type d -name tmp)" ] || {
  find .trackbed -type d -name tmp
  fail "temporary folders are left"
}
