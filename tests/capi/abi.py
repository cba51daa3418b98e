#!/usr/bin/env python3
"""Compares the binary interface that trackbed.h describes with the one recorded in capi/abi.

    abi.py check|record|notices HEADER VERSION_SCRIPT COMPILER RECORDED

A library of empty functions is made of the header's declarations: abidw reads it in a moment, and
capi.symbols and the C++ compiler see to it that ours is the same. Constants, which leave no trace in
a library, are recorded beside it. `record` prints what has changed, and refuses what breaks callers
unless $TRACKBED_BREAK_ABI is set. `notices` is the test of this test. Exit code 77: cannot be checked
here.
"""

import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

CHANGED, BREAKS = 4, 8  # bits of abidiff's exit code; 1 and 2: it could not compare


def run(*command: object, **more: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(c) for c in command], text=True, capture_output=True, **more)


def without_comments(header: str) -> str:
    return re.sub(r"/\*.*?\*/", " ", header, flags=re.S)


def constants(header: str) -> "dict[str, str]":
    """NAME: value, of enumerators and macros; not the versions, which are meant to change."""
    text = without_comments(header)
    found = dict(re.findall(r"\b(TRACKBED_\w+) = (-?\w+)", text))
    found.update(re.findall(r"^#define (TRACKBED_\w+) +(\S+) *$", text, re.M))
    return {
        name: value
        for name, value in sorted(found.items())
        if "VERSION" not in name and value != "noexcept" and "__attribute__" not in value
    }


def describe(header: str, version_script: str, compiler: str, folder: pathlib.Path) -> pathlib.Path:
    """Writes what abidw says of the header's functions, and of all types they reach."""
    body = header.replace(" TRACKBED_NOEXCEPT;", " { __builtin_trap(); }")
    body = re.sub(r"\)\s+TRACKBED_NOEXCEPT;", ") { __builtin_trap(); }", body)
    declared = len(re.findall(r"^TRACKBED_API", body, re.M))
    defined = body.count("{ __builtin_trap(); }")
    if declared == 0 or declared != defined:
        sys.exit(f"of {declared} functions declared {defined} were recognised")
    (folder / "interface.c").write_text(body)
    made = run(
        compiler, "-std=c11", "-g", "-O0", "-w", "-fPIC", "-shared", "-fvisibility=hidden",
        "interface.c", "-o", "interface.so", "-Wl,-soname,libtrackbed.so.0",
        f"-Wl,--version-script={version_script}", cwd=folder,
    )  # fmt: skip
    if made.returncode != 0:
        sys.exit(made.stderr)
    described = run(
        "abidw", "--no-corpus-path", "--no-comp-dir-path", "--no-show-locs", "--no-parameter-names",
        "--out-file", "interface.abi", "interface.so", cwd=folder,
    )  # fmt: skip
    if described.returncode != 0:
        sys.exit(described.stderr)
    # Which compiler and which C library it was made with is of no interest.
    text = (folder / "interface.abi").read_text()
    text = re.sub(r" <elf-needed>.*?</elf-needed>\n", "", text, flags=re.S)
    text = re.sub(r"(<abi-instr[^>]*?) path='[^']*'([^>]*>)", r"\1\2", text)
    (folder / "interface.abi").write_text(text)
    return folder / "interface.abi"


def compare(header: str, recorded: pathlib.Path, described: pathlib.Path) -> "tuple[bool, bool, str]":
    """(changed, breaks, what)"""
    before = dict(
        line.split(" ", 1) for line in (recorded / "constants.txt").read_text().splitlines()
    )
    now = constants(header)
    lines = [f"constant {name}: added" for name in now.keys() - before.keys()]
    gone = [f"constant {name}: removed" for name in before.keys() - now.keys()]
    gone += [
        f"constant {name}: was {before[name]}, is {now[name]}"
        for name in before.keys() & now.keys()
        if before[name] != now[name]
    ]
    difference = run("abidiff", recorded / "trackbed.abi", described)
    if difference.returncode & 3:
        sys.exit(difference.stdout + difference.stderr)
    text = "\n".join(sorted(lines) + sorted(gone))
    if difference.returncode & CHANGED:
        text += "\n" + difference.stdout
    changed = bool(lines or gone or difference.returncode & CHANGED)
    return changed, bool(gone or difference.returncode & BREAKS), text.strip()


# What each of these does to the interface must be seen.
MISTAKES = {
    "a field in the middle": (
        "  int32_t strategy; ", "  int32_t strategy; int64_t added; ",
    ),
    "a field of another type": ("  int64_t most_on_one_device;", "  int32_t most_on_one_device;"),
    "a parameter more": (
        "trackbed_status_name(trackbed_status status)",
        "trackbed_status_name(trackbed_status status, int language)",
    ),
    "another result": (
        "TRACKBED_API uint32_t trackbed_abi_version", "TRACKBED_API uint64_t trackbed_abi_version",
    ),
    "a function gone": (
        "TRACKBED_API uint32_t trackbed_abi_version(void) TRACKBED_NOEXCEPT;", "",
    ),
    "an enumerator with another number": ("TRACKBED_NOT_FOUND = 5", "TRACKBED_NOT_FOUND = 25"),
    "a longer array": ("#define TRACKBED_MAX_DEVICES 16", "#define TRACKBED_MAX_DEVICES 32"),
    "a callback with another parameter": (
        "int64_t (*now)(void* user_data);", "int64_t (*now)(void* user_data, int which);",
    ),
}  # fmt: skip


def main() -> int:
    command, header_path, version_script, compiler, recorded_path = sys.argv[1:]
    if shutil.which("abidw") is None or shutil.which("abidiff") is None:
        print("there is no abidw; it is in abigail-tools")
        return 77
    if platform.machine() != "x86_64":
        print("what is recorded holds for x86_64")  # sizes and offsets are part of it
        return 77
    header = pathlib.Path(header_path).read_text()
    version_script = str(pathlib.Path(version_script).resolve())
    recorded = pathlib.Path(recorded_path)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if command == "notices":
            missed = []
            for mistake, (text, instead) in MISTAKES.items():
                if text not in header:
                    sys.exit(f"{mistake}: the header has no {text!r} any more")
                changed = header.replace(text, instead, 1)
                described = describe(changed, version_script, compiler, folder)
                if not compare(changed, recorded, described)[0]:
                    missed.append(mistake)
            print(f"noticed {len(MISTAKES) - len(missed)} of {len(MISTAKES)}; missed: {missed}")
            return 1 if missed else 0

        described = describe(header, version_script, compiler, folder)
        if not (recorded / "trackbed.abi").exists():
            changed, breaks, text = True, False, "nothing was recorded yet"
        else:
            changed, breaks, text = compare(header, recorded, described)
        if not changed:
            print("as recorded")
            return 0
        print(text)
        if command == "check":
            print(
                "\nThe binary interface is not what capi/abi has. Callers that were compiled before\n"
                "must go on working: fields are added at the end of structs with struct_size,\n"
                "functions and constants are added, nothing else changes. If that is so, raise\n"
                "TRACKBED_ABI_VERSION where something was added, and record it: ./dev abi"
            )
            return 1
        if breaks and not os.environ.get("TRACKBED_BREAK_ABI"):
            print("\nThis breaks callers; TRACKBED_BREAK_ABI=1 ./dev abi records it all the same.")
            return 1
        recorded.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(described, recorded / "trackbed.abi")
        (recorded / "constants.txt").write_text(
            "".join(f"{name} {value}\n" for name, value in constants(header).items())
        )
        print(f"recorded in {recorded}")
        return 0


if __name__ == "__main__":
    sys.exit(main())
