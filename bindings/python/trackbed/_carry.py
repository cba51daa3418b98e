"""Makes the code of a task travel: which files of its project a function needs, and a module of its
own for a function that no file holds (one of a notebook, or within another function)."""

from __future__ import annotations

import ast
import builtins
import functools
import hashlib
import inspect
import linecache
import os
import pathlib
import sys
import textwrap
import types
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set, Tuple

from . import _codec
from .errors import CarryError


class Code(NamedTuple):
    """How to get at a function in another process."""

    function: Dict[str, str]  # {"script": "digits.py"} or {"module": "pkg.steps"}, and "name"
    files: Dict[str, pathlib.Path]  # of the project: path in the source -> where it is
    texts: Dict[str, bytes]  # files that are made for it: path in the source -> content
    packages: Dict[str, str]  # what else it imports -> version


def code_of(function: Callable[..., Any]) -> Code:
    """Everything that the process of a task needs to call this function."""
    module = sys.modules.get(function.__module__)
    file = getattr(module, "__file__", None)
    at_top = "." not in function.__qualname__
    if at_top and file is not None and os.path.exists(file):
        return _from_module(function, function.__module__, pathlib.Path(file))
    return _Synthesis(function).code()


# --- Functions that a file holds ---


def _from_module(function: Callable[..., Any], module: str, file: pathlib.Path) -> Code:
    file = file.resolve()
    if module in (*_codec.MAIN_HERE, _codec.MAIN):
        root = file.parent
        where = {"script": file.name, "name": function.__name__}
    else:
        root = _root_of(module, file)
        where = {"module": module, "name": function.__name__}
    files, packages = _closure(root, (file,))
    return Code(where, files, {}, packages)


def _root_of(module: str, file: pathlib.Path) -> pathlib.Path:
    """The folder from which the module is imported."""
    depth = module.count(".") + (file.name == "__init__.py")
    return file.parents[depth]


def _closure(
    root: pathlib.Path, start: Tuple[pathlib.Path, ...]
) -> Tuple[Dict[str, pathlib.Path], Dict[str, str]]:
    """The files below `root` that these import, directly or not, and versions of what else is."""
    todo, seen, outside = list(start), set(), set()
    while todo:
        file = todo.pop()
        if file in seen:
            continue
        seen.add(file)
        for folder in file.parents:  # packages run their __init__.py first
            if folder == root:
                break
            if (folder / "__init__.py").exists():
                todo.append(folder / "__init__.py")
        for name in _imports(str(file), file.stat().st_mtime_ns, str(root)):
            found = _find(root, name)
            todo.extend(found)
            if not found:
                outside.add(name.partition(".")[0])
    files = {str(file.relative_to(root)): file for file in sorted(seen)}
    return files, versions(outside)


def _find(root: pathlib.Path, name: str) -> List[pathlib.Path]:
    path = root.joinpath(*name.split("."))
    found = [f for f in (path / "__init__.py", path.with_name(path.name + ".py")) if f.is_file()]
    if found or "." not in name:
        return found
    return _find(root, name.rpartition(".")[0])  # "from module import name"


@functools.lru_cache(maxsize=4096)
def _imports(file: str, _changed: int, root: str) -> Tuple[str, ...]:
    """The dotted names that a file imports, anywhere in it."""
    try:
        tree = ast.parse(pathlib.Path(file).read_bytes())
    except SyntaxError:  # found when it is run, with all that Python says about it
        return ()
    package = list(pathlib.Path(file).parent.relative_to(root).parts)
    return tuple(sorted(_imported_names(tree, package)))


def _imported_names(tree: ast.AST, package: List[str]) -> Set[str]:
    names: Set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            names.update(".".join(base + [alias.name]) for alias in node.names)
    return names


@functools.lru_cache(maxsize=None)
def _version(package: str) -> str:
    module = sys.modules.get(package)
    version = getattr(module, "__version__", None)
    if isinstance(version, str):
        return version
    import importlib.metadata

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def versions(names: Set[str]) -> Dict[str, str]:
    """Of the packages among these that do not come with Python."""
    standard = getattr(sys, "stdlib_module_names", None) or _standard_modules()
    found = {n: _version(n) for n in sorted(names) if n not in standard and n != "trackbed"}
    return {name: version for name, version in found.items() if version}


@functools.lru_cache(maxsize=None)
def _standard_modules() -> Set[str]:  # Python 3.9 does not tell
    import sysconfig

    names = set(sys.builtin_module_names)
    for entry in os.listdir(sysconfig.get_paths()["stdlib"]):
        names.add(entry.partition(".")[0])
    return names


# --- Functions that no file holds ---


class _Synthesis:
    """Writes a module with a function and the names it uses."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._globals: Dict[str, Any] = function.__globals__
        self._lines: List[str] = []
        self._texts: Dict[str, bytes] = {}
        self._files: Dict[str, pathlib.Path] = {}
        self._packages: Set[str] = set()
        self._done: Dict[str, Any] = {}

    def code(self) -> Code:
        self._add_function(self._function.__name__, self._function)
        text = "\n".join(["from __future__ import annotations", *self._lines, ""]).encode()
        name = f"_trackbed/code/{self._function.__name__}-{_digest(text)}.py"
        self._texts[name] = text
        where = {"script": name, "name": self._function.__name__}
        return Code(where, self._files, self._texts, versions(self._packages))

    def _error(self, message: str) -> CarryError:
        code = self._function.__code__
        return CarryError(
            f"{code.co_filename}:{code.co_firstlineno}: {self._function.__name__}: {message}"
        )

    def _add_function(self, name: str, function: Callable[..., Any]) -> None:
        source, tree = self._source(function)
        self._add_names(tree)
        self._add_imports(tree)
        cells = dict(
            zip(function.__code__.co_freevars, function.__closure__ or ())
        )
        for name_of in [n for n, c in cells.items() if _is_code(c.cell_contents)]:
            self._add_once(name_of, cells.pop(name_of).cell_contents)
        used = sorted(cells)
        if not used:
            self._lines.append(source)
        else:
            # The variables of the function around it become arguments.
            values = [self._value(n, cells[n].cell_contents, function) for n in used]
            body = textwrap.indent(source, "    ")
            self._lines.append(
                f"def _with({', '.join(used)}):\n{body}\n    return {function.__name__}\n"
                f"{function.__name__} = _with({', '.join(values)})\ndel _with"
            )
        if name != function.__name__:
            self._lines.append(f"{name} = {function.__name__}")

    def _source(self, function: Callable[..., Any]) -> Tuple[str, ast.AST]:
        """The text of a function without its decorators."""
        code = function.__code__
        lines = linecache.getlines(code.co_filename, self._globals)
        if not lines:
            raise self._error(
                "its text is not to be found: define it in a file or a notebook, not at a prompt"
            )
        block = inspect.getblock(lines[code.co_firstlineno - 1 :])
        text = textwrap.dedent("".join(block))
        try:
            tree = ast.parse(text).body[0]
        except SyntaxError:
            tree = ast.Pass()
        if not isinstance(tree, ast.FunctionDef):
            raise self._error(f"{function.__qualname__} is not written with def; write it so")
        body = "".join(text.splitlines(keepends=True)[tree.lineno - 1 :]).rstrip()
        tree.decorator_list = []
        return body, tree

    def _class_source(self, cls: type) -> Tuple[str, ast.AST]:
        for value in vars(cls).values():
            code = getattr(value, "__code__", None)
            if code is None:
                continue
            lines = linecache.getlines(code.co_filename, self._globals)
            tree = ast.parse("".join(lines)) if lines else ast.Module([], [])
            for node in ast.walk(tree):
                if (
                    isinstance(node, ast.ClassDef)
                    and node.name == cls.__name__
                    and node.lineno <= code.co_firstlineno <= (node.end_lineno or 0)
                ):
                    first = min([node.lineno] + [d.lineno for d in node.decorator_list])
                    return textwrap.dedent("".join(lines[first - 1 : node.end_lineno])), node
        raise self._error(
            f"the text of class {cls.__qualname__} is not to be found: put it into a module"
        )

    def _add_names(self, tree: ast.AST) -> None:
        for name in sorted(_used_names(tree)):
            if name in self._globals:
                self._add_once(name, self._globals[name])

    def _add_once(self, name: str, value: Any) -> None:
        if name not in self._done:
            self._done[name] = value
            self._add_global(name, value)
        elif self._done[name] is not value:
            raise self._error(f"two different things that it uses are called {name}: rename one")

    def _add_global(self, name: str, value: Any) -> None:
        from ._task import Task

        if isinstance(value, Task):
            value = value.function
        if isinstance(value, types.ModuleType):
            self._import(value.__name__)
            self._lines.append(f"import {value.__name__} as {name}")
            return
        module, qualified = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
        if isinstance(value, (types.FunctionType, types.BuiltinFunctionType, type)):
            if self._is_importable(module, qualified, value):
                self._import(str(module))
                self._lines.append(f"from {module} import {qualified} as {name}")
                return
            if isinstance(value, types.FunctionType):
                self._add_function(name, value)
                return
            if isinstance(value, type):
                source, tree = self._class_source(value)
                self._add_names(tree)
                self._add_imports(tree)
                self._lines.append(source)
                return
        self._lines.append(f"{name} = {self._value(name, value, self._function)}")

    def _is_importable(self, module: Optional[str], qualified: Optional[str], value: Any) -> bool:
        if module in (None, *_codec.MAIN_HERE) or qualified is None or "." in qualified:
            return False
        loaded = sys.modules.get(str(module))
        if getattr(loaded, qualified, None) is value:
            return True
        from ._task import Task

        found = getattr(loaded, qualified, None)  # the function of a task: carried by itself
        return not isinstance(found, Task) and found is value

    def _add_imports(self, tree: ast.AST) -> None:
        for name in _imported_names(tree, []):
            self._import(name)

    def _import(self, name: str) -> None:
        """Takes the files of a module along, when it lies in the project rather than is installed."""
        top = name.partition(".")[0]
        module = sys.modules.get(top)
        file = getattr(module, "__file__", None)
        if file is None or not _in_project(pathlib.Path(file)):
            self._packages.add(top)
            return
        root = _root_of(top, pathlib.Path(file).resolve())
        found = tuple(_find(root, name))
        if found:
            files, packages = _closure(root, found)
            self._files.update(files)
            self._packages.update(packages)

    def _value(self, name: str, value: Any, function: Callable[..., Any]) -> str:
        """An expression for a constant."""
        if _codec.is_plain(value) and len(repr(value)) < 1000 and "nan" not in repr(value):
            return repr(value).replace("inf", "float('inf')") if value == value else repr(value)
        if getattr(value, "__name__", "") == "<lambda>":
            raise self._error(f"it uses {name}, a lambda: write that with def")
        try:
            data = _codec.pickled(value, f"{name}, which {function.__name__} uses,")
        except CarryError as error:
            raise self._error(str(error)) from None
        path = f"_trackbed/data/{_digest(data)}.pkl"
        self._texts[path] = data
        return f"_trackbed_load({path!r})"


def _is_code(value: Any) -> bool:
    from ._task import Task

    return isinstance(value, (types.ModuleType, type, Task)) or (
        isinstance(value, types.FunctionType) and value.__name__ != "<lambda>"
    )


def _used_names(tree: ast.AST) -> Set[str]:
    """The names that code reads. Those of annotations as well: arguments are of these classes."""
    names: Set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            if not hasattr(builtins, node.id):
                names.add(node.id)
        for field, child in ast.iter_fields(node):
            if field == "decorator_list" and not isinstance(node, ast.ClassDef):
                continue
            for item in child if isinstance(child, list) else [child]:
                if isinstance(item, ast.AST):
                    visit(item)

    visit(tree)
    return names


@functools.lru_cache(maxsize=None)
def _in_project(file: pathlib.Path) -> bool:
    """Whether a module belongs to somebody's project rather than to an installation."""
    import site
    import sysconfig

    installed = [sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    installed += site.getsitepackages() + [site.getusersitepackages(), "/usr/lib/python3"]
    parents = [str(parent) for parent in file.resolve().parents]
    return not any(str(pathlib.Path(folder).resolve()) in parents for folder in installed)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
