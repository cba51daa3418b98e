#!/bin/sh
# A gang of processes: members find each other by name, end together, and have logs of their own.
set -eu
fail() {
  echo "$*" >&2
  exit 1
}
command -v python3 > /dev/null || exit 77

"$TRACKBED" run --slots cpu=2 --plain "$ROOT/examples/gang/pipeline.yaml" > run.txt || fail "$(cat run.txt)"
"$TRACKBED" logs latest sum | grep -q '^main1: .* of 500500$' || fail "no sum of main1"
"$TRACKBED" logs latest sum --member sub1 | grep -q '^sub1: .* of 500500$' || fail "no sum of sub1"
"$TRACKBED" logs latest sum --member main1 | grep -q '^main1: ' || fail "main1 has no log by its name"
! "$TRACKBED" logs latest sum --member sub2 2> error.txt || fail "there is a sub2"
grep -q 'members: main1, sub1' error.txt || fail "$(cat error.txt)"
"$TRACKBED" events latest | grep -q '"gang":\[{"host":"main1"' || fail "events do not tell of the gang"

# Without a sandbox names do not resolve; addresses do, and the log says so.
"$TRACKBED" run --slots cpu=2 --sandbox never --no-cache --plain "$ROOT/examples/gang/pipeline.yaml" > run.txt ||
  fail "$(cat run.txt)"
"$TRACKBED" logs latest sum | grep -q 'TRACKBED_GANG_ADDRESSES' || fail "nobody says where members are"

# The first that fails, once all are up, ends the others, which get their grace, and is the reason.
mkdir -p .trackbed/pipelines/bad
cat > bad.yaml << 'EOF'
name: bad
tasks:
- name: gang
  command: |
    echo "$TRACKBED_GANG_RANK of $TRACKBED_GANG_SIZE: $BACKENDAI_CLUSTER_HOSTS $BACKENDAI_CLUSTER_REPLICAS"
    trap 'echo asked; exit 0' TERM
    touch "$TRACKBED_PIPELINE_FOLDER/$BACKENDAI_CLUSTER_HOST"
    if [ "$BACKENDAI_CLUSTER_HOST" = sub2 ]; then
      until [ -e "$TRACKBED_PIPELINE_FOLDER/main1" ] && [ -e "$TRACKBED_PIPELINE_FOLDER/sub1" ]; do
        sleep 0.05
      done
      exit 3
    fi
    sleep 60 & wait
  cluster: {size: 3}
  resources: {cpu: 0.5}
  grace_period: 5s
EOF
code=0
"$TRACKBED" run --slots cpu=2 --plain bad.yaml > run.txt 2>&1 || code=$?
[ "$code" = 1 ] || fail "exit code $code: $(cat run.txt)"
"$TRACKBED" show latest | grep -q 'member sub2: exited with code 3' || fail "$("$TRACKBED" show latest)"
"$TRACKBED" logs latest gang > log.txt
grep -q '^0 of 3: main1,sub1,sub2 main:1,sub:2$' log.txt || fail "$(cat log.txt)"
grep -q '^asked$' log.txt || fail "main1 was not asked to end"
"$TRACKBED" logs latest gang --member sub1 | grep -q '^1 of 3' || fail "sub1 does not know its rank"

# Killed in the middle, the engine finds every member again; nobody runs twice.
cat > long.yaml << 'EOF'
name: long
tasks:
- name: gang
  command: echo "$BACKENDAI_CLUSTER_HOST" >> "$TRACKBED_PIPELINE_FOLDER/started"; sleep 4
  cluster: {size: 3}
  resources: {cpu: 0.5}
EOF
mkdir -p .trackbed/pipelines/long
"$TRACKBED" run --slots cpu=2 --plain long.yaml > run.txt 2>&1 &
engine=$!
all_started() {
  [ -f .trackbed/pipelines/long/started ] && [ "$(wc -l < .trackbed/pipelines/long/started)" -ge 3 ]
}
tries=0
until all_started; do
  tries=$((tries + 1))
  [ "$tries" -lt 300 ] || fail "the gang does not start: $(cat run.txt)"
  sleep 0.1
done
kill -9 "$engine"
wait "$engine" 2> /dev/null || true
"$TRACKBED" resume latest --slots cpu=2 --plain > resume.txt 2>&1 || fail "$(cat resume.txt)"
[ "$(sort .trackbed/pipelines/long/started | tr '\n' ' ')" = "main1 sub1 sub2 " ] ||
  fail "started: $(cat .trackbed/pipelines/long/started)"
