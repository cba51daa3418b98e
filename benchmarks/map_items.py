"""What a map costs from Python: a function that does nothing over many items known only at run time.

    map_items.py [--items 1000000] [--batch 1000] [--slots 2]

Wall time an item and a batch; processor time and memory of this process, the engine in it.
"""

import argparse
import pathlib
import resource
import tempfile
import time
from typing import Iterator, List

from trackbed import Engine, pipeline, task


@task
def numbers(count: int) -> Iterator[int]:
    yield from range(count)


@task
def double(x: int) -> int:
    return 2 * x


@task
def last(values: List[int]) -> int:
    return values[-1]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=2)
    given = parser.parse_args()

    @pipeline
    def many(count: int) -> int:
        return last(double.map(numbers(count), batch=given.batch))

    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder) / "home"
        with Engine(home, slots={"cpu": given.slots}, durability="process") as engine:
            began = time.monotonic()
            run = engine.submit(many, {"count": given.items}).wait()
            spent = time.monotonic() - began
            assert run.result() == 2 * (given.items - 1)
            seconds = {name: run[name].seconds for name in ("numbers", "double-items", "double", "last")}
            batches = len(run["double"].batches.tasks)
    print(f"{given.items} items in {batches} batches: {spent:.1f} s", end="")
    print("".join(f", {name} {spent:.1f} s" for name, spent in seconds.items() if spent is not None))
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        f"{spent / given.items * 1e6:.1f} us an item, {spent / batches * 1e3:.1f} ms a batch; "
        f"of the processor, in this process {used.ru_utime + used.ru_stime:.1f} s; "
        f"its memory {used.ru_maxrss / 1024:.0f} MiB"
    )


if __name__ == "__main__":
    main()
