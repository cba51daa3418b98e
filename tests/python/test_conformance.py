"""The vectors of tests/conformance (its README.md says what they mean), by the Python package."""

import ctypes
import json
import pathlib

import pytest
from trackbed import (
    InvalidArgument,
    Order,
    Scheduler,
    SlotAllocator,
    TrackbedError,
    partition_profiles,
)
from trackbed._native import FORMATS, Bytes, NativePipeline, bytes_of, library
from trackbed.cluster import NEVER, Enforcement, ReasonStruct, _reason, _task, ns, seconds
from trackbed.engine import Engine, EventsOptions
from trackbed.ports import Executor
from trackbed.testing import VirtualClock

VECTORS = pathlib.Path(__file__).resolve().parents[1] / "conformance"
START_NS = 1_767_225_600 * 1_000_000_000


def text_of(lines):
    return "\n".join(lines)


def lines_of(text):
    return text.split("\n")


def amount(slot, value):
    return bytes_of("slot_format", slot, round(value * 1000))


class Pipelines:
    def __init__(self, given):
        self.documents = given["pipelines"]

    def do(self, step):
        document = self.documents[step["pipeline"]]
        content = text_of(document["text"])
        form, file = document.get("format", "yaml"), document.get("file", "")
        if step["do"] == "validate":
            return json.loads(bytes_of("pipeline_validate", content, FORMATS[form], file))
        with NativePipeline.parse(content, form, file) as pipeline:
            return getattr(self, step["do"])(pipeline, step)

    def write(self, pipeline, step):
        out, lost = Bytes(), Bytes()
        form = FORMATS[step["format"]]
        library().call(
            "pipeline_write", pipeline.handle, form, ctypes.byref(out), ctypes.byref(lost)
        )
        found = {"text": lines_of(out.take())}
        left_out = lost.take()
        if step["format"] == "fasttrack":
            found["lost"] = left_out.split("\n") if left_out else []
        return found

    def reread(self, pipeline, step):
        out, again = Bytes(), ctypes.c_void_p()
        form = FORMATS[step["through"]]
        library().call("pipeline_write", pipeline.handle, form, ctypes.byref(out), None)
        data = out.take_bytes()
        library().raw("pipeline_parse")(
            data, len(data), form, b"", 0, ctypes.byref(again), None
        )  # fmt: skip
        with NativePipeline(again) as found:
            return {"version": found.version}

    def graph(self, pipeline, step):
        return {"text": lines_of(pipeline.graph(step["format"]))}

    def tasks(self, pipeline, step):
        return {"tasks": json.loads(bytes_of("pipeline_tasks", pipeline.handle))}

    def bind(self, pipeline, step):
        given = json.dumps(step["parameters"])
        return {"parameters": json.loads(bytes_of("pipeline_bind", pipeline.handle, given))}


class Allocations:
    def __init__(self, given):
        self.given = given
        self.allocator = self.create()
        self.held = {}

    def create(self):
        return SlotAllocator(text_of(self.given["node"]), **self.given.get("options", {}))

    def do(self, step):
        return getattr(self, step["do"])(step)

    def allocate(self, step):
        allocation = self.allocator.allocate(step["slots"])
        self.held[step["name"]] = allocation.id
        return {
            "parts": [
                {
                    "slot": p.slot, "device": p.device, "amount": amount(p.slot, p.amount),
                    "enforcement": p.enforcement,
                }
                for p in allocation.parts
            ]
        }  # fmt: skip

    def release(self, step):
        library().call("slot_allocator_release", self.allocator._handle, self.held[step["name"]])
        return {}

    def explain(self, step):
        found = self.allocator.explain(step["slots"])
        if found.kind == "none":
            return {"kind": "none"}
        amounts = ("needed", "free", "most_on_one_device", "missing")
        return {
            "kind": found.kind, "slot": found.slot, "message": found.message,
            **{name: amount(found.slot, getattr(found, name)) for name in amounts},
        }  # fmt: skip

    def set_healthy(self, step):
        self.allocator.set_healthy(step["device"], step["healthy"])
        return {}

    def usage(self, step):
        return {
            "devices": [
                {
                    "slot": d.slot, "device": d.device, "capacity": amount(d.slot, d.capacity),
                    "used": amount(d.slot, d.used), "healthy": d.healthy,
                }
                for d in self.allocator.usage()
            ]
        }  # fmt: skip

    def restart(self, step):
        snapshot = self.allocator.snapshot()
        self.allocator = self.create()
        self.allocator.restore(snapshot)
        return {"live": len(self.allocator)}


class NamedOrder(Order):
    """The orders of the host's that vectors name."""

    def rank(self, task, submitted):
        if task.priority < 0:
            raise InvalidArgument("no task below 0")
        return -round(task.demand.cpu * 1000)


class FewestRunning(NamedOrder):
    def rank(self, task, submitted):
        return super().rank(task, submitted) and 0

    def share(self, tenant, usage, now):
        return usage.running


class Partitioning:
    def __init__(self, given):
        pass

    def do(self, step):
        if step["do"] == "models":
            profiles = partition_profiles().items()
            return {"models": [{"model": name, "profiles": found} for name, found in profiles]}
        # As it stands: what is wrong with a request is to be said by the library.
        return json.loads(bytes_of("mig_plan", json.dumps(step["request"])))


class Plans:
    RESOURCES = {"cpu": 0, "memory": 1, "devices": 2}

    def __init__(self, given):
        options = dict(given.get("options", {}))
        named = options.pop("host_order", None)
        if named:
            options["order"] = {"largest_first": NamedOrder, "fewest_running": FewestRunning}[named]()
        table = options.pop("enforcement", None)
        self.tells_enforcement = table is not None
        if table is not None:
            options["enforcement"] = Enforcement(
                **{name: dict(enumerate(of)) for name, of in table.items()}
            )
        self.scheduler = Scheduler(**options)
        self.nodes = {}
        for node in given["nodes"]:
            self.nodes[node["name"]] = self.scheduler.add_node(**node)
        self.tenants = {"": 0}
        for tenant in given.get("tenants", []):
            parent, _, name = tenant["path"].rpartition("/")
            self.tenants[tenant["path"]] = self.scheduler.add_tenant(
                name,
                parent=self.tenants[parent],
                guaranteed=self.amounts(tenant.get("guaranteed", {})),
                limit=self.amounts(tenant.get("limit", {})),
                max_running=tenant.get("max_running", 0),
                weight=tenant.get("weight", 1),
            )

    def amounts(self, given):
        return {self.RESOURCES[name]: value for name, value in given.items()}

    def do(self, step):
        return getattr(self, step["do"])(step)

    def arguments(self, step):
        task = dict(step["task"], tenant=self.tenants[step["task"].get("tenant", "")])
        return task.pop("id"), task

    def submit(self, step):
        number, task = self.arguments(step)
        self.scheduler.submit(number, now=step["now"], **task)
        return {}

    def finish(self, step):
        self.scheduler.finish(step["task"], now=step["now"])
        return {}

    def schedule(self, step):
        plan = self.scheduler.schedule(step["now"])
        return {"plan": self.items(plan), "next": plan.next_at}

    def items(self, plan):
        found = []
        for decision in plan:
            item = {"kind": decision.kind, "task": decision.task}
            if decision.kind == "eviction":
                item["other"] = decision.other
            if decision.kind in ("start", "repair"):
                for name in ("member", "members", "node", "devices"):
                    item[name] = getattr(decision, name)
            if decision.kind == "start" and self.tells_enforcement:
                item["enforcement"] = decision.enforcement
            found.append(item)
        return found

    def reason(self, reason, predicted=False):
        found = dict(reason._asdict())
        if not (predicted and self.tells_enforcement):
            del found["enforcement"]
        return found

    def explain(self, step):
        return self.reason(self.scheduler.explain(step["task"], step["now"]))

    def predict(self, step):
        number, task = self.arguments(step)
        made = _task(number, **task)
        start, reason, sentence = ctypes.c_int64(), ReasonStruct(), Bytes()
        library().call(
            "scheduler_predict", self.scheduler._handle, ctypes.byref(made), ns(step["now"]),
            ctypes.byref(start), ctypes.byref(reason), ctypes.byref(sentence),
        )  # fmt: skip
        found = self.reason(_reason(reason, sentence.take()), predicted=True)
        return {"start": seconds(start.value), "reason": found}

    def drain_node(self, step):
        self.scheduler.drain_node(self.nodes[step["node"]])
        return {}

    def open_node(self, step):
        self.scheduler.open_node(self.nodes[step["node"]])
        return {}

    def lose_node(self, step):
        return {"plan": self.items(self.scheduler.lose_node(self.nodes[step["node"]], step["now"]))}

    def recount(self, step):
        self.scheduler.recount()
        return {}


class Refused(TrackbedError):
    code = "internal"


class ScriptedExecutor(Executor):
    """Runs nothing: attempts end as the step says, and tell so when they are settled."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock
        self.begin({})
        self.live = {}  # key -> [end, outcome, the signal that stopped it]

    def begin(self, outcomes):
        self.outcomes = outcomes
        self.started = {}

    def start(self, attempt):
        told = self.outcomes.get(attempt.task, [])
        number = self.started.get(attempt.task, 0)
        self.started[attempt.task] = number + 1
        outcome = told[min(number, len(told) - 1)] if told else {}
        if "refused" in outcome:
            raise Refused(outcome["refused"])
        self.live[attempt.key] = [self.clock.now_ns() + ns(outcome.get("seconds", 0)), outcome, 0]

    def stop(self, key, mode):
        live = self.live.get(key)
        if live and (mode == "kill" or not live[1].get("ignores_terminate")):
            live[0], live[2] = self.clock.now_ns(), 9 if mode == "kill" else 15

    def settle(self):
        now = self.clock.now_ns()
        for key in [key for key, live in self.live.items() if live[0] <= now]:
            _, outcome, stopped = self.live.pop(key)
            if stopped:
                self.report(key, signal=stopped)
                continue
            self.report(
                key, "lost" if outcome.get("lost") else "exited",
                exit_code=outcome.get("exit_code", 0), signal=outcome.get("signal", 0),
                message=outcome.get("message", ""), outputs=outcome.get("outputs"),
                output_digest=outcome.get("output_digest", ""),
                out_of_memory=outcome.get("out_of_memory", False),
            )  # fmt: skip


class Events:
    def __init__(self, given, folder):
        self.file = folder / "pipeline.yaml"
        self.file.write_text(text_of(given["pipeline"]))
        self.clock = VirtualClock(START_NS)
        self.executor = ScriptedExecutor(self.clock)
        self.engine = Engine(
            in_memory=True, executor=self.executor, clock=self.clock, background=False,
            node=text_of(given["node"]),
        )  # fmt: skip

    def close(self):
        self.engine.close()

    def do(self, step):
        self.executor.begin(step.get("outcomes", {}))
        if step["do"] == "run":
            parameters = step.get("parameters", {})
            self.run = self.engine.submit(self.file, parameters, cache=step.get("cache", True))
            self.told = 0
        else:
            self.run.retry(*step.get("tasks", []))
        after = step.get("cancel_after")
        self.drive(NEVER if after is None else self.clock.now_ns() + ns(after))
        return self.tell()

    def drive(self, cancel):
        for _ in range(100_000):
            self.engine.step()
            with self.engine._use() as handle:
                name = self.run.id.encode()
                if not library().raw("engine_is_active")(handle, name, len(name)):
                    return
                deadline = library().raw("engine_next_deadline")(handle)
            ends = [live[0] for live in self.executor.live.values()]
            self.clock._now = max(self.clock.now_ns(), min([deadline, cancel, *ends]))
            self.executor.settle()
            if self.clock.now_ns() >= cancel:
                cancel = NEVER
                self.run.cancel()
        raise AssertionError("the run does not end")

    def tell(self):
        with self.engine._use() as handle:
            from trackbed._native import text

            keep, stream = [], ctypes.c_void_p()
            options = EventsOptions(run=text(self.run.id, keep), from_=self.told + 1)
            library().call("events_open", handle, ctypes.byref(options), ctypes.byref(stream))
            found = []
            while True:
                out, count = Bytes(), ctypes.c_size_t()
                library().call("events_next_json", stream, 0, ctypes.byref(out), ctypes.byref(count))
                found += [json.loads(line) for line in out.take().splitlines()]
                if not count.value:
                    break
            library().raw("events_close")(stream)
            shown = json.loads(bytes_of("engine_show", handle, self.run.id))
        self.told += len(found)
        for event in found:
            event.pop("run")
            event.pop("from_run", None)
            event.pop("map_run", None)
        return {"status": shown["status"], "events": found}


RUNNERS = {
    "pipelines": Pipelines, "allocations": Allocations, "plans": Plans, "partitions": Partitioning
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.json")), ids=lambda path: path.stem)
def test_vector(path, tmp_path):
    vector = json.loads(path.read_text())
    kind, given = vector["kind"], vector["given"]
    runner = Events(given, tmp_path) if kind == "events" else RUNNERS[kind](given)
    for number, step in enumerate(vector["steps"], 1):
        try:
            found = runner.do(step)
        except TrackbedError as error:
            found = {"error": error.code.upper(), "message": str(error)}
        assert found == step["expect"], f"step {number}: {step['do']}"
    if kind == "events":
        runner.close()


def test_there_are_vectors():
    kinds = {json.loads(path.read_text())["kind"] for path in VECTORS.glob("*.json")}
    assert kinds == {"pipelines", "allocations", "plans", "partitions", "events"}
