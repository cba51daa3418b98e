#!/bin/sh
# The example: it succeeds, publishes its results, is then taken from the cache, and after a change
# runs only what depends on the change.
set -eu
if ! python3 -c 'import numpy' 2>/dev/null; then
  PATH=/usr/bin:$PATH
  python3 -c 'import numpy' 2>/dev/null || exit 77
fi
fail() {
  echo "FAILED: $*" >&2
  exit 1
}
cp -r "$ROOT/examples/digits" digits
run() { "$TRACKBED" run digits/pipeline.yaml --plain "$@" | tee log; }
results=.trackbed/results/digits

run
for file in confusion.png model.npz report.md; do
  [ -s "$results/$file" ] || fail "no result $file"
done
[ "$(head -c 4 "$results/confusion.png" | tail -c 3)" = PNG ] || fail "confusion.png is no PNG"
accuracy=$(sed -n 's/.*reads \*\*\([0-9]*\)\..*/\1/p' "$results/report.md")
[ "$accuracy" -ge 93 ] || fail "accuracy $accuracy %"
grep -q 'use-linear *skipped' log || fail "use-linear was not skipped"
cp "$results/model.npz" first.npz

run
if grep -q started log; then fail "something ran though nothing changed"; fi

run -p epochs=1
grep -q 'use-mlp *skipped' log || fail "a network trained once won"

# The same bytes again, without the cache.
run --no-cache
cmp "$results/model.npz" first.npz || fail "two runs with one seed differ"

echo "# changed" >>digits/train_linear.py
run
grep -q "train-linear *started" log || fail "train-linear did not run after its change"
for task in ingest validate split train-mlp use-mlp; do
  if grep -q "$task *started" log; then fail "$task ran though it did not change"; fi
done
