#!/bin/sh
# The example for a GPU: where there is none it is refused, with the reason; told that there is one,
# it says what training lacks; and where all is there, it reads digits.
set -eu
if ! python3 -c 'import numpy' 2>/dev/null; then
  PATH=/usr/bin:$PATH
  python3 -c 'import numpy' 2>/dev/null || exit 77
fi
cp -r "$ROOT/examples/digits" digits

code=0
"$TRACKBED" run digits/gpu.yaml --plain --slots cuda.device=0 > none.out 2>&1 || code=$?
[ "$code" = 6 ] || { echo "no GPU: exit code $code, expected 6"; cat none.out; exit 1; }
grep -q 'task "train": needs 1 cuda.device, there is none' none.out

code=0
"$TRACKBED" run digits/gpu.yaml --plain --slots cuda.device=1 > run.out 2>&1 || code=$?
if [ "$code" = 0 ]; then
  "$TRACKBED" show latest --json | grep -q '"accuracy": 0\.9[3-9]'
else
  "$TRACKBED" show latest | grep -q 'split *succeeded'
  "$TRACKBED" logs latest train | grep -Eq 'train_gpu.py: (.* has no PyTorch|PyTorch .* finds no GPU)'
fi
