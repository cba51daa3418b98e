#!/bin/sh
# A full disk and an unwritable store: a clear error, and the run resumable.
set -eu
[ "$(id -u)" = 0 ] || { echo "SKIPPED: needs root for a small file system"; exit 77; }
mkdir small
mount -t tmpfs -o size=1m trackbed-test small 2> /dev/null || {
  echo "SKIPPED: cannot mount a small file system"; exit 77; }
trap 'umount small' EXIT
fail() { echo "$1"; shift; cat "$@"; exit 1; }

# The first task fills the disk outside of Trackbed's folders, the engine then cannot commit.
cat > fill.yaml <<Y
name: fill
tasks:
- name: fill
  cache: false
  command: head -c 10m /dev/zero > $PWD/small/filler 2> /dev/null || true
Y
for i in $(seq 40); do
  printf -- '- {name: t%s, dependencies: [%s], cache: false, command: "echo %s >> %s/ran"}\n' \
    "$i" "$([ "$i" = 1 ] && echo fill || echo "t$((i - 1))")" "$i" "$PWD" >> fill.yaml
done
export TRACKBED_HOME="$PWD/small/home"
code=0
"$TRACKBED" run fill.yaml > out 2> err || code=$?
# Whichever hits the full disk first, the store or a task's folder, must say so.
[ "$code" = 6 ] || [ "$code" = 1 ] || fail "full disk: exit code $code" out err
grep -Eiq 'no space left|disk full|disk is full' out err || fail "the full disk is not named" out err

rm small/filler
if [ "$code" = 6 ]; then
  "$TRACKBED" resume latest > out 2> err || fail "resume failed" out err
else
  "$TRACKBED" retry latest > out 2> err || fail "retry failed" out err
fi
[ "$(sort -n ran | uniq | wc -l)" = 40 ] || fail "not every task ran" ran
[ "$(sort -n ran | uniq -d | wc -l)" = 0 ] || fail "a finished task ran again" ran

# Read only.
mount -o remount,ro small
for command in "run fill.yaml" "resume latest"; do
  code=0
  # shellcheck disable=SC2086  # two words
  "$TRACKBED" $command > out 2> err || code=$?
  [ "$code" = 6 ] || fail "read-only store, $command: exit code $code" out err
  grep -Eiq 'read-only|readonly' err || fail "read-only store, $command: not named" err
done

# A copy onto a disk without room for it: however much there is, it is whole, or the lack is named
# and nothing is left.
mkdir narrow
mount -t tmpfs -o size=4k trackbed-test narrow
trap 'umount small narrow' EXIT
made=0
refused=0
mount -o remount,rw small
for size in 4 8 16 32 64 68 72 76 80 84 88 92 96 100 104 108 112 116 120 124 128 160 256 1024; do
  mount -o "remount,size=${size}k" narrow
  code=0
  "$TRACKBED" db backup narrow/copy.db > out 2> err || code=$?
  if [ "$code" = 0 ]; then
    made=$((made + 1))
    grep -q 'copied and sound' out || fail "$size k: a copy of which it is not known" out
  else
    refused=$((refused + 1))
    [ "$code" = 6 ] || fail "a backup to a disk of $size k: exit code $code" out err
    grep -Eiq 'no space left|disk full|disk is full' err || fail "$size k: not named" err
    grep -q 'narrow/copy.db' err || fail "$size k: the copy is not named" err
  fi
  find narrow -type f ! -name copy.db > left
  [ ! -s left ] || fail "$size k: something is left" left
  rm -f narrow/copy.db
done
[ "$made" -gt 0 ] || fail "no backup was made" out
[ "$refused" -gt 0 ] || fail "no backup was refused" out

# A copy on what cannot be written to, where nothing can be made beside it.
"$TRACKBED" db backup narrow/copy.db > out 2> err || fail "backup" out err
mount -o remount,ro narrow
"$TRACKBED" db check narrow/copy.db > out 2> err || fail "a copy that is read-only" out err
grep -q 'sound: 1 run' out || fail "the report about a copy that is read-only" out
# A store that was not closed, whose log is beside it, is not whole by itself, and not taken for it.
mount -o remount,rw narrow
head -c 32 /dev/zero > narrow/copy.db-wal
mount -o remount,ro narrow
code=0
"$TRACKBED" db check narrow/copy.db > out 2> err || code=$?
[ "$code" = 6 ] || fail "a store with a log that is read-only: exit code $code" out err
grep -q '^trackbed: narrow/copy.db: cannot ' err || fail "a store with a log: not named" err
