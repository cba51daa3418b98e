#!/usr/bin/env python3
"""self_contained.py LIBRARY PROGRAM ARCHIVE STRIP: what carries all libraries inside needs no others, shows none
of them, and runs on every Linux that Python's manylinux_2_34 stands for (from 2021 on)."""

import pathlib
import re
import subprocess
import sys
import tempfile

# What PEP 600 and auditwheel's policy promise of such a machine.
NEWEST = {"GLIBC": "2.34", "GLIBCXX": "3.4.29", "CXXABI": "1.3.13", "GCC": "7.0.0"}
NEEDED = re.compile(r"lib(c|m|stdc\+\+|gcc_s)\.so\.\d+|ld-linux[\w-]*\.so\.\d+")
INSIDE = re.compile(r"_Z\w*(4absl|6google8protobuf|4YAML)|sqlite3|SHA256_|EVP_|OPENSSL")
MOST_BYTES = 12 << 20  # stripped
MOST_BYTES_OF_ARCHIVE = 24 << 20  # half of it is what a linker needs to take it apart


def output(*command: object) -> str:
    return subprocess.run(
        [str(c) for c in command], check=True, capture_output=True, text=True
    ).stdout


def mistakes(file: pathlib.Path, strip: str, is_library: bool) -> "list[str]":
    found = []
    dynamic = output("readelf", "--dynamic", "--wide", file)
    for name in re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic):
        if not NEEDED.fullmatch(name):
            found.append(f"needs {name}")
    if "TEXTREL" in dynamic:
        found.append("is not position-independent")
    if re.search(r"R(UN)?PATH", dynamic):
        found.append("looks for libraries in a folder of its own")
    symbols = output("nm", "--dynamic", file).splitlines()
    for line in symbols:
        kind, name = line.split()[-2:]
        if kind in "uU" and INSIDE.match(name):
            found.append(f"takes from outside: {name}")
        version = re.search(r"@([A-Z]+)_([\d.]+)$", name)
        if version and version[1] in NEWEST:
            if list(map(int, version[2].split("."))) > list(map(int, NEWEST[version[1]].split("."))):
                found.append(f"asks for a newer system: {name}")
    if is_library:
        for flag in ("NODELETE", "NOW"):
            if flag not in dynamic:
                found.append(f"is not marked {flag}")
        for line in symbols:
            kind, name = line.split()[-2:]
            if kind not in "UwvA" and not name.startswith("trackbed_"):
                found.append(f"shows {name}")
    with tempfile.TemporaryDirectory() as folder:
        stripped = pathlib.Path(folder) / "stripped"
        output(strip, "-o", stripped, file)
        size = stripped.stat().st_size
    print(f"{file.name}: {size} bytes stripped")
    if size > MOST_BYTES:
        found.append(f"has {size} bytes, more than {MOST_BYTES}")
    return found


def mistakes_of_archive(file: pathlib.Path) -> "list[str]":
    found = []
    for line in output("nm", file).splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[1] in "ABCDRSTVWuvi" and not fields[2].startswith("trackbed_"):
            found.append(f"shows {fields[2]}")
        if len(fields) == 2 and INSIDE.match(fields[1]):
            found.append(f"takes from outside: {fields[1]}")
    print(f"{file.name}: {file.stat().st_size} bytes")
    if file.stat().st_size > MOST_BYTES_OF_ARCHIVE:
        found.append(f"has more than {MOST_BYTES_OF_ARCHIVE} bytes")
    return found


def main() -> int:
    library, program, archive, strip = sys.argv[1:]
    failed = False
    for mistake in mistakes_of_archive(pathlib.Path(archive)):
        print(f"{archive} {mistake}")
        failed = True
    for path in (library, program):
        for mistake in mistakes(pathlib.Path(path), strip, path == library):
            print(f"{path} {mistake}")
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
