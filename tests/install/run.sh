#!/bin/sh
# run.sh BUILD WORK COMPILER: installs BUILD to a prefix below WORK, moves the prefix (it must be
# relocatable), and builds and runs a consumer by find_package and one by pkg-config.
set -eu
build=$1
work=$2
compiler=$3
here=$(cd "$(dirname "$0")" && pwd)

rm -rf "$work"
mkdir -p "$work"
cmake --install "$build" --prefix "$work/staged" >"$work/install.log"
mv "$work/staged" "$work/prefix"
prefix=$work/prefix

echo "== find_package"
cmake -S "$here" -B "$work/consumer" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_PREFIX_PATH="$prefix" >"$work/configure.log"
cmake --build "$work/consumer" >"$work/build.log" || {
  cat "$work/build.log"
  exit 1
}
"$work/consumer/consumer"

echo "== pkg-config"
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name trackbed.pc)")
export PKG_CONFIG_PATH
# shellcheck disable=SC2046  # flags are words
"$compiler" -std=c++20 $(pkg-config --cflags trackbed) "$here/main.cc" \
  $(pkg-config --libs trackbed) -o "$work/consumer-pc"
"$work/consumer-pc"

if [ -x "$prefix/bin/trackbed" ]; then
  echo "== program"
  "$prefix/bin/trackbed" --version
  # It finds its supervisor in libexec.
  printf 'name: installed\ntasks: [{name: one, command: [echo, installed]}]\n' >"$work/one.yaml"
  "$prefix/bin/trackbed" --home "$work/home" run "$work/one.yaml" --plain
fi
