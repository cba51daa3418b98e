#!/bin/sh
# Nodes that somebody added: work goes there, drained ones get nothing, a run takes changes up.
set -eu
fail() {
  echo "$*" >&2
  exit 1
}
nodes_of() { # RUN: the nodes that its attempts ran on
  "$TRACKBED" events "$1" | sed -n 's/.*"event":"attempt_intended".*"node":"\([^"]*\)".*/\1/p' | sort -u | tr '\n' ' '
}

cat > nodes.yaml << 'EOF'
- {name: a, cpu: 1, mem: 1g}
- {name: b, cpu: 1, mem: 1g}
EOF
echo '{"name": "far", "cpu": 8, "mem": "1g", "endpoint": "tcp://127.0.0.1:9"}' > far.json
cat > wide.yaml << 'EOF'
name: wide
tasks:
- {name: t1, command: sleep 0.3, cache: false}
- {name: t2, command: sleep 0.3, cache: false}
- {name: t3, command: sleep 0.3, cache: false}
- {name: t4, command: sleep 0.3, cache: false}
EOF

# What is wrong is told with its place, and then nothing is added.
printf 'name: c\ncpu: many\nendpoint: gopher://x\n' > bad.yaml
code=0
"$TRACKBED" nodes add nodes.yaml bad.yaml 2> error.txt || code=$?
[ "$code" = 2 ] || fail "exit code $code"
grep -q '^bad.yaml:2:6: ' error.txt || fail "$(cat error.txt)"
grep -q '^bad.yaml:3:11: .*endpoint.*unix:///PATH' error.txt || fail "$(cat error.txt)"
! "$TRACKBED" nodes list 2> /dev/null | grep -q '^a ' || fail "a was added"

"$TRACKBED" nodes add nodes.yaml far.json
! "$TRACKBED" nodes add nodes.yaml 2> error.txt || fail "added twice"
grep -q '"a" is there already' error.txt || fail "$(cat error.txt)"
"$TRACKBED" nodes list > list.txt
grep -q '^a  *open  *1 ' list.txt || fail "$(cat list.txt)"
grep -q '^far .*tcp://127.0.0.1:9' list.txt || fail "$(cat list.txt)"

"$TRACKBED" run --plain wide.yaml > run.txt || fail "$(cat run.txt)"
[ "$(nodes_of latest)" = "a b " ] || fail "ran on $(nodes_of latest)"
"$TRACKBED" nodes drain a
"$TRACKBED" nodes list | grep -q '^a  *drained' || fail "a is not drained"
"$TRACKBED" run --plain wide.yaml > run.txt || fail "$(cat run.txt)"
[ "$(nodes_of latest)" = "b " ] || fail "ran on $(nodes_of latest)"
! "$TRACKBED" nodes drain nowhere 2> error.txt || fail "drained what there is not"
grep -q 'there is no node "nowhere"; there are: a, b, far' error.txt || fail "$(cat error.txt)"

# A run that goes on: where something runs a node cannot be removed; one that is opened is used.
cat > long.yaml << 'EOF'
name: long
tasks:
- name: t1
  command: echo 1; until [ -e "$TRACKBED_PIPELINE_FOLDER/end" ]; do sleep 0.1; done
- name: t2
  command: echo 2; until [ -e "$TRACKBED_PIPELINE_FOLDER/end" ]; do sleep 0.1; done
EOF
mkdir -p .trackbed/pipelines/long
"$TRACKBED" run --plain long.yaml > run.txt 2>&1 &
engine=$!
wait_for() { # COMMAND…: until it holds
  tries=0
  until "$@"; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || fail "in vain: $*: $(cat run.txt)"
    sleep 0.1
  done
}
runs() { [ "$("$TRACKBED" nodes list --json | grep -c '"running":1')" = "$1" ]; }
wait_for runs 1
! "$TRACKBED" nodes remove b 2> error.txt || fail "removed under a task"
grep -q 'node "b" runs long-' error.txt || fail "$(cat error.txt)"
"$TRACKBED" explain latest t2 > explain.txt
grep -q 'needs 1 cpu' explain.txt || fail "$(cat explain.txt)"
"$TRACKBED" nodes undrain a
wait_for runs 2
touch .trackbed/pipelines/long/end
wait "$engine" || fail "$(cat run.txt)"
[ "$(nodes_of latest)" = "a b " ] || fail "ran on $(nodes_of latest)"

# A gang on different nodes.
cat > gang.yaml << 'EOF'
name: gang
tasks:
- name: pair
  command: echo "$TRACKBED_GANG_HOSTS"
  cluster: {size: 2, multi_node: true}
EOF
"$TRACKBED" run --plain gang.yaml > run.txt || fail "$(cat run.txt)"
"$TRACKBED" events latest | grep -q '"gang":\[{"host":"main1","node":"a"},{"host":"sub1","node":"b"}\]' ||
  fail "$("$TRACKBED" events latest)"
"$TRACKBED" nodes remove b far
code=0
"$TRACKBED" run --plain gang.yaml > run.txt 2>&1 || code=$?
[ "$code" = 6 ] || fail "exit code $code: $(cat run.txt)"
grep -q 'a gang of 2 on different nodes; there are only 1 that hold a member' run.txt || fail "$(cat run.txt)"

# Without any, runs use this machine again.
"$TRACKBED" nodes remove a
"$TRACKBED" run --plain wide.yaml > run.txt || fail "$(cat run.txt)"
[ "$(nodes_of latest)" = "$(hostname) " ] || fail "ran on $(nodes_of latest)"
