#!/bin/sh
# prefix.sh BUILD WORK CC CXX: `cmake --install` to an empty prefix, which is then moved: it must be
# relocatable.
set -eu
build=$1
work=$2
here=$(cd "$(dirname "$0")" && pwd)

rm -rf "$work"
mkdir -p "$work"
cmake --install "$build" --prefix "$work/staged" >"$work/install.log"
mv "$work/staged" "$work/prefix"
sh "$here/consumers.sh" "$work/prefix" "$work" "$3" "$4"
