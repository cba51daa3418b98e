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
