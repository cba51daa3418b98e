#!/usr/bin/env python3
"""Prints the table of made mixes of README.md: fgd and default on work drawn from two openb traces.

    mixes.py FOLDER_OF_THE_TRACES [--trackbed PROGRAM] [--seeds 42-51]

Each mix is the default list (for gpuspec: the gpuspec10 list) with the part of one class changed:

cpuNNN       tasks without devices are NN.N % of all tasks
gpushareNN   shares are NN % of the devices asked for; as many tasks for one device or less
gpuspecNN    NN % of the tasks with devices are bound to models
multigpuNN   tasks for several devices are NN % of the devices asked for; the others stay
"""

import argparse
import csv
import json
import pathlib
import random
import subprocess
import tempfile


def devices(task):
    return int(task["num_gpu"]) * min(int(task["gpu_milli"]), 1000) / 1000


def is_share(task):
    return 0 < devices(task) < 1


def draw(tasks, count, dice):
    return [dice.choice(tasks) for _ in range(round(count))]


def cpu(tasks, part, dice):
    without = [task for task in tasks if devices(task) == 0]
    others = [task for task in tasks if devices(task) > 0]
    return others + draw(without, len(others) * part / (1 - part), dice)


def gpushare(tasks, part, dice):
    without = [task for task in tasks if devices(task) == 0]
    shares = [task for task in tasks if is_share(task)]
    single = [task for task in tasks if devices(task) == 1]
    several = [task for task in tasks if devices(task) > 1]
    each = sum(map(devices, shares)) / len(shares)
    all_single = len(shares) + len(single)
    # Those for several devices stay as many to one for a single device.
    whole = 1 + sum(map(devices, several)) / len(single)
    count = part * all_single * whole / (each * (1 - part) + part * whole)
    left = all_single - count
    return (without + draw(shares, count, dice) + draw(single, left, dice)
            + draw(several, len(several) * left / len(single), dice))


def gpuspec(tasks, part, dice):
    without = [task for task in tasks if devices(task) == 0]
    bound = [task for task in tasks if devices(task) > 0 and task["gpu_spec"]]
    free = [task for task in tasks if devices(task) > 0 and not task["gpu_spec"]]
    count = len(bound) + len(free)
    return without + draw(bound, count * part, dice) + draw(free, count * (1 - part), dice)


def multigpu(tasks, part, dice):
    several = [task for task in tasks if devices(task) > 1]
    wanted = sum(devices(task) for task in tasks if devices(task) <= 1) * part / (1 - part)
    made = list(tasks)
    have = sum(map(devices, several))
    while have < wanted:
        made.append(dice.choice(several))
        have += devices(made[-1])
    return made


MIXES = ([("cpu", part) for part in (0.1, 0.2, 0.25, 0.3)]
         + [("gpushare", part) for part in (0.2, 0.6, 0.8, 1)]
         + [("gpuspec", part) for part in (0.2, 0.25, 0.33)]
         + [("multigpu", part) for part in (0.3, 0.4, 0.5)])


def read(folder, name):
    with open(folder / f"openb_pod_list_{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def write(path, tasks):
    columns = ["name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "gpu_spec"]
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(columns)
        for number, task in enumerate(tasks):
            out.writerow([f"t{number:05}"] + [task.get(column, "") for column in columns[1:]])


def curve(options, workload, policy):
    command = [
        options.trackbed, "simulate", "--json", "--policy", policy, "--seeds", options.seeds,
        "--nodes", options.folder / "openb_node_list_all_node.csv", "--workload", workload,
    ]
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return result["allocated_percent"]


def main():
    root = pathlib.Path(__file__).resolve().parent.parent.parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--trackbed", default=root / "build/release/bin/trackbed")
    parser.add_argument("--seeds", default="42-51")
    options = parser.parse_args()
    makers = {"cpu": cpu, "gpushare": gpushare, "gpuspec": gpuspec, "multigpu": multigpu}

    print("| mix | fgd | default | better by | most behind fgd, at |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for kind, part in MIXES:
            name = f"{kind}{round(part * (1000 if kind == 'cpu' else 100)):03}"
            tasks = read(options.folder, "gpuspec10" if kind == "gpuspec" else "default")
            workload = pathlib.Path(folder) / f"{name}.csv"
            write(workload, makers[kind](tasks, part, random.Random(name)))
            fgd = curve(options, workload, "fgd")
            ours = curve(options, workload, "default")
            left = [f"{100 - at['130']['mean']:.2f} ± {at['130']['deviation']:.2f}"
                    for at in (fgd, ours)]
            better = ours["130"]["mean"] - fgd["130"]["mean"]
            behind, load = max((fgd[load]["mean"] - ours[load]["mean"], load) for load in fgd)
            print(f"| {name} | {left[0]} | {left[1]} | {better:.2f} | {behind:.2f}, {load} |",
                  flush=True)


if __name__ == "__main__":
    main()
