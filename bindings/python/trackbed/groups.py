"""Resource groups: several schedulers, and who may use and who may change which."""

from __future__ import annotations

import json
from ctypes import POINTER, byref, c_int32, c_int64, c_size_t, c_uint32, c_void_p
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Union

from ._native import Bytes, Struct, bytes_of, library
from ._policy import WORK, Seconds, ns
from .cluster import (
    ReasonStruct,
    Scheduler,
    WaitReason,
    _capacity,
    _quota,
    _reason,
    _scheduler_options,
    _task,
    seconds,
)
from .errors import NotFound


class Principal(NamedTuple):
    """Who asks. Without one it is the program itself, which may do everything."""

    tenant: int
    operates_nodes: bool = False  # may add, drain and open nodes
    sets_policies: bool = False  # may make groups and change their rules
    manages_tenants: bool = False  # may add tenants and set quotas below its own


class PrincipalStruct(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("tenant", c_uint32), ("operates_nodes", c_int32),
        ("sets_policies", c_int32), ("manages_tenants", c_int32), ("reserved", c_int32),
    ]  # fmt: skip


class RulesStruct(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("architectures", c_uint32), ("allowed", POINTER(c_uint32)),
        ("allowed_count", c_size_t),
    ]  # fmt: skip


class ResourceGroups:
    """Several schedulers with common tenants, and who may use and who may change which.

    Every method takes `who`, a `Principal`; what he may not do raises PermissionDenied, whose
    message names the right or the rule. By one thread at a time.

    >>> from trackbed import ResourceGroups, Principal
    >>> groups = ResourceGroups()
    >>> vision, audio = groups.add_tenant("vision"), groups.add_tenant("audio")
    >>> groups.add_group("gpus", allowed=[vision], order="drf")
    >>> _ = groups.add_node("gpus", "g1", cpu=16, devices=2)
    >>> groups.usable(who=Principal(vision)), groups.usable(who=Principal(audio))
    (['gpus'], [])
    >>> groups.submit("gpus", 1, devices=1, tenant=vision, who=Principal(vision), now=0)
    >>> groups["gpus"].schedule(now=0)
    start task 1 on g1
    """

    def __init__(self) -> None:
        self._handle = c_void_p()
        self._keep: Dict[str, List[Any]] = {}  # what the schedulers of groups need
        library().call("groups_create", byref(self._handle))

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            library().raw("groups_free")(self._handle)

    def add_tenant(
        self, name: str, *, parent: int = 0, who: Optional[Principal] = None
    ) -> int:
        """A tenant of all groups; its number."""
        number = c_uint32()
        library().call(
            "groups_add_tenant", self._handle, _principal(who), parent, name, byref(number)
        )
        return number.value

    def set_quota(
        self, group: str, tenant: int, *, guaranteed: Optional[Mapping[int, float]] = None,
        limit: Optional[Mapping[int, float]] = None, max_running: int = 0, max_waiting: int = 0,
        weight: float = 1, who: Optional[Principal] = None,
    ) -> None:  # fmt: skip
        """What the tenant may use of a group, by number of the resource: 0 cpu, 1 memory,
        2 devices."""
        quota = _quota(guaranteed, limit, max_running, max_waiting, weight)
        library().call(
            "groups_set_quota", self._handle, _principal(who), group, tenant, byref(quota)
        )

    def add_group(
        self, group: str, *, allowed: Sequence[int] = (), architectures: int = 0,
        who: Optional[Principal] = None, **options: Any,
    ) -> None:  # fmt: skip
        """A group, with the `options` of its `Scheduler`.

        allowed         tenants that may use it, with all below them; none: everybody
        architectures   of the nodes that may be added: a set, as bits; 0: any
        """
        chosen, keep = _scheduler_options(**options)
        rules = _rules(allowed, architectures)
        library().call(
            "groups_add_group", self._handle, _principal(who), group, byref(rules), byref(chosen)
        )
        self._keep[group] = keep

    def set_rules(
        self, group: str, *, allowed: Sequence[int] = (), architectures: int = 0,
        who: Optional[Principal] = None,
    ) -> None:  # fmt: skip
        """Other rules, as of `add_group`."""
        rules = _rules(allowed, architectures)
        library().call("groups_set_rules", self._handle, _principal(who), group, byref(rules))

    def add_node(
        self, group: str, name: str, *, who: Optional[Principal] = None, **node: Any
    ) -> int:
        """A node, as `Scheduler.add_node` takes it; its number in the group."""
        capacity = _capacity(**node)
        number = c_uint32()
        library().call(
            "groups_add_node", self._handle, _principal(who), group, name, byref(capacity),
            byref(number),
        )  # fmt: skip
        return number.value

    def drain_node(self, group: str, name: str, *, who: Optional[Principal] = None) -> None:
        """Nothing new is placed there; what runs goes on."""
        self._open_node(group, name, False, who)

    def open_node(self, group: str, name: str, *, who: Optional[Principal] = None) -> None:
        """The node takes new tasks (again)."""
        self._open_node(group, name, True, who)

    def _open_node(self, group: str, name: str, is_open: bool, who: Optional[Principal]) -> None:
        library().call(
            "groups_set_node_open", self._handle, _principal(who), group, name, int(is_open)
        )

    def usable(self, work: str = "batch", *, who: Optional[Principal] = None) -> List[str]:
        """The groups that `who` may submit such work to."""
        found: List[str] = json.loads(
            bytes_of("groups_usable", self._handle, _principal(who), WORK[work])
        )
        return found

    def submit(
        self, group: str, task: int, *, now: Seconds, who: Optional[Principal] = None,
        **request: Any,
    ) -> None:  # fmt: skip
        """Adds a task of the tenant of `who`, or one below, as `Scheduler.submit` takes it."""
        made = _task(task, **request)
        library().call(
            "groups_submit", self._handle, _principal(who), group, byref(made), ns(now)
        )

    def predict(
        self, group: str, *, now: Seconds, who: Optional[Principal] = None, **request: Any
    ) -> "tuple[Optional[float], WaitReason]":
        """When such a task would start, and why not now: see `Scheduler.predict`."""
        made = _task((1 << 64) - 1, **request)
        start, reason, sentence = c_int64(), ReasonStruct(), Bytes()
        library().call(
            "groups_predict", self._handle, _principal(who), group, byref(made), ns(now),
            byref(start), byref(reason), byref(sentence),
        )  # fmt: skip
        return seconds(start.value), _reason(reason, sentence.take())

    def withdraw(
        self, group: str, task: int, *, now: Seconds, who: Optional[Principal] = None
    ) -> None:
        """Takes out a waiting task of the tenant of `who`, or one below."""
        library().call("groups_withdraw", self._handle, _principal(who), group, task, ns(now))

    def __getitem__(self, group: str) -> Scheduler:
        """The scheduler of a group, for the program, which runs what is planned."""
        data = group.encode()
        handle = library().raw("groups_scheduler")(self._handle, data, len(data))
        if not handle:
            raise NotFound(f"there is no resource group {group!r}")
        return Scheduler._borrowed(c_void_p(handle), self)


def _principal(who: Optional[Principal]) -> Any:
    if who is None:
        return None
    return byref(
        PrincipalStruct(
            tenant=who.tenant, operates_nodes=int(who.operates_nodes),
            sets_policies=int(who.sets_policies), manages_tenants=int(who.manages_tenants),
        )  # fmt: skip
    )


def _rules(allowed: Sequence[int], architectures: int) -> RulesStruct:
    numbers = (c_uint32 * max(1, len(allowed)))(*allowed)
    return RulesStruct(architectures=architectures, allowed=numbers, allowed_count=len(allowed))
