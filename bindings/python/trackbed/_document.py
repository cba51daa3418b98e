"""From a traced graph to what the engine takes: a document, and a folder with the code."""

from __future__ import annotations

import array
import hashlib
import inspect
import itertools
import json
import pathlib
import shutil
import sys
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Set

from . import _carry, _codec, _hints
from ._refs import Ref
from ._trace import Node, Place, Trace
from .errors import BuildError

_BOOT = """\
import sys

from trackbed.worker import main

sys.exit(main(sys.argv[1:]))
"""
_BATCHES = 32  # of a map that says nothing about them
_BATCHES_EACH = 4  # of one that says how many run at once


class Range(NamedTuple):
    """Bounds of a parameter: `Annotated[float, Range(0, 1)]`."""

    minimum: Optional[float] = None
    maximum: Optional[float] = None


class Document:
    """A pipeline as the engine reads it, and the files that travel with it."""

    def __init__(
        self,
        trace: Trace,
        parameters: Mapping[str, inspect.Parameter],
        hints: Mapping[str, Any],
        result: Any,
        description: str,
        python: str,
        place: Place,
    ) -> None:
        self._trace = trace
        self._python = python
        self._texts: Dict[str, bytes] = {}
        self._copies: Dict[str, pathlib.Path] = {}
        self._codes: Dict[str, _carry.Code] = {}
        self._counts: Dict[str, int] = {}  # of items in files to map over
        self.places: List[Place] = []  # of the tasks
        if not trace.nodes:
            raise place.error(f"pipeline {trace.name} calls no task")
        functions = any(node.function is not None for node in trace.nodes.values())
        for node in trace.nodes.values():  # conditions say which outputs are needed as values
            self._declare_scalars(node)
        self.fields: Dict[str, Any] = {"name": trace.name}
        if description:
            self.fields["description"] = description
        if functions:
            self.fields["source"] = "source"
            self._add_package()
        found = {n: _parameter(place, p, hints.get(n, Any)) for n, p in parameters.items()}
        if found:
            self.fields["parameters"] = found
        self.fields["environment"] = {"PYTHONUNBUFFERED": "1"}
        folders = {m.partition(":")[0] for n in trace.nodes.values() for m in n.options.mounts}
        if folders:
            self.fields["folders"] = {name: {} for name in sorted(folders)}
        self.fields["tasks"] = []
        for node in trace.nodes.values():
            tasks = self._tasks(node)
            self.fields["tasks"] += tasks
            self.places += [node.place] * len(tasks)
        self._result = self._binding(place, "the result of the pipeline", result, None)
        published = self._published(result)
        if published:
            self.fields["results"] = published

    def json(self) -> str:
        return json.dumps(self.fields, indent=1)

    def notes(self) -> str:
        """What Python needs to know later to read the results of a run, as JSON."""
        nodes = self._trace.nodes.items()
        tasks = {
            name: {
                "kind": "map" if node.map is not None else node.kind,
                "outputs": list(node.outputs),
            }
            for name, node in nodes
        }
        return json.dumps(
            {"result": self._result, "tasks": tasks, "document": self.fields["tasks"]}
        )

    def write_source(self, folder: pathlib.Path) -> None:
        """Writes what `source` of the document names below `folder`."""
        root = folder / "source"
        for name, file in self._copies.items():
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.is_dir():
                shutil.copytree(file, target, dirs_exist_ok=True)
            else:
                shutil.copy2(file, target)
        for name, content in self._texts.items():
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)

    # --- Tasks ---

    @staticmethod
    def _declare_scalars(node: Node) -> None:
        """Numbers and booleans are values of the engine, to be seen; texts only if asked for."""
        if node.map is not None or node.is_shell:
            return
        for name, hint in node.outputs.items():
            if _hints.scalar_type(hint) in ("integer", "boolean"):
                node.declare(name, str(_hints.scalar_type(hint)))

    def _tasks(self, node: Node) -> List[Dict[str, Any]]:
        """The task of a node; before that of a map, the one that lays out its lists."""
        fields: Dict[str, Any] = {"name": node.name}
        before: Optional[Dict[str, Any]] = None
        if node.function is not None:
            run, before = self._function_task(node)
            fields.update(run)
        elif node.approval is not None:
            fields["approval"] = node.approval
        else:
            fields["command"] = node.script
            if node.options.files:
                raise node.place.error("files: only tasks that are functions have a source")
        shared: Dict[str, Any] = {}
        if node.dependencies:
            shared["dependencies"] = node.dependencies
        if node.when:
            texts = [condition._text for condition in node.when]
            shared["when"] = texts[0] if len(texts) == 1 else " and ".join(f"({t})" for t in texts)
        if node.joins and node.options.trigger is None:
            shared["trigger"] = "none_failed"
        fields.update(shared)
        if node.declared:
            fields["outputs"] = dict(node.declared)
        options = node.options.fields()
        fields.update(options)
        if before is None:
            return [fields]
        fields["dependencies"] = [*node.dependencies, before["name"]]
        alike = ("environment", "image", "cache", "trigger")
        before.update(shared, **{name: options[name] for name in alike if name in options})
        return [before, fields]

    def _function_task(self, node: Node) -> "tuple[Dict[str, Any], Optional[Dict[str, Any]]]":
        assert node.function is not None
        try:
            code = self._code(node.function)
        except BuildError as error:
            raise node.place.error(str(error)) from None
        files = self._take(code)
        for needed in node.dependencies:  # their results may be of classes from their modules
            upstream = self._trace.nodes[needed]
            if upstream.function is not None and not _only_scalars(upstream):
                files |= self._take(self._code(upstream.function))
        files |= self._extra_files(node, code)
        spec: Dict[str, Any] = {
            "function": code.function,
            "kind": node.kind,
            "outputs": list(node.outputs),
            "declared": node.declared,
            "lazy_outputs": [n for n, h in node.outputs.items() if _hints.is_lazy(h)],
            "python": sys.version.split()[0],
            "packages": code.packages,
            "arguments": {},
        }
        hints = _hints.resolve(node.function, {})
        for name, value in node.bindings.items():
            what = f'{node.function.__name__}() argument "{name}"'
            bound = self._binding(
                node.place, what, value, files,
                mapped=node.map is not None and name in node.map["over"],
                lazy=_hints.is_lazy(hints.get(name, Any)), code=code,
            )  # fmt: skip
            spec["arguments"][name] = bound
        if node.map is None:
            return self._command(node.name, spec, files), None
        item = _hints.scalar_type(_hints.item_hint(node.outputs["result"]))
        spec["map"] = {"over": node.map["over"], "item": item}
        lists = {name: spec["arguments"][name] for name in node.map["over"]}
        before: Optional[Dict[str, Any]] = None
        counts = {name: self._counts.get(_place_of(bound)) for name, bound in lists.items()}
        if None in counts.values():
            before = {"name": self._name_beside(node, "items"), "outputs": {"count": "integer"}}
            before.update(
                self._command(before["name"], dict(spec, kind="lists", arguments=lists), files)
            )
            for name in lists:
                spec["arguments"][name] = {"items": before["name"], "column": name}
            over = f"${{{{ tasks.{before['name']}.outputs.count }}}}"
        elif len(set(counts.values())) > 1:
            found = ", ".join(f"{name} has {count} items" for name, count in counts.items())
            raise node.place.error(f"{node.function.__name__}.map(): {found}")
        else:
            over = str(next(iter(counts.values())))
        fields = self._command(node.name, spec, files)
        fields["map"] = {"over": over, **_batches(node.map["batch"], node.map["concurrency"])}
        return fields, before

    def _command(self, name: str, spec: Dict[str, Any], files: Set[str]) -> Dict[str, Any]:
        """What runs the function of a task, and what it needs for that."""
        path = f"_trackbed/tasks/{name}.json"
        self._texts[path] = json.dumps(spec, indent=1).encode()
        command = [self._python, "-B", "_trackbed/worker.py", name]
        command += [f"{name}=${{{{ {name} }}}}" for name in sorted(_values(spec["arguments"]))]
        return {
            "command": command,
            "files": sorted(files | {path, "_trackbed/worker.py", "_trackbed/trackbed"}),
        }

    def _name_beside(self, node: Node, what: str) -> str:
        name = f"{node.name}-{what}"
        while name in self._trace.nodes:
            name += "-"
        return name

    def _code(self, function: Callable[..., Any]) -> _carry.Code:
        key = str(id(function))
        if key not in self._codes:
            self._codes[key] = _carry.code_of(function)
        return self._codes[key]

    def _take(self, code: _carry.Code) -> Set[str]:
        """Takes code into the source; the names of its files there."""
        for name, file in code.files.items():
            other = self._copies.setdefault(name, file)
            if other != file:
                raise BuildError(f"two modules would be the same file {name}: {other} and {file}")
        self._texts.update(code.texts)
        return set(code.files) | set(code.texts)

    def _extra_files(self, node: Node, code: _carry.Code) -> Set[str]:
        assert node.function is not None
        names: Set[str] = set()
        root = _project_of(node.function, code)
        for given in node.options.files:
            file = root / given
            if ".." in pathlib.PurePath(given).parts or pathlib.PurePath(given).is_absolute():
                raise node.place.error(
                    f"files: {given} is not below {root}; pass it as an argument: a Path"
                )
            if not file.exists():
                raise node.place.error(f"files: there is no {file}")
            self._copies[given.rstrip("/")] = file
            names.add(given.rstrip("/"))
        return names

    def _add_package(self) -> None:
        here = pathlib.Path(__file__).parent
        for file in here.glob("*.py"):
            self._copies[f"_trackbed/trackbed/{file.name}"] = file
        self._texts["_trackbed/worker.py"] = _BOOT.encode()

    # --- Values ---

    def _binding(
        self,
        place: Place,
        what: str,
        value: Any,
        files: Optional[Set[str]],
        mapped: bool = False,
        lazy: bool = False,
        code: Optional[_carry.Code] = None,
    ) -> Dict[str, Any]:
        """Where a value comes from when the task runs. Constants become files of the source."""
        if isinstance(value, Ref):
            bound = value._binding()
            if (mapped or lazy) and "output" in bound and "path" not in bound:
                bound["lazy"] = True
            if "fields" in bound and isinstance(value._hint, type):
                module = value._hint.__module__
                module = _codec.MAIN if module in _codec.MAIN_HERE else module
                bound["class"] = {"module": module, "name": value._hint.__qualname__}
            return bound
        if mapped:
            return self._items(place, what, value, files)
        if _codec.is_plain(value) and len(repr(value)) < 4096:
            return {"json": value}
        if type(value) in (list, tuple):
            return {
                "list": [self._binding(place, what, v, files, code=code) for v in value],
                "tuple": type(value) is tuple,
            }
        if type(value) is dict and all(type(key) is str for key in value):
            bindings = {
                k: self._binding(place, what, v, files, code=code) for k, v in value.items()
            }
            return {"dict": bindings}
        if isinstance(value, pathlib.PurePath):
            return self._path(place, what, pathlib.Path(value), files)
        try:
            ending, data = _encoded(value, what)
        except BuildError as error:
            raise place.error(str(error)) from None
        return self._keep(data, ending, files)

    def _items(
        self, place: Place, what: str, values: Any, files: Optional[Set[str]]
    ) -> Dict[str, Any]:
        try:
            lines = [_codec.encode_item(v, f"{what}, item {i},") for i, v in enumerate(values)]
        except BuildError as error:
            raise place.error(str(error)) from None
        starts = array.array("Q", itertools.accumulate((len(line) + 1 for line in lines), initial=0))
        starts.pop()
        bound = self._keep(b"".join(line + b"\n" for line in lines), ".jsonl", files)
        index = bound["data"][: -len("jsonl")] + "index"
        self._texts[index] = starts.tobytes()
        assert files is not None
        files.add(index)
        self._counts[bound["data"]] = len(lines)
        return dict(bound, lazy=True)

    def _path(
        self, place: Place, what: str, path: pathlib.Path, files: Optional[Set[str]]
    ) -> Dict[str, Any]:
        """A file travels with the code. A folder does not: it is named by its absolute path."""
        if not path.exists():
            raise place.error(f"{what}: there is no {path}")
        if path.is_dir() or files is None:
            return {"path": str(path.absolute())}
        data = path.read_bytes()
        name = f"_trackbed/data/{hashlib.sha256(data).hexdigest()[:16]}/{path.name}"
        self._texts[name] = data
        files.add(name)
        return {"path": name}

    def _keep(self, data: bytes, ending: str, files: Optional[Set[str]]) -> Dict[str, Any]:
        if files is None:
            raise BuildError(
                "a pipeline returns results of tasks, parameters, texts and numbers; "
                "other values belong into a task"
            )
        path = f"_trackbed/data/{hashlib.sha256(data).hexdigest()[:16]}{ending}"
        self._texts[path] = data
        files.add(path)
        return {"data": path}

    def _published(self, result: Any) -> Dict[str, str]:
        """Results that are one file whose name is known."""
        if isinstance(result, Ref):
            result = {"result": result}
        elif type(result) in (list, tuple):
            result = {f"result{i}": value for i, value in enumerate(result)}
        if type(result) is not dict:
            return {}
        found: Dict[str, str] = {}
        for name, value in result.items():
            bound = value._binding() if isinstance(value, Ref) else {}
            node = self._trace.nodes.get(str(bound.get("from")))
            if node is None or node.is_shell or "output" not in bound or "path" in bound:
                continue
            ending = _ending(node, bound["output"])
            if ending:
                found[f"{name}{ending}"] = f"{node.name}/{bound['output']}{ending}"
        return found


def _place_of(binding: Dict[str, Any]) -> str:
    """Of a list that is kept with the code."""
    return str(binding.get("data", ""))


def _batches(batch: Optional[int], concurrency: Optional[int]) -> Dict[str, int]:
    """How items are dealt out: unless told otherwise to few batches, which evens out how long they
    take and costs few processes."""
    found = {"batches": _BATCHES_EACH * concurrency if concurrency else _BATCHES}
    if batch is not None:
        found = {"batch": batch}
    if concurrency is not None:
        found["concurrency"] = concurrency
    return found


def _encoded(value: Any, what: str) -> "tuple[str, bytes]":
    if _codec.is_plain(value):
        return ".json", json.dumps(value).encode()
    if _codec.is_array(value):
        import io

        import numpy

        buffer = io.BytesIO()
        numpy.save(buffer, value, allow_pickle=False)
        return ".npy", buffer.getvalue()
    return ".pkl", _codec.pickled(value, what)


def _ending(node: Node, output: str) -> str:
    if node.map is not None:  # a file for each batch
        return ""
    hint = _hints.strip(node.outputs[output])
    if _hints.scalar_type(hint) is not None:
        return ".json"
    name = getattr(hint, "__name__", "")
    return ".npy" if name == "ndarray" else ""


def _only_scalars(node: Node) -> bool:
    return all(
        _hints.scalar_type(hint) is not None or _hints.is_path(hint)
        for hint in node.outputs.values()
    )


def _project_of(function: Callable[..., Any], code: _carry.Code) -> pathlib.Path:
    """The folder that files of a task are relative to: of its module, or the current one."""
    for name, file in code.files.items():
        if str(file).endswith(name):
            return pathlib.Path(str(file)[: -len(name)])
    return pathlib.Path.cwd()


def _values(arguments: Mapping[str, Dict[str, Any]]) -> Set[str]:
    """The values of the engine that arguments need."""
    found: Set[str] = set()
    for binding in arguments.values():
        if "param" in binding:
            found.add("params." + binding["param"])
        elif binding.get("value"):
            found.add(f"tasks.{binding['from']}.outputs.{binding['output']}")
        elif "list" in binding:
            found |= _values({str(i): b for i, b in enumerate(binding["list"])})
        elif "dict" in binding:
            found |= _values(binding["dict"])
    return found


def _parameter(place: Place, parameter: inspect.Parameter, hint: Any) -> Dict[str, Any]:
    default = parameter.default
    if hint is Any and default is not inspect.Parameter.empty:
        hint = type(default)
    kind = _hints.scalar_type(hint)
    if kind is None:
        raise place.error(
            f'parameter "{parameter.name}" is {_hints.name_of(hint)}; a parameter of a pipeline is '
            "str, float, int, bool or a Literal of these"
        )
    fields: Dict[str, Any] = {"type": kind}
    if default is not inspect.Parameter.empty:
        if not _hints.accepts_value(hint, default):
            raise place.error(
                f'parameter "{parameter.name}": its default {default!r} is not '
                f"{_hints.name_of(hint)}"
            )
        fields["default"] = _hints.coerce(hint, default)
    choices = _hints.choices(hint)
    if choices:
        fields["choices"] = choices
    for part in _hints.annotated_parts(hint):
        if isinstance(part, str):
            fields["description"] = part
        elif isinstance(part, Range):
            fields.update({k: v for k, v in part._asdict().items() if v is not None})
    return fields

