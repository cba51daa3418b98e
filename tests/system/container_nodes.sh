#!/bin/sh
# trackbed run --on docker over two nodes, each with a Podman of its own: work goes to both, a gang is
# over both, a drained one gets nothing.
set -eu
# shellcheck source=tests/support/podman_service.sh
. "$ROOT/tests/support/podman_service.sh"
unset DOCKER_HOST

first=$PODMAN_FOLDER
podman_new
second=$PODMAN_FOLDER

fail() {
  echo "FAILED: $*" >&2
  tail -n 30 ./*.out >&2
  exit 1
}
on_docker() { "$TRACKBED" run "$1" --plain --on docker --image "$IMAGE" --network host; }
nodes_of() { # RUN: the nodes that its attempts ran on
  "$TRACKBED" events "$1" | sed -n 's/.*"event":"attempt_intended".*"node":"\([^"]*\)".*/\1/p' | sort -u | tr '\n' ' '
}

cat > nodes.yaml << EOF
- {name: a, cpu: 1, mem: 1g, endpoint: "unix://$first/socket"}
- {name: b, cpu: 1, mem: 1g, endpoint: "unix://$second/socket"}
EOF
"$TRACKBED" nodes add nodes.yaml
cat > wide.yaml << 'EOF'
name: wide
defaults: {cache: false}
tasks:
- {name: t1, command: sleep 1; echo one}
- {name: t2, command: sleep 1; echo two}
- {name: t3, command: echo three}
EOF
on_docker wide.yaml > wide.out 2>&1 || fail "wide"
[ "$(nodes_of latest)" = "a b " ] || fail "ran on $(nodes_of latest)"
[ "$("$TRACKBED" logs latest t2)" = two ] || fail "no log of t2"

"$TRACKBED" nodes drain a
on_docker wide.yaml > drained.out 2>&1 || fail "drained"
[ "$(nodes_of latest)" = "b " ] || fail "ran on $(nodes_of latest)"
"$TRACKBED" nodes undrain a

# A node that is added while a run goes on gets what waits.
"$TRACKBED" nodes remove b
cat > grows.yaml << EOF
name: grows
folders: {shared: {path: grows}}
defaults: {cache: false, mounts: ["shared:/data"]}
tasks:
- {name: first, command: "touch /data/first; until [ -e /data/second ]; do sleep 0.1; done"}
- {name: second, command: touch /data/second}
EOF
mkdir grows
on_docker grows.yaml > grows.out 2>&1 &
engine=$!
tries=0
until [ -e grows/first ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 600 ] || fail "nothing begins"
  sleep 0.1
done
echo "- {name: b, cpu: 1, mem: 1g, endpoint: \"unix://$second/socket\"}" > more.yaml
"$TRACKBED" nodes add more.yaml
wait "$engine" || fail "grows"
[ "$(nodes_of latest)" = "a b " ] || fail "ran on $(nodes_of latest)"

# Members on different nodes know each other's names.
cat > gang.yaml << 'EOF'
name: gang
defaults: {cache: false}
tasks:
- name: pair
  command: |
    echo "$TRACKBED_GANG_HOST is $TRACKBED_GANG_RANK of $TRACKBED_GANG_HOSTS"
    grep -c -w -e main1 -e sub1 /etc/hosts
  cluster: {size: 2, multi_node: true}
- name: bad
  command: '[ "$TRACKBED_GANG_RANK" = 0 ] && exec sleep 60; exit 7'
  cluster: {size: 2, multi_node: true}
  allow_failure: true
EOF
on_docker gang.yaml > gang.out 2>&1 || fail "gang"
"$TRACKBED" events latest | grep -q '"gang":\[{"host":"main1","node":"a"},{"host":"sub1","node":"b"}\]' ||
  fail "$("$TRACKBED" events latest)"
"$TRACKBED" logs latest pair | grep -q '^main1 is 0 of main1,sub1$' || fail "log of main1"
"$TRACKBED" logs latest pair --member sub1 > sub1.out
grep -q '^sub1 is 1 of main1,sub1$' sub1.out || fail "log of sub1"
grep -q '^[2-9]$' sub1.out || fail "names do not resolve"
"$TRACKBED" show latest | grep -q 'member sub1: exited with code 7' || fail "$("$TRACKBED" show latest)"

# What is wrong with a node is said before anything runs there.
# A Podman asks for its own version, which on a busy machine may take longer than doctor waits.
tries=0
until "$TRACKBED" doctor > doctor.out 2>&1; do
  tries=$((tries + 1))
  [ "$tries" -lt 5 ] || fail "doctor: $(cat doctor.out)"
done
grep -q '^ok *node a *Podman' doctor.out || { cat doctor.out; fail "doctor does not see node a"; }
podman_use "$second"
podman_kill
code=0
"$TRACKBED" doctor > doctor.out 2>&1 || code=$?
[ "$code" = 6 ] || { cat doctor.out; fail "doctor: code $code, expected 6"; }
grep -q '^bad *node b .*there is no such socket; start the service' doctor.out ||
  { cat doctor.out; fail "doctor does not say what is wrong with node b"; }
podman_start

# No container is left on either.
for folder in "$first" "$second"; do
  podman_use "$folder"
  [ -z "$(podman_client ps --all --quiet)" ] || fail "containers are left"
done
