"""What a scheduling policy would have done to recorded work."""

from __future__ import annotations

import ctypes
import json
import pathlib
from ctypes import POINTER, byref, c_double, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

from ._native import Bytes, Struct, Text, library, text
from ._policy import OptionsStruct
from .cluster import Scheduler

_TRACES = {"openb": 0, "philly": 1, "sacct": 2}


class SimulationOptions(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("trace", c_int32), ("nodes", Text), ("workload", Text),
        ("nodes_file", Text), ("workload_file", Text), ("placer", Text), ("seeds", c_void_p),
        ("seed_count", c_size_t), ("inflate", c_double), ("learn", c_int32),
        ("exact_run_times", c_int32), ("policy", POINTER(OptionsStruct)),
    ]  # fmt: skip


class Simulation:
    """The result of `simulate`. In a notebook it is shown as a report."""

    def __init__(self, result: Dict[str, Any], csv: str, html: str) -> None:
        self.result = result
        self.csv = csv  # a line a job
        self.html = html

    @property
    def summary(self) -> Dict[str, Any]:
        """Waits, use and fairness, by name."""
        found: Dict[str, Any] = self.result.get("summary", self.result)
        return found

    @property
    def jobs(self) -> List[Dict[str, Any]]:
        found: List[Dict[str, Any]] = self.result.get("jobs", [])
        return found

    def to_frame(self) -> Any:
        """The jobs as a pandas DataFrame. Of openb, which has none: the share of all devices that
        is allocated, in percent, a row for each percent of load and a column for each seed."""
        import io

        import pandas

        if self.csv:
            return pandas.read_csv(io.StringIO(self.csv))
        if "runs" not in self.result:
            return pandas.DataFrame(self.jobs)
        found = {
            run["seed"]: {int(load): share for load, share in run["allocated_percent"].items()}
            for run in self.result["runs"]
        }
        return pandas.DataFrame(found).rename_axis(index="load", columns="seed")

    def plot(self, column: str = "wait_seconds", **options: Any) -> Any:
        """How a column of the jobs is spread, by pandas and matplotlib. Of openb, which has no
        jobs: what is allocated as the load rises."""
        frame = self.to_frame()
        if "runs" in self.result:
            return frame.plot(**options)
        return frame[column].plot.hist(bins=50, **options)

    def _repr_html_(self) -> str:
        import html

        shown = html.escape(self.html, quote=True)
        return f'<iframe srcdoc="{shown}" width="100%" height="600" frameborder="0"></iframe>'

    def __repr__(self) -> str:
        return "\n".join(f"{key}: {value}" for key, value in self.summary.items())


def simulate(
    nodes: Union[str, pathlib.Path],
    workload: Union[str, pathlib.Path],
    *,
    format: str = "philly",
    placer: str = "default",
    exact_run_times: bool = False,
    seeds: Sequence[int] = (42,),
    inflate: float = 1.3,
    learn: bool = False,
    **policy: Any,
) -> Simulation:
    """Runs the real scheduler over recorded work.

    `nodes` and `workload` are CSV, as text or as the path of a file; `format` says whose columns
    the workload has: "philly", "sacct", or "openb" (placement only). `policy` is as of `Scheduler`.

    Of openb: one run for each of `seeds`; `inflate` is the load that arrives, in units of all
    devices; with `learn` the placer is not told the mix of work beforehand.
    """
    keep: List[Any] = []
    scheduler: Optional[Scheduler] = Scheduler(**policy) if policy else None
    numbers = (c_uint64 * max(1, len(seeds)))(*seeds)
    options = SimulationOptions(
        trace=_TRACES[format], placer=text(placer, keep), exact_run_times=int(exact_run_times),
        seeds=ctypes.cast(numbers, c_void_p), seed_count=len(seeds), inflate=inflate,
        learn=int(learn),
    )  # fmt: skip
    for name, given in (("nodes", nodes), ("workload", workload)):
        content, file = _content(given)
        setattr(options, name, text(content, keep))
        setattr(options, name + "_file", text(file, keep))
    if scheduler is not None:
        options.policy = ctypes.pointer(scheduler.options)
    result, csv, html = Bytes(), Bytes(), Bytes()
    library().call("simulate", byref(options), byref(result), byref(csv), byref(html))
    found: Mapping[str, Any] = json.loads(result.take())
    return Simulation(dict(found), csv.take(), html.take())


def _content(given: Union[str, pathlib.Path]) -> "tuple[str, str]":
    if isinstance(given, str) and "\n" in given:
        return given, ""
    return pathlib.Path(given).read_text(encoding="utf-8"), str(given)
