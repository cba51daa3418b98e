#!/bin/sh
# A pipeline file from somebody else: looked at, it opens nothing, runs nothing, and what it says
# cannot act on the terminal. What is kept of its runs is nobody else's, whatever the umask.
set -eu
fail() { echo "$1"; shift; cat -v "$@"; exit 1; }
export TRACKBED_HOME="$PWD/home"

# Pipes where it names folders: whoever opens one waits for ever.
mkfifo code pipe
cat > pipes.yaml <<'Y'
name: pipes
source: code
folders: {d: {path: pipe}}
parameters: {x: {default: a}}
tasks:
- {name: a, command: 'touch ran', mounts: ['d:/mnt:ro'], files: [lib], environment: {S: 'secret://file/s'}}
Y
for command in validate graph export 'run --dry-run'; do
  # shellcheck disable=SC2086  # words
  timeout 20 "$TRACKBED" $command pipes.yaml > out 2> err || fail "$command of a file with pipes" out err
done
if [ -e home ] || [ -e ran ]; then fail "looking at a file left something behind" out; fi
code=0
timeout 20 "$TRACKBED" run pipes.yaml > out 2> err || code=$?
[ "$code" = 6 ] || fail "a pipe for a source: exit code $code, expected 6" out err

# Escape sequences in every place of which something is printed, of 7 and of 8 bits.
cat > escapes.yaml <<'Y'
name: "a\e[2Jb"
"k\e[2Jey": 1
tasks:
- {name: x, command: "true", trigger: "\e]0;title\a", dependencies: ["\u009b2J"]}
- {name: y, command: "true", resources: {"\e[5m": 3}, mounts: ["\e[2Jm:x"]}
Y
cat > shown.yaml <<'Y'
name: shown
description: "\e[2J"
parameters: {p: {default: "\e[31m\u009b2J"}}
tasks:
- {name: x, when: "params.p != '\e[2J'", command: 'printf "\033[2J" >&2; printf "v=\033[2J" > $TRACKBED_OUTPUT; exit 1'}
Y
: > all
for command in 'validate escapes.yaml' 'graph escapes.yaml' 'run escapes.yaml' 'graph shown.yaml' \
  'run --dry-run shown.yaml' 'run shown.yaml' 'show latest' 'runs' 'why latest x' \
  'explain latest x'; do
  # shellcheck disable=SC2086  # words
  timeout 60 "$TRACKBED" $command >> all 2>&1 || true
done
escape=$(printf '\033')
long=$(printf '\302\233')
! grep -aF -e "$escape" -e "$long" all > bad || fail "these lines reach the terminal as they are" bad

# Nobody else may enter, read or write, though everybody was asked to.
umask 000
TRACKBED_HOME=$PWD/open/home "$TRACKBED" run shown.yaml > out 2>&1 || true
TRACKBED_HOME=$PWD/open/home "$TRACKBED" db backup copy.db > out 2>&1 || fail "backup" out
[ "$(stat -c %a open/home)" = 700 ] || fail "the mode of the home folder"
for file in open/home/trackbed.db* copy.db; do
  [ "$(stat -c %a "$file")" = 600 ] || fail "the mode of $file"
done
find open/home/runs -name log > logs
[ -s logs ] || fail "there is no log"
while read -r file; do
  [ "$(stat -c %a "$file")" = 600 ] || fail "the mode of $file"
  [ "$(stat -c %a "${file%/log}")" = 700 ] || fail "the mode of the folder of $file"
done < logs
