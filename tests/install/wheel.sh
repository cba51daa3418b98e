#!/bin/sh
# wheel.sh BUILD WORK …: installs the wheel in an empty environment that can reach no package index,
# and runs what a user would write.
set -eu
build=$1
work=$2
unset TRACKBED_SUPERVISOR TRACKBED_LIBRARY TRACKBED_HOME PYTHONPATH
python=
for candidate in python3 /usr/bin/python3; do
  if "$candidate" -c 'import pip, venv' 2>/dev/null; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || {
  echo "no Python here has pip"
  exit 77
}

rm -rf "$work"
mkdir -p "$work"
cmake --build "$build" --target trackbed_wheel >"$work/build.log" || {
  cat "$work/build.log"
  exit 1
}
set -- "$build"/wheel/*.whl
[ $# = 1 ] || {
  echo "not one wheel: $*"
  exit 1
}
case $1 in
*/trackbed-*-py3-none-manylinux_2_34_*.whl) ;;
*)
  echo "not for every Linux from 2021 on: $1"
  exit 1
  ;;
esac

"$python" -m venv --without-pip "$work/environment"
"$python" -m pip --python "$work/environment" install --no-index --quiet "$1"
installed=$("$python" -m pip --python "$work/environment" list --format=freeze)
[ "${installed%==*}" = trackbed ] || {
  echo "installed was: $installed"
  exit 1
}
set -- "$work"/environment/lib/python3*/site-packages/trackbed-*.dist-info
for file in LICENSE NOTICE THIRD-PARTY-LICENSES; do [ -s "$1/$file" ]; done
grep -q 'Google' "$1/THIRD-PARTY-LICENSES"

cat >"$work/user.py" <<'END'
from trackbed import SlotAllocator, pipeline, task

@task
def double(x: int) -> int:
    return 2 * x

@pipeline
def made(x: int = 21) -> int:
    return double(x)

if __name__ == "__main__":
    print(made())
END
said=$(cd "$work" && environment/bin/python user.py)
printf '%s\n' "$said"
[ "$(printf '%s\n' "$said" | tail -n 1)" = 42 ]
"$work/environment/bin/trackbed-python" --help >/dev/null
