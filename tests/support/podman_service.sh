# shellcheck shell=sh
# Sourced by tests that need a container engine: starts a Podman of their own, apart from any that the
# machine may have. Sets
#   SOCKET    of its Docker Engine API
#   IMAGE     an image with a shell and the usual small programs (busybox)
# and leaves with 77, saying why, where Podman cannot run. podman_start and podman_kill start it
# (again) and kill it the hard way; podman_client is the program on the same containers. podman_new
# makes one more, which is then the current one; podman_use FOLDER goes back to another.

skip() {
  echo "SKIPPED: $*" >&2
  exit 77
}

podman_client() {
  podman --root "$PODMAN_FOLDER/store" --runroot "$PODMAN_FOLDER/run" --storage-driver vfs "$@"
}

podman_start() {
  # Not podman_client: its process would be a shell around the service.
  podman --root "$PODMAN_FOLDER/store" --runroot "$PODMAN_FOLDER/run" --storage-driver vfs \
    system service --time=0 "unix://$SOCKET" >>"$PODMAN_FOLDER/log" 2>&1 &
  echo $! >"$PODMAN_FOLDER/pid"
  tries=0
  until [ -S "$SOCKET" ] && podman --url "unix://$SOCKET" version >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || skip "podman system service does not answer: $(tail -n 3 "$PODMAN_FOLDER/log")"
    sleep 0.1
  done
}

podman_kill() {
  pid=$(cat "$PODMAN_FOLDER/pid" 2>/dev/null) || return 0
  kill -9 "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  rm -f "$SOCKET" "$PODMAN_FOLDER/pid"
}

podman_use() { # FOLDER
  PODMAN_FOLDER=$1
  SOCKET=$PODMAN_FOLDER/socket
  CONTAINERS_CONF=$PODMAN_FOLDER/containers.conf
}

podman_end() {
  for folder in $PODMAN_FOLDERS; do
    podman_use "$folder"
    podman_client rm --all --force --time 0 >/dev/null 2>&1 || true
    podman_kill
    # What it started last may still be writing there.
    rm -rf "$PODMAN_FOLDER" 2>/dev/null || { sleep 1 && rm -rf "$PODMAN_FOLDER"; }
  done
}

# Each container is a copy of its image, and memory is quicker than a disk.
has_room() { [ "$(df -kP "$1" 2>/dev/null | awk 'NR == 2 {print $4}')" -gt 1000000 ] 2>/dev/null; }
can_execute() {
  folder=$(mktemp -d "$1/trackbed-podman.XXXXXX") || return 1
  code=0
  { cp "$(command -v busybox)" "$folder/true" && "$folder/true"; } 2>/dev/null || code=$?
  rm -rf "$folder"
  return "$code"
}

podman_new() {
  place=/tmp
  if has_room /dev/shm && can_execute /dev/shm; then place=/dev/shm; fi
  # Sockets have short paths.
  podman_use "$(mktemp -d "$place/trackbed-podman.XXXXXX")"
  PODMAN_FOLDERS="$PODMAN_FOLDERS $PODMAN_FOLDER"
  mkdir "$PODMAN_FOLDER/tmp" "$PODMAN_FOLDER/static" "$PODMAN_FOLDER/volumes"
  cat >"$PODMAN_FOLDER/containers.conf" <<CONF
[containers]
default_ulimits=["nofile=1024:1024","nproc=1024:1024"]
log_driver="k8s-file"
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
lock_type="file"
tmp_dir="$PODMAN_FOLDER/tmp"
static_dir="$PODMAN_FOLDER/static"
volume_path="$PODMAN_FOLDER/volumes"
CONF
  mkdir -p "$PODMAN_FOLDER/image/bin" "$PODMAN_FOLDER/image/tmp" "$PODMAN_FOLDER/image/etc"
  cp "$(command -v busybox)" "$PODMAN_FOLDER/image/bin/busybox"
  for program in $(busybox --list); do
    [ "$program" = busybox ] || ln -s busybox "$PODMAN_FOLDER/image/bin/$program"
  done
  chmod 1777 "$PODMAN_FOLDER/image/tmp"
  tar -C "$PODMAN_FOLDER/image" -c . | podman_client import - trackbed-test:1 >/dev/null 2>"$PODMAN_FOLDER/log" ||
    skip "podman cannot import an image: $(tail -n 3 "$PODMAN_FOLDER/log")"
  podman_client run --rm --network host "$IMAGE" true 2>"$PODMAN_FOLDER/log" ||
    skip "podman cannot run a container: $(tail -n 3 "$PODMAN_FOLDER/log")"
  podman_start
}

[ "$(id -u)" = 0 ] || skip "containers are tested as root only"
for program in podman runc busybox; do
  command -v "$program" >/dev/null 2>&1 || skip "there is no $program"
done
busybox | head -n 1 | grep -q BusyBox || skip "busybox cannot run"
IMAGE=localhost/trackbed-test:1
PODMAN_FOLDERS=
export IMAGE SOCKET CONTAINERS_CONF
trap podman_end EXIT
trap 'exit 130' INT TERM
podman_new
