"""Shows how far a run is: in a notebook, with rich or tqdm where these are installed, else plainly."""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Tuple

from .run import FINAL, View, describe_approval, describe_failure, outputs_text, parse_time

if TYPE_CHECKING:
    from .run import Run

_REFRESH_SECONDS = 0.5


class Plain:
    """A line for each thing that happens."""

    def __init__(self, run: "Run") -> None:
        view = run._view()
        self._seen: Dict[str, Tuple[str, int, int]] = {}
        self.say(f"run {run.id}  {len(view.tasks)} tasks")

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def update(self, view: View) -> None:
        for line in self._news(view):
            self.say(line)

    def _news(self, view: View) -> Iterator[str]:
        for name, task in view.tasks.items():
            now = (task["state"], task.get("attempt", 0), _tenths(task))
            if self._seen.get(name, ("pending", 0, 0)) == now:
                continue
            self._seen[name] = now
            yield f"{time.strftime('%H:%M:%S')}  {name:20}  {how_it_is(task)}"

    def close(self, view: View) -> None:
        self.update(view)
        counts = ", ".join(f"{count} {state}" for state, count in view.counts().items())
        spent = ""
        if view.ended:
            seconds = (parse_time(view.ended) - parse_time(view.submitted)).total_seconds()
            spent = f" after {seconds:.1f} s"
        self.say(f"run {view.run} {view.status}{spent}: {counts}")


class Rich(Plain):
    """A bar below the lines."""

    def __init__(self, run: "Run") -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeElapsedColumn

        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(), console=self._console, transient=True,
        )  # fmt: skip
        self._bar.start()
        self._task = self._bar.add_task(run.id, total=len(run._view().tasks))
        super().__init__(run)

    def say(self, line: str) -> None:
        self._console.print(line, markup=False)

    def update(self, view: View) -> None:
        super().update(view)
        running = [name for name, task in view.tasks.items() if task["state"] == "running"]
        self._bar.update(
            self._task, completed=_done(view), description=", ".join(running[:3]) or view.run
        )

    def close(self, view: View) -> None:
        self._bar.stop()
        super().close(view)


class Tqdm(Plain):
    """The same by tqdm."""

    def __init__(self, run: "Run") -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=len(run._view().tasks), unit="task", leave=False)
        super().__init__(run)

    def say(self, line: str) -> None:
        self._bar.write(line, file=sys.stderr)

    def update(self, view: View) -> None:
        super().update(view)
        self._bar.update(_done(view) - self._bar.n)

    def close(self, view: View) -> None:
        super().close(view)
        self._bar.close()


class Notebook(Plain):
    """The picture of the run, renewed in place."""

    def __init__(self, run: "Run") -> None:
        from IPython.display import display

        self._run = run
        self._shown = display(run, display_id=True)
        self._seen = {}

    def say(self, line: str) -> None:
        print(line, file=sys.stderr)

    def update(self, view: View) -> None:
        self._shown.update(self._run)

    def close(self, view: View) -> None:
        self.update(view)


def how_it_is(task: Dict[str, Any]) -> str:
    """ "succeeded in 1.2 s (score=0.9)" and the like."""
    state = task["state"]
    line = str(state)
    if state == "running":
        line = "started" if task.get("attempt", 1) <= 1 else f"started, attempt {task['attempt']}"
        if _tenths(task):
            line = "{done} of {of} batches done".format(**task["batches"])
    elif state == "waiting" or task.get("approval", {}).get("decision"):
        line = describe_approval(task["approval"])
    elif task.get("cached"):
        line = "succeeded, from the cache"
    elif state == "succeeded" and "started" in task and "finished" in task:
        line = f"succeeded in {task.get('seconds', 0.0):.1f} s"
    elif state == "skipped":
        line = f"skipped: {task.get('skipped', {}).get('message', '')}"
    elif state in ("failed", "pending") and task.get("failure"):
        line = f"failed: {describe_failure(task['failure'])}"
        if state == "pending":
            line += ", to be tried again"
    if state == "succeeded" and task.get("outputs"):
        line += "  " + outputs_text(task)
    return line


def _tenths(task: Dict[str, Any]) -> int:
    """How far the batches of a running map are: told ten times, however many there are."""
    batches = task.get("batches", {}) if task["state"] == "running" else {}
    return int(10 * batches.get("done", 0) // max(1, batches.get("of", 1)))


def _done(view: View) -> int:
    return sum(task["state"] in FINAL for task in view.tasks.values())


def _choose(run: "Run") -> Plain:
    if "ipykernel" in sys.modules and importlib.util.find_spec("IPython"):
        return Notebook(run)
    if sys.stderr.isatty():
        kinds: List[Tuple[str, Any]] = [("rich", Rich), ("tqdm", Tqdm)]
        for module, kind in kinds:
            if importlib.util.find_spec(module) is not None:
                return kind(run)  # type: ignore[no-any-return]
    return Plain(run)


def follow(run: "Run") -> None:
    """Shows a run until it has ended. The first Ctrl-C cancels it, the second leaves it."""
    shown = _choose(run)
    interrupts = 0
    last: Optional[Tuple[Any, ...]] = None
    while True:
        try:
            view = run._view()
            progress = view.progress()
            if progress != last or view.finished:
                shown.update(view)
                last = progress
            if view.finished:
                shown.close(view)
                return
            run._engine.wait_for(
                lambda: run._view().finished or run._view().progress() != last, _REFRESH_SECONDS
            )
        except KeyboardInterrupt:
            interrupts += 1
            if interrupts > 1:
                shown.say(f'left run {run.id} as it is; go on by runs["{run.id}"].resume()')
                raise
            shown.say("stopping the run; Ctrl-C once more leaves it as it is")
            run.cancel()
