#!/bin/sh
# Descriptions of machines: this one's can be read back; a wrong one is told with its place, whatever
# is in it, and nothing of it reaches the terminal as a command.
set -eu
"$TRACKBED" node > this.yaml 2> err.txt
"$TRACKBED" node this.yaml > again.yaml
cmp this.yaml again.yaml
printf '{"name": "lab", "cpu": 4, "mem": "8g"}' > lab.json
"$TRACKBED" node lab.json | grep -q '^cpu: 4$'
"$TRACKBED" node --gpu-slot cuda.shares > shares.yaml 2> err.txt
"$TRACKBED" node shares.yaml > again.yaml
cmp shares.yaml again.yaml

fails() { # EXPECTED COMMAND…: exit code 2, and whole lines
  expected=$1
  shift
  code=0
  "$TRACKBED" "$@" > out.txt 2> err.txt || code=$?
  [ "$code" = 2 ] || { echo "$*: exit code $code, expected 2"; cat err.txt; exit 1; }
  grep -Eqe "$expected" err.txt || { echo "$*: expected $expected, found:"; cat err.txt; exit 1; }
  [ -z "$(tail -c 1 err.txt)" ] || { echo "$*: the last line does not end"; exit 1; }
  if grep -q "$(printf '\033')" err.txt out.txt; then echo "$*: sent to the terminal"; exit 1; fi
}
printf 'name: lab\ncpu: -1\n' > negative.yaml
printf 'name: lab\ncpu: 1\nmem: 1g\n"a\\e[31mb": 1\n' > hostile.yaml
for command in "node" "nodes add"; do
  # shellcheck disable=SC2086  # it is two words
  {
    fails '^trackbed: cannot read none.yaml$' $command none.yaml
    fails '^negative.yaml:2:6: cpu: found "-1", expected an amount' $command negative.yaml
    fails '^hostile.yaml:4:1: .*unknown field "a .31mb"' $command hostile.yaml
  }
done
far() { printf 'name: far\ncpu: 1\nmem: 1g\nendpoint: %s\ncertificates: %s\n' "$1" "$2" > far.yaml; }
far gopher://far /tmp
fails '^far.yaml:4:11: endpoint: found "gopher://far", expected unix' nodes add far.yaml
far https://far:1 keys
fails '^far.yaml:5:15: certificates: found "keys", expected an absolute path' nodes add far.yaml
far tcp://far /tmp
fails '^trackbed: node "far": endpoint: the container endpoint: found "tcp://far", expected' \
  nodes add far.yaml
far https://far:1 "$PWD"
fails '^trackbed: node "far": endpoint: .*cannot read .*/ca.pem$' nodes add far.yaml
fails '^trackbed: there is no node "none"; there are: none$' nodes drain none
fails '^trackbed: there is no node "none"; there are: none$' nodes remove none
[ "$("$TRACKBED" nodes list | wc -l)" = 1 ]
"$TRACKBED" nodes add lab.json
fails '^trackbed: node "lab" is there already; nodes remove takes it away$' nodes add lab.json
"$TRACKBED" nodes drain lab
"$TRACKBED" nodes list --json | grep -q '"node":"lab","state":"drained","cpu":"4","mem":"8g"'
"$TRACKBED" nodes undrain lab
"$TRACKBED" nodes list | grep -q '^lab  *open  *4  *8g'
"$TRACKBED" nodes remove lab
[ "$("$TRACKBED" nodes list | wc -l)" = 1 ]
