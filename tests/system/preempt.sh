#!/bin/sh
# With --preempt what runs is stopped for what is more important, and tried again; else it is not.
set -eu
fail() { echo "$1"; shift; cat "$@"; exit 1; }
# `long` ends by itself only once `urgent` has run; where nobody is stopped, `urgent` cannot start.
cat > pipeline.yaml <<'Y'
name: preempt
defaults: {cache: false}
tasks:
- {name: long, command: 'echo began >> DIR/long; while [ ! -e "DIR/urgent" ]; do sleep 0.05; done'}
- {name: ask, approval: {message: 'urgent?'}}
- {name: urgent, priority: 1, dependencies: [ask], command: 'echo ran >> DIR/urgent'}
Y
sed -i "s|DIR|$PWD|g" pipeline.yaml

start() { # OPTIONS...
  rm -f long urgent
  "$TRACKBED" run pipeline.yaml --slots cpu=1 "$@" > run.out 2>&1 &
  driver=$!
  until [ -e long ]; do
    kill -0 "$driver" 2> /dev/null || fail "the run ended" run.out
    sleep 0.05
  done
  until "$TRACKBED" approve latest ask > out 2>&1; do
    kill -0 "$driver" 2> /dev/null || fail "the run ended" run.out out
    sleep 0.05
  done
}

start --preempt
wait "$driver" || fail "the run failed" run.out
[ "$(wc -l < long)" = 2 ] || fail "the task that was stopped did not begin twice" long run.out
"$TRACKBED" events latest > told
grep -q 'attempt_preempting' told || fail "no event says who was stopped" told
"$TRACKBED" show latest > out
grep -q 'long .*succeeded' out || fail "the task that was stopped" out

start
until "$TRACKBED" explain latest urgent > out 2>&1 && grep -q 'held by long' out; do
  kill -0 "$driver" 2> /dev/null || fail "the run ended" run.out out
  sleep 0.05
done
touch urgent
wait "$driver" || fail "the run failed" run.out
[ "$(wc -l < long)" = 1 ] || fail "a task was stopped unasked" long run.out
