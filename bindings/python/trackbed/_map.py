"""Runs a function over many items: hands them out to processes and puts the results together.

What is done is written down as it is done, in `_map/` of the attempt's folder, a line for each item:

    INDEX <tab> KEY <tab> RESULT      as _codec.encode_item has it
    INDEX <tab> KEY <tab> !ERROR      of an item that failed

The key says what the result was made from. An attempt begins with what earlier attempts of the task
wrote: results with the right key are taken, everything else is run.
"""

from __future__ import annotations

import array
import hashlib
import itertools
import json
import mmap
import os
import pathlib
import subprocess
import sys
import time
from multiprocessing.connection import Connection, Pipe, wait
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from . import _codec
from .errors import TrackbedError

if TYPE_CHECKING:
    from .worker import Attempt

_FOLDER = "_map"
_BATCH_SECONDS = 0.1  # of work in a batch, when its size is not given
_SHOWN_ERRORS = 5
_MAX_DEATHS = 3  # of processes in a row, without a result between them


class Item(NamedTuple):
    number: int
    key: bytes
    line: bytes  # the arguments


class Ledger:
    """Where the result of each item stands."""

    def __init__(self) -> None:
        self._files: List[pathlib.Path] = []
        self._maps: List[Optional[mmap.mmap]] = []
        self._file = array.array("i")  # by index; -1: nothing yet
        self._offset = array.array("q")
        self._key = array.array("Q")

    def read(self, path: pathlib.Path) -> None:
        """Takes up what a file holds. A line that was not written to its end does not count."""
        number = len(self._files)
        self._files.append(path)
        self._maps.append(None)
        offset = 0
        with open(path, "rb") as lines:
            for line in lines:
                parts = line.split(b"\t", 2)
                if line.endswith(b"\n") and len(parts) == 3:
                    self._note(int(parts[0]), int(parts[1], 16), number, offset)
                offset += len(line)

    def _note(self, index: int, key: int, number: int, offset: int) -> None:
        missing = index + 1 - len(self._file)
        if missing > 0:
            self._file.extend([-1] * missing)
            self._offset.extend([0] * missing)
            self._key.extend([0] * missing)
        self._file[index], self._offset[index], self._key[index] = number, offset, key

    def result(self, index: int, key: bytes) -> Optional[bytes]:
        """The encoded result, or !ERROR; None when there is none of this key."""
        if index >= len(self._file) or self._file[index] < 0 or self._key[index] != int(key, 16):
            return None
        return self.line(index)

    def line(self, index: int) -> bytes:
        number = self._file[index]
        mapped = self._maps[number]
        if mapped is None:
            with open(self._files[number], "rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._maps[number] = mapped
        start = self._offset[index]
        return mapped[start : mapped.find(b"\n", start)].split(b"\t", 2)[2]

    def has(self, index: int) -> bool:
        return index < len(self._file) and self._file[index] >= 0

    def close(self) -> None:
        for mapped in self._maps:
            if mapped is not None:
                mapped.close()


class Child:
    """A process that runs the function on the items it is given."""

    def __init__(self, attempt: "Attempt", number: int, count: int) -> None:
        self.path = attempt.work / _FOLDER / f"{os.getpid()}-{number}.items"
        self.batch: List[Item] = []
        self.given = 0.0
        self.connection, theirs = Pipe()
        environment = dict(os.environ)
        _share_devices(environment, number % count, count)
        self.process = subprocess.Popen(
            [
                sys.executable, "-B", *sys.argv[:1], "--items",
                str(theirs.fileno()), str(self.path), attempt.task, *sys.argv[2:],
            ],
            pass_fds=[theirs.fileno()],
            env=environment,
        )  # fmt: skip
        theirs.close()

    def give(self, batch: List[Item]) -> None:
        self.batch = batch
        self.given = time.monotonic()
        try:
            self.connection.send_bytes(b"\n".join(b"%d\t%b\t%b" % item for item in batch))
        except OSError:  # it has died: seen when its answer is waited for
            pass

    def how_it_ended(self) -> str:
        code = self.process.wait()
        return f"its process ended by signal {-code}" if code < 0 else f"its process exited {code}"


def _share_devices(environment: Dict[str, str], number: int, count: int) -> None:
    """Of several devices each process sees its own, where they can be divided evenly."""
    for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        devices = environment.get(name, "").split(",")
        if count > 1 and len(devices) >= count and len(devices) % count == 0:
            each = len(devices) // count
            environment[name] = ",".join(devices[number * each : (number + 1) * each])


class Map:
    def __init__(self, attempt: "Attempt", given: Dict[str, Any]) -> None:
        self._attempt = attempt
        self._given = given
        self._how = attempt.spec["map"]
        self._ledger = Ledger()
        self._folder = attempt.work / _FOLDER
        self._children: List[Child] = []
        self._started = 0
        self._deaths = 0
        self._size = self._how["batch"] or 1
        self._again: List[Item] = []
        self._count = 0

    def run(self) -> None:
        self._folder.mkdir(exist_ok=True)
        self._take_up_earlier()
        todo = self._todo()
        try:
            self._hand_out(todo)
        finally:
            for child in self._children:
                child.connection.close()
            for child in self._children:
                child.process.wait()
        for path in sorted(self._folder.glob(f"{os.getpid()}-*.items")):
            self._ledger.read(path)
        self._put_together()

    def _take_up_earlier(self) -> None:
        """Links what earlier attempts wrote into this one's folder, for the next to find."""
        folder = pathlib.Path(os.environ.get("TRACKBED_ATTEMPT_FOLDER", self._attempt.work))
        if not folder.name.isdigit():
            return
        for number in range(1, int(folder.name)):
            for path in sorted((folder.parent / str(number) / "work" / _FOLDER).glob("*.items")):
                target = self._folder / f"{number}-{path.name}"
                if not target.exists():
                    os.link(path, target)
        for path in sorted(self._folder.glob("*.items")):
            self._ledger.read(path)

    def _items(self) -> Iterator[Item]:
        columns = [_column(self._given[name]) for name in self._how["over"]]
        base = self._attempt.spec["key"].encode() + json.dumps(self._attempt.values).encode()
        base += _digest_of_inputs(self._attempt).encode()
        begun = hashlib.blake2b(base, digest_size=8)
        for index, row in enumerate(itertools.zip_longest(*columns)):
            if None in row:
                ended = [n for n, v in zip(self._how["over"], row) if v is None]
                raise TrackbedError(
                    f"{self._attempt.task}: {', '.join(ended)} has {index} items, others have more"
                )
            line = b"\x1f".join(row)
            digest = begun.copy()
            digest.update(line)
            yield Item(index, digest.hexdigest().encode(), line)

    def _todo(self) -> Iterator[Item]:
        for item in self._items():
            self._count = item.number + 1
            found = self._ledger.result(item.number, item.key)
            if found is None or found.startswith(b"!") or not self._has_file(found):
                yield item

    def _has_file(self, line: bytes) -> bool:
        """Of a result that is a file: whether this attempt has it."""
        if not line.startswith(b'{"$path"'):
            return True
        return bool(_codec.decode_item(line, self._attempt.outputs).exists())

    def _next_batch(self, todo: Iterator[Item]) -> List[Item]:
        batch = self._again[: self._size]
        del self._again[: self._size]
        while len(batch) < self._size:
            item = next(todo, None)
            if item is None:
                break
            batch.append(item)
        return batch

    def _hand_out(self, todo: Iterator[Item]) -> None:
        busy: Dict[Any, Child] = {}
        while True:
            while len(busy) < self._how["concurrency"]:
                batch = self._next_batch(todo)
                if not batch:
                    break
                idle = [c for c in self._children if c.connection not in busy]
                child = idle[0] if idle else self._start()
                busy[child.connection] = child
                child.give(batch)
            if not busy:
                return
            for ready in wait(list(busy)):
                child = busy.pop(ready)
                try:
                    child.connection.recv_bytes()
                except (EOFError, OSError):
                    self._bury(child)
                    continue
                self._deaths = 0
                if self._how["batch"] is None and time.monotonic() - child.given < _BATCH_SECONDS:
                    self._size = min(2 * self._size, 10_000)

    def _start(self) -> Child:
        child = Child(self._attempt, self._started, self._how["concurrency"])
        self._started += 1
        self._children.append(child)
        return child

    def _bury(self, child: Child) -> None:
        """A process died: what it had not finished is given to others, but for what killed it."""
        self._children.remove(child)
        how = child.how_it_ended()
        child.connection.close()
        done = Ledger()
        if child.path.exists():
            done.read(child.path)
        left = [item for item in child.batch if not done.has(item.number)]
        self._deaths = 1 if len(left) < len(child.batch) else self._deaths + 1
        if self._deaths >= _MAX_DEATHS and not child.path.exists():
            raise TrackbedError(f"{self._attempt.task}: processes end before they begin: {how}")
        if left:
            with open(child.path, "ab") as out:
                out.write(b"%d\t%b\t!%b\n" % (left[0].number, left[0].key, json.dumps(how).encode()))
        self._again += left[1:]

    def _put_together(self) -> None:
        failed: List[Tuple[int, str]] = []
        target = self._attempt.outputs / "result.jsonl"
        count = 0
        with open(target, "wb") as out:
            for index in range(self._count):
                line = self._ledger.line(index)
                if line.startswith(b"!"):
                    count += 1
                    if len(failed) < _SHOWN_ERRORS:
                        failed.append((index, json.loads(line[1:])))
                elif not count:
                    out.write(line + b"\n")
        self._ledger.close()
        if count:
            target.unlink()
            shown = "".join(f"\n  item {index}: {error}" for index, error in failed)
            more = f"\n  and {count - len(failed)} more" if count > len(failed) else ""
            raise TrackbedError(
                f"{self._attempt.task}: {count} of {self._count} items failed; a retry runs only "
                f"these again{shown}{more}"
            )
        print(f"trackbed: {self._count} items done", file=sys.stderr)


def _column(values: Any) -> Iterator[bytes]:
    """The items of one argument, encoded. Those that are kept one by one are not decoded."""
    if isinstance(values, _codec.Items):
        return values.lines()
    return (_codec.encode_item(value) for value in values)


def _digest_of_inputs(attempt: "Attempt") -> str:
    """Of what is the same for all items but comes from other tasks."""
    digest = hashlib.sha256()
    over = attempt.spec["map"]["over"]
    for name, binding in sorted(attempt.spec["arguments"].items()):
        if name in over or "from" not in binding:
            continue
        folder = attempt.inputs / binding["from"]
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            digest.update(str(path.relative_to(folder)).encode())
            with open(path, "rb") as file:
                for block in iter(lambda: file.read(1 << 20), b""):
                    digest.update(block)
    return digest.hexdigest()


def run_map(attempt: "Attempt", given: Dict[str, Any]) -> None:
    Map(attempt, given).run()
