"""The graph that grows while the body of a pipeline runs."""

from __future__ import annotations

import contextvars
import os
import sys
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, Iterator, List, Optional, Set, Tuple

from . import _hints
from ._refs import Condition, FirstRef, Ref, as_condition
from .errors import BuildError

if TYPE_CHECKING:
    from ._options import Options

_current: "contextvars.ContextVar[Optional[Trace]]" = contextvars.ContextVar(
    "trackbed_trace", default=None
)


class Place:
    """A line of somebody's code."""

    def __init__(self, file: str, line: int) -> None:
        self.file = file
        self.line = line

    @classmethod
    def of_caller(cls) -> "Place":
        """The nearest frame that is not of this package."""
        frame = sys._getframe(1)
        here = os.path.dirname(__file__)
        while frame.f_back is not None and os.path.dirname(frame.f_code.co_filename) == here:
            frame = frame.f_back
        return cls(frame.f_code.co_filename, frame.f_lineno)

    @classmethod
    def of_function(cls, function: Callable[..., Any]) -> "Place":
        code = getattr(function, "__code__", None)
        return cls("?", 0) if code is None else cls(code.co_filename, code.co_firstlineno)

    def __str__(self) -> str:
        file = self.file
        if os.path.isabs(file):
            short = os.path.relpath(file)
            file = file if short.startswith("..") else short
        return f"{file}:{self.line}"

    def error(self, message: str) -> BuildError:
        return BuildError(f"{self}: {message}")


class Node:
    """One task of the graph."""

    def __init__(self, name: str, options: "Options", place: Place) -> None:
        self.name = name
        self.options = options
        self.place = place
        self.function: Optional[Callable[..., Any]] = None  # of a function task
        self.script: Optional[str] = None  # of a shell task
        self.approval: Optional[Dict[str, Any]] = None  # of one that asks people
        self.bindings: Dict[str, Any] = {}
        self.outputs: Dict[str, Any] = {}  # name -> hint
        self.kind = "value"  # or the kind of _hints.Fields
        self.map: Optional[Dict[str, Any]] = None  # how the items are run
        self.dependencies: List[str] = []
        self.when: List[Condition] = []
        self.joins = False  # takes the first of several branches
        self.declared: Dict[str, str] = {}  # outputs that are values of the engine

    @property
    def is_shell(self) -> bool:
        return self.script is not None

    def depend_on(self, node: "Node") -> None:
        if node is not self and node.name not in self.dependencies:
            self.dependencies.append(node.name)

    def declare(self, output: str, kind: str) -> str:
        """Makes an output a value of the engine; its name in expressions."""
        self.declared[output] = kind
        return f"tasks.{self.name}.outputs.{output}"


class Trace:
    """What one run of the body of a pipeline has asked for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: Dict[str, Node] = {}
        self.conditions: List[Condition] = []
        self._prefixes: List[str] = []
        self._taken: Set[str] = set()

    def add(self, name: str, options: "Options", place: Place, fixed: bool) -> Node:
        """A task with a name of its own: `name`, unless it was given by hand made unique."""
        prefix = "".join(part + "-" for part in self._prefixes)
        full = unique = prefix + name
        count = 1
        while unique in self._taken:
            if fixed:
                raise place.error(
                    f'there is a task "{full}" already, from {self.nodes[full].place}'
                )
            count += 1
            unique = f"{full}-{count}"
        self._taken.add(unique)
        node = Node(unique, options, place)
        node.when = list(self.conditions)
        for condition in node.when:
            for needed in condition._nodes:
                node.depend_on(needed)
        for needed_ref in options.after:
            for needed in needed_ref._nodes():
                node.depend_on(needed)
        self.nodes[unique] = node
        return node

    def bind(self, node: Node, value: Any) -> None:
        """Notes what a task depends on through an argument."""
        if isinstance(value, FirstRef):
            node.joins = True
        if isinstance(value, Ref):
            for needed in value._nodes():
                node.depend_on(needed)
        elif type(value) in (list, tuple):
            for item in value:
                self.bind(node, item)
        elif type(value) is dict:
            for item in value.values():
                self.bind(node, item)

    def depend_on_named(self, node: Node, names: Iterable[str]) -> None:
        """The dependencies of a task by what its text names; other names are none of ours."""
        for name in names:
            if name in self.nodes:
                node.depend_on(self.nodes[name])

    def inline(self, name: str, body: Callable[[], Any]) -> Any:
        """Runs the body of a pipeline within this one: its tasks get a prefix."""
        prefix = "".join(part + "-" for part in self._prefixes)
        unique, count = name, 1
        while prefix + unique + "-" in self._taken:
            count += 1
            unique = f"{name}-{count}"
        self._taken.add(prefix + unique + "-")
        self._prefixes.append(unique)
        try:
            return body()
        finally:
            self._prefixes.pop()

    def activate(self) -> "contextvars.Token[Optional[Trace]]":
        return _current.set(self)

    def deactivate(self, token: "contextvars.Token[Optional[Trace]]") -> None:
        _current.reset(token)


def current() -> Optional[Trace]:
    """The pipeline that is being put together in this context, if one is."""
    return _current.get()


def within_pipeline(what: str, place: Place) -> Trace:
    """The pipeline that is being put together; an error where none is."""
    trace = current()
    if trace is None:
        raise place.error(f"{what} belongs into the body of a @pipeline")
    return trace


def check_argument(place: Place, what: str, hint: Any, value: Any, declared: str) -> None:
    """Compares an argument with the hint of its parameter."""
    if isinstance(value, Ref):
        if not _hints.accepts(hint, value._hint):
            raise place.error(
                f"{what} is {_hints.name_of(value._hint)}, expected {_hints.name_of(hint)} "
                f"({declared})"
            )
        return
    if type(value) in (list, tuple, dict) and _has_ref(value):
        return
    if not _hints.accepts_value(hint, value):
        raise place.error(
            f"{what} is {value!r:.60}, a {type(value).__name__}; expected {_hints.name_of(hint)} "
            f"({declared})"
        )


def _has_ref(value: Any) -> bool:
    return any(isinstance(found, Ref) for found in walk(value))


def walk(value: Any) -> Iterator[Any]:
    """A value and what lists, tuples and dicts in it hold."""
    yield value
    if type(value) in (list, tuple):
        for item in value:
            yield from walk(item)
    elif type(value) is dict:
        for item in value.values():
            yield from walk(item)


class when:
    """Tasks called in its block run only if the condition holds; others are skipped.

    >>> from trackbed import pipeline, task, when
    >>> @task
    ... def score() -> float:
    ...     return 0.95
    >>> @task
    ... def publish() -> None: ...
    >>> @pipeline
    ... def release(limit: float = 0.9) -> None:
    ...     found = score()
    ...     with when(found > limit):
    ...         publish()
    >>> print(release.describe())
    score
    publish  after score  when tasks.score.outputs.result > params.limit
    """

    def __init__(self, condition: Any) -> None:
        self._plain = not isinstance(condition, (Condition, Ref))
        self._condition = None if current() is None else as_condition(condition)
        if self._condition is None and not condition:
            raise Place.of_caller().error(
                "outside a pipeline `when` is a plain `with`, which cannot leave out its block: "
                "use `if`"
            )

    def __enter__(self) -> Optional[Condition]:
        trace = current()
        if trace is not None and self._condition is not None:
            trace.conditions.append(self._condition)
        return self._condition

    def __exit__(self, *_: object) -> None:
        trace = current()
        if trace is not None and self._condition is not None:
            trace.conditions.pop()




def nodes_of(value: Any) -> Tuple[Node, ...]:
    return tuple(n for found in walk(value) if isinstance(found, Ref) for n in found._nodes())
