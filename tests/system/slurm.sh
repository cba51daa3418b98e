#!/bin/sh
# Runs on a Slurm cluster: files and values between tasks, failures, secrets, cancels, kill -9 of the
# engine at the beginning. Nothing runs twice, and nothing is left.
set -eu
# shellcheck source=tests/support/slurm_cluster.sh
. "$ROOT/tests/support/slurm_cluster.sh"

fail() {
  echo "FAILED: $*" >&2
  "$TRACKBED" runs >&2 || true
  squeue --all --states=all >&2 || true
  slurm_log >&2
  exit 1
}
expect() { # expect CODE COMMAND…: runs it, its output goes to `out`
  wanted=$1
  shift
  code=0
  "$@" >out 2>&1 || code=$?
  [ "$code" = "$wanted" ] || { cat out; fail "exit code $code, expected $wanted: $*"; }
}
wait_for() { # wait_for COMMAND…: until it succeeds
  tries=0
  until "$@" >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] || fail "in vain: $*"
    sleep 0.1
  done
}
no_orders() { [ -z "$(find .trackbed -name order)" ]; }

expect 0 "$TRACKBED" doctor
grep -q '^ok *slurm .*partitions main, other, urgent' out || { cat out; fail "doctor does not see Slurm"; }
expect 6 "$TRACKBED" doctor --partition nowhere
grep -q 'no partition "nowhere"' out || { cat out; fail "doctor does not see what is missing"; }

# Files, values and the job's own environment.
cat >files.yaml <<'Y'
name: files
environment: {TOKEN: secret://env/DEMO_TOKEN}
tasks:
- name: make
  cache: false
  resources: {cpu: 2, mem: 200m}
  outputs: {number: integer}
  command: |
    echo "number=42" >> "$TRACKBED_OUTPUT"
    echo hello > "$TRACKBED_OUTPUTS/greeting"
    echo "in job $SLURM_JOB_ID on $SLURM_CPUS_PER_TASK, token $TOKEN"
- name: use
  cache: false
  resource_group: second
  dependencies: [make]
  command: |
    [ "$(cat "$TRACKBED_INPUT_1/greeting")" = hello ]
    echo "partition $SLURM_JOB_PARTITION, number ${{ tasks.make.outputs.number }}"
- name: devices
  cache: false
  resources: {cpu: 1, mem: 100m, cuda.device: 2}
  timeout: 10m
  command: |
    echo "devices $CUDA_VISIBLE_DEVICES of $SLURM_JOB_GPUS"
    echo "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format='%b %l %m')"
Y
DEMO_TOKEN=geheim-7291 expect 0 "$TRACKBED" run --on slurm --partition main \
  --partition second=other files.yaml
"$TRACKBED" logs latest make | grep -q '^in job [0-9]* on 2, token \*\*\*$' || fail "the log of make"
"$TRACKBED" logs latest use | grep -q '^partition other, number 42$' || fail "the log of use"
"$TRACKBED" logs latest devices | grep -q '^devices 0,1 of 0,1$' || fail "the devices"
"$TRACKBED" logs latest devices | grep -q '^gres:gpu:2 12:00 100M$' || fail "what was asked for"
no_orders || fail "orders are left"
! grep -rlF geheim-7291 .trackbed "$SLURM_FOLDER/slurmctld.log" "$SLURM_FOLDER/slurmd.log" \
  "$SLURM_FOLDER/state" || fail "the secret is in the files above"

# Started, killed before it was submitted or right after, adopted: at each moment of the beginning.
cat >once.yaml <<'Y'
name: once
environment: {WITNESS: WITNESS_FOLDER/once}
tasks:
- {name: a, cache: false, command: 'echo x >> "$WITNESS"'}
Y
sed -i "s|WITNESS_FOLDER|$PWD|" once.yaml
for pause in 0.1 0.3 0.6; do
  rm -f once
  "$TRACKBED" run --on slurm once.yaml >once.out 2>&1 &
  program=$!
  sleep "$pause"
  kill -9 "$program" 2>/dev/null || true
  wait "$program" 2>/dev/null || true
  "$TRACKBED" resume latest --on slurm >once.out 2>&1 || true # fails where it had not begun
  if "$TRACKBED" runs | grep -q '^once.*running'; then fail "a run is left"; fi
  [ ! -e once ] || [ "$(wc -l <once)" = 1 ] || fail "something ran twice"
done

# Failures, with their codes, and what Slurm refuses.
cat >fails.yaml <<'Y'
name: fails
tasks:
- name: code
  command: exit 7
  cache: false
- name: large
  command: echo never
  resources: {mem: 900g}
  cache: false
- {name: time, command: exec sleep 614, timeout: 1s, cache: false}
Y
expect 1 "$TRACKBED" run --on slurm fails.yaml
grep -q 'exit code 7' out || { cat out; fail "the exit code is not told"; }
grep -q 'Slurm refuses the job: ' out || { cat out; fail "the refusal is not told"; }
grep -q '^[^ ]* *time *failed: .*stopped ' out || { cat out; fail "the timeout is not told"; }

# A cancel reaches what runs and what waits: there are 8 processors.
cat >cancel.yaml <<'Y'
name: cancel
tasks:
- {name: runs, command: "touch $WITNESS/runs; exec sleep 613", resources: {cpu: 7}, cache: false}
# Jobs that are submitted at once may change places in Slurm's queue.
- {name: first, command: "until [ -e $WITNESS/runs ]; do sleep 0.1; done", cache: false}
- {name: waits, command: "touch $WITNESS/waits", resources: {cpu: 8}, cache: false, dependencies: [first]}
environment: {WITNESS: WITNESS_FOLDER}
Y
sed -i "s|WITNESS_FOLDER|$PWD|" cancel.yaml
"$TRACKBED" run --on slurm cancel.yaml >cancel.out 2>&1 &
program=$!
wait_for [ -e runs ]
wait_for sh -c 'squeue --noheader --states=PENDING --format=%j | grep -q trackbed'
expect 0 "$TRACKBED" cancel latest
code=0
wait "$program" || code=$?
[ "$code" = 3 ] || { cat cancel.out; fail "after a cancel: exit code $code, expected 3"; }
[ ! -e waits ] || fail "what waited has run"
slurm_no_jobs || fail "jobs are left"
! pgrep -f '^sleep 613' >/dev/null || fail "the task is still there"

slurm_no_jobs || fail "jobs are left"
no_orders || fail "orders are left"
