"""The process of a map that runs the function: batches come in, results go to its file."""

from __future__ import annotations

import json
import pathlib
import sys
import traceback
from multiprocessing.connection import Connection
from typing import Any, Dict, List

from . import _codec
from ._hints import coerce
from .worker import Attempt


def serve(arguments: List[str]) -> None:
    connection = Connection(int(arguments[0]))
    attempt = Attempt(arguments[2], arguments[3:])
    over: List[str] = attempt.spec["map"]["over"]
    function = attempt.function()
    same = {n: attempt.argument(b) for n, b in attempt.spec["arguments"].items() if n not in over}
    kinds = {"string": str, "number": float, "integer": int, "boolean": bool}
    hint = kinds.get(attempt.spec["map"]["item"] or "", object)
    kept = attempt.outputs / "result"
    with open(arguments[1], "ab", buffering=0) as out:  # what is done is written at once
        while True:
            try:
                batch = connection.recv_bytes()
            except EOFError:
                return
            for item in batch.split(b"\n"):
                index, key, line = item.split(b"\t", 2)
                result = _call(function, same, over, line, hint, kept / index.decode(), index)
                out.write(b"%b\t%b\t%b\n" % (index, key, result))
            connection.send_bytes(b"done")


def _call(
    function: Any, same: Dict[str, Any], over: List[str], line: bytes, hint: Any,
    files: pathlib.Path, index: bytes,
) -> bytes:  # fmt: skip
    """The encoded result of one item, or !ERROR."""
    try:
        values = [_codec.decode_item(part) for part in line.split(b"\x1f")]
        result = coerce(hint, function(**same, **dict(zip(over, values))))
        return _codec.encode_item(result, f"the result of item {int(index)}", files)
    except Exception as error:
        given = b", ".join(line.split(b"\x1f"))[:80].decode("utf-8", "replace")
        print(f"trackbed: item {int(index)} ({given}) failed:", file=sys.stderr)
        trace = error.__traceback__.tb_next if error.__traceback__ else None
        traceback.print_exception(type(error), error, trace)
        sys.stderr.flush()
        return b"!" + json.dumps(f"{given}: {type(error).__name__}: {error}").encode()
