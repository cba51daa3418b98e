"""Type hints as interfaces: what a hint means for values, documents and the command line."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import inspect
import numbers
import pathlib
import types
import typing
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple, Union

_UNIONS = tuple(t for t in (Union, getattr(types, "UnionType", None)) if t is not None)
_LAZY = (collections.abc.Iterator, collections.abc.Iterable, collections.abc.Generator)
_TYPE_NAMES = {str: "string", float: "number", int: "integer", bool: "boolean"}


class Fields(NamedTuple):
    """A result of several named parts, each an output of its own."""

    kind: str  # "tuple", "namedtuple", "dataclass" or "dict"
    hints: Dict[str, Any]


def resolve(function: Callable[..., Any], local: Mapping[str, Any]) -> Dict[str, Any]:
    """The evaluated hints of a function. One that cannot be evaluated counts as none."""
    names = dict(local)
    code = getattr(function, "__code__", None)
    if code is not None and function.__closure__:
        for name, cell in zip(code.co_freevars, function.__closure__):
            try:
                names[name] = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
    hints: Dict[str, Any] = {}
    for name, hint in getattr(function, "__annotations__", {}).items():
        holder = types.SimpleNamespace(__annotations__={name: hint})
        try:
            hints[name] = typing.get_type_hints(
                holder, getattr(function, "__globals__", {}), names, include_extras=True
            )[name]
        except Exception:  # of whatever the text of the hint does
            hints[name] = Any
    return hints


def strip(hint: Any) -> Any:
    """Without `Annotated`."""
    return strip(typing.get_args(hint)[0]) if hasattr(hint, "__metadata__") else hint


def name_of(hint: Any) -> str:
    """As a person writes it."""
    hint = strip(hint)
    if hint is None or hint is type(None):
        return "None"
    if isinstance(hint, type) and not typing.get_args(hint):
        return hint.__name__
    return str(hint).replace("typing.", "")


def scalar_type(hint: Any) -> Optional[str]:
    """ "string", "number", "integer" or "boolean"; None for anything else."""
    hint = strip(hint)
    if typing.get_origin(hint) is typing.Literal:
        kinds = {type(value) for value in typing.get_args(hint)}
        return _TYPE_NAMES.get(kinds.pop()) if len(kinds) == 1 else None
    return _TYPE_NAMES.get(hint) if isinstance(hint, type) else None


def choices(hint: Any) -> List[Any]:
    """Of a `Literal`; empty for anything else."""
    hint = strip(hint)
    return list(typing.get_args(hint)) if typing.get_origin(hint) is typing.Literal else []


def is_path(hint: Any) -> bool:
    hint = strip(hint)
    return isinstance(hint, type) and issubclass(hint, pathlib.PurePath)


def is_lazy(hint: Any) -> bool:
    """An iterator or iterable: its items are read or written one by one."""
    return (typing.get_origin(strip(hint)) or strip(hint)) in _LAZY


def item_hint(hint: Any) -> Any:
    """Of what an iterable of this hint yields."""
    args = typing.get_args(strip(hint))
    return args[0] if args else Any


def list_of(hint: Any) -> Any:
    return typing.cast(Any, List)[hint]


def fields(hint: Any) -> Optional[Fields]:
    """The named parts of a result: of a NamedTuple, dataclass, TypedDict or tuple[A, B]."""
    hint = strip(hint)
    if typing.get_origin(hint) is tuple:
        args = [a for a in typing.get_args(hint) if a != ()]
        if args and Ellipsis not in args:
            return Fields("tuple", {f"item{i}": arg for i, arg in enumerate(args)})
        return None
    if not isinstance(hint, type):
        return None
    if issubclass(hint, tuple) and hasattr(hint, "_fields"):
        evaluated = _class_hints(hint)
        return Fields("namedtuple", {n: evaluated.get(n, Any) for n in hint._fields})
    if dataclasses.is_dataclass(hint):
        evaluated = _class_hints(hint)
        return Fields(
            "dataclass", {f.name: evaluated.get(f.name, Any) for f in dataclasses.fields(hint)}
        )
    if issubclass(hint, dict) and hasattr(hint, "__total__"):
        return Fields("dict", _class_hints(hint))
    return None


def _class_hints(cls: type) -> Dict[str, Any]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except Exception:  # of whatever the text of a hint does
        return dict(getattr(cls, "__annotations__", {}))


def accepts(expected: Any, given: Any) -> bool:
    """Whether a value hinted `given` may be passed where `expected` is. In doubt, yes."""
    expected, given = strip(expected), strip(given)
    if expected is given or _unknown(expected) or _unknown(given):
        return True
    if typing.get_origin(given) in _UNIONS:
        return all(accepts(expected, part) for part in typing.get_args(given))
    if typing.get_origin(expected) in _UNIONS:
        return any(accepts(part, given) for part in typing.get_args(expected))
    if typing.get_origin(given) is typing.Literal:
        return all(accepts_value(expected, value) for value in typing.get_args(given))
    if typing.get_origin(expected) is typing.Literal:
        return scalar_type(expected) == scalar_type(given)
    wanted, got = _class_of(expected), _class_of(given)
    if wanted is None or got is None:
        return True
    if got in _LAZY or got is collections.abc.Sequence:  # arrives as a list
        got = list
    if not _is_subclass(got, wanted):
        return False
    inner, outer = typing.get_args(given), typing.get_args(expected)
    if not inner or not outer or wanted is tuple or len(inner) < len(outer):
        return True
    return all(accepts(o, i) for o, i in zip(outer, inner) if not isinstance(o, typing.TypeVar))


def accepts_value(expected: Any, value: Any) -> bool:
    """Whether this very value may be passed where `expected` is. In doubt, yes."""
    expected = strip(expected)
    if _unknown(expected):
        return True
    if typing.get_origin(expected) in _UNIONS:
        return any(accepts_value(part, value) for part in typing.get_args(expected))
    if typing.get_origin(expected) is typing.Literal:
        return any(value == c and type(value) is type(c) for c in typing.get_args(expected))
    if expected is None:
        return value is None
    wanted = _class_of(expected)
    if wanted is None:
        return True
    if not _is_subclass(type(value), wanted):
        return wanted in (float, int, complex) and _is_number(wanted, value)
    args = typing.get_args(expected)
    if args and wanted is list and isinstance(value, list):
        return all(accepts_value(args[0], item) for item in value)
    if len(args) == 2 and wanted is dict and isinstance(value, dict):
        return all(accepts_value(args[1], item) for item in value.values())
    return True


def coerce(hint: Any, value: Any) -> Any:
    """A number of NumPy as one of Python, where the hint asks for one; else the value itself."""
    kind = scalar_type(hint)
    if kind == "number" and isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    if kind == "integer" and isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if kind == "boolean" and type(value).__name__ in ("bool_", "bool"):
        return bool(value)
    return value


def parse_scalar(kind: str, text: str) -> Union[str, float, int, bool]:
    """Back from the text of a value of the engine."""
    if kind == "boolean":
        return text == "true"
    if kind == "integer":
        return int(text)
    return float(text) if kind == "number" else text




def _unknown(hint: Any) -> bool:
    return (
        hint is Any
        or hint is object
        or hint is inspect.Parameter.empty
        or isinstance(hint, (str, typing.TypeVar))
    )


def _class_of(hint: Any) -> Optional[type]:
    if hint is None:
        return type(None)
    origin = typing.get_origin(hint)
    if isinstance(origin, type):
        return origin
    return hint if isinstance(hint, type) else None


def _is_number(wanted: type, value: Any) -> bool:
    if isinstance(value, bool) or isinstance(value, enum.Enum):
        return False
    return isinstance(value, numbers.Integral if wanted is int else numbers.Complex)


def _is_subclass(got: type, wanted: type) -> bool:
    try:
        if issubclass(got, wanted):
            return not (got is bool and wanted in (int, float))
    except TypeError:  # a protocol that cannot be checked
        return True
    return (wanted is float and got is int) or (wanted is complex and got in (int, float))


def annotated_parts(hint: Any) -> Tuple[Any, ...]:
    """What stands in `Annotated` besides the type."""
    return tuple(getattr(hint, "__metadata__", ()))
