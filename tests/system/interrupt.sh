#!/bin/sh
# Ctrl-C cancels cleanly; a second one leaves the run as it is, and resume finishes it.
set -eu
cat > once.yaml <<'Y'
name: once
tasks:
- name: sleep
  cache: false
  command: exec sleep 61.25
- name: after
  dependencies: [sleep]
  command: echo never
Y
"$TRACKBED" run once.yaml > once.out 2>&1 &
program=$!
until pgrep -f '^sleep 61.25' > /dev/null; do sleep 0.05; done
kill -INT "$program"
code=0
wait "$program" || code=$?
[ "$code" = 3 ] || { echo "after one Ctrl-C: exit code $code, expected 3"; cat once.out; exit 1; }
if pgrep -f '^sleep 61.25' > /dev/null; then echo "the task is still there"; exit 1; fi
"$TRACKBED" runs | grep -q 'once-.*cancelled'

# This task does not heed a polite stop, so the second Ctrl-C comes in time.
cat > twice.yaml <<'Y'
name: twice
tasks:
- name: stubborn
  cache: false
  command: trap '' TERM; echo begin >> "$WITNESS/stubborn"; sleep 3; echo end >> "$WITNESS/stubborn"
  environment: {WITNESS: WITNESS_FOLDER}
  grace_period: 1m
- name: after
  dependencies: [stubborn]
  command: echo done
Y
sed -i "s|WITNESS_FOLDER|$PWD|" twice.yaml
"$TRACKBED" run twice.yaml > twice.out 2>&1 &
program=$!
until [ -s stubborn ]; do sleep 0.05; done
kill -INT "$program"
until grep -q 'stopping' twice.out; do sleep 0.05; done
kill -INT "$program"
code=0
wait "$program" || code=$?
[ "$code" = 4 ] || { echo "after two Ctrl-C: exit code $code, expected 4"; cat twice.out; exit 1; }
"$TRACKBED" runs | grep -q 'twice-.*interrupted'
"$TRACKBED" resume latest > resume.out 2>&1 || { echo "resume failed"; cat resume.out; exit 1; }
[ "$(tr '\n' ' ' < stubborn)" = "begin end " ] || { echo "it ran twice:"; cat stubborn; exit 1; }
"$TRACKBED" runs | grep -q 'twice-.*succeeded'
