#!/usr/bin/env python3
"""Runs clang-tidy over src/ and capi/, one process a core; a file that has not changed is not checked again.

usage: tidy.py BUILD [FILE...]     BUILD has compile_commands.json; without FILE: all of both
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TIDY, CLANG = "clang-tidy-19", "clang++-19"


def preprocessed(entry):
    """What the compiler sees of a file, comments (NOLINT) included."""
    arguments = shlex.split(entry["command"])
    while not arguments[0].endswith(("c++", "g++", "clang++-19", "cc", "gcc", "clang-19")):
        arguments.pop(0)  # ccache
    kept, skip = [], False
    for argument in arguments[1:]:
        if skip:
            skip = False
        elif argument == "-o":
            skip = True
        elif argument != "-c":
            kept.append(argument)
    done = subprocess.run(
        [CLANG, *kept, "-E", "-C", "-w"], cwd=entry["directory"], capture_output=True, check=False
    )
    return done.stdout if done.returncode == 0 else os.urandom(16)


def check(build, entry, settings):
    name = str(pathlib.Path(entry["file"]).relative_to(ROOT))
    key = hashlib.sha256(settings + preprocessed(entry)).hexdigest()
    stamp = build / "tidy" / key
    if stamp.exists():
        return name, 0, ""
    done = subprocess.run(
        [TIDY, "-p", str(build), "--quiet", "--extra-arg=-w", entry["file"]],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )
    if done.returncode == 0:
        stamp.parent.mkdir(exist_ok=True)
        stamp.touch()
    return name, done.returncode, done.stdout


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    wanted = {pathlib.Path(name).resolve() for name in sys.argv[2:]}
    entries = []
    for entry in json.loads((build / "compile_commands.json").read_text()):
        file = pathlib.Path(entry["file"])
        ours = file.is_relative_to(ROOT / "src") or file.is_relative_to(ROOT / "capi")
        if ours and (not wanted or file in wanted):
            entries.append(entry)
    settings = (ROOT / ".clang-tidy").read_bytes()
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for name, code, output in pool.map(lambda e: check(build, e, settings), entries):
            if code:
                failed += 1
                print(f"{name}:\n{output}", flush=True)
    print(f"clang-tidy: {len(entries)} files, {failed} with problems")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
