#!/bin/sh
# archive.sh BUILD WORK CC CXX: makes the archive and uses what it unpacks to.
set -eu
build=$1
work=$2
here=$(cd "$(dirname "$0")" && pwd)

rm -rf "$work"
mkdir -p "$work/prefix"
(cd "$build" && cpack -G TGZ -B "$work/packages") >"$work/cpack.log" 2>&1 || {
  cat "$work/cpack.log"
  exit 1
}
tar -xzf "$work"/packages/trackbed-*.tar.gz -C "$work/prefix" --strip-components=1
sh "$here/consumers.sh" "$work/prefix" "$work" "$3" "$4"
