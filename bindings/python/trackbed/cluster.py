"""The scheduler of a cluster: which waiting task starts next, and where."""

from __future__ import annotations

import ctypes
from ctypes import (
    CFUNCTYPE,
    POINTER,
    byref,
    c_double,
    c_float,
    c_int16,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Union

from ._native import CODES, Bytes, Struct, Text, library, text

from ._policy import BACKFILLS, ENFORCEMENTS, ORDERS, WORK, OptionsStruct, Seconds, ns
from .ports import Order, Placer, contained

_MAX_DEVICES, _MAX_DEVICE_KINDS, _MAX_RESOURCES, _MAX_COUNTED = 16, 64, 8, 6
NEVER = (1 << 63) - 1
_STATES = ["unknown", "waiting", "running"]
_KINDS = ["", "start", "eviction", "repair", "release", "ended"]
_RULES = [
    "none", "not_yet", "quota", "shortage", "fragmentation", "reserved", "strict_order",
    "claiming", "next", "enforcement",
]  # fmt: skip


class PlacementStruct(ctypes.Structure):
    _fields_ = [("node", c_uint32), ("whole_devices", c_uint16), ("shared_device", c_int16)]


class CapacityStruct(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("location", c_uint32), ("cpu", c_int64), ("memory", c_int64),
        ("architecture", c_int32), ("device_resource", c_int32), ("device_count", c_int32),
        ("device_kind", c_uint8 * _MAX_DEVICES), ("price_per_hour", c_float),
        ("idle_watts", c_float), ("watts_per_device", c_float),
        ("counted", c_int64 * _MAX_COUNTED),
    ]  # fmt: skip


class StateStruct(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("open", c_int32), ("cpu", c_int64), ("memory", c_int64),
        ("tasks", c_int32), ("device_count", c_int32), ("device", c_int16 * _MAX_DEVICES),
        ("counted", c_int64 * _MAX_COUNTED),
    ]  # fmt: skip


class DemandStruct(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("architectures", c_uint32), ("cpu", c_int64),
        ("memory", c_int64), ("whole_devices", c_int32), ("share", c_int32),
        ("device_kinds", c_uint64), ("counted", c_int64 * _MAX_COUNTED),
    ]  # fmt: skip


class TaskStruct(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("tenant", c_uint32), ("id", c_uint64), ("priority", c_int32),
        ("kind", c_int32), ("members", c_uint32), ("on_different_nodes", c_int32),
        ("not_preemptible", c_int32), ("device_resource", c_int32), ("run_time_ns", c_int64),
        ("history", c_uint64), ("not_before_ns", c_int64), ("cpu", c_int64), ("memory", c_int64),
        ("whole_devices", c_int32), ("share", c_int32), ("device_kinds", c_uint64),
        ("architectures", c_uint32), ("reserved", c_uint32), ("counted", c_int64 * _MAX_COUNTED),
        ("at_least", c_int32), ("reserved_2", c_uint32),
    ]  # fmt: skip


class QuotaStruct(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("limited", c_uint32), ("guaranteed", c_int64 * _MAX_RESOURCES),
        ("limit", c_int64 * _MAX_RESOURCES), ("max_running", c_uint32), ("max_waiting", c_uint32),
        ("weight", c_double),
    ]  # fmt: skip


_Choose = CFUNCTYPE(
    c_int32, c_void_p, c_void_p, POINTER(DemandStruct), POINTER(PlacementStruct), POINTER(c_void_p)
)
_Observe = CFUNCTYPE(None, c_void_p, POINTER(DemandStruct))


class UsageStruct(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("running", c_uint32), ("used", c_int64 * _MAX_RESOURCES),
        ("dominant_share", c_double),
    ]  # fmt: skip


_Rank = CFUNCTYPE(
    c_int32, c_void_p, POINTER(TaskStruct), c_int64, POINTER(c_int64), POINTER(c_void_p)
)
_Share = CFUNCTYPE(
    c_int32, c_void_p, c_uint32, POINTER(UsageStruct), c_int64, POINTER(c_double), POINTER(c_void_p)
)


class OrderTable(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("reserved", c_uint32), ("user_data", c_void_p),
        ("drop", CFUNCTYPE(None, c_void_p)), ("rank", _Rank), ("share", _Share),
    ]  # fmt: skip


class PlacerTable(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("reserved", c_uint32), ("user_data", c_void_p),
        ("drop", CFUNCTYPE(None, c_void_p)), ("choose", _Choose), ("observe", _Observe),
    ]  # fmt: skip


class EnforcementStruct(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("reserved", c_uint32), ("whole", c_uint8 * _MAX_DEVICE_KINDS),
        ("share", c_uint8 * _MAX_DEVICE_KINDS), ("counted", c_uint8 * _MAX_COUNTED),
        ("reserved_2", c_uint8 * 2),
    ]  # fmt: skip


class ItemStruct(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("kind", c_int32), ("task", c_uint64), ("other", c_uint64),
        ("member", c_uint32), ("members", c_uint32), ("placement", PlacementStruct),
        ("cause", c_int32), ("reserved", c_int32), ("enforcement", c_int32),
        ("reserved_2", c_int32),
    ]  # fmt: skip


class ReasonStruct(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("rule", c_int32), ("resource", c_uint32), ("node", c_int32),
        ("needed", c_int64), ("available", c_int64), ("quota_rule", c_int32),
        ("quota_tenant", c_uint32), ("quota_resource", c_uint32), ("reserved", c_uint32),
        ("quota_needed", c_int64), ("quota_used", c_int64), ("quota_allowed", c_int64),
        ("ahead", c_uint64), ("until_ns", c_int64), ("expected_start_ns", c_int64),
        ("enforcement", c_int32), ("reserved_2", c_int32),
    ]  # fmt: skip


class WhatIfStruct(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("added_size", c_uint32), ("added", POINTER(CapacityStruct)),
        ("added_count", c_size_t), ("drained", POINTER(c_uint32)), ("drained_count", c_size_t),
    ]  # fmt: skip


class StatsStruct(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("nodes", c_uint32), ("waiting", c_uint64),
        ("running", c_uint64), ("device_capacity", c_int64), ("device_left", c_int64),
    ]  # fmt: skip


class Placement(NamedTuple):
    """A place for one member of a task."""

    node: int
    whole_devices: int  # a set: bit d stands for device d
    shared_device: int  # -1: none

    @property
    def devices(self) -> List[int]:
        found = [d for d in range(_MAX_DEVICES) if self.whole_devices >> d & 1]
        return found + ([self.shared_device] if self.shared_device >= 0 else [])


class Enforcement(NamedTuple):
    """How what a cluster hands out keeps a task to its amounts: each "accounting", "advisory" or
    "hardware", by number. What is not named: a whole device "hardware", a share "advisory", what is
    only counted "accounting"."""

    whole: Mapping[int, str] = {}  # of a device of the kind, given as a whole
    share: Mapping[int, str] = {}  # of a part of one
    counted: Mapping[int, str] = {}


class Demand(NamedTuple):
    """What one member of a task asks of its node."""

    cpu: float
    memory: int
    devices: float
    counted: Sequence[float] = ()  # of the resources that are only counted


class WaitingTask(NamedTuple):
    """A task as an order sees it."""

    id: int
    tenant: int
    priority: int
    members: int
    demand: Demand  # of each member
    run_time: float  # expected, in seconds; 0: not known


class TenantUsage(NamedTuple):
    """What a tenant uses, with all below it."""

    running: int  # tasks
    cpu: float
    memory: int
    devices: float
    dominant_share: float


class NodeView(NamedTuple):
    """A node with room for a demand, as a placer sees it."""

    node: int
    cpu: float  # free
    memory: int  # free
    devices: List[float]  # free of each
    tasks: int
    placement: Placement  # the devices that would be taken


class NodeUsage(NamedTuple):
    """What of a node is in use."""

    node: str
    open: bool  # it takes new tasks
    tasks: int
    cpu: float
    cpu_used: float
    memory: int
    memory_used: int
    devices: int
    devices_used: float


class Decision(NamedTuple):
    """One thing that a plan says."""

    kind: str  # "start", "eviction", "repair", "release" or "ended"
    task: int
    node: str  # of a start or repair
    devices: List[int]
    member: int
    members: int
    other: int  # of an eviction: for whom
    # Of a start: of all that the task got of devices and of what is only counted, the weakest.
    enforcement: Optional[str] = None


class Plan(Sequence[Decision]):
    """What a scheduler decided, in order."""

    def __init__(self, decisions: List[Decision], next_at: Optional[float]) -> None:
        self._decisions = decisions
        self.next_at = next_at  # when to schedule again even if nothing happens; None: no need

    def __len__(self) -> int:
        return len(self._decisions)

    def __getitem__(self, index: Any) -> Any:
        return self._decisions[index]

    @property
    def starts(self) -> List[Decision]:
        return [d for d in self._decisions if d.kind == "start"]

    @property
    def evictions(self) -> List[Decision]:
        return [d for d in self._decisions if d.kind == "eviction"]

    def to_frame(self) -> Any:
        """As a pandas DataFrame."""
        import pandas

        return pandas.DataFrame(self._decisions, columns=list(Decision._fields))

    def __repr__(self) -> str:
        return "\n".join(
            f"{d.kind} task {d.task}" + (f" on {d.node}" if d.node else "") for d in self
        )


class WaitReason(NamedTuple):
    """Why a task waits."""

    rule: str
    needed: int
    available: int
    ahead: int
    expected_start: Optional[float]
    sentence: str
    enforcement: Optional[str] = None  # of a prediction to start now, as of a `Decision`


class Scheduler:
    """Places work on the nodes of a cluster. Times are seconds, of whatever clock the host has,
    and may not go back. By one thread at a time.

    >>> from trackbed import Scheduler
    >>> scheduler = Scheduler()
    >>> _ = scheduler.add_node("g1", cpu=16, memory="64g", devices=2)
    >>> scheduler.submit(1, cpu=4, devices=1, run_time=60)
    >>> scheduler.submit(2, cpu=4, devices=1.5, run_time=60)
    >>> scheduler.schedule(now=0)
    start task 1 on g1
    >>> scheduler.explain(2, now=0).rule
    'shortage'
    >>> scheduler.finish(1, now=10)
    >>> scheduler.schedule(now=10)
    start task 2 on g1
    """

    def __init__(
        self,
        *,
        order: Union[str, Order] = "fifo",
        backfill: str = "easy",
        placer: Union[str, Placer] = "default",
        preempt_by_priority: bool = False,
        reclaim: bool = False,
        ageing: Optional[Seconds] = 3600,
        default_run_time: Seconds = 3600,
        minimum_run_time: Seconds = 0,
        seed: int = 0,
        resources: Sequence[str] = ("cpu", "mem", "devices"),
        kinds: Sequence[str] = (),
        enforcement: Enforcement = Enforcement(),
    ) -> None:
        """
        order       who goes first, after priority: "fifo", "lifo", "drf", "fair_share"; or an
                    `Order` of one's own, which alone decides
        placer      the name of one ("default", "pack", "spread", …), or a `Placer` of one's own
        resources   names for sentences, by number: 0 cpu, 1 memory, 2 to 7 devices and what is
                    only counted
        kinds       the work that may run here: "batch", "interactive", "inference", "system"; none:
                    all
        enforcement what keeps tasks to what they were given
        """
        self.options, self._keep = _scheduler_options(
            order=order, backfill=backfill, placer=placer, preempt_by_priority=preempt_by_priority,
            reclaim=reclaim, ageing=ageing, default_run_time=default_run_time,
            minimum_run_time=minimum_run_time, seed=seed, resources=resources, kinds=kinds,
            enforcement=enforcement,
        )  # fmt: skip
        self._handle = c_void_p()
        self._now = 0
        self._owner: Any = None  # what the handle is borrowed from
        library().call("scheduler_create", byref(self.options), byref(self._handle))

    @classmethod
    def _borrowed(cls, handle: c_void_p, owner: Any) -> "Scheduler":
        """The scheduler behind a handle that lives as long as its owner."""
        scheduler = cls.__new__(cls)
        scheduler._handle, scheduler._now, scheduler._owner = handle, 0, owner
        return scheduler

    def __del__(self) -> None:
        if getattr(self, "_handle", None) and self._owner is None:
            library().raw("scheduler_free")(self._handle)

    # --- Nodes and tenants ---

    def add_node(
        self, name: str, *, cpu: float, memory: Union[int, str] = 0, devices: int = 0,
        kind: int = 0, location: int = 0, architecture: int = 0, counted: Sequence[float] = (),
    ) -> int:  # fmt: skip
        """A node with so many cores and devices; its number. `counted`: how much it has of
        resources that are only counted, such as licences: number i counts in quotas as resource
        2 + i."""
        capacity = _capacity(cpu, memory, devices, kind, location, architecture, counted)
        number = c_uint32()
        library().call("scheduler_add_node", self._handle, name, byref(capacity), byref(number))
        return number.value

    def drain_node(self, node: int) -> None:
        """Nothing new is placed there; what runs goes on."""
        library().call("scheduler_drain_node", self._handle, node)

    def open_node(self, node: int) -> None:
        """The node takes new tasks (again)."""
        library().call("scheduler_open_node", self._handle, node)

    def lose_node(self, node: int, now: Seconds) -> Plan:
        """The node is gone. The single tasks that were there are over, and named by the plan."""
        plan = c_void_p()
        library().call("scheduler_lose_node", self._handle, node, ns(now), byref(plan))
        return self._read(plan)

    def add_tenant(
        self, name: str, *, parent: int = 0, guaranteed: Optional[Mapping[int, float]] = None,
        limit: Optional[Mapping[int, float]] = None, max_running: int = 0, weight: float = 1,
    ) -> int:  # fmt: skip
        """A tenant; its number. Quotas by number of the resource: 0 cpu, 1 memory, 2 devices."""
        quota = _quota(guaranteed, limit, max_running, 0, weight)
        number = c_uint32()
        library().call(
            "scheduler_add_tenant", self._handle, parent, name, byref(quota), byref(number)
        )
        return number.value

    # --- Tasks ---

    def submit(
        self, task: int, *, cpu: float = 0, memory: Union[int, str] = 0, devices: float = 0,
        members: int = 1, priority: int = 0, tenant: int = 0, run_time: Seconds = 0,
        on_different_nodes: bool = False, preemptible: bool = True, work: str = "batch",
        counted: Sequence[float] = (), at_least: str = "accounting",
        now: Optional[Seconds] = None,
    ) -> None:  # fmt: skip
        """Adds a task, or a gang of equal `members`, to the queue. `devices` may be a part of one,
        and more than one and a part: 2.5. `counted`: what each member takes of the resources that
        are only counted, as of `add_node`. It refuses what is enforced more weakly than
        `at_least`."""
        made = _task(
            task, cpu, memory, devices, members=members, priority=priority, tenant=tenant,
            run_time=run_time, on_different_nodes=on_different_nodes, preemptible=preemptible,
            work=work, counted=counted, at_least=at_least,
        )  # fmt: skip
        library().call("scheduler_submit", self._handle, byref(made), self._time(now))

    def finish(self, task: int, now: Optional[Seconds] = None) -> None:
        """A waiting task is withdrawn, a running one has ended."""
        library().call("scheduler_finish", self._handle, task, self._time(now))

    def schedule(self, now: Optional[Seconds] = None) -> Plan:
        """Decides all that can be decided now, and counts it as done."""
        plan = c_void_p()
        library().call("scheduler_schedule", self._handle, self._time(now), byref(plan))
        return self._read(plan)

    def explain(self, task: int, now: Optional[Seconds] = None) -> WaitReason:
        """Why a task waits; rule "none" when it does not."""
        reason, sentence = ReasonStruct(), Bytes()
        library().call(
            "scheduler_explain", self._handle, task, self._time(now), byref(reason),
            byref(sentence),
        )  # fmt: skip
        return _reason(reason, sentence.take())

    def predict(
        self, *, cpu: float = 0, memory: Union[int, str] = 0, devices: float = 0, members: int = 1,
        priority: int = 0, tenant: int = 0, run_time: Seconds = 0, now: Optional[Seconds] = None,
        counted: Sequence[float] = (), at_least: str = "accounting",
        added: Sequence[Mapping[str, Any]] = (), drained: Sequence[int] = (),
    ) -> "tuple[Optional[float], WaitReason]":  # fmt: skip
        """When such a task would start if it were submitted now, and why not now. Nothing changes;
        None: never, on these nodes.

        added      nodes that there might be besides, each as `add_node` takes it, without a name
        drained    numbers of nodes that might take nothing new
        """
        made = _task(
            (1 << 64) - 1, cpu, memory, devices, members=members, priority=priority, tenant=tenant,
            run_time=run_time, counted=counted, at_least=at_least,
        )  # fmt: skip
        start, reason, sentence = c_int64(), ReasonStruct(), Bytes()
        given: List[Any] = [byref(made)]
        if added or drained:
            nodes = (CapacityStruct * max(1, len(added)))()
            for index, node in enumerate(added):
                nodes[index] = _capacity(**node)
            numbers = (c_uint32 * max(1, len(drained)))(*drained)
            what_if = WhatIfStruct(
                added_size=ctypes.sizeof(CapacityStruct), added=nodes, added_count=len(added),
                drained=numbers, drained_count=len(drained),
            )  # fmt: skip
            given.append(byref(what_if))
        library().call(
            "scheduler_predict_if" if len(given) > 1 else "scheduler_predict", self._handle, *given,
            self._time(now), byref(start), byref(reason), byref(sentence),
        )  # fmt: skip
        return seconds(start.value), _reason(reason, sentence.take())

    def state_of(self, task: int) -> str:
        """ "waiting", "running" or "unknown"."""
        state: int = library().raw("scheduler_task_state")(self._handle, task)
        return _STATES[state]

    def stats(self) -> Dict[str, float]:
        found = StatsStruct()
        library().call("scheduler_get_stats", self._handle, byref(found))
        return {
            "nodes": found.nodes, "waiting": found.waiting, "running": found.running,
            "devices": found.device_capacity / 1000, "devices_left": found.device_left / 1000,
        }  # fmt: skip

    def usage(self) -> List[NodeUsage]:
        """Of each node, how much is in use."""
        capacity, state = CapacityStruct(), StateStruct()
        found = []
        for node in range(int(self.stats()["nodes"])):
            library().call("scheduler_node", self._handle, node, byref(capacity), byref(state))
            name = library().raw("scheduler_node_name")(self._handle, node)
            left = sum(state.device[: state.device_count])
            found.append(
                NodeUsage(
                    str(name), bool(state.open), state.tasks, capacity.cpu / 1000,
                    (capacity.cpu - state.cpu) / 1000, capacity.memory,
                    capacity.memory - state.memory, capacity.device_count,
                    capacity.device_count - left / 1000,
                )
            )  # fmt: skip
        return found

    def to_frame(self) -> Any:
        """`usage` as a pandas DataFrame."""
        import pandas

        return pandas.DataFrame(self.usage(), columns=list(NodeUsage._fields))

    def __repr__(self) -> str:
        stats = self.stats()
        kind = type(self).__name__.lower()
        return (
            f"<{kind}: {stats['nodes']} nodes, {stats['running']} tasks run, "
            f"{stats['waiting']} wait>"
        )

    def _repr_html_(self) -> str:
        from ._svg import use_html

        rows = []
        for node in self.usage():
            note = "" if node.open else "closed"
            if node.devices:
                used, of, what = node.devices_used, float(node.devices), "devices"
            else:
                used, of, what = node.cpu_used, node.cpu, "cpu"
            rows.append((node.node, f"{used:g} of {of:g} {what}", used, of, note))
        return use_html(rows)

    def recount(self) -> None:
        """Adds up everything again and compares: for tests."""
        library().call("scheduler_recount", self._handle)

    def _time(self, now: Optional[Seconds]) -> int:
        if now is not None:
            self._now = ns(now)
        return self._now

    def _read(self, plan: c_void_p) -> Plan:
        try:
            count = library().raw("plan_size")(plan)
            items = (ItemStruct * max(1, count))()
            library().raw("plan_read")(plan, 0, items, ctypes.sizeof(ItemStruct), count)
            decisions = [self._decision(item) for item in items[:count]]
            return Plan(decisions, seconds(library().raw("plan_next")(plan)))
        finally:
            library().raw("plan_free")(plan)

    def _decision(self, item: ItemStruct) -> Decision:
        kind = _KINDS[item.kind]
        placed = kind in ("start", "repair")
        place = Placement(
            item.placement.node, item.placement.whole_devices, item.placement.shared_device
        )
        node = str(library().raw("scheduler_node_name")(self._handle, place.node)) if placed else ""
        return Decision(
            kind, item.task, node, place.devices if placed else [], item.member, item.members,
            item.other, _enforcement(item.enforcement),
        )  # fmt: skip


class Cluster(Scheduler):
    """A scheduler whose nodes are given at once: names with what each has.

    >>> from trackbed import Cluster
    >>> cluster = Cluster({"g1": {"cpu": 8, "devices": 1}, "g2": {"cpu": 8, "devices": 1}})
    >>> cluster.submit(1, devices=1, members=2)
    >>> [decision.node for decision in cluster.schedule(now=0)]
    ['g1', 'g2']
    """

    def __init__(self, nodes: Mapping[str, Mapping[str, Any]], **options: Any) -> None:
        super().__init__(**options)
        self.nodes = {name: self.add_node(name, **node) for name, node in nodes.items()}


def _scheduler_options(
    *, order: Union[str, Order] = "fifo", backfill: str = "easy",
    placer: Union[str, Placer] = "default", preempt_by_priority: bool = False,
    reclaim: bool = False, ageing: Optional[Seconds] = 3600, default_run_time: Seconds = 3600,
    minimum_run_time: Seconds = 0, seed: int = 0,
    resources: Sequence[str] = ("cpu", "mem", "devices"), kinds: Sequence[str] = (),
    enforcement: Enforcement = Enforcement(),
) -> "tuple[OptionsStruct, List[Any]]":  # fmt: skip
    """The options of a `Scheduler`, and what has to live as long as it does."""
    keep: List[Any] = []
    names = (Text * max(1, len(resources)))(*[text(name, keep) for name in resources])
    options = OptionsStruct(
        backfill=BACKFILLS[backfill], preempt_by_priority=int(preempt_by_priority),
        reclaim=int(reclaim), ageing_ns=-1 if ageing is None else ns(ageing),
        minimum_run_time_ns=ns(minimum_run_time), default_run_time_ns=ns(default_run_time),
        seed=seed, resources=ctypes.cast(names, c_void_p), resource_count=len(resources),
        kinds=sum(1 << WORK[kind] for kind in set(kinds)),
    )  # fmt: skip
    keep.append(names)
    if isinstance(order, Order):
        orders = order_table(order)
        keep.append(orders)
        options.host_order = ctypes.addressof(orders)
    else:
        options.order = ORDERS[order]
    if isinstance(placer, Placer):
        table = _placer_table(placer)
        keep.append(table)
        options.host_placer = ctypes.addressof(table)
    else:
        options.placer = text(placer, keep)
    if enforcement != Enforcement():
        enforced = _enforcement_table(enforcement)
        keep.append(enforced)
        options.enforcement = ctypes.addressof(enforced)
    return options, keep


def _enforcement_table(given: Enforcement) -> EnforcementStruct:
    table = EnforcementStruct()
    for amounts, named, otherwise in (
        (table.whole, given.whole, "hardware"),
        (table.share, given.share, "advisory"),
        (table.counted, given.counted, "accounting"),
    ):
        for number in range(len(amounts)):
            amounts[number] = ENFORCEMENTS[named.get(number, otherwise)]
    return table


def _enforcement(found: int) -> Optional[str]:
    return None if found < 0 else list(ENFORCEMENTS)[found]


def _task(
    task: int, cpu: float = 0, memory: Union[int, str] = 0, devices: float = 0, *,
    members: int = 1, priority: int = 0, tenant: int = 0, run_time: Seconds = 0,
    on_different_nodes: bool = False, preemptible: bool = True, work: str = "batch",
    counted: Sequence[float] = (), at_least: str = "accounting",
) -> TaskStruct:  # fmt: skip
    whole, share = divmod(round(devices * 1000), 1000)
    return TaskStruct(
        id=task, cpu=round(cpu * 1000), memory=memory_bytes(memory), whole_devices=whole,
        share=share, members=members, priority=priority, tenant=tenant, run_time_ns=ns(run_time),
        on_different_nodes=int(on_different_nodes), not_preemptible=int(not preemptible),
        kind=WORK[work], counted=_counted(counted), at_least=ENFORCEMENTS[at_least],
    )  # fmt: skip


def _quota(
    guaranteed: Optional[Mapping[int, float]], limit: Optional[Mapping[int, float]],
    max_running: int, max_waiting: int, weight: float,
) -> QuotaStruct:  # fmt: skip
    quota = QuotaStruct(max_running=max_running, max_waiting=max_waiting, weight=weight)
    for resource, amount in (guaranteed or {}).items():
        quota.guaranteed[resource] = _amount(resource, amount)
    for resource, amount in (limit or {}).items():
        quota.limit[resource] = _amount(resource, amount)
        quota.limited |= 1 << resource
    return quota


def _counted(amounts: Sequence[float]) -> Any:
    return (c_int64 * _MAX_COUNTED)(*[round(amount * 1000) for amount in amounts])


def _demand(asked: Any) -> Demand:
    """Of a struct that has the fields of trackbed_demand."""
    return Demand(
        asked.cpu / 1000, asked.memory, asked.whole_devices + asked.share / 1000,
        [amount / 1000 for amount in asked.counted],
    )  # fmt: skip


def order_table(port: Order) -> OrderTable:
    """The table of functions for an order."""

    def rank(_: Any, task: Any, submitted: int, out: Any, errors: Any) -> int:
        def call() -> None:
            asked = task[0]
            seen = WaitingTask(
                asked.id, asked.tenant, asked.priority, asked.members, _demand(asked),
                asked.run_time_ns / 1e9,
            )  # fmt: skip
            out[0] = port.rank(seen, submitted / 1e9)

        return contained(port, errors, call)

    def share(_: Any, tenant: int, usage: Any, now: int, out: Any, errors: Any) -> int:
        def call() -> None:
            used = usage[0].used
            seen = TenantUsage(
                usage[0].running, used[0] / 1000, used[1], used[2] / 1000, usage[0].dominant_share
            )
            out[0] = port.share(tenant, seen, now / 1e9)

        return contained(port, errors, call)

    table = OrderTable(rank=_Rank(rank))
    if type(port).share is not Order.share:
        table.share = _Share(share)
    return table


def _placer_table(port: Placer) -> PlacerTable:
    def choose(_: Any, view: Any, demand: Any, out: Any, errors: Any) -> int:
        chosen: List[Placement] = []

        def call() -> None:
            asked = demand[0]
            found = port.choose(list(_nodes(view, demand)), _demand(asked))
            if found is not None:
                chosen.append(found)

        status = contained(port, errors, call)
        if status == 0 and not chosen:
            return CODES["not_found"]
        if status == 0:
            out[0] = PlacementStruct(*chosen[0])
        return status

    return PlacerTable(choose=_Choose(choose))


def _nodes(view: Any, demand: Any) -> Iterator[NodeView]:
    """The nodes of a view that have room for the demand."""
    size = library().raw("cluster_view_size")(view)
    fits, look = library().raw("cluster_view_fits"), library().raw("cluster_view_node")
    first, state = PlacementStruct(), StateStruct()
    for index in range(size):
        if not fits(view, index, demand, byref(first)):
            continue
        look(view, index, None, byref(state))
        yield NodeView(
            index, state.cpu / 1000, state.memory,
            [free / 1000 for free in state.device[: state.device_count]], state.tasks,
            Placement(first.node, first.whole_devices, first.shared_device),
        )  # fmt: skip


def _reason(found: ReasonStruct, sentence: str) -> WaitReason:
    return WaitReason(
        _RULES[found.rule], found.needed, found.available, found.ahead,
        seconds(found.expected_start_ns), sentence, _enforcement(found.enforcement),
    )  # fmt: skip


def _capacity(
    cpu: float, memory: Union[int, str] = 0, devices: int = 0, kind: int = 0, location: int = 0,
    architecture: int = 0, counted: Sequence[float] = (),
) -> CapacityStruct:  # fmt: skip
    capacity = CapacityStruct(
        cpu=round(cpu * 1000), memory=memory_bytes(memory), device_count=devices,
        location=location, architecture=architecture, counted=_counted(counted),
    )  # fmt: skip
    for index in range(min(devices, _MAX_DEVICES)):
        capacity.device_kind[index] = kind
    return capacity


def seconds(value: int) -> Optional[float]:
    return None if value == NEVER else value / 1e9


def memory_bytes(value: Union[int, str]) -> int:
    """Of "16g" or a number of bytes."""
    if isinstance(value, int):
        return value
    parsed = c_int64()
    library().call("slot_parse", "mem", value, byref(parsed))
    return parsed.value // 1000


def _amount(resource: int, amount: float) -> int:
    return round(amount if resource == 1 else amount * 1000)
