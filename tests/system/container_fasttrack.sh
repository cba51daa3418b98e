#!/bin/sh
# A pipeline in FastTrack's form runs in containers as it is, with the places that its scripts expect,
# which are not made on the machine itself.
set -eu
# shellcheck source=tests/support/podman_service.sh
. "$ROOT/tests/support/podman_service.sh"
DOCKER_HOST=unix://$SOCKET
export DOCKER_HOST
fail() {
  echo "FAILED: $1"
  shift
  cat "$@"
  exit 1
}
cat >fasttrack.yaml <<Y
version: 25.6.5.post2
name: places
description: Shows where things are.
ownership: {domain_name: default, scope: personal}
environment:
  envs: {GREETING: hello}
tasks:
- name: download-model
  description: ''
  type: Custom Task
  cluster_mode: single-node
  cluster_size: 1
  module_uri: ''
  command: 'cd /home/work/examples

    echo "\$GREETING from \$BACKENDAI_CLUSTER_ROLE\$BACKENDAI_CLUSTER_IDX of \$BACKENDAI_CLUSTER_SIZE on \$(hostname)"

    echo model > /pipeline/outputs/model

    echo kept > kept

    echo visit >> /pipeline/vfroot/visits'
  environment: {project: default, scaling-group: any, image: '$IMAGE', envs: {}}
  resources: {cpu: 1, mem: 256m}
  resource_opts: {shmem: 0g}
  dependencies: []
  mounts: ['example-files:examples']
  skip: false
- name: prepare
  type: Custom Task
  cluster_mode: single-node
  cluster_size: 1
  command: 'echo data > /pipeline/outputs/data; pwd; ls -A /pipeline | tr "\n" " "'
  environment: {project: default, scaling-group: any, image: '$IMAGE', envs: {}}
  resources: {cpu: '0.5', mem: 256m}
  dependencies: []
  mounts: []
  skip: false
- name: fine-tune-single
  type: Custom Task
  cluster_mode: single-node
  cluster_size: 1
  command: |
    cat /pipeline/input1/model /pipeline/input2/data /home/work/examples/kept /pipeline/vfroot/visits
    df -m /dev/shm | awk 'NR == 2 {print \$2}'
    ! touch /pipeline/input1/new 2>/dev/null
  environment: {project: default, scaling-group: any, image: '$IMAGE', envs: {}}
  resources: {cpu: '0.5', mem: 256m}
  resource_opts: {shmem: 96m}
  dependencies: [download-model, prepare]
  mounts: ['example-files:examples']
  skip: false
Y
on_docker() { "$TRACKBED" run fasttrack.yaml --on docker --network host --slots cpu=2 >out 2>&1; }
on_docker || fail "the run failed" out
"$TRACKBED" logs latest download-model >log
grep -q "hello from main1 of 1 on main1" log || fail "the environment is another" log
"$TRACKBED" logs latest prepare >log
[ "$(tr '\n' ' ' <log)" = "/home/work output outputs vfroot " ] || fail "the places are others" log
"$TRACKBED" logs latest fine-tune-single >log
[ "$(tr '\n' ' ' <log)" = "model data kept visit 96 " ] || fail "what was left is not there" log
# What all runs share survives: the second run sees both visits.
on_docker || fail "the second run failed" out
"$TRACKBED" logs latest fine-tune-single >log
[ "$(tr '\n' ' ' <log)" = "model data kept visit visit 96 " ] || fail "the runs share nothing" log
[ ! -e /pipeline ] || fail "it made /pipeline on the machine itself"
[ -z "$(podman_client ps --all --quiet)" ] || fail "containers are left"
