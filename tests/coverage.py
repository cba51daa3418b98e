#!/usr/bin/env python3
"""Says which lines and branches of include/ and src/ the tests have run, and holds the floors.

usage: coverage.py BUILD [--list FILE...]

BUILD was configured with TRACKBED_COVERAGE, and its tests have run. Writes BUILD/coverage/index.html
and prints a table by folder. A branch is an outcome of a condition as clang counts them: each
operand of && and || by itself, and nothing for exceptions. An outcome that the code cannot have is
named in coverage_unreachable.txt, with the reason. --list prints what is missing of FILE.

Exit code 1: something is below its floor, or a line of coverage_unreachable.txt is not true.
"""

import argparse
import collections
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
UNREACHABLE = ROOT / "tests" / "coverage_unreachable.txt"
# Runs within containers, where no file of counters can be reached.
NOT_COUNTED = ("src/executors/container_init/",)

# Files that decide, and hold what is decided.
ALLOCATOR = ("src/resources/slot_", "src/resources/connected_set.cc")
SCHEDULER = (
    "src/scheduling/scheduler.cc", "src/scheduling/look_ahead.cc", "src/scheduling/victims.cc",
    "src/scheduling/tenancy.cc", "src/scheduling/cluster.cc", "src/scheduling/node_room.cc",
    "src/scheduling/wait_reason.cc", "src/scheduling/resource_groups.cc",
)
STORE = (
    "src/engine/sqlite_", "src/engine/memory_store.cc", "src/engine/store_check.cc",
    "src/engine/row_digest.cc", "src/engine/lease.cc",
)
# Per cent of their branches.
BRANCH_FLOORS = {
    "allocator": (ALLOCATOR, 100),
    "scheduler": (SCHEDULER, 100),
    "run state": (("src/engine/run_state.cc",), 100),
    "store": (STORE, 100),
}
# Per cent of the lines of each folder.
LINE_FLOOR = 90
LINE_FLOORS = {"src/engine": 96, "src/resources": 96, "src/scheduling": 98}


def export(build):
    profile = build / "coverage" / "profile"
    raw = sorted(str(p) for p in (build / "profiles").glob("*.profraw"))
    if not raw:
        sys.exit(f"coverage.py: no test has run in {build}")
    profile.parent.mkdir(exist_ok=True)
    # Who was killed before it began has left a file without a head.
    names = build / "coverage" / "profiles.txt"
    names.write_text("\n".join(raw) + "\n")
    if subprocess.run(["llvm-profdata-19", "merge", "-sparse", "-failure-mode=all",
                       f"-input-files={names}", "-o", str(profile)]).returncode != 0:
        sys.exit("coverage.py: the counters cannot be read")
    programs = [p for p in (build / "bin").iterdir() if p.is_file() and p.name not in (
        "trackbed-container-init", "trackbed_test_pch")]
    programs += (build / "lib").glob("libtrackbed.so.*.*")
    common = [str(programs[0]), *(f"-object={p}" for p in programs[1:]),
              f"-instr-profile={profile}", str(ROOT / "include"), str(ROOT / "src")]
    done = subprocess.run(["llvm-cov-19", "export", "-skip-functions", *common],
                          stdout=subprocess.PIPE, check=True)
    html = ["llvm-cov-19", "show", "-format=html", f"-output-dir={build / 'coverage'}",
            "-show-branches=count", "-show-line-counts-or-regions", *common]
    return json.loads(done.stdout)["data"][0]["files"], html


def lines_of(segments):
    """Line -> how often it ran, as llvm-cov counts: the highest of what begins on it or reaches it."""
    lines = {}
    by_line = collections.defaultdict(list)
    for segment in segments:
        by_line[segment[0]].append(segment)
    wrapped = None
    for line in range(segments[0][0], segments[-1][0] + 1) if segments else []:
        here = by_line.get(line, [])
        starts = [s for s in here if s[3] and s[4] and not s[5]]
        skipped = bool(here) and not here[0][3] and here[0][4]
        mapped = not skipped and ((wrapped is not None and wrapped[3]) or bool(starts))
        if mapped:
            count = wrapped[2] if wrapped is not None and wrapped[3] else 0
            lines[line] = max([count] + [s[2] for s in starts])
        if here:
            wrapped = here[-1]
    return lines


def branches_of(file):
    """(line, column, end line, end column) -> [taken, not taken], of all copies of a template."""
    found = collections.defaultdict(lambda: [0, 0])
    for branch in file["branches"]:
        found[tuple(branch[:4])][0] += branch[4]
        found[tuple(branch[:4])][1] += branch[5]
    for expansion in file.get("expansions", []):
        # A macro's branches belong to where it is used.
        source = expansion["source_region"]
        for number, branch in enumerate(expansion["branches"]):
            key = (source[0], source[1], source[2], source[3], number)
            found[key][0] += branch[4]
            found[key][1] += branch[5]
    return found


class File:
    def __init__(self, entry):
        self.path = str(pathlib.Path(entry["filename"]).resolve().relative_to(ROOT))
        self.source = pathlib.Path(entry["filename"]).read_text().splitlines()
        self.lines = lines_of(entry["segments"])
        self.missing = []  # (line, "true" or "false", what)
        self.outcomes = 0
        for key, counts in sorted(branches_of(entry).items(), key=lambda item: item[0][:4]):
            if not any(counts) and key[0] in self.lines and self.lines[key[0]] > 0:
                continue  # known when it is compiled
            # A switch that names each value of its enumeration has no other way.
            is_switch = self.source[key[0] - 1][: key[1] - 1].endswith("switch (")
            for outcome, count in zip(("true", "false"), counts):
                if is_switch and outcome == "true" and count == 0:
                    continue
                self.outcomes += 1
                if count == 0:
                    self.missing.append((key[0], outcome, self.text(key)))

    def text(self, key):
        first, begin, last, end = key[:4]
        if (first, begin + 1) == (last, end) and self.source[first - 1][begin - 1] == ":":
            return "for (" + self.source[first - 1].split("for (")[-1].strip(" {")
        parts = self.source[first - 1 : last]
        parts[-1] = parts[-1][: end - 1]
        parts[0] = parts[0][begin - 1 :]
        if parts[0].startswith("TRACKBED_"):
            return self.source[first - 1].strip()  # a macro: what it is about stands beside it
        return " ".join(" ".join(parts).split())


def read_unreachable():
    """Lines "FILE: never true|false: CONDITION", one a place; an indented reason follows."""
    entries = collections.Counter()
    if UNREACHABLE.exists():
        for line in UNREACHABLE.read_text().splitlines():
            if line and line[0] not in "# ":
                path, never, condition = line.split(": ", 2)
                entries[path, never.removeprefix("never "), condition] += 1
    return entries


def share(part, whole):
    return 100.0 if whole == 0 else 100.0 * part / whole


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--list", nargs="+", default=[])
    parser.add_argument("--no-html", action="store_true")
    options = parser.parse_args()
    entries, html = export(options.build.resolve())
    if options.list:
        entries = [e for e in entries if any(f"/{p}" in e["filename"] for p in options.list)]
    files = [File(e) for e in entries]
    files = sorted((f for f in files if not f.path.startswith(NOT_COUNTED)), key=lambda f: f.path)
    excused = collections.Counter()
    unreachable = read_unreachable()
    for file in files:
        kept = []
        for line, outcome, what in file.missing:
            entry = (file.path, outcome, what)
            if entry in unreachable:
                excused[entry] += 1
                file.outcomes -= 1
            else:
                kept.append((line, outcome, what))
        file.missing = kept

    for file in files:
        if not options.list:
            break
        for line, outcome, what in file.missing:
            print(f"{file.path}:{line}: never {outcome}: {what}")
        dark = [n for n, count in file.lines.items() if count == 0]
        if dark:
            print(f"{file.path}: lines that never run: {' '.join(map(str, dark))}")
    if options.list:
        return 0

    failed = []
    folders = collections.defaultdict(lambda: [0, 0, 0, 0])
    for file in files:
        row = folders[str(pathlib.Path(file.path).parent)]
        row[0] += sum(1 for count in file.lines.values() if count)
        row[1] += len(file.lines)
        row[2] += file.outcomes - len(file.missing)
        row[3] += file.outcomes
    print(f"{'folder':34} {'lines':>16} {'branches':>18}")
    for folder, (ran, lines, taken, outcomes) in sorted(folders.items()):
        print(f"{folder:34} {ran:6} {share(ran, lines):7.1f} %  {taken:8} {share(taken, outcomes):7.1f} %")
        floor = LINE_FLOORS.get(folder, LINE_FLOOR)
        if share(ran, lines) < floor:
            failed.append(f"{folder}: {share(ran, lines):.1f} % of the lines, at least {floor} %")
    total = [sum(row[i] for row in folders.values()) for i in range(4)]
    print(f"{'all':34} {total[0]:6} {share(*total[:2]):7.1f} %  {total[2]:8} {share(*total[2:]):7.1f} %\n")
    for name, (prefixes, floor) in BRANCH_FLOORS.items():
        group = [f for f in files if f.path.startswith(prefixes)]
        outcomes = sum(f.outcomes for f in group)
        missing = sum(len(f.missing) for f in group)
        reached = share(outcomes - missing, outcomes)
        left_out = sum(n for (path, _, _), n in excused.items() if path.startswith(prefixes))
        print(f"{name}: {outcomes - missing} of {outcomes} branches, {reached:.1f} %"
              f" ({left_out} unreachable)")
        if not group or reached < floor:
            failed.append(f"{name}: {reached:.1f} % of the branches, at least {floor} %")
    for entry, places in unreachable.items():
        if excused[entry] != places:
            failed.append(f"{UNREACHABLE.name}: {': '.join(entry)}: "
                          f"found in {excused[entry]} places, listed {places} times")
    if not options.no_html:
        subprocess.run(html, check=True)
        print(f"\nline by line: {options.build / 'coverage' / 'index.html'}")
    for line in failed:
        print("below its floor: " + line)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
