#!/bin/sh
# Tasks share what the machine is told to have, know their part of it, and whoever asks is told why
# a task waits.
set -eu
cat > gpus.yaml <<'Y'
name: gpus
tasks:
- name: first
  cache: false
  resources: {cuda.shares: 0.7}
  command: 'echo "$CUDA_VISIBLE_DEVICES $TRACKBED_DEVICES"; while [ ! -e "$TRACKBED_SOURCE/go" ]; do sleep 0.05; done'
- name: second
  cache: false
  resources: {cuda.shares: 0.6}
  command: 'echo "$CUDA_VISIBLE_DEVICES $TRACKBED_DEVICES"'
- name: none
  cache: false
  command: 'echo "${CUDA_VISIBLE_DEVICES-unset}"'
Y
sed -i "s|\$TRACKBED_SOURCE|$PWD|" gpus.yaml

code=0
"$TRACKBED" run gpus.yaml --slots cuda.shares=0 > none.out 2>&1 || code=$?
[ "$code" = 6 ] || { echo "no GPUs: exit code $code, expected 6"; cat none.out; exit 1; }
grep -q 'task "first": needs 0.7 cuda.shares, there is none' none.out

# What keeps a task to its share is part of the plan, and may be refused.
"$TRACKBED" run gpus.yaml --slots cuda.shares=1 --dry-run | grep -q 'first .*cuda.shares=0.7 *advisory'
sed 's/  resources: {cuda.shares: 0.7}/&\n  enforcement: hardware/' gpus.yaml > walls.yaml
code=0
"$TRACKBED" run walls.yaml --slots cuda.shares=1 > walls.out 2>&1 || code=$?
[ "$code" = 2 ] || { echo "refused enforcement: exit code $code, expected 2"; cat walls.out; exit 1; }
grep -q 'walls.yaml:6:16: tasks\[0\].enforcement: found "hardware", expected no more than "advisory"' \
  walls.out || { cat walls.out; exit 1; }

"$TRACKBED" run gpus.yaml --slots cuda.shares=1 > run.out 2>&1 &
driver=$!
until "$TRACKBED" explain latest first 2>/dev/null | grep -q 'runs since'; do sleep 0.05; done
"$TRACKBED" explain latest first | grep -q 'on 0.7 cuda.shares of .* (advisory)'
"$TRACKBED" explain latest second > second.out
grep -q 'needs 0.6 cuda.shares, 0.3 of 1 free: 0.3 short; held by first (0.7 of' second.out || {
  cat second.out; exit 1; }
"$TRACKBED" explain latest second --json > second.json
grep -q '"situation":"shortage",.*"waits_for":\["first"\]' second.json
grep -q '"enforcement":"advisory"' second.json
"$TRACKBED" show latest | grep -q 'first .*0.7 cuda.shares'

# The driver dies: nobody drives the run, and its attempt keeps its share for who takes it up.
kill -9 "$driver"
wait "$driver" 2>/dev/null || true
"$TRACKBED" explain latest second | grep -q 'nobody drives its run; trackbed resume gpus-'
"$TRACKBED" resume latest --slots cuda.shares=1 > resume.out 2>&1 &
driver=$!
until "$TRACKBED" explain latest second | grep -q 'held by first'; do sleep 0.05; done
touch go
wait "$driver" || { cat resume.out; exit 1; }
"$TRACKBED" explain latest second | grep -q 'it has succeeded'
device=$("$TRACKBED" logs latest first)
[ "$device" = "$("$TRACKBED" logs latest second)" ] || { echo "another device: $device"; exit 1; }
[ "$("$TRACKBED" logs latest none)" = -1 ]
code=0
"$TRACKBED" explain latest secnd 2> near.out || code=$?
[ "$code" != 0 ] && grep -q 'did you mean "second"' near.out
