#!/bin/sh
# Placement policies on a small trace: a table, JSON, and one clear error for each mistake.
set -eu
{
  echo 'sn,cpu_milli,memory_mib,gpu,model'
  for i in 0 1 2 3; do echo "n$i,96000,393216,8,G2"; done
} > nodes.csv
{
  echo 'name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec'
  for i in 0 1 2 3 4 5 6 7 8 9; do
    echo "a$i,6000,1024,1,460,"
    echo "b$i,8000,1024,1,1000,G2"
    echo "c$i,4000,1024,0,0,"
  done
} > tasks.csv
simulate() { timeout 20 "$TRACKBED" simulate --nodes nodes.csv --workload tasks.csv "$@"; }
for policy in random dot-product gpu-clustering gpu-packing best-fit fgd default; do
  simulate --policy "$policy" --seeds 1-3 > table
  grep -q '^ *mean ' table || { echo "$policy: no mean in the table"; cat table; exit 1; }
done
simulate --json --seeds 1,2 --learn > json
grep -q '"allocated_percent"' json
expect() { # PATTERN ARGUMENT...
  pattern=$1
  shift
  code=0
  simulate "$@" > out 2> err || code=$?
  [ "$code" = 2 ] || { echo "$*: exit code $code, expected 2"; cat err; exit 1; }
  grep -Eq -e "$pattern" err || { echo "$*: expected $pattern, found:"; cat err; exit 1; }
}
expect 'did you mean "fgd"' --policy fdg
expect '--seeds: found "9-1"' --seeds 9-1
expect '--inflate: found 0,' --inflate 0
expect '--format' --format other
echo 'n9,1,1,x,G2' >> nodes.csv
expect '^trackbed: nodes.csv:6:8: found "x", expected gpu' --seeds 1
