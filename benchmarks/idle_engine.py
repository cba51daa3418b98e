#!/usr/bin/env python3
"""What an idle embedded engine adds to the memory of its host: the library loaded, an engine opened
on a folder, one pipeline run, nothing going on. Needs $TRACKBED_LIBRARY, $TRACKBED_SUPERVISOR, and nothing but Python.
"""

import argparse
import ctypes
import json
import os
import pathlib
import tempfile

MEBIBYTE = 1024.0  # of what /proc counts in


def memory():
    """KiB of this process, by kind."""
    found = {}
    for line in pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split()[:2]
        found[name.rstrip(":")] = int(value)
    return found


class Text(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("size", ctypes.c_size_t)]


class Options(ctypes.Structure):
    """The beginning of trackbed_engine_options: a caller that knows no more of it."""

    _fields_ = [
        ("struct_size", ctypes.c_uint32), ("in_memory", ctypes.c_int32), ("home", Text),
        ("store", Text), ("durability", ctypes.c_int32), ("sandbox", ctypes.c_int32),
        ("node", Text), ("device_probe", ctypes.c_void_p), ("slots", ctypes.c_void_p),
        ("slot_count", ctypes.c_size_t), ("description", Text), ("lease_time_ns", ctypes.c_int64),
        ("supervisor", Text),
    ]  # fmt: skip


PIPELINE = b"name: idle\ntasks:\n- {name: a, command: 'true', cache: false}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--quick", action="store_true", help="the same: it is quick")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        name = home.encode()
        options = Options(ctypes.sizeof(Options), 0, Text(name, len(name)))
        supervisor = os.environ.get("TRACKBED_SUPERVISOR", "").encode()
        options.supervisor = Text(supervisor, len(supervisor))
        engine, pipeline = ctypes.c_void_p(), ctypes.c_void_p()
        run = Text()
        memory()  # once, for what it needs itself
        before = memory()
        library = ctypes.CDLL(os.environ["TRACKBED_LIBRARY"])
        loaded = memory()

        def call(function, *arguments):
            status = getattr(library, "trackbed_" + function)(*arguments, None)
            if status != 0:
                raise SystemExit(f"{function}: {status}")

        call("engine_open", ctypes.byref(options), ctypes.byref(engine))
        size = ctypes.c_size_t(len(PIPELINE))
        call("pipeline_parse", PIPELINE, size, 1, None, ctypes.c_size_t(0), ctypes.byref(pipeline))
        call("engine_submit", engine, pipeline, None, ctypes.byref(run))
        call(
            "engine_wait", engine, b"latest", ctypes.c_size_t(6), ctypes.c_int64(60 * 10**9), None
        )
        idle = memory()
        library.trackbed_engine_close(engine)
    found = {
        "loaded_mib": (loaded["Rss"] - before["Rss"]) / MEBIBYTE,
        "idle_mib": (idle["Rss"] - before["Rss"]) / MEBIBYTE,
        "idle_own_mib": (idle["Private_Dirty"] - before["Private_Dirty"]) / MEBIBYTE,
    }
    print(f"library loaded    {found['loaded_mib']:6.1f} MiB above the host")
    own = found["idle_own_mib"]
    print(f"engine, idle      {found['idle_mib']:6.1f} MiB above the host, {own:.1f} of it its own")
    if given.json:
        given.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
