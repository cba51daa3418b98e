"""How values are kept as files: one file for each value, its ending says how to read it.

    NAME.json    what JSON holds exactly
    NAME.npy     a NumPy array (never with pickled objects in it)
    NAME.pkl     anything else that can be pickled
    NAME.jsonl   items one by one, a line each (results of `map`, of generators); NAME.index has
                 where each begins, where that is to be known without reading all
    NAME/        a file or folder, under its own name
"""

from __future__ import annotations

import array
import base64
import collections.abc
import io
import itertools
import json
import os
import pathlib
import pickle
import shutil
import sys
from typing import Any, Iterable, Iterator, List, Optional, Sequence, Union

from .errors import CarryError, NotFound

MAIN = "__trackbed_main__"  # what the script of a pipeline is called in the processes of its tasks
MAIN_HERE = ("__main__", "__mp_main__")  # here, and in processes that multiprocessing has started
PICKLE_PROTOCOL = 5
_compact = json.JSONEncoder(separators=(",", ":")).encode


def is_plain(value: Any) -> bool:
    """Whether JSON gives back exactly this value."""
    kind = type(value)
    if value is None or kind in (str, bool, int, float):
        return True
    if kind is list:
        return all(map(is_plain, value))
    if kind is dict:
        return all(type(key) is str for key in value) and all(map(is_plain, value.values()))
    return False


def is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return (
        numpy is not None
        and type(value) is numpy.ndarray
        and not value.dtype.hasobject
    )


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == MAIN and MAIN not in sys.modules:
            module = "__main__"
        return super().find_class(module, name)


def pickled(value: Any, what: str) -> bytes:
    """The pickled value, or an error that says which part of it cannot travel."""
    try:
        return pickle.dumps(value, PICKLE_PROTOCOL)
    except Exception as error:  # whatever __reduce__ of a foreign class raises
        raise CarryError(f"{what} cannot be carried to another process: {_culprit(value, error)}")


def unpickled(data: bytes) -> Any:
    return _Unpickler(io.BytesIO(data)).load()


def _culprit(value: Any, error: Exception) -> str:
    """Names the part of a value that cannot be pickled, as deep as can be seen."""
    parts: List[Any] = []
    if type(value) in (list, tuple):
        parts = [(f"item {i}", v) for i, v in enumerate(value)]
    elif type(value) is dict:
        parts = [(f"[{k!r}]", v) for k, v in value.items()]
    elif hasattr(value, "__dict__") and not isinstance(value, type) and not callable(value):
        parts = [(f".{k}", v) for k, v in vars(value).items()]
    for name, part in parts:
        try:
            pickle.dumps(part, PICKLE_PROTOCOL)
        except Exception as inner:  # likewise
            return f"{name}: {_culprit(part, inner)}"
    kind = type(value)
    hint = ""
    if isinstance(value, io.IOBase):
        hint = "; pass its path, and open it in the task"
    elif kind.__name__ in ("socket", "Connection", "SSLSocket"):
        hint = "; connect in the task"
    elif kind.__name__ == "function":
        hint = "; write it with def at the top of a module"
        return f"the function {value.__qualname__} ({error}){hint}"
    elif kind.__name__ == "generator":
        hint = "; pass a list, or yield its items from a task"
    return f"a {kind.__module__}.{kind.__qualname__} ({error}){hint}"


def save(folder: pathlib.Path, name: str, value: Any, what: str, lazy: bool = False) -> None:
    """Keeps a value as the file NAME.* or the folder NAME/ in `folder`."""
    if isinstance(value, pathlib.PurePath):
        keep_path(folder / name, pathlib.Path(value), what)
    elif lazy or isinstance(value, collections.abc.Iterator):
        with open(folder / (name + ".jsonl"), "wb") as out:
            for index, item in enumerate(value):
                out.write(encode_item(item, f"{what}, item {index},") + b"\n")
    elif is_plain(value):
        (folder / (name + ".json")).write_text(json.dumps(value), encoding="utf-8")
    elif is_array(value):
        import numpy

        numpy.save(folder / (name + ".npy"), value, allow_pickle=False)
    else:
        (folder / (name + ".pkl")).write_bytes(pickled(value, what))


def keep_path(folder: pathlib.Path, path: pathlib.Path, what: str) -> None:
    """Keeps a file or folder that a task returned."""
    if not path.exists():
        raise NotFound(f"{what} is the path {path}, where there is nothing")
    target = folder / (path.resolve().name or "root")
    if path.resolve() == target.resolve():
        return
    folder.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, target)
        return
    try:
        os.link(path.resolve(), target)
    except OSError:  # another file system
        shutil.copy2(path, target)


def load(folder: pathlib.Path, name: str, lazy: bool = False) -> Any:
    """The value that `save` kept. Items that were kept one by one come as a list, or as a sequence
    that reads them when asked, if `lazy`."""
    for ending in (".json", ".npy", ".pkl", ".jsonl"):
        file = folder / (name + ending)
        if file.exists():
            return load_file(file, lazy)
    kept = folder / name
    if kept.is_dir():
        names = sorted(os.listdir(kept))
        if len(names) == 1:
            return kept / names[0]
    raise NotFound(f"there is no value {name!r} in {folder}")


def load_batches(folder: pathlib.Path, name: str, lazy: bool = False) -> Any:
    """The values of all batches of a map, each of which kept its own below `folder`, in order."""
    batches = sorted(os.listdir(folder)) if folder.is_dir() else []  # numbers of equal length
    items = Items(*(folder / batch / f"{name}.jsonl" for batch in batches))
    return items if lazy else list(items)


def load_file(file: pathlib.Path, lazy: bool = False) -> Any:
    if file.suffix == ".json":
        return json.loads(file.read_text(encoding="utf-8"))
    if file.suffix == ".npy":
        import numpy

        return numpy.load(file, allow_pickle=False)
    if file.suffix == ".jsonl":
        items = Items(file)
        return items if lazy else list(items)
    return unpickled(file.read_bytes())


def encode_item(value: Any, what: str = "the item", files: Optional[pathlib.Path] = None) -> bytes:
    """One value as a line without its end. Paths are kept in `files`."""
    if is_plain(value) and not (type(value) is dict and any(k.startswith("$") for k in value)):
        return _compact(value).encode()
    if is_array(value):
        import numpy

        buffer = io.BytesIO()
        numpy.save(buffer, value, allow_pickle=False)
        return _wrapped("$npy", buffer.getvalue())
    if isinstance(value, pathlib.PurePath) and files is not None:
        keep_path(files, pathlib.Path(value), what)
        kept = files / pathlib.Path(value).resolve().name
        return json.dumps({"$path": os.path.join(*kept.parts[-3:])}).encode()
    return _wrapped("$pickle", pickled(value, what))


def _wrapped(kind: str, data: bytes) -> bytes:
    return json.dumps({kind: base64.b64encode(data).decode("ascii")}).encode()


def decode_item(line: Union[bytes, str], folder: Optional[pathlib.Path] = None) -> Any:
    value = json.loads(line)
    if type(value) is not dict or len(value) != 1:
        return value
    (kind, content), = value.items()
    if kind == "$npy":
        import numpy

        return numpy.load(io.BytesIO(base64.b64decode(content)), allow_pickle=False)
    if kind == "$pickle":
        return unpickled(base64.b64decode(content))
    if kind == "$path":
        return (folder or pathlib.Path()) / content
    return value


def write_items(file: pathlib.Path, lines: Iterable[bytes]) -> int:
    """Writes encoded items to NAME.jsonl, and where each begins to NAME.index; how many."""
    starts = array.array("Q")
    offset = 0
    with open(file, "wb") as out:
        for line in lines:
            starts.append(offset)
            offset += out.write(line + b"\n")
    file.with_suffix(".index").write_bytes(starts.tobytes())
    return len(starts)


class _Lines:
    """The lines of one file."""

    def __init__(self, file: pathlib.Path, base: Optional[pathlib.Path]) -> None:
        self.file = file
        self._base = file.parent if base is None else base
        self._starts: Optional[array.array[int]] = None
        index = file.with_suffix(".index")
        self._index = index if index.exists() else None
        self.count = index.stat().st_size // 8 if self._index else len(self._scanned())

    def _scanned(self) -> "array.array[int]":
        if self._starts is None:
            self._starts = array.array("Q")
            offset = 0
            with open(self.file, "rb") as lines:
                for line in lines:
                    self._starts.append(offset)
                    offset += len(line)
        return self._starts

    def _start(self, line: int) -> int:
        if self._index is None:
            return self._scanned()[line]
        with open(self._index, "rb") as index:
            index.seek(8 * line)
            return array.array("Q", index.read(8))[0]

    def read(self, first: int, count: int) -> Iterator[bytes]:
        """So many from one on, without their ends."""
        if count <= 0:
            return
        with open(self.file, "rb") as lines:
            lines.seek(self._start(first) if first else 0)
            for line in itertools.islice(lines, count):
                if line.startswith(b'{"$path"'):
                    line = json.dumps({"$path": str(decode_item(line, self._base))}).encode()
                yield line.rstrip(b"\n")


class Items(Sequence[Any]):
    """Values kept one by one, in one file after the other, read when they are asked for. Paths
    among them are below `base`, or else where the file is."""

    def __init__(self, *files: pathlib.Path, base: Optional[pathlib.Path] = None) -> None:
        self._parts = [_Lines(file, base) for file in files]
        self._ends = list(itertools.accumulate(part.count for part in self._parts))

    def lines(self, first: int = 0, end: Optional[int] = None) -> Iterator[bytes]:
        """The values as they are kept."""
        end = len(self) if end is None else end
        for part, part_end in zip(self._parts, self._ends):
            part_first = part_end - part.count
            begin = max(first, part_first)
            yield from part.read(begin - part_first, min(end, part_end) - begin)

    def __iter__(self) -> Iterator[Any]:
        return map(decode_item, self.lines())

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            first, end, step = key.indices(len(self))
            if step == 1:
                return [decode_item(line) for line in self.lines(first, end)]
            return [self[i] for i in range(first, end, step)]
        if key < 0:
            key += len(self)
        if not 0 <= key < len(self):
            raise IndexError(f"there are {len(self)} items")
        return decode_item(next(self.lines(key, key + 1)))

    def __repr__(self) -> str:
        return f"<{len(self)} items in {', '.join(str(part.file) for part in self._parts)}>"
