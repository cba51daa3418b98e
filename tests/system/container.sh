#!/bin/sh
# trackbed run --on docker, on a Podman of its own: files between tasks; kill -9 of the engine, of
# the container service, in the middle; cancel; an unknown image; too little memory; a long log.
# Nothing runs twice, and no container is left.
set -eu
# shellcheck source=tests/support/podman_service.sh
. "$ROOT/tests/support/podman_service.sh"
DOCKER_HOST=unix://$SOCKET
export DOCKER_HOST

fail() {
  echo "FAILED: $*" >&2
  tail -n 30 ./*.out >&2
  tail -n 20 "$PODMAN_FOLDER/log" >&2
  exit 1
}
on_docker() { "$TRACKBED" "$@" --on docker --image "$IMAGE" --network host; }
# Sets $engine to the process itself, not to a shell around it.
start_on_docker() { # FILE OUTPUT
  "$TRACKBED" run "$1" --on docker --image "$IMAGE" --network host --slots cpu=2 >"$2" 2>&1 &
  engine=$!
}
none_left() {
  [ -z "$(podman_client ps --all --quiet)" ] || fail "containers are left: $(podman_client ps --all)"
}
wait_for() { # FILE LINES
  tries=0
  until [ -f "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] || fail "$1 does not get $2 lines"
    sleep 0.1
  done
}

# --- Files, values, GPUs that are not there, FastTrack's places -----------------------------------
mkdir source
cat >source/script.sh <<'SCRIPT'
read line
echo "[$line]"
SCRIPT
cat >files.yaml <<'Y'
name: files
source: source
folders: {shared: {path: shared}}
tasks:
- name: make
  command: |
    seq 1000 > "$TRACKBED_OUTPUTS/numbers"
    echo "count=$(wc -l < "$TRACKBED_OUTPUTS/numbers")" >> "$TRACKBED_OUTPUT"
    echo "gpus=$CUDA_VISIBLE_DEVICES"
    echo made >> /data/story
  outputs: {count: integer}
  mounts: ["shared:/data"]
- name: use
  dependencies: [make]
  when: tasks.make.outputs.count == 1000
  command: |
    tail -n 1 inputs/make/numbers | sh script.sh | tee "$TRACKBED_OUTPUTS/last"
    echo used >> /data/story
  mounts: ["shared:/data"]
- name: machine
  command: |
    # Nothing of the machine is there but what the task needs.
    test ! -e /etc/passwd
    grep -q NoNewPrivs:.*1 /proc/self/status
results: {last: use/last}
Y
on_docker run files.yaml >files.out 2>&1 || fail "files.yaml"
[ "$(cat .trackbed/results/files/last)" = "[1000]" ] || fail "the result is not there"
[ "$(cat shared/story)" = "made
used" ] || fail "the story is $(cat shared/story)"
"$TRACKBED" events latest | grep '"task":"make"' | grep -q 'image_digest":"localhost/trackbed-test@sha256:' ||
  fail "the image's digest is not recorded"
none_left

# --- secrets ----------------------------------------------------------------------------------------
cat >secret.yaml <<'Y'
name: secret
environment: {TOKEN: secret://env/DEMO_TOKEN}
tasks:
- {name: t, cache: false, command: "echo the token is $TOKEN; while ! test -e \"$TRACKBED_OUTPUTS/go\"; do sleep 0.05; done"}
Y
DEMO_TOKEN=geheim-7291
export DEMO_TOKEN
start_on_docker secret.yaml secret.out
tries=0
until [ -n "$(podman_client ps --quiet)" ] && [ "$("$TRACKBED" logs latest t 2>/dev/null)" = 'the token is ***' ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 600 ] || fail "the log of t is $("$TRACKBED" logs latest t)"
  sleep 0.1
done
podman_client ps --all --format '{{.Labels}} {{.Names}} {{.Command}} {{.Mounts}}' >labels.out
grep -q 'trackbed.key' labels.out || fail "there are no labels: $(cat labels.out)"
touch "$(find .trackbed/runs -type d -path '*/t/1/outputs')/go"
wait "$engine" || fail "secret.yaml"
if grep -rlF "$DEMO_TOKEN" .trackbed "$PODMAN_FOLDER/log" ./*.out; then fail "the secret is in the files above"; fi
unset DEMO_TOKEN
none_left

# --- kill -9 of the engine -------------------------------------------------------------------------
cat >kill.yaml <<'Y'
name: kill
folders: {shared: {path: counters}}
defaults: {mounts: ["shared:/data"], cache: false}
tasks:
- {name: a, command: "echo a >> /data/ran; while ! test -e /data/go; do sleep 0.05; done; echo a ends"}
- {name: b, command: "echo b >> /data/ran; while ! test -e /data/go; do sleep 0.05; done; echo b ends"}
- {name: c, dependencies: [a, b], command: "echo c >> /data/ran"}
Y
mkdir counters
start_on_docker kill.yaml kill.out
wait_for counters/ran 2
kill -9 "$engine"
wait "$engine" 2>/dev/null || true
[ "$(podman_client ps --quiet | wc -l)" = 2 ] || fail "the containers did not outlive the engine"
# A process is the choice now: what runs in containers is taken up all the same.
touch counters/go
"$TRACKBED" resume latest >resume.out 2>&1 || fail "resume"
[ "$(sort counters/ran | tr '\n' ' ')" = "a b c " ] || fail "ran: $(tr '\n' ' ' <counters/ran)"
[ "$("$TRACKBED" logs latest a)" = "a ends" ] || fail "the log of a is $("$TRACKBED" logs latest a)"
none_left

# --- kill -9 of the container service ---------------------------------------------------------------
rm -rf counters && mkdir counters
start_on_docker kill.yaml service.out
wait_for counters/ran 2
podman_kill
touch counters/go
sleep 1
podman_start
wait "$engine" || fail "the run did not survive its container service"
[ "$(sort counters/ran | tr '\n' ' ')" = "a b c " ] || fail "ran: $(tr '\n' ' ' <counters/ran)"
[ "$("$TRACKBED" logs latest a)" = "a ends" ] || fail "the log of a is $("$TRACKBED" logs latest a)"
none_left

# --- cancel ------------------------------------------------------------------------------------------
rm -rf counters && mkdir counters
start_on_docker kill.yaml cancel.out
wait_for counters/ran 2
"$TRACKBED" cancel latest >cancelled.out 2>&1 || fail "cancel"
code=0
wait "$engine" || code=$?
[ "$code" = 3 ] || fail "a cancelled run ends with $code"
none_left

# --- failures that say what they are -----------------------------------------------------------------
cat >fail.yaml <<'Y'
name: fail
defaults: {allow_failure: true}
tasks:
- {name: image, image: "localhost/there-is-none:1", command: "true"}
- {name: memory, resources: {mem: 32m}, command: "a=xxxxxxxx; while :; do a=$a$a; done"}
- {name: code, command: "exit 9"}
- {name: signal, command: "kill -SEGV $$"}
- {name: time, timeout: 1s, command: "sleep 1000"}
- name: log
  command: |
    head -c 5000000 /dev/urandom > bytes; cat bytes; printf 'half a line'
Y
on_docker run fail.yaml --json >fail.out 2>&1 || fail "fail.yaml"
reason() { grep "\"task\":\"$1\"" fail.out | sed -n 's/.*"reason":"\([a-z_]*\)".*/\1/p' | tail -n 1; }
[ "$(reason image)" = failed_to_start ] || fail "image: $(reason image)"
grep '"task":"image"' fail.out | grep -q 'cannot pull the image \\"localhost/there-is-none:1\\"' ||
  fail "the missing image is not named"
[ "$(reason memory)" = out_of_memory ] || fail "memory: $(reason memory)"
[ "$(reason code)" = exit_code ] || fail "code: $(reason code)"
[ "$(reason signal)" = signal ] || fail "signal: $(reason signal)"
[ "$(reason time)" = timeout ] || fail "time: $(reason time)"
run=$("$TRACKBED" runs -n 1 --json | sed -n 's/.*"run":"\([^"]*\)".*/\1/p')
folder=.trackbed/runs/$run/log/1
{ cat "$folder/work/bytes" && printf 'half a line'; } | cmp - "$folder/log" || fail "the log differs"
none_left

# --- who is told what -----------------------------------------------------------------------------
"$TRACKBED" doctor >doctor.out 2>&1 || fail "doctor"
grep -q "ok *containers *Podman" doctor.out || fail "doctor does not see Podman"
podman_kill
code=0
on_docker run files.yaml >gone.out 2>&1 || code=$?
[ "$code" = 6 ] || fail "without a service: code $code"
grep -q "start the service" gone.out || fail "it is not said what to do"
"$TRACKBED" run files.yaml --on docker --image '' --endpoint nonsense >odd.out 2>&1 &&
  fail "a nonsense endpoint is accepted"
grep -q 'found "nonsense", expected unix:///PATH' odd.out || fail "the endpoint is not named"
