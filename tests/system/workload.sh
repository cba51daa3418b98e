#!/bin/sh
# Recorded jobs through the scheduler: a summary, a file of jobs, a report, and clear errors.
set -eu
{
  echo 'sn,cpu_milli,memory_mib,gpu,model'
  for i in 0 1; do echo "n$i,96000,393216,8,G2"; done
} > nodes.csv
{
  echo 'job,vc,user,submitted,run_seconds,gpus,cpus'
  i=0
  while [ $i -lt 60 ]; do
    echo "j$i,team$((i % 3)),u,$((1700000000 + i * 10)),$((600 + i * 7)),$((i % 4 + 1)),4"
    i=$((i + 1))
  done
} > jobs.csv
simulate() {
  timeout 60 "$TRACKBED" simulate --format philly --nodes nodes.csv --workload jobs.csv "$@"
}
for order in fifo lifo drf fair-share; do
  for backfill in strict any easy conservative; do
    simulate --order "$order" --backfill "$backfill" > summary
    grep -q '^jobs  *60 ended, 0 refused' summary || { cat summary; exit 1; }
  done
done
simulate --csv out.csv --html report.html > first
[ "$(wc -l < out.csv)" = 61 ]
grep -q '<svg' report.html
if grep -Eq 'https?://' report.html; then echo "the report refers to something outside"; exit 1; fi
cp report.html again.html
simulate --csv out2.csv --html report.html > second
cmp first second
cmp out.csv out2.csv
cmp again.html report.html
echo 'late,x,u,never,5,1,1' >> jobs.csv
code=0
simulate 2> err || code=$?
[ "$code" = 2 ]
grep -q 'jobs.csv:62:10:.*never' err || { cat err; exit 1; }
