"""Kills the program at random moments and resumes it, until the run is done; then counts.

Every task writes one line when it begins and one when it ends to a file of its own, outside of
Trackbed's folders. However often the program dies, each task must have begun once and ended once:
finished tasks are not run again, running ones are adopted, nothing starts twice.

Then kills supervisors instead, idle and busy ones, under a program that goes on: the run must be
done all the same, and no task may have begun oftener than its supervisors died, and once more.
"""
import collections
import glob
import json
import os
import random
import signal
import subprocess
import sys
import time

TRACKBED = os.environ["TRACKBED"]
ROUNDS = int(os.environ.get("KILL_ROUNDS", "12"))
SEED = int(os.environ.get("KILL_SEED", str(int(time.time()))))


def write_pipeline(path, witness, rng):
    """A random graph of tasks that take 0 to 0.3 seconds."""
    count = rng.randint(5, 16)
    lines = ["name: victim", "tasks:"]
    for i in range(count):
        after = sorted(rng.sample(range(i), min(i, rng.choice([0, 1, 1, 2]))))
        pause = rng.choice([0, 0.02, 0.1, 0.3])
        lines += [
            f"- name: t{i}",
            "  resources: {cpu: 500m}",
            f"  cache: {rng.choice(['true', 'false', 'auto'])}",
            f"  dependencies: [{', '.join(f't{a}' for a in after)}]",
            "  outputs: {value: integer}",
            "  command: |",
            f"    echo begin >> {witness}/t{i}",
            f"    sleep {pause}",
            f"    echo value={i} >> \"$TRACKBED_OUTPUT\"",
            f"    echo file > \"$TRACKBED_OUTPUTS/made\"",
            f"    echo end >> {witness}/t{i}",
        ]
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")
    return count


def runs():
    done = subprocess.run([TRACKBED, "runs", "--json"], capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()] if done.returncode == 0 else []


def attack(command, rng):
    """Runs the program and kills it after a random time; its exit code, or None when killed."""
    with open("output", "ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            return process.wait(timeout=rng.choice([rng.uniform(0, 0.05), rng.uniform(0, 0.8)]))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return None


def one_round(number, rng):
    folder = f"round-{number}"
    os.makedirs(f"{folder}/witness")
    os.chdir(folder)
    witness = os.path.abspath("witness")
    count = write_pipeline("pipeline.yaml", witness, rng)
    kills = 0
    code = None
    while not runs():
        code = attack([TRACKBED, "run", "--slots", "cpu=2", "pipeline.yaml"], rng)
        kills += code is None
    run = runs()[0]["run"]
    while code is None:
        resume = [TRACKBED, "resume", "--slots", "cpu=2", run]
        if kills < 12:
            code = attack(resume, rng)
        else:
            with open("output", "ab") as output:
                code = subprocess.run(resume, stdout=output, stderr=output, timeout=120).returncode
        if code is None:
            kills += 1
        elif code == 2 and runs()[0]["status"] == "succeeded":
            code = 0  # it was done when the kill came
    if code != 0:
        sys.exit(f"seed {SEED}, round {number}: exit code {code}:\n{open('output').read()}")
    for i in range(count):
        with open(f"witness/t{i}") as file:
            lines = file.read().split()
        if lines != ["begin", "end"]:
            sys.exit(f"seed {SEED}, round {number}: task t{i} did {lines}; output:\n"
                     f"{open('output').read()}")
    if runs()[0]["status"] != "succeeded":
        sys.exit(f"seed {SEED}, round {number}: the run is {runs()[0]['status']}")
    os.chdir("..")
    return kills, count


def supervisors():
    """Of each supervisor that lives: its process, and whether the last attempt it claimed runs."""
    last = {}
    for claim in glob.glob(".trackbed/runs/*/*/*/claim"):
        try:
            with open(claim) as file:
                record = file.read()
            fields = dict(line.split(" ", 1) for line in record.splitlines() if " " in line)
            with open(f"/proc/{fields['pid']}/stat") as file:
                stat = file.read().rpartition(")")[2].split()
            changed = os.stat(claim).st_mtime_ns
        except (OSError, KeyError):
            continue
        if stat[19] != fields["start_time"] or stat[0] in "ZX":
            continue
        busy = "trackbed exit" not in record
        pid = int(fields["pid"])
        if pid not in last or last[pid][0] < changed:
            last[pid] = (changed, busy)
    return [(pid, busy) for pid, (_, busy) in last.items()]


def supervisor_round(number, rng):
    folder = f"supervisors-{number}"
    os.makedirs(f"{folder}/witness")
    os.chdir(folder)
    count = write_pipeline("pipeline.yaml", os.path.abspath("witness"), rng)
    killed = collections.Counter()
    with open("output", "ab") as output:
        run = subprocess.Popen([TRACKBED, "run", "--slots", "cpu=2", "pipeline.yaml"],
                               stdout=output, stderr=output)
        while run.poll() is None:
            time.sleep(rng.choice([0, 0.01, 0.05, rng.uniform(0, 0.3)]))
            # A task may lose three attempts; all of these, and an idle one just given an attempt, may be
            # those of one.
            for pid, busy in supervisors():
                if rng.random() < 0.5 and (not busy or killed["busy"] < 2):
                    os.kill(pid, signal.SIGKILL)
                    killed["busy" if busy else "idle"] += 1
    if run.returncode != 0:
        sys.exit(f"seed {SEED}, supervisors {number}: exit code {run.returncode}:\n"
                 f"{open('output').read()}")
    begun = 0
    for i in range(count):
        with open(f"witness/t{i}") as file:
            lines = file.read().split()
        begun += lines.count("begin")
        if lines[-1] != "end":
            sys.exit(f"seed {SEED}, supervisors {number}: task t{i} did {lines}")
    # One that was idle may have been given an attempt before the signal reached it.
    if begun > count + killed["busy"] + killed["idle"]:
        sys.exit(f"seed {SEED}, supervisors {number}: {count} tasks began {begun} times, "
                 f"killed: {dict(killed)}")
    os.chdir("..")
    return killed


def main():
    kills = tasks = 0
    for number in range(ROUNDS):
        more_kills, more_tasks = one_round(number, random.Random(SEED * 1000 + number))
        kills += more_kills
        tasks += more_tasks
    print(f"seed {SEED}: {ROUNDS} runs, {tasks} tasks, {kills} kills; each task ran once")
    killed = collections.Counter()
    for number in range((ROUNDS + 1) // 2):
        killed += supervisor_round(number, random.Random(SEED * 1000 + 500 + number))
    print(f"seed {SEED}: {killed['idle']} idle and {killed['busy']} busy supervisors killed")


main()
