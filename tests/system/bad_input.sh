#!/bin/sh
# Hostile and broken files: one clear error each, with its place, and exit code 2; quickly.
set -eu
expect() { # FILE PATTERN: what `validate` and `run` say about it
  for command in validate run; do
    code=0
    timeout 20 "$TRACKBED" "$command" "$1" > out 2> err || code=$?
    [ "$code" = 2 ] || { echo "$command $1: exit code $code, expected 2"; head -c 2000 err; exit 1; }
    [ -z "$(tail -c 1 err)" ] || { echo "$command $1: the last line does not end"; exit 1; }
    grep -Eq -e "$2" err || { echo "$command $1: expected $2, found:"; head -c 2000 err; exit 1; }
  done
  [ ! -e .trackbed/runs ] || { echo "$1 left something behind"; exit 1; }
}
good='name: p
tasks:
- name: a
  command: echo'

: > empty.yaml
expect empty.yaml '^empty.yaml:1:1: '
expect missing.yaml '^missing.yaml: cannot open the file: No such file'
mkdir folder.yaml
expect folder.yaml '^folder.yaml: this is a folder, expected a file'
truncate -s 100M large.yaml
expect large.yaml '^large.yaml: the file has 104857600 bytes; at most 16777216 are read'
head -c 4096 /dev/urandom > binary.yaml
expect binary.yaml '^binary.yaml:[0-9]+:[0-9]+: '
printf 'name: caf\351\n' > latin1.yaml
expect latin1.yaml '^latin1.yaml:1:10: .*UTF-8'
python3 -c "print('a: ' + '[' * 1000 + ']' * 1000)" > deep.yaml
expect deep.yaml '^deep.yaml:1:[0-9]+: '
python3 -c "
print('a0: &a0 [x, x, x, x, x, x, x, x, x, x]')
for i in range(1, 30): print(f'a{i}: &a{i} [' + ', '.join([f'*a{i-1}'] * 10) + ']')" > bomb.yaml
expect bomb.yaml '^bomb.yaml:[0-9]+:[0-9]+: .*aliases'
printf '%s\n' "$good" 'name: q' > duplicate.yaml
expect duplicate.yaml '^duplicate.yaml:5:1: name: .*twice|^duplicate.yaml:5:1: '
printf '%s\n  resources: {mem: -1g}\n' "$good" > negative.yaml
expect negative.yaml '^negative.yaml:5:20: tasks\[0\].resources.mem: '
printf '%s\n  resources: {cuda.share: 1}\n' "$good" > slot.yaml
expect slot.yaml '^slot.yaml:5:15: tasks\[0\].resources.cuda.share: .*did you mean "cuda.shares"'
printf '%s\n  dependancies: [b]\n' "$good" > key.yaml
expect key.yaml '^key.yaml:5:3: .*dependancies.*did you mean "dependencies"'
cat > cycle.yaml <<'Y'
name: p
tasks:
- {name: a, command: echo, dependencies: [c]}
- {name: b, command: echo, dependencies: [a]}
- {name: c, command: echo, dependencies: [b]}
Y
expect cycle.yaml 'cycle.yaml:3:.*a -> .* -> a'
printf '{"name": "p", "tasks": [{"name": "a", "command": }]}' > broken.json
expect broken.json '^broken.json:1:50: |^broken.json:1:49: '
# All mistakes of a file in one go.
printf 'name: p\ntasks:\n- {name: a, command: x, timeout: fast}\n- {name: b, comand: y}\n' > two.yaml
expect two.yaml '^two.yaml:3:34: tasks\[0\].timeout: found "fast", expected a duration'
grep -q '^two.yaml:4:13: .*did you mean "command"' err

code=0
printf '%s\n' "$good" > good.yaml
"$TRACKBED" run good.yaml --param x=1 2> err || code=$?
[ "$code" = 2 ] && grep -q 'parameter "x"' err
code=0
"$TRACKBED" show nothing 2> err || code=$?
[ "$code" = 2 ]
code=0
"$TRACKBED" runn good.yaml 2> err || code=$?
[ "$code" = 2 ] && grep -q 'unknown command "runn"; did you mean "run"?' err
