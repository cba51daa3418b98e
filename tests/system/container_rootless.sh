#!/bin/sh
# Containers of a Podman that an ordinary user runs, without root: what tasks write belongs to that
# user, and tasks are no more outside than that user is.
set -eu
skip() {
  echo "SKIPPED: $*" >&2
  exit 77
}
[ "$(id -u)" = 0 ] || skip "it needs root, to become somebody else"
user=nobody
id "$user" >/dev/null 2>&1 || skip "there is no user $user"
for program in podman runc busybox setpriv; do
  command -v "$program" >/dev/null 2>&1 || skip "there is no $program"
done

# Sockets have short paths.
folder=$(mktemp -d /tmp/trackbed-rootless.XXXXXX)
service=
end() {
  [ -z "$service" ] || kill -9 "$service" 2>/dev/null || true
  # Files of its containers belong to the user, but may be closed to everybody.
  rm -rf "$folder" 2>/dev/null || { sleep 1 && rm -rf "$folder"; }
}
trap end EXIT
trap 'exit 130' INT TERM
mkdir "$folder/bin" "$folder/home" "$folder/run" "$folder/image" "$folder/image/bin" "$folder/image/tmp"
directory=$(dirname "$TRACKBED")
# The build's folder may be closed to others.
cp "$TRACKBED" "$directory/trackbed-supervisor" "$directory/trackbed-container-init" "$folder/bin"
cat >"$folder/containers.conf" <<'CONF'
[containers]
default_ulimits=["nofile=1024:1024","nproc=1024:1024"]
log_driver="k8s-file"
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
CONF
cp "$(command -v busybox)" "$folder/image/bin/busybox"
for program in $(busybox --list); do
  [ "$program" = busybox ] || ln -s busybox "$folder/image/bin/$program"
done
# All that is in it belongs to root, whom the user's own namespace has even without /etc/subuid.
tar -C "$folder/image" --owner=0 --group=0 -cf "$folder/image.tar" .
chmod 755 "$folder"
chown -R "$user" "$folder/home" "$folder/run"
chmod 700 "$folder/run"
as_user() {
  (cd "$folder/home" && exec setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups \
    env -i HOME="$folder/home" XDG_RUNTIME_DIR="$folder/run" PATH="$PATH" \
    CONTAINERS_CONF="$folder/containers.conf" DOCKER_HOST="unix://$folder/run/socket" "$@")
}
image=localhost/trackbed-test:1
as_user podman --storage-driver vfs import "$folder/image.tar" trackbed-test:1 >import.out 2>&1 ||
  skip "podman cannot import an image without root: $(tail -n 3 import.out)"
as_user podman --storage-driver vfs run --rm --network host "$image" true >run.out 2>&1 ||
  skip "podman cannot run a container without root: $(tail -n 3 run.out)"
as_user podman --storage-driver vfs system service --time=0 "unix://$folder/run/socket" >service.out 2>&1 &
service=$!
tries=0
until [ -S "$folder/run/socket" ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 100 ] || skip "podman system service does not come up: $(tail -n 3 service.out)"
  sleep 0.1
done

fail() {
  echo "FAILED: $*" >&2
  tail -n 20 ./*.out >&2
  exit 1
}
cat >"$folder/home/mine.yaml" <<'Y'
name: mine
folders: {shared: {path: shared}}
defaults: {cache: false, mounts: ["shared:/data"]}
tasks:
- name: make
  command: |
    echo "$(id -u) inside" > "$TRACKBED_OUTPUTS/who"
    echo made > /data/made
- name: use
  dependencies: [make]
  command: cat inputs/make/who /data/made
- {name: stopped, command: sleep 1000, timeout: 5s, allow_failure: true} # at once, where all is slow
Y
as_user "$folder/bin/trackbed" run mine.yaml --on docker --image "$image" --network host --plain >mine.out 2>&1 ||
  fail "mine.yaml"
[ "$(as_user "$folder/bin/trackbed" logs latest use)" = "0 inside
made" ] || fail "the log is $(as_user "$folder/bin/trackbed" logs latest use)"
[ "$(stat -c %U "$folder/home/shared/made")" = "$user" ] || fail "what was made belongs to $(stat -c %U "$folder/home/shared/made")"
grep -q "stopped *failed: stopped " mine.out || fail "the timeout is not told"
as_user "$folder/bin/trackbed" doctor >doctor.out 2>&1 || true
grep -q 'it runs without root: ' doctor.out || fail "doctor does not say that it runs without root"
left=$(as_user podman --storage-driver vfs ps --all --quiet)
[ -z "$left" ] || fail "containers are left"
