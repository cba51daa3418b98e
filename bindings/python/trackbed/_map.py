"""What the tasks of a map run: the lists are laid out once, then each batch runs its items.

`lay_out` is the task before a map over lists that are known only at run time: it keeps each list a
line an item, with an index, so that a batch reads its items and no others, and tells the engine how
many there are. `run_batch` runs the function over the items of one batch, in order.

What a batch has done is written down as it is done, in `_map.items` of the attempt's work folder:

    INDEX <tab> ?         the item has begun
    INDEX <tab> RESULT    as _codec.encode_item has it
    INDEX <tab> !ERROR    the item has failed

The next attempt at the batch takes the results and runs the rest; what ended its process, last.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
import traceback
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Sequence, Set, Tuple

from . import _codec
from ._hints import coerce
from .errors import TrackbedError

if TYPE_CHECKING:
    from .worker import Attempt

_NOTES = "_map.items"
_SHOWN_ERRORS = 5
_HINTS = {"string": str, "number": float, "integer": int, "boolean": bool}


def lay_out(attempt: "Attempt", given: Dict[str, Any]) -> None:
    """Keeps the lists that a map goes over, and says how many items they have."""
    counts: Dict[str, int] = {}
    for name, values in given.items():
        lines = _lines(name, values, attempt.inputs)
        counts[name] = _codec.write_items(attempt.outputs / f"{name}.jsonl", lines)
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name} has {count} items" for name, count in counts.items())
        raise TrackbedError(f"{attempt.task}: {found}")
    with open(os.environ["TRACKBED_OUTPUT"], "a", encoding="utf-8") as file:
        file.write(json.dumps({"count": next(iter(counts.values()))}) + "\n")


def _lines(name: str, values: Any, inputs: pathlib.Path) -> Iterator[bytes]:
    """The items of one argument, encoded. Those that are kept one by one are not decoded."""
    if not isinstance(values, _codec.Items):
        return (_codec.encode_item(value, f"{name}, item {i},") for i, value in enumerate(values))
    return (_below(inputs, line) for line in values.lines())


def _below(inputs: pathlib.Path, line: bytes) -> bytes:
    """Each batch has the same inputs as this attempt, and at another place."""
    if not line.startswith(b'{"$path"'):
        return line
    path = os.path.relpath(json.loads(line)["$path"], inputs)
    return json.dumps({"$path": path}).encode()


class _Notes:
    """What attempts at the batch have written down."""

    def __init__(self, attempt: "Attempt") -> None:
        self.results: Dict[int, bytes] = {}
        self.begun: Set[int] = set()  # and not ended: they took their process with them
        folder = pathlib.Path(os.environ.get("TRACKBED_ATTEMPT_FOLDER", attempt.work))
        earlier = range(1, int(folder.name)) if folder.name.isdigit() else ()
        for number in earlier:
            path = folder.parent / str(number) / "work" / _NOTES
            if path.exists():
                self._read(path)
        self._file = open(attempt.work / _NOTES, "ab", buffering=0)  # what is done is there at once

    def _read(self, path: pathlib.Path) -> None:
        with open(path, "rb") as lines:
            for line in lines:
                number, _, result = line.partition(b"\t")
                if not line.endswith(b"\n"):  # it was not written to its end
                    continue
                index = int(number)
                # A file lies with the attempt that made it: it is made again.
                if result[:1] not in (b"?", b"!") and not result.startswith(b'{"$path"'):
                    self.results[index] = result[:-1]
                (self.begun.add if result == b"?\n" else self.begun.discard)(index)

    def write(self, index: int, what: bytes) -> None:
        self._file.write(b"%d\t%b\n" % (index, what))


def run_batch(attempt: "Attempt", function: Any, given: Dict[str, Any]) -> None:
    first = int(os.environ["TRACKBED_MAP_FIRST"])
    count = int(os.environ["TRACKBED_MAP_COUNT"])
    over: List[str] = attempt.spec["map"]["over"]
    columns = {name: given.pop(name)[first : first + count] for name in over}
    notes = _Notes(attempt)
    for index, result in notes.results.items():
        notes.write(index, result)
    todo = [i for i in range(count) if first + i not in notes.results]
    todo.sort(key=lambda i: first + i in notes.begun)
    failed: List[Tuple[int, str]] = []
    for i in todo:
        index = first + i
        notes.write(index, b"?")
        item = {name: column[i] for name, column in columns.items()}
        line = _call(attempt, function, {**given, **item}, item, index)
        notes.write(index, line)
        if line.startswith(b"!"):
            failed.append((index, json.loads(line[1:])))
        else:
            notes.results[index] = line
    if failed:
        shown = "".join(f"\n  item {index}: {error}" for index, error in failed[:_SHOWN_ERRORS])
        more = f"\n  and {len(failed) - _SHOWN_ERRORS} more" if len(failed) > _SHOWN_ERRORS else ""
        raise TrackbedError(
            f"{attempt.task}: {len(failed)} of {count} items failed; a retry runs only these "
            f"again{shown}{more}"
        )
    _codec.write_items(
        attempt.outputs / "result.jsonl", (notes.results[first + i] for i in range(count))
    )
    print(f"trackbed: {count} items done", file=sys.stderr)


def _call(
    attempt: "Attempt", function: Any, arguments: Dict[str, Any], item: Dict[str, Any], index: int
) -> bytes:
    """The encoded result of one item, or !ERROR."""
    hint = _HINTS.get(attempt.spec["map"]["item"] or "", object)
    try:
        result = coerce(hint, function(**arguments))
        files = attempt.outputs / "result" / str(index)
        return _codec.encode_item(result, f"the result of item {index}", files)
    except Exception as error:
        shown = _shown(list(item.values()))
        print(f"trackbed: item {index} ({shown}) failed:", file=sys.stderr)
        trace = error.__traceback__.tb_next if error.__traceback__ else None
        traceback.print_exception(type(error), error, trace)
        sys.stderr.flush()
        return b"!" + json.dumps(f"{shown}: {type(error).__name__}: {error}").encode()


def _shown(values: Sequence[Any]) -> str:
    return ", ".join(map(repr, values))[:80]
