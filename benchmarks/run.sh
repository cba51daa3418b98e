#!/bin/sh
# Runs every benchmark of a release build; `./dev bench` calls it. --quick: seconds instead of
# minutes. Results for programs are left in build/release/benchmarks/*.json.
set -eu
build=$(cd "$(dirname "$0")/.." && pwd)/build/release
cd "$build/benchmarks"
echo "== engine_overhead"
./engine_overhead --json engine_overhead.json "$@"
echo
echo "== slot_allocator"
./slot_allocator --json slot_allocator.json "$@"
echo
echo "== placement"
./placement --json placement.json "$@"
echo
echo "== scheduler_plan"
./scheduler_plan --json scheduler_plan.json "$@"
echo
echo "== process_wall_time"
python3 ../../../benchmarks/process_wall_time.py --trackbed "$build/bin/trackbed" \
  --json process_wall_time.json "$@"
echo
echo "== capi_calls"
./capi_calls --json capi_calls.json "$@"
for name in idle_engine python_calls; do
  echo
  echo "== $name"
  TRACKBED_LIBRARY="$build/lib/libtrackbed.so" TRACKBED_SUPERVISOR="$build/bin/trackbed-supervisor" \
    python3 "../../../benchmarks/$name.py" --json "$name.json" "$@"
done
if [ -f "$build/go/trackbed-c.pc" ]; then
  echo
  echo "== go_calls"
  (
    export PKG_CONFIG_PATH="$build/go" LD_LIBRARY_PATH="$build/lib" GOCACHE="$build/go/cache" \
      GOPATH="$build/go/path" GOENV=off GOPROXY=off GOFLAGS=-buildvcs=false
    cd ../../../benchmarks/go_calls
    go run . -json "$build/benchmarks/go_calls.json" "$@"
  )
fi
