"""Pipelines under test: an engine in memory, a clock that is set by hand, attempts that do not run.

It is the engine that runs pipelines elsewhere, with its cache, retries and limits; only what it is
connected to is replaced.

>>> from trackbed import pipeline, task
>>> from trackbed.testing import Lab
>>> @task(retries=1)
... def fetch() -> int:
...     return 1
>>> @pipeline
... def daily() -> int:
...     return fetch()
>>> with Lab() as lab:
...     lab.fails("fetch", times=1)
...     lab.succeeds("fetch", result=7)
...     run = lab.run(daily)
>>> run.state, run["fetch"].attempt
('succeeded', 2)
"""

from __future__ import annotations

import collections
import pathlib
from typing import Any, Deque, Dict, List, Mapping, NamedTuple, Optional, Sequence, Union

from . import _codec
from ._native import library
from .engine import Engine
from .errors import FailedPrecondition
from .ports import Attempt, Clock, Executor, Random
from .run import Run

_START_NS = 1_700_000_000 * 1_000_000_000
_MOST_STEPS = 100_000


class VirtualClock(Clock):
    """Time that passes only when told to."""

    def __init__(self, start_ns: int = _START_NS) -> None:
        super().__init__()
        self._now = start_ns

    def now_ns(self) -> int:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += round(seconds * 1e9)


class SeededRandom(Random):
    """A sequence that follows from its seed alone."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self._state = seed

    def next(self) -> int:
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        return self._state


class Outcome(NamedTuple):
    exit_code: int = 0
    outputs: Optional[Mapping[str, Any]] = None
    seconds: float = 0.0
    kind: str = "exited"
    message: str = ""


class FakeExecutor(Executor):
    """Runs nothing: each attempt ends as its task was told to, at once or after some seconds."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock
        self._scripts: Dict[str, Deque[Outcome]] = {}
        self._last: Dict[str, Outcome] = {}
        self._under_way: Dict[str, "tuple[int, Outcome]"] = {}
        self.attempts: List[Attempt] = []  # all that were started, in order

    def tell(self, task: str, outcome: Outcome, times: int = 1) -> None:
        """How the next attempts at a task end; what was told last holds on."""
        self._scripts.setdefault(task, collections.deque()).extend([outcome] * times)

    def start(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)
        told = self._scripts.get(attempt.task)
        if told:
            self._last[attempt.task] = told.popleft()
        outcome = self._last.get(attempt.task, Outcome())
        due = self._clock.now_ns() + round(outcome.seconds * 1e9)
        self._under_way[attempt.key] = (due, outcome)

    def stop(self, key: str, mode: str) -> None:
        if key in self._under_way:
            self._under_way[key] = (self._clock.now_ns(), Outcome(message="stopped", exit_code=143))

    def next_due(self) -> Optional[int]:
        return min((due for due, _ in self._under_way.values()), default=None)

    def finish_due(self) -> None:
        """Reports the attempts whose time has come."""
        now = self._clock.now_ns()
        for key in [key for key, (due, _) in self._under_way.items() if due <= now]:
            _, outcome = self._under_way.pop(key)
            self.report(
                key, outcome.kind, exit_code=outcome.exit_code, outputs=outcome.outputs,
                message=outcome.message, seconds=outcome.seconds,
            )  # fmt: skip


class Lab:
    """An engine in memory, with a virtual clock and a fake executor, driven to the end of a run."""

    def __init__(self, slots: Optional[Mapping[str, Union[int, float, str]]] = None) -> None:
        self.clock = VirtualClock()
        self.executor = FakeExecutor(self.clock)
        self.events: List[Dict[str, Any]] = []
        self.engine = Engine(
            in_memory=True, executor=self.executor, clock=self.clock, random=SeededRandom(),
            background=False, slots=slots or {"cpu": 64, "mem": "1t"},
        )  # fmt: skip
        self.engine.listen(self.events.append)

    def __enter__(self) -> "Lab":
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.close()

    def succeeds(self, task: str, *, times: int = 1, seconds: float = 0.0, **outputs: Any) -> None:
        """The next attempts at this task succeed, with these outputs (values of the engine)."""
        self.executor.tell(task, Outcome(0, outputs, seconds), times)

    def fails(
        self, task: str, *, times: int = 1, seconds: float = 0.0, exit_code: int = 1
    ) -> None:
        """They fail."""
        self.executor.tell(task, Outcome(exit_code, None, seconds), times)

    def loses(self, task: str, *, times: int = 1) -> None:
        """They vanish, as when a machine dies."""
        self.executor.tell(task, Outcome(kind="lost", message="gone"), times)

    def maps(self, task: str, items: int) -> None:
        """A map over lists that are known only at run time goes over so many items. Its batches
        are attempts at `task`."""
        self.executor.tell(f"{task}-items", Outcome(0, {"count": items}))

    def submit(self, pipeline: Any, **parameters: Any) -> Run:
        return self.engine.submit(pipeline, parameters)

    def run(self, pipeline: Any, **parameters: Any) -> Run:
        """Submits a pipeline, or a pipeline's file, and drives it to its end."""
        return self.drive(self.submit(pipeline, **parameters))

    def drive(self, run: Run) -> Run:
        """Steps the engine, and lets time pass where it waits for nothing else."""
        for _ in range(_MOST_STEPS):
            self.engine.step()
            if run._view().finished:
                return run
            self._pass_time()
        raise FailedPrecondition(f"run {run.id} does not come to an end")

    def _pass_time(self) -> None:
        due = [self.executor.next_due()]
        with self.engine._use() as handle:
            due.append(library().raw("engine_next_deadline")(handle))
        next_ns = min(d for d in due if d is not None)
        if next_ns > self.clock.now_ns() and next_ns < (1 << 62):
            self.clock.advance((next_ns - self.clock.now_ns()) / 1e9)
        self.executor.finish_due()

    def names(self, task: Optional[str] = None) -> List[str]:
        """What happened, or what happened to one task: "attempt_intended", …"""
        return [e["event"] for e in self.events if task is None or e.get("task") == task]


def assert_events(events: Sequence[Mapping[str, Any]], *expected: str) -> None:
    """That these happened in this order, other events between them or not: "EVENT" or
    "EVENT TASK"."""
    left = list(expected)
    for event in events:
        if left and left[0] in (event["event"], f"{event['event']} {event.get('task')}"):
            left.pop(0)
    if left:
        seen = "\n".join(f"  {e['event']} {e.get('task', '')}" for e in events)
        raise AssertionError(f"{left[0]!r} did not happen, or not in this order, in:\n{seen}")


def run_task(task: Any, folder: pathlib.Path, **arguments: Any) -> Any:
    """Calls a task and sends arguments and result through files, as between processes: for tests
    that what a task takes and gives can be carried."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {}
    for name, value in arguments.items():
        _codec.save(folder, "argument-" + name, value, f"argument {name}")
        given[name] = _codec.load(folder, "argument-" + name)
    _codec.save(folder, "result", task.function(**given), "the result")
    return _codec.load(folder, "result")
