"""Runs: how far they are, what they printed, what they gave back."""

from __future__ import annotations

import contextlib
import datetime
import json
import pathlib
from ctypes import byref, c_int32
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional

from . import _codec
from ._hints import parse_scalar
from ._native import Bytes, Text, bytes_of, library, text
from .errors import (
    FailedPrecondition,
    NotFound,
    RunCancelled,
    RunFailed,
    TrackbedError,
)

if TYPE_CHECKING:
    from .engine import Engine

_LOG_LINES_AFTER_FAILURE = 20
_LOG_BLOCK = 1 << 20
_LOOK_AGAIN_SECONDS = 1.0  # whether the engine is still well
_INTENDED = 10  # TRACKBED_EVENT_ATTEMPT_INTENDED
_ENDS = {
    "attempt_succeeded": "succeeded",
    "attempt_cancelled": "cancelled",
    "task_skipped": "skipped",
    "task_cached": "succeeded",
    "task_failed": "failed",
    "attempt_preempted": "pending",
}
FINAL = ("succeeded", "failed", "skipped", "cancelled")


class View:
    """The state of one run, as far as is known: from the store, and kept up by its events."""

    def __init__(self, run: str, shown: Dict[str, Any]) -> None:
        self.run = run
        self.load(shown)

    def load(self, shown: Dict[str, Any]) -> None:
        self.pipeline: str = shown["pipeline"]
        self.version: str = shown["version"]
        self.status: str = shown["status"]
        self.parameters: Dict[str, Any] = shown.get("parameters", {})
        self.submitted: str = shown["submitted"]
        self.ended: str = shown.get("finished", "")
        self.finished = self.status in ("succeeded", "failed", "cancelled")
        self.tasks: Dict[str, Dict[str, Any]] = {task["name"]: task for task in shown["tasks"]}

    def apply(self, event: Dict[str, Any]) -> None:
        """An event of this run."""
        kind = event["event"]
        if kind == "run_finished":
            self.status, self.finished, self.ended = event["status"], True, event["time"]
        elif kind in ("run_retried", "run_resumed"):
            self.status, self.finished = "running", False
        task = self.tasks.get(event.get("task", ""))
        if task is None:
            return
        task["attempt"] = event.get("attempt", task.get("attempt", 0))
        if kind == "attempt_preempting":
            task["preempted_for"] = event["preempted_for"]
            return
        if kind == "approval_requested":
            task.update(state="waiting", started=event["time"])
            task["approval"] = {"message": event["message"]}
            task.pop("finished", None)
            return
        if kind == "approval_decided":
            task.update(
                state="succeeded" if event["approved"] else "failed", finished=event["time"]
            )
            names = ("approved", "by", "comment")
            task["approval"]["decision"] = {n: event[n] for n in names if n in event}
            return
        if kind == "attempt_intended":
            task.update(state="running", started=event["time"])
            if "map_run" in event:
                task["map_run"] = event["map_run"]
            for of_the_last in ("finished", "seconds", "preempted_for"):
                task.pop(of_the_last, None)
            return
        if kind == "attempt_unknown":
            task["unknown"] = {"nodes": event["nodes"], "since": event["since"]}
            return
        task.pop("unknown", None)
        if kind == "attempt_known":
            return
        if kind == "attempt_failed":
            task["state"] = "pending" if "retry_at" in event else "failed"
            task["failure"] = {k: v for k, v in event.items() if k not in ("time", "run", "event")}
        elif kind in _ENDS:
            task["state"] = _ENDS[kind]
        task["finished"] = event["time"]
        task["seconds"] = event.get("wall_seconds", 0.0)
        if kind == "task_cached":
            task["cached"] = True
        if kind == "task_failed":
            task["failure"] = event
        if kind == "task_skipped":
            task["skipped"] = {"reason": event.get("reason"), "message": event.get("message", "")}
        if "outputs" in event:
            task["outputs"] = event["outputs"]

    def apply_batch(self, task: str, event: Dict[str, Any]) -> None:
        """An event of the run of the map of a task."""
        if task not in self.tasks:
            return
        kind = event["event"]
        done = self.tasks[task].setdefault("batches", {"done": 0, "failed": 0, "of": 0})
        if kind == "run_submitted":
            done.update(done=0, failed=0, of=event["map"]["batches"])
        elif kind == "run_retried":
            done.update(done=done["done"] - done["failed"], failed=0)
        elif kind == "task_failed" or (kind == "attempt_failed" and "retry_at" not in event):
            done["failed"] += 1
            done["done"] += 1
        elif kind in ("attempt_succeeded", "task_cached"):
            done["done"] += 1

    def progress(self) -> "tuple[Any, ...]":
        """What changes when a task, or a batch of one, goes on."""
        batches = sum(t["batches"]["done"] for t in self.tasks.values() if "batches" in t)
        return (self.counts(), batches)

    def counts(self) -> Dict[str, int]:
        found: Dict[str, int] = {}
        for task in self.tasks.values():
            found[task["state"]] = found.get(task["state"], 0) + 1
        return found


class TaskRun:
    """One task of a run."""

    def __init__(self, run: "Run", name: str) -> None:
        self.run = run
        self.name = name

    def _now(self) -> Dict[str, Any]:
        return self.run._view().tasks[self.name]

    @property
    def state(self) -> str:
        """ "pending", "waiting" (for approval), "running", "succeeded", "failed", "skipped" or
        "cancelled"."""
        return str(self._now()["state"])

    @property
    def attempt(self) -> int:
        """The latest attempt, from 1; 0 before the first."""
        return int(self._now().get("attempt", 0))

    @property
    def approval(self) -> Optional[Dict[str, Any]]:
        """What it asks or has asked of people, "message", and once there is one the "decision":
        "approved", "by" and "comment". None: it has not."""
        found = self._now().get("approval", {})
        return {name: found[name] for name in ("message", "decision") if name in found} or None

    def approve(self, by: str, comment: str = "") -> None:
        """Lets it succeed, when it waits for somebody's approval. `by` says whose this is; nothing
        proves it."""
        self.run._decide("engine_approve", self.name, by, comment)

    def reject(self, by: str, comment: str = "") -> None:
        """Lets it fail, when it waits for somebody's approval."""
        self.run._decide("engine_reject", self.name, by, comment)

    @property
    def cached(self) -> bool:
        """Whether an earlier result stands for it."""
        return bool(self._now().get("cached", False))

    @property
    def seconds(self) -> Optional[float]:
        """How long its latest attempt took; None before its end."""
        now = self._now()
        if "started" not in now or "finished" not in now or now.get("cached"):
            return None
        if "seconds" in now:
            return float(now["seconds"])
        return (parse_time(now["finished"]) - parse_time(now["started"])).total_seconds()

    @property
    def outputs(self) -> Dict[str, Any]:
        """The values that the engine knows: texts, numbers, booleans."""
        return dict(self._now().get("outputs", {}))

    @property
    def folder(self) -> pathlib.Path:
        """Where its files are."""
        return pathlib.Path(self._outputs()[1])

    @property
    def output(self) -> Any:
        """What its function returned."""
        values, folder = self._outputs()
        note = self.run._notes().get("tasks", {}).get(self.name)
        if note is None:
            return values
        if note["kind"] == "map":
            return _codec.load_batches(pathlib.Path(folder), "result") if folder else []
        if note["kind"] == "value":
            return _codec.load(pathlib.Path(folder), "result")
        from .worker import assemble

        names = note["outputs"]
        if not folder or not any(pathlib.Path(folder).iterdir()):
            return values
        found = [_load(pathlib.Path(folder), name, values) for name in names]
        return assemble({"fields": names, "kind": note["kind"]}, found)

    def _outputs(self) -> "tuple[Dict[str, Any], str]":
        outputs, folder = Bytes(), Bytes()
        with self.run._engine._use() as handle:
            library().call(
                "engine_outputs", handle, self.run.id, self.name, byref(outputs), byref(folder)
            )
        return json.loads(outputs.take()), folder.take()

    @property
    def batches(self) -> "Optional[Run]":
        """Of a task with a map: the run whose tasks, "0", "1", …, are its batches; else None."""
        found = self._now().get("map_run")
        return Run(self.run._engine, found) if found else None

    def logs(self, attempt: int = 0) -> str:
        """What it printed, in its latest attempt or that of a number. Of a map: what its batches
        did, one after the other."""
        batches = self.batches
        if batches is not None:
            known = batches._view().tasks.items()
            tried = [name for name, task in known if task.get("attempt") or task.get("cached")]
            return "".join(TaskRun(batches, name).logs(attempt) for name in tried)
        return "".join(self.read_logs(attempt, follow=False))

    def read_logs(self, attempt: int = 0, follow: bool = True) -> Iterator[str]:
        """What it prints, as it does, until its attempt ends."""
        offset = 0
        while True:
            out, more = Bytes(), c_int32()
            with self.run._engine._use() as handle:
                library().call(
                    "engine_read_log", handle, self.run.id, self.name, attempt, offset, _LOG_BLOCK,
                    byref(out), byref(more),
                )  # fmt: skip
            data = out.take_bytes()
            offset += len(data)
            if data:
                yield data.decode("utf-8", "replace")
            elif not more.value or not follow:
                return
            else:
                self.run._engine.wait_for(lambda: False, 0.1)

    @property
    def failure(self) -> str:
        """Why it failed, or its last try did; "" when it did not."""
        found = self._now().get("failure", {})
        return describe_failure(found) if found else ""

    def explain(self) -> Dict[str, Any]:
        """Why it is not running."""
        found: Dict[str, Any] = self.run._engine._ask("engine_explain", self.run.id, self.name)
        return found

    def why(self) -> Dict[str, Any]:
        """Why an earlier result does, or does not, stand for it: field by field."""
        found: Dict[str, Any] = self.run._engine._ask("engine_why", self.run.id, self.name)
        return found

    def __repr__(self) -> str:
        now = self._now()
        parts = [f"{self.name}: {now['state']}"]
        if now.get("cached"):
            parts.append("from the cache")
        elif self.seconds is not None:
            parts.append(f"in {self.seconds:.1f} s")
        if now.get("outputs"):
            parts.append(outputs_text(now))
        if self.failure:
            parts.append(self.failure)
        return "  ".join(parts)


class Run:
    """A run of a pipeline. `run["train"]` is one of its tasks."""

    def __init__(self, engine: "Engine", run: str, pipeline: Optional[str] = None) -> None:
        self._engine = engine
        self.id = run
        self._pipeline = pipeline

    def _view(self) -> View:
        return self._engine.view(self.id)

    def _notes(self) -> Dict[str, Any]:
        return self._engine._notes_of(self._view().version)

    @property
    def pipeline(self) -> str:
        """The name of its pipeline."""
        if self._pipeline is None:
            self._pipeline = self._view().pipeline
        return self._pipeline

    @property
    def state(self) -> str:
        """ "running", "interrupted", "succeeded", "failed" or "cancelled"."""
        return self._view().status

    @property
    def parameters(self) -> Dict[str, Any]:
        return dict(self._view().parameters)

    @property
    def tasks(self) -> List[TaskRun]:
        return [TaskRun(self, name) for name in self._view().tasks]

    def __getitem__(self, task: str) -> TaskRun:
        """A task, "train", or a batch of one, "train[17]"."""
        name, bracket, batch = task.partition("[")
        if bracket and batch.endswith("]"):
            batches = self[name].batches
            if batches is None:
                raise NotFound(f"task {name!r} of run {self.id} has no batches")
            return batches[batch[:-1]]
        names = list(self._view().tasks)
        if task not in names:
            import difflib

            near = difflib.get_close_matches(task, names, 1)
            raise NotFound(
                f"run {self.id} has no task {task!r}"
                + (f"; did you mean {near[0]!r}?" if near else f"; it has {_listed(names)}")
            )
        return TaskRun(self, task)

    def __iter__(self) -> Iterator[TaskRun]:
        return iter(self.tasks)

    # --- To its end ---

    def wait(self, timeout: Optional[float] = None) -> "Run":
        """Returns when it has ended, however. TimeoutError after `timeout` seconds."""
        if not self._engine.wait_for(lambda: self._view().finished, timeout):
            raise TimeoutError(f"run {self.id} has not ended after {timeout} s")
        return self

    async def wait_async(self) -> "Run":
        """The same for asyncio. Cancelling the await cancels the run."""
        import asyncio

        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def tell(event: Dict[str, Any]) -> None:
            if event["run"] == self.id and event["event"] == "run_finished":
                loop.call_soon_threadsafe(changed.set)

        forget = self._engine.listen(tell)
        try:
            while not self._view().finished:
                if self._engine.background:
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(changed.wait(), _LOOK_AGAIN_SECONDS)
                else:
                    await loop.run_in_executor(None, self._engine.step, 0.1)
        except asyncio.CancelledError:
            self.cancel()
            raise
        finally:
            forget()
        return self

    def show_progress(self, shown: bool = True) -> "Run":
        """Waits and shows how far it is. Ctrl-C cancels the run; once more leaves it as it is."""
        if not shown:
            return self.wait()
        from .progress import follow

        follow(self)
        return self

    def result(self) -> Any:
        """What the pipeline returned, when the run has succeeded; waits for its end.

        RunFailed says which task failed and shows the end of its log; RunCancelled.
        """
        view = self.wait()._view()
        if view.status == "cancelled":
            raise RunCancelled(f"run {self.id} was cancelled", self)
        if view.status == "failed":
            raise RunFailed(self.explain_failure(), self)
        return self.output

    @property
    def output(self) -> Any:
        """What the pipeline returned."""
        notes = self._notes()
        if not notes:
            raise FailedPrecondition(
                f"run {self.id} was not started from Python: see the outputs of its tasks"
            )
        return self._resolve(notes["result"])

    def _resolve(self, binding: Dict[str, Any]) -> Any:
        if "json" in binding:
            return binding["json"]
        if "path" in binding and "from" not in binding:
            return pathlib.Path(binding["path"])
        if "param" in binding:
            return self.parameters[binding["param"]]
        if "list" in binding:
            items = [self._resolve(item) for item in binding["list"]]
            return tuple(items) if binding.get("tuple") else items
        if "dict" in binding:
            return {key: self._resolve(item) for key, item in binding["dict"].items()}
        if "first_of" in binding:
            for option in binding["first_of"]:
                if self[option["from"]].state == "succeeded":
                    return self._resolve(option)
            return None
        task = self[binding["from"]]
        if task.state == "skipped":
            return None
        if "file" in binding:
            return task.folder / binding["file"]
        if "value" in binding and binding["value"]:
            value = task.outputs[binding["output"]]
            return value if not isinstance(value, str) else parse_scalar(binding["value"], value)
        if "fields" in binding:
            return task.output
        values, folder = task._outputs()
        if binding.get("mapped"):
            value = _codec.load_batches(pathlib.Path(folder), "result") if folder else []
        else:
            value = _load(pathlib.Path(folder), binding["output"], values)
        for key in binding.get("path", ()):
            value = value[key]
        return value

    def explain_failure(self) -> str:
        """One screen about what went wrong: the task, the end of its log, what to do next."""
        lines = [f"run {self.id} {self.state}"]
        for task in self.tasks:
            if task.state != "failed":
                continue
            lines.append(f'task "{task.name}" failed: {task.failure}')
            name = task.name
            batches = task.batches
            known = batches._view().tasks.items() if batches is not None else ()
            failed = next((batch for batch, t in known if t["state"] == "failed"), None)
            if batches is not None and failed is not None:  # of a map, the first batch that did
                name, task = f"{name}[{failed}]", TaskRun(batches, failed)
            try:
                log = task.logs().splitlines()[-_LOG_LINES_AFTER_FAILURE:]
                lines += ["  | " + line for line in log]
            except TrackbedError:  # it has not started
                pass
            lines.append(f'whole log:  runs["{self.id}"]["{name}"].logs()')
            break
        lines.append(f'try again:  runs["{self.id}"].retry()')
        return "\n".join(lines)

    def cancel(self) -> "Run":
        """Asks for its end; `wait` says when it has come."""
        with self._engine._use() as handle:
            library().call("engine_cancel", handle, self.id)
        return self

    def _decide(self, call: str, task: str, by: str, comment: str) -> None:
        with self._engine._use() as handle:
            library().call(call, handle, self.id, task, by, comment)

    def resume(self) -> "Run":
        """Goes on with an interrupted or cancelled run."""
        self._engine._act("engine_resume", self.id)
        return self

    def retry(self, *tasks: str) -> "Run":
        """Runs these tasks, and all that depend on them, again; with none, what failed."""
        keep: List[Any] = []
        array = (Text * max(1, len(tasks)))(*[text(name, keep) for name in tasks])
        self._engine._act("engine_retry", self.id, array, len(tasks))
        return self

    # --- Looking at it ---

    def events(self, first: int = 1) -> List[Dict[str, Any]]:
        """What happened so far, from event number `first` on."""
        from ctypes import c_size_t, c_void_p

        from .engine import EventsOptions

        keep: List[Any] = []
        found: List[Dict[str, Any]] = []
        with self._engine._use() as handle:
            stream = c_void_p()
            options = EventsOptions(run=text(self.id, keep), from_=first)
            library().call("events_open", handle, byref(options), byref(stream))
            try:
                while True:
                    out, count = Bytes(), c_size_t()
                    library().call("events_next_json", stream, 4096, byref(out), byref(count))
                    if not count.value:
                        return found
                    found += [json.loads(line) for line in out.take().splitlines()]
            finally:
                library().raw("events_close")(stream)

    def publish(self, folder: str = "") -> List[str]:
        """Copies the results of the pipeline to a folder; their names."""
        with self._engine._use() as handle:
            names: List[str] = json.loads(
                bytes_of("engine_publish_results", handle, self.id, folder)
            )
        return names

    def to_frame(self) -> Any:
        """Its tasks as a pandas DataFrame."""
        import pandas

        rows = [
            {
                "task": task.name,
                "state": task.state,
                "cached": task.cached,
                "attempt": task.attempt,
                "seconds": task.seconds,
                **task.outputs,
            }
            for task in self.tasks
        ]
        return pandas.DataFrame(rows).set_index("task")

    def _repr_html_(self) -> str:
        from ._svg import run_html

        spans: Dict[int, List[int]] = {}  # of the latest attempt of each task, in nanoseconds
        for kind, _, time_ns, task, attempt in self._engine.times(self.id):
            if kind == _INTENDED:
                spans[task] = [time_ns]
            elif task in spans and attempt:
                spans[task][1:] = [time_ns]
        view = self._view()
        names = list(view.tasks)
        named = {names[task]: span for task, span in spans.items() if task < len(names)}
        return run_html(view, self._notes().get("document", []), named)

    def __repr__(self) -> str:
        view = self._view()
        counts = ", ".join(f"{count} {state}" for state, count in view.counts().items())
        return f"<run {self.id}: {view.status}; {counts}>"


def _load(folder: pathlib.Path, name: str, values: Dict[str, Any]) -> Any:
    """An output: its file, or what the engine knows of it."""
    try:
        return _codec.load(folder, name)
    except NotFound:
        if name in values:
            return values[name]
        raise


def _listed(names: List[str]) -> str:
    shown = ", ".join(names[:20])
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"


def describe_failure(found: Dict[str, Any]) -> str:
    """ "exit code 3", "timeout", … with what the executor said."""
    reason = str(found.get("reason", "failed")).replace("_", " ")
    if found.get("exit_code"):
        reason = f"exit code {found['exit_code']}"
    if found.get("signal"):
        reason = f"signal {found['signal']}"
    message = found.get("message", "")
    return f"{reason}: {message}" if message else reason


def describe_approval(approval: Dict[str, Any]) -> str:
    """What is asked; once it is answered, "approved by ada: fine" and the like."""
    decision = approval.get("decision")
    if decision is None:
        return f"waits for approval: {approval['message']}"
    line = "approved" if decision["approved"] else "rejected"
    line += f" by {decision['by']}" if "by" in decision else ": nobody approved in time"
    return line + (f": {decision['comment']}" if "comment" in decision else "")


def outputs_text(task: Dict[str, Any]) -> str:
    """The values of a task, short: "accuracy=0.94986, size=7"."""
    values = task.get("outputs", {}).items()
    return ", ".join(f"{k}={v:.5g}" if isinstance(v, float) else f"{k}={v}" for k, v in values)


def parse_time(text_: str) -> datetime.datetime:
    """Of an event; with at most microseconds, which is what Python can hold."""
    date, _, fraction = text_.rstrip("Z").partition(".")
    found = datetime.datetime.strptime(date, "%Y-%m-%dT%H:%M:%S")
    micro = int((fraction + "000000")[:6])
    return found.replace(microsecond=micro, tzinfo=datetime.timezone.utc)
