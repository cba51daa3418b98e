#!/bin/sh
# Links, pipes and sockets where files or folders are expected: in what a pipeline brings along, and
# in what a task leaves.
set -eu
fail() { echo "$1"; shift; cat "$@"; exit 1; }
export TRACKBED_HOME="$PWD/home"
mkdir -p outside bundle/code/lib
echo 'the secret' > outside/secret
echo one > bundle/code/lib/data

# The source itself, or a folder on the way to it, as a link that leads out.
ln -s ../outside bundle/link
ln -s ../.. bundle/code/top
for source in link code/top code/top/outside; do
  printf 'name: out\nsource: %s\ntasks:\n- {name: a, command: "cat secret"}\n' "$source" \
    > bundle/out.yaml
  code=0
  "$TRACKBED" run bundle/out.yaml > out 2> err || code=$?
  [ "$code" = 2 ] || fail "source $source: exit code $code, expected 2" out err
  ! grep -rqs 'the secret' home || fail "source $source: what it leads to was copied"
done
# One that stays within is as good as what it leads to.
ln -s code bundle/same
printf 'name: in\nsource: same\ntasks:\n- {name: a, command: "cat lib/data"}\n' > bundle/in.yaml
"$TRACKBED" run bundle/in.yaml > out 2> err || fail "a link that stays within" out err

# What is behind a link in the source is no part of it: nothing can be named there.
ln -s "$PWD/outside" bundle/code/behind
printf 'name: behind\nsource: code\ntasks:\n- {name: a, command: "cat behind/secret", files: [%s]}\n' \
  behind/secret > bundle/behind.yaml
code=0
"$TRACKBED" run bundle/behind.yaml > out 2> err || code=$?
[ "$code" = 1 ] || fail "a file behind a link: exit code $code, expected 1" out err
grep -q '"behind" is no folder of it' err || fail "a file behind a link is not named" err

# However a part of the source is named, a change in it is seen.
for file in lib lib/ ./lib lib/. lib//data ./lib/data .; do
  printf 'name: seen\nsource: code\ntasks:\n- {name: a, command: "cat lib/data", files: ["%s"]}\n' \
    "$file" > bundle/seen.yaml
  for content in "first of $file" "second of $file"; do
    echo "$content" > bundle/code/lib/data
    "$TRACKBED" run bundle/seen.yaml > out 2> err || fail "files: $file" out err
    "$TRACKBED" logs latest a > log
    grep -qxF -e "$content" log || fail "files: $file: an earlier result is taken" log
  done
done

# A log that the task has put something in place of.
cat > log.yaml <<Y
name: log
tasks:
- name: link
  cache: false
  command: 'cd ..; rm log; ln -s "$PWD/outside/secret" log; exit 1'
- name: pipe
  cache: false
  command: 'cd ..; rm log; mkfifo log; exit 1'
Y
code=0
timeout 60 "$TRACKBED" run log.yaml > out 2> err || code=$?
[ "$code" = 1 ] || fail "a log replaced: exit code $code, expected 1" out err
! grep -q 'the secret' out err || fail "another file is shown for a log" out err
for task in link pipe; do
  code=0
  timeout 60 "$TRACKBED" logs latest $task > out 2> err || code=$?
  [ "$code" = 2 ] || fail "the log of $task: exit code $code, expected 2" out err
  grep -q 'there is no log' err || fail "the log of $task is not said to be missing" err
  ! grep -q 'the secret' out || fail "another file is shown for the log of $task" out
done

# Outputs that cannot be handed on are a failure, not nothing.
cat > pipe.yaml <<'Y'
name: pipe
tasks:
- {name: leave, command: 'echo 1 > $TRACKBED_OUTPUTS/data; mkfifo $TRACKBED_OUTPUTS/pipe'}
- {name: use, dependencies: [leave], command: 'cat $TRACKBED_INPUTS/leave/data'}
Y
code=0
"$TRACKBED" run pipe.yaml > out 2> err || code=$?
[ "$code" = 1 ] || fail "a pipe in the outputs: exit code $code, expected 1" out err
grep -q 'what it left cannot be handed on: outputs: "pipe" is neither' err || fail "the pipe is not named" err
