#!/bin/sh
# The examples run in containers with no change of their files: the digits, which finds the same model as
# processes do, byte for byte, and the gang, whose members add up numbers over sockets. Their image is made of the Python and numpy of this machine.
set -eu
if ! python3 -c 'import numpy' 2>/dev/null; then
  PATH=/usr/bin:$PATH
  python3 -c 'import numpy' 2>/dev/null || { echo "SKIPPED: no Python here has numpy" >&2; exit 77; }
fi
case $(python3 -c 'import sys, numpy; print(sys.prefix, numpy.__file__)') in
"/usr /usr/lib/python3/"*) ;;
*) echo "SKIPPED: Python and numpy are not the distribution's, whose files are known" >&2; exit 77 ;;
esac
# shellcheck source=tests/support/podman_service.sh
. "$ROOT/tests/support/podman_service.sh"
DOCKER_HOST=unix://$SOCKET
export DOCKER_HOST
fail() {
  echo "FAILED: $*" >&2
  tail -n 20 ./*.out >&2
  exit 1
}
python=$(python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
image=$PODMAN_FOLDER/image
mkdir -p "$image/usr/bin" "$image/usr/lib/python3/dist-packages"
cp -L "/usr/bin/$python" "$image/usr/bin/python3"
tar -C / --exclude=__pycache__ --exclude=test --exclude=tests --exclude=idlelib --exclude=tkinter \
  --exclude='config-*' -c "usr/lib/$python" usr/lib/python3/dist-packages/numpy | tar -C "$image" -x
# What these are linked to, at the names by which it is looked for.
find "/usr/lib/$python/lib-dynload" /usr/lib/python3/dist-packages/numpy "/usr/bin/$python" \
  \( -name '*.so' -o -name "$python" \) -exec ldd {} + 2>/dev/null |
  sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*ld-[^ ]*\) .*/\1/p' | sort -u >libraries
while read -r library; do
  mkdir -p "$image$(dirname "$library")"
  cp -L "$library" "$image$library"
done <libraries
tar -C "$image" -c . | podman_client import --change 'ENV PATH=/usr/bin:/bin' - trackbed-python:1 \
  >import.out 2>&1 || fail "the image cannot be made"
podman_client run --rm --network host localhost/trackbed-python:1 python3 -c 'import numpy' >probe.out 2>&1 ||
  { echo "SKIPPED: Python cannot run by itself: $(tail -n 3 probe.out)" >&2; exit 77; }

cp -r "$ROOT/examples/digits" digits
"$TRACKBED" --home there run digits/pipeline.yaml --plain >process.out 2>&1 || fail "as processes"
"$TRACKBED" --home here run digits/pipeline.yaml --plain --on docker --image localhost/trackbed-python:1 \
  --network host --slots cpu=2 >docker.out 2>&1 || fail "in containers"
for file in confusion.png model.npz report.md; do
  [ -s "here/results/digits/$file" ] || fail "no result $file"
done
accuracy=$(sed -n 's/.*reads \*\*\([0-9]*\)\..*/\1/p' here/results/digits/report.md)
[ "$accuracy" -ge 93 ] || fail "accuracy $accuracy %"
cmp here/results/digits/model.npz there/results/digits/model.npz || fail "the models differ"

"$TRACKBED" --home here run "$ROOT/examples/gang/pipeline.yaml" --plain --on docker \
  --image localhost/trackbed-python:1 --network host --slots cpu=2 >gang.out 2>&1 || fail "the gang"
"$TRACKBED" --home here logs latest sum | grep -q '^main1: .* of 500500$' || fail "no sum of main1"
"$TRACKBED" --home here logs latest sum --member sub1 | grep -q '^sub1: .* of 500500$' || fail "no sum of sub1"
[ -z "$(podman_client ps --all --quiet)" ] || fail "containers are left"
