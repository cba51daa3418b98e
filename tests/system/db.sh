#!/bin/sh
# `db check` finds damage and nothing else; `db backup` copies a store that is in use.
set -eu
fail() { echo "$1"; shift; cat "$@"; exit 1; }
expect() { # CODE COMMAND...
  wanted="$1"; shift; code=0
  "$@" > out 2> err || code=$?
  [ "$code" = "$wanted" ] || fail "$*: exit code $code, expected $wanted" out err
}
export TRACKBED_HOME="$PWD/home"

expect 2 "$TRACKBED" db check
grep -q 'there is no store' err || fail "no store" err
expect 2 "$TRACKBED" db

cat > many.yaml <<'Y'
name: many
tasks:
Y
for i in $(seq 30); do echo "- {name: t$i, command: 'sleep 0.05; echo $i'}" >> many.yaml; done
"$TRACKBED" run many.yaml > run.out 2>&1 &
runner=$!
# While it runs: as soon as there is something to copy.
tries=0
until "$TRACKBED" db backup "early$tries.db" > out 2> err; do
  tries=$((tries + 1)); [ "$tries" -lt 100 ] || fail "no backup of a store in use" out err run.out
  sleep 0.05
done
expect 0 "$TRACKBED" db check "early$tries.db"
for i in 1 2 3; do expect 0 "$TRACKBED" db check; done
wait "$runner" || fail "the run failed" run.out

expect 0 "$TRACKBED" db check
grep -q 'sound: 1 run, [0-9]* events, 30 cached results' out || fail "the report" out
expect 0 "$TRACKBED" db backup whole.db
[ "$(stat -c %a whole.db)" = 600 ] || fail "the mode of a backup"
[ -z "$(ls whole.db?* 2> /dev/null)" ] || fail "the backup left something"
expect 0 "$TRACKBED" db check whole.db
expect 2 "$TRACKBED" db backup whole.db
grep -q 'exists' err || fail "an existing file is not named" err
expect 6 "$TRACKBED" db backup nowhere/whole.db

# Not onto what has no room for it: here no file may grow beyond so many blocks of 512 bytes.
for blocks in 64 72 80; do
  code=0
  (trap '' XFSZ; ulimit -f "$blocks"; exec "$TRACKBED" db backup large.db) > out 2> err || code=$?
  [ "$code" = 6 ] || fail "a backup that is too large: exit code $code, expected 6" out err
  grep -q 'large.db.*File too large' err || fail "that a backup is too large is not named" err
  [ -z "$(ls large.db* 2> /dev/null)" ] || fail "something of the backup is left"
done

# A backup is a store: put in the place of the other, it goes on.
rm -rf "$TRACKBED_HOME"/trackbed.db*
cp whole.db "$TRACKBED_HOME/trackbed.db"
"$TRACKBED" runs > out; grep -q succeeded out || fail "the copy as a store" out
"$TRACKBED" run many.yaml > out 2>&1 || fail "a run on the copy" out
expect 0 "$TRACKBED" db check

# Damage in a value, where SQLite does not look.
python3 - whole.db damaged.db <<'P' || { echo "SKIPPED: python3 is missing"; exit 77; }
import sys
data = bytearray(open(sys.argv[1], "rb").read())
at = data.rfind(b"sleep 0.05")
data[at] ^= 1
open(sys.argv[2], "wb").write(data)
P
expect 6 "$TRACKBED" db check damaged.db
grep -q 'damaged: ' err || fail "damage is not named" err
head -c 3000 whole.db > cut.db
expect 6 "$TRACKBED" db check cut.db
echo hello > hello.db
expect 6 "$TRACKBED" db check hello.db
[ "$(cat hello.db)" = hello ] || fail "what is no store was changed"
