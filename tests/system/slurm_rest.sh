#!/bin/sh
# Runs by slurmrestd on a socket, as another user than root, with none of Slurm's commands: files and
# values, what is refused, a cancel; and a run that slurmrestd does not live through.
set -eu
# shellcheck source=tests/support/slurm_cluster.sh
. "$ROOT/tests/support/slurm_cluster.sh"
user=nobody
id "$user" >/dev/null 2>&1 || skip "there is no user $user"

fail() {
  echo "FAILED: $*" >&2
  cat out >&2
  squeue --all --states=all --format='%i %u %T %r %j' >&2 || true
  slurm_log >&2
  exit 1
}
# The build's folder may be closed to others.
mkdir "$SLURM_FOLDER/bin"
cp "$TRACKBED" "$(dirname "$TRACKBED")/trackbed-supervisor" "$SLURM_FOLDER/bin"
TRACKBED=$SLURM_FOLDER/bin/trackbed
for command in sbatch squeue scancel sacct; do
  # shellcheck disable=SC2016
  printf '#!/bin/sh\necho "$0 was run" >>"%s"\nexit 1\n' "$SLURM_FOLDER/commands" \
    >"$SLURM_FOLDER/bin/$command"
  chmod 755 "$SLURM_FOLDER/bin/$command"
done
touch "$SLURM_FOLDER/commands"
chmod 666 "$SLURM_FOLDER/commands"
work=$SLURM_FOLDER/work
mkdir "$work"
chown "$user" "$work"
as_user() {
  (cd "$work" && exec setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups \
    env HOME="$work" PATH="$SLURM_FOLDER/bin:$PATH" "$@")
}
run() { # run CODE ARGUMENTS…
  wanted=$1
  shift
  code=0
  as_user "$TRACKBED" run --on slurm --slurm-endpoint "$SLURM_REST" --plain "$@" >out 2>&1 || code=$?
  [ "$code" = "$wanted" ] || fail "exit code $code, expected $wanted: $*"
}
slurm_rest_start "$user" local

cat >"$work/files.yaml" <<'Y'
name: files
tasks:
- name: make
  cache: false
  resources: {cpu: 2, mem: 200m, cuda.device: 1}
  outputs: {number: integer}
  command: |
    echo "number=42" >> "$TRACKBED_OUTPUT"
    echo hello > "$TRACKBED_OUTPUTS/greeting"
    echo "$(id -un) on $SLURM_CPUS_ON_NODE, device $CUDA_VISIBLE_DEVICES"
- name: use
  cache: false
  dependencies: [make]
  command: |
    [ "$(cat "$TRACKBED_INPUT_1/greeting")" = hello ]
    echo "partition $SLURM_JOB_PARTITION, number ${{ tasks.make.outputs.number }}"
Y
run 0 --partition other files.yaml
as_user "$TRACKBED" logs latest make | grep -q "^$user on 2, device [01]\$" || {
  as_user "$TRACKBED" logs latest make >out
  fail "the log of make"
}
as_user "$TRACKBED" logs latest use | grep -q '^partition other, number 42$' || fail "the log of use"
code=0
as_user "$TRACKBED" doctor --slurm-endpoint "$SLURM_REST" --partition nowhere >out 2>&1 || code=$?
[ "$code" = 6 ] || fail "doctor: exit code $code, expected 6"
grep -q 'no partition "nowhere" for this user; it has: main, other' out || fail "doctor"

cat >"$work/fails.yaml" <<'Y'
name: fails
tasks:
- {name: code, command: exit 7, cache: false}
- {name: large, command: echo never, resources: {mem: 900g}, cache: false}
Y
run 1 fails.yaml
grep -q 'exit code 7' out || fail "the exit code is not told"
grep -q 'Slurm refuses the job: ' out || fail "the refusal is not told"
run 1 --sbatch=--burst-buffer=x files.yaml
grep -q '"--burst-buffer=x" cannot be asked of slurmrestd' out || fail "what cannot be asked is not told"

# The service is gone for a while: nothing is lost.
cat >"$work/long.yaml" <<Y
name: long
tasks:
- {name: first, cache: false, command: 'touch $work/begun; until [ -e $work/go ]; do sleep 0.1; done'}
- {name: second, cache: false, dependencies: [first], command: echo second}
- {name: stopped, cache: false, command: 'exec sleep 614'}
Y
as_user "$TRACKBED" run --on slurm --slurm-endpoint "$SLURM_REST" --plain long.yaml >out 2>&1 &
program=$!
tries=0
until [ -e "$work/begun" ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 300 ] || fail "nothing begins"
  sleep 0.1
done
kill -9 "$REST_PID"
touch "$work/go"
sleep 2
rm -f "$SLURM_FOLDER/rest/socket"
slurm_rest_start "$user" local
tries=0
until grep -q 'second *succeeded' out; do
  tries=$((tries + 1))
  [ "$tries" -lt 600 ] || fail "the second does not run"
  sleep 0.1
done
as_user "$TRACKBED" cancel latest >/dev/null
code=0
wait "$program" || code=$?
[ "$code" = 3 ] || fail "after a cancel: exit code $code, expected 3"
slurm_no_jobs || fail "jobs are left"
[ ! -s "$SLURM_FOLDER/commands" ] || { cat "$SLURM_FOLDER/commands"; fail "commands were run"; }
