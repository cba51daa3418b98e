#!/bin/sh
# Who goes first, why others wait, and that what an interrupted run has under way is not given away.
set -eu
cat > turns.yaml <<'Y'
name: turns
priority: 2
defaults: {cache: false}
tasks:
- {name: holder, priority: 1, timeout: 1h, command: 'while [ ! -e "$GO" ]; do sleep 0.05; done'}
- {name: large, priority: 1, timeout: 1h, resources: {cpu: 2}, command: 'true'}
- {name: lengthy, timeout: 10h, command: 'true'}
- {name: brief, priority: -5, timeout: 10s, command: 'true'}
Y
sed -i "s|\$GO|$PWD/go|" turns.yaml

"$TRACKBED" run turns.yaml --slots cpu=2 --priority 5 > run.out 2>&1 &
driver=$!
until "$TRACKBED" explain latest brief 2>/dev/null | grep -q 'it has succeeded'; do
  kill -0 "$driver" 2>/dev/null || { cat run.out; exit 1; }
  sleep 0.05
done
"$TRACKBED" explain latest large > large.out
grep -q 'needs 2 cpu, 1 of 2 free: 1 short; expected at 20.*; held by holder (1)' large.out || {
  cat large.out; exit 1; }
"$TRACKBED" explain latest lengthy > lengthy.out
grep -q 'would fit, but would delay large, for which the room is kept from 20' lengthy.out || {
  cat lengthy.out; exit 1; }
"$TRACKBED" explain latest lengthy --json | grep -q '"situation":"reserved",.*"ahead":"large"'
"$TRACKBED" events latest | head -n 1 | grep -q '"priority":5'
code=0
"$TRACKBED" run turns.yaml --priority 1001 > bad.out 2>&1 || code=$?
[ "$code" = 2 ]

# The driver dies, the holder goes on: another run gets what it leaves, and no more.
kill -9 "$driver"
wait "$driver" 2>/dev/null || true
first=$("$TRACKBED" runs --json | sed -n 's/.*"run":"\([^"]*\)".*/\1/p' | head -n 1)
[ -n "$first" ] || { "$TRACKBED" runs --json; exit 1; }
cat > two.yaml <<'Y'
name: two
tasks: [{name: two, cache: false, command: 'true', resources: {cpu: 2}}]
Y
"$TRACKBED" run two.yaml --slots cpu=2 > two.out 2>&1 &
driver=$!
until "$TRACKBED" explain latest two 2>/dev/null | grep -q "held by $first/holder"; do
  kill -0 "$driver" 2>/dev/null || { cat two.out; exit 1; }
  sleep 0.05
done
touch go
wait "$driver" || { cat two.out; exit 1; }
"$TRACKBED" resume "$first" --slots cpu=2 > resume.out 2>&1 || { cat resume.out; exit 1; }
"$TRACKBED" show "$first" | grep -q 'lengthy .*succeeded'
