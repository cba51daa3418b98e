#!/bin/sh
# The examples that also run as processes and in containers, on Slurm, with no change of their files:
# the digits, and a gang on one node and on two.
set -eu
SLURM_MEMBERS=2
# shellcheck source=tests/support/slurm_cluster.sh
. "$ROOT/tests/support/slurm_cluster.sh"

fail() {
  echo "FAILED: $*" >&2
  squeue --all --states=all >&2 || true
  slurm_log >&2
  exit 1
}
run() { # run ARGUMENTS…: on Slurm
  "$TRACKBED" run --on slurm --plain "$@" >out 2>&1 || { cat out; fail "exit code $?: $*"; }
}

run "$ROOT/examples/gang/pipeline.yaml"
"$TRACKBED" logs latest sum | grep -q '^main1: .* of 500500$' || fail "no sum of main1"
"$TRACKBED" logs latest sum --member sub1 | grep -q '^sub1: .* of 500500$' || fail "no sum of sub1"

# Members on one node have a device each, of the two that their job was given.
cat >devices.yaml <<'Y'
name: devices
tasks:
- name: pair
  cache: false
  cluster: {size: 2}
  resources: {cpu: 1, cuda.device: 1}
  command: echo "$TRACKBED_GANG_HOST sees $CUDA_VISIBLE_DEVICES of $SLURM_JOB_GPUS"
Y
run devices.yaml
"$TRACKBED" logs latest pair | grep -q '^main1 sees 0 of 0,1$' || fail "$("$TRACKBED" logs latest pair)"
"$TRACKBED" logs latest pair --member sub1 | grep -q '^sub1 sees 1 of 0,1$' ||
  fail "$("$TRACKBED" logs latest pair --member sub1)"

cp -r "$ROOT/examples/gang" apart
sed -i 's/cluster: {size: 2}/cluster: {size: 2, multi_node: true}/' apart/pipeline.yaml
grep -q multi_node apart/pipeline.yaml || fail "the example has changed"
# Members that are apart need as many nodes: with --slots there is one.
run --no-cache --partition many apart/pipeline.yaml
"$TRACKBED" logs latest sum --member sub1 | grep -q '^sub1: .* of 500500$' || fail "no sum of sub1"
nodes=$(squeue --all --states=all --noheader --format='%D' | sort -n | tail -n 1)
[ "$nodes" = 2 ] || fail "the gang was on $nodes nodes"
slurm_no_jobs || fail "jobs are left"

if ! python3 -c 'import numpy' 2>/dev/null; then
  PATH=/usr/bin:$PATH
  python3 -c 'import numpy' 2>/dev/null || exit 0
fi
run "$ROOT/examples/digits/pipeline.yaml"
slurm_no_jobs || fail "jobs are left"
