#!/usr/bin/env python3
"""Writes the wheel: the package with the library and the programs that it starts inside.

    build_wheel.py --library libtrackbed.so --supervisor trackbed-supervisor
        --container-init trackbed-container-init --out FOLDER [--notices THIRD-PARTY-LICENSES]

One for each platform, not for each version of Python. Needs nothing but Python and readelf, and
writes the same bytes for the same input. A library that needs nothing but the C and C++ run time is
tagged for all machines whose C library is as new as it asks for (PEP 600); any other is for machines
like this one.
"""

import argparse
import base64
import hashlib
import os
import pathlib
import re
import subprocess
import sysconfig
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
VERSION = "0.1.0"
EPOCH = (2020, 1, 1, 0, 0, 0)

METADATA = f"""\
Metadata-Version: 2.1
Name: trackbed
Version: {VERSION}
Summary: Pipelines of tasks that survive crashes and never run the same work twice
License: Apache-2.0
Requires-Python: >=3.9
"""
ENTRY_POINTS = """\
[console_scripts]
trackbed-python = trackbed.__main__:main

[pytest11]
trackbed = trackbed.pytest_plugin
"""


# PEP 600: what every such machine has. With the C library of 2.34 came a C++ run time of 3.4.29.
RUN_TIME = re.compile(r"lib(c|m|stdc\+\+|gcc_s)\.so\.\d+|ld-linux[\w-]*\.so\.\d+")
OLDEST_GLIBC, NEWEST_GLIBCXX = (2, 34), (3, 4, 29)


def newest(name: str, listing: str) -> "tuple[int, ...]":
    found = re.findall(rf"\b{name}_(\d+(?:\.\d+)+)", listing)
    return max((tuple(map(int, version.split("."))) for version in found), default=(0,))


def wheel_tag(library: pathlib.Path) -> str:
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    listing = subprocess.run(
        ["readelf", "--wide", "--dynamic", "--version-info", str(library)],
        check=True, capture_output=True, text=True, env=dict(os.environ, LC_ALL="C"),
    ).stdout  # fmt: skip
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", listing)
    if all(map(RUN_TIME.fullmatch, needed)) and newest("GLIBCXX", listing) <= NEWEST_GLIBCXX:
        major, minor = max(OLDEST_GLIBC, newest("GLIBC", listing)[:2])
        platform = platform.replace("linux_", f"manylinux_{major}_{minor}_", 1)
    return f"py3-none-{platform}"


def contents(
    library: pathlib.Path, programs: "list[pathlib.Path]", notices: "pathlib.Path | None"
) -> "dict[str, bytes]":
    files = {f"trackbed/{f.name}": f.read_bytes() for f in sorted((HERE / "trackbed").glob("*.py"))}
    files["trackbed/py.typed"] = b""
    files["trackbed/_lib/libtrackbed.so"] = library.read_bytes()
    for program in programs:
        files[f"trackbed/_lib/{program.name}"] = program.read_bytes()
    info = f"trackbed-{VERSION}.dist-info"
    for name in ("LICENSE", "NOTICE"):
        files[f"{info}/{name}"] = (HERE.parents[1] / name).read_bytes()
    if notices is not None:
        files[f"{info}/THIRD-PARTY-LICENSES"] = notices.read_bytes()
    files[f"{info}/METADATA"] = METADATA.encode()
    files[f"{info}/entry_points.txt"] = ENTRY_POINTS.encode()
    files[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: trackbed\nRoot-Is-Purelib: false\nTag: {wheel_tag(library)}\n"
    ).encode()
    record = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record.append(f"{name},sha256={digest},{len(data)}\n")
    record.append(f"{info}/RECORD,,\n")
    files[f"{info}/RECORD"] = "".join(record).encode()
    return files


def write(
    library: pathlib.Path,
    programs: "list[pathlib.Path]",
    notices: "pathlib.Path | None",
    out: pathlib.Path,
) -> pathlib.Path:
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"trackbed-{VERSION}-{wheel_tag(library)}.whl"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in contents(library, programs, notices).items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            mode = 0o755 if name.startswith("trackbed/_lib/") else 0o644
            entry.external_attr = (0o100000 | mode) << 16
            wheel.writestr(entry, data)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", type=pathlib.Path, required=True)
    parser.add_argument("--supervisor", type=pathlib.Path, required=True)
    parser.add_argument("--container-init", type=pathlib.Path, required=True)
    parser.add_argument("--notices", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    given = parser.parse_args()
    programs = [given.supervisor, given.container_init]
    print(write(given.library, programs, given.notices, given.out))


if __name__ == "__main__":
    main()
