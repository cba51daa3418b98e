#!/bin/sh
# deb.sh BUILD WORK CC CXX: makes the Debian packages, looks at what they say of themselves, and uses
# what they would install.
set -eu
build=$1
work=$2
here=$(cd "$(dirname "$0")" && pwd)
for tool in cpack dpkg-deb dpkg-shlibdeps; do
  command -v "$tool" >/dev/null || {
    echo "there is no $tool"
    exit 77
  }
done

rm -rf "$work"
mkdir -p "$work"
(cd "$build" && cpack -G DEB -B "$work/packages") >"$work/cpack.log" 2>&1 || {
  cat "$work/cpack.log"
  exit 1
}

# field PACKAGE FIELD REGULAR-EXPRESSION
field() {
  value=$(dpkg-deb -f "$work/packages/$1"_*.deb "$2")
  printf '%s\n' "$value" | grep -qE -e "$3" || {
    echo "$1 has in $2: $value"
    exit 1
  }
}
for needed in 'libc6 \(>= 2' 'libstdc\+\+6' 'libabsl2' 'libprotobuf-lite' 'libsqlite3-0' \
  'libyaml-cpp' 'libssl'; do
  field libtrackbed0 Depends "$needed"
done
field libtrackbed-dev Depends '^libtrackbed0 \(= [0-9.]+\)$'
field trackbed Depends 'libtrackbed0 \(= [0-9.]+\), .*libc6'
# Others that link the library get their dependency from this.
dpkg-deb -I "$work"/packages/libtrackbed0_*.deb shlibs | grep -q '^libtrackbed 0 libtrackbed0'

for package in "$work"/packages/*.deb; do dpkg-deb -x "$package" "$work/root"; done
sh "$here/consumers.sh" "$work/root/usr" "$work" "$3" "$4"
