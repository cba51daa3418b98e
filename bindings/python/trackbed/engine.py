"""The engine in this process: it takes runs to their end and keeps everything in a home folder."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import pathlib
import select
import struct
import tempfile
import threading
import time
import weakref
from ctypes import byref, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Set,
    Union,
)

from ._native import Bytes, NativePipeline, Slot, Struct, Text, bytes_of, library, slot_array, text
from .errors import DataLoss, FailedPrecondition, ForkError, NotFound, TrackbedError
from .run import Run, View

if TYPE_CHECKING:
    from ._document import Document
    from ._executors import Containers, Slurm
    from ._policy import Policy, Tenant
    from ._runnable import Runnable
    from .ports import ArtifactStore, Clock, DeviceProbe, Executor, Random, SecretSource

_LINGER_SECONDS = 1.0  # how long an idle engine of a home folder keeps its store
_STOP_SECONDS = 30.0
_EVENTS_AT_ONCE = 4096
_EVENT_NUMBERS = struct.Struct("=4xiQqII48x")  # of EventStruct, without its texts


class EngineOptions(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("in_memory", c_int32), ("home", Text), ("store", Text),
        ("durability", c_int32), ("sandbox", c_int32), ("node", Text), ("device_probe", c_void_p),
        ("slots", ctypes.POINTER(Slot)), ("slot_count", c_size_t), ("description", Text),
        ("lease_time_ns", c_int64), ("supervisor", Text), ("inherit", c_void_p),
        ("inherit_count", c_size_t), ("executor", c_void_p), ("clock", c_void_p),
        ("random", c_void_p), ("secrets", c_void_p), ("sink", c_void_p), ("tenants", c_void_p),
        ("tenant_count", c_size_t), ("tenant_size", c_size_t), ("policy", c_void_p),
        ("run_on", c_void_p), ("artifacts", Text), ("artifact_store", c_void_p),
    ]  # fmt: skip


class SubmitOptions(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("no_cache", c_int32), ("parameters", Text), ("base", Text),
        ("tenant", Text), ("has_priority", c_int32), ("priority", c_int32),
    ]  # fmt: skip


class EventStruct(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("type", c_int32), ("sequence", c_uint64), ("time_ns", c_int64),
        ("task", c_uint32), ("attempt", c_uint32), ("run", Text), ("task_name", Text),
        ("detail", Text),
    ]  # fmt: skip


class EventsOptions(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("reserved", c_uint32), ("run", Text), ("from_", c_uint64),
        ("capacity", c_uint64),
    ]  # fmt: skip


class Engine:
    """Runs pipelines. Most programs need none of their own: pipelines use that of the home folder.

    home        where everything is kept: $TRACKBED_HOME or `.trackbed` unless given
    in_memory   keep no store: its runs are gone when it is closed
    slots       what may be used at once, where not what the machine has: {"cpu": 8}
    node        the machine, as a node description in YAML
    device_probe  who says what the machine is, in place of `node` (`trackbed.DeviceProbe`)
    executor    who runs attempts, where not processes of this machine (`trackbed.Executor`)
    background  a thread takes the runs on; without, `step` or waiting for a run does
    tenants     for whom runs are submitted, and what each may use (`trackbed.Tenant`); those above
                before those below
    policy      which waiting task goes first (`trackbed.Policy`)
    durability  "power": what is noted survives a power cut; "process": the death of the process
    run_on      where tasks run: "process", `Containers` or `Slurm`; those of earlier runs are
                followed wherever they run
    artifacts   a folder, or an `ArtifactStore`, that keeps outputs and code beside `home`, and from
                which comes back what is gone there
    secrets     where the values behind "secret://…" come from (`trackbed.SecretSource`)
    clock, random  where time and random numbers come from (`trackbed.Clock`, `trackbed.Random`)

    Several threads may use one engine. After a fork only the parent may.
    """

    def __init__(
        self,
        home: Union[str, pathlib.Path, None] = None,
        *,
        in_memory: bool = False,
        slots: Optional[Mapping[str, Union[int, float, str]]] = None,
        node: str = "",
        executor: "Optional[Executor]" = None,
        clock: "Optional[Clock]" = None,
        random: "Optional[Random]" = None,
        background: bool = True,
        durability: str = "power",
        inherit: "tuple[str, ...]" = (),
        tenants: "Sequence[Tenant]" = (),
        policy: "Optional[Policy]" = None,
        run_on: "Union[str, Containers, Slurm]" = "process",
        artifacts: "Union[str, pathlib.Path, ArtifactStore, None]" = None,
        secrets: "Optional[SecretSource]" = None,
        device_probe: "Optional[DeviceProbe]" = None,
    ) -> None:
        # An executor of the host's in memory leaves no files, but the code of pipelines lies somewhere.
        self._scratch: Optional[tempfile.TemporaryDirectory[str]] = None
        if in_memory and executor is not None and home is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="trackbed-")
            home = self._scratch.name
        self.home = _home(home)
        self._in_memory = in_memory
        self._slots = dict(slots or {})
        self._node = node
        self._executor = executor
        self._clock = clock
        self._random = random
        self.background = background
        self._durability = {"process": 1, "power": 2}[durability]
        self._inherit = inherit
        self._tenants = tuple(tenants)
        self._policy = policy
        self._run_on = run_on
        self._artifacts = artifacts
        self._secrets = secrets
        self._device_probe = device_probe
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self.changed = threading.Condition(self._lock)
        self._handle: Optional[c_void_p] = None
        self._events = c_void_p()
        self._keep: List[Any] = []
        self._thread: Optional[threading.Thread] = None
        self._stop = False
        self._pins = 0
        self._last_use = 0.0
        self._lingers = False  # closes itself when nothing goes on
        self._closed = False
        self._broken: Optional[TrackbedError] = None
        self._views: Dict[str, View] = {}
        self._notes: Dict[str, str] = {}  # by version of the pipeline; in memory only
        self._listeners: List[Callable[[Dict[str, Any]], None]] = []
        self.failures: List[Exception] = []  # of listeners
        self.runs = Runs(self)
        _engines.add(self)

    @classmethod
    def default(cls, home: Union[str, pathlib.Path, None] = None) -> "Engine":
        """The engine of a home folder. It holds its store only while something goes on."""
        path = _home(home)
        with _defaults_lock:
            engine = _defaults.get((os.getpid(), path))
            if engine is None or engine._closed:
                engine = _defaults[os.getpid(), path] = cls(path)
                engine._lingers = True
            return engine

    def __repr__(self) -> str:
        return f"<engine {'in memory' if self._in_memory else self.home}>"

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- Opening and closing ---

    @contextlib.contextmanager
    def _use(self) -> Iterator[c_void_p]:
        """The handle, which stays open in the block."""
        if os.getpid() != self._pid:
            raise ForkError(
                "an engine cannot be used in a forked process: open one there, or start processes "
                "by multiprocessing's \"spawn\" or \"forkserver\""
            )
        with self._lock:
            if self._closed:
                raise FailedPrecondition("the engine is closed")
            if self._handle is None:
                self._open()
            self._pins += 1
            handle = self._handle
        assert handle is not None
        try:
            yield handle
        finally:
            with self._lock:
                self._pins -= 1
                self._last_use = time.monotonic()

    def _open(self) -> None:
        if not self._in_memory and self.home in _open_at_fork:
            # SQLite takes the locks of the other process for its own.
            raise ForkError(
                f"the store in {self.home} was open in the process that this one was forked from, "
                "and cannot be used here: start processes by multiprocessing's \"spawn\" or "
                "\"forkserver\", or fork before the first run"
            )
        keep: List[Any] = []
        self._keep = keep
        options = EngineOptions(
            in_memory=int(self._in_memory), durability=self._durability,
            description=text(f"Python, {' '.join(_program())}", keep),
        )  # fmt: skip
        options.home = text(self.home, keep)
        if self._node:
            options.node = text(self._node, keep)
        if self._slots:
            options.slots = slot_array(self._slots, keep)
            options.slot_count = len(self._slots)
        if self._inherit:
            names = (Text * len(self._inherit))(*[text(name, keep) for name in self._inherit])
            keep.append(names)
            options.inherit = ctypes.cast(names, c_void_p)
            options.inherit_count = len(self._inherit)
        if self._tenants:
            from ._policy import tenant_array

            array = tenant_array(self._tenants, keep)
            options.tenants = ctypes.addressof(array)
            options.tenant_count = len(self._tenants)
            options.tenant_size = ctypes.sizeof(array._type_)
        if self._policy is not None:
            from ._policy import policy_struct

            options.policy = ctypes.addressof(policy_struct(self._policy, keep))
        if self._run_on != "process":
            from ._executors import choice_struct

            options.run_on = ctypes.addressof(choice_struct(self._run_on, keep))
        artifact_store = self._artifacts
        if isinstance(artifact_store, (str, pathlib.Path)):
            options.artifacts = text(os.path.abspath(artifact_store), keep)
            artifact_store = None
        for name, port in (
            ("executor", self._executor), ("clock", self._clock), ("random", self._random),
            ("artifact_store", artifact_store), ("secrets", self._secrets),
            ("device_probe", self._device_probe),
        ):  # fmt: skip
            if port is not None:
                from .ports import table_of

                table = table_of(name, port)
                keep.append(table)
                setattr(options, name, ctypes.addressof(table))
        handle = c_void_p()
        library().call("engine_open", byref(options), byref(handle))
        try:
            library().call("events_open", handle, byref(EventsOptions()), byref(self._events))
        except TrackbedError:
            library().raw("engine_close")(handle)
            raise
        self._handle = handle
        self._last_use = time.monotonic()
        if self._executor is not None:
            self._executor._engine = self
        if self.background:
            self._stop = False
            self._thread = threading.Thread(target=self._drive, name="trackbed", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stops and gives the store back. Attempts under way go on; `Run.resume` takes them up."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._closed = True
        self._shut()
        if self._scratch is not None:
            self._scratch.cleanup()

    def _shut(self) -> None:
        with self._lock:
            thread, self._stop = self._thread, True
            self.changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_STOP_SECONDS)
            if thread.is_alive():  # held up by a port in Python: it must not find the engine gone
                return
        with self._lock:
            handle, self._handle = self._handle, None
            self._thread = None
            if handle is not None:
                library().raw("events_close")(self._events)
                library().raw("engine_close")(handle)
                self._events = c_void_p()

    # --- Taking runs on ---

    def step(self, timeout: float = 0.0) -> None:
        """Does what can be done now, for engines without `background`; then waits for more to do,
        for at most `timeout` seconds."""
        with self._use() as handle:
            self._advance(handle)
            if timeout > 0:
                self._sleep(handle, timeout)

    def _advance(self, handle: c_void_p) -> None:
        library().call("engine_step", handle)
        while self._take_events():
            pass

    def _sleep(self, handle: c_void_p, timeout: float) -> None:
        milliseconds: int = library().raw("engine_poll_timeout")(handle)
        if milliseconds >= 0 and self._clock is None:
            timeout = min(timeout, milliseconds / 1000)
        poll = select.poll()
        poll.register(library().raw("engine_wake_descriptor")(handle), select.POLLIN)
        poll.poll(timeout * 1000)

    def _drive(self) -> None:
        """The thread: steps until it is stopped, or nothing goes on any more."""
        handle = self._handle
        assert handle is not None
        try:
            while not self._stop:
                self._advance(handle)
                active = bool(library().raw("engine_is_active")(handle, None, 0))
                with self._lock:
                    idle = time.monotonic() - self._last_use
                    if self._lingers and not active and not self._pins and idle > _LINGER_SECONDS:
                        self._shut()
                        return
                self._sleep(handle, 0.2)
        except TrackbedError as error:
            with self._lock:
                self._broken = error
                self.changed.notify_all()

    def _take_events(self) -> int:
        out, count = Bytes(), c_size_t()
        try:
            library().call("events_next_json", self._events, _EVENTS_AT_ONCE, byref(out), byref(count))
        except DataLoss:  # more than could be kept: look at the runs anew
            with self._lock:
                for view in self._views.values():
                    view.load(json.loads(bytes_of("engine_show", self._handle, view.run)))
                self.changed.notify_all()
            return 1
        if not count.value:
            return 0
        events = [json.loads(line) for line in out.take().splitlines()]
        with self._lock:
            for event in events:
                known = self._views.get(event["run"])
                if known is not None:
                    known.apply(event)
                run, slash, attempt = event["run"].partition("/")
                if slash and run in self._views:  # a batch of one of its tasks
                    self._views[run].apply_batch(attempt.partition("/")[0], event)
            self.changed.notify_all()
        for listener in list(self._listeners):
            try:
                for event in events:
                    listener(event)
            except Exception as error:  # of the listener's own; the runs go on
                self.failures.append(error)
        return count.value

    def listen(self, listener: Callable[[Dict[str, Any]], None]) -> Callable[[], None]:
        """Calls it with each event of every run, on the thread that takes the runs on. What it
        raises is kept in `failures`. Call what is returned to end it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def wait_for(self, done: Callable[[], bool], timeout: Optional[float]) -> bool:
        """Waits until something is so, taking the runs on where no thread does."""
        until = None if timeout is None else time.monotonic() + timeout
        while not done():
            left = 0.2 if until is None else min(0.2, until - time.monotonic())
            if left < 0:
                return False
            if not self.background:
                self.step(left)
                continue
            with self.changed:
                if self._broken is not None:
                    raise self._broken
                if not done():
                    self.changed.wait(left)
        return True

    # --- Runs ---

    def submit(
        self,
        pipeline: "Union[str, pathlib.Path, Runnable]",
        parameters: Optional[Mapping[str, Any]] = None,
        *,
        cache: Optional[bool] = None,
        priority: Optional[int] = None,
        tenant: Optional[str] = None,
    ) -> Run:
        """Starts a run of a pipeline, or of a pipeline's file, and returns at once.

        cache       whether earlier results may stand for tasks
        priority    of all its tasks, beside their own, instead of the pipeline's; higher goes first
        tenant      for whom it is: the path of one of the engine's `tenants`; nobody unless given
        """
        if isinstance(pipeline, (str, pathlib.Path)):
            from ._file import load

            pipeline = load(pipeline)
        own_cache, own_priority, own_tenant = pipeline._chosen()
        return pipeline.using(
            self,
            cache=own_cache if cache is None else cache,
            priority=own_priority if priority is None else priority,
            tenant=own_tenant if tenant is None else tenant,
        ).submit(**dict(parameters or {}))

    def _submit_document(
        self, document: "Document", parameters: str, base: str, cache: bool,
        priority: Optional[int], tenant: str,
    ) -> Run:  # fmt: skip
        with NativePipeline.of_document(document) as native:
            self._note(native.version, document.notes())
            return self._submit_native(native, parameters, base, cache, priority, tenant)

    def _submit_native(
        self, native: NativePipeline, parameters: str, base: str, cache: bool,
        priority: Optional[int], tenant: str,
    ) -> Run:  # fmt: skip
        keep: List[Any] = []
        options = SubmitOptions(
            no_cache=int(not cache), parameters=text(parameters, keep), base=text(base, keep),
            tenant=text(tenant, keep), has_priority=int(priority is not None),
            priority=max(-(1 << 31), min(priority or 0, (1 << 31) - 1)),  # beyond that it is refused
        )  # fmt: skip
        with self._use() as handle, self._lock:  # its events wait for the view
            out = Bytes()
            library().call("engine_submit", handle, native.handle, byref(options), byref(out))
            run = out.take()
            self._views[run] = View(run, json.loads(bytes_of("engine_show", handle, run)))
        return Run(self, run)

    def _note(self, version: str, notes: str) -> None:
        self._notes[version] = notes
        if self._in_memory:
            return
        folder = pathlib.Path(self.home) / "python"
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / (version.partition(":")[2] + ".json")
        if not target.exists():
            with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
                file.write(notes)
            os.replace(file.name, target)

    def _notes_of(self, version: str) -> Dict[str, Any]:
        """What `Document.notes` said of this pipeline; empty when it was not made in Python."""
        notes = self._notes.get(version)
        if notes is None:
            path = pathlib.Path(self.home) / "python" / (version.partition(":")[2] + ".json")
            if not path.exists():
                return {}
            notes = self._notes[version] = path.read_text(encoding="utf-8")
        found: Dict[str, Any] = json.loads(notes)
        return found

    def view(self, run: str) -> View:
        """The state of a run: as its events tell it, or from the store."""
        with self._lock:
            view = self._views.get(run)
        if view is not None and not view.finished and self._broken is not None:
            raise self._broken
        if view is None or (self._handle is None and not view.finished):
            view = View(run, self._ask("engine_show", run))
        return view

    def times(self, run: str) -> "List[tuple[int, int, int, int, int]]":
        """The events of a run as numbers: type, sequence, time in nanoseconds, task, attempt. What
        events say besides is in `Run.events`, which takes longer."""
        keep: List[Any] = []
        options = EventsOptions(run=text(run, keep), from_=1)
        array = (EventStruct * _EVENTS_AT_ONCE)()
        size, count, stream = ctypes.sizeof(EventStruct), c_size_t(), c_void_p()
        found: "List[tuple[int, int, int, int, int]]" = []
        with self._use() as handle:
            library().call("events_open", handle, byref(options), byref(stream))
            try:
                while True:
                    library().call(
                        "events_next", stream, array, size, _EVENTS_AT_ONCE, byref(count)
                    )
                    if not count.value:
                        return found
                    filled = memoryview(array).cast("B")[: count.value * size]
                    found += _EVENT_NUMBERS.iter_unpack(filled)  # type: ignore[arg-type]
            finally:
                library().raw("events_close")(stream)

    def _ask(self, function: str, *arguments: Any) -> Any:
        with self._use() as handle:
            return json.loads(bytes_of(function, handle, *arguments))

    def _act(self, function: str, run: str, *arguments: Any) -> None:
        with self._use() as handle, self._lock:
            library().call(function, handle, run, *arguments)
            self._views[run] = View(run, json.loads(bytes_of("engine_show", handle, run)))
            self._views[run].finished = False

    def _list(self, limit: int) -> List[Dict[str, Any]]:
        found: List[Dict[str, Any]] = self._ask("engine_list_runs", limit)
        return found


class Runs:
    """The runs of a home folder: `runs["digits"][-1]` is the latest of that pipeline.

    Indexed by the name of a pipeline or of a run, or by a number (-1: the latest of all).
    """

    def __init__(self, engine: Optional[Engine] = None) -> None:
        self._engine = engine

    def _all(self) -> List[Run]:
        engine = self._engine or Engine.default()
        return [Run(engine, r["run"], r["pipeline"]) for r in reversed(engine._list(1_000_000))]

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[Run]:
        return iter(self._all())

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (int, slice)):
            return self._all()[key]
        found = self._all()
        named = [run for run in found if run.pipeline == key]
        if named:
            return named
        for run in found:
            if run.id == key:
                return run
        raise NotFound(f"no pipeline or run is called {key!r}")

    def __repr__(self) -> str:
        lines = [f"{run.id}  {run.state}" for run in self._all()[-10:]]
        return "\n".join(lines) or "nothing has run here yet"


def _home(home: Union[str, pathlib.Path, None]) -> str:
    return os.path.abspath(home or os.environ.get("TRACKBED_HOME") or ".trackbed")


def _program() -> List[str]:
    import sys

    return [os.path.basename(part) for part in sys.argv[:1]]


def check_store(path: Union[str, pathlib.Path, None] = None) -> Dict[str, Any]:
    """Reads all of a store (`trackbed.db`, of the home folder unless given), which may be in use:
    {"runs": 3, "events": 120, "cached": 2, "findings": []}. Damage is a finding."""
    found: Dict[str, Any] = json.loads(bytes_of("store_check", _store(path)))
    return found


def backup_store(
    to: Union[str, pathlib.Path], path: Union[str, pathlib.Path, None] = None
) -> Dict[str, Any]:
    """Copies a store, which may be in use, to the new file `to`, and checks the copy, which is not
    left there unless it is sound. What is in it, as of `check_store`."""
    found: Dict[str, Any] = json.loads(
        bytes_of("store_backup", _store(path), os.path.abspath(to))
    )
    return found


def _store(path: Union[str, pathlib.Path, None]) -> str:
    return os.path.join(_home(None), "trackbed.db") if path is None else os.path.abspath(path)


runs = Runs()
_defaults: Dict[Any, Engine] = {}
_defaults_lock = threading.Lock()
_engines: "weakref.WeakSet[Engine]" = weakref.WeakSet()


_open_at_fork: Set[str] = set()  # home folders whose stores were, in a process this one comes from


def _forget() -> None:
    """In a forked process: the lock may have been held by a thread that is not there."""
    global _defaults_lock
    _defaults_lock = threading.Lock()
    for engine in list(_engines):
        if engine._handle is not None and not engine._in_memory:
            _open_at_fork.add(engine.home)


os.register_at_fork(after_in_child=_forget)


@atexit.register
def _stop_all() -> None:
    for engine in list(_engines):
        engine.close()
