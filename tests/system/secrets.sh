#!/bin/sh
# A secret reaches the task and nothing else: not the store, the logs, the outputs or the exports.
set -eu
cat > secret.yaml <<'Y'
name: secret
environment: {TOKEN: secret://env/DEMO_TOKEN}
tasks:
- name: use
  cache: true
  command: |
    [ "$TOKEN" = "$(printf 'hunter2-%s' correct-horse)" ] || exit 1
    echo "token is $TOKEN"
    printf %s "$TOKEN" | base64
    echo "said=$TOKEN" >> "$TRACKBED_OUTPUT"
  outputs: {said: string}
- name: after
  dependencies: [use]
  command: echo ${{ tasks.use.outputs.said }}
Y
code=0
"$TRACKBED" run secret.yaml > out 2>&1 || code=$?
[ "$code" = 1 ] || { echo "without the secret: exit code $code, expected 1"; cat out; exit 1; }
grep -q 'DEMO_TOKEN is not set' out || { echo "the missing secret is not named"; cat out; exit 1; }

DEMO_TOKEN=hunter2-correct-horse "$TRACKBED" retry latest > out 2>&1 || { cat out; exit 1; }
"$TRACKBED" logs latest use | grep -q 'token is \*\*\*'
"$TRACKBED" export latest > exported.yaml
grep -q 'secret://env/DEMO_TOKEN' exported.yaml
for needle in hunter2-correct-horse "$(printf %s hunter2-correct-horse | base64)"; do
  if grep -rlF -e "$needle" .trackbed out exported.yaml; then
    echo "the secret is in the files above"
    exit 1
  fi
done
[ "$(stat -c %a .trackbed/trackbed.db)" = 600 ]
# A rotated secret is no new input.
DEMO_TOKEN=other "$TRACKBED" run secret.yaml > out 2>&1 || { cat out; exit 1; }
grep -q 'use .*cached' out || { echo "the rotated secret changed the key"; cat out; exit 1; }

# A pipe in the place of a secret is not waited for.
mkdir -p .trackbed/secrets
mkfifo -m 600 .trackbed/secrets/pipe
cat > pipe.yaml <<'Y'
name: pipe
tasks: [{name: a, environment: {S: secret://file/pipe}, command: 'true'}]
Y
code=0
timeout 60 "$TRACKBED" run pipe.yaml > out 2>&1 || code=$?
[ "$code" = 1 ] || { echo "a pipe for a secret: exit code $code, expected 1"; cat out; exit 1; }
grep -q 'secrets/pipe is not a file' out || { echo "the pipe is not named"; cat out; exit 1; }
