#!/bin/sh
# Files that are read and written without running anything: what is said of them to people and to
# programs, and that a file that cannot be written leaves nothing behind.
set -eu
says() { grep -Eqe "$1" "$2" || { echo "expected: $1; found:"; cat "$2"; exit 1; }; }
fails() { # CODE EXPECTED COMMAND…
  expected_code=$1 expected=$2
  shift 2
  code=0
  "$TRACKBED" "$@" > out.txt 2> err.txt || code=$?
  [ "$code" = "$expected_code" ] || { echo "$*: exit code $code"; cat err.txt; exit 1; }
  says "$expected" err.txt
}
cat > good.yaml <<'Y'
name: good
tasks:
- {name: a, command: 'true'}
- {name: b, command: 'true', dependencies: [a]}
Y
printf 'name: bad\ntasks:\n- {name: a, comand: x}\n' > bad.yaml

"$TRACKBED" validate --json good.yaml > out.txt
says '"valid": true' out.txt
says '"version": "sha256:' out.txt
code=0
"$TRACKBED" validate --json bad.yaml > out.txt 2> err.txt || code=$?
[ "$code" = 2 ]
python3 - <<'P'
import json
told = json.load(open("out.txt"))
assert told["valid"] is False and "version" not in told, told
mistake = told["diagnostics"][0]
assert (mistake["severity"], mistake["line"], mistake["column"]) == ("error", 3, 13), mistake
assert 'did you mean "command"' in mistake["message"], mistake
P
[ ! -s err.txt ]

for format in text dot mermaid json; do "$TRACKBED" graph --format $format good.yaml > out.txt; done
fails 2 '^bad.yaml:3:13: ' graph bad.yaml
fails 2 '^bad.yaml:3:13: ' export bad.yaml
fails 2 '^bad.yaml:3:13: ' import fasttrack bad.yaml

# Of a file or a run, in each form; a run is exported as it was run.
"$TRACKBED" run good.yaml > out.txt 2>&1
for format in yaml json fasttrack; do "$TRACKBED" export --format $format latest > run.txt; done
"$TRACKBED" export good.yaml -o file.yaml
"$TRACKBED" export latest -o run.yaml
cmp file.yaml run.yaml
"$TRACKBED" validate run.yaml
fails 2 'there is neither a file nor a run "none"' export none
fails 2 'there is neither a file nor a run "none"' --home elsewhere export none
fails 6 '^trackbed: cannot write missing/x.yaml$' export latest -o missing/x.yaml
mkdir folder
fails 6 '^trackbed: cannot write folder$' export latest -o folder
[ -z "$(find . -maxdepth 1 -name '*.tmp-*')" ]

# A pipeline in Python needs Python, and says so.
echo 'x = 1' > pipeline.py
code=0
PATH=$PWD/folder "$TRACKBED" run pipeline.py 2> err.txt || code=$?
[ "$code" = 6 ]
says '^trackbed: cannot run python3: No such file' err.txt

# What no run could have here is told before anything runs.
printf 'name: large\ntasks:\n- {name: a, command: x, resources: {cpu: 4096}}\n' > large.yaml
fails 6 '^trackbed: task "a": .*4096 cpu' run --dry-run large.yaml

# Mistakes in what a command is told.
fails 2 '--param: found "x", expected NAME=VALUE' run good.yaml -p x
fails 2 '--param: x is given twice' run good.yaml -p x=1 -p x=2
fails 2 '--slots: found "cpu", expected NAME=AMOUNT such as cpu=4' run good.yaml --slots cpu
fails 2 '--slots: ' run good.yaml --slots cpu=-1
fails 2 'node-lease: found "fast", expected a duration' run good.yaml --node-lease fast
fails 2 'has succeeded already' cancel latest
