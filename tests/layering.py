#!/usr/bin/env python3
"""Checks every #include in include/, src/ and capi/ against the layers of CMakeLists.txt.

A layer may include itself and the layers it DEPENDS on, directly or not. A third-party library may
be included only in src/ of the layers that name it under PRIVATE. Public headers include the
standard library, Abseil and other public headers, nothing else. The C interface, capi/, is above all
layers and uses their public headers; trackbed.h includes the C library only.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[">]')

# How the includes of each dependency look.
THIRD_PARTY = {
    "trackbed_schema": re.compile(r"(.*\.pb\.h|google/protobuf/.*)$"),
    "trackbed::dep::yaml": re.compile(r"yaml-cpp/"),
    "trackbed::dep::json": re.compile(r"nlohmann/"),
    "trackbed::dep::sqlite": re.compile(r"sqlite3.*\.h$"),
    "trackbed::dep::crypto": re.compile(r"openssl/"),
    "trackbed::dep::cli": re.compile(r"CLI/"),
    "trackbed::dep::curl": re.compile(r"curl/"),
    "nobody": re.compile(r"(tbb|oneapi|boost|cuda|catch2)[/_.]"),
}

# A library has no business with these; the program and the supervisor do.
BANNED = re.compile(
    r"\bstd::(cout|cerr|exit|abort|terminate)\b|\b(setenv|putenv|unsetenv|sigaction|setlocale)\("
)
MAY_USE_BANNED = ("src/cli/", "src/executors/supervisor/")

# A program of its own beside the library of its layer, linked as its CMakeLists.txt says.
SUPERVISOR = "src/executors/supervisor/"


def read_layers():
    """Layer -> what it depends on, all of it, and which libraries it may include."""
    text = re.sub(r"#.*", "", (ROOT / "CMakeLists.txt").read_text())
    direct, private = {}, {}
    for name, rest in re.findall(r"trackbed_layer\(\s*(\w+)([^)]*)\)", text):
        if name == "name":  # the function itself
            continue
        depends, _, libraries = rest.partition("PRIVATE")
        direct[name] = set(re.findall(r"trackbed_(\w+)", depends))
        private[name] = {lib for lib in THIRD_PARTY if lib in libraries}
    layers = set(direct)
    direct["cli"] = layers
    private["cli"] = {"trackbed::dep::cli", "trackbed::dep::json"}
    direct["capi"] = layers
    private["capi"] = {"trackbed::dep::json"}

    def closure(name):
        found = {name}
        for other in direct[name]:
            found |= closure(other)
        return found

    return {name: closure(name) for name in direct}, private


def main():
    depends, private = read_layers()
    problems = []
    files = 0
    folders = ("include/trackbed/**/*", "src/**/*", "capi/**/*")
    for path in sorted(path for folder in folders for path in ROOT.glob(folder)):
        if path.suffix not in (".hpp", ".cc", ".h", ".c"):
            continue
        files += 1
        name = path.relative_to(ROOT).as_posix()
        public = name.startswith("include/")
        capi = name.startswith("capi/")
        layer = "capi" if capi else name.split("/")[2 if public else 1]
        libraries = {"trackbed::dep::crypto"} if name.startswith(SUPERVISOR) else private.get(layer)
        if layer not in depends:
            problems.append(f"{name}:1: {layer} is no layer of CMakeLists.txt")
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            where = f"{name}:{number}"
            if not name.startswith(MAY_USE_BANNED):
                found = BANNED.search(line.split("//")[0])
                if found:
                    problems.append(f"{where}: a library does not use {found[0].rstrip('(')}")
            match = INCLUDE.match(line)
            if not match:
                continue
            target = match[1]
            if name.endswith("capi/include/trackbed.h") and not re.fullmatch(r"\w+\.h", target):
                problems.append(f"{where}: trackbed.h includes {target}, not the C library")
            for library, pattern in THIRD_PARTY.items():
                if pattern.match(target) and (public or library not in libraries):
                    problems.append(f"{where}: {target} may not be included here")
            ours = re.match(r"(trackbed/)?([a-z]+)/", target)
            if ours and ours[2] in depends:
                if (public or capi) and not ours[1]:
                    problems.append(f"{where}: the private {target} may not be included here")
                if ours[2] not in depends[layer]:
                    problems.append(f"{where}: {layer} may not include {ours[2]} ({target})")
    for problem in problems:
        print(problem)
    print(f"layering: {files} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
