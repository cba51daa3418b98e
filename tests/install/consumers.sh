#!/bin/sh
# consumers.sh PREFIX WORK CC CXX: somebody else's projects are built against the Trackbed installed
# in PREFIX, by CMake and by pkg-config, and run: C, with the shared and the static library, and C++
# where it is installed.
set -eu
prefix=$1
work=$2
cc=$3
cxx=$4
here=$(cd "$(dirname "$0")" && pwd)

# No other Trackbed.
unset TRACKBED_SUPERVISOR TRACKBED_LIBRARY TRACKBED_HOME LD_LIBRARY_PATH
mkdir -p "$work"
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name trackbed-c.pc)")
export PKG_CONFIG_PATH
library=$(dirname "$PKG_CONFIG_PATH")
supervisor=$(find "$prefix" -name trackbed-supervisor)

says() { # EXPECTED COMMAND…
  expected=$1
  shift
  said=$("$@") || exit 1
  [ "$said" = "$expected" ] || {
    printf 'it said\n%s\nand not\n%s\n' "$said" "$expected"
    exit 1
  }
}
by_cmake() { # PROJECT BUILD [OPTION…]
  project=$1 build=$2
  shift 2
  { cmake -S "$here/$project" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_PREFIX_PATH="$prefix" "$@" &&
    cmake --build "$build"; } >"$build.log" 2>&1 || {
    cat "$build.log"
    exit 1
  }
}
answer="trackbed $(pkg-config --modversion trackbed-c): {\"n\":3}"

echo "== C, CMake"
by_cmake c "$work/c-cmake"
says "$answer" "$work/c-cmake/consumer" "$work/home-c-cmake"
# It shows nobody what is inside.
if grep -rqiE 'absl|protobuf|yaml|sqlite|crypto' "$work/c-cmake/CMakeCache.txt"; then
  echo "the C package looked for what it should not need"
  exit 1
fi

echo "== C, pkg-config"
# shellcheck disable=SC2046  # flags are words
"$cc" -std=c99 -Wall -Wextra -pedantic -Werror $(pkg-config --cflags trackbed-c) "$here/c/main.c" \
  $(pkg-config --libs trackbed-c) -o "$work/c-pc"
says "$answer" env LD_LIBRARY_PATH="$library" "$work/c-pc" "$work/home-c-pc"

echo "== C, static, CMake"
by_cmake c "$work/static-cmake" -DCOMPONENT=c_static
export TRACKBED_SUPERVISOR="$supervisor" # it is not beside these programs
says "$answer" "$work/static-cmake/consumer" "$work/home-static-cmake"

echo "== C, static, pkg-config"
# shellcheck disable=SC2046
"$cc" $(pkg-config --cflags trackbed-c-static) "$here/c/main.c" \
  $(pkg-config --libs trackbed-c-static) -o "$work/static-pc"
says "$answer" "$work/static-pc" "$work/home-static-pc"
unset TRACKBED_SUPERVISOR

if [ -f "$PKG_CONFIG_PATH/trackbed.pc" ]; then
  echo "== C++, CMake"
  by_cmake cpp "$work/cpp-cmake"
  "$work/cpp-cmake/consumer"

  echo "== C++, pkg-config"
  # shellcheck disable=SC2046
  "$cxx" -std=c++20 $(pkg-config --cflags trackbed) "$here/cpp/main.cc" \
    $(pkg-config --libs trackbed) -o "$work/cpp-pc"
  "$work/cpp-pc"
fi

if [ -x "$prefix/bin/trackbed" ]; then
  echo "== program"
  "$prefix/bin/trackbed" --version
  # It finds its supervisor in libexec.
  printf 'name: installed\ntasks: [{name: one, command: [echo, installed]}]\n' >"$work/one.yaml"
  "$prefix/bin/trackbed" --home "$work/home" run "$work/one.yaml" --plain
fi
