#!/bin/sh
# containers.sh PROGRAM [COUNT [ROUNDS]]: COUNT (200) containers that run `true`, on a Podman of its own,
# one and two at a time: by PROGRAM (trackbed), beside a loop of `podman run` in a shell, and beside
# two of them at once. In turn, ROUNDS (3) times; prints the medians, in containers a second, and ratios.
set -eu
ROOT=$(cd "$(dirname "$0")/.." && pwd)
TRACKBED=$(realpath "$1")
count=${2:-200}
rounds=${3:-3}
# shellcheck source=tests/support/podman_service.sh
. "$ROOT/tests/support/podman_service.sh"
DOCKER_HOST=unix://$SOCKET
export DOCKER_HOST
folder=$(mktemp -d "${TMPDIR:-/tmp}/trackbed-containers.XXXXXX")
trap 'podman_end; rm -rf "$folder"' EXIT
cd "$folder"

{
  echo "name: many"
  echo "defaults: {cache: false}"
  echo "tasks:"
  for i in $(seq "$count"); do
    echo "- {name: t$i, resources: {cpu: 1}, command: [\"true\"]}"
  done
} >many.yaml

now() { date +%s.%N; }
by_trackbed() { # WIDTH
  rm -rf home
  "$TRACKBED" --home home run many.yaml --on docker --image "$IMAGE" --network host --slots "cpu=$1" \
    >trackbed.out 2>&1 || { tail -n 20 trackbed.out >&2 && exit 1; }
}
by_loop() { # WIDTH
  seq "$count" | xargs -P "$1" -I{} podman --root "$PODMAN_FOLDER/store" --runroot "$PODMAN_FOLDER/run" \
    --storage-driver vfs run --rm --network host "$IMAGE" true >loop.out 2>&1
}
# Adds how many containers a second there were to the file NAME.
measure() { # NAME COMMAND ARGUMENT…
  name=$1
  shift
  begin=$(now)
  "$@"
  echo "$begin $(now) $count" | awk '{print $3 / ($2 - $1)}' >>"$name"
}
median() { sort -g "$1" | awk '{value[NR] = $1} END {print value[int((NR + 1) / 2)]}'; }

for width in 1 2; do
  round=0
  while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    measure "trackbed-$width" by_trackbed "$width"
    measure "loop-$width" by_loop "$width"
  done
  echo "$(median "trackbed-$width") $(median "loop-$width")" |
    awk -v width="$width" '{printf "width %d: trackbed %.2f a second, podman run %.2f, ratio %.2f\n", width, $1, $2, $1 / $2}'
done
echo "$(median trackbed-2) $(median loop-1)" |
  awk '{printf "width 2 beside one loop: ratio %.2f\n", $1 / $2}'
