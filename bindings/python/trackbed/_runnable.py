"""What pipelines of Python's and pipelines of files have in common."""

from __future__ import annotations

import copy
import pathlib
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Optional, Tuple, TypeVar, Union

from ._trace import Place

if TYPE_CHECKING:
    from ._native import NativePipeline
    from .engine import Engine
    from .run import Run

    Self = TypeVar("Self", bound="Runnable")


class Runnable:
    """A pipeline that can be looked at and run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._own_engine: "Optional[Engine]" = None
        self._settings: Dict[str, Any] = {}

    def _native(self) -> "NativePipeline":
        raise NotImplementedError

    def _tasks(self) -> List[Mapping[str, Any]]:
        """As fields of the document."""
        raise NotImplementedError

    def _submit(self, place: Place, args: Any, kwargs: Any) -> "Run":
        raise NotImplementedError

    def _engine(self) -> "Engine":
        from .engine import Engine

        return self._own_engine or Engine.default(self._settings.get("home"))

    def _chosen(self) -> Tuple[bool, Optional[int], str]:
        """By `using`: cache, priority and tenant."""
        own = self._settings
        return own.get("cache", True), own.get("priority"), own.get("tenant", "")

    # --- Looking at it ---

    def check(self) -> None:
        """Puts the pipeline together and lets the engine look at it; raises what is wrong."""
        with self._native():
            pass

    def to_yaml(self) -> str:
        """The pipeline as a file for the program `trackbed`; its code is not in it."""
        with self._native() as native:
            return native.write("yaml")

    def to_json(self) -> str:
        """The same as JSON."""
        with self._native() as native:
            return native.write("json")

    def describe(self) -> str:
        """The tasks, one a line, with what each waits for."""
        lines = []
        for task in self._tasks():
            line = str(task["name"])
            if "dependencies" in task:
                line += "  after " + ", ".join(task["dependencies"])
            if "when" in task:
                line += "  when " + task["when"]
            lines.append(line)
        return "\n".join(lines)

    def graph(self) -> str:
        """The tasks drawn, as SVG."""
        from ._svg import graph_svg

        return graph_svg(self._tasks())

    def _repr_html_(self) -> str:
        return self.graph()

    # --- Running it ---

    def using(
        self: "Self",
        engine: "Optional[Engine]" = None,
        *,
        home: "Union[str, pathlib.Path, None]" = None,
        cache: bool = True,
        progress: bool = True,
        priority: Optional[int] = None,
        tenant: str = "",
    ) -> "Self":
        """The same pipeline, to be run by that engine or in that home folder; without `cache`
        no earlier result is used. Of all that waits, runs of a higher `priority` go first; `tenant`
        is for whom they are, the path of one of the engine's.

        Not of `run` and `submit` themselves: what these take are the pipeline's parameters.
        """
        changed = copy.copy(self)
        changed._own_engine = engine
        changed._settings = {
            "home": home, "cache": cache, "progress": progress, "priority": priority,
            "tenant": tenant,
        }  # fmt: skip
        return changed

    def submit(self, /, *args: Any, **kwargs: Any) -> "Run":
        """Starts a run and returns at once."""
        return self._submit(Place.of_caller(), args, kwargs)

    def run(self, /, *args: Any, **kwargs: Any) -> "Run":
        """Runs it, showing how far it is, and returns the run when it has ended, however.

        Ctrl-C cancels the run; once more leaves it as it is, to be resumed.
        """
        run = self._submit(Place.of_caller(), args, kwargs)
        return run.show_progress(self._settings.get("progress", True))

    async def run_async(self, /, *args: Any, **kwargs: Any) -> "Run":
        """The same for asyncio. Cancelling the await cancels the run."""
        run = self._submit(Place.of_caller(), args, kwargs)
        return await run.wait_async()

    def runs(self) -> "Iterator[Run]":
        """Its runs, the newest last."""
        return iter(self._engine().runs[self.name])
