#!/usr/bin/env python3
"""What a call costs from Python: import, a slot allocated and released, events read in batches.

Needs $TRACKBED_LIBRARY; nothing but Python besides. Times are of the processor, so that other
programs disturb them less.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "bindings" / "python"
sys.path.insert(0, str(PACKAGE))


def best(measure, times):
    return min(measure() for _ in range(times))


def import_milliseconds():
    code = "import time; s = time.process_time(); import trackbed; print(time.process_time() - s)"
    environment = dict(os.environ, PYTHONPATH=str(PACKAGE))
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    return float(found.stdout) * 1e3


def allocator_call_microseconds(calls):
    from trackbed import SlotAllocator

    devices = [{"id": f"gpu{i}", "slot": "cuda.shares"} for i in range(8)]
    allocator = SlotAllocator({"name": "n1", "cpu": 64, "mem": "256g", "devices": devices})
    request = {"cpu": 2, "cuda.shares": 0.5}
    start = time.process_time()
    for _ in range(calls):
        allocator.allocate(request).release()
    return (time.process_time() - start) / (2 * calls) * 1e6


def events_per_second(tasks):
    from trackbed.testing import Lab

    document = {
        "name": "wide",
        "tasks": [{"name": f"t{i}", "command": "true", "cache": False} for i in range(tasks)],
    }
    path = pathlib.Path(os.environ.get("TMPDIR", "/tmp")) / f"wide-{os.getpid()}.json"
    path.write_text(json.dumps(document))
    try:
        with Lab(slots={"cpu": tasks}) as lab:
            run = lab.run(path)

            def read():
                start = time.process_time()
                count = len(lab.engine.times(run.id))
                return (time.process_time() - start) / count

            def read_json():
                start = time.process_time()
                count = len(run.events())
                return (time.process_time() - start) / count

            return 1 / best(read, 3), 1 / best(read_json, 3)
    finally:
        path.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    calls, tasks = (20_000, 2_000) if given.quick else (200_000, 20_000)
    numbers, texts = events_per_second(tasks)
    found = {
        "import_ms": best(import_milliseconds, 10),
        "allocator_call_us": best(lambda: allocator_call_microseconds(calls), 5),
        "events_per_second": numbers,
        "events_as_dicts_per_second": texts,
    }
    print(f"import trackbed             {found['import_ms']:8.1f} ms")
    print(f"allocate, release           {found['allocator_call_us']:8.2f} us a call")
    print(f"events, numbers of          {found['events_per_second']:8.0f} a second")
    print(f"events, all of each         {found['events_as_dicts_per_second']:8.0f} a second")
    if given.json:
        given.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
