#!/bin/sh
# The conformance suite of executors (tests/system/executor_suite), on containers of a Podman of its
# own; afterwards no container is left.
set -eu
# shellcheck source=tests/support/podman_service.sh
. "$ROOT/tests/support/podman_service.sh"
TRACKBED_SUITE=docker TRACKBED_SUITE_ENDPOINT="unix://$SOCKET" TRACKBED_SUITE_IMAGE=$IMAGE \
  "$(dirname "$TRACKBED")/trackbed_executor_suite" "$@"
left=$(podman_client ps --all --quiet)
[ -z "$left" ] || { echo "containers are left:"; podman_client ps --all; exit 1; }
