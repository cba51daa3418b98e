"""Checks Trackbed against the NVIDIA GPUs of this machine: ./dev gpu

All other tests put a library of their own in the place of NVIDIA's. Here what Trackbed finds is
compared with what nvidia-smi, the kernel and CUDA say, and tasks compute on the GPUs that they are
given.

$TRACKBED is the program; $PYTHONPATH and $TRACKBED_LIBRARY lead to the Python package. Arguments
are names of checks; none: all of them. Nothing about a GPU is set or changed, but other work on it
disturbs the checks of its memory. Exit code 77: there is no GPU. What could not be looked at here
is named as skipped.
"""

import contextlib
import csv
import io
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback

try:
    import yaml
except ImportError:
    sys.exit("gpu.py needs PyYAML for " + sys.executable)

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TRACKBED = os.environ.get("TRACKBED", str(ROOT / "build/release/bin/trackbed"))
# Seconds until something that has to happen has.
PATIENCE = float(os.environ.get("GPU_PATIENCE", "120"))
MEBIBYTE = 1 << 20
TAKEN = 1024  # mebibytes that a task takes of a GPU to be noticed


class Skipped(Exception):
    """What a check is about is not there."""


# ---- What others say of the GPUs ---------------------------------------------------------------


def smi(*arguments):
    done = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise Skipped(f"nvidia-smi {' '.join(arguments)}: {done.stdout}{done.stderr}".strip())
    return done.stdout


def query(what, fields):
    """Rows of nvidia-smi's, by field."""
    text = smi(f"--query-{what}={fields}", "--format=csv,noheader,nounits")
    rows = csv.reader(io.StringIO(text), skipinitialspace=True)
    return [dict(zip(fields.split(","), row)) for row in rows if row]


class Card:
    def __init__(self, row):
        self.uuid = row["uuid"]
        self.name = row["name"]
        self.mebibytes = int(row["memory.total"])
        self.bus = row["pci.bus_id"].lower()[4:]  # 00000000:4F:00.0
        self.in_mig_mode = row["mig.mode.current"] == "Enabled"

    def numa_node(self):
        file = pathlib.Path(f"/sys/bus/pci/devices/{self.bus}/numa_node")
        return int(file.read_text()) if file.exists() else -1

    def used_mebibytes(self):
        rows = query("gpu", "uuid,memory.used")
        return next(int(row["memory.used"]) for row in rows if row["uuid"] == self.uuid)


def find_cards():
    return [Card(row) for row in query("gpu", "uuid,name,memory.total,pci.bus_id,mig.mode.current")]


def computing():
    """The ids of the processes that compute on a GPU. In a container nobody is told."""
    return {int(row["pid"]) for row in query("compute-apps", "pid")}


def links_of_smi(cards):
    """What nvidia-smi draws as a matrix: {(uuid, uuid): (level, lanes)}."""
    levels = {
        "PIX": "single_switch", "PXB": "multiple_switches", "PHB": "host_bridge",
        "NODE": "numa_node", "SYS": "system",
    }  # fmt: skip
    rows = [re.sub(r"\x1b\[[0-9;]*m", "", row).split() for row in smi("topo", "-m").splitlines()]
    rows = [row for row in rows if row and re.fullmatch(r"GPU\d+", row[0]) and "X" in row]
    links = {}
    for i, row in enumerate(rows):
        for j, word in enumerate(row[1 : i + 1]):
            lanes = int(word[2:]) if word.startswith("NV") else 0
            links[cards[j].uuid, cards[i].uuid] = ("nvlink" if lanes else levels[word], lanes)
    return links


# ---- Trackbed ----------------------------------------------------------------------------------


def bytes_of(text):
    found = re.fullmatch(r"(\d+)([kmgtp]?)", str(text))
    return int(found[1]) << 10 * " kmgtp".index(found[2] or " ")


def imports(modules):
    done = subprocess.run([sys.executable, "-c", f"import {modules}"], capture_output=True)
    return done.returncode == 0


def wait_until(holds, what):
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise AssertionError(f"in {PATIENCE:.0f} s not seen: {what}")
        time.sleep(0.05)
    return found


class Lab:
    """A folder with a pipeline in it, and a store."""

    def __init__(self, folder, cards):
        self.folder = pathlib.Path(folder)
        self.cards = cards
        self.all_cards = f"cuda.device: {len(cards)}"
        self.drivers = []

    def task(self, name, *arguments):
        """The command of a task that computes."""
        words = [sys.executable, str(HERE / "cuda_task.py"), "work", name, str(self.folder)]
        return " ".join([*words, *arguments])

    def see(self):
        return f"{sys.executable} {HERE / 'cuda_task.py'} see"

    def write(self, tasks, environment=None):
        """`tasks`: by name their fields; without cache, and with the folders of libraries."""
        found = dict(environment or {})
        if "LD_LIBRARY_PATH" in os.environ:
            found["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
        document = {
            "name": "gpus",
            "environment": found,
            "defaults": {"cache": False, "timeout": "5m"},
            "tasks": [{"name": name, **fields} for name, fields in tasks.items()],
        }
        for task in document["tasks"]:
            task["resources"] = yaml.safe_load("{cpu: 0.1, " + task.pop("needs", "") + "}")
        (self.folder / "pipeline.yaml").write_text(yaml.safe_dump(document, sort_keys=False))

    def call(self, *arguments, code=0):
        done = subprocess.run(
            [TRACKBED, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        if code is not None and done.returncode != code:
            raise AssertionError(
                f"trackbed {' '.join(arguments)}: exit code {done.returncode}, expected {code}\n"
                f"{done.stdout}{done.stderr}"
            )
        return done.stdout

    def run(self, *arguments, code=0):
        return self.call("run", "pipeline.yaml", "--plain", *arguments, code=code)

    def start(self, *arguments):
        """A run or the like that goes on beside."""
        output = open(self.folder / f"driver-{len(self.drivers)}.out", "w")
        driver = subprocess.Popen(
            [TRACKBED, *arguments], cwd=self.folder, stdout=output, stderr=subprocess.STDOUT
        )
        output.close()
        self.drivers.append(driver)
        return driver

    def finish(self, driver, code=0):
        found = driver.wait(timeout=PATIENCE)
        output = (self.folder / f"driver-{self.drivers.index(driver)}.out").read_text()
        assert found == code, f"{driver.args}: exit code {found}, expected {code}\n{output}"

    def close(self):
        for driver in self.drivers:
            if driver.poll() is None:
                driver.kill()
                driver.wait()
        if self.drivers and (self.folder / ".trackbed").exists():
            self.call("cancel", "latest", code=None)  # nothing of a check that failed goes on

    def explain(self, task):
        text = self.call("explain", "latest", task, "--json", code=None)
        return json.loads(text) if text else {"situation": "", "sentence": ""}

    def wait_for(self, task, situation):
        def found():
            explained = self.explain(task)
            return explained if explained["situation"] == situation else None

        return wait_until(found, f"{task} in the situation {situation!r}")

    def facts(self, name):
        """What the task has left, once it has computed."""
        file = self.folder / f"{name}.json"
        wait_until(lambda: file.exists() or self.check_alive(), f"{name} computing")
        return json.loads(file.read_text())

    def check_alive(self):
        for driver in self.drivers:
            if driver.poll() not in (None, 0, -signal.SIGKILL):
                self.finish(driver)
        return False

    def starts(self, name):
        return [int(line) for line in (self.folder / f"{name}.starts").read_text().splitlines()]

    def log(self, task):
        return self.call("logs", "latest", task)

    def go(self):
        (self.folder / "go").touch()

    def ends_of_logs(self):
        files = [*self.folder.glob("driver-*.out"), *self.folder.glob(".trackbed/runs/*/*/*/log")]
        ends = (f"  {file}:\n" + "".join(file.open().readlines()[-15:]) for file in files)
        return "".join(ends)

    @property
    def until_go(self):
        return f"--until {self.folder}/go"

    def uuids(self, facts):
        return ["GPU-" + device["uuid"] for device in facts["devices"]]

    def one_card(self):
        """Options for a run with one card only, where there are several."""
        return ["--slots", "cuda.shares=1"] if len(self.cards) > 1 else []


# ---- The checks --------------------------------------------------------------------------------

CHECKS = []
IN_ANY_MODE = ("inventory", "instances")  # MIG or not
FIGURES = []


def check(function):
    CHECKS.append(function)
    return function


def compare(document, cards, slots, source):
    """Whether a description of this machine has what others say that it has."""
    devices = {device["id"]: device for device in document.get("devices", [])}
    expected = set()
    for card in cards:
        for slot in slots:
            name = card.uuid + "/shares" if len(slots) > 1 and slot == "cuda.shares" else card.uuid
            expected.add(name)
            assert name in devices, f"{source}: no {name} among {sorted(devices)}"
            device = devices[name]
            found = {
                "slot": device["slot"],
                "model": device["model"],
                "capacity": str(device["capacity"]),
                "mebibytes": bytes_of(device["memory"]) // MEBIBYTE,
                "healthy": device.get("healthy", True),
            }
            assert found == {
                "slot": slot, "model": card.name, "capacity": "1", "mebibytes": card.mebibytes,
                "healthy": card.uuid not in cards_with_lost_rows(),
            }, f"{source}: {found}"  # fmt: skip
            numa = {node["id"] for node in document.get("numa", [])}
            node = card.numa_node() if card.numa_node() in numa else None
            assert device.get("numa_node") == node, f"{source}: {device} expected at {node}"
    whole = {name for name, device in devices.items() if "-mig" not in device["slot"]}
    assert whole == expected, f"{source}: {sorted(whole)}, expected {sorted(expected)}"
    links = {
        tuple(link["between"]): (link["level"], link.get("lanes", 0))
        for link in document.get("links", [])
    }
    if len(cards) > 1:
        assert links == links_of_smi(cards), f"{source}: {links}, not {links_of_smi(cards)}"
    else:
        assert not links, f"{source}: {links}"


def cards_with_lost_rows():
    with contextlib.suppress(Skipped):
        rows = query("remapped-rows", "gpu_uuid,remapped_rows.failure")
        return {r["gpu_uuid"] for r in rows if r["remapped_rows.failure"] in ("1", "Yes")}
    return set()


@check
def inventory(lab):
    """The program and the library find what nvidia-smi does."""
    for slot in ("cuda.device", "cuda.shares"):
        found = yaml.safe_load(lab.call("node", "--gpu-slot", slot))
        compare(found, lab.cards, [slot], f"trackbed node --gpu-slot {slot}")
    compare(detect(), lab.cards, ["cuda.device", "cuda.shares"], "trackbed.detect_node()")


def detect():
    try:
        import trackbed
    except ImportError as error:
        raise Skipped(f"the Python package: {error}") from None
    return yaml.safe_load(trackbed.detect_node())


@check
def instances(lab):
    """MIG instances are those that nvidia-smi lists."""
    expected = set(re.findall(r"UUID: (MIG-[^)]*)\)", smi("-L")))
    found = yaml.safe_load(lab.call("node")).get("devices", [])
    found = {device["id"] for device in found if device["slot"].endswith("-mig")}
    assert found == expected, f"{found}, expected {expected}"
    if not expected:
        raise Skipped("no GPU is in MIG mode")


@check
def probing(lab):
    """Asking again and again costs nothing that stays; how long it takes."""
    detect()
    before = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
    import trackbed

    library, program = [], []
    for _ in range(20):
        start = time.perf_counter()
        trackbed.detect_node()
        library.append(time.perf_counter() - start)
    for _ in range(5):
        start = time.perf_counter()
        lab.call("node")
        program.append(time.perf_counter() - start)
    for name, times in (("trackbed.detect_node()", library), ("trackbed node", program)):
        middle = statistics.median(times) * 1000
        FIGURES.append(f"{name}: {min(times) * 1000:.1f} ms at best, {middle:.1f} ms in the middle")
    after = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
    assert after == before, f"descriptors and threads: {before} before, {after} after"


@check
def whole(lab):
    """Who asks for GPUs computes on those, alone; who does not sees none; who waits is told why."""
    tasks = {
        name: {"needs": lab.all_cards, "command": lab.task(name, "--alone", lab.until_go)}
        for name in ("first", "second")
    }
    lab.write({**tasks, "none": {"command": lab.see()}})
    driver = lab.start("run", "pipeline.yaml", "--plain")
    first = lab.facts("first")
    expected = [card.uuid for card in lab.cards]
    assert lab.uuids(first) == expected, first
    assert first["variables"]["CUDA_VISIBLE_DEVICES"] == ",".join(expected), first
    assert first["variables"]["TRACKBED_DEVICES"] == ",".join(expected), first
    waits = lab.wait_for("second", "shortage")
    assert waits["waits_for"] == ["first"] and waits["slot"] == "cuda.device", waits
    assert waits["free"] == "0" and waits["enforcement"] == "hardware", waits
    assert not (lab.folder / "second.starts").exists()
    lab.wait_for("none", "ended")
    none = json.loads(lab.log("none"))
    assert none == {"devices": [], "variables": {"CUDA_VISIBLE_DEVICES": "-1"}}, none
    lab.go()
    lab.finish(driver)
    assert lab.uuids(lab.facts("second")) == expected
    torch = "import torch; print(torch.cuda.is_available(), torch.cuda.device_count())"
    if imports("torch"):
        lab.write({"none": {"command": [sys.executable, "-c", torch]}})
        lab.run()
        assert lab.log("none").strip() == "False 0", lab.log("none")


@check
def shares(lab):
    """Parts of a GPU are used at once, a third task waits until one is given back."""
    tasks = {
        name: {"needs": "cuda.shares: 0.5", "command": lab.task(name, lab.until_go)}
        for name in ("left", "right")
    }
    tasks["third"] = {"needs": "cuda.shares: 0.3", "command": lab.task("third")}
    lab.write(tasks)
    driver = lab.start("run", "pipeline.yaml", "--plain", *lab.one_card())
    left, right = lab.facts("left"), lab.facts("right")
    assert lab.uuids(left) == lab.uuids(right) == [lab.cards[0].uuid], (left, right)
    for task in ("left", "right"):
        assert lab.explain(task)["situation"] == "running", lab.explain(task)
    waits = lab.wait_for("third", "shortage")
    assert sorted(waits["waits_for"]) == ["left", "right"], waits
    assert waits["needed"] == "0.3" and waits["free"] == "0", waits
    assert waits["enforcement"] == "advisory", waits
    assert not (lab.folder / "third.starts").exists()
    lab.go()
    lab.finish(driver)
    assert lab.uuids(lab.facts("third")) == [lab.cards[0].uuid]
    uneven(lab)
    one_way_at_a_time(lab)


def uneven(lab):
    """0.3 and 0.7 of one GPU, and what each is told of it."""
    (lab.folder / "go").unlink()
    parts = {"small": 0.3, "large": 0.7}
    lab.write({
        name: {"needs": f"cuda.shares: {part}", "command": lab.task(name, lab.until_go)}
        for name, part in parts.items()
    })  # fmt: skip
    driver = lab.start("run", "pipeline.yaml", "--plain", *lab.one_card())
    facts = {name: lab.facts(name) for name in parts}
    for name, part in parts.items():
        mebibytes = lab.cards[0].mebibytes * round(part * 10) // 10
        found = facts[name]["variables"]
        expected = {
            "CUDA_VISIBLE_DEVICES": lab.cards[0].uuid,
            "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": f"{part * 100:.0f}",
            "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": f"0={mebibytes}M",
        }
        assert {name: found[name] for name in expected} == expected, found
    lab.go()
    lab.finish(driver)


def one_way_at_a_time(lab):
    """A GPU of which somebody has a part is not given out whole."""
    if len(lab.cards) > 1:
        return
    (lab.folder / "go").unlink()
    lab.write({
        "part": {"needs": "cuda.shares: 0.1", "command": lab.task("part", lab.until_go)},
        "all": {"needs": "cuda.device: 1", "command": lab.task("all", "--alone")},
    })  # fmt: skip
    driver = lab.start("run", "pipeline.yaml", "--plain")
    lab.facts("part")
    waits = lab.wait_for("all", "shortage")
    assert waits["waits_for"] == ["part"] and waits["slot"] == "cuda.device", waits
    assert not (lab.folder / "all.starts").exists()
    lab.go()
    lab.finish(driver)
    lab.facts("all")


def daemon(lab, name):
    """A command that leaves all work to a process that has gone its own way, and will not end."""
    work = lab.task(name, "--memory", str(TAKEN), "--until /nowhere")
    return f"trap '' TERM\n(setsid {work} &)\nwhile :; do sleep 0.1; done\n"


def check_gone(lab, pid, listed, before):
    """The process computes no more, and what it had of the GPU's memory is free."""
    wait_until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), f"the end of process {pid}")
    if listed:
        wait_until(lambda: pid not in computing(), f"nvidia-smi without process {pid}")
    enough = before + TAKEN // 2
    wait_until(lambda: lab.cards[0].used_mebibytes() < enough, f"less than {enough} MiB used")


def run_after(lab, name):
    lab.write({name: {"needs": lab.all_cards, "command": lab.task(name, "--alone")}})
    lab.run()
    lab.facts(name)


@check
def cancelled(lab):
    """A run is cancelled: a daemon that computes for its task ends, and the GPU is free."""
    before = lab.cards[0].used_mebibytes()
    stubborn = {"needs": lab.all_cards, "grace_period": "1s", "command": daemon(lab, "stubborn")}
    lab.write({"stubborn": stubborn})
    driver = lab.start("run", "pipeline.yaml", "--plain")
    pid = lab.facts("stubborn")["pid"]
    listed = pid in computing()
    assert lab.cards[0].used_mebibytes() >= before + TAKEN
    lab.call("cancel", "latest")
    lab.finish(driver, code=3)
    check_gone(lab, pid, listed, before)
    run_after(lab, "next")
    if not listed:
        raise Skipped("nvidia-smi lists no processes here: only their memory was looked at")


@check
def timed_out(lab):
    """A timeout does the same, and whoever waited for the GPU gets it."""
    before = lab.cards[0].used_mebibytes()
    stubborn = {
        "needs": lab.all_cards, "grace_period": "1s", "timeout": "10s",
        "command": daemon(lab, "stubborn"),
    }  # fmt: skip
    after = {"needs": lab.all_cards, "command": lab.task("next", "--alone")}
    lab.write({"stubborn": stubborn, "next": after})
    driver = lab.start("run", "pipeline.yaml", "--plain")
    pid = lab.facts("stubborn")["pid"]
    listed = pid in computing()
    lab.finish(driver, code=1)
    assert re.search("stubborn .* after its timeout of 10s", lab.call("show", "latest"))
    assert len(lab.starts("next")) == 1
    check_gone(lab, pid, listed, before)


@check
def adopted(lab):
    """The program dies while a task computes, which goes on, alone, and is not started again."""
    lab.write({
        "train": {"needs": lab.all_cards, "command": lab.task("train", "--alone", lab.until_go)},
        "next": {"needs": lab.all_cards, "command": lab.task("next", "--alone")},
    })  # fmt: skip
    driver = lab.start("run", "pipeline.yaml", "--plain")
    pid = lab.facts("train")["pid"]
    driver.kill()
    driver.wait()
    lab.wait_for("train", "interrupted")
    assert pathlib.Path(f"/proc/{pid}").exists()
    driver = lab.start("resume", "latest", "--plain")
    assert lab.wait_for("next", "shortage")["waits_for"] == ["train"]
    users = computing()
    assert not users or users == {pid}, f"{users} compute, expected {pid}"
    assert lab.starts("train") == [pid]
    lab.go()
    lab.finish(driver)
    assert lab.starts("train") == [pid] and len(lab.starts("next")) == 1


@check
def gang(lab):
    """Members of a gang each get their part."""
    lab.write({
        "pair": {"needs": "cuda.shares: 0.5", "cluster": {"size": 2}, "command": lab.see()},
    })  # fmt: skip
    lab.run(*lab.one_card())
    for member in ("main1", "sub1"):
        log = lab.call("logs", "latest", "pair", "--member", member)
        facts = json.loads(log[log.index("{") :])
        assert lab.uuids(facts) == [lab.cards[0].uuid], facts
        assert facts["variables"]["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "50", facts


FUNCTIONS = """
import os

from trackbed import pipeline, task


@task(cache=False, resources={"cuda.device": 1})
def one() -> str:
    return os.environ["CUDA_VISIBLE_DEVICES"]


@task(cache=False)
def none(before: str) -> str:
    return before + " " + os.environ["CUDA_VISIBLE_DEVICES"]


@pipeline
def look() -> str:
    return none(one())


if __name__ == "__main__":
    print(look())
"""


@check
def functions(lab):
    """Tasks in Python get GPUs as commands do."""
    detect()
    (lab.folder / "look.py").write_text(FUNCTIONS)
    done = subprocess.run(
        [sys.executable, "look.py"], cwd=lab.folder, capture_output=True, text=True
    )
    found = done.stdout.split("\n")[-2:]
    assert found == [f"{lab.cards[0].uuid} -1", ""], done.stdout + done.stderr


@check
def memory(lab):
    """A limit of main memory does not keep CUDA from starting."""
    lab.write({"limited": {"needs": lab.all_cards + ", mem: 4g", "command": lab.task("limited")}})
    lab.run()
    assert len(lab.uuids(lab.facts("limited"))) == len(lab.cards)


@check
def training(lab):
    """The example: data are prepared on processors, a network is trained on the GPU and judged."""
    if not imports("torch, numpy"):
        raise Skipped(f"{sys.executable} has no PyTorch and numpy")
    shutil.copytree(ROOT / "examples/digits", lab.folder / "digits")
    start = time.perf_counter()
    lab.call("run", "digits/gpu.yaml", "--plain")
    seconds = time.perf_counter() - start
    shown = json.loads(lab.call("show", "latest", "--json"))
    outputs = {task["name"]: task.get("outputs", {}) for task in shown["tasks"]}
    accuracy, device = outputs["evaluate"]["accuracy"], outputs["train"]["device"]
    FIGURES.append(f"digits/gpu.yaml: {accuracy:.1%} read right, {seconds:.1f} s on {device}")
    assert device in [card.name for card in lab.cards], device
    assert accuracy >= 0.93, accuracy
    again = lab.call("run", "digits/gpu.yaml", "--plain")
    assert "started" not in again, again


@contextlib.contextmanager
def multi_process_service(folder):
    """NVIDIA's service that keeps shares, for who has the variables that this gives."""
    if shutil.which("nvidia-cuda-mps-control") is None:
        raise Skipped("there is no nvidia-cuda-mps-control")
    variables = {
        "CUDA_MPS_PIPE_DIRECTORY": f"{folder}/pipe",
        "CUDA_MPS_LOG_DIRECTORY": f"{folder}/log",
    }
    for path in variables.values():
        os.makedirs(path)
    environment = {**os.environ, **variables}
    subprocess.run(["nvidia-cuda-mps-control", "-d"], env=environment, check=True, timeout=PATIENCE)
    try:
        yield variables
    finally:
        subprocess.run(["nvidia-cuda-mps-control"], input="quit\n", text=True, env=environment,
                       capture_output=True, timeout=PATIENCE)  # fmt: skip


@check
def enforced(lab):
    """Where NVIDIA's service runs, it keeps tasks to the shares that they are told."""
    card = lab.cards[0]
    with tempfile.TemporaryDirectory(prefix="mps-", dir="/tmp") as folder:
        with multi_process_service(folder) as variables:
            too_much = str(card.mebibytes // 2)
            lab.write({
                "all": {"needs": "cuda.shares: 1", "command": lab.see()},
                "part": {"needs": "cuda.shares: 0.25", "command": lab.see()},
                "greedy": {
                    "needs": "cuda.shares: 0.25",
                    "command": lab.task("greedy", "--memory", too_much),
                },
            }, variables)  # fmt: skip
            lab.run(*lab.one_card(), code=1)
            seen = {task: json.loads(lab.log(task))["devices"][0] for task in ("all", "part")}
            greedy = lab.log("greedy")
    FIGURES.append(f"a quarter by MPS: {seen['part']}; all: {seen['all']}")
    free = min(seen["part"]["memory"], seen["part"]["free"])
    assert free <= card.mebibytes * MEBIBYTE // 4, seen
    assert seen["part"]["multiprocessors"] <= seen["all"]["multiprocessors"] * 0.3, seen
    assert "cuMemAlloc_v2: CUDA error 2" in greedy, greedy


PROFILE_FIELDS = ("id", "p2p", "slices", "instances")


@check
def partitions(lab):
    """The table of MIG profiles is that of the driver."""
    import ctypes

    import trackbed

    model = yaml.safe_load(lab.call("node"))["devices"][0].get("mig_model")
    if model is None:
        raise Skipped("no GPU that can be partitioned")
    known = {profile["id"]: profile for profile in trackbed.partition_profiles()[model]}
    nvml = ctypes.CDLL("libnvidia-ml.so.1")
    device, found = ctypes.c_void_p(), {}
    assert nvml.nvmlInit_v2() == 0
    uuid = lab.cards[0].uuid.encode()
    assert nvml.nvmlDeviceGetHandleByUUID(ctypes.c_char_p(uuid), ctypes.byref(device)) == 0
    for number in range(32):
        # nvmlGpuInstanceProfileInfo_t: ten numbers and the memory
        info = (ctypes.c_uint * 12)()
        if nvml.nvmlDeviceGetGpuInstanceProfileInfo(device, ctypes.c_uint(number), info) != 0:
            continue
        facts = dict(zip(PROFILE_FIELDS, info))
        places, count = (ctypes.c_uint * 64)(), ctypes.c_uint(32)
        code = nvml.nvmlDeviceGetGpuInstancePossiblePlacements_v2(
            device, ctypes.c_uint(facts["id"]), places, ctypes.byref(count)
        )
        if code == 0:
            facts["starts"] = sorted(places[2 * i] for i in range(count.value))
            facts["size"] = places[1]
        found[facts["id"]] = facts
    nvml.nvmlShutdown()
    if not found:
        raise Skipped("the driver tells of no profiles")
    FIGURES.append(f"MIG profiles of the driver: {found}")
    for number, profile in known.items():
        assert number in found, f"the driver has no profile {number} ({profile['profile']})"
        facts = found[number]
        assert facts["slices"] == profile["compute_slices"], (facts, profile)
        assert facts["instances"] == profile["max_instances"], (facts, profile)
        if "starts" in facts:
            assert facts["starts"] == profile["starts"], (facts, profile)
            assert facts["size"] == profile["memory_slices"], (facts, profile)


# ---- All of them -------------------------------------------------------------------------------


def run_check(function, cards):
    """ "ok", "FAILED" or "skipped", with what there is to say."""
    start = time.perf_counter()
    folder = tempfile.mkdtemp(prefix=f"trackbed-gpu-{function.__name__}.")
    lab = Lab(folder, cards)
    try:
        if not cards and function.__name__ not in IN_ANY_MODE:
            raise Skipped("all GPUs are in MIG mode")
        function(lab)
        result, note = "ok", ""
    except Skipped as skipped:
        result, note = "skipped", f": {skipped}"
    except Exception:  # whatever it was, the others are still to be looked at
        result, note = "FAILED", f"; its folder is kept: {folder}\n{traceback.format_exc()}"
        note += lab.ends_of_logs()
    lab.close()
    if result != "FAILED":
        shutil.rmtree(folder, ignore_errors=True)
    seconds = time.perf_counter() - start
    print(f"{result:8}{function.__name__}  {seconds:.1f} s{note}", flush=True)
    return result


def main():
    # Tasks find this Python first, and the files of a store are not in whoever calls this.
    os.environ["PATH"] = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    os.environ.pop("TRACKBED_HOME", None)
    try:
        cards = find_cards()
    except (OSError, Skipped) as reason:
        print(f"SKIPPED: there is no NVIDIA GPU here, and nothing was checked ({reason})")
        return 77
    for card in cards:
        print(f"{card.uuid}  {card.name}, {card.mebibytes} MiB, {card.bus}")
    cards = [card for card in cards if not card.in_mig_mode]
    wanted = set(sys.argv[1:]) or {function.__name__ for function in CHECKS}
    if unknown := wanted - {function.__name__ for function in CHECKS}:
        sys.exit(f"no check {', '.join(sorted(unknown))}")
    results = [run_check(function, cards) for function in CHECKS if function.__name__ in wanted]
    print("".join(f"        {figure}\n" for figure in FIGURES), end="")
    counts = [results.count(result) for result in ("ok", "FAILED", "skipped")]
    print("{} passed, {} failed, {} skipped".format(*counts))
    return 1 if counts[1] else 0


sys.exit(main())
