#!/bin/sh
# slurm_jobs.sh TRACKBED [JOBS]: a graph of chains of jobs that do nothing on a Slurm cluster of its
# own, beside the same chains by hand: one sbatch after another with --dependency=afterok. And how
# often the controller is asked while JOBS, or 10, of them wait. Needs root and Slurm's daemons, as
# the tests do.
set -eu
TRACKBED=$(realpath "$1")
jobs=${2:-500}
ROOT=$(cd "$(dirname "$0")/.." && pwd)
export TRACKBED ROOT
# shellcheck source=tests/support/slurm_cluster.sh
. "$ROOT/tests/support/slurm_cluster.sh"
work=$(mktemp -d /tmp/trackbed-slurm-jobs.XXXXXX)
cd "$work"
chains=8
now() { date +%s.%N; }
seconds() { echo "$1 $2" | awk '{printf "%.1f", $2 - $1}'; }

# squeue, counted.
mkdir bin
squeue=$(command -v squeue)
cat >bin/squeue <<P
#!/bin/sh
echo x >>"$work/asked"
exec "$squeue" "\$@"
P
chmod +x bin/squeue
counted=$work/bin:$PATH

chain_yaml() { # chain_yaml JOBS COMMAND
  echo "name: chains"
  echo "tasks:"
  for i in $(seq "$1"); do
    after=
    [ "$i" -le "$chains" ] || after="t$((i - chains))"
    echo "- {name: t$i, cache: false, dependencies: [$after], command: $2}"
  done
}

by_hand() {
  begin=$(now)
  for i in $(seq "$jobs"); do
    after=
    [ "$i" -le "$chains" ] || eval "after=--dependency=afterok:\$job$((i - chains))"
    # shellcheck disable=SC2086  # none or one word
    job=$(sbatch --parsable --output=/dev/null --chdir=/ $after --wrap=/bin/true)
    eval "job$i=$job"
  done
  until [ -z "$("$squeue" --noheader --format=%i)" ]; do sleep 0.2; done
  seconds "$begin" "$(now)"
}
by_trackbed() {
  chain_yaml "$jobs" /bin/true >chains.yaml
  rm -f asked
  begin=$(now)
  PATH=$counted "$TRACKBED" run --on slurm chains.yaml >out 2>&1 || { cat out >&2; exit 1; }
  seconds "$begin" "$(now)"
}
asked_while() { # asked_while JOBS: that many wait for a file; how often a minute Slurm is asked
  rm -f go asked
  {
    echo "name: wait"
    echo "tasks:"
    for i in $(seq "$1"); do
      echo "- {name: t$i, cache: false, command: 'until [ -e $work/go ]; do sleep 1; done'}"
    done
  } >wait.yaml
  PATH=$counted "$TRACKBED" run --on slurm wait.yaml >out 2>&1 &
  program=$!
  until [ "$("$squeue" --noheader --format=%i | wc -l)" = "$1" ]; do sleep 0.5; done
  : >asked
  sleep 60
  count=$(wc -l <asked)
  touch go
  wait "$program" || { cat out >&2; exit 1; }
  echo "$count"
}

echo "| $jobs jobs in $chains chains | seconds |"
echo "| --- | --- |"
for round in 1 2; do
  echo "| by hand, round $round | $(by_hand) |"
  echo "| trackbed, round $round | $(by_trackbed) |"
done
echo
echo "| jobs | questions a minute |"
echo "| --- | --- |"
for count in 10 "$jobs"; do echo "| $count | $(asked_while "$count") |"; done
cd / && rm -rf "$work"
