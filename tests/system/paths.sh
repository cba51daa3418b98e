#!/bin/sh
# No path of a pipeline, and nothing that a task leaves, leads out of the folder it belongs to.
set -eu
fail() { echo "$1"; shift; cat "$@"; exit 1; }
export TRACKBED_HOME="$PWD/home"
echo 'the secret' > secret
chmod 600 secret
outside="$PWD/secret"

# What a task leaves as links, or in place of what is read of it.
cat > links.yaml <<Y
name: links
results: {file: link/leak}
tasks:
- {name: link, command: 'ln -s "$outside" "\$TRACKBED_OUTPUTS/leak"'}
Y
cat > folder.yaml <<Y
name: folder
results: {file: link/dir/secret}
tasks:
- {name: link, command: 'ln -s "$PWD" "\$TRACKBED_OUTPUTS/dir"'}
Y
cat > root.yaml <<Y
name: root
results: {file: link/secret}
tasks:
- {name: link, command: 'rmdir "\$TRACKBED_OUTPUTS" && ln -s "$PWD" "\$TRACKBED_OUTPUTS"'}
Y
for name in links folder root; do
  code=0
  "$TRACKBED" run "$name.yaml" > out 2> err || code=$?
  ! grep -rqs 'the secret' "home/results/$name" || fail "$name: a result leads out of its folder"
  [ "$code" != 0 ] || fail "$name: exit code 0, and its result is not there" out err
done

# What a task leaves with the rights of whoever owns it does not have them as a result.
cat > rights.yaml <<'Y'
name: rights
results: {program: leave/program}
tasks:
- {name: leave, command: 'echo x > "$TRACKBED_OUTPUTS/program"; chmod 6755 "$TRACKBED_OUTPUTS/program"'}
Y
"$TRACKBED" run rights.yaml > out 2> err || fail "rights" out err
[ "$(stat -c %a home/results/rights/program)" = 755 ] || fail "a result has the rights of its owner"

# Nor is a result written through a link that lies where results of earlier runs do.
mkdir elsewhere
ln -s "$PWD/elsewhere" home/results/rights/deeper
sed 's|{program:|{deeper/program:|' rights.yaml > deeper.yaml
code=0
"$TRACKBED" run deeper.yaml > out 2> err || code=$?
[ "$code" = 6 ] || fail "a link below the results: exit code $code, expected 6" out err
[ -z "$(ls elsewhere)" ] || fail "a result was written through a link"

# The file of output values as a link: its lines are not those of another file.
echo 'n=7' > values
cat > values.yaml <<Y
name: values
tasks:
- name: link
  command: 'rm -f "\$TRACKBED_OUTPUT"; ln -s "$PWD/values" "\$TRACKBED_OUTPUT"'
  outputs: {n: integer}
Y
code=0
"$TRACKBED" run values.yaml > out 2> err || code=$?
[ "$code" = 1 ] || fail "output values by a link: exit code $code, expected 1" out err

# Paths in the file.
refused() { # NAME YAML
  printf 'name: %s\n%s\n' "$1" "$2" > "$1.yaml"
  code=0
  "$TRACKBED" run "$1.yaml" > out 2> err || code=$?
  [ "$code" = 2 ] || fail "$1: exit code $code, expected 2" out err
  [ ! -e "home/runs/$1" ] || fail "$1 left something behind"
}
task='tasks:
- name: a
  command: "true"'
refused source "source: ../
$task"
refused results "results: {x: a/../../secret}
$task"
refused resultsname "results: {../x: a/y}
$task"
refused files "$task
  files: [../secret]"
refused mount "folders: {data: $PWD}
$task
  mounts: ['data:../../x']"
refused name 'tasks:
- name: ../a
  command: "true"'
refused absolute "results: {x: a//etc/passwd}
source: /etc
$task"

# A link in the source is a link in what tasks see: nothing behind it is copied or hashed.
mkdir code
ln -s "$outside" code/link
echo 'cat link' > code/run.sh
cat > source.yaml <<'Y'
name: source
source: code
tasks:
- {name: a, command: "sh run.sh > \"$TRACKBED_OUTPUTS/seen\" || true"}
Y
"$TRACKBED" run source.yaml > out 2> err || fail "a link in the source" out err
! grep -rqs 'the secret' home/sources || fail "what a link in the source leads to was copied"

# What is kept is its owner's alone.
[ "$(stat -c %a home)" = 700 ] || fail "the mode of the home folder"
for file in home/trackbed.db*; do
  [ "$(stat -c %a "$file")" = 600 ] || fail "the mode of $file"
done
[ -z "$(find home -type s)" ] || fail "there are sockets"
