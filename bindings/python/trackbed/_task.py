"""`@task`: a function that can be a step of a pipeline."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any, Callable, Dict, Generic, List, Optional, TypeVar, Union, overload

from . import _hints
from ._options import Amount, Duration, Options
from ._refs import FieldsRef, OutputRef, ParamRef, Ref
from ._trace import Node, Place, Trace, check_argument, current
from .errors import BuildError

R = TypeVar("R")
if TYPE_CHECKING:
    from typing import Iterable, Mapping, Sequence

    from typing_extensions import ParamSpec

    P = ParamSpec("P")
else:
    P = TypeVar("P")


class unmapped:
    """An argument of `map` that is the same for all items, though it could be iterated over."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Task(Generic[P, R]):
    """A function with what Trackbed needs to know to run it. Made by `@task`.

    Called outside a pipeline it is the plain function. Called in the body of a pipeline it becomes
    a step, and its result stands for the value that is not there yet.
    """

    def __init__(
        self, function: Callable[..., Any], options: Options, local: "Mapping[str, Any]"
    ) -> None:
        if not inspect.isfunction(function):
            raise BuildError(f"@task is for functions, not for a {type(function).__name__}")
        self.place = Place.of_function(function)
        if function.__name__ == "<lambda>":
            raise self.place.error("a lambda cannot be a task: write it with def")
        if inspect.iscoroutinefunction(function):
            raise self.place.error(
                f"{function.__name__} is async; a task is a plain function, in a process of its "
                "own (which may call asyncio.run)"
            )
        self.function = function
        self._options = options
        self._hints = _hints.resolve(function, local)
        self._signature = inspect.signature(function)
        functools.update_wrapper(self, function)

    @property
    def name(self) -> str:
        return self._options.name or self.function.__name__

    def __repr__(self) -> str:
        return f"<task {self.name}{self._signature}>"

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...

    else:

        def __call__(self, *args, **kwargs):
            trace = current()
            if trace is None:
                return self.function(*args, **kwargs)
            place = Place.of_caller()
            given = self._bind(place, args, kwargs)
            for name, value in given.items():
                check_argument(
                    place,
                    f'{self.function.__name__}() argument "{name}"',
                    self._hint_of(name),
                    value,
                    f"{name}: {_hints.name_of(self._hint_of(name))}, {self.place}",
                )
            node = self._add(trace, place, given)
            return _result(node, self._hints.get("return", Any))

    def map(
        self, *args: Any, batch: Optional[int] = None, concurrency: Optional[int] = None,
        **kwargs: Any,
    ) -> "List[R]":
        """Calls the function for each item of a list, known or not known yet.

        Lists, ranges, iterators and results of tasks are taken item by item, side by side when
        there are several; anything else, and what is `unmapped`, is the same for all items.

        In a pipeline the items are dealt out to batches, each an attempt of its own with a process
        of its own, which takes the resources of the task: `batch` items each, and at most
        `concurrency` batches at once, as many as there is room for unless given. Without `batch`
        there are few batches: 4 for each at once, or 32. What is done stays done: a retry runs what
        failed or was not reached. `run["NAME[17]"]` is one of the batches.

        >>> from trackbed import task, unmapped
        >>> @task
        ... def scale(x: int, by: int) -> int:
        ...     return x * by
        >>> scale.map([1, 2, 3], 10)
        [10, 20, 30]
        """
        place = Place.of_caller()
        given = self._bind(place, args, kwargs)
        mapped = [name for name, value in given.items() if _is_mapped(value)]
        given = {n: v.value if isinstance(v, unmapped) else v for n, v in given.items()}
        if not mapped:
            raise place.error(
                f"{self.function.__name__}.map() was given nothing to go through: a list, range, "
                "iterator or the result of a task"
            )
        for what, number in (("batch", batch), ("concurrency", concurrency)):
            if number is not None and (not isinstance(number, int) or number < 1):
                raise place.error(f"{what}: found {number!r}, expected 1 or more")
        trace = current()
        if trace is None:
            return self._map_plainly(place, mapped, given)
        for name, value in given.items():
            self._check_mapped(place, name, value, name in mapped)
        node = self._add(trace, place, given)
        node.map = {"over": mapped, "batch": batch, "concurrency": concurrency}
        node.kind, node.outputs = "value", {"result": _hints.list_of(self._hints.get("return", Any))}
        return OutputRef(node, "result", node.outputs["result"])  # type: ignore[return-value]

    def options(
        self,
        *,
        name: Optional[str] = None,
        after: "Union[Any, Sequence[Any], None]" = None,
        **given: Any,
    ) -> "Task[P, R]":
        """The same task with other options: those of `@task`, and

        `after`: results of tasks that are to have ended before, though it does not take them.
        """
        if name is not None:
            given["name"] = name
        if after is not None:
            given["after"] = (after,) if isinstance(after, Ref) else tuple(after)
        changed: Task[P, R] = Task.__new__(Task)
        changed.__dict__.update(self.__dict__)
        try:
            changed._options = self._options.changed(given)
        except BuildError as error:
            raise Place.of_caller().error(str(error)) from None
        return changed

    def _bind(self, place: Place, args: Any, kwargs: Any) -> Dict[str, Any]:
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise place.error(
                f"{self.function.__name__}(): {error}; it takes {self._signature} ({self.place})"
            ) from None
        bound.apply_defaults()
        given: Dict[str, Any] = {}
        for name, value in bound.arguments.items():
            kind = self._signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL and not value:
                continue
            if kind is inspect.Parameter.VAR_KEYWORD:
                given.update(value)
            elif kind is inspect.Parameter.VAR_POSITIONAL:
                raise place.error(f"{self.function.__name__}(): a task cannot take *{name}")
            else:
                given[name] = value
        return given

    def _hint_of(self, name: str) -> Any:
        for parameter in self._signature.parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD and name not in self._hints:
                return self._hints.get(parameter.name, Any)
        return self._hints.get(name, Any)

    def _check_mapped(self, place: Place, name: str, value: Any, mapped: bool) -> None:
        hint = self._hint_of(name)
        what = f'{self.function.__name__}.map() argument "{name}"'
        declared = f"{name}: {_hints.name_of(hint)}, {self.place}"
        if not mapped:
            check_argument(place, what, hint, value, declared)
        elif isinstance(value, Ref):
            item = _hints.item_hint(value._hint)
            if not _hints.accepts(hint, item):
                raise place.error(
                    f"{what}: its items are {_hints.name_of(item)}, expected "
                    f"{_hints.name_of(hint)} ({declared})"
                )
            if _hints.scalar_type(value._hint) is not None:
                raise place.error(f"{what} is {_hints.name_of(value._hint)}, which has no items")
        elif isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                check_argument(place, f"{what}, item {index},", hint, item, declared)

    def _add(self, trace: Trace, place: Place, given: Dict[str, Any]) -> Node:
        node = trace.add(self.name, self._options, place, self._options.name is not None)
        node.function = self.function
        node.bindings = given
        positional = [
            n for n, p in self._signature.parameters.items()
            if p.kind is inspect.Parameter.POSITIONAL_ONLY
        ]
        if positional:
            raise place.error(f"{node.name}: a task cannot have positional-only parameters")
        for value in given.values():
            trace.bind(node, value)
        hint = self._hints.get("return", Any)
        fields = _hints.fields(hint)
        if fields is None:
            node.outputs = {"result": hint}
        else:
            node.kind, node.outputs = fields.kind, dict(fields.hints)
        return node

    def _map_plainly(self, place: Place, mapped: List[str], given: Dict[str, Any]) -> "List[R]":
        columns = [list(given[name]) for name in mapped]
        lengths = {len(column) for column in columns}
        if len(lengths) > 1:
            raise place.error(
                f"{self.function.__name__}.map(): "
                + ", ".join(f"{n} has {len(c)} items" for n, c in zip(mapped, columns))
            )
        same = {name: value for name, value in given.items() if name not in mapped}
        return [self.function(**same, **dict(zip(mapped, row))) for row in zip(*columns)]


def _is_mapped(value: Any) -> bool:
    if isinstance(value, Ref):
        return not isinstance(value, ParamRef)
    return isinstance(value, (list, tuple, range)) or hasattr(value, "__next__")


def _result(node: Node, hint: Any) -> Any:
    fields = _hints.fields(hint)
    if fields is not None:
        return FieldsRef(node, fields, hint)
    return OutputRef(node, "result", hint)


@overload
def task(function: "Callable[P, R]") -> "Task[P, R]": ...
@overload
def task(
    *,
    name: Optional[str] = None,
    description: Optional[str] = None,
    resources: "Mapping[str, Amount]" = ...,
    enforcement: Optional[str] = None,
    retries: int = 0,
    retry_delay: Duration = 0,
    retry_backoff: float = 2.0,
    timeout: Duration = 0,
    cache: Union[bool, str] = "auto",
    env: "Mapping[str, str]" = ...,
    files: "Sequence[str]" = (),
    mounts: "Sequence[str]" = (),
    allow_failure: bool = False,
    trigger: Optional[str] = None,
    image: Optional[str] = None,
    labels: "Mapping[str, str]" = ...,
) -> "Callable[[Callable[P, R]], Task[P, R]]": ...
def task(function: Optional[Callable[..., Any]] = None, **options: Any) -> Any:
    """Makes a function a task: `@task`, or `@task(retries=2, resources={"cpu": 2})`.

    name            in the pipeline; that of the function unless given
    resources       slots it takes while it runs: `{"cpu": 2, "mem": "1g", "cuda.shares": 0.5}`
    enforcement     "hardware": only devices that keep it to that themselves; "advisory": also such
                    as are kept by limits that it could break
    retries         how often it is tried again after a failure, `retry_delay` apart, each time
                    `retry_backoff` times as long
    timeout         of an attempt, in seconds or as "5m"
    cache           whether an earlier result for the same code and inputs may stand for it:
                    "auto" (yes, unless it writes to a mounted folder), True or False
    env             environment variables; "secret://env/NAME" is filled in when it starts
    files           what else it needs from beside its module: files and folders, relative to it
    mounts          shared folders of the pipeline that it sees: "FOLDER[:PATH[:ro]]"
    allow_failure   its failure neither fails the run nor stops the tasks after it
    trigger         "all_succeeded" (unless given), "all_done", "any_failed" or "none_failed"

    >>> from trackbed import task
    >>> @task(retries=2, resources={"cpu": 2})
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> double(21)
    42
    """
    local = sys._getframe(1).f_locals

    def decorate(decorated: Callable[..., Any]) -> "Task[Any, Any]":
        try:
            checked = Options().changed(options)
        except BuildError as error:
            raise Place.of_function(decorated).error(str(error)) from None
        return Task(decorated, checked, local)

    return decorate if function is None else decorate(function)

