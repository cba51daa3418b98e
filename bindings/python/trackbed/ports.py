"""Ports that a program in Python can put something of its own behind.

What a method raises is contained: it is handed to the library as the failure of that call, and
stays in `failures` of the port.
"""

from __future__ import annotations

import ctypes

from ctypes import (
    CFUNCTYPE,
    POINTER,
    byref,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Union

from ._native import CODES, Struct, Text, library, text
from .errors import FailedPrecondition, NotFound

if TYPE_CHECKING:
    from .cluster import Demand, NodeView, Placement, TenantUsage, WaitingTask
    from .engine import Engine

_KINDS = {"started": 1, "exited": 2, "failed_to_start": 3, "lost": 4}
_STOP = {1: "terminate", 2: "kill"}


class Attempt(NamedTuple):
    """One attempt at a task, as an executor is asked to run it."""

    key: str  # "RUN/TASK/ATTEMPT": runs at most once, for ever
    folder: str  # its own, absolute; not made yet
    command: List[str]  # one script when `shell`
    shell: bool
    environment: Dict[str, str]

    @property
    def task(self) -> str:
        return self.key.split("/")[1]

    @property
    def number(self) -> int:
        """From 1."""
        return int(self.key.rsplit("/", 1)[1])


class Executor:
    """Runs attempts. Subclass it, give it to `Engine(executor=…)`, and `report` what happens.

    Its methods are called on the thread that takes the runs on and return at once.
    """

    def __init__(self) -> None:
        self.failures: List[BaseException] = []
        self._engine: "Optional[Engine]" = None

    def start(self, attempt: Attempt) -> None:
        """Begins an attempt. What it raises means that nothing runs and nothing will."""
        raise NotImplementedError

    def stop(self, key: str, mode: str) -> None:
        """Ends an attempt: "terminate" asks, "kill" forces. It still ends with a report."""
        raise NotFound(f"attempt {key} cannot be stopped")

    def adopt(self, key: str, folder: str) -> None:
        """Takes up an attempt that was started earlier; NotFound when it never was."""
        raise NotFound(f"attempt {key} is not known")

    def report(
        self,
        key: str,
        kind: str = "exited",
        *,
        exit_code: int = 0,
        signal: int = 0,
        message: str = "",
        outputs: Optional[Mapping[str, Any]] = None,
        output_digest: str = "",
        out_of_memory: bool = False,
        seconds: float = 0.0,
    ) -> None:
        """Tells the engine what became of an attempt: "started", "exited", "failed_to_start" or
        "lost". From any thread."""
        if self._engine is None:
            raise FailedPrecondition("the executor is in no engine yet")
        import json

        keep: List[Any] = []
        report = AttemptReport(
            kind=_KINDS[kind], key=text(key, keep), exit_code=exit_code, signal=signal,
            out_of_memory=int(out_of_memory), message=text(message, keep),
            output_text=text(json.dumps(dict(outputs)) + "\n" if outputs else "", keep),
            output_digest=text(output_digest, keep), wall_time_ns=round(seconds * 1e9),
        )  # fmt: skip
        # The engine is open: it called this executor. It may be within that call now.
        library().call("engine_report", self._engine._handle, byref(report))


class Placer:
    """Chooses the node of a task. Subclass it and give it to `Scheduler(placer=…)`."""

    def __init__(self) -> None:
        self.failures: List[BaseException] = []

    def choose(self, nodes: "List[NodeView]", demand: "Demand") -> "Optional[Placement]":
        """Where the demand is met: the `placement` of one of these nodes, all of which have room;
        None for nowhere. The same story must give the same choices."""
        raise NotImplementedError


class Order:
    """Decides who of those that wait goes first, in place of priority and of ageing. Subclass it
    and give it to `Scheduler(order=…)`, or to an engine by `Policy(order=…)`. The same story must
    give the same answers.

    An engine asks about the first of tasks that are alike in tenant, priority (of run and task
    together), resources and expected run time, which go first come first served, and only where
    there is something to decide. Its tenants are numbered as in its list, from 1; ids mean nothing.
    What `rank` raises refuses a submission; what either raises later counts as 0.

    >>> from trackbed import Order, Scheduler
    >>> class Largest(Order):
    ...     def rank(self, task, submitted):
    ...         return -round(task.demand.cpu * 1000)
    >>> scheduler = Scheduler(order=Largest())
    >>> _ = scheduler.add_node("n1", cpu=4)
    >>> scheduler.submit(1, cpu=1, now=0)
    >>> scheduler.submit(2, cpu=4, now=0)
    >>> scheduler.schedule()
    start task 2 on n1
    """

    def __init__(self) -> None:
        self.failures: List[BaseException] = []

    def rank(self, task: "WaitingTask", submitted: float) -> int:
        """Where the task stands: the smaller goes first, then who was submitted first. A scheduler
        asks once for each task; what it raises refuses the task."""
        raise NotImplementedError

    def share(self, tenant: int, usage: "TenantUsage", now: float) -> float:
        """What the tenant has had: of two siblings, at each level of the tree, the one with the
        smaller share goes first. Unless it is overridden, ranks alone decide."""
        raise NotImplementedError


class ArtifactStore:
    """Keeps the files that outlive their attempt and this machine: outputs of tasks and copies of
    code, each a folder addressed by the digest of its content. Subclass it and give it to
    `Engine(artifacts=…)`. Its methods may take as long as copying takes; the engine waits.
    """

    def __init__(self) -> None:
        self.failures: List[BaseException] = []

    def has(self, digest: str) -> bool:
        """Whether it has been put."""
        raise NotImplementedError

    def put(self, digest: str, folder: str) -> None:
        """Keeps what is in the folder, durably, before it returns. What it raises loses the
        attempt, or refuses the submission."""
        raise NotImplementedError

    def get(self, digest: str, folder: str) -> None:
        """Makes the folder, which does not exist or is empty, and all that was put in it."""
        raise NotImplementedError


class SecretSource:
    """Where the values behind "secret://SOURCE/NAME" come from. Subclass it and give it to
    `Engine(secrets=…)`; without, "secret://env/NAME" is a variable of this process and
    "secret://file/NAME" a file in `secrets` below the engine's home.

    >>> from trackbed import Engine, SecretSource, pipeline, shell
    >>> class Vault(SecretSource):
    ...     def resolve(self, source, name):
    ...         return {"db": "hunter2"}[name]
    >>> @pipeline
    ... def login():
    ...     shell('test "$PASSWORD" = hunter2', name="check", env={"PASSWORD": "secret://vault/db"})
    >>> with Engine(secrets=Vault()) as engine:
    ...     print(engine.submit(login).wait().state)
    succeeded
    """

    def __init__(self) -> None:
        self.failures: List[BaseException] = []

    def resolve(self, source: str, name: str) -> str:
        """The value. Asked whenever an attempt starts; what it raises fails the attempt."""
        raise NotImplementedError


class DeviceProbe:
    """Says what an engine may hand out. Subclass it and give it to `Engine(device_probe=…)`.

    >>> from trackbed import DeviceProbe, Engine
    >>> class Rack(DeviceProbe):
    ...     def probe(self):
    ...         return {"name": "rack7", "cpu": 8, "mem": "32g"}
    >>> engine = Engine(in_memory=True, device_probe=Rack())
    """

    def __init__(self) -> None:
        self.failures: List[BaseException] = []

    def probe(self) -> Union[str, Mapping[str, Any], List[Mapping[str, Any]]]:
        """A node description, in YAML or JSON or as a dict; or a list of those of several nodes.
        Asked whenever the engine opens its store; what it raises keeps it from that."""
        raise NotImplementedError


class Clock:
    """Where an engine reads the time. Subclass it and give it to `Engine(clock=…)`; by several
    threads at once, if several use the engine. While it raises, time stands still."""

    def __init__(self) -> None:
        self.failures: List[BaseException] = []

    def now_ns(self) -> int:
        """Nanoseconds since 1970; never goes back."""
        raise NotImplementedError


class Random:
    """Where an engine gets random numbers, for names of runs and the jitter of retries. Subclass
    it and give it to `Engine(random=…)`. What it raises counts as 0."""

    def __init__(self) -> None:
        self.failures: List[BaseException] = []

    def next(self) -> int:
        """64 bits."""
        raise NotImplementedError


class AttemptView(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("shell", c_int32), ("key", Text), ("folder", Text),
        ("command", POINTER(Text)), ("command_count", c_size_t), ("environment", POINTER(Text)),
        ("environment_count", c_size_t), ("json", Text), ("resources", c_void_p),
        ("resource_count", c_size_t), ("devices", c_void_p), ("device_count", c_size_t),
        ("device_size", c_size_t),
    ]  # fmt: skip


class AttemptReport(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("kind", c_int32), ("key", Text), ("exit_code", c_int32),
        ("signal", c_int32), ("out_of_memory", c_int32), ("reserved", c_int32), ("message", Text),
        ("output_text", Text), ("output_digest", Text), ("wall_time_ns", c_int64),
        ("cpu_time_ns", c_int64), ("max_rss_bytes", c_int64),
    ]  # fmt: skip


_Errors = POINTER(c_void_p)
_Drop = CFUNCTYPE(None, c_void_p)
_Start = CFUNCTYPE(c_int32, c_void_p, POINTER(AttemptView), _Errors)
_Adopt = CFUNCTYPE(c_int32, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, _Errors)
_Stop = CFUNCTYPE(c_int32, c_void_p, c_void_p, c_size_t, c_int32, _Errors)
_Has = CFUNCTYPE(c_int32, c_void_p, c_void_p, c_size_t, POINTER(c_int32), _Errors)
_Put = CFUNCTYPE(c_int32, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, _Errors)
_Resolve = CFUNCTYPE(
    c_int32, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p, _Errors
)
_Probe = CFUNCTYPE(c_int32, c_void_p, c_void_p, _Errors)
_Now = CFUNCTYPE(c_int64, c_void_p)
_Next = CFUNCTYPE(c_uint64, c_void_p)


class ExecutorTable(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("max_cluster_size", c_int32), ("user_data", c_void_p),
        ("drop", _Drop), ("start", _Start), ("adopt", _Adopt), ("stop", _Stop),
        ("without_json", c_int32), ("reserved", c_int32),
    ]  # fmt: skip


class ArtifactStoreTable(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("reserved", c_uint32), ("user_data", c_void_p),
        ("drop", _Drop), ("has", _Has), ("put", _Put), ("get", _Put),
    ]  # fmt: skip


class SecretSourceTable(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("reserved", c_uint32), ("user_data", c_void_p),
        ("drop", _Drop), ("resolve", _Resolve),
    ]  # fmt: skip


class DeviceProbeTable(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("reserved", c_uint32), ("user_data", c_void_p),
        ("drop", _Drop), ("probe", _Probe),
    ]  # fmt: skip


class ClockTable(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("reserved", c_uint32), ("user_data", c_void_p),
        ("drop", _Drop), ("now", _Now),
    ]  # fmt: skip


class RandomTable(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("reserved", c_uint32), ("user_data", c_void_p),
        ("drop", _Drop), ("next", _Next),
    ]  # fmt: skip


def contained(port: Any, errors: Any, call: Callable[[], None]) -> int:
    """Calls a method of a port; what it raises becomes a status and an error of the library."""
    try:
        call()
        return 0
    except BaseException as error:  # nothing may pass through the library
        port.failures.append(error)
        if errors:
            errors[0] = library().error_of(error)
        return CODES.get(getattr(error, "code", ""), CODES["internal"])


def table_of(kind: str, port: Any) -> Struct:
    """The table of functions for a port."""
    return _TABLES[kind](port)


def _executor_table(port: Executor) -> ExecutorTable:
    def start(_: Any, view: Any, errors: Any) -> int:
        return contained(port, errors, lambda: port.start(_attempt(view[0])))

    def adopt(_: Any, key: int, size: int, folder: int, folder_size: int, errors: Any) -> int:
        names = _string(key, size), _string(folder, folder_size)
        return contained(port, errors, lambda: port.adopt(*names))

    def stop(_: Any, key: int, size: int, mode: int, errors: Any) -> int:
        return contained(port, errors, lambda: port.stop(_string(key, size), _STOP[mode]))

    return ExecutorTable(
        start=_Start(start), adopt=_Adopt(adopt), stop=_Stop(stop), without_json=1
    )


def _artifact_store_table(port: ArtifactStore) -> ArtifactStoreTable:
    def has(_: Any, digest: int, size: int, present: Any, errors: Any) -> int:
        def call() -> None:
            present[0] = int(port.has(_string(digest, size)))

        return contained(port, errors, call)

    def put(_: Any, digest: int, size: int, folder: int, folder_size: int, errors: Any) -> int:
        names = _string(digest, size), _string(folder, folder_size)
        return contained(port, errors, lambda: port.put(*names))

    def get(_: Any, digest: int, size: int, folder: int, folder_size: int, errors: Any) -> int:
        names = _string(digest, size), _string(folder, folder_size)
        return contained(port, errors, lambda: port.get(*names))

    return ArtifactStoreTable(has=_Has(has), put=_Put(put), get=_Put(get))


def _secrets_table(port: SecretSource) -> SecretSourceTable:
    def resolve(
        _: Any, source: int, size: int, name: int, name_size: int, answer: int, errors: Any
    ) -> int:
        def call() -> None:
            found = port.resolve(_string(source, size), _string(name, name_size))
            library().call("answer_set", answer, found)

        return contained(port, errors, call)

    return SecretSourceTable(resolve=_Resolve(resolve))


def _probe_table(port: DeviceProbe) -> DeviceProbeTable:
    def probe(_: Any, answer: int, errors: Any) -> int:
        def call() -> None:
            found = port.probe()
            if not isinstance(found, str):
                import json

                found = json.dumps(found)
            library().call("answer_set", answer, found)

        return contained(port, errors, call)

    return DeviceProbeTable(probe=_Probe(probe))


def _clock_table(port: Clock) -> ClockTable:
    def now(_: Any) -> int:
        found = [0]  # long ago: the library lets no time go back

        def call() -> None:
            found[0] = int(port.now_ns())

        contained(port, None, call)
        return found[0]

    return ClockTable(now=_Now(now))


def _random_table(port: Random) -> RandomTable:
    def following(_: Any) -> int:
        found = [0]

        def call() -> None:
            found[0] = int(port.next()) & 0xFFFF_FFFF_FFFF_FFFF

        contained(port, None, call)
        return found[0]

    return RandomTable(next=_Next(following))


_TABLES: Dict[str, Callable[[Any], Struct]] = {
    "executor": _executor_table,
    "artifact_store": _artifact_store_table,
    "secrets": _secrets_table,
    "device_probe": _probe_table,
    "clock": _clock_table,
    "random": _random_table,
}


def _string(data: int, size: int) -> str:
    return ctypes.string_at(data, size).decode()


def _attempt(view: Any) -> Attempt:
    words = [str(view.environment[i]) for i in range(view.environment_count)]
    return Attempt(
        str(view.key),
        str(view.folder),
        [str(view.command[i]) for i in range(view.command_count)],
        bool(view.shell),
        dict(zip(words[::2], words[1::2])),
    )
