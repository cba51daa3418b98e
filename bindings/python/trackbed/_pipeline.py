"""`@pipeline`: a function whose body says which tasks there are and how they hang together."""

from __future__ import annotations

import functools
import inspect
import json
import pathlib
import sys
import tempfile
from typing import TYPE_CHECKING, Any, Callable, Dict, Generic, List, Optional, TypeVar, Union, overload

from . import _hints
from ._refs import ParamRef
from ._runnable import Runnable
from ._trace import Place, Trace, check_argument, current
from .errors import BuildError

R = TypeVar("R")
if TYPE_CHECKING:
    from typing import Mapping

    from typing_extensions import ParamSpec

    from ._document import Document
    from ._native import NativePipeline
    from .run import Run

    P = ParamSpec("P")
else:
    P = TypeVar("P")


class Pipeline(Runnable, Generic[P, R]):
    """A pipeline, made by `@pipeline`.

    Called outside a pipeline it runs and returns its result; within another its tasks become tasks
    of that one, under its name. `run`, `run_async` and `submit` give the `Run` instead.
    """

    def __init__(
        self, function: Callable[..., Any], name: Optional[str], python: str, local: "Mapping[str, Any]"
    ) -> None:
        if not inspect.isfunction(function):
            raise BuildError(f"@pipeline is for functions, not for a {type(function).__name__}")
        super().__init__(name or function.__name__)
        self.function = function
        self.place = Place.of_function(function)
        self._python = python
        self._hints = _hints.resolve(function, local)
        self._signature = inspect.signature(function)
        for parameter in self._signature.parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise self.place.error(f"a pipeline cannot take *{parameter.name}")
        functools.update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<pipeline {self.name}{self._signature}>"

    # --- Putting it together ---

    def _trace(self) -> "Document":
        from ._document import Document

        if current() is not None:
            raise BuildError(f"{self.name} cannot be built within another pipeline: call it")
        trace = Trace(self.name)
        parameters = self._signature.parameters
        given = {n: ParamRef(n, self._parameter_hint(n)) for n in parameters}
        token = trace.activate()
        try:
            result = self.function(**given)
        finally:
            trace.deactivate(token)
        description = (inspect.getdoc(self.function) or "").strip().partition("\n")[0]
        return Document(
            trace, parameters, self._hints, result, description, self._python, self.place
        )

    def _parameter_hint(self, name: str) -> Any:
        hint = self._hints.get(name, Any)
        default = self._signature.parameters[name].default
        if hint is Any and default is not inspect.Parameter.empty:
            return type(default)
        return hint

    def _bind(self, place: Place, args: Any, kwargs: Any, partial: bool) -> Dict[str, Any]:
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise place.error(
                f"{self.name}(): {error}; it takes {self._signature} ({self.place})"
            ) from None
        if not partial:
            bound.apply_defaults()
        for name, value in bound.arguments.items():
            hint = self._parameter_hint(name)
            declared = f"{name}: {_hints.name_of(hint)}, {self.place}"
            check_argument(place, f'{self.name}() parameter "{name}"', hint, value, declared)
        return {
            name: _hints.coerce(self._parameter_hint(name), value)
            for name, value in bound.arguments.items()
        }

    def _native(self) -> "NativePipeline":
        from ._native import NativePipeline

        return NativePipeline.of_document(self._trace())

    def _tasks(self) -> "List[Mapping[str, Any]]":
        return list(self._trace().fields["tasks"])

    def export(self, folder: "Union[str, pathlib.Path]") -> pathlib.Path:
        """Writes `pipeline.yaml`, and its code in `source/`, to a folder that is made if missing.

        `trackbed run FOLDER/pipeline.yaml` runs it, here or elsewhere.
        """
        target = pathlib.Path(folder)
        document = self._trace()
        from ._native import NativePipeline

        with NativePipeline.of_document(document) as native:
            text = native.write("yaml")
        target.mkdir(parents=True, exist_ok=True)
        document.write_source(target)
        (target / "pipeline.yaml").write_text(text, encoding="utf-8")
        return target / "pipeline.yaml"

    # --- Running it ---

    def _submit(self, place: Place, args: Any, kwargs: Any) -> "Run":
        from . import worker

        if worker.loading:
            raise place.error(
                f"{self.name} is run while its module is loaded for one of its tasks: put the call "
                'under `if __name__ == "__main__":`'
            )
        given = self._bind(place, args, kwargs, partial=True)
        document = self._trace()
        with tempfile.TemporaryDirectory(prefix="trackbed-") as staged:
            document.write_source(pathlib.Path(staged))
            return self._engine()._submit_document(
                document, json.dumps(given), staged, *self._chosen()
            )

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
        def submit(self, *args: P.args, **kwargs: P.kwargs) -> "Run": ...
        def run(self, *args: P.args, **kwargs: P.kwargs) -> "Run": ...
        async def run_async(self, *args: P.args, **kwargs: P.kwargs) -> "Run": ...

    else:

        def __call__(self, *args, **kwargs):
            trace = current()
            place = Place.of_caller()
            if trace is None:
                run = self._submit(place, args, kwargs)
                return run.show_progress(self._settings.get("progress", True)).result()
            given = self._bind(place, args, kwargs, partial=False)
            return trace.inline(self.name, lambda: self.function(**given))


@overload
def pipeline(function: "Callable[P, R]") -> "Pipeline[P, R]": ...
@overload
def pipeline(
    *, name: Optional[str] = None, python: Optional[str] = None
) -> "Callable[[Callable[P, R]], Pipeline[P, R]]": ...
def pipeline(
    function: Optional[Callable[..., Any]] = None,
    *,
    name: Optional[str] = None,
    python: Optional[str] = None,
) -> Any:
    """Makes a function a pipeline. Its parameters are those of the pipeline: str, float, int, bool
    or a Literal of these, `Annotated` with a description and a `Range` if wanted.

    The body runs when the pipeline is put together, before any task does: tasks called in it
    become steps, and what they return stands for values that are not there yet. It decides by
    `when`, loops by `TASK.map`, and returns what the run is to give back.

    python    the interpreter that runs the tasks; this one unless given

    >>> from trackbed import pipeline, task
    >>> @task
    ... def add(a: int, b: int) -> int:
    ...     return a + b
    >>> @pipeline
    ... def sums(x: int = 1) -> int:
    ...     return add(add(x, 2), 3)
    >>> print(sums.describe())
    add
    add-2  after add
    """
    local = sys._getframe(1).f_locals

    def decorate(decorated: Callable[..., Any]) -> "Pipeline[Any, Any]":
        return Pipeline(decorated, name, python or sys.executable or "python3", local)

    return decorate if function is None else decorate(function)
