#!/usr/bin/env python3
"""Prints the table of README.md: policies on the five openb traces, ten seeds each.

    table.py FOLDER_OF_THE_TRACES [--trackbed PROGRAM] [--seeds 42-51] [--learn]

Runs `trackbed simulate`; beside each mean is the value published for the policy, where there is one.
"""

import argparse
import json
import pathlib
import subprocess

TRACES = ["default", "cpu050", "gpushare40", "gpuspec10", "multigpu20"]
# Published: allocation in percent at a load of 100 and of 130, in the order of TRACES (Weng et al.,
# USENIX ATC 2023, the results of its public simulator).
PUBLISHED = {
    "random": [(86.30, 87.47), (89.02, 91.24), (84.86, 86.00), (86.26, 87.43), (86.92, 88.69)],
    "dot-product": [(90.62, 90.85), (93.03, 93.27), (89.30, 89.56), (90.17, 90.39), (91.85, 92.06)],
    "gpu-clustering": [(91.65, 91.88), (93.52, 93.79), (89.76, 90.02), (91.96, 92.18),
                       (93.34, 93.56)],
    "gpu-packing": [(91.78, 92.00), (93.46, 93.72), (89.77, 90.03), (92.24, 92.46), (93.50, 93.71)],
    "best-fit": [(92.86, 93.08), (93.56, 93.79), (91.44, 91.69), (93.10, 93.30), (93.73, 93.93)],
    "fgd": [(95.23, 95.39), (95.00, 95.21), (93.96, 94.15), (94.66, 94.95), (95.53, 95.65)],
    "default": [None] * 5,
}


def simulate(options, trace, policy):
    command = [
        options.trackbed, "simulate", "--json", "--policy", policy, "--seeds", options.seeds,
        "--nodes", options.folder / "openb_node_list_all_node.csv",
        "--workload", options.folder / f"openb_pod_list_{trace}.csv",
    ] + (["--learn"] if options.learn else [])
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main():
    root = pathlib.Path(__file__).resolve().parent.parent.parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--trackbed", default=root / "build/release/bin/trackbed")
    parser.add_argument("--seeds", default="42-51")
    parser.add_argument("--learn", action="store_true", help="do not tell policies the mix")
    options = parser.parse_args()

    print("| trace | policy | at 100 | published | at 130 | published | unallocated at 130 "
          "| dropped: shares, one device, several |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    behind = {}
    for number, trace in enumerate(TRACES):
        curves = {}
        for policy, published in PUBLISHED.items():
            result = simulate(options, trace, policy)
            curves[policy] = {load: at["mean"] for load, at in result["allocated_percent"].items()}
            cells = []
            for column, load in enumerate(("100", "130")):
                at = result["allocated_percent"][load]
                cells.append(f"{at['mean']:.2f} ± {at['deviation']:.2f}")
                cells.append(f"{published[number][column]:.2f}" if published[number] else "")
            cells.append(f"{100 - result['allocated_percent']['130']['mean']:.2f}")
            runs = result["runs"]
            dropped = [
                sum(run["dropped_shapes"][shape] for run in runs) / len(runs)
                for shape in ("a share", "one device", "several devices")
            ]
            cells.append(", ".join(f"{count:.0f}" for count in dropped))
            print(f"| {trace} | {policy} | " + " | ".join(cells) + " |", flush=True)
        behind[trace] = max((curves["fgd"][load] - curves["default"][load], load)
                            for load in curves["fgd"])
    print("\nMost that default is behind fgd, at any load from 50 to 130:")
    for trace, (points, load) in behind.items():
        print(f"- {trace}: {points:.2f} points, at {load}")


if __name__ == "__main__":
    main()
