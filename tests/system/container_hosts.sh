#!/bin/sh
# Two machines with a container engine each (two Podmans): tasks run on both. One of them hangs, and
# nobody else waits for it; then it dies, with all that runs there: after the lease that is tried on
# the other one. Everything finishes, what ended well is not run again, and when the machine is back,
# what was left on it is removed.
set -eu
# shellcheck source=tests/support/podman_service.sh
. "$ROOT/tests/support/podman_service.sh"
first=$PODMAN_FOLDER
podman_new
second=$PODMAN_FOLDER
export DOCKER_HOST=unix:///nowhere # every node has its own
count=${HOSTS_TASKS:-200}

fail() {
  echo "FAILED: $*" >&2
  tail -n 10 ./*.out >&2
  exit 1
}
cat >nodes.yaml <<Y
- {name: one, cpu: 1, mem: 1g, endpoint: "unix://$first/socket"}
- {name: two, cpu: 1, mem: 1g, endpoint: "unix://$second/socket"}
Y
{
  echo "name: many"
  echo "folders: {shared: {path: counters}}"
  echo 'defaults: {mounts: ["shared:/data"], cache: false, resources: {cpu: 1}}'
  echo "tasks:"
  for i in $(seq "$count"); do
    echo "- {name: t$i, command: 'echo t$i >> /data/begun; while [ -e /data/stay ]; do sleep 0.1; done; sleep 0.1; echo t$i >> /data/ended'}"
  done
} >many.yaml
mkdir counters
"$TRACKBED" nodes add nodes.yaml
lines() { if [ -f "counters/$1" ]; then wc -l <"counters/$1"; else echo 0; fi; }
wait_for() { # FILE LINES
  tries=0
  until [ "$(lines "$1")" -ge "$2" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 6000 ] || fail "only $(lines "$1") lines in $1"
    sleep 0.05
  done
}
containers_of() { # FOLDER
  podman_use "$1"
  podman_client ps --all --quiet
}
nodes_of() {
  "$TRACKBED" events latest | sed -n 's/.*"event":"attempt_intended".*"node":"\([^"]*\)".*/\1/p' | sort -u | tr '\n' ' '
}

"$TRACKBED" run many.yaml --on docker --image "$IMAGE" --network host --node-lease 20s --plain >run.out 2>&1 &
engine=$!
wait_for ended $((count / 8))
# It hangs: the other goes on.
podman_use "$second"
kill -STOP "$(cat "$second/pid")"
wait_for ended $((count / 8 + 3))
kill -CONT "$(cat "$second/pid")"
wait_for ended $((count / 4))
[ "$(nodes_of)" = "one two " ] || fail "it ran on $(nodes_of)"
# It dies: containers and all, while one runs on each.
touch counters/stay
tries=0
until [ "$(lines begun)" = $(($(lines ended) + 2)) ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 600 ] || fail "$(lines begun) tasks began and $(lines ended) ended"
  sleep 0.1
done
podman_kill
for conmon in $(pgrep -x conmon); do
  tr '\0' ' ' <"/proc/$conmon/cmdline" 2>/dev/null | grep -qF "$second/" || continue
  # The first process of a container takes all others with it.
  pgrep -P "$conmon" | xargs -r kill -9 2>/dev/null || true
  kill -9 "$conmon" 2>/dev/null || true
done
rm counters/stay
# What ran there is unknown until then, and everybody who asks is told.
tries=0
until "$TRACKBED" show latest >show.out && grep -q 'unknown .*node two has not answered since 20' show.out; do
  tries=$((tries + 1))
  [ "$tries" -lt 300 ] || { grep -v -e succeeded -e pending show.out; fail "it is not said that a task is unknown"; }
  sleep 0.1
done
"$TRACKBED" runs -n 1 | grep -q 'running, 1 unknown' || fail "runs does not say it: $("$TRACKBED" runs)"
task=$(awk '/ unknown /{print $2}' show.out)
"$TRACKBED" explain latest "$task" >explain.out
grep -q 'whether attempt 1 goes on is not known: node two has not answered since 20' explain.out ||
  { cat explain.out; fail "explain does not say it"; }
wait "$engine" || fail "the run failed"
grep -q 'unknown: node two has not answered since' run.out || fail "the progress does not say it"

sort -u counters/ended >ended.txt
[ "$(wc -l <ended.txt)" = "$count" ] || fail "only $(wc -l <ended.txt) of $count tasks ended"
[ -z "$(sort counters/ended | uniq -d)" ] || fail "these ended twice: $(sort counters/ended | uniq -d)"
# At most what ran on the machine that died began twice.
twice=$(sort counters/begun | uniq -d | wc -l)
[ "$twice" -le 1 ] || fail "$twice tasks began twice"
"$TRACKBED" events latest >events.out
[ -z "$(containers_of "$first")" ] || fail "containers are left on the machine that lived"

# It is back: the next run that reaches it removes what is left.
podman_use "$second"
podman_start
cat >after.yaml <<Y
name: after
defaults: {cache: false}
tasks:
- {name: a, command: sleep 2}
- {name: b, command: sleep 2}
Y
"$TRACKBED" run after.yaml --on docker --image "$IMAGE" --network host --plain >after.out 2>&1 || fail "the run after it"
# A busy engine takes its time.
tries=0
until [ -z "$(containers_of "$second")" ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 100 ] || fail "strays are left: $(podman_client ps --all)"
  sleep 0.2
done
