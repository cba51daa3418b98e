"""How NVIDIA GPUs are partitioned (MIG): which profiles there are, and what to do for a request."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence

from ._native import bytes_of


class Partitions(NamedTuple):
    """What `plan_partitions` found."""

    steps: List[Dict[str, Any]]  # to do in this order: "destroy" and "create"
    assignments: List[Dict[str, Any]]  # for each profile where it gets its instance


def partition_profiles() -> Dict[str, List[Dict[str, Any]]]:
    """The profiles of every model of GPU that can be partitioned.

    >>> from trackbed import partition_profiles
    >>> [p["profile"] for p in partition_profiles()["A100-40GB"]][:2]
    ['1g.5gb', '1g.5gb+me']
    """
    found = json.loads(bytes_of("mig_models"))
    return {model["model"]: model["profiles"] for model in found}


def plan_partitions(
    devices: Sequence[Mapping[str, Any]], profiles: Sequence[str], *, reconfigure: bool = False
) -> Partitions:
    """How to partition GPUs so that each of the profiles gets an instance. Nothing is done to any.

    devices       of each its "id", "model" and, if there are any, "instances", each with "id",
                  "profile", "start" (its first memory slice) and "free"; "healthy" unless it is
    reconfigure   free instances may be destroyed, as few as possible; those in use never are

    >>> from trackbed import plan_partitions
    >>> plan_partitions([{"id": "gpu0", "model": "A100-40GB"}], ["3g.20gb"]).steps
    [{'do': 'create', 'device': 'gpu0', 'profile': '3g.20gb', 'id': 9, 'start': 0}]
    """
    request = {"devices": list(devices), "profiles": list(profiles), "reconfigure": reconfigure}
    found = json.loads(bytes_of("mig_plan", json.dumps(request)))
    return Partitions(found["steps"], found["assignments"])
