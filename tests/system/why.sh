#!/bin/sh
# `trackbed why`: from which run a result came, and what of a task has changed since its last one.
set -eu
cat > why.yaml <<'Y'
name: why
parameters: {alpha: {type: number, default: 0.5}}
source: .
tasks:
- {name: train, command: 'echo ${{ params.alpha }}', files: [data.txt]}
- {name: broken, command: exit 1, dependencies: [train]}
- {name: after, command: 'true', dependencies: [broken]}
- {name: always, command: 'true', cache: false}
Y
why() { "$TRACKBED" why latest "$1" > said.txt; }
says() { grep -Eqe "$1" said.txt || { echo "expected: $1; found:"; cat said.txt; exit 1; }; }
run() { "$TRACKBED" run why.yaml "$@" > out.txt 2>&1 || true; }

echo 1 > data.txt
run
first=$("$TRACKBED" runs --json | sed 's/.*"run":"\([^"]*\)".*/\1/')
why train
says "^task \"train\" of run $first: succeeded"
says '^cache miss: key sha256:'
says '^no earlier result of this task; its key is made of'
says '^  script = echo 0.5$'
why broken
says '^  exit code 1$'
why after
says '^it has not run, so the cache was not asked'
# Nobody waits for the log of what will not run.
code=0
"$TRACKBED" logs --follow latest after 2> error.txt || code=$?
[ "$code" = 2 ]
grep -q '^trackbed: .*after' error.txt
why always
says '^not cached: the task says cache: false'

run
why train
says "^task \"train\" of run .*: cached"
says "^cache hit: result of run $first, task \"train\", attempt 1"
says '^  same  script = echo 0.5$'

run -p alpha=0.75
why train
says "^compared with its latest result, of run $first:"
says '^  changed  script: echo 0.5  ->  echo 0.75$'
says '^  same     source$'

# Its files named no more: one part of the key is gone.
sed -i 's/, files: .data.txt.//; s/^source: .$//' why.yaml
run
why train
says '^  gone     source$'
sed -i 's/^- {name: train, /&image: other, /' why.yaml
run --no-cache
why train
says '^not cached: the run was started without the cache'
code=0
"$TRACKBED" why latest none 2> error.txt || code=$?
[ "$code" = 2 ]
grep -q 'no task "none"' error.txt
