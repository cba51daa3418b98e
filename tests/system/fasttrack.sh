#!/bin/sh
# A pipeline in FastTrack's form runs as it is, with the places that its scripts expect, and goes
# through Trackbed's own form and back.
set -eu
cat > fasttrack.yaml <<'Y'
version: 25.6.5
name: places
description: Shows where things are.
ownership: {domain_name: default, scope: personal}
environment:
  envs: {GREETING: hello}
tasks:
- name: first step
  description: ''
  type: Custom Task
  cluster_mode: single-node
  cluster_size: 1
  module_uri: ''
  command: |
    set -e
    echo "$GREETING from $BACKENDAI_CLUSTER_ROLE$BACKENDAI_CLUSTER_IDX of $BACKENDAI_CLUSTER_SIZE"
    echo model > /pipeline/outputs/model
    echo "$GREETING" >> /pipeline/vfroot/visits
    echo data > /home/work/shared/data
  environment: {project: default, scaling-group: any, image: 'python:3.10', envs: {}}
  resources: {cpu: 1, mem: 256m}
  resource_opts: {shmem: 0g}
  dependencies: []
  mounts: ['common:shared']
  skip: false
- name: second
  type: Custom Task
  cluster_mode: single-node
  cluster_size: 1
  command: cat /pipeline/input1/model /home/work/shared/data /pipeline/vfroot/visits
  environment: {project: default, scaling-group: any, image: 'python:3.10', envs: {}}
  resources: {cpu: '0.5', mem: 256m}
  dependencies: ['first step']
  mounts: ['common:shared']
  skip: false
Y
fail() { echo "$1"; shift; cat "$@"; exit 1; }
"$TRACKBED" import fasttrack fasttrack.yaml -o native.yaml 2> warnings || fail "import" warnings
"$TRACKBED" validate native.yaml > out 2>&1 || fail "the imported file is not valid" out native.yaml
"$TRACKBED" export native.yaml --format fasttrack -o again.yaml 2> lost || fail "export" lost
[ ! -s lost ] || fail "the way back loses something" lost
"$TRACKBED" import fasttrack again.yaml -o native2.yaml 2> /dev/null
cmp native.yaml native2.yaml || fail "not the same after the way there and back" again.yaml

if ! bwrap --ro-bind / / true 2> /dev/null; then
  echo "SKIPPED: bubblewrap does not work here"
  exit 77
fi
"$TRACKBED" run fasttrack.yaml > out 2>&1 || fail "the run failed" out
first=$("$TRACKBED" show latest --json | python3 -c '
import json, sys; print(json.load(sys.stdin)["tasks"][0]["name"])')
"$TRACKBED" logs latest "$first" | grep -q 'hello from main1 of 1' || fail "environment" out
[ "$("$TRACKBED" logs latest second | tr '\n' ' ')" = "model data hello " ]
# What all runs share survives: the second run sees both visits.
"$TRACKBED" run fasttrack.yaml > out 2>&1 || fail "the second run failed" out
[ "$("$TRACKBED" logs latest second | tr '\n' ' ')" = "model data hello hello " ]
[ ! -e /pipeline ] || { echo "it made /pipeline on the machine itself"; exit 1; }
