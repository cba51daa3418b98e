#!/bin/sh
# Two processes on one store: the second is told who holds it; --wait waits; cancel reaches a run
# that another process drives.
set -eu
cat > slow.yaml <<'Y'
name: slow
tasks:
- name: sleep
  cache: false
  command: sleep 60
Y
cat > quick.yaml <<'Y'
name: quick
tasks:
- name: hello
  command: echo hello
Y
"$TRACKBED" run slow.yaml > slow.out 2>&1 &
slow=$!
until "$TRACKBED" runs 2>/dev/null | grep -q 'slow-.*running'; do sleep 0.05; done

code=0
"$TRACKBED" run quick.yaml > second.out 2>&1 || code=$?
[ "$code" = 5 ] || { echo "second process: exit code $code, expected 5"; cat second.out; exit 1; }
grep -q "held by trackbed run slow.yaml, process $slow on host" second.out || {
  echo "the holder is not named:"; cat second.out; exit 1; }

"$TRACKBED" run --wait quick.yaml > waiting.out 2>&1 &
waiting=$!

"$TRACKBED" cancel latest > cancel.out 2>&1 || { echo "cancel failed"; cat cancel.out; exit 1; }
code=0
wait "$slow" || code=$?
[ "$code" = 3 ] || { echo "cancelled run: exit code $code, expected 3"; cat slow.out; exit 1; }
wait "$waiting" || { echo "--wait failed"; cat waiting.out; exit 1; }
"$TRACKBED" runs | grep -q 'quick-.*succeeded'
"$TRACKBED" runs | grep -q 'slow-.*cancelled'

# Who was killed drives nothing any more, whatever is left of its lease.
"$TRACKBED" run slow.yaml > killed.out 2>&1 &
killed=$!
until "$TRACKBED" runs | grep -q 'slow-.*running'; do sleep 0.05; done
kill -9 "$killed"
wait "$killed" || true
"$TRACKBED" runs | grep -q 'slow-.*interrupted'
"$TRACKBED" show latest | grep -q 'status *interrupted'
"$TRACKBED" cancel latest > cancel.out 2>&1 || { echo "cancel failed"; cat cancel.out; exit 1; }
