#!/bin/sh
# kill -9 of the engine, again and again, and of the container service, in the middle of a run of 200
# containers: everything finishes, nothing runs twice (each task writes a line), and no container is
# left.
set -eu
# shellcheck source=tests/support/podman_service.sh
. "$ROOT/tests/support/podman_service.sh"
DOCKER_HOST=unix://$SOCKET
export DOCKER_HOST
count=${KILL_TASKS:-200}

fail() {
  echo "FAILED: $*" >&2
  tail -n 10 ./*.out >&2
  tail -n 10 "$PODMAN_FOLDER/log" >&2
  exit 1
}
{
  echo "name: many"
  echo "folders: {shared: {path: counters}}"
  echo 'defaults: {mounts: ["shared:/data"], cache: false, resources: {cpu: 1}}'
  echo "tasks:"
  for i in $(seq "$count"); do
    echo "- {name: t$i, command: 'echo t$i >> /data/ran; sleep 0.05; echo t$i ends'}"
  done
  echo "- {name: last, trigger: all_succeeded, dependencies: [t1, t$count], command: 'echo last >> /data/ran'}"
} >many.yaml
mkdir counters
options="--on docker --image $IMAGE --network host --slots cpu=2 --plain"

engine=
# Sets $engine to the process itself.
start() { # COMMAND ARGUMENT
  # shellcheck disable=SC2086
  "$TRACKBED" "$@" $options >>run.out 2>&1 &
  engine=$!
}
ran() { if [ -f counters/ran ]; then wc -l <counters/ran; else echo 0; fi; }
wait_for() { # LINES
  tries=0
  until [ "$(ran)" -ge "$1" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 4000 ] || fail "only $(ran) tasks ran"
    sleep 0.05
  done
}
kill_engine() {
  kill -9 "$engine" 2>/dev/null || true
  wait "$engine" 2>/dev/null || true
}

start run many.yaml
wait_for $((count / 8))
for eighth in 2 3; do
  kill_engine
  start resume latest
  wait_for $((count * eighth / 8))
done
# The service, while the engine goes on.
podman_kill
sleep 0.5
podman_start
wait_for $((count * 5 / 8))
# Both at once.
kill_engine
podman_kill
podman_start
start resume latest
wait "$engine" || fail "the run failed"

[ "$(ran)" = $((count + 1)) ] || fail "$(ran) of $((count + 1)) tasks ran"
[ -z "$(sort counters/ran | uniq -d)" ] || fail "these ran twice: $(sort counters/ran | uniq -d)"
for task in t1 "t$((count / 2))" "t$count"; do
  [ "$("$TRACKBED" logs latest "$task")" = "$task ends" ] || fail "the log of $task is $("$TRACKBED" logs latest "$task")"
done
"$TRACKBED" events latest >events.out
! grep -q '"type":"attempt_failed"' events.out || fail "an attempt failed: $(grep attempt_failed events.out | head -n 3)"
[ -z "$(podman_client ps --all --quiet)" ] || fail "containers are left: $(podman_client ps --all)"
# Networks are listed whosever they are.
left=$(podman_client network ls --quiet --filter name=trackbed-many-)
[ -z "$left" ] || fail "networks are left: $left"
