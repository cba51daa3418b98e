#!/bin/sh
# Images from a registry that asks for a login: with none, a wrong one, the right one, from the
# command line and from a file of docker login; by digest; an unknown image. Each failure says which
# it is, and the password is nowhere afterwards.
set -eu
for program in docker-registry htpasswd podman; do
  command -v "$program" >/dev/null 2>&1 || { echo "SKIPPED: there is no $program" >&2; exit 77; }
done
password="pass-$$-geheim"
htpasswd -Bbn ada "$password" >users
cat >registry.yaml <<Y
version: 0.1
log: {level: info}
storage: {filesystem: {rootdirectory: $PWD/images}}
http: {addr: "127.0.0.1:0"}
auth: {htpasswd: {realm: test, path: $PWD/users}}
Y
docker-registry serve registry.yaml >registry.log 2>&1 &
registry=$!
trap 'kill "$registry"' EXIT
tries=0
until port=$(sed -n 's/.*listening on 127.0.0.1:\([0-9]*\).*/\1/p' registry.log) && [ -n "$port" ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 200 ] || { echo "SKIPPED: docker-registry does not start: $(tail -n 3 registry.log)" >&2; exit 77; }
  sleep 0.1
done
server=127.0.0.1:$port
printf '[[registry]]\nlocation="%s"\ninsecure=true\n' "$server" >registries.conf
CONTAINERS_REGISTRIES_CONF=$PWD/registries.conf
export CONTAINERS_REGISTRIES_CONF
# shellcheck source=tests/support/podman_service.sh
. "$ROOT/tests/support/podman_service.sh"
trap 'kill "$registry"; podman_end' EXIT
DOCKER_HOST=unix://$SOCKET
HOME=$PWD # no credentials of whoever runs this
export DOCKER_HOST HOME

fail() {
  echo "FAILED: $*" >&2
  tail -n 20 ./*.out registry.log >&2
  exit 1
}
app=$server/team/app
podman_client push --quiet --creds "ada:$password" --tls-verify=false "$IMAGE" "$app:1" >push.out 2>&1 ||
  fail "the image cannot be pushed"
# Pushed, it has another digest than imported.
podman_client rmi --all --force >rmi.out 2>&1 || fail "rmi"

write_pipeline() { # IMAGE
  printf 'name: pull\ndefaults: {cache: false}\ntasks: [{name: task, image: "%s", command: "true"}]\n' "$1" >pull.yaml
}
# Runs it; $code is how it ended.
try() { # OUTPUT ARGUMENT…
  out=$1
  shift
  code=0
  "$TRACKBED" run pull.yaml --on docker --network host --plain "$@" >"$out" 2>&1 || code=$?
}

write_pipeline "$app:1"
try anonymous.out
[ "$code" = 1 ] || fail "without a login: code $code"
grep -q "$server asks for a login; give one (--registry $server=USER:secret://" anonymous.out ||
  fail "it is not said that a login is missing"

TOKEN=wrong
export TOKEN
try wrong.out --registry "$server=ada:secret://env/TOKEN"
[ "$code" = 1 ] || fail "with a wrong password: code $code"
grep -q "$server refuses the login of ada" wrong.out || fail "it is not said that the login is refused"

TOKEN=$password
try right.out --registry "$server=ada:secret://env/TOKEN"
[ "$code" = 0 ] || fail "with the right password: code $code"
grep -q "image $app:1: pulling" right.out || fail "the pull is not told of"
grep -q "image $app:1: pulled" right.out || fail "the end of the pull is not told of"
digest=$("$TRACKBED" events latest | sed -n 's|.*image_digest":"[^"]*/team/app@\(sha256:[0-9a-f]*\)".*|\1|p' | tail -n 1)
[ -n "$digest" ] || fail "the digest is not recorded"

# By digest, with what docker login would have left.
podman_client rmi --all --force >rmi.out 2>&1 || fail "rmi"
mkdir .docker
printf '{"auths": {"%s": {"auth": "%s"}}}' "$server" "$(printf 'ada:%s' "$password" | base64 -w0)" >.docker/config.json
write_pipeline "$app@$digest"
try open.out
[ "$code" = 1 ] || fail "credentials that others may read: code $code"
grep -q "can be read by others; run: chmod 600" open.out || fail "it is not said who may read them"
chmod 600 .docker/config.json
try digest.out
[ "$code" = 0 ] || fail "by digest: code $code"
"$TRACKBED" events latest | grep -q "image_digest\":\"$app@$digest\"" || fail "another digest is recorded"

write_pipeline "$app:2"
try unknown.out
[ "$code" = 1 ] || fail "an unknown image: code $code"
grep -q "$server has no such image" unknown.out || fail "it is not said that there is no such image"

rm -r .docker
if grep -rl -e "$password" -e "$(printf 'ada:%s' "$password" | base64 -w0)" .trackbed ./*.out "$PODMAN_FOLDER/log"; then
  fail "the password is written there"
fi
[ -z "$(podman_client ps --all --quiet)" ] || fail "containers are left"
