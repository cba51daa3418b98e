"""Trackbed: pipelines of tasks that survive crashes and never run the same work twice.

>>> from trackbed import task, pipeline
>>> @task
... def square(x: int) -> int:
...     return x * x
>>> square(7)  # outside a pipeline: a plain call
49

Nothing of it is loaded before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ._approval import Approval as Approval
    from ._approval import approval as approval
    from ._document import Range as Range
    from ._refs import Condition as Condition
    from ._refs import first_of as first_of
    from ._trace import when as when
    from .cluster import Cluster as Cluster
    from .cluster import Enforcement as Enforcement
    from .cluster import Plan as Plan
    from .cluster import Scheduler as Scheduler
    from .engine import backup_store as backup_store
    from .engine import check_store as check_store
    from .engine import Engine as Engine
    from .engine import runs as runs
    from .errors import AlreadyExists as AlreadyExists
    from .errors import BuildError as BuildError
    from .errors import CarryError as CarryError
    from .errors import DataLoss as DataLoss
    from .errors import FailedPrecondition as FailedPrecondition
    from .errors import ForkError as ForkError
    from .errors import InternalError as InternalError
    from .errors import InvalidArgument as InvalidArgument
    from .errors import NotFound as NotFound
    from .errors import PermissionDenied as PermissionDenied
    from .errors import ResourceExhausted as ResourceExhausted
    from .errors import RunCancelled as RunCancelled
    from .errors import RunFailed as RunFailed
    from .errors import TrackbedError as TrackbedError
    from .errors import Unavailable as Unavailable
    from ._executors import Containers as Containers
    from ._executors import Slurm as Slurm
    from ._file import load as load
    from ._file import PipelineFile as PipelineFile
    from .groups import Principal as Principal
    from .groups import ResourceGroups as ResourceGroups
    from .partitions import partition_profiles as partition_profiles
    from .partitions import plan_partitions as plan_partitions
    from ._pipeline import Pipeline as Pipeline
    from ._pipeline import pipeline as pipeline
    from ._policy import Policy as Policy
    from ._policy import Tenant as Tenant
    from .ports import ArtifactStore as ArtifactStore
    from .ports import Attempt as Attempt
    from .ports import Clock as Clock
    from .ports import DeviceProbe as DeviceProbe
    from .ports import Executor as Executor
    from .ports import Order as Order
    from .ports import Placer as Placer
    from .ports import Random as Random
    from .ports import SecretSource as SecretSource
    from .run import Run as Run
    from .run import TaskRun as TaskRun
    from ._shell import shell as shell
    from .simulation import simulate as simulate
    from .slots import Allocation as Allocation
    from .slots import SlotAllocator as SlotAllocator
    from .slots import detect_node as detect_node
    from ._task import Task as Task
    from ._task import task as task
    from ._task import unmapped as unmapped

_WHERE = {
    "_approval": "Approval approval",
    "_document": "Range",
    "_refs": "Condition first_of",
    "_trace": "when",
    "cluster": "Cluster Enforcement Plan Scheduler",
    "engine": "Engine backup_store check_store runs",
    "errors": "AlreadyExists BuildError CarryError DataLoss FailedPrecondition ForkError "
    "InternalError InvalidArgument NotFound PermissionDenied ResourceExhausted RunCancelled "
    "RunFailed TrackbedError Unavailable",
    "_executors": "Containers Slurm",
    "_file": "PipelineFile load",
    "groups": "Principal ResourceGroups",
    "partitions": "Partitions partition_profiles plan_partitions",
    "_pipeline": "Pipeline pipeline",
    "_policy": "Policy Tenant",
    "ports": "ArtifactStore Attempt Clock DeviceProbe Executor Order Placer Random SecretSource",
    "run": "Run TaskRun",
    "_shell": "ShellResult shell",
    "simulation": "Simulation simulate",
    "slots": "Allocation SlotAllocator detect_node",
    "_task": "Task task unmapped",
}
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names.split()}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'trackbed' has no attribute {name!r}")
    import importlib

    found = importlib.import_module("." + module, __name__)
    for public in _WHERE[module].split():  # a module may have the name of what is in it
        globals()[public] = getattr(found, public)
    return globals()[name]


def __dir__() -> "list[str]":
    return sorted([*globals(), *__all__])
