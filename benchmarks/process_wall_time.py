#!/usr/bin/env python3
"""Wall time of a pipeline of tasks that do nothing, beside tools that run the same graph.

Every task is a process of its own, `/bin/sh -c /bin/true`, two at a time. Trackbed makes each step
durable, at both of its levels; the others keep at most a log. They take turns, and each is compared
with ninja in the same round, so that what else the machine does meets all alike.

On a machine that others use as well, --realtime keeps them out: whoever is woken more often would
otherwise wait for them more often. It holds up the others while it runs.

Usage: process_wall_time.py --trackbed PROGRAM [--quick] [--realtime] [--json FILE] [--folder FOLDER]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

WIDTH = 2
LAYER = 20  # tasks in a layer of the layered graph; each depends on 3 of the layer before
COMMAND = "/bin/true"


def independent(tasks):
    return [[] for _ in range(tasks)]


def layered(tasks):
    edges = []
    for i in range(tasks):
        before = (i // LAYER - 1) * LAYER
        edges.append([before + (i + k) % LAYER for k in range(3)] if i >= LAYER else [])
    return edges


def write(path, lines):
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def write_trackbed(folder, graph):
    lines = ["name: benchmark", "tasks:"]
    for i, needs in enumerate(graph):
        lines.append(f"- name: t{i}")
        lines.append(f"  command: {COMMAND}")
        if needs:
            lines.append("  dependencies: [" + ", ".join(f"t{n}" for n in needs) + "]")
    write(f"{folder}/pipeline.yaml", lines)


def write_ninja(folder, graph):
    lines = ["rule task", f"  command = {COMMAND}"]
    for i, needs in enumerate(graph):
        lines.append(f"build t{i}: task " + " ".join(f"t{n}" for n in needs))
    write(f"{folder}/build.ninja", lines)


def write_make(folder, graph):
    names = " ".join(f"t{i}" for i in range(len(graph)))
    lines = [f".PHONY: all {names}", f"all: {names}"]
    for i, needs in enumerate(graph):
        lines.append(f"t{i}: " + " ".join(f"t{n}" for n in needs))
        lines.append(f"\t@{COMMAND}; :")  # "; :" makes it a script for the shell, as elsewhere
    write(f"{folder}/Makefile", lines)


def write_snakemake(folder, graph):
    # Snakemake knows of a step by the file it leaves.
    names = ", ".join(f"'t{i}'" for i in range(len(graph)))
    lines = ["rule all:", f"    input: {names}"]
    for i, needs in enumerate(graph):
        lines.append(f"rule r{i}:")
        if needs:
            lines.append("    input: " + ", ".join(f"'t{n}'" for n in needs))
        lines.append(f"    output: touch('t{i}')")
        lines.append(f"    shell: '{COMMAND}'")
    write(f"{folder}/Snakefile", lines)


def tools(trackbed):
    """Of each tool its name, the program, what writes the graph, and the command line."""
    result = []
    for level in ("process", "power"):
        command = [trackbed, "--home", "home", "--durability", level]
        command += ["run", "pipeline.yaml", "--no-cache", "--plain", "--slots", f"cpu={WIDTH}"]
        result.append((f"trackbed {level}", trackbed, write_trackbed, command))
    result.append(("ninja", "ninja", write_ninja, ["ninja", f"-j{WIDTH}"]))
    result.append(("make", "make", write_make, ["make", f"-j{WIDTH}"]))
    snakemake = ["snakemake", f"-j{WIDTH}", "--quiet"]
    result.append(("snakemake", "snakemake", write_snakemake, snakemake))
    return result


def seconds_of(folder, graph, tool):
    """Wall time of one run in a folder of its own below `folder`."""
    _, _, write_graph, command = tool
    place = tempfile.mkdtemp(dir=folder)
    write_graph(place, graph)
    start = time.perf_counter()
    done = subprocess.run(command, cwd=place, capture_output=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr.decode()[-2000:]}")
    # Linux gives real-time work 0.95 s of each second; what is beyond would be billed to the next.
    if os.sched_getscheduler(0) == os.SCHED_RR:
        time.sleep(max(1, seconds))
    return seconds


def measure(folder, tasks, rounds, found):
    """Runs everything and prints a table; returns what is in it."""
    results = []
    print(f"{tasks} tasks, {WIDTH} at a time; medians of {rounds}\n")
    print(f"{'graph':12} {'tool':18} {'seconds':>9} {'ms a task':>10} {'x ninja':>8}")
    for name, graph in (("independent", independent(tasks)), ("layered", layered(tasks))):
        times = {tool[0]: [] for tool in found}
        for _ in range(rounds):
            for tool in found:
                times[tool[0]].append(seconds_of(folder, graph, tool))
        for tool, seconds in times.items():
            ratio = None
            if "ninja" in times:
                ratio = statistics.median(a / b for a, b in zip(seconds, times["ninja"]))
            median = statistics.median(seconds)
            shown = f"{ratio:8.2f}" if ratio else "       -"
            print(f"{name:12} {tool:18} {median:9.3f} {median / tasks * 1000:10.2f} {shown}")
            results.append({"graph": name, "tool": tool, "seconds": median, "x_ninja": ratio})
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trackbed", required=True, help="the program")
    parser.add_argument("--quick", action="store_true", help="few tasks, one round")
    parser.add_argument("--realtime", action="store_true",
                        help="run everything at real-time priority; needs permission")
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--folder", default=".", help="where the runs lie (default: here)")
    options = parser.parse_args()
    tasks, rounds = (40, 1) if options.quick else (500, 5)
    if options.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))  # children inherit it

    everything = tools(os.path.abspath(options.trackbed))
    found = [tool for tool in everything if shutil.which(tool[1])]
    missing = [tool[0] for tool in everything if tool not in found]
    # Everything is deleted at the end, not between the runs: some file systems are slow for minutes
    # to make new files where many were deleted, and would bill a run for the one before.
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        results = measure(folder, tasks, rounds, found)
    if missing:
        print("\nnot installed: " + ", ".join(missing))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"tasks": tasks, "width": WIDTH, "runs": results, "missing": missing}, file,
                      indent=2)


if __name__ == "__main__":
    main()
