"""What stands for a value while a pipeline is put together: nothing has run yet."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, NoReturn, Optional, Tuple, Union

from . import _hints
from .errors import BuildError

if TYPE_CHECKING:
    from ._trace import Node

_TEMPLATE_TASK = re.compile(r"tasks\.([A-Za-z0-9_.-]+?)\.(?:outputs|state)\b")


def literal(value: Any) -> str:
    """A constant in the engine's expressions."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    raise BuildError(
        f"a condition compares with a text, a number or a boolean, not with {type(value).__name__}"
    )


def _operand(value: Any) -> "Tuple[str, Tuple[Node, ...]]":
    if isinstance(value, Ref):
        return value._expression(), value._nodes()
    return literal(value), ()


class Condition:
    """When a task runs, decided while the pipeline runs: `when(score > 0.9)`.

    Made by comparing values of tasks and parameters; joined by `&`, `|` and `~`.
    """

    def __init__(self, text: str, nodes: "Tuple[Node, ...]") -> None:
        self._text = text
        self._nodes = nodes

    def __and__(self, other: "Condition") -> "Condition":
        return self._join("and", other)

    def __or__(self, other: "Condition") -> "Condition":
        return self._join("or", other)

    def __invert__(self) -> "Condition":
        return Condition(f"not ({self._text})", self._nodes)

    def _join(self, word: str, other: Any) -> "Condition":
        other = as_condition(other)
        return Condition(
            f"({self._text}) {word} ({other._text})", self._nodes + tuple(other._nodes)
        )

    def __bool__(self) -> NoReturn:
        raise BuildError(
            f"`{self._text}` is decided when the pipeline runs, not while it is put together: "
            "use `with when(…):`, and `&`, `|`, `~` in place of `and`, `or`, `not`"
        )

    def __repr__(self) -> str:
        return f"<condition {self._text}>"


def as_condition(value: Any) -> Condition:
    if isinstance(value, Condition):
        return value
    if isinstance(value, Ref) and _hints.scalar_type(value._hint) == "boolean":
        return Condition(value._expression(), value._nodes())
    if isinstance(value, bool):
        return Condition(f"{literal(value)} == true", ())
    raise BuildError(f"expected a condition or a boolean, found {describe(value)}")


class Ref:
    """A value that is not there yet. Pass it to tasks, compare it in `when`, or return it."""

    _hint: Any = Any

    def _expression(self) -> str:
        raise NotImplementedError

    def _nodes(self) -> "Tuple[Node, ...]":
        return ()

    def _binding(self) -> Dict[str, Any]:
        raise NotImplementedError

    def _compare(self, sign: str, other: Any) -> Condition:
        text, nodes = _operand(other)
        return Condition(f"{self._expression()} {sign} {text}", self._nodes() + nodes)

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]
        return self._compare("==", other)

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]
        return self._compare("!=", other)

    def __lt__(self, other: Any) -> Condition:
        return self._compare("<", other)

    def __le__(self, other: Any) -> Condition:
        return self._compare("<=", other)

    def __gt__(self, other: Any) -> Condition:
        return self._compare(">", other)

    def __ge__(self, other: Any) -> Condition:
        return self._compare(">=", other)

    __hash__ = object.__hash__

    def is_in(self, values: Union[List[Any], Tuple[Any, ...]]) -> Condition:
        """Whether it is one of these constants."""
        text = ", ".join(literal(value) for value in values)
        return Condition(f"{self._expression()} in [{text}]", self._nodes())

    def __format__(self, spec: str) -> str:
        """In an f-string, for `shell`: replaced by the value when the task runs."""
        if spec:
            raise BuildError("a value that is not there yet has no format: leave out the `:…`")
        return "${{ " + self._expression() + " }}"

    def __str__(self) -> str:
        return self.__format__("")

    def _not_yet(self, what: str) -> BuildError:
        return BuildError(
            f"{describe(self)} has no value while the pipeline is put together: {what}"
        )

    def __bool__(self) -> bool:
        raise self._not_yet("use `with when(…):` in place of `if`")

    def __len__(self) -> int:
        raise self._not_yet("count it in a task")

    def __iter__(self) -> Iterator[Any]:
        raise self._not_yet("use TASK.map(…) in place of a loop")

    def __add__(self, other: Any) -> Any:
        raise self._not_yet("calculate in a task")

    __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __add__
    __call__ = __float__ = __int__ = __neg__ = __add__


class ParamRef(Ref):
    """A parameter of the pipeline."""

    def __init__(self, name: str, hint: Any) -> None:
        self._name = name
        self._hint = hint

    def _expression(self) -> str:
        return f"params.{self._name}"

    def _binding(self) -> Dict[str, Any]:
        return {"param": self._name, "type": _hints.scalar_type(self._hint)}

    def __repr__(self) -> str:
        return f"<parameter {self._name}: {_hints.name_of(self._hint)}>"


class OutputRef(Ref):
    """One output of a task, or a part of it."""

    def __init__(
        self, node: "Node", output: str, hint: Any, path: Tuple[Union[str, int], ...] = ()
    ) -> None:
        self._node = node
        self._output = output
        self._hint = hint
        self._path = path

    def _nodes(self) -> "Tuple[Node, ...]":
        return (self._node,)

    def _expression(self) -> str:
        kind = _hints.scalar_type(self._hint)
        if kind is None or self._path:
            raise BuildError(
                f"{describe(self)} is a {_hints.name_of(self._hint)}; only a text, a number or a "
                "boolean that is a whole output can be compared or put into a command"
            )
        return self._node.declare(self._output, kind)

    def _binding(self) -> Dict[str, Any]:
        binding: Dict[str, Any] = {"from": self._node.name, "output": self._output}
        if self._node.is_shell:
            binding["value"] = _hints.scalar_type(self._hint)
        if self._node.map is not None:
            binding["mapped"] = True
        if self._path:
            binding["path"] = list(self._path)
        return binding

    def __format__(self, spec: str) -> str:
        if _hints.is_path(self._hint) and not spec and not self._path:
            return f'"$TRACKBED_INPUTS"/{self._node.name}/{self._output}/*'
        return super().__format__(spec)

    def __getitem__(self, key: Union[str, int]) -> "OutputRef":
        if not isinstance(key, (str, int)):
            raise BuildError(f"{describe(self)}[…] takes a name or a number")
        return OutputRef(self._node, self._output, Any, self._path + (key,))

    def __repr__(self) -> str:
        return f"<{self._output} of task {self._node.name}: {_hints.name_of(self._hint)}>"


class FieldsRef(Ref):
    """The whole result of a task that has several named outputs."""

    def __init__(self, node: "Node", fields: _hints.Fields, hint: Any) -> None:
        self._node = node
        self._fields = fields
        self._hint = hint

    def _nodes(self) -> "Tuple[Node, ...]":
        return (self._node,)

    def _field(self, name: str) -> OutputRef:
        return OutputRef(self._node, name, self._fields.hints[name])

    def _expression(self) -> str:
        raise BuildError(
            f"{describe(self)} has several parts: {', '.join(self._fields.hints)}; name one of them"
        )

    def _binding(self) -> Dict[str, Any]:
        return {
            "from": self._node.name,
            "fields": list(self._fields.hints),
            "kind": self._fields.kind,
        }

    def __getattr__(self, name: str) -> OutputRef:
        if name.startswith("_") or name not in self._fields.hints:
            raise AttributeError(
                f"task {self._node.name} has no output {name!r}; it has "
                f"{', '.join(self._fields.hints)}"
            )
        return self._field(name)

    def __getitem__(self, key: Union[str, int]) -> OutputRef:
        names = list(self._fields.hints)
        if isinstance(key, int) and -len(names) <= key < len(names):
            return self._field(names[key])
        if isinstance(key, str) and key in names:
            return self._field(key)
        if isinstance(key, int):  # ends an unpacking, too
            raise IndexError(f"task {self._node.name} has {len(names)} outputs")
        raise KeyError(key)

    def __iter__(self) -> Iterator[OutputRef]:
        return iter([self._field(name) for name in self._fields.hints])

    def __len__(self) -> int:
        return len(self._fields.hints)

    def __repr__(self) -> str:
        return f"<result of task {self._node.name}: {', '.join(self._fields.hints)}>"


class FirstRef(Ref):
    """The value of whichever of several tasks ran."""

    def __init__(self, options: Tuple[Ref, ...]) -> None:
        self._options = options
        self._hint = options[0]._hint

    def _nodes(self) -> "Tuple[Node, ...]":
        return tuple(node for option in self._options for node in option._nodes())

    def _expression(self) -> str:
        raise BuildError("first_of(…) cannot be compared; compare in a task that takes it")

    def _binding(self) -> Dict[str, Any]:
        return {"first_of": [option._binding() for option in self._options]}

    def __repr__(self) -> str:
        return f"<first of {', '.join(map(repr, self._options))}>"


def first_of(*options: Any) -> Any:
    """The value of the first of these that was not skipped: joins the branches of a condition.

    The task that takes it runs when none of them failed and at least one ran.
    """
    from ._trace import current

    if current() is None:  # plain calls: what did not run is None
        return next((option for option in options if option is not None), None)
    if not options or not all(isinstance(option, Ref) for option in options):
        raise BuildError("first_of(…) takes results of tasks")
    return FirstRef(options)


def referenced_tasks(text: str) -> List[str]:
    """The tasks that templates in a text name."""
    return _TEMPLATE_TASK.findall(text)


def describe(value: Any) -> str:
    """For messages."""
    if isinstance(value, (Ref, Condition)):
        return repr(value)[1:-1]
    text: Optional[str] = None
    if isinstance(value, (str, int, float, bool, type(None))):
        text = repr(value)
    return text if text is not None and len(text) < 60 else f"a {type(value).__name__}"
