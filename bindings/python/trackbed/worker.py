"""What the process of a task runs: it finds the function, its arguments, calls it, keeps the result.

    python worker.py TASK [NAME=VALUE …]

It works in the folder of the attempt, where the source is. `_trackbed/tasks/TASK.json` says what to
call and where each argument comes from; NAME=VALUE are parameters of the pipeline and values of the
engine, which are known only now.
"""

from __future__ import annotations

import collections
import importlib
import importlib.util
import json
import math
import os
import pathlib
import sys
import traceback
import types
from typing import Any, Callable, Dict, List

from . import _codec
from ._hints import parse_scalar
from .errors import TrackbedError


loading = False  # whether the module of a task is being loaded


class Attempt:
    """The task at hand, as the pipeline described it."""

    def __init__(self, task: str, values: List[str]) -> None:
        self.task = task
        self.work = pathlib.Path.cwd()
        self.inputs = pathlib.Path(os.environ["TRACKBED_INPUTS"])
        self.outputs = pathlib.Path(os.environ["TRACKBED_OUTPUTS"])
        with open(f"_trackbed/tasks/{task}.json", encoding="utf-8") as file:
            self.spec: Dict[str, Any] = json.load(file)
        self.values = dict(value.split("=", 1) for value in values)

    def function(self) -> Callable[..., Any]:
        global loading
        sys.path.insert(0, str(self.work))
        where = self.spec["function"]
        loading = True
        if "module" in where:
            module = importlib.import_module(where["module"])
        else:
            module = load_script(self.work / where["script"], _codec.MAIN)
        loading = False
        found = getattr(module, where["name"])
        return getattr(found, "function", found)  # type: ignore[no-any-return]

    def argument(self, binding: Dict[str, Any]) -> Any:
        """The value of one argument."""
        if "json" in binding:
            return binding["json"]
        if "items" in binding:
            file = self.inputs / binding["items"] / f"{binding['column']}.jsonl"
            return _codec.Items(file, base=self.inputs)
        if "data" in binding:
            return _codec.load_file(self.work / binding["data"], binding.get("lazy", False))
        if "path" in binding and "from" not in binding:
            return self.work / binding["path"]
        if "value" in binding:
            return parse_scalar(binding["value"], self.values[_value_name(binding)])
        if "param" in binding:
            return parse_scalar(binding["type"], self.values["params." + binding["param"]])
        if "list" in binding:
            items = [self.argument(item) for item in binding["list"]]
            return tuple(items) if binding.get("tuple") else items
        if "dict" in binding:
            return {key: self.argument(item) for key, item in binding["dict"].items()}
        if "first_of" in binding:
            return self._first(binding["first_of"])
        return self._input(binding)

    def _first(self, options: List[Dict[str, Any]]) -> Any:
        for option in options:
            folder = self.inputs / option["from"]
            if folder.is_dir() and any(folder.iterdir()):  # one that was skipped left nothing
                return self.argument(option)
        names = ", ".join(option["from"] for option in options)
        raise TrackbedError(f"none of {names} left a result")

    def _input(self, binding: Dict[str, Any]) -> Any:
        folder = self.inputs / binding["from"]
        if "file" in binding:
            return folder / binding["file"]
        if "fields" in binding:
            return assemble(binding, [_codec.load(folder, name) for name in binding["fields"]])
        load = _codec.load_batches if binding.get("mapped") else _codec.load
        value = load(folder, binding["output"], binding.get("lazy", False))
        for key in binding.get("path", ()):
            value = value[key]
        return value

    def keep(self, result: Any) -> None:
        """Leaves the result of the function for later tasks."""
        named = {"result": result}
        if self.spec["kind"] != "value":
            named = _take_apart(self.spec, result)
        declared: Dict[str, Any] = {}
        for name, value in named.items():
            what = f"{self.task}: its result" + ("" if name == "result" else f" {name!r}")
            kind = self.spec["declared"].get(name)
            if kind is not None:
                value = declared[name] = _checked(what, kind, value)
            _codec.save(
                self.outputs, name, value, what, lazy=name in self.spec.get("lazy_outputs", ())
            )
        if declared:
            with open(os.environ["TRACKBED_OUTPUT"], "a", encoding="utf-8") as file:
                file.write(json.dumps(declared) + "\n")


def _value_name(binding: Dict[str, Any]) -> str:
    return f"tasks.{binding['from']}.outputs.{binding['output']}"


def load_script(path: pathlib.Path, name: str) -> types.ModuleType:
    """Runs a file as a module that is not `__main__`, though pickled objects may call it that."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    setattr(module, "_trackbed_load", _codec_load(path))
    for known in (name, *_codec.MAIN_HERE):
        sys.modules[known] = module
    spec.loader.exec_module(module)
    return module


def _codec_load(path: pathlib.Path) -> Callable[[str], Any]:
    def load(name: str) -> Any:
        """What code made from a notebook takes its constants from."""
        return _codec.load_file(pathlib.Path.cwd() / name)

    return load


def _checked(what: str, kind: str, value: Any) -> Any:
    """A value that the engine takes: what its hint says, and finite."""
    from ._hints import coerce

    hint = {"string": str, "number": float, "integer": int, "boolean": bool}[kind]
    value = coerce(hint, value)
    if type(value) is not hint:
        raise TrackbedError(f"{what} is {value!r:.60}, a {type(value).__name__}; expected {kind}")
    if isinstance(value, float) and not math.isfinite(value):
        raise TrackbedError(f"{what} is {value}, which no condition can be decided by")
    return value


def _take_apart(spec: Dict[str, Any], result: Any) -> Dict[str, Any]:
    names, kind = spec["outputs"], spec["kind"]
    if kind == "tuple":
        if not isinstance(result, tuple) or len(result) != len(names):
            raise TrackbedError(
                f"returned {result!r:.60}, expected a tuple of {len(names)} values"
            )
        return dict(zip(names, result))
    if kind == "dict":
        missing = [name for name in names if name not in result]
        if missing:
            raise TrackbedError(f"returned a dict without {', '.join(missing)}")
        return {name: result[name] for name in names}
    return {name: getattr(result, name) for name in names}


def assemble(binding: Dict[str, Any], values: List[Any]) -> Any:
    names, kind = binding["fields"], binding["kind"]
    where = binding.get("class")
    if kind == "dict":
        return dict(zip(names, values))
    if kind == "tuple":
        return tuple(values)
    found = _class_at(where)
    if found is not None:
        return found(*values)
    if kind == "namedtuple":
        return collections.namedtuple("Result", names)(*values)
    return types.SimpleNamespace(**dict(zip(names, values)))


def _class_at(where: Any) -> Any:
    """The class of a result, where this process can have it."""
    if where is None:
        return None
    try:
        module = sys.modules.get(where["module"]) or importlib.import_module(where["module"])
    except ImportError:
        return None
    return getattr(module, where["name"], None)


def main(arguments: List[str]) -> int:
    """Returns the exit code of the task."""
    try:
        attempt = Attempt(arguments[0], arguments[1:])
        function = attempt.function()
        given = {n: attempt.argument(b) for n, b in attempt.spec["arguments"].items()}
        if attempt.spec["kind"] == "lists":
            from ._map import lay_out

            lay_out(attempt, given)
        elif attempt.spec.get("map"):
            from ._map import run_batch

            run_batch(attempt, function, given)
        else:
            attempt.keep(function(**given))
        return 0
    except TrackbedError as error:
        sys.stdout.flush()
        print(f"trackbed: {error}", file=sys.stderr)
    except BaseException as error:
        sys.stdout.flush()
        _print_error(error)
        if isinstance(error, SystemExit):
            return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 1


def _print_error(error: BaseException) -> None:
    """The traceback from the code of the user on."""
    if isinstance(error, SystemExit):
        if error.code is not None and not isinstance(error.code, int):
            print(error.code, file=sys.stderr)
        return
    here = os.path.dirname(__file__)
    found = error.__traceback__
    while found is not None and os.path.dirname(found.tb_frame.f_code.co_filename) == here:
        found = found.tb_next
    traceback.print_exception(type(error), error, found or error.__traceback__)
    if isinstance(error, ModuleNotFoundError):
        print(
            f"trackbed: if {error.name} lies beside the module of the task and is imported in a "
            "way that cannot be seen, name it: @task(files=[…])",
            file=sys.stderr,
        )
