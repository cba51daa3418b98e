#!/bin/sh
# The members of a gang in containers find each other by name: on a network of their own, which is gone
# afterwards, and on the machine's, where each has an address. One that fails ends the others.
set -eu
# shellcheck source=tests/support/podman_service.sh
. "$ROOT/tests/support/podman_service.sh"
DOCKER_HOST=unix://$SOCKET
export DOCKER_HOST
fail() {
  echo "FAILED: $*" >&2
  tail -n 20 ./*.out >&2
  exit 1
}
port=$((20000 + $$ % 20000))
cat >pair.yaml <<Y
name: pair
defaults: {cache: false}
tasks:
- name: pair
  cluster: {size: 2}
  resources: {cpu: 0.5}
  timeout: 2m
  outputs: {heard: string}
  command: |
    if [ "\$TRACKBED_GANG_RANK" = 0 ]; then
      mkfifo hold # an input that does not end: else nc hangs up, perhaps before it has heard anything
      echo "heard=\$(nc -l -p $port <>hold)" >> "\$TRACKBED_OUTPUT"
    else
      until echo "hello from \$(hostname)" | nc -w 5 main1 $port 2>/dev/null; do sleep 0.2; done
    fi
Y
nothing_left() {
  [ -z "$(podman_client ps --all --quiet)" ] || fail "containers are left: $(podman_client ps --all)"
  left=$(podman_client network ls --quiet --filter 'name=trackbed-(pair|bad)-')
  [ -z "$left" ] || fail "networks are left: $left"
}
heard() { "$TRACKBED" events latest | grep -q '"heard":"hello from sub1"'; }

"$TRACKBED" run pair.yaml --on docker --image "$IMAGE" --network host --slots cpu=2 --plain >host.out 2>&1 ||
  fail "on the machine's network"
heard || fail "main1 did not hear sub1: $("$TRACKBED" events latest)"
nothing_left

# Not every machine lets containers have networks, or names on them.
podman_client network create probe >probe.out 2>&1 || true
if ! podman_client run --rm --network probe --network-alias other "$IMAGE" nslookup other >>probe.out 2>&1; then
  echo "networks of containers do not work here: not tested"
  exit 0
fi
podman_client network rm --force probe >/dev/null
"$TRACKBED" run pair.yaml --on docker --image "$IMAGE" --slots cpu=2 --plain >own.out 2>&1 ||
  fail "on a network of their own"
heard || fail "main1 did not hear sub1: $("$TRACKBED" events latest)"
nothing_left

cat >bad.yaml <<Y
name: bad
tasks:
- name: trio
  cluster: {size: 3}
  resources: {cpu: 0.5}
  grace_period: 2s
  command: if [ "\$BACKENDAI_CLUSTER_HOST" = sub2 ]; then exit 3; fi; sleep 100
Y
code=0
"$TRACKBED" run bad.yaml --on docker --image "$IMAGE" --slots cpu=2 --plain >bad.out 2>&1 || code=$?
[ "$code" = 1 ] || fail "a gang that fails ends with $code"
grep -q 'member sub2: exited with code 3' bad.out || fail "it is not said who failed"
nothing_left
